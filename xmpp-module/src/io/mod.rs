//! What touches the world: the stream to the server, the store, the clock.

pub mod connection;
pub mod driver;
mod guard;
mod meter;
mod stanza;

pub use driver::{Channels, Ended, Status, XmppConfig, run};
