//! Messages that say something twice, at great length or a thousand times, from somebody who has an account, under
//! simulated time: they are refused, or what they say is kept whole.

use std::sync::Arc;

use cusax_common::core::bridge::ToXmpp;
use cusax_common::core::sip::typed::{Contact, ContentType, From, Route, To, Via};
use cusax_common::core::sip::{HeaderName, Method, Request, Response, Status, TypedHeader as _, Value};
use cusax_common::core::user::{Aor, User};
use cusax_tests::peer::phone::Stage;
use cusax_tests::sim::hand::{Hand, Heard, Text, codes};
use cusax_tests::sim::{SECOND, Scene, address};

const ALICE: &str = "<sip:alice.phone@sip.example.com>";
const BOB: &str = "<sip:bob.phone@sip.example.com>";
const CALL_BOB: &str = "sip:bob.phone@sip.example.com";

/// RFC 3261 §7.3.1: of these there is one. Whoever takes the first and whoever takes the last must not be two.
#[test]
fn what_may_be_said_once_is_not_said_twice() {
    let rows: [(&str, &str); 11] = [
        ("From", "<sip:bob.phone@sip.example.com>;tag=f2"),
        ("From", "<sip:alice.phone@sip.example.com>;tag=f2"),
        ("To", BOB),
        ("To", ALICE),
        ("Call-ID", "another"),
        ("CSeq", "9 REGISTER"),
        ("CSeq", "9 INVITE"),
        ("Max-Forwards", "69"),
        ("Content-Length", "5"),
        ("f", "<sip:bob.phone@sip.example.com>;tag=f2"),
        ("i", "another"),
    ];
    for (index, (name, value)) in rows.into_iter().enumerate() {
        for before in [false, true] {
            let mut scene = Scene::registered(100 + index as u64);
            let mut hand = Hand::new(&mut scene.world, address(66, 5060), "alice");
            for text in [hand.register(), hand.invite(CALL_BOB)] {
                let length = text.body.len().to_string();
                let whole = if name == "Content-Length" {
                    text.with(name, &length)
                } else {
                    text
                };
                let text = match before {
                    true => whole.before(name, value),
                    false => whole.and(name, value),
                };
                let answers = hand.prove(&mut scene.world, &text);
                assert_eq!(codes(&answers), [400], "{} {name} before: {before}", text.start);
            }
            scene.world.run(5 * SECOND);
            assert_eq!(
                (scene.world.node.bindings(), scene.world.node.calls()),
                (2, 0),
                "{name}"
            );
            assert!(
                scene.world.phone(scene.bob).requests(&Method::Invite).is_empty(),
                "{name}"
            );
        }
    }
    // Nor is what marks a dialog or a transaction said twice in one line.
    let mut scene = Scene::registered(97);
    let mut hand = Hand::new(&mut scene.world, address(66, 5060), "alice");
    for name in ["From", "To", "Via"] {
        let text = hand.invite(CALL_BOB);
        let more = if name == "Via" {
            ";branch=z9hG4bKx"
        } else {
            ";tag=x;tag=y"
        };
        let line = format!("{}{more}", said(&text, name));
        assert_eq!(
            codes(&hand.prove(&mut scene.world, &text.with(name, &line))),
            [400],
            "{line}"
        );
    }
    assert_eq!(scene.world.node.calls(), 0);
    // The same without the second line is carried out, so that it was this that was refused.
    let mut scene = Scene::registered(99);
    let mut hand = Hand::new(&mut scene.world, address(66, 5060), "alice");
    let text = hand.register();
    assert_eq!(codes(&hand.prove(&mut scene.world, &text)), [200]);
    let text = hand.invite(CALL_BOB);
    assert_eq!(codes(&hand.prove(&mut scene.world, &text))[0], 100);
    assert_eq!(scene.world.node.bindings(), 3);
}

