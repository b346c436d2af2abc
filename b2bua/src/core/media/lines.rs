//! A session description taken apart into its lines and fields (RFC 8866 §5), within our limits. Nothing is copied.
//!
//! The order of lines is judged as far as it carries meaning: `v=` is the first, each stream begins with its `m=`, and a
//! type stands only where it may. Of several faults the first is told. What `t=`, `r=` and `z=` say is left unread, since
//! a call takes place when it does; so are titles and other lines for people.

use std::ops::Range;

use smallvec::SmallVec;

use super::fault::SdpFault;

/// A description whose lines are in order.
pub(super) struct Session<'a> {
    /// Where media goes unless a stream says otherwise.
    pub connection: Option<Connection<'a>>,
    /// The streams; there is at least one.
    pub streams: SmallVec<[Stream<'a>; 2]>,
    /// Every address that it names where addresses belong, once.
    pub addresses: SmallVec<[&'a str; 4]>,
    bandwidths: SmallVec<[&'a str; 4]>,
    attributes: SmallVec<[Attribute<'a>; 24]>,
    /// How many of each belong to no stream.
    own: Lines,
}

/// One stream: its `m=` line (RFC 8866 §5.14) and what follows that.
pub(super) struct Stream<'a> {
    pub media: &'a str,
    pub port: u16,
    /// How many ports it claims, if it says so.
    pub ports: Option<u16>,
    pub protocol: &'a str,
    /// As they stand, with every space.
    pub formats: &'a str,
    /// The number of its line.
    pub line: usize,
    /// Its first `c=` line.
    pub connection: Option<Connection<'a>>,
    /// Whether there are more of these.
    pub layered: bool,
    lines: Lines,
}

/// Which bandwidths and attributes belong together.
#[derive(Clone, Default)]
struct Lines {
    bandwidths: Range<usize>,
    attributes: Range<usize>,
}

/// An `a=` line (RFC 8866 §5.13).
#[derive(Clone, Copy)]
pub(super) struct Attribute<'a> {
    /// All that follows `a=`.
    pub text: &'a str,
    pub name: &'a str,
}

/// A `c=` line (RFC 8866 §5.7).
#[derive(Clone, Copy)]
pub(super) struct Connection<'a> {
    pub family: Family,
    pub address: &'a str,
}

/// What kind of address a line announces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
    /// Of another network than the Internet, or unknown.
    Other,
}

impl<'a> Session<'a> {
    pub(super) fn read(sdp: &'a [u8]) -> Result<Self, SdpFault> {
        if sdp.len() > MAX_OCTETS {
            return Err(SdpFault::TooLarge);
        }
        // Some phones end the body with an empty line.
        let sdp = sdp.trim_ascii_end();
        let (text, whole) = match std::str::from_utf8(sdp) {
            Ok(text) => (text, true),
            Err(error) => {
                let valid = std::str::from_utf8(&sdp[..error.valid_up_to()]);
                (valid.unwrap_or_default(), false)
            }
        };
        let mut session = Self::default();
        let mut seen = Seen::default();
        let mut rest = Some(text);
        let mut number = 0;
        while let Some(text) = rest {
            number += 1;
            if number > MAX_LINES {
                return Err(SdpFault::TooLarge);
            }
            let line;
            (line, rest) = next_line(text).ok_or(SdpFault::Malformed(number))?;
            // What is not UTF-8 begins in the last line of what is.
            let broken = rest.is_none() && !whole;
            session
                .take(line, number, &mut seen)
                .filter(|()| !broken)
                .ok_or(SdpFault::Malformed(number))?;
            if session.streams.len() > MAX_STREAMS || session.addresses.len() > MAX_ADDRESSES {
                return Err(SdpFault::TooLarge);
            }
        }
        match (session.streams.is_empty(), seen.before(b'o')) {
            (true, _) => Err(SdpFault::NoMedia),
            (false, false) => Err(SdpFault::Malformed(1)),
            (false, true) => Ok(session),
        }
    }

