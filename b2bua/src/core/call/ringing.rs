//! The callees of a call: those of one preference are invited together, the first one to answer wins, and what the others
//! say comes too late.

use bytes::Bytes;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::record::{Cause, Warned};
use cusax_common::core::sip::{Method, Response, Status};
use tracing::debug;

use super::limits::Limits;
use super::reliable::Taken;
use super::session_timer::SessionTimer;
use super::turns::Turns;
use super::{Call, CallOutput, Context, Exchange, Invitation, InvitationState, Leg, LegId, Pair, Phase, invite, rules};
use crate::core::cause::Because;
use crate::core::dialog::{Dialog, set_sdp};
use crate::core::media::rewrite::{Description, SdpFault};
use crate::core::media::{MediaCommand, Side};
use crate::core::routing::{Attempts, Fate, Plan, Step, Turn};

impl Call {
    /// Invites the targets of the plan, as many at once as the caller allows.
    pub(super) fn dial<E: Entropy>(&mut self, cx: &mut Context<'_, E>, mut plan: Box<Plan>) {
        self.phase = Phase::Ringing;
        let before = self.plan.take();
        self.turns = Turns::of(&plan, before.as_ref().map_or(0, |before| before.targets.len()));
        self.attempts.extend(&plan);
        if let Some(mut before) = before {
            // Those that were invited before a redirection keep their places.
            before.targets.append(&mut plan.targets);
            plan.targets = before.targets;
        }
        self.plan = Some(plan);
        self.ring_next_group(cx);
        self.announce(cx);
    }

    /// The turn goes to those of the next preference. False if there is nobody left.
    fn ring_next_group<E: Entropy>(&mut self, cx: &mut Context<'_, E>) -> bool {
        let is_turn = self.turns.next_group(cx.now.instant, cx.settings.ring_each);
        self.ring_more(cx);
        is_turn
    }

    /// Invites who has the turn, as many at one time as the caller allows.
    fn ring_more<E: Entropy>(&mut self, cx: &mut Context<'_, E>) {
        let width = self.plan.as_ref().map_or(0, |plan| self.width(plan));
        while self.ringing() < width
            && let Some(target) = self.turns.next_target()
        {
            self.try_target(cx, target);
        }
    }

    /// How many INVITEs of ours may yet be answered.
    fn ringing(&self) -> usize {
        let open = |invitation: &&Invitation| invitation.state == InvitationState::Inviting;
        self.invitations.iter().filter(open).count()
    }

    /// Time has come to `cx.now`: who has rung for long enough makes room for the next.
    pub(super) fn turn_over<E: Entropy>(&mut self, cx: &mut Context<'_, E>) {
        if self.turns.is_over(cx.now.instant) && matches!(self.phase, Phase::Ringing) {
            debug!(leg = "callee", "those of the next preference ring");
            for index in 0..self.invitations.len() {
                self.cancel(cx, index);
            }
            self.ring_next_group(cx);
        }
    }

    /// The turn of a target has come.
    fn try_target<E: Entropy>(&mut self, cx: &mut Context<'_, E>, target: usize) {
        let broken = |turn| is_broken(cx, self.plan.as_deref(), turn);
        self.attempts.start(cx.now.instant, target, broken);
        self.proceed(cx);
    }

    /// Time has come to `cx.now`: who has been silent for too long is given up.
    pub(super) fn silence<E: Entropy>(&mut self, cx: &mut Context<'_, E>) {
        let broken = |turn| is_broken(cx, self.plan.as_deref(), turn);
        self.attempts.handle_timeout(cx.now.instant, broken);
        self.proceed(cx);
    }

    /// Does what follows from what was heard of the attempts.
    fn proceed<E: Entropy>(&mut self, cx: &mut Context<'_, E>) {
        let Some(plan) = self.plan.take() else { return };
        while let Some(step) = self.attempts.poll_output() {
            match step {
                Step::Invite(turn) => self.invite(cx, &plan, turn, None),
                Step::Abandon(turn) => {
                    debug!(leg = "callee", "silent for too long");
                    let open = |made: &Invitation| made.state == InvitationState::Inviting;
                    let meant = |made: &Invitation| made.turn == turn && open(made);
                    if let Some(index) = self.invitations.iter().position(meant) {
                        self.cancel(cx, index);
                    }
                }
                Step::Show(turn, sign) => {
                    if let Some(hop) = plan.hop(turn)
                        && let Some(trunk) = hop.trunk()
                    {
                        cx.emit(CallOutput::Show {
                            trunk: trunk.to_owned(),
                            flow: hop.flow,
                            sign,
                        });
                    }
                }
            }
        }
        self.plan = Some(plan);
    }

