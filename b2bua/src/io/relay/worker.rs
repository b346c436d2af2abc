#![expect(
    clippy::disallowed_methods,
    reason = "the relay keeps the time of tones and of resting ports"
)]
//! One thread: many sockets, no lock and no allocation on the packet path.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cusax_common::core::entropy::Entropy as _;
use cusax_common::io::clock::SystemEntropy;
use mio::{Poll, Token, Waker};

use super::Events;
use super::player::{Playing, Tick};
use super::ports::Ports;
use super::session::{Leg, SOCKETS, Session};
use crate::core::media::rewrite::Rules;
use crate::core::media::tone::{PACKET, Player};
use crate::core::media::{MediaCommand, MediaEvent, MediaId, PlayCodec, Refusal, Side, Target, Tone};

/// What a worker is told.
#[derive(Debug)]
pub(super) enum Order {
    Command(MediaCommand),
    Shutdown,
}

/// Owns its sessions.
#[derive(Debug)]
pub(super) struct Worker {
    poll: Poll,
    orders: Receiver<Order>,
    waiting: Arc<AtomicUsize>,
    ports: Arc<Mutex<Ports>>,
    rules: Rules,
    events: Events,
    /// A slot's four sockets have the tokens from four times its index on.
    slots: Vec<Option<Session>>,
    vacant: Vec<usize>,
    by_id: HashMap<MediaId, usize>,
    /// Sockets that had more packets than one turn allows.
    unfinished: VecDeque<usize>,
    /// Slots and sides that hear a tone or silence from us.
    playing: Vec<(usize, Side)>,
    random: SystemEntropy,
}

