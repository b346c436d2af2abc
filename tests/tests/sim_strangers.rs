//! What somebody who has proved nothing gets out of the service, under simulated time: little, once, and nothing that
//! tells who is there.

use std::time::Duration;

use bytes::Bytes;
use cusax_b2bua::core::flow::{Flow, Identity, ListenerId, Transport};
use cusax_b2bua::core::settings::{Answers, Settings};
use cusax_common::core::sip::{HeaderName, Message, Method, Response, Status};
use cusax_tests::peer::phone::{Account, Phone, Stage};
use cusax_tests::sim::{DOMAIN, SECOND, Scene, address, scene};

/// The shortest that anybody could send, of every method, with and without what would be answered at length.
fn shortest() -> Vec<String> {
    let mut messages = Vec::new();
    for method in [
        "REGISTER",
        "INVITE",
        "OPTIONS",
        "SUBSCRIBE",
        "MESSAGE",
        "BYE",
        "CANCEL",
        "INFO",
        "PUBLISH",
        "X",
    ] {
        for uri in [
            "sip:sip.example.com",
            "sip:alice.phone@sip.example.com",
            "tel:112",
            "http:a",
        ] {
            for more in [
                "",
                "Max-Forwards:0\r\n",
                "Require:a\r\n",
                "k:timer\r\nRequire:x,y,z\r\n",
                "Expires:x\r\n",
            ] {
                for tag in ["", ";tag=b"] {
                    messages.push(format!(
                        "{method} {uri} SIP/2.0\r\nv:SIP/2.0/UDP a;branch=z9hG4bK{}\r\nf:<sip:a@b>;tag=a\r\n\
                         t:<sip:c@d>{tag}\r\ni:{}\r\nCSeq:1 {method}\r\n{more}\r\n",
                        messages.len(),
                        messages.len()
                    ));
                }
            }
        }
    }
    messages
}

/// A REGISTER as long as phones write it.
fn ordinary(user: &str, credentials: bool) -> String {
    let proof = format!(
        "Authorization: Digest username=\"{user}\", realm=\"sip.example.com\", nonce=\"{}\", uri=\"sip:sip.example.com\", \
         response=\"{}\", algorithm=MD5, cnonce=\"1\", nc=00000001, qop=auth\r\n",
        "A".repeat(51),
        "0".repeat(32)
    );
    format!(
        "REGISTER sip:sip.example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.66:5060;branch=z9hG4bK-{user};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{user}@sip.example.com>;tag=f1\r\nTo: <sip:{user}@sip.example.com>\r\n\
         Call-ID: {user}\r\nCSeq: 1 REGISTER\r\nContact: <sip:{user}@192.0.2.66:5060>\r\nExpires: 3600\r\n\
         Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, NOTIFY, INFO, UPDATE, REFER\r\nSupported: path\r\n\
         User-Agent: An Ordinary Phone 1.0\r\n{}Content-Length: 0\r\n\r\n",
        if credentials { &proof } else { "" }
    )
}

/// What comes back for what is sent from there.
fn exchange(scene: &mut Scene, message: &str) -> Vec<(Duration, Bytes)> {
    let from = address(66, 5060);
    scene.world.wire = Some(Vec::new());
    let start = scene.world.elapsed();
    scene.world.inject(from, message.to_owned());
    let mut answers = Vec::new();
    for step in 0..=100 {
        // Closely at first; what comes late is only counted.
        scene.world.run(if step < 100 {
            Duration::from_millis(1)
        } else {
            40 * SECOND
        });
        let wire = scene.world.wire.replace(Vec::new()).unwrap_or_default();
        let back = wire.into_iter().filter(|(_, to, _)| *to == from);
        answers.extend(back.map(|(_, _, bytes)| (scene.world.elapsed() - start, bytes)));
    }
    answers
}

