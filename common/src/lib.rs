//! What both halves of cusax share.
//!
//! [`core`] parses, decides and keeps state; it reads no clock, opens no socket and draws no randomness of its own.
//! [`io`] (feature `io`) does what `core` asks for: stores, state, clocks, logs.

pub mod core;
#[cfg(feature = "io")]
pub mod io;
