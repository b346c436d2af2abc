//! The torture messages of RFC 4475 and RFC 5118 against a running service, over every transport.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cusax_b2bua::core::flow::Transport;
use cusax_common::core::sip::Message;
use cusax_common::core::sip::typed::Via;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::service::Service;
use super::wire::{Heard, Wire};
use super::{Context as _, Fault, Result};

/// The transports of the table.
pub const TRANSPORTS: [Transport; 4] = [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws];

/// One message and what is expected of the service.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name in the RFC.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Accepted outcomes over UDP, and over the other transports where they differ.
    pub expected: [Vec<String>; 2],
}

/// Where the messages are: where `CUSAX_TORTURE` says, or beside the checkout. None, which is said aloud, if nobody says
/// where and they are not there.
///
/// # Errors
/// When `CUSAX_TORTURE` names a folder that does not hold them.
pub fn folder() -> Result<Option<PathBuf>> {
    let found = find(std::env::var_os("CUSAX_TORTURE").map(PathBuf::from))?;
    if found.is_none() {
        // Past the test harness, which keeps to itself what a test prints that passes.
        writeln!(
            std::io::stderr(),
            "skipped: the torture messages of RFC 4475 and RFC 5118 are not sent, for {BESIDE} holds no {MANIFEST} and \
             CUSAX_TORTURE names no other folder"
        )?;
    }
    Ok(found)
}

/// The same, with what the variable holds.
///
/// # Errors
/// As [`folder`].
pub fn find(given: Option<PathBuf>) -> Result<Option<PathBuf>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = workspace.join(given.as_deref().unwrap_or(Path::new(BESIDE)));
    match (folder.join(MANIFEST).exists(), given) {
        (true, _) => Ok(Some(folder)),
        (false, None) => Ok(None),
        (false, Some(given)) => Err(Fault::new(format_args!(
            "CUSAX_TORTURE names {}, which holds no {MANIFEST}",
            given.display()
        ))),
    }
}

/// Where they are if nobody says where, seen from the workspace.
const BESIDE: &str = "../shared/data";
const MANIFEST: &str = "torture-manifest.tsv";

/// Reads the messages, and what is expected of each.
///
/// # Errors
/// When a message has no expectation, or a file cannot be read.
pub fn rows(folder: &Path) -> Result<Vec<Row>> {
    let manifest = fs::read_to_string(folder.join(MANIFEST))?;
    let mut rows = Vec::new();
    for line in manifest.lines().skip(1) {
        let mut columns = line.split('\t');
        let (Some(_rfc), Some(name), Some(file)) = (columns.next(), columns.next(), columns.next()) else {
            return Err(Fault::new(format_args!("a row of the manifest is short: {line}")));
        };
        let known = EXPECTED.lines().find(|line| line.split('\t').next() == Some(name));
        let mut known = known
            .context(format_args!("nothing is expected of {name}"))?
            .split('\t')
            .skip(1);
        let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let udp = list(known.next().unwrap_or_default());
        let streams = known
            .next()
            .filter(|text| !text.is_empty())
            .map_or_else(|| udp.clone(), list);
        rows.push(Row {
            name: name.to_owned(),
            bytes: fs::read(folder.join(file))?,
            expected: [udp, streams],
        });
    }
    Ok(rows)
}

/// What came back, in the words of the expectations: statuses in order, `silence`, `closed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome(pub String);

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Row {
    /// Whether the outcome is one of the accepted ones.
    #[must_use]
    pub fn accepts(&self, transport: Transport, outcome: &Outcome) -> bool {
        let [udp, streams] = &self.expected;
        let accepted = if transport == Transport::Udp { udp } else { streams };
        accepted.contains(&outcome.0)
    }

    /// Sends the message and listens. `host` makes a loopback address that nobody else has.
    ///
    /// # Errors
    /// When the port of its Via cannot be had, or the service cannot be reached.
    pub fn send(
        &self,
        transport: Transport,
        host: u8,
        service: SocketAddr,
        root: &CertificateDer<'static>,
    ) -> Result<Outcome> {
        let own = Ipv4Addr::new(127, 75, 44 + transport as u8, host);
        // An answer goes where the Via says (RFC 3261 §18.2.2): the sender is there.
        let port = self.via_port();
        let mut wire = Wire::connect(transport, SocketAddr::new(own.into(), port), service, root)
            .context(format_args!("{} over {transport} from port {port} of {own}", self.name))?;
        wire.send(&self.bytes)?;
        let mut words = Vec::new();
        let mut limit = FIRST;
        let closes = self.expected[1].iter().any(|accepted| accepted.ends_with("closed"));
        let next = if closes && transport != Transport::Udp {
            CLOSING
        } else {
            NEXT
        };
        loop {
            match wire.hear(limit) {
                Heard::Message(bytes) => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let status = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3));
                    words.push(status.context("the service sent a request")?.to_owned());
                }
                Heard::Closed(_) => {
                    words.push("closed".to_owned());
                    break;
                }
                Heard::Pong => {}
                Heard::Silence => break,
            }
            limit = next;
        }
        if words.is_empty() {
            words.push("silence".to_owned());
        }
        Ok(Outcome(words.join("+")))
    }

    fn via_port(&self) -> u16 {
        let message = match Message::parse(self.bytes.clone().into()) {
            Ok(Message::Request(request)) => request.headers,
            Ok(Message::Response(response)) => response.headers,
            Err(_) => return 0,
        };
        message.first::<Via>().ok().and_then(|via| via.port).unwrap_or(5060)
    }
}

