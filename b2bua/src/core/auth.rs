//! Who is asking: digest challenges, and the proofs that answer them.
//!
//! Rules: RFC 3261 §22, RFC 7616, RFC 8760.
//!
//! # The order of judgement
//! The proof is computed first, against the user's secret or, for an unknown user, against a secret of our own; only a
//! right proof is told anything about the age or the use of its nonce. So neither answer nor time tells a stranger
//! whether a user exists.
//!
//! # Nonces
//! A nonce is time, random bytes and a MAC over both with realm, algorithm, transport and address: it is good for what it was
//! made for, and needs no memory until it is used. Which counts of a nonce were used is kept in a bounded table. When
//! the table must forget a nonce, that nonce and all older ones that it does not know are answered with `stale=true`,
//! never accepted a second time.
//!
//! # Left out
//! - `auth-int`, `-sess` algorithms, `userhash`, and credentials without `qop`: refused like a wrong proof.
//!
//! # Invariants
//! - [`Authenticated`] is made only here, and nothing is written before the proof was found right.
//! - The table of counts holds at most [`MAX_NONCES`].

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cusax_common::core::entropy::{Entropy, hex};
use cusax_common::core::sip::typed::{Authorization, Challenge, Credentials, ProxyAuthorization};
use cusax_common::core::sip::{HeaderError, Request, SipRef, Uri, Value, digest};
use cusax_common::core::time::Wall;
use cusax_common::core::user::{Algorithm, Aor, Ha1, User};
use ring::hmac;
use siphasher::sip128::SipHasher24;
use smallvec::SmallVec;

use crate::core::flow::{Flow, Transport};
use crate::core::registrar::aor_of;

/// Makes challenges and judges proofs.
///
/// One key for each deployment: processes that share it accept one another's nonces, but not one another's counts.
pub struct Authenticator {
    key: SipHasher24,
    life: Duration,
    /// One for each algorithm: what proofs for unknown users are computed with.
    dummies: [Ha1; Algorithm::ALL.len()],
    windows: BTreeMap<NonceId, Window>,
    /// Nonces up to this one were forgotten unless they are in the table.
    forgotten: Option<NonceId>,
    limit: usize,
}

/// The algorithms that a listener offers unless it is configured otherwise, the preferred one first.
pub const DEFAULT_ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Md5];
/// How long a nonce is good unless it is configured otherwise.
pub const NONCE_LIFE: Duration = Duration::from_secs(60);
/// How many nonces in use are remembered with their counts.
pub const MAX_NONCES: usize = 65_536;
/// The longest username, realm, URI, cnonce or response that is judged, in bytes.
const MAX_PARAMETER: usize = 1024;

/// Which header carries a challenge's answer: a registrar asks like a server, a call is asked like by a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// `Authorization`, which answers 401.
    Authorization,
    /// `Proxy-Authorization`, which answers 407.
    ProxyAuthorization,
}

/// The proof that a request was made by a user. Made only of a [`Proof`] whose count was spent; good for one request.
pub struct Authenticated {
    user: Arc<User>,
}

impl Authenticated {
    /// A proof out of nothing, for the tests of those who ask for one.
    #[cfg(test)]
    pub(crate) fn pretended(user: Arc<User>) -> Self {
        Self { user }
    }

    /// Whose request it is.
    #[must_use]
    pub fn user(&self) -> &Arc<User> {
        &self.user
    }

    /// The address that a URI names, if the user may speak for it.
    #[must_use]
    pub fn address(&self, uri: &Uri) -> Option<&Aor> {
        let mut held = self.user.aors.iter();
        // Nearly every phone writes its address as we do.
        if let Some(aor) = held.clone().find(|aor| is_plainly(aor, uri)) {
            return Some(aor);
        }
        let named = aor_of(uri)?;
        held.find(|aor| **aor == named)
    }

    /// The same for the URI of a header, which is read in full only where it is not written as we do.
    ///
    /// # Errors
    /// That of `read`.
    pub fn address_in(
        &self,
        near: Option<SipRef<'_>>,
        read: impl FnOnce() -> Result<Uri, HeaderError>,
    ) -> Result<Option<&Aor>, HeaderError> {
        let is_it = |aor: &&Aor| near.is_some_and(|uri| uri.is_plainly(aor.user(), aor.domain()));
        match self.user.aors.iter().find(is_it) {
            Some(aor) => Ok(Some(aor)),
            None => Ok(self.address(&read()?)),
        }
    }
}

