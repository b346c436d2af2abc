//! The far end of a trunk over UDP, TCP and TLS: it takes calls, makes calls, and notes by which connection what came.
//!
//! Over TLS it is strict: whoever connects must show a certificate. It ends, with its connections, when it is dropped.
#![expect(clippy::disallowed_methods, reason = "the laboratory waits in real time")]

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cusax_b2bua::core::flow::Transport;
use cusax_common::core::sip::frame::Framer;
use cusax_common::core::sip::typed::{CSeq, CallId, Contact, ContentType, From, MaxForwards, NameAddr, To, Via};
use cusax_common::core::sip::{Host, Message, Method, Request, Response, Status, Uri};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, crypto};

use super::authority::Identity;
use super::wire::{self, Heard, Wire};
use super::{Context as _, Fault, Result};

/// A carrier's server.
pub struct Carrier {
    address: SocketAddr,
    desk: Arc<Desk>,
    threads: Vec<JoinHandle<()>>,
}

/// One connection of a carrier, in the order in which they came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link(pub usize);

/// What all threads of a carrier share.
struct Desk {
    address: SocketAddr,
    transport: Transport,
    realm: String,
    over: AtomicBool,
    book: Mutex<Book>,
}

/// What a carrier knows.
#[derive(Default)]
struct Book {
    /// With what it refuses calls; none while it takes them.
    refusal: Option<Status>,
    lines: Vec<Line>,
    /// What came in by which connection.
    heard: Vec<(Link, Message)>,
    /// Why TLS was not agreed on, one for each connection that failed.
    faults: Vec<String>,
    /// The calls that it made, by Call-ID.
    calls: HashMap<String, Request>,
}

/// One connection.
struct Line {
    outgoing: mpsc::Sender<Bytes>,
    shown: Option<CertificateDer<'static>>,
    up: bool,
}

