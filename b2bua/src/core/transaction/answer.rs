//! Sends a 2xx to INVITE again until its ACK comes (RFC 3261 §13.3.1.4 as RFC 6026 §8.1 has it).
//!
//! Over every transport alike: a later hop may lose what ours does not.
//!
//! The use and the invariants are those of [`client`](super::client).

use std::time::{Duration, Instant};

use super::timer::{PATIENCE, T1, T2, Timer, Timers};
use super::{Input, Outputs, step};

/// One 2xx that awaits its ACK. The first copy was sent by the server transaction.
#[derive(Debug)]
pub struct Answer {
    timers: Timers,
    /// How long to wait before the next copy.
    backoff: Duration,
    outputs: Outputs<AnswerOutput>,
}

impl Answer {
    /// Starts with the first copy.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let mut timers = Timers::default();
        timers.arm(Timer::Again, now + T1);
        timers.arm(Timer::Unacknowledged, now + PATIENCE);
        Self {
            timers,
            backoff: T1,
            outputs: Outputs::default(),
        }
    }

    /// The ACK came, or the call is over: no more copies.
    pub fn settle(&mut self) {
        step(NAME, &format_args!("Waiting"), &Input::Ack);
        self.timers.clear();
    }

    /// Tells the machine that time has come to `now`. Calling early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            step(NAME, &format_args!("Waiting"), &timer);
            if timer == Timer::Again {
                self.backoff = T2.min(self.backoff * 2);
                self.outputs.push(AnswerOutput::Transmit);
                self.timers.arm(Timer::Again, now + self.backoff);
            } else {
                self.timers.clear();
                self.outputs.push(AnswerOutput::Failed);
            }
        }
    }

    /// The next thing to do, oldest first.
    pub fn poll_output(&mut self) -> Option<AnswerOutput> {
        self.outputs.pop()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted, and on whose account.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.timers.next()
    }
}

/// What is to be done for an [`Answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerOutput {
    /// Send the 2xx again.
    Transmit,
    /// No ACK came: the dialog is to be ended with a BYE.
    Failed,
}

/// In what is traced.
const NAME: &str = "2xx";

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an arbitrary origin of simulated time")]
mod tests {
    use super::*;

    #[test]
    fn follows_rfc3261_13_3_1_4() {
        type Case = (&'static str, Option<u64>, &'static [u64], Option<u64>);
        let cases: [Case; 3] = [
            (
                "no ACK: copies from T1 to T2 apart, then failure",
                None,
                &[500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500],
                Some(32_000),
            ),
            ("an ACK stops the copies", Some(1600), &[500, 1500], None),
            ("an ACK before the first copy", Some(100), &[], None),
        ];
        for (name, ack, sends, fails) in cases {
            let epoch = Instant::now();
            let mut answer = Answer::new(epoch);
            let (mut sent, mut failed) = (Vec::new(), None);
            while let Some((at, _)) = answer.poll_timeout() {
                let ms = (at - epoch).as_millis() as u64;
                if ack.is_some_and(|ack| ack <= ms) {
                    answer.settle();
                }
                answer.handle_timeout(at);
                let next = answer.poll_timeout();
                assert!(
                    next.is_none_or(|(next, _)| next > at),
                    "{name}: a timer that was due stays armed"
                );
                while let Some(output) = answer.poll_output() {
                    match output {
                        AnswerOutput::Transmit => sent.push(ms),
                        AnswerOutput::Failed => failed = Some(ms),
                    }
                }
            }
            assert_eq!((sent.as_slice(), failed), (sends, fails), "{name}");
        }
    }
}
