//! Several carriers, under simulated time: a call goes to the next one when the first is not there, each carrier hears
//! what it may, and nobody pays twice.

use std::net::SocketAddr;
use std::time::Duration;

use cusax_b2bua::core::carriers::Place;
use cusax_b2bua::core::flow::{Flow, Identity, ListenerId, Transport};
use cusax_b2bua::core::media::MediaCommand;
use cusax_b2bua::core::routing::Trunk;
use cusax_b2bua::core::settings::Settings;
use cusax_common::core::bridge::ToXmpp;
use cusax_common::core::policy::Action;
use cusax_common::core::record::Cause;
use cusax_common::core::sip::typed::PAssertedIdentity;
use cusax_common::core::sip::{HeaderName, Method};
use cusax_tests::peer::phone::{Manner, Phone, Stage};
use cusax_tests::sim::{Actor, SECOND, Scene, Weather, address};

const OUTSIDE: &str = "sip:+4940123456@sip.example.com";
const EMERGENCY: &str = "sip:112@sip.example.com";
const SECOND_CARRIER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 98)), 5060);

/// A second carrier comes after the first.
fn second(settings: &mut Settings) {
    let spare = Trunk {
        name: "spare".into(),
        place: Place::Fixed(Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            remote: SECOND_CARRIER,
            identity: Identity::NONE,
        }),
        order: 1,
        ..settings.trunks[0].clone()
    };
    // What is written first need not come first.
    settings.trunks.insert(0, spare);
}

fn two_carriers(seed: u64, change: impl FnOnce(&mut Settings)) -> (Scene, Actor) {
    let mut scene = Scene::registered_with(seed, |settings| {
        second(settings);
        // Without a warning times are those of the carriers.
        settings.policy.national = Action::Allow;
        change(settings);
    });
    let local = scene.world.address();
    let spare = scene.world.add(Phone::new(SECOND_CARRIER, local, None, seed ^ 9));
    (scene, spare)
}

fn heard(scene: &Scene, who: Actor, method: &Method) -> usize {
    scene.world.phone(who).requests(method).len()
}

/// Alice calls, waits and hangs up, whatever came of it; then the carriers rest.
fn calls_for(scene: &mut Scene, whom: &str, time: Duration) {
    scene.alice_calls(whom);
    scene.world.run(time);
    scene.world.act(scene.alice, Phone::hang_up);
    scene.world.run(SECOND / 2);
}

fn trunk_of_last(scene: &Scene) -> Option<&str> {
    scene.world.records.last()?.trunk.as_deref()
}

#[test]
fn a_carrier_that_says_nothing_for_four_seconds_is_given_up() {
    let (mut scene, spare) = two_carriers(1, |_| {});
    scene.behaves(scene.trunk, Manner::Mute);
    scene.alice_calls(OUTSIDE);
    scene.world.run(SECOND * 39 / 10);
    assert!(matches!(scene.stage(scene.alice), Stage::Calling(_)));
    assert!(heard(&scene, scene.trunk, &Method::Invite) >= 3, "with its copies");
    assert_eq!(heard(&scene, spare, &Method::Invite), 0, "not yet");
    scene.world.run(2 * SECOND);
    assert_eq!(scene.stage(spare), &Stage::Up);
    assert_eq!(scene.stage(scene.alice), &Stage::Up);
    assert_eq!(
        heard(&scene, scene.trunk, &Method::Cancel),
        0,
        "RFC 3261 §9.1: not before a provisional response"
    );
    scene.world.act(scene.alice, Phone::hang_up);
    scene.nothing_is_left();
    assert_eq!(scene.world.records.len(), 1, "one record, however many were tried");
    assert_eq!(trunk_of_last(&scene), Some("spare"), "the one that answered");
    assert_eq!(heard(&scene, scene.trunk, &Method::Bye), 0);
}

/// RFC 3261 §9.1, §13.2.2.4: what comes from a carrier that was given up is never taken.
#[test]
fn a_carrier_that_was_given_up_does_not_come_back() {
    // When it wakes up and what it says then; whether a CANCEL and whether ACK and BYE must go there.
    let rows = [
        (200, false, true),
        (180, true, false),
        (183, true, false),
        (603, false, false),
        (503, false, false),
    ];
    for (code, cancelled, hung_up) in rows {
        // Before the other one has answered, and after.
        for after in [4_500, 7_000] {
            let (mut scene, spare) = two_carriers(2, |_| {});
            scene.behaves(scene.trunk, Manner::Late(Duration::from_millis(after), code));
            scene.alice_calls(OUTSIDE);
            scene.world.run(9 * SECOND);
            let what = format!("{code} after {after} ms");
            assert_eq!(scene.stage(spare), &Stage::Up, "{what}");
            assert_eq!(scene.stage(scene.alice), &Stage::Up, "{what}");
            assert_eq!(heard(&scene, scene.trunk, &Method::Cancel) > 0, cancelled, "{what}");
            assert_eq!(heard(&scene, scene.trunk, &Method::Bye) > 0, hung_up, "{what}");
            let acknowledged = heard(&scene, scene.trunk, &Method::Ack) > 0;
            assert!(
                acknowledged,
                "{what}: a final response, that of the CANCEL included, is acknowledged"
            );
            assert!(matches!(scene.stage(scene.trunk), Stage::Over(_)), "{what}");
            scene.world.act(scene.alice, Phone::hang_up);
            scene.nothing_is_left();
            assert_eq!(
                (scene.world.records.len(), trunk_of_last(&scene)),
                (1, Some("spare")),
                "{what}"
            );
        }
    }
}

