//! Everything that can be decided without touching the world.
//!
//! | file | document | what it decides |
//! | --- | --- | --- |
//! | [`module`] | XEP-0114 §3 | owns the rest; stanzas, bridge and store in, stanzas out |
//! | [`link`] | `urn:x-cusax:plugin:0` | how the plugin's map is kept equal to ours |
//! | [`map`] | the same | the lines of that map |
//! | [`directory`] | | who holds what, who is registered |
//! | [`reach`] | XEP-0152 | what goes into a user's presence |
//! | [`vcard`] | XEP-0054, XEP-0292 | whether a card may be stored |
//! | [`activity`] | XEP-0108 | "on the phone" |
//! | [`notice`], [`pace`] | RFC 7081 §5 | what users are told in chat, and how often |
//! | [`command`], [`form`] | XEP-0050, XEP-0004 | the commands that chat clients show |
//! | [`language`] | | the languages that people are spoken to in |
//! | [`payload`], [`ns`], [`xml`], [`pending`] | RFC 6120 | what these are made of |

pub mod activity;
pub mod command;
#[cfg(test)]
mod command_tests;
pub mod directory;
pub mod form;
pub mod language;
pub mod link;
pub mod map;
pub mod module;
#[cfg(test)]
mod module_tests;
pub mod notice;
pub mod ns;
pub mod pace;
pub mod payload;
pub mod pending;
pub mod reach;
#[cfg(test)]
pub(crate) mod testing;
pub mod vcard;
pub mod xml;

pub use module::{Counters, Fetch, Fetched, Module, Output, Settings};
pub use vcard::ReadNumber;