    /// `None` for a line that may not be, or not here.
    fn take(&mut self, line: &'a str, number: usize, seen: &mut Seen) -> Option<()> {
        let [kind, b'=', ..] = line.as_bytes() else {
            return None;
        };
        let value = line.get(2..)?;
        if number == 1 {
            return (*kind == b'v' && value == "0").then_some(());
        }
        match (kind, self.streams.last_mut()) {
            (b'm', _) => {
                let mut stream = Stream::read(value, number)?;
                stream.lines.bandwidths = self.bandwidths.len()..self.bandwidths.len();
                stream.lines.attributes = self.attributes.len()..self.attributes.len();
                self.streams.push(stream);
                seen.next_stream();
            }
            (b'a', stream) => {
                self.attributes.push(Attribute::read(value));
                let lines = stream.map_or(&mut self.own, |stream| &mut stream.lines);
                lines.attributes.end += 1;
            }
            (b'b', stream) => {
                is_bandwidth(value).then_some(())?;
                self.bandwidths.push(value);
                let lines = stream.map_or(&mut self.own, |stream| &mut stream.lines);
                lines.bandwidths.end += 1;
            }
            (b'c', None) => {
                let connection = Connection::read(value).filter(|_| seen.first(b'c'))?;
                self.connection = Some(connection);
                self.name(connection.address);
            }
            (b'c', Some(stream)) => {
                let connection = Connection::read(value)?;
                stream.layered |= stream.connection.is_some();
                stream.connection.get_or_insert(connection);
                self.name(connection.address);
            }
            (b'o', None) => {
                let address = origin_address(value).filter(|_| seen.first(b'o'))?;
                self.name(address);
            }
            (b's' | b'u' | b'z', None) | (b'i' | b'k', _) => seen.first(*kind).then_some(())?,
            (b't', None) => seen.mark(b't'),
            (b'e' | b'p', None) => {}
            (b'r', None) => seen.before(b't').then_some(())?,
            // RFC 8866 §5: a description with a type that we do not know is not to be used.
            _ => return None,
        }
        Some(())
    }

    fn name(&mut self, address: &'a str) {
        // A bare word such as "localhost" would forbid too much.
        if address.contains(['.', ':']) && !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }

    /// What holds for the whole session.
    pub(super) fn own_attributes(&self) -> &[Attribute<'a>] {
        &self.attributes[self.own.attributes.clone()]
    }

    /// The same of bandwidths: `<bwtype>:<bandwidth>`.
    pub(super) fn own_bandwidths(&self) -> &[&'a str] {
        &self.bandwidths[self.own.bandwidths.clone()]
    }

    /// What holds for one of its streams.
    pub(super) fn attributes_of(&self, stream: &Stream<'a>) -> &[Attribute<'a>] {
        &self.attributes[stream.lines.attributes.clone()]
    }

    /// The same of bandwidths.
    pub(super) fn bandwidths_of(&self, stream: &Stream<'a>) -> &[&'a str] {
        &self.bandwidths[stream.lines.bandwidths.clone()]
    }

    /// Those of the session and of all streams.
    pub(super) fn attributes(&self) -> &[Attribute<'a>] {
        &self.attributes
    }
}

impl Default for Session<'_> {
    fn default() -> Self {
        Self {
            connection: None,
            streams: SmallVec::new(),
            addresses: SmallVec::new(),
            bandwidths: SmallVec::new(),
            attributes: SmallVec::new(),
            own: Lines::default(),
        }
    }
}

impl<'a> Stream<'a> {
    /// `<media> <port>[/<count>] <proto> <fmt> …`
    fn read(value: &'a str, line: usize) -> Option<Self> {
        let (media, rest) = cut(value, b' ')?;
        let (port, rest) = cut(rest, b' ')?;
        let (protocol, formats) = cut(rest, b' ')?;
        let (port, ports) = match cut(port, b'/') {
            Some((port, count)) => (port, Some(digits(count)?.parse().ok()?)),
            None => (port, None),
        };
        let stream = Self {
            media,
            port: digits(port)?.parse().ok()?,
            ports,
            protocol,
            formats,
            line,
            connection: None,
            layered: false,
            lines: Lines::default(),
        };
        let is_rtp = protocol.contains("RTP/");
        let mut seen = 0;
        for format in fields(formats) {
            seen += 1;
            if seen > MAX_FORMATS || is_rtp && !is_payload_type(format) {
                return None;
            }
        }
        (seen > 0).then_some(stream)
    }
}

impl<'a> Attribute<'a> {
    pub(super) fn read(text: &'a str) -> Self {
        let name = cut(text, b':').map_or(text, |(name, _)| name);
        Self { text, name }
    }

    /// What follows the first colon.
    pub(super) fn value(&self) -> Option<&'a str> {
        self.text.get(self.name.len() + 1..)
    }
}

