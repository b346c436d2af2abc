//! The simulated world with faults: from each seed a network, phones and calls, and afterwards nothing may be left.
//!
//! A seed that fails is replayed aloud by `make sim SEED=…`.

use std::process::Command;

use cusax_b2bua::core::admission::Rate;
use cusax_b2bua::core::settings::Settings;
use cusax_common::core::record::Cause;
use cusax_tests::sim::hand::{Hand, Heard, codes, proof};
use cusax_tests::sim::storm::{campaign, play, transitions};
use cusax_tests::sim::{SECOND, Scene, address};

#[test]
fn whatever_is_drawn_ends_well() {
    let tally = campaign::run(0..SEEDS, |_, _| {});
    let reports: String = tally
        .failed
        .iter()
        .map(|(seed, failures)| campaign::report(*seed, failures))
        .collect();
    assert!(tally.failed.is_empty(), "{reports}");
    assert_eq!(tally.seeds, SEEDS);
    for cause in Cause::ALL {
        assert!(
            tally.causes.contains_key(cause.as_str()),
            "no call ended as {cause:?}: {:?}",
            tally.causes
        );
    }
    assert!(
        tally.meant > SEEDS / 10,
        "{} calls were meant to be answered",
        tally.meant
    );
    let (answered, meant) = (tally.answered, tally.meant);
    assert!(
        tally.answered_per_mille() >= 950,
        "{answered} of {meant} calls were answered at 10 % loss"
    );
    let (joined, sent) = (tally.joined, tally.sent);
    assert!(sent > SEEDS / 50, "{sent} transfers were meant to be answered");
    assert!(
        joined * 100 >= sent * 75,
        "{joined} of {sent} transfers were answered at 10 % loss"
    );
    let differences = transitions::differences(&tally.steps);
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn a_seed_says_everything() {
    for seed in 0..30 {
        let (first, second) = (play(seed, false), play(seed, false));
        assert_eq!(
            first.trace, second.trace,
            "seed {seed} sends something else when it is played again"
        );
    }
    assert_ne!(play(1, false).trace, play(2, false).trace);
}

/// Seeds 2732 and 6702: a 503 kept no memory of its request, so that a copy of it, which comes whenever an answer is
/// late, was a call after all. Its caller had acknowledged the 503 and gone; the callee rang, answered, and heard nobody.
#[test]
fn what_was_put_off_is_not_begun_by_a_copy() {
    type Row = (&'static str, fn(&mut Settings));
    let rows: [Row; 3] = [
        ("the store is silent", |_| {}),
        ("there is no room for another call", |settings| settings.max_calls = 0),
        ("the account asks too much", |settings| {
            settings.limits.account = Rate {
                per_second: 1,
                burst: 1,
            };
        }),
    ];
    for (name, change) in rows {
        let mut scene = Scene::registered_with(1, change);
        let alice = address(10, 5070);
        // It speaks from where Alice's phone is registered.
        let mut hand = Hand::new(&mut scene.world, alice, "alice");
        let mut invite = hand.invite("sip:bob.phone@sip.example.com");
        let plain = hand.say(&mut scene.world, &invite);
        let challenged = plain.first().and_then(Heard::response).expect(name);
        let line = proof(
            &challenged,
            "alice.phone",
            "alice-secret",
            "INVITE",
            "sip:bob.phone@sip.example.com",
        );
        invite = invite.with("Via", &format!("SIP/2.0/UDP {alice};branch=z9hG4bKputoff;rport"));
        invite = invite.with("CSeq", "77 INVITE");
        invite.lines.extend(line);
        if name.contains("account") {
            scene.world.act(scene.alice, |phone, now| phone.register(now, 3600));
            scene.world.run(SECOND / 10);
        }
        scene.world.store_up = !name.contains("store");
        assert_eq!(codes(&hand.say(&mut scene.world, &invite)), [503], "{name}");
        // All is well again, and the copies come.
        scene.world.store_up = true;
        let mut settings = scene.world.node.settings().clone();
        settings.max_calls = 10;
        scene.world.node.handle_settings(settings.into());
        scene.world.run(2 * SECOND);
        assert_eq!(codes(&hand.say(&mut scene.world, &invite)), [503], "{name}: a copy");
        scene.world.run(40 * SECOND);
        assert_eq!(scene.world.node.transactions(), 0, "{name}");
    }
}

/// Code that changes around a planted bug leaves the patch behind, and it is to be planted anew. Whether the bugs are
/// found takes a build for each: `make planted`.
#[test]
fn planted_bugs_can_be_planted() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/planted")).expect("the folder of the patches");
    let paths = folder.map(|entry| entry.expect("a file").path());
    let patches: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "patch"))
        .collect();
    assert!(patches.len() >= 10, "{} bugs are planted", patches.len());
    for patch in patches {
        // `git apply` needs no repository, so a tree that was unpacked serves as well.
        let mut command = Command::new("git");
        command.args(["apply", "--check"]).arg(&patch).current_dir(root);
        let output = command.env("GIT_CEILING_DIRECTORIES", root).output().expect("git");
        assert!(
            output.status.success(),
            "{}: {}",
            patch.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// What one core plays in little more than a minute, without optimization.
const SEEDS: u64 = 10_000;
