//! Where the endpoints of a node hear what the network brings.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Received;
use crate::core::flow::Flow;
use crate::core::share::{FIRST, Share};

/// The ways to all endpoints of a node.
#[derive(Clone, Debug)]
pub(in crate::io) struct Inboxes {
    share: Share,
    each: Arc<[mpsc::Sender<Received>]>,
}

/// Nobody is there any more.
#[derive(Clone, Copy, Debug)]
pub(in crate::io) struct Gone;

impl Inboxes {
    /// One for each of the shares, with the other ends.
    pub(super) fn open(shares: &[Share]) -> (Self, Vec<mpsc::Receiver<Received>>) {
        let (each, ends): (Vec<_>, Vec<_>) = shares.iter().map(|_| mpsc::channel(super::INBOX)).unzip();
        let share = shares.first().copied().unwrap_or_else(Share::whole);
        let each = each.into();
        (Self { share, each }, ends)
    }

    /// Tells whom it concerns: of a message the one whose it is, of a connection everybody. Waits while there is no room.
    pub(super) async fn send(&self, event: Received) -> Result<(), Gone> {
        match self.only(&event) {
            Some(to) => self.each[usize::from(to)].send(event).await.map_err(|_| Gone),
            None => {
                for inbox in &self.each[1..] {
                    inbox.send(event.clone()).await.map_err(|_| Gone)?;
                }
                self.each[0].send(event).await.map_err(|_| Gone)
            }
        }
    }

    /// Tells one endpoint something if there is room; tells whether there was.
    pub(super) fn try_send(&self, to: u8, event: Received) -> bool {
        self.each[usize::from(to)].try_send(event).is_ok()
    }

    /// Hands over a datagram that came to another endpoint, if there is room. Large ones, of which there are few, find none
    /// when much waits: what waits is counted in messages, and must not be worth much memory.
    pub(super) fn pass_on(&self, to: u8, flow: Flow, bytes: Bytes) -> bool {
        let inbox = &self.each[usize::from(to)];
        let has_room = bytes.len() <= LARGE || inbox.capacity() > inbox.max_capacity() * 7 / 8;
        has_room && inbox.try_send(Received::Message { flow, bytes }).is_ok()
    }

    /// Waits until the first endpoint has ended.
    pub(super) async fn closed(&self) {
        self.each[0].closed().await;
    }

    /// The one whom it concerns, if it is only one.
    fn only(&self, event: &Received) -> Option<u8> {
        match event {
            Received::Message { bytes, .. } => Some(self.share.owner_of(bytes)),
            Received::Broken { head, .. } => Some(self.share.owner_of(head)),
            // Who does not want the connection asks the next.
            Received::Silent { .. } => Some(FIRST),
            Received::Opened { .. } | Received::Reached { .. } | Received::Closed { .. } => None,
        }
    }
}

/// A datagram with more bytes than this is large.
const LARGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::super::Connection;
    use super::*;
    use crate::core::flow::{Identity, ListenerId, Transport};

    #[tokio::test]
    async fn a_message_goes_to_whom_it_belongs_and_a_connection_is_everybodys() {
        let shares: Vec<_> = Share::all(3, &[9; 32]).collect();
        let (inboxes, mut ends) = Inboxes::open(&shares);
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Tcp,
            remote: ([192, 0, 2, 1], 5060).into(),
            identity: Identity::NONE,
        };
        let (connection, _queue) = Connection::new();
        let opened = Received::Opened {
            flow,
            connection,
            proved: Vec::new(),
        };
        inboxes.send(opened).await.expect("all are there");
        for end in &mut ends {
            assert!(matches!(end.try_recv(), Ok(Received::Opened { .. })));
        }
        for number in 0..20 {
            let bytes = Bytes::from(format!("OPTIONS sip:a SIP/2.0\r\nCall-ID: {number}\r\n\r\n"));
            let owner = usize::from(shares[0].owner(&number.to_string()));
            inboxes
                .send(Received::Message { flow, bytes })
                .await
                .expect("all are there");
            for (at, end) in ends.iter_mut().enumerate() {
                assert_eq!(end.try_recv().is_ok(), at == owner, "{number} at {at}");
            }
        }
        drop(ends.pop());
        let closed = Received::Closed { flow, serial: 1 };
        inboxes.send(closed).await.expect_err("one is gone");
    }
}
