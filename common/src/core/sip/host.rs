//! Hosts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::headers::HeaderError;
use super::scan::{self, class};
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

    pub(super) fn of(part: HostPart<'_>, source: &Text) -> Self {
        match part {
            HostPart::Name(name) if name.bytes().any(|b| b.is_ascii_uppercase()) => {
                Self::Name(Text::from(name.to_ascii_lowercase()))
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
        match split_host_port(text)? {
            (part, None) if !text.ends_with(':') => Ok(Self::of(part, &Text::EMPTY)),
            _ => Err(HeaderError::malformed("a port where only a host may stand")),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(ip) => fmt::Display::fmt(ip, f),
            Self::V6(ip) => write!(f, "[{ip}]"),
        }
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
    Name(&'a str),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

/// Reads `host [":" port]`, where blanks may stand around the colon (`sent-by`); URIs refuse blanks before.
pub fn split_host_port(text: &str) -> Result<(HostPart<'_>, Option<u16>), HeaderError> {
    let (host, rest) = if let Some(inside) = text.strip_prefix('[') {
        let (address, rest) =
            scan::cut(inside, b']').ok_or(HeaderError::malformed("a bracket of an address that is not closed"))?;
        let ip = address
            .parse()
            .map_err(|_| HeaderError::malformed("not an IPv6 address"))?;
        (HostPart::V6(ip), rest)
    } else {
        host_name(text)?
    };
    let rest = scan::trim(rest);
    if rest.is_empty() {
        return Ok((host, None));
    }
    let port = rest
        .strip_prefix(':')
        .ok_or(HeaderError::malformed("a character that no host holds"))?;
    match u16::try_from(scan::number(scan::trim(port))?) {
        Ok(port) if port != 0 => Ok((host, Some(port))),
        _ => Err(HeaderError::malformed("a port out of range")),
    }
}

/// Reads a name or an IPv4 address, and gives what stands behind it.
fn host_name(text: &str) -> Result<(HostPart<'_>, &str), HeaderError> {
    let bad = HeaderError::malformed("not a host name");
    let bytes = text.as_bytes();
    // The first byte of the last label that is not empty, and whether an empty one was passed.
    let (mut top, mut end, mut empty) = (0, 0, false);
    let mut label = true;
    while let Some(&byte) = bytes.get(end).filter(|&&byte| scan::is(byte, class::HOST)) {
        if byte == b'.' {
            empty |= label;
            label = true;
        } else if label {
            top = byte;
            label = false;
        }
        end += 1;
    }
    let (name, rest) = text.split_at(end);
    if empty || end == 0 || end > MAX_NAME {
        return Err(bad);
    }
    // The last label of a name begins with a letter; anything else must be an address.
    if top.is_ascii_alphabetic() {
        Ok((HostPart::Name(name), rest))
    } else {
        name.parse().map(|ip| (HostPart::V4(ip), rest)).map_err(|_| bad)
    }
}

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
        assert!(matches!(split_host_port("a:65535"), Ok((_, Some(65535)))));
        for text in ["a:", "a:0", "a:65536", "a:-1", "a:+1", "a:5060x", "a:4294972356"] {
            assert!(split_host_port(text).is_err(), "{text}");
        }
    }
}
