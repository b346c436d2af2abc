//! Carriers as the network has them now: where each of them is, which of them a message comes from, and which
//! connections they lend (RFC 5923). Domains of others that users of ours call are found here too; nothing that comes
//! from them is believed.
//!
//! # Trust
//! A carrier is known by its address, port and realm as configured, or as DNS gives them for its configured name; over
//! TLS by its certificate alone. An address that DNS gives is checked before anything is sent there, since whoever
//! writes the records is not the operator.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use cusax_common::core::entropy::Entropy;
use cusax_common::core::sip::typed::Via;
use cusax_common::core::sip::{Host, Request, SipUri};
use ipnet::IpNet;
use tracing::{debug, info, warn};

use crate::core::breaker::{Breakers, Change, Sign, Standing};
use crate::core::flow::{Flow, Identity, Transport};
use crate::core::locate::{
    self, Answer, Candidate, Family, Goal, GoalId, Inquired, Inquiries, Locator, QueryId, Reach, draw,
};
use crate::core::media::rewrite::Rules;
use crate::core::routing::{Hop, Trunk, Whose};
use crate::core::settings::Settings;

/// Where a carrier is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At an address.
    Fixed(Flow),
    /// At the servers of a domain.
    Domain(Domain),
}

/// A carrier that is found by DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// What is looked up.
    pub goal: Goal,
    /// Our own address toward it; any of the right family if none.
    pub listener: Option<IpAddr>,
    /// Where its servers may be; at any public address if none.
    pub networks: Vec<IpNet>,
}

/// How a connection to a carrier is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Without proof.
    Plain,
    /// Without proof, and given up soon: there is another way.
    Probe,
    /// By TLS, with a certificate of this carrier's (RFC 5922 §7.2).
    Tls {
        /// Its name in the settings.
        trunk: String,
    },
    /// By TLS, with a certificate of this domain's (RFC 5922 §7.2), which is not ours and no carrier's.
    Domain {
        /// What the certificate must hold.
        name: String,
    },
}

/// All carriers.
#[derive(Debug, Default)]
pub struct Carriers {
    /// By the order of the trunks in the settings.
    goals: Vec<Option<GoalId>>,
    /// In the same order.
    identities: Vec<Identity>,
    locator: Locator,
    /// Connections whose peers showed a carrier's certificate, whoever opened them.
    proved: HashMap<Flow, Proved>,
    /// How many there were.
    proofs: u64,
    /// What connections are lent for that other endpoints have seen proved, and this one has not yet.
    lent_early: HashMap<Flow, SocketAddr>,
    /// Connections that are over though calls of a carrier came by them, and its place among the trunks.
    gone: HashMap<Flow, usize>,
    /// Which of their servers do not work at present.
    breakers: Breakers,
    /// Domains of others that are called.
    others: Inquiries,
    /// Searches that are over.
    located: Vec<Goal>,
}

/// So many connections are remembered that were lent before they were proved here: there are hardly ever two.
const MAX_EARLY: usize = 64;

/// A connection whose peer is known.
#[derive(Debug)]
struct Proved {
    /// The names of the trunks that its certificate speaks for.
    trunks: Vec<String>,
    /// Where the peer says that it can be reached, if this connection may be used in place of one of ours (RFC 5923
    /// §8.2).
    alias: Option<SocketAddr>,
    /// A later one has a higher number.
    number: u64,
}

impl Carriers {
    /// Begins to look for those that have names.
    #[must_use]
    pub fn new(now: Instant, settings: &Settings) -> Self {
        let reach = settings
            .listeners
            .iter()
            .map(|listener| (listener.transport, Family::of(listener.local.ip())));
        let reach = Reach(reach.collect());
        let mut locator = Locator::new(reach.clone());
        let goals = settings.trunks.iter().map(|trunk| match &trunk.place {
            Place::Fixed(_) => None,
            Place::Domain(domain) => Some(locator.watch(now, domain.goal.clone())),
        });
        let identities = settings.trunks.iter().map(|trunk| Identity::of_trunk(&trunk.name));
        Self {
            goals: goals.collect(),
            identities: identities.collect(),
            locator,
            others: Inquiries::new(reach),
            ..Self::default()
        }
    }

