//! Commands as a chat client uses them, against the whole machine.

use std::time::Duration;

use cusax_common::core::bridge::{ToB2bua, ToXmpp};
use cusax_common::core::entropy::Seeded;
use cusax_common::core::id::SessionId;
use cusax_common::core::user::User;
use minidom::Element;

use super::command::Node;
use super::module_tests::{COMPONENT, DOMAIN, World};
use super::ns;
use super::testing::user;

const ALICE: &str = "alice@atlanta.example";
const ROOT: &str = "root@atlanta.example";
const AOR: &str = "sip:a.liddell@sip.atlanta.example";

fn world() -> World {
    let alice = user(ALICE, &[AOR], &["+442079460018"]);
    let bob = User {
        name: "Bob".into(),
        language: "de".into(),
        ..user("bob@atlanta.example", &["sip:bob@sip.atlanta.example"], &[])
    };
    let mut world = World::settled(vec![alice, bob]);
    world.bridge(ToXmpp::Registered {
        jid: ALICE.parse().unwrap(),
        aors: vec![AOR.parse().unwrap()],
    });
    world.sent.clear();
    world.bridge.clear();
    world
}

fn ask(world: &mut World, from: &str, kind: &str, payload: &str) -> Option<Element> {
    world.hear(&format!(
        "<iq xmlns='{}' type='{kind}' from='{from}/phone' to='{COMPONENT}' id='c1'>{payload}</iq>",
        ns::COMPONENT
    ));
    world.sent.pop()
}

/// Uses a command, with an action and with what stands in the form.
fn command(
    world: &mut World,
    from: &str,
    node: &str,
    action: &str,
    fields: Option<&[(&str, &[&str])]>,
) -> Option<Element> {
    let form = fields.map_or(String::new(), |fields| {
        let fields = fields.iter().map(|(name, values)| {
            let values: String = values.iter().map(|value| format!("<value>{value}</value>")).collect();
            format!("<field var='{name}'>{values}</field>")
        });
        format!(
            "<x xmlns='{}' type='submit'>{}</x>",
            ns::DATA,
            fields.collect::<String>()
        )
    });
    let payload = format!(
        "<command xmlns='{}' node='{node}'{action}>{form}</command>",
        ns::COMMANDS
    );
    ask(world, from, "set", &payload)
}

fn answer(iq: &Element) -> &Element {
    assert_eq!(
        (iq.attr("type"), iq.attr("id")),
        (Some("result"), Some("c1")),
        "{}",
        String::from(iq)
    );
    iq.get_child("command", ns::COMMANDS).expect("a command")
}

fn condition(iq: &Element) -> String {
    let error = iq.get_child("error", ns::COMPONENT).expect("an error");
    error.children().next().expect("a condition").name().to_owned()
}

fn note(iq: &Element) -> (String, String) {
    let note = answer(iq).get_child("note", ns::COMMANDS).expect("a note");
    (note.attr("type").unwrap_or_default().to_owned(), note.text())
}

/// The values of a field of the form.
fn field(iq: &Element, name: &str) -> Vec<String> {
    let form = answer(iq).get_child("x", ns::DATA).expect("a form");
    let field = form
        .children()
        .find(|child| child.attr("var") == Some(name))
        .expect("the field");
    field
        .children()
        .filter(|child| child.name() == "value")
        .map(Element::text)
        .collect()
}

#[test]
fn everybody_sees_what_they_may_use_and_nothing_else() {
    let mut world = world();
    let list = format!("<query xmlns='{}' node='{}'/>", ns::DISCO_ITEMS, ns::COMMANDS);
    for (who, wanted) in [
        (ALICE, &["my-addresses", "my-notices", "call"][..]),
        (ROOT, &["users", "policy", "status", "resync"]),
        ("mallory@elsewhere.example", &[]),
        ("nobody@atlanta.example", &[]),
    ] {
        let iq = ask(&mut world, who, "get", &list).unwrap();
        let query = iq.get_child("query", ns::DISCO_ITEMS).unwrap();
        let nodes: Vec<_> = query.children().filter_map(|item| item.attr("node")).collect();
        assert_eq!(nodes, wanted, "{who}");
        for node in Node::ALL {
            let info = format!("<query xmlns='{}' node='{}'/>", ns::DISCO_INFO, node.as_str());
            let described = ask(&mut world, who, "get", &info).unwrap();
            let may = wanted.contains(&node.as_str());
            assert_eq!(described.attr("type") == Some("result"), may, "{who} {node:?}");
            let used = command(&mut world, who, node.as_str(), "", None).unwrap();
            assert_eq!(used.attr("type") == Some("result"), may, "{who} {node:?}");
            if !may {
                assert_eq!(
                    (condition(&described), condition(&used)),
                    ("forbidden".into(), "forbidden".into())
                );
            }
        }
    }
    let german = ask(&mut world, "bob@atlanta.example", "get", &list).unwrap();
    assert!(
        String::from(&german).contains("Meine Adressen"),
        "in the language of the user"
    );
    assert_eq!(
        condition(&command(&mut world, ALICE, "format-disk", "", None).unwrap()),
        "item-not-found"
    );
    assert_eq!(
        condition(&command(&mut world, ALICE, "call", " action='prev'", None).unwrap()),
        "bad-request"
    );
    let canceled = command(
        &mut world,
        ALICE,
        "my-notices",
        " action='cancel' sessionid='s&lt;1'",
        None,
    )
    .unwrap();
    assert_eq!(
        (answer(&canceled).attr("status"), answer(&canceled).attr("sessionid")),
        (Some("canceled"), Some("s<1"))
    );
}

