//! Provisional responses that must arrive (RFC 3262): ours toward a caller, and those that our INVITEs get.
//!
//! Two small machines, each for one early dialog. The first repeats a response of ours until its PRACK comes, and keeps
//! the next one back until then (§3). The second takes the responses of a peer in their order, each once (§4).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use cusax_common::core::entropy::Entropy;
use cusax_common::core::sip::typed::{RAck, RSeq, Require};
use cusax_common::core::sip::{Method, Response};

/// Our responses to one caller.
///
/// # Invariant
/// At most one response is unacknowledged.
#[derive(Debug, Default)]
pub struct Sending {
    last: Option<u32>,
    out: Option<Box<Unheard>>,
    /// What waits for its turn.
    queue: VecDeque<Provisional>,
    /// What was repeated until the final answer: its PRACK may still be on the way (§3).
    stale: Option<u32>,
}

/// A response to be sent so that it arrives.
#[derive(Clone, Debug)]
pub struct Provisional {
    /// Without `RSeq`.
    pub response: Response,
    /// Whether it holds a session description: no 2xx may overtake that (§3).
    pub describes: bool,
}

#[derive(Debug)]
struct Unheard {
    provisional: Provisional,
    rseq: u32,
    repeat: Instant,
    wait: Duration,
    give_up: Instant,
}

/// What came due.
#[derive(Debug)]
pub enum Due {
    /// Send this again.
    Repeat(Response),
    /// Nobody acknowledged; the INVITE is to be refused with 5xx.
    GivenUp,
}

/// A PRACK for nothing that waits for one: answered 481.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

impl Sending {
    /// Takes a response, and gives it back with its `RSeq` when it may go at once. Too many are forgotten: what rings
    /// eight times need not be told of the ninth.
    pub fn send(&mut self, now: Instant, entropy: &mut impl Entropy, provisional: Provisional) -> Option<Response> {
        if self.out.is_some() {
            if self.queue.len() < MAX_QUEUED || provisional.describes {
                self.queue.push_back(provisional);
            }
            return None;
        }
        Some(self.release(now, entropy, provisional))
    }

    fn release(&mut self, now: Instant, entropy: &mut impl Entropy, mut provisional: Provisional) -> Response {
        let rseq = match self.last {
            Some(last) => last + 1,
            // Far from the end of the range: there are few responses to one INVITE.
            None => 1 + (u32::from_be_bytes(entropy.bytes()) >> 2),
        };
        self.last = Some(rseq);
        provisional.response.headers.replace(&Require::of(&["100rel"]));
        provisional.response.headers.replace(&RSeq(rseq));
        let response = provisional.response.clone();
        self.out = Some(Box::new(Unheard {
            provisional,
            rseq,
            repeat: now + T1,
            wait: T1,
            give_up: now + 64 * T1,
        }));
        response
    }

    /// A PRACK came. Tells what to send next, and whether the acknowledged response had a description.
    ///
    /// # Errors
    /// [`Unknown`] when nothing waits for it.
    pub fn handle_prack(
        &mut self,
        now: Instant,
        entropy: &mut impl Entropy,
        rack: &RAck,
        invite: u32,
    ) -> Result<Option<Response>, Unknown> {
        if rack.cseq.seq != invite || rack.cseq.method != Method::Invite {
            return Err(Unknown);
        }
        if self.stale.take_if(|stale| *stale == rack.rseq).is_some() {
            return Ok(None);
        }
        self.out.take_if(|out| out.rseq == rack.rseq).ok_or(Unknown)?;
        let next = self.queue.pop_front();
        Ok(next.map(|next| self.release(now, entropy, next)))
    }

    /// Whether a 2xx has to wait for a PRACK.
    #[must_use]
    pub fn holds_answer(&self) -> bool {
        self.out.as_ref().is_some_and(|out| out.provisional.describes)
            || self.queue.iter().any(|provisional| provisional.describes)
    }

    /// The INVITE has its final answer: nothing is repeated any more.
    pub fn stop(&mut self) {
        self.stale = self.out.take().map(|out| out.rseq);
        self.queue.clear();
    }