    /// A connection is up whose peer showed that it is the carrier of these trunks.
    pub fn handle_proved(&mut self, flow: Flow, trunks: Vec<String>) {
        self.proved.remove(&flow);
        self.gone.remove(&flow);
        if !trunks.is_empty() {
            self.proofs += 1;
            let (alias, number) = (self.lent_early.remove(&flow), self.proofs);
            self.proved.insert(flow, Proved { trunks, alias, number });
        }
    }

    /// A connection is over. If dialogs are on it, and it was a carrier's, that is noted until the last of them
    /// [`leaves`](Self::handle_left).
    pub fn handle_closed(&mut self, settings: &Settings, flow: &Flow, has_dialogs: bool) {
        // One that we opened is opened again.
        if has_dialogs
            && self.opening(settings, flow).is_none()
            && let Some(index) = (0..settings.trunks.len()).find(|index| self.is_from(settings, *index, flow))
        {
            self.gone.insert(*flow, index);
        }
        self.proved.remove(flow);
        self.lent_early.remove(flow);
    }

    /// No dialog is on this flow any more.
    pub fn handle_left(&mut self, flow: &Flow) {
        self.gone.remove(flow);
    }

    /// How a carrier is reached now that has closed this connection: where it is, if it may be at the same address.
    #[must_use]
    pub fn way_back(&self, settings: &Settings, flow: &Flow) -> Option<Flow> {
        let index = *self.gone.get(flow)?;
        let trunk = settings.trunks.get(index)?;
        let ways: Vec<Flow> = self.known_ways(settings, index).collect();
        let way = *ways
            .iter()
            .find(|way| way.remote.ip() == flow.remote.ip())
            .or(ways.first())?;
        Some(self.lent(&way, &trunk.name).unwrap_or(way))
    }

    /// A request came. If its sender has proved to be a carrier and lends the connection, that is noted (RFC 5923 §8.2), and
    /// what it is lent for is told where it is new.
    pub fn handle_request(&mut self, flow: &Flow, request: &Request) -> Option<SocketAddr> {
        let proved = self.proved.get_mut(flow)?;
        let via = request
            .headers
            .first::<Via>()
            .ok()
            .filter(|via| via.params.has("alias"))?;
        // The address that the connection comes from is what `received` would say.
        let port = via.port.unwrap_or(locate::default_port(flow.transport));
        let alias = SocketAddr::new(flow.remote.ip(), port);
        (proved.alias.replace(alias) != Some(alias)).then_some(alias)
    }

    /// The same of a request that came elsewhere.
    pub fn handle_lent(&mut self, flow: &Flow, alias: SocketAddr) {
        match self.proved.get_mut(flow) {
            Some(proved) => proved.alias = Some(alias),
            None if self.lent_early.len() < MAX_EARLY => drop(self.lent_early.insert(*flow, alias)),
            None => {}
        }
    }

    /// Whether the peer of a connection is a carrier: such connections are kept (RFC 5923 §8).
    #[must_use]
    pub fn is_proved(&self, flow: &Flow) -> bool {
        self.proved.contains_key(flow)
    }

    /// Whether this is a connection that we open to a carrier by TLS.
    #[must_use]
    pub fn is_toward_one(&self, flow: &Flow) -> bool {
        self.identities.contains(&flow.identity)
    }

    /// A user of ours calls this address in a domain of others. Gives what is looked up, if one has to wait for it; then
    /// [`poll_located`](Self::poll_located) tells when it is over.
    pub fn want(&mut self, now: Instant, uri: &SipUri) -> Option<Goal> {
        let goal = goal_of(uri)?;
        self.others.want(now, &goal).then_some(goal)
    }

    /// A domain of others for which somebody waited, and whose search is over.
    pub fn poll_located(&mut self) -> Option<Goal> {
        self.located.pop()
    }

    /// The ways to whom a call leaves us for, in the order to try this time.
    pub fn ways_of(&self, settings: &Settings, whose: Whose<'_>, entropy: &mut impl Entropy) -> Vec<Flow> {
        match whose {
            Whose::Trunk(trunk) => self.ways(settings, &trunk.name, entropy),
            Whose::Domain(uri) => {
                let Some(goal) = goal_of(uri) else { return Vec::new() };
                let candidates = draw(self.others.servers(&goal), entropy).into_iter();
                let domain = of_others(settings, goal);
                // A carrier would take it for a call of ours, which no policy has seen.
                let is_carriers = |way: &Flow| {
                    let mut trunks = 0..settings.trunks.len();
                    trunks.any(|index| self.any_way(settings, index, |theirs| theirs.remote.ip() == way.remote.ip()))
                };
                let identity = Identity::of_domain(&domain.goal.domain);
                candidates
                    .filter_map(|candidate| way(settings, &domain, candidate))
                    .map(|way| way.to(identity))
                    .filter(|way| !is_carriers(way))
                    .collect()
            }
        }
    }

