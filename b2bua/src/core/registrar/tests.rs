//! The registrar under simulated time. Users are `alice` and `bob`; their addresses do not resemble their JIDs.

#![expect(clippy::disallowed_methods, reason = "an arbitrary origin of simulated time")]

use std::collections::HashMap;
use std::sync::Arc;

use cusax_common::core::entropy::Seeded;
use cusax_common::core::sip::typed::Contact;
use cusax_common::core::sip::{HeaderName, Message};
use cusax_common::core::time::Wall;
use cusax_common::core::user::Flags;
use proptest::prelude::*;

use super::*;
use crate::core::flow::{Identity, ListenerId, Transport};

pub(super) const DESK: &str = "<sip:line7@192.0.2.7:5070>";
const MOBILE: &str = "<sip:m@192.0.2.8:40000;transport=tcp>;q=0.5";

fn user(jid: &str, aors: &[&str]) -> Arc<User> {
    Arc::new(User {
        jid: jid.parse().unwrap(),
        name: "name".into(),
        aors: aors.iter().map(|aor| aor.parse().unwrap()).collect(),
        numbers: vec![],
        credentials: vec![],
        flags: Flags::default(),
        language: "en".into(),
    })
}

pub(super) fn alice() -> Arc<User> {
    user(
        "alice@example.org",
        &["sip:line7@example.com", "sip:a.other@example.com"],
    )
}

pub(super) fn bob() -> Arc<User> {
    user("bob@example.org", &["sip:line8@example.com"])
}

pub(super) fn flow(transport: Transport, port: u16) -> Flow {
    Flow {
        listener: ListenerId(1),
        transport,
        remote: ([203, 0, 113, 9], port).into(),
        identity: Identity::NONE,
    }
}

pub(super) fn aor() -> Aor {
    "sip:line7@example.com".parse().unwrap()
}

/// A REGISTER in the making; each test changes what it is about.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) user: Arc<User>,
    pub(super) to: &'static str,
    pub(super) from: &'static str,
    pub(super) call_id: &'static str,
    pub(super) sequence: u32,
    /// Lines as they stand, without their ends.
    pub(super) lines: Vec<String>,
    pub(super) flow: Flow,
}

impl Ask {
    pub(super) fn new(sequence: u32, lines: &[&str]) -> Self {
        Self {
            user: alice(),
            to: "<sip:line7@example.com>",
            from: "<sip:line7@example.com>",
            call_id: "c",
            sequence,
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            flow: flow(Transport::Udp, 5070),
        }
    }

    pub(super) fn contact(sequence: u32, contact: &str) -> Self {
        Self::new(sequence, &[&format!("Contact: {contact}")])
    }

