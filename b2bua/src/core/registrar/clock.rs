//! The registrar's own time: whole milliseconds, so that the deadlines of many phones take little room.

use std::time::{Duration, Instant};

/// Milliseconds since the registrar was first told what time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(u64);

impl Tick {
    /// Later than any other.
    pub(super) const NEVER: Self = Self(u64::MAX);

    /// This time moved on by `by`.
    pub(super) fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// What a [`Tick`] is counted from.
#[derive(Debug, Default)]
pub(super) struct Clock(Option<Instant>);

impl Clock {
    /// What time it is; a millisecond that has begun does not count, so that no deadline is waited for in vain.
    pub(super) fn read(&mut self, now: Instant) -> Tick {
        let origin = *self.0.get_or_insert(now);
        Tick(millis(now.saturating_duration_since(origin)))
    }

    /// When it will be that time.
    pub(super) fn instant(&self, at: Tick) -> Option<Instant> {
        self.0?.checked_add(at.since(Tick(0)))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A timeout that were asked for a little too early would be asked for again and again.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "an arbitrary origin of simulated time")]
    fn at_the_instant_of_a_tick_it_is_that_tick() {
        let (mut clock, start) = (Clock::default(), Instant::now());
        assert_eq!(clock.instant(Tick(0)), None);
        assert_eq!(clock.read(start), Tick(0));
        for nanos in [0, 1, 999_999, 1_000_000, 1_500_000] {
            let at = clock
                .read(start + Duration::from_nanos(nanos))
                .after(Duration::from_secs(60));
            let instant = clock.instant(at).unwrap();
            assert_eq!(clock.read(instant), at);
            assert!(clock.read(instant - Duration::from_nanos(1)) < at);
        }
    }
}
