//! The transfers of a [`Handset`]: what it asks for, what it is told of them, and whom it finds itself joined with.

use std::time::Duration;

use super::super::hand::Text;
use super::errand::Leave;
use super::handset::{Alarm, Handset, Purpose};
use super::leg::{Leg, Stage};
use super::note::bracketed;
use super::script::{Deed, NAMES, Who};

/// A REFER.
#[derive(Clone, Debug)]
pub struct Refer {
    /// The call of the script that it makes; none if it joins two that there are.
    pub made: Option<usize>,
    /// The final status.
    pub status: Option<u16>,
    /// What it was told when there was no more to tell.
    pub finals: Vec<String>,
    number: u32,
    deed: Deed,
    leave: Leave,
    /// The number of the NOTIFY that was the last one.
    over: Option<u32>,
}

/// Something that was said to whoever is joined.
#[derive(Clone, Debug)]
pub struct Probe {
    /// What.
    pub token: String,
    /// When.
    pub at: Duration,
    /// What was answered.
    pub status: Option<u16>,
    number: u32,
}

impl Handset {
    pub(super) fn refer(&mut self, at: usize, deed: Deed) {
        let contact = self.contact();
        let (to, made, leave) = match deed {
            Deed::Refer(made) => {
                let plan = &self.script.calls[made];
                let Some(errand) = plan.errand else { return };
                (format!("<{}>", plan.dialled), Some(made), errand.leave)
            }
            Deed::Attend(leave) => match self.other(at) {
                Some(other) => (other.replaced(), None, leave),
                None => return,
            },
            _ => return,
        };
        let leg = &mut self.legs[at];
        // Of two at once nobody could tell to which of them a NOTIFY belongs (RFC 3515 §2.4.6).
        if !leg.acknowledged || leg.refers.iter().any(|refer| refer.status.is_none()) {
            return;
        }
        let text = leg.next("REFER").and("Contact", &contact).and("Refer-To", &to);
        leg.refers.push(Refer {
            made,
            status: None,
            finals: Vec::new(),
            number: text.sequence().0,
            deed,
            leave,
            over: None,
        });
        let which = leg.refers.len() - 1;
        self.ask(Purpose::Refer(at, which), "REFER", text);
        if let Leave::AtOnce(after) = leave {
            self.wake(after, Alarm::Do(at, Deed::HangUp));
        }
    }

    /// Whoever else it speaks with.
    fn other(&self, at: usize) -> Option<&Leg> {
        let mut others = self.legs.iter().enumerate().filter(|(index, _)| *index != at);
        let found = others.find(|(_, leg)| leg.stage == Stage::Up && leg.acknowledged);
        found.map(|(_, leg)| leg)
    }

    pub(super) fn refer_answered(&mut self, at: usize, which: usize, status: u16) {
        let leg = &mut self.legs[at];
        let refer = &mut leg.refers[which];
        refer.status = Some(status);
        let (deed, number) = (refer.deed, refer.number);
        if leg.stage != Stage::Up {
            return;
        }
        match status {
            202 if refer.leave == Leave::Deaf => {
                let event = match which {
                    0 => "refer".to_owned(),
                    _ => format!("refer;id={number}"),
                };
                let text = leg.next("SUBSCRIBE").and("Event", &event).and("Expires", "0");
                let contact = self.contact();
                self.ask(Purpose::Subscribe(at), "SUBSCRIBE", text.and("Contact", &contact));
            }
            491 if leg.retries < 3 => {
                leg.retries += 1;
                self.wake(Duration::from_millis(1_300), Alarm::Do(at, deed));
            }
            408 | 481 => self.bye(at),
            _ => {}
        }
    }

