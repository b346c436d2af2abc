//! What the table says and is told: names, outputs, limits.

use bytes::Bytes;
use cusax_common::core::sip::{Request, Response, Status};

#[cfg(doc)]
use super::Transactions;
use super::key::Unmatchable;
use crate::core::flow::Flow;

/// Names one request of ours. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub(super) u64);

/// Names one request of somebody else. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub(super) u64);

/// Names either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransactionId {
    /// A request of ours.
    Client(ClientId),
    /// A request of somebody else.
    Server(ServerId),
}

/// What is to be done, oldest first.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send these bytes.
    Transmit {
        /// Where to.
        flow: Flow,
        /// One message.
        bytes: Bytes,
    },
    /// A new request, to be answered by [`Transactions::respond`]. Its topmost Via is stamped with its true source.
    Request {
        /// Its transaction.
        server: ServerId,
        /// How it came.
        flow: Flow,
        /// The request.
        request: Request,
    },
    /// An ACK to a 2xx, or one that belongs to nothing we know.
    Ack {
        /// The INVITE whose 2xx it acknowledges, if that is still known.
        invite: Option<ServerId>,
        /// How it came.
        flow: Flow,
        /// The ACK.
        request: Request,
    },
    /// A CANCEL came in time and was answered; the INVITE is now to be answered with 487 (RFC 3261 §9.2).
    Cancelled {
        /// The INVITE.
        invite: ServerId,
    },
    /// A response to a request of ours.
    Response {
        /// The request.
        client: ClientId,
        /// The response.
        response: Response,
    },
    /// Answer somebody who may not be there: outside every transaction, and never again. Goes out only if it is not much
    /// longer than what it answers.
    Reply {
        /// Where the request came from.
        flow: Flow,
        /// One whole message.
        bytes: Bytes,
    },
    /// The same for a request that nobody has judged: it belongs to nothing, and goes out only if its source may have an
    /// answer yet.
    TurnAway {
        /// Where the request came from.
        flow: Flow,
        /// One whole message.
        bytes: Bytes,
    },
    /// No final response will come.
    Failed {
        /// The request.
        client: ClientId,
        /// Why.
        why: Failure,
    },
    /// Our final response to INVITE was never acknowledged. After a 2xx the dialog is to be ended by BYE (§13.3.1.4).
    Unacknowledged {
        /// The INVITE.
        server: ServerId,
    },
    /// The transaction is forgotten.
    Ended {
        /// Which one.
        id: TransactionId,
    },
    /// A request that was given no transaction. It may be answered by [`Transactions::reply`], or left without answer.
    Refused {
        /// How it came.
        flow: Flow,
        /// The request, its topmost Via stamped where it could be read.
        request: Request,
        /// Why.
        why: Refusal,
    },
}

/// Why a request of ours got no final response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The other side stayed silent; to be treated as 408 (RFC 3261 §8.1.3.1).
    TimedOut,
    /// The flow could not deliver it; to be treated as 503 (§8.1.3.1).
    Transport,
    /// There are too many requests under way; nothing was sent.
    Full,
    /// Its topmost Via has no branch of ours, or one that is in use; nothing was sent. A mistake of the layer above.
    Unsendable,
}

/// Why a request was given no transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are too many; 503 or silence.
    Full,
    /// It cannot be matched; 400.
    Unmatchable(Unmatchable),
}

impl Refusal {
    /// The status to answer with, if an answer is wanted at all.
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Self::Full => Status::SERVICE_UNAVAILABLE,
            Self::Unmatchable(_) => Status::BAD_REQUEST,
        }
    }
}

/// How many transactions may live at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests of ours, besides one CANCEL for each INVITE.
    pub clients: usize,
    /// INVITEs of ours that were answered with a 2xx and are remembered; when there are more, the oldest one is forgotten.
    pub accepted: usize,
    /// Requests of others, answered ones included; when there are more, the oldest of those is forgotten.
    pub servers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: MAX_CLIENTS,
            accepted: MAX_ACCEPTED,
            servers: MAX_SERVERS,
        }
    }
}

/// What strangers and lost packets caused, for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Responses that belong to no request of ours.
    pub stray_responses: u64,
    /// Copies of a request that did not come from its sender, dropped.
    pub stray_copies: u64,
    /// ACKs that belong to no response of ours.
    pub stray_acks: u64,
    /// CANCELs that were answered with 481.
    pub stray_cancels: u64,
    /// Requests that came again.
    pub copies: u64,
    /// Requests that came again by another way, answered with 482.
    pub merged: u64,
    /// Requests that were given no transaction.
    pub refused: u64,
    /// Messages that we sent again because nothing came.
    pub retransmitted: u64,
}

/// Requests of ours that may be under way at once.
pub const MAX_CLIENTS: usize = 65_536;
/// INVITEs of ours that may be answered and remembered at once, for half a minute each (timer M): as many as ten thousand
/// calls a second leave.
pub const MAX_ACCEPTED: usize = 327_680;
/// Requests of others that may be under way, or answered and remembered, at once. Over UDP each answered one is remembered
/// for half a minute (timers J and L): as many as ten thousand calls a second leave, or twice as many registrations.
pub const MAX_SERVERS: usize = 655_360;
