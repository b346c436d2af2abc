//! The simulated world with faults.

use cusax_b2bua::core::admission::Rate;
use cusax_b2bua::core::settings::Settings;
use cusax_tests::sim::hand::{Hand, Heard, codes, proof};
use cusax_tests::sim::{SECOND, Scene, address};

/// A 503 kept no memory of its request, so that a copy of it, which comes whenever an answer is
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
        let mut settings = scene.world.endpoint.settings().clone();
        settings.max_calls = 10;
        scene.world.endpoint.handle_settings(settings.into());
        scene.world.run(2 * SECOND);
        assert_eq!(codes(&hand.say(&mut scene.world, &invite)), [503], "{name}: a copy");
        scene.world.run(40 * SECOND);
        assert_eq!(scene.world.endpoint.transactions(), 0, "{name}");
    }
}
