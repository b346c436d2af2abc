//! What we are willing to read as a session description, and where we are willing to send media.
//!
//! `sdp-types` is lenient by design (it ignores what it does not know), so the shape is checked here before it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use sdp_types::{AddrType, Connection, NetType, ParserError, Session};

use super::fault::SdpFault;

/// What may not be relayed to, and what may in spite of that.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Networks that are allowed though they would be refused (`media.allow_networks`). Multicast and broadcast
    /// stay refused all the same.
    pub allow_networks: Vec<IpNet>,
    /// Our own addresses: media sent there would come back to us.
    pub ours: Vec<IpAddr>,
}

impl Rules {
    /// Whether media may be sent to `address`.
    #[must_use]
    pub fn allow(&self, address: IpAddr) -> bool {
        let address = unmapped(address);
        if never(address) {
            return false;
        }
        self.allow_networks.iter().any(|network| network.contains(&address))
            || !(only_if_named(address) || self.ours.iter().any(|&ours| unmapped(ours) == address))
    }
}

/// Reads the text into the library's model, within our limits.
pub(super) fn parse(sdp: &[u8]) -> Result<Session, SdpFault> {
    if sdp.len() > MAX_OCTETS {
        return Err(SdpFault::TooLarge);
    }
    // Some phones end the body with an empty line.
    let sdp = sdp.trim_ascii_end();
    let (mut streams, mut origins) = (0, 0);
    for (index, line) in sdp.split(|&octet| octet == b'\n').enumerate() {
        let number = index + 1;
        if number > MAX_LINES {
            return Err(SdpFault::TooLarge);
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let malformed = Err(SdpFault::Malformed(number));
        let [kind, b'=', value @ ..] = line else {
            return malformed;
        };
        if value.iter().any(|octet| matches!(octet, b'\r' | b'\0')) || std::str::from_utf8(value).is_err() {
            return malformed;
        }
        match (kind, streams) {
            (b'v', _) if number == 1 => {}
            (b'm', _) => {
                streams += 1;
                stream_line(value).ok_or(SdpFault::Malformed(number))?;
            }
            (b'o', 0) => origins += 1,
            (b's' | b'u' | b'e' | b'p' | b't' | b'r' | b'z', 0) | (b'i' | b'c' | b'b' | b'k' | b'a', _) => {}
            // RFC 8866 §5: a description with a type that we do not know is not to be used.
            _ => return malformed,
        }
    }
    if streams > MAX_STREAMS {
        return Err(SdpFault::TooLarge);
    }
    let session = Session::parse(sdp).map_err(|error| SdpFault::Malformed(line_of(&error)))?;
    match (origins, streams) {
        (_, 0) => Err(SdpFault::NoMedia),
        (1, _) => Ok(session),
        _ => Err(SdpFault::Malformed(1)),
    }
}

/// The address of a `c=` line: a literal, never a name that would have to be looked up.
/// `None` is the hold of the old form (RFC 3264 §8.4).
pub(super) fn connection(line: &Connection, rules: &Rules) -> Result<Option<IpAddr>, SdpFault> {
    if line.nettype != NetType::In {
        return Err(SdpFault::Target);
    }
    // The library's own reading would pass a multicast scope; the strict one of the standard library does not.
    let address = match line.addrtype {
        AddrType::Ip4 => line.connection_address.parse::<Ipv4Addr>().map(IpAddr::V4),
        AddrType::Ip6 => line.connection_address.parse::<Ipv6Addr>().map(IpAddr::V6),
        AddrType::Other(_) => return Err(SdpFault::Target),
    }
    .map_err(|_| SdpFault::Target)?;
    let address = unmapped(address);
    if address.is_unspecified() {
        return Ok(None);
    }
    if !rules.allow(address) {
        return Err(SdpFault::Target);
    }
    Ok(Some(address))
}

/// Ports that no phone uses for media: to send there would be to knock at somebody's service.
pub(super) fn port_allowed(port: u16) -> bool {
    port >= LOWEST_PORT
}

/// An IPv4 address in IPv6 clothes is the IPv4 address.
fn unmapped(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => match v6.octets() {
            [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] => Ipv4Addr::new(a, b, c, d).into(),
            _ => address,
        },
        v4 => v4,
    }
}

