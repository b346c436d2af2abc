//! The texts of a call: the INVITE for a callee, responses to the caller, and the small answers of a user agent.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::record::Impp;
use cusax_common::core::sip::typed::{
    ContentType, MaxBreadth, MaxForwards, MinSe, NameAddr, ReferredBy, Require, Unsupported,
};
use cusax_common::core::sip::{HeaderName, Headers, Request, Response, Status, Uri, Value};

use super::speaker::Speaker;
use super::{Call, Caller, Context, Exchange, Leg, LegId};
use crate::core::cause;
use crate::core::dialog::{Dialog, MAX_FORWARDS, Names, set_sdp};
use crate::core::flow::{Flow, put_host_port};
use crate::core::headers;
use crate::core::identity;
use crate::core::media::Side;
use crate::core::routing::{Hop, Plan};

/// The methods that we serve (RFC 3261 §20.5).
static METHODS: Value = Value::of_static("INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO, PRACK, REFER, REGISTER");
/// Those that we serve within a call: all but the last.
static METHODS_WITHIN: Value = Value::of_static("INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO, PRACK, REFER");
/// The extensions that we know in a call (RFC 3262, RFC 4028).
pub const OPTIONS: &[&str] = &["100rel", "timer"];
/// As they are written.
pub static ALL_OPTIONS: Value = Value::of_static("100rel, timer");
/// The same where a reliable response could hold an offer that nobody could answer in time.
static FEWER_OPTIONS: Value = Value::of_static("timer");

/// The user part of our Contact: it tells nobody anything, and some phones refuse a Contact without one.
const CONTACT_USER: &str = "cusax";
/// As long as most of our Contacts, at IPv4 addresses.
const USUAL_CONTACT: usize = "<sips:cusax@255.255.255.255:65535;transport=tcp>".len();
/// The one type of body that we read.
const SDP: &str = "application/sdp";

/// The value of our Contact on a flow; `secure` in a call that must not be heard on the way (RFC 3261 §8.1.1.8).
pub fn contact<E>(cx: &Context<'_, E>, flow: Flow, secure: bool) -> String {
    let public = cx
        .settings
        .listener(flow.listener)
        .map_or(flow.remote, |listener| listener.public);
    let mut contact = String::with_capacity(USUAL_CONTACT);
    contact += if secure { "<sips:" } else { "<sip:" };
    contact += CONTACT_USER;
    contact += "@";
    put_host_port(&mut contact, public);
    if let Some(transport) = flow.transport.parameter() {
        contact += ";transport=";
        contact += transport;
    }
    contact += ">";
    contact
}

/// What the relay binds for a peer.
pub fn media_address<E>(cx: &Context<'_, E>, flow: Flow) -> IpAddr {
    cx.settings
        .listener(flow.listener)
        .map_or(flow.remote.ip(), |listener| listener.media)
}

/// Where a peer is told to send media that reaches `bound`.
pub fn media_told<E>(cx: &Context<'_, E>, flow: Flow, bound: SocketAddr) -> SocketAddr {
    let told = cx
        .settings
        .listener(flow.listener)
        .map_or(bound.ip(), |listener| listener.media_public);
    SocketAddr::new(told, bound.port())
}

