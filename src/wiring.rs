//! From a configuration to running roles, and back to nothing.
//!
//! Order of the start: logs, stores, health and metrics, control socket, roles, readiness. Order of the end: roles take
//! nothing new and drain, then everything closes. A role gets [`Parts`] and nothing else.
#![expect(
    clippy::disallowed_methods,
    reason = "the parts of the service are started here, and the deadline of the end is counted from here"
)]

mod b2bua;
mod control;
mod notify;
mod roles;
mod settings;
mod xmpp;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cusax_b2bua::io::driver::Control as Order;
use cusax_common::core::config::{Config, Faults};
use cusax_common::core::store::StoreError;
use cusax_common::io::cache::CachedUsers;
use cusax_common::io::config::load;
use cusax_common::io::health::Health;
use cusax_common::io::shutdown::{Shutdown, Stopper, shutdown};
use cusax_common::io::state::State;
use cusax_common::io::store::Store;
use cusax_common::io::telemetry::{LogHandle, Metrics, begin_logs};
use cusax_console::Console;
use prometheus_client::registry::Registry;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::cli::failure::{Exit, Failure};
use crate::cli::{Answer, store_failure};
use control::{Control, Request};

pub use control::{Call, Wish};

/// What every role gets.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The configuration in force. It changes at a reload; a role takes what it can change while it runs.
    pub config: watch::Receiver<Arc<Config>>,
    /// Users through the near cache, and records.
    pub users: CachedUsers<Store>,
    /// Grows when a user was changed, by whichever process, or a reload asked to look again; the cache has forgotten
    /// them by then.
    pub users_changed: watch::Receiver<u64>,
    /// Short-lived facts.
    pub state: State,
    /// Everything that is counted.
    pub metrics: Metrics,
    /// Where a role says whether it does its work.
    pub health: Health,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// Runs the service until it is told to stop.
///
/// # Errors
/// What kept it from starting, or the role that ended by itself.
pub fn serve(config: Config, path: &Path) -> Result<Answer, Failure> {
    let logs = begin_logs(&config.log).map_err(|error| Failure::new(Exit::Software, error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("cusax")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Software, format!("no runtime: {error}")))?;
    let ended = runtime.block_on(async { Service::start(config, path, logs.clone()).await?.run().await });
    // A task that hangs must not keep the process.
    runtime.shutdown_timeout(LAST_WAIT);
    logs.finish();
    ended.map(|()| Answer {
        text: String::new(),
        json: serde_json::json!({ "stopped": true }),
        exit: None,
    })
}

/// What runs until the shutdown.
type Roles = JoinSet<Result<&'static str, (&'static str, String)>>;

