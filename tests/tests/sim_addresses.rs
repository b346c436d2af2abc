//! Addresses that somebody with an account writes into messages lead nowhere, under simulated time: what is sent goes
//! back the way that it came by, and no name is looked up.

use std::net::SocketAddr;

use cusax_b2bua::core::flow::Transport;

use cusax_b2bua::core::settings::{Listener, Settings};
use cusax_common::core::sip::typed::{Contact, RecordRoute, To};
use cusax_common::core::sip::{HeaderName, Method, Request, Response, Status, Value};
use cusax_tests::peer::phone::Stage;
use cusax_tests::sim::hand::{Hand, Heard, Text, codes};
use cusax_tests::sim::{SECOND, Scene, address};

const CALL_BOB: &str = "sip:bob.phone@sip.example.com";

/// Where nothing may be sent; the one who writes it is at 192.0.2.66.
const ADDRESSES: [&str; 12] = [
    "127.0.0.1:6379;transport=tcp",
    "127.0.0.1",
    "169.254.169.254:80;transport=tcp",
    "[::1]:6379",
    "[::ffff:127.0.0.1]:6379;transport=tcp",
    "0.0.0.0:5060",
    "192.0.2.1:5060",
    "192.0.2.99:5060",
    "localhost:6379",
    "rebind.example.net",
    "192.0.2.66:5060;maddr=127.0.0.1",
    "192.0.2.66:6379;received=127.0.0.1",
];

/// Numbers that some read as 127.0.0.1: they are neither names nor addresses (RFC 3261 §25.1, `toplabel`).
const NUMBERS: [&str; 6] = [
    "0x7f.1",
    "2130706433",
    "127.1",
    "0177.0.0.1",
    "0x7f000001",
    "127.0.0.1.",
];

/// Everything that the service has sent went to one of these, and nothing was looked up.
fn only_to(scene: &Scene, known: &[SocketAddr], what: &str) {
    let server = scene.world.address();
    let wire = scene.world.wire.as_ref().expect("a capture");
    for (from, to, bytes) in wire {
        assert!(
            *from != server || known.contains(to),
            "{what}: to {to}: {}",
            String::from_utf8_lossy(bytes)
        );
    }
    assert_eq!(scene.world.asked, [], "{what}");
}

/// The 200 of somebody who is called.
fn accepts(invite: &Request, contact: &str, route: &str) -> Response {
    let mut answer = invite.response(Status::OK);
    let mut to: To = invite.headers.one().expect("a To");
    to.set_tag("t");
    answer.headers.replace(&to);
    answer.headers.put(&Contact::new(contact.parse().expect("a URI")));
    answer.headers.put(&RecordRoute::new(route.parse().expect("a URI")));
    answer
        .headers
        .push(HeaderName::CONTENT_TYPE, Value::of_static("application/sdp"));
    answer.body =
        "v=0\r\no=- 1 1 IN IP4 192.0.2.66\r\ns=-\r\nc=IN IP4 192.0.2.66\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n".into();
    answer
}

fn requests(heard: &[Heard], method: &Method) -> Vec<Request> {
    let requests = heard.iter().filter_map(Heard::request);
    requests.filter(|request| request.method == *method).collect()
}

