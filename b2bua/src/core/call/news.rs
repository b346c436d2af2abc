//! What a callee may be told of a call in chat: that it rings, and afterwards that nobody has answered.

use cusax_common::core::bridge::{CallNews, CallNotice, Peer};
use cusax_common::core::entropy::Entropy;
use cusax_common::core::record::Cause;
use cusax_common::core::sip::Uri;
use cusax_common::core::sip::typed::NameAddr;
use cusax_common::core::user::User;

use super::{Call, CallOutput, Context};
use crate::core::identity::{self, Audience, Party};
use crate::core::media::Side;

impl Call {
    /// Phones of the callee ring.
    pub(super) fn announce<E: Entropy>(&self, cx: &mut Context<'_, E>) {
        self.tell_callee(cx, CallNews::Incoming);
    }

    /// Nobody has answered, and this is why; tells nothing of what is no affair of the callee's.
    pub(super) fn regret<E: Entropy>(&self, cx: &mut Context<'_, E>, cause: Cause) {
        let news = match cause {
            Cause::Cancelled | Cause::NoAnswer => CallNews::Missed,
            Cause::Rejected => CallNews::Busy,
            Cause::Unreachable => CallNews::Unreachable,
            _ => return,
        };
        self.tell_callee(cx, news);
    }

    fn tell_callee<E: Entropy>(&self, cx: &mut Context<'_, E>, news: CallNews) {
        let Some(callee) = &self.facts.callee else { return };
        // Of a call that we began ourselves, the one whom it is for is the caller.
        if self.is_placed || !callee.flags.notices.contains(news.kind()) {
            return;
        }
        let party = self
            .stand_in(Side::Caller)
            .map_or_else(|| self.caller.party(), |other| other.party());
        if matches!(party, Party::User { user, .. } if user.jid == callee.jid) {
            return;
        }
        let notice = CallNotice {
            session: self.session,
            jid: callee.jid.clone(),
            news,
            caller: self.peer(cx, party, callee),
            at: self.facts.started,
        };
        cx.emit(CallOutput::Notice(notice));
    }

    /// The caller as the callee's phones are told.
    fn peer<E>(&self, cx: &Context<'_, E>, party: Party<'_>, callee: &User) -> Option<Peer> {
        if self.begun.private {
            return None;
        }
        let audience = Audience::phones_of(callee.aors.first()?);
        let named = identity::name_caller(party, self.begun.headers(), &audience, &cx.settings.plan);
        if identity::is_anonymous(&named) {
            return None;
        }
        let (name, jid) = match party {
            Party::User { user, .. } => (
                Some(user.name.to_string()),
                Some(&user.jid).filter(|_| user.flags.impp).cloned(),
            ),
            Party::Outside => (None, None),
        };
        let address = address_of(&named);
        (address.len() <= MAX_ADDRESS).then_some(Peer { name, address, jid })
    }
}

/// What can be dialled: a number without the domain in which it is shown.
fn address_of(named: &NameAddr) -> String {
    match &named.uri {
        Uri::Sip(uri) if uri.params.value("user") == Some("phone") => {
            uri.user_decoded().unwrap_or_default().into_owned()
        }
        uri => uri.to_string(),
    }
}

/// The longest address that is told, in bytes; a stranger's is as long as they like.
const MAX_ADDRESS: usize = 300;
