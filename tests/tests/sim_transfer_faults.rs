//! Transfers at bad times: what crosses, what is lost, and what ends under them.

use std::time::Duration;

use cusax_b2bua::core::flow::{Flow, Identity, ListenerId, Transport};
use cusax_b2bua::core::locate::{Answer, Kind, Query, Records, Srv};
use cusax_common::core::bridge::ToXmpp;
use cusax_common::core::record::{CallRecord, Cause};
use cusax_common::core::sip::typed::{CSeq, From};
use cusax_common::core::sip::{HeaderName, Message, Method, Request};
use cusax_tests::sim::puppet::{Puppet, dialled, sdp};
use cusax_tests::sim::stage::{
    MOMENT, Stage, codes, invited, replacing, responses, speaking, speaking_with, two_calls, values,
};
use cusax_tests::sim::{SECOND, Scene, address};

/// What somebody is asked within this time, each request once.
fn asked(who: &mut Puppet, scene: &mut Scene, time: Duration) -> Vec<Request> {
    let heard = who.hear(&mut scene.world, time).into_iter();
    let requests = heard.filter_map(|message| match message {
        Message::Request(request) => Some(request),
        Message::Response(_) => None,
    });
    requests.collect()
}

fn methods(requests: &[Request]) -> Vec<&str> {
    requests.iter().map(|request| request.method.as_str()).collect()
}

fn number(request: &Request) -> u32 {
    request.headers.one::<CSeq>().expect("a CSeq").seq
}

/// Alice hangs up, and says no more.
fn alice_leaves(stage: &mut Stage) {
    let met = stage.met.clone();
    stage
        .alice
        .request(&mut stage.scene.world, Method::Bye, Some(&met), &[], "");
}

fn carol_answers(stage: &mut Stage) {
    stage.carol.hear(&mut stage.scene.world, Duration::ZERO);
    let answer = sdp(stage.carol.address(), 1, 0);
    stage.carol.answer(&mut stage.scene.world, 200, &[], &answer);
}

/// Bob is offered a session, and takes it.
fn bob_takes(stage: &mut Stage, version: u32) -> Request {
    let reinvite = invited(&mut stage.bob, &mut stage.scene);
    let answer = sdp(stage.bob.address(), version, 0);
    stage.bob.respond(&mut stage.scene.world, &reinvite, 200, &[], &answer);
    assert_eq!(stage.bob.asked(&mut stage.scene.world, &Method::Ack).len(), 1);
    reinvite
}

/// What Carol says reaches Bob.
fn carol_is_heard(stage: &mut Stage) {
    let world = &mut stage.scene.world;
    stage.bob.hear(world, Duration::ZERO);
    stage.carol.hear(world, Duration::ZERO);
    let line = [("Content-Type", "application/dtmf-relay")];
    stage.carol.request(world, Method::Info, None, &line, "");
    let infos = stage.bob.asked(world, &Method::Info);
    assert_eq!(infos.len(), 1, "what Carol says reaches Bob");
    stage.bob.respond(world, &infos[0], 200, &[], "");
    assert_eq!(responses(&mut stage.carol, &mut stage.scene), [200]);
}

/// Bob hangs up, and Carol hears of it.
fn bob_ends(stage: &mut Stage) {
    let world = &mut stage.scene.world;
    stage.bob.request(world, Method::Bye, None, &[], "");
    let byes = stage.carol.asked(world, &Method::Bye);
    assert_eq!(byes.len(), 1);
    stage.carol.respond(world, &byes[0], 200, &[], "");
}

fn lasted(record: &CallRecord) -> Duration {
    record.ended.since(record.answered.expect("it was answered"))
}

