//! The statements, and the one implementation of [`UserStore`](crate::core::store::UserStore) that both backends get.
//!
//! SQLite and Postgres both read `$1`, `ON CONFLICT`, `CAST` and common table expressions, so one text serves both. The
//! implementation is a macro and not a generic type because the bounds that sqlx needs for a generic database would be
//! longer than the code.
//!
//! # What keeps the promises
//! Every write of a user begins by raising the counter of changes. That row is locked until the end of the transaction,
//! so writers stand in one line: nobody takes an address between our look and our insert, and nobody sees a number of
//! changes before the change it counts.

/// Everything about the users whose JIDs `$picked` selects, one piece a row: the user first, then the addresses,
/// numbers and credentials in their order. One statement sees one state of the database.
macro_rules! pieces {
    ($picked:literal) => {
        concat!(
            "WITH picked AS (",
            $picked,
            ") SELECT users.jid AS jid, CAST(0 AS BIGINT) AS kind, CAST(0 AS BIGINT) AS place, \
             users.name AS text_1, users.language AS text_2, '' AS text_3, '' AS text_4, \
             CAST(CASE WHEN users.video THEN 1 ELSE 0 END + CASE WHEN users.impp THEN 2 ELSE 0 END \
             + 4 * users.notice_kinds AS BIGINT) AS flags \
             FROM users JOIN picked ON picked.jid = users.jid \
             UNION ALL SELECT aors.jid, 1, aors.place, aors.aor, '', '', '', 0 \
             FROM aors JOIN picked ON picked.jid = aors.jid \
             UNION ALL SELECT numbers.jid, 2, numbers.place, numbers.number, '', '', '', 0 \
             FROM numbers JOIN picked ON picked.jid = numbers.jid \
             UNION ALL SELECT logins.jid, 3, credentials.place, credentials.username, credentials.realm, \
             credentials.algorithm, credentials.ha1, 0 \
             FROM credentials JOIN logins ON logins.realm = credentials.realm \
             AND logins.username = credentials.username \
             JOIN picked ON picked.jid = logins.jid \
             ORDER BY jid, kind, place"
        )
    };
}

macro_rules! records {
    ($where:literal) => {
        concat!(
            "SELECT session, started, answered, ended, caller, from_address, callee, to_address, class, trunk, \
             cause, status, warning, impp FROM call_records ",
            $where
        )
    };
}

pub(super) const BY_JID: &str = pieces!("SELECT jid FROM users WHERE jid = $1");
pub(super) const BY_AOR: &str = pieces!("SELECT jid FROM aors WHERE aor = $1");
pub(super) const BY_NUMBER: &str = pieces!("SELECT jid FROM numbers WHERE number = $1");
pub(super) const BY_LOGIN: &str = pieces!("SELECT jid FROM logins WHERE realm = $1 AND username = $2");
pub(super) const LIST: &str = pieces!("SELECT jid FROM users WHERE jid > $1 ORDER BY jid LIMIT $2");

pub(super) const GROW: &str = "UPDATE user_changes SET value = value + 1 WHERE id = 1";
pub(super) const CHANGES: &str = "SELECT value FROM user_changes WHERE id = 1";

pub(super) const OWNER_OF_AOR: &str = "SELECT jid FROM aors WHERE aor = $1 AND jid <> $2";
pub(super) const OWNER_OF_NUMBER: &str = "SELECT jid FROM numbers WHERE number = $1 AND jid <> $2";
pub(super) const OWNER_OF_LOGIN: &str = "SELECT jid FROM logins WHERE realm = $1 AND username = $2 AND jid <> $3";

pub(super) const PUT_USER: &str = "INSERT INTO users (jid, name, language, video, notice_kinds, impp) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (jid) DO UPDATE SET name = excluded.name, \
     language = excluded.language, video = excluded.video, notice_kinds = excluded.notice_kinds, impp = excluded.impp";
pub(super) const PUT_AOR: &str = "INSERT INTO aors (aor, jid, place) VALUES ($1, $2, $3)";
pub(super) const PUT_NUMBER: &str = "INSERT INTO numbers (number, jid, place) VALUES ($1, $2, $3)";
pub(super) const PUT_LOGIN: &str =
    "INSERT INTO logins (realm, username, jid) VALUES ($1, $2, $3) ON CONFLICT (realm, username) DO NOTHING";
pub(super) const PUT_CREDENTIAL: &str =
    "INSERT INTO credentials (realm, username, algorithm, ha1, place) VALUES ($1, $2, $3, $4, $5)";

