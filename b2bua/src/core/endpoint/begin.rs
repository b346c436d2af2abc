//! How a call begins, once its caller is proved: what was dialled is read, and circles end here.

use cusax_common::core::dialplan::{Dialled, Reject};
use cusax_common::core::entropy::Entropy;
use cusax_common::core::id::SessionId;
use cusax_common::core::record::{CallRecord, Cause};
use cusax_common::core::sip::typed::RetryAfter;
use cusax_common::core::sip::{HeaderName, Request, Response, Status, Uri, Value};
use cusax_common::core::time::Now;
use tracing::{debug, debug_span};

use super::answers::Sender;
use super::{Endpoint, Live, Output, RETRY_SECONDS};
use crate::core::call::{self, Call, Caller, Context, Dialling};
use crate::core::flow::Flow;
use crate::core::locate::Goal;
use crate::core::media::MediaId;
use crate::core::registrar::{Gruu, NotOurs};
use crate::core::transaction::ServerId;

impl<E: Entropy> Endpoint<E> {
    /// Begins a call for a caller who was proved, and has begun so many before.
    pub(super) fn invite(
        &mut self,
        now: Now,
        server: ServerId,
        flow: Flow,
        request: Request,
        caller: Caller,
        calls: usize,
    ) {
        let uri = self.settings.at_home(request.uri.clone());
        let dialled = self.settings.dial(&uri, matches!(caller, Caller::User { .. }));
        if self.draining || self.calls.len() >= self.room_for(&dialled) {
            return self.overloaded(now, server, &request, Sender::Known);
        }
        if !matches!(dialled, Ok(Dialled::Emergency { .. })) && self.is_too_many(&caller, calls) {
            self.counters.throttled += 1;
            return self.refuse_call(
                now,
                server,
                &request,
                &caller,
                Status::FORBIDDEN,
                "too many calls",
                Cause::Barred,
            );
        }
        let Some(depth) = self.depth(&request) else {
            self.counters.looped += 1;
            return self.respond(now, server, request.response(Status::LOOP_DETECTED));
        };
        // Whoever wants every hop to be secure has not made the first one so (RFC 3261 §26.2.2).
        if matches!(&request.uri, Uri::Sip(uri) if uri.secure) && !flow.transport.is_secure() {
            self.counters.forbidden += 1;
            return self.respond(now, server, request.response(Status::FORBIDDEN));
        }
        let (dialled, device) = match (self.gruu_of(&uri, &dialled), dialled) {
            (_, Err(reject)) => return self.undiallable(now, server, &request, &caller, reject),
            (Some(Ok(Gruu { aor, device })), Ok(_)) => (Dialled::Name(aor), Some(device)),
            // Nobody of that name.
            (Some(Err(NotOurs)), Ok(_)) => return self.respond(now, server, request.response(Status::NOT_FOUND)),
            (None, Ok(dialled)) => (dialled, None),
        };
        let dialling = Dialling { dialled, device, depth };
        if let Dialled::Foreign(_) = &dialling.dialled
            && !self.has_room_to_search(&caller)
        {
            return self.overloaded(now, server, &request, Sender::Known);
        }
        if let Dialled::Foreign(uri) = &dialling.dialled
            && let Some(goal) = self.carriers.want(now.instant, uri)
        {
            // DNS may take a while, and the INVITE is not to be sent again meanwhile (RFC 3261 §17.2.1).
            self.respond(now, server, request.response(Status::TRYING));
            let searching = Searching {
                goal,
                flow,
                request,
                caller,
                dialling,
            };
            self.count_caller(&searching.caller, true);
            self.searching.insert(server, searching);
            return;
        }
        self.begin(now, server, flow, request, caller, dialling);
    }

    /// Whether another call of this caller's may wait for DNS: nobody takes all the room.
    fn has_room_to_search(&self, caller: &Caller) -> bool {
        let searching = self.searching.values();
        let own = searching.filter(|searching| searching.caller.user() == caller.user());
        self.searching.len() < MAX_SEARCHING && own.count() < MAX_SEARCHING / PART
    }

