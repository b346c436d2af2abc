//! Pairs of ports of our own addresses: free, in use, or resting.
//!
//! A pair is an even port for RTP and the odd one above it for RTCP (RFC 3550 §11). After a call it rests, so that
//! late packets of that call do not reach the next one.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use cusax_common::core::entropy::Entropy as _;
use cusax_common::io::clock::SystemEntropy;

use crate::core::media::Refusal;

/// Who has which pair.
#[derive(Debug)]
pub(super) struct Ports {
    pools: HashMap<IpAddr, Pool>,
    rest: Duration,
}

#[derive(Clone, Debug)]
struct Pool {
    free: VecDeque<u16>,
    /// In the order in which they become free.
    resting: VecDeque<(Instant, u16)>,
}

impl Ports {
    /// Every pair within `range` on each address, in an order that a stranger cannot foresee.
    pub(super) fn new(addresses: &[IpAddr], range: RangeInclusive<u16>, rest: Duration) -> Self {
        let pool = || {
            let mut pairs: Vec<u16> = range
                .clone()
                .filter(|port| port % 2 == 0 && port.checked_add(1).is_some_and(|rtcp| range.contains(&rtcp)))
                .collect();
            shuffle(&mut pairs);
            Pool {
                free: pairs.into(),
                resting: VecDeque::new(),
            }
        };
        Self {
            pools: addresses.iter().map(|&address| (address, pool())).collect(),
            rest,
        }
    }

    /// The even port of a pair that was free the longest.
    pub(super) fn take(&mut self, address: IpAddr, now: Instant) -> Result<u16, Refusal> {
        let pool = self.pools.get_mut(&address).ok_or(Refusal::Address)?;
        while let Some(&(until, port)) = pool.resting.front()
            && until <= now
        {
            pool.resting.pop_front();
            pool.free.push_back(port);
        }
        pool.free.pop_front().ok_or(Refusal::Exhausted)
    }

    /// How many pairs are free, as far as was noticed by now.
    pub(super) fn free(&self) -> usize {
        self.pools.values().map(|pool| pool.free.len()).sum()
    }

    /// The pair rests from now on.
    pub(super) fn give_back(&mut self, address: IpAddr, port: u16, now: Instant) {
        if let Some(pool) = self.pools.get_mut(&address) {
            pool.resting.push_back((now + self.rest, port));
        }
    }
}

fn shuffle(pairs: &mut [u16]) {
    let mut random = SystemEntropy::new();
    for last in (1..pairs.len()).rev() {
        let other = u32::from_be_bytes(random.bytes()) as usize % (last + 1);
        pairs.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "only differences from this instant matter")]
    fn a_pair_serves_one_call_and_rests_after_it() {
        let (one, two) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let now = Instant::now();
        let later = now + Duration::from_secs(2);
        // 40006 has no odd port above it within the range, 40001 no even one below.
        let mut ports = Ports::new(&[one, two], 40_001..=40_006, Duration::from_secs(2));
        let mut taken = [ports.take(one, now).unwrap(), ports.take(one, now).unwrap()];
        taken.sort_unstable();
        assert_eq!(taken, [40_002, 40_004]);
        assert_eq!(ports.take(one, later), Err(Refusal::Exhausted));
        assert!(ports.take(two, now).is_ok(), "each address has its own");
        assert_eq!(ports.take("192.0.2.3".parse().unwrap(), now), Err(Refusal::Address));
        ports.give_back(one, 40_004, now);
        assert_eq!(
            ports.take(one, later - Duration::from_millis(1)),
            Err(Refusal::Exhausted)
        );
        assert_eq!(ports.take(one, later), Ok(40_004));
        assert_eq!(
            Ports::new(&[one], 65_534..=65_535, Duration::ZERO).take(one, now),
            Ok(65_534)
        );
    }
}
