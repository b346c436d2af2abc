//! The session description of one leg made into that of the other (RFC 8866, RFC 3264).
//!
//! Read once and judged into a [`Description`], which keeps nothing but what crosses, as one text with gaps; written any
//! number of times, with our own addresses in the gaps. What is relayed now: the first audio stream of plain RTP (`RTP/AVP`). Every other stream crosses as refused (port 0), so that
//! the number and order of streams stay what the parties agreed on (RFC 3264 §6).
//!
//! RTCP needs no attribute of ours: it is always one port above RTP.
//!
//! Stays true: nothing that is written contains an address of the party that was read unless media goes
//! [directly](Way::Direct), and nothing that would make
//! the other party encrypt, multiplex or search for paths around us.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;

use bytes::Bytes;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::sip::digits;

use self::codecs::{CLOCK, Codecs};

use self::shown::Hidden;
use super::lines::{Attribute, Session, Stream};
use super::{Law, PlayCodec, Target, judge};

pub use super::fault::SdpFault;
pub use super::judge::Rules;

mod codecs;
mod shown;

/// Which way media goes to the party that a description is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through this address of ours (that of RTP; RTCP one higher).
    Relay(SocketAddr),
    /// To the other party itself, whose address is then no secret.
    Direct,
}

/// A session description that was read and found fit.
#[derive(Clone, Debug)]
pub struct Description {
    /// Effective direction of the relayed stream, as the party that wrote it sees it.
    pub direction: Direction,
    /// Where the party wants RTP; `None` while it wants none (hold of the old form, stream refused).
    pub remote_rtp: Option<SocketAddr>,
    /// Where it wants RTCP.
    pub remote_rtcp: Option<SocketAddr>,
    /// Whether it offers or accepts a video stream.
    pub video: bool,
    /// The codec of G.711 that it likes best.
    pub g711: Option<PlayCodec>,
    /// Payload type of telephone events at 8000 Hz (RFC 4733).
    pub telephone_event: Option<u8>,
    /// The port of the relayed stream; 0 if it is refused.
    port: u16,
    /// Which stream is relayed.
    relayed: usize,
    /// All that crosses.
    text: Box<str>,
    gaps: Gaps,
}

/// Places in the text of a description, in their order: where our own words go.
#[derive(Clone, Copy, Debug, Default)]
struct Gaps {
    /// The first stream begins.
    streams: usize,
    /// The relayed stream begins.
    relayed: usize,
    /// Its port belongs here.
    port: usize,
    /// Its lines begin.
    lines: usize,
    /// Its direction belongs here, after which the next stream begins.
    end: usize,
}

impl Description {
    /// Reads and judges.
    ///
    /// # Errors
    /// [`SdpFault`], which knows the SIP status to answer with.
    pub fn read(sdp: &[u8], rules: &Rules) -> Result<Self, SdpFault> {
        let session = Session::read(sdp)?;
        let relayed = relayed_stream(&session)?;
        let audio = &session.streams[relayed];
        let attributes = session.attributes_of(audio);
        weak_fingerprint(&session)?;

        let accepted = audio.port != 0;
        let address = match (accepted, audio.connection.or(session.connection)) {
            (false, _) => None,
            // Only a layered multicast has several (RFC 8866 §5.7).
            (true, Some(line)) if !audio.layered => judge::connection(&line, rules)?,
            (true, _) => return Err(SdpFault::Target),
        };
        if accepted && (!judge::port_allowed(audio.port) || audio.ports.is_some_and(|count| count > MAX_PORTS)) {
            return Err(SdpFault::Target);
        }
        let rtcp_port = match (named_rtcp_port(attributes, address), audio.port.checked_add(1)) {
            (Some(port), _) | (None, Some(port)) => port,
            (None, None) => return Err(SdpFault::Target),
        };

        let hidden = Hidden::new(&session.addresses);
        let codecs = Codecs::read(audio.formats, attributes, &hidden);
        if accepted && !codecs.has_voice() {
            return Err(SdpFault::NoVoice);
        }
        let said = direction_of(attributes)
            .or_else(|| direction_of(session.own_attributes()))
            .unwrap_or_default();
        let held = accepted && address.is_none();
        let (text, gaps) = cleaned(&session, relayed, &codecs, &hidden, sdp.len())?;
        Ok(Self {
            direction: if held { said.held() } else { said },
            remote_rtp: address.map(|address| SocketAddr::new(address, audio.port)),
            remote_rtcp: address.map(|address| SocketAddr::new(address, rtcp_port)),
            video: session
                .streams
                .iter()
                .any(|stream| stream.media == "video" && stream.port != 0),
            g711: codecs.g711(),
            telephone_event: codecs.telephone_event(),
            port: audio.port,
            relayed,
            text,
            gaps,
        })
    }

