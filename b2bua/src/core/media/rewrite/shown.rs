//! What of a description may be shown to the other party.

use std::net::{Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

use crate::core::media::lines::Attribute;

/// What must not be shown: the addresses that a description names, and whatever else reads as one.
pub(super) struct Hidden<'a>(SmallVec<[(Marks, &'a str); 4]>);

impl<'a> Hidden<'a> {
    pub(super) fn new(addresses: &[&'a str]) -> Self {
        Self(addresses.iter().map(|address| (Marks::of(address), *address)).collect())
    }

    /// Whether the text contains any of it.
    pub(super) fn stands_in(&self, text: &str) -> bool {
        let marks = Marks::of(text);
        marks.may_show_address() && reads_as_address(text) || self.names(text, marks)
    }

    /// Whether an attribute may be shown to the other party.
    pub(super) fn lets(&self, line: &Attribute<'_>) -> bool {
        let marks = Marks::of(line.text);
        // The colon before a value may be part of an address, and may only look so.
        let shows =
            marks.may_show_address() && (reads_as_address(line.text) || line.value().is_some_and(reads_as_address));
        !(stops(line.name) || shows || self.names(line.text, marks))
    }

    fn names(&self, text: &str, marks: Marks) -> bool {
        let mut known = self.0.iter();
        known.any(|(least, address)| marks.have(*least) && text.contains(address))
    }
}

/// How many characters a text has that make an address. Hardly any line has enough of them.
#[derive(Clone, Copy)]
struct Marks {
    dots: usize,
    colons: usize,
}

impl Marks {
    fn of(text: &str) -> Self {
        let none = Self { dots: 0, colons: 0 };
        text.bytes().fold(none, |marks, octet| Self {
            dots: marks.dots + usize::from(octet == b'.'),
            colons: marks.colons + usize::from(octet == b':'),
        })
    }

    /// Whether a text with these may contain one with those.
    fn have(self, least: Self) -> bool {
        self.dots >= least.dots && self.colons >= least.colons
    }

    fn may_show_address(self) -> bool {
        self.dots >= 3 || self.colons >= 2
    }
}

/// Whether an attribute speaks of the party's own transport, keys or addresses, or of the direction, which we say.
fn stops(name: &str) -> bool {
    let begins = |prefix: &&str| {
        let start = name.as_bytes().get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    let mut lower = [0; LONGEST];
    let known = lower.get_mut(..name.len()).is_some_and(|lower| {
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        stops_here(lower)
    });
    known || STOPS_HERE_PREFIX.iter().any(begins)
}

/// Whether the text contains something that reads as an IP address.
pub(super) fn reads_as_address(text: &str) -> bool {
    shows_v4(text) || shows_v6(text)
}

fn shows_v4(text: &str) -> bool {
    let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    words
        .map(|word| word.trim_matches('.'))
        .any(|word| word.parse::<Ipv4Addr>().is_ok())
}

fn shows_v6(text: &str) -> bool {
    let words = text.split(|c: char| !(c.is_ascii_hexdigit() || c == ':' || c == '.'));
    words.filter(|word| word.matches(':').count() > 1).any(|word| {
        let word = word.trim_end_matches('.');
        let inner = word.trim_start_matches(':').trim_end_matches(':');
        word.parse::<Ipv6Addr>().is_ok() || inner.parse::<Ipv6Addr>().is_ok()
    })
}

/// Lower-case names.
fn stops_here(name: &[u8]) -> bool {
    matches!(
        name,
        b"alt"
            | b"altc"
            | b"bundle-only"
            | b"candidate"
            | b"connection"
            | b"crypto"
            | b"end-of-candidates"
            | b"fingerprint"
            | b"group"
            | b"identity"
            | b"key-mgmt"
            | b"mid"
            | b"msid"
            | b"msid-semantic"
            | b"path"
            | b"remote-candidates"
            | b"rtcp"
            | b"rtcp-fb"
            | b"rtcp-mux"
            | b"rtcp-mux-only"
            | b"rtcp-rsize"
            | b"setup"
            | b"source-filter"
            | b"ssrc"
            | b"ssrc-group"
            | b"tls-id"
            | b"tool"
            | b"inactive"
            | b"recvonly"
            | b"sendonly"
            | b"sendrecv"
    )
}

/// The longest of these names, in octets.
const LONGEST: usize = 17;
/// Families of such attributes: ICE (RFC 8839), ZRTP (RFC 6189 §8), capability negotiation (RFC 5939).
const STOPS_HERE_PREFIX: [&str; 7] = ["acap", "acfg", "ice-", "pcfg", "tcap", "x-ice", "zrtp-"];
