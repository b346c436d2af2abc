//! Challenges and proofs (RFC 3261 §20.7, §20.27, §20.28, §20.44; RFC 7616).

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, Range};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::core::sip::cursor::Cursor;
use crate::core::sip::headers::HeaderError;
use crate::core::sip::name::HeaderName;
use crate::core::sip::scan::{self, Bad, class};
use crate::core::sip::typed::{Form, TypedHeader};
use crate::core::sip::value::{Value, ValueRef};
use crate::core::user::Algorithm;

/// `scheme name=value, name="value"`, of which no name may stand twice.
///
/// A scheme that is not Digest may write something else; it is kept as one text that has no names.
#[derive(Clone)]
struct Pairs {
    /// In which all the others lie: UTF-8 without CR, LF and NUL, and each of the others whole characters of it. What
    /// quoted values mean stands at its end where it is not what was written.
    source: Bytes,
    scheme: Span,
    pairs: SmallVec<[Pair; USUAL_PAIRS]>,
    known: Places,
    /// What could not be read as pairs.
    opaque: Option<Span>,
}

/// Where a name and the meaning of its value lie in their source.
#[derive(Clone)]
struct Pair {
    name: Span,
    value: Span,
}

/// The names that are asked for.
#[derive(Clone, Copy)]
enum Name {
    Username,
    Realm,
    Nonce,
    Uri,
    Response,
    Algorithm,
    Cnonce,
    Opaque,
    Qop,
    Nc,
    Stale,
    Userhash,
}

impl Name {
    const COUNT: usize = Self::Userhash as usize + 1;

    fn of(name: &[u8]) -> Option<Self> {
        let as_long: &[(Self, &[u8])] = match name.len() {
            2 => &[(Self::Nc, b"nc")],
            3 => &[(Self::Uri, b"uri"), (Self::Qop, b"qop")],
            5 => &[
                (Self::Realm, b"realm"),
                (Self::Nonce, b"nonce"),
                (Self::Stale, b"stale"),
            ],
            6 => &[(Self::Cnonce, b"cnonce"), (Self::Opaque, b"opaque")],
            8 => &[
                (Self::Username, b"username"),
                (Self::Response, b"response"),
                (Self::Userhash, b"userhash"),
            ],
            9 => &[(Self::Algorithm, b"algorithm")],
            _ => &[],
        };
        let found = as_long.iter().find(|(_, known)| name.eq_ignore_ascii_case(known));
        found.map(|(known, _)| *known)
    }
}

/// For each known name the place of its pair, counted from one, so that each proof need not be searched a dozen times.
type Places = [u8; Name::COUNT];

/// Where a text lies in the one that it was cut from.
type Span = Range<u32>;

