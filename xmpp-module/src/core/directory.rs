//! Who there is, what they hold, and where their phones are registered.
//!
//! The store is read page by page; what is registered comes over the bridge. The two may come in any order.
//!
//! # Invariants
//! - A user's entry is always [`compose`]d of the last record and the last registrations heard. It is made when it is
//!   asked for: it would take more memory than what it is made of.
//! - Credentials are not kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use cusax_common::core::user::{Aor, User};
use jid::BareJid;

use crate::core::map::Entry;
use crate::core::reach::compose;

/// Every user of our domain.
#[derive(Debug)]
pub struct Directory {
    domain: String,
    users: BTreeMap<BareJid, Known>,
    /// The registrations of those whose record is not known.
    strangers: HashMap<BareJid, Vec<Aor>>,
    reading: Option<Reading>,
    loaded: bool,
    heard: bool,
}

#[derive(Debug)]
struct Known {
    user: User,
    registered: Vec<Aor>,
}

impl Known {
    fn entry(&self) -> Entry {
        compose(&self.user, &self.registered)
    }

    /// Takes the addresses at which a phone is registered; tells whether the entry changed by it.
    fn register(&mut self, mut aors: Vec<Aor>) -> bool {
        if self.registered == aors {
            return false;
        }
        let before = self.entry();
        aors.shrink_to_fit();
        self.registered = aors;
        self.entry() != before
    }
}

/// A reading of the whole store that is under way.
#[derive(Debug)]
struct Reading {
    last: Option<BareJid>,
    seen: BTreeSet<BareJid>,
    changed: Vec<BareJid>,
    /// The store changed meanwhile.
    again: bool,
}

/// A page of users that the store is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Those behind this one.
    pub after: Option<BareJid>,
    /// At most so many.
    pub limit: u32,
}

/// What comes next in reading the store.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Another page is wanted.
    Page(Page),
    /// All is read, and these users are not what they were.
    Done(Vec<BareJid>),
    /// All is read, but the store has changed meanwhile: read it again.
    Again(Vec<BareJid>, Page),
}

impl Directory {
    /// Nobody yet; only users of `domain` will be kept.
    #[must_use]
    pub fn new(domain: String) -> Self {
        Self {
            domain,
            users: BTreeMap::new(),
            strangers: HashMap::new(),
            reading: None,
            loaded: false,
            heard: false,
        }
    }

    /// Begins to read the store; if a reading is under way, it will be followed by another.
    pub fn read(&mut self) -> Option<Page> {
        if let Some(reading) = &mut self.reading {
            reading.again = true;
            return None;
        }
        self.reading = Some(Reading {
            last: None,
            seen: BTreeSet::new(),
            changed: Vec::new(),
            again: false,
        });
        Some(Page {
            after: None,
            limit: PAGE,
        })
    }

    /// Takes the page that was asked for.
    pub fn page(&mut self, users: Vec<User>) -> Next {
        let full = users.len() >= PAGE as usize;
        for user in users {
            let Some(reading) = &mut self.reading else { break };
            reading.last = Some(user.jid.clone());
            if user.jid.domain().as_str() != self.domain || reading.seen.len() >= MAX_USERS {
                continue;
            }
            reading.seen.insert(user.jid.clone());
            if let Some(jid) = self.know(user)
                && let Some(reading) = &mut self.reading
            {
                reading.changed.push(jid);
            }
        }
        let Some(reading) = &self.reading else {
            return Next::Done(Vec::new());
        };
        if full {
            return Next::Page(Page {
                after: reading.last.clone(),
                limit: PAGE,
            });
        }
        let mut reading = self.reading.take().expect("it was there a line ago");
        let gone: Vec<_> = self
            .users
            .keys()
            .filter(|jid| !reading.seen.contains(*jid))
            .cloned()
            .collect();
        for jid in gone {
            let registered = self.users.remove(&jid).map(|known| known.registered);
            if let Some(registered) = registered.filter(|aors| !aors.is_empty()) {
                self.strangers.insert(jid.clone(), registered);
            }
            reading.changed.push(jid);
        }
        self.loaded = true;
        match reading.again.then(|| self.read()).flatten() {
            Some(page) => Next::Again(reading.changed, page),
            None => Next::Done(reading.changed),
        }
    }

