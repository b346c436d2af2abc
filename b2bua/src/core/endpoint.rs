//! The whole SIP side as one machine: datagrams in, outputs out.
//!
//! It owns every transaction, binding and call, and hands each message to the one that it belongs to. It decides
//! nothing about a call ([`call`](crate::core::call)) and nothing about proof ([`auth`](crate::core::auth)); it decides
//! who is asked.
//!
//! # Use
//! Call one `handle_*` method, then drain [`poll_output`](Endpoint::poll_output) until it gives `None`, then read
//! [`poll_timeout`](Endpoint::poll_timeout).
//!
//! # Trust
//! A request without a dialog gets past this file in two ways only: with a digest proof of a user of ours, or from the
//! address of a configured trunk.

mod accounts;
mod activities;
mod answers;
mod begin;
mod gate;
mod large;
mod leftovers;
mod neighbours;
mod output;
mod placing;
mod responses;
mod transfers;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cusax_common::core::bridge::{PhoneActivity, ToB2bua, ToXmpp};
use cusax_common::core::entropy::Entropy;
use cusax_common::core::sip::typed::{Credentials, Via};
use cusax_common::core::sip::{HeaderName, Headers, Message, Method, Request, Status, Uri};
use cusax_common::core::time::Now;
use cusax_common::core::user::User;
use jid::BareJid;
use tracing::{Span, trace};

use crate::core::admission::Admission;
use crate::core::auth::{Authenticator, Header};
use crate::core::call::{self, Call, CallOutput, Caller, Context, Token};
use crate::core::carriers::{Carriers, Opening};
use crate::core::cause;
use crate::core::dialog::{DialogId, DialogIds};
use crate::core::endpoint::accounts::Asking;
use crate::core::endpoint::large::Large;
use crate::core::flow::{Flow, Transport};
use crate::core::flow_token::FlowTokens;
use crate::core::ids::IdMap;
use crate::core::locate::{Answer, QueryId};
use crate::core::media::{MediaCommand, MediaEvent, MediaId};
use crate::core::neighbour::{AskId, MOST_PASSED, Said};
use crate::core::registrar::{self, Registrar};
use crate::core::settings::Settings;
use crate::core::share::Share;
use crate::core::stun;
use crate::core::transaction::key::MAGIC_COOKIE;
use crate::core::transaction::{self, ClientId, Failure, Limits, ServerId, TransactionId, Transactions};

pub use accounts::{Denied, Standing};
pub use output::{Counters, FetchId, Output, PlaceId, Query};