impl Pairs {
    /// Digest with these pairs, none of whose names stands twice.
    fn digest(pairs: &[(&'static str, &str)]) -> Self {
        let mut source = String::from("Digest");
        let scheme = span(0, source.len());
        let mut place = |text: &str| {
            let start = source.len();
            source.push_str(text);
            span(start, source.len())
        };
        let mut written = Self {
            scheme,
            pairs: SmallVec::new(),
            known: Places::default(),
            opaque: None,
            source: Bytes::new(),
        };
        for (name, value) in pairs {
            let pair = Pair {
                name: place(name),
                value: place(value),
            };
            add(&mut written, Name::of(name.as_bytes()), pair);
        }
        // Blanks at the end are part of the last value.
        written.source = Bytes::from(source.replace(['\r', '\n', '\0'], " "));
        written
    }

    fn scheme(&self) -> &str {
        self.text(&self.scheme)
    }

    fn is_digest(&self) -> bool {
        self.scheme().eq_ignore_ascii_case("Digest")
    }

    fn opaque(&self) -> Option<&str> {
        self.opaque.as_ref().map(|opaque| self.text(opaque))
    }

    fn text(&self, span: &Span) -> &str {
        text(&self.source, span)
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|pair| (self.text(&pair.name), self.text(&pair.value)))
    }

    fn get(&self, name: Name) -> Option<&str> {
        let place = usize::from(self.known[name as usize]);
        let pair = self.pairs.get(place.checked_sub(1)?)?;
        Some(self.text(&pair.value))
    }

    fn param(&self, name: &str) -> Option<&str> {
        match Name::of(name.as_bytes()) {
            Some(known) => self.get(known),
            None => self
                .iter()
                .find(|(found, _)| found.eq_ignore_ascii_case(name))
                .map(|(_, value)| value),
        }
    }

    fn parse(text: &str) -> Result<Self, HeaderError> {
        Self::read(Value::cleaned(text).as_ref())
    }

    /// Reads a value where it lies, and shares the bytes of its message.
    fn read(value: ValueRef<'_>) -> Result<Self, HeaderError> {
        let text = value.to_text();
        let mut cursor = Cursor::new(text.as_bytes());
        let scheme = cursor.run(class::TOKEN);
        if scheme.is_empty() || !matches!(cursor.peek(), None | Some(b' ' | b'\t')) {
            return Err(HeaderError::malformed("not a scheme"));
        }
        cursor.blanks();
        let rest = cursor.rest();
        let mut read = Self {
            scheme: place(&*text, scheme),
            pairs: SmallVec::new(),
            known: Places::default(),
            opaque: None,
            source: Bytes::new(),
        };
        let mut meanings = String::new();
        match read_pairs(&text, cursor, &mut read, &mut meanings) {
            Ok(()) => {}
            Err(error) if scheme.eq_ignore_ascii_case(b"Digest") => return Err(error.into()),
            Err(_) => {
                read.pairs.clear();
                read.known = Places::default();
                read.opaque = Some(place(&*text, scan::trim_bytes(rest)));
            }
        }
        read.source = match &text {
            Cow::Borrowed(_) if meanings.is_empty() => value.to_value().bytes().clone(),
            _ => Bytes::from(format!("{text}{meanings}")),
        };
        Ok(read)
    }

    /// Which values stand in quotes is fixed for each name (RFC 7616 §3.3, §3.4).
    fn write(&self, bare: &[&str], out: &mut String) {
        out.push_str(self.scheme());
        out.push(' ');
        if let Some(opaque) = self.opaque() {
            out.push_str(opaque);
        }
        for (at, (name, value)) in self.iter().enumerate() {
            if at > 0 {
                out.push_str(", ");
            }
            out.push_str(name);
            out.push('=');
            if bare.iter().any(|known| known.eq_ignore_ascii_case(name)) && scan::all_token(value.as_bytes()) {
                out.push_str(value);
            } else {
                scan::quote(value, out);
            }
        }
    }
}

impl PartialEq for Pairs {
    fn eq(&self, other: &Self) -> bool {
        self.scheme() == other.scheme() && self.opaque() == other.opaque() && self.iter().eq(other.iter())
    }
}

impl Eq for Pairs {}

/// Reads `name=value, name="value"` to the end, where blanks may stand around each mark. Meanings that are not what stands
/// there come behind the source.
fn read_pairs(source: &str, mut cursor: Cursor<'_>, read: &mut Pairs, meanings: &mut String) -> Result<(), Bad> {
    let bytes = source.as_bytes();
    loop {
        cursor.blanks();
        let name = cursor.run(class::TOKEN);
        cursor.blanks();
        if name.is_empty() || !cursor.eat(b'=') {
            return Err(Bad("not name=value"));
        }
        cursor.blanks();
        // Each is compared with all before it, and a stranger may have written thousands.
        if read.pairs.len() == MAX_PAIRS {
            return Err(Bad("more parameters than anybody needs"));
        }
        let known = Name::of(name);
        let twice = match known {
            Some(known) => read.known[known as usize] != 0,
            None => {
                let found = |pair: &Pair| &bytes[bounds(&pair.name)];
                read.pairs.iter().any(|pair| found(pair).eq_ignore_ascii_case(name))
            }
        };
        if twice {
            return Err(Bad("a parameter that stands twice"));
        }
        let value = if cursor.peek() == Some(b'"') {
            let quoted = cursor.quoted()?;
            let inside = place(source, &quoted[1..quoted.len() - 1]);
            // All of them, since that is done many at a time.
            let plain = |all: bool, byte: &u8| all & matches!(byte, b' '..=b'~') & (*byte != b'\\');
            if bytes[bounds(&inside)].iter().fold(true, plain) {
                inside
            } else {
                let start = source.len() + meanings.len();
                meanings.push_str(&scan::unquoted(&source[bounds(&inside)]));
                span(start, source.len() + meanings.len())
            }
        } else {
            let token = cursor.run(class::TOKEN);
            if token.is_empty() {
                return Err(Bad("a value that needs quotes"));
            }
            place(source, token)
        };
        let name = place(source, name);
        add(read, known, Pair { name, value });
        cursor.blanks();
        if cursor.rest().is_empty() {
            return Ok(());
        }
        if !cursor.eat(b',') {
            return Err(Bad("text behind a parameter"));
        }
    }
}

fn add(pairs: &mut Pairs, name: Option<Name>, pair: Pair) {
    pairs.pairs.push(pair);
    if let Some(name) = name {
        pairs.known[name as usize] = u8::try_from(pairs.pairs.len()).unwrap_or(0);
    }
}

/// Where a part lies that was cut from this text; nowhere if it is empty, wherever it was cut from.
fn place(whole: impl AsRef<[u8]>, part: &[u8]) -> Span {
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr() as usize - whole.as_ref().as_ptr() as usize;
    span(start, start + part.len())
}

/// A place in a text, none of which is so long that it would not fit.
fn span(start: usize, end: usize) -> Span {
    let at = |at| u32::try_from(at).unwrap_or(0);
    at(start)..at(end)
}

/// What lies there. The source was text as a whole, and was cut at marks.
fn text<'a>(source: &'a [u8], span: &Span) -> &'a str {
    let bytes = source.get(bounds(span)).unwrap_or_default();
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn bounds(span: &Span) -> Range<usize> {
    span.start as usize..span.end as usize
}

