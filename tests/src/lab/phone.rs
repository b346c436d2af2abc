//! A real phone: Debian's baresip without a screen, driven over its control port.
//!
//! It plays a sound file to whoever it is connected with and records what it hears. Its accounts are made and removed at
//! run time, which is how it registers and goes.

use std::collections::VecDeque;
use std::io::{BufReader, Read, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cusax_b2bua::core::flow::Transport;
use serde_json::{Value, json};

use super::topology::Host;
use super::wav::Wav;
use super::{Child, Context as _, Fault, Namespace, Result, Spec, wait};

/// What a phone is told about its account.
#[derive(Clone, Debug)]
pub struct Account {
    /// The address of record, such as `sip:alice@example.com`.
    pub aor: String,
    /// The name that it puts into its From.
    pub display: String,
    /// The login, if the phone registers and may be challenged.
    pub login: Option<Login>,
    /// Where it sends everything.
    pub outbound: SocketAddr,
    /// By what.
    pub transport: Transport,
    /// The payload formats it offers, in baresip's words.
    pub codecs: &'static str,
}

/// A username and its password.
#[derive(Clone, Debug)]
pub struct Login {
    /// The username of the digest.
    pub user: String,
    /// Its password, in clear: these are throw-away accounts.
    pub password: String,
}

/// A running phone.
#[derive(Debug)]
pub struct Phone {
    program: Child,
    control: TcpStream,
    events: Arc<Mutex<VecDeque<Value>>>,
    answers: Arc<Mutex<Vec<Value>>>,
    next_token: u32,
    folder: PathBuf,
    address: IpAddr,
    /// How many recordings there were before the call of which is spoken.
    recorded: usize,
}

impl Phone {
    /// Starts a phone without an account on a machine of its own. It speaks `voice` in every call.
    ///
    /// # Errors
    /// When baresip does not come up.
    pub fn start(host: &Host, folder: &Path, voice: &Wav) -> Result<Self> {
        Self::start_at(Some(&host.namespace), host.address, folder, voice)
    }

    /// Starts a phone at an address of a namespace, or of this machine, which no other may have.
    ///
    /// # Errors
    /// When baresip does not come up.
    pub fn start_at(namespace: Option<&Namespace>, address: IpAddr, folder: &Path, voice: &Wav) -> Result<Self> {
        let name = namespace.map_or_else(|| address.to_string(), |namespace| namespace.name().to_owned());
        let folder = folder.join(&name);
        let control = namespace.map_or(address, |_| Ipv4Addr::LOCALHOST.into());
        let control = SocketAddr::new(control, CONTROL_PORT);
        std::fs::create_dir_all(&folder)?;
        let sound = folder.join("voice.wav");
        std::fs::write(&sound, voice.to_bytes())?;
        std::fs::write(folder.join("config"), config(address, control, &sound, &folder))?;
        for empty in ["accounts", "contacts"] {
            std::fs::write(folder.join(empty), "")?;
        }
        let mut spec = Spec::new(format!("baresip-{name}"), "baresip")
            .arg("-f")
            .arg(&folder)
            .arg("-v");
        if let Some(namespace) = namespace {
            spec = spec.inside(namespace);
        }
        let mut program = spec.env("HOME", &folder).start(&folder)?;
        program.until("baresip is ready", START, |child| {
            child.log().contains("baresip is ready").then_some(())
        })?;
        let connect = move || Ok(TcpStream::connect(control)?);
        let control = namespace.map_or_else(connect, |namespace| namespace.run(connect))?;
        let events = Arc::new(Mutex::new(VecDeque::new()));
        let answers = Arc::new(Mutex::new(Vec::new()));
        let (reader, to_events, to_answers) = (control.try_clone()?, Arc::clone(&events), Arc::clone(&answers));
        std::thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            while let Some(message) = netstring(&mut reader) {
                if message["event"] == true {
                    to_events.lock().expect(NO_PANIC).push_back(message);
                } else {
                    to_answers.lock().expect(NO_PANIC).push(message);
                }
            }
        });
        Ok(Self {
            program,
            control,
            events,
            answers,
            next_token: 0,
            folder,
            address,
            recorded: 0,
        })
    }

    /// Where it receives SIP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.address, SIP_PORT)
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.program.id()
    }

    /// Gives it an account; it registers if that has a login.
    ///
    /// # Errors
    /// When baresip refuses.
    pub fn add_account(&mut self, account: &Account) -> Result<()> {
        let Account {
            aor,
            display,
            outbound,
            transport,
            codecs,
            ..
        } = account;
        let way = transport.parameter().map(|word| format!(";transport={word}"));
        let way = way.unwrap_or_default();
        let mut line =
            format!("\"{display}\" <{aor}>;outbound=\"sip:{outbound}{way}\";audio_codecs={codecs};answermode=manual");
        match &account.login {
            Some(login) => {
                line.push_str(&format!(
                    ";regint=600;auth_user={};auth_pass={}",
                    login.user, login.password
                ));
            }
            None => line.push_str(";regint=0"),
        }
        self.command("uanew", &line)
    }

    /// Gives it an account and waits until the registrar has taken it.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn register(&mut self, account: &Account) -> Result<()> {
        self.add_account(account)?;
        let event = self.event("the answer to REGISTER", ANSWER, |event| {
            event["type"].as_str().is_some_and(|kind| kind.starts_with("REGISTER_"))
        })?;
        if event["type"] == "REGISTER_OK" {
            Ok(())
        } else {
            Err(Fault::new(format_args!("{}: {event}", account.aor)))
        }
    }

    /// Takes an account away; the phone unregisters.
    ///
    /// # Errors
    /// When baresip refuses.
    pub fn remove_account(&mut self, aor: &str) -> Result<()> {
        self.command("uadel", aor)
    }

    /// Calls somebody.
    ///
    /// # Errors
    /// When baresip refuses.
    pub fn dial(&mut self, uri: &str) -> Result<()> {
        self.recorded = self.recordings()?.len();
        self.command("dial", uri)
    }

    /// Answers the call that rings.
    ///
    /// # Errors
    /// When baresip refuses.
    pub fn accept(&mut self) -> Result<()> {
        self.recorded = self.recordings()?.len();
        self.command("accept", "")
    }

    /// Holds the call.
    ///
    /// # Errors
    /// When baresip refuses.
    pub fn hold(&mut self) -> Result<()> {
        self.command("hold", "")
    }

    /// Takes the call up again.
    ///
    /// # Errors
    /// When baresip refuses.
    pub fn resume(&mut self) -> Result<()> {
        self.command("resume", "")
    }

    /// Sends the other side of the call to somebody else, without asking that one. It knows no other way.
    ///
    /// # Errors
    /// When baresip refuses.
    pub fn transfer(&mut self, uri: &str) -> Result<()> {
        self.command("transfer", uri)
    }

    /// Ends the call.
    ///
    /// # Errors
    /// When baresip refuses.
    pub fn hang_up(&mut self) -> Result<()> {
        self.command("hangup", "")
    }

    /// Waits for the call to ring.
    ///
    /// # Errors
    /// When it does not.
    pub fn incoming(&mut self) -> Result<Value> {
        self.event("an incoming call", ANSWER, |event| event["type"] == "CALL_INCOMING")
    }

    /// Waits until the call is answered.
    ///
    /// # Errors
    /// When it ends first, or nothing happens in time.
    pub fn established(&mut self) -> Result<()> {
        let done = |event: &Value| event["type"] == "CALL_ESTABLISHED" || event["type"] == "CALL_CLOSED";
        let event = self.event("the answer", ANSWER, done)?;
        if event["type"] == "CALL_ESTABLISHED" {
            Ok(())
        } else {
            Err(Fault::new(format_args!("the call ended: {}", event["param"])))
        }
    }

    /// Waits until the call has ended, and tells why in baresip's words.
    ///
    /// # Errors
    /// When it does not end.
    pub fn closed(&mut self) -> Result<String> {
        let event = self.event("the end of the call", ANSWER, |event| event["type"] == "CALL_CLOSED")?;
        Ok(event["param"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits for the next event that `wanted` likes, and forgets those before it.
    ///
    /// # Errors
    /// When `limit` passes without one; the fault holds the end of the phone's log.
    pub fn event(&mut self, what: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let events = Arc::clone(&self.events);
        self.program.until(what, limit, |_| {
            let mut events = events.lock().expect(NO_PANIC);
            let found = events.iter().position(&wanted)?;
            events.drain(..=found).next_back()
        })
    }

    /// Forgets all events until now.
    pub fn forget_events(&self) {
        self.events.lock().expect(NO_PANIC).clear();
    }

    /// What it has heard since it last began to call or to ring.
    ///
    /// baresip begins a new file when early media ends and the call is answered; here they are one after another.
    /// Calls must be at least a second apart, and so must be early media and answer: it names files by the second.
    ///
    /// # Errors
    /// When there is no recording.
    pub fn heard(&self) -> Result<Vec<i16>> {
        let files = self.recordings()?;
        let mut heard = Vec::new();
        for file in files.get(self.recorded..).unwrap_or_default() {
            heard.extend(Wav::read(file)?.samples);
        }
        if heard.is_empty() {
            Err(Fault::new("the phone has recorded nothing"))
        } else {
            Ok(heard)
        }
    }

    fn recordings(&self) -> Result<Vec<PathBuf>> {
        let mut files: Vec<_> = std::fs::read_dir(&self.folder)?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.to_str().is_some_and(|name| name.ends_with("-dec.wav")))
            .collect();
        files.sort();
        Ok(files)
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.program.log_tail(20)
    }

    /// Ends it as its user would: it hangs up and unregisters.
    ///
    /// # Errors
    /// When it has to be killed.
    pub fn quit(self) -> Result<()> {
        self.program.stop(QUIT).map(drop)
    }

    fn command(&mut self, command: &str, parameters: &str) -> Result<()> {
        self.next_token += 1;
        let token = self.next_token.to_string();
        let text = json!({"command": command, "params": parameters, "token": token}).to_string();
        self.control
            .write_all(format!("{}:{text},", text.len()).as_bytes())
            .context("the phone's control port")?;
        let answers = Arc::clone(&self.answers);
        let answer = self.program.until(&format!("the answer to {command}"), ANSWER, |_| {
            let mut answers = answers.lock().expect(NO_PANIC);
            let found = answers.iter().position(|answer| answer["token"] == token)?;
            Some(answers.swap_remove(found))
        })?;
        if answer["ok"] == true {
            Ok(())
        } else {
            Err(Fault::new(format_args!("{command} {parameters}: {answer}")))
        }
    }
}

/// The next message of the control port; none at its end.
fn netstring(reader: &mut impl Read) -> Option<Value> {
    let mut length = 0usize;
    loop {
        let mut byte = [0];
        reader.read_exact(&mut byte).ok()?;
        match byte[0] {
            digit @ b'0'..=b'9' => length = length.checked_mul(10)?.checked_add(usize::from(digit - b'0'))?,
            b':' => break,
            _ => return None,
        }
    }
    let mut text = vec![0; length.min(LONGEST) + 1];
    reader.read_exact(&mut text).ok()?;
    serde_json::from_slice(&text[..text.len() - 1]).ok()
}

fn config(address: IpAddr, control: SocketAddr, sound: &Path, folder: &Path) -> String {
    let (sound, folder) = (sound.display(), folder.display());
    // The player is a bridge to nobody: sound drivers would look for hardware.
    format!(
        "poll_method epoll
sip_listen {address}:{SIP_PORT}
call_local_timeout 120
call_max_calls 4
audio_source aufile,{sound}
audio_player aubridge,heard
audio_alert aubridge,alert
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
ausrc_format s16
auplay_format s16
audio_level no
jitter_buffer_delay 1-5
rtp_stats no
ringback_disabled yes
module_path /usr/lib/baresip/modules
module g711.so
module sndfile.so
module aufile.so
module aubridge.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {control}
snd_path {folder}
"
    )
}

/// Where every phone is driven: on loopback in its own namespace, or at its own address of this machine.
const CONTROL_PORT: u16 = 4444;
/// Where every phone receives SIP.
const SIP_PORT: u16 = 5060;
const START: Duration = Duration::from_secs(8);
const ANSWER: Duration = Duration::from_secs(10);
const QUIT: Duration = Duration::from_secs(6);
/// Bytes of the longest message that the control port may send.
const LONGEST: usize = 1 << 20;
const NO_PANIC: &str = "no holder of this lock panics";

/// Waits a moment that a person would, so that the next recording gets a name of its own.
pub fn breathe() {
    wait::pass(Duration::from_millis(1100));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_control_port_are_cut_right() {
        let mut bytes: &[u8] = b"14:{\"event\":true},2:{},x";
        assert_eq!(netstring(&mut bytes), Some(json!({"event": true})));
        assert_eq!(netstring(&mut bytes), Some(json!({})));
        assert_eq!(netstring(&mut bytes), None);
    }
}
