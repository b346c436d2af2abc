//! Requests within a call that cross from one leg to the other: re-INVITE (RFC 3261 §14), UPDATE (RFC 3311), INFO, and an
//! offer in a PRACK.
//!
//! One change of the session at a time crosses a call. A second one meets 491 when it comes from the other side, and 500
//! with Retry-After when it comes from the same side (RFC 3261 §14.2, RFC 3311 §5.2). A request that only refreshes the
//! session, or says again what was said, ends here: each leg has a timer of its own.

use bytes::Bytes;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::record::Cause;
use cusax_common::core::sip::typed::{CSeq, RetryAfter};
use cusax_common::core::sip::{Method, Request, Response, Status};
use tracing::debug;

use super::session_timer::Wish;
use super::{Call, CallOutput, Context, Exchange, Leg, LegId, Phase, Token, invite, read_offer, respond, rules};
use crate::core::cause;
use crate::core::dialog::Dialog;
use crate::core::dialog::set_sdp;
use crate::core::media::Side;
use crate::core::media::rewrite::Description;
use crate::core::transaction::ServerId;

/// A request on its way through.
#[derive(Debug)]
pub struct Crossing {
    /// Ours, on the other leg.
    pub token: Token,
    to: LegId,
    /// How it is asked for there.
    by: Method,
    /// Theirs.
    server: ServerId,
    from: LegId,
    request: Request,
    wish: Wish,
    /// What it offers.
    offer: Option<Description>,
    /// What the other leg was told before.
    before: Bytes,
    /// A re-INVITE that has its 2xx and waits for its ACK.
    answered: bool,
}

impl Crossing {
    /// Whether it may change the session, so that no other may come between.
    fn changes(&self) -> bool {
        self.request.method == Method::Invite || self.offer.is_some()
    }
}

impl Call {
    /// Whether a change is under way.
    pub(super) fn is_changing(&self) -> bool {
        self.crossings.iter().any(Crossing::changes)
    }

    /// Whether a change has no answer yet, or an answer of it is still to come. One whose ACK alone is on its way is none:
    /// phones hold the other side, and ask for a transfer with the next message.
    pub(super) fn is_unsettled(&self) -> bool {
        let is_open = |crossing: &Crossing| crossing.changes() && !crossing.answered;
        let is_settled = |leg: &Leg| leg.exchange == Exchange::Settled;
        let pair = self
            .legs
            .iter()
            .filter(|leg| self.pair.is_some_and(|pair| pair.has(leg.id)));
        self.is_joining() || self.crossings.iter().any(is_open) || !pair.into_iter().all(is_settled)
    }

