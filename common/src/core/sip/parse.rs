//! How a message is read.
//!
//! One pass over the bytes finds the lines; what every message must have is checked on the way. The first fault is
//! kept and reading goes on, so that the sender can be told, if it left enough to send an answer to.

use std::fmt;

use bytes::Bytes;

use super::headers::Headers;
use super::message::{Message, Request, Response};
use super::method::Method;
use super::name::{HeaderName, Known};
use super::scan::{self, Bad, class};
use super::status::Status;
use super::typed;
use super::uri::Uri;
use super::value::Value;
use super::{MAX_HEADERS, MAX_MESSAGE};

impl Message {
    /// Reads one datagram, or one message that [`frame`](super::frame) cut out of a stream.
    ///
    /// Bytes beyond `Content-Length` are ignored, a body shorter than it is a fault (RFC 3261 §18.3). Line ends before
    /// the message are ignored (§7.5).
    ///
    /// # Errors
    /// [`Fault`] tells what is wrong, and holds what is needed to tell the sender.
    pub fn parse(datagram: Bytes) -> Result<Self, Fault> {
        Reader::new(&datagram).read()
    }
}

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Where, in bytes from the beginning of the datagram.
    pub place: usize,
    /// What to answer; none for a response, an ACK, and what is no message at all: these are dropped.
    pub status: Option<Status>,
    /// The request as far as it could be read, for [`Request::response`]. There if and only if `Via`, `From`, `To`,
    /// `Call-ID` and `CSeq` are. Not good for anything else.
    pub reply_to: Option<Box<Request>>,
}

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing but line ends: a keep-alive (RFC 5626 §3.5.1), not a fault of the peer.
    KeepAlive,
    /// The first line is neither request line nor status line.
    StartLine,
    /// The Request-URI cannot be read, or holds headers.
    Uri,
    /// A version other than 2.0.
    Version,
    /// A line that is no header: no colon, no name, or characters that may not be there.
    HeaderLine,
    /// More lines than [`MAX_HEADERS`].
    TooManyHeaders,
    /// More bytes than [`MAX_MESSAGE`].
    TooLarge,
    /// The empty line behind the headers is not there.
    Unfinished,
    /// The body is shorter than `Content-Length`.
    ShortBody,
    /// `CSeq` names another method than the request line.
    CseqMethod,
    /// A header without which there is no answer is missing.
    Missing(HeaderName),
    /// A header that may be there once is there twice.
    Repeated(HeaderName),
    /// A header that everybody reads cannot be read.
    Malformed(HeaderName, &'static str),
}

impl FaultKind {
    fn status(&self) -> Option<Status> {
        match self {
            Self::KeepAlive => None,
            Self::Version => Some(Status::VERSION_NOT_SUPPORTED),
            Self::TooManyHeaders | Self::TooLarge => Some(Status::MESSAGE_TOO_LARGE),
            Self::StartLine
            | Self::Uri
            | Self::HeaderLine
            | Self::Unfinished
            | Self::ShortBody
            | Self::CseqMethod
            | Self::Missing(_)
            | Self::Repeated(_)
            | Self::Malformed(..) => Some(Status::BAD_REQUEST),
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeepAlive => f.write_str("keep-alive"),
            Self::StartLine => f.write_str("malformed first line"),
            Self::Uri => f.write_str("malformed Request-URI"),
            Self::Version => f.write_str("SIP version not supported"),
            Self::HeaderLine => f.write_str("malformed header line"),
            Self::TooManyHeaders => write!(f, "more than {MAX_HEADERS} headers"),
            Self::TooLarge => write!(f, "more than {MAX_MESSAGE} bytes"),
            Self::Unfinished => f.write_str("no end of headers"),
            Self::ShortBody => f.write_str("body shorter than Content-Length"),
            Self::CseqMethod => f.write_str("CSeq of another method"),
            Self::Missing(name) => write!(f, "{name} missing"),
            Self::Repeated(name) => write!(f, "{name} more than once"),
            Self::Malformed(name, what) => write!(f, "malformed {name}: {what}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.kind, self.place)
    }
}

impl std::error::Error for Fault {}

/// The first line.
enum Start {
    Request(Method, Uri),
    Response(Status, Value),
}

struct Reader<'a> {
    source: &'a Bytes,
    /// What is read of it: all, unless it is too much.
    bytes: &'a [u8],
    at: usize,
    headers: Headers,
    seen: Seen,
    fault: Option<(FaultKind, usize)>,
}

/// A line, without its end.
struct Found {
    start: usize,
    end: usize,
    /// It holds bytes that no value may hold.
    odd: bool,
}

/// What reading has come by of the headers that may be there once.
#[derive(Default)]
struct Seen {
    via: bool,
    from: bool,
    to: bool,
    call_id: bool,
    max_forwards: bool,
    expires: bool,
    /// The method that `CSeq` names.
    cseq: Option<Method>,
    has_cseq: bool,
    content_length: Option<usize>,
    has_content_length: bool,
}

impl<'a> Reader<'a> {
    fn new(source: &'a Bytes) -> Self {
        Self {
            headers: Headers::reading(source.clone()),
            source,
            bytes: source,
            at: 0,
            seen: Seen::default(),
            fault: None,
        }
    }

