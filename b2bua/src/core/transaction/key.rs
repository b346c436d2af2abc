//! How a message finds its transaction: branch, sent-by, method (RFC 3261 §17.1.3 and §17.2.3).
//!
//! A name is 128 bits of a keyed hash of these parts. Whoever lacks the key cannot make two messages of one name, so
//! that equal names mean equal parts; and a name takes sixteen bytes, whatever strangers write.

use std::fmt;
use std::hash::Hasher as _;

use cusax_common::core::sip::typed::Via;
use cusax_common::core::sip::{Method, Request, Response, TypedHeader as _};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

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
        ServerKey(self.name(&[b"server", &place.0.to_be_bytes(), method.as_str().as_bytes()]))
    }

    /// The name of a 2xx with this To tag to this INVITE.
    #[must_use]
    pub fn answer(&self, invite: RequestKey, to_tag: &str) -> AnswerKey {
        AnswerKey(self.name(&[b"answer", &invite.0.to_be_bytes(), to_tag.as_bytes()]))
    }

    fn client(&self, via: &Via, branch: &str, method: &Method) -> ClientKey {
        let (sent_by, branch) = (sent_by(via), branch.as_bytes());
        ClientKey(self.name(&[b"client", sent_by.as_bytes(), branch, method.as_str().as_bytes()]))
    }

    fn name(&self, parts: &[&[u8]]) -> u128 {
        let mut hasher = self.0;
        for part in parts {
            // The length keeps one part from running into the next.
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        hasher.finish128().as_u128()
    }
}

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
    /// Reads them.
    ///
    /// # Errors
    /// [`Unmatchable`] tells what cannot be matched, or is longer than anybody needs.
    pub fn read(keys: &Keys, request: &Request) -> Result<Self, Unmatchable> {
        let unread = |_| Unmatchable::Headers;
        let (via, cseq) = (
            request.headers.via().map_err(unread)?,
            request.headers.cseq().map_err(unread)?,
        );
        let call_id = request.headers.call_id().map_err(unread)?.as_str();
        let (from, to) = (
            request.headers.from().map_err(unread)?,
            request.headers.to().map_err(unread)?,
        );
        let (from_tag, to_tag, sequence) = (from.tag(), to.tag(), cseq.seq.to_be_bytes());
        let branch = via.branch();
        for token in [branch, Some(call_id), from_tag, to_tag].into_iter().flatten() {
            if token.len() > MAX_TOKEN {
                return Err(Unmatchable::TooLong);
            }
        }
        let has_branch = branch.is_some_and(is_rfc3261);
        let place = Place(match branch {
            Some(branch) if has_branch => keys.name(&[b"place", sent_by(via).as_bytes(), branch.as_bytes()]),
            // Everything by which §17.2.3 matches the requests of a client of RFC 2543.
            _ => {
                let mut topmost = String::new();
                via.write(&mut topmost);
                keys.name(&[
                    b"2543",
                    topmost.as_bytes(),
                    request.uri.to_string().as_bytes(),
                    from_tag.unwrap_or_default().as_bytes(),
                    call_id.as_bytes(),
                    &sequence,
                ])
            }
        });
        let by_content = if request.method == Method::Ack {
            &Method::Invite
        } else {
            &request.method
        };
        let content = RequestKey(keys.name(&[
            b"request",
            call_id.as_bytes(),
            from_tag.unwrap_or_default().as_bytes(),
            &sequence,
            by_content.as_str().as_bytes(),
        ]));
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
        let vias = response.headers.list::<Via>().ok()?;
        let [via] = vias.as_slice() else { return None };
        let method = &response.headers.cseq().ok()?.method;
        Some(keys.client(via, via.branch()?, method))
    }

    /// What a response to this request of ours will have. None if its topmost Via is not fit to be sent.
    #[must_use]
    pub fn expected(keys: &Keys, request: &Request) -> Option<Self> {
        let via = request.headers.via().ok()?;
        let branch = via.branch().filter(|branch| is_rfc3261(branch))?;
        Some(keys.client(via, branch, &request.method))
    }
}

fn is_rfc3261(branch: &str) -> bool {
    branch.len() > MAGIC_COOKIE.len()
        && branch
            .get(..MAGIC_COOKIE.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(MAGIC_COOKIE))
}

fn sent_by(via: &Via) -> String {
    let mut text = String::with_capacity(USUAL_SENT_BY);
    via.write_sent_by(&mut text);
    text
}

/// Room for an IPv4 address and a port, and for most names.
const USUAL_SENT_BY: usize = 32;

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
