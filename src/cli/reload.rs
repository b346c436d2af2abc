//! `cusax reload`

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cusax_common::core::config::Config;

use super::Answer;
use super::failure::{Exit, Failure};

pub fn run(config: Config) -> Result<Answer, Failure> {
    let path = config.control.socket;
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
    let mut stream = UnixStream::connect(&path).map_err(fail)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(fail)?;
    stream.write_all(b"reload\n").map_err(fail)?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_REPLY))
        .read_line(&mut line)
        .map_err(fail)?;
    let reply: serde_json::Value = serde_json::from_str(&line).map_err(|_| {
        Failure::new(
            Exit::Software,
            "the service gave no answer that can be read; see its log",
        )
    })?;
    if reply["reloaded"] != true {
        let told = reply["error"].as_str().unwrap_or("see its log");
        return Err(Failure::new(
            Exit::Config,
            format!("the service keeps its configuration: {told}"),
        ));
    }
    let mut text = String::from("reloaded\n");
    for section in reply["needs_restart"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|section| section.as_str())
    {
        text.push_str(&format!("{section} has changed and takes effect at the next start\n"));
    }
    Ok(Answer::new(text, reply))
}

/// How long the service may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer, in bytes.
const MAX_REPLY: u64 = 256 * 1024;
