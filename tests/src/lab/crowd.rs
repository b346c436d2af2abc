//! Many strangers at once, who say what they are told: most by datagrams, and some by TCP and by WebSocket.
#![expect(clippy::disallowed_methods, reason = "the laboratory waits in real time")]

use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use cusax_b2bua::core::flow::Transport;
use cusax_common::core::sip::frame::{Frame, Framer};

use super::service::Service;
use super::wire::{self, Heard, Wire};
use super::{Fault, Result};

/// The strangers of one test.
pub struct Crowd {
    tcp: SocketAddr,
    udp: SocketAddr,
    datagrams: Vec<UdpSocket>,
    /// Each with the socket beneath it.
    websockets: Vec<(Wire, TcpStream)>,
    /// Those that have said all that they will, until the service closes them.
    streams: Vec<TcpStream>,
    /// How many messages were said by datagrams, TCP and WebSocket.
    said: [u64; 3],
    /// How many messages the streams held, as their lengths cut them.
    cut: u64,
}

impl Crowd {
    /// They come.
    ///
    /// # Errors
    /// When the service does not take their connections.
    pub fn new(service: &Service) -> Result<Self> {
        let (udp, tcp, ws) = (
            service.address(Transport::Udp),
            service.address(Transport::Tcp),
            service.address(Transport::Ws),
        );
        let datagrams = (0..SENDERS).map(|host| Ok(UdpSocket::bind(stranger(82, host))?));
        let websockets = (0..WEBSOCKETS).map(|host| {
            let stream = wire::tcp(stranger(84, host), ws)?;
            let beneath = stream.try_clone()?;
            Ok((Wire::upgrade(Box::new(stream), Some("sip"), None)?, beneath))
        });
        Ok(Self {
            tcp,
            udp,
            datagrams: datagrams.collect::<Result<_>>()?,
            websockets: websockets.collect::<Result<_>>()?,
            streams: Vec::new(),
            said: [0; 3],
            cut: 0,
        })
    }

    /// One of them says something: of ten, one by a connection of its own and one by WebSocket.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn say(&mut self, bytes: &[u8]) -> Result<()> {
        let turn = self.said.iter().sum::<u64>();
        let pick = |count: usize| usize::try_from(turn / 10).unwrap_or_default() % count;
        match turn % 10 {
            0 => {
                let mut stream = wire::tcp(stranger(83, pick(usize::from(SENDERS)) as u8), self.tcp)?;
                // The service may have closed it already, having read as much as it can.
                let _ = stream.write_all(bytes);
                let _ = stream.shutdown(Shutdown::Write);
                stream.set_nonblocking(true)?;
                self.streams.push(stream);
                self.said[1] += 1;
                self.cut += messages(bytes);
            }
            1 => {
                let at = pick(self.websockets.len());
                self.websockets[at].0.send(bytes)?;
                self.said[2] += 1;
            }
            _ => {
                let at = usize::try_from(turn).unwrap_or_default() % self.datagrams.len();
                self.datagrams[at].send_to(bytes, self.udp)?;
                self.said[0] += 1;
            }
        }
        Ok(())
    }

    /// They read what was answered, so that nobody has to wait for them.
    ///
    /// # Errors
    /// When a WebSocket was closed, or the streams are not closed in time.
    pub fn listen(&mut self) -> Result<()> {
        for (wire, beneath) in &mut self.websockets {
            beneath.set_nonblocking(true)?;
            loop {
                match wire.hear(Duration::ZERO) {
                    Heard::Silence => break,
                    Heard::Closed(code) => return Err(Fault::new(format_args!("a WebSocket was closed: {code:?}"))),
                    Heard::Message(_) | Heard::Pong => {}
                }
            }
            beneath.set_nonblocking(false)?;
        }
        let end = Instant::now() + PATIENCE;
        loop {
            self.streams.retain_mut(is_open);
            if self.streams.len() <= MOST_OPEN {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Fault::new("streams that have ended are not closed"));
            }
            std::thread::sleep(STEP);
        }
    }

    /// How many whole messages the service should have had from them.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.said[0] + self.cut + self.said[2]
    }
}

impl fmt::Debug for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [udp, tcp, ws] = self.said;
        write!(
            f,
            "{} messages: {udp} by datagrams, {ws} by WebSocket, {tcp} by TCP, which were {} as their lengths cut them",
            udp + tcp + ws,
            self.cut
        )
    }
}

/// How many messages, and heads whose messages do not end, are in what one stream brings.
fn messages(bytes: &[u8]) -> u64 {
    let (mut framer, mut count) = (Framer::new(), 0);
    framer.push(bytes);
    loop {
        match framer.next_frame() {
            Ok(Some(Frame::Message(_))) => count += 1,
            Ok(Some(Frame::Ping)) => {}
            Ok(None) => return count,
            Err(broken) => return count + u64::from(!broken.head.is_empty()),
        }
    }
}

fn is_open(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

fn stranger(network: u8, host: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, network, 0, host)), 0)
}

/// How many addresses datagrams come from, and connections.
const SENDERS: u8 = 250;
/// How many WebSockets there are.
const WEBSOCKETS: u8 = 25;
/// How many streams may wait to be closed: the service lets a broken one linger for a second.
const MOST_OPEN: usize = 100;
/// How long they may wait for that.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing is done before looking again.
const STEP: Duration = Duration::from_millis(1);
