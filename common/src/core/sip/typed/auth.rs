//! Challenges and proofs (RFC 3261 §20.7, §20.27, §20.28, §20.44; RFC 7616).

use std::ops::{Deref, Range};

use smallvec::SmallVec;

use crate::core::sip::cursor::Cursor;
use crate::core::sip::headers::HeaderError;
use crate::core::sip::name::HeaderName;
use crate::core::sip::scan::{self, Bad, class};
use crate::core::sip::text::Text;
use crate::core::sip::typed::{Form, TypedHeader};
use crate::core::sip::value::Value;
use crate::core::user::Algorithm;

/// `scheme name=value, name="value"`, of which no name may stand twice.
///
/// A scheme that is not Digest may write something else; it is kept as one text that has no names.
#[derive(Clone)]
struct Pairs {
    scheme: Text,
    /// In which the pairs lie.
    source: Text,
    pairs: SmallVec<[Pair; USUAL_PAIRS]>,
    /// What could not be read as pairs.
    opaque: Option<Text>,
}

/// Where a name and its value lie in their source, the value without quotes.
#[derive(Clone)]
struct Pair {
    name: Range<u32>,
    value: Range<u32>,
    /// What the value means, where that is not what stands there.
    meant: Option<Text>,
}

impl Pairs {
    /// Digest with these pairs, none of whose names stands twice.
    fn digest(pairs: &[(&'static str, &str)]) -> Self {
        let mut source = String::new();
        let mut place = |text: &str| {
            let start = source.len();
            source.push_str(text);
            span(start, source.len())
        };
        let pairs = pairs.iter().map(|(name, value)| Pair {
            name: place(name),
            value: place(value),
            meant: None,
        });
        let pairs = pairs.collect();
        Self {
            scheme: Text::of_static("Digest"),
            source: Text::from(source),
            pairs,
            opaque: None,
        }
    }

    fn is_digest(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("Digest")
    }

    fn text(&self, span: &Range<u32>) -> &str {
        &self.source[span.start as usize..span.end as usize]
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|pair| {
            let value = pair.meant.as_deref().unwrap_or_else(|| self.text(&pair.value));
            (self.text(&pair.name), value)
        })
    }

    fn param(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn shared(&self, name: &str) -> Option<Text> {
        let named = |pair: &&Pair| self.text(&pair.name).eq_ignore_ascii_case(name);
        let pair = self.pairs.iter().find(named)?;
        let meant = pair.meant.clone();
        Some(meant.unwrap_or_else(|| self.source.cut(self.text(&pair.value))))
    }

    fn parse(text: &str) -> Result<Self, HeaderError> {
        let source = Text::from(text);
        let mut cursor = Cursor::new(source.as_bytes());
        let scheme = cursor.run(class::TOKEN);
        if scheme.is_empty() || !matches!(cursor.peek(), None | Some(b' ' | b'\t')) {
            return Err(HeaderError::malformed("not a scheme"));
        }
        cursor.blanks();
        let rest = cursor.rest();
        let mut read = Self {
            scheme: source.cut(scheme),
            pairs: SmallVec::new(),
            opaque: None,
            source: source.clone(),
        };
        match read_pairs(&source, cursor) {
            Ok(pairs) => read.pairs = pairs,
            Err(error) if read.is_digest() => return Err(error.into()),
            Err(_) => read.opaque = Some(source.cut(scan::trim_bytes(rest))),
        }
        Ok(read)
    }

    /// Which values stand in quotes is fixed for each name (RFC 7616 §3.3, §3.4).
    fn write(&self, bare: &[&str], out: &mut String) {
        out.push_str(&self.scheme);
        out.push(' ');
        if let Some(opaque) = &self.opaque {
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
        self.scheme == other.scheme && self.opaque == other.opaque && self.iter().eq(other.iter())
    }
}

impl Eq for Pairs {}

/// Reads `name=value, name="value"` to the end, where blanks may stand around each mark.
fn read_pairs(source: &Text, mut cursor: Cursor<'_>) -> Result<SmallVec<[Pair; USUAL_PAIRS]>, Bad> {
    let bytes = source.as_bytes();
    let place = |part: &[u8]| {
        let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
        span(start, start + part.len())
    };
    let mut pairs: SmallVec<[Pair; USUAL_PAIRS]> = SmallVec::new();
    loop {
        cursor.blanks();
        let name = cursor.run(class::TOKEN);
        cursor.blanks();
        if name.is_empty() || !cursor.eat(b'=') {
            return Err(Bad("not name=value"));
        }
        cursor.blanks();
        // Each is compared with all before it, and a stranger may have written thousands.
        if pairs.len() == MAX_PAIRS {
            return Err(Bad("more parameters than anybody needs"));
        }
        let before = |pair: &Pair| &bytes[pair.name.start as usize..pair.name.end as usize];
        if pairs.iter().any(|pair| before(pair).eq_ignore_ascii_case(name)) {
            return Err(Bad("a parameter that stands twice"));
        }
        let (value, meant) = if cursor.peek() == Some(b'"') {
            let quoted = cursor.quoted()?;
            let inside = &quoted[1..quoted.len() - 1];
            let plain = inside.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\');
            (inside, (!plain).then(|| source.cut(inside).meant(scan::unquoted)))
        } else {
            let token = cursor.run(class::TOKEN);
            if token.is_empty() {
                return Err(Bad("a value that needs quotes"));
            }
            (token, None)
        };
        pairs.push(Pair {
            name: place(name),
            value: place(value),
            meant,
        });
        cursor.blanks();
        if cursor.rest().is_empty() {
            return Ok(pairs);
        }
        if !cursor.eat(b',') {
            return Err(Bad("text behind a parameter"));
        }
    }
}

/// A place in a text, none of which is so long that it would not fit.
fn span(start: usize, end: usize) -> Range<u32> {
    let at = |at| u32::try_from(at).unwrap_or(0);
    at(start)..at(end)
}

/// What somebody must prove: one challenge.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge(Pairs);

impl Challenge {
    /// The value of a Digest challenge with `qop="auth"`, written at once: strangers ask for very many. `stale` says
    /// that only the nonce was too old.
    #[must_use]
    pub fn digest(realm: &str, nonce: &str, algorithm: Algorithm, stale: bool) -> Value {
        let algorithm = algorithm.as_str();
        let mut text = String::with_capacity(USUAL_CHALLENGE + realm.len() + nonce.len() + algorithm.len());
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
        self.param("realm")
    }

    /// The number used once.
    #[must_use]
    pub fn nonce(&self) -> Option<&str> {
        self.param("nonce")
    }

    /// To be given back unchanged.
    #[must_use]
    pub fn opaque(&self) -> Option<&str> {
        self.param("opaque")
    }

    /// The algorithm, MD5 where none is named; none for one that we do not have.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.param("algorithm")
            .map_or(Some(Algorithm::Md5), |text| text.parse().ok())
    }

    /// Whether `auth` is among the qualities of protection offered.
    #[must_use]
    pub fn offers_auth(&self) -> bool {
        self.param("qop")
            .is_some_and(|list| list.split(',').any(|qop| scan::trim(qop).eq_ignore_ascii_case("auth")))
    }

    /// Whether only the nonce was too old.
    #[must_use]
    pub fn stale(&self) -> bool {
        self.param("stale")
            .is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }
}

/// A proof: one set of credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(Pairs);

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
        self.param("username")
    }

