//! Dialogs (RFC 3261 §12): who the two parties are, and the order of what they say.
//!
//! A dialog of ours always sends over the flow it was made on. The remote target and the route set are written into
//! requests as the RFC asks, but no address in them is ever resolved or connected to: a Contact cannot steer us.
//!
//! # Invariants
//! - The local sequence number only grows.
//! - A request is accepted only with both tags, from the address of the flow, in order.

mod id;
mod lines;

use bytes::Bytes;
use cusax_common::core::id::SessionId;
use cusax_common::core::sip::typed::name_addr::only_uri;
use cusax_common::core::sip::typed::{CSeq, ContentType, From, NameAddr, RecordRoute, SessionUuids, To};
use cusax_common::core::sip::{HeaderError, HeaderName, Headers, Host, Method, Request, Response, SipUri, Uri, Value};

use self::lines::{Lines, Part};
use crate::core::flow::Flow;

pub use self::id::{DialogId, DialogIds};

/// One peer-to-peer relation with a phone or a trunk.
#[derive(Clone, Debug)]
pub struct Dialog {
    id: DialogId,
    flow: Flow,
    /// Who both are, and where requests of this dialog are addressed (their Contact).
    lines: Lines,
    local_seq: u32,
    remote_seq: Option<u32>,
    /// The values of our Route headers, in their order.
    routes: Box<[Value]>,
    /// What the ends of the session call themselves (RFC 7989), as we say it to this peer.
    session: SessionUuids,
}

/// Who is in a dialog, without tags.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// How we name ourselves: From of our requests, To of theirs.
    pub local: &'a NameAddr,
    /// How they are named.
    pub remote: &'a NameAddr,
    /// The value of our Contact.
    pub contact: &'a str,
}

/// Why a request does not belong where it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misplaced {
    /// Wrong tag, wrong source: answered 481, and nothing changes.
    NotOurs,
    /// The sequence number went backwards: answered 500 (RFC 3261 §12.2.2).
    OutOfOrder,
    /// It cannot be read: answered 400.
    Malformed,
}

impl Dialog {
    /// The dialog that an INVITE from a peer begins (RFC 3261 §12.1.1). `local_tag` is ours, freshly drawn; `contact` is the
    /// value of our Contact.
    ///
    /// # Errors
    /// [`Misplaced::Malformed`] when From, To, Call-ID, CSeq, the one Contact or the route set cannot be read.
    pub fn answering(
        ids: &DialogIds,
        request: &Request,
        flow: Flow,
        local_tag: &str,
        contact: &str,
    ) -> Result<Self, Misplaced> {
        let malformed = |_| Misplaced::Malformed;
        let headers = &request.headers;
        let (From(remote), To(local)) = (headers.from().map_err(malformed)?, headers.to().map_err(malformed)?);
        let call_id = headers.call_id().map_err(malformed)?.to_text();
        let seq = headers.cseq().map_err(malformed)?.seq;
        let target = sole_contact(headers).ok_or(Misplaced::Malformed)?;
        let lines = Lines::write(|part, text| match part {
            Part::CallId => text.push_str(&call_id),
            Part::Local => lines::write_bare(&local, text),
            Part::LocalTag => lines::write_tag(Some(local_tag), text),
            Part::Contact => text.push_str(contact),
            Part::Remote => lines::write_bare(&remote, text),
            Part::RemoteTag => lines::write_tag(remote.tag(), text),
            Part::Target => text.push_str(&target),
        });
        Ok(Self {
            id: ids.of(&call_id, local_tag),
            flow,
            lines,
            local_seq: 0,
            remote_seq: Some(seq),
            routes: record_route(headers).map_err(malformed)?,
            session: SessionUuids {
                local: None,
                remote: said(headers),
            },
        })
    }

