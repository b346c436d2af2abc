//! A near cache of users: every SIP message asks who somebody is, and a store is a network away.
//!
//! Another process may change a user; whoever holds the cache asks the store for that
//! ([`UserStore::changes`]) once in a while, and says [`CachedUsers::forget_all`] when something was changed or when the
//! store cannot tell. An answer's own life only bounds what is kept for nobody. Answers of "nobody" are kept as well, but
//! shorter, so that a new user's first try is soon heard; errors are never kept.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use jid::BareJid;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use tokio::sync::Semaphore;

use crate::core::record::CallRecord;
use crate::core::store::{CallQuery, Choice, Put, Question, StoreError, UserStore};
use crate::core::tel::Tel;
use crate::core::user::{Aor, Credential, User};
use crate::io::clock;

/// A store with a cache in front of its look-ups. Clones share the cache.
#[derive(Clone)]
pub struct CachedUsers<S> {
    store: S,
    /// By a hash of the question under a secret key, so that nobody can find two of one hash; whether a user fits the
    /// question is looked at each time.
    cache: Arc<Cache<u64, Known, UnitWeighter, foldhash::fast::RandomState>>,
    key: RandomState,
    /// Part of every answer: raising it forgets everything, also what is still on its way from the store.
    generation: Arc<AtomicU32>,
    /// What [`Tenths`] count from.
    start: Instant,
    /// Look-ups that may wait for the store at one time.
    waiting: Arc<Semaphore>,
}

#[derive(Clone)]
struct Known {
    generation: u32,
    until: Tenths,
    user: Option<Arc<User>>,
}

/// Tenths of a second since the cache was made, which is as exact as it needs to be: answers are many, and an `Instant`
/// is large. They suffice for 13 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Tenths(u32);

impl<S: UserStore> CachedUsers<S> {
    /// A cache in front of `store`, empty.
    pub fn new(store: S) -> Self {
        Self {
            store,
            cache: Arc::new(Cache::with(
                ENTRIES,
                ENTRIES as u64,
                UnitWeighter,
                foldhash::fast::RandomState::default(),
                DefaultLifecycle::default(),
            )),
            key: RandomState::new(),
            generation: Arc::default(),
            start: clock::now().instant,
            waiting: Arc::new(Semaphore::new(WAITING)),
        }
    }

    /// Asks the store again for everything, from now on.
    pub fn forget_all(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        // Nobody asks for those again, and they would stand in the way of others.
        self.cache.clear();
    }

    /// The store behind, for who must not be told old news.
    pub fn store(&self) -> &S {
        &self.store
    }

    fn tenths(&self, at: Instant) -> Tenths {
        let passed = at.saturating_duration_since(self.start).as_millis() / 100;
        Tenths(passed.try_into().unwrap_or(u32::MAX))
    }

    /// What is kept under this key, if it was said in this generation, is still believed, and fits.
    fn known(&self, key: u64, generation: u32, question: Question<'_>) -> Option<Option<Arc<User>>> {
        let known = self.cache.get(&key)?;
        let good = known.generation == generation
            && known.until > self.tenths(clock::now().instant)
            && known.user.as_ref().is_none_or(|user| is_answered(question, user));
        good.then_some(known.user)
    }

    async fn ask(
        &self,
        question: Question<'_>,
        answer: impl Future<Output = Result<Option<Arc<User>>, StoreError>>,
    ) -> Result<Option<Arc<User>>, StoreError> {
        let generation = self.generation.load(Ordering::SeqCst);
        let key = self.key.hash_one(question);
        if let Some(known) = self.known(key, generation, question) {
            return Ok(known);
        }
        // A store that hangs must not gather a crowd: whoever comes too late hears so at once.
        let Ok(_place) = self.waiting.try_acquire() else {
            return Err(StoreError::Unavailable("too many look-ups are waiting".into()));
        };
        let user = answer.await?;
        let life = if user.is_some() { KNOWN } else { UNKNOWN };
        let known = Known {
            generation,
            until: self.tenths(clock::now().instant + life),
            user: user.clone(),
        };
        self.cache.insert(key, known);
        Ok(user)
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for CachedUsers<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachedUsers")
            .field("store", &self.store)
            .field("known", &self.cache.len())
            .finish_non_exhaustive()
    }
}

