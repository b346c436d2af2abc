//! Headers that are lists of tokens: option tags (RFC 3261 §19.2), methods, privacy (RFC 3323 §4.2).

use crate::core::sip::headers::{HeaderError, Headers};
use crate::core::sip::method::Method;
use crate::core::sip::name::HeaderName;
use crate::core::sip::scan;
use crate::core::sip::text::Token;
use crate::core::sip::typed::{Form, TypedHeader};

/// Declares headers that are lists of tokens.
macro_rules! token_lists {
    ($($(#[doc = $doc:literal])* $name:ident = $constant:ident, $mark:literal;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name(pub Vec<Token>);

        impl $name {
            /// The tokens of the program itself.
            ///
            /// # Panics
            /// If one of them is no token, which is a mistake in the program.
            #[must_use]
            pub fn of(tokens: &[&str]) -> Self {
                Self(tokens.iter().map(|text| Token::new(text).expect("a constant token")).collect())
            }

            /// Whether the token is in the list, without regard to case.
            #[must_use]
            pub fn has(&self, token: &str) -> bool {
                self.0.iter().any(|found| found.eq_ignore_ascii_case(token))
            }

            /// Whether the token is in the list of a message, without regard to case; none if it has no such list. No list
            /// is made for that.
            ///
            /// # Errors
            /// The list cannot be read.
            pub fn find(headers: &Headers, token: &str) -> Result<Option<bool>, HeaderError> {
                find(headers, &Self::NAME, $mark, |found| found.eq_ignore_ascii_case(token))
            }

            /// The tokens in their order.
            pub fn iter(&self) -> impl Iterator<Item = &str> {
                self.0.iter().map(Token::as_str)
            }
        }

        impl TypedHeader for $name {
            const NAME: HeaderName = HeaderName::$constant;
            const FORM: Form = Form::Joined;

            fn parse(text: &str) -> Result<Self, HeaderError> {
                read(text, $mark).map(Self)
            }

            fn write(&self, out: &mut String) {
                for (at, token) in self.iter().enumerate() {
                    if at > 0 {
                        out.push_str(if $mark == ';' { ";" } else { ", " });
                    }
                    out.push_str(token);
                }
            }
        }
    )*};
}

token_lists! {
    /// Methods that the sender takes (RFC 3261 §20.5).
    Allow = ALLOW, ',';
    /// Event packages that the sender takes (RFC 6665 §8.2.2).
    AllowEvents = ALLOW_EVENTS, ',';
    /// What privacy the sender wants (RFC 3323 §4.2, RFC 3325 §9.3).
    Privacy = PRIVACY, ';';
    /// Extensions that proxies must know (RFC 3261 §20.29).
    ProxyRequire = PROXY_REQUIRE, ',';
    /// Extensions that the other side must know (RFC 3261 §20.32).
    Require = REQUIRE, ',';
    /// Extensions that the sender knows (RFC 3261 §20.37).
    Supported = SUPPORTED, ',';
    /// Extensions that were required and are not known (RFC 3261 §20.40).
    Unsupported = UNSUPPORTED, ',';
}

impl Allow {
    /// Whether the method is in the list of a message; none if it has no such list. No list is made for that.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn find_method(headers: &Headers, method: &Method) -> Result<Option<bool>, HeaderError> {
        find(headers, &Self::NAME, ',', |found| found == method.as_str())
    }

    /// Whether the method is in the list. Methods compare with regard to case.
    #[must_use]
    pub fn allows(&self, method: &Method) -> bool {
        self.iter().any(|found| found == method.as_str())
    }
}

/// Whether a token that fits is in the lines of this name.
fn find(
    headers: &Headers,
    name: &HeaderName,
    mark: char,
    fits: impl Fn(&str) -> bool,
) -> Result<Option<bool>, HeaderError> {
    let mut found = None;
    for line in headers.get_all(name) {
        for token in pieces(&line.to_text(), mark) {
            if !scan::all_token(token.as_bytes()) {
                return Err(HeaderError::malformed(NO_LIST));
            }
            found = Some(found == Some(true) || fits(token));
        }
        found = found.or(Some(false));
    }
    Ok(found)
}

/// An empty list is a list, and marks without a token between them are passed over. Several lines come joined by commas, whatever the mark.
fn read(text: &str, mark: char) -> Result<Vec<Token>, HeaderError> {
    pieces(text, mark)
        .map(|token| Token::new(token).ok_or(HeaderError::malformed(NO_LIST)))
        .collect()
}

fn pieces(text: &str, mark: char) -> impl Iterator<Item = &str> {
    text.split([mark, ','])
        .map(scan::trim)
        .filter(|token| !token.is_empty())
}

const NO_LIST: &str = "not a list of tokens";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sip::Value;

    #[test]
    fn lists_are_read_over_lines_and_marks() {
        assert!(Privacy::parse("id; user;critical").unwrap().has("ID"));
        assert_eq!(Supported::parse("").unwrap(), Supported::default());
        assert!(Require::parse("a b").is_err());
        let mut headers = Headers::new();
        headers.push(HeaderName::SUPPORTED, Value::of_static("100rel, timer"));
        headers.push("k".parse().unwrap(), Value::of_static("path"));
        let supported: Supported = headers.one().unwrap();
        assert_eq!(supported.iter().collect::<Vec<_>>(), ["100rel", "timer", "path"]);
        for (option, there) in [("PATH", true), ("timer", true), ("100", false)] {
            assert_eq!(Supported::find(&headers, option), Ok(Some(there)), "{option}");
        }
        assert_eq!(Require::find(&headers, "path"), Ok(None));
        headers.push(HeaderName::REQUIRE, Value::of_static(" , "));
        assert_eq!(Require::find(&headers, "path"), Ok(Some(false)));
        headers.push(HeaderName::REQUIRE, Value::of_static("path, a b"));
        assert!(Require::find(&headers, "path").is_err() && headers.opt::<Require>().is_err());
        headers.push(HeaderName::ALLOW, Value::of_static("INVITE,update"));
        assert_eq!(Allow::find_method(&headers, &Method::Invite), Ok(Some(true)));
        assert_eq!(Allow::find_method(&headers, &Method::Update), Ok(Some(false)));
        let allow = Allow::of(&["INVITE", "ACK"]);
        assert!(allow.allows(&Method::Invite) && !allow.allows(&"invite".parse().unwrap()));
        let mut text = String::new();
        Privacy::of(&["id", "critical"]).write(&mut text);
        assert_eq!(text, "id;critical");
    }
}
