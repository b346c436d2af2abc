//! The XMPP half against a real Prosody, with a bridge of the test's own in the place of the b2bua.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use cusax_common::core::bridge::{ChargeNotice, PhoneActivity, ToB2bua, ToXmpp};
use cusax_common::core::entropy::Seeded;
use cusax_common::core::id::SessionId;
use cusax_common::core::policy::NumberClass;
use cusax_common::core::record::CallRecord;
use cusax_common::core::secret::Secret;
use cusax_common::core::store::{CallQuery, Put, StoreError, UserStore};
use cusax_common::core::tel::Tel;
use cusax_common::core::time::Wall;
use cusax_common::core::user::{Aor, Flags, User};
use cusax_common::io::telemetry::Metrics;
use cusax_tests::lab::chat::{Annotation, Chat, Login};
use cusax_tests::lab::prosody::{Account, Plan, Prosody, VirtualHost};
use cusax_tests::lab::{Context as _, Namespace, Result, Scratch, Spec, wait};
use cusax_xmpp::io::{Channels, Status, XmppConfig, run};
use jid::BareJid;
use minidom::Element;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use xmpp_parsers::component::Handshake;

const ALICE: &str = "alice@atlanta.example";
const BOB: &str = "bob@atlanta.example";
const CAROL: &str = "carol@atlanta.example";
const REMOTE: &str = "bob@biloxi.example";
const COMPONENT: &str = "calls.atlanta.example";
const SECRET: &str = "not so secret";
const AOR: &str = "sip:a.liddell@sip.atlanta.example";
const TEL: &str = "tel:+442079460018";
const BOBS_TEL: &str = "+447700900042";
const REACH: &str = "urn:xmpp:reach:0";
const CLIENTS: u16 = 15_222;
const COMPONENTS: u16 = 15_347;
/// For what must come.
const SOON: Duration = Duration::from_secs(8);
/// For what must not come.
const WHILE: Duration = Duration::from_millis(700);

#[test]
fn reach_follows_the_phone_in_broadcast_directed_and_probe_presence() {
    let stack = Stack::start("reach", Plugin::Loaded);
    stack.settled();
    let mut alice = stack.chat("alice@atlanta.example/phone");
    let mut bob = stack.chat("bob@atlanta.example/desk");
    let mut remote = stack.chat("bob@biloxi.example/desk");
    let mut carol = stack.chat("carol@atlanta.example/desk");
    for client in [&mut bob, &mut remote, &mut carol, &mut alice] {
        client.available().expect("presence is sent");
    }
    for client in [&mut bob, &mut remote, &mut alice] {
        assert_eq!(
            reach_of(client, 0, "alice@atlanta.example/phone"),
            Vec::<String>::new(),
            "no phone, no reach"
        );
    }
    let marks = [bob.mark(), remote.mark(), alice.mark()];
    stack.say(registered(&[AOR]));
    for (client, mark) in [&mut bob, &mut remote, &mut alice].into_iter().zip(marks) {
        assert_eq!(
            reach_of(client, mark, "alice@atlanta.example/phone"),
            [AOR, TEL],
            "a phone has come"
        );
    }

    let mark = carol.mark();
    alice.send("<presence to='carol@atlanta.example/desk'/>").expect("sent");
    assert_eq!(
        reach_of(&mut carol, mark, "alice@atlanta.example/phone"),
        [AOR, TEL],
        "directed"
    );

    let mark = bob.mark();
    bob.send("<presence type='unavailable'/>").expect("sent");
    bob.send("<presence/>").expect("sent");
    assert_eq!(
        reach_of(&mut bob, mark, "alice@atlanta.example/phone"),
        [AOR, TEL],
        "what a probe brings"
    );

    let (mark, alices) = (bob.mark(), alice.mark());
    carol.send("<presence><show>away</show></presence>").expect("sent");
    stack.say(registered(&[]));
    assert_eq!(
        reach_of(&mut bob, mark, "alice@atlanta.example/phone"),
        Vec::<String>::new(),
        "the phone has gone"
    );
    assert_eq!(
        reach_of(&mut alice, alices, "alice@atlanta.example/phone"),
        Vec::<String>::new()
    );

    let mark = bob.mark();
    stack.say(registered(&[AOR]));
    assert_eq!(
        reach_of(&mut bob, mark, "alice@atlanta.example/phone"),
        [AOR, TEL],
        "and is back"
    );
    let mark = bob.mark();
    alice
        .send(&format!(
            "<presence type='unavailable'><reach xmlns='{REACH}'><addr uri='sip:x@evil.example'/></reach></presence>"
        ))
        .expect("sent");
    let gone = presence(&mut bob, mark, "alice@atlanta.example/phone", Some("unavailable"));
    assert!(!gone.has_child("reach", REACH), "unavailable presence says nothing");
    let mark = bob.mark();
    alice.send("<presence/>").expect("sent");
    reach_of(&mut bob, mark, "alice@atlanta.example/phone");
    let mark = bob.mark();
    stack.users.change(|users| {
        let alice = users
            .get_mut(&ALICE.parse::<BareJid>().expect("a JID"))
            .expect("she is there");
        alice
            .aors
            .push("sip:second@sip.atlanta.example".parse().expect("an AOR"));
    });
    wait::pass(2 * WHILE);
    let again = bob
        .since(mark)
        .iter()
        .filter(|stanza| stanza.name() == "presence")
        .count();
    assert_eq!(again, 0, "an address without a phone changes no presence");
    stack.stop();
}

