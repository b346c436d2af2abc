//! Phones that send their calls elsewhere (3xx): where it goes on, who is asked again, and what never happens.

use std::time::Duration;

use cusax_b2bua::core::settings::{Redirects, Settings};
use cusax_common::core::policy::Action;
use cusax_common::core::record::{Cause, Warned};
use cusax_common::core::sip::{HeaderName, Method, Request, Response};
use cusax_tests::peer::phone::{Manner, Stage};
use cusax_tests::sim::puppet::{Puppet, dialled, sdp};
use cusax_tests::sim::{SECOND, Scene, address, scene_with};

struct Table {
    scene: Scene,
    alice: Puppet,
    bob: Puppet,
    carol: Puppet,
}

/// Alice calls Bob, whose phone has heard it; Carol has a phone as well.
fn calling(seed: u64, change: impl FnOnce(&mut Settings)) -> Table {
    let mut scene = scene_with(seed, change);
    let world = &mut scene.world;
    let mut bob = Puppet::new(world, address(20, 5090), "bob");
    bob.register(world);
    let mut carol = Puppet::new(world, address(30, 5090), "carol");
    carol.register(world);
    let mut alice = Puppet::new(world, address(10, 5090), "alice");
    alice.call(world, &dialled("bob"), &[], &sdp(alice.address(), 1, 0));
    bob.hear(world, Duration::ZERO);
    Table {
        scene,
        alice,
        bob,
        carol,
    }
}

impl Table {
    fn bob_says(&mut self, code: u16, contact: &str) {
        let invite = self.bob.invite.clone().expect("he is called");
        let mut response = invite.response(cusax_common::core::sip::Status::new(code).expect("a status"));
        let to = response.headers.to().expect("a To");
        let mut to = to.clone();
        to.set_tag(&self.bob.tag);
        response.headers.replace(&to);
        for line in contact.split('|') {
            let value = cusax_common::core::sip::Value::new(line.to_owned()).expect("a value");
            response.headers.push(HeaderName::CONTACT, value);
        }
        self.scene.world.inject(self.bob.address(), response.to_bytes());
        assert_eq!(self.bob.asked(&mut self.scene.world, &Method::Ack).len(), 1);
    }

    fn alice_is_told(&mut self) -> Vec<Response> {
        self.alice.told(&mut self.scene.world, &Method::Invite)
    }

    /// Both who speak hang up, and the causes of the records are these.
    fn ends(mut self, causes: &[Cause]) -> Scene {
        self.scene.world.run(Duration::from_secs(400));
        assert_eq!(self.scene.world.node.calls(), 0);
        for (table, left) in self.scene.world.node.leftovers() {
            assert_eq!(left, 0, "{table}");
        }
        let ended: Vec<Cause> = self.scene.world.records.iter().map(|record| record.cause).collect();
        assert_eq!(ended, causes);
        self.scene
    }
}

fn codes(responses: &[Response]) -> Vec<u16> {
    responses.iter().map(|response| response.status.code()).collect()
}

fn one(mut requests: Vec<Request>) -> Request {
    assert_eq!(requests.len(), 1, "{requests:?}");
    requests.remove(0)
}

#[test]
fn a_call_goes_where_its_callee_sends_it() {
    let mut table = calling(1, |_| {});
    table.bob.answer(&mut table.scene.world, 180, &[], "");
    assert_eq!(codes(&table.alice_is_told()), [180]);
    let somewhere = format!("<sip:10.9.9.9:5060>|<{}>;q=0.3|<{}>", dialled("zoe"), dialled("carol"));
    table.bob_says(302, &somewhere);
    let invite = one(table.carol.asked(&mut table.scene.world, &Method::Invite));
    let infos: Vec<_> = invite
        .headers
        .get_all(&HeaderName::CALL_INFO)
        .map(|info| info.to_text().into_owned())
        .collect();
    assert_eq!(infos, ["<xmpp:alice@example.com>;purpose=impp"]);
    assert!(table.alice_is_told().is_empty());
    table
        .carol
        .answer(&mut table.scene.world, 200, &[], &sdp(table.carol.address(), 1, 0));
    let told = table.alice_is_told();
    assert_eq!(codes(&told), [200]);
    let callee = told[0]
        .headers
        .get(&HeaderName::CALL_INFO)
        .expect("she learns who answered")
        .to_text()
        .into_owned();
    assert_eq!(callee, "<xmpp:carol@example.com>;purpose=impp");
    table.alice.acknowledge(&mut table.scene.world, &told[0], "");
    table
        .alice
        .request(&mut table.scene.world, Method::Bye, Some(&told[0]), &[], "");
    let bye = one(table.carol.asked(&mut table.scene.world, &Method::Bye));
    table.carol.respond(&mut table.scene.world, &bye, 200, &[], "");
    let scene = table.ends(&[Cause::CallerHungUp]);
    assert_eq!(scene.world.records[0].to, dialled("carol"));
}