    /// The dialog that an INVITE of ours to `target` is about to begin, by way of `routes`; Call-ID and tag are ours.
    #[must_use]
    pub fn calling(
        ids: &DialogIds,
        flow: Flow,
        (call_id, local_tag): (&str, &str),
        names: Names<'_>,
        target: &Uri,
        routes: &[NameAddr],
    ) -> Self {
        let lines = Lines::write(|part, text| match part {
            Part::CallId => text.push_str(call_id),
            Part::Local => lines::write_bare(names.local, text),
            Part::LocalTag => lines::write_tag(Some(local_tag), text),
            Part::Contact => text.push_str(names.contact),
            Part::Remote => lines::write_bare(names.remote, text),
            Part::RemoteTag => {}
            Part::Target => lines::write_uri(target, text),
        });
        Self {
            id: ids.of(call_id, local_tag),
            flow,
            lines,
            local_seq: 0,
            remote_seq: None,
            routes: routes.iter().map(written).collect(),
            session: SessionUuids::default(),
        }
    }

    /// The Call-ID and our tag.
    #[must_use]
    pub fn drawn(&self) -> (&str, &str) {
        let local_tag = self.lines.tag(Part::LocalTag).unwrap_or_default();
        (self.lines.get(Part::CallId), local_tag)
    }

    /// Goes on with the numbers of another one that has the same names.
    pub fn count_on(&mut self, before: &Self) {
        self.local_seq = before.local_seq;
    }

