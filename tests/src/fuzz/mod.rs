//! What must hold of any bytes and of any sequence of operations: the bodies of the fuzz targets.
//!
//! Each function takes bytes, does with them what a stranger could have us do, and panics if a promise is broken. The
//! fuzzer (`make fuzz`) calls them with bytes that it makes up; `tests/tests/corpus.rs` calls them with the bytes of
//! `fuzz/corpus`, so that what was found once stays found.

mod description;
mod digest;
mod dns;
mod feed;
mod header;
mod message;
mod registrar;
mod stun;
mod transactions;
mod uri;
mod websocket;

pub use description::description;
pub use digest::digest;
pub use dns::dns;
pub use header::header;
pub use message::{framing, message};
pub use registrar::registrar;
pub use stun::stun;
pub use transactions::transactions;
pub use uri::uri;
pub use websocket::websocket;

/// A target: its name, which is that of its program and of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 11] = [
    ("description", description),
    ("digest", digest),
    ("dns", dns),
    ("framing", framing),
    ("header", header),
    ("message", message),
    ("registrar", registrar),
    ("stun", stun),
    ("transactions", transactions),
    ("uri", uri),
    ("websocket", websocket),
];
