//! Server transaction of every method but INVITE (RFC 3261 §17.2.2).
//!
//! The use and the invariants are those of [`client`](super::client).
//!
//! # A limit that the RFC leaves to others
//! The layer above should answer soon. When it does not, the transaction ends with the client's patience (timer F):
//! an answer after that would reach nobody (RFC 4320 §1.2).

use std::time::Instant;

use super::timer::{PATIENCE, Timer, Timers};
use super::{Class, Input, Late, Outcome, Outputs, ServerOutput, step};

/// One request that we answer.
#[derive(Debug)]
pub struct NonInviteServer {
    state: State,
    timers: Timers,
    reliable: bool,
    outputs: Outputs<ServerOutput>,
}

impl NonInviteServer {
    /// Starts with the arrival of the request.
    #[must_use]
    pub fn new(now: Instant, reliable: bool) -> Self {
        let mut machine = Self {
            state: State::Trying,
            timers: Timers::default(),
            reliable,
            outputs: Outputs::default(),
        };
        machine.timers.arm(Timer::F, now + PATIENCE);
        machine
    }

    /// Takes a copy of the request.
    pub fn handle_copy(&mut self) {
        step(NAME, &self.state, &Input::Copy);
        match self.state {
            State::Proceeding => self.outputs.push(ServerOutput::Transmit),
            State::Trying | State::Terminated => {}
        }
    }

    /// Sends a response.
    ///
    /// # Errors
    /// [`Late`] if the final response was sent before.
    pub fn respond(&mut self, now: Instant, class: Class) -> Result<(), Late> {
        step(NAME, &self.state, &class);
        match (self.state, class) {
            (State::Trying | State::Proceeding, Class::Provisional) => {
                self.state = State::Proceeding;
                self.outputs.push(ServerOutput::Transmit);
            }
            (State::Trying | State::Proceeding, Class::Success | Class::Failure) => {
                self.timers.clear();
                self.outputs.push(ServerOutput::Transmit);
                self.state = State::Terminated;
                self.outputs.push(if self.reliable {
                    ServerOutput::Ended(Outcome::Answered)
                } else {
                    ServerOutput::Remember { until: now + PATIENCE }
                });
            }
            (State::Terminated, _) => return Err(Late),
        }
        Ok(())
    }

    /// Tells the machine that time has come to `now`. Calling early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        // F is all that it has.
        if let Some(timer) = self.timers.pop_due(now) {
            step(NAME, &self.state, &timer);
            self.state = State::Terminated;
            self.outputs.push(ServerOutput::Ended(Outcome::TimedOut));
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

    /// Its state by name, and its timers.
    #[cfg(test)]
    pub(super) fn inside(&self) -> (String, &Timers) {
        (format!("{:?}", self.state), &self.timers)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was answered yet; copies of the request are absorbed.
    Trying,
    /// A provisional response was sent; copies of the request bring it again.
    Proceeding,
    /// The final response was sent; what is left to do ([`ServerOutput::Remember`]) needs no machine.
    Terminated,
}

/// In what is traced.
const NAME: &str = "other server";

#[cfg(test)]
mod tests {
    use super::super::script::{Do::*, ServerCase, run_server};
    use super::*;
    use Outcome::*;

    #[test]
    fn follows_rfc3261_17_2_2() {
        let cases = [
            ServerCase {
                name: "copies before any answer are absorbed",
                steps: &[(500, Copy), (1500, Copy)],
                ends: (32_000, TimedOut),
                ..ServerCase::default()
            },
            ServerCase {
                name: "copies bring the last response again; after the final it is remembered for 64*T1",
                steps: &[(100, Respond(100)), (500, Copy), (900, Respond(200)), (1500, Copy)],
                sends: &[100, 500, 900],
                ends: (32_900, Answered),
                ..ServerCase::default()
            },
            ServerCase {
                name: "over TCP the final ends it at once",
                reliable: true,
                steps: &[(900, Respond(404))],
                sends: &[900],
                ends: (900, Answered),
                ..ServerCase::default()
            },
            ServerCase {
                name: "a second final is refused and not sent",
                steps: &[(100, Respond(200)), (200, Respond(500)), (300, Respond(100))],
                sends: &[100],
                late: &[200, 300],
                ends: (32_100, Answered),
                ..ServerCase::default()
            },
            ServerCase {
                name: "what is never answered ends with the client's patience",
                steps: &[(100, Respond(100))],
                sends: &[100],
                ends: (32_000, TimedOut),
                ..ServerCase::default()
            },
        ];
        for case in cases {
            run_server(&case, NonInviteServer::new);
        }
    }
}
