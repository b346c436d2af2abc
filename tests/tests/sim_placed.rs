//! Calls that we begin ourselves: a user is called first, then whoever they want to speak with (RFC 3725).

use std::time::Duration;

use cusax_b2bua::core::media::{MediaCommand, Side};
use cusax_common::core::bridge::{ToB2bua, ToXmpp};
use cusax_common::core::record::{CallRecord, Cause, Warned};
use cusax_common::core::sip::typed::From;
use cusax_common::core::sip::{HeaderName, Message, Method, Request, Status};
use cusax_tests::sim::puppet::{Puppet, dialled, sdp};
use cusax_tests::sim::{SECOND, Scene, address, scene_with};

struct Desk {
    scene: Scene,
    alice: Puppet,
    bob: Puppet,
}

/// Alice and Bob have phones.
fn desk(seed: u64) -> Desk {
    let mut scene = scene_with(seed, |_| {});
    let mut alice = Puppet::new(&mut scene.world, address(10, 5090), "alice");
    alice.register(&mut scene.world);
    let mut bob = Puppet::new(&mut scene.world, address(20, 5090), "bob");
    bob.register(&mut scene.world);
    Desk { scene, alice, bob }
}

impl Desk {
    /// Alice wants to be called, and her phone rings.
    fn alice_wants(&mut self, to: &str) -> Request {
        self.scene.world.place("alice@example.com", to);
        self.scene.world.run(Duration::from_millis(50));
        assert!(
            matches!(self.scene.world.placed[..], [Ok(_)]),
            "{:?}",
            self.scene.world.placed
        );
        let invite = invited(&mut self.alice, &mut self.scene);
        assert!(invite.body.is_empty(), "her phone is to say all that it can");
        invite
    }

    /// Her phone answers, and is acknowledged with an answer.
    fn alice_answers(&mut self) -> Request {
        let offer = sdp(self.alice.address(), 1, 0).replace("AVP 0", "AVP 9 0 8");
        self.alice.answer(&mut self.scene.world, 200, &[], &offer);
        let ack = one(self.alice.asked(&mut self.scene.world, &Method::Ack));
        assert!(String::from_utf8_lossy(&ack.body).contains("RTP/AVP 0\r\n"));
        ack
    }

    fn done(mut self) -> Vec<CallRecord> {
        self.scene.world.run(Duration::from_secs(200));
        assert_eq!(self.scene.world.node.calls(), 0);
        for (table, left) in self.scene.world.node.leftovers() {
            assert_eq!(left, 0, "{table}");
        }
        assert!(self.scene.world.media.is_empty());
        let talks = self.scene.world.bridge.iter().filter_map(|(_, told)| match told {
            ToXmpp::Phone { jid, activity } => Some((jid.to_string(), format!("{activity:?}"))),
            _ => None,
        });
        let mut last = std::collections::BTreeMap::new();
        last.extend(talks);
        assert!(last.values().all(|activity| activity == "Idle"), "{last:?}");
        self.scene.world.records
    }
}

fn one(mut requests: Vec<Request>) -> Request {
    assert_eq!(requests.len(), 1, "{requests:?}");
    requests.remove(0)
}

fn invited(who: &mut Puppet, scene: &mut Scene) -> Request {
    one(who.asked(&mut scene.world, &Method::Invite))
}

fn plays(scene: &Scene, side: Side) -> usize {
    let commands = scene.world.commands.iter();
    commands
        .filter(|(_, command)| matches!(command, MediaCommand::Play { side: played, .. } if *played == side))
        .count()
}

