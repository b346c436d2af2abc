//! A network that loses, doubles, delays and reorders, as one seed says.

use std::time::Duration;

use cusax_common::core::entropy::Seeded;

/// What the network does to datagrams. All zero is a perfect one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// How many of a thousand are lost.
    pub loss: u64,
    /// How many of a thousand arrive twice.
    pub doubling: u64,
    /// Each one takes from zero to this long, so later ones may overtake.
    pub delay: Duration,
}

impl Weather {
    /// A poor mobile network.
    #[must_use]
    pub fn storm() -> Self {
        Self {
            loss: 100,
            doubling: 50,
            delay: Duration::from_millis(120),
        }
    }

    /// When the copies of one datagram arrive, counted from now: none, one or two.
    pub fn arrivals(&self, entropy: &mut Seeded) -> Vec<Duration> {
        let copies = match entropy.next_u64() % 1000 {
            roll if roll < self.loss => 0,
            roll if roll < self.loss + self.doubling => 2,
            _ => 1,
        };
        let spread = u64::try_from(self.delay.as_micros()).unwrap_or(u64::MAX).max(1);
        (0..copies)
            .map(|_| LATENCY + Duration::from_micros(entropy.next_u64() % spread))
            .collect()
    }
}

/// The least that a datagram takes.
const LATENCY: Duration = Duration::from_millis(1);
