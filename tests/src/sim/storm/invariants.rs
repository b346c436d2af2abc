//! What must hold when a run is over, whatever was drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cusax_b2bua::core::media::{MediaCommand, MediaId};
use cusax_common::core::bridge::{ToB2bua, ToXmpp};
use cusax_common::core::record::{CallRecord, Cause};

use super::super::hand::Text;
use super::Storm;
use super::joined;
use super::leg::{Leg, Stage};
use super::script::{Kind, Plan, Role, Trouble};

/// Something that does not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which check says so.
    pub check: &'static str,
    /// What it saw.
    pub what: String,
}

impl Failure {
    pub(super) fn new(check: &'static str, what: String) -> Self {
        Self { check, what }
    }
}

/// What became of a planned call.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// What was meant.
    pub kind: Kind,
    /// What the record says; none if it never became a call.
    pub cause: Option<Cause>,
    /// The caller heard a 2xx, and the record says that it was answered.
    pub answered: bool,
    /// It was dialled, or asked for with success.
    pub begun: bool,
}

/// Everything that can be said when all is quiet.
#[must_use]
pub fn judge(storm: &mut Storm) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut fail = |check, what: String| failures.push(Failure::new(check, what));
    records(storm, &mut fail);
    legs(storm, &mut fail);
    bindings(storm, &mut fail);
    leftovers(storm, &mut fail);
    media(storm, &mut fail);
    acknowledgements(storm, &mut fail);
    calm(storm, &mut fail);
    joined::judge(storm, &mut fail);
    for handset in &storm.handsets {
        for fault in &handset.faults {
            fail("phones", fault.clone());
        }
    }
    failures
}

/// What became of each planned call.
#[must_use]
pub fn outcomes(storm: &Storm) -> Vec<Outcome> {
    let calls = storm.script.calls.iter().enumerate();
    let outcome = |(call, plan): (usize, &Plan)| {
        let record = storm.world.records.iter().find(|record| names(record) == plan.names);
        let heard = match plan.errand {
            Some(_) => joined::sent(storm, call).any(|leg| leg.answered),
            None => caller(storm, call).is_some_and(|leg| leg.answered),
        };
        Outcome {
            kind: plan.kind,
            cause: record.map(|record| record.cause),
            answered: heard && record.is_some_and(|record| record.answered.is_some()),
            begun: match plan.errand {
                Some(_) => joined::asked(storm, call).any(|refer| refer.status == Some(202)),
                None => caller(storm, call).is_some(),
            },
        }
    };
    calls.map(outcome).collect()
}

