//! What is in a recording: known sounds by correlation, tones by Goertzel's algorithm.

use std::f64::consts::TAU;

/// Samples in a second of everything that is examined here.
pub const RATE: u32 = 8000;

/// Where a known sound was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The first sample.
    pub at: usize,
    /// The correlation, 1 for the very same shape at whatever level.
    pub score: f64,
}

/// A recording prepared for looking up many sounds in it.
#[derive(Debug)]
pub struct Searchable {
    length: usize,
    /// The recording in the frequency domain.
    spectrum: Vec<Complex>,
    /// Sum of squares before each sample.
    energy: Vec<f64>,
}

impl Searchable {
    /// Prepares a recording.
    #[must_use]
    pub fn new(recording: &[i16]) -> Self {
        // Twice the length leaves room for any shift without wrapping round.
        let mut spectrum = vec![(0.0, 0.0); (recording.len().max(1) * 2).next_power_of_two()];
        for (slot, sample) in spectrum.iter_mut().zip(recording) {
            slot.0 = f64::from(*sample);
        }
        transform(&mut spectrum, Direction::Forward);
        let mut energy = Vec::with_capacity(recording.len() + 1);
        energy.push(0.0);
        let mut sum = 0.0;
        for sample in recording {
            sum += f64::from(*sample) * f64::from(*sample);
            energy.push(sum);
        }
        Self {
            length: recording.len(),
            spectrum,
            energy,
        }
    }

    /// Every place where `sound` is, with a correlation of at least `threshold`, in order and without overlaps.
    ///
    /// The correlation is normalised by the level of each place; places as good as silent have none.
    #[must_use]
    pub fn find(&self, sound: &[i16], threshold: f64) -> Vec<Found> {
        let scores = self.scores(sound);
        let mut peaks: Vec<Found> = scores
            .into_iter()
            .enumerate()
            .filter(|(_, score)| *score >= threshold)
            .map(|(at, score)| Found { at, score })
            .collect();
        keep_best(&mut peaks, |found| (found.at, found.at + sound.len(), found.score));
        peaks
    }

    /// The best correlation that there is.
    #[must_use]
    pub fn best(&self, sound: &[i16]) -> f64 {
        self.scores(sound).into_iter().fold(0.0, f64::max)
    }

    fn scores(&self, sound: &[i16]) -> Vec<f64> {
        if sound.is_empty() || sound.len() > self.length {
            return Vec::new();
        }
        let mut product = vec![(0.0, 0.0); self.spectrum.len()];
        for (slot, sample) in product.iter_mut().zip(sound) {
            slot.0 = f64::from(*sample);
        }
        transform(&mut product, Direction::Forward);
        for (ours, theirs) in product.iter_mut().zip(&self.spectrum) {
            // The conjugate of the sound turns the convolution into a correlation.
            *ours = (
                theirs.0 * ours.0 + theirs.1 * ours.1,
                theirs.1 * ours.0 - theirs.0 * ours.1,
            );
        }
        transform(&mut product, Direction::Backward);
        let own: f64 = sound.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        let silent = SILENCE * SILENCE * sound.len() as f64;
        (0..=self.length - sound.len())
            .map(|at| {
                let place = self.energy[at + sound.len()] - self.energy[at];
                if place < silent || own < silent {
                    0.0
                } else {
                    product[at].0 / (own * place).sqrt()
                }
            })
            .collect()
    }
}

/// One uninterrupted stretch of a tone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// When it begins, in milliseconds from the start.
    pub start: f64,
    /// How long it lasts, in milliseconds.
    pub length: f64,
    /// Its frequency in Hz, measured.
    pub frequency: f64,
}

/// The stretches in which nothing but a tone of about `frequency` Hz is heard.
#[must_use]
pub fn bursts(recording: &[i16], frequency: f64) -> Vec<Burst> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let frames = (0..recording.len().saturating_sub(FRAME)).step_by(HOP);
    for start in frames.filter(|start| is_tone(&recording[*start..*start + FRAME], frequency)) {
        // The middle of a frame is what it speaks for.
        let (from, to) = (start + FRAME / 2 - HOP / 2, start + FRAME / 2 + HOP / 2);
        match found.last_mut() {
            Some((_, end)) if *end >= from => *end = to,
            _ => found.push((from, to)),
        }
    }
    let milliseconds = |samples: usize| samples as f64 * 1000.0 / f64::from(RATE);
    found
        .into_iter()
        .filter(|(from, to)| to - from >= MINIMUM)
        .map(|(from, to)| Burst {
            start: milliseconds(from),
            length: milliseconds(to - from),
            frequency: pitch(&recording[from..to], frequency),
        })
        .collect()
}

