//! `Via` (RFC 3261 §20.42, RFC 3581).

use std::net::{IpAddr, SocketAddr};

use crate::core::sip::cursor::Cursor;
use crate::core::sip::digits;
use crate::core::sip::headers::HeaderError;
use crate::core::sip::host::{self, Host, HostPart};
use crate::core::sip::name::HeaderName;
use crate::core::sip::params::{self, Params};
use crate::core::sip::scan::{self, Bad, class};
use crate::core::sip::text::Text;
use crate::core::sip::typed::{Form, TypedHeader};
use crate::core::sip::value::Value;

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

    /// The line of such a hop at this address, whose branch is these tokens one behind the other, and which a peer may use for
    /// requests of its own (`alias`, RFC 5923 §8.1) or not.
    #[must_use]
    pub fn line(transport: &'static str, at: SocketAddr, branch: [&str; 2], alias: bool) -> Value {
        const ALIAS: &str = ";alias";
        let room = USUAL_SENT_BY
            + ["SIP/2.0/WSS ", BEFORE_BRANCH, branch[0], branch[1], ALIAS]
                .map(str::len)
                .iter()
                .sum::<usize>();
        let mut line = String::with_capacity(room);
        line.push_str("SIP/2.0/");
        line.push_str(transport);
        line.push(' ');
        Host::from(at.ip())
            .write_to(&mut line)
            .expect("writing to a String cannot fail");
        line.push(':');
        digits::write(&mut line, at.port()).expect("writing to a String cannot fail");
        line.push_str(BEFORE_BRANCH);
        line.push_str(branch[0]);
        line.push_str(branch[1]);
        line.push_str(if alias { ALIAS } else { "" });
        Value::made(line)
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
        let (rport, received) = (self.params.has("rport"), self.params.has("received"));
        let note = Note::due(self.host.ip(), [rport, received], ip, port)?;
        let read = self.params.as_str();
        let mut params = String::with_capacity(read.len() + USUAL_NOTE);
        note.write(read, &mut params).then(|| Self {
            params: Params::checked(Text::from(params)),
            ..self.clone()
        })
    }

    /// Appends host and port as the sender names itself.
    pub fn write_sent_by(&self, out: &mut String) {
        self.host.write_to(out).expect("writing to a String cannot fail");
        if let Some(port) = self.port {
            out.push(':');
            digits::write(out, port).expect("writing to a String cannot fail");
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

/// A [`Via`] where it lies in its message: what matches messages (RFC 3261 §17.1.3, §17.2.3) costs no memory.
#[derive(Clone, Copy)]
pub struct Hop<'a> {
    parts: Parts<'a>,
    branch: Option<&'a str>,
    /// What follows in its line: nothing, or a comma and the next hop.
    behind: &'a [u8],
}

impl<'a> Hop<'a> {
    /// Reads the topmost hop of a line.
    ///
    /// # Errors
    /// What the text should not have been.
    pub(in crate::core::sip) fn read(line: &'a [u8]) -> Result<Self, Bad> {
        let mut cursor = Cursor::new(line);
        let parts = read(&mut cursor)?;
        let branch = parts.branch.map(std::str::from_utf8).transpose();
        match cursor.rest() {
            behind @ ([] | [b',', ..]) => Ok(Self {
                parts,
                branch: branch
                    .map_err(|_| Bad("a branch that is no token"))?
                    .map(params::without_quotes),
                behind,
            }),
            _ => Err(Bad(LEFT_OVER)),
        }
    }

    /// The transaction's mark.
    #[must_use]
    pub fn branch(&self) -> Option<&'a str> {
        self.branch
    }

    /// Whether no other hop stands in its line.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.behind.is_empty()
    }

    /// Appends host and port as the sender names itself: the same bytes for each spelling of them, and for nothing else.
    pub fn put_sent_by(&self, out: &mut impl Extend<u8>) {
        match self.parts.host {
            HostPart::Name(name) => out.extend(name.iter().map(u8::to_ascii_lowercase)),
            // No name begins with these.
            HostPart::V4(ip) => out.extend([4].into_iter().chain(ip.octets())),
            HostPart::V6(ip) => out.extend([6].into_iter().chain(ip.octets())),
        }
        out.extend(self.parts.port.into_iter().flat_map(|port| {
            let [high, low] = port.to_be_bytes();
            [b':', high, low]
        }));
    }

    /// Transport and parameters as they stand.
    #[must_use]
    pub fn texts(&self) -> [&'a [u8]; 2] {
        [self.parts.transport, self.parts.params]
    }

    /// Its line with the note that [`Via::stamped`] makes.
    #[must_use]
    pub fn stamped(&self, ip: IpAddr, port: u16) -> Option<String> {
        let Parts { rport, received, .. } = self.parts;
        let note = Note::due(self.parts.host.ip(), [rport, received], ip, port)?;
        let read = scan::to_text(self.parts.params);
        let room = "SIP/2.0/".len() + self.parts.transport.len() + USUAL_SENT_BY + read.len() + USUAL_NOTE;
        let mut line = String::with_capacity(room + self.behind.len());
        line.push_str("SIP/2.0/");
        line.push_str(std::str::from_utf8(self.parts.transport).unwrap_or("UDP"));
        line.push(' ');
        let sent_by = self.parts.host.write_to(&mut line);
        sent_by.expect("writing to a String cannot fail");
        if let Some(port) = self.parts.port {
            line.push(':');
            digits::write(&mut line, port).expect("writing to a String cannot fail");
        }
        if !note.write(&read, &mut line) {
            return None;
        }
        if !self.behind.is_empty() {
            line.push_str(&scan::to_text(self.behind));
        }
        Some(line)
    }
}

