//! What the endpoint itself answers: challenges, refusals, and the tag of each response.

use cusax_common::core::entropy::Entropy;
use cusax_common::core::sip::typed::{ProxyAuthenticate, RetryAfter, To, WwwAuthenticate};
use cusax_common::core::sip::{Request, Response, Status};
use cusax_common::core::time::Now;

use super::{Endpoint, RETRY_SECONDS, TAG_BYTES, scheme};
use crate::core::auth::Header;
use crate::core::flow::Flow;
use crate::core::transaction::ServerId;

impl<E: Entropy> Endpoint<E> {
    pub(super) fn challenge(&mut self, now: Now, server: ServerId, flow: Flow, request: &Request, stale: bool) {
        self.counters.challenged += 1;
        let (realm, algorithms) = (self.realm(request), self.algorithms(flow));
        let scheme = scheme(&request.method);
        let mut response = request.response(match scheme {
            Header::Authorization => Status::UNAUTHORIZED,
            Header::ProxyAuthorization => Status::PROXY_AUTHENTICATION_REQUIRED,
        });
        let entropy = &mut self.entropy;
        for challenge in self
            .authenticator
            .challenge(now.wall, entropy, &realm, flow.transport, &algorithms, stale)
        {
            match scheme {
                Header::Authorization => response.headers.put(&WwwAuthenticate(challenge)),
                Header::ProxyAuthorization => response.headers.put(&ProxyAuthenticate(challenge)),
            }
        }
        self.respond_once(server, response);
    }

    pub(super) fn overloaded(&mut self, server: ServerId, request: &Request) {
        self.counters.overloaded += 1;
        self.later(server, request);
    }

    /// 503: the sender may try again.
    pub(super) fn later(&mut self, server: ServerId, request: &Request) {
        let mut response = request.response(Status::SERVICE_UNAVAILABLE);
        response.headers.put(&RetryAfter::new(RETRY_SECONDS));
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

    /// Answers outside any transaction; each copy of the request gets the same tag.
    pub(super) fn respond_statelessly(&mut self, flow: Flow, request: &Request, status: Status) {
        let mut response = request.response(status);
        if let Ok(mut to) = response.headers.one::<To>()
            && to.tag().is_none()
        {
            to.set_tag(&self.transactions.tag(request));
            response.headers.replace(&to);
        }
        self.transactions.reply(flow, &response);
    }

    pub(super) fn tag(&mut self, response: &mut Response) {
        if response.status == Status::TRYING {
            return;
        }
        if let Ok(To(mut to)) = response.headers.one::<To>()
            && to.params.value("tag").is_none()
        {
            to.params.set("tag", Some(&self.entropy.token::<TAG_BYTES>()));
            response.headers.replace(&To(to));
        }
    }
}
