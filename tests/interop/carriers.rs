//! Carriers that have names and certificates, with real sockets: Debian's dnsmasq leads to them, and a stand-in takes and
//! makes calls over UDP, TCP and TLS.
//!
//! Everything is on loopback, so `networks` must allow that, and the cases without it show that nothing goes there.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use cusax_b2bua::core::flow::Transport;
use cusax_common::core::sip::typed::Via;
use cusax_common::core::sip::{Method, Request};
use cusax_tests::lab::authority::{Authority, Identity};
use cusax_tests::lab::carrier::{Carrier, Link};
use cusax_tests::lab::dns::{Dns, Mute, host, naptr, srv};
use cusax_tests::lab::phone::{self, Login};
use cusax_tests::lab::service::{More, Service, free};
use cusax_tests::lab::sipp::Sipp;
use cusax_tests::lab::softphone::{Softphone, until};
use cusax_tests::lab::{Result, Scratch, wait};
use cusax_tests::peer::phone::{Account, Manner, Stage};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

#[test]
fn dns_leads_to_the_preferred_server_and_past_those_that_are_not_there() {
    preferred().unwrap_or_else(|fault| panic!("{fault}"));
}

fn preferred() -> Result<()> {
    let net = Net(1);
    let (scratch, at) = (Scratch::new("carriers-dns")?, net.free(9)?);
    let [a, b, c] = [net.free(2)?, net.free(3)?, net.free(4)?];
    let zone = |tcp, udp| {
        vec![
            naptr(DOMAIN, tcp, "SIP+D2T", "_sip._tcp.carrier.test"),
            naptr(DOMAIN, udp, "SIP+D2U", "_sip._udp.carrier.test"),
            srv("_sip._tcp.carrier.test", 2, "b.carrier.test", b.port()),
            srv("_sip._tcp.carrier.test", 1, "a.carrier.test", a.port()),
            srv("_sip._udp.carrier.test", 1, "c.carrier.test", c.port()),
            host("a.carrier.test", a),
            host("b.carrier.test", b),
            host("c.carrier.test", c),
        ]
    };
    let mut dns = Dns::start(scratch.path(), at, &zone(10, 20))?;
    let first = Carrier::start(Transport::Tcp, a, DOMAIN)?;
    let second = Carrier::start(Transport::Tcp, b, DOMAIN)?;
    let third = Carrier::start(Transport::Udp, c, DOMAIN)?;
    let mut bench = Bench::start("carriers-preferred", net, &[at], &named("carrier", LOOPBACK))?;
    bench.located(1)?;
    bench.register()?;

    let came = |carrier: &Carrier| carrier.requests(&Method::Invite).len();
    assert_eq!(bench.call(ABROAD)?, Stage::Up);
    bench.hang_up()?;
    assert_eq!(
        [came(&first), came(&second), came(&third)],
        [1, 0, 0],
        "the preferred one"
    );
    let (_, invite) = &first.requests(&Method::Invite)[0];
    assert_eq!(invite.uri.to_string(), "sip:+442079460000@carrier.test;user=phone");

    first.refuse(Some(503));
    assert_eq!(bench.call(ABROAD)?, Stage::Up);
    bench.hang_up()?;
    assert_eq!([came(&first), came(&second), came(&third)], [2, 1, 0], "it says 503");

    drop(first);
    assert_eq!(bench.call(ABROAD)?, Stage::Up);
    bench.hang_up()?;
    assert_eq!([came(&second), came(&third)], [2, 0], "it refuses connections");

    let first = Carrier::start(Transport::Tcp, a, DOMAIN)?;
    assert_eq!(bench.call(ABROAD)?, Stage::Up);
    bench.hang_up()?;
    assert_eq!([came(&first), came(&second), came(&third)], [1, 2, 0], "it is back");

    let changed = wait::now();
    dns.publish(&zone(20, 10))?;
    bench.located(2)?;
    println!("a changed zone was followed after {:?}", changed.elapsed());
    assert_eq!(bench.call(ABROAD)?, Stage::Up);
    bench.hang_up()?;
    assert_eq!(
        [came(&first), came(&second), came(&third)],
        [1, 2, 1],
        "the zone changed"
    );
    Ok(())
}