/// Seed 275: the side that had called was hung up before it was told, so that it was told nothing.
#[test]
fn whoever_asked_is_told_the_end_before_the_call_is_hung_up_under_it() {
    let mut stage = speaking_with(1, |settings| settings.max_duration = 5 * SECOND);
    stage.alice_refers(&dialled("carol"));
    stage.carol.hear(&mut stage.scene.world, Duration::ZERO);
    stage.carol.answer(&mut stage.scene.world, 180, &[], "");
    stage.alice_hears(MOMENT);
    let requests = asked(&mut stage.alice, &mut stage.scene, 6 * SECOND);
    assert_eq!(methods(&requests)[..2], ["NOTIFY", "BYE"]);
    assert_eq!(&requests[0].body[..], b"SIP/2.0 487 Request Terminated\r\n");
    for request in &requests[..2] {
        stage.alice.respond(&mut stage.scene.world, request, 200, &[], "");
    }
    let requests = asked(&mut stage.bob, &mut stage.scene, Duration::ZERO);
    stage.bob.respond(&mut stage.scene.world, &requests[0], 200, &[], "");
    stage.carol.answer(&mut stage.scene.world, 487, &[], "");
    let causes: Vec<Cause> = stage.done().iter().map(|record| record.cause).collect();
    assert_eq!(causes, [Cause::TooLong, Cause::Cancelled]);
}

/// Seed 1180: whoever was handed on began to count anew, while the leg went on to cost as it did.
#[test]
fn no_leg_lasts_longer_than_a_call_may_by_going_to_another_one() {
    let mut stage = speaking_with(2, |settings| settings.max_duration = 20 * SECOND);
    stage.scene.world.run(10 * SECOND);
    stage.alice_refers(&dialled("carol"));
    carol_answers(&mut stage);
    bob_takes(&mut stage, 2);
    alice_leaves(&mut stage);
    stage.scene.world.run(11 * SECOND);
    let records = stage.done();
    assert_eq!(
        records.iter().map(|record| record.cause).collect::<Vec<_>>(),
        [Cause::Transferred, Cause::TooLong]
    );
    assert!(lasted(&records[0]) <= 21 * SECOND, "{records:?}");
}

/// The call that asked was over, and was there for what was still to be answered: the call for it rang on for nobody.
#[test]
fn a_call_that_is_over_before_its_transfer_begins_wants_none() {
    let mut stage = speaking_with(3, |settings| settings.foreign.domains = vec!["other.example".into()]);
    stage.scene.world.start();
    let place = address(60, 5060);
    let mut put = |name: &str, kind, records| {
        let ttl = Duration::from_secs(300);
        let query = Query {
            name: name.into(),
            kind,
        };
        stage.scene.world.zone.insert(query, Answer { records, ttl });
    };
    put("other.example", Kind::Naptr, Records::Naptr(Vec::new()));
    let srv = Srv {
        priority: 1,
        weight: 0,
        port: 5060,
        target: "a.other.example.".into(),
    };
    put("_sip._udp.other.example", Kind::Srv, Records::Srv(vec![srv]));
    put("a.other.example", Kind::A, Records::Addresses(vec![place.ip()]));
    let met = stage.met.clone();
    let line = [("Refer-To", "<sip:zoe@other.example>")];
    stage
        .alice
        .request(&mut stage.scene.world, Method::Refer, Some(&met), &line, "");
    // Bob hangs up while DNS is asked, and Alice's phone is slow to hear of it.
    stage.bob.request(&mut stage.scene.world, Method::Bye, None, &[], "");
    stage.scene.world.run(5 * SECOND);
    assert!(!stage.scene.world.asked.is_empty(), "the domain is looked up");
    let wire = stage.scene.world.wire.iter().flatten();
    let calls = wire.filter(|(_, to, bytes)| *to == place && bytes.starts_with(b"INVITE"));
    assert_eq!(calls.count(), 0, "nobody is called");
    stage.done();
}

