//! Calls without media: ours beside Debian's Kamailio, a proxy, and a device that passes on and does no work, in one run.
//!
//! INVITE, 407, ACK, INVITE with the proof, 100, 180, 200, ACK, BYE, 200. As real phones do, a caller keeps its nonce and
//! counts its proofs, so that only its first call of a while is challenged.
//!
//! - [`exchange`]: the phones; `caller.rs`, `callee.rs`: its two ends; [`text`]: what they write.
//! - [`tally`]: what came of it; [`report`]: the tables.

mod callee;
mod caller;
pub mod exchange;
pub mod report;
pub mod tally;
pub mod text;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use self::exchange::{Act, Crowd, Exchange, Load};
use self::report::Report;
use self::tally::Tally;
use super::device::{Device, Kind, Purpose};
use super::users;
use crate::lab::{Context as _, Result, Scratch, signals};

/// What is to be measured, and how much of it.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// What is measured
    #[arg(long, value_delimiter = ',', default_value = "cost,delay,rate,held")]
    only: Vec<Measure>,
    /// cost: calls that begin in a second
    #[arg(long, value_delimiter = ',', default_value = "1000,200")]
    rates: Vec<u32>,
    /// cost: seconds of a run
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    secs: u32,
    /// cost: runs of each device, in turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// delay: calls that begin in a second
    #[arg(long, value_delimiter = ',', default_value = "50,200")]
    delay_rates: Vec<u32>,
    /// delay: seconds for each rate
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=600))]
    delay_secs: u32,
    /// rate: calls that begin in a second, in this order
    #[arg(long, value_delimiter = ',', default_value = "1000,2000,3000,5000,7000")]
    sweep: Vec<u32>,
    /// rate: seconds for each rate
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=600))]
    sweep_secs: u32,
    /// held: calls that are up at once when memory is looked at
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    held: u32,
    /// held: calls that are up at once when messages are measured, at most
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    dialogs: u32,
    /// held: calls or messages that begin in a second
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    held_rate: u32,
    /// held: seconds of messages
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    held_secs: u32,
    /// held: seconds of calls before memory is looked at first. More than 32, for which a device remembers what it answered
    #[arg(long, default_value_t = 35, value_parser = clap::value_parser!(u32).range(1..=600))]
    warm_secs: u32,
    /// Phones that call in turn
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    callers: u32,
    /// Phones that are called in turn
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    callees: u32,
    /// Callers forget their nonces, so that each call is challenged
    #[arg(long)]
    challenged: bool,
    /// The devices
    #[arg(long, value_delimiter = ',', default_value = "cusax,anchored,kamailio,null")]
    devices: Vec<Kind>,
    /// A file for the same figures as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One kind of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measure {
    /// Processor time for each call.
    Cost,
    /// How long a device keeps an INVITE and its 180.
    Delay,
    /// What share of the calls fails at which rate.
    Rate,
    /// Memory for each call that is up, and processor time for messages within calls.
    Held,
}

/// One run of one device.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Run {
    /// Calls or messages in a second.
    pub rate: u32,
    /// What came of it.
    pub tally: Tally,
    /// Processor seconds of the device for 1,000 of what was done.
    pub cpu_per_thousand: f64,
    /// Call records that it wrote, of those that write any.
    pub records: Option<u32>,
}

/// What calls cost that are up.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Held {
    /// Messages within a few calls.
    pub few: Run,
    /// Messages within all calls.
    pub many: Run,
    /// What was raised and ended for that.
    pub rest: Vec<Run>,
    /// How many calls were up at the looks at the memory.
    pub up: [u32; 4],
    /// Bytes: before, with the calls for that, with all, and after their end.
    pub memory: [u64; 4],
}

