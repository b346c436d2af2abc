//! Addresses of one device of a user (RFC 5627).
//!
//! A public one is the address of record with a mark of the device; it says whose device it is, and stays the same. A
//! temporary one says nothing to anybody but us: its user part is sealed. Neither is kept: what is needed to find the
//! device stands in the address itself, and in the binding.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cusax_common::core::entropy::{Entropy, hex};
use cusax_common::core::sip::SipUri;
use cusax_common::core::user::Aor;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::hmac;

/// Which device of a user is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// The one with this mark.
    Public(String),
    /// The one that registered in this epoch of its own.
    Temporary(u64),
}

/// What an address with `gr` leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gruu {
    /// Whose device it is.
    pub aor: Aor,
    /// Which one.
    pub device: Device,
}

/// Makes and reads such addresses.
pub(super) struct Gruus {
    key: LessSafeKey,
}

impl Gruus {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"temporary GRUU");
        let key = UnboundKey::new(&AES_128_GCM, &derived.as_ref()[..AES_128_GCM.key_len()]);
        Self {
            key: LessSafeKey::new(key.expect("the key has the length that the algorithm asks for")),
        }
    }

    /// RFC 5627 §3.1.1.
    pub(super) fn public(aor: &Aor, instance: &str) -> Option<SipUri> {
        let mut uri = SipUri::new(aor.user(), aor.domain().parse().ok()?);
        uri.params.set("gr", Some(&mark(aor, instance)));
        Some(uri)
    }

    /// RFC 5627 §3.1.2. A new one each time.
    pub(super) fn temporary(&self, aor: &Aor, epoch: u64, entropy: &mut impl Entropy) -> Option<SipUri> {
        let nonce = entropy.bytes::<NONCE_LEN>();
        let mut text = epoch.to_be_bytes().to_vec();
        text.extend_from_slice(aor.as_str().as_bytes());
        let nonced = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonced, Aad::empty(), &mut text)
            .ok()?;
        let sealed = [&nonce[..], &text].concat();
        let user = format!("{TEMPORARY}{}", URL_SAFE_NO_PAD.encode(sealed));
        if user.len() > MAX_USER {
            return None;
        }
        let mut uri = SipUri::new(&user, aor.domain().parse().ok()?);
        uri.params.set("gr", None);
        Some(uri)
    }

    /// What an address leads to: `None` if it is no GRUU at all.
    ///
    /// # Errors
    /// It looks like one, and is none of ours.
    pub(super) fn read(&self, uri: &SipUri) -> Option<Result<Gruu, NotOurs>> {
        let gr = uri.params.get("gr")?;
        let user = uri.user_decoded()?;
        Some(match (gr, user.strip_prefix(TEMPORARY)) {
            (Some(mark), _) => Aor::new(&user, &uri.host.to_string())
                .map_err(|_| NotOurs)
                .map(|aor| Gruu {
                    aor,
                    device: Device::Public(mark.to_owned()),
                }),
            (None, Some(sealed)) => self.open(sealed).ok_or(NotOurs),
            (None, None) => Err(NotOurs),
        })
    }

    fn open(&self, sealed: &str) -> Option<Gruu> {
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.key.open_in_place(nonce, Aad::empty(), text).ok()?;
        let (epoch, aor) = opened.split_first_chunk::<8>()?;
        Some(Gruu {
            aor: std::str::from_utf8(aor).ok()?.parse().ok()?,
            device: Device::Temporary(u64::from_be_bytes(*epoch)),
        })
    }
}

impl fmt::Debug for Gruus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gruus")
    }
}

/// A GRUU that this service did not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOurs;

/// The mark of a device. The instance itself is not shown: it is the number of the hardware as often as not.
pub(super) fn mark(aor: &Aor, instance: &str) -> String {
    let text = format!("{aor} {instance}");
    hex(&digest(&SHA256, text.as_bytes()).as_ref()[..MARK_BYTES])
}

/// User parts of temporary addresses begin so.
const TEMPORARY: &str = "tgruu.";
/// The longest user part that can be called.
const MAX_USER: usize = 255;
const MARK_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use cusax_common::core::entropy::Seeded;
    use cusax_common::core::sip::Uri;

    use super::*;

    fn read(gruus: &Gruus, text: &str) -> Option<Result<Gruu, NotOurs>> {
        let Uri::Sip(uri) = text.parse::<Uri>().unwrap() else {
            panic!("{text}")
        };
        gruus.read(&uri)
    }

    #[test]
    fn each_leads_back_to_its_device_and_temporary_ones_show_nothing() {
        let gruus = Gruus::new(&[7; 32]);
        let aor: Aor = "sip:alice@example.com".parse().unwrap();
        let public = Uri::Sip(Gruus::public(&aor, "<urn:uuid:1>").unwrap()).to_string();
        assert!(
            public.starts_with("sip:alice@example.com;gr=") && !public.contains("uuid"),
            "{public}"
        );
        let device = Device::Public(mark(&aor, "<urn:uuid:1>"));
        assert_eq!(
            read(&gruus, &public),
            Some(Ok(Gruu {
                aor: aor.clone(),
                device
            }))
        );

        let mut entropy = Seeded::new(1);
        let mut made = Vec::new();
        for _ in 0..3 {
            let text = Uri::Sip(gruus.temporary(&aor, 42, &mut entropy).unwrap()).to_string();
            assert!(!text.contains("alice") && text.ends_with("@example.com;gr"), "{text}");
            let device = Device::Temporary(42);
            assert_eq!(
                read(&gruus, &text),
                Some(Ok(Gruu {
                    aor: aor.clone(),
                    device
                }))
            );
            made.push(text);
        }
        assert!(
            made[0] != made[1] && made[1] != made[2],
            "nothing ties one to the other"
        );
        assert_eq!(
            read(&Gruus::new(&[8; 32]), &made[0]),
            Some(Err(NotOurs)),
            "of another service"
        );
    }

    #[test]
    fn what_is_made_up_leads_nowhere() {
        let gruus = Gruus::new(&[7; 32]);
        assert_eq!(read(&gruus, "sip:alice@example.com"), None);
        for text in [
            "sip:alice@example.com;gr",
            "sip:tgruu.@example.com;gr",
            "sip:tgruu.AAAA@example.com;gr",
            "sip:tgruu.%21%21@example.com;gr",
        ] {
            assert_eq!(read(&gruus, text), Some(Err(NotOurs)), "{text}");
        }
        let aor: Aor = "sip:alice@example.com".parse().unwrap();
        let good = gruus.temporary(&aor, 42, &mut Seeded::new(2)).unwrap();
        let user = good.user_decoded().unwrap().into_owned();
        for at in TEMPORARY.len()..user.len() {
            let mut bytes = user.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            if URL_SAFE_NO_PAD.decode(&changed[TEMPORARY.len()..]).is_ok() {
                assert_eq!(
                    read(&gruus, &format!("sip:{changed}@example.com;gr")),
                    Some(Err(NotOurs)),
                    "{at}"
                );
            }
        }
    }
}
