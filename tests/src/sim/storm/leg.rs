//! The calls of a [`Handset`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::hand::Text;
use super::handset::{Alarm, Handset, PATIENCE, Purpose};
use super::note::answer;
use super::script::{Deed, Manner, Role, Then};
use super::transfer::{Probe, Refer};

/// One side of one call, as a phone sees it.
#[derive(Clone, Debug)]
pub struct Leg {
    /// Which of the script.
    pub call: usize,
    /// Which side.
    pub role: Role,
    /// What is going on.
    pub stage: Stage,
    /// A 2xx to the INVITE was heard, or said.
    pub answered: bool,
    /// The final status of the INVITE.
    pub status: Option<u16>,
    /// Its BYE was never answered.
    pub unheard: bool,
    /// The 2xx that it said was never acknowledged.
    pub unacknowledged: bool,
    /// When its 2xx was acknowledged, at the callee's.
    pub acknowledged_at: Option<Duration>,
    /// When it was joined with somebody else.
    pub joined_at: Option<Duration>,
    /// When it was over.
    pub ended: Option<Duration>,
    /// What it said in so many words, to be heard by whoever it is joined with.
    pub probes: Vec<Probe>,
    /// What it heard of that.
    pub heard: Vec<String>,
    /// Whom it was joined with later, as it was told.
    pub joined: Vec<String>,
    /// The transfers that it has asked for.
    pub refers: Vec<Refer>,
    /// How often it has hung up.
    pub byes: u32,
    pub(super) id: String,
    pub(super) local: String,
    pub(super) remote: String,
    target: String,
    sequence: u32,
    /// The numbers that the other side has used.
    used: BTreeSet<u32>,
    /// Of the INVITE of ours that is under way.
    branch: String,
    /// The INVITE as it was said or heard.
    pub(super) invite: Text,
    key: String,
    given_up: bool,
    cancelled: bool,
    changing: bool,
    pub(super) acknowledged: bool,
    /// The ACKs to 2xx, by number.
    acks: BTreeMap<u32, String>,
    version: u32,
    tries: u32,
    pub(super) retries: u32,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing final was said.
    Early,
    /// Answered.
    Up,
    /// There is no dialog any more.
    Over,
}

impl Leg {
    fn new(call: usize, role: Role, id: &str, invite: Text) -> Self {
        Self {
            call,
            role,
            stage: Stage::Early,
            answered: false,
            status: None,
            unheard: false,
            unacknowledged: false,
            acknowledged_at: None,
            joined_at: None,
            ended: None,
            probes: Vec::new(),
            heard: Vec::new(),
            joined: Vec::new(),
            refers: Vec::new(),
            byes: 0,
            id: id.to_owned(),
            local: String::new(),
            remote: String::new(),
            target: String::new(),
            sequence: 0,
            used: BTreeSet::new(),
            branch: String::new(),
            invite,
            key: String::new(),
            given_up: false,
            cancelled: false,
            changing: false,
            acknowledged: false,
            acks: BTreeMap::new(),
            version: 0,
            tries: 0,
            retries: 0,
        }
    }

    /// The branch of the INVITE that began it, at the callee's.
    #[must_use]
    pub fn branch(&self) -> &str {
        self.invite.branch()
    }

    /// A request within the dialog, without Via (RFC 3261 §12.2.1.1).
    fn request(&self, method: &str, number: u32) -> Text {
        Text {
            start: format!("{method} {} SIP/2.0", self.target),
            lines: Vec::with_capacity(12),
            body: String::new(),
        }
        .and("Max-Forwards", "70")
        .and("From", &self.local)
        .and("To", &self.remote)
        .and("Call-ID", &self.id)
        .and("CSeq", &format!("{number} {method}"))
    }

    pub(super) fn next(&mut self, method: &str) -> Text {
        self.sequence += 1;
        self.request(method, self.sequence)
    }
}

