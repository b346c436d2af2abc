//! Where users' phones are: bindings of addresses of record to contacts (RFC 3261 §10.3).
//!
//! # Use
//! Call one `handle_*` or other method with `now`, then drain [`poll_output`](Registrar::poll_output), then read
//! [`poll_timeout`](Registrar::poll_timeout). Time never goes backwards.
//!
//! # Trust
//! Only a proof opens the registrar, and only for the addresses that the user of the proof holds. What a contact says
//! about hosts and ports is kept and given back to the phone, but requests go to the flow that the REGISTER came by.
//!
//! # Left out
//! - The To tag of responses: whoever answers sets it, as everywhere.
//! - Service-Route (RFC 3608): whoever answers knows our addresses.
//!
//! # Invariants
//! - A REGISTER is carried out whole or not at all.
//! - An address has at most as many bindings as [`Settings`] say, and so has the whole.
//! - `Changed` comes when and only when the set of a user's registered addresses has changed.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::sip::typed::{MinExpires, Unsupported};
use cusax_common::core::sip::{Request, Response, Uri, Value};
use cusax_common::core::time::Now;
use cusax_common::core::user::{Aor, User};
use jid::BareJid;
use smallvec::SmallVec;

use crate::core::auth::Authenticated;
use crate::core::flow::Flow;
use crate::core::ids::IdMap;

mod agents;
mod answer;
mod binding;
mod clock;
mod contact;
mod date;
mod gruu;
mod plan;
mod request;
mod tables;

use agents::Agents;
use binding::Restored;
pub use binding::{Binding, MAX_CALL_ID, MAX_PATH, MAX_USER_AGENT, STATE_PREFIX};
use clock::{Clock, Tick};
pub use contact::{KeptContact, MAX_CONTACT};
use gruu::Gruus;
pub use gruu::{Device, Gruu, NotOurs};
use request::{Asked, Refusal};
use tables::{Here, Registration};

/// What an operator decides about registrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most bindings of one address; one more is refused with 403.
    pub max_contacts: usize,
    /// The most bindings of all; one more is refused with 503.
    pub max_bindings: usize,
    /// What is asked for less than this is refused with 423. At most one hour counts (RFC 3261 §10.3 item 7).
    pub min_expires: Duration,
    /// What is granted to whoever asks for nothing.
    pub default_expires: Duration,
    /// The most that is granted.
    pub max_expires: Duration,
    /// Who is told of each binding that is set or goes.
    pub keeping: Keeping,
}

/// Whether there is a shared state that outlives this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// There is: `Stored` and `Removed` are told.
    Shared,
    /// There is none, so nobody needs to hear of them.
    Alone,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_contacts: 5,
            max_bindings: 200_000,
            min_expires: Duration::from_secs(60),
            default_expires: Duration::from_secs(3600),
            max_expires: Duration::from_secs(7200),
            keeping: Keeping::Shared,
        }
    }
}

/// What is to be done, oldest first.
#[derive(Clone, Debug)]
pub enum Output {
    /// A phone came to or went from one of a user's addresses.
    Changed {
        /// Whose.
        jid: BareJid,
        /// Every address at which a phone is registered now, in the order of the user record.
        aors: Vec<Aor>,
    },
    /// A binding is to be kept in the shared state, for [`Registrar::restore`].
    Stored {
        /// Begins with [`STATE_PREFIX`].
        key: String,
        /// The binding.
        value: Bytes,
        /// How long it is good.
        ttl: Duration,
    },
    /// A binding is to be removed from the shared state.
    Removed {
        /// As in `Stored`.
        key: String,
    },
    /// What a registrar that [follows](Registrar::follow) this one is to know.
    Copied(Arc<Copied>),
}

/// The bindings of one address, for a registrar that follows the one where they are made.
#[derive(Clone, Debug)]
pub struct Copied {
    aor: Aor,
    jid: BareJid,
    place: u8,
    /// None when the last one went. They do not expire by themselves.
    bindings: Vec<Binding>,
}

/// All bindings.
#[derive(Debug)]
pub struct Registrar {
    settings: Settings,
    /// Whether another one follows it.
    followed: bool,
    gruus: Gruus,
    clock: Clock,
    /// Boxed, since the table has room for many more.
    registrations: IdMap<Aor, Box<Registration>>,
    /// The registered addresses of each user, in the order of the user record.
    users: IdMap<Arc<BareJid>, Addresses>,
    /// The addresses with a binding by each flow.
    flows: HashMap<Flow, Here>,
    agents: Agents,
    total: usize,
    /// Every registration once, at the time that it notes.
    deadlines: BTreeSet<(Tick, Aor)>,
    /// The Date of the last answer, and the second that it is of.
    date: Option<(u64, Value)>,
    outputs: VecDeque<Output>,
    dropped: u64,
}

/// Nearly everybody has one.
type Addresses = SmallVec<[Aor; 1]>;

