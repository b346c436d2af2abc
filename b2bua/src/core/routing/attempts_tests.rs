#![expect(clippy::disallowed_methods, reason = "an arbitrary origin of simulated time")]

use super::*;
use crate::core::flow::{Flow, Identity, ListenerId, Transport};
use crate::core::routing::{Exit, Hop, Target};

/// What happens.
enum Event {
    /// The turn of the target has come.
    Start,
    /// A hop sends a response.
    Says(usize, u16),
    /// An attempt fails, which must mean this.
    Fails(usize, u16, Fate),
    /// A hop sends a 2xx, which may be taken or not.
    Takes(usize, bool),
    /// It is late.
    Wake,
    /// The call ends.
    Stop,
}

/// What it is about, of what kind the hops are, how many there are, which of them are broken; then at which millisecond
/// what happens and what is to be done.
type Row<'a> = (&'a str, Way, usize, &'a [usize], Vec<(u64, Event, &'a str)>);

#[test]
fn ways_are_tried_one_after_the_other_until_one_is_there() {
    use Event::{Fails, Says, Start, Stop, Takes, Wake};
    use Fate::{Final, Late, Retried};
    use Way::{Phone, Trunk};
    let first = || (0, Start, "tried 0, invite 0");
    let second = "ill 0, abandon 0, tried 1, invite 1";
    let rows: Vec<Row<'_>> = vec![
        (
            "the first trunk answers",
            Trunk,
            2,
            &[],
            vec![
                first(),
                (1, Says(0, 100), ""),
                (2, Says(0, 180), "well 0"),
                (5000, Takes(0, true), "well 0"),
            ],
        ),
        (
            "a trunk that says nothing for four seconds is given up, and not a moment earlier",
            Trunk,
            2,
            &[],
            vec![first(), (3999, Wake, ""), (4000, Wake, second), (4001, Wake, "")],
        ),
        (
            "a trunk that says 100 has time",
            Trunk,
            2,
            &[],
            vec![first(), (3999, Says(0, 100), ""), (60_000, Wake, "")],
        ),
        (
            "what rings is not tried elsewhere, whatever comes of it",
            Trunk,
            2,
            &[],
            vec![first(), (10, Says(0, 180), "well 0"), (20, Fails(0, 503, Final), "")],
        ),
        (
            "nor is what tells something else before it is answered",
            Trunk,
            2,
            &[],
            vec![first(), (10, Says(0, 183), "well 0"), (20, Fails(0, 500, Final), "")],
        ),
        (
            "what an attempt says that was given up is nothing to us",
            Trunk,
            2,
            &[],
            vec![
                first(),
                (4000, Wake, second),
                (4100, Says(0, 180), ""),
                (4200, Takes(0, false), ""),
                (4300, Fails(0, 603, Late), ""),
                (4400, Takes(1, true), "well 1"),
            ],
        ),
        (
            "when the last one is silent it keeps its chance",
            Trunk,
            1,
            &[],
            vec![
                first(),
                (4000, Wake, "ill 0"),
                (9000, Wake, ""),
                (31_000, Takes(0, true), "well 0"),
            ],
        ),
        (
            "when all are silent the last one decides",
            Trunk,
            2,
            &[],
            vec![
                first(),
                (4000, Wake, second),
                (8000, Wake, "ill 1"),
                (32_000, Fails(0, 408, Late), ""),
                (36_000, Fails(1, 408, Final), ""),
            ],
        ),
        (
            "a broken one comes last",
            Trunk,
            3,
            &[0],
            vec![
                (0, Start, "tried 1, invite 1"),
                (1, Fails(1, 503, Retried), "ill 1, tried 2, invite 2"),
                (2, Fails(2, 503, Retried), "ill 2, tried 0, invite 0"),
                (3, Fails(0, 503, Final), "ill 0"),
            ],
        ),
        (
            "where all are broken they are tried in their order all the same",
            Trunk,
            2,
            &[0, 1],
            vec![first(), (1, Fails(0, 503, Retried), "ill 0, tried 1, invite 1")],
        ),
        (
            "a call that is over goes nowhere",
            Trunk,
            2,
            &[],
            vec![
                first(),
                (1, Stop, ""),
                (4000, Wake, ""),
                (4001, Fails(0, 487, Late), ""),
                (4002, Start, ""),
            ],
        ),
        (
            "a target is begun once",
            Trunk,
            2,
            &[],
            vec![
                first(),
                (1, Start, ""),
                (2, Fails(0, 486, Final), "well 0"),
                (3, Start, ""),
            ],
        ),
        (
            "a phone has time",
            Phone,
            2,
            &[],
            vec![
                (0, Start, "invite 0"),
                (31_000, Wake, ""),
                (32_000, Fails(0, 408, Retried), "invite 1"),
            ],
        ),
    ];
    for (what, way, hops, broken, events) in rows {
        let mut world = World::new(way, hops, broken);
        for (ms, event, expected) in events {
            assert_eq!(world.happens(ms, &event), expected, "{what}: {ms} ms");
        }
    }
}

