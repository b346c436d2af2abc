//! What happens in one run: all of it is drawn from one seed before the first message is sent.

use std::collections::BTreeMap;
use std::time::Duration;

use cusax_common::core::entropy::Seeded;
use cusax_common::core::record::Cause;

use super::super::{DOMAIN, Weather};
use super::errand::{Errand, Leave};

/// A whole run.
#[derive(Clone, Debug)]
pub struct Script {
    /// What all of it was drawn from.
    pub seed: u64,
    /// What the network does.
    pub weather: Weather,
    /// How long a phone may ring.
    pub ring_timeout: Duration,
    /// Who has a phone; the trunk is the last one.
    pub phones: Vec<Who>,
    /// Who calls whom, and what comes of it.
    pub calls: Vec<Plan>,
    /// Phones that hear and reach nobody for a while.
    pub outages: Vec<Outage>,
    /// What does not work on our side.
    pub trouble: Trouble,
}

/// Whose phone it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Of this user.
    User(usize),
    /// Of somebody who says to be this user, and does not know the password.
    Impostor(usize),
    /// Of the first user, who registers it at an address of the second.
    Thief(usize, usize),
    /// The carrier.
    Trunk,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Plan {
    /// When it is dialled.
    pub at: Duration,
    /// The phone that dials.
    pub caller: usize,
    /// What is dialled.
    pub dialled: String,
    /// The caller's address and the callee's, as the record has them.
    pub names: (String, String),
    /// What is meant to come of it.
    pub kind: Kind,
    /// Whether the INVITE has no offer, so that the answer comes with the ACK (RFC 3261 §13.2.1).
    pub late_offer: bool,
    /// When the caller gives up, counted from the dialling.
    pub patience: Duration,
    /// When the caller's phone is gone without a word, counted from the dialling.
    pub caller_gone: Option<Duration>,
    /// Whether the caller's phone is gone when it is answered, before it acknowledges.
    pub gone_at_answer: bool,
    /// What each phone of the callee's does.
    pub manners: BTreeMap<usize, Manner>,
    /// How long an INFO is thought about, after a 100.
    pub thought: Option<Duration>,
    /// What is done when the call is up, counted from then.
    pub deeds: Vec<(Duration, Role, Deed)>,
    /// Nobody dials it: it is made by a transfer.
    pub errand: Option<Errand>,
}

/// What is meant to come of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is answered, changed perhaps, and hung up.
    Answered,
    /// Every phone refuses.
    Refused,
    /// The caller gives up while it rings.
    Cancelled,
    /// The caller gives up before anything can be heard.
    CancelledAtOnce,
    /// The CANCEL meets the 200.
    Crossing,
    /// It rings, and nobody comes.
    NoAnswer,
    /// The callee's phones do not say a word.
    Mute,
    /// There is nobody of that name, or they have no phone.
    Nobody,
    /// What is dialled is no number.
    BadNumber,
    /// The operator does not allow it.
    Barred,
    /// A phone is gone without a word.
    Vanishing,
    /// A transfer to somebody who answers.
    Transfer,
    /// A transfer of which nothing can come, or that is not waited for.
    VainTransfer,
}

/// What a phone does when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// What it says at once, if anything.
    pub first: Option<u16>,
    /// How it ends.
    pub then: Then,
    /// When it is gone without a word, counted from the INVITE.
    pub gone: Option<Duration>,
}

/// How a phone that is called ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// With 200.
    Answer(Duration),
    /// With this status.
    Refuse(Duration, u16),
    /// Not at all.
    Nothing,
}

/// A side of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Who dialled.
    Caller,
    /// Who answered.
    Callee,
}

/// What can be done with a call that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A re-INVITE that holds the other side, or resumes.
    Hold(bool),
    /// An UPDATE.
    Update,
    /// An INFO.
    Info,
    /// A REFER for the call with this number.
    Refer(usize),
    /// A REFER for the side of whomever else the phone speaks with.
    Attend(Leave),
    /// BYE.
    HangUp,
    /// The phone is gone without a word.
    Vanish,
}

