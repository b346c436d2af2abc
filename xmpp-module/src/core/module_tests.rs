//! The whole machine against a small plugin of our own making.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cusax_common::core::bridge::{CallNews, CallNotice, ChargeNotice, PhoneActivity, ToB2bua, ToXmpp};
use cusax_common::core::entropy::Seeded;
use cusax_common::core::id::SessionId;
use cusax_common::core::policy::NumberClass;
use cusax_common::core::tel::Tel;
use cusax_common::core::time::Wall;
use cusax_common::core::user::{Flags, User};
use minidom::Element;
use proptest::prelude::*;

use super::link::PAUSE;
use super::map::Entry;
use super::module::{CHECK_DEADLINE, Fetch, Fetched, MAX_CHECKS, MAX_NOTICES, Module, Output, PATIENCE, Settings};
use super::notice::LIFE;
use super::ns;
use super::pace::AT_ONCE;
use super::pending::DEADLINE;
use super::testing::{british, start, user};

pub(super) const DOMAIN: &str = "atlanta.example";
pub(super) const COMPONENT: &str = "calls.atlanta.example";
const AOR: &str = "sip:a.liddell@sip.atlanta.example";

pub(super) type Machine = Module<fn(&str) -> Option<Tel>>;

/// The machine, its store, and a plugin with a map.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) machine: Machine,
    pub(super) users: Vec<User>,
    plugin: Plugin,
    /// What was sent besides what the plugin answered.
    pub(super) sent: Vec<Element>,
    pub(super) bridge: Vec<ToB2bua>,
}

/// As much of a plugin as the protocol is about.
#[derive(Default)]
struct Plugin {
    version: Option<u32>,
    map: Vec<Entry>,
    epoch: Option<String>,
    seq: u64,
    staging: Vec<Entry>,
    begun: bool,
    /// How many full maps were received.
    bulks: usize,
    deltas: usize,
    published: Vec<(String, String)>,
    /// Requests come, answers do not.
    mute: bool,
    /// The next delta is done, but its answer is lost.
    lose_one: bool,
}

impl World {
    fn new(users: Vec<User>) -> Self {
        Self::with(users, "all")
    }

    /// The operator offers these notices.
    pub(super) fn with(users: Vec<User>, notices: &str) -> Self {
        let now = start();
        let settings = Settings {
            component: COMPONENT.into(),
            domain: DOMAIN.into(),
            notices: notices.parse().expect("kinds of notices"),
            admins: ["root@atlanta.example".parse().expect("a JID")].into(),
        };
        let machine = Module::new(now, settings, british as fn(&str) -> Option<Tel>, &mut Seeded::new(1));
        Self {
            now,
            machine,
            users,
            plugin: Plugin::default(),
            sent: Vec::new(),
            bridge: Vec::new(),
        }
    }

    /// Connected, with all registrations heard and the map in the plugin.
    pub(super) fn settled(users: Vec<User>) -> Self {
        let mut world = Self::new(users);
        world.machine.handle_connected(world.now, &mut Seeded::new(2));
        world.bridge(ToXmpp::Everything {
            registered: vec![],
            phones: vec![],
        });
        assert!(world.machine.is_settled());
        world
    }

    pub(super) fn bridge(&mut self, message: ToXmpp) {
        self.machine.handle_bridge(self.now, message);
        self.run();
    }

    pub(super) fn hear(&mut self, xml: &str) {
        self.machine
            .handle_stanza(self.now, xml.parse().expect("the test writes good XML"));
        self.run();
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.machine.handle_timeout(self.now);
        self.run();
    }

    pub(super) fn reconnect(&mut self) {
        self.machine.handle_closed();
        self.machine.handle_connected(self.now, &mut Seeded::new(3));
        self.run();
    }

