//! A phone with an account that writes messages which say something twice, at great length, a thousand times or about
//! other addresses, over every transport, against a running service.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use cusax_b2bua::core::flow::Transport;
use cusax_common::core::sip::typed::Contact;
use cusax_common::core::sip::{Message, Response};
use cusax_tests::lab::service::{More, Service, TRANSPORTS};
use cusax_tests::lab::wire::{Heard, Wire};
use cusax_tests::sim::hand::{Text, proof};

const SOON: Duration = Duration::from_secs(10);
const URI: &str = "sip:sip.example.com";
const AL: &str = "<sip:al@sip.example.com>";

/// A service with one user.
fn start(name: &str) -> Service {
    let program = env!("CARGO_BIN_EXE_cusax").as_ref();
    let service = Service::start_with(
        name,
        program,
        Ipv4Addr::LOCALHOST.into(),
        "sip.example.com",
        More::default(),
    );
    let service = service.expect("a service");
    service
        .add_user("alice@example.com", "sip:al@sip.example.com", "al", "al-secret")
        .expect("a user");
    service
}

/// Al's phone. Each has an address of its own, since one may not ask so much.
struct Phone<'a> {
    service: &'a Service,
    transport: Transport,
    host: u8,
    wire: Wire,
    number: u32,
}

impl<'a> Phone<'a> {
    fn new(service: &'a Service, transport: Transport, host: u8) -> Self {
        Self {
            wire: open(service, transport, host),
            service,
            transport,
            host,
            number: u32::from(host) * 1000,
        }
    }

    fn register(&mut self) -> Text {
        self.number += 1;
        let (number, transport) = (self.number, self.transport);
        let lines = [
            (
                "Via",
                format!("SIP/2.0/{transport} client.invalid;branch=z9hG4bK{transport}{number};rport"),
            ),
            ("Max-Forwards", "70".to_owned()),
            ("From", format!("{AL};tag={number}")),
            ("To", AL.to_owned()),
            ("Call-ID", format!("r{transport}{number}")),
            ("CSeq", format!("{number} REGISTER")),
            ("Contact", format!("<sip:al@client.invalid;x={transport}>")),
            (
                "User-Agent",
                "A pen and some paper, which may be of any length".to_owned(),
            ),
        ];
        Text {
            start: format!("REGISTER {URI} SIP/2.0"),
            lines: lines.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            body: String::new(),
        }
    }

    /// The answer.
    fn say(&mut self, text: &Text) -> Answer {
        self.wire.send(text.written().as_bytes()).expect("sent");
        match self.wire.hear(SOON) {
            Heard::Message(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
                let response = match Message::parse(bytes.clone()) {
                    Ok(Message::Response(response)) => Some(response),
                    _ => None,
                };
                Answer { code, response }
            }
            other => panic!("{}: {other:?}", self.transport),
        }
    }

    /// The same with a proof, which stands before what is long.
    fn prove(&mut self, mut text: Text) -> Answer {
        let plain = self.register();
        let challenged = self.say(&plain).response.expect("a challenge");
        let line = proof(&challenged, "al", "al-secret", "REGISTER", URI).expect("a challenge");
        text.lines.insert(1, line);
        self.say(&text)
    }

    /// What is answered to something for which the connection is closed, perhaps while it is still being sent.
    fn last_words(&mut self, text: &Text) -> Vec<u16> {
        let _ = self.wire.send(text.written().as_bytes());
        let mut codes = Vec::new();
        loop {
            match self.wire.hear(SOON) {
                Heard::Message(bytes) => {
                    let text = String::from_utf8_lossy(&bytes);
                    codes.extend(text.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok()));
                }
                Heard::Closed(_) => break,
                other => panic!("{}: {other:?}, {codes:?}", self.transport),
            }
        }
        self.wire = open(self.service, self.transport, self.host);
        codes
    }
}

#[derive(Debug)]
struct Answer {
    code: Option<u16>,
    response: Option<Response>,
}

fn open(service: &Service, transport: Transport, host: u8) -> Wire {
    let local = SocketAddr::new(Ipv4Addr::new(127, 6, 0, host).into(), 0);
    Wire::connect(transport, local, service.address(transport), service.root()).expect("a connection")
}

