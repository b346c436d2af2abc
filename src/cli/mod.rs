//! One command a file. Each gives an [`Answer`] or a [`Failure`]; only this file prints and exits.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cusax_common::core::config::Config;
use cusax_common::core::store::StoreError;
use cusax_common::io::config::{DEFAULT_PATH, load, load_without_secrets};
use cusax_common::io::store::Store;

pub mod failure;

mod ask;
mod call;
mod calls;
mod check;
mod config;
mod reload;
mod table;
mod user;

use failure::{Exit, Failure};

/// The server side of CUSAX (RFC 7081): SIP and XMPP as one service.
#[derive(Debug, Parser)]
#[command(name = "cusax", version, arg_required_else_help = true)]
struct Cli {
    /// The configuration file; conf.d/*.toml beside it is read as well
    #[arg(long, global = true, value_name = "PATH", env = "CUSAX_CONFIG", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// Answer in JSON, errors included
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service until SIGTERM or SIGINT; SIGHUP reloads
    Serve,
    /// Add, list, show and remove users
    #[command(subcommand)]
    User(user::Command),
    /// Have a user called, and then joined with somebody
    Call(call::Arguments),
    /// List calls, the latest first
    Calls(calls::Arguments),
    /// Tell everything that is wrong with the configuration and the stores
    Check,
    /// Print the sample, the reference, or the configuration in force with secrets as ***
    #[command(subcommand)]
    Config(config::Command),
    /// Make the running service read its configuration again; calls go on
    Reload,
}

/// What a command has to say, for people and for programs.
#[derive(Debug)]
pub struct Answer {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: serde_json::Value,
    /// Success, or what a check found.
    pub exit: Option<Exit>,
}

impl Answer {
    fn new(text: String, json: serde_json::Value) -> Self {
        Self { text, json, exit: None }
    }
}

/// Reads the command line, does what it says, and gives the exit status.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // The arguments could not be read, so that whoever wants JSON is found by the word.
            if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
                return complain(
                    &Failure::new(Exit::Usage, error.to_string().trim_end().to_owned()),
                    true,
                );
            }
            // Help and version are answers; a closed pipe is no reason to complain.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let json = cli.json;
    match answer(cli) {
        Ok(answer) => {
            let text = if json {
                format!("{:#}\n", answer.json)
            } else {
                answer.text
            };
            match print(&text) {
                Ok(()) => answer.exit.map_or(ExitCode::SUCCESS, ExitCode::from),
                Err(failure) => complain(&failure, json),
            }
        }
        Err(failure) => complain(&failure, json),
    }
}

fn answer(cli: Cli) -> Result<Answer, Failure> {
    match cli.command {
        Command::Config(config::Command::Sample) => Ok(config::sample()),
        Command::Config(config::Command::Reference) => Ok(config::reference()),
        Command::Config(config::Command::Show) => Ok(config::show(&load(&cli.config)?)),
        Command::Serve => crate::wiring::serve(load(&cli.config)?, &cli.config),
        Command::User(command) => user::run(load_without_secrets(&cli.config)?, command),
        Command::Call(arguments) => call::run(&load_without_secrets(&cli.config)?, arguments),
        Command::Calls(arguments) => calls::run(load_without_secrets(&cli.config)?, arguments),
        Command::Check => check::run(load(&cli.config)?),
        Command::Reload => reload::run(&load_without_secrets(&cli.config)?),
    }
}

/// Writes to standard output. Whoever closed the pipe has read enough.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::CannotCreate, format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn complain(failure: &Failure, json: bool) -> ExitCode {
    let text = if json {
        format!("{:#}\n", failure.to_json())
    } else {
        format!("{failure}\n")
    };
    let _ = io::stderr().lock().write_all(text.as_bytes());
    failure.exit.into()
}

/// Runs one command that has to wait for the store.
fn wait<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Software, format!("no runtime: {error}")))?
        .block_on(work)
}

/// Opens the store of the configuration to read what is in it. One that is not there is not made: it would look like a
/// service without users.
async fn open_existing_store(config: &Config) -> Result<Store, Failure> {
    if let Some(file) = Store::missing_file(config.store.url.expose()) {
        let what = format!(
            "store.url: {} does not exist; `cusax serve` or `cusax user add` makes it",
            file.display()
        );
        return Err(Failure::new(Exit::NoInput, what));
    }
    open_store(config).await
}

/// Opens the store of the configuration.
async fn open_store(config: &Config) -> Result<Store, Failure> {
    Store::open(config.store.url.expose(), None)
        .await
        .map_err(|error| store_failure(&error, "store.url"))
}

/// What an error of a store means to who typed the command.
pub fn store_failure(error: &StoreError, key: &str) -> Failure {
    match error {
        StoreError::Unavailable(_) => Failure::new(
            Exit::Unavailable,
            format!("{key}: {error}; see that it runs and that this user may open it"),
        ),
        StoreError::Refused(_) => Failure::new(Exit::Data, format!("{key}: {error}")),
        StoreError::Corrupt(_) => Failure::new(Exit::Software, format!("{key}: {error}")),
    }
}
