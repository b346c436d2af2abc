//! The demonstration, and the same servers for clients of one's own.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cusax_tests::demo::{self, Options};
use cusax_tests::lab::signals;

/// Shows cusax with real phones, chat clients and servers.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Gives the demonstration; every line is checked.
    Show(Options),
    /// Runs the servers on this machine's loopback until Ctrl-C.
    Serve(Options),
}

fn main() -> ExitCode {
    // Scratch folders hold secrets, though only for a while.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let outcome = match Arguments::parse().command {
        Command::Show(options) => demo::show(&options),
        Command::Serve(options) => demo::serve(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            signals::wait_if_ending();
            eprintln!("demo: {fault}");
            ExitCode::FAILURE
        }
    }
}