#[test]
fn a_user_sees_their_addresses_and_where_a_phone_is() {
    let mut world = world();
    let shown = command(&mut world, ALICE, "my-addresses", "", None).unwrap();
    assert_eq!(answer(&shown).attr("status"), Some("completed"));
    assert_eq!(field(&shown, "addresses"), [AOR]);
    assert_eq!(field(&shown, "numbers"), ["+442079460018"]);
    assert_eq!(field(&shown, "registered"), [AOR]);
    let other = command(&mut world, "bob@atlanta.example", "my-addresses", "", None).unwrap();
    assert!(field(&other, "registered").is_empty());
}

#[test]
fn a_user_chooses_what_they_are_told_and_others_of_them() {
    let mut world = world();
    let shown = command(&mut world, ALICE, "my-notices", "", None).unwrap();
    assert_eq!(answer(&shown).attr("status"), Some("executing"));
    assert_eq!(field(&shown, "notices"), ["charge", "missed", "refused"]);
    assert_eq!(field(&shown, "impp"), ["1"]);
    let chosen: &[(&str, &[&str])] = &[("notices", &["incoming", "charge"]), ("impp", &["0"])];
    let kept = command(
        &mut world,
        ALICE,
        "my-notices",
        " action='complete' sessionid='s1'",
        Some(chosen),
    )
    .unwrap();
    assert_eq!(
        (note(&kept).0.as_str(), answer(&kept).attr("sessionid")),
        ("info", Some("s1"))
    );
    let flags = |world: &World| {
        world
            .users
            .iter()
            .find(|user| user.jid.as_str() == ALICE)
            .unwrap()
            .flags
    };
    assert_eq!(
        (flags(&world).notices.to_string(), flags(&world).impp),
        ("charge,incoming".into(), false)
    );
    let none: &[(&str, &[&str])] = &[("notices", &[])];
    command(&mut world, ALICE, "my-notices", "", Some(none)).unwrap();
    assert_eq!(flags(&world).notices.to_string(), "none");
    let wrong: &[(&str, &[&str])] = &[("notices", &["everything"])];
    let refused = command(&mut world, ALICE, "my-notices", "", Some(wrong)).unwrap();
    assert_eq!(condition(&refused), "bad-request");
    assert_eq!(flags(&world).notices.to_string(), "none");
}

#[test]
fn what_is_not_offered_is_neither_shown_nor_changed() {
    let mut world = World::with(vec![user(ALICE, &[AOR], &[])], "missed,incoming");
    world.machine.handle_connected(world.now, &mut Seeded::new(2));
    world.bridge(ToXmpp::Everything {
        registered: vec![],
        phones: vec![],
    });
    let shown = command(&mut world, ALICE, "my-notices", "", None).unwrap();
    assert_eq!(field(&shown, "notices"), ["missed"]);
    let chosen: &[(&str, &[&str])] = &[("notices", &["incoming"])];
    command(&mut world, ALICE, "my-notices", "", Some(chosen)).unwrap();
    assert_eq!(world.users[0].flags.notices.to_string(), "charge,incoming,refused");
}

