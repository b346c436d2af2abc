//! The loop: sockets, stores, media engine and bridge on one side, the endpoint on the other. It decides nothing.
//!
//! Each endpoint has a thread of its own, which waits for datagrams itself: from the socket through the endpoint and back a
//! message meets no other thread, no task and no queue, unless it came to the socket of another endpoint of the node.
//! Everything else reaches it by [queues](super::others) and a [bell](super::bell).

#![expect(
    clippy::disallowed_methods,
    reason = "the shell reads the clock, and starts the tasks that wait for stores"
)]

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Wake as _, Waker};
use std::time::{Duration, Instant};

use cusax_common::core::bridge::{ToB2bua, ToXmpp};
use cusax_common::core::entropy::Entropy;
use cusax_common::core::id::SessionId;
use cusax_common::core::record::CallRecord;
use cusax_common::core::sip::Status;
use cusax_common::core::store::{Question, SharedState, UserStore};
use cusax_common::core::user::User;
use cusax_common::io::clock;
use cusax_common::io::telemetry::Metrics;
use jid::BareJid;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use crate::core::endpoint::{Endpoint, Output, PlaceId, Query};
use crate::core::locate::{self, QueryId};
use crate::core::media::MediaEvent;
use crate::core::neighbour::Said;
use crate::core::registrar;
use crate::core::settings::Settings;
use crate::core::share::Share;
use crate::io::bell::Bell;
use crate::io::meter::Meter;
use crate::io::others::{Event, Fetched, Located, Neighbour, Others};
use crate::io::relay::Relay;
use crate::io::resolver::Resolver;
use crate::io::transport::tls::{Carrier, Trust};
use crate::io::transport::udp::{self, SharedUdp};
use crate::io::transport::{Listener, Network, Received};
use crate::io::writer::{Kept, Pen, spawn_keeper, spawn_recorder};

/// What the loops of a node join together.
pub struct Shell<E, U, S> {
    /// The SIP side: at least one endpoint, or several that share a node. Each has a thread of its own.
    pub endpoints: Vec<Endpoint<E>>,
    /// In the order of their identifiers.
    pub listeners: Vec<Listener>,
    /// The carriers that speak TLS.
    pub carriers: Arc<[Carrier]>,
    /// Who may have signed the certificates of other domains, if such are called.
    pub others: Option<Trust>,
    /// For carriers that have names, and other domains; none if there are none.
    pub resolver: Option<Resolver>,
    /// The media engine.
    pub relay: Relay,
    /// What it says to each endpoint of that one's calls.
    pub media: Vec<mpsc::Receiver<MediaEvent>>,
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
    /// Call a user, and then join them with somebody.
    Place {
        /// Whom to call first.
        user: BareJid,
        /// With whom they want to speak: an address or a number.
        to: String,
        /// Told what becomes of it.
        answer: mpsc::Sender<Placed>,
    },
    /// End every call and return, within this time.
    Stop(Duration),
}

/// The correlation id of a call that was begun, or why there is none.
pub type Placed = Result<SessionId, Status>;

