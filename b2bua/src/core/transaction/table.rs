//! Every live transaction: finds the one a message belongs to, sends for it, and hands on what the layer above must see.
//!
//! # Use
//! Call one `handle_*`, [`send`](Transactions::send), [`respond`](Transactions::respond) or
//! [`cancel`](Transactions::cancel), then drain [`poll_output`](Transactions::poll_output), then read
//! [`poll_timeout`](Transactions::poll_timeout). Instants never go backwards.
//!
//! # What the layer above must do
//! - Answer every [`Output::Request`] or [`forget`](Transactions::forget) it, and answer an INVITE that was [`Output::Cancelled`] with 487.
//! - Acknowledge every 2xx to INVITE that it is handed, copies included (RFC 3261 §13.2.2.4).
//! - Put off whoever is known by [`respond_for_good`](Transactions::respond_for_good): a copy of what was refused must not be
//!   carried out when there is room again, since whoever asked has gone.
//! - Challenge strangers by [`respond_once`](Transactions::respond_once), which keeps nothing and repeats nothing: a
//!   source that proved nothing must not make us send more than it sent (RFC 3261 §8.2.7).
//!
//! # Invariants
//! - There are never more transactions than [`Limits`] allow.
//! - `Ended` is the last output of a transaction and comes exactly once; after it no key, timer or byte of it is left.
//! - A response goes out on the flow that its request came by.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use cusax_common::core::entropy::hex;
use cusax_common::core::sip::{HeaderName, Message, Method, Request, Response, Status, Value};
use ring::hmac;

use super::accepted::{Accepted, AllAccepted};
use super::answer::{Answer, AnswerOutput};
use super::client::NonInviteClient;
use super::follow_up::{acknowledge, cancel_of};
use super::invite_client::InviteClient;
use super::invite_server::InviteServer;
use super::key::{AnswerKey, ClientKey, Incoming, Keys, Unmatchable};
use super::output::{ClientId, Counters, Failure, Limits, Output, Refusal, ServerId, TransactionId};
use super::server::NonInviteServer;
use super::servers::{Found, Oldest, Server, ServerMachine, Servers};
use super::timer::PATIENCE;
use super::{Class, ClientOutput, Late, Outcome, Owner, ServerOutput};
use crate::core::deadline::Deadlines;
use crate::core::flow::Flow;
use crate::core::ids::IdMap;

/// The table of all live transactions.
#[derive(Debug)]
pub struct Transactions {
    limits: Limits,
    keys: Keys,
    tag_key: hmac::Key,
    next_id: u64,
    clients: IdMap<ClientId, Box<Client>>,
    client_keys: IdMap<ClientKey, ClientId>,
    /// The latest request of ours on each flow; it knows the one before.
    client_flows: HashMap<Flow, ClientId>,
    /// INVITEs of ours whose machine is gone since a 2xx has come.
    accepted: AllAccepted,
    servers: Servers,
    /// INVITEs that were answered with 2xx, by what their ACK repeats.
    answered: IdMap<AnswerKey, ServerId>,
    deadlines: Deadlines<TransactionId>,
    /// Until when each answer is remembered that was given for good.
    for_good: VecDeque<Instant>,
    outputs: VecDeque<Output>,
    counters: Counters,
}

