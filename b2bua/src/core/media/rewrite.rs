//! The session description of one leg made into that of the other (RFC 8866, RFC 3264).
//!
//! Read once and judged into a [`Description`]; written any number of times with our own addresses. What is relayed
//! now: the first audio stream of plain RTP (`RTP/AVP`). Every other stream crosses as refused (port 0), so that
//! the number and order of streams stay what the parties agreed on (RFC 3264 §6).
//!
//! RTCP needs no attribute of ours: it is always one port above RTP.
//!
//! Stays true: nothing that is written contains an address of the party that was read unless media goes
//! [directly](Way::Direct), and nothing that would make
//! the other party encrypt, multiplex or search for paths around us.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use cusax_common::core::entropy::Entropy;
use sdp_types::{Attribute, Connection, Media, Session, Time};

use super::{Law, PlayCodec, Target, judge};

pub use super::fault::SdpFault;
pub use super::judge::Rules;

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
    /// Its voice codecs of G.711 in its own order of preference.
    pub g711: Vec<PlayCodec>,
    /// Payload type of telephone events at 8000 Hz (RFC 4733).
    pub telephone_event: Option<u8>,
    /// Session-level lines and all streams, already free of what must not cross.
    clean: Session,
    /// Which stream is relayed. It may be refused, that is, have port 0.
    relayed: usize,
}

impl Description {
    /// Reads and judges.
    ///
    /// # Errors
    /// [`SdpFault`], which knows the SIP status to answer with.
    pub fn read(sdp: &[u8], rules: &Rules) -> Result<Self, SdpFault> {
        let session = judge::parse(sdp)?;
        let relayed = relayed_stream(&session)?;
        let audio = &session.medias[relayed];
        weak_fingerprint(&session)?;

        let accepted = audio.port != 0;
        let address = match (accepted, audio.connections.as_slice()) {
            (false, _) => None,
            (true, []) => judge::connection(session.connection.as_ref().ok_or(SdpFault::Target)?, rules)?,
            (true, [line]) => judge::connection(line, rules)?,
            // Only a layered multicast has several (RFC 8866 §5.7).
            (true, _) => return Err(SdpFault::Target),
        };
        if accepted && (!judge::port_allowed(audio.port) || audio.num_ports.is_some_and(|count| count > MAX_PORTS)) {
            return Err(SdpFault::Target);
        }
        let rtcp_port = match (named_rtcp_port(audio, address), audio.port.checked_add(1)) {
            (Some(port), _) | (None, Some(port)) => port,
            (None, None) => return Err(SdpFault::Target),
        };

        let codecs = Codecs::read(audio);
        if accepted && !codecs.has_voice() {
            return Err(SdpFault::NoVoice);
        }
        let said = direction_of(&audio.attributes)
            .or_else(|| direction_of(&session.attributes))
            .unwrap_or_default();
        let held = accepted && address.is_none();
        Ok(Self {
            direction: if held { said.held() } else { said },
            remote_rtp: address.map(|address| SocketAddr::new(address, audio.port)),
            remote_rtcp: address.map(|address| SocketAddr::new(address, rtcp_port)),
            video: session
                .medias
                .iter()
                .any(|stream| stream.media == "video" && stream.port != 0),
            g711: codecs.g711(),
            telephone_event: codecs.telephone_event(),
            clean: cleaned(&session, relayed, &codecs),
            relayed,
        })
    }

    /// The same streams, with the address that the other party is to send to.
    #[must_use]
    pub fn written(&self, way: Way, origin: &mut Origin) -> Bytes {
        let mut session = self.clean.clone();
        let audio = &mut session.medias[self.relayed];
        if audio.port != 0 {
            if let Way::Relay(ours) = way {
                audio.port = ours.port();
            }
            audio.attributes.push(self.direction.attribute());
        }
        match way {
            Way::Relay(ours) => origin.sign(session, ours.ip()),
            Way::Direct => {
                if let (Some(rtp), Some(rtcp)) = (self.remote_rtp, self.remote_rtcp)
                    && rtp.port().checked_add(1) != Some(rtcp.port())
                {
                    // RFC 3605
                    audio.attributes.push(Attribute {
                        attribute: "rtcp".to_owned(),
                        value: Some(rtcp.port().to_string()),
                    });
                }
                // Hold of the old form (RFC 3264 §8.4), or a stream that was refused.
                let nowhere = IpAddr::from(Ipv4Addr::UNSPECIFIED);
                origin.sign(session, self.remote_rtp.map_or(nowhere, |rtp| rtp.ip()))
            }
        }
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
        let kinds = |description: &Self| -> Vec<(String, String)> {
            let streams = &description.clean.medias;
            streams
                .iter()
                .map(|stream| (stream.media.clone(), stream.proto.clone()))
                .collect()
        };
        let revived = !offer.accepted() && self.accepted();
        if kinds(self) != kinds(offer) || self.relayed != offer.relayed || revived {
            return Err(SdpFault::Mismatch);
        }
        Ok(())
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
        let codec = *self.g711.first().ok_or(SdpFault::NoVoice)?;
        let mut session = bare_session();
        session.medias.clone_from(&self.clean.medias);
        session.medias[self.relayed] = self.restricted_stream(codec, ours);
        Ok(EarlyAnswer {
            body: origin.sign(session, ours.ip()),
            codec,
        })
    }

