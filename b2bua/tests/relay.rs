#![expect(
    clippy::disallowed_methods,
    reason = "the rhythm of a tone is measured against the real clock"
)]
//! The relay with real sockets, each test on loopback addresses of its own. Every wait is for a packet or an event.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use cusax_b2bua::core::media::latch::RUN;
use cusax_b2bua::core::media::tone::{PACKET_TIME, SAMPLES, from_a_law, from_mu_law, share_at};
use cusax_b2bua::core::media::{
    Law, MediaCommand, MediaEvent, MediaId, MediaStats, PlayCodec, Refusal, Side, Target, Tone,
};
use cusax_b2bua::io::relay::{Relay, RelayConfig, RelayError};

#[test]
fn both_parties_hear_each_other_and_never_see_each_other() {
    let world = World::new(1, 8);
    let call = world.open(1);
    call.aim_both(&world);
    let (alice, bob) = (&call.caller, &call.callee);
    // DTMF (payload type 101) crosses like any other packet.
    for (sequence, payload) in [(10, 0), (11, 101), (12, 0)] {
        alice.say(call.to_caller, 1, sequence, payload);
        bob.hears(call.to_callee, &packet(1, sequence, payload));
        bob.say(call.to_callee, 2, sequence, payload);
        alice.hears(call.to_caller, &packet(2, sequence, payload));
    }
    let description = report_with_name(1, b"alice@127.77.1.2");
    alice.rtcp.send_to(&description, above(call.to_caller)).unwrap();
    let (heard, from) = receive(&bob.rtcp);
    assert_eq!((heard.len(), from), (description.len(), above(call.to_callee)));
    assert!(
        !heard.windows(5).any(|window| window == b"alice" || window == b"127.7"),
        "{heard:?}"
    );

    let stats = world.close(1);
    for side in Side::BOTH {
        let side = stats.side(side);
        assert_eq!(
            (side.received, side.sent, side.moved, side.dropped.total()),
            (3, 3, 0, 0)
        );
        assert_eq!(side.received_octets, 3 * packet(0, 0, 0).len() as u64);
    }
    assert_eq!((stats.caller.rtcp_received, stats.callee.rtcp_received), (1, 0));
}

#[test]
fn a_stranger_hears_nothing_and_says_nothing() {
    let world = World::new(2, 8);
    let call = world.open(1);
    let stranger = Phone::new("127.77.2.66");
    // Before, during and after the beginning of the call, with the right stream and numbers, at every port.
    let spray = || {
        for port in [call.to_caller, call.to_callee] {
            for sequence in 0..u16::from(RUN) * 4 {
                stranger.say(port, 1, sequence, 0);
            }
            stranger.rtp.send_to(&report_with_name(1, b"x"), above(port)).unwrap();
            for length in 0..8 {
                stranger
                    .rtp
                    .send_to(&[0x80, 201, 0, 1, 0, 0, 0, 1][..length], above(port))
                    .unwrap();
            }
        }
    };
    spray();
    call.aim_both(&world);
    spray();
    for sequence in 0..20 {
        call.caller.say(call.to_caller, 1, sequence, 0);
        call.callee.hears(call.to_callee, &packet(1, sequence, 0));
        call.callee.say(call.to_callee, 2, sequence, 0);
        call.caller.hears(call.to_caller, &packet(2, sequence, 0));
        spray();
    }
    // One more exchange: what the stranger sent before it would have come before it.
    call.caller.say(call.to_caller, 1, 20, 0);
    call.callee.hears(call.to_callee, &packet(1, 20, 0));
    stranger.heard_nothing();
    let stats = world.close(1);
    assert_eq!((stats.caller.received, stats.callee.received), (21, 20));
    assert!(stats.caller.dropped.source > u64::from(RUN) * 20, "{stats:?}");
    assert!(stats.caller.dropped.malformed > 0, "{stats:?}");
    assert_eq!((stats.caller.moved, stats.callee.moved), (0, 0));
}

#[test]
fn another_port_is_learned_after_a_run_and_only_once() {
    let world = World::new(3, 8);
    let call = world.open(1);
    call.aim_both(&world);
    let nat = Phone::new("127.77.3.2");
    for sequence in 0..u16::from(RUN) {
        nat.say(call.to_caller, 1, sequence, 0);
    }
    // Only the last one of the run was believed.
    call.callee.hears(call.to_callee, &packet(1, u16::from(RUN) - 1, 0));
    call.callee.say(call.to_callee, 2, 0, 0);
    nat.hears(call.to_caller, &packet(2, 0, 0));
    let rival = Phone::new("127.77.3.2");
    for sequence in 0..u16::from(RUN) * 2 {
        rival.say(call.to_caller, 1, sequence, 0);
    }
    nat.say(call.to_caller, 1, 99, 0);
    call.callee.hears(call.to_callee, &packet(1, 99, 0));
    rival.heard_nothing();
    // RTCP follows: same address, same stream, whatever port.
    nat.rtcp
        .send_to(&report_with_name(1, b"name"), above(call.to_caller))
        .unwrap();
    receive(&call.callee.rtcp);
    let stats = world.close(1);
    assert_eq!((stats.caller.moved, stats.caller.received), (1, 2));
    assert_eq!(stats.caller.dropped.source, u64::from(RUN) - 1 + u64::from(RUN) * 2);
}

