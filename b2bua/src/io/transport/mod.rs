//! Bytes in, bytes out. What they mean is decided in `core`.

pub mod udp;

use std::time::Duration;

use bytes::Bytes;

use crate::core::flow::Flow;

/// One message's worth of bytes and the path they came by.
#[derive(Clone, Debug)]
pub struct Received {
    /// Where an answer goes.
    pub flow: Flow,
    /// The whole datagram.
    pub bytes: Bytes,
}

/// How many received messages may wait for the loop. Over UDP a full queue drops, and the peer sends again.
pub const INBOX: usize = 4096;

/// How long a receiver pauses after an error of its socket, so that a persistent one does not spin.
const PAUSE: Duration = Duration::from_millis(50);
