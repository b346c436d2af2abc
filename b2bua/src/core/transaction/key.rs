//! How a message finds its transaction: branch, sent-by, method (RFC 3261 §17.1.3 and §17.2.3).
//!
//! A name is 128 bits of a keyed hash of these parts. Whoever lacks the key cannot make two messages of one name, so
//! that equal names mean equal parts; and a name takes sixteen bytes, whatever strangers write.

use std::fmt;

use cusax_common::core::sip::typed::Hop;
use cusax_common::core::sip::{Method, Request, Response};
use siphasher::sip128::SipHasher13;
use smallvec::SmallVec;

/// Every branch that RFC 3261 elements make begins so (§8.1.1.7).
pub const MAGIC_COOKIE: &str = "z9hG4bK";
/// The longest branch, tag or Call-ID that we take, in bytes.
pub const MAX_TOKEN: usize = 512;

/// Names a server transaction.
///
/// The sent-by is part of it because two clients may draw the same branch, by accident or malice (§17.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerKey(u128);

/// What a request and its CANCEL or ACK have in common: branch and sent-by (§9.1, §17.1.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u128);

/// Names a client transaction, and the Via that we wrote for it (§18.1.2). CANCEL has the branch of its INVITE, so the
/// method belongs to the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(u128);

/// What copies of one request have in common, whichever way they came (RFC 3261 §8.2.2.2). That of an ACK is that of
/// its INVITE (§13.2.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey(u128);

/// The request that a 2xx answered, and the dialog that the 2xx made: what its ACK repeats (§13.2.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AnswerKey(u128);

/// Makes names.
#[derive(Clone)]
pub struct Keys(SipHasher13);

impl Keys {
    /// Takes the key, which only this deployment knows.
    #[must_use]
    pub fn new(secret: &[u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(secret))
    }

    /// The name of the request of this method at this place.
    #[must_use]
    pub fn server(&self, place: Place, method: &Method) -> ServerKey {
        // Places are as good as random, so that no two of them differ by what methods do.
        ServerKey(place.0 ^ self.method(method))
    }

    /// The name of a 2xx with this To tag to this INVITE.
    #[must_use]
    pub fn answer(&self, invite: RequestKey, to_tag: &str) -> AnswerKey {
        let content = Content::new(Kind::Answer).text(&invite.0.to_be_bytes());
        AnswerKey(self.name(&content.text(to_tag.as_bytes())))
    }

    fn client(&self, hop: &Hop<'_>, branch: &str, method: &Method) -> ClientKey {
        let content = Content::new(Kind::Client).sent_by(hop).text(branch.as_bytes());
        ClientKey(self.name(&content) ^ self.method(method))
    }

    /// What tells a method from all others: its letters, where they fit.
    fn method(&self, method: &Method) -> u128 {
        let text = method.as_str().as_bytes();
        if text.len() > size_of::<u128>() {
            return self.name(&Content::new(Kind::Method).text(text));
        }
        text.iter()
            .fold(0, |letters, letter| letters << 8 | u128::from(*letter))
    }

    fn name(&self, content: &Content) -> u128 {
        self.0.hash(&content.0).as_u128()
    }
}

/// What is hashed, in one piece: to hash each part for itself takes longer.
struct Content(SmallVec<[u8; USUAL_CONTENT]>);

impl Content {
    fn new(kind: Kind) -> Self {
        Self(SmallVec::from_slice(&[kind as u8]))
    }

    fn text(self, text: &[u8]) -> Self {
        self.filled(|content| content.extend_from_slice(text))
    }

    fn sent_by(self, hop: &Hop<'_>) -> Self {
        self.filled(|content| hop.put_sent_by(content))
    }

    /// The length before it keeps one part from running into the next.
    fn filled(mut self, fill: impl FnOnce(&mut SmallVec<[u8; USUAL_CONTENT]>)) -> Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; size_of::<u64>()]);
        fill(&mut self.0);
        let length = (self.0.len() - start) as u64;
        self.0[start..][..size_of::<u64>()].copy_from_slice(&length.to_be_bytes());
        self
    }
}

/// What a name is of.
#[derive(Clone, Copy)]
enum Kind {
    Place,
    Rfc2543,
    Request,
    Answer,
    Client,
    Method,
}

/// Room for what names an ordinary message.
const USUAL_CONTENT: usize = 192;

/// Without the key.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

/// The parts of a request by which it is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// By transaction.
    pub server: ServerKey,
    /// Where requests stand that it may belong to.
    pub place: Place,
    /// Whether its client drew a branch for this one request, as RFC 3261 has it.
    pub has_branch: bool,
    /// By content.
    pub request: RequestKey,
    /// The 2xx that an ACK with a To tag acknowledges.
    pub answer: Option<AnswerKey>,
    /// Whether there is a To tag.
    pub in_dialog: bool,
}

