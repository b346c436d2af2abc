//! A phone with transactions of its own: it says everything again until it is answered, and notes what no peer may do.
//!
//! It shares no code with what is tested, so that a fault of one is not a fault of both. This file has the timers of
//! RFC 3261 §17 and the registration; [`leg`](super::leg) has the calls.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use cusax_common::core::entropy::{Entropy, Seeded};
use cusax_common::core::sip::digest;
use cusax_common::core::user::Algorithm;

use super::super::DOMAIN;
use super::super::hand::Text;
use super::leg::Leg;
use super::note::{answer, bracketed, challenged};
use super::script::{Deed, NAMES, Script, Who, aor};

/// One phone.
pub struct Handset {
    /// Where it is.
    pub address: SocketAddr,
    /// Whose it is.
    pub who: Who,
    /// Its calls, those that are over as well.
    pub legs: Vec<Leg>,
    /// Whether it heard that it is registered.
    pub registered: bool,
    /// What the service did that no peer may do.
    pub faults: Vec<String>,
    /// How many messages it has said again by its own clock.
    pub repeated: u32,
    /// It is gone: it hears and says nothing any more.
    pub gone: bool,
    pub(super) script: Rc<Script>,
    pub(super) index: usize,
    pub(super) now: Duration,
    pub(super) out: VecDeque<String>,
    /// What it asked and has no final answer to, by branch and method.
    pub(super) clients: BTreeMap<String, Client>,
    /// What it was asked, by branch and method.
    pub(super) servers: BTreeMap<String, Server>,
    /// The ACKs to failures, by the branch of the INVITE.
    pub(super) acks: BTreeMap<String, String>,
    entropy: Seeded,
    alarms: BTreeMap<(Duration, u64), Alarm>,
    alarm: u64,
    /// Every branch it ever used.
    branches: BTreeSet<String>,
    account: Option<Account>,
    algorithm: Algorithm,
    registering: u32,
}

#[derive(Clone, Debug)]
struct Account {
    aor: String,
    username: String,
    password: String,
}

/// A request that waits for its final answer.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub bytes: String,
    pub purpose: Purpose,
    pub heard: bool,
    backoff: Duration,
}

/// Why something was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Register {
        proved: bool,
    },
    /// The INVITE that begins a call.
    Invite(usize),
    Reinvite(usize, bool),
    Cancel(usize),
    Bye(usize),
    Update(usize),
    Info(usize),
    /// A REFER of this leg, by its place in [`Leg::refers`].
    Refer(usize, usize),
    Subscribe(usize),
}

/// A request that was heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Server {
    pub last: Option<String>,
    /// The status of its final answer.
    pub done: Option<u16>,
    /// Of which leg, and with which number; for INVITEs.
    pub leg: Option<(usize, u32)>,
    /// The answer is said again until the ACK comes.
    pub again: bool,
    backoff: Duration,
}

/// What a phone wakes up for.
#[derive(Clone, Debug)]
pub(super) enum Alarm {
    Register,
    Dial(usize),
    Resend(String),
    GiveUp(String),
    Again(String),
    Unacknowledged(String),
    LosePatience(usize),
    Decide(usize),
    Do(usize, Deed),
    /// Say something to whom one is joined with.
    Probe(usize),
    Vanish,
    /// Say this answer after all.
    Reply(String, Text),
    /// The INVITE must have its final answer by now.
    Overdue(usize),
}

