//! REFER and Replaces: who asks, who pays, who is told what, and what remains.

use std::time::Duration;

use cusax_b2bua::core::media::{MediaCommand, Side};
use cusax_common::core::bridge::ToXmpp;
use cusax_common::core::policy::{Action, Policy};
use cusax_common::core::record::{Cause, Warned};
use cusax_common::core::sip::typed::{CallId, From};
use cusax_common::core::sip::{HeaderName, Message, Method, Request};
use cusax_tests::sim::puppet::{Puppet, dialled, sdp};
use cusax_tests::sim::stage::{
    MOMENT, Stage, codes, invited, invited_late, jid, replacing, responses, speaking, state_of, told_of, two_calls,
    values,
};
use cusax_tests::sim::{SECOND, address, scene_with};

#[test]
fn the_caller_transfers_the_callee_and_everybody_knows_with_whom_they_speak() {
    let mut stage = speaking(1);
    assert_eq!(
        stage.alice_refers(&format!("<{}>", dialled("carol"))),
        ["refer active SIP/2.0 100 Trying"]
    );
    let invite = invited(&mut stage.carol, &mut stage.scene);
    let (infos, identities) = told_of(&invite);
    assert_eq!(infos, jid("bob"));
    assert!(
        identities.iter().any(|identity| identity.contains("sip:bob.phone@")),
        "{identities:?}"
    );
    let from = invite.headers.one::<From>().expect("a From");
    assert!(from.uri.to_string().starts_with("sip:bob.phone@"), "{from:?}");
    assert_eq!(
        values(&invite.headers, &HeaderName::REFERRED_BY),
        ["<sip:alice.phone@sip.example.com>"]
    );
    assert!(String::from_utf8_lossy(&invite.body).contains("a=sendrecv"));

    stage.scene.world.run(SECOND);
    stage.carol.answer(&mut stage.scene.world, 180, &[], "");
    assert_eq!(stage.alice_hears(MOMENT), ["refer active SIP/2.0 180 Ringing"]);
    let answer = sdp(stage.carol.address(), 1, 0);
    stage.carol.answer(&mut stage.scene.world, 200, &[], &answer);
    assert_eq!(stage.alice_hears(MOMENT), ["refer terminated SIP/2.0 200 OK"]);
    assert_eq!(stage.carol.asked(&mut stage.scene.world, &Method::Ack).len(), 1);

    // Bob is offered Carol's session, in the dialog that he has, and told who she is.
    let reinvite = invited(&mut stage.bob, &mut stage.scene);
    let (infos, identities) = told_of(&reinvite);
    assert_eq!(infos, jid("carol"));
    assert!(
        identities.iter().any(|identity| identity.contains("sip:carol.phone@")),
        "{identities:?}"
    );
    let call_id = |request: &Request| request.headers.one::<CallId>().expect("a Call-ID");
    assert_eq!(
        call_id(&reinvite),
        call_id(stage.bob.invite.as_ref().expect("he was called"))
    );
    let bobs = sdp(stage.bob.address(), 2, 0);
    stage.bob.respond(&mut stage.scene.world, &reinvite, 200, &[], &bobs);
    assert_eq!(stage.bob.asked(&mut stage.scene.world, &Method::Ack).len(), 1);

    // Alice's phone hangs up when it has heard that.
    let met = stage.met.clone();
    stage
        .alice
        .request(&mut stage.scene.world, Method::Bye, Some(&met), &[], "");
    assert_eq!(codes(&stage.alice.told(&mut stage.scene.world, &Method::Bye)), [200]);
    assert!(stage.alice.asked(&mut stage.scene.world, &Method::Bye).is_empty());

    // The two are joined: what one wants reaches the other.
    let hold = sdp(stage.carol.address(), 2, 0) + "a=sendonly\r\n";
    stage
        .carol
        .request(&mut stage.scene.world, Method::Invite, None, &[], &hold);
    let held = invited(&mut stage.bob, &mut stage.scene);
    assert!(String::from_utf8_lossy(&held.body).contains("a=sendonly"));
    let bobs = sdp(stage.bob.address(), 3, 0) + "a=recvonly\r\n";
    stage.bob.respond(&mut stage.scene.world, &held, 200, &[], &bobs);
    stage.scene.world.run(MOMENT);
    stage.bob.request(&mut stage.scene.world, Method::Bye, None, &[], "");
    let byes = stage.carol.asked(&mut stage.scene.world, &Method::Bye);
    assert_eq!(byes.len(), 1);
    stage.carol.respond(&mut stage.scene.world, &byes[0], 200, &[], "");

    let records = stage.done();
    let facts: Vec<_> = records
        .iter()
        .map(|record| {
            let caller = record.caller.as_ref().map(ToString::to_string).unwrap_or_default();
            (caller, record.to.clone(), record.answered.is_some(), record.cause)
        })
        .collect();
    let alice = || "alice@example.com".to_owned();
    assert_eq!(
        facts,
        [
            (alice(), dialled("bob"), true, Cause::Transferred),
            (alice(), dialled("carol"), true, Cause::CallerHungUp)
        ],
        "Alice pays for both"
    );
    assert!(
        records[0].ended >= records[1].answered.expect("answered"),
        "Bob's leg went on"
    );
}