    /// The store could not be read: what is known stays, and the reading is over.
    pub fn failed(&mut self) {
        self.reading = None;
    }

    /// Takes a whole set of registrations; tells whose entries changed by it.
    pub fn all_registered(&mut self, users: Vec<(BareJid, Vec<Aor>)>) -> Vec<BareJid> {
        self.heard = true;
        let users = users.into_iter().filter(|(_, aors)| !aors.is_empty());
        self.strangers = users.take(MAX_USERS).collect();
        let mut changed = Vec::new();
        for (jid, known) in &mut self.users {
            if known.register(self.strangers.remove(jid).unwrap_or_default()) {
                changed.push(jid.clone());
            }
        }
        changed
    }

    /// Takes the registrations of one user; tells whether the entry changed by it.
    pub fn registered(&mut self, jid: &BareJid, aors: Vec<Aor>) -> bool {
        if let Some(known) = self.users.get_mut(jid) {
            return known.register(aors);
        }
        if aors.is_empty() {
            self.strangers.remove(jid);
        } else if self.strangers.len() < MAX_USERS || self.strangers.contains_key(jid) {
            self.strangers.insert(jid.clone(), aors);
        }
        false
    }

    /// Whether the store has been read once.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Whether all registrations have been heard once.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.heard
    }

    /// The user's record, without credentials.
    #[must_use]
    pub fn user(&self, jid: &BareJid) -> Option<&User> {
        self.users.get(jid).map(|known| &known.user)
    }

    /// The addresses at which a phone of the user's is registered.
    #[must_use]
    pub fn registered_at(&self, jid: &BareJid) -> &[Aor] {
        self.users.get(jid).map_or(&[], |known| &known.registered)
    }

    /// The users in whose JID, name, addresses or numbers `text` stands, which is in lower case, with the addresses at
    /// which a phone of theirs is registered; in the order of their JIDs.
    pub fn matching(&self, text: &str) -> impl Iterator<Item = (&User, &[Aor])> {
        let matches = move |user: &User| {
            let stands = |field: &str| text.is_empty() || field.to_lowercase().contains(text);
            stands(user.jid.as_str())
                || stands(&user.name)
                || user.aors.iter().any(|aor| stands(aor.as_str()))
                || user.numbers.iter().any(|number| stands(number.as_str()))
        };
        let found = self.users.values().filter(move |known| matches(&known.user));
        found.map(|known| (&known.user, &*known.registered))
    }

    /// How many users there are, and how many of them have a phone registered.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let registered = self.users.values().filter(|known| !known.registered.is_empty());
        (self.users.len(), registered.count())
    }

    /// What the plugin is told of this user.
    #[must_use]
    pub fn entry(&self, jid: &BareJid) -> Entry {
        self.users
            .get(jid)
            .map_or_else(|| Entry::gone(jid.clone()), Known::entry)
    }

    /// The entries behind `after`, in the order of JIDs, of all who hold anything.
    pub fn entries_after(&self, after: Option<&BareJid>) -> impl Iterator<Item = Entry> + use<'_> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.users.range::<BareJid, _>((from, Bound::Unbounded));
        range.map(|(_, known)| known.entry()).filter(|entry| !entry.is_gone())
    }

    /// Keeps the record; gives the JID if the entry changed by it.
    fn know(&mut self, mut user: User) -> Option<BareJid> {
        user.credentials = Vec::new();
        user.aors.shrink_to_fit();
        user.numbers.shrink_to_fit();
        let jid = user.jid.clone();
        let changed = if let Some(known) = self.users.get_mut(&jid) {
            let before = known.entry();
            known.user = user;
            known.entry() != before
        } else {
            let mut registered = self.strangers.remove(&jid).unwrap_or_default();
            registered.shrink_to_fit();
            let known = Known { user, registered };
            let holds = !known.entry().is_gone();
            self.users.insert(jid.clone(), known);
            holds
        };
        changed.then_some(jid)
    }
}