    fn read(mut self) -> Result<Message, Fault> {
        while self.bytes[self.at..].starts_with(b"\r\n") {
            self.at += 2;
        }
        if self.at == self.bytes.len() {
            return Err(Fault {
                kind: FaultKind::KeepAlive,
                place: 0,
                status: None,
                reply_to: None,
            });
        }
        if self.bytes.len() > MAX_MESSAGE {
            // What fits is read all the same: it may hold enough to answer.
            self.fault(FaultKind::TooLarge, MAX_MESSAGE);
            self.bytes = &self.bytes[..MAX_MESSAGE];
        }
        let start = self.start_line();
        self.header_lines();
        self.check_presence();
        let body = self.body();
        if let (Some(Start::Request(method, _)), Some(cseq)) = (&start, &self.seen.cseq)
            && method != cseq
        {
            self.fault(FaultKind::CseqMethod, 0);
        }
        match (self.fault.take(), start) {
            (None, Some(Start::Request(method, uri))) => Ok(Message::Request(Request {
                method,
                uri,
                headers: self.headers,
                body,
            })),
            (None, Some(Start::Response(status, reason))) => Ok(Message::Response(Response {
                status,
                reason,
                headers: self.headers,
                body,
            })),
            (fault, start) => Err(self.refuse(fault.unwrap_or((FaultKind::StartLine, 0)), start)),
        }
    }

    /// Keeps the first fault: what follows it is often its echo.
    fn fault(&mut self, kind: FaultKind, place: usize) {
        self.fault.get_or_insert((kind, place));
    }

    fn refuse(self, (kind, place): (FaultKind, usize), start: Option<Start>) -> Fault {
        let is_response = match &start {
            Some(Start::Response(..)) => true,
            Some(Start::Request(..)) => false,
            None => is_status_line(&self.bytes[skip_line_ends(self.bytes)..]),
        };
        let method = match start {
            Some(Start::Request(method, _)) => Some(method),
            _ => self.first_word(),
        };
        if is_response || method == Some(Method::Ack) {
            return Fault {
                kind,
                place,
                status: None,
                reply_to: None,
            };
        }
        let status = kind.status();
        let answerable = self.seen.via
            && self.seen.from
            && self.seen.to
            && self.seen.call_id
            && self.seen.has_cseq
            && status.is_some();
        let reply_to = answerable.then(|| {
            let method = method.or(self.seen.cseq).unwrap_or(Method::Options);
            let uri = Uri::Sip(super::uri::SipUri::new(
                "",
                super::host::Host::V4(std::net::Ipv4Addr::UNSPECIFIED),
            ));
            Box::new(Request {
                method,
                uri,
                headers: self.headers,
                body: Bytes::new(),
            })
        });
        Fault {
            kind,
            place,
            status,
            reply_to,
        }
    }

    fn first_word(&self) -> Option<Method> {
        let line = &self.bytes[skip_line_ends(self.bytes)..];
        let end = line.iter().position(|&b| b == b' ')?;
        Method::read(&line[..end])
    }

    /// The next line without its end; none, with a fault, if there is none.
    fn line(&mut self) -> Option<Found> {
        let start = self.at;
        let mut from = start;
        let mut odd = false;
        loop {
            let Some(hit) = scan::find_line_end(&self.bytes[from..]).map(|hit| hit + from) else {
                self.fault(FaultKind::Unfinished, self.bytes.len());
                self.at = self.bytes.len();
                return None;
            };
            match self.bytes[hit] {
                b'\r' if self.bytes.get(hit + 1) == Some(&b'\n') => {
                    self.at = hit + 2;
                    return Some(Found { start, end: hit, odd });
                }
                // A NUL may stand behind a backslash in a quoted string (RFC 3261 §25.1, `quoted-pair`).
                0 if hit > start && self.bytes[hit - 1] == b'\\' => {
                    odd = true;
                    from = hit + 1;
                }
                // A lone CR or LF ends a line for some and not for others: nobody is to be tricked with that.
                _ => {
                    self.fault(FaultKind::HeaderLine, hit);
                    odd = true;
                    from = hit + 1;
                }
            }
        }
    }

