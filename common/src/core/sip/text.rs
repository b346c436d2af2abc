//! Short texts that many hands share.

use std::borrow::Borrow;
use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use super::headers::HeaderError;
use super::scan;

/// A piece of a header or URI: cheap to clone, cut from a text that its siblings share.
///
/// It never holds CR, LF or NUL: making one from such a text puts a space in their place, so that no value built from
/// foreign text can begin a header line.
#[derive(Clone)]
pub struct Text(Repr);

#[derive(Clone)]
enum Repr {
    Static(&'static str),
    Shared { source: Arc<str>, start: u32, end: u32 },
}

impl Text {
    /// The empty text.
    pub const EMPTY: Self = Self(Repr::Static(""));

    /// A text that the program itself holds.
    ///
    /// # Panics
    /// At compile time, when used in a constant, if the text holds CR, LF or NUL.
    #[must_use]
    pub const fn of_static(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            assert!(!is_forbidden(bytes[at]), "a text of the program holds CR, LF or NUL");
            at += 1;
        }
        Self(Repr::Static(text))
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Static(text) => text,
            Repr::Shared { source, start, end } => &source[*start as usize..*end as usize],
        }
    }

    /// As `read` understands it; shared where that is what stands there.
    pub(super) fn meant(self, read: fn(&str) -> Cow<'_, str>) -> Self {
        let changed = match read(&self) {
            Cow::Owned(changed) => Some(changed),
            Cow::Borrowed(_) => None,
        };
        changed.map_or(self, Self::from)
    }

    /// Shares `part`, which was cut from this text between two characters. A part of something else is copied.
    pub(super) fn cut(&self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        if part.is_empty() {
            return Self::EMPTY;
        }
        let whole = self.as_str();
        let offset = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        let inside = offset.checked_add(part.len()).is_some_and(|end| end <= whole.len());
        match &self.0 {
            Repr::Shared { source, start, .. } if inside => {
                let begin = *start as usize + offset;
                match (u32::try_from(begin), u32::try_from(begin + part.len())) {
                    (Ok(start), Ok(end)) => Self(Repr::Shared {
                        source: source.clone(),
                        start,
                        end,
                    }),
                    _ => Self::copied(part),
                }
            }
            _ => Self::copied(part),
        }
    }

    fn copied(part: &[u8]) -> Self {
        Self::from(&*String::from_utf8_lossy(part))
    }
}

const fn is_forbidden(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | 0)
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        if text.is_empty() {
            return Self::EMPTY;
        }
        let source: Arc<str> = if memchr::memchr3(b'\r', b'\n', 0, text.as_bytes()).is_some() {
            text.replace(['\r', '\n', '\0'], " ").into()
        } else {
            text.into()
        };
        // Nothing from the network is so long; a longer text of our own is cut rather than wrapped.
        let end = u32::try_from(source.len()).unwrap_or(0);
        Self(Repr::Shared { source, start: 0, end })
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A `token` of RFC 3261 §25.1: never empty, no separators.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(Text);

impl Token {
    /// The token itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(super) fn new(text: &str) -> Option<Self> {
        scan::all_token(text.as_bytes()).then(|| Self(Text::from(text)))
    }
}

impl FromStr for Token {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        Self::new(text).ok_or(HeaderError::malformed("not a token"))
    }
}

impl Deref for Token {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_begin_a_header_line() {
        assert_eq!(Text::from("a\r\nVia: b\0"), "a  Via: b ");
        assert!("a b".parse::<Token>().is_err() && "".parse::<Token>().is_err());
    }

    #[test]
    fn a_part_is_shared_and_a_stranger_copied() {
        let whole = Text::from("sip:alice@example.com");
        let part = whole.cut(&whole.as_str()[4..9]);
        assert_eq!(part, "alice");
        assert_eq!(part.cut(&part.as_str()[1..]), "lice");
        assert_eq!(part.cut("somewhere else"), "somewhere else");
    }
}
