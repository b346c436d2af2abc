//! Scripts that drive the machines through simulated time, for their tables of cases.

#![expect(clippy::disallowed_methods, reason = "an arbitrary origin of simulated time")]

use std::time::{Duration, Instant};

use super::client::NonInviteClient;
use super::invite_client::InviteClient;
use super::invite_server::InviteServer;
use super::server::NonInviteServer;
use super::{Class, ClientOutput, Late, Outcome, ServerOutput};

/// One row: what a client machine hears, and what must come of it. Times are milliseconds.
pub struct ClientCase {
    pub name: &'static str,
    pub reliable: bool,
    pub responses: &'static [(u64, u16)],
    /// When the layer above asks for a CANCEL.
    pub cancels: &'static [u64],
    pub fails_at: Option<u64>,
    /// When the driver wakes; empty: at each deadline. After the last one, at each deadline again.
    pub wakes: &'static [u64],
    pub sends: &'static [u64],
    pub delivers: &'static [u64],
    pub acks: &'static [u64],
    pub cancel_sent: &'static [u64],
    pub ends: (u64, Outcome),
}

impl Default for ClientCase {
    fn default() -> Self {
        Self {
            name: "",
            reliable: false,
            responses: &[],
            cancels: &[],
            fails_at: None,
            wakes: &[],
            sends: &[],
            delivers: &[],
            acks: &[],
            cancel_sent: &[],
            ends: (0, Outcome::Answered),
        }
    }
}

/// The face that both client machines have.
pub trait ClientMachine {
    fn respond(&mut self, now: Instant, class: Class);
    fn cancel(&mut self, _now: Instant) {
        panic!("this machine has no CANCEL");
    }
    fn fail(&mut self);
    fn timeout(&mut self, now: Instant);
    fn output(&mut self) -> Option<ClientOutput>;
    fn deadline(&self) -> Option<Instant>;
}

macro_rules! client_machine {
    ($machine:ty { $($cancel:item)? }) => {
        impl ClientMachine for $machine {
            fn respond(&mut self, now: Instant, class: Class) { self.handle_response(now, class); }
            $($cancel)?
            fn fail(&mut self) { self.handle_transport_failure(); }
            fn timeout(&mut self, now: Instant) { self.handle_timeout(now); }
            fn output(&mut self) -> Option<ClientOutput> { self.poll_output() }
            fn deadline(&self) -> Option<Instant> { self.poll_timeout().map(|(at, _)| at) }
        }
    };
}

client_machine!(NonInviteClient {});
client_machine!(InviteClient {
    fn cancel(&mut self, now: Instant) {
        Self::cancel(self, now);
    }
});

enum Event {
    Response(u16),
    Cancel,
    Fail,
    Wake,
}

pub fn run_client<M: ClientMachine>(case: &ClientCase, new: impl Fn(Instant, bool) -> M) {
    let name = case.name;
    let mut events: Vec<(u64, Event)> = Vec::new();
    events.extend(case.responses.iter().map(|&(ms, status)| (ms, Event::Response(status))));
    events.extend(case.cancels.iter().map(|&ms| (ms, Event::Cancel)));
    events.extend(case.fails_at.map(|ms| (ms, Event::Fail)));
    events.extend(case.wakes.iter().map(|&ms| (ms, Event::Wake)));
    events.sort_by_key(|&(ms, _)| ms);
    let asleep_until = case.wakes.last().copied().unwrap_or(0);

    let epoch = Instant::now();
    let at = |ms| epoch + Duration::from_millis(ms);
    let mut machine = new(epoch, case.reliable);
    let mut events = events.into_iter().peekable();
    let mut now = epoch;
    let (mut sends, mut delivers, mut acks, mut cancels) = (vec![], vec![], vec![], vec![]);
    let (mut ended, mut woken_at) = (None, None);
    loop {
        let ms = (now - epoch).as_millis() as u64;
        while let Some(output) = machine.output() {
            assert_eq!(ended, None, "{name}: {output:?} after the end");
            match output {
                ClientOutput::Transmit => sends.push(ms),
                ClientOutput::Deliver => delivers.push(ms),
                ClientOutput::Acknowledge | ClientOutput::AcknowledgeAgain => acks.push(ms),
                ClientOutput::Cancel => cancels.push(ms),
                ClientOutput::Ended(outcome) => ended = Some((ms, outcome)),
            }
        }
        let due = machine.deadline();
        assert!(
            ended.is_none() || due.is_none(),
            "{name}: a timer is armed after the end"
        );
        match (events.peek(), due) {
            (Some(&(ms, _)), due) if due.is_none_or(|due| at(ms) <= due || due < at(asleep_until)) => {
                now = at(ms);
                match events.next().expect("peeked above").1 {
                    Event::Response(status) => machine.respond(now, Class::of(status)),
                    Event::Cancel => machine.cancel(now),
                    Event::Fail => machine.fail(),
                    Event::Wake => machine.timeout(now),
                }
            }
            (_, Some(due)) => {
                assert_ne!(woken_at, Some(due), "{name}: a timer that was due stays armed");
                (now, woken_at) = (due, Some(due));
                machine.timeout(now);
            }
            (_, None) => break,
        }
    }
    assert_eq!(sends, case.sends, "{name}: copies of the request");
    assert_eq!(delivers, case.delivers, "{name}: deliveries");
    assert_eq!(acks, case.acks, "{name}: ACKs");
    assert_eq!(cancels, case.cancel_sent, "{name}: CANCELs");
    assert_eq!(ended, Some(case.ends), "{name}: the end");
}

