//! Dialogs (RFC 3261 §12): who the two parties are, and the order of what they say.
//!
//! A dialog of ours always sends over the flow it was made on. The remote target and the route set are written into
//! requests as the RFC asks, but no address in them is ever resolved or connected to: a Contact cannot steer us.
//!
//! # Invariants
//! - The local sequence number only grows.
//! - A request is accepted only with both tags, from the address of the flow, in order.

use bytes::Bytes;
use cusax_common::core::id::SessionId;
use cusax_common::core::sip::typed::{
    CSeq, CallId, Contact, ContentType, From, MaxForwards, NameAddr, RecordRoute, Route, SessionUuids, To,
};
use cusax_common::core::sip::{HeaderError, Headers, Method, Request, Response, Uri};

use crate::core::flow::Flow;

/// The identity by which we find a dialog again: the Call-ID and our own tag, which nobody else can draw.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DialogId {
    /// The Call-ID, byte for byte.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
}

/// One peer-to-peer relation with a phone or a trunk.
#[derive(Clone, Debug)]
pub struct Dialog {
    id: DialogId,
    flow: Flow,
    /// How we name ourselves: From of our requests, To of theirs.
    local: NameAddr,
    /// How they are named, without the tag until it is known.
    remote: NameAddr,
    remote_tag: Option<String>,
    local_seq: u32,
    remote_seq: Option<u32>,
    /// Where requests of this dialog are addressed (their Contact).
    target: Uri,
    /// In the order of our Route headers.
    routes: Vec<NameAddr>,
    /// Our own Contact.
    contact: NameAddr,
    /// What the ends of the session call themselves (RFC 7989), as we say it to this peer.
    session: SessionUuids,
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
    /// The dialog that an INVITE from a peer begins (RFC 3261 §12.1.1). `local_tag` is ours, freshly drawn.
    ///
    /// # Errors
    /// [`Misplaced::Malformed`] when From, To, Call-ID, CSeq, the one Contact or the route set cannot be read.
    pub fn answering(request: &Request, flow: Flow, local_tag: String, contact: NameAddr) -> Result<Self, Misplaced> {
        let malformed = |_| Misplaced::Malformed;
        let From(mut remote) = request.headers.one().map_err(malformed)?;
        let To(mut local) = request.headers.one().map_err(malformed)?;
        let call_id = request.headers.one::<CallId>().map_err(malformed)?.as_str().to_owned();
        let CSeq { seq, .. } = request.headers.one().map_err(malformed)?;
        let remote_tag = remote.params.value("tag").map(str::to_owned);
        remote.params.remove("tag");
        local.params.remove("tag");
        let target = sole_contact(&request.headers).ok_or(Misplaced::Malformed)?;
        let routes = record_route(&request.headers).map_err(malformed)?;
        let session = SessionUuids {
            local: None,
            remote: said(&request.headers),
        };
        Ok(Self {
            session,
            id: DialogId { call_id, local_tag },
            flow,
            local,
            remote,
            remote_tag,
            local_seq: 0,
            remote_seq: Some(seq),
            target,
            routes,
            contact,
        })
    }

