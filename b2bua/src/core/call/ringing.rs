//! The callees of a call: all are invited at once, the first one to answer wins, and what the others say comes too late.

use bytes::Bytes;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::record::Cause;
use cusax_common::core::sip::typed::CSeq;
use cusax_common::core::sip::{Method, Response, Status};
use tracing::{debug, info};

use super::{Call, CallOutput, Context, FarLeg, FarState, Phase, invite, rules};
use crate::core::media::rewrite::{Description, SdpFault};
use crate::core::media::{MediaCommand, Side};
use crate::core::routing::Plan;

impl Call {
    /// Invites the targets of the plan, as many at once as the caller allows.
    pub(super) fn dial<E: Entropy>(&mut self, cx: &mut Context<'_, E>, plan: Plan) {
        self.phase = Phase::Ringing;
        let width = self.width(&plan);
        for target in 0..width {
            self.invite(cx, &plan, (target, 0));
        }
        self.waiting = width..plan.targets.len();
        self.plan = Some(plan);
    }

    /// Invites one target by one of its hops.
    fn invite<E: Entropy>(&mut self, cx: &mut Context<'_, E>, plan: &Plan, place: (usize, usize)) {
        let Some(media) = self.media else { return };
        let hop = &plan.targets[place.0].hops[place.1];
        let (mut leg, mut request, impp) = invite::compose(cx, self, plan, hop);
        self.facts.impp = impp;
        let body = match (&self.offer, &self.early) {
            (Some(offer), Some(early)) => Some(offer.offer_restricted(early.chosen, media.callee, &mut leg.origin)),
            (Some(offer), None) => Some(offer.anchored(media.callee, &mut leg.origin)),
            (None, _) => None,
        };
        if let Some(body) = body {
            crate::core::dialog::set_sdp(&mut request.headers, &mut request.body, body);
        }
        let token = self.token();
        cx.emit(CallOutput::Join(leg.dialog.id().clone(), hop.flow));
        info!(leg = "callee", "inviting");
        cx.emit(CallOutput::Send {
            token,
            flow: hop.flow,
            request,
        });
        self.far.push(FarLeg {
            leg,
            token,
            state: FarState::Inviting,
            failed: None,
            joined: false,
            place,
            heard: false,
        });
    }

    /// Tries the next hop of a target whose last one is not there: it did not answer, could not be reached, is not
    /// serving (RFC 3263 §4.3), or has lost its connection (RFC 5626 §5.3). Whatever has rung is not tried elsewhere.
    fn try_next<E: Entropy>(&mut self, cx: &mut Context<'_, E>, index: usize, status: Status) -> bool {
        let far = &self.far[index];
        let gone = matches!(
            status,
            Status::REQUEST_TIMEOUT | Status::SERVICE_UNAVAILABLE | Status::FLOW_FAILED
        );
        let (target, hop) = far.place;
        let wanted =
            far.state == FarState::Inviting && !far.heard && self.near.asked.is_some() && self.winner.is_none();
        let Some(plan) = self
            .plan
            .take_if(|plan| gone && wanted && plan.targets[target].hops.len() > hop + 1)
        else {
            return false;
        };
        debug!(leg = "callee", status = status.code(), "trying the next hop");
        self.invite(cx, &plan, (target, hop + 1));
        self.plan = Some(plan);
        let far = &mut self.far[index];
        far.state = FarState::Gone;
        cx.emit(CallOutput::Leave(far.leg.dialog.id().clone()));
        true
    }

