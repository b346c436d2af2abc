//! Registrations: ours beside Debian's Kamailio and a device that does no work, in one run.
//!
//! - [`generator`]: the phones.
//! - [`report`]: the tables.

pub mod generator;
pub mod report;

use std::path::{Path, PathBuf};

use clap::Args;

use self::generator::{Load, Phones, Tally};
use self::report::Report;
use super::device::{Device, Kind, Purpose};
use super::users;
use crate::lab::{Context as _, Result, Scratch, signals};

/// How much is to be measured.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Registrations that begin in a second
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Seconds of such a run
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    secs: u32,
    /// Phones that take turns meanwhile
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    users: u32,
    /// Runs of each device, in turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Phones that are registered at once; 0 leaves these measurements out
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(0..=200_000))]
    phones: u32,
    /// Refreshes that begin in a second
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    refresh_rate: u32,
    /// Seconds for which they go on; memory is looked at in the middle and at the end. More than 32, for which a device
    /// remembers what it answered
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(2..=3600))]
    refresh_secs: u32,
    /// The devices
    #[arg(long, value_delimiter = ',', default_value = "cusax,kamailio,null")]
    devices: Vec<Kind>,
    /// A file for the same figures as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One run of one device.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Run {
    /// What came of it.
    pub tally: Tally,
    /// Processor seconds of the device for 1,000 registrations.
    pub cpu_per_thousand: f64,
}

/// What many phones that are registered at once cost.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Crowd {
    /// Refreshes of a few phones.
    pub few: Run,
    /// The registrations of all.
    pub arrival: Run,
    /// Refreshes of all in turn, in two halves.
    pub many: [Run; 2],
    /// Bytes of memory: with a few phones, with all, and after each half of the refreshes.
    pub memory: [u64; 4],
    /// How many phones there were beyond the few.
    pub bindings: u32,
}

/// Measures everything and prints it. Tells how many registrations failed.
///
/// # Errors
/// When a device does not come up, or the system refuses something.
pub fn measure(options: &Options) -> Result<u32> {
    signals::end_cleanly()?;
    let scratch = Scratch::new("load")?;
    let store = scratch.file("cusax.db");
    users::store(&store, options.users.max(options.phones))?;

    let mut report = Report::new(options);
    for _ in 0..options.runs {
        for &kind in &options.devices {
            let device = Device::start(kind, Purpose::Registrations, &store)?;
            let mut phones = Phones::new(options.users, device.address)?;
            // Each has registered before: what a device reads once of each user is measured by itself, below.
            run(
                &device,
                &mut phones,
                Load {
                    phones: options.users,
                    registrations: options.users,
                    rate: options.refresh_rate,
                },
            )?;
            let load = Load {
                phones: options.users,
                registrations: options.rate * options.secs,
                rate: options.rate,
            };
            report.add_run(kind, run(&device, &mut phones, load)?);
        }
    }
    report.print_runs();
    for &kind in options.devices.iter().filter(|kind| **kind != Kind::Null) {
        if options.phones > FEW {
            report.add_crowd(kind, crowd(options, kind, &store)?);
        }
    }
    report.print_crowds();
    if let Some(file) = &options.json {
        std::fs::write(file, report.json()?).context(file.display())?;
    }
    Ok(report.failed())
}

fn crowd(options: &Options, kind: Kind, store: &Path) -> Result<Crowd> {
    let device = Device::start(kind, Purpose::Registrations, store)?;
    let mut phones = Phones::new(options.phones, device.address)?;
    let refreshes = |phones, secs| Load {
        phones,
        registrations: options.refresh_rate * secs,
        rate: options.refresh_rate,
    };
    // Always at the same rate, so that what is remembered of each request for a while is the same at every look at the
    // memory.
    let few = run(&device, &mut phones, refreshes(FEW, options.refresh_secs))?;
    let before = device.usage()?.memory;
    let all = Load {
        phones: options.phones,
        registrations: options.phones,
        rate: options.refresh_rate,
    };
    let arrival = run(&device, &mut phones, all)?;
    let arrived = device.usage()?.memory;
    let first = run(
        &device,
        &mut phones,
        refreshes(options.phones, options.refresh_secs / 2),
    )?;
    let middle = device.usage()?.memory;
    let second = run(
        &device,
        &mut phones,
        refreshes(options.phones, options.refresh_secs / 2),
    )?;
    let end = device.usage()?.memory;
    Ok(Crowd {
        few,
        arrival,
        many: [first, second],
        memory: [before, arrived, middle, end],
        bindings: options.phones - FEW,
    })
}

fn run(device: &Device, phones: &mut Phones, load: Load) -> Result<Run> {
    let before = device.usage()?.cpu;
    let tally = phones.register(load)?;
    let used = device.usage()?.cpu - before;
    Ok(Run {
        cpu_per_thousand: used * 1000.0 / f64::from(tally.registered.max(1)),
        tally,
    })
}

/// How many phones are few.
const FEW: u32 = 100;
