//! Where users, records and shared state are kept: the traits and their promises.
//!
//! Each promise is tested by the contract of the trait (`io::store::contract`, `io::state::contract`), which every
//! backend runs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jid::BareJid;

use crate::core::id::SessionId;
use crate::core::notice::Notices;
use crate::core::record::CallRecord;
use crate::core::tel::Tel;
use crate::core::user::{Aor, User};

/// Users and call records.
///
/// # Promises
/// 1. What was written is read back, also through another handle.
/// 2. An AOR, a number and a login (realm and username) belong to at most one user; taking a taken one changes nothing
///    and tells the owner.
/// 3. Removing a user frees everything they held.
/// 4. [`changes`](Self::changes) grows with every write that changes a user, whichever handle wrote.
/// 5. Every text round-trips unchanged: quotes, backslashes, `%`, `_`, any Unicode except NUL, which is refused.
/// 6. A record is written once; writing the same session again replaces it.
/// 7. What is [`near`](Self::near) is what the look-up would say at this moment.
pub trait UserStore: Send + Sync {
    /// Creates or replaces a user.
    fn put(&self, user: &User) -> impl Future<Output = Result<Put, StoreError>> + Send;
    /// The answer to a question if it is at hand, so that nobody has to be asked or waited for. None if the look-up must
    /// be made; nothing is near where nothing is kept.
    fn near(&self, question: Question<'_>) -> Option<Option<Arc<User>>> {
        let _ = question;
        None
    }
    /// The user with this JID.
    fn by_jid(&self, jid: &BareJid) -> impl Future<Output = Result<Option<Arc<User>>, StoreError>> + Send;
    /// The user who holds this AOR.
    fn by_aor(&self, aor: &Aor) -> impl Future<Output = Result<Option<Arc<User>>, StoreError>> + Send;
    /// The user who holds this number.
    fn by_number(&self, number: &Tel) -> impl Future<Output = Result<Option<Arc<User>>, StoreError>> + Send;
    /// The user with a credential of this realm and username.
    fn by_login(
        &self,
        realm: &str,
        username: &str,
    ) -> impl Future<Output = Result<Option<Arc<User>>, StoreError>> + Send;
    /// Up to `limit` users in the order of their JIDs, after `after`.
    fn list(&self, after: Option<&BareJid>, limit: u32) -> impl Future<Output = Result<Vec<User>, StoreError>> + Send;
    /// Removes a user; tells whether there was one.
    fn remove(&self, jid: &BareJid) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Changes what a user decides about themselves, and nothing else; tells whether there is one.
    fn choose(&self, jid: &BareJid, choice: Choice) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// A number that grows with every change of any user.
    fn changes(&self) -> impl Future<Output = Result<u64, StoreError>> + Send;
    /// Keeps the record of a call.
    fn record(&self, record: &CallRecord) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Keeps several at once, which costs little more than one. After an error some may be kept; keeping them again does no
    /// harm.
    fn record_many(&self, records: &[CallRecord]) -> impl Future<Output = Result<(), StoreError>> + Send {
        async move {
            for record in records {
                self.record(record).await?;
            }
            Ok(())
        }
    }
    /// Up to `limit` records, the latest start first.
    fn calls(&self, query: &CallQuery) -> impl Future<Output = Result<Vec<CallRecord>, StoreError>> + Send;
}

/// Who is asked for: each look-up of a [`UserStore`] as a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Question<'a> {
    /// See [`UserStore::by_jid`].
    Jid(&'a BareJid),
    /// See [`UserStore::by_aor`].
    Aor(&'a Aor),
    /// See [`UserStore::by_number`].
    Number(&'a Tel),
    /// See [`UserStore::by_login`].
    Login {
        /// The protection domain.
        realm: &'a str,
        /// The name that the phone gave.
        username: &'a str,
    },
}

/// What a user decides about themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What they are told in chat.
    pub notices: Notices,
    /// Whether those whom they call may learn their JID (RFC 6993 §2).
    pub impp: bool,
}

/// What came of [`UserStore::put`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// The user is stored as given.
    Done,
    /// Nothing changed: something is somebody else's already.
    Taken {
        /// The AOR, number or `username@realm` in question.
        what: String,
        /// Who holds it.
        owner: BareJid,
    },
}

/// Which records to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallQuery {
    /// Only calls of this user, on either side.
    pub user: Option<BareJid>,
    /// Only this call.
    pub session: Option<SessionId>,
    /// At most so many; 0 means the default of the backend (100).
    pub limit: u32,
}

/// Short-lived facts that several processes share: bindings, nonce windows, leases.
///
/// # Promises
/// 1. A value is read back until its time to live has passed, also through another handle, and never after.
/// 2. [`swap`](Self::swap) changes a value only if it is what the caller believes, whoever else tries.
/// 3. [`scan`](Self::scan) gives every living key with the prefix, and only those.
/// 4. The space is bounded: a full in-process backend evicts, and never grows past its limit.
/// 5. A value larger than [`MAX_VALUE`] or a key longer than [`MAX_KEY`] is refused.
pub trait SharedState: Send + Sync {
    /// Sets a value for `ttl`.
    fn put(&self, key: &str, value: Bytes, ttl: Duration) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// The value, if it lives.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Bytes>, StoreError>> + Send;
    /// Forgets a value; tells whether there was one.
    fn remove(&self, key: &str) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Sets `new` if the value now is `expected` (`None`: no value); tells whether it did.
    fn swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        new: Bytes,
        ttl: Duration,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Every living key that begins with `prefix`, with its value.
    fn scan(&self, prefix: &str) -> impl Future<Output = Result<Vec<(String, Bytes)>, StoreError>> + Send;
}

/// The largest value of [`SharedState`], in bytes.
pub const MAX_VALUE: usize = 64 * 1024;
/// The longest key of [`SharedState`], in bytes.
pub const MAX_KEY: usize = 512;

/// The store did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It did not answer, or not in time. Trying later may help.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The input cannot be stored, whatever the state of the store.
    #[error("cannot be stored: {0}")]
    Refused(&'static str),
    /// What came back is not what we wrote: another schema, or somebody else's data.
    #[error("the store holds something that cannot be read: {0}")]
    Corrupt(String),
}