#[test]
fn a_forged_reach_reaches_nobody_and_rooms_see_none() {
    let stack = Stack::start("spoof", Plugin::Loaded);
    stack.settled();
    stack.say(registered(&[AOR]));
    let mut alice = stack.chat("alice@atlanta.example/phone");
    let mut bob = stack.chat("bob@atlanta.example/desk");
    bob.available().expect("sent");
    let addresses = |uris: &[&str]| {
        uris.iter()
            .map(|uri| format!("<addr uri='{uri}'><desc>x</desc></addr>"))
            .collect::<String>()
    };
    let cases: [(&str, &[&str], &[&str]); 5] = [
        (
            "another's addresses",
            &[
                "sip:evil@evil.example",
                "tel:+19005550100",
                "SIP:evil@evil.example",
                " sip:e@e",
            ],
            &[AOR, TEL],
        ),
        ("own addresses, in another order", &[TEL, AOR], &[AOR, TEL]),
        (
            "other schemes",
            &["mailto:a@x.example", "xmpp:a@x.example", "no scheme"],
            &[AOR, TEL, "mailto:a@x.example", "xmpp:a@x.example"],
        ),
        ("nothing", &[], &[AOR, TEL]),
        (
            "too many",
            &[
                "im:1@x", "im:2@x", "im:3@x", "im:4@x", "im:5@x", "im:6@x", "im:7@x", "im:8@x",
            ],
            &[AOR, TEL, "im:1@x", "im:2@x", "im:3@x", "im:4@x", "im:5@x", "im:6@x"],
        ),
    ];
    for (name, said, shown) in cases {
        let mark = bob.mark();
        alice
            .send(&format!(
                "<presence><status>{name}</status><reach xmlns='{REACH}'>{}</reach></presence>",
                addresses(said)
            ))
            .expect("sent");
        assert_eq!(reach_of(&mut bob, mark, "alice@atlanta.example/phone"), shown, "{name}");
    }

    let mark = bob.mark();
    alice
        .send(&format!(
            "<presence><reach xmlns='{REACH}'>{}</reach><reach xmlns='{REACH}'>{}</reach></presence>",
            addresses(&["sip:e@e.example"]),
            addresses(&["im:a@x"])
        ))
        .expect("sent");
    assert_eq!(
        reach_of(&mut bob, mark, "alice@atlanta.example/phone"),
        [AOR, TEL, "im:a@x"],
        "two elements become one"
    );
    let mark = bob.mark();
    stack.say(registered(&[]));
    assert_eq!(
        reach_of(&mut bob, mark, "alice@atlanta.example/phone"),
        ["im:a@x"],
        "what is the client's own stays"
    );

    let refused = alice.iq(
        "set",
        None,
        &publish(
            REACH,
            &format!(
                "<reach xmlns='{REACH}'>{}</reach>",
                addresses(&["sip:evil@evil.example"])
            ),
        ),
    );
    assert_eq!(
        condition(&refused.expect("an answer")),
        "not-acceptable",
        "the same by publishing"
    );
    let accepted = alice.iq(
        "set",
        None,
        &publish(
            REACH,
            &format!("<reach xmlns='{REACH}'>{}</reach>", addresses(&[AOR, "im:a@x"])),
        ),
    );
    assert_eq!(accepted.expect("an answer").attr("type"), Some("result"));

    stack.say(registered(&[AOR]));
    let own = format!("<reach xmlns='{REACH}'><addr uri='{AOR}'/></reach>");
    let (mark, ours) = (bob.mark(), alice.mark());
    bob.send("<presence to='room@rooms.atlanta.example/b'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
        .expect("sent");
    presence(&mut bob, mark, "room@rooms.atlanta.example/b", None);
    let mark = bob.mark();
    alice
        .send(&format!(
            "<presence to='room@rooms.atlanta.example/a'><x xmlns='http://jabber.org/protocol/muc'/>{own}</presence>"
        ))
        .expect("sent");
    let seen = presence(&mut bob, mark, "room@rooms.atlanta.example/a", None);
    assert!(!seen.has_child("reach", REACH), "{seen:?}");
    presence(&mut alice, ours, "room@rooms.atlanta.example/a", None);
    let mark = bob.mark();
    alice
        .send(&format!(
            "<presence to='room@rooms.atlanta.example/a'><show>away</show>{own}</presence>"
        ))
        .expect("sent");
    let seen = presence(&mut bob, mark, "room@rooms.atlanta.example/a", None);
    assert!(!seen.has_child("reach", REACH), "{seen:?}");
    stack.stop();
}

#[test]
fn whoever_forgets_the_plugin_is_told() {
    let stack = Stack::start("forgotten", Plugin::Forgotten);
    let told = wait::until("a word about it", SOON, || {
        stack.status().refusal.filter(|why| why.contains("modules_enabled"))
    });
    told.unwrap_or_else(|fault| panic!("{fault}: {:?}", stack.status()));
    stack.stop();
}

#[test]
fn rosters_show_held_addresses_to_those_who_ask() {
    let stack = Stack::start("roster", Plugin::Loaded);
    stack.settled();
    let mut bob = stack.chat("bob@atlanta.example/desk");
    let annotated = bob.roster(Annotation::Asked).expect("a roster");
    assert_eq!(addresses(&annotated, ALICE), [format!("{AOR} video"), TEL.to_owned()]);
    assert_eq!(addresses(&annotated, REMOTE), Vec::<String>::new());
    let ver = annotated.attr("ver").expect("a version").to_owned();
    assert!(ver.contains('-'), "{ver}");
    let get = |ver: &str, annotate: &str| format!("<query xmlns='jabber:iq:roster' ver='{ver}'>{annotate}</query>");
    let asked = "<annotate xmlns='urn:x-cusax:roster:0'/>";
    let same = bob.iq("get", None, &get(&ver, asked)).expect("an answer");
    assert!(same.children().next().is_none(), "nothing has changed: {same:?}");

    let mark = bob.mark();
    stack.users.change(|users| {
        let alice = users
            .get_mut(&ALICE.parse::<BareJid>().expect("a JID"))
            .expect("she is there");
        alice.numbers.push("+442079460099".parse().expect("a number"));
    });
    let push = bob
        .stanza(mark, "a push", SOON, |stanza| {
            let push = stanza.name() == "iq" && stanza.attr("type") == Some("set");
            stanza.get_child("query", "jabber:iq:roster").filter(|_| push).cloned()
        })
        .expect("a push");
    assert_eq!(addresses(&push, ALICE).len(), 3);
    assert_ne!(push.attr("ver"), Some(ver.as_str()));
    let stale = bob.iq("get", None, &get(&ver, asked)).expect("an answer");
    let stale = stale
        .get_child("query", "jabber:iq:roster")
        .expect("the whole roster, since addresses have changed");
    assert_eq!(stale.attr("ver"), push.attr("ver"));

    // What somebody else sends in the form of a roster gets no addresses, whatever it says of subscriptions.
    let mut stranger = stack.chat("carol@atlanta.example/phone");
    let mark = bob.mark();
    stranger
        .send(&format!(
            "<iq type='set' id='f' to='bob@atlanta.example/desk'><query xmlns='jabber:iq:roster'>\
             <item jid='{ALICE}' subscription='both'/></query></iq>"
        ))
        .expect("sent");
    let forged = bob
        .stanza(mark, "what Carol sent", SOON, |stanza| {
            let hers = stanza.attr("from") == Some("carol@atlanta.example/phone");
            stanza.get_child("query", "jabber:iq:roster").filter(|_| hers).cloned()
        })
        .expect("it comes through");
    assert_eq!(addresses(&forged, ALICE), Vec::<String>::new());

    // Whoever asks no more gets what every server gives, whatever version was kept.
    let plain = bob.iq("get", None, &get(&ver, "")).expect("an answer");
    let plain = plain
        .get_child("query", "jabber:iq:roster")
        .expect("the whole roster")
        .clone();
    let bystander = Stack::start("roster-plain", Plugin::Absent);
    let mut other = bystander.chat("bob@atlanta.example/desk");
    let without = other
        .roster(Annotation::Asked)
        .expect("servers without the plugin do not mind the question");
    assert_eq!(
        sorted(&plain),
        sorted(&without),
        "byte for byte, but for the order that Prosody leaves open"
    );
    let mark = bob.mark();
    stack
        .users
        .change(|users| drop(users.remove(&ALICE.parse::<BareJid>().expect("a JID"))));
    wait::pass(WHILE);
    let pushes = bob
        .since(mark)
        .iter()
        .filter(|stanza| stanza.has_child("query", "jabber:iq:roster"))
        .count();
    assert_eq!(pushes, 0, "and no pushes");
    bystander.stop();
    stack.stop();
}

#[test]
fn no_door_lets_in_a_number_of_somebody_else() {
    let stack = Stack::start("cards", Plugin::Loaded);
    stack.settled();
    let mut alice = stack.chat("alice@atlanta.example/phone");
    let temp = |number: &str| {
        format!("<vCard xmlns='vcard-temp'><FN>A</FN><TEL><WORK/><VOICE/><NUMBER>{number}</NUMBER></TEL></vCard>")
    };
    let four = |number: &str| {
        format!(
            "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><fn><text>A</text></fn><tel><parameters><type><text>work</text></type></parameters><uri>tel:{number}</uri></tel></vcard>"
        )
    };
    let doors: [Door<'_>; 3] = [
        ("vcard-temp", &temp),
        ("vCard4", &four),
        ("publish", &|number| publish("urn:xmpp:vcard4", &four(number))),
    ];
    for (door, card) in &doors {
        for number in ["+442079460018", "+44-20-7946-0018", "02079460018", "+442079460018", AOR] {
            let answer = alice.iq("set", None, &card(number)).expect("an answer");
            assert_eq!(
                answer.attr("type"),
                Some("result"),
                "{door}: her own {number}: {answer:?}"
            );
        }
        for number in [
            BOBS_TEL,
            "+44 7700 900042",
            "07700900042",
            "sip:bob@sip.atlanta.example",
            "+1 900 555 0100",
        ] {
            for to in [None, Some(ALICE)] {
                let answer = alice.iq("set", to, &card(number)).expect("an answer");
                assert_eq!(condition(&answer), "not-acceptable", "{door}: {number}");
                let text = String::from(&answer);
                assert!(
                    text.contains("not a telephone number or address of yours"),
                    "{door}: {text}"
                );
            }
        }
        let stored = alice.iq("get", None, "<vCard xmlns='vcard-temp'/>").expect("an answer");
        assert!(!String::from(&stored).contains("900042"), "{door}: {stored:?}");
        assert!(String::from(&stored).contains(AOR), "{door}: her own stays: {stored:?}");
    }
    let answer = alice
        .iq("set", None, "<vCard xmlns='vcard-temp'><FN>A</FN></vCard>")
        .expect("an answer");
    assert_eq!(answer.attr("type"), Some("result"), "a card without numbers");
    stack.stop();
}

#[test]
fn without_the_component_nothing_waits_and_no_number_is_stored() {
    let mut stack = Stack::start("away", Plugin::Loaded);
    stack.settled();
    stack.say(registered(&[AOR]));
    let mut alice = stack.chat("alice@atlanta.example/phone");
    let mut bob = stack.chat("bob@atlanta.example/desk");
    bob.available().expect("sent");
    alice.available().expect("sent");
    let shown = bob.stanza(0, "reach", SOON, |stanza| {
        (stanza.attr("from") == Some("alice@atlanta.example/phone"))
            .then(|| reach(stanza))
            .filter(|reach| !reach.is_empty())
    });
    assert_eq!(shown.expect("reach"), [AOR, TEL]);
    let card = "<vCard xmlns='vcard-temp'><TEL><NUMBER>+442079460018</NUMBER></TEL></vCard>";

    stack.users.hang(true);
    let answer = alice
        .iq("set", None, card)
        .expect("an answer though the component is silent");
    assert_eq!(condition(&answer), "resource-constraint", "silent");
    stack.users.hang(false);
    stack.stop_component();
    let answer = alice
        .iq("set", None, card)
        .expect("an answer though the component is away");
    assert_eq!(condition(&answer), "resource-constraint", "away");
    let answer = alice
        .iq("set", None, "<vCard xmlns='vcard-temp'><FN>A</FN></vCard>")
        .expect("an answer");
    assert_eq!(answer.attr("type"), Some("result"), "a card without numbers");
    let stored = alice.iq("get", None, "<vCard xmlns='vcard-temp'/>").expect("an answer");
    assert!(!String::from(&stored).contains("7946"), "{stored:?}");

    let mark = bob.mark();
    alice.send("<presence><show>away</show></presence>").expect("sent");
    assert_eq!(
        reach_of(&mut bob, mark, "alice@atlanta.example/phone"),
        [AOR, TEL],
        "what was last known stays"
    );
    assert_eq!(
        addresses(&bob.roster(Annotation::Asked).expect("a roster"), ALICE).len(),
        2
    );

    let mark = bob.mark();
    stack.start_component();
    stack.say(ToXmpp::Everything {
        registered: vec![],
        phones: vec![],
    });
    assert_eq!(
        reach_of(&mut bob, mark, "alice@atlanta.example/phone"),
        Vec::<String>::new(),
        "a new component says what is true"
    );
    let answer = alice.iq("set", None, card).expect("an answer");
    assert_eq!(answer.attr("type"), Some("result"), "{answer:?}");
    stack.stop();
}

#[test]
fn only_the_component_may_tell_the_plugin_and_only_in_its_version() {
    let mut stack = Stack::start("forged", Plugin::Loaded);
    stack.settled();
    let mut carol = stack.chat("carol@atlanta.example/desk");
    let plugin = "urn:x-cusax:plugin:0";
    let forged = [
        format!("<state xmlns='{plugin}' version='1'/>"),
        format!("<sync xmlns='{plugin}' mode='begin' version='1'/>"),
        format!("<sync xmlns='{plugin}' mode='commit' epoch='x' seq='1' users='0'/>"),
        format!("<sync xmlns='{plugin}' mode='delta' epoch='x' after='1' seq='2'>{CAROL}\t0\t{AOR}\t{AOR}\n</sync>"),
        format!(
            "<publish xmlns='{plugin}' user='{ALICE}' node='http://jabber.org/protocol/activity'><item xmlns='http://jabber.org/protocol/pubsub'><activity xmlns='http://jabber.org/protocol/activity'/></item></publish>"
        ),
    ];
    for payload in forged {
        let kind = if payload.starts_with("<state") { "get" } else { "set" };
        let answer = carol.iq(kind, Some("atlanta.example"), &payload).expect("an answer");
        assert_eq!(condition(&answer), "forbidden", "{payload}");
    }
    let answer = carol.iq(
        "set",
        Some(COMPONENT),
        &format!("<check xmlns='{plugin}' user='{CAROL}'><vCard xmlns='vcard-temp'/></check>"),
    );
    assert_eq!(condition(&answer.expect("an answer")), "forbidden");

    stack.stop_component();
    let mut raw = Raw::connect(&stack.namespace).expect("a component of our own");
    let answer = raw
        .ask(&format!("<state xmlns='{plugin}' version='2'/>"), "get")
        .expect("an answer");
    assert!(
        answer.contains("version-mismatch") && answer.contains("component version 2"),
        "{answer}"
    );
    let answer = raw
        .ask(&format!("<sync xmlns='{plugin}' mode='begin' version='2'/>"), "set")
        .expect("an answer");
    assert!(answer.contains("version-mismatch"), "{answer}");
    let begin = "<sync xmlns='urn:x-cusax:plugin:0' mode='begin' version='1'/>";
    assert!(raw.ask(begin, "set").expect("an answer").contains("result"));
    let broken = [
        "<sync xmlns='urn:x-cusax:plugin:0' mode='commit' epoch='short' seq='1' users='1'/>",
        "<sync xmlns='urn:x-cusax:plugin:0' mode='more'>x\n</sync>",
        "<sync xmlns='urn:x-cusax:plugin:0' mode='commit' epoch='x' seq='1' users='5'/>",
        "<sync xmlns='urn:x-cusax:plugin:0' mode='delta' epoch='x' after='1' seq='2'/>",
        "<sync xmlns='urn:x-cusax:plugin:0'/>",
    ];
    for payload in broken {
        let answer = raw.ask(payload, "set").expect("an answer");
        assert!(
            answer.contains("conflict") || answer.contains("bad-request"),
            "{payload}: {answer}"
        );
    }
    let golden = include_str!("../fixtures/xmpp/plugin/map.tsv");
    let steps = [
        begin.to_owned(),
        format!("<sync xmlns='urn:x-cusax:plugin:0' mode='more'>{golden}</sync>"),
        format!(
            "<sync xmlns='urn:x-cusax:plugin:0' mode='commit' epoch='golden' seq='1' users='{}'/>",
            golden.lines().count()
        ),
    ];
    for step in steps {
        let answer = raw.ask(&step, "set").expect("an answer");
        assert!(
            answer.contains("result"),
            "the golden file is understood: {step}: {answer}"
        );
    }
    drop(raw);
    stack.start_component();
    stack.settled();
    stack.stop();
}

#[test]
fn a_reloaded_plugin_keeps_its_map_and_a_server_that_starts_anew_gets_it_again() {
    let mut stack = Stack::start("reload", Plugin::Loaded);
    stack.settled();
    stack.say(registered(&[AOR]));
    let mut alice = stack.chat("alice@atlanta.example/phone");
    let mut bob = stack.chat("bob@atlanta.example/desk");
    bob.roster(Annotation::Asked).expect("a roster");
    bob.available().expect("sent");
    alice.available().expect("sent");
    stack.settled();
    let shell = |command: &str| {
        Spec::new("prosodyctl", "prosodyctl")
            .arg("--config")
            .arg(stack.prosody.as_ref().expect("it runs").config())
            .args(["shell"].into_iter().chain(command.split(' ')))
            .inside(&stack.namespace)
            .output()
    };
    let said = shell("module reload cusax atlanta.example").expect("the shell");
    assert!(said.contains("OK"), "{said}");
    for (aors, shown) in [(&[][..], &[][..]), (&[AOR], &[AOR, TEL])] {
        let mark = bob.mark();
        stack.say(registered(aors));
        let seen = reach_of(&mut bob, mark, "alice@atlanta.example/phone");
        assert_eq!(
            seen, shown,
            "what the plugin put in before it was reloaded is not the client's own"
        );
    }
    let mark = bob.mark();
    alice.send("<presence><show>away</show></presence>").expect("sent");
    assert_eq!(
        reach_of(&mut bob, mark, "alice@atlanta.example/phone"),
        [AOR, TEL],
        "exactly once"
    );
    let mark = bob.mark();
    stack.say(registered(&[]));
    assert_eq!(
        reach_of(&mut bob, mark, "alice@atlanta.example/phone"),
        Vec::<String>::new(),
        "deltas go on"
    );
    let mark = bob.mark();
    stack.users.change(|users| {
        let alice = users
            .get_mut(&ALICE.parse::<BareJid>().expect("a JID"))
            .expect("she is there");
        alice.numbers.clear();
    });
    let push = bob.stanza(mark, "a push after the reload", SOON, |stanza| {
        stanza
            .get_child("query", "jabber:iq:roster")
            .filter(|_| stanza.attr("type") == Some("set"))
            .cloned()
    });
    assert_eq!(
        addresses(&push.expect("a push"), ALICE),
        [format!("{AOR} video")],
        "annotated once"
    );

    stack.say(registered(&[AOR]));
    drop((alice, bob));
    stack.prosody.take().expect("it runs").stop().expect("it stops");
    wait::until("the component to notice", SOON, || {
        (!stack.status().connected).then_some(())
    })
    .expect("it notices");
    stack.restart_server();
    stack.settled();
    let mut alice = stack.chat("alice@atlanta.example/phone");
    alice.available().expect("sent");
    assert_eq!(
        reach_of(&mut alice, 0, "alice@atlanta.example/phone"),
        [AOR],
        "the server was told again"
    );
    stack.stop();
}

#[test]
fn contacts_see_who_is_on_the_phone_and_the_caller_reads_what_a_call_costs() {
    let stack = Stack::start("phone", Plugin::Loaded);
    stack.settled();
    let mut bob = stack.chat("bob@atlanta.example/desk");
    let mut alice = stack.chat("alice@atlanta.example/phone");
    bob.available().expect("sent");
    alice.available().expect("sent");
    reach_of(&mut bob, 0, "alice@atlanta.example/phone");
    let specific = |activity| match activity {
        PhoneActivity::Idle => "",
        PhoneActivity::Audio => "on_the_phone",
        PhoneActivity::Video => "on_video_phone",
    };
    for activity in [PhoneActivity::Audio, PhoneActivity::Video, PhoneActivity::Idle] {
        let mark = bob.mark();
        stack.say(ToXmpp::Phone {
            jid: ALICE.parse().expect("a JID"),
            activity,
        });
        // A server that has just learnt what the client wants to know sends the last one again, so others may come first.
        let seen = bob.stanza(mark, &format!("{activity:?}"), SOON, |stanza| {
            let event = stanza.get_child("event", "http://jabber.org/protocol/pubsub#event")?;
            let names = find(event, "activity")?
                .children()
                .flat_map(Element::children)
                .map(Element::name);
            let same = names.collect::<String>() == specific(activity);
            (stanza.attr("from") == Some(ALICE) && same).then_some(())
        });
        seen.unwrap_or_else(|fault| panic!("{fault}"));
    }
    let mark = alice.mark();
    stack.say(ToXmpp::Charge(ChargeNotice {
        session: SessionId::draw(&mut Seeded::new(1)),
        jid: ALICE.parse().expect("a JID"),
        number: BOBS_TEL.parse().expect("a number"),
        class: NumberClass::Mobile,
        at: Wall(0),
    }));
    let body = alice.stanza(mark, "the notice", SOON, |stanza| {
        let notice =
            stanza.name() == "message" && stanza.attr("type") == Some("chat") && stanza.attr("from") == Some(COMPONENT);
        notice.then(|| find(stanza, "body").map(Element::text)).flatten()
    });
    let body = body.expect("the notice");
    assert!(body.contains(BOBS_TEL) && body.contains("mobile"), "{body}");
    stack.stop();
}

#[test]
fn a_resumed_stream_goes_on_seeing_addresses() {
    let stack = Stack::start("resume", Plugin::Loaded);
    stack.settled();
    let mut first = Raw::login(&stack.namespace).expect("a client");
    first
        .say("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource></bind></iq>");
    first.until(|text| text.contains("</iq>")).expect("bound");
    first.say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    let enabled = first
        .until(|text| text.contains("<enabled"))
        .expect("stream management");
    let id = enabled
        .split("id='")
        .nth(1)
        .and_then(|rest| rest.split('\'').next())
        .expect("an id");
    first.say("<iq type='get' id='r'><query xmlns='jabber:iq:roster' ver=''><annotate xmlns='urn:x-cusax:roster:0'/></query></iq><presence/>");
    let roster = first.until(|text| text.contains("</iq>")).expect("a roster");
    assert_eq!(roster.matches("urn:x-cusax:roster:0").count(), 2, "{roster}");
    drop(first);

    let mut second = Raw::login(&stack.namespace).expect("a client");
    second.say(&format!("<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='0'/>"));
    stack.users.change(|users| {
        let alice = users
            .get_mut(&ALICE.parse::<BareJid>().expect("a JID"))
            .expect("she is there");
        alice.numbers.push("+442079460099".parse().expect("a number"));
    });
    let heard = second.until(|text| {
        text.split("<iq")
            .any(|iq| iq.contains("type='set'") && iq.contains("</iq>"))
    });
    let heard = heard.expect("a push");
    let annotations = |kind: &str| {
        let iq = heard
            .split("<iq")
            .find(|iq| iq.contains(kind))
            .unwrap_or_else(|| panic!("no {kind} in {heard}"));
        iq.matches("urn:x-cusax:roster:0").count()
    };
    assert_eq!(annotations("type='set'"), 3, "annotated: {heard}");
    assert_eq!(
        annotations("id='r'"),
        2,
        "what is sent again is not annotated again: {heard}"
    );
    stack.stop();
}

/// A way to store a card: its name, and what is sent for a number.
type Door<'a> = (&'a str, &'a dyn Fn(&str) -> String);

/// Whether the server has the plugin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plugin {
    Loaded,
    /// The component is declared, and the plugin is not enabled.
    Forgotten,
    Absent,
}

