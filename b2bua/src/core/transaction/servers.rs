//! Where the requests of others are while they are answered, and what is remembered of them afterwards.
//!
//! Nearly every request is answered, challenged or refused before the next message comes. The latest one is therefore
//! held apart, and enters the tables only when something else happens first.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::answer::Answer;
use super::invite_server::InviteServer;
use super::key::{AnswerKey, RequestKey, ServerKey};
use super::output::ServerId;
use super::remembered::{Answered, Remembered};
use super::server::NonInviteServer;
use super::{Owner, ServerOutput};
use crate::core::flow::Flow;
use crate::core::ids::IdMap;

/// One request of somebody else.
#[derive(Debug)]
pub(super) struct Server {
    pub machine: ServerMachine,
    pub flow: Flow,
    pub owner: Owner,
    pub key: ServerKey,
    pub content: RequestKey,
    /// Whether it has a To tag.
    pub in_dialog: bool,
    /// The tag of our last response to an INVITE.
    pub to_tag: Option<Box<str>>,
    /// Our last response.
    pub last: Bytes,
    /// Whether the layer above was told of a CANCEL.
    pub cancelled: bool,
    pub answer: Option<Box<(Answer, AnswerKey)>>,
}

impl Server {
    /// Whether no final response was sent yet.
    pub(super) fn is_open(&self) -> bool {
        match &self.machine {
            ServerMachine::Invite(machine) => machine.is_open(),
            // What was answered is no longer here.
            ServerMachine::Other(_) => true,
        }
    }

    /// Stops the copies of a 2xx, which is not sent any more then; tells until when the INVITE is remembered if it was not
    /// acknowledged before.
    fn settle(&mut self) -> Option<Instant> {
        let answer = &mut self.answer.as_mut()?.0;
        let is_news = answer.poll_timeout().is_some();
        answer.settle();
        self.last = Bytes::new();
        self.machine.poll_timeout().filter(|_| is_news)
    }

    /// When it next wants to be woken.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let answer = self.answer.as_ref().and_then(|answer| answer.0.poll_timeout());
        [answer.map(|(at, _)| at), self.machine.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// By what copies of it are known that come by another way. Those within a dialog are the dialog's to judge, and a
    /// CANCEL has the content of what it cancels.
    fn content(&self) -> Option<RequestKey> {
        (self.owner == Owner::Above && !self.in_dialog).then_some(self.content)
    }
}

/// The machine of either kind.
#[derive(Debug)]
pub(super) enum ServerMachine {
    Invite(InviteServer),
    Other(NonInviteServer),
}

impl ServerMachine {
    pub(super) fn poll_output(&mut self) -> Option<ServerOutput> {
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

/// What is known of a request that came again.
pub(super) enum Found<'a> {
    /// Its transaction lives.
    Live(ServerId, Flow),
    /// It was answered.
    Answered(&'a Answered),
}

impl Found<'_> {
    /// How the request came.
    pub(super) fn flow(&self) -> Flow {
        match self {
            Self::Live(_, flow) => *flow,
            Self::Answered(answered) => answered.flow,
        }
    }
}

/// What may be forgotten early.
pub(super) enum Oldest {
    /// An INVITE whose 2xx was acknowledged.
    Invite(ServerId),
    /// The first answer.
    Answered,
}

/// All of them.
///
/// # Invariant
/// The tables name those in `live`, and no others.
#[derive(Debug, Default)]
pub(super) struct Servers {
    latest: Option<(ServerId, Server)>,
    live: IdMap<ServerId, Box<Server>>,
    names: IdMap<ServerKey, ServerId>,
    contents: IdMap<RequestKey, ServerId>,
    remembered: Remembered,
    /// INVITEs whose 2xx was acknowledged, in that order, with the time of their end. Some may have ended.
    acknowledged: VecDeque<(Instant, ServerId)>,
}

impl Servers {
    /// Takes a request. What was the latest until now must have been [settled](Self::settle).
    pub(super) fn insert(&mut self, id: ServerId, server: Server) {
        debug_assert!(self.latest.is_none(), "the latest request is settled first");
        self.latest = Some((id, server));
    }

    /// Puts the latest request into the tables, if it still lives; tells which it was and when it wants to be woken.
    pub(super) fn settle(&mut self) -> Option<(ServerId, Option<Instant>)> {
        let (id, server) = self.latest.take()?;
        self.names.insert(server.key, id);
        if let Some(content) = server.content() {
            self.contents.insert(content, id);
        }
        let deadline = server.deadline();
        self.live.insert(id, Box::new(server));
        Some((id, deadline))
    }

    /// Whether this is the latest request, whose deadline nobody else has noted.
    pub(super) fn is_latest(&self, id: ServerId) -> bool {
        self.latest.as_ref().is_some_and(|(latest, _)| *latest == id)
    }

    pub(super) fn get(&self, id: ServerId) -> Option<&Server> {
        match &self.latest {
            Some((latest, server)) if *latest == id => Some(server),
            _ => self.live.get(&id).map(|server| &**server),
        }
    }

