//! The header lines of a message.

use std::fmt;

use bytes::Bytes;

use super::digits;
use super::name::{HeaderName, Known};
use super::scan;
use super::text::Text;
use super::typed::{Form, TypedHeader};
use super::value::{Value, ValueRef};

/// Header lines in their order. Several lines may have one name.
///
/// Lines that were read stay where they lie in the message's buffer, and are written exactly as they were read, the
/// spelling of their names and the blanks in them included.
#[derive(Clone, Default)]
pub struct Headers {
    source: Bytes,
    lines: Vec<Line>,
}

#[derive(Clone)]
struct Line {
    known: Option<Known>,
    stored: Stored,
}

#[derive(Clone)]
enum Stored {
    /// The line from `start` to `end`, without its line end, in the buffer of the message.
    Read {
        start: u32,
        name_end: u32,
        value_start: u32,
        value_end: u32,
        end: u32,
    },
    /// A line made here.
    Made(Value),
    /// A line made here whose name has no constant, apart so that all lines are short.
    Named(Box<(Text, Value)>),
}

impl Headers {
    /// No lines.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            source: Bytes::new(),
            lines: Vec::new(),
        }
    }

    /// No lines, and room for so many.
    #[must_use]
    pub fn with_room(lines: usize) -> Self {
        Self {
            lines: Vec::with_capacity(lines),
            ..Self::default()
        }
    }

    /// How many lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The value of the first line of this name.
    #[must_use]
    pub fn get(&self, name: &HeaderName) -> Option<ValueRef<'_>> {
        self.lines
            .iter()
            .find(|line| self.is(line, name))
            .map(|line| self.value(line))
    }

    /// The values of all lines of this name. Comma lists are not cut; see [`list`](Self::list).
    pub fn get_all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = ValueRef<'a>> {
        self.lines
            .iter()
            .filter(|line| self.is(line, name))
            .map(|line| self.value(line))
    }

    /// Whether there is a line of this name.
    #[must_use]
    pub fn has(&self, name: &HeaderName) -> bool {
        self.lines.iter().any(|line| self.is(line, name))
    }

    /// All lines in their order.
    pub fn iter(&self) -> impl Iterator<Item = (HeaderName, ValueRef<'_>)> {
        self.lines
            .iter()
            .map(|line| (HeaderName::of(line.known, self.spelling(line)), self.value(line)))
    }

    /// Adds a line behind all others.
    pub fn push(&mut self, name: HeaderName, value: Value) {
        self.lines.push(Line::made(&name, value));
    }

    /// Adds a line before all others.
    pub fn push_front(&mut self, name: HeaderName, value: Value) {
        self.lines.insert(0, Line::made(&name, value));
    }

    /// Puts one line in the place of all lines of this name: where the first of them was, or behind all others.
    pub fn set(&mut self, name: HeaderName, value: Value) {
        let line = Line::made(&name, value);
        match self.lines.iter().position(|line| self.is(line, &name)) {
            Some(at) => {
                self.remove_behind(at + 1, &name);
                self.lines[at] = line;
            }
            None => self.lines.push(line),
        }
    }

    /// Removes every line of this name, and tells how many there were.
    pub fn remove(&mut self, name: &HeaderName) -> usize {
        self.remove_behind(0, name)
    }

    /// Removes the first line of this name, and gives its value.
    pub fn remove_first(&mut self, name: &HeaderName) -> Option<Value> {
        let at = self.lines.iter().position(|line| self.is(line, name))?;
        let value = self.value(&self.lines[at]).to_value();
        self.lines.remove(at);
        Some(value)
    }

    /// Adds all lines of this name that `other` has, in their order and spelling, and tells how many.
    pub fn copy(&mut self, name: &HeaderName, other: &Self) -> usize {
        self.copy_all(other, |line| other.is(line, name).then_some(name))
    }

    /// Adds all lines of these names that `other` has, in their order there.
    pub(super) fn copy_known(&mut self, names: &[HeaderName], other: &Self) {
        self.copy_all(other, |line| names.iter().find(|name| other.is(line, name)));
    }

    fn copy_all<'n>(&mut self, other: &Self, of: impl Fn(&Line) -> Option<&'n HeaderName>) -> usize {
        if self.lines.is_empty() {
            self.source = other.source.clone();
            self.lines.reserve(USUAL_COPIED);
        }
        let shared = self.source.as_ptr() == other.source.as_ptr() && self.source.len() == other.source.len();
        let before = self.lines.len();
        for line in &other.lines {
            let Some(name) = of(line) else { continue };
            self.lines.push(match &line.stored {
                Stored::Read { .. } if !shared => Line::made(name, other.value(line).to_value()),
                _ => line.clone(),
            });
        }
        self.lines.len() - before
    }

    /// The value of the one line of this type.
    ///
    /// # Errors
    /// There is no such line, or more than one, or it cannot be read.
    pub fn one<H: TypedHeader>(&self) -> Result<H, HeaderError> {
        self.opt()?.ok_or(HeaderError {
            header: Some(H::NAME),
            why: Why::Missing,
        })
    }

    /// The value of the line of this type, if there is one.
    ///
    /// Types of the form [`Form::Joined`] read all their lines as one.
    ///
    /// # Errors
    /// There is more than one line, or it cannot be read.
    pub fn opt<H: TypedHeader>(&self) -> Result<Option<H>, HeaderError> {
        let name = H::NAME;
        let mut values = self.get_all(&name);
        let Some(first) = values.next() else {
            return Ok(None);
        };
        let parsed = match values.next() {
            None => H::parse(&first.to_text()),
            Some(second) if H::FORM == Form::Joined => {
                let mut joined = first.to_text().into_owned();
                for value in std::iter::once(second).chain(values) {
                    joined.push_str(", ");
                    joined.push_str(&value.to_text());
                }
                H::parse(&joined)
            }
            Some(_) => {
                return Err(HeaderError {
                    header: Some(H::NAME),
                    why: Why::Repeated,
                });
            }
        };
        parsed.map(Some).map_err(|error| error.of(&name))
    }

    /// The topmost value of this type, be it alone in its line or the first of a list.
    ///
    /// # Errors
    /// There is no such line, or the value cannot be read.
    pub fn first<H: TypedHeader>(&self) -> Result<H, HeaderError> {
        let name = H::NAME;
        let value = self.get(&name).ok_or(HeaderError {
            header: Some(name.clone()),
            why: Why::Missing,
        })?;
        let text = value.to_text();
        let first = match H::FORM {
            Form::List => scan::commas(&text).next().unwrap_or(Ok("")),
            Form::Single | Form::Lines | Form::Joined => Ok(&*text),
        };
        first.and_then(H::parse).map_err(|error| error.of(&name))
    }

    /// All values of this type, from all lines, comma lists cut (RFC 3261 §7.3.1). Empty if there is none.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn list<H: TypedHeader>(&self) -> Result<Vec<H>, HeaderError> {
        let mut list = Vec::new();
        self.each(|value| list.push(value))?;
        Ok(list)
    }

    /// The same one by one, for whom a list would be too dear.
    ///
    /// # Errors
    /// One of them cannot be read; those before it were given.
    pub fn each<H: TypedHeader>(&self, mut give: impl FnMut(H)) -> Result<(), HeaderError> {
        let name = H::NAME;
        for value in self.get_all(&name) {
            if H::FORM == Form::List {
                for part in scan::commas(&value.to_text()) {
                    give(part.and_then(H::parse).map_err(|error| error.of(&name))?);
                }
            } else {
                give(H::read(value).map_err(|error| error.of(&name))?);
            }
        }
        Ok(())
    }

    /// Adds a typed value as a line behind all others.
    pub fn put<H: TypedHeader>(&mut self, header: &H) {
        self.push(H::NAME, value_of(header));
    }

    /// Puts one typed line in the place of all lines of its name.
    pub fn replace<H: TypedHeader>(&mut self, header: &H) {
        self.set(H::NAME, value_of(header));
    }

    /// Adds a typed line before the first line of its name, or before all lines if there is none (a `Via`, a `Route`).
    pub fn insert_first<H: TypedHeader>(&mut self, header: &H) {
        self.insert_before(&H::NAME, value_of(header));
    }

    /// The same with a value that was written already.
    pub fn insert_before(&mut self, name: &HeaderName, value: Value) {
        let at = self.lines.iter().position(|line| self.is(line, name)).unwrap_or(0);
        self.lines.insert(at, Line::made(name, value));
    }

    /// Removes the topmost value of a header whose values may share a line: our own `Via` from a response, the `Route`
    /// that names us.
    ///
    /// # Errors
    /// There is none, or its list cannot be cut.
    pub fn remove_top<H: TypedHeader>(&mut self) -> Result<(), HeaderError> {
        let name = H::NAME;
        let missing = HeaderError {
            header: Some(name.clone()),
            why: Why::Missing,
        };
        let at = self.lines.iter().position(|line| self.is(line, &name)).ok_or(missing)?;
        let value = self.value(&self.lines[at]).to_value();
        let text = value.as_ref().to_text();
        let rest = match H::FORM {
            Form::List => scan::find_comma(&*text).map_err(|bad| HeaderError::from(bad).of(&name))?,
            Form::Single | Form::Lines | Form::Joined => None,
        };
        match rest {
            Some(comma) => self.lines[at] = Line::made(&name, Value::cleaned(&text[comma + 1..])),
            None => {
                self.lines.remove(at);
            }
        }
        Ok(())
    }

    /// Puts texts behind the value of the first line of this name.
    pub(super) fn append(&mut self, name: &HeaderName, texts: &[&str]) {
        if let Some(at) = self.lines.iter().position(|line| self.is(line, name)) {
            let value = self.value(&self.lines[at]).bytes;
            let more: usize = texts.iter().map(|text| text.len()).sum();
            let mut longer = Vec::with_capacity(value.len() + more);
            longer.extend_from_slice(value);
            let clean = |byte| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { byte };
            longer.extend(texts.iter().flat_map(|text| text.bytes()).map(clean));
            self.lines[at] = Line::made(name, Value::checked(Bytes::from(longer)));
        }
    }

    /// The values of all lines of this name, for whom the name need not outlive.
    pub(super) fn find_all<'a, 'n>(&'a self, name: &'n HeaderName) -> impl Iterator<Item = ValueRef<'a>> + use<'a, 'n> {
        let lines = self.lines.iter().filter(move |line| self.is(line, name));
        lines.map(|line| self.value(line))
    }

    /// Puts another value in the first line of this name.
    pub(super) fn set_first(&mut self, name: &HeaderName, value: Value) {
        if let Some(at) = self.lines.iter().position(|line| self.is(line, name)) {
            self.lines[at] = Line::made(name, value);
        }
    }

    pub(super) fn reading(source: Bytes) -> Self {
        Self {
            source,
            lines: Vec::with_capacity(USUAL_LINES),
        }
    }

    pub(super) fn push_read(&mut self, known: Option<Known>, place: [u32; 5]) {
        let [start, name_end, value_start, value_end, end] = place;
        self.lines.push(Line {
            known,
            stored: Stored::Read {
                start,
                name_end,
                value_start,
                value_end,
                end,
            },
        });
    }

    pub(super) fn push_unfolded(&mut self, known: Option<Known>, name: &[u8], value: Value) {
        let stored = match known {
            Some(_) => Stored::Made(value),
            None => Stored::Named(Box::new((Text::from(&*String::from_utf8_lossy(name)), value))),
        };
        self.lines.push(Line { known, stored });
    }

    /// How many bytes [`write`](Self::write) gives.
    pub(super) fn written_len(&self, body: usize) -> usize {
        let mut length_done = false;
        let mut sum = 0;
        for line in &self.lines {
            if line.known == Some(Known::ContentLength) {
                if length_done {
                    continue;
                }
                length_done = true;
                if !self.states_length(line, body) {
                    sum += length_line(body);
                    continue;
                }
            }
            sum += match &line.stored {
                Stored::Read { start, end, .. } => (end - start) as usize + 2,
                Stored::Made(_) | Stored::Named(_) => self.spelling(line).len() + self.value(line).bytes.len() + 4,
            };
        }
        sum + if length_done { 0 } else { length_line(body) }
    }

    /// Appends all lines with their line ends, and sees to it that there is one `Content-Length` and that it is right.
    pub(super) fn write(&self, body: usize, out: &mut Vec<u8>) {
        let mut length_done = false;
        // Neighbours that were read are written in one go.
        let mut run: Option<(usize, usize)> = None;
        let flush = |run: &mut Option<(usize, usize)>, out: &mut Vec<u8>| {
            if let Some((from, to)) = run.take() {
                out.extend_from_slice(&self.source[from..to]);
                out.extend_from_slice(b"\r\n");
            }
        };
        for line in &self.lines {
            if line.known == Some(Known::ContentLength) {
                if length_done {
                    continue;
                }
                length_done = true;
                if !self.states_length(line, body) {
                    flush(&mut run, out);
                    write_length(body, out);
                    continue;
                }
            }
            match &line.stored {
                Stored::Read { start, end, .. } => {
                    let (start, end) = (*start as usize, *end as usize);
                    match &mut run {
                        Some((_, to)) if *to + 2 == start => *to = end,
                        _ => {
                            flush(&mut run, out);
                            run = Some((start, end));
                        }
                    }
                }
                Stored::Made(_) | Stored::Named(_) => {
                    flush(&mut run, out);
                    out.extend_from_slice(self.spelling(line));
                    out.extend_from_slice(b": ");
                    out.extend_from_slice(self.value(line).bytes);
                    out.extend_from_slice(b"\r\n");
                }
            }
        }
        flush(&mut run, out);
        if !length_done {
            write_length(body, out);
        }
    }

    fn states_length(&self, line: &Line, body: usize) -> bool {
        self.value(line).as_str().ok().and_then(|text| scan::number(text).ok()) == u32::try_from(body).ok()
    }

    #[inline]
    fn is(&self, line: &Line, name: &HeaderName) -> bool {
        match name.known() {
            Some(known) => line.known == Some(known),
            None => self.is_spelt(line, name),
        }
    }

    #[cold]
    fn is_spelt(&self, line: &Line, name: &HeaderName) -> bool {
        line.known.is_none() && self.spelling(line).eq_ignore_ascii_case(name.as_str().as_bytes())
    }

    fn spelling<'a>(&'a self, line: &'a Line) -> &'a [u8] {
        match &line.stored {
            Stored::Read { start, name_end, .. } => &self.source[*start as usize..*name_end as usize],
            Stored::Made(_) => line.known.map(Known::as_str).unwrap_or_default().as_bytes(),
            Stored::Named(named) => named.0.as_bytes(),
        }
    }

    fn value<'a>(&'a self, line: &'a Line) -> ValueRef<'a> {
        match &line.stored {
            Stored::Read {
                value_start, value_end, ..
            } => ValueRef {
                source: &self.source,
                bytes: &self.source[*value_start as usize..*value_end as usize],
            },
            Stored::Made(value) => value.as_ref(),
            Stored::Named(named) => named.1.as_ref(),
        }
    }

    fn remove_behind(&mut self, from: usize, name: &HeaderName) -> usize {
        let before = self.lines.len();
        // Mostly there is none.
        if !self.lines.iter().skip(from).any(|line| self.is(line, name)) {
            return 0;
        }
        let mut at = 0;
        let mut lines = std::mem::take(&mut self.lines);
        lines.retain(|line| {
            at += 1;
            at <= from || !self.is(line, name)
        });
        self.lines = lines;
        before - self.lines.len()
    }
}

