//! How soon the xmpp-module hears what phones do: the loop with real sockets and a real store, and the far end of its
//! bridge in our hands.

#![expect(clippy::disallowed_methods, reason = "real time is what is measured")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cusax_b2bua::core::auth::{Authenticator, NONCE_LIFE};
use cusax_b2bua::core::endpoint::Endpoint;
use cusax_b2bua::core::flow::ListenerId;
use cusax_b2bua::core::registrar::{self, Registrar};
use cusax_b2bua::io::driver::{Control, Shell, drive};
use cusax_b2bua::io::relay::{Relay, RelayConfig};
use cusax_b2bua::io::transport::Listener;
use cusax_b2bua::io::transport::udp::UdpListener;
use cusax_common::core::bridge::{PhoneActivity, ToB2bua, ToXmpp};
use cusax_common::core::entropy::Entropy as _;
use cusax_common::core::store::UserStore as _;
use cusax_common::io::clock::SystemEntropy;
use cusax_common::io::state::MemoryState;
use cusax_common::io::store::Store;
use cusax_common::io::telemetry::Metrics;
use cusax_tests::lab::Scratch;
use cusax_tests::lab::service::free;
use cusax_tests::lab::softphone::Softphone;
use cusax_tests::peer::phone::{Account, Manner, Stage};
use cusax_tests::sim::{DOMAIN, scene_with, user};
use tokio::sync::mpsc;

/// What is promised from the cause to its arrival at the bridge.
const PROMISED: Duration = Duration::from_millis(100);
/// What is waited for: a machine that does other things at the same time is no fault of the service.
const WAITED: Duration = PROMISED.saturating_mul(5);
const SOON: Duration = Duration::from_secs(10);
const ROUNDS: usize = 50;

#[test]
fn what_phones_do_is_at_the_bridge_at_once() {
    let mut world = World::start();
    let mut took: [Vec<Duration>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let registered = |jid: &str, count: usize| {
            let jid = jid.to_owned();
            move |event: &ToXmpp| matches!(event, ToXmpp::Registered { jid: whose, aors } if whose.as_str() == jid && aors.len() == count)
        };
        let on_phone = |activity: PhoneActivity| move |event: &ToXmpp| matches!(event, ToXmpp::Phone { jid, activity: now } if jid.as_str() == "alice@example.com" && *now == activity);
        world.act(1, |phone, now| phone.register(now, 600));
        world.event("bob to be registered", registered("bob@example.com", 1));
        // With the challenge and the proof, which are part of the cause.
        let start = world.act(0, |phone, now| phone.register(now, 600));
        took[0].push(world.event("a registration", registered("alice@example.com", 1)) - start);

        let start = world.act(0, |phone, now| phone.call(now, &format!("sip:bob.phone@{DOMAIN}")));
        took[1].push(world.event("a call", on_phone(PhoneActivity::Audio)) - start);
        world.until("the phones to know", |phones| {
            phones.iter().all(|phone| phone.phone.stage == Stage::Up)
        });
        let start = world.act(0, |phone, now| phone.hang_up(now));
        took[2].push(world.event("the end of a call", on_phone(PhoneActivity::Idle)) - start);
        world.until("the phones to know", |phones| {
            phones.iter().all(|phone| matches!(phone.phone.stage, Stage::Over(_)))
        });

        let start = world.act(0, |phone, now| phone.register(now, 0));
        took[3].push(world.event("a phone to be gone", registered("alice@example.com", 0)) - start);
        world.act(1, |phone, now| phone.register(now, 0));
        world.event("the other phone to be gone", registered("bob@example.com", 0));
    }
    for (what, mut times) in ["registered", "on the phone", "off the phone", "gone"]
        .into_iter()
        .zip(took)
    {
        times.sort();
        let (middle, longest) = (times[times.len() / 2], times[times.len() - 1]);
        println!(
            "{what}: at the bridge after {:.1} ms in the middle, {:.1} ms at most; {} ms are promised",
            middle.as_secs_f64() * 1000.0,
            longest.as_secs_f64() * 1000.0,
            PROMISED.as_millis()
        );
        assert!(longest <= WAITED, "{what}: {longest:?}");
    }
}

struct World {
    phones: [Softphone; 2],
    bridge: mpsc::Receiver<ToXmpp>,
    control: mpsc::Sender<Control>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// From the xmpp-module, which says nothing here.
    _silent: mpsc::Sender<ToB2bua>,
    _scratch: Scratch,
}