    /// Counts a call that waits to be begun, or waits no longer. Once it has begun it is counted as such.
    pub(super) fn count_caller(&mut self, caller: &Caller, more: bool) {
        if let Some(jid) = caller.user() {
            self.count_call(jid.clone(), more);
        }
    }

    /// The device of ours that was dialled; whatever others call theirs is theirs to know (RFC 5627 §4.4).
    pub(super) fn gruu_of(&self, uri: &Uri, dialled: &Result<Dialled, Reject>) -> Option<Result<Gruu, NotOurs>> {
        let is_foreign = matches!(dialled, Ok(Dialled::Foreign(_)));
        (!is_foreign).then(|| self.registrar.gruu(uri)).flatten()
    }

    /// How many calls there may be before such a one.
    pub(super) fn room_for(&self, dialled: &Result<Dialled, Reject>) -> usize {
        match dialled {
            Ok(Dialled::Emergency { .. }) => self.max_calls().saturating_add(EMERGENCY_ROOM),
            _ => self.max_calls(),
        }
    }

    /// The most calls of this endpoint.
    pub(super) fn max_calls(&self) -> usize {
        self.share.part_of(self.settings.max_calls)
    }

    /// A domain was looked up for which calls wait.
    pub(super) fn found(&mut self, now: Now, goal: &Goal) {
        let waiting = self.searching.iter().filter(|(_, searching)| searching.goal == *goal);
        let waiting: Vec<ServerId> = waiting.map(|(server, _)| *server).collect();
        for server in waiting {
            if let Some(searching) = self.searching.remove(&server) {
                let Searching {
                    flow,
                    request,
                    caller,
                    dialling,
                    ..
                } = searching;
                // What begins is counted before what waits is not, so that nobody else fits in between.
                let waited = caller.user().cloned();
                if self.draining || self.calls.len() >= self.max_calls() {
                    self.put_off(now, server, &request);
                } else {
                    self.begin(now, server, flow, request, caller, dialling);
                }
                if let Some(jid) = waited {
                    self.count_call(jid, false);
                }
            }
        }
    }

    /// No call begins any more.
    pub(super) fn give_up_searches(&mut self, now: Now) {
        for (server, searching) in std::mem::take(&mut self.searching) {
            self.count_caller(&searching.caller, false);
            self.put_off(now, server, &searching.request);
        }
    }

    /// 503 to somebody who got a 100 and does not send the INVITE again: this one must not be lost.
    fn put_off(&mut self, now: Now, server: ServerId, request: &Request) {
        self.counters.overloaded += 1;
        let mut response = request.response(Status::SERVICE_UNAVAILABLE);
        response.headers.put(&RetryAfter::new(RETRY_SECONDS));
        self.respond(now, server, response);
    }

    /// The caller gave up while the domain was looked up.
    pub(super) fn give_up_search(&mut self, now: Now, invite: ServerId) {
        if let Some(Searching { request, caller, .. }) = self.searching.remove(&invite) {
            self.count_caller(&caller, false);
            let status = Status::REQUEST_TERMINATED;
            self.respond(now, invite, request.response(status));
            let session = SessionId::draw(&mut self.entropy);
            let record = call::refused(now.wall, session, &caller, &request, status, Cause::Cancelled);
            self.outputs.push_back(Output::Record(record));
        }
    }

    fn begin(&mut self, now: Now, server: ServerId, flow: Flow, request: Request, caller: Caller, dialling: Dialling) {
        let begun = self.launch(now, Some(server), None, |cx, id, session| {
            Call::begin(cx, id, session, caller, dialling, server, flow, request)
        });
        if let Err(refused) = begun {
            let (response, record) = *refused;
            self.outputs.push_back(Output::Record(record));
            self.respond(now, server, response);
        }
    }

