//! Hosts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::cursor::Cursor;
use super::digits;
use super::headers::HeaderError;
use super::scan::{self, Bad, class};
use super::text::Text;

/// Where a URI or a `Via` points (RFC 3261 §25.1, `host`; RFC 5118 for IPv6).
///
/// Numbers that only a lenient resolver would take for an address (`2130706433`, `0x7f.1`) are no hosts.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A host name, lower-case.
    Name(Text),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, written in brackets.
    V6(Ipv6Addr),
}

impl Host {
    /// The address, if the host is one. An IPv4 address mapped into IPv6 is given as IPv4 (RFC 5118 §4.9), so that no
    /// list of addresses can be passed by spelling.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(ip) => Some(IpAddr::V4(*ip)),
            Self::V6(ip) => Some(IpAddr::V6(*ip).to_canonical()),
        }
    }

    /// The name, if the host is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::V4(_) | Self::V6(_) => None,
        }
    }

    pub(super) fn write_to(&self, out: &mut impl fmt::Write) -> fmt::Result {
        match self {
            Self::Name(name) => out.write_str(name),
            Self::V4(ip) => digits::write_v4(out, *ip),
            Self::V6(ip) => write!(out, "[{ip}]"),
        }
    }

    pub(super) fn of(part: HostPart<'_>, source: &Text) -> Self {
        match part {
            HostPart::Name(name) if name.iter().any(u8::is_ascii_uppercase) => {
                Self::Name(Text::from(source.cut(name).to_ascii_lowercase()))
            }
            HostPart::Name(name) => Self::Name(source.cut(name)),
            HostPart::V4(ip) => Self::V4(ip),
            HostPart::V6(ip) => Self::V6(ip),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => Self::V6(ip),
        }
    }
}

impl FromStr for Host {
    type Err = HeaderError;

    /// Reads a name, an IPv4 address, or an IPv6 address in brackets.
    fn from_str(text: &str) -> Result<Self, HeaderError> {
        let mut cursor = Cursor::new(text.as_bytes());
        let part = read(&mut cursor)?;
        cursor.blanks();
        match cursor.peek() {
            None => Ok(Self::of(part, &Text::EMPTY)),
            Some(b':') => Err(HeaderError::malformed("a port where only a host may stand")),
            Some(_) => Err(HeaderError::malformed("a character that no host holds")),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A host that still lies in its text.
#[derive(Clone, Copy, Debug)]
pub enum HostPart<'a> {
    Name(&'a [u8]),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl HostPart<'_> {
    /// The address, if the host is one; as [`Host::ip`] gives it.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(ip) => Some(IpAddr::V4(*ip)),
            Self::V6(ip) => Some(IpAddr::V6(*ip).to_canonical()),
        }
    }

    /// Appends the host as [`Host`] writes it.
    pub fn write_to(&self, out: &mut impl fmt::Write) -> fmt::Result {
        match self {
            Self::Name(name) => name
                .iter()
                .try_for_each(|byte| out.write_char(byte.to_ascii_lowercase().into())),
            Self::V4(ip) => digits::write_v4(out, *ip),
            Self::V6(ip) => write!(out, "[{ip}]"),
        }
    }
}

/// Reads a host.
#[inline]
pub fn read<'a>(cursor: &mut Cursor<'a>) -> Result<HostPart<'a>, Bad> {
    if !cursor.eat(b'[') {
        return read_name(cursor);
    }
    let address = cursor
        .until(b']')
        .ok_or(Bad("a bracket of an address that is not closed"))?;
    parsed(address).map(HostPart::V6).ok_or(Bad("not an IPv6 address"))
}

/// Reads the port behind a colon.
#[inline]
pub fn read_port(cursor: &mut Cursor<'_>) -> Result<u16, Bad> {
    let digits = cursor.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
    match u16::try_from(scan::number(cursor.take(digits))?) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(Bad("a port out of range")),
    }
}