    /// The same streams, with the address that the other party is to send to.
    #[must_use]
    pub fn written(&self, way: Way, origin: &mut Origin) -> Bytes {
        let (address, port) = match way {
            Way::Relay(ours) => (ours.ip(), if self.accepted() { ours.port() } else { 0 }),
            // Hold of the old form (RFC 3264 §8.4) has no address, nor has a stream that was refused.
            Way::Direct => (self.remote_rtp.map_or(NOWHERE, |rtp| rtp.ip()), self.port),
        };
        origin.sign(address, self.text.len(), |body| {
            *body += self.text(0..self.gaps.port);
            put_number(body, port.into());
            *body += self.text(self.gaps.port..self.gaps.end);
            if self.accepted() {
                put_direction(body, self.direction);
            }
            if let (Way::Direct, Some(rtp), Some(rtcp)) = (way, self.remote_rtp, self.remote_rtcp)
                && rtp.port().checked_add(1) != Some(rtcp.port())
            {
                // RFC 3605
                put(body, format_args!("a=rtcp:{}\r\n", rtcp.port()));
            }
            *body += self.text(self.gaps.end..self.text.len());
        })
    }

    /// The same by a party that holds nobody: for somebody who knows of no hold.
    #[must_use]
    pub fn resumed(mut self) -> Self {
        self.direction = Direction::SendReceive;
        self
    }

    /// For the engine. `also` is the address of the SIP flow that the description came by.
    #[must_use]
    pub fn target(&self, also: Option<IpAddr>) -> Target {
        Target {
            rtp: self.remote_rtp,
            rtcp: self.remote_rtcp,
            also,
        }
    }

    /// Whether this can be the answer to `offer` (RFC 3264 §6): as many streams, of the same kinds.
    ///
    /// # Errors
    /// [`SdpFault::Mismatch`].
    pub fn answers(&self, offer: &Self) -> Result<(), SdpFault> {
        let revived = !offer.accepted() && self.accepted();
        // The relayed one is of the same kind everywhere.
        let same = self.relayed == offer.relayed
            && self.kinds_before().eq(offer.kinds_before())
            && self.kinds_behind().eq(offer.kinds_behind());
        if revived || !same {
            return Err(SdpFault::Mismatch);
        }
        Ok(())
    }

    /// Media and protocol of each stream before the relayed one.
    fn kinds_before(&self) -> impl Iterator<Item = (&str, &str)> {
        kinds(self.text(self.gaps.streams..self.gaps.relayed))
    }

    /// The same of those behind it.
    fn kinds_behind(&self) -> impl Iterator<Item = (&str, &str)> {
        kinds(self.text(self.gaps.end..self.text.len()))
    }

