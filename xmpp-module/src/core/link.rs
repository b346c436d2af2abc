//! Keeps the plugin's map equal to ours.
//!
//! After the stream is up, the plugin is asked for its [`State`]. If it has our map up to the last change that it
//! answered for, only what has changed since is sent; otherwise everything, in chunks, and the plugin puts the new map
//! in the place of the old one at the commit. After that, changes go out as deltas, one at a time: what changes while
//! one is under way goes into the next, in its last form.
//!
//! Lines state the whole truth about a user, so sending one again does no harm. What must not happen is a change that
//! the plugin has missed without noticing: each delta says after which number it comes, and a plugin whose map has
//! another number answers `conflict`, upon which everything is sent.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jid::BareJid;

use crate::core::directory::Directory;
use crate::core::payload::{PROTOCOL, State, Sync};
use crate::core::xml;

/// What is known of the plugin, and what it must still be told.
///
/// # Use
/// Call one `handle_*` or [`changed`](Self::changed), then [`next`](Self::next) until it gives `None`; report what
/// became of each step by [`handle_answer`](Self::handle_answer).
#[derive(Debug)]
pub struct Link {
    phase: Phase,
    /// Names our map; drawn anew by each run.
    epoch: String,
    /// The last number that the plugin is known to have.
    seq: u64,
    dirty: BTreeSet<BareJid>,
    failures: u32,
    /// Grows with each question, so that late answers to what came before it are known.
    generation: u64,
}

#[derive(Debug)]
enum Phase {
    /// No stream.
    Down,
    /// The state is to be asked at this time.
    Resting(Instant),
    /// The question is on its way.
    Asking,
    /// Everything is being sent.
    Bulk(Bulk),
    /// The plugin has our map, but for `dirty` and the delta that is on its way.
    Live { sent: Option<Vec<BareJid>> },
    /// The plugin speaks another version; asked again at this time.
    Refused(Instant, String),
}

#[derive(Debug)]
struct Bulk {
    step: BulkStep,
    cursor: Option<BareJid>,
    users: u64,
    unanswered: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum BulkStep {
    Begin,
    Lines,
    Commit,
    Committed,
}

/// The next thing to send to the plugin.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The question for the state.
    Ask,
    /// A step of synchronisation.
    Sync(Sync),
}

/// What the plugin answered to a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done; the state, if it was asked.
    Done(Option<State>),
    /// The plugin speaks another version, and says so in this text.
    Version(String),
    /// The plugin's map has another number or epoch.
    Conflict,
    /// Nobody in the server knows what was asked.
    Absent,
    /// Any other error, or none came in time.
    Failed,
}

impl Link {
    /// No stream yet. `epoch` must never have been used before.
    #[must_use]
    pub fn new(epoch: String) -> Self {
        Self {
            phase: Phase::Down,
            epoch,
            seq: 0,
            dirty: BTreeSet::new(),
            failures: 0,
            generation: 0,
        }
    }

    /// The stream is up.
    pub fn handle_connected(&mut self, now: Instant) {
        self.failures = 0;
        self.phase = Phase::Resting(now);
    }

    /// The stream is gone.
    pub fn handle_closed(&mut self) {
        self.take_back();
        self.phase = Phase::Down;
    }

    /// The plugin asks to be brought up to date.
    pub fn handle_need_sync(&mut self, now: Instant, version: u32) {
        match &self.phase {
            Phase::Down => {}
            _ if version != PROTOCOL => self.refuse(now, mismatch(version)),
            // The question under way will tell all there is to know.
            Phase::Asking => {}
            Phase::Resting(at) => self.phase = Phase::Resting((*at).min(now + PAUSE)),
            _ => {
                self.take_back();
                self.phase = Phase::Resting(now + PAUSE);
            }
        }
    }

    /// What the user holds or where they are reachable has changed.
    pub fn changed(&mut self, jids: impl IntoIterator<Item = BareJid>) {
        // Without a map in the plugin there is nothing that could be behind.
        if self.seq > 0 || matches!(self.phase, Phase::Bulk(_)) {
            self.dirty.extend(jids);
        }
    }

    /// Takes the answer to a step that was sent in this [`generation`](Self::generation).
    pub fn handle_answer(&mut self, now: Instant, generation: u64, answer: Answer) {
        if generation != self.generation {
            return;
        }
        match (&mut self.phase, answer) {
            (Phase::Down | Phase::Resting(_) | Phase::Refused(..), _) => {}
            (_, Answer::Version(reason)) => self.refuse(now, reason),
            (Phase::Asking, Answer::Absent) => self.refuse(now, ABSENT.to_owned()),
            (Phase::Asking, Answer::Done(Some(state))) if state.version != PROTOCOL => {
                self.refuse(now, mismatch(state.version));
            }
            (Phase::Asking, Answer::Done(Some(state))) => self.compare(&state),
            (Phase::Bulk(bulk), Answer::Done(_)) => {
                bulk.unanswered = bulk.unanswered.saturating_sub(1);
                if bulk.step == BulkStep::Committed && bulk.unanswered == 0 {
                    self.seq += 1;
                    self.failures = 0;
                    self.phase = Phase::Live { sent: None };
                }
            }
            (Phase::Live { sent }, Answer::Done(_)) => {
                if sent.take().is_some() {
                    self.seq += 1;
                }
            }
            (Phase::Asking | Phase::Bulk(_) | Phase::Live { .. }, _) => {
                self.take_back();
                self.rest(now);
            }
        }
    }

