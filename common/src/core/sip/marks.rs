//! The parts of a message by which it is matched, read where they lie: a message costs no memory until somebody wants
//! more of it.

use super::headers::{HeaderError, Headers, Why};
use super::name::HeaderName;
use super::scan::Bad;
use super::typed::via::Hop;
use super::typed::{CSeq, From, To, call_id, cseq, name_addr};
use super::uri::SipRef;
use super::value::{Value, ValueRef};

impl Headers {
    /// The topmost `Via`.
    ///
    /// # Errors
    /// As for [`first`](Self::first).
    pub fn hop(&self) -> Result<Hop<'_>, HeaderError> {
        let value = self.get(&HeaderName::VIA).ok_or(missing(HeaderName::VIA))?;
        Hop::read(value.bytes).map_err(|bad| malformed(bad, &HeaderName::VIA))
    }

    /// The `Via`, if there is no other and it can be read.
    #[must_use]
    pub fn only_hop(&self) -> Option<Hop<'_>> {
        let line = self.only(&HeaderName::VIA).ok()?;
        Hop::read(line.bytes).ok().filter(Hop::is_last)
    }

    /// Puts another line in the place of the topmost `Via`, which [`Hop::stamped`] made of it.
    pub fn stamp(&mut self, line: String) {
        self.set_first(&HeaderName::VIA, Value::made(line));
    }

    /// The one `From`.
    ///
    /// # Errors
    /// As for [`one`](Self::one).
    pub fn from(&self) -> Result<From, HeaderError> {
        self.one()
    }

    /// The one `To`.
    ///
    /// # Errors
    /// As for [`one`](Self::one).
    pub fn to(&self) -> Result<To, HeaderError> {
        self.one()
    }

    /// The SIP URI of the one `From`; none if it is another URI.
    ///
    /// # Errors
    /// As for [`one`](Self::one).
    pub fn from_sip(&self) -> Result<Option<SipRef<'_>>, HeaderError> {
        self.sip(&HeaderName::FROM)
    }

    /// The SIP URI of the one `To`; none if it is another URI.
    ///
    /// # Errors
    /// As for [`one`](Self::one).
    pub fn to_sip(&self) -> Result<Option<SipRef<'_>>, HeaderError> {
        self.sip(&HeaderName::TO)
    }

    /// The tag of the one `From`.
    ///
    /// # Errors
    /// As for [`one`](Self::one).
    pub fn from_tag(&self) -> Result<Option<&str>, HeaderError> {
        self.tag(&HeaderName::FROM)
    }

    /// The tag of the one `To`.
    ///
    /// # Errors
    /// As for [`one`](Self::one).
    pub fn to_tag(&self) -> Result<Option<&str>, HeaderError> {
        self.tag(&HeaderName::TO)
    }

    /// The one `CSeq`.
    ///
    /// # Errors
    /// As for [`one`](Self::one).
    pub fn cseq(&self) -> Result<CSeq, HeaderError> {
        let split = cseq::split(self.only(&HeaderName::CSEQ)?.bytes);
        let (seq, method) = split.map_err(|bad| malformed(bad, &HeaderName::CSEQ))?;
        Ok(CSeq { seq, method })
    }

    /// The one `Call-ID`.
    ///
    /// # Errors
    /// As for [`one`](Self::one).
    pub fn call_id(&self) -> Result<ValueRef<'_>, HeaderError> {
        let value = self.only(&HeaderName::CALL_ID)?;
        call_id::check(value.bytes).map_err(|bad| malformed(bad, &HeaderName::CALL_ID))?;
        Ok(value)
    }

    fn sip(&self, name: &HeaderName) -> Result<Option<SipRef<'_>>, HeaderError> {
        name_addr::sip(self.only(name)?.bytes).map_err(|bad| malformed(bad, name))
    }

    fn tag(&self, name: &HeaderName) -> Result<Option<&str>, HeaderError> {
        name_addr::tag(self.only(name)?.bytes).map_err(|bad| malformed(bad, name))
    }

    /// The value of the one line of this name.
    fn only(&self, name: &HeaderName) -> Result<ValueRef<'_>, HeaderError> {
        let mut values = self.find_all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            (None, _) => Err(missing(name.clone())),
            (Some(_), Some(_)) => Err(HeaderError {
                header: Some(name.clone()),
                why: Why::Repeated,
            }),
        }
    }
}

fn missing(name: HeaderName) -> HeaderError {
    HeaderError {
        header: Some(name),
        why: Why::Missing,
    }
}

