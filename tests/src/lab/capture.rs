//! What really went over the wire: tcpdump in a namespace, and a reader for what it wrote.
//!
//! The reader is the test side's own, down to the SIP text: it must not share a mistake with the service.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pcap_file::pcap::PcapReader;

use super::topology::Host;
use super::{Child, Context as _, Namespace, Result, Spec, g711, wait};

/// A running capture of all UDP of one link.
#[derive(Debug)]
pub struct Capture {
    file: PathBuf,
    _tcpdump: Child,
}

impl Capture {
    /// Captures at a host's link.
    ///
    /// # Errors
    /// When tcpdump does not begin to listen.
    pub fn at(host: &Host, folder: &Path) -> Result<Self> {
        Self::on(&host.namespace, &host.link, folder)
    }

    /// Captures at a link of a namespace.
    ///
    /// # Errors
    /// When tcpdump does not begin to listen.
    pub fn on(namespace: &Namespace, link: &str, folder: &Path) -> Result<Self> {
        let file = folder.join(format!("{}.pcap", namespace.name()));
        // As root throughout: a change of user would make it forget to die with us.
        let spec = Spec::new(format!("tcpdump-{}", namespace.name()), "tcpdump")
            .inside(namespace)
            .args(["-Z", "root"]);
        let spec = spec
            .args(["-i", link, "-U", "--immediate-mode", "-n", "-s", "0", "-w"])
            .arg(&file)
            .arg("udp or ip[6:2] & 0x1fff != 0");
        let mut tcpdump = spec.start(folder)?;
        tcpdump.until("it listens", START, |tcpdump| {
            tcpdump.log().contains("listening on").then_some(())
        })?;
        Ok(Self {
            file,
            _tcpdump: tcpdump,
        })
    }

    /// All datagrams until now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn datagrams(&self) -> Result<Vec<Datagram>> {
        read(&self.file)
    }

    /// All SIP messages until now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn messages(&self) -> Result<Vec<SipText>> {
        Ok(self.datagrams()?.iter().filter_map(SipText::of).collect())
    }

    /// All RTP streams until now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn streams(&self) -> Result<Vec<Stream>> {
        Ok(streams(&self.datagrams()?))
    }

    /// Waits for a SIP message that `wanted` likes.
    ///
    /// # Errors
    /// When `limit` passes without one.
    pub fn message(&self, what: &str, limit: Duration, wanted: impl Fn(&SipText) -> bool) -> Result<SipText> {
        wait::until_ok(what, limit, || Ok(self.messages()?.into_iter().find(&wanted)))
    }
}

/// One UDP datagram, put together again if it travelled in fragments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// When its last part was seen, since 1970.
    pub at: Duration,
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// What it carried.
    pub payload: Vec<u8>,
}

/// A SIP message as a reader of text sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipText {
    /// When it was seen, since 1970.
    pub at: Duration,
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// The request or status line.
    pub start: String,
    /// Header lines in order, unfolded; names in their long form where a short one is known.
    pub headers: Vec<(String, String)>,
    /// What follows the empty line.
    pub body: String,
}

impl SipText {
    /// Reads a datagram, if it looks like SIP.
    #[must_use]
    pub fn of(datagram: &Datagram) -> Option<Self> {
        let text = String::from_utf8_lossy(&datagram.payload);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let (start, lines) = head.split_once("\r\n")?;
        if !start.starts_with("SIP/2.0 ") && !start.ends_with(" SIP/2.0") {
            return None;
        }
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines.split("\r\n") {
            if line.starts_with([' ', '\t']) {
                let value = &mut headers.last_mut()?.1;
                value.push(' ');
                value.push_str(line.trim());
            } else {
                let (name, value) = line.split_once(':')?;
                headers.push((long_name(name.trim()).to_owned(), value.trim().to_owned()));
            }
        }
        let (at, from, to) = (datagram.at, datagram.from, datagram.to);
        Some(Self {
            at,
            from,
            to,
            start: start.to_owned(),
            headers,
            body: body.to_owned(),
        })
    }

