//! Why a command did not do its work, with the exit status of sysexits(3).

use std::fmt;
use std::process::ExitCode;

use cusax_common::core::config::Faults;

/// What is told on standard error.
#[derive(Debug)]
pub struct Failure {
    /// The status.
    pub exit: Exit,
    message: String,
    faults: Option<Faults>,
}

impl Failure {
    /// A failure in one sentence that says what to do.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            faults: None,
        }
    }

    /// For programs.
    pub fn to_json(&self) -> serde_json::Value {
        let faults = self.faults.as_ref().map(|faults| &faults.0);
        serde_json::json!({ "error": self.message, "status": self.exit as u8, "faults": faults })
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        let message = format!("the configuration has {} fault(s)", faults.0.len());
        Self {
            exit: Exit::Config,
            message,
            faults: Some(faults),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cusax: {}", self.message)?;
        self.faults.as_ref().map_or(Ok(()), |faults| write!(f, "\n{faults}"))
    }
}

/// The statuses of sysexits(3) that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command line is wrong.
    Usage = 64,
    /// What was given cannot be, or is somebody else's.
    Data = 65,
    /// A file that was named cannot be read.
    NoInput = 66,
    /// A store or the service does not answer.
    Unavailable = 69,
    /// Our own mistake.
    Software = 70,
    /// Something cannot be created: a socket, the output.
    CannotCreate = 73,
    /// This user may not.
    NoPermission = 77,
    /// The configuration is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
