//! Challenges and proofs (RFC 3261 §20.7, §20.27, §20.28, §20.44; RFC 7616).

use std::ops::Deref;

use crate::core::sip::headers::HeaderError;
use crate::core::sip::name::HeaderName;
use crate::core::sip::scan;
use crate::core::sip::text::Text;
use crate::core::sip::typed::{Form, TypedHeader};
use crate::core::user::Algorithm;

/// `scheme name=value, name="value"`, of which no name may stand twice.
///
/// A scheme that is not Digest may write something else; it is kept as one text that has no names.
#[derive(Clone, PartialEq, Eq)]
struct Pairs {
    scheme: Text,
    pairs: Vec<(Text, Text)>,
    /// What could not be read as pairs.
    opaque: Option<Text>,
}

impl Pairs {
    fn digest() -> Self {
        Self {
            scheme: Text::of_static("Digest"),
            pairs: Vec::new(),
            opaque: None,
        }
    }

    fn is_digest(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("Digest")
    }

    fn param(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| &**value)
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.pairs.push((Text::of_static(name), Text::from(value)));
        self
    }

    fn parse(text: &str) -> Result<Self, HeaderError> {
        let source = Text::from(text);
        let text = source.as_str();
        let (scheme, rest) = text.split_once(scan::is_blank).unwrap_or((text, ""));
        if !scan::all_token(scheme.as_bytes()) {
            return Err(HeaderError::malformed("not a scheme"));
        }
        let mut read = Self {
            scheme: source.cut(scheme),
            pairs: Vec::new(),
            opaque: None,
        };
        match read_pairs(&source, scan::trim(rest)) {
            Ok(pairs) => read.pairs = pairs,
            Err(error) if read.is_digest() => return Err(error),
            Err(_) => read.opaque = Some(source.cut(scan::trim(rest))),
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
        for (at, (name, value)) in self.pairs.iter().enumerate() {
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

fn read_pairs(source: &Text, text: &str) -> Result<Vec<(Text, Text)>, HeaderError> {
    let mut pairs: Vec<(Text, Text)> = Vec::new();
    for part in scan::commas(text) {
        let (name, value) = part?.split_once('=').ok_or(HeaderError::malformed("not name=value"))?;
        let (name, value) = (scan::trim(name), scan::trim(value));
        if !scan::all_token(name.as_bytes()) {
            return Err(HeaderError::malformed("a parameter name that is no token"));
        }
        // Each is compared with all before it, and a stranger may have written thousands.
        if pairs.len() == MAX_PAIRS {
            return Err(HeaderError::malformed("more parameters than anybody needs"));
        }
        if pairs.iter().any(|(found, _)| found.eq_ignore_ascii_case(name)) {
            return Err(HeaderError::malformed("a parameter that stands twice"));
        }
        let value = if value.starts_with('"') {
            if scan::quoted_end(value)? != value.len() {
                return Err(HeaderError::malformed("text behind a quoted parameter"));
            }
            source.cut(&value[1..value.len() - 1]).meant(scan::unquoted)
        } else if scan::all_token(value.as_bytes()) {
            source.cut(value)
        } else {
            return Err(HeaderError::malformed("a value that needs quotes"));
        };
        pairs.push((source.cut(name), value));
    }
    Ok(pairs)
}

/// What somebody must prove: one challenge.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge(Pairs);

impl Challenge {
    /// A Digest challenge with `qop="auth"`. `stale` says that only the nonce was too old.
    #[must_use]
    pub fn digest(realm: &str, nonce: &str, algorithm: Algorithm, stale: bool) -> Self {
        let pairs = Pairs::digest()
            .with("realm", realm)
            .with("nonce", nonce)
            .with("algorithm", algorithm.as_str())
            .with("qop", "auth");
        Self(if stale { pairs.with("stale", "true") } else { pairs })
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
        let mut pairs = Pairs::digest()
            .with("username", proof.username)
            .with("realm", proof.realm)
            .with("nonce", proof.nonce)
            .with("uri", proof.uri)
            .with("response", proof.response)
            .with("algorithm", proof.algorithm.as_str());
        if let Some(opaque) = proof.opaque {
            pairs = pairs.with("opaque", opaque);
        }
        if let Some((cnonce, count)) = proof.auth {
            pairs = pairs
                .with("cnonce", cnonce)
                .with("nc", &format!("{count:08x}"))
                .with("qop", "auth");
        }
        Self(pairs)
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
        assert_eq!(format!("{proof:?}"), "Authorization(Digest ***)");
        let odd = Authorization::parse("Digest realm=\"a\u{1}b\"").unwrap();
        assert_eq!(odd.realm(), Some("a b"), "as it would be written");
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
        let mut text = String::new();
        WwwAuthenticate(Challenge::digest("r", "n", Algorithm::Sha512_256, true)).write(&mut text);
        assert_eq!(
            text,
            r#"Digest realm="r", nonce="n", algorithm=SHA-512-256, qop="auth", stale=true"#
        );
        let read = WwwAuthenticate::parse(&text).unwrap();
        assert!(read.stale() && read.offers_auth() && read.algorithm() == Some(Algorithm::Sha512_256));
    }
}
