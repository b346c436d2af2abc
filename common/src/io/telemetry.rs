//! Logs and metrics: the only place that knows their formats.

use std::fmt;
use std::io::Stderr;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::core::config::{Addresses, Format, Level, Log};
use crate::core::secret::show_pii;
use crate::io::lines::Lines;

/// Starts logging to standard error. The handle changes the level later.
///
/// # Errors
/// [`NoLogs`] if this process logs somewhere already, or has no thread left.
pub fn begin_logs(log: &Log) -> Result<LogHandle, NoLogs> {
    let lines = Lines::to(std::io::stderr())?;
    let (filter, handle) = reload::Layer::new(filter(log.level));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(lines.clone())
        .with_ansi(false);
    let begun = match log.format {
        Format::Text => registry.with(layer).try_init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    begun.map_err(|_| NoLogs::BegunAlready)?;
    show_pii(log.addresses == Addresses::Full);
    Ok(LogHandle { handle, lines })
}

/// Changes what is logged while the service runs.
#[derive(Clone)]
pub struct LogHandle {
    handle: reload::Handle<EnvFilter, tracing_subscriber::Registry>,
    lines: Lines<Stderr>,
}

impl LogHandle {
    /// Takes the level and the treatment of addresses from `log`; the form of a line stays.
    pub fn apply(&self, log: &Log) {
        // It fails only when the subscriber is gone, and then nobody reads logs.
        let _ = self.handle.reload(filter(log.level));
        show_pii(log.addresses == Addresses::Full);
    }

    /// Hands over what was logged and still waits to be written. The last thing that a process does with its log.
    pub fn finish(&self) {
        self.lines.finish();
    }
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogHandle")
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum NoLogs {
    /// There is one.
    #[error("this process logs somewhere already")]
    BegunAlready,
    /// What the system says.
    #[error("no thread for the log: {0}")]
    Thread(#[from] std::io::Error),
}

/// Our own crates at the level asked for. Libraries never below info: their traces hold whole messages, credentials
/// and statements included, which no switch of ours can redact.
fn filter(level: Level) -> EnvFilter {
    let ours = level.as_str();
    let others = match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info | Level::Debug | Level::Trace => "info",
    };
    let text =
        format!("{others},cusax={ours},cusax_common={ours},cusax_b2bua={ours},cusax_xmpp={ours},cusax_console={ours}");
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse_lossy(text)
}

/// A family of counters told apart by one label, whose values are words of ours, never of the network.
#[derive(Clone, Debug)]
pub struct Counters {
    label: &'static str,
    family: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Counters {
    fn new(label: &'static str) -> Self {
        Self {
            label,
            family: Family::default(),
        }
    }

    /// Counts one more of `value`.
    pub fn count(&self, value: &'static str) {
        self.add(value, 1);
    }

    /// Counts `more` of `value`.
    pub fn add(&self, value: &'static str, more: u64) {
        self.family.get_or_create(&[(self.label, value)]).inc_by(more);
    }

    /// How many of `value` were counted.
    #[must_use]
    pub fn total(&self, value: &'static str) -> u64 {
        self.family.get_or_create(&[(self.label, value)]).get()
    }
}

/// A family of gauges told apart by one label, whose values are names of the operator's choice, never of the network's.
#[derive(Clone, Debug)]
pub struct Gauges {
    label: &'static str,
    family: Family<[(&'static str, String); 1], Gauge>,
}

impl Gauges {
    fn new(label: &'static str) -> Self {
        Self {
            label,
            family: Family::default(),
        }
    }

    /// That of `value` is so much higher, or lower.
    pub fn add(&self, value: &str, more: i64) {
        self.family
            .get_or_create(&[(self.label, value.to_owned())])
            .inc_by(more);
    }
}

/// Declares every metric once: field, kind, name, explanation.
macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $field:ident: $kind:ident $(($label:literal))? = $name:literal,)*) => {
        /// Every metric of the service. Cheap to clone: all clones count together.
        ///
        /// Counters end in `_total` on the wire. Labels have few values, none of which a stranger chooses.
        #[derive(Clone, Debug)]
        pub struct Metrics { $($(#[doc = $doc])+ pub $field: $kind,)* }

        impl Metrics {
            /// Every metric, registered under its name.
            #[must_use]
            pub fn new(registry: &mut Registry) -> Self {
                let metrics = Self { $($field: metrics!(@new $kind $(($label))?),)* };
                $(registry.register(
                    $name,
                    concat!($($doc),+).trim().trim_end_matches('.'),
                    metrics!(@metric metrics.$field $kind),
                );)*
                metrics
            }

            /// Name, label and explanation of each metric, in the order of registration.
            pub const TABLE: &'static [(&'static str, &'static str, &'static str)] = &[
                $(($name, concat!($($label)?), concat!($($doc),+)),)*
            ];
        }
    };
    (@new Counters ($label:literal)) => { Counters::new($label) };
    (@new Gauges ($label:literal)) => { Gauges::new($label) };
    (@new Histogram) => { Histogram::new(SECONDS) };
    (@new $kind:ident) => { $kind::default() };
    (@metric $metrics:ident.$field:ident Counters) => { $metrics.$field.family.clone() };
    (@metric $metrics:ident.$field:ident Gauges) => { $metrics.$field.family.clone() };
    (@metric $metrics:ident.$field:ident $kind:ident) => { $metrics.$field.clone() };
}

metrics! {
    /// SIP messages received, by kind.
    sip_received: Counters("kind") = "cusax_sip_received",
    /// SIP messages sent, by kind.
    sip_sent: Counters("kind") = "cusax_sip_sent",
    /// Datagrams that were no SIP message or broke its rules, by what became of them.
    sip_malformed: Counters("outcome") = "cusax_sip_malformed",
    /// SIP messages dropped, by reason.
    sip_dropped: Counters("reason") = "cusax_sip_dropped",
    /// SIP messages sent again because no answer came.
    sip_retransmitted: Counter = "cusax_sip_retransmitted",
    /// SIP connections that are up.
    connections: Gauge = "cusax_sip_connections",
    /// SIP connections that we ended: refused because there were too many, or dropped since they were silent or not read.
    connections_refused: Counters("outcome") = "cusax_sip_connections_ended",
    /// Transactions that live now.
    transactions: Gauge = "cusax_sip_transactions",
    /// Phones registered now.
    bindings: Gauge = "cusax_registered_phones",
    /// REGISTER requests answered, by outcome.
    registrations: Counters("outcome") = "cusax_registrations",
    /// Digest proofs judged, by outcome.
    proofs: Counters("outcome") = "cusax_digest_proofs",
    /// Calls that are up or being set up.
    calls: Gauge = "cusax_calls",
    /// Calls ended, by cause.
    calls_ended: Counters("cause") = "cusax_calls_ended",
    /// Servers of carriers that have failed several times in a row and are tried last, by trunk.
    trunk_broken: Gauges("trunk") = "cusax_trunk_servers_broken",
    /// Seconds from the answer to the end of answered calls.
    call_seconds: Histogram = "cusax_call_duration_seconds",
    /// Warnings before a paid leg, by what became of them.
    warnings: Counters("outcome") = "cusax_call_warnings",
    /// Claims of a JID in calls, by what became of them.
    impp: Counters("outcome") = "cusax_impp_claims",
    /// Audio sessions that the relay holds.
    media_sessions: Gauge = "cusax_media_sessions",
    /// RTP and RTCP packets relayed.
    media_relayed: Counter = "cusax_media_packets_relayed",
    /// RTP and RTCP packets dropped, by reason.
    media_dropped: Counters("reason") = "cusax_media_packets_dropped",
    /// Pairs of ports that are free.
    media_ports_free: Gauge = "cusax_media_port_pairs_free",
    /// Whether the XMPP server has us as a component, as 1 or 0.
    xmpp_connected: Gauge = "cusax_xmpp_connected",
    /// Streams to the XMPP server, by what became of them.
    xmpp_connections: Counters("outcome") = "cusax_xmpp_connections",
    /// Stanzas received, by kind.
    xmpp_received: Counters("kind") = "cusax_xmpp_stanzas_received",
    /// Stanzas sent, by kind.
    xmpp_sent: Counters("kind") = "cusax_xmpp_stanzas_sent",
    /// vCards judged, by verdict.
    vcard_checks: Counters("verdict") = "cusax_vcard_checks",
    /// Notices sent to chat clients, by kind.
    notices: Counters("kind") = "cusax_notices",
    /// Requests to the stores that failed, by store.
    store_errors: Counters("store") = "cusax_store_errors",
    /// Values in the stores that could not be read and were passed over, by store.
    store_corrupt: Counters("store") = "cusax_store_corrupt_values",
    /// Readings of the configuration, by outcome.
    reloads: Counters("outcome") = "cusax_config_reloads",
}

/// Bounds of the buckets for the length of calls, in seconds.
const SECONDS: [f64; 9] = [1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1_800.0, 3_600.0, 14_400.0];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_is_in_the_text_with_its_explanation() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        metrics.sip_malformed.count("answered");
        metrics.sip_malformed.add("answered", 2);
        metrics.xmpp_connected.set(1);
        metrics.trunk_broken.add("carrier", 3);
        metrics.trunk_broken.add("carrier", -1);
        assert_eq!(metrics.clone().sip_malformed.total("answered"), 3);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes everything");
        assert!(
            text.contains("cusax_sip_malformed_total{outcome=\"answered\"} 3"),
            "{text}"
        );
        assert!(text.contains("cusax_xmpp_connected 1"), "{text}");
        assert!(
            text.contains("cusax_trunk_servers_broken{trunk=\"carrier\"} 2"),
            "{text}"
        );
        let names: BTreeSet<_> = Metrics::TABLE.iter().map(|(name, ..)| name).collect();
        assert_eq!(names.len(), Metrics::TABLE.len(), "each name once");
        for (name, label, about) in Metrics::TABLE {
            // A family without a single count is left out of the text.
            assert!(!label.is_empty() || text.contains(&format!("# HELP {name} ")), "{name}");
            assert!(about.trim().ends_with('.'), "{name}: {about}");
        }
    }

    #[test]
    fn libraries_never_trace() {
        let text = filter(Level::Trace).to_string();
        assert!(
            text.contains("cusax_b2bua=trace") && text.split(',').any(|part| part == "info"),
            "{text}"
        );
    }
}
