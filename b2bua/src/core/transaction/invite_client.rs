//! Client transaction of INVITE (RFC 3261 §17.1.1 with the Accepted state of RFC 6026 §7.2), and its CANCEL (§9.1).
//!
//! The use and the invariants are those of [`client`](super::client).
//!
//! # CANCEL
//! [`cancel`](InviteClient::cancel) may be called at any time. The machine asks for the CANCEL once a provisional
//! response has come, and not at all when a final response is there first: then the race is lost, and what to do about
//! a 2xx is for the layer above.
//!
//! # A limit that the RFC leaves to others
//! A UAC may wait for ever in Proceeding. Here timer C, which the RFC gives to proxies, cancels what rings too long
//! without a word, so that no peer can hold a transaction by silence.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use super::timer::{PATIENCE, RINGING, T1, Timer, Timers};
use super::{Class, ClientOutput, Input, Outcome, Outputs, step};

/// One INVITE that awaits its responses.
#[derive(Debug)]
pub struct InviteClient {
    state: State,
    timers: Timers,
    /// How long to wait before the next copy of the INVITE.
    backoff: Duration,
    reliable: bool,
    cancel: Cancel,
    outputs: Outputs<ClientOutput>,
}

impl InviteClient {
    /// Sends the INVITE and starts to wait.
    #[must_use]
    pub fn new(now: Instant, reliable: bool) -> Self {
        let mut machine = Self {
            state: State::Calling,
            timers: Timers::default(),
            backoff: T1,
            reliable,
            cancel: Cancel::No,
            outputs: Outputs::default(),
        };
        machine.outputs.push(ClientOutput::Transmit);
        machine.timers.arm(Timer::B, now + PATIENCE);
        if !reliable {
            machine.timers.arm(Timer::A, now + T1);
        }
        machine
    }

    /// Takes a response that was matched to this INVITE.
    pub fn handle_response(&mut self, now: Instant, class: Class) {
        step(NAME, &(self.state, self.cancel), &class);
        match (self.state, class) {
            (State::Calling | State::Proceeding, Class::Provisional) => {
                self.state = State::Proceeding;
                self.timers.disarm(Timer::A);
                self.timers.disarm(Timer::B);
                self.outputs.push(ClientOutput::Deliver);
                match self.cancel {
                    Cancel::Wanted => self.send_cancel(now),
                    Cancel::No => self.timers.arm(Timer::C, now + RINGING),
                    Cancel::Sent => {}
                }
            }
            (State::Calling | State::Proceeding, Class::Success) => {
                self.state = State::Accepted;
                self.timers.clear();
                self.timers.arm(Timer::M, now + PATIENCE);
                self.outputs.push(ClientOutput::Deliver);
            }
            (State::Calling | State::Proceeding, Class::Failure) => {
                self.state = State::Completed;
                self.timers.clear();
                self.outputs.push(ClientOutput::Acknowledge);
                self.outputs.push(ClientOutput::Deliver);
                if self.reliable {
                    return self.end(Outcome::Answered);
                }
                self.timers.arm(Timer::D, now + LINGER);
            }
            // A copy of the final response tells that our ACK was lost.
            (State::Completed, Class::Failure) => self.outputs.push(ClientOutput::AcknowledgeAgain),
            // Copies of a 2xx, and the 2xx of other branches (RFC 6026 §7.2).
            (State::Accepted, Class::Success) => self.outputs.push(ClientOutput::Deliver),
            (State::Completed | State::Accepted | State::Terminated, _) => {}
        }
    }

    /// Asks that the INVITE be cancelled as soon as that is allowed.
    pub fn cancel(&mut self, now: Instant) {
        step(NAME, &(self.state, self.cancel), &Input::Cancel);
        match (self.state, self.cancel) {
            (State::Calling, Cancel::No) => self.cancel = Cancel::Wanted,
            (State::Proceeding, Cancel::No) => self.send_cancel(now),
            _ => {}
        }
    }

    /// Tells the machine that the transport gave up.
    pub fn handle_transport_failure(&mut self) {
        step(NAME, &(self.state, self.cancel), &Input::TransportFailure);
        match self.state {
            State::Calling | State::Proceeding => self.end(Outcome::TransportFailed),
            // Only an ACK was left to send. The 2xx of a fork may still come by another way.
            State::Completed => self.end(Outcome::Answered),
            State::Accepted | State::Terminated => {}
        }
    }

