//! Who is calling, as the other side is told: from our own store, and from nothing that a peer claims.
//!
//! From and P-Asserted-Identity (RFC 3261 §20.20, RFC 3325) are in [`asserted`], the JID in Call-Info (RFC 6993) is in
//! [`call_info`]. Privacy is that of RFC 3323.
//!
//! # What stays true
//! - A JID is told only for a user of ours who proved to be that user, who wants it told, and to an audience that may
//!   learn it. It is told once.
//! - Nothing of a private caller is told to anybody but the network that carries an emergency call.
//! - What a trunk says of its caller gives a number to show, and no more: no name, no domain, no JID.
//!
//! # What it leaves out
//! Peers whose claims are confirmed against rosters and cards (RFC 6993 §2): no peer is trusted in that way yet.

pub mod asserted;
pub mod call_info;
pub mod correlation;

use cusax_common::core::dialplan::HomePlan;
use cusax_common::core::jid;
use cusax_common::core::record::Impp;
use cusax_common::core::sip::typed::{NameAddr, PAssertedIdentity, Privacy};
use cusax_common::core::sip::{HeaderName, Headers, Host, Uri};
use cusax_common::core::user::{Aor, User};

use crate::core::routing::{Exit, Hop, Plan};

/// Who calls, as proved.
#[derive(Clone, Copy, Debug)]
pub enum Party<'a> {
    /// A user of ours, by digest, under one of their addresses.
    User {
        /// The record.
        user: &'a User,
        /// The address that they call from.
        aor: &'a Aor,
    },
    /// Somebody behind a trunk.
    Outside,
}

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Phones of a user of ours.
    Phones {
        /// The domain of the called user, in which numbers from outside are shown.
        domain: Host,
    },
    /// A trunk.
    Trunk {
        /// Whether it may learn JIDs.
        impp: bool,
        /// Whether it is in our trust domain (RFC 3325 §2).
        asserted: bool,
        /// Whether it carries an emergency call, for which help must know whom to call back.
        emergency: bool,
    },
    /// A domain that is not ours: it is told the address that can be called back, and nothing that asks for trust.
    Others,
}

impl Audience {
    /// The phones of the user who has this address.
    #[must_use]
    pub fn phones_of(aor: &Aor) -> Self {
        Self::Phones {
            domain: aor.domain().parse().unwrap_or_else(|_| asserted::nowhere()),
        }
    }

    /// Who is told by an INVITE of this plan that goes by this hop.
    #[must_use]
    pub fn of(plan: &Plan, hop: &Hop) -> Self {
        match (&hop.exit, &plan.to) {
            (None, Uri::Sip(to)) => Self::Phones {
                domain: to.host.clone(),
            },
            (None, _) => Self::Phones {
                domain: asserted::nowhere(),
            },
            (Some(Exit::Domain), _) => Self::Others,
            (Some(Exit::Trunk { impp, asserted, .. }), _) => Self::Trunk {
                impp: *impp,
                asserted: *asserted,
                emergency: plan.emergency,
            },
        }
    }

    fn may_learn_jids(&self) -> bool {
        match self {
            Self::Phones { .. } => true,
            Self::Trunk { impp, .. } => *impp,
            Self::Others => false,
        }
    }

    /// Help must know whom to call back, whoever carries the call.
    fn may_be_told(&self) -> bool {
        match self {
            Self::Phones { .. } => true,
            Self::Trunk {
                asserted, emergency, ..
            } => *asserted || *emergency,
            Self::Others => false,
        }
    }

    fn reveals_private(&self) -> bool {
        matches!(self, Self::Trunk { emergency: true, .. })
    }
}

/// The From for the other side, without a tag. `invite` holds the headers of the caller's INVITE; `plan` reads the
/// numbers of the outside world.
#[must_use]
pub fn name_caller(party: Party<'_>, invite: &Headers, audience: &Audience, plan: &HomePlan) -> NameAddr {
    if wants_privacy(invite) && !audience.reveals_private() {
        return asserted::anonymous();
    }
    match party {
        Party::User { user, aor } => asserted::of_user(user, aor, audience),
        Party::Outside => match audience {
            Audience::Phones { domain } => asserted::of_outside(invite, domain, plan),
            Audience::Trunk { .. } | Audience::Others => asserted::anonymous(),
        },
    }
}

