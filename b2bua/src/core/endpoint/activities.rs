//! What users' phones are doing, for the XMPP side: on the phone, with video, or not.

use std::time::Duration;

use cusax_common::core::bridge::{PhoneActivity, ToXmpp};
use cusax_common::core::entropy::Entropy;
use cusax_common::core::time::Now;
use jid::BareJid;

use super::{Endpoint, Output};
use crate::core::neighbour::Said;
use crate::core::share::FIRST;

/// The calls of one user.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Busy {
    audio: u32,
    video: u32,
}

impl Busy {
    pub(super) fn activity(self) -> PhoneActivity {
        match self {
            Self { video: 1.., .. } => PhoneActivity::Video,
            Self { audio: 1.., .. } => PhoneActivity::Audio,
            Self { .. } => PhoneActivity::Idle,
        }
    }
}

impl<E: Entropy> Endpoint<E> {
    /// Counts a call of a user.
    pub(super) fn tell_busy(&mut self, jid: BareJid, video: bool, up: bool) {
        if !self.share.is_first() {
            return self.say(FIRST, Said::Busy { jid, video, up });
        }
        let busy = self.busy.entry(jid.clone()).or_default();
        let before = busy.activity();
        let calls = if video { &mut busy.video } else { &mut busy.audio };
        *calls = if up {
            calls.saturating_add(1)
        } else {
            calls.saturating_sub(1)
        };
        if busy.activity() == PhoneActivity::Idle {
            self.busy.remove(&jid);
        }
        if !self.unsettled.iter().any(|(known, _)| *known == jid) {
            self.unsettled.push((jid, before));
        }
    }

    /// Tells what users' phones are doing, when that changed; who goes from one call to another has done nothing else.
    pub(super) fn tell_activities(&mut self, now: Now) {
        if self.unsettled.is_empty() {
            return;
        }
        // Whoever goes to a call of another endpoint is heard of by both.
        if !self.share.is_whole() && *self.telling.get_or_insert(now.instant + TELLING) > now.instant {
            return;
        }
        self.telling = None;
        for (jid, before) in self.unsettled.drain(..) {
            let activity = self.busy.get(&jid).map_or(PhoneActivity::Idle, |busy| busy.activity());
            if activity != before {
                self.outputs.push_back(Output::Bridge(ToXmpp::Phone { jid, activity }));
            }
        }
    }
}

/// How long it is gathered what the calls of several endpoints say of one user's phones.
const TELLING: Duration = Duration::from_millis(20);