/// A leg that moves may be asked for a new session while it thinks about what it was asked before (RFC 3261 §14.2).
#[test]
fn a_leg_that_has_something_else_to_answer_is_asked_again() {
    for (seed, code, lines) in [(4, 500, &[("Retry-After", "1")][..]), (5, 491, &[])] {
        let mut stage = speaking(seed);
        stage.alice_refers(&dialled("carol"));
        let met = stage.met.clone();
        let hold = sdp(stage.alice.address(), 2, 0) + "a=sendonly\r\n";
        stage
            .alice
            .request(&mut stage.scene.world, Method::Invite, Some(&met), &[], &hold);
        let held = invited(&mut stage.bob, &mut stage.scene);
        stage.bob.respond(&mut stage.scene.world, &held, 100, &[], "");
        carol_answers(&mut stage);
        let requests = asked(&mut stage.bob, &mut stage.scene, MOMENT);
        assert_eq!(methods(&requests), ["CANCEL", "INVITE"]);
        for (request, code, lines) in [
            (&requests[0], 200, &[][..]),
            (&held, 487, &[]),
            (&requests[1], code, lines),
        ] {
            stage.bob.respond(&mut stage.scene.world, request, code, lines, "");
        }
        let again = asked(&mut stage.bob, &mut stage.scene, 5 * SECOND);
        let again = again.iter().find(|request| request.method == Method::Invite);
        let again = again.expect("he is asked again");
        assert!(number(again) > number(&requests[1]));
        let answer = sdp(stage.bob.address(), 2, 0);
        stage.bob.respond(&mut stage.scene.world, again, 200, &[], &answer);
        assert_eq!(stage.bob.asked(&mut stage.scene.world, &Method::Ack).len(), 1, "{code}");
        carol_is_heard(&mut stage);
        bob_ends(&mut stage);
        assert_eq!(stage.done().len(), 2);
    }
}

/// Two re-INVITEs were under way in one dialog, which RFC 3261 §14.1 forbids.
#[test]
fn whoever_is_being_joined_is_not_sent_on_before_that_is_done() {
    let mut stage = speaking(6);
    stage.alice_refers(&dialled("carol"));
    carol_answers(&mut stage);
    let reinvite = invited(&mut stage.bob, &mut stage.scene);
    alice_leaves(&mut stage);
    stage.carol.hear(&mut stage.scene.world, MOMENT);
    let back = format!("<{}>", dialled("bob"));
    let refer = |stage: &mut Stage| {
        let world = &mut stage.scene.world;
        stage
            .carol
            .request(world, Method::Refer, None, &[("Refer-To", &back)], "");
        responses(&mut stage.carol, &mut stage.scene)
    };
    assert_eq!(refer(&mut stage), [491]);
    let answer = sdp(stage.bob.address(), 2, 0);
    stage.bob.respond(&mut stage.scene.world, &reinvite, 200, &[], &answer);
    stage.bob.hear(&mut stage.scene.world, MOMENT);
    // Bob is sent to himself: his phone is called, and refuses.
    assert_eq!(refer(&mut stage), [202]);
    let call = invited(&mut stage.bob, &mut stage.scene);
    stage.bob.respond(&mut stage.scene.world, &call, 486, &[], "");
    let notifies = asked(&mut stage.carol, &mut stage.scene, MOMENT);
    for notify in &notifies {
        stage.carol.respond(&mut stage.scene.world, notify, 200, &[], "");
    }
    carol_is_heard(&mut stage);
    bob_ends(&mut stage);
    let causes: Vec<Cause> = stage.done().iter().map(|record| record.cause).collect();
    assert_eq!(causes, [Cause::Rejected, Cause::Transferred, Cause::CallerHungUp]);
}