    /// The ways to a carrier, in the order to try this time.
    pub fn ways(&self, settings: &Settings, name: &str, entropy: &mut impl Entropy) -> Vec<Flow> {
        let Some(index) = settings.trunks.iter().position(|trunk| trunk.name == name) else {
            return Vec::new();
        };
        let ways = match (&settings.trunks[index].place, self.goal(index)) {
            (Place::Fixed(flow), _) => vec![*flow],
            (Place::Domain(domain), Some(goal)) => draw(self.locator.servers(goal), entropy)
                .into_iter()
                .filter_map(|candidate| way(settings, domain, candidate))
                .collect(),
            (Place::Domain(_), None) => Vec::new(),
        };
        // A connection that is lent may be gone by now, and then ours is the next to try.
        ways.into_iter()
            .map(|way| way.to(self.identity(index)))
            .flat_map(|way| self.lent(&way, name).into_iter().chain([way]))
            .collect()
    }

    /// A call tells how a server of a carrier is. Tells whether that is anything to remember.
    pub fn handle_sign(&mut self, now: Instant, trunk: &str, flow: Flow, sign: Sign) -> bool {
        let server = flow.remote;
        let matters = sign == Sign::Ill || self.breakers.has(trunk, flow);
        match self.breakers.handle_sign(now, trunk, flow, sign) {
            Some(Change::Opened) => warn!(trunk, %server, "a carrier's server does not work; it is tried last"),
            Some(Change::Closed) => info!(trunk, %server, "a carrier's server works again"),
            None => {}
        }
        matters
    }

    /// The same of a call elsewhere, where it was logged.
    pub fn hear_sign(&mut self, now: Instant, trunk: &str, flow: Flow, sign: Sign) {
        self.breakers.handle_sign(now, trunk, flow, sign);
    }

    /// Whether a hop leads to a server that is to be tried only after all others. An emergency call is no trial of
    /// whether a server works again.
    #[must_use]
    pub fn is_broken(&self, now: Instant, hop: &Hop, emergency: bool) -> bool {
        let Some(trunk) = hop.trunk() else { return false };
        match self.breakers.standing(now, trunk, hop.flow) {
            Standing::Sound => false,
            Standing::Due => emergency,
            Standing::Broken => true,
        }
    }

    /// How many servers of a trunk do not work, as far as calls have shown.
    #[must_use]
    pub fn broken(&self, trunk: &str) -> usize {
        self.breakers.broken(trunk)
    }

    /// The connection that a carrier lends for this way, if none of ours is up.
    fn lent(&self, way: &Flow, trunk: &str) -> Option<Flow> {
        if way.transport != Transport::Tls || self.is_proved(way) {
            return None;
        }
        let fits =
            |proved: &Proved| proved.alias == Some(way.remote) && proved.trunks.iter().any(|proved| proved == trunk);
        let fitting = self.proved.iter().filter(|(_, proved)| fits(proved));
        fitting.max_by_key(|(_, proved)| proved.number).map(|(flow, _)| *flow)
    }

