//! What the b2bua and the xmpp-module say to each other.
//!
//! Written once, as data: it travels by an in-process channel or by a bus, so its text form is part of the contract
//! (`tests/fixtures/bridge`). A message states the whole truth about its subject, never a difference, so a lost or
//! doubled one does no harm once the next comes.

use jid::BareJid;

use crate::core::id::SessionId;
use crate::core::policy::NumberClass;
use crate::core::tel::Tel;
use crate::core::time::Wall;
use crate::core::user::Aor;

/// Version of the messages below. Parties of different versions do not talk.
pub const VERSION: u16 = 1;

/// From the b2bua to the xmpp-module.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToXmpp {
    /// The AORs of a user at which a phone is registered now. Empty: not reachable by SIP.
    Registered {
        /// Whose.
        jid: BareJid,
        /// In the order of the user record.
        aors: Vec<Aor>,
    },
    /// Everything there is, after a start or on request: users not named are not reachable, or not on the phone.
    Everything {
        /// As in `Registered`.
        registered: Vec<(BareJid, Vec<Aor>)>,
        /// As in `Phone`.
        phones: Vec<(BareJid, PhoneActivity)>,
    },
    /// What a user's phones are doing.
    Phone {
        /// Whose.
        jid: BareJid,
        /// The kind of calls that are up; nobody is told with whom.
        activity: PhoneActivity,
    },
    /// The caller is about to be charged, by policy.
    Charge(ChargeNotice),
}

/// What a user's phones are doing, for XEP-0108.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhoneActivity {
    /// No call is up.
    Idle,
    /// At least one answered call, all without video.
    Audio,
    /// At least one answered call with video.
    Video,
}

/// A call that leaves the domain and may cost money.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ChargeNotice {
    /// The correlation id of the call.
    pub session: SessionId,
    /// Who is warned: the caller.
    pub jid: BareJid,
    /// The canonical number that is about to be dialled.
    pub number: Tel,
    /// What kind of number it is.
    pub class: NumberClass,
    /// When the warning began.
    pub at: Wall,
}

/// From the xmpp-module to the b2bua.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToB2bua {
    /// Say everything again: one [`ToXmpp::Everything`].
    Resync,
}