#[test]
fn what_is_said_twice_or_too_often_is_refused_by_every_transport() {
    let service = start("malformed-twice");
    for (host, transport) in (1..).zip(TRANSPORTS) {
        let mut phone = Phone::new(&service, transport, host);
        let rows: [(&str, &str); 8] = [
            ("From", "<sip:bo@sip.example.com>;tag=2"),
            ("From", "<sip:al@sip.example.com>;tag=2"),
            ("To", "<sip:bo@sip.example.com>"),
            ("Call-ID", "another"),
            ("CSeq", "9 REGISTER"),
            ("f", "<sip:bo@sip.example.com>;tag=2"),
            ("Expires", "60"),
            ("Max-Forwards", "9"),
        ];
        for (name, value) in rows {
            for before in [false, true] {
                let text = phone.register().with("Expires", "600");
                let text = match before {
                    true => text.before(name, value),
                    false => text.and(name, value),
                };
                assert_eq!(
                    phone.prove(text).code,
                    Some(400),
                    "{transport}: {name}, before: {before}"
                );
            }
        }
        let mut text = phone.register();
        text.lines.extend(vec![("Accept".to_owned(), "a/b".to_owned()); 1000]);
        assert_eq!(phone.prove(text).code, Some(513), "{transport}: a thousand lines");
        for name in ["Via", "Accept", "Route", "Supported"] {
            let value = match name {
                "Via" => "SIP/2.0/UDP 192.0.2.9",
                "Route" => "<sip:192.0.2.9:6379;transport=tcp;lr>",
                _ => "a",
            };
            let text = phone.register().and(name, &vec![value; 1000].join(","));
            let code = phone.prove(text).code;
            assert!(
                matches!(code, Some(200 | 400 | 403 | 513)),
                "{transport}: {name}: {code:?}"
            );
        }
        // A stream that is longer than any message is given up; a datagram cannot be so long.
        if transport != Transport::Udp {
            let text = phone.register().and("X-Filler", &"x".repeat(80_000));
            let codes = phone.last_words(&text);
            assert!(
                codes.iter().all(|code| matches!(code, 400 | 513)),
                "{transport}: {codes:?}"
            );
        }
        let text = phone.register();
        assert_eq!(phone.prove(text).code, Some(200), "{transport}: it is served as before");
    }
}

#[test]
fn what_is_long_is_kept_whole_or_refused_by_every_transport() {
    let service = start("malformed-long");
    for (host, transport) in (1..).zip(TRANSPORTS) {
        let mut phone = Phone::new(&service, transport, host);
        for length in [255, 256, 511, 512, 4096, 60_000] {
            let long = "x".repeat(length);
            let rows = [
                (
                    "contact",
                    phone
                        .register()
                        .with("Contact", &format!("<sip:{long}@client.invalid>")),
                ),
                ("tag", phone.register().with("From", &format!("{AL};tag={long}"))),
                ("Call-ID", phone.register().with("Call-ID", &long)),
                ("name", phone.register().with("To", &format!("\"{long}\" {AL}"))),
            ];
            for (name, text) in rows {
                let answer = phone.prove(text);
                match (answer.code, answer.response) {
                    (Some(200), Some(response)) => {
                        let text = String::from_utf8(response.to_bytes().to_vec()).expect("text");
                        let runs = text.split(|c| c != 'x').map(str::len).max();
                        assert_eq!(runs, Some(length), "{transport}: {name} of {length}");
                        let contacts = response.headers.list::<Contact>().expect("contacts");
                        assert!(!contacts.is_empty());
                    }
                    (Some(400 | 414 | 513), _) => {}
                    (code, _) => panic!("{transport}: {name} of {length}: {code:?}"),
                }
                // There is room for five.
                let all = phone.register().with("Contact", "*").and("Expires", "0");
                assert_eq!(phone.prove(all).code, Some(200), "{transport}: {name} of {length}");
            }
        }
    }
}

/// Contacts that name this machine: nobody is knocked at, and the phone is there.
#[test]
fn contacts_and_stars_over_every_transport() {
    let service = start("malformed-contacts");
    let trap = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    trap.set_nonblocking(true).expect("a socket");
    let port = trap.local_addr().expect("an address").port();
    let own = service.address(Transport::Tcp);
    let before = service.metric("cusax_sip_connections").expect("a number");
    for (host, transport) in (1..).zip(TRANSPORTS) {
        let mut phone = Phone::new(&service, transport, host);
        for (contact, code) in [
            (format!("<sip:al@127.0.0.1:{port};transport=tcp>"), 200),
            (format!("<sip:al@[::ffff:127.0.0.1]:{port};transport=tcp>"), 200),
            (format!("<sip:al@localhost:{port};transport=tcp>"), 200),
            (format!("<sip:al@{own};transport=tcp>"), 200),
            (format!("<sip:al@0x7f.1:{port};transport=tcp>"), 400),
            (format!("<sip:al@2130706433:{port};transport=tcp>"), 400),
            ("<sip:al@client.invalid?Route=%3Csip:127.0.0.1%3E>".to_owned(), 400),
            (vec!["<sip:al@client.invalid>"; 100].join(","), 403),
            ("*".to_owned(), 400),
            ("*, *".to_owned(), 400),
            ("<*>".to_owned(), 400),
            (String::new(), 400),
            (",".to_owned(), 400),
        ] {
            let text = phone.register().with("Contact", &contact);
            assert_eq!(phone.prove(text).code, Some(code), "{transport}: {contact}");
        }
        for (more, code) in [("60", 400), ("x", 400), ("0", 200)] {
            let text = phone.register().with("Contact", "*").and("Expires", more);
            assert_eq!(
                phone.prove(text).code,
                Some(code),
                "{transport}: a star, Expires: {more}"
            );
        }
        let named = phone.register().with("From", "<sip:bo@sip.example.com>;tag=1");
        assert_eq!(phone.prove(named).code, Some(403), "{transport}: in another's name");
    }
    service.metric_becomes("cusax_registered_phones", 0.0).expect("in time");
    assert!(trap.accept().is_err(), "nobody has knocked");
    service
        .metric_becomes("cusax_sip_connections", before)
        .expect("all are gone, and the service has opened none");
}