/// A dialog has one remote target (RFC 3261 §12.1.1); a registration may have many contacts.
#[test]
fn a_call_has_one_contact() {
    let mut scene = Scene::registered(98);
    let mut hand = Hand::new(&mut scene.world, address(66, 5060), "alice");
    let text = hand.invite(CALL_BOB).and("Contact", "<sip:alice@192.0.2.67>");
    assert_eq!(
        *codes(&hand.prove(&mut scene.world, &text)).last().expect("an answer"),
        400
    );
    let text = hand.invite(CALL_BOB).with("Contact", "*");
    assert_eq!(
        *codes(&hand.prove(&mut scene.world, &text)).last().expect("an answer"),
        400
    );
    scene.world.run(5 * SECOND);
    assert!(scene.world.phone(scene.bob).requests(&Method::Invite).is_empty());
    let text = hand.register().and("Contact", "<sip:alice@192.0.2.67>");
    let answers = hand.prove(&mut scene.world, &text);
    assert_eq!(codes(&answers), [200]);
    let response = answers[0].response().expect("an answer");
    assert_eq!(response.headers.list::<Contact>().expect("contacts").len(), 3);
}

/// What others have cut, or copied into a place that was too small.
const LENGTHS: [usize; 6] = [255, 256, 511, 512, 4096, 65_536];

