//! IQs that we sent and that are not answered yet.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What waits for answers: at most [`MAX_PENDING`], each for [`DEADLINE`].
///
/// Identifiers are not guessable: their first part is drawn for each connection.
#[derive(Debug)]
pub struct Pending<T> {
    secret: String,
    next: u64,
    waiting: HashMap<String, (Instant, T)>,
}

impl<T> Pending<T> {
    /// Nothing waits; identifiers begin with `secret`.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self {
            secret,
            next: 0,
            waiting: HashMap::new(),
        }
    }

    /// Notes a request and gives the identifier to send it with; `None` when too many wait already.
    pub fn open(&mut self, now: Instant, about: T) -> Option<String> {
        if self.waiting.len() >= MAX_PENDING {
            return None;
        }
        self.next += 1;
        let id = format!("{}-{}", self.secret, self.next);
        self.waiting.insert(id.clone(), (now + DEADLINE, about));
        Some(id)
    }

    /// What the answer with this identifier is about, if we wait for it.
    pub fn close(&mut self, id: &str) -> Option<T> {
        self.waiting.remove(id).map(|(_, about)| about)
    }

    /// Forgets and returns one request whose time is over.
    pub fn expire(&mut self, now: Instant) -> Option<T> {
        let id = self
            .waiting
            .iter()
            .find(|(_, (at, _))| *at <= now)
            .map(|(id, _)| id.clone())?;
        self.close(&id)
    }

    /// Forgets and returns any one request: no answer can come any more.
    pub fn expire_any(&mut self) -> Option<T> {
        let id = self.waiting.keys().next()?.clone();
        self.close(&id)
    }

    /// When the next request's time is over.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|(at, _)| *at).min()
    }

    /// How many requests wait for which `about` holds.
    pub fn count(&self, about: impl Fn(&T) -> bool) -> usize {
        self.waiting.values().filter(|(_, waiting)| about(waiting)).count()
    }
}

/// Most requests that wait for an answer.
pub const MAX_PENDING: usize = 256;
/// How long a request waits for its answer.
pub const DEADLINE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::start;

    #[test]
    fn requests_are_answered_once_expire_and_have_a_bound() {
        let now = start();
        let mut pending = Pending::new("x".into());
        let ids: Vec<_> = (0..MAX_PENDING).map(|n| pending.open(now, n).unwrap()).collect();
        assert_eq!(pending.open(now, 0), None, "the bound");
        assert_eq!(pending.close(&ids[3]), Some(3));
        assert_eq!(pending.close(&ids[3]), None, "an answer counts once");
        assert_eq!(pending.expire(now), None);
        assert_eq!(pending.deadline(), Some(now + DEADLINE));
        let mut expired = 0;
        while pending.expire(now + DEADLINE).is_some() {
            expired += 1;
        }
        assert_eq!((expired, pending.deadline()), (MAX_PENDING - 1, None));
    }
}
