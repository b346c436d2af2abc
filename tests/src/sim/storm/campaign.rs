//! Many seeds, on every core.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use cusax_common::core::record::Cause;

use super::invariants::Failure;
use super::play;
use super::script::Kind;
use super::transitions::{Counting, Steps};

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many were played.
    pub seeds: u64,
    /// The seeds that failed, with what they failed by.
    pub failed: Vec<(u64, Vec<Failure>)>,
    /// How each planned call ended.
    pub causes: BTreeMap<&'static str, u64>,
    /// Calls that were meant to be answered where a tenth of all datagrams was lost.
    pub meant: u64,
    /// Those of them that were.
    pub answered: u64,
    /// The same of transfers that were asked for, and meant to be answered.
    pub sent: u64,
    /// Those of them that were.
    pub joined: u64,
    /// Which steps the transaction machines took.
    pub steps: Steps,
}

impl Tally {
    /// How many of a thousand calls that were meant to be answered were.
    #[must_use]
    pub fn answered_per_mille(&self) -> u64 {
        (self.answered * 1000).checked_div(self.meant).unwrap_or_default()
    }

    fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.failed.extend(other.failed);
        self.meant += other.meant;
        self.answered += other.answered;
        self.sent += other.sent;
        self.joined += other.joined;
        for (cause, count) in other.causes {
            *self.causes.entry(cause).or_default() += count;
        }
        for (step, count) in other.steps {
            *self.steps.entry(step).or_default() += count;
        }
    }
}

/// Plays all of the seeds. Every so often `progress` is told how many were played and how many failed.
#[must_use]
pub fn run(seeds: Range<u64>, progress: impl Fn(u64, u64) + Sync) -> Tally {
    let (next, failed, stop) = (AtomicU64::new(seeds.start), AtomicU64::new(0), AtomicBool::new(false));
    let tally = Mutex::new(Tally::default());
    let work = || {
        let counting = Counting::default();
        let mut own = Tally::default();
        counting.during(|| {
            while !stop.load(Ordering::Relaxed) {
                let (from, before) = (next.fetch_add(BATCH, Ordering::Relaxed), own.failed.len());
                for seed in from..seeds.end.min(from + BATCH) {
                    one(&mut own, seed);
                }
                if from >= seeds.end {
                    break;
                }
                let new = (own.failed.len() - before) as u64;
                let wrong = failed.fetch_add(new, Ordering::Relaxed) + new;
                if wrong >= ENOUGH {
                    stop.store(true, Ordering::Relaxed);
                }
                progress((from + BATCH).min(seeds.end) - seeds.start, wrong);
            }
        });
        own.steps = counting.steps();
        tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(own);
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut tally = tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    tally.failed.sort_by_key(|(seed, _)| *seed);
    tally
}

fn one(tally: &mut Tally, seed: u64) {
    tally.seeds += 1;
    // A panic is a finding like any other, and must name its seed.
    let played = match catch_unwind(AssertUnwindSafe(|| play(seed, false))) {
        Ok(played) => played,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let failure = Failure::new("panic", text.unwrap_or_default());
            return tally.failed.push((seed, vec![failure]));
        }
    };
    for outcome in &played.outcomes {
        *tally
            .causes
            .entry(outcome.cause.map_or("none", Cause::as_str))
            .or_default() += 1;
        if played.at_a_tenth && outcome.kind == Kind::Answered {
            tally.meant += 1;
            tally.answered += u64::from(outcome.answered);
        }
        if played.at_a_tenth && outcome.kind == Kind::Transfer && outcome.begun {
            tally.sent += 1;
            tally.joined += u64::from(outcome.answered);
        }
    }
    if !played.failures.is_empty() {
        tally.failed.push((seed, played.failures));
    }
}

/// What to say of a seed that failed.
#[must_use]
pub fn report(seed: u64, failures: &[Failure]) -> String {
    let mut text = format!("seed {seed} fails; replay it by `make sim SEED={seed}`\n");
    for failure in failures {
        text.push_str(&format!("  {}: {}\n", failure.check, failure.what));
    }
    text
}

/// Seeds that one thread takes at a time.
const BATCH: u64 = 50;
/// When so many have failed, more would say nothing new.
const ENOUGH: u64 = 20;
