//! A real phone: Debian's linphonec, driven by its command line.
//!
//! It neither needs nor opens a sound card: in calls it plays a file. Its home is its own folder. It listens on loopback
//! alone, or at the address of its own machine, and looks up no name but `localhost`.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::phone::Account;
use super::topology::Host;
use super::wav::Wav;
use super::{Child, Context as _, Fault, Namespace, Result, Spec, wait};

/// A running phone, which has begun to register.
#[derive(Debug)]
pub struct Linphone {
    program: Child,
    orders: ChildStdin,
    screen: Arc<Mutex<Vec<u8>>>,
    log: PathBuf,
    /// How much of the screen has been read for what happens in calls.
    seen: usize,
}

impl Linphone {
    /// Starts a phone, which registers at once. `root` signs the service's certificate, whose name is `localhost`.
    ///
    /// # Errors
    /// When linphonec does not come up.
    pub fn start(folder: &Path, account: &Account, root: &Path) -> Result<Self> {
        // The name that the certificate has: it knows no certificates for addresses.
        let server = format!("localhost:{}", account.outbound.port());
        let settings = config(account, Ipv4Addr::LOCALHOST.into(), &server, Some(root))?;
        Self::start_with(None, folder, "linphonec", &settings)
    }

    /// Starts a phone on a machine of its own, which registers at once by UDP. It plays `voice` in every call.
    ///
    /// # Errors
    /// When linphonec does not come up.
    pub fn start_on(host: &Host, folder: &Path, account: &Account, voice: &Wav) -> Result<Self> {
        let name = host.namespace.name();
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder)?;
        let settings = config(account, host.address, &account.outbound.to_string(), None)?;
        let mut phone = Self::start_with(Some(&host.namespace), &folder, &format!("linphonec-{name}"), &settings)?;
        let sound = folder.join("voice.wav");
        std::fs::write(&sound, voice.to_bytes())?;
        phone.ask("soundcard use files")?;
        phone.ask(&format!("play {}", sound.display()))?;
        Ok(phone)
    }

    fn start_with(namespace: Option<&Namespace>, folder: &Path, name: &str, config: &str) -> Result<Self> {
        // It makes its history there, but not the folder.
        std::fs::create_dir_all(folder.join(".local/share/linphone"))?;
        let (settings, log) = (folder.join("linphonerc"), folder.join("linphone.log"));
        std::fs::write(&settings, config)?;
        let mut spec = Spec::new(name, "linphonec").env("HOME", folder).talks();
        if let Some(namespace) = namespace {
            spec = spec.inside(namespace);
        }
        // What it does is known by its log alone, and only at this level.
        let spec = spec.args(["-d", "6", "-l"]).arg(&log).arg("-c").arg(&settings);
        let mut program = spec.folder(folder).start(folder)?;
        let (orders, mut output) = program.take_pipes().context("linphonec talks")?;
        let screen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut piece) {
                shared.lock().expect(NO_PANIC).extend_from_slice(&piece[..length]);
            }
        });
        let mut phone = Self {
            program,
            orders,
            screen,
            log,
            seen: 0,
        };
        phone.answer(0)?;
        Ok(phone)
    }

    /// Calls somebody.
    ///
    /// # Errors
    /// When linphonec does not take the order.
    pub fn dial(&mut self, uri: &str) -> Result<()> {
        self.ask(&format!("call {uri}")).map(drop)
    }

    /// Answers the call that rings.
    ///
    /// # Errors
    /// When linphonec does not take the order.
    pub fn accept(&mut self) -> Result<()> {
        self.ask("answer").map(drop)
    }

    /// Holds the call.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn hold(&mut self) -> Result<()> {
        self.ask("pause")?;
        self.shows("is now paused").map(drop)
    }

    /// Takes the call up again.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn resume(&mut self) -> Result<()> {
        self.ask("resume")?;
        self.shows("Resuming call").map(drop)
    }

    /// Sends the other side of the call to somebody else, without asking that one.
    ///
    /// # Errors
    /// When linphonec does not take the order.
    pub fn transfer(&mut self, uri: &str) -> Result<()> {
        self.ask(&format!("transfer {uri}")).map(drop)
    }

    /// Connects the other sides of its two calls, the older one's and the newer one's.
    ///
    /// # Errors
    /// When it has not two calls.
    pub fn connect_both(&mut self) -> Result<()> {
        let calls = self.ask("calls")?;
        let numbers = calls
            .lines()
            .filter_map(|line| line.split_once('|')?.0.trim().parse().ok());
        let [older, newer] = numbers.collect::<Vec<u32>>()[..] else {
            return Err(Fault::new(format_args!("not two calls: {calls}")));
        };
        self.ask(&format!("transfer {older} --to-call {newer}")).map(drop)
    }

    /// Ends the call, or all that it has.
    ///
    /// # Errors
    /// When linphonec does not take the order.
    pub fn hang_up(&mut self) -> Result<()> {
        self.ask("terminate all").map(drop)
    }

    /// Waits for a call that rings.
    ///
    /// # Errors
    /// When there is none.
    pub fn incoming(&mut self) -> Result<()> {
        self.shows("Receiving new incoming call").map(drop)
    }

    /// Waits until a call is answered.
    ///
    /// # Errors
    /// When it is not.
    pub fn established(&mut self) -> Result<()> {
        self.shows(" connected.").map(drop)
    }

    /// Waits until a call has ended, and tells what the phone says of it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn closed(&mut self) -> Result<String> {
        self.shows(" ended (")
    }

    /// Waits for the next line of the screen that holds this, and forgets those before it.
    ///
    /// # Errors
    /// When there is none in time.
    pub fn shows(&mut self, words: &str) -> Result<String> {
        let (screen, seen) = (Arc::clone(&self.screen), self.seen);
        let (end, line) = self
            .program
            .until(&format!("linphonec to show {words:?}"), PATIENCE, |_| {
                let screen = screen.lock().expect(NO_PANIC);
                let text = String::from_utf8_lossy(&screen[seen..]).into_owned();
                let mut end = 0;
                text.split_inclusive('\n').find_map(|line| {
                    end += line.len();
                    (line.ends_with('\n') && line.contains(words)).then(|| (end, line.trim().to_owned()))
                })
            })?;
        self.seen += end;
        Ok(line)
    }

    /// Waits until the phone says that it is registered.
    ///
    /// # Errors
    /// When it does not, or says that it was refused.
    pub fn registered(&mut self) -> Result<()> {
        wait::until_ok("linphonec to be registered", PATIENCE, || {
            if self.log()?.contains(FAILED) {
                return Err(Fault::new("linphonec was refused"));
            }
            let answer = self.ask("status register")?;
            Ok(answer.contains("registered, identity=").then_some(()))
        })
    }

    /// Waits until the phone says that it could not register.
    ///
    /// # Errors
    /// When it does not, or is registered.
    pub fn refused(&mut self) -> Result<()> {
        wait::until_ok("linphonec to be refused", PATIENCE, || {
            // A prompt that was late may cut the first answer short.
            Ok((self.log()?.contains(FAILED) && self.ask("status register")?.contains("registered=-1")).then_some(()))
        })
    }

    /// Unregisters, and waits until the phone says that it has.
    ///
    /// # Errors
    /// When it does not.
    pub fn unregister(&mut self) -> Result<()> {
        self.ask("unregister")?;
        wait::until_ok("linphonec to be unregistered", PATIENCE, || {
            let cleared = self.log()?.contains(CLEARED);
            Ok((cleared && self.ask("status register")?.contains("registered=0")).then_some(()))
        })
    }

    /// Ends it as its user would.
    ///
    /// # Errors
    /// When it has to be killed.
    pub fn quit(mut self) -> Result<()> {
        writeln!(self.orders, "quit")?;
        let program = &mut self.program;
        wait::until_ok("the end of linphonec", PATIENCE, || program.ended()).map(drop)
    }

    /// Its own account of what it does, with every message that it sends and receives.
    ///
    /// # Errors
    /// When there is none.
    pub fn log(&self) -> Result<String> {
        let bytes = std::fs::read(&self.log).context(self.log.display())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn ask(&mut self, command: &str) -> Result<String> {
        let before = self.screen.lock().expect(NO_PANIC).len();
        writeln!(self.orders, "{command}").context("linphonec's command line")?;
        self.answer(before)
    }

    /// What it has written from there to its next prompt.
    fn answer(&mut self, from: usize) -> Result<String> {
        let screen = Arc::clone(&self.screen);
        self.program.until("linphonec's prompt", PATIENCE, |_| {
            let screen = screen.lock().expect(NO_PANIC);
            let text = String::from_utf8_lossy(&screen[from..]).into_owned();
            text.split_once(PROMPT).map(|(answer, _)| answer.to_owned())
        })
    }
}

