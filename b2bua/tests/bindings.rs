//! What memory a registered phone takes, and how often it is asked for when a phone comes again: bounds, so that neither
//! creeps up.

#![allow(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "counting bytes takes an allocator, which is unsafe by its trait; time is simulated from an arbitrary origin"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cusax_b2bua::core::auth::{self, Authenticator, Header, NONCE_LIFE};
use cusax_b2bua::core::flow::{Flow, Identity, ListenerId, Transport};
use cusax_b2bua::core::registrar::{Keeping, Registrar, Settings};
use cusax_common::core::entropy::Seeded;
use cusax_common::core::secret::Secret;
use cusax_common::core::sip::typed::{Authorization, Credentials, DigestProof, TypedHeader as _, WwwAuthenticate};
use cusax_common::core::sip::{Message, Request, digest};
use cusax_common::core::time::{Now, Wall};
use cusax_common::core::user::{Algorithm, Credential, Flags, Ha1, User};

struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    LIVE.with(|live| live.set(live.get() + bytes));
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches a thread-local number only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        ASKED.with(|asked| asked.set(asked.get() + 1));
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

/// The bindings with all that leads to them, after each phone has registered twice. Users and nonces are not counted:
/// those are others' to keep.
#[test]
fn a_registered_phone_takes_little() {
    let before = LIVE.with(Cell::get);
    let registrar = registered();
    let taken = usize::try_from(LIVE.with(Cell::get) - before).expect("a registrar takes something");
    assert_eq!(registrar.len(), PHONES);
    drop(registrar);
    // Before anything is printed, which takes something as well.
    assert_eq!(LIVE.with(Cell::get), before, "nothing stays behind");
    println!("{} bytes for a phone", taken / PHONES);
    assert!(taken / PHONES <= MOST, "{} bytes for a phone", taken / PHONES);
}

/// A plain refresh, and as much with many phones as with one: nothing is copied but what the answer says, and no table
/// grows or is put in another order.
#[test]
fn a_refresh_takes_few_steps_however_many_phones_there_are() {
    let refreshing = |phones: usize| {
        let mut world = World::new();
        for sequence in [1, 2] {
            for phone in 0..phones {
                world.register(phone, sequence);
            }
            world.pass(Duration::from_secs(600));
        }
        // The first one of a second writes its date for all others.
        world.register(0, 3);
        let steps: Vec<_> = (0..phones).map(|phone| world.register(phone, 4)).collect();
        assert_eq!(world.registrar.len(), phones);
        let (least, most) = (steps.iter().min().copied(), steps.iter().max().copied());
        assert_eq!(least, most, "each takes the same");
        most.unwrap_or_default()
    };
    let (one, many) = (refreshing(1), refreshing(3000));
    println!("{one} and {many}");
    assert_eq!(one, many);
    assert!((1..=MOST_STEPS).contains(&one), "a refresh took {one} allocations");
}

fn registered() -> Registrar {
    let mut world = World::new();
    for sequence in [1, 2] {
        for phone in 0..PHONES {
            world.register(phone, sequence);
        }
    }
    world.registrar
}

struct World {
    registrar: Registrar,
    authenticator: Authenticator,
    entropy: Seeded,
    now: Now,
}

