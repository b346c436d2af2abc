//! What a registration costs the endpoint alone: REGISTER, 401, REGISTER with a proof, 200, without sockets and stores.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use cusax_b2bua::core::admission::{Limits, Rate};
use cusax_b2bua::core::auth::{Authenticator, DEFAULT_ALGORITHMS, NONCE_LIFE};
use cusax_b2bua::core::endpoint::{Endpoint, Output};
use cusax_b2bua::core::flow::{Flow, ListenerId, Transport};
use cusax_b2bua::core::registrar::{self, Keeping, Registrar};
use cusax_b2bua::core::settings::{Foreign, Listener, Redirects, Settings};
use cusax_common::core::dialplan::HomePlan;
use cusax_common::core::entropy::Seeded;
use cusax_common::core::policy::Policy;
use cusax_common::core::secret::Secret;
use cusax_common::core::sip::digest;
use cusax_common::core::sip::typed::WwwAuthenticate;
use cusax_common::core::sip::{Message, Response};
use cusax_common::core::time::{Now, Wall};
use cusax_common::core::user::{Algorithm, Credential, Flags, Ha1, User};

/// As in the service.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DOMAIN: &str = "example.com";
/// Phones that register in turn.
const PHONES: usize = 5000;
/// Registrations in a second of simulated time.
const RATE: u32 = 4000;
/// For so long an answered request is remembered.
const REMEMBERED: Duration = Duration::from_secs(33);

fn registrations(criterion: &mut Criterion) {
    let mut scene = Scene::new();
    // As it is in the middle of a long day.
    for _ in 0..REMEMBERED.as_secs() as u32 * RATE {
        scene.register();
    }
    criterion.bench_function("register with a challenge", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| scene.register()).sum());
    });
}

struct Scene {
    endpoint: Endpoint<Seeded>,
    users: Vec<Arc<User>>,
    epoch: Instant,
    passed: Duration,
    done: usize,
}

impl Scene {
    fn new() -> Self {
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
            redirects: Redirects::Follow,
            ring_timeout: Duration::from_secs(60),
            ring_each: Duration::from_secs(20),
            max_duration: Duration::from_secs(14_400),
            silence_timeout: None,
            calls_per_account: 20,
            session_interval: 1800,
            limits: Limits {
                source: rate,
                account: rate,
                all: rate,
            },
            max_calls: 1000,
            media_networks: Vec::new(),
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
            done: 0,
        }
    }

    /// One registration; tells how long the endpoint took for it.
    fn register(&mut self) -> Duration {
        let phone = self.done % PHONES;
        let sequence = self.done / PHONES * 2 + 1;
        self.done += 1;
        self.passed += Duration::from_secs(1) / RATE;
        let now = Now {
            instant: self.epoch + self.passed,
            wall: Wall(1_700_000_000_000).after(self.passed),
        };
        let [a, b] = (phone as u16).to_be_bytes();
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            remote: SocketAddr::from(([198, 51, 100, a], 5060 + u16::from(b))),
        };
        let (refused, challenged) = self.say(now, flow, phone, &request(flow, phone, sequence, ""));
        assert_eq!(challenged.status.code(), 401);
        let list = challenged.headers.list::<WwwAuthenticate>().expect("challenges");
        let challenge = &list.first().expect("a challenge").0;
        let (nonce, uri) = (challenge.nonce().expect("a nonce"), format!("sip:{DOMAIN}"));
        let algorithm = challenge.algorithm().expect("an algorithm");
        let mut credentials = self.users[phone].credentials.iter();
        let credential = credentials.find(|one| one.algorithm == algorithm).expect("a secret");
        let ha1 = credential.ha1.expose().to_hex();
        let proof = digest::response(
            algorithm,
            &ha1,
            nonce,
            "00000001",
            "0a4f113b",
            Some("auth"),
            "REGISTER",
            &uri,
        );
        let authorization = format!(
            "Authorization: Digest username=\"{phone}\", realm=\"{DOMAIN}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{proof}\", algorithm={algorithm}, cnonce=\"0a4f113b\", qop=auth, nc=00000001\r\n",
            algorithm = algorithm.as_str()
        );
        let (granted, answer) = self.say(now, flow, phone, &request(flow, phone, sequence + 1, &authorization));
        assert_eq!(answer.status.code(), 200);
        refused + granted
    }

    fn say(&mut self, now: Now, flow: Flow, phone: usize, text: &str) -> (Duration, Response) {
        let (bytes, user) = (Bytes::copy_from_slice(text.as_bytes()), &self.users[phone]);
        #[expect(clippy::disallowed_methods, reason = "this is a measurement")]
        let begun = Instant::now();
        self.endpoint.handle_timeout(now);
        self.endpoint.handle_datagram(now, flow, bytes);
        let mut answer = None;
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { bytes, .. } => answer = Some(bytes),
                Output::Fetch { id, .. } => self.endpoint.handle_fetched(now, id, Ok(Some(Arc::clone(user)))),
                other => drop(black_box(other)),
            }
        }
        black_box(self.endpoint.poll_timeout());
        let took = begun.elapsed();
        match Message::parse(answer.expect("an answer")) {
            Ok(Message::Response(response)) => (took, response),
            other => panic!("no response: {other:?}"),
        }
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
        numbers: Vec::new(),
        credentials: [Algorithm::Sha256, Algorithm::Md5].map(credential).to_vec(),
        flags: Flags::default(),
        language: "en".into(),
    })
}

fn request(flow: Flow, phone: usize, sequence: usize, authorization: &str) -> String {
    let remote = flow.remote;
    format!(
        "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {remote};branch=z9hG4bK{phone}x{sequence};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{phone}@{DOMAIN}>;tag=a{phone}\r\nTo: <sip:{phone}@{DOMAIN}>\r\n\
         Call-ID: call-{phone}@phone.example\r\nCSeq: {sequence} REGISTER\r\n\
         Contact: <sip:{phone}@{remote}>\r\n\
         {authorization}Expires: 3600\r\nUser-Agent: Phone 1.0\r\nContent-Length: 0\r\n\r\n"
    )
}

criterion_group!(benches, registrations);
criterion_main!(benches);
