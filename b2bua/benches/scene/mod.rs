//! An endpoint with many users, fed with bytes and asked for bytes: no sockets, no stores, and a clock of our own.

#![allow(dead_code, reason = "each of those who use it uses a part")]

pub mod exchange;

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cusax_b2bua::core::admission::{Limits, Rate};
use cusax_b2bua::core::auth::{Authenticator, DEFAULT_ALGORITHMS, NONCE_LIFE};
use cusax_b2bua::core::endpoint::{Endpoint, Output};
use cusax_b2bua::core::flow::{Flow, Identity, ListenerId, Transport};
use cusax_b2bua::core::media::rewrite::Rules;
use cusax_b2bua::core::media::{MediaCommand, MediaEvent, MediaStats};
use cusax_b2bua::core::registrar::{self, Keeping, Registrar};
use cusax_b2bua::core::settings::{Foreign, Listener, Redirects, Settings};
use cusax_common::core::dialplan::HomePlan;
use cusax_common::core::entropy::Seeded;
use cusax_common::core::policy::Policy;
use cusax_common::core::secret::Secret;
use cusax_common::core::sip::typed::{Challenge, WwwAuthenticate};
use cusax_common::core::sip::{Message, Response, digest};
use cusax_common::core::store::Question;
use cusax_common::core::time::{Now, Wall};
use cusax_common::core::user::{Algorithm, Credential, Flags, Ha1, User};

/// The SIP domain of the users.
pub const DOMAIN: &str = "example.com";
/// How many there are.
pub const PHONES: usize = 5000;
/// For so long an answered request is remembered.
pub const REMEMBERED: Duration = Duration::from_secs(33);

/// The endpoint, its users, and the time that it is told.
pub struct Scene {
    endpoint: Endpoint<Seeded>,
    users: Vec<Arc<User>>,
    epoch: Instant,
    passed: Duration,
    spent: Duration,
}

/// What somebody was sent.
pub type Sent = (SocketAddr, Message);

impl Scene {
    /// Nobody is registered, and nothing was asked for.
    pub fn new() -> Self {
        let local: SocketAddr = "192.0.2.1:5060".parse().expect("an address");
        let rate = Rate {
            per_second: 1_000_000,
            burst: 1_000_000,
        };
        let settings = Settings {
            domains: vec![DOMAIN.into()],
            answers: Vec::new(),
            listeners: vec![Listener {
                local,
                public: local,
                media: local.ip(),
                media_public: local.ip(),
                transport: Transport::Udp,
                algorithms: DEFAULT_ALGORITHMS.to_vec(),
            }],
            trunks: Vec::new(),
            foreign: Foreign::default(),
            plan: HomePlan::new("DE").expect("a country"),
            policy: Policy::default(),
            redirects: Redirects::default(),
            ring_timeout: Duration::from_secs(60),
            ring_each: Duration::from_secs(20),
            max_duration: Duration::from_secs(14_400),
            silence_timeout: None,
            calls_per_account: 1_000_000,
            session_interval: 1800,
            limits: Limits {
                source: rate,
                account: rate,
                all: rate,
            },
            max_calls: 1_000_000,
            anchor: true,
            media: Rules {
                ours: vec![local.ip()],
                ..Rules::default()
            },
        };
        let secret = [7; 32];
        let endpoint = Endpoint::new(
            Arc::new(settings),
            Registrar::new(
                registrar::Settings {
                    keeping: Keeping::Alone,
                    ..registrar::Settings::default()
                },
                &secret,
            ),
            Authenticator::new(&secret, NONCE_LIFE),
            &secret,
            Seeded::new(1),
        );
        Self {
            endpoint,
            users: (0..PHONES).map(user).collect(),
            #[expect(clippy::disallowed_methods, reason = "only differences to it matter")]
            epoch: Instant::now(),
            passed: Duration::ZERO,
            spent: Duration::ZERO,
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        self.passed += time;
    }

    /// How much time has passed.
    pub fn passed(&self) -> Duration {
        self.passed
    }

    /// Lets the endpoint do what has come due.
    pub fn wake(&mut self) {
        let now = self.now();
        self.endpoint.handle_timeout(now);
        while let Some(output) = self.endpoint.poll_output() {
            drop(output);
        }
    }

    /// How many calls there are.
    pub fn calls(&self) -> usize {
        self.endpoint.calls()
    }

    /// How many transactions there are.
    pub fn transactions(&self) -> usize {
        self.endpoint.transactions()
    }

    fn now(&self) -> Now {
        Now {
            instant: self.epoch + self.passed,
            wall: Wall(1_700_000_000_000).after(self.passed),
        }
    }

    /// How much time the endpoint has taken since it was asked last.
    pub fn take_spent(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }

    /// REGISTER, 401, REGISTER with a proof, 200.
    pub fn register(&mut self, phone: usize, sequence: usize) {
        let remote = address(phone);
        let request = |sequence, authorization: &str| {
            format!(
                "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {remote};branch=z9hG4bK{phone}x{sequence};rport\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:{phone}@{DOMAIN}>;tag=a{phone}\r\nTo: <sip:{phone}@{DOMAIN}>\r\n\
                 Call-ID: call-{phone}@phone.example\r\nCSeq: {sequence} REGISTER\r\n\
                 Contact: <sip:{phone}@{remote}>\r\n\
                 {authorization}Expires: 3600\r\nUser-Agent: Phone 1.0\r\nContent-Length: 0\r\n\r\n"
            )
        };
        let challenged = self.answer(phone, &request(sequence, ""));
        assert_eq!(challenged.status.code(), 401);
        let list = challenged.headers.list::<WwwAuthenticate>().expect("challenges");
        let challenge = &list.first().expect("a challenge").0;
        let proof = self.proof(phone, challenge, 1, "REGISTER", &format!("sip:{DOMAIN}"));
        let granted = self.answer(phone, &request(sequence + 1, &format!("Authorization: {proof}\r\n")));
        assert_eq!(granted.status.code(), 200);
    }

    /// A value of `Authorization` or `Proxy-Authorization`.
    pub fn proof(&self, phone: usize, challenge: &Challenge, count: u32, method: &str, uri: &str) -> String {
        let nonce = challenge.nonce().expect("a nonce");
        let algorithm = challenge.algorithm().expect("an algorithm");
        let mut credentials = self.users[phone].credentials.iter();
        let credential = credentials.find(|one| one.algorithm == algorithm).expect("a secret");
        let (ha1, count) = (credential.ha1.expose().to_hex(), format!("{count:08x}"));
        let response = digest::response(algorithm, &ha1, nonce, &count, "0a4f113b", Some("auth"), method, uri);
        format!(
            "Digest username=\"{phone}\", realm=\"{DOMAIN}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm={algorithm}, cnonce=\"0a4f113b\", qop=auth, nc={count}",
            algorithm = algorithm.as_str()
        )
    }

    /// Gives the endpoint a message of this phone and takes everything that it sends for it.
    pub fn say(&mut self, phone: usize, text: &[u8]) -> Vec<Sent> {
        let now = self.now();
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            remote: address(phone),
            identity: Identity::NONE,
        };
        let (bytes, mut sent) = (Bytes::copy_from_slice(text), Vec::with_capacity(4));
        #[expect(clippy::disallowed_methods, reason = "this is a measurement")]
        let begun = Instant::now();
        hand_over(&mut self.endpoint, &self.users, now, flow, bytes, &mut sent);
        self.spent += begun.elapsed();
        let read = |(to, bytes)| (to, Message::parse(bytes).expect("a message"));
        sent.into_iter().map(read).collect()
    }

