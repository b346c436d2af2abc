//! What the audience sees: one line for each fact, checked before it is printed.

use std::fmt;
use std::io::Write as _;
use std::time::Instant;

use crate::lab::{Fault, Result, wait};

/// Prints the lines and counts them.
#[derive(Debug)]
pub struct Report {
    begun: Instant,
    lines: u32,
}

impl Report {
    /// Begins.
    #[must_use]
    pub fn new() -> Self {
        Self {
            begun: wait::now(),
            lines: 0,
        }
    }

    /// Announces a step.
    pub fn step(&self, number: u32, title: &str) {
        say(format_args!(
            "\n{number}. {title}  ({:.0} s)",
            self.begun.elapsed().as_secs_f64()
        ));
    }

    /// One line: prints `claim` and the fact that proves it, or why it does not hold.
    ///
    /// # Errors
    /// When the claim does not hold. The whole demonstration ends there.
    pub fn line<F: fmt::Display>(
        &mut self,
        mechanism: Mechanism,
        claim: &str,
        fact: impl FnOnce() -> Result<F>,
    ) -> Result<()> {
        match fact() {
            Ok(fact) => {
                self.lines += 1;
                say(format_args!("  ✓ {claim}: {fact}"));
                Ok(())
            }
            Err(fault) => {
                say(format_args!("  ✗ [{mechanism}] {claim}: {fault}"));
                Err(Fault::new(format_args!("a line did not hold: {claim}")))
            }
        }
    }

    /// How many lines held.
    #[must_use]
    pub fn lines(&self) -> u32 {
        self.lines
    }

    /// Seconds since the beginning.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

/// What a line depends on most: when it fails, look there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// Plain XMPP and SIP, without us.
    Ground,
    /// `<reach/>` in presence.
    Reach,
    /// Roster annotation.
    Roster,
    /// The caller's JID in Call-Info.
    Impp,
    /// Names and asserted identities.
    Identity,
    /// The media relay.
    Relay,
    /// On the phone.
    Activity,
    /// The warning before a paid call.
    Tone,
    /// Calls that are told in chat.
    Notice,
    /// vCard checks.
    Vcard,
    /// What strangers try.
    Defence,
    /// Call records and correlation.
    Records,
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{self:?}").to_lowercase();
        f.write_str(&name)
    }
}

/// Prints a line. Whether anybody reads it does not matter: the exit status says the same.
pub fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// A fault unless `condition` holds.
///
/// # Errors
/// With what `otherwise` says.
pub fn ensure<D: fmt::Display>(condition: bool, otherwise: impl FnOnce() -> D) -> Result<()> {
    if condition {
        Ok(())
    } else {
        Err(Fault::new(otherwise()))
    }
}