#[test]
fn the_callee_transfers_the_caller() {
    let mut stage = speaking(2);
    let to = format!("<{}>", dialled("carol"));
    stage
        .bob
        .request(&mut stage.scene.world, Method::Refer, None, &[("Refer-To", &to)], "");
    let heard = stage.bob.hear(&mut stage.scene.world, MOMENT);
    let notify = heard.iter().find_map(|message| match message {
        Message::Request(request) if request.method == Method::Notify => Some(request.clone()),
        _ => None,
    });
    stage
        .bob
        .respond(&mut stage.scene.world, &notify.expect("a NOTIFY"), 200, &[], "");
    let invite = invited(&mut stage.carol, &mut stage.scene);
    assert_eq!(told_of(&invite).0, jid("alice"));
    let answer = sdp(stage.carol.address(), 1, 0);
    stage.carol.answer(&mut stage.scene.world, 200, &[], &answer);
    let reinvite = invited(&mut stage.alice, &mut stage.scene);
    assert_eq!(told_of(&reinvite).0, jid("carol"));
    let answer = sdp(stage.alice.address(), 2, 0);
    stage
        .alice
        .respond(&mut stage.scene.world, &reinvite, 200, &[], &answer);
    assert_eq!(stage.alice.asked(&mut stage.scene.world, &Method::Ack).len(), 1);
    // Bob's phone forgets to hang up.
    let heard = stage.bob.hear(&mut stage.scene.world, 3 * SECOND);
    let methods: Vec<Method> = heard
        .iter()
        .filter_map(|message| match message {
            Message::Request(request) => Some(request.method.clone()),
            Message::Response(_) => None,
        })
        .collect();
    assert!(
        methods.contains(&Method::Notify) && methods.contains(&Method::Bye),
        "{methods:?}"
    );
    for message in &heard {
        if let Message::Request(request) = message {
            stage.bob.respond(&mut stage.scene.world, request, 200, &[], "");
        }
    }
    let met = stage.met.clone();
    stage
        .alice
        .request(&mut stage.scene.world, Method::Bye, Some(&met), &[], "");
    let byes = stage.carol.asked(&mut stage.scene.world, &Method::Bye);
    assert_eq!(byes.len(), 1);
    stage.carol.respond(&mut stage.scene.world, &byes[0], 200, &[], "");
    let records = stage.done();
    let callers: Vec<_> = records
        .iter()
        .map(|record| (record.caller.as_ref().map(ToString::to_string), record.cause))
        .collect();
    assert_eq!(
        callers,
        [
            (Some("alice@example.com".to_owned()), Cause::Transferred),
            (Some("bob@example.com".to_owned()), Cause::CallerHungUp)
        ],
        "whoever sends somebody on pays from then on"
    );
}

