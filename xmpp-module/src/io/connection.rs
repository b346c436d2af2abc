//! The stream to the server (XEP-0114): handshake, reconnects with back-off, bounded writes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use cusax_common::core::entropy::Entropy;
use futures::{SinkExt as _, StreamExt as _};
use minidom::Element;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_xmpp::xmlstream::{ReadError, StreamHeader, Timeouts, XmlStream, initiate_stream};
use xmpp_parsers::component::Handshake;

use super::driver::XmppConfig;
use super::guard::Guard;
use super::stanza::Stanza;
use crate::core::ns;

/// What happens on the connection.
#[derive(Debug)]
pub enum Event {
    /// The server accepted us.
    Connected,
    /// The stream is gone, or could not be had; another attempt is under way.
    Closed(Fault),
    /// A stanza.
    Stanza(Element),
    /// Nothing was read for a while.
    Idle,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The server is another machine and the stream would not be encrypted.
    #[error(
        "{0} is another machine, and the component stream is not encrypted; allow it by plain_network if nobody can listen"
    )]
    PlainNetwork(SocketAddr),
    /// The server does not take our name or secret, or has another connection of that name.
    #[error("the server refuses us: {0}")]
    Refused(String),
    /// Anything that trying again may mend.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server took too long.
    #[error("the server did not answer in time")]
    Slow,
    /// The server ended the stream.
    #[error("the server ended the stream")]
    Ended,
}

/// The one connection, in whatever state.
pub struct Connection {
    config: XmppConfig,
    state: State,
    attempts: u32,
}

type Stream = XmlStream<Guard<TcpStream>, Stanza>;
type Attempt = Pin<Box<dyn Future<Output = Result<Stream, Fault>> + Send>>;

enum State {
    Resting(Instant),
    Connecting(Attempt),
    Up(Box<Stream>),
}

impl Connection {
    /// A connection that will be tried at once.
    pub fn new(config: XmppConfig) -> Self {
        let attempt: Attempt = Box::pin(connect(config.clone()));
        Self {
            config,
            state: State::Connecting(attempt),
            attempts: 0,
        }
    }

    /// The next event. Dropping the future loses nothing.
    pub async fn event(&mut self, entropy: &mut impl Entropy) -> Event {
        loop {
            match &mut self.state {
                State::Resting(until) => {
                    sleep_until(*until).await;
                    self.state = State::Connecting(Box::pin(connect(self.config.clone())));
                }
                State::Connecting(attempt) => match attempt.await {
                    Ok(stream) => {
                        self.attempts = 0;
                        self.state = State::Up(Box::new(stream));
                        return Event::Connected;
                    }
                    Err(fault) => return self.rest(entropy, fault),
                },
                State::Up(stream) => {
                    let read = stream.next().await;
                    stream.get_stream().reset();
                    match read {
                        Some(Ok(Stanza::Element(element) | Stanza::TooDeep(element))) if element.ns() == ns::STREAM => {
                            return self.rest(entropy, stream_error(&element));
                        }
                        Some(Ok(Stanza::Element(element) | Stanza::TooDeep(element))) => return Event::Stanza(element),
                        Some(Err(ReadError::SoftTimeout)) => return Event::Idle,
                        Some(Err(ReadError::ParseError(_))) => {}
                        Some(Err(ReadError::HardError(error))) => return self.rest(entropy, Fault::Io(error)),
                        Some(Err(ReadError::StreamFooterReceived)) | None => return self.rest(entropy, Fault::Ended),
                    }
                }
            }
        }
    }

    /// Sends a stanza, if the stream is up. A server that does not read for [`WRITE`] loses the stream.
    pub async fn send(&mut self, entropy: &mut impl Entropy, stanza: &Element) -> Result<(), Event> {
        let State::Up(stream) = &mut self.state else {
            return Ok(());
        };
        match timeout(WRITE, stream.send(stanza)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.rest(entropy, Fault::Io(error))),
            Err(_) => Err(self.rest(entropy, Fault::Slow)),
        }
    }

    /// Ends the stream properly, or not at all if the server does not listen.
    pub async fn close(self) {
        if let State::Up(mut stream) = self.state {
            let _ = timeout(CLOSE, futures::SinkExt::<&Element>::close(&mut *stream)).await;
        }
    }

    /// Waits before the next attempt: longer each time, and never two services at the same moment.
    fn rest(&mut self, entropy: &mut impl Entropy, fault: Fault) -> Event {
        let longest = FIRST_PAUSE
            .saturating_mul(1 << self.attempts.min(16))
            .min(LONGEST_PAUSE);
        self.attempts = self.attempts.saturating_add(1);
        let [random] = entropy.bytes::<1>();
        let pause = longest / 2 + longest / 2 * u32::from(random) / 255;
        self.state = State::Resting(Instant::now() + pause);
        Event::Closed(fault)
    }
}

