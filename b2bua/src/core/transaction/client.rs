//! Client transaction of every method but INVITE (RFC 3261 §17.1.2).
//!
//! # Use
//! Call one `handle_*` method, then drain [`poll_output`](NonInviteClient::poll_output), then read
//! [`poll_timeout`](NonInviteClient::poll_timeout). Instants never go backwards.
//!
//! # Invariants
//! - `Ended` is the last output and comes exactly once.
//! - No timer is armed once the machine has ended.

use std::time::{Duration, Instant};

use super::timer::{PATIENCE, T1, T2, T4, Timer, Timers};
use super::{Class, ClientOutput, Input, Outcome, Outputs, step};

/// One request that awaits its final response.
#[derive(Debug)]
pub struct NonInviteClient {
    state: State,
    timers: Timers,
    /// How long to wait before the next copy of the request.
    backoff: Duration,
    reliable: bool,
    outputs: Outputs<ClientOutput>,
}

impl NonInviteClient {
    /// Sends the request and starts to wait.
    #[must_use]
    pub fn new(now: Instant, reliable: bool) -> Self {
        let mut machine = Self {
            state: State::Trying,
            timers: Timers::default(),
            backoff: T1,
            reliable,
            outputs: Outputs::default(),
        };
        machine.outputs.push(ClientOutput::Transmit);
        machine.timers.arm(Timer::F, now + PATIENCE);
        if !reliable {
            machine.timers.arm(Timer::E, now + T1);
        }
        machine
    }

    /// Takes a response that was matched to this request.
    pub fn handle_response(&mut self, now: Instant, class: Class) {
        step(NAME, &self.state, &class);
        match (self.state, class) {
            (State::Trying | State::Proceeding, Class::Provisional) => {
                self.state = State::Proceeding;
                self.outputs.push(ClientOutput::Deliver);
            }
            (State::Trying | State::Proceeding, Class::Success | Class::Failure) => {
                self.outputs.push(ClientOutput::Deliver);
                self.timers.clear();
                if self.reliable {
                    return self.end(Outcome::Answered);
                }
                self.state = State::Completed;
                self.timers.arm(Timer::K, now + T4);
            }
            // Copies of a response that was delivered: absorb them.
            (State::Completed | State::Terminated, _) => {}
        }
    }

    /// Tells the machine that the transport gave up.
    pub fn handle_transport_failure(&mut self) {
        step(NAME, &self.state, &Input::TransportFailure);
        match self.state {
            State::Trying | State::Proceeding => self.end(Outcome::TransportFailed),
            State::Completed | State::Terminated => {}
        }
    }

    /// Tells the machine that time has come to `now`. Calling early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            step(NAME, &self.state, &timer);
            match timer {
                Timer::E => {
                    self.backoff = match self.state {
                        State::Proceeding => T2,
                        _ => T2.min(self.backoff * 2),
                    };
                    self.outputs.push(ClientOutput::Transmit);
                    // From `now`, not from the missed deadline: a driver that slept too long must not send a burst.
                    self.timers.arm(Timer::E, now + self.backoff);
                }
                Timer::F => self.end(Outcome::TimedOut),
                _ => self.end(Outcome::Answered), // K
            }
        }
    }

    /// The next thing to do, oldest first.
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
        self.outputs.pop()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted, and on whose account.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.timers.next()
    }

    /// Its state by name, and its timers.
    #[cfg(test)]
    pub(super) fn inside(&self) -> (String, &Timers) {
        (format!("{:?}", self.state), &self.timers)
    }

    fn end(&mut self, outcome: Outcome) {
        self.state = State::Terminated;
        self.timers.clear();
        self.outputs.push(ClientOutput::Ended(outcome));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was heard yet.
    Trying,
    /// A provisional response came.
    Proceeding,
    /// The final response was delivered; copies of it are absorbed.
    Completed,
    Terminated,
}

/// In what is traced.
const NAME: &str = "other client";

#[cfg(test)]
mod tests {
    use super::super::script::{ClientCase, run_client};
    use super::*;
    use Outcome::*;

    #[test]
    fn follows_rfc3261_17_1_2() {
        let cases = [
            ClientCase {
                name: "silence over UDP: eleven copies, then timer F",
                reliable: false,
                responses: &[],
                sends: &[0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500],
                delivers: &[],
                ends: (32_000, TimedOut),
                ..ClientCase::default()
            },
            ClientCase {
                name: "silence over TCP: one copy, the same timer F",
                reliable: true,
                sends: &[0],
                ends: (32_000, TimedOut),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a provisional slows the copies to T2",
                responses: &[(700, 100)],
                sends: &[0, 500, 1500, 5500, 9500, 13_500, 17_500, 21_500, 25_500, 29_500],
                delivers: &[700],
                ends: (32_000, TimedOut),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a final over UDP lingers for T4 and absorbs copies",
                responses: &[(700, 200), (1200, 200), (5600, 100)],
                sends: &[0, 500],
                delivers: &[700],
                ends: (5700, Answered),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a final over TCP ends at once",
                reliable: true,
                responses: &[(700, 404)],
                sends: &[0],
                delivers: &[700],
                ends: (700, Answered),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a late driver sends one copy, not a burst",
                wakes: &[20_000],
                sends: &[0, 20_000, 21_000, 23_000, 27_000, 31_000],
                ends: (32_000, TimedOut),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a driver that sleeps past timer F is told only of the end and one copy",
                wakes: &[90_000],
                sends: &[0, 90_000],
                ends: (90_000, TimedOut),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a dead transport ends the wait",
                fails_at: Some(900),
                sends: &[0, 500],
                ends: (900, TransportFailed),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a transport that dies after the final changes nothing",
                responses: &[(700, 200)],
                fails_at: Some(900),
                sends: &[0, 500],
                delivers: &[700],
                ends: (5700, Answered),
                ..ClientCase::default()
            },
        ];
        for case in cases {
            run_client(&case, NonInviteClient::new);
        }
    }
}
