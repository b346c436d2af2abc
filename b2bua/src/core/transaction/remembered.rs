//! Final answers to requests other than INVITE, kept for the copies of what they answer (timer J of RFC 3261 §17.2.2).
//!
//! All of them stay equally long, so they stand in a row, and the first one is the first to go. A phone that registers
//! leaves two traces here for half a minute: what one takes decides how much memory a busy registrar needs.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::key::{RequestKey, ServerKey};
use super::output::ServerId;
use crate::core::flow::Flow;
use crate::core::ids::{IdMap, IdSet};

/// One answer.
#[derive(Debug)]
pub(super) struct Answered {
    /// What was answered.
    pub key: ServerKey,
    /// The same by its content, if copies by other ways are to be told.
    pub content: Option<RequestKey>,
    /// Who is to be told that it is forgotten.
    pub owner: Option<ServerId>,
    /// How the request came.
    pub flow: Flow,
    /// The answer.
    pub bytes: Bytes,
}

/// All of them, oldest first.
///
/// # Invariant
/// Both tables name the answers of the row, and no others.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    row: VecDeque<(Instant, Answered)>,
    /// How many have left the row.
    gone: u64,
    /// The place of each, counted from the first that ever was.
    places: IdMap<ServerKey, u64>,
    contents: IdSet<RequestKey>,
}

impl Remembered {
    /// Keeps an answer until then, which is no earlier than for those before.
    pub(super) fn keep(&mut self, until: Instant, answered: Answered) {
        debug_assert!(self.row.back().is_none_or(|(before, _)| *before <= until));
        self.places.insert(answered.key, self.gone + self.row.len() as u64);
        self.contents.extend(answered.content);
        self.row.push_back((until, answered));
    }

    /// The answer to that request.
    pub(super) fn find(&self, key: &ServerKey) -> Option<&Answered> {
        let place = self.places.get(key)? - self.gone;
        self.row.get(usize::try_from(place).ok()?).map(|(_, answered)| answered)
    }

    /// Whether a request of that content was answered.
    pub(super) fn knows(&self, content: &RequestKey) -> bool {
        self.contents.contains(content)
    }

    /// Forgets the first one whose time is over.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Answered> {
        let (_, answered) = self.row.pop_front_if(|(until, _)| *until <= now)?;
        self.gone += 1;
        self.places.remove(&answered.key);
        if let Some(content) = &answered.content {
            self.contents.remove(content);
        }
        self.give_back();
        Some(answered)
    }

    /// Gives back the memory of a crowd that is gone.
    fn give_back(&mut self) {
        if self.row.capacity() > USUAL && self.row.len() < self.row.capacity() / 8 {
            let room = self.row.capacity() / 4;
            self.row.shrink_to(room);
            self.places.shrink_to(room);
            self.contents.shrink_to(room);
        }
    }

    /// When the first one is forgotten.
    pub(super) fn next(&self) -> Option<Instant> {
        self.row.front().map(|(until, _)| *until)
    }

    #[cfg(test)]
    pub(super) fn until(&self, id: ServerId) -> Option<Instant> {
        let found = self.row.iter().find(|(_, answered)| answered.owner == Some(id));
        found.map(|(until, _)| *until)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.row.len()
    }

    /// Whether the tables name what is there; for tests.
    pub(super) fn is_sound(&self) -> bool {
        let contents = self.row.iter().filter(|(_, answered)| answered.content.is_some());
        self.places.len() == self.row.len()
            && self.contents.len() == contents.count()
            && self.row.iter().zip(self.gone..).all(|((_, answered), place)| {
                self.places.get(&answered.key) == Some(&place)
                    && answered.content.is_none_or(|content| self.contents.contains(&content))
            })
    }
}

/// Room for so many is kept for the next crowd.
const USUAL: usize = 4096;

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "an arbitrary origin of simulated time")]

    use std::time::Duration;

    use super::super::key::Keys;
    use super::*;
    use crate::core::flow::{ListenerId, Transport};

    fn answered(number: u64) -> Answered {
        Answered {
            key: ServerKey::of(number),
            content: number.is_multiple_of(2).then(|| RequestKey::of(number)),
            owner: Some(ServerId(number)),
            flow: Flow {
                listener: ListenerId(0),
                transport: Transport::Udp,
                remote: ([192, 0, 2, 7], 5070).into(),
            },
            bytes: Bytes::from(number.to_string()),
        }
    }

    /// Each is found, also when others before it are gone, until its own time is over.
    #[test]
    fn what_is_kept_is_found_until_it_goes() {
        let start = Instant::now();
        let at = |number: u64| start + Duration::from_millis(number);
        let mut kept = Remembered::default();
        for number in 0..6 {
            kept.keep(at(number), answered(number));
        }
        for gone in 0..6 {
            assert_eq!(kept.len(), 6 - gone as usize);
            assert_eq!(kept.next(), Some(at(gone)));
            for number in 0..7 {
                let found = kept.find(&ServerKey::of(number)).map(|answered| answered.bytes.clone());
                let there = (gone..6).contains(&number);
                assert_eq!(
                    found,
                    there.then(|| Bytes::from(number.to_string())),
                    "{number} after {gone}"
                );
                assert_eq!(
                    kept.knows(&RequestKey::of(number)),
                    there && number % 2 == 0,
                    "{number} after {gone}"
                );
            }
            assert!(kept.is_sound());
            if let Some(before) = at(gone).checked_sub(Duration::from_nanos(1)) {
                assert!(kept.pop_due(before).is_none(), "{gone} is not due");
            }
            assert_eq!(
                kept.pop_due(at(gone)).map(|answered| answered.owner),
                Some(Some(ServerId(gone)))
            );
        }
        assert!(kept.pop_due(at(99)).is_none() && kept.next().is_none());
    }

    /// The memory of a crowd goes when it has shrunk to an eighth, and that of a usual number stays.
    #[test]
    fn the_memory_of_a_crowd_is_given_back() {
        let start = Instant::now();
        let mut kept = Remembered::default();
        let crowd = 64 * USUAL as u64;
        for number in 0..crowd {
            kept.keep(start, answered(number));
        }
        let full = kept.row.capacity();
        assert!(full >= 64 * USUAL);
        let mut rooms = vec![full];
        while kept.pop_due(start).is_some() {
            let room = kept.row.capacity();
            let last = rooms[rooms.len() - 1];
            if room != last {
                assert!(kept.len() + 1 >= last / 8, "{} of {last} are left", kept.len());
                assert!(kept.len() < last / 8, "{} of {last} are left", kept.len());
                assert_eq!(room, last / 4);
                assert!(kept.places.capacity() < last && kept.contents.capacity() < last);
                rooms.push(room);
            }
        }
        assert_eq!(rooms.len(), 4, "{rooms:?}");
        assert!((USUAL / 4..=USUAL).contains(&kept.row.capacity()));
        // Nothing shrinks below that: a row that fills and empties does not move each time.
        let room = kept.row.capacity();
        for number in 0..10 {
            kept.keep(start, answered(number));
        }
        while kept.pop_due(start).is_some() {}
        assert_eq!(kept.row.capacity(), room);
    }

    /// What names requests shows nothing of its key.
    #[test]
    fn keys_print_without_their_secret() {
        assert_eq!(format!("{:?}", Keys::new(&[7; 16])), "Keys");
    }
}