impl Carrier {
    /// Starts one that says to be `realm`, over UDP or TCP.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn start(transport: Transport, address: SocketAddr, realm: &str) -> Result<Self> {
        let desk = Desk::new(transport, address, realm);
        let shared = Arc::clone(&desk);
        let thread = if transport == Transport::Udp {
            let socket = UdpSocket::bind(address)?;
            socket.set_read_timeout(Some(STEP))?;
            std::thread::spawn(move || shared.datagrams(&socket))
        } else {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            std::thread::spawn(move || shared.accept(&listener, None))
        };
        Ok(Self {
            address,
            desk,
            threads: vec![thread],
        })
    }

    /// Starts one that shows this certificate over TLS, and asks for one that `clients` has signed.
    ///
    /// # Errors
    /// When the address is taken, or the certificate cannot be used.
    pub fn secure(
        address: SocketAddr,
        realm: &str,
        identity: &Identity,
        clients: &CertificateDer<'static>,
    ) -> Result<Self> {
        let desk = Desk::new(Transport::Tls, address, realm);
        let provider = Arc::new(crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(clients.clone()).context("a root")?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .context("a verifier")?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("versions")?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![identity.certificate().clone()], identity.key())
            .context("a certificate")?;
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let (shared, config) = (Arc::clone(&desk), Arc::new(config));
        let thread = std::thread::spawn(move || shared.accept(&listener, Some(&config)));
        Ok(Self {
            address,
            desk,
            threads: vec![thread],
        })
    }

    /// Where it takes calls.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on refuses calls with this status, or takes them again.
    ///
    /// # Panics
    /// If there is no such status.
    pub fn refuse(&self, status: Option<u16>) {
        self.desk.book().refusal = status.map(|code| Status::new(code).expect("a status"));
    }

    /// Opens a connection to a listener of the service, showing a certificate if one is given.
    ///
    /// # Errors
    /// When the service does not take it. If it only dislikes our certificate, the connection ends soon after.
    pub fn open(
        &mut self,
        service: SocketAddr,
        root: &CertificateDer<'static>,
        identity: Option<&Identity>,
    ) -> Result<Link> {
        let socket = wire::tcp(SocketAddr::new(self.address.ip(), 0), service)?;
        let wire = match self.desk.transport {
            Transport::Tls => Wire::Stream(Box::new(wire::tls_as(socket, root, identity)?), Framer::new()),
            _ => Wire::Stream(Box::new(socket), Framer::new()),
        };
        let (link, outgoing) = self.desk.enter(None);
        let desk = Arc::clone(&self.desk);
        self.threads
            .push(std::thread::spawn(move || desk.talk(link, wire, &outgoing)));
        Ok(link)
    }

    /// How many connections there were, those of both sides together.
    #[must_use]
    pub fn links(&self) -> usize {
        self.desk.book().lines.len()
    }

    /// Whether a connection is still there.
    #[must_use]
    pub fn is_up(&self, link: Link) -> bool {
        self.desk.book().lines[link.0].up
    }

    /// The certificate that the service showed on a connection that it opened.
    #[must_use]
    pub fn shown(&self, link: Link) -> Option<CertificateDer<'static>> {
        self.desk.book().lines[link.0].shown.clone()
    }

    /// Why TLS was not agreed on, for each connection of the service that failed.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.desk.book().faults.clone()
    }

    /// The requests of one method that came in, and by which connection.
    #[must_use]
    pub fn requests(&self, method: &Method) -> Vec<(Link, Request)> {
        let book = self.desk.book();
        let requests = book.heard.iter().filter_map(|(link, message)| match message {
            Message::Request(request) if request.method == *method => Some((*link, request.clone())),
            _ => None,
        });
        requests.collect()
    }

    /// How many messages came in.
    #[must_use]
    pub fn heard(&self) -> usize {
        self.desk.book().heard.len()
    }

    /// Calls a number of the service's users by a connection, with these parameters after its Via; gives the Call-ID.
    ///
    /// # Panics
    /// If the number is none.
    #[must_use]
    pub fn call(&self, link: Link, number: &str, via: &str) -> String {
        let mut book = self.desk.book();
        // No two carriers of one address may give the same.
        let call_id = format!("call{}at{}", CALLS.fetch_add(1, Ordering::Relaxed), self.address);
        let realm = &self.desk.realm;
        let mut request = Request::new(Method::Invite, uri(&format!("sip:{number}@sip.example.com")));
        self.desk.address_request(&mut request, &format!("{call_id}{via}"));
        let from = NameAddr::new(uri(&format!("sip:+442079460000@{realm}")));
        request.headers.put(&From(from.with_tag("carrier")));
        request.headers.put(&To(NameAddr::new(request.uri.clone())));
        request.headers.put(&CallId::new(&call_id));
        request.headers.put(&CSeq::new(1, Method::Invite));
        request.headers.put(&Contact(self.desk.contact()));
        request.headers.put(&ContentType::SDP);
        request.body = self.desk.sdp();
        book.send(link, request.to_bytes());
        book.calls.insert(call_id.clone(), request);
        call_id
    }

    /// The final status of a call that was made, once it is known.
    #[must_use]
    pub fn outcome(&self, call_id: &str) -> Option<u16> {
        self.answer(call_id).map(|response| response.status.code())
    }

    /// Hangs up a call that it made, by any of its connections.
    ///
    /// # Panics
    /// If there is no such call, or it was not answered.
    pub fn hang_up(&self, link: Link, call_id: &str) {
        let answer = self.answer(call_id).expect("an answer");
        let book = self.desk.book();
        let invite = book.calls.get(call_id).expect("a call");
        let bye = self.desk.within(invite, &answer, Method::Bye, 2);
        book.send(link, bye.to_bytes());
    }

    fn answer(&self, call_id: &str) -> Option<Response> {
        let book = self.desk.book();
        book.heard.iter().find_map(|(_, message)| match message {
            Message::Response(response) if response.status.is_final() && is_of(response, call_id) => {
                Some(response.clone())
            }
            _ => None,
        })
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.desk.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic in there has been told already.
            let _ = thread.join();
        }
    }
}

