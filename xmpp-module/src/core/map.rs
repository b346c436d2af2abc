//! The lines by which the plugin learns who holds what and who is reachable.
//!
//! One user is one line: `jid TAB rev TAB held TAB reach`. URI lists are separated by single spaces; TAB, CR, LF and
//! `\` inside a value are written `\t`, `\r`, `\n` and `\\`. A held address may carry marks after `|`, which no URI
//! holds unescaped; the one mark there is, `video`, tells that the address takes video. A line with both lists empty
//! says that the user holds nothing any more. `tests/fixtures/xmpp/plugin/map.tsv` fixes the format.

use std::fmt;
use std::str::FromStr;

use jid::BareJid;

/// What the plugin knows of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose.
    pub jid: BareJid,
    /// Every address that the user holds, in its canonical spelling.
    pub held: Vec<Held>,
    /// What is put into the user's presence, in the order to try. Empty while no phone is registered.
    pub reach: Vec<String>,
}

/// One address that a user holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// A `sip:` or `tel:` URI.
    pub uri: String,
    /// Whether it takes video.
    pub video: bool,
}

impl Entry {
    /// An entry that makes the plugin forget the user.
    #[must_use]
    pub fn gone(jid: BareJid) -> Self {
        Self {
            jid,
            held: Vec::new(),
            reach: Vec::new(),
        }
    }

    /// Whether there is anything to tell of the user.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.held.is_empty() && self.reach.is_empty()
    }

    /// A mark of the content: equal content has equal marks, whoever computes them and when (FNV-1a).
    #[must_use]
    pub fn rev(&self) -> u64 {
        let lists = format!("{}\t{}", Held::list(&self.held), self.reach.join(" "));
        lists.bytes().fold(FNV_OFFSET, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
        })
    }
}

impl Held {
    fn list(held: &[Self]) -> String {
        held.iter().map(Self::to_string).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.uri, if self.video { VIDEO } else { "" })
    }
}

/// The line, without its end.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (jid, held, reach) = (self.jid.as_str(), Held::list(&self.held), self.reach.join(" "));
        write!(
            f,
            "{}\t{:016x}\t{}\t{}",
            escape(jid),
            self.rev(),
            escape(&held),
            escape(&reach)
        )
    }
}

/// Reads a line back, as a plugin does.
impl FromStr for Entry {
    type Err = LineError;

    fn from_str(line: &str) -> Result<Self, LineError> {
        let mut fields = line.split('\t').map(unescape);
        let mut field = || fields.next().ok_or(LineError::Fields)?;
        let (jid, rev, held, reach) = (field()?, field()?, field()?, field()?);
        if fields.next().is_some() {
            return Err(LineError::Fields);
        }
        let words = |list: &str| {
            list.split(' ')
                .filter(|w| !w.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let held = words(&held).into_iter().map(|word| match word.strip_suffix(VIDEO) {
            Some(uri) => Held {
                uri: uri.to_owned(),
                video: true,
            },
            None => Held {
                uri: word,
                video: false,
            },
        });
        let jid = BareJid::new(&jid).map_err(|_| LineError::Jid)?;
        let entry = Self {
            jid,
            held: held.collect(),
            reach: words(&reach),
        };
        if rev == format!("{:016x}", entry.rev()) {
            Ok(entry)
        } else {
            Err(LineError::Rev)
        }
    }
}

/// Why a text is no line of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Not four fields.
    #[error("a line has four fields")]
    Fields,
    /// An escape that there is not.
    #[error("a backslash stands before t, r, n or a backslash")]
    Escape,
    /// The first field is no bare JID.
    #[error("the first field is a bare JID")]
    Jid,
    /// The second field does not belong to the content.
    #[error("the revision does not belong to the content")]
    Rev,
}

fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            '\n' => text.push_str("\\n"),
            '\\' => text.push_str("\\\\"),
            other => text.push(other),
        }
    }
    text
}

fn unescape(field: &str) -> Result<String, LineError> {
    let mut text = String::with_capacity(field.len());
    let mut rest = field.chars();
    while let Some(c) = rest.next() {
        text.push(match c {
            '\\' => match rest.next() {
                Some('t') => '\t',
                Some('r') => '\r',
                Some('n') => '\n',
                Some('\\') => '\\',
                _ => return Err(LineError::Escape),
            },
            other => other,
        });
    }
    Ok(text)
}

const VIDEO: &str = "|video";
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same file is read by the tests of the plugins.
    const GOLDEN: &str = include_str!("../../../tests/fixtures/xmpp/plugin/map.tsv");

    fn golden() -> Vec<Entry> {
        let held = |uri: &str, video| Held { uri: uri.into(), video };
        let jid = |text: &str| BareJid::new(text).unwrap();
        vec![
            Entry {
                jid: jid("alice@atlanta.example"),
                held: vec![
                    held("sip:a.liddell@sip.atlanta.example", true),
                    held("tel:+442079460018", false),
                ],
                reach: vec!["sip:a.liddell@sip.atlanta.example".into(), "tel:+442079460018".into()],
            },
            Entry {
                jid: jid("carol@atlanta.example"),
                held: vec![held("sip:c@sip.atlanta.example", false)],
                reach: vec![],
            },
            Entry::gone(jid("gone@atlanta.example")),
            Entry {
                jid: jid("d\\27artagnan@atlanta.example"),
                held: vec![held("sip:%22d%22@x.example", false)],
                reach: vec![],
            },
            Entry {
                jid: jid("日本@atlanta.example"),
                held: vec![held("tel:+819012345678", false)],
                reach: vec![],
            },
        ]
    }

    #[test]
    fn lines_are_those_of_the_golden_file() {
        let lines: String = golden().iter().map(|entry| format!("{entry}\n")).collect();
        assert_eq!(
            lines, GOLDEN,
            "the format is a contract with the plugins: change both, and the version"
        );
    }

    #[test]
    fn a_line_that_is_none_is_refused() {
        let cases = [
            ("", LineError::Fields),
            ("a@b\t0\t", LineError::Fields),
            ("a@b\t0\t\t\t", LineError::Fields),
            ("a@b\t0\t\\x\t", LineError::Escape),
            ("a@b\t0\t\t\\", LineError::Escape),
            ("@\t0\t\t", LineError::Jid),
            ("a@b\t0\t\t", LineError::Rev),
        ];
        for (line, why) in cases {
            assert_eq!(line.parse::<Entry>(), Err(why), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn every_entry_survives_its_line(
            local in "[a-z\\\\]{1,8}",
            held in prop::collection::vec(("sip:[!-{}~\\\\\t\r\n]{0,12}", any::<bool>()), 0..4),
            reach in prop::collection::vec("tel:[!-{}~\\\\\t\r\n]{0,12}", 0..4),
        ) {
            let held = held.into_iter().map(|(uri, video)| Held { uri, video }).collect();
            let entry = Entry { jid: BareJid::new(&format!("{local}@x.example")).unwrap(), held, reach };
            let line = entry.to_string();
            prop_assert!(!line.contains(['\n', '\r']));
            prop_assert_eq!(line.parse::<Entry>(), Ok(entry));
        }
    }
}