    /// Lets everybody answer until nothing is left to say.
    fn run(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Bridge(message) => self.bridge.push(message),
                Output::Fetch(Fetch::Page(page)) => {
                    let behind = |user: &&User| page.after.as_ref().is_none_or(|after| user.jid > *after);
                    let mut users: Vec<User> = self.users.iter().filter(behind).cloned().collect();
                    users.sort_by(|a, b| a.jid.cmp(&b.jid));
                    users.truncate(page.limit as usize);
                    self.machine.handle_fetched(self.now, Fetched::Page(Some(users)));
                }
                Output::Fetch(Fetch::User { check, jid }) => {
                    let user = self.users.iter().find(|user| user.jid == jid).cloned();
                    self.machine.handle_fetched(
                        self.now,
                        Fetched::User {
                            check,
                            user: Some(user.map(Arc::new)),
                        },
                    );
                }
                Output::Fetch(Fetch::Choose { number, jid, choice }) => {
                    let user = self.users.iter_mut().find(|user| user.jid == jid);
                    let done = user.map(|user| {
                        (user.flags.notices, user.flags.impp) = (choice.notices, choice.impp);
                    });
                    let done = Some(done.is_some());
                    self.machine.handle_fetched(self.now, Fetched::Chosen { number, done });
                }
                Output::Send(stanza) => match self.plugin.answer(&stanza) {
                    Some(Some(answer)) => self.machine.handle_stanza(self.now, answer),
                    Some(None) => {}
                    None => self.sent.push(stanza),
                },
            }
        }
    }

    fn reach(&self, jid: &str) -> Option<Vec<String>> {
        self.plugin
            .map
            .iter()
            .find(|entry| entry.jid.as_str() == jid)
            .map(|entry| entry.reach.clone())
    }
}

impl Plugin {
    /// `None` if the stanza is none of its own.
    fn answer(&mut self, iq: &Element) -> Option<Option<Element>> {
        if !matches!(iq.attr("type"), Some("get" | "set")) {
            return None;
        }
        let payload = iq
            .children()
            .next()
            .filter(|payload| payload.ns() == ns::PLUGIN && iq.attr("to") == Some(DOMAIN))?;
        assert_eq!(iq.attr("from"), Some(COMPONENT));
        if self.mute {
            return Some(None);
        }
        let answer = match payload.name() {
            "state" => {
                let seq = self
                    .epoch
                    .as_ref()
                    .map(|epoch| format!("epoch='{epoch}' seq='{}'", self.seq))
                    .unwrap_or_default();
                Ok(format!(
                    "<state xmlns='{}' version='{}' {seq}/>",
                    ns::PLUGIN,
                    self.version.unwrap_or(1)
                ))
            }
            "sync" => self.sync(payload),
            "publish" => {
                let activity = payload
                    .get_child("item", ns::PUBSUB)?
                    .get_child("activity", ns::ACTIVITY)?;
                let specific = activity.children().next().and_then(|talking| talking.children().next());
                let specific = specific.map_or("", |child| child.name()).to_owned();
                self.published.push((payload.attr("user")?.to_owned(), specific));
                Ok(String::new())
            }
            other => panic!("no plugin knows {other}"),
        };
        if payload.attr("mode") == Some("delta") && std::mem::take(&mut self.lose_one) {
            return Some(None);
        }
        let id = iq.attr("id")?;
        let (kind, inner) = match answer {
            Ok(inner) => ("result", inner),
            Err(condition) => (
                "error",
                format!(
                    "<error type='cancel'><{condition} xmlns='{}'/></error>",
                    ns::STANZA_ERRORS
                ),
            ),
        };
        let answer = format!(
            "<iq xmlns='{}' type='{kind}' from='{DOMAIN}' to='{COMPONENT}' id='{id}'>{inner}</iq>",
            ns::COMPONENT
        );
        Some(Some(answer.parse().expect("well-formed")))
    }

    fn sync(&mut self, sync: &Element) -> Result<String, &'static str> {
        let number = |name| sync.attr(name).and_then(|text| text.parse::<u64>().ok());
        let lines: Vec<Entry> = sync
            .text()
            .lines()
            .map(|line| line.parse().expect("a line of the map"))
            .collect();
        let mut size = Vec::new();
        sync.write_to(&mut size).expect("a vector takes everything");
        assert!(size.len() <= 128 * 1024, "a chunk of {} bytes", size.len());
        match sync.attr("mode") {
            Some("begin") => {
                assert_eq!(number("version"), Some(1));
                (self.begun, self.staging) = (true, Vec::new());
            }
            Some("more") if self.begun => self.staging.extend(lines),
            Some("commit") if self.begun && number("users") == Some(self.staging.len() as u64) => {
                self.map = std::mem::take(&mut self.staging);
                self.epoch = sync.attr("epoch").map(str::to_owned);
                self.seq = number("seq").ok_or("bad-request")?;
                self.begun = false;
                self.bulks += 1;
            }
            Some("delta") if sync.attr("epoch") == self.epoch.as_deref() && number("after") == Some(self.seq) => {
                for entry in lines {
                    self.map.retain(|old| old.jid != entry.jid);
                    if !entry.is_gone() {
                        self.map.push(entry);
                    }
                }
                self.seq = number("seq").ok_or("bad-request")?;
                self.deltas += 1;
            }
            _ => return Err("conflict"),
        }
        Ok(String::new())
    }
}

