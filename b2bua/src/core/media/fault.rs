//! Why a session description is refused, and how the party is told.

/// What is wrong with a session description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SdpFault {
    /// More octets, lines or streams than we read.
    #[error("description too large")]
    TooLarge,
    /// Not a session description; the line where it ceased to be one.
    #[error("malformed description at line {0}")]
    Malformed(usize),
    /// No stream at all, or the stream refused where one is needed.
    #[error("no media")]
    NoMedia,
    /// No stream of plain RTP audio.
    #[error("no audio that can be relayed")]
    NoAudio,
    /// No codec for voice, or none that is needed here.
    #[error("no voice codec")]
    NoVoice,
    /// An address or port that media must not be sent to.
    #[error("media address refused")]
    Target,
    /// Weak or unsupported protection was asked for.
    #[error("media protection not supported")]
    Protection,
    /// An answer that does not fit the offer.
    #[error("answer does not fit the offer")]
    Mismatch,
}

impl SdpFault {
    /// The SIP status that tells the party (RFC 3261 §21.4).
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::TooLarge => 413,
            Self::Malformed(_)
            | Self::NoMedia
            | Self::NoAudio
            | Self::NoVoice
            | Self::Target
            | Self::Protection
            | Self::Mismatch => 488,
        }
    }
}
