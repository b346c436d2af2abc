//! `Via` (RFC 3261 §20.42, RFC 3581).

use std::net::IpAddr;

use crate::core::sip::cursor::Cursor;
use crate::core::sip::digits;
use crate::core::sip::headers::HeaderError;
use crate::core::sip::host::{self, Host, HostPart};
use crate::core::sip::name::HeaderName;
use crate::core::sip::params::{self, Params};
use crate::core::sip::scan::{self, Bad, class};
use crate::core::sip::text::Text;
use crate::core::sip::typed::{Form, TypedHeader};

/// One hop that the request has taken, and so one that the response takes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// `UDP`, `TCP`, … as it stands. Unknown transports are kept.
    pub transport: Text,
    /// Where the sender says it is.
    pub host: Host,
    /// None for the default port of the transport.
    pub port: Option<u16>,
    /// `branch`, `received`, `rport`, …
    pub params: Params,
}

impl Via {
    /// A hop of our own, which asks for answers to the port that they come from (`rport`, RFC 3581 §3).
    #[must_use]
    pub fn new(transport: &str, host: Host, port: Option<u16>, branch: &str) -> Self {
        let params = Params::new().with("rport", None).with("branch", Some(branch));
        Self {
            transport: Text::from(transport),
            host,
            port,
            params,
        }
    }

    /// The transaction's mark.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.params.value("branch")
    }

    /// `rport`: absent, asked for, or filled in.
    #[must_use]
    pub fn rport(&self) -> Option<Option<u16>> {
        self.params
            .get("rport")
            .map(|value| value.and_then(|text| text.parse().ok()))
    }

    /// The address that the next hop saw. Brackets around an IPv6 address are accepted (RFC 5118 §4.5).
    #[must_use]
    pub fn received(&self) -> Option<IpAddr> {
        let value = self.params.value("received")?;
        let value = value
            .strip_prefix('[')
            .and_then(|inside| inside.strip_suffix(']'))
            .unwrap_or(value);
        value.parse().ok()
    }

    /// The same with a note of where the request really came from (RFC 3261 §18.2.1, RFC 3581 §4): `received` where it
    /// differs from what the sender says or where `rport` is asked for, and the port if it is. None if it says so already.
    #[must_use]
    pub fn stamped(&self, ip: IpAddr, port: u16) -> Option<Self> {
        let asked = self.params.has("rport");
        let elsewhere = self.host.ip() != Some(ip.to_canonical());
        if !asked && !elsewhere && !self.params.has("received") {
            return None;
        }
        let received = (asked || elsewhere).then(|| digits::of_ip(ip));
        let rport = asked.then(|| digits::of_number(port.into()));
        // A value that the sender made up must not steer our answer.
        let params = self.params.with_all(&[
            ("received", received.as_deref().map(Some)),
            ("rport", rport.as_deref().map(Some)),
        ]);
        (params != self.params).then(|| Self { params, ..self.clone() })
    }

    /// Appends host and port as the sender names itself.
    pub fn write_sent_by(&self, out: &mut String) {
        self.host.write_to(out).expect("writing to a String cannot fail");
        if let Some(port) = self.port {
            out.push(':');
            digits::write(out, port.into()).expect("writing to a String cannot fail");
        }
    }
}

impl TypedHeader for Via {
    const NAME: HeaderName = HeaderName::VIA;
    const FORM: Form = Form::List;

    fn parse(text: &str) -> Result<Self, HeaderError> {
        let source = Text::from(text);
        let mut cursor = Cursor::new(source.as_bytes());
        let parts = read(&mut cursor)?;
        cursor.end(LEFT_OVER)?;
        Ok(Self {
            transport: source.cut(parts.transport),
            host: Host::of(parts.host, &source),
            port: parts.port,
            params: Params::checked(source.cut(parts.params)),
        })
    }

    fn write(&self, out: &mut String) {
        out.push_str("SIP/2.0/");
        out.push_str(if scan::all_token(self.transport.as_bytes()) {
            &self.transport
        } else {
            "UDP"
        });
        out.push(' ');
        self.write_sent_by(out);
        out.push_str(self.params.as_str());
    }
}

/// Whether a line of `Via` values can be read, without making any.
pub fn check_list(text: &[u8]) -> Result<(), Bad> {
    let mut cursor = Cursor::new(text);
    loop {
        read(&mut cursor)?;
        if !cursor.eat(b',') {
            return cursor.end(LEFT_OVER);
        }
    }
}

struct Parts<'a> {
    transport: &'a [u8],
    host: HostPart<'a>,
    port: Option<u16>,
    params: &'a [u8],
}

