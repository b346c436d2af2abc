//! URIs (RFC 3261 §19.1, RFC 3966).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::cursor::Cursor;
use super::digits;
use super::headers::HeaderError;
use super::host::{self, Host, HostPart};
use super::params::{self, Params};
use super::scan::{self, Bad, class};
use super::text::Text;

/// Who or what is meant. Schemes that we do not know are kept as they are; whether one will do is decided above.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Uri {
    /// `sip:` and `sips:`
    Sip(SipUri),
    /// `tel:`
    Tel(TelUri),
    /// Any other scheme: `urn:`, `mailto:`, …
    Other(OtherUri),
}

/// `sip:user:password@host:port;params?headers`, where the user part and the rest keep their escapes.
///
/// Writing it escapes what may not stand where it is, so no field can break out of the URI.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SipUri {
    /// `sips:`
    pub secure: bool,
    /// As it stands, with its escapes; see [`user_decoded`](Self::user_decoded).
    pub user: Option<Text>,
    /// As it stands. Nobody should send one.
    pub password: Option<Text>,
    /// The domain or machine.
    pub host: Host,
    /// None where the URI names none, which is not the same as the default port (RFC 3261 §19.1.4).
    pub port: Option<u16>,
    /// `;transport=tcp`, …
    pub params: Params,
    /// What stands behind the question mark: headers for a request that somebody may make of this URI.
    pub headers: Option<Text>,
}

/// `tel:` with a global or local number (RFC 3966).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TelUri {
    /// The number as it stands, visual separators included.
    pub number: Text,
    /// `;phone-context=…`, `;ext=…`, …
    pub params: Params,
}

/// A URI of a scheme that we do not read.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OtherUri(Text);

impl Uri {
    /// The scheme as it stands for unknown ones, in lower case for known ones.
    #[must_use]
    pub fn scheme(&self) -> &str {
        match self {
            Self::Sip(uri) if uri.secure => "sips",
            Self::Sip(_) => "sip",
            Self::Tel(_) => "tel",
            Self::Other(other) => other.scheme(),
        }
    }

    /// The SIP or SIPS URI, if it is one.
    #[must_use]
    pub fn as_sip(&self) -> Option<&SipUri> {
        match self {
            Self::Sip(uri) => Some(uri),
            Self::Tel(_) | Self::Other(_) => None,
        }
    }

    /// Whether this is how the URI is written.
    #[must_use]
    pub fn is_written(&self, text: &str) -> bool {
        let mut rest = Rest(text);
        self.write_to(&mut rest).is_ok() && rest.0.is_empty()
    }

    /// How many bytes a stranger may have written here, but for the host, which is short: what comparing it costs.
    #[must_use]
    pub fn size(&self) -> usize {
        let of = |part: &Option<Text>| part.as_ref().map_or(0, |part| part.len());
        match self {
            Self::Sip(uri) => of(&uri.user) + of(&uri.password) + uri.params.as_str().len() + of(&uri.headers),
            Self::Tel(uri) => uri.number.len() + uri.params.as_str().len(),
            Self::Other(OtherUri(text)) => text.len(),
        }
    }

    /// Whether both mean the same (RFC 3261 §19.1.4 for SIP, RFC 3966 §4 for numbers; other schemes by their text).
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sip(a), Self::Sip(b)) => a.same_as(b),
            (Self::Tel(a), Self::Tel(b)) => a.same_as(b),
            (Self::Other(a), Self::Other(b)) => a == b,
            _ => false,
        }
    }

    /// Reads a whole text; `source` shares its bytes with the parts.
    fn of(source: &Text) -> Result<Self, Bad> {
        Ok(match split(source.as_bytes())? {
            Parts::Sip(parts) => Self::Sip(SipUri {
                secure: parts.secure,
                user: parts.user.map(|user| source.cut(user)),
                password: parts.password.map(|password| source.cut(password)),
                host: Host::of(parts.host, source),
                port: parts.port,
                params: Params::checked(source.cut(parts.params)),
                headers: parts.headers.map(|headers| source.cut(headers)),
            }),
            Parts::Tel { number, params } => Self::Tel(TelUri {
                number: source.cut(number),
                params: Params::checked(source.cut(params)),
            }),
            Parts::Other => Self::Other(OtherUri(source.clone())),
        })
    }

    /// Reads a part of a text that its siblings share.
    pub(super) fn cut(source: &Text, part: &[u8]) -> Result<Self, Bad> {
        Self::of(&source.cut(part))
    }

    /// Whether the text is a URI, without making one.
    pub(super) fn check(text: &[u8]) -> Result<(), Bad> {
        split(text).map(|_| ())
    }

    pub(super) fn write_to<W: fmt::Write>(&self, out: &mut W) -> fmt::Result {
        match self {
            Self::Sip(uri) => uri.write_to(out),
            Self::Tel(uri) => uri.write_to(out),
            Self::Other(OtherUri(text)) => write_escaped(out, text, class::VISIBLE, &[]),
        }
    }
}

