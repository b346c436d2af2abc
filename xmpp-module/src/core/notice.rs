//! What users are told in chat: that a call may cost money (RFC 7081 §5), that somebody calls, and that somebody called.
//!
//! The messages are of type `chat`, since stock clients do not show headlines, and ask the server to keep them for a
//! client that is away (XEP-0334 §4.4).

use std::time::{Duration, Instant};

use cusax_common::core::bridge::{CallNews, CallNotice, ChargeNotice, Peer};
use cusax_common::core::id::SessionId;
use cusax_common::core::jid::to_uri;
use cusax_common::core::notice::NoticeKind;
use cusax_common::core::policy::NumberClass;
use jid::BareJid;
use minidom::Element;

use crate::core::language::Language;
use crate::core::{ns, xml};

/// Something to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// To the caller: what a call may cost.
    Charge(ChargeNotice),
    /// To the callee.
    Call(CallNotice),
}

impl Notice {
    /// Who is told.
    #[must_use]
    pub fn jid(&self) -> &BareJid {
        match self {
            Self::Charge(charge) => &charge.jid,
            Self::Call(call) => &call.jid,
        }
    }

    /// The call that it is about.
    #[must_use]
    pub fn session(&self) -> SessionId {
        match self {
            Self::Charge(charge) => charge.session,
            Self::Call(call) => call.session,
        }
    }

    /// What users choose it by.
    #[must_use]
    pub fn kind(&self) -> NoticeKind {
        match self {
            Self::Charge(_) => NoticeKind::Charge,
            Self::Call(call) => call.news.kind(),
        }
    }

    /// Until when it is worth telling, if it came at `now`.
    #[must_use]
    pub fn life(&self, now: Instant) -> Instant {
        now + match self.kind() {
            NoticeKind::Incoming => RINGING,
            NoticeKind::Charge | NoticeKind::Missed | NoticeKind::Refused => LIFE,
        }
    }

    /// The message. `language` is the user's, as BCP 47 has it; `domain` is what a call leaves that costs money.
    #[must_use]
    pub fn message(&self, component: &str, domain: &str, language: &str) -> Element {
        let language = Language::of(language);
        let (suffix, text) = match self {
            Self::Charge(notice) => ("", charge(notice, domain, language)),
            Self::Call(notice) if notice.news == CallNews::Incoming => ("-incoming", call(notice, language)),
            Self::Call(notice) => ("", call(notice, language)),
        };
        // A client takes two messages of one identifier for one.
        let id = format!("{}{suffix}", self.session());
        let mut message = xml::element(
            "message",
            ns::COMPONENT,
            &[
                ("type", "chat"),
                ("from", component),
                ("to", self.jid().as_str()),
                ("id", &id),
            ],
        );
        let name = xso::exports::rxml::NcName::try_from("lang").expect("a name");
        message.set_attr(xso::exports::rxml::Namespace::XML, name, language.tag());
        let mut body = Element::bare("body", ns::COMPONENT);
        xml::append_text(&mut body, &text);
        message.append_child(body);
        message.append_child(Element::bare("store", ns::HINTS));
        message
    }
}

fn charge(notice: &ChargeNotice, domain: &str, language: Language) -> String {
    let (english, german) = class(notice.class);
    let number = &notice.number;
    match language {
        Language::German => format!("Ihr Anruf an {number} ({german}) verlässt {domain} und kann Geld kosten."),
        Language::English => format!("Your call to {number} ({english}) leaves {domain} and may cost money."),
    }
}

fn call(notice: &CallNotice, language: Language) -> String {
    let who = match (&notice.caller, language) {
        (Some(peer), _) => shown(peer),
        (None, Language::English) => "somebody who is not named".into(),
        (None, Language::German) => "jemandem ohne Namen".into(),
    };
    let told = match (notice.news, language) {
        (CallNews::Incoming, Language::English) => format!("Incoming call from {who}."),
        (CallNews::Incoming, Language::German) => format!("Anruf von {who}."),
        (CallNews::Missed, Language::English) => format!("Missed call from {who}."),
        (CallNews::Missed, Language::German) => format!("Verpasster Anruf von {who}."),
        (CallNews::Busy, Language::English) => {
            format!("Call from {who} while your phones were busy, or refused it.")
        }
        (CallNews::Busy, Language::German) => {
            format!("Anruf von {who}, als Ihre Telefone besetzt waren oder ihn abwiesen.")
        }
        (CallNews::Unreachable, Language::English) => {
            format!("Call from {who} while none of your phones was connected.")
        }
        (CallNews::Unreachable, Language::German) => {
            format!("Anruf von {who}, als keines Ihrer Telefone verbunden war.")
        }
    };
    // What many clients make a link of: a click opens a chat with the caller (XEP-0147).
    let link = notice.caller.as_ref().and_then(|peer| to_uri(peer.jid.as_ref()?));
    match link {
        Some(uri) => format!("{told}\n{uri}?message"),
        None => told,
    }
}

