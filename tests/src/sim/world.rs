//! Steps from event to event.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cusax_b2bua::core::endpoint::{FetchId, Output, PlaceId, Query};
use cusax_b2bua::core::flow::{Flow, Identity, ListenerId, Transport};
use cusax_b2bua::core::locate::{self, QueryId};
use cusax_b2bua::core::media::{MediaCommand, MediaEvent, MediaId, MediaStats};
use cusax_b2bua::core::neighbour::Said;
use cusax_b2bua::core::settings::Settings;
use cusax_common::core::bridge::{ToB2bua, ToXmpp};
use cusax_common::core::entropy::{Entropy, Seeded};
use cusax_common::core::id::SessionId;
use cusax_common::core::record::CallRecord;
use cusax_common::core::sip::Status;
use cusax_common::core::store::Question;
use cusax_common::core::time::{Now, Wall};
use cusax_common::core::user::User;

use super::net::Weather;
use super::node::Node;
use crate::peer::phone::Phone;

/// A party of the world, by its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Actor(pub usize);

/// Everything, under one clock.
pub struct World {
    /// What decided all that is random.
    pub seed: u64,
    /// The service.
    pub node: Node,
    /// Phones and trunks.
    pub phones: Vec<Phone>,
    /// What the store holds.
    pub users: Vec<Arc<User>>,
    /// What the network does.
    pub weather: Weather,
    /// What the xmpp-module was told.
    pub bridge: Vec<(Duration, ToXmpp)>,
    /// What was recorded.
    pub records: Vec<CallRecord>,
    /// What became of calls that users wanted to be begun for them.
    pub placed: Vec<Result<SessionId, Status>>,
    /// Media sessions that are open.
    pub media: BTreeSet<MediaId>,
    /// Every command to the media engine, with its time.
    pub commands: Vec<(Duration, MediaCommand)>,
    /// What is kept in the shared state.
    pub kept: BTreeMap<String, Bytes>,
    /// Everything that was sent, when somebody listens: from, to, bytes.
    pub wire: Option<Vec<(SocketAddr, SocketAddr, Bytes)>>,
    /// What has come for addresses where none of `phones` is.
    pub arrived: VecDeque<(SocketAddr, Bytes)>,
    /// What reached the service, when somebody wants to know: from, bytes.
    pub delivered: Option<Vec<(SocketAddr, Bytes)>>,
    /// A digest of everything that was sent, by which two runs can be compared.
    pub trace: DefaultHasher,
    /// Whether phones take connections from the service; a phone answers by the way that it was spoken to last.
    pub takes_connections: bool,
    /// What DNS answers; what is not here is never answered.
    pub zone: HashMap<locate::Query, locate::Answer>,
    /// What DNS was asked.
    pub asked: Vec<locate::Query>,
    /// How long the store thinks.
    pub store_delay: Duration,
    /// Whether nobody says anything in any call.
    pub mute: bool,
    /// Whether the store answers.
    pub store_up: bool,
    /// How many more media sessions there is room for.
    pub ports: usize,
    address: SocketAddr,
    connections: HashMap<SocketAddr, Flow>,
    /// When the last thing arrives that one endpoint has said to another.
    between: HashMap<(u8, u8), Duration>,
    epoch: Instant,
    now: Duration,
    entropy: Seeded,
    queue: BTreeMap<(Duration, u64), Event>,
    number: u64,
}

enum Event {
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Bytes,
    },
    Fetched {
        at: u8,
        id: FetchId,
        query: Query,
    },
    Media(MediaEvent),
    Closed(Flow),
    Resolved {
        at: u8,
        id: QueryId,
        answer: locate::Answer,
    },
    Neighbour {
        from: u8,
        to: u8,
        said: Said,
    },
}

impl World {
    /// A world with these settings and users and nobody switched on. The service has one endpoint, or `ENDPOINTS`.
    pub fn new(seed: u64, settings: Settings, users: Vec<User>) -> Self {
        Self::of(1, seed, settings, users)
    }

