//! What the other endpoints of a node say, and what is said to them.

use cusax_common::core::entropy::Entropy;
use cusax_common::core::sip::{Message, Method, Status};
use cusax_common::core::time::Now;

use super::{Endpoint, Output};
use crate::core::call::{Replaced, Word};
use crate::core::dialog::DialogId;
use crate::core::flow::Flow;
use crate::core::media::MediaId;
use crate::core::neighbour::{MOST_PASSED, Said};
use crate::core::share::{FIRST, Share};
use crate::core::transaction::ServerId;
use crate::core::transaction::timer::PATIENCE;

impl<E: Entropy> Endpoint<E> {
    /// Makes this one of several endpoints of a node; before it has heard anything.
    #[must_use]
    pub fn of_node(mut self, share: Share) -> Self {
        if share.is_first() && !share.is_whole() {
            self.registrar.be_followed();
        }
        self.share = share;
        self.dialog_ids = self.dialog_ids.of_node(share);
        self
    }

    /// What it owns of its node.
    #[must_use]
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// Something that another endpoint of this node has said.
    pub fn handle_neighbour(&mut self, now: Now, from: u8, said: Said) {
        match said {
            Said::Message {
                flow,
                message,
                allowance,
                passed,
            } => {
                self.allowance = allowance;
                self.take(now, flow, *message, passed);
            }
            Said::Copied(copied) => self.registrar.follow(now, &copied),
            Said::Ask { id, jid, count } => self.handle_ask(now, from, id, jid, count.as_ref()),
            Said::Answer { id, jid, answer } => self.handle_answer(now, id, jid, answer),
            Said::Owes { jid, more } => self.count_call(jid, more),
            Said::Busy { jid, video, up } => self.tell_busy(jid, video, up),
            Said::Word { from, to, word } => self.tell(now, from, to, word),
            Said::Replace { from, replaced, passed } => self.replace(now, from, replaced, passed),
            Said::Dialog { id, at } => match at {
                Some(at) if at != self.share.index() => drop(self.moved.insert(id, at)),
                Some(_) => drop(self.moved.remove(&id)),
                None => self.forgetting.push_back((now.instant + PATIENCE, id)),
            },
            Said::Sign { trunk, flow, sign } => self.carriers.hear_sign(now.instant, &trunk, flow, sign),
            Said::Lent { flow, alias } => self.carriers.handle_lent(&flow, alias),
            Said::Unacknowledged { id, passed } => self.unacknowledged(now, id, passed),
        }
        self.settle(now);
    }

    pub(super) fn say(&mut self, to: u8, said: Said) {
        self.outputs.push_back(Output::Neighbour { to, said });
    }

    /// Takes a message, or passes it on to where its dialog is.
    pub(super) fn take(&mut self, now: Now, flow: Flow, message: Message, passed: u8) {
        self.passed = passed;
        match self.elsewhere(&message, passed) {
            None => self.transactions.handle_message(now.instant, flow, message),
            Some(to) => {
                let said = Said::Message {
                    flow,
                    message: Box::new(message),
                    allowance: self.allowance,
                    passed: passed + 1,
                };
                self.say(to, said);
            }
        }
    }

    /// Where the dialog of a message is, if it is not here. What belongs to a transaction that began before the dialog moved
    /// stays.
    fn elsewhere(&mut self, message: &Message, passed: u8) -> Option<u8> {
        // A response knows whose it is.
        let Message::Request(request) = message else {
            return None;
        };
        if self.share.is_whole() || passed >= MOST_PASSED {
            return None;
        }
        let is_register = request.method == Method::Register;
        // So it is with all requests but very few.
        if self.moved.is_empty() && passed == 0 && !is_register {
            return None;
        }
        let Some(id) = self.dialog_id(request) else {
            // However it came here, registrations are made by the first.
            return (is_register && !self.share.is_first()).then_some(FIRST);
        };
        if self.dialogs.contains_key(&id) || self.transactions.knows(request) {
            return None;
        }
        self.whereabouts(id)
    }

    /// Where a dialog is that is not here: the owner of its Call-ID knows it.
    pub(super) fn whereabouts(&self, id: DialogId) -> Option<u8> {
        match id.owner() {
            owner if owner == self.share.index() => self.moved.get(&id).copied(),
            owner => Some(owner),
        }
    }

    /// A leg has gone to a call at another endpoint, and its dialog with it. Whoever passes something on to there does so
    /// later, so that the leg is there first.
    pub(super) fn part_with(&mut self, id: DialogId, at: u8) {
        if let Some((_, flow)) = self.dialogs.remove(&id) {
            self.leave_flow(&flow);
        }
        match id.owner() {
            owner if owner == self.share.index() => drop(self.moved.insert(id, at)),
            owner => self.say(owner, Said::Dialog { id, at: Some(at) }),
        }
    }

    /// A dialog is in a call of this endpoint.
    pub(super) fn has_come(&mut self, id: DialogId) {
        if !self.moved.is_empty() {
            self.moved.remove(&id);
        }
    }

    /// A dialog of this endpoint is over.
    pub(super) fn has_gone(&mut self, id: DialogId) {
        let owner = id.owner();
        if owner != self.share.index() {
            self.say(owner, Said::Dialog { id, at: None });
        }
    }

    /// Time has come to `now`: what is said now in a dialog that was over so long ago is no copy.
    pub(super) fn forget_moved(&mut self, now: Now) {
        while let Some((_, id)) = self.forgetting.pop_front_if(|(at, _)| *at <= now.instant) {
            self.moved.remove(&id);
        }
    }

    /// A call wants the place of a dialog.
    pub(super) fn replace(&mut self, now: Now, from: MediaId, replaced: Box<Replaced>, passed: u8) {
        let there = self.dialogs.get(&replaced.dialog).map(|(call, _)| *call);
        match there.filter(|call| *call != from) {
            Some(call) => self.tell(now, from, call, Word::Replace(replaced)),
            None => match self.whereabouts(replaced.dialog).filter(|_| passed < MOST_PASSED) {
                Some(to) => self.say(
                    to,
                    Said::Replace {
                        from,
                        replaced,
                        passed: passed + 1,
                    },
                ),
                None => {
                    let status = Status::CALL_OR_TRANSACTION_DOES_NOT_EXIST;
                    self.tell(now, from, from, Word::Failed(status));
                }
            },
        }
    }

    /// Nobody has acknowledged the 2xx of ours to this INVITE: the call ends in which its dialog is now.
    pub(super) fn nobody_acknowledged(&mut self, now: Now, server: ServerId) {
        if let Some(call) = self.answered_in(server) {
            self.with_call(now, call, |call, cx| call.handle_unacknowledged(cx));
        } else if let Some((_, Some(id))) = self.servers.get(&server)
            && let Some(to) = self.whereabouts(*id)
        {
            let id = *id;
            self.say(to, Said::Unacknowledged { id, passed: 1 });
        }
    }

    fn unacknowledged(&mut self, now: Now, id: DialogId, passed: u8) {
        if let Some(&(call, _)) = self.dialogs.get(&id) {
            self.with_call(now, call, |call, cx| call.handle_unacknowledged(cx));
        } else if let Some(to) = self.whereabouts(id).filter(|_| passed < MOST_PASSED) {
            let passed = passed + 1;
            self.say(to, Said::Unacknowledged { id, passed });
        }
    }
}
