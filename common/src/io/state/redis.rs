//! Shared state in Redis.
//!
//! Every value is written behind one byte that names the format, so an empty answer is never a value, and what another
//! program or version wrote is not taken for ours. Values are fetched with a limit, since whoever can reach the server
//! can put anything of any size under our keys: such a value is [`StoreError::Corrupt`] where it was asked for, and is
//! left out of scans and counted.
//!
//! Every operation ends within [`PATIENCE`]; one that was cut off may still have been carried out. A lost connection is
//! made anew in the background, and until then every operation fails soon.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, IntoConnectionInfo as _, RedisError, RedisResult, Script, ServerErrorKind};

use super::{check, check_key};
use crate::core::secret::Secret;
use crate::core::store::{MAX_KEY, MAX_VALUE, SharedState, StoreError};

/// Keys of one service in one Redis database. Clones share one connection.
#[derive(Clone)]
pub struct RedisState {
    connection: ConnectionManager,
    prefix: Arc<str>,
    swap: Arc<Script>,
    dropped: Arc<AtomicU64>,
}

impl RedisState {
    /// Connects to `redis://host:port/database` or `redis+unix:///path`, and asks whether it answers.
    ///
    /// # Errors
    /// As [`State::open`](super::State::open).
    pub async fn open(url: &str, password: Option<&Secret<String>>, prefix: &str) -> Result<Self, StoreError> {
        if prefix.len() > MAX_KEY {
            return Err(StoreError::Refused("the prefix of the shared state is too long"));
        }
        // The error might quote the address, which may hold a password.
        let refused = |_| StoreError::Refused("the address of the shared state begins with memory: or redis:");
        let mut info = url.into_connection_info().map_err(refused)?;
        if let Some(password) = password {
            let settings = info.redis_settings().clone().set_password(password.expose());
            info = info.set_redis_settings(settings);
        }
        let client = Client::open(info).map_err(refused)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECTING))
            .set_response_timeout(Some(RESPONSE))
            .set_number_of_retries(1)
            .set_min_delay(PAUSE)
            .set_max_delay(PAUSE);
        let connection = within(ConnectionManager::new_with_config(client, config)).await?;
        let state = Self {
            connection,
            prefix: prefix.into(),
            swap: Arc::new(Script::new(SWAP)),
            dropped: Arc::default(),
        };
        state.ask::<()>(&redis::cmd("PING")).await?;
        Ok(state)
    }

    /// How many values were left out of scans because they could not be read.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn key(&self, key: &str) -> Result<String, StoreError> {
        check_key(key)?;
        Ok(format!("{}{key}", self.prefix))
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, StoreError> {
        let mut connection = self.connection.clone();
        within(command.query_async(&mut connection)).await
    }

    /// The living values of these keys, without those that are not ours.
    async fn fetch(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        for key in keys {
            pipe.add_command(read(key));
        }
        let mut connection = self.connection.clone();
        let answers: Vec<RedisResult<Vec<u8>>> = within(pipe.query_async(&mut connection)).await?;
        let values = answers
            .into_iter()
            .map(|answer| answer.map_err(fault).and_then(unframe));
        Ok(values
            .map(|value| {
                value.unwrap_or_else(|error| {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "a value of the shared state was left out of a scan");
                    None
                })
            })
            .collect())
    }
}

impl SharedState for RedisState {
    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        check(key, &value, ttl)?;
        let key = self.key(key)?;
        if millis(ttl) == 0 {
            return self.ask(redis::cmd("DEL").arg(key)).await;
        }
        self.ask(redis::cmd("SET").arg(key).arg(frame(&value)).arg("PX").arg(millis(ttl)))
            .await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let key = self.key(key)?;
        unframe(self.ask(&read(key.as_bytes())).await?)
    }

    async fn remove(&self, key: &str) -> Result<bool, StoreError> {
        let key = self.key(key)?;
        let removed: u64 = self.ask(redis::cmd("DEL").arg(key)).await?;
        Ok(removed > 0)
    }

    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Bytes, ttl: Duration) -> Result<bool, StoreError> {
        check(key, &new, ttl)?;
        let key = self.key(key)?;
        let mut call = self.swap.key(key);
        call.arg(expected.map(frame).unwrap_or_default())
            .arg(frame(&new))
            .arg(millis(ttl));
        let mut connection = self.connection.clone();
        within(call.invoke_async(&mut connection)).await
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, StoreError> {
        let prefix = self.key(prefix)?;
        let pattern = format!("{}*", escape(&prefix));
        // A scan may tell a key twice.
        let mut found = BTreeMap::new();
        let (mut cursor, mut bytes) = (0_u64, 0_usize);
        loop {
            let mut step = redis::cmd("SCAN");
            step.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN_STEP);
            let (next, mut keys): (u64, Vec<Vec<u8>>) = self.ask(&step).await?;
            keys.retain(|key| key.len() <= self.prefix.len() + MAX_KEY && !found.contains_key(key));
            if !keys.is_empty() {
                let values = self.fetch(&keys).await?;
                for (key, value) in keys.into_iter().zip(values) {
                    let Some(value) = value else { continue };
                    bytes += key.len() + value.len();
                    found.insert(key, value);
                }
            }
            if found.len() > MAX_SCAN || bytes > MAX_SCAN_BYTES {
                return Err(StoreError::Corrupt("more keys than we can have written".into()));
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let ours = |(key, value): (Vec<u8>, Bytes)| {
            let key = String::from_utf8(key).ok()?;
            Some((key.strip_prefix(&*self.prefix)?.to_owned(), value))
        };
        Ok(found.into_iter().filter_map(ours).collect())
    }
}

impl fmt::Debug for RedisState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisState")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// Runs one exchange, and ends it when patience does.
async fn within<T>(work: impl Future<Output = RedisResult<T>>) -> Result<T, StoreError> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(fault),
        Err(_) => Err(StoreError::Unavailable("no answer in time".into())),
    }
}

