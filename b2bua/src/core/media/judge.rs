//! Where we are willing to send media.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::fault::SdpFault;
use super::lines::{Connection, Family};

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

/// The address of a `c=` line: a literal, never a name that would have to be looked up.
/// `None` is the hold of the old form (RFC 3264 §8.4).
pub(super) fn connection(line: &Connection<'_>, rules: &Rules) -> Result<Option<IpAddr>, SdpFault> {
    let address = match line.family {
        Family::V4 => line.address.parse::<Ipv4Addr>().map(IpAddr::V4),
        Family::V6 => line.address.parse::<Ipv6Addr>().map(IpAddr::V6),
        Family::Other => return Err(SdpFault::Target),
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
pub(super) fn unmapped(address: IpAddr) -> IpAddr {
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
