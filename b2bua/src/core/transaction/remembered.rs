//! Final answers to requests other than INVITE, kept for the copies of what they answer (timer J of RFC 3261 §17.2.2).
//!
//! A phone that registers leaves a trace here for half a minute: what one takes decides how much memory a busy registrar
//! needs.

use std::time::Instant;

use bytes::Bytes;

use super::key::{RequestKey, ServerKey};
use super::output::ServerId;
use super::row::{Named, Row};
use crate::core::flow::Flow;
use crate::core::ids::IdSet;

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

impl Named for Answered {
    type Name = ServerKey;

    fn name(&self) -> ServerKey {
        self.key
    }
}

/// All of them, oldest first.
///
/// # Invariant
/// The table names the contents of those in the row, and no others.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    row: Row<Answered>,
    contents: IdSet<RequestKey>,
}

impl Remembered {
    /// Keeps an answer until then, which is no earlier than for those before.
    pub(super) fn keep(&mut self, until: Instant, answered: Answered) {
        self.contents.extend(answered.content);
        self.row.keep(until, answered);
    }

    /// The answer to that request.
    pub(super) fn find(&self, key: &ServerKey) -> Option<&Answered> {
        self.row.find(key)
    }

    /// Whether a request of that content was answered.
    pub(super) fn knows(&self, content: &RequestKey) -> bool {
        self.contents.contains(content)
    }

    /// Forgets the first one if its time is over.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Answered> {
        self.next().filter(|until| *until <= now)?;
        self.pop_first()
    }

    /// Forgets the first one.
    pub(super) fn pop_first(&mut self) -> Option<Answered> {
        let answered = self.row.pop_first()?;
        if let Some(content) = &answered.content {
            self.contents.remove(content);
        }
        if let Some(room) = self.row.give_back() {
            self.contents.shrink_to(room);
        }
        Some(answered)
    }

    /// When the first one is forgotten.
    pub(super) fn next(&self) -> Option<Instant> {
        self.row.next()
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
        let contents: Vec<_> = self.row.iter().filter_map(|(_, answered)| answered.content).collect();
        self.row.is_sound()
            && self.contents.len() == contents.len()
            && contents.iter().all(|content| self.contents.contains(content))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "an arbitrary origin of simulated time")]

    use std::time::Duration;

    use super::super::key::Keys;
    use super::super::row::USUAL;
    use super::*;
    use crate::core::flow::{Identity, ListenerId, Transport};

    fn answered(number: u64) -> Answered {
        Answered {
            key: ServerKey::of(number),
            content: number.is_multiple_of(2).then(|| RequestKey::of(number)),
            owner: Some(ServerId(number)),
            flow: Flow {
                listener: ListenerId(0),
                transport: Transport::Udp,
                remote: ([192, 0, 2, 7], 5070).into(),
                identity: Identity::NONE,
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
                assert!(kept.row.places.capacity() < last && kept.contents.capacity() < last);
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
