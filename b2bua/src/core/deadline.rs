//! The earliest deadline over many machines.
//!
//! Every operation costs the logarithm of the number of deadlines, so one late phone among thousands costs as little
//! as one among ten.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::time::Instant;

use crate::core::ids::IdMap;

/// At most one deadline for each key. Keys are ours, not of strangers' choice.
///
/// # Invariant
/// Both fields hold the same pairs, so a key that was cleared leaves nothing behind.
#[derive(Clone, Debug)]
pub struct Deadlines<K> {
    by_key: IdMap<K, Instant>,
    by_time: BTreeSet<(Instant, K)>,
}

impl<K: Clone + Eq + Hash + Ord> Deadlines<K> {
    /// Sets the deadline of `key`, or clears it with `None`.
    pub fn set(&mut self, key: K, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.by_key.insert(key.clone(), at),
            None => self.by_key.remove(&key),
        };
        if before == at {
            return;
        }
        let key = match before {
            Some(before) => {
                let pair = (before, key);
                self.by_time.remove(&pair);
                pair.1
            }
            None => key,
        };
        if let Some(at) = at {
            self.by_time.insert((at, key));
        }
    }

    /// The deadline of `key`.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<Instant> {
        self.by_key.get(key).copied()
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Clears and returns the key whose deadline is the earliest of those that have come by `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, _) = self.by_time.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// Every key and its deadline, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, Instant)> {
        self.by_key.iter().map(|(key, at)| (key, *at))
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
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            by_key: IdMap::default(),
            by_time: BTreeSet::new(),
        }
    }
}

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
}
