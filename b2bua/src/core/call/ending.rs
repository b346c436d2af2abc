//! How a call ends: who is refused, cancelled or hung up, in which order, and the record that remains.

use std::time::Duration;

use cusax_common::core::entropy::Entropy;
use cusax_common::core::record::{CallRecord, Cause};
use cusax_common::core::sip::typed::Reason;
use cusax_common::core::sip::{Method, Request, Status};
use cusax_common::core::time::Wall;
use tracing::{debug, info};

use super::limits::Limits;
use super::output::Word;
use super::session_timer::SessionTimer;
use super::{Call, CallOutput, Caller, Context, InvitationState, Leg, LegId, Phase, invite, respond};
use crate::core::cause::Because;
use crate::core::media::rewrite::SdpFault;
use crate::core::media::{MediaCommand, Side};
use crate::core::transaction::ServerId;

impl Call {
    /// Hangs up: whoever is not up yet is cancelled or refused, whoever is up gets BYE.
    pub(super) fn bye<E: Entropy>(&mut self, cx: &mut Context<'_, E>, leg: LegId, server: ServerId, request: &Request) {
        let Some(side) = self.leg(leg).map(|leg| leg.side) else {
            return;
        };
        if side == Side::Callee && self.pair.is_none() {
            // A callee refuses by a response; it must not hang up what it has not answered (RFC 3261 §15).
            return respond(cx, server, request.response(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST));
        }
        respond(cx, server, request.response(Status::OK));
        self.held_bye.take_if(|(held, _)| *held == leg);
        let cause = match side {
            _ if self.facts.answered.is_none() => Cause::Cancelled,
            Side::Caller => Cause::CallerHungUp,
            Side::Callee => Cause::CalleeHungUp,
        };
        if self.referrer_leaves(cx, leg, cause) {
            return;
        }
        self.settle_crossings(cx);
        if self.is_unanswered() {
            // RFC 3261 §15.1.2: a BYE in an early dialog ends the INVITE as well.
            return self.abandon(cx, Status::REQUEST_TERMINATED, cause);
        }
        self.leave(cx, leg);
        self.end(cx, cause, Some(side.other()), Because::Said(request));
    }

