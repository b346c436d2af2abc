//! What the caller of a call does (RFC 3261 §13.2, §15.1.1), with the digest of a phone that keeps its nonce.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cusax_common::core::sip::typed::{Challenge, ProxyAuthenticate, WwwAuthenticate};
use cusax_common::core::sip::{HeaderName, Message, Method, Request, Response, Status};

use super::exchange::{Due, Exchange, Outcome, Stage};
use super::text::{self, Remote};
use crate::load::proof::{self, Asked};
use crate::load::{PATIENCE, T1, T2};

/// What a caller was asked to prove.
#[derive(Clone, Debug)]
pub(super) struct Nonce {
    challenge: Challenge,
    header: HeaderName,
    count: u32,
}

/// A request without a final answer.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    text: Bytes,
    sequence: u32,
    /// Whether it is an INVITE, which is not sent again once it rings (RFC 3261 §17.1.1.2).
    invites: bool,
    rings: bool,
    began: Instant,
    interval: Duration,
}

impl Exchange {
    pub(super) fn caller_hears(&mut self, bytes: Bytes, at: i64) {
        match Message::parse(bytes) {
            Ok(Message::Response(response)) => self.caller_answered(&response, at),
            Ok(Message::Request(request)) if request.method != Method::Ack => self.caller_asked(&request),
            _ => {}
        }
    }

    /// The device speaks first: nothing of the benchmark makes it, but for a call that it ends.
    fn caller_asked(&mut self, request: &Request) {
        self.callers.push(request.response(Status::OK).to_bytes(), None);
        let tag = request.headers.to_tag().ok().flatten();
        if request.method == Method::Bye
            && let Some(index) = tag.and_then(|tag| self.known(tag))
        {
            let call = &mut self.calls[index as usize];
            let is_open = call.waiting.take().is_some() || !call.stays;
            if call.stage != Stage::Over {
                call.stage = Stage::Over;
                if is_open {
                    self.close(Outcome::Dropped);
                }
            }
        }
    }

    fn caller_answered(&mut self, response: &Response, at: i64) {
        let call_id = response.headers.get(&HeaderName::CALL_ID);
        let index = call_id.and_then(|id| id.as_str().ok()).and_then(|id| self.known(id));
        let (Some(index), Ok(cseq)) = (index, response.cseq()) else {
            return;
        };
        let call = &mut self.calls[index as usize];
        let waits = call.waiting.as_mut().filter(|waiting| waiting.sequence == cseq.seq);
        let status = response.status;
        if cseq.method != Method::Invite {
            if waits.is_some() && status.is_final() {
                self.settled(index, status);
            }
        } else if !status.is_final() {
            let Some(waiting) = waits else { return };
            waiting.rings = true;
            if status.code() == 180 {
                self.rings(index, at);
            }
        } else if status.is_success() {
            let is_first = waits.is_some();
            self.accepted(index, response, is_first);
        } else {
            let is_first = waits.is_some();
            self.declined(index, response, cseq.seq, is_first, at);
        }
    }

    /// The 180 is there: the first one tells how long the device took.
    fn rings(&mut self, index: u32, at: i64) {
        let call = &mut self.calls[index as usize];
        if std::mem::take(&mut call.is_clean) && (!call.challenged || self.crowd.forgetful) {
            self.delays.push(call.way + at);
        }
    }

    fn accepted(&mut self, index: u32, response: &Response, is_first: bool) {
        if is_first {
            let remote = Remote::of(response);
            let call = &mut self.calls[index as usize];
            call.waiting = None;
            if remote.is_none() {
                call.stage = Stage::Over;
                return self.close(Outcome::Refused(response.status.code()));
            }
            (call.remote, call.stage) = (remote, Stage::Up);
        }
        let (name, parties) = (self.name(index), self.parties(index));
        let call = &self.calls[index as usize];
        let Some(remote) = &call.remote else { return };
        let ack = text::within(name, parties, remote, "ACK", call.invited);
        self.callers.push(ack, None);
        if is_first && call.stays {
            self.up.push(index);
            self.close(Outcome::Done);
        } else if is_first {
            let at = now() + HOLD;
            self.due.push(Reverse((at, index, Due::HangUp)));
        }
    }

    fn declined(&mut self, index: u32, response: &Response, sequence: u32, is_first: bool, at: i64) {
        let ack = text::acknowledge(self.name(index), self.parties(index), sequence, response);
        self.callers.push(ack, None);
        if !is_first {
            return;
        }
        let call = &mut self.calls[index as usize];
        call.waiting = None;
        if !call.challenged
            && let Some((header, challenge)) = challenge(response)
        {
            call.challenged = true;
            call.way += at;
            self.tally.challenged += 1;
            let nonce = Nonce {
                challenge,
                header,
                count: 0,
            };
            return self.invite(index, now(), Some(nonce));
        }
        call.stage = Stage::Over;
        self.close(Outcome::Refused(response.status.code()));
    }