impl Book {
    fn send(&self, link: Link, bytes: Bytes) {
        // Who is gone hears nothing.
        let _ = self.lines[link.0].outgoing.send(bytes);
    }
}

impl Desk {
    fn new(transport: Transport, address: SocketAddr, realm: &str) -> Arc<Self> {
        Arc::new(Self {
            address,
            transport,
            realm: realm.to_owned(),
            over: AtomicBool::new(false),
            book: Mutex::default(),
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn enter(&self, shown: Option<CertificateDer<'static>>) -> (Link, mpsc::Receiver<Bytes>) {
        let (outgoing, queue) = mpsc::channel();
        let mut book = self.book();
        let up = true;
        book.lines.push(Line { outgoing, shown, up });
        (Link(book.lines.len() - 1), queue)
    }

    fn datagrams(&self, socket: &UdpSocket) {
        let (link, outgoing) = self.enter(None);
        let mut buffer = [0; 65_536];
        while !self.is_over() {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            self.hear(link, Bytes::copy_from_slice(&buffer[..length]));
            for bytes in outgoing.try_iter() {
                let _ = socket.send_to(&bytes, from);
            }
        }
    }

    fn accept(self: Arc<Self>, listener: &TcpListener, tls: Option<&Arc<ServerConfig>>) {
        let mut threads = Vec::new();
        while !self.is_over() {
            match listener.accept() {
                Ok((socket, _)) => {
                    let (desk, tls) = (Arc::clone(&self), tls.cloned());
                    threads.push(std::thread::spawn(move || desk.welcome(socket, tls)));
                }
                Err(_) => std::thread::sleep(STEP),
            }
        }
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn welcome(&self, socket: TcpStream, tls: Option<Arc<ServerConfig>>) {
        let prepared = socket
            .set_nonblocking(false)
            .and_then(|()| socket.set_read_timeout(Some(STEP)))
            .and_then(|()| socket.set_nodelay(true));
        prepared.expect("a socket");
        let (wire, shown) = match tls {
            None => (Wire::Stream(Box::new(socket), Framer::new()), None),
            Some(config) => match shake(config, socket) {
                Ok(stream) => {
                    let shown = stream.conn.peer_certificates().and_then(|chain| chain.first());
                    let shown = shown.map(|certificate| certificate.clone().into_owned());
                    (Wire::Stream(Box::new(stream), Framer::new()), shown)
                }
                Err(fault) => return self.book().faults.push(fault.to_string()),
            },
        };
        let (link, outgoing) = self.enter(shown);
        self.talk(link, wire, &outgoing);
    }

    fn talk(&self, link: Link, mut wire: Wire, outgoing: &mpsc::Receiver<Bytes>) {
        while !self.is_over() {
            for bytes in outgoing.try_iter() {
                if wire.send(&bytes).is_err() {
                    break;
                }
            }
            match wire.hear(Duration::ZERO) {
                Heard::Message(bytes) => self.hear(link, bytes),
                Heard::Closed(_) => break,
                Heard::Pong | Heard::Silence => {}
            }
        }
        self.book().lines[link.0].up = false;
    }

    /// Notes what came, and answers.
    fn hear(&self, link: Link, bytes: Bytes) {
        let message = Message::parse(bytes).expect("the service sends messages that can be read");
        let mut book = self.book();
        match &message {
            Message::Request(request) => {
                for response in self.answers(request, book.refusal) {
                    book.send(link, response.to_bytes());
                }
            }
            Message::Response(response) => {
                let invited = book.calls.values().find(|invite| {
                    let call_id = invite.headers.one::<CallId>().expect("ours");
                    is_of(response, call_id.as_str())
                });
                if let Some(invite) = invited
                    && response.status.is_final()
                    && response.cseq().is_ok_and(|cseq| cseq.method == Method::Invite)
                {
                    let ack = self.within(invite, response, Method::Ack, 1);
                    book.send(link, ack.to_bytes());
                }
            }
        }
        book.heard.push((link, message));
    }

    fn answers(&self, request: &Request, refusal: Option<Status>) -> Vec<Response> {
        let tagged = |status| {
            let mut response = request.response(status);
            if let Ok(To(to)) = request.headers.one::<To>() {
                response.headers.replace(&To(to.with_tag("carrier")));
            }
            response
        };
        match (&request.method, refusal) {
            (Method::Ack, _) => Vec::new(),
            (Method::Invite, Some(status)) => vec![tagged(status)],
            (Method::Invite, None) => {
                let mut answer = tagged(Status::OK);
                answer.headers.put(&Contact(self.contact()));
                answer.headers.put(&ContentType::SDP);
                answer.body = self.sdp();
                vec![tagged(Status::RINGING), answer]
            }
            _ => vec![request.response(Status::OK)],
        }
    }

    /// A request of a dialog that began with our INVITE; an ACK for a failure belongs to its transaction
    /// (RFC 3261 §17.1.1.3).
    fn within(&self, invite: &Request, answer: &Response, method: Method, sequence: u32) -> Request {
        let contact = answer.headers.list::<Contact>().unwrap_or_default();
        let target = contact.first().map_or(&invite.uri, |Contact(contact)| &contact.uri);
        let mut request = Request::new(method.clone(), target.clone());
        if answer.status.is_success() {
            let call_id = invite.headers.one::<CallId>().expect("ours");
            let branch = format!("{method}{sequence}{}", call_id.as_str());
            self.address_request(&mut request, &branch);
        } else {
            request.uri = invite.uri.clone();
            request.headers.put(&invite.headers.first::<Via>().expect("ours"));
            request.headers.put(&MaxForwards(70));
        }
        request.headers.put(&invite.headers.one::<From>().expect("ours"));
        request.headers.put(&answer.headers.one::<To>().expect("a To"));
        request.headers.put(&invite.headers.one::<CallId>().expect("ours"));
        request.headers.put(&CSeq::new(sequence, method));
        request
    }

    /// Via, with parameters after the branch if there are any, and Max-Forwards.
    fn address_request(&self, request: &mut Request, branch: &str) {
        let (branch, params) = branch.split_once(';').unwrap_or((branch, ""));
        let branch = format!("z9hG4bK{}", branch.replace(':', "-"));
        let (host, port) = (Host::from(self.address.ip()), Some(self.address.port()));
        let mut via = Via::new(self.transport.as_str(), host, port, &branch);
        for param in params.split(';').filter(|param| !param.is_empty()) {
            via.params.set(param, None);
        }
        request.headers.insert_first(&via);
        request.headers.put(&MaxForwards(70));
    }

    fn contact(&self) -> NameAddr {
        let transport = self.transport.parameter().unwrap_or("udp");
        NameAddr::new(uri(&format!("sip:carrier@{};transport={transport}", self.address)))
    }

    fn sdp(&self) -> Bytes {
        let ip = self.address.ip();
        Bytes::from(format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n\
             a=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
        ))
    }
}

fn shake(config: Arc<ServerConfig>, mut socket: TcpStream) -> Result<StreamOwned<ServerConnection, TcpStream>> {
    let mut connection = ServerConnection::new(config).context("TLS")?;
    let end = Instant::now() + PATIENCE;
    while connection.is_handshaking() {
        match connection.complete_io(&mut socket) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < end => {}
            Err(error) => return Err(Fault::new(error)),
            Ok(_) => {}
        }
    }
    Ok(StreamOwned::new(connection, socket))
}

fn is_of(response: &Response, call_id: &str) -> bool {
    response
        .headers
        .one::<CallId>()
        .is_ok_and(|found| found.as_str() == call_id)
}

fn uri(text: &str) -> Uri {
    text.parse().expect("a URI of a test")
}

/// How many calls were made.
static CALLS: AtomicU32 = AtomicU32::new(1);
/// How long one attempt to read waits.
const STEP: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(10);
