//! What keeps a call alive, or ends it, without anybody's asking: reliable responses are repeated, sessions refreshed.

use std::time::Duration;

use cusax_common::core::entropy::Entropy;
use cusax_common::core::record::Cause;
use cusax_common::core::sip::typed::{RAck, RetryAfter};
use cusax_common::core::sip::{HeaderName, Method, Request, Response, Status};
use tracing::debug;

use super::transfer::Joining;
use super::{Call, CallOutput, Context, Exchange, Leg, LegId, Token, invite, reliable, respond, rules, session_timer};
use crate::core::dialog::set_sdp;
use crate::core::media::rewrite::Description;
use crate::core::transaction::ServerId;

/// A request of ours that nobody asked for.
#[derive(Debug)]
pub struct Own {
    pub token: Token,
    leg: LegId,
    what: What,
}

/// What it is for.
#[derive(Debug)]
pub enum What {
    /// It acknowledges a provisional response; nothing follows from its answer.
    Prack,
    /// It tells how a transfer stands; the next state is told when it was answered.
    Notify,
    /// It offers a leg that was joined with another one the session of that.
    Join(Box<Joining>),
    /// It refreshes the session, by one method or the other.
    Refresh(Way),
}

/// By which method a session is refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By saying the same again.
    Invite,
    /// Without a description.
    Update,
}

impl Own {
    /// Whether it may change the session, or say it again.
    fn changes(&self) -> bool {
        matches!(self.what, What::Refresh(_) | What::Join(_))
    }

    /// Whether a late 2xx to it wants an ACK.
    fn invites(&self) -> bool {
        matches!(self.what, What::Refresh(Way::Invite) | What::Join(_))
    }
}

impl Call {
    /// Remembers a request of ours.
    pub(super) fn note(&mut self, token: Token, leg: LegId, what: What) {
        self.own.push(Own { token, leg, what });
    }

    /// Does what has come due on the legs.
    pub(super) fn keep_up<E: Entropy>(&mut self, cx: &mut Context<'_, E>) {
        let names: Vec<LegId> = self.legs.iter().map(|leg| leg.id).collect();
        for name in names {
            let Some(leg) = self.leg_mut(name) else { continue };
            match leg.sending.handle_timeout(cx.now.instant) {
                Some(reliable::Due::Repeat(response)) => {
                    if let Some(server) = self.asked {
                        respond(cx, server, response);
                    }
                }
                // RFC 3262 §3: the INVITE fails.
                Some(reliable::Due::GivenUp) => {
                    self.abandon(cx, Status::SERVER_INTERNAL_ERROR, Cause::PeerFailed);
                }
                None => {}
            }
            let Some(leg) = self.leg_mut(name) else { continue };
            match leg.timer.handle_timeout(cx.now.instant) {
                Some(session_timer::Due::Refresh) => self.refresh(cx, name),
                Some(session_timer::Due::End) => {
                    debug!("a session was not refreshed");
                    self.hang_up_both(cx, Cause::PeerFailed);
                }
                None => {}
            }
        }
    }

