//! rsipstack.

use rsipstack::sip::headers::auth::AuthQop;
use rsipstack::sip::typed;
use rsipstack::sip::{Header, Param, SipMessage, Uri};

use super::{quiet, split_line, split_param};
use crate::facts::{Facts, UNREAD, UriFacts};

pub fn read(bytes: &[u8]) -> Option<Facts> {
    let message = quiet(|| rsipstack::sip::parser::parse_message(bytes).ok())?;
    let mut facts = Facts::default();
    let (headers, body) = match message {
        SipMessage::Request(request) => {
            facts.put("method", request.method);
            facts.uri("uri", uri(&request.uri));
            (request.headers, request.body)
        }
        SipMessage::Response(response) => {
            facts.put("status", response.status_code.code());
            let text = response.status_code.to_string();
            let usual = text.split_once(' ').map_or("", |(_, reason)| reason).to_owned();
            facts.put("reason", response.wire_reason.unwrap_or(usual));
            (response.headers, response.body)
        }
    };
    facts.lines(headers.iter().map(|header| split_line(&header.to_string())));
    let mut seen = Seen::default();
    for header in headers.iter() {
        seen.header(&mut facts, header);
    }
    seen.finish(&mut facts);
    facts.put("body", body.escape_ascii());
    Some(facts)
}

/// Both kinds of proof have the same fields and no type in common.
macro_rules! proof {
    () => {
        |facts, field, proof| {
            let mut put = |name: &str, value: String| facts.put(&format!("{field}.{name}"), value);
            put(
                "digest",
                proof.scheme.to_string().eq_ignore_ascii_case("digest").to_string(),
            );
            put("username", proof.username);
            put("realm", proof.realm);
            put("nonce", proof.nonce);
            put("uri", proof.uri.to_string());
            put("response", proof.response);
            if let Some(algorithm) = proof.algorithm {
                put("algorithm", algorithm.to_string());
            }
            if let Some(opaque) = proof.opaque {
                put("opaque", opaque);
            }
            if let Some(qop) = proof.qop {
                let (name, cnonce, nc) = match qop {
                    AuthQop::Auth { cnonce, nc } => ("auth", cnonce, nc),
                    AuthQop::AuthInt { cnonce, nc } => ("auth-int", cnonce, nc),
                };
                put("qop", name.to_owned());
                put("cnonce", cnonce);
                put("nc", format!("{nc:08x}"));
            }
        }
    };
}

/// What may stand in many lines is gathered first.
#[derive(Default)]
struct Seen {
    via: Vec<Option<typed::Via>>,
    contact: Vec<Option<Vec<typed::Contact>>>,
    route: Vec<Option<Vec<typed::Route>>>,
    record_route: Vec<Option<Vec<typed::RecordRoute>>>,
    proofs: Vec<Option<typed::Authorization>>,
    proxy_proofs: Vec<Option<typed::ProxyAuthorization>>,
}

