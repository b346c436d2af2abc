//! Calls between SIPps through a running service: every flow, between users and with a carrier, over UDP, TCP and TLS.
//!
//! A flow is two or three scenarios, put together from the parts in `sipp`. Each checks what it gets, and one that fails
//! fails the test with what SIPp says of it. Debian builds SIPp without TLS, so socat carries its streams there; who is
//! called by a user's address has a [`Line`], which registers. What does not hold yet stands in `calls_ledger.tsv` with its
//! reason, and has to be taken out of it as soon as it holds. `FLOW=words` plays those flows alone whose names hold these
//! words.

#[path = "calls/flows.rs"]
mod flows;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use cusax_b2bua::core::flow::Transport;
use cusax_tests::lab::authority::Authority;
use cusax_tests::lab::line::{Line, Subscriber};
use cusax_tests::lab::scenario::{Parts, Place, Scenario, Words};
use cusax_tests::lab::service::{More, Service, free};
use cusax_tests::lab::sipp::{self, Tunnel};
use cusax_tests::lab::{Context as _, Fault, Result, Scratch};

use flows::Between::{self, TrunkAndUser, UserAndTrunk, Users};
use flows::{Flow, Party, Role, flows, transfers};

#[test]
fn transfers_over_udp() {
    table(Transport::Udp, &transfers()).unwrap_or_else(|fault| panic!("{fault}"));
}

#[test]
fn transfers_over_tcp() {
    table(Transport::Tcp, &transfers()).unwrap_or_else(|fault| panic!("{fault}"));
}

#[test]
fn transfers_over_tls() {
    table(Transport::Tls, &transfers()).unwrap_or_else(|fault| panic!("{fault}"));
}

#[test]
fn calls_over_udp() {
    table(Transport::Udp, &flows()).unwrap_or_else(|fault| panic!("{fault}"));
}

#[test]
fn calls_over_tcp() {
    table(Transport::Tcp, &flows()).unwrap_or_else(|fault| panic!("{fault}"));
}

#[test]
fn calls_over_tls() {
    table(Transport::Tls, &flows()).unwrap_or_else(|fault| panic!("{fault}"));
}

#[test]
fn every_part_is_in_some_flow() {
    let parts = parts().expect("parts");
    let mut used = BTreeSet::new();
    for flow in flows().into_iter().chain(transfers()) {
        for between in flow.between {
            let parties = [&flow.caller]
                .into_iter()
                .chain(&flow.callees)
                .chain(&flow.consultation);
            for party in parties {
                let own = SocketAddr::from(([192, 0, 2, 1], 5060));
                let words = words(Transport::Udp, between, own, own, &Names::default(), party);
                let (_, of_it) = parts.scenario(&flow.name, &party.parts, &words).expect("a scenario");
                used.extend(of_it.into_iter().map(str::to_owned));
            }
        }
    }
    let unused: Vec<_> = parts.names().into_iter().filter(|name| !used.contains(*name)).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

/// A flow that is known not to hold; `all` stands for whoever calls whom, and for every transport.
#[derive(Debug)]
struct Known {
    flow: &'static str,
    between: &'static str,
    transport: &'static str,
}

impl Known {
    fn is(&self, job: &Job<'_>, transport: Transport) -> bool {
        self.flow == job.flow.name
            && ["all", &format!("{:?}", job.between)].contains(&self.between)
            && ["all", transport.as_str()].contains(&self.transport)
    }
}

fn ledger() -> Vec<Known> {
    let rows = LEDGER.lines().skip(1).map(|line| {
        let [flow, between, transport, why] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("four columns: {line}")
        };
        assert!(!why.is_empty(), "a reason: {line}");
        Known {
            flow,
            between,
            transport,
        }
    });
    rows.collect()
}

