//! JIDs as `xmpp:` URIs and back (RFC 5122).
//!
//! What leaves is a URI and no IRI: the domain in its ASCII form, everything else that is not plain in percent escapes.
//! Escapes of XEP-0106 are text to us: they belong to the JID.
//!
//! # Left out
//! - URIs with an authority (`xmpp://…`): they name an account to log in with, not the one who is meant.

use jid::BareJid;

/// `xmpp:alice@example.com`, without resource and query (RFC 5122 §2.7).
///
/// None for a domain that has no ASCII form, which no server could have.
#[must_use]
pub fn to_uri(jid: &BareJid) -> Option<String> {
    let mut uri = String::from(SCHEME);
    if let Some(node) = jid.node() {
        escape(node.as_str(), &mut uri);
        uri.push('@');
    }
    let domain = jid.domain().as_str();
    if domain.starts_with('[') {
        uri.push_str(domain);
    } else {
        uri.push_str(&idna::domain_to_ascii(domain).ok().filter(|ascii| !ascii.is_empty())?);
    }
    Some(uri)
}

/// The bare JID that an `xmpp:` URI or IRI names. Resource, query and fragment are passed over.
///
/// # Errors
/// [`NotAJid`] for another scheme, an authority, a broken escape, or parts that no JID can have.
pub fn from_uri(uri: &str) -> Result<BareJid, NotAJid> {
    let (scheme, rest) = uri.split_at_checked(SCHEME.len()).ok_or(NotAJid)?;
    if !scheme.eq_ignore_ascii_case(SCHEME) || rest.starts_with("//") || rest.len() > MAX_URI {
        return Err(NotAJid);
    }
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let bare = path.split('/').next().unwrap_or_default();
    let (node, domain) = match bare.split_once('@') {
        Some((node, domain)) => (Some(unescape(node)?), domain),
        None => (None, bare),
    };
    let domain = unescape(domain)?;
    // Two spellings of one domain must give one JID (RFC 7622 §3.2).
    let domain = if domain.starts_with('[') {
        domain
    } else {
        match idna::domain_to_unicode(&domain) {
            (domain, Ok(())) => domain,
            (_, Err(_)) => return Err(NotAJid),
        }
    };
    let node = node
        .map(|node| jid::NodePart::new(&node).map(|node| node.into_owned()))
        .transpose()
        .map_err(|_| NotAJid)?;
    let domain = jid::DomainPart::new(&domain).map_err(|_| NotAJid)?;
    Ok(BareJid::from_parts(node.as_deref(), &domain))
}

/// The text is no `xmpp:` URI of an account or domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an xmpp: URI that names a JID")]
pub struct NotAJid;

fn escape(text: &str, out: &mut String) {
    use std::fmt::Write as _;
    for byte in text.bytes() {
        // `nodeallow` and `unreserved` of RFC 5122 §2.2
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~')
            || matches!(byte, b'!' | b'$' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=');
        if plain {
            out.push(byte.into());
        } else {
            write!(out, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
}

fn unescape(text: &str) -> Result<String, NotAJid> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16)).ok_or(NotAJid);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high * 16 + low).map_err(|_| NotAJid)?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| NotAJid)
}

const SCHEME: &str = "xmpp:";
/// Three parts of a JID, each byte of them escaped, are not longer (RFC 7622 §3.1).
const MAX_URI: usize = 3 * 3 * 1023;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jids_become_uris_and_come_back() {
        let rows = [
            (
                r"nasty!#$%()*+,-.;=?[\]^_`{|}~node@example.com",
                "xmpp:nasty!%23$%25()*+,-.;=%3F%5B%5C%5D%5E_%60%7B%7C%7D~node@example.com",
            ),
            ("müller@example.com", "xmpp:m%C3%BCller@example.com"),
            ("日本@例え.jp", "xmpp:%E6%97%A5%E6%9C%AC@xn--r8jz45g.jp"),
            (r"d\27artagnan@x.example", "xmpp:d%5C27artagnan@x.example"),
            ("example.com", "xmpp:example.com"),
            ("alice@[2001:db8::1]", "xmpp:alice@[2001:db8::1]"),
        ];
        for (jid, uri) in rows {
            let jid = BareJid::new(jid).unwrap();
            assert_eq!(to_uri(&jid).as_deref(), Some(uri), "{jid}");
            assert_eq!(from_uri(uri), Ok(jid), "{uri}");
        }
    }

    #[test]
    fn many_spellings_name_one_jid() {
        let jid = BareJid::new("日本@例え.jp").unwrap();
        for uri in [
            "xmpp:日本@例え.jp",
            "XMPP:%e6%97%a5%e6%9c%ac@XN--R8JZ45G.jp",
            "xmpp:%E6%97%A5%E6%9C%AC@%E4%BE%8B%E3%81%88.jp/home?message;body=x#y",
        ] {
            assert_eq!(from_uri(uri).as_ref(), Ok(&jid), "{uri}");
        }
    }

    #[test]
    fn what_names_no_jid_is_refused() {
        let long = format!("xmpp:{}@example.com", "a".repeat(1024));
        for uri in [
            "",
            "xmpp:",
            "xmpp:@example.com",
            "xmpp:a@",
            "sip:a@b.c",
            "xmpp://guest@example.com/a@b.c",
            "xmpp:a%4@b.c",
            "xmpp:a%zz@b.c",
            "xmpp:a%FF@b.c",
            "xmpp:a%20b@b.c",
            "xmpp:a%40b@c.d",
            "xmpp:a%0D%0A@b.c",
            "xmpp:a%00@b.c",
            "xmpp",
            "xmp\u{e4}:",
            &long,
        ] {
            assert!(from_uri(uri).is_err(), "{uri}");
        }
    }
}