    /// The same with so many endpoints, unless `ENDPOINTS` says otherwise.
    pub fn of(endpoints: u8, seed: u64, settings: Settings, users: Vec<User>) -> Self {
        let told = std::env::var("ENDPOINTS").ok();
        let endpoints = told.map_or(endpoints, |told| told.parse().expect("ENDPOINTS is a small number"));
        let mut entropy = Seeded::new(seed);
        let secret = entropy.bytes::<32>();
        let address = settings.listeners[0].local;
        let node = Node::new(&Arc::new(settings), endpoints, &secret, &mut entropy);
        Self {
            seed,
            node,
            phones: Vec::new(),
            users: users.into_iter().map(Arc::new).collect(),
            weather: Weather::default(),
            bridge: Vec::new(),
            records: Vec::new(),
            placed: Vec::new(),
            media: BTreeSet::new(),
            commands: Vec::new(),
            kept: BTreeMap::new(),
            wire: None,
            arrived: VecDeque::new(),
            delivered: None,
            trace: DefaultHasher::new(),
            takes_connections: true,
            connections: HashMap::new(),
            between: HashMap::new(),
            zone: HashMap::new(),
            asked: Vec::new(),
            store_delay: STORE_DELAY,
            mute: false,
            store_up: true,
            ports: usize::MAX,
            address,
            #[expect(clippy::disallowed_methods, reason = "only differences to it matter")]
            epoch: Instant::now(),
            now: Duration::ZERO,
            entropy,
            queue: BTreeMap::new(),
            number: 0,
        }
    }

    /// Where the service listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A phone speaks by a connection from now on.
    pub fn connect(&mut self, remote: SocketAddr, transport: Transport, listener: u16) {
        let flow = Flow {
            listener: ListenerId(listener),
            transport,
            remote,
            identity: Identity::NONE,
        };
        self.connections.insert(remote, flow);
    }

    /// The connection by which a phone was spoken to last, or speaks.
    pub fn connection(&self, remote: SocketAddr) -> Option<Flow> {
        self.connections.get(&remote).copied()
    }

    /// The service begins to look for its carriers.
    pub fn start(&mut self) {
        self.node.handle_start(self.now());
        self.settle();
    }

    /// Puts a phone into the world.
    pub fn add(&mut self, phone: Phone) -> Actor {
        self.phones.push(phone);
        Actor(self.phones.len() - 1)
    }

    /// How long the world has lasted.
    pub fn elapsed(&self) -> Duration {
        self.now
    }

    /// The present.
    pub fn now(&self) -> Now {
        Now {
            instant: self.epoch + self.now,
            wall: Wall(WALL_EPOCH).after(self.now),
        }
    }

    /// Lets a phone do something.
    pub fn act(&mut self, actor: Actor, deed: impl FnOnce(&mut Phone, Instant)) {
        let now = self.now().instant;
        deed(&mut self.phones[actor.0], now);
        self.settle();
    }

    /// One phone.
    pub fn phone(&self, actor: Actor) -> &Phone {
        &self.phones[actor.0]
    }

    /// Puts raw bytes on the network.
    pub fn inject(&mut self, from: SocketAddr, bytes: impl Into<Bytes>) {
        let to = self.address;
        self.post(from, to, bytes.into());
    }

    /// Tells the service that users were changed.
    pub fn users_changed(&mut self) {
        self.node.handle_users_changed(self.now());
        self.settle();
    }

    /// Tells the service something from the xmpp-module.
    pub fn tell(&mut self, message: ToB2bua) {
        self.node.handle_bridge(self.now(), message);
        self.settle();
    }

    /// A user wants to be called, and then joined with somebody.
    pub fn place(&mut self, user: &str, to: &str) {
        self.node.handle_place(self.now(), PlaceId::Shell(1), user, to);
        self.settle();
    }

    /// The service is to stop.
    pub fn drain(&mut self) {
        self.node.drain(self.now());
        self.settle();
    }

    /// Runs for so long.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until the condition holds, at most for so long; tells whether it does.
    pub fn until(&mut self, time: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + time;
        loop {
            if condition(self) {
                return true;
            }
            if !self.step(end) {
                return condition(self);
            }
        }
    }

    /// When something happens next.
    pub(super) fn next(&self) -> Option<Duration> {
        let event = self.queue.first_key_value().map(|(&(at, _), _)| at);
        let phones = self.phones.iter().filter_map(Phone::poll_timeout);
        let deadlines = phones.chain(self.node.poll_timeout());
        let at = |instant: Instant| instant.saturating_duration_since(self.epoch).max(self.now);
        event.into_iter().chain(deadlines.map(at)).min()
    }