fn alice() -> User {
    user("alice@atlanta.example", &[AOR], &["+442079460018"])
}

fn registered(aors: &[&str]) -> ToXmpp {
    ToXmpp::Registered {
        jid: alice().jid,
        aors: aors.iter().map(|aor| aor.parse().expect("an AOR")).collect(),
    }
}

#[test]
fn the_plugin_learns_everything_once_and_then_what_changes() {
    let mut world = World::settled(vec![alice(), user("x@other.example", &["sip:x@o.example"], &[])]);
    assert_eq!(world.bridge, [ToB2bua::Resync]);
    assert_eq!(world.plugin.map.len(), 1, "users of other domains are not told of");
    assert_eq!(
        (world.reach("alice@atlanta.example"), world.plugin.bulks),
        (Some(vec![]), 1)
    );
    world.bridge(registered(&[AOR]));
    assert_eq!(
        world.reach("alice@atlanta.example"),
        Some(vec![AOR.into(), "tel:+442079460018".into()])
    );
    world.bridge(registered(&[AOR]));
    assert_eq!(world.plugin.deltas, 1, "what did not change is not told");
    world.bridge(registered(&[]));
    assert_eq!(world.reach("alice@atlanta.example"), Some(vec![]));
    world.users.clear();
    world.machine.handle_users_changed();
    world.run();
    assert_eq!(
        world.reach("alice@atlanta.example"),
        None,
        "a user who is gone is forgotten"
    );
    assert_eq!((world.plugin.bulks, world.plugin.deltas), (1, 3));
}

#[test]
fn without_a_b2bua_the_plugin_is_told_after_a_while() {
    let mut world = World::new(vec![alice()]);
    world.machine.handle_connected(world.now, &mut Seeded::new(2));
    world.run();
    assert_eq!(world.plugin.bulks, 0, "the registrations may still come");
    assert!(
        world
            .machine
            .poll_timeout()
            .is_some_and(|at| at <= world.now + PATIENCE)
    );
    world.pass(PATIENCE);
    assert_eq!(world.plugin.bulks, 1);
}

#[test]
fn many_users_go_in_chunks() {
    let users: Vec<User> = (0..5_000)
        .map(|n| user(&format!("u{n}@{DOMAIN}"), &[&format!("sip:{n}&x@s.example")], &[]))
        .collect();
    let mut world = World::settled(users);
    assert_eq!((world.plugin.map.len(), world.plugin.bulks), (5_000, 1));
    let all = (0..5_000)
        .map(|n| {
            (
                format!("u{n}@{DOMAIN}").parse().unwrap(),
                vec![format!("sip:{n}&x@s.example").parse().unwrap()],
            )
        })
        .collect();
    world.bridge(ToXmpp::Everything {
        registered: all,
        phones: vec![],
    });
    assert!(world.plugin.map.iter().all(|entry| entry.reach.len() == 1));
    assert!(world.plugin.deltas > 1, "{} deltas", world.plugin.deltas);
}

#[test]
fn a_reconnect_sends_only_what_is_missing() {
    let mut world = World::settled(vec![alice()]);
    world.machine.handle_closed();
    world.bridge(registered(&[AOR]));
    world.machine.handle_connected(world.now, &mut Seeded::new(3));
    world.run();
    assert_eq!((world.plugin.bulks, world.plugin.deltas), (1, 1));
    assert_eq!(world.reach("alice@atlanta.example").map(|reach| reach.len()), Some(2));
}

#[test]
fn a_lost_answer_neither_loses_nor_repeats_everything() {
    let mut world = World::settled(vec![alice()]);
    world.plugin.lose_one = true;
    world.bridge(registered(&[AOR]));
    assert!(!world.machine.is_settled());
    world.bridge(registered(&[]));
    world.reconnect();
    assert_eq!(
        (world.plugin.bulks, world.reach("alice@atlanta.example")),
        (1, Some(vec![]))
    );
    assert!(world.machine.is_settled());
}

