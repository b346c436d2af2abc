//! Where cores draw tags, branches, nonces and identifiers from.

/// A source of bytes that a stranger cannot predict.
///
/// The service draws from the operating system (`io::clock`); tests draw from [`Seeded`].
pub trait Entropy {
    /// Fills the whole buffer.
    fn fill(&mut self, buffer: &mut [u8]);

    /// A token of `BYTES` random bytes as lower-case hexadecimal digits.
    ///
    /// Tags need at least 32 random bits (RFC 3261 §19.3); ours have 64 or more.
    fn token<const BYTES: usize>(&mut self) -> String
    where
        Self: Sized,
    {
        hex(&self.bytes::<BYTES>())
    }

    /// An array of random bytes.
    fn bytes<const BYTES: usize>(&mut self) -> [u8; BYTES]
    where
        Self: Sized,
    {
        let mut buffer = [0; BYTES];
        self.fill(&mut buffer);
        buffer
    }
}

/// Lower-case hexadecimal digits of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for pair in bytes.iter().map(|&byte| hex_pair(byte)) {
        pair.into_iter().for_each(|digit| text.push(digit.into()));
    }
    text
}

/// The two digits of one byte. The formatter of the standard library takes many times as long, and every message has
/// several texts of these.
#[must_use]
pub fn hex_pair(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// A repeatable source for tests and simulations (SplitMix64). Never for the service itself.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// The same seed gives the same bytes for ever.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_two_digits() {
        for byte in 0..=u8::MAX {
            assert_eq!(hex(&[byte]), format!("{byte:02x}"));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_tokens() {
        let (mut a, mut b, mut c) = (Seeded::new(7), Seeded::new(7), Seeded::new(8));
        let token = a.token::<16>();
        assert_eq!(token, b.token::<16>());
        assert_eq!(token.len(), 32);
        assert_ne!(token, c.token::<16>());
        assert_ne!(token, a.token::<16>());
    }
}
