//! Who is at the other end of a leg, as far as we vouch for it: what is told of them when a call goes on with somebody else.

use std::sync::Arc;

use cusax_common::core::id::SessionId;
use cusax_common::core::sip::Headers;
use cusax_common::core::sip::typed::{From, NameAddr, Privacy};
use cusax_common::core::user::{Aor, User};

use super::{Call, Caller, Context};
use crate::core::identity::{self, Audience};
use crate::core::media::Side;

/// Somebody in a call.
#[derive(Clone, Debug)]
pub struct Speaker {
    /// The user of ours, and the address by which they are in the call; none for somebody outside.
    pub user: Option<(Arc<User>, Aor)>,
    /// Their From, from which an outsider's number is read, and the wish not to be named.
    pub said: Headers,
    /// What their end calls the session (RFC 7989).
    pub session: Option<SessionId>,
}

impl Speaker {
    /// As the identity table knows them.
    pub fn party(&self) -> identity::Party<'_> {
        match &self.user {
            Some((user, aor)) => identity::Party::User { user, aor },
            None => identity::Party::Outside,
        }
    }

    fn new(user: Option<(Arc<User>, Aor)>, from: NameAddr, is_private: bool, session: Option<SessionId>) -> Self {
        let mut said = Headers::new();
        said.put(&From(from));
        if is_private {
            said.put(&Privacy::of(&["id"]));
        }
        Self { user, said, session }
    }
}

impl Call {
    /// Who is there instead of the one who began the call, or was called.
    pub(super) fn stand_in(&self, side: Side) -> Option<&Speaker> {
        match side {
            Side::Caller => self.for_caller.as_deref(),
            Side::Callee => self.for_callee.as_deref(),
        }
    }

    /// Who is at this end of a call that was answered.
    pub(super) fn speaker_at(&self, side: Side) -> Option<Speaker> {
        let leg = self.leg(self.pair?.of(side))?;
        let session = leg.dialog.session();
        if let Some(speaker) = self.stand_in(side) {
            return Some(Speaker {
                session,
                ..speaker.clone()
            });
        }
        let named = leg.dialog.remote()?;
        let user = match (side, &self.caller) {
            (Side::Caller, Caller::User { user, aor }) => Some((Arc::clone(user), aor.clone())),
            (Side::Caller, Caller::Trunk { .. }) => None,
            (Side::Callee, _) => self.facts.callee.as_ref().and_then(|user| {
                let dialled = named.uri.to_string().parse().ok();
                let held = dialled.filter(|aor| user.aors.contains(aor));
                Some((Arc::clone(user), held.or_else(|| user.aors.first().cloned())?))
            }),
        };
        let is_private = match side {
            Side::Caller => self.begun.private,
            Side::Callee => leg.private,
        };
        Some(Speaker::new(user, named, is_private, session))
    }

    /// Who pays for what this end asks for; none where nobody could be charged.
    pub(super) fn payer_at(&self, side: Side) -> Option<Caller> {
        if let Some((user, aor)) = self.speaker_at(side)?.user {
            return Some(Caller::User { user, aor });
        }
        if self.stand_in(side).is_some() {
            return None;
        }
        match (side, &self.caller) {
            (Side::Caller, caller) => Some(caller.clone()),
            (Side::Callee, _) => {
                let name = self.answering_trunk()?.to_owned();
                Some(Caller::Trunk { name })
            }
        }
    }

    /// Whether this end is the same account's.
    pub(super) fn is_at(&self, side: Side, account: &Caller) -> bool {
        match (self.payer_at(side), account) {
            (Some(Caller::User { user, .. }), Caller::User { user: other, .. }) => user.jid == other.jid,
            (Some(Caller::Trunk { name }), Caller::Trunk { name: other }) => name == *other,
            _ => false,
        }
    }

    /// To whom something is told at this end.
    pub(super) fn audience_at<E>(&self, cx: &Context<'_, E>, side: Side) -> Audience {
        let user = self.speaker_at(side).and_then(|speaker| speaker.user);
        if let Some((_, aor)) = user {
            return Audience::phones_of(&aor);
        }
        // Somebody outside who was joined later is told no more than strangers are.
        if self.stand_in(side).is_some() {
            return Audience::Others;
        }
        let name = match (side, &self.caller) {
            (Side::Caller, Caller::Trunk { name }) => Some(name.as_str()),
            (Side::Caller, Caller::User { .. }) => None,
            (Side::Callee, _) => self.answering_trunk(),
        };
        let trunk = cx
            .settings
            .trunks
            .iter()
            .find(|trunk| Some(trunk.name.as_str()) == name);
        trunk.map_or(Audience::Others, |trunk| Audience::Trunk {
            impp: trunk.impp,
            asserted: trunk.asserted,
            emergency: false,
        })
    }

    /// The trunk by which the callee answered.
    fn answering_trunk(&self) -> Option<&str> {
        self.leg(self.pair?.callee)?.invited?;
        self.facts.trunk.as_deref()
    }
}
