//! The promises of [`SharedState`] as one executable text, which every backend runs.
//!
//! Each assertion begins with the number of the promise. Time is real here: a server's clock cannot be moved.

use std::time::Duration;

use bytes::Bytes;

use crate::core::store::{MAX_KEY, MAX_VALUE, SharedState, StoreError};

/// Runs promises 1, 2, 3 and 5 against an empty state, seen through two handles. Promise 4 is each backend's own.
///
/// # Errors
/// The first error of the backend.
///
/// # Panics
/// At the first promise that is not kept, naming it.
pub async fn contract<S: SharedState>(a: &S, b: &S) -> Result<(), StoreError> {
    life(a, b).await?;
    swapping(a, b).await?;
    scanning(a, b).await?;
    limits(a, b).await
}

/// Promise 1.
async fn life<S: SharedState>(a: &S, b: &S) -> Result<(), StoreError> {
    assert_eq!(a.get("k").await?, None, "1: nothing yet");
    a.put("k", text("one"), LONG).await?;
    assert_eq!(b.get("k").await?, Some(text("one")), "1: seen by another handle");
    b.put("k", text("two"), LONG).await?;
    assert_eq!(a.get("k").await?, Some(text("two")), "1: replaced");
    assert!(b.remove("k").await?, "1: removed");
    assert!(!a.remove("k").await?, "1: only once");
    assert_eq!(a.get("k").await?, None, "1: gone");
    for odd in [
        Bytes::new(),
        Bytes::from_static(b"\0\x01\xff\r\n"),
        Bytes::from(vec![0x2a; MAX_VALUE]),
    ] {
        a.put("odd", odd.clone(), LONG).await?;
        assert_eq!(b.get("odd").await?, Some(odd), "1: any bytes");
    }
    a.put("odd", text("x"), Duration::ZERO).await?;
    assert_eq!(b.get("odd").await?, None, "1: no life is a removal");

    a.put("short", text("x"), SHORT).await?;
    a.put("shortened", text("x"), LONG).await?;
    a.put("shortened", text("x"), SHORT).await?;
    a.put("lengthened", text("x"), SHORT).await?;
    b.put("lengthened", text("x"), LONG).await?;
    assert!(
        a.swap("swapped", None, text("x"), SHORT).await?,
        "1: with a life of its own"
    );
    assert_eq!(
        b.get("short").await?,
        Some(text("x")),
        "1: lives until its time has passed"
    );
    tokio::time::sleep(2 * SHORT).await;
    for key in ["short", "shortened", "swapped"] {
        assert_eq!(b.get(key).await?, None, "1: {key} is gone");
        assert!(!b.remove(key).await?, "1: {key} is not there to remove");
    }
    assert_eq!(a.get("lengthened").await?, Some(text("x")), "1: the later life counts");
    assert!(
        a.swap("short", None, text("y"), LONG).await?,
        "2: an expired value is no value"
    );
    let living: Vec<_> = b.scan("").await?.into_iter().map(|(key, _)| key).collect();
    assert_eq!(sorted(living), ["lengthened", "short"], "3: only what lives");
    assert!(a.remove("short").await? && a.remove("lengthened").await?, "1: tidy");
    Ok(())
}

