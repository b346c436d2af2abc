//! RFC 3263 §4 as a pure function: from what is wanted and what DNS has answered so far to the next questions, or to the
//! servers in the order to try.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cusax_common::core::entropy::Entropy;

use crate::core::flow::Transport;

/// A domain whose servers are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Goal {
    /// The domain: a host name, lower-case, without a final dot.
    pub domain: String,
    /// The port, where it is fixed: then SRV is not asked.
    pub port: Option<u16>,
    /// How messages are to travel, where that is fixed: then NAPTR is not asked.
    pub transport: Option<Transport>,
}

/// What can be asked of DNS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// A name without a final dot.
    pub name: String,
    /// Records of what type.
    pub kind: Kind,
}

/// The types of records that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// RFC 3403.
    Naptr,
    /// RFC 2782.
    Srv,
    /// RFC 1035.
    A,
    /// RFC 3596.
    Aaaa,
}

/// What DNS answered: records of one type, none if there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// In any order.
    pub records: Records,
    /// For how long they hold, or for how long it holds that there are none.
    pub ttl: Duration,
}

/// The records of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Which services a domain has.
    Naptr(Vec<Naptr>),
    /// Which servers a service has.
    Srv(Vec<Srv>),
    /// Which addresses a server has.
    Addresses(Vec<IpAddr>),
}

/// RFC 3403 §4.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// The lowest one first.
    pub order: u16,
    /// Among those of one order, the lowest one first.
    pub preference: u16,
    /// `s` where `replacement` has SRV records.
    pub flags: String,
    /// As `SIP+D2U`.
    pub service: String,
    /// Not empty where `replacement` does not hold.
    pub regexp: String,
    /// The name to ask next.
    pub replacement: String,
}

/// RFC 2782.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// The lowest one first.
    pub priority: u16,
    /// The share among those of one priority.
    pub weight: u16,
    /// Where the server listens.
    pub port: u16,
    /// The server; `.` or nothing where the service is not there.
    pub target: String,
}

/// One server of a domain, which may have several addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The lowest one first.
    pub priority: u16,
    /// The share among those of one priority.
    pub weight: u16,
    /// How messages travel to it.
    pub transport: Transport,
    /// In the order to try. Never empty.
    pub addresses: Vec<SocketAddr>,
}

/// One address to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// How messages travel to it.
    pub transport: Transport,
    /// Where it is.
    pub address: SocketAddr,
}

/// By which transports, to addresses of which family, we can send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach(pub HashSet<(Transport, Family)>);

/// The family of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl Reach {
    fn by(&self, transport: Transport) -> bool {
        [Family::V4, Family::V6]
            .iter()
            .any(|family| self.0.contains(&(transport, *family)))
    }
}

/// What DNS said so far; `None` for a question that it did not answer.
pub type Known = HashMap<Query, Option<Answer>>;

/// How a search goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These must be asked first. Never empty, and never anything that is known.
    Ask(Vec<Query>),
    /// The servers, and how long that holds.
    Found {
        /// By priority, with at most [`MAX_CANDIDATES`] addresses together. None where the domain has none that we can
        /// reach.
        servers: Vec<Server>,
        /// The shortest life of the answers that led there.
        ttl: Duration,
    },
}

