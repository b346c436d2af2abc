//! What the tests of this crate share.
#![expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to begin at; only differences matter"
)]

use std::time::Instant;

use cusax_common::core::tel::Tel;
use cusax_common::core::user::{Flags, User};

/// The instant at which a test begins.
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// A user who holds these.
pub(crate) fn user(jid: &str, aors: &[&str], numbers: &[&str]) -> User {
    User {
        jid: jid.parse().expect("a JID"),
        name: "Somebody".into(),
        aors: aors.iter().map(|aor| aor.parse().expect("an AOR")).collect(),
        numbers: numbers.iter().map(|number| number.parse().expect("a number")).collect(),
        credentials: Vec::new(),
        flags: Flags::default(),
        language: "en".into(),
    }
}

/// Reads numbers as they are written in Britain: `00` before a country code, `0` before an area code.
pub(crate) fn british(text: &str) -> Option<Tel> {
    let digits: String = text
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')'))
        .collect();
    match digits.strip_prefix("00") {
        Some(rest) => format!("+{rest}").parse().ok(),
        None => match digits.strip_prefix('0') {
            Some(rest) => format!("+44{rest}").parse().ok(),
            None => digits.parse().ok(),
        },
    }
}
