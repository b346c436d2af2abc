//! Which steps the transaction machines of the service took, counted from what they trace.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};

use cusax_b2bua::core::transaction::STEPS;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// How often each step was taken: machine, state and event in one line.
pub type Steps = BTreeMap<String, u64>;

/// Everything in which these steps and the [`TABLE`] differ.
#[must_use]
pub fn differences(steps: &Steps) -> Vec<String> {
    let known: BTreeMap<String, bool> = TABLE
        .iter()
        .flat_map(|row| {
            let taken = row.taken.iter().map(|input| (*input, true));
            let never = row.never.iter().map(|(input, _)| (*input, false));
            taken
                .chain(never)
                .map(|(input, is_taken)| (format!("{} | {} | {input}", row.machine, row.state), is_taken))
        })
        .collect();
    let missing = known
        .iter()
        .filter(|(step, is_taken)| **is_taken && !steps.contains_key(*step));
    let missing = missing.map(|(step, _)| format!("never taken: {step}"));
    let strange = steps.keys().filter(|step| known.get(*step) != Some(&true));
    missing
        .chain(strange.map(|step| format!("taken, against the table: {step}")))
        .collect()
}

/// A state of a machine, and what it hears there.
#[derive(Debug)]
pub struct Row {
    /// As the machine calls itself.
    pub machine: &'static str,
    /// As the machine calls it.
    pub state: &'static str,
    /// The responses and timers that it must have met.
    pub taken: &'static [&'static str],
    /// What it cannot meet in this world, with the reason. A timer that is not armed in the state is not named.
    pub never: &'static [(&'static str, &'static str)],
}

const fn row(
    machine: &'static str,
    state: &'static str,
    taken: &'static [&'static str],
    never: &'static [(&'static str, &'static str)],
) -> Row {
    Row {
        machine,
        state,
        taken,
        never,
    }
}

/// Every step that the machines can take over UDP.
pub const TABLE: &[Row] = &[
    row(
        "INVITE client",
        "(Calling, No)",
        &["Provisional", "Success", "Failure", "Cancel", "A", "B"],
        &[NO_STREAM],
    ),
    row(
        "INVITE client",
        "(Calling, Wanted)",
        &["Provisional", "Success", "Failure", "A", "B"],
        &[NO_STREAM, ONCE],
    ),
    row(
        "INVITE client",
        "(Proceeding, No)",
        &["Provisional", "Success", "Failure", "Cancel", "C"],
        &[NO_STREAM],
    ),
    row(
        "INVITE client",
        "(Proceeding, Sent)",
        &["Provisional", "Success", "Failure", "Cancel", "Cancelled"],
        &[NO_STREAM],
    ),
    row(
        "INVITE client",
        "Completed",
        &["Provisional", "Failure", "D"],
        &[
            NO_STREAM,
            ONCE,
            ("Success", "no phone here answers what it has refused"),
        ],
    ),
    row(
        "INVITE client",
        "Accepted",
        &["Provisional", "Success", "M"],
        &[
            NO_STREAM,
            ONCE,
            ("Failure", "no phone here refuses what it has answered"),
        ],
    ),
    row(
        "other client",
        "Trying",
        &["Provisional", "Success", "Failure", "E", "F"],
        &[NO_STREAM],
    ),
    row(
        "other client",
        "Proceeding",
        &["Provisional", "Success", "Failure", "E", "F"],
        &[NO_STREAM],
    ),
    row(
        "other client",
        "Completed",
        &["Provisional", "Success", "Failure", "K"],
        &[NO_STREAM],
    ),
    row(
        "INVITE server",
        "Proceeding { heard: Nothing }",
        &["Copy", "Provisional", "Failure"],
        &[("Success", "a call says 100 first"), ("Ack", "nothing final was said")],
    ),
    row(
        "INVITE server",
        "Proceeding { heard: Provisional }",
        &["Copy", "Provisional", "Success", "Failure"],
        &[("Ack", "nothing final was said")],
    ),
    row("INVITE server", "Completed", &["Copy", "Ack", "G", "H"], LATE),
    row("INVITE server", "Confirmed", &["Copy", "Ack", "I"], LATE),
    row(
        "INVITE server",
        "Accepted",
        &["Copy", "L"],
        &[
            ("Provisional", SAID),
            ("Success", SAID),
            ("Failure", SAID),
            ("Ack", "the ACK to a 2xx has a branch of its own"),
        ],
    ),
    row(
        "other server",
        "Trying",
        &["Copy", "Success", "Failure", "F"],
        &[("Provisional", "RFC 4320 §4.1: nobody is helped by it")],
    ),
    row("2xx", "Waiting", &["Ack", "Again", "Unacknowledged"], &[]),
];

const NO_STREAM: (&str, &str) = ("TransportFailure", "there are no connections here");
const ONCE: (&str, &str) = ("Cancel", "a call gives up once, and not what is over");
const SAID: &str = "a call knows that it has said the last word";
const LATE: &[(&str, &str)] = &[("Provisional", SAID), ("Success", SAID), ("Failure", SAID)];

/// Counts the steps of one thread.
#[derive(Clone, Debug, Default)]
pub struct Counting(Arc<Mutex<HashMap<String, u64>>>);

impl Counting {
    /// Runs something, and counts the steps that are taken meanwhile.
    pub fn during<T>(&self, what: impl FnOnce() -> T) -> T {
        tracing::subscriber::with_default(self.clone(), what)
    }

    /// What was counted so far.
    #[must_use]
    pub fn steps(&self) -> Steps {
        let counted = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut steps = Steps::new();
        for (step, count) in counted.iter() {
            *steps.entry(folded(step)).or_default() += count;
        }
        steps
    }
}

impl Subscriber for Counting {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == STEPS
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::with_capacity(64));
        event.record(&mut line);
        let mut counted = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match counted.get_mut(&line.0) {
            Some(count) => *count += 1,
            None => {
                counted.insert(line.0, 1);
            }
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Whether an INVITE was cancelled makes no difference once it has its final answer.
fn folded(step: &str) -> String {
    let mut step = step.to_owned();
    for state in ["Completed", "Accepted"] {
        for cancel in ["No", "Wanted", "Sent"] {
            step = step.replace(&format!("({state}, {cancel})"), state);
        }
    }
    step
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != "message" {
            self.record_str(field, &format!("{value:?}"));
        }
    }

    fn record_str(&mut self, _: &Field, value: &str) {
        if !self.0.is_empty() {
            self.0.push_str(" | ");
        }
        self.0.push_str(value);
    }
}
