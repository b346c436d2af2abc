//! Headers that name somebody: `From`, `To`, `Contact`, `Route` and their kin (RFC 3261 §20.10, §25.1).

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::core::sip::cursor::Cursor;
use crate::core::sip::headers::HeaderError;
use crate::core::sip::name::HeaderName;
use crate::core::sip::params::{self, Params};
use crate::core::sip::scan::{self, Bad, class};
use crate::core::sip::text::Text;
use crate::core::sip::typed::{Form, TypedHeader};
use crate::core::sip::uri::{SipRef, Uri};

/// `"display" <uri>;params`, or a bare URI whose parameters belong to the header.
#[derive(Clone, PartialEq, Eq)]
pub struct NameAddr {
    /// The name without quotes and escapes; none rather than empty.
    pub display: Option<Text>,
    /// Who is meant.
    pub uri: Uri,
    /// `;tag=…`, `;expires=…`, …: those behind the bracket.
    pub params: Params,
}

impl NameAddr {
    /// An address without name and parameters.
    #[must_use]
    pub fn new(uri: Uri) -> Self {
        Self {
            display: None,
            uri,
            params: Params::new(),
        }
    }

    /// The same with a name; an empty one is none.
    #[must_use]
    pub fn with_display(mut self, display: &str) -> Self {
        self.display = (!display.is_empty()).then(|| Text::from(display));
        self
    }

    /// The same with a tag.
    #[must_use]
    pub fn with_tag(mut self, tag: &str) -> Self {
        self.set_tag(tag);
        self
    }

    /// The `tag` parameter: one end of a dialog.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.params.value("tag")
    }

    /// Sets the `tag` parameter.
    pub fn set_tag(&mut self, tag: &str) {
        self.params.set("tag", Some(tag));
    }

    /// Reads the whole text.
    ///
    /// # Errors
    /// What the text should not have been.
    pub fn parse(text: &str) -> Result<Self, HeaderError> {
        let source = Text::from(text);
        let parts = split(source.as_bytes(), |_, _| ())?;
        Ok(Self {
            display: match parts.display {
                Display::None => None,
                Display::Quoted(inside) => Some(source.cut(inside).meant(scan::unquoted)),
                Display::Tokens(plain) => Some(source.cut(plain).meant(scan::legible)),
            },
            uri: Uri::cut(&source, parts.uri)?,
            params: Params::checked(source.cut(parts.params)),
        })
    }

    /// Appends the address, always in brackets.
    pub fn write(&self, out: &mut String) {
        if let Some(display) = &self.display {
            scan::quote(display, out);
            out.push(' ');
        }
        out.push('<');
        self.uri.write_to(out).expect("writing to a String cannot fail");
        out.push('>');
        out.push_str(self.params.as_str());
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(&text)
    }
}

impl fmt::Debug for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Declares headers that each are a [`NameAddr`].
macro_rules! name_addrs {
    ($($(#[doc = $doc:literal])* $name:ident = $constant:ident, $form:ident;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(pub NameAddr);

        impl $name {
            /// An address without name and parameters.
            #[must_use]
            pub fn new(uri: Uri) -> Self {
                Self(NameAddr::new(uri))
            }
        }

        impl TypedHeader for $name {
            const NAME: HeaderName = HeaderName::$constant;
            const FORM: Form = Form::$form;

            fn parse(text: &str) -> Result<Self, HeaderError> {
                NameAddr::parse(text).map(Self)
            }

            fn write(&self, out: &mut String) {
                self.0.write(out);
            }
        }

        impl Deref for $name {
            type Target = NameAddr;

            fn deref(&self) -> &NameAddr {
                &self.0
            }
        }

        impl DerefMut for $name {
            fn deref_mut(&mut self) -> &mut NameAddr {
                &mut self.0
            }
        }

        impl std::convert::From<NameAddr> for $name {
            fn from(address: NameAddr) -> Self {
                Self(address)
            }
        }
    )*};
}

name_addrs! {
    /// Who says to be asking (RFC 3261 §20.20).
    From = FROM, Single;
    /// Who is meant to be asked (RFC 3261 §20.39).
    To = TO, Single;
    /// Where somebody is to be reached directly (RFC 3261 §20.10); see [`ContactList`] for `*`.
    Contact = CONTACT, List;
    /// Where the request must pass (RFC 3261 §20.34).
    Route = ROUTE, List;
    /// Who wants to see the requests to come (RFC 3261 §20.30).
    RecordRoute = RECORD_ROUTE, List;
    /// The way back to a phone behind a proxy (RFC 3327).
    Path = PATH, List;
    /// The way out that a registrar tells (RFC 3608).
    ServiceRoute = SERVICE_ROUTE, List;
    /// Who is asking, as somebody trusted says (RFC 3325 §9.1).
    PAssertedIdentity = P_ASSERTED_IDENTITY, List;
    /// Which identity the asking one would like asserted (RFC 3325 §9.2).
    PPreferredIdentity = P_PREFERRED_IDENTITY, List;
    /// Where to go instead (RFC 3515).
    ReferTo = REFER_TO, Single;
    /// Who says so (RFC 3892).
    ReferredBy = REFERRED_BY, Single;
    /// Who was called before (RFC 5806).
    Diversion = DIVERSION, List;
}

impl Contact {
    /// The `expires` parameter, in seconds. A value that is no number counts as absent (RFC 3261 §10.2.1.1 lets us).
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.params.value("expires").and_then(|text| scan::number(text).ok())
    }

    /// The `q` parameter in thousandths; one that is no `qvalue` counts as absent.
    #[must_use]
    pub fn q(&self) -> Option<u16> {
        let text = self.params.value("q")?;
        let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
        if rest.len() > 3 || !rest.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let thousandths = format!("{rest:0<3}").parse::<u16>().ok()?;
        match (whole, thousandths) {
            ("0", thousandths) => Some(thousandths),
            ("1", 0) => Some(1000),
            _ => None,
        }
    }
}