    /// Invites one target by one of its hops; once more, where it has refused what was said in this dialog.
    fn invite<E: Entropy>(&mut self, cx: &mut Context<'_, E>, plan: &Plan, turn: Turn, again: Option<&Dialog>) {
        let Some(media) = self.media else { return };
        let Some(hop) = plan.hop(turn) else { return };
        // The record names the last trunk that was tried, unless another one answers.
        self.facts.trunk = hop.trunk().map(str::to_owned);
        let name = self.next_leg();
        let (mut leg, mut request, impp) = invite::compose(cx, self, name, plan, hop, again);
        self.facts.impp = impp;
        if let Some(offer) = &self.offer {
            let body = offer.written(media.way(Side::Callee), &mut leg.origin);
            set_sdp(&mut request.headers, &mut request.body, body);
        }
        let token = self.token();
        cx.emit(CallOutput::Join(leg.dialog.id(), hop.flow));
        debug!(leg = "callee", "inviting");
        cx.emit(CallOutput::Send {
            token,
            flow: hop.flow,
            request,
        });
        leg.invited = Some(token);
        self.legs.push(leg);
        self.invitations.push(Invitation {
            token,
            state: InvitationState::Inviting,
            failed: None,
            turn,
            interval: again.and(self.demanded),
            last: None,
        });
    }

    /// A callee that wants longer sessions is invited again, once (RFC 4028 §7.3). False if it did not ask for that.
    fn asked_for_longer<E: Entropy>(&mut self, cx: &mut Context<'_, E>, index: usize, response: &Response) -> bool {
        let Invitation { turn, interval, .. } = self.invitations[index];
        if response.status != Status::SESSION_INTERVAL_TOO_SMALL || interval.is_some() {
            return false;
        }
        let Some(least) = SessionTimer::demanded(cx.settings.session_interval, &response.headers) else {
            return false;
        };
        self.demanded = self.demanded.max(Some(least));
        let Some(plan) = self.plan.take() else { return false };
        // It is the same request with another number (RFC 3261 §8.1.3.5).
        let token = self.invitations[index].token;
        let before = self.legs.iter().find(|leg| leg.invited == Some(token));
        let before = before.map(|leg| leg.dialog.clone());
        self.invite(cx, &plan, turn, before.as_ref());
        self.give_up(cx, index);
        self.plan = Some(plan);
        true
    }

    /// Forgets an INVITE of ours, with its legs.
    pub(super) fn give_up<E: Entropy>(&mut self, cx: &mut Context<'_, E>, index: usize) {
        let invitation = &mut self.invitations[index];
        invitation.state = InvitationState::Gone;
        let token = invitation.token;
        let legs: Vec<LegId> = self
            .legs
            .iter()
            .filter(|leg| leg.invited == Some(token))
            .map(|leg| leg.id)
            .collect();
        for leg in legs {
            self.speaking.take_if(|speaking| *speaking == leg);
            self.leave(cx, leg);
        }
    }

    /// A response to one of our INVITEs.
    pub(super) fn invited<E: Entropy>(&mut self, cx: &mut Context<'_, E>, index: usize, response: &Response) {
        let Invitation { state, turn, .. } = self.invitations[index];
        let status = response.status;
        if !status.is_final() {
            self.attempts.handle_provisional(turn, status);
            self.proceed(cx);
        }
        if status == Status::TRYING {
            return;
        }
        let open = state == InvitationState::Inviting;
        if open && (self.redirected(cx, index, response) || self.asked_for_longer(cx, index, response)) {
            return;
        }
        if status.is_final() && !status.is_success() {
            return self.failed(cx, index, status);
        }
        let Some(far) = self.branch(cx, index, response) else {
            if status.is_success() {
                self.dismiss_unknown(cx, index, response);
            }
            return;
        };
        self.name_session(far);
        match (state, status.is_success()) {
            (InvitationState::Inviting, false) => self.progress(cx, far, response),
            // Also of one whose turn is over, as long as nobody else has answered; not of one that was given up.
            (InvitationState::Inviting | InvitationState::Cancelled, true)
                if self.pair.is_none() && self.is_unanswered() && self.attempts.handle_success(turn) =>
            {
                self.invitations[index].state = InvitationState::Answered;
                // The last one that was tried need not be the one that answers.
                let hop = self.plan.as_ref().and_then(|plan| plan.hop(turn));
                self.facts.trunk = hop.and_then(|hop| hop.trunk()).map(str::to_owned);
                self.proceed(cx);
                self.answered(cx, far, response);
            }
            // A copy of a 2xx whose ACK waits for the caller's.
            (_, true) if self.pair.is_some_and(|pair| pair.has(far)) => {}
            // It crossed our CANCEL, another one has won, or it is another branch of the one that did (RFC 3261 §13.2.2.4):
            // acknowledge, and hang up.
            (_, true) => self.dismiss(cx, index, far, response),
            (_, false) => {}
        }
    }

