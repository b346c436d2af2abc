//! Circuit breakers for the servers of carriers: one that has failed several times in a row is passed over for a while,
//! so that a dead carrier does not cost every call the time that its silence takes.
//!
//! ```text
//!          several failures              time                     sign of life
//! (sound) ─────────────────► Open ──────────────► one call tries ─────────────► (sound)
//!                              ▲                        │ failure
//!                              └────────────────────────┘
//! ```
//!
//! # What stays true
//! - A breaker only puts a server behind the others of a call. Where all are broken they are tried all the same: a try
//!   is better than a refusal.
//! - What a single number or callee can bring about breaks nothing (see [`Sign::of`]): otherwise whoever calls an odd
//!   number a few times could send everybody's calls another way.
//!
//! # What it leaves out
//! Retry-After of a 503 (RFC 3261 §21.5.4): one server may be full for one call and not for the next.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use cusax_common::core::sip::Status;

use crate::core::flow::Flow;

/// What an attempt by a server of a carrier tells about that server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// An INVITE is on its way there.
    Tried,
    /// It is there and works.
    Well,
    /// It is not there, or says that it cannot work.
    Ill,
}

impl Sign {
    /// What a final response tells; nothing, where the fault may be that of the one call.
    #[must_use]
    pub fn of(status: Status) -> Option<Self> {
        match status.code() {
            // 430 stands for a way that could not be used, 503 speaks of the server itself (RFC 3261 §21.5.4).
            430 | 503 => Some(Self::Ill),
            // A timeout behind it, a gateway's trouble with one network, a request that it did not like.
            408 | 500..=599 => None,
            _ => Some(Self::Well),
        }
    }
}

/// How a server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing speaks against it.
    Sound,
    /// It was broken, and one call may find out how it is now.
    Due,
    /// It is passed over.
    Broken,
}

/// What became of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is passed over from now on.
    Opened,
    /// It is used again.
    Closed,
}

/// The breakers of all servers of all carriers. Those of sound servers take no room.
#[derive(Debug, Default)]
pub struct Breakers {
    servers: HashMap<(String, Flow), Breaker>,
}

#[derive(Debug)]
enum Breaker {
    /// It failed a few times, at these times, and nothing else was heard since. Fewer than [`FAILURES`].
    Failing(Vec<Instant>),
    /// It is passed over until then.
    Open { until: Instant },
    /// One call is trying it. Whatever has not been told by then is not waited for.
    Trying { until: Instant },
}

impl Breakers {
    /// How a server stands.
    #[must_use]
    pub fn standing(&self, now: Instant, trunk: &str, flow: Flow) -> Standing {
        match self.servers.get(&(trunk.to_owned(), flow)) {
            None | Some(Breaker::Failing(_)) => Standing::Sound,
            Some(Breaker::Open { until } | Breaker::Trying { until }) if now < *until => Standing::Broken,
            Some(Breaker::Open { .. } | Breaker::Trying { .. }) => Standing::Due,
        }
    }

    /// Whether anything is remembered of a server.
    #[must_use]
    pub fn has(&self, trunk: &str, flow: Flow) -> bool {
        !self.servers.is_empty() && self.servers.contains_key(&(trunk.to_owned(), flow))
    }

    /// How many servers of a trunk have broken and have not shown since that they work.
    #[must_use]
    pub fn broken(&self, trunk: &str) -> usize {
        let broken = self
            .servers
            .iter()
            .filter(|((name, _), breaker)| name == trunk && !matches!(breaker, Breaker::Failing(_)));
        broken.count()
    }

