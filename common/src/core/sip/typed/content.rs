//! `Content-Type` (RFC 3261 §20.15).

use crate::core::sip::headers::HeaderError;
use crate::core::sip::name::HeaderName;
use crate::core::sip::params::{self, Params};
use crate::core::sip::scan;
use crate::core::sip::text::Text;
use crate::core::sip::typed::{Form, TypedHeader};

/// What the body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType {
    /// `application/sdp`, as it stands without blanks.
    pub media: Text,
    /// `boundary`, `charset`, …
    pub params: Params,
}

impl ContentType {
    /// `application/sdp`
    pub const SDP: Self = Self::of_static("application/sdp");
    /// `application/dtmf-relay`
    pub const DTMF_RELAY: Self = Self::of_static("application/dtmf-relay");
    /// `message/sipfrag`
    pub const SIPFRAG: Self = Self::of_static("message/sipfrag");

    /// A type that the program itself holds, without parameters.
    #[must_use]
    pub const fn of_static(media: &'static str) -> Self {
        Self {
            media: Text::of_static(media),
            params: Params::EMPTY,
        }
    }

    /// Whether the type is `media`, whatever its parameters. Types compare without regard to case.
    #[must_use]
    pub fn is(&self, media: &str) -> bool {
        self.media.eq_ignore_ascii_case(media)
    }

    /// Whether such a body may hold further bodies with types of their own (RFC 2046 §5).
    #[must_use]
    pub fn is_composite(&self) -> bool {
        let kind = self.media.split('/').next().unwrap_or_default().trim();
        ["multipart", "message"]
            .iter()
            .any(|composite| kind.eq_ignore_ascii_case(composite))
    }
}

impl TypedHeader for ContentType {
    const NAME: HeaderName = HeaderName::CONTENT_TYPE;
    const FORM: Form = Form::Single;

    fn parse(text: &str) -> Result<Self, HeaderError> {
        let (media, params) = text.split_at(text.find(';').unwrap_or(text.len()));
        let (main, sub) = media
            .split_once('/')
            .ok_or(HeaderError::malformed("not a media type"))?;
        let (main, sub) = (scan::trim(main), scan::trim(sub));
        if !scan::all_token(main.as_bytes()) || !scan::all_token(sub.as_bytes()) {
            return Err(HeaderError::malformed("not a media type"));
        }
        params::check_header(params)?;
        Ok(Self {
            media: Text::from(format!("{main}/{sub}")),
            params: Params::checked(Text::from(params)),
        })
    }

    fn write(&self, out: &mut String) {
        out.push_str(&self.media);
        out.push_str(self.params.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read() {
        assert!(
            ContentType::parse("Application / SDP ;charset=utf-8")
                .unwrap()
                .is("application/sdp")
        );
        let mixed = ContentType::parse(r#"multipart/mixed;boundary="7a9;cbe""#).unwrap();
        assert_eq!(mixed.params.value("boundary"), Some("7a9;cbe"));
        for text in ["", "sdp", "a/b/c", "application/", "a b/c"] {
            assert!(ContentType::parse(text).is_err(), "{text}");
        }
    }
}