    /// One event or one deadline, whichever comes first; false when nothing happens before `end`.
    pub(super) fn step(&mut self, end: Duration) -> bool {
        let at = |instant: Instant| instant.saturating_duration_since(self.epoch);
        let event = self.queue.first_key_value().map(|(&(at, _), _)| at);
        let deadlines = self
            .phones
            .iter()
            .filter_map(Phone::poll_timeout)
            .chain(self.node.poll_timeout());
        let deadline = deadlines.map(at).min().map(|at| at.max(self.now));
        let next = match (event, deadline) {
            (Some(event), Some(deadline)) => event.min(deadline),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => return false,
        };
        if next > end {
            return false;
        }
        self.now = next;
        if event == Some(next) {
            if let Some((_, event)) = self.queue.pop_first() {
                self.happen(event);
            }
        } else {
            let now = self.now();
            for phone in &mut self.phones {
                if phone.poll_timeout().is_some_and(|due| due <= now.instant) {
                    phone.handle_timeout(now.instant);
                }
            }
            self.node.handle_timeout(now);
        }
        self.settle();
        true
    }

    fn happen(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Datagram { from, to, bytes } if to == self.address => {
                if let Some(delivered) = &mut self.delivered {
                    delivered.push((from, bytes.clone()));
                }
                let by_udp = Flow {
                    listener: ListenerId(0),
                    transport: Transport::Udp,
                    remote: from,
                    identity: Identity::NONE,
                };
                let flow = self.connections.get(&from).copied().unwrap_or(by_udp);
                self.node.handle_datagram(now, flow, bytes);
            }
            Event::Datagram { from, to, bytes } => {
                if let Some(phone) = self.phones.iter_mut().find(|phone| phone.address == to) {
                    phone.handle_datagram(now.instant, from, bytes);
                } else {
                    self.arrived.push_back((to, bytes));
                }
            }
            Event::Fetched { at, id, query } => {
                let answer = if self.store_up { Ok(self.find(&query)) } else { Err(()) };
                self.node.handle_fetched(now, at, id, answer);
            }
            Event::Media(event) => self.node.handle_media(now, &event),
            Event::Closed(flow) => self.node.handle_closed(now, flow),
            Event::Resolved { at, id, answer } => self.node.handle_dns(now, at, id, Some(answer)),
            Event::Neighbour { from, to, said } => self.node.handle_neighbour(now, from, to, said),
        }
    }

    fn settle(&mut self) {
        for index in 0..self.phones.len() {
            while let Some((to, bytes)) = self.phones[index].poll_output() {
                let from = self.phones[index].address;
                self.post(from, to, bytes);
            }
        }
        while let Some((at, output)) = self.node.poll_output() {
            match output {
                Output::Transmit { flow, bytes } => self.transmit(flow, bytes),
                Output::Media(command) => self.engine(command),
                Output::Fetch { id, query } => self.later(self.store_delay, Event::Fetched { at, id, query }),
                Output::Resolve { id, query } => {
                    self.asked.push(query.clone());
                    // A question that the zone does not know is never answered.
                    if let Some(answer) = self.zone.get(&query).cloned() {
                        self.later(DNS_DELAY, Event::Resolved { at, id, answer });
                    }
                }
                Output::Bridge(message) => self.bridge.push((self.now, message)),
                Output::Record(record) => self.records.push(record),
                Output::Placed { placed, .. } => self.placed.push(placed),
                Output::Keep { key, value, .. } => {
                    self.kept.insert(key, value);
                }
                Output::Neighbour { to, said } => self.between(at, to, said),
                Output::Forget { key } => {
                    self.kept.remove(&key);
                }
            }
        }
    }

    /// From one endpoint to another: in order, and each time as long as it takes.
    fn between(&mut self, from: u8, to: u8, said: Said) {
        let delay = Duration::from_micros(self.node.chance.next_u64() % MOST_BETWEEN);
        let before = self.between.get(&(from, to)).copied().unwrap_or_default();
        let at = (self.now + delay).max(before);
        self.between.insert((from, to), at);
        self.later(at - self.now, Event::Neighbour { from, to, said });
    }

    fn transmit(&mut self, flow: Flow, bytes: Bytes) {
        if flow.transport.reliable() {
            if !self.takes_connections {
                return self.later(CONNECT_DELAY, Event::Closed(flow));
            }
            self.connections.insert(flow.remote, flow);
        } else {
            self.connections.remove(&flow.remote);
        }
        self.post(self.address, flow.remote, bytes);
    }

    /// The media engine, which does what it is told at once.
    fn engine(&mut self, command: MediaCommand) {
        self.commands.push((self.now, command.clone()));
        match command {
            MediaCommand::Open { id, caller, callee } => {
                let event = if self.media.len() < self.ports {
                    self.media.insert(id);
                    let port = |offset: u16| 20_000 + u16::try_from(id.0 % 5_000).expect("small") * 4 + offset;
                    MediaEvent::Opened {
                        id,
                        caller: SocketAddr::new(caller, port(0)),
                        callee: SocketAddr::new(callee, port(2)),
                    }
                } else {
                    MediaEvent::Refused {
                        id,
                        why: cusax_b2bua::core::media::Refusal::Exhausted,
                    }
                };
                self.later(ENGINE_DELAY, Event::Media(event));
            }
            MediaCommand::Play { id, side, tone, .. } => {
                assert!(self.media.contains(&id), "seed {}: a tone without media", self.seed);
                self.later(tone.length(), Event::Media(MediaEvent::Played { id, side }));
            }
            MediaCommand::Close { id } => {
                self.media.remove(&id);
                self.later(
                    ENGINE_DELAY,
                    Event::Media(MediaEvent::Closed {
                        id,
                        stats: MediaStats::default(),
                    }),
                );
            }
            MediaCommand::Report { id } => {
                let mut stats = MediaStats::default();
                stats.caller.received = if self.mute { 7 } else { self.now.as_secs() };
                self.later(ENGINE_DELAY, Event::Media(MediaEvent::Reported { id, stats }));
            }
            MediaCommand::Aim { .. } | MediaCommand::Stop { .. } => {}
        }
    }

    fn find(&self, query: &Query) -> Option<Arc<User>> {
        let holds = |user: &&Arc<User>| match query.question() {
            Question::Login { realm, username } => user
                .credentials
                .iter()
                .any(|held| *held.realm == *realm && *held.username == *username),
            Question::Aor(aor) => user.aors.contains(aor),
            Question::Number(number) => user.numbers.contains(number),
            Question::Jid(jid) => user.jid == *jid,
        };
        self.users.iter().find(holds).cloned()
    }

    /// What was sent from one to the other since [`wire`](Self::wire) is there, as text.
    pub fn said(&self, from: SocketAddr, to: SocketAddr) -> Vec<String> {
        let wire = self.wire.iter().flatten();
        let between = wire.filter(|(sender, receiver, _)| (*sender, *receiver) == (from, to));
        between
            .map(|(_, _, bytes)| String::from_utf8_lossy(bytes).into_owned())
            .collect()
    }

    fn post(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        self.trace.write(&bytes);
        if let Some(wire) = &mut self.wire {
            wire.push((from, to, bytes.clone()));
        }
        for delay in self.weather.arrivals(&mut self.entropy) {
            self.later(
                delay,
                Event::Datagram {
                    from,
                    to,
                    bytes: bytes.clone(),
                },
            );
        }
    }

    fn later(&mut self, delay: Duration, event: Event) {
        self.number += 1;
        self.queue.insert((self.now + delay, self.number), event);
    }
}

/// An address of the test network (RFC 5737).
pub fn address(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from([192, 0, 2, last]), port)
}

/// How long what one endpoint says takes to the other at most, in microseconds.
const MOST_BETWEEN: u64 = 500;
/// What the calendar says when a world begins, in milliseconds.
const WALL_EPOCH: u64 = 1_790_000_000_000;
/// How long the store thinks, unless a test says otherwise.
const STORE_DELAY: Duration = Duration::from_millis(2);
/// How long the media engine thinks.
const CONNECT_DELAY: Duration = Duration::from_millis(500);
const DNS_DELAY: Duration = Duration::from_millis(20);
const ENGINE_DELAY: Duration = Duration::from_millis(1);