#[test]
fn nobody_waits_for_a_name_server_that_says_nothing() {
    without_dns(Net(2), true).unwrap_or_else(|fault| panic!("{fault}"));
}

#[test]
fn nobody_waits_for_a_name_server_that_is_not_there() {
    without_dns(Net(3), false).unwrap_or_else(|fault| panic!("{fault}"));
}

fn without_dns(net: Net, silent: bool) -> Result<()> {
    let name = if silent { "silent" } else { "dead" };
    let (scratch, at, server) = (
        Scratch::new(&format!("carriers-{name}-lab"))?,
        net.free(9)?,
        net.free(2)?,
    );
    let carrier = Carrier::start(Transport::Tcp, server, DOMAIN)?;
    let usual = {
        let mut bench = Bench::start(&format!("carriers-{name}-usual"), net, &[], "")?;
        bench.measure()?
    };
    let mute = silent.then(|| Mute::start(at)).transpose()?;
    let mut bench = Bench::start(&format!("carriers-{name}"), net, &[at], &named("carrier", LOOPBACK))?;
    let times = bench.measure()?;
    let began = wait::now();
    assert_eq!(bench.call(ABROAD)?, Stage::Over(Some(503)));
    let refused = began.elapsed();
    println!("{name}: {times:?}, usually {usual:?}; a call to the carrier was refused after {refused:?}");
    for (time, usual) in [
        (times.register, usual.register),
        (times.call, usual.call),
        (refused, usual.call),
    ] {
        assert!(time <= (usual * SLACK).max(LEAST), "{time:?} is not {usual:?}");
    }
    assert_eq!(carrier.heard(), 0);

    if let Some(mute) = &mute {
        wait::until("a question", SOON, || (mute.heard() > 0).then_some(()))?;
    }
    drop(mute);
    let records = [
        srv("_sip._tcp.carrier.test", 1, "a.carrier.test", server.port()),
        host("a.carrier.test", server),
    ];
    let _dns = Dns::start(scratch.path(), at, &records)?;
    bench.located(1)?;
    assert_eq!(bench.call(ABROAD)?, Stage::Up, "once DNS is there");
    bench.hang_up()?;
    assert_eq!(carrier.requests(&Method::Invite).len(), 1);
    Ok(())
}

/// Whoever writes the records cannot make the service send into its own machine.
#[test]
fn nothing_is_sent_to_an_address_that_networks_does_not_allow() {
    forbidden().unwrap_or_else(|fault| panic!("{fault}"));
}

fn forbidden() -> Result<()> {
    let net = Net(4);
    let (scratch, at) = (Scratch::new("carriers-forbidden-lab")?, net.free(9)?);
    let [tcp, udp] = [net.free(2)?, net.free(3)?];
    let records = [
        srv("_sip._tcp.carrier.test", 1, "a.carrier.test", tcp.port()),
        srv("_sip._udp.carrier.test", 1, "b.carrier.test", udp.port()),
        host("a.carrier.test", tcp),
        host("b.carrier.test", udp),
    ];
    let _dns = Dns::start(scratch.path(), at, &records)?;
    let carriers = [
        Carrier::start(Transport::Tcp, tcp, DOMAIN)?,
        Carrier::start(Transport::Udp, udp, DOMAIN)?,
    ];
    let trunks = [
        named(
            "tcp",
            "realm = \"tcp.test\"\ntransport = \"tcp\"\nprefixes = [\"44\"]\n",
        ),
        named(
            "udp",
            "realm = \"udp.test\"\ntransport = \"udp\"\nprefixes = [\"33\"]\n",
        ),
        named(
            "elsewhere",
            "realm = \"elsewhere.test\"\ntransport = \"tcp\"\nprefixes = [\"39\"]\nnetworks = [\"192.0.2.0/24\"]\n",
        ),
        named(
            "allowed",
            &format!("transport = \"tcp\"\nprefixes = [\"34\"]\n{LOOPBACK}"),
        ),
    ];
    let mut bench = Bench::start("carriers-forbidden", net, &[at], &trunks.concat())?;
    bench.located(4)?;
    bench.register()?;
    bench.logged("does not allow", 3)?;
    for number in ["+442079460000", "+33142685300", "+390669812345"] {
        let stage = bench.call(&format!("sip:{number}@sip.example.com"))?;
        assert_eq!(stage, Stage::Over(Some(503)), "{number}");
    }
    assert_eq!(carriers.each_ref().map(Carrier::heard), [0, 0]);
    assert_eq!(carriers[0].links(), 0, "nobody knocked");
    // The same records do where they are allowed, so silence was no accident.
    assert_eq!(bench.call("sip:+34911234567@sip.example.com")?, Stage::Up);
    bench.hang_up()?;
    assert_eq!(carriers[0].requests(&Method::Invite).len(), 1);
    Ok(())
}

