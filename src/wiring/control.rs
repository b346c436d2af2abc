//! The socket by which `cusax reload` and `cusax call` speak to the service: one line asks, one line of JSON answers.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jid::BareJid;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::cli::failure::{Exit, Failure};

/// The bound socket. Its file goes when this goes.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Binds the socket for the owner alone. A file left by a dead process is replaced, one of a living process is not.
    pub fn bind(path: &Path) -> Result<Self, Failure> {
        let fail = |error: io::Error| {
            let shown = path.display();
            let exit = if error.kind() == ErrorKind::PermissionDenied {
                Exit::NoPermission
            } else {
                Exit::CannotCreate
            };
            Failure::new(
                exit,
                format!("control.socket: {shown}: {error}; write a path in a folder of cusax's own"),
            )
        };
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.file_type().is_socket() => {
                if std::os::unix::net::UnixStream::connect(path).is_ok() {
                    let what = format!(
                        "control.socket: {} belongs to a running cusax; stop it first",
                        path.display()
                    );
                    return Err(Failure::new(Exit::CannotCreate, what));
                }
                fs::remove_file(path).map_err(fail)?;
            }
            Ok(_) => return Err(fail(io::Error::from(ErrorKind::AlreadyExists))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder).map_err(fail)?;
                }
            }
            Err(error) => return Err(fail(error)),
        }
        let listener = UnixListener::bind(path).map_err(fail)?;
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(fail)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// The next wish, and who waits for an answer to it. What cannot be read is dropped.
    pub async fn request(&self) -> (Wish, Request) {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of descriptors, most likely: going round at once would only burn the processor.
                tokio::time::sleep(PATIENCE).await;
                continue;
            };
            let mut line = String::new();
            let mut reader = BufReader::new(stream).take(MAX_WISH);
            if let Ok(Ok(_)) = timeout(PATIENCE, reader.read_line(&mut line)).await
                && let Ok(wish) = serde_json::from_str(&line)
            {
                return (wish, Request(reader.into_inner().into_inner()));
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What the service is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// To read its configuration again.
    Reload,
    /// To call somebody.
    Call(Call),
}

/// A user is called, and then joined with somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Whom to call first.
    pub user: BareJid,
    /// With whom they want to speak.
    pub to: String,
}

/// Somebody who waits for an answer.
#[derive(Debug)]
pub struct Request(UnixStream);

impl Request {
    /// Answers. Whether it is heard is the asker's affair.
    pub async fn answer(mut self, reply: &serde_json::Value) {
        let line = format!("{reply}\n");
        let _ = timeout(PATIENCE, self.0.write_all(line.as_bytes())).await;
    }
}

/// The longest wish, in bytes.
const MAX_WISH: u64 = 8 * 1024;
/// How long a peer may take to speak or to listen.
const PATIENCE: Duration = Duration::from_secs(1);
