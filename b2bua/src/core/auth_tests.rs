//! Proofs, nonces and counts: what is let in, and what is refused in which words.

use bytes::Bytes;
use cusax_common::core::entropy::Seeded;
use cusax_common::core::secret::Secret;
use cusax_common::core::sip::Message;
use cusax_common::core::sip::typed::{TypedHeader as _, WwwAuthenticate};
use cusax_common::core::user::{Credential, Flags};

use super::*;

const HERE: Peer = Peer {
    transport: Transport::Udp,
    address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
};
const REALM: &str = "example.com";
const PASSWORD: &str = "correct horse";
const START: Wall = Wall(1_700_000_000_000);

fn user(credentials: Vec<Credential>) -> Arc<User> {
    Arc::new(User {
        jid: "alice@example.org".parse().unwrap(),
        name: "Alice".into(),
        aors: vec!["sip:line7@example.com".parse().unwrap()],
        numbers: vec![],
        credentials,
        flags: Flags::default(),
        language: "en".into(),
    })
}

fn secret(algorithm: Algorithm, ha1: &str) -> Credential {
    Credential {
        username: "alice".into(),
        realm: REALM.into(),
        algorithm,
        ha1: Secret::new(Ha1::from_hex(ha1).unwrap()),
    }
}

fn alice() -> Arc<User> {
    let all = Algorithm::ALL.map(|a| secret(a, &digest::ha1(a, "alice", REALM, PASSWORD)));
    user(all.to_vec())
}

/// What a phone says; each test changes one thing.
#[derive(Clone)]
struct Phone {
    username: &'static str,
    password: &'static str,
    realm: &'static str,
    nonce: String,
    algorithm: Option<&'static str>,
    hash: Algorithm,
    uri: &'static str,
    qop: Option<&'static str>,
    nc: &'static str,
    method: &'static str,
    request_uri: &'static str,
    ha1: Option<String>,
    peer: Peer,
    extra: &'static str,
    before: &'static str,
}

impl Phone {
    fn new(challenge: &Challenge) -> Self {
        Self {
            username: "alice",
            password: PASSWORD,
            realm: REALM,
            nonce: challenge.nonce().unwrap().to_owned(),
            algorithm: Some(challenge.algorithm().unwrap().as_str()),
            hash: challenge.algorithm().unwrap(),
            uri: "sip:example.com",
            qop: Some("auth"),
            nc: "00000001",
            method: "REGISTER",
            request_uri: "sip:example.com",
            ha1: None,
            peer: HERE,
            extra: "",
            before: "",
        }
    }

    fn line(&self) -> String {
        let ha1 = self.ha1.clone();
        let ha1 = ha1.unwrap_or_else(|| digest::ha1(self.hash, self.username, self.realm, self.password));
        let response = digest::response(
            self.hash,
            &ha1,
            &self.nonce,
            self.nc,
            "c",
            self.qop,
            self.method,
            self.uri,
        );
        let algorithm = self.algorithm.map(|a| format!(", algorithm={a}")).unwrap_or_default();
        let qop = self
            .qop
            .map(|q| format!(", qop={q}, nc={}, cnonce=\"c\"", self.nc))
            .unwrap_or_default();
        format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{}\", response=\"{response}\"{algorithm}{qop}{}",
            self.username, self.realm, self.nonce, self.uri, self.extra
        )
    }

    fn request(&self) -> Request {
        let text = format!(
            "{} {} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
             From: <sip:line7@example.com>;tag=a\r\nTo: <sip:line7@example.com>\r\nCall-ID: c\r\nCSeq: 1 {}\r\n\
             {}Authorization: {}\r\nContent-Length: 0\r\n\r\n",
            self.method,
            self.request_uri,
            self.method,
            self.before,
            self.line()
        );
        match Message::parse(Bytes::from(text)) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn ask(&self, auth: &mut Authenticator, now: Wall, user: Option<&Arc<User>>) -> Result<(), Rejection> {
        let request = self.request();
        let credentials = credentials(&request, REALM, Header::Authorization)?;
        let proof = auth.verify(now, &request, self.peer, REALM, &credentials, user)?;
        assert!(proof.address(&"sip:line7@example.com".parse().unwrap()).is_some());
        assert_eq!(&*proof.user().name, "Alice");
        Ok(())
    }
}

