use cusax_common::core::entropy::Seeded;

use super::shown::reads_as_address;
use super::*;

mod differences;
mod oracle;

#[test]
fn hostile_descriptions_are_judged() {
    // Every row that is not here must be refused.
    let accepted = [
        "S001", "S004", "S009", "S010", "S013", "S019", "S024", "S025", "S027", "S031", "S054", "S055", "S057", "S058",
        "S061", "S064", "S067", "S069", "S070", "S075", "S078",
    ];
    for row in include_str!("../../../../../tests/fixtures/sdp/torture.jsonl").lines() {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let (id, name) = (row["id"].as_str().unwrap(), &row["name"]);
        let read = Description::read(row["sdp"].as_str().unwrap().as_bytes(), &Rules::default());
        assert_eq!(read.is_ok(), accepted.contains(&id), "{id} {name}: {:?}", read.err());
        if let Ok(description) = read {
            let body = text(&description.written(Way::Relay(ours()), &mut origin()));
            assert!(
                !body.contains("192.0.2.10") && !body.contains("10.0.0.1"),
                "{id} {name}: {body}"
            );
            assert!(
                Description::read(body.as_bytes(), &Rules::default()).is_ok(),
                "{id} {name}: {body}"
            );
        }
    }
}

#[test]
fn size_is_judged_before_anything_is_parsed() {
    let streams = format!("{HEAD}{}", "m=audio 20000 RTP/AVP 0\r\n".repeat(10_000));
    let attributes = format!("{HEAD}m=audio 20000 RTP/AVP 0\r\n{}", "a=x:1\r\n".repeat(5_000));
    let some_streams = format!("{HEAD}{}", "m=audio 20000 RTP/AVP 0\r\n".repeat(17));
    for body in [streams, attributes, some_streams] {
        assert_eq!(read(&body).unwrap_err(), SdpFault::TooLarge);
    }
    assert_eq!(SdpFault::TooLarge.status(), 413);
}

/// Else one side would hear another codec than the other one speaks of.
#[test]
fn what_is_not_shown_says_nothing_of_a_payload_type() {
    let offer = format!("{HEAD}m=audio 20000 RTP/AVP 8 0\r\na=rtpmap:8 see 198.51.100.7/8000\r\n");
    let description = read(&offer).unwrap();
    let again = read(&text(&description.written(Way::Relay(ours()), &mut origin()))).unwrap();
    assert_eq!(again.g711, description.g711);
}

#[test]
fn what_is_written_is_ours_and_what_crosses_is_untouched() {
    let offer = format!(
        "{HEAD}b=AS:120\r\na=ice-lite\r\na=tool:phone 192.0.2.10\r\na=X-kept:yes\r\na=group:BUNDLE 0\r\n\
         m=audio 20000 RTP/AVP 8 0 96 101\r\ni=Alice at 192.0.2.10\r\nb=TIAS:64000\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:96 Opus/48000/2\r\n\
         a=fmtp:96 useinbandfec=1;  x = y\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15,66\r\n\
         a=rtcp:20005 IN IP4 192.0.2.10\r\na=rtcp-mux\r\na=mid:0\r\na=candidate:1 1 UDP 1 10.1.2.3 9 typ host\r\n\
         a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\r\na=setup:actpass\r\na=ice-ufrag:x\r\n\
         a=x-nat:me@192.0.2.10\r\na=x-other:see 198.51.100.7.\r\na=x-six:[2001:db8::9]:70\r\n\
         a=ptime:30\r\na=maxptime:40\r\na=label:7\r\na=sendonly\r\n\
         m=video 20002 RTP/AVP 31\r\nc=IN IP4 192.0.2.11\r\na=rtpmap:31 H261/90000\r\n"
    );
    let description = read(&offer).unwrap();
    assert_eq!(description.remote_rtp, Some("192.0.2.10:20000".parse().unwrap()));
    assert_eq!(description.remote_rtcp, Some("192.0.2.10:20005".parse().unwrap()));
    assert_eq!((description.video, description.direction), (true, Direction::SendOnly));
    assert_eq!(description.telephone_event, Some(101));
    assert_eq!(
        description.g711,
        Some(PlayCodec {
            law: Law::A,
            payload: 8
        })
    );
    let mut origin = origin();
    let id = origin.session;
    assert_eq!(
        text(&description.written(Way::Relay(ours()), &mut origin)),
        format!(
            "v=0\r\no=- {id} 1 IN IP4 203.0.113.5\r\ns=-\r\nc=IN IP4 203.0.113.5\r\nb=AS:120\r\nt=0 0\r\n\
             a=X-kept:yes\r\nm=audio 40000 RTP/AVP 8 0 96 101\r\nb=TIAS:64000\r\n\
             a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:96 Opus/48000/2\r\n\
             a=fmtp:96 useinbandfec=1;  x = y\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15,66\r\n\
             a=ptime:30\r\na=maxptime:40\r\na=label:7\r\na=sendonly\r\nm=video 0 RTP/AVP 31\r\n"
        )
    );
}