    /// Our own answer to this offer, for tones before a callee has answered: the first G.711 codec of the offer and its
    /// telephone events, every other stream refused. It belongs in a dialog of its own, so that no callee is bound by it.
    ///
    /// # Errors
    /// [`SdpFault::NoVoice`] when the offer has no G.711, [`SdpFault::NoMedia`] when it refuses the stream.
    pub fn early_answer(&self, ours: SocketAddr, origin: &mut Origin) -> Result<EarlyAnswer, SdpFault> {
        if !self.accepted() {
            return Err(SdpFault::NoMedia);
        }
        let codec = self.g711.ok_or(SdpFault::NoVoice)?;
        let body = origin.sign(ours.ip(), self.text.len(), |body| {
            *body += TIME;
            *body += self.text(self.gaps.streams..self.gaps.relayed);
            self.put_restricted_stream(body, codec, ours.port());
            *body += self.text(self.gaps.end..self.text.len());
        });
        Ok(EarlyAnswer { body, codec })
    }

    /// Whether the relayed stream is wanted at all.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.port != 0
    }

    fn put_restricted_stream(&self, body: &mut String, codec: PlayCodec, port: u16) {
        let (payload, events) = (codec.payload, self.telephone_event);
        put(
            body,
            format_args!("m={RELAYED_MEDIA} {port} {RELAYED_PROTOCOL} {payload}"),
        );
        if let Some(events) = events {
            put(body, format_args!(" {events}"));
        }
        let name = match codec.law {
            Law::A => "PCMA",
            Law::Mu => "PCMU",
        };
        put(body, format_args!("\r\na=rtpmap:{payload} {name}/{CLOCK}\r\n"));
        // In the caller's own words: which events, and how it spells the name.
        for line in self.text(self.gaps.lines..self.gaps.end).lines() {
            let attribute = line.strip_prefix("a=").map(Attribute::read);
            let is_its = |line: &Attribute<'_>| {
                matches!(line.name, "rtpmap" | "fmtp") && events.is_some() && codecs::payload_of(line) == events
            };
            if let Some(line) = attribute.filter(is_its) {
                put_words(body, &["a=", line.text, "\r\n"]);
            }
        }
        put_words(body, &["a=", PACKET_TIME, "\r\n"]);
        put_direction(body, self.direction.seen_from_across());
    }

    fn text(&self, range: Range<usize>) -> &str {
        &self.text[range]
    }
}

/// What [`Description::early_answer`] says.
#[derive(Clone, Debug)]
pub struct EarlyAnswer {
    /// For the 183.
    pub body: Bytes,
    /// For [`MediaCommand::Play`](super::MediaCommand::Play).
    pub codec: PlayCodec,
}

/// The `o=` line of the descriptions that we send on one leg. Keep one for each leg, for the life of its dialog.
///
/// The version grows by one whenever a description differs from the one before (RFC 3264 §8).
#[derive(Clone, Debug)]
pub struct Origin {
    session: u64,
    version: u64,
    /// The last description; empty before the first.
    last: Bytes,
}

impl Origin {
    /// Draws a session identifier.
    pub fn new(entropy: &mut impl Entropy) -> Self {
        // Some phones keep it in a signed number.
        Self {
            session: u64::from_be_bytes(entropy.bytes()) >> 2,
            version: 1,
            last: Bytes::new(),
        }
    }

    /// What was last said: to be said again where nothing is to change.
    #[must_use]
    pub fn last(&self) -> &Bytes {
        &self.last
    }

    /// What was last said came to nothing: `before` stands again.
    pub fn take_back(&mut self, before: Bytes) {
        self.last = before;
        // Whatever is said next differs from what was taken back.
        self.version += 1;
    }

