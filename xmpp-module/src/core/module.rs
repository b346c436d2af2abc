//! The component as one machine: stanzas, bridge messages and records in, stanzas and questions out.
//!
//! # Use
//! Call one `handle_*`, drain [`poll_output`](Module::poll_output), then read [`poll_timeout`](Module::poll_timeout).
//!
//! # Invariants
//! - Every IQ of type get or set gets exactly one answer, whatever it holds; nothing else gets any (RFC 6120 §8.2.3).
//! - Requests of the plugin are believed only from exactly our server's domain, answers only to identifiers that are
//!   waiting and from where the request went.
//! - Nothing grows without a bound: see the constants.

mod commands;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cusax_common::core::bridge::{PhoneActivity, ToB2bua, ToXmpp};
use cusax_common::core::entropy::Entropy;
use cusax_common::core::notice::{NoticeKind, Notices};
use cusax_common::core::secret::Pii;
use cusax_common::core::store::Choice;
use cusax_common::core::user::User;
use jid::{BareJid, Jid};
use minidom::Element;

use self::commands::Commands;
use crate::core::directory::{Directory, Next, Page};
use crate::core::link::{Answer, Link, Step};
use crate::core::notice::Notice;
use crate::core::pace::Pace;
use crate::core::payload::{self, NeedSync, PROTOCOL, State};
use crate::core::pending::Pending;
use crate::core::vcard::{ReadNumber, Verdict, judge};
use crate::core::xml::{StanzaError, element};
use crate::core::{activity, ns, xml};

/// Who we are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our own name on the server.
    pub component: String,
    /// The virtual host whose users we serve.
    pub domain: String,
    /// What users may be told in chat, if they want it.
    pub notices: Notices,
    /// Who may use the commands of administrators.
    pub admins: BTreeSet<BareJid>,
}

/// What the shell does on behalf of the module.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send this stanza on the stream.
    Send(Element),
    /// Read the store, and give back what came of it.
    Fetch(Fetch),
    /// Say this to the b2bua.
    Bridge(ToB2bua),
}

/// A question for the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// A page of all users.
    Page(Page),
    /// One user, for the check of this number.
    User {
        /// To be given back.
        check: u64,
        /// Who.
        jid: BareJid,
    },
    /// Keep what a user has chosen.
    Choose {
        /// To be given back.
        number: u64,
        /// Who.
        jid: BareJid,
        /// What.
        choice: Choice,
    },
}

/// What the store answered; `None` where it failed.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// To [`Fetch::Page`].
    Page(Option<Vec<User>>),
    /// To [`Fetch::User`].
    User {
        /// As asked.
        check: u64,
        /// The user, if there is one.
        user: Option<Option<Arc<User>>>,
    },
    /// To [`Fetch::Choose`].
    Chosen {
        /// As asked.
        number: u64,
        /// Whether there is such a user.
        done: Option<bool>,
    },
}

/// What the module did, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Cards that may be stored.
    pub cards_accepted: u64,
    /// Cards with an address that is not their user's.
    pub cards_refused: u64,
    /// Cards that could not be judged in time; the plugin refuses them for now.
    pub cards_unjudged: u64,
    /// Notices of cost that were sent.
    pub charges: u64,
    /// Notices of calls that were sent.
    pub calls: u64,
    /// Notices that their user, or the operator, does not want.
    pub unwanted: u64,
    /// Notices beyond what one user is told in so short a time.
    pub many: u64,
    /// Notices that found no stream in time.
    pub late: u64,
}

/// The component.
#[derive(Debug)]
pub struct Module<N> {
    settings: Settings,
    numbers: N,
    connected: bool,
    /// When to stop waiting for the registrations, so that a b2bua that is away does not keep rosters from working.
    patience: Instant,
    directory: Directory,
    /// When to read the store again after a failure.
    read_again: Option<Instant>,
    link: Link,
    pending: Pending<About>,
    checks: BTreeMap<u64, Check>,
    commands: Commands,
    next_check: u64,
    phones: Phones,
    notices: VecDeque<(Instant, Notice)>,
    /// How often users are told of calls, and of cost, so that many calls do not keep somebody from hearing of cost.
    paces: [Pace; 2],
    outputs: VecDeque<Output>,
    counters: Counters,
}

