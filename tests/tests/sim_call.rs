//! Registrations and calls under simulated time: the whole SIP side, with phones and a trunk around it.

use std::time::Duration;

use cusax_b2bua::core::media::{MediaCommand, Side};
use cusax_common::core::bridge::{PhoneActivity, ToXmpp};
use cusax_common::core::record::{Cause, Impp, Warned};
use cusax_common::core::sip::typed::{CSeq, CallInfo, From, To};
use cusax_common::core::sip::{Headers, Message, Method};
use cusax_tests::peer::phone::{Account, Manner, Phone, Stage};
use cusax_tests::sim::{SECOND, Scene, Weather, address};

const BOB: &str = "sip:bob.phone@sip.example.com";

#[test]
fn reach_follows_the_registration() {
    let mut scene = Scene::registered(1);
    let told = |scene: &Scene| match scene.world.bridge.last() {
        Some((at, ToXmpp::Registered { jid, aors })) => Some((*at, jid.to_string(), aors.len())),
        _ => None,
    };
    let before = scene.world.elapsed();
    scene.world.act(scene.alice, |phone, now| phone.register(now, 0));
    scene.world.run(SECOND);
    let (at, jid, aors) = told(&scene).expect("a change is told");
    assert_eq!((jid.as_str(), aors), ("alice@example.com", 0));
    assert!(at - before < Duration::from_millis(100), "{:?}", at - before);
    // Bob's goes by itself, to the second.
    scene.world.run(Duration::from_secs(3700));
    let (at, jid, aors) = told(&scene).expect("an expiry is told");
    assert_eq!((jid.as_str(), aors), ("bob@example.com", 0));
    assert!(
        at >= Duration::from_secs(3600) && at < Duration::from_secs(3601),
        "{at:?}"
    );
    assert!(scene.world.kept.is_empty(), "the shared state forgets as well");
}

#[test]
fn a_call_is_answered_and_hung_up_by_either_side() {
    for caller_hangs_up in [true, false] {
        let mut scene = Scene::registered(2);
        scene.alice_calls(BOB);
        scene.world.run(5 * SECOND);
        assert_eq!(
            (scene.stage(scene.alice), scene.stage(scene.bob)),
            (&Stage::Up, &Stage::Up)
        );
        assert_eq!(scene.world.media.len(), 1);
        let busy = scene.world.bridge.iter().filter(|(_, told)| {
            matches!(
                told,
                ToXmpp::Phone {
                    activity: PhoneActivity::Audio,
                    ..
                }
            )
        });
        assert_eq!(busy.count(), 2, "both users' contacts see that they are on the phone");
        let who = if caller_hangs_up { scene.alice } else { scene.bob };
        scene.world.act(who, Phone::hang_up);
        scene.world.run(SECOND);
        assert_eq!(
            (scene.stage(scene.alice), scene.stage(scene.bob)),
            (&Stage::Over(None), &Stage::Over(None))
        );
        scene.nothing_is_left();
        let [record] = &scene.world.records[..] else {
            panic!("one record: {:?}", scene.world.records)
        };
        let cause = if caller_hangs_up {
            Cause::CallerHungUp
        } else {
            Cause::CalleeHungUp
        };
        assert_eq!(
            (record.cause, record.status, record.warning),
            (cause, 200, Warned::None)
        );
        assert_eq!(record.impp, Impp::Verified);
        assert_eq!(
            record.caller.as_ref().map(ToString::to_string).as_deref(),
            Some("alice@example.com")
        );
        assert_eq!(
            record.callee.as_ref().map(ToString::to_string).as_deref(),
            Some("bob@example.com")
        );
        assert!(
            record
                .answered
                .is_some_and(|at| at > record.started && at < record.ended)
        );
        let idle = scene.world.bridge.iter().filter(|(_, told)| {
            matches!(
                told,
                ToXmpp::Phone {
                    activity: PhoneActivity::Idle,
                    ..
                }
            )
        });
        assert_eq!(idle.count(), 2);
    }
}

