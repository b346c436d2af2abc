//! Where the servers of a domain are that somebody calls once, and nobody watches: it is looked up when it is wanted, and
//! remembered while its answers live.
//!
//! Users of ours decide which domains are looked up, so everything is bounded, and a domain whose search is under way is
//! not searched twice.
//!
//! # Use
//! Call one `handle_*` method or [`want`](Inquiries::want), drain [`poll_output`](Inquiries::poll_output), read
//! [`poll_timeout`](Inquiries::poll_timeout).

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::{Answer, Goal, Known, PATIENCE, Query, QueryId, Reach, SHORTEST, Server, Step, search};

/// What is to be done, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inquired {
    /// Ask DNS; the answer comes back through [`Inquiries::handle_answer`].
    Ask {
        /// Under which it comes back. Never one of a [`Locator`](super::Locator)'s.
        id: QueryId,
        /// What to ask.
        query: Query,
    },
    /// A search that was wanted is over, whatever it found.
    Done(Goal),
}

/// All domains that were wanted.
#[derive(Debug, Default)]
pub struct Inquiries {
    reach: Reach,
    searches: HashMap<Goal, Search>,
    found: HashMap<Goal, Found>,
    asked: HashMap<QueryId, (Goal, Query)>,
    next: u64,
    outputs: VecDeque<Inquired>,
}

#[derive(Debug)]
struct Search {
    known: Known,
    waiting: usize,
    until: Instant,
}

#[derive(Debug)]
struct Found {
    servers: Vec<Server>,
    until: Instant,
}

impl Inquiries {
    /// Nothing is wanted yet.
    #[must_use]
    pub fn new(reach: Reach) -> Self {
        Self {
            reach,
            ..Self::default()
        }
    }

    /// Somebody wants the servers of a domain. Tells whether there will be an [`Inquired::Done`] to wait for: not if they
    /// are known, and not if too much is looked up already.
    pub fn want(&mut self, now: Instant, goal: &Goal) -> bool {
        if self.found.get(goal).is_some_and(|found| now < found.until) {
            return false;
        }
        if self.searches.contains_key(goal) {
            return true;
        }
        if self.searches.len() >= MAX_SEARCHES {
            return false;
        }
        let search = Search {
            known: Known::default(),
            waiting: 0,
            until: now + PATIENCE,
        };
        self.searches.insert(goal.clone(), search);
        self.proceed(now, goal);
        true
    }

    /// The servers of a domain, as far as is known. They are told for a while longer than their answers live, so that a
    /// call can come to its end where it began.
    #[must_use]
    pub fn servers(&self, goal: &Goal) -> &[Server] {
        self.found.get(goal).map_or(&[], |found| &found.servers)
    }

    /// Every domain of which servers are known.
    pub fn known(&self) -> impl Iterator<Item = (&Goal, &[Server])> {
        self.found.iter().map(|(goal, found)| (goal, &found.servers[..]))
    }

    /// What DNS said; `None` when it said nothing, or nothing that can be used.
    pub fn handle_answer(&mut self, now: Instant, id: QueryId, answer: Option<Answer>) {
        let Some((goal, query)) = self.asked.remove(&id) else {
            return;
        };
        if let Some(search) = self.searches.get_mut(&goal) {
            search.waiting -= 1;
            search.known.insert(query, answer);
            if search.waiting == 0 {
                self.proceed(now, &goal);
            }
        }
    }