#[test]
fn an_unproved_address_gets_at_most_half_as_much_again_as_came_from_it() {
    let mut scene = Scene::registered(1);
    let mut worst = (0.0, String::new());
    for message in shortest()
        .into_iter()
        .chain([ordinary("alice.phone", false), ordinary("alice.phone", true)])
    {
        let back: usize = exchange(&mut scene, &message)
            .iter()
            .map(|(_, bytes)| bytes.len())
            .sum();
        let ratio = back as f64 / message.len() as f64;
        if ratio > worst.0 {
            worst = (ratio, message);
        }
    }
    println!("at most {:.2} times: {}", worst.0, worst.1);
    assert!(worst.0 <= 1.5 && worst.0 > 1.0, "{worst:?}");
    assert!(
        scene.world.node.counted(|counters| counters.withheld) > 0,
        "the shortest are not answered"
    );
}

#[test]
fn an_ordinary_phone_is_offered_every_algorithm() {
    let mut scene = Scene::registered(2);
    let answers = exchange(&mut scene, &ordinary("alice.phone", false));
    let Ok(Message::Response(response)) = Message::parse(answers[0].1.clone()) else {
        panic!("no response")
    };
    assert_eq!(response.headers.get_all(&HeaderName::WWW_AUTHENTICATE).count(), 2);
}

/// Everything but what is drawn anew each time.
fn shape(response: &Response) -> Vec<(String, usize)> {
    let headers = response.headers.iter();
    headers
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().len()))
        .collect()
}

/// What a stranger can see of an answer.
#[derive(Debug, PartialEq)]
struct Sight {
    status: u16,
    shape: Vec<(String, usize)>,
    length: usize,
    after: Duration,
}

fn seen(answers: &[(Duration, Bytes)]) -> Sight {
    let [(after, bytes)] = answers else {
        panic!("{} answers", answers.len())
    };
    let Ok(Message::Response(response)) = Message::parse(bytes.clone()) else {
        panic!("no response")
    };
    Sight {
        status: response.status.code(),
        shape: shape(&response),
        length: bytes.len(),
        after: *after,
    }
}

#[test]
fn nobody_can_tell_who_is_there_by_code_headers_size_or_time() {
    for credentials in [false, true] {
        let mut sights = Vec::new();
        // The store takes its time, or knows at once; the user is there, or not.
        for delay in [0, 2, 30] {
            for user in ["alice.phone", "alicf.phone", "zzzzz.phone"] {
                let mut scene = Scene::registered(3);
                scene.world.store_delay = Duration::from_millis(delay);
                sights.push(seen(&exchange(&mut scene, &ordinary(user, credentials))));
            }
        }
        assert!(sights.iter().all(|one| *one == sights[0]), "{sights:?}");
        assert_eq!(sights[0].status, 401);
    }
}

#[test]
fn calls_to_anybody_are_challenged_alike() {
    let mut answers = Vec::new();
    for callee in ["bob.phone", "bobby.pho", "+49309018", "zz.zz.zzz"] {
        let mut scene = Scene::registered(4);
        let message = format!(
            "INVITE sip:{callee}@sip.example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.66:5060;branch=z9hG4bK-1;rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:x@elsewhere.example>;tag=f1\r\nTo: <sip:{callee}@sip.example.com>\r\n\
             Call-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <sip:x@192.0.2.66:5060>\r\nContent-Length: 0\r\n\r\n"
        );
        answers.push(seen(&exchange(&mut scene, &message)));
    }
    assert!(answers.iter().all(|one| *one == answers[0]), "{answers:?}");
    assert_eq!(answers[0].status, 407);
}

#[test]
fn whoever_fails_waits_and_whoever_proves_does_not() {
    let mut scene = Scene::registered(5);
    let local = scene.world.address();
    for (password, expected) in [("alice-secret", false), ("wrong", true)] {
        let account = Account {
            aor: "sip:alice.phone@sip.example.com".into(),
            username: "alice.phone".into(),
            password: password.into(),
        };
        let phone = scene.world.add(Phone::new(
            address(30 + u8::from(expected), 5070),
            local,
            Some(account),
            u64::from(expected),
        ));
        let before = scene.world.elapsed();
        scene.world.act(phone, |phone, now| phone.register(now, 3600));
        let answered = |world: &cusax_tests::sim::World| world.phone(phone).responses().len() == 2;
        assert!(scene.world.until(SECOND, answered));
        let took = scene.world.elapsed() - before;
        let codes: Vec<_> = scene
            .world
            .phone(phone)
            .responses()
            .iter()
            .map(|response| response.status)
            .collect();
        assert_eq!(took > Duration::from_millis(50), expected, "{took:?} {codes:?}");
    }
}