#[test]
fn the_callee_sees_the_verified_caller_and_nothing_of_the_other_leg() {
    let mut scene = Scene::registered(3);
    let forged = [
        (
            "Call-Info",
            "<http://example.com/me.png>;purpose=icon, <xmpp:ceo@example.com>;purpose=impp",
        ),
        ("P-Asserted-Identity", "<sip:ceo@sip.example.com>"),
        ("Subject", "lunch"),
        ("X-Colour", "blue"),
    ];
    scene.world.phones[scene.alice.0].extra = forged.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    let inbound = scene.world.phone(scene.bob).requests(&Method::Invite)[0].clone();
    let impp: Vec<String> = impp_of(&inbound.headers);
    assert_eq!(impp, ["xmpp:alice@example.com"]);
    let text = String::from_utf8(inbound.to_bytes().to_vec()).unwrap();
    for secret in ["192.0.2.10", "ceo@", "alice-secret", "Proxy-Authorization"] {
        assert!(!text.contains(secret), "{secret} in:\n{text}");
    }
    for kept in [
        "Subject: lunch",
        "X-Colour: blue",
        "P-Asserted-Identity:",
        "alice Example",
        "me.png",
    ] {
        assert!(text.contains(kept), "{kept} not in:\n{text}");
    }
    let asked = scene
        .world
        .phone(scene.alice)
        .responses()
        .last()
        .unwrap()
        .headers
        .clone();
    let (outer, inner): (From, From) = (asked.one().unwrap(), inbound.headers.one().unwrap());
    assert_ne!(outer.tag(), inner.tag(), "each leg has tags of its own");
    let answer = scene.world.phone(scene.alice).responses().last().unwrap().to_bytes();
    assert!(
        !String::from_utf8_lossy(&answer).contains("192.0.2.20"),
        "the caller does not see the callee's address"
    );
}

fn impp_of(headers: &Headers) -> Vec<String> {
    let all: Vec<CallInfo> = headers.list().expect("checked at the door");
    all.iter()
        .filter(|info| info.is_impp())
        .map(|info| info.uri.to_string())
        .collect()
}

#[test]
fn an_anonymous_call_names_nobody() {
    let mut scene = Scene::registered(4);
    scene.world.phones[scene.alice.0].extra = vec![("Privacy".into(), "id".into())];
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    let inbound = scene.world.phone(scene.bob).requests(&Method::Invite)[0].clone();
    let text = String::from_utf8(inbound.to_bytes().to_vec()).unwrap();
    assert!(impp_of(&inbound.headers).is_empty());
    assert!(!text.to_lowercase().contains("alice"), "{text}");
    assert!(text.contains("anonymous.invalid"), "{text}");
}

#[test]
fn a_call_can_be_given_up_at_every_moment() {
    for millisecond in (0..2200).step_by(7) {
        let mut scene = Scene::registered(5);
        scene.alice_calls(BOB);
        scene.world.run(Duration::from_millis(millisecond));
        let up = *scene.stage(scene.alice) == Stage::Up;
        scene.world.act(scene.alice, Phone::hang_up);
        scene.nothing_is_left();
        let records = scene.world.records.len();
        assert!(records <= 1, "{millisecond} ms: {records} records");
        assert!(
            !matches!(scene.stage(scene.bob), Stage::Ringing | Stage::Up),
            "{millisecond} ms: Bob is left behind"
        );
        if let Some(record) = scene.world.records.first() {
            let wanted = if up { Cause::CallerHungUp } else { Cause::Cancelled };
            // A 200 that crosses the CANCEL makes it an answered call, which the phone then hangs up or not at all.
            assert!(
                record.cause == wanted || record.answered.is_some(),
                "{millisecond} ms: {:?}",
                record.cause
            );
        }
    }
}

#[test]
fn what_the_callee_says_reaches_the_caller() {
    let rows = [
        ("busy", Manner::Busy, 486, Cause::Rejected),
        ("rings for ever", Manner::Ring, 480, Cause::NoAnswer),
        ("says nothing", Manner::Mute, 480, Cause::NoAnswer),
    ];
    for (name, manner, status, cause) in rows {
        let mut scene = Scene::registered(6);
        scene.world.phones[scene.bob.0].manner = manner;
        scene.alice_calls(BOB);
        scene.nothing_is_left();
        let got = scene.stage(scene.alice).clone();
        let ours = matches!(got, Stage::Over(Some(code)) if code == status || (name == "says nothing" && code == 408));
        assert!(ours, "{name}: {got:?}");
        assert_eq!(scene.world.records[0].cause, cause, "{name}");
    }
}