fn never(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.octets()[0] == 0 || v4.octets()[0] >= 240,
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unspecified(),
    }
}

fn only_if_named(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        // The last term is the deprecated form of RFC 4291 §2.5.5.1, with loopback in it.
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.segments()[..6] == [0; 6],
    }
}

/// Checks `<media> <port>[/<count>] <proto> <fmt> …` as far as the library is lenient.
fn stream_line(value: &[u8]) -> Option<()> {
    let mut fields = std::str::from_utf8(value).ok()?.split(' ');
    let (_, port, protocol) = (fields.next()?, fields.next()?, fields.next()?);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    let (port, count) = port
        .split_once('/')
        .map_or((port, None), |(port, count)| (port, Some(count)));
    if !digits(port) || count.is_some_and(|count| !digits(count)) {
        return None;
    }
    let formats = fields.filter(|format| !format.is_empty());
    let mut seen = 0;
    for format in formats {
        seen += 1;
        let rtp = protocol.contains("RTP/");
        if seen > MAX_FORMATS || (rtp && !(digits(format) && format.parse::<u8>().is_ok_and(|number| number < 128))) {
            return None;
        }
    }
    (seen > 0).then_some(())
}

fn line_of(error: &ParserError) -> usize {
    match *error {
        ParserError::InvalidLineFormat(line, _)
        | ParserError::InvalidFieldEncoding(line, _)
        | ParserError::InvalidFieldFormat(line, _)
        | ParserError::MissingField(line, _)
        | ParserError::FieldTrailingData(line, _)
        | ParserError::InvalidVersion(line, _)
        | ParserError::MultipleVersions(line)
        | ParserError::MultipleOrigins(line)
        | ParserError::MultipleSessionNames(line)
        | ParserError::MultipleSessionDescription(line)
        | ParserError::MultipleUris(line)
        | ParserError::MultipleConnections(line)
        | ParserError::MultipleTimeZones(line)
        | ParserError::MultipleMediaTitles(line)
        | ParserError::MultipleKeys(line)
        | ParserError::RepeatWithoutTime(line) => line,
        _ => 1,
    }
}

/// The longest body that is read, in octets. A phone with every codec and ICE stays under half of it.
const MAX_OCTETS: usize = 16_384;
/// The most lines.
const MAX_LINES: usize = 512;
/// The most streams (`m=` lines).
const MAX_STREAMS: usize = 16;
/// The most payload types of one stream.
const MAX_FORMATS: usize = 64;
/// The lowest port that media is sent to (RFC 6335 §6: those below are system ports).
const LOWEST_PORT: u16 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_judged_in_every_dress() {
        let rules = Rules {
            allow_networks: vec!["127.0.1.0/24".parse().unwrap(), "224.0.0.0/4".parse().unwrap()],
            ours: vec!["192.0.2.1".parse().unwrap()],
        };
        for (address, allowed) in [
            ("192.0.2.10", true),
            ("10.0.0.1", true),
            ("2001:db8::10", true),
            ("::ffff:192.0.2.10", true),
            ("127.0.0.1", false),
            ("127.0.1.9", true),
            ("::ffff:127.0.0.1", false),
            ("::ffff:127.0.1.9", true),
            ("::127.0.0.1", false),
            ("::1", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::c000:20a", true),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("::", false),
            ("169.254.169.254", false),
            ("fe80::1", false),
            ("224.0.0.1", false),
            ("ff02::1", false),
            ("255.255.255.255", false),
            ("240.0.0.1", false),
            ("192.0.2.1", false),
            ("::ffff:192.0.2.1", false),
        ] {
            assert_eq!(rules.allow(address.parse().unwrap()), allowed, "{address}");
        }
    }
}
