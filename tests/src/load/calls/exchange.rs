//! Many phones that call one another through a device, at a rate that a clock gives.
//!
//! One thread plays both ends: light enough that on a small machine the device under test is the bottleneck, and with one
//! clock for both legs. `caller.rs` and `callee.rs` hold what each end does with a message; here is what makes them do it.
//!
//! # Invariants
//! - What is due is begun, however late the answers are: a slow device gets no mercy.
//! - Everything that was begun ends in exactly one of the counts of [`Tally`].
#![expect(clippy::disallowed_methods, reason = "the rate is one of real time")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::caller::{Nonce, Waiting};
use super::tally::{Delay, Tally};
use super::text::{CallName, Parties, Remote};
use crate::lab::{Context as _, Result};
use crate::load::batch::{Batch, Heard};
use crate::load::registrations::generator::{Load as Registrations, Phones};
use crate::load::usage::own_cpu;
use crate::load::{TICK, socket};

/// Who takes part.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Phones that call in turn.
    pub callers: u32,
    /// Phones that are called in turn, each registered.
    pub callees: u32,
    /// Whether callers forget what they proved, so that each call is challenged.
    pub forgetful: bool,
}

/// What is to be done again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A whole call, hung up by its caller.
    Call,
    /// A call that stays up.
    Raise,
    /// A message of the caller's within a call that is up: the calls take turns.
    Message,
    /// The end of a call that is up.
    HangUp,
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What is done.
    pub act: Act,
    /// How many times.
    pub count: u32,
    /// How many times in a second.
    pub rate: u32,
}

/// The phones with their calls.
pub struct Exchange {
    pub(super) crowd: Crowd,
    pub(super) callers: Batch,
    pub(super) callees: Batch,
    pub(super) caller_at: SocketAddr,
    pub(super) callee_at: SocketAddr,
    /// What each caller was asked to prove last, and how often it has done so.
    pub(super) nonces: Vec<Option<Nonce>>,
    pub(super) calls: Vec<Call>,
    pub(super) lot: u32,
    /// Those that stay up.
    pub(super) up: Vec<u32>,
    pub(super) due: BinaryHeap<Reverse<(Instant, u32, Due)>>,
    pub(super) tally: Tally,
    /// In nanoseconds.
    pub(super) delays: Vec<i64>,
    /// What was begun and has not ended.
    pub(super) open: u32,
    turn: u32,
    callers_turn: u32,
}

/// What time brings to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// The caller's request with this number has no final answer.
    Unanswered(u32),
    /// The callee takes the call.
    Answer,
    /// The callee's answer is not acknowledged.
    Unacknowledged,
    /// The caller has said everything.
    HangUp,
}

/// One call, as both of its phones know it.
pub(super) struct Call {
    pub(super) caller: u32,
    pub(super) callee: u32,
    pub(super) stays: bool,
    pub(super) stage: Stage,
    /// Of the caller's last request.
    pub(super) sequence: u32,
    /// Of its last INVITE.
    pub(super) invited: u32,
    pub(super) waiting: Option<Waiting>,
    pub(super) remote: Option<Remote>,
    /// Whether the caller has answered a challenge.
    pub(super) challenged: bool,
    /// The callee's last answer to the INVITE, and the one that it gives next.
    pub(super) answers: Option<(Bytes, Bytes)>,
    pub(super) answered: Option<(Instant, Duration)>,
    /// Nanoseconds that messages of this call were on their way: from phones into the sockets of others.
    pub(super) way: i64,
    /// Whether that means anything yet, or any more.
    pub(super) is_clean: bool,
}

/// How far the caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Inviting,
    Up,
    Leaving,
    Over,
}

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Caller,
    Callee,
}

impl Exchange {
    /// Switches the phones on and registers the callees: the first accounts; the callers have those behind them.
    ///
    /// # Errors
    /// When the system gives no sockets, or a callee cannot register.
    pub fn new(crowd: Crowd, device: SocketAddr) -> Result<Self> {
        let (callers, callees) = (socket::connect(CALLERS, device)?, socket::connect(CALLEES, device)?);
        let registered = Phones::on(callees.try_clone()?, crowd.callees)?.register(Registrations {
            phones: crowd.callees,
            registrations: crowd.callees,
            rate: REGISTRATIONS,
        })?;
        (registered.failed() == 0)
            .then_some(())
            .context(format_args!("callees could not register: {registered:?}"))?;
        let mut nonces = Vec::new();
        nonces.resize_with(crowd.callers as usize, || None);
        Ok(Self {
            crowd,
            caller_at: callers.local_addr()?,
            callee_at: callees.local_addr()?,
            callers: Batch::new(callers)?,
            callees: Batch::new(callees)?,
            nonces,
            calls: Vec::new(),
            lot: 0,
            up: Vec::new(),
            due: BinaryHeap::new(),
            tally: Tally::default(),
            delays: Vec::new(),
            open: 0,
            turn: 0,
            callers_turn: 0,
        })
    }