#[test]
fn no_address_crosses_where_none_belongs() {
    let body = HEAD.replace("o=alice 1 1 IN IP4 192.0.2.10", "o=alice 1 1 IN IP4 phone.example");
    let audio = "m=audio 20000 RTP/AVP 0\r\n";
    let shows = |text: &str| {
        ["192.0.2", "phone.example", "fade:", "2001:"]
            .iter()
            .any(|part| text.contains(part))
    };
    for line in [
        "b=X-192.0.2.10:64",
        "b=phone.example:64",
        "a=phone.example",
        "a=x-host:sip:phone.example",
        "a=192.0.2.99",
        "a=fade::1",
        "a=facade:2001:db8:1:2:3:4:5:6",
        "m=image 0 udptl phone.example",
        "m=image 0 udptl 192.0.2.99",
    ] {
        for body in [format!("{body}{audio}{line}\r\n"), format!("{body}{line}\r\n{audio}")] {
            assert!(shows(line) && shows(&body), "{line}");
            let written = text(&read(&body).unwrap().written(Way::Relay(ours()), &mut origin()));
            assert!(!shows(&written), "{written}");
        }
    }
    // What an answer must repeat cannot be left out.
    for line in ["m=192.0.2.99 0 udptl t38", "m=image 0 phone.example t38"] {
        let fault = read(&format!("{body}{audio}{line}\r\n")).unwrap_err();
        assert_eq!(fault, SdpFault::Malformed(7), "{line}");
    }
}

#[test]
fn what_is_kept_of_a_description_is_small() {
    let body = format!("{HEAD}m=audio 20000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n");
    let description = read(&body).unwrap();
    assert!(description.text.len() < body.len());
    assert!(size_of::<Description>() <= 160, "{}", size_of::<Description>());
}

#[test]
fn direct_media_keeps_the_party_s_own_addresses() {
    let direct = |body: &str| text(&read(body).unwrap().written(Way::Direct, &mut origin()));
    let ordinary = direct(&format!("{HEAD}m=audio 20000 RTP/AVP 0\r\na=rtcp:20001\r\n"));
    assert!(
        ordinary.contains("c=IN IP4 192.0.2.10\r\n") && ordinary.contains("m=audio 20000 RTP/AVP 0\r\n"),
        "{ordinary}"
    );
    assert!(!ordinary.contains("a=rtcp"), "{ordinary}");
    let apart = direct(&format!("{HEAD}m=audio 20000 RTP/AVP 0\r\na=rtcp:30001\r\n"));
    assert!(apart.contains("a=rtcp:30001\r\n"), "{apart}");
    let held = direct(&format!("{HEAD}m=audio 20000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n"));
    assert!(
        held.contains("c=IN IP4 0.0.0.0\r\n") && held.contains("m=audio 20000"),
        "{held}"
    );
}

