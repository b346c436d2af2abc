//! Small helpers for elements: attributes, errors, and text that XML can carry.

use std::borrow::Cow;

use minidom::Element;
use xso::exports::rxml::{Namespace, NcName};

use crate::core::ns;

/// Sets an attribute without a namespace. What XML cannot carry in `value` is replaced ([`clean`]).
pub fn set(element: &mut Element, name: &'static str, value: impl AsRef<str>) {
    let name = NcName::try_from(name).expect("attribute names are written in this crate, and are names");
    element.set_attr(Namespace::NONE, name, clean(value.as_ref()).into_owned());
}

/// An element with attributes.
pub fn element(name: &'static str, namespace: &'static str, attributes: &[(&'static str, &str)]) -> Element {
    let mut element = Element::bare(name, namespace);
    for (name, value) in attributes {
        set(&mut element, name, value);
    }
    element
}

/// Appends text, with what XML cannot carry replaced.
pub fn append_text(element: &mut Element, text: &str) {
    element.append_text_node(clean(text).into_owned());
}

/// The text with every character that XML 1.0 §2.2 excludes replaced by U+FFFD.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_xml) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars()
            .map(|c| if is_xml(c) { c } else { char::REPLACEMENT_CHARACTER })
            .collect(),
    )
}

/// How many bytes the text takes once it is escaped.
#[must_use]
pub fn escaped_len(text: &str) -> usize {
    text.bytes()
        .map(|b| {
            if matches!(b, b'&' | b'<' | b'>' | b'\'' | b'"' | b'\r') {
                "&quot;".len()
            } else {
                1
            }
        })
        .sum()
}

/// What may go wrong with a request, as the other side is told (RFC 6120 §8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StanzaError {
    /// What the sender may do about it.
    pub kind: &'static str,
    /// The defined condition.
    pub condition: &'static str,
    /// For people, in English.
    pub text: Option<String>,
}

impl StanzaError {
    /// Nobody here takes this request.
    pub const SERVICE_UNAVAILABLE: Self = Self::bare("cancel", "service-unavailable");
    /// The request is not what its protocol has.
    pub const BAD_REQUEST: Self = Self::bare("modify", "bad-request");
    /// The request is not for this sender.
    pub const FORBIDDEN: Self = Self::bare("auth", "forbidden");
    /// There is no such node.
    pub const ITEM_NOT_FOUND: Self = Self::bare("cancel", "item-not-found");
    /// Not now.
    pub const RESOURCE_CONSTRAINT: Self = Self::bare("wait", "resource-constraint");

    const fn bare(kind: &'static str, condition: &'static str) -> Self {
        Self {
            kind,
            condition,
            text: None,
        }
    }

    /// The same with a text for people.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// The element that stands in the reply.
    #[must_use]
    pub fn element(&self) -> Element {
        let mut error = element("error", ns::COMPONENT, &[("type", self.kind)]);
        error.append_child(Element::bare(self.condition, ns::STANZA_ERRORS));
        if let Some(text) = &self.text {
            let mut child = Element::bare("text", ns::STANZA_ERRORS);
            append_text(&mut child, text);
            error.append_child(child);
        }
        error
    }
}

fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_carry_is_replaced_and_the_rest_is_escaped() {
        let hostile = "</body><presence/>\u{0}\u{b}\u{fffe}]]>\u{1f600}";
        let mut body = Element::bare("body", ns::COMPONENT);
        append_text(&mut body, hostile);
        set(&mut body, "a", "'\"<\u{1}");
        let written = String::from(&body);
        let read: Element = written.parse().expect("what we write is well-formed");
        assert_eq!(read.children().count(), 0, "{written}");
        assert_eq!(read.text(), "</body><presence/>\u{fffd}\u{fffd}\u{fffd}]]>\u{1f600}");
        assert_eq!(read.attr("a"), Some("'\"<\u{fffd}"));
    }
}
