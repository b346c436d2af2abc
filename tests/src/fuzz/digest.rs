//! Challenges and proofs.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cusax_b2bua::core::auth::{Authenticator, DEFAULT_ALGORITHMS, Header, NONCE_LIFE, Peer, credentials};
use cusax_b2bua::core::flow::Transport;
use cusax_common::core::entropy::Seeded;
use cusax_common::core::secret::Secret;
use cusax_common::core::sip::typed::{Authorization, Challenge, Credentials, DigestProof, WwwAuthenticate};
use cusax_common::core::sip::{Headers, Message, Request, TypedHeader as _, Uri, Value, digest as sums};
use cusax_common::core::time::Wall;
use cusax_common::core::user::{Algorithm, Credential, Flags, Ha1, User};

use super::feed::Feed;

/// Whose proofs they are.
const REALM: &str = "example.com";

/// The first byte chooses: challenges that are answered, or proofs that are judged. What proves something was made
/// with the password, for this request, with a nonce of ours that is young, and counts once.
pub fn digest(data: &[u8]) {
    let mut feed = Feed::new(data);
    if feed.flag() {
        answered(&mut feed);
    } else {
        judged(&mut feed);
    }
}

/// A challenge of any text is answered so that the other side reads what it asked for.
fn answered(feed: &mut Feed<'_>) {
    let mut headers = Headers::new();
    headers.push(WwwAuthenticate::NAME, Value::cleaned(&feed.text()));
    let (username, cnonce, uri) = (feed.text(), feed.text(), feed.text());
    let Ok(WwwAuthenticate(challenge)) = headers.one() else {
        return;
    };
    let (Some(realm), Some(nonce), Some(algorithm)) = (challenge.realm(), challenge.nonce(), challenge.algorithm())
    else {
        return;
    };
    let proof = DigestProof {
        username: &username,
        realm,
        nonce,
        uri: &uri,
        response: "0",
        algorithm,
        opaque: challenge.opaque(),
        auth: challenge.offers_auth().then_some((&*cnonce, feed.number())),
    };
    let mut headers = Headers::new();
    headers.put(&Authorization(Credentials::digest(&proof)));
    let read: Authorization = headers.one().expect("what we write can be read");
    assert_eq!(
        (read.realm(), read.nonce(), read.opaque()),
        (Some(realm), Some(nonce), challenge.opaque())
    );
    assert_eq!(read.algorithm(), Some(algorithm));
    assert_eq!(read.nonce_count(), proof.auth.map(|(_, count)| count));
    let plain = |text: &str| !text.contains(char::is_control);
    assert!(!plain(&username) || read.username() == Some(&username));
    assert!(!plain(&uri) || read.uri() == Some(&uri));
    assert!(proof.auth.is_none() || !plain(&cnonce) || read.cnonce() == Some(&cnonce));
}

/// Some requests, one after the other, each with some parts of its proof right and some made up.
fn judged(feed: &mut Feed<'_>) {
    let mut entropy = Seeded::new(1);
    let mut now = Wall(1_700_000_000_000);
    let mut authenticator = Authenticator::new(&[5; 32], NONCE_LIFE);
    let user = alice();
    let mut issued: Vec<(Challenge, Wall, Transport)> = Vec::new();
    let mut used = HashSet::new();
    while !feed.is_empty() {
        let transport = *feed.one(&[Transport::Udp, Transport::Tls]);
        let peer = Peer {
            transport,
            address: Ipv4Addr::new(192, 0, 2, 7).into(),
        };
        match feed.below(4) {
            0 => now = now.after(Duration::from_secs(feed.byte().into())),
            1 => {
                let made = authenticator.challenge(now, &mut entropy, REALM, peer, &DEFAULT_ALGORITHMS, false);
                let read = |value: &Value| WwwAuthenticate::parse(value.as_str().expect("our own text"));
                issued.extend(
                    made.iter()
                        .map(|one| (read(one).expect("a challenge").0, now, transport)),
                );
            }
            _ => {
                let at = feed.below(issued.len());
                let request = request(feed, issued.get(at));
                let Ok(claim) = credentials(&request, REALM, Header::Authorization) else {
                    continue;
                };
                let known = feed.flag().then_some(&user);
                let verdict = authenticator.verify(now, &request, peer, REALM, &claim, known);
                if verdict.is_ok() {
                    assert!(known.is_some(), "nobody was let in");
                    assert!(is_proof(&claim, &request), "no proof: {:?}", request.to_bytes());
                    let fresh = issued.iter().any(|(one, made, by)| {
                        one.nonce() == claim.nonce() && *by == transport && now.since(*made) <= NONCE_LIFE
                    });
                    assert!(fresh, "a nonce that is not good");
                    let count = (claim.nonce().map(str::to_owned), claim.nonce_count());
                    assert!(used.insert(count), "counted twice");
                }
            }
        }
    }
}

