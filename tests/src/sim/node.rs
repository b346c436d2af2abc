//! The service: one endpoint, or several that tell one another what they must.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use cusax_b2bua::core::auth::{Authenticator, NONCE_LIFE};
use cusax_b2bua::core::carriers::Opening;
use cusax_b2bua::core::endpoint::{Counters, Endpoint, FetchId, Output, PlaceId};
use cusax_b2bua::core::flow::Flow;
use cusax_b2bua::core::locate::{self, QueryId};
use cusax_b2bua::core::media::MediaEvent;
use cusax_b2bua::core::neighbour::Said;
use cusax_b2bua::core::registrar::{self, Registrar};
use cusax_b2bua::core::settings::Settings;
use cusax_b2bua::core::share::Share;
use cusax_b2bua::core::transaction;
use cusax_common::core::bridge::ToB2bua;
use cusax_common::core::entropy::Seeded;
use cusax_common::core::time::Now;
use cusax_common::core::user::User;

/// All endpoints of the service.
pub struct Node {
    endpoints: Vec<Endpoint<Seeded>>,
    /// How much they have heard from one another.
    pub heard: usize,
    /// Decides what no endpoint decides.
    pub(super) chance: Seeded,
}

impl Node {
    /// So many of them.
    pub fn new(settings: &Arc<Settings>, count: u8, secret: &[u8; 32], entropy: &mut Seeded) -> Self {
        let endpoint = |share: Share| {
            Endpoint::new(
                Arc::clone(settings),
                Registrar::new(registrar::Settings::default(), secret),
                Authenticator::new(secret, NONCE_LIFE),
                secret,
                Seeded::new(entropy.next_u64()),
            )
            .of_node(share)
        };
        Self {
            endpoints: Share::all(count, secret).map(endpoint).collect(),
            heard: 0,
            chance: Seeded::new(u64::from(count)),
        }
    }

