//! The figures, as tables for people and as JSON.

use std::collections::BTreeMap;

use super::{Held, Options, Run};
use crate::lab::Result;
use crate::load::device::Kind;

/// Everything that was measured.
#[derive(Debug, Default, serde::Serialize)]
pub struct Report {
    secs: u32,
    callers: u32,
    callees: u32,
    challenged: bool,
    costs: BTreeMap<u32, BTreeMap<Kind, Vec<Run>>>,
    delays: BTreeMap<u32, BTreeMap<Kind, Run>>,
    rates: BTreeMap<u32, BTreeMap<Kind, Run>>,
    held: BTreeMap<Kind, Held>,
}

impl Report {
    /// Nothing yet.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self {
            secs: options.secs,
            callers: options.callers,
            callees: options.callees,
            challenged: options.challenged,
            ..Self::default()
        }
    }

    /// One more run for the processor time of calls.
    pub fn add_cost(&mut self, kind: Kind, run: Run) {
        let of_rate = self.costs.entry(run.rate).or_default();
        of_rate.entry(kind).or_default().push(run);
    }

    /// The delays at one rate.
    pub fn add_delay(&mut self, kind: Kind, run: Run) {
        self.delays.entry(run.rate).or_default().insert(kind, run);
    }

    /// What came of one rate.
    pub fn add_rate(&mut self, kind: Kind, run: Run) {
        self.rates.entry(run.rate).or_default().insert(kind, run);
    }

    /// What calls cost this device that are up.
    pub fn add_held(&mut self, kind: Kind, held: Held) {
        self.held.insert(kind, held);
    }

    /// How many calls and messages `cusax` failed in, but for those of the sweep, where failures are the figure.
    #[must_use]
    pub fn failed(&self) -> u32 {
        let costs = self
            .costs
            .values()
            .filter_map(|kinds| kinds.get(&Kind::Cusax))
            .flatten();
        let delays = self.delays.values().filter_map(|kinds| kinds.get(&Kind::Cusax));
        let held = self.held.get(&Kind::Cusax).into_iter().flat_map(parts);
        costs.chain(delays).chain(held).map(|run| run.tally.failed()).sum()
    }

    /// Everything, for programs.
    ///
    /// # Errors
    /// None that is known of.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Processor time.
    pub fn print_costs(&self) {
        for (rate, kinds) in &self.costs {
            let challenge = if self.challenged { ", each challenged" } else { "" };
            println!(
                "\n{rate} calls (INVITE, 180, 200, ACK, BYE, 200{challenge}) a second for {} s, by {} callers and {} callees\n",
                self.secs, self.callers, self.callees
            );
            println!(
                "{:28}{:>9}{:>9}{:>9}{:>12}",
                "CPU s for 1000", "min", "median", "max", "generator"
            );
            for (kind, runs) in kinds {
                let sorted = sorted(runs);
                let own = runs
                    .iter()
                    .map(|run| run.tally.own_cpu * 1000.0 / f64::from(run.tally.begun.max(1)));
                println!(
                    "{:28}{:>9.4}{:>9.4}{:>9.4}{:>12.4}",
                    kind.name(),
                    sorted[0],
                    sorted[sorted.len() / 2],
                    sorted[sorted.len() - 1],
                    own.fold(0.0, f64::max),
                );
            }
            let median = |kind| {
                let sorted = sorted(kinds.get(&kind)?);
                sorted.get(sorted.len() / 2).copied()
            };
            for kind in [Kind::Kamailio, Kind::Null] {
                if let (Some(ours), Some(other)) = (median(Kind::Cusax), median(kind)) {
                    println!("{:28}{:>18.2}", format!("cusax / {}", kind.name()), ours / other);
                }
            }
            print_failures(
                kinds
                    .iter()
                    .flat_map(|(kind, runs)| runs.iter().map(|run| (*kind, run))),
            );
        }
    }

    /// Delays, with what a device adds to the one that does no work.
    pub fn print_delays(&self) {
        for (rate, kinds) in &self.delays {
            println!("\nINVITE and 180 on their way at {rate} calls a second, without the time in the phones\n");
            println!(
                "{:28}{:>9}{:>9}{:>12}{:>12}{:>9}",
                "microseconds", "p50", "p99", "added p50", "added p99", "calls"
            );
            let floor = kinds.get(&Kind::Null).map(|run| run.tally.delay);
            for (kind, run) in kinds {
                let delay = run.tally.delay;
                print!("{:28}{:>9.0}{:>9.0}", kind.name(), delay.p50, delay.p99);
                match floor {
                    Some(floor) => print!("{:>12.0}{:>12.0}", delay.p50 - floor.p50, delay.p99 - floor.p99),
                    None => print!("{:>12}{:>12}", "", ""),
                }
                println!("{:>9}", delay.samples);
            }
            print_failures(kinds.iter().map(|(kind, run)| (*kind, run)));
        }
    }

    /// Which rates are held.
    pub fn print_rates(&self) {
        if self.rates.is_empty() {
            return;
        }
        println!("\nshare of calls that failed, and messages sent again for each call\n");
        let kinds: Vec<Kind> = self.rates.values().flat_map(BTreeMap::keys).copied().collect();
        let mut kinds: Vec<Kind> = kinds;
        kinds.sort_unstable();
        kinds.dedup();
        print!("{:28}", "calls a second");
        for kind in &kinds {
            print!("{:>10} failed    again", kind.name());
        }
        println!();
        for (rate, runs) in &self.rates {
            print!("{rate:<28}");
            for kind in &kinds {
                match runs.get(kind).map(|run| &run.tally) {
                    Some(tally) => {
                        let of_begun = |count: u32| f64::from(count) / f64::from(tally.begun.max(1));
                        print!(
                            "{:>16.2}%{:>9.3}",
                            100.0 * of_begun(tally.failed()),
                            of_begun(tally.retransmitted)
                        );
                    }
                    None => print!("{:>26}", ""),
                }
            }
            println!();
        }
        let runs = self.rates.values().flat_map(|kinds| kinds.iter());
        print_failures(runs.map(|(kind, run)| (*kind, run)));
    }

    /// What calls cost that are up.
    pub fn print_held(&self) {
        if self.held.is_empty() {
            return;
        }
        println!("\ncalls that are up\n");
        print!("{:44}", "");
        for kind in self.held.keys() {
            print!("{:>12}", kind.name());
        }
        println!();
        let kib = |at: usize| {
            move |held: &Held| {
                let grown = held.memory[at] as f64 - held.memory[0] as f64;
                grown / f64::from(held.up[at].max(1)) / 1024.0
            }
        };
        self.row("calls, the first time", |held| f64::from(held.up[1]), 0);
        self.row("KiB for each", kib(1), 2);
        self.row("calls, the second time", |held| f64::from(held.up[2]), 0);
        self.row("KiB for each", kib(2), 2);
        let mib = |at: usize| move |held: &Held| held.memory[at] as f64 / 1_048_576.0;
        self.row("MiB before", mib(0), 1);
        self.row("MiB with the second", mib(2), 1);
        self.row("MiB after their end", mib(3), 1);
        self.row("CPU s for 1000 INFO in few calls", |held| held.few.cpu_per_thousand, 4);
        self.row("CPU s for 1000 INFO in all calls", |held| held.many.cpu_per_thousand, 4);
        let ratio = |held: &Held| held.many.cpu_per_thousand / held.few.cpu_per_thousand;
        self.row("all / few", ratio, 2);
        let runs = self.held.iter();
        print_failures(runs.flat_map(|(kind, held)| parts(held).map(|run| (*kind, run))));
    }

    fn row(&self, what: &str, figure: impl Fn(&Held) -> f64, digits: usize) {
        print!("{what:44}");
        for held in self.held.values() {
            print!("{:>12.digits$}", figure(held));
        }
        println!();
    }
}