    /// Tells what came due at `now`. Calling early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Due> {
        let out = self.out.as_mut()?;
        if now >= out.give_up {
            self.stop();
            return Some(Due::GivenUp);
        }
        if now < out.repeat {
            return None;
        }
        out.wait *= 2;
        out.repeat = now + out.wait;
        Some(Due::Repeat(out.provisional.response.clone()))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.out.as_ref().map(|out| out.repeat.min(out.give_up))
    }
}

/// The responses of one peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Receiving {
    last: Option<u32>,
}

impl Receiving {
    /// The PRACK header for a response that came in its turn; none for one that is a copy, came too early, or asks for
    /// no PRACK.
    pub fn take(&mut self, response: &Response) -> Taken {
        let code = response.status.code();
        let required = Require::find(&response.headers, "100rel") == Ok(Some(true));
        let rseq = response.headers.opt::<RSeq>();
        let (true, true, Ok(Some(RSeq(rseq)))) = ((101..200).contains(&code), required, rseq) else {
            return Taken::Unreliable;
        };
        if self.last.is_some_and(|last| last.checked_add(1) != Some(rseq)) {
            return Taken::OutOfOrder;
        }
        let Ok(cseq) = response.headers.cseq() else {
            return Taken::OutOfOrder;
        };
        self.last = Some(rseq);
        Taken::InOrder(RAck { rseq, cseq })
    }
}

/// What a provisional response is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// One that may be lost.
    Unreliable,
    /// One that wants this PRACK.
    InOrder(RAck),
    /// A copy, or one before its turn: not to be heard (§4).
    OutOfOrder,
}

/// RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);
/// The most responses that wait behind an unacknowledged one.
const MAX_QUEUED: usize = 8;

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "an arbitrary origin of simulated time")]

    use cusax_common::core::entropy::Seeded;
    use cusax_common::core::sip::typed::CSeq;
    use cusax_common::core::sip::{HeaderName, Status, Value};

    use super::*;

    fn provisional(code: u16, describes: bool) -> Provisional {
        Provisional {
            response: Response::new(Status::new(code).unwrap()),
            describes,
        }
    }

    fn rack(response: &Response, invite: u32) -> RAck {
        let RSeq(rseq) = response.headers.one().unwrap();
        RAck {
            rseq,
            cseq: CSeq::new(invite, Method::Invite),
        }
    }

    /// RFC 3262 §3: T1, doubled each time, for 64*T1.
    #[test]
    fn a_response_is_repeated_until_its_prack() {
        let (start, mut entropy) = (Instant::now(), Seeded::new(1));
        let mut sending = Sending::default();
        let sent = sending.send(start, &mut entropy, provisional(180, false)).unwrap();
        assert!(sent.headers.one::<Require>().unwrap().has("100rel"));
        let mut times = Vec::new();
        while let Some(at) = sending.poll_timeout() {
            let early = at.checked_sub(Duration::from_millis(1)).unwrap();
            assert!(sending.handle_timeout(early).is_none(), "not before its time");
            let passed = (at - start).as_millis();
            match sending.handle_timeout(at) {
                Some(Due::Repeat(again)) => {
                    assert_eq!(again.to_bytes(), sent.to_bytes());
                    times.push(passed);
                }
                Some(Due::GivenUp) => times.push(passed + 1_000_000),
                None => panic!("something is due"),
            }
        }
        assert_eq!(times, [500, 1_500, 3_500, 7_500, 15_500, 31_500, 1_032_000]);
    }

    #[test]
    fn the_next_waits_for_the_one_before() {
        let (now, mut entropy) = (Instant::now(), Seeded::new(1));
        let mut sending = Sending::default();
        let first = sending.send(now, &mut entropy, provisional(180, false)).unwrap();
        assert!(!sending.holds_answer());
        assert!(sending.send(now, &mut entropy, provisional(183, true)).is_none());
        assert!(sending.holds_answer(), "a description waits");
        let wrong = [
            RAck {
                rseq: rack(&first, 7).rseq + 1,
                ..rack(&first, 7)
            },
            rack(&first, 8),
            RAck {
                cseq: CSeq::new(7, Method::Update),
                ..rack(&first, 7)
            },
        ];
        for wrong in wrong {
            assert!(sending.handle_prack(now, &mut entropy, &wrong, 7).is_err(), "{wrong:?}");
        }
        let second = sending
            .handle_prack(now, &mut entropy, &rack(&first, 7), 7)
            .unwrap()
            .unwrap();
        assert_eq!(second.status.code(), 183);
        assert_eq!(rack(&second, 7).rseq, rack(&first, 7).rseq + 1);
        assert!(
            sending.handle_prack(now, &mut entropy, &rack(&first, 7), 7).is_err(),
            "once is enough"
        );
        assert!(
            sending
                .handle_prack(now, &mut entropy, &rack(&second, 7), 7)
                .unwrap()
                .is_none()
        );
        assert!(!sending.holds_answer() && sending.poll_timeout().is_none());
    }

    #[test]
    fn few_wait_and_none_after_the_end() {
        let (now, mut entropy) = (Instant::now(), Seeded::new(1));
        let mut sending = Sending::default();
        let mut last = sending.send(now, &mut entropy, provisional(180, false)).unwrap();
        for _ in 0..3 * MAX_QUEUED {
            assert!(sending.send(now, &mut entropy, provisional(182, false)).is_none());
        }
        let mut heard = 0;
        while let Some(next) = sending.handle_prack(now, &mut entropy, &rack(&last, 1), 1).unwrap() {
            last = next;
            heard += 1;
        }
        assert_eq!(heard, MAX_QUEUED);
        sending.send(now, &mut entropy, provisional(183, true)).unwrap();
        let last = sending
            .out
            .as_ref()
            .map(|out| out.provisional.response.clone())
            .unwrap();
        sending.stop();
        assert!(sending.poll_timeout().is_none() && !sending.holds_answer());
        // Its PRACK may have crossed the final answer.
        assert!(
            sending
                .handle_prack(now, &mut entropy, &rack(&last, 1), 1)
                .unwrap()
                .is_none()
        );
        assert!(sending.handle_prack(now, &mut entropy, &rack(&last, 1), 1).is_err());
    }

    #[test]
    fn responses_are_taken_in_their_order() {
        let response = |code, rseq: &'static str, require: &'static str| {
            let mut response = Response::new(Status::new(code).unwrap());
            response.headers.push(HeaderName::CSEQ, Value::of_static("4 INVITE"));
            if !rseq.is_empty() {
                response.headers.push(HeaderName::RSEQ, Value::of_static(rseq));
            }
            if !require.is_empty() {
                response.headers.push(HeaderName::REQUIRE, Value::of_static(require));
            }
            response
        };
        let in_order = |rseq| {
            Taken::InOrder(RAck {
                rseq,
                cseq: CSeq::new(4, Method::Invite),
            })
        };
        let rows = [
            ("without Require", 180, "1", "", Taken::Unreliable),
            ("without RSeq", 180, "", "100rel", Taken::Unreliable),
            ("100 is never reliable", 100, "1", "100rel", Taken::Unreliable),
            ("nor is a final one", 200, "1", "100rel", Taken::Unreliable),
            ("the first may have any number", 183, "9", "100rel", in_order(9)),
            ("a copy", 183, "9", "100rel", Taken::OutOfOrder),
            ("too early", 180, "11", "100rel", Taken::OutOfOrder),
            ("the next", 180, "10", "x, 100REL", in_order(10)),
            ("too late", 180, "9", "100rel", Taken::OutOfOrder),
            ("the one that was too early", 180, "11", "100rel", in_order(11)),
        ];
        let mut receiving = Receiving::default();
        for (name, code, rseq, require, expected) in rows {
            assert_eq!(receiving.take(&response(code, rseq, require)), expected, "{name}");
        }
        let mut last = Receiving { last: Some(u32::MAX) };
        assert_eq!(last.take(&response(180, "1", "100rel")), Taken::OutOfOrder);
    }
}
