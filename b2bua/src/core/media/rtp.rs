//! RTP headers (RFC 3550 §5.1): checked when read, written for the packets that we make ourselves.
//!
//! What we relay is not changed; a packet that contradicts itself is not relayed.

use rtp_rs::RtpReader;

/// What the relay needs to know of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Synchronisation source.
    pub ssrc: u32,
    /// Sequence number.
    pub sequence: u16,
    /// Payload type.
    pub payload: u8,
}

/// Reads a packet whose every length fits: CSRC list, extension, padding. `None` for everything else.
#[must_use]
pub fn read(packet: &[u8]) -> Option<Header> {
    if packet.len() > MAX_PACKET {
        return None;
    }
    let reader = RtpReader::new(packet).ok()?;
    let payload = reader.payload_type();
    // RFC 5761 §4: with these numbers it is RTCP that came to the wrong port.
    if (64..=95).contains(&payload) {
        return None;
    }
    Some(Header {
        ssrc: reader.ssrc(),
        sequence: reader.sequence_number().into(),
        payload,
    })
}

/// Counts up a stream of our own and writes its headers.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    payload: u8,
    begun: bool,
}

impl Stream {
    /// A stream whose identity and first numbers come from `random` (RFC 3550 §5.1: they are unpredictable).
    #[must_use]
    pub fn new(payload: u8, random: [u8; 10]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j] = random;
        Self {
            ssrc: u32::from_be_bytes([a, b, c, d]),
            timestamp: u32::from_be_bytes([e, f, g, h]),
            sequence: u16::from_be_bytes([i, j]),
            payload: payload & 0x7f,
            begun: false,
        }
    }

    /// Writes the header of the next packet, which carries `samples` of audio. The first one is marked as the
    /// beginning of a spurt (RFC 3551 §4.1).
    pub fn next(&mut self, header: &mut [u8; HEADER], samples: u32) {
        header[0] = VERSION;
        header[1] = self.payload | if self.begun { 0 } else { MARKER };
        header[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        header[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        header[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        self.begun = true;
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(samples);
    }
}

/// Octets of a header without CSRC list and extension.
pub const HEADER: usize = 12;
/// The longest packet that is relayed, in octets: what an Ethernet frame carries.
pub const MAX_PACKET: usize = 1500;
const VERSION: u8 = 2 << 6;
const MARKER: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;
    use cusax_common::core::entropy::{Entropy, Seeded};

    #[test]
    fn lengths_that_lie_are_refused() {
        let plain = [&[0x80, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 5][..], &[0xff; 160]].concat();
        let with = |changes: &[(usize, u8)], length: usize| {
            let mut packet = plain.clone();
            for &(at, octet) in changes {
                packet[at] = octet;
            }
            packet.resize(length, 0xff);
            packet
        };
        for (name, packet, good) in [
            ("plain", with(&[], 172), true),
            ("marked", with(&[(1, 0x80)], 172), true),
            ("no payload", with(&[], 12), true),
            ("empty", Vec::new(), false),
            ("short", with(&[], 11), false),
            ("version 1", with(&[(0, 0x40)], 172), false),
            ("STUN", with(&[(0, 0x00)], 172), false),
            ("fifteen CSRCs", with(&[(0, 0x8f)], 172), true),
            ("fifteen CSRCs that are not there", with(&[(0, 0x8f)], 71), false),
            (
                "an extension longer than the packet",
                with(&[(0, 0x90), (14, 0xff), (15, 0xff)], 172),
                false,
            ),
            ("an extension header cut off", with(&[(0, 0x90)], 14), false),
            (
                "an extension that fits",
                with(&[(0, 0x90), (14, 0), (15, 2)], 172),
                true,
            ),
            ("padding of 255", with(&[(0, 0xa0), (171, 255)], 172), false),
            ("padding of nothing", with(&[(0, 0xa0), (171, 0)], 172), false),
            ("padding that fits", with(&[(0, 0xa0), (171, 4)], 172), true),
            ("padding without room", with(&[(0, 0xa0)], 12), false),
            ("RTCP in RTP's place", with(&[(1, 200)], 172), false),
            ("too long", with(&[], MAX_PACKET + 1), false),
        ] {
            assert_eq!(read(&packet).is_some(), good, "{name}");
        }
        assert_eq!(
            read(&plain),
            Some(Header {
                ssrc: 5,
                sequence: 7,
                payload: 0
            })
        );
    }

    #[test]
    fn noise_never_panics() {
        let seed = 0x5eed;
        let mut source = Seeded::new(seed);
        for round in 0..20_000 {
            let mut packet = vec![0; usize::from(source.bytes::<1>()[0])];
            source.fill(&mut packet);
            if let Some(first) = packet.first_mut() {
                *first = *first & 0x3f | VERSION;
            }
            if let Some(header) = read(&packet) {
                assert!(header.payload < 128, "seed {seed} round {round}");
            }
        }
    }

    #[test]
    fn our_own_stream_counts_up_and_wraps() {
        let mut stream = Stream::new(8, [0xff; 10]);
        let mut packet = [0; HEADER];
        stream.next(&mut packet, 160);
        assert_eq!(packet[..2], [0x80, 0x88]);
        assert_eq!(
            read(&packet),
            Some(Header {
                ssrc: u32::MAX,
                sequence: u16::MAX,
                payload: 8
            })
        );
        stream.next(&mut packet, 160);
        assert_eq!(packet[..8], [0x80, 8, 0, 0, 0, 0, 0, 159]);
    }
}