    /// What the peer calls the session.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.session.remote
    }

    /// What whoever it is joined with calls the session; not known, it stays as it was.
    pub fn join_session(&mut self, other: Option<SessionId>) {
        self.session.local = other.or(self.session.local);
    }

    /// Says in a message of ours what both ends call the session (RFC 7989 §7), if either has said anything.
    pub fn mark(&self, headers: &mut Headers) {
        if self.session != SessionUuids::default() {
            headers.replace(&self.session);
        }
    }

    /// The dialog that a 2xx to an INVITE of ours makes, when nothing is known of it but what the 2xx says.
    #[must_use]
    pub fn of_answer(ids: &DialogIds, response: &Response, flow: Flow) -> Option<Self> {
        let headers = &response.headers;
        let (From(local), To(remote)) = (headers.from().ok()?, headers.to().ok()?);
        let (call_id, local_tag) = (headers.call_id().ok()?.to_text(), local.tag()?);
        let target: Uri = sole_contact(headers)?.parse().ok()?;
        let names = Names {
            local: &local,
            remote: &remote,
            contact: "",
        };
        let mut dialog = Self::calling(ids, flow, (&call_id, local_tag), names, &target, &[]);
        dialog.local_seq = headers.cseq().ok()?.seq;
        dialog.learn(response);
        Some(dialog)
    }

    /// Another dialog that the same INVITE of theirs makes, with another tag of ours (RFC 3261 §12.1.1). `seq` is the number
    /// of the INVITE: what was said in this dialog since is nothing to the other.
    #[must_use]
    pub fn fork_answering(&self, ids: &DialogIds, local_tag: &str, seq: u32) -> Self {
        let mut tag = String::new();
        lines::write_tag(Some(local_tag), &mut tag);
        Self {
            id: ids.of(self.lines.get(Part::CallId), local_tag),
            lines: self.lines.with(&[(Part::LocalTag, &tag)]),
            remote_seq: Some(seq),
            session: SessionUuids {
                local: None,
                ..self.session
            },
            routes: self.routes.clone(),
            ..*self
        }
    }

    /// Another dialog that the same INVITE of ours makes, which was sent to `target` by way of `routes` (RFC 3261 §12.1.2).
    #[must_use]
    pub fn fork_calling(&self, target: &Uri, routes: &[NameAddr]) -> Self {
        let target = target.to_string();
        Self {
            lines: self.lines.with(&[(Part::RemoteTag, ""), (Part::Target, &target)]),
            remote_seq: None,
            routes: routes.iter().map(written).collect(),
            session: SessionUuids {
                remote: None,
                ..self.session
            },
            ..*self
        }
    }

    /// The peer's tag, once it is known.
    #[must_use]
    pub fn remote_tag(&self) -> Option<&str> {
        self.lines.tag(Part::RemoteTag)
    }

    /// By which we find this dialog.
    #[must_use]
    pub fn id(&self) -> DialogId {
        self.id
    }

    /// How the peer is named, without its tag.
    #[must_use]
    pub fn remote(&self) -> Option<NameAddr> {
        NameAddr::parse(self.lines.get(Part::Remote)).ok()
    }

    /// Where this dialog's messages go.
    #[must_use]
    pub fn flow(&self) -> Flow {
        self.flow
    }

    /// The Contact that we give.
    #[must_use]
    pub fn contact(&self) -> Value {
        self.lines.value(Part::Contact, Part::Contact)
    }

    /// Learns from a response to our INVITE (RFC 3261 §12.1.2): the peer's tag, route set and target.
    ///
    /// The first response with a tag makes the early dialog; a 2xx makes it anew from what it says, since another
    /// branch of a fork may have answered. A route set that cannot be read, or is too long, is not taken.
    pub fn learn(&mut self, response: &Response) {
        let headers = &response.headers;
        self.session.remote = said(headers).or(self.session.remote);
        let Ok(Some(tag)) = headers.to_tag() else { return };
        if self.remote_tag().is_some() && !response.status.is_success() {
            return;
        }
        let target = sole_contact(headers);
        let target = target.as_deref().unwrap_or_else(|| self.lines.get(Part::Target));
        if self.remote_tag() != Some(tag) || self.lines.get(Part::Target) != target {
            let mut param = String::new();
            lines::write_tag(Some(tag), &mut param);
            self.lines = self.lines.with(&[(Part::RemoteTag, &param), (Part::Target, target)]);
        }
        if let Ok(mut routes) = record_route(headers) {
            routes.reverse();
            self.routes = routes;
        }
    }

    /// Takes a new target from a re-INVITE or its 2xx (RFC 3261 §12.2.1.2, §12.2.2).
    pub fn refresh(&mut self, headers: &Headers) {
        if let Some(target) = sole_contact(headers)
            && self.lines.get(Part::Target) != target
        {
            self.lines = self.lines.with(&[(Part::Target, &target)]);
        }
    }

    /// Judges a request that names this dialog; accepted ones move the sequence on.
    ///
    /// # Errors
    /// [`Misplaced`] says how it is to be answered. An error changes nothing.
    pub fn accept(&mut self, request: &Request, flow: Flow) -> Result<u32, Misplaced> {
        let tag = request.headers.from_tag().map_err(|_| Misplaced::Malformed)?;
        let seq = request.headers.cseq().map_err(|_| Misplaced::Malformed)?.seq;
        // What was said where nobody reads along is not changed by who may have made up an address.
        let exposed = self.flow.transport.is_secure() && !flow.transport.is_secure();
        let elsewhere = flow.remote.ip() != self.flow.remote.ip();
        if tag != self.remote_tag() || elsewhere || exposed {
            return Err(Misplaced::NotOurs);
        }
        self.session.remote = said(&request.headers).or(self.session.remote);
        // ACK repeats the number of its INVITE (RFC 3261 §13.2.2.4).
        if matches!(request.method, Method::Ack | Method::Cancel) {
            return Ok(seq);
        }
        if self.remote_seq.is_some_and(|last| seq <= last) {
            return Err(Misplaced::OutOfOrder);
        }
        self.remote_seq = Some(seq);
        Ok(seq)
    }

    /// The next request of this dialog, without Via and body (RFC 3261 §12.2.1.1).
    #[must_use]
    pub fn request(&mut self, method: Method) -> Request {
        self.local_seq += 1;
        self.compose(method, self.local_seq)
    }

    /// The INVITE that begins this dialog, likewise, to where it was to be sent.
    #[must_use]
    pub fn invite(&mut self, target: Uri) -> Request {
        self.local_seq += 1;
        self.compose_to(target, Method::Invite, self.local_seq)
    }

    /// The ACK for a 2xx to the INVITE with this sequence number (RFC 3261 §13.2.2.4).
    #[must_use]
    pub fn ack(&self, seq: u32, body: Option<Bytes>) -> Request {
        let mut ack = self.compose(Method::Ack, seq);
        if let Some(body) = body {
            set_sdp(&mut ack.headers, &mut ack.body, body);
        }
        ack
    }

    fn compose(&self, method: Method, seq: u32) -> Request {
        // It can be read again, since it was read before it was kept.
        let there = || Uri::Sip(SipUri::new("", Host::from(self.flow.remote.ip())));
        let target = self.lines.get(Part::Target).parse().unwrap_or_else(|_| there());
        self.compose_to(target, method, seq)
    }

    fn compose_to(&self, target: Uri, method: Method, seq: u32) -> Request {
        let mut headers = Headers::with_room(USUAL_LINES);
        headers.push(HeaderName::MAX_FORWARDS, Value::of_static(ALL_HOPS));
        for route in &self.routes {
            headers.push(HeaderName::ROUTE, route.clone());
        }
        headers.push(HeaderName::FROM, self.lines.value(Part::Local, Part::LocalTag));
        headers.push(HeaderName::TO, self.lines.value(Part::Remote, Part::RemoteTag));
        headers.push(HeaderName::CALL_ID, self.lines.value(Part::CallId, Part::CallId));
        headers.put(&CSeq::new(seq, method.clone()));
        self.mark(&mut headers);
        if has_contact(&method) {
            headers.push(HeaderName::CONTACT, self.contact());
        }
        Request {
            headers,
            ..Request::new(method, target)
        }
    }
}