/// Runs until [`Control::Stop`] and until what was up has ended, or the time for that is over. Stores, resolver and
/// connections have their tasks in `runtime`; this thread, which is the first endpoint's, must not be one of its own.
///
/// # Errors
/// What the system says when it gives no descriptor to wait with, or no thread; and that an endpoint has failed.
pub fn drive<E, U, S>(shell: Shell<E, U, S>, runtime: &Handle) -> io::Result<()>
where
    E: Entropy + Send,
    U: UserStore + 'static,
    S: SharedState + 'static,
{
    let _entered = runtime.enter();
    let records = spawn_recorder(Arc::clone(&shell.users), shell.metrics.clone());
    let keeper = spawn_keeper(Arc::clone(&shell.state), shell.metrics.clone());
    let state = Arc::clone(&shell.state);
    let relay = Arc::new(shell.relay);
    let shares: Vec<Share> = shell.endpoints.iter().map(|endpoint| *endpoint.share()).collect();
    let (neighbours, heard): (Vec<_>, Vec<_>) = shares.iter().map(|_| mpsc::channel(NEIGHBOURS)).unzip();
    let (controls, mut asked): (Vec<_>, Vec<_>) = shares.iter().map(|_| mpsc::channel(CONTROLS)).unzip();
    // What the operator says to the first is passed on by it.
    match asked.first_mut() {
        Some(first) => *first = shell.control,
        None => return Err(io::Error::other("a node without an endpoint")),
    }
    let networks = Network::start(&shares, shell.listeners, &shell.carriers, shell.others.as_ref());
    let mut bridge = Some(shell.from_xmpp);
    let bells = shares.iter().map(|_| Ok(Arc::new(Bell::new()?)));
    let bells = bells.collect::<io::Result<Arc<[Arc<Bell>]>>>()?;
    let ended = Arc::new(Ended {
        bells: Arc::clone(&bells),
        drained: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
    });

    let (mut drivers, mut network, mut media) = (Vec::new(), networks.into_iter(), shell.media.into_iter());
    for ((endpoint, heard), asked) in shell.endpoints.into_iter().zip(heard).zip(asked) {
        let (Some((network, received)), Some(media)) = (network.next(), media.next()) else {
            return Err(io::Error::other("an endpoint without sockets or without media"));
        };
        let (resolved, located) = mpsc::channel(LOCATED);
        let (answers, fetched) = mpsc::channel(ANSWERS);
        let bell = Arc::clone(&bells[usize::from(endpoint.share().index())]);
        let others = Others {
            network: received,
            located,
            fetched,
            media,
            bridge: bridge.take().unwrap_or_else(|| mpsc::channel(1).1),
            neighbours: heard,
            control: Some(asked),
            turn: 0,
        };
        let driver = Driver {
            endpoint,
            network,
            relay: Arc::clone(&relay),
            users: Arc::clone(&shell.users),
            resolver: shell.resolver.clone(),
            meter: Meter::new(shell.metrics.clone()),
            to_xmpp: shell.to_xmpp.clone(),
            unsaid: false,
            near: VecDeque::new(),
            answers,
            resolved,
            records: records.pen(),
            keeper: keeper.pen(),
            neighbours: neighbours.clone(),
            unheard: VecDeque::new(),
            controls: controls.clone(),
            placing: HashMap::new(),
            next_place: 0,
            stop_by: None,
            ended: Arc::clone(&ended),
            is_drained: false,
        };
        drivers.push((driver, bell, others));
    }
    // Who listens there has ended when nobody else can speak.
    drop((neighbours, controls));

    let (mut first, bell, others) = drivers.remove(0);
    runtime.block_on(restore(&mut first.endpoint, &*state));
    let outcome = std::thread::scope(|scope| {
        let threads = drivers.into_iter().map(|(mut driver, bell, others)| {
            let name = format!("cusax-sip-{}", driver.endpoint.share().index());
            let work = move || {
                let _entered = runtime.enter();
                driver.work(&bell, others)
            };
            std::thread::Builder::new().name(name).spawn_scoped(scope, work)
        });
        let threads = threads.collect::<io::Result<Vec<_>>>();
        if threads.is_err() {
            ended.fail();
        }
        let outcome = first.work(&bell, others);
        drop(first);
        for thread in threads? {
            thread
                .join()
                .map_err(|_| io::Error::other("an endpoint has failed"))??;
        }
        outcome
    });
    if let Ok(relay) = Arc::try_unwrap(relay) {
        relay.shutdown();
    }
    runtime.block_on(async { tokio::join!(records.finish(), keeper.finish()) });
    outcome
}

/// How the loops of a node end: all together, since each may have something for another one to the last.
struct Ended {
    bells: Arc<[Arc<Bell>]>,
    /// How many have nothing left.
    drained: AtomicUsize,
    /// Whether one has come to its end too soon.
    failed: AtomicBool,
}

impl Ended {
    /// One has nothing left.
    fn drain(&self) {
        if self.drained.fetch_add(1, Ordering::SeqCst) + 1 >= self.bells.len() {
            self.ring();
        }
    }

    fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
        self.ring();
    }

    fn ring(&self) {
        self.bells.iter().for_each(|bell| bell.wake_by_ref());
    }

    fn is_over(&self) -> bool {
        self.drained.load(Ordering::SeqCst) >= self.bells.len() || self.failed.load(Ordering::SeqCst)
    }
}

/// Whoever holds this when it goes has failed.
struct Watch(Option<Arc<Ended>>);

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(ended) = &self.0 {
            ended.fail();
        }
    }
}