/// Goes as far as what is known leads.
#[must_use]
pub fn search(goal: &Goal, reach: &Reach, known: &Known) -> Step {
    let mut asked = Asked::new(known);
    let service = asked.service(goal, reach);
    if let Some(queries) = asked.missing() {
        return Step::Ask(queries);
    }
    let Some(Service { transport, name, plain }) = service else {
        return Step::Found {
            servers: Vec::new(),
            ttl: asked.ttl,
        };
    };
    let host = |port| Srv {
        priority: 0,
        weight: 0,
        port,
        target: goal.domain.clone(),
    };
    let records = match (name, goal.port) {
        (Some(name), None) => {
            let records = asked.srv(&name);
            if let Some(queries) = asked.missing() {
                return Step::Ask(queries);
            }
            if records.is_empty() && plain {
                vec![host(default_port(transport))]
            } else {
                records
            }
        }
        (_, port) => vec![host(port.unwrap_or(default_port(transport)))],
    };
    let mut servers: Vec<Server> = Vec::new();
    let mut total = 0;
    for srv in records {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for (family, kind) in [(Family::V6, Kind::Aaaa), (Family::V4, Kind::A)] {
            if !reach.0.contains(&(transport, family)) {
                continue;
            }
            for ip in asked.addresses(&srv.target, kind) {
                let address = SocketAddr::new(ip.to_canonical(), srv.port);
                let fits = Family::of(address.ip()) == family && srv.port != 0;
                if fits && total < MAX_CANDIDATES && !addresses.contains(&address) {
                    addresses.push(address);
                    total += 1;
                }
            }
        }
        if !addresses.is_empty() {
            servers.push(Server {
                priority: srv.priority,
                weight: srv.weight,
                transport,
                addresses,
            });
        }
    }
    match asked.missing() {
        Some(queries) => Step::Ask(queries),
        None => Step::Found {
            servers: if asked.silent { Vec::new() } else { servers },
            ttl: asked.ttl,
        },
    }
}

/// The addresses in the order to try this time (RFC 2782, "Usage rules"): by priority, and at random by weight among
/// equals.
pub fn draw(servers: &[Server], entropy: &mut impl Entropy) -> Vec<Candidate> {
    let mut left: Vec<&Server> = servers.iter().collect();
    // Those without weight come first in a group, so that they are chosen seldom.
    left.sort_by_key(|server| (server.priority, server.weight != 0));
    let mut order = Vec::new();
    while let Some(first) = left.first() {
        let group = left.iter().take_while(|server| server.priority == first.priority);
        let total: u64 = group.clone().map(|server| u64::from(server.weight)).sum();
        let mark = if total == 0 {
            0
        } else {
            u64::from_le_bytes(entropy.bytes::<8>()) % (total + 1)
        };
        let mut sum = 0;
        let chosen = group.clone().position(|server| {
            sum += u64::from(server.weight);
            sum >= mark
        });
        let server = left.remove(chosen.unwrap_or_default());
        order.extend(server.addresses.iter().map(|&address| Candidate {
            transport: server.transport,
            address,
        }));
    }
    order
}

/// One way in which the domain may be reached.
struct Service {
    transport: Transport,
    /// Where its SRV records are; none where the host itself is asked.
    name: Option<String>,
    /// Whether the host itself is asked if there are no SRV records.
    plain: bool,
}

/// What was asked on the way, and what is yet to be asked.
struct Asked<'a> {
    known: &'a Known,
    missing: Vec<Query>,
    ttl: Duration,
    /// Whether DNS did not say how the domain is reached.
    silent: bool,
}

impl<'a> Asked<'a> {
    fn new(known: &'a Known) -> Self {
        Self {
            known,
            missing: Vec::new(),
            ttl: LONGEST,
            silent: false,
        }
    }