    fn answer(&mut self, phone: usize, text: &str) -> Response {
        match self.say(phone, text.as_bytes()).pop() {
            Some((_, Message::Response(response))) => response,
            other => panic!("no response: {other:?}"),
        }
    }
}

/// What is measured: alone in a function, so that a profiler can be told to look at nothing else.
#[inline(never)]
fn hand_over(
    endpoint: &mut Endpoint<Seeded>,
    users: &[Arc<User>],
    now: Now,
    flow: Flow,
    bytes: Bytes,
    sent: &mut Vec<(SocketAddr, Bytes)>,
) {
    endpoint.handle_timeout(now);
    endpoint.handle_datagram(now, flow, bytes);
    while let Some(output) = endpoint.poll_output() {
        match output {
            Output::Transmit { flow, bytes } => sent.push((flow.remote, bytes)),
            Output::Fetch { id, query } => {
                let user = users.get(asked(&query.question())).map(Arc::clone);
                endpoint.handle_fetched(now, id, Ok(user));
            }
            Output::Media(MediaCommand::Open { id, caller, callee }) => {
                let [caller, callee] = [caller, callee].map(|ip| SocketAddr::new(ip, 40_000));
                endpoint.handle_media(now, &MediaEvent::Opened { id, caller, callee });
            }
            Output::Media(MediaCommand::Close { id }) => {
                let stats = MediaStats::default();
                endpoint.handle_media(now, &MediaEvent::Closed { id, stats });
            }
            other => drop(black_box(other)),
        }
    }
    black_box(endpoint.poll_timeout());
}

/// Where a phone is.
pub fn address(phone: usize) -> SocketAddr {
    let [a, b] = (phone as u16).to_be_bytes();
    SocketAddr::from(([198, 51, 100, a], 5060 + u16::from(b)))
}

/// The telephone number of a phone.
pub fn number(phone: usize) -> String {
    format!("+4930{:07}", FIRST_NUMBER + phone)
}

/// Which user the store is asked for.
fn asked(question: &Question<'_>) -> usize {
    let digits = |text: &str| -> usize {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    };
    match question {
        Question::Login { username, .. } => digits(username),
        Question::Jid(jid) => digits(jid.as_str().split('@').next().unwrap_or_default()),
        Question::Aor(aor) => digits(aor.to_string().split('@').next().unwrap_or_default()),
        Question::Number(number) => digits(&number.to_string()) % 10_000_000 - FIRST_NUMBER,
    }
}

fn user(number: usize) -> Arc<User> {
    let username = number.to_string();
    let credential = |algorithm| Credential {
        username: username.as_str().into(),
        realm: DOMAIN.into(),
        algorithm,
        ha1: Secret::new(Ha1::of(algorithm, &username, DOMAIN, "secret")),
    };
    Arc::new(User {
        jid: format!("user{number}@{DOMAIN}").parse().expect("a JID"),
        name: format!("User {number}").into(),
        aors: vec![format!("sip:{number}@{DOMAIN}").parse().expect("an address")],
        numbers: vec![self::number(number).parse().expect("a number")],
        credentials: [Algorithm::Sha256, Algorithm::Md5].map(credential).to_vec(),
        flags: Flags::default(),
        language: "en".into(),
    })
}

/// The number of the first phone, within its area.
const FIRST_NUMBER: usize = 1_000_000;
