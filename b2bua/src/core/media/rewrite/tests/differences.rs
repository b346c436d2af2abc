//! Our reader and writer beside those of `sdp-types`, with which descriptions were read before: what is refused, what is
//! understood, and what crosses is the same, apart from the differences that are listed here, each with its reason.

use std::collections::BTreeMap;

use cusax_common::core::entropy::Seeded;

use super::super::shown::reads_as_address;
use super::super::*;
use super::oracle::Said;

/// A difference: when it is one, by what the library and what we make of a description.
type Difference = (&'static str, fn(&str, &SdpFault, &SdpFault) -> bool);

/// A line that does not cross any more, or not as it did.
type Stopped = (&'static str, fn(&str) -> bool);

/// Both refuse, by another fault.
const OTHER_FAULT: [Difference; 2] = [
    (
        "of several faults the first line with one is told, be it one of shape or of content",
        |_, library, ours| is_of_shape(library) && is_of_shape(ours),
    ),
    (
        "a line that is not read has a fault, and a later one as well",
        |body, library, _| unread(body, library),
    ),
];

/// Only the library refuses.
const LENIENT: [Difference; 1] = [(
    "times, repetitions and zones are neither used nor passed on, so that it is nothing to us what they say",
    |body, library, _| unread(body, library),
)];

/// Only we refuse.
const STRICT: [Difference; 3] = [
    (
        "a bandwidth is made of digits (RFC 8866 §9), so that the line can be passed on as it came",
        |body, _, ours| told(body, ours).is_some_and(|line| line.starts_with("b=") && line.contains('+')),
    ),
    (
        "no medium and no protocol is called like an address; it would cross, since an answer is told by these words",
        |body, _, ours| told(body, ours).is_some_and(|line| line.starts_with("m=") && line.contains('.')),
    ),
    (
        "more addresses than streams have use for are nonsense, and each is looked for in each line",
        |body, _, ours| *ours == SdpFault::TooLarge && body.matches("c=").count() > 16,
    ),
];

/// Lines that cross by the library and not by us, or not so.
const STOPPED: [Stopped; 3] = [
    ("a bandwidth may be called like an address", |line| {
        line.starts_with("b=") && line.contains('.')
    }),
    ("name and value may be an address together", |line| {
        line.starts_with("a=") && reads_as_address(&line[2..])
    }),
    ("a format may be the host that the description names", |line| {
        line.starts_with("m=") && line.contains("phone.example")
    }),
];

#[test]
fn descriptions_are_read_and_written_as_by_the_library_apart_from_what_is_listed() {
    let rules = Rules::default();
    let mut met: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut accepted = 0;
    let samples = samples();
    for body in samples.iter().cloned().chain(mutations(&samples)) {
        accepted += usize::from(compare(&body, &rules, &mut met));
    }
    assert!(accepted > 2_000, "{accepted} of them are descriptions");
    let listed = OTHER_FAULT.iter().chain(&LENIENT).chain(&STRICT).map(|(why, _)| *why);
    for why in listed.chain(STOPPED.map(|(why, _)| why)).chain([ZEROS]) {
        assert!(met.contains_key(why), "no difference any more: {why}\n{met:#?}");
    }
}

/// Whether both accept it.
fn compare(body: &[u8], rules: &Rules, met: &mut BTreeMap<&'static str, usize>) -> bool {
    let text = String::from_utf8_lossy(body).into_owned();
    let mut explained = |differences: &[Difference], library: &SdpFault, ours: &SdpFault| {
        let why = differences.iter().find(|(_, applies)| applies(&text, library, ours));
        let Some((why, _)) = why else {
            panic!("the library: {library:?}, we: {ours:?}\n{text:?}");
        };
        *met.entry(why).or_default() += 1;
    };
    let (library, ours) = match (Said::read(body, rules), Description::read(body, rules)) {
        (Ok(library), Ok(ours)) => (library, ours),
        (Err(library), Err(ours)) => {
            if library != ours {
                explained(&[&OTHER_FAULT[..], &STRICT].concat(), &library, &ours);
            }
            return false;
        }
        (Err(library), Ok(_)) => {
            explained(&LENIENT, &library, &library);
            return false;
        }
        (Ok(_), Err(ours)) => {
            explained(&STRICT, &ours, &ours);
            return false;
        }
    };
    assert_eq!(ours.direction, library.direction, "{text:?}");
    assert_eq!(ours.remote_rtp.map(|at| (at.ip(), at.port())), library.rtp, "{text:?}");
    assert_eq!(ours.remote_rtcp.map(|at| at.port()), library.rtcp, "{text:?}");
    assert_eq!(ours.video, library.video, "{text:?}");
    assert_eq!(ours.g711, library.g711, "{text:?}");
    assert_eq!(ours.telephone_event, library.telephone_event, "{text:?}");
    let audio = [(RELAYED_MEDIA, RELAYED_PROTOCOL)];
    let kinds = ours.kinds_before().chain(audio).chain(ours.kinds_behind());
    let kinds: Vec<_> = kinds.map(|(media, by)| (media.to_owned(), by.to_owned())).collect();
    assert_eq!(kinds, library.streams, "{text:?}");
    assert_eq!(ours.kinds_before().count(), ours.relayed, "{text:?}");

    let relay = Way::Relay("203.0.113.5:40000".parse().unwrap());
    let mut origin = Origin::new(&mut Seeded::new(7));
    let relayed = lines(&ours.written(relay, &mut origin));
    same_lines(&library.relayed(40000), &relayed, met, &text);
    same_lines(
        &library.direct(),
        &lines(&ours.written(Way::Direct, &mut origin)),
        met,
        &text,
    );
    let early = ours
        .early_answer("203.0.113.5:40000".parse().unwrap(), &mut origin)
        .ok();
    let early = early.map(|early| lines(&early.body));
    assert_eq!(early.is_some(), library.early(40000).is_some(), "{text:?}");
    if let (Some(theirs), Some(ours)) = (library.early(40000), early) {
        same_lines(&theirs, &ours, met, &text);
    }
    true
}

fn same_lines(library: &[String], ours: &[String], met: &mut BTreeMap<&'static str, usize>, text: &str) {
    let mut ours = ours.iter().peekable();
    for line in library {
        if ours.next_if_eq(&line).is_some() {
            continue;
        }
        if line.starts_with("b=") && ours.next_if(|ours| without_zeros(ours) == *line).is_some() {
            *met.entry(ZEROS).or_default() += 1;
            continue;
        }
        let why = STOPPED.iter().find(|(_, applies)| applies(line));
        let Some((why, _)) = why else {
            panic!("{line:?} against {:?}\n{text:?}", ours.peek());
        };
        *met.entry(why).or_default() += 1;
        if line.starts_with("m=") {
            assert!(ours.next().is_some_and(|line| line.ends_with(" *")), "{text:?}");
        }
    }
    assert_eq!(ours.next(), None, "{text:?}");
}

const ZEROS: &str = "the zeros before a bandwidth cross as they came";

fn without_zeros(line: &str) -> String {
    let (name, number) = line.split_once(':').unwrap_or_default();
    format!("{name}:{}", number.parse::<u64>().unwrap_or_default())
}

fn lines(body: &[u8]) -> Vec<String> {
    let body = std::str::from_utf8(body).unwrap();
    assert!(body.ends_with("\r\n"));
    let lines = body.split_terminator("\r\n");
    lines
        .filter(|line| !line.starts_with("o=") && !line.starts_with("c="))
        .map(str::to_owned)
        .collect()
}

fn is_of_shape(fault: &SdpFault) -> bool {
    matches!(fault, SdpFault::Malformed(_) | SdpFault::TooLarge | SdpFault::NoMedia)
}

/// Whether the line that a fault tells is one that we do not read.
fn unread(body: &str, fault: &SdpFault) -> bool {
    told(body, fault).is_some_and(|line| line.starts_with(['t', 'r', 'z']))
}

/// The line that a fault tells.
fn told<'a>(body: &'a str, fault: &SdpFault) -> Option<&'a str> {
    match fault {
        SdpFault::Malformed(number) => body.split('\n').nth(number.checked_sub(1)?),
        _ => None,
    }
}