    /// The method, if it is a request.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        if self.start.starts_with("SIP/2.0 ") {
            None
        } else {
            self.start.split(' ').next()
        }
    }

    /// Whether it is a request of this method.
    #[must_use]
    pub fn is(&self, method: &str) -> bool {
        self.method() == Some(method)
    }

    /// The status code, if it is a response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// Every value of a header.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.headers
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The first value of a header, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// The Call-ID.
    #[must_use]
    pub fn call(&self) -> &str {
        self.header("Call-ID")
    }

    /// Whether `needle` stands anywhere in it.
    #[must_use]
    pub fn mentions(&self, needle: &str) -> bool {
        self.start.contains(needle)
            || self.body.contains(needle)
            || self.headers.iter().any(|(_, value)| value.contains(needle))
    }
}

/// An RTP stream: everything of one source to one receiver.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// The synchronisation source.
    pub ssrc: u32,
    /// The packets in the order in which they came.
    pub packets: Vec<RtpPacket>,
}

/// One RTP packet (RFC 3550 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpPacket {
    /// When it was seen, since 1970.
    pub at: Duration,
    /// The payload type.
    pub payload_type: u8,
    /// The sequence number.
    pub sequence: u16,
    /// The timestamp, in samples.
    pub timestamp: u32,
    /// What it carried.
    pub payload: Vec<u8>,
}

impl Stream {
    /// When it began, since 1970.
    #[must_use]
    pub fn began(&self) -> Duration {
        self.packets.first().map(|packet| packet.at).unwrap_or_default()
    }

    /// The G.711 sound in it, each packet at the place that its timestamp gives; gaps are silent.
    #[must_use]
    pub fn samples(&self) -> Vec<i16> {
        let Some(first) = self.packets.first().map(|packet| packet.timestamp) else {
            return Vec::new();
        };
        let mut samples = Vec::new();
        for packet in &self.packets {
            let decode = match packet.payload_type {
                0 => g711::from_ulaw,
                8 => g711::from_alaw,
                _ => continue,
            };
            let place = packet.timestamp.wrapping_sub(first) as usize;
            if place > LONGEST {
                continue;
            }
            if samples.len() < place + packet.payload.len() {
                samples.resize(place + packet.payload.len(), 0);
            }
            for (slot, byte) in samples[place..].iter_mut().zip(&packet.payload) {
                *slot = decode(*byte);
            }
        }
        samples
    }
}

/// Sorts the RTP among datagrams into streams, in the order in which they began.
#[must_use]
pub fn streams(datagrams: &[Datagram]) -> Vec<Stream> {
    let mut found: Vec<Stream> = Vec::new();
    for datagram in datagrams {
        let Some((ssrc, packet)) = rtp(datagram) else {
            continue;
        };
        let stream = found
            .iter_mut()
            .rfind(|stream| (stream.from, stream.to, stream.ssrc) == (datagram.from, datagram.to, ssrc));
        match stream {
            Some(stream) => stream.packets.push(packet),
            None => found.push(Stream {
                from: datagram.from,
                to: datagram.to,
                ssrc,
                packets: vec![packet],
            }),
        }
    }
    found
}

/// Reads a capture file as far as it goes: it may still be growing.
///
/// # Errors
/// When there is no such file.
pub fn read(file: &Path) -> Result<Vec<Datagram>> {
    let file = File::open(file).context(file.display())?;
    let Ok(mut reader) = PcapReader::new(BufReader::new(file)) else {
        return Ok(Vec::new());
    };
    let mut fragments = BTreeMap::new();
    let mut datagrams = Vec::new();
    // An error is the ragged end of a growing file.
    while let Some(Ok(packet)) = reader.next_packet() {
        datagrams.extend(frame(packet.timestamp, &packet.data, &mut fragments));
    }
    Ok(datagrams)
}

/// Parts of a fragmented IPv4 packet: where each belongs, and whether it is the last.
type Fragments = BTreeMap<(Ipv4Addr, Ipv4Addr, u16), Vec<(usize, bool, Vec<u8>)>>;

