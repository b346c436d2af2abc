//! Which source speaks for one side of a session, and until when.
//!
//! Phones behind address translation send from another port than they signalled. We learn that port, but only from
//! a source whose IP address we have reason to believe in: the signalled one, or that of the SIP flow. The exact
//! signalled address is believed at once. Any other has to send a run of packets of one stream first, so that a
//! stranger's spray or a single guess changes nothing (see "RTP bleed", rtpengine #1985).
//!
//! # Invariants
//! - Nothing is believed before the first [`aim`](Latch::aim).
//! - After one move the source stays, until the next negotiation.
//! - A side that was seen at its signalled address does not move away from it within the negotiation.

use std::net::{IpAddr, SocketAddr};

use super::Target;

/// The believed source of one side.
#[derive(Clone, Debug, Default)]
pub struct Latch {
    target: Option<Target>,
    /// Where packets come from now, once that is sure.
    rtp: Option<Source>,
    rtcp: Option<SocketAddr>,
    candidate: Option<Candidate>,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Believe it.
    Accept,
    /// Drop and count it.
    Drop,
    /// Believe it, and from now on send to where it came from.
    Moved,
}

impl Latch {
    /// A new negotiation. The source learned so far stays believed until another proves itself, unless the party
    /// now names other addresses.
    pub fn aim(&mut self, target: Target) {
        let same = self
            .target
            .is_some_and(|before| before.rtp == target.rtp && before.rtcp == target.rtcp);
        if !same {
            self.rtp = None;
            self.rtcp = None;
        }
        if let Some(source) = &mut self.rtp {
            source.settled = false;
        }
        self.target = Some(target);
        self.candidate = None;
    }

    /// Where to send RTP: the learned source, else the signalled address. `None`: nowhere.
    #[must_use]
    pub fn rtp(&self) -> Option<SocketAddr> {
        let signalled = self.target?.rtp?;
        Some(self.rtp.map_or(signalled, |source| source.address))
    }

    /// Whether the signalled address is probably not the real one (it is not where SIP came from), and no other was
    /// learned yet.
    #[must_use]
    pub fn doubtful(&self) -> bool {
        self.rtp.is_none()
            && self.target.is_some_and(|target| match (target.rtp, target.also) {
                (Some(signalled), Some(flow)) => signalled.ip() != flow.to_canonical(),
                _ => false,
            })
    }

    /// Where to send RTCP.
    #[must_use]
    pub fn rtcp(&self) -> Option<SocketAddr> {
        let signalled = self.target?.rtcp?;
        Some(self.rtcp.unwrap_or(signalled))
    }

    /// Judges an RTP packet by its source, stream and sequence number.
    pub fn judge(&mut self, from: SocketAddr, ssrc: u32, sequence: u16) -> Verdict {
        let from = canonical(from);
        let Some(target) = self.target else {
            return Verdict::Drop;
        };
        if let Some(source) = &mut self.rtp
            && source.address == from
        {
            source.ssrc = ssrc;
            // Whoever answers for the believed address ends the run of a rival.
            self.candidate = None;
            return Verdict::Accept;
        }
        let settled = self.rtp.is_some_and(|source| source.settled);
        if target.rtp == Some(from) && !settled {
            let moved = self.rtp.is_some();
            self.rtp = Some(Source {
                address: from,
                ssrc,
                settled: true,
            });
            self.candidate = None;
            return if moved { Verdict::Moved } else { Verdict::Accept };
        }
        if settled || !may_speak(&target, from.ip()) {
            return Verdict::Drop;
        }
        let run = match self.candidate {
            Some(Candidate {
                address,
                ssrc: known,
                next,
                run,
            }) if address == from && known == ssrc && sequence.wrapping_sub(next) <= MAX_GAP => run + 1,
            _ => 1,
        };
        if run < RUN {
            self.candidate = Some(Candidate {
                address: from,
                ssrc,
                next: sequence.wrapping_add(1),
                run,
            });
            return Verdict::Drop;
        }
        self.candidate = None;
        self.rtp = Some(Source {
            address: from,
            ssrc,
            settled: true,
        });
        self.rtcp = None;
        Verdict::Moved
    }