fn auth() -> Authenticator {
    Authenticator::new(&[5; 32], NONCE_LIFE)
}

fn challenge(auth: &Authenticator, now: Wall, seed: u64, algorithm: Algorithm) -> Challenge {
    let all = auth.challenge(now, &mut Seeded::new(seed), REALM, HERE, &[algorithm], false);
    read(&all[0])
}

fn read(value: &Value) -> Challenge {
    WwwAuthenticate::parse(value.as_str().unwrap()).unwrap().0
}

/// Whoever has an account in one of our domains has proved nothing for another.
#[test]
fn a_nonce_is_for_its_realm_and_network() {
    let mut auth = auth();
    let address = |text: &str| Peer {
        address: text.parse().unwrap(),
        ..HERE
    };
    let [v4, v6] = ["1.2.3.4", "102:304::"].map(address);
    let rows = [
        (REALM, v6, Ok(())),
        ("biloxi.example", v6, Err(Rejection::StaleNonce)),
        ("xample.com", v6, Err(Rejection::StaleNonce)),
        (REALM, v4, Err(Rejection::StaleNonce)),
    ];
    for (seed, (realm, peer, verdict)) in (1..).zip(rows) {
        let all = auth.challenge(START, &mut Seeded::new(seed), realm, peer, &[Algorithm::Md5], false);
        let mut phone = Phone::new(&read(&all[0]));
        phone.peer = v6;
        assert_eq!(phone.ask(&mut auth, START, Some(&alice())), verdict, "{realm} {peer:?}");
    }
}

#[test]
fn there_is_one_challenge_for_each_algorithm_in_order() {
    let auth = auth();
    let all = auth.challenge(START, &mut Seeded::new(1), REALM, HERE, &DEFAULT_ALGORITHMS, true);
    let all: Vec<_> = all.iter().map(read).collect();
    let algorithms: Vec<_> = all.iter().map(|one| one.algorithm().unwrap()).collect();
    assert_eq!(algorithms, DEFAULT_ALGORITHMS);
    for one in &all {
        assert!(one.offers_auth() && one.stale() && one.realm() == Some(REALM));
        assert_eq!(one.nonce().unwrap().len(), NONCE_LENGTH);
    }
    assert_ne!(all[0].nonce(), all[1].nonce());
}

#[test]
fn each_algorithm_proves() {
    for algorithm in Algorithm::ALL {
        let mut auth = auth();
        let phone = Phone::new(&challenge(&auth, START, 1, algorithm));
        assert_eq!(phone.ask(&mut auth, START, Some(&alice())), Ok(()), "{algorithm:?}");
    }
}

