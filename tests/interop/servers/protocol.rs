//! What the plugin does at each step, with a component of the test's own that says it.

use cusax_tests::lab::chat::{Annotation, Chat};
use cusax_tests::lab::wait;
use cusax_tests::lab::xmpp_server::Kind;
use minidom::Element;

use crate::stack::{Plugin, Raw, Stack};
use crate::stanzas::{addresses, comes_to_show, find, reach_of};
use crate::{ALICE, AOR, BOB, COMPONENT, REACH, REMOTE, ROBOT, SOON, TEL, WHILE};

on_both!(
    steps_in_disorder_change_nothing,
    a_plugin_that_comes_asks_and_one_that_goes_leaves_nothing_behind,
    reach_is_for_its_audience,
    what_the_server_itself_pushes_is_annotated,
    only_activities_are_published_and_a_new_epoch_ends_them,
    each_virtual_host_has_a_map_of_its_own,
);

fn steps_in_disorder_change_nothing(kind: Kind) {
    let (stack, mut raw) = start(kind, "steps", Plugin::Loaded);
    let mut bob = stack.chat("bob@atlanta.example/desk");
    let mut shown = || addresses(&bob.roster(Annotation::Asked).expect("a roster"), ALICE);
    raw.tell_all("one", &[&line(ALICE, AOR, "")]);
    assert_eq!(shown(), [AOR]);
    assert_eq!(state(&mut raw), "epoch=one seq=1 users=1");

    assert_eq!(say(&mut raw, "begin' version='1", ""), "result");
    assert_eq!(say(&mut raw, "more", &line(ALICE, TEL, "")), "result");
    assert_eq!(shown(), [AOR], "what is not committed is not in force");
    assert_eq!(say(&mut raw, "commit' epoch='two' seq='1' users='2", ""), "conflict");
    assert_eq!(
        say(&mut raw, "commit' epoch='two' seq='1' users='1", ""),
        "conflict",
        "it was given up"
    );
    for bad in [
        "no line",
        "\t0\t\t",
        &line("alice@elsewhere.example", AOR, ""),
        &line("alice@atlanta.example/x", AOR, ""),
    ] {
        assert_eq!(say(&mut raw, "begin' version='1", ""), "result");
        assert_eq!(say(&mut raw, "more", bad), "conflict", "{bad}");
        assert_eq!(
            say(&mut raw, "commit' epoch='two' seq='1' users='0", ""),
            "conflict",
            "{bad}"
        );
    }
    for bad in [
        "one' after='2' seq='3",
        "two' after='1' seq='2",
        "one' after='1",
        "one' after='x' seq='2",
        "",
    ] {
        let delta = format!("delta' epoch='{bad}");
        assert_eq!(say(&mut raw, &delta, &line(ALICE, TEL, "")), "conflict", "{bad}");
    }
    let half = format!("{}\nno line", line(ALICE, TEL, ""));
    assert_eq!(
        say(&mut raw, "delta' epoch='one' after='1' seq='2", &half),
        "conflict",
        "all or nothing"
    );
    assert_eq!(
        say(&mut raw, "more", &line(ALICE, TEL, "")),
        "conflict",
        "nothing was begun"
    );
    assert_eq!(
        (shown(), state(&mut raw)),
        (vec![AOR.to_owned()], "epoch=one seq=1 users=1".into())
    );

    let two = format!("{}\n{}", line(ALICE, TEL, ""), line(BOB, AOR, ""));
    assert_eq!(say(&mut raw, "delta' epoch='one' after='1' seq='2", &two), "result");
    assert_eq!(
        (shown(), state(&mut raw)),
        (vec![TEL.to_owned()], "epoch=one seq=2 users=2".into())
    );
    assert_eq!(
        say(&mut raw, "delta' epoch='one' after='2' seq='3", &line(ALICE, "", "")),
        "result"
    );
    assert_eq!((shown(), state(&mut raw)), (vec![], "epoch=one seq=3 users=1".into()));
    let escaped = line(ALICE, r"sip:a\\b@x", "");
    assert_eq!(say(&mut raw, "delta' epoch='one' after='3' seq='4", &escaped), "result");
    assert_eq!(shown(), [r"sip:a\b@x"]);
    raw.tell_all("two", &[]);
    assert_eq!((shown(), state(&mut raw)), (vec![], "epoch=two seq=1 users=0".into()));
    stack.stop();
}