    /// The carrier that a message came from. `domain` stands in its From.
    #[must_use]
    pub fn of<'a>(&self, settings: &'a Settings, flow: &Flow, domain: Option<&Host>) -> Option<&'a Trunk> {
        let says_so = |trunk: &Trunk| {
            let is_it = |realm: &str| domain.is_some_and(|host| host.to_string().eq_ignore_ascii_case(realm));
            trunk.realm.as_deref().is_none_or(is_it)
        };
        let trunks = settings.trunks.iter().enumerate();
        let mut theirs = trunks.filter(|(index, trunk)| self.is_from(settings, *index, flow) && says_so(trunk));
        theirs.next().map(|(_, trunk)| trunk)
    }

    /// Whether what comes by this flow comes from a carrier, whatever it says.
    #[must_use]
    pub fn is_from_one(&self, settings: &Settings, flow: &Flow) -> bool {
        (0..settings.trunks.len()).any(|index| self.is_from(settings, index, flow))
    }

    /// Whether what comes by this flow comes from the carrier of this trunk.
    fn is_from(&self, settings: &Settings, index: usize, flow: &Flow) -> bool {
        let trunk = &settings.trunks[index];
        if flow.transport == Transport::Tls {
            let proved = self.proved.get(flow).map_or(&[][..], |proved| &proved.trunks);
            return trunk.is_secure() && proved.contains(&trunk.name);
        }
        self.any_way(settings, index, |way| {
            // A stream comes from whatever port the carrier's system chose.
            (way.listener, way.transport) == (flow.listener, flow.transport)
                && way.remote.ip() == flow.remote.ip()
                && (flow.transport.reliable() || way.remote.port() == flow.remote.port())
        })
    }

    /// The way of a dialog, if both this flow and that way lead to servers of one carrier; else the flow itself.
    #[must_use]
    pub fn settle_on(&self, settings: &Settings, flow: Flow, way: Flow) -> Flow {
        if flow.remote.ip() == way.remote.ip() || flow.transport != way.transport {
            return flow;
        }
        let one_of = |index, asked: Flow| self.any_way(settings, index, |known| known.remote.ip() == asked.remote.ip());
        let is_it = |index: &usize| one_of(*index, flow) && one_of(*index, way);
        let proved = flow.transport != Transport::Tls || self.is_proved(&flow);
        if proved && (0..settings.trunks.len()).any(|index| is_it(&index)) {
            way
        } else {
            flow
        }
    }

    /// How a connection for this flow may be opened: to a carrier, or to a domain that a user of ours called, never to
    /// where a peer's message points.
    #[must_use]
    pub fn opening(&self, settings: &Settings, flow: &Flow) -> Option<Opening> {
        let to = |index| self.any_way(settings, index, |way| way == *flow);
        let trunk = (0..settings.trunks.len())
            .find(|index| to(*index))
            .map(|index| &settings.trunks[index]);
        match (flow.transport, trunk) {
            (Transport::Tcp, Some(_)) => Some(Opening::Plain),
            (Transport::Tls, Some(trunk)) => Some(Opening::Tls {
                trunk: trunk.name.clone(),
            }),
            (Transport::Tcp, None) => self.domain_at(settings, flow).map(|_| Opening::Plain),
            (Transport::Tls, None) => self.domain_at(settings, flow).map(|name| Opening::Domain { name }),
            (Transport::Udp | Transport::Ws | Transport::Wss, _) => None,
        }
    }

    /// The domain of others, called by a user of ours, that this is a way to.
    fn domain_at(&self, settings: &Settings, flow: &Flow) -> Option<String> {
        let is_there =
            |server: &locate::Server| server.transport == flow.transport && server.addresses.contains(&flow.remote);
        let (transport, address) = (flow.transport, flow.remote);
        let leads_there = |goal: &Goal| {
            let domain = of_others(settings, goal.clone());
            let way = way(settings, &domain, Candidate { transport, address });
            way.map(|way| way.to(Identity::of_domain(&goal.domain))) == Some(*flow)
        };
        let mut known = self.others.known();
        let (goal, _) = known.find(|(goal, servers)| servers.iter().any(is_there) && leads_there(goal))?;
        Some(goal.domain.clone())
    }

    /// What DNS said; see [`Locator::handle_answer`].
    pub fn handle_answer(&mut self, now: Instant, id: QueryId, answer: Option<Answer>) {
        self.locator.handle_answer(now, id, answer.clone());
        self.others.handle_answer(now, id, answer);
    }

    /// Time has come to `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.locator.handle_timeout(now);
        self.others.handle_timeout(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.locator.poll_timeout(), self.others.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next question for DNS.
    pub fn poll_question(&mut self, settings: &Settings) -> Option<(QueryId, locate::Query)> {
        while let Some(output) = self.others.poll_output() {
            match output {
                Inquired::Ask { id, query } => return Some((id, query)),
                Inquired::Done(goal) => self.located.push(goal),
            }
        }
        while let Some(output) = self.locator.poll_output() {
            match output {
                locate::Output::Ask { id, query } => return Some((id, query)),
                locate::Output::Located(goal) => {
                    let (Some(trunk), servers) = (self.trunk(settings, goal), self.locator.servers(goal)) else {
                        continue;
                    };
                    let Place::Domain(domain) = &trunk.place else { continue };
                    let addresses = servers.iter().flat_map(|server| &server.addresses);
                    let refused = addresses
                        .filter(|address| !allowed(settings, domain, address.ip()))
                        .count();
                    if refused > 0 {
                        warn!(
                            trunk = trunk.name,
                            refused, "DNS gives addresses that trunks.networks does not allow"
                        );
                    }
                    debug!(trunk = trunk.name, servers = servers.len(), "located");
                }
                locate::Output::Failed(goal) => {
                    let name = self.trunk(settings, goal).map(|trunk| trunk.name.as_str());
                    let known = self.locator.servers(goal).len();
                    warn!(
                        dependency = "dns",
                        trunk = name,
                        known,
                        "no server was found; trying again"
                    );
                }
            }
        }
        None
    }

    fn identity(&self, index: usize) -> Identity {
        self.identities.get(index).copied().unwrap_or_default()
    }

    fn goal(&self, index: usize) -> Option<GoalId> {
        self.goals.get(index).copied().flatten()
    }

    fn trunk<'a>(&self, settings: &'a Settings, goal: GoalId) -> Option<&'a Trunk> {
        let index = self.goals.iter().position(|known| *known == Some(goal))?;
        settings.trunks.get(index)
    }

    fn any_way(&self, settings: &Settings, index: usize, fits: impl Fn(Flow) -> bool) -> bool {
        self.known_ways(settings, index).any(fits)
    }

    fn known_ways<'a>(&'a self, settings: &'a Settings, index: usize) -> impl Iterator<Item = Flow> + 'a {
        let (fixed, domain) = match &settings.trunks[index].place {
            Place::Fixed(flow) => (Some(*flow), None),
            Place::Domain(domain) => (None, Some(domain)),
        };
        let servers = self.goal(index).map_or(&[][..], |goal| self.locator.servers(goal));
        let named = domain.into_iter().flat_map(move |domain| {
            servers.iter().flat_map(move |server| {
                let transport = server.transport;
                let candidates = server
                    .addresses
                    .iter()
                    .map(move |&address| Candidate { transport, address });
                candidates.filter_map(move |candidate| way(settings, domain, candidate))
            })
        });
        let identity = self.identity(index);
        fixed.into_iter().chain(named).map(move |way| way.to(identity))
    }
}

