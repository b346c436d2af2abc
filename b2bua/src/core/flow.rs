//! Where a message came from and where its answer goes.

use std::fmt;
use std::net::SocketAddr;

use cusax_common::core::sip::Host;

/// How messages travel; the protocol of a Via (RFC 3261 §20.42, RFC 7118 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams: the only transport that loses and repeats messages.
    Udp,
    /// A plain stream.
    Tcp,
    /// A stream under TLS.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket under TLS.
    Wss,
}

impl Transport {
    /// Whether the transport itself repeats what is lost (RFC 3261 §17).
    #[must_use]
    pub fn reliable(self) -> bool {
        self != Self::Udp
    }

    /// Whether nobody on the way can read along.
    #[must_use]
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// The `transport` parameter of a URI (RFC 3261 §19.1.1, RFC 7118 §5.2); none for UDP, which is the default.
    #[must_use]
    pub fn parameter(self) -> Option<&'static str> {
        match self {
            Self::Udp => None,
            Self::Tcp => Some("tcp"),
            Self::Tls => Some("tls"),
            Self::Ws | Self::Wss => Some("ws"),
        }
    }

    /// The word in a Via.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One of our own sockets, numbered by the shell that opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u16);

/// One path to a peer: which of our sockets, and the peer's address as the network shows it.
///
/// For a stream this names the connection: answers and requests go where the peer came from (RFC 5626).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    /// Our socket, or the socket that accepted the connection.
    pub listener: ListenerId,
    /// How messages travel on it.
    pub transport: Transport,
    /// The peer, from the packet or the connection; never from a header.
    pub remote: SocketAddr,
}

/// An address of ours as Contact names it (RFC 3261 §25.1, `hostport`). The standard library takes many times as
/// long to write one.
pub struct HostPort(pub SocketAddr);

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Host::from(self.0.ip()), self.0.port())
    }
}