#[test]
fn the_ledger_names_flows() {
    let flows: Vec<String> = flows().into_iter().chain(transfers()).map(|flow| flow.name).collect();
    for (at, name) in flows.iter().enumerate() {
        assert!(!flows[..at].contains(name), "twice: {name}");
    }
    for row in ledger() {
        assert!(flows.iter().any(|name| name == row.flow), "{row:?}");
    }
}

/// Plays every flow over one transport, several at a time.
fn table(transport: Transport, flows: &[Flow]) -> Result<()> {
    let wanted = std::env::var("FLOW").unwrap_or_default();
    let jobs: Vec<_> = flows
        .iter()
        .filter(|flow| flow.name.contains(&wanted))
        .flat_map(|flow| flow.between.iter().map(move |between| (flow, *between)))
        .enumerate()
        .map(|(number, (flow, between))| Job { number, flow, between })
        .collect();
    let count = jobs.len();
    let bench = Bench::start(transport, &jobs)?;
    let waiting = Mutex::new(VecDeque::from(jobs));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let (next, bench) = (&next, &bench);
    let results: Vec<(Job<'_>, Result<()>)> = thread::scope(|scope| {
        let lanes = (0..LANES).map(|lane| {
            let work = move || {
                std::iter::from_fn(next)
                    .map(|job| (job, bench.play(lane, job)))
                    .collect::<Vec<_>>()
            };
            scope.spawn(work)
        });
        let lanes: Vec<_> = lanes.collect();
        lanes
            .into_iter()
            .flat_map(|lane| lane.join().expect("no panic"))
            .collect()
    });
    assert_eq!(results.len(), count);
    let (known, mut told, mut mended) = (ledger(), String::new(), Vec::new());
    for (job, result) in &results {
        let (is_known, Job { flow, between, .. }) = (known.iter().any(|row| row.is(job, transport)), job);
        match result {
            Ok(()) if is_known => mended.push((&flow.name, between)),
            Err(fault) if !is_known => {
                writeln!(told, "--- {}, {between:?}, {transport}: {fault}", flow.name).context("memory")?;
            }
            _ => {}
        }
    }
    if told.is_empty() && mended.is_empty() {
        Ok(())
    } else {
        Err(Fault::new(format_args!("{told}in the ledger, and holds: {mended:?}")))
    }
}

/// One flow between two kinds of parties.
#[derive(Clone, Copy, Debug)]
struct Job<'a> {
    number: usize,
    flow: &'a Flow,
    between: Between,
}

impl Job<'_> {
    /// The number that leads to its carriers.
    fn number(&self) -> String {
        format!("+44207{:03}0000", self.number)
    }

    /// The domain of one of its carriers.
    fn realm(&self, which: usize) -> String {
        format!("t{}-{which}.carrier.test", self.number)
    }
}

/// How the parties of one call are called.
#[derive(Clone, Debug, Default)]
struct Names {
    caller: String,
    callee: String,
    target: String,
    /// What the caller dials.
    dialled: String,
    /// The domain of the caller's address.
    realm: String,
}

/// The service with users for every lane, and carriers for every flow that has some.
struct Bench {
    transport: Transport,
    parts: Parts,
    service: Service,
    authority: Authority,
    trunks: BTreeMap<(usize, usize), SocketAddr>,
    scratch: Scratch,
}