/// Puts a session description into a message.
pub fn set_sdp(headers: &mut Headers, body: &mut Bytes, sdp: Bytes) {
    headers.replace(&ContentType::SDP);
    *body = sdp;
}

/// The Max-Forwards of requests that begin here (RFC 3261 §8.1.1.6).
pub const MAX_FORWARDS: u8 = 70;
const ALL_HOPS: &str = "70";
const _: () = assert!(MAX_FORWARDS == 70);
/// Room for the lines of an ordinary request, the Via included.
const USUAL_LINES: usize = 16;
/// The longest route set that is kept. None is cut: a part of it would lead past somebody who wants to be on the way.
const MAX_ROUTES: usize = 16;

/// The target of a message that must have exactly one Contact, as it stands.
fn sole_contact(headers: &Headers) -> Option<String> {
    let mut lines = headers.get_all(&HeaderName::CONTACT);
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return None;
    };
    only_uri(&line.to_text()).map(str::to_owned)
}

/// What the sender of a message calls the session.
fn said(headers: &Headers) -> Option<SessionId> {
    headers.opt::<SessionUuids>().ok().flatten()?.local
}

/// The route set that a message makes, as values of Route, in the order of its lines.
fn record_route(headers: &Headers) -> Result<Box<[Value]>, HeaderError> {
    let routes = headers.list::<RecordRoute>()?;
    if routes.len() > MAX_ROUTES {
        return Err(HeaderError::malformed("more hops than anybody needs"));
    }
    Ok(routes.iter().map(|RecordRoute(route)| written(route)).collect())
}

fn written(address: &NameAddr) -> Value {
    let mut text = String::new();
    address.write(&mut text);
    Value::made(text)
}

/// Which requests carry a Contact (RFC 3261 table 2, RFC 3311 §5.1).
fn has_contact(method: &Method) -> bool {
    matches!(
        method,
        Method::Invite | Method::Update | Method::Options | Method::Refer | Method::Subscribe | Method::Notify
    )
}
