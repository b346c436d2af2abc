//! The embedded default: one file, written ahead, readable by its owner only.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, Transaction};

use crate::core::store::StoreError;

/// Users and records in a SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    pub(super) pool: SqlitePool,
    pub(super) dropped: Arc<AtomicU64>,
}

impl SqliteStore {
    /// Opens the file, or makes it (mode 0600) and its folder (mode 0700).
    ///
    /// # Errors
    /// As [`Store::open`](super::Store::open).
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        if path.as_os_str().is_empty() || path == Path::new(":memory:") {
            return Err(StoreError::Refused("a SQLite store needs a path of a file"));
        }
        create(path).map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            // A user who was told "done" is there after a power cut as well.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            // A statement in a log at debug helps nobody here, and the operator may log everything.
            .disable_statement_logging();
        let opening = async {
            let pool = SqlitePoolOptions::new()
                .max_connections(CONNECTIONS)
                .acquire_timeout(super::ACQUIRE)
                // A file does not go away as a server does, and to ask costs as much as a look-up.
                .test_before_acquire(false)
                .connect_with(options)
                .await
                .map_err(super::fault::of)?;
            super::sql::migrate!(&pool, MIGRATOR)?;
            Ok(Self {
                pool,
                dropped: Arc::default(),
            })
        };
        let late = |_| Err(StoreError::Unavailable("the file did not open in time".into()));
        tokio::time::timeout(super::OPENING, opening).await.unwrap_or_else(late)
    }

    /// How many rows were left out of lists because they could not be read.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Gives every connection back. Later calls fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Takes the lock for writing at once: a transaction that begins by reading could fail half-way to get it.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.pool.begin_with("BEGIN IMMEDIATE").await
    }
}

super::sql::user_store!(SqliteStore);

/// Makes the folder and the empty file, so that SQLite never makes them with a wider mode. Its `-wal` and `-shm`
/// files take the mode of the file itself.
fn create(path: &Path) -> io::Result<()> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty() && !folder.exists())
    {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/sqlite");
/// How long a writer waits for another one.
const BUSY: Duration = Duration::from_secs(4);
/// One writes at a time; the others read.
const CONNECTIONS: u32 = 4;

#[cfg(test)]
mod tests {
    use jid::BareJid;

    use super::*;
    use crate::core::notice::Notices;
    use crate::core::store::{CallQuery, UserStore as _};
    use crate::core::user::Flags;
    use crate::io::store::contract::contract;

    async fn open(folder: &tempfile::TempDir) -> SqliteStore {
        SqliteStore::open(&folder.path().join("cusax.db")).await.unwrap()
    }

    #[tokio::test]
    async fn the_promises_hold() {
        let folder = tempfile::tempdir().unwrap();
        contract(&open(&folder).await, &open(&folder).await).await.unwrap();
    }

    #[tokio::test]
    async fn rows_of_strangers_are_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder).await;
        let rows = "INSERT INTO users VALUES ('bob@atlanta.example', '', '', 0, 0, 0);
            INSERT INTO users VALUES ('NOT a jid', '', '', 0, 0, 0);
            INSERT INTO users VALUES ('last@atlanta.example', '', '', 0, 0, 0);
            INSERT INTO aors VALUES ('sip:Bob@ATLANTA.example', 'bob@atlanta.example', 0);
            INSERT INTO call_records VALUES ('x', 1, 1, 1, NULL, '', NULL, '', NULL, NULL, '', 70000, '', '')";
        sqlx::raw_sql(rows).execute(&store.pool).await.unwrap();
        let bob = BareJid::new("bob@atlanta.example").unwrap();
        let got = store.by_jid(&bob).await;
        assert!(matches!(got, Err(StoreError::Corrupt(_))), "{got:?}");
        let listed = store.list(None, 1).await.unwrap();
        assert_eq!(listed.len(), 1, "a page is filled up with what can be read");
        assert_eq!(listed[0].jid.as_str(), "last@atlanta.example");
        assert_eq!(store.calls(&CallQuery::default()).await.unwrap(), []);
        assert_eq!(store.dropped(), 3);
        sqlx::raw_sql("ALTER TABLE users RENAME COLUMN name TO called")
            .execute(&store.pool)
            .await
            .unwrap();
        let got = store.by_jid(&bob).await;
        assert!(matches!(got, Err(StoreError::Corrupt(_))), "another schema: {got:?}");
    }

    #[tokio::test]
    async fn a_newer_schema_names_both_versions() {
        let folder = tempfile::tempdir().unwrap();
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            VALUES (9999, 'later', TRUE, x'', 0)";
        sqlx::raw_sql(newer).execute(&open(&folder).await.pool).await.unwrap();
        let error = SqliteStore::open(&folder.path().join("cusax.db"))
            .await
            .unwrap_err()
            .to_string();
        let known = MIGRATOR.iter().last().unwrap().version;
        let wanted = format!("up to {known};");
        assert!(error.contains("version 9999") && error.contains(&wanted), "{error}");
    }

    #[tokio::test]
    async fn users_of_an_older_schema_keep_what_they_chose() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cusax.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        let first = sqlx::migrate::Migrator {
            migrations: MIGRATOR.migrations[..1].to_vec().into(),
            ..sqlx::migrate::Migrator::DEFAULT
        };
        first.run(&pool).await.unwrap();
        let users = "INSERT INTO users (jid, name, language, video, notices, impp)
            VALUES ('a@x.example', 'A', 'en', 1, 1, 0), ('b@x.example', 'B', 'en', 0, 0, 1)";
        sqlx::raw_sql(users).execute(&pool).await.unwrap();
        pool.close().await;
        let store = SqliteStore::open(&path).await.unwrap();
        for (jid, notices) in [("a@x.example", Notices::default()), ("b@x.example", Notices::NONE)] {
            let user = store.by_jid(&jid.parse().unwrap()).await.unwrap().unwrap();
            let first = jid.starts_with('a');
            let wanted = Flags {
                video: first,
                notices,
                impp: !first,
            };
            assert_eq!(user.flags, wanted, "{jid}");
        }
    }
}