/// CUSAX keeps messages and presence on XMPP; a domain may say so in other words.
#[test]
fn messages_and_presence_are_refused_as_the_domain_says() {
    let usual = |_: &mut Settings| {};
    let other = |settings: &mut Settings| {
        settings.answers.push(Answers {
            domain: "sip.example.com".into(),
            message: Status::FORBIDDEN,
            presence: Status::NOT_FOUND,
        });
    };
    let ask = |scene: &mut Scene, method: &str, event: &str| {
        let message = format!(
            "{method} sip:bob.phone@sip.example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.66:5060;branch=z9hG4bK-{method}{event}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:x@elsewhere.example>;tag=f1\r\nTo: <sip:bob.phone@sip.example.com>\r\n\
             Call-ID: {method}{event}\r\nCSeq: 1 {method}\r\nContact: <sip:x@192.0.2.66:5060>\r\nEvent: {event}\r\n\
             Content-Length: 0\r\n\r\n"
        );
        seen(&exchange(scene, &message)).status
    };
    for (mut scene, message, presence) in [
        (Scene::registered_with(6, usual), 405, 489),
        (Scene::registered_with(6, other), 403, 404),
    ] {
        assert_eq!(ask(&mut scene, "MESSAGE", "x"), message);
        assert_eq!(ask(&mut scene, "SUBSCRIBE", "presence"), presence);
        assert_eq!(ask(&mut scene, "SUBSCRIBE", "dialog"), 489, "no package is served");
    }
}

/// An answer that was earned is not sent again because somebody else says the same.
#[test]
fn a_copy_from_elsewhere_has_nothing_sent_to_anybody() {
    let mut scene = Scene::registered(7);
    scene.world.wire = Some(Vec::new());
    scene.world.act(scene.alice, |phone, now| phone.register(now, 3600));
    scene.world.run(SECOND);
    let alice = scene.world.phone(scene.alice).address;
    let wire = scene.world.wire.replace(Vec::new()).expect("a capture");
    let proved = wire
        .iter()
        .rev()
        .find(|(from, _, _)| *from == alice)
        .expect("a REGISTER")
        .2
        .clone();
    for (from, answers) in [(address(66, 5060), 0), (alice, 1)] {
        scene.world.wire = Some(Vec::new());
        scene.world.inject(from, proved.clone());
        scene.world.run(SECOND);
        let wire = scene.world.wire.take().expect("a capture");
        let server = scene.world.address();
        assert_eq!(
            wire.iter().filter(|(from, _, _)| *from == server).count(),
            answers,
            "{from}"
        );
    }
    assert_eq!(
        scene
            .world
            .node
            .counted_of_transactions(|counters| counters.stray_copies),
        1
    );
}

/// A nonce that was given to one address proves nothing at another: else an answer could be had sent there.
#[test]
fn a_proof_is_good_where_its_nonce_was_given() {
    let mut scene = Scene::registered(8);
    scene.world.wire = Some(Vec::new());
    scene.world.act(scene.alice, |phone, now| phone.register(now, 3600));
    let alice = scene.world.phone(scene.alice).address;
    // The proof is on its way, and arrives from another address before it arrives from its own.
    let sent = |world: &cusax_tests::sim::World| {
        let wire = world.wire.as_ref().expect("a capture");
        wire.iter().filter(|(from, _, _)| *from == alice).count() == 2
    };
    assert!(scene.world.until(SECOND, sent));
    let wire = scene.world.wire.replace(Vec::new()).expect("a capture");
    let proof = wire
        .iter()
        .rev()
        .find(|(from, _, _)| *from == alice)
        .expect("a proof")
        .2
        .clone();
    let bindings = scene.world.node.bindings();
    let moved = String::from_utf8(proof.to_vec())
        .expect("text")
        .replace("branch=z9hG4bK", "branch=z9hG4bKx");
    scene
        .world
        .inject(address(66, 5060), moved.replace("Call-ID: ", "Call-ID: x"));
    scene.world.run(SECOND);
    let wire = scene.world.wire.take().expect("a capture");
    let back: Vec<_> = wire.iter().filter(|(_, to, _)| *to == address(66, 5060)).collect();
    assert!(
        !back.is_empty() && back.iter().all(|(_, _, bytes)| bytes.starts_with(b"SIP/2.0 401")),
        "{back:?}"
    );
    assert_eq!(scene.world.node.bindings(), bindings);
}

