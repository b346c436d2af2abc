//! What a call asks of the endpoint, and what it is told with each input.

use std::collections::VecDeque;

use cusax_common::core::bridge::{CallNotice, ChargeNotice};
use cusax_common::core::entropy::Entropy;
use cusax_common::core::policy;
use cusax_common::core::record::CallRecord;
use cusax_common::core::sip::{Request, Response, Status};
use cusax_common::core::time::Now;
use jid::BareJid;

use super::referral::{Moved, Referral};
use super::transfer::Replaced;
use crate::core::breaker::Sign;
use crate::core::carriers::Carriers;
use crate::core::dialog::{DialogId, DialogIds};
use crate::core::flow::Flow;
use crate::core::media::{MediaCommand, MediaId};
use crate::core::registrar::Registrar;
use crate::core::routing::Lookup;
use crate::core::settings::Settings;
use crate::core::transaction::ServerId;

/// A request of ours within one call, so that its answers find their way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u32);

/// What the endpoint does for a call.
#[derive(Debug)]
pub enum CallOutput {
    /// Answer a request that came in.
    Respond {
        /// Which one.
        server: ServerId,
        /// With what.
        response: Response,
    },
    /// Send a request in a transaction of its own.
    Send {
        /// Under which its responses come back.
        token: Token,
        /// Over which path.
        flow: Flow,
        /// Without Via.
        request: Request,
    },
    /// Send an ACK for a 2xx, outside any transaction (RFC 3261 §13.2.2.4). The same token gives the same branch.
    Ack {
        /// The INVITE that is acknowledged.
        token: Token,
        /// Over which path.
        flow: Flow,
        /// Without Via.
        request: Request,
    },
    /// Cancel an INVITE of ours.
    Cancel {
        /// Which one.
        token: Token,
        /// Somebody else answered, which the phone need not list as missed (RFC 3326 §2).
        elsewhere: bool,
    },
    /// From now on requests of this dialog belong to this call; they travel by this flow.
    Join(DialogId, Flow),
    /// They no longer do, and what is to be sent within it was sent.
    Leave(DialogId),
    /// For the media engine.
    Media(MediaCommand),
    /// A server of a carrier showed how it is.
    Show {
        /// The name of the trunk.
        trunk: String,
        /// The way to the server.
        flow: Flow,
        /// What it showed.
        sign: Sign,
    },
    /// Look up who holds an address.
    Fetch(Lookup),
    /// The caller is about to be charged.
    Charge(ChargeNotice),
    /// The callee may be told of the call in chat.
    Notice(CallNotice),
    /// A call of this user is up, or no longer.
    Busy {
        /// Whose.
        jid: BareJid,
        /// With video.
        video: bool,
        /// Up or over.
        up: bool,
    },
    /// A call that this user has begun goes on with a leg of it in another call, or no longer.
    Owes {
        /// Who pays.
        jid: BareJid,
        /// From now on, or no longer.
        more: bool,
    },
    /// The call is over: keep this.
    Record(CallRecord),
    /// A side asks for a transfer: make a call for it, or find the one that is meant.
    Refer(Box<Referral>),
    /// Say this to another call.
    Tell(MediaId, Word),
}

/// What one call says to another one of which it wants something.
#[derive(Debug)]
pub enum Word {
    /// The call that was asked for has begun: it is the one that says so.
    Begun,
    /// Its callee is being reached.
    Progress(Status),
    /// It came to nothing.
    Failed(Status),
    /// Whoever asked for it is to be warned first, by this tone.
    Warn(policy::Tone),
    /// They have heard it to its end, or could not.
    Warned(bool),
    /// Its callee answered: the leg that it is for is wanted.
    Claim,
    /// Here it is, if it is there yet.
    Leg(Option<Box<Moved>>),
    /// A leg of the other call is to be taken instead of a new one.
    Replace(Box<Replaced>),
    /// The call that is being made is no longer wanted.
    Abandon,
}

impl Word {
    /// What is said back when there is no such call any more.
    #[must_use]
    pub fn unheard(self) -> Option<Self> {
        match self {
            Self::Warn(_) => Some(Self::Warned(false)),
            Self::Claim => Some(Self::Leg(None)),
            Self::Replace(_) => Some(Self::Failed(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST)),
            Self::Begun => Some(Self::Abandon),
            Self::Progress(_) | Self::Failed(_) | Self::Warned(_) | Self::Leg(_) | Self::Abandon => None,
        }
    }
}

/// What surrounds a call when it hears something.
pub struct Context<'a, E> {
    /// The time of the input.
    pub now: Now,
    /// For tags and identifiers.
    pub entropy: &'a mut E,
    /// By what dialogs are found again.
    pub dialogs: &'a DialogIds,
    /// What the operator decided.
    pub settings: &'a Settings,
    /// Who is registered where.
    pub registrar: &'a Registrar,
    /// Where carriers are.
    pub carriers: &'a Carriers,
    /// Where the call puts what it asks for.
    pub out: &'a mut VecDeque<CallOutput>,
}

impl<E: Entropy> Context<'_, E> {
    /// Queues an output.
    pub fn emit(&mut self, output: CallOutput) {
        self.out.push_back(output);
    }

    /// A tag or identifier that a stranger cannot guess.
    pub fn draw(&mut self) -> String {
        self.entropy.token::<TAG_BYTES>()
    }

    /// A Call-ID of this endpoint's, that a stranger cannot guess.
    pub fn draw_call_id(&mut self) -> String {
        let Self { dialogs, entropy, .. } = self;
        dialogs.share().draw(|| entropy.token::<TAG_BYTES>())
    }
}

/// Random bytes in a tag or Call-ID.
const TAG_BYTES: usize = 12;