#[test]
fn what_differs_is_refused() {
    use Rejection::*;
    type Change = fn(&mut Phone);
    let rows: [(&str, Change, Rejection); 23] = [
        ("a wrong password", |p| p.password = "x", Wrong),
        ("an empty password", |p| p.password = "", Wrong),
        ("another user name", |p| p.username = "bob", Wrong),
        ("a user name in other case", |p| p.username = "Alice", Wrong),
        ("no user name", |p| p.username = "", Malformed),
        ("a hashed user name", |p| p.extra = ", userhash=true", Malformed),
        ("another realm only", |p| p.realm = "biloxi.example", Missing),
        ("no qop", |p| p.qop = None, Malformed),
        ("auth-int", |p| p.qop = Some("auth-int"), Malformed),
        ("a count of zero", |p| p.nc = "00000000", Malformed),
        ("a short count", |p| p.nc = "1", Malformed),
        ("a count that is no number", |p| p.nc = "0000000g", Malformed),
        ("an unknown algorithm", |p| p.algorithm = Some("NULL"), Malformed),
        ("a session algorithm", |p| p.algorithm = Some("MD5-sess"), Malformed),
        (
            "another algorithm than the nonce's",
            |p| {
                p.algorithm = Some("MD5");
                p.hash = Algorithm::Md5;
            },
            StaleNonce,
        ),
        (
            "the default algorithm for a nonce of another",
            |p| {
                p.algorithm = None;
                p.hash = Algorithm::Md5;
            },
            StaleNonce,
        ),
        ("a nonce of its own", |p| p.nonce = "x".into(), StaleNonce),
        (
            "a nonce changed in one digit",
            |p| p.nonce.replace_range(20..21, "x"),
            StaleNonce,
        ),
        (
            "a nonce with another time",
            |p| p.nonce.replace_range(15..16, "f"),
            StaleNonce,
        ),
        ("another transport", |p| p.peer.transport = Transport::Tls, StaleNonce),
        (
            "another address",
            |p| p.peer.address = [192, 0, 2, 8].into(),
            StaleNonce,
        ),
        (
            "credentials for another URI",
            |p| p.uri = "sip:bob@example.com",
            OtherUri,
        ),
        ("credentials of another method", |p| p.ha1 = Some("0".repeat(64)), Wrong),
    ];
    for (name, change, rejection) in rows {
        let mut auth = auth();
        let mut phone = Phone::new(&challenge(&auth, START, 1, Algorithm::Sha256));
        change(&mut phone);
        assert_eq!(phone.ask(&mut auth, START, Some(&alice())), Err(rejection), "{name}");
        assert_eq!(auth.windows.len(), 0, "{name}: nothing is written before the proof");
        assert_eq!(rejection.is_stale(), rejection == StaleNonce);
    }
}

#[test]
fn an_equivalent_uri_will_do() {
    let mut auth = auth();
    let mut phone = Phone::new(&challenge(&auth, START, 1, Algorithm::Sha256));
    phone.uri = "sip:EXAMPLE.com";
    assert_eq!(phone.ask(&mut auth, START, Some(&alice())), Ok(()));
}

/// What stands there may be as long as a message, and nobody has proved anything: a parameter that means nothing is read
/// where the whole is not too long, and else only what is the same byte for byte will do.
#[test]
fn a_long_uri_is_not_compared_in_full_for_strangers() {
    for (length, expected) in [
        (MAX_PARAMETER, Ok(())),
        (MAX_PARAMETER + 1, Err(Rejection::OtherUri)),
        (60_000, Err(Rejection::OtherUri)),
    ] {
        let parameter = format!(";{}", "x".repeat(length - 1));
        let mut auth = auth();
        let mut phone = Phone::new(&challenge(&auth, START, 1, Algorithm::Sha256));
        phone.request_uri = Box::leak(format!("sip:example.com{parameter}").into_boxed_str());
        assert_eq!(phone.ask(&mut auth, START, Some(&alice())), expected, "{length}");
    }
}

#[test]
fn nobody_is_indistinguishable_from_a_wrong_password() {
    let mut auth = auth();
    for algorithm in Algorithm::ALL {
        let mut phone = Phone::new(&challenge(&auth, START, 1, algorithm));
        assert_eq!(phone.ask(&mut auth, START, None), Err(Rejection::Wrong));
        // Even the secret of nobody proves nothing.
        let at = Algorithm::ALL.iter().position(|&a| a == algorithm).unwrap();
        phone.ha1 = Some(auth.dummies[at].to_hex());
        assert_eq!(phone.ask(&mut auth, START, None), Err(Rejection::Wrong));
        // An old nonce is not told to be old to those who prove nothing.
        assert_eq!(
            phone.ask(&mut auth, START.after(NONCE_LIFE * 2), None),
            Err(Rejection::Wrong)
        );
    }
}

