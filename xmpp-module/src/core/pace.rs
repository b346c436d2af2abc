//! How often one user is told something: a few times at once, and then now and then. Whoever calls a thousand times does
//! not fill a chat with it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jid::BareJid;

/// What each user has been told lately.
///
/// For each user one time is kept, which every notice puts off by [`EVERY`]; there is room as long as it is no more than
/// [`AT_ONCE`] such steps ahead.
#[derive(Debug, Default)]
pub struct Pace {
    ahead: HashMap<BareJid, Instant>,
}

impl Pace {
    /// Whether this user may be told one thing more. If so, it is counted.
    pub fn take(&mut self, now: Instant, jid: &BareJid) -> bool {
        if let Some(ahead) = self.ahead.get_mut(jid) {
            let from = (*ahead).max(now);
            let enough = from + EVERY <= now + AT_ONCE * EVERY;
            if enough {
                *ahead = from + EVERY;
            }
            return enough;
        }
        if self.ahead.len() >= MAX_USERS {
            self.ahead.retain(|_, ahead| *ahead > now);
            if self.ahead.len() >= MAX_USERS {
                return false;
            }
        }
        self.ahead.insert(jid.clone(), now + EVERY);
        true
    }
}

/// Notices that one user may get at once, after a rest.
pub const AT_ONCE: u32 = 10;
/// How long it takes until there is room for one more.
pub const EVERY: Duration = Duration::from_secs(20);
/// Most users who are told something within so short a time.
const MAX_USERS: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::start;

    #[test]
    fn a_user_gets_a_few_at_once_and_then_one_from_time_to_time() {
        let (alice, bob): (BareJid, BareJid) = ("alice@a.example".parse().unwrap(), "bob@a.example".parse().unwrap());
        let (mut pace, now) = (Pace::default(), start());
        let told = |pace: &mut Pace, at, jid| (0..100).filter(|_| pace.take(at, jid)).count();
        assert_eq!(told(&mut pace, now, &alice), AT_ONCE as usize);
        assert_eq!(told(&mut pace, now, &bob), AT_ONCE as usize, "each has an own count");
        assert_eq!(told(&mut pace, now + EVERY - Duration::from_millis(1), &alice), 0);
        assert_eq!(told(&mut pace, now + EVERY, &alice), 1);
        assert_eq!(
            told(&mut pace, now + EVERY * 1000, &alice),
            AT_ONCE as usize,
            "no more after a long rest"
        );
    }

    #[test]
    fn nobody_is_kept_for_ever() {
        let (mut pace, now) = (Pace::default(), start());
        let jid = |number: usize| BareJid::new(&format!("u{number}@a.example")).unwrap();
        assert!((0..MAX_USERS).all(|number| pace.take(now, &jid(number))));
        assert!(!pace.take(now, &jid(MAX_USERS)), "there is no room");
        assert!(pace.take(now, &jid(0)), "those who are known go on");
        assert!(pace.take(now + EVERY, &jid(MAX_USERS)));
        assert_eq!(pace.ahead.len(), 2, "whose time is over is forgotten");
    }
}