impl Incoming {
    /// Reads them. The topmost `Via` of the request is `hop`.
    ///
    /// # Errors
    /// [`Unmatchable`] tells what cannot be matched, or is longer than anybody needs.
    pub fn read(keys: &Keys, request: &Request, hop: &Hop<'_>) -> Result<Self, Unmatchable> {
        let unread = |_| Unmatchable::Headers;
        let headers = &request.headers;
        let cseq = headers.cseq().map_err(unread)?;
        let call_id = headers.call_id().map_err(unread)?.as_bytes();
        let (from_tag, to_tag) = (headers.from_tag().map_err(unread)?, headers.to_tag().map_err(unread)?);
        let branch = hop.branch();
        let tokens = [branch, from_tag, to_tag].map(|token| token.map_or(0, str::len));
        if call_id.len() > MAX_TOKEN || tokens.into_iter().any(|length| length > MAX_TOKEN) {
            return Err(Unmatchable::TooLong);
        }
        let (from_tag, sequence) = (from_tag.unwrap_or_default().as_bytes(), cseq.seq.to_be_bytes());
        let has_branch = branch.is_some_and(is_rfc3261);
        let place = Place(keys.name(&match branch {
            Some(branch) if has_branch => Content::new(Kind::Place).sent_by(hop).text(branch.as_bytes()),
            // Everything by which §17.2.3 matches the requests of a client of RFC 2543.
            _ => {
                let [transport, params] = hop.texts();
                Content::new(Kind::Rfc2543)
                    .text(transport)
                    .sent_by(hop)
                    .text(params)
                    .text(request.uri.to_string().as_bytes())
                    .text(from_tag)
                    .text(call_id)
                    .text(&sequence)
            }
        }));
        let by_content = if request.method == Method::Ack {
            &Method::Invite
        } else {
            &request.method
        };
        let content = Content::new(Kind::Request).text(call_id).text(from_tag).text(&sequence);
        let content = RequestKey(keys.name(&content) ^ keys.method(by_content));
        Ok(Self {
            server: keys.server(place, &request.method),
            place,
            has_branch,
            request: content,
            answer: to_tag
                .filter(|_| request.method == Method::Ack)
                .map(|to_tag| keys.answer(content, to_tag)),
            in_dialog: to_tag.is_some(),
        })
    }
}

/// Why a request cannot be matched to a transaction. The answer is 400, if one can be sent at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmatchable {
    /// Via, CSeq, Call-ID, From or To cannot be read.
    #[error("a header that every request has cannot be read")]
    Headers,
    /// A branch, tag or Call-ID is longer than [`MAX_TOKEN`].
    #[error("a branch, tag or Call-ID is too long")]
    TooLong,
}

impl ClientKey {
    /// Reads it from a response. None if it is not for us to take: it has several Vias (§8.1.3.3) or lacks what every
    /// response has.
    #[must_use]
    pub fn read(keys: &Keys, response: &Response) -> Option<Self> {
        let hop = response.headers.only_hop()?;
        Some(keys.client(&hop, hop.branch()?, &response.headers.cseq().ok()?.method))
    }

    /// What a response to this request of ours will have. None if its topmost Via is not fit to be sent.
    #[must_use]
    pub fn expected(keys: &Keys, request: &Request) -> Option<Self> {
        let hop = request.headers.hop().ok()?;
        let branch = hop.branch().filter(|branch| is_rfc3261(branch))?;
        Some(keys.client(&hop, branch, &request.method))
    }
}

fn is_rfc3261(branch: &str) -> bool {
    branch.len() > MAGIC_COOKIE.len()
        && branch
            .get(..MAGIC_COOKIE.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(MAGIC_COOKIE))
}

/// Names by number, for tests.
#[cfg(test)]
impl ServerKey {
    pub(super) fn of(number: u64) -> Self {
        Self(number.into())
    }
}

#[cfg(test)]
impl RequestKey {
    pub(super) fn of(number: u64) -> Self {
        Self(number.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a part holds, it is not taken for the end of itself and the next.
    #[test]
    fn a_part_does_not_look_like_two() {
        let before = || Content::new(Kind::Place).text(&[b'x'; 20]);
        let one = before().text(b"a\0\0\0\0\0\0\0\x01b");
        for two in [
            before().text(b"a").text(b"b"),
            before().text(b"").text(b"ab"),
            before().text(b"ab").text(b""),
        ] {
            assert_ne!(one.0, two.0);
        }
    }
}