/// What somebody must prove: one challenge.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge(Pairs);

impl Challenge {
    /// The value of a Digest challenge with `qop="auth"`, written at once: strangers ask for very many. `stale` says
    /// that only the nonce was too old.
    #[must_use]
    pub fn digest(realm: &str, nonce: &str, algorithm: Algorithm, stale: bool) -> Value {
        let mut text = String::with_capacity(Self::digest_len(realm, nonce.len(), algorithm, stale));
        let algorithm = algorithm.as_str();
        text.push_str("Digest realm=");
        scan::quote(realm, &mut text);
        text.push_str(", nonce=");
        scan::quote(nonce, &mut text);
        text.push_str(", algorithm=");
        text.push_str(algorithm);
        text.push_str(", qop=\"auth\"");
        if stale {
            text.push_str(", stale=true");
        }
        Value::made(text)
    }

    /// How long that value is at most, with a nonce of this length: whoever has no room for it need not make one.
    #[must_use]
    pub fn digest_len(realm: &str, nonce: usize, algorithm: Algorithm, stale: bool) -> usize {
        let escaped = realm.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
        let texts = [
            "Digest realm=\"\", nonce=\"\", algorithm=, qop=\"auth\"",
            algorithm.as_str(),
            if stale { ", stale=true" } else { "" },
        ];
        texts.map(str::len).iter().sum::<usize>() + realm.len() + escaped + nonce
    }

    /// Whether the scheme is Digest.
    #[must_use]
    pub fn is_digest(&self) -> bool {
        self.0.is_digest()
    }