#[test]
fn an_account_without_secret_never_proves() {
    let sha = Algorithm::Sha256;
    let accounts = [
        ("no credential", vec![]),
        ("a cut HA1", vec![secret(sha, &"00".repeat(16))]),
    ];
    for (name, credentials) in accounts {
        let account = user(credentials);
        let stored = account.credentials.first().map(|one| one.ha1.expose().to_hex());
        for ha1 in [Some(String::new()), stored, Some(digest::ha1(sha, "alice", REALM, ""))] {
            let mut auth = auth();
            let mut phone = Phone::new(&challenge(&auth, START, 1, sha));
            phone.ha1 = ha1;
            assert_eq!(
                phone.ask(&mut auth, START, Some(&account)),
                Err(Rejection::Wrong),
                "{name}"
            );
        }
    }
}

#[test]
fn credentials_are_picked_by_realm() {
    let mut auth = auth();
    let mut phone = Phone::new(&challenge(&auth, START, 1, Algorithm::Sha256));
    phone.before = "Authorization: Digest username=\"x\", realm=\"other\", nonce=\"n\", uri=\"sip:a\", response=\"r\"\r\n\
                    Authorization: NoOne knows\r\n";
    assert_eq!(
        phone.ask(&mut auth, START, Some(&alice())),
        Ok(()),
        "behind another realm and another scheme"
    );
    phone.before = "Authorization: Digest username=\"x\", realm=\"example.com\", nonce=\"n\", uri=\"sip:a\", \
                    response=\"r\"\r\n";
    assert_eq!(phone.ask(&mut auth, START, Some(&alice())), Err(Rejection::Ambiguous));
    let request = Phone::new(&challenge(&auth, START, 1, Algorithm::Md5)).request();
    assert_eq!(
        credentials(&request, REALM, Header::ProxyAuthorization).err(),
        Some(Rejection::Missing)
    );
}

#[test]
fn a_count_is_good_once() {
    let mut auth = auth();
    let mut phone = Phone::new(&challenge(&auth, START, 1, Algorithm::Sha256));
    let rows = [
        ("the first", "00000001", Ok(())),
        ("again", "00000001", Err(Rejection::Replayed)),
        ("a gap", "00000009", Ok(())),
        ("backwards into the gap", "00000005", Ok(())),
        ("that again", "00000005", Err(Rejection::Replayed)),
        ("the first behind the gap", "00000001", Err(Rejection::Replayed)),
        ("hexadecimal", "0000000A", Ok(())),
        ("its other spelling", "0000000a", Err(Rejection::Replayed)),
        ("a great leap", "00001000", Ok(())),
        ("the edge of the window", "00000fc1", Ok(())),
        ("behind the window", "00000fc0", Err(Rejection::Replayed)),
        ("the last of all", "ffffffff", Ok(())),
        ("the last again", "ffffffff", Err(Rejection::Replayed)),
    ];
    for (name, nc, expected) in rows {
        phone.nc = nc;
        assert_eq!(phone.ask(&mut auth, START, Some(&alice())), expected, "{name}");
    }
    phone.password = "x";
    assert_eq!(
        phone.ask(&mut auth, START, Some(&alice())),
        Err(Rejection::Wrong),
        "the proof is judged first"
    );
}

#[test]
fn a_nonce_has_its_time() {
    let mut auth = auth();
    let mut phone = Phone::new(&challenge(&auth, START, 1, Algorithm::Sha256));
    assert_eq!(
        phone.ask(&mut auth, START.after(NONCE_LIFE), Some(&alice())),
        Ok(()),
        "to the last instant"
    );
    phone.nc = "00000002";
    let late = START.after(NONCE_LIFE + Duration::from_millis(1));
    assert_eq!(phone.ask(&mut auth, late, Some(&alice())), Err(Rejection::StaleNonce));
    assert_eq!(
        phone.ask(&mut auth, Wall(START.0 - 1), Some(&alice())),
        Err(Rejection::StaleNonce),
        "from the future"
    );
    let mut other = Authenticator::new(&[6; 32], NONCE_LIFE);
    assert_eq!(
        phone.ask(&mut other, START, Some(&alice())),
        Err(Rejection::StaleNonce),
        "of another deployment"
    );
}

