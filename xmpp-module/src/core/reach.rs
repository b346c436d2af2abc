//! What a user holds, and where they can be reached just now (XEP-0152).
//!
//! Reach is temporary by definition: it holds only addresses at which a phone is registered now, and the numbers that
//! ring there. The addresses themselves come from the user record alone, never from what somebody says.

use cusax_common::core::user::{Aor, User};

use crate::core::map::{Entry, Held};

/// Most addresses that are put into one presence.
pub const MAX_REACH: usize = 8;

/// What the plugin is told of `user`, at whose AORs `registered` a phone is registered now.
///
/// The AORs come first, in the order of the record, then the numbers. An AOR that the user does not hold is left out.
#[must_use]
pub fn compose(user: &User, registered: &[Aor]) -> Entry {
    let numbers = || user.numbers.iter().map(|number| format!("tel:{number}"));
    let aors = user.aors.iter().map(|aor| Held {
        uri: aor.to_string(),
        video: user.flags.video,
    });
    let held = aors.chain(numbers().map(|uri| Held { uri, video: false })).collect();
    let mut reach: Vec<String> = user
        .aors
        .iter()
        .filter(|aor| registered.contains(aor))
        .map(Aor::to_string)
        .collect();
    if !reach.is_empty() {
        reach.extend(numbers());
    }
    reach.truncate(MAX_REACH);
    Entry {
        jid: user.jid.clone(),
        held,
        reach,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::user;

    #[test]
    fn reach_is_what_is_registered_then_the_numbers() {
        let (a, b, x) = ("sip:a@s.example", "sip:b@s.example", "sip:x@s.example");
        let cases: [(&str, &[&str], &[&str]); 5] = [
            ("nothing registered, nothing reachable", &[], &[]),
            (
                "one phone: its AOR, then the numbers",
                &[b],
                &[b, "tel:+442079460018", "tel:+491711234567"],
            ),
            (
                "two phones: the order of the record",
                &[b, a],
                &[a, b, "tel:+442079460018", "tel:+491711234567"],
            ),
            ("a strange AOR says nothing", &[x], &[]),
            (
                "a strange AOR adds nothing",
                &[x, a],
                &[a, "tel:+442079460018", "tel:+491711234567"],
            ),
        ];
        let user = user("alice@atlanta.example", &[a, b], &["+442079460018", "+491711234567"]);
        for (name, registered, expected) in cases {
            let registered: Vec<Aor> = registered.iter().map(|aor| aor.parse().unwrap()).collect();
            let entry = compose(&user, &registered);
            assert_eq!(entry.reach, expected, "{name}");
            let held: Vec<_> = entry.held.iter().map(|held| held.uri.as_str()).collect();
            assert_eq!(
                held,
                [a, b, "tel:+442079460018", "tel:+491711234567"],
                "{name}: held never depends on phones"
            );
        }
    }

    #[test]
    fn reach_has_a_bound() {
        let aors: Vec<String> = (0..8).map(|n| format!("sip:u{n}@s.example")).collect();
        let aors: Vec<&str> = aors.iter().map(String::as_str).collect();
        let user = user("alice@atlanta.example", &aors, &["+442079460018"]);
        let entry = compose(&user, &user.aors);
        assert_eq!(entry.reach.len(), MAX_REACH);
        assert_eq!(entry.held.len(), 9);
    }

    #[test]
    fn video_is_a_mark_of_the_sip_addresses() {
        let mut user = user("alice@atlanta.example", &["sip:a@s.example"], &["+442079460018"]);
        user.flags.video = true;
        let video: Vec<bool> = compose(&user, &[]).held.iter().map(|held| held.video).collect();
        assert_eq!(video, [true, false]);
    }
}