#[test]
fn a_carrier_that_cannot_is_passed_over_and_what_the_callee_says_is_believed() {
    // What the first carrier does, whether the other one is tried, and what Alice hears if not.
    let rows = [
        (Manner::Refuse(500), None),
        (Manner::Refuse(502), None),
        (Manner::Refuse(503), None),
        (Manner::Refuse(504), None),
        (Manner::Refuse(408), None),
        (Manner::Busy, Some(486)),
        (Manner::Refuse(404), Some(404)),
        (Manner::Refuse(403), Some(403)),
        (Manner::Refuse(580), Some(502)),
        (Manner::Refuse(600), Some(600)),
        (Manner::Refuse(603), Some(603)),
        (Manner::Late(3 * SECOND, 486), Some(486)),
        // It has rung.
        (Manner::Quit(SECOND, 503), Some(500)),
        (Manner::Quit(5 * SECOND, 486), Some(486)),
    ];
    for (manner, told) in rows {
        let (mut scene, spare) = two_carriers(3, |_| {});
        scene.behaves(scene.trunk, manner);
        scene.alice_calls(OUTSIDE);
        scene.world.run(6 * SECOND);
        match told {
            None => assert_eq!(scene.stage(scene.alice), &Stage::Up, "{manner:?}"),
            Some(code) => {
                assert_eq!(scene.stage(scene.alice), &Stage::Over(Some(code)), "{manner:?}");
                assert_eq!(heard(&scene, spare, &Method::Invite), 0, "{manner:?}");
            }
        }
        scene.world.act(scene.alice, Phone::hang_up);
        scene.nothing_is_left();
        let expected = if told.is_some() { "carrier" } else { "spare" };
        assert_eq!(
            (scene.world.records.len(), trunk_of_last(&scene)),
            (1, Some(expected)),
            "{manner:?}"
        );
    }
}

#[test]
fn when_no_carrier_is_there_the_caller_hears_so_once() {
    let (mut scene, spare) = two_carriers(4, |_| {});
    scene.behaves(scene.trunk, Manner::Refuse(503));
    scene.behaves(spare, Manner::Refuse(503));
    scene.alice_calls(OUTSIDE);
    scene.world.run(SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Over(Some(500)));
    assert_eq!(heard(&scene, spare, &Method::Invite), 1);
    scene.nothing_is_left();
    let record = scene.world.records.last().expect("a record");
    assert_eq!(
        (record.cause, record.trunk.as_deref()),
        (Cause::PeerFailed, Some("spare"))
    );
}

#[test]
fn whoever_gives_up_in_the_silence_is_called_for_nowhere_else() {
    let (mut scene, spare) = two_carriers(5, |_| {});
    scene.behaves(scene.trunk, Manner::Mute);
    calls_for(&mut scene, OUTSIDE, 2 * SECOND);
    scene.nothing_is_left();
    assert_eq!(heard(&scene, spare, &Method::Invite), 0);
    assert_eq!(
        scene.world.records.last().map(|record| record.cause),
        Some(Cause::Cancelled)
    );
}

#[test]
fn a_paid_call_is_announced_once_however_many_carriers_are_tried() {
    let (mut scene, spare) = two_carriers(13, |settings| settings.policy.national = Action::Warn);
    scene.behaves(scene.trunk, Manner::Mute);
    calls_for(&mut scene, OUTSIDE, 9 * SECOND);
    assert_eq!(
        (heard(&scene, spare, &Method::Bye), trunk_of_last(&scene)),
        (1, Some("spare"))
    );
    let told = scene.world.bridge.iter();
    let notices = told.filter(|(_, message)| matches!(message, ToXmpp::Charge(_))).count();
    let tones = scene.world.commands.iter();
    let tones = tones
        .filter(|(_, command)| matches!(command, MediaCommand::Play { .. }))
        .count();
    assert_eq!((notices, tones), (1, 1));
}

