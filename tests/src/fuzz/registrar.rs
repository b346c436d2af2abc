//! The registrar.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cusax_b2bua::core::auth::{Authenticated, Authenticator, Header, NONCE_LIFE, Peer, credentials};
use cusax_b2bua::core::flow::{Flow, Identity, ListenerId, Transport};
use cusax_b2bua::core::registrar::{Keeping, Output, Registrar, STATE_PREFIX, Settings};
use cusax_common::core::entropy::Seeded;
use cusax_common::core::secret::Secret;
use cusax_common::core::sip::typed::{Authorization, Contact, Credentials, DigestProof, WwwAuthenticate};
use cusax_common::core::sip::{Message, Request, Response, TypedHeader as _, Uri, Value, digest};
use cusax_common::core::time::{Now, Wall};
use cusax_common::core::user::{Algorithm, Aor, Credential, Flags, Ha1, User};

use super::feed::{Feed, epoch};

/// A sequence of REGISTERs of two users, time, closed connections, changed users, restarts and hostile values in the
/// shared state: the registrar stays bounded and in step with itself, with what it had stored and with what it told;
/// and once all time has passed it is empty.
pub fn registrar(data: &[u8]) {
    let mut feed = Feed::new(data);
    let mut run = Run::new();
    while !feed.is_empty() {
        run.step(&mut feed);
        run.drain();
        run.check();
    }
    run.now = run.now.after(SETTINGS.max_expires + Duration::from_secs(1));
    run.registrar.handle_timeout(run.now);
    run.drain();
    run.check();
    assert!(run.registrar.is_empty() && run.registrar.poll_timeout().is_none());
}

struct Run {
    registrar: Registrar,
    authenticator: Authenticator,
    entropy: Seeded,
    now: Now,
    users: [Arc<User>; 2],
    /// What the shared state holds.
    stored: BTreeMap<String, Bytes>,
    /// What was told of each user.
    told: HashMap<String, Vec<Aor>>,
}

impl Run {
    fn new() -> Self {
        Self {
            registrar: Registrar::new(SETTINGS, &[1; 32]),
            authenticator: Authenticator::new(&[2; 32], NONCE_LIFE),
            entropy: Seeded::new(1),
            now: Now {
                instant: epoch(),
                wall: Wall(1_700_000_000_000),
            },
            users: [
                user("alice@example.org", &[AORS[0], AORS[1]]),
                user("bob@example.org", &[AORS[2]]),
            ],
            stored: BTreeMap::new(),
            told: HashMap::new(),
        }
    }

    fn step(&mut self, feed: &mut Feed<'_>) {
        match feed.below(12) {
            0 => {
                self.now = self.now.after(Duration::from_millis(u64::from(feed.short()) * 128));
                self.registrar.handle_timeout(self.now);
            }
            1 => {
                if let Some(at) = self.registrar.poll_timeout() {
                    let left = at.saturating_duration_since(self.now.instant);
                    self.now = self.now.after(left);
                    self.registrar.handle_timeout(self.now);
                }
            }
            2 => {
                let flow = flow(feed);
                self.registrar.handle_flow_closed(self.now, flow);
                assert!(!flow.transport.reliable() || !self.registrar.has_flow(&flow));
            }
            3 => {
                let jid = &self.users[feed.below(2)].jid;
                self.registrar.forget_user(self.now, jid);
                assert_eq!(self.registrar.registered(jid), []);
            }
            4 => {
                let held = [&AORS[..1], &AORS[1..2], &AORS[..2]][feed.below(3)];
                self.registrar.keep_user(self.now, &user("alice@example.org", held));
            }
            5 => self.restart(),
            6 => self.meddle(feed),
            _ => self.register(feed),
        }
    }

    /// A new process takes up what the shared state holds.
    fn restart(&mut self) {
        // What was left by connections counts as dropped, and is gone from the state with its time.
        self.registrar = Registrar::new(SETTINGS, &[1; 32]);
        self.told.clear();
        let now = self.now;
        let registrar = &mut self.registrar;
        self.stored.retain(|key, value| {
            let before = registrar.dropped();
            registrar.restore(now, key, value, |_| true);
            registrar.dropped() == before
        });
    }

    /// Somebody wrote into the shared state.
    fn meddle(&mut self, feed: &mut Feed<'_>) {
        let at = feed.below(self.stored.len());
        let (key, value) = match self.stored.iter().nth(at) {
            Some((key, value)) => (key.clone(), value.to_vec()),
            None => (format!("{STATE_PREFIX}{}", feed.text()), Vec::new()),
        };
        let value = if feed.flag() {
            feed.piece().to_vec()
        } else {
            let mut value = value;
            for _ in 0..feed.below(4) {
                let at = usize::from(feed.short()) % value.len().max(1);
                let end = (at + feed.below(4)).min(value.len());
                value.splice(at.min(end)..end, feed.piece().iter().copied());
            }
            value
        };
        let before = self.registrar.dropped();
        self.registrar.restore(self.now, &key, &value, |_| true);
        if self.registrar.dropped() == before {
            self.stored.insert(key, value.into());
        }
    }