/// Each call has one record, which says what the caller saw.
fn records(storm: &Storm, fail: &mut impl FnMut(&'static str, String)) {
    for (call, plan) in storm.script.calls.iter().enumerate() {
        let records = storm.world.records.iter().filter(|record| names(record) == plan.names);
        let records: Vec<&CallRecord> = records.collect();
        if plan.errand.is_some() {
            joined::records(storm, call, &records, fail);
            continue;
        }
        let Some(leg) = caller(storm, call) else {
            if !records.is_empty() {
                fail("records", format!("call {call} was never dialled and has a record"));
            }
            continue;
        };
        // 100 is the service's word that there is a call; without it, it may have been refused at the door.
        let began = leg.answered || matches!(leg.status, Some(100..=199 | 404 | 480 | 484));
        let gone = storm.handsets[plan.caller].gone;
        match &records[..] {
            [] if began => fail(
                "records",
                format!("call {call} has no record; its caller heard {:?}", leg.status),
            ),
            [] => {}
            [record] => {
                let answered = record.answered.is_some();
                if leg.answered && !answered {
                    fail(
                        "records",
                        format!("call {call} was answered and its record says that it was not"),
                    );
                }
                if answered && record.status != 200 {
                    fail("records", format!("call {call} was answered with {}", record.status));
                }
                if !answered && matches!(record.cause, Cause::CallerHungUp | Cause::CalleeHungUp) {
                    fail("records", format!("call {call} was hung up and never answered"));
                }
                let heard = leg.status.filter(|status| *status >= 200);
                if !answered && !gone && heard.is_some_and(|heard| heard != record.status && heard != 408) {
                    fail(
                        "records",
                        format!("call {call}: {heard:?} was heard, {} recorded", record.status),
                    );
                }
                // RFC 3261 §13.3.1.4: what nobody acknowledges is over, whether or not the callee notices.
                let lasted = record.answered.map(|at| record.ended.since(at));
                if plan.gone_at_answer && lasted.is_some_and(|lasted| lasted > PATIENCE) {
                    fail(
                        "records",
                        format!("call {call} was never acknowledged and lasted {lasted:?}"),
                    );
                }
                if record.ended < record.started || record.answered.is_some_and(|at| at > record.ended) {
                    fail("records", format!("call {call} ended before it began: {record:?}"));
                }
            }
            more => fail("records", format!("call {call} has {} records", more.len())),
        }
    }
    if let Trouble::Short(limit) = storm.script.trouble {
        let lasted = |record: &CallRecord| record.answered.map(|at| record.ended.since(at));
        let records = storm.world.records.iter();
        for record in records.filter(|record| lasted(record).is_some_and(|lasted| lasted > limit + SLACK)) {
            fail("records", format!("no call may last longer than {limit:?}: {record:?}"));
        }
    }
    let planned = |record: &&CallRecord| storm.script.calls.iter().any(|plan| names(record) == plan.names);
    let strange: Vec<_> = storm.world.records.iter().filter(|record| !planned(record)).collect();
    if !strange.is_empty() {
        fail("records", format!("records of calls that nobody made: {strange:?}"));
    }
}

/// No leg is without its peer. A phone that is gone without a word does not know.
fn legs(storm: &Storm, fail: &mut impl FnMut(&'static str, String)) {
    let calls = storm.world.node.calls();
    if calls > 0 {
        fail("legs", format!("{calls} calls are left"));
    }
    if let Some(at) = storm.lonely {
        fail("legs", format!("somebody is with nobody at {at:?}"));
    }
    for (phone, handset) in storm.handsets.iter().enumerate().filter(|(_, handset)| !handset.gone) {
        for leg in handset.legs.iter().filter(|leg| leg.stage != Stage::Over) {
            // Whoever was not heard to ring cannot be cancelled (RFC 3261 §9.1).
            if leg.role == Role::Callee && leg.stage == Stage::Early && !was_heard(storm, leg) {
                continue;
            }
            let Leg { call, role, stage, .. } = leg;
            fail(
                "legs",
                format!("phone {phone} is still {stage:?} as {role:?} of call {call}"),
            );
        }
    }
}

/// Whether anything that a phone answered to the INVITE of this leg has reached the service.
fn was_heard(storm: &Storm, leg: &Leg) -> bool {
    let mut delivered = storm.world.delivered.iter().flatten();
    delivered.any(|(_, bytes)| {
        let response = bytes.starts_with(b"SIP/2.0 ");
        response && Text::read(bytes).is_some_and(|note| note.branch() == leg.branch())
    })
}

/// A 2xx that was heard is acknowledged, and again for each copy (RFC 3261 §13.2.2.4).
fn acknowledgements(storm: &Storm, fail: &mut impl FnMut(&'static str, String)) {
    for (phone, handset) in storm.handsets.iter().enumerate() {
        // The ACK to a 2xx with an offer waits for the caller's. What comes when the service has given up is nothing to
        // it, so the record must say that this phone answered.
        let waits = |leg: &&Leg| {
            let plan = &storm.script.calls[leg.call];
            let mut records = storm.world.records.iter().filter(|record| names(record) == plan.names);
            let answered = records.any(|record| record.answered.is_some()) && plan.manners.len() == 1;
            leg.unacknowledged && answered && !plan.late_offer
        };
        for leg in handset.legs.iter().filter(waits) {
            let mine = |bytes: &[u8]| {
                let success = bytes.starts_with(b"SIP/2.0 200 ");
                success && Text::read(bytes).is_some_and(|note| note.branch() == leg.branch())
            };
            let heard = storm
                .world
                .delivered
                .iter()
                .flatten()
                .filter(|(_, bytes)| mine(bytes))
                .count();
            if heard >= MANY {
                fail(
                    "acknowledgements",
                    format!("phone {phone} was heard {heard} times and heard no ACK"),
                );
            }
        }
    }
}

/// Every binding is of somebody who has proved a right to it.
fn bindings(storm: &mut Storm, fail: &mut impl FnMut(&'static str, String)) {
    let mut rightful: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for handset in &storm.handsets {
        if let Some(aor) = handset.rightful() {
            rightful.entry(aor).or_default().insert(handset.address.to_string());
        }
    }
    let honest: usize = rightful.values().map(BTreeSet::len).sum();
    let bindings = storm.world.node.bindings();
    if bindings > honest || bindings != storm.world.kept.len() {
        let kept = storm.world.kept.len();
        fail(
            "bindings",
            format!("{bindings} bindings, {kept} kept, {honest} phones that may have one"),
        );
    }
    for value in storm.world.kept.values() {
        let text = String::from_utf8_lossy(value);
        let owned = rightful.iter().any(|(aor, places)| {
            let here = places
                .iter()
                .any(|place| text.contains(&format!("\"remote\":\"{place}\"")));
            here && text.contains(&format!("\"aor\":\"{aor}\""))
        });
        if !owned {
            fail("bindings", format!("nobody has a right to {text}"));
        }
    }
    for handset in &storm.handsets {
        let place = format!("\"remote\":\"{}\"", handset.address);
        let kept = storm
            .world
            .kept
            .values()
            .any(|value| String::from_utf8_lossy(value).contains(&place));
        if handset.registered && !kept {
            fail(
                "bindings",
                format!("{} was told that it is registered", handset.address),
            );
        }
    }
    storm.world.tell(ToB2bua::Resync);
    if let Some((_, ToXmpp::Everything { registered, phones })) = storm.world.bridge.last() {
        for aor in registered.iter().flat_map(|(_, aors)| aors) {
            if !rightful.contains_key(&aor.to_string()) {
                fail("bindings", format!("{aor} is registered by nobody"));
            }
        }
        if !phones.is_empty() {
            fail("legs", format!("users are still said to be on the phone: {phones:?}"));
        }
    }
}

/// Nothing is kept of what is over.
fn leftovers(storm: &Storm, fail: &mut impl FnMut(&'static str, String)) {
    let endpoint = &storm.world.node;
    if endpoint.transactions() > 0 {
        fail("leaks", format!("{} transactions are left", endpoint.transactions()));
    }
    for (table, left) in endpoint.leftovers() {
        if left > 0 {
            fail("leaks", format!("{left} left in {table}"));
        }
    }
}

/// Every session that was opened is closed, and nothing is asked of it afterwards.
fn media(storm: &Storm, fail: &mut impl FnMut(&'static str, String)) {
    let mut closed: BTreeMap<MediaId, bool> = BTreeMap::new();
    for (at, command) in &storm.world.commands {
        let (id, ends) = match command {
            MediaCommand::Open { id, .. } => {
                if closed.insert(*id, false).is_some() {
                    fail("media", format!("{id:?} is opened twice, at {at:?}"));
                }
                continue;
            }
            MediaCommand::Close { id } => (*id, true),
            MediaCommand::Aim { id, .. }
            | MediaCommand::Play { id, .. }
            | MediaCommand::Stop { id, .. }
            | MediaCommand::Report { id } => (*id, false),
        };
        match closed.get_mut(&id) {
            Some(closed) if !*closed => *closed = ends,
            // What is opened when the call is over already is closed by whoever sees it first.
            Some(_) if ends => {}
            _ => fail("media", format!("{command:?} at {at:?} is for no open session")),
        }
    }
    let refused = matches!(storm.script.trouble, Trouble::Ports(_));
    let open = closed.values().filter(|closed| !**closed).count();
    if (open > 0 && !refused) || !storm.world.media.is_empty() {
        fail(
            "media",
            format!("{open} sessions were not closed, {} are open", storm.world.media.len()),
        );
    }
}

/// Where nothing is lost or late, nothing is said twice, and every call ends as it was meant to.
fn calm(storm: &Storm, fail: &mut impl FnMut(&'static str, String)) {
    let script = &storm.script;
    if !script.is_calm() {
        return;
    }
    // What nobody answers is said again.
    if script
        .calls
        .iter()
        .all(|plan| plan.manners.values().all(|manner| manner.first.is_some()))
    {
        let again = storm
            .world
            .node
            .counted_of_transactions(|counters| counters.retransmitted);
        if again > 0 {
            fail(
                "calm",
                format!("{again} messages were sent again, and nothing was lost"),
            );
        }
        let repeated: u32 = storm.handsets.iter().map(|handset| handset.repeated).sum();
        if repeated > 0 {
            fail(
                "calm",
                format!("phones had to say {repeated} messages again, and nothing was lost"),
            );
        }
    }
    for (call, plan) in script.calls.iter().enumerate() {
        let record = storm.world.records.iter().find(|record| names(record) == plan.names);
        let cause = record.map(|record| record.cause);
        let is_joined = script.calls.iter().any(Plan::attends);
        if let Some(expected) = plan.expected(script.ring_timeout).filter(|_| !is_joined)
            && cause != Some(expected)
        {
            fail(
                "calm",
                format!("call {call} was to end as {expected:?} and ended as {cause:?}"),
            );
        }
    }
}

/// When the registrations are over too, nothing is left that anybody waits for.
#[must_use]
pub fn after_expiry(storm: &mut Storm) -> Vec<Failure> {
    storm.run(storm.world.elapsed() + EXPIRY);
    let mut failures = Vec::new();
    let endpoint = &storm.world.node;
    if endpoint.poll_timeout().is_some() {
        failures.push(Failure::new(
            "leaks",
            "a deadline is left when everything is over".to_owned(),
        ));
    }
    let (bindings, kept) = (endpoint.bindings(), storm.world.kept.len());
    if bindings + kept > 0 {
        failures.push(Failure::new(
            "leaks",
            format!("{bindings} bindings and {kept} kept are left"),
        ));
    }
    failures
}

pub(super) fn names(record: &CallRecord) -> (String, String) {
    (record.from.clone(), record.to.clone())
}

/// The caller's leg of a planned call.
fn caller(storm: &Storm, call: usize) -> Option<&Leg> {
    let plan = &storm.script.calls[call];
    let mut legs = storm.handsets[plan.caller].legs.iter();
    legs.find(|leg| leg.call == call && leg.role == Role::Caller)
}

/// How long a 2xx waits for its ACK, and a little more.
const PATIENCE: Duration = Duration::from_secs(34);
/// It does not happen that so many ACKs are lost.
const MANY: usize = 9;
/// What the timers take.
const SLACK: Duration = Duration::from_secs(1);
/// Longer than any registration.
const EXPIRY: Duration = Duration::from_secs(7500);
