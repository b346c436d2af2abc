//! Calls whose media does not pass through us (`[media] anchor = false`).

use cusax_b2bua::core::media::MediaCommand;
use cusax_common::core::record::{Cause, Warned};
use cusax_common::core::sip::{Method, Request};
use cusax_tests::peer::phone::{Phone, Stage};
use cusax_tests::sim::{Actor, SECOND, Scene};

const BOB: &str = "sip:bob.phone@sip.example.com";

#[test]
fn the_phones_are_told_of_each_other_and_the_relay_of_nothing() {
    let mut scene = Scene::registered_with(1, |settings| settings.anchor = false);
    scene.alice_calls(BOB);
    scene.world.run(5 * SECOND);
    assert_eq!(
        (scene.stage(scene.alice), scene.stage(scene.bob)),
        (&Stage::Up, &Stage::Up)
    );
    names(&scene, &offers(&scene, scene.bob)[0], scene.alice);
    let alice = scene.world.phone(scene.alice);
    let ok = *alice.responses().last().expect("an answer");
    let told = String::from_utf8_lossy(&ok.body).into_owned();
    let connection = connection_of(&scene, scene.bob);
    assert!(told.contains(&connection), "{connection}: {told}");
    // She holds him: what changes goes straight across as well.
    scene.world.act(scene.alice, Phone::reinvite);
    scene.world.run(SECOND);
    let held = &offers(&scene, scene.bob)[1];
    names(&scene, held, scene.alice);
    assert!(String::from_utf8_lossy(&held.body).contains("a=sendonly"));
    // Nobody listens, so nobody is taken for silent.
    scene.world.run(600 * SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Up);
    scene.world.act(scene.bob, Phone::hang_up);
    scene.nothing_is_left();
    assert_eq!(scene.world.records[0].cause, Cause::CalleeHungUp);
    assert!(scene.world.commands.is_empty(), "{:?}", scene.world.commands);
}

#[test]
fn a_call_that_begins_with_a_warning_is_relayed_all_the_same() {
    let mut scene = Scene::registered_with(2, |settings| settings.anchor = false);
    scene.alice_calls("sip:+491511234567@sip.example.com");
    scene.world.run(10 * SECOND);
    assert_eq!(scene.stage(scene.alice), &Stage::Up);
    let opened = |(_, command): &(_, MediaCommand)| matches!(command, MediaCommand::Open { .. });
    assert!(scene.world.commands.iter().any(opened));
    let invite = &offers(&scene, scene.trunk)[0];
    let told = String::from_utf8_lossy(&invite.body).into_owned();
    let connection = connection_of(&scene, scene.alice);
    assert!(!told.contains(&connection), "{connection}: {told}");
    scene.world.act(scene.alice, Phone::hang_up);
    scene.nothing_is_left();
    assert_eq!(scene.world.records[0].warning, Warned::Tone);
}

/// The INVITEs that somebody heard.
fn offers(scene: &Scene, who: Actor) -> Vec<Request> {
    let heard = scene.world.phone(who).requests(&Method::Invite);
    heard.into_iter().cloned().collect()
}

/// The description names this phone, and none of our ports.
fn names(scene: &Scene, request: &Request, who: Actor) {
    let told = String::from_utf8_lossy(&request.body).into_owned();
    let connection = connection_of(scene, who);
    assert!(told.contains(&connection), "{connection}: {told}");
}

fn connection_of(scene: &Scene, who: Actor) -> String {
    format!("c=IN IP4 {}\r\n", scene.world.phone(who).address.ip())
}