#[test]
fn strangers_cannot_lock_out_phones_that_are_registered() {
    let mut scene = Scene::registered_with(9, |settings| settings.limits.all.burst = 100);
    let flood = |scene: &mut Scene, numbers: std::ops::Range<u16>| {
        for n in numbers {
            let [high, low] = n.to_be_bytes();
            let message = format!(
                "OPTIONS sip:sip.example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.7.{high}.{low}:5060;branch=z9hG4bK{n}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:x@y>;tag={n}\r\nTo: <sip:sip.example.com>\r\nCall-ID: {n}\r\n\
                 CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
            );
            scene.world.inject(([10, 7, high, low], 5060).into(), message);
        }
    };
    flood(&mut scene, 0..20_000);
    scene.world.act(scene.alice, |phone, now| phone.register(now, 3600));
    scene.world.run(SECOND / 4);
    assert!(scene.world.node.counted(|counters| counters.throttled) > 10_000);
    assert_eq!(scene.world.phone(scene.alice).last_response().status, Status::OK);
    flood(&mut scene, 20_000..40_000);
    scene.alice_calls("sip:bob.phone@sip.example.com");
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Up);
}

/// What is refused before anybody looks at it was answered at any rate.
#[test]
fn what_belongs_to_nothing_is_answered_no_more_often_than_anything_else() {
    let text = |method: &str, number: usize, call: usize, more: &str| {
        format!(
            "{method} sip:sip.example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.66:5060;branch=z9hG4bK{number};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:x@elsewhere.example>;tag=1\r\nTo: <sip:sip.example.com>\r\n\
             Call-ID: {call}\r\nCSeq: 1 {method}\r\n{more}Content-Length: 0\r\n\r\n"
        )
    };
    type Row<'a> = (&'a str, u16, &'a dyn Fn(usize) -> String);
    let rows: [Row<'_>; 4] = [
        ("a CANCEL of nothing", 481, &|number| text("CANCEL", number, number, "")),
        ("one by many ways", 482, &|number| text("INVITE", number, 0, "")),
        ("malformed", 400, &|number| {
            text("OPTIONS", number, number, "CSeq: 2 INVITE\r\n")
        }),
        ("without a branch that names it", 400, &|number| {
            text("OPTIONS", number, number, "").replace("Via: ", "Via: x/")
        }),
    ];
    for (name, status, message) in rows {
        let mut scene = Scene::registered(13);
        let burst = usize::try_from(scene.world.node.settings().limits.source.burst).expect("a number");
        scene.world.wire = Some(Vec::new());
        if status == 482 {
            // A call that waits for the answer of the store.
            scene.world.store_delay = 30 * SECOND;
            let proof = ordinary("alice.phone", true);
            let line = proof
                .lines()
                .find(|line| line.starts_with("Authorization"))
                .expect("a proof");
            let line = line.replace("Authorization", "Proxy-Authorization");
            scene
                .world
                .inject(address(67, 5060), text("INVITE", 99_999, 0, &format!("{line}\r\n")));
            scene.world.run(Duration::from_millis(10));
        }
        // Each endpoint counts for itself.
        let endpoints = scene.world.node.len();
        for number in 0..3 * burst * endpoints {
            scene.world.inject(address(66, 5060), message(number));
        }
        scene.world.run(Duration::from_millis(100));
        let wire = scene.world.wire.take().expect("a capture");
        let expected = format!("SIP/2.0 {status} ");
        let answers = wire.iter().filter(|(_, to, _)| *to == address(66, 5060));
        let answers: Vec<_> = answers
            .map(|(_, _, bytes)| bytes.starts_with(expected.as_bytes()))
            .collect();
        assert!(answers.iter().all(|as_expected| *as_expected), "{name}");
        assert!(
            (burst..(burst + 50) * endpoints).contains(&answers.len()),
            "{name}: {}",
            answers.len()
        );
        assert!(scene.world.node.counted(|counters| counters.throttled) > 0, "{name}");
    }
}

