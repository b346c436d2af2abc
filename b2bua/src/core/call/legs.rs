//! The dialogs of a call: which there are, who is joined with whom, and what the caller is told in which of them.

use bytes::Bytes;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::record::CallRecord;
use cusax_common::core::sip::{Request, Response, Status};

use super::reliable::Provisional;
use super::{
    Call, CallOutput, Caller, Context, Exchange, Invitation, InvitationState, Leg, LegId, Phase, invite, respond,
};
use crate::core::dialog::DialogId;
use crate::core::identity;
use crate::core::media::Side;

impl Call {
    pub(super) fn leg(&self, id: LegId) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.id == id)
    }

    pub(super) fn leg_mut(&mut self, id: LegId) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.id == id)
    }

    /// The leg that a request is for. Once one callee has answered, the others have no say.
    pub(super) fn addressed(&mut self, id: DialogId, request: &Request) -> Option<&mut Leg> {
        let pair = self.pair;
        let mut legs = self.legs.iter_mut().filter(|leg| leg.dialog.id() == id);
        let tag = request.headers.from_tag().ok()?;
        // Branches of one INVITE of ours have one tag of ours, and differ by theirs.
        let leg = legs.find(|leg| leg.dialog.remote_tag() == tag)?;
        pair.is_none_or(|pair| pair.has(leg.id)).then_some(leg)
    }

    /// The leg joined with this one.
    pub(super) fn across(&self, id: LegId) -> Option<LegId> {
        self.leg(id)?.peer
    }

    /// Tells the leg joined with this one what its peer calls the session.
    pub(super) fn name_session(&mut self, id: LegId) {
        let Some(leg) = self.leg(id) else { return };
        if let (Some(session), Some(peer)) = (leg.dialog.session(), leg.peer)
            && let Some(peer) = self.leg_mut(peer)
        {
            peer.dialog.join_session(Some(session));
        }
    }

    pub(super) fn next_leg(&mut self) -> LegId {
        let id = LegId(self.next_leg);
        self.next_leg += 1;
        id
    }

    /// The leg of the branch that sent this response to an INVITE of ours; a new one, where another branch speaks up. None
    /// where nobody can tell whose it is, or there are too many.
    pub(super) fn branch<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        index: usize,
        response: &Response,
    ) -> Option<LegId> {
        let invitation = &self.invitations[index];
        let token = invitation.token;
        let tag = response.headers.to_tag().ok().flatten();
        let mut own = self.legs.iter_mut().filter(|leg| leg.invited == Some(token));
        let known =
            own.find(|leg| tag.is_none() || leg.dialog.remote_tag().is_none() || leg.dialog.remote_tag() == tag);
        if let Some(leg) = known {
            leg.dialog.learn(response);
            leg.can.learn(&response.headers);
            leg.private |= identity::asks_privacy(&response.headers);
            leg.known = true;
            return Some(leg.id);
        }
        // A response without a tag is of whichever branch came first.
        let turn = invitation.turn;
        tag?;
        let first = self.legs.iter().find(|leg| leg.invited == Some(token));
        let dialog = first.map(|leg| &leg.dialog).or(invitation.last.as_deref())?;
        let branches = self.legs.iter().filter(|leg| leg.invited == Some(token));
        if branches.count() >= MAX_BRANCHES {
            return None;
        }
        let hop = self.plan.as_ref().and_then(|plan| plan.hop(turn))?;
        let dialog = dialog.fork_calling(&hop.uri, &hop.path);
        let (origin, offered) = (first.map(|leg| leg.origin.clone()), self.offer.is_some());
        let id = self.next_leg();
        let exchange = if offered { Exchange::Ours } else { Exchange::Blank };
        let mut leg = Leg::new(id, Side::Callee, dialog, exchange, cx.entropy);
        if let Some(origin) = origin {
            leg.origin = origin;
        }
        leg.invited = Some(token);
        leg.known = true;
        leg.private = identity::asks_privacy(&response.headers);
        leg.dialog.learn(response);
        leg.can.learn(&response.headers);
        self.legs.push(leg);
        Some(id)
    }

    /// The caller's side of a callee's leg: a dialog with a tag of its own, so that each callee's session is one for itself
    /// (RFC 3261 §13.2.2.4).
    pub(super) fn facing<E: Entropy>(&mut self, cx: &mut Context<'_, E>, far: LegId) -> Option<LegId> {
        if let Some(near) = self.across(far) {
            return Some(near);
        }
        let near = self.fresh(cx)?;
        self.leg_mut(near)?.peer = Some(far);
        self.leg_mut(far)?.peer = Some(near);
        self.name_session(far);
        Some(near)
    }

    /// A dialog of the caller's of which nobody has heard yet.
    pub(super) fn fresh<E: Entropy>(&mut self, cx: &mut Context<'_, E>) -> Option<LegId> {
        let fresh = |leg: &&Leg| leg.side == Side::Caller && !leg.known && leg.peer.is_none();
        if let Some(near) = self.legs.iter().find(fresh) {
            return Some(near.id);
        }
        let first = self.legs.iter().find(|leg| leg.side == Side::Caller)?;
        let seq = self.begun.seq;
        let dialog = first.dialog.fork_answering(cx.dialogs, &cx.draw(), seq);
        let (can, private, heard) = (first.can, first.private, first.heard.clone());
        let id = self.next_leg();
        let exchange = if self.offer.is_some() {
            Exchange::Theirs
        } else {
            Exchange::Blank
        };
        let mut near = Leg::new(id, Side::Caller, dialog, exchange, cx.entropy);
        (near.can, near.private, near.heard) = (can, private, heard);
        cx.emit(CallOutput::Join(near.dialog.id(), self.near_flow));
        self.legs.push(near);
        Some(id)
    }

    /// Forgets a leg; what is to be sent within it was sent.
    pub(super) fn leave<E: Entropy>(&mut self, cx: &mut Context<'_, E>, id: LegId) {
        let Some(at) = self.legs.iter().position(|leg| leg.id == id) else {
            return;
        };
        let mut gone = self.legs.remove(at);
        self.settle_crossings_of(cx, &gone);
        for earlier in gone.earlier.drain(..) {
            let ended = cx.now.wall;
            if let Some(jid) = earlier.caller.clone() {
                cx.emit(CallOutput::Owes { jid, more: false });
            }
            cx.emit(CallOutput::Record(CallRecord { ended, ..earlier }));
        }
        // Others may share it, or come yet.
        let shared = self.legs.iter().any(|leg| leg.dialog.id() == gone.dialog.id());
        let open = self.invitations.iter().any(|invitation| {
            Some(invitation.token) == gone.invited
                && matches!(invitation.state, InvitationState::Inviting | InvitationState::Cancelled)
        });
        if !shared && !open {
            cx.emit(CallOutput::Leave(gone.dialog.id()));
        }
        let made = |invitation: &&mut Invitation| Some(invitation.token) == gone.invited;
        if !shared && let Some(invitation) = self.invitations.iter_mut().find(made) {
            invitation.last = Some(Box::new(gone.dialog));
        }
    }

    /// Forgets every leg of one side but this.
    pub(super) fn leave_others<E: Entropy>(&mut self, cx: &mut Context<'_, E>, side: Side, kept: Option<LegId>) {
        let others: Vec<LegId> = self
            .legs
            .iter()
            .filter(|leg| leg.side == side && Some(leg.id) != kept)
            .map(|leg| leg.id)
            .collect();
        for other in others {
            self.leave(cx, other);
        }
    }

    /// A provisional response to the caller, with what crosses from the callee's.
    pub(super) fn tell_caller<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        near: LegId,
        status: Status,
        body: Option<Bytes>,
        far: Option<&Response>,
    ) {
        let Some(server) = self.asked else { return };
        let describes = body.is_some();
        let Some(leg) = self.leg(near) else { return };
        let required = self
            .begun
            .invite()
            .is_some_and(|asked| invite::requires(asked, "100rel"));
        // A description must not be lost where it need not be (RFC 3262 §3, §5).
        let reliable = required || (leg.can.reliable && describes);
        let Some(mut response) = invite::response(self, leg, status, body, far) else {
            return;
        };
        let Some(leg) = self.leg_mut(near) else { return };
        leg.known = true;
        if reliable {
            if describes {
                leg.exchange = match leg.exchange {
                    Exchange::Blank => Exchange::Ours,
                    Exchange::Theirs => Exchange::Settled,
                    as_it_was => as_it_was,
                };
            }
            let provisional = Provisional { response, describes };
            match leg.sending.send(cx.now.instant, cx.entropy, provisional) {
                Some(numbered) => response = numbered,
                None => return,
            }
        }
        cx.emit(CallOutput::Respond { server, response });
    }

    /// The final response to the caller: every early dialog but this is over.
    pub(super) fn final_response<E: Entropy>(&mut self, cx: &mut Context<'_, E>, response: Response) {
        let Some(server) = self.asked.take() else { return };
        for leg in &mut self.legs {
            leg.sending.stop();
        }
        respond(cx, server, response);
        self.forget_invite();
    }

    /// Nobody is answered or invited by the INVITE any more. What its sender claims to be is said of trunks alone.
    pub(super) fn forget_invite(&mut self) {
        self.begun.forget(matches!(self.caller, Caller::Trunk { .. }));
    }

    /// The 2xx for the caller, as soon as nothing is to be acknowledged before it.
    pub(super) fn answer_caller<E: Entropy>(&mut self, cx: &mut Context<'_, E>, near: LegId, response: Response) {
        if self.leg(near).is_some_and(|leg| leg.sending.holds_answer()) {
            self.held_answer = Some(Box::new((near, response)));
            return;
        }
        self.leave_others(cx, Side::Caller, Some(near));
        self.final_response(cx, response);
        self.phase = Phase::Answering;
    }
}

/// The most dialogs of one INVITE of ours: somebody behind a callee may fork without end.
const MAX_BRANCHES: usize = 8;
