//! What the module and the stream counted, shown as metrics once in a while.

use cusax_common::io::telemetry::Metrics;
use minidom::Element;

use super::connection::Event;
use crate::core::Counters;

/// Carries figures into the metrics.
#[derive(Debug)]
pub(super) struct Meter {
    metrics: Metrics,
    now: Totals,
    shown: Totals,
}

/// Everything that only grows.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    module: Counters,
    received: Kinds,
    sent: Kinds,
    accepted: u64,
    ended: u64,
}

/// Stanzas by kind (RFC 6120 §8.2).
#[derive(Clone, Copy, Debug, Default)]
struct Kinds {
    iq: u64,
    message: u64,
    presence: u64,
    other: u64,
}

impl Kinds {
    fn count(&mut self, stanza: &Element) {
        let kind = match stanza.name() {
            "iq" => &mut self.iq,
            "message" => &mut self.message,
            "presence" => &mut self.presence,
            _ => &mut self.other,
        };
        *kind += 1;
    }
}

impl Meter {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            now: Totals::default(),
            shown: Totals::default(),
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::Connected => self.now.accepted += 1,
            Event::Closed(_) => self.now.ended += 1,
            Event::Stanza(stanza) => self.now.received.count(stanza),
            Event::Idle => {}
        }
    }

    pub(super) fn sent(&mut self, stanza: &Element) {
        self.now.sent.count(stanza);
    }

    /// Brings the metrics up to date.
    pub(super) fn show(&mut self, module: Counters) {
        self.now.module = module;
        let (now, shown, metrics) = (self.now, self.shown, &self.metrics);
        self.shown = now;
        macro_rules! add {
            ($($family:ident($label:literal) = $($part:ident).+,)*) => {
                $(metrics.$family.add($label, now.$($part).+ - shown.$($part).+);)*
            };
        }
        add! {
            xmpp_connections("accepted") = accepted,
            xmpp_connections("ended") = ended,
            xmpp_received("iq") = received.iq,
            xmpp_received("message") = received.message,
            xmpp_received("presence") = received.presence,
            xmpp_received("other") = received.other,
            xmpp_sent("iq") = sent.iq,
            xmpp_sent("message") = sent.message,
            vcard_checks("accepted") = module.cards_accepted,
            vcard_checks("refused") = module.cards_refused,
            vcard_checks("unjudged") = module.cards_unjudged,
            notices("charge") = module.charges,
            notices("call") = module.calls,
            notices("unwanted") = module.unwanted,
            notices("many") = module.many,
            notices("late") = module.late,
        }
    }
}