/// What is looked up for an address in a domain of others (RFC 3263 §4): a `sips:` address by TLS alone.
fn goal_of(uri: &SipUri) -> Option<Goal> {
    Some(Goal {
        domain: uri.host.name()?.trim_end_matches('.').to_ascii_lowercase(),
        port: uri.port,
        transport: uri.secure.then_some(Transport::Tls),
    })
}

/// A domain of others, as one looks at a carrier's.
fn of_others(settings: &Settings, goal: Goal) -> Domain {
    Domain {
        goal,
        listener: None,
        networks: settings.foreign.networks.clone(),
    }
}

/// The way to a server, if it may be used and we have a socket for it.
fn way(settings: &Settings, domain: &Domain, candidate: Candidate) -> Option<Flow> {
    let Candidate { transport, address } = candidate;
    if !allowed(settings, domain, address.ip()) {
        return None;
    }
    let listener = settings.socket_for(transport, address.ip(), domain.listener)?;
    Some(Flow {
        listener,
        transport,
        remote: address,
        identity: Identity::NONE,
    })
}

/// Whether a server may be there, now that its address is known.
fn allowed(settings: &Settings, domain: &Domain, address: IpAddr) -> bool {
    let listeners = settings.listeners.iter();
    let rules = Rules {
        allow_networks: domain.networks.clone(),
        ours: listeners
            .flat_map(|listener| [listener.public.ip(), listener.local.ip()])
            .collect(),
    };
    let named = domain.networks.iter().any(|network| network.contains(&address));
    // A carrier inside is one that the operator has named.
    let inside = match address.to_canonical() {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => ip.is_unique_local(),
    };
    rules.allow(address) && (named || domain.networks.is_empty() && !inside)
}
