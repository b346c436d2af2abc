//! Phones that people have call each other through a running service: Debian's baresip and linphonec, each on a machine
//! of its own that reaches the service and no other.
//!
//! What a phone hears is read from the wire at its machine: each plays a tone of its own.

use std::path::Path;
use std::time::Duration;

use cusax_b2bua::core::flow::Transport;
use cusax_tests::lab::capture::{Capture, SipText};
use cusax_tests::lab::linphone::Linphone;
use cusax_tests::lab::phone::{Account, Login, Phone};
use cusax_tests::lab::service::{More, Service};
use cusax_tests::lab::sound::{bursts, tone};
use cusax_tests::lab::topology::{Host, SIP_ADDRESS, Topology};
use cusax_tests::lab::wav::Wav;
use cusax_tests::lab::{Context as _, Fault, Result, Scratch, wait};

#[test]
fn each_calls_the_other_and_either_hangs_up() {
    calls().unwrap_or_else(|fault| panic!("{fault}"));
}

fn calls() -> Result<()> {
    let mut stage = Stage::set("phones-calls")?;
    let (mut baresip, mut linphone) = (stage.baresip("alice", 600.0)?, stage.linphone("bob", 1000.0)?);
    for _ in 0..2 {
        for caller_hangs_up in [true, false] {
            baresip.calls(&mut linphone)?;
            baresip.hears(&linphone)?;
            linphone.hears(&baresip)?;
            let (first, second) = if caller_hangs_up {
                (&mut baresip, &mut linphone)
            } else {
                (&mut linphone, &mut baresip)
            };
            first.hang_up()?;
            second.closed()?;
            first.forget();
        }
        // The other way round.
        std::mem::swap(&mut baresip, &mut linphone);
    }
    Ok(())
}

#[test]
fn either_holds_the_other_and_takes_the_call_up_again() {
    holds().unwrap_or_else(|fault| panic!("{fault}"));
}

fn holds() -> Result<()> {
    let mut stage = Stage::set("phones-holds")?;
    let (mut caller, mut callee) = (stage.baresip("alice", 600.0)?, stage.linphone("bob", 1000.0)?);
    for _ in 0..2 {
        caller.calls(&mut callee)?;
        caller.hears(&callee)?;
        callee.hears(&caller)?;
        let (mut holder, mut held) = (&mut caller, &mut callee);
        for _ in 0..2 {
            let before = held.changes()?.len();
            holder.hold()?;
            assert_eq!(held.next_change(before)?, "sendonly", "{} is held", held.name);
            holder.hears_nothing_of(held)?;
            holder.resume()?;
            assert_eq!(
                held.next_change(before + 1)?,
                "sendrecv",
                "{} is not held any more",
                held.name
            );
            holder.hears(held)?;
            held.hears(holder)?;
            std::mem::swap(&mut holder, &mut held);
        }
        caller.hang_up()?;
        callee.closed()?;
        caller.forget();
        std::mem::swap(&mut caller, &mut callee);
    }
    Ok(())
}

#[test]
fn two_phones_of_one_user_ring_and_one_answers() {
    rings().unwrap_or_else(|fault| panic!("{fault}"));
}

fn rings() -> Result<()> {
    let mut stage = Stage::set("phones-rings")?;
    let mut caller = stage.baresip("alice", 600.0)?;
    let (mut first, mut second) = (stage.baresip("bob", 1000.0)?, stage.linphone("bob", 1400.0)?);
    for _ in 0..2 {
        caller.dial(&first)?;
        first.incoming()?;
        second.incoming()?;
        first.accept()?;
        first.established()?;
        caller.established()?;
        second.closed()?;
        let cancel = second.message("the CANCEL", |message| message.is("CANCEL"))?;
        assert!(cancel.header("Reason").starts_with("SIP;cause=200"), "{cancel:?}");
        caller.hears(&first)?;
        first.hears(&caller)?;
        caller.hang_up()?;
        first.closed()?;
        caller.forget();
        std::mem::swap(&mut first, &mut second);
    }
    Ok(())
}

#[test]
fn either_transfers_the_other_to_a_third_phone() {
    transfers().unwrap_or_else(|fault| panic!("{fault}"));
}

fn transfers() -> Result<()> {
    let mut stage = Stage::set("phones-transfers")?;
    let mut transferor = stage.baresip("alice", 600.0)?;
    let (mut transferee, mut target) = (stage.linphone("bob", 1000.0)?, stage.baresip("carol", 1400.0)?);
    for _ in 0..2 {
        for transferor_calls in [true, false] {
            if transferor_calls {
                transferor.calls(&mut transferee)?;
            } else {
                transferee.calls(&mut transferor)?;
            }
            transferor.transfer(&target)?;
            target.incoming()?;
            target.accept()?;
            target.established()?;
            transferor.closed()?;
            transferee.hears(&target)?;
            target.hears(&transferee)?;
            transferee.hang_up()?;
            target.closed()?;
            for phone in [&mut transferor, &mut transferee, &mut target] {
                phone.forget();
            }
        }
        std::mem::swap(&mut transferor, &mut transferee);
    }
    Ok(())
}