impl Bench {
    fn start(transport: Transport, jobs: &[Job<'_>]) -> Result<Self> {
        let word = transport.as_str().to_ascii_lowercase();
        let scratch = Scratch::new(&format!("calls-{word}-lab"))?;
        let authority = Authority::new("the carriers'")?;
        let ca = scratch.write("ca.pem", authority.pem())?;
        let mut trunks = BTreeMap::new();
        let mut tables = String::from("[policy]\nallow = [\"EMERGENCY\", \"ONNET\", \"FREE\", \"INTL\"]\n");
        for job in jobs.iter().filter(|job| job.between != Users) {
            for which in 0..job.flow.callees.len().max(1) {
                // An address that is known by its number alone must be the carrier's own.
                let host = 10 + u8::try_from(trunks.len()).context("as many as a network has room for")?;
                let address = free(ip(transport, host))?;
                let (at, port, realm) = (address.ip(), address.port(), job.realm(which));
                let ca = if transport == Transport::Tls {
                    format!("ca = \"{}\"\n", ca.display())
                } else {
                    String::new()
                };
                write!(
                    tables,
                    "[[trunks]]\nname = \"t{}-{which}\"\naddress = \"{at}\"\nport = {port}\ntransport = \"{word}\"\n\
                     realm = \"{realm}\"\nprefixes = [\"{}\"]\norder = {which}\n{ca}",
                    job.number,
                    &job.number()[1..9]
                )
                .context("memory")?;
                trunks.insert((job.number, which), address);
            }
        }
        // Each transport has another number of threads.
        let workers = match transport {
            Transport::Udp => "workers = 1",
            Transport::Tcp => "workers = 2",
            _ => "workers = 3",
        };
        let more = More {
            sip: workers,
            listeners: "algorithms = [\"MD5\"]",
            tables: &tables,
            ..More::default()
        };
        let program = Path::new(env!("CARGO_BIN_EXE_cusax"));
        let service = Service::start_with(&format!("calls-{word}"), program, ip(transport, 1), DOMAIN, more)?;
        for lane in 0..LANES {
            for (name, number) in [
                (caller(lane), None),
                (callee(lane), Some(number(lane))),
                (target(lane), None),
            ] {
                let (jid, aor) = (format!("{name}@example.com"), format!("sip:{name}@{DOMAIN}"));
                service.add_user(&jid, &aor, &name, PASSWORD)?;
                if let Some(number) = number {
                    let update = ["user", "add", "--update", "--jid", &jid, "--number", &number];
                    service.cusax().args(update).output()?;
                }
            }
        }
        Ok(Self {
            transport,
            parts: parts()?,
            service,
            authority,
            trunks,
            scratch,
        })
    }

    fn play(&self, lane: u8, job: Job<'_>) -> Result<()> {
        let Job { flow, between, .. } = job;
        let user = |name: fn(u8) -> String| name(lane);
        let (caller_name, callee_name, dialled, realm) = match between {
            Users => (user(caller), user(callee), user(callee), DOMAIN.to_owned()),
            UserAndTrunk => (user(caller), job.number(), job.number(), DOMAIN.to_owned()),
            TrunkAndUser => (job.number(), user(callee), user(number), job.realm(0)),
        };
        let mut call = Call {
            bench: self,
            job,
            folder: self.scratch.folder(format!("{:03}", job.number))?,
            names: Names {
                caller: caller_name,
                callee: callee_name,
                target: user(target),
                dialled,
                realm,
            },
            replaces: String::new(),
            parties: Vec::new(),
            lines: Vec::new(),
            tunnels: Vec::new(),
        };
        let callees = || flow.callees.iter().enumerate();
        for (which, party) in callees().filter(|(_, party)| party.role == Role::Target) {
            call.awaits(which, party)?;
        }
        if let Some(party) = &flow.consultation {
            let mut consultation = call.calls("consultation", party)?;
            let dialog = consultation.says()?;
            let escaped = [("@", "%40"), (";", "%3B"), ("=", "%3D")];
            let escaped = escaped
                .iter()
                .fold(dialog, |text, (plain, code)| text.replace(plain, code));
            call.replaces = format!("?Replaces={escaped}");
            call.parties.push(consultation);
        }
        for (which, party) in callees().filter(|(_, party)| party.role != Role::Target) {
            call.awaits(which, party)?;
        }
        let caller = call.calls("caller", &flow.caller)?;
        call.parties.push(caller);
        Scenario::all_end(call.parties)?;
        call.lines.into_iter().try_for_each(Line::close)
    }

    /// A certificate for a carrier's domain, and its key.
    fn identity(&self, folder: &Path, realm: &str) -> Result<sipp::Identity> {
        let identity = self.authority.certify(&[realm])?;
        let file = |kind: &str| folder.join(format!("{realm}.{kind}"));
        let files = sipp::Identity {
            certificate: file("crt"),
            key: file("key"),
        };
        std::fs::write(&files.certificate, identity.pem())?;
        std::fs::write(&files.key, identity.key_pem())?;
        Ok(files)
    }
}

/// One call that is played. Programs end before tunnels.
struct Call<'a> {
    bench: &'a Bench,
    job: Job<'a>,
    folder: PathBuf,
    names: Names,
    /// What stands behind the address in a Refer-To.
    replaces: String,
    parties: Vec<Scenario>,
    lines: Vec<Line>,
    tunnels: Vec<Tunnel>,
}