/// All `Contact` lines of a message: a list, or the `*` of a REGISTER that removes every binding (RFC 3261 §10.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContactList {
    /// `*`
    Star,
    /// The contacts in their order.
    List(Vec<Contact>),
}

impl TypedHeader for ContactList {
    const NAME: HeaderName = HeaderName::CONTACT;
    const FORM: Form = Form::Joined;

    fn parse(text: &str) -> Result<Self, HeaderError> {
        if text == "*" {
            return Ok(Self::Star);
        }
        scan::commas(text)
            .map(|value| Contact::parse(value?))
            .collect::<Result<_, _>>()
            .map(Self::List)
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Star => out.push('*'),
            Self::List(list) => {
                for (at, contact) in list.iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    contact.write(out);
                }
            }
        }
    }
}

/// Whether a text names somebody, with at most one tag, without making anything.
pub fn check(text: &[u8]) -> Result<(), Bad> {
    let mut tags = 0;
    let parts = split(text, |name, _| tags += usize::from(name.eq_ignore_ascii_case(b"tag")))?;
    if tags > 1 {
        return Err(Bad("a tag that stands twice"));
    }
    Uri::check(parts.uri)
}

/// The tag of a text that names somebody, without making anything else.
pub fn tag(text: &[u8]) -> Result<Option<&str>, Bad> {
    let mut tag = None;
    split(text, |name, value| {
        if tag.is_none() && name.eq_ignore_ascii_case(b"tag") {
            tag = Some(value);
        }
    })?;
    let tag = tag.flatten().map(std::str::from_utf8).transpose();
    Ok(tag
        .map_err(|_| Bad("a tag that is no token"))?
        .map(params::without_quotes))
}

/// The SIP URI of a text that names somebody; none if it is another URI.
pub fn sip(text: &[u8]) -> Result<Option<SipRef<'_>>, Bad> {
    SipRef::read(split(text, |_, _| ())?.uri)
}

/// Whether a `Contact` line can be read, without making anything.
pub fn check_contacts(text: &[u8]) -> Result<(), Bad> {
    if text == b"*" {
        return Ok(());
    }
    let mut cursor = Cursor::new(text);
    loop {
        let mut expires = None;
        cursor.blanks();
        let parts = read(&mut cursor, Commas::End, |name, value| {
            if expires.is_none() && name.eq_ignore_ascii_case(b"expires") {
                expires = Some(value);
            }
        })?;
        Uri::check(parts.uri)?;
        // RFC 4475 §3.1.2.4: a number that does not fit must not become another one somewhere else.
        if let Some(Some(seconds)) = expires {
            scan::number(seconds)?;
        }
        if !cursor.eat(b',') {
            return cursor.end(NO_PARAMETER);
        }
    }
}

/// The URI of the only address in a list, as it stands. None if there are several, or something that cannot be read.
#[must_use]
pub fn only_uri(list: &str) -> Option<&str> {
    let mut cursor = Cursor::new(list.as_bytes());
    let parts = read(&mut cursor, Commas::End, |_, _| ()).ok()?;
    cursor.end(NO_PARAMETER).ok()?;
    Uri::check(parts.uri).ok()?;
    std::str::from_utf8(parts.uri).ok()
}