/// The SIP side of the service.
#[derive(Debug)]
pub struct Endpoint<E> {
    share: Share,
    settings: Arc<Settings>,
    entropy: E,
    transactions: Transactions,
    registrar: Registrar,
    authenticator: Authenticator,
    flow_tokens: FlowTokens,
    /// Made with the first request, which brings the time.
    admission: Option<Admission>,
    calls: IdMap<MediaId, Box<Live>>,
    next_call: u64,
    /// Deadlines of calls; an entry may be out of date, which the call notices.
    deadlines: BTreeSet<(Instant, MediaId)>,
    dialog_ids: DialogIds,
    dialogs: IdMap<DialogId, (MediaId, Flow)>,
    /// How many dialogs there are on each flow.
    flows: HashMap<Flow, usize>,
    /// INVITEs of peers: of which call, and within which dialog if they came within one.
    servers: IdMap<ServerId, (MediaId, Option<DialogId>)>,
    clients: IdMap<ClientId, (MediaId, Token)>,
    tokens: IdMap<(MediaId, Token), ClientId>,
    /// ACKs for 2xx, repeated for each copy of the 2xx until its transaction ends.
    acks: IdMap<ClientId, Vec<Acked>>,
    /// The longest answer to a stranger whose request is being judged: an address that is not proved must not be sent
    /// much more than came from it.
    allowance: usize,
    /// How often the message that is being taken has been passed on.
    passed: u8,
    fetches: IdMap<FetchId, Fetching>,
    /// Requests whose proof has failed, by the time of the answer.
    refused: BTreeMap<(Instant, ServerId), Box<Unproved>>,
    next_fetch: u64,
    /// What waits for the first endpoint of the node.
    asking: IdMap<AskId, Asking>,
    next_ask: u64,
    /// Dialogs whose Call-IDs are ours, and that are in calls of other endpoints.
    moved: HashMap<DialogId, u8>,
    /// Those that are over, and until when copies of what was said in them are passed on.
    forgetting: VecDeque<(Instant, DialogId)>,
    /// Users with registered phones whose records are to be looked at again.
    doubtful: VecDeque<BareJid>,
    /// Where carriers are.
    carriers: Carriers,
    /// Calls to domains that are being looked up.
    searching: BTreeMap<ServerId, begin::Searching>,
    /// Requests that are too large for UDP.
    large: Large,
    /// How many of them are being looked at.
    doubted: usize,
    /// Who is on the phone, in calls of all endpoints: kept by the first.
    busy: HashMap<BareJid, activities::Busy>,
    /// How many calls each user has begun, kept by the first as well; what goes on in a call of somebody else is one as well.
    begun: HashMap<BareJid, usize>,
    /// What calls have said to one another, and who said it.
    letters: VecDeque<(MediaId, transfers::Letter)>,
    /// Transfers to domains that are being looked up.
    seeking: Vec<transfers::Seeking>,
    /// Users whose phones may do something else than they did, and what they did.
    unsettled: Vec<(BareJid, PhoneActivity)>,
    /// When that is told, where other endpoints may know more of it.
    telling: Option<Instant>,
    outputs: VecDeque<Output>,
    call_outputs: VecDeque<CallOutput>,
    counters: Counters,
    draining: bool,
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Hash)]
enum Account<'a> {
    User(&'a BareJid),
    Trunk(&'a str),
    /// What is said within a call, by both sides.
    Call(MediaId),
}

/// An ACK that was sent: for the 2xx with this tag of the callee's, since each branch of a fork may send one
/// (RFC 3261 §13.2.2.4).
#[derive(Debug)]
struct Acked {
    to_tag: Option<Box<str>>,
    flow: Flow,
    bytes: Bytes,
}

#[derive(Debug)]
struct Live {
    call: Call,
    span: Span,
    deadline: Option<Instant>,
}

/// Who waits for an answer of the store.
#[derive(Debug)]
enum Fetching {
    Proof(Box<Unproved>),
    Owner(MediaId),
    Holder(BareJid),
    Placing(PlaceId, Box<Uri>),
}

/// A request whose credentials are to be judged.
#[derive(Debug)]
struct Unproved {
    server: ServerId,
    flow: Flow,
    request: Request,
    credentials: Credentials,
    came: Instant,
    allowance: usize,
}

impl<E: Entropy> Endpoint<E> {
    /// A service with nobody registered and no call.
    pub fn new(
        settings: Arc<Settings>,
        registrar: Registrar,
        authenticator: Authenticator,
        secret: &[u8; 32],
        entropy: E,
    ) -> Self {
        Self {
            share: Share::whole(),
            settings,
            entropy,
            transactions: Transactions::new(Limits::default(), secret),
            registrar,
            authenticator,
            flow_tokens: FlowTokens::new(secret),
            admission: None,
            calls: IdMap::default(),
            next_call: 0,
            deadlines: BTreeSet::new(),
            dialog_ids: DialogIds::new(secret, Share::whole()),
            dialogs: IdMap::default(),
            flows: HashMap::new(),
            servers: IdMap::default(),
            clients: IdMap::default(),
            tokens: IdMap::default(),
            acks: IdMap::default(),
            allowance: usize::MAX,
            passed: 0,
            fetches: IdMap::default(),
            refused: BTreeMap::new(),
            next_fetch: 0,
            asking: IdMap::default(),
            next_ask: 0,
            moved: HashMap::new(),
            forgetting: VecDeque::new(),
            doubtful: VecDeque::new(),
            carriers: Carriers::default(),
            searching: BTreeMap::new(),
            large: Large::default(),
            doubted: 0,
            busy: HashMap::new(),
            begun: HashMap::new(),
            letters: VecDeque::new(),
            seeking: Vec::new(),
            unsettled: Vec::new(),
            telling: None,
            outputs: VecDeque::new(),
            call_outputs: VecDeque::new(),
            counters: Counters::default(),
            draining: false,
        }
    }

    /// What the network did.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the network did to transactions.
    #[must_use]
    pub fn transaction_counters(&self) -> transaction::Counters {
        self.transactions.counters()
    }

    /// How many transactions live.
    #[must_use]
    pub fn transactions(&self) -> usize {
        let (clients, servers) = self.transactions.live();
        clients + servers
    }

    /// What the operator decided.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many calls there are, ending ones included.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Each trunk with the number of its servers that do not work, as far as calls have shown.
    pub fn broken_servers(&self) -> impl Iterator<Item = (&str, usize)> {
        let trunks = self.settings.trunks.iter();
        trunks.map(|trunk| (trunk.name.as_str(), self.carriers.broken(&trunk.name)))
    }

    /// How many bindings there are.
    #[must_use]
    pub fn bindings(&self) -> usize {
        self.registrar.len()
    }

    /// Begins: looks for carriers that have names.
    pub fn handle_start(&mut self, now: Now) {
        self.carriers = Carriers::new(now.instant, &self.settings);
        self.settle(now);
    }

    /// One datagram.
    pub fn handle_datagram(&mut self, now: Now, flow: Flow, bytes: Bytes) {
        self.allowance = if flow.transport.reliable() {
            usize::MAX
        } else {
            bytes.len() * MOST_REPLIED / 2
        };
        if is_keepalive(&bytes) {
            self.counters.keepalives += 1;
            // Who has not registered has not shown that the address is its own.
            if !flow.transport.reliable()
                && self.registrar.has_flow(&flow)
                && let Some(bytes) = stun::answer(&bytes, flow.remote)
            {
                self.outputs.push_back(Output::Transmit { flow, bytes });
            }
            return;
        }
        match Message::parse(bytes) {
            Ok(message) => {
                match message {
                    Message::Request(_) => self.counters.requests += 1,
                    Message::Response(_) => self.counters.responses += 1,
                }
                self.take(now, flow, message, 0);
            }
            Err(fault) => {
                trace!(kind = ?fault.kind, "malformed message");
                self.malformed(now, flow, fault.status, fault.reply_to.as_deref());
            }
        }
        self.settle(now);
    }

    /// The head of a message that came by a stream and whose end cannot be told (RFC 3261 §18.3): it is answered, and never
    /// carried out, however well it reads.
    pub fn handle_broken(&mut self, now: Now, flow: Flow, head: Bytes) {
        self.allowance = usize::MAX;
        match Message::parse(head) {
            Ok(Message::Request(request)) => self.malformed(now, flow, Some(Status::BAD_REQUEST), Some(&request)),
            Ok(Message::Response(_)) => self.malformed(now, flow, None, None),
            Err(fault) => self.malformed(now, flow, fault.status, fault.reply_to.as_deref()),
        }
        self.settle(now);
    }

    /// A connection is closed, or could not be opened: what waits for an answer by it fails, and phones that registered
    /// by it cannot be reached until they come again.
    pub fn handle_closed(&mut self, now: Now, flow: Flow) {
        let has_dialogs = self.flows.contains_key(&flow);
        self.carriers.handle_closed(&self.settings, &flow, has_dialogs);
        self.drop_unanswered(now, flow);
        self.transactions.handle_transport_failure(now.instant, flow);
        if self.share.is_first() {
            self.registrar.handle_flow_closed(now, flow);
        }
        self.settle(now);
    }

    /// Nobody is there any more who could be answered, or registered. What they asked for is answered all the same: a
    /// transaction ends by its answer alone, and a copy that comes yet must not be carried out.
    fn drop_unanswered(&mut self, now: Now, flow: Flow) {
        let searching = self.searching.extract_if(.., |_, searching| searching.flow == flow);
        let searching: Vec<_> = searching.collect();
        for (_, one) in &searching {
            self.count_caller(&one.caller, false);
        }
        let mut gone: Vec<_> = searching
            .into_iter()
            .map(|(server, one)| (server, one.request))
            .collect();
        let fetching = self.fetches.values().filter_map(|fetching| match fetching {
            Fetching::Proof(unproved) => Some(unproved),
            _ => None,
        });
        let asking = self.asking.values().filter_map(|asking| match asking {
            Asking::Proof(unproved, _) => Some(unproved),
            Asking::Refer(..) => None,
        });
        let unproved = fetching.chain(asking).chain(self.refused.values());
        let unproved = unproved.filter(|unproved| unproved.flow == flow);
        gone.extend(unproved.map(|unproved| (unproved.server, unproved.request.clone())));
        self.fetches
            .retain(|_, fetching| !matches!(fetching, Fetching::Proof(unproved) if unproved.flow == flow));
        self.asking
            .retain(|_, asking| !matches!(asking, Asking::Proof(unproved, _) if unproved.flow == flow));
        self.refused.retain(|_, unproved| unproved.flow != flow);
        for (server, request) in gone {
            self.respond(now, server, request.response(Status::SERVICE_UNAVAILABLE));
        }
    }

    /// Whether a connection that says nothing is to be kept: phones registered by it, calls travel by it, or it is a
    /// carrier's.
    #[must_use]
    pub fn wants(&self, flow: &Flow) -> bool {
        self.registrar.has_flow(flow) || self.flows.contains_key(flow) || self.carriers.is_proved(flow)
    }

    /// How a connection may be opened for this flow; not at all if none.
    #[must_use]
    pub fn opening(&self, flow: &Flow) -> Option<Opening> {
        match flow.transport {
            Transport::Udp | Transport::Ws | Transport::Wss => None,
            Transport::Tcp if self.large.wants(flow) => Some(Opening::Probe),
            Transport::Tcp | Transport::Tls => self.carriers.opening(&self.settings, flow),
        }
    }

    /// A connection is up whose peer showed that it is the carrier of these trunks.
    pub fn handle_proved(&mut self, flow: Flow, trunks: Vec<String>) {
        self.carriers.handle_proved(flow, trunks);
    }

    /// What DNS said; `None` when it said nothing, or nothing that can be used.
    pub fn handle_dns(&mut self, now: Now, id: QueryId, answer: Option<Answer>) {
        self.carriers.handle_answer(now.instant, id, answer);
        self.settle(now);
    }

    /// The store's answer; `Err` when it did not answer.
    pub fn handle_fetched(&mut self, now: Now, id: FetchId, answer: Result<Option<Arc<User>>, ()>) {
        match self.fetches.remove(&id) {
            Some(Fetching::Proof(unproved)) => self.judge(now, unproved, answer),
            Some(Fetching::Owner(call)) => {
                self.with_call(now, call, |call, cx| call.handle_fetched(cx, answer.ok()));
            }
            Some(Fetching::Holder(jid)) => {
                self.doubted -= 1;
                match answer {
                    Ok(Some(user)) => self.registrar.keep_user(now, &user),
                    Ok(None) => self.registrar.forget_user(now, &jid),
                    // Asked again at the next change; until then they stay.
                    Err(()) => {}
                }
            }
            Some(Fetching::Placing(id, target)) => self.place(now, id, *target, answer),
            None => {}
        }
        self.ask_doubtful();
        self.settle(now);
    }

    /// Something from the media engine.
    pub fn handle_media(&mut self, now: Now, event: &MediaEvent) {
        let Some(id) = event.id() else { return };
        if self.calls.contains_key(&id) {
            self.with_call(now, id, |call, cx| call.handle_media(cx, event));
        } else if let MediaEvent::Opened { .. } = event {
            self.outputs.push_back(Output::Media(MediaCommand::Close { id }));
        }
        self.settle(now);
    }

    /// Something from the xmpp-module.
    pub fn handle_bridge(&mut self, now: Now, message: ToB2bua) {
        match message {
            ToB2bua::Resync => {
                // Whatever is about to be told is told by this.
                (self.telling, self.unsettled) = (None, Vec::new());
                let registered = self.registrar.everybody();
                let phones = self.busy.iter().map(|(jid, busy)| (jid.clone(), busy.activity()));
                let phones = phones.collect();
                self.outputs
                    .push_back(Output::Bridge(ToXmpp::Everything { registered, phones }));
            }
            ToB2bua::Place { id, user, to } => return self.handle_place(now, PlaceId::Bridge(id), &user, &to),
        }
        self.settle(now);
    }

    /// A binding that another process, or this one before a restart, kept in the shared state.
    pub fn handle_restored(&mut self, now: Now, key: &str, value: &[u8]) {
        let settings = &self.settings;
        self.registrar
            .restore(now, key, value, |flow| settings.may_restore(flow));
        self.settle(now);
    }

    /// The operator changed the configuration. Calls that are up stay as they are.
    pub fn handle_settings(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
    }

    /// Users were changed, or bindings restored: everybody whose phone is registered is looked up again, a few at a
    /// time. Phones of users who are no more are forgotten, and so are addresses that a user no longer holds.
    pub fn handle_users_changed(&mut self, now: Now) {
        if !self.share.is_first() {
            return;
        }
        self.doubtful = self.registrar.everybody().into_iter().map(|(jid, _)| jid).collect();
        self.ask_doubtful();
        self.settle(now);
    }

    /// Takes no new calls, and ends those there are.
    pub fn drain(&mut self, now: Now) {
        self.draining = true;
        let calls: Vec<MediaId> = self.calls.keys().copied().collect();
        for id in calls {
            self.with_call(now, id, Call::shut_down);
        }
        self.give_up_searches(now);
        self.give_up_transfers();
        self.settle(now);
    }

    /// Whether draining was asked for and nothing is left to end.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining && self.calls.is_empty()
    }

    /// Time has come to `now`. Calling early does no harm.
    pub fn handle_timeout(&mut self, now: Now) {
        self.transactions.handle_timeout(now.instant);
        self.registrar.handle_timeout(now);
        self.carriers.handle_timeout(now.instant);
        self.refuse_due(now);
        self.forget_moved(now);
        while let Some(&(at, id)) = self.deadlines.first() {
            if at > now.instant {
                break;
            }
            self.deadlines.pop_first();
            if let Some(live) = self.calls.get_mut(&id) {
                live.deadline = None;
                self.with_call(now, id, Call::handle_timeout);
            }
        }
        self.settle(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let calls = self.deadlines.first().map(|&(at, _)| at);
        let (registrar, carriers) = (self.registrar.poll_timeout(), self.carriers.poll_timeout());
        let refused = self.refused.first_key_value().map(|((at, _), _)| *at);
        let moved = self.forgetting.front().map(|(at, _)| *at);
        let ours = [refused, moved, calls, self.telling];
        let parts = [self.transactions.poll_timeout(), registrar, carriers];
        ours.into_iter().chain(parts).flatten().min()
    }

    /// The next thing for the shell to do, oldest first.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Carries the outputs of the parts to one another until all are still.
    fn settle(&mut self, now: Now) {
        self.settle_calls(now);
        while let Some(output) = self.registrar.poll_output() {
            self.outputs.push_back(match output {
                registrar::Output::Changed { jid, aors } => Output::Bridge(ToXmpp::Registered { jid, aors }),
                registrar::Output::Stored { key, value, ttl } => Output::Keep { key, value, ttl },
                registrar::Output::Removed { key } => Output::Forget { key },
                registrar::Output::Copied(copied) => {
                    for to in self.share.others() {
                        self.say(to, Said::Copied(Arc::clone(&copied)));
                    }
                    continue;
                }
            });
        }
        while let Some((id, query)) = self.carriers.poll_question(&self.settings) {
            self.outputs.push_back(Output::Resolve { id, query });
        }
        while let Some(goal) = self.carriers.poll_located() {
            self.found(now, &goal);
            self.found_for_transfers(now, &goal);
            self.settle_calls(now);
        }
        self.tell_activities(now);
    }

    fn settle_calls(&mut self, now: Now) {
        loop {
            if let Some(output) = self.transactions.poll_output() {
                self.carry(now, output);
            } else if let Some((from, letter)) = self.letters.pop_front() {
                self.deliver(now, from, letter);
            } else {
                return;
            }
        }
    }

    fn carry(&mut self, now: Now, output: transaction::Output) {
        use transaction::Output as Tx;
        match output {
            Tx::Transmit { flow, bytes } => self.outputs.push_back(Output::Transmit { flow, bytes }),
            Tx::Reply { flow, bytes } => self.reply(flow, bytes),
            Tx::TurnAway { flow, bytes } if self.may_turn_away(now, &flow) => self.reply(flow, bytes),
            Tx::TurnAway { .. } => {}
            Tx::Request { server, flow, request } => {
                if let Some(alias) = self.carriers.handle_request(&flow, &request) {
                    for to in self.share.others() {
                        self.say(to, Said::Lent { flow, alias });
                    }
                }
                self.request(now, server, flow, request);
            }
            Tx::Refused { flow, request, why } => self.turn_away(now, flow, &request, why),
            Tx::Ack { flow, request, .. } => self.ack(now, flow, &request),
            Tx::Cancelled { invite } => {
                if let Some(&(call, _)) = self.servers.get(&invite) {
                    self.with_call(now, call, |call, cx| call.handle_cancel(cx, invite));
                } else {
                    self.give_up_search(now, invite);
                    self.give_up_proof(now, invite);
                }
            }
            Tx::Response { client, response } => self.response(now, client, &response),
            Tx::Failed {
                client,
                why: Failure::Transport,
            } if self.send_spare(now, client) => {}
            Tx::Failed { client, why } => self.fail(now, client, why),
            Tx::Unacknowledged { server } => self.nobody_acknowledged(now, server),
            Tx::Ended {
                id: TransactionId::Server(server),
            } => {
                self.servers.remove(&server);
            }
            Tx::Ended {
                id: TransactionId::Client(client),
            } => {
                self.acks.remove(&client);
                self.large.settle(client);
                // Nothing more will be heard of it; if it was settled before, this is no news.
                self.fail(now, client, Failure::TimedOut);
                if let Some(key) = self.clients.remove(&client) {
                    self.tokens.remove(&key);
                    if let Some(live) = self.calls.get_mut(&key.0) {
                        live.call.handle_ended(key.1);
                    }
                }
            }
        }
    }

    /// A new request: to its dialog if it names one, else by method.
    fn request(&mut self, now: Now, server: ServerId, flow: Flow, request: Request) {
        if let Some(id) = self.dialog_id(&request) {
            let Some(&(call, way)) = self.dialogs.get(&id) else {
                // An invented To tag never gets past authentication by being "in a dialog".
                if self.admit_source(now, server, &flow, &request) {
                    self.counters.misplaced += 1;
                    self.respond_once(server, request.response(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST));
                }
                return;
            };
            // What ends a call always passes; there is no dialog behind it.
            if request.method != Method::Bye && !self.admit_account(now, server, &request, Account::Call(call)) {
                return;
            }
            if request.method == Method::Invite {
                self.servers.insert(server, (call, Some(id)));
            }
            let flow = self.carriers.settle_on(&self.settings, flow, way);
            return self.with_call(now, call, |call, cx| {
                call.handle_request(cx, id, server, flow, &request)
            });
        }
        let trunk = (request.method == Method::Invite)
            .then(|| self.trunk_of(&flow, &request))
            .flatten();
        if trunk.is_none() && !self.admit_source(now, server, &flow, &request) {
            return;
        }
        if let Some(refusal) = self.unserved(&request).or_else(|| self.misrouted(&flow, &request)) {
            return self.respond_once(server, refusal);
        }
        match request.method {
            Method::Options => self.tell_capabilities(server, &request),
            Method::Invite => match trunk {
                Some(name) => {
                    if self.admit_account(now, server, &request, Account::Trunk(&name)) {
                        self.invite(now, server, flow, request, Caller::Trunk { name }, 0);
                    }
                }
                None => self.authenticate(now, server, flow, request),
            },
            // What CUSAX keeps on XMPP: presence is not given out here (RFC 7081 §4.1), whatever the package.
            Method::Subscribe | Method::Message => self.respond_once(server, self.kept_on_xmpp(&request)),
            Method::Register => self.authenticate(now, server, flow, request),
            Method::Bye | Method::Update | Method::Info | Method::Prack | Method::Notify => {
                self.counters.misplaced += 1;
                self.respond_once(server, request.response(Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST));
            }
            // It may come without a dialog (RFC 3515 §2.4.2), but nobody is sent to calls from outside of one.
            Method::Refer => {
                self.counters.misplaced += 1;
                self.respond_once(server, request.response(Status::FORBIDDEN));
            }
            Method::Other(_) => self.respond_once(server, request.response(Status::NOT_IMPLEMENTED)),
            _ => self.respond_once(server, call::not_allowed(&request)),
        }
    }

    fn ack(&mut self, now: Now, flow: Flow, request: &Request) {
        let Some(id) = self.dialog_id(request) else { return };
        match self.dialogs.get(&id) {
            Some(&(call, way)) => {
                let flow = self.carriers.settle_on(&self.settings, flow, way);
                self.with_call(now, call, |call, cx| call.handle_ack(cx, id, flow, request));
            }
            None => match self.whereabouts(id).filter(|_| self.passed < MOST_PASSED) {
                // The INVITE was answered before the dialog moved.
                Some(to) => {
                    let said = Said::Message {
                        flow,
                        message: Box::new(Message::Request(request.clone())),
                        allowance: self.allowance,
                        passed: self.passed + 1,
                    };
                    self.say(to, said);
                }
                None => self.counters.misplaced += 1,
            },
        }
    }

    /// Lets a call hear something, and does what it asks for.
    fn with_call(&mut self, now: Now, id: MediaId, hear: impl FnOnce(&mut Call, &mut Context<'_, E>)) {
        let Some(live) = self.calls.get_mut(&id) else { return };
        let entered = live.span.clone().entered();
        let mut cx = Context {
            now,
            entropy: &mut self.entropy,
            dialogs: &self.dialog_ids,
            settings: &self.settings,
            registrar: &self.registrar,
            carriers: &self.carriers,
            out: &mut self.call_outputs,
        };
        hear(&mut live.call, &mut cx);
        self.after_call(now, id);
        drop(entered);
    }

    fn after_call(&mut self, now: Now, id: MediaId) {
        while let Some(output) = self.call_outputs.pop_front() {
            self.carry_call(now, id, output);
        }
        let Some(live) = self.calls.get_mut(&id) else { return };
        if live.call.is_over() {
            if let Some(at) = live.deadline {
                self.deadlines.remove(&(at, id));
            }
            let over = self.calls.remove(&id);
            if let Some(jid) = over.and_then(|live| live.call.begun_by().cloned()) {
                self.count_call(jid, false);
            }
            return;
        }
        let deadline = live.call.poll_timeout();
        if live.deadline != deadline {
            if let Some(at) = live.deadline {
                self.deadlines.remove(&(at, id));
            }
            if let Some(at) = deadline {
                self.deadlines.insert((at, id));
            }
            live.deadline = deadline;
        }
    }

    fn carry_call(&mut self, now: Now, id: MediaId, output: CallOutput) {
        match output {
            CallOutput::Respond { server, response } => self.respond(now, server, response),
            CallOutput::Send { token, flow, request } => self.send(now, (id, token), flow, request),
            CallOutput::Ack { token, flow, request } => {
                let client = self.tokens.get(&(id, token)).copied();
                self.acknowledge(client, flow, request);
            }
            CallOutput::Cancel { token, elsewhere } => {
                if let Some(&client) = self.tokens.get(&(id, token)) {
                    self.large.settle(client);
                    let reason = elsewhere.then(cause::answered_elsewhere);
                    self.transactions.cancel(now.instant, client, reason);
                }
            }
            CallOutput::Join(dialog, flow) => {
                self.has_come(dialog);
                *self.flows.entry(flow).or_default() += 1;
                // It may have been in another call.
                if let Some((_, before)) = self.dialogs.insert(dialog, (id, flow)) {
                    self.leave_flow(&before);
                }
            }
            CallOutput::Leave(dialog) => {
                if let Some((_, flow)) = self.dialogs.remove(&dialog) {
                    self.leave_flow(&flow);
                    self.has_gone(dialog);
                }
            }
            CallOutput::Refer(referral) => self.letters.push_back((id, transfers::Letter::Refer(referral))),
            CallOutput::Tell(to, word) => self.letters.push_back((id, transfers::Letter::Word(to, word))),
            CallOutput::Media(command) => self.outputs.push_back(Output::Media(command)),
            CallOutput::Show { trunk, flow, sign } => {
                if self.carriers.handle_sign(now.instant, &trunk, flow, sign) {
                    for to in self.share.others() {
                        let trunk = trunk.clone();
                        self.say(to, Said::Sign { trunk, flow, sign });
                    }
                }
            }
            CallOutput::Fetch(lookup) => {
                if self.fetch(Query::Owner(lookup), Fetching::Owner(id)).is_err() {
                    self.with_call(now, id, |call, cx| call.handle_fetched(cx, None));
                }
            }
            CallOutput::Charge(notice) => self.outputs.push_back(Output::Bridge(ToXmpp::Charge(notice))),
            CallOutput::Notice(notice) => self.outputs.push_back(Output::Bridge(ToXmpp::Call(notice))),
            CallOutput::Busy { jid, video, up } => self.tell_busy(jid, video, up),
            CallOutput::Owes { jid, more } => self.count_call(jid, more),
            CallOutput::Record(record) => self.outputs.push_back(Output::Record(record)),
        }
    }

    fn leave_flow(&mut self, flow: &Flow) {
        if let Some(count) = self.flows.get_mut(flow) {
            *count -= 1;
            if *count == 0 {
                self.flows.remove(flow);
                self.carriers.handle_left(flow);
            }
        }
    }

    fn ask_doubtful(&mut self) {
        while self.doubted < MAX_DOUBTED
            && let Some(jid) = self.doubtful.pop_front()
        {
            if let Err(Fetching::Holder(jid)) = self.fetch(Query::Holder(jid.clone()), Fetching::Holder(jid)) {
                // There is room again when the next answer has come.
                self.doubtful.push_front(jid);
                return;
            }
            self.doubted += 1;
        }
    }

    fn fetch(&mut self, query: Query, waiting: Fetching) -> Result<(), Fetching> {
        if self.fetches.len() >= MAX_FETCHES {
            return Err(waiting);
        }
        self.next_fetch += 1;
        let id = FetchId(self.next_fetch);
        self.fetches.insert(id, waiting);
        self.outputs.push_back(Output::Fetch { id, query });
        Ok(())
    }

    /// The dialog that a request says it belongs to: it has a To tag.
    fn dialog_id(&self, request: &Request) -> Option<DialogId> {
        let local_tag = request.headers.to_tag().ok()??;
        let call_id = request.headers.call_id().ok()?.to_text();
        Some(self.dialog_ids.of(&call_id, local_tag))
    }

    fn add_via(&mut self, flow: Flow, request: &mut Request) {
        let public = self
            .settings
            .listener(flow.listener)
            .map_or(flow.remote, |listener| listener.public);
        let Self { share, entropy, .. } = self;
        let branch = share.draw(|| [MAGIC_COOKIE, &entropy.token::<TAG_BYTES>()].concat());
        // A connection of ours to a carrier is the carrier's to use as well (RFC 5923 §8.1).
        let alias = self.carriers.is_toward_one(&flow);
        let via = Via::line(flow.transport.as_str(), public, ["", &branch], alias);
        request.headers.insert_before(&HeaderName::VIA, via);
    }
}

/// The realm to be proved: the domain that the request speaks for, if it is ours.
fn realm<'a>(settings: &'a Settings, request: &Request) -> &'a str {
    let spoken_for = match request.method {
        Method::Register => request.headers.to_sip(),
        _ => request.headers.from_sip(),
    };
    spoken_for
        .ok()
        .flatten()
        .and_then(|uri| settings.domain_at(uri.name(), uri.ip(), uri.port()))
        .or(settings.domains.first().map(String::as_str))
        .unwrap_or_default()
}