/// Where a request really came from, for the parameters of its hop.
struct Note {
    /// Whether the sender asks for it, by `rport`.
    asked: bool,
    /// Whether that is not where the sender says it is.
    elsewhere: bool,
    ip: IpAddr,
    port: u16,
}

impl Note {
    /// What is to be noted of a hop at this host, among whose parameters are `rport` and `received` or not. None if there is
    /// nothing.
    fn due(host: Option<IpAddr>, [asked, received]: [bool; 2], ip: IpAddr, port: u16) -> Option<Self> {
        let elsewhere = host != Some(ip.to_canonical());
        (asked || elsewhere || received).then_some(Self {
            asked,
            elsewhere,
            ip,
            port,
        })
    }

    /// Appends the parameters with the note, and tells whether they differ from what they were.
    fn write(&self, params: &str, out: &mut String) -> bool {
        let start = out.len();
        // A value that the sender made up must not steer our answer.
        params::rewrite(params, &["received", "rport"], out, |at, name, out| {
            let is_address = at == 0;
            let is_due = self.asked || is_address && self.elsewhere;
            if !is_due {
                return;
            }
            out.push(';');
            out.push_str(name);
            out.push('=');
            let written = if is_address {
                digits::write_ip(out, self.ip)
            } else {
                digits::write(out, self.port)
            };
            written.expect("writing to a String cannot fail");
        });
        out[start..] != *params
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

#[derive(Clone, Copy)]
struct Parts<'a> {
    transport: &'a [u8],
    host: HostPart<'a>,
    port: Option<u16>,
    params: &'a [u8],
    branch: Option<&'a [u8]>,
    /// Whether these parameters are there.
    rport: bool,
    received: bool,
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
    let (mut branches, mut branch) = (0, None);
    let (mut rport, mut received) = (false, false);
    let params = params::read_header(cursor, |name, value| match name.len() {
        5 => rport |= name.eq_ignore_ascii_case(b"rport"),
        6 if name.eq_ignore_ascii_case(b"branch") => {
            branches += 1;
            branch = value;
        }
        8 => received |= name.eq_ignore_ascii_case(b"received"),
        _ => {}
    })?;
    if branches > 1 {
        return Err(Bad("a branch that stands twice"));
    }
    Ok(Parts {
        transport,
        host,
        port,
        params,
        branch,
        rport,
        received,
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

const BEFORE_BRANCH: &str = ";rport;branch=";
/// Room for an IPv4 address and a port, and for most names.
const USUAL_SENT_BY: usize = 32;
/// Room for what is noted of where a request came from.
const USUAL_NOTE: usize = ";received=255.255.255.255;rport=65535".len();
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
    fn a_line_of_our_own_is_that_of_a_hop_of_our_own() {
        for at in ["192.0.2.1:5060", "[2001:db8::1]:5061"] {
            for alias in [false, true] {
                let at: SocketAddr = at.parse().unwrap();
                let mut via = Via::new("TLS", Host::from(at.ip()), Some(at.port()), "z9hG4bK1a");
                if alias {
                    via.params.set("alias", None);
                }
                let mut written = String::new();
                via.write(&mut written);
                assert_eq!(Via::line("TLS", at, ["z9hG4bK", "1a"], alias), *written);
            }
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
