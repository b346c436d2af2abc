//! Parameters behind a semicolon, of headers and of URIs.

use std::borrow::Cow;
use std::fmt;

use super::cursor::Cursor;
use super::scan::{self, Bad, class};
use super::text::Text;

/// An ordered list of `;name` and `;name=value`. Names compare without regard to case.
///
/// The text is kept as it was read; only [`set`](Self::set) and [`remove`](Self::remove) write it anew.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Params(Text);

impl Params {
    /// No parameters.
    pub const EMPTY: Self = Self(Text::EMPTY);

    /// No parameters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value as it stands, quotes included; `Some(None)` for a parameter without value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Option<&str>> {
        self.iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The value without the quotes around it; none if the parameter is absent or has no value.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        Some(without_quotes(self.get(name)??))
    }

    /// The value without quotes and their escapes.
    #[must_use]
    pub fn unquoted(&self, name: &str) -> Option<Cow<'_, str>> {
        let value = self.get(name)??;
        Some(
            match value.strip_prefix('"').and_then(|inside| inside.strip_suffix('"')) {
                Some(inside) if inside.contains('\\') => Cow::Owned(scan::unescape(inside)),
                Some(inside) => Cow::Borrowed(inside),
                None => Cow::Borrowed(value),
            },
        )
    }

    /// Whether the parameter is there, with or without value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values as they stand.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        pieces(&self.0).filter_map(Result::ok)
    }

    /// Sets a parameter in its place, or behind the others.
    ///
    /// A value that is neither token, address nor quoted string is quoted. A name that is no token sets nothing.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        if is_name(name) {
            let more = name.len() + value.map_or(0, str::len) + 2;
            let mut text = String::with_capacity(self.0.len() + more);
            rewrite(&self.0, &[name], &mut text, |_, name, out| write_one(out, name, value));
            self.0 = Text::from(text);
        }
    }

    /// Removes a parameter, and tells whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        if !self.has(name) {
            return false;
        }
        let mut text = String::with_capacity(self.0.len());
        for (found, value) in self.iter() {
            if !found.eq_ignore_ascii_case(name) {
                write_one(&mut text, found, value);
            }
        }
        self.0 = Text::from(text);
        true
    }

    /// The same with one more; for building.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<&str>) -> Self {
        self.set(name, value);
        self
    }

    /// The text, with its leading semicolon.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For a text that [`check_header`], [`read_header`] or [`read_uri`] has passed.
    pub(super) fn checked(text: Text) -> Self {
        Self(text)
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value without the quotes around it.
pub fn without_quotes(value: &str) -> &str {
    let inside = value.strip_prefix('"').and_then(|inside| inside.strip_suffix('"'));
    inside.unwrap_or(value)
}

/// Appends the text with some of its parameters written anew by `put`, each in its place or behind the others. `put` is given
/// the place of a name in `names` and how it is spelt, and may leave it out.
pub fn rewrite(text: &str, names: &[&str], out: &mut String, mut put: impl FnMut(usize, &str, &mut String)) {
    let mut done = 0_u32;
    for (found, value) in pieces(text).filter_map(Result::ok) {
        match names.iter().position(|name| found.eq_ignore_ascii_case(name)) {
            None => write_one(out, found, value),
            Some(at) => {
                if done & 1 << at == 0 {
                    put(at, found, out);
                }
                done |= 1 << at;
            }
        }
    }
    for (at, name) in names.iter().enumerate() {
        if done & 1 << at == 0 {
            put(at, name, out);
        }
    }
}

/// Checks header parameters: `*(SEMI generic-param)` of RFC 3261 §25.1.
pub fn check_header(text: &str) -> Result<(), Bad> {
    let mut cursor = Cursor::new(text.as_bytes());
    read_header(&mut cursor, |_, _| ())?;
    cursor.end(NO_PARAMETER)
}

/// Reads header parameters as far as there are any, and shows name and value of each to `each`. Gives their text; the
/// blanks around them are read as well.
#[inline]
pub fn read_header<'a>(
    cursor: &mut Cursor<'a>,
    mut each: impl FnMut(&'a [u8], Option<&'a [u8]>),
) -> Result<&'a [u8], Bad> {
    let begin = cursor.rest();
    let mut text = &begin[..0];
    loop {
        cursor.blanks();
        if !cursor.eat(b';') {
            return Ok(text);
        }
        cursor.blanks();
        let name = cursor.run(class::TOKEN);
        if name.is_empty() {
            return Err(Bad("a parameter name that is no token"));
        }
        text = cursor.since(begin);
        cursor.blanks();
        let mut value = None;
        if cursor.eat(b'=') {
            cursor.blanks();
            value = Some(match cursor.peek() {
                Some(b'"') => cursor.quoted()?,
                _ => cursor.run(class::VALUE),
            });
            if value.is_some_and(<[u8]>::is_empty) {
                return Err(Bad("a parameter value with forbidden characters"));
            }
            text = cursor.since(begin);
        }
        each(name, value);
    }
}

