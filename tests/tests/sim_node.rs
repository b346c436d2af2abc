//! Several endpoints in one node: what belongs to an account, a phone or a dialog is the same for all of them.

use std::time::Duration;

use cusax_common::core::bridge::ToXmpp;
use cusax_common::core::sip::Method;
use cusax_tests::peer::phone::{Phone, Stage};
use cusax_tests::sim::puppet::{Puppet, dialled, sdp};
use cusax_tests::sim::stage::{invited, replacing, two_calls_in};
use cusax_tests::sim::{SECOND, Scene, address, scene_of};

const ENDPOINTS: u8 = 4;
/// Seeds of each test: enough for what belongs together to be at one endpoint by chance, and at several.
const SEEDS: u64 = 16;

#[test]
fn a_phone_is_reached_and_gone_for_all_of_them() {
    for seed in 0..SEEDS {
        let mut scene = scene_of(ENDPOINTS, seed, |_| {});
        scene.world.start();
        for phone in [scene.alice, scene.bob] {
            scene.world.act(phone, |phone, now| phone.register(now, 60));
        }
        scene.world.run(SECOND);
        assert_eq!(scene.world.node.bindings(), 2, "seed {seed}");
        assert!(scene.world.node.agrees(), "seed {seed}");
        scene.alice_calls(&dialled("bob"));
        scene.world.run(3 * SECOND);
        assert_eq!(*scene.stage(scene.alice), Stage::Up, "seed {seed}");
        scene.world.act(scene.alice, Phone::hang_up);
        scene.world.run(SECOND);
        // Nobody refreshes what they have registered, and it is over for everybody when it is over.
        scene.world.phones.clear();
        scene.world.run(61 * SECOND);
        assert_eq!(scene.world.node.bindings(), 0, "seed {seed}");
        assert!(scene.world.node.agrees(), "seed {seed}");
        scene.nothing_is_left();
    }
}

/// The proof covers neither Call-ID nor branch: whoever says it again with others speaks with another endpoint.
#[test]
fn a_proof_counts_once_whichever_endpoint_it_comes_to() {
    for seed in 0..SEEDS {
        let Scene { mut world, .. } = scene_of(ENDPOINTS, seed, |_| {});
        let mut bob = Puppet::new(&mut world, address(20, 5090), "bob");
        bob.register(&mut world);
        let mut alice = Puppet::new(&mut world, address(10, 5090), "alice");
        alice.call(&mut world, &dialled("bob"), &[], &sdp(alice.address(), 1, 0));
        world.run(SECOND);
        assert_eq!(world.node.calls(), 1, "seed {seed}");
        let proven = alice.invite.clone().expect("she has called").to_bytes();
        let proven = String::from_utf8(proven.to_vec()).expect("text");
        for copy in 0..20 {
            let text = proven
                .replace("Call-ID: ", &format!("Call-ID: copy{copy}"))
                .replace("branch=z9hG4bK", &format!("branch=z9hG4bKcopy{copy}"));
            assert_ne!(text, proven);
            world.inject(alice.address(), text);
            world.run(Duration::from_millis(100));
        }
        assert_eq!(world.node.calls(), 1, "seed {seed}");
    }
}

#[test]
fn an_account_has_as_many_calls_as_it_may_over_all_of_them() {
    const MAY: usize = 3;
    for seed in 0..SEEDS {
        let mut scene = scene_of(ENDPOINTS, seed, |settings| settings.calls_per_account = MAY);
        let world = &mut scene.world;
        let mut bob = Puppet::new(world, address(20, 5090), "bob");
        bob.register(world);
        let call = |world: &mut _, port| {
            let mut alice = Puppet::new(world, address(10, port), "alice");
            alice.call(world, &dialled("bob"), &[], &sdp(alice.address(), 1, 0));
        };
        for number in 0..10 {
            call(world, 5100 + number);
            world.run(Duration::from_millis(50));
        }
        assert_eq!(world.node.calls(), MAY, "seed {seed}");
        // They ring until it is enough; then there is room again.
        scene.nothing_is_left();
        call(&mut scene.world, 5200);
        scene.world.run(SECOND);
        assert_eq!(scene.world.node.calls(), 1, "seed {seed}");
    }
}

