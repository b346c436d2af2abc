//! What the headers of a dialog say in every message of it, ready to be written.

use std::fmt::Write as _;

use cusax_common::core::sip::typed::NameAddr;
use cusax_common::core::sip::{Params, Uri, Value};

/// Call-ID, both names with their tags, our Contact and the remote target: one text, of which header lines share parts.
#[derive(Clone, Debug)]
pub struct Lines {
    text: Value,
    /// Where each part ends, in the order of [`Part`].
    ends: [u32; PARTS],
}

/// A part of the text. Those that stand in one header line are neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// As whoever made the dialog drew it.
    CallId,
    /// How we name ourselves.
    Local,
    /// `;tag=…`, ours.
    LocalTag,
    /// Where we are to be reached.
    Contact,
    /// How they are named.
    Remote,
    /// `;tag=…`, theirs; nothing until it is known.
    RemoteTag,
    /// The address of their Contact.
    Target,
}

const PARTS: usize = Part::Target as usize + 1;
const ALL: [Part; PARTS] = [
    Part::CallId,
    Part::Local,
    Part::LocalTag,
    Part::Contact,
    Part::Remote,
    Part::RemoteTag,
    Part::Target,
];

impl Lines {
    /// Writes each part in its turn by `write`.
    pub fn write(mut write: impl FnMut(Part, &mut String)) -> Self {
        let (mut text, mut ends) = (String::with_capacity(USUAL), [0; PARTS]);
        for part in ALL {
            write(part, &mut text);
            // A message is shorter than what a u32 counts, and so are the few parts of some that are kept.
            ends[part as usize] = u32::try_from(text.len()).unwrap_or(u32::MAX);
        }
        text.shrink_to_fit();
        Self {
            text: Value::made(text),
            ends,
        }
    }

    /// The same with some parts changed.
    pub fn with(&self, changes: &[(Part, &str)]) -> Self {
        Self::write(|part, text| {
            let changed = changes.iter().find(|(changed, _)| *changed == part);
            text.push_str(changed.map_or_else(|| self.get(part), |(_, to)| to));
        })
    }

    /// One part.
    pub fn get(&self, part: Part) -> &str {
        let (start, end) = self.range(part, part);
        let bytes = self.text.as_bytes().get(start..end).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// The value of a header line, from one part to another.
    pub fn value(&self, first: Part, last: Part) -> Value {
        let (start, end) = self.range(first, last);
        self.text.part(start..end)
    }

    /// A tag without what stands before it; none while it is not known.
    pub fn tag(&self, part: Part) -> Option<&str> {
        let tag = self.get(part).strip_prefix(TAG)?;
        let inside = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Some(inside.unwrap_or(tag))
    }

    fn range(&self, first: Part, last: Part) -> (usize, usize) {
        let place = |at: usize| usize::try_from(self.ends[at]).unwrap_or(usize::MAX);
        let start = (first as usize).checked_sub(1).map_or(0, place);
        (start, place(last as usize))
    }
}

/// Writes an address without a tag.
pub fn write_bare(address: &NameAddr, text: &mut String) {
    if address.params.has("tag") {
        let mut bare = address.clone();
        bare.params.remove("tag");
        bare.write(text);
    } else {
        address.write(text);
    }
}

/// Writes a tag as it stands behind an address; nothing if there is none.
pub fn write_tag(tag: Option<&str>, text: &mut String) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
    match tag {
        Some(tag) if !tag.is_empty() && tag.bytes().all(is_plain) => {
            text.push_str(TAG);
            text.push_str(tag);
        }
        // No token, which no tag should be.
        Some(tag) => text.push_str(Params::new().with("tag", Some(tag)).as_str()),
        None => {}
    }
}

/// Writes a target.
pub fn write_uri(uri: &Uri, text: &mut String) {
    write!(text, "{uri}").expect("writing to a String cannot fail");
}

const TAG: &str = ";tag=";
/// Room for what ordinary peers say.
const USUAL: usize = 384;
