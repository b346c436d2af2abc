//! Reading a text from left to right, each byte once.
//!
//! The readers of what every message holds (`Via`, addresses, URIs, parameters) work on bytes: what is ASCII by their
//! grammar needs no check of its UTF-8, and where other letters may stand any will do.

use super::scan::{self, Bad};

/// What is left of a text.
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// At the beginning of the text.
    #[inline]
    pub fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// What was not read yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// What was read since the rest was `begin`.
    #[inline]
    pub fn since(&self, begin: &'a [u8]) -> &'a [u8] {
        &begin[..begin.len().saturating_sub(self.rest.len())]
    }

    /// The next byte, which stays.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes the byte if it is the next one.
    #[inline]
    pub fn eat(&mut self, mark: u8) -> bool {
        match self.rest {
            [first, rest @ ..] if *first == mark => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Takes the prefix if the text goes on with it.
    #[inline]
    pub fn eat_all(&mut self, prefix: &[u8]) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Takes blanks.
    #[inline]
    pub fn blanks(&mut self) {
        self.rest = scan::trim_start(self.rest);
    }

    /// Takes the bytes that may stand in one of the places.
    #[inline]
    pub fn run(&mut self, classes: u16) -> &'a [u8] {
        self.take(scan::run(self.rest, classes))
    }

    /// Takes the bytes that may stand in one of the places, and escapes (RFC 3261 §25.1).
    #[inline]
    pub fn escaped(&mut self, classes: u16) -> &'a [u8] {
        let begin = self.rest;
        loop {
            self.run(classes);
            match self.rest {
                [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => self.rest = rest,
                _ => return self.since(begin),
            }
        }
    }

    /// Takes what stands before the mark, and the mark; nothing if it is not there.
    #[inline]
    pub fn until(&mut self, mark: u8) -> Option<&'a [u8]> {
        let at = memchr::memchr(mark, self.rest)?;
        let before = self.take(at);
        self.rest = &self.rest[1..];
        Some(before)
    }

    /// Takes a quoted string, which begins here, with its marks.
    #[inline]
    pub fn quoted(&mut self) -> Result<&'a [u8], Bad> {
        let end = scan::quoted_end(self.rest)?;
        Ok(self.take(end))
    }

    /// Takes so many bytes, or all if there are fewer.
    #[inline]
    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    /// Sees to it that nothing is left.
    #[inline]
    pub fn end(&self, what: &'static str) -> Result<(), Bad> {
        if self.rest.is_empty() { Ok(()) } else { Err(Bad(what)) }
    }
}
