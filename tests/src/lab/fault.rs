//! Why a laboratory step did not work, in words for the person who runs it.

use std::fmt;

/// What went wrong, outermost circumstance first.
#[derive(Debug)]
pub struct Fault(String);

/// The result of a laboratory step.
pub type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    /// A fault told in one sentence.
    pub fn new(text: impl fmt::Display) -> Self {
        Self(text.to_string())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Every error becomes a fault. [`Fault`] itself is no `std::error::Error`, which is what makes this possible.
impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Says what was being done when something failed.
pub trait Context<T> {
    /// Puts `what` before the reason.
    ///
    /// # Errors
    /// Those that it was given.
    fn context(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Fault>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Fault(format!("{what}: {}", error.into())))
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.ok_or_else(|| Fault::new(what))
    }
}