/// The formula of RFC 7616 §3.4.1, once more.
fn is_proof(claim: &Credentials, request: &Request) -> bool {
    let part = |name: &str| claim.param(name).unwrap_or_default();
    let algorithm = claim.algorithm().expect("judged");
    let secret = sums::ha1(algorithm, "alice", REALM, "secret");
    let (nonce, nc, cnonce, qop) = (part("nonce"), part("nc"), part("cnonce"), Some(part("qop")));
    let method = request.method.as_str();
    let expected = sums::response(algorithm, &secret, nonce, nc, cnonce, qop, method, part("uri"));
    let uri = part("uri").parse::<Uri>();
    expected.eq_ignore_ascii_case(part("response"))
        && part("username") == "alice"
        && uri.is_ok_and(|uri| uri.same_as(&request.uri))
}

/// A REGISTER whose Authorization has each part right, wrong or not at all.
fn request(feed: &mut Feed<'_>, challenge: Option<&(Challenge, Wall, Transport)>) -> Request {
    let (nonce, algorithm) = challenge.map_or(("0", Algorithm::Md5), |(one, ..)| {
        (
            one.nonce().unwrap_or_default(),
            one.algorithm().unwrap_or(Algorithm::Md5),
        )
    });
    let count = format!("{:08x}", feed.byte());
    let password: &str = feed.one::<&str>(&["secret", "secret", "secret", "wrong"]);
    let secret = sums::ha1(algorithm, "alice", REALM, password);
    let uri = format!("sip:{REALM}");
    let response = sums::response(algorithm, &secret, nonce, &count, "c", Some("auth"), "REGISTER", &uri);
    let right = [
        ("username", "\"alice\"".to_owned()),
        ("realm", format!("\"{REALM}\"")),
        ("nonce", format!("\"{nonce}\"")),
        ("uri", format!("\"{uri}\"")),
        ("response", format!("\"{response}\"")),
        ("algorithm", algorithm.as_str().to_owned()),
        ("cnonce", "\"c\"".to_owned()),
        ("nc", count),
        ("qop", "auth".to_owned()),
    ];
    let (changed, how) = (feed.below(right.len() + 4), feed.byte());
    let mut line = String::from("Digest ");
    for (at, (name, value)) in right.iter().enumerate() {
        if at > 0 {
            line.push_str(", ");
        }
        match how & 0b11 {
            0 if at == changed => line.push_str("x=y"),
            1 if at == changed => line.push_str(&format!("{name}=\"{}\"", feed.text())),
            2 if at == changed => line.push_str(&feed.text()),
            3 if at == changed => line.push_str(&format!("{name}={value}, {}={value}", name.to_ascii_uppercase())),
            _ => line.push_str(&format!("{name}={value}")),
        }
    }
    let text = format!(
        "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\nFrom: <sip:a@{REALM}>;tag=a\r\n\
         To: <sip:a@{REALM}>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n"
    );
    let Ok(Message::Request(mut request)) = Message::parse(Bytes::from(text)) else {
        unreachable!("the message is right")
    };
    request.headers.push(Authorization::NAME, Value::cleaned(&line));
    if how & 0b1000 != 0 {
        request.headers.push(Authorization::NAME, Value::cleaned(&feed.text()));
    }
    request
}

fn alice() -> Arc<User> {
    let secret = |algorithm| Credential {
        username: "alice".into(),
        realm: REALM.into(),
        algorithm,
        ha1: Secret::new(Ha1::of(algorithm, "alice", REALM, "secret")),
    };
    Arc::new(User {
        jid: "alice@example.org".parse().expect("a JID"),
        name: "Alice".into(),
        aors: vec!["sip:alice@example.com".parse().expect("an address")],
        numbers: vec![],
        credentials: Algorithm::ALL.map(secret).to_vec(),
        flags: Flags::default(),
        language: "en".into(),
    })
}
