//! The service alone on this host's loopback, with a listener of every transport, for what needs no phone and no chat.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use cusax_b2bua::core::flow::Transport;
use nix::sys::signal::Signal;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::authority::Authority;
use super::wire::Wire;
use super::{Child, Context as _, Fault, Namespace, Result, Scratch, Spec, wait};

/// Every transport, in the order of the listeners.
pub const TRANSPORTS: [Transport; 5] = [
    Transport::Udp,
    Transport::Tcp,
    Transport::Tls,
    Transport::Ws,
    Transport::Wss,
];

/// The running service. It ends, and its folder goes, when this is dropped.
pub struct Service {
    program: PathBuf,
    addresses: Vec<(Transport, SocketAddr)>,
    authority: Authority,
    http: SocketAddr,
    /// The process.
    pub child: Child,
    /// Its folder: `cusax.toml`, `root.pem`, `cert.pem`, `key.pem`.
    pub scratch: Scratch,
}

/// What one instance is configured with beside what every one is, as lines of its configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct More<'a> {
    /// For `[sip]`.
    pub sip: &'a str,
    /// For every listener.
    pub listeners: &'a str,
    /// For the listeners of WebSocket.
    pub websocket: &'a str,
    /// Whole tables.
    pub tables: &'a str,
    /// Where it runs, if not on this machine. Its metrics cannot be read from outside.
    pub namespace: Option<&'a Namespace>,
}

impl Service {
    /// Starts `program` with listeners on `ip` for the SIP domains in `domains`, separated by commas.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(name: &str, program: &Path, ip: IpAddr, domains: &str) -> Result<Self> {
        Self::start_with(name, program, ip, domains, More::default())
    }

    /// Starts one that is configured with more.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_with(name: &str, program: &Path, ip: IpAddr, domains: &str, more: More<'_>) -> Result<Self> {
        let scratch = Scratch::new(name)?;
        let authority = Authority::new("the laboratory")?;
        let folder = scratch.path().to_owned();
        fs::write(folder.join("root.pem"), authority.pem())?;
        certificate(&authority, &folder)?;
        let (http, addresses) = match more.namespace {
            None => {
                let addresses = TRANSPORTS.into_iter().map(|transport| Ok((transport, free(ip)?)));
                (
                    free(Ipv4Addr::LOCALHOST.into())?,
                    addresses.collect::<Result<Vec<_>>>()?,
                )
            }
            // Nobody else is there.
            Some(_) => {
                let addresses = TRANSPORTS.into_iter().zip(FIRST_PORT..);
                let addresses = addresses.map(|(transport, port)| (transport, SocketAddr::new(ip, port)));
                (SocketAddr::from((Ipv4Addr::LOCALHOST, HTTP_PORT)), addresses.collect())
            }
        };
        fs::write(
            folder.join("cusax.toml"),
            configuration(&folder, http, &addresses, domains, more),
        )?;
        let mut spec = cusax(program, &folder).arg("serve");
        if let Some(namespace) = more.namespace {
            spec = spec.inside(namespace);
        }
        let mut child = spec.start(&folder)?;
        child.until("the service to serve", READY, |child| {
            child.log().contains("serving version").then_some(())
        })?;
        Ok(Self {
            program: program.to_owned(),
            addresses,
            authority,
            http,
            child,
            scratch,
        })
    }

    /// The command line with this service's configuration.
    #[must_use]
    pub fn cusax(&self) -> Spec {
        cusax(&self.program, self.scratch.path())
    }

    /// Adds a user with one phone account.
    ///
    /// # Errors
    /// What the command says.
    pub fn add_user(&self, jid: &str, aor: &str, login: &str, password: &str) -> Result<()> {
        let file = self.scratch.path().join(format!("{login}.password"));
        fs::write(&file, password)?;
        let spec = self
            .cusax()
            .args(["user", "add", "--jid", jid, "--aor", aor, "--login", login]);
        spec.arg("--password-file").arg(&file).output().map(drop)
    }

    /// Where it listens.
    ///
    /// # Panics
    /// Never: there is a listener of every transport.
    #[must_use]
    pub fn address(&self, transport: Transport) -> SocketAddr {
        let found = self.addresses.iter().find(|(known, _)| *known == transport);
        found.expect("every transport has a listener").1
    }

    /// Who signs its certificates.
    #[must_use]
    pub fn root(&self) -> &CertificateDer<'static> {
        self.authority.root()
    }

    /// The file that holds it, in PEM.
    #[must_use]
    pub fn root_file(&self) -> PathBuf {
        self.scratch.file("root.pem")
    }

    /// Writes a new certificate and its key where the service reads them; gives the certificate.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn renew_certificate(&self) -> Result<CertificateDer<'static>> {
        certificate(&self.authority, self.scratch.path())
    }

    /// A connection, or a socket.
    ///
    /// # Errors
    /// When the service does not take it.
    pub fn connect(&self, transport: Transport) -> Result<Wire> {
        let service = self.address(transport);
        Wire::connect(transport, SocketAddr::new(service.ip(), 0), service, self.root())
    }

    /// How much memory the process holds, in bytes.
    ///
    /// # Errors
    /// When it is no more.
    pub fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        Ok(kilobytes.context("no figure of memory")? * 1024)
    }

    /// How many datagrams the kernel threw away before the sockets of the UDP listener were read.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn kernel_drops(&self) -> Result<u64> {
        let port = format!(":{:04X}", self.address(Transport::Udp).port());
        let table = fs::read_to_string("/proc/net/udp")?;
        let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        // The second column is the local address; a peer of ours has the same port in the third.
        let ours = rows.filter(|row| row.get(1).is_some_and(|local| local.ends_with(&port)));
        let drops = ours.filter_map(|row| row.last()?.parse::<u64>().ok());
        drops.reduce(|all, one| all + one).context("no socket")
    }

    /// Stops the process where it is.
    ///
    /// # Errors
    /// When it is no more.
    pub fn freeze(&self) -> Result<()> {
        self.child.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it is no more.
    pub fn thaw(&self) -> Result<()> {
        self.child.signal(Signal::SIGCONT)
    }

    /// One figure of the metrics; zero for one that was never counted.
    ///
    /// # Errors
    /// When the service does not answer.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let answer = get(self.http, "/metrics")?;
        let line = answer
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.and_then(|value| value.parse().ok()).unwrap_or_default())
    }

    /// Waits until a figure is as wanted.
    ///
    /// # Errors
    /// When it does not become so.
    pub fn metric_becomes(&self, name: &str, wanted: f64) -> Result<()> {
        let mut last = f64::NAN;
        let waited = wait::until_ok(&format!("{name} to be {wanted}"), READY, || {
            last = self.metric(name)?;
            Ok((last == wanted).then_some(()))
        });
        waited.context(format_args!("it is {last}"))
    }
}

