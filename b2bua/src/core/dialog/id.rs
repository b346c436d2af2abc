//! By what a dialog is found again.

use std::fmt;
use std::hash::Hasher as _;

use ring::hmac;
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::core::share::Share;

/// The identity by which we find a dialog again: 120 bits of a keyed hash of its Call-ID and our own tag, which nobody
/// else can draw, and which endpoint of the node the Call-ID belongs to. Without the key nobody can make two dialogs of
/// one name, whatever their Call-IDs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DialogId(u128);

impl DialogId {
    /// Whose the Call-ID is.
    #[must_use]
    pub fn owner(self) -> u8 {
        self.0.to_be_bytes()[0]
    }
}

/// Makes [`DialogId`]s.
#[derive(Clone)]
pub struct DialogIds {
    hasher: SipHasher13,
    share: Share,
}

impl DialogIds {
    /// Those of whoever knows the secret, for one endpoint of a node.
    ///
    /// # Panics
    /// Never: a MAC is longer than the key that is cut from it.
    #[must_use]
    pub fn new(secret: &[u8; 32], share: Share) -> Self {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"dialog");
        let key = derived.as_ref().first_chunk().expect("a MAC is longer than a key");
        let hasher = SipHasher13::new_with_key(key);
        Self { hasher, share }
    }

    /// The same for another endpoint.
    #[must_use]
    pub fn of_node(self, share: Share) -> Self {
        Self { share, ..self }
    }

    /// Which Call-IDs are this endpoint's.
    #[must_use]
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// That of the dialog with this Call-ID and our tag, byte for byte.
    #[must_use]
    pub fn of(&self, call_id: &str, local_tag: &str) -> DialogId {
        let mut hasher = self.hasher;
        for part in [call_id, local_tag] {
            // The length keeps one part from running into the next.
            hasher.write_usize(part.len());
            hasher.write(part.as_bytes());
        }
        let mut name = hasher.finish128().as_u128().to_be_bytes();
        name[0] = self.share.owner(call_id);
        DialogId(u128::from_be_bytes(name))
    }
}

/// Without the key.
impl fmt::Debug for DialogIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DialogIds")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialog_is_its_call_id_and_our_tag() {
        let ids = DialogIds::new(&[7; 32], Share::whole());
        assert_eq!(ids.of("one@host", "ab"), ids.of("one@host", "ab"));
        for (call_id, tag) in [
            ("one@host", "ac"),
            ("One@host", "ab"),
            ("one@hosta", "b"),
            ("", "one@hostab"),
        ] {
            assert_ne!(ids.of(call_id, tag), ids.of("one@host", "ab"), "{call_id} {tag}");
        }
        assert_ne!(
            DialogIds::new(&[8; 32], Share::whole()).of("one@host", "ab"),
            ids.of("one@host", "ab")
        );
    }
}
