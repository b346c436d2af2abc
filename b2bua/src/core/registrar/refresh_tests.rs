//! Phones that come again: what stays as it is, and when it ends all the same.

use super::tests::{Ask, DESK, World, aor, flow};
use super::*;
use crate::core::flow::Transport;

fn desk(sequence: u32, expires: u32) -> Ask {
    Ask::contact(sequence, &format!("{DESK};expires={expires}"))
}

impl World {
    /// The seconds after which the registrar wants to hear of the time, until nothing is left.
    fn wakings(&mut self) -> Vec<u64> {
        let start = self.now.instant;
        let mut wakings = Vec::new();
        while let Some(at) = self.registrar.poll_timeout() {
            assert!(at > self.now.instant, "it would be asked again at once");
            wakings.push((at - start).as_secs());
            self.pass(u64::try_from((at - self.now.instant).as_millis()).unwrap());
            self.assert_sound();
        }
        assert!(self.registrar.is_empty());
        wakings
    }
}

#[test]
fn a_later_deadline_is_noted_when_the_former_one_comes() {
    let mut world = World::new();
    let start = world.now.instant;
    world.ask(&desk(1, 100));
    for sequence in 2..10 {
        world.pass(10_000);
        world.ask(&desk(sequence, 100));
        let noted = Some(start + Duration::from_secs(100));
        assert_eq!(world.registrar.poll_timeout(), noted, "nothing was moved");
        world.assert_sound();
    }
    assert_eq!(world.wakings(), [20, 100], "80 seconds have passed");
}

#[test]
fn a_sooner_deadline_is_noted_at_once() {
    let mut world = World::new();
    world.ask(&desk(1, 7200));
    world.ask(&desk(2, 60));
    world.assert_sound();
    assert_eq!(world.wakings(), [60]);

    world.ask(&desk(3, 7200));
    world.ask(&Ask::contact(4, "<sip:other@192.0.2.8>;expires=90"));
    world.assert_sound();
    assert_eq!(world.wakings(), [90, 7200]);
}

#[test]
fn who_goes_and_comes_again_is_queued_once() {
    let mut world = World::new();
    for sequence in 0..20 {
        world.ask(&desk(2 * sequence + 1, 100));
        world.assert_sound();
        world.ask(&desk(2 * sequence + 2, 0));
        assert_eq!(world.registrar.poll_timeout(), None);
    }
    world.ask(&desk(100, 100));
    world.pass(50_000);
    world.ask(&desk(101, 100));
    world
        .registrar
        .forget_user(world.now, &"alice@example.org".parse().unwrap());
    world.drain();
    assert_eq!(world.registrar.poll_timeout(), None);
    world.assert_sound();
}

/// A deadline that the driver comes too late for.
#[test]
fn a_phone_that_comes_late_is_there_again() {
    let mut world = World::new();
    world.ask(&desk(1, 60));
    world.now = world.now.after(Duration::from_secs(61));
    assert_eq!(world.told(&desk(2, 60)).1.len(), 1);
    world.registrar.handle_timeout(world.now);
    world.drain();
    world.assert_sound();
    assert_eq!(world.wakings(), [60]);
}

#[test]
fn a_refresh_leaves_what_has_not_changed_where_it_is() {
    let texts = |world: &World| {
        let binding = &world.registrar.bindings(&aor())[0];
        [
            binding.contact.as_str().as_ptr(),
            binding.call_id.as_ptr(),
            binding.user_agent.as_deref().unwrap().as_ptr(),
        ]
    };
    let mut world = World::new();
    world.ask(&desk(1, 100));
    let before = texts(&world);
    world.pass(10_000);
    world.ask(&desk(2, 200));
    assert_eq!(texts(&world), before);
    let binding = &world.registrar.bindings(&aor())[0];
    assert_eq!(
        (binding.sequence, binding.registered),
        (2, world.now.wall),
        "the rest is new"
    );
    // What has changed is that of the new request.
    let mut other = Ask {
        call_id: "d",
        flow: flow(Transport::Udp, 6000),
        ..desk(1, 100)
    };
    other.lines.push("Supported: path".into());
    other.lines.push("Path: <sip:edge.example.net;lr>".into());
    world.ask(&other);
    let binding = &world.registrar.bindings(&aor())[0];
    assert_eq!(
        (&*binding.call_id, binding.sequence, binding.flow, binding.path.len()),
        ("d", 1, other.flow, 1)
    );
    assert!(world.registrar.has_flow(&other.flow) && !world.registrar.has_flow(&desk(1, 100).flow));
    world.ask(&Ask {
        call_id: "d",
        ..desk(2, 100)
    });
    assert!(world.registrar.bindings(&aor())[0].path.is_empty());
    world.assert_sound();
}

/// The order of phones that are equally preferred is that in which they came.
#[test]
fn phones_of_one_moment_keep_the_order_in_which_they_came() {
    let mut world = World::new();
    let order = |world: &World| -> String {
        let bindings = world.registrar.bindings(&aor()).iter();
        bindings
            .map(|one| one.uri().as_sip().unwrap().user.as_ref().unwrap().to_string())
            .collect()
    };
    world.ask(&Ask::contact(
        1,
        "<sip:a@192.0.2.1>, <sip:b@192.0.2.1>, <sip:c@192.0.2.1>",
    ));
    assert_eq!(order(&world), "abc");
    world.ask(&Ask::contact(2, "<sip:b@192.0.2.1>"));
    assert_eq!(order(&world), "acb");
    world.ask(&Ask::contact(3, "<sip:c@192.0.2.1>, <sip:a@192.0.2.1>"));
    assert_eq!(order(&world), "bca");
    world.ask(&Ask::contact(
        4,
        "<sip:b@192.0.2.1>;expires=0, <sip:d@192.0.2.1>, <sip:c@192.0.2.1>",
    ));
    assert_eq!(order(&world), "adc");
    world.pass(1);
    world.ask(&Ask::contact(5, "<sip:d@192.0.2.1>"));
    assert_eq!(order(&world), "dac");
    world.assert_sound();
}

#[test]
fn a_refused_request_has_changed_nothing() {
    let mut world = World::new();
    let five: Vec<_> = (0..5).map(|n| format!("<sip:p{n}@192.0.2.{n}>")).collect();
    world.ask(&Ask::contact(5, &five.join(", ")));
    let before = format!("{:?}", world.registrar.bindings(&aor()));
    let stored = world.stored.clone();
    world.pass(1000);
    for (sequence, contacts, code) in [
        (6, "<sip:p1@192.0.2.1>;expires=0, <sip:p2@192.0.2.2>;expires=7", 423),
        (
            6,
            "<sip:p1@192.0.2.1>;expires=0, <sip:p2@192.0.2.2>, <sip:x@y>, <sip:z@y>",
            403,
        ),
        (6, "<sip:p1@192.0.2.1>, <sip:line7@example.com>", 403),
        (6, "<sip:p1@192.0.2.1>, <mailto:a@b>", 400),
        (5, "<sip:x@y>, <sip:p1@192.0.2.1>;expires=0", 500),
    ] {
        assert_eq!(
            world.ask(&Ask::contact(sequence, contacts)).status.code(),
            code,
            "{contacts}"
        );
        assert_eq!(format!("{:?}", world.registrar.bindings(&aor())), before, "{contacts}");
        assert_eq!(world.stored, stored, "{contacts}");
        world.assert_sound();
    }
}
