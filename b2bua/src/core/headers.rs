//! Which header crosses from one leg to the other, which is made anew, and which stops here: one table, for requests
//! and responses alike.
//!
//! What is not in the table is an extension between the two user agents and crosses as it is, in its order. That is
//! not so for names beginning with `P-`, which are meant for one trust domain (RFC 5727 §4), nor for our own.
//!
//! `Call-Info` is in the table as made anew: [`identity`](crate::core::identity) carries over what is harmless in it.

use std::sync::LazyLock;

use cusax_common::core::sip::{HeaderName, Headers};

/// What becomes of a header at this back-to-back user agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes to the other side as it is.
    Cross,
    /// Each leg has its own.
    Rebuild,
    /// It goes no further: a claim that we did not verify, a secret, a sign of what stands behind the leg, or a matter
    /// between us and one peer.
    Stop,
}

/// What becomes of the header of this name.
#[must_use]
pub fn fate(name: &HeaderName) -> Fate {
    match known(name) {
        Some(fate) => fate,
        None if PRIVATE.iter().any(|start| begins(name.as_str(), start)) => Fate::Stop,
        None => Fate::Cross,
    }
}

/// Adds to `to` every header of `from` that crosses, in its order.
pub fn cross(from: &Headers, to: &mut Headers) {
    for (name, value) in from.iter() {
        if fate(&name) == Fate::Cross {
            to.push(name, value.to_value());
        }
    }
}

/// As [`cross`], for a caller who wants to stay unknown: nothing that this table does not know, since anything could be
/// in it.
pub fn cross_known(from: &Headers, to: &mut Headers) {
    for (name, value) in from.iter() {
        if known(&name) == Some(Fate::Cross) {
            to.push(name, value.to_value());
        }
    }
}

/// What the table says. Nearly every line of a message has a name with a constant, for which nothing is compared.
fn known(name: &HeaderName) -> Option<Fate> {
    match name.place() {
        Some(place) => BY_PLACE[place],
        None => in_table(name.as_str()),
    }
}

fn in_table(name: &str) -> Option<Fate> {
    let found = TABLE.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|&(_, fate)| fate)
}

/// The table for the names that have a constant, in the order of these.
static BY_PLACE: LazyLock<Vec<Option<Fate>>> =
    LazyLock::new(|| HeaderName::KNOWN.iter().map(|name| in_table(name.as_str())).collect());

fn begins(name: &str, start: &str) -> bool {
    name.get(..start.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(start))
}

/// Beginnings of names that concern one trust domain, or us.
const PRIVATE: [&str; 2] = ["P-", "X-Cusax-"];