#[test]
fn a_plugin_that_forgot_gets_everything_again() {
    let mut world = World::settled(vec![alice()]);
    let forget = |world: &mut World| {
        world.plugin = Plugin {
            bulks: world.plugin.bulks,
            ..Plugin::default()
        };
    };
    forget(&mut world);
    world.bridge(registered(&[AOR]));
    assert!(world.plugin.map.is_empty(), "a delta without its map is refused");
    world.pass(PAUSE);
    assert_eq!((world.plugin.map.len(), world.plugin.bulks), (1, 2));
    forget(&mut world);
    world.hear(&format!(
        "<message xmlns='{}' from='{DOMAIN}' to='{COMPONENT}'><need-sync xmlns='{}' version='1'/></message>",
        ns::COMPONENT,
        ns::PLUGIN
    ));
    world.pass(PAUSE);
    assert_eq!((world.plugin.map.len(), world.plugin.bulks), (1, 3));
    assert_eq!(world.reach("alice@atlanta.example").map(|reach| reach.len()), Some(2));
}

#[test]
fn need_sync_counts_only_from_our_server() {
    for from in [
        "mallory@atlanta.example/x",
        "other.example",
        "atlanta.example/x",
        "ATLANTA.EXAMPLE.evil.example",
    ] {
        let mut world = World::settled(vec![alice()]);
        world.plugin.map.clear();
        world.plugin.epoch = None;
        world.hear(&format!(
            "<message xmlns='{}' from='{from}' to='{COMPONENT}'><need-sync xmlns='{}' version='1'/></message>",
            ns::COMPONENT,
            ns::PLUGIN
        ));
        world.pass(PAUSE);
        assert!(world.plugin.map.is_empty(), "{from}");
    }
}

#[test]
fn a_plugin_of_another_version_is_refused_with_a_reason() {
    let mut world = World::new(vec![alice()]);
    world.plugin.version = Some(2);
    world.machine.handle_connected(world.now, &mut Seeded::new(2));
    world.bridge(ToXmpp::Everything {
        registered: vec![],
        phones: vec![],
    });
    let reason = world.machine.refusal().unwrap().to_owned();
    assert!(reason.contains("version 2") && reason.contains("version 1"), "{reason}");
    assert_eq!(world.plugin.bulks, 0);
    world.plugin.version = None;
    world.hear(&format!(
        "<message xmlns='{}' from='{DOMAIN}' to='{COMPONENT}'><need-sync xmlns='{}' version='1'/></message>",
        ns::COMPONENT,
        ns::PLUGIN
    ));
    world.pass(PAUSE);
    assert_eq!(
        (world.machine.refusal(), world.plugin.bulks),
        (None, 1),
        "the right plugin was put in its place"
    );
}

#[test]
fn a_silent_plugin_is_asked_again_and_ever_less_often() {
    let mut world = World::new(vec![alice()]);
    world.plugin.mute = true;
    world.machine.handle_connected(world.now, &mut Seeded::new(2));
    world.bridge(ToXmpp::Everything {
        registered: vec![],
        phones: vec![],
    });
    let mut wakes = 0;
    let begin = world.now;
    while world.now < begin + Duration::from_secs(600) {
        let at = world.machine.poll_timeout().expect("something is always due");
        assert!(at > world.now, "no busy loop");
        world.pass(at - world.now);
        wakes += 1;
    }
    assert!((10..60).contains(&wakes), "{wakes} wakes in ten minutes");
    world.plugin.mute = false;
    world.pass(Duration::from_secs(60));
    world.pass(Duration::from_secs(60));
    assert_eq!(world.plugin.bulks, 1);
    assert!(DEADLINE > CHECK_DEADLINE);
}

#[test]
fn activity_is_published_once_and_again_when_the_answer_was_lost() {
    let mut world = World::settled(vec![alice()]);
    let phone = |activity| ToXmpp::Phone {
        jid: alice().jid,
        activity,
    };
    let published = |world: &mut World| {
        std::mem::take(&mut world.plugin.published)
            .into_iter()
            .map(|(_, what)| what)
            .collect::<Vec<_>>()
    };
    world.bridge(phone(PhoneActivity::Idle));
    assert!(published(&mut world).is_empty(), "nobody was on the phone");
    world.bridge(phone(PhoneActivity::Audio));
    world.bridge(phone(PhoneActivity::Audio));
    world.bridge(phone(PhoneActivity::Video));
    assert_eq!(published(&mut world), ["on_the_phone", "on_video_phone"]);
    world.plugin.mute = true;
    world.bridge(phone(PhoneActivity::Idle));
    world.plugin.mute = false;
    world.reconnect();
    assert_eq!(
        published(&mut world),
        [""],
        "the end of a call is not lost with a stream"
    );
    world.bridge(phone(PhoneActivity::Audio));
    world.bridge(ToXmpp::Everything {
        registered: vec![],
        phones: vec![],
    });
    assert_eq!(
        published(&mut world),
        ["on_the_phone", ""],
        "a b2bua that begins anew has no calls but those it tells of"
    );
}