impl World {
    fn start() -> Self {
        let scratch = Scratch::new("events").expect("a folder");
        let url = format!("sqlite:{}/cusax.db", scratch.path().display());
        let address = free(Ipv4Addr::LOCALHOST.into()).expect("a port");
        let mut settings = None;
        scene_with(1, |given| settings = Some(given.clone()));
        let mut settings = settings.expect("settings");
        settings.trunks.clear();
        settings.media.allow_networks = vec!["127.0.0.0/8".parse().expect("a network")];
        for listener in &mut settings.listeners {
            (listener.local, listener.public) = (address, address);
            (listener.media, listener.media_public) = (address.ip(), address.ip());
        }
        settings.media.ours = vec![address.ip()];
        let (to_xmpp, bridge) = mpsc::channel(1024);
        let (silent, from_xmpp) = mpsc::channel(1);
        let (control, asked) = mpsc::channel(1);
        let (media_events, media) = mpsc::channel(64);
        let relay = RelayConfig {
            port_min: 30_000,
            port_max: 30_999,
            allow_networks: settings.media.allow_networks.clone(),
            ..RelayConfig::new(vec![address.ip()])
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build();
            let runtime = runtime.expect("a runtime");
            let store = runtime.block_on(async {
                let store = Store::open(&url, None).await.expect("a store");
                for (name, number) in [("alice", "+4930901820"), ("bob", "+4930901821")] {
                    store.put(&user(name, number)).await.expect("a user");
                }
                store
            });
            let mut entropy = SystemEntropy::new();
            let secret = entropy.bytes::<32>();
            let registrar = Registrar::new(registrar::Settings::default(), &secret);
            let authenticator = Authenticator::new(&secret, NONCE_LIFE);
            let listener = UdpListener::bind(ListenerId(0), address, 1).expect("a socket");
            let relay = Relay::start(relay, move |event| drop(media_events.try_send(event)));
            let shell = Shell {
                endpoints: vec![Endpoint::new(
                    Arc::new(settings),
                    registrar,
                    authenticator,
                    &secret,
                    entropy,
                )],
                listeners: vec![Listener::Udp(listener)],
                carriers: Vec::new().into(),
                others: None,
                resolver: None,
                relay: relay.expect("a relay"),
                media: vec![media],
                users: Arc::new(store),
                state: Arc::new(MemoryState::new(1 << 20)),
                to_xmpp,
                from_xmpp,
                control: asked,
                metrics: Metrics::new(&mut prometheus_client::registry::Registry::default()),
            };
            drive(shell, runtime.handle()).expect("a loop");
        });
        let phone = |name: &str, host: u8| {
            let account = Account {
                aor: format!("sip:{name}.phone@{DOMAIN}"),
                username: format!("{name}.phone"),
                password: format!("{name}-secret"),
            };
            let local = SocketAddr::new(Ipv4Addr::new(127, 91, 0, host).into(), 0);
            let mut phone = Softphone::new(local, address, account, host.into()).expect("a phone");
            phone.phone.manner = Manner::Answer(Duration::ZERO);
            phone
        };
        let mut world = Self {
            phones: [phone("alice", 1), phone("bob", 2)],
            bridge,
            control,
            thread: Some(thread),
            _silent: silent,
            _scratch: scratch,
        };
        world.event("what there is at the start", |event| {
            matches!(event, ToXmpp::Everything { .. })
        });
        world
    }

    /// Lets a phone do something; gives when that was.
    fn act(&mut self, phone: usize, deed: impl FnOnce(&mut cusax_tests::peer::phone::Phone, Instant)) -> Instant {
        let now = Instant::now();
        self.phones[phone].act(deed);
        now
    }

    /// Lets everybody go on until this is at the bridge; gives when that was.
    fn event(&mut self, what: &str, wanted: impl Fn(&ToXmpp) -> bool) -> Instant {
        let end = Instant::now() + SOON;
        loop {
            while let Ok(event) = self.bridge.try_recv() {
                if wanted(&event) {
                    return Instant::now();
                }
            }
            assert!(Instant::now() < end, "waited for {what}");
            self.pump();
        }
    }

    fn until(&mut self, what: &str, condition: impl Fn(&[Softphone; 2]) -> bool) {
        let end = Instant::now() + SOON;
        while !condition(&self.phones) {
            assert!(Instant::now() < end, "waited for {what}");
            self.pump();
        }
    }

    fn pump(&mut self) {
        for phone in &mut self.phones {
            phone.pump().expect("sent");
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.control.try_send(Control::Stop(Duration::ZERO));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
