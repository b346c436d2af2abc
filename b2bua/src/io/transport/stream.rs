//! SIP over streams: TCP and TLS (RFC 3261 §18), and what WebSocket stands on.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cusax_common::core::sip::frame::{Frame, Framer};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc::WeakSender;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, warn};

use super::inbox::Inboxes;
use super::tls::{self, Carrier, Shown, Tls, Trust};
use super::{Connection, HANDSHAKE, IDLE, LINGER, PAUSE, Pace, Queue, Received, WRITE, websocket};
use crate::core::admission::network;
use crate::core::flow::{Flow, Identity, ListenerId, Transport};

/// One bound socket that takes connections.
#[derive(Clone, Debug)]
pub struct StreamListener {
    id: ListenerId,
    transport: Transport,
    local: SocketAddr,
    socket: Arc<TcpListener>,
    tls: Option<Tls>,
    origins: Arc<[String]>,
    carriers: Arc<[Carrier]>,
    guests: Arc<Guests>,
    refused: Arc<AtomicU64>,
    /// Where its connections live: TLS must not hold up the loop.
    runtime: Handle,
}

/// How a listener of connections is to be.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// Its number.
    pub id: ListenerId,
    /// How messages travel.
    pub transport: Transport,
    /// What to bind.
    pub local: SocketAddr,
    /// The certificate, where the transport needs one.
    pub tls: Option<Tls>,
    /// For WebSocket: the origins whose pages may connect; none means the pages of this host.
    pub origins: Vec<String>,
    /// The carriers that a certificate may prove somebody to be.
    pub carriers: Arc<[Carrier]>,
    /// Who is connected, to all listeners together.
    pub guests: Arc<Guests>,
}

