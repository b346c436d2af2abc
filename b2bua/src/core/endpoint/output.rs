//! What the endpoint asks of its shell, and what it counts.

use std::time::Duration;

use bytes::Bytes;
use cusax_common::core::bridge::ToXmpp;
use cusax_common::core::id::SessionId;
use cusax_common::core::record::CallRecord;
use cusax_common::core::sip::Status;
use cusax_common::core::sip::typed::Login;
use cusax_common::core::store::Question;
use jid::BareJid;

use crate::core::flow::Flow;
use crate::core::locate::{self, QueryId};
use crate::core::media::MediaCommand;
use crate::core::neighbour::Said;
use crate::core::routing::Lookup;

/// What the shell does for the endpoint.
#[derive(Debug)]
pub enum Output {
    /// Send these bytes.
    Transmit {
        /// Over which path.
        flow: Flow,
        /// One whole message.
        bytes: Bytes,
    },
    /// For the media engine.
    Media(MediaCommand),
    /// Ask the user store; the answer comes back through [`super::Endpoint::handle_fetched`].
    Fetch {
        /// Under which the answer comes back.
        id: FetchId,
        /// What to ask.
        query: Query,
    },
    /// Ask DNS; the answer comes back through [`super::Endpoint::handle_dns`].
    Resolve {
        /// Under which the answer comes back.
        id: QueryId,
        /// What to ask.
        query: locate::Query,
    },
    /// For the xmpp-module.
    Bridge(ToXmpp),
    /// Keep the record of a call.
    Record(CallRecord),
    /// What became of a wish of the shell's that a user be called: the correlation id of the call, or a status that says why not.
    Placed {
        /// Which wish.
        id: PlaceId,
        /// What became of it.
        placed: Result<SessionId, Status>,
    },
    /// For another endpoint of this node, through [`super::Endpoint::handle_neighbour`]: all of it, and in order.
    Neighbour {
        /// Which one.
        to: u8,
        /// What it is to hear.
        said: Said,
    },
    /// Keep this in the shared state.
    Keep {
        /// Where.
        key: String,
        /// What.
        value: Bytes,
        /// For how long.
        ttl: Duration,
    },
    /// Forget it there.
    Forget {
        /// Where.
        key: String,
    },
}

/// Names the wish of a user to be called and joined with somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlaceId {
    /// It came by the shell, which gets [`Output::Placed`].
    Shell(u64),
    /// It came by the bridge, where the answer goes.
    Bridge(u64),
}

/// Names a question to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FetchId(pub u64);

/// A question to the user store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Who has a credential of this realm and username.
    Login(Login),
    /// Who holds an address.
    Owner(Lookup),
    /// The user themselves, whose phones are registered.
    Holder(BareJid),
}

impl Query {
    /// As the store is asked.
    #[must_use]
    pub fn question(&self) -> Question<'_> {
        match self {
            Self::Login(login) => Question::Login {
                realm: login.realm(),
                username: login.username(),
            },
            Self::Owner(Lookup::ByAor(aor)) => Question::Aor(aor),
            Self::Owner(Lookup::ByNumber(number)) => Question::Number(number),
            Self::Holder(jid) => Question::Jid(jid),
        }
    }
}

/// What the network did, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that could be read.
    pub requests: u64,
    /// Responses that could be read.
    pub responses: u64,
    /// Keep-alives and other datagrams that are no message on purpose.
    pub keepalives: u64,
    /// Messages that could not be read, and were answered.
    pub malformed_answered: u64,
    /// Messages that could not be read, and were dropped.
    pub malformed_dropped: u64,
    /// Requests whose transaction cannot be told, answered 400.
    pub unmatchable: u64,
    /// Challenges sent.
    pub challenged: u64,
    /// Proofs that held.
    pub proved: u64,
    /// Proofs that failed.
    pub unproved: u64,
    /// Requests that claimed an identity other than the proved one, or none that is ours.
    pub forbidden: u64,
    /// Requests for dialogs that do not exist, or from the wrong place.
    pub misplaced: u64,
    /// Requests refused because a table was full.
    pub overloaded: u64,
    /// Requests that were dropped or put off because too much was asked for.
    pub throttled: u64,
    /// Calls that came back to us in a circle.
    pub looped: u64,
    /// Answers that were not sent, since they would have been much longer than what came from an unproved address.
    pub withheld: u64,
    /// Registrations accepted, refreshes included.
    pub registered: u64,
    /// Registrations refused though the proof held.
    pub unregistered: u64,
}