/// The same with a refresh of ours (RFC 4028) that came due while the leg was asked to take its new session.
#[test]
fn a_leg_that_is_being_joined_is_not_refreshed_before_that_is_done() {
    let mut stage = speaking_with(7, |settings| settings.session_interval = 90);
    stage.scene.world.run(43 * SECOND);
    stage.alice_refers(&dialled("carol"));
    carol_answers(&mut stage);
    let reinvite = invited(&mut stage.bob, &mut stage.scene);
    alice_leaves(&mut stage);
    let more = asked(&mut stage.bob, &mut stage.scene, 4 * SECOND);
    assert!(
        more.iter().all(|request| number(request) == number(&reinvite)),
        "{more:?}"
    );
    let answer = sdp(stage.bob.address(), 2, 0);
    stage.bob.respond(&mut stage.scene.world, &reinvite, 200, &[], &answer);
    assert_eq!(stage.bob.asked(&mut stage.scene.world, &Method::Ack).len(), 1);
    // Its timer is that of the leg, and goes on where it is now.
    let later = asked(&mut stage.bob, &mut stage.scene, 60 * SECOND);
    let refresh = later.iter().find(|request| request.method == Method::Invite);
    let refresh = refresh.expect("the leg that has moved is refreshed");
    stage.bob.respond(&mut stage.scene.world, refresh, 200, &[], &answer);
    bob_ends(&mut stage);
    assert_eq!(stage.done().len(), 2);
}

/// Phones hold the other side, and ask for a transfer with the next message. Where the ACK between the two was lost, the
/// transfer was refused; and when the one who asked was gone, the copies that nobody acknowledged ended the call of others.
#[test]
fn a_lost_ack_of_the_one_who_asks_stops_no_transfer_and_ends_no_call() {
    let mut stage = speaking(8);
    let met = stage.met.clone();
    let hold = sdp(stage.alice.address(), 2, 0) + "a=sendonly\r\n";
    stage
        .alice
        .request(&mut stage.scene.world, Method::Invite, Some(&met), &[], &hold);
    let held = invited(&mut stage.bob, &mut stage.scene);
    let answer = sdp(stage.bob.address(), 2, 0) + "a=recvonly\r\n";
    stage.bob.respond(&mut stage.scene.world, &held, 200, &[], &answer);
    assert_eq!(codes(&stage.alice.told(&mut stage.scene.world, &Method::Invite)), [200]);
    stage.alice_refers(&dialled("carol"));
    alice_leaves(&mut stage);
    stage.carol.hear(&mut stage.scene.world, Duration::ZERO);
    stage.carol.answer(&mut stage.scene.world, 180, &[], "");
    // The copies of our answer end after 32 seconds.
    stage.scene.world.run(36 * SECOND);
    carol_answers(&mut stage);
    bob_takes(&mut stage, 3);
    carol_is_heard(&mut stage);
    bob_ends(&mut stage);
    assert_eq!(stage.done().len(), 2);
}

#[test]
fn whoever_knows_of_no_transfer_is_told_no_more_of_it() {
    let mut stage = speaking(9);
    let met = stage.met.clone();
    let to = dialled("carol");
    let line = [("Refer-To", to.as_str())];
    stage
        .alice
        .request(&mut stage.scene.world, Method::Refer, Some(&met), &line, "");
    let notify = asked(&mut stage.alice, &mut stage.scene, MOMENT);
    stage.alice.respond(&mut stage.scene.world, &notify[0], 481, &[], "");
    stage.scene.world.run(SECOND);
    carol_answers(&mut stage);
    bob_takes(&mut stage, 2);
    let requests = asked(&mut stage.alice, &mut stage.scene, 3 * SECOND);
    let byes: Vec<&Request> = requests
        .iter()
        .filter(|request| request.method == Method::Bye)
        .collect();
    assert_eq!((byes.len(), requests.len()), (1, 1), "{requests:?}");
    stage.alice.respond(&mut stage.scene.world, byes[0], 200, &[], "");
    bob_ends(&mut stage);
    assert_eq!(stage.done().len(), 2);
}

