//! SIP messages (RFC 3261): reading, writing, and the parts that both need.
//!
//! A message keeps the bytes it came in. [`Headers`] hold places in one shared buffer, so what nobody touches goes out
//! as it came, in its order and spelling; only what is set anew is written anew. Typed headers ([`typed`]) are read
//! when asked for.
//!
//! # What is checked at the door
//! [`Message::parse`] refuses what RFC 3261 §7 does not allow and what a careless element could be tricked with:
//! repeated single headers, lengths that do not fit, control characters before the colon, a CSeq that belongs to
//! another method. `Via`, `From`, `To` and `Contact` are read once in full, so later reading does not fail on them.
//! The rest is checked by whoever asks for it.
//!
//! # Invariants
//! - Nothing here panics on any input, and no text that it writes holds a CR, LF or NUL that its caller chose.
//! - A message that was read and is written again parses to an equal message.
//!
//! # Left out
//! - The forms of RFC 2543 that RFC 3261 no longer knows, besides a `Via` without branch and a `From` without tag.
//! - Decisions about content: unknown schemes, methods and extensions are kept, and judged by the layers above.

mod cursor;
pub mod digest;
pub mod digits;
pub mod frame;
mod headers;
mod host;
mod marks;
mod message;
mod method;
mod name;
mod params;
mod parse;
mod scan;
mod status;
mod text;
pub mod typed;
mod uri;
mod value;

pub use headers::{HeaderError, Headers, Why};
pub use host::Host;
pub use message::{Message, Request, Response};
pub use method::Method;
pub use name::HeaderName;
pub use params::Params;
pub use parse::{Fault, FaultKind};
pub use status::Status;
pub use text::{Text, Token};
pub use typed::{Form, TypedHeader};
pub use uri::{OtherUri, SipRef, SipUri, TelUri, Uri};
pub use value::{Value, ValueRef};

/// The largest message, in bytes: what one UDP datagram could hold.
pub const MAX_MESSAGE: usize = 65_535;
/// The most header lines of one message.
pub const MAX_HEADERS: usize = 256;