impl Transactions {
    /// An empty table. `secret` makes the tags of [`tag`](Self::tag) and the names of transactions unpredictable.
    #[must_use]
    pub fn new(limits: Limits, secret: &[u8; 32]) -> Self {
        let tag_key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut names = [0; 16];
        names.copy_from_slice(&hmac::sign(&tag_key, b"names of transactions").as_ref()[..16]);
        Self {
            limits,
            keys: Keys::new(&names),
            tag_key,
            next_id: 0,
            clients: IdMap::default(),
            client_keys: IdMap::default(),
            client_flows: HashMap::new(),
            accepted: AllAccepted::default(),
            servers: Servers::default(),
            answered: IdMap::default(),
            deadlines: Deadlines::default(),
            for_good: VecDeque::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Takes a message from the network.
    pub fn handle_message(&mut self, now: Instant, flow: Flow, message: Message) {
        self.settle_latest();
        match message {
            Message::Request(request) => self.handle_request(now, flow, request),
            Message::Response(response) => self.handle_response(now, flow, response),
        }
    }

    /// Sends a request of ours, whose topmost Via is ours and carries a branch that nobody can guess.
    ///
    /// A request that cannot be sent is told by [`Output::Failed`], like every other end. ACK to a 2xx is no
    /// transaction.
    pub fn send(&mut self, now: Instant, flow: Flow, request: Request) -> ClientId {
        let id = ClientId(self.draw_id());
        let refusal = match ClientKey::expected(&self.keys, &request) {
            _ if self.clients.len() >= self.limits.clients => Some(Failure::Full),
            Some(key) if !self.client_keys.contains_key(&key) && self.accepted.find(&key).is_none() => {
                self.start_client(now, id, flow, request, key, Owner::Above);
                None
            }
            _ => Some(Failure::Unsendable),
        };
        if let Some(why) = refusal {
            self.outputs.push_back(Output::Failed { client: id, why });
            self.outputs.push_back(Output::Ended {
                id: TransactionId::Client(id),
            });
        }
        id
    }

    /// Cancels an INVITE of ours as soon as a provisional response allows it (RFC 3261 §9.1).
    ///
    /// `reason` becomes the Reason header (RFC 3326) of the CANCEL. Nothing happens if a final response came before: a
    /// 2xx that crosses the CANCEL is delivered, and is to be acknowledged and ended by BYE.
    pub fn cancel(&mut self, now: Instant, client: ClientId, reason: Option<Value>) {
        if let Some(entry) = self.clients.get_mut(&client)
            && let ClientMachine::Invite(machine) = &mut entry.machine
        {
            machine.cancel(now);
            entry.reason = reason;
            self.run_client(now, client, None);
        }
    }

    /// Answers a request. A 2xx to INVITE is repeated until its ACK comes.
    ///
    /// # Errors
    /// [`Late`] if a final response was sent before, or the transaction is forgotten; nothing is sent.
    pub fn respond(&mut self, now: Instant, server: ServerId, response: &Response) -> Result<(), Late> {
        let entry = self.servers.get_mut(server).ok_or(Late)?;
        let class = Class::of(response.status.code());
        match &mut entry.machine {
            ServerMachine::Invite(machine) => machine.respond(now, class)?,
            ServerMachine::Other(machine) => machine.respond(now, class)?,
        }
        entry.last = response.to_bytes();
        if matches!(entry.machine, ServerMachine::Invite(_))
            && let Ok(Some(tag)) = response.headers.to_tag()
        {
            if class == Class::Success && entry.answer.is_none() {
                let key = self.keys.answer(entry.content, tag);
                entry.answer = Some(Box::new((Answer::new(now), key)));
                self.answered.insert(key, server);
            }
            entry.to_tag = Some(tag.into());
        }
        self.run_server(server, None);
        Ok(())
    }

    /// Sends one final response and forgets the transaction: each copy of the request is a new request (§8.2.7).
    ///
    /// # Errors
    /// [`Late`] as for [`respond`](Self::respond).
    pub fn respond_once(&mut self, server: ServerId, response: &Response) -> Result<(), Late> {
        let entry = self.servers.get(server).filter(|entry| entry.is_open()).ok_or(Late)?;
        self.outputs.push_back(Output::Reply {
            flow: entry.flow,
            bytes: response.to_bytes(),
        });
        self.forget_server(server);
        Ok(())
    }

    /// Sends one final response, and the same again for each copy of the request, but nothing by itself: what is refused
    /// stays refused when a copy comes at a better time, and nobody is sent more than came from there. A few are remembered
    /// like that, and a crowd is not: beyond [`MAX_FOR_GOOD`] this is [`respond_once`](Self::respond_once).
    ///
    /// # Errors
    /// [`Late`] as for [`respond`](Self::respond).
    pub fn respond_for_good(&mut self, now: Instant, server: ServerId, response: &Response) -> Result<(), Late> {
        while self.for_good.pop_front_if(|until| *until <= now).is_some() {}
        if self.for_good.len() >= MAX_FOR_GOOD {
            return self.respond_once(server, response);
        }
        let open = self.servers.get_mut(server).filter(|entry| entry.is_open());
        let entry = open.ok_or(Late)?;
        entry.last = response.to_bytes();
        self.outputs.push_back(Output::Reply {
            flow: entry.flow,
            bytes: entry.last.clone(),
        });
        self.disarm_server(server);
        self.servers.remember(server, now + PATIENCE);
        self.for_good.push_back(now + PATIENCE);
        Ok(())
    }

    /// Forgets a request without an answer.
    pub fn forget(&mut self, server: ServerId) {
        self.forget_server(server);
    }

    /// Sends a response outside every transaction, for what was [`Output::Refused`].
    pub fn reply(&mut self, flow: Flow, response: &Response) {
        self.outputs.push_back(Output::Reply {
            flow,
            bytes: response.to_bytes(),
        });
    }

    /// Stops the copies of a 2xx.
    fn settle(&mut self, server: ServerId) {
        self.servers.acknowledge(server);
        self.arm_server(server);
    }

    /// Tells that nothing more can be sent by this flow: its connection is closed, or sending failed.
    ///
    /// Requests of ours that wait for an answer fail. Those of others keep their state (RFC 6026 §7.1).
    pub fn handle_transport_failure(&mut self, now: Instant, flow: Flow) {
        let latest = self.client_flows.get(&flow).copied();
        let before = |id: &ClientId| self.clients.get(id).and_then(|entry| entry.before);
        let ids: Vec<ClientId> = std::iter::successors(latest, before).collect();
        for id in ids.into_iter().rev() {
            match self.clients.get_mut(&id).map(|entry| &mut entry.machine) {
                Some(ClientMachine::Invite(machine)) => machine.handle_transport_failure(),
                Some(ClientMachine::Other(machine)) => machine.handle_transport_failure(),
                None => {}
            }
            self.run_client(now, id, None);
        }
    }

    /// Tells that time has come to `now`. Calling early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.settle_latest();
        while let Some(answered) = self.servers.pop_due(now) {
            self.tell_end(answered.owner.map(TransactionId::Server));
        }
        while let Some(id) = self.accepted.pop_due(now) {
            self.tell_end(Some(TransactionId::Client(id)));
        }
        // Whatever is armed anew is armed after `now`, so this ends.
        while let Some(id) = self.deadlines.pop_due(now) {
            let (before, drawn) = (self.outputs.len(), self.next_id);
            match id {
                TransactionId::Client(id) => {
                    match self.clients.get_mut(&id).map(|entry| &mut entry.machine) {
                        Some(ClientMachine::Invite(machine)) => machine.handle_timeout(now),
                        Some(ClientMachine::Other(machine)) => machine.handle_timeout(now),
                        None => {}
                    }
                    self.run_client(now, id, None);
                }
                TransactionId::Server(id) => {
                    if let Some(entry) = self.servers.get_mut(id) {
                        // The copies first: their end and that of the transaction fall on the same instant.
                        if let Some(answer) = &mut entry.answer {
                            answer.0.handle_timeout(now);
                        }
                        match &mut entry.machine {
                            ServerMachine::Invite(machine) => machine.handle_timeout(now),
                            ServerMachine::Other(machine) => machine.handle_timeout(now),
                        }
                    }
                    self.run_server(id, None);
                }
            }
            let sent = self.outputs.range(before..);
            let again = sent.filter(|output| matches!(output, Output::Transmit { .. })).count();
            // What is begun by a timer, a CANCEL, is sent for the first time.
            self.counters.retransmitted += (again as u64).saturating_sub(self.next_id - drawn);
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.deadlines.next(), self.servers.next(), self.accepted.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// A To tag for answers to this request: the same for every copy, not to be guessed by others (§8.2.7, §19.3).
    #[must_use]
    pub fn tag(&self, request: &Request) -> String {
        let sequence = request.headers.cseq().map(|cseq| cseq.seq).unwrap_or_default();
        let mut context = hmac::Context::with_key(&self.tag_key);
        for name in [HeaderName::CALL_ID, HeaderName::FROM] {
            let value = request.headers.get(&name);
            let value = value.as_ref().map_or(&[][..], |value| value.as_bytes());
            // The length keeps one field from running into the next.
            context.update(&value.len().to_be_bytes());
            context.update(value);
        }
        context.update(&sequence.to_be_bytes());
        hex(&context.sign().as_ref()[..TAG_BYTES])
    }

    /// How many transactions live, as (clients, servers).
    #[must_use]
    pub fn live(&self) -> (usize, usize) {
        (self.clients.len() + self.accepted.len(), self.servers.len())
    }

    /// Whether a request belongs to a transaction here, or to an answer of one.
    #[must_use]
    pub fn knows(&mut self, request: &Request) -> bool {
        self.settle_latest();
        let hop = request.headers.hop().map_err(|_| Unmatchable::Headers);
        let Ok(incoming) = hop.and_then(|hop| Incoming::read(&self.keys, request, &hop)) else {
            return false;
        };
        let is_here = |method: &Method| self.servers.find(&self.keys.server(incoming.place, method)).is_some();
        match request.method {
            Method::Ack => {
                is_here(&Method::Invite) || incoming.answer.is_some_and(|key| self.answered.contains_key(&key))
            }
            Method::Cancel => is_here(&Method::Cancel) || CANCELLABLE.iter().any(is_here),
            _ => self.servers.find(&incoming.server).is_some(),
        }
    }

    /// Whether no index names a transaction that is gone or misses one that lives; for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.client_keys.len() == self.clients.len()
            && self.accepted.is_sound()
            && self.client_keys.keys().all(|key| self.accepted.find(key).is_none())
            && self
                .servers
                .is_sound(|id| self.deadlines.get(&TransactionId::Server(id)))
            && self.clients.iter().all(|(id, one)| {
                let beside = |beside: Option<ClientId>| beside.and_then(|beside| self.clients.get(&beside));
                self.client_keys.get(&one.key) == Some(id)
                    && beside(one.before).is_some() == one.before.is_some()
                    && beside(one.before).is_none_or(|before| before.after == Some(*id) && before.flow == one.flow)
                    && match one.after {
                        None => self.client_flows.get(&one.flow) == Some(id),
                        after => beside(after).is_some_and(|after| after.before == Some(*id)),
                    }
            })
            && self.client_flows.values().all(|id| self.clients.contains_key(id))
            && self.answered.values().all(|id| self.servers.get(*id).is_some())
            && self.deadlines.iter().all(|(id, _)| match id {
                TransactionId::Client(id) => self.clients.contains_key(id),
                TransactionId::Server(id) => self.servers.get(*id).is_some(),
            })
    }

    /// What strangers and lost packets caused so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn handle_request(&mut self, now: Instant, flow: Flow, mut request: Request) {
        let (incoming, stamped) = match request.headers.hop() {
            Ok(hop) => (
                Incoming::read(&self.keys, &request, &hop),
                hop.stamped(flow.remote.ip().to_canonical(), flow.remote.port()),
            ),
            Err(_) => (Err(Unmatchable::Headers), None),
        };
        if let Some(line) = stamped {
            request.headers.stamp(line);
        }
        let incoming = match incoming {
            Ok(incoming) => incoming,
            // An ACK is never answered (§17.2.1).
            Err(_) if request.method == Method::Ack => {
                self.counters.stray_acks += 1;
                return;
            }
            Err(why) => return self.refuse(flow, request, Refusal::Unmatchable(why)),
        };
        if request.method == Method::Ack {
            return self.handle_ack(now, flow, request, incoming);
        }
        if let Some(found) = self.servers.find(&incoming.server) {
            // Whoever says the same from elsewhere must not have answers sent to the one who said it first.
            if !same_peer(found.flow(), flow) {
                self.counters.stray_copies += 1;
                return;
            }
            self.counters.copies += 1;
            match found {
                Found::Live(id, _) => self.handle_copy(id),
                Found::Answered(answered) => self.outputs.push_back(Output::Transmit {
                    flow: answered.flow,
                    bytes: answered.bytes.clone(),
                }),
            }
            return;
        }
        if request.method == Method::Cancel {
            return self.handle_cancel(now, flow, request, incoming);
        }
        if !incoming.in_dialog && self.servers.knows(&incoming.request) {
            self.counters.merged += 1;
            return self.turn_away(flow, &request, Status::LOOP_DETECTED);
        }
        if !self.has_room() {
            return self.refuse(flow, request, Refusal::Full);
        }
        let id = self.start_server(now, flow, &request, &incoming);
        self.outputs.push_back(Output::Request {
            server: id,
            flow,
            request,
        });
    }

    fn handle_copy(&mut self, id: ServerId) {
        match self.servers.get_mut(id).map(|entry| &mut entry.machine) {
            Some(ServerMachine::Invite(machine)) => machine.handle_copy(),
            Some(ServerMachine::Other(machine)) => machine.handle_copy(),
            None => {}
        }
        self.run_server(id, None);
    }

    fn handle_ack(&mut self, now: Instant, flow: Flow, request: Request, incoming: Incoming) {
        // By branch: the ACK to a non-2xx, or that of a client that keeps its branch for a 2xx as well.
        let invite = self.keys.server(incoming.place, &Method::Invite);
        if let Some(Found::Live(id, _)) = self.servers.find(&invite)
            && let Some(entry) = self.servers.get_mut(id)
            && let ServerMachine::Invite(machine) = &mut entry.machine
        {
            // The ACK to a 2xx is one of its dialog, from its peer, or it is nothing: whoever else says it must not stop
            // the copies.
            let belongs = match &entry.answer {
                Some(answer) => incoming.answer == Some(answer.1) && same_peer(entry.flow, flow),
                // Without a branch of its own, the tag tells which answer is meant (§17.2.3).
                None => incoming.has_branch || request.headers.to_tag().ok().flatten() == entry.to_tag.as_deref(),
            };
            if !belongs {
                self.counters.stray_acks += 1;
                return;
            }
            machine.handle_ack(now);
            return self.run_server(id, Some((flow, request)));
        }
        // By dialog: the ACK to a 2xx is a request of its own (§13.2.2.4).
        let invite = incoming
            .answer
            .and_then(|key| self.answered.get(&key).copied())
            .filter(|id| self.servers.get(*id).is_some_and(|entry| same_peer(entry.flow, flow)));
        match invite {
            Some(id) => self.settle(id),
            None => self.counters.stray_acks += 1,
        }
        self.outputs.push_back(Output::Ack { invite, flow, request });
    }

    fn handle_cancel(&mut self, now: Instant, flow: Flow, request: Request, incoming: Incoming) {
        if !self.has_room() {
            return self.refuse(flow, request, Refusal::Full);
        }
        // Whatever it is that is to be cancelled, it is found and the CANCEL answered alike (§9.2).
        let cancelled = CANCELLABLE
            .iter()
            .find_map(|method| self.servers.find(&self.keys.server(incoming.place, method)))
            // A branch alone must not let a stranger end somebody else's call.
            .filter(|found| same_peer(found.flow(), flow))
            .map(|found| match found {
                Found::Live(id, _) => Some(id),
                Found::Answered(_) => None,
            });
        let Some(cancelled) = cancelled else {
            self.counters.stray_cancels += 1;
            return self.turn_away(flow, &request, Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST);
        };
        let id = self.start_server(now, flow, &request, &incoming);
        // The answers to both have the same tag where that is still possible (§9.2).
        let tag = cancelled.and_then(|id| self.servers.get(id)?.to_tag.clone());
        let response = self.tagged(&request, Status::OK, tag.as_deref());
        self.respond(now, id, &response)
            .unwrap_or_else(|Late| debug_assert!(false, "a new transaction is open"));
        // It has an effect on an INVITE only.
        if let Some(cancelled) = cancelled
            && let Some(entry) = self.servers.get_mut(cancelled)
            && matches!(entry.machine, ServerMachine::Invite(_))
            && entry.is_open()
            && !std::mem::replace(&mut entry.cancelled, true)
        {
            self.outputs.push_back(Output::Cancelled { invite: cancelled });
        }
    }

    fn handle_response(&mut self, now: Instant, flow: Flow, response: Response) {
        let class = Class::of(response.status.code());
        // A stream delivers only what its own peer says.
        let by_its_way = |sent: Flow| sent == flow || !flow.transport.reliable() && sent.transport == flow.transport;
        let key = ClientKey::read(&self.keys, &response);
        let client = key.and_then(|key| {
            let id = *self.client_keys.get(&key)?;
            self.clients.get(&id).filter(|entry| by_its_way(entry.flow)).map(|_| id)
        });
        let Some(id) = client else {
            match key.and_then(|key| self.accepted.find(&key)) {
                Some(accepted) if by_its_way(accepted.flow) => {
                    if accepted.delivers(class) {
                        let client = accepted.id;
                        self.outputs.push_back(Output::Response { client, response });
                    }
                }
                _ => self.counters.stray_responses += 1,
            }
            return;
        };
        match self.clients.get_mut(&id).map(|entry| &mut entry.machine) {
            Some(ClientMachine::Invite(machine)) => machine.handle_response(now, class),
            Some(ClientMachine::Other(machine)) => machine.handle_response(now, class),
            None => {}
        }
        self.run_client(now, id, Some(response));
    }

    fn start_client(
        &mut self,
        now: Instant,
        id: ClientId,
        flow: Flow,
        mut request: Request,
        key: ClientKey,
        owner: Owner,
    ) {
        let reliable = flow.transport.reliable();
        let bytes = request.to_bytes();
        let (machine, pattern) = if request.method == Method::Invite {
            request.body = Bytes::new();
            (
                ClientMachine::Invite(InviteClient::new(now, reliable)),
                Some(Box::new(request)),
            )
        } else {
            (ClientMachine::Other(NonInviteClient::new(now, reliable)), None)
        };
        self.client_keys.insert(key, id);
        let before = self.client_flows.insert(flow, id);
        if let Some(before) = before.and_then(|before| self.clients.get_mut(&before)) {
            before.after = Some(id);
        }
        let entry = Client {
            machine,
            flow,
            key,
            owner,
            bytes,
            pattern,
            ack: Bytes::new(),
            reason: None,
            before,
            after: None,
        };
        self.clients.insert(id, Box::new(entry));
        self.run_client(now, id, None);
    }

    fn start_server(&mut self, now: Instant, flow: Flow, request: &Request, incoming: &Incoming) -> ServerId {
        self.settle_latest();
        let id = ServerId(self.draw_id());
        let reliable = flow.transport.reliable();
        let machine = if request.method == Method::Invite {
            ServerMachine::Invite(InviteServer::new(now, reliable))
        } else {
            ServerMachine::Other(NonInviteServer::new(now, reliable))
        };
        let owner = if request.method == Method::Cancel {
            Owner::Table
        } else {
            Owner::Above
        };
        let server = Server {
            machine,
            flow,
            owner,
            key: incoming.server,
            content: incoming.request,
            in_dialog: incoming.in_dialog,
            to_tag: None,
            last: Bytes::new(),
            cancelled: false,
            answer: None,
        };
        self.servers.insert(id, server);
        id
    }

    /// Carries out what a client machine wants. `response` is the one that it was just given.
    fn run_client(&mut self, now: Instant, id: ClientId, mut response: Option<Response>) {
        while let Some(entry) = self.clients.get_mut(&id) {
            let flow = entry.flow;
            match entry.machine.poll_output() {
                Some(ClientOutput::Transmit) => {
                    self.outputs.push_back(Output::Transmit {
                        flow,
                        bytes: entry.bytes.clone(),
                    });
                }
                Some(ClientOutput::Deliver) => {
                    let Some(response) = response.take() else { continue };
                    if response.status.is_final() {
                        // Nothing of the request is sent again.
                        entry.bytes = Bytes::new();
                        entry.pattern = None;
                    }
                    if entry.owner == Owner::Above {
                        self.outputs.push_back(Output::Response { client: id, response });
                    }
                }
                Some(ClientOutput::Acknowledge) => {
                    if let (Some(pattern), Some(response)) = (&entry.pattern, &response) {
                        entry.ack = acknowledge(pattern, response).to_bytes();
                        self.outputs.push_back(Output::Transmit {
                            flow,
                            bytes: entry.ack.clone(),
                        });
                    }
                }
                Some(ClientOutput::AcknowledgeAgain) => {
                    self.outputs.push_back(Output::Transmit {
                        flow,
                        bytes: entry.ack.clone(),
                    });
                }
                Some(ClientOutput::Cancel) => {
                    if let Some(pattern) = &entry.pattern {
                        let cancel = cancel_of(pattern, entry.reason.take());
                        self.start_cancel(now, flow, cancel);
                    }
                }
                Some(ClientOutput::Ended(outcome)) => {
                    if entry.owner == Owner::Above {
                        let why = match outcome {
                            Outcome::Answered => None,
                            Outcome::TimedOut => Some(Failure::TimedOut),
                            Outcome::TransportFailed => Some(Failure::Transport),
                        };
                        self.outputs.extend(why.map(|why| Output::Failed { client: id, why }));
                        self.outputs.push_back(Output::Ended {
                            id: TransactionId::Client(id),
                        });
                    }
                    self.forget_client(id);
                }
                None => {
                    if let ClientMachine::Invite(machine) = &entry.machine
                        && let Some(until) = machine.accepted_until()
                    {
                        return self.remember_accepted(until, id);
                    }
                    let at = entry.machine.poll_timeout();
                    return self.deadlines.set(TransactionId::Client(id), at);
                }
            }
        }
    }

    fn start_cancel(&mut self, now: Instant, flow: Flow, cancel: Request) {
        if let Some(key) = ClientKey::expected(&self.keys, &cancel)
            && !self.client_keys.contains_key(&key)
        {
            let id = ClientId(self.draw_id());
            self.start_client(now, id, flow, cancel, key, Owner::Table);
        }
    }

    /// Carries out what a server machine wants. `ack` is the one that it was just given.
    fn run_server(&mut self, id: ServerId, mut ack: Option<(Flow, Request)>) {
        while let Some(entry) = self.servers.get_mut(id) {
            let flow = entry.flow;
            if let Some(output) = entry.answer.as_mut().and_then(|answer| answer.0.poll_output()) {
                self.outputs.push_back(match output {
                    AnswerOutput::Transmit => Output::Transmit {
                        flow,
                        bytes: entry.last.clone(),
                    },
                    AnswerOutput::Failed => Output::Unacknowledged { server: id },
                });
                continue;
            }
            match entry.machine.poll_output() {
                Some(ServerOutput::Transmit) => {
                    self.outputs.push_back(Output::Transmit {
                        flow,
                        bytes: entry.last.clone(),
                    });
                }
                Some(ServerOutput::Acknowledged) => {
                    self.servers.acknowledge(id);
                    if let Some((flow, request)) = ack.take() {
                        self.outputs.push_back(Output::Ack {
                            invite: Some(id),
                            flow,
                            request,
                        });
                    }
                }
                Some(ServerOutput::Remember { until }) => {
                    self.disarm_server(id);
                    return self.servers.remember(id, until);
                }
                // That nobody acknowledged a failure changes nothing: whoever asked may be a stranger.
                Some(ServerOutput::Ended(_)) => self.forget_server(id),
                None => return self.arm_server(id),
            }
        }
    }

    fn arm_server(&mut self, id: ServerId) {
        if let Some(entry) = self.servers.get(id).filter(|_| !self.servers.is_latest(id)) {
            self.deadlines.set(TransactionId::Server(id), entry.deadline());
        }
    }

    fn disarm_server(&mut self, id: ServerId) {
        if !self.servers.is_latest(id) {
            self.deadlines.set(TransactionId::Server(id), None);
        }
    }

    /// Puts the latest request into the tables, if it still lives.
    fn settle_latest(&mut self) {
        if let Some((id, deadline)) = self.servers.settle() {
            self.deadlines.set(TransactionId::Server(id), deadline);
        }
    }

    fn forget_client(&mut self, id: ClientId) -> Option<Box<Client>> {
        self.deadlines.set(TransactionId::Client(id), None);
        let entry = self.clients.remove(&id)?;
        self.client_keys.remove(&entry.key);
        if let Some(after) = entry.after.and_then(|after| self.clients.get_mut(&after)) {
            after.before = entry.before;
        } else if let Some(before) = entry.before {
            self.client_flows.insert(entry.flow, before);
        } else {
            self.client_flows.remove(&entry.flow);
        }
        if let Some(before) = entry.before.and_then(|before| self.clients.get_mut(&before)) {
            before.after = entry.after;
        }
        Some(entry)
    }

    /// Keeps of an INVITE that a 2xx has answered what copies of that are known by.
    fn remember_accepted(&mut self, until: Instant, id: ClientId) {
        if let Some(entry) = self.forget_client(id) {
            let (key, flow) = (entry.key, entry.flow);
            let oldest = self
                .accepted
                .keep(until, Accepted { key, id, flow }, self.limits.accepted);
            self.tell_end(oldest.map(TransactionId::Client));
        }
    }

    /// Whether there is room for one more request, of which what is remembered longest is forgotten if need be.
    fn has_room(&mut self) -> bool {
        if self.servers.len() < self.limits.servers {
            return true;
        }
        match self.servers.oldest() {
            Some(Oldest::Invite(id)) => self.forget_server(id),
            Some(Oldest::Answered) => {
                let owner = self.servers.pop_first().and_then(|answered| answered.owner);
                self.tell_end(owner.map(TransactionId::Server));
            }
            None => return false,
        }
        true
    }

    fn tell_end(&mut self, of: Option<TransactionId>) {
        self.outputs.extend(of.map(|id| Output::Ended { id }));
    }

    fn forget_server(&mut self, id: ServerId) {
        self.disarm_server(id);
        let Some(entry) = self.servers.remove(id) else { return };
        if let Some(answer) = &entry.answer
            && self.answered.get(&answer.1) == Some(&id)
        {
            self.answered.remove(&answer.1);
        }
        if entry.owner == Owner::Above {
            self.outputs.push_back(Output::Ended {
                id: TransactionId::Server(id),
            });
        }
    }

    fn turn_away(&mut self, flow: Flow, request: &Request, status: Status) {
        let bytes = self.tagged(request, status, None).to_bytes();
        self.outputs.push_back(Output::TurnAway { flow, bytes });
    }

    fn refuse(&mut self, flow: Flow, request: Request, why: Refusal) {
        self.counters.refused += 1;
        self.outputs.push_back(Output::Refused { flow, request, why });
    }

    /// A response whose To has a tag: the given one, that of the request, or [`tag`](Self::tag).
    fn tagged(&self, request: &Request, status: Status, tag: Option<&str>) -> Response {
        let mut response = request.response(status);
        match tag {
            Some(tag) => response.set_tag(tag),
            None => response.set_tag(&self.tag(request)),
        }
        response
    }

    fn draw_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

#[derive(Debug)]
struct Client {
    machine: ClientMachine,
    flow: Flow,
    key: ClientKey,
    owner: Owner,
    /// The request, until its final response.
    bytes: Bytes,
    /// What ACK and CANCEL of an INVITE are made of, until its final response.
    pattern: Option<Box<Request>>,
    /// The ACK to a non-2xx.
    ack: Bytes,
    /// The Reason of a CANCEL that is still to be sent.
    reason: Option<Value>,
    /// The request on the same flow that was begun before it, and that begun after it.
    before: Option<ClientId>,
    after: Option<ClientId>,
}

#[derive(Debug)]
enum ClientMachine {
    Invite(InviteClient),
    Other(NonInviteClient),
}

impl ClientMachine {
    fn poll_output(&mut self) -> Option<ClientOutput> {
        match self {
            Self::Invite(machine) => machine.poll_output(),
            Self::Other(machine) => machine.poll_output(),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Invite(machine) => machine.poll_timeout(),
            Self::Other(machine) => machine.poll_timeout(),
        }
        .map(|(at, _)| at)
    }
}

/// Whether both messages can have come from one peer. A datagram may come through another port of the same NAT.
fn same_peer(a: Flow, b: Flow) -> bool {
    if a.transport.reliable() || b.transport.reliable() {
        a == b
    } else {
        a.remote.ip() == b.remote.ip()
    }
}

/// Every method that we know but ACK and CANCEL, those first that are likely. A method that nobody knows is refused at
/// once, and its CANCEL comes too late.
const CANCELLABLE: [Method; 12] = [
    Method::Invite,
    Method::Register,
    Method::Options,
    Method::Subscribe,
    Method::Message,
    Method::Publish,
    Method::Notify,
    Method::Refer,
    Method::Update,
    Method::Prack,
    Method::Info,
    Method::Bye,
];
/// The most requests whose refusal for good is remembered at one time: whoever asks too much must not fill the table.
pub const MAX_FOR_GOOD: usize = 128;
/// Tags need at least 32 bits (§19.3); ours have more.
const TAG_BYTES: usize = 10;

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