pub(super) const CLEAR_AORS: &str = "DELETE FROM aors WHERE jid = $1";
pub(super) const CLEAR_NUMBERS: &str = "DELETE FROM numbers WHERE jid = $1";
/// Credentials go with their logins.
pub(super) const CLEAR_LOGINS: &str = "DELETE FROM logins WHERE jid = $1";
/// Everything that the user held goes with them.
pub(super) const REMOVE: &str = "DELETE FROM users WHERE jid = $1";

pub(super) const CHOOSE: &str = "UPDATE users SET notice_kinds = $2, impp = $3 WHERE jid = $1";

pub(super) const RECORD: &str = "INSERT INTO call_records (session, started, answered, ended, caller, from_address, \
     callee, to_address, class, trunk, cause, status, warning, impp) ";
/// What follows the values.
pub(super) const RECORDED: &str = " ON CONFLICT (session) DO UPDATE SET started = excluded.started, answered = excluded.answered, \
     ended = excluded.ended, caller = excluded.caller, from_address = excluded.from_address, \
     callee = excluded.callee, to_address = excluded.to_address, class = excluded.class, trunk = excluded.trunk, \
     cause = excluded.cause, status = excluded.status, warning = excluded.warning, impp = excluded.impp";
pub(super) const CALLS: &str = records!("ORDER BY started DESC, session LIMIT $1");
pub(super) const CALLS_OF_USER: &str =
    records!("WHERE caller = $1 OR callee = $1 ORDER BY started DESC, session LIMIT $2");
pub(super) const CALLS_OF_SESSION: &str = records!("WHERE session = $1");

/// The newest schema that the store has.
pub(super) const NEWEST: &str = "SELECT MAX(version) FROM _sqlx_migrations";

/// Brings the schema up to date, or tells which of program and store is the older one.
macro_rules! migrate {
    ($pool:expr, $migrator:expr) => {
        match $migrator.run($pool).await {
            Ok(()) => Ok(()),
            Err(sqlx::migrate::MigrateError::VersionMissing(_)) => {
                let known = $migrator
                    .iter()
                    .map(|migration| migration.version)
                    .max()
                    .unwrap_or_default();
                let found: Option<i64> = sqlx::query_scalar($crate::io::store::sql::NEWEST)
                    .fetch_one($pool)
                    .await
                    .map_err($crate::io::store::fault::of)?;
                Err(StoreError::Corrupt(format!(
                    "its schema has version {}, this program knows versions up to {known}; run the newer program",
                    found.unwrap_or_default()
                )))
            }
            Err(error) => Err($crate::io::store::fault::of_migration(error)),
        }
    };
}