#[rustfmt::skip]
const TABLE: &[(&str, Fate)] = {
    use Fate::{Cross, Rebuild, Stop};
    &[
        // The leg itself (RFC 3261 §8, §12).
        ("Via", Rebuild), ("From", Rebuild), ("To", Rebuild), ("Call-ID", Rebuild), ("CSeq", Rebuild),
        ("Contact", Rebuild), ("Max-Forwards", Rebuild), ("Max-Breadth", Rebuild), ("Route", Rebuild),
        ("Record-Route", Rebuild),
        ("Timestamp", Rebuild), ("Expires", Rebuild), ("Reason", Rebuild), ("Retry-After", Rebuild),
        // What each leg can do is ours to say, since we are the peer.
        ("Allow", Rebuild), ("Supported", Rebuild), ("Require", Rebuild), ("Proxy-Require", Rebuild),
        ("Unsupported", Rebuild), ("Allow-Events", Rebuild), ("Accept-Encoding", Rebuild), ("Recv-Info", Rebuild),
        ("Session-Expires", Rebuild), ("Session-ID", Rebuild), ("Min-SE", Rebuild), ("Min-Expires", Rebuild), ("RSeq", Rebuild),
        ("RAck", Rebuild), ("Event", Rebuild), ("Subscription-State", Rebuild), ("SIP-ETag", Rebuild),
        ("SIP-If-Match", Rebuild), ("Info-Package", Cross),
        // The body goes with whoever writes it.
        ("Content-Length", Rebuild), ("Content-Type", Rebuild), ("Content-Encoding", Rebuild),
        ("Content-Language", Rebuild), ("Content-Disposition", Rebuild), ("Content-ID", Rebuild),
        ("MIME-Version", Rebuild),
        // Identity is told from our own store.
        ("P-Asserted-Identity", Rebuild), ("Privacy", Rebuild), ("Call-Info", Rebuild),
        ("XMPP-Contact", Rebuild), ("XMPP-Thread", Rebuild),
        ("P-Preferred-Identity", Stop), ("Remote-Party-ID", Stop), ("RPID-Privacy", Stop), ("Identity", Stop),
        ("Identity-Info", Stop), ("Reply-To", Stop), ("Organization", Stop), ("Referred-By", Stop),
        ("P-Called-Party-ID", Stop), ("P-Associated-URI", Stop), ("P-Served-User", Stop),
        ("P-Asserted-Service", Stop), ("P-Preferred-Service", Stop), ("P-Profile-Key", Stop), ("P-User-Database", Stop),
        ("Additional-Identity", Stop),
        // Who was called before, by whose word: nobody here vouches for it, and it names what stands behind the leg.
        ("Diversion", Stop), ("History-Info", Stop), ("CC-Diversion", Stop),
        // Charging and access networks.
        ("P-Charging-Vector", Stop), ("P-Charging-Function-Addresses", Stop), ("P-Access-Network-Info", Stop),
        ("P-Visited-Network-ID", Stop), ("P-DCS-Billing-Info", Stop), ("P-DCS-Trace-Party-ID", Stop),
        ("P-DCS-OSPS", Stop), ("P-DCS-LAES", Stop), ("P-DCS-Redirect", Stop), ("P-Media-Authorization", Stop),
        ("P-Private-Network-Indication", Stop), ("P-Refused-URI-List", Stop), ("Cellular-Network-Info", Stop),
        ("Resource-Priority", Stop), ("Accept-Resource-Priority", Stop), ("Service-Interact-Info", Stop),
        // Proofs and security agreements are between two neighbours.
        ("Authorization", Stop), ("Proxy-Authorization", Stop), ("WWW-Authenticate", Stop),
        ("Proxy-Authenticate", Stop), ("Authentication-Info", Stop), ("Proxy-Authentication-Info", Stop),
        ("Security-Client", Stop), ("Security-Server", Stop), ("Security-Verify", Stop),
        // Dialogs and routes of one leg mean nothing on the other, or would reach past us.
        ("Path", Stop), ("Service-Route", Stop), ("Replaces", Stop), ("Join", Stop), ("Target-Dialog", Stop),
        ("In-Reply-To", Stop), ("Refer-To", Stop), ("Refer-Sub", Stop), ("Flow-Timer", Stop),
        ("Permission-Missing", Stop), ("Trigger-Consent", Stop), ("Feature-Caps", Stop),
        // Which phone is to ring, and whether it answers by itself, is not for strangers to say.
        ("Accept-Contact", Stop), ("Reject-Contact", Stop), ("Request-Disposition", Stop), ("Answer-Mode", Stop),
        ("Priv-Answer-Mode", Stop), ("Alert-Info", Stop), ("Error-Info", Stop),
        // The make of the other side, and warnings signed by its machines.
        ("User-Agent", Stop), ("Server", Stop), ("Warning", Stop),
        // For the person or the application at the other end.
        ("Accept", Cross), ("Accept-Language", Cross), ("Date", Cross), ("Priority", Cross), ("Subject", Cross),
        ("P-Early-Media", Cross),
    ]
};

#[cfg(test)]
mod tests {
    use cusax_common::core::sip::Value;

    use super::*;

    #[test]
    fn the_table_names_each_header_once_and_every_known_one() {
        for (at, (name, _)) in TABLE.iter().enumerate() {
            let again = TABLE[at + 1..]
                .iter()
                .find(|(other, _)| other.eq_ignore_ascii_case(name));
            assert!(again.is_none(), "{name} stands twice");
        }
        for name in HeaderName::KNOWN {
            assert!(
                TABLE.iter().any(|(known, _)| *known == name.as_str()),
                "{name} is not judged"
            );
        }
    }

    #[test]
    fn claims_secrets_and_topology_stop_whatever_their_case() {
        let stopped = [
            "p-asserted-identity",
            "P-PREFERRED-IDENTITY",
            "Remote-Party-ID",
            "Identity",
            "Diversion",
            "History-Info",
            "P-Charging-Vector",
            "Authorization",
            "Proxy-Authorization",
            "Via",
            "Record-Route",
            "Contact",
            "Call-ID",
            "Call-Info",
            "X-Cusax-Session",
            "P-Something-New",
            "User-Agent",
        ];
        let (mut from, mut to) = (Headers::new(), Headers::new());
        for name in stopped {
            from.push(name.parse().unwrap(), Value::of_static("x"));
        }
        assert_eq!(from.len(), stopped.len());
        cross(&from, &mut to);
        assert_eq!(
            to.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>(),
            Vec::<String>::new()
        );
    }

    #[test]
    fn extensions_cross_byte_for_byte_in_their_order() {
        let lines: [(&str, &[u8]); 4] = [
            ("X-Own", b"a ,\t b"),
            ("Subject", b"caf\xe9"),
            ("User-to-User", b"56a390f3d2b7310023a2;encoding=hex"),
            ("x-own", b"<>\"\\"),
        ];
        let (mut from, mut to) = (Headers::new(), Headers::new());
        for (name, value) in lines {
            from.push(name.parse().unwrap(), Value::new(value).unwrap());
            from.push(HeaderName::VIA, Value::of_static("between"));
        }
        cross(&from, &mut to);
        let seen: Vec<_> = to
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect();
        let expected: Vec<_> = lines
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
            .collect();
        assert_eq!(seen, expected);
    }
}