impl Registrar {
    /// A registrar without bindings. `secret` seals temporary GRUUs.
    #[must_use]
    pub fn new(settings: Settings, secret: &[u8; 32]) -> Self {
        Self {
            settings,
            followed: false,
            gruus: Gruus::new(secret),
            clock: Clock::default(),
            registrations: IdMap::default(),
            users: IdMap::default(),
            flows: HashMap::new(),
            agents: Agents::default(),
            total: 0,
            deadlines: BTreeSet::new(),
            date: None,
            outputs: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Carries out a REGISTER for the user of the proof, and gives the answer.
    ///
    /// The caller has seen to it that the Request-URI is one of our domains and that nothing is required that we do not
    /// support (RFC 3261 §10.3 items 1 and 2).
    pub fn handle_register<E: Entropy>(
        &mut self,
        now: Now,
        flow: Flow,
        request: &Request,
        proof: Authenticated,
        entropy: &mut E,
    ) -> Response {
        match self.register(now, flow, request, &proof, entropy) {
            Ok(response) => response,
            Err(refusal) => {
                let mut response = request.response(refusal.status());
                match refusal {
                    Refusal::TooBrief => response.headers.put(&MinExpires(
                        u32::try_from(self.settings.min_expires.as_secs()).unwrap_or(u32::MAX),
                    )),
                    Refusal::PathUnknown => response.headers.put(&Unsupported::of(&["path"])),
                    _ => {}
                }
                response
            }
        }
    }

    /// What a request's address leads to, where it is a GRUU (RFC 5627 §6.1); `None` where it is none.
    ///
    /// # Errors
    /// It looks like one, and is none of ours or no longer good.
    #[must_use]
    pub fn gruu(&self, uri: &Uri) -> Option<Result<Gruu, NotOurs>> {
        let Uri::Sip(uri) = uri else { return None };
        let found = self.gruus.read(uri)?;
        Some(found.and_then(|gruu| {
            match gruu.device {
                // It ends with the registration; a public one does not.
                Device::Temporary(_)
                    if !self
                        .bindings(&gruu.aor)
                        .iter()
                        .any(|one| one.is_device(&gruu.aor, &gruu.device)) =>
                {
                    Err(NotOurs)
                }
                _ => Ok(gruu),
            }
        }))
    }

    /// The phones of an address, the preferred one first.
    #[must_use]
    pub fn bindings(&self, aor: &Aor) -> &[Binding] {
        self.registrations
            .get(aor)
            .map_or(&[], |registration| registration.bindings.as_slice())
    }

    /// The addresses at which a user's phones are registered, in the order of the user record.
    #[must_use]
    pub fn registered(&self, jid: &BareJid) -> Vec<Aor> {
        self.users.get(jid).map(|aors| aors.to_vec()).unwrap_or_default()
    }

    /// Every user with a registered phone, and their addresses.
    #[must_use]
    pub fn everybody(&self) -> Vec<(BareJid, Vec<Aor>)> {
        let mut everybody: Vec<_> = self
            .users
            .iter()
            .map(|(jid, aors)| (BareJid::clone(jid), aors.to_vec()))
            .collect();
        everybody.sort_unstable();
        everybody
    }

    /// How many bindings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.total
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Whether every count, index and deadline is that of the bindings; for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let by_flow = |aor, flow| self.bindings(aor).iter().any(|binding| binding.flow == flow);
        let queued = |aor| self.registrations.get(aor).map(|known| known.queued);
        let live = |known: &Registration| known.bindings.as_slice().len();
        self.total == self.registrations.values().map(|known| live(known)).sum::<usize>()
            && self.deadlines.len() == self.registrations.len()
            && self.deadlines.iter().all(|(at, aor)| queued(aor) == Some(*at))
            && self
                .registrations
                .values()
                .all(|known| known.queued <= known.deadline())
            && self.users.values().map(SmallVec::len).sum::<usize>() == self.registrations.len()
            && self.registrations.iter().all(|(aor, known)| {
                let named = self.users.get(&known.jid);
                named.is_some_and(|aors| aors.contains(aor) && aors.is_sorted_by_key(|aor| self.place(aor)))
                    && known
                        .bindings
                        .as_slice()
                        .iter()
                        .all(|binding| self.by_flow(&binding.flow).any(|here| here == aor))
            })
            && self
                .flows
                .iter()
                .all(|(flow, here)| here.iter().next().is_some() && here.iter().all(|aor| by_flow(aor, *flow)))
    }

    /// How many values out of the shared state were no bindings of ours.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes a binding out of the shared state, where anybody may have written. What is not sound is dropped and
    /// counted; what is known here is newer and stays. `possible` tells whether a phone can have come by a flow.
    ///
    /// Whether the user still holds the address is not known here: see [`keep_user`](Self::keep_user).
    pub fn restore(&mut self, now: Now, key: &str, value: &[u8], possible: impl FnOnce(&Flow) -> bool) {
        let tick = self.clock.read(now.instant);
        let read = Restored::read(now.wall, tick, key, value, self.settings.max_expires);
        let Some(restored) = read.filter(|restored| possible(&restored.binding.flow)) else {
            self.dropped += 1;
            return;
        };
        let Restored {
            jid,
            aor,
            place,
            binding,
        } = restored;
        let current = self.registrations.get(&aor);
        let fits = self.total < self.settings.max_bindings
            && current.is_none_or(|known| {
                let bindings = known.bindings.as_slice();
                *known.jid == jid
                    && bindings.len() < self.settings.max_contacts
                    && !bindings.iter().any(|one| one.contact.is_for(&binding.contact))
            });
        if !fits {
            self.dropped += 1;
            return;
        }
        if current.is_none() {
            self.enter(&aor, &jid, place);
        }
        self.edit(now, &aor, Some((&jid, place)), |edit| edit.put(binding));
    }

    /// From now on every change is told for others that follow; before there is any.
    pub fn be_followed(&mut self) {
        self.followed = true;
    }

    /// Takes over the bindings of an address from the registrar that this one follows: it leads to the same phones, and
    /// decides nothing.
    pub fn follow(&mut self, now: Now, copied: &Copied) {
        let Copied {
            aor,
            jid,
            place,
            bindings,
        } = copied;
        if !bindings.is_empty() && !self.registrations.contains_key(aor) {
            self.enter(aor, jid, *place);
        }
        self.edit(now, aor, Some((jid, *place)), |edit| {
            edit.retain(|_| false);
            for binding in bindings {
                edit.put(binding.clone());
            }
        });
        // Who must know has heard it from the other one.
        self.outputs.clear();
    }

    /// A user was removed: their phones are no longer reachable.
    pub fn forget_user(&mut self, now: Now, jid: &BareJid) {
        for aor in self.registered(jid) {
            self.edit(now, &aor, None, |edit| edit.retain(|_| false));
        }
    }

    /// A user's record is this now: phones at addresses that they no longer hold are no longer reachable.
    pub fn keep_user(&mut self, now: Now, user: &User) {
        for aor in self.registered(&user.jid) {
            if !user.aors.contains(&aor) {
                self.edit(now, &aor, None, |edit| edit.retain(|_| false));
            }
        }
    }

    /// Whether a phone registered by this flow.
    #[must_use]
    pub fn has_flow(&self, flow: &Flow) -> bool {
        self.flows.contains_key(flow)
    }

    /// The addresses with a binding by this flow.
    fn by_flow(&self, flow: &Flow) -> impl Iterator<Item = &Aor> {
        self.flows.get(flow).into_iter().flat_map(Here::iter)
    }

    /// A connection is closed: phones that registered by it cannot be reached until they come again (RFC 5626 §5.3).
    pub fn handle_flow_closed(&mut self, now: Now, flow: Flow) {
        if !flow.transport.reliable() {
            return;
        }
        let gone: Vec<Aor> = self.by_flow(&flow).cloned().collect();
        for aor in gone {
            self.edit(now, &aor, None, |edit| edit.retain(|binding| binding.flow != flow));
        }
    }

    /// Tells that time has come to `now`. Calling early does no harm.
    pub fn handle_timeout(&mut self, now: Now) {
        let tick = self.clock.read(now.instant);
        while let Some((at, _)) = self.deadlines.first()
            && *at <= tick
            && let Some((_, aor)) = self.deadlines.pop_first()
        {
            if let Some(known) = self.registrations.get_mut(&aor) {
                // Whatever is left is queued again, at its own time.
                known.queued = Tick::NEVER;
            }
            self.edit(now, &aor, None, |edit| edit.retain(|binding| binding.expires > tick));
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted. It may be that nothing is over by then.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().and_then(|(at, _)| self.clock.instant(*at))
    }

    fn register<E: Entropy>(
        &mut self,
        now: Now,
        flow: Flow,
        request: &Request,
        proof: &Authenticated,
        entropy: &mut E,
    ) -> Result<Response, Refusal> {
        let asked = Asked::read(request, proof)?;
        let tick = self.clock.read(now.instant);
        let plan = self.judge(now, tick, flow, &asked, entropy)?;
        let outbound = plan.outbound;
        let (jid, place) = (&asked.user.jid, asked.place());
        let is_known = !plan.fates.is_empty();
        if is_known || !plan.set.is_empty() {
            if !is_known {
                self.enter(asked.aor, jid, place);
            }
            self.edit(now, asked.aor, Some((jid, place)), |edit| {
                edit.carry_out(plan, &asked, flow);
            });
        }
        Ok(self.answer(now, tick, request, &asked, outbound, entropy))
    }

    /// Where an address stands in the record of its user.
    fn place(&self, aor: &Aor) -> Option<u8> {
        self.registrations.get(aor).map(|known| known.place)
    }
}

/// The canonical form of an address: no parameters, no port, no escapes that need not be (RFC 3261 §10.3 item 5).
#[must_use]
pub fn aor_of(uri: &Uri) -> Option<Aor> {
    let Uri::Sip(uri) = uri else { return None };
    Aor::new(&uri.user_decoded()?, &uri.host.to_string()).ok()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
mod outbound_tests;

#[cfg(test)]
mod refresh_tests;
