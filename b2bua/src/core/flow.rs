//! Where a message came from and where its answer goes.

use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use cusax_common::core::sip::digits;
use ring::digest::{SHA256, digest};

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

/// Who must prove to be at the other end of a connection that we open by TLS, by a certificate with their name
/// (RFC 5922 §7.2): a digest, so that it means the same to all endpoints of a node.
///
/// Several may be at one address, and whoever publishes DNS records may point at anybody's. What one of them has proved
/// says nothing of another, so each has a connection of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity([u32; 2]);

impl Identity {
    /// Nobody in particular: the peer has opened the connection, or there are no certificates on it.
    pub const NONE: Self = Self([0; 2]);

    /// The carrier of a trunk.
    #[must_use]
    pub fn of_trunk(name: &str) -> Self {
        Self::of("trunk", name)
    }

    /// A domain that is not ours and no carrier's.
    #[must_use]
    pub fn of_domain(name: &str) -> Self {
        Self::of("domain", name)
    }

    fn of(kind: &str, name: &str) -> Self {
        let digest = digest(&SHA256, format!("{kind} {name}").as_bytes());
        let [a, b, c, d, e, f, g, h] = digest.as_ref().first_chunk().copied().unwrap_or_default();
        // Two halves, since one number would make every flow larger than it must be.
        Self([[a, b, c, d], [e, f, g, h]].map(u32::from_be_bytes))
    }
}

/// One path to a peer: which of our sockets, and the peer's address as the network shows it.
///
/// For a stream this names the connection: answers and requests go where the peer came from (RFC 5626).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// Our socket, or the socket that accepted the connection.
    pub listener: ListenerId,
    /// How messages travel on it.
    pub transport: Transport,
    /// The peer, from the packet or the connection; never from a header.
    pub remote: SocketAddr,
    /// Who has to be there, if we open the connection.
    pub identity: Identity,
}

impl Flow {
    /// The same toward whoever must prove to be there, where the transport has certificates.
    #[must_use]
    pub fn to(self, whom: Identity) -> Self {
        let identity = if self.transport == Transport::Tls {
            whom
        } else {
            Identity::NONE
        };
        Self { identity, ..self }
    }
}

/// In two pieces, since each message is looked up by its flow several times, and each field for itself takes longer.
impl Hash for Flow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.remote.ip() {
            IpAddr::V4(ip) => state.write_u32(ip.to_bits()),
            IpAddr::V6(ip) => state.write_u128(ip.to_bits()),
        }
        let (port, listener) = (u64::from(self.remote.port()), u64::from(self.listener.0));
        let place = port << 32 | listener << 8 | self.transport as u64;
        // Somebody may have many names lead to one address.
        let [high, low] = self.identity.0.map(u64::from);
        state.write_u64(place ^ (high << 32 | low));
    }
}

/// Appends an address of ours as Contact names it (RFC 3261 §25.1, `hostport`). The standard library takes many times as
/// long to write one.
pub fn put_host_port(text: &mut String, at: SocketAddr) {
    let written = match at.ip() {
        IpAddr::V4(ip) => digits::write_v4(text, ip),
        IpAddr::V6(ip) => write!(text, "[{ip}]"),
    };
    written.expect("a String takes everything");
    text.push(':');
    digits::write(text, at.port()).expect("a String takes everything");
}
