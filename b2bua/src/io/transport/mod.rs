//! Bytes in, bytes out. What they mean is decided in `core`.
//!
//! UDP is one socket for each listener and endpoint, which the loop reads itself. A stream is one task for each connection, which cuts
//! the stream into messages ([`Framer`](cusax_common::core::sip::frame::Framer)) and writes what the loop gives it; all
//! queues are bounded, so that a peer that does not read, or says nothing, costs only its own connection.

mod inbox;
pub mod stream;
pub mod tls;
pub mod udp;
mod websocket;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::core::carriers::Opening;
use crate::core::flow::Flow;
use crate::core::share::{FIRST, Share};
use inbox::Inboxes;
use stream::{Proof, StreamListener};
use tls::{Carrier, Trust};
use udp::{SharedUdp, UdpListener};

/// What the network brought.
#[derive(Clone, Debug)]
pub enum Received {
    /// One message of a connection.
    Message {
        /// Where an answer goes.
        flow: Flow,
        /// The whole message.
        bytes: Bytes,
    },
    /// The head of a message whose end cannot be told; nothing more comes by this connection.
    Broken {
        /// Where an answer goes.
        flow: Flow,
        /// Its headers.
        head: Bytes,
    },
    /// A connection is there, before anything that it says.
    Opened {
        /// Its name.
        flow: Flow,
        /// The way to write to it.
        connection: Connection,
        /// The trunks of the carriers that its certificate proves the peer to be.
        proved: Vec<String>,
    },
    /// A connection that we opened is up.
    Reached {
        /// Its name.
        flow: Flow,
        /// Which connection of that name.
        serial: u64,
        /// The trunks of the carriers that its certificate proves the peer to be.
        proved: Vec<String>,
    },
    /// A connection has said no whole message for [`IDLE`].
    Silent {
        /// Its name.
        flow: Flow,
        /// Which connection of that name.
        serial: u64,
    },
    /// A connection is over, or could not be opened.
    Closed {
        /// Its name.
        flow: Flow,
        /// Which connection of that name.
        serial: u64,
    },
}

/// One bound socket.
#[derive(Debug)]
pub enum Listener {
    /// Datagrams.
    Udp(UdpListener),
    /// Connections.
    Stream(StreamListener),
}

/// The writing end of a connection. Dropping the last one ends the connection once what was queued is written, if that is
/// not too slow.
#[derive(Clone, Debug)]
pub struct Connection {
    serial: u64,
    queue: mpsc::Sender<Bytes>,
    waiting: Arc<AtomicUsize>,
    cut: Arc<Notify>,
}

/// The reading end of a connection's queue, with the count of its bytes.
#[derive(Debug)]
struct Queue {
    messages: mpsc::Receiver<Bytes>,
    waiting: Arc<AtomicUsize>,
    /// Told when the connection is to end at once, though others hold it and though something is queued.
    cut: Arc<Notify>,
}

/// How fast a peer has to read: each message within [`WRITE`], and whatever waits at any time within [`KEEP_UP`]. Else one
/// that takes a little now and then would have all that may wait for as long as it likes.
#[derive(Debug)]
struct Pace {
    until: Instant,
    /// What has to be read until then.
    left: usize,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { until: now, left: 0 }
    }

    /// When a message must be written that is begun now, and is the first of so many bytes.
    fn deadline(&mut self, now: Instant, waiting: usize) -> Instant {
        if self.left == 0 {
            (self.until, self.left) = (now + KEEP_UP, waiting);
        }
        self.until.min(now + WRITE)
    }

    fn written(&mut self, length: usize) {
        self.left = self.left.saturating_sub(length);
    }
}

/// What did not come or go, counted for all sockets together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Datagrams that the kernel dropped, nearly always because the loop was behind.
    pub inbox_full: u64,
    /// Messages that the kernel did not take, or whose connection was gone.
    pub unsent: u64,
    /// Connections refused because there were too many.
    pub refused: u64,
    /// Connections closed because they said nothing, or did not read.
    pub dropped: u64,
}

