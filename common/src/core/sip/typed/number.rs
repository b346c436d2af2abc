//! Headers that are a number: `Max-Forwards`, `Expires`, `Min-Expires`, `Retry-After` (RFC 3261 §20).

use std::fmt::Write as _;

use crate::core::sip::headers::HeaderError;
use crate::core::sip::name::HeaderName;
use crate::core::sip::params::{self, Params};
use crate::core::sip::scan::{self, Bad};
use crate::core::sip::text::Text;
use crate::core::sip::typed::{Form, TypedHeader};

/// Declares headers that are one number.
macro_rules! numbers {
    ($($(#[doc = $doc:literal])* $name:ident($type:ty) = $constant:ident, $read:path;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub $type);

        impl TypedHeader for $name {
            const NAME: HeaderName = HeaderName::$constant;
            const FORM: Form = Form::Single;

            fn parse(text: &str) -> Result<Self, HeaderError> {
                Ok(Self($read(text)?))
            }

            fn write(&self, out: &mut String) {
                write!(out, "{}", self.0).expect("writing to a String cannot fail");
            }
        }
    )*};
}

numbers! {
    /// How many hops are left (RFC 3261 §20.22).
    MaxForwards(u8) = MAX_FORWARDS, small;
    /// How many branches of a request may be under way at one time (RFC 5393 §5.3).
    MaxBreadth(u32) = MAX_BREADTH, scan::number;
    /// Seconds (RFC 3261 §20.19).
    Expires(u32) = EXPIRES, scan::number;
    /// The fewest seconds that a registrar grants (RFC 3261 §20.23).
    MinExpires(u32) = MIN_EXPIRES, scan::number;
}

/// A number up to 255.
pub fn small(text: impl AsRef<[u8]>) -> Result<u8, Bad> {
    u8::try_from(scan::number(text)?).map_err(|_| Bad("a number above 255"))
}

/// After how many seconds to try again (RFC 3261 §20.33). A comment is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryAfter {
    /// Seconds to wait.
    pub seconds: u32,
    /// `duration`, …
    pub params: Params,
}

impl RetryAfter {
    /// Without parameters.
    #[must_use]
    pub fn new(seconds: u32) -> Self {
        Self {
            seconds,
            params: Params::new(),
        }
    }
}

impl TypedHeader for RetryAfter {
    const NAME: HeaderName = HeaderName::RETRY_AFTER;
    const FORM: Form = Form::Single;

    fn parse(text: &str) -> Result<Self, HeaderError> {
        let end = text.find([';', '(', ' ', '\t']).unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let params = match (rest.find('('), rest.rfind(')')) {
            (Some(open), Some(close)) if open < close => {
                format!("{}{}", scan::trim(&rest[..open]), &rest[close + 1..])
            }
            (None, None) => rest.to_owned(),
            _ => return Err(HeaderError::malformed("a comment that is not closed")),
        };
        let params = scan::trim(&params);
        // A second one would be taken for a comment when it is read again.
        if params.contains(['(', ')']) {
            return Err(HeaderError::malformed("a comment that is not closed"));
        }
        params::check_header(params)?;
        Ok(Self {
            seconds: scan::number(number)?,
            params: Params::checked(Text::from(params)),
        })
    }

    fn write(&self, out: &mut String) {
        write!(out, "{}{}", self.seconds, self.params).expect("writing to a String cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert_eq!(MaxForwards::parse("255").unwrap(), MaxForwards(255));
        assert!(MaxForwards::parse("256").is_err() && MaxForwards::parse("-1").is_err());
        assert!(Expires::parse("4294967296").is_err() && MinExpires::parse("1h").is_err());
    }

    #[test]
    fn comments_do_not_count() {
        for text in [
            "18000;duration=3600",
            "18000 (In a meeting);duration=3600",
            "18000 (In a meeting)  ;duration=3600",
            "18000 ;duration=3600 (later)",
        ] {
            let retry = RetryAfter::parse(text).unwrap();
            assert_eq!(
                (retry.seconds, retry.params.value("duration")),
                (18000, Some("3600")),
                "{text}"
            );
            assert_eq!(retry.params.as_str(), ";duration=3600", "{text}");
        }
        assert!(RetryAfter::parse("1 (x);y(").is_err());
        assert!(RetryAfter::parse("1 (x").is_err() && RetryAfter::parse("x").is_err());
    }
}