impl Handset {
    pub(super) fn dial(&mut self, call: usize) {
        let plan = &self.script.calls[call];
        let (dialled, late, patience, gone) = (plan.dialled.clone(), plan.late_offer, plan.patience, plan.caller_gone);
        let (id, tag, own) = (self.token(), self.token(), self.own_address());
        let mut invite = Text {
            start: format!("INVITE {dialled} SIP/2.0"),
            lines: Vec::with_capacity(12),
            body: String::new(),
        }
        .and("Max-Forwards", "70")
        .and("From", &format!("<{own}>;tag={tag}"))
        .and("To", &format!("<{dialled}>"))
        .and("Call-ID", &id)
        .and("CSeq", "1 INVITE")
        .and("Contact", &self.contact())
        .and("X-Call", &call.to_string());
        if !late {
            invite = invite.carrying(SDP, self.description(1, "sendrecv"));
        }
        let mut leg = Leg::new(call, Role::Caller, &id, invite.clone());
        leg.sequence = 1;
        leg.version = 1;
        leg.local = format!("<{own}>;tag={tag}");
        leg.remote = format!("<{dialled}>");
        self.legs.push(leg);
        let at = self.legs.len() - 1;
        self.legs[at].branch = self.ask(Purpose::Invite(at), "INVITE", invite);
        self.wake(patience, Alarm::LosePatience(at));
        self.wake(OVERDUE, Alarm::Overdue(at));
        if let Some(gone) = gone {
            self.wake(gone, Alarm::Vanish);
        }
    }

    pub(super) fn overdue(&mut self, at: usize) {
        if self.legs[at].stage == Stage::Early && self.legs[at].role == Role::Caller {
            self.complain("an INVITE has no final answer");
        }
    }

    /// Ends a call however far it is.
    pub(super) fn hang_up(&mut self, at: usize) {
        let leg = &mut self.legs[at];
        match (leg.stage, leg.role) {
            (Stage::Early, Role::Caller) => {
                leg.given_up = true;
                let key = format!("{} INVITE", leg.branch);
                // RFC 3261 §9.1: not before something was heard.
                if self.clients.get(&key).is_some_and(|client| client.heard) {
                    self.cancel(at);
                }
            }
            (Stage::Up, Role::Callee) if !leg.acknowledged => leg.given_up = true,
            (Stage::Up, _) => self.bye(at),
            (Stage::Early | Stage::Over, _) => {}
        }
    }

    fn cancel(&mut self, at: usize) {
        let leg = &mut self.legs[at];
        if std::mem::replace(&mut leg.cancelled, true) {
            return;
        }
        let mut text = leg.invite.clone();
        text.start = text.start.replacen("INVITE", "CANCEL", 1);
        text.lines
            .retain(|(name, _)| ["Max-Forwards", "From", "To", "Call-ID"].contains(&name.as_str()));
        text.body = String::new();
        let text = text.and("CSeq", &leg.invite.get("CSeq").replace("INVITE", "CANCEL"));
        let branch = leg.branch.clone();
        self.ask_by(Purpose::Cancel(at), "CANCEL", &branch, text);
    }

    pub(super) fn bye(&mut self, at: usize) {
        let leg = &mut self.legs[at];
        leg.stage = Stage::Over;
        leg.byes += 1;
        let text = leg.next("BYE");
        self.ask(Purpose::Bye(at), "BYE", text);
    }

    pub(super) fn perform(&mut self, at: usize, deed: Deed) {
        let contact = self.contact();
        let leg = &mut self.legs[at];
        if leg.stage != Stage::Up {
            return;
        }
        match deed {
            Deed::HangUp => self.hang_up(at),
            Deed::Vanish => self.vanish(),
            Deed::Info => self.say(at),
            Deed::Refer(_) | Deed::Attend(_) => self.refer(at, deed),
            // RFC 3261 §14.1: not while another change is under way.
            Deed::Hold(_) | Deed::Update if leg.changing || !leg.acknowledged => {}
            Deed::Update => {
                leg.version += 1;
                let (version, text) = (leg.version, leg.next("UPDATE").and("Contact", &contact));
                let text = text.carrying(SDP, self.description(version, "sendrecv"));
                self.ask(Purpose::Update(at), "UPDATE", text);
            }
            Deed::Hold(hold) => {
                leg.version += 1;
                leg.changing = true;
                let (version, text) = (leg.version, leg.next("INVITE").and("Contact", &contact));
                let text = text.carrying(
                    SDP,
                    self.description(version, if hold { "sendonly" } else { "sendrecv" }),
                );
                let branch = self.ask(Purpose::Reinvite(at, hold), "INVITE", text);
                self.legs[at].branch = branch;
            }
        }
    }

