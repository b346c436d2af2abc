//! What the machines counted, shown as metrics once in a while, so that the path of a message meets no lock.

use std::collections::HashMap;

use cusax_common::core::entropy::Entropy;
use cusax_common::core::record::CallRecord;
use cusax_common::io::telemetry::Metrics;

use crate::core::endpoint::{self, Endpoint};
use crate::core::media::{MediaEvent, Side};
use crate::core::transaction;
use crate::io::relay::Relay;
use crate::io::transport::{Lost, Network};

/// Carries figures into the metrics.
#[derive(Debug)]
pub struct Meter {
    metrics: Metrics,
    now: Totals,
    shown: Totals,
    /// What this endpoint has added to what is shown of all together.
    heights: HashMap<Height, i64>,
    sessions: i64,
}

/// What grows and shrinks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Height {
    Transactions,
    Connections,
    Bindings,
    Calls,
    Broken(String),
    Sessions,
    Ports,
}

/// Everything that only grows.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    endpoint: endpoint::Counters,
    transactions: transaction::Counters,
    sent_requests: u64,
    sent_responses: u64,
    lost: Lost,
}

impl Meter {
    /// Nothing was counted yet.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            now: Totals::default(),
            shown: Totals::default(),
            heights: HashMap::new(),
            sessions: 0,
        }
    }

    /// A message goes out.
    pub fn sent(&mut self, bytes: &[u8]) {
        if bytes.starts_with(b"SIP/") {
            self.now.sent_responses += 1;
        } else {
            self.now.sent_requests += 1;
        }
    }

    /// A call has ended.
    pub fn record(&mut self, record: &CallRecord) {
        let metrics = &self.metrics;
        metrics.calls_ended.count(record.cause.as_str());
        metrics.warnings.count(record.warning.as_str());
        metrics.impp.count(record.impp.as_str());
        if let Some(answered) = record.answered {
            metrics.call_seconds.observe(record.ended.since(answered).as_secs_f64());
        }
    }

    /// A notice of cost found no room on its way to the XMPP side.
    pub fn notice_lost(&self) {
        self.metrics.notices.count("lost");
    }

    /// The relay said something.
    pub fn media(&mut self, event: &MediaEvent) {
        let metrics = &self.metrics;
        match event {
            MediaEvent::Opened { .. } => self.sessions += 1,
            MediaEvent::Closed { stats, .. } => {
                self.sessions -= 1;
                for side in Side::BOTH {
                    let side = stats.side(side);
                    metrics.media_relayed.inc_by(side.received + side.rtcp_received);
                    let dropped = side.dropped;
                    metrics.media_dropped.add("malformed", dropped.malformed);
                    metrics.media_dropped.add("source", dropped.source);
                    metrics.media_dropped.add("unaimed", dropped.unaimed);
                    metrics.media_dropped.add("tone", dropped.toned);
                    metrics.media_dropped.add("unsent", dropped.unsent);
                }
            }
            MediaEvent::Refused { .. }
            | MediaEvent::Played { .. }
            | MediaEvent::Reported { .. }
            | MediaEvent::Failed => {}
        }
        self.raise(Height::Sessions, self.sessions);
    }

    /// Several endpoints show one height together: each what it has of it.
    fn raise(&mut self, what: Height, height: i64) {
        let before = self.heights.insert(what.clone(), height).unwrap_or_default();
        let (metrics, more) = (&self.metrics, height - before);
        let gauge = match &what {
            Height::Transactions => &metrics.transactions,
            Height::Connections => &metrics.connections,
            Height::Bindings => &metrics.bindings,
            Height::Calls => &metrics.calls,
            Height::Broken(trunk) => {
                metrics.trunk_broken.add(trunk, more);
                return;
            }
            Height::Sessions => &metrics.media_sessions,
            Height::Ports => &metrics.media_ports_free,
        };
        gauge.inc_by(more);
    }

    /// Brings the metrics up to date.
    pub fn show<E: Entropy>(&mut self, endpoint: &Endpoint<E>, relay: &Relay, network: &Network) {
        self.now.endpoint = *endpoint.counters();
        self.now.transactions = endpoint.transaction_counters();
        self.now.lost = network.lost();
        let (now, shown, metrics) = (self.now, self.shown, &self.metrics);
        self.shown = now;
        macro_rules! add {
            ($($family:ident($label:literal) = $($part:ident).+,)*) => {
                $(metrics.$family.add($label, now.$($part).+ - shown.$($part).+);)*
            };
        }
        add! {
            sip_received("request") = endpoint.requests,
            sip_received("response") = endpoint.responses,
            sip_received("keepalive") = endpoint.keepalives,
            sip_sent("request") = sent_requests,
            sip_sent("response") = sent_responses,
            sip_malformed("answered") = endpoint.malformed_answered,
            sip_malformed("dropped") = endpoint.malformed_dropped,
            sip_dropped("forbidden") = endpoint.forbidden,
            sip_dropped("misplaced") = endpoint.misplaced,
            sip_dropped("looped") = endpoint.looped,
            sip_dropped("withheld") = endpoint.withheld,
            sip_dropped("overloaded") = endpoint.overloaded,
            sip_dropped("unmatchable") = endpoint.unmatchable,
            sip_dropped("throttled") = endpoint.throttled,
            sip_dropped("merged") = transactions.merged,
            sip_dropped("stray-ack") = transactions.stray_acks,
            sip_dropped("stray-cancel") = transactions.stray_cancels,
            sip_dropped("stray-response") = transactions.stray_responses,
            sip_dropped("inbox-full") = lost.inbox_full,
            sip_dropped("unsent") = lost.unsent,
            connections_refused("refused") = lost.refused,
            connections_refused("dropped") = lost.dropped,
            proofs("challenged") = endpoint.challenged,
            proofs("right") = endpoint.proved,
            proofs("wrong") = endpoint.unproved,
            registrations("accepted") = endpoint.registered,
            registrations("refused") = endpoint.unregistered,
        }
        let again = now.transactions.retransmitted - shown.transactions.retransmitted;
        metrics.sip_retransmitted.inc_by(again);
        self.raise(Height::Transactions, gauge(endpoint.transactions()));
        self.raise(Height::Calls, gauge(endpoint.calls()));
        // The rest is the same to all.
        if !endpoint.share().is_first() {
            return;
        }
        self.raise(Height::Connections, gauge(network.connections()));
        self.raise(Height::Bindings, gauge(endpoint.bindings()));
        for (trunk, broken) in endpoint.broken_servers() {
            self.raise(Height::Broken(trunk.to_owned()), gauge(broken));
        }
        self.raise(Height::Ports, gauge(relay.free_ports()));
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