    fn get(&mut self, name: &str, kind: Kind) -> Option<&'a Records> {
        let query = Query {
            name: name.to_owned(),
            kind,
        };
        match self.known.get(&query) {
            Some(Some(answer)) => {
                self.ttl = self.ttl.min(answer.ttl);
                Some(&answer.records)
            }
            // It was asked in vain, and is soon to be asked again.
            Some(None) => {
                self.ttl = Duration::ZERO;
                // Whoever can hold up an answer must not choose the transport or the server by that.
                self.silent |= matches!(kind, Kind::Naptr | Kind::Srv);
                None
            }
            None => {
                if is_name(name)
                    && self.known.len() + self.missing.len() < MAX_QUERIES
                    && !self.missing.contains(&query)
                {
                    self.missing.push(query);
                }
                None
            }
        }
    }

    fn missing(&mut self) -> Option<Vec<Query>> {
        let missing = std::mem::take(&mut self.missing);
        (!missing.is_empty()).then_some(missing)
    }

    /// RFC 3263 §4.1: how to travel, and under which name the servers stand.
    fn service(&mut self, goal: &Goal, reach: &Reach) -> Option<Service> {
        let named = |transport| Service {
            transport,
            name: Some(srv_name(transport, &goal.domain)),
            plain: true,
        };
        if let Some(transport) = goal.transport {
            return reach.by(transport).then(|| named(transport));
        }
        if goal.port.is_some() {
            return Some(named(Transport::Udp));
        }
        let mut records: Vec<&Naptr> = match self.get(&goal.domain, Kind::Naptr) {
            Some(Records::Naptr(records)) => records.iter().collect(),
            _ if !self.missing.is_empty() => return None,
            _ => Vec::new(),
        };
        records.sort_by_key(|naptr| (naptr.order, naptr.preference));
        let best = records
            .iter()
            .filter(|naptr| naptr.flags.eq_ignore_ascii_case("s") && naptr.regexp.is_empty())
            .find_map(|naptr| Some((service_of(&naptr.service).filter(|by| reach.by(*by))?, *naptr)));
        if let Some((transport, naptr)) = best {
            // The one that the domain prefers, and no other: whoever can hold up TLS must not get it in the clear.
            return Some(Service {
                transport,
                name: Some(host_name(&naptr.replacement)),
                plain: false,
            });
        }
        // All at once, and the safest one that is there.
        let mut found = None;
        for transport in [Transport::Tls, Transport::Tcp, Transport::Udp] {
            if reach.by(transport) && !self.srv(&srv_name(transport, &goal.domain)).is_empty() {
                found = found.or(Some(transport));
            }
        }
        Some(found.map_or(
            Service {
                transport: Transport::Udp,
                name: None,
                plain: true,
            },
            named,
        ))
    }

    /// The servers of a service, by priority; none as well where that is not known yet.
    fn srv(&mut self, name: &str) -> Vec<Srv> {
        let Some(Records::Srv(records)) = self.get(name, Kind::Srv) else {
            return Vec::new();
        };
        let mut records = records.clone();
        // One record with the target "." says that the service is not there.
        records.retain_mut(|srv| {
            srv.target = host_name(&srv.target);
            !srv.target.is_empty()
        });
        records.sort_by_key(|srv| srv.priority);
        records.truncate(MAX_CANDIDATES);
        records
    }

    fn addresses(&mut self, host: &str, kind: Kind) -> &'a [IpAddr] {
        match self.get(host, kind) {
            Some(Records::Addresses(addresses)) => addresses,
            _ => &[],
        }
    }
}

fn host_name(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The transport of a NAPTR service (RFC 3263 §4.1).
fn service_of(service: &str) -> Option<Transport> {
    match service.to_ascii_uppercase().as_str() {
        "SIP+D2U" => Some(Transport::Udp),
        "SIP+D2T" => Some(Transport::Tcp),
        "SIPS+D2T" => Some(Transport::Tls),
        _ => None,
    }
}

fn srv_name(transport: Transport, domain: &str) -> String {
    let service = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tls => "_sips._tcp",
        Transport::Tcp | Transport::Ws | Transport::Wss => "_sip._tcp",
    };
    format!("{service}.{domain}")
}

/// RFC 3261 §19.1.2.
#[must_use]
pub fn default_port(transport: Transport) -> u16 {
    match transport {
        Transport::Tls => 5061,
        Transport::Udp | Transport::Tcp | Transport::Ws | Transport::Wss => 5060,
    }
}

/// What may be asked of DNS at all (RFC 1035 §2.3.4).
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()))
}

/// The most servers of one domain.
pub const MAX_CANDIDATES: usize = 16;
/// The most questions of one search.
pub const MAX_QUERIES: usize = 48;
/// The longest that answers hold, whatever they say.
const LONGEST: Duration = Duration::from_secs(3600);
