//! Every store and every shared state against its contract, on real servers; and what strangers and outages do to them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cusax_common::core::secret::Secret;
use cusax_common::core::store::{CallQuery, MAX_VALUE, SharedState, StoreError, UserStore};
use cusax_common::core::user::{Flags, User};
use cusax_common::io::state::{MemoryState, State};
use cusax_common::io::store::{PostgresStore, SqliteStore, Store};
use cusax_common::io::{cache::CachedUsers, clock, state, store};
use cusax_tests::lab::Scratch;
use cusax_tests::lab::services::{Postgres, Redis};
use jid::BareJid;

#[tokio::test]
async fn sqlite_keeps_the_promises_of_a_store() {
    let scratch = scratch("sqlite");
    let file = scratch.file("made/on/the/way/cusax.db");
    let url = format!("sqlite:{}", file.display());
    let (a, b) = (open(&url, None).await.unwrap(), open(&url, None).await.unwrap());
    store::contract::contract(&a, &b).await.unwrap();
    assert_eq!(a.dropped() + b.dropped(), 0);
    for name in ["cusax.db", "cusax.db-wal", "cusax.db-shm", ""] {
        let mode = fs::metadata(file.with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name:?} is for its owner only: {mode:o}");
    }
    a.close().await;
    b.close().await;
    let again = open(&url, None).await.unwrap();
    assert!(
        !again.calls(&CallQuery::default()).await.unwrap().is_empty(),
        "1: read back by a later process"
    );
}

#[tokio::test]
async fn postgres_keeps_the_promises_of_a_store() {
    let scratch = scratch("postgres");
    let server = Postgres::start(scratch.path()).unwrap_or_else(|fault| panic!("{fault}"));
    let password = Secret::new(server.password().to_owned());
    server.create("contract").unwrap();
    let url = server.url("contract");
    // Both bring the schema up to date at the same time, as two processes do that start together.
    let (a, b) = tokio::join!(open(&url, Some(&password)), open(&url, Some(&password)));
    let (a, b) = (a.unwrap(), b.unwrap());
    store::contract::contract(&a, &b).await.unwrap();
    assert_eq!(a.dropped() + b.dropped(), 0);

    let wrong = open(&url, Some(&Secret::new("wrong".into()))).await.unwrap_err();
    assert!(matches!(wrong, StoreError::Unavailable(_)), "{wrong}");
    assert!(!format!("{wrong} {wrong:?}").contains(password.expose()));
}

#[tokio::test]
async fn a_near_cache_keeps_the_promises_of_its_store() {
    let scratch = scratch("cache");
    let store = SqliteStore::open(&scratch.file("cusax.db")).await.unwrap();
    // One cache seen through two handles: between two caches the first promise holds after a while only.
    let users = CachedUsers::new(store);
    store::contract::contract(&users, &users.clone()).await.unwrap();
}

#[tokio::test]
async fn memory_keeps_the_promises_of_shared_state() {
    let state = State::open("memory:", None, "", 1 << 24).await.unwrap();
    state::contract::contract(&state, &state.clone()).await.unwrap();
}

#[tokio::test]
async fn a_full_memory_evicts_and_never_grows() {
    const LIMIT: u64 = 1 << 20;
    let state = MemoryState::new(LIMIT);
    let value = Bytes::from(vec![b'x'; 10_000]);
    for number in 0..500 {
        let key = format!("k{number}");
        state.put(&key, value.clone(), Duration::from_secs(600)).await.unwrap();
        assert_eq!(
            state.get(&key).await.unwrap().as_ref(),
            Some(&value),
            "4: the newest always has a place"
        );
    }
    assert!(
        (LIMIT / 2..=LIMIT).contains(&state.weight()),
        "4: {} of {LIMIT}",
        state.weight()
    );
    assert_eq!(state.get("k0").await.unwrap(), None, "4: the oldest went");
}

#[tokio::test]
async fn redis_keeps_the_promises_of_shared_state() {
    let scratch = scratch("redis");
    let server = Redis::start(scratch.path()).unwrap_or_else(|fault| panic!("{fault}"));
    let password = Secret::new(server.password().to_owned());
    let open = async |prefix| State::open(&server.url(), Some(&password), prefix, 0).await;
    let (a, b) = (open("cusax:").await.unwrap(), open("cusax:").await.unwrap());
    state::contract::contract(&a, &b).await.unwrap();

    let wrong = State::open(&server.url(), Some(&Secret::new("wrong".into())), "", 0)
        .await
        .unwrap_err();
    assert!(matches!(wrong, StoreError::Unavailable(_)), "{wrong}");
}

