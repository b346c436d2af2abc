//! Shared state that is shared by nobody but the tasks of this process.

use std::time::{Duration, Instant};

use bytes::Bytes;
use moka::Expiry;
use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::{check, check_key};
use crate::core::store::{SharedState, StoreError};

/// Bounded by the bytes of keys and values; the least recently used go first when it is full.
///
/// Clones share one space.
#[derive(Clone, Debug)]
pub struct MemoryState(Cache<String, Entry>);

#[derive(Clone, Debug)]
struct Entry {
    value: Bytes,
    ttl: Duration,
}

impl MemoryState {
    /// An empty state that takes up to `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        let weight = |key: &String, entry: &Entry| {
            u32::try_from(key.len() + entry.value.len() + OVERHEAD).expect("both have limits far below")
        };
        Self(
            Cache::builder()
                .max_capacity(limit)
                .weigher(weight)
                // The default policy may refuse a newcomer; here the newest registration matters most.
                .eviction_policy(EvictionPolicy::lru())
                .expire_after(EachItsOwn)
                .build(),
        )
    }

    /// Bytes in use, as far as the bookkeeping has come.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.weighted_size()
    }
}

/// Writes all go through `and_compute_with`, which locks the key: an insert beside it could slip in between the look
/// and the change of a swap.
impl SharedState for MemoryState {
    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        check(key, &value, ttl)?;
        // The slice must not keep a whole datagram alive that the weight does not know of.
        let value = Bytes::copy_from_slice(&value);
        self.0.entry_by_ref(key).and_compute_with(|_| write(value, ttl));
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        check_key(key)?;
        Ok(self.0.get(key).map(|entry| entry.value))
    }

    async fn remove(&self, key: &str) -> Result<bool, StoreError> {
        check_key(key)?;
        let done = self.0.entry_by_ref(key).and_compute_with(|_| Op::Remove);
        Ok(matches!(done, CompResult::Removed(_)))
    }

    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Bytes, ttl: Duration) -> Result<bool, StoreError> {
        check(key, &new, ttl)?;
        let new = Bytes::copy_from_slice(&new);
        let mut swapped = false;
        self.0.entry_by_ref(key).and_compute_with(|found| {
            swapped = found.as_ref().map(|entry| &*entry.value().value) == expected;
            if swapped { write(new, ttl) } else { Op::Nop }
        });
        Ok(swapped)
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, StoreError> {
        check_key(prefix)?;
        let living = self.0.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(living.map(|(key, entry)| (String::clone(&key), entry.value)).collect())
    }
}

/// A value that lives no time at all is a removal.
fn write(value: Bytes, ttl: Duration) -> Op<Entry> {
    if ttl.is_zero() {
        Op::Remove
    } else {
        Op::Put(Entry { value, ttl })
    }
}

struct EachItsOwn;

impl Expiry<String, Entry> for EachItsOwn {
    fn expire_after_create(&self, _: &String, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(&self, _: &String, entry: &Entry, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.ttl)
    }
}

/// What an entry costs beside its key and value, roughly.
const OVERHEAD: usize = 128;
