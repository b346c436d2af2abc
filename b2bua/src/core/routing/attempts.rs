//! Which hop of a target is tried next, and when.
//!
//! The hops of a target are tried one after the other, never two at a time. The next one is tried when the present one
//! shows that it is not there:
//!
//! - By a trunk, or to a domain of others: when nothing at all, not even 100, was heard for [`SILENCE`]; on 5xx, which speaks of the server and
//!   not of the callee (RFC 3261 §21.5), but not on 580, which the callee's phone gives (RFC 3312 §8); and on what stands
//!   for a timeout or a way that could not be used (§8.1.3.1). A 4xx or 6xx is the answer that was asked for.
//! - To a phone: when it did not answer, could not be reached, is not serving (RFC 3263 §4.3), or has lost its
//!   connection (RFC 5626 §5.3). Silence is left to timer B, since both ways would ring the same phone.
//!
//! # What stays true
//! - What has rung is not tried elsewhere.
//! - An attempt that was given up never comes back: what it says later is [`Fate::Late`], and its 2xx is not taken.
//!   So no two attempts of one target are ever up, and nobody pays for a call twice.
//! - A hop is tried at most once.
//!
//! # Use
//! Call one `handle_*` method, or [`start`](Attempts::start), then carry out what [`poll_output`](Attempts::poll_output)
//! gives until it gives `None`, then read [`poll_timeout`](Attempts::poll_timeout). `broken` tells which hops are to be
//! tried only when no other one is left.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use cusax_common::core::sip::Status;

use super::Plan;
use crate::core::breaker::Sign;

/// One hop of one target of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Turn {
    /// The place of the target in the plan.
    pub target: usize,
    /// The place of the hop in the target.
    pub hop: usize,
}

/// What the call does, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Invite by this hop.
    Invite(Turn),
    /// Nothing more is wanted of that attempt: its INVITE is cancelled as soon as that is allowed (RFC 3261 §9.1), and a
    /// 2xx that comes all the same is acknowledged and hung up.
    Abandon(Turn),
    /// The server of a trunk, or of a domain of others, showed this.
    Show(Turn, Sign),
}

/// What the failure of an attempt means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Another hop is tried.
    Retried,
    /// The target is out.
    Final,
    /// The attempt had been given up before: its failure means nothing.
    Late,
}

/// The attempts of one call.
#[derive(Debug, Default)]
pub struct Attempts {
    targets: Vec<Series>,
    outputs: VecDeque<Step>,
}

/// The hops of one target.
#[derive(Debug)]
struct Series {
    way: Way,
    /// Those that have not been tried, in their order.
    left: Vec<usize>,
    present: Present,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Phone,
    Trunk,
}

/// How the present attempt of a target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Present {
    /// There is none: its turn has not come.
    Unborn,
    /// Nothing was heard of this hop. At that time it is given up, if at all.
    Silent { hop: usize, until: Option<Instant> },
    /// It is working on it (100).
    Trying { hop: usize },
    /// It rings, or says something else that is no 100.
    Ringing { hop: usize },
    /// There will be none.
    Over,
}

impl Present {
    fn hop(self) -> Option<usize> {
        match self {
            Self::Silent { hop, .. } | Self::Trying { hop } | Self::Ringing { hop } => Some(hop),
            Self::Unborn | Self::Over => None,
        }
    }
}

