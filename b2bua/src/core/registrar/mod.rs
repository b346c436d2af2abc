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

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::sip::typed::{
    Contact, ContactList, Expires, MinExpires, NameAddr, Path, Require, Supported, Unsupported, Via,
};
use cusax_common::core::sip::{HeaderName, Request, Response, Status, Uri, Value};
use cusax_common::core::time::Now;
use cusax_common::core::user::{Aor, User};
use jid::BareJid;
use smallvec::SmallVec;

use crate::core::auth::Authenticated;
use crate::core::flow::Flow;
use crate::core::ids::IdMap;

mod agents;
mod binding;
mod contact;
mod date;
mod gruu;

use agents::Agents;
pub use binding::{Binding, MAX_CALL_ID, MAX_PATH, MAX_USER_AGENT, STATE_PREFIX};
use binding::{Restored, fits};
use contact::{FLOW_NUMBER, FlowNumbers, is_numbered};
pub use contact::{KeptContact, MAX_CONTACT};
use gruu::Gruus;
pub use gruu::{Device, Gruu, NotOurs};

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// All bindings.
#[derive(Debug)]
pub struct Registrar {
    settings: Settings,
    gruus: Gruus,
    registrations: IdMap<Aor, Registration>,
    /// The registered addresses of each user, in the order of the user record.
    users: IdMap<Arc<BareJid>, Addresses>,
    /// The addresses with a binding by each flow.
    flows: HashMap<Flow, Here>,
    agents: Agents,
    total: usize,
    /// When the first binding of each address expires.
    deadlines: BTreeSet<(Instant, Aor)>,
    outputs: VecDeque<Output>,
    dropped: u64,
}

/// Nearly everybody has one.
type Addresses = SmallVec<[Aor; 1]>;

/// The addresses with a binding by one flow: nearly always one, and very many behind one proxy.
#[derive(Debug)]
enum Here {
    One(Aor),
    #[expect(
        clippy::box_collection,
        reason = "so that the usual case, of which there are many, stays small"
    )]
    Many(Box<BTreeSet<Aor>>),
}