/// A value of the wrong type is not ours; everything else may pass. Details of the server may quote what was sent, so
/// only its code goes on.
fn fault(error: RedisError) -> StoreError {
    use redis::ErrorKind as K;
    let wrong_type = error.code() == Some("WRONGTYPE");
    match error.kind() {
        _ if wrong_type => StoreError::Corrupt("a value of another type".into()),
        K::Parse | K::UnexpectedReturnType => StoreError::Corrupt(error.category().into()),
        K::Server(ServerErrorKind::ResponseError) => {
            StoreError::Unavailable(format!("{} ({})", error.category(), error.code().unwrap_or("no code")))
        }
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// One byte more than the largest value, so that a larger one is noticed and yet not fetched.
fn read(key: &[u8]) -> redis::Cmd {
    let mut command = redis::cmd("GETRANGE");
    command.arg(key).arg(0).arg(FORMAT.len() + MAX_VALUE);
    command
}

fn frame(value: &[u8]) -> Vec<u8> {
    [FORMAT, value].concat()
}

fn unframe(value: Vec<u8>) -> Result<Option<Bytes>, StoreError> {
    if value.is_empty() {
        return Ok(None);
    }
    if value.len() > FORMAT.len() + MAX_VALUE {
        return Err(StoreError::Corrupt("a value larger than we write".into()));
    }
    if !value.starts_with(FORMAT) {
        return Err(StoreError::Corrupt("a value in another format".into()));
    }
    Ok(Some(Bytes::from(value).slice(FORMAT.len()..)))
}

/// Redis counts in whole milliseconds; a shorter life is rounded down and is then none.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).expect("the longest life has a limit")
}

/// The prefix as a glob pattern that matches itself only.
fn escape(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len());
    for c in prefix.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// Compares and sets in one step. No value is the empty text, which no framed value is; no life is a removal.
const SWAP: &str = "
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
if ARGV[3] == '0' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
";
/// The format of our values; the next one gets another byte.
const FORMAT: &[u8] = b"\x01";
/// How long one exchange may take, the wait for a new connection included.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// How long one attempt to connect may take.
const CONNECTING: Duration = Duration::from_secs(1);
/// How long the server may take to answer.
const RESPONSE: Duration = Duration::from_secs(2);
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(100);
/// Keys in one step of a scan: the server blocks for a step, and a step's values are fetched together.
const SCAN_STEP: u32 = 500;
/// More keys than this in one scan were not written by us.
const MAX_SCAN: usize = 1_000_000;
/// More bytes than this in one scan would not fit beside everything else.
const MAX_SCAN_BYTES: usize = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_matches_only_itself() {
        for (prefix, pattern) in [("cusax:", "cusax:"), ("a*b?", r"a\*b\?"), (r"[^-]\", r"\[\^\-\]\\")] {
            assert_eq!(escape(prefix), pattern, "{prefix}");
        }
    }

    #[test]
    fn only_our_format_is_read() {
        assert_eq!(unframe(frame(b"")).unwrap(), Some(Bytes::new()));
        assert_eq!(
            unframe(frame(&[1; MAX_VALUE])).unwrap().map(|v| v.len()),
            Some(MAX_VALUE)
        );
        assert_eq!(unframe(Vec::new()).unwrap(), None);
        for foreign in [b"x".to_vec(), vec![1; MAX_VALUE + 2], vec![0]] {
            assert!(matches!(unframe(foreign), Err(StoreError::Corrupt(_))));
        }
    }
}