#[test]
fn a_transfer_that_fails_leaves_the_call_as_it_was() {
    let mut stage = speaking(3);
    stage.alice_refers(&dialled("carol"));
    let _ = invited(&mut stage.carol, &mut stage.scene);
    stage.carol.answer(&mut stage.scene.world, 486, &[], "");
    assert_eq!(stage.alice_hears(MOMENT), ["refer terminated SIP/2.0 486 Busy Here"]);
    assert!(stage.bob.asked(&mut stage.scene.world, &Method::Bye).is_empty());
    // Another one, which is told by its number; nobody is called so.
    assert_eq!(stage.alice_refers("<sip:nobody@sip.example.com>").len(), 2);
    let met = stage.met.clone();
    stage
        .alice
        .request(&mut stage.scene.world, Method::Bye, Some(&met), &[], "");
    let byes = stage.bob.asked(&mut stage.scene.world, &Method::Bye);
    stage.bob.respond(&mut stage.scene.world, &byes[0], 200, &[], "");
    let causes: Vec<Cause> = stage.done().iter().map(|record| record.cause).collect();
    assert_eq!(causes, [Cause::Rejected, Cause::Unreachable, Cause::CallerHungUp]);
}

#[test]
fn whoever_waits_hears_ringing_when_the_one_who_asked_is_gone() {
    for answers in [true, false] {
        let mut stage = speaking(4);
        stage.alice_refers(&dialled("carol"));
        let met = stage.met.clone();
        stage
            .alice
            .request(&mut stage.scene.world, Method::Bye, Some(&met), &[], "");
        assert_eq!(codes(&stage.alice.told(&mut stage.scene.world, &Method::Bye)), [200]);
        let plays = |stage: &Stage| {
            let commands = stage.scene.world.commands.iter();
            commands
                .filter(|(_, command)| matches!(command, MediaCommand::Play { side: Side::Callee, .. }))
                .count()
        };
        assert_eq!(plays(&stage), 1);
        assert!(
            stage.bob.asked(&mut stage.scene.world, &Method::Bye).is_empty(),
            "he waits"
        );
        // Meanwhile he can be asked, and what cannot be done now can be done later.
        stage
            .bob
            .request(&mut stage.scene.world, Method::Options, None, &[], "");
        assert_eq!(responses(&mut stage.bob, &mut stage.scene), [200]);
        let hold = sdp(stage.bob.address(), 2, 0) + "a=sendonly\r\n";
        stage
            .bob
            .request(&mut stage.scene.world, Method::Invite, None, &[], &hold);
        assert_eq!(responses(&mut stage.bob, &mut stage.scene), [491]);
        stage.carol.hear(&mut stage.scene.world, Duration::ZERO);
        if answers {
            let answer = sdp(stage.carol.address(), 1, 0);
            stage.carol.answer(&mut stage.scene.world, 200, &[], &answer);
            let reinvite = invited(&mut stage.bob, &mut stage.scene);
            let bobs = sdp(stage.bob.address(), 2, 0);
            stage.bob.respond(&mut stage.scene.world, &reinvite, 200, &[], &bobs);
            stage.bob.request(&mut stage.scene.world, Method::Bye, None, &[], "");
            let byes = stage.carol.asked(&mut stage.scene.world, &Method::Bye);
            stage.carol.respond(&mut stage.scene.world, &byes[0], 200, &[], "");
        } else {
            stage.carol.answer(&mut stage.scene.world, 486, &[], "");
            let byes = stage.bob.asked(&mut stage.scene.world, &Method::Bye);
            assert_eq!(values(&byes[0].headers, &HeaderName::REASON), ["SIP;cause=486"]);
            stage.bob.respond(&mut stage.scene.world, &byes[0], 200, &[], "");
        }
        assert_eq!(stage.done().len(), 2);
    }
}