    /// A side wants to change the session, or to refresh it.
    pub(super) fn reinvite<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        from: LegId,
        server: ServerId,
        request: &Request,
    ) {
        if let Some(refusal) = self.in_the_way(from, request) {
            return respond(cx, server, refusal);
        }
        if !matches!(self.phase, Phase::Up) {
            // A caller's first one has no final answer yet (RFC 3261 §14.2).
            let same = self.asked.is_some() && self.leg(from).is_some_and(|leg| leg.side == Side::Caller);
            let refusal = if same {
                retry_later(request)
            } else {
                request.response(PENDING)
            };
            return respond(cx, server, refusal);
        }
        let (wish, offer) = match read(cx, request) {
            Ok(read) => read,
            Err(refusal) => return respond(cx, server, *refusal),
        };
        let Some(leg) = self.leg_mut(from) else { return };
        if offer.is_some() && leg.heard == request.body && !leg.origin.last().is_empty() {
            leg.dialog.refresh(&request.headers);
            let same = leg.origin.last().clone();
            let mut response = invite::within(leg, request, Status::OK);
            set_sdp(&mut response.headers, &mut response.body, same);
            leg.timer.grant(
                cx.now.instant,
                wish,
                cx.settings.session_interval,
                &mut response.headers,
            );
            return respond(cx, server, response);
        }
        respond(cx, server, request.response(Status::TRYING));
        self.cross(cx, from, server, request, Method::Invite, wish, offer);
    }

    /// UPDATE: likewise, and before the answer as well.
    pub(super) fn update<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        from: LegId,
        server: ServerId,
        request: &Request,
    ) {
        let (wish, offer) = match read(cx, request) {
            Ok(read) => read,
            Err(refusal) => return respond(cx, server, *refusal),
        };
        if offer.is_none() {
            let Some(leg) = self.leg_mut(from) else { return };
            leg.dialog.refresh(&request.headers);
            let mut response = invite::within(leg, request, Status::OK);
            if leg.up {
                leg.timer.grant(
                    cx.now.instant,
                    wish,
                    cx.settings.session_interval,
                    &mut response.headers,
                );
            }
            return respond(cx, server, response);
        }
        if let Some(refusal) = self.in_the_way(from, request) {
            return respond(cx, server, refusal);
        }
        let Some(by) = self.way_to_offer(from) else {
            return respond(cx, server, request.response(Status::NOT_ACCEPTABLE_HERE));
        };
        self.cross(cx, from, server, request, by, wish, offer);
    }

    /// A caller's PRACK offers something new (RFC 3262 §5): the callee is asked by UPDATE.
    pub(super) fn offer_early<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        from: LegId,
        server: ServerId,
        request: &Request,
    ) {
        let offer = match read_offer(cx, request, &request.headers, &request.body) {
            Ok(offer) => offer,
            Err(response) => return respond(cx, server, *response),
        };
        if let Some(refusal) = self.in_the_way(from, request) {
            return respond(cx, server, refusal);
        }
        let Some(by) = self.way_to_offer(from) else {
            return respond(cx, server, request.response(Status::NOT_ACCEPTABLE_HERE));
        };
        self.cross(cx, from, server, request, by, Wish::default(), offer);
    }

    /// INFO (RFC 6086), of whose body we have no opinion.
    pub(super) fn info<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        from: LegId,
        server: ServerId,
        request: &Request,
    ) {
        if self.pair.is_none() || matches!(self.phase, Phase::Over) || self.crossings.len() >= MAX_CROSSINGS {
            return respond(cx, server, retry_later(request));
        }
        if !invite::may_cross(&request.headers) {
            return respond(cx, server, invite::unsupported_media(request));
        }
        self.cross(cx, from, server, request, Method::Info, Wish::default(), None);
    }

    /// Why no change can begin now.
    fn in_the_way(&self, from: LegId, request: &Request) -> Option<Response> {
        if let Some(crossing) = self.crossings.iter().find(|crossing| crossing.changes()) {
            let same = crossing.from == from;
            return Some(if same {
                retry_later(request)
            } else {
                request.response(PENDING)
            });
        }
        // Our own refresh of a leg is under way, or the other one has not acknowledged what it was told last.
        let across = self.across(from);
        let busy = |leg: LegId| self.is_refreshing(leg) || self.leg(leg).is_some_and(|leg| leg.sending.holds_answer());
        if self.is_refreshing(from) || across.is_some_and(busy) {
            return Some(request.response(PENDING));
        }
        let exchange = |leg: Option<LegId>| leg.and_then(|leg| self.leg(leg)).map(|leg| leg.exchange);
        match (exchange(Some(from)), exchange(across)) {
            // They wait for our answer as it is (RFC 3311 §5.2).
            (Some(Exchange::Theirs | Exchange::Blank), _) => Some(retry_later(request)),
            (Some(Exchange::Ours), _) => Some(request.response(PENDING)),
            // It may only be offered on the other leg once that is settled, which it soon is.
            (Some(Exchange::Settled), Some(Exchange::Settled)) => None,
            (Some(Exchange::Settled), _) => Some(request.response(PENDING)),
            (None, _) => Some(request.response(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST)),
        }
    }

    /// By what the other side can be offered something; not at all before its answer, if it does not take UPDATE.
    fn way_to_offer(&self, from: LegId) -> Option<Method> {
        let leg = self.leg(self.across(from)?)?;
        match (leg.can.update, leg.up) {
            (true, _) => Some(Method::Update),
            (false, true) => Some(Method::Invite),
            (false, false) => None,
        }
    }

    /// Sends the counterpart of a request on the other leg.
    #[expect(clippy::too_many_arguments, reason = "all of it comes from one request")]
    fn cross<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        from: LegId,
        server: ServerId,
        request: &Request,
        by: Method,
        wish: Wish,
        offer: Option<Description>,
    ) {
        let gone = |cx: &mut Context<'_, E>| {
            respond(cx, server, request.response(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST));
        };
        let Some(to) = self.across(from) else {
            // Nobody is there for a while; 481 would end the dialog (RFC 5057 §5.1).
            return respond(cx, server, request.response(Status::TEMPORARILY_UNAVAILABLE));
        };
        let Some(way) = self.leg(to).and_then(|leg| self.way(leg.side)) else {
            return gone(cx);
        };
        let usual = cx.settings.session_interval;
        let is_private = self.leg(from).is_some_and(|leg| leg.private);
        let Some(leg) = self.leg_mut(to) else { return gone(cx) };
        let before = leg.origin.last().clone();
        let mut counterpart = leg.dialog.request(by.clone());
        invite::cross(is_private, &request.headers, &mut counterpart.headers);
        if by != Method::Info {
            invite::offer_options(leg, usual, &mut counterpart.headers);
        }
        match &offer {
            Some(offer) => {
                let body = offer.written(way, &mut leg.origin);
                set_sdp(&mut counterpart.headers, &mut counterpart.body, body);
            }
            None => invite::copy_body(&request.headers, &request.body, &mut counterpart),
        }
        let flow = leg.dialog.flow();
        let token = self.send(cx, flow, counterpart);
        self.crossings.push(Crossing {
            token,
            to,
            by,
            server,
            from,
            request: request.clone(),
            wish,
            offer,
            before,
            answered: false,
        });
    }

    /// The other side's final answer to a request that was passed on.
    pub(super) fn crossed<E: Entropy>(&mut self, cx: &mut Context<'_, E>, at: usize, response: &Response) {
        let crossing = self.crossings.swap_remove(at);
        if crossing.by == Method::Info {
            let is_private = self.leg(crossing.to).is_some_and(|leg| leg.private);
            let Some(leg) = self.leg(crossing.from) else { return };
            let answer = invite::answer_within(leg, &crossing.request, response, is_private, None);
            respond(cx, crossing.server, answer);
            return self.part_if_gone(cx, crossing.to, response.status);
        }
        if !response.status.is_success() {
            self.take_back(&crossing);
            respond(
                cx,
                crossing.server,
                crossing.request.response(cause::of_change(response.status)),
            );
            return self.part_if_gone(cx, crossing.to, response.status);
        }
        self.changed(cx, crossing, response);
    }

    /// The offer came to nothing: what the other side was told before stands.
    fn take_back(&mut self, crossing: &Crossing) {
        if crossing.offer.is_some()
            && let Some(leg) = self.leg_mut(crossing.to)
        {
            leg.origin.take_back(crossing.before.clone());
        }
    }

    /// RFC 3261 §12.2.1.2: the other side knows nothing of the dialog, or is silent. One of several that ring is its own
    /// loss.
    fn part_if_gone<E: Entropy>(&mut self, cx: &mut Context<'_, E>, leg: LegId, status: Status) {
        let matters = self.pair.is_some_and(|pair| pair.has(leg));
        if matters
            && matches!(
                status,
                Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST | Status::REQUEST_TIMEOUT
            )
        {
            self.hang_up_both(cx, Cause::PeerFailed);
        }
    }

    /// The other side took the change.
    fn changed<E: Entropy>(&mut self, cx: &mut Context<'_, E>, mut crossing: Crossing, response: &Response) {
        let (usual, now) = (cx.settings.session_interval, cx.now.instant);
        let (from, to) = (crossing.from, crossing.to);
        let description = Description::read(&response.body, rules(cx));
        let fits = description.and_then(|description| {
            if let Some(offer) = &crossing.offer {
                description.answers(offer)?;
            }
            Ok(description)
        });
        let late = crossing.offer.is_none() && fits.is_ok();
        let Some(leg) = self.leg_mut(to) else { return };
        leg.dialog.refresh(&response.headers);
        if leg.up {
            leg.timer.granted(now, usual, &response.headers);
        }
        if late {
            leg.exchange = Exchange::Theirs;
        }
        if crossing.by == Method::Invite {
            let seq = response.headers.cseq().map_or(0, |cseq| cseq.seq);
            if late {
                leg.unacknowledged = Some((crossing.token, seq));
            } else {
                let (request, flow) = (leg.acknowledge(seq, None), leg.dialog.flow());
                cx.emit(CallOutput::Ack {
                    token: crossing.token,
                    flow,
                    request,
                });
            }
        }
        let description = match fits {
            Ok(description) => description,
            Err(fault) => {
                debug!(%fault, "answer to a change refused");
                return respond(
                    cx,
                    crossing.server,
                    crossing.request.response(Status::NOT_ACCEPTABLE_HERE),
                );
            }
        };
        leg.hear(&response.body);
        let is_private = leg.private;
        let Some(way) = self.leg(from).and_then(|leg| self.way(leg.side)) else {
            return;
        };
        let Some(leg) = self.leg_mut(from) else { return };
        leg.dialog.refresh(&crossing.request.headers);
        let body = description.written(way, &mut leg.origin);
        if late {
            leg.exchange = Exchange::Ours;
        }
        if crossing.offer.is_some() {
            leg.hear(&crossing.request.body);
        }
        let mut answer = invite::answer_within(leg, &crossing.request, response, is_private, Some(body));
        if leg.up && crossing.request.method != Method::Prack {
            leg.timer.grant(now, crossing.wish, usual, &mut answer.headers);
        }
        if let Some(offer) = &crossing.offer {
            self.aim(cx, from, offer);
        }
        self.aim(cx, to, &description);
        respond(cx, crossing.server, answer);
        if crossing.request.method == Method::Invite {
            crossing.answered = true;
            self.crossings.push(crossing);
        }
    }

    /// It got no answer at all.
    pub(super) fn crossing_failed<E: Entropy>(&mut self, cx: &mut Context<'_, E>, at: usize) {
        let crossing = self.crossings.swap_remove(at);
        self.take_back(&crossing);
        if !crossing.answered {
            respond(cx, crossing.server, crossing.request.response(Status::REQUEST_TIMEOUT));
        }
        self.part_if_gone(cx, crossing.to, Status::REQUEST_TIMEOUT);
    }

    /// The sender of a re-INVITE acknowledged its 2xx: the change is complete.
    pub(super) fn crossing_acknowledged<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        from: LegId,
        number: u32,
        ack: &Request,
    ) {
        let numbered = |request: &Request| request.headers.cseq().is_ok_and(|cseq| cseq.seq == number);
        let done = |crossing: &Crossing| crossing.answered && crossing.from == from && numbered(&crossing.request);
        if let Some(at) = self.crossings.iter().position(done) {
            self.crossings.swap_remove(at);
            self.late_answer(cx, from, ack);
        }
    }

    /// The ACK of one leg carries the answer to the offer that the other leg's 2xx made.
    pub(super) fn late_answer<E: Entropy>(&mut self, cx: &mut Context<'_, E>, from: LegId, ack: &Request) {
        let Some(to) = self.across(from) else { return };
        let Some(way) = self.leg(to).and_then(|leg| self.way(leg.side)) else {
            return;
        };
        let Some((token, seq)) = self.leg(to).and_then(|leg| leg.unacknowledged) else {
            return;
        };
        let description = Description::read(&ack.body, rules(cx));
        if let Some(leg) = self.leg_mut(from) {
            leg.exchange = Exchange::Settled;
            leg.hear(&ack.body);
        }
        let Some(leg) = self.leg_mut(to) else { return };
        leg.exchange = Exchange::Settled;
        let body = description
            .as_ref()
            .ok()
            .map(|answer| answer.written(way, &mut leg.origin));
        let (request, flow) = (leg.acknowledge(seq, body), leg.dialog.flow());
        cx.emit(CallOutput::Ack { token, flow, request });
        match description {
            Ok(answer) => self.aim(cx, from, &answer),
            Err(fault) => {
                debug!(%fault, "late answer refused");
                self.hang_up_both(cx, Cause::PeerFailed);
            }
        }
    }

    /// Its sender changed their mind; the other side's answer still decides.
    pub(super) fn cancel_crossing<E: Entropy>(&mut self, cx: &mut Context<'_, E>, server: ServerId) {
        let meant =
            |crossing: &&Crossing| crossing.server == server && !crossing.answered && crossing.by == Method::Invite;
        if let Some(crossing) = self.crossings.iter().find(meant) {
            cx.emit(CallOutput::Cancel {
                token: crossing.token,
                elsewhere: false,
            });
        }
    }

    /// The call ends under requests that wait for an answer: their senders get one, a late 2xx still gets its ACK.
    pub(super) fn settle_crossings<E: Entropy>(&mut self, cx: &mut Context<'_, E>) {
        for crossing in std::mem::take(&mut self.crossings) {
            let dialog = self.leg(crossing.to).map(|leg| leg.dialog.clone());
            self.settle_crossing(cx, &crossing, dialog);
        }
    }

    /// The same for what is under way on a leg that is over.
    pub(super) fn settle_crossings_of<E: Entropy>(&mut self, cx: &mut Context<'_, E>, gone: &Leg) {
        let touches = |crossing: &mut Crossing| crossing.from == gone.id || crossing.to == gone.id;
        let theirs: Vec<Crossing> = self.crossings.extract_if(.., touches).collect();
        for crossing in theirs {
            let dialog = match crossing.to == gone.id {
                true => Some(gone.dialog.clone()),
                false => self.leg(crossing.to).map(|leg| leg.dialog.clone()),
            };
            self.settle_crossing(cx, &crossing, dialog);
        }
        self.orphan_refreshes(gone);
    }

    fn settle_crossing<E: Entropy>(&mut self, cx: &mut Context<'_, E>, crossing: &Crossing, dialog: Option<Dialog>) {
        if crossing.answered {
            return;
        }
        respond(
            cx,
            crossing.server,
            crossing.request.response(Status::REQUEST_TERMINATED),
        );
        if crossing.by == Method::Invite {
            cx.emit(CallOutput::Cancel {
                token: crossing.token,
                elsewhere: false,
            });
            if let Some(dialog) = dialog {
                self.orphans.push((crossing.token, Box::new(dialog)));
            }
        }
    }

    /// A 2xx to a re-INVITE that nobody waits for.
    pub(super) fn orphan_answered<E: Entropy>(&mut self, cx: &mut Context<'_, E>, token: Token, response: &Response) {
        let Some(at) = self.orphans.iter().position(|(orphan, _)| *orphan == token) else {
            return;
        };
        let (_, dialog) = self.orphans.swap_remove(at);
        if response.status.is_success()
            && let Ok(CSeq { seq, .. }) = response.headers.cseq()
        {
            let (request, flow) = (dialog.ack(seq, None), dialog.flow());
            cx.emit(CallOutput::Ack { token, flow, request });
        }
    }
}

/// What a request says of the session, or its refusal.
fn read<E>(cx: &Context<'_, E>, request: &Request) -> Result<(Wish, Option<Description>), Box<Response>> {
    let wish = Wish::read(request)?;
    Ok((wish, read_offer(cx, request, &request.headers, &request.body)?))
}

/// A change is under way already (RFC 3261 §14.2).
const PENDING: Status = Status::REQUEST_PENDING;
/// The most requests that wait for answers in one call.
const MAX_CROSSINGS: usize = 8;

/// 500 with Retry-After (RFC 3261 §14.2).
fn retry_later(request: &Request) -> Response {
    let mut response = request.response(Status::SERVER_INTERNAL_ERROR);
    response.headers.put(&RetryAfter::new(RETRY_SECONDS));
    response
}

/// Within the 0 to 10 seconds that the RFC gives.
const RETRY_SECONDS: u32 = 2;
