//! Header values.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::headers::HeaderError;
use super::scan;

/// The value of one header line, or a reason phrase. It cannot hold CR, LF or NUL.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Value(Bytes);

impl Value {
    /// Takes the text without the blanks at its ends.
    ///
    /// # Errors
    /// The text holds CR, LF or NUL.
    pub fn new(text: impl Into<Bytes>) -> Result<Self, HeaderError> {
        let bytes: Bytes = text.into();
        if bytes.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
            return Err(HeaderError::malformed("CR, LF or NUL in a value"));
        }
        let trimmed = scan::trim_bytes(&bytes);
        Ok(if trimmed.len() == bytes.len() {
            Self(bytes)
        } else {
            Self(bytes.slice_ref(trimmed))
        })
    }

    /// A value of the program itself.
    ///
    /// # Panics
    /// If the text holds CR, LF or NUL, which is a mistake in the program; at compile time, when used in a constant.
    #[must_use]
    pub const fn of_static(text: &'static str) -> Self {
        let mut bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            assert!(!matches!(bytes[at], b'\r' | b'\n' | 0), "a constant with CR, LF or NUL");
            at += 1;
        }
        while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
            bytes = rest;
        }
        Self(Bytes::from_static(bytes))
    }

    /// Takes foreign text and puts a space in the place of each CR, LF and NUL.
    #[must_use]
    pub fn cleaned(text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        for byte in &mut bytes {
            if matches!(byte, b'\r' | b'\n' | 0) {
                *byte = b' ';
            }
        }
        let bytes = Bytes::from(bytes);
        let trimmed = bytes.slice_ref(scan::trim_bytes(&bytes));
        Self(trimmed)
    }

    /// Takes a text of our own, as [`cleaned`](Self::cleaned) does, without a copy where there is nothing to clean.
    #[must_use]
    pub fn made(text: String) -> Self {
        let foul = memchr::memchr3(b'\r', b'\n', 0, text.as_bytes()).is_some();
        if foul || scan::trim_bytes(text.as_bytes()).len() != text.len() {
            Self::cleaned(&text)
        } else {
            Self(Bytes::from(text))
        }
    }

    /// For what the parser has checked already.
    pub(super) fn checked(bytes: Bytes) -> Self {
        debug_assert!(!bytes.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
        Self(bytes)
    }

    /// What stands at these places, without the blanks at its ends; it shares the bytes. Places that there are not give
    /// nothing.
    #[must_use]
    pub fn part(&self, places: Range<usize>) -> Self {
        let part = self.0.get(places).unwrap_or_default();
        Self(self.0.slice_ref(scan::trim_bytes(part)))
    }

    /// The bytes as they stand in the message.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text.
    ///
    /// # Errors
    /// The bytes are no UTF-8.
    pub fn as_str(&self) -> Result<&str, HeaderError> {
        self.as_ref().as_str()
    }

    pub(super) fn as_ref(&self) -> ValueRef<'_> {
        ValueRef {
            source: &self.0,
            bytes: &self.0,
        }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

/// A value where it lies in its message.
#[derive(Clone, Copy)]
pub struct ValueRef<'a> {
    pub(super) source: &'a Bytes,
    pub(super) bytes: &'a [u8],
}

impl<'a> ValueRef<'a> {
    /// The bytes as they stand in the message.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The text.
    ///
    /// # Errors
    /// The bytes are no UTF-8.
    pub fn as_str(self) -> Result<&'a str, HeaderError> {
        std::str::from_utf8(self.bytes).map_err(|_| HeaderError::malformed("not UTF-8"))
    }

    /// The text with a mark in the place of what is no UTF-8: old equipment writes names in other character sets, and
    /// that must not cost a call.
    #[must_use]
    pub fn to_text(self) -> Cow<'a, str> {
        scan::to_text(self.bytes)
    }

    /// A value of its own, which shares the message's bytes.
    #[must_use]
    pub fn to_value(self) -> Value {
        Value::checked(self.source.slice_ref(self.bytes))
    }
}

impl fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_text(), f)
    }
}

impl PartialEq for ValueRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for ValueRef<'_> {}

impl PartialEq<str> for ValueRef<'_> {
    fn eq(&self, other: &str) -> bool {
        self.bytes == other.as_bytes()
    }
}

impl PartialEq<&str> for ValueRef<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.bytes == other.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_holds_a_line_end() {
        for text in ["a\rb", "a\nb", "a\0b", "\r\n", "a\r\n b"] {
            assert!(Value::new(text).is_err(), "{text:?}");
        }
        assert_eq!(Value::new(" a b\t").unwrap(), "a b");
        assert_eq!(Value::cleaned("a\r\nVia: x\0"), "a  Via: x");
        assert_eq!(Value::cleaned(" \r\n"), "");
    }

    #[test]
    fn a_part_is_a_value() {
        let value = Value::of_static("one, two");
        assert_eq!(
            (value.part(0..3), value.part(4..8)),
            (Value::of_static("one"), Value::of_static("two"))
        );
        assert_eq!(
            (value.part(4..5), value.part(4..9)),
            (Value::default(), Value::default())
        );
    }
}