    /// A call tells something about a server.
    pub fn handle_sign(&mut self, now: Instant, trunk: &str, flow: Flow, sign: Sign) -> Option<Change> {
        self.forget_stale(now);
        let key = (trunk.to_owned(), flow);
        let breaker = self.servers.get_mut(&key);
        match (sign, breaker) {
            (Sign::Tried, Some(breaker @ (Breaker::Open { .. } | Breaker::Trying { .. }))) => {
                // Where all are broken they are tried before their time, and that tells as much.
                *breaker = Breaker::Trying { until: now + TRIAL };
                None
            }
            (Sign::Tried, _) | (Sign::Well, None) => None,
            (Sign::Well, Some(breaker)) => {
                let was_broken = !matches!(breaker, Breaker::Failing(_));
                self.servers.remove(&key);
                was_broken.then_some(Change::Closed)
            }
            (Sign::Ill, Some(breaker @ (Breaker::Open { .. } | Breaker::Trying { .. }))) => {
                *breaker = Breaker::Open { until: now + REST };
                None
            }
            (Sign::Ill, Some(Breaker::Failing(times))) => {
                times.retain(|time| now.saturating_duration_since(*time) < WINDOW);
                times.push(now);
                if times.len() < FAILURES {
                    return None;
                }
                self.servers.insert(key, Breaker::Open { until: now + REST });
                Some(Change::Opened)
            }
            (Sign::Ill, None) => {
                if self.servers.len() < MAX_SERVERS {
                    self.servers.insert(key, Breaker::Failing(vec![now]));
                }
                None
            }
        }
    }

    /// A server that is not tried any more, as DNS no longer names it, is forgotten some time.
    fn forget_stale(&mut self, now: Instant) {
        self.servers.retain(|_, breaker| {
            let last = match breaker {
                Breaker::Failing(times) => times.last().copied().unwrap_or(now),
                Breaker::Open { until } | Breaker::Trying { until } => *until,
            };
            now.saturating_duration_since(last) < MEMORY
        });
    }
}

/// So many failures without a sign of life in between, within [`WINDOW`], break a server.
pub const FAILURES: usize = 5;
/// Failures that are longer ago do not count.
pub const WINDOW: Duration = Duration::from_secs(30);
/// How long a server is passed over before one call tries it again.
pub const REST: Duration = Duration::from_secs(30);
/// How long that call may take to tell how it went; then another one may try. Longer than
/// [`SILENCE`](crate::core::routing::SILENCE).
pub const TRIAL: Duration = Duration::from_secs(8);
/// How long something is remembered of a server that nobody tries.
const MEMORY: Duration = Duration::from_secs(600);
/// The most servers of which something is remembered.
const MAX_SERVERS: usize = 1024;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an arbitrary origin of simulated time")]
mod tests {
    use super::*;
    use crate::core::flow::{Identity, ListenerId, Transport};

    /// One thing that happens to a server, and what is expected.
    enum Event {
        Say(Sign, Option<Change>),
        Stands(Standing),
    }