    /// Something provisional was heard.
    pub(super) fn progressed(&mut self, purpose: Purpose, status: u16) {
        if let Purpose::Invite(at) = purpose {
            self.legs[at].status.get_or_insert(status);
            if self.legs[at].given_up {
                self.cancel(at);
            }
        }
    }

    pub(super) fn call_answered(&mut self, purpose: Purpose, note: &Text, status: u16, number: u32) {
        match purpose {
            Purpose::Invite(at) if status < 300 => self.accepted(at, note, number),
            Purpose::Invite(at) => {
                self.refuse_acknowledged(at, note);
                let leg = &self.legs[at];
                if status == 407 && leg.tries < 3 && !leg.given_up {
                    return self.dial_again(at, note);
                }
                let leg = &mut self.legs[at];
                leg.stage = Stage::Over;
                leg.status = Some(status);
            }
            Purpose::Reinvite(at, _) if status < 300 => {
                self.legs[at].changing = false;
                self.acknowledge(at, number, note);
            }
            Purpose::Reinvite(at, hold) => {
                self.refuse_acknowledged(at, note);
                let leg = &mut self.legs[at];
                leg.changing = false;
                match status {
                    // RFC 3261 §14.1: the one who made the Call-ID waits longer.
                    491 if leg.retries < 2 => {
                        leg.retries += 1;
                        let wait = if leg.role == Role::Caller { 2_500 } else { 700 };
                        self.wake(Duration::from_millis(wait), Alarm::Do(at, Deed::Hold(hold)));
                    }
                    408 | 481 if leg.stage == Stage::Up => self.bye(at),
                    _ => {}
                }
            }
            Purpose::Refer(at, which) => self.refer_answered(at, which, status),
            Purpose::Info(at) | Purpose::Update(at) | Purpose::Subscribe(at) => {
                if purpose == Purpose::Info(at) {
                    self.said(at, number, status);
                }
                if matches!(status, 408 | 481) && self.legs[at].stage == Stage::Up {
                    self.bye(at);
                }
            }
            Purpose::Bye(_) | Purpose::Cancel(_) | Purpose::Register { .. } => {}
        }
    }

    /// The same again, with a proof.
    fn dial_again(&mut self, at: usize, note: &Text) {
        let leg = &self.legs[at];
        let uri = leg.invite.start.split(' ').nth(1).unwrap_or_default().to_owned();
        let proof = self.prove(note, "INVITE", &uri);
        let leg = &mut self.legs[at];
        leg.tries += 1;
        leg.sequence += 1;
        leg.status = None;
        let mut invite = leg.invite.clone().with("CSeq", &format!("{} INVITE", leg.sequence));
        invite.lines.retain(|(name, _)| name != "Proxy-Authorization");
        invite.lines.extend(proof);
        leg.invite = invite.clone();
        let branch = self.ask(Purpose::Invite(at), "INVITE", invite);
        self.legs[at].branch = branch;
    }

    /// The callee answered.
    fn accepted(&mut self, at: usize, note: &Text, number: u32) {
        let plan = &self.script.calls[self.legs[at].call];
        let (gone, deeds) = (plan.gone_at_answer, plan.deeds.clone());
        let leg = &mut self.legs[at];
        leg.answered = true;
        leg.status = note.status();
        note.get("To").clone_into(&mut leg.remote);
        leg.target = Self::target(note);
        leg.stage = Stage::Up;
        leg.acknowledged = true;
        let given_up = leg.given_up;
        if gone {
            return self.vanish();
        }
        self.acknowledge(at, number, note);
        if given_up {
            return self.bye(at);
        }
        for (after, role, deed) in deeds {
            if role == Role::Caller {
                self.wake(after, Alarm::Do(at, deed));
            }
        }
    }

    /// The ACK to a 2xx, a request of its own (RFC 3261 §13.2.2.4).
    fn acknowledge(&mut self, at: usize, number: u32, note: &Text) {
        let (branch, offered) = (
            self.token(),
            self.legs[at].invite.body.is_empty() && self.legs[at].acks.is_empty(),
        );
        let via = self.via(&format!("z9hG4bK{branch}"));
        let description = self.description(1, "sendrecv");
        let leg = &mut self.legs[at];
        leg.target = Self::target(note);
        let mut ack = leg.request("ACK", number);
        if offered && leg.role == Role::Caller {
            ack = ack.carrying(SDP, description);
        }
        let ack = ack.before("Via", &via).written();
        leg.acks.insert(number, ack.clone());
        self.out.push_back(ack);
    }

