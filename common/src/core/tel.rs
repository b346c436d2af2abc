//! Global telephone numbers (RFC 3966, E.164).

use std::fmt;
use std::str::FromStr;

/// A global telephone number, `+` and digits only, as E.164 and RFC 3966 §5.1.4 have it.
///
/// Two numbers are equal if and only if they would reach the same line: the visual separators of the input are not
/// kept.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tel {
    /// The `+` and the digits, and NUL behind them: in place, since the longest is no longer than what would point to it.
    /// NUL comes before all digits, so numbers have the order of their texts.
    text: [u8; 1 + MAX_DIGITS],
}

impl Tel {
    /// The number with its `+`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.text.iter().position(|byte| *byte == 0).unwrap_or(self.text.len());
        std::str::from_utf8(&self.text[..end]).expect("digits are ASCII")
    }

    /// The digits without the `+`.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.as_str()[1..]
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
        let mut number = [0; 1 + MAX_DIGITS];
        number[0] = b'+';
        let mut digits = 0;
        for c in rest.chars() {
            match c {
                '0'..='9' => {
                    digits += 1;
                    if let (Some(place), Ok(digit)) = (number.get_mut(digits), u8::try_from(c)) {
                        *place = digit;
                    }
                }
                '-' | '.' | '(' | ')' | ' ' => {}
                other => return Err(TelError::Unexpected(other)),
            }
        }
        match digits {
            MIN_DIGITS..=MAX_DIGITS if number[1] != b'0' => Ok(Self { text: number }),
            MIN_DIGITS..=MAX_DIGITS => Err(TelError::NotGlobal),
            found => Err(TelError::Length(found)),
        }
    }
}

impl fmt::Display for Tel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Tel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&crate::core::secret::Pii(self), f)
    }
}

impl serde::Serialize for Tel {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
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
    fn numbers_have_the_order_of_their_texts() {
        let texts = [
            "+1234567",
            "+12345670",
            "+123456789012345",
            "+12345679",
            "+442079460018",
        ];
        let numbers: Vec<Tel> = texts.iter().map(|text| text.parse().unwrap()).collect();
        assert!(texts.is_sorted() && numbers.is_sorted());
        for (text, number) in texts.iter().zip(&numbers) {
            assert_eq!((number.as_str(), number.digits()), (*text, &text[1..]));
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
