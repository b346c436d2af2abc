//! Who gets past the endpoint with a request outside a dialog: what is served at all, how much, and for whom.

use std::sync::Arc;

use cusax_common::core::entropy::Entropy;
use cusax_common::core::sip::typed::{
    Event, From, MaxForwards, NameAddr, Require, Route, ServiceRoute, Supported, Unsupported,
};
use cusax_common::core::sip::{Host, Method, Request, Response, SipUri, Status, Token, Uri};
use cusax_common::core::time::Now;
use cusax_common::core::user::User;
use tracing::debug;

use super::accounts::Asking;
use super::answers::Sender;
use super::{Account, Endpoint, Fetching, Query, REFUSED_AFTER, Unproved, realm, scheme};
use crate::core::admission::{Admission, Verdict};
use crate::core::auth::{self, Authenticated, Rejection};
use crate::core::call::{self, Caller};
use crate::core::flow::Flow;
use crate::core::transaction::ServerId;

impl<E: Entropy> Endpoint<E> {
    /// Whether a request of somebody who has proved nothing goes on; if not, it is dealt with.
    pub(super) fn admit_source(&mut self, now: Now, server: ServerId, flow: &Flow, request: &Request) -> bool {
        match self.judge_source(now, flow) {
            Verdict::Pass => return true,
            // Who has a connection has the address, and waits for an answer.
            Verdict::Drop if !flow.transport.reliable() => self.transactions.forget(server),
            Verdict::Drop | Verdict::Later => self.later(now, server, request, self.sender(flow)),
        }
        self.counters.throttled += 1;
        false
    }

    /// Whether somebody is answered whose request belongs to nothing and is not carried out: it counts like any other, and
    /// what is too much gets no answer.
    pub(super) fn may_turn_away(&mut self, now: Now, flow: &Flow) -> bool {
        let passes = self.carriers.is_from_one(&self.settings, flow) || self.judge_source(now, flow) == Verdict::Pass;
        self.counters.throttled += u64::from(!passes);
        passes
    }

    fn judge_source(&mut self, now: Now, flow: &Flow) -> Verdict {
        let limits = self.settings.limits;
        let admission = self
            .admission
            .get_or_insert_with(|| Admission::new(limits, now.instant));
        let known = self.registrar.has_flow(flow);
        admission.judge_source(now.instant, flow.remote.ip(), known)
    }

    /// The same for what an account has proved to be its own.
    pub(super) fn admit_account(
        &mut self,
        now: Now,
        server: ServerId,
        request: &Request,
        account: Account<'_>,
    ) -> bool {
        let passes = self.passes(now, &account);
        if !passes {
            self.throttle(now, server, request);
        }
        passes
    }

    /// Whether an account has not asked for too much.
    pub(super) fn passes(&mut self, now: Now, account: &Account<'_>) -> bool {
        let limits = self.settings.limits;
        let admission = self
            .admission
            .get_or_insert_with(|| Admission::new(limits, now.instant));
        admission.judge_account(now.instant, account) == Verdict::Pass
    }

    /// Puts off somebody who has.
    pub(super) fn throttle(&mut self, now: Now, server: ServerId, request: &Request) {
        self.counters.throttled += 1;
        self.later(now, server, request, Sender::Known);
    }

    /// The name of the trunk that sent this, if one did.
    pub(super) fn trunk_of(&self, flow: &Flow, request: &Request) -> Option<String> {
        let From(from) = request.headers.from().ok()?;
        let domain = from.uri.as_sip().map(|uri| &uri.host);
        let trunk = self.carriers.of(&self.settings, flow, domain)?;
        Some(trunk.name.clone())
    }