#[test]
fn a_tone_is_heard_in_its_rhythm_then_silence_then_the_callee() {
    for (number, law) in [(4, Law::Mu), (5, Law::A)] {
        let world = World::new(number, 8);
        let call = world.open(1);
        // As in a warned call: the callee is not aimed yet.
        world.aim(1, Side::Caller, &call.caller);
        let tone = Tone {
            frequency: 523,
            ..Tone::default()
        };
        let began = Instant::now();
        world.submit(MediaCommand::Play {
            id: MediaId(1),
            side: Side::Caller,
            tone,
            codec: PlayCodec { law, payload: 96 },
        });
        let packets = tone.length().as_millis() as usize / PACKET_TIME.as_millis() as usize;
        let (mut samples, mut next) = (Vec::new(), None);
        for number in 0..packets + 10 {
            let (heard, from) = receive(&call.caller.rtp);
            assert_eq!((from, heard.len()), (call.to_caller, 12 + SAMPLES));
            assert_eq!(
                heard[1],
                if number == 0 { 0x80 | 96 } else { 96 },
                "marker and payload type of {number}"
            );
            let sequence = u16::from_be_bytes([heard[2], heard[3]]);
            assert!(next.is_none_or(|next| next == sequence), "packet {number}");
            next = Some(sequence.wrapping_add(1));
            samples.extend(heard[12..].iter().map(|&octet| match law {
                Law::A => from_a_law(octet),
                Law::Mu => from_mu_law(octet),
            }));
        }
        let took = began.elapsed();
        assert!(
            took >= PACKET_TIME * (packets as u32 + 9),
            "paced, not poured: {took:?}"
        );
        assert_eq!(
            world.event(),
            MediaEvent::Played {
                id: MediaId(1),
                side: Side::Caller
            }
        );
        let (on, period) = (200 * 8, 400 * 8);
        for burst in 0..usize::from(tone.repetitions) {
            let share = share_at(&samples[burst * period + 20..burst * period + on - 20], 523.0);
            assert!(share > 0.95, "burst {burst}: {share}");
            assert!(
                samples[burst * period + on..(burst + 1) * period]
                    .iter()
                    .all(|sample| sample.abs() <= 8)
            );
        }
        // The callee answers: its first packet ends the silence.
        world.aim(1, Side::Callee, &call.callee);
        call.callee.say(call.to_callee, 2, 7, 0);
        let expected = packet(2, 7, 0);
        while receive(&call.caller.rtp).0 != expected {}
        call.callee.say(call.to_callee, 2, 8, 0);
        call.caller.hears(call.to_caller, &packet(2, 8, 0));
        let stats = world.close(1);
        assert!(stats.caller.sent as usize >= packets + 12, "{stats:?}");
    }
}

#[test]
fn the_callee_is_withheld_while_the_tone_plays_and_stop_ends_it() {
    let world = World::new(6, 8);
    let call = world.open(1);
    call.aim_both(&world);
    let codec = PlayCodec {
        law: Law::Mu,
        payload: 0,
    };
    let tone = Tone {
        on: Duration::from_secs(50),
        ..Tone::default()
    };
    world.submit(MediaCommand::Play {
        id: MediaId(1),
        side: Side::Caller,
        tone,
        codec,
    });
    receive(&call.caller.rtp);
    call.callee.say(call.to_callee, 2, 1, 0);
    // The other direction goes on.
    call.caller.say(call.to_caller, 1, 1, 0);
    call.callee.hears(call.to_callee, &packet(1, 1, 0));
    world.submit(MediaCommand::Stop {
        id: MediaId(1),
        side: Side::Caller,
    });
    // Commands are obeyed in order, so this refusal tells that the tone has stopped.
    world.submit(MediaCommand::Open {
        id: MediaId(1),
        caller: world.address,
        callee: world.address,
    });
    assert_eq!(
        world.event(),
        MediaEvent::Refused {
            id: MediaId(1),
            why: Refusal::Duplicate
        }
    );
    call.callee.say(call.to_callee, 2, 2, 0);
    let expected = packet(2, 2, 0);
    loop {
        let (heard, _) = receive(&call.caller.rtp);
        assert_ne!(heard, packet(2, 1, 0), "withheld");
        if heard == expected {
            break;
        }
    }
    assert_eq!(world.close(1).callee.dropped.toned, 1);
}