    /// Whether the relayed stream is wanted at all.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.clean.medias[self.relayed].port != 0
    }

    fn restricted_stream(&self, codec: PlayCodec, ours: SocketAddr) -> Media {
        let offered = &self.clean.medias[self.relayed];
        let name = match codec.law {
            Law::A => "PCMA",
            Law::Mu => "PCMU",
        };
        let mut stream = stream_without_lines(offered, ours.port());
        stream.fmt = codec.payload.to_string();
        stream
            .attributes
            .push(attribute("rtpmap", &format!("{} {name}/{CLOCK}", codec.payload)));
        if let Some(payload) = self.telephone_event {
            stream.fmt = format!("{} {payload}", stream.fmt);
            // In the caller's own words: which events, and how it spells the name.
            let its = offered.attributes.iter().filter(|line| {
                matches!(line.attribute.as_str(), "rtpmap" | "fmtp") && payload_of(line) == Some(payload)
            });
            stream.attributes.extend(its.cloned());
        }
        stream.attributes.push(attribute("ptime", PACKET_TIME));
        stream.attributes.push(self.direction.seen_from_across().attribute());
        stream
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

    fn sign(&mut self, mut session: Session, ours: IpAddr) -> Bytes {
        session.connection = Some(Connection::from_ip_addr(ours));
        let mut write = |version| {
            session.origin = sdp_types::Origin::with_ip_addr(self.session, version, ours);
            let mut body = Vec::with_capacity(TYPICAL_OCTETS);
            session.write(&mut body).expect("writing to a Vec cannot fail");
            body
        };
        let mut body = write(self.version);
        if !self.last.is_empty() && self.last != body {
            self.version += 1;
            body = write(self.version);
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

    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "inactive" => Self::Inactive,
            "recvonly" => Self::ReceiveOnly,
            "sendonly" => Self::SendOnly,
            "sendrecv" => Self::SendReceive,
            _ => return None,
        })
    }

    fn attribute(self) -> Attribute {
        let name = match self {
            Self::Inactive => "inactive",
            Self::ReceiveOnly => "recvonly",
            Self::SendOnly => "sendonly",
            Self::SendReceive => "sendrecv",
        };
        Attribute {
            attribute: name.to_owned(),
            value: None,
        }
    }
}

/// The payload types of one stream, in its order, with what each means.
struct Codecs(Vec<Codec>);

struct Codec {
    payload: u8,
    /// Lower case; empty when neither the profile nor an attribute says.
    name: String,
    rate: u32,
    /// Which `rtpmap` line said so, if any.
    line: Option<usize>,
}

impl Codecs {
    fn read(stream: &Media) -> Self {
        let codec = |payload: u8| {
            let said = stream.attributes.iter().enumerate().find_map(|(index, line)| {
                let (number, name, rate) = rtpmap(line)?;
                (number == payload).then_some(Codec {
                    payload,
                    name,
                    rate,
                    line: Some(index),
                })
            });
            said.unwrap_or_else(|| Codec {
                payload,
                name: static_name(payload).to_owned(),
                rate: CLOCK,
                line: None,
            })
        };
        Self(
            stream
                .fmt
                .split(' ')
                .filter_map(|format| format.parse().ok())
                .map(codec)
                .collect(),
        )
    }

    fn has_voice(&self) -> bool {
        self.0
            .iter()
            .any(|codec| !codec.name.is_empty() && !NOT_VOICE.contains(&codec.name.as_str()))
    }

    fn g711(&self) -> Vec<PlayCodec> {
        let law = |codec: &Codec| match codec.name.as_str() {
            "pcmu" if codec.rate == CLOCK => Some(Law::Mu),
            "pcma" if codec.rate == CLOCK => Some(Law::A),
            _ => None,
        };
        self.0
            .iter()
            .filter_map(|codec| {
                Some(PlayCodec {
                    law: law(codec)?,
                    payload: codec.payload,
                })
            })
            .collect()
    }