    /// What every request outside a dialog is refused for (RFC 3261 §8.2).
    pub(super) fn unserved(&self, request: &Request) -> Option<Response> {
        // A call may go to an emergency service, which is a URN (RFC 5031); the dial plan judges that.
        if matches!(request.uri, Uri::Other(_)) && request.method != Method::Invite {
            return Some(request.response(Status::UNSUPPORTED_URI_SCHEME));
        }
        match request.headers.opt::<Require>() {
            Ok(required) => {
                let known = match request.method {
                    Method::Register => KNOWN,
                    Method::Invite => call::OPTIONS,
                    _ => &[],
                };
                let known = |option: &Token| known.iter().any(|known| option.eq_ignore_ascii_case(known));
                let mut options = required.map(|Require(options)| options).unwrap_or_default();
                options.retain(|option| !known(option));
                if !options.is_empty() {
                    let mut response = request.response(Status::BAD_EXTENSION);
                    response.headers.put(&Unsupported(options));
                    return Some(response);
                }
            }
            Err(_) => return Some(request.response(Status::BAD_REQUEST)),
        }
        // RFC 3261 §10.3 item 1: a registrar of another domain is not here.
        let elsewhere = match &request.uri {
            Uri::Sip(uri) => !self.settings.is_ours(&uri.host, uri.port),
            Uri::Tel(_) | Uri::Other(_) => true,
        };
        // Nor is one of addresses that no phone can have (item 5).
        let foreign = || matches!(request.headers.to_sip(), Ok(None));
        if request.method == Method::Register && (elsewhere || foreign()) {
            return Some(request.response(Status::NOT_FOUND));
        }
        let hops = request.headers.opt::<MaxForwards>();
        match (hops, &request.method) {
            (Err(_), _) => Some(request.response(Status::BAD_REQUEST)),
            (Ok(Some(MaxForwards(0))), Method::Invite) => Some(request.response(Status::TOO_MANY_HOPS)),
            _ => None,
        }
    }

    /// The answer to MESSAGE and SUBSCRIBE.
    pub(super) fn kept_on_xmpp(&self, request: &Request) -> Response {
        let domain = match &self.settings.at_home(request.uri.clone()) {
            Uri::Sip(uri) => uri.host.to_string(),
            Uri::Tel(_) | Uri::Other(_) => String::new(),
        };
        let answers = self.settings.answers.iter().find(|answers| answers.domain == domain);
        let status = match request.method {
            Method::Message => answers.map_or(Status::METHOD_NOT_ALLOWED, |answers| answers.message),
            _ if request
                .headers
                .one::<Event>()
                .is_ok_and(|event| event.package.as_str() == "presence") =>
            {
                answers.map_or(Status::BAD_EVENT, |answers| answers.presence)
            }
            _ => Status::BAD_EVENT,
        };
        if status == Status::METHOD_NOT_ALLOWED {
            call::not_allowed(request)
        } else {
            request.response(status)
        }
    }

    /// Asks for proof, or has the proof that came judged.
    pub(super) fn authenticate(&mut self, now: Now, server: ServerId, flow: Flow, request: Request) {
        let realm = realm(&self.settings, &request);
        match auth::credentials(&request, realm, scheme(&request.method)) {
            Ok(credentials) => {
                let query = Query::Login(credentials.login());
                let waiting = Box::new(Unproved {
                    server,
                    flow,
                    request,
                    credentials,
                    came: now.instant,
                    allowance: self.allowance,
                });
                if let Err(Fetching::Proof(unproved)) = self.fetch(query, Fetching::Proof(waiting)) {
                    self.overloaded(now, server, &unproved.request, self.sender(&flow));
                }
            }
            Err(_) => self.challenge(now, server, flow, &request, false),
        }
    }

    /// The caller gave up while the store was asked who they are.
    pub(super) fn give_up_proof(&mut self, now: Now, invite: ServerId) {
        let waiting = self.fetches.iter().find_map(|(id, fetching)| match fetching {
            Fetching::Proof(unproved) if unproved.server == invite => Some(*id),
            _ => None,
        });
        let asking = self.asking.iter().find_map(|(id, asking)| match asking {
            Asking::Proof(unproved, _) if unproved.server == invite => Some(*id),
            _ => None,
        });
        let unproved = match (
            waiting.and_then(|id| self.fetches.remove(&id)),
            asking.and_then(|id| self.asking.remove(&id)),
        ) {
            (Some(Fetching::Proof(unproved)), _) | (_, Some(Asking::Proof(unproved, _))) => unproved,
            _ => return,
        };
        self.respond(now, invite, unproved.request.response(Status::REQUEST_TERMINATED));
    }

    pub(super) fn judge(&mut self, now: Now, unproved: Box<Unproved>, answer: Result<Option<Arc<User>>, ()>) {
        let &Unproved {
            server,
            flow,
            ref request,
            ref credentials,
            allowance,
            ..
        } = &*unproved;
        self.allowance = allowance;
        let Ok(user) = answer else {
            return self.overloaded(now, server, request, self.sender(&flow));
        };
        let realm = realm(&self.settings, request);
        match self
            .authenticator
            .prove(now.wall, request, flow.into(), realm, credentials, user.as_ref())
        {
            Ok(proof) => self.ask(now, Asking::Proof(unproved, proof)),
            Err(why) => self.refuse_proof(now, unproved, why),
        }
    }