impl Handset {
    /// A phone that will play its part.
    #[must_use]
    pub fn new(address: SocketAddr, script: &Rc<Script>, index: usize) -> Self {
        let who = script.phones[index];
        let login = |user: usize, at: usize, password: String| Account {
            aor: aor(NAMES[at]),
            username: format!("{}.phone", NAMES[user]),
            password,
        };
        let secret = |user: usize| format!("{}-secret", NAMES[user]);
        let account = match who {
            Who::User(user) => Some(login(user, user, secret(user))),
            Who::Impostor(user) => Some(login(user, user, "a guess".to_owned())),
            Who::Thief(user, at) => Some(login(user, at, secret(user))),
            Who::Trunk => None,
        };
        let mut entropy = Seeded::new(script.seed.wrapping_mul(31).wrapping_add(index as u64));
        let algorithm = if entropy.next_u64().is_multiple_of(2) {
            Algorithm::Md5
        } else {
            Algorithm::Sha256
        };
        let mut handset = Self {
            address,
            who,
            legs: Vec::new(),
            registered: false,
            faults: Vec::new(),
            repeated: 0,
            gone: false,
            script: Rc::clone(script),
            index,
            now: Duration::ZERO,
            out: VecDeque::new(),
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            acks: BTreeMap::new(),
            alarms: BTreeMap::new(),
            alarm: 0,
            branches: BTreeSet::new(),
            account,
            algorithm,
            registering: 0,
            entropy,
        };
        if handset.account.is_some() {
            let after = Duration::from_millis(handset.entropy.next_u64() % 1000);
            handset.wake(after, Alarm::Register);
        }
        for (call, plan) in script.calls.iter().enumerate() {
            if plan.caller == index && plan.errand.is_none() {
                handset.wake(plan.at, Alarm::Dial(call));
            }
        }
        handset
    }

    /// The AOR at which it wants to be registered, if it has a right to it.
    #[must_use]
    pub fn rightful(&self) -> Option<String> {
        match self.who {
            Who::User(user) => Some(aor(NAMES[user])),
            _ => None,
        }
    }