/// A field of a request that is as long as wanted, and how it is read in what comes of it.
type Field = (&'static str, fn(Text, &str) -> Text, fn(&Response) -> Option<String>);

const FIELDS: [Field; 7] = [
    (
        "branch",
        |text, long| {
            text.with(
                "Via",
                &format!("SIP/2.0/UDP 192.0.2.66:5060;branch=z9hG4bK{long};rport"),
            )
        },
        |response| {
            let via: Via = response.headers.one().ok()?;
            Some(via.branch()?.strip_prefix("z9hG4bK")?.to_owned())
        },
    ),
    (
        "host of the Via",
        |text, long| text.with("Via", &format!("SIP/2.0/UDP {long};branch=z9hG4bKlonghost;rport")),
        |response| Some(response.headers.one::<Via>().ok()?.host.to_string()),
    ),
    (
        "tag",
        |text, long| {
            let from = said(&text, "From");
            let (address, _) = from.split_once(';').expect("a tag");
            let from = format!("{address};tag={long}");
            text.with("From", &from)
        },
        |response| Some(response.headers.one::<From>().ok()?.tag()?.to_owned()),
    ),
    (
        "display name",
        |text, long| {
            let from = said(&text, "From");
            text.with("From", &format!("\"{long}\" {from}"))
        },
        |response| {
            Some(
                response
                    .headers
                    .one::<From>()
                    .ok()?
                    .display
                    .clone()?
                    .as_str()
                    .to_owned(),
            )
        },
    ),
    (
        "display name of the callee",
        |text, long| {
            let to = said(&text, "To");
            text.with("To", &format!("\"{long}\" {to}"))
        },
        |response| Some(response.headers.one::<To>().ok()?.display.clone()?.as_str().to_owned()),
    ),
    (
        "Call-ID",
        |text, long| text.with("Call-ID", long),
        |response| {
            Some(
                response
                    .headers
                    .get(&"Call-ID".parse().ok()?)?
                    .as_str()
                    .ok()?
                    .to_owned(),
            )
        },
    ),
    (
        "user of the contact",
        |text, long| text.with("Contact", &format!("<sip:{long}@192.0.2.66:5060>")),
        |response| {
            let contacts = response.headers.list::<Contact>().ok()?;
            let user = |contact: &Contact| Some(contact.uri.as_sip()?.user.as_ref()?.as_str().to_owned());
            contacts.iter().filter_map(user).max_by_key(String::len)
        },
    ),
];

fn said(text: &Text, name: &str) -> String {
    let line = text.lines.iter().find(|(found, _)| found == name);
    line.expect("a line").1.clone()
}

#[test]
fn what_is_long_is_registered_whole_or_refused() {
    let mut kept = 0;
    for (name, put, read) in FIELDS {
        for length in LENGTHS {
            let long = "x".repeat(length);
            let mut scene = Scene::registered(length as u64);
            let mut hand = Hand::new(&mut scene.world, address(66, 5060), "bob");
            let text = put(hand.register(), &long);
            let answers = hand.prove(&mut scene.world, &text);
            let what = format!("{name} of {length}");
            match answers.as_slice() {
                [answer] if answer.code() == Some(200) => {
                    let response = answer.response().expect("a message");
                    assert_eq!(read(&response).as_deref(), Some(&*long), "{what}");
                    assert_eq!(scene.world.node.bindings(), 3, "{what}");
                    kept += 1;
                }
                // What does not even fit into a message cannot always be answered.
                [] if length > 65_000 => assert_eq!(scene.world.node.bindings(), 2, "{what}"),
                refused => {
                    assert!(matches!(codes(refused)[..], [400 | 414 | 513]), "{what}: {refused:?}");
                    assert_eq!(scene.world.node.bindings(), 2, "{what}");
                }
            }
            if name == "user of the contact" {
                // Whoever calls is led to the whole contact; presence knows nothing of it.
                scene.alice_calls(CALL_BOB);
                scene.world.run(5 * SECOND);
                let heard = hand.hear(&mut scene.world, SECOND);
                let rung = heard.iter().find_map(|one| one.request()?.uri.as_sip()?.user.clone());
                assert_eq!(rung.is_some(), scene.world.node.bindings() == 3, "{what}");
                assert!(rung.is_none_or(|user| user.as_str() == long), "{what}");
            }
        }
    }
    println!("{kept} were kept");
    assert!(kept > 20, "{kept}");
}

#[test]
fn what_is_long_makes_a_whole_dialog_or_none() {
    let mut up = 0;
    for (name, put, read) in FIELDS {
        for length in LENGTHS {
            let long = "x".repeat(length);
            let mut scene = Scene::registered(length as u64 + 1);
            let mut hand = Hand::new(&mut scene.world, address(66, 5060), "alice");
            let text = put(hand.invite(CALL_BOB), &long);
            let mut answers = hand.prove(&mut scene.world, &text);
            answers.extend(hand.hear(&mut scene.world, 2 * SECOND));
            let what = format!("{name} of {length}");
            let answered = answers.iter().find(|answer| answer.code() == Some(200));
            let Some(answered) = answered else {
                let refused = codes(&answers);
                assert!(
                    matches!(refused[..], [400 | 414 | 513] | [100, 400]) || refused.is_empty() && length > 65_000,
                    "{what}: {refused:?}"
                );
                assert!(
                    scene.world.phone(scene.bob).requests(&Method::Invite).is_empty(),
                    "{what}"
                );
                continue;
            };
            let answered = &answered.response().expect("a message");
            if name != "user of the contact" {
                assert_eq!(read(answered).as_deref(), Some(&*long), "{what}");
            }
            assert_eq!(scene.stage(scene.bob), &Stage::Up, "{what}");
            up += 1;
            // The dialog is found by what was said, and by no part of it.
            let to: To = answered.headers.one().expect("a To");
            let within = |hand: &mut Hand, method: &str, from: &str, call_id: &str| {
                let text = hand.text(method, CALL_BOB);
                text.with("From", from)
                    .with("To", &to.to_string())
                    .with("Call-ID", call_id)
            };
            let (from, call_id) = (said(&text, "From"), said(&text, "Call-ID"));
            let ack = within(&mut hand, "ACK", &from, &call_id);
            let number = said(&text, "CSeq").split(' ').next().expect("a number").to_owned();
            hand.say(&mut scene.world, &ack.with("CSeq", &format!("{number} ACK")));
            let mut shorter = vec![(from.clone(), format!("{call_id}x"))];
            if name == "tag" {
                shorter.push((from[..from.len() - 1].to_owned(), call_id.clone()));
                shorter.push((format!("{from}x"), call_id.clone()));
            }
            if name == "Call-ID" {
                shorter.push((from.clone(), call_id[..call_id.len() - 1].to_owned()));
            }
            for (from, call_id) in shorter {
                let bye = within(&mut hand, "BYE", &from, &call_id);
                let refused = codes(&hand.say(&mut scene.world, &bye));
                assert!(matches!(refused[..], [481 | 400]), "{what}: {refused:?}");
                assert_eq!(scene.stage(scene.bob), &Stage::Up, "{what}");
            }
            let bye = within(&mut hand, "BYE", &from, &call_id);
            assert_eq!(codes(&hand.say(&mut scene.world, &bye)), [200], "{what}");
            assert_eq!(scene.stage(scene.bob), &Stage::Over(None), "{what}");
        }
    }
    println!("{up} calls were up");
    assert!(up > 25, "{up}");
}

/// A name that somebody has is reached by this name and by none that only begins like it, or that it begins like.
#[test]
fn a_long_name_is_its_own() {
    for length in [64, 200, 255, 256, 511, 512, 4096] {
        let name = "x".repeat(length);
        let aor = format!("sip:{name}@sip.example.com");
        let exists = aor.parse::<Aor>().is_ok();
        for (dialled, there) in [
            (name.clone(), exists),
            (format!("{name}x"), false),
            (name[..length - 1].to_owned(), false),
            (format!("{name}%00"), false),
        ] {
            let mut scene = Scene::registered(length as u64 + 2);
            let mut hand = Hand::new(&mut scene.world, address(66, 5060), "alice");
            if exists {
                register_as(&mut scene, &mut hand, &aor);
            }
            let mut caller = Hand::new(&mut scene.world, address(67, 5060), "bob");
            let text = caller.invite(&format!("sip:{dialled}@sip.example.com"));
            let answers = caller.prove(&mut scene.world, &text);
            let rung = hand
                .hear(&mut scene.world, SECOND)
                .iter()
                .any(|one| one.request().is_some());
            assert_eq!(rung, there, "{length}: {} characters", dialled.len());
            let last = codes(&answers).last().copied();
            // A proof for an address of that length is none.
            assert!(
                there || matches!(last, Some(400 | 404 | 407 | 414 | 484)),
                "{length}: {last:?}"
            );
        }
    }
}

/// Alice gets one more address, registers at it, and presence shows it whole.
fn register_as(scene: &mut Scene, hand: &mut Hand, aor: &str) {
    let mut user = User::clone(&scene.world.users[0]);
    user.aors.push(aor.parse().expect("an address"));
    scene.world.users[0] = Arc::new(user);
    scene.world.users_changed();
    scene.world.run(5 * SECOND);
    let named = format!("<{aor}>");
    let text = hand
        .register()
        .with("From", &format!("{named};tag=1"))
        .with("To", &named);
    assert_eq!(codes(&hand.prove(&mut scene.world, &text)), [200], "{aor}");
    let shown = scene.world.bridge.iter().any(|(_, message)| match message {
        ToXmpp::Registered { aors, .. } => aors.iter().any(|one| one.as_str() == aor),
        _ => false,
    });
    assert!(shown, "{aor}");
}

/// A host that begins like ours is not ours.
#[test]
fn a_long_host_is_not_taken_for_ours() {
    for length in [2, 30, 47, 100, 200].into_iter().chain(LENGTHS) {
        for host in [
            format!("sip.example.com.{}", "x.".repeat(length / 2).trim_end_matches('.')),
            format!("{}sip.example.com", "x.".repeat(length / 2)),
            format!("sip.example.com{}", "m".repeat(length)),
        ] {
            let mut scene = Scene::registered(length as u64 + 3);
            let mut hand = Hand::new(&mut scene.world, address(66, 5060), "alice");
            let text = hand.invite(&format!("sip:bob.phone@{host}"));
            let answers = hand.prove(&mut scene.world, &text);
            let last = codes(&answers).last().copied();
            assert!(
                matches!(last, Some(400 | 403 | 404 | 414 | 484 | 513)) || last.is_none() && length > 65_000,
                "{length}: {last:?}"
            );
            scene.world.run(2 * SECOND);
            assert!(
                scene.world.phone(scene.bob).requests(&Method::Invite).is_empty(),
                "{length}"
            );
            let text = hand.text("REGISTER", &format!("sip:{host}"));
            let last = codes(&hand.prove(&mut scene.world, &text)).last().copied();
            assert!(
                matches!(last, Some(400 | 404 | 414 | 513)) || last.is_none() && length > 65_000,
                "{length}: {last:?}"
            );
        }
    }
}

/// A line, and how many of its kind one message may have.
#[test]
fn a_thousand_lines_are_too_many_and_a_thousand_values_are_carried_or_refused() {
    let values = [
        ("Via", "SIP/2.0/UDP 192.0.2.9"),
        ("Route", "<sip:192.0.2.9;lr>"),
        ("Record-Route", "<sip:192.0.2.9;lr>"),
        ("Accept", "a/b"),
        ("Contact", "<sip:a@192.0.2.9>"),
        ("Supported", "path"),
        ("Require", "path"),
        ("Path", "<sip:192.0.2.9;lr>"),
        ("X-Unknown", "a"),
    ];
    let mut scene = Scene::registered(200);
    let mut hand = Hand::new(&mut scene.world, address(66, 5060), "bob");
    for (name, value) in values {
        for request in ["REGISTER", "INVITE"] {
            let text = |hand: &mut Hand| match request {
                "REGISTER" => hand.register(),
                _ => hand.invite("sip:alice.phone@sip.example.com"),
            };
            let mut lines = text(&mut hand);
            lines.lines.extend(vec![(name.to_owned(), value.to_owned()); 1000]);
            assert_eq!(
                codes(&hand.prove(&mut scene.world, &lines)),
                [513],
                "{request}, {name}, lines"
            );
            let list = text(&mut hand).and(name, &vec![value; 1000].join(","));
            let answers = hand.prove(&mut scene.world, &list);
            let last = codes(&answers).last().copied();
            println!("{request} with a list of {name}: {last:?}");
            assert!(
                matches!(last, Some(180 | 200 | 400 | 403 | 413 | 420 | 513)),
                "{request}, {name}, list: {answers:?}"
            );
            // What an answer repeats (Via, Record-Route) is all of it that comes back.
            let back: usize = answers.iter().map(|one| one.0.len()).sum();
            let came: usize = list.lines.iter().map(|(_, value)| value.len()).sum();
            assert!(back < 3 * came, "{request}, {name}: {back} for {came}");
        }
    }
    scene.world.run(200 * SECOND);
    scene.alice_calls(CALL_BOB);
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Up, "everybody is served as before");
}