/// A right proof, whose nonce may have been used before.
pub struct Proof {
    user: Arc<User>,
    count: Count,
}

impl Proof {
    /// Whose it is, should it hold.
    #[must_use]
    pub fn user(&self) -> &Arc<User> {
        &self.user
    }

    /// What is to be [spent](Authenticator::spend) before it holds.
    #[must_use]
    pub fn count(&self) -> &Count {
        &self.count
    }

    /// It holds, since its own count was spent.
    #[must_use]
    pub fn hold(self, _: Spent) -> Authenticated {
        Authenticated { user: self.user }
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof")
    }
}

/// One use of one nonce.
#[derive(Clone, Debug)]
pub struct Count {
    id: NonceId,
    count: u32,
}

/// A count was used for the first time. Made only by [`Authenticator::spend`].
#[derive(Debug)]
pub struct Spent(());

/// Without the record itself: it holds an address and secrets.
impl fmt::Debug for Authenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticated")
    }
}

/// Why credentials prove nothing. The answer is always a new challenge, which looks the same but for `stale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There are none for this realm.
    #[error("no credentials for the realm")]
    Missing,
    /// There are several for this realm, so that it would be their order that decides.
    #[error("several credentials for one realm")]
    Ambiguous,
    /// A part is missing, too long or malformed, or asks for what we do not offer.
    #[error("credentials in a form that is not offered")]
    Malformed,
    /// The `uri` is not that of the request (RFC 7616 §3.4.6).
    #[error("credentials for another URI")]
    OtherUri,
    /// The user is unknown, has no secret for the algorithm, or the proof is wrong. Deliberately not told apart.
    #[error("wrong credentials")]
    Wrong,
    /// The proof is right and the nonce is not: not ours, not for this algorithm, realm or transport, too old, or its
    /// counts were forgotten.
    #[error("a nonce that is not good any more")]
    StaleNonce,
    /// The proof is right and its count was used before.
    #[error("a nonce count that was used before")]
    Replayed,
}

impl Rejection {
    /// Whether the new challenge says that only the nonce was at fault.
    #[must_use]
    pub fn is_stale(self) -> bool {
        match self {
            Self::StaleNonce => true,
            Self::Missing | Self::Ambiguous | Self::Malformed | Self::OtherUri | Self::Wrong | Self::Replayed => false,
        }
    }
}

/// Where a request came from, as far as a nonce is tied to it: one that was given to an address proves that its user is
/// there, so that nobody can have our answers sent to somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// How it came.
    pub transport: Transport,
    /// From which address. The port may change behind a NAT.
    pub address: IpAddr,
}

impl From<Flow> for Peer {
    fn from(flow: Flow) -> Self {
        Self {
            transport: flow.transport,
            address: flow.remote.ip().to_canonical(),
        }
    }
}

impl Authenticator {
    /// Takes the key, which only this deployment knows, and how long a nonce is good.
    #[must_use]
    pub fn new(secret: &[u8; 32], life: Duration) -> Self {
        Self::with_limit(secret, life, MAX_NONCES)
    }