#[test]
fn every_other_phone_of_the_callee_stops() {
    let mut table = calling(2, |_| {});
    let world = &mut table.scene.world;
    let mut second = Puppet::new(world, address(21, 5090), "bob");
    second.register(world);
    let mut other = Puppet::new(world, address(11, 5090), "alice");
    other.call(world, &dialled("bob"), &[], &sdp(other.address(), 1, 0));
    second.hear(world, Duration::ZERO);
    second.answer(world, 180, &[], "");
    // The first phone has two calls now; it deflects the second one.
    let invites = table.bob.asked(&mut table.scene.world, &Method::Invite);
    table.bob.invite = invites.last().cloned();
    table.bob_says(302, &format!("<{}>", dialled("carol")));
    let cancel = one(second.asked(&mut table.scene.world, &Method::Cancel));
    second.respond(&mut table.scene.world, &cancel, 200, &[], "");
    second.answer(&mut table.scene.world, 487, &[], "");
    let _ = one(table.carol.asked(&mut table.scene.world, &Method::Invite));
    table.carol.answer(&mut table.scene.world, 486, &[], "");
    assert_eq!(codes(&other.told(&mut table.scene.world, &Method::Invite)), [180, 486]);
}

#[test]
fn circles_end() {
    let mut table = calling(3, |_| {});
    table.bob_says(302, &format!("<{}>", dialled("carol")));
    let _ = one(table.carol.asked(&mut table.scene.world, &Method::Invite));
    std::mem::swap(&mut table.bob, &mut table.carol);
    table.bob_says(302, "<sip:+4930901821@sip.example.com>");
    std::mem::swap(&mut table.bob, &mut table.carol);
    table.bob.invite = None;
    table.bob.hear(&mut table.scene.world, Duration::ZERO);
    assert!(table.bob.invite.is_some(), "by his number he is somebody else");
    table.bob_says(
        302,
        &format!("<{}>|<sip:+4930901821@sip.example.com>", dialled("carol")),
    );
    assert_eq!(codes(&table.alice_is_told()), [480]);
    table.ends(&[Cause::Unreachable]);
}

#[test]
fn whoever_may_not_dial_a_number_cannot_be_sent_there() {
    // Alice pays, and is warned.
    let mut table = calling(4, |_| {});
    table.bob_says(302, "<tel:+4915112345678>");
    assert_eq!(codes(&table.alice_is_told()), [183]);
    let trunk = table.scene.trunk;
    assert!(table.scene.world.phone(trunk).heard.is_empty());
    table.scene.world.run(10 * SECOND);
    assert!(!table.scene.world.phone(trunk).heard.is_empty());
    let told = table.alice_is_told();
    assert_eq!(codes(&told).last(), Some(&200));
    table
        .alice
        .acknowledge(&mut table.scene.world, &told[told.len() - 1], "");
    table
        .alice
        .request(&mut table.scene.world, Method::Bye, told.last(), &[], "");
    let scene = table.ends(&[Cause::CallerHungUp]);
    assert_eq!(scene.world.records[0].warning, Warned::Tone);

    // Barred is barred.
    let mut table = calling(5, |settings| settings.policy.premium = Action::Refuse);
    table.bob_says(302, "<tel:+499001234567>");
    assert_eq!(codes(&table.alice_is_told()), [403]);
    table.ends(&[Cause::Barred]);

    // A call from outside is not sent outside.
    let mut scene = Scene::registered(6);
    let mut bob = Puppet::new(&mut scene.world, address(20, 5090), "bob");
    bob.register(&mut scene.world);
    scene.behaves(scene.bob, Manner::Ring);
    let trunk = scene.trunk;
    scene
        .world
        .act(trunk, |phone, now| phone.call(now, "sip:+4930901821@sip.example.com"));
    let invite = one(bob.asked(&mut scene.world, &Method::Invite));
    bob.invite = Some(invite);
    let mut table = Table {
        alice: Puppet::new(&mut scene.world, address(10, 5090), "alice"),
        carol: Puppet::new(&mut scene.world, address(30, 5090), "carol"),
        bob,
        scene,
    };
    table.bob_says(302, "<tel:+4915112345678>");
    table.scene.world.run(2 * SECOND);
    assert!(
        matches!(table.scene.stage(trunk), Stage::Over(Some(_))),
        "{:?}",
        table.scene.stage(trunk)
    );
}

#[test]
fn the_operator_may_have_callers_told_or_have_it_fail() {
    let mut table = calling(7, |settings| settings.redirects = Redirects::Pass);
    table.bob_says(301, &format!("<sip:10.9.9.9:5060>|<{}>", dialled("carol")));
    let told = table.alice_is_told();
    assert_eq!(codes(&told), [301]);
    let contacts: Vec<_> = told[0]
        .headers
        .get_all(&HeaderName::CONTACT)
        .map(|c| c.to_text().into_owned())
        .collect();
    assert_eq!(
        contacts,
        [format!("<{}>", dialled("carol"))],
        "no address of his machine"
    );
    table.ends(&[Cause::Rejected]);

    let mut table = calling(8, |settings| settings.redirects = Redirects::Refuse);
    table.bob_says(302, &format!("<{}>", dialled("carol")));
    assert_eq!(codes(&table.alice_is_told()), [480]);
    table.ends(&[Cause::Unreachable]);
}
