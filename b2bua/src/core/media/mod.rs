//! Media of a call: one vocabulary of commands and events for every engine, and the decisions about packets and
//! session descriptions that need no socket.
//!
//! A call has one media session with two sides. Each side has a pair of ports of ours (RTP and RTCP) on the address
//! that the party on that side may see; the other party's address never shows there.
//!
//! Order of use: `Open` → `Opened` (or `Refused`) → any number of `Aim`, `Play`, `Stop` → `Close` → `Closed`.
//! A command for an identifier that is not open does nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

mod fault;
mod judge;
pub mod latch;
mod lines;
pub mod rewrite;
pub mod rtcp;
pub mod rtp;
pub mod tone;

/// Names the media of one call towards the engine. Never used twice in the life of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaId(pub u64);

/// Which of the two parties of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The party that sent us the INVITE.
    Caller,
    /// The party that we sent an INVITE.
    Callee,
}

impl Side {
    /// Both, caller first.
    pub const BOTH: [Self; 2] = [Self::Caller, Self::Callee];

    /// The one across.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

/// What the call asks of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaCommand {
    /// Take a pair of ports on each of these local addresses. Nothing is relayed until both sides are aimed.
    Open {
        /// Names the session from now on.
        id: MediaId,
        /// Our address that the caller sees.
        caller: IpAddr,
        /// Our address that the callee sees.
        callee: IpAddr,
    },
    /// A description of this side was accepted: where its media goes and whence it may come. Begins a new
    /// negotiation: the source of this side may be learned anew once.
    Aim {
        /// Which session.
        id: MediaId,
        /// The side whose description it was.
        side: Side,
        /// What that description says.
        target: Target,
    },
    /// Play a tone to this side (which must have been aimed), then silence. The other side's packets are withheld
    /// until the tone has ended (`Played`); after that its first packet, or `Stop`, ends the silence.
    Play {
        /// Which session.
        id: MediaId,
        /// The side that hears it.
        side: Side,
        /// What it hears.
        tone: Tone,
        /// How it is encoded.
        codec: PlayCodec,
    },
    /// Stop playing to this side, whether tone or silence. No `Played` follows.
    Stop {
        /// Which session.
        id: MediaId,
        /// The side that heard it.
        side: Side,
    },
    /// Tell what went through so far (`Reported`).
    Report {
        /// Which session.
        id: MediaId,
    },
    /// Give the ports back; they rest for a while before they serve another call.
    Close {
        /// Which session.
        id: MediaId,
    },
}

impl MediaCommand {
    /// The session that is meant.
    #[must_use]
    pub fn id(&self) -> MediaId {
        match *self {
            Self::Open { id, .. }
            | Self::Aim { id, .. }
            | Self::Play { id, .. }
            | Self::Stop { id, .. }
            | Self::Report { id }
            | Self::Close { id } => id,
        }
    }
}

/// Where to send the media of one side, and which sources may speak for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Signalled RTP address; `None` while this side wants nothing sent to it (hold of the old form, refused stream).
    pub rtp: Option<SocketAddr>,
    /// Signalled RTCP address.
    pub rtcp: Option<SocketAddr>,
    /// Address of the SIP flow. A source is learned only from `rtp.ip()` or from this.
    pub also: Option<IpAddr>,
}

/// What the engine tells the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaEvent {
    /// The session has its ports. Each address is that of RTP; RTCP is one port higher.
    Opened {
        /// Which session.
        id: MediaId,
        /// What the caller may be told.
        caller: SocketAddr,
        /// What the callee may be told.
        callee: SocketAddr,
    },
    /// The session has no ports and does not exist.
    Refused {
        /// Which session.
        id: MediaId,
        /// Why.
        why: Refusal,
    },
    /// The whole tone has been sent; silence follows.
    Played {
        /// Which session.
        id: MediaId,
        /// Who heard it.
        side: Side,
    },
    /// What went through the session so far.
    Reported {
        /// Which session.
        id: MediaId,
        /// All of it.
        stats: MediaStats,
    },
    /// The session is gone: after `Close`, or because its worker died (then `stats` are all zero).
    Closed {
        /// Which session.
        id: MediaId,
        /// What went through it.
        stats: MediaStats,
    },
    /// A worker of the engine ended without being asked. Each of its sessions was reported as `Closed` before.
    Failed,
}