impl Call<'_> {
    /// Lets somebody wait for a call.
    fn awaits(&mut self, which: usize, party: &Party) -> Result<()> {
        let (bench, transport) = (self.bench, self.bench.transport);
        let (name, is_trunk) = (format!("callee-{which}"), self.job.between == UserAndTrunk);
        let own = if is_trunk {
            bench.trunks[&(self.job.number, which)]
        } else {
            free(ip(transport, 3))?
        };
        let text = self.text(&name, own, party)?;
        let mut place = own;
        if is_trunk && transport == Transport::Tls {
            place = free(ip(transport, 4))?;
            let files = bench.identity(&self.folder, &self.job.realm(which))?;
            let root = bench.service.root_file();
            self.tunnels
                .push(Tunnel::to_us(&self.folder, own, place, &root, &files)?);
        }
        let waiting = Scenario::start(&self.folder, &name, &text, transport, Place::Waiting(place))?;
        self.parties.push(waiting);
        if !is_trunk {
            let subscriber = Subscriber {
                user: self.names.of(party.role),
                password: PASSWORD,
                domain: DOMAIN,
                params: party.params,
            };
            let line = Line::open(&bench.service, transport, ip(transport, 3), subscriber, own)?;
            self.lines.push(line);
        }
        Ok(())
    }

    /// Lets somebody call.
    fn calls(&mut self, name: &str, party: &Party) -> Result<Scenario> {
        let (bench, transport) = (self.bench, self.bench.transport);
        let is_trunk = self.job.between == TrunkAndUser;
        let own = if is_trunk {
            bench.trunks[&(self.job.number, 0)]
        } else {
            free(ip(transport, 2))?
        };
        let text = self.text(name, own, party)?;
        let mut way = bench.service.address(transport);
        if transport == Transport::Tls {
            let identity = is_trunk.then(|| bench.identity(&self.folder, &self.job.realm(0)));
            let identity = identity.transpose()?;
            let root = bench.service.root_file();
            let tunnel = Tunnel::to_the_service(&self.folder, way, &root, identity.as_ref())?;
            way = tunnel.address();
            self.tunnels.push(tunnel);
        }
        let whom = match name {
            "caller" => &self.names.dialled,
            _ => &self.names.target,
        };
        let whom = format!("{whom}@{DOMAIN}");
        Scenario::start(&self.folder, name, &text, transport, Place::Calling(&whom, own, way))
    }

    fn text(&self, name: &str, own: SocketAddr, party: &Party) -> Result<String> {
        let service = self.bench.service.address(self.bench.transport);
        let mut words = words(self.bench.transport, self.job.between, own, service, &self.names, party);
        words.insert("replaces", self.replaces.clone());
        let name = format!("{}: {name}", self.job.flow.name);
        Ok(self.bench.parts.scenario(&name, &party.parts, &words)?.0)
    }
}

impl Names {
    fn of(&self, role: Role) -> &str {
        match role {
            Role::Caller => &self.caller,
            Role::Callee => &self.callee,
            Role::Target => &self.target,
        }
    }
}

