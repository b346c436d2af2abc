//! The lexical rules of RFC 3261 §25.1 that every reader here shares.

use std::borrow::Cow;

use super::headers::HeaderError;

/// What a byte may be part of: one bit for each place.
pub mod class {
    /// `token` of RFC 3261 §25.1.
    pub const TOKEN: u16 = 1;
    /// What a URI's user part holds without escape.
    pub const USER: u16 = 2;
    /// What a URI's password holds without escape.
    pub const PASSWORD: u16 = 4;
    /// What a URI parameter holds without escape.
    pub const PARAM: u16 = 8;
    /// What a URI's header part holds without escape, the marks between its headers included.
    pub const HEADER: u16 = 16;
    /// What a URI of any scheme may hold.
    pub const VISIBLE: u16 = 32;
    /// What a host name holds between its dots. The underscore is no part of RFC 3261's host names, but of names that people give to
    /// machines.
    pub const LABEL: u16 = 64;
    /// What the value of a header parameter holds without quotes: tokens, addresses, and what real phones write.
    pub const VALUE: u16 = 128;
    /// What a name before an address holds without quotes: tokens and blanks, and other letters than ASCII's, which are
    /// common and harmless.
    pub const DISPLAY: u16 = 256;
    /// What a word holds, read generously: anything but blanks and control characters.
    pub const WORD: u16 = 512;
}

/// What a text should not have been. The readers below pass it on at the price of a pointer; it becomes a
/// [`HeaderError`] where it leaves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad(pub &'static str);

impl From<Bad> for HeaderError {
    fn from(Bad(what): Bad) -> Self {
        Self::malformed(what)
    }
}

/// Whether the byte may stand in one of the places.
#[inline]
pub fn is(byte: u8, classes: u16) -> bool {
    CLASSES[usize::from(byte)] & classes != 0
}

/// Whether every byte may stand in one of the places.
#[inline]
pub fn all(text: impl AsRef<[u8]>, classes: u16) -> bool {
    text.as_ref().iter().all(|&byte| is(byte, classes))
}

/// How many bytes from the beginning on may stand in one of the places.
#[inline]
pub fn run(text: &[u8], classes: u16) -> usize {
    text.iter().position(|&byte| !is(byte, classes)).unwrap_or(text.len())
}

/// `token` of RFC 3261 §25.1.
#[inline]
pub fn is_token(byte: u8) -> bool {
    is(byte, class::TOKEN)
}

/// Whether the whole text is one token.
pub fn all_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token(byte))
}

/// Whether every byte may stand in one of the places, is one of `extra`, or belongs to an escape.
#[inline]
pub fn all_escaped(text: &str, classes: u16, extra: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if is(byte, classes) || extra.contains(&byte) {
            at += 1;
        } else if byte == b'%'
            && matches!(bytes.get(at + 1..at + 3), Some(pair) if pair.iter().all(u8::is_ascii_hexdigit))
        {
            at += 3;
        } else {
            return false;
        }
    }
    true
}

/// The text with a mark in the place of what is no UTF-8.
pub fn to_text(bytes: &[u8]) -> Cow<'_, str> {
    // Nearly all is UTF-8, and to see that takes a fraction of the time that to look for marks takes.
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// White space that a header value may hold once folding is gone.
pub fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// Without blanks at both ends.
#[inline]
pub fn trim(text: &str) -> &str {
    let bytes = text.as_bytes();
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) if blank(first) || blank(last) => text.trim_matches(is_blank),
        _ => text,
    }
}

/// Without blanks at both ends.
#[inline]
pub fn trim_bytes(bytes: &[u8]) -> &[u8] {
    trim_start(trim_end(bytes))
}

/// Without blanks at the beginning.
#[inline]
pub fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// Without blanks at the end.
#[inline]
pub fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Where the first colon stands.
#[inline]
pub fn find_colon(line: &[u8]) -> Option<usize> {
    let colons = |word: u64| {
        let zeros = word ^ (LOW * u64::from(b':'));
        zeros.wrapping_sub(LOW) & !zeros & HIGH
    };
    find_marked(line, colons, |byte| byte == b':')
}

/// Where the first CR, LF or NUL stands.
#[inline]
pub fn find_line_end(text: &[u8]) -> Option<usize> {
    // Of the characters below this bound only the tab is common; whoever meets another one looks again behind it.
    let small = |word: u64| word.wrapping_sub(LOW * 14) & !word & HIGH;
    let mut from = 0;
    loop {
        let hit = from + find_marked(&text[from..], small, |byte| byte < 14)?;
        if matches!(text[hit], b'\r' | b'\n' | 0) {
            return Some(hit);
        }
        from = hit + 1;
    }
}

