//! What the plugin in the server believes, and keeps.

use cusax_tests::lab::chat::Annotation;
use cusax_tests::lab::wait;
use cusax_tests::lab::xmpp_server::Kind;
use jid::BareJid;

use crate::stack::{Plugin, Raw, Stack};
use crate::stanzas::{addresses, condition, reach, reach_of, registered};
use crate::{ALICE, AOR, CAROL, COMPONENT, SOON, TEL};

on_both!(
    only_the_component_may_tell_the_plugin_and_only_in_its_version,
    a_reloaded_plugin_keeps_its_map_and_a_server_that_starts_anew_gets_it_again,
);

fn only_the_component_may_tell_the_plugin_and_only_in_its_version(kind: Kind) {
    let mut stack = Stack::start(kind, "forged", Plugin::Loaded);
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
    let golden = include_str!("../../fixtures/xmpp/plugin/map.tsv");
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

fn a_reloaded_plugin_keeps_its_map_and_a_server_that_starts_anew_gets_it_again(kind: Kind) {
    let mut stack = Stack::start(kind, "reload", Plugin::Loaded);
    stack.settled();
    stack.say(registered(&[AOR]));
    let mut alice = stack.chat("alice@atlanta.example/phone");
    let mut bob = stack.chat("bob@atlanta.example/desk");
    bob.roster(Annotation::Asked).expect("a roster");
    bob.available().expect("sent");
    alice.available().expect("sent");
    stack.settled();
    reach_of(&mut bob, 0, "alice@atlanta.example/phone");
    let mark = bob.mark();
    let server = stack.server.as_ref().expect("it runs");
    server.reload_plugin("atlanta.example").expect("it is loaded anew");
    if kind == Kind::Ejabberd {
        // Prosody's plugin hands its map on. This one takes its addresses away when it goes, and asks when it comes.
        let back = wait::until("reach to go and to come back", SOON, || {
            let theirs = bob.since(mark);
            let theirs = theirs.iter().filter(|stanza| {
                stanza.name() == "presence" && stanza.attr("from") == Some("alice@atlanta.example/phone")
            });
            let mut shown = theirs.map(reach).skip_while(|reach| !reach.is_empty());
            shown.any(|reach| reach == [AOR, TEL]).then_some(())
        });
        back.unwrap_or_else(|fault| panic!("{fault}"));
    }
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
    stack.server.take().expect("it runs").stop().expect("it stops");
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
