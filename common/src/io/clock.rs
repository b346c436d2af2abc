//! The real clocks and the real entropy. Everything else gets them as arguments.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the clocks of the system"
)]

use std::fmt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ring::rand::{SecureRandom, SystemRandom};

use crate::core::entropy::Entropy;
use crate::core::time::{Now, Wall};

/// Reads both clocks.
///
/// A wall clock before 1970 reads as 1970.
#[must_use]
pub fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        instant: Instant::now(),
        wall: Wall(0).after(wall),
    }
}

/// The entropy of the operating system, asked for a supply at a time: every message needs a few bytes of it, and to ask
/// for each costs more than to write the message.
///
/// No copy can be made, since two with one supply would draw the same.
pub struct SystemEntropy {
    source: SystemRandom,
    supply: [u8; SUPPLY],
    /// How many bytes of the supply are still good; they stand in front.
    left: usize,
}

/// How many bytes are asked for at a time.
const SUPPLY: usize = 512;

impl SystemEntropy {
    /// The source, with no supply yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            source: SystemRandom::new(),
            supply: [0; SUPPLY],
            left: 0,
        }
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

/// Without the supply, which is secret.
impl fmt::Debug for SystemEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SystemEntropy")
    }
}

impl Entropy for SystemEntropy {
    /// # Panics
    /// If the operating system has no randomness to give. Going on with guessable tags and nonces would be worse.
    fn fill(&mut self, buffer: &mut [u8]) {
        for part in buffer.chunks_mut(SUPPLY) {
            if self.left < part.len() {
                self.source
                    .fill(&mut self.supply)
                    .expect("the operating system always has randomness once it has booted");
                self.left = SUPPLY;
            }
            let taken = &mut self.supply[self.left - part.len()..self.left];
            part.copy_from_slice(taken);
            // What was given away is found nowhere afterwards.
            taken.fill(0);
            self.left -= part.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_move_forward_and_the_entropy_does_not_repeat() {
        let (before, after) = (now(), now());
        assert!(before.instant <= after.instant);
        assert!(before.wall.seconds() > 1_700_000_000, "{before:?}");
        let mut entropy = SystemEntropy::new();
        assert_ne!(entropy.bytes::<16>(), entropy.bytes::<16>());
    }

    #[test]
    fn a_supply_is_given_away_once_and_longer_wishes_than_one_are_met() {
        let mut entropy = SystemEntropy::new();
        let drawn: Vec<[u8; 16]> = (0..4 * SUPPLY / 16).map(|_| entropy.bytes()).collect();
        let distinct: std::collections::BTreeSet<_> = drawn.iter().collect();
        assert_eq!(distinct.len(), drawn.len());
        assert!(!drawn.contains(&[0; 16]));
        let mut long = [0; 3 * SUPPLY + 5];
        entropy.fill(&mut long);
        assert!(long.chunks(16).all(|part| part.len() < 16 || part != [0; 16]));
        assert!(entropy.supply[entropy.left..].iter().all(|byte| *byte == 0));
    }
}