#[test]
fn a_contact_is_called_by_the_way_that_it_came_by() {
    for place in ADDRESSES {
        let mut scene = Scene::registered(1);
        let mut hand = Hand::new(&mut scene.world, address(66, 5060), "bob");
        let contact = format!("sip:evil@{place}");
        // Bob's own phone goes, so that only this one is there.
        scene.world.act(scene.bob, |phone, now| phone.register(now, 0));
        scene.world.run(SECOND);
        let text = hand.register().with("Contact", &format!("<{contact}>"));
        assert_eq!(codes(&hand.prove(&mut scene.world, &text)), [200], "{place}");
        scene.alice_calls(CALL_BOB);
        let heard = hand.hear(&mut scene.world, SECOND / 2);
        let invites = requests(&heard, &Method::Invite);
        assert_eq!(invites.len(), 1, "{place}");
        assert_eq!(invites[0].uri.to_string(), contact, "{place}");
        // Nor does the dialog lead there: its answer names another target and a route.
        let answer = accepts(&invites[0], &contact, &format!("sip:{place};lr"));
        scene.world.inject(hand.address, answer.to_bytes());
        let heard = hand.hear(&mut scene.world, SECOND);
        let acks = requests(&heard, &Method::Ack);
        assert_eq!(acks.len(), 1, "{place}");
        assert_eq!(acks[0].uri.to_string(), contact, "{place}");
        assert_eq!(scene.stage(scene.alice), &Stage::Up, "{place}");
        scene.world.act(scene.alice, |phone, now| phone.hang_up(now));
        let heard = hand.hear(&mut scene.world, SECOND);
        assert!(!requests(&heard, &Method::Bye).is_empty(), "{place}");
        let alice = scene.world.phone(scene.alice).address;
        let bob = scene.world.phone(scene.bob).address;
        only_to(&scene, &[alice, bob, hand.address], place);
    }
}

#[test]
fn a_caller_is_answered_by_the_way_that_the_call_came_by() {
    for place in ADDRESSES {
        let mut scene = Scene::registered(2);
        let mut hand = Hand::new(&mut scene.world, address(66, 5060), "alice");
        let route = format!("<sip:{place};lr>");
        let text = hand.invite(CALL_BOB).with("Contact", &format!("<sip:evil@{place}>"));
        let text = text
            .and("Route", &route)
            .and("Record-Route", &route)
            .and("Path", &route);
        let mut answers = hand.prove(&mut scene.world, &text);
        answers.extend(hand.hear(&mut scene.world, 2 * SECOND));
        assert_eq!(codes(&answers).last(), Some(&200), "{place}: {:?}", codes(&answers));
        assert_eq!(scene.stage(scene.bob), &Stage::Up, "{place}");
        // Without an ACK it is hung up on both sides.
        let heard = hand.hear(&mut scene.world, 60 * SECOND);
        assert!(!requests(&heard, &Method::Bye).is_empty(), "{place}");
        let bob = scene.world.phone(scene.bob).address;
        let alice = scene.world.phone(scene.alice).address;
        only_to(&scene, &[alice, bob, hand.address], place);
    }
}

/// RFC 3261 §18.2.2, RFC 3581: the address of an answer is the one that the request came from.
#[test]
fn a_via_leads_nowhere_else() {
    for place in ADDRESSES {
        for rport in ["", ";rport", ";rport=6379"] {
            let mut scene = Scene::registered(3);
            let mut hand = Hand::new(&mut scene.world, address(66, 5060), "alice");
            let (host, params) = place
                .split_once(';')
                .map_or((place, String::new()), |(host, more)| (host, format!(";{more}")));
            let via = format!("SIP/2.0/UDP {host};branch=z9hG4bKv{rport}{params}");
            for text in [
                hand.register(),
                hand.invite(CALL_BOB),
                hand.text("OPTIONS", CALL_BOB),
                hand.text("BYE", CALL_BOB),
            ] {
                let text = text.with("Via", &via);
                hand.say(&mut scene.world, &text);
                hand.prove(
                    &mut scene.world,
                    &text.with("Via", &via.replace("z9hG4bKv", "z9hG4bKp")),
                );
            }
            scene.world.run(40 * SECOND);
            let wire = scene.world.wire.as_ref().expect("a capture");
            let server = scene.world.address();
            let bob = scene.world.phone(scene.bob).address;
            let stray = wire
                .iter()
                .find(|(from, to, _)| *from == server && to.ip() != hand.address.ip() && *to != bob);
            assert!(stray.is_none(), "{via}: {stray:?}");
            assert_eq!(scene.world.asked, [], "{via}");
        }
    }
}