fn charge(jid: &str) -> ToXmpp {
    ToXmpp::Charge(ChargeNotice {
        session: SessionId::draw(&mut Seeded::new(9)),
        jid: jid.parse().unwrap(),
        number: "+447700900042".parse().unwrap(),
        class: NumberClass::Mobile,
        at: Wall(0),
    })
}

fn call(jid: &str, news: CallNews) -> ToXmpp {
    ToXmpp::Call(CallNotice {
        session: SessionId::draw(&mut Seeded::new(9)),
        jid: jid.parse().unwrap(),
        news,
        caller: None,
        at: Wall(0),
    })
}

/// A user who wants these.
fn choosing(jid: &str, notices: &str) -> User {
    User {
        flags: Flags {
            notices: notices.parse().unwrap(),
            ..Flags::default()
        },
        ..user(jid, &[], &[])
    }
}

#[test]
fn notices_go_to_those_who_want_them() {
    let carol = "carol@atlanta.example";
    let news = [
        CallNews::Incoming,
        CallNews::Missed,
        CallNews::Busy,
        CallNews::Unreachable,
    ];
    for (wanted, heard) in [
        ("all", 5),
        ("none", 0),
        ("charge", 1),
        ("incoming", 1),
        ("missed", 1),
        ("refused", 2),
    ] {
        let mut world = World::settled(vec![choosing(carol, wanted)]);
        world.bridge(charge(carol));
        news.into_iter().for_each(|news| world.bridge(call(carol, news)));
        assert_eq!(world.sent.len(), heard, "{wanted}");
        assert!(
            world
                .sent
                .iter()
                .all(|sent| (sent.name(), sent.attr("type")) == ("message", Some("chat")))
        );
        let ids: BTreeSet<_> = world.sent.iter().filter_map(|sent| sent.attr("id")).collect();
        assert_eq!(
            ids.contains(&*format!("{}-incoming", SessionId::draw(&mut Seeded::new(9)))),
            wanted == "all" || wanted == "incoming"
        );
        let counters = world.machine.counters();
        assert_eq!(
            (counters.charges + counters.calls, counters.unwanted),
            (heard as u64, 5 - heard as u64)
        );
        world.bridge(call("nobody@atlanta.example", CallNews::Missed));
        assert_eq!(world.sent.len(), heard);
    }
}

#[test]
fn what_the_operator_does_not_offer_nobody_gets() {
    let carol = "carol@atlanta.example";
    let mut world = World::with(vec![choosing(carol, "all")], "missed");
    world.machine.handle_connected(world.now, &mut Seeded::new(2));
    world.bridge(ToXmpp::Everything {
        registered: vec![],
        phones: vec![],
    });
    world.bridge(charge(carol));
    world.bridge(call(carol, CallNews::Incoming));
    assert!(world.sent.is_empty());
    world.bridge(call(carol, CallNews::Missed));
    assert_eq!(world.sent.len(), 1);
}

#[test]
fn many_calls_are_not_many_notices_and_hide_no_cost() {
    let mut world = World::settled(vec![alice()]);
    let alice = "alice@atlanta.example";
    for _ in 0..100 {
        world.bridge(call(alice, CallNews::Missed));
    }
    assert_eq!(world.sent.len(), AT_ONCE as usize);
    assert_eq!(world.machine.counters().many, 100 - u64::from(AT_ONCE));
    world.bridge(charge(alice));
    assert_eq!(world.sent.len(), AT_ONCE as usize + 1);
}

