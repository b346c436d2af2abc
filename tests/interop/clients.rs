//! Programs that people have register, over every transport, with a running service.
//!
//! What the service holds is read from the shared state, a Redis of each test's own, and counted by the metrics.
//!
//! | client | UDP | TCP | TLS | WS | WSS | verifies our certificate |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | baresip 1.0 | yes | yes | yes | – | – | cannot: it reads `sip_cafile`, and then asks for no verification |
//! | SIPp 3.6 | yes | yes | by socat | – | – | socat does: Debian builds SIPp without TLS |
//! | linphonec 5.1 | yes | yes | yes | – | – | yes |
//! | JsSIP 3.13 | – | – | – | yes | yes | yes, Node does |
//!
//! baresip and SIPp give up at a first challenge of SHA-256, and are given a listener that offers MD5 alone.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cusax_b2bua::core::flow::Transport;
use cusax_tests::lab::jssip::{JsSip, Modules, Page};
use cusax_tests::lab::linphone::Linphone;
use cusax_tests::lab::phone::{Account, Login, Phone};
use cusax_tests::lab::service::{More, Service};
use cusax_tests::lab::services::Redis;
use cusax_tests::lab::sipp::Sipp;
use cusax_tests::lab::wav::Wav;
use cusax_tests::lab::{Context as _, Fault, Result, Scratch, wait};
use serde_json::Value;

#[test]
fn baresip_registers_and_goes() {
    baresip().unwrap_or_else(|fault| panic!("{fault}"));
}

fn baresip() -> Result<()> {
    let bench = Bench::new("clients-baresip", MD5)?;
    // An address that no other process of this machine is likely to have: its ports are fixed.
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = IpAddr::from(Ipv4Addr::new(127, 84, high, low));
    let silence = Wav {
        rate: 8000,
        samples: vec![0; 8000],
    };
    let mut phone = Phone::start_at(None, address, bench.scratch.path(), &silence)?;
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        bench.has_nobody()?;
        phone.register(&bench.account(transport, PASSWORD))?;
        bench.has(transport, "baresip")?;
        phone.remove_account(AOR)?;
        bench.unregistered(transport)?;

        let refused = phone.register(&bench.account(transport, WRONG));
        let told = refused.err().context("a wrong password must not do")?.to_string();
        assert!(told.contains("REGISTER_FAIL"), "{transport}: {told}");
        bench.has_nobody()?;
        phone.remove_account(AOR)?;
        phone.forget_events();
    }
    phone.quit()
}

#[test]
fn sipp_registers_and_goes() {
    sipp().unwrap_or_else(|fault| panic!("{fault}"));
}

fn sipp() -> Result<()> {
    let bench = Bench::new("clients-sipp", MD5)?;
    let root = bench.service.root_file();
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let folder = bench.folder(transport)?;
        bench.has_nobody()?;
        let mut phone = Sipp::start(&folder, &bench.account(transport, PASSWORD), &root)?;
        phone.registered()?;
        bench.has(transport, "SIPp")?;
        phone.unregister()?;
        bench.has_nobody()?;

        let folder = bench.scratch.folder(format!("stranger-{transport}"))?;
        let mut stranger = Sipp::start(&folder, &bench.account(transport, WRONG), &root)?;
        let told = stranger.registered().err().context("a wrong password must not do")?;
        assert!(told.to_string().contains("401 Unauthorized"), "{transport}: {told}");
        assert!(!stranger.ended()?.success(), "{transport}");
        bench.has_nobody()?;
    }
    let (folder, foreign) = (bench.scratch.folder("wary")?, bench.foreign_root()?);
    let mut wary = Sipp::start(&folder, &bench.account(Transport::Tls, PASSWORD), &foreign)?;
    assert!(wary.registered().is_err(), "a certificate that nobody vouches for");
    assert!(!wary.ended()?.success());
    bench.has_nobody()
}

#[test]
fn linphone_registers_and_goes() {
    linphone().unwrap_or_else(|fault| panic!("{fault}"));
}

fn linphone() -> Result<()> {
    let bench = Bench::new("clients-linphone", "")?;
    let root = bench.service.root_file();
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        bench.has_nobody()?;
        let mut phone = Linphone::start(&bench.folder(transport)?, &bench.account(transport, PASSWORD), &root)?;
        phone.registered()?;
        let log = phone.log()?;
        assert!(log.contains("algorithm=SHA-256, username="), "{transport}: {log}");
        bench.has(transport, "Linphonec")?;
        phone.unregister()?;
        bench.unregistered(transport)?;
        phone.quit()?;

        let folder = bench.scratch.folder(format!("stranger-{transport}"))?;
        let mut stranger = Linphone::start(&folder, &bench.account(transport, WRONG), &root)?;
        stranger.refused()?;
        let log = stranger.log()?;
        assert!(log.contains("username=\"al\""), "{transport}: it proves nothing: {log}");
        bench.has_nobody()?;
        stranger.quit()?;
    }
    let folder = bench.scratch.folder("wary")?;
    let account = bench.account(Transport::Tls, PASSWORD);
    let mut wary = Linphone::start(&folder, &account, &bench.foreign_root()?)?;
    wary.refused()?;
    let log = wary.log()?;
    assert!(log.contains("Certificate verification failed"), "{log}");
    bench.has_nobody()?;
    wary.quit()
}

#[test]
fn jssip_registers_and_goes() {
    jssip().unwrap_or_else(|fault| panic!("{fault}"));
}