/// What is longer than any datagram is refused before anything in it counts.
#[test]
fn a_message_has_an_end() {
    for (length, code) in [(60_000, 200), (64_000, 200), (65_536, 513), (80_000, 513)] {
        let mut scene = Scene::registered(201);
        let mut hand = Hand::new(&mut scene.world, address(66, 5060), "bob");
        for name in ["X-Filler", "Subject"] {
            let text = hand.register().and(name, &"x".repeat(length));
            // The proof stands before it.
            let answers = hand.prove(&mut scene.world, &text);
            assert_eq!(codes(&answers), [code], "{name} of {length}");
        }
        assert_eq!(scene.world.node.bindings(), if code == 200 { 3 } else { 2 }, "{length}");
    }
}

/// Bodies that have tripped others, each with its type.
fn multiparts() -> Vec<(&'static str, String, String)> {
    let mixed = |boundary: &str| format!("multipart/mixed;boundary=\"{boundary}\"");
    let sdp = "Content-Type: application/sdp\r\n\r\nv=0\r\no=- 1 1 IN IP4 192.0.2.66\r\ns=-\r\nc=IN IP4 192.0.2.66\r\nt=0 0\r\n\
               m=audio 4000 RTP/AVP 0\r\n";
    let long = "b".repeat(300);
    let nested: String = (0..100)
        .map(|n| format!("--b{n}\r\nContent-Type: multipart/mixed;boundary=b{}\r\n\r\n", n + 1))
        .collect();
    vec![
        ("nothing", mixed("b"), String::new()),
        ("empty parts", mixed("b"), "--b\r\n".repeat(2000) + "--b--\r\n"),
        ("an offer", mixed("b"), format!("--b\r\n{sdp}--b--\r\n")),
        (
            "a boundary of 300",
            mixed(&long),
            format!("--{long}\r\n{sdp}--{long}--\r\n"),
        ),
        ("no end", mixed("b"), format!("--b\r\n{sdp}")),
        ("no beginning", mixed("b"), sdp.to_owned()),
        (
            "no boundary",
            "multipart/mixed".to_owned(),
            format!("--b\r\n{sdp}--b--\r\n"),
        ),
        ("an empty boundary", mixed(""), format!("--\r\n{sdp}----\r\n")),
        ("100 deep", mixed("b0"), nested),
        (
            "the boundary within bytes",
            mixed("b"),
            "--b\r\nContent-Type: application/octet-stream\r\n\r\n\0\x01--b\x02\r\n--bb\r\n--b--\r\n".to_owned(),
        ),
        ("60,000 bytes", mixed("b"), "--b\r\n\r\n".repeat(8_500)),
        (
            "a message",
            "message/sip".to_owned(),
            "INVITE sip:a@b SIP/2.0\r\n\r\n".to_owned(),
        ),
        (
            "a mixed type",
            "Multipart/MIXED; boundary=b".to_owned(),
            format!("--b\r\n{sdp}--b--\r\n"),
        ),
    ]
}