/// One call must not fill the tables that all calls share.
#[test]
fn what_is_said_within_a_call_is_bounded_and_ends_it_all_the_same() {
    let mut scene = Scene::registered(10);
    scene.alice_calls("sip:bob.phone@sip.example.com");
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.bob), &Stage::Up);
    for _ in 0..3000 {
        scene
            .world
            .act(scene.alice, |phone, now| phone.ask(now, &Method::Options));
    }
    scene.world.run(SECOND);
    let answers = |scene: &Scene, status| {
        let all = scene.world.phone(scene.alice).responses();
        all.iter().filter(|response| response.status == status).count()
    };
    assert!(answers(&scene, Status::SERVICE_UNAVAILABLE) > 2000);
    assert!(
        scene.world.node.transactions() < 400,
        "{}",
        scene.world.node.transactions()
    );
    scene.world.act(scene.alice, |phone, now| phone.hang_up(now));
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.bob), &Stage::Over(None));
    scene.nothing_is_left();
}

/// Whoever is at the far end of a call may ask for a proof: nobody gives one, neither we nor the phone behind us, whom we
/// do not ask in a stranger's name. The call goes on as it was, or ends.
#[test]
fn a_far_end_that_demands_a_proof_gets_none() {
    for (seed, whom) in [(11, "sip:bob.phone@sip.example.com"), (12, "+442079460000")] {
        let mut scene = Scene::registered(seed);
        // A paid call is announced, and the far end hears of it after that.
        scene.alice_calls(&if whom.starts_with('+') {
            format!("sip:{whom}@sip.example.com")
        } else {
            whom.to_owned()
        });
        scene.world.run(20 * SECOND);
        let far = if whom.starts_with('+') { scene.trunk } else { scene.bob };
        assert_eq!(scene.stage(far), &Stage::Up, "{whom}");
        assert_eq!(scene.stage(scene.alice), &Stage::Up, "{whom}");
        let [alice, stranger] = [scene.alice, far].map(|actor| scene.world.phone(actor).address);
        let server = scene.world.address();
        scene.world.phones[far.0].demands = Some("elsewhere.example".into());
        scene.world.wire = Some(Vec::new());
        let heard = scene.world.phone(scene.alice).heard.len();

        scene.world.act(scene.alice, |phone, now| phone.reinvite(now));
        scene.world.run(5 * SECOND);
        assert_eq!(scene.stage(scene.alice), &Stage::Up, "{whom}: the call goes on");
        scene.world.act(scene.alice, |phone, now| phone.hang_up(now));
        scene.world.run(5 * SECOND);

        let asked = scene.world.phone(far).requests(&Method::Bye).len();
        assert_eq!(asked, 1, "{whom}: the BYE is not sent again with a proof");
        let wire = scene.world.wire.take().expect("a capture");
        let said = |from, to| {
            let between = wire
                .iter()
                .filter(move |(sender, receiver, _)| (*sender, *receiver) == (from, to));
            between.map(|(_, _, bytes)| String::from_utf8_lossy(bytes).into_owned())
        };
        assert!(
            said(stranger, server).any(|text| text.starts_with("SIP/2.0 407 ") && text.contains("elsewhere.example")),
            "{whom}: it demanded"
        );
        for text in said(server, stranger) {
            assert!(!text.contains("uthorization:"), "{whom}: {text}");
        }
        for text in said(server, alice) {
            assert!(!text.contains("elsewhere.example"), "{whom}: {text}");
        }
        let answers = scene.world.phone(scene.alice).heard[heard..]
            .iter()
            .filter_map(|message| match message {
                Message::Response(response) => Some(response.status.code()),
                Message::Request(_) => None,
            });
        let answers: Vec<_> = answers.collect();
        println!("{whom}: alice hears {answers:?}");
        assert!(
            !answers.iter().any(|code| matches!(code, 401 | 407)),
            "{whom}: {answers:?}"
        );
        scene.nothing_is_left();
    }
}

