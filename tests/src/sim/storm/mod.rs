//! Runs that are drawn from one seed: a network with faults, phones with timers of their own, a carrier, and a handful
//! of calls that go well, are refused, given up, changed, handed on, or lose a phone without a word.
//!
//! [`script`] and [`errand`] draw what happens, [`handset`], [`leg`] and [`transfer`] are the phones, [`play`] lets it
//! happen, [`invariants`] judges what was left, [`transitions`] counts what the machines of the service did, and
//! [`campaign`] plays many seeds.

pub mod campaign;
pub mod errand;
pub mod handset;
pub mod invariants;
mod joined;
pub mod leg;
pub mod note;
pub mod script;
pub mod transfer;
pub mod transitions;

use std::hash::Hasher as _;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use cusax_common::core::policy::{Action, Policy};
use cusax_common::core::user::User;

use self::handset::Handset;
use self::invariants::Failure;
use self::script::{NAMES, Script, Trouble, Who, number};
use super::{World, address, scene, user};

/// A run, at its end or before.
pub struct Storm {
    /// What was drawn.
    pub script: Rc<Script>,
    /// The service, and what surrounds it.
    pub world: World,
    /// The phones.
    pub handsets: Vec<Handset>,
    /// When somebody was in a call that is up, and with nobody, though nobody was being reached for them.
    pub lonely: Option<Duration>,
    tell: bool,
}

/// What a run came to.
#[derive(Debug)]
pub struct Played {
    /// Everything that does not hold.
    pub failures: Vec<Failure>,
    /// Each planned call: what the record says of it.
    pub outcomes: Vec<invariants::Outcome>,
    /// The network lost a tenth, and nothing else stood against the calls.
    pub at_a_tenth: bool,
    /// A digest of everything that was sent.
    pub trace: u64,
}

/// Plays one seed. Every message is printed if `tell` is set.
#[must_use]
pub fn play(seed: u64, tell: bool) -> Played {
    let script = Rc::new(Script::draw(seed));
    if tell {
        print!("{script:#?}");
    }
    let mut storm = Storm::new(&script, tell);
    let mut failures = Vec::new();
    if !storm.until_quiet() {
        failures.push(Failure::new("quiet", format!("something still goes on after {MOST:?}")));
    }
    storm.run(storm.world.elapsed() + AFTERWARDS);
    failures.extend(invariants::judge(&mut storm));
    let outcomes = invariants::outcomes(&storm);
    failures.extend(invariants::after_expiry(&mut storm));
    Played {
        failures,
        outcomes,
        at_a_tenth: script.weather.loss == 100 && !script.is_disturbed(),
        trace: storm.world.trace.finish(),
    }
}

impl Storm {
    /// Everybody is there, and nothing was sent.
    #[must_use]
    pub fn new(script: &Rc<Script>, tell: bool) -> Self {
        let mut settings = scene::settings();
        settings.ring_timeout = script.ring_timeout;
        settings.policy = Policy {
            premium: Action::Refuse,
            ..Policy::default()
        };
        match script.trouble {
            Trouble::Short(limit) => settings.max_duration = limit,
            Trouble::Mute(patience) => settings.silence_timeout = Some(patience),
            _ => {}
        }
        // Every third has one, two or three.
        let endpoints = u8::try_from(script.seed % 3).unwrap_or_default() + 1;
        let mut world = World::of(endpoints, script.seed, settings, USERS.clone());
        world.mute = matches!(script.trouble, Trouble::Mute(_));
        world.weather = script.weather;
        world.wire = tell.then(Vec::new);
        world.delivered = Some(Vec::new());
        if let Trouble::Ports(ports) = script.trouble {
            world.ports = ports;
        }
        let place = |(index, who): (usize, &Who)| match who {
            Who::Trunk => address(99, 5060),
            _ => address(10 + u8::try_from(index).unwrap_or(u8::MAX), 5070),
        };
        let places: Vec<_> = script.phones.iter().enumerate().map(place).collect();
        let handsets = places.into_iter().enumerate();
        let handsets = handsets.map(|(index, place)| Handset::new(place, script, index));
        let handsets = handsets.collect();
        world.start();
        Self {
            script: Rc::clone(script),
            world,
            handsets,
            lonely: None,
            tell,
        }
    }