/// The endpoint and all that carries out what it wants.
struct Driver<E, U> {
    endpoint: Endpoint<E>,
    network: Network,
    relay: Arc<Relay>,
    users: Arc<U>,
    resolver: Option<Resolver>,
    meter: Meter,
    to_xmpp: mpsc::Sender<ToXmpp>,
    /// Whether something for the xmpp-module found no room.
    unsaid: bool,
    /// Users whom the store had near at hand.
    near: VecDeque<Fetched>,
    answers: mpsc::Sender<Fetched>,
    resolved: mpsc::Sender<Located>,
    records: Pen<CallRecord>,
    keeper: Pen<Kept>,
    /// The ways to all endpoints.
    neighbours: Vec<mpsc::Sender<Neighbour>>,
    /// What found no room on the way to one. Nothing more is read until it has.
    unheard: VecDeque<(u8, Said)>,
    /// By which the others hear what the operator says.
    controls: Vec<mpsc::Sender<Control>>,
    /// Who waits for a call to be begun.
    placing: HashMap<PlaceId, mpsc::Sender<Placed>>,
    next_place: u64,
    /// When to stop, whatever is up then.
    stop_by: Option<Instant>,
    ended: Arc<Ended>,
    /// Whether nothing is left here.
    is_drained: bool,
}