/// The whole answer to a GET over HTTP.
///
/// # Errors
/// When none comes.
pub fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(READY))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn cusax(program: &Path, folder: &Path) -> Spec {
    Spec::new("cusax", program)
        .arg("--config")
        .arg(folder.join("cusax.toml"))
}

fn configuration(
    folder: &Path,
    http: SocketAddr,
    addresses: &[(Transport, SocketAddr)],
    domains: &str,
    more: More<'_>,
) -> String {
    let folder = folder.display();
    let domains: Vec<_> = domains.split(',').map(|domain| format!("\"{domain}\"")).collect();
    let mut text = format!(
        "[sip]\ndomains = [{}]\ncalls_per_account = 1000\n{}\n[xmpp]\ndomain = \"example.com\"\ncomponent = \"calls.example.com\"\nport = 1\n\
         secret = \"canary\"\n[numbers]\ncountry = \"DE\"\n[store]\nurl = \"sqlite:{folder}/cusax.db\"\n\
         [http]\nlisten = \"{http}\"\n[control]\nsocket = \"{folder}/cusax.sock\"\ndrain = 1\n[log]\nlevel = \"trace\"\n\
         [media]\nallow_networks = [\"127.0.0.0/8\"]\n[sip.limits]\nper_account = 1000\nall = 50000\n{}\n",
        domains.join(", "),
        more.sip,
        more.tables
    );
    for (transport, address) in addresses {
        let word = transport.as_str().to_ascii_lowercase();
        let (ip, port) = (address.ip(), address.port());
        let keys = more.listeners;
        text += &format!("[[sip.listeners]]\naddress = \"{ip}\"\nport = {port}\ntransport = \"{word}\"\n{keys}\n");
        if let Transport::Ws | Transport::Wss = transport {
            text += &format!("{}\n", more.websocket);
        }
        if let Transport::Tls | Transport::Wss = transport {
            text += &format!("certificate = \"{folder}/cert.pem\"\nkey = \"{folder}/key.pem\"\n");
        }
    }
    text
}

fn certificate(authority: &Authority, folder: &Path) -> Result<CertificateDer<'static>> {
    let identity = authority.certify(&["localhost", "127.0.0.1", DOMAIN])?;
    fs::write(folder.join("cert.pem"), identity.pem())?;
    fs::write(folder.join("key.pem"), identity.key_pem())?;
    Ok(identity.certificate().clone())
}

/// A port that nobody has, neither for datagrams nor for connections, and that the system gives to no connection of its
/// own before it is used. No two calls of one process give the same.
///
/// # Errors
/// When every port is taken.
pub fn free(ip: IpAddr) -> Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Programs that run side by side begin at places of their own.
    let offset = (std::process::id() % 97) as u16 * (PORTS / 97);
    for _ in 0..PORTS {
        let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(offset) % PORTS;
        let address = SocketAddr::new(ip, FIRST_PORT + number);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(Fault::new("no port is free"))
}

/// A name that its certificate holds beside that of the host, for carriers, which know it by its domain (RFC 5922 §7.1).
pub const DOMAIN: &str = "sip.example.com";
/// Below those that connections are made from (32768 and up) and those of the relay.
const FIRST_PORT: u16 = 10_000;
/// Where operators ask, in a namespace of its own.
const HTTP_PORT: u16 = 8085;
/// How many there are.
const PORTS: u16 = 9_700;

/// How long the service may take for anything.
const READY: Duration = Duration::from_secs(20);
