//! Keep-alives by STUN.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use cusax_b2bua::core::stun::{answer, is_stun};
use cusax_common::core::sip::Message;

use super::feed::Feed;

/// A datagram from an address that the first bytes choose: an answer goes to a question only, repeats its transaction,
/// tells the address, and is hardly longer than what it answers. Nothing is both STUN and SIP.
pub fn stun(data: &[u8]) {
    let mut feed = Feed::new(data);
    let ip = match feed.below(3) {
        0 => IpAddr::V4(Ipv4Addr::from_bits(feed.number())),
        1 => IpAddr::V6(Ipv6Addr::from([feed.byte(); 16])),
        _ => IpAddr::V6(Ipv4Addr::from_bits(feed.number()).to_ipv6_mapped()),
    };
    let from = SocketAddr::new(ip, feed.short());
    let datagram = feed.rest();
    if is_stun(datagram) {
        assert!(
            Message::parse(Bytes::copy_from_slice(datagram)).is_err(),
            "STUN and SIP at once"
        );
    }
    let Some(bytes) = answer(datagram, from) else { return };
    assert!(is_stun(datagram) && is_stun(&bytes));
    assert!(
        bytes.len() <= datagram.len() + HEADER + 4,
        "an answer that is longer than its question"
    );
    assert_eq!(answer(&bytes, from), None, "an answer that is answered");
    assert_eq!(bytes[4..HEADER], datagram[4..HEADER], "another transaction");
    assert_eq!(
        usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        bytes.len() - HEADER
    );
    if bytes[..2] == [1, 1] {
        assert_eq!(told(&bytes), SocketAddr::new(ip.to_canonical(), from.port()));
    }
}

/// The address in an answer whose one attribute is XOR-MAPPED-ADDRESS (RFC 5389 §15.2).
fn told(bytes: &[u8]) -> SocketAddr {
    let plain: Vec<u8> = bytes[28..].iter().zip(&bytes[4..]).map(|(a, b)| a ^ b).collect();
    let ip = match bytes[25] {
        1 => IpAddr::from(<[u8; 4]>::try_from(&plain[..]).expect("four bytes")),
        _ => IpAddr::from(<[u8; 16]>::try_from(&plain[..]).expect("sixteen bytes")),
    };
    SocketAddr::new(ip, u16::from_be_bytes([bytes[26] ^ bytes[4], bytes[27] ^ bytes[5]]))
}

const HEADER: usize = 20;