/// The BYE was made when its wait began, and what came between had a higher number: it was out of order.
#[test]
fn nothing_comes_between_the_last_notify_and_our_bye() {
    let mut stage = speaking_with(10, |settings| settings.session_interval = 90);
    stage.scene.world.run(43 * SECOND);
    stage.alice_refers(&dialled("carol"));
    carol_answers(&mut stage);
    assert_eq!(stage.alice_hears(MOMENT), ["refer terminated SIP/2.0 200 OK"]);
    bob_takes(&mut stage, 2);
    let requests = asked(&mut stage.alice, &mut stage.scene, 4 * SECOND);
    assert_eq!(methods(&requests), ["BYE"]);
    stage.alice.respond(&mut stage.scene.world, &requests[0], 200, &[], "");
    bob_ends(&mut stage);
    assert_eq!(stage.done().len(), 2);
}

#[test]
fn whoever_asked_and_has_hung_up_is_no_longer_on_the_phone() {
    let mut stage = speaking(11);
    stage.alice_refers(&dialled("carol"));
    stage.carol.hear(&mut stage.scene.world, Duration::ZERO);
    stage.carol.answer(&mut stage.scene.world, 180, &[], "");
    alice_leaves(&mut stage);
    stage.scene.world.run(SECOND);
    let told = |stage: &Stage| -> Vec<String> {
        let told = stage.scene.world.bridge.iter().filter_map(|(_, told)| match told {
            ToXmpp::Phone { jid, activity } => Some(format!("{} {activity:?}", jid.node().expect("a user"))),
            _ => None,
        });
        told.collect()
    };
    let before = told(&stage);
    assert_eq!(before.last().map(String::as_str), Some("alice Idle"), "{before:?}");
    carol_answers(&mut stage);
    bob_takes(&mut stage, 2);
    bob_ends(&mut stage);
    stage.scene.world.run(SECOND);
    let after = told(&stage);
    let mut last = after[before.len()..].to_vec();
    last.sort();
    assert_eq!(last, ["bob Idle", "carol Audio", "carol Idle"], "{after:?}");
    stage.done();
}

/// What belongs to the dialog, and not to the call that made it, goes on (RFC 3261 §13.2.2.4).
#[test]
fn copies_of_old_answers_are_still_acknowledged_when_their_legs_have_moved() {
    let mut stage = speaking(12);
    stage.alice_refers(&dialled("carol"));
    carol_answers(&mut stage);
    stage.carol.hear(&mut stage.scene.world, MOMENT);
    bob_takes(&mut stage, 2);
    alice_leaves(&mut stage);
    stage.scene.world.run(SECOND);
    for who in ["bob", "carol"] {
        let world = &mut stage.scene.world;
        let puppet = if who == "bob" { &mut stage.bob } else { &mut stage.carol };
        puppet.hear(world, Duration::ZERO);
        let answer = sdp(puppet.address(), 1, 0);
        puppet.answer(world, 200, &[], &answer);
        let acks = puppet.asked(world, &Method::Ack);
        assert_eq!(acks.len(), 1, "{who}");
    }
    bob_ends(&mut stage);
    assert_eq!(stage.done().len(), 2);
}

#[test]
fn both_ends_of_a_new_pair_are_told_what_the_other_one_calls_the_session() {
    let mut stage = speaking(13);
    let (bobs, carols) = ("b".repeat(32), "c".repeat(32));
    let session = |own: &str, other: &str| format!("{own};remote={other}");
    stage.alice_refers(&dialled("carol"));
    stage.carol.hear(&mut stage.scene.world, Duration::ZERO);
    let line = session(&carols, &"0".repeat(32));
    let answer = sdp(stage.carol.address(), 1, 0);
    stage
        .carol
        .answer(&mut stage.scene.world, 200, &[("Session-ID", &line)], &answer);
    let reinvite = invited(&mut stage.bob, &mut stage.scene);
    let said = values(&reinvite.headers, &HeaderName::SESSION_ID);
    assert!(said[0].starts_with(&carols), "{said:?}");
    let line = session(&bobs, &carols);
    let answer = sdp(stage.bob.address(), 2, 0);
    stage.bob.respond(
        &mut stage.scene.world,
        &reinvite,
        200,
        &[("Session-ID", &line)],
        &answer,
    );
    stage.bob.hear(&mut stage.scene.world, MOMENT);
    alice_leaves(&mut stage);
    // He says so in what he asks as well.
    let line = [
        ("Session-ID", line.as_str()),
        ("Content-Type", "application/dtmf-relay"),
    ];
    stage.bob.request(&mut stage.scene.world, Method::Info, None, &line, "");
    let infos = stage.carol.asked(&mut stage.scene.world, &Method::Info);
    let said = values(&infos[0].headers, &HeaderName::SESSION_ID);
    assert!(said[0].starts_with(&bobs) && said[0].contains(&carols), "{said:?}");
    stage.carol.respond(&mut stage.scene.world, &infos[0], 200, &[], "");
    stage.scene.world.run(MOMENT);
    bob_ends(&mut stage);
    stage.done();
}

