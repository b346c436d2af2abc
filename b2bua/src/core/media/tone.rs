//! Tones in G.711, twenty milliseconds at a time.
//!
//! [`Player`] is a pure source of packets: whoever sends them keeps the time. After the tone it gives silence for as
//! long as it is asked, so that the listener's stream never stops.

use std::f64::consts::TAU;
use std::time::Duration;

use super::rtp::{self, Stream};
use super::{Law, PlayCodec, Tone};

/// Samples in one packet.
pub const SAMPLES: usize = 160;
/// What one packet lasts.
pub const PACKET_TIME: Duration = Duration::from_millis(20);
/// Octets of one packet.
pub const PACKET: usize = rtp::HEADER + SAMPLES;

/// One tone on its way to one party.
#[derive(Clone, Debug)]
pub struct Player {
    stream: Stream,
    codec: PlayCodec,
    amplitude: f64,
    /// Turns of the oscillator for each sample.
    step: f64,
    phase: f64,
    on: u32,
    period: u32,
    /// Samples of the whole tone, and how many of them were given.
    length: u32,
    position: u32,
}

impl Player {
    /// A player at the beginning of its tone. `random` becomes the identity of the stream.
    #[must_use]
    pub fn new(tone: Tone, codec: PlayCodec, random: [u8; 10]) -> Self {
        let samples = |time: Duration| u32::try_from(time.min(MAX_BURST).as_millis()).unwrap_or(0) * SAMPLES_A_MS;
        let (on, off) = (samples(tone.on), samples(tone.off));
        let frequency = f64::from(tone.frequency.min(MAX_FREQUENCY));
        let amplitude = FULL_SCALE * 10f64.powf((f64::from(tone.level.min(0)) - OVERLOAD) / 20.0);
        Self {
            stream: Stream::new(codec.payload, random),
            codec,
            amplitude,
            step: frequency / CLOCK,
            phase: 0.0,
            on,
            period: on + off,
            length: (on + off) * u32::from(tone.repetitions),
            position: 0,
        }
    }

    /// Whether the whole tone was given, so that silence follows.
    #[must_use]
    pub fn played(&self) -> bool {
        self.position >= self.length
    }

    /// Writes the next packet.
    pub fn next(&mut self, packet: &mut [u8; PACKET]) {
        let (header, payload) = packet
            .split_first_chunk_mut()
            .expect("a packet is longer than its header");
        self.stream.next(header, SAMPLES as u32);
        for octet in payload {
            let sample = self.sample();
            *octet = match self.codec.law {
                Law::A => a_law(sample),
                Law::Mu => mu_law(sample),
            };
        }
    }

    /// Writes a packet of silence in the same stream without going on with the tone.
    pub fn silence(&mut self, packet: &mut [u8; PACKET]) {
        let (header, payload) = packet
            .split_first_chunk_mut()
            .expect("a packet is longer than its header");
        self.stream.next(header, SAMPLES as u32);
        payload.fill(match self.codec.law {
            Law::A => a_law(0),
            Law::Mu => mu_law(0),
        });
    }

    fn sample(&mut self) -> i16 {
        if self.played() {
            return 0;
        }
        let within = self.position % self.period;
        self.position += 1;
        if within >= self.on {
            self.phase = 0.0;
            return 0;
        }
        let value = (self.phase * TAU).sin() * self.amplitude * self.ramp(within);
        self.phase = (self.phase + self.step).fract();
        // In range: the amplitude is below full scale.
        value as i16
    }

    /// Rises and falls over a few milliseconds, lest the burst click.
    fn ramp(&self, within: u32) -> f64 {
        let edge = within.min(self.on - 1 - within) + 1;
        (f64::from(edge) / f64::from(RAMP)).min(1.0)
    }
}

/// One sample in µ-law (ITU-T G.711 table 2), from sixteen bits.
#[must_use]
pub fn mu_law(sample: i16) -> u8 {
    const BIAS: u16 = 0x84;
    const CLIP: u16 = 32_635;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = sample.unsigned_abs().min(CLIP) + BIAS;
    // The bias puts the highest bit at 7 or above.
    let segment = 8 - magnitude.leading_zeros() as u8;
    let mantissa = (magnitude >> (segment + 3)) as u8 & 0x0f;
    !(sign | segment << 4 | mantissa)
}

