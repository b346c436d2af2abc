//! Which transfers are asked for in a run, and what comes of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::DOMAIN;
use super::script::{Deed, Dice, Kind, NAMES, Plan, Role, Script, Then, Who, aor, number, other};

/// Who asks for a transfer, and how they take their leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errand {
    /// In which call.
    pub call: usize,
    /// On which side of it.
    pub role: Role,
    /// When they hang up.
    pub leave: Leave,
}

/// When whoever asks for a transfer hangs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// So long after asking, whatever comes of it.
    AtOnce(Duration),
    /// When they hear that it was carried out.
    WhenDone,
    /// Not on account of it.
    Never,
    /// Likewise, and they do not want to hear of it either.
    Deaf,
}

impl Script {
    /// Somebody speaks with two others, and joins them.
    pub(super) fn attend(&mut self, dice: &mut Dice) {
        let phone = *dice.one_of(&[0, 1]);
        let leave = Leave::draw(dice);
        let mut pair = Vec::new();
        for _ in 0..8 {
            let mut plan = self.plan_by(dice, Kind::Answered, Some(phone));
            let known = self
                .calls
                .iter()
                .chain(&pair)
                .any(|known: &Plan| known.names == plan.names);
            if known
                || !plan
                    .manners
                    .values()
                    .any(|manner| matches!(manner.then, Then::Answer(_)))
            {
                continue;
            }
            plan.stay(dice);
            pair.push(plan);
            if pair.len() == 2 {
                let at = dice.time(7_000, 16_000);
                pair[0].deeds.push((at, Role::Caller, Deed::Attend(leave)));
                return self.calls.append(&mut pair);
            }
        }
    }

    /// Somebody in a call sends the other one on, and perhaps somebody sends somebody on again.
    pub(super) fn transfers(&mut self, dice: &mut Dice, call: usize) {
        let mut role = *dice.one_of(&[Role::Caller, Role::Callee]);
        let (mut call, mut at) = (call, dice.time(300, 6_000));
        self.calls[call].stay(dice);
        for _ in 0..3 {
            let Some(made) = self.errand(dice, call, role) else {
                return;
            };
            self.calls[call].deeds.push((at, role, Deed::Refer(made)));
            if dice.chance(8) && !self.calls.iter().any(Plan::loses_somebody) {
                let who = *dice.one_of(&[role, other(role)]);
                let gone = at + dice.time(0, 4_000);
                self.calls[call].deeds.push((gone, who, Deed::Vanish));
            }
            if !dice.chance(35) {
                return;
            }
            match dice.below(3) {
                // Whoever answered goes on from there.
                0 => (call, role, at) = (made, Role::Callee, dice.time(50, 6_000)),
                // Whoever was sent on does so themselves.
                1 => (role, at) = (other(role), at + dice.time(50, 14_000)),
                // The same once more, which makes sense if nothing came of the first time.
                _ => at += dice.time(50, 14_000),
            }
        }
    }

    /// The call that a transfer makes. None if it could not be told from others.
    fn errand(&mut self, dice: &mut Dice, call: usize, role: Role) -> Option<usize> {
        let asks = &self.calls[call];
        let phone = match role {
            Role::Caller if asks.errand.is_none() => asks.caller,
            Role::Caller => return None,
            Role::Callee => *asks.manners.keys().next()?,
        };
        // A carrier pays for nobody, and is told less.
        let Who::User(user) = self.phones[phone] else {
            return None;
        };
        let trunk = self.phones.len() - 1;
        let target = *dice.one_of(&self.users().collect::<Vec<_>>());
        let phones = (0..trunk).filter(|phone| self.phones[*phone] == Who::User(target));
        let phones: Vec<usize> = phones.collect();
        let name = aor(NAMES[target]);
        let (dialled, to, called) = match dice.below(10) {
            0 => (aor("zoe"), aor("zoe"), Vec::new()),
            1 | 2 => ("tel:+491511234567".to_owned(), "+491511234567".to_owned(), vec![trunk]),
            3..=5 => (format!("sip:{}@{DOMAIN}", number(target)), number(target), phones),
            _ => (name.clone(), name, phones),
        };
        let names = (aor(NAMES[user]), to);
        let leave = Leave::draw(dice);
        let kind = match leave {
            Leave::AtOnce(_) if called == [trunk] => Kind::VainTransfer,
            _ if called.is_empty() || !dice.chance(70) => Kind::VainTransfer,
            _ => Kind::Transfer,
        };
        let same = |known: &&Plan| {
            let errand = known.errand.is_some() && known.names.0 == names.0;
            known.names == names || (errand && called.iter().any(|phone| known.manners.contains_key(phone)))
        };
        // A carrier is not told who has asked.
        let sent = |known: &&Plan| called == [trunk] && known.errand.is_some() && known.manners.contains_key(&trunk);
        if self.calls.iter().any(|known| same(&known) || sent(&known)) {
            return None;
        }
        let mut plan = Plan {
            at: Duration::ZERO,
            caller: phone,
            dialled,
            names,
            kind,
            late_offer: false,
            patience: Duration::ZERO,
            caller_gone: None,
            gone_at_answer: false,
            manners: BTreeMap::new(),
            thought: None,
            deeds: Vec::new(),
            errand: Some(Errand { call, role, leave }),
        };
        plan.furnish(dice, &called);
        // Nobody can tell that both phones of a call are gone (see above).
        if self.calls.iter().any(Plan::loses_somebody) {
            for manner in plan.manners.values_mut() {
                manner.gone = None;
            }
        }
        self.calls.push(plan);
        Some(self.calls.len() - 1)
    }
}

impl Plan {
    /// Nobody hangs up so soon that nothing else could be done.
    fn stay(&mut self, dice: &mut Dice) {
        if !dice.chance(80) {
            return;
        }
        let more = dice.time(5_000, 40_000);
        for (at, _, deed) in &mut self.deeds {
            if *deed == Deed::HangUp {
                *at += more;
            }
        }
    }

    /// Whether somebody in it joins the other one with somebody else they speak with.
    #[must_use]
    pub fn attends(&self) -> bool {
        self.deeds.iter().any(|(_, _, deed)| matches!(deed, Deed::Attend(_)))
    }
}

impl Leave {
    fn draw(dice: &mut Dice) -> Self {
        match dice.below(8) {
            0 | 1 => Self::AtOnce(dice.time(0, 400)),
            2 | 3 => Self::Never,
            4 => Self::Deaf,
            _ => Self::WhenDone,
        }
    }
}