/// Where the first byte stands that is wanted. Names and lines are so short that calling `memchr` for each costs more
/// than looking at eight bytes at a time here: `marks` sets the high bit of each byte that is wanted, and of no byte
/// before the first of them.
#[inline]
fn find_marked(text: &[u8], marks: impl Fn(u64) -> u64, wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut rest = text;
    while let Some((eight, behind)) = rest.split_first_chunk() {
        let marked = marks(u64::from_le_bytes(*eight));
        if marked != 0 {
            return Some(text.len() - rest.len() + marked.trailing_zeros() as usize / 8);
        }
        rest = behind;
    }
    let at = rest.iter().position(|&byte| wanted(byte))?;
    Some(text.len() - rest.len() + at)
}

/// The lowest bit of each of eight bytes, and the highest.
const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// Where a quoted string that begins at `text` ends, behind its closing mark.
pub fn quoted_end(text: impl AsRef<[u8]>) -> Result<usize, Bad> {
    let bytes = text.as_ref();
    let mut at = 1;
    while let Some(hit) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        match bytes[at + hit] {
            b'"' => return Ok(at + hit + 1),
            _ => at += hit + 2,
        }
    }
    Err(Bad("a quoted string that does not end"))
}

/// Finds the first comma outside quoted strings and angle brackets.
pub fn find_comma(text: impl AsRef<[u8]>) -> Result<Option<usize>, Bad> {
    let bytes = text.as_ref();
    if memchr::memchr(b',', bytes).is_none() && memchr::memchr2(b'"', b'<', bytes).is_none() {
        return Ok(None);
    }
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b',' => return Ok(Some(at)),
            b'"' => at += quoted_end(&bytes[at..])?,
            b'<' => {
                let Some(close) = memchr::memchr(b'>', &bytes[at..]) else {
                    return Err(Bad("an angle bracket that is not closed"));
                };
                at += close + 1;
            }
            _ => at += 1,
        }
    }
    Ok(None)
}

/// Cuts a comma list (RFC 3261 §7.3.1) into its values, trimmed. Empty values are faults.
pub fn commas(text: &str) -> Commas<'_> {
    Commas { rest: Some(text) }
}

/// See [`commas`].
pub struct Commas<'a> {
    rest: Option<&'a str>,
}

impl<'a> Iterator for Commas<'a> {
    type Item = Result<&'a str, HeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let value = match find_comma(rest) {
            Ok(Some(at)) => {
                self.rest = Some(&rest[at + 1..]);
                &rest[..at]
            }
            Ok(None) => rest,
            Err(bad) => return Some(Err(bad.into())),
        };
        let value = trim(value);
        if value.is_empty() {
            self.rest = None;
            return Some(Err(HeaderError::malformed("an empty value in a list")));
        }
        Some(Ok(value))
    }
}

/// What a quoted string means, of its inside: without escapes, and legible.
pub fn unquoted(inside: &str) -> Cow<'_, str> {
    if inside.contains('\\') {
        Cow::Owned(legible(&unescape(inside)).into_owned())
    } else {
        legible(inside)
    }
}

/// The text with a space for each control character, as [`quote`] writes it: what is passed on is what was read.
pub fn legible(text: &str) -> Cow<'_, str> {
    if text.contains(is_illegible) {
        Cow::Owned(text.replace(is_illegible, " "))
    } else {
        Cow::Borrowed(text)
    }
}

fn is_illegible(c: char) -> bool {
    c.is_control() && c != '\t'
}

/// Undoes the escapes of a quoted string's inside.
pub fn unescape(inside: &str) -> String {
    let mut plain = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    plain
}

/// Appends `plain` as a quoted string. What no quoted string can hold becomes a space.
pub fn quote(plain: &str, out: &mut String) {
    out.push('"');
    let simple = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if plain.bytes().all(simple) {
        out.push_str(plain);
        out.push('"');
        return;
    }
    for c in plain.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if is_illegible(c) => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A number in digits alone, without sign, that fits.
#[inline]
pub fn number(text: impl AsRef<[u8]>) -> Result<u32, Bad> {
    let digits = text.as_ref();
    let mut number = 0_u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return Err(Bad("not a number"));
        }
        number = number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    }
    if digits.is_empty() {
        return Err(Bad("not a number"));
    }
    u32::try_from(number).map_err(|_| Bad("a number out of range"))
}