    fn with_limit(secret: &[u8; 32], life: Duration, limit: usize) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let dummies = Algorithm::ALL.map(|algorithm| {
            let context = format!("secret of nobody, {}", algorithm.as_str());
            let mac = hmac::sign(&key, context.as_bytes());
            Ha1::from_hex(&hex(&mac.as_ref()[..secret_bytes(algorithm)])).expect("a MAC is as long as the longest hash")
        });
        let mut nonces = [0; 16];
        nonces.copy_from_slice(&hmac::sign(&key, b"nonces").as_ref()[..16]);
        Self {
            key: SipHasher24::new_with_key(&nonces),
            life,
            dummies,
            windows: BTreeMap::new(),
            forgotten: None,
            limit: limit.max(1),
        }
    }

    /// One challenge for each algorithm, in the given order (RFC 8760 §2.3).
    ///
    /// The algorithms belong to the listener, never to the account: that would tell who exists.
    pub fn challenge(
        &self,
        now: Wall,
        entropy: &mut impl Entropy,
        realm: &str,
        peer: Peer,
        algorithms: &[Algorithm],
        stale: bool,
    ) -> SmallVec<[Value; Algorithm::ALL.len()]> {
        algorithms
            .iter()
            .map(|&algorithm| {
                let id = NonceId {
                    made: now,
                    random: entropy.bytes(),
                };
                let mut nonce = [0; NONCE_BYTES];
                nonce[..TIME_BYTES].copy_from_slice(&id.time());
                nonce[TIME_BYTES..][..RANDOM_BYTES].copy_from_slice(&id.random);
                nonce[TIME_BYTES + RANDOM_BYTES..].copy_from_slice(&self.mac(&id, realm, algorithm, peer));
                // Short, so that a challenge is not much longer than what it answers.
                let nonce = URL_SAFE_NO_PAD.encode(nonce);
                Challenge::digest(realm, &nonce, algorithm, stale)
            })
            .collect()
    }

    /// How long each such challenge is at most, for whoever has room for some alone.
    #[must_use]
    pub fn challenge_len(realm: &str, algorithm: Algorithm, stale: bool) -> usize {
        Challenge::digest_len(realm, NONCE_LENGTH, algorithm, stale)
    }

    /// Judges credentials that [`credentials`] found in the request, but for the use that was made of the nonce before: that
    /// is known to the one who [`spend`](Self::spend)s it.
    ///
    /// `user` is the one with this login, if there is one. `realm` is that of the listener, and `peer` where the request came from.
    ///
    /// # Errors
    /// [`Rejection`]; the answer is a new challenge.
    pub fn prove(
        &self,
        now: Wall,
        request: &Request,
        peer: Peer,
        realm: &str,
        credentials: &Credentials,
        user: Option<&Arc<User>>,
    ) -> Result<Proof, Rejection> {
        let claim = Claim::read(credentials).ok_or(Rejection::Malformed)?;
        if credentials.realm() != Some(realm) {
            return Err(Rejection::Missing);
        }
        if !is_for(claim.uri, request) {
            return Err(Rejection::OtherUri);
        }
        // The same work whether or not there is such a user.
        let secret = user.and_then(|user| secret_of(user, &claim, realm));
        let dummy = Algorithm::ALL.iter().position(|&known| known == claim.algorithm);
        let key = secret.or_else(|| Some(&self.dummies[dummy?]));
        let key = key.map_or_else(|| digest::Hex::of(&[]), Ha1::digits);
        let expected = digest::response(
            claim.algorithm,
            &key,
            claim.nonce,
            claim.nc,
            claim.cnonce,
            Some(claim.qop),
            request.method.as_str(),
            claim.uri,
        );
        let right = digest::same_proof(&expected, claim.response);
        let (Some(user), true, true) = (user, secret.is_some(), right) else {
            return Err(Rejection::Wrong);
        };
        let id = self
            .own_nonce(claim.nonce, realm, claim.algorithm, peer)
            .ok_or(Rejection::StaleNonce)?;
        // A nonce of the future is one of a clock that was set back since.
        if id.made > now || now.since(id.made) > self.life {
            return Err(Rejection::StaleNonce);
        }
        let user = Arc::clone(user);
        let count = claim.count;
        Ok(Proof {
            user,
            count: Count { id, count },
        })
    }

    /// The same, and [`spend`](Self::spend)s it at once.
    ///
    /// # Errors
    /// [`Rejection`]; the answer is a new challenge.
    pub fn verify(
        &mut self,
        now: Wall,
        request: &Request,
        peer: Peer,
        realm: &str,
        credentials: &Credentials,
        user: Option<&Arc<User>>,
    ) -> Result<Authenticated, Rejection> {
        let proof = self.prove(now, request, peer, realm, credentials, user)?;
        let spent = self.spend(now, proof.count())?;
        Ok(proof.hold(spent))
    }

    /// Uses a count of a nonce, which nobody has used before. All counts of one deployment's nonces that are to be told from
    /// replays are spent here, at one authenticator.
    ///
    /// # Errors
    /// [`Rejection::StaleNonce`] or [`Rejection::Replayed`].
    pub fn spend(&mut self, now: Wall, count: &Count) -> Result<Spent, Rejection> {
        self.use_count(now, count.id.clone(), count.count).map(|()| Spent(()))
    }

    fn own_nonce(&self, nonce: &str, realm: &str, algorithm: Algorithm, peer: Peer) -> Option<NonceId> {
        if nonce.len() != NONCE_LENGTH {
            return None;
        }
        let mut bytes = [0; NONCE_BYTES];
        if URL_SAFE_NO_PAD.decode_slice(nonce, &mut bytes) != Ok(NONCE_BYTES) {
            return None;
        }
        let (time, rest) = bytes.split_first_chunk::<TIME_BYTES>()?;
        let (random, mac) = rest.split_first_chunk::<RANDOM_BYTES>()?;
        let made = time.iter().fold(0, |made, byte| made << 8 | u64::from(*byte));
        let id = NonceId {
            made: Wall(made),
            random: *random,
        };
        digest::same(&self.mac(&id, realm, algorithm, peer), mac).then_some(id)
    }

    fn mac(&self, id: &NonceId, realm: &str, algorithm: Algorithm, peer: Peer) -> [u8; MAC_BYTES] {
        // It is made for short texts, for which it takes a fraction of the time that an HMAC takes, and nobody tells what it
        // gives without the key. All but the end is as long as what is before it says, so that no field runs into the next.
        let mut context: SmallVec<[u8; USUAL_CONTEXT]> = SmallVec::new();
        context.extend_from_slice(&id.time());
        context.extend_from_slice(&id.random);
        context.extend_from_slice(&[algorithm as u8, peer.transport as u8]);
        match peer.address {
            IpAddr::V4(ip) => {
                context.push(4);
                context.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                context.push(6);
                context.extend_from_slice(&ip.octets());
            }
        }
        context.extend_from_slice(realm.as_bytes());
        self.key.hash(&context).as_bytes()
    }

    fn use_count(&mut self, now: Wall, id: NonceId, count: u32) -> Result<(), Rejection> {
        if let Some(window) = self.windows.get_mut(&id) {
            return if window.admit(count) {
                Ok(())
            } else {
                Err(Rejection::Replayed)
            };
        }
        if self.forgotten.as_ref().is_some_and(|forgotten| id <= *forgotten) {
            return Err(Rejection::StaleNonce);
        }
        while let Some((oldest, _)) = self.windows.first_key_value() {
            let expired = now.since(oldest.made) > self.life;
            if !expired && self.windows.len() < self.limit {
                break;
            }
            let oldest = self.windows.pop_first().map(|(oldest, _)| oldest);
            self.forgotten = self.forgotten.take().max(oldest);
        }
        if self.forgotten.as_ref().is_some_and(|forgotten| id <= *forgotten) {
            return Err(Rejection::StaleNonce);
        }
        let mut window = Window::default();
        window.admit(count);
        self.windows.insert(id, window);
        Ok(())
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("nonces", &self.windows.len())
            .finish_non_exhaustive()
    }
}

