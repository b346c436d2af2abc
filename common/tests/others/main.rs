//! Other SIP crates beside ours: where they read a message they must read what we read, field by field, and where they
//! do not, the reason is written down in [`differences`].

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::collections::{BTreeMap, BTreeSet};

use cusax_common::core::sip::FaultKind;
use differences::{CONTENT, Content, OUR_REFUSALS, Refusal};
use facts::{Facts, UNREAD};
use messages::{INVITE, Named};
use theirs::READERS;
use torture::{Kind, TORTURE};

mod differences;
mod facts;
mod messages;
mod ours;
mod rsip;
#[path = "../support/mod.rs"]
mod support;
mod theirs;
mod torture;

/// The same changes each time: the tables know the outcome. Another seed may be tried by hand.
const SEED: u64 = 0x5eed_0010;
const CHANGED: usize = 4000;

#[test]
fn an_ordinary_invite_is_read_by_all() {
    let expected = ours::read(INVITE).unwrap();
    for (name, read) in READERS {
        let theirs = read(INVITE).unwrap_or_else(|| panic!("{name} refuses it"));
        for field in [
            "method",
            "uri.host",
            "from;tag",
            "via.0;branch",
            "line.call-id.0",
            "body",
        ] {
            assert!(expected.value(field).is_some(), "{field}");
            assert_eq!(expected.value(field), theirs.value(field), "{name}: {field}");
        }
    }
}

/// Which torture messages are messages to one of us and not to the other: each has its row.
#[test]
fn refusals_of_torture_messages_are_known() {
    let Some(messages) = messages::torture() else { return };
    let mut found = BTreeSet::new();
    for (name, bytes) in &messages {
        let expected = ours::read(bytes);
        for (reader, read) in READERS {
            match (&expected, read(bytes)) {
                (Ok(_), None) => found.insert((*reader, name.as_str(), Kind::TheyRefuse)),
                (Err(_), Some(_)) => found.insert((*reader, name.as_str(), Kind::WeRefuse)),
                _ => false,
            };
        }
    }
    let listed: BTreeSet<_> = TORTURE
        .iter()
        .flat_map(|row| row.2.iter().map(|name| (row.0, *name, row.1)))
        .collect();
    let unknown: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(
        unknown.is_empty() && gone.is_empty(),
        "not in the table: {unknown:#?}\nin the table in vain: {gone:#?}"
    );
}

/// Why we refuse what others read, of all that is not a torture message: each fault has its row.
#[test]
fn what_we_alone_refuse_has_a_reason() {
    let mut unknown: BTreeMap<(&str, String), Vec<String>> = BTreeMap::new();
    let mut needed: BTreeSet<(usize, &str)> = BTreeSet::new();
    for (name, bytes) in plain_messages() {
        let Err(fault) = ours::read(&bytes) else { continue };
        for (reader, read) in READERS {
            let Some(theirs) = read(&bytes) else { continue };
            let start = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
            let mut example = format!("{name}: {}", start.escape_ascii());
            if let FaultKind::Malformed(header, _) = &fault {
                let field = header.as_str().to_ascii_lowercase();
                // Who does not read the header that we refuse agrees with us, and only says so later.
                if theirs.value(&field) == Some(UNREAD) {
                    continue;
                }
                example = (0..)
                    .map_while(|nth| theirs.value(&format!("line.{field}.{nth}")))
                    .collect::<Vec<_>>()
                    .join(" | ");
            }
            let fault = fault.to_string();
            match OUR_REFUSALS.iter().position(|row| row.is(reader, &fault)) {
                Some(row) => drop(needed.insert((row, reader))),
                None => unknown.entry((reader, fault)).or_default().push(example),
            }
        }
    }
    assert!(unknown.is_empty(), "not in the table: {}", report(unknown));
    let gone: Vec<_> = OUR_REFUSALS
        .iter()
        .enumerate()
        .flat_map(|(at, row)| row.reader.split(' ').map(move |reader| (at, reader, row)))
        .filter(|(at, reader, _)| !needed.contains(&(*at, reader)))
        .map(|(_, reader, row)| (reader, row.fault, row.reason))
        .collect();
    assert!(gone.is_empty(), "in the table in vain: {gone:#?}");
}

