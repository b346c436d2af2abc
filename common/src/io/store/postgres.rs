//! The database of a production service, shared by several processes.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Postgres, Transaction};

use crate::core::secret::Secret;
use crate::core::store::StoreError;

/// Users and records in a Postgres database.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pub(super) pool: PgPool,
    pub(super) dropped: Arc<AtomicU64>,
}

impl PostgresStore {
    /// Connects to `postgres://user@host:port/database`.
    ///
    /// # Errors
    /// As [`Store::open`](super::Store::open).
    pub async fn open(url: &str, password: Option<&Secret<String>>) -> Result<Self, StoreError> {
        let mut options = PgConnectOptions::from_str(url)
            // The error might quote the address, which may hold a password.
            .map_err(|_| StoreError::Refused("the address of the Postgres store cannot be read"))?
            .application_name("cusax")
            // The server gives up before we do, so that an abandoned statement does not hold its locks.
            .options([
                ("statement_timeout", STATEMENT),
                ("idle_in_transaction_session_timeout", STATEMENT),
            ])
            // A statement in a log at debug helps nobody here, and the operator may log everything.
            .disable_statement_logging();
        if let Some(password) = password {
            options = options.password(password.expose());
        }
        let opening = async {
            let pool = PgPoolOptions::new()
                .max_connections(CONNECTIONS)
                .acquire_timeout(super::ACQUIRE)
                .idle_timeout(IDLE)
                .connect_with(options)
                .await
                .map_err(super::fault::of)?;
            super::sql::migrate!(&pool, MIGRATOR)?;
            Ok(Self {
                pool,
                dropped: Arc::default(),
            })
        };
        let late = |_| Err(StoreError::Unavailable("the database did not open in time".into()));
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

    pub(super) async fn begin(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.pool.begin().await
    }
}

super::sql::user_store!(PostgresStore);

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/postgres");
/// Milliseconds, as the server reads it: a little less than [`PATIENCE`](super::PATIENCE).
const STATEMENT: &str = "4500";
/// The most connections of one process.
const CONNECTIONS: u32 = 10;
/// An unused connection is given back after this long.
const IDLE: Duration = Duration::from_secs(300);
