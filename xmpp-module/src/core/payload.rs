//! The payloads that we read and write as types.

use minidom::Element;
use xso::{AsXml, FromXml};

use crate::core::ns;

/// Version of the protocol with the plugin. Sides of different versions do not work together.
pub const PROTOCOL: u32 = 1;

/// What the plugin has (as an answer), or the question for it (with the version alone).
#[derive(AsXml, Clone, Debug, FromXml, PartialEq, Eq)]
#[xml(namespace = ns::PLUGIN, name = "state", on_unknown_attribute = Discard, on_unknown_child = Discard)]
pub struct State {
    /// Version of the protocol that the sender speaks.
    #[xml(attribute)]
    pub version: u32,
    /// Whose map it is; absent before the first synchronisation.
    #[xml(attribute(default))]
    pub epoch: Option<String>,
    /// Number of the last change in the map.
    #[xml(attribute(default))]
    pub seq: Option<u64>,
    /// How many users the map has.
    #[xml(attribute(default))]
    pub users: Option<u64>,
}

/// The plugin has been loaded and asks to be brought up to date.
#[derive(AsXml, Clone, Debug, FromXml, PartialEq, Eq)]
#[xml(namespace = ns::PLUGIN, name = "need-sync", on_unknown_attribute = Discard, on_unknown_child = Discard)]
pub struct NeedSync {
    /// Version of the protocol that the plugin speaks.
    #[xml(attribute)]
    pub version: u32,
}

/// One step of synchronisation. Every step but the begin and the end carries lines of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sync {
    /// A new map begins; the one in force stays until the commit.
    Begin,
    /// Lines of the new map.
    More {
        /// Each with its end.
        lines: String,
    },
    /// The new map replaces the old one.
    Commit {
        /// Whose map it is.
        epoch: String,
        /// Number of the last change in it.
        seq: u64,
        /// How many lines were sent: the plugin keeps the old map if it has another number.
        users: u64,
    },
    /// Lines that replace those of the same users.
    Delta {
        /// Whose map it is.
        epoch: String,
        /// The number that the map must have now.
        after: u64,
        /// The number that it has then.
        seq: u64,
        /// Each with its end.
        lines: String,
    },
}

impl From<&Sync> for Element {
    fn from(sync: &Sync) -> Self {
        let mode = match sync {
            Sync::Begin => "begin",
            Sync::More { .. } => "more",
            Sync::Commit { .. } => "commit",
            Sync::Delta { .. } => "delta",
        };
        let mut element = crate::core::xml::element("sync", ns::PLUGIN, &[("mode", mode)]);
        let mut number = |name, value: u64| crate::core::xml::set(&mut element, name, value.to_string());
        match sync {
            Sync::Begin => number("version", PROTOCOL.into()),
            Sync::More { .. } => {}
            Sync::Commit { seq, users, .. } => {
                number("seq", *seq);
                number("users", *users);
            }
            Sync::Delta { after, seq, .. } => {
                number("after", *after);
                number("seq", *seq);
            }
        }
        if let Sync::Commit { epoch, .. } | Sync::Delta { epoch, .. } = sync {
            crate::core::xml::set(&mut element, "epoch", epoch);
        }
        if let Sync::More { lines } | Sync::Delta { lines, .. } = sync {
            crate::core::xml::append_text(&mut element, lines);
        }
        element
    }
}

/// Reads a typed payload; `None` if the element is another one or malformed.
pub fn read<T: FromXml>(element: &Element) -> Option<T> {
    xso::transform(element).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_those_of_the_golden_file() {
        let golden = include_str!("../../../tests/fixtures/xmpp/plugin/sync.xml");
        let (epoch, line) = (String::from("e1"), String::from("a@b.example\t0\tsip:a&b@c\t\n"));
        let steps = [
            Sync::Begin,
            Sync::More { lines: line.clone() },
            Sync::Commit {
                epoch: epoch.clone(),
                seq: 7,
                users: 1,
            },
            Sync::Delta {
                epoch,
                after: 7,
                seq: 8,
                lines: line,
            },
        ];
        let root: Element = golden.parse().unwrap();
        assert_eq!(root.children().count(), steps.len());
        for (step, wanted) in steps.iter().zip(root.children()) {
            assert_eq!(&Element::from(step), wanted, "{step:?}");
        }
    }

    #[test]
    fn a_state_is_read_whatever_else_it_says() {
        let read = |text: &str| read::<State>(&text.parse().unwrap());
        let empty = State {
            version: 1,
            epoch: None,
            seq: None,
            users: None,
        };
        assert_eq!(read("<state xmlns='urn:x-cusax:plugin:0' version='1'/>"), Some(empty));
        let full = State {
            version: 2,
            epoch: Some("e".into()),
            seq: Some(3),
            users: Some(4),
        };
        let text = "<state xmlns='urn:x-cusax:plugin:0' version='2' epoch='e' seq='3' users='4' new='x'><y/></state>";
        assert_eq!(read(text), Some(full));
        for wrong in [
            "<state xmlns='urn:x-cusax:plugin:0'/>",
            "<state xmlns='x' version='1'/>",
            "<state xmlns='urn:x-cusax:plugin:0' version='1' seq='-1'/>",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