impl Here {
    fn iter(&self) -> impl Iterator<Item = &Aor> {
        let (one, many) = match self {
            Self::One(aor) => (Some(aor), None),
            Self::Many(aors) => (None, Some(aors.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn insert(&mut self, aor: &Aor) {
        match self {
            Self::One(here) if here == aor => {}
            Self::One(here) => *self = Self::Many(Box::new([here.clone(), aor.clone()].into())),
            Self::Many(aors) => drop(aors.insert(aor.clone())),
        }
    }

    /// Tells whether none is left.
    fn remove(&mut self, aor: &Aor) -> bool {
        match self {
            Self::One(here) => here == aor,
            Self::Many(aors) => {
                aors.remove(aor);
                aors.is_empty()
            }
        }
    }
}

#[derive(Debug)]
struct Registration {
    /// Shared with the table of users.
    jid: Arc<BareJid>,
    /// Where the address stands in the user record.
    place: u8,
    /// The preferred one first. Never empty.
    bindings: Box<[Binding]>,
}

impl Registration {
    fn deadline(&self) -> Option<Instant> {
        self.bindings.iter().map(|binding| binding.expires).min()
    }
}

impl Registrar {
    /// A registrar without bindings. `secret` seals temporary GRUUs.
    #[must_use]
    pub fn new(settings: Settings, secret: &[u8; 32]) -> Self {
        Self {
            settings,
            gruus: Gruus::new(secret),
            registrations: IdMap::default(),
            users: IdMap::default(),
            flows: HashMap::new(),
            agents: Agents::default(),
            total: 0,
            deadlines: BTreeSet::new(),
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
            Ok(granted) => self.listing(now, request, &granted, entropy),
            Err(refusal) => {
                let mut response = request.response(refusal.status());
                match refusal {
                    Refusal::TooBrief => response.headers.put(&MinExpires(seconds(self.settings.min_expires))),
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
            .map_or(&[], |registration| &registration.bindings)
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
        let first = |aor| self.registrations.get(aor).and_then(Registration::deadline);
        self.total
            == self
                .registrations
                .values()
                .map(|known| known.bindings.len())
                .sum::<usize>()
            && self.deadlines.len() == self.registrations.len()
            && self.deadlines.iter().all(|(at, aor)| first(aor) == Some(*at))
            && self.users.values().map(SmallVec::len).sum::<usize>() == self.registrations.len()
            && self.registrations.iter().all(|(aor, known)| {
                let named = self.users.get(&known.jid);
                named.is_some_and(|aors| aors.contains(aor) && aors.is_sorted_by_key(|aor| self.place(aor)))
                    && known
                        .bindings
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
        let read = Restored::read(now, key, value, self.settings.max_expires);
        let Some(restored) = read.filter(|restored| possible(&restored.binding.flow)) else {
            self.dropped += 1;
            return;
        };
        let Restored {
            jid,
            aor,
            place,
            mut binding,
        } = restored;
        let current = self.registrations.get(&aor);
        let fits = self.total < self.settings.max_bindings
            && current.is_none_or(|known| {
                *known.jid == jid
                    && known.bindings.len() < self.settings.max_contacts
                    && !known.bindings.iter().any(|one| one.contact.is_for(&binding.contact))
            });
        if !fits {
            self.dropped += 1;
            return;
        }
        let mut bindings = current.map(|known| known.bindings.to_vec()).unwrap_or_default();
        let jid = self.shared(&jid);
        binding.user_agent = binding.user_agent.map(|name| self.agents.share(&name));
        bindings.push(binding);
        self.commit(now, &aor, &jid, place, bindings);
    }

    /// A user was removed: their phones are no longer reachable.
    pub fn forget_user(&mut self, now: Now, jid: &BareJid) {
        for aor in self.registered(jid) {
            self.retain(now, &aor, |_| false);
        }
    }

    /// A user's record is this now: phones at addresses that they no longer hold are no longer reachable.
    pub fn keep_user(&mut self, now: Now, user: &User) {
        for aor in self.registered(&user.jid) {
            if !user.aors.contains(&aor) {
                self.retain(now, &aor, |_| false);
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
            self.retain(now, &aor, |binding| binding.flow != flow);
        }
    }

    /// Tells that time has come to `now`. Calling early does no harm.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((at, _)) = self.deadlines.first()
            && *at <= now.instant
            && let Some((_, aor)) = self.deadlines.pop_first()
        {
            self.retain(now, &aor, |binding| binding.expires > now.instant);
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn register<E: Entropy>(
        &mut self,
        now: Now,
        flow: Flow,
        request: &Request,
        proof: &Authenticated,
        entropy: &mut E,
    ) -> Result<Granted, Refusal> {
        let malformed = |_| Refusal::Malformed;
        let to = request.headers.to().map_err(malformed)?;
        let from = request.headers.from().map_err(malformed)?;
        let aor = proof.address(&to.uri).ok_or(Refusal::NotTheirs)?.clone();
        // Nobody registers for somebody else, not even in name.
        proof.address(&from.uri).ok_or(Refusal::NotTheirs)?;
        let call_id = request.headers.call_id().map_err(malformed)?;
        let sequence = request.headers.cseq().map_err(malformed)?.seq;
        if call_id.as_str().len() > MAX_CALL_ID {
            return Err(Refusal::Malformed);
        }
        let expires = request
            .headers
            .opt::<Expires>()
            .map_err(malformed)?
            .map(|Expires(seconds)| seconds);
        let list = request.headers.opt::<ContactList>().map_err(malformed)?;
        let supported = request
            .headers
            .opt::<Supported>()
            .map_err(malformed)?
            .unwrap_or_default();
        let path = request.headers.list::<Path>().map_err(malformed)?;
        let path: Vec<NameAddr> = path.into_iter().map(|Path(hop)| hop).collect();
        if !path.is_empty() && !supported.has("path") {
            // Somebody on the way put it there, and the phone would never know (RFC 3327 §5.3).
            return Err(Refusal::PathUnknown);
        }
        if !fits(&path) {
            return Err(Refusal::Malformed);
        }
        let direct = request.headers.list::<Via>().map_err(malformed)?.len() < 2;
        let first_hop_knows = direct || path.first().is_some_and(is_outbound);
        let numbers = if first_hop_knows {
            FlowNumbers::Kept
        } else {
            FlowNumbers::Ignored
        };
        let mut granted = Granted {
            aor,
            path,
            outbound: false,
            gruu: supported.has("gruu"),
        };
        let aor = &granted.aor;

        let jid = &proof.user().jid;
        // What a former owner of the address left behind does not count.
        let current = self.registrations.get(aor).filter(|known| *known.jid == *jid);
        let jid = current.map_or_else(|| self.shared(jid), |known| Arc::clone(&known.jid));
        let mut bindings: Vec<Binding> = current.map(|known| known.bindings.to_vec()).unwrap_or_default();
        bindings.retain(|binding| binding.expires > now.instant);
        let in_order = |binding: &Binding| *binding.call_id != *call_id.as_str() || binding.sequence < sequence;
        let known_call = bindings.iter().find(|binding| *binding.call_id == *call_id.as_str());
        let shared_call_id = known_call.map_or_else(|| call_id.as_str().into(), |known| Arc::clone(&known.call_id));
        match list {
            None => {}
            Some(ContactList::Star) => {
                if expires != Some(0) {
                    return Err(Refusal::Malformed);
                }
                if !bindings.iter().all(in_order) {
                    return Err(Refusal::OutOfOrder);
                }
                bindings.clear();
            }
            Some(ContactList::List(contacts)) => {
                if contacts.len() > 2 * self.settings.max_contacts {
                    return Err(Refusal::TooMany);
                }
                let lasting = |contact: &&Contact| contact.expires().or(expires) != Some(0);
                let (new, numbered) = (
                    contacts.iter().filter(lasting).count(),
                    contacts
                        .iter()
                        .filter(lasting)
                        .any(|contact| contact.params.has(FLOW_NUMBER)),
                );
                // One flow is registered at a time (RFC 5626 §6).
                if numbered && new > 1 {
                    return Err(Refusal::Malformed);
                }
                if numbered && !first_hop_knows && supported.has("outbound") {
                    return Err(Refusal::FirstHop);
                }
                for contact in contacts {
                    let time = self.granted(contact.expires().or(expires))?;
                    let known = bindings.iter().map(|binding| &binding.contact);
                    let kept = KeptContact::of(&contact, numbers, known).map_err(|_| Refusal::Malformed)?;
                    // What may only be reached securely is not registered by a way on which anybody can read along.
                    let exposed = matches!(&contact.uri, Uri::Sip(uri) if uri.secure) && !flow.transport.is_secure();
                    // It would ring itself for ever (RFC 5627 §5.1).
                    let leads_back = aor_of(&contact.uri).is_some_and(|own| own == *aor)
                        || matches!(self.gruu(&contact.uri), Some(Ok(gruu)) if gruu.aor == *aor);
                    if (leads_back || exposed) && !time.is_zero() {
                        return Err(Refusal::NotTheirs);
                    }
                    let numbered = numbers == FlowNumbers::Kept && is_numbered(&contact);
                    granted.outbound |= numbered && supported.has("outbound");
                    let epoch = epoch(&bindings, &kept, call_id.as_str(), entropy);
                    // One may be there by its address and another one by its instance.
                    while let Some(at) = bindings.iter().position(|binding| binding.contact.is_for(&kept)) {
                        // One that this very request has set may be named twice.
                        if !bindings[at].dirty && !in_order(&bindings[at]) {
                            return Err(Refusal::OutOfOrder);
                        }
                        bindings.remove(at);
                    }
                    if !time.is_zero() {
                        // All of the device's temporary GRUUs are of one epoch.
                        let instance = kept.instance();
                        for other in &mut bindings {
                            if instance.is_some() && other.instance() == instance && other.epoch != epoch {
                                other.epoch = epoch;
                                other.dirty = true;
                            }
                        }
                        bindings.push(Binding {
                            contact: kept,
                            flow,
                            user_agent: user_agent(request).map(|name| self.agents.share(&name)),
                            path: granted.path.clone().into(),
                            epoch,
                            registered: now.wall,
                            expires: now.instant + time,
                            call_id: Arc::clone(&shared_call_id),
                            sequence,
                            dirty: true,
                        });
                    }
                }
                if bindings.len() > self.settings.max_contacts {
                    return Err(Refusal::TooMany);
                }
            }
        }
        let before = self.registrations.get(aor).map_or(0, |known| known.bindings.len());
        if bindings.len() > before && self.total - before + bindings.len() > self.settings.max_bindings {
            return Err(Refusal::Full);
        }
        let place = proof.user().aors.iter().position(|held| held == aor);
        let place = place.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX);
        self.commit(now, aor, &jid, place, bindings);
        Ok(granted)
    }

    /// What is granted to somebody who asks for so many seconds, or for nothing.
    fn granted(&self, asked: Option<u32>) -> Result<Duration, Refusal> {
        let Some(asked) = asked else {
            return Ok(self.settings.default_expires);
        };
        let asked = Duration::from_secs(asked.into());
        if !asked.is_zero() && asked < HOUR && asked < self.settings.min_expires {
            return Err(Refusal::TooBrief);
        }
        Ok(asked.min(self.settings.max_expires))
    }

    fn listing<E: Entropy>(&self, now: Now, request: &Request, granted: &Granted, entropy: &mut E) -> Response {
        let mut response = request.response(Status::OK);
        let aor = &granted.aor;
        for binding in self.bindings(aor) {
            let mut line = String::with_capacity(binding.contact.as_str().len() + USUAL_ADDITION);
            line.push_str(binding.contact.as_str());
            write!(line, ";expires={}", binding.remaining(now.instant)).expect("writing to a String cannot fail");
            if let (true, Some(instance)) = (granted.gruu, binding.instance()) {
                let gruus = [
                    ("pub-gruu", Gruus::public(aor, instance)),
                    ("temp-gruu", self.gruus.temporary(aor, binding.epoch, entropy)),
                ];
                for (name, uri) in gruus {
                    if let Some(uri) = uri {
                        write!(line, ";{name}=\"{}\"", Uri::Sip(uri)).expect("writing to a String cannot fail");
                    }
                }
            }
            response.headers.push(HeaderName::CONTACT, Value::cleaned(&line));
        }
        for hop in &granted.path {
            response.headers.put(&Path(hop.clone()));
        }
        if granted.outbound {
            response.headers.put(&Require::of(&["outbound"]));
        }
        response
            .headers
            .push(HeaderName::DATE, Value::cleaned(&date::date(now.wall)));
        response
    }

    fn retain(&mut self, now: Now, aor: &Aor, keep: impl Fn(&Binding) -> bool) {
        if let Some(known) = self.registrations.get(aor) {
            let (jid, place) = (Arc::clone(&known.jid), known.place);
            let bindings = known.bindings.iter().filter(|binding| keep(binding)).cloned().collect();
            self.commit(now, aor, &jid, place, bindings);
        }
    }

    /// A JID as the tables share it.
    fn shared(&self, jid: &BareJid) -> Arc<BareJid> {
        let known = self.users.get_key_value(jid);
        known.map_or_else(|| Arc::new(jid.clone()), |(jid, _)| Arc::clone(jid))
    }

    /// Where an address stands in the record of its user.
    fn place(&self, aor: &Aor) -> Option<u8> {
        self.registrations.get(aor).map(|known| known.place)
    }

    /// Tells the shared state what is new in `bindings`, and what of those before is in them no more.
    fn keep(&mut self, now: Now, aor: &Aor, jid: &BareJid, place: u8, bindings: &[Binding]) {
        let keys: Vec<String> = bindings.iter().map(|binding| binding.key(aor)).collect();
        for old in self.registrations.get(aor).iter().flat_map(|before| &before.bindings) {
            let key = old.key(aor);
            if !keys.contains(&key) {
                self.outputs.push_back(Output::Removed { key });
            }
        }
        for (binding, key) in bindings.iter().zip(keys) {
            if binding.dirty {
                let (value, ttl) = binding.record(now, aor, jid, place);
                self.outputs.push_back(Output::Stored { key, value, ttl });
            }
        }
    }

    /// Puts these bindings in the place of all that the address had, and tells who must know.
    fn commit(&mut self, now: Now, aor: &Aor, jid: &Arc<BareJid>, place: u8, mut bindings: Vec<Binding>) {
        bindings.sort_by_key(|binding| (std::cmp::Reverse(binding.q()), std::cmp::Reverse(binding.registered)));
        if self.settings.keeping == Keeping::Shared {
            self.keep(now, aor, jid, place, &bindings);
        }
        for binding in &mut bindings {
            binding.dirty = false;
        }
        self.total += bindings.len();
        let flows: SmallVec<[Flow; 4]> = bindings.iter().map(|binding| binding.flow).collect();
        let before = if bindings.is_empty() {
            self.registrations.remove(aor)
        } else {
            let present = Registration {
                jid: Arc::clone(jid),
                place,
                bindings: bindings.into(),
            };
            self.registrations.insert(aor.clone(), present)
        };
        self.note_deadline(aor, before.as_ref().and_then(Registration::deadline));
        let old = before.as_ref().map_or(&[][..], |before| &before.bindings);
        self.total -= old.len();
        for flow in flows.iter().filter(|flow| !old.iter().any(|old| old.flow == **flow)) {
            let here = self.flows.entry(*flow).or_insert_with(|| Here::One(aor.clone()));
            here.insert(aor);
        }
        for Binding { flow, .. } in old {
            if !flows.contains(flow) && self.flows.get_mut(flow).is_some_and(|here| here.remove(aor)) {
                self.flows.remove(flow);
            }
        }
        let former = before.map(|before| (before.jid, before.place));
        let present = (!flows.is_empty()).then_some((jid, place));
        self.note_user(aor, former, present);
    }

    /// Notes when the first binding of an address expires, which was `former`.
    fn note_deadline(&mut self, aor: &Aor, former: Option<Instant>) {
        let Some((aor, known)) = self.registrations.get_key_value(aor) else {
            if let Some(former) = former {
                self.deadlines.remove(&(former, aor.clone()));
            }
            return;
        };
        let present = known.deadline();
        // After a timeout the former one is gone already.
        if let Some(former) = former.filter(|_| former != present) {
            self.deadlines.remove(&(former, aor.clone()));
        }
        self.deadlines.extend(present.map(|at| (at, aor.clone())));
    }

    /// Notes whose address this was, and whose it is, and tells who must know.
    fn note_user(&mut self, aor: &Aor, former: Option<(Arc<BareJid>, u8)>, present: Option<(&Arc<BareJid>, u8)>) {
        if former.as_ref().map(|(jid, place)| (jid, *place)) == present {
            return;
        }
        if let Some((jid, _)) = &former
            && let Some(aors) = self.users.get_mut(jid)
        {
            aors.retain(|one| one != aor);
            if aors.is_empty() {
                self.users.remove(jid);
            }
        }
        if let Some((jid, _)) = present {
            let places = &self.registrations;
            let aors = self.users.entry(Arc::clone(jid)).or_default();
            aors.push(aor.clone());
            aors.sort_by_cached_key(|aor| (places.get(aor).map(|known| known.place), aor.clone()));
        }
        let (former, present) = (former.map(|(jid, _)| jid), present.map(|(jid, _)| Arc::clone(jid)));
        if former == present {
            // Another place in the record of the same user is another order, not another set.
            return;
        }
        for jid in [former, present].into_iter().flatten() {
            let aors = self.registered(&jid);
            let jid = Arc::unwrap_or_clone(jid);
            self.outputs.push_back(Output::Changed { jid, aors });
        }
    }
}

/// What a REGISTER was carried out with.
struct Granted {
    aor: Aor,
    path: Vec<NameAddr>,
    /// Whether a flow was registered by RFC 5626.
    outbound: bool,
    /// Whether the phone wants to know its GRUUs.
    gruu: bool,
}

/// Why a REGISTER was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// A header cannot be read, a contact is none that we keep, or `*` stands with anything but `Expires: 0`.
    Malformed,
    /// The address, or the one who says to be asking, is not the user's.
    NotTheirs,
    /// A later request of the same call was carried out before.
    OutOfOrder,
    /// The address would have too many bindings.
    TooMany,
    /// We would have too many bindings.
    Full,
    /// The interval asked for is too short.
    TooBrief,
    /// A proxy recorded itself, and the phone does not know that this can be.
    PathUnknown,
    /// The phone wants a flow, and the proxy before us cannot keep one (RFC 5626 §6).
    FirstHop,
}

impl Refusal {
    fn status(self) -> Status {
        match self {
            Self::Malformed => Status::BAD_REQUEST,
            Self::NotTheirs | Self::TooMany => Status::FORBIDDEN,
            Self::OutOfOrder => Status::SERVER_INTERNAL_ERROR,
            Self::Full => Status::SERVICE_UNAVAILABLE,
            Self::TooBrief => Status::INTERVAL_TOO_BRIEF,
            Self::PathUnknown => Status::BAD_EXTENSION,
            Self::FirstHop => Status::FIRST_HOP_LACKS_OUTBOUND_SUPPORT,
        }
    }
}

/// The canonical form of an address: no parameters, no port, no escapes that need not be (RFC 3261 §10.3 item 5).
#[must_use]
pub fn aor_of(uri: &Uri) -> Option<Aor> {
    let Uri::Sip(uri) = uri else { return None };
    Aor::new(&uri.user_decoded()?, &uri.host.to_string()).ok()
}

/// Whether a proxy keeps flows.
fn is_outbound(hop: &NameAddr) -> bool {
    matches!(&hop.uri, Uri::Sip(uri) if uri.params.has("ob"))
}

/// The epoch that a registration of a device goes on with: a new one, which ends its temporary GRUUs, where it begins
/// anew (RFC 5627 §5.1).
fn epoch(bindings: &[Binding], contact: &KeptContact, call_id: &str, entropy: &mut impl Entropy) -> u64 {
    let Some(instance) = contact.instance() else {
        return 0;
    };
    let same =
        |binding: &&Binding| binding.instance() == Some(instance) && binding.contact.number() == contact.number();
    let last = bindings.iter().filter(same).max_by_key(|binding| binding.registered);
    let known = match last {
        Some(last) => (*last.call_id == *call_id).then_some(last.epoch),
        // Another flow of a device that is there.
        None => bindings
            .iter()
            .find(|other| other.instance() == Some(instance))
            .map(|other| other.epoch),
    };
    known.unwrap_or_else(|| u64::from_le_bytes(entropy.bytes::<8>()))
}

fn user_agent(request: &Request) -> Option<Cow<'_, str>> {
    let text = request.headers.get(&HeaderName::USER_AGENT)?.to_text();
    let end = text.floor_char_boundary(MAX_USER_AGENT);
    let cut = match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(text) => Cow::Owned(text[..end].to_owned()),
    };
    Some(cut).filter(|text| !text.is_empty())
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// Room for what the answer says of a binding, without GRUUs.
const USUAL_ADDITION: usize = 24;
/// Below this, and only below this, an interval may be refused as too brief (RFC 3261 §10.3 item 7).
const HOUR: Duration = Duration::from_secs(3600);

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
mod outbound_tests;
