//! The headers that every message has and nearly everybody asks for, read once.

use std::sync::OnceLock;

use super::headers::{HeaderError, Headers};
use super::name::Known;
use super::typed::{CSeq, CallId, From, To, Via};

/// What was read of a message so far.
#[derive(Debug, Default)]
pub(super) struct Memo {
    via: OnceLock<Via>,
    from: OnceLock<From>,
    to: OnceLock<To>,
    cseq: OnceLock<CSeq>,
    call_id: OnceLock<CallId>,
}

impl Memo {
    /// Whether a line of this name is among what is remembered.
    pub(super) fn holds(known: Option<Known>) -> bool {
        matches!(
            known,
            Some(Known::Via | Known::From | Known::To | Known::Cseq | Known::CallId)
        )
    }
}

impl Headers {
    /// The topmost `Via`.
    ///
    /// # Errors
    /// As for [`first`](Self::first).
    pub fn via(&self) -> Result<&Via, HeaderError> {
        self.remembered(|memo| &memo.via, Self::first)
    }

    /// The one `From`.
    ///
    /// # Errors
    /// As for [`one`](Self::one).
    pub fn from(&self) -> Result<&From, HeaderError> {
        self.remembered(|memo| &memo.from, Self::one)
    }

    /// The one `To`.
    ///
    /// # Errors
    /// As for [`one`](Self::one).
    pub fn to(&self) -> Result<&To, HeaderError> {
        self.remembered(|memo| &memo.to, Self::one)
    }

    /// The one `CSeq`.
    ///
    /// # Errors
    /// As for [`one`](Self::one).
    pub fn cseq(&self) -> Result<&CSeq, HeaderError> {
        self.remembered(|memo| &memo.cseq, Self::one)
    }

    /// The one `Call-ID`.
    ///
    /// # Errors
    /// As for [`one`](Self::one).
    pub fn call_id(&self) -> Result<&CallId, HeaderError> {
        self.remembered(|memo| &memo.call_id, Self::one)
    }

    fn remembered<H>(
        &self,
        place: fn(&Memo) -> &OnceLock<H>,
        read: fn(&Self) -> Result<H, HeaderError>,
    ) -> Result<&H, HeaderError> {
        let place = place(self.memo());
        if let Some(known) = place.get() {
            return Ok(known);
        }
        let value = read(self)?;
        Ok(place.get_or_init(|| value))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::core::sip::typed::CallId;
    use crate::core::sip::{HeaderName, Message, Request, Status, Value};

    fn request() -> Request {
        let text = "OPTIONS sip:a@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1, SIP/2.0/TCP b\r\n\
                    From: <sip:b@example.com>;tag=1\r\nTo: <sip:a@example.com>\r\nCall-ID: one\r\nCSeq: 7 OPTIONS\r\n\r\n";
        match Message::parse(Bytes::from_static(text.as_bytes())) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_changed_is_read_again() {
        let mut request = request();
        let headers = &mut request.headers;
        assert_eq!(headers.call_id().unwrap().as_str(), "one");
        headers.replace(&CallId::new("two"));
        assert_eq!(headers.call_id().unwrap().as_str(), "two");
        assert_eq!(headers.via().unwrap().branch(), Some("z9hG4bK1"));
        headers.remove_top::<crate::core::sip::typed::Via>().unwrap();
        assert_eq!(headers.via().unwrap().host.to_string(), "b");
        assert_eq!(headers.from().unwrap().tag(), Some("1"));
        headers.remove(&HeaderName::FROM);
        assert!(headers.from().is_err());
        headers.push(HeaderName::FROM, Value::of_static("<sip:c@example.com>;tag=2"));
        assert_eq!(headers.from().unwrap().tag(), Some("2"));
        headers.push_front(HeaderName::FROM, Value::of_static("<sip:d@example.com>;tag=3"));
        assert!(headers.from().is_err(), "two of them");
        headers.remove_first(&HeaderName::FROM);
        assert_eq!(headers.from().unwrap().tag(), Some("2"));
    }

    #[test]
    fn an_answer_has_its_own() {
        let request = request();
        assert_eq!(request.headers.to().unwrap().tag(), None);
        let mut response = request.response(Status::OK);
        assert_eq!(response.headers.to().unwrap().tag(), None);
        response.set_tag("x");
        assert_eq!(response.headers.to().unwrap().tag(), Some("x"));
        response.set_tag("y");
        assert_eq!(response.headers.to().unwrap().tag(), Some("x"), "the first one stands");
        assert_eq!(request.headers.to().unwrap().tag(), None);
        assert_eq!(response.headers.call_id().unwrap().as_str(), "one");
    }
}