/// What an IQ that we sent was for.
#[derive(Debug)]
enum About {
    Link(u64),
    Publish(BareJid, PhoneActivity),
    Ping,
}

/// A card that is being judged.
#[derive(Debug)]
struct Check {
    until: Instant,
    request: Request,
    card: Element,
}

/// What must be known of an IQ to answer it.
#[derive(Debug)]
struct Request {
    from: String,
    to: Option<String>,
    id: Option<String>,
    /// The session of a command (XEP-0050 §3.3).
    session: String,
}

/// What phones do, and what the plugin was told of it.
#[derive(Debug, Default)]
struct Phones {
    now: BTreeMap<BareJid, PhoneActivity>,
    /// Who is not here is known to be idle; `None` is for those whose last publication may have been lost.
    told: BTreeMap<BareJid, Option<PhoneActivity>>,
    /// Whose state must be told (again).
    dirty: BTreeSet<BareJid>,
}

impl<N: ReadNumber> Module<N> {
    /// A module without a stream, which first asks for all users and all registrations.
    pub fn new(now: Instant, settings: Settings, numbers: N, entropy: &mut impl Entropy) -> Self {
        let mut directory = Directory::new(settings.domain.clone());
        let first = directory.read().map(|page| Output::Fetch(Fetch::Page(page)));
        Self {
            settings,
            numbers,
            connected: false,
            patience: now + PATIENCE,
            directory,
            read_again: None,
            link: Link::new(entropy.token::<16>()),
            pending: Pending::new(entropy.token::<8>()),
            checks: BTreeMap::new(),
            commands: Commands::default(),
            next_check: 0,
            phones: Phones::default(),
            notices: VecDeque::new(),
            paces: <[Pace; 2]>::default(),
            outputs: first.into_iter().chain([Output::Bridge(ToB2bua::Resync)]).collect(),
            counters: Counters::default(),
        }
    }

    /// The stream is up and the server has accepted us.
    pub fn handle_connected(&mut self, now: Instant, entropy: &mut impl Entropy) {
        self.connected = true;
        self.pending = Pending::new(entropy.token::<8>());
        self.link.handle_connected(now);
        self.proceed(now);
    }

    /// The stream is gone. Nobody waits for our answers any more.
    pub fn handle_closed(&mut self) {
        self.connected = false;
        self.checks.clear();
        self.commands.forget();
        self.outputs.retain(|output| !matches!(output, Output::Send(_)));
        while let Some(about) = self.pending.expire_any() {
            self.lost(about);
        }
        self.link.handle_closed();
    }

    /// The stream was silent for long: ask the server for a sign of life.
    pub fn handle_idle(&mut self, now: Instant) {
        if self.pending.count(|about| matches!(about, About::Ping)) == 0 {
            self.request(now, "get", Element::bare("ping", ns::PING), About::Ping);
        }
    }

    /// A message from the b2bua.
    pub fn handle_bridge(&mut self, now: Instant, message: ToXmpp) {
        match message {
            ToXmpp::Registered { jid, aors } => {
                if self.directory.registered(&jid, aors) {
                    self.link.changed([jid]);
                }
            }
            ToXmpp::Everything { registered, phones } => {
                let changed = self.directory.all_registered(registered);
                self.link.changed(changed);
                self.phones.forget_all();
                for (jid, activity) in phones {
                    self.phones.set(jid, activity);
                }
            }
            ToXmpp::Phone { jid, activity } => self.phones.set(jid, activity),
            ToXmpp::Charge(notice) => self.note(now, Notice::Charge(notice)),
            ToXmpp::Placed { id, session, status } => self.placed(id, session, status),
            ToXmpp::Call(notice) => self.note(now, Notice::Call(notice)),
        }
        self.proceed(now);
    }

    /// Keeps a notice until there is a stream.
    fn note(&mut self, now: Instant, notice: Notice) {
        if self.notices.len() >= MAX_NOTICES {
            self.notices.pop_front();
            self.counters.late += 1;
            tracing::warn!("too many notices are waiting for the server; the oldest was dropped");
        }
        self.notices.push_back((notice.life(now), notice));
    }

