//! Everything that can be decided without touching the world.
//!
//! # The contract of a machine
//! Every machine in a `core` of this workspace has the same face:
//! - `handle_*(now, input)` makes one mutation; it never blocks and never fails for what the network did;
//! - `poll_output()` is drained fully after each mutation;
//! - `poll_timeout()` gives the earliest deadline, and `handle_timeout(now)` is called when it has come.
//!
//! Time and randomness are arguments ([`time::Now`], [`entropy::Entropy`]), so a test replays a run from its seed.

pub mod bridge;
pub mod config;
pub mod dialplan;
pub mod entropy;
pub mod id;
pub mod jid;
pub mod notice;
pub mod policy;
pub mod record;
pub mod sdp;
pub mod secret;
pub mod sip;
pub mod store;
pub mod tel;
pub mod time;
pub mod user;
