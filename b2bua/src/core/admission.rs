//! How much strangers may ask for: token buckets for each source, for each account, and for all together.
//!
//! Requests within dialogs that are up never come here, so a flood of others does not reach calls. Carriers come here
//! only as accounts.
//!
//! # Invariants
//! - The tables hold at most [`MAX_TRACKED`] entries each; the oldest is forgotten first. Whoever makes up sources to be
//!   forgotten still meets the bucket of all together.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::core::ids::IdMap;

/// How many requests are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In a second, on average.
    pub per_second: u32,
    /// At once, after a rest.
    pub burst: u32,
}

/// What an operator decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests outside dialogs from one address (IPv6: one /64 network).
    pub source: Rate,
    /// Calls and registrations of one user, or calls from one carrier.
    pub account: Rate,
    /// Requests outside dialogs from everybody.
    pub all: Rate,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// Its sender has asked too much: nothing is answered, since the address may be made up.
    Drop,
    /// Everybody together has asked too much: 503, and the sender may try again.
    Later,
}

/// Who has asked how much.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    sources: Table,
    accounts: Table,
    all: Bucket,
}

impl Admission {
    /// Nobody has asked for anything.
    #[must_use]
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            sources: Table::default(),
            accounts: Table::default(),
            all: Bucket::full(limits.all, now),
        }
    }

    /// A request outside dialogs from this address. Whoever is `known`, since a phone is registered there, does not share
    /// what all strangers have together.
    pub fn judge_source(&mut self, now: Instant, source: IpAddr, known: bool) -> Verdict {
        if !self.sources.take(now, &network(source), self.limits.source) {
            return Verdict::Drop;
        }
        if known || self.all.take(self.limits.all, now) {
            Verdict::Pass
        } else {
            Verdict::Later
        }
    }

    /// A request that this account has proved to be its own.
    pub fn judge_account(&mut self, now: Instant, account: &impl Hash) -> Verdict {
        if self.accounts.take(now, account, self.limits.account) {
            Verdict::Pass
        } else {
            Verdict::Later
        }
    }
}

/// The buckets of many, the oldest of which is forgotten when there are too many.
///
/// Each is known by a hash under a secret key, which takes a fraction of what names take. Two names of one hash would
/// share a bucket; nobody can find two.
#[derive(Debug, Default)]
struct Table {
    hasher: RandomState,
    buckets: IdMap<u64, Bucket>,
    order: VecDeque<u64>,
}

impl Table {
    fn take(&mut self, now: Instant, key: &impl Hash, rate: Rate) -> bool {
        let key = self.hasher.hash_one(key);
        if let Some(bucket) = self.buckets.get_mut(&key) {
            return bucket.take(rate, now);
        }
        if self.order.len() >= MAX_TRACKED
            && let Some(oldest) = self.order.pop_front()
        {
            self.buckets.remove(&oldest);
        }
        let mut bucket = Bucket::full(rate, now);
        let taken = bucket.take(rate, now);
        self.order.push_back(key);
        self.buckets.insert(key, bucket);
        taken
    }
}

/// A token bucket in thousandths of a token, so that whole numbers are enough.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    thousandths: u64,
    at: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self {
            thousandths: u64::from(rate.burst) * 1000,
            at: now,
        }
    }

    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        if millis > 0 {
            let more = millis.saturating_mul(rate.per_second.into());
            self.thousandths = self.thousandths.saturating_add(more).min(u64::from(rate.burst) * 1000);
            // What is less than a millisecond counts next time.
            self.at += Duration::from_millis(millis);
        }
        let enough = self.thousandths >= 1000;
        if enough {
            self.thousandths -= 1000;
        }
        enough
    }
}

/// One customer has a whole /64 network of IPv6, and may send from each of its addresses.
pub fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// The most sources, and the most accounts, whose buckets are kept.
pub const MAX_TRACKED: usize = 65_536;

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "the tests need some instant to count from; nothing waits"
)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        source: Rate {
            per_second: 10,
            burst: 20,
        },
        account: Rate {
            per_second: 1,
            burst: 2,
        },
        all: Rate {
            per_second: 100,
            burst: 1000,
        },
    };

    fn passed(verdicts: impl Iterator<Item = Verdict>) -> usize {
        verdicts.filter(|verdict| *verdict == Verdict::Pass).count()
    }

    #[test]
    fn one_source_gets_its_share_and_leaves_the_others_theirs() {
        let start = Instant::now();
        let mut admission = Admission::new(LIMITS, start);
        let (flood, other) = ("192.0.2.66".parse().unwrap(), "192.0.2.10".parse().unwrap());
        for second in 0..10 {
            let now = start + Duration::from_secs(second);
            let let_in = passed((0..2000).map(|_| admission.judge_source(now, flood, false)));
            assert_eq!(let_in, if second == 0 { 20 } else { 10 }, "second {second}");
            assert_eq!(
                admission.judge_source(now, other, false),
                Verdict::Pass,
                "second {second}"
            );
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let start = Instant::now();
        let mut admission = Admission::new(LIMITS, start);
        let address = |last: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, last));
        let let_in = passed((0..1000).map(|last| admission.judge_source(start, address(last), false)));
        assert_eq!(let_in, 20);
        let elsewhere = "2001:db8:0:2::1".parse().unwrap();
        assert_eq!(admission.judge_source(start, elsewhere, false), Verdict::Pass);
    }

    #[test]
    fn all_together_are_bounded_and_so_is_the_memory() {
        let start = Instant::now();
        let mut admission = Admission::new(LIMITS, start);
        let verdicts =
            (0..200_000u32).map(|n| admission.judge_source(start, IpAddr::V4((0x0a00_0000 + n).into()), false));
        let verdicts: Vec<_> = verdicts.collect();
        assert_eq!(passed(verdicts.iter().copied()), 1000);
        assert!(
            !verdicts.contains(&Verdict::Drop),
            "nobody was dropped for what others did"
        );
        assert_eq!(
            (admission.sources.buckets.len(), admission.sources.order.len()),
            (MAX_TRACKED, MAX_TRACKED)
        );
    }

    #[test]
    fn a_rate_is_kept_at_every_interval() {
        let start = Instant::now();
        let rate = Rate {
            per_second: 500,
            burst: 4,
        };
        for micros in [100, 999, 1_000, 1_001, 1_500, 1_900, 1_999] {
            let mut bucket = Bucket::full(rate, start);
            let asked = 10_000_000 / micros;
            let taken = (0..asked)
                .filter(|n| bucket.take(rate, start + Duration::from_micros(n * micros)))
                .count();
            let expected = usize::try_from(asked).unwrap().min(5_004);
            assert!(
                taken.abs_diff(expected) <= expected / 100,
                "{micros} µs: {taken} of {expected}"
            );
        }
    }

    #[test]
    fn an_account_rests_and_goes_on() {
        let start = Instant::now();
        let mut admission = Admission::new(LIMITS, start);
        let at = |millis| start + Duration::from_millis(millis);
        let verdicts =
            [0, 0, 0, 999, 1000, 1000, 5000, 5000, 5000].map(|millis| admission.judge_account(at(millis), &7));
        use Verdict::{Later, Pass};
        assert_eq!(verdicts, [Pass, Pass, Later, Later, Pass, Later, Pass, Pass, Later]);
        assert_eq!(admission.judge_account(at(5000), &8), Pass);
    }
}