    fn start_line(&mut self) -> Option<Start> {
        let Found { start, end, .. } = self.line()?;
        let line = &self.bytes[start..end];
        if is_status_line(line) {
            return self.status_line(line, start);
        }
        let read = || {
            let first = memchr::memchr(b' ', line)?;
            let last = memchr::memrchr(b' ', line).filter(|last| *last > first)?;
            Some((
                &line[..first],
                &line[first + 1..last],
                &line[last + 1..],
                Method::read(&line[..first])?,
            ))
        };
        let Some((first, uri, version, method)) = read() else {
            self.fault(FaultKind::StartLine, start);
            return None;
        };
        if memchr::memchr(b' ', uri).is_some() || uri.is_empty() {
            // Blanks inside the Request-URI or around it: RFC 4475 §3.1.2.8 to §3.1.2.10.
            self.fault(FaultKind::StartLine, start);
            return None;
        }
        if !version.eq_ignore_ascii_case(b"SIP/2.0") {
            let is_version = version.get(..4).is_some_and(|head| head.eq_ignore_ascii_case(b"SIP/"))
                && version[4..].iter().all(|b| b.is_ascii_digit() || *b == b'.')
                && version.len() > 4;
            self.fault(
                if is_version {
                    FaultKind::Version
                } else {
                    FaultKind::StartLine
                },
                start,
            );
        }
        let place = start + first.len() + 1;
        let uri = std::str::from_utf8(uri).ok().and_then(|text| text.parse::<Uri>().ok());
        match uri {
            // Headers in a Request-URI are not allowed (RFC 3261 §19.1.1, table 1), and dangerous to act on.
            Some(Uri::Sip(sip)) if sip.headers.is_some() => {
                self.fault(FaultKind::Uri, place);
                None
            }
            Some(uri) => Some(Start::Request(method, uri)),
            None => {
                self.fault(FaultKind::Uri, place);
                None
            }
        }
    }

    fn status_line(&mut self, line: &[u8], place: usize) -> Option<Start> {
        let mut words = line.splitn(3, |&b| b == b' ');
        let (version, code, reason) = (words.next()?, words.next().unwrap_or_default(), words.next());
        if !version.eq_ignore_ascii_case(b"SIP/2.0") {
            self.fault(FaultKind::Version, place);
            return None;
        }
        let status = (code.len() == 3 && code.iter().all(u8::is_ascii_digit))
            .then(|| code.iter().fold(0, |sum, b| sum * 10 + u16::from(b - b'0')))
            .and_then(Status::new);
        let Some(status) = status else {
            self.fault(FaultKind::StartLine, place);
            return None;
        };
        let reason = match reason {
            Some(reason) if reason.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')) => {
                Value::cleaned(&String::from_utf8_lossy(reason))
            }
            Some(reason) => Value::checked(self.source.slice_ref(reason)),
            None => Value::default(),
        };
        Some(Start::Response(status, reason))
    }

    fn header_lines(&mut self) {
        let mut count = 0;
        while let Some(found) = self.line() {
            let Found { start, end, .. } = found;
            if start == end {
                return;
            }
            count += 1;
            if count > MAX_HEADERS {
                self.fault(FaultKind::TooManyHeaders, start);
                return;
            }
            let folded = matches!(self.bytes.get(self.at), Some(b' ' | b'\t'));
            self.header_line(&found, folded);
        }
    }

    fn header_line(&mut self, &Found { start, end, odd }: &Found, folded: bool) {
        let line = &self.bytes[start..end];
        let Some((name, known, behind)) = cut_name(line) else {
            self.fault(FaultKind::HeaderLine, start + scan::run(line, class::TOKEN));
            self.skip_folded(folded);
            return;
        };
        let (from, to) = trimmed(self.bytes, end - behind.len(), end);
        if folded || odd {
            let value = self.unfolded(from, to, folded);
            self.notice(known, value.as_bytes(), start);
            self.headers.push_unfolded(known, name, value);
            return;
        }
        self.notice(known, &self.bytes[from..to], start);
        #[expect(clippy::cast_possible_truncation, reason = "MAX_MESSAGE is below u32::MAX")]
        let place = [start, start + name.len(), from, to, end].map(|at| at as u32);
        self.headers.push_read(known, place);
    }

    fn skip_folded(&mut self, mut folded: bool) {
        while folded && self.line().is_some() {
            folded = matches!(self.bytes.get(self.at), Some(b' ' | b'\t'));
        }
    }