/// A phone hears and reaches nobody.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// Which one.
    pub phone: usize,
    /// From when.
    pub from: Duration,
    /// Until when.
    pub until: Duration,
}

/// What does not work on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// All is well.
    None,
    /// There is room for so many media sessions.
    Ports(usize),
    /// The store does not answer in this time.
    Store(Duration, Duration),
    /// The service is stopped at this time.
    Drain(Duration),
    /// No call may last longer.
    Short(Duration),
    /// Nobody is heard, and a call in which nobody is heard for so long ends.
    Mute(Duration),
}

impl Script {
    /// Draws a run.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice(Seeded::new(seed));
        let weather = dice.weather();
        let phones = dice.phones();
        let mut script = Self {
            seed,
            weather,
            ring_timeout: Duration::from_secs(*dice.one_of(&[20, 60, 60, 60, 200])),
            calls: Vec::new(),
            outages: Vec::new(),
            trouble: dice.trouble(),
            phones,
        };
        for _ in 0..=dice.below(3) {
            let mut kind = *dice.one_of(KINDS);
            // Nobody can tell that both phones of a call are gone, as long as no session timer asks (RFC 4028).
            if script.calls.iter().any(|known| known.kind == Kind::Vanishing) && kind == Kind::Vanishing {
                kind = Kind::Answered;
            }
            let plan = script.plan(&mut dice, kind);
            // Records are told apart by the addresses that they name.
            if script.calls.iter().all(|known| known.names != plan.names) {
                script.calls.push(plan);
            }
        }
        if dice.chance(8) {
            script.attend(&mut dice);
        }
        for call in 0..script.calls.len() {
            if script.calls[call].kind == Kind::Answered && dice.chance(35) {
                script.transfers(&mut dice, call);
            }
        }
        if dice.chance(10) {
            let phone = dice.below(script.phones.len());
            let from = dice.time(8_000, 40_000);
            let until = from + dice.time(1_000, 9_000);
            script.outages.push(Outage { phone, from, until });
        }
        script
    }

    /// Whether nothing is lost, doubled or late, and everybody stays: then nothing may be said twice.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.weather.loss == 0 && self.weather.doubling == 0 && self.weather.delay <= CALM && !self.is_disturbed()
    }

    /// Whether anything but the network stands against the calls.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        let goes = self.calls.iter().any(Plan::loses_somebody);
        self.trouble != Trouble::None || !self.outages.is_empty() || goes
    }

    fn plan(&self, dice: &mut Dice, kind: Kind) -> Plan {
        self.plan_by(dice, kind, None)
    }

    pub(super) fn plan_by(&self, dice: &mut Dice, kind: Kind, phone: Option<usize>) -> Plan {
        let callers = |who: &Who| matches!(who, Who::User(_) | Who::Trunk);
        let callers: Vec<usize> = (0..self.phones.len())
            .filter(|phone| callers(&self.phones[*phone]))
            .collect();
        let trunk = self.phones.len() - 1;
        // The dial plan is for people: a carrier says numbers of ours.
        let by_user = matches!(kind, Kind::BadNumber | Kind::Barred | Kind::Nobody);
        let caller = loop {
            let caller = phone.unwrap_or_else(|| *dice.one_of(&callers));
            if !(by_user && caller == trunk) {
                break caller;
            }
        };
        let users: Vec<usize> = self
            .users()
            .filter(|user| self.phones[caller] != Who::User(*user))
            .collect();
        let outside = caller != trunk && dice.chance(20);
        let callee = *dice.one_of(&users);
        let (dialled, to, called) = match kind {
            Kind::Nobody => (aor("zoe"), aor("zoe"), Vec::new()),
            Kind::BadNumber => ("tel:030901821".to_owned(), "tel:030901821".to_owned(), Vec::new()),
            Kind::Barred => (
                format!("sip:09001234567@{DOMAIN}"),
                "+499001234567".to_owned(),
                Vec::new(),
            ),
            _ if outside => (
                format!("sip:01511234567@{DOMAIN}"),
                "+491511234567".to_owned(),
                vec![trunk],
            ),
            _ => {
                let phones = (0..trunk).filter(|phone| self.phones[*phone] == Who::User(callee));
                let by_number = caller == trunk || dice.chance(30);
                let (dialled, to) = if by_number {
                    (format!("sip:{}@{DOMAIN}", number(callee)), number(callee))
                } else {
                    (aor(NAMES[callee]), aor(NAMES[callee]))
                };
                (dialled, to, phones.collect())
            }
        };
        let from = match self.phones[caller] {
            Who::User(user) => aor(NAMES[user]),
            _ => OUTSIDER.to_owned(),
        };
        let mut plan = Plan {
            at: dice.time(12_000, 22_000),
            caller,
            dialled,
            names: (from, to),
            kind,
            late_offer: !outside && dice.chance(8),
            patience: Duration::from_secs(250),
            caller_gone: None,
            gone_at_answer: false,
            manners: BTreeMap::new(),
            thought: None,
            deeds: Vec::new(),
            errand: None,
        };
        if self.weather.loss > 0 && dice.chance(15) {
            plan.thought = Some(Duration::from_millis(*dice.one_of(&[300, 2_000, 6_000, 40_000])));
        }
        plan.furnish(dice, &called);
        plan
    }

    /// Everybody who has a phone.
    pub(super) fn users(&self) -> impl Iterator<Item = usize> + '_ {
        (0..NAMES.len()).filter(|user| self.phones.contains(&Who::User(*user)))
    }
}