/// Only linphonec can: baresip 1.0 knows no Replaces.
#[test]
fn linphone_asks_before_it_transfers() {
    attended().unwrap_or_else(|fault| panic!("{fault}"));
}

fn attended() -> Result<()> {
    let mut stage = Stage::set("phones-attended")?;
    let mut transferor = stage.linphone("alice", 600.0)?;
    let (mut transferee, mut target) = (stage.baresip("bob", 1000.0)?, stage.baresip("carol", 1400.0)?);
    for transferor_calls in [true, false] {
        if transferor_calls {
            transferor.calls(&mut transferee)?;
        } else {
            transferee.calls(&mut transferor)?;
        }
        transferor.hold()?;
        transferor.calls(&mut target)?;
        let Program::Linphone(linphone) = &mut transferor.program else {
            return Err(Fault::new("only linphonec can"));
        };
        linphone.connect_both()?;
        // Both of its calls end.
        transferor.closed()?;
        transferor.closed()?;
        transferee.hears(&target)?;
        target.hears(&transferee)?;
        target.hang_up()?;
        transferee.closed()?;
        for phone in [&mut transferor, &mut transferee, &mut target] {
            phone.forget();
        }
    }
    Ok(())
}

/// The service, and the machines around it. Clients end before it, and folders go last.
struct Stage {
    service: Service,
    topology: Topology,
    scratch: Scratch,
    phones: u32,
}

/// A phone of somebody's, on its machine, with a tone of its own.
struct Handset {
    name: String,
    aor: String,
    program: Program,
    tone: f64,
    host: Host,
    capture: Capture,
}

enum Program {
    Baresip(Phone),
    Linphone(Linphone),
}

impl Stage {
    fn set(name: &str) -> Result<Self> {
        let topology = Topology::new()?;
        let more = More {
            // baresip gives up at a challenge of SHA-256.
            listeners: "algorithms = [\"MD5\"]",
            namespace: Some(topology.server()),
            sip: "workers = 2",
            ..More::default()
        };
        let program = Path::new(env!("CARGO_BIN_EXE_cusax"));
        let service = Service::start_with(name, program, SIP_ADDRESS.into(), DOMAIN, more)?;
        for user in ["alice", "bob", "carol"] {
            service.add_user(&format!("{user}@example.com"), &aor(user), user, PASSWORD)?;
        }
        Ok(Self {
            service,
            topology,
            scratch: Scratch::new(&format!("{name}-lab"))?,
            phones: 0,
        })
    }

    fn baresip(&mut self, user: &str, tone: f64) -> Result<Handset> {
        self.phone("baresip", user, tone, |host, folder, account, voice| {
            let mut phone = Phone::start(host, folder, voice)?;
            phone.register(account)?;
            Ok(Program::Baresip(phone))
        })
    }

    fn linphone(&mut self, user: &str, tone: f64) -> Result<Handset> {
        self.phone("linphonec", user, tone, |host, folder, account, voice| {
            let mut phone = Linphone::start_on(host, folder, account, voice)?;
            phone.registered()?;
            Ok(Program::Linphone(phone))
        })
    }

    fn phone(
        &mut self,
        kind: &str,
        user: &str,
        frequency: f64,
        start: impl FnOnce(&Host, &Path, &Account, &Wav) -> Result<Program>,
    ) -> Result<Handset> {
        self.phones += 1;
        let name = format!("{kind}-{user}-{}", self.phones);
        let host = self.topology.host(&name)?;
        let capture = Capture::at(&host, self.scratch.path())?;
        let account = Account {
            aor: aor(user),
            display: user.to_owned(),
            login: Some(Login {
                user: user.to_owned(),
                password: PASSWORD.to_owned(),
            }),
            outbound: self.service.address(Transport::Udp),
            transport: Transport::Udp,
            codecs: "pcmu/8000/1",
        };
        let voice = Wav {
            rate: 8000,
            samples: tone(frequency, 60_000, 0, 1),
        };
        let program = start(&host, self.scratch.path(), &account, &voice)?;
        Ok(Handset {
            name,
            aor: aor(user),
            program,
            tone: frequency,
            host,
            capture,
        })
    }
}

impl Handset {
    /// Calls another one, which answers.
    fn calls(&mut self, other: &mut Self) -> Result<()> {
        self.dial(other)?;
        other.incoming()?;
        other.accept()?;
        other.established()?;
        self.established()
    }

    fn dial(&mut self, other: &Self) -> Result<()> {
        match &mut self.program {
            Program::Baresip(phone) => phone.dial(&other.aor),
            Program::Linphone(phone) => phone.dial(&other.aor),
        }
    }