    /// Tells the machine that time has come to `now`. Calling early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            step(NAME, &(self.state, self.cancel), &timer);
            match timer {
                Timer::A => {
                    self.backoff *= 2;
                    self.outputs.push(ClientOutput::Transmit);
                    self.timers.arm(Timer::A, now + self.backoff);
                }
                Timer::B | Timer::Cancelled => self.end(Outcome::TimedOut),
                Timer::C => self.send_cancel(now),
                _ => self.end(Outcome::Answered), // D and M
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

    /// Until when 2xx responses are handed on, once one has come.
    #[must_use]
    pub fn accepted_until(&self) -> Option<Instant> {
        let timer = self.poll_timeout()?;
        (self.state == State::Accepted).then_some(timer.0)
    }

    fn send_cancel(&mut self, now: Instant) {
        self.cancel = Cancel::Sent;
        self.timers.disarm(Timer::C);
        // A peer that never answers the INVITE after its CANCEL is given up (§9.1).
        self.timers.arm(Timer::Cancelled, now + PATIENCE);
        self.outputs.push(ClientOutput::Cancel);
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

/// Traces what an INVITE meets whose machine is gone because it was accepted.
pub(super) fn accepted_hears(input: &dyn Debug) {
    step(NAME, &State::Accepted, input);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was heard yet.
    Calling,
    /// A provisional response came.
    Proceeding,
    /// A non-2xx final response came and was acknowledged; copies of it are acknowledged again.
    Completed,
    /// A 2xx came; more may come.
    Accepted,
    Terminated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancel {
    No,
    /// Asked for before any response: it must wait for a provisional one (§9.1).
    Wanted,
    Sent,
}

/// Timer D over UDP: copies of a final response may arrive for so long (RFC 3261 table 4).
const LINGER: Duration = PATIENCE;

/// In what is traced.
const NAME: &str = "INVITE client";

#[cfg(test)]
mod tests {
    use super::super::script::{ClientCase, run_client};
    use super::*;
    use Outcome::*;

    #[test]
    fn follows_rfc3261_17_1_1_and_rfc6026() {
        let cases = [
            ClientCase {
                name: "silence over UDP: seven copies, each wait twice the last, then timer B",
                sends: &[0, 500, 1500, 3500, 7500, 15_500, 31_500],
                ends: (32_000, TimedOut),
                ..ClientCase::default()
            },
            ClientCase {
                name: "silence over TCP: one copy, then timer B",
                reliable: true,
                sends: &[0],
                ends: (32_000, TimedOut),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a provisional stops the copies, and B with them",
                responses: &[(600, 100), (50_000, 180), (60_000, 486)],
                sends: &[0, 500],
                delivers: &[600, 50_000, 60_000],
                acks: &[60_000],
                ends: (92_000, Answered),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a failure over UDP is delivered once, acknowledged each time, absorbed for 32 s",
                responses: &[(100, 404), (600, 404), (1600, 404), (20_000, 180)],
                sends: &[0],
                delivers: &[100],
                acks: &[100, 600, 1600],
                ends: (32_100, Answered),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a failure over TCP is acknowledged and ends at once",
                reliable: true,
                responses: &[(100, 404)],
                sends: &[0],
                delivers: &[100],
                acks: &[100],
                ends: (100, Answered),
                ..ClientCase::default()
            },
            ClientCase {
                name: "every 2xx is delivered for 64*T1, none is acknowledged here",
                responses: &[(100, 200), (600, 200), (1600, 200), (2000, 180), (3000, 486)],
                sends: &[0],
                delivers: &[100, 600, 1600],
                ends: (32_100, Answered),
                ..ClientCase::default()
            },
            ClientCase {
                name: "the Accepted state is the same over TCP",
                reliable: true,
                responses: &[(100, 200), (32_000, 200)],
                sends: &[0],
                delivers: &[100, 32_000],
                ends: (32_100, Answered),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a CANCEL before any response waits for a provisional, and copies of the INVITE go on",
                cancels: &[200],
                responses: &[(1600, 100), (1700, 487)],
                sends: &[0, 500, 1500],
                delivers: &[1600, 1700],
                acks: &[1700],
                cancel_sent: &[1600],
                ends: (33_700, Answered),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a CANCEL while it rings goes out at once, and only once",
                cancels: &[1000, 1100],
                responses: &[(600, 180), (1200, 180), (1300, 487)],
                sends: &[0, 500],
                delivers: &[600, 1200, 1300],
                acks: &[1300],
                cancel_sent: &[1000],
                ends: (33_300, Answered),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a CANCEL that crosses a 2xx loses",
                cancels: &[200, 700],
                responses: &[(300, 200)],
                sends: &[0],
                delivers: &[300],
                ends: (32_300, Answered),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a 2xx after the CANCEL was sent is delivered",
                cancels: &[200],
                responses: &[(100, 180), (300, 200)],
                sends: &[0],
                delivers: &[100, 300],
                cancel_sent: &[200],
                ends: (32_300, Answered),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a CANCEL that stays without effect ends after 64*T1",
                cancels: &[1000],
                responses: &[(100, 180), (20_000, 180)],
                sends: &[0],
                delivers: &[100, 20_000],
                cancel_sent: &[1000],
                ends: (33_000, TimedOut),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a CANCEL of an INVITE that nobody ever answers is never sent",
                cancels: &[200],
                sends: &[0, 500, 1500, 3500, 7500, 15_500, 31_500],
                ends: (32_000, TimedOut),
                ..ClientCase::default()
            },
            ClientCase {
                name: "what rings for three minutes without a word is cancelled by timer C",
                responses: &[(100, 180), (100_000, 183)],
                sends: &[0],
                delivers: &[100, 100_000],
                cancel_sent: &[280_000],
                ends: (312_000, TimedOut),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a late driver sends one copy, not a burst",
                wakes: &[20_000],
                sends: &[0, 20_000, 21_000, 23_000, 27_000],
                ends: (32_000, TimedOut),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a dead transport ends the wait",
                responses: &[(100, 180)],
                fails_at: Some(900),
                sends: &[0],
                delivers: &[100],
                ends: (900, TransportFailed),
                ..ClientCase::default()
            },
            ClientCase {
                name: "a transport that dies after a 2xx changes nothing",
                responses: &[(100, 200)],
                fails_at: Some(900),
                sends: &[0],
                delivers: &[100],
                ends: (32_100, Answered),
                ..ClientCase::default()
            },
        ];
        for case in cases {
            run_client(&case, InviteClient::new);
        }
    }
}