    /// A parameter without its quotes.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.0.param(name)
    }

    /// For whom the proof is.
    #[must_use]
    pub fn realm(&self) -> Option<&str> {
        self.0.get(Name::Realm)
    }

    /// The number used once.
    #[must_use]
    pub fn nonce(&self) -> Option<&str> {
        self.0.get(Name::Nonce)
    }

    /// To be given back unchanged.
    #[must_use]
    pub fn opaque(&self) -> Option<&str> {
        self.0.get(Name::Opaque)
    }

    /// The algorithm, MD5 where none is named; none for one that we do not have.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.0
            .get(Name::Algorithm)
            .map_or(Some(Algorithm::Md5), |text| text.parse().ok())
    }

    /// Whether `auth` is among the qualities of protection offered.
    #[must_use]
    pub fn offers_auth(&self) -> bool {
        self.0
            .get(Name::Qop)
            .is_some_and(|list| list.split(',').any(|qop| scan::trim(qop).eq_ignore_ascii_case("auth")))
    }

    /// Whether only the nonce was too old.
    #[must_use]
    pub fn stale(&self) -> bool {
        self.0
            .get(Name::Stale)
            .is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }
}

/// A proof: one set of credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(Pairs);

/// Whose proof [`Credentials`] say they are.
#[derive(Clone)]
pub struct Login {
    source: Bytes,
    realm: Span,
    username: Span,
}

impl Login {
    /// For whom the proof is; empty if the credentials do not say.
    #[must_use]
    pub fn realm(&self) -> &str {
        text(&self.source, &self.realm)
    }

    /// The name that the phone gave; empty if it gave none.
    #[must_use]
    pub fn username(&self) -> &str {
        text(&self.source, &self.username)
    }
}

impl PartialEq for Login {
    fn eq(&self, other: &Self) -> bool {
        (self.realm(), self.username()) == (other.realm(), other.username())
    }
}

impl Eq for Login {}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(***)")
    }
}

/// The parts of a Digest proof, for writing one.
#[derive(Clone, Copy)]
pub struct DigestProof<'a> {
    /// Whose password was used.
    pub username: &'a str,
    /// As challenged.
    pub realm: &'a str,
    /// As challenged.
    pub nonce: &'a str,
    /// The Request-URI.
    pub uri: &'a str,
    /// See [`digest::response`](crate::core::sip::digest::response).
    pub response: &'a str,
    /// As challenged.
    pub algorithm: Algorithm,
    /// As challenged, if it was there.
    pub opaque: Option<&'a str>,
    /// `cnonce` and the nonce count, where `qop=auth` is used.
    pub auth: Option<(&'a str, u32)>,
}

impl Credentials {
    /// A Digest proof.
    #[must_use]
    pub fn digest(proof: &DigestProof<'_>) -> Self {
        let count = proof.auth.map(|(_, count)| format!("{count:08x}"));
        let mut pairs = vec![
            ("username", proof.username),
            ("realm", proof.realm),
            ("nonce", proof.nonce),
            ("uri", proof.uri),
            ("response", proof.response),
            ("algorithm", proof.algorithm.as_str()),
        ];
        pairs.extend(proof.opaque.map(|opaque| ("opaque", opaque)));
        if let (Some((cnonce, _)), Some(count)) = (proof.auth, &count) {
            pairs.extend([("cnonce", cnonce), ("nc", count), ("qop", "auth")]);
        }
        Self(Pairs::digest(&pairs))
    }

    /// Whether the scheme is Digest.
    #[must_use]
    pub fn is_digest(&self) -> bool {
        self.0.is_digest()
    }