#[test]
fn ports_run_out_rest_and_come_back() {
    let pairs = 4;
    let world = World::new(7, pairs);
    let mut used = HashSet::new();
    for id in 0..u64::from(pairs / 2) {
        let call = world.open(id);
        for address in [call.to_caller, call.to_callee] {
            assert_eq!(address.port() % 2, 0);
            assert!((BASE..BASE + pairs * 2).contains(&address.port()), "{address}");
            assert!(used.insert(address.port()), "shared with a live call");
        }
    }
    for id in 100..150 {
        assert_eq!(world.try_open(id), Err(Refusal::Exhausted));
    }
    let closed = Instant::now();
    world.close(0);
    // Refused until the pairs have rested, then served: asked again on each refusal.
    let mut refused = 0;
    let mut id = 1000;
    while world.try_open(id) == Err(Refusal::Exhausted) {
        assert!(closed.elapsed() < PATIENCE, "never came back");
        (refused, id) = (refused + 1, id + 1);
    }
    assert!(
        refused > 0 && closed.elapsed() >= REST,
        "{refused} refusals, {:?}",
        closed.elapsed()
    );
    world.close(1);
}

#[test]
fn wrong_addresses_are_refused_and_nothing_is_sent_to_them() {
    let world = World::new(8, 8);
    let elsewhere: IpAddr = "127.77.99.99".parse().unwrap();
    world.submit(MediaCommand::Open {
        id: MediaId(5),
        caller: world.address,
        callee: elsewhere,
    });
    assert_eq!(
        world.event(),
        MediaEvent::Refused {
            id: MediaId(5),
            why: Refusal::Address
        }
    );
    // Commands for what does not exist do nothing.
    world.submit(MediaCommand::Close { id: MediaId(77) });
    world.submit(MediaCommand::Stop {
        id: MediaId(77),
        side: Side::Caller,
    });
    // Not within the allowed networks: a second lock behind the reader of descriptions.
    let call = world.open(1);
    let outside = Phone::new("127.78.0.1");
    world.aim(1, Side::Caller, &outside);
    world.aim(1, Side::Callee, &call.callee);
    call.callee.say(call.to_callee, 2, 1, 0);
    world.submit(MediaCommand::Open {
        id: MediaId(1),
        caller: world.address,
        callee: world.address,
    });
    assert_eq!(
        world.event(),
        MediaEvent::Refused {
            id: MediaId(1),
            why: Refusal::Duplicate
        }
    );
    outside.heard_nothing();
    let stats = world.close(1);
    assert_eq!(
        (stats.caller.sent, stats.callee.dropped.unaimed),
        (0, stats.callee.received)
    );
    let none = Relay::start(RelayConfig::new(Vec::new()), |_| {});
    assert!(matches!(none, Err(RelayError::Nothing("address"))));
}

#[test]
fn shutdown_closes_what_is_open_on_every_worker() {
    let mut world = World::with_workers(9, 16, 3);
    for id in 0..6 {
        world.open(id);
    }
    let relay = world.relay.take().unwrap();
    relay.shutdown();
    let mut closed: Vec<_> = (0..6)
        .map(|_| match world.event() {
            MediaEvent::Closed { id, .. } => id.0,
            other => panic!("{other:?}"),
        })
        .collect();
    closed.sort_unstable();
    assert_eq!(closed, [0, 1, 2, 3, 4, 5]);
}

/// A relay on an address of its own, and what it said.
struct World {
    relay: Option<Relay>,
    events: Receiver<MediaEvent>,
    address: IpAddr,
    number: u8,
}

impl World {
    fn new(number: u8, pairs: u16) -> Self {
        Self::with_workers(number, pairs, 1)
    }

    fn with_workers(number: u8, pairs: u16, workers: usize) -> Self {
        let address: IpAddr = format!("127.77.{number}.1").parse().expect("an address");
        let (sender, events) = channel();
        let config = RelayConfig {
            port_min: BASE,
            port_max: BASE + pairs * 2 - 1,
            drain: REST,
            workers,
            allow_networks: vec!["127.77.0.0/16".parse().expect("an address")],
            ..RelayConfig::new(vec![address])
        };
        let relay = Relay::start(config, move |event| _ = sender.send(event)).expect("a relay");
        Self {
            relay: Some(relay),
            events,
            address,
            number,
        }
    }

    fn submit(&self, command: MediaCommand) {
        self.relay.as_ref().expect("not shut down").submit(command);
    }