impl<S: UserStore> UserStore for CachedUsers<S> {
    async fn put(&self, user: &User) -> Result<Put, StoreError> {
        let done = self.store.put(user).await;
        // After an error as well: it may have been carried out.
        self.forget_all();
        done
    }

    fn near(&self, question: Question<'_>) -> Option<Option<Arc<User>>> {
        if is_absurd(question) {
            return Some(None);
        }
        let (key, generation) = (self.key.hash_one(question), self.generation.load(Ordering::SeqCst));
        self.known(key, generation, question)
    }

    async fn by_jid(&self, jid: &BareJid) -> Result<Option<Arc<User>>, StoreError> {
        self.ask(Question::Jid(jid), self.store.by_jid(jid)).await
    }

    async fn by_aor(&self, aor: &Aor) -> Result<Option<Arc<User>>, StoreError> {
        self.ask(Question::Aor(aor), self.store.by_aor(aor)).await
    }

    async fn by_number(&self, number: &Tel) -> Result<Option<Arc<User>>, StoreError> {
        self.ask(Question::Number(number), self.store.by_number(number)).await
    }

    async fn by_login(&self, realm: &str, username: &str) -> Result<Option<Arc<User>>, StoreError> {
        let question = Question::Login { realm, username };
        if is_absurd(question) {
            return Ok(None);
        }
        self.ask(question, self.store.by_login(realm, username)).await
    }

    async fn list(&self, after: Option<&BareJid>, limit: u32) -> Result<Vec<User>, StoreError> {
        self.store.list(after, limit).await
    }

    async fn remove(&self, jid: &BareJid) -> Result<bool, StoreError> {
        let done = self.store.remove(jid).await;
        self.forget_all();
        done
    }

    async fn choose(&self, jid: &BareJid, choice: Choice) -> Result<bool, StoreError> {
        let done = self.store.choose(jid, choice).await;
        self.forget_all();
        done
    }

    async fn changes(&self) -> Result<u64, StoreError> {
        self.store.changes().await
    }

    async fn record(&self, record: &CallRecord) -> Result<(), StoreError> {
        self.store.record(record).await
    }

    async fn record_many(&self, records: &[CallRecord]) -> Result<(), StoreError> {
        self.store.record_many(records).await
    }

    async fn calls(&self, query: &CallQuery) -> Result<Vec<CallRecord>, StoreError> {
        self.store.calls(query).await
    }
}

/// Whether this is a user who could have been asked for so.
fn is_answered(question: Question<'_>, user: &User) -> bool {
    match question {
        Question::Jid(jid) => user.jid == *jid,
        Question::Aor(aor) => user.aors.contains(aor),
        Question::Number(number) => user.numbers.contains(number),
        Question::Login { realm, username } => {
            let fits = |credential: &Credential| *credential.realm == *realm && *credential.username == *username;
            user.credentials.iter().any(fits)
        }
    }
}

/// Whether nobody can be meant, so that the store need not be asked.
fn is_absurd(question: Question<'_>) -> bool {
    matches!(question, Question::Login { realm, username } if realm.len() + username.len() > LOGIN)
}

