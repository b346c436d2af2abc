//! Short-lived facts: in this process as the embedded default, in Redis where several processes share them.

use std::time::Duration;

use bytes::Bytes;

use crate::core::secret::Secret;
use crate::core::store::{MAX_KEY, MAX_VALUE, SharedState, StoreError};

pub use self::memory::MemoryState;
pub use self::redis::RedisState;

pub mod contract;
mod memory;
mod redis;

/// The shared state that the configuration names.
#[derive(Clone, Debug)]
pub enum State {
    /// In this process only.
    Memory(MemoryState),
    /// In a Redis server.
    Redis(RedisState),
}

impl State {
    /// Opens `memory:` or `redis://host:port/database`.
    ///
    /// `limit` is how many bytes the in-process state may take; `prefix` stands before every key in Redis, so that
    /// several services can share a server. A password beside the address wins over one within it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for an address that cannot be read, [`StoreError::Unavailable`] for a server that does
    /// not answer.
    pub async fn open(
        url: &str,
        password: Option<&Secret<String>>,
        prefix: &str,
        limit: u64,
    ) -> Result<Self, StoreError> {
        if url == "memory:" {
            return Ok(Self::Memory(MemoryState::new(limit)));
        }
        RedisState::open(url, password, prefix).await.map(Self::Redis)
    }

    /// How many values were left out of scans because they could not be read.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        match self {
            Self::Memory(_) => 0,
            Self::Redis(state) => state.dropped(),
        }
    }
}

impl SharedState for State {
    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        match self {
            Self::Memory(state) => state.put(key, value, ttl).await,
            Self::Redis(state) => state.put(key, value, ttl).await,
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        match self {
            Self::Memory(state) => state.get(key).await,
            Self::Redis(state) => state.get(key).await,
        }
    }

    async fn remove(&self, key: &str) -> Result<bool, StoreError> {
        match self {
            Self::Memory(state) => state.remove(key).await,
            Self::Redis(state) => state.remove(key).await,
        }
    }

    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Bytes, ttl: Duration) -> Result<bool, StoreError> {
        match self {
            Self::Memory(state) => state.swap(key, expected, new, ttl).await,
            Self::Redis(state) => state.swap(key, expected, new, ttl).await,
        }
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, StoreError> {
        match self {
            Self::Memory(state) => state.scan(prefix).await,
            Self::Redis(state) => state.scan(prefix).await,
        }
    }
}

/// The limits that every backend keeps on what goes in.
fn check(key: &str, value: &[u8], ttl: Duration) -> Result<(), StoreError> {
    check_key(key)?;
    if value.len() > MAX_VALUE {
        return Err(StoreError::Refused("a value of the shared state is too large"));
    }
    if ttl > MAX_TTL {
        return Err(StoreError::Refused("a value of the shared state cannot live that long"));
    }
    Ok(())
}

fn check_key(key: &str) -> Result<(), StoreError> {
    if key.len() > MAX_KEY {
        Err(StoreError::Refused("a key of the shared state is too long"))
    } else {
        Ok(())
    }
}

/// What is shared state and not a record lives no longer than this.
pub const MAX_TTL: Duration = Duration::from_secs(366 * 24 * 60 * 60);