fn jssip() -> Result<()> {
    let modules = Modules::install(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let bench = Bench::new("clients-jssip", "")?;
    let root = bench.service.root_file();
    let page = Page {
        origin: ORIGIN,
        root: Some(&root),
    };
    for transport in [Transport::Ws, Transport::Wss] {
        let folder = bench.folder(transport)?;
        bench.has_nobody()?;
        let mut phone = JsSip::start(&modules, &folder, &bench.account(transport, PASSWORD), page)?;
        phone.registered()?;
        bench.has(transport, "JsSIP")?;
        phone.unregister()?;
        bench.unregistered(transport)?;
        phone.quit()?;

        let mut stranger = JsSip::start(&modules, &folder, &bench.account(transport, WRONG), page)?;
        assert_eq!(stranger.refused()?, 401, "{transport}");
        bench.has_nobody()?;
        stranger.quit()?;

        let elsewhere = Page {
            origin: "https://evil.example",
            ..page
        };
        let mut stranger = JsSip::start(&modules, &folder, &bench.account(transport, PASSWORD), elsewhere)?;
        stranger.cut_off()?;
        bench.has_nobody()?;
        stranger.quit()?;
    }
    let (folder, account) = (bench.folder(Transport::Wss)?, bench.account(Transport::Wss, PASSWORD));
    let mut wary = JsSip::start(&modules, &folder, &account, Page { root: None, ..page })?;
    wary.cut_off()?;
    bench.has_nobody()?;
    wary.quit()
}

/// A service with one user, and the shared state in which its bindings stand. Programs end before folders go.
struct Bench {
    service: Service,
    redis: Redis,
    scratch: Scratch,
}

impl Bench {
    fn new(name: &str, listeners: &str) -> Result<Self> {
        let scratch = Scratch::new(&format!("{name}-lab"))?;
        let redis = Redis::start(scratch.path())?;
        let more = More {
            sip: "workers = 3",
            listeners,
            websocket: &format!("origins = [\"{ORIGIN}\"]"),
            tables: &format!("[state]\nurl = \"{}?pass={}\"\n", redis.url(), redis.password()),
            ..More::default()
        };
        let (program, ip) = (Path::new(env!("CARGO_BIN_EXE_cusax")), Ipv4Addr::LOCALHOST.into());
        let service = Service::start_with(name, program, ip, "sip.example.com", more)?;
        service.add_user(JID, AOR, LOGIN, PASSWORD)?;
        Ok(Self {
            service,
            redis,
            scratch,
        })
    }

    fn account(&self, transport: Transport, password: &str) -> Account {
        Account {
            aor: AOR.to_owned(),
            display: "Al".to_owned(),
            login: Some(Login {
                user: LOGIN.to_owned(),
                password: password.to_owned(),
            }),
            outbound: self.service.address(transport),
            transport,
            codecs: "pcmu/8000/1",
        }
    }

    /// For the client of one transport.
    fn folder(&self, transport: Transport) -> Result<PathBuf> {
        self.scratch.folder(transport.as_str())
    }

    /// Somebody's certificate who has signed nothing here.
    fn foreign_root(&self) -> Result<PathBuf> {
        let foreign = rcgen::generate_simple_self_signed(["foreign".to_owned()]).context("a certificate")?;
        self.scratch.write("foreign.pem", foreign.cert.pem())
    }

    /// Waits until the one phone that there is registered for our user, by this transport, and says to be this one.
    fn has(&self, transport: Transport, agent: &str) -> Result<()> {
        self.service.metric_becomes("cusax_registered_phones", 1.0)?;
        let bindings = wait::until_ok("a binding in the shared state", SOON, || {
            let bindings = self.bindings()?;
            Ok((!bindings.is_empty()).then_some(bindings))
        })?;
        let [binding] = bindings.as_slice() else {
            return Err(Fault::new(format_args!("{transport}: more than one: {bindings:?}")));
        };
        assert_eq!(binding["aor"], AOR, "{transport}: {binding}");
        assert_eq!(binding["jid"], JID, "{transport}: {binding}");
        assert_eq!(binding["transport"], transport.as_str(), "{transport}: {binding}");
        let said = binding["user_agent"].as_str().unwrap_or_default();
        assert!(said.starts_with(agent), "{transport}: {binding}");
        Ok(())
    }

    /// Waits until no phone is registered.
    fn has_nobody(&self) -> Result<()> {
        self.service.metric_becomes("cusax_registered_phones", 0.0)?;
        wait::until_ok("no binding in the shared state", SOON, || {
            Ok(self.bindings()?.is_empty().then_some(()))
        })
    }

    /// Waits until no phone is registered, though the connection of the one that was is still there.
    fn unregistered(&self, transport: Transport) -> Result<()> {
        self.has_nobody()?;
        let connections = self.service.metric("cusax_sip_connections")?;
        assert_eq!(connections > 0.0, transport.reliable(), "{transport}: {connections}");
        Ok(())
    }

    fn bindings(&self) -> Result<Vec<Value>> {
        let keys = self.redis.run(&["KEYS", "cusax:binding/*"])?;
        let mut bindings = Vec::new();
        for key in keys.lines().filter(|line| !line.is_empty()) {
            let value = self.redis.run(&["GET", key])?;
            // Gone meanwhile, or a mark of the kind and then JSON.
            if let Some(at) = value.find('{') {
                bindings.push(serde_json::from_str(&value[at..]).context("a binding")?);
            }
        }
        Ok(bindings)
    }
}

const JID: &str = "alice@example.com";
const AOR: &str = "sip:al@sip.example.com";
const LOGIN: &str = "al";
const PASSWORD: &str = "al-secret";
const WRONG: &str = "no-secret";
/// The page of the web phone.
const ORIGIN: &str = "https://phone.example.com";
/// For phones that give up at a challenge of SHA-256.
const MD5: &str = "algorithms = [\"MD5\"]";
const SOON: Duration = Duration::from_secs(10);
