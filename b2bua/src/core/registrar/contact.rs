//! A contact as it is kept: its text, and where in it stands what is asked for.
//!
//! A phone that refreshes writes what it wrote before, so that what is kept nearly always is how its contact is written,
//! and the text is what the answer says again. Only where texts differ are the addresses read and compared.

use std::fmt::Write as _;
use std::num::NonZeroU16;

use cusax_common::core::sip::typed::{Contact, TypedHeader as _};
use cusax_common::core::sip::{SipUri, Uri};

/// `<uri>;params`, without the display name and the parameters that are ours to give.
///
/// # Invariant
/// [`Contact::parse`] reads the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptContact {
    text: Box<str>,
    instance: Option<Span>,
    number: Option<Span>,
    q: u16,
}

/// What becomes of the number of a flow (RFC 5626 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlowNumbers {
    /// It tells flows apart.
    Kept,
    /// The first hop knows nothing of flows, so that it means nothing.
    Ignored,
}

impl KeptContact {
    /// Takes a contact as it is to be kept.
    ///
    /// # Errors
    /// It is no SIP address, carries headers that would go into every request to it, or is too long.
    pub(super) fn of(contact: &Contact, numbers: FlowNumbers) -> Result<Self, Unacceptable> {
        let Uri::Sip(SipUri {
            headers: None,
            password: None,
            ..
        }) = &contact.uri
        else {
            return Err(Unacceptable);
        };
        let mut text = String::with_capacity(USUAL_LENGTH + contact.params.as_str().len());
        write!(text, "<{}>", contact.uri).expect("writing to a String cannot fail");
        let (mut instance, mut number) = (None, None);
        for (name, value) in kept_params(contact, numbers) {
            text.push(';');
            text.push_str(name);
            let span = value.and_then(|value| {
                text.push('=');
                let begin = text.len();
                text.push_str(value);
                Span::inside_quotes(begin, value)
            });
            // Where one stands twice, the first counts.
            if name.eq_ignore_ascii_case(INSTANCE) {
                instance.get_or_insert(span);
            } else if name.eq_ignore_ascii_case(FLOW_NUMBER) {
                number.get_or_insert(span);
            }
        }
        if text.len() > MAX_CONTACT {
            return Err(Unacceptable);
        }
        let again = Contact::parse(&text).map_err(|_| Unacceptable)?;
        Ok(Self {
            q: again.q().unwrap_or(FULL_PREFERENCE),
            text: text.into(),
            instance: instance.flatten(),
            number: number.flatten(),
        })
    }

    /// Whether this is what [`of`](Self::of) would make of a contact.
    pub(super) fn is_written(&self, contact: &Contact, numbers: FlowNumbers) -> bool {
        let uri = self.uri_text();
        let Some(mut rest) = self.text.get("<>".len() + uri.len()..) else {
            return false;
        };
        let mut goes_on = |part: &str| match rest.strip_prefix(part) {
            Some(behind) => {
                rest = behind;
                true
            }
            None => false,
        };
        contact.uri.is_written(uri)
            && kept_params(contact, numbers).all(|(name, value)| {
                goes_on(";") && goes_on(name) && value.is_none_or(|value| goes_on("=") && goes_on(value))
            })
            && rest.is_empty()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address, read anew.
    #[must_use]
    pub fn uri(&self) -> Uri {
        let contact = Contact::parse(&self.text).expect("it could be read when it was made");
        contact.0.uri
    }

    /// The text of the address.
    pub(super) fn uri_text(&self) -> &str {
        // None can stand inside without an escape.
        let end = self.text.find('>').unwrap_or(self.text.len());
        &self.text[1..end]
    }

    /// The preference in thousandths (RFC 3261 §20.10).
    #[must_use]
    pub fn q(&self) -> u16 {
        self.q
    }

    /// The phone's own name (RFC 5626 §4.1).
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.instance.map(|span| span.of(&self.text))
    }

    /// The number of the flow (RFC 5626 §4.2).
    pub(super) fn number(&self) -> Option<&str> {
        self.number.map(|span| span.of(&self.text))
    }

    /// Whether both are one phone: by address, or by instance and flow number, so that a phone that comes back with
    /// another port takes its own place again (RFC 5626 §6).
    pub(super) fn is_for(&self, other: &Self) -> bool {
        if self.text == other.text {
            return true;
        }
        let same_flow =
            self.instance().is_some() && self.instance() == other.instance() && self.number() == other.number();
        // Two flows may well have one address between them.
        let both_numbered = self.number().is_some() && other.number().is_some();
        let same_uri = || self.uri_text() == other.uri_text() || self.uri().same_as(&other.uri());
        same_flow || !both_numbered && same_uri()
    }
}

/// Whether a contact has the number of a flow. Without an instance it means nothing (RFC 5626 §6).
pub(super) fn is_numbered(contact: &Contact) -> bool {
    contact.params.has(INSTANCE) && contact.params.has(FLOW_NUMBER)
}

/// The parameters that are kept: without those that are ours to give (RFC 5627 §5.1), and without the number of a flow
/// that means nothing.
fn kept_params(contact: &Contact, numbers: FlowNumbers) -> impl Iterator<Item = (&str, Option<&str>)> {
    let numbered = numbers == FlowNumbers::Kept && is_numbered(contact);
    contact.params.iter().filter(move |(name, _)| {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        !(["expires", "pub-gruu", "temp-gruu"].into_iter().any(is) || is(FLOW_NUMBER) && !numbered)
    })
}