    /// The head of a description, and what `rest` puts below it, which is of about the length that is told.
    fn sign(&mut self, ours: IpAddr, length: usize, rest: impl Fn(&mut String)) -> Bytes {
        let family = if ours.is_ipv4() { "IP4" } else { "IP6" };
        let write = |session: u64, version: u64| {
            let mut body = String::with_capacity(length + HEAD_OCTETS);
            body += "v=0\r\no=- ";
            put_number(&mut body, session);
            body += " ";
            put_number(&mut body, version);
            put_words(&mut body, &[" IN ", family, " "]);
            put_address(&mut body, ours);
            put_words(&mut body, &["\r\ns=-\r\nc=IN ", family, " "]);
            put_address(&mut body, ours);
            body += "\r\n";
            rest(&mut body);
            body
        };
        let mut body = write(self.session, self.version);
        if !self.last.is_empty() && self.last != body {
            self.version += 1;
            body = write(self.session, self.version);
        }
        self.last = body.into();
        self.last.clone()
    }
}

/// Who sends (RFC 8866 §6.7), as the party that says it sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Neither.
    Inactive,
    /// The other one only.
    ReceiveOnly,
    /// This one only.
    SendOnly,
    /// Both.
    #[default]
    SendReceive,
}

impl Direction {
    /// The same flow in the words of the other party (RFC 3264 §6.1).
    #[must_use]
    pub fn seen_from_across(self) -> Self {
        match self {
            Self::ReceiveOnly => Self::SendOnly,
            Self::SendOnly => Self::ReceiveOnly,
            same => same,
        }
    }

    /// What is left when the party wants nothing sent to it.
    fn held(self) -> Self {
        match self {
            Self::SendReceive | Self::SendOnly => Self::SendOnly,
            Self::ReceiveOnly | Self::Inactive => Self::Inactive,
        }
    }

    const ALL: [Self; 4] = [Self::Inactive, Self::ReceiveOnly, Self::SendOnly, Self::SendReceive];

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|direction| direction.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::ReceiveOnly => "recvonly",
            Self::SendOnly => "sendonly",
            Self::SendReceive => "sendrecv",
        }
    }
}

/// Media and protocol of each `m=` line.
fn kinds(lines: &str) -> impl Iterator<Item = (&str, &str)> {
    lines.lines().filter_map(|line| {
        let mut fields = line.strip_prefix("m=")?.splitn(4, ' ');
        Some((fields.next()?, fields.nth(1)?))
    })
}

/// The first audio stream of plain RTP, whether refused or not, but a wanted one before a refused one.
fn relayed_stream(session: &Session<'_>) -> Result<usize, SdpFault> {
    let audio = || {
        let streams = session.streams.iter().enumerate();
        streams.filter(|(_, stream)| stream.media == RELAYED_MEDIA)
    };
    let plain = || audio().filter(|(_, stream)| stream.protocol == RELAYED_PROTOCOL);
    let found = plain().find(|(_, stream)| stream.port != 0).or_else(|| plain().next());
    match found {
        Some((index, _)) => Ok(index),
        None if audio().any(|(_, stream)| stream.protocol.contains("SAVP")) => Err(SdpFault::Protection),
        None => Err(SdpFault::NoAudio),
    }
}

/// A hash that no longer proves anything is a reason to refuse, not to go on without (RFC 8122 §5).
fn weak_fingerprint(session: &Session<'_>) -> Result<(), SdpFault> {
    let mut prints = session.attributes().iter();
    let weak = prints.any(|line| {
        line.name.eq_ignore_ascii_case("fingerprint")
            && line.value().is_some_and(|value| {
                let hash = value.trim_start().as_bytes().get(..4).unwrap_or_default();
                hash.eq_ignore_ascii_case(b"md5 ") || hash.eq_ignore_ascii_case(b"md2 ")
            })
    });
    if weak { Err(SdpFault::Protection) } else { Ok(()) }
}