impl Seen {
    fn header(&mut self, facts: &mut Facts, header: &Header) {
        match header {
            Header::From(from) => {
                facts.parts("from", ok(|| typed::From::parse(from.value()).ok()), |facts, from| {
                    facts.address("from", from.display_name, uri(&from.uri), params(&from.params));
                });
            }
            Header::To(to) => facts.parts("to", ok(|| typed::To::parse(to.value()).ok()), |facts, to| {
                facts.address("to", to.display_name, uri(&to.uri), params(&to.params));
            }),
            Header::Via(via) => self.via.push(quiet(|| typed::Via::parse(via.value()).ok())),
            Header::Contact(contact) => {
                self.contact
                    .push(quiet(|| typed::Contact::parse_header_list(contact.value()).ok()));
            }
            Header::Route(route) => self
                .route
                .push(quiet(|| typed::Route::parse_header_list(route.value()).ok())),
            Header::RecordRoute(route) => {
                self.record_route
                    .push(quiet(|| typed::RecordRoute::parse_header_list(route.value()).ok()));
            }
            Header::CSeq(cseq) => facts.parts("cseq", ok(|| typed::CSeq::parse(cseq.value()).ok()), |facts, cseq| {
                facts.put("cseq.number", cseq.seq);
                facts.put("cseq.method", cseq.method);
            }),
            Header::CallId(id) => facts.parts("call-id", Ok::<_, ()>(id), |facts, id| {
                facts.put("call-id.id", id.value())
            }),
            Header::MaxForwards(hops) => number::<u64>(facts, "max-forwards", hops.value()),
            Header::Expires(expires) => number::<u64>(facts, "expires", expires.value()),
            Header::ContentLength(length) => number::<u64>(facts, "content-length", length.value()),
            Header::Authorization(proof) => self
                .proofs
                .push(quiet(|| typed::Authorization::parse(proof.value()).ok())),
            Header::ProxyAuthorization(proof) => {
                self.proxy_proofs
                    .push(quiet(|| typed::ProxyAuthorization::parse(proof.value()).ok()));
            }
            _ => {}
        }
    }

    fn finish(self, facts: &mut Facts) {
        facts.list("via", all(self.via), |facts, field, via| {
            facts.put(
                &format!("{field}.transport"),
                via.transport.to_string().to_ascii_lowercase(),
            );
            let host = via.sent_by();
            facts.host(field, &host.host.to_string(), host.port.map(|port| port.0));
            facts.params(field, params(&via.params));
        });
        let contacts = all(self.contact).map(|lines| lines.into_iter().flatten().collect());
        facts.list("contact", contacts, |facts, field, contact: typed::Contact| {
            if contact.to_string() == "*" {
                return facts.put(field, "*");
            }
            facts.address(field, contact.display_name, uri(&contact.uri), params(&contact.params));
        });
        let routes = all(self.route).map(|lines| lines.into_iter().flatten().collect());
        facts.list("route", routes, |facts, field, route: typed::Route| {
            facts.address(field, route.display_name, uri(&route.uri), params(&route.params));
        });
        let routes = all(self.record_route).map(|lines| lines.into_iter().flatten().collect());
        facts.list("record-route", routes, |facts, field, route: typed::RecordRoute| {
            facts.address(field, route.display_name, uri(&route.uri), params(&route.params));
        });
        facts.list("authorization", all(self.proofs), proof!());
        facts.list("proxy-authorization", all(self.proxy_proofs), proof!());
    }
}

fn number<T: std::str::FromStr + std::fmt::Display>(facts: &mut Facts, field: &str, text: &str) {
    facts.parts(field, text.parse::<T>(), |facts, number| {
        facts.put(&format!("{field}.number"), number)
    });
}

fn uri(uri: &Uri) -> UriFacts {
    let headers: Vec<String> = uri
        .headers
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    UriFacts {
        scheme: uri.scheme.as_ref().map(ToString::to_string).unwrap_or_default(),
        user: uri.auth.as_ref().map(|auth| auth.user.clone()),
        password: uri.auth.as_ref().and_then(|auth| auth.password.clone()),
        host: Some(uri.host_with_port.host.to_string()),
        port: uri.host_with_port.port.as_ref().map(|port| port.0),
        params: params(&uri.params),
        headers: (!headers.is_empty()).then(|| headers.join("&")),
        rest: None,
    }
}

fn params(params: &[Param]) -> Vec<(String, Option<String>)> {
    params.iter().map(|param| split_param(&param.to_string())).collect()
}

fn ok<T>(read: impl FnOnce() -> Option<T>) -> Result<T, &'static str> {
    quiet(read).ok_or(UNREAD)
}

fn all<T>(read: Vec<Option<T>>) -> Result<Vec<T>, &'static str> {
    read.into_iter().collect::<Option<_>>().ok_or(UNREAD)
}
