//! The scene of most simulated tests.

use std::net::SocketAddr;
use std::time::Duration;

use cusax_b2bua::core::admission::{Limits, Rate};
use cusax_b2bua::core::carriers::Place;
use cusax_b2bua::core::flow::{Flow, Identity, ListenerId, Transport};
use cusax_b2bua::core::media::rewrite::Rules;
use cusax_b2bua::core::routing::Trunk;
use cusax_b2bua::core::settings::{Foreign, Listener, Redirects, Settings};
use cusax_common::core::dialplan::HomePlan;
use cusax_common::core::policy::Policy;
use cusax_common::core::secret::Secret;
use cusax_common::core::user::{Algorithm, Credential, Flags, Ha1, User};

use super::{Actor, World, address};
use crate::peer::phone::{Account, Manner, Phone, Stage};

/// The SIP domain.
pub const DOMAIN: &str = "sip.example.com";
/// One second.
pub const SECOND: Duration = Duration::from_secs(1);

/// A user with one address, one number and one phone.
pub fn user(name: &str, number: &str) -> User {
    let (username, password) = (format!("{name}.phone"), format!("{name}-secret"));
    let credential = |algorithm| Credential {
        username: username.as_str().into(),
        realm: DOMAIN.into(),
        algorithm,
        ha1: Secret::new(Ha1::of(algorithm, &username, DOMAIN, &password)),
    };
    User {
        jid: format!("{name}@example.com").parse().expect("a constant of the scene"),
        name: format!("{name} Example").into(),
        aors: vec![
            format!("sip:{name}.phone@{DOMAIN}")
                .parse()
                .expect("a constant of the scene"),
        ],
        numbers: vec![number.parse().expect("a constant of the scene")],
        credentials: [Algorithm::Md5, Algorithm::Sha256].map(credential).to_vec(),
        flags: Flags::default(),
        language: "en".into(),
    }
}

/// Alice and Bob with a phone each, Carol without, and a trunk.
pub struct Scene {
    /// Where they are.
    pub world: World,
    /// `alice@example.com`
    pub alice: Actor,
    /// `bob@example.com`
    pub bob: Actor,
    /// The carrier.
    pub trunk: Actor,
}

/// Everybody is there and nobody has registered.
pub fn scene(seed: u64) -> Scene {
    scene_with(seed, |_| {})
}

/// The same with other settings.
pub fn scene_with(seed: u64, change: impl FnOnce(&mut Settings)) -> Scene {
    scene_of(1, seed, change)
}

/// The same with so many endpoints.
pub fn scene_of(endpoints: u8, seed: u64, change: impl FnOnce(&mut Settings)) -> Scene {
    let mut settings = settings();
    change(&mut settings);
    let (local, far) = (address(1, 5060), address(99, 5060));
    let users = vec![
        user("alice", "+4930901820"),
        user("bob", "+4930901821"),
        user("carol", "+4930901822"),
    ];
    let mut world = World::of(endpoints, seed, settings, users);
    let account = |name: &str| Account {
        aor: format!("sip:{name}.phone@{DOMAIN}"),
        username: format!("{name}.phone"),
        password: format!("{name}-secret"),
    };
    let alice = world.add(Phone::new(address(10, 5070), local, Some(account("alice")), seed ^ 1));
    let bob = world.add(Phone::new(address(20, 5070), local, Some(account("bob")), seed ^ 2));
    let trunk = world.add(Phone::new(far, local, None, seed ^ 3));
    Scene {
        world,
        alice,
        bob,
        trunk,
    }
}

/// One listener, one trunk, and the defaults of everything else.
pub fn settings() -> Settings {
    let local: SocketAddr = address(1, 5060);
    let far = address(99, 5060);
    Settings {
        domains: vec![DOMAIN.into()],
        answers: Vec::new(),
        listeners: vec![Listener {
            local,
            public: local,
            media: local.ip(),
            media_public: local.ip(),
            transport: Transport::Udp,
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
        }],
        trunks: vec![Trunk {
            name: "carrier".into(),
            place: Place::Fixed(Flow {
                listener: ListenerId(0),
                transport: Transport::Udp,
                remote: far,
                identity: Identity::NONE,
            }),
            realm: None,
            certified: String::new(),
            prefixes: Vec::new(),
            order: 0,
            weight: 1,
            impp: false,
            asserted: true,
            emergency: true,
        }],
        foreign: Foreign::default(),
        plan: HomePlan::new("DE").expect("a constant of the scene"),
        policy: Policy::default(),
        redirects: Redirects::Follow,
        ring_timeout: Duration::from_secs(60),
        ring_each: Duration::from_secs(20),
        max_duration: Duration::from_secs(14_400),
        silence_timeout: None,
        calls_per_account: 20,
        session_interval: 1800,
        limits: Limits {
            source: Rate {
                per_second: 100,
                burst: 400,
            },
            account: Rate {
                per_second: 50,
                burst: 200,
            },
            all: Rate {
                per_second: 5000,
                burst: 20_000,
            },
        },
        max_calls: 1000,
        anchor: true,
        media: Rules {
            ours: vec![local.ip()],
            ..Rules::default()
        },
    }
}

impl Scene {
    /// Both phones are registered.
    pub fn registered(seed: u64) -> Self {
        Self::registered_with(seed, |_| {})
    }

    /// The same with other settings.
    pub fn registered_with(seed: u64, change: impl FnOnce(&mut Settings)) -> Self {
        let mut scene = scene_with(seed, change);
        scene.world.start();
        for phone in [scene.alice, scene.bob] {
            scene.world.act(phone, |phone, now| phone.register(now, 3600));
        }
        scene.world.run(SECOND);
        assert_eq!(scene.world.node.bindings(), 2, "seed {seed}");
        scene
    }

    /// Alice dials.
    pub fn alice_calls(&mut self, whom: &str) {
        let whom = whom.to_owned();
        self.world.act(self.alice, |phone, now| phone.call(now, &whom));
    }

    /// From now on somebody treats calls like this.
    pub fn behaves(&mut self, who: Actor, manner: Manner) {
        self.world.phones[who.0].manner = manner;
    }

    /// What a phone is doing.
    pub fn stage(&self, actor: Actor) -> &Stage {
        &self.world.phone(actor).stage
    }

    /// Waits, and asserts that no call and no port is left.
    pub fn nothing_is_left(&mut self) {
        self.world.run(Duration::from_secs(120));
        let seed = self.world.seed;
        assert_eq!(self.world.node.calls(), 0, "seed {seed}: calls are left");
        assert!(self.world.media.is_empty(), "seed {seed}: ports are left");
    }
}
