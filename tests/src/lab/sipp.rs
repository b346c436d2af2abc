//! SIPp as a phone: a scenario of our own registers by digest, waits for a word, and unregisters.
//!
//! It talks with us over the connection that SIPp has for a second SIPp (`-3pcc`). Debian's SIPp is built without TLS;
//! there socat takes its stream, verifies the service's certificate, and carries the stream on.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use cusax_b2bua::core::flow::Transport;

use super::phone::Account;
use super::service::free;
use super::{Child, Context as _, Fault, Result, Spec};

/// A running scenario, which has begun to register.
#[derive(Debug)]
pub struct Sipp {
    program: Child,
    /// The side that verifies.
    _tunnel: Option<Tunnel>,
    words: TcpStream,
    heard: Vec<u8>,
    call_id: String,
    errors: PathBuf,
}

impl Sipp {
    /// Starts it. `root` signs the service's certificate, whose name is `localhost`.
    ///
    /// # Errors
    /// When SIPp or socat does not come up.
    pub fn start(folder: &Path, account: &Account, root: &Path) -> Result<Self> {
        let domain = account.aor.split_once('@').context("an AOR has a domain")?.1;
        let login = account.login.as_ref().context("it registers")?;
        let scenario = folder.join("register.xml");
        let text = SCENARIO
            .replace("REGISTRATION", REGISTRATION)
            .replace("DOMAIN", domain)
            .replace("AOR", &account.aor)
            .replace("USER", &login.user)
            .replace("PASSWORD", &login.password)
            .replace("TRANSPORT", account.transport.as_str());
        std::fs::write(&scenario, text)?;
        let tunnel = (account.transport == Transport::Tls)
            .then(|| Tunnel::to_the_service(folder, account.outbound, root, None))
            .transpose()?;
        let target = tunnel.as_ref().map_or(account.outbound, Tunnel::address);
        let mode = if account.transport == Transport::Udp {
            "u1"
        } else {
            "t1"
        };
        let own = free(Ipv4Addr::LOCALHOST.into())?;
        let twin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        twin.set_nonblocking(true)?;
        let spec = Spec::new("sipp", "sipp").folder(folder).arg("-sf").arg(&scenario);
        // Without -auth_uri it proves itself for the address that it sends to, not for the request (RFC 7616 §3.4.6).
        let spec = spec.args(["-auth_uri", domain, "-t", mode, "-m", "1", "-nostdin"]);
        let errors = folder.join("errors.log");
        let spec = spec.args(["-trace_err", "-error_file"]).arg(&errors);
        let spec = spec.args(["-i", &own.ip().to_string(), "-p", &own.port().to_string()]);
        let spec = spec.args(["-3pcc", &twin.local_addr()?.to_string(), &target.to_string()]);
        // SIPp draws its screen with escape sequences for a terminal, which it need not find.
        let mut program = spec.env("TERM", "dumb").start(folder)?;
        let words = program
            .until("SIPp's second connection", PATIENCE, |_| twin.accept().ok())?
            .0;
        words.set_nonblocking(true)?;
        Ok(Self {
            program,
            _tunnel: tunnel,
            words,
            heard: Vec::new(),
            call_id: String::new(),
            errors,
        })
    }

    /// Waits until the registrar has taken the scenario's REGISTER.
    ///
    /// # Errors
    /// When it does not; the fault holds what SIPp says.
    pub fn registered(&mut self) -> Result<()> {
        let said = self.said("registered")?;
        let call_id = said.lines().find_map(|line| line.strip_prefix("Call-ID: "));
        call_id.context("SIPp names its call")?.clone_into(&mut self.call_id);
        Ok(())
    }

