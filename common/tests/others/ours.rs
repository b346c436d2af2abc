//! Our reading in the words of [`Facts`].

use bytes::Bytes;
use cusax_common::core::sip::typed::{
    Authorization, CSeq, CallId, ContactList, ContentType, Credentials, Expires, From, MaxForwards, NameAddr,
    ProxyAuthorization, RecordRoute, Route, To, Via,
};
use cusax_common::core::sip::{FaultKind, HeaderName, Headers, Message, Params, Uri};

use super::facts::{Facts, UriFacts};

/// The parts of a proof that any of the readers knows.
pub const PROOF: &[&str] = &[
    "username",
    "realm",
    "nonce",
    "uri",
    "response",
    "algorithm",
    "opaque",
    "qop",
    "cnonce",
    "nc",
];

pub fn read(bytes: &[u8]) -> Result<Facts, FaultKind> {
    let message = Message::parse(Bytes::copy_from_slice(bytes)).map_err(|fault| fault.kind)?;
    let mut facts = Facts::default();
    match &message {
        Message::Request(request) => {
            facts.put("method", &request.method);
            facts.uri("uri", uri(&request.uri));
        }
        Message::Response(response) => {
            facts.put("status", response.status);
            facts.put("reason", String::from_utf8_lossy(response.reason.as_bytes()));
        }
    }
    headers(&mut facts, message.headers());
    facts.put("body", message.body().escape_ascii());
    Ok(facts)
}

fn headers(facts: &mut Facts, headers: &Headers) {
    facts.lines(
        headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.to_text().into_owned())),
    );
    facts.parts("from", headers.one(), |facts, From(from)| address(facts, "from", from));
    facts.parts("to", headers.one(), |facts, To(to)| address(facts, "to", to));
    facts.list("via", headers.list(), |facts, field, via: Via| {
        facts.put(&format!("{field}.transport"), via.transport.to_ascii_lowercase());
        facts.host(field, &via.host.to_string(), via.port);
        facts.params(field, params(&via.params));
    });
    match headers.opt::<ContactList>() {
        Ok(Some(ContactList::Star)) => facts.put("contact", "*"),
        Ok(Some(ContactList::List(list))) => facts.list("contact", Ok::<_, ()>(list), |facts, field, contact| {
            address(facts, field, contact.0);
        }),
        Ok(None) => {}
        Err(_) => facts.put("contact", super::facts::UNREAD),
    }
    facts.list("route", headers.list(), |facts, field, Route(route)| {
        address(facts, field, route)
    });
    facts.list("record-route", headers.list(), |facts, field, RecordRoute(route)| {
        address(facts, field, route)
    });
    facts.parts("cseq", headers.one(), |facts, cseq: CSeq| {
        facts.put("cseq.number", cseq.seq);
        facts.put("cseq.method", cseq.method);
    });
    facts.parts("call-id", headers.one(), |facts, id: CallId| {
        facts.put("call-id.id", id.as_str())
    });
    if headers.has(&HeaderName::MAX_FORWARDS) {
        facts.parts("max-forwards", headers.one(), |facts, hops: MaxForwards| {
            facts.put("max-forwards.number", hops.0);
        });
    }
    if headers.has(&HeaderName::EXPIRES) {
        facts.parts("expires", headers.one(), |facts, expires: Expires| {
            facts.put("expires.number", expires.0)
        });
    }
    if let Some(length) = headers.get(&HeaderName::CONTENT_LENGTH) {
        let number = length.to_text().parse::<u64>();
        facts.parts("content-length", number, |facts, length| {
            facts.put("content-length.number", length)
        });
    }
    if headers.has(&HeaderName::CONTENT_TYPE) {
        facts.parts("content-type", headers.one(), |facts, content: ContentType| {
            facts.put("content-type.media", content.media.to_ascii_lowercase());
            facts.params("content-type", params(&content.params));
        });
    }
    let proofs = headers.list::<Authorization>();
    facts.list("authorization", proofs, |facts, field, proof| {
        credentials(facts, field, &proof.0)
    });
    let proofs = headers.list::<ProxyAuthorization>();
    facts.list("proxy-authorization", proofs, |facts, field, proof| {
        credentials(facts, field, &proof.0)
    });
}

fn credentials(facts: &mut Facts, field: &str, proof: &Credentials) {
    facts.put(&format!("{field}.digest"), proof.is_digest());
    for name in PROOF {
        facts.put_some(&format!("{field}.{name}"), proof.param(name));
    }
}

fn address(facts: &mut Facts, field: &str, address: NameAddr) {
    facts.address(
        field,
        address.display.map(|name| name.as_str().to_owned()),
        uri(&address.uri),
        params(&address.params),
    );
}

fn params(params: &Params) -> Vec<(String, Option<String>)> {
    params
        .iter()
        .map(|(name, value)| (name.to_owned(), value.map(str::to_owned)))
        .collect()
}

fn uri(uri: &Uri) -> UriFacts {
    let scheme = uri.scheme().to_owned();
    let Some(sip) = uri.as_sip() else {
        let text = uri.to_string();
        return UriFacts {
            rest: text.split_once(':').map(|(_, rest)| rest.to_owned()),
            scheme,
            ..UriFacts::default()
        };
    };
    UriFacts {
        scheme,
        user: sip.user.as_ref().map(|user| user.as_str().to_owned()),
        password: sip.password.as_ref().map(|password| password.as_str().to_owned()),
        host: Some(sip.host.to_string()),
        port: sip.port,
        params: params(&sip.params),
        headers: sip.headers.as_ref().map(|headers| headers.as_str().to_owned()),
        rest: None,
    }
}
