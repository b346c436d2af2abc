//! Spoken digits: said by espeak-ng, and recognised in a recording by comparing with each digit as that voice says it.

use std::path::Path;

use super::sound::{self, RATE, Searchable};
use super::wav::Wav;
use super::{Context as _, Fault, Result, Spec};

/// A speaker: the ten digits as they say them.
#[derive(Clone, Debug)]
pub struct Voice {
    digits: Vec<Vec<i16>>,
}

/// What was recognised.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The digits in order.
    pub digits: String,
    /// The lowest correlation among them; 0 when there are none.
    pub score: f64,
}

impl Voice {
    /// A voice of espeak-ng: `pitch` 0 … 99 and `speed` in words a minute make one speaker differ from another.
    ///
    /// # Errors
    /// When espeak-ng cannot speak.
    pub fn new(pitch: u32, speed: u32, folder: &Path) -> Result<Self> {
        let say = |(number, word): (usize, &&str)| -> Result<Vec<i16>> {
            let file = folder.join(format!("digit-{pitch}-{speed}-{number}.wav"));
            let spec = Spec::new("espeak-ng", "espeak-ng")
                .args(["-v", "en", "-p"])
                .arg(pitch.to_string());
            spec.arg("-s")
                .arg(speed.to_string())
                .arg("-w")
                .arg(&file)
                .arg(word)
                .output()?;
            let samples = trimmed(Wav::read(&file)?.at_rate(RATE).samples);
            if samples.len() < RATE as usize / 10 {
                return Err(Fault::new(format_args!("espeak-ng said nothing for {word}")));
            }
            Ok(samples)
        };
        let digits = WORDS
            .iter()
            .enumerate()
            .map(say)
            .collect::<Result<_>>()
            .context("making a voice")?;
        Ok(Self { digits })
    }

    /// `digits` spoken over and over for `seconds`, with a pause before each time.
    #[must_use]
    pub fn say(&self, digits: &str, seconds: u32) -> Wav {
        let mut once = vec![0; PAUSE];
        for digit in digits.bytes().filter(u8::is_ascii_digit) {
            once.extend_from_slice(&self.digits[usize::from(digit - b'0')]);
            once.extend([0; GAP]);
        }
        let samples = once.iter().copied().cycle().take((seconds * RATE) as usize).collect();
        Wav { rate: RATE, samples }
    }

    /// The digits that this voice says in `recording`, each at least as alike as `threshold` (a correlation).
    #[must_use]
    pub fn recognise(&self, recording: &[i16], threshold: f64) -> Heard {
        let recording = Searchable::new(recording);
        let mut heard: Vec<(usize, usize, f64, usize)> = Vec::new();
        for (digit, sound) in self.digits.iter().enumerate() {
            for found in recording.find(sound, threshold) {
                heard.push((found.at, found.at + sound.len(), found.score, digit));
            }
        }
        sound::keep_best(&mut heard, |(start, end, score, _)| (*start, *end, *score));
        Heard {
            digits: heard
                .iter()
                .map(|(.., digit)| char::from(b"0123456789"[*digit]))
                .collect(),
            score: heard
                .iter()
                .map(|(_, _, score, _)| *score)
                .reduce(f64::min)
                .unwrap_or_default(),
        }
    }
}

/// Without the silence at both ends.
fn trimmed(samples: Vec<i16>) -> Vec<i16> {
    let loud = |sample: &i16| sample.unsigned_abs() > QUIET;
    let (Some(first), Some(last)) = (samples.iter().position(loud), samples.iter().rposition(loud)) else {
        return Vec::new();
    };
    samples[first..=last].to_vec()
}

const WORDS: [&str; 10] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
];
/// Samples of silence before the digits are said again.
const PAUSE: usize = RATE as usize * 2 / 5;
/// Samples of silence between two digits.
const GAP: usize = RATE as usize / 20;
/// A sample up to here is silence.
const QUIET: u16 = 300;
