//! sipx-sip.

use bytes::Bytes;
use sipx_sip::headers::{
    Address, CSeq, CallId, ContactValue, ContentLength, ContentType, Expires, From, HeaderParam, MaxForwards,
    RecordRoute, Route, To, Via,
};
use sipx_sip::message::{Headers, Message, TypedHeader};
use sipx_sip::uri::Uri;

use super::quiet;
use crate::facts::{Facts, UriFacts};

pub fn read(bytes: &[u8]) -> Option<Facts> {
    let limits = sipx_sip::parser::Limits::datagram();
    let message = quiet(|| sipx_sip::parser::parse_datagram(Bytes::copy_from_slice(bytes), &limits).ok())?;
    let mut facts = Facts::default();
    match &message {
        Message::Request(request) => {
            facts.put("method", text(request.method.as_bytes()));
            facts.uri("uri", uri(&request.uri));
        }
        Message::Response(response) => {
            facts.put("status", response.status.code());
            facts.put("reason", text(&response.reason));
        }
    }
    headers(&mut facts, message.headers());
    facts.put("body", message.body().escape_ascii());
    Some(facts)
}

fn headers(facts: &mut Facts, headers: &Headers) {
    facts.lines(
        headers
            .iter()
            .map(|header| (text(header.name().canonical()), text(&header.value()))),
    );
    one(facts, headers, "from", |facts, From(from)| address(facts, "from", from));
    one(facts, headers, "to", |facts, To(to)| address(facts, "to", to));
    facts.list("via", list(headers), |facts, field, via: Via| {
        facts.put(&format!("{field}.transport"), text(&via.transport).to_ascii_lowercase());
        facts.host(field, &via.host.to_string(), via.port);
        facts.params(field, params(via.params));
    });
    match list::<ContactValue>(headers).as_deref() {
        Ok([ContactValue::Wildcard]) => facts.put("contact", "*"),
        _ => facts.list("contact", list(headers), |facts, field, contact| match contact {
            ContactValue::Wildcard => facts.put(field, "*"),
            ContactValue::Address(contact) => address(facts, field, contact),
        }),
    }
    facts.list("route", list(headers), |facts, field, Route(route)| {
        address(facts, field, route)
    });
    facts.list("record-route", list(headers), |facts, field, RecordRoute(route)| {
        address(facts, field, route);
    });
    one(facts, headers, "cseq", |facts, cseq: CSeq| {
        facts.put("cseq.number", cseq.sequence);
        facts.put("cseq.method", cseq.method);
    });
    one(facts, headers, "call-id", |facts, CallId(id)| {
        facts.put("call-id.id", text(&id))
    });
    one(facts, headers, "max-forwards", |facts, MaxForwards(hops)| {
        facts.put("max-forwards.number", hops);
    });
    one(facts, headers, "expires", |facts, Expires(seconds)| {
        facts.put("expires.number", seconds)
    });
    one(facts, headers, "content-length", |facts, ContentLength(length)| {
        facts.put("content-length.number", length);
    });
    one(facts, headers, "content-type", |facts, content: ContentType| {
        let media = format!("{}/{}", text(&content.media_type), text(&content.subtype));
        facts.put("content-type.media", media);
        facts.params("content-type", params(content.params));
    });
}

fn one<H: TypedHeader>(facts: &mut Facts, headers: &Headers, field: &str, put: impl FnOnce(&mut Facts, H)) {
    if let Some(read) = headers.typed::<H>() {
        facts.parts(field, read, put);
    }
}

fn list<H: TypedHeader>(headers: &Headers) -> Result<Vec<H>, sipx_sip::HeaderError> {
    headers.typed_all::<H>().collect()
}

fn address(facts: &mut Facts, field: &str, address: Address) {
    facts.address(
        field,
        address.display_name.as_deref().map(text),
        uri(&address.uri),
        params(address.params),
    );
}

fn params(params: Vec<HeaderParam>) -> Vec<(String, Option<String>)> {
    params
        .into_iter()
        .map(|param| (text(&param.name), param.value.as_deref().map(text)))
        .collect()
}

fn uri(uri: &Uri) -> UriFacts {
    let pairs = |params: Option<&sipx_sip::Params>| {
        let pairs = params.into_iter().flat_map(sipx_sip::Params::iter);
        pairs
            .map(|param| (text(param.name()), param.value().map(text)))
            .collect::<Vec<_>>()
    };
    let headers: Vec<String> = pairs(uri.headers())
        .into_iter()
        .map(|(name, value)| format!("{name}={}", value.unwrap_or_default()))
        .collect();
    UriFacts {
        scheme: text(uri.scheme().as_bytes()),
        user: uri.user().map(text),
        password: uri.password().map(text),
        host: uri.host().map(ToString::to_string),
        port: uri.port(),
        params: pairs(uri.params()),
        headers: (!headers.is_empty()).then(|| headers.join("&")),
        rest: uri.opaque().map(text),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
