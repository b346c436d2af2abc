//! `cusax call` against a service that runs: a user's phone rings first, then the one they want to speak with.

#![expect(clippy::disallowed_methods, reason = "real time is waited for")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use cusax_b2bua::core::flow::Transport;
use cusax_tests::lab::service::{More, Service};
use cusax_tests::lab::softphone::Softphone;
use cusax_tests::peer::phone::{Account, Manner, Stage};

/// How long anything may take.
const SOON: Duration = Duration::from_secs(20);
const USERS: [&str; 2] = ["al", "bo"];

fn start() -> Service {
    let program = env!("CARGO_BIN_EXE_cusax").as_ref();
    let ip = Ipv4Addr::LOCALHOST.into();
    let service = Service::start_with("placed", program, ip, "sip.example.com", More::default());
    let service = service.expect("a service");
    for login in USERS {
        let (jid, aor) = (format!("{login}@example.com"), format!("sip:{login}@sip.example.com"));
        service.add_user(&jid, &aor, login, "secret").expect("a user");
    }
    service
}

/// Whether the command is content, and what it says.
fn call(service: &Service, user: &str, to: &str) -> (bool, String) {
    let command = service.cusax().args(["--json", "call", user, to]);
    command.ending().expect("it runs")
}

fn go_on(phones: &mut [Softphone], what: &str, condition: impl Fn(&[Softphone]) -> bool) {
    let end = Instant::now() + SOON;
    while !condition(phones) {
        assert!(Instant::now() < end, "waited for {what}");
        for phone in &mut *phones {
            phone.pump().expect("sent");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_user_is_called_and_then_joined() {
    let service = start();
    for (user, told) in [
        ("al@example.com", "no phone of al@example.com is registered"),
        ("zoe@example.com", "`cusax user list` names all"),
    ] {
        let (is_content, said) = call(&service, user, "bo");
        assert!(!is_content && said.contains(told), "{said}");
    }

    let phones = USERS.iter().zip(1..).map(|(login, host)| {
        let account = Account {
            aor: format!("sip:{login}@sip.example.com"),
            username: (*login).to_owned(),
            password: "secret".to_owned(),
        };
        let local = SocketAddr::new(Ipv4Addr::new(127, 86, 0, host).into(), 0);
        let mut phone = Softphone::new(local, service.address(Transport::Udp), account, host.into()).expect("a phone");
        phone.phone.manner = Manner::Answer(Duration::ZERO);
        phone.act(|phone, now| phone.register(now, 3600));
        phone
    });
    let mut phones: Vec<Softphone> = phones.collect();
    go_on(&mut phones, "registrations", |_| {
        service
            .metric("cusax_registered_phones")
            .is_ok_and(|count| count == 2.0)
    });
    let begun = call(&service, "al@example.com", "bo");
    assert!(begun.0 && begun.1.contains("\"session\": "), "{begun:?}");
    go_on(&mut phones, "both to speak", |phones| {
        phones.iter().all(|phone| phone.phone.stage == Stage::Up)
    });
    go_on(&mut phones, "one call to be left of the two", |_| {
        service.metric("cusax_calls").is_ok_and(|count| count == 1.0)
    });
    phones[0].act(|phone, now| phone.hang_up(now));
    go_on(&mut phones, "both to have hung up", |phones| {
        phones.iter().all(|phone| phone.phone.stage != Stage::Up)
    });
    go_on(&mut phones, "no call to be left", |_| {
        service.metric("cusax_calls").is_ok_and(|count| count == 0.0)
    });
}
