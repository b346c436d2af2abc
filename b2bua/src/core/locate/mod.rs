//! Where the servers of other domains are (RFC 3263), kept up to date without anybody waiting for it.
//!
//! A domain that is watched is looked up at once and again when its answers have lived their time. Whoever wants to
//! send asks [`servers`](Locator::servers), which never waits: while DNS is slow or silent, what was found before
//! stands.
//!
//! # Use
//! Call one `handle_*` method, drain [`poll_output`](Locator::poll_output), read [`poll_timeout`](Locator::poll_timeout).

mod inquiries;
mod search;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

pub use inquiries::{Inquired, Inquiries};
pub use search::{
    Answer, Candidate, Family, Goal, Kind, Known, MAX_CANDIDATES, MAX_QUERIES, Naptr, Query, Reach, Records, Server,
    Srv, Step, default_port, draw, search,
};

/// What is to be done, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask DNS; the answer comes back through [`Locator::handle_answer`].
    Ask {
        /// Under which it comes back.
        id: QueryId,
        /// What to ask.
        query: Query,
    },
    /// The servers of a domain are others than before.
    Located(GoalId),
    /// No server of a domain could be found; those from before stand, and it is tried again.
    Failed(GoalId),
}

/// Names a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueryId(pub u64);

/// Names a watched domain, in the order of watching.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GoalId(pub usize);

/// All watched domains.
#[derive(Debug, Default)]
pub struct Locator {
    reach: Reach,
    places: Vec<Place>,
    asked: HashMap<QueryId, (GoalId, Query)>,
    next: u64,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Place {
    goal: Goal,
    servers: Vec<Server>,
    search: Option<Search>,
    /// When the next search begins, or the present one is over.
    due: Instant,
    /// Searches that found nothing, one after the other.
    failures: u32,
}

#[derive(Debug, Default)]
struct Search {
    known: Known,
    waiting: usize,
}

impl Locator {
    /// A locator that watches nothing.
    #[must_use]
    pub fn new(reach: Reach) -> Self {
        Self {
            reach,
            ..Self::default()
        }
    }

    /// Begins to watch a domain.
    pub fn watch(&mut self, now: Instant, goal: Goal) -> GoalId {
        let id = GoalId(self.places.len());
        self.places.push(Place {
            goal,
            servers: Vec::new(),
            search: None,
            due: now,
            failures: 0,
        });
        self.begin(now, id);
        id
    }

    /// The servers of a domain, as far as is known; [`draw`] puts them in the order to try.
    #[must_use]
    pub fn servers(&self, id: GoalId) -> &[Server] {
        self.places.get(id.0).map_or(&[], |place| &place.servers)
    }

    /// What DNS said; `None` when it said nothing, or nothing that can be used.
    pub fn handle_answer(&mut self, now: Instant, id: QueryId, answer: Option<Answer>) {
        let Some((goal, query)) = self.asked.remove(&id) else {
            return;
        };
        if let Some(search) = self.places[goal.0].search.as_mut() {
            search.waiting -= 1;
            search.known.insert(query, answer);
            if search.waiting == 0 {
                self.proceed(now, goal);
            }
        }
    }

    /// Time has come to `now`. Calling early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        for id in (0..self.places.len()).map(GoalId) {
            let place = &mut self.places[id.0];
            if place.due > now {
                continue;
            }
            if place.search.is_none() {
                self.begin(now, id);
            } else {
                self.give_up(now, id);
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.places.iter().map(|place| place.due).min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn begin(&mut self, now: Instant, id: GoalId) {
        let place = &mut self.places[id.0];
        place.search = Some(Search::default());
        place.due = now + PATIENCE;
        self.proceed(now, id);
    }

    fn proceed(&mut self, now: Instant, id: GoalId) {
        let place = &mut self.places[id.0];
        let Some(running) = place.search.as_mut() else { return };
        match search(&place.goal, &self.reach, &running.known) {
            Step::Ask(queries) => {
                running.waiting = queries.len();
                for query in queries {
                    self.next += 1;
                    let asked = QueryId(self.next);
                    self.asked.insert(asked, (id, query.clone()));
                    self.outputs.push_back(Output::Ask { id: asked, query });
                }
            }
            Step::Found { servers, ttl } if !servers.is_empty() => {
                place.search = None;
                place.failures = 0;
                place.due = now + ttl.max(SHORTEST);
                if place.servers != servers {
                    place.servers = servers;
                    self.outputs.push_back(Output::Located(id));
                }
            }
            Step::Found { .. } => self.give_up(now, id),
        }
    }

    fn give_up(&mut self, now: Instant, id: GoalId) {
        self.asked.retain(|_, (goal, _)| *goal != id);
        let place = &mut self.places[id.0];
        place.search = None;
        place.due = now + SHORTEST * 2u32.pow(place.failures.min(MAX_DOUBLINGS));
        place.failures = place.failures.saturating_add(1);
        self.outputs.push_back(Output::Failed(id));
    }
}

/// How long one search may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The shortest time between two searches for one domain, whatever its records say.
pub const SHORTEST: Duration = Duration::from_secs(5);
/// How often that doubles while nothing is found.
const MAX_DOUBLINGS: u32 = 4;

#[cfg(test)]
mod tests;