    /// Does something again and again; returns when everything has ended.
    ///
    /// # Errors
    /// When the system takes no message.
    pub fn run(&mut self, load: Load) -> Result<Tally> {
        if self.up.is_empty() {
            self.calls.clear();
            self.due.clear();
            self.lot += 1;
        }
        (self.tally, self.delays, self.turn) = (Tally::default(), Vec::new(), 0);
        let (own, start) = (own_cpu()?, Instant::now());
        let (mut begun, mut last) = (0, start);
        while begun < load.count || self.open > 0 {
            if self.hear()? {
                last = Instant::now();
            }
            let now = Instant::now();
            let due = now.duration_since(start).as_secs_f64() * f64::from(load.rate);
            while begun < load.count && f64::from(begun) <= due {
                self.begin(load.act, now);
                begun += 1;
            }
            self.fall_due(now);
            self.flush()?;
            std::thread::sleep(TICK);
        }
        let mut tally = std::mem::take(&mut self.tally);
        tally.seconds = last.duration_since(start).as_secs_f64();
        tally.own_cpu = own_cpu()? - own;
        tally.delay = Delay::of(std::mem::take(&mut self.delays));
        Ok(tally)
    }

    /// How many calls are up.
    #[must_use]
    pub fn up(&self) -> usize {
        self.up.len()
    }

    /// Reads what there is; tells whether there was anything.
    fn hear(&mut self) -> Result<bool> {
        let (mut any, mut heard) = (false, Vec::new());
        for end in [End::Caller, End::Callee] {
            loop {
                let batch = match end {
                    End::Caller => &mut self.callers,
                    End::Callee => &mut self.callees,
                };
                let more = batch.hear(&mut heard)?;
                any |= !heard.is_empty();
                for Heard { bytes, at } in heard.drain(..) {
                    match end {
                        End::Caller => self.caller_hears(bytes, at),
                        End::Callee => self.callee_hears(bytes, at),
                    }
                }
                self.flush()?;
                if !more {
                    break;
                }
            }
        }
        Ok(any)
    }

    fn begin(&mut self, act: Act, now: Instant) {
        match act {
            Act::Call | Act::Raise => {
                let index = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
                self.calls.push(Call {
                    caller: self.callers_turn % self.crowd.callers,
                    callee: self.callers_turn % self.crowd.callees,
                    stays: act == Act::Raise,
                    stage: Stage::Inviting,
                    sequence: 0,
                    invited: 0,
                    waiting: None,
                    remote: None,
                    challenged: false,
                    answers: None,
                    answered: None,
                    way: 0,
                    is_clean: true,
                });
                self.callers_turn = self.callers_turn.wrapping_add(1);
                (self.tally.begun, self.open) = (self.tally.begun + 1, self.open + 1);
                self.invite(index, now, None);
            }
            Act::Message => {
                let index = self.up.get(self.turn as usize % self.up.len().max(1)).copied();
                self.turn += 1;
                self.ask(index, "INFO", now);
            }
            Act::HangUp => {
                let index = self.up.pop();
                self.ask(index, "BYE", now);
            }
        }
    }

    fn ask(&mut self, index: Option<u32>, method: &'static str, now: Instant) {
        // A call that still waits for an answer, or that the device has ended.
        let free = index.filter(|&index| {
            let call = &self.calls[index as usize];
            call.waiting.is_none() && call.stage == Stage::Up
        });
        let Some(index) = free else {
            self.tally.overrun += 1;
            return;
        };
        (self.tally.begun, self.open) = (self.tally.begun + 1, self.open + 1);
        self.ask_within(index, method, now);
    }

    fn fall_due(&mut self, now: Instant) {
        while let Some(&Reverse((at, index, what))) = self.due.peek()
            && at <= now
        {
            self.due.pop();
            match what {
                Due::Unanswered(sequence) => self.unanswered(index, sequence, now),
                Due::Answer => self.answer(index, now),
                Due::Unacknowledged => self.unacknowledged(index, now),
                Due::HangUp => self.ask_within(index, "BYE", now),
            }
        }
    }

    /// Whatever was begun with this call has ended.
    pub(super) fn close(&mut self, outcome: Outcome) {
        self.open -= 1;
        match outcome {
            Outcome::Done => self.tally.done += 1,
            Outcome::Refused(status) => *self.tally.refused.entry(status).or_default() += 1,
            Outcome::Unanswered => self.tally.unanswered += 1,
            Outcome::Dropped => self.tally.dropped += 1,
        }
    }

    fn flush(&mut self) -> Result<()> {
        let Self {
            callers,
            callees,
            calls,
            ..
        } = self;
        for batch in [callers, callees] {
            batch.flush(|index, at| calls[index as usize].way -= at)?;
        }
        Ok(())
    }

    pub(super) fn name(&self, index: u32) -> CallName {
        CallName { lot: self.lot, index }
    }

    /// The call of this name, if it is one of this lot.
    pub(super) fn known(&self, text: &str) -> Option<u32> {
        let name = CallName::read(text)?;
        (name.lot == self.lot && (name.index as usize) < self.calls.len()).then_some(name.index)
    }

    pub(super) fn parties(&self, index: u32) -> Parties {
        let call = &self.calls[index as usize];
        Parties {
            caller: self.crowd.callees + call.caller,
            callee: call.callee,
            local: self.caller_at,
        }
    }
}

/// How something ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Done,
    Refused(u16),
    Unanswered,
    Dropped,
}

/// The one address that all callers have, each with a user part of its own; and that of the callees.
const CALLERS: Ipv4Addr = Ipv4Addr::new(127, 77, 1, 1);
const CALLEES: Ipv4Addr = Ipv4Addr::new(127, 77, 1, 2);
/// Callees that register in a second.
const REGISTRATIONS: u32 = 1000;