/// Every field of every message that two of us read.
#[test]
fn what_is_read_by_two_is_read_alike() {
    let torture = messages::torture();
    let complete = torture.is_some();
    let mut unknown: BTreeMap<(&str, String), Vec<String>> = BTreeMap::new();
    let mut needed: BTreeSet<(usize, &str)> = BTreeSet::new();
    let mut compared = 0;
    for (name, bytes) in plain_messages().into_iter().chain(torture.unwrap_or_default()) {
        let Ok(expected) = ours::read(&bytes) else { continue };
        for (reader, read) in READERS {
            let Some(theirs) = read(&bytes) else { continue };
            compared += 1;
            for (field, ours, theirs) in expected.differences(&theirs) {
                let difference = Difference {
                    reader,
                    message: &bytes,
                    all: &expected,
                    field: &field,
                    ours: ours.as_deref(),
                    theirs: theirs.as_deref(),
                };
                let rows: Vec<usize> = (0..CONTENT.len()).filter(|row| difference.is(&CONTENT[*row])).collect();
                needed.extend(rows.iter().map(|row| (*row, *reader)));
                if rows.is_empty() {
                    let example = format!("{name}: ours {ours:?}, theirs {theirs:?} of {}", difference.lines());
                    unknown.entry((reader, general(&field))).or_default().push(example);
                }
            }
        }
    }
    assert!(compared > 1000, "only {compared} messages were compared");
    assert!(unknown.is_empty(), "not in the table: {}", report(unknown));
    let gone: Vec<_> = CONTENT
        .iter()
        .enumerate()
        .flat_map(|(at, row)| row.reader.split(' ').map(move |reader| (at, reader, row)))
        .filter(|(at, reader, _)| complete && !needed.contains(&(*at, reader)))
        .map(|(_, reader, row)| (reader, row.field, row.reason))
        .collect();
    assert!(gone.is_empty(), "in the table in vain: {gone:#?}");
}

fn plain_messages() -> Vec<Named> {
    let mut messages = messages::own();
    messages.extend(messages::doubled());
    messages.extend(messages::fuzzed());
    messages.extend(messages::changed(SEED, CHANGED));
    messages
}

/// One field of one message that two readers do not read alike.
pub struct Difference<'a> {
    reader: &'a str,
    message: &'a [u8],
    /// All that we read of the message.
    all: &'a Facts,
    field: &'a str,
    ours: Option<&'a str>,
    theirs: Option<&'a str>,
}

impl Refusal {
    fn is(&self, reader: &str, fault: &str) -> bool {
        is_one_of(self.reader, reader) && matches(self.fault, fault)
    }
}

impl Difference<'_> {
    /// The header lines that the field belongs to.
    fn lines(&self) -> String {
        let header = self.field.split(['.', ';']).next().unwrap_or_default();
        let nth = |nth| self.all.value(&format!("line.{header}.{nth}"));
        (0..).map_while(nth).collect::<Vec<_>>().join("\n")
    }

    fn is_utf8(&self) -> bool {
        std::str::from_utf8(self.message).is_ok()
    }

    /// What we read of the URI that the field belongs to.
    fn of_uri(&self, part: &str) -> Option<&str> {
        let end = self.field.find("uri")? + "uri".len();
        self.all.value(&format!("{}{part}", &self.field[..end]))
    }

    fn is(&self, row: &Content) -> bool {
        is_one_of(row.reader, self.reader)
            && row.field.split(' ').any(|pattern| matches(pattern, self.field))
            && (row.when)(self)
    }
}

fn is_one_of(readers: &str, reader: &str) -> bool {
    readers.split(' ').any(|one| one == reader)
}

/// A `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text
            .strip_prefix(start)
            .is_some_and(|text| (0..=text.len()).any(|at| text.is_char_boundary(at) && matches(rest, &text[at..]))),
    }
}

/// Some of the examples of each difference.
fn report(found: BTreeMap<(&str, String), Vec<String>>) -> String {
    let mut text = String::new();
    for ((reader, what), mut examples) in found {
        text += &format!("\n{reader}, {what}, {} times:", examples.len());
        examples.sort_by_key(String::len);
        examples.dedup();
        for example in examples.iter().take(5) {
            text += &format!("\n    {}", example.escape_debug());
        }
    }
    text
}

/// The field without its numbers, so that a report is short.
fn general(field: &str) -> String {
    field
        .split('.')
        .map(|part| {
            if part.bytes().all(|byte| byte.is_ascii_digit()) {
                "*"
            } else {
                part
            }
        })
        .collect::<Vec<_>>()
        .join(".")
}