/// A private server in a network of its own, and the component under test.
struct Stack {
    // Dropped in this order.
    component: Option<Component>,
    prosody: Option<Prosody>,
    users: Users,
    namespace: Namespace,
    plan: Plan,
    scratch: Scratch,
}

struct Component {
    bridge: mpsc::Sender<ToXmpp>,
    status: watch::Receiver<Status>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Stack {
    fn start(name: &str, plugin: Plugin) -> Self {
        Self::try_start(name, plugin).unwrap_or_else(|fault| panic!("{fault}"))
    }

    fn try_start(name: &str, plugin: Plugin) -> Result<Self> {
        let scratch = Scratch::new(name)?;
        let namespace = Namespace::new(name)?;
        let contacts = |jid: &str| -> &[&str] {
            match jid {
                ALICE => &[BOB, REMOTE],
                BOB => &[ALICE, REMOTE],
                REMOTE => &[ALICE, BOB],
                _ => &[],
            }
        };
        let accounts = [ALICE, BOB, CAROL, REMOTE].map(|jid| Account {
            jid: jid.into(),
            password: "pw".into(),
            contacts: contacts(jid).iter().map(|&jid| jid.into()).collect(),
        });
        let loaded = plugin == Plugin::Loaded;
        let declared = plugin != Plugin::Absent;
        let atlanta = VirtualHost {
            name: "atlanta.example".into(),
            lines: vec![format!("cusax_component = \"{COMPONENT}\"")],
            modules: if loaded {
                vec!["cusax".into(), "admin_shell".into()]
            } else {
                vec![]
            },
        };
        let rooms = "Component \"rooms.atlanta.example\" \"muc\"\n  muc_room_locking = false".to_owned();
        let biloxi = VirtualHost {
            name: "biloxi.example".into(),
            lines: vec![rooms],
            modules: vec![],
        };
        let plan = Plan {
            hosts: vec![atlanta, biloxi],
            accounts: accounts.into(),
            component: declared.then(|| (COMPONENT.into(), SECRET.into())),
            clients: CLIENTS,
            components: COMPONENTS,
        };
        let prosody = Some(Prosody::start(Some(&namespace), scratch.path(), &plan)?);
        let mut stack = Self {
            component: None,
            prosody,
            users: Users::default(),
            namespace,
            plan,
            scratch,
        };
        if declared {
            stack.start_component();
        }
        Ok(stack)
    }

    fn restart_server(&mut self) {
        let server = Prosody::start(Some(&self.namespace), self.scratch.path(), &self.plan);
        self.prosody = Some(server.unwrap_or_else(|fault| panic!("{fault}")));
    }

    fn start_component(&mut self) {
        let (bridge, from_b2bua) = mpsc::channel(64);
        let (to_b2bua, mut questions) = mpsc::channel(8);
        let (status, seen) = watch::channel(Status::default());
        let (stop, stopped) = oneshot::channel();
        let config = XmppConfig {
            host: "127.0.0.1".into(),
            port: COMPONENTS,
            component: COMPONENT.into(),
            secret: Secret::new(SECRET.into()),
            domain: "atlanta.example".into(),
            plain_network: false,
        };
        let (users, namespace, answer) = (self.users.clone(), self.namespace.clone(), bridge.clone());
        let thread = std::thread::spawn(move || {
            namespace.run(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let channels = Channels {
                        from_b2bua,
                        to_b2bua,
                        status,
                        metrics: Metrics::new(&mut Registry::default()),
                    };
                    let mut entropy = Seeded::new(wait::wall().as_nanos() as u64);
                    let component = run(config, &users, british, &mut entropy, channels, async {
                        let _ = stopped.await;
                    });
                    let b2bua = async {
                        while let Some(ToB2bua::Resync) = questions.recv().await {
                            let _ = answer
                                .send(ToXmpp::Everything {
                                    registered: vec![],
                                    phones: vec![],
                                })
                                .await;
                        }
                        std::future::pending::<()>().await;
                    };
                    tokio::select! { _ = component => {}, () = b2bua => {} }
                });
                Ok(())
            })
        });
        self.component = Some(Component {
            bridge,
            status: seen,
            stop,
            thread,
        });
    }

    fn stop_component(&mut self) {
        if let Some(component) = self.component.take() {
            let _ = component.stop.send(());
            component
                .thread
                .join()
                .expect("the component does not panic")
                .unwrap_or_else(|fault| panic!("{fault}"));
        }
    }

    fn stop(mut self) {
        self.stop_component();
        if let Some(prosody) = self.prosody.take() {
            let log = prosody.log();
            let bad: Vec<_> = log
                .lines()
                .filter(|line| line.contains("traceback") || line.contains("Traceback"))
                .collect();
            assert!(bad.is_empty(), "the plugin has failed:\n{log}");
            prosody.stop().unwrap_or_else(|fault| panic!("{fault}"));
        }
    }

    fn say(&self, message: ToXmpp) {
        let component = self.component.as_ref().expect("the component runs");
        component.bridge.blocking_send(message).expect("the component listens");
    }

    fn status(&self) -> Status {
        self.component
            .as_ref()
            .expect("the component runs")
            .status
            .borrow()
            .clone()
    }

    fn settled(&self) {
        let settled = wait::until("the plugin to know everything", SOON, || {
            self.status().settled.then_some(())
        });
        settled.unwrap_or_else(|fault| {
            panic!(
                "{fault}: {:?}\n{}",
                self.status(),
                self.prosody.as_ref().map(Prosody::log).unwrap_or_default()
            )
        });
    }

    fn chat(&self, jid: &str) -> Chat {
        let login = Login {
            jid,
            password: "pw",
            port: CLIENTS,
        };
        Chat::start(Some(&self.namespace), self.scratch.path(), login).unwrap_or_else(|fault| panic!("{fault}"))
    }
}