#[test]
fn a_paid_call_is_announced_before_the_trunk_hears_of_it() {
    let mut scene = Scene::registered(7);
    scene.alice_calls("sip:01511234567@sip.example.com;user=phone");
    assert!(scene.world.until(SECOND, |world| {
        world
            .commands
            .iter()
            .any(|(_, command)| matches!(command, MediaCommand::Play { side: Side::Caller, .. }))
    }));
    let warned_at = scene.world.elapsed();
    assert!(scene.world.phone(scene.trunk).heard.is_empty());
    assert!(
        matches!(scene.stage(scene.alice), Stage::Calling(183))
            || scene
                .world
                .until(SECOND, |world| { matches!(world.phones[0].stage, Stage::Calling(183)) })
    );
    let tone = Duration::from_millis(1200);
    let trunk = scene.trunk;
    assert!(scene.world.until(5 * SECOND, |world| {
        !world.phone(trunk).requests(&Method::Invite).is_empty()
    }));
    assert!(
        scene.world.elapsed() - warned_at >= tone,
        "the trunk waits for the tone to end"
    );
    let invite = scene.world.phone(scene.trunk).requests(&Method::Invite)[0].clone();
    assert!(
        invite.uri.to_string().starts_with("sip:+491511234567@"),
        "{}",
        invite.uri
    );
    assert!(impp_of(&invite.headers).is_empty(), "a carrier learns no JID");
    let charge = scene.world.bridge.iter().find_map(|(_, told)| match told {
        ToXmpp::Charge(notice) => Some(notice.clone()),
        _ => None,
    });
    let charge = charge.expect("the caller's chat client is told");
    assert_eq!(
        (charge.jid.to_string().as_str(), charge.number.as_str()),
        ("alice@example.com", "+491511234567")
    );
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Up);
    scene.world.act(scene.alice, Phone::hang_up);
    scene.nothing_is_left();
    let record = &scene.world.records[0];
    assert_eq!((record.warning, record.cause), (Warned::Tone, Cause::CallerHungUp));
    assert_eq!(record.session, charge.session);
    // The tone has a dialog of its own, so that the callee may answer as it likes (RFC 3261 §13.2.2.4).
    let described: Vec<(String, String)> = scene
        .world
        .phone(scene.alice)
        .responses()
        .iter()
        .filter(|response| !response.body.is_empty() && response.cseq().is_ok_and(|cseq| cseq.method == Method::Invite))
        .map(|response| {
            let tag = response.headers.to().unwrap().tag().unwrap().to_owned();
            let body = String::from_utf8_lossy(&response.body);
            (tag, body.lines().nth(1).unwrap_or_default().to_owned())
        })
        .collect();
    let [(tone, its), .., (callee, theirs)] = &described[..] else {
        panic!("{described:?}")
    };
    assert!(tone != callee && its != theirs, "{described:?}");
}

#[test]
fn whoever_hangs_up_during_the_warning_is_never_charged() {
    let mut scene = Scene::registered(8);
    scene.alice_calls("sip:01511234567@sip.example.com");
    scene.world.run(Duration::from_millis(600));
    scene.world.act(scene.alice, Phone::hang_up);
    scene.nothing_is_left();
    assert!(scene.world.phone(scene.trunk).heard.is_empty());
    assert_eq!(scene.world.records[0].warning, Warned::Interrupted);
}

#[test]
fn local_numbers_stay_on_net_and_emergency_is_not_held_up() {
    let mut scene = Scene::registered(9);
    scene.alice_calls("sip:030901821@sip.example.com");
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.bob), &Stage::Up);
    assert!(scene.world.phone(scene.trunk).heard.is_empty());
    scene.world.act(scene.alice, Phone::hang_up);
    scene.world.run(SECOND);
    let before = scene.world.elapsed();
    scene.alice_calls("sip:112@sip.example.com");
    let trunk = scene.trunk;
    assert!(
        scene
            .world
            .until(SECOND, |world| !world.phone(trunk).requests(&Method::Invite).is_empty())
    );
    assert!(scene.world.elapsed() - before < Duration::from_millis(100));
    let plays = scene
        .world
        .commands
        .iter()
        .filter(|(_, command)| matches!(command, MediaCommand::Play { .. }));
    assert_eq!(plays.count(), 0);
}