#[test]
fn each_row_has_its_status_and_place() {
    let audio = "m=audio 20000 RTP/AVP 0\r\n";
    for (name, body, expected) in [
        (
            "an encrypted stream",
            format!("{HEAD}m=audio 20000 RTP/SAVP 0\r\n"),
            Err(SdpFault::Protection),
        ),
        (
            "DTLS",
            format!("{HEAD}m=audio 20000 UDP/TLS/RTP/SAVPF 0\r\n"),
            Err(SdpFault::Protection),
        ),
        (
            "plain beside encrypted",
            format!("{HEAD}m=audio 20000 RTP/SAVP 0\r\n{audio}"),
            Ok(Some(20000)),
        ),
        (
            "only video",
            format!("{HEAD}m=video 20000 RTP/AVP 31\r\n"),
            Err(SdpFault::NoAudio),
        ),
        ("a refused stream", format!("{HEAD}m=audio 0 RTP/AVP 0\r\n"), Ok(None)),
        (
            "a wanted one after a refused one",
            format!("{HEAD}m=audio 0 RTP/AVP 0\r\n{audio}"),
            Ok(Some(20000)),
        ),
        (
            "a port with a sign",
            format!("{HEAD}m=audio +20000 RTP/AVP 0\r\n"),
            Err(SdpFault::Malformed(6)),
        ),
        (
            "a system port",
            format!("{HEAD}m=audio 53 RTP/AVP 0\r\n"),
            Err(SdpFault::Target),
        ),
        (
            "RTCP beyond the last port",
            format!("{HEAD}m=audio 65535 RTP/AVP 0\r\n"),
            Err(SdpFault::Target),
        ),
        (
            "the same with a named RTCP port",
            format!("{HEAD}m=audio 65535 RTP/AVP 0\r\na=rtcp:9000\r\n"),
            Ok(Some(65535)),
        ),
        (
            "an unknown line",
            format!("{HEAD}{audio}x=1\r\n"),
            Err(SdpFault::Malformed(7)),
        ),
        (
            "a second origin",
            format!("{HEAD}o=- 2 2 IN IP4 192.0.2.10\r\n{audio}"),
            Err(SdpFault::Malformed(6)),
        ),
        (
            "line ends of Unix and an empty last line",
            format!("{HEAD}{audio}\r\n").replace('\r', ""),
            Ok(Some(20000)),
        ),
        (
            "an address scope",
            HEAD.replace("c=IN IP4 192.0.2.10", "c=IN IP4 192.0.2.10/127") + audio,
            Err(SdpFault::Target),
        ),
        (
            "the other family",
            HEAD.replace("c=IN IP4", "c=IN IP6") + audio,
            Err(SdpFault::Target),
        ),
        (
            "no address at all",
            HEAD.replace("c=IN IP4 192.0.2.10\r\n", "") + audio,
            Err(SdpFault::Target),
        ),
        (
            "an address of its own",
            HEAD.replace("c=IN IP4 192.0.2.10", "c=IN IP4 phone.example") + audio + "c=IN IP6 2001:db8::1\r\n",
            Ok(Some(20000)),
        ),
    ] {
        let port = read(&body).map(|description| description.remote_rtp.map(|address| address.port()));
        assert_eq!(port, expected, "{name}");
    }
}

#[test]
fn hold_is_understood_in_both_forms() {
    for (address, said, direction) in [
        ("192.0.2.10", "", Direction::SendReceive),
        ("192.0.2.10", "a=sendonly\r\n", Direction::SendOnly),
        ("192.0.2.10", "a=recvonly\r\na=inactive\r\n", Direction::Inactive),
        ("0.0.0.0", "", Direction::SendOnly),
        ("0.0.0.0", "a=recvonly\r\n", Direction::Inactive),
    ] {
        let body = HEAD.replace("c=IN IP4 192.0.2.10", &format!("c=IN IP4 {address}"));
        let description = read(&format!("{body}m=audio 20000 RTP/AVP 0\r\n{said}")).unwrap();
        assert_eq!(description.direction, direction, "{address} {said}");
        assert_eq!(
            description.remote_rtp.is_some(),
            address != "0.0.0.0",
            "{address} {said}"
        );
        let written = text(&description.written(Way::Relay(ours()), &mut origin()));
        let lines = written
            .lines()
            .filter(|line| Direction::from_name(&line[2..]).is_some());
        assert_eq!(lines.count(), 1, "one choice: {written}");
        assert!(written.contains("m=audio 40000 "), "{written}");
    }
}

