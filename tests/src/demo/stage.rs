//! Everything that takes part, started and connected.

use std::net::SocketAddr;
use std::path::Path;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use cusax_b2bua::core::flow::Transport;
use minidom::Element;

use super::cast::{Cast, Person};
use super::options::{Break, Options};
use super::stack::{self, CLIENT_PORT, COMPONENT_PORT, OPERATOR_PORT, Place, Stack};
use crate::lab::capture::Capture;
use crate::lab::chat::{Chat, Login};
use crate::lab::meddler::Meddler;
use crate::lab::phone::{self, Phone};
use crate::lab::speech::Voice;
use crate::lab::topology::{Host, SIP_ADDRESS, Topology};
use crate::lab::trunk::{self, Trunk};
use crate::lab::{Fault, Namespace, Result, Scratch};

/// The stage with all its people. Fields fall in this order: clients before servers, the folder last.
#[derive(Debug)]
pub struct Stage {
    /// The chat clients.
    pub chats: Chats,
    /// Alice's phone, behind [`Stage::meddler`].
    pub alice: Phone,
    /// Bob's phone.
    pub bob: Phone,
    /// Another one of Bob's, which is not always there.
    pub second: Phone,
    /// Carol's phone, likewise.
    pub carol: Phone,
    /// Writes header lines into Alice's INVITEs.
    pub meddler: Meddler,
    /// The PSTN; none once Mallory has taken its place.
    pub trunk: Option<Trunk>,
    /// What Alice's phone sends and receives.
    pub at_alice: Capture,
    /// What Bob's phone sends and receives.
    pub at_bob: Capture,
    /// What the trunk sends and receives.
    pub at_trunk: Capture,
    /// What Bob's second phone sends and receives.
    pub at_second: Capture,
    /// What Carol's phone sends and receives.
    pub at_carol: Capture,
    /// The machines.
    pub hosts: Hosts,
    /// The speakers: Alice, Bob, the trunk.
    pub voices: [Voice; 3],
    /// The servers.
    pub stack: Stack,
    /// Who is who.
    pub cast: Cast,
    /// Where everything is written; removed when all the others are gone.
    _scratch: Scratch,
}

/// The machines around the service.
#[derive(Debug)]
pub struct Hosts {
    /// Alice's phone.
    pub alice: Host,
    /// Bob's phone.
    pub bob: Host,
    /// Bob's second phone.
    pub second: Host,
    /// Carol's phone.
    pub carol: Host,
    /// The trunk.
    pub trunk: Host,
    /// Mallory's computer.
    pub mallory: Host,
}

/// The chat clients, logged in but not yet available.
#[derive(Debug)]
pub struct Chats {
    /// Alice's.
    pub alice: Chat,
    /// Bob's stock client.
    pub bob: Chat,
    /// Bob's client that asks for annotated rosters.
    pub bob_annotated: Chat,
    /// Carol's.
    pub carol: Chat,
    /// Mallory's.
    pub mallory: Chat,
    /// Bob of Biloxi's.
    pub biloxi: Chat,
    /// An account with Bob's roster on the host without our plugin.
    pub twin: Chat,
}

impl Stage {
    /// Starts the servers, then all clients side by side.
    ///
    /// # Errors
    /// When something does not come up.
    pub fn set(options: &Options, cast: Cast) -> Result<Self> {
        let scratch = Scratch::new("demo")?;
        let topology = Topology::new()?;
        let hosts = Hosts {
            alice: topology.host("alice")?,
            bob: topology.host("bob")?,
            second: topology.host("second")?,
            carol: topology.host("carol")?,
            trunk: topology.host("trunk")?,
            mallory: topology.host("mallory")?,
        };
        if options.broken == Some(Break::Relay) {
            stack::drop_relayed(topology.server())?;
        }
        let place = Place {
            namespace: Some(topology.server().clone()),
            sip: service(),
            trunk: Some(SocketAddr::new(hosts.trunk.address, trunk::PORT)),
            clients: CLIENT_PORT,
            components: COMPONENT_PORT,
            operators: OPERATOR_PORT,
            allow: "[]",
        };
        let folder = scratch.path();
        let (stack, voices) = std::thread::scope(|scope| {
            let stack = scope.spawn(|| Stack::start(options, &cast, place, &scratch));
            let voices = all([0, 1, 2].map(|number| {
                let (pitch, speed) = cast.voices[number];
                scope.spawn(move || Voice::new(pitch, speed, folder))
            }));
            Ok::<_, Fault>((join(stack)?, voices?))
        })?;
        let say = |number: usize| voices[number].say(&cast.spoken[number], SPEECH);
        let chats = std::thread::scope(|scope| {
            let chats = scope.spawn(|| Chats::log_in(&cast, stack.namespace(), folder));
            let watched = [&hosts.alice, &hosts.bob, &hosts.trunk, &hosts.second, &hosts.carol];
            let captures = all(watched.map(|host| scope.spawn(|| Capture::at(host, folder))));
            let alice = Phone::start(&hosts.alice, folder, &say(0))?;
            let bob = Phone::start(&hosts.bob, folder, &say(1))?;
            let second = Phone::start(&hosts.second, folder, &say(1))?;
            let carol = Phone::start(&hosts.carol, folder, &say(0))?;
            let trunk = Trunk::start(&hosts.trunk, folder, &say(2))?;
            Ok::<_, Fault>((join(chats)?, captures?, [alice, bob, second, carol], trunk))
        });
        let (chats, [at_alice, at_bob, at_trunk, at_second, at_carol], phones, trunk) = chats?;
        let [alice, bob, second, carol] = phones;
        let meddler = Meddler::start(&hosts.alice, alice.address(), service())?;
        Ok(Self {
            chats,
            alice,
            bob,
            second,
            carol,
            meddler,
            trunk: Some(trunk),
            at_alice,
            at_bob,
            at_trunk,
            at_second,
            at_carol,
            hosts,
            voices,
            stack,
            cast,
            _scratch: scratch,
        })
    }