struct Parts<'a> {
    display: Display<'a>,
    uri: &'a [u8],
    params: &'a [u8],
}

enum Display<'a> {
    None,
    Quoted(&'a [u8]),
    Tokens(&'a [u8]),
}

/// What a comma outside quotes and brackets means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Commas {
    /// The end of the value.
    End,
    /// A fault.
    Fault,
}

/// Cuts the whole text, and shows its parameters to `each`.
#[inline]
fn split<'a>(text: &'a [u8], each: impl FnMut(&'a [u8], Option<&'a [u8]>)) -> Result<Parts<'a>, Bad> {
    let mut cursor = Cursor::new(text);
    let parts = read(&mut cursor, Commas::Fault, each)?;
    cursor.end(NO_PARAMETER)?;
    Ok(parts)
}

/// Cuts one value, and shows its parameters to `each`.
#[inline]
fn read<'a>(
    cursor: &mut Cursor<'a>,
    commas: Commas,
    each: impl FnMut(&'a [u8], Option<&'a [u8]>),
) -> Result<Parts<'a>, Bad> {
    let begin = cursor.rest();
    let display = if cursor.peek() == Some(b'"') {
        let quoted = cursor.quoted()?;
        cursor.blanks();
        if cursor.peek() != Some(b'<') {
            return Err(Bad("a name without address"));
        }
        Display::Quoted(&quoted[1..quoted.len() - 1])
    } else {
        Display::Tokens(scan::trim_bytes(cursor.run(class::DISPLAY)))
    };
    if cursor.eat(b'<') {
        let uri = cursor.until(b'>').ok_or(Bad("an angle bracket that is not closed"))?;
        let params = params::read_header(cursor, each)?;
        let display = match display {
            Display::Quoted(b"") | Display::Tokens(b"") => Display::None,
            display => display,
        };
        return Ok(Parts { display, uri, params });
    }
    // What looked like a name was the beginning of a URI.
    *cursor = Cursor::new(begin);
    let length = match commas {
        Commas::End => scan::find_comma(begin)?.unwrap_or(begin.len()),
        Commas::Fault => begin.len(),
    };
    read_bare(cursor.take(length), each)
}

/// Cuts a value without brackets: the parameters behind the URI belong to the header.
#[cold]
fn read_bare<'a>(text: &'a [u8], each: impl FnMut(&'a [u8], Option<&'a [u8]>)) -> Result<Parts<'a>, Bad> {
    let mut cursor = Cursor::new(text);
    let end = memchr::memchr(b';', text).unwrap_or(text.len());
    let uri = scan::trim_bytes(cursor.take(end));
    if memchr::memchr(b'<', uri).is_some() {
        return Err(Bad("a name that needs quotes"));
    }
    // RFC 3261 §20: a URI with a comma, question mark or semicolon must stand in brackets.
    if memchr::memchr2(b'?', b',', uri).is_some() {
        return Err(Bad("a URI that needs brackets"));
    }
    let params = params::read_header(&mut cursor, each)?;
    cursor.end(NO_PARAMETER)?;
    Ok(Parts {
        display: Display::None,
        uri,
        params,
    })
}