/// One row: what a server machine hears, and what must come of it. Times are milliseconds.
pub struct ServerCase {
    pub name: &'static str,
    pub reliable: bool,
    pub steps: &'static [(u64, Do)],
    /// As in [`ClientCase`].
    pub wakes: &'static [u64],
    pub sends: &'static [u64],
    pub acknowledged: &'static [u64],
    /// When a response was refused.
    pub late: &'static [u64],
    pub ends: (u64, Outcome),
}

impl Default for ServerCase {
    fn default() -> Self {
        Self {
            name: "",
            reliable: false,
            steps: &[],
            wakes: &[],
            sends: &[],
            acknowledged: &[],
            late: &[],
            ends: (0, Outcome::Answered),
        }
    }
}

/// One step of a [`ServerCase`].
#[derive(Clone, Copy, Debug)]
pub enum Do {
    /// A copy of the request comes.
    Copy,
    /// An ACK comes.
    Ack,
    /// The layer above answers.
    Respond(u16),
    /// The driver wakes.
    Wake,
}

/// The face that both server machines have.
pub trait ServerMachine {
    fn copy(&mut self);
    fn ack(&mut self, _now: Instant) {
        panic!("this machine has no ACK");
    }
    fn answer(&mut self, now: Instant, class: Class) -> Result<(), Late>;
    fn timeout(&mut self, now: Instant);
    fn output(&mut self) -> Option<ServerOutput>;
    fn deadline(&self) -> Option<Instant>;
}

macro_rules! server_machine {
    ($machine:ty { $($ack:item)? }) => {
        impl ServerMachine for $machine {
            fn copy(&mut self) { self.handle_copy(); }
            $($ack)?
            fn answer(&mut self, now: Instant, class: Class) -> Result<(), Late> { self.respond(now, class) }
            fn timeout(&mut self, now: Instant) { self.handle_timeout(now); }
            fn output(&mut self) -> Option<ServerOutput> { self.poll_output() }
            fn deadline(&self) -> Option<Instant> { self.poll_timeout().map(|(at, _)| at) }
        }
    };
}

server_machine!(NonInviteServer {});
server_machine!(InviteServer {
    fn ack(&mut self, now: Instant) {
        self.handle_ack(now);
    }
});

pub fn run_server<M: ServerMachine>(case: &ServerCase, new: impl Fn(Instant, bool) -> M) {
    let name = case.name;
    let mut steps = case.steps.to_vec();
    steps.extend(case.wakes.iter().map(|&ms| (ms, Do::Wake)));
    steps.sort_by_key(|&(ms, _)| ms);
    let asleep_until = case.wakes.last().copied().unwrap_or(0);

    let epoch = Instant::now();
    let at = |ms| epoch + Duration::from_millis(ms);
    let mut machine = new(epoch, case.reliable);
    let mut steps = steps.into_iter().peekable();
    let mut now = epoch;
    let (mut sends, mut acknowledged, mut late) = (vec![], vec![], vec![]);
    let (mut ended, mut woken_at) = (None, None);
    loop {
        let ms = (now - epoch).as_millis() as u64;
        while let Some(output) = machine.output() {
            assert_eq!(ended, None, "{name}: {output:?} after the end");
            match output {
                ServerOutput::Transmit => sends.push(ms),
                ServerOutput::Acknowledged => acknowledged.push(ms),
                ServerOutput::Remember { until } => {
                    ended = Some(((until - epoch).as_millis() as u64, Outcome::Answered));
                }
                ServerOutput::Ended(outcome) => ended = Some((ms, outcome)),
            }
        }
        let due = machine.deadline();
        assert!(
            ended.is_none() || due.is_none(),
            "{name}: a timer is armed after the end"
        );
        match (steps.peek().copied(), due) {
            (Some((ms, step)), due) if due.is_none_or(|due| at(ms) <= due || due < at(asleep_until)) => {
                steps.next();
                now = at(ms);
                match step {
                    Do::Copy => machine.copy(),
                    Do::Ack => machine.ack(now),
                    Do::Respond(status) => {
                        if machine.answer(now, Class::of(status)).is_err() {
                            late.push(ms);
                        }
                    }
                    Do::Wake => machine.timeout(now),
                }
            }
            (_, Some(due)) => {
                assert_ne!(woken_at, Some(due), "{name}: a timer that was due stays armed");
                (now, woken_at) = (due, Some(due));
                machine.timeout(now);
            }
            (_, None) => break,
        }
    }
    assert_eq!(sends, case.sends, "{name}: copies of the response");
    assert_eq!(acknowledged, case.acknowledged, "{name}: ACKs handed on");
    assert_eq!(late, case.late, "{name}: refused answers");
    assert_eq!(ended, Some(case.ends), "{name}: the end");
}
