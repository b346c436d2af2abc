//! `Replaces` (RFC 3891 §6.1).

use crate::core::sip::headers::HeaderError;
use crate::core::sip::name::HeaderName;
use crate::core::sip::params::{self, Params};
use crate::core::sip::scan;
use crate::core::sip::text::Text;
use crate::core::sip::typed::{Form, TypedHeader, call_id};

/// The dialog whose place the new one takes, as its receiver sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaces {
    /// Its `Call-ID`.
    pub call_id: Text,
    /// The receiver's own tag.
    pub to_tag: Text,
    /// The other side's tag.
    pub from_tag: Text,
    /// The new dialog takes the place of an unanswered one only.
    pub early_only: bool,
}

impl TypedHeader for Replaces {
    const NAME: HeaderName = HeaderName::REPLACES;
    const FORM: Form = Form::Single;

    fn parse(text: &str) -> Result<Self, HeaderError> {
        let (id, params) = text.split_at(text.find(';').unwrap_or(text.len()));
        let id = scan::trim(id);
        call_id::check(id.as_bytes())?;
        params::check_header(params)?;
        let params = Params::checked(Text::from(params));
        let tag = |name| {
            params
                .value(name)
                .map(Text::from)
                .ok_or(HeaderError::malformed("a tag is missing"))
        };
        Ok(Self {
            call_id: Text::from(id),
            to_tag: tag("to-tag")?,
            from_tag: tag("from-tag")?,
            early_only: params.has("early-only"),
        })
    }

    fn write(&self, out: &mut String) {
        out.push_str(&self.call_id);
        let mut params = Params::new()
            .with("to-tag", Some(&self.to_tag))
            .with("from-tag", Some(&self.from_tag));
        if self.early_only {
            params.set("early-only", None);
        }
        out.push_str(params.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dialogs_are_read_and_written() {
        let text = "98732@sip.example.com;to-tag=ff87ff;from-tag=r33th4x0r;early-only";
        let replaces = Replaces::parse(text).unwrap();
        assert!(replaces.early_only && replaces.from_tag == "r33th4x0r");
        let mut again = String::new();
        replaces.write(&mut again);
        assert_eq!(again, text);
        assert!(Replaces::parse("1@x;to-tag=2").is_err() && Replaces::parse(";to-tag=2;from-tag=3").is_err());
    }
}
