//! What a REGISTER is to change (RFC 3261 §10.3 items 6 and 7). It is judged on the bindings that are there, and nothing
//! is done yet: a request that is refused half-way has left no trace.

use std::time::Duration;

use cusax_common::core::entropy::Entropy;
use cusax_common::core::sip::Uri;
use cusax_common::core::sip::typed::Contact;
use cusax_common::core::time::{Now, Wall};
use cusax_common::core::user::Aor;
use smallvec::SmallVec;

use super::binding::Binding;
use super::clock::Tick;
use super::contact::{FLOW_NUMBER, FlowNumbers, KeptContact, is_numbered};
use super::request::{Asked, Refusal, Wish};
use super::{Registrar, aor_of};
use crate::core::flow::Flow;

/// What becomes of the bindings of an address.
pub(super) struct Plan {
    /// Of each that is there, in their order.
    pub(super) fates: SmallVec<[Fate; 4]>,
    /// Those that are set, in their order.
    pub(super) set: SmallVec<[Set; 1]>,
    /// Whether a flow is registered by RFC 5626.
    pub(super) outbound: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// It stays, and its device has begun this epoch.
    Begins(u64),
    Goes,
}

/// A binding that is set.
pub(super) struct Set {
    pub(super) contact: Named,
    pub(super) epoch: u64,
    pub(super) lasts: Duration,
}

/// Where the contact of a binding is to be had.
pub(super) enum Named {
    /// In this one of those that are there, which goes for it.
    As(usize),
    New(KeptContact),
}

impl Registrar {
    /// What is to be done for somebody who asks. `tick` is `now` by our own clock.
    pub(super) fn judge(
        &self,
        now: Now,
        tick: Tick,
        flow: Flow,
        asked: &Asked<'_>,
        entropy: &mut impl Entropy,
    ) -> Result<Plan, Refusal> {
        let known = self.registrations.get(asked.aor);
        let there = known.map_or(&[][..], |known| known.bindings.as_slice());
        // What a former owner of the address left behind does not count.
        let theirs = known.is_some_and(|known| *known.jid == asked.user.jid);
        let lives = |binding: &Binding| theirs && binding.expires > tick;
        let fates = there
            .iter()
            .map(|binding| if lives(binding) { Fate::Stays } else { Fate::Goes });
        let mut draft = Draft {
            there,
            asked,
            now: now.wall,
            plan: Plan {
                fates: fates.collect(),
                set: SmallVec::new(),
                outbound: false,
            },
        };
        match &asked.wish {
            Wish::Fetch => {}
            Wish::Clear => draft.clear()?,
            Wish::Set(contacts) => {
                self.may_set(asked, contacts)?;
                for contact in contacts {
                    let lasts = self.granted(contact.expires().or(asked.expires))?;
                    draft.name(contact, lasts, || self.may_be_set(flow, asked.aor, contact), entropy)?;
                }
                if draft.len() > self.settings.max_contacts {
                    return Err(Refusal::TooMany);
                }
            }
        }
        if draft.len() > there.len() && self.total - there.len() + draft.len() > self.settings.max_bindings {
            return Err(Refusal::Full);
        }
        Ok(draft.plan)
    }

    /// Whether these contacts may be named together.
    fn may_set(&self, asked: &Asked<'_>, contacts: &[Contact]) -> Result<(), Refusal> {
        if contacts.len() > 2 * self.settings.max_contacts {
            return Err(Refusal::TooMany);
        }
        let lasting = || contacts.iter().filter(|one| one.expires().or(asked.expires) != Some(0));
        if lasting().any(|contact| contact.params.has(FLOW_NUMBER)) {
            // One flow is registered at a time (RFC 5626 §6).
            if lasting().nth(1).is_some() {
                return Err(Refusal::Malformed);
            }
            if asked.numbers == FlowNumbers::Ignored && asked.outbound {
                return Err(Refusal::FirstHop);
            }
        }
        Ok(())
    }

    /// Whether an address may be reached at this contact.
    fn may_be_set(&self, flow: Flow, aor: &Aor, contact: &Contact) -> bool {
        // What may only be reached securely is not registered by a way on which anybody can read along.
        let exposed = matches!(&contact.uri, Uri::Sip(uri) if uri.secure) && !flow.transport.is_secure();
        // It would ring itself for ever (RFC 5627 §5.1).
        let leads_back =
            is_address(&contact.uri, aor) || matches!(self.gruu(&contact.uri), Some(Ok(gruu)) if gruu.aor == *aor);
        !exposed && !leads_back
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
}

/// A plan in the making: the bindings as they would be by now.
struct Draft<'a> {
    there: &'a [Binding],
    asked: &'a Asked<'a>,
    now: Wall,
    plan: Plan,
}

/// What is looked at of a binding, be it there or only planned.
struct Seen<'a> {
    contact: &'a KeptContact,
    call_id: &'a str,
    epoch: u64,
    registered: Wall,
}

