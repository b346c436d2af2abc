//! What calls want of one another: a call for a transfer, the leg of somebody who waits, a place in a call that is up.

use cusax_common::core::dialplan::Dialled;
use cusax_common::core::entropy::Entropy;
use cusax_common::core::sip::{Status, Uri};
use cusax_common::core::time::Now;
use tracing::debug;

use super::Endpoint;
use super::accounts::Asking;
use super::begin::{MAX_SEARCHING, PART};
use crate::core::call::{Call, Caller, Dialling, Referral, Replaced, Word};
use crate::core::locate::Goal;
use crate::core::media::MediaId;
use crate::core::neighbour::Said;
use crate::core::registrar::{Gruu, NotOurs};
use crate::core::transaction::ServerId;

/// What a call has said, until the one that said it has said all.
#[derive(Debug)]
pub(super) enum Letter {
    /// To another call.
    Word(MediaId, Word),
    /// To whoever makes calls.
    Refer(Box<Referral>),
}

/// A call for a transfer that waits for DNS.
#[derive(Debug)]
pub(super) struct Seeking {
    goal: Goal,
    from: MediaId,
    dialling: Dialling,
    referral: Box<Referral>,
}

impl<E: Entropy> Endpoint<E> {
    /// Hands over what a call has said.
    pub(super) fn deliver(&mut self, now: Now, from: MediaId, letter: Letter) {
        match letter {
            Letter::Word(to, word) => self.tell(now, from, to, word),
            Letter::Refer(referral) => self.refer(now, from, referral),
        }
    }

    pub(super) fn tell(&mut self, now: Now, from: MediaId, to: MediaId, word: Word) {
        let at = self.share.numbered_by(to.0);
        if at != self.share.index() {
            let leg = match &word {
                Word::Leg(Some(moved)) => Some(moved.leg.dialog.id()),
                _ => None,
            };
            self.say(at, Said::Word { from, to, word });
            if let Some(dialog) = leg {
                self.part_with(dialog, at);
            }
        } else if self.calls.contains_key(&to) {
            self.with_call(now, to, |call, cx| call.handle_word(cx, from, word));
        } else if let Some(answer) = word.unheard() {
            self.tell(now, to, from, answer);
        }
    }

    /// Makes the call that a transfer wants, or finds the one whose side it wants to be replaced.
    fn refer(&mut self, now: Now, from: MediaId, mut referral: Box<Referral>) {
        if let Some(replaces) = referral.replaces.take() {
            let id = self.dialog_ids.of(replaces.call_id.as_str(), replaces.to_tag.as_str());
            let replaced = Box::new(Replaced {
                dialog: id,
                remote_tag: replaces.from_tag.as_str().to_owned(),
                account: referral.payer,
                early_only: replaces.early_only,
                flow: referral.flow,
                secure: referral.secure,
            });
            return self.replace(now, from, replaced, 0);
        }
        self.ask(now, Asking::Refer(from, referral));
    }

