//! The loop: sockets, stores, media engine and bridge on one side, the endpoint on the other. It decides nothing.

#![expect(
    clippy::disallowed_methods,
    reason = "the shell starts the tasks that wait for stores and sockets"
)]

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use cusax_common::core::bridge::{ToB2bua, ToXmpp};
use cusax_common::core::entropy::Entropy;
use cusax_common::core::record::CallRecord;
use cusax_common::core::store::{SharedState, StoreError, UserStore};
use cusax_common::core::user::User;
use cusax_common::io::clock;
use cusax_common::io::telemetry::Metrics;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{error, info, warn};

use crate::core::endpoint::{Endpoint, Output, Query};
use crate::core::locate::{self, QueryId};
use crate::core::media::MediaEvent;
use crate::core::registrar;
use crate::core::routing::Lookup;
use crate::core::settings::Settings;
use crate::io::meter::Meter;
use crate::io::relay::Relay;
use crate::io::resolver::Resolver;
use crate::io::transport::tls::Carrier;
use crate::io::transport::{Listener, Network, Received};

/// What the loop joins together.
pub struct Shell<E, U, S> {
    /// The SIP side.
    pub endpoint: Endpoint<E>,
    /// In the order of their identifiers.
    pub listeners: Vec<Listener>,
    /// The carriers that speak TLS.
    pub carriers: Arc<[Carrier]>,
    /// For carriers that have names; none if no carrier has.
    pub resolver: Option<Resolver>,
    /// The media engine.
    pub relay: Relay,
    /// What it says.
    pub media: mpsc::Receiver<MediaEvent>,
    /// Users, near at hand.
    pub users: Arc<U>,
    /// Where bindings outlive a restart.
    pub state: Arc<S>,
    /// To the xmpp-module.
    pub to_xmpp: mpsc::Sender<ToXmpp>,
    /// From it.
    pub from_xmpp: mpsc::Receiver<ToB2bua>,
    /// From the operator.
    pub control: mpsc::Receiver<Control>,
    /// Where everything is counted.
    pub metrics: Metrics,
}

/// What the operator may ask of a running loop.
#[derive(Clone, Debug)]
pub enum Control {
    /// A new configuration.
    Settings(Arc<Settings>),
    /// Users were changed.
    UsersChanged,
    /// End every call and return, within this time.
    Stop(Duration),
}