    /// The ACK to a failure, of the same transaction (RFC 3261 §17.1.1.3).
    fn refuse_acknowledged(&mut self, at: usize, note: &Text) {
        let leg = &self.legs[at];
        let (number, _) = note.sequence();
        let start = match leg.stage {
            Stage::Early => leg.invite.start.replacen("INVITE", "ACK", 1),
            Stage::Up | Stage::Over => format!("ACK {} SIP/2.0", leg.target),
        };
        let ack = Text {
            start,
            lines: Vec::new(),
            body: String::new(),
        }
        .and("Via", &self.via(note.branch()))
        .and("Max-Forwards", "70")
        .and("From", note.get("From"))
        .and("To", note.get("To"))
        .and("Call-ID", note.get("Call-ID"))
        .and("CSeq", &format!("{number} ACK"))
        .written();
        self.acks.insert(note.branch().to_owned(), ack.clone());
        self.out.push_back(ack);
    }

    /// An answer came that had come before, or comes too late.
    pub(super) fn answered_again(&mut self, note: &Text, status: u16, number: u32) {
        if note.sequence().1 != "INVITE" {
            return;
        }
        if status >= 300 {
            self.out.extend(self.acks.get(note.branch()).cloned());
            return;
        }
        if status < 200 {
            return;
        }
        if self.acks.contains_key(note.branch()) {
            // No memory is kept of a stranger who was put off, and a copy may come at a better time.
            let stranger = self.rightful().is_some() && !self.registered;
            if stranger {
                return;
            }
            return self.complain("an INVITE was refused, and answered");
        }
        let Some(leg) = self
            .legs
            .iter()
            .find(|leg| leg.id == note.get("Call-ID") && leg.answered)
        else {
            return;
        };
        if leg.remote != note.get("To") && leg.role == Role::Caller {
            return self.complain("two answers of different tags");
        }
        self.out.extend(leg.acks.get(&number).cloned());
    }

