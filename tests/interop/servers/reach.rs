//! Addresses in presence, and who is on the phone.

use cusax_common::core::bridge::{ChargeNotice, PhoneActivity, ToXmpp};
use cusax_common::core::entropy::Seeded;
use cusax_common::core::id::SessionId;
use cusax_common::core::policy::NumberClass;
use cusax_common::core::time::Wall;
use cusax_tests::lab::wait;
use cusax_tests::lab::xmpp_server::Kind;
use jid::BareJid;
use minidom::Element;

use crate::stack::{Plugin, Raw, Stack};
use crate::stanzas::{comes_to_show, condition, find, presence, publish, reach_of, registered};
use crate::{ALICE, AOR, BOBS_TEL, COMPONENT, REACH, SOON, TEL, WHILE};

on_both!(
    reach_follows_the_phone_in_broadcast_directed_and_probe_presence,
    a_forged_reach_reaches_nobody_and_rooms_see_none,
    whoever_forgets_the_plugin_is_told,
    contacts_see_who_is_on_the_phone_and_the_caller_reads_what_a_call_costs,
    a_resumed_stream_goes_on_seeing_addresses,
);

fn reach_follows_the_phone_in_broadcast_directed_and_probe_presence(kind: Kind) {
    let stack = Stack::start(kind, "reach", Plugin::Loaded);
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
        comes_to_show(
            client,
            mark,
            "alice@atlanta.example/phone",
            &[AOR, TEL],
            "a phone has come",
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
    comes_to_show(
        &mut bob,
        mark,
        "alice@atlanta.example/phone",
        &[AOR, TEL],
        "and is back",
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

fn a_forged_reach_reaches_nobody_and_rooms_see_none(kind: Kind) {
    let stack = Stack::start(kind, "spoof", Plugin::Loaded);
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
    alice
        .send(&format!(
            "<presence><r:reach xmlns:r='{REACH}'><r:addr uri='sip:e@e.example'/><r:addr uri='im:a@x'/></r:reach></presence>"
        ))
        .expect("sent");
    assert_eq!(
        reach_of(&mut bob, mark, "alice@atlanta.example/phone"),
        [AOR, TEL, "im:a@x"],
        "a prefix hides nothing"
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

fn whoever_forgets_the_plugin_is_told(kind: Kind) {
    let stack = Stack::start(kind, "forgotten", Plugin::Forgotten);
    let told = wait::until("a word about it", SOON, || {
        stack.status().refusal.filter(|why| why.contains("modules_enabled"))
    });
    told.unwrap_or_else(|fault| panic!("{fault}: {:?}", stack.status()));
    stack.stop();
}

fn contacts_see_who_is_on_the_phone_and_the_caller_reads_what_a_call_costs(kind: Kind) {
    let stack = Stack::start(kind, "phone", Plugin::Loaded);
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

fn a_resumed_stream_goes_on_seeing_addresses(kind: Kind) {
    let stack = Stack::start(kind, "resume", Plugin::Loaded);
    stack.settled();
    let mut first = Raw::login(&stack.namespace).expect("a client");
    first.bind("r");
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
