//! `Event` and `Subscription-State` (RFC 6665 §8.2).

use crate::core::sip::headers::HeaderError;
use crate::core::sip::name::HeaderName;
use crate::core::sip::params::{self, Params};
use crate::core::sip::scan;
use crate::core::sip::text::Text;
use crate::core::sip::typed::{Form, TypedHeader};

/// Declares headers that are a token with parameters.
macro_rules! worded {
    ($($(#[doc = $doc:literal])* $name:ident { $(#[doc = $field_doc:literal])* $field:ident } = $constant:ident;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $(#[doc = $field_doc])*
            pub $field: Text,
            /// What stands behind it.
            pub params: Params,
        }

        impl $name {
            /// Without parameters.
            #[must_use]
            pub fn new($field: &str) -> Self {
                Self { $field: Text::from($field), params: Params::new() }
            }
        }

        impl TypedHeader for $name {
            const NAME: HeaderName = HeaderName::$constant;
            const FORM: Form = Form::Single;

            fn parse(text: &str) -> Result<Self, HeaderError> {
                let (word, params) = text.split_at(text.find(';').unwrap_or(text.len()));
                let word = scan::trim(word);
                if !scan::all_token(word.as_bytes()) {
                    return Err(HeaderError::malformed("not a token"));
                }
                params::check_header(params)?;
                Ok(Self { $field: Text::from(word), params: Params::checked(Text::from(params)) })
            }

            fn write(&self, out: &mut String) {
                out.push_str(&self.$field);
                out.push_str(self.params.as_str());
            }
        }
    )*};
}

worded! {
    /// What a subscription is about.
    Event {
        /// `reg`, `refer`, `message-summary`, …; packages compare with regard to case.
        package
    } = EVENT;
    /// How a subscription stands.
    SubscriptionState {
        /// `active`, `pending`, `terminated`.
        state
    } = SUBSCRIPTION_STATE;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_parameters_are_read() {
        let event = Event::parse("refer ;id=93809824").unwrap();
        assert_eq!((&*event.package, event.params.value("id")), ("refer", Some("93809824")));
        assert!(Event::parse("").is_err() && SubscriptionState::parse("a b").is_err());
        let mut text = String::new();
        SubscriptionState {
            state: "active".into(),
            params: Params::new().with("expires", Some("60")),
        }
        .write(&mut text);
        assert_eq!(text, "active;expires=60");
    }
}