    /// One line of what was written on several, each fold being one space (RFC 3261 §7.3.1). An escaped NUL becomes an
    /// escaped space, for no [`Value`] holds a NUL.
    fn unfolded(&mut self, from: usize, to: usize, mut folded: bool) -> Value {
        let mut text = self.bytes[from..to].to_vec();
        while folded {
            let Some(Found { start, end, .. }) = self.line() else {
                break;
            };
            folded = matches!(self.bytes.get(self.at), Some(b' ' | b'\t'));
            let (from, to) = trimmed(self.bytes, start, end);
            if from < to {
                if !text.is_empty() {
                    text.push(b' ');
                }
                text.extend_from_slice(&self.bytes[from..to]);
            }
        }
        for byte in &mut text {
            // Lone line ends were noticed as faults already; the value is kept clean all the same.
            if matches!(byte, 0 | b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        let (from, to) = trimmed(&text, 0, text.len());
        Value::checked(Bytes::from(text).slice(from..to))
    }

    /// Checks a header that everybody reads, and remembers that it was there.
    fn notice(&mut self, known: Option<Known>, value: &[u8], place: usize) {
        let seen = &mut self.seen;
        let (repeated, checked) = match known {
            Some(Known::Via) => {
                seen.via = true;
                (false, typed::via::check_list(value))
            }
            Some(Known::From) => (replace(&mut seen.from), typed::name_addr::check(value)),
            Some(Known::To) => (replace(&mut seen.to), typed::name_addr::check(value)),
            Some(Known::Contact) => (false, typed::name_addr::check_contacts(value)),
            Some(Known::CallId) => (replace(&mut seen.call_id), typed::call_id::check(value)),
            Some(Known::Cseq) => {
                let (method, checked) = apart(typed::cseq::split(value).map(|(_, method)| method));
                seen.cseq = method;
                (replace(&mut seen.has_cseq), checked)
            }
            Some(Known::MaxForwards) => (replace(&mut seen.max_forwards), typed::number::small(value).map(|_| ())),
            Some(Known::Expires) => (replace(&mut seen.expires), scan::number(value).map(|_| ())),
            Some(Known::ContentLength) => {
                let (length, checked) = apart(scan::number(value));
                seen.content_length = length.and_then(|length| usize::try_from(length).ok());
                (replace(&mut seen.has_content_length), checked)
            }
            _ => return,
        };
        if repeated {
            self.fault(FaultKind::Repeated(HeaderName::of(known, &[])), place);
        } else if let Err(Bad(what)) = checked {
            self.fault(FaultKind::Malformed(HeaderName::of(known, &[]), what), place);
        }
    }

    /// RFC 3261 §8.1.1, save `Max-Forwards`, which §16.3 does not insist on.
    fn check_presence(&mut self) {
        let seen = [
            (self.seen.via, HeaderName::VIA),
            (self.seen.from, HeaderName::FROM),
            (self.seen.to, HeaderName::TO),
            (self.seen.call_id, HeaderName::CALL_ID),
            (self.seen.has_cseq, HeaderName::CSEQ),
        ];
        for (there, name) in seen {
            if !there {
                self.fault(FaultKind::Missing(name), self.at);
            }
        }
    }

    fn body(&mut self) -> Bytes {
        let rest = self.source.slice(self.at.min(self.bytes.len())..self.bytes.len());
        match self.seen.content_length {
            Some(length) if length > rest.len() => {
                self.fault(FaultKind::ShortBody, self.bytes.len());
                Bytes::new()
            }
            Some(length) => rest.slice(..length),
            None => rest,
        }
    }
}

/// No request begins so: the slash is in no token.
fn is_status_line(line: &[u8]) -> bool {
    line.get(..4).is_some_and(|head| head.eq_ignore_ascii_case(b"SIP/"))
}

fn skip_line_ends(source: &[u8]) -> usize {
    source.chunks_exact(2).take_while(|pair| pair == b"\r\n").count() * 2
}

/// Cuts a header line into its name, which one that is, and what stands behind the colon; none if it has no name.
#[inline]
fn cut_name(line: &[u8]) -> Option<(&[u8], Option<Known>, &[u8])> {
    let colon = scan::find_colon(line)?;
    let (name, behind) = (scan::trim_end(&line[..colon]), &line[colon + 1..]);
    // Known names are tokens; only others need to be looked at byte by byte.
    let known = Known::of(name);
    (known.is_some() || scan::all_token(name)).then_some((name, known, behind))
}

/// The same place without blanks at its ends.
#[inline]
fn trimmed(source: &[u8], from: usize, to: usize) -> (usize, usize) {
    let text = scan::trim_start(&source[from..to]);
    let from = to - text.len();
    (from, from + scan::trim_end(text).len())
}

/// What was read, and whether it could be.
fn apart<T>(read: Result<T, Bad>) -> (Option<T>, Result<(), Bad>) {
    match read {
        Ok(read) => (Some(read), Ok(())),
        Err(bad) => (None, Err(bad)),
    }
}

fn replace(seen: &mut bool) -> bool {
    std::mem::replace(seen, true)
}