/// A component or client that says what it is told, to try what others never say.
struct Raw(TcpStream);

impl Raw {
    fn connect(namespace: &Namespace) -> Result<Self> {
        let stream = namespace.run(|| Ok(TcpStream::connect(("127.0.0.1", COMPONENTS))?))?;
        stream.set_read_timeout(Some(SOON))?;
        let mut raw = Self(stream);
        let xmlns = "xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'";
        write!(raw.0, "<stream:stream {xmlns} to='{COMPONENT}'>")?;
        let header = raw.until(|text| {
            text.split("<stream:stream")
                .nth(1)
                .is_some_and(|rest| rest.contains('>'))
        })?;
        let id = header
            .split("id='")
            .nth(1)
            .and_then(|rest| rest.split('\'').next())
            .context("an id")?;
        let hash = Element::from(Handshake::from_stream_id_and_password(id.into(), SECRET)).text();
        write!(raw.0, "<handshake>{hash}</handshake>")?;
        raw.until(|text| text.contains("<handshake"))?;
        Ok(raw)
    }

    /// Bob, authenticated.
    fn login(namespace: &Namespace) -> Result<Self> {
        let stream = namespace.run(|| Ok(TcpStream::connect(("127.0.0.1", CLIENTS))?))?;
        stream.set_read_timeout(Some(SOON))?;
        let mut raw = Self(stream);
        let xmlns = "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'";
        let open = format!("<stream:stream {xmlns} to='atlanta.example'>");
        raw.say(&open);
        raw.until(|text| text.contains("</stream:features>"))?;
        raw.say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGJvYgBwdw==</auth>");
        raw.until(|text| text.contains("<success"))?;
        raw.say(&open);
        raw.until(|text| text.contains("</stream:features>"))?;
        Ok(raw)
    }

