//! Keeps the time of a tone.

use std::time::{Duration, Instant};

use crate::core::media::tone::{PACKET, PACKET_TIME, Player};

/// A tone with its schedule, which is absolute: a packet that goes out late does not delay the next one.
#[derive(Debug)]
pub(super) struct Playing {
    player: Player,
    due: Instant,
    /// Until then silence is sent, unless the listener is heard first.
    wait_until: Instant,
    reported: bool,
}

/// What one tick of the schedule brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tick {
    /// A packet.
    Packet,
    /// A packet, the first one after the end of the tone.
    Played,
}

impl Playing {
    /// Begins at once; `patience` is how long to wait for a listener whose real address is yet unknown.
    pub(super) fn new(player: Player, now: Instant, patience: Duration) -> Self {
        Self {
            player,
            due: now,
            wait_until: now + patience,
            reported: false,
        }
    }

    /// When the next packet is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Whether the tone is over and only silence is left.
    pub(super) fn played(&self) -> bool {
        self.player.played()
    }

    /// Writes the packet that is due. `heard` tells whether the listener's address is sure.
    pub(super) fn tick(&mut self, now: Instant, heard: bool, packet: &mut [u8; PACKET]) -> Tick {
        // After a long stop of the process go on from now, without a burst.
        self.due = if now.saturating_duration_since(self.due) > MAX_LATE {
            now
        } else {
            self.due
        } + PACKET_TIME;
        if heard {
            self.wait_until = now;
        }
        if now < self.wait_until {
            self.player.silence(packet);
            return Tick::Packet;
        }
        let over = self.player.played();
        self.player.next(packet);
        if over && !std::mem::replace(&mut self.reported, true) {
            Tick::Played
        } else {
            Tick::Packet
        }
    }
}

/// Later than this and packets are left out instead of hurried.
const MAX_LATE: Duration = Duration::from_millis(100);