/// A phone that says where else to go is not followed: whoever was called does not decide who pays.
#[test]
fn a_redirection_is_not_followed() {
    for place in ADDRESSES {
        let mut scene = Scene::registered(4);
        let mut hand = Hand::new(&mut scene.world, address(66, 5060), "bob");
        scene.world.act(scene.bob, |phone, now| phone.register(now, 0));
        scene.world.run(SECOND);
        let text = hand.register();
        assert_eq!(codes(&hand.prove(&mut scene.world, &text)), [200], "{place}");
        scene.alice_calls(CALL_BOB);
        let heard = hand.hear(&mut scene.world, SECOND / 2);
        let invite = requests(&heard, &Method::Invite).remove(0);
        let answer = accepts(&invite, &format!("sip:evil@{place}"), "sip:192.0.2.66;lr");
        let answer = Response {
            status: Status::new(302).expect("a status"),
            ..answer
        };
        scene.world.inject(hand.address, answer.to_bytes());
        scene.world.run(5 * SECOND);
        assert!(matches!(scene.stage(scene.alice), Stage::Over(Some(_))), "{place}");
        let alice = scene.world.phone(scene.alice).address;
        let bob = scene.world.phone(scene.bob).address;
        only_to(&scene, &[alice, bob, hand.address], place);
    }
}

#[test]
fn a_number_is_neither_name_nor_address() {
    for number in NUMBERS {
        let mut scene = Scene::registered(5);
        let mut hand = Hand::new(&mut scene.world, address(66, 5060), "bob");
        let contact = format!("<sip:evil@{number}:6379;transport=tcp>");
        let text = hand.register().with("Contact", &contact);
        assert_eq!(codes(&hand.prove(&mut scene.world, &text)), [400], "{number}");
        let text = hand.invite("sip:alice.phone@sip.example.com").with("Contact", &contact);
        assert_eq!(codes(&hand.prove(&mut scene.world, &text)), [400], "{number}");
        assert_eq!(
            (scene.world.node.bindings(), scene.world.node.calls()),
            (2, 0),
            "{number}"
        );
    }
}

/// Whom a REGISTER is for, who asks, and who has proved it are one.
#[test]
fn nobody_registers_for_somebody_else() {
    let alice = "<sip:alice.phone@sip.example.com>";
    let bob = "<sip:bob.phone@sip.example.com>";
    let rows = [
        ("for another", alice, bob, 403),
        ("in another's name", bob, alice, 403),
        ("as another, for another", bob, bob, 403),
        (
            "as another whose name is shown",
            "\"alice.phone\" <sip:bob.phone@sip.example.com>",
            alice,
            403,
        ),
        ("as nobody of ours", "<sip:alice.phone@elsewhere.example>", alice, 403),
        ("without a user", "<sip:sip.example.com>", alice, 403),
        ("as a number", "<tel:+4930901820>", alice, 403),
        ("for a number", alice, "<tel:+4930901820>", 404),
        ("for oneself", alice, alice, 200),
    ];
    for (name, from, to, code) in rows {
        let mut scene = Scene::registered(6);
        let mut hand = Hand::new(&mut scene.world, address(66, 5060), "alice");
        let text = hand.register().with("From", &format!("{from};tag=1")).with("To", to);
        assert_eq!(codes(&hand.prove(&mut scene.world, &text)), [code], "{name}");
        assert_eq!(scene.world.node.bindings(), if code == 200 { 3 } else { 2 }, "{name}");
    }
}