fn print_failures<'a>(runs: impl Iterator<Item = (Kind, &'a Run)>) {
    let mut whole = true;
    for (
        kind,
        Run {
            rate, tally, records, ..
        },
    ) in runs
    {
        let lost = records.filter(|written| *written < tally.done && *written > 0);
        if tally.failed() == 0 && tally.retransmitted == 0 && lost.is_none() {
            continue;
        }
        whole = false;
        print!(
            "{} at {rate}: of {} begun {} done, {} unanswered, {} dropped, {} overrun, {} sent again; refused: {:?}",
            kind.name(),
            tally.begun,
            tally.done,
            tally.unanswered,
            tally.dropped,
            tally.overrun,
            tally.retransmitted,
            tally.refused
        );
        match lost {
            Some(written) => println!("; {written} call records"),
            None => println!(),
        }
    }
    if whole {
        println!("everything was answered 200, nothing sent again");
    }
}

fn parts(held: &Held) -> impl Iterator<Item = &Run> {
    [&held.few, &held.many].into_iter().chain(&held.rest)
}

/// Processor seconds for 1,000, the least first.
fn sorted(runs: &[Run]) -> Vec<f64> {
    let mut figures: Vec<f64> = runs.iter().map(|run| run.cpu_per_thousand).collect();
    figures.sort_by(f64::total_cmp);
    figures
}
