//! Changes of a call that is up: re-INVITE passed through (RFC 3261 §14), UPDATE and INFO likewise.
//!
//! One re-INVITE at a time crosses a call. A second one meets 491 when it comes from the other side, and 500 with
//! Retry-After when it comes from the same side (§14.2).

use cusax_common::core::entropy::Entropy;
use cusax_common::core::record::Cause;
use cusax_common::core::sip::typed::{CSeq, RetryAfter};
use cusax_common::core::sip::{Method, Request, Response, Status};
use tracing::debug;

use super::{Call, CallOutput, Context, Phase, Token, invite, read_offer, respond, rules};
use crate::core::dialog::set_sdp;
use crate::core::media::Side;
use crate::core::media::rewrite::Description;
use crate::core::transaction::ServerId;

/// A re-INVITE on its way through.
#[derive(Debug)]
pub struct Modification {
    from: Side,
    server: ServerId,
    token: Token,
    request: Request,
    offer: Option<Description>,
    answered: bool,
}

impl Modification {
    /// Our own INVITE on the other side.
    pub fn token(&self) -> Token {
        self.token
    }
}

/// A request within the dialog that was passed on and waits for its answer.
#[derive(Debug)]
pub struct Relayed {
    /// Ours, on the other side.
    pub token: Token,
    /// Theirs.
    pub server: ServerId,
    /// Who asked.
    pub from: Side,
    /// What they asked.
    pub request: Request,
    /// What an UPDATE offers.
    offer: Option<Description>,
}

