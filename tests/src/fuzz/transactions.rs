//! The table of transactions.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cusax_b2bua::core::flow::{Flow, Identity, ListenerId, Transport};
use cusax_b2bua::core::transaction::{ClientId, Limits, Output, ServerId, TransactionId, Transactions};
use cusax_common::core::sip::typed::To;
use cusax_common::core::sip::{Message, Request, Response, Status, Value};

use super::feed::{Feed, epoch};

/// A sequence of messages, answers, time and failures: the table stays bounded and in step with itself, what it sends
/// can be read, no transaction speaks after its end, and once all is answered and enough time has passed nothing is
/// left.
pub fn transactions(data: &[u8]) {
    let mut feed = Feed::new(data);
    let mut run = Run::new();
    while !feed.is_empty() {
        run.step(&mut feed);
        run.drain();
        run.check();
    }
    run.end();
}

struct Run {
    table: Transactions,
    now: Instant,
    servers: Vec<(ServerId, Flow, Request)>,
    clients: Vec<ClientId>,
    ended: HashSet<TransactionId>,
    /// The INVITEs that were answered with 2xx.
    accepted: HashSet<ServerId>,
}

impl Run {
    fn new() -> Self {
        Self {
            table: Transactions::new(LIMITS, &[7; 32]),
            now: epoch(),
            servers: Vec::new(),
            clients: Vec::new(),
            ended: HashSet::new(),
            accepted: HashSet::new(),
        }
    }

