//! Flows as texts that only we can make (RFC 5626 §5.2), for the Service-Route of phones (RFC 3608): what comes back in
//! Route shows whether the phone still speaks by the flow that it registered by.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cusax_common::core::sip::digest;
use ring::hmac;

use crate::core::flow::{Flow, Identity, ListenerId, Transport};

/// Makes and reads the tokens of one run of the service.
pub struct FlowTokens {
    key: hmac::Key,
}

impl FlowTokens {
    /// Tokens that whoever does not know the secret can neither make nor change.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"flow token");
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
        }
    }

    /// The token of a flow, in characters that a user part of a URI may hold.
    #[must_use]
    pub fn seal(&self, flow: &Flow) -> String {
        let plain = bytes(flow);
        let mac = hmac::sign(&self.key, &plain);
        URL_SAFE_NO_PAD.encode([&mac.as_ref()[..MAC], &plain].concat())
    }

    /// The flow of a token; none if it is not one of ours.
    #[must_use]
    pub fn open(&self, token: &str) -> Option<Flow> {
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (mac, plain) = token.split_at_checked(MAC)?;
        let flow = flow(plain)?;
        let expected = hmac::sign(&self.key, plain);
        digest::same(mac, &expected.as_ref()[..MAC]).then_some(flow)
    }
}

impl fmt::Debug for FlowTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlowTokens")
    }
}

fn bytes(flow: &Flow) -> Vec<u8> {
    let transport = TRANSPORTS
        .iter()
        .position(|one| *one == flow.transport)
        .unwrap_or_default();
    let mut bytes = vec![u8::try_from(transport).unwrap_or_default()];
    bytes.extend(flow.listener.0.to_be_bytes());
    bytes.extend(flow.remote.port().to_be_bytes());
    let ip = match flow.remote.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    bytes.extend(ip.octets());
    bytes
}

fn flow(bytes: &[u8]) -> Option<Flow> {
    let &[transport, l1, l2, p1, p2, ref ip @ ..] = bytes else {
        return None;
    };
    let ip = Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?);
    Some(Flow {
        listener: ListenerId(u16::from_be_bytes([l1, l2])),
        transport: *TRANSPORTS.get(usize::from(transport))?,
        remote: SocketAddr::new(ip.to_canonical(), u16::from_be_bytes([p1, p2])),
        identity: Identity::NONE,
    })
}

const TRANSPORTS: [Transport; 5] = [
    Transport::Udp,
    Transport::Tcp,
    Transport::Tls,
    Transport::Ws,
    Transport::Wss,
];
/// The least that a MAC should have (RFC 2104 §5).
const MAC: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_flow_and_nobody_can_change_it() {
        let tokens = FlowTokens::new(&[3; 32]);
        for (transport, remote) in TRANSPORTS.into_iter().zip([
            "192.0.2.1:5060",
            "[2001:db8::1]:5061",
            "192.0.2.1:1",
            "10.0.0.1:65535",
            "[::1]:9",
        ]) {
            let flow = Flow {
                listener: ListenerId(7),
                transport,
                remote: remote.parse().unwrap(),
                identity: Identity::NONE,
            };
            let token = tokens.seal(&flow);
            assert_eq!(tokens.open(&token), Some(flow));
            assert_eq!(FlowTokens::new(&[4; 32]).open(&token), None, "of another service");
            for at in 0..token.len() {
                let mut bytes = token.clone().into_bytes();
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
                assert_eq!(tokens.open(&String::from_utf8(bytes).unwrap()), None, "{at}");
                assert_eq!(tokens.open(&token[..at]), None, "{at}");
            }
        }
        assert_eq!(tokens.open("cusax"), None);
    }
}
