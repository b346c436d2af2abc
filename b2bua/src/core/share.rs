//! Which of a node's endpoints a message belongs to.
//!
//! A node runs several endpoints, each on a thread of its own with tables of its own, so that they share nothing and wait
//! for nobody. What belongs together has one Call-ID: a transaction with its copies, CANCEL and ACK, and a dialog
//! (RFC 3261 §12). So the Call-ID tells whose a request is, wherever it arrives, and the branch of our own Via whose a
//! response is; both are drawn for calls and requests of ours until they are the endpoint's own. Everything that belongs to accounts (registrations, nonces, how many
//! calls a user has) is the [first](Share::is_first) endpoint's, and so is every REGISTER.
//!
//! The hash is keyed: a stranger cannot aim all calls at one thread.

use std::fmt;
use std::hash::Hasher as _;

use ring::hmac;
use siphasher::sip::SipHasher13;

/// What one endpoint owns of a node.
#[derive(Clone, Copy)]
pub struct Share {
    index: u8,
    count: u8,
    hasher: SipHasher13,
}

impl Share {
    /// All of it.
    #[must_use]
    pub fn whole() -> Self {
        Self {
            index: FIRST,
            count: 1,
            hasher: SipHasher13::new(),
        }
    }

    /// That of each of so many endpoints, in order; of one at least. All of them have the same secret.
    pub fn all(count: u8, secret: &[u8; 32]) -> impl Iterator<Item = Self> {
        let mut key = [0; 16];
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"shares of a node");
        key.copy_from_slice(&derived.as_ref()[..16]);
        let (count, hasher) = (count.max(1), SipHasher13::new_with_key(&key));
        (0..count).map(move |index| Self { index, count, hasher })
    }

    /// The place of this endpoint among all.
    #[must_use]
    pub fn index(&self) -> u8 {
        self.index
    }

    /// How many endpoints there are.
    #[must_use]
    pub fn count(&self) -> u8 {
        self.count
    }

    /// Whether there is no other endpoint.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.count == 1
    }

    /// Whether this is the one that owns what belongs to accounts.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.index == FIRST
    }

    /// The other endpoints.
    pub fn others(&self) -> impl Iterator<Item = u8> + use<> {
        let own = self.index;
        (0..self.count).filter(move |index| *index != own)
    }

    /// What falls to each of a number that is given for all, rounded up.
    #[must_use]
    pub fn part_of(&self, all: usize) -> usize {
        all.div_ceil(self.count.into())
    }

    /// Whose a Call-ID or a branch is.
    #[must_use]
    pub fn owner(&self, name: &str) -> u8 {
        if self.is_whole() {
            return FIRST;
        }
        let mut hasher = self.hasher;
        hasher.write(name.as_bytes());
        u8::try_from(hasher.finish() % u64::from(self.count)).unwrap_or(FIRST)
    }

    /// Draws Call-IDs or branches until one is this endpoint's.
    pub fn draw(&self, mut draw: impl FnMut() -> String) -> String {
        loop {
            let name = draw();
            if self.owner(&name) == self.index {
                return name;
            }
        }
    }

    /// A number for a call that no other endpoint gives: the `next` one of this endpoint.
    #[must_use]
    pub fn number(&self, next: u64) -> u64 {
        next * u64::from(self.count) + u64::from(self.index)
    }

    /// Who gave a number.
    #[must_use]
    pub fn numbered_by(&self, number: u64) -> u8 {
        u8::try_from(number % u64::from(self.count)).unwrap_or(FIRST)
    }

    /// Whose a message is that has just come; that of whoever has it, where it is no message or does not say.
    ///
    /// It reads no more than it must: the first line, and lines up to the Call-ID or the first Via (RFC 3261 §7.3.1, §7.3.3).
    #[must_use]
    pub fn owner_of(&self, message: &[u8]) -> u8 {
        if self.is_whole() {
            return FIRST;
        }
        // Empty lines may stand before a message (RFC 3261 §7.5).
        let blank = message.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let message = &message[blank..];
        if message.starts_with(b"REGISTER ") {
            return FIRST;
        }
        let name = if message.starts_with(b"SIP/") {
            value_of(message, *b"v", b"via").and_then(branch)
        } else {
            value_of(message, *b"i", b"call-id").map(|value| until(value, u8::is_ascii_whitespace))
        };
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        name.map_or(self.index, |name| self.owner(name))
    }
}

/// Without the key.
impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.index, self.count)
    }
}

/// The value of the first line of this name, long or short, and what follows on it.
fn value_of<'a>(message: &'a [u8], short: [u8; 1], long: &[u8]) -> Option<&'a [u8]> {
    let mut rest = message;
    loop {
        let end = memchr::memchr(b'\n', rest)?;
        rest = &rest[end + 1..];
        if matches!(rest.first()?, b'\r' | b'\n') {
            return None;
        }
        if let Some(value) = named(rest, long).or_else(|| named(rest, &short)) {
            // A Call-ID holds no space, so a fold can only stand before it (RFC 3261 §25.1).
            return Some(value.trim_ascii_start());
        }
    }
}

