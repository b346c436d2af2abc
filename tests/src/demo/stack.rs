//! The servers: Prosody, the stores, and `cusax serve`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::cast::{Cast, Person};
use super::options::{Break, Options, Store};
use crate::lab::prosody::Prosody;
use crate::lab::service::get;
use crate::lab::services::{Postgres, Redis};
use crate::lab::speech::Voice;
use crate::lab::trunk::Trunk;
use crate::lab::xmpp_server::{Account, Plan, Plugin, VirtualHost};
use crate::lab::{Child, Context as _, Fault, Namespace, Result, Scratch, Spec};

/// The running servers.
#[derive(Debug)]
pub struct Stack {
    service: Child,
    _prosody: Prosody,
    _stores: Stores,
    place: Place,
    cusax: PathBuf,
    config: PathBuf,
    /// The component's JID.
    pub component: String,
}

/// Where the servers stand.
#[derive(Clone, Debug)]
pub struct Place {
    /// In a namespace of their own, or on this host.
    pub namespace: Option<Namespace>,
    /// Where the service listens for SIP.
    pub sip: SocketAddr,
    /// The trunk's address, if there is one.
    pub trunk: Option<SocketAddr>,
    /// Prosody's port for clients, on loopback.
    pub clients: u16,
    /// Prosody's port for components, on loopback.
    pub components: u16,
    /// The service's port for operators, on loopback.
    pub operators: u16,
    /// Networks where phones are, though they look like none.
    pub allow: &'static str,
}

impl Stack {
    /// Starts Prosody and `cusax serve` with the users of the cast, and waits until both are ready.
    ///
    /// # Errors
    /// When something does not come up.
    pub fn start(options: &Options, cast: &Cast, place: Place, scratch: &Scratch) -> Result<Self> {
        let cusax = program()?;
        let stores = Stores::start(options.store, scratch)?;
        let component = format!("calls.{}", cast.atlanta_domain);
        let config = scratch.write(
            "cusax.toml",
            configuration(options, cast, &place, &component, scratch, &stores),
        )?;
        for person in [&cast.alice, &cast.bob, &cast.carol, &cast.mallory] {
            let hidden = options.broken == Some(Break::Impp) && person.jid == cast.alice.jid;
            add_user(&cusax, &config, person, if hidden { Shown::No } else { Shown::Yes })
                .context(format_args!("adding {}", person.name))?;
        }
        let prosody = Prosody::start(
            place.namespace.as_ref(),
            scratch.path(),
            &plan(options, cast, &place, &component),
        )?;
        let mut spec = Spec::new("cusax", &cusax).arg("--config").arg(&config).arg("serve");
        if let Some(namespace) = &place.namespace {
            spec = spec.inside(namespace);
        }
        let service = spec.start(scratch.path())?;
        let mut stack = Self {
            service,
            _prosody: prosody,
            _stores: stores,
            place,
            cusax,
            config,
            component,
        };
        stack.wait_until_ready()?;
        Ok(stack)
    }

    /// The namespace of the servers.
    #[must_use]
    pub fn namespace(&self) -> Option<&Namespace> {
        self.place.namespace.as_ref()
    }

    /// What `cusax calls` lists.
    ///
    /// # Errors
    /// When it fails, or its output is no JSON.
    pub fn calls(&self) -> Result<Vec<Value>> {
        let text = self.command().args(["calls", "--json"]).output()?;
        Ok(serde_json::from_str(&text)?)
    }

    /// What the service shows at `/metrics`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self) -> Result<String> {
        let port = self.place.operators;
        match self.namespace() {
            Some(namespace) => namespace.run(move || get(on_loopback(port), "/metrics")),
            None => get(on_loopback(port), "/metrics"),
        }
    }

    /// What the service has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.service.log()
    }

    /// Waits for the service to end, which it does not unless something is wrong.
    ///
    /// # Errors
    /// Always, when it has ended.
    pub fn watch(&mut self) -> Result<()> {
        self.service.until("its end", Duration::MAX, |_| None)
    }

    fn command(&self) -> Spec {
        let spec = Spec::new("cusax", &self.cusax).arg("--config").arg(&self.config);
        match &self.place.namespace {
            Some(namespace) => spec.inside(namespace),
            None => spec,
        }
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let (namespace, port) = (self.place.namespace.clone(), self.place.operators);
        self.service.until("/readyz says yes", READY, |_| {
            let ask = move || http_status(port, "/readyz");
            let status = match &namespace {
                Some(namespace) => namespace.run(ask),
                None => ask(),
            };
            (status.ok()? == 200).then_some(())
        })
    }
}

/// The `cusax` that was built together with us.
fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CUSAX_BIN") {
        return Ok(path.into());
    }
    let path = std::env::current_exe()?.with_file_name("cusax");
    if path.exists() {
        Ok(path)
    } else {
        Err(Fault::new(format_args!("{} is not there", path.display())))
    }
}

