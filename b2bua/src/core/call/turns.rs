//! Whose turn it is to ring: phones of one preference together, those of the next when these have all failed or have rung
//! for long enough (RFC 3261 §16.6 item 4).

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::core::routing::Plan;

/// The targets of a plan, by the time of their turns. Made without any.
#[derive(Debug, Default)]
pub struct Turns {
    /// How many there are of each preference, the highest first.
    groups: Vec<usize>,
    /// Those of the present group that nobody has tried.
    group: Range<usize>,
    /// When the next group takes over.
    over: Option<Instant>,
}

impl Turns {
    /// Those of a plan, whose targets come behind `before` others. It is nobody's turn before
    /// [`next_group`](Self::next_group).
    pub fn of(plan: &Plan, before: usize) -> Self {
        let groups = plan.targets.chunk_by(|one, other| one.q == other.q).map(<[_]>::len);
        Self {
            groups: groups.collect(),
            group: before..before,
            over: None,
        }
    }

    /// The turn goes to the next group, which has it for so long unless it is the last. False if there is none.
    pub fn next_group(&mut self, now: Instant, each: Duration) -> bool {
        if self.groups.is_empty() {
            self.stop();
            return false;
        }
        let size = self.groups.remove(0);
        self.group = self.group.end..self.group.end + size;
        self.over = (!self.groups.is_empty()).then(|| now + each);
        true
    }

    /// The next target of the present group.
    pub fn next_target(&mut self) -> Option<usize> {
        self.group.next()
    }

    /// Nobody has a turn any more.
    pub fn stop(&mut self) {
        *self = Self::default();
    }

    /// Whether the present group has had its time at `now`.
    pub fn is_over(&self, now: Instant) -> bool {
        self.over.is_some_and(|over| over <= now)
    }

    /// When that is to be asked.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.over
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "an arbitrary origin of simulated time")]

    use super::*;

    #[test]
    fn groups_have_their_turns_one_after_the_other() {
        let (start, each) = (Instant::now(), Duration::from_secs(20));
        let mut turns = Turns {
            groups: vec![2, 1],
            ..Turns::default()
        };
        assert_eq!(
            (turns.next_target(), turns.poll_timeout()),
            (None, None),
            "it is nobody's turn"
        );
        assert!(turns.next_group(start, each));
        assert_eq!(turns.poll_timeout(), Some(start + each));
        assert!(!turns.is_over(start) && turns.is_over(start + each));
        assert_eq!(
            [turns.next_target(), turns.next_target(), turns.next_target()],
            [Some(0), Some(1), None]
        );
        assert!(turns.next_group(start, each));
        assert_eq!(turns.poll_timeout(), None, "the last one may ring on");
        assert_eq!([turns.next_target(), turns.next_target()], [Some(2), None]);
        assert!(!turns.next_group(start, each));
        assert_eq!(turns.next_target(), None);
    }
}