    /// A caller acknowledges a provisional response of ours (RFC 3262 §3).
    pub(super) fn prack<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        near: LegId,
        server: ServerId,
        request: &Request,
    ) {
        let invite = self.begun.seq;
        let Ok(rack) = request.headers.one::<RAck>() else {
            return respond(cx, server, request.response(Status::BAD_REQUEST));
        };
        let Some(leg) = self.leg_mut(near) else { return };
        let Ok(next) = leg.sending.handle_prack(cx.now.instant, cx.entropy, &rack, invite) else {
            return respond(cx, server, request.response(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST));
        };
        let exchange = leg.exchange;
        if request.body.is_empty() {
            respond(cx, server, request.response(Status::OK));
        } else if exchange == Exchange::Ours {
            // The answer to an offer that a callee made in its own reliable response.
            let answer = invite::is_sdp(&request.headers).then(|| Description::read(&request.body, rules(cx)));
            match answer {
                Some(Ok(answer)) => {
                    respond(cx, server, request.response(Status::OK));
                    self.answer_early_offer(cx, near, request, &answer);
                }
                Some(Err(fault)) => {
                    let status = Status::new(fault.status()).unwrap_or(Status::NOT_ACCEPTABLE_HERE);
                    respond(cx, server, request.response(status));
                    // The callee waits for an answer, and there can be no other one.
                    return self.abandon(cx, Status::NOT_ACCEPTABLE_HERE, Cause::PeerFailed);
                }
                None => respond(cx, server, invite::unsupported_media(request)),
            }
        } else {
            self.offer_early(cx, near, server, request);
        }
        if let (Some(next), Some(server)) = (next, self.asked) {
            respond(cx, server, next);
        }
        if let Some(held) = self.held_answer.take() {
            let (near, response) = *held;
            self.answer_caller(cx, near, response);
        }
    }

    /// Hands the caller's answer on, in the PRACK that the callee waits for.
    fn answer_early_offer<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        near: LegId,
        prack: &Request,
        answer: &Description,
    ) {
        let Some(far) = self.across(near) else { return };
        let Some(way) = self.leg(far).and_then(|leg| self.way(leg.side)) else {
            return;
        };
        if let Some(leg) = self.leg_mut(near) {
            leg.exchange = Exchange::Settled;
            leg.hear(&prack.body);
        }
        let Some(leg) = self.leg_mut(far) else { return };
        leg.exchange = Exchange::Settled;
        let Some(rack) = leg.owed.take() else { return };
        let body = answer.written(way, &mut leg.origin);
        self.acknowledge_provisional(cx, far, *rack, Some(body));
        self.aim(cx, near, answer);
    }

    /// Sends the PRACK for a callee's response (RFC 3262 §4).
    pub(super) fn acknowledge_provisional<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        far: LegId,
        rack: RAck,
        body: Option<bytes::Bytes>,
    ) {
        let Some(leg) = self.leg_mut(far) else { return };
        let mut prack = leg.dialog.request(Method::Prack);
        prack.headers.put(&rack);
        if let Some(body) = body {
            set_sdp(&mut prack.headers, &mut prack.body, body);
        }
        let flow = leg.dialog.flow();
        let token = self.send(cx, flow, prack);
        self.note(token, far, What::Prack);
    }

    /// Refreshes a session (RFC 4028 §7.4): by UPDATE without a description where the peer takes it, else by saying the
    /// same again.
    fn refresh<E: Entropy>(&mut self, cx: &mut Context<'_, E>, name: LegId) {
        // Another change is under way, and refreshes as well.
        if self.is_changing() || self.is_joining() {
            if let Some(leg) = self.leg_mut(name) {
                leg.timer.again(cx.now.instant, BUSY);
            }
            return;
        }
        let usual = cx.settings.session_interval;
        let Some(leg) = self.leg_mut(name) else { return };
        let way = if leg.can.update { Way::Update } else { Way::Invite };
        let mut request = leg.dialog.request(match way {
            Way::Invite => Method::Invite,
            Way::Update => Method::Update,
        });
        leg.timer.ask(usual, &mut request.headers);
        request.headers.push(HeaderName::SUPPORTED, invite::ALL_OPTIONS.clone());
        if way == Way::Invite {
            let same = leg.origin.last().clone();
            set_sdp(&mut request.headers, &mut request.body, same);
        }
        let flow = leg.dialog.flow();
        let token = self.send(cx, flow, request);
        self.note(token, name, What::Refresh(way));
    }

    /// A leg is over while it is refreshed: a late 2xx still gets its ACK.
    pub(super) fn orphan_refreshes(&mut self, gone: &Leg) {
        let theirs: Vec<Own> = self.own.extract_if(.., |own| own.leg == gone.id).collect();
        for own in theirs {
            if own.invites() {
                self.orphans.push((own.token, Box::new(gone.dialog.clone())));
            }
        }
    }

    /// Whether as many requests of ours wait for answers as one call may have.
    pub(super) fn has_much_to_say(&self) -> bool {
        self.own.len() >= MAX_OWN
    }

    /// Whether a request of ours for a new session, or the same again, has no answer yet.
    pub(super) fn is_refreshing(&self, leg: LegId) -> bool {
        self.own.iter().any(|own| own.leg == leg && own.changes())
    }

    /// Whether one of ours that joins has no answer yet.
    pub(super) fn is_offering(&self) -> bool {
        self.own.iter().any(|own| matches!(own.what, What::Join(_)))
    }

    /// The answer to a request that nobody asked us for.
    pub(super) fn own_answered<E: Entropy>(&mut self, cx: &mut Context<'_, E>, at: usize, response: &Response) {
        let Own { token, leg: name, what } = self.own.swap_remove(at);
        let way = match what {
            What::Prack => return,
            What::Notify => return self.notified(cx, name, Some(response.status)),
            What::Refresh(way) => way,
            What::Join(joining) => return self.join_answered(cx, token, name, joining, response),
        };
        let usual = cx.settings.session_interval;
        let (now, status) = (cx.now.instant, response.status);
        let Some(leg) = self.leg_mut(name) else { return };
        if status.is_success() {
            leg.dialog.refresh(&response.headers);
            leg.timer.granted(now, usual, &response.headers);
            let said = response.body.clone();
            if way == Way::Invite {
                let seq = response.headers.cseq().map_or(0, |cseq| cseq.seq);
                let (request, flow) = (leg.acknowledge(seq, None), leg.dialog.flow());
                cx.emit(CallOutput::Ack { token, flow, request });
            }
            return self.heard_again(cx, name, said);
        }
        match status {
            Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST | Status::REQUEST_TIMEOUT => {
                self.hang_up_both(cx, Cause::PeerFailed);
            }
            Status::REQUEST_PENDING => {
                let wait = glare(cx.entropy, leg.ours);
                leg.timer.again(now, wait);
            }
            Status::SESSION_INTERVAL_TOO_SMALL if leg.timer.raise(now, usual, &response.headers) => {
                leg.timer.again(now, Duration::ZERO);
            }
            _ => leg.timer.again(now, BUSY),
        }
    }

    /// The answer of a leg that was joined with another one.
    fn join_answered<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        token: Token,
        name: LegId,
        joining: Box<Joining>,
        response: &Response,
    ) {
        let (now, usual) = (cx.now.instant, cx.settings.session_interval);
        let Some(leg) = self.leg_mut(name) else { return };
        match response.status {
            status if status.is_success() => {
                leg.dialog.refresh(&response.headers);
                leg.timer.granted(now, usual, &response.headers);
                let seq = response.headers.cseq().map_or(0, |cseq| cseq.seq);
                let (request, flow) = (leg.acknowledge(seq, None), leg.dialog.flow());
                cx.emit(CallOutput::Ack { token, flow, request });
                self.rejoined(cx, *joining, response);
            }
            Status::REQUEST_PENDING => {
                let wait = glare(cx.entropy, leg.ours);
                self.join_later(now + wait, joining);
            }
            // Something else that it was asked has no answer yet (§14.2): it was asked by the call in which it was before.
            Status::SERVER_INTERNAL_ERROR if response.headers.has(&HeaderName::RETRY_AFTER) => {
                let seconds = response.headers.one::<RetryAfter>().map_or(0, |after| after.seconds);
                self.join_later(now + Duration::from_secs(seconds.clamp(1, MAX_RETRY).into()), joining);
            }
            Status::SESSION_INTERVAL_TOO_SMALL if leg.timer.raise(now, usual, &response.headers) => {
                self.join_later(now, joining);
            }
            _ => self.hang_up_both(cx, Cause::PeerFailed),
        }
    }

    /// A peer that was asked for nothing new may have moved all the same.
    fn heard_again<E: Entropy>(&mut self, cx: &mut Context<'_, E>, name: LegId, said: bytes::Bytes) {
        let Some(leg) = self.leg_mut(name).filter(|leg| !said.is_empty() && leg.heard != said) else {
            return;
        };
        if let Ok(description) = Description::read(&said, rules(cx)) {
            leg.hear(&said);
            self.aim(cx, name, &description);
        }
    }

    /// It got no answer at all.
    pub(super) fn own_failed<E: Entropy>(&mut self, cx: &mut Context<'_, E>, at: usize) {
        let own = self.own.swap_remove(at);
        if matches!(own.what, What::Notify) {
            self.notified(cx, own.leg, None);
        }
        if own.changes() {
            self.hang_up_both(cx, Cause::PeerFailed);
        }
    }
}

/// How long to wait after both sides have begun a change at once (RFC 3261 §14.1): the owner of the Call-ID the longer.
fn glare(entropy: &mut impl Entropy, ours: bool) -> Duration {
    let [draw] = entropy.bytes();
    let steps = u64::from(draw) % 191;
    let least = if ours { 2_100 } else { 0 };
    Duration::from_millis(least + 10 * steps)
}

/// The most requests of ours that nobody asked for and that wait for answers in one call.
const MAX_OWN: usize = 16;
/// The longest that a leg which is joined is waited for, in seconds (RFC 3261 §14.2).
const MAX_RETRY: u32 = 10;
/// When a refresh that came at a bad time is tried again.
const BUSY: Duration = Duration::from_secs(5);