/// Equal when they have the same names and values in the same order, whatever the spelling of the names.
impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.lines.len() == other.lines.len()
            && self.lines.iter().zip(&other.lines).all(|(a, b)| {
                a.known == b.known
                    && (a.known.is_some() || self.spelling(a).eq_ignore_ascii_case(other.spelling(b)))
                    && self.value(a) == other.value(b)
            })
    }
}

impl Eq for Headers {}

/// Names only: values hold addresses, nonces and proofs, which belong in no log.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl Line {
    fn made(name: &HeaderName, value: Value) -> Self {
        let known = name.known();
        let stored = match known {
            Some(_) => Stored::Made(value),
            None => Stored::Named(Box::new((Text::from(name.as_str()), value))),
        };
        Self { known, stored }
    }
}

/// A header is not there, or not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderError {
    /// Which one; none where a text was read that belonged to no header.
    pub header: Option<HeaderName>,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It cannot be read; the text tells what it should not have been.
    Malformed(&'static str),
    /// It is not there.
    Missing,
    /// It is there more than once.
    Repeated,
}

impl HeaderError {
    /// A text that cannot be read.
    #[must_use]
    pub const fn malformed(what: &'static str) -> Self {
        Self {
            header: None,
            why: Why::Malformed(what),
        }
    }

    /// The same, with the name of the header in which it was found.
    #[must_use]
    pub fn of(mut self, name: &HeaderName) -> Self {
        self.header = Some(name.clone());
        self
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.header {
            write!(f, "{name}: ")?;
        }
        f.write_str(match self.why {
            Why::Malformed(what) => what,
            Why::Missing => "missing",
            Why::Repeated => "more than once",
        })
    }
}

impl std::error::Error for HeaderError {}

fn value_of<H: TypedHeader>(header: &H) -> Value {
    let mut text = String::with_capacity(USUAL_VALUE);
    header.write(&mut text);
    Value::made(text)
}

fn write_length(body: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(LENGTH);
    out.extend_from_slice(itoa::Buffer::new().format(body).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// How many bytes [`write_length`] gives.
fn length_line(body: usize) -> usize {
    LENGTH.len() + digits::count(body) + 2
}

const LENGTH: &[u8] = b"Content-Length: ";
/// Room for most values.
const USUAL_VALUE: usize = 128;
/// Room for the lines of an ordinary request, so that reading one allocates once for all of them.
const USUAL_LINES: usize = 24;
/// Room for the lines of a request that stand in its answer, and for as many that come to them.
const USUAL_COPIED: usize = 12;