    /// A response to one of our INVITEs.
    pub(super) fn invited<E: Entropy>(&mut self, cx: &mut Context<'_, E>, index: usize, response: &Response) {
        let far = &mut self.far[index];
        match (far.state, response.status) {
            (FarState::Inviting, status) if !status.is_final() => self.progress(cx, index, response),
            (FarState::Inviting, status) if status.is_success() => {
                far.leg.dialog.learn(response);
                far.joined = true;
                far.state = FarState::Answered;
                self.answered(cx, index, response);
            }
            (FarState::Inviting | FarState::Cancelled, status) if status.is_final() && !status.is_success() => {
                self.failed(cx, index, status);
            }
            // It crossed our CANCEL, or another one has won: acknowledge, and hang up.
            (FarState::Cancelled, status) if status.is_success() => {
                far.leg.dialog.learn(response);
                far.joined = true;
                self.dismiss(cx, index, response);
            }
            // A copy of a 2xx whose ACK waits for the caller's.
            _ => {}
        }
    }

    pub(super) fn progress<E: Entropy>(&mut self, cx: &mut Context<'_, E>, index: usize, response: &Response) {
        if response.status == Status::TRYING {
            return;
        }
        let far = &mut self.far[index];
        far.heard = true;
        far.leg.dialog.learn(response);
        let body = self.early_media(cx, index, response);
        // A second target's ringing tells the caller nothing new; its media does.
        let status = if body.is_some() {
            response.status
        } else {
            Status::RINGING
        };
        self.provisional_from(cx, status, body, Some(response));
    }