/// The Digest credentials of a request for this realm, wherever they stand among others (RFC 3261 §22.3).
///
/// # Errors
/// There are none, or several.
pub fn credentials(request: &Request, realm: &str, header: Header) -> Result<Credentials, Rejection> {
    let (mut found, mut several) = (None, false);
    let mut keep = |one: Credentials| {
        if one.is_digest() && one.realm() == Some(realm) {
            several |= found.is_some();
            found = Some(one);
        }
    };
    let headers = &request.headers;
    let read = match header {
        Header::Authorization => headers.each(|Authorization(one)| keep(one)),
        Header::ProxyAuthorization => headers.each(|ProxyAuthorization(one)| keep(one)),
    };
    read.map_err(|_| Rejection::Malformed)?;
    match found {
        None => Err(Rejection::Missing),
        Some(_) if several => Err(Rejection::Ambiguous),
        Some(one) => Ok(one),
    }
}

/// Credentials that have all parts and no others than we offer.
struct Claim<'a> {
    username: &'a str,
    algorithm: Algorithm,
    nonce: &'a str,
    uri: &'a str,
    response: &'a str,
    cnonce: &'a str,
    qop: &'a str,
    nc: &'a str,
    count: u32,
}

impl<'a> Claim<'a> {
    fn read(credentials: &'a Credentials) -> Option<Self> {
        let bounded = |text: Option<&'a str>| text.filter(|text| text.len() <= MAX_PARAMETER);
        let hashed = credentials.is_userhash();
        Some(Self {
            username: bounded(credentials.username()).filter(|name| !name.is_empty() && !hashed)?,
            algorithm: credentials.algorithm()?,
            nonce: bounded(credentials.nonce())?,
            uri: bounded(credentials.uri())?,
            response: bounded(credentials.response())?,
            cnonce: bounded(credentials.cnonce())?,
            qop: credentials.qop().filter(|qop| qop.eq_ignore_ascii_case("auth"))?,
            nc: credentials.nc()?,
            count: credentials.nonce_count().filter(|&count| count > 0)?,
        })
    }
}