impl Draft<'_> {
    /// How many bindings there would be.
    fn len(&self) -> usize {
        let staying = self.plan.fates.iter().filter(|fate| **fate != Fate::Goes);
        staying.count() + self.plan.set.len()
    }

    /// All bindings go.
    fn clear(&mut self) -> Result<(), Refusal> {
        for (fate, binding) in self.plan.fates.iter_mut().zip(self.there) {
            if *fate == Fate::Stays && !in_order(self.asked, binding) {
                return Err(Refusal::OutOfOrder);
            }
            *fate = Fate::Goes;
        }
        Ok(())
    }

    /// A contact is set for so long, or goes.
    fn name(
        &mut self,
        contact: &Contact,
        lasts: Duration,
        may_be_set: impl FnOnce() -> bool,
        entropy: &mut impl Entropy,
    ) -> Result<(), Refusal> {
        let asked = self.asked;
        let same = |binding: &Binding| binding.contact.is_written(contact, asked.numbers);
        let named = match self.there.iter().position(same) {
            Some(at) => Named::As(at),
            None => Named::New(KeptContact::of(contact, asked.numbers).map_err(|_| Refusal::Malformed)?),
        };
        if !lasts.is_zero() && !may_be_set() {
            return Err(Refusal::NotTheirs);
        }
        self.plan.outbound |= asked.outbound && asked.numbers == FlowNumbers::Kept && is_numbered(contact);
        let kept = contact_of(self.there, &named);
        let epoch = self.epoch(kept, entropy);
        // One may be there by its address and another one by its instance.
        for (fate, binding) in self.plan.fates.iter_mut().zip(self.there) {
            if *fate != Fate::Goes && binding.contact.is_for(kept) {
                // What this very request has changed is in order.
                if *fate == Fate::Stays && !in_order(asked, binding) {
                    return Err(Refusal::OutOfOrder);
                }
                *fate = Fate::Goes;
            }
        }
        // One may be named twice.
        let there = self.there;
        self.plan
            .set
            .retain(|before| !contact_of(there, &before.contact).is_for(kept));
        if lasts.is_zero() {
            return Ok(());
        }
        // All of the device's temporary GRUUs are of one epoch.
        if let Some(instance) = kept.instance() {
            for (fate, binding) in self.plan.fates.iter_mut().zip(self.there) {
                let present = match *fate {
                    Fate::Goes => continue,
                    Fate::Stays => binding.epoch,
                    Fate::Begins(epoch) => epoch,
                };
                if binding.instance() == Some(instance) && present != epoch {
                    *fate = Fate::Begins(epoch);
                }
            }
            for other in &mut self.plan.set {
                if contact_of(there, &other.contact).instance() == Some(instance) {
                    other.epoch = epoch;
                }
            }
        }
        self.plan.set.push(Set {
            contact: named,
            epoch,
            lasts,
        });
        Ok(())
    }

    /// The epoch that a registration of a device goes on with: a new one, which ends its temporary GRUUs, where it
    /// begins anew (RFC 5627 §5.1).
    fn epoch(&self, contact: &KeptContact, entropy: &mut impl Entropy) -> u64 {
        let Some(instance) = contact.instance() else {
            return 0;
        };
        let of_device = || self.seen().filter(|one| one.contact.instance() == Some(instance));
        let same = of_device().filter(|one| one.contact.number() == contact.number());
        let known = match same.max_by_key(|one| one.registered) {
            Some(last) => (*last.call_id == *self.asked.call_id).then_some(last.epoch),
            // Another flow of a device that is there.
            None => of_device().next().map(|other| other.epoch),
        };
        known.unwrap_or_else(|| u64::from_le_bytes(entropy.bytes::<8>()))
    }

    /// The bindings as they would be by now.
    fn seen(&self) -> impl Iterator<Item = Seen<'_>> {
        let there = self.there.iter().zip(&self.plan.fates);
        let there = there.filter_map(|(binding, fate)| {
            let epoch = match *fate {
                Fate::Goes => return None,
                Fate::Stays => binding.epoch,
                Fate::Begins(epoch) => epoch,
            };
            Some(Seen {
                contact: &binding.contact,
                call_id: &binding.call_id,
                epoch,
                registered: binding.registered,
            })
        });
        there.chain(self.plan.set.iter().map(|set| Seen {
            contact: contact_of(self.there, &set.contact),
            call_id: &self.asked.call_id,
            epoch: set.epoch,
            registered: self.now,
        }))
    }
}

fn contact_of<'a>(there: &'a [Binding], named: &'a Named) -> &'a KeptContact {
    match named {
        Named::As(at) => &there[*at].contact,
        Named::New(contact) => contact,
    }
}

/// Whether a request is later than the one that set a binding (RFC 3261 §10.3 items 6 and 7).
fn in_order(asked: &Asked<'_>, binding: &Binding) -> bool {
    *binding.call_id != *asked.call_id || binding.sequence < asked.sequence
}

/// Whether a URI is an address of record, in whatever spelling.
fn is_address(uri: &Uri, aor: &Aor) -> bool {
    // Nearly every contact is at an address of the network.
    let plainly_another = match uri {
        Uri::Sip(uri) => match uri.host.name() {
            Some(name) => name != aor.domain(),
            None => !aor
                .domain()
                .starts_with(|first: char| first == '[' || first.is_ascii_digit()),
        },
        _ => true,
    };
    !plainly_another && aor_of(uri).is_some_and(|own| own == *aor)
}

/// Below this, and only below this, an interval may be refused as too brief (RFC 3261 §10.3 item 7).
const HOUR: Duration = Duration::from_secs(3600);