/// The running service.
struct Service {
    path: PathBuf,
    /// As it was at the start, for what only a start can change.
    started: Arc<Config>,
    config: watch::Sender<Arc<Config>>,
    logs: LogHandle,
    users_changed: Arc<watch::Sender<u64>>,
    parts: Parts,
    stopper: Stopper,
    control: Control,
    /// Gives the SIP side its orders.
    sip: mpsc::Sender<Order>,
    /// Each gives its name when it ends, or the name and why.
    roles: Roles,
    console: tokio::task::JoinHandle<std::io::Result<()>>,
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Service {
    async fn start(config: Config, path: &Path, logs: LogHandle) -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::new(Exit::Software, format!("signals: {error}")));
        // Before anything else: a signal during the start must not kill the process half-way.
        let (hangup, terminate, interrupt) = (
            listen(SignalKind::hangup())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::interrupt())?,
        );
        let started = Arc::new(config);
        let store = Store::open(started.store.url.expose(), None)
            .await
            .map_err(|e| dependency(&e, "store.url"))?;
        let memory = u64::from(started.state.memory_mib) * 1024 * 1024;
        let state = State::open(started.state.url.expose(), None, &started.state.prefix, memory)
            .await
            .map_err(|e| dependency(&e, "state.url"))?;
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let (stopper, shutdown) = shutdown();
        let (sender, receiver) = watch::channel(Arc::clone(&started));
        let health = Health::new();
        let (users_changed, changes) = watch::channel(0);
        let users_changed = Arc::new(users_changed);
        let users = CachedUsers::new(store);
        let parts = Parts {
            config: receiver,
            users,
            users_changed: changes,
            state,
            metrics,
            health,
            shutdown,
        };

        let console = Console::bind(started.http.listen).await.map_err(|error| {
            let listen = started.http.listen;
            Failure::new(
                Exit::CannotCreate,
                format!("http.listen: {listen}: {error}; write another port"),
            )
        })?;
        let console = console.serve(Arc::new(registry), parts.health.clone(), parts.shutdown.clone());
        let console = tokio::spawn(console);
        let control = Control::bind(&started.control.socket)?;
        let mut roles = JoinSet::new();
        let sip = roles::start(&parts, &users_changed, &mut roles)?;
        Ok(Self {
            path: path.to_owned(),
            started,
            config: sender,
            logs,
            users_changed,
            parts,
            stopper,
            control,
            sip,
            roles,
            console,
            hangup,
            terminate,
            interrupt,
        })
    }

    async fn run(mut self) -> Result<(), Failure> {
        notify::tell("READY=1");
        info!(version = env!("CARGO_PKG_VERSION"), "serving");
        let ended = loop {
            tokio::select! {
                _ = self.terminate.recv() => break Ok(()),
                _ = self.interrupt.recv() => break Ok(()),
                _ = self.hangup.recv() => { let _ = self.reload(); }
                (wish, request) = self.control.request() => match wish {
                    Wish::Reload => {
                        let reply = self.reload();
                        request.answer(&reply).await;
                    }
                    Wish::Call(call) => drop(tokio::spawn(place(self.sip.clone(), call, request))),
                },
                Some(role) = self.roles.join_next() => break Err(of_role(role)),
            }
        };
        self.stop().await;
        ended
    }

    /// Reads the configuration again. On a fault the old one stays in force, whole.
    fn reload(&mut self) -> serde_json::Value {
        match load(&self.path) {
            Ok(config) => {
                let needs_restart = self.started.needs_restart(&config);
                self.logs.apply(&config.log);
                self.config.send_replace(Arc::new(config));
                self.parts.users.forget_all();
                self.users_changed.send_modify(|count| *count += 1);
                self.parts.metrics.reloads.count("done");
                info!("reloaded");
                for section in &needs_restart {
                    warn!(section, "has changed and takes effect at the next start");
                }
                serde_json::json!({ "reloaded": true, "needs_restart": needs_restart })
            }
            Err(Faults(faults)) => {
                self.parts.metrics.reloads.count("refused");
                for fault in &faults {
                    warn!(%fault, "configuration not taken");
                }
                let told = Faults(faults.clone()).to_string();
                serde_json::json!({ "reloaded": false, "error": told, "faults": faults })
            }
        }
    }

    async fn stop(mut self) {
        notify::tell("STOPPING=1");
        let grace = self.parts.config.borrow().control.drain.duration();
        info!(grace_secs = grace.as_secs(), "stopping");
        self.stopper.drain(Instant::now(), grace);
        let drained = async { while self.roles.join_next().await.is_some() {} };
        tokio::select! {
            () = drained => {}
            () = tokio::time::sleep(grace + LAST_WRITES) => warn!("a role did not end in time"),
            // Whoever asks twice does not want to wait.
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        self.stopper.end();
        self.console.abort();
        let closed = async {
            self.roles.shutdown().await;
            self.parts.users.store().close().await;
        };
        // A role that never yields cannot be cancelled, and must not keep the process.
        match tokio::time::timeout(LAST_WAIT, closed).await {
            Ok(()) => info!("stopped"),
            Err(_) => error!("stopped, though a role or the store did not let go"),
        }
    }
}

/// Has a user called and joined with somebody, and says what becomes of it.
async fn place(sip: mpsc::Sender<Order>, Call { user, to }: Call, request: Request) {
    let (answer, mut placed) = mpsc::channel(1);
    let order = Order::Place { user, to, answer };
    let told = tokio::time::timeout(PLACED, async {
        sip.send(order).await.ok()?;
        placed.recv().await
    });
    let reply = match told.await {
        Ok(Some(Ok(session))) => serde_json::json!({ "session": session.to_string() }),
        Ok(Some(Err(status))) => serde_json::json!({ "status": status.code(), "reason": status.reason() }),
        Ok(None) | Err(_) => serde_json::json!({ "status": 503, "reason": "the service gave no answer in time" }),
    };
    request.answer(&reply).await;
}

/// A role never ends before it is told to.
fn of_role(ended: Result<Result<&'static str, (&'static str, String)>, tokio::task::JoinError>) -> Failure {
    let told = match ended {
        Ok(Ok(role)) => format!("{role} ended by itself"),
        Ok(Err((role, why))) => format!("{role} ended: {why}"),
        Err(error) => format!("a role failed: {error}"),
    };
    error!("{told}");
    Failure::new(Exit::Software, told)
}

fn dependency(error: &StoreError, key: &str) -> Failure {
    match error {
        // What the operator wrote cannot be an address of a store.
        StoreError::Refused(_) => Failure::new(Exit::Config, format!("{key}: {error}")),
        _ => store_failure(error, key),
    }
}

/// How long it may take to begin a call: the store is asked once.
const PLACED: Duration = Duration::from_secs(5);
/// How long roles may take beyond the time for what is up: the SIP side writes its last records meanwhile.
const LAST_WRITES: Duration = Duration::from_secs(4);
/// How long tasks may take to end once everything is over.
const LAST_WAIT: Duration = Duration::from_secs(2);