    pub(super) fn get_mut(&mut self, id: ServerId) -> Option<&mut Server> {
        match &mut self.latest {
            Some((latest, server)) if *latest == id => Some(server),
            _ => self.live.get_mut(&id).map(|server| &mut **server),
        }
    }

    /// The request of that name, the latest one excepted.
    pub(super) fn find(&self, key: &ServerKey) -> Option<Found<'_>> {
        let live = self.names.get(key).and_then(|id| Some((*id, self.live.get(id)?.flow)));
        match live {
            Some((id, flow)) => Some(Found::Live(id, flow)),
            None => self.remembered.find(key).map(Found::Answered),
        }
    }

    /// Whether a request of that content is here, the latest one excepted.
    pub(super) fn knows(&self, content: &RequestKey) -> bool {
        self.contents.contains_key(content) || self.remembered.knows(content)
    }

    pub(super) fn remove(&mut self, id: ServerId) -> Option<Server> {
        if self.is_latest(id) {
            return self.latest.take().map(|(_, server)| server);
        }
        let server = *self.live.remove(&id)?;
        self.names.remove(&server.key);
        let ended = |(_, id): &mut (Instant, ServerId)| !self.live.contains_key(id);
        while self.acknowledged.pop_front_if(ended).is_some() {}
        if let Some(content) = server.content() {
            self.contents.remove(&content);
        }
        Some(server)
    }

    /// Keeps nothing of a request but its answer, until then.
    pub(super) fn remember(&mut self, id: ServerId, until: Instant) {
        if let Some(server) = self.remove(id) {
            let answered = Answered {
                key: server.key,
                content: server.content(),
                owner: (server.owner == Owner::Above).then_some(id),
                flow: server.flow,
                bytes: server.last,
            };
            self.remembered.keep(until, answered);
        }
    }

    /// Stops the copies of the 2xx to this INVITE.
    pub(super) fn acknowledge(&mut self, id: ServerId) {
        if let Some(until) = self.get_mut(id).and_then(Server::settle) {
            self.acknowledged.push_back((until, id));
        }
    }

    /// What has waited longest for copies that may not come, and is to be forgotten if there is no room otherwise: an INVITE
    /// whose 2xx was acknowledged, or what [`pop_first`](Self::pop_first) gives.
    ///
    /// To forget one early is harmless: a copy that comes as late as that is taken for a new request. One of a user has a
    /// proof that was used (RFC 7616 §3.4), one within a dialog has a number that was used (RFC 3261 §12.2.2), and that of a
    /// carrier's INVITE is refused like any other whose caller does not go on. To refuse a new request instead would harm
    /// one that can be carried out.
    pub(super) fn oldest(&self) -> Option<Oldest> {
        let invite = self.acknowledged.front().copied();
        match (invite, self.remembered.next()) {
            (Some((until, id)), other) if other.is_none_or(|other| until <= other) => Some(Oldest::Invite(id)),
            (_, Some(_)) => Some(Oldest::Answered),
            (_, None) => None,
        }
    }

    /// Forgets the first answer.
    pub(super) fn pop_first(&mut self) -> Option<Answered> {
        self.remembered.pop_first()
    }

    /// Forgets the first answer whose time is over.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Answered> {
        self.remembered.pop_due(now)
    }

    /// When the first of those falls due that nobody else has noted: the latest request, and the answers.
    pub(super) fn next(&self) -> Option<Instant> {
        let latest = self.latest.as_ref().and_then(|(_, server)| server.deadline());
        [latest, self.remembered.next()].into_iter().flatten().min()
    }

    /// Until when the answer of a request is remembered.
    #[cfg(test)]
    pub(super) fn remembered_until(&self, id: ServerId) -> Option<Instant> {
        self.remembered.until(id)
    }

    /// How many there are, with those that were answered.
    pub(super) fn len(&self) -> usize {
        usize::from(self.latest.is_some()) + self.live.len() + self.remembered.len()
    }

    /// Whether the tables name what is there, and whoever wants to be woken will be; for tests.
    pub(super) fn is_sound(&self, armed: impl Fn(ServerId) -> Option<Instant>) -> bool {
        let contents = self.live.values().filter(|server| server.content().is_some());
        let latest = self.latest.as_ref();
        self.remembered.is_sound()
            && self.names.len() == self.live.len()
            && self.contents.len() == contents.count()
            && self.names.keys().all(|key| self.remembered.find(key).is_none())
            && latest.is_none_or(|(id, server)| {
                !self.live.contains_key(id) && armed(*id).is_none() && self.find(&server.key).is_none()
            })
            && self.live.iter().all(|(id, server)| {
                self.names.get(&server.key) == Some(id)
                    && armed(*id) == server.deadline()
                    && server
                        .content()
                        .is_none_or(|content| self.contents.get(&content) == Some(id))
            })
    }
}