fn a_plugin_that_comes_asks_and_one_that_goes_leaves_nothing_behind(kind: Kind) {
    let (stack, mut raw) = start(kind, "goes", Plugin::Loaded);
    let (mut alice, mut bob) = (
        stack.chat("alice@atlanta.example/phone"),
        stack.chat("bob@atlanta.example/desk"),
    );
    raw.tell_all("one", &[&line(ALICE, &format!("{AOR} {TEL}"), &format!("{AOR} {TEL}"))]);
    let own = format!("<presence><reach xmlns='{REACH}'><addr uri='im:a@x'/></reach></presence>");
    alice.send(&own).expect("sent");
    bob.available().expect("sent");
    comes_to_show(
        &mut bob,
        0,
        "alice@atlanta.example/phone",
        &[AOR, TEL, "im:a@x"],
        "before",
    );
    let server = stack.server.as_ref().expect("it runs");
    server.reload_plugin("atlanta.example").expect("it is loaded anew");
    let asked = raw.until(|text| text.contains("<need-sync")).expect("it asks");
    assert!(asked.contains("version='1'"), "{asked}");
    raw.tell_all("one", &[&line(ALICE, &format!("{AOR} {TEL}"), AOR)]);
    comes_to_show(
        &mut bob,
        0,
        "alice@atlanta.example/phone",
        &[AOR, "im:a@x"],
        "after it was told anew",
    );

    server.unload_plugin(&stack.plan).expect("it goes");
    let mark = bob.mark();
    bob.send("<presence type='unavailable'/>").expect("sent");
    bob.send("<presence/>").expect("sent");
    comes_to_show(
        &mut bob,
        mark,
        "alice@atlanta.example/phone",
        &["im:a@x"],
        "what a probe brings",
    );
    assert_eq!(
        addresses(&bob.roster(Annotation::Asked).expect("a roster"), ALICE),
        Vec::<String>::new()
    );
    let answer = raw
        .ask("<state xmlns='urn:x-cusax:plugin:0' version='1'/>", "get")
        .expect("an answer");
    assert!(answer.contains("service-unavailable"), "{answer}");
    stack.stop();
}

fn reach_is_for_its_audience(kind: Kind) {
    for (audience, contact, stranger) in [("local", false, false), ("roster", true, false), ("all", true, true)] {
        let (stack, mut raw) = start(kind, audience, Plugin::For(audience));
        let mut bob = stack.chat("bob@atlanta.example/desk");
        bob.available().expect("sent");
        raw.tell_all("one", &[&line(ALICE, &format!("{AOR} {TEL}"), AOR)]);
        let mut alice = stack.chat("alice@atlanta.example/phone");
        let own = |status: &str| format!("<status>{status}</status><reach xmlns='{REACH}'><addr uri='{TEL}'/></reach>");
        alice
            .send(&format!("<presence>{}</presence>", own("broadcast")))
            .expect("sent");
        let other = format!("other@{COMPONENT}");
        alice
            .send(&format!("<presence to='{other}'>{}</presence>", own("directed")))
            .expect("sent");
        comes_to_show(
            &mut bob,
            0,
            "alice@atlanta.example/phone",
            &[AOR, TEL],
            "a contact here",
        );
        let text = raw
            .until(|text| {
                ["broadcast", "directed"]
                    .iter()
                    .all(|status| text.contains(&format!("{status}</status>")))
                    && text.ends_with('>')
            })
            .expect("presence");
        let saw = |to: &str, status: &str| {
            let mine = |part: &&str| part.contains(&format!("to='{to}'")) && part.contains(status);
            let presence = text
                .split("<presence")
                .find(mine)
                .unwrap_or_else(|| panic!("none for {to} in {text}"));
            assert!(presence.contains(TEL), "what she says herself, and holds: {presence}");
            presence.contains(AOR)
        };
        assert_eq!(
            (saw(ROBOT, "broadcast"), saw(&other, "directed")),
            (contact, stranger),
            "{audience}"
        );
        raw.say(&format!("<presence type='probe' from='{ROBOT}' to='{ALICE}'/>"));
        let text = raw
            .until(|text| text.contains("</presence>"))
            .expect("an answer to the probe");
        assert_eq!(text.contains(AOR), contact, "{audience}: what a probe brings: {text}");
        stack.stop();
    }
}

