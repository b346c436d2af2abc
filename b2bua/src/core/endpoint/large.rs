//! Requests that are too large for a datagram go by TCP (RFC 3261 §18.1.1), to the very address that UDP would have gone
//! to, and by UDP after all where nobody listens there.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cusax_common::core::entropy::Entropy;
use cusax_common::core::sip::Request;
use cusax_common::core::time::Now;

use super::Endpoint;
use crate::core::call::Token;
use crate::core::flow::{Flow, Identity, Transport};
use crate::core::media::MediaId;
use crate::core::transaction::ClientId;

/// What is under way by TCP instead of UDP.
#[derive(Debug, Default)]
pub(super) struct Large {
    /// Requests without an answer, with what is sent instead if there is no way by TCP.
    spare: HashMap<ClientId, Spare>,
    /// Where there was none, until when that is believed.
    without: HashMap<SocketAddr, Instant>,
}

#[derive(Debug)]
struct Spare {
    tcp: Flow,
    udp: Flow,
    /// Without Via.
    request: Request,
}

impl Large {
    /// Whether a connection may be opened for this flow.
    pub(super) fn wants(&self, flow: &Flow) -> bool {
        self.spare.values().any(|spare| spare.tcp == *flow)
    }

    /// There is an answer, or none is wanted any more.
    pub(super) fn settle(&mut self, client: ClientId) {
        self.spare.remove(&client);
    }
}

impl<E: Entropy> Endpoint<E> {
    /// Sends a request of a call.
    pub(super) fn send(&mut self, now: Now, key: (MediaId, Token), flow: Flow, mut request: Request) {
        let spare = self.by_tcp(now, flow, &request).map(|tcp| Spare {
            tcp,
            udp: flow,
            request: request.clone(),
        });
        let flow = spare.as_ref().map_or(flow, |spare| spare.tcp);
        let flow = self.carriers.way_back(&self.settings, &flow).unwrap_or(flow);
        self.add_via(flow, &mut request);
        let client = self.transactions.send(now.instant, flow, request);
        self.clients.insert(client, key);
        self.tokens.insert(key, client);
        if let Some(spare) = spare {
            self.large.spare.insert(client, spare);
        }
    }

    /// A request could not be sent by TCP: sends it by UDP. Tells whether it did.
    pub(super) fn send_spare(&mut self, now: Now, client: ClientId) -> bool {
        let Some(Spare { udp, request, .. }) = self.large.spare.remove(&client) else {
            return false;
        };
        let Some(key) = self.clients.remove(&client) else {
            return false;
        };
        if self.large.without.len() >= MAX_WITHOUT {
            self.large.without.clear();
        }
        self.large.without.insert(udp.remote, now.instant + MEMORY);
        self.send(now, key, udp, request);
        true
    }

    /// The way by TCP, for a request that is too large, where there is one.
    fn by_tcp(&self, now: Now, flow: Flow, request: &Request) -> Option<Flow> {
        if flow.transport != Transport::Udp || size(request) <= LIMIT {
            return None;
        }
        let own = self.settings.listener(flow.listener)?.local.ip();
        let listener = self.settings.socket_for(Transport::Tcp, flow.remote.ip(), Some(own))?;
        let known = self.large.without.get(&flow.remote);
        known.is_none_or(|until| *until <= now.instant).then_some(Flow {
            listener,
            transport: Transport::Tcp,
            remote: flow.remote,
            identity: Identity::NONE,
        })
    }
}

/// The bytes of a request with our Via, or a few more.
fn size(request: &Request) -> usize {
    let lines = request
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.as_bytes().len() + 4);
    lines.sum::<usize>() + request.body.len() + START_LINE_AND_VIA
}

/// RFC 3261 §18.1.1, where the size of the path's packets is not known.
const LIMIT: usize = 1300;
const START_LINE_AND_VIA: usize = 200;
/// How long it is believed that a peer takes no connections.
const MEMORY: Duration = Duration::from_secs(600);
/// For how many peers.
const MAX_WITHOUT: usize = 4096;
