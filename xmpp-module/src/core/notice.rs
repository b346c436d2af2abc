//! Tells a caller in chat that a call may cost money (RFC 7081 §5).
//!
//! The message is of type `chat`, since stock clients do not show headlines, and asks the server to keep it for a
//! client that is away (XEP-0334 §4.4).

use cusax_common::core::bridge::ChargeNotice;
use cusax_common::core::policy::NumberClass;
use minidom::Element;

use crate::core::{ns, xml};

/// The message. `language` is the user's, as BCP 47 has it; `domain` is what the call leaves.
#[must_use]
pub fn charge(notice: &ChargeNotice, component: &str, domain: &str, language: &str) -> Element {
    let german = language
        .split('-')
        .next()
        .is_some_and(|primary| primary.eq_ignore_ascii_case("de"));
    let (english_class, german_class) = class(notice.class);
    let number = &notice.number;
    let (language, text) = if german {
        (
            "de",
            format!("Ihr Anruf an {number} ({german_class}) verlässt {domain} und kann Geld kosten."),
        )
    } else {
        (
            "en",
            format!("Your call to {number} ({english_class}) leaves {domain} and may cost money."),
        )
    };
    let id = notice.session.to_string();
    let to = notice.jid.as_str();
    let mut message = xml::element(
        "message",
        ns::COMPONENT,
        &[("type", "chat"), ("from", component), ("to", to), ("id", &id)],
    );
    let name = xso::exports::rxml::NcName::try_from("lang").expect("a name");
    message.set_attr(xso::exports::rxml::Namespace::XML, name, language);
    let mut body = Element::bare("body", ns::COMPONENT);
    xml::append_text(&mut body, &text);
    message.append_child(body);
    message.append_child(Element::bare("store", ns::HINTS));
    message
}

/// The class in English and in German.
fn class(class: NumberClass) -> (&'static str, &'static str) {
    match class {
        NumberClass::Emergency => ("emergency", "Notruf"),
        NumberClass::Onnet => ("internal", "intern"),
        NumberClass::Free => ("free of charge", "gebührenfrei"),
        NumberClass::National => ("national", "Inland"),
        NumberClass::Mobile => ("mobile", "Mobilfunk"),
        NumberClass::Shared => ("shared cost", "Servicenummer"),
        NumberClass::Premium => ("premium rate", "Sonderrufnummer"),
        NumberClass::Intl => ("international", "Ausland"),
        NumberClass::IntlPremium => ("international premium rate", "Sonderrufnummer im Ausland"),
        NumberClass::Satellite => ("satellite", "Satellit"),
        NumberClass::Unknown => ("unknown kind of number", "unbekannte Art von Nummer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cusax_common::core::entropy::Seeded;
    use cusax_common::core::id::SessionId;
    use cusax_common::core::time::Wall;

    #[test]
    fn a_notice_is_a_chat_message_that_names_number_and_class() {
        let notice = ChargeNotice {
            session: SessionId::draw(&mut Seeded::new(1)),
            jid: "alice@atlanta.example".parse().unwrap(),
            number: "+447700900042".parse().unwrap(),
            class: NumberClass::Mobile,
            at: Wall(0),
        };
        for (language, kind, body_language) in [
            ("en", "mobile", "en"),
            ("de-AT", "Mobilfunk", "de"),
            ("fr", "mobile", "en"),
            ("", "mobile", "en"),
        ] {
            let message = charge(&notice, "calls.atlanta.example", "atlanta.example", language);
            assert_eq!(message.attr("type"), Some("chat"), "{language}");
            assert_eq!(message.attr("from"), Some("calls.atlanta.example"));
            assert_eq!(message.attr("to"), Some("alice@atlanta.example"));
            let lang = message.attr_ns("http://www.w3.org/XML/1998/namespace", "lang");
            assert_eq!(lang, Some(body_language), "{language}");
            let body = message.get_child("body", ns::COMPONENT).unwrap().text();
            assert!(body.contains("+447700900042") && body.contains(kind), "{body}");
            assert!(message.has_child("store", ns::HINTS));
        }
    }
}