#[test]
fn notices_wait_for_the_stream_for_a_while() {
    let jid = |number: usize| format!("u{number}@atlanta.example");
    let users = (0..MAX_NOTICES + 5)
        .map(|number| choosing(&jid(number), "all"))
        .collect();
    let mut world = World::settled(users);
    world.machine.handle_closed();
    for number in 0..MAX_NOTICES + 5 {
        world.bridge(charge(&jid(number)));
    }
    world.reconnect();
    assert_eq!(std::mem::take(&mut world.sent).len(), MAX_NOTICES);
    world.machine.handle_closed();
    world.bridge(charge(&jid(0)));
    world.bridge(call(&jid(0), CallNews::Incoming));
    world.pass(LIFE / 2);
    world.reconnect();
    assert_eq!(
        std::mem::take(&mut world.sent).len(),
        1,
        "that it rang is soon worth nothing"
    );
    world.machine.handle_closed();
    world.bridge(charge(&jid(0)));
    world.pass(LIFE);
    world.reconnect();
    assert!(world.sent.is_empty(), "an old notice is worth nothing");
}

fn check(from: &str, user: &str, number: &str) -> String {
    format!(
        "<iq xmlns='{}' type='set' from='{from}' to='{COMPONENT}' id='c1'><check xmlns='{}' user='{user}'>\
         <vCard xmlns='vcard-temp'><TEL><NUMBER>{number}</NUMBER></TEL></vCard></check></iq>",
        ns::COMPONENT,
        ns::PLUGIN,
    )
}

#[test]
fn cards_are_judged_by_the_store_and_only_for_our_server() {
    let (own, other, alice) = ("020 7946 0018", "+447700900042", "alice@atlanta.example");
    let cases = [
        ("an own number", check(DOMAIN, alice, own), "checked"),
        ("another's number", check(DOMAIN, alice, other), "not-acceptable"),
        (
            "no user of ours",
            check(DOMAIN, "carol@atlanta.example", own),
            "not-acceptable",
        ),
        (
            "another domain",
            check(DOMAIN, "alice@other.example", own),
            "bad-request",
        ),
        ("no user part", check(DOMAIN, DOMAIN, own), "bad-request"),
        (
            "asked by a user",
            check("alice@atlanta.example/x", alice, own),
            "forbidden",
        ),
        ("asked by a stranger", check("evil.example", alice, own), "forbidden"),
        (
            "asked with a resource",
            check("atlanta.example/x", alice, own),
            "forbidden",
        ),
    ];
    for (name, request, wanted) in cases {
        let mut world = World::settled(vec![self::alice()]);
        world.hear(&request);
        let [answer] = world.sent.as_slice() else {
            panic!("{name}: {:?}", world.sent)
        };
        assert_eq!(answer.attr("id"), Some("c1"), "{name}");
        let text = String::from(answer);
        assert!(text.contains(wanted), "{name}: {text}");
        assert_eq!(
            answer.attr("type"),
            Some(if wanted == "checked" { "result" } else { "error" }),
            "{name}"
        );
    }
}

#[test]
fn a_refusal_names_the_number() {
    let mut world = World::settled(vec![alice()]);
    world.hear(&check(DOMAIN, "alice@atlanta.example", "+447700900042"));
    let text = world.sent[0]
        .get_child("error", ns::COMPONENT)
        .and_then(|e| e.get_child("text", ns::STANZA_ERRORS))
        .map(Element::text);
    assert_eq!(
        text.as_deref(),
        Some("+447700900042 is not a telephone number or address of yours.")
    );
}

