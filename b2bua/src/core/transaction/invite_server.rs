//! Server transaction of INVITE (RFC 3261 §17.2.1 with the Accepted state of RFC 6026 §7.1).
//!
//! The use and the invariants are those of [`client`](super::client).
//!
//! # Left out
//! - The 100 after 200 ms: the layer above asks for it, because an unauthenticated source must not be sent more than
//!   it sent us.
//! - Copies of a 2xx: they belong to the layer above this one, see [`answer`](super::answer).

use std::time::{Duration, Instant};

use super::timer::{PATIENCE, T1, T2, T4, Timer, Timers};
use super::{Class, Input, Late, Outcome, Outputs, ServerOutput, step};

/// One INVITE that we answer.
#[derive(Debug)]
pub struct InviteServer {
    state: State,
    timers: Timers,
    /// How long to wait before the next copy of a non-2xx final response.
    backoff: Duration,
    reliable: bool,
    outputs: Outputs<ServerOutput>,
}

impl InviteServer {
    /// Starts with the arrival of the INVITE.
    #[must_use]
    pub fn new(_now: Instant, reliable: bool) -> Self {
        Self {
            state: State::Proceeding { heard: Heard::Nothing },
            timers: Timers::default(),
            backoff: T1,
            reliable,
            outputs: Outputs::default(),
        }
    }

    /// Takes a copy of the INVITE.
    pub fn handle_copy(&mut self) {
        step(NAME, &self.state, &Input::Copy);
        match self.state {
            State::Proceeding {
                heard: Heard::Provisional,
            }
            | State::Completed => {
                self.outputs.push(ServerOutput::Transmit);
            }
            // RFC 6026 §7.1: the layer above sends its 2xx again without being asked.
            State::Proceeding { heard: Heard::Nothing } | State::Accepted | State::Confirmed | State::Terminated => {}
        }
    }

    /// Takes an ACK that was matched to this INVITE by its branch.
    pub fn handle_ack(&mut self, now: Instant) {
        step(NAME, &self.state, &Input::Ack);
        match self.state {
            State::Completed => {
                self.timers.clear();
                if self.reliable {
                    return self.end(Outcome::Answered);
                }
                self.state = State::Confirmed;
                self.timers.arm(Timer::I, now + T4);
            }
            State::Accepted => self.outputs.push(ServerOutput::Acknowledged),
            State::Proceeding { .. } | State::Confirmed | State::Terminated => {}
        }
    }

    /// Sends a response; a 2xx may be sent again while the machine is in the Accepted state.
    ///
    /// # Errors
    /// [`Late`] if another final response was sent before.
    pub fn respond(&mut self, now: Instant, class: Class) -> Result<(), Late> {
        step(NAME, &self.state, &class);
        match (self.state, class) {
            (State::Proceeding { .. }, Class::Provisional) => {
                self.state = State::Proceeding {
                    heard: Heard::Provisional,
                };
            }
            (State::Proceeding { .. }, Class::Success) => {
                self.state = State::Accepted;
                self.timers.arm(Timer::L, now + PATIENCE);
            }
            (State::Proceeding { .. }, Class::Failure) => {
                self.state = State::Completed;
                self.timers.arm(Timer::H, now + PATIENCE);
                if !self.reliable {
                    self.timers.arm(Timer::G, now + T1);
                }
            }
            (State::Accepted, Class::Success) => {}
            _ => return Err(Late),
        }
        self.outputs.push(ServerOutput::Transmit);
        Ok(())
    }

    /// Tells the machine that time has come to `now`. Calling early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            step(NAME, &self.state, &timer);
            match timer {
                Timer::G => {
                    self.backoff = T2.min(self.backoff * 2);
                    self.outputs.push(ServerOutput::Transmit);
                    self.timers.arm(Timer::G, now + self.backoff);
                }
                Timer::H => self.end(Outcome::TimedOut),
                _ => self.end(Outcome::Answered), // I and L
            }
        }
    }

    /// The next thing to do, oldest first.
    pub fn poll_output(&mut self) -> Option<ServerOutput> {
        self.outputs.pop()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted, and on whose account.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.timers.next()
    }

    /// Whether no final response was sent yet, so that a CANCEL still has an effect (RFC 3261 §9.2).
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    /// Its state by name, and its timers.
    #[cfg(test)]
    pub(super) fn inside(&self) -> (String, &Timers) {
        (format!("{:?}", self.state), &self.timers)
    }

    fn end(&mut self, outcome: Outcome) {
        self.state = State::Terminated;
        self.timers.clear();
        self.outputs.push(ServerOutput::Ended(outcome));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No final response was sent yet.
    Proceeding {
        heard: Heard,
    },
    /// A non-2xx final response was sent; it is sent again until its ACK comes.
    Completed,
    /// The ACK came; copies of it are absorbed.
    Confirmed,
    /// A 2xx was sent; copies of the INVITE are absorbed, and each ACK is handed on.
    Accepted,
    Terminated,
}