/// Users read at a time.
pub const PAGE: u32 = 500;
/// Most users that are kept; the plugin has the same bound.
pub const MAX_USERS: usize = 500_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::user;

    const AOR: &str = "sip:a@s.example";

    fn alice() -> User {
        user("alice@atlanta.example", &[AOR], &[])
    }

    fn loaded() -> Directory {
        let mut directory = Directory::new("atlanta.example".into());
        assert!(!directory.is_loaded());
        directory.read().unwrap();
        assert_eq!(
            directory.page(vec![alice(), user("x@other.example", &["sip:x@s.example"], &[])]),
            Next::Done(vec![alice().jid])
        );
        assert!(directory.is_loaded());
        directory
    }

    #[test]
    fn registrations_and_records_may_come_in_any_order() {
        let mut early = Directory::new("atlanta.example".into());
        assert!(
            !early.registered(&alice().jid, vec![AOR.parse().unwrap()]),
            "not known yet"
        );
        early.read();
        early.page(vec![alice()]);
        let mut late = loaded();
        assert!(late.entry(&alice().jid).reach.is_empty());
        assert!(late.registered(&alice().jid, vec![AOR.parse().unwrap()]));
        assert!(
            !late.registered(&alice().jid, vec![AOR.parse().unwrap()]),
            "the same again changes nothing"
        );
        assert_eq!(early.entry(&alice().jid), late.entry(&alice().jid));
        assert_eq!(late.entry(&alice().jid).reach, [AOR]);
        assert_eq!(late.all_registered(vec![]), [alice().jid]);
        assert!(late.entry(&alice().jid).reach.is_empty());
    }

    #[test]
    fn only_what_changed_is_told() {
        let mut directory = loaded();
        directory.read();
        assert_eq!(directory.page(vec![alice()]), Next::Done(vec![]), "nothing changed");
        directory.read();
        let renamed = User {
            name: "Another name".into(),
            ..alice()
        };
        assert_eq!(
            directory.page(vec![renamed]),
            Next::Done(vec![]),
            "the name is no address"
        );
        directory.read();
        assert_eq!(directory.page(vec![]), Next::Done(vec![alice().jid]), "gone");
        assert!(directory.entry(&alice().jid).is_gone());
    }

    #[test]
    fn a_change_during_a_reading_is_read_afterwards() {
        let mut directory = loaded();
        assert!(directory.read().is_some());
        assert_eq!(directory.read(), None);
        assert_eq!(
            directory.page(vec![alice()]),
            Next::Again(
                vec![],
                Page {
                    after: None,
                    limit: PAGE
                }
            )
        );
        assert_eq!(directory.page(vec![alice()]), Next::Done(vec![]));
    }

    #[test]
    fn pages_follow_one_another() {
        let mut directory = Directory::new("d.example".into());
        directory.read();
        let name = |n: u32| format!("u{n:05}@d.example");
        let page: Vec<User> = (0..PAGE)
            .map(|n| user(&name(n), &[&format!("sip:{n}@s.example")], &[]))
            .collect();
        let last = page.last().unwrap().jid.clone();
        assert_eq!(
            directory.page(page),
            Next::Page(Page {
                after: Some(last),
                limit: PAGE
            })
        );
        assert!(!directory.is_loaded());
        assert!(matches!(directory.page(vec![]), Next::Done(changed) if changed.len() == PAGE as usize));
        assert_eq!(directory.entries_after(None).count(), PAGE as usize);
        let after = BareJid::new(&name(PAGE - 3)).unwrap();
        assert_eq!(directory.entries_after(Some(&after)).count(), 2);
    }
}