#[derive(Clone, Debug)]
enum Socket {
    Udp(SharedUdp),
    Stream(StreamListener),
}

/// Every socket, as the loop of one endpoint sees them.
#[derive(Debug)]
pub struct Network {
    share: Share,
    sockets: Vec<Socket>,
    connections: HashMap<Flow, Connection>,
    /// Those that any endpoint has opened, so that there is one to each place. Nobody looks here for one that it has.
    opened: Arc<Mutex<Opened>>,
    carriers: Arc<[Carrier]>,
    /// Who may have signed the certificates of other domains; without it none is reached by TLS.
    others: Option<Trust>,
    inboxes: Inboxes,
    lost: Lost,
}

/// Connections of ours, as long as some endpoint holds them.
#[derive(Debug, Default)]
struct Opened {
    by_flow: HashMap<Flow, Known>,
    /// With so many those that are over are forgotten.
    full: usize,
}

/// A connection that this does not keep.
#[derive(Debug)]
struct Known {
    serial: u64,
    queue: mpsc::WeakSender<Bytes>,
    waiting: Arc<AtomicUsize>,
    cut: Arc<Notify>,
}

impl Opened {
    fn find(&self, flow: &Flow) -> Option<Connection> {
        let known = self.by_flow.get(flow)?;
        let queue = known.queue.upgrade().filter(|queue| !queue.is_closed())?;
        Some(Connection {
            serial: known.serial,
            queue,
            waiting: Arc::clone(&known.waiting),
            cut: Arc::clone(&known.cut),
        })
    }

    /// Remembers one that is about to be opened, unless there is one already, which is given then.
    fn note(&mut self, flow: Flow, connection: &Connection) -> Option<Connection> {
        let before = self.find(&flow);
        if before.is_some() {
            return before;
        }
        if self.by_flow.len() >= self.full {
            self.by_flow.retain(|_, known| known.queue.strong_count() > 0);
            self.full = 2 * self.by_flow.len() + FEW;
        }
        let known = Known {
            serial: connection.serial,
            queue: connection.queue.downgrade(),
            waiting: Arc::clone(&connection.waiting),
            cut: Arc::clone(&connection.cut),
        };
        self.by_flow.insert(flow, known);
        None
    }
}

impl Network {
    /// Takes connections from now on; datagrams are left to whoever reads [`datagrams`](Self::datagrams). There is one for
    /// each endpoint. The listeners are in the order of their identifiers; `carriers` are those that speak TLS; `others` is
    /// the trust toward other domains, if such are called.
    #[must_use]
    pub fn start(
        shares: &[Share],
        listeners: Vec<Listener>,
        carriers: &Arc<[Carrier]>,
        others: Option<&Trust>,
    ) -> Vec<(Self, mpsc::Receiver<Received>)> {
        let (inboxes, ends) = Inboxes::open(shares);
        let opened = Arc::default();
        let network = |share: &Share| Self {
            share: *share,
            sockets: Vec::with_capacity(listeners.len()),
            connections: HashMap::new(),
            opened: Arc::clone(&opened),
            carriers: Arc::clone(carriers),
            others: others.cloned(),
            inboxes: inboxes.clone(),
            lost: Lost::default(),
        };
        let mut networks: Vec<_> = shares.iter().map(network).collect();
        for listener in listeners {
            match listener {
                Listener::Udp(udp) => {
                    for (network, socket) in networks.iter_mut().zip(udp.share()) {
                        network.sockets.push(Socket::Udp(socket));
                    }
                }
                Listener::Stream(stream) => {
                    stream.clone().start(inboxes.clone());
                    for network in &mut networks {
                        network.sockets.push(Socket::Stream(stream.clone()));
                    }
                }
            }
        }
        networks.into_iter().zip(ends).collect()
    }