impl Call {
    /// A side wants to change the session.
    pub(super) fn reinvite<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        side: Side,
        server: ServerId,
        request: &Request,
    ) {
        if let Some(modify) = &self.modify {
            let same = modify.from == side;
            return respond(
                cx,
                server,
                if same {
                    retry_later(request)
                } else {
                    request.response(PENDING)
                },
            );
        }
        if !matches!(self.phase, Phase::Up) {
            return respond(cx, server, request.response(PENDING));
        }
        let offer = match read_offer(cx, request, &request.headers, &request.body) {
            Ok(offer) => offer,
            Err(response) => return respond(cx, server, *response),
        };
        respond(cx, server, request.response(Status::TRYING));
        let Some(token) = self.pass_request(cx, side.other(), request, offer.as_ref()) else {
            return respond(cx, server, request.response(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST));
        };
        self.modify = Some(Modification {
            from: side,
            server,
            token,
            request: request.clone(),
            offer,
            answered: false,
        });
    }

    /// The other side's answer to it.
    pub(super) fn modification_answered<E: Entropy>(&mut self, cx: &mut Context<'_, E>, response: &Response) {
        if !response.status.is_final() {
            return;
        }
        let Some(mut modify) = self.modify.take() else { return };
        if !response.status.is_success() {
            let status = crate::core::cause::of_change(response.status);
            respond(cx, modify.server, modify.request.response(status));
            // RFC 3261 §14.1: the dialog itself is gone.
            if matches!(
                response.status,
                Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST | Status::REQUEST_TIMEOUT
            ) {
                self.hang_up_both(cx, Cause::PeerFailed);
            }
            return;
        }
        let to = modify.from.other();
        let seq = response.headers.one::<CSeq>().map_or(0, |cseq| cseq.seq);
        let description = Description::read(&response.body, &rules(cx));
        let fits = description.and_then(|description| {
            if let Some(offer) = &modify.offer {
                description.answers(offer)?;
            }
            Ok(description)
        });
        let late = modify.offer.is_none() && fits.is_ok();
        let Some(leg) = self.side_mut(to) else { return };
        leg.dialog.refresh(&response.headers);
        if late {
            leg.unacknowledged = Some((modify.token, seq));
        } else {
            let ack = leg.acknowledge(seq, None);
            let flow = leg.dialog.flow();
            cx.emit(CallOutput::Ack {
                token: modify.token,
                flow,
                request: ack,
            });
        }
        let description = match fits {
            Ok(description) => description,
            Err(fault) => {
                debug!(%fault, "answer to a re-INVITE refused");
                return respond(cx, modify.server, modify.request.response(Status::NOT_ACCEPTABLE_HERE));
            }
        };
        let Some(ours) = self.address(modify.from) else { return };
        let Some(leg) = self.side_mut(modify.from) else { return };
        leg.dialog.refresh(&modify.request.headers);
        let body = description.anchored(ours, &mut leg.origin);
        if let Some(offer) = &modify.offer {
            self.aim_side(cx, modify.from, offer);
        }
        self.aim_side(cx, to, &description);
        let response = self.in_dialog_response(modify.from, &modify.request, response, Some(body));
        respond(cx, modify.server, response);
        modify.answered = true;
        self.modify = Some(modify);
    }

    /// It got no answer at all.
    pub(super) fn modification_failed<E: Entropy>(&mut self, cx: &mut Context<'_, E>) {
        let Some(modify) = self.modify.take() else { return };
        if !modify.answered {
            respond(cx, modify.server, modify.request.response(Status::REQUEST_TIMEOUT));
        }
        self.hang_up_both(cx, Cause::PeerFailed);
    }

    /// Its sender acknowledged: the change is complete.
    pub(super) fn modification_acknowledged<E: Entropy>(&mut self, cx: &mut Context<'_, E>, side: Side, ack: &Request) {
        if self
            .modify
            .as_ref()
            .is_none_or(|modify| modify.from != side || !modify.answered)
        {
            return;
        }
        self.modify = None;
        self.late_answer(cx, side.other(), ack);
    }

    /// The ACK of one side carries the answer to the offer that the other side's 2xx made.
    pub(super) fn late_answer<E: Entropy>(&mut self, cx: &mut Context<'_, E>, to: Side, ack: &Request) {
        let Some(ours) = self.address(to) else { return };
        let Some((token, seq)) = self.side_mut(to).and_then(|leg| leg.unacknowledged) else {
            return;
        };
        let description = Description::read(&ack.body, &rules(cx));
        let Some(leg) = self.side_mut(to) else { return };
        let body = description
            .as_ref()
            .ok()
            .map(|answer| answer.anchored(ours, &mut leg.origin));
        let request = leg.acknowledge(seq, body);
        let flow = leg.dialog.flow();
        cx.emit(CallOutput::Ack { token, flow, request });
        match description {
            Ok(answer) => self.aim_side(cx, to.other(), &answer),
            Err(fault) => {
                debug!(%fault, "late answer refused");
                self.hang_up_both(cx, Cause::PeerFailed);
            }
        }
    }

    /// Its sender changed their mind; the other side's answer still decides.
    pub(super) fn cancel_modification<E: Entropy>(&mut self, cx: &mut Context<'_, E>, server: ServerId) {
        if let Some(modify) = &self.modify
            && modify.server == server
            && !modify.answered
        {
            cx.emit(CallOutput::Cancel {
                token: modify.token,
                elsewhere: false,
            });
        }
    }

    /// The call ends under a pending change: its sender gets a final answer, a late 2xx still gets its ACK.
    pub(super) fn settle_modification<E: Entropy>(&mut self, cx: &mut Context<'_, E>) {
        let Some(modify) = self.modify.take() else { return };
        if !modify.answered {
            respond(cx, modify.server, modify.request.response(Status::REQUEST_TERMINATED));
            cx.emit(CallOutput::Cancel {
                token: modify.token,
                elsewhere: false,
            });
            self.orphans.push((modify.token, modify.from.other()));
        }
    }

    /// A 2xx to a re-INVITE that nobody waits for.
    pub(super) fn orphan_answered<E: Entropy>(&mut self, cx: &mut Context<'_, E>, token: Token, response: &Response) {
        let Some(at) = self.orphans.iter().position(|(orphan, _)| *orphan == token) else {
            return;
        };
        if !response.status.is_final() {
            return;
        }
        let (_, side) = self.orphans.swap_remove(at);
        if response.status.is_success()
            && let Ok(CSeq { seq, .. }) = response.headers.one::<CSeq>()
            && let Some(leg) = self.side_mut(side)
        {
            let request = leg.acknowledge(seq, None);
            let flow = leg.dialog.flow();
            cx.emit(CallOutput::Ack { token, flow, request });
        }
    }

    /// Passes UPDATE or INFO to the other side.
    pub(super) fn pass<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        side: Side,
        server: ServerId,
        request: &Request,
    ) {
        if self.winner.is_none() || matches!(self.phase, Phase::Over) || self.relayed.len() >= MAX_RELAYED {
            return respond(cx, server, retry_later(request));
        }
        if request.method == Method::Info && !invite::may_cross(&request.headers) {
            return respond(cx, server, invite::unsupported_media(request));
        }
        let mut offer = None;
        if request.method == Method::Update {
            if self.modify.is_some() {
                return respond(cx, server, request.response(PENDING));
            }
            offer = match read_offer(cx, request, &request.headers, &request.body) {
                Ok(offer) => offer,
                Err(response) => return respond(cx, server, *response),
            };
        }
        match self.pass_request(cx, side.other(), request, offer.as_ref()) {
            Some(token) => {
                self.relayed.push(Relayed {
                    token,
                    server,
                    from: side,
                    request: request.clone(),
                    offer,
                });
            }
            None => respond(cx, server, request.response(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST)),
        }
    }

    /// The answer to a request that was passed on.
    pub(super) fn passed<E: Entropy>(&mut self, cx: &mut Context<'_, E>, at: usize, response: &Response) {
        if !response.status.is_final() {
            return;
        }
        let relayed = self.relayed.swap_remove(at);
        let mut body = None;
        if let (Some(offer), true) = (&relayed.offer, response.status.is_success()) {
            let answer = Description::read(&response.body, &rules(cx));
            let (Ok(answer), Some(ours)) = (answer, self.address(relayed.from)) else {
                return respond(
                    cx,
                    relayed.server,
                    relayed.request.response(Status::NOT_ACCEPTABLE_HERE),
                );
            };
            if let Some(leg) = self.side_mut(relayed.from) {
                body = Some(answer.anchored(ours, &mut leg.origin));
            }
            self.aim_side(cx, relayed.from, offer);
            self.aim_side(cx, relayed.from.other(), &answer);
        }
        let answer = self.in_dialog_response(relayed.from, &relayed.request, response, body);
        respond(cx, relayed.server, answer);
        if response.status == Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST {
            self.hang_up_both(cx, Cause::PeerFailed);
        }
    }

    /// Makes and sends the counterpart of an in-dialog request on the other side.
    fn pass_request<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        to: Side,
        request: &Request,
        offer: Option<&Description>,
    ) -> Option<Token> {
        let ours = self.address(to)?;
        let leg = self.side_mut(to)?;
        let mut counterpart = leg.dialog.request(request.method.clone());
        crate::core::headers::cross(&request.headers, &mut counterpart.headers);
        match offer {
            Some(offer) => {
                let body = offer.anchored(ours, &mut leg.origin);
                set_sdp(&mut counterpart.headers, &mut counterpart.body, body);
            }
            None => invite::copy_body(&request.headers, &request.body, &mut counterpart),
        }
        let flow = leg.dialog.flow();
        Some(self.send(cx, flow, counterpart))
    }

    /// Our RTP address as that side is told.
    fn address(&self, side: Side) -> Option<std::net::SocketAddr> {
        let media = self.media?;
        Some(match side {
            Side::Caller => media.caller,
            Side::Callee => media.callee,
        })
    }

    fn aim_side<E: Entropy>(&mut self, cx: &mut Context<'_, E>, side: Side, description: &Description) {
        if let Some(leg) = self.side_mut(side) {
            let ip = leg.dialog.flow().remote.ip();
            self.aim(cx, side, description, ip);
        }
    }
}

/// A change is under way already (RFC 3261 §14.2).
const PENDING: Status = Status::REQUEST_PENDING;
/// The most INFO and UPDATE requests that wait for answers in one call.
const MAX_RELAYED: usize = 8;

/// 500 with Retry-After (RFC 3261 §14.2).
fn retry_later(request: &Request) -> Response {
    let mut response = request.response(Status::SERVER_INTERNAL_ERROR);
    response.headers.put(&RetryAfter::new(RETRY_SECONDS));
    response
}

/// Within the 0 to 10 seconds that the RFC gives.
const RETRY_SECONDS: u32 = 2;
