//! What the end of one leg means for the other: a status, a Reason (RFC 3326), and a cause for the record.

use cusax_common::core::record::Cause;
use cusax_common::core::sip::typed::Reason;
use cusax_common::core::sip::{Request, Status, TypedHeader, Value};

/// What the caller and the record hear of a callee's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Toward the caller.
    pub status: Status,
    /// For the record.
    pub cause: Cause,
}

/// Judges the final failure of a callee.
///
/// What concerns only our own request to the callee (a challenge, a header that it did not like) is not the caller's to
/// see: they could not mend it, and might answer a challenge that is not for them. Neither is a redirection that is
/// not followed, which would show the callee's address.
#[must_use]
pub fn of_failure(status: Status, via_trunk: bool) -> Outcome {
    let unanswered = if via_trunk { Cause::PeerFailed } else { Cause::NoAnswer };
    let (code, cause) = match status.code() {
        300..=399 => (480, Cause::Unreachable),
        408 => (408, unanswered),
        404 | 410 | 604 => (status.code(), Cause::Unreachable),
        480 => (480, Cause::Unreachable),
        484 | 485 => (status.code(), Cause::BadNumber),
        // We had not cancelled: it stopped ringing by itself.
        487 => (480, Cause::NoAnswer),
        403 | 433 | 486 | 488 | 600 | 603 | 606 | 607 | 608 => (status.code(), Cause::Rejected),
        415 => (488, Cause::Rejected),
        // There was no way to send it (RFC 5626 §11.5), so nobody was silent.
        430 if via_trunk => (503, Cause::Unreachable),
        430 => (480, Cause::Unreachable),
        482 | 483 => (status.code(), Cause::PeerFailed),
        // RFC 3261 §16.7 step 6: a 503 would keep the caller away from us, who are well.
        500 | 503 => (500, Cause::PeerFailed),
        504 => (504, Cause::PeerFailed),
        609..=699 => (603, Cause::Rejected),
        _ => (502, Cause::PeerFailed),
    };
    Outcome {
        status: Status::new(code).unwrap_or(Status::SERVER_INTERNAL_ERROR),
        cause,
    }
}

/// What the one who asked for a change of a call hears of its failure on the other side: the same rules, and the call
/// goes on.
#[must_use]
pub fn of_change(status: Status) -> Status {
    match status.code() {
        300..=399 | 401 | 407 | 420 | 421 | 422 | 494 => Status::NOT_ACCEPTABLE_HERE,
        503 => Status::SERVER_INTERNAL_ERROR,
        _ => status,
    }
}

/// Why a side is hung up, as far as it is told.
#[derive(Clone, Copy, Debug)]
pub enum Because<'a> {
    /// It is told nothing.
    Nothing,
    /// The other side's BYE or CANCEL says why. Only numbers cross: words could name what stands behind the other leg.
    Said(&'a Request),
    /// What was being made for it came to nothing in this way.
    Status(Status),
}

impl Because<'_> {
    /// What is said in a BYE of ours.
    #[must_use]
    pub fn reasons(self) -> Vec<Reason> {
        let reasons = match self {
            Self::Nothing => Vec::new(),
            Self::Status(status) => vec![Reason::new("SIP", status.code(), "")],
            Self::Said(because) => because.headers.list::<Reason>().unwrap_or_default(),
        };
        let plain = |reason: &Reason| {
            let known = PROTOCOLS
                .iter()
                .find(|known| reason.protocol.eq_ignore_ascii_case(known));
            Some(Reason::new(known?, reason.cause()?, ""))
        };
        reasons.iter().take(MAX_REASONS).filter_map(plain).collect()
    }
}

/// The Reason of a CANCEL to a phone that rang when another one was answered.
#[must_use]
pub fn answered_elsewhere() -> Value {
    let mut text = String::new();
    Reason::new("SIP", 200, "Call completed elsewhere").write(&mut text);
    Value::cleaned(&text)
}

