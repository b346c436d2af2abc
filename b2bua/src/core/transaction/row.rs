//! What is remembered of transactions that are as good as over, for copies of what they were about.
//!
//! All of a kind stay equally long, so they stand in a row, and the first one is the first to go.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

use crate::core::ids::IdMap;

/// What is found by a name of its own.
pub(super) trait Named {
    /// What it is found by.
    type Name: Copy + Debug + Eq + Hash;

    /// Its name.
    fn name(&self) -> Self::Name;
}

/// All of one kind, oldest first.
///
/// # Invariant
/// The table names those in the row, and no others.
#[derive(Debug)]
pub(super) struct Row<T: Named> {
    row: VecDeque<(Instant, T)>,
    /// How many have left the row.
    gone: u64,
    /// The place of each, counted from the first that ever was.
    pub(super) places: IdMap<T::Name, u64>,
}

impl<T: Named> Row<T> {
    /// Keeps one until then, which is no earlier than for those before.
    pub(super) fn keep(&mut self, until: Instant, one: T) {
        debug_assert!(self.row.back().is_none_or(|(before, _)| *before <= until));
        self.places.insert(one.name(), self.gone + self.row.len() as u64);
        self.row.push_back((until, one));
    }

    /// The one of that name.
    pub(super) fn find(&self, name: &T::Name) -> Option<&T> {
        let place = self.places.get(name)? - self.gone;
        self.row.get(usize::try_from(place).ok()?).map(|(_, one)| one)
    }

    /// Forgets the first one if its time is over.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<T> {
        self.next().filter(|until| *until <= now)?;
        self.pop_first()
    }

    /// Forgets the first one.
    pub(super) fn pop_first(&mut self) -> Option<T> {
        let (_, one) = self.row.pop_front()?;
        self.gone += 1;
        self.places.remove(&one.name());
        Some(one)
    }

    /// Gives back the memory of a crowd that is gone; tells how much room is left then.
    pub(super) fn give_back(&mut self) -> Option<usize> {
        if self.row.capacity() <= USUAL || self.row.len() >= self.row.capacity() / 8 {
            return None;
        }
        let room = self.row.capacity() / 4;
        self.row.shrink_to(room);
        self.places.shrink_to(room);
        Some(room)
    }

    /// When the first one is forgotten.
    pub(super) fn next(&self) -> Option<Instant> {
        self.row.front().map(|(until, _)| *until)
    }

    /// All of them, with the time of their end.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(Instant, T)> {
        self.row.iter()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.row.len()
    }

    /// For how many there is room.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.row.capacity()
    }

    /// Whether the table names what is there; for tests.
    pub(super) fn is_sound(&self) -> bool {
        let mut places = self.row.iter().zip(self.gone..);
        self.places.len() == self.row.len()
            && places.all(|((_, one), place)| self.places.get(&one.name()) == Some(&place))
    }
}

impl<T: Named> Default for Row<T> {
    fn default() -> Self {
        Self {
            row: VecDeque::new(),
            gone: 0,
            places: IdMap::default(),
        }
    }
}

/// Room for so many is kept for the next crowd.
pub(super) const USUAL: usize = 4096;
