//! Keep-alives by STUN on the port of SIP over UDP (RFC 5626 §8): a Binding Request is answered with the address that
//! it came from (RFC 5389 §7.3.1), and nothing else of STUN is spoken.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

/// Whether a datagram is STUN rather than SIP: its first two bits are zero.
#[must_use]
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER && datagram[0] < 0x40 && datagram[4..8] == COOKIE.to_be_bytes()
}

/// The answer to a Binding Request; none for anything else, or for what cannot be read.
#[must_use]
pub fn answer(request: &[u8], from: SocketAddr) -> Option<Bytes> {
    let (header, mut attributes) = request.split_at_checked(HEADER)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[..2] != BINDING_REQUEST || !is_stun(request) || length != attributes.len() || !length.is_multiple_of(4) {
        return None;
    }
    let mut unknown = Vec::new();
    while let Some((head, rest)) = attributes.split_first_chunk::<4>() {
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let padded = usize::from(u16::from_be_bytes([head[2], head[3]])).next_multiple_of(4);
        attributes = rest.get(padded..)?;
        // Those of the upper half may be passed over (RFC 5389 §15).
        if kind < OPTIONAL && unknown.len() < MAX_UNKNOWN {
            unknown.push(kind);
        }
    }
    let transaction = &header[4..HEADER];
    Some(if unknown.is_empty() {
        success(transaction, from)
    } else {
        refusal(transaction, &unknown)
    })
}

/// XOR-MAPPED-ADDRESS (RFC 5389 §15.2).
fn success(transaction: &[u8], from: SocketAddr) -> Bytes {
    let mut value = Vec::with_capacity(20);
    let port = from.port() ^ (COOKIE >> 16) as u16;
    let masked = |octets: &[u8]| -> Vec<u8> { octets.iter().zip(transaction).map(|(a, b)| a ^ b).collect() };
    match from.ip().to_canonical() {
        IpAddr::V4(ip) => {
            value.extend([0, 1]);
            value.extend(port.to_be_bytes());
            value.extend(masked(&ip.octets()));
        }
        IpAddr::V6(ip) => {
            value.extend([0, 2]);
            value.extend(port.to_be_bytes());
            value.extend(masked(&ip.octets()));
        }
    }
    message(BINDING_SUCCESS, transaction, &[(XOR_MAPPED_ADDRESS, value)])
}

/// 420 with what was not known (RFC 5389 §7.3.1, §15.6).
fn refusal(transaction: &[u8], unknown: &[u16]) -> Bytes {
    let code = vec![0, 0, 4, 20];
    let list = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
    message(
        BINDING_ERROR,
        transaction,
        &[(ERROR_CODE, code), (UNKNOWN_ATTRIBUTES, list)],
    )
}

fn message(kind: [u8; 2], transaction: &[u8], attributes: &[(u16, Vec<u8>)]) -> Bytes {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend(kind.to_be_bytes());
        body.extend(u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let length = u16::try_from(body.len()).unwrap_or_default();
    [&kind[..], &length.to_be_bytes(), transaction, &body].concat().into()
}

const HEADER: usize = 20;
const COOKIE: u32 = 0x2112_A442;
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const BINDING_ERROR: [u8; 2] = [0x01, 0x11];
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const OPTIONAL: u16 = 0x8000;
/// So that an answer is never longer than what asked for it by more than a header.
const MAX_UNKNOWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(attributes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, u8::try_from(attributes.len()).unwrap()];
        bytes.extend(COOKIE.to_be_bytes());
        bytes.extend(0..12);
        bytes.extend(attributes);
        bytes
    }

    #[test]
    fn the_sender_learns_its_address() {
        let v4 = answer(&request(&[]), "192.0.2.1:32853".parse().unwrap()).unwrap();
        assert_eq!(v4[..4], [1, 1, 0, 12]);
        assert_eq!(v4[4..20], request(&[])[4..20], "the transaction");
        // The address and port of RFC 5769 §2.2, whose cookie is the same.
        assert_eq!(v4[20..], [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        let v6 = answer(&request(&[]), "[2001:db8::1]:5060".parse().unwrap()).unwrap();
        assert_eq!(v6[..4], [1, 1, 0, 24]);
        assert_eq!(v6[28..32], [0x20 ^ 0x21, 0x01 ^ 0x12, 0x0d ^ 0xa4, 0xb8 ^ 0x42]);
    }

    #[test]
    fn what_must_be_known_and_is_not_is_refused() {
        let from = "192.0.2.1:5060".parse().unwrap();
        // SOFTWARE may be passed over, CHANGE-REQUEST (RFC 3489) may not.
        let soft = answer(&request(&[0x80, 0x22, 0, 3, b'a', b'b', b'c', 0]), from).unwrap();
        assert_eq!(soft[..2], BINDING_SUCCESS);
        let hard = answer(&request(&[0, 3, 0, 4, 0, 0, 0, 6]), from).unwrap();
        assert_eq!(hard[..2], BINDING_ERROR);
        assert_eq!(hard[20..], [0, 9, 0, 4, 0, 0, 4, 20, 0, 10, 0, 2, 0, 3, 0, 0]);
    }

    #[test]
    fn anything_else_is_not_answered() {
        let from = "192.0.2.1:5060".parse().unwrap();
        let good = request(&[0x80, 0x22, 0, 4, 1, 2, 3, 4]);
        assert!(answer(&good, from).is_some());
        for length in 0..good.len() {
            assert_eq!(answer(&good[..length], from), None, "cut at {length}");
        }
        let changes: &[(usize, u8)] = &[(0, 1), (0, 0x40), (1, 0x11), (4, 0), (3, 7), (23, 8), (23, 0xff)];
        for &(at, value) in changes {
            let mut bytes = good.clone();
            bytes[at] = value;
            assert_eq!(answer(&bytes, from), None, "{at}");
        }
        assert!(!is_stun(b"\0\0\0\0") && !is_stun(b"OPTIONS sip:a SIP/2.0\r\n"));
    }
}
