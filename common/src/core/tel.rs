//! Global telephone numbers (RFC 3966, E.164).

use std::fmt;
use std::str::FromStr;

/// A global telephone number, `+` and digits only, as E.164 and RFC 3966 §5.1.4 have it.
///
/// Two numbers are equal if and only if they would reach the same line: the visual separators of the input are not
/// kept.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tel(String);

impl Tel {
    /// The number with its `+`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits without the `+`.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.0[1..]
    }
}

impl FromStr for Tel {
    type Err = TelError;

    /// Reads `+44 20…` or `tel:+44-20-…`; parameters are the caller's to split off.
    fn from_str(text: &str) -> Result<Self, TelError> {
        let text = match text.get(..4) {
            Some(scheme) if scheme.eq_ignore_ascii_case("tel:") => &text[4..],
            _ => text,
        };
        if text.contains(';') {
            return Err(TelError::HasParameters);
        }
        let rest = text.strip_prefix('+').ok_or(TelError::NotGlobal)?;
        let mut number = String::from("+");
        for c in rest.chars() {
            match c {
                '0'..='9' => number.push(c),
                '-' | '.' | '(' | ')' | ' ' => {}
                other => return Err(TelError::Unexpected(other)),
            }
        }
        match number.len() - 1 {
            MIN_DIGITS..=MAX_DIGITS if number.as_bytes()[1] != b'0' => Ok(Self(number)),
            MIN_DIGITS..=MAX_DIGITS => Err(TelError::NotGlobal),
            found => Err(TelError::Length(found)),
        }
    }
}

impl fmt::Display for Tel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&crate::core::secret::Pii(self), f)
    }
}

impl serde::Serialize for Tel {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Tel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Why a text is not a [`Tel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TelError {
    /// Extensions and contexts do not belong to the number.
    #[error("a number with parameters is not a global number by itself")]
    HasParameters,
    /// This many digits, which no number has.
    #[error("{0} digits; a global number has {MIN_DIGITS} to {MAX_DIGITS}")]
    Length(usize),
    /// No leading `+` and country code: a local number means nothing without its place.
    #[error("a global number begins with + and a country code")]
    NotGlobal,
    /// A character that no number holds.
    #[error("{0:?} does not belong in a number")]
    Unexpected(char),
}

/// Shorter ones are service codes, which have a type of their own.
const MIN_DIGITS: usize = 7;
/// The most that E.164 allows.
const MAX_DIGITS: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_number_are_equal() {
        for text in ["+442079460018", "tel:+44-20-7946-0018", "TEL:+44 (20) 7946.0018"] {
            assert_eq!(
                text.parse::<Tel>().map(|t| t.to_string()),
                Ok("+442079460018".into()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let refused = [
            ("02079460018", TelError::NotGlobal),
            ("+02079460018", TelError::NotGlobal),
            ("+123", TelError::Length(3)),
            ("+1234567890123456", TelError::Length(16)),
            ("+44x079460018", TelError::Unexpected('x')),
            ("+44\u{0662}079460018", TelError::Unexpected('\u{0662}')),
            ("tel:+442079460018;ext=5", TelError::HasParameters),
        ];
        for (text, why) in refused {
            assert_eq!(text.parse::<Tel>(), Err(why), "{text}");
        }
    }
}
