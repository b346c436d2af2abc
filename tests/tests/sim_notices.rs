//! What callees are told in chat of calls: that it rings, that it was missed, that their phones were busy or away; and
//! who has called, no more of it than their phones are told.

use std::time::Duration;

use cusax_b2bua::core::settings::Settings;
use cusax_common::core::bridge::{CallNotice, ToXmpp};
use cusax_common::core::notice::Notices;
use cusax_tests::peer::phone::{Manner, Phone};
use cusax_tests::sim::{SECOND, Scene};

const BOB: &str = "sip:bob.phone@sip.example.com";
const CAROL: &str = "sip:carol.phone@sip.example.com";

/// Everybody wants to be told everything, or what `notices` says.
fn scene(seed: u64, notices: &str) -> Scene {
    let mut scene = Scene::registered_with(seed, |settings: &mut Settings| {
        settings.ring_timeout = 10 * SECOND;
    });
    let notices: Notices = notices.parse().expect("kinds of notices");
    for user in &mut scene.world.users {
        std::sync::Arc::make_mut(user).flags.notices = notices;
    }
    scene
}

fn told(scene: &Scene) -> Vec<CallNotice> {
    let calls = scene.world.bridge.iter().filter_map(|(_, told)| match told {
        ToXmpp::Call(notice) => Some(notice.clone()),
        _ => None,
    });
    calls.collect()
}

/// Who was told what, as one line each.
fn lines(scene: &Scene) -> Vec<String> {
    let line = |notice: &CallNotice| {
        let whom = notice.jid.node().expect("a user");
        format!("{whom} {:?}", notice.news)
    };
    told(scene).iter().map(line).collect()
}

#[test]
fn a_callee_is_told_what_became_of_a_call() {
    let late = Duration::from_secs(2);
    let cases = [
        (BOB, Manner::Answer(late), vec!["bob Incoming"]),
        (BOB, Manner::Busy, vec!["bob Incoming", "bob Busy"]),
        (BOB, Manner::Refuse(603), vec!["bob Incoming", "bob Busy"]),
        (BOB, Manner::Ring, vec!["bob Incoming", "bob Missed"]),
        (BOB, Manner::Mute, vec!["bob Incoming", "bob Missed"]),
        (CAROL, Manner::Ring, vec!["carol Unreachable"]),
        (BOB, Manner::Refuse(480), vec!["bob Incoming", "bob Unreachable"]),
        (BOB, Manner::Refuse(500), vec!["bob Incoming"]),
        ("sip:alice.phone@sip.example.com", Manner::Ring, vec![]),
        ("sip:nobody@sip.example.com", Manner::Ring, vec![]),
        ("sip:+491511234567@sip.example.com", Manner::Ring, vec![]),
    ];
    for (seed, (whom, manner, wanted)) in (100..).zip(cases) {
        let mut scene = scene(seed, "all");
        scene.behaves(scene.bob, manner);
        scene.alice_calls(whom);
        scene.world.run(40 * SECOND);
        scene.world.act(scene.alice, Phone::hang_up);
        scene.nothing_is_left();
        assert_eq!(lines(&scene), wanted, "{whom} {manner:?}");
        let session = scene.world.records.first().map(|record| record.session);
        assert!(told(&scene).iter().all(|notice| Some(notice.session) == session));
    }
}

#[test]
fn a_caller_who_gives_up_has_called_in_vain() {
    let mut scene = scene(120, "all");
    scene.behaves(scene.bob, Manner::Ring);
    scene.alice_calls(BOB);
    scene.world.run(3 * SECOND);
    scene.world.act(scene.alice, Phone::hang_up);
    scene.nothing_is_left();
    assert_eq!(lines(&scene), ["bob Incoming", "bob Missed"]);
}

#[test]
fn nobody_is_told_what_they_do_not_want() {
    for (seed, notices, wanted) in [
        (130, "none", vec![]),
        (131, "missed", vec!["bob Missed"]),
        (132, "incoming,refused", vec!["bob Incoming"]),
    ] {
        let mut scene = scene(seed, notices);
        scene.behaves(scene.bob, Manner::Ring);
        scene.alice_calls(BOB);
        scene.world.run(20 * SECOND);
        scene.nothing_is_left();
        assert_eq!(lines(&scene), wanted, "{notices}");
    }
}

#[test]
fn the_caller_is_named_as_phones_name_them() {
    let of_alice = |scene: &Scene| told(scene).pop().expect("bob is told").caller;
    for (seed, impp) in [(140, true), (141, false)] {
        let mut scene = scene(seed, "missed");
        std::sync::Arc::make_mut(&mut scene.world.users[0]).flags.impp = impp;
        scene.behaves(scene.bob, Manner::Ring);
        scene.alice_calls(BOB);
        scene.world.run(20 * SECOND);
        let caller = of_alice(&scene).expect("she is named");
        assert_eq!(caller.name.as_deref(), Some("alice Example"));
        assert_eq!(caller.address, "sip:alice.phone@sip.example.com");
        let jid = caller.jid.map(|jid| jid.to_string());
        assert_eq!(jid.as_deref(), impp.then_some("alice@example.com"), "RFC 6993 §2");
    }

    let mut scene = scene(142, "missed");
    scene.world.phones[scene.alice.0].extra = vec![("Privacy".into(), "id".into())];
    scene.behaves(scene.bob, Manner::Ring);
    scene.alice_calls(BOB);
    scene.world.run(20 * SECOND);
    assert_eq!(of_alice(&scene), None, "she does not want to be named");
}
