//! What a user may be told in chat, kind by kind.

use std::fmt;
use std::str::FromStr;

/// A kind of notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// A call of the user's own may cost money (RFC 7081 §5).
    Charge,
    /// Somebody is calling.
    Incoming,
    /// Somebody called, and nobody answered.
    Missed,
    /// Somebody called while no phone was there, or all were busy.
    Refused,
}

impl NoticeKind {
    /// Every kind, in the order in which people are shown them.
    pub const ALL: [Self; 4] = [Self::Charge, Self::Incoming, Self::Missed, Self::Refused];

    /// Its word in commands, settings and stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Incoming => "incoming",
            Self::Missed => "missed",
            Self::Refused => "refused",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::Charge => 1,
            Self::Incoming => 2,
            Self::Missed => 4,
            Self::Refused => 8,
        }
    }
}

impl FromStr for NoticeKind {
    type Err = UnknownNotice;

    fn from_str(text: &str) -> Result<Self, UnknownNotice> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.as_str() == text).ok_or(UnknownNotice)
    }
}

/// A set of [`NoticeKind`]s.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Notices(u8);

impl Notices {
    /// No notice at all.
    pub const NONE: Self = Self(0);

    /// Those of these kinds.
    #[must_use]
    pub fn of(kinds: &[NoticeKind]) -> Self {
        Self(kinds.iter().fold(0, |bits, kind| bits | kind.bit()))
    }

    /// Whether this kind is among them.
    #[must_use]
    pub fn contains(self, kind: NoticeKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// The kinds, in the order of [`NoticeKind::ALL`].
    pub fn kinds(self) -> impl Iterator<Item = NoticeKind> {
        NoticeKind::ALL.into_iter().filter(move |&kind| self.contains(kind))
    }

    /// As a store keeps them: a bit for each kind.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// What a store has kept; kinds that a later version knows are left out.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & Self::of(&NoticeKind::ALL).0)
    }
}

impl Default for Notices {
    /// What a user gets who has chosen nothing: all but incoming calls, which phones announce themselves.
    fn default() -> Self {
        Self::of(&[NoticeKind::Charge, NoticeKind::Missed, NoticeKind::Refused])
    }
}

impl fmt::Display for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("none");
        }
        for (place, kind) in self.kinds().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{}", kind.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Notices({self})")
    }
}

impl FromStr for Notices {
    type Err = UnknownNotice;

    /// Reads kinds with commas between them, `all` or `none`.
    fn from_str(text: &str) -> Result<Self, UnknownNotice> {
        match text.trim() {
            "none" => Ok(Self::NONE),
            "all" => Ok(Self::of(&NoticeKind::ALL)),
            list => {
                let kinds: Result<Vec<NoticeKind>, _> = list.split(',').map(|kind| kind.trim().parse()).collect();
                Ok(Self::of(&kinds?))
            }
        }
    }
}

impl serde::Serialize for Notices {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.kinds())
    }
}

/// The word names no kind of notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kind of notice; write some of charge, incoming, missed and refused with commas between them, all, or none")]
pub struct UnknownNotice;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_as_they_are_written() {
        for bits in 0..16 {
            let set = Notices::from_bits(bits);
            assert_eq!(set.to_string().parse(), Ok(set));
            assert_eq!(set.bits(), bits);
            assert_eq!(Notices::of(&set.kinds().collect::<Vec<_>>()), set);
        }
        assert_eq!(Notices::from_bits(u8::MAX), "all".parse().unwrap());
        assert_eq!(
            "missed, charge".parse(),
            Ok(Notices::of(&[NoticeKind::Charge, NoticeKind::Missed]))
        );
        for wrong in ["", "loud", "charge,", "Charge", "none,charge"] {
            assert_eq!(wrong.parse::<Notices>(), Err(UnknownNotice), "{wrong:?}");
        }
    }

    #[test]
    fn words_are_those_of_the_text_form() {
        for kind in NoticeKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert!(!Notices::NONE.contains(kind));
        }
    }
}