/// Puts into our INVITE what is told of the caller besides From, and nothing else of its kind. Tells what became of the
/// JID.
pub fn stamp(ours: &mut Headers, party: Party<'_>, invite: &Headers, audience: &Audience) -> Impp {
    for claim in CLAIMS {
        ours.remove(claim);
    }
    let private = wants_privacy(invite);
    if let Party::User { user, aor } = party
        && (!private || audience.reveals_private())
        && audience.may_be_told()
    {
        for identity in asserted::identities(user, aor, audience) {
            ours.put(&PAssertedIdentity(identity));
        }
    }
    if private && matches!(audience, Audience::Trunk { .. } | Audience::Others) {
        ours.put(&Privacy::of(&["id"]));
    }
    let jid = match party {
        Party::User { user, .. } if !private && user.flags.impp && audience.may_learn_jids() => jid::to_uri(&user.jid),
        Party::User { .. } | Party::Outside => None,
    };
    if !private && audience.may_learn_jids() {
        let user = match party {
            Party::User { user, .. } if user.flags.impp => Some(user),
            Party::User { .. } | Party::Outside => None,
        };
        correlation::carry(ours, invite, user);
    }
    let others = match (private, party) {
        (true, _) => call_info::Others::Drop,
        (false, Party::User { .. }) => call_info::Others::Keep,
        // Nobody outside may make a phone answer by itself.
        (false, Party::Outside) => call_info::Others::KeepHarmless,
    };
    let claimed = call_info::rebuild(ours, invite, jid.as_deref(), others);
    match (jid, party, claimed) {
        (Some(_), _, _) => Impp::Verified,
        (None, Party::User { .. }, _) => Impp::Withheld,
        (None, Party::Outside, true) => Impp::Stripped,
        (None, Party::Outside, false) => Impp::Absent,
    }
}

/// Puts the callee's JID into a 18x or 2xx for the caller, and what is harmless of the callee's own Call-Info. `far`
/// holds the headers of the callee's response; `may_learn` tells whether the caller's side may learn JIDs, and `accepted`
/// whether it is a 2xx, which alone may correlate.
pub fn stamp_callee(ours: &mut Headers, callee: &User, far: &Headers, may_learn: bool, accepted: bool) {
    for claim in CLAIMS {
        ours.remove(claim);
    }
    // The From of a response is the caller's.
    let private = asks_privacy(far);
    let jid = (!private && callee.flags.impp && may_learn)
        .then(|| jid::to_uri(&callee.jid))
        .flatten();
    if accepted && may_learn && !private {
        correlation::carry(ours, far, Some(callee).filter(|callee| callee.flags.impp));
    }
    let others = if private {
        call_info::Others::Drop
    } else {
        call_info::Others::KeepHarmless
    };
    call_info::rebuild(ours, far, jid.as_deref(), others);
}

/// Whether the caller wants not to be named: by Privacy, or by a From that names nobody.
#[must_use]
pub fn wants_privacy(invite: &Headers) -> bool {
    asks_privacy(invite) || may_be_anonymous(invite) && invite.from().is_ok_and(|from| is_anonymous(&from))
}

/// False for a From that names somebody in plain letters, as nearly every one does: no address is made of it.
fn may_be_anonymous(invite: &Headers) -> bool {
    let Ok(Some(uri)) = invite.from_sip() else { return false };
    let name = uri.name().unwrap_or_default().as_bytes();
    let user = uri.user().unwrap_or_default();
    name.last_chunk::<7>()
        .is_some_and(|end| end.eq_ignore_ascii_case(b"invalid"))
        || user.eq_ignore_ascii_case(b"anonymous")
        || user.contains(&b'%')
}

/// Whether an address says that it names nobody (RFC 3323 §4.1.1.3).
#[must_use]
pub fn is_anonymous(address: &NameAddr) -> bool {
    address.uri.as_sip().is_some_and(|uri| {
        let nowhere = uri
            .host
            .name()
            .is_some_and(|name| name == "invalid" || name.ends_with(".invalid"));
        nowhere
            || uri
                .user_decoded()
                .is_some_and(|user| user.eq_ignore_ascii_case("anonymous"))
    })
}

/// What the sender of a message asks for (RFC 3323 §4.2, RFC 3325 §9.3). A Privacy that cannot be read counts.
pub fn asks_privacy(headers: &Headers) -> bool {
    let asks = |kind| Privacy::find(headers, kind).map_or(true, |asked| asked == Some(true));
    headers.has(&HeaderName::PRIVACY) && ["id", "user", "header"].into_iter().any(asks)
}

/// What only we may say of a caller, and what nobody may.
const CLAIMS: &[HeaderName] = &[
    HeaderName::P_ASSERTED_IDENTITY,
    HeaderName::P_PREFERRED_IDENTITY,
    HeaderName::REMOTE_PARTY_ID,
    HeaderName::IDENTITY,
    HeaderName::PRIVACY,
    HeaderName::CALL_INFO,
];

#[cfg(test)]
mod tests;