    /// Some user was changed in the store.
    pub fn handle_users_changed(&mut self) {
        if let Some(page) = self.directory.read() {
            self.outputs.push_back(Output::Fetch(Fetch::Page(page)));
        }
    }

    /// What the store answered.
    pub fn handle_fetched(&mut self, now: Instant, fetched: Fetched) {
        match fetched {
            Fetched::Page(Some(users)) => {
                let (changed, page) = match self.directory.page(users) {
                    Next::Page(page) => (Vec::new(), Some(page)),
                    Next::Done(changed) => (changed, None),
                    Next::Again(changed, page) => (changed, Some(page)),
                };
                self.link.changed(changed);
                self.outputs.extend(page.map(|page| Output::Fetch(Fetch::Page(page))));
            }
            Fetched::Page(None) => {
                self.directory.failed();
                self.read_again = Some(now + READ_AGAIN);
            }
            Fetched::Chosen { number, done } => self.chosen(number, done),
            Fetched::User { check, user } => {
                if let Some(check) = self.checks.remove(&check) {
                    self.judge(check, user);
                }
            }
        }
        self.proceed(now);
    }

    /// A stanza from the stream. Whatever it holds, the stream goes on.
    pub fn handle_stanza(&mut self, now: Instant, stanza: Element) {
        if stanza.ns() != ns::COMPONENT {
            return;
        }
        let Some(from) = stanza.attr("from").and_then(|from| Jid::new(from).ok()) else {
            return;
        };
        if from.domain().as_str() == self.settings.component {
            return; // Our own words come back: a loop.
        }
        let server = from.as_str() == self.settings.domain;
        match (stanza.name(), stanza.attr("type")) {
            ("iq", Some("get" | "set")) => self.answer(now, stanza, server),
            ("iq", Some("result" | "error")) if server => self.answered(now, &stanza),
            ("message", kind) if server && kind != Some("error") => {
                let need = stanza
                    .get_child("need-sync", ns::PLUGIN)
                    .and_then(payload::read::<NeedSync>);
                if let Some(need) = need {
                    self.link.handle_need_sync(now, need.version);
                }
            }
            ("iq", Some("result" | "error")) => {}
            ("iq", _) => self.reply_error(&Request::of(&stanza), &StanzaError::BAD_REQUEST),
            _ => {}
        }
        self.proceed(now);
    }

