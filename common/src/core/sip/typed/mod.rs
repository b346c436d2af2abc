//! Headers as values: one family a file.
//!
//! A typed header is read when it is asked for, by [`Headers::one`](super::Headers::one) and its neighbours, and written
//! when it is put back. What is not asked for stays text.

pub mod auth;
pub mod call_id;
pub mod call_info;
pub mod content;
pub mod cseq;
pub mod event;
pub mod name_addr;
pub mod number;
pub mod reason;
pub mod replaces;
pub mod session;
pub mod session_id;
pub mod tokens;
pub mod via;

pub use auth::{
    Authorization, Challenge, Credentials, DigestProof, Login, ProxyAuthenticate, ProxyAuthorization, WwwAuthenticate,
};
pub use call_id::CallId;
pub use call_info::CallInfo;
pub use content::ContentType;
pub use cseq::{CSeq, RAck, RSeq};
pub use event::{Event, SubscriptionState};
pub use name_addr::{
    Contact, ContactList, Diversion, From, NameAddr, PAssertedIdentity, PPreferredIdentity, Path, RecordRoute, ReferTo,
    ReferredBy, Route, ServiceRoute, To,
};
pub use number::{Expires, MaxBreadth, MaxForwards, MinExpires, RetryAfter};
pub use reason::Reason;
pub use replaces::Replaces;
pub use session::{MinSe, Refresher, SessionExpires};
pub use session_id::SessionUuids;
pub use tokens::{Allow, AllowEvents, Privacy, ProxyRequire, Require, Supported, Unsupported};
pub use via::{Hop, Via};

use super::headers::HeaderError;
use super::name::HeaderName;
use super::value::ValueRef;

/// A header whose value has a type.
pub trait TypedHeader: Sized {
    /// Its name.
    const NAME: HeaderName;
    /// How its values may be spread over lines.
    const FORM: Form;

    /// Reads one value, without blanks at its ends.
    ///
    /// # Errors
    /// What the text should not have been.
    fn parse(text: &str) -> Result<Self, HeaderError>;

    /// Reads one value where it lies in its message, so that it may share the bytes.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse).
    fn read(value: ValueRef<'_>) -> Result<Self, HeaderError> {
        Self::parse(&value.to_text())
    }

    /// Appends the value.
    fn write(&self, out: &mut String);
}

/// How the values of a header may be spread over lines (RFC 3261 §7.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One value in one line; the comma means nothing.
    Single,
    /// Values in comma lists, in any number of lines.
    List,
    /// Any number of lines, each with one value; the comma belongs to the value (`WWW-Authenticate`).
    Lines,
    /// Any number of lines, which together are one value.
    Joined,
}
