//! The earliest deadline over many machines.
//!
//! Most deadlines are moved or cleared before they come. What was queued for one then stays where it is, and is put right
//! or dropped when its turn comes: to set a deadline costs a look into a table, and to be told of the earliest one nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::Hash;
use std::time::Instant;

use crate::core::ids::IdMap;

/// At most one deadline for each key. Keys are ours, not of strangers' choice.
///
/// # Invariants
/// - For each key there is something queued at its deadline or before.
/// - What is queued first is the deadline of its key.
/// - What is queued without need is never more than there are deadlines, but for a few.
#[derive(Clone, Debug)]
pub struct Deadlines<K> {
    by_key: IdMap<K, Deadline>,
    by_time: BinaryHeap<Reverse<(Instant, K)>>,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    /// Where it is queued: at its time or before.
    queued: Instant,
}

impl<K: Clone + Eq + Hash + Ord> Deadlines<K> {
    /// Sets the deadline of `key`, or clears it with `None`.
    pub fn set(&mut self, key: K, at: Option<Instant>) {
        let Some(at) = at else {
            if self.by_key.remove(&key).is_some() {
                self.tidy();
            }
            return;
        };
        match self.by_key.get_mut(&key) {
            Some(known) if known.queued <= at => known.at = at,
            known => {
                let deadline = Deadline { at, queued: at };
                match known {
                    Some(known) => *known = deadline,
                    None => {
                        self.by_key.insert(key.clone(), deadline);
                    }
                }
                self.by_time.push(Reverse((at, key)));
            }
        }
        self.tidy();
    }

    /// The deadline of `key`.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<Instant> {
        self.by_key.get(key).map(|known| known.at)
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.by_time.peek().map(|Reverse((at, _))| *at)
    }

    /// Clears and returns the key whose deadline is the earliest of those that have come by `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let Reverse((_, key)) = self.by_time.pop()?;
        self.by_key.remove(&key);
        self.tidy();
        Some(key)
    }

    /// Every key and its deadline, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, Instant)> {
        self.by_key.iter().map(|(key, known)| (key, known.at))
    }

    /// How many keys have a deadline.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no key has a deadline.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Puts right what is queued first, until that is a deadline.
    fn tidy(&mut self) {
        while let Some(mut first) = self.by_time.peek_mut() {
            let Reverse((at, key)) = &mut *first;
            match self.by_key.get_mut(key) {
                Some(known) if known.at == *at => break,
                Some(known) if known.queued == *at => {
                    known.queued = known.at;
                    *at = known.at;
                }
                _ => {
                    std::collections::binary_heap::PeekMut::pop(first);
                }
            }
        }
        if self.by_time.len() > 2 * self.by_key.len() + SPARE {
            let all = self.by_key.iter_mut().map(|(key, known)| {
                known.queued = known.at;
                Reverse((known.at, key.clone()))
            });
            self.by_time = all.collect();
        }
    }
}

impl<K: Ord> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            by_key: IdMap::default(),
            by_time: BinaryHeap::new(),
        }
    }
}

/// So many may be queued without need however few deadlines there are.
const SPARE: usize = 64;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an arbitrary origin of simulated time")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn deadlines_come_in_order_and_once() {
        let epoch = Instant::now();
        let at = |ms| epoch + Duration::from_millis(ms);
        let mut deadlines = Deadlines::default();
        for (key, ms) in [(1, 30), (2, 10), (3, 20), (4, 10)] {
            deadlines.set(key, Some(at(ms)));
        }
        deadlines.set(1, Some(at(5)));
        deadlines.set(3, None);
        assert_eq!((deadlines.next(), deadlines.len()), (Some(at(5)), 3));
        assert_eq!(deadlines.pop_due(at(4)), None);
        let due: Vec<_> = std::iter::from_fn(|| deadlines.pop_due(at(10))).collect();
        assert_eq!(due, [1, 2, 4]);
        assert!(deadlines.is_empty() && deadlines.by_time.is_empty() && deadlines.next().is_none());
    }
    /// Whatever is set, moved and cleared: what comes is what a plain list of deadlines says, and little is queued besides.
    #[test]
    fn deadlines_are_those_that_were_set_last() {
        let epoch = Instant::now();
        let (mut deadlines, mut plain) = (Deadlines::default(), std::collections::BTreeMap::new());
        let (mut state, mut now) = (1_u64, 0);
        for _ in 0..200_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let (key, value) = (state >> 60, state >> 33 & 0x3ff);
            match state >> 56 & 0xf {
                0 | 1 => {
                    deadlines.set(key, None);
                    plain.remove(&key);
                }
                2 => {
                    now += value / 16;
                    let now = epoch + Duration::from_millis(now);
                    while let Some(due) = deadlines.pop_due(now) {
                        let first = plain.iter().map(|(key, at)| (*at, *key)).min();
                        assert_eq!(first.map(|(_, key)| key), Some(due));
                        plain.remove(&due);
                    }
                    assert!(plain.values().all(|at| *at > now));
                }
                _ => {
                    let at = epoch + Duration::from_millis(now + value);
                    deadlines.set(key, Some(at));
                    plain.insert(key, at);
                }
            }
            assert_eq!(deadlines.next(), plain.values().min().copied());
            assert_eq!(deadlines.get(&key), plain.get(&key).copied());
            assert_eq!(deadlines.len(), plain.len());
            assert!(deadlines.by_time.len() <= 2 * plain.len() + SPARE);
        }
    }
}