    fn event(&self) -> MediaEvent {
        self.events.recv_timeout(PATIENCE).expect("an event")
    }

    fn try_open(&self, id: u64) -> Result<(SocketAddr, SocketAddr), Refusal> {
        self.submit(MediaCommand::Open {
            id: MediaId(id),
            caller: self.address,
            callee: self.address,
        });
        match self.event() {
            MediaEvent::Opened {
                id: opened,
                caller,
                callee,
            } if opened == MediaId(id) => Ok((caller, callee)),
            MediaEvent::Refused { why, .. } => Err(why),
            other => panic!("{other:?}"),
        }
    }

    fn open(&self, id: u64) -> Call {
        let (to_caller, to_callee) = self.try_open(id).expect("ports");
        let caller = Phone::new(&format!("127.77.{}.2", self.number));
        let callee = Phone::new(&format!("127.77.{}.3", self.number));
        Call {
            id,
            to_caller,
            to_callee,
            caller,
            callee,
        }
    }

    fn aim(&self, id: u64, side: Side, phone: &Phone) {
        let target = Target {
            rtp: Some(phone.rtp.local_addr().expect("bound")),
            rtcp: Some(phone.rtcp.local_addr().expect("bound")),
            also: None,
        };
        self.submit(MediaCommand::Aim {
            id: MediaId(id),
            side,
            target,
        });
        // Obeyed in order: the refusal tells that the aim was taken.
        self.submit(MediaCommand::Open {
            id: MediaId(id),
            caller: self.address,
            callee: self.address,
        });
        loop {
            match self.event() {
                MediaEvent::Refused {
                    why: Refusal::Duplicate,
                    ..
                } => return,
                MediaEvent::Played { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn close(&self, id: u64) -> MediaStats {
        self.submit(MediaCommand::Close { id: MediaId(id) });
        match self.event() {
            MediaEvent::Closed { id: closed, stats } if closed == MediaId(id) => stats,
            other => panic!("{other:?}"),
        }
    }
}

struct Call {
    id: u64,
    to_caller: SocketAddr,
    to_callee: SocketAddr,
    caller: Phone,
    callee: Phone,
}

impl Call {
    fn aim_both(&self, world: &World) {
        world.aim(self.id, Side::Caller, &self.caller);
        world.aim(self.id, Side::Callee, &self.callee);
    }
}

struct Phone {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

impl Phone {
    fn new(address: &str) -> Self {
        let bind = || {
            let socket = UdpSocket::bind((address, 0)).expect("a port");
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            socket
        };
        Self {
            rtp: bind(),
            rtcp: bind(),
        }
    }

    fn say(&self, to: SocketAddr, ssrc: u8, sequence: u16, payload: u8) {
        self.rtp.send_to(&packet(ssrc, sequence, payload), to).expect("sent");
    }

    #[track_caller]
    fn hears(&self, from: SocketAddr, expected: &[u8]) {
        let (heard, source) = receive(&self.rtp);
        assert_eq!((heard.as_slice(), source), (expected, from));
    }

    #[track_caller]
    fn heard_nothing(&self) {
        for socket in [&self.rtp, &self.rtcp] {
            socket.set_nonblocking(true).expect("a mode");
            assert_eq!(
                socket.recv(&mut [0; 2048]).expect_err("nothing").kind(),
                ErrorKind::WouldBlock
            );
        }
    }
}

#[track_caller]
fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (length, from) = socket.recv_from(&mut buffer).expect("a packet");
    (buffer[..length].to_vec(), from)
}

fn packet(ssrc: u8, sequence: u16, payload: u8) -> Vec<u8> {
    let [high, low] = sequence.to_be_bytes();
    [
        &[0x80, payload, high, low, 0, 0, 0, low, 0, 0, 0, ssrc][..],
        &[high ^ low; SAMPLES],
    ]
    .concat()
}

/// An empty receiver report and a canonical name.
fn report_with_name(ssrc: u8, name: &[u8]) -> Vec<u8> {
    let mut chunk = [&[0, 0, 0, ssrc, 1, name.len() as u8][..], name].concat();
    chunk.resize((chunk.len() / 4 + 1) * 4, 0);
    [
        &[0x80, 201, 0, 1, 0, 0, 0, ssrc][..],
        &[0x81, 202, 0, (chunk.len() / 4) as u8],
        &chunk,
    ]
    .concat()
}

fn above(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port() + 1)
}

/// Each relay has its own address, so all may use the same ports.
const BASE: u16 = 42_000;
/// How long a pair of ports rests.
const REST: Duration = Duration::from_millis(300);
/// When to give up waiting for what must come.
const PATIENCE: Duration = Duration::from_secs(10);
