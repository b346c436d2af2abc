//! `Reason` (RFC 3326).

use std::borrow::Cow;

use crate::core::sip::headers::HeaderError;
use crate::core::sip::name::HeaderName;
use crate::core::sip::params::{self, Params};
use crate::core::sip::scan;
use crate::core::sip::text::Text;
use crate::core::sip::typed::{Form, TypedHeader};

/// Why a request was sent, in the terms of some protocol: `SIP ;cause=200 ;text="Call completed elsewhere"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// `SIP`, `Q.850`, …
    pub protocol: Text,
    /// `cause`, `text`, …
    pub params: Params,
}

impl Reason {
    /// A cause with its words; without words if they are empty.
    #[must_use]
    pub fn new(protocol: &str, cause: u16, text: &str) -> Self {
        let mut params = Params::new().with("cause", Some(&cause.to_string()));
        if !text.is_empty() {
            let mut quoted = String::new();
            scan::quote(text, &mut quoted);
            params.set("text", Some(&quoted));
        }
        Self {
            protocol: Text::from(protocol),
            params,
        }
    }

    /// The number of the cause.
    #[must_use]
    pub fn cause(&self) -> Option<u16> {
        self.params.value("cause")?.parse().ok()
    }

    /// The words, without quotes.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'_, str>> {
        self.params.unquoted("text")
    }
}

impl TypedHeader for Reason {
    const NAME: HeaderName = HeaderName::REASON;
    const FORM: Form = Form::List;

    fn parse(text: &str) -> Result<Self, HeaderError> {
        let (protocol, params) = text.split_at(text.find(';').unwrap_or(text.len()));
        let protocol = scan::trim(protocol);
        if !scan::all_token(protocol.as_bytes()) {
            return Err(HeaderError::malformed("not a protocol"));
        }
        params::check_header(params)?;
        Ok(Self {
            protocol: Text::from(protocol),
            params: Params::checked(Text::from(params)),
        })
    }

    fn write(&self, out: &mut String) {
        out.push_str(&self.protocol);
        out.push_str(self.params.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_read_and_written() {
        let read = Reason::parse(r#"Q.850 ;cause=16 ;text="Normal \"clearing\"""#).unwrap();
        assert_eq!(
            (&*read.protocol, read.cause(), read.text().as_deref()),
            ("Q.850", Some(16), Some("Normal \"clearing\""))
        );
        let mut text = String::new();
        Reason::new("SIP", 200, "Call completed elsewhere").write(&mut text);
        assert_eq!(text, r#"SIP;cause=200;text="Call completed elsewhere""#);
        assert!(Reason::parse("").is_err() && Reason::parse("a b").is_err());
    }
}
