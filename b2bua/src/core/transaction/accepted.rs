//! INVITEs of ours that a 2xx has answered (the Accepted state of RFC 6026 §7.2), kept for what else answers them: copies of
//! the 2xx, and those of other branches.
//!
//! Of such a transaction nothing is sent again, and nothing is left to decide but whether a response is a 2xx: its
//! machine goes, and what stays is a name and a flow. Each call leaves one here for half a minute, so that what one takes
//! decides how many calls a second there is room for.

use std::time::Instant;

use super::Class;
use super::invite_client;
use super::key::ClientKey;
use super::output::ClientId;
use super::row::{Named, Row};
use super::timer::Timer;
use crate::core::flow::Flow;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepted {
    /// What its responses have.
    pub key: ClientKey,
    /// Who hears of them.
    pub id: ClientId,
    /// Where it was sent.
    pub flow: Flow,
}

impl Accepted {
    /// Whether a response that was matched to it is handed on.
    pub(super) fn delivers(&self, class: Class) -> bool {
        invite_client::accepted_hears(&class);
        class == Class::Success
    }
}

impl Named for Accepted {
    type Name = ClientKey;

    fn name(&self) -> ClientKey {
        self.key
    }
}

/// All of them, oldest first.
#[derive(Debug, Default)]
pub(super) struct AllAccepted {
    row: Row<Accepted>,
}

impl AllAccepted {
    /// Keeps one until timer M, and gives the oldest one if there would be more than `limit`.
    ///
    /// To forget one early is harmless. A 2xx that comes then finds nothing: if it is a copy, its callee has not heard our
    /// ACK for as long as the table took to fill, repeats it in vain and ends the dialog with a BYE (RFC 3261
    /// §13.3.1.4), as it would at the end of its patience; if it is that of another branch, its callee does the same.
    /// To refuse a new call instead would harm a call that can be.
    pub(super) fn keep(&mut self, until: Instant, one: Accepted, limit: usize) -> Option<ClientId> {
        self.row.keep(until, one);
        let first = (self.row.len() > limit).then(|| self.row.pop_first()).flatten();
        first.map(|first| first.id)
    }

    /// That whose responses have this name.
    pub(super) fn find(&self, key: &ClientKey) -> Option<Accepted> {
        self.row.find(key).copied()
    }

    /// Forgets the first one if its time is over.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<ClientId> {
        let one = self.row.pop_due(now)?;
        invite_client::accepted_hears(&Timer::M);
        self.row.give_back();
        Some(one.id)
    }

    /// When the first one is forgotten.
    pub(super) fn next(&self) -> Option<Instant> {
        self.row.next()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.row.len()
    }

    #[cfg(test)]
    pub(super) fn until(&self, id: ClientId) -> Option<Instant> {
        let found = self.row.iter().find(|(_, one)| one.id == id);
        found.map(|(until, _)| *until)
    }

    /// Whether the table names what is there; for tests.
    pub(super) fn is_sound(&self) -> bool {
        self.row.is_sound()
    }
}