    /// Time has come to `now`. Calling early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = self.searches.iter().filter(|(_, search)| search.until <= now);
        let due: Vec<Goal> = due.map(|(goal, _)| goal.clone()).collect();
        for goal in due {
            self.end(now, goal, Vec::new(), SHORTEST);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.searches.values().map(|search| search.until).min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Inquired> {
        self.outputs.pop_front()
    }

    fn proceed(&mut self, now: Instant, goal: &Goal) {
        let Some(running) = self.searches.get_mut(goal) else {
            return;
        };
        match search(goal, &self.reach, &running.known) {
            Step::Ask(queries) => {
                running.waiting = queries.len();
                for query in queries {
                    self.next += 1;
                    let id = QueryId(OURS | self.next);
                    self.asked.insert(id, (goal.clone(), query.clone()));
                    self.outputs.push_back(Inquired::Ask { id, query });
                }
            }
            Step::Found { servers, ttl } => self.end(now, goal.clone(), servers, ttl.clamp(SHORTEST, LONGEST)),
        }
    }

    fn end(&mut self, now: Instant, goal: Goal, servers: Vec<Server>, ttl: Duration) {
        self.searches.remove(&goal);
        self.asked.retain(|_, (asked, _)| *asked != goal);
        if self.found.len() >= MAX_FOUND && !self.found.contains_key(&goal) {
            let oldest = self.found.iter().min_by_key(|(_, found)| found.until);
            if let Some(oldest) = oldest.map(|(goal, _)| goal.clone()) {
                self.found.remove(&oldest);
            }
        }
        let until = now + ttl;
        // What was found before is better than nothing.
        match self.found.get_mut(&goal) {
            Some(found) if servers.is_empty() => found.until = until,
            _ => drop(self.found.insert(goal.clone(), Found { servers, until })),
        }
        self.outputs.push_back(Inquired::Done(goal));
    }
}

/// Marks our questions, so that they are not taken for those of a [`Locator`](super::Locator).
const OURS: u64 = 1 << 63;
/// The most domains that are looked up at one time.
pub const MAX_SEARCHES: usize = 256;
/// The most domains of which something is remembered.
pub const MAX_FOUND: usize = 1024;
/// The longest that an answer is believed, whatever it says.
const LONGEST: Duration = Duration::from_secs(3600);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an arbitrary origin of simulated time")]
mod tests {
    use super::super::{Family, Kind, Records};
    use super::*;
    use crate::core::flow::Transport;

    fn goal(domain: &str) -> Goal {
        Goal {
            domain: domain.into(),
            port: Some(5060),
            transport: Some(Transport::Udp),
        }
    }

    fn inquiries() -> Inquiries {
        Inquiries::new(Reach([(Transport::Udp, Family::V4)].into_iter().collect()))
    }

    fn asked(inquiries: &mut Inquiries) -> QueryId {
        match inquiries.poll_output() {
            Some(Inquired::Ask { id, query }) => {
                assert_eq!(query.kind, Kind::A);
                id
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_domain_is_searched_once_and_remembered_while_its_answers_live() {
        let (mut inquiries, now, there) = (inquiries(), Instant::now(), goal("there.example"));
        assert!(inquiries.want(now, &there));
        assert!(inquiries.want(now, &there), "another one waits for the same search");
        let id = asked(&mut inquiries);
        assert_eq!(inquiries.poll_output(), None);
        let ttl = Duration::from_secs(60);
        let records = Records::Addresses(vec!["192.0.2.1".parse().unwrap()]);
        inquiries.handle_answer(now, id, Some(Answer { records, ttl }));
        assert_eq!(inquiries.poll_output(), Some(Inquired::Done(there.clone())));
        assert_eq!(inquiries.servers(&there).len(), 1);
        assert!(
            !inquiries.want(now + ttl - Duration::from_millis(1), &there),
            "it is known"
        );
        assert!(inquiries.want(now + ttl, &there), "no longer");
        assert_eq!(inquiries.servers(&there).len(), 1, "old ones are better than none");
        assert!(inquiries.known().count() == 1);
    }

    #[test]
    fn a_silent_name_server_ends_in_time_and_late_answers_change_nothing() {
        let (mut inquiries, now, there) = (inquiries(), Instant::now(), goal("there.example"));
        assert!(inquiries.want(now, &there));
        let id = asked(&mut inquiries);
        assert_eq!(inquiries.poll_timeout(), Some(now + PATIENCE));
        inquiries.handle_timeout(now + PATIENCE);
        assert_eq!(inquiries.poll_output(), Some(Inquired::Done(there.clone())));
        let records = Records::Addresses(vec!["192.0.2.1".parse().unwrap()]);
        let ttl = Duration::from_secs(60);
        inquiries.handle_answer(now + PATIENCE, id, Some(Answer { records, ttl }));
        assert!(inquiries.servers(&there).is_empty() && inquiries.poll_output().is_none());
        assert!(!inquiries.want(now + PATIENCE, &there), "it is not asked again at once");
        assert_eq!(inquiries.poll_timeout(), None);
    }

    #[test]
    fn users_cannot_fill_the_memory() {
        let (mut inquiries, mut now) = (inquiries(), Instant::now());
        for number in 0..2 * MAX_FOUND {
            if !inquiries.want(now, &goal(&format!("{number}.example"))) {
                assert_eq!(inquiries.searches.len(), MAX_SEARCHES);
                now += PATIENCE;
                inquiries.handle_timeout(now);
            }
        }
        inquiries.handle_timeout(now + PATIENCE);
        assert!(inquiries.found.len() <= MAX_FOUND && inquiries.asked.is_empty());
    }
}
