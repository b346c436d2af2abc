//! Plays seeds of the simulated world with faults: many in silence, or one aloud.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use cusax_tests::sim::storm::{campaign, play};

fn main() -> ExitCode {
    let number = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let parsed = |name: &str, otherwise: u64| match number(name) {
        Some(text) => text.replace('_', "").parse(),
        None => Ok(otherwise),
    };
    let (Ok(seeds), Ok(from), Ok(seed)) = (parsed("SEEDS", MANY), parsed("FROM", 0), parsed("SEED", 0)) else {
        eprintln!("SEEDS, FROM and SEED are numbers");
        return ExitCode::FAILURE;
    };
    if number("SEED").is_some() {
        one(seed)
    } else {
        many(from, seeds)
    }
}

fn one(seed: u64) -> ExitCode {
    let played = play(seed, true);
    println!("{:#?}", played.outcomes);
    if played.failures.is_empty() {
        println!("seed {seed} holds");
        return ExitCode::SUCCESS;
    }
    print!("{}", campaign::report(seed, &played.failures));
    ExitCode::FAILURE
}

fn many(from: u64, seeds: u64) -> ExitCode {
    let aloud = std::io::stderr().is_terminal();
    let tally = campaign::run(from..from + seeds, |played, failed| {
        // A file that keeps the lines wants a few of them.
        if aloud {
            eprint!("\r{played} of {seeds} played, {failed} failed ");
            let _ = std::io::stderr().flush();
        } else if played.is_multiple_of(100_000) {
            eprintln!("{played} of {seeds} played, {failed} failed");
        }
    });
    if aloud {
        eprintln!();
    }
    for (cause, count) in &tally.causes {
        println!("{count:>9} {cause}");
    }
    println!(
        "{} of {} calls meant to be answered were, at 10 % loss",
        tally.answered, tally.meant
    );
    println!("{} of {} transfers likewise", tally.joined, tally.sent);
    println!("{} steps of the transaction machines taken", tally.steps.len());
    if std::env::var_os("STEPS").is_some() {
        for (step, count) in &tally.steps {
            println!("{count:>9} {step}");
        }
    }
    for (seed, failures) in &tally.failed {
        print!("{}", campaign::report(*seed, failures));
    }
    println!("{} seeds, {} failed", tally.seeds, tally.failed.len());
    if tally.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// How many are played where nobody says how many.
const MANY: u64 = 1_000_000;