#[test]
fn calls_go_both_ways_over_connections_that_prove_both_sides() {
    both_ways().unwrap_or_else(|fault| panic!("{fault}"));
}

fn both_ways() -> Result<()> {
    let mut line = Secured::new("carriers-both", Net(5))?;
    let mut carrier = line.carrier(&line.identity)?;
    let bench = &mut line.bench;
    for count in 1..=2 {
        assert_eq!(bench.call(ABROAD)?, Stage::Up);
        bench.hang_up()?;
        let invites = carrier.requests(&Method::Invite);
        assert_eq!(invites.len(), count);
        let (link, invite) = &invites[count - 1];
        assert_eq!(*link, Link(0), "one connection for all (RFC 5923 §8.1)");
        assert!(has_alias(invite), "RFC 5923 §8.1");
    }
    assert_eq!(carrier.links(), 1);
    assert_eq!(
        carrier.shown(Link(0)),
        Some(bench.certificate()?),
        "the certificate of the listener, which the carrier has verified"
    );

    let call = carrier.call(Link(0), NUMBER, "");
    bench.reached(&carrier, &call)?;
    carrier.hang_up(Link(0), &call);
    bench.hung_up()?;

    let own = carrier.open(
        bench.service.address(Transport::Tls),
        bench.service.root(),
        Some(&line.identity),
    )?;
    let call = carrier.call(own, NUMBER, "");
    bench.reached(&carrier, &call)?;
    // A carrier that does not reuse connections says the rest by another one.
    carrier.hang_up(Link(0), &call);
    bench.hung_up()?;
    assert!(carrier.is_up(Link(0)) && carrier.is_up(own));
    assert_eq!(carrier.links(), 2);
    Ok(())
}

/// RFC 5923 §8.2: what the carrier opened may be used the other way, if it says so, and if its certificate says who it is.
#[test]
fn a_connection_that_the_carrier_lends_is_used_for_calls_to_it() {
    lent().unwrap_or_else(|fault| panic!("{fault}"));
}

fn lent() -> Result<()> {
    let mut line = Secured::new("carriers-lent", Net(6))?;
    let service = line.bench.service.address(Transport::Tls);
    for (via, expected) in [(";alias", Link(0)), ("", Link(1))] {
        let mut carrier = line.carrier(&line.identity)?;
        let bench = &mut line.bench;
        let own = carrier.open(service, bench.service.root(), Some(&line.identity))?;
        let call = carrier.call(own, NUMBER, via);
        bench.reached(&carrier, &call)?;
        carrier.hang_up(own, &call);
        bench.hung_up()?;
        assert_eq!(bench.call(ABROAD)?, Stage::Up, "{via:?}");
        bench.hang_up()?;
        let invites = carrier.requests(&Method::Invite);
        assert_eq!(invites.len(), 1);
        assert_eq!(invites[0].0, expected, "{via:?}");
        drop(carrier);
        bench.service.metric_becomes("cusax_sip_connections", 0.0)?;
    }
    // The connection that was lent is gone, so one of ours is opened.
    let carrier = line.carrier(&line.identity)?;
    assert_eq!(line.bench.call(ABROAD)?, Stage::Up);
    line.bench.hang_up()?;
    assert_eq!(carrier.links(), 1);
    Ok(())
}

#[test]
fn a_server_with_another_certificate_hears_nothing_of_a_call() {
    impostors().unwrap_or_else(|fault| panic!("{fault}"));
}

