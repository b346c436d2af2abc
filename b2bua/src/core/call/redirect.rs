//! A phone sends its call elsewhere (3xx, RFC 3261 §8.1.3.4, §21.3).
//!
//! It speaks for its user, so every other phone of theirs stops. Where the call goes on is judged as if its caller had
//! dialled that: policy is asked again, and whoever may not reach a number cannot be sent there. A phone's word leads to
//! users of ours and to numbers, never to an address of its choice. Carriers and other domains redirect nothing.

use std::cmp::Reverse;

use cusax_common::core::dialplan::Dialled;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::policy::CallerKind;
use cusax_common::core::record::Cause;
use cusax_common::core::sip::typed::Contact;
use cusax_common::core::sip::{Response, Status, Uri};
use tracing::debug;

use super::{Call, CallOutput, Context, Invitation, Phase, class_of, name_of};
use crate::core::registrar::{Device, Gruu};
use crate::core::routing;
use crate::core::settings::Redirects;

impl Call {
    /// What a phone that was invited says, if it sends the call elsewhere. False if it has simply failed.
    pub(super) fn redirected<E: Entropy>(
        &mut self,
        cx: &mut Context<'_, E>,
        index: usize,
        response: &Response,
    ) -> bool {
        let Invitation { turn, .. } = self.invitations[index];
        let status = response.status;
        let by_phone = self.plan.as_ref().and_then(|plan| plan.hop(turn));
        if !matches!(status.code(), 300..=399)
            || by_phone.is_none_or(|hop| hop.exit.is_some())
            || !matches!(self.phase, Phase::Ringing)
            // Whoever wants to call waits at their own phone.
            || self.is_placed
            || !self.is_unanswered()
        {
            return false;
        }
        let mut contacts = response.headers.list::<Contact>().unwrap_or_default();
        contacts.truncate(MAX_CONTACTS);
        contacts.sort_by_key(|contact| Reverse(contact.q().unwrap_or(MAX_Q)));
        match cx.settings.redirects {
            Redirects::Refuse => return false,
            // There is nobody to pass it to in a call that is made for a transfer.
            Redirects::Pass if self.asked.is_some() => {
                contacts.retain(|contact| self.reads(cx, &contact.uri).is_some());
                if contacts.is_empty() {
                    return false;
                }
                self.elsewhere = contacts;
                self.give_up(cx, index);
                self.abandon(cx, status, Cause::Rejected);
            }
            Redirects::Pass | Redirects::Follow => {
                let found = contacts.iter().find_map(|contact| self.reads(cx, &contact.uri));
                let Some((dialled, device)) = found.filter(|_| self.redirects.len() < MAX_REDIRECTS) else {
                    return false;
                };
                debug!(leg = "callee", "sends the call elsewhere");
                self.attempts.stop();
                self.turns.stop();
                for other in (0..self.invitations.len()).filter(|other| *other != index) {
                    self.cancel(cx, other);
                }
                self.give_up(cx, index);
                self.go_on(cx, dialled, device);
            }
        }
        true
    }

    /// What is dialled by such an address; none if it leads nowhere, or where the call was before.
    fn reads<E>(&self, cx: &Context<'_, E>, uri: &Uri) -> Option<(Dialled, Option<Device>)> {
        let uri = cx.settings.at_home(uri.clone());
        let dialled = cx.settings.dial(&uri, self.caller.kind() == CallerKind::User).ok()?;
        let (dialled, device) = match (dialled, cx.registrar.gruu(&uri)) {
            (Dialled::Emergency { .. } | Dialled::Foreign(_), _) | (_, Some(Err(_))) => return None,
            (_, Some(Ok(Gruu { aor, device }))) => (Dialled::Name(aor), Some(device)),
            (dialled, None) => (dialled, None),
        };
        // A carrier knows numbers of ours, and no names.
        let may_know = self.caller.kind() == CallerKind::User || matches!(dialled, Dialled::Number { .. });
        let name = name_of(&dialled);
        let is_new = name != self.facts.to && !self.redirects.contains(&name);
        (may_know && is_new).then_some((dialled, device))
    }

    fn go_on<E: Entropy>(&mut self, cx: &mut Context<'_, E>, dialled: Dialled, device: Option<Device>) {
        self.device = device;
        (self.facts.callee, self.speaking) = (None, None);
        self.redirects.push(std::mem::take(&mut self.facts.to));
        (self.facts.to, self.facts.class) = (name_of(&dialled), class_of(&dialled));
        let Some(lookup) = routing::lookup(&dialled) else {
            return self.refuse(cx, Status::TEMPORARILY_UNAVAILABLE, Cause::Unreachable);
        };
        self.phase = Phase::Locating(dialled);
        cx.emit(CallOutput::Fetch(lookup));
    }
}

/// How often one call may be sent elsewhere.
const MAX_REDIRECTS: usize = 5;
/// How many addresses of one response are looked at.
const MAX_CONTACTS: usize = 8;
/// What has no `q` is preferred like the most preferred (RFC 3261 §20.10).
const MAX_Q: u16 = 1000;