/// Runs until [`Control::Stop`] and until what was up has ended, or the time for that is over.
pub async fn drive<E, U, S>(shell: Shell<E, U, S>)
where
    E: Entropy,
    U: UserStore + 'static,
    S: SharedState + 'static,
{
    let Shell {
        mut endpoint,
        listeners,
        carriers,
        resolver,
        relay,
        mut media,
        users,
        state,
        to_xmpp,
        mut from_xmpp,
        mut control,
        metrics,
    } = shell;
    let (mut network, mut received) = Network::start(listeners, carriers);
    let (resolved, mut located) = mpsc::channel(LOCATED);
    let (answers, mut answered) = mpsc::channel(ANSWERS);
    let records = spawn_recorder(Arc::clone(&users), metrics.clone());
    let keeper = spawn_keeper(Arc::clone(&state), metrics.clone());
    let mut meter = Meter::new(metrics);
    let mut round = interval(ROUND);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    restore(&mut endpoint, &*state).await;
    endpoint.handle_start(clock::now());
    endpoint.handle_bridge(clock::now(), ToB2bua::Resync);

    let mut unsaid = false;
    let mut stop_by = None;
    let mut near = VecDeque::new();
    let mut in_a_row = 0;
    // One timer, told anew only when the time has changed: to make one for each message costs more than many messages.
    let mut sleep = pin!(sleep_until(Instant::now()));
    let mut armed = None;
    loop {
        // A resync says everything that found no room, once for each time that the loop wakes.
        if unsaid && to_xmpp.capacity() > to_xmpp.max_capacity() / 2 {
            unsaid = false;
            endpoint.handle_bridge(clock::now(), ToB2bua::Resync);
        }
        while let Some(output) = endpoint.poll_output() {
            match output {
                Output::Transmit { flow, bytes } => {
                    meter.sent(&bytes);
                    let opening = endpoint.opening(&flow);
                    if !network.send(flow, bytes, opening) {
                        endpoint.handle_closed(clock::now(), flow);
                    }
                }
                Output::Media(command) => relay.submit(command),
                Output::Fetch { id, query } => {
                    let mut asked = Box::pin(fetch(Arc::clone(&users), query));
                    // What is near at hand needs no task.
                    match poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx))).await {
                        Poll::Ready(answer) => near.push_back((id, answer)),
                        Poll::Pending => {
                            let answers = answers.clone();
                            // The loop is gone only when the service stops.
                            tokio::spawn(async move { drop(answers.send((id, asked.await)).await) });
                        }
                    }
                }
                Output::Resolve { id, query } => {
                    tokio::spawn(ask(resolver.clone(), id, query, resolved.clone()));
                }
                Output::Bridge(message) => match to_xmpp.try_send(message) {
                    Err(mpsc::error::TrySendError::Full(ToXmpp::Charge(notice))) => {
                        error!(session = %notice.session, "charge notice lost: the XMPP side is behind");
                        meter.notice_lost();
                    }
                    Err(mpsc::error::TrySendError::Full(_)) => unsaid = true,
                    // The service stops: nobody is left to hear it.
                    Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                },
                Output::Record(record) => {
                    meter.record(&record);
                    records.keep(record);
                }
                Output::Keep { key, value, ttl } => keeper.send(Kept::Put { key, value, ttl }),
                Output::Forget { key } => keeper.send(Kept::Remove { key }),
            }
        }
        if let Some((id, answer)) = near.pop_front() {
            endpoint.handle_fetched(clock::now(), id, answer);
            continue;
        }
        if endpoint.is_drained() {
            break;
        }
        // Messages that are here already need no waiting; everybody else has a turn after so many.
        if in_a_row < IN_A_ROW
            && let Ok(event) = received.try_recv()
        {
            in_a_row += 1;
            hear(&mut endpoint, &mut network, event);
            continue;
        }
        in_a_row = 0;
        let wake = [endpoint.poll_timeout().map(Instant::from_std), stop_by]
            .into_iter()
            .flatten()
            .min();
        if armed != wake {
            armed = wake;
            if let Some(at) = wake {
                sleep.as_mut().reset(at);
            }
        }
        tokio::select! {
            Some(event) = received.recv() => hear(&mut endpoint, &mut network, event),
            Some((id, answer)) = located.recv() => endpoint.handle_dns(clock::now(), id, answer),
            Some((id, answer)) = answered.recv() => endpoint.handle_fetched(clock::now(), id, answer),
            Some(event) = media.recv() => {
                meter.media(&event);
                endpoint.handle_media(clock::now(), &event);
            }
            Some(message) = from_xmpp.recv() => endpoint.handle_bridge(clock::now(), message),
            asked = control.recv(), if stop_by.is_none() => match asked {
                Some(Control::Settings(settings)) => endpoint.handle_settings(settings),
                Some(Control::UsersChanged) => endpoint.handle_users_changed(clock::now()),
                Some(Control::Stop(grace)) => {
                    info!(calls = endpoint.calls(), "ending calls");
                    stop_by = Some(Instant::now() + grace);
                    endpoint.drain(clock::now());
                }
                // Nobody is left who could say how long to wait.
                None => {
                    stop_by = Some(Instant::now());
                    endpoint.drain(clock::now());
                }
            },
            _ = round.tick() => meter.show(&endpoint, &relay, &network),
            () = &mut sleep, if armed.is_some() => {
                armed = None;
                if stop_by.is_some_and(|at| at <= Instant::now()) {
                    warn!(calls = endpoint.calls(), "calls did not end in time");
                    break;
                }
                endpoint.handle_timeout(clock::now());
            }
        }
    }
    meter.show(&endpoint, &relay, &network);
    relay.shutdown();
    records.finish().await;
    keeper.finish().await;
}

/// Tells the endpoint what the network brought.
fn hear<E: Entropy>(endpoint: &mut Endpoint<E>, network: &mut Network, event: Received) {
    match event {
        Received::Message { flow, bytes } => endpoint.handle_datagram(clock::now(), flow, bytes),
        Received::Broken { flow, head } => endpoint.handle_broken(clock::now(), flow, head),
        Received::Opened {
            flow,
            connection,
            proved,
        } => {
            if network.opened(flow, connection) {
                endpoint.handle_closed(clock::now(), flow);
            }
            endpoint.handle_proved(flow, proved);
        }
        Received::Reached { flow, serial, proved } => {
            if network.is_current(&flow, serial) {
                endpoint.handle_proved(flow, proved);
            }
        }
        Received::Silent { flow, serial } => {
            if !endpoint.wants(&flow) {
                network.drop_silent(&flow, serial);
            }
        }
        Received::Closed { flow, serial } => {
            if network.closed(&flow, serial) {
                endpoint.handle_closed(clock::now(), flow);
            }
        }
    }
}

/// How many messages are taken before anything else has a turn.
const IN_A_ROW: u32 = 64;
/// How often counters are shown.
const ROUND: Duration = Duration::from_secs(1);
/// Answers that may wait for the loop: as many as questions the endpoint asks at most, so no sender ever waits.
const ANSWERS: usize = 4096;
/// Answers of DNS that may wait for the loop. Who finds no room waits: there are few, and nobody waits for them.
const LOCATED: usize = 64;
/// How long the store may take for one user before the caller is told 503.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
/// Records and bindings that may wait for their store.
const BACKLOG: usize = 16_384;
/// How often a write is tried again, and how long it waits before.
const RETRIES: u32 = 10;
/// First pause between tries; it doubles.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How long the last writes may take when the service stops.
const FINISH: Duration = Duration::from_secs(3);