/// RFC 3325 §2, RFC 6993: what one carrier may be told another one may not.
#[test]
fn each_carrier_is_told_what_it_may_know() {
    let (mut scene, spare) = two_carriers(6, |settings| {
        settings.trunks[0].impp = false;
        settings.trunks[0].asserted = false;
        settings.trunks[0].realm = Some("spare.example".into());
        settings.trunks[1].impp = true;
        settings.trunks[1].asserted = true;
        settings.trunks[1].realm = Some("carrier.example".into());
    });
    scene.behaves(scene.trunk, Manner::Refuse(503));
    scene.alice_calls(OUTSIDE);
    scene.world.run(3 * SECOND);
    assert_eq!(scene.stage(spare), &Stage::Up);
    for (who, knows, domain) in [(scene.trunk, true, "carrier.example"), (spare, false, "spare.example")] {
        let invite = scene.world.phone(who).requests(&Method::Invite)[0].clone();
        let asserted = invite
            .headers
            .list::<PAssertedIdentity>()
            .is_ok_and(|list| !list.is_empty());
        assert_eq!(asserted, knows, "{domain}");
        assert_eq!(invite.headers.has(&HeaderName::CALL_INFO), knows, "{domain}");
        let called = format!("sip:+4940123456@{domain};user=phone");
        assert_eq!(invite.uri.to_string(), called);
        assert_eq!(
            invite.headers.to().expect("a To").uri.to_string(),
            called,
            "no word of the other carrier"
        );
    }
}

#[test]
fn a_broken_server_is_passed_over_until_one_call_finds_it_well() {
    let (mut scene, spare) = two_carriers(7, |_| {});
    let broken = |scene: &Scene| {
        let counts: Vec<_> = scene.world.node.broken_servers().collect();
        assert_eq!((counts[0], counts[1].0), (("spare", 0), "carrier"));
        counts[1].1
    };
    scene.behaves(scene.trunk, Manner::Mute);
    for call in 0..5 {
        assert_eq!(broken(&scene), 0, "call {call}");
        calls_for(&mut scene, OUTSIDE, SECOND * 52 / 10);
        assert_eq!(trunk_of_last(&scene), Some("spare"));
    }
    assert_eq!(broken(&scene), 1);

    // Copies of one INVITE count once.
    let invited = |scene: &Scene, who| {
        let mut ids: Vec<_> = scene
            .world
            .phone(who)
            .requests(&Method::Invite)
            .iter()
            .map(|invite| invite.headers.call_id().expect("a Call-ID").to_text().into_owned())
            .collect();
        ids.sort();
        ids.dedup();
        ids.len()
    };
    assert_eq!(invited(&scene, scene.trunk), 5);
    calls_for(&mut scene, OUTSIDE, 2 * SECOND);
    assert_eq!(invited(&scene, scene.trunk), 5, "nobody waits for it");
    assert_eq!(trunk_of_last(&scene), Some("spare"));
    assert!(
        scene
            .world
            .records
            .last()
            .is_some_and(|record| record.answered.is_some())
    );

    // After its rest one call tries it, and the call after that does not.
    scene.world.run(30 * SECOND);
    calls_for(&mut scene, OUTSIDE, SECOND * 52 / 10);
    assert_eq!(
        (invited(&scene, scene.trunk), broken(&scene)),
        (6, 1),
        "the one that tries"
    );
    calls_for(&mut scene, OUTSIDE, 2 * SECOND);
    assert_eq!((invited(&scene, scene.trunk), broken(&scene)), (6, 1));

    // It works again, and that is found out.
    scene.world.run(30 * SECOND);
    scene.behaves(scene.trunk, Manner::Answer(SECOND));
    calls_for(&mut scene, OUTSIDE, 2 * SECOND);
    assert_eq!((trunk_of_last(&scene), broken(&scene)), (Some("carrier"), 0));
    assert!(invited(&scene, spare) >= 7);
    scene.nothing_is_left();
}

#[test]
fn where_all_are_broken_they_are_tried_all_the_same() {
    let (mut scene, spare) = two_carriers(8, |_| {});
    scene.behaves(scene.trunk, Manner::Refuse(503));
    scene.behaves(spare, Manner::Refuse(503));
    for call in 1..8 {
        calls_for(&mut scene, OUTSIDE, SECOND);
        let both = (
            heard(&scene, scene.trunk, &Method::Invite),
            heard(&scene, spare, &Method::Invite),
        );
        assert_eq!(both, (call, call));
    }
    assert!(scene.world.node.broken_servers().all(|(_, broken)| broken == 1));
    scene.behaves(spare, Manner::Answer(SECOND));
    calls_for(&mut scene, OUTSIDE, 3 * SECOND);
    assert_eq!(trunk_of_last(&scene), Some("spare"), "better a try than a refusal");
}

