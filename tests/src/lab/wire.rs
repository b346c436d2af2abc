//! A SIP client of every transport that says exactly what it is told, for tests of what faces the network.
#![expect(clippy::disallowed_methods, reason = "the laboratory waits in real time")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cusax_b2bua::core::flow::Transport;
use cusax_common::core::sip::frame::{Frame, Framer};
use socket2::{Domain, Socket, Type};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket, client::IntoClientRequest as _, http::HeaderValue};

use super::authority::Identity;
use super::{Context as _, Fault, Result};

/// Anything that bytes go through.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// One way to the service.
pub enum Wire {
    /// A socket that is connected, so that only the service is heard.
    Udp(UdpSocket),
    /// TCP or TLS.
    Stream(Box<dyn Stream>, Framer),
    /// WebSocket, over TCP or TLS.
    WebSocket(Box<WebSocket<Box<dyn Stream>>>),
}

/// What came, or did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A whole message.
    Message(Bytes),
    /// The answer to a keep-alive.
    Pong,
    /// Nothing, in time.
    Silence,
    /// The service has closed the connection; for WebSocket with this code.
    Closed(Option<u16>),
}

impl Wire {
    /// Connects from `local` (port 0: any). `root` signs the service's certificate, whose name is `localhost`.
    ///
    /// # Errors
    /// When the service does not take the connection.
    pub fn connect(
        transport: Transport,
        local: SocketAddr,
        service: SocketAddr,
        root: &CertificateDer<'static>,
    ) -> Result<Self> {
        Ok(match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(local)?;
                socket.connect(service)?;
                socket.set_read_timeout(Some(STEP))?;
                Self::Udp(socket)
            }
            Transport::Tcp => Self::Stream(Box::new(tcp(local, service)?), Framer::new()),
            Transport::Tls => Self::Stream(Box::new(tls(tcp(local, service)?, root)?), Framer::new()),
            Transport::Ws => Self::upgrade(Box::new(tcp(local, service)?), Some("sip"), None)?,
            Transport::Wss => Self::upgrade(Box::new(tls(tcp(local, service)?, root)?), Some("sip"), None)?,
        })
    }

    /// Turns a stream into a WebSocket.
    ///
    /// # Errors
    /// The HTTP status with which the service refuses.
    pub fn upgrade(stream: Box<dyn Stream>, protocol: Option<&str>, origin: Option<&str>) -> Result<Self> {
        let mut request = "ws://localhost/".into_client_request().context("a request")?;
        let headers = request.headers_mut();
        if let Some(protocol) = protocol {
            headers.insert(
                "Sec-WebSocket-Protocol",
                HeaderValue::from_str(protocol).context("a protocol")?,
            );
        }
        if let Some(origin) = origin {
            headers.insert("Origin", HeaderValue::from_str(origin).context("an origin")?);
        }
        let mut attempt = tungstenite::client(request, stream);
        let end = Instant::now() + CONNECT;
        loop {
            match attempt {
                Ok((socket, _)) => return Ok(Self::WebSocket(Box::new(socket))),
                Err(tungstenite::HandshakeError::Interrupted(more)) if Instant::now() < end => {
                    attempt = more.handshake()
                }
                Err(tungstenite::HandshakeError::Interrupted(_)) => return Err(Fault::new("no handshake in time")),
                Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                    return Err(Fault::new(response.status().as_u16()));
                }
                Err(tungstenite::HandshakeError::Failure(error)) => return Err(Fault::new(error)),
            }
        }
    }

    /// Sends bytes as they are: a datagram, a piece of a stream, or one WebSocket message.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Udp(socket) => drop(socket.send(bytes)?),
            Self::Stream(stream, _) => {
                stream.write_all(bytes)?;
                stream.flush()?;
            }
            Self::WebSocket(socket) => {
                let message = match std::str::from_utf8(bytes) {
                    Ok(text) => Message::text(text),
                    Err(_) => Message::binary(bytes.to_vec()),
                };
                socket.send(message).context("sending")?;
            }
        }
        Ok(())
    }

    /// What comes next, within `limit`.
    pub fn hear(&mut self, limit: Duration) -> Heard {
        let end = Instant::now() + limit;
        loop {
            if let Some(heard) = self.step() {
                return heard;
            }
            if Instant::now() >= end {
                return Heard::Silence;
            }
        }
    }

    /// One attempt to read; none when nothing is there yet.
    fn step(&mut self) -> Option<Heard> {
        let mut buffer = [0; 65_536];
        let later = |kind| {
            matches!(
                kind,
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
            )
        };
        match self {
            Self::Udp(socket) => match socket.recv(&mut buffer) {
                Ok(length) => Some(Heard::Message(Bytes::copy_from_slice(&buffer[..length]))),
                Err(_) => None,
            },
            Self::Stream(stream, framer) => {
                match framer.next_frame() {
                    Ok(Some(Frame::Message(bytes))) => return Some(Heard::Message(bytes)),
                    Ok(Some(Frame::Ping)) => return Some(Heard::Pong),
                    Ok(None) => {}
                    Err(broken) => panic!("the service sends what cannot be cut: {broken:?}"),
                }
                match stream.read(&mut buffer) {
                    Ok(0) => Some(Heard::Closed(None)),
                    // A single line end is the answer to a keep-alive; the framer passes over it.
                    Ok(2) if &buffer[..2] == b"\r\n" => Some(Heard::Pong),
                    Ok(length) => {
                        framer.push(&buffer[..length]);
                        None
                    }
                    Err(error) if later(error.kind()) => None,
                    Err(_) => Some(Heard::Closed(None)),
                }
            }
            Self::WebSocket(socket) => match socket.read() {
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => Some(Heard::Message(message.into_data())),
                Ok(Message::Close(frame)) => Some(Heard::Closed(frame.map(|frame| frame.code.into()))),
                Ok(_) => None,
                Err(tungstenite::Error::Io(error)) if later(error.kind()) => None,
                Err(_) => Some(Heard::Closed(None)),
            },
        }
    }
}

/// A TCP connection from `local`.
///
/// # Errors
/// When it cannot be made.
pub fn tcp(local: SocketAddr, service: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(service), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&local.into())?;
    socket.connect_timeout(&service.into(), CONNECT)?;
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(STEP))?;
    stream.set_write_timeout(Some(CONNECT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// TLS over it, with the handshake done.
///
/// # Errors
/// When the service's certificate is not signed by `root`, or is for another name.
pub fn tls(socket: TcpStream, root: &CertificateDer<'static>) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    tls_as(socket, root, None)
}

/// The same, showing a certificate of our own if the service asks for one.
///
/// # Errors
/// As [`tls`]. A service that does not like our certificate tells only when something is read.
pub fn tls_as(
    mut socket: TcpStream,
    root: &CertificateDer<'static>,
    identity: Option<&Identity>,
) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).context("a root")?;
    let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("versions")?
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_auth_cert(vec![identity.certificate().clone()], identity.key())
            .context("a client's certificate")?,
    };
    let name = ServerName::try_from("localhost").context("a name")?;
    let mut connection = ClientConnection::new(Arc::new(config), name).context("TLS")?;
    let end = Instant::now() + CONNECT;
    while connection.is_handshaking() {
        match connection.complete_io(&mut socket) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {}
            Err(error) => return Err(Fault::new(error)),
        }
    }
    Ok(StreamOwned::new(connection, socket))
}

/// How long one attempt to read waits.
const STEP: Duration = Duration::from_millis(20);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
