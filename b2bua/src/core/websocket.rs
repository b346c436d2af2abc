//! Who may open a WebSocket (RFC 6455 §10.2, RFC 7118 §4): pages that the operator names, speaking SIP.

use cusax_common::core::sip::MAX_MESSAGE;

/// The subprotocol of RFC 7118 §4.
pub const PROTOCOL: &str = "sip";
/// What is read at one time, in bytes. Each connection has such a buffer.
pub const READ_BUFFER: usize = 4096;
/// What may wait to be written, in bytes.
pub const WRITE_BUFFER: usize = 2 * MAX_MESSAGE;

/// Why a handshake is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The page comes from elsewhere.
    #[error("pages of this origin may not connect; sip.listeners.origins names those that may")]
    Origin,
    /// The client does not offer SIP.
    #[error("the subprotocol sip is not offered")]
    Protocol,
}

/// Judges the headers of a handshake. `allowed` are the origins that may connect; if it is empty, those of this host.
/// A client without an origin is no browser, and answers for itself by its digest.
///
/// # Errors
/// [`Refusal`].
pub fn judge<'a>(
    origin: Option<&str>,
    host: Option<&str>,
    protocols: impl Iterator<Item = &'a str>,
    allowed: &[String],
) -> Result<(), Refusal> {
    if let Some(origin) = origin {
        let ours = if allowed.is_empty() {
            let there = origin.split_once("://").map(|(_, host)| host);
            there.is_some_and(|there| host.is_some_and(|host| there.eq_ignore_ascii_case(host)))
        } else {
            allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
        };
        if !ours {
            return Err(Refusal::Origin);
        }
    }
    let offers_sip = protocols
        .flat_map(|line| line.split(','))
        .any(|protocol| protocol.trim().eq_ignore_ascii_case(PROTOCOL));
    if offers_sip { Ok(()) } else { Err(Refusal::Protocol) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_that_are_named_may_connect() {
        let named = ["https://phone.example".to_owned()];
        let none: &[String] = &[];
        let named = &named[..];
        let rows = [
            ("no browser", None, none, Ok(())),
            ("a page of this host", Some("https://sip.example:8443"), none, Ok(())),
            (
                "its port is part of it",
                Some("https://sip.example"),
                none,
                Err(Refusal::Origin),
            ),
            (
                "a page from elsewhere",
                Some("https://evil.example"),
                none,
                Err(Refusal::Origin),
            ),
            ("a page of nowhere", Some("null"), none, Err(Refusal::Origin)),
            (
                "a host without a scheme",
                Some("sip.example:8443"),
                none,
                Err(Refusal::Origin),
            ),
            ("a named page", Some("https://phone.example"), named, Ok(())),
            ("whatever its case", Some("HTTPS://Phone.Example"), named, Ok(())),
            (
                "not with another port",
                Some("https://phone.example:1"),
                named,
                Err(Refusal::Origin),
            ),
            (
                "not a longer name",
                Some("https://phone.example.evil"),
                named,
                Err(Refusal::Origin),
            ),
            (
                "nor one of this host",
                Some("https://sip.example:8443"),
                named,
                Err(Refusal::Origin),
            ),
        ];
        for (what, origin, allowed, expected) in rows {
            let judged = judge(origin, Some("sip.example:8443"), ["sip"].into_iter(), allowed);
            assert_eq!(judged, expected, "{what}");
        }
        for (offered, expected) in [
            (&["sip"][..], Ok(())),
            (&["xmpp, SIP"], Ok(())),
            (&["xmpp", "sip"], Ok(())),
            (&[], Err(Refusal::Protocol)),
            (&["xmpp"], Err(Refusal::Protocol)),
            (&["sips"], Err(Refusal::Protocol)),
        ] {
            assert_eq!(judge(None, None, offered.iter().copied(), &[]), expected, "{offered:?}");
        }
    }
}