fn what_the_server_itself_pushes_is_annotated(kind: Kind) {
    let (stack, mut raw) = start(kind, "native", Plugin::Loaded);
    raw.tell_all("one", &[&line(ALICE, &format!("{AOR}|video"), "")]);
    let mut asks = stack.chat("bob@atlanta.example/asks");
    let mut plain = stack.chat("bob@atlanta.example/plain");
    let before = asks.roster(Annotation::Asked).expect("a roster");
    plain.roster(Annotation::Not).expect("a roster");
    let marks = (asks.mark(), plain.mark());
    let change =
        format!("<query xmlns='jabber:iq:roster'><item jid='{ALICE}' name='Al'><group>G</group></item></query>");
    let answer = plain.iq("set", None, &change).expect("an answer");
    assert_eq!(answer.attr("type"), Some("result"), "{answer:?}");
    let annotated = pushed(&mut asks, marks.0);
    assert_eq!(addresses(&annotated, ALICE), [format!("{AOR} video")]);
    let ver = annotated.attr("ver").expect("a version");
    assert!(ver.contains('-') && Some(ver) != before.attr("ver"), "{ver}");
    let bare = pushed(&mut plain, marks.1);
    assert_eq!(
        addresses(&bare, ALICE),
        Vec::<String>::new(),
        "who has not asked sees none"
    );
    assert_eq!(bare.attr("ver"), ver.rsplit_once('-').map(|(native, _)| native));
    let query = format!("<query xmlns='jabber:iq:roster' ver='{ver}'><annotate xmlns='urn:x-cusax:roster:0'/></query>");
    let same = asks.iq("get", None, &query).expect("an answer");
    assert!(
        same.children().next().is_none(),
        "the version of a push is current: {same:?}"
    );
    let stranger = "<query xmlns='jabber:iq:roster'><item jid='carol@atlanta.example'/></query>";
    assert_eq!(
        say(
            &mut raw,
            "delta' epoch='one' after='1' seq='2",
            &line("carol@atlanta.example", TEL, "")
        ),
        "result"
    );
    let mark = asks.mark();
    asks.iq("set", None, stranger).expect("an answer");
    let push = pushed(&mut asks, mark);
    assert_eq!(
        addresses(&push, "carol@atlanta.example"),
        Vec::<String>::new(),
        "adding somebody harvests nothing"
    );
    stack.stop();
}

fn only_activities_are_published_and_a_new_epoch_ends_them(kind: Kind) {
    let (stack, mut raw) = start(kind, "publish", Plugin::Loaded);
    raw.tell_all("one", &[]);
    let mut bob = stack.chat("bob@atlanta.example/desk");
    let mut alice = stack.chat("alice@atlanta.example/phone");
    bob.available().expect("sent");
    alice.available().expect("sent");
    reach_of(&mut bob, 0, "alice@atlanta.example/phone");
    let activity = "http://jabber.org/protocol/activity";
    let publish = |user: &str, node: &str, payload: &str| {
        format!(
            "<publish xmlns='urn:x-cusax:plugin:0' user='{user}' node='{node}'>\
             <item xmlns='http://jabber.org/protocol/pubsub'>{payload}</item></publish>"
        )
    };
    let talking = format!("<activity xmlns='{activity}'><talking><on_the_phone/></talking></activity>");
    let other = "<x xmlns='urn:x'/>";
    for (user, node, payload) in [
        (ALICE, "urn:xmpp:vcard4", talking.as_str()),
        (ALICE, "urn:x", other),
        (ALICE, activity, other),
        (ALICE, activity, ""),
        (ALICE, activity, "<activity xmlns='urn:x'/>"),
        (ALICE, activity, &format!("{talking}{talking}")),
        (REMOTE, activity, &talking),
        ("alice@atlanta.example/phone", activity, &talking),
        ("atlanta.example", activity, &talking),
        ("", activity, &talking),
    ] {
        let answer = raw.ask(&publish(user, node, payload), "set").expect("an answer");
        assert!(answer.contains("bad-request"), "{user} {node} {payload}: {answer}");
    }
    let mark = bob.mark();
    let answer = raw.ask(&publish(ALICE, activity, &talking), "set").expect("an answer");
    assert!(answer.contains("type='result'"), "{answer}");
    activity_of(&mut bob, mark, "on_the_phone");
    let mark = bob.mark();
    raw.tell_all("one", &[]);
    wait::pass(WHILE);
    let events = bob
        .since(mark)
        .iter()
        .filter(|stanza| stanza.name() == "message")
        .count();
    assert_eq!(events, 0, "the same component goes on");
    raw.tell_all("two", &[]);
    activity_of(&mut bob, mark, "");
    stack.stop();
}