/// The contact is none that we keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unacceptable;

/// A part of the text; short, since a contact is no longer than [`MAX_CONTACT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    /// Behind the opening bracket at the very least.
    begin: NonZeroU16,
    end: u16,
}

impl Span {
    /// A value that begins there, without the quotes around it. None where it ends too far behind.
    fn inside_quotes(begin: usize, value: &str) -> Option<Self> {
        let quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
        let (skipped, length) = if quoted { (1, value.len() - 2) } else { (0, value.len()) };
        let begin = begin + skipped;
        Some(Self {
            begin: NonZeroU16::new(begin.try_into().ok()?)?,
            end: (begin + length).try_into().ok()?,
        })
    }

    fn of(self, text: &str) -> &str {
        &text[self.begin.get().into()..self.end.into()]
    }
}

/// The longest contact, in bytes.
pub const MAX_CONTACT: usize = 1024;
const FULL_PREFERENCE: u16 = 1000;
/// Room for an address; a longer one costs another step.
const USUAL_LENGTH: usize = 64;
const INSTANCE: &str = "+sip.instance";
/// The number of a flow (RFC 5626 §4.2).
pub(super) const FLOW_NUMBER: &str = "reg-id";

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> KeptContact {
        let contact = Contact::parse(text).unwrap();
        KeptContact::of(&contact, FlowNumbers::Kept).unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn what_is_looked_for_is_found_in_the_text() {
        let rows = [
            (
                r#""Desk" <sip:a@192.0.2.7:5070;transport=tcp>;expires=60;q=0.5"#,
                "<sip:a@192.0.2.7:5070;transport=tcp>;q=0.5",
                (500, None, None),
            ),
            ("sip:a@b;q=7;reg-id=1", "<sip:a@b>;q=7", (1000, None, None)),
            (
                r#"<sip:a@b> ; +SIP.instance = "<urn:x;y>" ;Pub-GRUU="sip:c@d" ;reg-id=2;EXPIRES=1"#,
                r#"<sip:a@b>;+SIP.instance="<urn:x;y>";reg-id=2"#,
                (1000, Some("<urn:x;y>"), Some("2")),
            ),
            (
                "<sip:a@b>;+sip.instance=\"\";reg-id;reg-id=3",
                "<sip:a@b>;+sip.instance=\"\";reg-id;reg-id=3",
                (1000, Some(""), None),
            ),
        ];
        for (written, text, found) in rows {
            let kept = kept(written);
            assert_eq!(kept.as_str(), text, "{written}");
            assert_eq!((kept.q(), kept.instance(), kept.number()), found, "{written}");
            assert_eq!(kept.uri().to_string(), kept.uri_text(), "{written}");
            let again = Contact::parse(text).unwrap();
            assert_eq!(
                (
                    again.q().unwrap_or(1000),
                    again.params.value(INSTANCE),
                    again.params.value(FLOW_NUMBER)
                ),
                found,
                "{written}"
            );
        }
    }

    #[test]
    fn what_is_kept_is_known_again_as_it_is_written() {
        let texts = [
            "sip:a@b",
            "<sip:a@B>;expires=60",
            "<sip:a@b:5060>",
            "<sip:a@b;x>",
            "<sip:a@b>;x",
            "<sip:a@b>;x=",
            "<sip:a@b>;xy",
            "<sip:a@b>;x;y",
            "<sip:a@b>;x=y",
            "<sip:a@b> ; x = y ;z",
            "<sip:a@b>;q=0.5",
            r#"<sip:a@b>;+sip.instance="<i>""#,
            r#"<sip:a@b>;+sip.instance="<i>";reg-id=1"#,
            "<sip:a@b>;reg-id=1",
        ];
        let contacts: Vec<_> = texts.iter().filter_map(|text| Contact::parse(text).ok()).collect();
        assert_eq!(contacts.len(), texts.len() - 1, "one has an empty value");
        for one in &contacts {
            for numbers in [FlowNumbers::Kept, FlowNumbers::Ignored] {
                let kept = KeptContact::of(one, numbers).unwrap();
                assert!(kept.is_written(one, numbers), "{kept:?}");
                for other in &contacts {
                    let same = KeptContact::of(other, numbers).unwrap() == kept;
                    assert_eq!(kept.is_written(other, numbers), same, "{kept:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn one_phone_is_known_by_its_address_or_its_name() {
        let rows = [
            ("<sip:a@b>", "<sip:%61@B;x=y>;q=0.1", true),
            ("<sip:a@b>", "<sip:a@b:5060>", false),
            (
                "<sip:a@b>;+sip.instance=\"<i>\"",
                "<sip:c@d>;+sip.instance=\"<i>\"",
                true,
            ),
            (
                "<sip:a@b>;+sip.instance=\"<i>\";reg-id=1",
                "<sip:a@b>;+sip.instance=\"<i>\";reg-id=2",
                false,
            ),
            ("<sip:a@b>;+sip.instance=\"<i>\";reg-id=1", "<sip:a@b>", true),
            (
                "<sip:a@b>;+sip.instance=\"<i>\"",
                "<sip:a@b>;+sip.instance=\"<j>\"",
                true,
            ),
        ];
        for (one, other, same) in rows {
            let (one, other) = (kept(one), kept(other));
            assert_eq!(
                (one.is_for(&other), other.is_for(&one)),
                (same, same),
                "{one:?} {other:?}"
            );
        }
    }
}
