//! The real clocks and the real entropy. Everything else gets them as arguments.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the clocks of the system"
)]

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

/// The entropy of the operating system.
#[derive(Clone, Debug)]
pub struct SystemEntropy(SystemRandom);

impl SystemEntropy {
    /// The source; it holds no state of its own.
    #[must_use]
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    /// # Panics
    /// If the operating system has no randomness to give. Going on with guessable tags and nonces would be worse.
    fn fill(&mut self, buffer: &mut [u8]) {
        self.0
            .fill(buffer)
            .expect("the operating system always has randomness once it has booted");
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
}
