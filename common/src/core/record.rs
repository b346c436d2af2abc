//! What remains of a call: one record, made from the closed list of ways a call ends.

use jid::BareJid;

use crate::core::id::SessionId;
use crate::core::policy::NumberClass;
use crate::core::time::Wall;

/// One call, from the first INVITE to the end of both legs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CallRecord {
    /// The correlation id, also in both legs' log lines and in notices.
    pub session: SessionId,
    /// When the INVITE came.
    pub started: Wall,
    /// When the callee answered, if they did.
    pub answered: Option<Wall>,
    /// When the last leg ended.
    pub ended: Wall,
    /// The verified caller, if they are a user of ours.
    pub caller: Option<BareJid>,
    /// The address or number of the caller: an AOR of ours, or what the trunk said.
    pub from: String,
    /// The called user, if they are one of ours.
    pub callee: Option<BareJid>,
    /// The AOR or the canonical number that was dialled.
    pub to: String,
    /// What kind of number it was; none for AORs.
    pub class: Option<NumberClass>,
    /// The trunk that carried it, by its configured name.
    pub trunk: Option<String>,
    /// How it ended.
    pub cause: Cause,
    /// The final SIP status toward the caller.
    pub status: u16,
    /// Whether the caller was warned.
    pub warning: Warned,
    /// What became of the claim to a JID.
    pub impp: Impp,
}

/// How a call ended. Log, metric and record are all made from this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The caller hung up after the answer.
    CallerHungUp,
    /// The callee hung up after the answer.
    CalleeHungUp,
    /// The caller gave up before the answer.
    Cancelled,
    /// The callee refused or was busy.
    Rejected,
    /// Nobody answered in time.
    NoAnswer,
    /// Nobody is registered there, or the number does not exist.
    Unreachable,
    /// Policy refused it.
    Barred,
    /// The dialled text is no number.
    BadNumber,
    /// A peer stopped answering or broke the protocol.
    PeerFailed,
    /// We could not: no media port, no store.
    Overloaded,
    /// The service was stopped.
    Shutdown,
    /// It lasted as long as any call may.
    TooLong,
    /// Neither side said anything any more.
    NoMedia,
    /// One side had the other one joined with somebody else.
    Transferred,
}

/// Whether a warning was given before the paid leg was dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Warned {
    /// The policy asked for none.
    None,
    /// The tone was played to its end.
    Tone,
    /// The caller hung up during the tone.
    Interrupted,
}

/// What became of the JID claim of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Impp {
    /// We vouched for the caller's JID from our own store.
    Verified,
    /// The caller's side claimed a JID and we removed it; nothing was vouched for.
    Stripped,
    /// Nobody claimed anything, and nothing was vouched for.
    Absent,
    /// The caller is ours but asked for privacy, opted out, or the audience does not allow it.
    Withheld,
}

/// The words by which log, metric, list and store call the variants: those of the record's own text form.
macro_rules! words {
    ($($name:ident { $($variant:ident = $word:literal,)* })*) => {
        $(impl $name {
            /// Every way, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        })*
    };
}

words! {
    Cause {
        CallerHungUp = "caller-hung-up",
        CalleeHungUp = "callee-hung-up",
        Cancelled = "cancelled",
        Rejected = "rejected",
        NoAnswer = "no-answer",
        Unreachable = "unreachable",
        Barred = "barred",
        BadNumber = "bad-number",
        PeerFailed = "peer-failed",
        Overloaded = "overloaded",
        Shutdown = "shutdown",
        TooLong = "too-long",
        NoMedia = "no-media",
        Transferred = "transferred",
    }
    Warned {
        None = "none",
        Tone = "tone",
        Interrupted = "interrupted",
    }
    Impp {
        Verified = "verified",
        Stripped = "stripped",
        Absent = "absent",
        Withheld = "withheld",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_has_one_word_everywhere() {
        fn check<T: Copy + serde::Serialize>(all: &[T], word: fn(T) -> &'static str) {
            for &value in all {
                assert_eq!(serde_json::to_value(value).unwrap(), word(value));
            }
        }
        check(Cause::ALL, Cause::as_str);
        check(Warned::ALL, Warned::as_str);
        check(Impp::ALL, Impp::as_str);
    }
}