fn shown(peer: &Peer) -> String {
    match &peer.name {
        Some(name) if !name.is_empty() => format!("{name} ({})", peer.address),
        _ => peer.address.clone(),
    }
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

/// How long most notices are worth sending.
pub const LIFE: Duration = Duration::from_secs(60);
/// How long it is worth sending that a phone rings.
const RINGING: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use cusax_common::core::entropy::Seeded;
    use cusax_common::core::time::Wall;

    const ALICE: &str = "alice@atlanta.example";

    fn body(message: &Element, language: &str) -> String {
        assert_eq!(message.attr("type"), Some("chat"), "{language}");
        assert_eq!(message.attr("from"), Some("calls.atlanta.example"));
        assert_eq!(message.attr("to"), Some(ALICE));
        assert!(message.has_child("store", ns::HINTS));
        let lang = message.attr_ns("http://www.w3.org/XML/1998/namespace", "lang");
        assert_eq!(lang, Some(if language.starts_with("de") { "de" } else { "en" }));
        message.get_child("body", ns::COMPONENT).unwrap().text()
    }

    fn say(notice: Notice, language: &str) -> String {
        body(
            &notice.message("calls.atlanta.example", "atlanta.example", language),
            language,
        )
    }

    #[test]
    fn a_notice_of_cost_is_a_chat_message_that_names_number_and_class() {
        let notice = ChargeNotice {
            session: SessionId::draw(&mut Seeded::new(1)),
            jid: ALICE.parse().unwrap(),
            number: "+447700900042".parse().unwrap(),
            class: NumberClass::Mobile,
            at: Wall(0),
        };
        for (language, kind) in [
            ("en", "mobile"),
            ("de-AT", "Mobilfunk"),
            ("fr", "mobile"),
            ("", "mobile"),
        ] {
            let body = say(Notice::Charge(notice.clone()), language);
            assert!(body.contains("+447700900042") && body.contains(kind), "{body}");
        }
    }

    #[test]
    fn a_call_is_told_with_name_address_and_a_link_where_they_are_known() {
        let bob = |name: Option<&str>, jid: Option<&str>| Peer {
            name: name.map(str::to_owned),
            address: "sip:bob@sip.biloxi.example".into(),
            jid: jid.map(|jid| jid.parse().unwrap()),
        };
        let whole = bob(Some("Bob <b>"), Some("d\\27artagnan@biloxi.example"));
        let link = "\nxmpp:d%5C27artagnan@biloxi.example?message";
        let (incoming, missed) = (CallNews::Incoming, CallNews::Missed);
        let cases = [
            (
                incoming,
                Some(whole.clone()),
                "en",
                format!("Incoming call from Bob <b> (sip:bob@sip.biloxi.example).{link}"),
            ),
            (
                missed,
                Some(whole),
                "de",
                format!("Verpasster Anruf von Bob <b> (sip:bob@sip.biloxi.example).{link}"),
            ),
            (
                missed,
                Some(bob(Some(""), None)),
                "en",
                "Missed call from sip:bob@sip.biloxi.example.".into(),
            ),
            (
                CallNews::Busy,
                Some(bob(None, None)),
                "en",
                "Call from sip:bob@sip.biloxi.example while your phones were busy, or refused it.".into(),
            ),
            (
                CallNews::Unreachable,
                None,
                "en",
                "Call from somebody who is not named while none of your phones was connected.".into(),
            ),
            (
                CallNews::Unreachable,
                None,
                "de",
                "Anruf von jemandem ohne Namen, als keines Ihrer Telefone verbunden war.".into(),
            ),
        ];
        for (news, caller, language, wanted) in cases {
            let notice = CallNotice {
                session: SessionId::draw(&mut Seeded::new(1)),
                jid: ALICE.parse().unwrap(),
                news,
                caller,
                at: Wall(0),
            };
            assert_eq!(say(Notice::Call(notice), language), wanted);
        }
    }
}