impl<E: Entropy, U: UserStore + 'static> Driver<E, U> {
    /// Begins, and goes on to the end.
    fn work(&mut self, bell: &Arc<Bell>, others: Others) -> io::Result<()> {
        // Without one of them, even if it has panicked, the others cannot go on.
        let mut watch = Watch(Some(Arc::clone(&self.ended)));
        self.endpoint.handle_start(clock::now());
        if self.endpoint.share().is_first() {
            self.endpoint.handle_bridge(clock::now(), ToB2bua::Resync);
        }
        let sockets = self.network.datagrams();
        let outcome = self.run(bell, &sockets, others);
        self.meter.show(&self.endpoint, &self.relay, &self.network);
        if outcome.is_ok() {
            watch.0 = None;
        }
        outcome
    }

    fn run(&mut self, bell: &Arc<Bell>, sockets: &[SharedUdp], mut others: Others) -> io::Result<()> {
        let waker = Waker::from(Arc::clone(bell));
        // Until when a socket is left alone after an error, so that a persistent one does not spin.
        let mut resting: Vec<Option<Instant>> = vec![None; sockets.len()];
        let mut waiting = watched(bell, sockets, &resting);
        let mut buffer = udp::buffer();
        // Those who came before the bell was there.
        let mut others_wait = true;
        let mut now = Instant::now();
        let mut round = now + ROUND;
        loop {
            // A resync says everything that found no room, once there is much of it again.
            if self.unsaid && self.to_xmpp.capacity() > self.to_xmpp.max_capacity() / 2 {
                self.unsaid = false;
                self.endpoint.handle_bridge(clock::now(), ToB2bua::Resync);
            }
            self.carry_out();
            if !self.unheard.is_empty() {
                self.speak_up();
                // The network was not listened to meanwhile.
                others_wait |= self.unheard.is_empty();
            }
            if self.endpoint.is_drained() && !std::mem::replace(&mut self.is_drained, true) {
                self.ended.drain();
            }
            if self.ended.is_over() {
                return Ok(());
            }
            let due = [self.endpoint.poll_timeout(), self.stop_by].into_iter().flatten().min();
            let rested = resting.iter().flatten().min().copied();
            let wake = [due, rested].into_iter().flatten().fold(round, Instant::min);
            let patience = if others_wait {
                PollTimeout::ZERO
            } else if !self.unheard.is_empty() {
                PollTimeout::from(UNHEARD)
            } else {
                timeout_until(now, wake)
            };
            // Whoever does not keep up is not given more by us: no socket is read before all was said.
            let heard = if self.unheard.is_empty() { waiting.len() } else { 1 };
            match poll(&mut waiting[..heard], patience) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let before = std::mem::replace(&mut now, Instant::now());
            // Who did not sleep is behind, and more than one datagram is likely to wait; else it is not worth a look.
            let in_a_row = if now.duration_since(before) < ASLEEP {
                IN_A_ROW
            } else {
                1
            };
            if waiting[0].any().unwrap_or_default() {
                bell.silence();
                others_wait = true;
            }
            let (mut seen, mut changed) = (waiting[1..].iter(), false);
            for (socket, resting) in sockets.iter().zip(&mut resting) {
                if let Some(until) = *resting {
                    if until <= now {
                        (*resting, changed) = (None, true);
                    }
                    continue;
                }
                let readable = self.unheard.is_empty() && seen.next().is_some_and(|one| one.any().unwrap_or_default());
                if readable && let Err(error) = self.hear(socket, &mut buffer, in_a_row) {
                    debug!(%error, "a socket of datagrams cannot be read");
                    (*resting, changed) = (Some(now + PAUSE), true);
                }
            }
            if changed {
                waiting = watched(bell, sockets, &resting);
            }
            for _ in 0..if others_wait { IN_A_ROW } else { 0 } {
                match others.next(&waker, self.unheard.is_empty()) {
                    Some(event) => self.take(event, &mut others),
                    None => {
                        others_wait = false;
                        break;
                    }
                }
            }
            now = Instant::now();
            if due.is_some_and(|due| due <= now) {
                if self.stop_by.is_some_and(|at| at <= now) {
                    warn!(calls = self.endpoint.calls(), "calls did not end in time");
                    if !self.is_drained {
                        self.ended.drain();
                    }
                    return Ok(());
                }
                self.endpoint.handle_timeout(clock::now());
            }
            if round <= now {
                round = now + ROUND;
                self.meter.show(&self.endpoint, &self.relay, &self.network);
            }
        }
    }

    /// Takes so many datagrams at most.
    fn hear(&mut self, socket: &SharedUdp, buffer: &mut [u8], most: u32) -> io::Result<()> {
        for _ in 0..most {
            let Some((flow, bytes)) = socket.receive(buffer)? else {
                break;
            };
            let owner = self.endpoint.share().owner_of(&bytes);
            if owner == self.endpoint.share().index() {
                self.endpoint.handle_datagram(clock::now(), flow, bytes);
                self.carry_out();
            } else {
                self.network.pass_on(owner, flow, bytes);
            }
        }
        Ok(())
    }

    /// Says to the others what they had no room for before.
    fn speak_up(&mut self) {
        while let Some((to, said)) = self.unheard.pop_front() {
            self.say(to, said);
            if !self.unheard.is_empty() && self.neighbours[usize::from(to)].capacity() == 0 {
                return;
            }
        }
    }

    /// Takes what comes from elsewhere.
    fn take(&mut self, event: Event, others: &mut Others) {
        match event {
            Event::Network(received) => self.take_received(received),
            Event::Located((id, answer)) => self.endpoint.handle_dns(clock::now(), id, answer),
            Event::Fetched((id, answer)) => self.endpoint.handle_fetched(clock::now(), id, answer),
            Event::Media(event) => {
                self.meter.media(&event);
                self.endpoint.handle_media(clock::now(), &event);
            }
            Event::Bridge(message) => self.endpoint.handle_bridge(clock::now(), message),
            Event::Neighbour((from, said)) => self.endpoint.handle_neighbour(clock::now(), from, said),
            Event::Control(Some(Control::Settings(settings))) => {
                self.pass_on(&Control::Settings(Arc::clone(&settings)));
                self.endpoint.handle_settings(settings);
            }
            // Registrations are the first endpoint's.
            Event::Control(Some(Control::UsersChanged)) => self.endpoint.handle_users_changed(clock::now()),
            Event::Control(Some(Control::Place { user, to, answer })) => {
                self.next_place += 1;
                let id = PlaceId::Shell(self.next_place);
                self.placing.insert(id, answer);
                self.endpoint.handle_place(clock::now(), id, &user, &to);
            }
            Event::Control(Some(Control::Stop(grace))) => {
                info!(calls = self.endpoint.calls(), "ending calls");
                self.pass_on(&Control::Stop(grace));
                self.stop(grace, others);
            }
            // Nobody is left who could say how long to wait.
            Event::Control(None) => {
                self.pass_on(&Control::Stop(Duration::ZERO));
                self.stop(Duration::ZERO, others);
            }
        }
        self.carry_out();
    }

    /// What the operator says to the first is said to all.
    fn pass_on(&self, control: &Control) {
        if !self.endpoint.share().is_first() {
            return;
        }
        for other in self.endpoint.share().others() {
            let (to, control) = (self.controls[usize::from(other)].clone(), control.clone());
            // It is gone only when all are.
            if let Err(mpsc::error::TrySendError::Full(control)) = to.try_send(control) {
                tokio::spawn(async move { drop(to.send(control).await) });
            }
        }
    }

    fn stop(&mut self, grace: Duration, others: &mut Others) {
        let now = clock::now();
        self.stop_by = Some(now.instant + grace);
        others.control = None;
        self.endpoint.drain(now);
    }

    /// Tells the endpoint what happened on a connection.
    fn take_received(&mut self, event: Received) {
        let Self { endpoint, network, .. } = self;
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
                if network.is_ours(&flow, serial) && !proved.is_empty() {
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

    /// Does all that the endpoint wants, and what comes of it.
    fn carry_out(&mut self) {
        loop {
            while let Some(output) = self.endpoint.poll_output() {
                self.carry(output);
            }
            let Some((id, answer)) = self.near.pop_front() else {
                return;
            };
            self.endpoint.handle_fetched(clock::now(), id, answer);
        }
    }

    /// Says something to another endpoint, or keeps it for when there is room: it must not be lost.
    fn say(&mut self, to: u8, said: Said) {
        let from = self.endpoint.share().index();
        match self.neighbours[usize::from(to)].try_send((from, said)) {
            Err(mpsc::error::TrySendError::Full((_, said))) => self.unheard.push_front((to, said)),
            // It has ended, and so will this one.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    fn carry(&mut self, output: Output) {
        match output {
            Output::Transmit { flow, bytes } => {
                self.meter.sent(&bytes);
                if !self.network.send(flow, bytes, &|| self.endpoint.opening(&flow)) {
                    self.endpoint.handle_closed(clock::now(), flow);
                }
            }
            Output::Media(command) => self.relay.submit(command),
            Output::Fetch { id, query } => match self.users.near(query.question()) {
                Some(user) => self.near.push_back((id, Ok(user))),
                None => {
                    let (asked, answers) = (fetch(Arc::clone(&self.users), query), self.answers.clone());
                    // The loop is gone only when the service stops.
                    tokio::spawn(async move { drop(answers.send((id, asked.await)).await) });
                }
            },
            Output::Resolve { id, query } => {
                tokio::spawn(ask(self.resolver.clone(), id, query, self.resolved.clone()));
            }
            Output::Bridge(message) => match self.to_xmpp.try_send(message) {
                Err(mpsc::error::TrySendError::Full(ToXmpp::Charge(notice))) => {
                    error!(session = %notice.session, "charge notice lost: the XMPP side is behind");
                    self.meter.notice_lost();
                }
                // Unlike a charge, nobody pays for not having heard of it.
                Err(mpsc::error::TrySendError::Full(ToXmpp::Call(_))) => self.meter.notice_lost(),
                Err(mpsc::error::TrySendError::Full(_)) => self.unsaid = true,
                // The service stops: nobody is left to hear it.
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            },
            Output::Record(record) => {
                self.meter.record(&record);
                self.records.keep(record);
            }
            Output::Placed { id, placed } => {
                // Whoever asked may have gone.
                if let Some(answer) = self.placing.remove(&id) {
                    let _ = answer.try_send(placed);
                }
            }
            Output::Neighbour { to, said } if self.unheard.is_empty() => self.say(to, said),
            Output::Neighbour { to, said } => self.unheard.push_back((to, said)),
            Output::Keep { key, value, ttl } => self.keeper.send(Kept::Put { key, value, ttl }),
            Output::Forget { key } => self.keeper.send(Kept::Remove { key }),
        }
    }
}

/// The bell, and each socket that does not rest, in their order.
fn watched<'a>(bell: &'a Bell, sockets: &'a [SharedUdp], resting: &[Option<Instant>]) -> Vec<PollFd<'a>> {
    let awake = sockets.iter().zip(resting).filter(|(_, resting)| resting.is_none());
    let descriptors = std::iter::once(bell.as_fd()).chain(awake.map(|(socket, _)| socket.as_fd()));
    descriptors
        .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN))
        .collect()
}