    /// How many endpoints there are.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    fn first(&self) -> &Endpoint<Seeded> {
        &self.endpoints[0]
    }

    fn first_mut(&mut self) -> &mut Endpoint<Seeded> {
        &mut self.endpoints[0]
    }

    fn at(&mut self, index: u8) -> &mut Endpoint<Seeded> {
        &mut self.endpoints[usize::from(index)]
    }

    fn total(&self, each: impl Fn(&Endpoint<Seeded>) -> usize) -> usize {
        self.endpoints.iter().map(each).sum()
    }

    /// What the operator decided.
    pub fn settings(&self) -> &Settings {
        self.first().settings()
    }

    /// How many calls there are.
    pub fn calls(&self) -> usize {
        self.total(Endpoint::calls)
    }

    /// How many calls there are in which somebody is with nobody.
    pub fn lonely(&self) -> usize {
        self.total(Endpoint::lonely)
    }

    /// How many transactions live.
    pub fn transactions(&self) -> usize {
        self.total(Endpoint::transactions)
    }

    /// How many bindings there are; every endpoint knows as many, as soon as it has heard of them.
    pub fn bindings(&self) -> usize {
        self.first().bindings()
    }

    /// Whether every endpoint knows as many bindings.
    pub fn agrees(&self) -> bool {
        self.endpoints.iter().all(|one| one.bindings() == self.bindings())
    }

    /// How many dialogs are at another endpoint than their Call-IDs are.
    pub fn moved(&self) -> usize {
        let moved = |(table, count)| if table == "dialogs that have moved" { count } else { 0 };
        self.leftovers().into_iter().map(moved).sum()
    }

    /// What is left of what is over, table by table.
    pub fn leftovers(&self) -> Vec<(&'static str, usize)> {
        self.endpoints.iter().flat_map(Endpoint::leftovers).collect()
    }

    /// Each trunk with the number of its servers that do not work, as the first endpoint sees it.
    pub fn broken_servers(&self) -> impl Iterator<Item = (&str, usize)> {
        self.first().broken_servers()
    }

    /// Of what the network did to all of them, one count.
    pub fn counted(&self, which: impl Fn(&Counters) -> u64) -> u64 {
        self.endpoints.iter().map(|one| which(one.counters())).sum()
    }

    /// Of what the network did to their transactions, one count.
    pub fn counted_of_transactions(&self, which: impl Fn(&transaction::Counters) -> u64) -> u64 {
        self.endpoints
            .iter()
            .map(|one| which(&one.transaction_counters()))
            .sum()
    }

    /// How a connection may be opened, by whichever endpoint knows.
    pub fn opening(&self, flow: &Flow) -> Option<Opening> {
        self.endpoints.iter().find_map(|endpoint| endpoint.opening(flow))
    }

    /// They begin.
    pub fn handle_start(&mut self, now: Now) {
        self.endpoints.iter_mut().for_each(|one| one.handle_start(now));
    }

    /// A datagram comes to one of them, and is the one's whose Call-ID it has.
    pub fn handle_datagram(&mut self, now: Now, flow: Flow, bytes: Bytes) {
        let arrived = usize::from(flow.remote.port()) % self.endpoints.len();
        let owner = self.endpoints[arrived].share().owner_of(&bytes);
        self.at(owner).handle_datagram(now, flow, bytes);
    }

    /// The store has answered one of them.
    pub fn handle_fetched(&mut self, now: Now, at: u8, id: FetchId, answer: Result<Option<Arc<User>>, ()>) {
        self.at(at).handle_fetched(now, id, answer);
    }

    /// DNS has answered one of them.
    pub fn handle_dns(&mut self, now: Now, at: u8, id: QueryId, answer: Option<locate::Answer>) {
        self.at(at).handle_dns(now, id, answer);
    }

    /// The media engine says something of a call, which is one of theirs.
    pub fn handle_media(&mut self, now: Now, event: &MediaEvent) {
        let id = event.id().expect("it is of a call");
        let at = self.first().share().numbered_by(id.0);
        self.at(at).handle_media(now, event);
    }

    /// One of them says something to another.
    pub fn handle_neighbour(&mut self, now: Now, from: u8, to: u8, said: Said) {
        self.heard += 1;
        self.at(to).handle_neighbour(now, from, said);
    }

    /// A connection is closed.
    pub fn handle_closed(&mut self, now: Now, flow: Flow) {
        self.endpoints.iter_mut().for_each(|one| one.handle_closed(now, flow));
    }

    /// The peer of a connection has shown to be the carrier of these trunks.
    pub fn handle_proved(&mut self, flow: Flow, trunks: Vec<String>) {
        for one in &mut self.endpoints {
            one.handle_proved(flow, trunks.clone());
        }
    }

    /// Whether any of them wants to keep a connection.
    pub fn wants(&self, flow: &Flow) -> bool {
        self.endpoints.iter().any(|one| one.wants(flow))
    }

    /// The xmpp-module speaks with the first.
    pub fn handle_bridge(&mut self, now: Now, message: ToB2bua) {
        self.first_mut().handle_bridge(now, message);
    }

    /// A user wants to be called.
    pub fn handle_place(&mut self, now: Now, id: PlaceId, user: &str, to: &str) {
        self.first_mut()
            .handle_place(now, id, &user.parse().expect("a JID"), to);
    }

    /// Users were changed.
    pub fn handle_users_changed(&mut self, now: Now) {
        self.endpoints.iter_mut().for_each(|one| one.handle_users_changed(now));
    }

    /// The operator changed the configuration.
    pub fn handle_settings(&mut self, settings: Arc<Settings>) {
        for one in &mut self.endpoints {
            one.handle_settings(Arc::clone(&settings));
        }
    }

    /// They are to end.
    pub fn drain(&mut self, now: Now) {
        self.endpoints.iter_mut().for_each(|one| one.drain(now));
    }

    /// Time has come for some of them.
    pub fn handle_timeout(&mut self, now: Now) {
        for one in &mut self.endpoints {
            if one.poll_timeout().is_some_and(|due| due <= now.instant) {
                one.handle_timeout(now);
            }
        }
    }

    /// When the first of them wants to be woken.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.endpoints.iter().filter_map(Endpoint::poll_timeout).min()
    }

    /// The next thing to do, and for whom.
    pub fn poll_output(&mut self) -> Option<(u8, Output)> {
        (0..)
            .zip(&mut self.endpoints)
            .find_map(|(at, one)| Some((at, one.poll_output()?)))
    }
}