    pub(super) fn request(&self) -> Request {
        let lines: String = self.lines.iter().map(|line| format!("{line}\r\n")).collect();
        let text = format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
             From: {};tag=a\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} REGISTER\r\nUser-Agent: phone/1\r\n{lines}\
             Content-Length: 0\r\n\r\n",
            self.from, self.to, self.call_id, self.sequence
        );
        match Message::parse(Bytes::from(text)) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) struct World {
    pub(super) registrar: Registrar,
    entropy: Seeded,
    pub(super) now: Now,
    pub(super) stored: HashMap<String, Bytes>,
    changes: Vec<(String, usize)>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let now = Now {
            instant: Instant::now(),
            wall: Wall(1_700_000_000_000),
        };
        Self {
            registrar: Registrar::new(settings, &[1; 32]),
            entropy: Seeded::new(1),
            now,
            stored: HashMap::new(),
            changes: Vec::new(),
        }
    }

    pub(super) fn ask(&mut self, ask: &Ask) -> Response {
        let proof = Authenticated::pretended(Arc::clone(&ask.user));
        let response = self
            .registrar
            .handle_register(self.now, ask.flow, &ask.request(), proof, &mut self.entropy);
        self.drain();
        response
    }

    /// The code, and each contact with its remaining seconds.
    pub(super) fn told(&mut self, ask: &Ask) -> (u16, Vec<(String, u32)>) {
        let response = self.ask(ask);
        let contacts = response.headers.list::<Contact>().unwrap();
        let list = contacts
            .iter()
            .map(|one| (one.uri.to_string(), one.expires().unwrap()))
            .collect();
        (response.status.code(), list)
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.registrar.poll_output() {
            match output {
                Output::Changed { jid, aors } => self.changes.push((jid.to_string(), aors.len())),
                Output::Copied(_) => panic!("nobody follows"),
                Output::Stored { key, value, ttl } => {
                    assert!(key.starts_with(STATE_PREFIX) && !ttl.is_zero());
                    self.stored.insert(key, value);
                }
                Output::Removed { key } => assert!(self.stored.remove(&key).is_some(), "removed without being stored"),
            }
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.after(Duration::from_millis(ms));
        while let Some(at) = self.registrar.poll_timeout().filter(|&at| at <= end.instant) {
            self.now = self.now.after(at - self.now.instant);
            self.registrar.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub(super) fn changes(&mut self) -> Vec<(String, usize)> {
        std::mem::take(&mut self.changes)
    }

    pub(super) fn assert_sound(&self) {
        assert!(self.registrar.is_sound(), "{:?}", self.registrar);
        assert_eq!(
            self.registrar.len(),
            self.stored.len(),
            "the shared state holds what is here"
        );
    }
}

#[test]
fn a_phone_registers_refreshes_and_goes() {
    let mut world = World::new();
    let desk = ("sip:line7@192.0.2.7:5070".to_owned(), 600);
    let ask =
        |sequence, expires: u32| Ask::new(sequence, &[&format!("Contact: {DESK}"), &format!("Expires: {expires}")]);
    assert_eq!(world.told(&Ask::new(1, &[])), (200, vec![]), "fetching shows nothing");
    assert_eq!(world.changes(), []);
    assert_eq!(world.told(&ask(2, 600)), (200, vec![desk.clone()]));
    assert_eq!(world.changes(), [("alice@example.org".to_owned(), 1)]);
    let binding = &world.registrar.bindings(&aor())[0];
    assert_eq!(
        (binding.flow, binding.q(), binding.user_agent.as_deref()),
        (ask(0, 0).flow, 1000, Some("phone/1"))
    );
    world.pass(100_500);
    assert_eq!(
        world.told(&Ask::new(3, &[])),
        (200, vec![(desk.0.clone(), 500)]),
        "whole seconds, rounded up"
    );
    assert_eq!(world.told(&ask(4, 600)), (200, vec![desk]));
    assert_eq!(world.changes(), [], "a refresh changes nothing for others");
    assert_eq!(world.told(&ask(5, 0)), (200, vec![]));
    assert_eq!(world.changes(), [("alice@example.org".to_owned(), 0)]);
    world.assert_sound();
    assert!(world.registrar.is_empty() && world.registrar.poll_timeout().is_none());
}

#[test]
fn answers_have_date_and_parameters() {
    let mut world = World::new();
    let contact = r#""Desk" <sip:line7@192.0.2.7>;+sip.instance="<urn:uuid:1>";reg-id=1;q=0.7;expires=100"#;
    let response = world.ask(&Ask::contact(1, contact));
    let [kept] = &response.headers.list::<Contact>().unwrap()[..] else {
        panic!("not one contact")
    };
    assert_eq!(
        (kept.params.value("+sip.instance"), kept.q(), kept.expires()),
        (Some("<urn:uuid:1>"), Some(700), Some(100))
    );
    assert_eq!(kept.display, None);
    assert_eq!(
        response.headers.get(&HeaderName::DATE).unwrap(),
        *"Tue, 14 Nov 2023 22:13:20 GMT"
    );
    assert!(!response.headers.has(&HeaderName::RECORD_ROUTE));
    assert_eq!(world.registrar.bindings(&aor())[0].instance(), Some("<urn:uuid:1>"));
}

#[test]
fn bindings_end_exactly() {
    let mut world = World::new();
    world.ask(&Ask::contact(1, &format!("{DESK};expires=60")));
    world.ask(&Ask::contact(2, &format!("{MOBILE};expires=90")));
    let start = world.now;
    assert_eq!(
        world.registrar.poll_timeout(),
        Some(start.instant + Duration::from_secs(60))
    );
    world.changes();
    world.pass(59_999);
    assert_eq!(world.registrar.bindings(&aor()).len(), 2);
    world.pass(1);
    assert_eq!(world.registrar.bindings(&aor()).len(), 1);
    assert_eq!(world.changes(), [], "one phone is left");
    world.assert_sound();
    world.pass(29_999);
    assert_eq!(world.registrar.len(), 1);
    world.pass(1);
    assert_eq!(world.changes(), [("alice@example.org".to_owned(), 0)]);
    assert!(world.registrar.is_empty());
    world.assert_sound();

    world.ask(&Ask::contact(3, &format!("{DESK};expires=60")));
    world.now = world.now.after(Duration::from_secs(500));
    assert_eq!(
        world.told(&Ask::new(4, &[])).1.len(),
        0,
        "a late driver shows nobody what is over"
    );
    world.assert_sound();
}

#[test]
fn what_is_asked_for_is_granted_within_bounds() {
    type Row = (&'static str, &'static [&'static str], (u16, Option<u32>));
    let rows: [Row; 8] = [
        ("nothing asked for", &["Contact: <sip:a@b>"], (200, Some(3600))),
        ("by header", &["Contact: <sip:a@b>", "Expires: 100"], (200, Some(100))),
        (
            "by parameter, which wins",
            &["Contact: <sip:a@b>;expires=200", "Expires: 100"],
            (200, Some(200)),
        ),
        (
            "too much",
            &["Contact: <sip:a@b>;expires=4294967295"],
            (200, Some(7200)),
        ),
        ("the least", &["Contact: <sip:a@b>;expires=60"], (200, Some(60))),
        ("too brief", &["Contact: <sip:a@b>;expires=59"], (423, None)),
        (
            "too brief by header",
            &["Contact: <sip:a@b>", "Expires: 1"],
            (423, None),
        ),
        (
            "zero for what is not there",
            &["Contact: <sip:a@b>;expires=0"],
            (200, None),
        ),
    ];
    for (name, lines, (code, granted)) in rows {
        let mut world = World::new();
        let response = world.ask(&Ask::new(1, lines));
        let contacts = response.headers.list::<Contact>().unwrap();
        assert_eq!(
            (response.status.code(), contacts.first().and_then(Contact::expires)),
            (code, granted),
            "{name}"
        );
        let least = response.headers.opt::<MinExpires>().unwrap();
        assert_eq!(least, (code == 423).then_some(MinExpires(60)), "{name}");
        assert_eq!(world.registrar.len(), usize::from(granted.is_some()), "{name}");
        world.assert_sound();
    }
}

#[test]
fn nobody_registers_for_somebody_else() {
    type Row = (&'static str, fn(&mut Ask), u16);
    let rows: [Row; 9] = [
        ("for another user", |a| a.to = "<sip:line8@example.com>", 403),
        (
            "in the name of another user",
            |a| a.from = "<sip:line8@example.com>",
            403,
        ),
        ("with another's proof", |a| a.user = bob(), 403),
        ("for nobody's address", |a| a.to = "<sip:x@example.com>", 403),
        ("for another domain", |a| a.to = "<sip:line7@biloxi.example>", 403),
        ("for a number", |a| a.to = "<tel:+442079460018>", 403),
        (
            "for one's own in another spelling",
            |a| a.to = "<SIPS:%6cine7@EXAMPLE.com:5061;user=phone>",
            200,
        ),
        (
            "for one's other address, from the first",
            |a| a.to = "<sip:a.other@example.com>",
            200,
        ),
        ("for one's own", |_| {}, 200),
    ];
    for (name, change, code) in rows {
        let mut world = World::new();
        let mut ask = Ask::contact(1, DESK);
        change(&mut ask);
        assert_eq!(world.ask(&ask).status.code(), code, "{name}");
        assert_eq!(world.registrar.len(), usize::from(code == 200), "{name}");
    }
}

#[test]
fn contacts_that_are_not_kept_refuse_the_whole() {
    let long = format!("<sip:{}@b>", "x".repeat(MAX_CONTACT));
    let rows = [
        ("headers in the URI", "<sip:a@b?Route=%3Csip:evil%3E>"),
        ("another scheme", "<mailto:a@b>"),
        ("a number", "<tel:+442079460018>"),
        ("a password", "<sip:a:secret@b>"),
        ("too long", &long),
    ];
    for (name, contact) in rows {
        let mut world = World::new();
        world.ask(&Ask::contact(1, DESK));
        let both = Ask::contact(2, &format!("<sip:new@192.0.2.9>, {contact}"));
        assert_eq!(world.ask(&both).status.code(), 400, "{name}");
        assert_eq!(
            world.told(&Ask::new(3, &[])).1.len(),
            1,
            "{name}: nothing of it was done"
        );
        world.assert_sound();
    }
}

#[test]
fn a_star_removes_all_and_stands_alone() {
    let rows: [(&str, &[&str], u16, usize); 5] = [
        ("with Expires: 0", &["Contact: *", "Expires: 0"], 200, 0),
        ("without Expires", &["Contact: *"], 400, 2),
        ("with another Expires", &["Contact: *", "Expires: 60"], 400, 2),
        (
            "with Expires: 0 and a contact",
            &["Contact: *, <sip:a@b>", "Expires: 0"],
            400,
            2,
        ),
        (
            "with a contact in another line",
            &["Contact: *", "Contact: <sip:a@b>", "Expires: 0"],
            400,
            2,
        ),
    ];
    for (name, lines, code, left) in rows {
        let mut world = World::new();
        world.ask(&Ask::contact(1, DESK));
        world.ask(&Ask {
            call_id: "other",
            ..Ask::contact(9, MOBILE)
        });
        let ask = Ask::new(2, lines);
        let lines: String = ask.lines.iter().map(|line| format!("{line}\r\n")).collect();
        let sample = format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
             Max-Forwards: 70\r\nFrom: <sip:a@b>;tag=a\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n{lines}\r\n"
        );
        if Message::parse(Bytes::from(sample)).is_err() {
            // Refused at the door, before any registrar.
            assert_eq!(code, 400, "{name}");
            continue;
        }
        assert_eq!(world.ask(&ask).status.code(), code, "{name}");
        assert_eq!(world.registrar.len(), left, "{name}");
        world.assert_sound();
    }
    let mut world = World::new();
    world.ask(&Ask::contact(5, DESK));
    let late = Ask::new(5, &["Contact: *", "Expires: 0"]);
    assert_eq!(world.ask(&late).status.code(), 500, "a CSeq that is not higher");
    assert_eq!(world.registrar.len(), 1);
}

#[test]
fn requests_of_one_call_are_kept_in_order() {
    let rows = [
        ("higher", "c", 6, 200),
        ("the same again", "c", 5, 500),
        ("lower", "c", 4, 500),
        ("lower of another call: the phone started anew", "d", 1, 200),
    ];
    for (name, call_id, sequence, code) in rows {
        for expires in [0, 600] {
            let mut world = World::new();
            world.ask(&Ask::contact(5, DESK));
            let ask = Ask {
                call_id,
                ..Ask::contact(sequence, &format!("{DESK};expires={expires}"))
            };
            assert_eq!(world.ask(&ask).status.code(), code, "{name}");
            assert_eq!(world.registrar.len(), usize::from(code == 500 || expires > 0), "{name}");
            world.assert_sound();
        }
    }
}

#[test]
fn an_address_has_few_phones() {
    let mut world = World::new();
    let five: Vec<_> = (0..5).map(|n| format!("<sip:p{n}@192.0.2.{n}>")).collect();
    assert_eq!(world.told(&Ask::contact(1, &five.join(", "))).1.len(), 5);
    assert_eq!(world.ask(&Ask::contact(2, "<sip:p5@192.0.2.5>")).status.code(), 403);
    let swap = "<sip:p5@192.0.2.5>, <sip:p0@192.0.2.0>;expires=0";
    assert_eq!(world.told(&Ask::contact(3, swap)).1.len(), 5, "one comes, one goes");
    let hundred: Vec<_> = (0..100).map(|n| format!("<sip:q{n}@192.0.2.9>")).collect();
    assert_eq!(world.ask(&Ask::contact(4, &hundred.join(", "))).status.code(), 403);
    let lines: Vec<_> = hundred.iter().map(|contact| format!("Contact: {contact}")).collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    assert_eq!(world.ask(&Ask::new(5, &lines)).status.code(), 403);
    let twice = "<sip:p1@192.0.2.1>;expires=100, <sip:p1@192.0.2.1>;expires=200";
    assert_eq!(world.told(&Ask::contact(6, twice)).1.len(), 5, "one named twice is one");
    world.assert_sound();
}

#[test]
fn alone_nobody_hears_of_bindings_but_whom_changes_concern() {
    for (keeping, stored) in [(Keeping::Shared, 1), (Keeping::Alone, 0)] {
        let mut world = World::with(Settings {
            keeping,
            ..Settings::default()
        });
        let refreshed = [1, 2].map(|sequence| world.told(&Ask::contact(sequence, DESK)));
        assert_eq!(refreshed[0], refreshed[1], "{keeping:?}");
        assert_eq!(world.stored.len(), stored, "{keeping:?}");
        assert_eq!(world.changes().len(), 1, "{keeping:?}");
        let gone = world.told(&Ask::new(3, &["Contact: *", "Expires: 0"]));
        assert_eq!(gone, (200, vec![]), "{keeping:?}");
        assert_eq!((world.stored.len(), world.changes().len()), (0, 1), "{keeping:?}");
    }
}

#[test]
fn the_whole_is_bounded() {
    let mut world = World::with(Settings {
        max_bindings: 1,
        ..Settings::default()
    });
    world.ask(&Ask::contact(1, DESK));
    let eight = "<sip:line8@example.com>";
    let bobs = Ask {
        user: bob(),
        to: eight,
        from: eight,
        ..Ask::contact(1, MOBILE)
    };
    assert_eq!(world.ask(&bobs).status.code(), 503);
    assert_eq!(
        world.ask(&Ask::contact(2, DESK)).status.code(),
        200,
        "a refresh is no growth"
    );
    world.assert_sound();
}

#[test]
fn a_phone_takes_its_own_place_again() {
    let mut world = World::new();
    let phone = |port: u16, id: &str| format!("<sip:line7@192.0.2.7:{port}>;+sip.instance=\"<urn:uuid:1>\"{id}");
    world.ask(&Ask::contact(1, &phone(5070, "")));
    let again = Ask {
        call_id: "d",
        flow: flow(Transport::Udp, 6000),
        ..Ask::contact(1, &phone(6000, ""))
    };
    assert_eq!(world.told(&again).1.len(), 1, "the same instance by another port");
    assert_eq!(world.registrar.bindings(&aor())[0].flow.remote.port(), 6000);
    assert_eq!(
        world.told(&Ask::contact(2, &phone(7000, ";reg-id=2"))).1.len(),
        2,
        "another flow of it"
    );
    assert_eq!(
        world.told(&Ask::contact(3, "<sip:line7@192.0.2.7:9>")).1.len(),
        3,
        "without instance, by address"
    );
    assert_eq!(
        world.told(&Ask::contact(4, "<sip:%6cine7@192.0.2.7:9>")).1.len(),
        3,
        "an equal address (§19.1.4)"
    );
    world.assert_sound();
}

#[test]
fn the_preferred_phone_comes_first() {
    let mut world = World::new();
    world.ask(&Ask::contact(1, "<sip:a@192.0.2.1>;q=0.5"));
    world.pass(1000);
    world.ask(&Ask::contact(
        2,
        "<sip:b@192.0.2.1>;q=0.5, <sip:c@192.0.2.1>;q=0.9, <sip:d@192.0.2.1>;q=0",
    ));
    let order: Vec<_> = world
        .registrar
        .bindings(&aor())
        .iter()
        .map(|one| one.uri().to_string())
        .collect();
    assert_eq!(
        order,
        [
            "sip:c@192.0.2.1",
            "sip:b@192.0.2.1",
            "sip:a@192.0.2.1",
            "sip:d@192.0.2.1"
        ]
    );
}

#[test]
fn addresses_are_told_in_the_order_of_the_record() {
    let mut world = World::new();
    let other = "<sip:a.other@example.com>";
    world.ask(&Ask {
        to: other,
        ..Ask::contact(1, DESK)
    });
    world.ask(&Ask::contact(1, DESK));
    let told = world.registrar.registered(&alice().jid);
    assert_eq!(told, alice().aors);
    assert_eq!(world.registrar.everybody(), [(alice().jid.clone(), told)]);
    assert_eq!(
        world.changes().iter().map(|(_, count)| *count).collect::<Vec<_>>(),
        [1, 2]
    );
}

#[test]
fn another_order_of_the_record_is_no_change() {
    let mut world = World::new();
    world.ask(&Ask::contact(1, DESK));
    world.changes();
    let mut ask = Ask::contact(2, DESK);
    ask.user = user(
        "alice@example.org",
        &["sip:a.other@example.com", "sip:line7@example.com"],
    );
    assert_eq!(world.ask(&ask).status.code(), 200);
    assert_eq!(world.changes(), []);
    world.assert_sound();
}

#[test]
fn users_go_and_lose_addresses() {
    let mut world = World::new();
    world.ask(&Ask::contact(1, DESK));
    world.ask(&Ask {
        to: "<sip:a.other@example.com>",
        ..Ask::contact(1, DESK)
    });
    world.changes();
    world
        .registrar
        .keep_user(world.now, &user("alice@example.org", &["sip:line7@example.com"]));
    world.drain();
    assert_eq!(world.changes(), [("alice@example.org".to_owned(), 1)]);
    world.assert_sound();
    // The address has a new owner, whose phone comes before anybody told us of the change.
    let heir = Ask {
        user: user("eve@example.org", &["sip:line7@example.com"]),
        ..Ask::contact(1, MOBILE)
    };
    assert_eq!(world.told(&heir).1.len(), 1, "the former owner's phone is gone");
    assert_eq!(
        world.changes(),
        [("alice@example.org".to_owned(), 0), ("eve@example.org".to_owned(), 1)]
    );
    world.registrar.forget_user(world.now, &heir.user.jid);
    world.drain();
    assert_eq!(world.changes(), [("eve@example.org".to_owned(), 0)]);
    assert!(world.registrar.is_empty());
    world.assert_sound();
}

/// The fuzzer's find: one contact that is one phone by its address and another one by its instance left two bindings
/// under one key of the shared state.
#[test]
fn a_contact_takes_the_place_of_all_that_it_names() {
    let mut world = World::new();
    for (sequence, contact, left) in [
        (1, r#"<sip:old@192.0.2.7>;+sip.instance="<urn:uuid:1>""#, 1),
        (2, "<sip:new@192.0.2.7>", 2),
        (3, r#"<sip:new@192.0.2.7>;+sip.instance="<urn:uuid:1>""#, 1),
        (4, "<sip:x@192.0.2.7;p=1;p=2>", 2),
        (5, "<sip:x@192.0.2.7;p=1;p=2>", 2),
    ] {
        world.pass(1000);
        assert_eq!(world.told(&Ask::contact(sequence, contact)).1.len(), left, "{contact}");
        world.assert_sound();
    }
}

#[test]
fn a_closed_connection_takes_its_phones_along() {
    let mut world = World::new();
    let tls = flow(Transport::Tls, 7);
    world.ask(&Ask {
        flow: tls,
        ..Ask::contact(1, DESK)
    });
    world.ask(&Ask::contact(2, MOBILE));
    world.registrar.handle_flow_closed(world.now, flow(Transport::Tls, 8));
    world
        .registrar
        .handle_flow_closed(world.now, flow(Transport::Udp, 5070));
    assert_eq!(
        world.registrar.len(),
        2,
        "other connections, and datagrams, change nothing"
    );
    world.registrar.handle_flow_closed(world.now, tls);
    world.drain();
    assert_eq!(world.registrar.len(), 1);
    assert!(!world.registrar.has_flow(&tls));
    world.assert_sound();
}

#[test]
fn bindings_survive_a_restart() {
    let mut world = World::new();
    world.ask(&Ask::contact(
        7,
        r#"<sip:line7@192.0.2.7>;+sip.instance="<urn:uuid:1>";q=0.7;expires=100"#,
    ));
    world.ask(&Ask {
        flow: flow(Transport::Tcp, 1),
        ..Ask::contact(8, MOBILE)
    });
    let (stored, before) = (world.stored.clone(), world.registrar.bindings(&aor())[0].clone());
    assert_eq!(stored.len(), 2);
    let mut later = World::new();
    later.now = world.now.after(Duration::from_secs(40));
    for (key, value) in &stored {
        later.registrar.restore(later.now, key, value, |_| true);
        later.registrar.restore(later.now, key, value, |_| true);
    }
    assert_eq!(
        (later.registrar.len(), later.registrar.dropped()),
        (1, 3),
        "once, and not what came by a connection"
    );
    let tick = later.registrar.clock.read(later.now.instant);
    let after = &later.registrar.bindings(&aor())[0];
    assert_eq!(
        (after.flow, &after.contact, after.remaining(tick)),
        (before.flow, &before.contact, 60)
    );
    later.drain();
    assert_eq!(later.changes(), [("alice@example.org".to_owned(), 1)]);
    assert_eq!(
        later
            .ask(&Ask::contact(7, r#"<sip:x@y>;+sip.instance="<urn:uuid:1>""#))
            .status
            .code(),
        500,
        "in order"
    );
    later.registrar.handle_timeout(later.now.after(Duration::from_secs(60)));
    assert!(later.registrar.is_empty(), "the time that was left is all it has");
}

#[test]
fn hostile_values_are_dropped_and_counted() {
    let mut world = World::new();
    world.ask(&Ask::contact(1, &format!("{DESK};expires=100")));
    let (key, value) = world.stored.iter().next().unwrap();
    let text = std::str::from_utf8(value).unwrap();
    let change = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} in {text}");
        text.replace(from, to)
    };
    let rows = [
        ("nothing", String::new()),
        ("another type", "[1,2]".into()),
        ("cut off", text[..text.len() - 1].into()),
        ("another schema", change("\"version\":2", "\"version\":1")),
        ("an unknown field", change("{\"version\"", "{\"x\":1,\"version\"")),
        ("a missing field", change("\"place\":0,", "")),
        (
            "another address",
            change("sip:line7@example.com", "sip:line8@example.com"),
        ),
        ("no address", change("sip:line7@example.com", "example.com")),
        ("another phone", change("192.0.2.7:5070", "192.0.2.7:5071")),
        ("a contact with headers", change("192.0.2.7:5070", "192.0.2.7:5070?a=b")),
        (
            "a contact that breaks the line",
            change("<sip:line7@192", "<sip:line7\\r\\nVia: x@192"),
        ),
        ("no contact", change("<sip:line7@192.0.2.7:5070>", "*")),
        (
            "a life too long",
            change("\"expires\":17000001", "\"expires\":97000001"),
        ),
        (
            "a life that is over",
            change("\"expires\":17000001", "\"expires\":16000001"),
        ),
        (
            "a past that has not been",
            change("\"registered\":1700000000000", "\"registered\":1700000009000"),
        ),
        ("a number out of range", change("\"sequence\":1", "\"sequence\":-1")),
        ("a connection", change("\"transport\":\"UDP\"", "\"transport\":\"TLS\"")),
        ("port zero", change("203.0.113.9:5070", "203.0.113.9:0")),
        ("a mebibyte", change("phone/1", &"x".repeat(1 << 20))),
    ];
    for (name, value) in rows {
        let mut other = World::new();
        other.now = world.now;
        other.registrar.restore(other.now, key, value.as_bytes(), |_| true);
        assert_eq!((other.registrar.len(), other.registrar.dropped()), (0, 1), "{name}");
    }
    let mut other = World::new();
    other.now = world.now;
    other.registrar.restore(other.now, &format!("{key}0"), value, |_| true);
    assert_eq!(other.registrar.dropped(), 1, "another key");
    other.registrar.restore(other.now, key, value, |_| true);
    assert_eq!(other.registrar.len(), 1, "the true one");
}

/// One step of a random run.
#[derive(Clone, Debug)]
enum Op {
    Register {
        user: usize,
        aor: usize,
        phones: Vec<(u8, u32)>,
        sequence: u32,
        call: usize,
        port: u8,
    },
    Star {
        aor: usize,
        sequence: u32,
    },
    Elapse {
        ms: u64,
    },
    Close {
        port: u8,
    },
    Forget {
        user: usize,
    },
    Keep,
}

fn op() -> impl Strategy<Value = Op> {
    let phones = prop::collection::vec((0..8_u8, prop_oneof![Just(0), 30..9000_u32]), 0..7);
    prop_oneof![
        4 => (0..2_usize, 0..3_usize, phones, 1..6_u32, 0..2_usize, 0..3_u8).prop_map(
            |(user, aor, phones, sequence, call, port)| Op::Register { user, aor, phones, sequence, call, port }
        ),
        1 => (0..3_usize, 1..8_u32).prop_map(|(aor, sequence)| Op::Star { aor, sequence }),
        2 => (0..4_000_000_u64).prop_map(|ms| Op::Elapse { ms }),
        1 => (0..3_u8).prop_map(|port| Op::Close { port }),
        1 => (0..2_usize).prop_map(|user| Op::Forget { user }),
        1 => Just(Op::Keep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: bounded, in step with the shared state, and empty once all time has passed.
    #[test]
    fn any_sequence_stays_sound(ops in prop::collection::vec(op(), 1..40)) {
        let settings = Settings { max_bindings: 8, ..Settings::default() };
        let mut world = World::with(settings);
        let users = [alice(), bob()];
        let aors = ["<sip:line7@example.com>", "<sip:a.other@example.com>", "<sip:line8@example.com>"];
        let flows = |port: u8| flow([Transport::Udp, Transport::Tcp, Transport::Tls][usize::from(port)], 7);
        let mut known: HashMap<String, usize> = HashMap::new();
        for op in ops {
            match op {
                Op::Register { user, aor, phones, sequence, call, port } => {
                    let contacts = phones.iter().map(|(n, expires)| {
                        let instance = if n % 2 == 0 { format!(";+sip.instance=\"<i{n}>\"") } else { String::new() };
                        format!("Contact: <sip:p{n}@192.0.2.{}>{instance};expires={expires}", port)
                    });
                    let mut ask = Ask::new(sequence, &[]);
                    ask.lines = contacts.collect();
                    ask.user = Arc::clone(&users[user]);
                    (ask.to, ask.from) = (aors[aor], aors[aor]);
                    ask.call_id = ["c", "d"][call];
                    ask.flow = flows(port);
                    let code = world.ask(&ask).status.code();
                    prop_assert!([200, 403, 423, 500, 503].contains(&code), "{code}");
                }
                Op::Star { aor, sequence } => {
                    let mut ask = Ask::new(sequence, &["Contact: *", "Expires: 0"]);
                    ask.user = Arc::clone(&users[usize::from(aor == 2)]);
                    (ask.to, ask.from) = (aors[aor], aors[aor]);
                    world.ask(&ask);
                }
                Op::Elapse { ms } => world.pass(ms),
                Op::Close { port } => world.registrar.handle_flow_closed(world.now, flows(port)),
                Op::Forget { user } => world.registrar.forget_user(world.now, &users[user].jid),
                Op::Keep => {
                    let kept = user("alice@example.org", &["sip:a.other@example.com"]);
                    world.registrar.keep_user(world.now, &kept);
                }
            }
            world.drain();
            world.assert_sound();
            prop_assert!(world.registrar.len() <= settings.max_bindings);
            for (jid, count) in world.changes() {
                let before = known.insert(jid, count).unwrap_or(0);
                prop_assert!(before.abs_diff(count) == 1, "one address at a time: {before} to {count}");
            }
            for user in &users {
                let told = known.get(user.jid.as_str()).copied().unwrap_or(0);
                prop_assert_eq!(told, world.registrar.registered(&user.jid).len(), "everybody was told");
            }
        }
        world.pass(8_000_000);
        world.assert_sound();
        prop_assert!(world.registrar.is_empty() && world.registrar.poll_timeout().is_none());
    }
}
