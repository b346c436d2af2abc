//! What a description says by another reader and writer, that of `sdp-types`: what ours are held against.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sdp_types::{AddrType, Attribute, Connection, Media, NetType, ParserError, Session, Time};

use super::super::shown::reads_as_address;
use super::super::{Direction, MAX_PORTS, PlayCodec, Rules, SdpFault, judge};
use crate::core::media::Law;

/// What a party says, and what would be said to the other one.
#[derive(Debug)]
pub(super) struct Said {
    pub direction: Direction,
    pub rtp: Option<(IpAddr, u16)>,
    pub rtcp: Option<u16>,
    pub video: bool,
    pub g711: Option<PlayCodec>,
    pub telephone_event: Option<u8>,
    pub streams: Vec<(String, String)>,
    clean: Session,
    relayed: usize,
}

impl Said {
    pub(super) fn read(sdp: &[u8], rules: &Rules) -> Result<Self, SdpFault> {
        let session = parse(sdp)?;
        let relayed = relayed_stream(&session)?;
        let audio = &session.medias[relayed];
        weak_fingerprint(&session)?;

        let accepted = audio.port != 0;
        let address = match (accepted, audio.connections.as_slice()) {
            (false, _) => None,
            (true, []) => connection(session.connection.as_ref().ok_or(SdpFault::Target)?, rules)?,
            (true, [line]) => connection(line, rules)?,
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
            rtp: address.map(|address| (address, audio.port)),
            rtcp: address.map(|_| rtcp_port),
            video: session
                .medias
                .iter()
                .any(|stream| stream.media == "video" && stream.port != 0),
            g711: codecs.g711().first().copied(),
            telephone_event: codecs.telephone_event(),
            streams: session
                .medias
                .iter()
                .map(|stream| (stream.media.clone(), stream.proto.clone()))
                .collect(),
            clean: cleaned(&session, relayed, &codecs),
            relayed,
        })
    }

    /// Relayed by that port of ours.
    pub(super) fn relayed(&self, port: u16) -> Vec<String> {
        let mut session = self.clean.clone();
        let audio = &mut session.medias[self.relayed];
        if audio.port != 0 {
            audio.port = port;
            audio.attributes.push(attribute(self.direction.name(), None));
        }
        lines(&session)
    }

    /// Sent to the party itself.
    pub(super) fn direct(&self) -> Vec<String> {
        let mut session = self.clean.clone();
        let audio = &mut session.medias[self.relayed];
        if audio.port != 0 {
            audio.attributes.push(attribute(self.direction.name(), None));
        }
        if let (Some((_, rtp)), Some(rtcp)) = (self.rtp, self.rtcp)
            && rtp.checked_add(1) != Some(rtcp)
        {
            audio.attributes.push(attribute("rtcp", Some(&rtcp.to_string())));
        }
        lines(&session)
    }

    /// Answered with a tone.
    pub(super) fn early(&self, port: u16) -> Option<Vec<String>> {
        let codec = self.g711.filter(|_| self.clean.medias[self.relayed].port != 0)?;
        let mut session = bare_session();
        session.medias.clone_from(&self.clean.medias);
        session.medias[self.relayed] = self.restricted_stream(codec, port);
        Some(lines(&session))
    }

    fn restricted_stream(&self, codec: PlayCodec, port: u16) -> Media {
        let offered = &self.clean.medias[self.relayed];
        let name = match codec.law {
            Law::A => "PCMA",
            Law::Mu => "PCMU",
        };
        let mut stream = stream_without_lines(offered, port);
        stream.fmt = codec.payload.to_string();
        stream
            .attributes
            .push(attribute("rtpmap", Some(&format!("{} {name}/8000", codec.payload))));
        if let Some(payload) = self.telephone_event {
            stream.fmt = format!("{} {payload}", stream.fmt);
            // In the caller's own words: which events, and how it spells the name.
            let its = offered.attributes.iter().filter(|line| {
                matches!(line.attribute.as_str(), "rtpmap" | "fmtp") && payload_of(line) == Some(payload)
            });
            stream.attributes.extend(its.cloned());
        }
        stream.attributes.push(attribute("ptime", Some("20")));
        stream
            .attributes
            .push(attribute(self.direction.seen_from_across().name(), None));
        stream
    }
}

