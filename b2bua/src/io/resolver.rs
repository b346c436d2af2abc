//! Questions to DNS. What they are for, and how long answers hold, is decided in [`locate`].

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use crate::core::locate::{self, Answer, Kind, Naptr, Query, Records, Srv};

/// The name servers to ask.
#[derive(Clone)]
pub struct Resolver(TokioResolver);

impl Resolver {
    /// These servers, or those of the system if none are given.
    ///
    /// # Errors
    /// What is wrong with the system's configuration.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, String> {
        let builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|error| format!("/etc/resolv.conf: {error}"))?
        } else {
            let servers = servers.iter().map(|server| {
                let at = |mut connection: ConnectionConfig| {
                    connection.port = server.port();
                    connection
                };
                let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
                NameServerConfig::new(server.ip(), true, connections)
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let mut options = ResolverOpts::default();
        // Each answer is used once and kept by whoever asked.
        options.cache_size = 0;
        options.timeout = ATTEMPT;
        options.attempts = ATTEMPTS;
        let resolver = builder
            .with_options(options)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self(resolver))
    }

    /// Asks. None if there is no answer that can be used.
    pub(crate) async fn ask(&self, query: &Query) -> Option<Answer> {
        // A final dot keeps search domains out of it.
        let name = Name::from_ascii(format!("{}.", query.name)).ok()?;
        let kind = match query.kind {
            Kind::Naptr => RecordType::NAPTR,
            Kind::Srv => RecordType::SRV,
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
        };
        let asked = tokio::time::timeout(locate::PATIENCE, self.0.lookup(name, kind))
            .await
            .ok()?;
        match asked {
            Ok(lookup) => Some(Answer {
                records: read(query.kind, lookup.answers().iter().map(|record| &record.data)),
                ttl: lookup.valid_until().saturating_duration_since(now()),
            }),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Some(Answer {
                records: read(query.kind, std::iter::empty()),
                ttl: none
                    .negative_ttl
                    .map_or(NEGATIVE, |seconds| Duration::from_secs(seconds.into())),
            }),
            Err(_) => None,
        }
    }
}

fn read<'a>(kind: Kind, answers: impl Iterator<Item = &'a RData>) -> Records {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match kind {
        Kind::Naptr => Records::Naptr(
            answers
                .filter_map(|data| match data {
                    RData::NAPTR(naptr) => Some(Naptr {
                        order: naptr.order,
                        preference: naptr.preference,
                        flags: text(&naptr.flags),
                        service: text(&naptr.services),
                        regexp: text(&naptr.regexp),
                        replacement: naptr.replacement.to_ascii(),
                    }),
                    _ => None,
                })
                .collect(),
        ),
        Kind::Srv => Records::Srv(
            answers
                .filter_map(|data| match data {
                    RData::SRV(srv) => Some(Srv {
                        priority: srv.priority,
                        weight: srv.weight,
                        port: srv.port,
                        target: srv.target.to_ascii(),
                    }),
                    _ => None,
                })
                .collect(),
        ),
        Kind::A | Kind::Aaaa => Records::Addresses(answers.filter_map(RData::ip_addr).collect()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the library tells until when an answer holds, not how long"
)]
fn now() -> Instant {
    Instant::now()
}

/// How long one attempt at one server may take, and how many there are.
const ATTEMPT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
/// How long it holds that there are no records, where the zone does not say.
const NEGATIVE: Duration = Duration::from_secs(60);