/// The INVITE for one hop, without Via and body, with the leg that it begins; by the names of `again`, if it is sent once
/// more.
pub fn compose<E: Entropy>(
    cx: &mut Context<'_, E>,
    call: &Call,
    name: LegId,
    plan: &Plan,
    hop: &Hop,
    again: Option<&Dialog>,
) -> (Leg, Request, Impp) {
    let listener = contact(cx, hop.flow, call.is_secure());
    let audience = identity::Audience::of(plan, hop);
    let invite = call.begun.headers();
    let speaker = call.stand_in(Side::Caller);
    let (party, said) = match speaker.map(Speaker::party) {
        // No carrier takes a call of somebody whom it does not know: it is told who pays.
        Some(identity::Party::Outside) if matches!(audience, identity::Audience::Trunk { .. }) => {
            (call.caller.party(), call.payer_said.as_deref().unwrap_or(invite))
        }
        Some(party) => (party, invite),
        None => (call.caller.party(), invite),
    };
    let named = match (&call.placing, &audience) {
        (Some(target), identity::Audience::Phones { .. }) => NameAddr::new(Uri::clone(target)),
        _ => identity::name_caller(party, said, &audience, &cx.settings.plan),
    };
    let names = Names {
        local: &named,
        remote: &NameAddr::new(plan.called(hop).clone()),
        contact: &listener,
    };
    let (call_id, local_tag);
    let drawn = match again {
        Some(again) => again.drawn(),
        None => {
            (call_id, local_tag) = (cx.draw_call_id(), cx.draw());
            (call_id.as_str(), local_tag.as_str())
        }
    };
    let mut dialog = Dialog::calling(cx.dialogs, hop.flow, drawn, names, &hop.uri, &hop.path);
    let near = call.legs.iter().find(|leg| leg.side == Side::Caller);
    if let Some(again) = again {
        dialog.count_on(again);
    }
    let waiting = speaker.and_then(|speaker| speaker.session);
    dialog.join_session(near.and_then(|near| near.dialog.session()).or(waiting));
    let exchange = if call.offer.is_some() {
        Exchange::Ours
    } else {
        Exchange::Blank
    };
    let mut leg = Leg::new(name, Side::Callee, dialog, exchange, cx.entropy);
    let mut request = leg.dialog.invite(hop.uri.clone());
    cross(call.begun.private, invite, &mut request.headers);
    let hops = invite
        .opt::<MaxForwards>()
        .ok()
        .flatten()
        .map_or(MAX_FORWARDS, |MaxForwards(hops)| hops);
    request.headers.replace(&MaxForwards(hops.saturating_sub(1)));
    if let Some(share) = call.share(plan) {
        request.headers.replace(&MaxBreadth(share));
    }
    // A callee that is offered nothing offers itself, and the caller must be able to answer.
    let may_answer = |leg: &Leg| leg.side == Side::Caller && leg.can.reliable;
    let may_offer = call.offer.is_some() || call.legs.iter().any(may_answer);
    let options = if may_offer { &ALL_OPTIONS } else { &FEWER_OPTIONS };
    say_abilities(&mut request.headers, options);
    let interval = call.demanded.unwrap_or(cx.settings.session_interval);
    leg.timer.ask(interval, &mut request.headers);
    if let Some(least) = call.demanded {
        request.headers.replace(&MinSe(least));
    }
    let impp = identity::stamp(&mut request.headers, party, said, &audience);
    // RFC 3892: phones show who has sent the caller here. What callers claim of it themselves stops.
    if speaker.is_some()
        && matches!(audience, identity::Audience::Phones { .. })
        && let Ok(Some(by)) = invite.opt::<ReferredBy>()
    {
        request.headers.replace(&by);
    }
    (leg, request, impp)
}

/// A response to the caller's INVITE: ours in every identifier, the callee's in what crosses. None if it was answered
/// before.
pub fn response(
    call: &Call,
    near: &Leg,
    status: Status,
    body: Option<Bytes>,
    far: Option<&Response>,
) -> Option<Response> {
    let mut response = call.begun.invite()?.response(status);
    dress(near, &mut response);
    if let Some(far) = far {
        cross(
            identity::asks_privacy(&far.headers),
            &far.headers,
            &mut response.headers,
        );
    }
    if let (Some(user), Some(far)) = (&call.facts.callee, far) {
        let may_learn = matches!(call.caller, Caller::User { .. });
        identity::stamp_callee(
            &mut response.headers,
            user,
            &far.headers,
            may_learn,
            status.is_success(),
        );
    }
    if let Some(body) = body {
        set_sdp(&mut response.headers, &mut response.body, body);
    }
    Some(response)
}

/// A response of ours to a request within a dialog.
pub fn within(leg: &Leg, request: &Request, status: Status) -> Response {
    let mut response = request.response(status);
    dress(leg, &mut response);
    response
}

/// A response to a request within a dialog, made of the other side's to what we made of the request.
///
/// `is_private` tells whether the other side wants not to be named.
pub fn answer_within(leg: &Leg, request: &Request, far: &Response, is_private: bool, body: Option<Bytes>) -> Response {
    let mut response = request.response(cause::of_change(far.status));
    dress(leg, &mut response);
    cross(is_private, &far.headers, &mut response.headers);
    match body {
        Some(body) => set_sdp(&mut response.headers, &mut response.body, body),
        None if !far.body.is_empty() => {
            if let Ok(Some(kind)) = far.headers.opt::<ContentType>()
                && may_cross(&far.headers)
            {
                response.headers.replace(&kind);
                response.body = far.body.clone();
            }
        }
        None => {}
    }
    response
}

/// Adds what crosses from one party to the other: less of one that wants not to be named.
pub fn cross(is_private: bool, from: &Headers, to: &mut Headers) {
    if is_private {
        headers::cross_known(from, to);
    } else {
        headers::cross(from, to);
    }
}