/// What a contact says about headers stays a word of the contact (RFC 3261 §19.1.5, §10.3).
#[test]
fn no_header_comes_out_of_a_contact() {
    let rows = [
        (
            "a header of the URI",
            "<sip:bob@192.0.2.66?Route=%3Csip:127.0.0.1%3E>",
            400,
        ),
        ("a body in the URI", "<sip:bob@192.0.2.66?body=v%3D0>", 400),
        (
            "a parameter of the header",
            "<sip:bob@192.0.2.66>;Route=\"<sip:127.0.0.1;lr>\"",
            200,
        ),
        (
            "a parameter of the URI",
            "<sip:bob@192.0.2.66;Route=%3Csip:127.0.0.1%3E>",
            200,
        ),
        (
            "a line end in the user",
            "<sip:bob%0D%0ARoute%3A%20%3Csip%3A127.0.0.1%3E@192.0.2.66>",
            200,
        ),
    ];
    for (name, contact, code) in rows {
        let mut scene = Scene::registered(7);
        let mut hand = Hand::new(&mut scene.world, address(66, 5060), "bob");
        let text = hand.register().with("Contact", contact);
        assert_eq!(codes(&hand.prove(&mut scene.world, &text)), [code], "{name}");
        scene.alice_calls(CALL_BOB);
        let heard = hand.hear(&mut scene.world, SECOND / 2);
        let invites = requests(&heard, &Method::Invite);
        assert_eq!(invites.len(), usize::from(code == 200), "{name}");
        assert!(
            invites.iter().all(|invite| !invite.headers.has(&HeaderName::ROUTE)),
            "{name}"
        );
        let bob = scene.world.phone(scene.bob).address;
        let alice = scene.world.phone(scene.alice).address;
        only_to(&scene, &[alice, bob, hand.address], name);
    }
}

fn with_tcp(settings: &mut Settings) {
    let udp = settings.listeners[0].clone();
    settings.listeners.push(Listener {
        transport: Transport::Tcp,
        ..udp
    });
}

/// RFC 3261 §10.2.2, by datagrams and by a connection; an address of record has few phones.
#[test]
fn a_star_stands_alone_and_a_hundred_contacts_are_too_many() {
    let star = |text: Text| text.with("Contact", "*");
    let none = |mut text: Text| {
        text.lines.retain(|(name, _)| name != "Contact");
        text
    };
    let hundred: Vec<String> = (0..100).map(|n| format!("<sip:bob{n}@192.0.2.66>")).collect();
    for tcp in [false, true] {
        let mut scene = Scene::registered_with(8, with_tcp);
        let mut hand = Hand::new(&mut scene.world, address(66, 5060), "bob");
        if tcp {
            scene.world.connect(hand.address, Transport::Tcp, 1);
        }
        let text = hand.register();
        assert_eq!(codes(&hand.prove(&mut scene.world, &text)), [200]);
        let rows = [
            ("a star", star(hand.register()), 400, 3),
            ("a star for a while", star(hand.register()).and("Expires", "60"), 400, 3),
            (
                "a star and a contact",
                star(hand.register())
                    .and("Contact", "<sip:bob@192.0.2.66>")
                    .and("Expires", "0"),
                400,
                3,
            ),
            (
                "a star in a list",
                hand.register()
                    .with("Contact", "*, <sip:bob@192.0.2.66>")
                    .and("Expires", "0"),
                400,
                3,
            ),
            (
                "two stars",
                star(hand.register()).and("Contact", "*").and("Expires", "0"),
                400,
                3,
            ),
            (
                "a star in brackets",
                hand.register().with("Contact", "<*>").and("Expires", "0"),
                400,
                3,
            ),
            (
                "a star with a parameter",
                hand.register().with("Contact", "*;expires=0").and("Expires", "0"),
                400,
                3,
            ),
            ("an empty contact", hand.register().with("Contact", ""), 400, 3),
            ("a comma", hand.register().with("Contact", ","), 400, 3),
            ("nothing", none(hand.register()), 200, 3),
            ("a hundred", hand.register().with("Contact", &hundred.join(",")), 403, 3),
            ("a star at last", star(hand.register()).and("Expires", "0"), 200, 1),
        ];
        for (name, text, code, bindings) in rows {
            assert_eq!(
                codes(&hand.prove(&mut scene.world, &text)),
                [code],
                "{name}, tcp: {tcp}"
            );
            assert_eq!(scene.world.node.bindings(), bindings, "{name}, tcp: {tcp}");
        }
    }
}