fn samples() -> Vec<Vec<u8>> {
    let torture = include_str!("../../../../../../tests/fixtures/sdp/torture.jsonl")
        .lines()
        .map(|row| {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            row["sdp"].as_str().unwrap().as_bytes().to_vec()
        });
    torture.chain(PHONES.map(|phone| phone.as_bytes().to_vec())).collect()
}

/// Each sample many times over, with lines lost, doubled, moved, put in and spoilt.
fn mutations(samples: &[Vec<u8>]) -> impl Iterator<Item = Vec<u8>> {
    let ordinary: Vec<_> = samples.iter().filter(|body| body.len() < 2_000).cloned().collect();
    (0..12_000_u64).map(move |seed| {
        let mut random = Seeded::new(seed);
        let mut below = |limit: usize| usize::try_from(random.next_u64() % limit.max(1) as u64).unwrap();
        // Those of phones more often, since most others are refused for what they were made for.
        let from = if below(4) == 0 {
            0
        } else {
            ordinary.len() - PHONES.len()
        };
        let body = &ordinary[from + below(ordinary.len() - from)];
        let mut lines: Vec<Vec<u8>> = body.split(|&octet| octet == b'\n').map(<[u8]>::to_vec).collect();
        for _ in 0..=below(4) {
            let (at, other) = (below(lines.len()), below(lines.len()));
            match below(13) {
                0 => drop(lines.remove(at)),
                1 => lines.insert(other, lines[at].clone()),
                2 => lines.swap(at, other),
                3..=7 => lines.insert(at, format!("{}\r", LINES[below(LINES.len())]).into_bytes()),
                8 => lines.iter_mut().for_each(|line| line.retain(|&octet| octet != b'\r')),
                9 => {
                    let line = lines[at].clone();
                    let times = below(40);
                    lines.splice(at..at, std::iter::repeat_n(line, times));
                }
                10 => {
                    let (end, addresses) = (lines.len() - 1, 0..below(40));
                    let addresses = addresses.map(|number| format!("c=IN IP4 192.0.2.{number}\r").into_bytes());
                    lines.splice(end..end, addresses);
                }
                11 if !lines[at].is_empty() => {
                    let place = below(lines[at].len());
                    lines[at][place] = OCTETS[below(OCTETS.len())];
                }
                _ => {
                    let place = below(lines[at].len() + 1);
                    lines[at].insert(place, OCTETS[below(OCTETS.len())]);
                }
            }
            if lines.is_empty() {
                break;
            }
        }
        lines.join(&b'\n')
    })
}