    /// Unregisters, waits until the registrar has taken that, and ends.
    ///
    /// # Errors
    /// When it does not.
    pub fn unregister(mut self) -> Result<()> {
        let word = format!("Call-ID: {}\r\nState: go\r\n\r\n{END}", self.call_id);
        self.words.write_all(word.as_bytes())?;
        self.said("unregistered")?;
        let status = self.ended()?;
        if status.success() {
            Ok(())
        } else {
            Err(Fault::new(format_args!("SIPp ended with {status}")))
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end.
    pub fn ended(&mut self) -> Result<ExitStatus> {
        super::wait::until_ok("the end of SIPp", PATIENCE, || self.program.ended())
    }

    /// Waits for the next word, which must be this one.
    fn said(&mut self, state: &str) -> Result<String> {
        let (words, heard) = (&mut self.words, &mut self.heard);
        let said = self.program.until(state, PATIENCE, |_| {
            let mut piece = [0; 1024];
            match words.read(&mut piece) {
                Ok(length) => heard.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
            let end = heard.iter().position(|byte| *byte == END as u8)?;
            let word: Vec<_> = heard.drain(..=end).collect();
            Some(String::from_utf8_lossy(&word).into_owned())
        })?;
        if said.lines().any(|line| line.strip_prefix("State: ") == Some(state)) {
            return Ok(said);
        }
        // It tells that it gives up before it has written why.
        self.ended()?;
        let why = std::fs::read_to_string(&self.errors).context(self.errors.display())?;
        Err(Fault::new(format_args!("SIPp is not {state}: {why}")))
    }
}

/// Carries streams between a SIPp, which knows no TLS, and the service, and verifies who is at the other end.
#[derive(Debug)]
pub struct Tunnel {
    _socat: Child,
    address: SocketAddr,
}

/// A certificate and its key, in files of PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Tunnel {
    /// Takes one stream and carries it on to the service under TLS, showing a certificate if one is given.
    ///
    /// # Errors
    /// When socat does not come up.
    pub fn to_the_service(
        folder: &Path,
        service: SocketAddr,
        root: &Path,
        identity: Option<&Identity>,
    ) -> Result<Self> {
        let at = free(Ipv4Addr::LOCALHOST.into())?;
        let near = format!("TCP4-LISTEN:{},bind={}", at.port(), at.ip());
        let mut far = format!(
            "OPENSSL:{service},verify=1,cafile={},commonname=localhost",
            root.display()
        );
        if let Some(identity) = identity {
            far += &identity.options();
        }
        Self::start(folder, at, &near, &far)
    }

    /// Takes streams under TLS at an address of a carrier's, and carries them on to its SIPp. Whoever comes must show a
    /// certificate that `root` has signed.
    ///
    /// # Errors
    /// When socat does not come up.
    pub fn to_us(folder: &Path, at: SocketAddr, sipp: SocketAddr, root: &Path, identity: &Identity) -> Result<Self> {
        let near = format!(
            "OPENSSL-LISTEN:{},bind={},fork,verify=1,cafile={}{}",
            at.port(),
            at.ip(),
            root.display(),
            identity.options()
        );
        Self::start(folder, at, &near, &format!("TCP4:{sipp}"))
    }

    fn start(folder: &Path, address: SocketAddr, near: &str, far: &str) -> Result<Self> {
        let spec = Spec::new(format!("socat-{address}"), "socat").args(["-d", "-d", near, far]);
        let mut socat = spec.start(folder)?;
        socat.until("socat listens", PATIENCE, |child| {
            child.log().contains("listening on").then_some(())
        })?;
        Ok(Self { _socat: socat, address })
    }

    /// Where it takes streams.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Identity {
    fn options(&self) -> String {
        format!(",cert={},key={}", self.certificate.display(), self.key.display())
    }
}

/// A word between two SIPps ends with it.
const END: char = '\u{1b}';
/// How long anything may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

const SCENARIO: &str = r#"<?xml version="1.0" encoding="UTF-8" ?>
<scenario name="register">
  <send retrans="500"><![CDATA[
REGISTRATION
      Expires: 600
      Content-Length: 0

  ]]></send>
  <recv response="401" auth="true"/>
  <send retrans="500"><![CDATA[
REGISTRATION
      Expires: 600
      [authentication username=USER password=PASSWORD]
      Content-Length: 0

  ]]></send>
  <recv response="200"/>
  <sendCmd><![CDATA[
      Call-ID: [call_id]
      State: registered

  ]]></sendCmd>
  <recvCmd/>
  <send retrans="500"><![CDATA[
REGISTRATION
      Expires: 0
      [authentication username=USER password=PASSWORD]
      Content-Length: 0

  ]]></send>
  <recv response="200"/>
  <sendCmd><![CDATA[
      Call-ID: [call_id]
      State: unregistered

  ]]></sendCmd>
</scenario>
"#;

/// What every REGISTER begins with. The Via is written out, because SIPp does not know of the tunnel.
const REGISTRATION: &str = "      REGISTER sip:DOMAIN SIP/2.0
      Via: SIP/2.0/TRANSPORT [local_ip]:[local_port];branch=[branch];rport
      Max-Forwards: 70
      From: <AOR>;tag=[pid]-[call_number]
      To: <AOR>
      Call-ID: [call_id]
      CSeq: [cseq] REGISTER
      User-Agent: SIPp
      Contact: <sip:USER@[local_ip]:[local_port];transport=TRANSPORT>";
