//! Sound files: RIFF/WAVE, one channel, 16-bit linear, as baresip reads and writes them.

use std::path::Path;

use super::{Context as _, Fault, Result};

/// Samples of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wav {
    /// Samples in a second.
    pub rate: u32,
    /// The samples.
    pub samples: Vec<i16>,
}

impl Wav {
    /// Reads a file. One that is still being written, whose lengths are not right yet, is read as far as it goes.
    ///
    /// # Errors
    /// When it cannot be read or is no 16-bit linear sound of one channel.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).context(path.display())?;
        Self::parse(&bytes).context(path.display())
    }

    /// Reads a file's content.
    ///
    /// # Errors
    /// When it is no 16-bit linear sound of one channel.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() < 12 || &bytes[..4] != b"RIFF" || &bytes[8..12] != b"WAVE" {
            return Err(Fault::new("not a WAVE file"));
        }
        let mut rest = &bytes[12..];
        let mut rate = None;
        while let Some((head, after)) = rest.split_at_checked(8) {
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
            let content = &after[..length.min(after.len())];
            match &head[..4] {
                b"fmt " if content.len() >= 16 => {
                    let word = |at: usize| u16::from_le_bytes([content[at], content[at + 1]]);
                    if (word(2), word(14)) != (1, 16) {
                        return Err(Fault::new("not one channel of 16 bits"));
                    }
                    rate = Some(u32::from_le_bytes([content[4], content[5], content[6], content[7]]));
                }
                b"data" => {
                    // A length of zero or of "unknown" means that the writer has not finished.
                    let content = if length == 0 { after } else { content };
                    let samples = content
                        .as_chunks()
                        .0
                        .iter()
                        .map(|pair| i16::from_le_bytes(*pair))
                        .collect();
                    return Ok(Self {
                        rate: rate.context("no format before the data")?,
                        samples,
                    });
                }
                _ => {}
            }
            rest = after.get(length + length % 2..).unwrap_or_default();
        }
        Err(Fault::new("no data"))
    }

    /// The content of a file with these samples.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.samples.len() * 2).expect("tests make no hours of sound");
        let mut bytes = Vec::with_capacity(44 + self.samples.len() * 2);
        bytes.extend_from_slice(b"RIFF");
        bytes.extend_from_slice(&(36 + length).to_le_bytes());
        bytes.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
        bytes.extend_from_slice(&self.rate.to_le_bytes());
        bytes.extend_from_slice(&(self.rate * 2).to_le_bytes());
        bytes.extend_from_slice(b"\x02\0\x10\0data");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend(self.samples.iter().flat_map(|sample| sample.to_le_bytes()));
        bytes
    }

    /// The same sound at another rate: each new sample is the mean of the old ones around its place.
    ///
    /// Good enough for speech that both sides are compared on; no filter for music.
    #[must_use]
    pub fn at_rate(&self, rate: u32) -> Self {
        let step = f64::from(self.rate) / f64::from(rate);
        let samples = (0..)
            .map(|index| (f64::from(index) * step, (f64::from(index) + 1.0) * step))
            .take_while(|(_, end)| *end <= self.samples.len() as f64)
            .map(|(start, end)| {
                let window = &self.samples[start as usize..(end.ceil() as usize).min(self.samples.len())];
                let sum: i64 = window.iter().map(|sample| i64::from(*sample)).sum();
                i16::try_from(sum / window.len().max(1) as i64).expect("a mean is no larger than its terms")
            })
            .collect();
        Self { rate, samples }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let wav = Wav {
            rate: 8000,
            samples: vec![0, 1, -1, i16::MAX, i16::MIN],
        };
        assert_eq!(Wav::parse(&wav.to_bytes()).expect("our own file"), wav);
    }

    #[test]
    fn a_file_that_is_still_being_written_is_read_as_far_as_it_goes() {
        let wav = Wav {
            rate: 8000,
            samples: vec![7; 100],
        };
        let mut bytes = wav.to_bytes();
        bytes[40..44].fill(0);
        assert_eq!(Wav::parse(&bytes[..144]).expect("a growing file").samples, vec![7; 50]);
    }

    #[test]
    fn what_is_no_sound_of_ours_is_refused() {
        let mut stereo = Wav {
            rate: 8000,
            samples: vec![1],
        }
        .to_bytes();
        stereo[22] = 2;
        for bytes in [&b""[..], b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0WAVEdata\0\0\0\0", &stereo] {
            assert!(Wav::parse(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn another_rate_keeps_length_and_level() {
        let wav = Wav {
            rate: 22_050,
            samples: vec![1000; 22_050],
        };
        let other = wav.at_rate(8000);
        assert!((7999..=8000).contains(&other.samples.len()), "{}", other.samples.len());
        assert!(other.samples.iter().all(|sample| *sample == 1000));
    }
}