#[test]
fn the_trunk_reaches_owners_and_its_claims_are_removed() {
    let mut scene = Scene::registered(10);
    scene.world.phones[scene.trunk.0].extra = vec![
        ("Call-Info".into(), "<xmpp:ceo@example.com>;purpose=impp".into()),
        ("P-Asserted-Identity".into(), "<sip:alice.phone@sip.example.com>".into()),
    ];
    let trunk = scene.trunk;
    scene
        .world
        .act(trunk, |phone, now| phone.call(now, "sip:+4930901821@sip.example.com"));
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.bob), &Stage::Up);
    let inbound = scene.world.phone(scene.bob).requests(&Method::Invite)[0].clone();
    let text = String::from_utf8(inbound.to_bytes().to_vec()).unwrap();
    assert!(!text.contains("ceo@") && !text.contains("alice"), "{text}");
    scene.world.act(trunk, Phone::hang_up);
    scene.nothing_is_left();
    assert_eq!(scene.world.records[0].impp, Impp::Stripped);
    // Through to another number it does not get.
    scene.world.phones[trunk.0].stage = Stage::Idle;
    scene
        .world
        .act(trunk, |phone, now| phone.call(now, "sip:+491511234567@sip.example.com"));
    scene.world.run(5 * SECOND);
    assert!(
        matches!(scene.stage(trunk), Stage::Over(Some(400..=499))),
        "{:?}",
        scene.stage(trunk)
    );
}

#[test]
fn a_trunk_is_known_by_address_and_realm() {
    for (realm, from, known) in [
        (None, "sip:+15550100@anything.example", true),
        (Some("carrier.example"), "sip:+15550100@Carrier.example", true),
        (Some("carrier.example"), "sip:+15550100@other.example", false),
        (Some("carrier.example"), "tel:+15550100", false),
    ] {
        let mut scene = cusax_tests::sim::scene(37);
        let mut settings = scene.world.node.settings().clone();
        settings.trunks[0].realm = realm.map(str::to_owned);
        scene.world.node.handle_settings(settings.into());
        scene.world.act(scene.bob, |phone, now| phone.register(now, 3600));
        scene.world.run(SECOND);
        scene.world.phones[scene.trunk.0].claim = Some(from.to_owned());
        scene.world.act(scene.trunk, |phone, now| {
            phone.call(now, "sip:+4930901821@sip.example.com")
        });
        scene.world.run(5 * SECOND);
        let expected = if known { Stage::Up } else { Stage::Over(Some(407)) };
        assert_eq!(*scene.stage(scene.trunk), expected, "{realm:?} {from}");
    }
}

#[test]
fn a_flood_harms_nobody_else() {
    let mut scene = Scene::registered(38);
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    assert_eq!(*scene.stage(scene.alice), Stage::Up);
    scene.world.wire = Some(Vec::new());
    let (flood, server) = (address(66, 5070), scene.world.address());
    let (mut sent, before) = (0, scene.world.node.transactions());
    for number in 0..20_000 {
        let method = ["INVITE", "REGISTER", "OPTIONS", "SUBSCRIBE"][number % 4];
        let text = format!(
            "{method} {BOB} SIP/2.0\r\nVia: SIP/2.0/UDP {flood};branch=z9hG4bKf{number}\r\nMax-Forwards: 70\r\n\
             From: <{BOB}>;tag=1\r\nTo: <{BOB}>\r\nCall-ID: f{number}\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:x@{flood}>\r\nContent-Length: 0\r\n\r\n"
        );
        sent += text.len();
        scene.world.inject(flood, text);
        // Two thousand in a second.
        scene.world.run(Duration::from_micros(500));
    }
    let answers: usize = scene.world.said(server, flood).iter().map(String::len).sum();
    // Each endpoint has the whole limit.
    let endpoints = scene.world.node.len();
    assert!(answers * 4 < sent * endpoints, "{answers} bytes for {sent}");
    let let_in = 20_000 - scene.world.node.counted(|counters| counters.throttled);
    let limit = 500..2_000 * endpoints as u64;
    assert!(limit.contains(&let_in), "{let_in}");
    assert!(scene.world.node.transactions() <= before, "nothing is kept of them");
    // The call goes on, and so does everybody else.
    let registered = scene.world.node.counted(|counters| counters.registered);
    scene.world.act(scene.bob, |phone, now| phone.register(now, 3600));
    scene.world.act(scene.alice, Phone::reinvite);
    scene.world.run(2 * SECOND);
    assert_eq!(
        (scene.stage(scene.alice), scene.stage(scene.bob)),
        (&Stage::Up, &Stage::Up)
    );
    assert_eq!(scene.world.node.counted(|counters| counters.registered), registered + 1);
    scene.world.act(scene.alice, Phone::hang_up);
    scene.nothing_is_left();
    assert_eq!(scene.world.records[0].cause, Cause::CallerHungUp);
}