    /// Time has come to `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(about) = self.pending.expire(now) {
            match about {
                About::Link(generation) => self.link.handle_answer(now, generation, Answer::Failed),
                other => self.lost(other),
            }
        }
        while let Some((&number, _)) = self.checks.iter().find(|(_, check)| check.until <= now) {
            let check = self.checks.remove(&number).expect("found a line ago");
            self.counters.cards_unjudged += 1;
            self.reply_error(&check.request, &StanzaError::RESOURCE_CONSTRAINT);
        }
        self.expire_commands(now);
        if self.read_again.is_some_and(|at| at <= now) {
            self.read_again = None;
            self.handle_users_changed();
        }
        let waiting = self.notices.len();
        self.notices.retain(|(until, _)| *until > now);
        self.counters.late += (waiting - self.notices.len()) as u64;
        self.proceed(now);
    }

    /// The next thing for the shell to do, oldest first.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ready = self.directory.is_loaded();
        let link = self.link.deadline().filter(|_| ready).map(|at| {
            if self.directory.is_heard() {
                at
            } else {
                at.max(self.patience)
            }
        });
        let checks = self.checks.values().map(|check| check.until);
        let notices = self.notices.iter().map(|(until, _)| *until).min();
        [
            self.pending.deadline(),
            link,
            self.read_again,
            notices,
            self.commands.deadline(),
        ]
        .into_iter()
        .flatten()
        .chain(checks)
        .min()
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether the plugin in the server has everything that it is to have.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.connected && self.link.is_settled()
    }

    /// Why we do not work with the plugin that the server has, if so; for people.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.link.refusal()
    }

    /// Sends what may be sent now.
    fn proceed(&mut self, now: Instant) {
        if !self.connected {
            return;
        }
        while let Some((_, notice)) = self.notices.pop_front() {
            self.tell(now, &notice);
        }
        let ready = self.directory.is_loaded() && (self.directory.is_heard() || self.patience <= now);
        while let Some(step) = self.link.next(now, ready, &self.directory) {
            let (kind, payload) = match &step {
                Step::Ask => {
                    let question = State {
                        version: PROTOCOL,
                        epoch: None,
                        seq: None,
                        users: None,
                    };
                    ("get", xml_of(&question))
                }
                Step::Sync(sync) => ("set", Element::from(sync)),
            };
            let generation = self.link.generation();
            if !self.request(now, kind, payload, About::Link(generation)) {
                self.link.handle_answer(now, generation, Answer::Failed);
            }
        }
        while self.link.is_live() && self.pending.count(|about| matches!(about, About::Publish(..))) < MAX_PUBLISHES {
            let Some((jid, activity)) = self.phones.next() else {
                break;
            };
            let payload = activity::publish(&jid, activity);
            if !self.request(now, "set", payload, About::Publish(jid.clone(), activity)) {
                self.phones.lost(jid);
                break;
            }
        }
    }

    /// Sends an IQ to our server's domain; tells whether there was room to wait for its answer.
    fn request(&mut self, now: Instant, kind: &str, payload: Element, about: About) -> bool {
        let Some(id) = self.pending.open(now, about) else {
            return false;
        };
        let (from, to) = (self.settings.component.as_str(), self.settings.domain.as_str());
        let mut iq = element(
            "iq",
            ns::COMPONENT,
            &[("type", kind), ("from", from), ("to", to), ("id", &id)],
        );
        iq.append_child(payload);
        self.outputs.push_back(Output::Send(iq));
        true
    }

    /// Takes the answer to an IQ of ours, which came from our server's domain.
    fn answered(&mut self, now: Instant, iq: &Element) {
        let Some(about) = iq.attr("id").and_then(|id| self.pending.close(id)) else {
            return;
        };
        let done = iq.attr("type") == Some("result");
        match about {
            About::Link(generation) => self.link.handle_answer(now, generation, link_answer(iq, done)),
            About::Publish(jid, activity) if done => self.phones.told(&jid, activity),
            About::Publish(jid, _) => {
                // Publishing for a user whom the server does not know will not work later either.
                tracing::debug!(jid = %Pii(&jid), "the server did not publish an activity");
                self.phones.told.remove(&jid);
            }
            About::Ping => {}
        }
    }

    /// An IQ will not be answered.
    fn lost(&mut self, about: About) {
        if let About::Publish(jid, _) = about {
            self.phones.lost(jid);
        }
    }

    /// Answers a request.
    fn answer(&mut self, now: Instant, iq: Element, server: bool) {
        let request = Request::of(&iq);
        let set = iq.attr("type") == Some("set");
        let ours = request.to.as_deref() == Some(self.settings.component.as_str());
        let mut children = iq.children();
        let (Some(payload), None) = (children.next(), children.next()) else {
            return self.reply_error(&request, &StanzaError::BAD_REQUEST);
        };
        if request.id.is_none() {
            return self.reply_error(&request, &StanzaError::BAD_REQUEST);
        }
        let node = payload.attr("node").filter(|node| !node.is_empty());
        match (payload.name(), payload.ns().as_str()) {
            _ if !ours => self.reply_error(&request, &StanzaError::SERVICE_UNAVAILABLE),
            (_, ns::PLUGIN) if !server => self.reply_error(&request, &StanzaError::FORBIDDEN),
            ("check", ns::PLUGIN) if set => self.check(now, request, payload),
            ("ping", ns::PING) if !set => self.reply(&request, None),
            ("command", ns::COMMANDS) if set => self.command(now, request, payload),
            ("query", ns::DISCO_INFO) if !set => match node {
                None => self.reply(&request, Some(identity())),
                Some(node) => self.describe_command(&request, node),
            },
            ("query", ns::DISCO_ITEMS) if !set => match node {
                None => self.reply(&request, Some(Element::bare("query", ns::DISCO_ITEMS))),
                Some(ns::COMMANDS) => self.list_commands(&request),
                Some(_) => self.reply_error(&request, &StanzaError::ITEM_NOT_FOUND),
            },
            _ => self.reply_error(&request, &StanzaError::SERVICE_UNAVAILABLE),
        }
    }

    /// Takes a card that the plugin wants to be judged.
    fn check(&mut self, now: Instant, request: Request, check: &Element) {
        let user = check.attr("user").and_then(|user| BareJid::new(user).ok());
        let user = user.filter(|jid| jid.node().is_some() && jid.domain().as_str() == self.settings.domain);
        let (Some(jid), Some(card)) = (user, check.children().next()) else {
            return self.reply_error(&request, &StanzaError::BAD_REQUEST);
        };
        if self.checks.len() >= MAX_CHECKS {
            self.counters.cards_unjudged += 1;
            return self.reply_error(&request, &StanzaError::RESOURCE_CONSTRAINT);
        }
        self.next_check += 1;
        let check = Check {
            until: now + CHECK_DEADLINE,
            request,
            card: card.clone(),
        };
        self.checks.insert(self.next_check, check);
        self.outputs.push_back(Output::Fetch(Fetch::User {
            check: self.next_check,
            jid,
        }));
    }

    /// Answers a check, now that the user's record is there.
    fn judge(&mut self, check: Check, user: Option<Option<Arc<User>>>) {
        let Some(user) = user else {
            self.counters.cards_unjudged += 1;
            return self.reply_error(&check.request, &StanzaError::RESOURCE_CONSTRAINT);
        };
        match judge(&check.card, user.as_deref(), &self.numbers) {
            Verdict::Leave => {
                self.counters.cards_accepted += 1;
                self.reply(&check.request, Some(Element::bare("checked", ns::PLUGIN)));
            }
            Verdict::Refuse(text) => {
                self.counters.cards_refused += 1;
                let reason = format!("{text} is not a telephone number or address of yours.");
                let error = StanzaError {
                    kind: "modify",
                    condition: "not-acceptable",
                    text: Some(reason),
                };
                self.reply_error(&check.request, &error);
            }
        }
    }

    /// Sends a notice, unless it is not wanted or there were many.
    fn tell(&mut self, now: Instant, notice: &Notice) {
        let (session, kind) = (notice.session(), notice.kind());
        let user = self.directory.user(notice.jid());
        let wants = |user: &User| user.flags.notices.contains(kind) && self.settings.notices.contains(kind);
        let Some(user) = user.filter(|user| wants(user)) else {
            self.counters.unwanted += 1;
            tracing::debug!(%session, kind = kind.as_str(), "notice not wanted");
            return;
        };
        let pace = &mut self.paces[usize::from(kind == NoticeKind::Charge)];
        if !pace.take(now, notice.jid()) {
            self.counters.many += 1;
            tracing::debug!(%session, kind = kind.as_str(), "notice not sent: there were many");
            return;
        }
        let message = notice.message(&self.settings.component, &self.settings.domain, &user.language);
        self.outputs.push_back(Output::Send(message));
        match kind {
            NoticeKind::Charge => self.counters.charges += 1,
            NoticeKind::Incoming | NoticeKind::Missed | NoticeKind::Refused => self.counters.calls += 1,
        }
        tracing::info!(%session, kind = kind.as_str(), "notice sent");
    }

    fn reply(&mut self, request: &Request, payload: Option<Element>) {
        let mut iq = self.reply_head(request, "result");
        if let Some(payload) = payload {
            iq.append_child(payload);
        }
        self.outputs.push_back(Output::Send(iq));
    }

    fn reply_error(&mut self, request: &Request, error: &StanzaError) {
        let mut iq = self.reply_head(request, "error");
        iq.append_child(error.element());
        self.outputs.push_back(Output::Send(iq));
    }

    fn reply_head(&self, request: &Request, kind: &str) -> Element {
        // A server ends the stream of a component that speaks from another domain: answer only from our own.
        let to = request.to.as_deref().and_then(|to| Jid::new(to).ok());
        let to = to.filter(|to| to.domain().as_str() == self.settings.component);
        let from = to.as_ref().map_or(self.settings.component.as_str(), |to| to.as_str());
        let mut iq = element(
            "iq",
            ns::COMPONENT,
            &[("type", kind), ("from", from), ("to", &request.from)],
        );
        if let Some(id) = &request.id {
            xml::set(&mut iq, "id", id);
        }
        iq
    }
}