#[test]
fn a_store_that_is_slow_or_broken_refuses_for_now() {
    let mut world = World::settled(vec![alice()]);
    let request: Element = check(DOMAIN, "alice@atlanta.example", "+442079460018").parse().unwrap();
    for _ in 0..=MAX_CHECKS {
        world.machine.handle_stanza(world.now, request.clone());
    }
    let mut fetches = Vec::new();
    let mut refused = 0;
    while let Some(output) = world.machine.poll_output() {
        match output {
            Output::Fetch(Fetch::User { check, .. }) => fetches.push(check),
            Output::Send(stanza) => refused += usize::from(String::from(&stanza).contains("resource-constraint")),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((fetches.len(), refused), (MAX_CHECKS, 1), "the bound");
    world.machine.handle_fetched(
        world.now,
        Fetched::User {
            check: fetches[0],
            user: None,
        },
    );
    world.pass(CHECK_DEADLINE);
    assert_eq!(world.sent.len(), MAX_CHECKS);
    assert!(
        world
            .sent
            .iter()
            .all(|stanza| String::from(stanza).contains("resource-constraint"))
    );
    world.sent.clear();
    world.machine.handle_fetched(
        world.now,
        Fetched::User {
            check: fetches[1],
            user: Some(Some(Arc::new(alice()))),
        },
    );
    world.run();
    assert!(world.sent.is_empty(), "one answer each");
}

#[test]
fn a_store_that_fails_is_read_again() {
    let mut world = World::new(vec![alice()]);
    assert!(matches!(
        world.machine.poll_output(),
        Some(Output::Fetch(Fetch::Page(_)))
    ));
    world.machine.handle_fetched(world.now, Fetched::Page(None));
    world.machine.handle_connected(world.now, &mut Seeded::new(2));
    world.bridge(ToXmpp::Everything {
        registered: vec![],
        phones: vec![],
    });
    assert_eq!(world.plugin.bulks, 0, "half a directory is not told");
    world.pass(super::module::READ_AGAIN);
    assert_eq!(world.plugin.map.len(), 1);
}

#[test]
fn every_request_is_answered_and_nothing_else() {
    let iq = |attributes: &str, inner: &str| format!("<iq xmlns='{}' {attributes}>{inner}</iq>", ns::COMPONENT);
    let (user, ping) = (
        "from='u@atlanta.example/x' to='calls.atlanta.example'",
        "<ping xmlns='urn:xmpp:ping'/>",
    );
    let disco = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
    let cases = [
        ("ping", iq(&format!("{user} type='get' id='1'"), ping), Some("result")),
        ("disco", iq(&format!("{user} type='get' id='1'"), disco), Some("result")),
        (
            "a node that there is not",
            iq(
                &format!("{user} type='get' id='1'"),
                "<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>",
            ),
            Some("error"),
        ),
        (
            "something unknown",
            iq(&format!("{user} type='set' id='1'"), "<x xmlns='y'/>"),
            Some("error"),
        ),
        ("no id", iq(&format!("{user} type='get'"), disco), Some("error")),
        (
            "two payloads",
            iq(&format!("{user} type='get' id='1'"), "<a xmlns='x'/><b xmlns='x'/>"),
            Some("error"),
        ),
        (
            "no payload",
            iq(&format!("{user} type='get' id='1'"), ""),
            Some("error"),
        ),
        (
            "an unknown type",
            iq(&format!("{user} type='push' id='1'"), ping),
            Some("error"),
        ),
        (
            "a node of ours",
            iq(
                "from='u@atlanta.example/x' to='+44@calls.atlanta.example' type='get' id='1'",
                ping,
            ),
            Some("error"),
        ),
        (
            "an error",
            iq(&format!("{user} type='error' id='1'"), "<error type='cancel'/>"),
            None,
        ),
        (
            "a result that nobody waits for",
            iq(
                "from='atlanta.example' to='calls.atlanta.example' type='result' id='1'",
                "",
            ),
            None,
        ),
        (
            "from nobody",
            iq("to='calls.atlanta.example' type='get' id='1'", ping),
            None,
        ),
        (
            "from an empty address",
            iq("from='' to='calls.atlanta.example' type='get' id='1'", ping),
            None,
        ),
        (
            "from ourselves",
            iq(
                "from='calls.atlanta.example' to='calls.atlanta.example' type='get' id='1'",
                ping,
            ),
            None,
        ),
        (
            "a message",
            format!("<message xmlns='{}' {user}><body>x</body></message>", ns::COMPONENT),
            None,
        ),
        (
            "presence",
            format!("<presence xmlns='{}' {user} type='subscribe'/>", ns::COMPONENT),
            None,
        ),
        (
            "another stream",
            "<iq xmlns='jabber:client' from='a@b' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>".into(),
            None,
        ),
    ];
    for (name, stanza, wanted) in cases {
        let mut world = World::settled(vec![alice()]);
        world.hear(&stanza);
        let kinds: Vec<_> = world.sent.iter().map(|sent| sent.attr("type")).collect();
        assert_eq!(kinds, wanted.map(Some).into_iter().collect::<Vec<_>>(), "{name}");
        if let Some(answer) = world.sent.first() {
            assert_eq!(answer.attr("to"), Some("u@atlanta.example/x"), "{name}");
        }
    }
}

#[test]
fn an_answer_counts_only_from_where_the_request_went() {
    let mut world = World::settled(vec![alice()]);
    world.plugin.mute = true;
    world.machine.handle_bridge(world.now, registered(&[AOR]));
    let Some(Output::Send(delta)) = world.machine.poll_output() else {
        panic!("a delta")
    };
    let id = delta.attr("id").unwrap();
    let answer = |from: &str| {
        format!(
            "<iq xmlns='{}' type='result' from='{from}' to='{COMPONENT}' id='{id}'/>",
            ns::COMPONENT
        )
    };
    for from in [
        "mallory@atlanta.example",
        "mallory@evil.example/atlanta.example",
        "evil.example",
        "atlanta.example/x",
    ] {
        world.hear(&answer(from));
        assert!(!world.machine.is_settled(), "{from}");
    }
    world.hear(&answer(DOMAIN));
    assert!(world.machine.is_settled());
}

/// The cases of the shared collection that reach a core as well-formed stanzas.
#[test]
fn bad_stanzas_are_survived() {
    let cases = include_str!("../../../tests/fixtures/xmpp/bad.tsv");
    let mut world = World::settled(vec![alice()]);
    let mut read = 0;
    for line in cases.lines().filter(|line| !line.starts_with('#')) {
        let (name, xml) = line.split_once('\t').expect("two columns");
        let stream = format!(
            "<stream xmlns='{}'>{}</stream>",
            ns::COMPONENT,
            xml.replace("gw.example.test", COMPONENT)
                .replace("example.test", DOMAIN)
        );
        let Ok(stream) = stream.parse::<Element>() else {
            continue;
        };
        read += 1;
        for stanza in stream.children() {
            world.machine.handle_stanza(world.now, stanza.clone());
            world.run();
            let answers = world.sent.drain(..).collect::<Vec<_>>();
            let request = stanza.name() == "iq" && matches!(stanza.attr("type"), Some("get" | "set"));
            assert_eq!(answers.len(), usize::from(request), "{name}: {answers:?}");
            assert!(
                answers
                    .iter()
                    .all(|answer| answer.attr("type") == Some("error") || name.contains("no id")),
                "{name}"
            );
        }
    }
    assert!(read >= 15, "{read} cases were read");
    world.bridge(registered(&[AOR]));
    assert_eq!(
        world.reach("alice@atlanta.example").map(|reach| reach.len()),
        Some(2),
        "and the work goes on"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order, the plugin has in the end what is true.
    #[test]
    fn the_map_becomes_true(steps in prop::collection::vec((0..9_u8, 0..4_usize), 1..60)) {
        let people: Vec<User> = (0..4).map(|n| user(&format!("u{n}@{DOMAIN}"), &[&format!("sip:{n}@s.example")], &[])).collect();
        let mut world = World::new(people.clone());
        let mut phones = [false; 4];
        world.run();
        for (what, who) in steps {
            let aor = || format!("sip:{who}@s.example").parse().unwrap();
            match what {
                0 | 1 => {
                    phones[who] = what == 0;
                    let aors = phones[who].then(aor).into_iter().collect();
                    world.bridge(ToXmpp::Registered { jid: people[who].jid.clone(), aors });
                }
                2 => {
                    match world.users.iter().position(|user| user.jid == people[who].jid) {
                        Some(place) => drop(world.users.remove(place)),
                        None => world.users.push(people[who].clone()),
                    }
                    world.machine.handle_users_changed();
                    world.run();
                }
                3 => world.machine.handle_closed(),
                4 => world.reconnect(),
                5 => world.plugin.lose_one = true,
                6 => world.plugin.mute = !world.plugin.mute,
                7 => world.plugin = Plugin { mute: world.plugin.mute, ..Plugin::default() },
                _ => world.pass(Duration::from_secs(1)),
            }
        }
        world.plugin.mute = false;
        world.plugin.lose_one = false;
        let all = (0..4).filter(|&n| phones[n]).map(|n| (people[n].jid.clone(), vec![format!("sip:{n}@s.example").parse().unwrap()]));
        world.bridge(ToXmpp::Everything { registered: all.collect(), phones: vec![] });
        world.reconnect();
        // A plugin that lost its map finds out by the next change at the latest.
        world.hear(&format!("<message xmlns='{}' from='{DOMAIN}' to='{COMPONENT}'><need-sync xmlns='{}' version='1'/></message>", ns::COMPONENT, ns::PLUGIN));
        for _ in 0..40 {
            world.pass(Duration::from_secs(2));
        }
        prop_assert!(world.machine.is_settled());
        for (n, person) in people.iter().enumerate() {
            let known = world.users.iter().any(|user| user.jid == person.jid);
            let wanted = known.then(|| if phones[n] { vec![format!("sip:{n}@s.example")] } else { vec![] });
            prop_assert_eq!(world.reach(person.jid.as_str()), wanted, "{}", person.jid);
        }
    }
}