    fn say(&mut self, xml: &str) {
        self.0.write_all(xml.as_bytes()).expect("the server reads");
    }

    fn ask(&mut self, payload: &str, kind: &str) -> Result<String> {
        write!(
            self.0,
            "<iq type='{kind}' id='raw' from='{COMPONENT}' to='atlanta.example'>{payload}</iq>"
        )?;
        let empty = |text: &str| text.split_once('>').is_some_and(|(head, _)| head.ends_with('/'));
        self.until(|text| text.contains("</iq>") || empty(text))
    }

    fn until(&mut self, done: impl Fn(&str) -> bool) -> Result<String> {
        let (mut text, mut buffer) = (String::new(), [0; 4096]);
        while !done(&text) {
            let read = self.0.read(&mut buffer).context(format_args!("after {text}"))?;
            if read == 0 {
                return None.context("the server ended the stream");
            }
            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        Ok(text)
    }
}

/// A store in memory that can be told to hang.
#[derive(Clone)]
struct Users(Arc<Mutex<Kept>>);

struct Kept {
    users: BTreeMap<BareJid, User>,
    changes: u64,
    hangs: bool,
}

impl Default for Users {
    fn default() -> Self {
        let user = |jid: &str, aors: &[&str], numbers: &[&str], video| User {
            jid: jid.parse().expect("a JID"),
            name: "Somebody".into(),
            aors: aors.iter().map(|aor| aor.parse().expect("an AOR")).collect(),
            numbers: numbers.iter().map(|number| number.parse().expect("a number")).collect(),
            credentials: vec![],
            flags: Flags {
                video,
                ..Flags::default()
            },
            language: "en".into(),
        };
        let users = [
            user(ALICE, &[AOR], &["+442079460018"], true),
            user(BOB, &["sip:bob@sip.atlanta.example"], &[BOBS_TEL], false),
            user(CAROL, &[], &[], false),
        ];
        let users = users.map(|user| (user.jid.clone(), user)).into();
        Self(Arc::new(Mutex::new(Kept {
            users,
            changes: 0,
            hangs: false,
        })))
    }
}

impl Users {
    fn change(&self, how: impl FnOnce(&mut BTreeMap<BareJid, User>)) {
        let mut kept = self.0.lock().expect(NO_PANIC);
        how(&mut kept.users);
        kept.changes += 1;
    }

