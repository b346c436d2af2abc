//! The one way to stop everything: running, draining until a deadline, over.
//!
//! One [`Stopper`] begins it; every part holds a [`Shutdown`] and waits on it beside its other work. A part that sees
//! the draining takes nothing new; a part that sees the end drops what it has.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Begins and tightens the shutdown. Dropping it without a word ends everything at once.
#[derive(Debug)]
pub struct Stopper(watch::Sender<Phase>);

/// What each part holds to learn of the shutdown.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Phase>);

/// How far the shutdown has come. It only ever moves toward [`Phase::Over`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nobody has asked for it.
    Running,
    /// Nothing new is taken; what runs may end by itself until the deadline.
    Draining {
        /// When patience ends.
        until: Instant,
    },
    /// Drop everything.
    Over,
}

/// A stopper and the first of its watchers.
#[must_use]
pub fn shutdown() -> (Stopper, Shutdown) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Stopper(sender), Shutdown(receiver))
}

impl Stopper {
    /// Begins the draining, or moves an earlier one to the nearer deadline.
    pub fn drain(&self, now: Instant, grace: Duration) {
        let until = now + grace;
        self.0.send_if_modified(|phase| match *phase {
            Phase::Running => {
                *phase = Phase::Draining { until };
                true
            }
            Phase::Draining { until: earlier } if until < earlier => {
                *phase = Phase::Draining { until };
                true
            }
            Phase::Draining { .. } | Phase::Over => false,
        });
    }

    /// Ends everything.
    pub fn end(&self) {
        self.0.send_replace(Phase::Over);
    }

    /// Another watcher.
    #[must_use]
    pub fn watch(&self) -> Shutdown {
        Shutdown(self.0.subscribe())
    }
}

impl Shutdown {
    /// How far it has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.0.has_changed().is_err() {
            Phase::Over
        } else {
            *self.0.borrow()
        }
    }

    /// Waits until draining has begun, or more.
    pub async fn begun(&mut self) {
        // An error means that the stopper is gone, which is the end as well.
        let _ = self.0.wait_for(|phase| *phase != Phase::Running).await;
    }

    /// Waits until the deadline of the draining has passed or the end was called.
    pub async fn over(&mut self) {
        loop {
            match self.phase() {
                Phase::Over => return,
                Phase::Running => self.begun().await,
                Phase::Draining { until } => tokio::select! {
                    () = tokio::time::sleep_until(until.into()) => return,
                    moved = self.0.changed() => if moved.is_err() { return },
                },
            }
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "the tests need some instant to count from; nothing waits"
)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn phases_only_move_forward() {
        let (stopper, watcher) = shutdown();
        let start = Instant::now();
        assert_eq!(watcher.phase(), Phase::Running);
        stopper.drain(start, MINUTE);
        assert_eq!(watcher.phase(), Phase::Draining { until: start + MINUTE });
        stopper.drain(start, 2 * MINUTE);
        assert_eq!(
            watcher.phase(),
            Phase::Draining { until: start + MINUTE },
            "never later"
        );
        stopper.drain(start, MINUTE / 2);
        assert_eq!(
            watcher.phase(),
            Phase::Draining {
                until: start + MINUTE / 2
            },
            "a second wish is sooner"
        );
        stopper.end();
        stopper.drain(start, MINUTE);
        assert_eq!(stopper.watch().phase(), Phase::Over);
    }

    #[test]
    fn a_lost_stopper_is_the_end() {
        let (stopper, watcher) = shutdown();
        drop(stopper);
        assert_eq!(watcher.phase(), Phase::Over);
    }
}