/// Without those that are ours in any case.
fn lines(session: &Session) -> Vec<String> {
    let mut body = Vec::new();
    session.write(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    assert!(body.ends_with("\r\n"));
    let ours = |line: &&str| line.starts_with("o=");
    body.split_terminator("\r\n")
        .filter(|line| !ours(line))
        .map(str::to_owned)
        .collect()
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
                rate: 8000,
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
            "pcmu" if codec.rate == 8000 => Some(Law::Mu),
            "pcma" if codec.rate == 8000 => Some(Law::A),
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
            .find(|codec| codec.name == "telephone-event" && codec.rate == 8000);
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
    let shows = |text: &str| reads_as_address(text) || addresses.iter().any(|address| text.contains(address));
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
    if reads_as_address(&bare.fmt) {
        bare.fmt = "*".to_owned();
    }
    bare
}

fn attribute(name: &str, value: Option<&str>) -> Attribute {
    Attribute {
        attribute: name.to_owned(),
        value: value.map(str::to_owned),
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
/// Reads the text into the library's model, within our limits.
fn parse(sdp: &[u8]) -> Result<Session, SdpFault> {
    if sdp.len() > MAX_OCTETS {
        return Err(SdpFault::TooLarge);
    }
    // Some phones end the body with an empty line.
    let sdp = sdp.trim_ascii_end();
    let (mut streams, mut origins) = (0, 0);
    for (index, line) in sdp.split(|&octet| octet == b'\n').enumerate() {
        let number = index + 1;
        if number > MAX_LINES {
            return Err(SdpFault::TooLarge);
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let malformed = Err(SdpFault::Malformed(number));
        let [kind, b'=', value @ ..] = line else {
            return malformed;
        };
        if value.iter().any(|octet| matches!(octet, b'\r' | b'\0')) || std::str::from_utf8(value).is_err() {
            return malformed;
        }
        match (kind, streams) {
            (b'v', _) if number == 1 => {}
            (b'm', _) => {
                streams += 1;
                stream_line(value).ok_or(SdpFault::Malformed(number))?;
            }
            (b'o', 0) => origins += 1,
            (b's' | b'u' | b'e' | b'p' | b't' | b'r' | b'z', 0) | (b'i' | b'c' | b'b' | b'k' | b'a', _) => {}
            // RFC 8866 §5: a description with a type that we do not know is not to be used.
            _ => return malformed,
        }
    }
    if streams > MAX_STREAMS {
        return Err(SdpFault::TooLarge);
    }
    let session = Session::parse(sdp).map_err(|error| SdpFault::Malformed(line_of(&error)))?;
    match (origins, streams) {
        (_, 0) => Err(SdpFault::NoMedia),
        (1, _) => Ok(session),
        _ => Err(SdpFault::Malformed(1)),
    }
}

/// The address of a `c=` line: a literal, never a name that would have to be looked up.
/// `None` is the hold of the old form (RFC 3264 §8.4).
fn connection(line: &Connection, rules: &Rules) -> Result<Option<IpAddr>, SdpFault> {
    if line.nettype != NetType::In {
        return Err(SdpFault::Target);
    }
    // The library's own reading would pass a multicast scope; the strict one of the standard library does not.
    let address = match line.addrtype {
        AddrType::Ip4 => line.connection_address.parse::<Ipv4Addr>().map(IpAddr::V4),
        AddrType::Ip6 => line.connection_address.parse::<Ipv6Addr>().map(IpAddr::V6),
        AddrType::Other(_) => return Err(SdpFault::Target),
    }
    .map_err(|_| SdpFault::Target)?;
    let address = judge::unmapped(address);
    if address.is_unspecified() {
        return Ok(None);
    }
    if !rules.allow(address) {
        return Err(SdpFault::Target);
    }
    Ok(Some(address))
}

/// Checks `<media> <port>[/<count>] <proto> <fmt> …` as far as the library is lenient.
fn stream_line(value: &[u8]) -> Option<()> {
    let mut fields = std::str::from_utf8(value).ok()?.split(' ');
    let (_, port, protocol) = (fields.next()?, fields.next()?, fields.next()?);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    let (port, count) = port
        .split_once('/')
        .map_or((port, None), |(port, count)| (port, Some(count)));
    if !digits(port) || count.is_some_and(|count| !digits(count)) {
        return None;
    }
    let formats = fields.filter(|format| !format.is_empty());
    let mut seen = 0;
    for format in formats {
        seen += 1;
        let rtp = protocol.contains("RTP/");
        if seen > MAX_FORMATS || (rtp && !(digits(format) && format.parse::<u8>().is_ok_and(|number| number < 128))) {
            return None;
        }
    }
    (seen > 0).then_some(())
}

fn line_of(error: &ParserError) -> usize {
    match *error {
        ParserError::InvalidLineFormat(line, _)
        | ParserError::InvalidFieldEncoding(line, _)
        | ParserError::InvalidFieldFormat(line, _)
        | ParserError::MissingField(line, _)
        | ParserError::FieldTrailingData(line, _)
        | ParserError::InvalidVersion(line, _)
        | ParserError::MultipleVersions(line)
        | ParserError::MultipleOrigins(line)
        | ParserError::MultipleSessionNames(line)
        | ParserError::MultipleSessionDescription(line)
        | ParserError::MultipleUris(line)
        | ParserError::MultipleConnections(line)
        | ParserError::MultipleTimeZones(line)
        | ParserError::MultipleMediaTitles(line)
        | ParserError::MultipleKeys(line)
        | ParserError::RepeatWithoutTime(line) => line,
        _ => 1,
    }
}

/// The longest body that is read, in octets. A phone with every codec and ICE stays under half of it.
const MAX_OCTETS: usize = 16_384;
/// The most lines.
const MAX_LINES: usize = 512;
/// The most streams (`m=` lines).
const MAX_STREAMS: usize = 16;
/// The most payload types of one stream.
const MAX_FORMATS: usize = 64;

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