/// Gives a response our tag, and where it makes or keeps a dialog, our Contact and what we can.
fn dress(leg: &Leg, response: &mut Response) {
    leg.dialog.mark(&mut response.headers);
    response.set_tag(leg.dialog.drawn().1);
    if !response.status.is_final() || response.status.is_success() {
        response.headers.push(HeaderName::CONTACT, leg.dialog.contact());
        say_abilities(&mut response.headers, &ALL_OPTIONS);
    }
}

/// Says what we can in a message that says nothing of it yet: what the other side can never crosses.
fn say_abilities(headers: &mut Headers, options: &Value) {
    headers.push(HeaderName::ALLOW, METHODS_WITHIN.clone());
    headers.push(HeaderName::SUPPORTED, options.clone());
}

/// Says in a request within a dialog what we can, and asks for a session.
pub fn offer_options(leg: &Leg, interval: u32, headers: &mut Headers) {
    say_abilities(headers, &ALL_OPTIONS);
    if leg.up {
        leg.timer.ask(interval, headers);
    }
}

/// Whether a request insists on an extension.
pub fn requires(request: &Request, option: &str) -> bool {
    Require::find(&request.headers, option) == Ok(Some(true))
}

/// The refusal of a request that insists on extensions that we do not know (RFC 3261 §8.2.2.3).
pub fn unknown_extension(request: &Request) -> Option<Response> {
    let Ok(required) = request.headers.opt::<Require>() else {
        return Some(request.response(Status::BAD_REQUEST));
    };
    let mut unknown = required.map(|Require(options)| options).unwrap_or_default();
    unknown.retain(|option| !OPTIONS.iter().any(|known| option.eq_ignore_ascii_case(known)));
    if unknown.is_empty() {
        return None;
    }
    let mut response = request.response(Status::BAD_EXTENSION);
    response.headers.put(&Unsupported(unknown));
    Some(response)
}

/// Whether a body is a session description.
pub fn is_sdp(headers: &Headers) -> bool {
    matches!(headers.opt::<ContentType>(), Ok(Some(kind)) if kind.is(SDP))
}

/// A body that is none of our business crosses with its type.
pub fn copy_body(headers: &Headers, body: &Bytes, to: &mut Request) {
    if body.is_empty() {
        return;
    }
    if let Ok(Some(kind)) = headers.opt::<ContentType>() {
        to.headers.replace(&kind);
        to.body = body.clone();
    }
}

/// Whether a body is none of our business. What may hold a session description (or another message, which may) would show
/// one party the address of the other.
pub fn may_cross(headers: &Headers) -> bool {
    match headers.opt::<ContentType>() {
        Ok(Some(kind)) => !kind.is(SDP) && !kind.is_composite(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// What we can do (RFC 3261 §11.2).
pub fn capabilities(request: &Request) -> Response {
    let mut response = request.response(Status::OK);
    response.headers.push(HeaderName::ALLOW, METHODS.clone());
    response
        .headers
        .push(HeaderName::ACCEPT, Value::of_static("application/sdp"));
    response.headers.push(HeaderName::SUPPORTED, ALL_OPTIONS.clone());
    response
}

/// 405 with what is allowed.
pub fn not_allowed(request: &Request) -> Response {
    let mut response = request.response(Status::METHOD_NOT_ALLOWED);
    response.headers.push(HeaderName::ALLOW, METHODS.clone());
    response
}

/// The same within a call.
pub fn not_allowed_within(request: &Request) -> Response {
    let mut response = request.response(Status::METHOD_NOT_ALLOWED);
    response.headers.push(HeaderName::ALLOW, METHODS_WITHIN.clone());
    response
}

/// 415 with what is taken.
pub fn unsupported_media(request: &Request) -> Response {
    let mut response = request.response(Status::UNSUPPORTED_MEDIA_TYPE);
    response
        .headers
        .push(HeaderName::ACCEPT, Value::of_static("application/sdp"));
    response
}

#[cfg(test)]
mod tests {
    use cusax_common::core::sip::typed::Supported;

    use super::*;

    #[test]
    fn what_we_can_is_written_as_it_is_known() {
        let mut headers = Headers::new();
        headers.put(&Supported::of(OPTIONS));
        assert_eq!(headers.get(&HeaderName::SUPPORTED).unwrap().to_value(), ALL_OPTIONS);
        let all = METHODS.as_str().unwrap();
        assert_eq!(all.rsplit_once(", ").unwrap().0, METHODS_WITHIN.as_str().unwrap());
    }
}