/// A tone to compare with: `on` milliseconds of sine and `off` milliseconds of silence, `times` over.
#[must_use]
pub fn tone(frequency: f64, on: u32, off: u32, times: u32) -> Vec<i16> {
    let samples = |milliseconds: u32| milliseconds * RATE / 1000;
    let burst = (0..samples(on)).map(|n| (f64::from(n) * TAU * frequency / f64::from(RATE)).sin() * 8000.0);
    let once: Vec<i16> = burst
        .map(|value| value as i16)
        .chain((0..samples(off)).map(|_| 0))
        .collect();
    once.repeat(times as usize)
}

/// Keeps the best of things that overlap, in order; `place` gives start, end and score.
pub(super) fn keep_best<T: Copy>(things: &mut Vec<T>, place: impl Fn(&T) -> (usize, usize, f64)) {
    things.sort_by(|a, b| place(b).2.total_cmp(&place(a).2));
    let mut kept: Vec<T> = Vec::new();
    for thing in things.iter() {
        let (start, end, _) = place(thing);
        if kept
            .iter()
            .map(&place)
            .all(|(other, until, _)| end <= other || until <= start)
        {
            kept.push(*thing);
        }
    }
    kept.sort_by_key(|thing| place(thing).0);
    *things = kept;
}

/// Whether most of the sound in a frame is at `frequency`.
fn is_tone(frame: &[i16], frequency: f64) -> bool {
    let energy: f64 = frame.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    // All the energy of a sine of N samples and amplitude A is N·A²/2; Goertzel's power of it is (N·A/2)².
    energy > LOUD * LOUD * frame.len() as f64 && power(frame, frequency) * 2.0 / frame.len() as f64 > PURITY * energy
}

/// Goertzel's algorithm: the power at one frequency.
fn power(samples: &[i16], frequency: f64) -> f64 {
    let factor = 2.0 * (TAU * frequency / f64::from(RATE)).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        (last, before) = (f64::from(*sample) + factor * last - before, last);
    }
    last * last + before * before - factor * last * before
}

/// The loudest frequency near `about`, to half a hertz.
fn pitch(samples: &[i16], about: f64) -> f64 {
    (-100..=100)
        .map(|step| about + f64::from(step) / 2.0)
        .max_by(|a, b| power(samples, *a).total_cmp(&power(samples, *b)))
        .expect("the range is not empty")
}

type Complex = (f64, f64);

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Forward,
    Backward,
}

/// The fast Fourier transform in place; the length is a power of two.
fn transform(values: &mut [Complex], direction: Direction) {
    let length = values.len();
    if length < 2 {
        return;
    }
    let bits = length.trailing_zeros();
    for index in 0..length {
        let mirrored = index.reverse_bits() >> (usize::BITS - bits);
        if mirrored > index {
            values.swap(index, mirrored);
        }
    }
    let sign = if direction == Direction::Forward { -1.0 } else { 1.0 };
    let mut half = 1;
    while half < length {
        let turns: Vec<Complex> = (0..half)
            .map(|k| (sign * TAU * k as f64 / (2 * half) as f64).sin_cos())
            .map(|(s, c)| (c, s))
            .collect();
        for block in values.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for ((a, b), turn) in low.iter_mut().zip(high).zip(&turns) {
                let turned = (b.0 * turn.0 - b.1 * turn.1, b.0 * turn.1 + b.1 * turn.0);
                (*a, *b) = ((a.0 + turned.0, a.1 + turned.1), (a.0 - turned.0, a.1 - turned.1));
            }
        }
        half *= 2;
    }
    if direction == Direction::Backward {
        for value in values {
            *value = (value.0 / length as f64, value.1 / length as f64);
        }
    }
}

