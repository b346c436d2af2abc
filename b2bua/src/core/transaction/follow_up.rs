//! Requests that are made of an INVITE of ours: the ACK to its failure, and its CANCEL (RFC 3261 §17.1.1.3, §9.1).

use cusax_common::core::sip::typed::{CSeq, Via};
use cusax_common::core::sip::{HeaderName, Method, Request, Response, Value};

/// The ACK to a non-2xx response (§17.1.1.3).
pub(super) fn acknowledge(invite: &Request, response: &Response) -> Request {
    let mut ack = follow_up(invite, Method::Ack);
    ack.headers.copy(&HeaderName::TO, &response.headers);
    ack
}

/// The CANCEL of an INVITE (§9.1).
pub(super) fn cancel_of(invite: &Request, reason: Option<Value>) -> Request {
    let mut cancel = follow_up(invite, Method::Cancel);
    cancel.headers.copy(&HeaderName::TO, &invite.headers);
    if let Some(reason) = reason {
        cancel.headers.push(HeaderName::REASON, reason);
    }
    cancel
}

/// What ACK and CANCEL have in common: the one topmost Via, Route, From, Call-ID, the number of the CSeq.
fn follow_up(invite: &Request, method: Method) -> Request {
    let mut request = Request::new(method.clone(), invite.uri.clone());
    if let Ok(via) = invite.headers.first::<Via>() {
        request.headers.put(&via);
    }
    for name in [
        &HeaderName::MAX_FORWARDS,
        &HeaderName::ROUTE,
        &HeaderName::FROM,
        &HeaderName::CALL_ID,
    ] {
        request.headers.copy(name, &invite.headers);
    }
    if let Ok(cseq) = invite.headers.cseq() {
        request.headers.put(&CSeq::new(cseq.seq, method));
    }
    request
}
