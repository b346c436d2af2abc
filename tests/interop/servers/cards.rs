//! Numbers in vCards, and what rosters show of them.

use cusax_common::core::bridge::ToXmpp;
use cusax_tests::lab::chat::Annotation;
use cusax_tests::lab::wait;
use cusax_tests::lab::xmpp_server::Kind;
use jid::BareJid;

use crate::stack::{Plugin, Stack};
use crate::stanzas::{addresses, condition, publish, reach, reach_of, registered, sorted};
use crate::{ALICE, AOR, BOBS_TEL, REMOTE, SOON, TEL, WHILE};

on_both!(
    rosters_show_held_addresses_to_those_who_ask,
    no_door_lets_in_a_number_of_somebody_else,
    without_the_component_nothing_waits_and_no_number_is_stored,
);

fn rosters_show_held_addresses_to_those_who_ask(kind: Kind) {
    let stack = Stack::start(kind, "roster", Plugin::Loaded);
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
    let bystander = Stack::start(kind, "roster-plain", Plugin::Absent);
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

fn no_door_lets_in_a_number_of_somebody_else(kind: Kind) {
    let stack = Stack::start(kind, "cards", Plugin::Loaded);
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
        // ejabberd knows the IQ of XEP-0292 no more than any other that nobody handles, and keeps what is published apart.
        let stores = kind == Kind::Prosody || *door != "vCard4";
        let own = match kind {
            Kind::Ejabberd if *door == "publish" => {
                "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:vcard4'/></pubsub>"
            }
            _ => "<vCard xmlns='vcard-temp'/>",
        };
        for number in ["+442079460018", "+44-20-7946-0018", "02079460018", "+442079460018", AOR] {
            let answer = alice.iq("set", None, &card(number)).expect("an answer");
            if stores {
                let kind = answer.attr("type");
                assert_eq!(kind, Some("result"), "{door}: her own {number}: {answer:?}");
            } else {
                assert_eq!(condition(&answer), "service-unavailable", "{door}: {number}");
            }
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
        let stored = alice.iq("get", None, own).expect("an answer");
        assert!(!String::from(&stored).contains("900042"), "{door}: {stored:?}");
        assert!(String::from(&stored).contains(AOR), "{door}: her own stays: {stored:?}");
    }
    let hidden = [
        format!("<v:vCard xmlns:v='vcard-temp'><v:TEL><v:NUMBER>{BOBS_TEL}</v:NUMBER></v:TEL></v:vCard>"),
        format!("<VCARD xmlns='vcard-temp'><x><tel><number>{BOBS_TEL}</number></tel></x></VCARD>"),
        publish("urn:x:any-node", &four(BOBS_TEL)),
        publish(
            "urn:xmpp:vcard4",
            &format!(
                "<v:vcard xmlns:v='urn:ietf:params:xml:ns:vcard-4.0'><v:tel><v:uri>tel:{BOBS_TEL}</v:uri></v:tel></v:vcard>"
            ),
        ),
    ];
    for card in hidden {
        let answer = alice.iq("set", None, &card).expect("an answer");
        assert_eq!(answer.attr("type"), Some("error"), "{card}");
        assert!(
            !String::from(&answer).contains("service-unavailable"),
            "{card}: {answer:?}"
        );
    }
    let answer = alice
        .iq("set", None, "<vCard xmlns='vcard-temp'><FN>A</FN></vCard>")
        .expect("an answer");
    assert_eq!(answer.attr("type"), Some("result"), "a card without numbers");
    stack.stop();
}

fn without_the_component_nothing_waits_and_no_number_is_stored(kind: Kind) {
    let mut stack = Stack::start(kind, "away", Plugin::Loaded);
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

/// A way to store a card: its name, and what is sent for a number.
type Door<'a> = (&'a str, &'a dyn Fn(&str) -> String);