/// Root mean square below which a place counts as silent.
const SILENCE: f64 = 100.0;
/// Root mean square above which a frame can be a tone.
const LOUD: f64 = 200.0;
/// The part of a frame's energy that a tone must have.
const PURITY: f64 = 0.85;
/// Samples of a frame in which a tone is looked for.
const FRAME: usize = 160;
/// Samples from frame to frame.
const HOP: usize = 20;
/// The shortest stretch of samples that counts.
const MINIMUM: usize = 400;

#[cfg(test)]
mod tests {
    use cusax_common::core::entropy::Seeded;

    use super::*;
    use crate::lab::g711::{from_ulaw, to_ulaw};

    fn noise(seed: &mut Seeded, length: usize, level: i16) -> Vec<i16> {
        (0..length)
            .map(|_| (seed.next_u64() % (2 * level as u64)) as i16 - level)
            .collect()
    }

    #[test]
    fn a_sound_is_found_where_it_is_at_another_level_and_through_g711() {
        let mut seed = Seeded::new(11);
        let sound = noise(&mut seed, 3000, 6000);
        let mut recording = noise(&mut seed, 20_000, 150);
        for place in [4321, 12_000] {
            for (slot, sample) in recording[place..].iter_mut().zip(&sound) {
                *slot = from_ulaw(to_ulaw(sample / 3));
            }
        }
        let found = Searchable::new(&recording).find(&sound, 0.95);
        assert_eq!(found.iter().map(|found| found.at).collect::<Vec<_>>(), [4321, 12_000]);
        assert!(
            found.iter().all(|found| found.score > 0.99 && found.score < 1.000_001),
            "{found:?}"
        );
    }

    #[test]
    fn another_sound_and_silence_are_not_found() {
        let mut seed = Seeded::new(12);
        let sound = noise(&mut seed, 3000, 6000);
        let other = noise(&mut seed, 20_000, 6000);
        assert!(Searchable::new(&other).best(&sound) < 0.3);
        assert!(Searchable::new(&[0; 20_000]).find(&sound, 0.95).is_empty());
        assert!(Searchable::new(&[]).find(&sound, 0.95).is_empty());
        assert!(Searchable::new(&sound).find(&[], 0.95).is_empty());
    }

    #[test]
    fn the_transform_undoes_itself() {
        let mut values: Vec<Complex> = (0..64).map(|n| (f64::from(n * n % 37), f64::from(n % 5))).collect();
        let before = values.clone();
        transform(&mut values, Direction::Forward);
        assert!(
            (values[0].0 - before.iter().map(|v| v.0).sum::<f64>()).abs() < 1e-9,
            "the first term is the sum"
        );
        transform(&mut values, Direction::Backward);
        for (a, b) in values.iter().zip(&before) {
            assert!((a.0 - b.0).abs() < 1e-9 && (a.1 - b.1).abs() < 1e-9);
        }
    }

    #[test]
    fn a_tone_is_measured_in_frequency_and_cadence() {
        for (frequency, on, off) in [(425.0, 200, 200), (937.0, 120, 300), (1633.0, 350, 90)] {
            let mut recording = vec![0; 4000];
            recording.extend(
                tone(frequency, on, off, 3)
                    .into_iter()
                    .map(|sample| from_ulaw(to_ulaw(sample))),
            );
            recording.extend([0; 4000]);
            let found = bursts(&recording, frequency);
            assert_eq!(found.len(), 3, "{frequency} Hz: {found:?}");
            for (number, burst) in (0..).zip(&found) {
                let start = 500.0 + f64::from(number * (on + off));
                assert!(
                    (burst.start - start).abs() <= 12.0,
                    "{frequency} Hz: {burst:?} should start at {start}"
                );
                assert!(
                    (burst.length - f64::from(on)).abs() <= 20.0,
                    "{frequency} Hz: {burst:?}"
                );
                assert!((burst.frequency - frequency).abs() <= 2.0, "{frequency} Hz: {burst:?}");
            }
        }
    }

    #[test]
    fn noise_and_other_tones_are_no_tone() {
        let mut seed = Seeded::new(13);
        assert_eq!(bursts(&noise(&mut seed, 16_000, 8000), 425.0), []);
        assert_eq!(bursts(&tone(700.0, 1000, 0, 1), 425.0), []);
        assert_eq!(bursts(&[0; 16_000], 425.0), []);
    }
}
