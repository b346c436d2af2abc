//! Numbers and addresses as text, without the formatter of the standard library, which takes many times as long: every
//! message has several of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// Appends a number.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut impl fmt::Write, number: impl itoa::Integer) -> fmt::Result {
    out.write_str(itoa::Buffer::new().format(number))
}

/// Appends an IPv4 address.
///
/// # Errors
/// Those of `out`.
pub fn write_v4(out: &mut impl fmt::Write, ip: Ipv4Addr) -> fmt::Result {
    for (at, octet) in ip.octets().into_iter().enumerate() {
        if at > 0 {
            out.write_char('.')?;
        }
        for (least, unit) in [(100, 100), (10, 10), (0, 1)] {
            if octet >= least {
                out.write_char((b'0' + octet / unit % 10).into())?;
            }
        }
    }
    Ok(())
}

/// Appends an address, without brackets.
///
/// # Errors
/// Those of `out`.
pub fn write_ip(out: &mut impl fmt::Write, ip: IpAddr) -> fmt::Result {
    match ip {
        IpAddr::V4(ip) => write_v4(out, ip),
        IpAddr::V6(ip) => write!(out, "{ip}"),
    }
}

/// How many digits a number has.
pub fn count(number: usize) -> usize {
    itoa::Buffer::new().format(number).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_read_as_the_standard_library_writes_them() {
        for text in [
            "0.0.0.0",
            "192.0.2.255",
            "10.20.30.4",
            "2001:db8::1",
            "::ffff:192.0.2.1",
        ] {
            let ip: IpAddr = text.parse().unwrap();
            let mut text = String::new();
            write_ip(&mut text, ip).unwrap();
            assert_eq!(text, ip.to_string());
        }
        for number in [0, 9, 10, 65_535] {
            assert_eq!(count(number), number.to_string().len());
        }
    }
}