    /// A parameter without its quotes.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.0.param(name)
    }

    /// Whose proof it says to be.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        self.0.get(Name::Username)
    }

    /// Who proves something, to be kept: it shares the bytes that it stands in.
    #[must_use]
    pub fn login(&self) -> Login {
        let place = |text: Option<&str>| place(&self.0.source, text.unwrap_or_default().as_bytes());
        Login {
            realm: place(self.realm()),
            username: place(self.username()),
            source: self.0.source.clone(),
        }
    }

    /// For whom it is.
    #[must_use]
    pub fn realm(&self) -> Option<&str> {
        self.0.get(Name::Realm)
    }

    /// The nonce that it answers.
    #[must_use]
    pub fn nonce(&self) -> Option<&str> {
        self.0.get(Name::Nonce)
    }

    /// The Request-URI that it is for.
    #[must_use]
    pub fn uri(&self) -> Option<&str> {
        self.0.get(Name::Uri)
    }

    /// The proof itself.
    #[must_use]
    pub fn response(&self) -> Option<&str> {
        self.0.get(Name::Response)
    }

    /// The algorithm, MD5 where none is named; none for one that we do not have, `-sess` variants among them.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.0
            .get(Name::Algorithm)
            .map_or(Some(Algorithm::Md5), |text| text.parse().ok())
    }

    /// Whether the username is a hash of itself (RFC 7616 §3.4.4).
    #[must_use]
    pub fn is_userhash(&self) -> bool {
        self.0
            .get(Name::Userhash)
            .is_some_and(|flag| flag.eq_ignore_ascii_case("true"))
    }

    /// The quality of protection, if it is named.
    #[must_use]
    pub fn qop(&self) -> Option<&str> {
        self.0.get(Name::Qop)
    }

    /// The client's own nonce.
    #[must_use]
    pub fn cnonce(&self) -> Option<&str> {
        self.0.get(Name::Cnonce)
    }

    /// The nonce count as it stands: it goes into the proof so.
    #[must_use]
    pub fn nc(&self) -> Option<&str> {
        self.0.get(Name::Nc)
    }

    /// The nonce count, which is eight hexadecimal digits (RFC 7616 §3.4).
    #[must_use]
    pub fn nonce_count(&self) -> Option<u32> {
        let text = self
            .nc()
            .filter(|nc| nc.len() == 8 && nc.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u32::from_str_radix(text, 16).ok()
    }

    /// What the challenge asked to be given back.
    #[must_use]
    pub fn opaque(&self) -> Option<&str> {
        self.0.get(Name::Opaque)
    }
}

/// Declares headers that each are a [`Challenge`] or [`Credentials`].
macro_rules! auth_headers {
    ($($(#[doc = $doc:literal])* $name:ident($inner:ident) = $constant:ident, $bare:ident;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(pub $inner);

        impl TypedHeader for $name {
            const NAME: HeaderName = HeaderName::$constant;
            const FORM: Form = Form::Lines;

            fn parse(text: &str) -> Result<Self, HeaderError> {
                Pairs::parse(text).map($inner).map(Self)
            }

            fn read(value: ValueRef<'_>) -> Result<Self, HeaderError> {
                Pairs::read(value).map($inner).map(Self)
            }

            fn write(&self, out: &mut String) {
                self.0.0.write($bare, out);
            }
        }

        impl Deref for $name {
            type Target = $inner;

            fn deref(&self) -> &$inner {
                &self.0
            }
        }
    )*};
}

auth_headers! {
    /// A proof for the one who answers (RFC 3261 §20.7).
    Authorization(Credentials) = AUTHORIZATION, BARE_PROOF;
    /// A proof for somebody on the way (RFC 3261 §20.28).
    ProxyAuthorization(Credentials) = PROXY_AUTHORIZATION, BARE_PROOF;
    /// A challenge of somebody on the way (RFC 3261 §20.27).
    ProxyAuthenticate(Challenge) = PROXY_AUTHENTICATE, BARE_CHALLENGE;
    /// A challenge of the one who answers (RFC 3261 §20.44).
    WwwAuthenticate(Challenge) = WWW_AUTHENTICATE, BARE_CHALLENGE;
}

/// Proofs are secrets of a kind: they do not print.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ***", self.0.scheme())
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ***", self.0.scheme())
    }
}

