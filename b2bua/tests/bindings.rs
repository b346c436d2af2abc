//! What memory a registered phone takes: a bound, so that it does not creep up.

#![allow(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "counting bytes takes an allocator, which is unsafe by its trait; time is simulated from an arbitrary origin"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use cusax_b2bua::core::auth::{self, Authenticator, Header, NONCE_LIFE};
use cusax_b2bua::core::flow::{Flow, ListenerId, Transport};
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
}

fn count(bytes: isize) {
    LIVE.with(|live| live.set(live.get() + bytes));
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches a thread-local number only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
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

fn registered() -> Registrar {
    let settings = Settings {
        keeping: Keeping::Alone,
        ..Settings::default()
    };
    let mut registrar = Registrar::new(settings, &[7; 32]);
    let mut authenticator = Authenticator::new(&[7; 32], NONCE_LIFE);
    let mut entropy = Seeded::new(1);
    let now = Now {
        instant: Instant::now(),
        wall: Wall(1_700_000_000_000),
    };
    for sequence in [1, 2] {
        for phone in 0..PHONES {
            let (user, flow) = (user(phone), flow(phone));
            let mut request = request(phone, sequence, flow);
            let offered = [Algorithm::Md5];
            let made = authenticator.challenge(now.wall, &mut entropy, DOMAIN, flow.into(), &offered, false);
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
            let proof = authenticator
                .verify(now.wall, &request, flow.into(), DOMAIN, &claim, Some(&user))
                .expect("a right proof");
            let response = registrar.handle_register(now, flow, &request, proof, &mut entropy);
            assert!(response.status.is_success());
            while registrar.poll_output().is_some() {}
        }
    }
    registrar
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
const MOST: usize = 740;