    /// The dialog that an INVITE of ours is about to begin, by way of `routes`.
    #[must_use]
    pub fn calling(
        id: DialogId,
        flow: Flow,
        local: NameAddr,
        remote: NameAddr,
        target: Uri,
        routes: Vec<NameAddr>,
        contact: NameAddr,
    ) -> Self {
        Self {
            id,
            flow,
            local,
            remote,
            remote_tag: None,
            local_seq: 0,
            remote_seq: None,
            target,
            routes,
            contact,
            session: SessionUuids::default(),
        }
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
    pub fn of_answer(response: &Response, flow: Flow) -> Option<Self> {
        let From(mut local) = response.headers.one().ok()?;
        let To(mut remote) = response.headers.one().ok()?;
        let id = DialogId {
            call_id: response.headers.one::<CallId>().ok()?.as_str().to_owned(),
            local_tag: local.params.value("tag")?.to_owned(),
        };
        let target = sole_contact(&response.headers)?;
        let contact = local.clone();
        local.params.remove("tag");
        remote.params.remove("tag");
        let mut dialog = Self::calling(id, flow, local, remote, target, Vec::new(), contact);
        dialog.local_seq = response.headers.one::<CSeq>().ok()?.seq;
        dialog.learn(response);
        Some(dialog)
    }

    /// Another dialog that the same INVITE of theirs makes, with another tag of ours (RFC 3261 §12.1.1). `seq` is the number
    /// of the INVITE: what was said in this dialog since is nothing to the other.
    #[must_use]
    pub fn fork_answering(&self, local_tag: String, seq: u32) -> Self {
        let mut fork = self.clone();
        fork.id.local_tag = local_tag;
        fork.remote_seq = Some(seq);
        fork.session.local = None;
        fork
    }

    /// Another dialog that the same INVITE of ours makes, which was sent to `target` by way of `routes` (RFC 3261 §12.1.2).
    #[must_use]
    pub fn fork_calling(&self, target: Uri, routes: Vec<NameAddr>) -> Self {
        let mut fork = self.clone();
        fork.remote_tag = None;
        fork.remote_seq = None;
        fork.target = target;
        fork.routes = routes;
        fork.session.remote = None;
        fork
    }

    /// The peer's tag, once it is known.
    #[must_use]
    pub fn remote_tag(&self) -> Option<&str> {
        self.remote_tag.as_deref()
    }

    /// By which we find this dialog.
    #[must_use]
    pub fn id(&self) -> &DialogId {
        &self.id
    }

    /// How the peer is named, without its tag.
    #[must_use]
    pub fn remote(&self) -> &NameAddr {
        &self.remote
    }

    /// Where this dialog's messages go.
    #[must_use]
    pub fn flow(&self) -> Flow {
        self.flow
    }

    /// The Contact that we give.
    #[must_use]
    pub fn contact(&self) -> &NameAddr {
        &self.contact
    }

    /// Learns from a response to our INVITE (RFC 3261 §12.1.2): the peer's tag, route set and target.
    ///
    /// The first response with a tag makes the early dialog; a 2xx makes it anew from what it says, since another
    /// branch of a fork may have answered. A route set that cannot be read, or is too long, is not taken.
    pub fn learn(&mut self, response: &Response) {
        self.session.remote = said(&response.headers).or(self.session.remote);
        let Ok(To(to)) = response.headers.one::<To>() else {
            return;
        };
        let Some(tag) = to.params.value("tag") else { return };
        if self.remote_tag.is_some() && !response.status.is_success() {
            return;
        }
        self.remote_tag = Some(tag.to_owned());
        if let Some(target) = sole_contact(&response.headers) {
            self.target = target;
        }
        if let Ok(mut routes) = record_route(&response.headers) {
            routes.reverse();
            self.routes = routes;
        }
    }

    /// Takes a new target from a re-INVITE or its 2xx (RFC 3261 §12.2.1.2, §12.2.2).
    pub fn refresh(&mut self, headers: &Headers) {
        if let Some(target) = sole_contact(headers) {
            self.target = target;
        }
    }

    /// Judges a request that names this dialog; accepted ones move the sequence on.
    ///
    /// # Errors
    /// [`Misplaced`] says how it is to be answered. An error changes nothing.
    pub fn accept(&mut self, request: &Request, flow: Flow) -> Result<u32, Misplaced> {
        let From(from) = request.headers.one().map_err(|_| Misplaced::Malformed)?;
        let CSeq { seq, .. } = request.headers.one().map_err(|_| Misplaced::Malformed)?;
        // What was said where nobody reads along is not changed by who may have made up an address.
        let exposed = self.flow.transport.is_secure() && !flow.transport.is_secure();
        let elsewhere = flow.remote.ip() != self.flow.remote.ip();
        if from.params.value("tag") != self.remote_tag.as_deref() || elsewhere || exposed {
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
        let mut request = Request::new(method.clone(), self.target.clone());
        let (mut from, mut to) = (self.local.clone(), self.remote.clone());
        from.params.set("tag", Some(&self.id.local_tag));
        if let Some(tag) = &self.remote_tag {
            to.params.set("tag", Some(tag));
        }
        request.headers.put(&MaxForwards(MAX_FORWARDS));
        for route in &self.routes {
            request.headers.put(&Route(route.clone()));
        }
        request.headers.put(&From(from));
        request.headers.put(&To(to));
        request.headers.put(&CallId::new(&self.id.call_id));
        request.headers.put(&CSeq {
            seq,
            method: method.clone(),
        });
        self.mark(&mut request.headers);
        if has_contact(&method) {
            request.headers.put(&Contact(self.contact.clone()));
        }
        request
    }
}

/// Puts a session description into a message.
pub fn set_sdp(headers: &mut Headers, body: &mut Bytes, sdp: Bytes) {
    headers.replace(&ContentType::SDP);
    *body = sdp;
}

/// The Max-Forwards of requests that begin here (RFC 3261 §8.1.1.6).
pub const MAX_FORWARDS: u8 = 70;
/// The longest route set that is kept. None is cut: a part of it would lead past somebody who wants to be on the way.
const MAX_ROUTES: usize = 16;

/// The target of a message that must have exactly one Contact.
fn sole_contact(headers: &Headers) -> Option<Uri> {
    match headers.list::<Contact>().ok()?.as_slice() {
        [Contact(contact)] => Some(contact.uri.clone()),
        _ => None,
    }
}

/// What the sender of a message calls the session.
fn said(headers: &Headers) -> Option<SessionId> {
    headers.opt::<SessionUuids>().ok().flatten()?.local
}

fn record_route(headers: &Headers) -> Result<Vec<NameAddr>, HeaderError> {
    let routes = headers.list::<RecordRoute>()?;
    if routes.len() > MAX_ROUTES {
        return Err(HeaderError::malformed("more hops than anybody needs"));
    }
    Ok(routes.into_iter().map(|RecordRoute(route)| route).collect())
}

/// Which requests carry a Contact (RFC 3261 table 2, RFC 3311 §5.1).
fn has_contact(method: &Method) -> bool {
    matches!(
        method,
        Method::Invite | Method::Update | Method::Options | Method::Refer | Method::Subscribe | Method::Notify
    )
}