    fn step(&mut self, feed: &mut Feed<'_>) {
        match feed.below(8) {
            0 | 1 => {
                let (flow, request) = (flow(feed), request(feed));
                self.table.handle_message(self.now, flow, request.into());
            }
            2 => {
                let flow = flow(feed);
                let id = self.table.send(self.now, flow, request(feed));
                self.clients.push(id);
            }
            3 => {
                let (flow, request) = (flow(feed), request(feed));
                let response = response(&request, feed);
                self.table.handle_message(self.now, flow, response.into());
            }
            4 => {
                let at = feed.below(self.servers.len());
                let Some((id, _, request)) = self.servers.get(at).cloned() else {
                    return;
                };
                let response = response(&request, feed);
                let success = response.status.is_success();
                let answered = match feed.below(8) {
                    0 if response.status.is_final() => self.table.respond_once(id, &response),
                    1 => {
                        self.table.forget(id);
                        Ok(())
                    }
                    _ => self.table.respond(self.now, id, &response),
                };
                if success && answered.is_ok() {
                    self.accepted.insert(id);
                }
            }
            5 => {
                let at = feed.below(self.clients.len());
                if let Some(&id) = self.clients.get(at) {
                    let reason = feed.flag().then(|| Value::of_static("SIP;cause=200"));
                    self.table.cancel(self.now, id, reason);
                }
            }
            6 => self.table.handle_transport_failure(self.now, flow(feed)),
            _ => {
                // Now and then the driver sleeps past several deadlines.
                let length = feed.byte();
                self.now = match (length, self.table.poll_timeout()) {
                    (0..128, Some(at)) => self.now.max(at),
                    _ => self.now + Duration::from_millis(u64::from(length).pow(2)),
                };
                self.table.handle_timeout(self.now);
            }
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.table.poll_output() {
            let speaks = match output {
                Output::Transmit { bytes, .. } | Output::Reply { bytes, .. } | Output::TurnAway { bytes, .. } => {
                    Message::parse(bytes).unwrap_or_else(|fault| panic!("sent what cannot be read: {fault}"));
                    None
                }
                Output::Request { server, flow, request } => {
                    self.servers.push((server, flow, request));
                    Some(TransactionId::Server(server))
                }
                Output::Ack { invite, flow, .. } => {
                    // Whoever knows the branch may acknowledge a failure.
                    let known = invite.filter(|id| self.accepted.contains(id));
                    let known = known.and_then(|id| self.servers.iter().find(|(server, ..)| *server == id));
                    if let Some((_, came, _)) = known {
                        assert_eq!(came.remote.ip(), flow.remote.ip(), "the ACK of a stranger");
                    }
                    invite.map(TransactionId::Server)
                }
                Output::Cancelled { invite } => Some(TransactionId::Server(invite)),
                Output::Unacknowledged { server } => Some(TransactionId::Server(server)),
                Output::Response { client, .. } | Output::Failed { client, .. } => Some(TransactionId::Client(client)),
                Output::Ended { id } => {
                    assert!(self.ended.insert(id), "{id:?} ended twice");
                    None
                }
                Output::Refused { .. } => None,
            };
            assert!(
                speaks.is_none_or(|id| !self.ended.contains(&id)),
                "{speaks:?} speaks after its end"
            );
        }
    }

    fn check(&self) {
        assert!(self.table.is_sound(), "{:?}", self.table);
        let (clients, servers) = self.table.live();
        assert!(
            clients <= 2 * LIMITS.clients + LIMITS.accepted && servers <= LIMITS.servers,
            "{clients} and {servers}"
        );
        assert!(
            self.table.poll_timeout().is_none_or(|at| at > self.now),
            "a timer that is due stays armed"
        );
    }

    /// What waits for the layer above is answered; all else ends by itself.
    fn end(&mut self) {
        for (id, _, request) in std::mem::take(&mut self.servers) {
            let response = request.response(Status::SERVER_INTERNAL_ERROR);
            let _ = self.table.respond(self.now, id, &response);
        }
        self.drain();
        for _ in 0..8 {
            self.now += Duration::from_secs(60);
            self.table.handle_timeout(self.now);
            self.drain();
            self.check();
        }
        assert_eq!(self.table.live(), (0, 0), "not forgotten: {:?}", self.table);
        assert_eq!(self.table.poll_timeout(), None);
        let all = self.clients.iter().map(|id| TransactionId::Client(*id));
        assert!(
            all.into_iter().all(|id| self.ended.contains(&id)),
            "an end that nobody was told of"
        );
    }
}

/// Out of few, so that messages meet.
fn flow(feed: &mut Feed<'_>) -> Flow {
    let (transport, last, port) = *feed.one(&[
        (Transport::Udp, 7, 5070),
        (Transport::Udp, 7, 5071),
        (Transport::Udp, 8, 5060),
        (Transport::Tcp, 7, 5070),
        (Transport::Wss, 7, 5070),
    ]);
    Flow {
        listener: ListenerId(0),
        transport,
        remote: ([192, 0, 2, last], port).into(),
        identity: Identity::NONE,
    }
}

fn request(feed: &mut Feed<'_>) -> Request {
    let method = *feed.one(&["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "invite"]);
    let shape = feed.byte();
    let branch = ["z9hG4bK1", "z9hG4bK2", "z9hG4bK3", "1"][usize::from(shape & 3)];
    let tag = ["", ";tag=b", ";tag=c", ""][usize::from(shape >> 2 & 3)];
    let sequence = 1 + (shape >> 4 & 1);
    let call = ["call", "other"][usize::from(shape >> 5 & 1)];
    let place = ["192.0.2.7:5070;rport", "192.0.2.7", "a.example", "192.0.2.8"][usize::from(shape >> 6)];
    let text = format!(
        "{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP {place};branch={branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@example.com>;tag=a\r\nTo: <sip:bob@example.com>{tag}\r\nCall-ID: {call}\r\n\
         CSeq: {sequence} {method}\r\nContent-Length: 0\r\n\r\n"
    );
    match Message::parse(Bytes::from(text)) {
        Ok(Message::Request(request)) => request,
        other => unreachable!("{other:?}"),
    }
}

fn response(request: &Request, feed: &mut Feed<'_>) -> Response {
    let code = *feed.one(&[100, 180, 183, 200, 299, 302, 404, 487, 603]);
    let mut response = request.response(Status::new(code).expect("a status"));
    let tag = *feed.one(&[Some("b"), Some("c"), None]);
    // The layer above never leaves it out of a 2xx.
    let tag = tag.or(response.status.is_success().then_some("b"));
    if let (Some(tag), Ok(mut to)) = (tag, response.headers.one::<To>()) {
        to.set_tag(tag);
        response.headers.replace(&to);
    }
    response
}

const LIMITS: Limits = Limits {
    clients: 6,
    accepted: 3,
    servers: 6,
};