/// One sample in A-law (ITU-T G.711 table 1), from sixteen bits.
#[must_use]
pub fn a_law(sample: i16) -> u8 {
    let sign = if sample < 0 { 0 } else { 0x80 };
    // Negative values mirror the positive ones, so that -1 pairs with 0.
    let magnitude = if sample < 0 { !sample } else { sample } as u16 >> 4;
    let segment = (12u32.saturating_sub(magnitude.leading_zeros())) as u8;
    let mantissa = if segment == 0 {
        magnitude
    } else {
        magnitude >> (segment - 1)
    } as u8
        & 0x0f;
    (sign | segment << 4 | mantissa) ^ 0x55
}

/// The sample that a µ-law octet stands for.
#[must_use]
pub fn from_mu_law(octet: u8) -> i16 {
    let octet = !octet;
    let magnitude = ((i16::from(octet & 0x0f) << 3) + 0x84) << (octet >> 4 & 7);
    let value = magnitude - 0x84;
    if octet & 0x80 == 0 { value } else { -value }
}

/// The sample that an A-law octet stands for.
#[must_use]
pub fn from_a_law(octet: u8) -> i16 {
    let octet = octet ^ 0x55;
    let (segment, mantissa) = (octet >> 4 & 7, i16::from(octet & 0x0f) << 4);
    let value = if segment == 0 {
        mantissa + 8
    } else {
        (mantissa + 0x108) << (segment - 1)
    };
    if octet & 0x80 == 0 { -value } else { value }
}

/// The share of the power of `samples` that lies at `frequency` (Goertzel's algorithm): one for a pure sine there.
#[must_use]
pub fn share_at(samples: &[i16], frequency: f64) -> f64 {
    let coefficient = 2.0 * (TAU * frequency / CLOCK).cos();
    let (mut one, mut two, mut power) = (0.0, 0.0, 0.0);
    for &sample in samples {
        let sample = f64::from(sample);
        (one, two) = (sample + coefficient * one - two, one);
        power += sample * sample;
    }
    if power == 0.0 {
        return 0.0;
    }
    let at = one * one + two * two - coefficient * one * two;
    2.0 * at / (power * samples.len() as f64)
}