/// However it is disguised, and whichever endpoint it comes to.
#[test]
fn a_registration_is_made_by_the_first_alone() {
    for seed in 0..SEEDS {
        let Scene { mut world, .. } = scene_of(ENDPOINTS, seed, |_| {});
        let mut bob = Puppet::new(&mut world, address(20, 5090), "bob");
        bob.register(&mut world);
        let said = world.said(bob.address(), world.address());
        let proven = said
            .into_iter()
            .rfind(|text| text.starts_with("REGISTER "))
            .expect("he has");
        // The same proof is worth nothing, so that it is told from an answer of an endpoint that has not seen it.
        for (copy, blank) in ["\r\n", "\r\n\r\n", "\n"].into_iter().enumerate() {
            let text = proven
                .replace("Call-ID: ", &format!("Call-ID: copy{copy}"))
                .replace("branch=z9hG4bK", &format!("branch=z9hG4bKcopy{copy}"));
            world.inject(bob.address(), format!("{blank}{text}"));
            world.run(SECOND);
        }
        let told = world.said(world.address(), bob.address());
        let welcomed = told.iter().filter(|text| text.starts_with("SIP/2.0 200 ")).count();
        assert_eq!(welcomed, 1, "seed {seed}");
        assert!(world.node.agrees(), "seed {seed}");
    }
}

/// Alice joins Bob with Carol, to each of whom she speaks by a call of its own.
#[test]
fn a_leg_goes_to_a_call_of_another_endpoint() {
    let mut moved = 0;
    for seed in 0..SEEDS {
        let (mut stage, mut second, met) = two_calls_in(scene_of(ENDPOINTS, seed, |_| {}));
        let told = stage.alice_refers(&replacing(&met));
        let done = Some("refer terminated SIP/2.0 200 OK");
        assert_eq!(told.last().map(String::as_str), done, "seed {seed}: {told:?}");
        moved += stage.scene.world.node.moved();
        let byes = second.asked(&mut stage.scene.world, &Method::Bye);
        second.respond(&mut stage.scene.world, &byes[0], 200, &[], "");
        let (bobs, carols) = (sdp(stage.bob.address(), 2, 0), sdp(stage.carol.address(), 2, 0));
        let reinvite = invited(&mut stage.bob, &mut stage.scene);
        stage.bob.respond(&mut stage.scene.world, &reinvite, 200, &[], &bobs);
        let reinvite = invited(&mut stage.carol, &mut stage.scene);
        stage
            .carol
            .respond(&mut stage.scene.world, &reinvite, 200, &[], &carols);
        stage.scene.world.run(SECOND);

        // The one whose leg has moved hangs up, and says it again, since the answer may have been lost.
        stage.bob.request(&mut stage.scene.world, Method::Bye, None, &[], "");
        stage.scene.world.run(SECOND);
        let (bob, server) = (stage.bob.address(), stage.scene.world.address());
        let bye = stage.scene.world.said(bob, server).pop().expect("he has said it");
        stage.scene.world.inject(bob, bye.clone());
        stage.scene.world.run(SECOND);
        let told = stage.scene.world.said(server, bob);
        let of_bye = |text: &&String| text.starts_with("SIP/2.0 ") && text.contains(" BYE\r\n");
        let answers: Vec<_> = told.iter().filter(of_bye).collect();
        assert!(
            answers.len() == 2 && answers.iter().all(|text| text.starts_with("SIP/2.0 200 ")),
            "seed {seed}: {answers:?}"
        );
        // An ACK that comes late finds nothing, and is not sent about for ever.
        let ack = bye
            .replace("BYE", "ACK")
            .replace("branch=z9hG4bK", "branch=z9hG4bKlate");
        stage.scene.world.inject(bob, ack);
        let before = stage.scene.world.node.heard;
        stage.scene.world.run(SECOND);
        let passed = stage.scene.world.node.heard - before;
        assert!(passed < 10, "seed {seed}: {passed} were passed on");
        let byes = stage.carol.asked(&mut stage.scene.world, &Method::Bye);
        assert_eq!(byes.len(), 1, "seed {seed}");
        stage.carol.respond(&mut stage.scene.world, &byes[0], 200, &[], "");
        let hung = stage.met.clone();
        let alice = &mut stage.alice;
        alice.request(&mut stage.scene.world, Method::Bye, Some(&hung), &[], "");
        stage.scene.world.run(SECOND);

        let of_bob = |told: &ToXmpp| matches!(told, ToXmpp::Phone { jid, .. } if jid.to_string().starts_with("bob@"));
        let changes = stage.scene.world.bridge.iter().filter(|(_, told)| of_bob(told)).count();
        assert_eq!(changes, 2, "seed {seed}: he was on the phone once");
        assert_eq!(stage.done().len(), 2, "seed {seed}");
    }
    assert!(moved > 3, "{moved} of {SEEDS} went elsewhere");
}
