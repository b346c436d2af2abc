//! The tables of the registrar, and the one way to change them: bindings are changed where they are, and whatever names
//! them is brought in step. What did not change is not touched.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use cusax_common::core::time::Now;
use cusax_common::core::user::Aor;
use jid::BareJid;
use smallvec::SmallVec;

use super::agents::Agents;
use super::binding::Binding;
use super::clock::Tick;
use super::plan::{Fate, Named, Plan, Set};
use super::request::Asked;
use super::{Addresses, Copied, Keeping, Output, Registrar};
use crate::core::flow::Flow;
use crate::core::ids::IdMap;

/// What is known of an address with a phone.
#[derive(Debug)]
pub(super) struct Registration {
    /// Shared with the table of users.
    pub(super) jid: Arc<BareJid>,
    /// Where the address stands in the user record.
    pub(super) place: u8,
    /// The preferred one first. Never empty.
    pub(super) bindings: Bindings,
    /// When the address stands in the queue: never later than its first binding expires. Most bindings are refreshed long
    /// before, so a deadline that moves away is noted only when it would have come.
    pub(super) queued: Tick,
}

impl Registration {
    pub(super) fn deadline(&self) -> Tick {
        let each = self.bindings.as_slice().iter().map(|binding| binding.expires);
        each.min().unwrap_or(Tick::NEVER)
    }
}

/// The bindings of one address. Nearly everybody has one phone, which needs no list.
#[derive(Debug)]
pub(super) enum Bindings {
    One(Binding),
    List(Vec<Binding>),
}

impl Bindings {
    pub(super) const NONE: Self = Self::List(Vec::new());

    pub(super) fn as_slice(&self) -> &[Binding] {
        match self {
            Self::One(binding) => std::slice::from_ref(binding),
            Self::List(list) => list,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Binding] {
        match self {
            Self::One(binding) => std::slice::from_mut(binding),
            Self::List(list) => list,
        }
    }

    fn push(&mut self, binding: Binding) {
        *self = match std::mem::replace(self, Self::NONE) {
            Self::List(list) if list.capacity() == 0 => Self::One(binding),
            Self::List(mut list) => {
                list.reserve_exact(1);
                list.push(binding);
                Self::List(list)
            }
            Self::One(first) => Self::List(vec![first, binding]),
        }
    }

    /// Takes out the binding at a place where there is one.
    fn remove(&mut self, at: usize) -> Binding {
        match std::mem::replace(self, Self::NONE) {
            Self::One(binding) => binding,
            Self::List(mut list) => {
                let binding = list.remove(at);
                *self = Self::List(list);
                binding
            }
        }
    }

    /// Puts all in order, in no more room than they need.
    fn settle(&mut self) {
        // Stable: of those that are equal, the one that was set last comes last.
        self.as_mut_slice()
            .sort_by_key(|binding| (Reverse(binding.q()), Reverse(binding.registered)));
        if let Self::List(list) = self {
            match list.pop() {
                Some(last) if list.is_empty() => *self = Self::One(last),
                Some(last) => {
                    list.push(last);
                    list.shrink_to_fit();
                }
                None => *self = Self::NONE,
            }
        }
    }
}

/// The addresses with a binding by one flow: nearly always one, and very many behind one proxy.
#[derive(Debug)]
pub(super) enum Here {
    One(Aor),
    #[expect(
        clippy::box_collection,
        reason = "so that the usual case, of which there are many, stays small"
    )]
    Many(Box<BTreeSet<Aor>>),
}

impl Here {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Aor> {
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

/// The bindings of one address while they are changed.
pub(super) struct Edit<'a> {
    bindings: &'a mut Bindings,
    agents: &'a mut Agents,
    keeping: Keeping,
    aor: &'a Aor,
    jid: &'a BareJid,
    place: u8,
    now: Now,
    tick: Tick,
    /// Whether anything but the time of a binding has changed.
    changed: bool,
    /// The keys of those that went.
    gone: Vec<String>,
    /// What is to be told of those that were set.
    stored: Vec<Output>,
}

impl Edit<'_> {
    /// Keeps those of which `keep` says so.
    pub(super) fn retain(&mut self, keep: impl Fn(&Binding) -> bool) {
        let mut at = 0;
        while let Some(binding) = self.bindings.as_slice().get(at) {
            if keep(binding) {
                at += 1;
            } else {
                let gone = self.bindings.remove(at);
                self.forget(&gone);
            }
        }
    }