const CLOCK: f64 = 8000.0;
const SAMPLES_A_MS: u32 = 8;
const FULL_SCALE: f64 = 32_767.0;
/// Level of a full-scale sine in dBm0: between that of A-law and that of µ-law (ITU-T G.711), which differ by less
/// than anybody hears.
const OVERLOAD: f64 = 3.15;
/// Samples in which a burst rises and falls: two milliseconds.
const RAMP: u32 = 16;
/// Half the clock, less a margin for the filters of the other end.
const MAX_FREQUENCY: u16 = 3900;
/// The longest burst or pause.
const MAX_BURST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g711_agrees_with_the_tables() {
        // Decision values of ITU-T G.711, tables 1a and 2a, scaled to sixteen bits.
        for (sample, octet) in [
            (0, 0xff),
            (-1, 0x7f),
            (32_767, 0x80),
            (-32_768, 0x00),
            (8, 0xfe),
            (4191, 0xaf),
        ] {
            assert_eq!(mu_law(sample), octet, "µ-law of {sample}");
        }
        for (sample, octet) in [(0, 0xd5), (-1, 0x55), (32_767, 0xaa), (-32_768, 0x2a), (16, 0xd4)] {
            assert_eq!(a_law(sample), octet, "A-law of {sample}");
        }
        for octet in 0..=u8::MAX {
            // 0x7f is minus zero.
            assert!(octet == 0x7f || mu_law(from_mu_law(octet)) == octet, "µ-law {octet:#x}");
            assert_eq!(a_law(from_a_law(octet)), octet, "A-law {octet:#x}");
        }
        for sample in i16::MIN..=i16::MAX {
            let step = i32::from(sample).abs() / 16 + 16;
            for back in [from_mu_law(mu_law(sample)), from_a_law(a_law(sample))] {
                assert!(
                    (i32::from(back) - i32::from(sample)).abs() <= step,
                    "{sample} came back as {back}"
                );
            }
        }
    }

    #[test]
    fn a_tone_has_its_frequency_level_and_cadence() {
        let burst = Duration::from_millis;
        for (tone, law) in [
            (Tone::default(), Law::Mu),
            (Tone::default(), Law::A),
            (
                Tone {
                    frequency: 1633,
                    on: burst(120),
                    off: burst(60),
                    repetitions: 5,
                    level: 0,
                },
                Law::A,
            ),
            (
                Tone {
                    frequency: 300,
                    on: burst(500),
                    off: burst(0),
                    repetitions: 1,
                    level: -25,
                },
                Law::Mu,
            ),
        ] {
            let samples = decode(tone, law, 100);
            let name = format!("{tone:?} {law:?}");
            let (on, period) = (
                tone.on.as_millis() as usize * 8,
                (tone.on + tone.off).as_millis() as usize * 8,
            );
            for index in 0..usize::from(tone.repetitions) {
                let heard = &samples[index * period + 16..index * period + on - 16];
                assert!(
                    share_at(heard, f64::from(tone.frequency)) > 0.97,
                    "{name}: burst {index}"
                );
                assert!(
                    share_at(heard, f64::from(tone.frequency) * 1.3) < 0.05,
                    "{name}: elsewhere"
                );
                let power = heard.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>() / heard.len() as f64;
                let level = 10.0 * (2.0 * power / FULL_SCALE.powi(2)).log10() + OVERLOAD;
                assert!((level - f64::from(tone.level)).abs() < 0.5, "{name}: level {level}");
                assert!(
                    quiet(&samples[index * period + on..(index + 1) * period]),
                    "{name}: pause {index}"
                );
            }
            assert!(
                quiet(&samples[period * usize::from(tone.repetitions)..]),
                "{name}: silence after it"
            );
        }
    }

    #[test]
    fn it_ends_with_its_last_pause_and_gives_silence_for_ever() {
        let tone = Tone::default();
        let mut player = Player::new(
            tone,
            PlayCodec {
                law: Law::Mu,
                payload: 0,
            },
            [0; 10],
        );
        let mut packet = [0; PACKET];
        let packets = tone.length().as_millis() / PACKET_TIME.as_millis();
        for number in 0..packets {
            assert!(!player.played(), "packet {number}");
            player.next(&mut packet);
            assert_eq!(u128::from(rtp::read(&packet).unwrap().sequence), number);
        }
        assert!(player.played());
        player.next(&mut packet);
        assert!(packet[rtp::HEADER..].iter().all(|&octet| octet == 0xff));
        for odd in [
            Tone { repetitions: 0, ..tone },
            Tone {
                on: Duration::ZERO,
                off: Duration::ZERO,
                ..tone
            },
            Tone {
                on: Duration::MAX,
                frequency: u16::MAX,
                level: i8::MAX,
                repetitions: 255,
                ..tone
            },
        ] {
            Player::new(
                odd,
                PlayCodec {
                    law: Law::A,
                    payload: 255,
                },
                [255; 10],
            )
            .next(&mut packet);
        }
    }

    fn decode(tone: Tone, law: Law, packets: usize) -> Vec<i16> {
        let mut player = Player::new(tone, PlayCodec { law, payload: 0 }, [0; 10]);
        let mut samples = Vec::new();
        let mut packet = [0; PACKET];
        for _ in 0..packets {
            player.next(&mut packet);
            let payload = packet[rtp::HEADER..].iter();
            samples.extend(payload.map(|&octet| match law {
                Law::A => from_a_law(octet),
                Law::Mu => from_mu_law(octet),
            }));
        }
        samples
    }

    fn quiet(samples: &[i16]) -> bool {
        // A-law has no zero: its smallest value is eight.
        samples.iter().all(|sample| sample.abs() <= 8)
    }
}