/// What is expected of each message: accepted outcomes over UDP, then those over streams where they differ.
const EXPECTED: &str = include_str!("../../fixtures/torture/expected.tsv");
/// How long the first answer may take.
const FIRST: Duration = Duration::from_millis(400);
/// And further ones.
const NEXT: Duration = Duration::from_millis(120);

/// What came back for every message over every transport.
#[derive(Debug)]
pub struct Table(Vec<(Row, Vec<Outcome>)>);

/// Starts a service and sends it everything.
///
/// # Errors
/// When the service does not come up, or does not go on.
pub fn table(program: &Path, folder: &Path) -> Result<Table> {
    let service = Service::start("torture", program, Ipv4Addr::LOCALHOST.into(), "example.com")?;
    let rows = rows(folder)?;
    let send_all = |transport| {
        let (address, root) = (service.address(transport), service.root());
        let outcomes = rows.iter().zip(1..).map(|(row, host)| {
            let outcome = row.send(transport, host, address, root);
            outcome.unwrap_or_else(|fault| Outcome(format!("fault: {fault}")))
        });
        outcomes.collect::<Vec<_>>()
    };
    // Most of the time is waiting for silence, which all can do together.
    let columns = std::thread::scope(|scope| {
        let sending = TRANSPORTS.map(|transport| scope.spawn(move || send_all(transport)));
        sending.map(|thread| thread.join().map_err(|_| Fault::new("a thread panicked")))
    });
    let [udp, tcp, tls, ws] = columns;
    let columns = [udp?, tcp?, tls?, ws?];
    let lines = rows.iter().enumerate().map(|(at, row)| {
        let outcomes = columns.iter().map(|column| column[at].clone()).collect();
        (row.clone(), outcomes)
    });
    let lines = lines.collect();
    // Whatever was sent, the service is there for the next one.
    for transport in TRANSPORTS {
        let mut wire = service.connect(transport)?;
        wire.send(control(transport).as_bytes())?;
        match wire.hear(CONTROL) {
            Heard::Message(bytes) if bytes.starts_with(b"SIP/2.0 200") => {}
            other => return Err(Fault::new(format_args!("{transport}: after all this, {other:?}"))),
        }
    }
    Ok(Table(lines))
}

impl Table {
    /// How many outcomes are not as expected.
    #[must_use]
    pub fn wrong(&self) -> usize {
        self.0
            .iter()
            .map(|(row, outcomes)| {
                let both = TRANSPORTS.iter().zip(outcomes);
                both.filter(|(transport, outcome)| !row.accepts(**transport, outcome))
                    .count()
            })
            .sum()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |text: &str| format!("{text:<14}");
        let names: String = TRANSPORTS.iter().map(|transport| cell(transport.as_str())).collect();
        writeln!(f, "{:<30}{names}expected", "message")?;
        for (row, outcomes) in &self.0 {
            let mut line = format!("{:<30}", row.name);
            let mut fine = true;
            for (transport, outcome) in TRANSPORTS.iter().zip(outcomes) {
                fine &= row.accepts(*transport, outcome);
                line += &cell(&outcome.0);
            }
            let [udp, streams] = row.expected.each_ref().map(|accepted| accepted.join(" "));
            let expected = if udp == streams {
                udp
            } else {
                format!("{udp}; streams {streams}")
            };
            writeln!(f, "{line}{expected}{}", if fine { "" } else { "   <- not so" })?;
        }
        Ok(())
    }
}

fn control(transport: Transport) -> String {
    format!(
        "OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/{transport} control.invalid;branch=z9hG4bKcontrol{transport}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@b.invalid>;tag=1\r\nTo: <sip:example.com>\r\nCall-ID: control{transport}\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// And the end of a connection on which nothing more can be read.
const CLOSING: Duration = Duration::from_secs(3);
/// How long the answer to a proper message may take.
const CONTROL: Duration = Duration::from_secs(10);