fn frame(at: Duration, frame: &[u8], fragments: &mut Fragments) -> Option<Datagram> {
    let packet = frame.get(14..)?;
    match (frame[12], frame[13]) {
        (0x08, 0x00) => ipv4(at, packet, fragments),
        (0x86, 0xdd) => ipv6(at, packet),
        _ => None,
    }
}

fn ipv4(at: Duration, packet: &[u8], fragments: &mut Fragments) -> Option<Datagram> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let total = usize::from(word(packet, 2)?);
    let content = packet.get(header..total)?;
    if packet[9] != UDP {
        return None;
    }
    let address = |at: usize| Ipv4Addr::from([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    let (from, to) = (address(12), address(16));
    let flags = word(packet, 6)?;
    let (more, offset) = (flags & 0x2000 != 0, usize::from(flags & 0x1fff) * 8);
    if !more && offset == 0 {
        return udp(at, from.into(), to.into(), content);
    }
    let parts = fragments.entry((from, to, word(packet, 4)?)).or_default();
    parts.push((offset, !more, content.to_vec()));
    parts.sort_by_key(|(offset, ..)| *offset);
    let mut whole = Vec::new();
    for (offset, _, part) in parts.iter() {
        if *offset != whole.len() {
            return None;
        }
        whole.extend_from_slice(part);
    }
    parts
        .last()
        .is_some_and(|(_, last, _)| *last)
        .then(|| udp(at, from.into(), to.into(), &whole))
        .flatten()
}

fn ipv6(at: Duration, packet: &[u8]) -> Option<Datagram> {
    let content = packet.get(40..)?;
    let address = |range: std::ops::Range<usize>| -> Option<IpAddr> {
        Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(range)?).ok()?).into())
    };
    if packet[6] == UDP {
        udp(at, address(8..24)?, address(24..40)?, content)
    } else {
        None
    }
}

fn udp(at: Duration, from: IpAddr, to: IpAddr, content: &[u8]) -> Option<Datagram> {
    let from = SocketAddr::new(from, word(content, 0)?);
    let to = SocketAddr::new(to, word(content, 2)?);
    let payload = content.get(8..usize::from(word(content, 4)?))?.to_vec();
    Some(Datagram { at, from, to, payload })
}

