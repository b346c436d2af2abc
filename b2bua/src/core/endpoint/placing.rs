//! Calls that we begin ourselves: somebody whom we trust says that a user wants to be called, and whom they want to speak
//! with.

use std::sync::Arc;

use cusax_common::core::bridge::ToXmpp;
use cusax_common::core::dialplan::Dialled;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::id::SessionId;
use cusax_common::core::sip::{Status, Uri};
use cusax_common::core::time::Now;
use cusax_common::core::user::User;
use jid::BareJid;

use super::{Endpoint, Fetching, Output, PlaceId, Query};
use crate::core::call::{Call, Caller};

impl<E: Entropy> Endpoint<E> {
    /// A user wants to be called, and then joined with somebody: an address, a number, or what stands before the `@` of an
    /// address of our first domain. [`Output::Placed`], or the bridge, says what becomes of it.
    pub fn handle_place(&mut self, now: Now, id: PlaceId, user: &BareJid, to: &str) {
        let target = self.target(to);
        let fetched = match target {
            Some(_) if self.draining => Err(Status::SERVICE_UNAVAILABLE),
            Some(target) => self
                .fetch(Query::Holder(user.clone()), Fetching::Placing(id, Box::new(target)))
                .map_err(|_| Status::SERVICE_UNAVAILABLE),
            None => Err(Status::ADDRESS_INCOMPLETE),
        };
        if let Err(status) = fetched {
            self.tell_placed(id, Err(status));
        }
        self.settle(now);
    }

    fn tell_placed(&mut self, id: PlaceId, placed: Result<SessionId, Status>) {
        self.outputs.push_back(match id {
            PlaceId::Shell(_) => Output::Placed { id, placed },
            PlaceId::Bridge(id) => Output::Bridge(ToXmpp::Placed {
                id,
                session: placed.ok(),
                status: placed.err().map(Status::code),
            }),
        });
    }

    fn target(&self, to: &str) -> Option<Uri> {
        let to: String = to.chars().filter(|c| !c.is_whitespace()).collect();
        let has_scheme = ["sip:", "sips:", "tel:", "urn:"].iter().any(|scheme| {
            to.get(..scheme.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(scheme))
        });
        let uri = match (has_scheme, to.contains('@')) {
            (true, _) => to,
            (false, true) => format!("sip:{to}"),
            (false, false) => format!("sip:{to}@{}", self.settings.domains.first()?),
        };
        uri.parse().ok()
    }

    /// The store has said who wants to be called.
    pub(super) fn place(&mut self, now: Now, id: PlaceId, target: Uri, answer: Result<Option<Arc<User>>, ()>) {
        let placed = match answer {
            Err(()) => Err(Status::SERVICE_UNAVAILABLE),
            Ok(None) => Err(Status::NOT_FOUND),
            Ok(Some(user)) => self.begin_placed(now, &user, target),
        };
        self.tell_placed(id, placed);
    }

    fn begin_placed(&mut self, now: Now, user: &Arc<User>, target: Uri) -> Result<SessionId, Status> {
        let dialled = self.settings.dial(&self.settings.at_home(target.clone()), true);
        if self.draining || self.calls.len() >= self.max_calls() {
            self.counters.overloaded += 1;
            return Err(Status::SERVICE_UNAVAILABLE);
        }
        let dialled = dialled.map_err(|reject| Status::new(reject.status()).unwrap_or(Status::ADDRESS_INCOMPLETE))?;
        // Whoever needs help calls by themselves: nobody else may make them.
        if let Dialled::Emergency { .. } = dialled {
            return Err(Status::FORBIDDEN);
        }
        let there = user
            .aors
            .iter()
            .find_map(|aor| Some((aor, self.registrar.bindings(aor).first()?.flow)));
        let (aor, flow) = there.ok_or(Status::TEMPORARILY_UNAVAILABLE)?;
        let caller = Caller::User {
            user: Arc::clone(user),
            aor: aor.clone(),
        };
        let calls = self.begun.get(&user.jid).copied().unwrap_or_default();
        if self.is_too_many(&caller, calls) {
            self.counters.throttled += 1;
            return Err(Status::FORBIDDEN);
        }
        let launched = self.launch(now, None, None, |cx, id, session| {
            Ok(Call::place(cx, id, session, user, aor, flow, target, &dialled))
        });
        launched.map_err(|refused| refused.0.status)
    }
}