/// Where users, records and registrations are kept.
#[derive(Debug)]
struct Stores {
    /// The address of users and records, with its password.
    users: String,
    /// The address of the shared state, with its password.
    state: String,
    _servers: Option<(Postgres, Redis)>,
}

impl Stores {
    fn start(store: Store, scratch: &Scratch) -> Result<Self> {
        if store == Store::Embedded {
            let users = format!("sqlite:{}", scratch.file("cusax.db").display());
            return Ok(Self {
                users,
                state: "memory:".to_owned(),
                _servers: None,
            });
        }
        std::thread::scope(|scope| {
            let postgres = scope.spawn(|| Postgres::start(scratch.path()));
            let redis = Redis::start(scratch.path())?;
            let postgres = postgres.join().map_err(|_| Fault::new("a thread panicked"))??;
            postgres.create("cusax")?;
            let users = with_password(&postgres.url("cusax"), postgres.password());
            let state = format!("{}?pass={}", redis.url(), redis.password());
            Ok(Self {
                users,
                state,
                _servers: Some((postgres, redis)),
            })
        })
    }
}

/// `scheme://user@host` with the password behind the user.
fn with_password(url: &str, password: &str) -> String {
    url.replacen('@', &format!(":{password}@"), 1)
}

/// Whether callees are told a user's JID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Yes,
    No,
}

fn add_user(cusax: &Path, config: &Path, person: &Person, shown: Shown) -> Result<()> {
    let password = config.with_file_name(format!("{}.password", person.login));
    std::fs::write(&password, &person.sip_password)?;
    let mut spec =
        Spec::new("cusax user add", cusax)
            .arg("--config")
            .arg(config)
            .args(["user", "add", "--jid", &person.jid]);
    spec = spec.args(["--name", &person.name, "--aor", &person.aor, "--number", &person.number]);
    spec = spec.args(["--login", &person.login, "--password-file"]).arg(&password);
    if shown == Shown::No {
        spec = spec.arg("--no-impp");
    }
    spec.output().map(drop)
}

fn configuration(
    options: &Options,
    cast: &Cast,
    place: &Place,
    component: &str,
    scratch: &Scratch,
    stores: &Stores,
) -> String {
    let Cast {
        atlanta_domain,
        sip_domain,
        secret,
        tone,
        ..
    } = cast;
    let Place {
        sip,
        components,
        operators,
        allow,
        ..
    } = place;
    let path = scratch.path().display();
    let (address, port) = (sip.ip(), sip.port());
    let every_class = r#"["EMERGENCY", "ONNET", "FREE", "NATIONAL", "MOBILE", "SHARED", "PREMIUM", "INTL", "INTL-PREMIUM", "SATELLITE", "UNKNOWN"]"#;
    let allowed = if options.broken == Some(Break::Tone) {
        every_class
    } else {
        r#"["EMERGENCY", "ONNET", "FREE"]"#
    };
    let trunk = place.trunk.map_or_else(String::new, |trunk| {
        let (address, port) = (trunk.ip(), trunk.port());
        format!("[[trunks]]\nname = \"gateway\"\naddress = \"{address}\"\nport = {port}\nimpp = false\n")
    });
    format!(
        r#"# Written by the demonstration.
[sip]
domains = ["{sip_domain}"]

# Debian's baresip and SIPp give up when they see a challenge that is not MD5.
[[sip.listeners]]
address = "{address}"
port = {port}
algorithms = ["MD5"]

{trunk}
[media]
allow_networks = {allow}

[numbers]
country = "DE"
area = "30"

[policy]
allow = {allowed}

[policy.tone]
frequency = {frequency}
on_ms = {on}
off_ms = {off}
repeat = {repeat}

[xmpp]
domain = "{atlanta_domain}"
component = "{component}"
port = {components}
secret = "{secret}"

[store]
url = "{users}"

[state]
url = "{state}"

[http]
listen = "127.0.0.1:{operators}"

[log]
level = "trace"

[control]
socket = "{path}/cusax.sock"
"#,
        users = stores.users,
        state = stores.state,
        frequency = tone.frequency,
        on = tone.on,
        off = tone.off,
        repeat = tone.repeat,
    )
}

