//! The lexical rules of RFC 3261 §25.1 that every reader here shares.

use super::headers::HeaderError;

/// What a byte may be part of: one bit for each place.
pub mod class {
    /// `token` of RFC 3261 §25.1.
    pub const TOKEN: u8 = 1;
    /// What a URI's user part holds without escape.
    pub const USER: u8 = 2;
    /// What a URI's password holds without escape.
    pub const PASSWORD: u8 = 4;
    /// What a URI parameter holds without escape.
    pub const PARAM: u8 = 8;
    /// What a URI's header part holds without escape.
    pub const HEADER: u8 = 16;
    /// What a URI of any scheme may hold.
    pub const VISIBLE: u8 = 32;
    /// What a host name holds. The underscore is no part of RFC 3261's host names, but of names that people give to
    /// machines.
    pub const HOST: u8 = 64;
    /// What the value of a header parameter holds without quotes: tokens, addresses, and what real phones write.
    pub const VALUE: u8 = 128;
}

/// Whether the byte may stand in one of the places.
#[inline]
pub fn is(byte: u8, classes: u8) -> bool {
    CLASSES[usize::from(byte)] & classes != 0
}

/// Whether every byte may stand in one of the places.
#[inline]
pub fn all(text: &str, classes: u8) -> bool {
    text.bytes().all(|byte| is(byte, classes))
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
pub fn all_escaped(text: &str, classes: u8, extra: &[u8]) -> bool {
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

/// Cuts at the first `mark`, which is ASCII, and leaves it out.
#[inline]
pub fn cut(text: &str, mark: u8) -> Option<(&str, &str)> {
    let at = memchr::memchr(mark, text.as_bytes())?;
    Some((&text[..at], &text[at + 1..]))
}

/// Cuts before the first `mark`, which is ASCII; without one, everything stands before it.
#[inline]
pub fn cut_before(text: &str, mark: u8) -> (&str, &str) {
    text.split_at(memchr::memchr(mark, text.as_bytes()).unwrap_or(text.len()))
}

/// Where a quoted string that begins at `text` ends, behind its closing mark.
pub fn quoted_end(text: &str) -> Result<usize, HeaderError> {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(hit) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        match bytes[at + hit] {
            b'"' => return Ok(at + hit + 1),
            _ => at += hit + 2,
        }
    }
    Err(HeaderError::malformed("a quoted string that does not end"))
}

/// Finds the first comma outside quoted strings and angle brackets.
pub fn find_comma(text: &str) -> Result<Option<usize>, HeaderError> {
    let bytes = text.as_bytes();
    if memchr::memchr(b',', bytes).is_none() && memchr::memchr2(b'"', b'<', bytes).is_none() {
        return Ok(None);
    }
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b',' => return Ok(Some(at)),
            b'"' => at += quoted_end(&text[at..])?,
            b'<' => {
                let Some(close) = memchr::memchr(b'>', &bytes[at..]) else {
                    return Err(HeaderError::malformed("an angle bracket that is not closed"));
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
            Err(error) => return Some(Err(error)),
        };
        let value = trim(value);
        if value.is_empty() {
            self.rest = None;
            return Some(Err(HeaderError::malformed("an empty value in a list")));
        }
        Some(Ok(value))
    }
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
    for c in plain.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\t' => out.push(c),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A number in digits alone, without sign, that fits.
pub fn number(text: &str) -> Result<u32, HeaderError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(HeaderError::malformed("not a number"));
    }
    text.parse()
        .map_err(|_| HeaderError::malformed("a number out of range"))
}

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "the loop ends at 255")]
        let b = byte as u8;
        let alphanumeric = b.is_ascii_alphanumeric();
        let unreserved = alphanumeric || matches!(b, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')');
        let mut bits = 0;
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
        if unreserved || matches!(b, b'[' | b']' | b'/' | b'?' | b':' | b'+' | b'$') {
            bits |= class::HEADER;
        }
        if b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}') {
            bits |= class::VISIBLE;
        }
        if alphanumeric || matches!(b, b'-' | b'.' | b'_') {
            bits |= class::HOST;
        }
        if bits & class::TOKEN != 0 || bits & class::VISIBLE != 0 && !matches!(b, b',' | b';') {
            bits |= class::VALUE;
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