    /// When it wants to be woken.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.alarms.first_key_value().map(|(&(at, _), _)| at)
    }

    /// The next datagram to send.
    pub fn poll_output(&mut self) -> Option<String> {
        self.out.pop_front()
    }

    /// Time has come to `now`.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.now = now;
        while let Some(entry) = self.alarms.first_entry()
            && entry.key().0 <= now
        {
            let alarm = entry.remove();
            self.ring(alarm);
        }
        self.note_ends();
    }

    /// A datagram came.
    pub fn handle_datagram(&mut self, now: Duration, bytes: &[u8]) {
        self.now = now;
        match Text::read(bytes) {
            Some(note) if note.status().is_some() => self.answered(&note),
            Some(note) => self.asked(&note),
            None => self.complain("what it says is no message"),
        }
        self.note_ends();
    }

    pub(super) fn complain(&mut self, what: &str) {
        self.faults
            .push(format!("phone {} at {:?}: {what}", self.index, self.now));
    }

    pub(super) fn wake(&mut self, after: Duration, alarm: Alarm) {
        self.alarm += 1;
        self.alarms.insert((self.now + after, self.alarm), alarm);
    }

    /// The phone loses its power.
    pub(super) fn vanish(&mut self) {
        self.gone = true;
        self.alarms.clear();
        self.clients.clear();
        self.out.clear();
    }

    fn ring(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Register => self.register(None),
            Alarm::Resend(key) => {
                let Some(client) = self.clients.get_mut(&key) else {
                    return;
                };
                let invite = key.ends_with("INVITE");
                if invite && client.heard {
                    return;
                }
                client.backoff = match (invite, client.heard) {
                    (true, _) => client.backoff * 2,
                    (false, true) => T2,
                    (false, false) => T2.min(client.backoff * 2),
                };
                let after = client.backoff;
                self.out.push_back(client.bytes.clone());
                self.repeated += 1;
                self.wake(after, Alarm::Resend(key));
            }
            Alarm::GiveUp(key) => {
                // An INVITE that rings has no end of its own (RFC 3261 §17.1.1.2).
                if self
                    .clients
                    .get(&key)
                    .is_some_and(|client| !(client.heard && key.ends_with("INVITE")))
                    && let Some(client) = self.clients.remove(&key)
                {
                    self.unanswered(client.purpose);
                }
            }
            Alarm::Again(key) => {
                let Some(server) = self.servers.get_mut(&key).filter(|server| server.again) else {
                    return;
                };
                server.backoff = T2.min(server.backoff * 2);
                let after = server.backoff;
                self.out.extend(server.last.clone());
                self.repeated += 1;
                self.wake(after, Alarm::Again(key));
            }
            Alarm::Unacknowledged(key) => {
                if let Some(server) = self.servers.get_mut(&key).filter(|server| server.again) {
                    server.again = false;
                    let (done, leg) = (server.done, server.leg);
                    self.unacknowledged(done, leg);
                }
            }
            Alarm::Vanish => self.vanish(),
            Alarm::Reply(key, text) => self.reply(&key, &text),
            Alarm::Dial(call) => self.dial(call),
            Alarm::LosePatience(leg) => self.hang_up(leg),
            Alarm::Decide(leg) => self.decide(leg),
            Alarm::Do(leg, deed) => self.perform(leg, deed),
            Alarm::Probe(leg) => self.perform(leg, Deed::Info),
            Alarm::Overdue(leg) => self.overdue(leg),
        }
    }

    /// Sends a request and waits for its answers. The text has no Via.
    pub(super) fn ask(&mut self, purpose: Purpose, method: &str, text: Text) -> String {
        let branch = format!("z9hG4bK{}", self.entropy.token::<8>());
        self.ask_by(purpose, method, &branch, text);
        branch
    }

    /// The same in a transaction of this branch.
    pub(super) fn ask_by(&mut self, purpose: Purpose, method: &str, branch: &str, text: Text) {
        let bytes = text.before("Via", &self.via(branch)).written();
        let key = format!("{branch} {method}");
        self.branches.insert(branch.to_owned());
        self.out.push_back(bytes.clone());
        let client = Client {
            bytes,
            purpose,
            heard: false,
            backoff: T1,
        };
        self.clients.insert(key.clone(), client);
        self.wake(T1, Alarm::Resend(key.clone()));
        self.wake(PATIENCE, Alarm::GiveUp(key));
    }

    pub(super) fn via(&self, branch: &str) -> String {
        format!("SIP/2.0/UDP {};branch={branch};rport", self.address)
    }

    pub(super) fn token(&mut self) -> String {
        self.entropy.token::<8>()
    }

    /// Begins to say a final answer to an INVITE again until its ACK comes.
    pub(super) fn repeat(&mut self, key: &str) {
        if let Some(server) = self.servers.get_mut(key) {
            server.again = true;
            server.backoff = T1;
            self.wake(T1, Alarm::Again(key.to_owned()));
            self.wake(PATIENCE, Alarm::Unacknowledged(key.to_owned()));
        }
    }

    /// Says something within a transaction of somebody else.
    pub(super) fn reply(&mut self, key: &str, text: &Text) {
        let written = text.written();
        self.out.push_back(written.clone());
        let server = self.servers.entry(key.to_owned()).or_default();
        server.last = Some(written);
        server.done = text.status().filter(|status| *status >= 200);
    }

    fn register(&mut self, proof: Option<(String, String)>) {
        let Some(account) = self.account.clone() else { return };
        self.registering += 1;
        let (count, index, address) = (self.registering, self.index, self.address);
        // A thief says who they are, and registers somebody else (RFC 3261 §10.2).
        let own = match self.who {
            Who::Thief(user, _) => aor(NAMES[user]),
            _ => account.aor.clone(),
        };
        let mut text = Text {
            start: format!("REGISTER sip:{DOMAIN} SIP/2.0"),
            lines: Vec::new(),
            body: String::new(),
        }
        .and("Max-Forwards", "70")
        .and("From", &format!("<{own}>;tag=r{count}"))
        .and("To", &format!("<{}>", account.aor))
        .and("Call-ID", &format!("registration-{index}-{address}"))
        .and("CSeq", &format!("{count} REGISTER"))
        .and("Contact", &format!("<sip:phone@{address}>"))
        .and("Expires", "3600")
        .and("User-Agent", "Handset of a simulated phone");
        let proved = proof.is_some();
        text.lines.extend(proof);
        self.ask(Purpose::Register { proved }, "REGISTER", text);
    }

    /// The line that answers a challenge.
    pub(super) fn prove(&self, note: &Text, method: &str, uri: &str) -> Option<(String, String)> {
        let account = self.account.as_ref()?;
        let wanted = match self.algorithm {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 | Algorithm::Sha512_256 => "SHA-256",
        };
        let names = [
            ("WWW-Authenticate", "Authorization"),
            ("Proxy-Authenticate", "Proxy-Authorization"),
        ];
        let offered = names.iter().flat_map(|(name, ours)| {
            let lines = note.lines.iter().filter(move |(known, _)| known == name);
            lines.map(|(_, value)| (value.as_str(), *ours))
        });
        // Where there is little room, the service offers the last one alone.
        let mut offered = offered.collect::<Vec<_>>();
        offered.sort_by_key(|(value, _)| challenged(value, "algorithm") != wanted);
        let &(challenge, ours) = offered.first()?;
        let (realm, nonce) = (challenged(challenge, "realm"), challenged(challenge, "nonce"));
        let (algorithm, name) = match challenged(challenge, "algorithm") {
            "SHA-256" => (Algorithm::Sha256, "SHA-256"),
            _ => (Algorithm::Md5, "MD5"),
        };
        let username = &account.username;
        let ha1 = digest::ha1(algorithm, username, realm, &account.password);
        let response = digest::response(algorithm, &ha1, nonce, "00000001", "c", Some("auth"), method, uri);
        let proof = format!(
            "Digest username=\"{username}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm={name}, cnonce=\"c\", nc=00000001, qop=auth"
        );
        Some((ours.to_owned(), proof))
    }

    /// How the phone calls itself when it dials.
    pub(super) fn own_address(&self) -> String {
        let account = self.account.as_ref();
        account.map_or_else(|| super::script::OUTSIDER.to_owned(), |account| account.aor.clone())
    }

    fn answered(&mut self, note: &Text) {
        let Some(status) = note.status() else { return };
        let (number, method) = note.sequence();
        let key = format!("{} {method}", note.branch());
        if !self.branches.contains(note.branch()) {
            return self.complain(&format!("an answer to what was never asked: {}", note.start));
        }
        let Some(client) = self.clients.get_mut(&key) else {
            return self.answered_again(note, status, number);
        };
        if status < 200 {
            client.heard = true;
            let purpose = client.purpose;
            return self.progressed(purpose, status);
        }
        let purpose = client.purpose;
        self.clients.remove(&key);
        match purpose {
            Purpose::Register { proved } => self.register_answered(note, status, proved),
            _ => self.call_answered(purpose, note, status, number),
        }
    }

    fn register_answered(&mut self, note: &Text, status: u16, proved: bool) {
        match status {
            200 => {
                self.registered = true;
                if self.rightful().is_none() {
                    self.complain("somebody without a right to it was registered");
                }
            }
            401 if self.registering < MOST_REGISTERS => {
                let stale = note.lines.iter().any(|(_, value)| value.contains("stale=true"));
                if !proved || stale {
                    let proof = self.prove(note, "REGISTER", &format!("sip:{DOMAIN}"));
                    self.register(proof);
                } else if self.rightful().is_some() {
                    self.complain("a right proof was refused");
                }
            }
            500.. if self.registering < MOST_REGISTERS => self.wake(Duration::from_secs(2), Alarm::Register),
            _ => {}
        }
    }

    fn unanswered(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Register { .. } if self.registering < MOST_REGISTERS => self.register(None),
            Purpose::Register { .. } => {}
            _ => self.call_unanswered(purpose),
        }
    }

    fn asked(&mut self, note: &Text) {
        let method = note.start.split(' ').next().unwrap_or_default();
        let key = format!("{} {method}", note.branch());
        if note.branch().is_empty() || note.get("Call-ID").is_empty() || note.tag("From").is_empty() {
            return self.complain(&format!("a request that names no transaction: {}", note.start));
        }
        match method {
            "ACK" => self.acknowledged(note),
            _ if self.servers.contains_key(&key) => {
                // A copy: the last answer again (RFC 3261 §17.2). A 2xx goes by its own clock.
                let server = &self.servers[&key];
                let own = method == "INVITE" && server.done.is_some_and(|status| status < 300);
                if !own {
                    self.out.extend(server.last.clone());
                }
            }
            "CANCEL" => self.cancelled(note, &key),
            _ => {
                self.servers.insert(key.clone(), Server::default());
                if note.tag("To").is_empty() && method == "INVITE" {
                    self.invited(note, &key);
                } else if note.tag("To").is_empty() {
                    self.complain(&format!("nobody asked for a {method}"));
                    let reply = answer(note, 405, "none");
                    self.reply(&key, &reply);
                } else {
                    self.asked_within(note, method, &key);
                }
            }
        }
    }

    /// The address in the Contact of a message.
    pub(super) fn target(note: &Text) -> String {
        bracketed(note.get("Contact")).to_owned()
    }
}

/// RFC 3261 table 4.
pub(super) const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
pub(super) const PATIENCE: Duration = Duration::from_secs(32);
/// How often a phone tries to register before its owner looks for another provider.
const MOST_REGISTERS: u32 = 12;