    /// The realm and the username, empty where there are none, to be kept: they share the text that they stand in.
    #[must_use]
    pub fn login(&self) -> (Text, Text) {
        let shared = |name| self.0.shared(name).unwrap_or_default();
        (shared("realm"), shared("username"))
    }

    /// For whom it is.
    #[must_use]
    pub fn realm(&self) -> Option<&str> {
        self.param("realm")
    }

    /// The nonce that it answers.
    #[must_use]
    pub fn nonce(&self) -> Option<&str> {
        self.param("nonce")
    }

    /// The Request-URI that it is for.
    #[must_use]
    pub fn uri(&self) -> Option<&str> {
        self.param("uri")
    }

    /// The proof itself.
    #[must_use]
    pub fn response(&self) -> Option<&str> {
        self.param("response")
    }

    /// The algorithm, MD5 where none is named; none for one that we do not have, `-sess` variants among them.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.param("algorithm")
            .map_or(Some(Algorithm::Md5), |text| text.parse().ok())
    }

    /// The quality of protection, if it is named.
    #[must_use]
    pub fn qop(&self) -> Option<&str> {
        self.param("qop")
    }

    /// The client's own nonce.
    #[must_use]
    pub fn cnonce(&self) -> Option<&str> {
        self.param("cnonce")
    }

    /// The nonce count as it stands: it goes into the proof so.
    #[must_use]
    pub fn nc(&self) -> Option<&str> {
        self.param("nc")
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
        self.param("opaque")
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
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ***", self.0.scheme)
    }
}

impl std::fmt::Debug for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ***", self.0.scheme)
    }
}

/// Room for the names in a challenge.
const USUAL_CHALLENGE: usize = 72;
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
        let (realm, username) = proof.login();
        assert_eq!((Some(&*realm), Some(&*username)), (proof.realm(), proof.username()));
        assert_eq!(format!("{proof:?}"), "Authorization(Digest ***)");
        let odd = Authorization::parse("Digest realm=\"a\u{1}b\"").unwrap();
        assert_eq!(odd.realm(), Some("a b"), "as it would be written");
        assert_eq!(odd.login(), (Text::from("a b"), Text::EMPTY));
        let other = Authorization::parse("NoOneKnowsThisScheme opaque-data=here").unwrap();
        assert!(!other.is_digest());
        assert!(!Authorization::parse("Basic QWxhZGRpbg==").unwrap().is_digest());
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
