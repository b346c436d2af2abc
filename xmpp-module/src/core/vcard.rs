//! Judges the telephone entries of a card before it is stored (XEP-0054, XEP-0292).
//!
//! A card is accepted as it is or refused; it is never changed, so that what we do not know survives. Every entry
//! named `tel`, in whatever namespace, depth and case, must name something that the user holds, in any spelling:
//! `+44 20 …`, `tel:…`, the spelling of the home country, `sip:…` and `tel:sip:…`, which a conversion between the two
//! formats leaves behind. What cannot be read is refused: a reader might understand it differently than we do.

use cusax_common::core::policy::{Action, NumberClass, Policy};
use cusax_common::core::tel::Tel;
use cusax_common::core::user::{Aor, User};
use minidom::Element;

/// Reads a number as people of the home country write it.
pub trait ReadNumber {
    /// The number that the text means, or none when that cannot be told.
    fn read(&self, text: &str) -> Option<Tel>;

    /// What the operator decided of calls; none where nobody can say.
    fn policy(&self) -> Option<Policy> {
        None
    }

    /// What would become of a call to `text` by a user; none where that is no number.
    fn explain(&self, text: &str) -> Option<Explained> {
        let _ = text;
        None
    }
}

/// What would become of a call to a number, as far as it is told without knowing whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explained {
    /// A public number.
    Number {
        /// In its canonical form.
        number: Tel,
        /// What kind it is of.
        class: NumberClass,
        /// What the policy says of that kind.
        rule: Action,
    },
    /// An emergency service, which is always called.
    Emergency,
    /// It cannot be dialled; in words for people.
    Refused(String),
}

impl<F: Fn(&str) -> Option<Tel>> ReadNumber for F {
    fn read(&self, text: &str) -> Option<Tel> {
        self(text)
    }
}

/// What becomes of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything in it may be stored.
    Leave,
    /// It must not be stored, on account of this entry as the user wrote it.
    Refuse(String),
}

/// Judges everything named `tel` in `card`. Without a user nothing is held.
#[must_use]
pub fn judge(card: &Element, user: Option<&User>, numbers: &impl ReadNumber) -> Verdict {
    let mut entries = 0;
    let mut stack = vec![(card, false)];
    while let Some((element, inside)) = stack.pop() {
        let inside = inside || element.name().eq_ignore_ascii_case("tel");
        if inside {
            let text = element.text();
            let text = text.trim();
            if !text.is_empty() {
                entries += 1;
                if entries > MAX_ENTRIES || !user.is_some_and(|user| holds(user, text, numbers)) {
                    return Verdict::Refuse(text.chars().take(MAX_SHOWN).collect());
                }
            }
        }
        // The types of an entry (RFC 6351 §5.3) are words, not addresses.
        let children = element
            .children()
            .filter(|child| !(inside && child.name() == "parameters"));
        stack.extend(children.map(|child| (child, inside)));
    }
    Verdict::Leave
}

/// Whether `text` is a spelling of something that `user` holds.
#[must_use]
pub fn holds(user: &User, text: &str, numbers: &impl ReadNumber) -> bool {
    let mut text = text.trim();
    while let Some(rest) = without_scheme(text, "tel:") {
        text = rest.trim();
    }
    let sip = without_scheme(text, "sip:").or_else(|| without_scheme(text, "sips:"));
    if sip.is_some() || text.contains('@') {
        return holds_address(user, sip.unwrap_or(text));
    }
    let number = match text.split_once(';') {
        // Parameters do not change which line a global number is (RFC 3966 §5.1.4); of a local one they do.
        Some((number, _)) if number.starts_with('+') => number,
        Some(_) => return false,
        None => text,
    };
    numbers
        .read(number)
        .is_some_and(|number| user.numbers.contains(&number))
}