#[test]
fn a_service_that_stops_ends_what_is_being_handed_on() {
    for leaves in [false, true] {
        let mut stage = speaking(14);
        stage.alice_refers(&dialled("carol"));
        stage.carol.hear(&mut stage.scene.world, Duration::ZERO);
        stage.carol.answer(&mut stage.scene.world, 180, &[], "");
        stage.alice_hears(MOMENT);
        if leaves {
            alice_leaves(&mut stage);
            stage.alice.hear(&mut stage.scene.world, MOMENT);
        }
        stage.scene.world.drain();
        let requests = asked(&mut stage.alice, &mut stage.scene, MOMENT);
        let expected: &[&str] = if leaves { &[] } else { &["NOTIFY", "BYE"] };
        assert_eq!(methods(&requests), expected);
        for request in &requests {
            stage.alice.respond(&mut stage.scene.world, request, 200, &[], "");
        }
        let byes = asked(&mut stage.bob, &mut stage.scene, Duration::ZERO);
        assert_eq!(methods(&byes), ["BYE"]);
        stage.bob.respond(&mut stage.scene.world, &byes[0], 200, &[], "");
        let cancels = asked(&mut stage.carol, &mut stage.scene, Duration::ZERO);
        assert_eq!(methods(&cancels), ["CANCEL"]);
        stage.carol.respond(&mut stage.scene.world, &cancels[0], 200, &[], "");
        stage.carol.answer(&mut stage.scene.world, 487, &[], "");
        let causes: Vec<Cause> = stage.done().iter().map(|record| record.cause).collect();
        assert_eq!(causes, [Cause::Shutdown, Cause::Shutdown]);
    }
}

/// The target answers at the moment when the one who waits hangs up.
#[test]
fn whoever_answers_for_somebody_who_has_just_gone_is_hung_up() {
    let mut stage = speaking(15);
    stage.alice_refers(&dialled("carol"));
    alice_leaves(&mut stage);
    stage.scene.world.run(MOMENT);
    // Which is first is not told; both are said at one time.
    stage.bob.request(&mut stage.scene.world, Method::Bye, None, &[], "");
    carol_answers(&mut stage);
    let requests = asked(&mut stage.carol, &mut stage.scene, MOMENT);
    let said: Vec<&str> = methods(&requests)
        .into_iter()
        .filter(|method| *method != "CANCEL")
        .collect();
    assert_eq!(said, ["ACK", "BYE"]);
    for request in requests.iter().filter(|request| request.method != Method::Ack) {
        stage.carol.respond(&mut stage.scene.world, request, 200, &[], "");
    }
    let records = stage.done();
    assert_eq!(records.len(), 2);
    let froms: Vec<&str> = records.iter().map(|record| record.from.as_str()).collect();
    assert_eq!(froms, ["sip:alice.phone@sip.example.com"; 2], "Alice pays for both");
}