    /// Ends an established call on both sides.
    pub(super) fn hang_up_both<E: Entropy>(&mut self, cx: &mut Context<'_, E>, cause: Cause) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        if self.is_unanswered() {
            return self.abandon(cx, Status::SERVER_INTERNAL_ERROR, cause);
        }
        self.settle_crossings(cx);
        // Whoever has asked for a transfer hears what became of it before they are hung up.
        self.drop_transfer(cx);
        self.part_with(cx, Side::Caller, Because::Nothing);
        self.end(cx, cause, Some(Side::Callee), Because::Nothing);
    }

    /// Ends an unanswered call: the caller gets `status`, callees that may still ring are cancelled.
    pub(super) fn abandon<E: Entropy>(&mut self, cx: &mut Context<'_, E>, status: Status, cause: Cause) {
        if self.recorded {
            return;
        }
        // As long as it is known what the caller has said of themselves.
        self.regret(cx, cause);
        for index in 0..self.invitations.len() {
            self.cancel(cx, index);
        }
        self.settle_crossings(cx);
        self.facts.status = status.code();
        if let Some(near) = self.legs.iter().find(|leg| leg.side == Side::Caller)
            && let Some(mut response) = invite::response(self, near, status, None, None)
        {
            for contact in &self.elsewhere {
                response.headers.put(contact);
            }
            self.final_response(cx, response);
        }
        self.leave_others(cx, Side::Caller, None);
        self.placing = None;
        if let Some(call) = self.on_behalf.take() {
            cx.emit(CallOutput::Tell(call, Word::Failed(status)));
        }
        // A callee who has answered while the caller's answer had to wait.
        self.end(cx, cause, Some(Side::Callee), Because::Nothing);
    }

    /// Refuses before anybody was invited.
    pub(super) fn refuse<E: Entropy>(&mut self, cx: &mut Context<'_, E>, status: Status, cause: Cause) {
        debug!(leg = "caller", status = status.code(), "call refused");
        self.abandon(cx, status, cause);
    }

    pub(super) fn refuse_sdp<E: Entropy>(&mut self, cx: &mut Context<'_, E>, fault: SdpFault) {
        debug!(leg = "caller", %fault, "offer refused");
        let status = Status::new(fault.status()).unwrap_or(Status::NOT_ACCEPTABLE_HERE);
        self.refuse(cx, status, Cause::PeerFailed);
    }

    /// The last step of every ending: the side that is still up gets BYE, ports go back, the record is made.
    pub(super) fn end<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        cause: Cause,
        tell: Option<Side>,
        because: Because<'_>,
    ) {
        if self.recorded {
            return;
        }
        self.drop_transfer(cx);
        self.recorded = true;
        self.deadline = None;
        self.limits = Limits::default();
        self.attempts.stop();
        self.turns.stop();
        if let Some(side) = tell {
            self.part_with(cx, side, because);
        }
        if self.is_relayed() || matches!(self.phase, Phase::Opening(_)) {
            cx.emit(CallOutput::Media(MediaCommand::Close { id: self.id }));
        }
        if self.facts.answered.is_some() {
            self.tell_busy(cx, false);
        }
        if self.held_bye.is_some() {
            self.deadline = Some(cx.now.instant + ACK_PATIENCE);
        }
        self.phase = Phase::Over;
        let record = self.record(cx.now.wall, cause);
        info!(
            session = %self.session,
            cause = ?record.cause,
            status = record.status,
            warned = ?record.warning,
            impp = ?record.impp,
            "call over"
        );
        if !self.recorded_elsewhere {
            cx.emit(CallOutput::Record(record));
        }
    }

    /// Says goodbye to a side of a call that was answered.
    fn part_with<E: Entropy>(&mut self, cx: &mut Context<'_, E>, side: Side, because: Because<'_>) {
        let Some(id) = self.pair.map(|pair| pair.of(side)) else {
            return;
        };
        if side == Side::Caller && matches!(self.phase, Phase::Answering) {
            self.hold_goodbye(cx, id, because);
        } else {
            self.say_goodbye(cx, id, because);
        }
    }

    /// Hangs up a leg, and forgets it.
    pub(super) fn say_goodbye<E: Entropy>(&mut self, cx: &mut Context<'_, E>, id: LegId, because: Because<'_>) {
        self.hang_up(cx, id, &because.reasons());
    }

    fn hang_up<E: Entropy>(&mut self, cx: &mut Context<'_, E>, id: LegId, reasons: &[Reason]) {
        self.notify_rest(cx, id);
        let Some(leg) = self.leg_mut(id) else { return };
        acknowledge_open(cx, leg);
        let mut bye = leg.dialog.request(Method::Bye);
        for reason in reasons {
            bye.headers.put(reason);
        }
        let flow = leg.dialog.flow();
        self.send(cx, flow, bye);
        self.leave(cx, id);
    }

    /// The same in a while, if the peer does not say it first.
    fn hold_goodbye<E: Entropy>(&mut self, cx: &mut Context<'_, E>, id: LegId, because: Because<'_>) {
        let Some(leg) = self.leg_mut(id) else { return };
        acknowledge_open(cx, leg);
        // It is of no use to refresh what is about to end.
        leg.timer = SessionTimer::default();
        self.held_bye = Some((id, because.reasons()));
    }

    /// Who has asked for a transfer hangs up when it has heard of it; if not, we do.
    pub(super) fn expect_goodbye<E: Entropy>(&mut self, cx: &mut Context<'_, E>, side: Side) {
        if let Some(id) = self.pair.map(|pair| pair.of(side)) {
            self.hold_goodbye(cx, id, Because::Nothing);
            self.deadline = self.held_bye.is_some().then(|| cx.now.instant + BYE_PATIENCE);
        }
    }

    /// Sends the BYE that had to wait.
    pub(super) fn release_bye<E: Entropy>(&mut self, cx: &mut Context<'_, E>) {
        if let Some((id, reasons)) = self.held_bye.take() {
            self.hang_up(cx, id, &reasons);
        }
    }

    pub(super) fn record(&self, ended: Wall, cause: Cause) -> CallRecord {
        let (caller, from) = self.caller.named(|| self.begun.claimed_from());
        let via = match &self.caller {
            Caller::Trunk { name } => Some(name.clone()),
            Caller::User { .. } => self.facts.trunk.clone(),
        };
        CallRecord {
            session: self.session,
            started: self.facts.started,
            answered: self.facts.answered,
            ended,
            caller,
            from,
            // Of a call that we began ourselves, the one whom it is for is the caller.
            callee: self
                .facts
                .callee
                .as_ref()
                .filter(|_| !self.is_placed)
                .map(|user| user.jid.clone()),
            to: self.facts.to.clone(),
            class: self.facts.class,
            trunk: via,
            cause,
            status: self.facts.status,
            warning: self.facts.warned,
            impp: self.facts.impp,
        }
    }

    pub(super) fn tell_busy<E: Entropy>(&self, cx: &mut Context<'_, E>, up: bool) {
        let caller = match (self.stand_in(Side::Caller), &self.caller) {
            (Some(other), _) => other.user.as_ref().map(|(user, _)| user),
            (None, Caller::User { user, .. }) => Some(user),
            (None, Caller::Trunk { .. }) => None,
        };
        let callee = match self.stand_in(Side::Callee) {
            Some(other) => other.user.as_ref().map(|(user, _)| user),
            None => self.facts.callee.as_ref(),
        };
        let both = [(Side::Caller, caller), (Side::Callee, callee)];
        for user in both
            .into_iter()
            .filter(|(side, _)| self.departed != Some(*side))
            .filter_map(|(_, user)| user)
        {
            cx.emit(CallOutput::Busy {
                jid: user.jid.clone(),
                video: self.facts.video,
                up,
            });
        }
    }

    pub(super) fn cancel<E: Entropy>(&mut self, cx: &mut Context<'_, E>, index: usize) {
        let elsewhere = self.pair.is_some();
        let invitation = &mut self.invitations[index];
        if invitation.state == InvitationState::Inviting {
            invitation.state = InvitationState::Cancelled;
            cx.emit(CallOutput::Cancel {
                token: invitation.token,
                elsewhere,
            });
        }
    }
}

/// A 2xx that still waits for its late answer is acknowledged before the BYE: a dialog ends by rule.
pub(super) fn acknowledge_open<E: Entropy>(cx: &mut Context<'_, E>, leg: &mut Leg) {
    if let Some((token, seq)) = leg.unacknowledged {
        let request = leg.acknowledge(seq, None);
        let flow = leg.dialog.flow();
        cx.emit(CallOutput::Ack { token, flow, request });
    }
}

/// How long a BYE waits for the ACK of the 2xx (64 times T1, RFC 3261 §13.3.1.4), and a little more.
const ACK_PATIENCE: Duration = Duration::from_secs(33);
/// How long we wait for a BYE that is sure to come: phones that hear that their transfer was carried out hang up.
const BYE_PATIENCE: Duration = Duration::from_secs(2);
