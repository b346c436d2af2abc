//! The promises of [`UserStore`] as one executable text, which every backend runs.
//!
//! Each assertion begins with the number of the promise. The texts below are those that have broken stores elsewhere.

use std::sync::Arc;

use jid::BareJid;

use crate::core::entropy::Seeded;
use crate::core::id::SessionId;
use crate::core::notice::{NoticeKind, Notices};
use crate::core::policy::NumberClass;
use crate::core::record::{CallRecord, Cause, Impp, Warned};
use crate::core::secret::Secret;
use crate::core::store::{CallQuery, Choice, Put, Question, StoreError, UserStore};
use crate::core::tel::Tel;
use crate::core::time::Wall;
use crate::core::user::{Algorithm, Aor, Credential, Flags, Ha1, User};

/// Runs every promise against an empty store, seen through two handles.
///
/// # Errors
/// The first error of the store.
///
/// # Panics
/// At the first promise that is not kept, naming it.
pub async fn contract<S: UserStore>(a: &S, b: &S) -> Result<(), StoreError> {
    reading(a, b).await?;
    ownership(a, b).await?;
    crowd(a, b).await?;
    texts(a, b).await?;
    records(a, b).await
}

/// Promises 1 and 4.
async fn reading<S: UserStore>(a: &S, b: &S) -> Result<(), StoreError> {
    let romeo = romeo();
    assert_eq!(a.list(None, 10).await?, [], "the contract begins with an empty store");
    assert_eq!(a.by_jid(&romeo.jid).await?, None, "1: nobody yet");
    let before = a.changes().await?;
    assert_eq!(a.put(&romeo).await?, Put::Done, "1: write");
    let after = b.changes().await?;
    assert!(
        after > before,
        "4: the counter grew for another handle: {before}, {after}"
    );
    let whole = Some(Arc::new(romeo.clone()));
    assert_eq!(b.by_jid(&romeo.jid).await?, whole, "1: by JID");
    for aor in &romeo.aors {
        assert_eq!(b.by_aor(aor).await?, whole, "1: by AOR {aor}");
    }
    for number in &romeo.numbers {
        assert_eq!(b.by_number(number).await?, whole, "1: by number {number}");
    }
    assert_eq!(b.by_login("montague.example", "romeo").await?, whole, "1: by login");
    let near = |store: &S| store.near(Question::Jid(&romeo.jid));
    assert!(near(b).is_none_or(|near| near == whole), "7: near is what was read");
    assert_eq!(
        b.by_login("romeo", "montague.example").await?,
        None,
        "1: realm and username are not mixed up"
    );
    assert_eq!(
        b.by_login("montague.example", "ROMEO").await?,
        None,
        "1: logins keep their case"
    );

    let mut turned = romeo.clone();
    turned.aors.reverse();
    turned.numbers.pop();
    turned.credentials.truncate(1);
    turned.flags = Flags {
        video: false,
        notices: Notices::of(&[NoticeKind::Incoming]),
        impp: true,
    };
    assert_eq!(b.put(&turned).await?, Put::Done, "1: replace");
    let turned = Some(Arc::new(turned));
    assert!(
        near(b).is_none_or(|near| near == turned),
        "7: nothing old is near after a write"
    );
    assert_eq!(
        a.by_jid(&romeo.jid).await?,
        turned,
        "1: replaced as a whole, order kept"
    );
    assert_eq!(
        a.by_number(&romeo.numbers[1]).await?,
        None,
        "1: what was left out is free"
    );
    let grown = a.changes().await?;
    assert!(grown > after, "4: grows with a replacement");

    assert!(!a.remove(&jid("nobody@montague.example")).await?, "3: nobody to remove");
    let choice = Choice {
        notices: Notices::of(&[NoticeKind::Missed]),
        impp: false,
    };
    let (before, known) = (b.changes().await?, b.by_jid(&romeo.jid).await?);
    assert!(a.choose(&romeo.jid, choice).await?, "1: chosen");
    assert!(b.changes().await? > before, "4: a choice is a change");
    let mut chosen = known.map(Arc::unwrap_or_clone).expect("he is there");
    (chosen.flags.notices, chosen.flags.impp) = (choice.notices, choice.impp);
    assert_eq!(
        b.by_jid(&romeo.jid).await?,
        Some(Arc::new(chosen)),
        "1: nothing else changed"
    );
    assert!(
        !a.choose(&jid("nobody@montague.example"), choice).await?,
        "1: nobody chooses"
    );
    assert!(a.remove(&romeo.jid).await?, "3: removed");
    assert!(b.changes().await? > grown, "4: grows with a removal");
    assert!(
        near(a).is_none_or(|near| near.is_none()),
        "7: nobody who was removed is near"
    );
    assert_eq!(b.by_jid(&romeo.jid).await?, None, "3: gone");
    Ok(())
}