#[test]
fn what_speaks_of_the_server_leads_to_the_next_and_what_speaks_of_the_callee_does_not() {
    let elsewhere = [408, 430, 500, 501, 502, 503, 504, 505, 513, 599];
    for code in 300..=699 {
        for (way, expected) in [
            (
                Way::Trunk,
                elsewhere.contains(&code) || (500..600).contains(&code) && code != 580,
            ),
            (Way::Phone, [408, 430, 503].contains(&code)),
        ] {
            let mut world = World::new(way, 2, &[]);
            world.happens(0, &Event::Start);
            let fate = if expected { Fate::Retried } else { Fate::Final };
            let done = world.happens(1, &Event::Fails(0, code, fate));
            assert_eq!(done.contains("invite 1"), expected, "{way:?} {code}");
        }
    }
}

/// Whatever comes in whatever order: never two at a time, none twice, and nothing after the end.
#[test]
fn no_two_attempts_are_ever_up() {
    use cusax_common::core::entropy::{Entropy as _, Seeded};
    for seed in 0..2_000 {
        let mut entropy = Seeded::new(seed);
        let mut world = World::new(Way::Trunk, 4, &[1]);
        let (mut now, mut up, mut invited) = (0, Vec::new(), Vec::new());
        world.happens(0, &Event::Start);
        let mut steps = vec!["invite 0".to_owned()];
        for _ in 0..40 {
            for step in steps.drain(..) {
                if let Some(hop) = step.strip_prefix("invite ") {
                    assert!(!invited.contains(&hop.to_owned()), "seed {seed}: twice");
                    invited.push(hop.to_owned());
                }
            }
            let [kind, hop, code, wait] = entropy.bytes::<4>();
            now += u64::from(wait) * 20;
            let turn = Turn {
                target: 0,
                hop: usize::from(hop % 4),
            };
            let code = [100, 180, 183, 408, 430, 486, 500, 503, 580, 603][usize::from(code) % 10];
            let status = Status::new(code).unwrap();
            match kind % 4 {
                0 if world.attempts.handle_success(turn) => up.push(turn.hop),
                0 => {}
                1 => world.attempts.handle_timeout(world.at(now), |turn| turn.hop == 1),
                _ if status.is_final() => {
                    world
                        .attempts
                        .handle_failure(world.at(now), turn, status, |turn| turn.hop == 1);
                }
                _ => world.attempts.handle_provisional(turn, status),
            }
            steps = world.drain().split(", ").map(str::to_owned).collect();
            assert!(up.len() <= 1, "seed {seed}: {up:?} are up");
            if !up.is_empty() {
                assert_eq!(world.attempts.poll_timeout(), None, "seed {seed}");
                assert!(!steps.iter().any(|step| step.starts_with("invite")), "seed {seed}");
            }
        }
    }
}

struct World<'a> {
    attempts: Attempts,
    broken: &'a [usize],
    epoch: Instant,
}

impl<'a> World<'a> {
    fn new(way: Way, hops: usize, broken: &'a [usize]) -> Self {
        let exit = (way == Way::Trunk).then(|| Exit::Trunk {
            name: "carrier".into(),
            impp: false,
            asserted: false,
        });
        let hop = Hop {
            uri: "sip:1@192.0.2.1".parse().unwrap(),
            flow: Flow {
                listener: ListenerId(0),
                transport: Transport::Udp,
                remote: ([192, 0, 2, 1], 5060).into(),
                identity: Identity::NONE,
            },
            path: Vec::new(),
            exit,
        };
        let plan = Plan {
            to: "sip:1@192.0.2.1".parse().unwrap(),
            targets: vec![Target {
                hops: vec![hop; hops],
                q: 1000,
            }],
            number: None,
            emergency: false,
        };
        Self {
            attempts: Attempts::of(&plan),
            broken,
            epoch: Instant::now(),
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.epoch + Duration::from_millis(ms)
    }

    fn happens(&mut self, ms: u64, event: &Event) -> String {
        let (now, target) = (self.at(ms), 0);
        let turn = |hop: usize| Turn { target, hop };
        let status = |code: u16| Status::new(code).unwrap();
        let broken = |turn: Turn| self.broken.contains(&turn.hop);
        match *event {
            Event::Start => self.attempts.start(now, target, broken),
            Event::Says(hop, code) => self.attempts.handle_provisional(turn(hop), status(code)),
            Event::Fails(hop, code, fate) => {
                let found = self.attempts.handle_failure(now, turn(hop), status(code), broken);
                assert_eq!(found, fate, "{ms} ms: {hop} says {code}");
            }
            Event::Takes(hop, taken) => assert_eq!(self.attempts.handle_success(turn(hop)), taken, "{ms} ms"),
            Event::Wake => {
                self.attempts.handle_timeout(now, broken);
                assert!(
                    self.attempts.poll_timeout().is_none_or(|at| at > now),
                    "{ms} ms: never again in the past"
                );
            }
            Event::Stop => self.attempts.stop(),
        }
        self.drain()
    }

    fn drain(&mut self) -> String {
        let steps = std::iter::from_fn(|| self.attempts.poll_output()).map(|step| match step {
            Step::Invite(turn) => format!("invite {}", turn.hop),
            Step::Abandon(turn) => format!("abandon {}", turn.hop),
            Step::Show(turn, sign) => format!("{sign:?} {}", turn.hop).to_lowercase(),
        });
        steps.collect::<Vec<_>>().join(", ")
    }
}