#[test]
fn whoever_waits_and_hangs_up_ends_what_is_made_for_them() {
    let mut stage = speaking(5);
    stage.alice_refers(&dialled("carol"));
    stage.carol.hear(&mut stage.scene.world, Duration::ZERO);
    stage.carol.answer(&mut stage.scene.world, 180, &[], "");
    stage.bob.request(&mut stage.scene.world, Method::Bye, None, &[], "");
    assert_eq!(stage.carol.asked(&mut stage.scene.world, &Method::Cancel).len(), 1);
    stage.carol.answer(&mut stage.scene.world, 487, &[], "");
    let heard = stage.alice.hear(&mut stage.scene.world, MOMENT);
    for message in &heard {
        if let Message::Request(request) = message {
            stage.alice.respond(&mut stage.scene.world, request, 200, &[], "");
        }
    }
    assert_eq!(
        stage.notified(heard),
        [
            "refer active SIP/2.0 180 Ringing",
            "refer terminated SIP/2.0 487 Request Terminated"
        ]
    );
    let causes: Vec<Cause> = stage.done().iter().map(|record| record.cause).collect();
    assert_eq!(causes, [Cause::CalleeHungUp, Cause::Cancelled]);
}

#[test]
fn an_attended_transfer_joins_those_whom_one_speaks_with() {
    let (mut stage, mut second, met) = two_calls(6);
    let states = stage.alice_refers(&replacing(&met));
    assert_eq!(
        states,
        ["refer active SIP/2.0 100 Trying", "refer terminated SIP/2.0 200 OK"]
    );
    let byes = second.asked(&mut stage.scene.world, &Method::Bye);
    assert_eq!(byes.len(), 1, "her place in the second call is taken");
    second.respond(&mut stage.scene.world, &byes[0], 200, &[], "");
    let reinvite = invited(&mut stage.bob, &mut stage.scene);
    assert_eq!(told_of(&reinvite).0, jid("carol"));
    let bobs = sdp(stage.bob.address(), 2, 0);
    stage.bob.respond(&mut stage.scene.world, &reinvite, 200, &[], &bobs);
    assert_eq!(stage.bob.asked(&mut stage.scene.world, &Method::Ack).len(), 1);
    let reinvite = invited(&mut stage.carol, &mut stage.scene);
    assert_eq!(told_of(&reinvite).0, jid("bob"));
    let carols = sdp(stage.carol.address(), 2, 0);
    stage
        .carol
        .respond(&mut stage.scene.world, &reinvite, 200, &[], &carols);
    assert_eq!(stage.carol.asked(&mut stage.scene.world, &Method::Ack).len(), 1);
    let phones = stage.scene.world.bridge.iter().filter_map(|(_, told)| match told {
        ToXmpp::Phone { jid, activity } => Some(format!("{jid} {activity:?}")),
        _ => None,
    });
    let phones: Vec<String> = phones.collect();
    assert_eq!(
        phones.last().map(String::as_str),
        Some("alice@example.com Idle"),
        "{phones:?}"
    );
    assert_eq!(
        phones.iter().filter(|told| told.starts_with("bob")).count(),
        1,
        "{phones:?}"
    );
    let met = stage.met.clone();
    stage
        .alice
        .request(&mut stage.scene.world, Method::Bye, Some(&met), &[], "");
    stage.scene.world.run(MOMENT);
    stage.carol.request(&mut stage.scene.world, Method::Bye, None, &[], "");
    let byes = stage.bob.asked(&mut stage.scene.world, &Method::Bye);
    stage.bob.respond(&mut stage.scene.world, &byes[0], 200, &[], "");
    let records = stage.done();
    let causes: Vec<Cause> = records.iter().map(|record| record.cause).collect();
    assert_eq!(
        causes,
        [Cause::Transferred, Cause::CalleeHungUp],
        "each call has one record"
    );
}

