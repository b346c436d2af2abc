//! Many phones that register, at a rate that a clock gives.
//!
//! One thread, one socket, and one sleep for each [`TICK`]: light enough that on a small machine the device under
//! test is the bottleneck. A phone does what RFC 3261 asks of one that registers over UDP: it answers the challenge that
//! it likes best, and sends again what gets no answer (§17.1.2).
//!
//! # Invariants
//! - What is due is sent, however late the answers are: a slow device gets no mercy.
//! - Every registration that was begun ends in exactly one of the counts of [`Tally`].
#![expect(clippy::disallowed_methods, reason = "the rate is one of real time")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cusax_common::core::sip::typed::{CallId, Challenge, WwwAuthenticate};
use cusax_common::core::sip::{HeaderName, Message, Response};

use crate::lab::Result;
use crate::load::proof::{self, Asked};
use crate::load::usage::own_cpu;
use crate::load::{PATIENCE, T1, T2, TICK, socket, users};

/// What is to be asked of a device.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many phones take turns.
    pub phones: u32,
    /// How many registrations there are.
    pub registrations: u32,
    /// How many of them begin in a second.
    pub rate: u32,
}

/// What came of it.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Tally {
    /// Begun.
    pub begun: u32,
    /// Answered 200 after a challenge.
    pub registered: u32,
    /// Answered otherwise, by status.
    pub refused: BTreeMap<u16, u32>,
    /// Without an answer to the end.
    pub unanswered: u32,
    /// Not begun in their turn since the same phone still waited for an answer.
    pub overrun: u32,
    /// Messages sent again.
    pub retransmitted: u32,
    /// Seconds from the first message to the last answer.
    pub seconds: f64,
    /// Processor seconds of the generator meanwhile.
    pub own_cpu: f64,
}

impl Tally {
    /// How many of those that should have been answered 200 were not.
    #[must_use]
    pub fn failed(&self) -> u32 {
        self.begun - self.registered + self.overrun
    }
}

/// The phones, with what each of them remembers from one registration to the next.
pub struct Phones {
    socket: UdpSocket,
    local: SocketAddr,
    phones: Vec<Phone>,
    /// What is sent again when no answer has come: when, by whom, and which message.
    again: BinaryHeap<Reverse<(Instant, u32, u32)>>,
    waiting: u32,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Phone {
    /// Of the last request.
    sequence: u32,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    message: String,
    began: Instant,
    interval: Duration,
    /// Whether a challenge was answered.
    proved: bool,
}

impl Phones {
    /// Switches on so many phones that all speak to `device`.
    ///
    /// # Errors
    /// When the system gives no socket.
    pub fn new(count: u32, device: SocketAddr) -> Result<Self> {
        Self::on(socket::connect(PHONES, device)?, count)
    }

    /// The same by a socket that is connected with the device, which others may use afterwards.
    ///
    /// # Errors
    /// When the system does not tell its address.
    pub fn on(socket: UdpSocket, count: u32) -> Result<Self> {
        let local = socket.local_addr()?;
        let mut phones = Vec::new();
        phones.resize_with(count as usize, Phone::default);
        Ok(Self {
            socket,
            local,
            phones,
            again: BinaryHeap::new(),
            waiting: 0,
            tally: Tally::default(),
        })
    }

    /// Lets the first phones register in turn; returns when all have an answer or have given up.
    ///
    /// # Errors
    /// When the system takes no message.
    pub fn register(&mut self, load: Load) -> Result<Tally> {
        self.tally = Tally::default();
        let (own, start) = (own_cpu()?, Instant::now());
        let (mut begun, mut last) = (0, start);
        let mut buffer = vec![0; 65_536];
        while begun < load.registrations || self.waiting > 0 {
            if self.hear(&mut buffer)? {
                last = Instant::now();
            }
            let now = Instant::now();
            let due = now.duration_since(start).as_secs_f64() * f64::from(load.rate);
            while begun < load.registrations && f64::from(begun) <= due {
                self.begin(begun % load.phones, now)?;
                begun += 1;
            }
            self.send_again(now)?;
            std::thread::sleep(TICK);
        }
        self.again.clear();
        let mut tally = std::mem::take(&mut self.tally);
        tally.seconds = last.duration_since(start).as_secs_f64();
        tally.own_cpu = own_cpu()? - own;
        Ok(tally)
    }

