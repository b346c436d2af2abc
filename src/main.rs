//! The command line.

mod cli;
mod wiring;

fn main() -> std::process::ExitCode {
    cli::run()
}
