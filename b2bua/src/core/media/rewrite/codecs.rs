//! The payload types of one stream, and which of its attributes say something about them that another party can use.

use smallvec::SmallVec;

use super::shown::Hidden;
use crate::core::media::lines::{Attribute, cut, fields};
use crate::core::media::{Law, PlayCodec};

/// The payload types of one stream, in its order, with what each means.
pub(super) struct Codecs(SmallVec<[Codec; 8]>);

struct Codec {
    payload: u8,
    kind: Kind,
    /// Which attribute said so, if any.
    line: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// G.711 at its ordinary rate.
    G711(Law),
    /// Telephone events at the rate of G.711 (RFC 4733).
    Events,
    /// Another codec for voice.
    Voice,
    /// Nothing that carries voice by itself, or nobody has said what.
    Other,
}

impl Codecs {
    /// What the other party will not see says nothing: both must read the same.
    pub(super) fn read(formats: &str, attributes: &[Attribute<'_>], hidden: &Hidden<'_>) -> Self {
        let assigned = |payload| Codec {
            payload,
            kind: Kind::assigned(payload),
            line: None,
        };
        let payloads = fields(formats).filter_map(|format| format.parse().ok());
        let mut codecs: SmallVec<_> = payloads.map(assigned).collect();
        for (index, line) in attributes.iter().enumerate() {
            let Some((payload, kind)) = rtpmap(line).filter(|_| hidden.lets(line)) else {
                continue;
            };
            for codec in codecs.iter_mut().filter(|codec: &&mut Codec| codec.payload == payload) {
                // The first word counts.
                if codec.line.is_none() {
                    (codec.kind, codec.line) = (kind, Some(index));
                }
            }
        }
        Self(codecs)
    }

    pub(super) fn has_voice(&self) -> bool {
        let mut kinds = self.0.iter().map(|codec| codec.kind);
        kinds.any(|kind| matches!(kind, Kind::G711(_) | Kind::Voice))
    }

    /// The first of G.711.
    pub(super) fn g711(&self) -> Option<PlayCodec> {
        self.0.iter().find_map(|codec| match codec.kind {
            Kind::G711(law) => Some(PlayCodec {
                law,
                payload: codec.payload,
            }),
            _ => None,
        })
    }

    pub(super) fn telephone_event(&self) -> Option<u8> {
        let event = self.0.iter().find(|codec| codec.kind == Kind::Events);
        event.map(|codec| codec.payload)
    }

    /// Whether the attribute of this index, where it is about payload types, says something that another party can use.
    pub(super) fn keeps(&self, index: usize, line: &Attribute<'_>) -> bool {
        match line.name {
            "rtpmap" => self.0.iter().any(|codec| codec.line == Some(index)),
            "fmtp" => {
                let filled = line.value().is_some_and(|value| value.contains(' '));
                filled && payload_of(line).is_some_and(|payload| self.0.iter().any(|codec| codec.payload == payload))
            }
            "ptime" | "maxptime" => {
                let time = line.value().and_then(|value| value.trim().parse::<f32>().ok());
                time.is_some_and(|time| time >= 1.0 && time.is_finite())
            }
            _ => true,
        }
    }
}

impl Kind {
    /// What an `rtpmap` says.
    fn named(name: &str, rate: u32) -> Self {
        let is = |known: &&str| name.eq_ignore_ascii_case(known);
        match rate == CLOCK {
            true if is(&"PCMA") => Self::G711(Law::A),
            true if is(&"PCMU") => Self::G711(Law::Mu),
            true if is(&"telephone-event") => Self::Events,
            _ if NOT_VOICE.iter().any(is) => Self::Other,
            _ => Self::Voice,
        }
    }

    /// Audio payload types that need no `rtpmap` (RFC 3551 §6).
    fn assigned(payload: u8) -> Self {
        match payload {
            0 => Self::G711(Law::Mu),
            8 => Self::G711(Law::A),
            3..=7 | 9..=12 | 14..=18 => Self::Voice,
            // Among them comfort noise, 13.
            _ => Self::Other,
        }
    }
}

/// `<payload> <name>/<rate>[/<channels>]`
fn rtpmap(line: &Attribute<'_>) -> Option<(u8, Kind)> {
    if line.name != "rtpmap" {
        return None;
    }
    let (payload, encoding) = cut(line.value()?, b' ')?;
    let (name, rest) = cut(encoding.trim(), b'/')?;
    let (rate, channels) = cut(rest, b'/').map_or((rest, None), |(rate, rest)| (rate, Some(rest)));
    let rate = rate.parse::<u32>().ok()?;
    // What follows the channels, nobody has defined.
    let channels = channels.map(|rest| cut(rest, b'/').map_or(rest, |(channels, _)| channels));
    let channels = channels.map_or(Ok(1), str::parse::<u8>).ok()?;
    if channels == 0 || rate == 0 || name.is_empty() {
        return None;
    }
    Some((payload.parse().ok()?, Kind::named(name, rate)))
}

/// The payload type that an attribute is about.
pub(super) fn payload_of(line: &Attribute<'_>) -> Option<u8> {
    let value = line.value()?;
    cut(value, b' ').map_or(value, |(payload, _)| payload).parse().ok()
}

/// Formats of an audio stream that carry no voice by themselves.
const NOT_VOICE: [&str; 7] = ["cn", "flexfec", "red", "rtx", "telephone-event", "tone", "ulpfec"];
/// Samples a second of G.711 and of the telephone events beside it.
pub(super) const CLOCK: u32 = 8000;