fn impostors() -> Result<()> {
    let net = Net(7);
    let (scratch, at) = (Scratch::new("carriers-impostors-lab")?, net.free(9)?);
    let (authority, foreign) = (Authority::new("the carrier's")?, Authority::new("nobody's")?);
    let ca = scratch.write("ca.pem", authority.pem())?;
    let [a, b] = [net.free(2)?, net.free(3)?];
    let records = [
        naptr(DOMAIN, 20, "SIP+D2T", "_sip._tcp.carrier.test"),
        naptr(DOMAIN, 10, "SIPS+D2T", "_sips._tcp.carrier.test"),
        srv("_sips._tcp.carrier.test", 1, "a.carrier.test", a.port()),
        srv("_sips._tcp.carrier.test", 2, "b.carrier.test", b.port()),
        host("a.carrier.test", a),
        host("b.carrier.test", b),
    ];
    let _dns = Dns::start(scratch.path(), at, &records)?;
    let trunk = named("carrier", &format!("{LOOPBACK}ca = \"{}\"\n", ca.display()));
    let mut bench = Bench::start("carriers-impostors", net, &[at], &trunk)?;
    bench.located(1)?;
    bench.register()?;
    let rows = [
        ("another name", authority.certify(&["other.test"])?),
        // The name that DNS gave is nobody's proof (RFC 5922 §4.3).
        ("the name of the host", authority.certify(&["a.carrier.test"])?),
        ("another authority", foreign.certify(&[DOMAIN])?),
    ];
    for (what, identity) in &rows {
        let impostor = Carrier::secure(a, DOMAIN, identity, bench.service.root())?;
        assert_eq!(bench.call(ABROAD)?, Stage::Over(Some(503)), "{what}");
        wait::until(what, SOON, || (impostor.faults().len() == 1).then_some(()))?;
        println!("{what}: {:?}", impostor.faults());

        let good = Carrier::secure(b, DOMAIN, &authority.certify(&[DOMAIN])?, bench.service.root())?;
        assert_eq!(
            bench.call(ABROAD)?,
            Stage::Up,
            "{what}: the next server is the carrier's"
        );
        bench.hang_up()?;
        assert_eq!(good.requests(&Method::Invite).len(), 1, "{what}");
        assert_eq!((impostor.links(), impostor.heard()), (0, 0), "{what}");
        drop((impostor, good));
        bench.service.metric_becomes("cusax_sip_connections", 0.0)?;
    }
    Ok(())
}

#[test]
fn a_connection_that_proves_nothing_is_not_the_carriers() {
    strangers().unwrap_or_else(|fault| panic!("{fault}"));
}

fn strangers() -> Result<()> {
    let mut line = Secured::new("carriers-strangers", Net(8))?;
    let mut carrier = line.carrier(&line.identity)?;
    let bench = &mut line.bench;
    let (service, root) = (bench.service.address(Transport::Tls), bench.service.root().clone());
    let foreign = Authority::new("nobody's")?.certify(&[DOMAIN])?;
    let rows = [
        ("no certificate", None),
        // As phones show that have one of their maker's.
        ("an authority that nobody knows", Some(foreign)),
        ("another name", Some(line.authority.certify(&["other.test"])?)),
        // Trusted to say who the other carrier is, and nothing more.
        ("the authority of another carrier", Some(line.other.certify(&[DOMAIN])?)),
    ];
    for (what, identity) in &rows {
        let link = carrier.open(service, &root, identity.as_ref())?;
        let call = carrier.call(link, NUMBER, ";alias");
        assert_eq!(bench.outcome(&carrier, &call)?, 407, "{what}");
    }
    assert!(
        bench.phones[1].phone.requests(&Method::Invite).is_empty(),
        "nobody rang"
    );

    // A connection that proves nothing was not lent either: ours is opened.
    let before = carrier.links();
    assert_eq!(bench.call(ABROAD)?, Stage::Up);
    bench.hang_up()?;
    assert_eq!(carrier.requests(&Method::Invite)[0].0, Link(before));

    // Phones have no certificate, and need none.
    let account = phone::Account {
        aor: "sip:cy@sip.example.com".to_owned(),
        display: "Cy".to_owned(),
        login: Some(Login {
            user: "cy".to_owned(),
            password: "cy-secret".to_owned(),
        }),
        outbound: service,
        transport: Transport::Tls,
        codecs: "pcmu/8000/1",
    };
    bench
        .service
        .add_user("cyril@example.com", &account.aor, "cy", "cy-secret")?;
    let mut sipp = Sipp::start(line.scratch.path(), &account, &bench.service.root_file())?;
    sipp.registered()?;
    bench.service.metric_becomes("cusax_registered_phones", 3.0)?;
    sipp.unregister()
}