impl StreamListener {
    /// Binds the address of a listener, whose connections will live in the runtime that this is called in.
    ///
    /// # Errors
    /// What the system says, for instance that the address is in use.
    pub fn bind(config: StreamConfig) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(config.local), Type::STREAM, Some(Protocol::TCP))?;
        if config.local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // A restart must not wait for connections of the last run to be forgotten.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&config.local.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into())?;
        Ok(Self {
            id: config.id,
            transport: config.transport,
            local: socket.local_addr()?,
            socket: Arc::new(socket),
            tls: config.tls,
            origins: config.origins.into(),
            carriers: config.carriers,
            guests: config.guests,
            refused: Arc::default(),
            runtime: Handle::current(),
        })
    }

    /// What the socket is bound to, with the port that the system chose for port 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// How many connections were refused because there were too many.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Takes connections until the other end of `inbox` is gone.
    pub(super) fn start(self, inbox: Inboxes) {
        self.runtime.clone().spawn(self.accept(inbox));
    }

    async fn accept(self, inbox: Inboxes) {
        loop {
            tokio::select! {
                () = inbox.closed() => return,
                accepted = self.socket.accept() => match accepted {
                    Ok((socket, remote)) => {
                        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
                        match Guests::enter(&self.guests, remote.ip()) {
                            Some(place) => {
                                let welcome = self.clone().welcome(socket, remote, place, inbox.clone());
                                self.runtime.spawn(welcome);
                            }
                            None => {
                                self.refused.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                    // Out of descriptors, most likely.
                    Err(_) => sleep(PAUSE).await,
                },
            }
        }
    }

    async fn welcome(self, socket: TcpStream, remote: SocketAddr, _place: Place, inbox: Inboxes) {
        prepare(&socket);
        let flow = Flow {
            listener: self.id,
            transport: self.transport,
            remote,
            identity: Identity::NONE,
        };
        match &self.tls {
            None => self.speak(socket, flow, Vec::new(), inbox).await,
            Some(tls) => match timeout(HANDSHAKE, tls.accept(socket)).await {
                Ok(Ok(stream)) => {
                    let proved = tls::proved(stream.get_ref().1.peer_certificates(), Shown::ByClient, &self.carriers);
                    self.speak(stream, flow, proved, inbox).await;
                }
                Ok(Err(error)) => debug!(%error, "TLS refused"),
                Err(_) => debug!("a TLS handshake took too long"),
            },
        }
    }

    /// The connection is secure, if it is to be: speaks SIP on it, or WebSocket first.
    async fn speak<S>(&self, stream: S, flow: Flow, proved: Vec<String>, inbox: Inboxes)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        if let Transport::Ws | Transport::Wss = self.transport {
            match timeout(HANDSHAKE, websocket::shake(stream, &self.origins)).await {
                Ok(Ok(socket)) => {
                    let Some((serial, queue, _)) = open(flow, proved, &inbox).await else {
                        return;
                    };
                    websocket::carry(socket, flow, serial, queue, &inbox).await;
                    let _ = inbox.send(Received::Closed { flow, serial }).await;
                }
                Ok(Err(error)) => debug!(%error, "WebSocket refused"),
                Err(_) => debug!("a WebSocket handshake took too long"),
            }
            return;
        }
        let Some((serial, queue, pongs)) = open(flow, proved, &inbox).await else {
            return;
        };
        carry(stream, flow, serial, queue, pongs, &inbox).await;
        let _ = inbox.send(Received::Closed { flow, serial }).await;
    }

    /// Opens a connection for a queue that the loop writes to already.
    pub(super) fn connect(
        &self,
        flow: Flow,
        queue: Queue,
        connection: &Connection,
        (patience, proof): (Duration, Option<Proof>),
        inbox: Inboxes,
    ) {
        let (local, serial, pongs) = (self.local.ip(), connection.serial, connection.queue.downgrade());
        let carriers = Arc::clone(&self.carriers);
        self.runtime.spawn(async move {
            match timeout(patience, dial(local, flow.remote)).await {
                Ok(Ok(socket)) => match proof {
                    None => {
                        let proved = Vec::new();
                        let _ = inbox.send(Received::Reached { flow, serial, proved }).await;
                        carry(socket, flow, serial, queue, pongs, &inbox).await;
                    }
                    Some(Proof { trunk, name, trust }) => {
                        match timeout(HANDSHAKE, trust.connect(&name, socket)).await {
                            Ok(Ok(stream)) => {
                                let chain = stream.get_ref().1.peer_certificates();
                                let proved = tls::proved(chain, Shown::ByServer, &carriers);
                                let _ = inbox.send(Received::Reached { flow, serial, proved }).await;
                                carry(stream, flow, serial, queue, pongs, &inbox).await;
                            }
                            Ok(Err(error)) => match trunk {
                                Some(trunk) => warn!(%error, trunk, name, "a carrier's TLS was refused"),
                                None => debug!(%error, "the TLS of another domain was refused"),
                            },
                            Err(_) => debug!("a TLS handshake took too long"),
                        }
                    }
                },
                Ok(Err(error)) => debug!(%error, "a connection could not be opened"),
                Err(_) => debug!("a connection could not be opened in time"),
            }
            let _ = inbox.send(Received::Closed { flow, serial }).await;
        });
    }
}

/// What a server must show by its certificate.
pub(super) struct Proof {
    /// The trunk, if it is a carrier's.
    pub(super) trunk: Option<String>,
    /// The name that it must hold.
    pub(super) name: String,
    /// Who may have signed that.
    pub(super) trust: Trust,
}

async fn dial(local: IpAddr, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.bind(SocketAddr::new(local, 0))?;
    let socket = socket.connect(remote).await?;
    prepare(&socket);
    Ok(socket)
}

/// Announces a connection to the loop.
async fn open(flow: Flow, proved: Vec<String>, inbox: &Inboxes) -> Option<(u64, Queue, WeakSender<Bytes>)> {
    let (connection, queue) = Connection::new();
    let (serial, pongs) = (connection.serial, connection.queue.downgrade());
    let opened = Received::Opened {
        flow,
        connection,
        proved,
    };
    inbox.send(opened).await.ok()?;
    Some((serial, queue, pongs))
}

/// Small messages go at once, and a peer that vanished without a word is noticed.
fn prepare(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(20))
        .with_retries(3);
    let _ = SockRef::from(socket).set_tcp_keepalive(&keepalive);
}

/// Reads and writes until either ends.
async fn carry<S>(stream: S, flow: Flow, serial: u64, queue: Queue, pongs: WeakSender<Bytes>, inbox: &Inboxes)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (reader, writer) = tokio::io::split(stream);
    let (waiting, cut) = (Arc::clone(&queue.waiting), Arc::clone(&queue.cut));
    tokio::select! {
        () = cut.notified() => {}
        () = read(reader, flow, serial, &pongs, &waiting, inbox) => {}
        () = write(writer, queue) => {}
    }
}