    fn register(&mut self, feed: &mut Feed<'_>) {
        let user = Arc::clone(&self.users[feed.below(2)]);
        let aor = feed.below(AORS.len());
        let flow = flow(feed);
        let request = request(feed, AORS[aor]);
        let (request, proof) = self.prove(request, &user);
        let before = self.registrar.len();
        let response = self
            .registrar
            .handle_register(self.now, flow, &request, proof, &mut self.entropy);
        Message::parse(response.to_bytes()).unwrap_or_else(|fault| panic!("{fault}: {:?}", response.to_bytes()));
        let code = response.status.code();
        assert!([200, 400, 403, 420, 423, 439, 500, 503].contains(&code), "{code}");
        if code == 200 {
            let aor: Aor = AORS[aor].parse().expect("an address");
            assert!(user.aors.contains(&aor), "somebody else's address");
            self.listed(&response, &aor);
        } else {
            assert_eq!(self.registrar.len(), before, "a refused REGISTER changes nothing");
        }
    }

    /// The answer lists what is kept, and the GRUUs in it lead back.
    fn listed(&self, response: &Response, aor: &Aor) {
        let contacts = response.headers.list::<Contact>().expect("what we write can be read");
        assert_eq!(contacts.len(), self.registrar.bindings(aor).len());
        for (contact, binding) in contacts.iter().zip(self.registrar.bindings(aor)) {
            assert!(contact.uri.same_as(&binding.uri()));
            let most = u32::try_from(SETTINGS.max_expires.as_secs()).expect("it is short");
            assert!(contact.expires().is_some_and(|left| (1..=most).contains(&left)));
            for name in ["pub-gruu", "temp-gruu"] {
                if let Some(text) = contact.params.unquoted(name) {
                    let uri: Uri = text.parse().unwrap_or_else(|error| panic!("{error}: {text}"));
                    let gruu = self.registrar.gruu(&uri);
                    assert!(
                        matches!(gruu, Some(Ok(gruu)) if gruu.aor == *aor),
                        "{name} {text} leads elsewhere"
                    );
                }
            }
        }
    }

    /// The request with a right proof, as every REGISTER has by the time that the registrar sees it.
    fn prove(&mut self, mut request: Request, user: &Arc<User>) -> (Request, Authenticated) {
        let algorithms = [Algorithm::Md5];
        let wall = self.now.wall;
        let made = self
            .authenticator
            .challenge(wall, &mut self.entropy, REALM, HERE, &algorithms, false);
        let challenge = WwwAuthenticate::parse(made[0].as_str().expect("our own text")).expect("a challenge");
        let nonce = challenge.nonce().unwrap_or_default();
        let (uri, secret) = (request.uri.to_string(), user.credentials[0].ha1.expose().to_hex());
        let qop = Some("auth");
        let response = digest::response(Algorithm::Md5, &secret, nonce, "00000001", "c", qop, "REGISTER", &uri);
        let proof = DigestProof {
            username: "u",
            realm: REALM,
            nonce,
            uri: &uri,
            response: &response,
            algorithm: Algorithm::Md5,
            opaque: None,
            auth: Some(("c", 1)),
        };
        request.headers.put(&Authorization(Credentials::digest(&proof)));
        let claim = credentials(&request, REALM, Header::Authorization).expect("just put");
        let proof = self
            .authenticator
            .verify(wall, &request, HERE, REALM, &claim, Some(user))
            .expect("a right proof");
        (request, proof)
    }

    fn drain(&mut self) {
        while let Some(output) = self.registrar.poll_output() {
            match output {
                Output::Changed { jid, aors } => {
                    let before = self.told.insert(jid.to_string(), aors.clone());
                    assert_ne!(before.unwrap_or_default(), aors, "told without a change");
                }
                Output::Stored { key, value, ttl } => {
                    assert!(key.starts_with(STATE_PREFIX) && !ttl.is_zero() && ttl <= SETTINGS.max_expires);
                    self.stored.insert(key, value);
                }
                Output::Copied(_) => panic!("nobody follows"),
                Output::Removed { key } => assert!(self.stored.remove(&key).is_some(), "removed without being stored"),
            }
        }
    }

    fn check(&self) {
        let registrar = &self.registrar;
        assert!(registrar.is_sound(), "{registrar:?}");
        assert!(registrar.len() <= SETTINGS.max_bindings);
        assert_eq!(
            registrar.len(),
            self.stored.len(),
            "the shared state holds what is here"
        );
        assert!(
            registrar.poll_timeout().is_none_or(|at| at > self.now.instant),
            "a binding outlives its time"
        );
        for (jid, aors) in registrar.everybody() {
            assert_eq!(self.told.get(jid.as_str()), Some(&aors), "{jid} was not told of");
            for aor in &aors {
                let bindings = registrar.bindings(aor);
                assert!(
                    (1..=SETTINGS.max_contacts).contains(&bindings.len()),
                    "{} bindings",
                    bindings.len()
                );
                assert!(bindings.is_sorted_by_key(|one| std::cmp::Reverse(one.q())));
                assert!(bindings.iter().all(|one| registrar.has_flow(&one.flow)));
            }
        }
        let told = self.told.values().filter(|aors| !aors.is_empty()).count();
        assert_eq!(told, registrar.everybody().len(), "somebody is told of who is gone");
    }
}