    /// Joins early media of a callee; the caller's description follows from the first one that speaks.
    pub(super) fn early_media<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        index: usize,
        response: &Response,
    ) -> Option<Bytes> {
        let (Some(media), Some(offer)) = (self.media, &self.offer) else {
            return None;
        };
        if response.body.is_empty() || self.winner.is_some_and(|winner| winner != index) {
            return None;
        }
        let rules = rules(cx);
        let answer = Description::read(&response.body, &rules).ok()?;
        let body = match &self.early {
            Some(early) => {
                answer.keeps_to(early.chosen).ok()?;
                early.body.clone()
            }
            None => {
                answer.answers(offer).ok()?;
                answer.anchored(media.caller, &mut self.near.origin)
            }
        };
        let far = self.far[index].leg.dialog.flow().remote.ip();
        let near = self.near.dialog.flow().remote.ip();
        self.aim(cx, Side::Callee, &answer, far);
        let offer = self.offer.clone()?;
        if self.early.is_none() {
            self.aim(cx, Side::Caller, &offer, near);
        }
        Some(body)
    }

    /// A callee answered: the first one wins.
    pub(super) fn answered<E: Entropy>(&mut self, cx: &mut Context<'_, E>, index: usize, response: &Response) {
        if self.winner.is_some() || self.near.asked.is_none() {
            return self.dismiss(cx, index, response);
        }
        self.winner = Some(index);
        for other in 0..self.far.len() {
            if other != index {
                self.cancel(cx, other);
            }
        }
        let Some(media) = self.media else { return };
        let rules = rules(cx);
        let description = match Description::read(&response.body, &rules) {
            Ok(description) => description,
            Err(fault) => return self.unfit(cx, index, response, fault),
        };
        let seq = response.headers.one::<CSeq>().map_or(0, |cseq| cseq.seq);
        let far = &mut self.far[index];
        let far_ip = far.leg.dialog.flow().remote.ip();
        let body = match (&self.offer, &self.early) {
            (Some(_), Some(early)) => description.keeps_to(early.chosen).map(|()| early.body.clone()),
            (Some(offer), None) => description
                .answers(offer)
                .map(|()| description.anchored(media.caller, &mut self.near.origin)),
            (None, _) => Ok(description.anchored(media.caller, &mut self.near.origin)),
        };
        let body = match body {
            Ok(body) => body,
            Err(fault) => return self.unfit(cx, index, response, fault),
        };
        if let Some(offer) = self.offer.clone() {
            far.acknowledge(cx, seq);
            let near_ip = self.near.dialog.flow().remote.ip();
            self.aim(cx, Side::Caller, &offer, near_ip);
        } else {
            far.leg.unacknowledged = Some((far.token, seq));
        }
        self.aim(cx, Side::Callee, &description, far_ip);
        if self.early.is_some() {
            cx.emit(CallOutput::Media(MediaCommand::Stop {
                id: self.id,
                side: Side::Caller,
            }));
        }
        self.facts.video &= description.video;
        self.facts.answered = Some(cx.now.wall);
        self.facts.status = Status::OK.code();
        self.deadline = None;
        info!(leg = "callee", "answered");
        self.final_response(cx, Status::OK, Some(body), Some(response));
        self.phase = Phase::Answering;
        self.tell_busy(cx, true);
    }

    /// The answer cannot be used: the callee is acknowledged and hung up, the caller told.
    pub(super) fn unfit<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        index: usize,
        response: &Response,
        fault: SdpFault,
    ) {
        debug!(leg = "callee", %fault, "answer refused");
        self.dismiss(cx, index, response);
        self.abandon(cx, Status::NOT_ACCEPTABLE_HERE, Cause::PeerFailed);
    }

    /// Acknowledges a 2xx that nobody wants, and hangs up.
    pub(super) fn dismiss<E: Entropy>(&mut self, cx: &mut Context<'_, E>, index: usize, response: &Response) {
        let seq = response.headers.one::<CSeq>().map_or(0, |cseq| cseq.seq);
        let far = &mut self.far[index];
        far.acknowledge(cx, seq);
        far.state = FarState::Gone;
        let bye = far.leg.dialog.request(Method::Bye);
        let (flow, id) = (far.leg.dialog.flow(), far.leg.dialog.id().clone());
        self.send(cx, flow, bye);
        cx.emit(CallOutput::Leave(id));
    }

    /// Another branch behind an INVITE of ours answered too, though one was taken (RFC 3261 §13.2.2.4): it is hung up.
    pub(super) fn dismiss_branch<E: Entropy>(&mut self, cx: &mut Context<'_, E>, index: usize, response: &Response) {
        let far = &self.far[index];
        let (token, mut branch) = (far.token, far.leg.dialog.clone());
        branch.learn(response);
        let seq = response.headers.one::<CSeq>().map_or(0, |cseq| cseq.seq);
        let (flow, request) = (branch.flow(), branch.ack(seq, None));
        cx.emit(CallOutput::Ack { token, flow, request });
        let bye = branch.request(Method::Bye);
        self.send(cx, flow, bye);
    }

    /// One target is out. When none is left, the caller hears the best of what came (RFC 3261 §16.7).
    pub(super) fn failed<E: Entropy>(&mut self, cx: &mut Context<'_, E>, index: usize, status: Status) {
        if self.far[index].state == FarState::Gone || self.try_next(cx, index, status) {
            return;
        }
        let far = &mut self.far[index];
        far.state = FarState::Gone;
        far.failed = Some(status);
        cx.emit(CallOutput::Leave(far.leg.dialog.id().clone()));
        debug!(leg = "callee", status = status.code(), "failed");
        if self.near.asked.is_none() || self.winner.is_some() || !matches!(self.phase, Phase::Ringing) {
            return;
        }
        if status.code() >= 600 {
            self.waiting = 0..0;
            for other in 0..self.far.len() {
                self.cancel(cx, other);
            }
        } else if let (Some(target), Some(plan)) = (self.waiting.next(), self.plan.take()) {
            self.invite(cx, &plan, (target, 0));
            self.plan = Some(plan);
            return;
        } else if self.far.iter().any(|far| far.state == FarState::Inviting) {
            return;
        }
        let best = self
            .far
            .iter()
            .filter_map(|far| far.failed)
            .min_by_key(|status| rank(*status));
        let outcome = crate::core::cause::of_failure(best.unwrap_or(status), self.facts.trunk.is_some());
        self.abandon(cx, outcome.status, outcome.cause);
    }
}

/// Which failure of several the caller hears: 6xx, then what the callee said, then that it was not there (RFC 3261 §16.7).
fn rank(status: Status) -> u16 {
    match status.code() {
        600..=699 => 0,
        486 | 480 | 487 => 1,
        408 | 430 => 4,
        400..=499 => 2,
        _ => 3,
    }
}