/// Promises 2 and 3.
async fn ownership<S: UserStore>(a: &S, b: &S) -> Result<(), StoreError> {
    let romeo = romeo();
    assert_eq!(a.put(&romeo).await?, Put::Done, "2: the first comes");
    let before = a.changes().await?;
    let taken = |what: &str| Put::Taken {
        what: what.into(),
        owner: romeo.jid.clone(),
    };
    let mut thief = plain("mallory@capulet.example");
    thief.aors = vec![aor("sip:own@capulet.example"), romeo.aors[1].clone()];
    assert_eq!(b.put(&thief).await?, taken(romeo.aors[1].as_str()), "2: an AOR");
    thief.aors.pop();
    thief.numbers = vec![romeo.numbers[0].clone()];
    assert_eq!(b.put(&thief).await?, taken(romeo.numbers[0].as_str()), "2: a number");
    thief.numbers.clear();
    // Another algorithm is the same login.
    thief.credentials = vec![credential("montague.example", "romeo", Algorithm::Sha512_256)];
    assert_eq!(b.put(&thief).await?, taken("romeo@montague.example"), "2: a login");
    assert_eq!(
        b.by_jid(&thief.jid).await?,
        None,
        "2: nothing of a refused user is stored"
    );
    assert_eq!(
        b.by_aor(&aor("sip:own@capulet.example")).await?,
        None,
        "2: not even what was free"
    );
    assert_eq!(
        a.by_jid(&romeo.jid).await?,
        Some(Arc::new(romeo.clone())),
        "2: the owner is unchanged"
    );
    assert_eq!(a.changes().await?, before, "2: nothing changed");

    assert!(a.remove(&romeo.jid).await?, "3: removed");
    thief.aors = romeo.aors.clone();
    thief.numbers = romeo.numbers.clone();
    thief.credentials = romeo.credentials.clone();
    assert_eq!(b.put(&thief).await?, Put::Done, "3: everything is free");
    assert!(a.remove(&thief.jid).await?, "3: removed again");
    Ok(())
}

/// Promises 1 and 2 with many users and two writers at once.
async fn crowd<S: UserStore>(a: &S, b: &S) -> Result<(), StoreError> {
    let mut expected = Vec::new();
    // Not in the order of their JIDs, and with bytes that sort otherwise in some locales.
    for name in ["m", "a", "z", "a-b", "ab", "a.b", "ä", "_"] {
        let user = plain(&format!("{name}@verona.example"));
        assert_eq!(a.put(&user).await?, Put::Done, "1: {name}");
        expected.push(user);
    }
    expected.sort_by(|one, other| one.jid.as_str().cmp(other.jid.as_str()));
    assert_eq!(b.list(None, 100).await?, expected, "1: all, in order");
    let mut pages = Vec::new();
    while let page @ [_, ..] = &b.list(pages.last().map(|user: &User| &user.jid), 3).await?[..] {
        pages.extend_from_slice(page);
    }
    assert_eq!(pages, expected, "1: page by page");
    assert_eq!(b.list(None, 0).await?, [], "1: none asked for");

    let (mut one, mut other) = (expected[0].clone(), expected[1].clone());
    for round in 0..10 {
        // Both want both, in opposite order, which is how locks meet head on.
        let wanted = [
            aor(&format!("sip:{round}a@verona.example")),
            aor(&format!("sip:{round}b@verona.example")),
        ];
        one.aors = wanted.to_vec();
        other.aors = wanted.iter().rev().cloned().collect();
        let (left, right) = join(a.put(&one), b.put(&other)).await;
        let winner = match (left?, right?) {
            (Put::Done, Put::Taken { owner, .. }) if owner == one.jid => &one,
            (Put::Taken { owner, .. }, Put::Done) if owner == other.jid => &other,
            both => panic!("2: exactly one of two writers wins: {both:?}"),
        };
        for wanted in &wanted {
            assert_eq!(
                a.by_aor(wanted).await?.as_deref(),
                Some(winner),
                "2: the winner has all, round {round}"
            );
        }
    }
    for user in &expected {
        assert!(b.remove(&user.jid).await?, "3: {}", user.jid);
    }
    Ok(())
}