#[test]
fn strangers_get_nowhere() {
    let mut scene = Scene::registered(11);
    let server = scene.world.address();
    let account = |username: &str, password: &str, aor: &str| {
        Some(Account {
            aor: aor.into(),
            username: username.into(),
            password: password.into(),
        })
    };
    let rows = [
        ("wrong password", account("bob.phone", "guess", BOB), None),
        ("unknown user", account("eve", "guess", "sip:eve@sip.example.com"), None),
        ("no account", None, Some("sip:alice.phone@sip.example.com")),
        (
            "somebody else's address",
            account("bob.phone", "bob-secret", BOB),
            Some("sip:alice.phone@sip.example.com"),
        ),
    ];
    for (index, (name, account, claim)) in rows.into_iter().enumerate() {
        let last = u8::try_from(60 + index).unwrap();
        let mut phone = Phone::new(address(last, 5070), server, account, 77);
        phone.claim = claim.map(str::to_owned);
        let mallory = scene.world.add(phone);
        scene
            .world
            .act(mallory, |phone, now| phone.call(now, "sip:bob.phone@sip.example.com"));
        scene.world.run(40 * SECOND);
        assert!(
            matches!(scene.stage(mallory), Stage::Over(Some(401 | 403 | 407))),
            "{name}: {:?}",
            scene.stage(mallory)
        );
    }
    assert!(scene.world.phone(scene.bob).requests(&Method::Invite).is_empty());
    assert_eq!(scene.world.node.calls(), 0);
}

#[test]
fn requests_with_invented_dialogs_change_nothing() {
    let mut scene = Scene::registered(12);
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    let inbound = scene.world.phone(scene.bob).requests(&Method::Invite)[0].clone();
    let (from, call_id) = (
        inbound.headers.one::<From>().unwrap(),
        inbound.headers.get(&"Call-ID".parse().unwrap()).unwrap(),
    );
    let call_id = call_id.as_str().unwrap().to_owned();
    let to: To = scene
        .world
        .phone(scene.bob)
        .heard
        .iter()
        .find_map(|message| match message {
            Message::Request(request) if request.method == Method::Ack => request.headers.one().ok(),
            _ => None,
        })
        .expect("an ACK");
    // Everything right but the source; then the right source with a wrong tag.
    for (from_address, tag) in [(address(66, 5070), to.tag().unwrap()), (address(20, 5070), "guess")] {
        for method in ["BYE", "INVITE", "CANCEL", "UPDATE"] {
            let text = format!(
                "{method} sip:cusax@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {from_address};branch=z9hG4bK{method}{tag}\r\n\
                 Max-Forwards: 70\r\nFrom: <{BOB}>;tag={tag}\r\nTo: <{}>;tag={}\r\nCall-ID: {call_id}\r\n\
                 CSeq: 9 {method}\r\nContact: <sip:x@{from_address}>\r\nContent-Length: 0\r\n\r\n",
                from.uri,
                from.tag().unwrap()
            );
            scene.world.inject(from_address, text);
            scene.world.run(SECOND);
            assert_eq!(
                (scene.stage(scene.alice), scene.stage(scene.bob)),
                (&Stage::Up, &Stage::Up),
                "{method}"
            );
        }
    }
    // Nobody acknowledges the answers to these INVITEs, and that ends nothing either.
    scene.world.run(40 * SECOND);
    assert_eq!(
        (scene.stage(scene.alice), scene.stage(scene.bob)),
        (&Stage::Up, &Stage::Up)
    );
    assert_eq!(scene.world.media.len(), 1);
}

#[test]
fn a_call_can_be_given_up_while_the_store_thinks() {
    let mut scene = Scene::registered(31);
    scene.world.store_delay = SECOND;
    scene.world.wire = Some(Vec::new());
    let (alice, server) = (address(10, 5070), scene.world.address());
    scene.alice_calls(BOB);
    scene.world.run(SECOND / 2);
    let invite = scene.world.said(alice, server).pop().expect("an INVITE");
    assert!(invite.contains("Proxy-Authorization"), "{invite}");
    let line = |name: &str| {
        invite
            .lines()
            .find(|line| line.starts_with(name))
            .expect(name)
            .to_owned()
    };
    let cancel = format!(
        "CANCEL {BOB} SIP/2.0\r\n{}\r\nMax-Forwards: 70\r\n{}\r\n{}\r\n{}\r\n{}\r\nContent-Length: 0\r\n\r\n",
        line("Via"),
        line("From"),
        line("To"),
        line("Call-ID"),
        line("CSeq").replace("INVITE", "CANCEL"),
    );
    scene.world.inject(alice, cancel);
    scene.nothing_is_left();
    assert_eq!(scene.stage(scene.alice), &Stage::Over(Some(487)));
    assert!(scene.world.phone(scene.bob).requests(&Method::Invite).is_empty());
}