/// An attended transfer of somebody who has just been joined is put off by 491, and can be asked for again.
#[test]
fn a_place_is_not_taken_while_somebody_is_being_joined_there() {
    let (mut stage, mut second, met) = two_calls(16);
    assert_eq!(stage.alice_refers(&replacing(&met)).len(), 2);
    let byes = second.asked(&mut stage.scene.world, &Method::Bye);
    second.respond(&mut stage.scene.world, &byes[0], 200, &[], "");
    alice_leaves(&mut stage);
    let reinvite = invited(&mut stage.bob, &mut stage.scene);
    let from = reinvite.headers.one::<From>().expect("a From");
    assert!(from.tag().is_some());
    // Carol sends Bob on before he has answered.
    stage.carol.hear(&mut stage.scene.world, Duration::ZERO);
    let back = format!("<{}>", dialled("alice"));
    stage
        .carol
        .request(&mut stage.scene.world, Method::Refer, None, &[("Refer-To", &back)], "");
    assert_eq!(responses(&mut stage.carol, &mut stage.scene), [491]);
    let answer = sdp(stage.bob.address(), 2, 0);
    stage.bob.respond(&mut stage.scene.world, &reinvite, 200, &[], &answer);
    let reinvite = invited(&mut stage.carol, &mut stage.scene);
    let answer = sdp(stage.carol.address(), 2, 0);
    stage
        .carol
        .respond(&mut stage.scene.world, &reinvite, 200, &[], &answer);
    stage.scene.world.run(MOMENT);
    carol_is_heard(&mut stage);
    bob_ends(&mut stage);
    assert_eq!(stage.done().len(), 2);
}

/// What goes on in another call was counted no more: one account could have held any number of calls that it pays for.
#[test]
fn what_goes_on_in_another_call_counts_among_the_calls_of_who_pays() {
    let mut stage = speaking_with(17, |settings| settings.calls_per_account = 2);
    stage.alice_refers(&dialled("carol"));
    carol_answers(&mut stage);
    stage.carol.hear(&mut stage.scene.world, MOMENT);
    bob_takes(&mut stage, 2);
    alice_leaves(&mut stage);
    stage.scene.world.run(SECOND);
    // She pays for Bob, whom she has called, and for Carol, to whom she has sent him.
    let dials = |stage: &mut Stage, last: u16| {
        let world = &mut stage.scene.world;
        let mut phone = Puppet::new(world, address(10, 5094 + last), "alice");
        phone.call(world, &dialled("nobody"), &[], &sdp(phone.address(), 1, 0));
        codes(&phone.told(world, &Method::Invite)).last().copied()
    };
    assert_eq!(dials(&mut stage, 0), Some(403));
    bob_ends(&mut stage);
    stage.scene.world.run(SECOND);
    assert_ne!(dials(&mut stage, 1), Some(403));
    stage.done();
}

#[test]
fn whoever_does_not_take_the_new_session_is_hung_up_and_so_is_the_other_one() {
    for code in [488, 481] {
        let mut stage = speaking(18);
        stage.alice_refers(&dialled("carol"));
        carol_answers(&mut stage);
        let reinvite = invited(&mut stage.bob, &mut stage.scene);
        alice_leaves(&mut stage);
        stage.bob.respond(&mut stage.scene.world, &reinvite, code, &[], "");
        let byes = asked(&mut stage.bob, &mut stage.scene, MOMENT);
        let byes: Vec<&Request> = byes.iter().filter(|request| request.method == Method::Bye).collect();
        assert_eq!(byes.len(), 1);
        stage.bob.respond(&mut stage.scene.world, byes[0], 200, &[], "");
        let byes = asked(&mut stage.carol, &mut stage.scene, Duration::ZERO);
        let byes: Vec<&Request> = byes.iter().filter(|request| request.method == Method::Bye).collect();
        assert_eq!(byes.len(), 1);
        stage.carol.respond(&mut stage.scene.world, byes[0], 200, &[], "");
        let causes: Vec<Cause> = stage.done().iter().map(|record| record.cause).collect();
        assert_eq!(causes, [Cause::Transferred, Cause::PeerFailed]);
    }
}

