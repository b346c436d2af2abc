//! Several phones of one user: who rings when, who wins, and what the others hear.

use std::collections::HashSet;

use cusax_common::core::record::Cause;
use cusax_common::core::sip::{HeaderName, Method, Request, Response};
use cusax_tests::sim::puppet::{Puppet, dialled, sdp};
use cusax_tests::sim::{SECOND, Scene, address, scene};

struct Stage {
    scene: Scene,
    alice: Puppet,
    phones: Vec<Puppet>,
    /// The branches of the requests that came.
    seen: HashSet<String>,
}

/// Alice calls Bob, who has registered phones with these parameters of their Contacts.
fn calling(seed: u64, phones: &[&str]) -> Stage {
    let mut scene = scene(seed);
    let phones = phones
        .iter()
        .zip(20..)
        .map(|(params, last)| {
            let mut phone = Puppet::new(&mut scene.world, address(last, 5090), "bob");
            phone.register_with(&mut scene.world, params);
            phone.tag = format!("phone{last}");
            phone
        })
        .collect();
    let mut alice = Puppet::new(&mut scene.world, address(10, 5090), "alice");
    let offer = sdp(alice.address(), 1, 0);
    alice.call(&mut scene.world, &dialled("bob"), &[], &offer);
    alice.hear(&mut scene.world, SECOND / 10);
    Stage {
        scene,
        alice,
        phones,
        seen: HashSet::new(),
    }
}

impl Stage {
    /// What each phone is asked, in turn.
    fn asked(&mut self, method: &Method) -> Vec<usize> {
        let world = &mut self.scene.world;
        let (phones, seen) = (&mut self.phones, &mut self.seen);
        let asked = phones.iter_mut().map(|phone| phone.asked(world, method));
        // A copy is no new request.
        asked
            .map(|requests| {
                let branches = requests
                    .iter()
                    .filter_map(|request| request.headers.get(&HeaderName::VIA));
                branches.filter(|via| seen.insert(via.to_text().into_owned())).count()
            })
            .collect()
    }

    fn answer(&mut self, phone: usize, code: u16) -> Vec<Response> {
        let world = &mut self.scene.world;
        let phone = &self.phones[phone];
        let body = if code == 200 {
            sdp(phone.address(), 1, 0)
        } else {
            String::new()
        };
        phone.answer(world, code, &[], &body);
        self.alice.told(world, &Method::Invite)
    }

    fn cancelled(&mut self, phone: usize) -> Vec<Request> {
        let world = &mut self.scene.world;
        let cancels = self.phones[phone].asked(world, &Method::Cancel);
        for cancel in &cancels {
            self.phones[phone].respond(world, cancel, 200, &[], "");
            self.phones[phone].answer(world, 487, &[], "");
        }
        cancels
    }

    fn over(mut self, told: &Response, cause: Cause) {
        let world = &mut self.scene.world;
        if told.status.is_success() {
            self.alice.acknowledge(world, told, "");
            self.alice.request(world, Method::Bye, Some(told), &[], "");
        }
        world.run(64 * SECOND);
        assert_eq!(world.node.calls(), 0);
        let causes: Vec<Cause> = world.records.iter().map(|record| record.cause).collect();
        assert_eq!(causes, [cause]);
    }
}

fn codes(told: &[Response]) -> Vec<u16> {
    told.iter().map(|response| response.status.code()).collect()
}

