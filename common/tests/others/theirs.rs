//! The reading of other crates in the words of [`Facts`]; none where the crate refuses the message.

use super::facts::Facts;

mod rsip_reads;
mod rsipstack_reads;
mod sipx_reads;

pub type Reader = fn(&[u8]) -> Option<Facts>;

pub const READERS: &[(&str, Reader)] = &[
    ("rsip", |bytes| rsip_reads::read(bytes).filter(is_whole)),
    ("rsipstack", |bytes| rsipstack_reads::read(bytes).filter(is_whole)),
    ("sipx-sip", |bytes| sipx_reads::read(bytes).filter(is_whole)),
];

/// Whoever finds no `Call-ID` and no `CSeq` has read lines, but no message.
fn is_whole(facts: &Facts) -> bool {
    facts.value("call-id").is_some() && facts.value("cseq").is_some()
}

/// A panic in another crate is its own matter: it counts as not reading.
pub fn quiet<T>(read: impl FnOnce() -> Option<T>) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read))
        .ok()
        .flatten()
}

/// Writes `;name=value` apart, as two of the crates show a parameter only by its text.
fn split_param(text: &str) -> (String, Option<String>) {
    let text = text.trim_start_matches(';');
    match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// The name and value of a header that is shown only by its text.
fn split_line(text: &str) -> (String, String) {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    (name.trim().to_owned(), value.to_owned())
}