/// The way to a phone is gone while the leg moves: the one who answered is not left alone.
#[test]
fn a_way_that_closes_under_a_transfer_ends_what_went_by_it() {
    for is_joining in [false, true] {
        let mut stage = speaking(19);
        let remote = stage.bob.address();
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            remote,
            identity: Identity::NONE,
        };
        stage.alice_refers(&dialled("carol"));
        alice_leaves(&mut stage);
        stage.carol.hear(&mut stage.scene.world, MOMENT);
        let close = |stage: &mut Stage| {
            let now = stage.scene.world.now();
            stage.scene.world.node.handle_closed(now, flow);
        };
        if !is_joining {
            close(&mut stage);
        }
        carol_answers(&mut stage);
        stage.scene.world.run(MOMENT);
        if is_joining {
            close(&mut stage);
        }
        // Over a datagram transport, what is sent later is not known to be lost before its time is over.
        let byes = asked(&mut stage.carol, &mut stage.scene, 40 * SECOND);
        let bye = byes.iter().find(|request| request.method == Method::Bye);
        stage
            .carol
            .respond(&mut stage.scene.world, bye.expect("a BYE"), 200, &[], "");
        let causes: Vec<Cause> = stage.done().iter().map(|record| record.cause).collect();
        assert_eq!(causes, [Cause::Transferred, Cause::PeerFailed]);
    }
}

/// Alice sends Bob to Carol, and Carol sends him back to Alice: each leg is recorded once, when it ends.
#[test]
fn somebody_may_be_sent_on_and_back() {
    let mut stage = speaking(20);
    stage.alice_refers(&dialled("carol"));
    carol_answers(&mut stage);
    bob_takes(&mut stage, 2);
    alice_leaves(&mut stage);
    stage.carol.hear(&mut stage.scene.world, MOMENT);
    // Her phone, which is registered now.
    let mut phone = Puppet::new(&mut stage.scene.world, address(10, 5096), "alice");
    phone.register(&mut stage.scene.world);
    let back = format!("<{}>", dialled("alice"));
    stage
        .carol
        .request(&mut stage.scene.world, Method::Refer, None, &[("Refer-To", &back)], "");
    phone.hear(&mut stage.scene.world, MOMENT);
    let invite = phone.invite.clone().expect("she is called");
    let from = invite.headers.one::<From>().expect("a From");
    assert!(from.uri.to_string().starts_with("sip:bob.phone@"), "{from:?}");
    let answer = sdp(phone.address(), 1, 0);
    phone.answer(&mut stage.scene.world, 200, &[], &answer);
    for notify in asked(&mut stage.carol, &mut stage.scene, MOMENT) {
        stage.carol.respond(&mut stage.scene.world, &notify, 200, &[], "");
    }
    bob_takes(&mut stage, 3);
    // Carol's phone says nothing more, and is hung up.
    let heard = asked(&mut stage.carol, &mut stage.scene, 3 * SECOND);
    assert_eq!(methods(&heard), ["NOTIFY", "BYE"]);
    for request in &heard {
        stage.carol.respond(&mut stage.scene.world, request, 200, &[], "");
    }
    stage.bob.request(&mut stage.scene.world, Method::Bye, None, &[], "");
    let byes = phone.asked(&mut stage.scene.world, &Method::Bye);
    phone.respond(&mut stage.scene.world, &byes[0], 200, &[], "");
    let records = stage.done().into_iter();
    let mut facts: Vec<_> = records.map(|record| (record.from, record.to, record.cause)).collect();
    facts.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
    let (alice, bob, carol) = (dialled("alice"), dialled("bob"), dialled("carol"));
    assert_eq!(
        facts,
        [
            (alice.clone(), bob, Cause::Transferred),
            (alice.clone(), carol.clone(), Cause::Transferred),
            (carol, alice, Cause::CallerHungUp)
        ]
    );
}