/// In whole milliseconds, of which a wait has some more rather than fewer, so that what is due is due then.
fn timeout_until(now: Instant, wake: Instant) -> PollTimeout {
    let left = wake.saturating_duration_since(now).as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}

/// How many messages are taken before anything else has a turn.
const IN_A_ROW: u32 = 64;
/// A wait that was shorter was none.
const ASLEEP: Duration = Duration::from_micros(5);
/// How long a socket is left alone after an error.
const PAUSE: Duration = Duration::from_millis(50);
/// What one endpoint may have to hear from the others.
const NEIGHBOURS: usize = 16_384;
/// How soon it is tried again to say what found no room, in milliseconds.
const UNHEARD: u8 = 1;
/// Wishes of the operator that may wait for one endpoint.
const CONTROLS: usize = 16;
/// How often counters are shown.
const ROUND: Duration = Duration::from_secs(1);
/// Answers that may wait for the loop: as many as questions the endpoint asks at most, so no sender ever waits.
const ANSWERS: usize = 4096;
/// Answers of DNS that may wait for the loop. Who finds no room waits: there are few, and nobody waits for them.
const LOCATED: usize = 64;
/// How long the store may take for one user before the caller is told 503.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);

async fn fetch<U: UserStore>(users: Arc<U>, query: Query) -> Result<Option<Arc<User>>, ()> {
    let ask = async {
        match query.question() {
            Question::Login { realm, username } => users.by_login(realm, username).await,
            Question::Aor(aor) => users.by_aor(aor).await,
            Question::Number(number) => users.by_number(number).await,
            Question::Jid(jid) => users.by_jid(jid).await,
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

async fn ask(resolver: Option<Resolver>, id: QueryId, query: locate::Query, answers: mpsc::Sender<Located>) {
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
