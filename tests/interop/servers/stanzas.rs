//! What is said to the server, and what is read from its stanzas.

use cusax_common::core::bridge::ToXmpp;
use cusax_common::core::tel::Tel;
use cusax_tests::lab::chat::Chat;
use minidom::Element;

use crate::{ALICE, REACH, SOON};

pub fn registered(aors: &[&str]) -> ToXmpp {
    ToXmpp::Registered {
        jid: ALICE.parse().expect("a JID"),
        aors: aors.iter().map(|aor| aor.parse().expect("an AOR")).collect(),
    }
}

/// Numbers as they are written in Britain.
pub fn british(text: &str) -> Option<Tel> {
    let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
    match digits.strip_prefix('0') {
        Some(rest) => format!("+44{rest}").parse().ok(),
        None => digits.parse().ok(),
    }
}

pub fn publish(node: &str, payload: &str) -> String {
    format!(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{node}'><item id='current'>{payload}</item></publish></pubsub>"
    )
}

pub fn presence(chat: &mut Chat, mark: usize, from: &str, kind: Option<&str>) -> Element {
    let wanted = |stanza: &Element| {
        (stanza.name() == "presence" && stanza.attr("from") == Some(from) && stanza.attr("type") == kind)
            .then(|| stanza.clone())
    };
    chat.stanza(mark, &format!("presence of {from}"), SOON, wanted)
        .unwrap_or_else(|fault| panic!("{fault}"))
}

/// What the first presence of `from` after `mark` says of reach, without its descriptions.
pub fn reach_of(chat: &mut Chat, mark: usize, from: &str) -> Vec<String> {
    reach(&presence(chat, mark, from, None))
}

/// Waits for a presence of `from` after `mark` that shows these addresses. A server may answer a probe and broadcast as
/// well, so what was true before may come once more.
pub fn comes_to_show(chat: &mut Chat, mark: usize, from: &str, addresses: &[&str], why: &str) {
    let shown = chat.stanza(mark, why, SOON, |stanza| {
        let theirs = stanza.name() == "presence" && stanza.attr("from") == Some(from) && stanza.attr("type").is_none();
        (theirs && reach(stanza) == addresses).then_some(())
    });
    shown.unwrap_or_else(|fault| panic!("{fault}"));
}

pub fn reach(presence: &Element) -> Vec<String> {
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
pub fn addresses(roster: &Element, jid: &str) -> Vec<String> {
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

pub fn sorted(roster: &Element) -> (Option<String>, Vec<String>) {
    let mut items: Vec<_> = roster.children().map(String::from).collect();
    items.sort();
    (roster.attr("ver").map(str::to_owned), items)
}

pub fn condition(answer: &Element) -> String {
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

pub fn find<'a>(element: &'a Element, name: &str) -> Option<&'a Element> {
    if element.name() == name {
        return Some(element);
    }
    element.children().find_map(|child| find(child, name))
}
