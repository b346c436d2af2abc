//! The demonstration, and the same servers for clients of one's own.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cusax_tests::demo::{self, Options};

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
    let outcome = match Arguments::parse().command {
        Command::Show(options) => demo::show(&options),
        Command::Serve(options) => demo::serve(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("demo: {fault}");
            ExitCode::FAILURE
        }
    }
}