/// Reads a name or an IPv4 address.
#[inline]
fn read_name<'a>(cursor: &mut Cursor<'a>) -> Result<HostPart<'a>, Bad> {
    let begin = cursor.rest();
    // Nearly every address ends here, and needs no other look.
    if let Some((ip, length)) = read_v4(begin)
        && !begin.get(length).is_some_and(|&byte| scan::is(byte, class::LABEL))
    {
        cursor.take(length);
        return Ok(HostPart::V4(ip));
    }
    let mut top = None;
    // No label is empty, besides the one behind a dot at the end.
    while let Some(&first) = cursor.run(class::LABEL).first() {
        top = Some(first);
        if !cursor.eat(b'.') {
            break;
        }
    }
    let name = cursor.since(begin);
    match top {
        Some(top) if name.len() <= MAX_NAME => {
            // The last label of a name begins with a letter; anything else would be an address.
            if top.is_ascii_alphabetic() {
                Ok(HostPart::Name(name))
            } else {
                Err(Bad(NO_NAME))
            }
        }
        _ => Err(Bad(NO_NAME)),
    }
}

/// Reads four numbers without leading zeros, as the standard library does in several times as long, and tells how many bytes
/// they take. Neither a digit nor a dot stands behind them.
fn read_v4(text: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let (mut octets, mut done, mut length) = ([0_u8; 4], 0, 0);
    let mut octet: Option<u8> = None;
    for &byte in text {
        octet = match (byte, octet) {
            (b'0'..=b'9', None) => Some(byte - b'0'),
            (b'0'..=b'9', Some(tens @ 1..)) => Some(tens.checked_mul(10)?.checked_add(byte - b'0')?),
            (b'.', Some(last)) => {
                *octets.get_mut(done)? = last;
                done += 1;
                None
            }
            (b'0'..=b'9' | b'.', _) => return None,
            _ => break,
        };
        length += 1;
    }
    *octets.get_mut(done)? = octet?;
    (done == 3).then(|| (Ipv4Addr::from(octets), length))
}

fn parsed<T: FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

const NO_NAME: &str = "not a host name";
/// The longest host name, in bytes (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_spelling() {
        for (text, shown) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com."),
            ("a_b.example", "a_b.example"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:DB8::0:1]", "[2001:db8::1]"),
            ("1.example", "1.example"),
        ] {
            assert_eq!(text.parse::<Host>().unwrap().to_string(), shown, "{text}");
        }
        assert_eq!(
            "[::ffff:192.0.2.1]".parse::<Host>().unwrap().ip(),
            Some("192.0.2.1".parse().unwrap())
        );
    }

    #[test]
    fn addresses_are_read_as_the_standard_library_reads_them() {
        let parts = [
            "0", "1", "00", "01", "9", "10", "99", "100", "199", "255", "256", "999", "1000", "", "a", "1a", "-1",
        ];
        for first in parts {
            for last in parts {
                for text in [
                    format!("{first}.0.2.{last}"),
                    format!("192.{first}.{last}.1"),
                    format!("1.2.{first}{last}"),
                    format!("1.2.3.{first}.{last}"),
                ] {
                    let read = read_v4(text.as_bytes()).filter(|(_, length)| *length == text.len());
                    assert_eq!(read.map(|(ip, _)| ip), text.parse().ok(), "{text}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = "a".repeat(256);
        for text in [
            "",
            ".",
            "a..b",
            ".a",
            "-",
            "2130706433",
            "0x7f.1",
            "256.1.1.1",
            "1.2.3",
            "010.0.0.1",
            "[::1",
            "[::1]x",
            "[1.2.3.4]",
            "[fe80::1%eth0]",
            "[2001:db8:::192.0.2.1]",
            "::1",
            "a b",
            "ä.example",
            "a:",
            "a:1",
            "a/b",
            long.as_str(),
        ] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }

    #[test]
    fn ports_do_not_wrap() {
        let port = |text: &str| read_port(&mut Cursor::new(text.as_bytes()));
        assert_eq!(port("65535"), Ok(65535));
        for text in ["", "0", "65536", "-1", "+1", "4294972356", "18446744073709556676"] {
            assert!(port(text).is_err(), "{text}");
        }
    }
}