#[tokio::test]
async fn what_strangers_wrote_into_redis_is_not_believed() {
    let scratch = scratch("redis-strangers");
    let server = Redis::start(scratch.path()).unwrap_or_else(|fault| panic!("{fault}"));
    let password = Secret::new(server.password().to_owned());
    let open = async |prefix| State::open(&server.url(), Some(&password), prefix, 0).await.unwrap();
    let (ours, theirs) = (open("cusax:").await, open("cusax").await);
    let ttl = Duration::from_secs(600);
    ours.put("good", Bytes::from_static(b"value"), ttl).await.unwrap();
    theirs
        .put("-other:good", Bytes::from_static(b"another tenant"), ttl)
        .await
        .unwrap();
    for command in [
        &["LPUSH", "cusax:wrong-type", "x"][..],
        &["HSET", "cusax:wrong-type-2", "x", "y"],
        &["SET", "cusax:old-format", "{\"v\":0}"],
        // One mebibyte, made by the server itself; then one that wears our format and is a byte too large.
        &["SETRANGE", "cusax:mebibyte", "1048575", "x"],
        &[
            "EVAL",
            "redis.call('SET', 'cusax:a-byte-too-large', '\\1' .. string.rep('x', ARGV[1]))",
            "0",
            "65537",
        ],
        &["EVAL", "redis.call('SET', 'cusax:\\255', '\\1x')", "0"],
    ] {
        server
            .run(command)
            .unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
    }
    assert_eq!(MAX_VALUE, 65_536, "the row above is a byte too large");
    for key in [
        "wrong-type",
        "wrong-type-2",
        "old-format",
        "mebibyte",
        "a-byte-too-large",
    ] {
        let got = ours.get(key).await;
        assert!(matches!(got, Err(StoreError::Corrupt(_))), "{key}: {got:?}");
    }
    for key in ["old-format", "mebibyte"] {
        assert!(
            !ours.swap(key, None, Bytes::new(), ttl).await.unwrap(),
            "{key} is not nothing"
        );
    }
    assert!(ours.swap("wrong-type", None, Bytes::new(), ttl).await.is_err());
    let found = ours.scan("").await.unwrap();
    assert_eq!(
        found,
        [("good".to_owned(), Bytes::from_static(b"value"))],
        "only what is ours and whole"
    );
    assert_eq!(ours.dropped(), 5, "and what is not was counted");
    ours.put("wrong-type", Bytes::from_static(b"mended"), ttl)
        .await
        .unwrap();
    assert_eq!(
        ours.get("wrong-type").await.unwrap(),
        Some(Bytes::from_static(b"mended"))
    );
    assert!(ours.remove("mebibyte").await.unwrap());
}

#[tokio::test]
async fn redis_goes_hangs_and_comes_back() {
    let scratch = scratch("redis-outage");
    let mut server = Redis::start(scratch.path()).unwrap_or_else(|fault| panic!("{fault}"));
    let password = Secret::new(server.password().to_owned());
    let state = State::open(&server.url(), Some(&password), "cusax:", 0).await.unwrap();
    let put = async || state.put("k", Bytes::from_static(b"v"), Duration::from_secs(600)).await;
    put().await.unwrap();

    server.freeze().unwrap();
    bounded("put on a server that hangs", put()).await;
    bounded("scan on a server that hangs", state.scan("")).await;
    server.thaw().unwrap();
    recovers("redis that hung", put).await;

    server.stop().unwrap();
    for _ in 0..3 {
        bounded("put without a server", put()).await;
    }
    server.resume().unwrap();
    recovers("redis that was away", put).await;
    assert!(
        state
            .swap("k", Some(b"v"), Bytes::new(), Duration::from_secs(600))
            .await
            .unwrap(),
        "scripts are back too"
    );

    server.stop().unwrap();
    let start = clock::now().instant;
    assert!(State::open(&server.url(), Some(&password), "", 0).await.is_err());
    assert!(start.elapsed() < LIMIT, "opening without a server is bounded as well");
}