    /// A datagram came here that is another endpoint's. One that does not keep up loses it, as if it had come there.
    pub(in crate::io) fn pass_on(&mut self, to: u8, flow: Flow, bytes: Bytes) {
        if !self.inboxes.pass_on(to, flow, bytes) {
            self.lost.inbox_full += 1;
        }
    }

    /// The sockets of datagrams.
    pub(in crate::io) fn datagrams(&self) -> Vec<SharedUdp> {
        let sockets = self.sockets.iter().filter_map(|socket| match socket {
            Socket::Udp(udp) => Some(udp.clone()),
            Socket::Stream(_) => None,
        });
        sockets.collect()
    }

    /// Sends a message; tells whether its flow can still be used. A connection is opened only as `opening` says, which is
    /// asked where there is none.
    pub fn send(&mut self, flow: Flow, bytes: Bytes, opening: &dyn Fn() -> Option<Opening>) -> bool {
        match self.sockets.get(usize::from(flow.listener.0)) {
            Some(Socket::Udp(udp)) => {
                udp.send(flow.remote, &bytes);
                return true;
            }
            Some(Socket::Stream(_)) => {}
            None => {
                self.lost.unsent += 1;
                return false;
            }
        }
        if !self.has(&flow)
            && let Some(opening) = opening()
        {
            let (connection, queue) = Connection::new();
            let proof = match &opening {
                Opening::Plain | Opening::Probe => None,
                Opening::Tls { trunk } => {
                    let carrier = self.carriers.iter().find(|carrier| carrier.trunk == *trunk);
                    carrier.map(|carrier| Proof {
                        trunk: Some(carrier.trunk.clone()),
                        name: carrier.name.clone(),
                        trust: carrier.trust.clone(),
                    })
                }
                Opening::Domain { name } => self.others.clone().map(|trust| Proof {
                    trunk: None,
                    name: name.clone(),
                    trust,
                }),
            };
            if proof.is_none() && matches!(opening, Opening::Tls { .. } | Opening::Domain { .. }) {
                self.lost.unsent += 1;
                return false;
            }
            let patience = if opening == Opening::Probe { PROBE } else { CONNECT };
            let before = self.ours().note(flow, &connection);
            if let Some(before) = before {
                // Another endpoint was quicker.
                self.connections.insert(flow, before);
                return self.send(flow, bytes, &|| None);
            }
            if let Some(Socket::Stream(stream)) = self.sockets.get(usize::from(flow.listener.0)) {
                stream.connect(flow, queue, &connection, (patience, proof), self.inboxes.clone());
            }
            self.connections.insert(flow, connection);
        }
        let connection = self.connections.get(&flow);
        let sent = connection.is_some_and(|connection| connection.send(bytes));
        if !sent {
            self.lost.unsent += 1;
            // Whoever does not read gets no more: to skip one message would be worse than to begin anew. Whoever has hung
            // up in the meantime was not dropped by us.
            let dropped = self.connections.remove(&flow).filter(|one| !one.queue.is_closed());
            if let Some(dropped) = dropped {
                self.lost.dropped += 1;
                dropped.cut.notify_one();
            }
        }
        sent
    }

    /// Whether a connection is the one in use of that name, also where another endpoint has opened it.
    pub fn is_ours(&mut self, flow: &Flow, serial: u64) -> bool {
        if self.has(flow) && !self.is_current(flow, serial) {
            // That of before may not have been heard of as over.
            let newer = self.ours().find(flow).filter(|found| found.serial == serial);
            self.connections.extend(newer.map(|newer| (*flow, newer)));
        }
        self.is_current(flow, serial)
    }

    /// Whether there is a connection of that name, here or opened by another endpoint.
    fn has(&mut self, flow: &Flow) -> bool {
        if self.connections.contains_key(flow) {
            return true;
        }
        let found = self.ours().find(flow);
        found.is_some_and(|connection| self.connections.insert(*flow, connection).is_none())
    }