    /// Makes the call that a transfer wants, for somebody who has begun so many.
    pub(super) fn refer_to(&mut self, now: Now, from: MediaId, mut referral: Box<Referral>, calls: usize) {
        let uri = self.settings.at_home(referral.target.clone());
        let dialled = self.settings.dial(&uri, matches!(referral.payer, Caller::User { .. }));
        if self.draining || self.calls.len() >= self.room_for(&dialled) {
            self.counters.overloaded += 1;
            return self.refuse_referral(now, from, Status::SERVICE_UNAVAILABLE);
        }
        // The call that asks for it is not one more, where it is the same user's.
        let same = self.calls.get(&from).and_then(|live| live.call.begun_by());
        let one_less = usize::from(same.is_some() && same == referral.payer.user());
        let is_emergency = matches!(dialled, Ok(Dialled::Emergency { .. }));
        if !is_emergency && self.is_too_many(&referral.payer, calls.saturating_sub(one_less)) {
            self.counters.throttled += 1;
            return self.refuse_referral(now, from, Status::FORBIDDEN);
        }
        let (dialled, device) = match (self.gruu_of(&uri, &dialled), dialled) {
            (_, Err(reject)) => {
                debug!(%reject, "target of a transfer refused");
                let status = Status::new(reject.status()).unwrap_or(Status::ADDRESS_INCOMPLETE);
                return self.refuse_referral(now, from, status);
            }
            (Some(Ok(Gruu { aor, device })), Ok(_)) => (Dialled::Name(aor), Some(device)),
            (Some(Err(NotOurs)), Ok(_)) => return self.refuse_referral(now, from, Status::NOT_FOUND),
            (None, Ok(dialled)) => (dialled, None),
        };
        referral.secure |= matches!(&uri, Uri::Sip(uri) if uri.secure);
        if referral.secure && !referral.flow.transport.is_secure() {
            return self.refuse_referral(now, from, Status::FORBIDDEN);
        }
        let dialling = Dialling {
            dialled,
            device,
            depth: 0,
        };
        let goal = match &dialling.dialled {
            Dialled::Foreign(uri) => self.carriers.want(now.instant, uri),
            _ => None,
        };
        match goal {
            None => self.begin_referred(now, from, dialling, *referral),
            Some(_) if !self.has_room_to_seek(&referral.payer) => {
                self.refuse_referral(now, from, Status::SERVICE_UNAVAILABLE);
            }
            Some(goal) => {
                self.count_caller(&referral.payer, true);
                self.seeking.push(Seeking {
                    goal,
                    from,
                    dialling,
                    referral,
                });
            }
        }
    }

    /// Whether another transfer that somebody pays for may wait for DNS.
    fn has_room_to_seek(&self, payer: &Caller) -> bool {
        let own = self
            .seeking
            .iter()
            .filter(|one| one.referral.payer.user() == payer.user());
        self.seeking.len() < MAX_SEARCHING && own.count() < MAX_SEARCHING / PART
    }

    /// A domain was looked up for which transfers wait.
    pub(super) fn found_for_transfers(&mut self, now: Now, goal: &Goal) {
        let found: Vec<Seeking> = self.seeking.extract_if(.., |seeking| seeking.goal == *goal).collect();
        for Seeking {
            from,
            dialling,
            referral,
            ..
        } in found
        {
            let waited = referral.payer.user().cloned();
            if self.calls.len() >= self.max_calls() {
                self.counters.overloaded += 1;
                self.refuse_referral(now, from, Status::SERVICE_UNAVAILABLE);
            } else {
                self.begin_referred(now, from, dialling, *referral);
            }
            if let Some(jid) = waited {
                self.count_call(jid, false);
            }
        }
    }

    /// No call begins any more; those that wanted one are over.
    pub(super) fn give_up_transfers(&mut self) {
        for seeking in std::mem::take(&mut self.seeking) {
            self.count_caller(&seeking.referral.payer, false);
        }
    }

    /// The call that ends when nobody acknowledges its 2xx to this INVITE: the one in which the dialog is now. None if the
    /// dialog is over.
    pub(super) fn answered_in(&self, server: ServerId) -> Option<MediaId> {
        match self.servers.get(&server)? {
            (_, Some(dialog)) => self.dialogs.get(dialog).map(|(call, _)| *call),
            (call, None) => Some(*call),
        }
    }

    fn begin_referred(&mut self, now: Now, from: MediaId, dialling: Dialling, referral: Referral) {
        // It may have ended while DNS was asked.
        if !self.calls.get(&from).is_some_and(|live| live.call.wants_transfer()) {
            return;
        }
        let made = self.launch(now, None, referral.session, |cx, id, session| {
            Ok(Call::refer_to(cx, id, session, from, dialling, referral))
        });
        debug_assert!(made.is_ok(), "whatever is wrong with it is told to the call that asked");
    }

    pub(super) fn refuse_referral(&mut self, now: Now, from: MediaId, status: Status) {
        self.with_call(now, from, |call, cx| call.handle_word(cx, from, Word::Failed(status)));
    }
}