    /// Sets a binding for an address or a phone that has none here.
    pub(super) fn put(&mut self, mut binding: Binding) {
        self.changed = true;
        binding.user_agent = binding.user_agent.map(|name| self.agents.share(&name));
        self.bindings.push(binding);
    }

    /// Tells the shared state that a binding went.
    fn forget(&mut self, gone: &Binding) {
        self.changed = true;
        if self.keeping == Keeping::Shared {
            self.gone.push(gone.key(self.aor));
        }
    }

    /// Tells the shared state of the binding that stands there.
    fn store(&mut self, at: usize) {
        if let (Keeping::Shared, Some(binding)) = (self.keeping, self.bindings.as_slice().get(at)) {
            let ttl = binding.expires.since(self.tick);
            self.stored.push(Output::Stored {
                key: binding.key(self.aor),
                value: binding.record(self.now.wall, ttl, self.aor, self.jid, self.place),
                ttl,
            });
        }
    }

    /// Carries out a plan that was made for these very bindings.
    pub(super) fn carry_out(&mut self, plan: Plan, asked: &Asked<'_>, flow: Flow) {
        // The last first, so that the places of the others stay what they were.
        let mut taken = SmallVec::<[(usize, Binding); 1]>::new();
        for (at, fate) in plan.fates.iter().enumerate().rev() {
            if *fate == Fate::Goes {
                taken.push((at, self.bindings.remove(at)));
            }
        }
        let staying = plan.fates.iter().filter(|fate| **fate != Fate::Goes);
        for (at, fate) in staying.enumerate() {
            if let Fate::Begins(epoch) = *fate {
                self.bindings.as_mut_slice()[at].epoch = epoch;
                self.changed = true;
                self.store(at);
            }
        }
        let user_agent = if plan.set.is_empty() { None } else { asked.user_agent() };
        for Set { contact, epoch, lasts } in plan.set {
            let (contact, former) = match contact {
                Named::New(contact) => (contact, None),
                Named::As(at) => {
                    let at = taken.iter().position(|(place, _)| *place == at);
                    let (_, former) = taken.swap_remove(at.expect("it goes, and for one contact only"));
                    let same = former.flow == flow && former.epoch == epoch && *former.path == *asked.path;
                    self.changed |= !same;
                    (former.contact, Some((former.user_agent, former.path, former.call_id)))
                }
            };
            self.changed |= former.is_none();
            // What is as it was stays where it is.
            let (agent, path, call_id) = former.map_or((None, None, None), |(agent, path, call_id)| {
                (agent, Some(path), Some(call_id))
            });
            let agents = &mut *self.agents;
            self.bindings.push(Binding {
                contact,
                flow,
                user_agent: user_agent.as_deref().map(|name| match agent {
                    Some(agent) if *agent == *name => agent,
                    _ => agents.share(name),
                }),
                path: path
                    .filter(|path| **path == *asked.path)
                    .unwrap_or_else(|| asked.path.as_slice().into()),
                registered: self.now.wall,
                epoch,
                expires: self.tick.after(lasts),
                call_id: call_id
                    .filter(|call_id| **call_id == *asked.call_id)
                    .unwrap_or_else(|| (*asked.call_id).into()),
                sequence: asked.sequence,
            });
            self.store(self.bindings.as_slice().len() - 1);
        }
        for (_, gone) in taken.into_iter().rev() {
            self.forget(&gone);
        }
    }
}

impl Registrar {
    /// Makes room for an address that has no binding yet, for [`edit`](Self::edit) to give it one.
    pub(super) fn enter(&mut self, aor: &Aor, jid: &BareJid, place: u8) {
        let registration = Registration {
            jid: shared(&self.users, jid),
            place,
            bindings: Bindings::NONE,
            queued: Tick::NEVER,
        };
        self.registrations.insert(aor.clone(), Box::new(registration));
    }