    fn hang(&self, hangs: bool) {
        self.0.lock().expect(NO_PANIC).hangs = hangs;
    }
}

impl UserStore for Users {
    async fn put(&self, _: &User) -> std::result::Result<Put, StoreError> {
        Err(StoreError::Refused("the component only reads"))
    }

    async fn by_jid(&self, jid: &BareJid) -> std::result::Result<Option<Arc<User>>, StoreError> {
        if self.0.lock().expect(NO_PANIC).hangs {
            // The whole component hangs with it: it is a current-thread runtime.
            wait::pass(Duration::from_secs(4));
        }
        Ok(self.0.lock().expect(NO_PANIC).users.get(jid).cloned().map(Arc::new))
    }

    async fn by_aor(&self, _: &Aor) -> std::result::Result<Option<Arc<User>>, StoreError> {
        Ok(None)
    }

    async fn by_number(&self, _: &Tel) -> std::result::Result<Option<Arc<User>>, StoreError> {
        Ok(None)
    }

    async fn by_login(&self, _: &str, _: &str) -> std::result::Result<Option<Arc<User>>, StoreError> {
        Ok(None)
    }

    async fn list(&self, after: Option<&BareJid>, limit: u32) -> std::result::Result<Vec<User>, StoreError> {
        let kept = self.0.lock().expect(NO_PANIC);
        let behind = kept
            .users
            .values()
            .filter(|user| after.is_none_or(|after| user.jid > *after));
        Ok(behind.take(limit as usize).cloned().collect())
    }

