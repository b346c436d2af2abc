//! `XMPP-Thread` and `XMPP-Contact`: which chat a call belongs to, and where its parties chat.
//!
//! Both are of draft-veikkolainen-sip-voip-xmpp-im §6.3; no RFC has taken them up. They stand in INVITE and in its 2xx.
//!
//! # What stays true
//! - A JID crosses only if it is that of the user who says it, proved: a contact may not become an identity.
//! - Nothing crosses for a party who wants privacy, nor to an audience that may not learn JIDs.

use cusax_common::core::jid;
use cusax_common::core::sip::{HeaderName, Headers};
use cusax_common::core::user::User;

/// Puts into `ours` what may cross of `theirs`, which `said_by` has said: a user of ours, or somebody outside.
pub fn carry(ours: &mut Headers, theirs: &Headers, said_by: Option<&User>) {
    if let Some(thread) = theirs.get(&HeaderName::XMPP_THREAD)
        && (1..=MAX_VALUE).contains(&thread.as_bytes().len())
    {
        ours.push(HeaderName::XMPP_THREAD, thread.to_value());
    }
    if let Some(contact) = theirs.get(&HeaderName::XMPP_CONTACT)
        && contact.as_bytes().len() <= MAX_VALUE
        && let Some(user) = said_by
        && contact.as_str().is_ok_and(|text| names(text, user))
    {
        ours.push(HeaderName::XMPP_CONTACT, contact.to_value());
    }
}

/// Whether a contact is a JID of this user, with or without a resource. The draft's grammar and its examples differ: the
/// JID stands in brackets or not, as a URI or not, and what correlates follows behind `;`.
fn names(contact: &str, user: &User) -> bool {
    let contact = contact.trim();
    let parts = match contact.strip_prefix('<') {
        Some(rest) => rest.split_once('>'),
        None => Some(contact.split_at(contact.find([';', ' ', '\t']).unwrap_or(contact.len()))),
    };
    let Some((address, others)) = parts else { return false };
    // Whatever else reads like a JID could be taken for the one that is meant.
    if others.to_ascii_lowercase().contains("xmpp:") || others.contains('<') {
        return false;
    }
    let has_scheme = address
        .get(..SCHEME.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(SCHEME));
    let uri = if has_scheme {
        address.to_owned()
    } else {
        format!("{SCHEME}{address}")
    };
    jid::from_uri(&uri).is_ok_and(|jid| jid == user.jid)
}

const SCHEME: &str = "xmpp:";
/// In bytes: a JID may be long, but not so long.
const MAX_VALUE: usize = 1024;

#[cfg(test)]
mod tests {
    use cusax_common::core::sip::Value;
    use cusax_common::core::user::Flags;

    use super::*;

    fn alice() -> User {
        User {
            jid: "alice@example.com".parse().unwrap(),
            name: "Alice".into(),
            aors: Vec::new(),
            numbers: Vec::new(),
            credentials: Vec::new(),
            flags: Flags::default(),
            language: "en".into(),
        }
    }

    fn carried(contact: &str, said_by: Option<&User>) -> bool {
        let (mut ours, mut theirs) = (Headers::new(), Headers::new());
        theirs.push(HeaderName::XMPP_CONTACT, Value::new(contact.to_owned()).unwrap());
        carry(&mut ours, &theirs, said_by);
        let kept = ours.get(&HeaderName::XMPP_CONTACT);
        assert!(
            kept.is_none_or(|kept| kept.as_bytes() == contact.as_bytes()),
            "as it was"
        );
        kept.is_some()
    }

    #[test]
    fn a_contact_crosses_if_it_is_the_speakers_own() {
        let alice = alice();
        for own in [
            "<xmpp:alice@example.com/orchard>;callid@host",
            "<xmpp:alice@example.com> ;callid@host",
            "xmpp:alice@example.com/orchard;x",
            "alice@example.com/orchard ;x",
            "XMPP:Alice@EXAMPLE.com",
            "alice@example.com",
        ] {
            assert!(carried(own, Some(&alice)), "{own}");
            assert!(!carried(own, None), "nobody vouches for {own}");
        }
        let long = format!("<xmpp:alice@example.com>;{}", "x".repeat(MAX_VALUE));
        for forged in [
            "<xmpp:bob@example.com/orchard>;callid@host",
            "xmpp:alice@example.com.evil.example",
            "<xmpp:alice@example.com>, <xmpp:bob@example.com>",
            "alice@example.com;<bob@example.com>",
            "alice@example.com xmpp:bob@example.com",
            "<xmpp:alice@example.com",
            "xmpp://alice@example.com/bob@example.com",
            "",
            &long,
        ] {
            assert!(!carried(forged, Some(&alice)), "{forged}");
        }
    }

    #[test]
    fn a_thread_crosses_whoever_says_it() {
        for (thread, crosses) in [
            ("e0ffe42b28561960c6b12b944a092794b9683a38", true),
            (&"x".repeat(MAX_VALUE + 1), false),
        ] {
            let (mut ours, mut theirs) = (Headers::new(), Headers::new());
            theirs.push(HeaderName::XMPP_THREAD, Value::new(thread.to_owned()).unwrap());
            carry(&mut ours, &theirs, None);
            assert_eq!(ours.get(&HeaderName::XMPP_THREAD).is_some(), crosses);
        }
    }
}