/// Parts are not looked for: what has any is refused wherever a description could hide in it, and BYE is carried out.
#[test]
fn bodies_of_parts_are_refused_unread() {
    for (name, kind, body) in multiparts() {
        let mut scene = Scene::registered(300);
        let mut hand = Hand::new(&mut scene.world, address(66, 5060), "alice");
        let expected = if body.is_empty() { [100, 180] } else { [100, 415] };
        let text = hand.invite(CALL_BOB).carrying(&kind, body.clone());
        let answers = hand.prove(&mut scene.world, &text);
        let mut got = codes(&answers);
        got.truncate(2);
        assert!(got == expected || got == expected[1..], "INVITE with {name}: {got:?}");
        let text = hand.text("MESSAGE", CALL_BOB).carrying(&kind, body.clone());
        assert_eq!(codes(&hand.say(&mut scene.world, &text)), [405], "MESSAGE with {name}");
        let text = hand.register().carrying(&kind, body.clone());
        assert_eq!(
            codes(&hand.prove(&mut scene.world, &text)),
            [200],
            "REGISTER with {name}"
        );
    }
}

/// The same within a call, where what is none of our business crosses, and in the answer of the one who is called.
#[test]
fn parts_do_not_cross_a_call() {
    for (name, kind, body) in multiparts() {
        if body.is_empty() {
            continue;
        }
        let mut scene = Scene::registered(301);
        let mut hand = Hand::new(&mut scene.world, address(66, 5060), "alice");
        let text = hand.invite(CALL_BOB);
        hand.prove(&mut scene.world, &text);
        let answers = hand.hear(&mut scene.world, 2 * SECOND);
        let answered = answers.iter().find_map(Heard::response).expect("an answer");
        let to = answered.headers.one::<To>().expect("a To").to_string();
        let within = |text: Text, from: &Text| {
            let text = text.with("To", &to).with("From", &said(from, "From"));
            text.with("Call-ID", &said(from, "Call-ID"))
        };
        let ack = within(hand.text("ACK", CALL_BOB), &text);
        let number = said(&text, "CSeq").replace("INVITE", "ACK");
        hand.say(&mut scene.world, &ack.with("CSeq", &number));
        assert_eq!(scene.stage(scene.bob), &Stage::Up);
        let heard = scene.world.phone(scene.bob).heard.len();
        for method in ["INFO", "UPDATE", "INVITE"] {
            let request = within(hand.text(method, CALL_BOB).carrying(&kind, body.clone()), &text);
            let got = codes(&hand.say(&mut scene.world, &request));
            assert_eq!(got.last(), Some(&415), "{method} with {name}: {got:?}");
        }
        assert_eq!(scene.world.phone(scene.bob).heard.len(), heard, "{name}");
        let bye = within(hand.text("BYE", CALL_BOB).carrying(&kind, body.clone()), &text);
        assert_eq!(codes(&hand.say(&mut scene.world, &bye)), [200], "{name}");
        scene.nothing_is_left();

        let (callee, invite) = rung(&mut scene);
        let answer = accepts(&invite, &kind, &body);
        scene.world.inject(callee.address, answer.to_bytes());
        scene.world.run(SECOND / 2);
        let told = scene.world.phone(scene.alice).responses();
        assert!(
            told.iter().all(|response| response
                .headers
                .opt::<ContentType>()
                .is_ok_and(|kind| kind.is_none_or(|kind| kind.is("application/sdp")))),
            "{name}"
        );
        assert_ne!(scene.stage(scene.alice), &Stage::Up, "{name}");
    }
}