impl Request {
    fn of(iq: &Element) -> Self {
        let own = |name| iq.attr(name).map(str::to_owned);
        Self {
            from: own("from").unwrap_or_default(),
            to: own("to"),
            id: own("id").filter(|id| !id.is_empty()),
            session: String::new(),
        }
    }
}

impl Phones {
    fn set(&mut self, jid: BareJid, activity: PhoneActivity) {
        if activity == PhoneActivity::Idle {
            self.now.remove(&jid);
        } else if self.now.len() < MAX_PHONES {
            self.now.insert(jid.clone(), activity);
        }
        self.dirty.insert(jid);
    }

    fn forget_all(&mut self) {
        self.dirty.extend(std::mem::take(&mut self.now).into_keys());
    }

    /// Somebody of whom the plugin does not know what is true now.
    fn next(&mut self) -> Option<(BareJid, PhoneActivity)> {
        while let Some(jid) = self.dirty.pop_first() {
            let is = self.now.get(&jid).copied().unwrap_or(PhoneActivity::Idle);
            if self.told.get(&jid).copied().unwrap_or(Some(PhoneActivity::Idle)) != Some(is) {
                self.told.insert(jid.clone(), Some(is));
                return Some((jid, is));
            }
        }
        None
    }

    fn told(&mut self, jid: &BareJid, activity: PhoneActivity) {
        if activity == PhoneActivity::Idle && self.told.get(jid) == Some(&Some(activity)) {
            self.told.remove(jid);
        }
    }