    /// The account of Alice's phone.
    #[must_use]
    pub fn alice_account(&self) -> phone::Account {
        account(&self.cast.alice, self.meddler.address())
    }

    /// The account of Bob's phone.
    #[must_use]
    pub fn bob_account(&self) -> phone::Account {
        account(&self.cast.bob, service())
    }

    /// The account of Carol's phone.
    #[must_use]
    pub fn carol_account(&self) -> phone::Account {
        account(&self.cast.carol, service())
    }
}

impl Chats {
    fn log_in(cast: &Cast, namespace: Option<&Namespace>, folder: &Path) -> Result<Self> {
        let Cast {
            alice,
            bob,
            carol,
            mallory,
            biloxi,
            ..
        } = cast;
        let who = [
            (&alice.jid, "laptop", alice),
            (&bob.jid, "stock", bob),
            (&bob.jid, "annotated", bob),
            (&carol.jid, "tablet", carol),
            (&mallory.jid, "laptop", mallory),
            (&biloxi.jid, "tablet", biloxi),
            (&cast.twin(), "stock", bob),
        ];
        std::thread::scope(|scope| {
            let [alice, bob, bob_annotated, carol, mallory, biloxi, twin] = all(who.map(|(jid, resource, person)| {
                scope.spawn(move || {
                    let jid = format!("{jid}/{resource}");
                    Chat::start(
                        namespace,
                        folder,
                        Login {
                            jid: &jid,
                            password: &person.password,
                            port: CLIENT_PORT,
                        },
                    )
                })
            }))?;
            Ok(Self {
                alice,
                bob,
                bob_annotated,
                carol,
                mallory,
                biloxi,
                twin,
            })
        })
    }
}

/// Where phones and trunks reach the service.
#[must_use]
pub fn service() -> SocketAddr {
    SocketAddr::new(SIP_ADDRESS.into(), 5060)
}

/// The `<reach/>` addresses in a presence stanza; none when there is no `<reach/>`.
#[must_use]
pub fn reach(presence: &Element) -> Option<Vec<String>> {
    let reach = presence.get_child("reach", "urn:xmpp:reach:0")?;
    Some(
        reach
            .children()
            .filter_map(|addr| addr.attr("uri"))
            .map(str::to_owned)
            .collect(),
    )
}

/// Whether a stanza comes from this account.
#[must_use]
pub fn is_from(stanza: &Element, jid: &str) -> bool {
    stanza
        .attr("from")
        .is_some_and(|from| from.split('/').next() == Some(jid))
}

/// How long something may take that happens at once on a machine that is not busy.
pub const SOON: Duration = Duration::from_secs(5);

fn account(person: &Person, outbound: SocketAddr) -> phone::Account {
    let login = phone::Login {
        user: person.login.clone(),
        password: person.sip_password.clone(),
    };
    // The phone claims whatever it likes; what others see is the store's.
    phone::Account {
        aor: person.aor.clone(),
        display: "Nobody Special".to_owned(),
        login: Some(login),
        outbound,
        transport: Transport::Udp,
        codecs: "pcmu/8000/1,pcma/8000/1",
    }
}

fn join<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(Fault::new("a thread panicked")))
}

fn all<T, const N: usize>(threads: [ScopedJoinHandle<'_, Result<T>>; N]) -> Result<[T; N]> {
    let values = threads.map(join).into_iter().collect::<Result<Vec<_>>>()?;
    values.try_into().map_err(|_| Fault::new("as many as there were"))
}

/// Seconds for which everybody can go on speaking.
const SPEECH: u32 = 60;