#[test]
fn whoever_proves_nothing_is_answered_once() {
    let mut scene = Scene::registered(32);
    scene.world.wire = Some(Vec::new());
    let (stranger, server) = (address(66, 5070), scene.world.address());
    let message = |method: &str, to_tag: &str, more: &str| {
        format!(
            "{method} {BOB} SIP/2.0\r\nVia: SIP/2.0/UDP {stranger};branch=z9hG4bK{method}{}\r\nMax-Forwards: 70\r\n\
             From: <{BOB}>;tag=1\r\nTo: <{BOB}>{to_tag}\r\nCall-ID: once\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:x@{stranger}>\r\n{more}Content-Length: 0\r\n\r\n",
            more.len()
        )
    };
    let rows = [
        (message("INVITE", ";tag=invented", ""), 481),
        (message("INVITE", "", "Require: x-fancy\r\n"), 420),
        (message("INVITE", "", ""), 407),
        (message("BYE", "", ""), 481),
        (message("OPTIONS", "", ""), 200),
        (message("FANCY", "", ""), 501),
    ];
    for (text, status) in rows {
        scene.world.inject(stranger, text.clone());
        scene.world.run(40 * SECOND);
        let answers = scene.world.said(server, stranger);
        assert_eq!(answers.len(), 1, "{text}{answers:?}");
        assert!(
            answers[0].starts_with(&format!("SIP/2.0 {status} ")),
            "{text}{answers:?}"
        );
        assert!(answers[0].len() <= text.len() * 3 / 2 + 400, "{}", answers[0]);
        scene.world.wire = Some(Vec::new());
        assert_eq!(scene.world.node.transactions(), 0, "{text}");
    }
}

#[test]
fn a_caller_is_not_hung_up_before_the_acknowledgement() {
    let mut scene = Scene::registered(33);
    scene.alice_calls(BOB);
    let bob = scene.bob;
    assert!(
        scene
            .world
            .until(5 * SECOND, |world| world.phone(bob).stage == Stage::Up)
    );
    scene.world.wire = Some(Vec::new());
    scene.world.act(bob, Phone::hang_up);
    scene.nothing_is_left();
    let wire = scene.world.wire.take().expect("somebody listened");
    let (alice, server) = (address(10, 5070), scene.world.address());
    let at = |from, to, start: &str| {
        wire.iter()
            .position(|(sender, receiver, bytes)| {
                (*sender, *receiver) == (from, to) && bytes.starts_with(start.as_bytes())
            })
            .unwrap_or_else(|| panic!("no {start}"))
    };
    assert!(at(server, alice, "SIP/2.0 200") < at(alice, server, "ACK"));
    assert!(at(alice, server, "ACK") < at(server, alice, "BYE"));
    assert_eq!(scene.world.records[0].cause, Cause::CalleeHungUp);
}

#[test]
fn an_ack_that_is_not_the_callers_holds_nothing_up() {
    for (name, forge) in [("without the tag", "branch"), ("from elsewhere", "source")] {
        let mut scene = Scene::registered(39);
        scene.world.wire = Some(Vec::new());
        scene.alice_calls(BOB);
        let bob = scene.bob;
        assert!(
            scene
                .world
                .until(5 * SECOND, |world| world.phone(bob).stage == Stage::Up)
        );
        let (alice, server) = (address(10, 5070), scene.world.address());
        let invite = scene.world.said(alice, server).pop().expect("an INVITE");
        // The real ACK never comes.
        scene.world.phones[scene.alice.0].server = address(250, 9);
        let answered = |world: &cusax_tests::sim::World| {
            world
                .said(server, alice)
                .into_iter()
                .find(|text| text.starts_with("SIP/2.0 200"))
        };
        scene.world.run(SECOND / 10);
        let answer = answered(&scene.world).expect("a 200");
        let line = |text: &str, name: &str| text.lines().find(|line| line.starts_with(name)).expect(name).to_owned();
        let (to, from) = match forge {
            "branch" => (line(&invite, "To"), alice),
            _ => (line(&answer, "To"), address(66, 5070)),
        };
        let ack = format!(
            "ACK sip:cusax@192.0.2.1 SIP/2.0\r\n{}\r\nMax-Forwards: 70\r\n{}\r\n{to}\r\n{}\r\n{}\r\nContent-Length: 0\r\n\r\n",
            line(&invite, "Via"),
            line(&invite, "From"),
            line(&invite, "Call-ID"),
            line(&invite, "CSeq").replace("INVITE", "ACK"),
        );
        scene.world.inject(from, ack);
        scene.world.run(SECOND);
        scene.world.act(bob, Phone::hang_up);
        scene.nothing_is_left();
        assert_eq!(scene.world.records.len(), 1, "{name}");
    }
}