async fn read(
    mut reader: impl AsyncRead + Unpin,
    flow: Flow,
    serial: u64,
    pongs: &WeakSender<Bytes>,
    waiting: &std::sync::atomic::AtomicUsize,
    inbox: &Inboxes,
) {
    let mut framer = Framer::new();
    let mut buffer = BytesMut::with_capacity(BUFFER);
    let mut deadline = Instant::now() + IDLE;
    loop {
        buffer.clear();
        match timeout_at(deadline, reader.read_buf(&mut buffer)).await {
            Err(_) => {
                if inbox.send(Received::Silent { flow, serial }).await.is_err() {
                    return;
                }
                deadline = Instant::now() + IDLE;
                continue;
            }
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(_)) => framer.push(&buffer),
        }
        // One answer is enough for all that came together.
        let mut ponged = false;
        loop {
            match framer.next_frame() {
                Ok(None) => break,
                Ok(Some(Frame::Ping)) => {
                    // A full queue means that the peer does not read, which the loop will notice.
                    if let Some(queue) = pongs.upgrade().filter(|_| !std::mem::replace(&mut ponged, true)) {
                        waiting.fetch_add(PONG.len(), Ordering::Relaxed);
                        if queue.try_send(Bytes::from_static(PONG)).is_err() {
                            waiting.fetch_sub(PONG.len(), Ordering::Relaxed);
                        }
                    }
                }
                Ok(Some(Frame::Message(bytes))) => {
                    deadline = Instant::now() + IDLE;
                    if inbox.send(Received::Message { flow, bytes }).await.is_err() {
                        return;
                    }
                }
                Err(broken) => {
                    debug!(why = broken.why, "a stream is broken");
                    if !broken.head.is_empty() {
                        let head = broken.head;
                        let _ = inbox.send(Received::Broken { flow, head }).await;
                        sleep(LINGER).await;
                    }
                    return;
                }
            }
        }
    }
}

async fn write(mut writer: impl AsyncWrite + Unpin, mut queue: Queue) {
    let mut pace = Pace::new(Instant::now());
    while let Some(bytes) = queue.next().await {
        let deadline = pace.deadline(Instant::now(), queue.waiting());
        match timeout_at(deadline, writer.write_all(&bytes)).await {
            Ok(Ok(())) => queue.written(bytes.len()),
            Ok(Err(_)) | Err(_) => return,
        }
        pace.written(bytes.len());
        // TLS keeps back what it has not been told to send.
        if queue.messages.is_empty() && !matches!(timeout(WRITE, writer.flush()).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = timeout(LINGER, writer.shutdown()).await;
}

/// Who is connected: not too many, and not too many from one address (IPv6: one /64 network).
#[derive(Debug)]
pub struct Guests {
    most: usize,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    taken: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// A guest's place, given back when it is dropped.
struct Place {
    guests: Arc<Guests>,
    source: IpAddr,
}

impl Guests {
    /// Room for half of the files that this process may have open, since calls and stores need some as well.
    #[must_use]
    pub fn of_this_process() -> Arc<Self> {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let files = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
        Arc::new(Self {
            most: files.map_or(USUAL, |files| files / 2).min(MOST),
            places: Mutex::default(),
        })
    }

    fn enter(guests: &Arc<Self>, source: IpAddr) -> Option<Place> {
        let source = network(source);
        let mut places = guests.places.lock().unwrap_or_else(PoisonError::into_inner);
        let from_there = places.by_source.get(&source).copied().unwrap_or_default();
        if places.taken >= guests.most || from_there >= MAX_FROM_ONE.min(guests.most / 4) {
            return None;
        }
        places.taken += 1;
        *places.by_source.entry(source).or_default() += 1;
        Some(Place {
            guests: Arc::clone(guests),
            source,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.guests.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.taken -= 1;
        if let Some(count) = places.by_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                places.by_source.remove(&self.source);
            }
        }
    }
}

/// The most connections, whatever the system allows.
const MOST: usize = 131_072;
/// As many where the system does not tell.
const USUAL: usize = 512;
/// The most connections from one address: the phones of a house behind one router.
const MAX_FROM_ONE: usize = 1024;
/// Connections that the kernel keeps until they are taken.
const BACKLOG: i32 = 1024;
/// What is read at one time, in bytes. Each connection has such a buffer.
const BUFFER: usize = 4096;
/// The answer to a keep-alive (RFC 5626 §4.4.1).
const PONG: &[u8] = b"\r\n";