fn malformed(bad: Bad, name: &HeaderName) -> HeaderError {
    HeaderError::from(bad).of(name)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::core::sip::typed::{CallId, Via};
    use crate::core::sip::{HeaderName, Message, Request, Status, TypedHeader as _, Value};

    fn request_with(via: &str, from: &str) -> Request {
        let text = format!(
            "OPTIONS sip:a@example.com SIP/2.0\r\nVia: {via}\r\nFrom: {from}\r\nTo: <sip:a@example.com>\r\n\
             Call-ID: one\r\nCSeq: 7 OPTIONS\r\n\r\n"
        );
        match Message::parse(Bytes::from(text)) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn request() -> Request {
        let via = "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1, SIP/2.0/TCP b";
        request_with(via, "<sip:b@example.com>;tag=1")
    }

    #[test]
    fn what_is_changed_is_read_again() {
        let mut request = request();
        let headers = &mut request.headers;
        assert_eq!(headers.call_id().unwrap(), "one");
        headers.replace(&CallId::new("two"));
        assert_eq!(headers.call_id().unwrap(), "two");
        assert_eq!(headers.hop().unwrap().branch(), Some("z9hG4bK1"));
        assert!(headers.only_hop().is_none(), "two of them");
        headers.remove_top::<Via>().unwrap();
        assert_eq!(headers.only_hop().map(|hop| hop.branch()), Some(None));
        assert_eq!(headers.from_tag().unwrap(), Some("1"));
        headers.remove(&HeaderName::FROM);
        assert!(headers.from_tag().is_err());
        headers.push(HeaderName::FROM, Value::of_static("<sip:c@example.com>;tag=2"));
        assert_eq!(headers.from_tag().unwrap(), Some("2"));
        headers.push_front(HeaderName::FROM, Value::of_static("<sip:d@example.com>;tag=3"));
        assert!(headers.from_tag().is_err(), "two of them");
        headers.remove_first(&HeaderName::FROM);
        assert_eq!(headers.from_tag().unwrap(), Some("2"));
    }

    #[test]
    fn an_answer_has_its_own() {
        let request = request();
        assert_eq!(request.headers.to_tag().unwrap(), None);
        let mut response = request.response(Status::OK);
        assert_eq!(response.headers.to_tag().unwrap(), None);
        response.set_tag("x");
        assert_eq!(response.headers.to_tag().unwrap(), Some("x"));
        response.set_tag("y");
        assert_eq!(response.headers.to_tag().unwrap(), Some("x"), "the first one stands");
        assert_eq!(request.headers.to_tag().unwrap(), None);
        assert_eq!(response.headers.call_id().unwrap(), "one");
        assert_eq!(response.headers.cseq(), response.cseq());
    }

    /// What is read in place is what the typed headers hold.
    #[test]
    fn marks_are_those_of_the_typed_headers() {
        let vias = [
            "SIP/2.0/UDP 192.0.2.1:5070;rport;branch=z9hG4bK1",
            "SIP / 2.0 / TCP Host.Example : 5061 ; branch = \"z9hG4bK,2\" ; x , SIP/2.0/UDP b;branch=z9hG4bK3",
            "SIP/2.0/UDP [2001:DB8::1]",
        ];
        let froms = [
            "<sip:b@example.com;tag=no>;tag=1",
            "\"tag=no;\" <sip:b@example.com>;x;TAG=\"2\"",
            "sip:b@example.com;tag=3",
            "sip:b@example.com",
        ];
        for via in vias {
            for from in froms {
                let mut request = request_with(via, from);
                let typed: Via = request.headers.first().unwrap();
                assert_eq!(request.headers.hop().unwrap().branch(), typed.branch(), "{via}");
                assert_eq!(
                    request.headers.from_tag().unwrap(),
                    request.headers.from().unwrap().tag(),
                    "{from}"
                );
                let (uri, near) = (
                    request.headers.from().unwrap().0.uri,
                    request.headers.from_sip().unwrap(),
                );
                let (uri, near) = (uri.as_sip().unwrap(), near.unwrap());
                assert_eq!((uri.host.name(), uri.port), (near.name(), near.port()), "{from}");
                assert!(near.is_plainly("b", "Example.com") && !near.is_plainly("B", "example.com"));
                // Stamped in place as it is stamped as a value.
                let (ip, port) = ("192.0.2.1".parse().unwrap(), 40_000);
                let mut expected = String::new();
                typed.stamped(ip, port).unwrap_or(typed).write(&mut expected);
                if let Some(line) = request.headers.hop().unwrap().stamped(ip, port) {
                    request.headers.stamp(line);
                }
                let line = request.headers.get(&HeaderName::VIA).unwrap().to_text().into_owned();
                let behind = line.strip_prefix(&expected).unwrap();
                assert!(
                    behind.is_empty() || behind == ", SIP/2.0/UDP b;branch=z9hG4bK3",
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn one_sender_has_one_name() {
        let name = |via: &str| {
            let mut name = Vec::new();
            request_with(via, "<sip:b@example.com>")
                .headers
                .hop()
                .unwrap()
                .put_sent_by(&mut name);
            name
        };
        assert_eq!(
            name("SIP/2.0/UDP a.EXAMPLE:5060"),
            name("SIP/2.0/TCP A.example : 5060;x")
        );
        assert_eq!(name("SIP/2.0/UDP [2001:db8:0::1]"), name("SIP/2.0/UDP [2001:DB8::1]"));
        let all = [
            "a",
            "a:5060",
            "a:5061",
            "192.0.2.1",
            "192.0.2.1:5060",
            "[::ffff:192.0.2.1]",
        ];
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                let [one, other] = [one, other].map(|host| format!("SIP/2.0/UDP {host}"));
                assert_ne!(name(&one), name(&other));
            }
        }
    }
}