#[test]
fn another_branch_that_answers_is_hung_up() {
    let mut scene = Scene::registered(34);
    scene.world.wire = Some(Vec::new());
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    let (bob, server) = (address(20, 5070), scene.world.address());
    let said = scene.world.said(bob, server);
    let answer = said
        .iter()
        .find(|text| text.starts_with("SIP/2.0 200") && text.contains("INVITE"));
    let answer = answer.expect("a 200").clone();
    let message = Message::parse(answer.clone().into()).expect("ours");
    let Message::Response(response) = message else {
        panic!("{answer}")
    };
    let To(to) = response.headers.one().unwrap();
    let other = answer.replace(&format!("tag={}", to.tag().unwrap()), "tag=otherbranch");
    scene.world.wire = Some(Vec::new());
    for _ in 0..2 {
        scene.world.inject(bob, other.clone());
        scene.world.run(3 * SECOND);
    }
    let said = scene.world.said(server, bob);
    let to_other = |method: &str| {
        let its = said
            .iter()
            .filter(|text| text.starts_with(method) && text.contains("tag=otherbranch"));
        its.count()
    };
    assert_eq!(to_other("ACK"), 2, "{said:?}");
    assert_eq!(to_other("BYE"), 1, "{said:?}");
    assert_eq!(
        (scene.stage(scene.alice), scene.stage(scene.bob)),
        (&Stage::Up, &Stage::Up)
    );
    scene.world.act(scene.alice, Phone::hang_up);
    scene.nothing_is_left();
    assert_eq!(scene.world.records.len(), 1);
}

#[test]
fn our_own_address_stands_for_the_domain() {
    let mut scene = Scene::registered(35);
    scene.alice_calls(&BOB.replace("sip.example.com", "192.0.2.1"));
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.bob), &Stage::Up);
}

#[test]
fn a_registrar_of_another_domain_is_not_here() {
    let mut scene = Scene::registered(36);
    for uri in ["sip:evil.example", "tel:1", "sip:sip.example.com.evil.example"] {
        let text = format!(
            "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5070;branch=z9hG4bK{}\r\nMax-Forwards: 70\r\n\
             From: <{BOB}>;tag=1\r\nTo: <{BOB}>\r\nCall-ID: elsewhere\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n",
            uri.len()
        );
        scene.world.inject(address(10, 5070), text);
        scene.world.run(SECOND);
        let last = scene.world.phone(scene.alice).last_response();
        assert_eq!(last.status.code(), 404, "{uri}");
    }
}

#[test]
fn a_reinvite_passes_through() {
    let mut scene = Scene::registered(13);
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    for actor in [scene.alice, scene.bob] {
        let before = scene.world.phone(scene.bob).requests(&Method::Invite).len()
            + scene.world.phone(scene.alice).requests(&Method::Invite).len();
        scene.world.act(actor, Phone::reinvite);
        scene.world.run(3 * SECOND);
        let after = scene.world.phone(scene.bob).requests(&Method::Invite).len()
            + scene.world.phone(scene.alice).requests(&Method::Invite).len();
        assert_eq!(after, before + 1);
        let last = scene.world.phone(actor).last_response();
        assert_eq!(
            (
                last.status.code(),
                last.cseq().map(|CSeq { method, .. }| method).unwrap()
            ),
            (200, Method::Invite)
        );
    }
    scene.world.act(scene.bob, Phone::hang_up);
    scene.nothing_is_left();
    assert_eq!(scene.world.records.len(), 1);
}

#[test]
fn without_store_or_ports_the_caller_hears_503() {
    let mut scene = Scene::registered(14);
    scene.world.ports = 0;
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Over(Some(503)));
    assert_eq!(scene.world.records[0].cause, Cause::Overloaded);
    scene.world.store_up = false;
    scene.world.phones[scene.alice.0].stage = Stage::Idle;
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Over(Some(503)));
    scene.nothing_is_left();
}