/// One for each protocol is the rule (RFC 3326 §2).
const MAX_REASONS: usize = 2;
/// Whose causes mean the same everywhere.
const PROTOCOLS: [&str; 2] = ["SIP", "Q.850"];

#[cfg(test)]
mod tests {
    use cusax_common::core::sip::{HeaderName, Method, Value};

    use super::*;

    #[test]
    fn failures_are_told_in_the_callers_terms() {
        let rows = [
            ("busy stays busy", 486, false, 486, Cause::Rejected),
            ("declined stays declined", 603, true, 603, Cause::Rejected),
            ("nobody answered at a phone", 408, false, 408, Cause::NoAnswer),
            ("a silent trunk has failed", 408, true, 408, Cause::PeerFailed),
            (
                "a trunk that no connection leads to",
                430,
                true,
                503,
                Cause::Unreachable,
            ),
            (
                "a phone that no connection leads to",
                430,
                false,
                480,
                Cause::Unreachable,
            ),
            ("a challenge is not for the caller", 401, true, 502, Cause::PeerFailed),
            ("nor is a proxy's", 407, true, 502, Cause::PeerFailed),
            ("a redirection is not shown", 302, false, 480, Cause::Unreachable),
            (
                "a trunk that is overloaded is not us",
                503,
                true,
                500,
                Cause::PeerFailed,
            ),
            ("no such number", 404, true, 404, Cause::Unreachable),
            ("an incomplete number", 484, true, 484, Cause::BadNumber),
            (
                "an extension that only our request needed",
                420,
                false,
                502,
                Cause::PeerFailed,
            ),
            ("it stopped by itself", 487, false, 480, Cause::NoAnswer),
            ("a status that is not known", 699, false, 603, Cause::Rejected),
        ];
        for (what, status, via_trunk, expected, cause) in rows {
            let outcome = of_failure(Status::new(status).unwrap(), via_trunk);
            assert_eq!((outcome.status.code(), outcome.cause), (expected, cause), "{what}");
        }
    }

    #[test]
    fn every_failure_gives_a_failure_without_a_challenge() {
        for code in 300..=699 {
            for via_trunk in [false, true] {
                let outcome = of_failure(Status::new(code).unwrap(), via_trunk);
                let given = outcome.status.code();
                assert!(
                    given >= 400 && ![401, 407, 494].contains(&given),
                    "{code} became {given}"
                );
            }
        }
    }

    #[test]
    fn a_failed_change_shows_no_challenge_and_no_redirection() {
        let rows = [
            (200, 200),
            (302, 488),
            (401, 488),
            (407, 488),
            (415, 415),
            (420, 488),
            (481, 481),
            (491, 491),
            (503, 500),
            (603, 603),
        ];
        for (status, expected) in rows {
            let heard = of_change(Status::new(status).unwrap());
            assert_eq!(heard.code(), expected, "{status}");
        }
    }

    #[test]
    fn only_numbers_of_known_protocols_cross() {
        let mut bye = request();
        for text in [
            "Q.850;cause=16;text=\"behind gw1.internal\", SIP ;cause=486",
            "X;cause=1",
            "SIP",
        ] {
            bye.headers.push(HeaderName::REASON, Value::of_static(text));
        }
        let mut ours = request();
        for reason in Because::Said(&bye).reasons() {
            ours.headers.put(&reason);
        }
        let seen: Vec<_> = ours
            .headers
            .get_all(&HeaderName::REASON)
            .map(|value| value.to_text().into_owned())
            .collect();
        assert_eq!(seen, ["Q.850;cause=16", "SIP;cause=486"]);
        let mut ours = request();
        assert!(Because::Nothing.reasons().is_empty());
        assert!(!ours.headers.has(&HeaderName::REASON));
        ours.headers.set(Reason::NAME, answered_elsewhere());
        assert_eq!(ours.headers.one::<Reason>().unwrap().cause(), Some(200));
    }

    fn request() -> Request {
        Request::new(Method::Bye, "sip:a@192.0.2.1".parse().unwrap())
    }
}