#[test]
fn nobody_takes_a_place_that_is_not_theirs() {
    let (mut stage, second, met) = two_calls(7);
    // Bob knows what Alice's other call is called, and wants her out of it.
    let to = replacing(&met);
    stage
        .bob
        .request(&mut stage.scene.world, Method::Refer, None, &[("Refer-To", &to)], "");
    let mut states = Vec::new();
    for _ in 0..2 {
        for message in stage.bob.hear(&mut stage.scene.world, MOMENT) {
            if let Message::Request(request) = message
                && request.method == Method::Notify
            {
                stage.bob.respond(&mut stage.scene.world, &request, 200, &[], "");
                states.push(state_of(&request));
            }
        }
    }
    assert_eq!(
        states,
        [
            "refer active SIP/2.0 100 Trying",
            "refer terminated SIP/2.0 481 Call/Transaction Does Not Exist"
        ],
        "the second one when the first was heard"
    );
    assert_eq!(stage.scene.world.node.calls(), 2);
    drop(second);
    // What is no address, or names no dialog, is refused at once.
    let met = stage.met.clone();
    for (line, code) in [
        ("<sip:carol.phone@sip.example.com?Replaces=only-a-call-id>", 400),
        ("<sip:carol.phone@sip.example.com;method=BYE>", 406),
        ("<<sip:,}{>", 400),
        ("<sip:+49301234567,}{&x@sip.example.com>", 400),
    ] {
        let world = &mut stage.scene.world;
        stage
            .alice
            .request(world, Method::Refer, Some(&met), &[("Refer-To", line)], "");
        assert_eq!(responses(&mut stage.alice, &mut stage.scene), [code], "{line}");
    }
    let twice = [("Refer-To", "<sip:a@b>"), ("Refer-To", "<sip:c@d>")];
    stage
        .alice
        .request(&mut stage.scene.world, Method::Refer, Some(&met), &twice, "");
    assert_eq!(responses(&mut stage.alice, &mut stage.scene), [400]);
    for (to, status) in [
        ("<sip:somebody@elsewhere.example>", "403 Forbidden"),
        ("<mailto:a@b.example>", "416 Unsupported URI Scheme"),
        (
            "<sip:+4930901822%3Bisub=1%2C%7D%7B@sip.example.com>",
            "484 Address Incomplete",
        ),
    ] {
        let states = stage.alice_refers(to);
        let last = states.last().expect("a state");
        assert!(last.contains("terminated") && last.ends_with(status), "{to}: {last}");
    }
}

#[test]
fn a_transfer_that_costs_something_is_announced_to_the_one_who_pays() {
    let mut stage = speaking(8);
    let trunk = stage.scene.trunk;
    stage.alice_refers("<tel:+4915112345678>");
    let world = &stage.scene.world;
    let charged = world.bridge.iter().find_map(|(_, told)| match told {
        ToXmpp::Charge(notice) => Some(notice.jid.to_string()),
        _ => None,
    });
    assert_eq!(charged.as_deref(), Some("alice@example.com"));
    let tone = world.commands.iter().rev().find_map(|(_, command)| match command {
        MediaCommand::Play { side, .. } => Some(*side),
        _ => None,
    });
    assert_eq!(
        tone,
        Some(Side::Caller),
        "Alice is the caller of the call in which she is"
    );
    let from_trunk = |stage: &Stage| stage.scene.world.phone(trunk).heard.len();
    assert_eq!(from_trunk(&stage), 0, "nobody is dialled before she has heard it");
    assert!(stage.bob.asked(&mut stage.scene.world, &Method::Bye).is_empty());
    stage.scene.world.run(10 * SECOND);
    assert!(from_trunk(&stage) > 0);
    let reinvite = invited_late(&mut stage.bob, &mut stage.scene);
    let bobs = sdp(stage.bob.address(), 2, 0);
    stage.bob.respond(&mut stage.scene.world, &reinvite, 200, &[], &bobs);
    stage.scene.world.run(SECOND);
    stage.bob.request(&mut stage.scene.world, Method::Bye, None, &[], "");
    let records = stage.done();
    let paid = records
        .iter()
        .find(|record| record.to == "+4915112345678")
        .expect("a record");
    assert_eq!(paid.warning, Warned::Tone);
    assert_eq!(
        paid.caller.as_ref().map(ToString::to_string).as_deref(),
        Some("alice@example.com")
    );

    // Whoever has hung up cannot be warned, and is not charged.
    let mut stage = speaking(9);
    stage.alice_refers("<tel:+4915112345678>");
    let met = stage.met.clone();
    stage
        .alice
        .request(&mut stage.scene.world, Method::Bye, Some(&met), &[], "");
    let byes = stage.bob.asked(&mut stage.scene.world, &Method::Bye);
    assert_eq!(values(&byes[0].headers, &HeaderName::REASON), ["SIP;cause=403"]);
    stage.bob.respond(&mut stage.scene.world, &byes[0], 200, &[], "");
    let records = stage.done();
    assert!(
        records
            .iter()
            .all(|record| record.to != "+4915112345678" || record.answered.is_none())
    );
}