    /// Runs until nobody wants to do anything but wait for the end of the registrations; false if that never comes.
    fn until_quiet(&mut self) -> bool {
        loop {
            let now = self.world.elapsed();
            match self.next() {
                Some(next) if next <= now + FAR => {
                    if next > MOST {
                        return false;
                    }
                    self.run(next);
                }
                _ => return true,
            }
        }
    }

    fn next(&self) -> Option<Duration> {
        let phones = self.handsets.iter().filter_map(Handset::poll_timeout);
        let trouble = self.drain_at().filter(|at| *at > self.world.elapsed());
        phones.chain(self.world.next()).chain(trouble).min()
    }

    /// Runs until then.
    pub fn run(&mut self, end: Duration) {
        loop {
            let Some(next) = self.next().filter(|next| *next <= end) else {
                self.world.run(end.saturating_sub(self.world.elapsed()));
                return self.carry();
            };
            let drains = self.drain_at() == Some(next) && next > self.world.elapsed();
            if let Trouble::Store(from, until) = self.script.trouble {
                self.world.store_up = !(from..until).contains(&next);
            }
            if self.world.next().is_some_and(|at| at <= next) {
                self.world.step(next);
            } else {
                self.world.run(next.saturating_sub(self.world.elapsed()));
                for handset in &mut self.handsets {
                    if handset.poll_timeout().is_some_and(|at| at <= next) {
                        handset.handle_timeout(next);
                    }
                }
                if drains {
                    self.world.drain();
                }
            }
            self.carry();
            if self.world.node.lonely() > 0 {
                self.lonely.get_or_insert(self.world.elapsed());
            }
        }
    }

    fn drain_at(&self) -> Option<Duration> {
        match self.script.trouble {
            Trouble::Drain(at) => Some(at),
            _ => None,
        }
    }

    /// Gives the phones what has come for them, and the network what they say.
    fn carry(&mut self) {
        let now = self.world.elapsed();
        while let Some((to, bytes)) = self.world.arrived.pop_front() {
            let Some(at) = self.handsets.iter().position(|handset| handset.address == to) else {
                continue;
            };
            let out = self.is_out(at, now);
            if self.tell {
                let fate = if out { "is lost at" } else { "reaches" };
                println!("{:>9.3} {fate} {to}: {}", now.as_secs_f64(), first_lines(&bytes));
            }
            if !out {
                self.handsets[at].handle_datagram(now, &bytes);
            }
        }
        for at in 0..self.handsets.len() {
            let out = self.is_out(at, now);
            while let Some(text) = self.handsets[at].poll_output() {
                if !out {
                    self.world.inject(self.handsets[at].address, text);
                }
            }
        }
        if let Some(wire) = &mut self.world.wire {
            for (from, to, bytes) in wire.drain(..) {
                println!("{:>9.3} {from} sends {to}: {}", now.as_secs_f64(), first_lines(&bytes));
            }
        }
    }

    fn is_out(&self, phone: usize, now: Duration) -> bool {
        let mut outages = self.script.outages.iter();
        self.handsets[phone].gone
            || outages.any(|outage| outage.phone == phone && (outage.from..outage.until).contains(&now))
    }
}

/// What tells a message from others.
fn first_lines(bytes: &[u8]) -> String {
    let Some(note) = super::hand::Text::read(bytes) else {
        return "no message".to_owned();
    };
    let (number, method) = note.sequence();
    let id = note.get("Call-ID").get(..8).unwrap_or_default();
    format!("{} ({number} {method}, {id}, {})", note.start, note.branch())
}

/// Their secrets take as long to make as a short run.
static USERS: LazyLock<Vec<User>> = LazyLock::new(|| {
    let users = NAMES.iter().enumerate();
    users.map(|(index, name)| user(name, &number(index))).collect()
});
/// What is further away than this is the end of a registration.
const FAR: Duration = Duration::from_secs(1200);
/// No run lasts longer.
const MOST: Duration = Duration::from_secs(1500);
/// How long the run goes on when all is quiet.
const AFTERWARDS: Duration = Duration::from_secs(60);