/// Checks URI parameters: `uri-parameters` of RFC 3261 §25.1.
pub fn check_uri(text: &str) -> Result<(), Bad> {
    let mut cursor = Cursor::new(text.as_bytes());
    read_uri(&mut cursor)?;
    cursor.end(NO_PARAMETER)
}

/// Reads URI parameters as far as there are any: `uri-parameters` of RFC 3261 §25.1, without blanks and quotes. Gives
/// their text.
#[inline]
pub fn read_uri<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Bad> {
    let begin = cursor.rest();
    while cursor.eat(b';') {
        let sound =
            !cursor.escaped(class::PARAM).is_empty() && (!cursor.eat(b'=') || !cursor.escaped(class::PARAM).is_empty());
        if !sound {
            return Err(Bad("a URI parameter with forbidden characters"));
        }
    }
    Ok(cursor.since(begin))
}

/// Cuts a text that is empty or begins with a semicolon.
fn pieces(text: &str) -> Pieces<'_> {
    Pieces { rest: scan::trim(text) }
}

struct Pieces<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Result<(&'a str, Option<&'a str>), Bad>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(rest) = self.rest.strip_prefix(';') else {
            self.rest = "";
            return Some(Err(Bad(NO_PARAMETER)));
        };
        let mut equals = None;
        let mut at = 0;
        let bytes = rest.as_bytes();
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b';' => break,
                b'=' => {
                    equals.get_or_insert(at);
                    at += 1;
                }
                b'"' => match scan::quoted_end(&rest[at..]) {
                    Ok(length) => at += length,
                    Err(error) => {
                        self.rest = "";
                        return Some(Err(error));
                    }
                },
                _ => at += 1,
            }
        }
        self.rest = &rest[at..];
        Some(Ok(match equals {
            Some(equals) => (scan::trim(&rest[..equals]), Some(scan::trim(&rest[equals + 1..at]))),
            None => (scan::trim(&rest[..at]), None),
        }))
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && scan::all(name, NAME)
}

fn write_one(text: &mut String, name: &str, value: Option<&str>) {
    text.push(';');
    text.push_str(name);
    if let Some(value) = value {
        text.push('=');
        let quoted = value.starts_with('"') && scan::quoted_end(value) == Ok(value.len());
        if quoted || !value.is_empty() && scan::all(value, class::VALUE) {
            text.push_str(value);
        } else {
            scan::quote(value, text);
        }
    }
}

/// `pname` of a URI knows more characters than `token`; both stand in names that we set.
const NAME: u16 = class::TOKEN | class::PARAM;
const NO_PARAMETER: &str = "text where a parameter should begin";

#[cfg(test)]
mod tests {
    use super::*;

    fn params(text: &str) -> Params {
        check_header(text).unwrap();
        Params::checked(Text::from(text))
    }

    #[test]
    fn names_are_case_blind_and_blanks_do_not_count() {
        let p = params(r#"; Tag = 1 ;+sip.instance="<urn:uuid:a\"b;c>";lr ;ttl=1"#);
        assert_eq!(p.value("tag"), Some("1"));
        assert_eq!(p.get("+SIP.instance"), Some(Some(r#""<urn:uuid:a\"b;c>""#)));
        assert_eq!(p.unquoted("+sip.instance").as_deref(), Some(r#"<urn:uuid:a"b;c>"#));
        assert_eq!((p.get("lr"), p.value("lr"), p.has("LR")), (Some(None), None, true));
        assert!(!p.has("t"));
    }

    #[test]
    fn setting_keeps_the_order() {
        let mut p = params(";a=1;b;c=3");
        p.set("B", Some("2"));
        p.set("d", Some("x y\r\n"));
        p.set("no good", Some("1"));
        assert_eq!(p.as_str(), r#";a=1;b=2;c=3;d="x y  ""#);
        assert!(p.remove("A") && !p.remove("A"));
        assert_eq!(p.as_str(), r#";b=2;c=3;d="x y  ""#);
        p.set("d", Some(r#"a"b"#));
        assert_eq!(p.unquoted("d").as_deref(), Some(r#"a"b"#));
    }

    #[test]
    fn what_is_no_parameter_is_refused() {
        let uri = |text: &str| {
            let mut cursor = Cursor::new(text.as_bytes());
            read_uri(&mut cursor).and_then(|_| cursor.end(NO_PARAMETER))
        };
        for text in [
            ";",
            ";;a",
            ";a=",
            ";a=\"",
            ";a=\"b\"c",
            "a=1",
            ";=1",
            ";a b",
            ";a=b c",
            ";a,b",
            ";bran&ch=1",
            ";:tag=1",
            ";[a]",
        ] {
            assert!(check_header(text).is_err(), "{text}");
        }
        for text in [";", ";a;;b", ";a=", ";a b", ";a=\"b\"", ";a=%4", ";a=b=c"] {
            assert!(uri(text).is_err(), "{text}");
        }
        uri(";a=%40;+b=[::1];transport=tcp").unwrap();
    }
}