impl SipUri {
    /// `sip:user@host`, with the user part escaped where it must be. An empty user gives `sip:host`.
    #[must_use]
    pub fn new(user: &str, host: Host) -> Self {
        let user = (!user.is_empty()).then(|| {
            let mut text = String::with_capacity(user.len());
            for byte in user.bytes() {
                if scan::is(byte, class::USER) {
                    text.push(byte.into());
                } else {
                    push_escape(&mut text, byte).expect("writing to a String cannot fail");
                }
            }
            Text::from(text)
        });
        Self {
            secure: false,
            user,
            password: None,
            host,
            port: None,
            params: Params::new(),
            headers: None,
        }
    }

    /// The user part without escapes; none if there is no user or its bytes are no UTF-8.
    #[must_use]
    pub fn user_decoded(&self) -> Option<Cow<'_, str>> {
        let user = self.user.as_ref()?.as_str();
        if !user.contains('%') {
            return Some(Cow::Borrowed(user));
        }
        String::from_utf8(decode(user).map(|(byte, _)| byte).collect())
            .ok()
            .map(Cow::Owned)
    }

    /// A header that a request to this URI is asked to have (§19.1.1), without escapes; none if it is not there, or no text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let pairs = self.headers.as_deref().unwrap_or_default().split('&');
        let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        String::from_utf8(decode(value).map(|(byte, _)| byte).collect()).ok()
    }

    /// The `transport` parameter.
    #[must_use]
    pub fn transport(&self) -> Option<&str> {
        self.params.value("transport")
    }

    /// Equality of RFC 3261 §19.1.4: parameters in any order, escapes that need not be, defaults that are not assumed.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let same_part = |a: &Option<Text>, b: &Option<Text>| match (a, b) {
            (Some(a), Some(b)) => decode(a).eq(decode(b)),
            (None, None) => true,
            _ => false,
        };
        self.secure == other.secure
            && self.host == other.host
            && self.port == other.port
            && same_part(&self.user, &other.user)
            && same_part(&self.password, &other.password)
            && same_params(&self.params, &other.params, |name| {
                ["user", "ttl", "method", "maddr", "transport"].contains(&name)
            })
            && same_headers(self.headers.as_deref(), other.headers.as_deref())
    }

    fn write_to<W: fmt::Write>(&self, out: &mut W) -> fmt::Result {
        out.write_str(if self.secure { "sips:" } else { "sip:" })?;
        if let Some(user) = &self.user {
            write_escaped(out, user, class::USER, &[])?;
            if let Some(password) = &self.password {
                out.write_char(':')?;
                write_escaped(out, password, class::PASSWORD, &[])?;
            }
            out.write_char('@')?;
        }
        match &self.host {
            Host::Name(name) => write_escaped(out, name, class::VISIBLE, &[])?,
            host => host.write_to(out)?,
        }
        if let Some(port) = self.port {
            out.write_char(':')?;
            digits::write(out, port)?;
        }
        write_params(out, &self.params)?;
        if let Some(headers) = &self.headers {
            out.write_char('?')?;
            write_escaped(out, headers, class::HEADER, &[])?;
        }
        Ok(())
    }
}

impl TelUri {
    /// Makes one of a number in the characters of RFC 3966 §3.
    ///
    /// # Errors
    /// The text holds other characters, or none.
    pub fn new(number: &str) -> Result<Self, HeaderError> {
        if !is_number(number.as_bytes()) {
            return Err(HeaderError::malformed("not a telephone number"));
        }
        Ok(Self {
            number: Text::from(number),
            params: Params::new(),
        })
    }