/// Promise 2.
async fn swapping<S: SharedState>(a: &S, b: &S) -> Result<(), StoreError> {
    assert!(
        !a.swap("s", Some(b"one"), text("two"), LONG).await?,
        "2: nothing is not something"
    );
    assert!(
        !a.swap("s", Some(b""), text("two"), LONG).await?,
        "2: nothing is not the empty value"
    );
    assert_eq!(b.get("s").await?, None, "2: unchanged");
    assert!(a.swap("s", None, Bytes::new(), LONG).await?, "2: from nothing");
    assert!(
        !b.swap("s", None, text("two"), LONG).await?,
        "2: the empty value is not nothing"
    );
    assert!(
        b.swap("s", Some(b""), text("two"), LONG).await?,
        "2: from the empty value"
    );
    assert!(
        !a.swap("s", Some(b"TWO"), text("three"), LONG).await?,
        "2: byte by byte"
    );
    assert_eq!(b.get("s").await?, Some(text("two")), "2: unchanged");

    // Everybody adds one to what they believe; every success counts exactly once.
    a.put("sum", text("0"), LONG).await?;
    let add = async |state: &S| -> Result<(), StoreError> {
        let mut done = 0;
        while done < ADDITIONS {
            let now = state.get("sum").await?.expect("2: the sum lives");
            let sum: u32 = String::from_utf8_lossy(&now).parse().expect("2: the sum is whole");
            if state
                .swap("sum", Some(&now), Bytes::from((sum + 1).to_string()), LONG)
                .await?
            {
                done += 1;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    let (one, two, three) = tokio::join!(add(a), add(b), add(a));
    one.and(two).and(three)?;
    assert_eq!(
        a.get("sum").await?,
        Some(Bytes::from((3 * ADDITIONS).to_string())),
        "2: nothing lost, nothing doubled"
    );
    assert!(a.remove("s").await? && b.remove("sum").await?, "1: tidy");
    Ok(())
}

/// Promise 3.
async fn scanning<S: SharedState>(a: &S, b: &S) -> Result<(), StoreError> {
    for key in HOSTILE {
        a.put(key, text(key), LONG).await?;
    }
    for key in HOSTILE {
        assert_eq!(b.get(key).await?, Some(text(key)), "3: {key:?} is one key");
        let expected: Vec<_> = HOSTILE.iter().filter(|other| other.starts_with(key)).collect();
        let found = b.scan(key).await?;
        assert!(
            found.iter().all(|(key, value)| *value == text(key)),
            "3: each with its value"
        );
        let keys = found.into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            sorted(keys),
            sorted(expected.iter().map(ToString::to_string).collect()),
            "3: prefix {key:?}"
        );
    }
    for key in HOSTILE {
        assert!(b.remove(key).await?, "3: {key:?} removed");
    }
    for number in 0..MANY {
        a.put(&format!("many:{number}"), text("x"), LONG).await?;
    }
    assert_eq!(b.scan("many:").await?.len(), MANY, "3: every one of many");
    for number in 0..MANY {
        a.remove(&format!("many:{number}")).await?;
    }
    assert_eq!(b.scan("").await?, [], "3: none is left");
    Ok(())
}

/// Promise 5.
async fn limits<S: SharedState>(a: &S, b: &S) -> Result<(), StoreError> {
    let refused = |what: Result<(), StoreError>| matches!(what, Err(StoreError::Refused(_)));
    let (long, longest) = ("k".repeat(MAX_KEY + 1), "k".repeat(MAX_KEY));
    a.put(&longest, text("x"), LONG).await?;
    assert_eq!(b.get(&longest).await?, Some(text("x")), "5: the longest key");
    for size in [MAX_VALUE + 1, 1 << 20] {
        let large = Bytes::from(vec![b'x'; size]);
        assert!(refused(a.put("k", large.clone(), LONG).await), "5: a value of {size}");
        assert!(
            refused(a.swap("k", None, large, LONG).await.map(drop)),
            "5: a swap to {size}"
        );
    }
    assert!(refused(a.put(&long, text("x"), LONG).await), "5: put with a long key");
    assert!(refused(a.get(&long).await.map(drop)), "5: get with a long key");
    assert!(refused(a.remove(&long).await.map(drop)), "5: remove with a long key");
    assert!(
        refused(a.swap(&long, None, text("x"), LONG).await.map(drop)),
        "5: swap with a long key"
    );
    assert!(refused(a.scan(&long).await.map(drop)), "5: scan with a long prefix");
    assert!(
        refused(a.put("k", text("x"), Duration::MAX).await),
        "5: a life beyond reason"
    );
    assert_eq!(b.get("k").await?, None, "5: a refusal changes nothing");
    assert!(b.remove(&longest).await?, "1: tidy");
    Ok(())
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn sorted(mut keys: Vec<String>) -> Vec<String> {
    keys.sort();
    keys
}

const LONG: Duration = Duration::from_secs(600);
/// Long enough to be read back on a busy machine, short enough to wait for.
const SHORT: Duration = Duration::from_millis(1500);
/// How often each of three adds.
const ADDITIONS: u32 = 50;
/// More than one step of a scan.
const MANY: usize = 1200;
/// Keys that mean something to a pattern, a protocol or a decoder.
const HOSTILE: &[&str] = &[
    "a",
    "a*",
    "a*b",
    "a?",
    "a[b]",
    "a[^b]",
    "a\\",
    "a\\*",
    "a-b",
    "a'b",
    "a\"b",
    "a%b",
    "a_b",
    "a b",
    "a\r\nb",
    "a\0b",
    "a{b}",
    "\u{1f57a}",
    "\u{1f57a}\u{1f3fd}",
    "ab",
];