/// The phone's configuration. Names of keys are liblinphone's.
fn config(account: &Account, address: IpAddr, server: &str, root: Option<&Path>) -> Result<String> {
    let aor = &account.aor;
    let domain = aor.split_once('@').context("an AOR has a domain")?.1;
    let mut server = format!("sip:{server}");
    if let Some(word) = account.transport.parameter() {
        write!(server, ";transport={word}").context("text")?;
    }
    let root = root
        .map(|root| format!("root_ca={}\n", root.display()))
        .unwrap_or_default();
    let mut text = format!(
        "[sip]
sip_port=-1
sip_tcp_port=-1
sip_tls_port=-1
bind_address={address}
use_ipv6=0
guess_hostname=0
register_only_when_network_is_up=0
default_proxy=0
{root}verify_server_certs=1
verify_server_cn=1
[net]
auto_net_state_mon=0
dns_srv_enabled=0
[audio_codec_0]
mime=PCMU
rate=8000
enabled=1
[proxy_0]
reg_proxy=<{server}>
reg_route=<{server}>
reg_identity={aor}
reg_expires=600
reg_sendregister=1
publish=0
"
    );
    if let Some(login) = &account.login {
        write!(
            text,
            "[auth_info_0]\nusername={}\npasswd={}\nrealm={domain}\ndomain={domain}\n",
            login.user, login.password
        )
        .context("text")?;
    }
    Ok(text)
}

const PROMPT: &str = "linphonec> ";
/// What its log says of the state of a registration.
const FAILED: &str = "to [LinphoneRegistrationFailed]";
const CLEARED: &str = "to [LinphoneRegistrationCleared]";
/// How long it may take for anything, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const NO_PANIC: &str = "no holder of this lock panics";