    fn ours(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection has come. Tells whether one of the same name was there before, which is over then.
    #[must_use]
    pub fn opened(&mut self, flow: Flow, connection: Connection) -> bool {
        self.connections.insert(flow, connection).is_some()
    }

    /// A connection has ended; tells whether it is the one in use.
    pub fn closed(&mut self, flow: &Flow, serial: u64) -> bool {
        let current = self.is_current(flow, serial);
        if current {
            self.connections.remove(flow);
        }
        current
    }

    /// Whether this is the connection in use of that name.
    #[must_use]
    pub fn is_current(&self, flow: &Flow, serial: u64) -> bool {
        self.connections
            .get(flow)
            .is_some_and(|connection| connection.serial == serial)
    }

    /// Ends a connection that this endpoint does not want, if no other one does.
    pub fn drop_silent(&mut self, flow: &Flow, serial: u64) {
        let next = self.share.index() + 1;
        if next < self.share.count() {
            // Should it not hear of it there is another time.
            self.inboxes.try_send(next, Received::Silent { flow: *flow, serial });
        } else if self.is_current(flow, serial)
            && let Some(silent) = self.connections.remove(flow)
        {
            self.lost.dropped += 1;
            silent.cut.notify_one();
        }
    }

    /// How many connections there are: the first endpoint has all.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// What was lost so far.
    #[must_use]
    pub fn lost(&self) -> Lost {
        let mut lost = self.lost;
        for socket in &self.sockets {
            match socket {
                Socket::Udp(udp) => {
                    lost.inbox_full += udp.overflowed();
                    lost.unsent += udp.unsent();
                }
                Socket::Stream(stream) if self.share.index() == FIRST => lost.refused += stream.refused(),
                Socket::Stream(_) => {}
            }
        }
        lost
    }
}

impl Connection {
    fn new() -> (Self, Queue) {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let (queue, messages) = mpsc::channel(QUEUE);
        let waiting = Arc::new(AtomicUsize::new(0));
        let cut = Arc::new(Notify::new());
        let connection = Self {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            queue,
            waiting: Arc::clone(&waiting),
            cut: Arc::clone(&cut),
        };
        (connection, Queue { messages, waiting, cut })
    }

    /// Queues a message; false when too much waits, or the connection is over.
    fn send(&self, bytes: Bytes) -> bool {
        let length = bytes.len();
        let before = self.waiting.fetch_add(length, Ordering::Relaxed);
        before.saturating_add(length) <= MAX_WAITING && self.queue.try_send(bytes).is_ok()
    }
}

impl Queue {
    async fn next(&mut self) -> Option<Bytes> {
        self.messages.recv().await
    }

    fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn written(&self, length: usize) {
        self.waiting.fetch_sub(length, Ordering::Relaxed);
    }
}

/// How many messages of connections may wait for the loop; when they are that many, no connection is read further.
pub const INBOX: usize = 4096;
/// A connection that has said no whole message for so long is closed, unless phones registered by it or calls use it.
pub const IDLE: Duration = Duration::from_secs(32);
/// So many connections of ours are remembered, whether they are over or not.
const FEW: usize = 64;
/// How many bytes may wait to be written on one connection.
const MAX_WAITING: usize = 256 * 1024;
/// How many messages may wait there.
const QUEUE: usize = 1024;
/// How long opening a connection may take.
const CONNECT: Duration = Duration::from_secs(4);
/// The same where there is another way.
const PROBE: Duration = Duration::from_secs(1);
/// How long a peer may refuse to read.
const WRITE: Duration = Duration::from_secs(10);
/// How long it may take to read what waits.
const KEEP_UP: Duration = Duration::from_secs(30);
/// How long TLS and WebSocket may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the last answer on a broken stream may take to be read.
const LINGER: Duration = Duration::from_secs(1);
/// How long a listener pauses after a connection that it could not take, so that it does not spin.
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::flow::{ListenerId, Transport};

