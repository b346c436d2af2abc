//! What the endpoint itself answers: challenges, refusals, and the tag of each response.

use bytes::Bytes;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::sip::typed::RetryAfter;
use cusax_common::core::sip::{HeaderName, Method, Request, Response, Status};
use cusax_common::core::time::Now;

use super::{Endpoint, Output, RETRY_SECONDS, TAG_BYTES, realm, scheme};
use crate::core::auth::{Authenticator, Header};
use crate::core::call;
use crate::core::flow::Flow;
use crate::core::transaction::{Refusal, ServerId};

/// Who is put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// Has proved to be somebody, with this request or by a registration from there.
    Known,
    /// Anybody.
    Stranger,
}

impl<E: Entropy> Endpoint<E> {
    pub(super) fn challenge(&mut self, now: Now, server: ServerId, flow: Flow, request: &Request, stale: bool) {
        self.counters.challenged += 1;
        let (status, name) = match scheme(&request.method) {
            Header::Authorization => (Status::UNAUTHORIZED, HeaderName::WWW_AUTHENTICATE),
            Header::ProxyAuthorization => (Status::PROXY_AUTHENTICATION_REQUIRED, HeaderName::PROXY_AUTHENTICATE),
        };
        let mut response = request.response(status);
        self.tag(&mut response);
        let realm = realm(&self.settings, request);
        let listener = self.settings.listener(flow.listener);
        let algorithms = listener.map_or(&[][..], |listener| &listener.algorithms);
        // Where there is room for some alone it is the last ones, which most phones know.
        let mut room = self.allowance.saturating_sub(response.written_len());
        let fitting = algorithms.iter().rev().take_while(|algorithm| {
            let challenge = Authenticator::challenge_len(realm, **algorithm, stale);
            let length = name.as_str().len() + ": \r\n".len() + challenge;
            let fits = length <= room;
            room = room.saturating_sub(length);
            fits
        });
        let fitting = fitting.count();
        if fitting == 0 {
            self.counters.withheld += 1;
            return self.transactions.forget(server);
        }
        let fitting = &algorithms[algorithms.len() - fitting..];
        let entropy = &mut self.entropy;
        let challenges = self
            .authenticator
            .challenge(now.wall, entropy, realm, flow.into(), fitting, stale);
        for challenge in challenges {
            response.headers.push(name.clone(), challenge);
        }
        // A final response was sent before: the first one stands.
        let _ = self.transactions.respond_once(server, &response);
    }

    pub(super) fn overloaded(&mut self, now: Now, server: ServerId, request: &Request, sender: Sender) {
        self.counters.overloaded += 1;
        self.later(now, server, request, sender);
    }

    /// 503: the sender may try again, by another request. A copy of this one is answered alike, or else it would be
    /// carried out for somebody who has heard that it was not. A stranger is not worth that memory.
    pub(super) fn later(&mut self, now: Now, server: ServerId, request: &Request, sender: Sender) {
        let mut response = request.response(Status::SERVICE_UNAVAILABLE);
        response.headers.put(&RetryAfter::new(RETRY_SECONDS));
        match sender {
            Sender::Stranger => self.respond_once(server, response),
            Sender::Known => {
                self.tag(&mut response);
                // A final response was sent before: the first one stands.
                let _ = self.transactions.respond_for_good(now.instant, server, &response);
            }
        }
    }

    /// What is known of whoever has not proved yet who they are.
    pub(super) fn sender(&self, flow: &Flow) -> Sender {
        if self.registrar.has_flow(flow) {
            Sender::Known
        } else {
            Sender::Stranger
        }
    }

    /// Tells that we are there, and what we can do if the request was long enough for that.
    pub(super) fn tell_capabilities(&mut self, server: ServerId, request: &Request) {
        let mut response = call::capabilities(request);
        self.tag(&mut response);
        if response.written_len() > self.allowance {
            response = request.response(Status::OK);
        }
        self.respond_once(server, response);
    }

    /// Answers whoever has proved nothing: once, and without a memory of it (see [`Transactions::respond_once`]).
    pub(super) fn respond_once(&mut self, server: ServerId, mut response: Response) {
        self.tag(&mut response);
        // A final response was sent before: the first one stands.
        let _ = self.transactions.respond_once(server, &response);
    }

    /// Answers in a transaction; every response but 100 gets a To tag (RFC 3261 §8.2.6.2).
    pub(super) fn respond(&mut self, now: Now, server: ServerId, mut response: Response) {
        self.tag(&mut response);
        // A final response was sent before: the first one stands.
        let _ = self.transactions.respond(now.instant, server, &response);
    }

    /// Answers what cannot be read, where that can be done and is not too much.
    pub(super) fn malformed(&mut self, now: Now, flow: Flow, status: Option<Status>, request: Option<&Request>) {
        match (status, request) {
            (Some(status), Some(request)) if request.method != Method::Ack && self.may_turn_away(now, &flow) => {
                self.counters.malformed_answered += 1;
                self.respond_statelessly(flow, request.response(status), request);
            }
            _ => self.counters.malformed_dropped += 1,
        }
    }

    /// Answers a request that was given no transaction, unless that is too much.
    pub(super) fn turn_away(&mut self, now: Now, flow: Flow, request: &Request, why: Refusal) {
        match why {
            Refusal::Full => self.counters.overloaded += 1,
            Refusal::Unmatchable(_) => self.counters.unmatchable += 1,
        }
        if self.may_turn_away(now, &flow) {
            let mut response = request.response(why.status());
            if why == Refusal::Full {
                response.headers.put(&RetryAfter::new(RETRY_SECONDS));
            }
            self.respond_statelessly(flow, response, request);
        }
    }

    /// Answers outside any transaction; each copy of the request gets the same tag.
    fn respond_statelessly(&mut self, flow: Flow, mut response: Response, request: &Request) {
        response.set_tag(&self.transactions.tag(request));
        self.transactions.reply(flow, &response);
    }

    /// Sends an answer to a stranger, unless it would be worth asking for in somebody else's name.
    pub(super) fn reply(&mut self, flow: Flow, bytes: Bytes) {
        if bytes.len() <= self.allowance {
            self.outputs.push_back(Output::Transmit { flow, bytes });
        } else {
            self.counters.withheld += 1;
        }
    }

    pub(super) fn tag(&mut self, response: &mut Response) {
        if response.status == Status::TRYING {
            return;
        }
        response.set_tag_with(|| self.entropy.token::<TAG_BYTES>());
    }
}
