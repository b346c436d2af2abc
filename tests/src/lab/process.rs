//! Other programs: started in a namespace, with their output in a file, gone when we are gone.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{Context as _, Fault, Namespace, Result, wait};

/// How a program is to be started.
#[derive(Clone, Debug)]
pub struct Spec {
    name: String,
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    prefix: Vec<OsString>,
    folder: Option<PathBuf>,
    talks: bool,
    user: Option<String>,
    on_orphaned: Signal,
}

impl Spec {
    /// `name` is for people: it stands in messages and is the name of the log file.
    pub fn new(name: impl Into<String>, program: impl AsRef<OsStr>) -> Self {
        Self {
            name: name.into(),
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            prefix: Vec::new(),
            folder: None,
            talks: false,
            user: None,
            on_orphaned: Signal::SIGKILL,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs it in this folder.
    #[must_use]
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().to_owned());
        self
    }

    /// Runs it in this namespace.
    #[must_use]
    pub fn inside(mut self, namespace: &Namespace) -> Self {
        self.prefix = namespace.prefix();
        self
    }

    /// Runs it as this user of the system.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Its standard input and output are pipes to us ([`Child::take_pipes`]); its errors still go to the log.
    #[must_use]
    pub fn talks(mut self) -> Self {
        self.talks = true;
        self
    }

    /// The signal that it gets when we die without a word; SIGKILL unless told otherwise.
    #[must_use]
    pub fn on_orphaned(mut self, signal: Signal) -> Self {
        self.on_orphaned = signal;
        self
    }

    /// Starts it, with its output in `NAME.log` in `logs`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(&self, logs: &Path) -> Result<Child> {
        let log = logs.join(format!("{}.log", self.name));
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .context(log.display())?;
        let errors = out.try_clone()?;
        let mut command = self.command();
        command.stderr(errors);
        if self.talks {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        } else {
            command.stdin(Stdio::null()).stdout(out);
        }
        let mut inner = spawn(command).context(format_args!("starting {}", self.name))?;
        let group = Pid::from_raw(i32::try_from(inner.id()).map_err(|_| Fault::new("a process id beyond i32"))?);
        LIVING.lock().expect(NO_PANIC).push(group);
        let pipes = inner.stdin.take().zip(inner.stdout.take());
        Ok(Child {
            name: self.name.clone(),
            inner,
            group,
            log,
            pipes,
        })
    }

    /// Runs it to its end and gives what it printed.
    ///
    /// # Errors
    /// When it cannot be started or ends with anything but success; the fault holds what it said.
    pub fn output(&self) -> Result<String> {
        let (ok, text) = self.ending()?;
        if ok {
            Ok(text)
        } else {
            Err(Fault::new(format_args!("{}: {}", self.name, text.trim())))
        }
    }

    /// Runs it to its end: whether it succeeded, and all that it printed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn ending(&self) -> Result<(bool, String)> {
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = spawn(command)
            .and_then(std::process::Child::wait_with_output)
            .context(format_args!("running {}", self.name))?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() || !output.stderr.is_empty() && text.is_empty() {
            text.push_str(&String::from_utf8_lossy(&output.stderr));
        }
        Ok((output.status.success(), text))
    }

    /// `nsenter … setpriv --pdeathsig … PROGRAM`: each replaces itself by the next, so that the process id is the
    /// program's own.
    fn command(&self) -> Command {
        let mut words = self.prefix.clone();
        words.extend(["setpriv", "--pdeathsig", &self.on_orphaned.as_str()[3..]].map(OsString::from));
        if let Some(user) = &self.user {
            words.extend(
                [
                    format!("--reuid={user}"),
                    format!("--regid={user}"),
                    "--init-groups".into(),
                ]
                .map(Into::into),
            );
        }
        words.push("--".into());
        words.push(self.program.clone());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(&self.arguments).process_group(0);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }
}

/// A running program. Dropping it kills its whole process group and waits for it.
#[derive(Debug)]
pub struct Child {
    name: String,
    inner: std::process::Child,
    group: Pid,
    log: PathBuf,
    pipes: Option<(ChildStdin, ChildStdout)>,
}

impl Child {
    /// The name for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// What it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The end of its log, to show why something failed.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().rev().take(lines).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The pipes to its standard input and from its standard output, once, if it [talks](Spec::talks).
    pub fn take_pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        self.pipes.take()
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.inner.try_wait().context(&self.name)
    }

    /// Waits until `condition` gives a value, and fails at once when the program ends meanwhile.
    ///
    /// # Errors
    /// Also when `limit` has passed; the fault holds the end of the log.
    pub fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T> {
        let result = wait::until_ok(what, limit, || {
            if let Some(value) = condition(self) {
                return Ok(Some(value));
            }
            match self.ended()? {
                Some(status) => Err(Fault::new(format_args!("it ended with {status} before {what}"))),
                None => Ok(None),
            }
        });
        result.map_err(|fault| Fault::new(format_args!("{}: {fault}\n{}", self.name, self.log_tail(20))))
    }

    /// Sends a signal to the program alone.
    ///
    /// # Errors
    /// When it is no more.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        nix::sys::signal::kill(self.group, signal).context(&self.name)
    }

    /// Asks it to end (SIGTERM), and kills it if it has not ended after `patience`.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(mut self, patience: Duration) -> Result<ExitStatus> {
        self.pipes = None;
        if self.ended()?.is_none() {
            self.signal(Signal::SIGTERM)?;
        }
        let name = self.name.clone();
        wait::until_ok(&format!("the end of {name}"), patience, || self.ended())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // An error means that the group is gone already.
        let _ = killpg(self.group, Signal::SIGKILL);
        let _ = self.inner.wait();
        LIVING.lock().expect(NO_PANIC).retain(|group| *group != self.group);
    }
}

/// Ends every program of this process: for an end that runs no destructors.
pub(super) fn stop_all() {
    let groups: Vec<Pid> = LIVING.lock().expect(NO_PANIC).clone();
    for group in groups.iter().rev() {
        let _ = killpg(*group, Signal::SIGTERM);
    }
    let gone = || {
        groups
            .iter()
            .all(|group| killpg(*group, None).is_err() || is_zombie(*group))
            .then_some(())
    };
    if wait::until("the end of all programs", PATIENCE, gone).is_err() {
        for group in &groups {
            let _ = killpg(*group, Signal::SIGKILL);
        }
        let _ = wait::until("the end of all programs", PATIENCE, gone);
    }
}

/// Ended, and only waits for the thread that owns it to ask how.
fn is_zombie(process: Pid) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| {
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('Z'))
    })
}

/// Starts a program from the one thread that lives as long as this process.
///
/// The signal at the parent's death comes when the *thread* that started a program ends, so a test's own thread will
/// not do.
fn spawn(command: Command) -> std::io::Result<std::process::Child> {
    type Order = (Command, mpsc::SyncSender<std::io::Result<std::process::Child>>);
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in orders {
                // Nobody listens when the asking thread was killed by a panic; then the program is dropped, not killed.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (answer, result) = mpsc::sync_channel(1);
    spawner
        .lock()
        .expect(NO_PANIC)
        .send((command, answer))
        .map_err(std::io::Error::other)?;
    result.recv().map_err(std::io::Error::other)?
}

/// How long everything may take to end on a signal.
const PATIENCE: Duration = Duration::from_secs(4);
const NO_PANIC: &str = "no holder of this lock panics";
static LIVING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