    pub(super) fn call_unanswered(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Invite(at) => {
                let leg = &mut self.legs[at];
                leg.stage = Stage::Over;
                leg.status = Some(408);
            }
            Purpose::Bye(at) => {
                if self.legs[at].byes < 3 {
                    self.bye(at);
                } else {
                    self.legs[at].unheard = true;
                }
            }
            Purpose::Reinvite(at, _)
            | Purpose::Update(at)
            | Purpose::Info(at)
            | Purpose::Refer(at, _)
            | Purpose::Subscribe(at) => {
                self.legs[at].changing = false;
                if self.legs[at].stage == Stage::Up {
                    self.bye(at);
                }
            }
            Purpose::Cancel(at) => {
                // RFC 3261 §9.1: what is not ended by then is over all the same.
                if self.legs[at].stage == Stage::Early {
                    let key = format!("{} INVITE", self.legs[at].branch);
                    self.clients.remove(&key);
                    self.legs[at].stage = Stage::Over;
                }
            }
            Purpose::Register { .. } => {}
        }
    }

    /// Somebody calls.
    pub(super) fn invited(&mut self, note: &Text, key: &str) {
        let call: Option<usize> = note.get("X-Call").parse().ok().or_else(|| self.sent_to(note));
        let manner = call.and_then(|call| self.script.calls.get(call)?.manners.get(&self.index).copied());
        let (Some(call), Some(manner)) = (call, manner) else {
            self.complain("a call that was for somebody else");
            let reply = answer(note, 404, "none");
            return self.reply(key, &reply);
        };
        if self
            .legs
            .iter()
            .any(|leg| leg.call == call && leg.role == Role::Callee && leg.stage != Stage::Over)
        {
            self.complain("a call came twice");
        }
        let tag = self.token();
        let mut leg = Leg::new(call, Role::Callee, note.get("Call-ID"), note.clone());
        leg.local = format!("{};tag={tag}", note.get("To"));
        note.get("From").clone_into(&mut leg.remote);
        leg.target = Self::target(note);
        leg.used.insert(note.sequence().0);
        key.clone_into(&mut leg.key);
        self.legs.push(leg);
        let at = self.legs.len() - 1;
        if let Some(server) = self.servers.get_mut(key) {
            server.leg = Some((at, note.sequence().0));
        }
        let Manner { first, then, gone } = manner;
        if let Some(status) = first {
            let reply = answer(note, status, &tag).and("Contact", &self.contact());
            self.reply(key, &reply);
        }
        if let Some(gone) = gone {
            self.wake(gone, Alarm::Vanish);
        }
        match then {
            Then::Answer(after) | Then::Refuse(after, _) => self.wake(after, Alarm::Decide(at)),
            Then::Nothing => {}
        }
    }

    /// It has rung long enough.
    pub(super) fn decide(&mut self, at: usize) {
        let leg = &self.legs[at];
        if leg.stage != Stage::Early {
            return;
        }
        let manner = self.script.calls[leg.call].manners.get(&self.index);
        match manner.map(|manner| manner.then) {
            Some(Then::Answer(_)) => {
                let (key, invite) = (leg.key.clone(), leg.invite.clone());
                let reply = self.description_for(at, &invite);
                let leg = &mut self.legs[at];
                leg.stage = Stage::Up;
                leg.answered = true;
                leg.status = Some(200);
                self.reply(&key, &reply);
                self.repeat(&key);
                self.wake(BOREDOM, Alarm::Do(at, Deed::HangUp));
            }
            Some(Then::Refuse(_, status)) => self.refuse(at, status),
            Some(Then::Nothing) | None => {}
        }
    }

    fn refuse(&mut self, at: usize, status: u16) {
        let leg = &mut self.legs[at];
        leg.stage = Stage::Over;
        leg.status = Some(status);
        let (key, invite) = (leg.key.clone(), leg.invite.clone());
        let tag = super::note::parameter(&leg.local, "tag").to_owned();
        self.reply(&key, &answer(&invite, status, &tag));
        self.repeat(&key);
    }

    /// A 2xx to an INVITE, with the answer to its offer or with an offer.
    fn description_for(&mut self, at: usize, invite: &Text) -> Text {
        let contact = self.contact();
        let leg = &mut self.legs[at];
        leg.version += 1;
        let tag = super::note::parameter(&leg.local, "tag").to_owned();
        let way = if invite.body.contains("a=sendonly") {
            "recvonly"
        } else {
            "sendrecv"
        };
        let body = description(self.address, self.legs[at].version, way);
        answer(invite, 200, &tag).and("Contact", &contact).carrying(SDP, body)
    }

    pub(super) fn cancelled(&mut self, note: &Text, key: &str) {
        let invite = format!("{} INVITE", note.branch());
        let Some(server) = self.servers.get(&invite) else {
            let reply = answer(note, 481, "none");
            return self.reply(key, &reply);
        };
        let (open, leg) = (server.done.is_none(), server.leg);
        if server.last.is_none() {
            self.complain("a CANCEL before anything was said to the INVITE");
        }
        let reply = answer(note, 200, "cancel");
        self.reply(key, &reply);
        if let (true, Some((at, _))) = (open, leg) {
            self.refuse(at, 487);
        }
    }

    pub(super) fn acknowledged(&mut self, note: &Text) {
        let same = format!("{} INVITE", note.branch());
        if let Some(server) = self.servers.get_mut(&same) {
            server.again = false;
            return;
        }
        let (number, _) = note.sequence();
        let mine = |leg: &Leg| leg.id == note.get("Call-ID") && leg.local.ends_with(&format!("tag={}", note.tag("To")));
        let Some(at) = self.legs.iter().position(mine) else {
            return self.complain("an ACK of no dialog");
        };
        for server in self.servers.values_mut() {
            if server.leg == Some((at, number)) && server.done.is_some_and(|status| status < 300) {
                server.again = false;
            }
        }
        let now = self.now;
        let leg = &mut self.legs[at];
        leg.acknowledged_at.get_or_insert(now);
        if leg.role == Role::Callee && !std::mem::replace(&mut leg.acknowledged, true) && leg.stage == Stage::Up {
            if leg.given_up {
                return self.bye(at);
            }
            let deeds = self.script.calls[self.legs[at].call].deeds.clone();
            for (after, role, deed) in deeds {
                if role == Role::Callee {
                    self.wake(after, Alarm::Do(at, deed));
                }
            }
        }
    }

    /// Nobody acknowledged a final answer of ours.
    pub(super) fn unacknowledged(&mut self, done: Option<u16>, leg: Option<(usize, u32)>) {
        if let (Some(200..300), Some((at, _))) = (done, leg)
            && self.legs[at].stage == Stage::Up
        {
            self.legs[at].unacknowledged = true;
            self.bye(at);
        }
    }

    /// A request within a dialog.
    pub(super) fn asked_within(&mut self, note: &Text, method: &str, key: &str) {
        let (number, _) = note.sequence();
        let mine = |leg: &Leg| leg.id == note.get("Call-ID") && leg.local.ends_with(&format!("tag={}", note.tag("To")));
        let Some(at) = self.legs.iter().position(mine) else {
            self.complain(&format!("a {method} of no dialog"));
            let reply = answer(note, 481, "none");
            return self.reply(key, &reply);
        };
        let contact = self.contact();
        let leg = &mut self.legs[at];
        if !leg.used.insert(number) {
            let reply = answer(note, 500, "none");
            self.reply(key, &reply);
            return self.complain(&format!("a {method} with a number that was used before"));
        }
        let is_late = leg.used.last() != Some(&number);
        if method == "NOTIFY" {
            let status = self.notified(at, note);
            let reply = answer(note, if is_late { 500 } else { status }, "none");
            return self.reply(key, &reply);
        }
        let leg = &mut self.legs[at];
        if is_late && method != "BYE" {
            // RFC 3261 §12.2.2: something that was said later has come first.
            let reply = answer(note, 500, "none");
            return self.finish(key, at, number, &reply);
        }
        if leg.stage != Stage::Over {
            self.listen(at, method, note);
        }
        let leg = &mut self.legs[at];
        let reply = match (leg.stage, method) {
            (Stage::Over, "BYE") => answer(note, 200, "none"),
            (Stage::Over, _) => answer(note, 481, "none"),
            (_, "BYE") => {
                leg.stage = Stage::Over;
                for server in self.servers.values_mut() {
                    server.again &= server.leg.is_none_or(|(leg, _)| leg != at);
                }
                answer(note, 200, "none")
            }
            // RFC 3261 §14.2, RFC 3311 §5.2.
            (_, "INVITE" | "UPDATE") if leg.changing || !leg.acknowledged => answer(note, 491, "none"),
            (_, "INVITE") => {
                leg.target = Self::target(note);
                self.description_for(at, note)
            }
            (_, "UPDATE") if !note.body.is_empty() => self.description_for(at, note),
            _ => answer(note, 200, "none").and("Contact", &contact),
        };
        let thought = self.script.calls[self.legs[at].call].thought;
        if let ("INFO", Some(thought)) = (method, thought) {
            self.reply(key, &answer(note, 100, ""));
            return self.wake(thought, Alarm::Reply(key.to_owned(), reply));
        }
        self.finish(key, at, number, &reply);
    }

    fn finish(&mut self, key: &str, at: usize, number: u32, reply: &Text) {
        self.reply(key, reply);
        if key.ends_with("INVITE") {
            if let Some(server) = self.servers.get_mut(key) {
                server.leg = Some((at, number));
            }
            self.repeat(key);
        }
    }

    pub(super) fn contact(&self) -> String {
        format!("<sip:phone@{}>", self.address)
    }

    fn description(&self, version: u32, way: &str) -> String {
        description(self.address, version, way)
    }
}

fn description(address: std::net::SocketAddr, version: u32, way: &str) -> String {
    let ip = address.ip();
    format!(
        "v=0\r\no=- 1 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0 101\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na={way}\r\n"
    )
}

const SDP: &str = "application/sdp";
/// By then every call that rings was answered, refused or given up, and whoever did not answer is not waited for.
const OVERDUE: Duration = Duration::from_secs(250 + 3 * PATIENCE.as_secs());
/// When a callee hangs up who sees nothing of the rest.
const BOREDOM: Duration = Duration::from_secs(120);
