//! A user of the service: one bare JID, and the SIP addresses and numbers that are theirs.
//!
//! # What must hold between users
//! An [`Aor`], a [`Tel`] and a login each have at most one owner. The stores keep that promise
//! ([`store`](crate::core::store)); the type keeps the rest.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jid::BareJid;

use crate::core::entropy::hex;
use crate::core::notice::Notices;
use crate::core::secret::Secret;
use crate::core::sip::digest;
use crate::core::tel::Tel;

/// One user, as the store keeps them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Whose record this is.
    pub jid: BareJid,
    /// The name that callees see. At most [`MAX_NAME`] bytes, no control characters.
    pub name: Box<str>,
    /// SIP addresses of record, the one to show first in front. At most [`MAX_ADDRESSES`].
    pub aors: Vec<Aor>,
    /// Telephone numbers, the one to show first in front. At most [`MAX_ADDRESSES`].
    pub numbers: Vec<Tel>,
    /// What the user's phones prove. Empty for a user without a phone.
    pub credentials: Vec<Credential>,
    /// What the user may and wants.
    pub flags: Flags,
    /// Language of notices, as BCP 47 has it.
    pub language: Box<str>,
}

/// The longest display name, in bytes.
pub const MAX_NAME: usize = 256;
/// The most AORs, and the most numbers, that one user holds.
pub const MAX_ADDRESSES: usize = 8;

/// Digest proof material for one algorithm (RFC 7616 §3.4.2): the hash of `username:realm:password`, never the
/// password itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The user name that the phone gives. Shared, since a login has a credential for each algorithm.
    pub username: Arc<str>,
    /// The protection domain; here a SIP domain.
    pub realm: Arc<str>,
    /// Which hash made `ha1`.
    pub algorithm: Algorithm,
    /// The hash.
    pub ha1: Secret<Ha1>,
}

/// A hash of `username:realm:password`: with it one can prove as much as with the password. Never empty.
///
/// Bytes rather than text: many users are kept with three of them each.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1 {
    bytes: [u8; Self::MOST],
    length: u8,
}

impl Ha1 {
    /// The most bytes that any of our algorithms gives.
    const MOST: usize = digest::MOST_BYTES;

    /// That of a password.
    #[must_use]
    pub fn of(algorithm: Algorithm, username: &str, realm: &str, password: &str) -> Self {
        let text = digest::ha1(algorithm, username, realm, password);
        Self::from_hex(&text).expect("a digest is written in as many digits as there is room for")
    }

    /// Reads lower-case hexadecimal digits, two for each byte; none if the text is anything else.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.is_empty() || pairs.len() > Self::MOST || !rest.is_empty() {
            return None;
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; Self::MOST];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        let length = u8::try_from(pairs.len()).ok()?;
        Some(Self { bytes, length })
    }

    /// As it is stored.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(self.bytes())
    }

    /// As it is hashed again.
    #[must_use]
    pub fn digits(&self) -> digest::Hex {
        digest::Hex::of(self.bytes())
    }

    /// The hash itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length.into()]
    }
}

/// The hash of a digest (RFC 8760 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Algorithm {
    /// The one that most phones know.
    #[serde(rename = "MD5")]
    Md5,
    /// SHA-256.
    #[serde(rename = "SHA-256")]
    Sha256,
    /// SHA-512 truncated to 256 bits.
    #[serde(rename = "SHA-512-256")]
    Sha512_256,
}

impl Algorithm {
    /// Every algorithm, the strongest first.
    pub const ALL: [Self; 3] = [Self::Sha512_256, Self::Sha256, Self::Md5];

    /// The token on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Tokens compare without regard to case (RFC 7616 §3.3).
    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL
            .into_iter()
            .find(|a| a.as_str().eq_ignore_ascii_case(text))
            .ok_or(UnknownAlgorithm)
    }
}

/// The token names no algorithm that we have; the `-sess` variants are among those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a digest algorithm; write MD5, SHA-256 or SHA-512-256")]
pub struct UnknownAlgorithm;

/// What a user may and wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// The user's phones can do video.
    pub video: bool,
    /// What the user wants to be told in chat.
    pub notices: Notices,
    /// The user's JID may be shown to the people they call (RFC 6993 §2).
    pub impp: bool,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            video: false,
            notices: Notices::default(),
            impp: true,
        }
    }
}

/// A SIP address of record in its one canonical spelling: `sip:user@domain`, no port, no parameters.
///
/// The domain is lower-case; the user part keeps its case (RFC 3261 §19.1.4) and is percent-encoded only where it must
/// be. Two AORs are equal if and only if they name the same registration.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Aor {
    /// Shared, since a registered address is named in several tables.
    text: Arc<str>,
}

