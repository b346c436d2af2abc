//! The loop that carries out what the module decides.
#![expect(
    clippy::disallowed_methods,
    reason = "the one place of this crate that reads the clock"
)]

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::{Duration, Instant};

use cusax_common::core::bridge::{ToB2bua, ToXmpp};
use cusax_common::core::entropy::Entropy;
use cusax_common::core::notice::Notices;
use cusax_common::core::secret::Secret;
use cusax_common::core::store::UserStore;
use cusax_common::io::telemetry::Metrics;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jid::BareJid;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use super::connection::{Connection, Event};
use super::meter::Meter;
use crate::core::vcard::ReadNumber;
use crate::core::{Fetch, Fetched, Module, Output, Settings};

/// Where the server is and who we are there.
#[derive(Clone, Debug)]
pub struct XmppConfig {
    /// Name or address of the server.
    pub host: String,
    /// Its port for components.
    pub port: u16,
    /// Our own name on it.
    pub component: String,
    /// What we share with it.
    pub secret: Secret<String>,
    /// The virtual host whose users we serve.
    pub domain: String,
    /// What users may be told in chat, if they want it.
    pub notices: Notices,
    /// Who may use the commands of administrators.
    pub admins: BTreeSet<BareJid>,
    /// Whether the server may be another machine though the stream is not encrypted.
    pub plain_network: bool,
}

/// What others may know of the component while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The stream is up.
    pub connected: bool,
    /// The plugin has everything that it is to have.
    pub settled: bool,
    /// Why we do not work with the plugin, if so; for people.
    pub refusal: Option<String>,
}

/// What connects the component with the rest of the service.
#[derive(Debug)]
pub struct Channels {
    /// What the b2bua says. Bound it; each message states the whole truth about its subject.
    pub from_b2bua: mpsc::Receiver<ToXmpp>,
    /// What the b2bua is asked.
    pub to_b2bua: mpsc::Sender<ToB2bua>,
    /// Told of every change of what others may know.
    pub status: watch::Sender<Status>,
    /// Where everything is counted.
    pub metrics: Metrics,
}

/// Why [`run`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Shutdown,
    /// The b2bua's side of the bridge is gone.
    Bridge,
}

/// Runs the component until `shutdown` is done or the bridge is gone.
///
/// Every user is read at the start, and again whenever [`UserStore::changes`] has grown.
pub async fn run<U: UserStore>(
    config: XmppConfig,
    users: &U,
    numbers: impl ReadNumber,
    entropy: &mut impl Entropy,
    channels: Channels,
    shutdown: impl Future<Output = ()>,
) -> Ended {
    let Channels {
        mut from_b2bua,
        to_b2bua,
        status,
        metrics,
    } = channels;
    let mut meter = Meter::new(metrics);
    let settings = Settings {
        component: config.component.clone(),
        domain: config.domain.clone(),
        notices: config.notices,
        admins: config.admins.clone(),
    };
    let mut module = Module::new(Instant::now(), settings, numbers, entropy);
    let mut connection = Connection::new(config);
    let mut connected = false;
    let mut fetches: FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send + '_>>> = FuturesUnordered::new();
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut changes, mut polling) = (None, false);
    let (mut said, mut rested) = (Vec::new(), tokio::time::Instant::now());
    tokio::pin!(shutdown);
    loop {
        while let Some(output) = module.poll_output() {
            match output {
                Output::Send(stanza) => {
                    meter.sent(&stanza);
                    if let Err(event) = connection.send(entropy, &stanza).await {
                        meter.event(&event);
                        handle(&mut module, event, entropy, &mut connected);
                    }
                }
                Output::Fetch(query) => fetches.push(Box::pin(fetch(users, query))),
                // The b2bua is asked again by whoever finds that something is missing; here there is nobody to wait.
                Output::Bridge(message) => drop(to_b2bua.try_send(message)),
            }
        }
        let now = Status {
            connected,
            settled: module.is_settled(),
            refusal: module.refusal().map(str::to_owned),
        };
        status.send_if_modified(|old| std::mem::replace(old, now.clone()) != now);
        let wake = module.poll_timeout().unwrap_or_else(|| Instant::now() + IDLE);
        tokio::select! {
            event = connection.event(entropy) => {
                meter.event(&event);
                handle(&mut module, event, entropy, &mut connected);
            }
            count = gather(&mut from_b2bua, &mut said, &mut rested) => {
                if count == 0 {
                    connection.close().await;
                    return Ended::Bridge;
                }
                for message in said.drain(..) {
                    module.handle_bridge(Instant::now(), message);
                }
            },
            Some(done) = fetches.next() => match done {
                Done::Fetched(fetched) => module.handle_fetched(Instant::now(), fetched),
                Done::Changes(counter) => {
                    polling = false;
                    if let Some(counter) = counter
                        && changes.replace(counter).is_some_and(|old| old != counter)
                    {
                        module.handle_users_changed();
                    }
                }
            },
            _ = ticks.tick() => {
                meter.show(module.counters());
                if !std::mem::replace(&mut polling, true) {
                    fetches.push(Box::pin(count(users)));
                }
            }
            () = sleep_until(wake.into()) => module.handle_timeout(Instant::now()),
            () = &mut shutdown => {
                connection.close().await;
                return Ended::Shutdown;
            }
        }
    }
}