fn plan(options: &Options, cast: &Cast, place: &Place, component: &str) -> Plan {
    let Cast {
        alice,
        bob,
        carol,
        mallory,
        biloxi,
        ..
    } = cast;
    let account = |person: &Person, jid: &str, contacts: &[&Person]| Account {
        jid: jid.to_owned(),
        password: person.password.clone(),
        contacts: contacts.iter().map(|contact| contact.jid.clone()).collect(),
    };
    // The plugin has three jobs, and a provider may leave one out.
    let left_out = match options.broken {
        Some(Break::Reach) => "reach",
        Some(Break::Vcard) => "vcard",
        Some(Break::Roster) => "roster",
        _ => "",
    };
    let jobs = ["reach", "roster", "vcard"]
        .into_iter()
        .filter(|job| *job != left_out)
        .collect();
    let with = VirtualHost {
        plugin: Some(Plugin {
            jobs,
            ..Plugin::of(component)
        }),
        ..VirtualHost::plain(&cast.atlanta_domain)
    };
    let without = VirtualHost::plain(&cast.biloxi_domain);
    Plan {
        hosts: vec![with, without],
        accounts: vec![
            account(alice, &alice.jid, &[bob, carol, mallory, biloxi]),
            account(bob, &bob.jid, &[alice, carol]),
            account(carol, &carol.jid, &[alice, bob, mallory]),
            account(mallory, &mallory.jid, &[alice, carol]),
            account(biloxi, &biloxi.jid, &[alice]),
            account(bob, &cast.twin(), &[alice, carol]),
        ],
        component: Some((component.to_owned(), cast.secret.clone())),
        clients: place.clients,
        components: place.components,
        versions: true,
    }
}

fn on_loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port)
}

/// The status of a GET on loopback.
fn http_status(port: u16, path: &str) -> Result<u16> {
    get(on_loopback(port), path)?
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .context("no HTTP answer")
}

/// Runs the servers on loopback until Ctrl-C, and says how to use them.
///
/// # Errors
/// When they do not come up, or end by themselves.
pub fn serve(options: &Options, cast: &Cast) -> Result<()> {
    let scratch = Scratch::new("run")?;
    let loopback = IpAddr::from([127, 0, 0, 1]);
    let place = Place {
        namespace: None,
        sip: SocketAddr::new(loopback, 15_060),
        trunk: Some(SocketAddr::new(loopback, 15_070)),
        clients: CLIENT_PORT,
        components: COMPONENT_PORT,
        operators: OPERATOR_PORT,
        allow: r#"["127.0.0.0/8"]"#,
    };
    free(&place)?;
    let (pitch, speed) = cast.voices[2];
    let voice = Voice::new(pitch, speed, scratch.path())?.say(&cast.spoken[2], 60);
    let _trunk = match place.trunk {
        Some(address) => Some(Trunk::start_at(None, address, &scratch.folder("trunk")?, &voice)?),
        None => None,
    };
    let mut stack = Stack::start(options, cast, place, &scratch)?;
    println!(
        "Running until Ctrl-C; everything is on 127.0.0.1 and below {}.\n",
        scratch.path().display()
    );
    println!(
        "XMPP: port {} without TLS. SIP: UDP port {}, which is also the outbound proxy for the domain {}.\n",
        stack.place.clients,
        stack.place.sip.port(),
        cast.sip_domain
    );
    for person in [&cast.alice, &cast.bob] {
        println!("{}", person.name);
        println!("  chat   {}   password {}", person.jid, person.password);
        println!(
            "  phone  {}   username {}   password {}   number {}",
            person.aor, person.login, person.sip_password, person.number
        );
    }
    println!(
        "\nTelephone numbers go to a trunk that says {} over and over: 112 at once, a mobile phone after a tone.",
        cast.spoken[2]
    );
    println!(
        "\nMetrics and health: http://127.0.0.1:{}/metrics, /healthz, /readyz",
        stack.place.operators
    );
    println!(
        "Calls: {} --config {} calls",
        stack.cusax.display(),
        stack.config.display()
    );
    stack.watch()
}

/// Sees that nobody has the ports of this machine that are wanted.
fn free(place: &Place) -> Result<()> {
    for port in [place.clients, place.components, place.operators] {
        std::net::TcpListener::bind((place.sip.ip(), port)).context(format_args!(
            "port {port} of {}; end the program that has it",
            place.sip.ip()
        ))?;
    }
    for address in [Some(place.sip), place.trunk].into_iter().flatten() {
        std::net::UdpSocket::bind(address).context(format_args!("UDP {address}; end the program that has it"))?;
    }
    Ok(())
}

/// The ports inside the namespace, where nobody else is.
pub const CLIENT_PORT: u16 = 15_222;
/// The same for components.
pub const COMPONENT_PORT: u16 = 15_347;
/// The same for operators.
pub const OPERATOR_PORT: u16 = 18_085;

const READY: Duration = Duration::from_secs(15);

/// Makes the relay's packets vanish, as if nobody relayed.
///
/// # Errors
/// When `ip` refuses.
pub fn drop_relayed(namespace: &Namespace) -> Result<()> {
    namespace
        .ip("rule add ipproto udp sport 20000-29999 blackhole")
        .context("breaking the relay")
}