#[test]
fn equals_ring_together_and_the_first_to_answer_wins() {
    let mut stage = calling(1, &["", "", ""]);
    assert_eq!(stage.asked(&Method::Invite), [1, 1, 1]);
    let mut tags = Vec::new();
    for phone in 0..3 {
        let told = stage.answer(phone, 180);
        assert_eq!(codes(&told), [180]);
        tags.push(told[0].headers.to().expect("a To").tag().expect("a tag").to_owned());
    }
    let told = stage.answer(1, 200);
    assert_eq!(codes(&told), [200]);
    assert_eq!(told[0].headers.to().expect("a To").tag(), Some(&*tags[1]));
    for other in [0, 2] {
        let cancels = stage.cancelled(other);
        assert_eq!(cancels.len(), 1);
        let reason = cancels[0]
            .headers
            .get(&HeaderName::REASON)
            .map(|value| value.to_text().into_owned());
        // RFC 3326: a phone need not show it as missed.
        assert!(
            reason.is_some_and(|reason| reason.starts_with("SIP;cause=200")),
            "phone {other}"
        );
    }
    stage.over(&told[0], Cause::CallerHungUp);
}

#[test]
fn an_answer_that_crosses_the_cancel_is_hung_up() {
    let mut stage = calling(2, &["", ""]);
    assert_eq!(stage.asked(&Method::Invite), [1, 1]);
    stage.answer(0, 180);
    stage.answer(1, 180);
    let told = stage.answer(0, 200);
    let second = sdp(stage.phones[1].address(), 1, 0);
    stage.phones[1].answer(&mut stage.scene.world, 200, &[], &second);
    let asked = stage.phones[1].hear(&mut stage.scene.world, SECOND / 10);
    let methods: Vec<String> = asked
        .iter()
        .filter_map(|message| match message {
            cusax_common::core::sip::Message::Request(request) => Some(request.method.to_string()),
            cusax_common::core::sip::Message::Response(_) => None,
        })
        .collect();
    assert_eq!(methods, ["CANCEL", "ACK", "BYE"]);
    stage.over(&told[0], Cause::CallerHungUp);
}

/// RFC 3261 §16.6: by preference, one after the other.
#[test]
fn those_that_are_preferred_less_ring_later() {
    let mut stage = calling(3, &[";q=0.5", ";q=1.0", ";q=0.5"]);
    assert_eq!(stage.asked(&Method::Invite), [0, 1, 0]);
    stage.answer(1, 180);
    stage.scene.world.run(15 * SECOND);
    assert_eq!(stage.asked(&Method::Invite), [0, 0, 0]);
    stage.scene.world.run(5 * SECOND);
    let cancels = stage.cancelled(1);
    assert_eq!(cancels.len(), 1);
    assert!(
        cancels[0].headers.get(&HeaderName::REASON).is_none(),
        "nobody has answered elsewhere"
    );
    assert_eq!(stage.asked(&Method::Invite), [1, 0, 1]);
    let told = stage.answer(2, 200);
    assert_eq!(codes(&told), [200]);
    stage.cancelled(0);
    stage.over(&told[0], Cause::CallerHungUp);
}

#[test]
fn who_refuses_makes_room_for_the_next_at_once() {
    let mut stage = calling(4, &[";q=1.0", ";q=0.8", ";q=0.1"]);
    assert_eq!(stage.asked(&Method::Invite), [1, 0, 0]);
    assert!(stage.answer(0, 486).is_empty());
    assert_eq!(stage.asked(&Method::Invite), [0, 1, 0]);
    assert!(stage.answer(1, 480).is_empty());
    assert_eq!(stage.asked(&Method::Invite), [0, 0, 1]);
    let told = stage.answer(2, 404);
    assert_eq!(codes(&told), [486], "the best of what came");
    stage.over(&told[0], Cause::Rejected);
}

/// RFC 3261 §16.7: nobody else is asked.
#[test]
fn a_refusal_everywhere_stops_all() {
    let mut stage = calling(5, &["", "", ";q=0.1"]);
    assert_eq!(stage.asked(&Method::Invite), [1, 1, 0]);
    stage.answer(0, 180);
    let told = stage.answer(1, 603);
    assert_eq!(codes(&told), [603]);
    assert_eq!(stage.cancelled(0).len(), 1);
    assert_eq!(stage.asked(&Method::Invite), [0, 0, 0]);
    stage.over(&told[0], Cause::Rejected);
}
