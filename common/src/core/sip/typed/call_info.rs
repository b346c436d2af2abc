//! `Call-Info` (RFC 3261 §20.9, RFC 6993).

use crate::core::sip::headers::HeaderError;
use crate::core::sip::name::HeaderName;
use crate::core::sip::params::{self, Params};
use crate::core::sip::scan;
use crate::core::sip::text::Text;
use crate::core::sip::typed::{Form, TypedHeader};

/// Something to know about the caller or callee, and where it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallInfo {
    /// What stands between the brackets, as it stands.
    pub uri: Text,
    /// `purpose`, …
    pub params: Params,
}

impl CallInfo {
    /// A URI with its purpose: `<xmpp:alice@example.com>;purpose=impp`.
    #[must_use]
    pub fn new(uri: &str, purpose: &str) -> Self {
        Self {
            uri: Text::from(uri),
            params: Params::new().with("purpose", Some(purpose)),
        }
    }

    /// What the URI is for, as it stands; purposes compare without regard to case.
    #[must_use]
    pub fn purpose(&self) -> Option<&str> {
        self.params.value("purpose")
    }

    /// Whether this says where the party is reached by messages (RFC 6993).
    #[must_use]
    pub fn is_impp(&self) -> bool {
        self.purpose()
            .is_some_and(|purpose| purpose.eq_ignore_ascii_case("impp"))
    }
}

impl TypedHeader for CallInfo {
    const NAME: HeaderName = HeaderName::CALL_INFO;
    const FORM: Form = Form::List;

    fn parse(text: &str) -> Result<Self, HeaderError> {
        let inside = text
            .strip_prefix('<')
            .ok_or(HeaderError::malformed("not a URI in brackets"))?;
        let (uri, params) = inside
            .split_once('>')
            .ok_or(HeaderError::malformed("an angle bracket that is not closed"))?;
        let uri = scan::trim(uri);
        if !uri.chars().all(is_allowed) {
            return Err(HeaderError::malformed("a URI with forbidden characters"));
        }
        params::check_header(params)?;
        let source = Text::from(text);
        Ok(Self {
            uri: source.cut(uri),
            params: Params::checked(Text::from(params)),
        })
    }

    fn write(&self, out: &mut String) {
        out.push('<');
        out.extend(self.uri.chars().filter(|c| is_allowed(*c)));
        out.push('>');
        out.push_str(self.params.as_str());
    }
}

/// A bracket or a blank in the URI would end it early for one reader or another.
fn is_allowed(c: char) -> bool {
    !matches!(c, '<' | '>' | '"' | ' ') && !c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_rfc_6993() {
        let info = CallInfo::parse("<xmpp:juliet@example.com> ;purpose=IMPP").unwrap();
        assert_eq!((&*info.uri, info.is_impp()), ("xmpp:juliet@example.com", true));
        let mut text = String::new();
        CallInfo::new("xmpp:alice@xmpp.example.com", "impp").write(&mut text);
        assert_eq!(text, "<xmpp:alice@xmpp.example.com>;purpose=impp");
        for bad in [
            "",
            "xmpp:a@b",
            "<xmpp:a@b",
            "<xmpp:a@b>purpose=impp",
            "<a>;purpose=\"x",
            "<a b>",
            "<<a>",
        ] {
            assert!(CallInfo::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_made_value_stays_in_its_brackets() {
        let mut text = String::new();
        CallInfo::new("xmpp:a>,<sip:evil@x>\r\n", "impp").write(&mut text);
        assert_eq!(text, "<xmpp:a,sip:evil@x>;purpose=impp");
    }
}