/// Whether a URI is this address in its canonical spelling.
fn is_plainly(aor: &Aor, uri: &Uri) -> bool {
    let Uri::Sip(uri) = uri else { return false };
    uri.user.as_deref() == Some(aor.user()) && uri.host.name() == Some(aor.domain())
}

/// The user's secret for this claim. A cut one is none, so that it never matches.
fn secret_of<'a>(user: &'a User, claim: &Claim<'_>, realm: &str) -> Option<&'a Ha1> {
    user.credentials
        .iter()
        .find(|one| one.algorithm == claim.algorithm && *one.realm == *realm && *one.username == *claim.username)
        .map(|one| one.ha1.expose())
        .filter(|ha1| ha1.bytes().len() == secret_bytes(claim.algorithm))
}

fn secret_bytes(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Md5 => 16,
        Algorithm::Sha256 | Algorithm::Sha512_256 => 32,
    }
}

/// Whether the `uri` of the credentials is that of the request, in whatever spelling (RFC 3261 §22.4 item 8). One that is
/// longer than any that is judged is not read part by part for somebody who has proved nothing yet.
fn is_for(uri: &str, request: &Request) -> bool {
    request.uri.is_written(uri)
        || request.uri.size() <= MAX_PARAMETER && uri.parse::<Uri>().is_ok_and(|uri| uri.same_as(&request.uri))
}

/// What makes a nonce unique. Older ones come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NonceId {
    made: Wall,
    random: [u8; RANDOM_BYTES],
}

impl NonceId {
    fn time(&self) -> [u8; TIME_BYTES] {
        let [_, _, time @ ..] = self.made.0.to_be_bytes();
        time
    }
}

/// Which of the last counts of one nonce were used.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    top: u32,
    /// Bit n: whether `top - n` was used.
    used: u64,
}

impl Window {
    /// Marks a count as used; tells whether it was fresh. What is older than the window counts as used.
    fn admit(&mut self, count: u32) -> bool {
        if count > self.top {
            self.used = self.used.checked_shl(count - self.top).unwrap_or(0) | 1;
            self.top = count;
            return true;
        }
        let bit = 1_u64.checked_shl(self.top - count).unwrap_or(0);
        let fresh = bit != 0 && self.used & bit == 0;
        self.used |= bit;
        fresh
    }
}

/// Random bytes of a nonce.
const RANDOM_BYTES: usize = 16;
/// Bytes of a nonce's MAC.
const MAC_BYTES: usize = 16;
/// Bytes of a nonce's time, in milliseconds: enough for ten thousand years.
const TIME_BYTES: usize = 6;
/// Bytes of a nonce: time, random and MAC.
const NONCE_BYTES: usize = TIME_BYTES + RANDOM_BYTES + MAC_BYTES;
/// Room for what a nonce's MAC is made of, with a long realm.
const USUAL_CONTEXT: usize = 128;
/// Characters of a nonce in base64.
const NONCE_LENGTH: usize = NONCE_BYTES.div_ceil(3) * 4 - 1;

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
