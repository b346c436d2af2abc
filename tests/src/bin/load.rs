//! Registrations and calls under load, ours beside Debian's Kamailio: prints the tables.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cusax_tests::lab::signals;
use cusax_tests::load::{calls, null, registrations};

/// Measures what registrations and calls cost.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures registrations and prints the tables.
    Registrations(registrations::Options),
    /// Measures calls without media and prints the tables.
    Calls(calls::Options),
    /// Is the device that does no work.
    #[command(hide = true)]
    Null {
        /// Where to listen.
        address: SocketAddr,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Registrations(options) => registrations::measure(&options),
        Command::Calls(options) => calls::measure(&options),
        Command::Null { address } => null::serve(address).map(|()| 0),
    };
    match outcome {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("load: {failed} of ours failed");
            ExitCode::FAILURE
        }
        Err(fault) => {
            signals::wait_if_ending();
            eprintln!("load: {fault}");
            ExitCode::FAILURE
        }
    }
}
