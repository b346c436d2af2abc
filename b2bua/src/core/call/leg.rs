//! One side of a call: its dialog, what we told it about media, and what is under way with it.

use bytes::Bytes;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::sip::Request;

use super::output::Token;
use crate::core::dialog::Dialog;
use crate::core::media::Side;
use crate::core::media::rewrite::Origin;
use crate::core::transaction::ServerId;

/// One side of a call.
#[derive(Debug)]
pub struct Leg {
    /// Which one.
    pub side: Side,
    /// With whom, and in what order.
    pub dialog: Dialog,
    /// The `o=` line of what we tell this side.
    pub origin: Origin,
    /// The call's INVITE, or a later one, that this side sent and that has no final answer yet.
    pub asked: Option<ServerId>,
    /// A 2xx of this side that waits for the other side's ACK to carry the answer (late offer): token and number.
    pub unacknowledged: Option<(Token, u32)>,
}

impl Leg {
    /// A side with nothing under way.
    pub fn new(side: Side, dialog: Dialog, entropy: &mut impl Entropy) -> Self {
        Self {
            side,
            dialog,
            origin: Origin::new(entropy),
            asked: None,
            unacknowledged: None,
        }
    }

    /// Makes the ACK for a 2xx with this number. The endpoint repeats it when the 2xx is repeated.
    pub fn acknowledge(&mut self, seq: u32, body: Option<Bytes>) -> Request {
        self.unacknowledged = None;
        self.dialog.ack(seq, body)
    }
}