    fn progress<E: Entropy>(&mut self, cx: &mut Context<'_, E>, far: LegId, response: &Response) {
        // Its PRACKs have no answers: it will say it again.
        if self.has_much_to_say() {
            return;
        }
        if let Some(call) = self.on_behalf {
            return self.progress_unheard(cx, call, far, response);
        }
        let Some(leg) = self.leg_mut(far) else { return };
        let taken = leg.receiving.take(response);
        if taken == Taken::OutOfOrder {
            return;
        }
        let reliable = taken != Taken::Unreliable;
        let Some(near) = self.facing(cx, far) else { return };
        let told = self.described(cx, near, far, response, reliable);
        let is_offer = self.leg(far).is_some_and(|leg| leg.exchange == Exchange::Theirs);
        if let Taken::InOrder(rack) = taken {
            if is_offer && told.is_some() {
                // The caller's PRACK brings the answer.
                if let Some(leg) = self.leg_mut(far) {
                    leg.owed = Some(Box::new(rack));
                }
            } else {
                self.acknowledge_provisional(cx, far, rack, None);
            }
        }
        self.tell_caller(cx, near, crossing_status(response.status), told, Some(response));
    }

    /// What the caller is told of a callee's early description, if it has one that can be used. One is heard at a time: the
    /// first that has something to say.
    fn described<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        near: LegId,
        far: LegId,
        response: &Response,
        reliable: bool,
    ) -> Option<Bytes> {
        if response.body.is_empty() || !invite::is_sdp(&response.headers) {
            return None;
        }
        let media = self.media?;
        let description = Description::read(&response.body, rules(cx)).ok()?;
        let exchange = self.leg(far)?.exchange;
        let next = match exchange {
            Exchange::Ours => {
                description.answers(self.offer.as_deref()?).ok()?;
                if reliable { Exchange::Settled } else { Exchange::Ours }
            }
            // An offer that may be lost is none (RFC 3262 §5).
            Exchange::Blank if reliable && self.leg(near)?.can.reliable => Exchange::Theirs,
            Exchange::Blank | Exchange::Theirs | Exchange::Settled => return None,
        };
        let leg = self.leg_mut(far)?;
        leg.exchange = next;
        leg.hear(&response.body);
        let caller = self.leg_mut(near)?;
        // It was told reliably before, and a session is described once (RFC 6337 §3.1.1).
        let known = caller.exchange == Exchange::Settled;
        let body = description.written(media.way(Side::Caller), &mut caller.origin);
        if *self.speaking.get_or_insert(far) == far {
            self.aim(cx, far, &description);
            if let Some(offer) = &self.offer {
                self.aim(cx, near, offer);
            }
        }
        (!known).then_some(body)
    }

    /// A callee answered, the first one to do so.
    fn answered<E: Entropy>(&mut self, cx: &mut Context<'_, E>, far: LegId, response: &Response) {
        if let Some(call) = self.on_behalf {
            return self.answered_for_another(cx, call, far, response);
        }
        if let Some(target) = self.placing.take() {
            return self.answered_first(cx, *target, far, response);
        }
        let (Some(near), Some(media)) = (self.facing(cx, far), self.media) else {
            return self.unfit(cx, far, response, SdpFault::Mismatch);
        };
        self.pair = Some(Pair {
            caller: near,
            callee: far,
        });
        let Some(leg) = self.won(cx, far) else { return };
        let before = leg.exchange;
        // What was agreed on reliably stands, and is not said again (RFC 6337 §2.1).
        let text = if before == Exchange::Settled {
            leg.heard.clone()
        } else {
            response.body.clone()
        };
        let read = Description::read(&text, rules(cx)).and_then(|description| match (before, &self.offer) {
            (Exchange::Ours, Some(offer)) => description.answers(offer).map(|()| description),
            (Exchange::Theirs, _) => Err(SdpFault::Mismatch),
            _ => Ok(description),
        });
        let description = match read {
            Ok(description) => description,
            Err(fault) => return self.unfit(cx, far, response, fault),
        };
        let seq = response.headers.cseq().map_or(0, |cseq| cseq.seq);
        let (now, usual) = (cx.now.instant, cx.settings.session_interval);
        let Some(leg) = self.leg_mut(far) else { return };
        leg.hear(&text);
        leg.timer.granted(now, usual, &response.headers);
        if before == Exchange::Blank {
            leg.exchange = Exchange::Theirs;
            if let Some(token) = leg.invited {
                leg.unacknowledged = Some((token, seq));
            }
        } else {
            leg.exchange = Exchange::Settled;
            self.acknowledge(cx, far, seq);
        }
        let wish = self.wish;
        let Some(leg) = self.leg_mut(near) else { return };
        leg.up = true;
        let body = match leg.exchange {
            Exchange::Settled | Exchange::Ours => None,
            Exchange::Blank => {
                leg.exchange = Exchange::Ours;
                Some(description.written(media.way(Side::Caller), &mut leg.origin))
            }
            Exchange::Theirs => {
                leg.exchange = Exchange::Settled;
                Some(description.written(media.way(Side::Caller), &mut leg.origin))
            }
        };
        if let Some(offer) = self.offer.take() {
            // The caller may have moved by an UPDATE.
            let asked = self.begun.invite().map(|invite| &invite.body);
            let moved = self.leg(near).filter(|leg| Some(&leg.heard) != asked);
            let moved = moved.and_then(|leg| Description::read(&leg.heard, rules(cx)).ok());
            self.aim(cx, near, moved.as_ref().unwrap_or(&offer));
        }
        self.aim(cx, far, &description);
        if self.facts.warned != Warned::None {
            cx.emit(CallOutput::Media(MediaCommand::Stop {
                id: self.id,
                side: Side::Caller,
            }));
        }
        self.facts.video &= description.video;
        let answer = self
            .leg(near)
            .and_then(|leg| invite::response(self, leg, Status::OK, body, Some(response)));
        let Some(mut answer) = answer else { return };
        if let Some(leg) = self.leg_mut(near) {
            leg.timer.grant(now, wish, usual, &mut answer.headers);
        }
        self.answer_caller(cx, near, answer);
        self.count_as_answered(cx, far);
    }

    /// A callee has answered first: the others stop.
    pub(super) fn won<E: Entropy>(&mut self, cx: &mut Context<'_, E>, far: LegId) -> Option<&mut Leg> {
        for other in 0..self.invitations.len() {
            self.cancel(cx, other);
        }
        let leg = self.leg_mut(far)?;
        leg.up = true;
        Some(leg)
    }

    /// The call is up, with this callee.
    pub(super) fn count_as_answered<E: Entropy>(&mut self, cx: &mut Context<'_, E>, far: LegId) {
        self.facts.answered = Some(cx.now.wall);
        self.facts.status = Status::OK.code();
        self.deadline = None;
        if self.asked.is_none() {
            self.forget_invite();
        }
        // Nothing is tried any more.
        self.attempts = Attempts::default();
        self.turns.stop();
        self.limits = Limits::begin(cx, self.is_relayed());
        debug!(leg = "callee", "answered");
        self.leave_forks(cx, far);
        self.tell_busy(cx, true);
    }

    /// The early dialogs of the answered INVITE that did not answer are over (RFC 3261 §13.2.2.4).
    fn leave_forks<E: Entropy>(&mut self, cx: &mut Context<'_, E>, winner: LegId) {
        let Some(token) = self.leg(winner).and_then(|leg| leg.invited) else {
            return;
        };
        let forks: Vec<LegId> = self
            .legs
            .iter()
            .filter(|leg| leg.invited == Some(token) && leg.id != winner)
            .map(|leg| leg.id)
            .collect();
        for fork in forks {
            self.leave(cx, fork);
        }
    }

    /// The answer cannot be used: the callee is acknowledged and hung up, the caller told.
    pub(super) fn unfit<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        far: LegId,
        response: &Response,
        fault: SdpFault,
    ) {
        debug!(leg = "callee", %fault, "answer refused");
        self.pair = None;
        let made = self.leg(far).and_then(|leg| leg.invited);
        self.acknowledge_and_leave(cx, far, response);
        if let Some(index) = self
            .invitations
            .iter()
            .position(|invitation| Some(invitation.token) == made)
        {
            self.give_up(cx, index);
        }
        self.abandon(cx, Status::NOT_ACCEPTABLE_HERE, Cause::PeerFailed);
    }

    /// Acknowledges a 2xx that nobody wants, and hangs up.
    fn dismiss<E: Entropy>(&mut self, cx: &mut Context<'_, E>, index: usize, far: LegId, response: &Response) {
        let winner = self.pair.and_then(|pair| self.leg(pair.callee)?.invited);
        let has_won = winner == Some(self.invitations[index].token);
        if !has_won {
            self.invitations[index].state = InvitationState::Answered;
        }
        self.acknowledge_and_leave(cx, far, response);
        if !has_won {
            self.give_up(cx, index);
        }
    }

    /// The same where there is no room for one more branch: what is to be said follows from what it says.
    fn dismiss_unknown<E: Entropy>(&mut self, cx: &mut Context<'_, E>, index: usize, response: &Response) {
        let Invitation { token, turn, .. } = self.invitations[index];
        let flow = self.plan.as_ref().and_then(|plan| Some(plan.hop(turn)?.flow));
        let dialog = flow.and_then(|flow| Dialog::of_answer(cx.dialogs, response, flow));
        let (Some(flow), Some(mut dialog)) = (flow, dialog) else {
            return;
        };
        let seq = response.headers.cseq().map_or(0, |cseq| cseq.seq);
        let request = dialog.ack(seq, None);
        cx.emit(CallOutput::Ack { token, flow, request });
        let bye = dialog.request(Method::Bye);
        self.send(cx, flow, bye);
    }

    fn acknowledge_and_leave<E: Entropy>(&mut self, cx: &mut Context<'_, E>, far: LegId, response: &Response) {
        let seq = response.headers.cseq().map_or(0, |cseq| cseq.seq);
        self.acknowledge(cx, far, seq);
        self.say_goodbye(cx, far, Because::Nothing);
    }

    /// Acknowledges the 2xx with this number to an INVITE of ours, without a description.
    pub(super) fn acknowledge<E: Entropy>(&mut self, cx: &mut Context<'_, E>, far: LegId, seq: u32) {
        let Some(leg) = self.leg_mut(far) else { return };
        let Some(token) = leg.invited else { return };
        let (request, flow) = (leg.acknowledge(seq, None), leg.dialog.flow());
        cx.emit(CallOutput::Ack { token, flow, request });
    }

    /// One target is out. When none is left, the caller hears the best of what came (RFC 3261 §16.7).
    pub(super) fn failed<E: Entropy>(&mut self, cx: &mut Context<'_, E>, index: usize, status: Status) {
        let Invitation { state, turn, .. } = self.invitations[index];
        if matches!(state, InvitationState::Gone | InvitationState::Answered) {
            return;
        }
        // That we have cancelled it tells nothing of the callee.
        if state == InvitationState::Cancelled {
            return self.give_up(cx, index);
        }
        let broken = |turn| is_broken(cx, self.plan.as_deref(), turn);
        let fate = self.attempts.handle_failure(cx.now.instant, turn, status, broken);
        debug!(leg = "callee", status = status.code(), ?fate, "failed");
        self.proceed(cx);
        self.give_up(cx, index);
        if fate != Fate::Final {
            return;
        }
        self.invitations[index].failed = Some(status);
        if !self.is_unanswered() || self.pair.is_some() || !matches!(self.phase, Phase::Ringing) {
            return;
        }
        if status.code() >= 600 {
            self.turns.stop();
            for other in 0..self.invitations.len() {
                self.cancel(cx, other);
            }
        } else {
            self.ring_more(cx);
            if self.ringing() > 0 || self.ring_next_group(cx) {
                return;
            }
        }
        let best = self
            .invitations
            .iter()
            .filter_map(|invitation| invitation.failed)
            .min_by_key(|status| rank(*status));
        let outcome = crate::core::cause::of_failure(best.unwrap_or(status), self.facts.trunk.is_some());
        self.abandon(cx, outcome.status, outcome.cause);
    }
}

/// Whether a hop leads to a server that is to be tried last.
fn is_broken<E>(cx: &Context<'_, E>, plan: Option<&Plan>, turn: Turn) -> bool {
    let hop = plan.and_then(|plan| Some((plan.hop(turn)?, plan.emergency)));
    hop.is_some_and(|(hop, emergency)| cx.carriers.is_broken(cx.now.instant, hop, emergency))
}

/// What the caller hears of a callee's progress: what is common knowledge, and that it goes on.
fn crossing_status(status: Status) -> Status {
    match status.code() {
        180..=183 => status,
        _ => Status::SESSION_PROGRESS,
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