#[test]
fn the_version_grows_when_the_body_changes_and_only_then() {
    let mut origin = origin();
    let one = read(&format!("{HEAD}m=audio 20000 RTP/AVP 0\r\n")).unwrap();
    let held = read(&format!("{HEAD}m=audio 20000 RTP/AVP 0\r\na=sendonly\r\n")).unwrap();
    // Moving to another port of its own changes nothing that the other party sees.
    let moved = read(&format!("{HEAD}m=audio 30000 RTP/AVP 0\r\n")).unwrap();
    let versions = [&one, &one, &moved, &held, &held, &one].map(|description| {
        let body = text(&description.written(Way::Relay(ours()), &mut origin));
        body.split_ascii_whitespace().nth(3).unwrap().to_owned()
    });
    assert_eq!(versions, ["1", "1", "1", "2", "2", "3"]);
}

#[test]
fn an_answer_fits_its_offer() {
    let audio = "m=audio 20000 RTP/AVP 0\r\n";
    let video = "m=video 20002 RTP/AVP 31\r\n";
    let refused = "m=audio 0 RTP/AVP 0\r\n";
    for (name, offer, answer, fits) in [
        ("the same", [audio, video], [audio, video], true),
        (
            "video refused",
            [audio, video],
            [audio, "m=video 0 RTP/AVP 31\r\n"],
            true,
        ),
        ("audio refused", [audio, ""], [refused, ""], true),
        ("one stream short", [audio, video], [audio, ""], false),
        ("one stream more", [audio, ""], [audio, video], false),
        ("another order", [audio, video], [video, audio], false),
        ("a refused stream revived", [refused, ""], [audio, ""], false),
    ] {
        let [offer, answer] = [offer, answer].map(|streams| read(&format!("{HEAD}{}", streams.concat())).unwrap());
        assert_eq!(answer.answers(&offer).is_ok(), fits, "{name}");
    }
}

#[test]
fn an_early_answer_takes_one_voice_codec_and_its_events() {
    let offer = read(&format!(
        "{HEAD}m=video 20002 RTP/AVP 31\r\nm=audio 20000 RTP/AVP 96 97 0 99\r\na=rtpmap:96 opus/48000/2\r\n\
         a=rtpmap:97 PCMA/8000\r\na=rtpmap:99 telephone-event/8000\r\na=fmtp:99 0-11\r\na=recvonly\r\n"
    ))
    .unwrap();
    let mut caller = origin();
    let early = offer.early_answer(ours(), &mut caller).unwrap();
    assert_eq!(
        early.codec,
        PlayCodec {
            law: Law::A,
            payload: 97
        }
    );
    let answered = read_ours(&early.body);
    answered.answers(&offer).unwrap();
    assert_eq!(answered.direction, Direction::SendOnly);
    assert!(text(&early.body).contains("m=video 0 RTP/AVP 31\r\nm=audio 40000 RTP/AVP 97 99\r\n"));
    assert!(text(&early.body).ends_with("a=fmtp:99 0-11\r\na=ptime:20\r\na=sendonly\r\n"));
    assert_eq!(
        offer.early_answer(ours(), &mut caller).unwrap().body,
        early.body,
        "the same when said again"
    );

    let opus = read(&format!(
        "{HEAD}m=audio 20000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n"
    ))
    .unwrap();
    assert_eq!(opus.early_answer(ours(), &mut caller).unwrap_err(), SdpFault::NoVoice);
}

#[test]
fn addresses_are_found_in_text() {
    for (line, shown) in [
        ("192.0.2.10", true),
        ("x192.0.2.10:5060", true),
        ("(192.0.2.10.)", true),
        ("2001:db8::1", true),
        ("[2001:db8::1]:99", true),
        ("::1", true),
        ("0-15,66", false),
        ("96 profile-level-id=42e01f;packetization-mode=1", false),
        ("12:34", false),
        ("1.2.3", false),
    ] {
        assert_eq!(reads_as_address(line), shown, "{line}");
    }
}

fn read(body: &str) -> Result<Description, SdpFault> {
    Description::read(body.as_bytes(), &Rules::default())
}

fn read_ours(body: &Bytes) -> Description {
    Description::read(body, &Rules::default()).expect("we can read what we write")
}

fn text(body: &Bytes) -> String {
    String::from_utf8(body.to_vec()).expect("ASCII in these tests")
}

fn ours() -> SocketAddr {
    "203.0.113.5:40000".parse().unwrap()
}

fn origin() -> Origin {
    Origin::new(&mut Seeded::new(7))
}

const HEAD: &str = "v=0\r\no=alice 1 1 IN IP4 192.0.2.10\r\ns=Alice\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n";
