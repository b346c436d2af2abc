//! Network namespaces that nothing can leave behind.
//!
//! A namespace has no name in the file system: it lives as long as our file descriptor and the programs in it, and the
//! kernel takes it down with its links when both are gone, even after `kill -9`.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns, unshare};

use super::{Context as _, Fault, Result, Spec};

/// A network of its own: its links, addresses, routes and ports.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    file: Arc<File>,
}

impl Namespace {
    /// Makes a namespace with its loopback up. `name` is for messages only.
    ///
    /// # Errors
    /// When the system refuses, mostly for want of root.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let made = std::thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(File::open("/proc/thread-self/ns/net")?)
        });
        let file = join(made).context("making a network namespace (this needs root)")?;
        let namespace = Self {
            name,
            file: Arc::new(file),
        };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The name for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip ARGUMENTS` in it.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        let spec = Spec::new(format!("ip {arguments} in {}", self.name), "ip");
        spec.args(arguments.split_whitespace()).inside(self).output().map(drop)
    }

    /// Connects it to another by a pair of links with an address each (`10.0.0.1/30`).
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn link(&self, ours: (&str, &str), other: &Self, theirs: (&str, &str)) -> Result<()> {
        self.ip(&format!(
            "link add {} type veth peer name {} netns {}",
            ours.0,
            theirs.0,
            other.path()
        ))?;
        for (namespace, (name, address)) in [(self, ours), (other, theirs)] {
            namespace.ip(&format!("addr add {address} dev {name}"))?;
            namespace.ip(&format!("link set {name} up"))?;
        }
        Ok(())
    }

    /// Calls `work` on a thread inside the namespace: what it binds or connects stays inside.
    ///
    /// # Errors
    /// Those of `work`, or when the namespace cannot be entered.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let file = Arc::clone(&self.file);
        let thread = std::thread::spawn(move || {
            setns(&*file, CloneFlags::CLONE_NEWNET)?;
            work()
        });
        join(thread).context(format_args!("in {}", self.name))
    }

    /// What to put before a command to run it inside.
    pub(super) fn prefix(&self) -> Vec<OsString> {
        vec!["nsenter".into(), format!("--net={}", self.path()).into(), "--".into()]
    }

    /// Where other programs find it while we live.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}

fn join<T>(thread: std::thread::JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(Fault::new("the thread panicked")))
}
