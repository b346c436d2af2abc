//! What a cached user costs: bounds, so that they do not creep up.

#![cfg(feature = "io")]
#![allow(
    unsafe_code,
    reason = "counting bytes takes an allocator, which is unsafe by its trait"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicIsize, Ordering};

use cusax_common::core::secret::Secret;
use cusax_common::core::store::{Put, Question, UserStore};
use cusax_common::core::user::{Algorithm, Credential, Flags, Ha1, User};
use cusax_common::io::cache::CachedUsers;
use cusax_common::io::store::SqliteStore;

struct Counting;

/// Of all threads, since a store answers from another one.
static LIVE: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    /// How often this thread has asked.
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    LIVE.fetch_add(bytes, Ordering::SeqCst);
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches numbers only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.with(|asked| asked.set(asked.get() + 1));
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test, so that nothing else is counted with it.
#[tokio::test]
async fn a_cached_user_takes_little() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&folder.path().join("users.db"))
        .await
        .expect("a store");
    for number in 0..USERS {
        assert_eq!(store.put(&user(number)).await.expect("a store that is well"), Put::Done);
    }
    let logins: Vec<String> = (0..USERS).map(login).collect();
    // What the store itself keeps it has now.
    for username in &logins[..WARM] {
        store
            .by_login(REALM, username)
            .await
            .expect("an answer")
            .expect("a user");
    }
    let users = CachedUsers::new(store);
    let before = LIVE.load(Ordering::SeqCst);
    for username in &logins {
        users
            .by_login(REALM, username)
            .await
            .expect("an answer")
            .expect("a user");
    }
    let taken = usize::try_from(LIVE.load(Ordering::SeqCst) - before).expect("a cache takes something");

    let asked = ASKED.with(Cell::get);
    for username in &logins {
        let question = Question::Login { realm: REALM, username };
        let found = black_box(users.near(question));
        assert!(found.flatten().is_some(), "everybody is near");
    }
    assert_eq!(ASKED.with(Cell::get), asked, "who is near costs no memory");
    println!("{} bytes for a user", taken / USERS);
    assert!(taken / USERS <= MOST, "{} bytes for a user", taken / USERS);
}

fn login(number: usize) -> String {
    format!("phone{number:06}")
}

/// As most are: one address, one number, and a secret for each algorithm.
fn user(number: usize) -> User {
    let login = login(number);
    let credential = |algorithm| Credential {
        username: login.as_str().into(),
        realm: REALM.into(),
        algorithm,
        ha1: Secret::new(Ha1::of(algorithm, &login, REALM, "secret")),
    };
    User {
        jid: format!("{login}@example.com").parse().expect("a JID"),
        name: login.as_str().into(),
        aors: vec![format!("sip:{login}@{REALM}").parse().expect("an address")],
        numbers: vec![format!("+4420{number:08}").parse().expect("a number")],
        credentials: Algorithm::ALL.map(credential).to_vec(),
        flags: Flags::default(),
        language: "en".into(),
    }
}

/// Fills tables that double as far as two hundred thousand do.
const USERS: usize = 1_560;
/// So many look-ups fill what a store keeps for itself.
const WARM: usize = 100;
const REALM: &str = "sip.example.com";
/// In bytes. The cache's parts fill by a hash of chance, so that one of them may double or not: a few bytes a user.
const MOST: usize = 620;
