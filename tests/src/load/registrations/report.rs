//! The figures, as tables for people and as JSON.

use std::collections::BTreeMap;

use super::{Crowd, Options, Run};
use crate::lab::Result;
use crate::load::device::Kind;

/// Everything that was measured.
#[derive(Debug, serde::Serialize)]
pub struct Report {
    rate: u32,
    secs: u32,
    users: u32,
    phones: u32,
    refresh_rate: u32,
    registrations: BTreeMap<Kind, Vec<Run>>,
    crowds: BTreeMap<Kind, Crowd>,
}

impl Report {
    /// Nothing yet.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self {
            rate: options.rate,
            secs: options.secs,
            users: options.users,
            phones: options.phones,
            refresh_rate: options.refresh_rate,
            registrations: BTreeMap::new(),
            crowds: BTreeMap::new(),
        }
    }

    /// One more run.
    pub fn add_run(&mut self, kind: Kind, run: Run) {
        self.registrations.entry(kind).or_default().push(run);
    }

    /// What many phones cost this device.
    pub fn add_crowd(&mut self, kind: Kind, crowd: Crowd) {
        self.crowds.insert(kind, crowd);
    }

    /// How many registrations `cusax` did not answer as it should; what others leave out only stands in the tables.
    #[must_use]
    pub fn failed(&self) -> u32 {
        let ours = self.all().filter(|(kind, _)| *kind == Kind::Cusax);
        ours.map(|(_, run)| run.tally.failed()).sum()
    }

    /// Everything, for programs.
    ///
    /// # Errors
    /// None that is known of.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The first table.
    pub fn print_runs(&self) {
        println!(
            "\n{} registrations (REGISTER, 401, REGISTER, 200) a second for {} s, by {} phones in turn\n",
            self.rate, self.secs, self.users
        );
        println!(
            "{:28}{:>9}{:>9}{:>9}{:>12}",
            "CPU s for 1000", "min", "median", "max", "generator"
        );
        let ours = self.median(Kind::Cusax);
        for (&kind, runs) in &self.registrations {
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
        for kind in [Kind::Kamailio, Kind::Null] {
            if let (Some(ours), Some(other)) = (ours, self.median(kind)) {
                println!("{:28}{:>18.2}", format!("cusax / {}", kind.name()), ours / other);
            }
        }
        self.print_failures(
            self.registrations
                .iter()
                .flat_map(|(kind, runs)| runs.iter().map(|run| (*kind, run))),
        );
    }

    /// The second table.
    pub fn print_crowds(&self) {
        if self.crowds.is_empty() {
            return;
        }
        println!(
            "\n{} phones registered at once, {} refreshes a second\n",
            self.phones, self.refresh_rate
        );
        print!("{:44}", "");
        for kind in self.crowds.keys() {
            print!("{:>12}", kind.name());
        }
        println!();
        self.row(
            "CPU s for 1000 refreshes, few phones",
            |crowd| crowd.few.cpu_per_thousand,
            4,
        );
        let many = |crowd: &Crowd| crowd.many.iter().map(|run| run.cpu_per_thousand).sum::<f64>() / 2.0;
        self.row("CPU s for 1000 refreshes, all phones", many, 4);
        self.row("all / few", |crowd| many(crowd) / crowd.few.cpu_per_thousand, 2);
        let kib = |from: usize, to: usize| {
            move |crowd: &Crowd| {
                let grown = crowd.memory[to] as f64 - crowd.memory[from] as f64;
                grown / f64::from(crowd.bindings) / 1024.0
            }
        };
        self.row("KiB for each binding, all registered", kib(0, 1), 3);
        self.row("KiB for each binding, after refreshes", kib(0, 3), 3);
        let mib = |at: usize| move |crowd: &Crowd| crowd.memory[at] as f64 / 1_048_576.0;
        self.row("MiB, few phones", mib(0), 1);
        self.row("MiB, all registered", mib(1), 1);
        self.row("MiB, in the middle of the refreshes", mib(2), 1);
        self.row("MiB, at their end", mib(3), 1);
        self.print_failures(
            self.crowds
                .iter()
                .flat_map(|(kind, crowd)| parts(crowd).map(|run| (*kind, run))),
        );
    }

    fn row(&self, what: &str, figure: impl Fn(&Crowd) -> f64, digits: usize) {
        print!("{what:44}");
        for crowd in self.crowds.values() {
            print!("{:>12.digits$}", figure(crowd));
        }
        println!();
    }

    fn print_failures<'a>(&self, runs: impl Iterator<Item = (Kind, &'a Run)>) {
        let mut whole = true;
        for (kind, Run { tally, .. }) in runs {
            if tally.failed() > 0 || tally.retransmitted > 0 {
                whole = false;
                println!(
                    "{}: of {} begun {} registered, {} unanswered, {} overrun, {} sent again; refused: {:?}",
                    kind.name(),
                    tally.begun,
                    tally.registered,
                    tally.unanswered,
                    tally.overrun,
                    tally.retransmitted,
                    tally.refused
                );
            }
        }
        if whole {
            println!("all answered 200, nothing sent again");
        }
    }

    fn median(&self, kind: Kind) -> Option<f64> {
        let sorted = sorted(self.registrations.get(&kind)?);
        sorted.get(sorted.len() / 2).copied()
    }

    fn all(&self) -> impl Iterator<Item = (Kind, &Run)> {
        let registrations = self
            .registrations
            .iter()
            .flat_map(|(kind, runs)| runs.iter().map(|run| (*kind, run)));
        registrations.chain(
            self.crowds
                .iter()
                .flat_map(|(kind, crowd)| parts(crowd).map(|run| (*kind, run))),
        )
    }
}

fn parts(crowd: &Crowd) -> impl Iterator<Item = &Run> {
    [&crowd.few, &crowd.arrival].into_iter().chain(&crowd.many)
}

/// Processor seconds for 1,000 registrations, the least first.
fn sorted(runs: &[Run]) -> Vec<f64> {
    let mut figures: Vec<f64> = runs.iter().map(|run| run.cpu_per_thousand).collect();
    figures.sort_by(f64::total_cmp);
    figures
}
