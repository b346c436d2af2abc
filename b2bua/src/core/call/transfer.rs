//! The other half of a transfer: a call that is made for somebody who is in another one, and takes their leg when it is
//! answered.
//!
//! ```text
//!   transferor        call that asks            call that is made        callee
//!       │  REFER           │                           │                    │
//!       ├─────────────────►│ ──────── Refer ──────────►│ INVITE (the leg's session)
//!       │◄── NOTIFY 100 ───┤ ◄─────── Begun ───────────┤───────────────────►│
//!       │◄── NOTIFY 180 ───┤ ◄────── Progress ─────────┤◄────── 180 ────────┤
//!       │                  │ ◄─────── Claim ───────────┤◄────── 200 ────────┤
//!       │◄── NOTIFY 200 ───┤ ───────── Leg ───────────►│
//!       │      BYE         │      re-INVITE (the callee's session) ◄────────┤
//! ```
//!
//! Until then it has no leg of a caller's: nobody hears its early media, and its failure is told to the call that asked.

use std::time::Instant;

use cusax_common::core::entropy::Entropy;
use cusax_common::core::id::SessionId;
use cusax_common::core::record::Cause;
use cusax_common::core::sip::typed::{MaxForwards, ReferredBy};
use cusax_common::core::sip::{Method, Request, Response, Status};
use tracing::debug;

use super::output::Word;
use super::referral::{Moved, Referral};
use super::reliable::Taken;
use super::upkeep::What;
use super::{Call, CallOutput, Context, Dialling, Exchange, Leg, LegId, Pair, Phase, invite, routing, rules};
use crate::core::cause::Because;
use crate::core::dialog::{DialogId, MAX_FORWARDS, set_sdp};
use crate::core::flow::Flow;
use crate::core::identity;
use crate::core::media::rewrite::Description;
use crate::core::media::{MediaCommand, MediaId, Side, Target};
use crate::core::routing::Owner;

/// The leg whose place in a call another one is to take.
#[derive(Debug)]
pub struct Replaced {
    /// Its dialog.
    pub dialog: DialogId,
    /// The other side's tag.
    pub remote_tag: String,
    /// Who asks for it.
    pub account: super::Caller,
    /// It must not have been answered yet.
    pub early_only: bool,
    /// How the one who is to be joined is reached.
    pub flow: Flow,
    /// Whether their session must not be heard on the way.
    pub secure: bool,
}

/// A leg that is asked to take the session of the one it is joined with.
#[derive(Debug)]
pub struct Joining {
    leg: LegId,
    /// What it is offered.
    offered: Description,
    /// Who is to be offered its answer.
    then: Option<LegId>,
}

impl Call {
    /// Begins a call for somebody who is in the call `on_behalf`.
    pub fn refer_to<E: Entropy>(
        cx: &mut Context<'_, E>,
        id: MediaId,
        session: SessionId,
        on_behalf: MediaId,
        dialling: Dialling,
        referral: Referral,
    ) -> Self {
        let Dialling { dialled, device, .. } = dialling;
        let mut invite = Request::new(Method::Invite, referral.target);
        invite.headers = referral.remaining.said.clone();
        invite.headers.put(&MaxForwards(MAX_FORWARDS));
        if let Some(by) = referral.referred_by {
            invite.headers.put(&ReferredBy(by));
        }
        let mut call = Self::blank(cx, id, session, referral.payer, invite, referral.flow, &dialled);
        call.device = device;
        call.facts.video = referral.offer.video;
        call.offer = Some(Box::new(referral.offer));
        call.for_caller = Some(Box::new(referral.remaining));
        call.payer_said = Some(Box::new(referral.payer_said));
        call.on_behalf = Some(on_behalf);
        call.secure |= referral.secure;
        debug!(to = %cusax_common::core::secret::Pii(&call.facts.to), "call begins, for a transfer");
        cx.emit(CallOutput::Tell(on_behalf, Word::Begun));
        match routing::lookup(&dialled) {
            Some(lookup) => {
                call.phase = Phase::Locating(dialled);
                cx.emit(CallOutput::Fetch(lookup));
            }
            None => call.route(cx, dialled, Owner::Nobody),
        }
        call
    }