/// Takes what the b2bua says: the first message after a rest at once, those of a crowd together. Whoever says it wakes
/// nobody while there is a rest, and a thread that is woken for every message costs more than the message. Nothing is lost
/// if this is not waited for to its end.
async fn gather(from: &mut mpsc::Receiver<ToXmpp>, said: &mut Vec<ToXmpp>, rested: &mut tokio::time::Instant) -> usize {
    sleep_until(*rested).await;
    let count = from.recv_many(said, TOGETHER).await;
    if count < TOGETHER {
        *rested = tokio::time::Instant::now() + REST;
    }
    count
}

/// What a question to the store brought.
enum Done {
    Fetched(Fetched),
    Changes(Option<u64>),
}

fn handle(module: &mut Module<impl ReadNumber>, event: Event, entropy: &mut impl Entropy, connected: &mut bool) {
    match event {
        Event::Connected => {
            *connected = true;
            tracing::info!("the server accepted the component");
            module.handle_connected(Instant::now(), entropy);
        }
        Event::Closed(fault) => {
            if std::mem::replace(connected, false) {
                module.handle_closed();
            }
            tracing::warn!(%fault, "no stream to the server; trying again");
        }
        Event::Stanza(stanza) => module.handle_stanza(Instant::now(), stanza),
        Event::Idle => module.handle_idle(Instant::now()),
    }
}

async fn fetch(users: &impl UserStore, query: Fetch) -> Done {
    Done::Fetched(match query {
        Fetch::Page(page) => Fetched::Page(asked(users.list(page.after.as_ref(), page.limit)).await),
        Fetch::Choose { number, jid, choice } => Fetched::Chosen {
            number,
            done: asked(users.choose(&jid, choice)).await,
        },
        Fetch::User { check, jid } => Fetched::User {
            check,
            user: asked(users.by_jid(&jid)).await,
        },
    })
}

async fn count(users: &impl UserStore) -> Done {
    Done::Changes(asked(users.changes()).await)
}

async fn asked<T, E: std::fmt::Display>(question: impl Future<Output = Result<T, E>>) -> Option<T> {
    match timeout(STORE, question).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the store did not answer");
            None
        }
        Err(_) => {
            tracing::warn!("the store did not answer in time");
            None
        }
    }
}

/// How long messages of the b2bua are gathered: far below what anybody sees of presence.
const REST: Duration = Duration::from_millis(20);
/// Messages that are taken together at most.
const TOGETHER: usize = 256;
/// How often the store is asked whether users have changed.
const POLL: Duration = Duration::from_millis(500);
/// How long the store may take.
const STORE: Duration = Duration::from_secs(5);
/// How long to sleep when nothing is due.
const IDLE: Duration = Duration::from_secs(60);