    fn telephone_event(&self) -> Option<u8> {
        let event = self
            .0
            .iter()
            .find(|codec| codec.name == "telephone-event" && codec.rate == CLOCK);
        event.map(|codec| codec.payload)
    }

    /// Whether an attribute about one payload type says something that another party can use.
    fn keeps(&self, index: usize, line: &Attribute) -> bool {
        match line.attribute.as_str() {
            "rtpmap" => self.0.iter().any(|codec| codec.line == Some(index)),
            "fmtp" => {
                let filled = line.value.as_deref().and_then(|value| value.split_once(' ')).is_some();
                filled && payload_of(line).is_some_and(|payload| self.0.iter().any(|codec| codec.payload == payload))
            }
            "ptime" | "maxptime" => {
                let time = line
                    .value
                    .as_deref()
                    .map(str::trim)
                    .and_then(|value| value.parse::<f32>().ok());
                time.is_some_and(|time| time >= 1.0 && time.is_finite())
            }
            _ => true,
        }
    }
}

/// The first audio stream of plain RTP, whether refused or not, but a wanted one before a refused one.
fn relayed_stream(session: &Session) -> Result<usize, SdpFault> {
    let audio = || {
        session
            .medias
            .iter()
            .enumerate()
            .filter(|(_, stream)| stream.media == "audio")
    };
    let plain = || audio().filter(|(_, stream)| stream.proto == "RTP/AVP");
    let found = plain().find(|(_, stream)| stream.port != 0).or_else(|| plain().next());
    match found {
        Some((index, _)) => Ok(index),
        None if audio().any(|(_, stream)| stream.proto.contains("SAVP")) => Err(SdpFault::Protection),
        None => Err(SdpFault::NoAudio),
    }
}

/// A hash that no longer proves anything is a reason to refuse, not to go on without (RFC 8122 §5).
fn weak_fingerprint(session: &Session) -> Result<(), SdpFault> {
    let lines = session
        .attributes
        .iter()
        .chain(session.medias.iter().flat_map(|stream| &stream.attributes));
    let weak = lines
        .filter(|line| line.attribute.eq_ignore_ascii_case("fingerprint"))
        .any(|line| {
            let hash = line
                .value
                .as_deref()
                .unwrap_or_default()
                .trim_start()
                .to_ascii_lowercase();
            hash.starts_with("md5 ") || hash.starts_with("md2 ")
        });
    if weak { Err(SdpFault::Protection) } else { Ok(()) }
}

/// The port of `a=rtcp` (RFC 3605 §2.1), unless it points somewhere else than the media itself.
fn named_rtcp_port(stream: &Media, address: Option<IpAddr>) -> Option<u16> {
    let line = stream.attributes.iter().find(|line| line.attribute == "rtcp")?;
    let mut fields = line.value.as_deref()?.split_ascii_whitespace();
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
fn direction_of(lines: &[Attribute]) -> Option<Direction> {
    lines
        .iter()
        .rev()
        .find_map(|line| Direction::from_name(&line.attribute))
}

/// The description without what belongs to the party alone.
fn cleaned(session: &Session, relayed: usize, codecs: &Codecs) -> Session {
    let addresses = known_addresses(session);
    let mut clean = bare_session();
    clean.bandwidths.clone_from(&session.bandwidths);
    clean.attributes.extend(
        session
            .attributes
            .iter()
            .filter(|line| crosses(line, &addresses))
            .cloned(),
    );
    clean.medias = session
        .medias
        .iter()
        .map(|stream| stream_without_lines(stream, 0))
        .collect();
    let audio = &session.medias[relayed];
    let kept = &mut clean.medias[relayed];
    kept.port = audio.port;
    kept.bandwidths.clone_from(&audio.bandwidths);
    let lines = audio.attributes.iter().enumerate();
    let lines = lines.filter(|&(index, line)| codecs.keeps(index, line) && crosses(line, &addresses));
    kept.attributes.extend(lines.map(|(_, line)| line.clone()));
    clean
}

/// Whether an attribute may be shown to the other party.
fn crosses(line: &Attribute, addresses: &[String]) -> bool {
    let name = line.attribute.to_ascii_lowercase();
    let stops = STOPS_HERE.contains(&name.as_str())
        || STOPS_HERE_PREFIX.iter().any(|prefix| name.starts_with(prefix))
        || Direction::from_name(&name).is_some();
    let shows = |text: &str| shows_address(text) || addresses.iter().any(|address| text.contains(address));
    !stops && !shows(&line.attribute) && !line.value.as_deref().is_some_and(shows)
}

/// Every address that the description names where addresses belong.
fn known_addresses(session: &Session) -> Vec<String> {
    let streams = session.medias.iter().flat_map(|stream| &stream.connections);
    let lines = session
        .connection
        .iter()
        .chain(streams)
        .map(|line| &line.connection_address);
    let all = lines.chain([&session.origin.unicast_address]);
    // A bare word such as "localhost" would forbid too much.
    all.filter(|address| address.contains(['.', ':'])).cloned().collect()
}

/// Whether the text contains something that reads as an IP address.
fn shows_address(text: &str) -> bool {
    // Hardly any line has as many of them as an address has.
    let has = |separator: u8, least: usize| text.bytes().filter(|byte| *byte == separator).count() >= least;
    has(b'.', 3) && shows_v4(text) || has(b':', 2) && shows_v6(text)
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
        word.parse::<std::net::Ipv6Addr>().is_ok() || inner.parse::<std::net::Ipv6Addr>().is_ok()
    })
}