/// Implements the trait for a type with a `pool`, `begin()` and `dropped`.
macro_rules! user_store {
    ($store:ty) => {
        const _: () = {
            use std::sync::atomic::Ordering;

            use jid::BareJid;

            use $crate::core::record::CallRecord;
            use $crate::core::store::{CallQuery, Choice, Put, StoreError, UserStore};
            use $crate::core::tel::Tel;
            use $crate::core::user::{Aor, User};
            use $crate::io::store::rows::{self, CallRow, Piece};
            use $crate::io::store::{sql, within};

            impl UserStore for $store {
                async fn put(&self, user: &User) -> Result<Put, StoreError> {
                    rows::check_user(user).map_err(StoreError::Refused)?;
                    let jid = user.jid.as_str();
                    let taken = |what: String, owner: String| rows::jid(&owner).map(|owner| Put::Taken { what, owner });
                    // An early return drops the transaction, which takes everything back.
                    let found = within(async {
                        let mut tx = self.begin().await?;
                        sqlx::query(sql::GROW).execute(&mut *tx).await?;
                        for aor in &user.aors {
                            let owner: Option<String> = sqlx::query_scalar(sql::OWNER_OF_AOR)
                                .bind(aor.as_str())
                                .bind(jid)
                                .fetch_optional(&mut *tx)
                                .await?;
                            if let Some(owner) = owner {
                                return Ok(Some((aor.to_string(), owner)));
                            }
                        }
                        for number in &user.numbers {
                            let owner: Option<String> = sqlx::query_scalar(sql::OWNER_OF_NUMBER)
                                .bind(number.as_str())
                                .bind(jid)
                                .fetch_optional(&mut *tx)
                                .await?;
                            if let Some(owner) = owner {
                                return Ok(Some((number.to_string(), owner)));
                            }
                        }
                        for login in &user.credentials {
                            let owner: Option<String> = sqlx::query_scalar(sql::OWNER_OF_LOGIN)
                                .bind(&*login.realm)
                                .bind(&*login.username)
                                .bind(jid)
                                .fetch_optional(&mut *tx)
                                .await?;
                            if let Some(owner) = owner {
                                return Ok(Some((format!("{}@{}", login.username, login.realm), owner)));
                            }
                        }
                        sqlx::query(sql::PUT_USER)
                            .bind(jid)
                            .bind(&*user.name)
                            .bind(&*user.language)
                            .bind(user.flags.video)
                            .bind(i16::from(user.flags.notices.bits()))
                            .bind(user.flags.impp)
                            .execute(&mut *tx)
                            .await?;
                        for clear in [sql::CLEAR_AORS, sql::CLEAR_NUMBERS, sql::CLEAR_LOGINS] {
                            sqlx::query(clear).bind(jid).execute(&mut *tx).await?;
                        }
                        for (place, aor) in (0_i64..).zip(&user.aors) {
                            sqlx::query(sql::PUT_AOR)
                                .bind(aor.as_str())
                                .bind(jid)
                                .bind(place)
                                .execute(&mut *tx)
                                .await?;
                        }
                        for (place, number) in (0_i64..).zip(&user.numbers) {
                            sqlx::query(sql::PUT_NUMBER)
                                .bind(number.as_str())
                                .bind(jid)
                                .bind(place)
                                .execute(&mut *tx)
                                .await?;
                        }
                        for (place, credential) in (0_i64..).zip(&user.credentials) {
                            sqlx::query(sql::PUT_LOGIN)
                                .bind(&*credential.realm)
                                .bind(&*credential.username)
                                .bind(jid)
                                .execute(&mut *tx)
                                .await?;
                            sqlx::query(sql::PUT_CREDENTIAL)
                                .bind(&*credential.realm)
                                .bind(&*credential.username)
                                .bind(credential.algorithm.as_str())
                                .bind(credential.ha1.expose().to_hex())
                                .bind(place)
                                .execute(&mut *tx)
                                .await?;
                        }
                        tx.commit().await?;
                        Ok(None)
                    })
                    .await?;
                    found.map_or(Ok(Put::Done), |(what, owner)| taken(what, owner))
                }

                async fn by_jid(&self, jid: &BareJid) -> Result<Option<Arc<User>>, StoreError> {
                    let query = sqlx::query_as::<_, Piece>(sql::BY_JID).bind(jid.as_str());
                    rows::one_user(within(query.fetch_all(&self.pool)).await?)
                }

                async fn by_aor(&self, aor: &Aor) -> Result<Option<Arc<User>>, StoreError> {
                    let query = sqlx::query_as::<_, Piece>(sql::BY_AOR).bind(aor.as_str());
                    rows::one_user(within(query.fetch_all(&self.pool)).await?)
                }

                async fn by_number(&self, number: &Tel) -> Result<Option<Arc<User>>, StoreError> {
                    let query = sqlx::query_as::<_, Piece>(sql::BY_NUMBER).bind(number.as_str());
                    rows::one_user(within(query.fetch_all(&self.pool)).await?)
                }

                async fn by_login(&self, realm: &str, username: &str) -> Result<Option<Arc<User>>, StoreError> {
                    // Nobody has such a login, and Postgres would call the question a fault.
                    if rows::check_text(realm).is_err() || rows::check_text(username).is_err() {
                        return Ok(None);
                    }
                    let query = sqlx::query_as::<_, Piece>(sql::BY_LOGIN)
                        .bind(realm)
                        .bind(username);
                    rows::one_user(within(query.fetch_all(&self.pool)).await?)
                }

                async fn list(&self, after: Option<&BareJid>, limit: u32) -> Result<Vec<User>, StoreError> {
                    let limit = limit as usize;
                    let mut after = after.map_or_else(String::new, |jid| jid.as_str().to_owned());
                    let mut users = Vec::new();
                    // More than one round only if rows had to be left out.
                    while users.len() < limit {
                        let wanted = limit - users.len();
                        let query = sqlx::query_as::<_, Piece>(sql::LIST)
                            .bind(&after)
                            .bind(i64::try_from(wanted).unwrap_or(i64::MAX));
                        let page = rows::users(within(query.fetch_all(&self.pool)).await?);
                        let Some((last, _)) = page.last() else { break };
                        after.clone_from(last);
                        let complete = page.len() == wanted;
                        for (_, user) in page {
                            match user {
                                Ok(user) => users.push(user),
                                Err(error) => {
                                    self.dropped.fetch_add(1, Ordering::Relaxed);
                                    tracing::warn!(%error, "a user was left out of a list");
                                }
                            }
                        }
                        if !complete {
                            break;
                        }
                    }
                    Ok(users)
                }

                async fn remove(&self, jid: &BareJid) -> Result<bool, StoreError> {
                    within(async {
                        let mut tx = self.begin().await?;
                        sqlx::query(sql::GROW).execute(&mut *tx).await?;
                        let removed = sqlx::query(sql::REMOVE)
                            .bind(jid.as_str())
                            .execute(&mut *tx)
                            .await?;
                        if removed.rows_affected() == 0 {
                            return Ok(false);
                        }
                        tx.commit().await?;
                        Ok(true)
                    })
                    .await
                }

                async fn choose(&self, jid: &BareJid, choice: Choice) -> Result<bool, StoreError> {
                    within(async {
                        let mut tx = self.begin().await?;
                        sqlx::query(sql::GROW).execute(&mut *tx).await?;
                        let chosen = sqlx::query(sql::CHOOSE)
                            .bind(jid.as_str())
                            .bind(i16::from(choice.notices.bits()))
                            .bind(choice.impp)
                            .execute(&mut *tx)
                            .await?;
                        if chosen.rows_affected() == 0 {
                            return Ok(false);
                        }
                        tx.commit().await?;
                        Ok(true)
                    })
                    .await
                }

                async fn changes(&self) -> Result<u64, StoreError> {
                    let query = sqlx::query_scalar::<_, i64>(sql::CHANGES);
                    rows::unsigned(within(query.fetch_one(&self.pool)).await?)
                }

                async fn record(&self, record: &CallRecord) -> Result<(), StoreError> {
                    self.record_many(std::slice::from_ref(record)).await
                }

                async fn record_many(&self, records: &[CallRecord]) -> Result<(), StoreError> {
                    if records.is_empty() {
                        return Ok(());
                    }
                    let rows: Result<Vec<_>, _> = records.iter().map(CallRow::of).collect();
                    let mut statement = sqlx::QueryBuilder::new(sql::RECORD);
                    statement.push_values(rows.map_err(StoreError::Refused)?, |mut values, row| {
                        values
                            .push_bind(row.session)
                            .push_bind(row.started)
                            .push_bind(row.answered)
                            .push_bind(row.ended)
                            .push_bind(row.caller)
                            .push_bind(row.from_address)
                            .push_bind(row.callee)
                            .push_bind(row.to_address)
                            .push_bind(row.class)
                            .push_bind(row.trunk)
                            .push_bind(row.cause)
                            .push_bind(row.status)
                            .push_bind(row.warning)
                            .push_bind(row.impp);
                    });
                    statement.push(sql::RECORDED);
                    within(statement.build().execute(&self.pool)).await.map(drop)
                }

                async fn calls(&self, query: &CallQuery) -> Result<Vec<CallRecord>, StoreError> {
                    let limit = i64::from(if query.limit == 0 {
                        $crate::io::store::CALLS
                    } else {
                        query.limit
                    });
                    let found = match (&query.session, &query.user) {
                        (Some(session), _) => {
                            let asked = sqlx::query_as::<_, CallRow>(sql::CALLS_OF_SESSION).bind(session.to_string());
                            within(asked.fetch_all(&self.pool)).await?
                        }
                        (None, Some(user)) => {
                            let asked = sqlx::query_as::<_, CallRow>(sql::CALLS_OF_USER)
                                .bind(user.as_str())
                                .bind(limit);
                            within(asked.fetch_all(&self.pool)).await?
                        }
                        (None, None) => {
                            let asked = sqlx::query_as::<_, CallRow>(sql::CALLS).bind(limit);
                            within(asked.fetch_all(&self.pool)).await?
                        }
                    };
                    let mut calls = Vec::with_capacity(found.len());
                    for row in found {
                        match CallRecord::try_from(row) {
                            Ok(call) => calls.push(call),
                            Err(error) => {
                                self.dropped.fetch_add(1, Ordering::Relaxed);
                                tracing::warn!(%error, "a call record was left out of a list");
                            }
                        }
                    }
                    if let Some(user) = &query.user {
                        calls.retain(|call| call.caller.as_ref() == Some(user) || call.callee.as_ref() == Some(user));
                    }
                    Ok(calls)
                }
            }
        };
    };
}

pub(super) use {migrate, user_store};