impl Plan {
    pub(super) fn furnish(&mut self, dice: &mut Dice, called: &[usize]) {
        // The tone that warns of a charge takes a while.
        let answer = dice.time(0, 6_000);
        for &phone in called {
            let then = match self.kind {
                Kind::VainTransfer => *dice.one_of(&[
                    Then::Nothing,
                    Then::Refuse(answer, 486),
                    Then::Refuse(answer, 603),
                    Then::Answer(answer),
                ]),
                Kind::Refused => Then::Refuse(dice.time(0, 3_000), *dice.one_of(&[486, 603, 480, 404, 500])),
                Kind::Cancelled | Kind::CancelledAtOnce | Kind::NoAnswer | Kind::Mute => Then::Nothing,
                _ if phone == called[0] => Then::Answer(answer),
                _ => match dice.below(4) {
                    0 => Then::Answer(dice.time(0, 6_000)),
                    1 => Then::Refuse(dice.time(0, 3_000), *dice.one_of(&[486, 480])),
                    _ => Then::Nothing,
                },
            };
            let first = match self.kind {
                Kind::Mute => None,
                Kind::Cancelled | Kind::NoAnswer => Some(180),
                _ => *dice.one_of(&[None, Some(100), Some(180), Some(180), Some(183)]),
            };
            self.manners.insert(
                phone,
                Manner {
                    first,
                    then,
                    gone: None,
                },
            );
        }
        match self.kind {
            Kind::Cancelled => self.patience = dice.time(700, 9_000),
            Kind::CancelledAtOnce => self.patience = dice.time(0, 60),
            Kind::Crossing => {
                // Either may be first, by what the messages take on their way.
                self.patience = (answer + dice.time(0, 400)).saturating_sub(Duration::from_millis(150));
            }
            Kind::Vanishing => self.vanish(dice, called),
            Kind::VainTransfer if dice.chance(20) => {
                for manner in self.manners.values_mut() {
                    manner.gone = Some(dice.time(0, 8_000));
                }
            }
            Kind::Transfer | Kind::VainTransfer => self.deeds.push((PROBE, Role::Callee, Deed::Info)),
            _ => {}
        }
        self.occupy(dice);
    }

