//! rsip. Where it is asked for the parts of a header it may panic, which is not reading it.

use rsip::common::uri::{Param, Uri, UriWithParams};
use rsip::headers::auth::AuthQop;
use rsip::headers::typed;
use rsip::headers::{ToTypedHeader as _, UntypedHeader as _};
use rsip::{Header, SipMessage};

use super::{quiet, split_line, split_param};
use crate::facts::{Facts, UNREAD, UriFacts};

pub fn read(bytes: &[u8]) -> Option<Facts> {
    let message = quiet(|| SipMessage::try_from(bytes).ok())?;
    let mut facts = Facts::default();
    let (headers, body) = match message {
        SipMessage::Request(request) => {
            facts.put("method", request.method);
            facts.uri("uri", uri(&request.uri));
            (request.headers, request.body)
        }
        SipMessage::Response(response) => {
            let text = response.status_code.to_string();
            facts.put("status", response.status_code.code());
            facts.put("reason", text.split_once(' ').map_or("", |(_, reason)| reason));
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

/// What may stand in many lines is gathered first.
#[derive(Default)]
struct Seen {
    via: Vec<Option<typed::Via>>,
    contact: Vec<Option<typed::Contact>>,
    route: Vec<Option<Vec<UriWithParams>>>,
    record_route: Vec<Option<Vec<UriWithParams>>>,
    proofs: Vec<Option<typed::Authorization>>,
    proxy_proofs: Vec<Option<typed::Authorization>>,
}

impl Seen {
    fn header(&mut self, facts: &mut Facts, header: &Header) {
        match header {
            Header::From(from) => facts.parts("from", ok(|| from.typed().ok()), |facts, from| {
                facts.address("from", from.display_name, uri(&from.uri), params(&from.params));
            }),
            Header::To(to) => facts.parts("to", ok(|| to.typed().ok()), |facts, to| {
                facts.address("to", to.display_name, uri(&to.uri), params(&to.params));
            }),
            Header::Via(via) => self.via.push(quiet(|| via.typed().ok())),
            Header::Contact(contact) => self.contact.push(quiet(|| contact.typed().ok())),
            Header::Route(route) => self.route.push(quiet(|| Some(route.typed().ok()?.uris().to_vec()))),
            Header::RecordRoute(route) => self
                .record_route
                .push(quiet(|| Some(route.typed().ok()?.uris().to_vec()))),
            Header::CSeq(cseq) => facts.parts("cseq", ok(|| cseq.typed().ok()), |facts, cseq| {
                facts.put("cseq.number", cseq.seq);
                facts.put("cseq.method", cseq.method);
            }),
            Header::CallId(id) => facts.parts("call-id", Ok::<_, ()>(id), |facts, id| {
                facts.put("call-id.id", id.value())
            }),
            Header::MaxForwards(hops) => facts.parts("max-forwards", ok(|| hops.num().ok()), |facts, hops| {
                facts.put("max-forwards.number", hops);
            }),
            Header::Expires(expires) => facts.parts("expires", ok(|| expires.seconds().ok()), |facts, seconds| {
                facts.put("expires.number", seconds);
            }),
            Header::ContentLength(length) => {
                facts.parts("content-length", ok(|| length.length().ok()), |facts, length| {
                    facts.put("content-length.number", length);
                });
            }
            Header::ContentType(content) => {
                facts.parts("content-type", ok(|| content.typed().ok()), |facts, content| {
                    let text = content.0.to_string();
                    let (media, rest) = text.split_once(';').unwrap_or((&text, ""));
                    facts.put("content-type.media", media.trim().to_ascii_lowercase());
                    facts.params(
                        "content-type",
                        rest.split(';').filter(|part| !part.trim().is_empty()).map(split_param),
                    );
                })
            }
            Header::Authorization(proof) => self.proofs.push(quiet(|| proof.typed().ok())),
            Header::ProxyAuthorization(proof) => {
                self.proxy_proofs
                    .push(quiet(|| proof.typed().ok().map(|proof| proof.0)));
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
            let host = &via.uri.host_with_port;
            facts.host(
                field,
                &host.host.to_string(),
                host.port.as_ref().map(|port| *port.value()),
            );
            facts.params(field, params(&via.params));
        });
        facts.list("contact", all(self.contact), |facts, field, contact| {
            facts.address(field, contact.display_name, uri(&contact.uri), params(&contact.params));
        });
        for (name, routes) in [("route", self.route), ("record-route", self.record_route)] {
            let routes = all(routes).map(|lines| lines.into_iter().flatten().collect());
            facts.list(name, routes, |facts, field, route: UriWithParams| {
                facts.address(field, None, uri(&route.uri), params(&route.params));
            });
        }
        for (name, proofs) in [
            ("authorization", self.proofs),
            ("proxy-authorization", self.proxy_proofs),
        ] {
            facts.list(name, all(proofs), proof);
        }
    }
}

fn proof(facts: &mut Facts, field: &str, proof: typed::Authorization) {
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
        put("nc", nc.to_string());
    }
}

fn uri(uri: &Uri) -> UriFacts {
    UriFacts {
        scheme: uri.scheme.as_ref().map(ToString::to_string).unwrap_or_default(),
        user: uri.auth.as_ref().map(|auth| auth.user.clone()),
        password: uri.auth.as_ref().and_then(|auth| auth.password.clone()),
        host: Some(uri.host_with_port.host.to_string()),
        port: uri.host_with_port.port.as_ref().map(|port| *port.value()),
        params: params(&uri.params),
        headers: None,
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