/// Whether `user@host;parameters` is an AOR of the user, or a number of theirs at the host of one.
fn holds_address(user: &User, address: &str) -> bool {
    let (address, parameters) = address.split_once(';').unwrap_or((address, ""));
    let mut phone = false;
    for parameter in parameters.split(';').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match name.to_ascii_lowercase().as_str() {
            "user" => phone = value.eq_ignore_ascii_case("phone"),
            "transport" => {}
            // Others change where the request goes: `maddr` above all (RFC 3261 §19.1.1).
            _ => return false,
        }
    }
    let Ok(aor) = address.parse::<Aor>() else { return false };
    let number = || {
        aor.user()
            .parse::<Tel>()
            .is_ok_and(|number| user.numbers.contains(&number))
    };
    let ours = || user.aors.iter().any(|held| held.domain() == aor.domain());
    user.aors.contains(&aor) || phone && number() && ours()
}

fn without_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let head = text.get(..scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
}

/// Most telephone entries of one card.
const MAX_ENTRIES: usize = 64;
/// How much of a refused entry is shown to the user, in characters.
const MAX_SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ns;
    use crate::core::testing::{british, user};
    use cusax_common::core::entropy::Seeded;

    fn mallory() -> User {
        user(
            "mallory@atlanta.example",
            &["sip:m.42@sip.atlanta.example"],
            &["+442079460042", "+447700900042"],
        )
    }

    #[test]
    fn own_addresses_are_accepted_in_every_spelling_and_others_in_none() {
        let own = [
            "+442079460042",
            "+44 20 7946 0042",
            "+44-(20)-7946.0042",
            "tel:+442079460042",
            "TEL:+44-20-7946-0042",
            "tel:+44-20-7946-0042;ext=7",
            "020 7946 0042",
            "00442079460042",
            "tel:02079460042",
            "  +447700900042\n",
            "sip:m.42@sip.atlanta.example",
            "SIP:m.42@SIP.Atlanta.Example",
            "sips:m.42@sip.atlanta.example",
            "tel:sip:m.42@sip.atlanta.example",
            "m.42@sip.atlanta.example",
            "sip:%6d.42@sip.atlanta.example",
            "sip:m.42@sip.atlanta.example;transport=tcp",
            "sip:+442079460042@sip.atlanta.example;user=phone",
            "tel:tel:+442079460042",
        ];
        for text in own {
            assert!(holds(&mallory(), text, &british), "own: {text:?}");
        }
        let others = [
            "+442079460018",
            "tel:+442079460018",
            "020 7946 0018",
            "00442079460018",
            "tel:+1-900-555-0100",
            "sip:alice@sip.atlanta.example",
            "tel:sip:alice@sip.atlanta.example",
            "alice@sip.atlanta.example",
            "sip:m.42@sip.atlanta.example;maddr=192.0.2.1",
            "sip:m.42@sip.atlanta.example?Route=x",
            "sip:m.42@sip.atlanta.example:5061",
            "sip:M.42@sip.atlanta.example",
            "sip:m.42@evil.example",
            "sip:+442079460042@evil.example;user=phone",
            "sip:+442079460042@sip.atlanta.example",
            "+44207946004\u{200b}2",
            "\u{202e}2400649702+44",
            "+４４２０７９４６００４２",
            "tel:%2B442079460042",
            "+442079460042,,1",
            "+442079460042 or +19005550100",
            "tel:0042;phone-context=+44207946",
            "0042",
            "tel:",
            "xmpp:mallory@atlanta.example",
            "javascript:alert(1)",
            "callto:+442079460042",
            "+442079460042x5",
            "urn:service:sos",
            "112",
        ];
        for text in others {
            assert!(!holds(&mallory(), text, &british), "not own: {text:?}");
        }
    }

    #[test]
    fn every_door_and_every_hiding_place_is_judged() {
        let temp = |inner: &str| format!("<vCard xmlns='vcard-temp'><FN>M</FN>{inner}<X-OWN a='1'/></vCard>");
        let four = |inner: &str| format!("<vcard xmlns='{}'><fn><text>M</text></fn>{inner}</vcard>", ns::VCARD4);
        let publish = |card: &str| {
            format!(
                "<pubsub xmlns='{}'><publish node='{}'><item id='current'>{card}</item></publish></pubsub>",
                ns::PUBSUB,
                ns::VCARD4_NODE
            )
        };
        let (own, other) = ("+442079460042", "+442079460018");
        let cards = |number: &str| {
            vec![
                (
                    "vcard-temp",
                    temp(&format!("<TEL><WORK/><VOICE/><NUMBER>{number}</NUMBER></TEL>")),
                ),
                ("lower case", temp(&format!("<tel><number>{number}</number></tel>"))),
                (
                    "another namespace",
                    temp(&format!("<TEL xmlns='x'><NUMBER>{number}</NUMBER></TEL>")),
                ),
                (
                    "the second of two",
                    temp(&format!("<TEL><NUMBER>{own}</NUMBER><NUMBER>{number}</NUMBER></TEL>")),
                ),
                (
                    "in pieces",
                    temp(&format!(
                        "<TEL><NUMBER>{}<X/>{}</NUMBER></TEL>",
                        &number[..5],
                        &number[5..]
                    )),
                ),
                (
                    "in character data",
                    temp(&format!("<TEL><NUMBER><![CDATA[{number}]]></NUMBER></TEL>")),
                ),
                ("no NUMBER", temp(&format!("<TEL>{number}</TEL>"))),
                (
                    "vCard4 uri",
                    four(&format!(
                        "<tel><parameters><type><text>work</text></type></parameters><uri>tel:{number}</uri></tel>"
                    )),
                ),
                ("vCard4 text", four(&format!("<tel><text>{number}</text></tel>"))),
                (
                    "vCard4 group",
                    four(&format!("<group name='g'><tel><uri>tel:{number}</uri></tel></group>")),
                ),
                (
                    "vCard4 publish",
                    publish(&four(&format!("<tel><uri>tel:{number}</uri></tel>"))),
                ),
                (
                    "the other card in the publish",
                    publish(&temp(&format!("<TEL><NUMBER>{number}</NUMBER></TEL>"))),
                ),
            ]
        };
        for (name, card) in cards(own) {
            assert_eq!(
                judge(&card.parse().unwrap(), Some(&mallory()), &british),
                Verdict::Leave,
                "own, {name}"
            );
        }
        for (name, card) in cards(other) {
            let card: Element = card.parse().unwrap();
            let verdict = judge(&card, Some(&mallory()), &british);
            assert!(
                matches!(&verdict, Verdict::Refuse(text) if text.contains(other)),
                "{name}: {verdict:?}"
            );
            assert_ne!(
                judge(&card, None, &british),
                Verdict::Leave,
                "{name}: a stranger holds nothing"
            );
        }
    }

    #[test]
    fn a_card_without_numbers_is_left() {
        for card in [
            "<vCard xmlns='vcard-temp'/>",
            "<vCard xmlns='vcard-temp'><TEL><NUMBER/></TEL><EMAIL><USERID>a</USERID></EMAIL></vCard>",
        ] {
            assert_eq!(judge(&card.parse().unwrap(), None, &british), Verdict::Leave, "{card}");
        }
    }

    #[test]
    fn a_card_has_a_bound() {
        let tel = "<TEL><NUMBER>+442079460042</NUMBER></TEL>";
        let card = |n: usize| {
            format!("<vCard xmlns='vcard-temp'>{}</vCard>", tel.repeat(n))
                .parse::<Element>()
                .unwrap()
        };
        assert_eq!(judge(&card(MAX_ENTRIES), Some(&mallory()), &british), Verdict::Leave);
        assert_ne!(
            judge(&card(MAX_ENTRIES + 1), Some(&mallory()), &british),
            Verdict::Leave
        );
    }

    /// However a number is decorated, it is accepted if and only if it is held.
    #[test]
    fn decoration_never_changes_the_verdict() {
        for seed in 0..2_000 {
            let mut seeded = Seeded::new(seed);
            let own = seeded.next_u64().is_multiple_of(2);
            let digits = if own { "442079460042" } else { "442079460018" };
            let mut text = String::from(["+", "tel:+", "TEL:+", "00", "tel:tel:+"][(seeded.next_u64() % 5) as usize]);
            for (place, digit) in digits.chars().enumerate() {
                if place > 1 {
                    text.push_str(["", "", "", "-", " ", ".", "(", ")"][(seeded.next_u64() % 8) as usize]);
                }
                text.push(digit);
            }
            assert_eq!(holds(&mallory(), &text, &british), own, "seed {seed}: {text}");
        }
    }
}