    async fn remove(&self, _: &BareJid) -> std::result::Result<bool, StoreError> {
        Err(StoreError::Refused("the component only reads"))
    }

    async fn changes(&self) -> std::result::Result<u64, StoreError> {
        Ok(self.0.lock().expect(NO_PANIC).changes)
    }

    async fn record(&self, _: &CallRecord) -> std::result::Result<(), StoreError> {
        Err(StoreError::Refused("the component only reads"))
    }

    async fn calls(&self, _: &CallQuery) -> std::result::Result<Vec<CallRecord>, StoreError> {
        Ok(vec![])
    }
}

fn registered(aors: &[&str]) -> ToXmpp {
    ToXmpp::Registered {
        jid: ALICE.parse().expect("a JID"),
        aors: aors.iter().map(|aor| aor.parse().expect("an AOR")).collect(),
    }
}

/// Numbers as they are written in Britain.
fn british(text: &str) -> Option<Tel> {
    let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
    match digits.strip_prefix('0') {
        Some(rest) => format!("+44{rest}").parse().ok(),
        None => digits.parse().ok(),
    }
}

fn publish(node: &str, payload: &str) -> String {
    format!(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{node}'><item id='current'>{payload}</item></publish></pubsub>"
    )
}

fn presence(chat: &mut Chat, mark: usize, from: &str, kind: Option<&str>) -> Element {
    let wanted = |stanza: &Element| {
        (stanza.name() == "presence" && stanza.attr("from") == Some(from) && stanza.attr("type") == kind)
            .then(|| stanza.clone())
    };
    chat.stanza(mark, &format!("presence of {from}"), SOON, wanted)
        .unwrap_or_else(|fault| panic!("{fault}"))
}

/// What the first presence of `from` after `mark` says of reach, without its descriptions.
fn reach_of(chat: &mut Chat, mark: usize, from: &str) -> Vec<String> {
    reach(&presence(chat, mark, from, None))
}

fn reach(presence: &Element) -> Vec<String> {
    let elements: Vec<_> = presence.children().filter(|child| child.is("reach", REACH)).collect();
    assert!(elements.len() <= 1, "one reach: {presence:?}");
    let addresses = elements.into_iter().flat_map(Element::children);
    addresses
        .map(|addr| {
            assert_eq!(addr.children().count(), 0, "no description in broadcast: {presence:?}");
            addr.attr("uri").expect("a uri").to_owned()
        })
        .collect()
}

/// The annotations of a contact, with ` video` behind those that take it.
fn addresses(roster: &Element, jid: &str) -> Vec<String> {
    let item = roster
        .children()
        .find(|item| item.attr("jid") == Some(jid))
        .unwrap_or_else(|| panic!("no {jid} in {roster:?}"));
    let annotations = item.children().filter(|child| child.is("addr", "urn:x-cusax:roster:0"));
    let text = |addr: &Element| {
        format!(
            "{}{}",
            addr.attr("uri").unwrap_or_default(),
            if addr.attr("video") == Some("true") {
                " video"
            } else {
                ""
            }
        )
    };
    annotations.map(text).collect()
}

fn sorted(roster: &Element) -> (Option<String>, Vec<String>) {
    let mut items: Vec<_> = roster.children().map(String::from).collect();
    items.sort();
    (roster.attr("ver").map(str::to_owned), items)
}

fn condition(answer: &Element) -> String {
    assert_eq!(answer.attr("type"), Some("error"), "{answer:?}");
    let conditions = answer
        .children()
        .filter(|child| child.name() == "error")
        .flat_map(Element::children);
    conditions
        .map(Element::name)
        .find(|name| *name != "text")
        .unwrap_or_default()
        .to_owned()
}

fn find<'a>(element: &'a Element, name: &str) -> Option<&'a Element> {
    if element.name() == name {
        return Some(element);
    }
    element.children().find_map(|child| find(child, name))
}

const NO_PANIC: &str = "no holder of this lock panics";
