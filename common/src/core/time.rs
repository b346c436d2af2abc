//! Time as an argument.

use std::time::{Duration, Instant};

/// One reading of both clocks. Only shells make one from the system; tests make their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For deadlines. Never goes backwards.
    pub instant: Instant,
    /// For records and nonces.
    pub wall: Wall,
}

impl Now {
    /// Both clocks moved on by `by`.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self {
            instant: self.instant + by,
            wall: self.wall.after(by),
        }
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Wall(pub u64);

impl Wall {
    /// This time moved on by `by`.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }
}