#[test]
fn a_reload_takes_new_certificates_and_drops_no_connection() {
    renewed().unwrap_or_else(|fault| panic!("{fault}"));
}

fn renewed() -> Result<()> {
    let mut line = Secured::new("carriers-renewed", Net(9))?;
    let mut carrier = line.carrier(&line.identity)?;
    let bench = &mut line.bench;
    let (service, root) = (bench.service.address(Transport::Tls), bench.service.root().clone());
    assert_eq!(bench.call(ABROAD)?, Stage::Up);
    let lent = carrier.open(service, &root, Some(&line.identity))?;
    let before = bench.certificate()?;
    assert_eq!(carrier.shown(Link(0)), Some(before.clone()));

    let authority = Authority::new("the carrier's new one")?;
    let new = authority.certify(&[DOMAIN])?;
    fs::write(&line.ca, authority.pem())?;
    let after = bench.service.renew_certificate()?;
    assert_ne!(before, after);
    bench.service.cusax().arg("reload").output()?;
    // What the new authority has signed is believed from now on, and nothing else.
    let link = wait::until_ok("the new authority", SOON, || {
        let link = carrier.open(service, &root, Some(&new))?;
        let call = carrier.call(link, NUMBER, "");
        bench.pump_until(|| !carrier.is_up(link) || carrier.outcome(&call).is_some())?;
        if carrier.outcome(&call) != Some(200) {
            return Ok(None);
        }
        carrier.hang_up(link, &call);
        Ok(Some(link))
    })?;
    bench.hung_up()?;
    let old = carrier.open(service, &root, Some(&line.identity))?;
    let call = carrier.call(old, NUMBER, "");
    assert_eq!(bench.outcome(&carrier, &call)?, 407, "the old authority");

    assert!([Link(0), lent, link].iter().all(|link| carrier.is_up(*link)));
    assert_eq!(bench.phones[0].phone.stage, Stage::Up, "the call goes on");
    bench.hang_up()?;
    let call = carrier.call(lent, NUMBER, "");
    bench.reached(&carrier, &call)?;
    carrier.hang_up(lent, &call);
    bench.hung_up()?;
    assert_eq!(bench.call(ABROAD)?, Stage::Up, "what was proved stays proved");
    bench.hang_up()?;
    let invites = carrier.requests(&Method::Invite);
    assert!(invites.iter().all(|(link, _)| *link == Link(0)));
    assert_eq!(invites.len(), 2);

    // Connections that are opened from now on show the new one, and want the new authority.
    for (what, identity, expected) in [
        ("the old authority", &line.identity, Stage::Over(Some(503))),
        ("the new authority", &new, Stage::Up),
    ] {
        drop(carrier);
        bench.service.metric_becomes("cusax_sip_connections", 0.0)?;
        carrier = Carrier::secure(line.address, DOMAIN, identity, &root)?;
        assert_eq!(bench.call(ABROAD)?, expected, "{what}");
        assert_eq!(carrier.links() == 1, expected == Stage::Up, "{what}");
    }
    assert_eq!(carrier.shown(Link(0)), Some(after));
    bench.hang_up()
}

/// A carrier at an address that speaks TLS, another one that it has nothing to do with, and the service.
struct Secured {
    bench: Bench,
    scratch: Scratch,
    address: SocketAddr,
    authority: Authority,
    other: Authority,
    identity: Identity,
    ca: PathBuf,
}