fn each_virtual_host_has_a_map_of_its_own(kind: Kind) {
    let (stack, mut raw) = start(kind, "twice", Plugin::Twice);
    raw.tell_all("one", &[&line(ALICE, AOR, AOR)]);
    let theirs = format!(
        "<iq type='get' id='raw' from='{COMPONENT}' to='biloxi.example'><state xmlns='urn:x-cusax:plugin:0' version='1'/></iq>"
    );
    raw.say(&theirs);
    let answer = raw.until(|text| text.contains("</iq>")).expect("an answer");
    assert!(
        answer.contains("forbidden"),
        "it is not that host's component: {answer}"
    );
    let mut remote = stack.chat("bob@biloxi.example/desk");
    let mut bob = stack.chat("bob@atlanta.example/desk");
    let mut alice = stack.chat("alice@atlanta.example/phone");
    let forged = format!("<presence><reach xmlns='{REACH}'><addr uri='{AOR}'/><addr uri='im:b@x'/></reach></presence>");
    for client in [&mut bob, &mut alice] {
        client.available().expect("sent");
    }
    remote.send(&forged).expect("sent");
    comes_to_show(
        &mut bob,
        0,
        "bob@biloxi.example/desk",
        &["im:b@x"],
        "nobody holds anything there",
    );
    comes_to_show(
        &mut remote,
        0,
        "alice@atlanta.example/phone",
        &[AOR],
        "reach comes over",
    );
    let roster = remote.roster(Annotation::Asked).expect("a roster");
    assert_eq!(
        addresses(&roster, ALICE),
        Vec::<String>::new(),
        "one host does not know what is in the other's map"
    );
    let card = "<vCard xmlns='vcard-temp'><TEL><NUMBER>1</NUMBER></TEL></vCard>";
    let answer = remote.iq("set", None, card).expect("an answer");
    assert!(
        String::from(&answer).contains("resource-constraint"),
        "no component, no number: {answer:?}"
    );
    stack.stop();
}

/// Prosody's rosters always have versions.
#[test]
fn without_versions_ejabberd_annotates_rosters_all_the_same() {
    let (stack, mut raw) = start(Kind::Ejabberd, "versions", Plugin::Unversioned);
    raw.tell_all("one", &[&line(ALICE, AOR, "")]);
    let mut bob = stack.chat("bob@atlanta.example/desk");
    for _ in 0..2 {
        let roster = bob.roster(Annotation::Asked).expect("a roster");
        assert_eq!(
            (addresses(&roster, ALICE), roster.attr("ver")),
            (vec![AOR.to_owned()], None)
        );
    }
    let mark = bob.mark();
    assert_eq!(
        say(&mut raw, "delta' epoch='one' after='1' seq='2", &line(ALICE, TEL, "")),
        "result"
    );
    let push = pushed(&mut bob, mark);
    assert_eq!(
        (addresses(&push, ALICE), push.attr("ver")),
        (vec![TEL.to_owned()], None)
    );
    stack.stop();
}

/// A server with a component of ours in the place of the real one.
fn start(kind: Kind, name: &str, plugin: Plugin) -> (Stack, Raw) {
    let mut stack = Stack::start(kind, name, plugin);
    stack.settled();
    stack.stop_component();
    let raw = Raw::connect(&stack.namespace).expect("a component of our own");
    (stack, raw)
}

pub fn line(jid: &str, held: &str, reach: &str) -> String {
    format!("{jid}\t0\t{held}\t{reach}")
}

/// Says a step of synchronisation: what its mode is, with what else stands behind it, and its lines. Gives `result` or
/// the condition of the error.
pub fn say(raw: &mut Raw, mode: &str, lines: &str) -> String {
    let step = format!("<sync xmlns='urn:x-cusax:plugin:0' mode='{mode}'>{lines}</sync>");
    let answer = raw.ask(&step, "set").expect("an answer");
    let words = ["type='result'", "conflict", "bad-request", "feature-not-implemented"];
    let said = words.into_iter().find(|word| answer.contains(word)).unwrap_or(&answer);
    said.trim_start_matches("type='").trim_end_matches('\'').to_owned()
}

pub fn state(raw: &mut Raw) -> String {
    let answer = raw
        .ask("<state xmlns='urn:x-cusax:plugin:0' version='1'/>", "get")
        .expect("an answer");
    let state = find(
        &answer
            .replacen("<iq", "<iq xmlns='jabber:client'", 1)
            .parse::<Element>()
            .expect("XML"),
        "state",
    )
    .expect("a state")
    .clone();
    let attribute = |name: &str| format!("{name}={}", state.attr(name).unwrap_or_default());
    ["epoch", "seq", "users"].map(attribute).join(" ")
}

/// The next roster push.
pub fn pushed(chat: &mut Chat, mark: usize) -> Element {
    let push = chat.stanza(mark, "a push", SOON, |stanza| {
        let push = stanza.name() == "iq" && stanza.attr("type") == Some("set");
        stanza.get_child("query", "jabber:iq:roster").filter(|_| push).cloned()
    });
    push.unwrap_or_else(|fault| panic!("{fault}"))
}

/// Waits until Alice does this.
fn activity_of(chat: &mut Chat, mark: usize, what: &str) {
    let seen = chat.stanza(mark, what, SOON, |stanza| {
        let event = stanza.get_child("event", "http://jabber.org/protocol/pubsub#event")?;
        let names = find(event, "activity")?
            .children()
            .flat_map(Element::children)
            .map(Element::name);
        (stanza.attr("from") == Some(ALICE) && names.collect::<String>() == what).then_some(())
    });
    seen.unwrap_or_else(|fault| panic!("{fault}"));
}