    fn vanish(&mut self, dice: &mut Dice, called: &[usize]) {
        let gone = dice.time(0, 8_000);
        match dice.below(7) {
            0 => self.caller_gone = Some(gone),
            1 => {
                for phone in called {
                    if let Some(manner) = self.manners.get_mut(phone) {
                        manner.gone = Some(gone);
                    }
                }
            }
            2 => self.gone_at_answer = true,
            3 => {
                // What is refused, and nobody hears it.
                self.caller_gone = Some(Duration::from_millis(1500));
                for manner in self.manners.values_mut() {
                    manner.then = Then::Refuse(Duration::from_secs(2), 486);
                }
            }
            4 => {
                // What rings, is cancelled, and never says that it stopped.
                self.patience = Duration::from_secs(6);
                for manner in self.manners.values_mut() {
                    *manner = Manner {
                        first: *dice.one_of(&[None, Some(180)]),
                        then: Then::Nothing,
                        gone: Some(Duration::from_secs(3)),
                    };
                }
            }
            5 => self.deeds.push((gone, Role::Caller, Deed::Vanish)),
            _ => self.deeds.push((gone, Role::Callee, Deed::Vanish)),
        }
    }

    fn occupy(&mut self, dice: &mut Dice) {
        let role = |dice: &mut Dice| *dice.one_of(&[Role::Caller, Role::Callee]);
        for _ in 0..dice.below(4) {
            let (at, who) = (dice.time(200, 9_000), role(dice));
            let deed = *dice.one_of(&[Deed::Hold(true), Deed::Hold(false), Deed::Update, Deed::Info]);
            self.deeds.push((at, who, deed));
            if matches!(deed, Deed::Hold(_)) && dice.chance(30) {
                self.deeds.push((at, other(who), deed));
            }
        }
        let (at, who) = (dice.time(50, 12_000), role(dice));
        self.deeds.push((at, who, Deed::HangUp));
        // Whoever sees nothing of that gets bored, or does so at the same time.
        let later = if dice.chance(8) { Duration::ZERO } else { BOREDOM };
        self.deeds.push((at + later, other(who), Deed::HangUp));
    }

    /// Whether a phone is gone without a word.
    #[must_use]
    pub fn loses_somebody(&self) -> bool {
        let leaves = self.manners.values().any(|manner| manner.gone.is_some());
        let vanishes = self.deeds.iter().any(|(_, _, deed)| *deed == Deed::Vanish);
        leaves || vanishes || self.caller_gone.is_some() || self.gone_at_answer
    }

    /// How the record must say it ended, where the network is calm and nothing is left to chance.
    #[must_use]
    pub fn expected(&self, ring_timeout: Duration) -> Option<Cause> {
        let hang_ups = self.deeds.iter().filter(|(_, _, deed)| *deed == Deed::HangUp);
        let hang_ups: Vec<_> = hang_ups.map(|&(at, who, _)| (at, who)).collect();
        let sends = |deed: &Deed| matches!(deed, Deed::Refer(_) | Deed::Attend(_));
        if self.deeds.iter().any(|(_, _, deed)| sends(deed)) {
            return None;
        }
        match (self.kind, &hang_ups[..]) {
            (Kind::Answered, [(first, who), (second, _)]) if *second >= *first + BOREDOM => {
                // What crosses the BYE may end the call first.
                let close = |at: Duration| at != *first && at.abs_diff(*first) < Duration::from_secs(1);
                (!self.deeds.iter().any(|(at, _, _)| close(*at))).then_some(match who {
                    Role::Caller => Cause::CallerHungUp,
                    Role::Callee => Cause::CalleeHungUp,
                })
            }
            (Kind::Refused, _) if self.manners.values().all(|manner| is_refusal(manner.then)) => Some(Cause::Rejected),
            (Kind::NoAnswer, _) if ring_timeout < Duration::from_secs(100) => Some(Cause::NoAnswer),
            (Kind::Cancelled, _) => Some(Cause::Cancelled),
            (Kind::Nobody, _) => Some(Cause::Unreachable),
            (Kind::BadNumber, _) => Some(Cause::BadNumber),
            (Kind::Barred, _) => Some(Cause::Barred),
            _ => None,
        }
    }
}