    /// Visual separators and the order of parameters do not count (RFC 3966 §4).
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let digits = |text: &Text| {
            text.bytes()
                .filter(|b| !matches!(b, b'-' | b'.' | b'(' | b')'))
                .map(|b| b.to_ascii_lowercase())
                .collect::<Vec<_>>()
        };
        digits(&self.number) == digits(&other.number) && same_params(&self.params, &other.params, |_| true)
    }

    fn write_to<W: fmt::Write>(&self, out: &mut W) -> fmt::Result {
        out.write_str("tel:")?;
        write_escaped(out, &self.number, class::VISIBLE, &[])?;
        write_params(out, &self.params)
    }
}

impl OtherUri {
    /// What stands before the first colon.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// The whole URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Uri {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        Ok(Self::of(&Text::from(text))?)
    }
}

impl FromStr for SipUri {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        match text.parse()? {
            Uri::Sip(uri) => Ok(uri),
            Uri::Tel(_) | Uri::Other(_) => Err(HeaderError::malformed("not a SIP URI")),
        }
    }
}

impl From<SipUri> for Uri {
    fn from(uri: SipUri) -> Self {
        Self::Sip(uri)
    }
}

impl From<TelUri> for Uri {
    fn from(uri: TelUri) -> Self {
        Self::Tel(uri)
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

impl fmt::Display for TelUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for TelUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for OtherUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is left of a text that is compared with what is written.
struct Rest<'a>(&'a str);

impl fmt::Write for Rest<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// Whom a SIP URI names, where it lies in its message: to compare it costs no memory.
#[derive(Clone, Copy, Debug)]
pub struct SipRef<'a> {
    user: Option<&'a [u8]>,
    host: HostPart<'a>,
    port: Option<u16>,
}

impl<'a> SipRef<'a> {
    /// Reads it; none for a URI of another scheme.
    pub(super) fn read(text: &'a [u8]) -> Result<Option<Self>, Bad> {
        Ok(match split(text)? {
            Parts::Sip(parts) => Some(Self {
                user: parts.user,
                host: parts.host,
                port: parts.port,
            }),
            Parts::Tel { .. } | Parts::Other => None,
        })
    }

    /// Whether this user of this domain is meant, in the plainest spelling. Another spelling may mean the same.
    #[must_use]
    pub fn is_plainly(&self, user: &str, domain: &str) -> bool {
        self.user == Some(user.as_bytes()) && self.name().is_some_and(|name| name.eq_ignore_ascii_case(domain))
    }

    /// The user part as it stands, with its escapes.
    #[must_use]
    pub fn user(&self) -> Option<&'a [u8]> {
        self.user
    }

    /// The host, if it is a name; as it stands.
    #[must_use]
    pub fn name(&self) -> Option<&'a str> {
        match self.host {
            HostPart::Name(name) => std::str::from_utf8(name).ok(),
            HostPart::V4(_) | HostPart::V6(_) => None,
        }
    }

    /// The host, if it is an address; as [`Host::ip`] gives it.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.ip()
    }

    /// None where the URI names none.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

/// A URI whose parts still lie in its text.
enum Parts<'a> {
    Sip(SipParts<'a>),
    Tel { number: &'a [u8], params: &'a [u8] },
    Other,
}

struct SipParts<'a> {
    secure: bool,
    user: Option<&'a [u8]>,
    password: Option<&'a [u8]>,
    host: HostPart<'a>,
    port: Option<u16>,
    params: &'a [u8],
    headers: Option<&'a [u8]>,
}

#[inline]
fn split(text: &[u8]) -> Result<Parts<'_>, Bad> {
    match text {
        [b's' | b'S', b'i' | b'I', b'p' | b'P', b':', rest @ ..] => split_sip(false, rest).map(Parts::Sip),
        [b's' | b'S', b'i' | b'I', b'p' | b'P', b's' | b'S', b':', rest @ ..] => split_sip(true, rest).map(Parts::Sip),
        [b't' | b'T', b'e' | b'E', b'l' | b'L', b':', rest @ ..] => split_tel(rest),
        _ => split_other(text),
    }
}

