//! What the b2bua and the xmpp-module say to each other.
//!
//! Written once, as data: it travels by an in-process channel or by a bus, so its text form is part of the contract
//! (`tests/fixtures/bridge`). A message states the whole truth about its subject, never a difference, so a lost or
//! doubled one does no harm once the next comes. Notices are news, and go only once.

use jid::BareJid;

use crate::core::id::SessionId;
use crate::core::notice::NoticeKind;
use crate::core::policy::NumberClass;
use crate::core::tel::Tel;
use crate::core::time::Wall;
use crate::core::user::Aor;

/// Version of the messages below. Parties of different versions do not talk.
pub const VERSION: u16 = 2;

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
    /// A user is being called, or was, and has not answered.
    Call(CallNotice),
    /// What became of a [`ToB2bua::Place`].
    Placed {
        /// Of which one.
        id: u64,
        /// The correlation id of the call, if it has begun.
        session: Option<SessionId>,
        /// Else the SIP status that says why not.
        status: Option<u16>,
    },
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

/// A call to a user, of whom it is known that they want to be told.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CallNotice {
    /// The correlation id of the call.
    pub session: SessionId,
    /// Who is told: the callee.
    pub jid: BareJid,
    /// What has happened.
    pub news: CallNews,
    /// Who calls, as the callee's phones are told; none if the caller does not want to be named, or nobody knows.
    pub caller: Option<Peer>,
    /// When the call began.
    pub at: Wall,
}

/// What has happened to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallNews {
    /// It reaches the callee's phones now.
    Incoming,
    /// It is over, and nobody answered.
    Missed,
    /// Every phone was busy, or refused it.
    Busy,
    /// No phone was there.
    Unreachable,
}

impl CallNews {
    /// The kind of notice that tells it.
    #[must_use]
    pub fn kind(self) -> NoticeKind {
        match self {
            Self::Incoming => NoticeKind::Incoming,
            Self::Missed => NoticeKind::Missed,
            Self::Busy | Self::Unreachable => NoticeKind::Refused,
        }
    }
}

/// The other side of a call, as far as we vouch for it or the callee may dial it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Peer {
    /// The name in our store; none of strangers, whose names are claims.
    pub name: Option<String>,
    /// The address or number.
    pub address: String,
    /// The JID, if it is proved and may be told.
    pub jid: Option<BareJid>,
}

/// From the xmpp-module to the b2bua.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToB2bua {
    /// Say everything again: one [`ToXmpp::Everything`].
    Resync,
    /// A user wants their phones to ring, and then to be joined with somebody: one [`ToXmpp::Placed`].
    Place {
        /// By which the answer is known.
        id: u64,
        /// Who wants it, and pays.
        user: BareJid,
        /// With whom: an address, a number, or a name in the first SIP domain.
        to: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::entropy::Seeded;

    fn jid(text: &str) -> BareJid {
        text.parse().unwrap()
    }

    fn notice(news: CallNews, caller: Option<Peer>) -> ToXmpp {
        ToXmpp::Call(CallNotice {
            session: SessionId::draw(&mut Seeded::new(1)),
            jid: jid("bob@example.com"),
            news,
            caller,
            at: Wall(1_700_000_000_000),
        })
    }

    /// Every message, in each of its forms.
    fn to_xmpp() -> Vec<ToXmpp> {
        let aors = vec!["sip:alice@sip.example.com".parse().unwrap()];
        let alice = Peer {
            name: Some("Alice \"Al\" <a>".into()),
            address: "sip:alice@sip.example.com".into(),
            jid: Some(jid("alice@example.com")),
        };
        let stranger = Peer {
            name: None,
            address: "+442079460018".into(),
            jid: None,
        };
        vec![
            ToXmpp::Registered {
                jid: jid("alice@example.com"),
                aors: aors.clone(),
            },
            ToXmpp::Everything {
                registered: vec![(jid("alice@example.com"), aors)],
                phones: vec![(jid("bob@example.com"), PhoneActivity::Video)],
            },
            ToXmpp::Phone {
                jid: jid("bob@example.com"),
                activity: PhoneActivity::Audio,
            },
            ToXmpp::Charge(ChargeNotice {
                session: SessionId::draw(&mut Seeded::new(1)),
                jid: jid("alice@example.com"),
                number: "+447700900042".parse().unwrap(),
                class: NumberClass::Mobile,
                at: Wall(1_700_000_000_000),
            }),
            notice(CallNews::Incoming, Some(alice)),
            notice(CallNews::Missed, Some(stranger)),
            notice(CallNews::Busy, None),
            notice(CallNews::Unreachable, None),
            ToXmpp::Placed {
                id: 7,
                session: Some(SessionId::draw(&mut Seeded::new(1))),
                status: None,
            },
            ToXmpp::Placed {
                id: 8,
                session: None,
                status: Some(480),
            },
        ]
    }

    #[test]
    fn messages_are_those_of_the_golden_file() {
        let golden = include_str!("../../../tests/fixtures/bridge/messages.jsonl");
        let wanted: Vec<&str> = golden.lines().collect();
        let mut written: Vec<String> = to_xmpp()
            .iter()
            .map(|said| serde_json::to_string(said).unwrap())
            .collect();
        let place = ToB2bua::Place {
            id: 7,
            user: jid("alice@example.com"),
            to: "020 7946 0018".into(),
        };
        written.extend(
            [ToB2bua::Resync, place]
                .iter()
                .map(|said| serde_json::to_string(said).unwrap()),
        );
        assert_eq!(written, wanted, "another text form is another version");
        for (line, said) in wanted.iter().zip(to_xmpp()) {
            assert_eq!(serde_json::from_str::<ToXmpp>(line).unwrap(), said);
        }
    }
}
