//! How a message finds its transaction: branch, sent-by, method (RFC 3261 §17.1.3 and §17.2.3).

use cusax_common::core::entropy::hex;
use cusax_common::core::sip::typed::{CSeq, CallId, From, To, Via};
use cusax_common::core::sip::{Method, Request, Response, TypedHeader as _, Uri};
use ring::digest;

/// Every branch that RFC 3261 elements make begins so (§8.1.1.7).
pub const MAGIC_COOKIE: &str = "z9hG4bK";
/// The longest branch, tag or Call-ID that we keep, in bytes.
pub const MAX_TOKEN: usize = 512;

/// Names a server transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerKey {
    branch: Box<str>,
    /// Part of the name because two clients may draw the same branch, by accident or malice (§17.2.3).
    sent_by: Box<str>,
    method: Method,
}

impl ServerKey {
    /// The key of the INVITE that an ACK or a CANCEL with this key belongs to (§9.1, §17.1.1.3).
    #[must_use]
    pub fn of_invite(&self) -> Self {
        Self {
            method: Method::Invite,
            ..self.clone()
        }
    }

    /// The method of the request.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }
}

/// Names a client transaction. CANCEL has the branch of its INVITE, so the method belongs to the name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey {
    branch: Box<str>,
    method: Method,
}

/// What copies of one request have in common, whichever way they came (RFC 3261 §8.2.2.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey {
    call_id: Box<str>,
    from_tag: Box<str>,
    sequence: u32,
    method: Method,
}

impl RequestKey {
    /// The key of the INVITE that an ACK with this key belongs to (§13.2.2.4).
    #[must_use]
    pub fn of_invite(&self) -> Self {
        Self {
            method: Method::Invite,
            ..self.clone()
        }
    }
}

/// The request that a 2xx answered, and the dialog that the 2xx made: what its ACK repeats (§13.2.2.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnswerKey {
    /// The INVITE.
    pub invite: RequestKey,
    /// The tag of the 2xx.
    pub to_tag: Box<str>,
}

/// The parts of a request by which it is matched.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The topmost Via as it came.
    pub via: Via,
    /// By transaction.
    pub server: ServerKey,
    /// By content.
    pub request: RequestKey,
    /// The tag in To; none outside a dialog.
    pub to_tag: Option<Box<str>>,
}

impl Incoming {
    /// Reads them.
    ///
    /// # Errors
    /// [`Unmatchable`] tells what cannot be matched, or must not be kept.
    pub fn read(request: &Request) -> Result<Self, Unmatchable> {
        let via = request.headers.first::<Via>().map_err(|_| Unmatchable::Headers)?;
        let cseq = request.headers.one::<CSeq>().map_err(|_| Unmatchable::Headers)?;
        let call_id = request.headers.one::<CallId>().map_err(|_| Unmatchable::Headers)?;
        let from = request.headers.one::<From>().map_err(|_| Unmatchable::Headers)?;
        let to = request.headers.one::<To>().map_err(|_| Unmatchable::Headers)?;
        let branch = match via.branch() {
            Some(branch) if is_rfc3261(branch) => kept(branch)?,
            _ => of_rfc2543(&via, &request.uri, from.tag(), call_id.as_str(), cseq.seq),
        };
        let server = ServerKey {
            branch,
            sent_by: sent_by(&via),
            method: request.method.clone(),
        };
        let request = RequestKey {
            call_id: kept(call_id.as_str())?,
            from_tag: kept(from.tag().unwrap_or_default())?,
            sequence: cseq.seq,
            method: request.method.clone(),
        };
        Ok(Self {
            via,
            server,
            request,
            to_tag: to.tag().map(kept).transpose()?,
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
    #[error("a branch, tag or Call-ID is too long to be kept")]
    TooLong,
}

/// The parts by which a response is matched.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The transaction.
    pub client: ClientKey,
    /// Whose Via it is.
    pub sent_by: Box<str>,
}

impl Answered {
    /// Reads them from a response. None if it is not for us to take: it has several Vias (§8.1.3.3) or lacks what every
    /// response has.
    #[must_use]
    pub fn read(response: &Response) -> Option<Self> {
        let vias = response.headers.list::<Via>().ok()?;
        let [via] = vias.as_slice() else { return None };
        let method = response.headers.one::<CSeq>().ok()?.method;
        Some(Self {
            client: ClientKey {
                branch: via.branch()?.into(),
                method,
            },
            sent_by: sent_by(via),
        })
    }

    /// What a response to this request of ours will have. None if its topmost Via is not fit to be sent.
    #[must_use]
    pub fn expected(request: &Request) -> Option<Self> {
        let via = request.headers.first::<Via>().ok()?;
        let branch = via.branch().filter(|branch| is_rfc3261(branch))?;
        let client = ClientKey {
            branch: branch.into(),
            method: request.method.clone(),
        };
        Some(Self {
            client,
            sent_by: sent_by(&via),
        })
    }
}

fn is_rfc3261(branch: &str) -> bool {
    branch.len() > MAGIC_COOKIE.len()
        && branch
            .get(..MAGIC_COOKIE.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(MAGIC_COOKIE))
}

/// What stands for the branch of a client of RFC 2543: everything by which §17.2.3 matches its requests. It cannot be the
/// branch of anybody else, which begins with the cookie.
fn of_rfc2543(via: &Via, uri: &Uri, from_tag: Option<&str>, call_id: &str, sequence: u32) -> Box<str> {
    let mut topmost = String::new();
    via.write(&mut topmost);
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [
        &topmost,
        &uri.to_string(),
        from_tag.unwrap_or_default(),
        call_id,
        &sequence.to_string(),
    ] {
        // The length keeps one part from running into the next.
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    }
    hex(context.finish().as_ref()).into()
}

fn kept(text: &str) -> Result<Box<str>, Unmatchable> {
    if text.len() > MAX_TOKEN {
        Err(Unmatchable::TooLong)
    } else {
        Ok(text.into())
    }
}

fn sent_by(via: &Via) -> Box<str> {
    match via.port {
        Some(port) => format!("{}:{port}", via.host),
        None => via.host.to_string(),
    }
    .into()
}
