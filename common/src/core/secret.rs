//! Values that do not print themselves.
//!
//! [`Secret`] never shows what it holds. [`Pii`] shows a short mark that is stable within one process, so that an
//! operator can follow one address through a log without the log holding the address.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// A password, key or digest. Printing it gives `***`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Takes the value in.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. The name is there to be found in review.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Secret<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

/// An address, number or name of a person, borrowed for printing.
///
/// Prints as `pii:` and a mark, unless [`show_pii`] was turned on by the operator (`log.addresses = "full"`).
#[derive(Clone, Copy)]
pub struct Pii<T>(pub T);

impl<T: fmt::Display> fmt::Display for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if SHOW.load(Ordering::Relaxed) {
            return self.0.fmt(f);
        }
        let mark = KEY.get_or_init(RandomState::new).hash_one(self.0.to_string()) & 0xffff_ffff;
        write!(f, "pii:{mark:08x}")
    }
}

impl<T: fmt::Display> fmt::Debug for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Lets [`Pii`] print full addresses, for operators who asked for it.
pub fn show_pii(show: bool) {
    SHOW.store(show, Ordering::Relaxed);
}

static SHOW: AtomicBool = AtomicBool::new(false);
/// Drawn once for each process, so that a mark cannot be turned back into an address by trying all numbers.
static KEY: OnceLock<RandomState> = OnceLock::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_shown() {
        assert_eq!(
            format!("{:?} {}", Secret::new("canary"), Secret::new("canary")),
            "*** ***"
        );
        let (shown, again) = (Pii("+442079460018").to_string(), format!("{:?}", Pii("+442079460018")));
        assert!(shown.starts_with("pii:") && !shown.contains("2079"), "{shown}");
        assert_eq!(shown, again);
        assert_ne!(shown, Pii("+442079460019").to_string());
    }
}