static CLASSES: [u16; 256] = classes();

const fn classes() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "the loop ends at 255")]
        let b = byte as u8;
        let alphanumeric = b.is_ascii_alphanumeric();
        let unreserved = alphanumeric || matches!(b, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')');
        let mut bits = 0_u16;
        if alphanumeric || matches!(b, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~') {
            bits |= class::TOKEN;
        }
        // `#` and the rest of RFC 3261's unwise characters stay out; phones escape them.
        if unreserved || matches!(b, b'&' | b'=' | b'+' | b'$' | b',' | b';' | b'?' | b'/') {
            bits |= class::USER;
        }
        if unreserved || matches!(b, b'&' | b'=' | b'+' | b'$' | b',') {
            bits |= class::PASSWORD;
        }
        if unreserved || matches!(b, b'[' | b']' | b'/' | b':' | b'&' | b'+' | b'$') {
            bits |= class::PARAM;
        }
        if unreserved || matches!(b, b'[' | b']' | b'/' | b'?' | b':' | b'+' | b'$' | b'&' | b'=') {
            bits |= class::HEADER;
        }
        if b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}') {
            bits |= class::VISIBLE;
        }
        if alphanumeric || matches!(b, b'-' | b'_') {
            bits |= class::LABEL;
        }
        if bits & class::TOKEN != 0 || bits & class::VISIBLE != 0 && !matches!(b, b',' | b';') {
            bits |= class::VALUE;
        }
        if bits & class::TOKEN != 0 || !b.is_ascii() || matches!(b, b' ' | b'\t') {
            bits |= class::DISPLAY;
        }
        if b.is_ascii_graphic() {
            bits |= class::WORD;
        }
        table[byte] = bits;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_cut_outside_quotes_and_brackets() {
        let cut = |text| commas(text).collect::<Result<Vec<_>, _>>();
        assert_eq!(
            cut(r#""a,\"b" <sip:x,y@z>;p="c,d" , e"#).unwrap(),
            [r#""a,\"b" <sip:x,y@z>;p="c,d""#, "e"]
        );
        for text in ["", "a,", ",a", "a,,b", "\"a", "<a", "\"a\\"] {
            assert!(cut(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quoting_and_its_undoing_meet() {
        for plain in ["", "Alice", r#"a "b" \c"#, "日本\tä"] {
            let mut quoted = String::new();
            quote(plain, &mut quoted);
            assert_eq!(quoted_end(&quoted).unwrap(), quoted.len(), "{plain}");
            assert_eq!(unescape(&quoted[1..quoted.len() - 1]), plain);
        }
        let mut quoted = String::new();
        quote("a\r\nb\0c\u{7f}", &mut quoted);
        assert_eq!(quoted, "\"a  b c \"");
        for (inside, plain) in [("a\u{7f}b\tc", "a b\tc"), ("\\\u{1}\\\"\u{85}", " \" "), ("a", "a")] {
            assert_eq!(unquoted(inside), plain, "{inside:?}");
        }
    }

    #[test]
    fn the_first_colon_is_found_wherever_it_stands() {
        let others: Vec<u8> = (0..=255).filter(|&byte| byte != b':').collect();
        for line in others.windows(20) {
            assert_eq!(find_colon(line), None);
            for at in 0..line.len() {
                let mut line = line.to_vec();
                line[at] = b':';
                line[19] = b':';
                assert_eq!(find_colon(&line), Some(at), "{line:?}");
            }
        }
        assert_eq!((find_colon(b""), find_colon(b":")), (None, Some(0)));
    }

    #[test]
    fn a_line_end_is_found_wherever_it_stands() {
        let others: Vec<u8> = (0..=255).filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)).collect();
        for text in others.windows(20) {
            assert_eq!(find_line_end(text), None);
            for end in [b'\r', b'\n', 0] {
                for at in 0..text.len() {
                    let mut text = text.to_vec();
                    text[at] = end;
                    text[19] = b'\n';
                    assert_eq!(find_line_end(&text), Some(at), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn numbers_do_not_wrap() {
        assert_eq!(number("4294967295").unwrap(), u32::MAX);
        for text in [
            "",
            "+1",
            "-1",
            " 1",
            "1 ",
            "4294967296",
            "99999999999999999999",
            "1a",
            "٣",
        ] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
