//! What a call, and a caller, may not exceed.

use std::time::Duration;

use cusax_b2bua::core::admission::Rate;
use cusax_common::core::record::Cause;
use cusax_tests::peer::phone::{Phone, Stage};
use cusax_tests::sim::hand::{Hand, codes};
use cusax_tests::sim::{SECOND, Scene, address};

const BOB: &str = "sip:bob.phone@sip.example.com";

fn speaking(seed: u64, change: impl FnOnce(&mut cusax_b2bua::core::settings::Settings)) -> Scene {
    let mut scene = Scene::registered_with(seed, change);
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Up);
    scene
}

#[test]
fn no_call_lasts_for_ever() {
    let mut scene = speaking(1, |settings| settings.max_duration = 600 * SECOND);
    scene.world.run(590 * SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Up);
    scene.world.run(10 * SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Over(None));
    scene.nothing_is_left();
    assert_eq!(scene.world.records[0].cause, Cause::TooLong);
}

#[test]
fn a_call_without_a_sound_ends_unless_it_is_held() {
    let minute = |settings: &mut cusax_b2bua::core::settings::Settings| settings.silence_timeout = Some(60 * SECOND);
    let mut scene = speaking(2, minute);
    scene.world.run(600 * SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Up, "they speak");
    scene.world.act(scene.bob, Phone::reinvite);
    scene.world.run(SECOND);
    scene.world.mute = true;
    scene.world.run(600 * SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Up, "one holds the other");
    scene.world.act(scene.bob, Phone::reinvite);
    scene.world.run(20 * SECOND);
    assert_eq!(
        scene.stage(scene.alice),
        &Stage::Over(None),
        "for a minute nobody has said anything"
    );
    scene.nothing_is_left();
    assert_eq!(scene.world.records[0].cause, Cause::NoMedia);
    let mut scene = speaking(3, minute);
    scene.world.mute = true;
    scene.world.run(50 * SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Up);
    scene.world.run(40 * SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Over(None));
}

#[test]
fn a_user_has_few_calls_but_may_always_call_for_help() {
    let mut scene = speaking(4, |settings| settings.calls_per_account = 1);
    scene.world.phones[scene.alice.0].stage = Stage::Idle;
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Over(Some(403)));
    assert_eq!(scene.world.records[0].cause, Cause::Barred);
    scene.world.phones[scene.alice.0].stage = Stage::Idle;
    scene.alice_calls("sip:112@sip.example.com");
    scene.world.run(Duration::from_secs(5));
    assert_eq!(scene.stage(scene.alice), &Stage::Up);
}

/// A right proof lets nobody ask without end, and what one asks is no other one's loss.
#[test]
fn an_account_that_asks_for_too_much_is_put_off_and_others_are_not() {
    // Not a second more, so that the time of the test does not count.
    let limit = Rate {
        per_second: 0,
        burst: 3,
    };
    let mut scene = Scene::registered_with(5, |settings| settings.limits.account = limit);
    let dials = |scene: &mut Scene, name, last| {
        let mut hand = Hand::new(&mut scene.world, address(last, 5080), name);
        let invite = hand.invite("sip:112@sip.example.com");
        codes(&hand.prove(&mut scene.world, &invite))
    };
    // One of hers was for her phone.
    for (number, is_put_off) in [(0, false), (1, false), (2, true), (3, true)] {
        let told = dials(&mut scene, "alice", 70 + number);
        assert_eq!(told.contains(&503), is_put_off, "{number}: {told:?}");
        assert_eq!(told == [503], is_put_off, "{number}: {told:?}");
    }
    assert!(scene.world.node.counted(|counters| counters.throttled) > 1);
    let told = dials(&mut scene, "carol", 80);
    assert!(!told.is_empty() && !told.contains(&503), "{told:?}");
    scene.alice_calls(BOB);
    scene.world.run(SECOND);
    assert_eq!(
        scene.stage(scene.alice),
        &Stage::Over(Some(503)),
        "from her phone as well"
    );
}