/// The callee's tag.
fn tag_of(headers: &Headers) -> Option<&str> {
    headers.to_tag().ok()?
}

/// REGISTER is challenged as by a registrar, calls as by a proxy (RFC 3261 §22.2, §22.3).
fn scheme(method: &Method) -> Header {
    if *method == Method::Register {
        Header::Authorization
    } else {
        Header::ProxyAuthorization
    }
}

/// Empty datagrams, CRLFs (RFC 5626 §3.5.1) and STUN (first two bits zero) keep a NAT open and say nothing.
fn is_keepalive(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) || bytes[0] < 2
}

/// An answer to whoever has proved nothing has at most so many halves of the bytes that came.
const MOST_REPLIED: usize = 3;
/// When a proof is refused, counted from the request: later than any store answers that is well, so that the time tells
/// nobody whether there is such a user.
const REFUSED_AFTER: Duration = Duration::from_millis(50);
/// Random bytes in a tag or branch.
const TAG_BYTES: usize = 12;
/// The most branches behind one INVITE of ours whose answers are acknowledged.
const MAX_FORKS: usize = 8;
/// The most questions that wait for the store.
const MAX_FETCHES: usize = 4096;
/// The most users that are looked at again at one time, so that calls find the store free.
const MAX_DOUBTED: usize = 32;
/// What a caller is told when we are full.
const RETRY_SECONDS: u32 = 5;