    fn incoming(&mut self) -> Result<()> {
        match &mut self.program {
            Program::Baresip(phone) => phone.incoming().map(drop),
            Program::Linphone(phone) => phone.incoming(),
        }
    }

    fn accept(&mut self) -> Result<()> {
        match &mut self.program {
            Program::Baresip(phone) => phone.accept(),
            Program::Linphone(phone) => phone.accept(),
        }
    }

    fn established(&mut self) -> Result<()> {
        match &mut self.program {
            Program::Baresip(phone) => phone.established(),
            Program::Linphone(phone) => phone.established(),
        }
    }

    fn hold(&mut self) -> Result<()> {
        match &mut self.program {
            Program::Baresip(phone) => phone.hold(),
            Program::Linphone(phone) => phone.hold(),
        }
    }

    fn resume(&mut self) -> Result<()> {
        match &mut self.program {
            Program::Baresip(phone) => phone.resume(),
            Program::Linphone(phone) => phone.resume(),
        }
    }

    fn transfer(&mut self, target: &Self) -> Result<()> {
        match &mut self.program {
            Program::Baresip(phone) => phone.transfer(&target.aor),
            Program::Linphone(phone) => phone.transfer(&target.aor),
        }
    }

    fn hang_up(&mut self) -> Result<()> {
        match &mut self.program {
            Program::Baresip(phone) => phone.hang_up(),
            Program::Linphone(phone) => {
                phone.hang_up()?;
                phone.closed().map(drop)
            }
        }
    }

    fn closed(&mut self) -> Result<()> {
        match &mut self.program {
            Program::Baresip(phone) => phone.closed().map(drop),
            Program::Linphone(phone) => phone.closed().map(drop),
        }
    }

    /// Forgets what a call has left behind.
    fn forget(&mut self) {
        if let Program::Baresip(phone) = &self.program {
            phone.forget_events();
        }
    }

    /// Waits until the other one's tone comes here.
    fn hears(&self, other: &Self) -> Result<()> {
        let since = wait::wall();
        let what = format!("{} to hear {}", self.name, other.name);
        wait::until_ok(&what, SOON, || {
            Ok((self.heard_since(since, other)? >= CLEARLY).then_some(()))
        })
    }

    /// Waits until nothing of the other one's tone comes here.
    fn hears_nothing_of(&self, other: &Self) -> Result<()> {
        let what = format!("{} to hear nothing of {}", self.name, other.name);
        let began = wait::wall();
        wait::until_ok(&what, SOON, || {
            let since = wait::wall().saturating_sub(A_WHILE);
            Ok((since > began && self.heard_since(since, other)? == 0.0).then_some(()))
        })
    }

    /// How many milliseconds of the other one's tone came here.
    fn heard_since(&self, since: Duration, other: &Self) -> Result<f64> {
        let mut streams = self.capture.streams()?;
        let mut heard = 0.0;
        for stream in streams.iter_mut().filter(|stream| stream.to.ip() == self.host.address) {
            stream.packets.retain(|packet| packet.at >= since);
            heard += bursts(&stream.samples(), other.tone)
                .iter()
                .map(|burst| burst.length)
                .sum::<f64>();
        }
        Ok(heard)
    }

    /// Waits for a message that came here.
    fn message(&self, what: &str, wanted: impl Fn(&SipText) -> bool) -> Result<SipText> {
        let here = |message: &SipText| message.to.ip() == self.host.address && wanted(message);
        self.capture.message(what, SOON, here)
    }

    /// The directions that the re-INVITEs have which came here, each once.
    fn changes(&self) -> Result<Vec<String>> {
        let mut known = Vec::new();
        let mut directions = Vec::new();
        for message in self.capture.messages()? {
            let came = message.to.ip() == self.host.address && message.is("INVITE");
            if came && message.header("To").contains("tag=") && !known.contains(&message.header("Via").to_owned()) {
                known.push(message.header("Via").to_owned());
                let words = ["sendonly", "recvonly", "inactive"];
                let said = words
                    .into_iter()
                    .find(|word| message.body.contains(&format!("a={word}")));
                directions.push(said.unwrap_or("sendrecv").to_owned());
            }
        }
        Ok(directions)
    }

    /// Waits for a re-INVITE after so many, and tells its direction.
    fn next_change(&self, before: usize) -> Result<String> {
        wait::until_ok("a re-INVITE", SOON, || Ok(self.changes()?.into_iter().nth(before))).context(&self.name)
    }
}

fn aor(user: &str) -> String {
    format!("sip:{user}@{DOMAIN}")
}

const DOMAIN: &str = "sip.example.com";
const PASSWORD: &str = "a-secret";
/// How long anything may take, on a busy machine.
const SOON: Duration = Duration::from_secs(15);
/// Milliseconds of a tone that leave no doubt.
const CLEARLY: f64 = 300.0;
/// How long it must be silent.
const A_WHILE: Duration = Duration::from_millis(500);