    /// The next thing to send, if anything may be sent now. `ready` tells whether the directory is complete.
    pub fn next(&mut self, now: Instant, ready: bool, directory: &Directory) -> Option<Step> {
        match &mut self.phase {
            Phase::Resting(at) | Phase::Refused(at, _) if ready && *at <= now => {
                self.phase = Phase::Asking;
                self.generation += 1;
                Some(Step::Ask)
            }
            Phase::Bulk(bulk) => bulk.next(directory, &self.epoch, self.seq + 1).map(Step::Sync),
            Phase::Live { sent: sent @ None } if !self.dirty.is_empty() => {
                let (mut lines, mut size, mut jids) = (String::new(), 0, Vec::new());
                while size < CHUNK
                    && let Some(jid) = self.dirty.pop_first()
                {
                    let line = format!("{}\n", directory.entry(&jid));
                    size += xml::escaped_len(&line);
                    lines.push_str(&line);
                    jids.push(jid);
                }
                *sent = Some(jids);
                let (after, seq) = (self.seq, self.seq + 1);
                Some(Step::Sync(Sync::Delta {
                    epoch: self.epoch.clone(),
                    after,
                    seq,
                    lines,
                }))
            }
            _ => None,
        }
    }

    /// Which question the steps sent now belong to.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// When [`next`](Self::next) is wanted though nothing has happened.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Resting(at) | Phase::Refused(at, _) => Some(*at),
            _ => None,
        }
    }

    /// Whether the plugin has our map, so that other requests to it make sense.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live { .. })
    }

    /// Whether the plugin has our map and was told everything.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Live { sent: None }) && self.dirty.is_empty()
    }

    /// Why we do not work with this plugin, if we do not.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        match &self.phase {
            Phase::Refused(_, reason) => Some(reason),
            _ => None,
        }
    }

    fn compare(&mut self, state: &State) {
        let ours = state.epoch.as_deref() == Some(self.epoch.as_str());
        // The last delta may have arrived though its answer was lost.
        match state.seq {
            Some(seq) if ours && self.seq > 0 && (seq == self.seq || seq == self.seq + 1) => {
                self.seq = seq;
                self.phase = Phase::Live { sent: None };
            }
            _ => {
                self.dirty.clear();
                self.phase = Phase::Bulk(Bulk {
                    step: BulkStep::Begin,
                    cursor: None,
                    users: 0,
                    unanswered: 0,
                });
            }
        }
    }

    fn refuse(&mut self, now: Instant, reason: String) {
        self.take_back();
        tracing::error!(%reason, "the server's plugin is not there, or not the one that belongs to this version");
        self.phase = Phase::Refused(now + LONGEST_PAUSE, reason);
    }

    /// What was sent and not answered may not have arrived.
    fn take_back(&mut self) {
        if let Phase::Live { sent: Some(jids) } = std::mem::replace(&mut self.phase, Phase::Down) {
            self.dirty.extend(jids);
        }
    }

    fn rest(&mut self, now: Instant) {
        let pause = PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.failures += 1;
        self.phase = Phase::Resting(now + pause);
    }
}

impl Bulk {
    fn next(&mut self, directory: &Directory, epoch: &str, seq: u64) -> Option<Sync> {
        if self.unanswered >= WINDOW {
            return None;
        }
        let sync = match self.step {
            BulkStep::Begin => {
                self.step = BulkStep::Lines;
                Sync::Begin
            }
            BulkStep::Lines => {
                let (mut lines, mut size) = (String::new(), 0);
                for entry in directory.entries_after(self.cursor.as_ref()) {
                    let line = format!("{entry}\n");
                    size += xml::escaped_len(&line);
                    lines.push_str(&line);
                    self.users += 1;
                    self.cursor = Some(entry.jid.clone());
                    if size >= CHUNK {
                        break;
                    }
                }
                if lines.is_empty() {
                    self.step = BulkStep::Commit;
                    return self.next(directory, epoch, seq);
                }
                Sync::More { lines }
            }
            BulkStep::Commit => {
                self.step = BulkStep::Committed;
                Sync::Commit {
                    epoch: epoch.to_owned(),
                    seq,
                    users: self.users,
                }
            }
            BulkStep::Committed => return None,
        };
        self.unanswered += 1;
        Some(sync)
    }
}

fn mismatch(version: u32) -> String {
    format!(
        "mod_cusax speaks version {version} of the plugin protocol, this service version {PROTOCOL}: install the mod_cusax that came with it"
    )
}

/// For people, when the server does not know the question.
const ABSENT: &str = "the server has no mod_cusax for xmpp.domain: enable it for that virtual host (\"cusax\" in Prosody's \
                      modules_enabled, mod_cusax in ejabberd's modules), and see that xmpp.domain is its name";
/// Where a chunk of lines ends, in bytes as they are on the wire. One line more may come on top, which is far smaller.
pub const CHUNK: usize = 96 * 1024;
/// Most steps of a bulk that are not answered yet.
pub const WINDOW: usize = 4;
/// The first pause after a failure; each further one is twice as long.
pub const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);