    #[test]
    fn several_failures_in_a_row_break_a_server_and_one_call_finds_out_when_it_is_well() {
        use Event::{Say, Stands};
        use Sign::{Ill, Tried, Well};
        use Standing::{Broken, Due, Sound};
        let ill = |ms| (ms, Say(Ill, None));
        let (opened, closed) = (Some(Change::Opened), Some(Change::Closed));
        let broken = || {
            vec![
                ill(0),
                ill(1),
                ill(2),
                ill(3),
                (4, Say(Ill, opened)),
                (4, Stands(Broken)),
            ]
        };
        let after = |more: Vec<(u64, Event)>| broken().into_iter().chain(more).collect::<Vec<_>>();
        let rows: Vec<(&str, Vec<(u64, Event)>)> = vec![
            (
                "nothing is known",
                vec![(0, Stands(Sound)), (0, Say(Well, None)), (0, Say(Tried, None))],
            ),
            (
                "four failures do not break it",
                vec![ill(0), ill(1), ill(2), ill(3), (4, Stands(Sound))],
            ),
            ("the fifth one does", broken()),
            (
                "a sign of life in between begins the count again",
                vec![
                    ill(0),
                    ill(1),
                    ill(2),
                    ill(3),
                    (4, Say(Well, None)),
                    ill(5),
                    (6, Stands(Sound)),
                ],
            ),
            (
                "failures that are far apart do not count together",
                vec![
                    ill(0),
                    ill(8_000),
                    ill(16_000),
                    ill(24_000),
                    ill(30_000),
                    (30_000, Stands(Sound)),
                ],
            ),
            (
                "after its rest it is due",
                after(vec![(30_003, Stands(Broken)), (30_004, Stands(Due))]),
            ),
            (
                "one call tries it, and no second one",
                after(vec![
                    (30_004, Say(Tried, None)),
                    (30_004, Stands(Broken)),
                    (38_003, Stands(Broken)),
                ]),
            ),
            (
                "the one call may end without having told anything",
                after(vec![(30_004, Say(Tried, None)), (38_004, Stands(Due))]),
            ),
            (
                "it is well again",
                after(vec![
                    (30_004, Say(Tried, None)),
                    (30_005, Say(Well, closed)),
                    (30_005, Stands(Sound)),
                    ill(30_006),
                    (30_006, Stands(Sound)),
                ]),
            ),
            (
                "it is not, and rests again; that is told once",
                after(vec![
                    (30_004, Say(Tried, None)),
                    ill(34_004),
                    (64_003, Stands(Broken)),
                    (64_004, Stands(Due)),
                ]),
            ),
            (
                "tried before its time it may show that it is well",
                after(vec![(5, Say(Tried, None)), (6, Say(Well, closed)), (6, Stands(Sound))]),
            ),
            (
                "what nobody tries is forgotten",
                after(vec![(630_004, Say(Tried, None)), (630_004, Stands(Sound))]),
            ),
        ];
        let epoch = Instant::now();
        for (what, events) in rows {
            let mut breakers = Breakers::default();
            for (ms, event) in events {
                let now = epoch + Duration::from_millis(ms);
                match event {
                    Say(sign, expected) => {
                        assert_eq!(
                            breakers.handle_sign(now, "a", flow(1), sign),
                            expected,
                            "{what}: {ms} ms"
                        );
                    }
                    Stands(expected) => {
                        assert_eq!(breakers.standing(now, "a", flow(1)), expected, "{what}: {ms} ms");
                        assert_eq!(breakers.standing(now, "b", flow(1)), Sound, "{what}: another trunk");
                        assert_eq!(breakers.standing(now, "a", flow(2)), Sound, "{what}: another server");
                        let broken = usize::from(expected != Sound);
                        assert_eq!(
                            (breakers.broken("a"), breakers.broken("b")),
                            (broken, 0),
                            "{what}: {ms} ms"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn what_one_number_can_bring_about_breaks_nothing() {
        let rows: [(Option<Sign>, &[u16]); 3] = [
            (Some(Sign::Ill), &[430, 503]),
            (None, &[408, 500, 501, 502, 504, 513, 580]),
            (Some(Sign::Well), &[180, 200, 302, 403, 404, 480, 486, 487, 600, 603]),
        ];
        for (expected, codes) in rows {
            for code in codes {
                let status = Status::new(*code).expect("a status");
                assert_eq!(Sign::of(status), expected, "{code}");
            }
        }
    }

    #[test]
    fn memory_is_bounded() {
        let (mut breakers, now) = (Breakers::default(), Instant::now());
        for port in 0..=u16::MAX {
            breakers.handle_sign(now, "a", flow(port), Sign::Ill);
            if breakers.servers.len() == MAX_SERVERS {
                break;
            }
        }
        breakers.handle_sign(now, "b", flow(1), Sign::Ill);
        assert_eq!(breakers.servers.len(), MAX_SERVERS);
    }

    fn flow(port: u16) -> Flow {
        Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            remote: ([192, 0, 2, 1], port).into(),
            identity: Identity::NONE,
        }
    }
}