/// Promise 5.
async fn texts<S: UserStore>(a: &S, b: &S) -> Result<(), StoreError> {
    for text in HOSTILE {
        let mut user = plain("o\\27hara@xn--nxasmq6b.example");
        user.name = (*text).into();
        user.language = (*text).into();
        user.aors = vec![Aor::new(text, "verona.example").expect("none of them holds a control character")];
        user.credentials = vec![credential(text, text, Algorithm::Md5)];
        assert_eq!(a.put(&user).await?, Put::Done, "5: {text:?} is taken");
        assert_eq!(
            b.by_login(text, text).await?.as_deref(),
            Some(&user),
            "5: {text:?} by login"
        );
        assert_eq!(
            b.by_aor(&user.aors[0]).await?.as_deref(),
            Some(&user),
            "5: {text:?} by AOR"
        );
        assert_eq!(b.list(None, 10).await?, [user.clone()], "5: {text:?} in a list");
        let mut call = call(1);
        call.from = (*text).into();
        call.trunk = Some((*text).into());
        a.record(&call).await?;
        let query = CallQuery {
            session: Some(call.session),
            ..CallQuery::default()
        };
        assert_eq!(b.calls(&query).await?, [call], "5: {text:?} in a record");
    }
    assert_eq!(b.by_login("%", "%").await?, None, "5: a wildcard is a character");
    let kept = b.list(None, 10).await?;
    let before = b.changes().await?;
    let big = "x".repeat(1 << 20);
    for text in ["\0", "a\0b", &big] {
        for field in 0..4 {
            let mut user = plain("nul@verona.example");
            match field {
                0 => user.name = text.into(),
                1 => user.language = text.into(),
                2 => user.credentials = vec![credential(text, "nul", Algorithm::Md5)],
                _ => user.credentials = vec![credential("verona.example", text, Algorithm::Md5)],
            }
            assert!(
                matches!(a.put(&user).await, Err(StoreError::Refused(_))),
                "5: field {field} refuses"
            );
        }
        let mut call = call(2);
        call.to = text.into();
        assert!(
            matches!(a.record(&call).await, Err(StoreError::Refused(_))),
            "5: a record refuses"
        );
        assert_eq!(a.by_login(text, text).await?, None, "5: nobody logs in like that");
    }
    assert_eq!(
        (b.list(None, 10).await?, b.changes().await?),
        (kept, before),
        "5: a refusal changes nothing"
    );
    assert!(a.remove(&jid("o\\27hara@xn--nxasmq6b.example")).await?, "3: removed");
    Ok(())
}