/// `[user[:password]@]host[:port][;params][?headers]`
fn split_sip(secure: bool, text: &[u8]) -> Result<SipParts<'_>, Bad> {
    let mut cursor = Cursor::new(text);
    let (user, password) = user_info(&mut cursor);
    let host = host::read(&mut cursor)?;
    let port = if cursor.eat(b':') {
        Some(host::read_port(&mut cursor)?)
    } else {
        None
    };
    let params = params::read_uri(&mut cursor)?;
    let headers = cursor.eat(b'?').then(|| cursor.escaped(class::HEADER));
    if headers.is_some_and(<[u8]>::is_empty) {
        return Err(Bad("not a header part"));
    }
    cursor.end("a URI with forbidden characters")?;
    Ok(SipParts {
        secure,
        user,
        password,
        host,
        port,
        params,
        headers,
    })
}

/// Reads user and password. Without an `@` behind them there are none, and what was taken for them is left to be read
/// as a host; an `@` further on will not pass there.
#[inline]
fn user_info<'a>(cursor: &mut Cursor<'a>) -> (Option<&'a [u8]>, Option<&'a [u8]>) {
    let mut ahead = Cursor::new(cursor.rest());
    let user = ahead.escaped(class::USER);
    let password = ahead.eat(b':').then(|| ahead.escaped(class::PASSWORD));
    if user.is_empty() || !ahead.eat(b'@') {
        return (None, None);
    }
    *cursor = ahead;
    (Some(user), password)
}

fn split_tel(text: &[u8]) -> Result<Parts<'_>, Bad> {
    let mut cursor = Cursor::new(text);
    let number = cursor.take(memchr::memchr(b';', text).unwrap_or(text.len()));
    if !is_number(number) {
        return Err(Bad("not a telephone number"));
    }
    let params = params::read_uri(&mut cursor)?;
    cursor.end("a URI parameter with forbidden characters")?;
    Ok(Parts::Tel { number, params })
}

fn split_other(text: &[u8]) -> Result<Parts<'_>, Bad> {
    let mut cursor = Cursor::new(text);
    let scheme = cursor.until(b':').ok_or(Bad("a URI without scheme"))?;
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if is_scheme && !cursor.rest().is_empty() && scan::all(cursor.rest(), class::VISIBLE) {
        Ok(Parts::Other)
    } else {
        Err(Bad("not a URI"))
    }
}

/// `global-number-digits` or `local-number-digits` of RFC 3966 §3: only local numbers hold more than decimal digits.
fn is_number(text: &[u8]) -> bool {
    let (rest, local) = text.strip_prefix(b"+").map_or((text, true), |rest| (rest, false));
    let mut digits = 0;
    for &byte in rest {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'a'..=b'f' | b'A'..=b'F' | b'*' | b'#' if local => digits += 1,
            b'-' | b'.' | b'(' | b')' => {}
            _ => return false,
        }
    }
    digits > 0
}

/// Bytes with escapes undone, and whether the byte is a reserved one that was escaped, which makes a difference
/// (RFC 3261 §19.1.4).
fn decode(text: &str) -> impl Iterator<Item = (u8, bool)> {
    let mut bytes = text.bytes();
    std::iter::from_fn(move || {
        let byte = bytes.next()?;
        if byte != b'%' {
            return Some((byte, false));
        }
        let mut ahead = bytes.clone();
        let mut digit = || ahead.next().and_then(|b| char::from(b).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => {
                bytes = ahead;
                let byte = u8::try_from(high * 16 + low).expect("two hexadecimal digits make a byte");
                Some((byte, is_reserved(byte)))
            }
            _ => Some((b'%', false)),
        }
    })
}

fn is_reserved(byte: u8) -> bool {
    matches!(
        byte,
        b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b','
    )
}