/// The port of `a=rtcp` (RFC 3605 §2.1), unless it points somewhere else than the media itself.
fn named_rtcp_port(lines: &[Attribute<'_>], address: Option<IpAddr>) -> Option<u16> {
    let line = lines.iter().find(|line| line.name == "rtcp")?;
    let mut fields = line.value()?.split_ascii_whitespace();
    let port = fields.next()?.parse().ok().filter(|&port| judge::port_allowed(port))?;
    match (fields.next(), fields.next(), fields.next()) {
        (None, ..) => Some(port),
        (Some("IN"), Some("IP4" | "IP6"), Some(text)) => {
            let named = text.parse::<IpAddr>().ok()?.to_canonical();
            (Some(named) == address).then_some(port)
        }
        _ => None,
    }
}

/// The last word counts when a stream says two things.
fn direction_of(lines: &[Attribute<'_>]) -> Option<Direction> {
    lines.iter().rev().find_map(|line| Direction::from_name(line.name))
}

/// The description without what belongs to the party alone.
fn cleaned(
    session: &Session<'_>,
    relayed: usize,
    codecs: &Codecs,
    hidden: &Hidden<'_>,
    length: usize,
) -> Result<(Box<str>, Gaps), SdpFault> {
    let (mut text, mut gaps) = (String::with_capacity(length), Gaps::default());
    put_bandwidths(&mut text, session.own_bandwidths(), hidden);
    text += TIME;
    for line in session.own_attributes().iter().filter(|line| hidden.lets(line)) {
        put_words(&mut text, &["a=", line.text, "\r\n"]);
    }
    gaps.streams = text.len();
    for (index, stream) in session.streams.iter().enumerate() {
        let Stream {
            media,
            protocol,
            formats,
            ..
        } = stream;
        // No stream is called so, and an answer is told by these words.
        if hidden.stands_in(media) || hidden.stands_in(protocol) {
            return Err(SdpFault::Malformed(stream.line));
        }
        if index != relayed {
            let formats = if hidden.stands_in(formats) { "*" } else { formats };
            put_words(&mut text, &["m=", media, " 0 ", protocol, " ", formats, "\r\n"]);
            continue;
        }
        gaps.relayed = text.len();
        put_words(&mut text, &["m=", media, " "]);
        gaps.port = text.len();
        put_words(&mut text, &[" ", protocol, " ", formats, "\r\n"]);
        gaps.lines = text.len();
        put_bandwidths(&mut text, session.bandwidths_of(stream), hidden);
        for (index, line) in session.attributes_of(stream).iter().enumerate() {
            if codecs.keeps(index, line) && hidden.lets(line) {
                put_words(&mut text, &["a=", line.text, "\r\n"]);
            }
        }
        gaps.end = text.len();
    }
    Ok((text.into(), gaps))
}

fn put_bandwidths(text: &mut String, bandwidths: &[&str], hidden: &Hidden<'_>) {
    for line in bandwidths.iter().filter(|line| !hidden.stands_in(line)) {
        put_words(text, &["b=", line, "\r\n"]);
    }
}

fn put_direction(body: &mut String, direction: Direction) {
    put_words(body, &["a=", direction.name(), "\r\n"]);
}

fn put_address(text: &mut String, address: IpAddr) {
    digits::write_ip(text, address).expect("a String takes everything");
}

fn put_number(text: &mut String, number: u64) {
    digits::write(text, number).expect("a String takes everything");
}

fn put_words(text: &mut String, words: &[&str]) {
    for word in words {
        text.push_str(word);
    }
}

fn put(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.write_fmt(words).expect("a String takes everything");
}

/// What is relayed: audio over plain RTP (RFC 3551).
const RELAYED_MEDIA: &str = "audio";
const RELAYED_PROTOCOL: &str = "RTP/AVP";
/// A call takes place when it does (RFC 3264 §5).
const TIME: &str = "t=0 0\r\n";
/// What media is sent to by a party that wants none.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// Of each packet that we make ourselves, in milliseconds.
const PACKET_TIME: &str = "ptime:20";
/// The most ports that a stream may claim. We use the first one whatever it says.
const MAX_PORTS: u16 = 8;
/// Room for the lines of our own, in octets; for those with IPv6 as well.
const HEAD_OCTETS: usize = 192;

#[cfg(test)]
mod tests;