/// How many answers are kept: for as many users as one process may have phones of.
pub const ENTRIES: usize = 200_000;
/// How long a user is believed to be as they were if nobody says otherwise: longer than phones wait between two
/// refreshes.
pub const KNOWN: Duration = Duration::from_secs(900);
/// How long nobody is believed to be there.
pub const UNKNOWN: Duration = Duration::from_secs(1);
/// How many look-ups may wait for the store at one time.
pub const WAITING: usize = 1024;
/// A longer realm and username together are no login of any store, and would make the cache heavy.
const LOGIN: usize = 512;

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicU64;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Answers what it is told to, counts the questions, and waits while it is told to.
    #[derive(Default)]
    struct Fake {
        user: Mutex<Option<User>>,
        broken: Mutex<bool>,
        asked: AtomicU64,
        gate: Option<Semaphore>,
    }

    impl Fake {
        async fn answer(&self) -> Result<Option<Arc<User>>, StoreError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let user = self.user.lock().unwrap().clone().map(Arc::new);
            if let Some(gate) = &self.gate {
                gate.acquire().await.unwrap().forget();
            }
            if *self.broken.lock().unwrap() {
                Err(StoreError::Unavailable("broken".into()))
            } else {
                Ok(user)
            }
        }
    }

    impl UserStore for &Fake {
        async fn put(&self, user: &User) -> Result<Put, StoreError> {
            *self.user.lock().unwrap() = Some(user.clone());
            Ok(Put::Done)
        }
        async fn by_jid(&self, _: &BareJid) -> Result<Option<Arc<User>>, StoreError> {
            self.answer().await
        }
        async fn by_aor(&self, _: &Aor) -> Result<Option<Arc<User>>, StoreError> {
            self.answer().await
        }
        async fn by_number(&self, _: &Tel) -> Result<Option<Arc<User>>, StoreError> {
            self.answer().await
        }
        async fn by_login(&self, _: &str, _: &str) -> Result<Option<Arc<User>>, StoreError> {
            self.answer().await
        }
        async fn list(&self, _: Option<&BareJid>, _: u32) -> Result<Vec<User>, StoreError> {
            Ok(Vec::new())
        }
        async fn remove(&self, _: &BareJid) -> Result<bool, StoreError> {
            Ok(self.user.lock().unwrap().take().is_some())
        }
        async fn choose(&self, _: &BareJid, _: Choice) -> Result<bool, StoreError> {
            Ok(false)
        }
        async fn changes(&self) -> Result<u64, StoreError> {
            Ok(0)
        }
        async fn record(&self, _: &CallRecord) -> Result<(), StoreError> {
            Ok(())
        }
        async fn calls(&self, _: &CallQuery) -> Result<Vec<CallRecord>, StoreError> {
            Ok(Vec::new())
        }
    }

    fn user(name: &str) -> User {
        User {
            jid: BareJid::new("alice@atlanta.example").unwrap(),
            name: name.into(),
            aors: Vec::new(),
            numbers: Vec::new(),
            credentials: vec![Credential {
                username: "alice".into(),
                realm: "atlanta.example".into(),
                algorithm: crate::core::user::Algorithm::Md5,
                ha1: crate::core::secret::Secret::new(crate::core::user::Ha1::from_hex("00").unwrap()),
            }],
            flags: Default::default(),
            language: "en".into(),
        }
    }

    /// The fake never waits without a gate, so one poll is enough.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => done,
            Poll::Pending => panic!("the future waits"),
        }
    }

    #[test]
    fn an_answer_is_asked_for_once_until_something_changes() {
        let fake = Fake::default();
        let users = CachedUsers::new(&fake);
        let alice = user("Alice");
        let ask = || {
            now(users.by_login("atlanta.example", "alice"))
                .unwrap()
                .map(|user| user.name.to_string())
        };
        let asked = || fake.asked.load(Ordering::SeqCst);
        assert_eq!((ask(), ask(), asked()), (None, None, 1), "nobody is an answer as well");
        now(users.put(&alice)).unwrap();
        assert_eq!(
            (ask(), ask(), asked()),
            (Some("Alice".into()), Some("Alice".into()), 2),
            "a write forgets"
        );
        now(users.by_login("alice", "atlanta.example")).unwrap();
        assert_eq!(asked(), 3, "realm and username are not mixed up");
        *fake.user.lock().unwrap() = Some(user("Changed elsewhere"));
        assert_eq!((ask(), asked()), (Some("Alice".into()), 3), "old news for a while");
        users.forget_all();
        assert_eq!(
            (ask(), asked()),
            (Some("Changed elsewhere".into()), 4),
            "a reload asks again"
        );
        now(users.remove(&alice.jid)).unwrap();
        assert_eq!(ask(), None, "a removal forgets");
    }

    #[test]
    fn near_is_what_the_look_up_would_say() {
        let fake = Fake::default();
        let users = CachedUsers::new(&fake);
        let alice = user("Alice");
        let question = Question::Login {
            realm: "atlanta.example",
            username: "alice",
        };
        let ask = || now(users.by_login("atlanta.example", "alice")).unwrap();
        assert_eq!(users.near(question), None, "nothing was asked for yet");
        assert_eq!(ask(), None);
        assert_eq!(users.near(question), Some(None), "nobody is an answer as well");
        now(users.put(&alice)).unwrap();
        assert_eq!(users.near(question), None, "a write forgets");
        assert_eq!(ask().as_deref(), Some(&alice));
        assert_eq!(users.near(question).flatten().as_deref(), Some(&alice));
        assert_eq!(
            users.near(Question::Jid(&alice.jid)),
            None,
            "each way to ask for somebody is for itself"
        );
        let long = "x".repeat(LOGIN);
        let absurd = Question::Login {
            realm: "atlanta.example",
            username: &long,
        };
        assert_eq!(users.near(absurd), Some(None));
        users.forget_all();
        assert_eq!(users.near(question), None, "a reload forgets");
        assert_eq!(fake.asked.load(Ordering::SeqCst), 2, "what is near asks nobody");
    }

    #[test]
    fn what_is_old_is_not_near() {
        let fake = Fake::default();
        let mut users = CachedUsers::new(&fake);
        let alice = user("Alice");
        let question = Question::Jid(&alice.jid);
        // Time cannot be moved on, but what it is counted from can be moved back.
        for (answer, life) in [(None, UNKNOWN), (Some(alice.clone()), KNOWN)] {
            fake.user.lock().unwrap().clone_from(&answer);
            assert_eq!(now(users.by_jid(&alice.jid)).unwrap().as_deref(), answer.as_ref());
            users.start -= life - Duration::from_millis(500);
            assert_eq!(users.near(question).map(|near| near.is_some()), Some(answer.is_some()));
            users.start -= Duration::from_millis(500);
            assert_eq!(users.near(question), None, "not longer than an answer is believed");
        }
    }

    #[test]
    fn errors_are_not_kept() {
        let fake = Fake {
            broken: Mutex::new(true),
            ..Fake::default()
        };
        let users = CachedUsers::new(&fake);
        let jid = user("").jid;
        assert!(now(users.by_jid(&jid)).is_err());
        *fake.broken.lock().unwrap() = false;
        assert_eq!(now(users.by_jid(&jid)).unwrap(), None);
    }

    #[test]
    fn an_answer_on_its_way_does_not_outlive_a_change() {
        let fake = Fake {
            gate: Some(Semaphore::new(0)),
            ..Fake::default()
        };
        let users = CachedUsers::new(&fake);
        let jid = user("").jid;
        let mut early = pin!(users.by_jid(&jid));
        assert!(
            early
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        now(users.put(&user("Alice"))).unwrap();
        fake.gate.as_ref().unwrap().add_permits(2);
        assert_eq!(now(early).unwrap(), None, "it saw the store before the write");
        assert_eq!(
            now(users.by_jid(&jid)).unwrap().map(|user| user.name.to_string()),
            Some("Alice".into())
        );
    }

    #[test]
    fn a_store_that_hangs_gathers_no_crowd() {
        let fake = Fake {
            gate: Some(Semaphore::new(0)),
            ..Fake::default()
        };
        let users = CachedUsers::new(&fake);
        let numbers: Vec<Tel> = (0..=WAITING)
            .map(|n| format!("+4420794{n:05}").parse().unwrap())
            .collect();
        let mut waiting: Vec<_> = numbers[..WAITING]
            .iter()
            .map(|number| Box::pin(users.by_number(number)))
            .collect();
        for future in &mut waiting {
            assert!(
                future
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
        }
        assert!(matches!(
            now(users.by_number(&numbers[WAITING])),
            Err(StoreError::Unavailable(_))
        ));
        drop(waiting);
        fake.gate.as_ref().unwrap().add_permits(1);
        assert_eq!(
            now(users.by_number(&numbers[WAITING])).unwrap(),
            None,
            "places come back"
        );
    }
}
