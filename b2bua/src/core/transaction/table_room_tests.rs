//! How many calls there is room for: at a thousandth of the rate, with a thousandth of the room.

use super::super::super::output::{MAX_ACCEPTED, MAX_CLIENTS, MAX_SERVERS};
use super::*;

/// What is asked for, and how long it is remembered.
const CALLS_PER_SECOND: usize = 10_000;
const SECONDS: usize = 32;
const SCALE: usize = 1000;

/// A table that hears of calls one after another: an INVITE comes and is answered, one goes and is answered, a BYE comes.
struct Office {
    table: Transactions,
    now: Instant,
    calls: u32,
    ended: usize,
}

impl Office {
    fn new(limits: Limits) -> Self {
        Self {
            table: Transactions::new(limits, &[7; 32]),
            now: Instant::now(),
            calls: 0,
            ended: 0,
        }
    }

    /// Tells what was refused.
    fn call(&mut self) -> Vec<String> {
        self.calls += 1;
        let (mut refused, number) = (Vec::new(), self.calls);
        self.say(
            request("INVITE", &format!("z9hG4bKi{number}"), "", number).into(),
            &mut refused,
        );
        let invite = request("INVITE", &format!("z9hG4bKo{number}"), "", number);
        self.table.send(self.now, udp(), invite.clone());
        self.drain(&mut refused);
        self.say(reply(&invite, 180, "b").into(), &mut refused);
        self.say(reply(&invite, 200, "b").into(), &mut refused);
        self.say(
            request("ACK", &format!("z9hG4bKa{number}"), "b", number).into(),
            &mut refused,
        );
        self.say(
            request("BYE", &format!("z9hG4bKb{number}"), "b", number + 1).into(),
            &mut refused,
        );
        refused
    }

    fn say(&mut self, message: Message, refused: &mut Vec<String>) {
        self.table.handle_message(self.now, udp(), message);
        self.drain(refused);
    }

    fn drain(&mut self, refused: &mut Vec<String>) {
        while let Some(output) = self.table.poll_output() {
            match output {
                Output::Request { server, request, .. } => {
                    let answer = reply(&request, 200, "b");
                    self.table.respond(self.now, server, &answer).expect("it is open");
                }
                Output::Failed { why, .. } => refused.push(format!("{why:?}")),
                Output::Refused { request, why, .. } => refused.push(format!("{} {}", request.method, why.status())),
                Output::Ended { .. } => self.ended += 1,
                _ => {}
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.table.handle_timeout(self.now);
        self.drain(&mut Vec::new());
    }
}

/// Nothing is forgotten early at that rate. The table of requests of ours was full of answered INVITEs at a fifth of it.
#[test]
fn there_is_room_for_ten_thousand_calls_a_second() {
    let mut office = Office::new(Limits {
        clients: MAX_CLIENTS / SCALE,
        accepted: MAX_ACCEPTED / SCALE,
        servers: MAX_SERVERS / SCALE,
    });
    for number in 0..3 * SECONDS * CALLS_PER_SECOND / SCALE {
        assert_eq!(office.call(), <[String; 0]>::default(), "call {number}");
        office.pass(Duration::from_secs(1) * SCALE as u32 / CALLS_PER_SECOND as u32);
    }
    // The oldest has just gone.
    let each = SECONDS * CALLS_PER_SECOND / SCALE - 1;
    assert_eq!(office.table.live(), (each, 2 * each));
    assert!(office.table.is_sound());
    office.pass(Duration::from_secs(40));
    assert_eq!(office.table.live(), (0, 0));
    // Of each call there were two INVITEs and a BYE.
    assert_eq!(office.ended, 3 * office.calls as usize);
}

/// When there are more, the oldest are forgotten, and no call is refused.
#[test]
fn a_crowd_pushes_out_what_was_answered_first() {
    let limits = Limits {
        clients: 4,
        accepted: 20,
        servers: 30,
    };
    let mut office = Office::new(limits);
    for number in 0..200 {
        assert_eq!(office.call(), <[String; 0]>::default(), "call {number}");
        let (clients, servers) = office.table.live();
        assert!(clients <= limits.clients + limits.accepted && servers <= limits.servers);
        assert!(office.table.is_sound());
        office.pass(Duration::from_millis(10));
    }
    assert_eq!(office.table.live(), (limits.accepted, limits.servers));
    // The last ones are known, and each end was told.
    let told = office.table.counters();
    for (number, is_known) in [(200, true), (181, true), (180, false), (1, false)] {
        let invite = request("INVITE", &format!("z9hG4bKo{number}"), "", number);
        let mut delivered = 0;
        office
            .table
            .handle_message(office.now, udp(), reply(&invite, 200, "b").into());
        while let Some(output) = office.table.poll_output() {
            delivered += usize::from(matches!(output, Output::Response { .. }));
        }
        assert_eq!(delivered == 1, is_known, "{number}");
    }
    assert_eq!(office.table.counters().stray_responses, told.stray_responses + 2);
    assert_eq!(office.ended, 3 * 200 - limits.accepted - limits.servers);
}

/// What waits for an answer or an ACK is never forgotten for others.
#[test]
fn what_is_under_way_is_not_pushed_out() {
    let mut office = Office::new(Limits {
        clients: 4,
        accepted: 4,
        servers: 2,
    });
    for number in 0..2 {
        let request = request("INVITE", &format!("z9hG4bKi{number}"), "", number);
        office.say(request.into(), &mut Vec::new());
    }
    let mut refused = Vec::new();
    office.say(request("OPTIONS", "z9hG4bKo", "", 9).into(), &mut refused);
    assert_eq!(refused, ["OPTIONS 503"], "neither 2xx was acknowledged");
    office.say(request("ACK", "z9hG4bKa", "b", 1).into(), &mut refused);
    office.say(request("OPTIONS", "z9hG4bKp", "", 10).into(), &mut refused);
    assert_eq!((refused.len(), office.table.live()), (1, (0, 2)));
}

/// What is forgotten for want of room is what would be forgotten next, an acknowledged INVITE or another answer.
#[test]
fn what_would_be_forgotten_next_is_forgotten_first() {
    for (first, second) in [("INVITE", "OPTIONS"), ("OPTIONS", "INVITE")] {
        let mut world = World::limited(Limits {
            servers: 2,
            ..Limits::default()
        });
        for (second_later, method) in (0..).zip([first, second]) {
            world.until(second_later * 1000);
            let asked = request(method, &format!("z9hG4bK{method}"), "", 1);
            world.take(udp(), asked.clone());
            world.respond(&reply(&asked, 200, "b")).unwrap();
            if method == "INVITE" {
                world.take(udp(), request("ACK", "z9hG4bKack", "b", 1));
            }
        }
        world.until(2000);
        world.take(udp(), request("INFO", "z9hG4bKnew", "", 9));
        world.seen.clear();
        let copies = world.table.counters().copies;
        for (method, is_known) in [(second, true), (first, false)] {
            let known = world.table.knows(&request(method, &format!("z9hG4bK{method}"), "", 1));
            assert_eq!(known, is_known, "{method} of {first}, {second}");
        }
        assert_eq!(world.table.counters().copies, copies);
    }
}
