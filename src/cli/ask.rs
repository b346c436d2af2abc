//! How commands speak to the service that runs.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cusax_common::core::config::Config;

use super::failure::{Exit, Failure};
use crate::wiring::Wish;

/// Asks the service for something, and gives its answer.
pub fn ask(config: &Config, wish: &Wish) -> Result<serde_json::Value, Failure> {
    let path = &config.control.socket;
    let fail = |error: std::io::Error| {
        let shown = path.display();
        match error.kind() {
            ErrorKind::PermissionDenied => Failure::new(
                Exit::NoPermission,
                format!("{shown}: {error}; ask as root or as the user of the service"),
            ),
            _ => Failure::new(
                Exit::Unavailable,
                format!("control.socket: {shown}: {error}; is `cusax serve` running?"),
            ),
        }
    };
    let mut stream = UnixStream::connect(path).map_err(fail)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(fail)?;
    stream
        .write_all(format!("{}\n", serde_json::json!(wish)).as_bytes())
        .map_err(fail)?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_REPLY))
        .read_line(&mut line)
        .map_err(fail)?;
    serde_json::from_str(&line).map_err(|_| {
        Failure::new(
            Exit::Software,
            "the service gave no answer that can be read; see its log",
        )
    })
}

/// How long the service may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer, in bytes.
const MAX_REPLY: u64 = 256 * 1024;
