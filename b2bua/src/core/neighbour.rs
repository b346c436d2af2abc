//! What the endpoints of a node say to one another (see [`share`](crate::core::share)). Between two of them everything
//! arrives, once and in order.

use std::net::SocketAddr;
use std::sync::Arc;

use cusax_common::core::sip::Message;
use jid::BareJid;

use crate::core::auth::Count;
use crate::core::breaker::Sign;
use crate::core::call::{Replaced, Word};
use crate::core::dialog::DialogId;
use crate::core::endpoint::{Denied, Standing};
use crate::core::flow::Flow;
use crate::core::media::MediaId;
use crate::core::registrar::Copied;

/// One thing that one endpoint says to another.
#[derive(Debug)]
pub enum Said {
    /// A message of a dialog that has moved, and that came to whoever owns its Call-ID.
    Message {
        /// How it came.
        flow: Flow,
        /// What came.
        message: Box<Message>,
        /// How long an answer may be, in bytes.
        allowance: usize,
        /// How often it has been passed on.
        passed: u8,
    },
    /// To whoever follows the first one: the bindings of an address have changed.
    Copied(Arc<Copied>),
    /// To the first one: may this user begin a call?
    Ask {
        /// Under which the answer comes back.
        id: AskId,
        /// Who.
        jid: BareJid,
        /// The use of a nonce by which they have proved to be it, if they have just done so.
        count: Option<Count>,
    },
    /// What it says to that. If they may, one more of their calls is counted, until the one who asked says
    /// [`Owes`](Self::Owes).
    Answer {
        /// To which question.
        id: AskId,
        /// Who.
        jid: BareJid,
        /// Whether they may.
        answer: Result<Standing, Denied>,
    },
    /// To the first one: this user has begun one more call, or one less.
    Owes {
        /// Who.
        jid: BareJid,
        /// One more, or one less.
        more: bool,
    },
    /// To the first one: a call of this user is up, or no longer.
    Busy {
        /// Whose.
        jid: BareJid,
        /// With video.
        video: bool,
        /// Up or over.
        up: bool,
    },
    /// From a call to a call.
    Word {
        /// Who says it.
        from: MediaId,
        /// To whom.
        to: MediaId,
        /// What.
        word: Word,
    },
    /// From a call to whichever one has the dialog whose place is to be taken.
    Replace {
        /// Who says it.
        from: MediaId,
        /// What is to be replaced.
        replaced: Box<Replaced>,
        /// How often it has been passed on.
        passed: u8,
    },
    /// To whoever owns its Call-ID: this dialog has moved there, or is over.
    Dialog {
        /// Which one.
        id: DialogId,
        /// Where it is.
        at: Option<u8>,
    },
    /// To everybody: a server of a carrier has shown how it is, and that matters.
    Sign {
        /// The name of the trunk.
        trunk: String,
        /// The way to the server.
        flow: Flow,
        /// What it showed.
        sign: Sign,
    },
    /// To everybody: a carrier lends this connection for what is sent there (RFC 5923).
    Lent {
        /// The connection.
        flow: Flow,
        /// Where the carrier would be reached otherwise.
        alias: SocketAddr,
    },
    /// A 2xx of ours was never acknowledged in this dialog, which has moved since.
    Unacknowledged {
        /// Which one.
        id: DialogId,
        /// How often it has been passed on.
        passed: u8,
    },
}

/// Names a question to the first endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AskId(pub u64);

/// How often a message is passed on at most before it is taken as it is: once to the endpoint where its dialog is, and
/// back and once more if the dialog moves at that very moment.
pub const MOST_PASSED: u8 = 4;
