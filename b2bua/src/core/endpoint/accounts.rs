//! What belongs to accounts is known to the first endpoint of a node: which counts of nonces were used, how much an account
//! has asked for, how many calls a user has begun. The others ask it before they begin a call, and say when it is over.

use cusax_common::core::entropy::Entropy;
use cusax_common::core::sip::{Method, Status};
use cusax_common::core::time::Now;
use jid::BareJid;

use super::{Account, Endpoint, Unproved};
use crate::core::auth::{Count, Proof, Rejection, Spent};
use crate::core::call::{Caller, Referral};
use crate::core::media::MediaId;
use crate::core::neighbour::{AskId, Said};
use crate::core::share::FIRST;

/// A user who may begin a call.
#[derive(Debug)]
pub struct Standing {
    /// What proves it, where a count was to be spent.
    spent: Option<Spent>,
    /// How many calls they have begun.
    calls: usize,
}

/// Why a user may not begin a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The nonce is not good any more, or was used.
    Unproved(Rejection),
    /// They ask for too much.
    TooMuch,
}

/// What waits for the first endpoint.
#[derive(Debug)]
pub(super) enum Asking {
    /// A request of somebody who has a right proof.
    Proof(Box<Unproved>, Proof),
    /// A call for a transfer.
    Refer(MediaId, Box<Referral>),
}

impl Asking {
    fn question(&self) -> Option<(BareJid, Option<Count>)> {
        match self {
            Self::Proof(_, proof) => Some((proof.user().jid.clone(), Some(proof.count().clone()))),
            Self::Refer(_, referral) => Some((referral.payer.user()?.clone(), None)),
        }
    }
}

impl<E: Entropy> Endpoint<E> {
    /// Asks whether somebody may begin a call; what was `asked` for goes on with the answer.
    pub(super) fn ask(&mut self, now: Now, asking: Asking) {
        let Some((jid, count)) = asking.question() else {
            // A carrier has no account of ours.
            return self.answered(now, asking, Ok(Standing { spent: None, calls: 0 }));
        };
        if self.share.is_first() {
            let answer = self.stand(now, &jid, count.as_ref());
            return self.answered(now, asking, answer);
        }
        if self.asking.len() >= super::MAX_FETCHES {
            return self.unasked(now, asking);
        }
        self.next_ask += 1;
        let id = AskId(self.next_ask);
        self.asking.insert(id, asking);
        self.say(FIRST, Said::Ask { id, jid, count });
    }

    /// What the first endpoint knows of a user.
    fn stand(&mut self, now: Now, jid: &BareJid, count: Option<&Count>) -> Result<Standing, Denied> {
        let spent = count
            .map(|count| self.authenticator.spend(now.wall, count))
            .transpose()
            .map_err(Denied::Unproved)?;
        if spent.is_some() && !self.passes(now, &Account::User(jid)) {
            return Err(Denied::TooMuch);
        }
        let calls = self.begun.get(jid).copied().unwrap_or_default();
        Ok(Standing { spent, calls })
    }

    /// Another endpoint asks.
    pub(super) fn handle_ask(&mut self, now: Now, from: u8, id: AskId, jid: BareJid, count: Option<&Count>) {
        let answer = self.stand(now, &jid, count);
        // Whoever asks for several at once at several endpoints gets no more than that.
        if answer.is_ok() {
            self.count_call(jid.clone(), true);
        }
        self.say(from, Said::Answer { id, jid, answer });
    }

    /// The first endpoint has answered.
    pub(super) fn handle_answer(&mut self, now: Now, id: AskId, jid: BareJid, answer: Result<Standing, Denied>) {
        let is_held = answer.is_ok();
        if let Some(asking) = self.asking.remove(&id) {
            self.answered(now, asking, answer);
        }
        // A call that has begun is counted by now.
        if is_held {
            self.count_call(jid, false);
        }
    }

    fn answered(&mut self, now: Now, asking: Asking, answer: Result<Standing, Denied>) {
        match (asking, answer) {
            (Asking::Proof(unproved, proof), Ok(Standing { spent, calls })) => match spent {
                Some(spent) => self.proved(now, *unproved, proof.hold(spent), calls),
                None => self.refuse_proof(now, unproved, Rejection::StaleNonce),
            },
            (Asking::Proof(unproved, _), Err(Denied::Unproved(why))) => self.refuse_proof(now, unproved, why),
            (Asking::Proof(unproved, _), Err(Denied::TooMuch)) => {
                self.counters.proved += 1;
                self.allowance = unproved.allowance;
                self.throttle(now, unproved.server, &unproved.request);
            }
            (Asking::Refer(from, referral), Ok(Standing { calls, .. })) => {
                self.refer_to(now, from, referral, calls);
            }
            (Asking::Refer(from, _), Err(_)) => self.refuse_referral(now, from, Status::FORBIDDEN),
        }
    }

    /// There is no room for another question.
    fn unasked(&mut self, now: Now, asking: Asking) {
        match asking {
            Asking::Proof(unproved, _) => {
                let Unproved {
                    server, flow, request, ..
                } = &*unproved;
                self.overloaded(now, *server, request, self.sender(flow));
            }
            Asking::Refer(from, _) => self.refuse_referral(now, from, Status::SERVICE_UNAVAILABLE),
        }
    }

    /// A request whose proof holds, of somebody who has begun so many calls.
    fn proved(&mut self, now: Now, unproved: Unproved, proof: crate::core::auth::Authenticated, calls: usize) {
        self.counters.proved += 1;
        let Unproved {
            server,
            flow,
            request,
            allowance,
            ..
        } = unproved;
        self.allowance = allowance;
        match request.method {
            Method::Register => self.register(now, server, flow, &request, proof),
            _ => self.call_by(now, server, flow, request, &proof, calls),
        }
    }

    /// Whether a caller has as many calls as one may begin, others than these included.
    pub(super) fn is_too_many(&self, caller: &Caller, calls: usize) -> bool {
        caller.user().is_some() && calls >= self.settings.calls_per_account
    }

    /// Counts a call that a user has begun, or that is over.
    pub(super) fn count_call(&mut self, jid: BareJid, more: bool) {
        if !self.share.is_first() {
            return self.say(FIRST, Said::Owes { jid, more });
        }
        let count = self.begun.entry(jid.clone()).or_default();
        *count = if more {
            count.saturating_add(1)
        } else {
            count.saturating_sub(1)
        };
        if *count == 0 {
            self.begun.remove(&jid);
        }
    }
}