/// As many parameters as most proofs have.
const USUAL_PAIRS: usize = 10;
/// The most parameters of one challenge or proof; RFC 7616 knows a dozen.
const MAX_PAIRS: usize = 64;
const BARE_CHALLENGE: &[&str] = &["algorithm", "stale", "charset", "userhash"];
const BARE_PROOF: &[&str] = &["algorithm", "qop", "nc", "userhash"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_are_read() {
        let text = r#"Digest username="Mu\"fasa", realm="a,b", nonce="n==", uri="sip:x@y;z", response="00ff", algorithm=md5,qop=auth, nc=0000000A,cnonce="""#;
        let proof = Authorization::parse(text).unwrap();
        assert!(proof.is_digest());
        assert_eq!(
            (proof.username(), proof.realm(), proof.uri()),
            (Some("Mu\"fasa"), Some("a,b"), Some("sip:x@y;z"))
        );
        assert_eq!(
            (proof.algorithm(), proof.qop(), proof.nonce_count()),
            (Some(Algorithm::Md5), Some("auth"), Some(10))
        );
        assert_eq!((proof.cnonce(), proof.opaque()), (Some(""), None));
        let login = proof.login();
        assert_eq!((login.realm(), login.username()), ("a,b", "Mu\"fasa"));
        assert_eq!(format!("{proof:?}"), "Authorization(Digest ***)");
        let odd = Authorization::parse("Digest realm=\"a\u{1}b\"").unwrap();
        assert_eq!(odd.realm(), Some("a b"), "as it would be written");
        assert_eq!((odd.login().realm(), odd.login().username()), ("a b", ""));
        let other = Authorization::parse("NoOneKnowsThisScheme opaque-data=here").unwrap();
        assert!(!other.is_digest());
        assert!(!Authorization::parse("Basic QWxhZGRpbg==").unwrap().is_digest());
    }

    #[test]
    fn meanings_stand_behind_what_was_written() {
        let text = "Digest realm=\"a\\\\b\", nonce=\"n\", opaque=\"\\\"\\c\", cnonce=\"ü\\ü\", uri=\"sip:a\"";
        let proof = Authorization::parse(text).unwrap();
        let found = ["realm", "NONCE", "opaque", "cnonce", "uri", "qop"].map(|name| proof.param(name));
        let meant = [Some("a\\b"), Some("n"), Some("\"c"), Some("üü"), Some("sip:a"), None];
        assert_eq!(found, meant);
        let mut written = String::new();
        proof.write(&mut written);
        assert_eq!(Authorization::parse(&written), Ok(proof), "{written}");
    }

    #[test]
    fn all_backslashes_mean_half_as_many() {
        let proof = Authorization::parse(r#"Digest realm="\\", nonce="n""#).unwrap();
        assert_eq!(proof.param("realm"), Some(r"\"));
    }

    #[test]
    fn equal_are_those_that_say_the_same() {
        let read = |text: &str| Authorization::parse(text).unwrap();
        let base = r#"Digest realm="a", nonce="n""#;
        assert_eq!(read(base), read("Digest realm=a , nonce = n"));
        for other in [
            r#"Digest realm="a", nonce="m""#,
            r#"Digest realm="a""#,
            r#"Digest nonce="n", realm="a""#,
            r#"Else realm="a", nonce="n""#,
        ] {
            assert_ne!(read(base), read(other), "{other}");
        }
        let (one, other) = (read("Basic QWxhZGRpbg=="), read("Basic QWxhZGRpbh=="));
        assert!(one == one.clone() && one != other);
        let mut written = String::new();
        one.write(&mut written);
        assert_eq!(written, "Basic QWxhZGRpbg==");
    }

    #[test]
    fn logins_are_of_a_realm_and_a_name() {
        let login = |text: &str| Authorization::parse(text).unwrap().login();
        let base = login(r#"Digest username="alice", realm="a", nonce="n""#);
        assert_eq!(base, login(r#"Digest realm="a", username="alice", nonce="other""#));
        assert_ne!(base, login(r#"Digest username="alice", realm="b", nonce="n""#));
        assert_ne!(base, login(r#"Digest username="bob", realm="a", nonce="n""#));
        assert_eq!(format!("{base:?}"), "Login(***)");
    }

    #[test]
    fn a_hashed_name_says_so() {
        let read = |flag: &str| Authorization::parse(&format!("Digest username=\"x\"{flag}")).unwrap();
        for (flag, hashed) in [
            (", userhash=true", true),
            (", userhash=TRUE", true),
            (", userhash=false", false),
            ("", false),
        ] {
            assert_eq!(read(flag).is_userhash(), hashed, "{flag}");
        }
    }

    #[test]
    fn what_ends_with_a_blank_is_written_so() {
        let proof = DigestProof {
            username: " a",
            realm: "b\r\n",
            nonce: "c ",
            uri: "sip:d",
            response: "e",
            algorithm: Algorithm::Md5,
            opaque: Some("\0f "),
            auth: None,
        };
        let proof = Authorization(Credentials::digest(&proof));
        let found = [proof.username(), proof.realm(), proof.nonce(), proof.opaque()];
        assert_eq!(found, [" a", "b  ", "c ", " f "].map(Some));
        let mut written = String::new();
        proof.write(&mut written);
        assert_eq!(Authorization::parse(&written), Ok(proof));
    }

    #[test]
    fn every_known_name_has_its_place() {
        let names = "username realm nonce uri response algorithm cnonce opaque qop nc stale userhash";
        let known: Vec<_> = names.split(' ').map(|name| Name::of(name.as_bytes())).collect();
        let places: Vec<_> = known.iter().map(|name| name.map(|name| name as usize)).collect();
        assert_eq!(places, (0..Name::COUNT).map(Some).collect::<Vec<_>>());
        assert!(Name::of(b"NONCE").is_some() && Name::of(b"nonces").is_none() && Name::of(b"").is_none());
        let text = "Digest other=1, nc=2, OTHER2=3, Uri=4";
        let proof = Authorization::parse(text).unwrap();
        let found = ["Other", "nc", "other2", "uri", "qop", "no"].map(|name| proof.param(name));
        assert_eq!(found, [Some("1"), Some("2"), Some("3"), Some("4"), None, None]);
        assert!(Authorization::parse("Digest other=1, nc=2, OTHER=3").is_err());
    }

    #[test]
    fn the_length_of_a_challenge_is_known_before() {
        for realm in ["example.com", "a \"b\"", "\\", "ü.example"] {
            for (algorithm, stale) in Algorithm::ALL.into_iter().zip([false, true, false]) {
                let made = Challenge::digest(realm, "0123", algorithm, stale);
                assert_eq!(
                    made.as_bytes().len(),
                    Challenge::digest_len(realm, 4, algorithm, stale),
                    "{made:?}"
                );
            }
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [
            "",
            "Digest username=\"a\", username=\"b\"",
            "Digest username=\"a\", USERNAME=\"b\"",
            "Digest username=\"a",
            "Digest username",
            "Digest username=a b",
            "Digest a=\"b\"c",
            "Digest a=b,,c=d",
            "Dig\"est a=b",
        ] {
            assert!(Authorization::parse(text).is_err(), "{text}");
        }
        for (count, sound) in [(MAX_PAIRS, true), (MAX_PAIRS + 1, false)] {
            let pairs: Vec<_> = (0..count).map(|at| format!("p{at}=1")).collect();
            let text = format!("Digest {}", pairs.join(","));
            assert_eq!(Authorization::parse(&text).is_ok(), sound, "{count} parameters");
            assert!(
                Authorization::parse(&text.replace("Digest", "Other")).is_ok(),
                "not for us to judge"
            );
        }
        for nc in ["1", "0000000g", "000000001", "+0000001"] {
            let proof = Authorization::parse(&format!("Digest nc=\"{nc}\"")).unwrap();
            assert_eq!(proof.nonce_count(), None, "{nc}");
        }
        let unknown = Authorization::parse("Digest algorithm=MD5-sess").unwrap();
        assert_eq!(unknown.algorithm(), None);
    }

    #[test]
    fn the_count_is_written_in_hexadecimal() {
        let mut text = String::new();
        let proof = DigestProof {
            username: "bob\"",
            realm: "r",
            nonce: "n",
            uri: "sip:x",
            response: "0",
            algorithm: Algorithm::Sha256,
            opaque: None,
            auth: Some(("c", 20)),
        };
        ProxyAuthorization(Credentials::digest(&proof)).write(&mut text);
        assert_eq!(
            text,
            r#"Digest username="bob\"", realm="r", nonce="n", uri="sip:x", response="0", algorithm=SHA-256, cnonce="c", nc=00000014, qop=auth"#
        );
    }

    #[test]
    fn every_part_of_a_proof_is_read_as_it_was_written() {
        let mut text = String::new();
        let proof = DigestProof {
            username: "bob",
            realm: "r",
            nonce: "n",
            uri: "sip:x",
            response: "0f",
            algorithm: Algorithm::Sha256,
            opaque: Some("o"),
            auth: Some(("c", 1)),
        };
        Authorization(Credentials::digest(&proof)).write(&mut text);
        let read = Authorization::parse(&text).unwrap();
        let parts = [
            ("username", read.username(), Some("bob")),
            ("realm", read.realm(), Some("r")),
            ("nonce", read.nonce(), Some("n")),
            ("uri", read.uri(), Some("sip:x")),
            ("response", read.response(), Some("0f")),
            ("opaque", read.opaque(), Some("o")),
            ("cnonce", read.cnonce(), Some("c")),
            ("nc", read.nc(), Some("00000001")),
            ("qop", read.qop(), Some("auth")),
        ];
        for (name, found, written) in parts {
            assert_eq!(found, written, "{name}");
        }
        assert_eq!(read.algorithm(), Some(Algorithm::Sha256));

        // Without qop, as RFC 2069 has it, and without any algorithm, which means MD5.
        let old = DigestProof {
            auth: None,
            opaque: None,
            ..proof
        };
        let old = Credentials::digest(&old);
        assert_eq!(
            (old.qop(), old.nc(), old.cnonce(), old.nonce_count(), old.opaque()),
            (None, None, None, None, None)
        );
        let bare = Authorization::parse("Digest nonce=\"n\"").unwrap();
        assert_eq!(bare.algorithm(), Some(Algorithm::Md5));
        assert_eq!(
            (bare.username(), bare.realm(), bare.uri(), bare.response()),
            (None, None, None, None)
        );
    }

    #[test]
    fn every_part_of_a_challenge_is_read() {
        let all = r#"Digest realm="r", nonce="n", opaque="o", qop="auth-int, Auth", stale=TRUE"#;
        let all = ProxyAuthenticate::parse(all).unwrap();
        assert_eq!(
            (all.realm(), all.nonce(), all.opaque(), all.algorithm()),
            (Some("r"), Some("n"), Some("o"), Some(Algorithm::Md5))
        );
        assert!(all.is_digest() && all.offers_auth() && all.stale());
        assert_eq!(format!("{:?}", *all), "Digest ***");

        let least = ProxyAuthenticate::parse(r#"Digest qop="auth-int", stale=false"#).unwrap();
        assert_eq!((least.realm(), least.nonce(), least.opaque()), (None, None, None));
        assert!(least.is_digest() && !least.offers_auth() && !least.stale());
        let other = ProxyAuthenticate::parse(r#"Basic realm="r""#).unwrap();
        assert!(!other.is_digest() && !other.offers_auth() && !other.stale());
    }

    #[test]
    fn challenges_are_written_and_read() {
        let value = Challenge::digest("r", "n", Algorithm::Sha512_256, true);
        assert_eq!(
            value,
            r#"Digest realm="r", nonce="n", algorithm=SHA-512-256, qop="auth", stale=true"#
        );
        let read = WwwAuthenticate::parse(value.as_str().unwrap()).unwrap();
        assert!(read.stale() && read.offers_auth() && read.algorithm() == Some(Algorithm::Sha512_256));
    }
}