async fn connect(config: XmppConfig) -> Result<Stream, Fault> {
    timeout(HANDSHAKE, shake(config)).await.unwrap_or(Err(Fault::Slow))
}

async fn shake(config: XmppConfig) -> Result<Stream, Fault> {
    let peers: Vec<_> = lookup_host((config.host.as_str(), config.port)).await?.collect();
    let distant = peers.iter().find(|peer| !peer.ip().to_canonical().is_loopback());
    if let Some(distant) = distant.filter(|_| !config.plain_network) {
        return Err(Fault::PlainNetwork(*distant));
    }
    let socket = TcpStream::connect(peers.as_slice()).await?;
    socket.set_nodelay(true)?;
    let header = StreamHeader {
        to: Some(config.component.as_str().into()),
        ..StreamHeader::default()
    };
    let timeouts = Timeouts {
        read_timeout: SILENCE,
        response_timeout: SIGN_OF_LIFE,
    };
    let mut pending = initiate_stream(Guard::new(socket, MAX_STANZA), ns::COMPONENT, header, timeouts).await?;
    let invalid = |what| Fault::Io(io::Error::new(io::ErrorKind::InvalidData, what));
    let id = pending
        .take_header()
        .id
        .ok_or_else(|| invalid("the server's stream has no id"))?;
    let mut stream: Stream = pending.skip_features();
    let secret = config.secret.expose();
    stream
        .send(&Handshake::from_stream_id_and_password(id.into_owned(), secret))
        .await?;
    match stream.next().await {
        Some(Ok(Stanza::Element(element))) if element.is("handshake", ns::COMPONENT) => {
            stream.get_stream().reset();
            Ok(stream)
        }
        Some(Ok(Stanza::Element(element))) if element.ns() == ns::STREAM => Err(stream_error(&element)),
        Some(Err(ReadError::HardError(error))) => Err(Fault::Io(error)),
        Some(Err(ReadError::StreamFooterReceived)) | None => Err(Fault::Ended),
        Some(_) => Err(invalid("the server did not answer the handshake")),
    }
}

fn stream_error(error: &Element) -> Fault {
    let condition = error
        .children()
        .find(|child| child.name() != "text")
        .map_or("no reason", Element::name);
    let text = error.children().find(|child| child.name() == "text").map(Element::text);
    Fault::Refused(text.map_or_else(|| condition.to_owned(), |text| format!("{condition}: {text}")))
}

/// The longest stanza, in bytes. A card with a picture fits: a server lets its users send about half of this.
const MAX_STANZA: usize = 1024 * 1024;
/// How long connecting and shaking hands may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the server may refuse to read.
const WRITE: Duration = Duration::from_secs(10);
/// How long the end of the stream may take.
const CLOSE: Duration = Duration::from_secs(1);
/// After this silence we ask for a sign of life,
const SILENCE: Duration = Duration::from_secs(60);
/// and after this one more the stream counts as dead.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// The first pause before another attempt; each further one may be twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;
    use cusax_common::core::secret::Secret;

    #[tokio::test]
    async fn nothing_is_sent_over_a_network_in_the_clear() {
        let config = |host: &str| XmppConfig {
            host: host.into(),
            port: 5347,
            component: "calls.example.com".into(),
            secret: Secret::new("canary".into()),
            domain: "example.com".into(),
            notices: cusax_common::core::notice::Notices::default(),
            admins: std::collections::BTreeSet::default(),
            plain_network: false,
        };
        for host in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "0.0.0.0"] {
            let refused = connect(config(host)).await;
            assert!(matches!(refused, Err(Fault::PlainNetwork(_))), "{host}");
        }
        assert!(!format!("{:?}", config("::1")).contains("canary"));
    }
}