fn is_refusal(then: Then) -> bool {
    matches!(then, Then::Refuse(_, 486 | 603))
}

/// The other side.
pub(super) fn other(role: Role) -> Role {
    match role {
        Role::Caller => Role::Callee,
        Role::Callee => Role::Caller,
    }
}

/// The address of a user.
#[must_use]
pub fn aor(name: &str) -> String {
    format!("sip:{name}.phone@{DOMAIN}")
}

/// The number of a user.
#[must_use]
pub fn number(user: usize) -> String {
    format!("+493090182{user}")
}

/// What decides.
pub(super) struct Dice(Seeded);

impl Dice {
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.next_u64() % end as u64).unwrap_or_default()
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    pub(super) fn time(&mut self, from: u64, until: u64) -> Duration {
        Duration::from_millis(from + self.0.next_u64() % (until - from))
    }

    fn weather(&mut self) -> Weather {
        let millis = *self.one_of(&[10, 60, 60, 120, 120, 800, 3000]);
        match self.below(10) {
            0 | 1 => Weather {
                delay: Duration::from_millis(millis),
                ..Weather::default()
            },
            2..=7 => Weather {
                loss: 100,
                doubling: *self.one_of(&[0, 50, 100]),
                delay: Duration::from_millis(millis),
            },
            _ => Weather {
                loss: *self.one_of(&[20, 50, 200]),
                doubling: *self.one_of(&[0, 50, 300]),
                delay: Duration::from_millis(millis),
            },
        }
    }

    fn phones(&mut self) -> Vec<Who> {
        let mut phones = vec![Who::User(0), Who::User(1)];
        for user in 2..2 + self.below(3) {
            phones.push(Who::User(user));
        }
        for _ in 0..self.below(2) {
            phones.push(Who::User(self.below(2)));
        }
        if self.chance(10) {
            phones.push(Who::Impostor(self.below(2)));
        }
        if self.chance(5) {
            phones.push(Who::Thief(0, 1));
        }
        phones.push(Who::Trunk);
        phones
    }

    fn trouble(&mut self) -> Trouble {
        match self.below(40) {
            0 => Trouble::Ports(self.below(2)),
            1 => {
                let from = self.time(0, 20_000);
                Trouble::Store(from, from + self.time(2_000, 12_000))
            }
            2 => Trouble::Drain(self.time(10_000, 40_000)),
            3 => Trouble::Short(self.time(1_000, 20_000)),
            4 => Trouble::Mute(self.time(2_000, 8_000)),
            _ => Trouble::None,
        }
    }
}

/// The users of every run; whom nobody plays has no phone.
pub const NAMES: [&str; 6] = ["alice", "bob", "carol", "dora", "emil", "zoe"];
/// Who calls by way of the trunk.
pub const OUTSIDER: &str = "sip:+15550100@192.0.2.99";
/// Each kind as often as it stands here.
const KINDS: &[Kind] = &[
    Kind::Answered,
    Kind::Answered,
    Kind::Answered,
    Kind::Answered,
    Kind::Answered,
    Kind::Answered,
    Kind::Answered,
    Kind::Answered,
    Kind::Answered,
    Kind::Answered,
    Kind::Refused,
    Kind::Refused,
    Kind::Cancelled,
    Kind::Cancelled,
    Kind::CancelledAtOnce,
    Kind::Crossing,
    Kind::Crossing,
    Kind::NoAnswer,
    Kind::Mute,
    Kind::Nobody,
    Kind::BadNumber,
    Kind::Barred,
    Kind::Vanishing,
    Kind::Vanishing,
];
/// When whoever was called by a transfer says something, counted from the answer: by then they are joined.
pub const PROBE: Duration = Duration::from_secs(4);
/// When whoever waits for the other side to hang up does so.
const BOREDOM: Duration = Duration::from_secs(40);
/// Each way takes less, so that a message and its answer take less than T1.
const CALM: Duration = Duration::from_millis(120);