/// `SIP / 2.0 / UDP host : port ; params`, where blanks may stand around each mark.
#[inline]
fn read<'a>(cursor: &mut Cursor<'a>) -> Result<Parts<'a>, Bad> {
    cursor.blanks();
    if !cursor.eat_all(b"SIP/2.0/") {
        odd_protocol(cursor)?;
    }
    cursor.blanks();
    let transport = cursor.run(class::TOKEN);
    if transport.is_empty() || !matches!(cursor.peek(), Some(b' ' | b'\t')) {
        return Err(Bad(NO_PROTOCOL));
    }
    cursor.blanks();
    let host = host::read(cursor)?;
    cursor.blanks();
    let port = if cursor.eat(b':') {
        cursor.blanks();
        Some(host::read_port(cursor)?)
    } else {
        None
    };
    cursor.blanks();
    let mut branches = 0;
    let params = params::read_header(cursor, |name, _| {
        branches += usize::from(name.eq_ignore_ascii_case(b"branch"));
    })?;
    if branches > 1 {
        return Err(Bad("a branch that stands twice"));
    }
    Ok(Parts {
        transport,
        host,
        port,
        params,
    })
}

/// Reads name and version of the protocol as nearly nobody writes them: in small letters, or with blanks.
#[cold]
fn odd_protocol(cursor: &mut Cursor<'_>) -> Result<(), Bad> {
    let name = cursor.run(class::TOKEN);
    cursor.blanks();
    let slash = cursor.eat(b'/');
    cursor.blanks();
    let version = cursor.run(class::TOKEN);
    cursor.blanks();
    if name.eq_ignore_ascii_case(b"SIP") && slash && version == b"2.0" && cursor.eat(b'/') {
        Ok(())
    } else {
        Err(Bad(NO_PROTOCOL))
    }
}

const NO_PROTOCOL: &str = "not SIP/2.0/transport";
const LEFT_OVER: &str = "text where a parameter or another hop should begin";

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3261 §7.3.1: else one would find the transaction by the first, and somebody else by the last.
    #[test]
    fn a_branch_stands_once_in_each_hop() {
        let twice = "SIP/2.0/UDP a.example;branch=1;x;Branch=2";
        assert!(check_list(twice.as_bytes()).is_err());
        let two = "SIP/2.0/UDP a.example;branch=1, SIP/2.0/UDP b.example;branch=1;branches=2";
        assert_eq!(check_list(two.as_bytes()), Ok(()));
        assert!(check_list(format!("{two},{twice}").as_bytes()).is_err());
    }

    #[test]
    fn odd_spellings_are_read() {
        let via = Via::parse("SIP  / 2.0 / UDP  192.0.2.2 : 5066 ;branch= 390skdjuw ;rport").unwrap();
        assert_eq!(
            (&*via.transport, via.host.to_string().as_str(), via.port),
            ("UDP", "192.0.2.2", Some(5066))
        );
        assert_eq!(
            (via.branch(), via.rport(), via.received()),
            (Some("390skdjuw"), Some(None), None)
        );
        for (text, received) in [
            (
                "SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255]",
                "2001:db8::9:255",
            ),
            (
                "SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255",
                "2001:db8::9:255",
            ),
            ("SIP/2.0/TLS-SCTP a.example;received=192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(
                Via::parse(text).unwrap().received().map(|ip| ip.to_string()).as_deref(),
                Some(received),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_hop_is_refused() {
        for text in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/3.0/UDP a",
            "HTTP/2.0/UDP a",
            "SIP/2.0/UDP 192.0.2.15;;,;,,",
            "SIP/2.0/UDP a:0",
            "SIP/2.0/UDP a b",
            "SIP/2.0/U(DP a",
            "SIP/2.0/UDP a;branch=\"x",
        ] {
            assert!(Via::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_true_source_is_noted() {
        let rows = [
            ("SIP/2.0/UDP 192.0.2.1;branch=b", "SIP/2.0/UDP 192.0.2.1;branch=b"),
            ("SIP/2.0/UDP 192.0.2.1;received=10.0.0.1", "SIP/2.0/UDP 192.0.2.1"),
            (
                "SIP/2.0/UDP 192.0.2.9;branch=b",
                "SIP/2.0/UDP 192.0.2.9;branch=b;received=192.0.2.1",
            ),
            (
                "SIP/2.0/UDP 192.0.2.1;rport",
                "SIP/2.0/UDP 192.0.2.1;rport=40000;received=192.0.2.1",
            ),
            (
                "SIP/2.0/UDP a.example;rport;received=1.1.1.1",
                "SIP/2.0/UDP a.example;rport=40000;received=192.0.2.1",
            ),
        ];
        for (before, after) in rows {
            let via = Via::parse(before).unwrap();
            let stamped = via.stamped("192.0.2.1".parse().unwrap(), 40_000);
            assert_eq!(stamped.is_none(), before == after, "{before}");
            let mut text = String::new();
            stamped.unwrap_or(via).write(&mut text);
            assert_eq!(text, after, "{before}");
        }
    }
}