impl Aor {
    /// Makes an AOR of its two decoded parts.
    ///
    /// # Errors
    /// [`AorError`] names the part that no AOR can have.
    pub fn new(user: &str, domain: &str) -> Result<Self, AorError> {
        if user.is_empty() || user.len() > MAX_PART || user.bytes().any(|b| b.is_ascii_control()) {
            return Err(AorError::User);
        }
        let domain = domain.to_ascii_lowercase();
        let host_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'[' | b']' | b':');
        if domain.is_empty() || domain.len() > MAX_PART || !domain.bytes().all(host_byte) {
            return Err(AorError::Domain);
        }
        let mut text = String::from("sip:");
        for byte in user.bytes() {
            match byte {
                // unreserved and user-unreserved of RFC 3261 §25.1
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(byte.into()),
                b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' => text.push(byte.into()),
                b'&' | b'=' | b'+' | b'$' | b',' | b';' | b'?' | b'/' => text.push(byte.into()),
                other => {
                    use fmt::Write as _;
                    write!(text, "%{other:02X}").expect("writing to a String cannot fail");
                }
            }
        }
        text.push('@');
        text.push_str(&domain);
        Ok(Self { text: text.into() })
    }

    /// The whole URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The user part as it stands in the URI, percent-encoded where it must be.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.text["sip:".len()..self.at()]
    }

    /// The domain, lower-case.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.text[self.at() + 1..]
    }

    /// Looked for rather than kept: there are many addresses, and none has two.
    fn at(&self) -> usize {
        self.text
            .find('@')
            .expect("the user part escapes it, and the domain cannot have it")
    }
}

impl FromStr for Aor {
    type Err = AorError;

    /// Reads `sip:user@domain`, `sips:user@domain` or `user@domain`; ports, parameters and headers are refused.
    fn from_str(text: &str) -> Result<Self, AorError> {
        let scheme = |name: &str| text.get(..name.len()).filter(|head| head.eq_ignore_ascii_case(name));
        let rest = match scheme("sip:").or_else(|| scheme("sips:")) {
            Some(head) => &text[head.len()..],
            None => text,
        };
        let (user, domain) = rest.rsplit_once('@').ok_or(AorError::User)?;
        let mut bytes = Vec::with_capacity(user.len());
        let mut rest = user.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'%' {
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).ok_or(AorError::User);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                bytes.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits make a byte"));
            } else {
                bytes.push(byte);
            }
        }
        let user = String::from_utf8(bytes).map_err(|_| AorError::User)?;
        if domain.contains(':') && !domain.starts_with('[') || domain.contains("]:") {
            return Err(AorError::Domain);
        }
        Self::new(&user, domain)
    }
}

impl fmt::Display for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&crate::core::secret::Pii(self), f)
    }
}

impl serde::Serialize for Aor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for Aor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Which part of a text keeps it from being an [`Aor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AorError {
    /// The part before the `@` is missing, too long or holds control characters.
    #[error("an address of record is sip:user@domain, without control characters")]
    User,
    /// The part after the `@` is no host name, or carries a port or parameters.
    #[error("an address of record ends with a host name, without port or parameters")]
    Domain,
}

/// The longest user part and the longest domain, in bytes.
const MAX_PART: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_address_are_equal() {
        let same = ["sip:alice@Example.COM", "alice@example.com", "SIPS:%61lice@example.com"];
        for text in same {
            assert_eq!(
                text.parse::<Aor>().map(|a| a.to_string()),
                Ok("sip:alice@example.com".into()),
                "{text}"
            );
        }
        assert_ne!("Alice@example.com".parse::<Aor>(), "alice@example.com".parse::<Aor>());
        let odd: Aor = "sip:a%40b%25@example.com".parse().unwrap();
        assert_eq!((odd.user(), odd.domain()), ("a%40b%25", "example.com"));
    }

    #[test]
    fn a_hash_is_whole_bytes_and_not_empty() {
        for text in ["00", "0123456789abcdef0123456789abcdef", &"f0".repeat(32)] {
            assert_eq!(Ha1::from_hex(text).map(|ha1| ha1.to_hex()).as_deref(), Some(text));
        }
        for text in ["", "0", "000", "0A", "0g", "z0", "é", &"f0".repeat(33)] {
            assert!(Ha1::from_hex(text).is_none(), "{text}");
        }
        for algorithm in Algorithm::ALL {
            assert_eq!(
                Ha1::of(algorithm, "u", "r", "p").to_hex(),
                digest::ha1(algorithm, "u", "r", "p")
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        use AorError::*;
        let refused = [
            ("example.com", User),
            ("@example.com", User),
            ("sip:%0@example.com", User),
            ("sip:a%00b@example.com", User),
            ("sip:%ff@example.com", User),
            ("alice@", Domain),
            ("alice@example.com:5060", Domain),
            ("alice@example.com;transport=tcp", Domain),
            ("alice@exa mple.com", Domain),
        ];
        for (text, why) in refused {
            assert_eq!(text.parse::<Aor>().unwrap_err(), why, "{text}");
        }
    }
}