#[test]
fn whoever_wants_to_call_is_called_first_and_then_joined() {
    let mut desk = desk(1);
    let invite = desk.alice_wants("bob.phone");
    let from = invite.headers.one::<From>().expect("a From");
    assert!(
        from.uri.to_string().starts_with("sip:bob.phone@"),
        "her phone shows whom she calls: {from:?}"
    );
    assert!(
        desk.bob.asked(&mut desk.scene.world, &Method::Invite).is_empty(),
        "not before she is there"
    );
    desk.alice_answers();
    assert_eq!(plays(&desk.scene, Side::Callee), 1, "she hears that it rings");
    let invite = {
        desk.bob.hear(&mut desk.scene.world, Duration::ZERO);
        desk.bob.invite.clone().expect("he is called")
    };
    let infos: Vec<_> = invite
        .headers
        .get_all(&HeaderName::CALL_INFO)
        .map(|info| info.to_text().into_owned())
        .collect();
    assert_eq!(infos, ["<xmpp:alice@example.com>;purpose=impp"]);
    assert!(
        String::from_utf8_lossy(&invite.body).contains("RTP/AVP 9 0 8"),
        "all that her phone can"
    );
    desk.bob
        .answer(&mut desk.scene.world, 200, &[], &sdp(desk.bob.address(), 1, 8));
    let reinvite = invited(&mut desk.alice, &mut desk.scene);
    assert!(String::from_utf8_lossy(&reinvite.body).contains("RTP/AVP 8\r\n"));
    desk.alice.respond(
        &mut desk.scene.world,
        &reinvite,
        200,
        &[],
        &sdp(desk.alice.address(), 2, 8),
    );
    assert_eq!(desk.alice.asked(&mut desk.scene.world, &Method::Ack).len(), 1);
    desk.alice.request(&mut desk.scene.world, Method::Bye, None, &[], "");
    let bye = one(desk.bob.asked(&mut desk.scene.world, &Method::Bye));
    desk.bob.respond(&mut desk.scene.world, &bye, 200, &[], "");
    let session = desk.scene.world.placed[0].expect("it began");
    let records = desk.done();
    assert_eq!(records.len(), 1, "it is one call: {records:?}");
    let record = &records[0];
    assert_eq!(
        (
            record.caller.as_ref().map(ToString::to_string),
            record.callee.as_ref().map(ToString::to_string),
            record.to.clone(),
            record.cause,
            record.session
        ),
        (
            Some("alice@example.com".to_owned()),
            Some("bob@example.com".to_owned()),
            dialled("bob"),
            Cause::CallerHungUp,
            session
        )
    );
}

#[test]
fn what_costs_something_is_announced_to_them() {
    let mut desk = desk(2);
    desk.alice_wants("tel:+4915112345678");
    desk.alice_answers();
    assert_eq!(plays(&desk.scene, Side::Callee), 2, "ringing, and then the warning");
    let trunk = desk.scene.trunk;
    assert!(desk.scene.world.phone(trunk).heard.is_empty());
    desk.scene.world.run(10 * SECOND);
    assert!(!desk.scene.world.phone(trunk).heard.is_empty());
    let heard = desk.alice.hear(&mut desk.scene.world, Duration::ZERO);
    let reinvite = heard.into_iter().find_map(|message| match message {
        Message::Request(request) if request.method == Method::Invite => Some(request),
        _ => None,
    });
    desk.alice.respond(
        &mut desk.scene.world,
        &reinvite.expect("they are joined"),
        200,
        &[],
        &sdp(desk.alice.address(), 2, 0),
    );
    desk.scene.world.run(SECOND);
    desk.alice.request(&mut desk.scene.world, Method::Bye, None, &[], "");
    let records = desk.done();
    assert_eq!(records.len(), 1);
    assert_eq!(
        (records[0].warning, records[0].to.as_str()),
        (Warned::Tone, "+4915112345678")
    );
}