    /// Reads what there is; tells whether there was anything.
    fn hear(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let mut heard = false;
        while let Ok(length) = self.socket.recv(buffer) {
            heard = true;
            if let Ok(Message::Response(response)) = Message::parse(Bytes::copy_from_slice(&buffer[..length])) {
                self.answered(&response)?;
            }
        }
        Ok(heard)
    }

    fn begin(&mut self, index: u32, now: Instant) -> Result<()> {
        if self.phones[index as usize].waiting.is_some() {
            self.tally.overrun += 1;
            return Ok(());
        }
        self.tally.begun += 1;
        self.waiting += 1;
        self.send(index, now, None)
    }

    fn answered(&mut self, response: &Response) -> Result<()> {
        let (Ok(call_id), Ok(sequence)) = (response.headers.one::<CallId>(), response.cseq()) else {
            return Ok(());
        };
        let index = call_id
            .as_str()
            .split_once('-')
            .and_then(|(index, _)| index.parse().ok());
        let known = index.and_then(|index: u32| Some((index, self.phones.get_mut(index as usize)?)));
        let Some((index, phone)) = known else { return Ok(()) };
        let status = response.status.code();
        // What answers no request of this moment is the copy of an answer that was heard.
        if phone.sequence != sequence.seq || status < 200 {
            return Ok(());
        }
        let Some(waiting) = phone.waiting.take() else {
            return Ok(());
        };
        if status == 401 && !waiting.proved {
            let offered = response.headers.list::<WwwAuthenticate>().unwrap_or_default();
            let liked = offered.iter().map(|one| &one.0).find(|one| one.algorithm().is_some());
            if let Some(challenge) = liked {
                return self.send(index, Instant::now(), Some(challenge));
            }
        }
        self.waiting -= 1;
        if status == 200 && waiting.proved {
            self.tally.registered += 1;
        } else {
            *self.tally.refused.entry(status).or_default() += 1;
        }
        Ok(())
    }

    fn send(&mut self, index: u32, now: Instant, challenge: Option<&Challenge>) -> Result<()> {
        let phone = &mut self.phones[index as usize];
        phone.sequence += 1;
        let message = register(index, phone.sequence, self.local, challenge);
        self.socket.send(message.as_bytes())?;
        phone.waiting = Some(Waiting {
            message,
            began: now,
            interval: T1,
            proved: challenge.is_some(),
        });
        self.again.push(Reverse((now + T1, index, phone.sequence)));
        Ok(())
    }

    fn send_again(&mut self, now: Instant) -> Result<()> {
        while let Some(&Reverse((at, index, sequence))) = self.again.peek()
            && at <= now
        {
            self.again.pop();
            let phone = &mut self.phones[index as usize];
            if phone.sequence != sequence {
                continue;
            }
            let Some(waiting) = &mut phone.waiting else { continue };
            if now.duration_since(waiting.began) >= PATIENCE {
                phone.waiting = None;
                self.waiting -= 1;
                self.tally.unanswered += 1;
                continue;
            }
            self.socket.send(waiting.message.as_bytes())?;
            self.tally.retransmitted += 1;
            waiting.interval = (2 * waiting.interval).min(T2);
            self.again.push(Reverse((now + waiting.interval, index, sequence)));
        }
        Ok(())
    }
}

/// A REGISTER as an ordinary phone writes it.
fn register(index: u32, sequence: u32, local: SocketAddr, challenge: Option<&Challenge>) -> String {
    let (user, domain) = (users::login(index), users::DOMAIN);
    let proof = challenge.map_or_else(String::new, |challenge| {
        let asked = Asked {
            method: "REGISTER",
            uri: &format!("sip:{domain}"),
            count: 1,
            salt: sequence,
        };
        proof::line(&HeaderName::AUTHORIZATION, index, challenge, &asked)
    });
    format!(
        "REGISTER sip:{domain} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {local};branch=z9hG4bK{index:08x}{sequence:08x};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:{user}@{domain}>;tag={index:08x}\r\n\
         To: <sip:{user}@{domain}>\r\n\
         Call-ID: {index}-5a1f0c93e7d2@{ip}\r\n\
         CSeq: {sequence} REGISTER\r\n\
         Contact: <sip:{user}@{local}>\r\n\
         Expires: {EXPIRES}\r\n\
         User-Agent: Example Phone 1.0\r\n\
         {proof}Content-Length: 0\r\n\r\n",
        ip = local.ip()
    )
}

/// The one address that all phones have, each with a user part of its own.
const PHONES: Ipv4Addr = Ipv4Addr::new(127, 77, 1, 1);
/// Seconds for which a phone registers.
const EXPIRES: u32 = 3600;