fn bare_session() -> Session {
    let origin = sdp_types::Origin::with_ip_addr(0, 0, Ipv4Addr::UNSPECIFIED);
    let mut session = Session::new(origin, "-");
    session.times = vec![Time::new(0, 0)];
    session
}

fn stream_without_lines(stream: &Media, port: u16) -> Media {
    let mut bare = Media {
        media: stream.media.clone(),
        port,
        num_ports: None,
        proto: stream.proto.clone(),
        fmt: stream.fmt.clone(),
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes: Vec::new(),
    };
    if shows_address(&bare.fmt) {
        bare.fmt = "*".to_owned();
    }
    bare
}

fn attribute(name: &str, value: &str) -> Attribute {
    Attribute {
        attribute: name.to_owned(),
        value: Some(value.to_owned()),
    }
}

/// `<payload> <name>/<rate>[/<channels>]`, with one channel.
fn rtpmap(line: &Attribute) -> Option<(u8, String, u32)> {
    if line.attribute != "rtpmap" {
        return None;
    }
    let (payload, encoding) = line.value.as_deref()?.split_once(' ')?;
    let mut parts = encoding.trim().split('/');
    let (name, rate) = (parts.next()?, parts.next()?.parse().ok()?);
    let channels = parts.next().map_or(Ok(1), str::parse::<u8>).ok()?;
    (channels > 0 && rate > 0 && !name.is_empty())
        .then(|| Some((payload.parse().ok()?, name.to_ascii_lowercase(), rate)))?
}

/// The payload type that an attribute is about.
fn payload_of(line: &Attribute) -> Option<u8> {
    line.value.as_deref()?.split(' ').next()?.parse().ok()
}

/// Audio payload types that need no `rtpmap` (RFC 3551 §6).
fn static_name(payload: u8) -> &'static str {
    match payload {
        0 => "pcmu",
        3 => "gsm",
        4 => "g723",
        5 | 6 | 16 | 17 => "dvi4",
        7 => "lpc",
        8 => "pcma",
        9 => "g722",
        10 | 11 => "l16",
        12 => "qcelp",
        13 => "cn",
        14 => "mpa",
        15 => "g728",
        18 => "g729",
        _ => "",
    }
}

/// Formats of an audio stream that carry no voice by themselves.
const NOT_VOICE: [&str; 7] = ["cn", "flexfec", "red", "rtx", "telephone-event", "tone", "ulpfec"];
/// Attributes that speak of the party's own transport, keys or addresses.
const STOPS_HERE: [&str; 27] = [
    "alt",
    "altc",
    "bundle-only",
    "candidate",
    "connection",
    "crypto",
    "end-of-candidates",
    "fingerprint",
    "group",
    "identity",
    "key-mgmt",
    "mid",
    "msid",
    "msid-semantic",
    "path",
    "remote-candidates",
    "rtcp",
    "rtcp-fb",
    "rtcp-mux",
    "rtcp-mux-only",
    "rtcp-rsize",
    "setup",
    "source-filter",
    "ssrc",
    "ssrc-group",
    "tls-id",
    "tool",
];
/// Families of such attributes: ICE (RFC 8839), ZRTP (RFC 6189 §8), capability negotiation (RFC 5939).
const STOPS_HERE_PREFIX: [&str; 7] = ["acap", "acfg", "ice-", "pcfg", "tcap", "x-ice", "zrtp-"];
/// Samples a second of G.711 and of the telephone events beside it.
const CLOCK: u32 = 8000;
/// Milliseconds of audio in each packet that we make ourselves.
const PACKET_TIME: &str = "20";
/// The most ports that a stream may claim. We use the first one whatever it says.
const MAX_PORTS: u16 = 8;
/// Room for an ordinary description, in octets.
const TYPICAL_OCTETS: usize = 512;

#[cfg(test)]
mod tests;