type DnsAnswer = (QueryId, Option<locate::Answer>);

async fn fetch<U: UserStore>(users: Arc<U>, query: Query) -> Result<Option<Arc<User>>, ()> {
    let ask = async {
        match &query {
            Query::Login { realm, username } => users.by_login(realm, username).await,
            Query::Owner(Lookup::ByAor(aor)) => users.by_aor(aor).await,
            Query::Owner(Lookup::ByNumber(number)) => users.by_number(number).await,
            Query::Holder(jid) => users.by_jid(jid).await,
        }
    };
    match timeout(FETCH_TIMEOUT, ask).await {
        Ok(Ok(user)) => Ok(user),
        Ok(Err(error)) => {
            warn!(dependency = "user-store", %error, "a user could not be read");
            Err(())
        }
        Err(_) => {
            warn!(dependency = "user-store", "no answer in time");
            Err(())
        }
    }
}

async fn ask(resolver: Option<Resolver>, id: QueryId, query: locate::Query, answers: mpsc::Sender<DnsAnswer>) {
    let answer = match &resolver {
        Some(resolver) => resolver.ask(&query).await,
        None => None,
    };
    // The loop is gone only when the service stops.
    let _ = answers.send((id, answer)).await;
}

/// Reads the bindings of an earlier run; without them phones are back at their next refresh.
async fn restore<E: Entropy, S: SharedState>(endpoint: &mut Endpoint<E>, state: &S) {
    match state.scan(registrar::STATE_PREFIX).await {
        Ok(entries) => {
            for (key, value) in entries {
                endpoint.handle_restored(clock::now(), &key, &value);
            }
        }
        Err(error) => warn!(dependency = "state", %error, "bindings of an earlier run could not be read"),
    }
    endpoint.handle_users_changed(clock::now());
}

/// Writes in the background, in order, and tries again.
struct Writer<T> {
    queue: mpsc::Sender<T>,
    task: tokio::task::JoinHandle<()>,
}

impl<T> Writer<T> {
    async fn finish(self) {
        drop(self.queue);
        if timeout(FINISH, self.task).await.is_err() {
            error!("the last writes did not end in time");
        }
    }
}

impl Writer<CallRecord> {
    /// A record for which there is no room goes into the log whole: it is the bill.
    fn keep(&self, record: CallRecord) {
        if let Err(mpsc::error::TrySendError::Full(record) | mpsc::error::TrySendError::Closed(record)) =
            self.queue.try_send(record)
        {
            error!(session = %record.session, cause = ?record.cause, started = record.started.0, "record not stored");
        }
    }
}

impl Writer<Kept> {
    fn send(&self, kept: Kept) {
        if self.queue.try_send(kept).is_err() {
            warn!(dependency = "state", "a binding was not kept");
        }
    }
}

enum Kept {
    Put { key: String, value: Bytes, ttl: Duration },
    Remove { key: String },
}

fn spawn_recorder<U: UserStore + 'static>(users: Arc<U>, metrics: Metrics) -> Writer<CallRecord> {
    let (queue, mut records) = mpsc::channel::<CallRecord>(BACKLOG);
    let task = tokio::spawn(async move {
        while let Some(record) = records.recv().await {
            let written = retry(|| users.record(&record)).await;
            if let Err(error) = written {
                metrics.store_errors.count("records");
                error!(session = %record.session, cause = ?record.cause, %error, "record not stored");
            }
        }
    });
    Writer { queue, task }
}

fn spawn_keeper<S: SharedState + 'static>(state: Arc<S>, metrics: Metrics) -> Writer<Kept> {
    let (queue, mut kept) = mpsc::channel::<Kept>(BACKLOG);
    let task = tokio::spawn(async move {
        while let Some(kept) = kept.recv().await {
            // The next refresh writes it again, so one try is enough.
            let written = match &kept {
                Kept::Put { key, value, ttl } => state.put(key, value.clone(), *ttl).await,
                Kept::Remove { key } => state.remove(key).await.map(|_| ()),
            };
            if let Err(error) = written {
                metrics.store_errors.count("state");
                warn!(dependency = "state", %error, "a binding was not kept");
            }
        }
    });
    Writer { queue, task }
}

async fn retry<F: Future<Output = Result<(), StoreError>>>(mut write: impl FnMut() -> F) -> Result<(), StoreError> {
    let mut pause = RETRY_PAUSE;
    for _ in 1..RETRIES {
        match write().await {
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(pause).await,
            done => return done,
        }
        pause *= 2;
    }
    write().await
}
