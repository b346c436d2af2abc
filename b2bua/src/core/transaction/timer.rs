//! The timers of transactions, under the letters that their documents give them (RFC 3261 table 4, RFC 6026 §8.12).

use std::time::{Duration, Instant};

use smallvec::SmallVec;

/// An estimate of the time to a peer and back; the unit of all other times (RFC 3261 §17.1.1.1).
pub const T1: Duration = Duration::from_millis(500);
/// The longest wait between two copies, INVITE excepted.
pub const T2: Duration = Duration::from_secs(4);
/// How long a message may stay on its way.
pub const T4: Duration = Duration::from_secs(5);
/// How long a transaction tries, and how long copies of its messages may arrive.
pub const PATIENCE: Duration = T1.saturating_mul(64);
/// How long an INVITE may stay without a final or a new provisional response (RFC 3261 §16.6 item 11).
pub const RINGING: Duration = Duration::from_secs(180);

/// Why a machine wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// Send the INVITE again.
    A,
    /// Stop waiting for any response to the INVITE.
    B,
    /// Stop waiting for the final response to the INVITE.
    C,
    /// Stop absorbing copies of a non-2xx response to the INVITE.
    D,
    /// Send the request again.
    E,
    /// Stop waiting for the final response.
    F,
    /// Send the non-2xx response to the INVITE again.
    G,
    /// Stop waiting for the ACK to a non-2xx response.
    H,
    /// Stop absorbing copies of the ACK.
    I,
    /// Stop absorbing copies of the request.
    J,
    /// Stop absorbing copies of the final response.
    K,
    /// Stop absorbing copies of the INVITE that was answered with a 2xx.
    L,
    /// Stop handing on 2xx responses to the INVITE.
    M,
    /// Stop waiting for the final response to an INVITE that was cancelled (RFC 3261 §9.1).
    Cancelled,
    /// Send the 2xx response again (RFC 3261 §13.3.1.4).
    Again,
    /// Stop waiting for the ACK to a 2xx response.
    Unacknowledged,
}

/// The armed timers of one machine.
#[derive(Clone, Debug, Default)]
pub struct Timers(SmallVec<[(Timer, Instant); 2]>);

impl Timers {
    /// Arms a timer, anew if it was armed.
    pub fn arm(&mut self, timer: Timer, at: Instant) {
        self.disarm(timer);
        self.0.push((timer, at));
    }

    /// Disarms a timer.
    pub fn disarm(&mut self, timer: Timer) {
        self.0.retain(|&mut (armed, _)| armed != timer);
    }

    /// Disarms all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The earliest timer.
    #[must_use]
    pub fn next(&self) -> Option<(Instant, Timer)> {
        self.0.iter().map(|&(timer, at)| (at, timer)).min()
    }

    /// Those that are armed.
    #[cfg(test)]
    pub(super) fn armed(&self) -> Vec<Timer> {
        self.0.iter().map(|&(timer, _)| timer).collect()
    }

    /// Disarms and returns the earliest timer due by `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = self.next()?;
        (at <= now).then(|| {
            self.disarm(timer);
            timer
        })
    }
}
