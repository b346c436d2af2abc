//! Users and call records in a database: SQLite as the embedded default, Postgres in production.
//!
//! Both backends run the same statements ([`sql`]) on the same schema (`migrations/`), and read rows by the same code
//! ([`rows`]); a backend's own file holds what opens it. Every value is a bound parameter. What a database gives back is
//! read as a stranger's input: a row that is not ours is [`StoreError::Corrupt`] where it was asked for, and is left
//! out of lists, with a warning and a count.
//!
//! Every operation ends within [`PATIENCE`]. An operation that was cut off may still have been carried out.

use std::path::Path;
use std::sync::Arc;

use std::future::Future;
use std::time::Duration;

use jid::BareJid;

use crate::core::record::CallRecord;
use crate::core::secret::Secret;
use crate::core::store::{CallQuery, Choice, Put, StoreError, UserStore};
use crate::core::tel::Tel;
use crate::core::user::{Aor, User};

pub use self::postgres::PostgresStore;
pub use self::sqlite::SqliteStore;

pub mod contract;
mod fault;
mod postgres;
mod rows;
mod sql;
mod sqlite;

/// The store that the configuration names.
#[derive(Clone, Debug)]
pub enum Store {
    /// A file of this machine.
    Sqlite(SqliteStore),
    /// A server that several processes share.
    Postgres(PostgresStore),
}

impl Store {
    /// Opens `sqlite:/path/of/the/file` or `postgres://user@host:port/database`, and brings its schema up to date.
    ///
    /// A password beside the address keeps it out of the configuration; it wins over one within the address.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for an address that cannot be read, [`StoreError::Corrupt`] for a schema that is not
    /// ours or newer than this program, [`StoreError::Unavailable`] otherwise.
    pub async fn open(url: &str, password: Option<&Secret<String>>) -> Result<Self, StoreError> {
        if let Some(path) = Self::file(url) {
            return SqliteStore::open(path).await.map(Self::Sqlite);
        }
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            return PostgresStore::open(url, password).await.map(Self::Postgres);
        }
        Err(StoreError::Refused(
            "the address of a store begins with sqlite: or postgres:",
        ))
    }

    /// The file of a SQLite store.
    fn file(url: &str) -> Option<&Path> {
        let path = url.strip_prefix("sqlite:")?;
        Some(path.strip_prefix("//").unwrap_or(path).as_ref())
    }

    /// The file of a SQLite store that is not there yet.
    #[must_use]
    pub fn missing_file(url: &str) -> Option<&Path> {
        let missing = |path: &&Path| {
            path.metadata()
                .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        };
        Self::file(url).filter(missing)
    }

    /// How many rows were left out of lists because they could not be read.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        match self {
            Self::Sqlite(store) => store.dropped(),
            Self::Postgres(store) => store.dropped(),
        }
    }

    /// Gives every connection back. Later calls fail.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

/// Calls the same method of whichever backend it is.
macro_rules! either {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            Self::Sqlite($store) => $call.await,
            Self::Postgres($store) => $call.await,
        }
    };
}

impl UserStore for Store {
    async fn put(&self, user: &User) -> Result<Put, StoreError> {
        either!(self, store => store.put(user))
    }

    async fn by_jid(&self, jid: &BareJid) -> Result<Option<Arc<User>>, StoreError> {
        either!(self, store => store.by_jid(jid))
    }

    async fn by_aor(&self, aor: &Aor) -> Result<Option<Arc<User>>, StoreError> {
        either!(self, store => store.by_aor(aor))
    }

    async fn by_number(&self, number: &Tel) -> Result<Option<Arc<User>>, StoreError> {
        either!(self, store => store.by_number(number))
    }

    async fn by_login(&self, realm: &str, username: &str) -> Result<Option<Arc<User>>, StoreError> {
        either!(self, store => store.by_login(realm, username))
    }

    async fn list(&self, after: Option<&BareJid>, limit: u32) -> Result<Vec<User>, StoreError> {
        either!(self, store => store.list(after, limit))
    }

    async fn remove(&self, jid: &BareJid) -> Result<bool, StoreError> {
        either!(self, store => store.remove(jid))
    }

    async fn choose(&self, jid: &BareJid, choice: Choice) -> Result<bool, StoreError> {
        either!(self, store => store.choose(jid, choice))
    }

    async fn changes(&self) -> Result<u64, StoreError> {
        either!(self, store => store.changes())
    }

    async fn record(&self, record: &CallRecord) -> Result<(), StoreError> {
        either!(self, store => store.record(record))
    }

    async fn record_many(&self, records: &[CallRecord]) -> Result<(), StoreError> {
        either!(self, store => store.record_many(records))
    }

    async fn calls(&self, query: &CallQuery) -> Result<Vec<CallRecord>, StoreError> {
        either!(self, store => store.calls(query))
    }
}

/// Runs one operation, and ends it when patience does.
async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(fault::of),
        Err(_) => Err(StoreError::Unavailable("no answer in time".into())),
    }
}

/// How long one operation may take, from the wait for a connection to the last row.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait for a connection, an opening one included. Less than [`PATIENCE`], so that the error names it.
const ACQUIRE: Duration = Duration::from_secs(3);
/// How long opening may take, migrations included.
const OPENING: Duration = Duration::from_secs(60);
/// How many records [`CallQuery::limit`] zero means.
const CALLS: u32 = 100;