/// RFC 3261 §12.1: a route set in which something is missing leads past somebody who wanted to be on the way.
#[test]
fn a_route_set_is_kept_whole_or_not_at_all() {
    let hops = |count: usize| -> Vec<String> { (0..count).map(|n| format!("<sip:p{n}.example.net;lr>")).collect() };
    for (count, kept) in [(1, true), (16, true), (17, false), (1000, false)] {
        let mut scene = Scene::registered(400);
        let mut hand = Hand::new(&mut scene.world, address(66, 5060), "alice");
        let text = hand.invite(CALL_BOB).and("Record-Route", &hops(count).join(","));
        let mut answers = hand.prove(&mut scene.world, &text);
        answers.extend(hand.hear(&mut scene.world, 2 * SECOND));
        assert_eq!(codes(&answers).last(), Some(&if kept { 200 } else { 400 }), "{count}");
        if kept {
            let heard = hand.hear(&mut scene.world, 60 * SECOND);
            let bye = heard
                .iter()
                .find_map(Heard::request)
                .expect("a BYE, as nobody has acknowledged");
            let routes = bye.headers.list::<Route>().expect("routes");
            let routes: Vec<String> = routes.iter().map(|Route(route)| route.to_string()).collect();
            assert_eq!(routes, hops(count));
        }
        scene.nothing_is_left();

        let (mut callee, invite) = rung(&mut scene);
        let mut answer = accepts(&invite, "application/sdp", OFFER);
        answer
            .headers
            .push(HeaderName::RECORD_ROUTE, Value::cleaned(&hops(count).join(",")));
        scene.world.inject(callee.address, answer.to_bytes());
        let heard = callee.hear(&mut scene.world, SECOND / 2);
        let ack = heard.iter().find_map(Heard::request).expect("an ACK");
        let routes = ack.headers.list::<Route>().expect("routes");
        let mut routes: Vec<String> = routes.iter().map(|Route(route)| route.to_string()).collect();
        routes.reverse();
        assert_eq!(routes, if kept { hops(count) } else { Vec::new() }, "{count}");
    }
}

const OFFER: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.67\r\ns=-\r\nc=IN IP4 192.0.2.67\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

/// The 200 of somebody who is called.
fn accepts(invite: &Request, kind: &str, body: &str) -> Response {
    let mut answer = invite.response(Status::OK);
    let mut to: To = invite.headers.one().expect("a To");
    to.set_tag("t");
    answer.headers.replace(&to);
    answer.headers.put(&ContentType::parse(kind).expect("a type"));
    answer
        .headers
        .put(&Contact::new("sip:bob@192.0.2.67".parse().expect("a URI")));
    answer.body = body.to_owned().into();
    answer
}

/// Alice calls Bob, who is registered by hand: the INVITE that reaches him.
fn rung(scene: &mut Scene) -> (Hand, Request) {
    let mut callee = Hand::new(&mut scene.world, address(67, 5060), "bob");
    let text = callee.register();
    assert_eq!(codes(&callee.prove(&mut scene.world, &text)), [200]);
    scene.alice_calls(CALL_BOB);
    let heard = callee.hear(&mut scene.world, SECOND / 2);
    let invite = heard.iter().find_map(Heard::request).expect("an INVITE");
    (callee, invite.clone())
}