#[test]
fn a_call_is_begun_by_the_b2bua_which_says_what_became_of_it() {
    let to: &[(&str, &[&str])] = &[("to", &[" 020 7946 0018 "])];
    let begun = Some(SessionId::draw(&mut Seeded::new(5)));
    for (session, status, kind, words) in [
        (begun, None, "info", "phones ring"),
        (None, Some(480), "error", "None of your phones"),
        (None, Some(484), "error", "no number"),
        (None, Some(403), "error", "may not"),
        (None, Some(503), "error", "try again"),
    ] {
        let mut world = world();
        let form = command(&mut world, ALICE, "call", "", None).unwrap();
        assert_eq!(answer(&form).attr("status"), Some("executing"));
        assert!(
            command(&mut world, ALICE, "call", "", Some(to)).is_none(),
            "it waits for the b2bua"
        );
        let Some(ToB2bua::Place { id, user, to }) = world.bridge.pop() else {
            panic!("the b2bua is asked")
        };
        assert_eq!((user.as_str(), to.as_str()), (ALICE, "020 7946 0018"));
        world.bridge(ToXmpp::Placed {
            id: id + 1,
            session,
            status,
        });
        assert!(world.sent.is_empty(), "another's");
        world.bridge(ToXmpp::Placed { id, session, status });
        let told = world.sent.pop().unwrap();
        assert_eq!(note(&told).0, kind);
        assert!(note(&told).1.contains(words), "{}", note(&told).1);
        world.bridge(ToXmpp::Placed { id, session, status });
        assert!(world.sent.is_empty(), "once");
    }
}

#[test]
fn who_waits_for_a_call_in_vain_is_told() {
    let mut world = world();
    let to: &[(&str, &[&str])] = &[("to", &["112"])];
    command(&mut world, ALICE, "call", "", Some(to));
    world.pass(Duration::from_secs(20));
    assert_eq!(note(&world.sent.pop().unwrap()).0, "error");
    for nonsense in ["", " ", "&#10;"] {
        let to: &[(&str, &[&str])] = &[("to", &[nonsense])];
        let again = command(&mut world, ALICE, "call", "", Some(to)).unwrap();
        assert_eq!(answer(&again).attr("status"), Some("executing"), "{nonsense:?}");
    }
    let long = "1".repeat(300);
    let to: &[(&str, &[&str])] = &[("to", &[&long])];
    let again = command(&mut world, ALICE, "call", "", Some(to)).unwrap();
    assert_eq!(answer(&again).attr("status"), Some("executing"));
    for _ in 0..300 {
        let to: &[(&str, &[&str])] = &[("to", &["112"])];
        command(&mut world, ALICE, "call", "", Some(to));
    }
    assert_eq!(world.bridge.len(), 257, "no more than so many wait");
    world.reconnect();
    world.pass(Duration::from_secs(20));
    assert!(
        world
            .sent
            .iter()
            .all(|stanza| stanza.get_child("command", ns::COMMANDS).is_none()),
        "nobody waits after the stream was lost"
    );
}

#[test]
fn administrators_see_users_and_state_and_have_everything_told_anew() {
    let mut world = world();
    let rows = |iq: &Element| -> Vec<String> {
        let form = answer(iq).get_child("x", ns::DATA).expect("a form");
        form.children()
            .filter(|child| child.name() == "item")
            .map(Element::text)
            .collect()
    };
    for (search, wanted) in [("", 2), ("ALICE", 1), ("7946", 1), ("sip.atlanta", 2), ("nobody", 0)] {
        let fields: &[(&str, &[&str])] = &[("search", &[search])];
        let shown = command(&mut world, ROOT, "users", "", Some(fields)).unwrap();
        assert_eq!(rows(&shown).len(), wanted, "{search:?}");
    }
    let state = command(&mut world, ROOT, "status", "", None).unwrap();
    assert_eq!(
        (field(&state, "users"), field(&state, "reachable")),
        (vec!["2".into()], vec!["1".into()])
    );
    assert_eq!(field(&state, "plugin"), ["has everything"]);
    let done = command(&mut world, ROOT, "resync", "", None).unwrap();
    assert_eq!(note(&done).0, "info");
    assert_eq!(world.bridge, [ToB2bua::Resync]);
}

#[test]
fn commands_come_from_no_server_and_no_stranger() {
    let mut world = world();
    for who in [DOMAIN, "other.example", "alice@other.example"] {
        for node in Node::ALL {
            let payload = format!("<command xmlns='{}' node='{}'/>", ns::COMMANDS, node.as_str());
            world.hear(&format!(
                "<iq xmlns='{}' type='set' from='{who}' to='{COMPONENT}' id='c1'>{payload}</iq>",
                ns::COMPONENT
            ));
            assert_eq!(condition(&world.sent.pop().unwrap()), "forbidden", "{who}");
        }
    }
}