#[tokio::test]
async fn postgres_goes_and_comes_back_and_its_strangers_are_not_believed() {
    let scratch = scratch("postgres-outage");
    let mut server = Postgres::start(scratch.path()).unwrap_or_else(|fault| panic!("{fault}"));
    let password = Secret::new(server.password().to_owned());
    server.create("outage").unwrap();
    let url = server.url("outage");
    let store = PostgresStore::open(&url, Some(&password)).await.unwrap();
    let (alice, bob) = (user("alice@atlanta.example"), user("bob@atlanta.example"));
    store.put(&alice).await.unwrap();
    store.put(&bob).await.unwrap();

    server.stop().unwrap();
    for _ in 0..3 {
        bounded("put without a server", store.put(&alice)).await;
        bounded("a look-up without a server", store.by_jid(&alice.jid)).await;
    }
    bounded("opening without a server", Store::open(&url, Some(&password))).await;
    server.resume().unwrap();
    recovers("postgres that was away", || store.put(&alice)).await;

    // Somebody holds the lock on which all writers wait.
    let lock = "BEGIN; UPDATE user_changes SET value = value WHERE id = 1; SELECT pg_sleep(60)";
    let mut blocker = server.spawn("outage", lock).unwrap();
    let held = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    while server.run("outage", held).unwrap().trim() != "1" {
        assert!(blocker.ended().unwrap().is_none(), "{}", blocker.log());
    }
    bounded("put behind a lock", store.put(&alice)).await;
    assert_eq!(
        store.by_jid(&bob.jid).await.unwrap().as_deref(),
        Some(&bob),
        "reads do not wait for writers"
    );
    assert!(blocker.ended().unwrap().is_none(), "the lock was held all the time");
    drop(blocker);
    server
        .run(
            "outage",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
        )
        .unwrap();
    recovers("postgres that was locked", || store.put(&alice)).await;

    let strange = "INSERT INTO users VALUES ('NOT a jid', '', '', false, false, 0); \
                   INSERT INTO aors VALUES ('sip:Bob@ATLANTA.example', 'bob@atlanta.example', 0); \
                   INSERT INTO call_records VALUES ('x', 1, 1, 1, NULL, '', NULL, '', NULL, NULL, '', 70000, '', '')";
    server.run("outage", strange).unwrap();
    let got = store.by_jid(&bob.jid).await;
    assert!(matches!(got, Err(StoreError::Corrupt(_))), "{got:?}");
    assert_eq!(
        store.list(None, 10).await.unwrap(),
        [alice],
        "lists leave out what cannot be read"
    );
    assert_eq!(store.calls(&CallQuery::default()).await.unwrap(), []);
    assert_eq!(store.dropped(), 3, "and count it");
    server
        .run("outage", "ALTER TABLE users RENAME COLUMN name TO called")
        .unwrap();
    let got = store.by_jid(&bob.jid).await;
    assert!(matches!(got, Err(StoreError::Corrupt(_))), "another schema: {got:?}");

    server.run("outage", NEWER).unwrap();
    let newer = Store::open(&url, Some(&password)).await.unwrap_err().to_string();
    assert!(
        newer.contains("version 9999") && newer.contains("up to "),
        "names both versions: {newer}"
    );
    server.create("another").unwrap();
    server.run("another", "CREATE TABLE users (id int)").unwrap();
    let foreign = Store::open(&server.url("another"), Some(&password)).await.unwrap_err();
    assert!(
        matches!(foreign, StoreError::Corrupt(_)),
        "somebody else's database: {foreign}"
    );
}

#[tokio::test]
async fn addresses_of_nothing_are_refused_and_keep_their_secrets() {
    for url in [
        "",
        "mysql://x",
        "sqlite:",
        "sqlite::memory:",
        "postgres://cusax:canary@[",
        "cusax.db",
    ] {
        let error = Store::open(url, None).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)), "{url}: {error}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{url}");
    }
    for url in ["", "memory", "http://x", "redis://:canary@[/0"] {
        let error = State::open(url, None, "", 0).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)), "{url}: {error}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{url}");
    }
    let scratch = scratch("no-database");
    let file = scratch
        .write("text.db", "This is no database, and must not become one.".repeat(100))
        .unwrap();
    let error = SqliteStore::open(&file).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    let error = SqliteStore::open(&file.join("below/a/file")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
}

#[test]
fn both_dialects_have_the_same_migrations() {
    let names = |dialect: &str| {
        let folder = format!("{}/migrations/{dialect}", env!("CARGO_MANIFEST_DIR"));
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("sqlite"), names("postgres"));
    assert!(!names("sqlite").is_empty());
}

fn scratch(name: &str) -> Scratch {
    Scratch::new(&format!("contracts-{name}")).unwrap_or_else(|fault| panic!("{fault}"))
}

async fn open(url: &str, password: Option<&Secret<String>>) -> Result<Store, StoreError> {
    Store::open(url, password).await
}

fn user(jid: &str) -> User {
    User {
        jid: BareJid::new(jid).expect("the tests name JIDs"),
        name: "".into(),
        aors: Vec::new(),
        numbers: Vec::new(),
        credentials: Vec::new(),
        flags: Flags::default(),
        language: "en".into(),
    }
}

/// Asserts that the work fails, as unavailable, and soon.
async fn bounded<T: std::fmt::Debug>(what: &str, work: impl Future<Output = Result<T, StoreError>>) {
    let start = clock::now().instant;
    let done = work.await;
    assert!(matches!(done, Err(StoreError::Unavailable(_))), "{what}: {done:?}");
    assert!(start.elapsed() < LIMIT, "{what} took {:?}", start.elapsed());
}

/// Asserts that the work succeeds again before long.
async fn recovers<T, F: Future<Output = Result<T, StoreError>>>(what: &str, mut work: impl FnMut() -> F) {
    let end: Instant = clock::now().instant + LIMIT;
    loop {
        match work().await {
            Ok(_) => return,
            Err(error) if clock::now().instant > end => panic!("{what} does not recover: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Longer than the patience of any backend, with room for a busy machine.
const LIMIT: Duration = Duration::from_secs(15);
/// What a later version of the program would leave in the table of migrations.
const NEWER: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES (9999, 'later', true, '', 0)";