#[test]
fn calls_come_through_a_storm() {
    let mut answered = 0;
    let seeds = 300;
    for seed in 0..seeds {
        let mut scene = Scene::registered(seed);
        scene.world.weather = Weather::storm();
        scene.alice_calls(if seed % 3 == 0 {
            "sip:01511234567@sip.example.com"
        } else {
            BOB
        });
        scene.world.run(Duration::from_secs(20));
        answered += usize::from(*scene.stage(scene.alice) == Stage::Up);
        let who = if seed % 2 == 0 { scene.alice } else { scene.bob };
        scene.world.act(who, Phone::hang_up);
        scene.world.run(Duration::from_secs(40));
        // Whoever was not reached by a BYE would notice by silence; here they are told again.
        scene.world.act(scene.alice, Phone::hang_up);
        scene.world.act(scene.trunk, Phone::hang_up);
        scene.nothing_is_left();
        assert_eq!(scene.world.records.len(), 1, "seed {seed}");
    }
    let wanted = usize::try_from(seeds).unwrap() * 95 / 100;
    assert!(answered >= wanted, "{answered} of {seeds} calls were answered");
}

#[test]
fn phones_of_a_removed_user_are_forgotten() {
    let mut scene = Scene::registered(15);
    scene
        .world
        .users
        .retain(|user| user.jid.to_string() != "bob@example.com");
    scene.world.users_changed();
    scene.world.run(SECOND);
    assert_eq!(scene.world.node.bindings(), 1);
    let (_, told) = scene.world.bridge.last().expect("the bridge is told");
    assert!(
        matches!(told, ToXmpp::Registered { jid, aors } if jid.to_string() == "bob@example.com" && aors.is_empty())
    );
}

#[test]
fn what_is_no_number_is_refused_with_a_reason() {
    let mut scene = Scene::registered(16);
    scene.alice_calls("tel:030901821");
    scene.world.run(SECOND);
    let response = scene.world.phone(scene.alice).last_response();
    assert_eq!(response.status.code(), 484);
    let warning = response
        .headers
        .get(&"Warning".parse().unwrap())
        .expect("a text for people");
    assert!(warning.as_str().unwrap().starts_with("399 "), "{warning:?}");
    let [record] = &scene.world.records[..] else {
        panic!("one record: {:?}", scene.world.records)
    };
    assert_eq!((record.cause, record.status), (Cause::BadNumber, 484));
}

#[test]
fn malformed_messages_are_answered_400_and_counted() {
    let mut scene = Scene::registered(17);
    let message = |method: &str, length: &str| {
        format!(
            "{method} sip:x@sip.example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5070;branch=z9hG4bKbad{method}\r\n\
             Max-Forwards: 70\r\nFrom: <{BOB}>;tag=1\r\nTo: <{BOB}>\r\nCall-ID: bad\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:x@192.0.2.10:5070>\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let malformed = |scene: &Scene| {
        let node = &scene.world.node;
        (
            node.counted(|counters| counters.malformed_answered),
            node.counted(|counters| counters.malformed_dropped),
        )
    };
    let rows = [
        ("a body that is too short", message("INVITE", "50"), Some(400)),
        ("an ACK is never answered", message("ACK", "50"), None),
        (
            "a response is never answered",
            "SIP/2.0 200 OK\r\nFrom: x\r\n\r\n".to_owned(),
            None,
        ),
        ("no message at all", "hello".to_owned(), None),
    ];
    for (name, text, status) in rows {
        let (before, heard) = (malformed(&scene), scene.world.phone(scene.alice).heard.len());
        scene.world.inject(address(10, 5070), text);
        scene.world.run(SECOND);
        let (answered, dropped) = before;
        let expected = match status {
            Some(_) => (answered + 1, dropped),
            None => (answered, dropped + 1),
        };
        assert_eq!(malformed(&scene), expected, "{name}: counted");
        let answers = &scene.world.phone(scene.alice).heard[heard..];
        let got = answers.first().and_then(|answer| match answer {
            Message::Response(response) => Some(response.status.code()),
            Message::Request(_) => None,
        });
        assert_eq!((answers.len(), got), (usize::from(status.is_some()), status), "{name}");
    }
    assert_eq!(scene.world.node.calls(), 0);
}
