//! The XMPP half of the service: a component (XEP-0114) beside a server that already runs.
//!
//! What it adds to that server, through a thin plugin in it (`deploy/prosody`, `deploy/ejabberd`): reach in presence
//! (XEP-0152), verified addresses in rosters, cards whose telephone entries are true (XEP-0054, XEP-0292), "on the
//! phone" (XEP-0108), and notices of calls that may cost money. We decide, the plugin carries out.

pub mod core;
#[cfg(feature = "io")]
pub mod io;
