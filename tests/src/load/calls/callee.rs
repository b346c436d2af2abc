//! What the callee of a call does (RFC 3261 §13.3): it rings, answers, and says 200 to everything else.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cusax_common::core::sip::{HeaderName, Message, Method, Request, Status};

use super::exchange::{Due, Exchange};
use super::text;
use crate::load::{PATIENCE, T1, T2};

impl Exchange {
    pub(super) fn callee_hears(&mut self, bytes: Bytes, at: i64) {
        let Ok(Message::Request(request)) = Message::parse(bytes) else {
            return;
        };
        let tag = request.headers.to_tag().ok().flatten();
        match (&request.method, tag) {
            (Method::Invite, None) => self.invited(&request, at),
            (Method::Ack, tag) => {
                if let Some(index) = tag.and_then(|tag| self.known(tag)) {
                    let call = &mut self.calls[index as usize];
                    (call.answered, call.answers) = (None, None);
                }
            }
            _ => self.callees.push(request.response(Status::OK).to_bytes(), None),
        }
    }

    fn invited(&mut self, request: &Request, at: i64) {
        let subject = request.headers.get(&HeaderName::SUBJECT);
        let index = subject
            .and_then(|text| text.as_str().ok())
            .and_then(|text| self.known(text));
        let Some(index) = index else { return };
        let (name, local) = (self.name(index), self.callee_at);
        let call = &mut self.calls[index as usize];
        if let Some((last, _)) = &call.answers {
            return self.callees.push(last.clone(), None);
        }
        call.way += at;
        let answer = |status| text::answer(request, name, status, call.callee, local);
        let (ringing, ok) = (answer(Status::RINGING), answer(Status::OK));
        self.callees.push(ringing.clone(), Some(index));
        call.answers = Some((ringing, ok));
        self.due.push(Reverse((now() + RING, index, Due::Answer)));
    }

    /// It has rung long enough.
    pub(super) fn answer(&mut self, index: u32, now: Instant) {
        let call = &mut self.calls[index as usize];
        let Some((last, next)) = &mut call.answers else { return };
        last.clone_from(next);
        self.callees.push(next.clone(), None);
        call.answered = Some((now, T1));
        self.due.push(Reverse((now + T1, index, Due::Unacknowledged)));
    }

    /// Answers again (RFC 3261 §13.3.1.4).
    pub(super) fn unacknowledged(&mut self, index: u32, now: Instant) {
        let call = &mut self.calls[index as usize];
        let (Some((began, interval)), Some((last, _))) = (&mut call.answered, &call.answers) else {
            return;
        };
        if now.duration_since(*began) >= PATIENCE {
            call.answered = None;
            return;
        }
        *interval = (2 * *interval).min(T2);
        self.due.push(Reverse((now + *interval, index, Due::Unacknowledged)));
        self.callees.push(last.clone(), None);
        self.tally.retransmitted += 1;
    }
}

#[expect(clippy::disallowed_methods, reason = "the rate is one of real time")]
fn now() -> Instant {
    Instant::now()
}

/// For how long a phone rings: short, since nothing happens meanwhile.
const RING: Duration = Duration::from_millis(20);