impl MediaEvent {
    /// The session that it is about, if it is about one.
    #[must_use]
    pub fn id(&self) -> Option<MediaId> {
        match *self {
            Self::Opened { id, .. }
            | Self::Refused { id, .. }
            | Self::Played { id, .. }
            | Self::Reported { id, .. }
            | Self::Closed { id, .. } => Some(id),
            Self::Failed => None,
        }
    }
}

/// Why a session could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The local address is none that the engine was given.
    Address,
    /// The identifier is in use.
    Duplicate,
    /// The engine has stopped or cannot keep up with commands.
    Engine,
    /// Every pair of ports is in use or resting.
    Exhausted,
}

/// A single-frequency tone in bursts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tone {
    /// Hertz, below 4000.
    pub frequency: u16,
    /// Length of one burst.
    pub on: Duration,
    /// Silence after each burst, the last one included.
    pub off: Duration,
    /// How many bursts.
    pub repetitions: u8,
    /// Level in dBm0 (ITU-T G.711: a full-scale sine is about +3); zero or less.
    pub level: i8,
}

impl Tone {
    /// Clear, and not startling.
    pub const LEVEL: i8 = -10;

    /// How long the whole takes.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.on
            .saturating_add(self.off)
            .saturating_mul(u32::from(self.repetitions))
    }
}

impl Default for Tone {
    /// Three short bursts at the frequency of European call-progress tones.
    fn default() -> Self {
        let burst = Duration::from_millis(200);
        Self {
            frequency: 425,
            on: burst,
            off: burst,
            repetitions: 3,
            level: Self::LEVEL,
        }
    }
}

/// The two encodings of ITU-T G.711.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Law {
    /// PCMA.
    A,
    /// PCMU.
    Mu,
}

/// How a tone is encoded for one party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayCodec {
    /// Which of the two.
    pub law: Law,
    /// RTP payload type that the party gave it.
    pub payload: u8,
}

/// What went through one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaStats {
    /// The caller's side.
    pub caller: SideStats,
    /// The callee's side.
    pub callee: SideStats,
}

impl MediaStats {
    /// One side's share.
    #[must_use]
    pub fn side(&self, side: Side) -> &SideStats {
        match side {
            Side::Caller => &self.caller,
            Side::Callee => &self.callee,
        }
    }

    /// How much was heard of both sides.
    #[must_use]
    pub fn heard(&self) -> u64 {
        let of = |side: &SideStats| side.received + side.rtcp_received;
        of(&self.caller) + of(&self.callee)
    }

    /// One side's share, to be counted up.
    pub fn side_mut(&mut self, side: Side) -> &mut SideStats {
        match side {
            Side::Caller => &mut self.caller,
            Side::Callee => &mut self.callee,
        }
    }
}

/// What went through the ports of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideStats {
    /// RTP packets of this party that were believed.
    pub received: u64,
    /// Their octets, RTP header included.
    pub received_octets: u64,
    /// RTP packets sent to this party, tones included.
    pub sent: u64,
    /// Their octets.
    pub sent_octets: u64,
    /// RTCP packets of this party that were passed on.
    pub rtcp_received: u64,
    /// How often its source was learned at another address than the signalled one.
    pub moved: u32,
    /// What was not passed on, by reason.
    pub dropped: Dropped,
}

/// Packets that arrived at one side and went nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Not RTP or RTCP, or lengths that contradict each other.
    pub malformed: u64,
    /// From a source that is not believed (or not yet).
    pub source: u64,
    /// The other side has no target yet, or wants nothing.
    pub unaimed: u64,
    /// Withheld while the other side heard a tone.
    pub toned: u64,
    /// The system would not take the packet.
    pub unsent: u64,
}

impl Dropped {
    /// All reasons together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.malformed + self.source + self.unaimed + self.toned + self.unsent
    }
}