impl<'a> Connection<'a> {
    /// `<nettype> <addrtype> <connection-address>`
    fn read(value: &'a str) -> Option<Self> {
        let mut fields = fields(value);
        let family = Family::read(fields.next()?, fields.next()?)?;
        let address = fields.next()?;
        fields.next().is_none().then_some(Self { family, address })
    }
}

impl Family {
    /// `<nettype> <addrtype>`
    fn read(network: &str, kind: &str) -> Option<Self> {
        match network.eq_ignore_ascii_case("IN") {
            true if kind.eq_ignore_ascii_case("IP4") => Some(Self::V4),
            true if kind.eq_ignore_ascii_case("IP6") => Some(Self::V6),
            _ => (is_token(network) && is_token(kind)).then_some(Self::Other),
        }
    }
}

/// The lines of which there may be one, or which others depend on.
#[derive(Default)]
struct Seen(u32);

impl Seen {
    fn bit(kind: u8) -> u32 {
        1 << (kind & 31)
    }

    fn mark(&mut self, kind: u8) {
        self.0 |= Self::bit(kind);
    }

    fn before(&self, kind: u8) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    /// Whether it is the first of its kind.
    fn first(&mut self, kind: u8) -> bool {
        let first = !self.before(kind);
        self.mark(kind);
        first
    }

    /// What each stream may have for itself it may have again.
    fn next_stream(&mut self) {
        self.0 &= !(Self::bit(b'i') | Self::bit(b'k'));
    }
}

/// The address of `<username> <sess-id> <sess-version> <nettype> <addrtype> <unicast-address>` (RFC 8866 §5.2).
fn origin_address(value: &str) -> Option<&str> {
    let mut fields = fields(value);
    let (_, _, version) = (fields.next()?, fields.next()?, fields.next()?);
    Family::read(fields.next()?, fields.next()?)?;
    let address = fields.next()?;
    (fields.next().is_none() && version.parse::<u64>().is_ok()).then_some(address)
}

/// `<bwtype>:<bandwidth>` (RFC 8866 §5.8).
fn is_bandwidth(value: &str) -> bool {
    let bandwidth = cut(value, b':').and_then(|(_, number)| digits(number));
    bandwidth.is_some_and(|number| number.parse::<u64>().is_ok())
}

/// None of which can be empty, so that several spaces are as good as one.
pub(super) fn fields(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    let words = std::iter::from_fn(move || {
        let text = rest?;
        let (word, after) = cut(text, b' ').map_or((text, None), |(word, after)| (word, Some(after)));
        rest = after;
        Some(word)
    });
    words.filter(|word| !word.is_empty())
}

/// What is before the first such ASCII character and what is behind it. The search of the standard library is made for
/// longer texts and takes several times as long.
pub(super) fn cut(text: &str, at: u8) -> Option<(&str, &str)> {
    let place = text.bytes().position(|octet| octet == at)?;
    Some((text.get(..place)?, text.get(place + 1..)?))
}

/// The next line, and what is behind it unless it is the last; `None` if there is a NUL or CR within it.
fn next_line(text: &str) -> Option<(&str, Option<&str>)> {
    let Some(place) = memchr::memchr3(b'\n', b'\r', b'\0', text.as_bytes()) else {
        return Some((text, None));
    };
    let end = match &text.as_bytes()[place..] {
        [b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        _ => return None,
    };
    Some((text.get(..place)?, text.get(place + end..)))
}

fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit())).then_some(text)
}

/// It has seven bits (RFC 3550 §5.1).
fn is_payload_type(text: &str) -> bool {
    digits(text).is_some_and(|text| text.parse::<u8>().is_ok_and(|number| number < 128))
}

/// RFC 8866 §9.
fn is_token(text: &str) -> bool {
    text.bytes()
        .all(|octet| octet.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]".contains(&octet))
}

/// The longest body that is read, in octets. A phone with every codec and ICE stays under half of it.
const MAX_OCTETS: usize = 16_384;
/// The most lines.
const MAX_LINES: usize = 512;
/// The most streams (`m=` lines).
const MAX_STREAMS: usize = 16;
/// The most payload types of one stream.
const MAX_FORMATS: usize = 64;
/// The most addresses: one of each stream, of the session and of the origin.
const MAX_ADDRESSES: usize = MAX_STREAMS + 2;
