//! What a call, and a caller, may not exceed.

use std::time::Duration;

use cusax_common::core::record::Cause;
use cusax_tests::peer::phone::{Phone, Stage};
use cusax_tests::sim::{SECOND, Scene};

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