    /// A proof that does not hold: told at once if it is right and only late, else when it is time.
    pub(super) fn refuse_proof(&mut self, now: Now, unproved: Box<Unproved>, why: Rejection) {
        let &Unproved {
            server,
            flow,
            ref request,
            came,
            allowance,
            ..
        } = &*unproved;
        self.allowance = allowance;
        if why.is_stale() {
            return self.challenge(now, server, flow, request, true);
        }
        self.counters.unproved += 1;
        debug!(?why, "proof refused");
        let at = came + REFUSED_AFTER;
        if at <= now.instant || self.refused.len() >= MAX_REFUSED {
            return self.challenge(now, server, flow, request, false);
        }
        self.refused.insert((at, server), unproved);
    }

    /// Answers those whose proof has failed, when it is time.
    pub(super) fn refuse_due(&mut self, now: Now) {
        while let Some(entry) = self.refused.first_entry()
            && entry.key().0 <= now.instant
        {
            let unproved = entry.remove();
            self.allowance = unproved.allowance;
            self.challenge(now, unproved.server, unproved.flow, &unproved.request, false);
            self.settle(now);
        }
    }

    pub(super) fn register(&mut self, now: Now, server: ServerId, flow: Flow, request: &Request, proof: Authenticated) {
        let entropy = &mut self.entropy;
        let mut response = self.registrar.handle_register(now, flow, request, proof, entropy);
        if response.status.is_success() {
            self.counters.registered += 1;
            self.give_route(flow, request, &mut response);
        } else {
            self.counters.unregistered += 1;
        }
        self.respond(now, server, response);
    }

    /// Tells a phone that knows routes by which one its requests are to come (RFC 3608 §6.3).
    fn give_route(&self, flow: Flow, request: &Request, response: &mut Response) {
        let supported = request.headers.opt::<Supported>().ok().flatten().unwrap_or_default();
        let Some(listener) = self.settings.listener(flow.listener) else {
            return;
        };
        if !supported.has("path") && !supported.has("outbound") {
            return;
        }
        let mut uri = SipUri::new(&self.flow_tokens.seal(&flow), Host::from(listener.public.ip()));
        uri.port = Some(listener.public.port());
        if let Some(transport) = flow.transport.parameter() {
            uri.params.set("transport", Some(transport));
        }
        uri.params.set("lr", None);
        response.headers.put(&ServiceRoute(NameAddr::new(Uri::Sip(uri))));
    }

    /// Why a request may not come by the route that it names: one of ours that we did not make, or that was made for
    /// another flow, which is gone then (RFC 5626 §5.3.1).
    pub(super) fn misrouted(&self, flow: &Flow, request: &Request) -> Option<Response> {
        let routes = match request.headers.list::<Route>() {
            Ok(routes) => routes,
            Err(_) => return Some(request.response(Status::BAD_REQUEST)),
        };
        let Some(Uri::Sip(first)) = routes.first().map(|Route(first)| &first.uri) else {
            return None;
        };
        let token = first.user_decoded().filter(|user| user.len() >= SHORTEST_TOKEN)?;
        if !self.settings.is_ours(&first.host, first.port) {
            return None;
        }
        match self.flow_tokens.open(&token) {
            Some(made_for) if made_for == *flow => None,
            Some(_) => Some(request.response(Status::FLOW_FAILED)),
            None => Some(request.response(Status::FORBIDDEN)),
        }
    }

    /// A proved user calls: under an address of their own, or not at all.
    pub(super) fn call_by(
        &mut self,
        now: Now,
        server: ServerId,
        flow: Flow,
        request: Request,
        proof: &Authenticated,
        calls: usize,
    ) {
        let user = Arc::clone(proof.user());
        let from = request.headers.from().ok();
        let own = from
            .as_ref()
            .and_then(|From(from)| proof.address(&self.settings.at_home(from.uri.clone())));
        // An anonymous From (RFC 3323 §4.1.1.3) says nothing that could be wrong.
        let anonymous = from
            .as_ref()
            .is_some_and(|From(from)| crate::core::identity::is_anonymous(from));
        let aor = match (own, anonymous, user.aors.first()) {
            (Some(own), _, _) => own.clone(),
            (None, true, Some(first)) => first.clone(),
            _ => {
                self.counters.forbidden += 1;
                return self.respond(now, server, request.response(Status::FORBIDDEN));
            }
        };
        self.invite(now, server, flow, request, Caller::User { user, aor }, calls);
    }
}

/// The extensions that a phone may require of a registrar.
const KNOWN: &[&str] = &["path", "outbound", "gruu"];
/// A user part of a Route that is shorter is no token that anybody meant for one.
const SHORTEST_TOKEN: usize = 32;
/// The most requests whose refusal waits; further ones are refused at once.
const MAX_REFUSED: usize = 16_384;