    /// However short or long what is said to it.
    #[test]
    fn a_peer_that_never_reads_has_at_most_256_kib_waiting() {
        const BOUND: usize = 256 * 1024;
        for size in [1, 300, 1400, 65_536] {
            let (connection, mut queue) = Connection::new();
            let message = Bytes::from(vec![b'x'; size]);
            let mut waiting = 0;
            while connection.send(message.clone()) {
                waiting += size;
                assert!(waiting <= BOUND, "{size}: {waiting}");
            }
            let messages = std::iter::from_fn(|| queue.messages.try_recv().ok());
            assert_eq!(messages.map(|message| message.len()).sum::<usize>(), waiting, "{size}");
            assert!(waiting + size > BOUND || waiting == QUEUE * size, "{size}: {waiting}");
            println!("messages of {size} bytes: at most {waiting} bytes wait");
        }
    }

    /// Not when all that was queued has been refused as well.
    #[tokio::test]
    async fn a_peer_that_does_not_read_is_cut_off_at_once() {
        let config = stream::StreamConfig {
            id: ListenerId(0),
            transport: Transport::Tcp,
            local: ([127, 0, 0, 1], 0).into(),
            tls: None,
            origins: Vec::new(),
            carriers: Arc::default(),
            guests: stream::Guests::of_this_process(),
        };
        let listener = StreamListener::bind(config).unwrap();
        let address = listener.local_addr();
        let listeners = vec![Listener::Stream(listener)];
        let (mut network, mut received) = Network::start(&[Share::whole()], listeners, &Arc::default(), None).remove(0);
        let _peer = tokio::net::TcpStream::connect(address).await.unwrap();
        let Some(Received::Opened { flow, connection, .. }) = received.recv().await else {
            panic!("it is there first");
        };
        let serial = connection.serial;
        assert!(!network.opened(flow, connection));
        // As much as the system takes, and then as much as may wait.
        while network.send(flow, Bytes::from(vec![b'x'; 16_384]), &|| {
            panic!("nothing is to be opened")
        }) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let closed = tokio::time::timeout(WRITE / 4, received.recv()).await;
        assert!(
            matches!(closed, Ok(Some(Received::Closed { serial: closed, .. })) if closed == serial),
            "{closed:?}"
        );
    }

    /// Each takes a message of ten kilobytes after so many seconds.
    #[test]
    fn whoever_reads_a_little_now_and_then_is_not_waited_for() {
        const LENGTH: usize = 10_000;
        let start = Instant::now();
        for (seconds, queued, keeps_up) in [
            (0, 25, true),
            (1, 25, true),
            (9, 25, false),
            (9, 3, true),
            (11, 1, false),
        ] {
            let (mut pace, mut now, mut taken) = (Pace::new(start), start, 0);
            // What is read is followed by as much again.
            while taken < 1000 {
                let deadline = pace.deadline(now, queued * LENGTH);
                now += Duration::from_secs(seconds);
                if now > deadline {
                    break;
                }
                pace.written(LENGTH);
                taken += 1;
            }
            assert_eq!(
                taken == 1000,
                keeps_up,
                "{queued} at {seconds} s each: {taken} were read"
            );
            if !keeps_up {
                assert!(now - start <= KEEP_UP + WRITE, "{queued} at {seconds} s each");
            }
        }
    }

    #[test]
    fn what_is_written_makes_room() {
        let (connection, mut queue) = Connection::new();
        let message = Bytes::from(vec![b'x'; 65_536]);
        for _ in 0..100 {
            assert!(connection.send(message.clone()));
            let length = queue.messages.try_recv().expect("queued").len();
            queue.written(length);
        }
        assert_eq!(queue.waiting.load(Ordering::Relaxed), 0);
    }
}