/// Whoever is let in, as a carrier is by its address, must say what a call needs all the same.
#[test]
fn a_call_that_lacks_a_header_is_a_bad_request_for_those_who_are_let_in_too() {
    let headers = [
        "Via",
        "From",
        "To",
        "Call-ID",
        "CSeq",
        "Max-Forwards",
        "Contact",
        "Nothing",
    ];
    for (header, seed) in headers.into_iter().zip(20..) {
        let mut scene = Scene::registered(seed);
        let carrier = scene.world.phone(scene.trunk).address;
        let whole = format!(
            "INVITE sip:+4930901820@sip.example.com SIP/2.0\r\nVia: SIP/2.0/UDP {carrier};branch=z9hG4bK-{seed};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+442079460000@carrier.example>;tag=f1\r\nTo: <sip:+4930901820@sip.example.com>\r\n\
             Call-ID: {seed}\r\nCSeq: 1 INVITE\r\nContact: <sip:x@{carrier}>\r\nContent-Type: application/sdp\r\n\r\n\
             v=0\r\no=- 1 1 IN IP4 192.0.2.99\r\ns=-\r\nc=IN IP4 192.0.2.99\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"
        );
        let less: String = whole
            .split_inclusive("\r\n")
            .filter(|line| !line.starts_with(&format!("{header}:")))
            .collect();
        scene.world.inject(carrier, less);
        scene.world.run(SECOND / 2);
        let answers = scene.world.phone(scene.trunk).responses();
        let answers: Vec<_> = answers.iter().map(|response| response.status.code()).collect();
        let expected: &[u16] = match header {
            // What an answer is made of: without it there can be none.
            "Via" | "From" | "To" | "Call-ID" | "CSeq" => &[],
            // Without it nobody could be told of changes, or of the end (RFC 3261 §8.1.1.8).
            "Contact" => &[400],
            _ => &[100, 180],
        };
        assert_eq!(answers, expected, "without {header}");
        let rings = *scene.stage(scene.alice) == Stage::Ringing;
        assert_eq!(rings, expected.len() == 2, "without {header}");
    }
}

/// Between the question to the store and the answer, and between a wrong proof and its refusal.
#[test]
fn whoever_has_gone_before_the_answer_leaves_nothing() {
    const WHOM: &str = "sip:bob.phone@sip.example.com";
    let ways = [Transport::Udp, Transport::Tcp];
    for (waits, transport) in [1, 20].into_iter().flat_map(|waits| ways.map(|way| (waits, way))) {
        let Scene { mut world, .. } = scene(91);
        let stranger = address(66, 5070);
        if transport == Transport::Tcp {
            world.connect(stranger, transport, 0);
        }
        world.inject(
            stranger,
            format!(
                "INVITE {WHOM} SIP/2.0\r\nVia: SIP/2.0/UDP {stranger};branch=z9hG4bKgone\r\nMax-Forwards: 70\r\n\
                 From: <{WHOM}>;tag=1\r\nTo: <{WHOM}>\r\nCall-ID: gone\r\nCSeq: 1 INVITE\r\n\
                 Proxy-Authorization: Digest username=\"bob.phone\", realm=\"{DOMAIN}\", nonce=\"n\", uri=\"{WHOM}\", \
                 response=\"0123456789abcdef0123456789abcdef\", algorithm=MD5, cnonce=\"c\", nc=00000001, qop=auth\r\n\
                 Contact: <sip:x@{stranger}>\r\nContent-Length: 0\r\n\r\n"
            ),
        );
        assert!(world.until(SECOND, |world| world.node.transactions() > 0));
        world.run(Duration::from_millis(waits));
        assert_eq!(world.node.transactions(), 1, "it waits {waits}, {transport}");
        let flow = Flow {
            listener: ListenerId(0),
            transport,
            remote: stranger,
            identity: Identity::NONE,
        };
        let now = world.now();
        world.node.handle_closed(now, flow);
        world.run(64 * SECOND);
        for (table, left) in world.node.leftovers() {
            assert_eq!(left, 0, "{waits}, {transport}: {table}");
        }
    }
}