#[test]
fn whoever_holds_hears_no_warning_and_is_not_charged() {
    let mut stage = speaking(10);
    let met = stage.met.clone();
    let hold = sdp(stage.alice.address(), 2, 0) + "a=sendonly\r\n";
    stage
        .alice
        .request(&mut stage.scene.world, Method::Invite, Some(&met), &[], &hold);
    let held = invited(&mut stage.bob, &mut stage.scene);
    let bobs = sdp(stage.bob.address(), 2, 0) + "a=recvonly\r\n";
    stage.bob.respond(&mut stage.scene.world, &held, 200, &[], &bobs);
    let told = stage.alice.told(&mut stage.scene.world, &Method::Invite);
    stage.alice.acknowledge(&mut stage.scene.world, &told[0], "");
    let states = stage.alice_refers("<tel:+4915112345678>");
    assert_eq!(
        states,
        [
            "refer active SIP/2.0 100 Trying",
            "refer terminated SIP/2.0 403 Forbidden"
        ]
    );
    let trunk = stage.scene.trunk;
    stage.scene.world.run(10 * SECOND);
    assert!(stage.scene.world.phone(trunk).heard.is_empty());
    // To a user of ours she may send him all the same, who knows of no hold.
    stage.alice_refers(&dialled("carol"));
    let invite = invited_late(&mut stage.carol, &mut stage.scene);
    assert!(String::from_utf8_lossy(&invite.body).contains("a=sendrecv"));
}

#[test]
fn a_private_payer_stays_private_at_the_trunk() {
    let mut scene = scene_with(11, |settings| settings.policy = everything_allowed());
    let trunk = scene.trunk;
    let mut alice = Puppet::new(&mut scene.world, address(10, 5090), "alice");
    // She calls somebody outside, and wants not to be named; then somebody else outside is to speak with that one.
    alice.call(
        &mut scene.world,
        "sip:+4915112345678@sip.example.com",
        &[("Privacy", "id")],
        &sdp(address(10, 5090), 1, 0),
    );
    scene.world.run(2 * SECOND);
    let told = alice.told(&mut scene.world, &Method::Invite);
    let met = told.last().expect("an answer").clone();
    alice.acknowledge(&mut scene.world, &met, "");
    scene.world.run(SECOND);
    let seen = scene.world.phone(trunk).heard.len();
    alice.request(
        &mut scene.world,
        Method::Refer,
        Some(&met),
        &[("Refer-To", "<tel:+4915112345679>")],
        "",
    );
    scene.world.run(2 * SECOND);
    let heard = &scene.world.phone(trunk).heard[seen..];
    let invite = heard.iter().find_map(|message| match message {
        Message::Request(request) if request.uri.to_string().contains("345679") => Some(request),
        _ => None,
    });
    let invite = invite.expect("the trunk is asked");
    let text = String::from_utf8_lossy(&invite.to_bytes()).into_owned();
    assert!(!text.contains("90901820") && !text.contains("alice"), "{text}");
    assert_eq!(values(&invite.headers, &HeaderName::PRIVACY), ["id"]);
}

fn everything_allowed() -> Policy {
    Policy {
        mobile: Action::Allow,
        ..Policy::default()
    }
}