    /// Judges an RTCP compound. Another port than the signalled one is learned once, from the address that RTP comes
    /// from, for the stream that comes from there: compounds are too rare to wait for a run of them.
    pub fn judge_rtcp(&mut self, from: SocketAddr, ssrc: u32) -> Verdict {
        let from = canonical(from);
        let Some(target) = self.target else {
            return Verdict::Drop;
        };
        if let Some(learned) = self.rtcp {
            return if learned == from {
                Verdict::Accept
            } else {
                Verdict::Drop
            };
        }
        if target.rtcp == Some(from) {
            self.rtcp = Some(from);
            return Verdict::Accept;
        }
        match self.rtp {
            Some(source) if source.address.ip() == from.ip() && source.ssrc == ssrc => {
                self.rtcp = Some(from);
                Verdict::Moved
            }
            _ => Verdict::Drop,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Source {
    address: SocketAddr,
    /// Stream last seen from there.
    ssrc: u32,
    /// Whether this negotiation has made its choice.
    settled: bool,
}

/// A source that has not yet sent enough.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    address: SocketAddr,
    ssrc: u32,
    next: u16,
    run: u8,
}

fn may_speak(target: &Target, address: IpAddr) -> bool {
    target.rtp.is_some_and(|signalled| signalled.ip() == address)
        || target.also.is_some_and(|flow| flow.to_canonical() == address)
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Packets in sequence from one source before it is believed.
pub const RUN: u8 = 8;
/// Packets that may be missing between two of a run.
const MAX_GAP: u16 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNALLED: &str = "192.0.2.10:20000";
    const FLOW: &str = "198.51.100.9";

    #[test]
    fn sources_are_learned_as_told() {
        use Verdict::{Accept, Drop, Moved};
        /// (source, stream, sequence numbers, what the last one gets; all before it get Drop unless it is Accept)
        type Row<'a> = (&'a str, u32, std::ops::Range<u16>, Verdict);
        let rows: &[(&str, &[Row<'_>], &str)] = &[
            (
                "the signalled address at once",
                &[(SIGNALLED, 1, 5..6, Accept)],
                SIGNALLED,
            ),
            ("seven are not enough", &[("192.0.2.10:777", 1, 0..7, Drop)], SIGNALLED),
            ("eight are", &[("192.0.2.10:777", 1, 0..8, Moved)], "192.0.2.10:777"),
            (
                "the SIP flow's address may speak",
                &[("198.51.100.9:5", 1, 0..8, Moved)],
                "198.51.100.9:5",
            ),
            (
                "a third host never",
                &[("203.0.113.66:20000", 1, 0..500, Drop)],
                SIGNALLED,
            ),
            (
                "not in sequence",
                &[("192.0.2.10:7", 1, 0..4, Drop), ("192.0.2.10:7", 1, 100..107, Drop)],
                SIGNALLED,
            ),
            (
                "not one stream",
                &[("192.0.2.10:7", 1, 0..7, Drop), ("192.0.2.10:7", 2, 7..14, Drop)],
                SIGNALLED,
            ),
            (
                "two ports take turns",
                &[("192.0.2.10:7", 1, 0..7, Drop), ("192.0.2.10:8", 1, 7..14, Drop)],
                SIGNALLED,
            ),
            (
                "one move only",
                &[
                    ("192.0.2.10:7", 1, 0..8, Moved),
                    ("192.0.2.10:9", 1, 8..99, Drop),
                    (SIGNALLED, 1, 99..100, Drop),
                ],
                "192.0.2.10:7",
            ),
            (
                "no move away from the signalled address",
                &[(SIGNALLED, 1, 0..9, Accept), ("192.0.2.10:9", 1, 9..99, Drop)],
                SIGNALLED,
            ),
        ];
        for (name, packets, end) in rows {
            let mut latch = Latch::default();
            assert_eq!(
                latch.judge(address(SIGNALLED), 1, 0),
                Drop,
                "{name}: nothing before the aim"
            );
            latch.aim(target());
            for (from, ssrc, sequence, last) in *packets {
                let until = sequence.end;
                for number in sequence.clone() {
                    let expected = if number + 1 == until || *last == Accept {
                        *last
                    } else {
                        Drop
                    };
                    assert_eq!(
                        latch.judge(address(from), *ssrc, number),
                        expected,
                        "{name}: packet {number}"
                    );
                }
            }
            assert_eq!(latch.rtp(), Some(address(end)), "{name}");
        }
    }

    #[test]
    fn a_run_goes_on_over_the_wrap_and_small_losses() {
        let mut latch = Latch::default();
        latch.aim(target());
        let verdicts = [65530u16, 65531, 65533, 65534, 65535, 0, 1, 3]
            .map(|sequence| latch.judge(address("192.0.2.10:7"), 1, sequence));
        assert_eq!(verdicts.last(), Some(&Verdict::Moved));
    }

    #[test]
    fn a_new_negotiation_gives_one_more_move() {
        let mut latch = Latch::default();
        latch.aim(target());
        (0..8).for_each(|sequence| _ = latch.judge(address("192.0.2.10:7"), 1, sequence));
        latch.aim(target());
        assert_eq!(
            latch.rtp(),
            Some(address("192.0.2.10:7")),
            "the same address keeps what was learned"
        );
        assert_eq!(latch.judge(address("192.0.2.10:7"), 1, 8), Verdict::Accept);
        (0..8).for_each(|sequence| _ = latch.judge(address("192.0.2.10:9"), 2, sequence));
        assert_eq!(latch.rtp(), Some(address("192.0.2.10:9")));
        latch.aim(Target {
            rtp: Some(address("192.0.2.11:5000")),
            ..target()
        });
        assert_eq!(
            latch.rtp(),
            Some(address("192.0.2.11:5000")),
            "another address forgets it"
        );
        latch.aim(Target {
            rtp: None,
            rtcp: None,
            also: None,
        });
        assert_eq!((latch.rtp(), latch.rtcp()), (None, None), "hold");
    }

    #[test]
    fn control_packets_follow_the_stream() {
        let (exact, other) = (address("192.0.2.10:20001"), address("192.0.2.10:7778"));
        let mut latch = Latch::default();
        assert_eq!(latch.judge_rtcp(exact, 1), Verdict::Drop, "nothing before the aim");
        latch.aim(target());
        assert_eq!(latch.judge_rtcp(other, 1), Verdict::Drop, "no stream from there yet");
        (0..8).for_each(|sequence| _ = latch.judge(address("192.0.2.10:7777"), 1, sequence));
        assert_eq!(latch.judge_rtcp(other, 2), Verdict::Drop, "another stream");
        assert_eq!(
            latch.judge_rtcp(address("203.0.113.66:7778"), 1),
            Verdict::Drop,
            "another host"
        );
        assert_eq!(latch.judge_rtcp(other, 1), Verdict::Moved);
        assert_eq!(latch.rtcp(), Some(other));
        assert_eq!(latch.judge_rtcp(exact, 1), Verdict::Drop, "one move only");
        latch = Latch::default();
        latch.aim(target());
        assert_eq!(latch.judge_rtcp(exact, 9), Verdict::Accept);
    }

    fn target() -> Target {
        Target {
            rtp: Some(address(SIGNALLED)),
            rtcp: Some(address("192.0.2.10:20001")),
            also: Some(FLOW.parse().unwrap()),
        }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }
}