/// The branch of the Via that stands here, read as the parser does: others may write ours as they like, with folds and
/// blanks, and the name in any case (RFC 3261 §7.3.1). One whose value is changed is nobody's.
fn branch(via: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr2_iter(b',', b'\n', via).find(|&at| {
        let is_fold = matches!(via.get(at + 1), Some(b' ' | b'\t'));
        via[at] == b',' || !is_fold
    });
    let mut params = via[..end.unwrap_or(via.len())].split(|byte| *byte == b';');
    params.find_map(|param| {
        let equals = memchr::memchr(b'=', param)?;
        let (name, value) = param.split_at(equals);
        let is_it = name.trim_ascii().eq_ignore_ascii_case(b"branch");
        is_it.then(|| value[1..].trim_ascii())
    })
}

/// What stands before the first such byte.
fn until(text: &[u8], ends: impl Fn(&u8) -> bool) -> &[u8] {
    &text[..text.iter().position(ends).unwrap_or(text.len())]
}

/// What follows on the colon, if the line has this name.
fn named<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = line.split_at_checked(name.len())?;
    let blanks = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    let value = rest[blanks..].strip_prefix(b":")?;
    head.eq_ignore_ascii_case(name).then_some(value)
}

/// The endpoint that owns what belongs to accounts.
pub const FIRST: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn shares() -> Vec<Share> {
        Share::all(4, &[7; 32]).collect()
    }

    #[test]
    fn every_endpoint_knows_whose_a_message_is() {
        let shares = shares();
        let owner = shares[0].owner("a84b4c76e66710@pc33.example.com");
        let spellings = [
            "Call-ID: a84b4c76e66710@pc33.example.com\r\n",
            "CALL-id :a84b4c76e66710@pc33.example.com  \r\n",
            "i: a84b4c76e66710@pc33.example.com\r\n",
            "I\t:\r\n  a84b4c76e66710@pc33.example.com\r\n",
            "Contact: x\r\nIdentity: i: no\r\ncall-id:a84b4c76e66710@pc33.example.com\n",
        ];
        for lines in spellings {
            let message = format!("INVITE sip:a@b SIP/2.0\r\nVia: x\r\n{lines}CSeq: 1 INVITE\r\n\r\ni: body");
            for share in &shares {
                assert_eq!(share.owner_of(message.as_bytes()), owner, "{lines}");
            }
        }
    }

    #[test]
    fn what_has_no_call_id_stays_and_registrations_are_the_first_ones() {
        let nothing = [
            "",
            "\r\n\r\n",
            "OPTIONS sip:a SIP/2.0\r\n\r\ni: body\r\n",
            "SIP/2.0 200 OK\r\nCall-ID",
        ];
        for share in shares() {
            for message in nothing {
                assert_eq!(share.owner_of(message.as_bytes()), share.index(), "{message}");
            }
            assert_eq!(share.owner_of(b"REGISTER sip:a SIP/2.0\r\nCall-ID: 5\r\n\r\n"), FIRST);
            assert_eq!(
                share.owner_of(b"\r\n\nREGISTER sip:a SIP/2.0\r\nCall-ID: 5\r\n\r\n"),
                FIRST
            );
            let five = share.owner("5");
            assert_eq!(
                share.owner_of(b"\r\n\r\nINVITE sip:a SIP/2.0\r\nCall-ID: 5\r\n\r\n"),
                five
            );
            assert_eq!(
                share.owner_of(b"INVITE sip:a SIP/2.0\r\nCall-ID: \xff\r\n\r\n"),
                share.index()
            );
        }
    }

    #[test]
    fn a_response_is_whose_branch_it_has() {
        let shares = shares();
        let owner = shares[0].owner("z9hG4bKabc");
        let vias = [
            "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKabc\r\n",
            "v:SIP/2.0/UDP 192.0.2.1;rport=5;branch=z9hG4bKabc;received=192.0.2.2\r\nVia: x;branch=other\r\n",
            "Via: SIP/2.0/UDP 192.0.2.1;Branch = z9hG4bKabc ;rport\r\n",
            "Via: SIP/2.0/UDP 192.0.2.1\r\n ;rport;\r\n\tBRANCH=\r\n z9hG4bKabc\r\n ;received=192.0.2.2\r\n",
            "Via: SIP / 2.0 / UDP 192.0.2.1;xbranch=no;branch=z9hG4bKabc\n",
            "VIA : SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKabc ,SIP/2.0/UDP 192.0.2.9;branch=other\r\n",
        ];
        for via in vias {
            let message = format!("SIP/2.0 200 OK\r\nFrom: x\r\n{via}Call-ID: somebody's\r\n\r\n");
            for share in &shares {
                assert_eq!(share.owner_of(message.as_bytes()), owner, "{via}");
            }
        }
        for share in shares {
            let nobodys = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1\r\nCall-ID: 5\r\n\r\nVia: x;branch=y";
            assert_eq!(share.owner_of(nobodys), share.index());
        }
    }

    /// Of what one endpoint draws, every other one knows whose it is; and no endpoint is left out.
    #[test]
    fn call_ids_and_numbers_lead_back_to_who_drew_them() {
        let shares = shares();
        let mut drawn = 0;
        for share in &shares {
            for next in 1..50 {
                let call_id = share.draw(|| {
                    drawn += 1;
                    format!("call {drawn}")
                });
                let number = share.number(next);
                for other in &shares {
                    assert_eq!(other.owner(&call_id), share.index());
                    assert_eq!(other.numbered_by(number), share.index());
                }
            }
        }
        assert!(drawn > 400, "not every Call-ID is everybody's: {drawn}");
        assert_eq!(Share::whole().number(9), 9);
        assert_eq!(Share::whole().draw(|| "any".to_owned()), "any");
    }
}
