//! Transactions: one request and its answers, over a network that loses and repeats messages.
//!
//! Rules: RFC 3261 §17 with RFC 6026; CANCEL of §9; merged requests of §8.2.2.2; Vias of §18 and RFC 3581.
//!
//! # How a message finds its own
//! [`table::Transactions`] owns every live transaction. A request finds its server transaction, and a response its
//! client transaction, by [`key`]; the machine decides what it means; the table sends and hands on.
//!
//! | machine | file | RFC 3261 |
//! | --- | --- | --- |
//! | INVITE client | [`invite_client`] | §17.1.1 |
//! | other client | [`client`] | §17.1.2 |
//! | INVITE server | [`invite_server`] | §17.2.1 |
//! | other server | [`server`] | §17.2.2 |
//! | 2xx until its ACK | [`answer`] | §13.3.1.4 |
//! | answer until no copy of the request comes | `remembered` | §17.2.2 |
//! | INVITE of ours that a 2xx has answered | `accepted` | RFC 6026 §7.2 |
//!
//! # Left out
//! - Answers over UDP to the port that the Via names, where it does not ask for `rport` (§18.2.2, RFC 3581 §4): they go to
//!   the port that the request came from, as if it did. A NAT lets them pass to no other one, and a forged request cannot
//!   have them sent to a port where no request can have come from.
//! - Choice and change of transport by size (§18.1.1): the layer that sends picks the flow.

use std::fmt::Debug;
use std::time::Instant;

use smallvec::SmallVec;
use tracing::trace;

mod accepted;
pub mod answer;
pub mod client;
mod follow_up;
pub mod invite_client;
pub mod invite_server;
pub mod key;
mod output;
mod remembered;
mod row;
#[cfg(test)]
mod script;
pub mod server;
mod servers;
pub mod table;
pub mod timer;

pub use output::{
    ClientId, Counters, Failure, Limits, MAX_ACCEPTED, MAX_CLIENTS, MAX_SERVERS, Output, Refusal, ServerId,
    TransactionId,
};
pub use table::Transactions;

/// What the class of a status means to a machine (RFC 3261 §7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 1xx
    Provisional,
    /// 2xx
    Success,
    /// 3xx to 6xx
    Failure,
}

impl Class {
    /// The class of a status code.
    #[must_use]
    pub fn of(status: u16) -> Self {
        match status {
            ..200 => Self::Provisional,
            200..300 => Self::Success,
            300.. => Self::Failure,
        }
    }
}

/// The target of what the machines trace: each input with the state that it meets. Whoever wants to know which steps were
/// taken listens here.
pub const STEPS: &str = "cusax::transaction::steps";

/// A machine in this state takes this input.
fn step(machine: &str, state: &dyn Debug, input: &dyn Debug) {
    trace!(target: STEPS, machine, ?state, ?input);
}

/// What is no response and no timer, for [`step`].
#[derive(Clone, Copy, Debug)]
enum Input {
    Copy,
    Ack,
    Cancel,
    TransportFailure,
}

/// What a client machine wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientOutput {
    /// Send the request (again).
    Transmit,
    /// Hand the response that was just taken to the layer above.
    Deliver,
    /// Make the ACK to the non-2xx response that was just taken, and send it.
    Acknowledge,
    /// Send that ACK again.
    AcknowledgeAgain,
    /// Send a CANCEL.
    Cancel,
    /// Forget the machine.
    Ended(Outcome),
}

/// What a server machine wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerOutput {
    /// Send the last response (again).
    Transmit,
    /// Hand the ACK that was just taken to the layer above.
    Acknowledged,
    /// Forget the machine, but send the last response again for each copy of the request until then (timer J).
    Remember {
        /// When copies come no more.
        until: Instant,
    },
    /// Forget the machine.
    Ended(Outcome),
}

/// How a transaction came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a final response, and all that follows it.
    Answered,
    /// The other side stayed silent: no final response, or no ACK to ours.
    TimedOut,
    /// The transport could not deliver.
    TransportFailed,
}

/// The response comes after the final one and was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a final response was sent before")]
pub struct Late;

/// Who wants to hear of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// The layer above.
    Above,
    /// Nobody else: it is a CANCEL, whose effect shows on its INVITE.
    Table,
}

/// The few outputs that one input can cause, oldest first.
#[derive(Debug)]
pub(super) struct Outputs<T>(SmallVec<[T; 2]>);

impl<T> Outputs<T> {
    fn push(&mut self, output: T) {
        self.0.push(output);
    }

    fn pop(&mut self) -> Option<T> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }
}

impl<T> Default for Outputs<T> {
    fn default() -> Self {
        Self(SmallVec::new())
    }
}
