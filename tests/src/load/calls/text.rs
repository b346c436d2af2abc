//! The messages of the phones, as ordinary phones write them.

use std::net::SocketAddr;

use bytes::Bytes;
use cusax_common::core::sip::typed::Contact;
use cusax_common::core::sip::{HeaderName, Request, Response, Status, Value};

use crate::load::users;

/// Names one call: it stands in Call-ID, tags and branches, and goes to the callee in `Subject`, which every device passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallName {
    /// Which lot of calls.
    pub lot: u32,
    /// Which of them.
    pub index: u32,
}

impl CallName {
    /// Reads what [`text`](Self::text) wrote, whatever follows a `@`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (lot, index) = text.split('@').next()?.strip_prefix("call-")?.split_once('-')?;
        Some(Self {
            lot: u32::from_str_radix(lot, 16).ok()?,
            index: u32::from_str_radix(index, 16).ok()?,
        })
    }

    /// As it stands in messages.
    #[must_use]
    pub fn text(self) -> String {
        format!("call-{:x}-{:x}", self.lot, self.index)
    }
}

/// Who calls whom.
#[derive(Clone, Copy, Debug)]
pub struct Parties {
    /// The caller's account.
    pub caller: u32,
    /// The callee's account.
    pub callee: u32,
    /// Where the caller is.
    pub local: SocketAddr,
}

impl Parties {
    /// The address that is dialled.
    #[must_use]
    pub fn dialled(self) -> String {
        format!("sip:+{}@{};user=phone", users::number(self.callee), users::DOMAIN)
    }

    fn from(self, name: CallName) -> String {
        let user = users::login(self.caller);
        format!("<sip:{user}@{}>;tag={}", users::DOMAIN, name.text())
    }
}

/// What a caller knows of the other end of its dialog.
#[derive(Clone, Debug)]
pub struct Remote {
    to: String,
    target: String,
    routes: String,
}

impl Remote {
    /// Out of a 2xx (RFC 3261 §12.1.2); none if it lacks something.
    #[must_use]
    pub fn of(response: &Response) -> Option<Self> {
        let Contact(contact) = response.headers.one::<Contact>().ok()?;
        let mut routes: Vec<_> = response
            .headers
            .get_all(&HeaderName::RECORD_ROUTE)
            .map(|value| format!("Route: {}\r\n", value.to_text()))
            .collect();
        routes.reverse();
        Some(Self {
            to: response.headers.get(&HeaderName::TO)?.to_text().into_owned(),
            target: contact.uri.to_string(),
            routes: routes.concat(),
        })
    }
}

/// An INVITE with an offer; `proof` is a whole line or nothing.
#[must_use]
pub fn invite(name: CallName, parties: Parties, sequence: u32, proof: &str) -> Bytes {
    let (uri, local, body) = (parties.dialled(), parties.local, sdp(parties.local));
    let text = format!(
        "INVITE {uri} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {local};branch={branch};rport\r\n\
         Max-Forwards: 70\r\n\
         From: {from}\r\n\
         To: <{uri}>\r\n\
         Call-ID: {call}@{ip}\r\n\
         CSeq: {sequence} INVITE\r\n\
         Contact: <sip:{user}@{local}>\r\n\
         Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE\r\n\
         Supported: replaces\r\n\
         Subject: {call}\r\n\
         User-Agent: Example Phone 1.0\r\n\
         {proof}Content-Type: application/sdp\r\n\
         Content-Length: {length}\r\n\r\n{body}",
        branch = branch(name, sequence, "INVITE"),
        from = parties.from(name),
        call = name.text(),
        ip = local.ip(),
        user = users::login(parties.caller),
        length = body.len(),
    );
    Bytes::from(text)
}

/// The ACK for a response that is no 2xx (RFC 3261 §17.1.1.3).
#[must_use]
pub fn acknowledge(name: CallName, parties: Parties, sequence: u32, response: &Response) -> Bytes {
    let to = response
        .headers
        .get(&HeaderName::TO)
        .map(|to| to.to_text().into_owned());
    let text = format!(
        "ACK {uri} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {local};branch={branch};rport\r\n\
         Max-Forwards: 70\r\n\
         From: {from}\r\n\
         To: {to}\r\n\
         Call-ID: {call}@{ip}\r\n\
         CSeq: {sequence} ACK\r\n\
         Content-Length: 0\r\n\r\n",
        uri = parties.dialled(),
        local = parties.local,
        branch = branch(name, sequence, "INVITE"),
        from = parties.from(name),
        to = to.unwrap_or_default(),
        call = name.text(),
        ip = parties.local.ip(),
    );
    Bytes::from(text)
}

/// A request of the caller's within the dialog.
#[must_use]
pub fn within(name: CallName, parties: Parties, remote: &Remote, method: &str, sequence: u32) -> Bytes {
    let (kind, body) = if method == "INFO" {
        (
            "Content-Type: application/dtmf-relay\r\n",
            "Signal=5\r\nDuration=160\r\n",
        )
    } else {
        ("", "")
    };
    let text = format!(
        "{method} {target} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {local};branch={branch};rport\r\n\
         {routes}\
         Max-Forwards: 70\r\n\
         From: {from}\r\n\
         To: {to}\r\n\
         Call-ID: {call}@{ip}\r\n\
         CSeq: {sequence} {method}\r\n\
         User-Agent: Example Phone 1.0\r\n\
         {kind}Content-Length: {length}\r\n\r\n{body}",
        target = remote.target,
        local = parties.local,
        branch = branch(name, sequence, method),
        routes = remote.routes,
        from = parties.from(name),
        to = remote.to,
        call = name.text(),
        ip = parties.local.ip(),
        length = body.len(),
    );
    Bytes::from(text)
}

/// A callee's answer to an INVITE; 2xx answers the offer.
#[must_use]
pub fn answer(request: &Request, name: CallName, status: Status, callee: u32, local: SocketAddr) -> Bytes {
    let mut response = request.response(status);
    response.headers.copy(&HeaderName::RECORD_ROUTE, &request.headers);
    response.set_tag(&name.text());
    let contact = format!("<sip:{}@{local}>", users::login(callee));
    response.headers.push(HeaderName::CONTACT, Value::cleaned(&contact));
    response
        .headers
        .push(HeaderName::USER_AGENT, Value::of_static("Example Phone 1.0"));
    if status.is_success() {
        let kind = Value::of_static("application/sdp");
        response.headers.push(HeaderName::CONTENT_TYPE, kind);
        response.body = Bytes::from(sdp(local));
    }
    response.to_bytes()
}

fn branch(name: CallName, sequence: u32, method: &str) -> String {
    // An ACK for a 2xx and the INVITE before it have the same number.
    let initial = method.as_bytes().first().copied().unwrap_or_default() as char;
    format!("z9hG4bK{:x}-{:x}-{sequence:x}{initial}", name.lot, name.index)
}

fn sdp(local: SocketAddr) -> String {
    let ip = local.ip();
    format!(
        "v=0\r\no=phone 3890000000 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {AUDIO} RTP/AVP 8 0 101\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n\
         a=ptime:20\r\na=sendrecv\r\n"
    )
}

/// Where a phone would like to hear; nothing is sent there.
const AUDIO: u16 = 40_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_knows_its_name_again() {
        let name = CallName { lot: 18, index: 99_999 };
        assert_eq!(CallName::read(&format!("{}@127.0.0.1", name.text())), Some(name));
        assert_eq!(CallName::read("call-1"), None);
        assert_eq!(CallName::read("ready"), None);
    }
}
