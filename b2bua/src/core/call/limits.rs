//! What ends a call that nobody ends: it has lasted too long, or neither side is heard any more.

use std::time::{Duration, Instant};

use cusax_common::core::entropy::Entropy;
use cusax_common::core::record::Cause;
use tracing::debug;

use super::{Call, CallOutput, Context, rules};
use crate::core::media::MediaCommand;
use crate::core::media::rewrite::{Description, Direction};

/// How long a call that was answered may go on.
#[derive(Debug, Default)]
pub struct Limits {
    /// When it is hung up in any case.
    end: Option<Instant>,
    /// When the media engine is asked next.
    listen: Option<Instant>,
    /// How much was heard of both sides, and since when it is no more than that.
    heard: Option<(u64, Instant)>,
}

impl Limits {
    /// Those of a call that is answered now; only what the relay has can be heard.
    pub(super) fn begin<E>(cx: &Context<'_, E>, is_relayed: bool) -> Self {
        let now = cx.now.instant;
        Self {
            end: now.checked_add(cx.settings.max_duration),
            listen: cx
                .settings
                .silence_timeout
                .filter(|_| is_relayed)
                .map(|patience| now + pause(patience)),
            heard: None,
        }
    }

    /// When the call is hung up in any case.
    pub(super) fn end(&self) -> Option<Instant> {
        self.end
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [self.end, self.listen].into_iter().flatten().min()
    }
}

impl Call {
    /// Does what the limits say at `cx.now`.
    pub(super) fn end_of_patience<E: Entropy>(&mut self, cx: &mut Context<'_, E>) {
        let now = cx.now.instant;
        // A leg that came from another call goes on to cost what it did there.
        let ends = self.legs.iter_mut().map(|leg| &mut leg.until);
        let ends = ends.chain([&mut self.limits.end]);
        if ends.filter_map(|end| end.take_if(|end| *end <= now)).count() > 0 {
            debug!("the call has lasted too long");
            return self.hang_up_both(cx, Cause::TooLong);
        }
        if self.limits.listen.take_if(|at| *at <= now).is_some()
            && let Some(patience) = cx.settings.silence_timeout
        {
            self.limits.listen = Some(now + pause(patience));
            cx.emit(CallOutput::Media(MediaCommand::Report { id: self.id }));
        }
    }

    /// The media engine tells how much it has heard.
    pub(super) fn listened<E: Entropy>(&mut self, cx: &mut Context<'_, E>, heard: u64) {
        let now = cx.now.instant;
        let Some(patience) = cx.settings.silence_timeout.filter(|_| self.limits.listen.is_some()) else {
            return;
        };
        match self.limits.heard {
            Some((before, since)) if before == heard => {
                if now.duration_since(since) >= patience && !self.is_held(cx) {
                    debug!("neither side is heard");
                    self.hang_up_both(cx, Cause::NoMedia);
                }
            }
            _ => self.limits.heard = Some((heard, now)),
        }
    }

    /// Whether a side wants nothing to be sent, or sends nothing.
    fn is_held<E>(&self, cx: &Context<'_, E>) -> bool {
        let rules = rules(cx);
        self.legs.iter().any(|leg| {
            let described = Description::read(&leg.heard, rules);
            described.is_ok_and(|described| described.direction != Direction::SendReceive)
        })
    }
}

/// How often the media engine is asked: so that silence is noticed soon after its time, at little cost.
fn pause(patience: Duration) -> Duration {
    (patience / 4).max(Duration::from_secs(1))
}