#[test]
fn forgotten_counts_are_stale_and_never_good_again() {
    let mut auth = Authenticator::with_limit(&[5; 32], NONCE_LIFE, 2);
    let phones: Vec<_> = (0..4)
        .map(|n| {
            Phone::new(&challenge(
                &auth,
                START.after(Duration::from_millis(n)),
                n,
                Algorithm::Sha256,
            ))
        })
        .collect();
    let now = START.after(Duration::from_secs(1));
    for phone in &phones[..3] {
        assert_eq!(phone.ask(&mut auth, now, Some(&alice())), Ok(()));
        assert!(auth.windows.len() <= 2);
    }
    assert_eq!(
        phones[0].ask(&mut auth, now, Some(&alice())),
        Err(Rejection::StaleNonce),
        "the oldest was evicted"
    );
    assert_eq!(
        phones[1].ask(&mut auth, now, Some(&alice())),
        Err(Rejection::Replayed),
        "this one was not"
    );
    assert_eq!(phones[3].ask(&mut auth, now, Some(&alice())), Ok(()));
    let later = now.after(NONCE_LIFE);
    let fresh = Phone::new(&challenge(&auth, later, 9, Algorithm::Sha256));
    assert_eq!(fresh.ask(&mut auth, later, Some(&alice())), Ok(()));
    assert_eq!(auth.windows.len(), 1, "expired ones make room");
}

#[test]
fn a_nonce_in_its_last_instant_makes_no_room() {
    let mut auth = auth();
    let mut old = Phone::new(&challenge(&auth, START, 1, Algorithm::Sha256));
    assert_eq!(old.ask(&mut auth, START, Some(&alice())), Ok(()));
    let last = START.after(NONCE_LIFE);
    let fresh = Phone::new(&challenge(&auth, last, 2, Algorithm::Sha256));
    assert_eq!(fresh.ask(&mut auth, last, Some(&alice())), Ok(()));
    old.nc = "00000002";
    assert_eq!(old.ask(&mut auth, last, Some(&alice())), Ok(()));
}

#[test]
fn a_proof_speaks_for_its_own_addresses_and_prints_no_secret() {
    let mut auth = auth();
    let phone = Phone::new(&challenge(&auth, START, 1, Algorithm::Sha256));
    let request = phone.request();
    let credentials = credentials(&request, REALM, Header::Authorization).unwrap();
    let proof = auth
        .verify(START, &request, HERE, REALM, &credentials, Some(&alice()))
        .unwrap();
    assert_eq!(
        format!("{auth:?} {proof:?} {credentials:?}"),
        "Authenticator { nonces: 1, .. } Authenticated Digest ***"
    );
    assert!(proof.address(&"sip:line8@example.com".parse().unwrap()).is_none());
}

/// Who has room for some challenges alone counts on it.
#[test]
fn a_challenge_is_as_long_as_was_said() {
    let (authenticator, mut entropy) = (Authenticator::new(&[7; 32], Duration::from_secs(60)), Seeded::new(1));
    for realm in [REALM, "a.much.longer.name.of.a.realm.example.com"] {
        for stale in [false, true] {
            let made = authenticator.challenge(START, &mut entropy, realm, HERE, &Algorithm::ALL, stale);
            for (challenge, algorithm) in made.iter().zip(Algorithm::ALL) {
                let said = Authenticator::challenge_len(realm, algorithm, stale);
                assert_eq!(challenge.as_bytes().len(), said, "{algorithm:?} {stale}");
            }
        }
    }
}
