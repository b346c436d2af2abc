//! `[http]`, `[log]`, `[control]`: what operators see and say.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::core::config::section::{Check, Place, Reader, section};
use crate::core::config::setting::{Seconds, words};

section! {
    /// Health and metrics: /healthz, /readyz, /metrics.
    Http {
        /// Where to listen.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8_085)),
        /// Whether it may listen on an address that other machines reach. Nobody is asked for a password there.
        allow_remote: bool = false,
    }
}

section! {
    /// Logs, on standard error.
    Log {
        /// The form of a line.
        format: Format = Format::Text,
        /// The least important events that are logged.
        level: Level = Level::Info,
        /// Whether addresses, numbers and names of people are logged. `redacted` shows a mark that is the same for the
        /// same address until the next start.
        addresses: Addresses = Addresses::Redacted,
    }
}

words! {
    /// The form of a log line.
    Format, "\"text\" or \"json\"" {
        /// For people.
        Text = "text",
        /// For programs.
        Json = "json",
    }
}

words! {
    /// The least important events that are logged.
    Level, "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"" {
        /// What failed for good.
        Error = "error",
        /// What we must mend.
        Warn = "warn",
        /// The outcome of each call, once.
        Info = "info",
        /// Every change of state.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

words! {
    /// Whether people's addresses are logged.
    Addresses, "\"redacted\" or \"full\"" {
        /// As marks.
        Redacted = "redacted",
        /// As they are.
        Full = "full",
    }
}

section! {
    /// How a running service is spoken to.
    Control {
        /// The socket for `cusax reload`. Only the user that the service runs as, and root, may use it.
        socket: PathBuf = PathBuf::from("/run/cusax/cusax.sock"),
        /// Seconds that calls may go on after a stop was asked for.
        drain: Seconds = Seconds(5),
    }
}

impl Check for Http {
    fn check(&self, reader: &mut Reader<'_>, place: &Place) {
        if !self.listen.ip().is_loopback() && !self.allow_remote {
            let what = format!("{} can be reached by other machines", self.listen);
            let fix = "write an address such as \"127.0.0.1:8085\", or allow_remote = true".into();
            reader.fault_at(place.inner("listen"), what, fix);
        }
    }
}

impl Check for Log {}

impl Check for Control {
    fn check(&self, reader: &mut Reader<'_>, place: &Place) {
        if !self.socket.is_absolute() || self.socket.as_os_str().len() > MAX_SOCKET_PATH {
            let what = format!("{} is relative or too long", self.socket.display());
            let fix = format!("write a path from the root of at most {MAX_SOCKET_PATH} bytes");
            reader.fault_at(place.inner("socket"), what, fix);
        }
    }
}

/// The longest path of a unix socket, as unix(7) has it, with its closing NUL.
const MAX_SOCKET_PATH: usize = 107;