    /// Makes a call, and does what it asks for.
    pub(super) fn launch(
        &mut self,
        now: Now,
        server: Option<ServerId>,
        session: Option<SessionId>,
        make: impl FnOnce(&mut Context<'_, E>, MediaId, SessionId) -> Result<Call, Box<(Response, CallRecord)>>,
    ) -> Result<SessionId, Box<(Response, CallRecord)>> {
        let session = session.unwrap_or_else(|| SessionId::draw(&mut self.entropy));
        // Each step of a call is logged at debug; what is logged above that names the session itself.
        let span = debug_span!("call", session = %session);
        self.next_call += 1;
        let id = MediaId(self.share.number(self.next_call));
        if let Some(server) = server {
            self.servers.insert(server, (id, None));
        }
        let entered = span.clone().entered();
        let mut cx = Context {
            now,
            entropy: &mut self.entropy,
            dialogs: &self.dialog_ids,
            settings: &self.settings,
            registrar: &self.registrar,
            carriers: &self.carriers,
            out: &mut self.call_outputs,
        };
        let call = make(&mut cx, id, session)?;
        if let Some(jid) = call.begun_by() {
            self.count_call(jid.clone(), true);
        }
        let live = Live {
            call,
            span,
            deadline: None,
        };
        self.calls.insert(id, Box::new(live));
        self.after_call(now, id);
        drop(entered);
        Ok(session)
    }

    /// Through how many calls of ours a request came already: a proxy that sends a call of ours back to us leaves its
    /// Call-ID and From tag as they are. None if it goes in a circle, or comes too often (RFC 5393 §4.2).
    fn depth(&self, request: &Request) -> Option<usize> {
        let tag = request.headers.from_tag().ok()?;
        let call_id = request.headers.call_id().ok()?.to_text();
        let id = self.dialog_ids.of(&call_id, tag.unwrap_or_default());
        let Some(live) = self.dialogs.get(&id).and_then(|(call, _)| self.calls.get(call)) else {
            return Some(0);
        };
        let depth = live.call.depth() + 1;
        (depth <= MAX_SPIRAL && !live.call.asks_for(&request.uri)).then_some(depth)
    }

    /// What was dialled is no address: the caller is told why, and a record is kept.
    fn undiallable(&mut self, now: Now, server: ServerId, request: &Request, caller: &Caller, reject: Reject) {
        debug!(%reject, "dialled text refused");
        let status = Status::new(reject.status()).unwrap_or(Status::ADDRESS_INCOMPLETE);
        self.refuse_call(
            now,
            server,
            request,
            caller,
            status,
            &reject.to_string(),
            Cause::BadNumber,
        );
    }

    /// A call does not begin: the caller is told why, and a record is kept.
    #[expect(clippy::too_many_arguments, reason = "one answer and one record, of one request")]
    fn refuse_call(
        &mut self,
        now: Now,
        server: ServerId,
        request: &Request,
        caller: &Caller,
        status: Status,
        why: &str,
        cause: Cause,
    ) {
        let mut response = request.response(status);
        // RFC 3261 §20.43: 399 is for people to read.
        let host = self.settings.domains.first().map_or("invalid", String::as_str);
        let warning = Value::cleaned(&format!("399 {host} \"{why}\""));
        response.headers.push(HeaderName::WARNING, warning);
        self.respond(now, server, response);
        let session = SessionId::draw(&mut self.entropy);
        let record = call::refused(now.wall, session, caller, request, status, cause);
        self.outputs.push_back(Output::Record(record));
    }
}

/// A call to a domain that is being looked up.
#[derive(Debug)]
pub(super) struct Searching {
    goal: Goal,
    pub(super) flow: Flow,
    pub(super) request: Request,
    pub(super) caller: Caller,
    dialling: Dialling,
}

/// The most calls that wait for DNS.
pub(super) const MAX_SEARCHING: usize = 1024;
/// One caller has no more than this part of that.
pub(super) const PART: usize = 8;
/// How many emergency calls there is room for when there is none for others.
const EMERGENCY_ROOM: usize = 64;
/// How often one call may come back to us on its way.
const MAX_SPIRAL: usize = 10;