    /// The payer has heard the warning; if they could not, nobody is dialled at their cost.
    pub(super) fn referrer_warned<E: Entropy>(&mut self, cx: &mut Context<'_, E>, is_heard: bool) {
        match self.phase {
            Phase::Warning(_) if is_heard => self.warned(cx),
            Phase::Warning(_) => self.refuse(cx, Status::FORBIDDEN, Cause::Barred),
            _ => {}
        }
    }

    /// A callee of such a call has something to say before it answers.
    pub(super) fn progress_unheard<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        on_behalf: MediaId,
        far: LegId,
        response: &Response,
    ) {
        let Some(leg) = self.leg_mut(far) else { return };
        let taken = leg.receiving.take(response);
        if taken == Taken::OutOfOrder {
            return;
        }
        if let Taken::InOrder(rack) = taken {
            let described = invite::is_sdp(&response.headers) && !response.body.is_empty();
            if described && leg.exchange == Exchange::Ours {
                leg.exchange = Exchange::Settled;
                leg.hear(&response.body);
            }
            self.acknowledge_provisional(cx, far, rack, None);
        }
        cx.emit(CallOutput::Tell(on_behalf, Word::Progress(response.status)));
    }

    /// A callee of such a call answered, the first one to do so: the leg that it is for is asked for.
    pub(super) fn answered_for_another<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        on_behalf: MediaId,
        far: LegId,
        response: &Response,
    ) {
        let near = self.next_leg();
        self.pair = Some(Pair {
            caller: near,
            callee: far,
        });
        let Some(leg) = self.won(cx, far) else { return };
        let text = match leg.exchange {
            Exchange::Settled => leg.heard.clone(),
            _ => response.body.clone(),
        };
        let fits = Description::read(&text, rules(cx)).and_then(|description| {
            let offer = self.offer.as_deref().map_or(Ok(()), |offer| description.answers(offer));
            offer.map(|()| description)
        });
        let description = match fits {
            Ok(description) => description,
            Err(fault) => return self.unfit(cx, far, response, fault),
        };
        let (now, usual) = (cx.now.instant, cx.settings.session_interval);
        let Some(leg) = self.leg_mut(far) else { return };
        leg.exchange = Exchange::Settled;
        leg.hear(&text);
        leg.timer.granted(now, usual, &response.headers);
        let seq = response.headers.cseq().map_or(0, |cseq| cseq.seq);
        self.acknowledge(cx, far, seq);
        self.aim(cx, far, &description);
        self.facts.video &= description.video;
        self.on_behalf = None;
        self.phase = Phase::Up;
        self.count_as_answered(cx, far);
        self.claiming = true;
        cx.emit(CallOutput::Tell(on_behalf, Word::Claim));
    }

    /// The call of which a side is to be replaced: allowed if the one who asks is that side.
    pub(super) fn replace<E: Entropy>(&mut self, cx: &mut Context<'_, E>, from: MediaId, replaced: &Replaced) {
        let leg = self.legs.iter().find(|leg| {
            leg.dialog.id() == replaced.dialog && leg.dialog.remote_tag() == Some(replaced.remote_tag.as_str())
        });
        let paired = leg.filter(|leg| self.pair.is_some_and(|pair| pair.has(leg.id)));
        let theirs = paired.filter(|leg| self.is_at(leg.side, &replaced.account));
        let refusal = match theirs {
            // RFC 3891 §3: of dialogs that are not theirs nothing is said.
            None => Some(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST),
            Some(_) if replaced.early_only => Some(Status::BUSY_HERE),
            // RFC 3261 §26.2.2: what nobody may read along is not joined with what somebody may.
            Some(leg) if !self.is_as_secure(leg, replaced) => Some(Status::FORBIDDEN),
            Some(_) if !matches!(self.phase, Phase::Up) || self.is_unsettled() || self.transfer.is_some() => {
                Some(Status::REQUEST_PENDING)
            }
            Some(_) => None,
        };
        let word = match (refusal, theirs) {
            (None, Some(leg)) => {
                (self.replaced, self.claiming) = (Some(leg.id), true);
                Word::Claim
            }
            (status, _) => Word::Failed(status.unwrap_or(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST)),
        };
        cx.emit(CallOutput::Tell(from, word));
    }

    fn is_as_secure(&self, replaced: &Leg, by: &Replaced) -> bool {
        let other = replaced.peer.and_then(|peer| self.leg(peer));
        let other = other.is_some_and(|other| other.dialog.flow().transport.is_secure());
        (!self.is_secure() || by.flow.transport.is_secure()) && (!by.secure || other)
    }

    /// The leg that was asked for. None if it is no more.
    pub(super) fn take_over<E: Entropy>(&mut self, cx: &mut Context<'_, E>, moved: Option<Box<Moved>>) {
        let replaced = self.replaced.take();
        let Some(moved) = moved else {
            // What was to be replaced stays; what was called in vain is over.
            if replaced.is_none() {
                self.hang_up_both(cx, Cause::CallerHungUp);
            }
            return;
        };
        let Some(pair) = self.pair.filter(|_| matches!(self.phase, Phase::Up)) else {
            // It was over in the meantime: whoever comes is hung up.
            return self.turn_away(cx, *moved);
        };
        let side = replaced
            .and_then(|leg| Some(self.leg(leg)?.side))
            .unwrap_or(Side::Caller);
        let Moved { mut leg, speaker } = *moved;
        let other = pair.of(side.other());
        if replaced.is_some() {
            self.tell_busy(cx, false);
            self.settle_crossings(cx);
            self.say_goodbye(cx, pair.of(side), Because::Nothing);
            self.silence_side(cx, side);
        }
        (leg.id, leg.side, leg.peer) = (self.next_leg(), side, Some(other));
        let name = leg.id;
        cx.emit(CallOutput::Join(leg.dialog.id(), leg.dialog.flow()));
        if side == Side::Caller {
            self.near_flow = leg.dialog.flow();
        }
        self.legs.push(leg);
        match side {
            Side::Caller => {
                (self.pair, self.for_caller) = (Some(Pair { caller: name, ..pair }), Some(Box::new(speaker)))
            }
            Side::Callee => {
                (self.pair, self.for_callee) = (Some(Pair { callee: name, ..pair }), Some(Box::new(speaker)))
            }
        }
        if let Some(leg) = self.leg_mut(other) {
            leg.peer = Some(name);
        }
        if replaced.is_some() {
            self.tell_busy(cx, true);
        }
        self.name_session(name);
        self.name_session(other);
        let heard = self.leg(other).map(|leg| leg.heard.clone()).unwrap_or_default();
        match (Description::read(&heard, rules(cx)), replaced) {
            // The callee has answered what this leg described before.
            (Ok(theirs), None) => self.offer_anew(cx, name, theirs, None),
            (Ok(theirs), Some(_)) => self.offer_anew(cx, name, theirs.resumed(), Some(other)),
            (Err(_), _) => self.hang_up_both(cx, Cause::PeerFailed),
        }
    }

    /// Nothing more goes to a side, and nothing comes from it, until it is aimed anew.
    fn silence_side<E: Entropy>(&self, cx: &mut Context<'_, E>, side: Side) {
        if self.is_relayed() {
            cx.emit(CallOutput::Media(MediaCommand::Aim {
                id: self.id,
                side,
                target: Target::default(),
            }));
        }
    }

    /// Offers a leg what another one described; what it answers is offered to `then`, if that has not heard it yet.
    fn offer_anew<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        name: LegId,
        offered: Description,
        then: Option<LegId>,
    ) {
        let Some((side, way)) = self.leg(name).and_then(|leg| Some((leg.side, self.way(leg.side)?))) else {
            return;
        };
        let audience = self.audience_at(cx, side);
        let speaker = self.speaker_at(side.other());
        let usual = cx.settings.session_interval;
        let Some(leg) = self.leg_mut(name) else { return };
        leg.exchange = Exchange::Ours;
        let body = offered.written(way, &mut leg.origin);
        let mut request = leg.dialog.request(Method::Invite);
        invite::offer_options(leg, usual, &mut request.headers);
        if let Some(speaker) = &speaker {
            identity::stamp(&mut request.headers, speaker.party(), &speaker.said, &audience);
        }
        set_sdp(&mut request.headers, &mut request.body, body);
        let flow = leg.dialog.flow();
        let token = self.send(cx, flow, request);
        self.note(
            token,
            name,
            What::Join(Box::new(Joining {
                leg: name,
                offered,
                then,
            })),
        );
    }

    /// A leg that was joined was busy with a change of its own: it is asked again in a moment (RFC 3261 §14.1).
    pub(super) fn join_later(&mut self, at: Instant, joining: Box<Joining>) {
        self.joining = Some((at, joining));
    }

    /// Whether a leg is being asked to take a new session, or is to be asked soon.
    pub(super) fn is_joining(&self) -> bool {
        self.claiming || self.joining.is_some() || self.is_offering()
    }

    /// Time has come to `cx.now`.
    pub(super) fn join_again<E: Entropy>(&mut self, cx: &mut Context<'_, E>) {
        if let Some((_, joining)) = self.joining.take_if(|(at, _)| *at <= cx.now.instant) {
            let Joining { leg, offered, then } = *joining;
            self.offer_anew(cx, leg, offered, then);
        }
    }

    /// A leg that was joined took its new session.
    pub(super) fn rejoined<E: Entropy>(&mut self, cx: &mut Context<'_, E>, joining: Joining, response: &Response) {
        let Joining {
            leg: name,
            offered,
            then,
        } = joining;
        let fits = Description::read(&response.body, rules(cx))
            .and_then(|description| description.answers(&offered).map(|()| description));
        let description = match fits {
            Ok(description) => description,
            Err(fault) => {
                debug!(%fault, "answer of a leg that was joined refused");
                return self.hang_up_both(cx, Cause::PeerFailed);
            }
        };
        if let Some(leg) = self.leg_mut(name) {
            leg.exchange = Exchange::Settled;
            leg.hear(&response.body);
        }
        self.aim(cx, name, &description);
        if let Some(then) = then {
            self.offer_anew(cx, then, description, None);
        }
    }

    /// Whether those who are in it when it is up have somebody to speak with, or somebody is being reached for them.
    #[doc(hidden)]
    #[must_use]
    pub fn is_whole(&self) -> bool {
        if !matches!(self.phase, Phase::Up) {
            return true;
        }
        let Some(pair) = self.pair else { return false };
        match (self.leg(pair.caller), self.leg(pair.callee)) {
            (Some(caller), Some(callee)) => caller.peer == Some(callee.id) && callee.peer == Some(caller.id),
            (None, Some(_)) | (Some(_), None) => self.is_waiting(),
            (None, None) => false,
        }
    }

    /// Whoever came too late is hung up.
    fn turn_away<E: Entropy>(&mut self, cx: &mut Context<'_, E>, moved: Moved) {
        let Moved { mut leg, .. } = moved;
        leg.id = self.next_leg();
        let name = leg.id;
        cx.emit(CallOutput::Join(leg.dialog.id(), leg.dialog.flow()));
        self.legs.push(leg);
        self.say_goodbye(cx, name, Because::Nothing);
    }
}