/// Out of few, so that REGISTERs meet.
fn flow(feed: &mut Feed<'_>) -> Flow {
    Flow {
        listener: ListenerId(1),
        transport: *feed.one(&[Transport::Udp, Transport::Udp, Transport::Tcp, Transport::Wss]),
        remote: ([203, 0, 113, 9], 5070).into(),
        identity: Identity::NONE,
    }
}

fn request(feed: &mut Feed<'_>, aor: &str) -> Request {
    let shape = feed.byte();
    let call = ["c", "d"][usize::from(shape & 1)];
    let sequence = 1 + (shape >> 1 & 7);
    let from = if shape & 0x10 == 0 { aor } else { AORS[2] };
    let text = format!(
        "REGISTER sip:{REALM} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\nFrom: <{from}>;tag=a\r\n\
         To: <{aor}>\r\nCall-ID: {call}\r\nCSeq: {sequence} REGISTER\r\nContent-Length: 0\r\n\r\n"
    );
    let Ok(Message::Request(mut request)) = Message::parse(Bytes::from(text)) else {
        unreachable!("the message is right")
    };
    for _ in 0..shape >> 5 {
        let (name, value) = line(feed);
        request
            .headers
            .push(name.parse().expect("a name"), Value::cleaned(&value));
    }
    // As behind the parser, which refuses some of them.
    match Message::parse(request.to_bytes()) {
        Ok(Message::Request(request)) => request,
        _ => {
            request.headers.remove(&"Contact".parse().expect("a name"));
            request.headers.remove(&"Expires".parse().expect("a name"));
            request
        }
    }
}

fn line(feed: &mut Feed<'_>) -> (&'static str, String) {
    match feed.below(8) {
        0 => ("Contact", "*".into()),
        1 => (
            "Expires",
            feed.one(&["0", "60", "59", "7200", "4294967295"]).to_string(),
        ),
        2 => (
            "Supported",
            feed.one(&["path", "gruu, path, outbound", "outbound", "gruu"])
                .to_string(),
        ),
        3 => (
            "Path",
            feed.one(&["<sip:p.example;lr;ob>", "<sip:p.example;lr>, <sip:q.example;lr>"])
                .to_string(),
        ),
        4 => ("Via", "SIP/2.0/UDP p.example;branch=z9hG4bK2".into()),
        5 => ("Contact", feed.text()),
        _ => ("Contact", contact(feed)),
    }
}

fn contact(feed: &mut Feed<'_>) -> String {
    let shape = feed.byte();
    let mut text = match shape & 7 {
        6 => "<sip:line7@example.com>".to_owned(),
        7 => "<sip:%70@192.0.2.7:5070;transport=tcp>".to_owned(),
        phone => format!("<sip:p{phone}@192.0.2.7>"),
    };
    if shape & 8 != 0 {
        text.push_str([";+sip.instance=\"<i1>\"", ";+sip.instance=\"<i2>\""][feed.below(2)]);
    }
    if shape & 16 != 0 {
        text.push_str([";reg-id=1", ";reg-id=2", ";reg-id=\"1\"", ";reg-id"][feed.below(4)]);
    }
    if shape & 32 != 0 {
        text.push_str(
            [
                ";expires=0",
                ";expires=60",
                ";expires=3600",
                ";expires=9000",
                ";expires=1",
            ][feed.below(5)],
        );
    }
    if shape & 64 != 0 {
        text.push_str([";q=0.5", ";q=0", ";q=1.000", ";q=7"][feed.below(4)]);
    }
    text
}

fn user(jid: &str, aors: &[&str]) -> Arc<User> {
    Arc::new(User {
        jid: jid.parse().expect("a JID"),
        name: "name".into(),
        aors: aors.iter().map(|aor| aor.parse().expect("an address")).collect(),
        numbers: vec![],
        credentials: vec![Credential {
            username: "u".into(),
            realm: REALM.into(),
            algorithm: Algorithm::Md5,
            ha1: Secret::new(Ha1::of(Algorithm::Md5, "u", REALM, "secret")),
        }],
        flags: Flags::default(),
        language: "en".into(),
    })
}

const REALM: &str = "example.com";
const AORS: [&str; 3] = [
    "sip:line7@example.com",
    "sip:a.other@example.com",
    "sip:line8@example.com",
];
const HERE: Peer = Peer {
    transport: Transport::Udp,
    address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
};
const SETTINGS: Settings = Settings {
    keeping: Keeping::Shared,
    max_contacts: 5,
    max_bindings: 8,
    min_expires: Duration::from_secs(60),
    default_expires: Duration::from_secs(3600),
    max_expires: Duration::from_secs(7200),
};
