//! What is measured: `cusax`, Debian's Kamailio, and a device that does no work. Each is a process of its own on a free
//! port of the loopback, and ends with us.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::usage::Usage;
use super::users;
use crate::lab::service::free;
use crate::lab::{Child, Context as _, Result, Scratch, Spec, wait};

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Ours, as it is configured by default but for its limits, and without the relay for calls.
    Cusax,
    /// The same with the relay, as a default has it: four ports for each call, through which nothing is sent.
    Anchored,
    /// Debian's, as `tests/bench/kamailio.cfg` and `tests/bench/kamailio-calls.cfg` have it.
    Kamailio,
    /// Answers or passes on and does nothing else ([`null`](super::null)): what the kernel costs everybody.
    Null,
}

impl Kind {
    /// For the head of a column.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cusax => "cusax",
            Self::Anchored => "anchored",
            Self::Kamailio => "kamailio",
            Self::Null => "null",
        }
    }
}

/// What it is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Phones register.
    Registrations,
    /// Phones that have registered are called.
    Calls,
}

/// A running one.
pub struct Device {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    _scratch: Scratch,
}

impl Device {
    /// Starts one. `store` holds the users of `cusax`, and takes its call records.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(kind: Kind, purpose: Purpose, store: &Path) -> Result<Self> {
        let scratch = Scratch::new(kind.name())?;
        let address = free(Ipv4Addr::LOCALHOST.into())?;
        let child = match kind {
            Kind::Cusax => cusax(&scratch, address, purpose, false, store),
            Kind::Anchored => cusax(&scratch, address, purpose, true, store),
            Kind::Kamailio => kamailio(&scratch, address, purpose),
            Kind::Null => null(&scratch, address),
        }?;
        let device = Self {
            address,
            child,
            _scratch: scratch,
        };
        device.rest()?;
        Ok(device)
    }

    /// Waits until it has done what it does behind our backs, such as reading all users or writing records. Gives the
    /// processor seconds that it had used when it began to rest.
    ///
    /// # Errors
    /// When it does not come to rest, or is no more.
    pub fn rest(&self) -> Result<f64> {
        let (mut before, mut since) = (self.usage()?.cpu, wait::now());
        wait::until_ok("a device to rest", READY, || {
            if since.elapsed() < LOOK {
                return Ok(None);
            }
            let used = self.usage()?.cpu;
            let rests = used - before < RESTING * LOOK.as_secs_f64();
            let rested = rests.then_some(before);
            (before, since) = (used, wait::now());
            Ok(rested)
        })
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// When it is no more.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.child.id()).context(format_args!("{}: {}", self.child.name(), self.child.log_tail(5)))
    }
}

fn cusax(scratch: &Scratch, address: SocketAddr, purpose: Purpose, anchors: bool, store: &Path) -> Result<Child> {
    let (folder, http) = (scratch.path().display(), free(Ipv4Addr::LOCALHOST.into())?);
    let calls = if purpose == Purpose::Calls { CALLS } else { "" };
    let mut text = format!(
        "[sip]\ndomains = [\"{domain}\"]\n{calls}[[sip.listeners]]\naddress = \"{ip}\"\nport = {port}\n\
         [numbers]\ncountry = \"DE\"\n\
         [xmpp]\ndomain = \"example.com\"\ncomponent = \"calls.example.com\"\nport = 1\nsecret = \"unused\"\n\
         [store]\nurl = \"sqlite:{store}\"\n[http]\nlisten = \"{http}\"\n[control]\nsocket = \"{folder}/cusax.sock\"\n",
        domain = users::DOMAIN,
        ip = address.ip(),
        port = address.port(),
        store = store.display(),
    );
    // Every phone of the generator stands behind a few addresses, and asks for more than anybody would be granted.
    for limit in ["per_source", "per_account", "all"] {
        let section = if limit == "per_source" { "[sip.limits]\n" } else { "" };
        writeln!(text, "{section}{limit} = 1000000").expect("writing to a String cannot fail");
    }
    if purpose == Purpose::Calls {
        writeln!(text, "{MEDIA}anchor = {anchors}").expect("writing to a String cannot fail");
    }
    let file = scratch.write("cusax.toml", text)?;
    let program = std::env::current_exe()?.with_file_name("cusax");
    let spec = Spec::new("cusax", program).arg("--config").arg(file).arg("serve");
    let mut child = spec.start(scratch.path())?;
    child.until("cusax to serve", READY, |child| {
        child.log().contains("serving version").then_some(())
    })?;
    Ok(child)
}

fn kamailio(scratch: &Scratch, address: SocketAddr, purpose: Purpose) -> Result<Child> {
    let text = match purpose {
        Purpose::Registrations => REGISTRAR,
        Purpose::Calls => PROXY,
    };
    let file = scratch.write("kamailio.cfg", text)?;
    // Its fast allocator for both kinds of memory: the default one of Debian's build checks itself all the time.
    let spec = Spec::new("kamailio", "kamailio")
        .args(["-DD", "-E", "-x", "fm", "-X", "fm", "-m", MEMORY, "-M", "32"])
        .arg("-w")
        .arg(scratch.path())
        .arg("-Y")
        .arg(scratch.path())
        .args(["-l", &format!("udp:{address}")])
        .arg("-f")
        .arg(file)
        // It has processes of its own, which it ends when it is asked to end.
        .on_orphaned(Signal::SIGTERM);
    let mut child = spec.start(scratch.path())?;
    answers(&mut child, address)?;
    Ok(child)
}

fn null(scratch: &Scratch, address: SocketAddr) -> Result<Child> {
    let spec = Spec::new("null", std::env::current_exe()?).args(["null", &address.to_string()]);
    let mut child = spec.start(scratch.path())?;
    answers(&mut child, address)?;
    Ok(child)
}

/// Waits until it answers an OPTIONS.
fn answers(child: &mut Child, address: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let local = socket.local_addr()?;
    let request = format!(
        "OPTIONS sip:{address} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKready;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:ready@{local}>;tag=1\r\nTo: <sip:{address}>\r\nCall-ID: ready\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n"
    );
    child.until("an answer", READY, |_| {
        // Refused while nobody listens yet.
        let _ = socket.send(request.as_bytes());
        socket.recv(&mut [0; 4096]).ok().map(drop)
    })
}

const REGISTRAR: &str = include_str!("../../bench/kamailio.cfg");
const PROXY: &str = include_str!("../../bench/kamailio-calls.cfg");
/// What is set otherwise for calls, in `[sip]`: more of them than anybody has, of a few callers, and without any sound.
const CALLS: &str = "max_calls = 1000000\ncalls_per_account = 1000000\nsilence_timeout = 0\n";
/// As many ports as an address has, each for the next call soon after the last; the phones are on the loopback.
const MEDIA: &str = "[media]\nport_min = 1024\nport_max = 65535\ndrain_secs = 1\nallow_networks = [\"127.0.0.0/8\"]\n";
/// Mebibytes that Kamailio's processes may share: enough for the calls of the benchmark, and only what is used is counted.
const MEMORY: &str = "4096";
/// How long one may take to come up on a busy machine.
const READY: Duration = Duration::from_secs(120);
/// How often it is looked whether a device rests.
const LOOK: Duration = Duration::from_secs(1);
/// What part of a processor one uses at most that rests.
const RESTING: f64 = 0.03;