impl World {
    fn new() -> Self {
        let settings = Settings {
            keeping: Keeping::Alone,
            ..Settings::default()
        };
        Self {
            registrar: Registrar::new(settings, &[7; 32]),
            authenticator: Authenticator::new(&[7; 32], NONCE_LIFE),
            entropy: Seeded::new(1),
            now: Now {
                instant: Instant::now(),
                wall: Wall(1_700_000_000_000),
            },
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.registrar.handle_timeout(self.now);
    }

    /// Tells how often the registrar asked for memory.
    fn register(&mut self, phone: usize, sequence: u32) -> usize {
        let (user, flow) = (user(phone), flow(phone));
        let mut request = request(phone, sequence, flow);
        let offered = [Algorithm::Md5];
        let wall = self.now.wall;
        let made = self
            .authenticator
            .challenge(wall, &mut self.entropy, DOMAIN, flow.into(), &offered, false);
        let challenge = WwwAuthenticate::parse(made[0].as_str().expect("our own text")).expect("a challenge");
        let nonce = challenge.nonce().expect("a nonce");
        let (name, uri, ha1) = (
            login(phone),
            request.uri.to_string(),
            user.credentials[0].ha1.expose().to_hex(),
        );
        let response = digest::response(
            Algorithm::Md5,
            &ha1,
            nonce,
            "00000001",
            "c",
            Some("auth"),
            "REGISTER",
            &uri,
        );
        let proof = DigestProof {
            username: &name,
            realm: DOMAIN,
            nonce,
            uri: &uri,
            response: &response,
            algorithm: Algorithm::Md5,
            opaque: None,
            auth: Some(("c", 1)),
        };
        request.headers.put(&Authorization(Credentials::digest(&proof)));
        let claim = auth::credentials(&request, DOMAIN, Header::Authorization).expect("just put");
        let proof = self
            .authenticator
            .verify(wall, &request, flow.into(), DOMAIN, &claim, Some(&user))
            .expect("a right proof");
        // As the transaction has done before.
        assert!(request.headers.from().is_ok() && request.headers.call_id().is_ok());
        let before = ASKED.with(Cell::get);
        let response = self
            .registrar
            .handle_register(self.now, flow, &request, proof, &mut self.entropy);
        let asked = ASKED.with(Cell::get) - before;
        assert!(response.status.is_success());
        while self.registrar.poll_output().is_some() {}
        asked
    }
}

fn login(phone: usize) -> String {
    format!("phone{phone:06}")
}

fn flow(phone: usize) -> Flow {
    let [.., a, b] = phone.to_be_bytes();
    Flow {
        listener: ListenerId(0),
        transport: Transport::Udp,
        remote: ([198, 51, a, b], 5060).into(),
        identity: Identity::NONE,
    }
}

fn user(phone: usize) -> Arc<User> {
    let login = login(phone);
    Arc::new(User {
        jid: format!("{login}@example.com").parse().expect("a JID"),
        name: login.as_str().into(),
        aors: vec![format!("sip:{login}@{DOMAIN}").parse().expect("an address")],
        numbers: vec![],
        credentials: vec![Credential {
            username: login.as_str().into(),
            realm: DOMAIN.into(),
            algorithm: Algorithm::Md5,
            ha1: Secret::new(Ha1::of(Algorithm::Md5, &login, DOMAIN, "secret")),
        }],
        flags: Flags::default(),
        language: "en".into(),
    })
}

/// As ordinary phones write it.
fn request(phone: usize, sequence: u32, flow: Flow) -> Request {
    let (login, remote) = (login(phone), flow.remote);
    let text = format!(
        "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {remote};branch=z9hG4bK{phone}-{sequence};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{login}@{DOMAIN}>;tag={phone}\r\nTo: <sip:{login}@{DOMAIN}>\r\n\
         Call-ID: 3c26{phone:08}-m1xt0zbn@{ip}\r\nCSeq: {sequence} REGISTER\r\n\
         Contact: <sip:{login}@{remote};line=7d9f2a>;expires=3600;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-\
         {phone:012x}>\"\r\nUser-Agent: Example Desk Phone 300/8.9.3\r\nContent-Length: 0\r\n\r\n",
        ip = remote.ip(),
    );
    match Message::parse(Bytes::from(text)) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

/// Fills tables that double as far as a hundred thousand do.
const PHONES: usize = 12_500;
const DOMAIN: &str = "sip.example.com";
/// In bytes.
const MOST: usize = 665;
/// The text of To; the list of contacts, and the text of one; the lines of the answer, and the text of its contact.
const MOST_STEPS: usize = 5;
