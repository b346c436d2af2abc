//! A real phone: Debian's linphonec, driven by its command line.
//!
//! It only registers. It neither needs nor opens a sound card for that; its home is its own folder. It listens on
//! loopback alone, and looks up no name but `localhost`.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::phone::Account;
use super::{Child, Context as _, Fault, Result, Spec, wait};

/// A running phone, which has begun to register.
#[derive(Debug)]
pub struct Linphone {
    program: Child,
    orders: ChildStdin,
    screen: Arc<Mutex<Vec<u8>>>,
    log: PathBuf,
}

impl Linphone {
    /// Starts a phone, which registers at once. `root` signs the service's certificate, whose name is `localhost`.
    ///
    /// # Errors
    /// When linphonec does not come up.
    pub fn start(folder: &Path, account: &Account, root: &Path) -> Result<Self> {
        // It makes its history there, but not the folder.
        std::fs::create_dir_all(folder.join(".local/share/linphone"))?;
        let (settings, log) = (folder.join("linphonerc"), folder.join("linphone.log"));
        std::fs::write(&settings, config(account, root)?)?;
        let spec = Spec::new("linphonec", "linphonec").env("HOME", folder).talks();
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
        };
        phone.answer(0)?;
        Ok(phone)
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
fn config(account: &Account, root: &Path) -> Result<String> {
    let Account { aor, outbound, .. } = account;
    let domain = aor.split_once('@').context("an AOR has a domain")?.1;
    // The name that the certificate has: it knows no certificates for addresses.
    let mut server = format!("sip:localhost:{}", outbound.port());
    if let Some(word) = account.transport.parameter() {
        write!(server, ";transport={word}").context("text")?;
    }
    let mut text = format!(
        "[sip]
sip_port=-1
sip_tcp_port=-1
sip_tls_port=-1
bind_address=127.0.0.1
use_ipv6=0
guess_hostname=0
register_only_when_network_is_up=0
default_proxy=0
root_ca={root}
verify_server_certs=1
verify_server_cn=1
[net]
auto_net_state_mon=0
dns_srv_enabled=0
[proxy_0]
reg_proxy=<{server}>
reg_identity={aor}
reg_expires=600
reg_sendregister=1
publish=0
",
        root = root.display()
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