/// What a party is given.
fn words(
    transport: Transport,
    between: Between,
    own: SocketAddr,
    service: SocketAddr,
    names: &Names,
    party: &Party,
) -> Words {
    let is_caller = party.parts.first() == Some(&"invite");
    let (invite, impp) = match between {
        Users => ("{invite-of-a-user}", "{impp-of-a-user}"),
        UserAndTrunk => ("{invite-of-a-user}", "{impp-of-nobody}"),
        TrunkAndUser => ("{invite-of-a-trunk}", "{impp-of-nobody}"),
    };
    let host = match (is_caller, between) {
        (true, TrunkAndUser) | (false, UserAndTrunk) => own.ip(),
        (true, _) => ip(transport, 2),
        (false, _) => ip(transport, 3),
    };
    let pattern = |ip: IpAddr| ip.to_string().replace('.', "\\.");
    let stranger = match between {
        TrunkAndUser => "{realm}".to_owned(),
        Users | UserAndTrunk => pattern(ip(transport, 2)),
    };
    let sdp = |version: u8, direction: &str| {
        let lines = [
            "v=0".to_owned(),
            format!("o=- 1 {version} IN IP4 {host}"),
            "s=-".to_owned(),
            format!("c=IN IP4 {host}"),
            "t=0 0".to_owned(),
            "m=audio 6000 RTP/AVP 0".to_owned(),
            "a=rtpmap:0 PCMU/8000".to_owned(),
            format!("a={direction}"),
        ];
        lines.join("\n")
    };
    let mut words = Words::from(
        [
            ("invite", invite),
            ("impp", impp),
            ("domain", DOMAIN),
            ("realm", &names.realm),
            ("transport", transport.as_str()),
            ("way", &transport.as_str().to_ascii_lowercase()),
            ("user", names.of(party.role)),
            ("caller", &names.caller),
            ("callee", &names.dialled),
            ("target", &names.target),
            ("replaces", ""),
            ("named", "{named-session}"),
            ("password", PASSWORD),
            ("contact", &own.to_string()),
            ("service", &pattern(service.ip())),
            ("stranger", &stranger),
            (
                "methods",
                "INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY",
            ),
            ("session", "ab30317f1a784dc48ff824d0d3715d86"),
            ("answerer", "47755a9de7794ba387653f2099600ef2"),
            ("nobody", "00000000000000000000000000000000"),
            ("early", "183"),
            ("content", "Content-Type: application/sdp"),
            ("described", "{offer}"),
            ("offer", &sdp(1, "sendrecv")),
            ("hold", &sdp(2, "sendonly")),
            ("held", &sdp(2, "recvonly")),
            ("resume", &sdp(3, "sendrecv")),
            ("kind", "application/x-own"),
            ("words", "anything at all"),
            ("said", "anything at all"),
            ("headers", ""),
            ("crossed", ""),
            ("offered", ""),
        ]
        .map(|(word, value)| (word, value.to_owned())),
    );
    words.extend(party.words.iter().map(|(word, value)| (*word, (*value).to_owned())));
    words
}

fn parts() -> Result<Parts> {
    Parts::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/sipp"))
}

/// The SIP domain of the users.
const DOMAIN: &str = "sip.example.com";

/// A network of loopback addresses for one transport: the service, callers, phones, carriers.
fn ip(transport: Transport, host: u8) -> IpAddr {
    let network = match transport {
        Transport::Udp => 1,
        Transport::Tcp => 2,
        _ => 3,
    };
    Ipv4Addr::new(127, 92, network, host).into()
}

fn caller(lane: u8) -> String {
    format!("alice{lane}")
}

fn callee(lane: u8) -> String {
    format!("bob{lane}")
}

fn target(lane: u8) -> String {
    format!("carol{lane}")
}

fn number(lane: u8) -> String {
    format!("+493090182{lane:02}")
}

const LEDGER: &str = include_str!("calls_ledger.tsv");
const PASSWORD: &str = "a-secret";
/// How many calls are made at a time.
const LANES: u8 = 8;