    /// Sends the INVITE: with the proof that a new challenge asks for, or else with the one that the caller knows.
    pub(super) fn invite(&mut self, index: u32, now: Instant, fresh: Option<Nonce>) {
        let (name, parties) = (self.name(index), self.parties(index));
        let call = &mut self.calls[index as usize];
        call.sequence += 1;
        call.invited = call.sequence;
        let sequence = call.sequence;
        let mut forgotten = fresh.clone();
        let kept = &mut self.nonces[call.caller as usize];
        let nonce = if self.crowd.forgetful {
            &mut forgotten
        } else {
            if fresh.is_some() {
                *kept = fresh;
            }
            kept
        };
        let proof = nonce.as_mut().map_or_else(String::new, |nonce| {
            nonce.count += 1;
            let asked = Asked {
                method: "INVITE",
                uri: &parties.dialled(),
                count: nonce.count,
                salt: index,
            };
            proof::line(&nonce.header, parties.caller, &nonce.challenge, &asked)
        });
        let text = text::invite(name, parties, sequence, &proof);
        self.callers.push(text.clone(), Some(index));
        self.wait(index, text, true, now);
    }

    /// Sends a request within the dialog.
    pub(super) fn ask_within(&mut self, index: u32, method: &'static str, now: Instant) {
        let (name, parties) = (self.name(index), self.parties(index));
        let call = &mut self.calls[index as usize];
        if call.stage != Stage::Up {
            return;
        }
        call.sequence += 1;
        if method == "BYE" {
            call.stage = Stage::Leaving;
        }
        let Some(remote) = &call.remote else { return };
        let text = text::within(name, parties, remote, method, call.sequence);
        self.callers.push(text.clone(), None);
        self.wait(index, text, false, now);
    }

    fn wait(&mut self, index: u32, text: Bytes, invites: bool, now: Instant) {
        let call = &mut self.calls[index as usize];
        let sequence = call.sequence;
        call.waiting = Some(Waiting {
            text,
            sequence,
            invites,
            rings: false,
            began: now,
            interval: T1,
        });
        self.due.push(Reverse((now + T1, index, Due::Unanswered(sequence))));
    }

    /// A request within the dialog has its answer.
    fn settled(&mut self, index: u32, status: Status) {
        let call = &mut self.calls[index as usize];
        call.waiting = None;
        if call.stage == Stage::Leaving {
            (call.stage, call.remote) = (Stage::Over, None);
        }
        self.close(if status.is_success() {
            Outcome::Done
        } else {
            Outcome::Refused(status.code())
        });
    }

    /// Sends a request again, or gives it up.
    pub(super) fn unanswered(&mut self, index: u32, sequence: u32, now: Instant) {
        let call = &mut self.calls[index as usize];
        let Some(waiting) = call.waiting.as_mut().filter(|waiting| waiting.sequence == sequence) else {
            return;
        };
        if now.duration_since(waiting.began) >= PATIENCE {
            (call.waiting, call.stage) = (None, Stage::Over);
            return self.close(Outcome::Unanswered);
        }
        if !waiting.rings {
            self.callers.push(waiting.text.clone(), None);
            self.tally.retransmitted += 1;
            call.is_clean = false;
        }
        waiting.interval *= 2;
        if !waiting.invites {
            waiting.interval = waiting.interval.min(T2);
        }
        self.due
            .push(Reverse((now + waiting.interval, index, Due::Unanswered(sequence))));
    }
}

/// The challenge that a phone likes best, and the header for its proof.
fn challenge(response: &Response) -> Option<(HeaderName, Challenge)> {
    let liked = |challenge: &Challenge| challenge.algorithm().is_some();
    match response.status.code() {
        407 => {
            let offered = response.headers.list::<ProxyAuthenticate>().ok()?;
            let one = offered.into_iter().map(|one| one.0).find(liked)?;
            Some((HeaderName::PROXY_AUTHORIZATION, one))
        }
        401 => {
            let offered = response.headers.list::<WwwAuthenticate>().ok()?;
            let one = offered.into_iter().map(|one| one.0).find(liked)?;
            Some((HeaderName::AUTHORIZATION, one))
        }
        _ => None,
    }
}

#[expect(clippy::disallowed_methods, reason = "the rate is one of real time")]
fn now() -> Instant {
    Instant::now()
}

/// For how long the caller of a call that does not stay listens before it hangs up.
const HOLD: Duration = Duration::from_millis(20);
