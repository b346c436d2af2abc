//! The texts of a call: the INVITE for a callee, responses to the caller, and the small answers of a user agent.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::record::Impp;
use cusax_common::core::sip::typed::{
    Allow, Contact, ContentType, From, MaxBreadth, MaxForwards, NameAddr, Supported, To,
};
use cusax_common::core::sip::{HeaderName, Headers, Host, Method, Request, Response, SipUri, Status, Uri, Value};

use super::{Call, Caller, Context, Leg};
use crate::core::cause;
use crate::core::dialog::{Dialog, DialogId, MAX_FORWARDS, set_sdp};
use crate::core::flow::Flow;
use crate::core::headers;
use crate::core::identity;
use crate::core::media::Side;
use crate::core::routing::{Hop, Plan};

/// The methods that we serve (RFC 3261 §20.5).
const METHODS: &[&str] = &[
    "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "UPDATE", "INFO",
];

/// The user part of our Contact: it tells nobody anything, and some phones refuse a Contact without one.
const CONTACT_USER: &str = "cusax";
/// The one type of body that we read.
const SDP: &str = "application/sdp";

/// How we name ourselves on a flow; `secure` in a call that must not be heard on the way (RFC 3261 §8.1.1.8).
pub fn contact<E>(cx: &Context<'_, E>, flow: Flow, secure: bool) -> NameAddr {
    let public = cx
        .settings
        .listener(flow.listener)
        .map_or(flow.remote, |listener| listener.public);
    let mut uri = SipUri::new(CONTACT_USER, Host::from(public.ip()));
    uri.port = Some(public.port());
    uri.secure = secure;
    if let Some(transport) = flow.transport.parameter() {
        uri.params.set("transport", Some(transport));
    }
    NameAddr::new(Uri::Sip(uri))
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

/// The INVITE for one hop, without Via and body, with the leg that it begins.
pub fn compose<E: Entropy>(cx: &mut Context<'_, E>, call: &Call, plan: &Plan, hop: &Hop) -> (Leg, Request, Impp) {
    let listener = contact(cx, hop.flow, call.is_secure());
    let audience = identity::Audience::of(plan);
    let party = call.caller.party();
    let named = identity::name_caller(party, &call.invite.headers, &audience, &cx.settings.plan);
    let id = DialogId {
        call_id: cx.draw(),
        local_tag: cx.draw(),
    };
    let dialog = Dialog::calling(
        id,
        hop.flow,
        named,
        NameAddr::new(plan.to.clone()),
        hop.uri.clone(),
        hop.path.clone(),
        listener,
    );
    let mut leg = Leg::new(Side::Callee, dialog, cx.entropy);
    let mut request = leg.dialog.request(Method::Invite);
    if identity::wants_privacy(&call.invite.headers) {
        headers::cross_known(&call.invite.headers, &mut request.headers);
    } else {
        headers::cross(&call.invite.headers, &mut request.headers);
    }
    let hops = call
        .invite
        .headers
        .opt::<MaxForwards>()
        .ok()
        .flatten()
        .map_or(MAX_FORWARDS, |MaxForwards(hops)| hops);
    request.headers.replace(&MaxForwards(hops.saturating_sub(1)));
    if let Some(share) = call.share(plan) {
        request.headers.replace(&MaxBreadth(share));
    }
    request.headers.replace(&Allow::of(METHODS));
    request.headers.replace(&Supported::default());
    let impp = identity::stamp(
        &mut request.headers,
        call.caller.party(),
        &call.invite.headers,
        &audience,
    );
    (leg, request, impp)
}

/// A response to the caller's INVITE: ours in every identifier, the callee's in what crosses.
pub fn response(
    call: &Call,
    invite: &Request,
    status: Status,
    body: Option<Bytes>,
    far: Option<&Response>,
) -> Response {
    let mut response = invite.response(status);
    if status == Status::TRYING {
        return response;
    }
    dress(call, Side::Caller, &mut response, far);
    if let (Some(user), Some(far)) = (&call.facts.callee, far) {
        let may_learn = matches!(call.caller, Caller::User { .. });
        identity::stamp_callee(&mut response.headers, user, &far.headers, may_learn);
    }
    if let Some(body) = body {
        set_sdp(&mut response.headers, &mut response.body, body);
    }
    response
}

impl Call {
    /// A response within a dialog that is up, made of the other side's.
    pub(super) fn in_dialog_response(
        &self,
        side: Side,
        request: &Request,
        far: &Response,
        body: Option<Bytes>,
    ) -> Response {
        let mut response = request.response(cause::of_change(far.status));
        dress(self, side, &mut response, Some(far));
        match body {
            Some(body) => set_sdp(&mut response.headers, &mut response.body, body),
            None if !far.body.is_empty()
                && far
                    .headers
                    .opt::<ContentType>()
                    .is_ok_and(|kind| kind.is_some_and(|kind| !kind.is(SDP))) =>
            {
                response.body = far.body.clone();
                if let Ok(Some(kind)) = far.headers.opt::<ContentType>() {
                    response.headers.replace(&kind);
                }
            }
            None => {}
        }
        response
    }
}

/// Gives a response our tag, our Contact and what crosses.
fn dress(call: &Call, side: Side, response: &mut Response, far: Option<&Response>) {
    let dialog = match side {
        Side::Caller => &call.near.dialog,
        Side::Callee => match call.winner {
            Some(winner) => &call.far[winner].leg.dialog,
            None => return,
        },
    };
    if let Ok(To(mut to)) = response.headers.one::<To>() {
        to.params.set("tag", Some(&dialog.id().local_tag));
        response.headers.replace(&To(to));
    }
    if let Some(far) = far {
        headers::cross(&far.headers, &mut response.headers);
    }
    if !response.status.is_final() || response.status.is_success() {
        response.headers.replace(&Contact(dialog.contact().clone()));
        response.headers.replace(&Allow::of(METHODS));
    }
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
    response.headers.put(&Allow::of(METHODS));
    response
        .headers
        .push(HeaderName::ACCEPT, Value::of_static("application/sdp"));
    response.headers.put(&Supported::default());
    response
}

/// 405 with what is allowed.
pub fn not_allowed(request: &Request) -> Response {
    let mut response = request.response(Status::METHOD_NOT_ALLOWED);
    response.headers.put(&Allow::of(METHODS));
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

/// The address that a trunk's caller claims, for the record.
pub fn claimed_from(invite: &Request) -> String {
    invite
        .headers
        .one::<From>()
        .map_or_else(|_| String::new(), |From(from)| from.uri.to_string())
}