impl Worker {
    pub(super) fn new(
        orders: Receiver<Order>,
        waiting: Arc<AtomicUsize>,
        ports: Arc<Mutex<Ports>>,
        rules: Rules,
        events: Events,
    ) -> io::Result<(Self, Arc<Waker>)> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let worker = Self {
            poll,
            orders,
            waiting,
            ports,
            rules,
            events,
            slots: Vec::new(),
            vacant: Vec::new(),
            by_id: HashMap::new(),
            unfinished: VecDeque::new(),
            playing: Vec::new(),
            random: SystemEntropy::new(),
        };
        Ok((worker, waker))
    }

    /// Works until told to stop.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut ready = mio::Events::with_capacity(MAX_READY);
        let mut buffer = [0; BUFFER];
        loop {
            let wait = if self.unfinished.is_empty() {
                self.next_tick()
            } else {
                Some(Duration::ZERO)
            };
            match self.poll.poll(&mut ready, wait) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            // Tones first: a packet can wait a little, a rhythm cannot.
            self.tick(Instant::now());
            for _ in 0..self.unfinished.len() {
                if let Some(socket) = self.unfinished.pop_front() {
                    self.read(socket, &mut buffer);
                }
            }
            for event in &ready {
                match event.token() {
                    WAKE => {}
                    Token(socket) => self.read(socket, &mut buffer),
                }
            }
            loop {
                match self.orders.try_recv() {
                    Ok(order) => {
                        self.waiting.fetch_sub(1, Ordering::Relaxed);
                        match order {
                            Order::Command(command) => self.obey(command),
                            Order::Shutdown => return Ok(()),
                        }
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
        }
    }

    /// Ends every session.
    pub(super) fn close_all(&mut self) {
        let ids: Vec<_> = self.by_id.keys().copied().collect();
        for id in ids {
            self.close(id);
        }
    }

    /// Takes a turn at one socket.
    fn read(&mut self, socket: usize, buffer: &mut [u8]) {
        // The session may have ended since its socket was ready.
        let Some(Some(session)) = self.slots.get_mut(socket / SOCKETS) else {
            return;
        };
        for _ in 0..MAX_TURN {
            if !session.receive(socket % SOCKETS, buffer) {
                return;
            }
        }
        self.unfinished.push_back(socket);
    }

    fn obey(&mut self, command: MediaCommand) {
        match command {
            MediaCommand::Open { id, caller, callee } => {
                let event = match self.open(id, caller, callee) {
                    Ok(event) => event,
                    Err(why) => MediaEvent::Refused { id, why },
                };
                self.events.tell(event);
            }
            MediaCommand::Aim { id, side, target } => {
                let target = self.judged(target);
                if let Some((_, session)) = self.session(id) {
                    session.leg_mut(side).latch.aim(target);
                }
            }
            MediaCommand::Play { id, side, tone, codec } => self.play(id, side, tone, codec),
            MediaCommand::Stop { id, side } => {
                if let Some((_, session)) = self.session(id) {
                    session.leg_mut(side).playing = None;
                }
            }
            MediaCommand::Report { id } => {
                if let Some((_, session)) = self.session(id) {
                    let stats = session.stats;
                    self.events.tell(MediaEvent::Reported { id, stats });
                }
            }
            MediaCommand::Close { id } => self.close(id),
        }
    }

    fn open(&mut self, id: MediaId, caller: IpAddr, callee: IpAddr) -> Result<MediaEvent, Refusal> {
        if self.by_id.contains_key(&id) {
            return Err(Refusal::Duplicate);
        }
        let to_caller = self.bind(caller)?;
        let to_callee = match self.bind(callee) {
            Ok(leg) => leg,
            Err(why) => {
                self.give_back(&to_caller);
                return Err(why);
            }
        };
        let opened = MediaEvent::Opened {
            id,
            caller: to_caller.local,
            callee: to_callee.local,
        };
        let masks = [self.random.bytes(), self.random.bytes()];
        let mut session = Session::new(id, to_caller, to_callee, masks);
        let slot = self.vacant.pop().unwrap_or(self.slots.len());
        if session.register(self.poll.registry(), slot * SOCKETS).is_err() {
            self.give_back_both(&session);
            // A slot that was new is still not there.
            if slot < self.slots.len() {
                self.vacant.push(slot);
            }
            return Err(Refusal::Exhausted);
        }
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot] = Some(session);
        self.by_id.insert(id, slot);
        Ok(opened)
    }

    /// Takes a pair and binds it. A pair that another process holds is put aside like a used one.
    fn bind(&self, address: IpAddr) -> Result<Leg, Refusal> {
        for _ in 0..MAX_BINDS {
            let now = Instant::now();
            let port = self.lock().take(address, now)?;
            match Leg::bind(address, port) {
                Ok(leg) => return Ok(leg),
                Err(error) => {
                    self.lock().give_back(address, port, now);
                    if error.kind() == io::ErrorKind::AddrNotAvailable {
                        return Err(Refusal::Address);
                    }
                }
            }
        }
        Err(Refusal::Exhausted)
    }

    fn close(&mut self, id: MediaId) {
        let Some(slot) = self.by_id.remove(&id) else { return };
        let Some(session) = self.slots[slot].take() else { return };
        self.vacant.push(slot);
        self.playing.retain(|&(playing, _)| playing != slot);
        self.unfinished.retain(|socket| socket / SOCKETS != slot);
        self.give_back_both(&session);
        let stats = session.stats;
        // The sockets close before anybody hears of it, so that a test or a call can rely on it.
        drop(session);
        self.events.tell(MediaEvent::Closed { id, stats });
    }

    fn play(&mut self, id: MediaId, side: Side, tone: Tone, codec: PlayCodec) {
        let player = Player::new(tone, codec, self.random.bytes());
        let Some((slot, session)) = self.session(id) else {
            return;
        };
        let leg = session.leg_mut(side);
        let patience = if leg.latch.doubtful() {
            MAX_PATIENCE
        } else {
            Duration::ZERO
        };
        leg.playing = Some(Playing::new(player, Instant::now(), patience));
        if !self.playing.contains(&(slot, side)) {
            self.playing.push((slot, side));
        }
    }

    /// Sends every packet of ours that is due.
    fn tick(&mut self, now: Instant) {
        let Self {
            slots, playing, events, ..
        } = self;
        let mut packet = [0; PACKET];
        playing.retain(|&(slot, side)| {
            let Some(session) = &mut slots[slot] else { return false };
            loop {
                let leg = session.leg_mut(side);
                let heard = !leg.latch.doubtful();
                let Some(playing) = &mut leg.playing else { return false };
                if playing.due() > now {
                    return true;
                }
                let tick = playing.tick(now, heard, &mut packet);
                session.send(side, &packet);
                if tick == Tick::Played {
                    events.tell(MediaEvent::Played { id: session.id, side });
                }
            }
        });
    }

    fn next_tick(&self) -> Option<Duration> {
        let due = self.playing.iter().filter_map(|&(slot, side)| {
            let playing = self.slots[slot].as_ref()?.leg(side).playing.as_ref()?;
            Some(playing.due())
        });
        due.min().map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Descriptions are judged when they are read; this is the second lock on the same door.
    fn judged(&self, target: Target) -> Target {
        let fit = |address: &std::net::SocketAddr| self.rules.allow(address.ip());
        Target {
            rtp: target.rtp.filter(fit),
            rtcp: target.rtcp.filter(fit),
            also: target.also,
        }
    }

    fn session(&mut self, id: MediaId) -> Option<(usize, &mut Session)> {
        let slot = *self.by_id.get(&id)?;
        Some((slot, self.slots[slot].as_mut()?))
    }

    fn give_back_both(&self, session: &Session) {
        for side in Side::BOTH {
            self.give_back(session.leg(side));
        }
    }

    fn give_back(&self, leg: &Leg) {
        self.lock().give_back(leg.local.ip(), leg.local.port(), Instant::now());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ports> {
        // A worker that died in there left a table that is still whole: each change is one call.
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const WAKE: Token = Token(usize::MAX);
/// Ready sockets that are taken from the system at once.
const MAX_READY: usize = 1024;
/// Packets that one socket may bring before the next one has its turn.
const MAX_TURN: usize = 32;
/// Pairs that are tried before an address counts as used up.
const MAX_BINDS: usize = 32;
/// Octets; longer than the longest packet that is relayed, so that a cut-off one is noticed.
const BUFFER: usize = 2048;
/// How long a tone waits for the first packets of a listener who may be behind address translation.
const MAX_PATIENCE: Duration = Duration::from_millis(600);