    fn lost(&mut self, jid: BareJid) {
        self.told.insert(jid.clone(), None);
        self.dirty.insert(jid);
    }
}

fn link_answer(iq: &Element, done: bool) -> Answer {
    if done {
        return Answer::Done(iq.get_child("state", ns::PLUGIN).and_then(payload::read::<State>));
    }
    let error = iq.get_child("error", ns::COMPONENT);
    let has = |condition| error.is_some_and(|error| error.has_child(condition, ns::STANZA_ERRORS));
    if has("conflict") {
        return Answer::Conflict;
    }
    let absent = ["service-unavailable", "remote-server-not-found", "item-not-found"];
    if absent.into_iter().any(has) {
        return Answer::Absent;
    }
    // Its own kind of error, so that a plugin of any version can be understood.
    let theirs = error.and_then(|error| error.get_child("version-mismatch", ns::PLUGIN));
    match theirs {
        Some(_) => {
            let text = error
                .and_then(|error| error.get_child("text", ns::STANZA_ERRORS))
                .map(Element::text);
            Answer::Version(text.unwrap_or_else(|| "mod_cusax speaks another version of the plugin protocol".into()))
        }
        None => Answer::Failed,
    }
}

fn identity() -> Element {
    let mut query = Element::bare("query", ns::DISCO_INFO);
    let identity = [("category", "component"), ("type", "generic"), ("name", "Calls")];
    query.append_child(element("identity", ns::DISCO_INFO, &identity));
    for feature in [ns::COMMANDS, ns::DISCO_INFO, ns::DISCO_ITEMS, ns::PING, ns::REACH] {
        query.append_child(element("feature", ns::DISCO_INFO, &[("var", feature)]));
    }
    query
}

fn xml_of(state: &State) -> Element {
    element("state", ns::PLUGIN, &[("version", &state.version.to_string())])
}

/// How long to wait for the registrations before the plugin is told of users without them.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// When to read the store again after it failed.
pub const READ_AGAIN: Duration = Duration::from_secs(2);
/// Most cards that are being judged at one time.
pub const MAX_CHECKS: usize = 256;
/// How long a card may take; less than the plugin waits.
pub const CHECK_DEADLINE: Duration = Duration::from_millis(2_500);
/// Most notices that wait for the stream.
pub const MAX_NOTICES: usize = 256;
/// Most activities whose publication is not answered yet.
pub const MAX_PUBLISHES: usize = 16;
/// Most users on the phone.
const MAX_PHONES: usize = 100_000;