/// What the client was told so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    Provisional,
}

/// In what is traced.
const NAME: &str = "INVITE server";

#[cfg(test)]
mod tests {
    use super::super::script::{Do::*, ServerCase, run_server};
    use super::*;
    use Outcome::*;

    #[test]
    fn follows_rfc3261_17_2_1_and_rfc6026() {
        let cases = [
            ServerCase {
                name: "copies before any answer are absorbed, copies after a provisional bring it again",
                steps: &[(100, Copy), (200, Respond(180)), (500, Copy), (600, Respond(200))],
                sends: &[200, 500, 600],
                ends: (32_600, Answered),
                ..ServerCase::default()
            },
            ServerCase {
                name: "a failure over UDP goes out again by timer G until H",
                steps: &[(0, Respond(486))],
                sends: &[0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500],
                ends: (32_000, TimedOut),
                ..ServerCase::default()
            },
            ServerCase {
                name: "a failure over TCP goes out once and still waits for the ACK",
                reliable: true,
                steps: &[(0, Respond(486))],
                sends: &[0],
                ends: (32_000, TimedOut),
                ..ServerCase::default()
            },
            ServerCase {
                name: "the ACK stops the copies; more ACKs are absorbed for T4",
                steps: &[(0, Respond(486)), (700, Ack), (1200, Ack), (1300, Copy)],
                sends: &[0, 500],
                ends: (5700, Answered),
                ..ServerCase::default()
            },
            ServerCase {
                name: "over TCP the ACK ends it at once",
                reliable: true,
                steps: &[(0, Respond(486)), (700, Ack)],
                sends: &[0],
                ends: (700, Answered),
                ..ServerCase::default()
            },
            ServerCase {
                name: "a copy of the INVITE brings the failure again",
                steps: &[(0, Respond(486)), (400, Copy), (600, Ack)],
                sends: &[0, 400, 500],
                ends: (5600, Answered),
                ..ServerCase::default()
            },
            ServerCase {
                name: "after a 2xx copies are absorbed, the 2xx may be sent again, every ACK is handed on",
                steps: &[
                    (100, Respond(200)),
                    (500, Copy),
                    (600, Respond(200)),
                    (700, Ack),
                    (800, Ack),
                ],
                sends: &[100, 600],
                acknowledged: &[700, 800],
                ends: (32_100, Answered),
                ..ServerCase::default()
            },
            ServerCase {
                name: "no other answer after the final one",
                steps: &[(100, Respond(200)), (200, Respond(487)), (300, Respond(180))],
                sends: &[100],
                late: &[200, 300],
                ends: (32_100, Answered),
                ..ServerCase::default()
            },
            ServerCase {
                name: "a 2xx after the 487 is refused: the CANCEL won",
                reliable: true,
                steps: &[(100, Respond(487)), (200, Respond(200)), (300, Ack)],
                sends: &[100],
                late: &[200],
                ends: (300, Answered),
                ..ServerCase::default()
            },
            ServerCase {
                name: "an ACK before any final response is nothing",
                steps: &[(100, Ack), (200, Respond(404)), (300, Ack)],
                sends: &[200],
                ends: (5300, Answered),
                ..ServerCase::default()
            },
            ServerCase {
                name: "a late driver sends one copy, not a burst",
                steps: &[(0, Respond(486))],
                wakes: &[20_000],
                sends: &[0, 20_000, 21_000, 23_000, 27_000, 31_000],
                ends: (32_000, TimedOut),
                ..ServerCase::default()
            },
        ];
        for case in cases {
            run_server(&case, InviteServer::new);
        }
    }
}
