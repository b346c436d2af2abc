//! A store of users in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cusax_common::core::record::CallRecord;
use cusax_common::core::store::{CallQuery, Choice, Put, StoreError, UserStore};
use cusax_common::core::tel::Tel;
use cusax_common::core::user::{Aor, Flags, User};
use cusax_tests::lab::wait;
use jid::BareJid;

use crate::{ALICE, AOR, BOB, BOBS_TEL, CAROL};

/// A store in memory that can be told to hang.
#[derive(Clone)]
pub struct Users(Arc<Mutex<Kept>>);

pub struct Kept {
    users: BTreeMap<BareJid, User>,
    changes: u64,
    hangs: bool,
}

impl Default for Users {
    fn default() -> Self {
        let user = |jid: &str, aors: &[&str], numbers: &[&str], video| User {
            jid: jid.parse().expect("a JID"),
            name: "Somebody".into(),
            aors: aors.iter().map(|aor| aor.parse().expect("an AOR")).collect(),
            numbers: numbers.iter().map(|number| number.parse().expect("a number")).collect(),
            credentials: vec![],
            flags: Flags {
                video,
                ..Flags::default()
            },
            language: "en".into(),
        };
        let users = [
            user(ALICE, &[AOR], &["+442079460018"], true),
            user(BOB, &["sip:bob@sip.atlanta.example"], &[BOBS_TEL], false),
            user(CAROL, &[], &[], false),
        ];
        let users = users.map(|user| (user.jid.clone(), user)).into();
        Self(Arc::new(Mutex::new(Kept {
            users,
            changes: 0,
            hangs: false,
        })))
    }
}

impl Users {
    pub fn change(&self, how: impl FnOnce(&mut BTreeMap<BareJid, User>)) {
        let mut kept = self.0.lock().expect(NO_PANIC);
        how(&mut kept.users);
        kept.changes += 1;
    }

    pub fn hang(&self, hangs: bool) {
        self.0.lock().expect(NO_PANIC).hangs = hangs;
    }
}

impl UserStore for Users {
    async fn put(&self, _: &User) -> Result<Put, StoreError> {
        Err(StoreError::Refused("the component only reads"))
    }

    async fn by_jid(&self, jid: &BareJid) -> Result<Option<Arc<User>>, StoreError> {
        if self.0.lock().expect(NO_PANIC).hangs {
            // The whole component hangs with it: it is a current-thread runtime.
            wait::pass(Duration::from_secs(4));
        }
        Ok(self.0.lock().expect(NO_PANIC).users.get(jid).cloned().map(Arc::new))
    }

    async fn by_aor(&self, _: &Aor) -> Result<Option<Arc<User>>, StoreError> {
        Ok(None)
    }

    async fn by_number(&self, _: &Tel) -> Result<Option<Arc<User>>, StoreError> {
        Ok(None)
    }

    async fn by_login(&self, _: &str, _: &str) -> Result<Option<Arc<User>>, StoreError> {
        Ok(None)
    }

    async fn list(&self, after: Option<&BareJid>, limit: u32) -> Result<Vec<User>, StoreError> {
        let kept = self.0.lock().expect(NO_PANIC);
        let behind = kept
            .users
            .values()
            .filter(|user| after.is_none_or(|after| user.jid > *after));
        Ok(behind.take(limit as usize).cloned().collect())
    }

    async fn remove(&self, _: &BareJid) -> Result<bool, StoreError> {
        Err(StoreError::Refused("the component only reads"))
    }

    async fn choose(&self, jid: &BareJid, choice: Choice) -> Result<bool, StoreError> {
        let mut kept = self.0.lock().expect(NO_PANIC);
        kept.changes += 1;
        let Some(user) = kept.users.get_mut(jid) else {
            return Ok(false);
        };
        (user.flags.notices, user.flags.impp) = (choice.notices, choice.impp);
        Ok(true)
    }

    async fn changes(&self) -> Result<u64, StoreError> {
        Ok(self.0.lock().expect(NO_PANIC).changes)
    }

    async fn record(&self, _: &CallRecord) -> Result<(), StoreError> {
        Err(StoreError::Refused("the component only reads"))
    }

    async fn calls(&self, _: &CallQuery) -> Result<Vec<CallRecord>, StoreError> {
        Ok(vec![])
    }
}

const NO_PANIC: &str = "no holder of this lock panics";