#[test]
fn it_ends_where_one_of_them_does_not_want() {
    // Her phone is not answered.
    let mut one_rings = desk(3);
    one_rings.alice_wants("bob.phone");
    one_rings.alice.answer(&mut one_rings.scene.world, 486, &[], "");
    assert!(
        one_rings
            .bob
            .asked(&mut one_rings.scene.world, &Method::Invite)
            .is_empty()
    );
    let records = one_rings.done();
    assert_eq!(
        records.iter().map(|record| record.cause).collect::<Vec<_>>(),
        [Cause::Rejected]
    );

    // He is busy.
    let mut busy = desk(4);
    busy.alice_wants("bob.phone");
    busy.alice_answers();
    busy.bob.hear(&mut busy.scene.world, Duration::ZERO);
    busy.bob.answer(&mut busy.scene.world, 486, &[], "");
    let bye = one(busy.alice.asked(&mut busy.scene.world, &Method::Bye));
    let reasons: Vec<_> = bye
        .headers
        .get_all(&HeaderName::REASON)
        .map(|reason| reason.to_text().into_owned())
        .collect();
    assert_eq!(reasons, ["SIP;cause=486"]);
    busy.alice.respond(&mut busy.scene.world, &bye, 200, &[], "");
    let records = busy.done();
    assert_eq!(
        records.iter().map(|record| record.cause).collect::<Vec<_>>(),
        [Cause::Rejected]
    );

    // She hangs up while his phone rings.
    let mut gone = desk(5);
    gone.alice_wants("bob.phone");
    gone.alice_answers();
    gone.bob.hear(&mut gone.scene.world, Duration::ZERO);
    gone.bob.answer(&mut gone.scene.world, 180, &[], "");
    gone.alice.request(&mut gone.scene.world, Method::Bye, None, &[], "");
    let cancel = one(gone.bob.asked(&mut gone.scene.world, &Method::Cancel));
    gone.bob.respond(&mut gone.scene.world, &cancel, 200, &[], "");
    gone.bob.answer(&mut gone.scene.world, 487, &[], "");
    let records = gone.done();
    assert_eq!(
        records.iter().map(|record| record.cause).collect::<Vec<_>>(),
        [Cause::Cancelled]
    );
}

#[test]
fn what_cannot_be_is_said_at_once() {
    let mut desk = desk(6);
    let world = &mut desk.scene.world;
    for (user, to, status) in [
        ("zoe@example.com", "bob.phone", Status::NOT_FOUND),
        ("carol@example.com", "bob.phone", Status::TEMPORARILY_UNAVAILABLE),
        ("alice@example.com", "sip:x@elsewhere.example", Status::FORBIDDEN),
        ("alice@example.com", "112", Status::FORBIDDEN),
        ("alice@example.com", "", Status::ADDRESS_INCOMPLETE),
        ("alice@example.com", "sip:<>", Status::ADDRESS_INCOMPLETE),
    ] {
        world.place(user, to);
        world.run(Duration::from_millis(50));
        assert_eq!(world.placed.pop(), Some(Err(status)), "{user} {to}");
    }
    assert_eq!(world.node.calls(), 0);
    world.drain();
    world.place("alice@example.com", "bob.phone");
    assert_eq!(world.placed.pop(), Some(Err(Status::SERVICE_UNAVAILABLE)));
}

#[test]
fn who_asks_by_the_bridge_is_answered_there() {
    let mut desk = desk(8);
    let wishes = [
        ("alice@example.com", "bob.phone", None),
        ("carol@example.com", "bob.phone", Some(480)),
    ];
    for (id, (user, to, refused)) in (40..).zip(wishes) {
        let user = user.parse().expect("a JID");
        let to = to.to_owned();
        desk.scene.world.tell(ToB2bua::Place { id, user, to });
        desk.scene.world.run(Duration::from_millis(50));
        let placed = desk.scene.world.bridge.iter().filter_map(|(_, told)| match told {
            ToXmpp::Placed {
                id: of,
                session,
                status,
            } if *of == id => Some((session.is_some(), *status)),
            _ => None,
        });
        assert_eq!(placed.collect::<Vec<_>>(), [(refused.is_none(), refused)], "{id}");
    }
    assert!(desk.scene.world.placed.is_empty(), "the shell has not asked");
    let invite = invited(&mut desk.alice, &mut desk.scene);
    assert!(invite.body.is_empty());
    desk.alice.answer(&mut desk.scene.world, 486, &[], "");
    desk.done();
}

#[test]
fn a_phone_that_sends_its_own_users_call_elsewhere_ends_it() {
    let mut desk = desk(7);
    desk.alice_wants("bob.phone");
    let invite = desk.alice.invite.clone().expect("she is called");
    let mut response = invite.response(Status::new(302).expect("a status"));
    let contact = cusax_common::core::sip::Value::of_static("<tel:+4915112345678>");
    response.headers.push(HeaderName::CONTACT, contact);
    desk.scene.world.inject(desk.alice.address(), response.to_bytes());
    let trunk = desk.scene.trunk;
    desk.scene.world.run(10 * SECOND);
    assert!(desk.scene.world.phone(trunk).heard.is_empty());
    let records = desk.done();
    assert_eq!(
        records.iter().map(|record| record.cause).collect::<Vec<_>>(),
        [Cause::Unreachable]
    );
}