impl Secured {
    fn new(name: &str, net: Net) -> Result<Self> {
        let scratch = Scratch::new(&format!("{name}-lab"))?;
        let (authority, other) = (Authority::new("the carrier's")?, Authority::new("the other's")?);
        let ca = scratch.write("ca.pem", authority.pem())?;
        let other_ca = scratch.write("other.pem", other.pem())?;
        let address = net.free(2)?;
        let trunk = |name: &str, at: SocketAddr, realm: &str, ca: &PathBuf, more: &str| {
            format!(
                "[[trunks]]\nname = \"{name}\"\naddress = \"{}\"\nport = {}\ntransport = \"tls\"\nrealm = \"{realm}\"\n\
                 ca = \"{}\"\n{more}",
                at.ip(),
                at.port(),
                ca.display()
            )
        };
        let tables = [
            trunk("carrier", address, DOMAIN, &ca, ""),
            trunk("other", net.free(3)?, "other.test", &other_ca, "prefixes = [\"33\"]\n"),
        ];
        let mut bench = Bench::start(name, net, &[], &tables.concat())?;
        bench.register()?;
        let identity = authority.certify(&[DOMAIN])?;
        Ok(Self {
            bench,
            scratch,
            address,
            authority,
            other,
            identity,
            ca,
        })
    }

    fn carrier(&self, identity: &Identity) -> Result<Carrier> {
        Carrier::secure(self.address, DOMAIN, identity, self.bench.service.root())
    }
}

/// The service and two phones of its users.
struct Bench {
    service: Service,
    phones: [Softphone; 2],
}

/// How long things took.
#[derive(Clone, Copy, Debug)]
struct Times {
    register: Duration,
    call: Duration,
}

impl Bench {
    fn start(name: &str, net: Net, dns: &[SocketAddr], trunks: &str) -> Result<Self> {
        let servers: Vec<_> = dns.iter().map(|server| format!("\"{server}\"")).collect();
        let more = More {
            // Each thread asks DNS for itself, so that what is asked in which order can be told of one alone.
            sip: &format!(
                "dns = [{}]\nworkers = {}",
                servers.join(", "),
                if dns.is_empty() { 2 } else { 1 }
            ),
            // SIPp gives up at a challenge of SHA-256.
            listeners: "algorithms = [\"MD5\"]",
            tables: &format!("[policy]\nallow = [\"EMERGENCY\", \"ONNET\", \"FREE\", \"INTL\"]\n{trunks}"),
            ..More::default()
        };
        let program = env!("CARGO_BIN_EXE_cusax").as_ref();
        let service = Service::start_with(name, program, net.ip(1), "sip.example.com", more)?;
        let phone = |host: u8, jid: &str, name: &str| -> Result<Softphone> {
            let aor = format!("sip:{name}@sip.example.com");
            let password = format!("{name}-secret");
            service.add_user(jid, &aor, name, &password)?;
            let account = Account {
                aor,
                username: name.to_owned(),
                password,
            };
            let (local, server) = (SocketAddr::new(net.ip(host), 0), service.address(Transport::Udp));
            let mut phone = Softphone::new(local, server, account, host.into())?;
            phone.phone.manner = Manner::Answer(Duration::ZERO);
            Ok(phone)
        };
        let phones = [
            phone(11, "alice@example.com", "al")?,
            phone(12, "bob@example.com", "bo")?,
        ];
        let update = [
            "user",
            "add",
            "--update",
            "--jid",
            "bob@example.com",
            "--number",
            NUMBER,
        ];
        service.cusax().args(update).output()?;
        Ok(Self { service, phones })
    }

    fn register(&mut self) -> Result<()> {
        for phone in &mut self.phones {
            phone.act(|phone, now| phone.register(now, 3600));
        }
        until(&mut self.phones, "registrations", SOON, |phones| {
            phones.iter().all(|phone| {
                let responses = phone.phone.responses();
                responses.iter().any(|response| response.status.is_success())
            })
        })
    }

    /// Registers, and calls from one phone to the other.
    fn measure(&mut self) -> Result<Times> {
        let start = wait::now();
        self.register()?;
        let register = start.elapsed();
        let start = wait::now();
        assert_eq!(self.call("sip:bo@sip.example.com")?, Stage::Up);
        let call = start.elapsed();
        self.hang_up()?;
        self.hung_up()?;
        Ok(Times { register, call })
    }

