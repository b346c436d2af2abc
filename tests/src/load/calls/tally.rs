//! What came of a lot of calls, or of messages within calls.

use std::collections::BTreeMap;

/// The counts of one run.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Tally {
    /// Begun: calls, messages within calls, or endings.
    pub begun: u32,
    /// Went as they should.
    pub done: u32,
    /// Answered otherwise, by status.
    pub refused: BTreeMap<u16, u32>,
    /// Without an answer to the end.
    pub unanswered: u32,
    /// Ended by the device before their time.
    pub dropped: u32,
    /// Not begun in their turn since the same call still waited for an answer.
    pub overrun: u32,
    /// Of the calls, those that were challenged.
    pub challenged: u32,
    /// Messages sent again.
    pub retransmitted: u32,
    /// Seconds from the first message to the last answer.
    pub seconds: f64,
    /// Processor seconds of the generator meanwhile.
    pub own_cpu: f64,
    /// How long the device took to bring INVITEs to their callees and the 180s back.
    pub delay: Delay,
}

/// Of many calls, in microseconds.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Delay {
    /// How many calls it was measured for: those that were neither challenged nor sent anything again.
    pub samples: usize,
    /// Half of them took no longer.
    pub p50: f64,
    /// All but a hundredth of them took no longer.
    pub p99: f64,
}

impl Delay {
    /// Of these, in nanoseconds.
    #[must_use]
    pub fn of(mut delays: Vec<i64>) -> Self {
        delays.sort_unstable();
        let at = |share: f64| {
            let index = (share * delays.len().saturating_sub(1) as f64).round() as usize;
            delays.get(index).map_or(0.0, |delay| *delay as f64 / 1000.0)
        };
        Self {
            samples: delays.len(),
            p50: at(0.5),
            p99: at(0.99),
        }
    }
}

impl Tally {
    /// How many did not go as they should.
    #[must_use]
    pub fn failed(&self) -> u32 {
        self.begun - self.done.min(self.begun) + self.overrun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_few_and_of_none() {
        let delay = Delay::of((1..=100).rev().map(|number| number * 1000).collect());
        assert_eq!((delay.samples, delay.p50, delay.p99), (100, 51.0, 99.0));
        assert_eq!(Delay::of(Vec::new()).p99, 0.0);
    }
}