const NO_PARAMETER: &str = "text where a parameter should begin";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> NameAddr {
        NameAddr::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// A quoted parameter may hold anything, brackets too (RFC 3261 §25.1, `contact-param`).
    #[test]
    fn a_bare_address_may_have_a_quoted_parameter() {
        let read = read("sip:a@b;+sip.instance=\"<urn:uuid:1>\";reg-id=1");
        assert_eq!(read.uri.to_string(), "sip:a@b");
        assert_eq!(read.params.value("+sip.instance"), Some("<urn:uuid:1>"));
        assert!(NameAddr::parse("Bob;x <sip:a@b>").is_err() && NameAddr::parse("Bob;x=\"<\" <sip:a@b>").is_err());
    }

    #[test]
    fn parameters_belong_where_they_stand() {
        let bare = read("sip:alice@example.com;tag=1");
        assert_eq!(
            (bare.tag(), bare.uri.to_string().as_str()),
            (Some("1"), "sip:alice@example.com")
        );
        let inside = read("<sip:alice@example.com;tag=1>");
        assert_eq!(
            (inside.tag(), inside.uri.to_string().as_str()),
            (None, "sip:alice@example.com;tag=1")
        );
    }

    /// RFC 3261 §7.3.1: else one would take the first for the tag, and somebody else the last.
    #[test]
    fn a_tag_stands_once() {
        for text in ["<sip:a@b>;tag=1;tag=2", "sip:a@b;tag=1;x;TAG=1", "<sip:a@b>;tag;tag=2"] {
            assert!(check(text.as_bytes()).is_err(), "{text}");
        }
        for text in [
            "<sip:a@b;tag=1>;tag=1",
            "<sip:a@b>;tag=1;tags=2;x=\";tag=3\"",
            "<sip:a@b>;tag=1",
        ] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
    }

    #[test]
    fn names_lose_their_quotes_and_get_them_back() {
        for (text, name, again) in [
            (
                r#""A. \"B\" \\C" <sip:x@y>"#,
                Some(r#"A. "B" \C"#),
                r#""A. \"B\" \\C" <sip:x@y>"#,
            ),
            (
                "Alice  Smith\t<sip:x@y>",
                Some("Alice  Smith"),
                r#""Alice  Smith" <sip:x@y>"#,
            ),
            ("Müller <sip:x@y>;tag=1", Some("Müller"), "\"Müller\" <sip:x@y>;tag=1"),
            ("\"\" <sip:x@y>", None, "<sip:x@y>"),
            // Control characters become spaces at once, not only when they are written.
            ("\"a\u{7f}\\\u{1}b\" <sip:x@y>", Some("a  b"), "\"a  b\" <sip:x@y>"),
            ("a\u{85}b <sip:x@y>", Some("a b"), "\"a b\" <sip:x@y>"),
            ("<tel:+1>", None, "<tel:+1>"),
            ("\"<sip:a@b>\"<sip:x@y>", Some("<sip:a@b>"), "\"<sip:a@b>\" <sip:x@y>"),
        ] {
            let address = read(text);
            assert_eq!(
                (address.display.as_deref(), address.to_string().as_str()),
                (name, again),
                "{text}"
            );
        }
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for text in [
            "",
            "\"Mr. J. User <sip:j.user@example.com>",
            "<sip:x@y",
            "sip:x@y?Route=%3Csip:z%3E",
            "Bell, A <sip:x@y>",
            "\"a\" sip:x@y",
            "< sip:x@y>",
            "<sip:x@y >",
            "<sip:x@y> tag=1",
            "<sip:x@y>;tag=",
            "a@b <sip:x@y>",
            "alice",
            "<>",
        ] {
            assert!(
                NameAddr::parse(text).is_err() && check(text.as_bytes()).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn the_only_address_of_a_list_is_found() {
        let rows = [
            ("<sip:a@b;x=y>;q=0.5", Some("sip:a@b;x=y")),
            ("\"A, B\" <sip:a@b>;x=\",\"", Some("sip:a@b")),
            ("sip:a@b;expires=1", Some("sip:a@b")),
            ("<sip:a@b>, <sip:c@d>", None),
            ("<sip:a@b>,", None),
            ("*", None),
            ("<a@b>", None),
            ("", None),
        ];
        for (list, uri) in rows {
            assert_eq!(only_uri(list), uri, "{list}");
        }
    }

    #[test]
    fn a_made_address_cannot_break_its_line() {
        let made = NameAddr::new("sip:x@y".parse().unwrap())
            .with_display("a\"\r\nVia: b\\")
            .with_tag("t;x=\r\n1");
        let text = made.to_string();
        assert!(!text.contains(['\r', '\n']), "{text}");
        let again = read(&text);
        assert_eq!(
            (again.display.as_deref(), again.params.has("x")),
            (Some("a\"  Via: b\\"), false)
        );
    }

    #[test]
    fn contacts_have_weights_and_times() {
        let list =
            ContactList::parse("<sip:a@b>;q=0.7;expires=60, sip:c@d;q=1.000;expires=x, <sip:e@f>;q=1.1").unwrap();
        let ContactList::List(list) = list else { unreachable!() };
        let seen: Vec<_> = list.iter().map(|c| (c.q(), c.expires())).collect();
        assert_eq!(seen, [(Some(700), Some(60)), (Some(1000), None), (None, None)]);
        assert_eq!(ContactList::parse("*").unwrap(), ContactList::Star);
        assert!(ContactList::parse("*, <sip:a@b>").is_err());
        check_contacts(br#""A, <B>" <sip:a@b> , "C" <sip:c@d>;x="y,<z>",sip:e@f;expires=1 , <sip:g@h>"#).unwrap();
        for text in [
            "<sip:a@b>;expires=4294967296",
            "<sip:a@b>,",
            ",<sip:a@b>",
            "<sip:a@b>,,sip:c@d",
            "sip:a@b, *",
            "sip:a@b <sip:c@d>, sip:e@f",
            "sip:a@b sip:c@d",
        ] {
            assert!(check_contacts(text.as_bytes()).is_err(), "{text}");
        }
    }
}
