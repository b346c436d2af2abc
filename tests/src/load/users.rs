//! The accounts that the phones have.
//!
//! They are written into the store behind the back of `cusax`, all in one transaction: the command line adds one user
//! with one lasting write each, which is what an operator wants and takes minutes for as many as a benchmark needs. One
//! of them is read back through the store's own interface, which says whether they are as it would have written them.

use std::path::Path;

use cusax_common::core::sip::digest;
use cusax_common::core::store::UserStore as _;
use cusax_common::core::user::Algorithm;
use cusax_common::io::store::Store;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use crate::lab::{Context as _, Result};

/// The SIP domain, which is the realm as well.
pub const DOMAIN: &str = "sip.example.com";

/// The user part of a phone's address, and its name for the digest.
#[must_use]
pub fn login(index: u32) -> String {
    format!("phone{index:06}")
}

/// Its password; other devices are configured with the same rule.
#[must_use]
pub fn password(index: u32) -> String {
    format!("secret-{}", login(index))
}

/// Its telephone number, without `+`.
#[must_use]
pub fn number(index: u32) -> String {
    format!("4930{:07}", 1_000_000 + index)
}

/// Makes a store with so many users: an address, a number and a password each, as `cusax user add` makes them.
///
/// # Errors
/// Those of the store, and when it does not read them as they were meant.
pub fn store(file: &Path, count: u32) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fill(file, count)).context("making a store of users")
}

/// How many call records such a store holds.
///
/// # Errors
/// Those of the store.
pub fn records(file: &Path) -> Result<u32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let count = async {
        let mut connection = SqliteConnectOptions::new().filename(file).connect().await?;
        sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM call_records")
            .fetch_one(&mut connection)
            .await
    };
    let count = runtime.block_on(count).context("counting call records")?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

async fn fill(file: &Path, count: u32) -> Result<()> {
    // Opening makes the schema.
    let store = Store::open(&format!("sqlite:{}", file.display()), None).await?;
    let mut connection = SqliteConnectOptions::new().filename(file).connect().await?;
    sqlx::query("BEGIN").execute(&mut connection).await?;
    for index in 0..count {
        let login = login(index);
        let jid = format!("{login}@example.com");
        sqlx::query(
            "INSERT INTO users (jid, name, language, video, notice_kinds, impp) VALUES ($1, $2, 'en', 0, 13, 1)",
        )
        .bind(&jid)
        .bind(&login)
        .execute(&mut connection)
        .await?;
        sqlx::query("INSERT INTO aors (aor, jid, place) VALUES ($1, $2, 0)")
            .bind(format!("sip:{login}@{DOMAIN}"))
            .bind(&jid)
            .execute(&mut connection)
            .await?;
        sqlx::query("INSERT INTO numbers (number, jid, place) VALUES ($1, $2, 0)")
            .bind(format!("+{}", number(index)))
            .bind(&jid)
            .execute(&mut connection)
            .await?;
        sqlx::query("INSERT INTO logins (realm, username, jid) VALUES ($1, $2, $3)")
            .bind(DOMAIN)
            .bind(&login)
            .bind(&jid)
            .execute(&mut connection)
            .await?;
        let password = password(index);
        let ha1 = Algorithm::ALL.map(|algorithm| digest::ha1(algorithm, &login, DOMAIN, &password));
        let mut credentials = sqlx::query(
            "INSERT INTO credentials (realm, username, algorithm, ha1, place) \
             VALUES ($1, $2, $3, $4, 0), ($1, $2, $5, $6, 1), ($1, $2, $7, $8, 2)",
        );
        credentials = credentials.bind(DOMAIN).bind(&login);
        for (algorithm, ha1) in Algorithm::ALL.iter().zip(&ha1) {
            credentials = credentials.bind(algorithm.as_str()).bind(ha1);
        }
        credentials.execute(&mut connection).await?;
    }
    sqlx::query("COMMIT").execute(&mut connection).await?;
    let last = login(count.saturating_sub(1));
    let user = store
        .by_login(DOMAIN, &last)
        .await?
        .context("the last user is not there")?;
    store.close().await;
    let whole = user.aors.len() == 1 && user.numbers.len() == 1 && user.credentials.len() == Algorithm::ALL.len();
    whole.then_some(()).context("the last user is not whole")
}