    /// The first phone calls; gives what came of it.
    fn call(&mut self, whom: &str) -> Result<Stage> {
        self.phones[0].act(|phone, now| phone.call(now, whom));
        until(&mut self.phones, "an end of calling", SOON, |phones| {
            matches!(phones[0].phone.stage, Stage::Up | Stage::Over(_))
        })?;
        Ok(self.phones[0].phone.stage.clone())
    }

    /// The first phone hangs up.
    fn hang_up(&mut self) -> Result<()> {
        self.phones[0].phone.heard.clear();
        self.phones[0].act(|phone, now| phone.hang_up(now));
        until(&mut self.phones, "an answer to BYE", SOON, |phones| {
            phones[0].phone.responses().iter().any(|response| {
                let method = response.cseq().map(|cseq| cseq.method);
                method.is_ok_and(|method| method == Method::Bye) && response.status.is_success()
            })
        })
    }

    /// Waits for the final status of a call of the carrier's.
    fn outcome(&mut self, carrier: &Carrier, call: &str) -> Result<u16> {
        self.pump_until(|| carrier.outcome(call).is_some())?;
        Ok(carrier.outcome(call).unwrap_or_default())
    }

    /// Waits until a call of the carrier's has reached the second phone.
    fn reached(&mut self, carrier: &Carrier, call: &str) -> Result<()> {
        assert_eq!(self.outcome(carrier, call)?, 200);
        assert_eq!(self.phones[1].phone.stage, Stage::Up);
        Ok(())
    }

    /// Waits until the second phone's call is over.
    fn hung_up(&mut self) -> Result<()> {
        until(&mut self.phones, "the end of a call", SOON, |phones| {
            phones[1].phone.stage == Stage::Over(None)
        })
    }

    fn pump_until(&mut self, condition: impl Fn() -> bool) -> Result<()> {
        until(&mut self.phones, "something of the carrier's", SOON, |_| condition())
    }

    /// Waits until so many changes of where carriers are have been taken in.
    fn located(&mut self, count: usize) -> Result<()> {
        self.logged(" located ", count)
    }

    /// Waits until the log says something so often.
    fn logged(&mut self, what: &str, count: usize) -> Result<()> {
        let child = &mut self.service.child;
        child.until(&format!("{count} times {what:?}"), LATER, |child| {
            (child.log().matches(what).count() >= count).then_some(())
        })
    }

    /// What the service's TLS listener shows.
    fn certificate(&self) -> Result<CertificateDer<'static>> {
        Ok(CertificateDer::from_pem_file(self.service.scratch.file("cert.pem"))?)
    }
}

/// A network of loopback addresses for one test.
#[derive(Clone, Copy)]
struct Net(u8);

impl Net {
    fn ip(self, host: u8) -> IpAddr {
        Ipv4Addr::new(127, 86, self.0, host).into()
    }

    fn free(self, host: u8) -> Result<SocketAddr> {
        free(self.ip(host))
    }
}

/// A trunk that DNS leads to.
fn named(name: &str, more: &str) -> String {
    format!("[[trunks]]\nname = \"{name}\"\naddress = \"{DOMAIN}\"\n{more}\n")
}

fn has_alias(request: &Request) -> bool {
    request.headers.first::<Via>().is_ok_and(|via| via.params.has("alias"))
}

const DOMAIN: &str = "carrier.test";
const LOOPBACK: &str = "networks = [\"127.0.0.0/8\"]\n";
const ABROAD: &str = "sip:+442079460000@sip.example.com";
/// The second phone's number.
const NUMBER: &str = "+4930901821";
const SOON: Duration = Duration::from_secs(10);
/// As long as two searches for a carrier may take, one after the other.
const LATER: Duration = Duration::from_secs(25);
/// How many times longer than usual things may take on a machine that has more to do, and what is never too long: half
/// as long as one question to DNS.
const SLACK: u32 = 5;
const LEAST: Duration = Duration::from_secs(1);
