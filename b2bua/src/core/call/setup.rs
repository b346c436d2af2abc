//! How a call is set up, once it is known what was dialled: it is routed, judged by policy, and announced if it costs
//! something. Then its callees [ring](super::ringing).

use std::sync::Arc;
use std::time::Duration;

use cusax_common::core::bridge::ChargeNotice;
use cusax_common::core::dialplan::Dialled;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::policy::{self, Decision, NumberClass};
use cusax_common::core::record::{Cause, Warned};
use cusax_common::core::sip::Status;
use cusax_common::core::user::Aor;
use tracing::debug;

use super::output::Word;
use super::{Call, CallOutput, Caller, Context, Media, Phase, invite};
use crate::core::media::{MediaCommand, Side, Tone};
use crate::core::registrar::Binding;
use crate::core::routing::{self, Hop, Owner, Phone, Plan, Whose};

impl Call {
    /// Decides where the call goes, and whether it may.
    pub(super) fn route<E: Entropy>(&mut self, cx: &mut Context<'_, E>, dialled: Dialled, owner: Owner) {
        if let Owner::User(user) = &owner {
            self.facts.callee = Some(Arc::clone(user));
            if self.facts.class.is_some() {
                self.facts.class = Some(NumberClass::Onnet);
            }
        }
        let device = self.device.clone();
        let bindings = |aor: &Aor| {
            let phone = |binding: &Binding| Phone {
                instance: binding.instance().map(str::to_owned),
                q: binding.q(),
                hop: Hop {
                    uri: binding.uri(),
                    flow: binding.flow,
                    path: binding.path.to_vec(),
                    exit: None,
                },
            };
            let meant = |binding: &&Binding| device.as_ref().is_none_or(|device| binding.is_device(aor, device));
            cx.registrar.bindings(aor).iter().filter(meant).map(phone).collect()
        };
        let (settings, carriers, kind) = (cx.settings, cx.carriers, self.caller.kind());
        let ways = |whose: Whose<'_>, entropy: &mut E| carriers.ways_of(settings, whose, entropy);
        let plan = routing::plan(&settings.trunks, bindings, ways, cx.entropy, kind, &dialled, &owner);
        let mut plan = match plan {
            Ok(plan) => Box::new(plan),
            Err(refusal) => return self.refuse(cx, refusal.status, refusal.cause),
        };
        if self.is_secure() && !plan.keep_secure() {
            return self.refuse(cx, Status::TEMPORARILY_UNAVAILABLE, Cause::Unreachable);
        }
        self.facts.trunk = plan.trunk().map(str::to_owned);
        // The tones that we play ourselves need the relay in any case, and who wants not to be named shows no address.
        let relays = cx.settings.anchor
            || self.is_placed
            || self.begun.private
            || matches!(self.decide(cx, &plan), Decision::Warn { .. });
        match self.media {
            Some(Media::Relayed { .. }) => return self.introduce(cx, plan),
            Some(Media::Direct) | None if !relays => {
                self.media = Some(Media::Direct);
                return self.introduce(cx, plan);
            }
            Some(Media::Direct) | None => {}
        }
        cx.emit(CallOutput::Media(MediaCommand::Open {
            id: self.id,
            caller: invite::media_address(cx, self.near_flow),
            callee: invite::media_address(cx, plan.first_flow()),
        }));
        self.phase = Phase::Opening(plan);
    }

    /// Asks policy, on exactly the string that will be dialled.
    fn decide<E>(&self, cx: &Context<'_, E>, plan: &Plan) -> Decision {
        match &plan.number {
            Some((_, class)) => policy::decide(
                &cx.settings.policy,
                policy::Facts {
                    class: *class,
                    caller: self.caller.kind(),
                },
            ),
            None => Decision::Allow,
        }
    }

    /// Media has its way: warn first if policy says so, else dial.
    pub(super) fn introduce<E: Entropy>(&mut self, cx: &mut Context<'_, E>, plan: Box<Plan>) {
        match self.decide(cx, &plan) {
            Decision::Allow => self.dial(cx, plan),
            Decision::Refuse { status, .. } => {
                let status = Status::new(status).unwrap_or(Status::FORBIDDEN);
                self.refuse(cx, status, Cause::Barred);
            }
            Decision::Warn { tone } => self.warn(cx, plan, tone),
        }
    }

    fn warn<E: Entropy>(&mut self, cx: &mut Context<'_, E>, plan: Box<Plan>, tone: policy::Tone) {
        if let Some(call) = self.on_behalf {
            self.announce_charge(cx, &plan);
            self.phase = Phase::Warning(plan);
            return cx.emit(CallOutput::Tell(call, Word::Warn(tone)));
        }
        let Some(Media::Relayed { caller: ours, .. }) = self.media else {
            return;
        };
        // Without an offer there is nothing to play a tone into before the answer.
        let Some(offer) = &self.offer else {
            return self.refuse(cx, Status::NOT_ACCEPTABLE_HERE, Cause::Barred);
        };
        let offer = offer.clone();
        // A dialog of its own: what is agreed on in it binds no callee.
        let Some(near) = self.fresh(cx) else { return };
        let Some(leg) = self.leg_mut(near) else { return };
        let early = match offer.early_answer(ours, &mut leg.origin) {
            Ok(early) => early,
            Err(fault) => return self.refuse_sdp(cx, fault),
        };
        let target = offer.target(Some(self.near_flow.remote.ip()));
        self.tell_caller(cx, near, Status::SESSION_PROGRESS, Some(early.body), None);
        cx.emit(CallOutput::Media(MediaCommand::Aim {
            id: self.id,
            side: Side::Caller,
            target,
        }));
        cx.emit(CallOutput::Media(MediaCommand::Play {
            id: self.id,
            side: Side::Caller,
            tone: tone_of(tone),
            codec: early.codec,
        }));
        self.announce_charge(cx, &plan);
        debug!(leg = "caller", "warning");
        self.phase = Phase::Warning(plan);
    }

    /// Tells the payer's chat client what is about to cost something.
    fn announce_charge<E: Entropy>(&mut self, cx: &mut Context<'_, E>, plan: &Plan) {
        self.facts.warned = Warned::Interrupted;
        if let (Caller::User { user, .. }, Some((number, class))) = (&self.caller, &plan.number) {
            cx.emit(CallOutput::Charge(ChargeNotice {
                session: self.session,
                jid: user.jid.clone(),
                number: number.clone(),
                class: *class,
                at: cx.now.wall,
            }));
        }
    }

    /// The payer has heard the warning to its end.
    pub(super) fn warned<E: Entropy>(&mut self, cx: &mut Context<'_, E>) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Warning(plan) => {
                self.facts.warned = Warned::Tone;
                self.dial(cx, plan);
            }
            other => self.phase = other,
        }
    }
}

/// The policy's tone in the terms of the media engine.
pub(super) fn tone_of(tone: policy::Tone) -> Tone {
    Tone {
        frequency: tone.frequency_hz,
        on: Duration::from_millis(tone.on_ms.into()),
        off: Duration::from_millis(tone.off_ms.into()),
        repetitions: u8::try_from(tone.repeat).unwrap_or(u8::MAX),
        ..Tone::default()
    }
}
