//! A phone of the web: JsSIP (`tests/clients`) on Node, over WebSocket.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cusax_b2bua::core::flow::Transport;
use serde_json::Value;

use super::phone::Account;
use super::{Child, Context as _, Fault, Result, Spec, wait};

/// What npm has installed by the lock file.
#[derive(Clone, Debug)]
pub struct Modules(PathBuf);

/// Where a page stands, and whom its browser believes.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// As a browser writes it.
    pub origin: &'a str,
    /// Who may sign certificates, in a file, beside those whom everybody believes.
    pub root: Option<&'a Path>,
}

/// A running phone, which has begun to register.
#[derive(Debug)]
pub struct JsSip {
    program: Child,
    orders: ChildStdin,
    events: Arc<Mutex<VecDeque<Value>>>,
}

impl Modules {
    /// Installs them in `cache`, if they are not there from another time: that takes a package registry and a while.
    ///
    /// # Errors
    /// When npm is not there or fails.
    pub fn install(cache: &Path) -> Result<Self> {
        let (source, wanted) = (source(), cache.join("test-clients"));
        let lock = fs::read(source.join(LOCK)).context(LOCK)?;
        let there = || fs::read(wanted.join(LOCK)).is_ok_and(|installed| installed == lock);
        if there() {
            return Ok(Self(wanted));
        }
        fs::create_dir_all(cache)?;
        let folder = tempfile::Builder::new().prefix("test-clients-").tempdir_in(cache)?;
        let new = folder.path().join("new");
        fs::create_dir(&new)?;
        for file in ["package.json", ".npmrc", LOCK] {
            fs::copy(source.join(file), new.join(file)).context(file)?;
        }
        // Nothing of it outside of this folder.
        let spec = Spec::new("npm", "npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache"]);
        let spec = spec.arg(folder.path().join("cache")).folder(&new);
        let mut npm = spec
            .env("npm_config_update_notifier", "false")
            .start(folder.path())
            .context("npm is needed (deploy/install-deps.sh)")?;
        let status = wait::until_ok("npm to install", INSTALL, || npm.ended())?;
        if !status.success() {
            return Err(Fault::new(format_args!("npm ci: {status}\n{}", npm.log_tail(20))));
        }
        // Whole or not at all, and whoever comes second takes what the first has made.
        let _ = fs::remove_dir_all(&wanted);
        match fs::rename(&new, &wanted) {
            Err(error) if !there() => Err(Fault::new(error)),
            _ => Ok(Self(wanted)),
        }
    }
}

impl JsSip {
    /// Starts a phone, which registers at once.
    ///
    /// # Errors
    /// When Node is not there.
    pub fn start(modules: &Modules, folder: &Path, account: &Account, page: Page<'_>) -> Result<Self> {
        let login = account.login.as_ref().context("it registers")?;
        let scheme = match account.transport {
            Transport::Wss => "wss",
            _ => "ws",
        };
        let url = format!("{scheme}://{}/", account.outbound);
        let spec = Spec::new("jssip", "node").arg(source().join("jssip.js")).talks();
        let mut spec = spec.args([&url, page.origin, &account.aor, &login.user, &login.password]);
        if let Some(root) = page.root {
            spec = spec.env("NODE_EXTRA_CA_CERTS", root);
        }
        let spec = spec.env("NODE_PATH", modules.0.join("node_modules"));
        let mut program = spec.folder(folder).start(folder)?;
        let (orders, output) = program.take_pipes().context("it talks")?;
        let events = Arc::new(Mutex::new(VecDeque::new()));
        let shared = Arc::clone(&events);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    shared.lock().expect(NO_PANIC).push_back(event);
                }
            }
        });
        Ok(Self {
            program,
            orders,
            events,
        })
    }

    /// Waits until the phone says that it is registered.
    ///
    /// # Errors
    /// When it does not, or says that it was refused.
    pub fn registered(&mut self) -> Result<()> {
        self.expect("connected")?;
        self.expect("registered").map(drop)
    }

    /// Waits until the phone says that it was refused, and gives the status of the answer.
    ///
    /// # Errors
    /// When it does not, or is registered.
    pub fn refused(&mut self) -> Result<u64> {
        self.expect("connected")?;
        let event = self.expect("registrationFailed")?;
        event["status"].as_u64().context("an answer")
    }

    /// Waits until the phone says that it could not connect at all.
    ///
    /// # Errors
    /// When it does not, or is connected.
    pub fn cut_off(&mut self) -> Result<()> {
        self.expect("disconnected").map(drop)
    }

    /// Unregisters, and waits until the phone says that it has.
    ///
    /// # Errors
    /// When it does not.
    pub fn unregister(&mut self) -> Result<()> {
        writeln!(self.orders, "unregister")?;
        self.expect("unregistered").map(drop)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it has to be killed.
    pub fn quit(self) -> Result<()> {
        let Self {
            mut program, orders, ..
        } = self;
        drop(orders);
        wait::until_ok("the end of JsSIP", PATIENCE, || program.ended()).map(drop)
    }

    /// Waits for the next event, which must be this one.
    fn expect(&mut self, wanted: &str) -> Result<Value> {
        let events = Arc::clone(&self.events);
        let event = self
            .program
            .until(wanted, PATIENCE, |_| events.lock().expect(NO_PANIC).pop_front())?;
        if event["event"] == wanted {
            Ok(event)
        } else {
            Err(Fault::new(format_args!("JsSIP says {event} in place of {wanted}")))
        }
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

const LOCK: &str = "package-lock.json";
/// How long installing may take.
const INSTALL: Duration = Duration::from_secs(300);
/// How long anything else may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const NO_PANIC: &str = "no holder of this lock panics";