/// Those that matter must stand in both, others only agree where both have them. Of a name that stands twice the first
/// one counts, as for everybody who asks for it.
fn same_params(a: &Params, b: &Params, matters: impl Fn(&str) -> bool) -> bool {
    // Not each against each: a stranger may have written thousands.
    let by_name = |params: &'_ Params| {
        let mut first = BTreeMap::new();
        for (name, value) in params.iter() {
            first
                .entry(name.to_ascii_lowercase())
                .or_insert_with(|| value.map(folded));
        }
        first
    };
    let (a, b) = (by_name(a), by_name(b));
    let agrees = |(name, value): (&String, _)| b.get(name).map_or(!matters(name), |theirs| theirs == value);
    a.iter().all(agrees) && b.keys().all(|name| a.contains_key(name) || !matters(name))
}

/// A value of a parameter without its escapes and its case.
fn folded(value: &str) -> Vec<u8> {
    decode(value).map(|(byte, _)| byte.to_ascii_lowercase()).collect()
}

/// Headers are never left out of the comparison, in whatever order.
fn same_headers(a: Option<&str>, b: Option<&str>) -> bool {
    let sorted = |headers: Option<&str>| {
        let mut pairs: Vec<(String, Vec<u8>)> = headers
            .into_iter()
            .flat_map(|text| text.split('&'))
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (name.to_ascii_lowercase(), decode(value).map(|(byte, _)| byte).collect())
            })
            .collect();
        pairs.sort();
        pairs
    };
    match (a, b) {
        (None, None) => true,
        _ => sorted(a) == sorted(b),
    }
}

/// Writes parameters so that none becomes two. Quotes mean nothing in a URI; what they hold is escaped instead.
fn write_params<W: fmt::Write>(out: &mut W, params: &Params) -> fmt::Result {
    if params::check_uri(params.as_str()).is_ok() {
        return out.write_str(params.as_str());
    }
    for (name, value) in params.iter() {
        out.write_char(';')?;
        write_escaped(out, name, class::PARAM, &[])?;
        let inside = value.and_then(|value| value.strip_prefix('"')?.strip_suffix('"'));
        let value = inside.map_or(Cow::Borrowed(value.unwrap_or_default()), |inside| {
            scan::unescape(inside).into()
        });
        if !value.is_empty() {
            out.write_char('=')?;
            write_escaped(out, &value, class::PARAM, &[])?;
        }
    }
    Ok(())
}

/// Writes what may stand there, and escapes the rest. Escapes that are there already stay.
fn write_escaped<W: fmt::Write>(out: &mut W, text: &str, classes: u16, extra: &[u8]) -> fmt::Result {
    if scan::all_escaped(text, classes, extra) {
        return out.write_str(text);
    }
    for (at, byte) in text.bytes().enumerate() {
        let begins_escape = || {
            text.as_bytes()
                .get(at + 1..at + 3)
                .is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit))
        };
        if scan::is(byte, classes) || extra.contains(&byte) || byte == b'%' && begins_escape() {
            out.write_char(byte.into())?;
        } else {
            push_escape(out, byte)?;
        }
    }
    Ok(())
}

