//! The demonstration: real clients, real servers, and every line checked before it is printed.
//!
//! [`cast`] draws who takes part, [`stack`] starts the servers, [`stage`] the clients; the [`steps`] follow the path
//! that a user takes, one file a step.

mod cast;
mod options;
mod report;
mod stack;
mod stage;
mod steps;

pub use options::{Break, Options, Store};

use crate::lab::{Fault, Result, signals};
use cast::Cast;
use report::{Report, say};
use stage::Stage;

/// Gives the demonstration.
///
/// # Errors
/// When a line does not hold, or when nothing was noticed although a mechanism was switched off.
pub fn show(options: &Options) -> Result<()> {
    signals::end_cleanly()?;
    let seed = options
        .seed
        .unwrap_or_else(|| u64::from(std::process::id()) << 20 ^ u64::from(crate::lab::wait::wall().subsec_nanos()));
    say(format_args!(
        "The whole path with real clients. SEED={seed} draws the same people, numbers and sounds again."
    ));
    if let Some(broken) = options.broken {
        say(format_args!("Switched off: {broken:?}. The demonstration must notice."));
    }
    let mut report = Report::new();
    give(options, seed, &mut report)?;
    say(format_args!(
        "\n{} lines held, in {:.0} s.",
        report.lines(),
        report.seconds()
    ));
    match options.broken {
        None => Ok(()),
        Some(broken) => Err(Fault::new(format_args!(
            "nobody noticed that {broken:?} was switched off"
        ))),
    }
}

fn give(options: &Options, seed: u64, report: &mut Report) -> Result<()> {
    let mut stage = Stage::set(options, Cast::draw(seed))?;
    steps::login::show(&mut stage, report)?;
    steps::registration::show(&mut stage, report)?;
    steps::call::show(&mut stage, report)?;
    steps::phones::show(&mut stage, report)?;
    steps::charge::show(&mut stage, report)?;
    steps::mallory::show(&mut stage, report)?;
    steps::records::show(&mut stage, report)
}

/// Runs the servers on this machine's loopback until Ctrl-C.
///
/// # Errors
/// When they do not come up.
pub fn serve(options: &Options) -> Result<()> {
    signals::end_cleanly()?;
    stack::serve(options, &Cast::draw(options.seed.unwrap_or(1)))
}
