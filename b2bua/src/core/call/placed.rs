//! A call that we begin ourselves: a user of ours is called, and then joined with whoever they want to speak with
//! (click-to-call; third-party call control, RFC 3725).
//!
//! Their phone is invited without an offer, so that its answer holds all that it can. We answer that with silence and the
//! ringing tone, and have the call made as if they had asked for it by REFER: by their own right, at their cost, warned
//! where policy wants it. The callee is offered what their phone has offered. So the session is theirs alone from the
//! moment it is answered, and nobody's answer has to wait for anybody (RFC 3725 §4.4 is what this resembles most).

use std::sync::Arc;

use cusax_common::core::dialplan::Dialled;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::id::SessionId;
use cusax_common::core::record::Cause;
use cusax_common::core::sip::typed::{From, MaxForwards, NameAddr};
use cusax_common::core::sip::{Headers, Method, Request, Response, Uri};
use cusax_common::core::user::{Aor, User};
use tracing::debug;

use super::referral::{Referral, Transfer};
use super::speaker::Speaker;
use super::{Call, CallOutput, Caller, Context, Exchange, LegId, Media, Pair, Phase, class_of, name_of, rules};
use crate::core::dialog::MAX_FORWARDS;
use crate::core::flow::Flow;
use crate::core::media::rewrite::Description;
use crate::core::media::{MediaId, Side};
use crate::core::routing::Owner;

impl Call {
    /// Begins to call a user at this address of theirs, who wants to speak with `target`, which was read as `dialled`.
    #[expect(clippy::too_many_arguments, reason = "who, where, and whom they want")]
    pub fn place<E: Entropy>(
        cx: &mut Context<'_, E>,
        id: MediaId,
        session: SessionId,
        user: &Arc<User>,
        aor: &Aor,
        flow: Flow,
        target: Uri,
        dialled: &Dialled,
    ) -> Self {
        let own = aor.as_str().parse().unwrap_or_else(|_| target.clone());
        let mut invite = Request::new(Method::Invite, own);
        // Their phone shows whom they are about to call.
        invite.headers.put(&From(NameAddr::new(target.clone())));
        invite.headers.put(&MaxForwards(MAX_FORWARDS));
        let caller = Caller::User {
            user: Arc::clone(user),
            aor: aor.clone(),
        };
        let mut call = Self::blank(cx, id, session, caller, invite, flow, dialled);
        call.for_caller = Some(Box::new(Speaker {
            user: None,
            said: Headers::new(),
            session: None,
        }));
        (call.placing, call.is_placed) = (Some(Box::new(target)), true);
        debug!(leg = "callee", "call begins, for somebody who wants to call");
        call.route(cx, Dialled::Name(aor.clone()), Owner::User(Arc::clone(user)));
        (call.facts.to, call.facts.class) = (name_of(dialled), class_of(dialled));
        call
    }

    /// The user's phone answered: whom they want to speak with is called.
    pub(super) fn answered_first<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        target: Uri,
        far: LegId,
        response: &Response,
    ) {
        let Some(Media::Relayed { callee: ours, .. }) = self.media else {
            return;
        };
        let nobody = self.next_leg();
        self.pair = Some(Pair {
            caller: nobody,
            callee: far,
        });
        let Some(leg) = self.won(cx, far) else { return };
        let answer = Description::read(&response.body, rules(cx)).and_then(|offer| {
            let early = offer.early_answer(ours, &mut leg.origin)?;
            Ok((offer, early.body))
        });
        let (offer, body) = match answer {
            Ok(answer) => answer,
            Err(fault) => return self.unfit(cx, far, response, fault),
        };
        let (now, usual) = (cx.now.instant, cx.settings.session_interval);
        let Some(leg) = self.leg_mut(far) else { return };
        leg.exchange = Exchange::Settled;
        leg.hear(&response.body);
        leg.timer.granted(now, usual, &response.headers);
        let seq = response.headers.cseq().map_or(0, |cseq| cseq.seq);
        let (request, flow) = (leg.acknowledge(seq, Some(body)), leg.dialog.flow());
        if let Some(token) = leg.invited {
            cx.emit(CallOutput::Ack { token, flow, request });
        }
        self.aim(cx, far, &offer);
        self.phase = Phase::Up;
        self.count_as_answered(cx, far);
        self.ring(cx, Side::Callee);
        self.transfer = Some(Box::new(Transfer::of_ours(nobody, Cause::Unreachable)));
        if let Some(remaining) = self.speaker_at(Side::Callee) {
            cx.emit(CallOutput::Refer(Box::new(Referral {
                target,
                replaces: None,
                payer: self.caller.clone(),
                payer_said: Headers::new(),
                remaining,
                flow,
                offer: offer.resumed(),
                referred_by: None,
                secure: self.is_secure(),
                session: Some(self.session),
            })));
        }
    }
}