/// What phones say.
const PHONES: [&str; 4] = [
    "v=0\r\no=phone 3890000000 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
     m=audio 40000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
     a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n",
    "v=0\r\no=alice 1 1 IN IP4 phone.example\r\ns=Alice\r\ni=a call\r\nu=http://example.com\r\ne=a@example.com\r\n\
     p=+1 555\r\nc=IN IP4 192.0.2.10\r\nb=AS:120\r\nt=1 2\r\nr=7d 1h 0\r\nz=1 -1h\r\nk=clear:x\r\na=tool:x\r\na=recvonly\r\n\
     m=video 20002 RTP/AVP 31\r\ni=x\r\na=rtpmap:31 H261/90000\r\nm=audio 20000/2 RTP/AVP 96 97 0 99\r\n\
     b=TIAS:64000\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1;  x = y\r\na=rtpmap:97 PCMA/8000\r\n\
     a=rtpmap:99 telephone-event/8000\r\na=fmtp:99 0-11\r\na=rtcp:30001\r\na=maxptime:40\r\n",
    "v=0\r\no=- 1 1 IN IP6 2001:db8::10\r\ns=-\r\nc=IN IP6 2001:db8::10\r\nt=0 0\r\na=group:BUNDLE 0\r\na=sendonly\r\n\
     m=audio 0 RTP/SAVP 0\r\na=crypto:1 x inline:y\r\nm=audio 20000 RTP/AVP 0 8 18 13\r\na=candidate:1 1 UDP 1 2001:db8::1 9\r\n\
     a=fmtp:18 annexb=no\r\na=mid:0\r\na=X-kept:yes\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
    "v=0\no=- 1 1 IN IP4 192.0.2.10\ns= \nt=0 0\nm=audio 20000 RTP/AVP 9 8\nc=IN IP4 0.0.0.0\na=inactive\n",
];

/// What is put in.
const LINES: [&str; 56] = [
    "",
    "=",
    "a=",
    "a=:",
    "a",
    "x=1",
    "v=0",
    "v=1",
    "o=- 2 2 IN IP4 192.0.2.99",
    "o=-  2  +2 in ip4 host.example",
    "o=- 2 2 IN IP4",
    "s=again",
    "c=IN IP4 192.0.2.11",
    "c=in  ip6  2001:db8::11",
    "c=IN IP4 phone.example",
    "c=TN E164 +1",
    "c=IN/ IP4 192.0.2.11",
    "c=IN IP4 127.0.0.1",
    "b=AS:+64",
    "b=AS:064",
    "b=X-192.0.2.77:1",
    "b=AS",
    "b=AS:64:1",
    "b=:18446744073709551615",
    "b=:18446744073709551616",
    "t=now",
    "t=1 2",
    "r=x",
    "r=7d 1h 0 25h",
    "z=1",
    "z=2882844526 -1h 2898848070 0",
    "k=prompt",
    "i=again",
    "a=fade::1",
    "a=facade:2001:db8:1:2:3:4:5:6",
    "a=x-nat:me@192.0.2.10",
    "a=x-host:phone.example",
    "a=X-Rtcp-Mux",
    "a=RTCP-MUX",
    "a=Zrtp-Hash:1",
    "a=fingerprint: MD5 00:11",
    "a=FINGERPRINT:md2 00",
    "a=SendOnly",
    "a=sendonly:x",
    "a=inactive",
    "a=rtpmap:8 pcma/8000/2/x",
    "a=rtpmap:0 PCMA/16000",
    "a=rtpmap:101 Telephone-Event/16000",
    "a=rtpmap:+96 L16/0",
    "a=ptime: 20 ",
    "a=ptime:nan",
    "a=rtcp:1024 IN IP4 192.0.2.10",
    "m=audio 20000 RTP/AVP 0  8 ",
    "m=192.0.2.10 1 x/1.2.3.4 y",
    "m=image 65535/65535 udptl t38",
    "m=x 1 y phone.example",
];

/// What an octet becomes.
const OCTETS: &[u8] = b" :=/+-09aAzmct*.\r\n\t\0\x7f\xc3\xa4\xff\xf0";
