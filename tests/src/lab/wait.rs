//! Waiting on a condition of the outside world: it is asked again and again, and never longer than told.
#![expect(
    clippy::disallowed_methods,
    reason = "other programs give no event to wait on, so they are asked at short intervals by the real clock"
)]

use std::time::{Duration, Instant};

use super::{Fault, Result};

/// Asks `condition` until it gives a value.
///
/// # Errors
/// When `limit` has passed without one; `what` says what was waited for.
pub fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    until_ok(what, limit, || Ok(condition()))
}

/// Like [`until`], for a condition that can fail for good.
///
/// # Errors
/// Also those of `condition`.
pub fn until_ok<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if start.elapsed() >= limit {
            return Err(Fault::new(format_args!(
                "waited {:.1} s for {what}",
                limit.as_secs_f64()
            )));
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Lets real time pass: only where the passing itself is the point (sound must be heard for a while).
pub fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// The time of day, as captures and logs note it, since 1970.
#[must_use]
pub fn wall() -> Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}

/// The monotonic clock, for telling how long something took.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// How often a condition is asked.
const INTERVAL: Duration = Duration::from_millis(15);