fn push_escape<W: fmt::Write>(out: &mut W, byte: u8) -> fmt::Result {
    write!(out, "%{byte:02X}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_is_read_is_written_again() {
        for text in [
            "sip:alice@example.com",
            "sips:alice:secretword@atlanta.com:5061;transport=tcp?subject=project%20x&priority=urgent",
            "sip:example.com",
            "sip:[2001:db8::10]:5070",
            "sip:[2001:db8::10:5070]",
            "sip:user;par=u%40example.net@example.com",
            "sip:sips%3Auser%40example.com@example.net",
            "sip:null-%00-null@example.com",
            "sip:+358-555-1234567;phone-context=x.example@foo.com;user=phone",
            "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
            "tel:+1-201-555-0123",
            "tel:7042;phone-context=example.com",
            "urn:service:sos",
            "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "soap.beep://192.0.2.103:3002",
            "nobodyKnowsThisScheme:totallyopaquecontent",
        ] {
            assert_eq!(uri(text).to_string(), text);
        }
        let Uri::Sip(both) = uri("sip:user;par=u%40example.net@example.com") else {
            unreachable!()
        };
        assert_eq!(both.user_decoded().as_deref(), Some("user;par=u@example.net"));
        assert_eq!(uri("sip:[2001:db8::10:5070]").as_sip().unwrap().port, None);
        assert_eq!(uri("SIP:Alice@EXAMPLE.com").to_string(), "sip:Alice@example.com");
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for text in [
            "",
            "sip:",
            "sip:@a.b",
            "sip:a@",
            "alice@example.com",
            "sip:a@b@c.d",
            "sip:a b@c.d",
            "sip: a@b.c",
            "sip:a@b.c ",
            "sip:a@b.c:0",
            "sip:a@b.c:65536",
            "sip:a%4@b.c",
            "sip:a@b.c;",
            "sip:a@b.c?",
            "<sip:a@b.c>",
            "tel:+1555000A",
            "tel:+1555*000",
            "tel:+1555#",
            "sip:a@b.c;x=\"y\"",
            "sip:a#b@c.d",
            "tel:",
            "tel:+",
            "tel:abc-xyz",
            "tel:1;a b",
            "x y:z",
            ":a",
            "1a:b",
            "urn:",
            "urn:a b",
            "sip:a@b.c\r\n",
            "sip:a\0@b.c",
            "sip:ä@b.c",
            "sip:a@[::1",
            "sip:a@::1",
        ] {
            assert!(text.parse::<Uri>().is_err(), "{text:?}");
        }
    }

    /// The pairs of RFC 3261 §19.1.4.
    #[test]
    fn equality_follows_the_rfc() {
        let same = [
            (
                "sip:%61lice@atlanta.com;transport=TCP",
                "sip:alice@AtlanTa.CoM;Transport=tcp",
            ),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
            ("tel:+1-201-555-0123", "tel:+1.201.555.0123"),
            // A name that stands twice is no reason to differ from oneself.
            ("sip:a@x.y;lr;p=1;P=2", "sip:a@x.y;lr;p=1;P=2"),
            ("tel:7042;p=1;P=2", "tel:7042;p=1;P=2"),
            (
                "tel:7042;a=b;phone-context=Example.com",
                "tel:70-42;phone-context=example.com;A=B",
            ),
        ];
        for (a, b) in same {
            assert!(uri(a).same_as(&uri(b)) && uri(b).same_as(&uri(a)), "{a} {b}");
        }
        let other = [
            (
                "SIP:ALICE@AtLanTa.CoM;Transport=udp",
                "sip:alice@AtlanTa.CoM;Transport=UDP",
            ),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            (
                "sip:carol@chicago.com;security=on",
                "sip:carol@chicago.com;security=off",
            ),
            ("sip:a@x.y;p=1;p=2", "sip:a@x.y;p=2;p=1"),
            ("sip:a%3Bb@x.y", "sip:a;b@x.y"),
            ("sip:null-%00-null@example.com", "sip:%00@example.com"),
            ("sip:a@x.y", "sips:a@x.y"),
            ("tel:+12015550123", "tel:12015550123"),
            ("tel:7042", "tel:7042;ext=1"),
        ];
        for (a, b) in other {
            assert!(!uri(a).same_as(&uri(b)) && !uri(b).same_as(&uri(a)), "{a} {b}");
        }
    }

    #[test]
    fn no_field_breaks_out() {
        let mut made = SipUri::new("a b@c\r\nVia: x", "example.com".parse().unwrap());
        assert_eq!(made.to_string(), "sip:a%20b%40c%0D%0AVia%3A%20x@example.com");
        made.user = Some(Text::from("x> SIP/2.0\r\nVia: evil"));
        made.headers = Some(Text::from("a=b c"));
        let text = made.to_string();
        assert!(!text.contains([' ', '\r', '\n', '>']), "{text}");
        assert!(text.parse::<Uri>().is_ok(), "{text}");
        for (value, written) in [
            ("a;lr=b", "a%3Blr%3Db"),
            ("a=b", "a%3Db"),
            ("x> SIP/2.0", "x%3E%20SIP/2.0"),
            ("\"%41", "%22%41"),
        ] {
            made = SipUri::new("a", "example.com".parse().unwrap());
            made.params.set("p", Some(value));
            let text = made.to_string();
            assert_eq!(text, format!("sip:a@example.com;p={written}"), "{value}");
            assert!(text.parse::<Uri>().is_ok(), "{text}");
        }
        made.params.set("p", Some(""));
        assert_eq!(made.to_string(), "sip:a@example.com;p", "a URI has no empty value");
    }
}