fn rtp(datagram: &Datagram) -> Option<(u32, RtpPacket)> {
    let bytes = &datagram.payload;
    let first = *bytes.first()?;
    let payload_type = bytes.get(1)? & 0x7f;
    // Version 2, an even port, and none of the types that would be RTCP (RFC 5761 §4).
    if first >> 6 != 2 || !datagram.to.port().is_multiple_of(2) || (64..96).contains(&payload_type) {
        return None;
    }
    let long = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let mut start = 12 + usize::from(first & 0x0f) * 4;
    if first & 0x10 != 0 {
        start += 4 + usize::from(word(bytes, start + 2)?) * 4;
    }
    let padding = if first & 0x20 == 0 {
        0
    } else {
        usize::from(*bytes.last()?)
    };
    let payload = bytes.get(start..bytes.len().checked_sub(padding)?)?.to_vec();
    let packet = RtpPacket {
        at: datagram.at,
        payload_type,
        sequence: word(bytes, 2)?,
        timestamp: long(4)?,
        payload,
    };
    Some((long(8)?, packet))
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// The compact forms of RFC 3261 §7.3.3.
fn long_name(name: &str) -> &str {
    match name {
        "i" => "Call-ID",
        "m" => "Contact",
        "e" => "Content-Encoding",
        "l" => "Content-Length",
        "c" => "Content-Type",
        "f" => "From",
        "s" => "Subject",
        "k" => "Supported",
        "t" => "To",
        "v" => "Via",
        other => other,
    }
}

const UDP: u8 = 17;
/// Samples beyond which a timestamp is taken for a jump.
const LONGEST: usize = 8000 * 600;
/// How long tcpdump may take to begin.
const START: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn udp_packet(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [from, to, u16::try_from(payload.len() + 8).expect("short"), 0] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend_from_slice(payload);
        bytes
    }

    fn ip_frame(flags: u16, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 12];
        bytes.extend([0x08, 0x00, 0x45, 0]);
        bytes.extend(u16::try_from(content.len() + 20).expect("short").to_be_bytes());
        bytes.extend([0, 7]);
        bytes.extend(flags.to_be_bytes());
        bytes.extend([64, UDP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend_from_slice(content);
        bytes
    }

    fn datagram(port: u16, payload: &[u8]) -> Datagram {
        let address = |port| SocketAddr::new(Ipv4Addr::new(10, 0, 0, 1).into(), port);
        Datagram {
            at: Duration::ZERO,
            from: address(4000),
            to: address(port),
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn a_datagram_is_read_whole_and_from_fragments_in_any_order() {
        let content = udp_packet(5060, 5062, &[7; 40]);
        let whole = frame(Duration::ZERO, &ip_frame(0, &content), &mut BTreeMap::new()).expect("a datagram");
        assert_eq!(
            (whole.from.port(), whole.to.port(), &whole.payload[..]),
            (5060, 5062, &[7; 40][..])
        );
        for order in [[0, 1], [1, 0]] {
            let parts = [ip_frame(0x2000, &content[..24]), ip_frame(3, &content[24..])];
            let mut fragments = BTreeMap::new();
            assert_eq!(frame(Duration::ZERO, &parts[order[0]], &mut fragments), None);
            assert_eq!(
                frame(Duration::ZERO, &parts[order[1]], &mut fragments),
                Some(whole.clone()),
                "{order:?}"
            );
        }
    }

    #[test]
    fn cut_and_foreign_frames_are_passed_over() {
        let good = ip_frame(0, &udp_packet(1, 2, b"x"));
        for length in 0..good.len() {
            assert_eq!(
                frame(Duration::ZERO, &good[..length], &mut BTreeMap::new()),
                None,
                "{length} bytes"
            );
        }
        let mut tcp = good;
        tcp[14 + 9] = 6;
        assert_eq!(frame(Duration::ZERO, &tcp, &mut BTreeMap::new()), None);
    }

    #[test]
    fn sip_is_read_with_folds_and_compact_forms() {
        let text =
            "INVITE sip:b@y SIP/2.0\r\nv: SIP/2.0/UDP z\r\nSubject: a\r\n  b\r\nCALL-INFO: <x>\r\ni: 7\r\n\r\nbody";
        let message = SipText::of(&datagram(5060, text.as_bytes())).expect("SIP");
        assert!(message.is("INVITE") && message.status().is_none());
        assert_eq!(message.header("via"), "SIP/2.0/UDP z");
        assert_eq!(message.header("Subject"), "a b");
        assert_eq!(message.all("Call-Info").collect::<Vec<_>>(), ["<x>"]);
        assert_eq!((message.call(), message.body.as_str()), ("7", "body"));
        let response = SipText::of(&datagram(5060, b"SIP/2.0 183 Session Progress\r\nTo: x\r\n\r\n")).expect("SIP");
        assert_eq!((response.status(), response.method()), (Some(183), None));
        assert_eq!(SipText::of(&datagram(5060, b"\x80\x00nothing\r\n\r\n")), None);
    }

    #[test]
    fn rtp_is_sorted_into_streams_and_decoded_at_its_timestamps() {
        let packet = |ssrc: u8, sequence: u8, timestamp: u8, payload_type: u8| {
            let mut bytes = vec![0x80, payload_type, 0, sequence, 0, 0, 0, timestamp, 0, 0, 0, ssrc];
            bytes.extend([0x80; 4]);
            datagram(6000, &bytes)
        };
        let rtcp = datagram(6001, &[0x80, 200, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        let found = streams(&[
            packet(1, 0, 10, 0),
            packet(2, 0, 0, 8),
            packet(1, 1, 16, 0),
            rtcp,
            packet(1, 2, 20, 101),
        ]);
        assert_eq!(
            found
                .iter()
                .map(|stream| (stream.ssrc, stream.packets.len()))
                .collect::<Vec<_>>(),
            [(1, 3), (2, 1)]
        );
        let loud = g711::from_ulaw(0x80);
        assert_eq!(
            found[0].samples(),
            [loud, loud, loud, loud, 0, 0, loud, loud, loud, loud]
        );
    }
}
