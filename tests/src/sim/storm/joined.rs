//! What must hold of transfers when a run is over.

use std::time::Duration;

use cusax_common::core::record::CallRecord;

use super::Storm;
use super::handset::Handset;
use super::leg::Leg;
use super::script::Role;
use super::transfer::Refer;

/// Each transfer is told to its end once, and in a calm network those who were joined hear each other.
pub(super) fn judge(storm: &Storm, fail: &mut impl FnMut(&'static str, String)) {
    for (phone, handset) in storm.handsets.iter().enumerate().filter(|(_, handset)| !handset.gone) {
        let is_cut_off = storm.script.outages.iter().any(|outage| outage.phone == phone);
        for leg in &handset.legs {
            for Refer { status, finals, .. } in &leg.refers {
                let stays = leg.byes == 0 && !is_cut_off;
                if finals.len() > 1 || (stays && *status == Some(202) && finals.is_empty()) {
                    let call = leg.call;
                    fail(
                        "transfers",
                        format!("phone {phone} asked for one in call {call} and was told its end as {finals:?}"),
                    );
                }
            }
        }
    }
    whispers(storm, fail);
    if storm.script.is_calm() {
        joined(storm, fail);
    }
}

/// What somebody says is heard by one other.
fn whispers(storm: &Storm, fail: &mut impl FnMut(&'static str, String)) {
    for (phone, at, leg) in legs(storm) {
        for probe in leg.probes.iter().filter(|probe| probe.status == Some(200)) {
            let by = hearers(storm, &probe.token);
            if by.len() != 1 || by[0].0 == phone && by[0].1 == at {
                let by: Vec<usize> = by.iter().map(|(phone, ..)| *phone).collect();
                fail(
                    "transfers",
                    format!("phone {phone} was told that it was heard, which it was by {by:?}"),
                );
            }
        }
    }
}

/// Who was joined is with the one who was called, and each knows who the other one is.
fn joined(storm: &Storm, fail: &mut impl FnMut(&'static str, String)) {
    let calls = &storm.script.calls;
    let errands = calls.iter().filter(|plan| plan.errand.is_some()).count();
    let attended = calls.iter().filter(|plan| plan.attends()).count();
    // Where one follows another, somebody may be with nobody for a while.
    if errands + attended != 1 {
        return;
    }
    for (phone, _, leg) in legs(storm) {
        let was_sent = calls[leg.call].errand.is_some();
        if !was_sent && leg.joined.is_empty() {
            continue;
        }
        let since = leg.joined_at.or(leg.acknowledged_at).unwrap_or_default();
        for probe in leg.probes.iter().filter(|probe| probe.at >= since + SETTLED) {
            let is_over = leg.ended.is_some_and(|ended| ended < probe.at + SECOND);
            // What overtakes another request makes that one come out of order.
            if is_over || probe.status == Some(500) {
                continue;
            }
            let by = hearers(storm, &probe.token);
            let [(hearer, _, heard)] = by[..] else {
                let status = probe.status;
                fail(
                    "joined",
                    format!(
                        "what phone {phone} said at {:?} was answered {status:?} and not heard",
                        probe.at
                    ),
                );
                continue;
            };
            let told = if was_sent {
                leg.invite.get("From")
            } else {
                leg.joined.last().map_or("", String::as_str)
            };
            if let (Some(name), Some(_)) = (storm.handsets[hearer].name(), storm.handsets[phone].name())
                && !told.contains(&format!("{name}.phone@"))
            {
                let (from, call) = (phone, heard.call);
                fail(
                    "joined",
                    format!("phone {from} was told that it speaks with {told}, and speaks with {name} of call {call}"),
                );
            }
        }
    }
}

/// The call of a transfer has one record if it has begun, which says whether it was answered.
pub(super) fn records(
    storm: &Storm,
    call: usize,
    records: &[&CallRecord],
    fail: &mut impl FnMut(&'static str, String),
) {
    let is_asked = asked(storm, call).next().is_some();
    let is_sent = sent(storm, call).next().is_some();
    match records {
        [] if is_sent => fail(
            "records",
            format!("call {call} was made by a transfer and has no record"),
        ),
        [_, ..] if !is_asked => fail("records", format!("nobody asked for call {call}, and it has a record")),
        [] => {}
        [record] => {
            let answered = record.answered.is_some();
            if answered && !sent(storm, call).any(|leg| leg.answered) {
                fail("records", format!("nobody answered call {call}: {record:?}"));
            }
            if answered && record.status != 200 {
                fail("records", format!("call {call} was answered with {}", record.status));
            }
        }
        more => fail("records", format!("call {call} has {} records", more.len())),
    }
}

/// What was asked for to make this call.
pub(super) fn asked(storm: &Storm, call: usize) -> impl Iterator<Item = &Refer> {
    let refers = legs(storm).flat_map(|(_, _, leg)| &leg.refers);
    refers.filter(move |refer| refer.made == Some(call))
}

/// Who was called by it.
pub(super) fn sent(storm: &Storm, call: usize) -> impl Iterator<Item = &Leg> {
    let legs = legs(storm).map(|(_, _, leg)| leg);
    legs.filter(move |leg| leg.call == call && leg.role == Role::Callee)
}

fn legs(storm: &Storm) -> impl Iterator<Item = (usize, usize, &Leg)> {
    let phones = storm.handsets.iter().enumerate();
    phones.flat_map(|(phone, Handset { legs, .. })| legs.iter().enumerate().map(move |(at, leg)| (phone, at, leg)))
}

fn hearers<'a>(storm: &'a Storm, token: &str) -> Vec<(usize, usize, &'a Leg)> {
    legs(storm)
        .filter(|(_, _, leg)| leg.heard.iter().any(|heard| heard == token))
        .collect()
}

const SECOND: Duration = Duration::from_secs(1);
/// By then everybody has heard of what was asked.
const SETTLED: Duration = Duration::from_millis(2_900);
