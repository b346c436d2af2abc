//! One dialog of a call: whom it joins us with, where offer and answer stand, what is under way in it.
//!
//! An INVITE that forks makes several, on either side (RFC 3261 §12.1, §13.2.2.4): toward the caller one for each callee
//! that rings, so that each has its own session; toward a callee one for each tag that answers.

use std::time::Instant;

use bytes::Bytes;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::record::CallRecord;
use cusax_common::core::sip::typed::{Allow, RAck, Supported};
use cusax_common::core::sip::{Headers, Method, Request};

use super::output::Token;
use super::referral::Notices;
use super::reliable::{Receiving, Sending};
use super::session_timer::SessionTimer;
use crate::core::dialog::Dialog;
use crate::core::media::Side;
use crate::core::media::rewrite::Origin;

/// Names a dialog within its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LegId(pub u32);

/// One dialog.
#[derive(Debug)]
pub struct Leg {
    /// By which the other leg knows it.
    pub id: LegId,
    /// Which end of the relay its media uses.
    pub side: Side,
    /// With whom, and in what order.
    pub dialog: Dialog,
    /// The `o=` line of what we tell this peer.
    pub origin: Origin,
    /// What this peer last described, as it came.
    pub heard: Bytes,
    /// Where offer and answer stand.
    pub exchange: Exchange,
    /// The leg that it is joined with.
    pub peer: Option<LegId>,
    /// The INVITE of ours that made it; none if the caller's did.
    pub invited: Option<Token>,
    /// Whether its Call-ID is ours (RFC 3261 §14.1).
    pub ours: bool,
    /// Whether its peer has asked for a transfer before.
    pub referred: bool,
    /// What it is to be told of that.
    pub notices: Notices,
    /// Earlier calls in which it was called, and which end with it.
    pub earlier: Vec<CallRecord>,
    /// When the first of these has lasted as long as a call may.
    pub until: Option<Instant>,
    /// Whether a response with our tag of it was sent, or one with theirs came.
    pub known: bool,
    /// Whether a 2xx was sent or came.
    pub up: bool,
    /// What the peer can.
    pub can: Abilities,
    /// It wants not to be named, so that nothing crosses that could name it.
    pub private: bool,
    /// Our reliable responses to a caller.
    pub sending: Sending,
    /// Those of a callee.
    pub receiving: Receiving,
    /// A reliable response whose offer is to be answered in its PRACK.
    pub owed: Option<Box<RAck>>,
    /// A 2xx of this peer that waits for the other's ACK to carry the answer (late offer): token and number.
    pub unacknowledged: Option<(Token, u32)>,
    /// When the dialog is to be refreshed.
    pub timer: SessionTimer,
}

/// Where a dialog stands in offer and answer (RFC 3264, RFC 6337 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// Nobody has offered anything.
    Blank,
    /// They have offered, and wait for our answer.
    Theirs,
    /// We have offered, and wait for theirs.
    Ours,
    /// Both have said what there is to say.
    Settled,
}

/// What a peer can, by what it last said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// It takes UPDATE (RFC 3311).
    pub update: bool,
    /// It acknowledges provisional responses (RFC 3262).
    pub reliable: bool,
}

impl Abilities {
    /// Learns from a message; what it does not mention stays as it was.
    pub fn learn(&mut self, headers: &Headers) {
        if let Ok(Some(update)) = Allow::find_method(headers, &Method::Update) {
            self.update = update;
        }
        if let Ok(Some(reliable)) = Supported::find(headers, "100rel") {
            self.reliable = reliable;
        }
    }
}

impl Leg {
    /// Keeps what the peer describes. A copy, since the rest of the message, and on a stream what came with it, would stay
    /// in memory for as long.
    pub fn hear(&mut self, description: &Bytes) {
        self.heard = Bytes::copy_from_slice(description);
    }

    /// A dialog with nothing under way.
    pub fn new(id: LegId, side: Side, dialog: Dialog, exchange: Exchange, entropy: &mut impl Entropy) -> Self {
        Self {
            id,
            side,
            dialog,
            origin: Origin::new(entropy),
            heard: Bytes::new(),
            exchange,
            peer: None,
            invited: None,
            ours: side == Side::Callee,
            referred: false,
            notices: Notices::default(),
            earlier: Vec::new(),
            until: None,
            known: false,
            up: false,
            can: Abilities::default(),
            private: false,
            sending: Sending::default(),
            receiving: Receiving::default(),
            owed: None,
            unacknowledged: None,
            timer: SessionTimer::default(),
        }
    }

    /// Makes the ACK for a 2xx with this number. The endpoint repeats it when the 2xx is repeated.
    pub fn acknowledge(&mut self, seq: u32, body: Option<Bytes>) -> Request {
        self.unacknowledged = None;
        self.dialog.ack(seq, body)
    }
}
