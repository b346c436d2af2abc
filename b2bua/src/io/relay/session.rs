//! One session: two sides, each with two sockets and what it believes.

use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};

use super::player::Playing;
use crate::core::media::latch::{Latch, Verdict};
use crate::core::media::{MediaId, MediaStats, Side, rtcp, rtp};

/// The media of one call.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: MediaId,
    pub(super) stats: MediaStats,
    sides: [Leg; 2],
    /// Replaces the canonical names of RTCP, one for each direction.
    masks: [[u8; 16]; 2],
}

/// One side of it.
#[derive(Debug)]
pub(super) struct Leg {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    pub(super) local: SocketAddr,
    pub(super) latch: Latch,
    pub(super) playing: Option<Playing>,
}

impl Leg {
    /// Binds a pair. The caller registers it.
    pub(super) fn bind(address: IpAddr, port: u16) -> io::Result<Self> {
        let local = SocketAddr::new(address, port);
        let rtp = UdpSocket::bind(local)?;
        let rtcp = UdpSocket::bind(SocketAddr::new(address, port + 1))?;
        Ok(Self {
            rtp,
            rtcp,
            local,
            latch: Latch::default(),
            playing: None,
        })
    }
}

impl Session {
    pub(super) fn new(id: MediaId, caller: Leg, callee: Leg, masks: [[u8; 16]; 2]) -> Self {
        Self {
            id,
            stats: MediaStats::default(),
            sides: [caller, callee],
            masks,
        }
    }

    /// Asks for the readiness of all four sockets. `first` and the three tokens after it name them.
    pub(super) fn register(&mut self, registry: &Registry, first: usize) -> io::Result<()> {
        let sockets = self.sides.iter_mut().flat_map(|leg| [&mut leg.rtp, &mut leg.rtcp]);
        for (socket, token) in sockets.zip(first..) {
            registry.register(socket, Token(token), Interest::READABLE)?;
        }
        Ok(())
    }

    pub(super) fn leg(&self, side: Side) -> &Leg {
        &self.sides[side as usize]
    }

    pub(super) fn leg_mut(&mut self, side: Side) -> &mut Leg {
        &mut self.sides[side as usize]
    }

    /// Reads one packet from socket number `socket` of the session and passes it on. `false`: there was none.
    pub(super) fn receive(&mut self, socket: usize, buffer: &mut [u8]) -> bool {
        let side = Side::BOTH[socket / 2];
        let control = socket % 2 == 1;
        let leg = self.leg(side);
        let (length, from) = match (if control { &leg.rtcp } else { &leg.rtp }).recv_from(buffer) {
            Ok(received) => received,
            Err(error) => return error.kind() == io::ErrorKind::Interrupted,
        };
        let packet = &mut buffer[..length];
        if control {
            self.control(side, from, packet);
        } else {
            self.voice(side, from, packet);
        }
        true
    }

    fn voice(&mut self, side: Side, from: SocketAddr, packet: &[u8]) {
        let (stats, [leg, across]) = self.split(side);
        let (here, there) = stats;
        let Some(header) = rtp::read(packet) else {
            here.dropped.malformed += 1;
            return;
        };
        match leg.latch.judge(from, header.ssrc, header.sequence) {
            Verdict::Accept => {}
            Verdict::Moved => here.moved += 1,
            Verdict::Drop => {
                here.dropped.source += 1;
                return;
            }
        }
        here.received += 1;
        here.received_octets += packet.len() as u64;
        let Some(to) = across.latch.rtp() else {
            here.dropped.unaimed += 1;
            return;
        };
        match &across.playing {
            Some(playing) if !playing.played() => {
                here.dropped.toned += 1;
                return;
            }
            // The tone is over: from now on this party is heard instead of silence.
            Some(_) => across.playing = None,
            None => {}
        }
        match across.rtp.send_to(packet, to) {
            Ok(_) => {
                there.sent += 1;
                there.sent_octets += packet.len() as u64;
            }
            Err(_) => here.dropped.unsent += 1,
        }
    }

    fn control(&mut self, side: Side, from: SocketAddr, compound: &mut [u8]) {
        let mask = self.masks[side as usize];
        let ((here, _), [leg, across]) = self.split(side);
        let Some(ssrc) = rtcp::check_and_mask(compound, &mask) else {
            here.dropped.malformed += 1;
            return;
        };
        if leg.latch.judge_rtcp(from, ssrc) == Verdict::Drop {
            here.dropped.source += 1;
            return;
        }
        let Some(to) = across.latch.rtcp() else {
            here.dropped.unaimed += 1;
            return;
        };
        if across.playing.is_some() {
            here.dropped.toned += 1;
            return;
        }
        match across.rtcp.send_to(compound, to) {
            Ok(_) => here.rtcp_received += 1,
            Err(_) => here.dropped.unsent += 1,
        }
    }

    /// Sends a packet of our own to one side.
    pub(super) fn send(&mut self, side: Side, packet: &[u8]) {
        let leg = &self.sides[side as usize];
        let Some(to) = leg.latch.rtp() else { return };
        let stats = self.stats.side_mut(side);
        match leg.rtp.send_to(packet, to) {
            Ok(_) => {
                stats.sent += 1;
                stats.sent_octets += packet.len() as u64;
            }
            Err(_) => stats.dropped.unsent += 1,
        }
    }

    /// The side that a packet came from and the one across, each with its counters.
    fn split(&mut self, side: Side) -> (Counters<'_>, [&mut Leg; 2]) {
        let [caller, callee] = &mut self.sides;
        let MediaStats {
            caller: of_caller,
            callee: of_callee,
        } = &mut self.stats;
        match side {
            Side::Caller => ((of_caller, of_callee), [caller, callee]),
            Side::Callee => ((of_callee, of_caller), [callee, caller]),
        }
    }
}

type Counters<'a> = (
    &'a mut crate::core::media::SideStats,
    &'a mut crate::core::media::SideStats,
);

/// Sockets of one session.
pub(super) const SOCKETS: usize = 4;