    /// Changes the bindings of an address that has some, or was entered, and tells who must know. They are this owner's
    /// from now on, if one is given, at this place in the user record.
    pub(super) fn edit(
        &mut self,
        now: Now,
        aor: &Aor,
        owner: Option<(&BareJid, u8)>,
        change: impl FnOnce(&mut Edit<'_>),
    ) {
        let tick = self.clock.read(now.instant);
        let Some(known) = self.registrations.get_mut(aor) else {
            return;
        };
        let former = owner
            .filter(|(jid, place)| *known.jid != **jid || known.place != *place)
            .map(|(jid, place)| {
                let jid = std::mem::replace(&mut known.jid, shared(&self.users, jid));
                (jid, std::mem::replace(&mut known.place, place))
            });
        let flows_before = flows(&known.bindings);
        let mut edit = Edit {
            bindings: &mut known.bindings,
            agents: &mut self.agents,
            keeping: self.settings.keeping,
            aor,
            jid: &known.jid,
            place: known.place,
            now,
            tick,
            changed: former.is_some(),
            gone: Vec::new(),
            stored: Vec::new(),
        };
        change(&mut edit);
        let Edit {
            gone, stored, changed, ..
        } = edit;
        known.bindings.settle();
        if self.followed && changed {
            self.outputs.push_back(Output::Copied(Arc::new(Copied {
                aor: aor.clone(),
                jid: BareJid::clone(&known.jid),
                place: known.place,
                bindings: known.bindings.as_slice().iter().map(Binding::lasting).collect(),
            })));
        }
        for key in gone {
            if !known.bindings.as_slice().iter().any(|present| present.key(aor) == key) {
                self.outputs.push_back(Output::Removed { key });
            }
        }
        self.outputs.extend(stored);

        let flows_now = flows(&known.bindings);
        self.total = self.total - flows_before.len() + flows_now.len();
        let (queued, deadline) = (known.queued, known.deadline());
        let sooner = deadline < queued;
        if sooner {
            known.queued = deadline;
        }
        if sooner || flows_now.is_empty() {
            self.queue(aor, queued, deadline);
        }
        if former.is_some() || flows_before != flows_now {
            self.note(aor, former, &flows_before, &flows_now);
        }
    }

    /// Moves an address in the queue.
    fn queue(&mut self, aor: &Aor, former: Tick, present: Tick) {
        let aor = self.own_name(aor);
        let mut entry = (former, aor);
        if former != Tick::NEVER {
            self.deadlines.remove(&entry);
        }
        if present != Tick::NEVER {
            entry.0 = present;
            self.deadlines.insert(entry);
        }
    }

    /// Brings flows and users in step with an address that had and has bindings by these flows, and that had this owner
    /// before, if it had another one.
    fn note(&mut self, aor: &Aor, former: Option<Owner>, flows_before: &[Flow], flows_now: &[Flow]) {
        let aor = self.own_name(aor);
        for flow in flows_now.iter().filter(|flow| !flows_before.contains(flow)) {
            let here = self.flows.entry(*flow).or_insert_with(|| Here::One(aor.clone()));
            here.insert(&aor);
        }
        for flow in flows_before.iter().filter(|flow| !flows_now.contains(flow)) {
            if self.flows.get_mut(flow).is_some_and(|here| here.remove(&aor)) {
                self.flows.remove(flow);
            }
        }
        let known = self.registrations.get(&aor);
        let owner = known.map(|known| (Arc::clone(&known.jid), known.place));
        let former = former.or_else(|| owner.clone()).filter(|_| !flows_before.is_empty());
        if flows_now.is_empty() {
            self.registrations.remove(&aor);
        }
        self.note_user(&aor, former, owner.filter(|_| !flows_now.is_empty()));
    }

    /// Notes whose address this was, and whose it is, and tells who must know.
    fn note_user(&mut self, aor: &Aor, former: Option<Owner>, present: Option<Owner>) {
        if former == present {
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
        if let Some((jid, _)) = &present {
            let places = &self.registrations;
            let aors = self.users.entry(Arc::clone(jid)).or_default();
            aors.push(aor.clone());
            aors.sort_by_cached_key(|aor| (places.get(aor).map(|known| known.place), aor.clone()));
        }
        let (former, present) = (former.map(|(jid, _)| jid), present.map(|(jid, _)| jid));
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

    /// An address as the tables share it.
    fn own_name(&self, aor: &Aor) -> Aor {
        let known = self.registrations.get_key_value(aor);
        known.map_or_else(|| aor.clone(), |(own, _)| own.clone())
    }
}

/// Whose an address is, and where it stands in the user record.
type Owner = (Arc<BareJid>, u8);

/// One for each binding.
type Flows = SmallVec<[Flow; 2]>;

fn flows(bindings: &Bindings) -> Flows {
    bindings.as_slice().iter().map(|binding| binding.flow).collect()
}

/// A JID as the tables share it.
fn shared(users: &IdMap<Arc<BareJid>, Addresses>, jid: &BareJid) -> Arc<BareJid> {
    let known = users.get_key_value(jid);
    known.map_or_else(|| Arc::new(jid.clone()), |(jid, _)| Arc::clone(jid))
}