/// Measures everything and prints it. Tells how many calls and messages of ours failed where none should.
///
/// # Errors
/// When a device does not come up, or the system refuses something.
pub fn measure(options: &Options) -> Result<u32> {
    signals::end_cleanly()?;
    let scratch = Scratch::new("load")?;
    let store = scratch.file("cusax.db");
    users::store(&store, options.callers + options.callees)?;
    let mut report = Report::new(options);
    if options.only.contains(&Measure::Cost) {
        for _ in 0..options.runs {
            for &kind in &options.devices {
                let mut bench = Bench::start(options, kind, &store)?;
                for &rate in &options.rates {
                    report.add_cost(kind, bench.run(Act::Call, rate * options.secs, rate)?);
                }
            }
        }
        report.print_costs();
    }
    if options.only.contains(&Measure::Delay) {
        for &kind in &options.devices {
            let mut bench = Bench::start(options, kind, &store)?;
            for &rate in &options.delay_rates {
                report.add_delay(kind, bench.run(Act::Call, rate * options.delay_secs, rate)?);
            }
        }
        report.print_delays();
    }
    if options.only.contains(&Measure::Rate) {
        for &kind in &options.devices {
            let mut bench = Bench::start(options, kind, &store)?;
            for &rate in &options.sweep {
                report.add_rate(kind, bench.run(Act::Call, rate * options.sweep_secs, rate)?);
            }
        }
        report.print_rates();
    }
    if options.only.contains(&Measure::Held) {
        for &kind in options.devices.iter().filter(|kind| **kind != Kind::Null) {
            report.add_held(kind, held(options, kind, &store)?);
        }
        report.print_held();
    }
    if let Some(file) = &options.json {
        std::fs::write(file, report.json()?).context(file.display())?;
    }
    Ok(report.failed())
}

fn held(options: &Options, kind: Kind, store: &Path) -> Result<Held> {
    let mut bench = Bench::start(options, kind, store)?;
    let (rate, messages) = (options.held_rate, options.held_rate * options.held_secs);
    // Each relayed call has four descriptors, of which a process has few.
    let most = if kind == Kind::Anchored { RELAYED } else { u32::MAX };
    // What is remembered of each request for a while is there before and after.
    let mut rest = vec![bench.run(Act::Call, options.warm_secs * rate, rate)?];
    let mut raise = |bench: &mut Bench<'_>, wanted: u32| -> Result<(u32, u64)> {
        let more = wanted.saturating_sub(bench.up());
        rest.push(bench.run(Act::Raise, more, rate)?);
        Ok((bench.up(), bench.device.usage()?.memory))
    };
    let before = bench.device.usage()?.memory;
    let few_up = FEW.min(options.dialogs);
    raise(&mut bench, few_up)?;
    let few = bench.run(Act::Message, messages, rate)?;
    let some = raise(&mut bench, options.held.min(most))?;
    let all = raise(&mut bench, options.dialogs.min(most))?;
    let many = bench.run(Act::Message, messages, rate)?;
    let up = bench.up();
    rest.push(bench.run(Act::HangUp, up, rate)?);
    let after = bench.device.usage()?.memory;
    Ok(Held {
        few,
        many,
        rest,
        up: [0, some.0, all.0, 0],
        memory: [before, some.1, all.1, after],
    })
}

/// A device with its phones.
struct Bench<'a> {
    device: Device,
    exchange: Exchange,
    store: &'a Path,
    kind: Kind,
}

impl<'a> Bench<'a> {
    fn start(options: &Options, kind: Kind, store: &'a Path) -> Result<Self> {
        let device = Device::start(kind, Purpose::Calls, store)?;
        let crowd = Crowd {
            callers: options.callers,
            callees: options.callees,
            forgetful: options.challenged,
        };
        let mut exchange = Exchange::new(crowd, device.address)?;
        // Each has called before: what a device reads once of each user, and its first challenge, are not measured.
        let turns = options.callers.max(options.callees);
        exchange.run(Load {
            act: Act::Call,
            count: turns,
            rate: WARMING,
        })?;
        device.rest()?;
        Ok(Self {
            device,
            exchange,
            store,
            kind,
        })
    }

    fn up(&self) -> u32 {
        u32::try_from(self.exchange.up()).unwrap_or(u32::MAX)
    }

    /// One run, and what the device used for it until it rests: it may write records for a while.
    fn run(&mut self, act: Act, count: u32, rate: u32) -> Result<Run> {
        let (before, recorded) = (self.device.usage()?.cpu, self.records()?);
        let tally = self.exchange.run(Load { act, count, rate })?;
        let used = self.device.rest()? - before;
        let written = self
            .records()?
            .zip(recorded)
            .map(|(now, then)| now.saturating_sub(then));
        Ok(Run {
            rate,
            cpu_per_thousand: used * 1000.0 / f64::from(tally.done.max(1)),
            tally,
            records: written,
        })
    }

    fn records(&self) -> Result<Option<u32>> {
        matches!(self.kind, Kind::Cusax | Kind::Anchored)
            .then(|| users::records(self.store))
            .transpose()
    }
}

/// Calls that are up at once through the relay, at most.
const RELAYED: u32 = 4000;
/// How many calls are few.
const FEW: u32 = 100;
/// Calls in a second before anything is measured.
const WARMING: u32 = 500;