/// Promise 6.
async fn records<S: UserStore>(a: &S, b: &S) -> Result<(), StoreError> {
    let mut calls: Vec<CallRecord> = (10..16).map(call).collect();
    calls[1].caller = Some(jid("romeo@montague.example"));
    calls[2].callee = Some(jid("romeo@montague.example"));
    for (cause, call) in [Cause::CallerHungUp, Cause::Cancelled, Cause::Shutdown]
        .into_iter()
        .zip(&mut calls)
    {
        call.cause = cause;
    }
    (calls[3].class, calls[3].warning, calls[3].impp) = (Some(NumberClass::IntlPremium), Warned::Tone, Impp::Verified);
    calls[4].answered = None;
    a.record_many(&calls[..4]).await?;
    for call in &calls {
        a.record(call).await?;
    }
    a.record_many(&calls[2..]).await?;
    calls.reverse();
    let all = |limit| CallQuery {
        limit,
        ..CallQuery::default()
    };
    let listed = b.calls(&all(0)).await?;
    assert_eq!(listed[..calls.len()], calls, "6: written once, the latest start first");
    assert_eq!(b.calls(&all(2)).await?, calls[..2], "6: no more than asked for");
    let of_romeo = CallQuery {
        user: Some(jid("romeo@montague.example")),
        ..CallQuery::default()
    };
    assert_eq!(b.calls(&of_romeo).await?, calls[3..5], "6: of one user, on either side");
    let other = CallQuery {
        session: Some(calls[0].session),
        ..of_romeo.clone()
    };
    assert_eq!(b.calls(&other).await?, [], "6: both conditions hold");

    let mut again = calls[5].clone();
    again.status = 603;
    again.cause = Cause::Rejected;
    again.ended = again.ended.after(std::time::Duration::from_secs(1));
    b.record_many(std::slice::from_ref(&again)).await?;
    b.record_many(&[]).await?;
    let one = CallQuery {
        session: Some(again.session),
        ..CallQuery::default()
    };
    assert_eq!(a.calls(&one).await?, [again], "6: written again, replaced");
    let unthinkable = CallRecord {
        ended: Wall(u64::MAX),
        ..call(20)
    };
    assert!(
        matches!(a.record(&unthinkable).await, Err(StoreError::Refused(_))),
        "6: a time beyond reason"
    );
    let some = [call(21), unthinkable];
    assert!(
        matches!(a.record_many(&some).await, Err(StoreError::Refused(_))),
        "6: among others as well"
    );
    Ok(())
}

/// Both at once, on one task: the second begins before the first has ended.
async fn join<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    tokio::join!(a, b)
}

/// A user with some of everything.
fn romeo() -> User {
    User {
        name: "Romeo Montague".into(),
        aors: vec![aor("sip:romeo@montague.example"), aor("sip:R.Montague@verona.example")],
        numbers: vec![tel("+390458000001"), tel("+390458000002")],
        credentials: vec![
            credential("montague.example", "romeo", Algorithm::Sha256),
            credential("montague.example", "romeo", Algorithm::Md5),
        ],
        flags: Flags {
            video: true,
            notices: Notices::default(),
            impp: false,
        },
        language: "it".into(),
        ..plain("romeo@montague.example")
    }
}

fn plain(jid_text: &str) -> User {
    User {
        jid: jid(jid_text),
        name: "".into(),
        aors: Vec::new(),
        numbers: Vec::new(),
        credentials: Vec::new(),
        flags: Flags::default(),
        language: "en".into(),
    }
}

fn call(number: u64) -> CallRecord {
    let started = Wall(1_700_000_000_000 + number);
    CallRecord {
        session: SessionId::draw(&mut Seeded::new(number)),
        started,
        answered: Some(started),
        ended: started,
        caller: None,
        from: "+390458000001".into(),
        callee: None,
        to: "sip:juliet@capulet.example".into(),
        class: None,
        trunk: None,
        cause: Cause::CalleeHungUp,
        status: 200,
        warning: Warned::None,
        impp: Impp::Absent,
    }
}

fn credential(realm: &str, username: &str, algorithm: Algorithm) -> Credential {
    let ha1 = Ha1::from_hex("0123456789abcdef0123456789abcdef").expect("hexadecimal digits");
    Credential {
        username: username.into(),
        realm: realm.into(),
        algorithm,
        ha1: Secret::new(ha1),
    }
}

fn jid(text: &str) -> BareJid {
    BareJid::new(text).expect("the contract names JIDs")
}

fn aor(text: &str) -> Aor {
    text.parse().expect("the contract names addresses of record")
}

fn tel(text: &str) -> Tel {
    text.parse().expect("the contract names global numbers")
}

/// Texts that have meant something else to a database, a pattern or a decoder.
const HOSTILE: &[&str] = &[
    "'",
    "\"",
    "\\",
    "\\'",
    "%",
    "_",
    "%_%",
    "'; DROP TABLE users; --",
    "$1",
    "?1",
    ":name",
    "NULL",
    "{\"a\":1}",
    "é and e\u{301}",
    "\u{202e}rtl",
    "\u{1f57a}\u{1f3fd}",
    "\u{fffd}\u{feff}\u{10ffff}",
    " edges ",
];
