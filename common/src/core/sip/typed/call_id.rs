//! `Call-ID` (RFC 3261 §20.8).

use crate::core::sip::headers::HeaderError;
use crate::core::sip::name::HeaderName;
use crate::core::sip::scan::{self, Bad, class};
use crate::core::sip::text::Text;
use crate::core::sip::typed::{Form, TypedHeader};

/// What the messages of one call have in common. Compared byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub Text);

impl CallId {
    /// One of our own, from a token.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Text::from(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl TypedHeader for CallId {
    const NAME: HeaderName = HeaderName::CALL_ID;
    const FORM: Form = Form::Single;

    fn parse(text: &str) -> Result<Self, HeaderError> {
        check(text.as_bytes())?;
        Ok(Self(Text::from(text)))
    }

    fn write(&self, out: &mut String) {
        out.push_str(&self.0);
    }
}

/// `word [ "@" word ]`, read generously: one word without blanks and control characters.
pub fn check(text: &[u8]) -> Result<(), Bad> {
    if !text.is_empty() && scan::all(text, class::WORD) {
        Ok(())
    } else {
        Err(Bad("not one word"))
    }
}