/// Security: whoever calls numbers that a carrier cannot reach must not send everybody's calls another way.
#[test]
fn numbers_that_cannot_be_reached_break_no_server() {
    for code in [500, 502, 504, 408, 404, 403] {
        let (mut scene, _) = two_carriers(9, |_| {});
        scene.behaves(scene.trunk, Manner::Refuse(code));
        for _ in 0..8 {
            calls_for(&mut scene, OUTSIDE, SECOND);
        }
        assert!(
            scene.world.node.broken_servers().all(|(_, broken)| broken == 0),
            "{code}"
        );
    }
}

#[test]
fn an_emergency_goes_by_every_carrier_for_it_and_no_breaker_refuses_it() {
    // Only the carrier that takes emergencies, whatever its order.
    let (mut scene, spare) = two_carriers(10, |settings| settings.trunks[1].emergency = false);
    calls_for(&mut scene, EMERGENCY, 2 * SECOND);
    assert_eq!(trunk_of_last(&scene), Some("spare"));
    assert_eq!(heard(&scene, scene.trunk, &Method::Invite), 0);
    assert_eq!(heard(&scene, spare, &Method::Invite), 1);

    // A prefix keeps no emergency away.
    let (mut scene, _) = two_carriers(11, |settings| settings.trunks[1].prefixes = vec!["44".into()]);
    calls_for(&mut scene, EMERGENCY, 2 * SECOND);
    assert_eq!(trunk_of_last(&scene), Some("carrier"));

    let (mut scene, spare) = two_carriers(12, |_| {});
    scene.behaves(scene.trunk, Manner::Mute);
    for _ in 0..5 {
        calls_for(&mut scene, OUTSIDE, SECOND * 52 / 10);
    }
    // The broken one comes last, even when its rest is over: help is no test of whether it works again.
    for _ in 0..2 {
        calls_for(&mut scene, EMERGENCY, 2 * SECOND);
        assert_eq!(trunk_of_last(&scene), Some("spare"));
        assert!(
            scene
                .world
                .records
                .last()
                .is_some_and(|record| record.answered.is_some())
        );
        scene.world.run(31 * SECOND);
    }
    // And it is tried when there is no other.
    scene.behaves(spare, Manner::Refuse(503));
    scene.behaves(scene.trunk, Manner::Answer(SECOND));
    calls_for(&mut scene, EMERGENCY, 2 * SECOND);
    assert_eq!(trunk_of_last(&scene), Some("carrier"));
    assert!(
        scene
            .world
            .records
            .last()
            .is_some_and(|record| record.answered.is_some())
    );
}

#[test]
fn there_is_room_for_an_emergency_when_there_is_none_for_others() {
    let (mut scene, spare) = two_carriers(14, |settings| settings.max_calls = 1);
    scene
        .world
        .act(spare, |phone, now| phone.call(now, "sip:+4930901820@sip.example.com"));
    scene.world.run(3 * SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Up);
    let bob = scene.bob;
    scene.world.act(bob, |phone, now| phone.call(now, OUTSIDE));
    scene.world.run(SECOND);
    assert_eq!(scene.stage(bob), &Stage::Over(Some(503)));
    scene.world.act(bob, |phone, now| phone.call(now, EMERGENCY));
    scene.world.run(3 * SECOND);
    assert_eq!(scene.stage(bob), &Stage::Up);
}

/// Whatever the network does to datagrams: in the end one carrier has the call at the most.
#[test]
fn no_storm_makes_two_carriers_carry_one_call() {
    for seed in 0..150 {
        let (mut scene, spare) = two_carriers(seed, |_| {});
        scene.world.weather = Weather {
            loss: 350,
            ..Weather::storm()
        };
        let manner = match seed % 3 {
            0 => Manner::Late(Duration::from_millis(3_500 + seed * 10), 200),
            1 => Manner::Late(Duration::from_millis(3_500 + seed * 10), 180),
            _ => Manner::Answer(SECOND),
        };
        scene.behaves(scene.trunk, manner);
        scene.alice_calls(OUTSIDE);
        scene.world.run(40 * SECOND);
        let up = [scene.trunk, spare].map(|who| *scene.stage(who) == Stage::Up);
        assert_ne!(up, [true, true], "seed {seed}");
        if *scene.stage(scene.alice) == Stage::Up {
            assert_ne!(up, [false, false], "seed {seed}");
        }
        scene.world.weather = Weather::default();
        for who in [scene.alice, scene.trunk, spare] {
            scene.world.act(who, Phone::hang_up);
        }
        scene.nothing_is_left();
        // Where no INVITE came through at all there was no call.
        assert!(scene.world.records.len() <= 1, "seed {seed}");
    }
    // The address is that of the network for tests.
    assert_eq!(SECOND_CARRIER, address(98, 5060));
}