    /// How a transfer stands; what is to be answered. What comes twice, or behind the end, is none of a peer's.
    pub(super) fn notified(&mut self, at: usize, note: &Text) -> u16 {
        let (number, _) = note.sequence();
        let is_end = note.get("Subscription-State").starts_with("terminated");
        let leg = &mut self.legs[at];
        let named = note.get("Event").strip_prefix("refer;id=").map(str::to_owned);
        let meant = |refer: &&mut Refer| match &named {
            Some(id) => *id == refer.number.to_string(),
            None => note.get("Event") == "refer" && matches!(refer.status, None | Some(202)),
        };
        let Some(refer) = leg.refers.iter_mut().find(meant) else {
            self.complain("a NOTIFY of what was never asked for");
            return 481;
        };
        let said = note.body.trim_end().to_owned();
        let is_behind = refer.over.is_some_and(|over| number > over);
        if is_end {
            refer.over = Some(number);
            refer.finals.push(said.clone());
        }
        let leaves = is_end && said.starts_with("SIP/2.0 2") && refer.leave == Leave::WhenDone;
        let stage = leg.stage;
        if is_behind {
            self.complain("a NOTIFY behind the last one");
        }
        if stage == Stage::Over {
            return 481;
        }
        if leaves {
            self.hang_up(at);
        }
        200
    }

    /// The call of the script for which a transfer has made this INVITE.
    pub(super) fn sent_to(&self, note: &Text) -> Option<usize> {
        let by = bracketed(note.get("Referred-By"));
        let calls = self.script.calls.iter();
        calls
            .enumerate()
            .filter(|(_, plan)| plan.errand.is_some() && plan.manners.contains_key(&self.index))
            .find(|(_, plan)| plan.names.0 == by || self.who == Who::Trunk)
            .map(|(call, _)| call)
    }

    /// Says something that nobody else says.
    pub(super) fn say(&mut self, at: usize) {
        let token = self.token();
        let (now, leg) = (self.now, &mut self.legs[at]);
        let text = leg.next("INFO").carrying(
            "application/dtmf-relay",
            format!("Signal=5\r\nDuration=160\r\nToken={token}\r\n"),
        );
        leg.probes.push(Probe {
            token,
            at: now,
            status: None,
            number: text.sequence().0,
        });
        self.ask(Purpose::Info(at), "INFO", text);
    }

    /// What was said has its answer.
    pub(super) fn said(&mut self, at: usize, number: u32, status: u16) {
        let probes = &mut self.legs[at].probes;
        if let Some(probe) = probes.iter_mut().find(|probe| probe.number == number) {
            probe.status = Some(status);
        }
    }

    /// Notes what the other side says, and who it is if that is told anew.
    pub(super) fn listen(&mut self, at: usize, method: &str, note: &Text) {
        let leg = &mut self.legs[at];
        if method == "INFO" {
            let token = note.body.lines().find_map(|line| line.strip_prefix("Token="));
            leg.heard.extend(token.map(str::to_owned));
        }
        let identity = note.get("P-Asserted-Identity");
        if method == "INVITE" && !identity.is_empty() {
            leg.joined.push(identity.to_owned());
            leg.joined_at = Some(self.now);
            self.wake(SETTLED, Alarm::Probe(at));
        }
    }

    /// Notes which of its calls are over by now.
    pub(super) fn note_ends(&mut self) {
        let now = self.now;
        for leg in self.legs.iter_mut().filter(|leg| leg.stage == Stage::Over) {
            leg.ended.get_or_insert(now);
        }
    }

    /// The name of the user whose phone it is, if it is a user's.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        match self.who {
            Who::User(user) => Some(NAMES[user]),
            _ => None,
        }
    }
}

impl Leg {
    /// Refer-To for its place (RFC 3891 §3): as the one who is asked knows it.
    fn replaced(&self) -> String {
        let tag = |address| super::note::parameter(address, "tag").to_owned();
        let (id, to, from) = (&self.id, tag(&self.remote), tag(&self.local));
        let uri = bracketed(&self.remote);
        format!("<{uri}?Replaces={id}%3Bto-tag%3D{to}%3Bfrom-tag%3D{from}>")
    }
}

/// How long after a phone was joined anew it says something.
const SETTLED: Duration = Duration::from_secs(3);
