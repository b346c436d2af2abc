//! Registrations under load, ours beside Debian's Kamailio: prints the tables.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cusax_tests::lab::signals;
use cusax_tests::load::{self, Options, device};

/// Measures what registrations cost.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures and prints the tables.
    Registrations(Options),
    /// Is the device that does no work.
    #[command(hide = true)]
    Null {
        /// Where to listen.
        address: SocketAddr,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Registrations(options) => load::measure(&options),
        Command::Null { address } => device::serve_null(address).map(|()| 0),
    };
    match outcome {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("load: {failed} registrations failed");
            ExitCode::FAILURE
        }
        Err(fault) => {
            signals::wait_if_ending();
            eprintln!("load: {fault}");
            ExitCode::FAILURE
        }
    }
}