impl Attempts {
    /// Those of a plan. Nothing is tried before [`start`](Self::start).
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let mut attempts = Self::default();
        attempts.extend(plan);
        attempts
    }

    /// Adds those of a plan whose targets come behind the ones that there are.
    pub fn extend(&mut self, plan: &Plan) {
        let series = plan.targets.iter().map(|target| Series {
            way: match target.hops.iter().any(|hop| hop.exit.is_some()) {
                true => Way::Trunk,
                false => Way::Phone,
            },
            left: (0..target.hops.len()).collect(),
            present: Present::Unborn,
        });
        self.targets.extend(series);
    }

    /// The turn of a target has come.
    pub fn start(&mut self, now: Instant, target: usize, broken: impl Fn(Turn) -> bool) {
        let unborn = |series: &&mut Series| series.present == Present::Unborn;
        if self.targets.get_mut(target).filter(unborn).is_some() {
            self.next(now, target, broken);
        }
    }

    /// A provisional response came.
    pub fn handle_provisional(&mut self, turn: Turn, status: Status) {
        let Some(series) = self.present(turn) else { return };
        let hop = turn.hop;
        match series.present {
            Present::Silent { .. } if status == Status::TRYING => series.present = Present::Trying { hop },
            Present::Silent { .. } | Present::Trying { .. } if status != Status::TRYING => {
                series.present = Present::Ringing { hop };
                self.show(turn, Some(Sign::Well));
            }
            _ => {}
        }
    }

    /// A 2xx came. Tells whether it may be taken: then nothing else is tried any more.
    pub fn handle_success(&mut self, turn: Turn) -> bool {
        if self.present(turn).is_none() {
            return false;
        }
        self.show(turn, Some(Sign::Well));
        self.stop();
        true
    }

    /// An attempt failed with this status, or with what stands for its failure (RFC 3261 §8.1.3.1).
    pub fn handle_failure(&mut self, now: Instant, turn: Turn, status: Status, broken: impl Fn(Turn) -> bool) -> Fate {
        let Some(series) = self.present(turn) else {
            return Fate::Late;
        };
        let has_rung = matches!(series.present, Present::Ringing { .. });
        let goes_on = !has_rung && series.way.is_passed_by(status) && !series.left.is_empty();
        series.present = Present::Over;
        if !has_rung {
            self.show(turn, Sign::of(status));
        }
        if !goes_on {
            return Fate::Final;
        }
        self.next(now, turn.target, broken);
        Fate::Retried
    }

    /// Time has come to `now`. Calling early does no harm.
    pub fn handle_timeout(&mut self, now: Instant, broken: impl Fn(Turn) -> bool) {
        for target in 0..self.targets.len() {
            let series = &mut self.targets[target];
            let Present::Silent {
                hop,
                until: Some(until),
            } = series.present
            else {
                continue;
            };
            if until > now {
                continue;
            }
            // The last one may be slow as well: it keeps its chance until timer B.
            series.present = Present::Silent { hop, until: None };
            let is_last = series.left.is_empty();
            let turn = Turn { target, hop };
            self.show(turn, Some(Sign::Ill));
            if !is_last {
                self.outputs.push_back(Step::Abandon(turn));
                self.next(now, target, &broken);
            }
        }
    }

    /// Nothing is tried any more: the call is over, or was taken.
    pub fn stop(&mut self) {
        for series in &mut self.targets {
            series.present = Present::Over;
            series.left.clear();
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Step> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted: silence has lasted long enough.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadlines = self.targets.iter().filter_map(|series| match series.present {
            Present::Silent { until, .. } => until,
            _ => None,
        });
        deadlines.min()
    }

    /// The series whose present attempt this is.
    fn present(&mut self, turn: Turn) -> Option<&mut Series> {
        let series = self.targets.get_mut(turn.target)?;
        (series.present.hop() == Some(turn.hop)).then_some(series)
    }

    /// Tries the first hop that is left and not broken; if all are, the first one.
    fn next(&mut self, now: Instant, target: usize, broken: impl Fn(Turn) -> bool) {
        let Some(series) = self.targets.get_mut(target) else {
            return;
        };
        let sound = series.left.iter().position(|&hop| !broken(Turn { target, hop }));
        if series.left.is_empty() {
            return;
        }
        let hop = series.left.remove(sound.unwrap_or_default());
        let until = match series.way {
            Way::Trunk => Some(now + SILENCE),
            Way::Phone => None,
        };
        series.present = Present::Silent { hop, until };
        let turn = Turn { target, hop };
        self.show(turn, Some(Sign::Tried));
        self.outputs.push_back(Step::Invite(turn));
    }

    fn show(&mut self, turn: Turn, sign: Option<Sign>) {
        if let Some(sign) = sign
            && self.targets[turn.target].way == Way::Trunk
        {
            self.outputs.push_back(Step::Show(turn, sign));
        }
    }
}

impl Way {
    /// Whether a failure leaves room for another hop.
    fn is_passed_by(self, status: Status) -> bool {
        match (self, status.code()) {
            (_, 408 | 430 | 503) => true,
            (Self::Trunk, 580) => false,
            (Self::Trunk, code) => (500..600).contains(&code),
            (Self::Phone, _) => false,
        }
    }
}

/// How long a trunk may say nothing at all before the next way is tried: by then three or four copies of the INVITE were
/// sent (RFC 3261 §17.1.1.2).
pub const SILENCE: Duration = Duration::from_secs(4);

#[cfg(test)]
#[path = "attempts_tests.rs"]
mod tests;
