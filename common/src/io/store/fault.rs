//! What the errors of the databases mean to us.

use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::migrate::MigrateError;

use crate::core::store::StoreError;

/// Sorts an error by what can be done about it. Texts of the database are kept; bound values are not in them.
pub(super) fn of(error: sqlx::Error) -> StoreError {
    use sqlx::Error as E;
    match error {
        E::Database(error) => of_database(&*error),
        E::ColumnDecode { .. } | E::Decode(_) | E::ColumnNotFound(_) | E::ColumnIndexOutOfBounds { .. } => {
            StoreError::Corrupt(error.to_string())
        }
        E::TypeNotFound { .. } | E::RowNotFound => StoreError::Corrupt(error.to_string()),
        E::Encode(_) => StoreError::Refused("a value that the database cannot take"),
        other => StoreError::Unavailable(other.to_string()),
    }
}

/// Why a schema could not be brought up to date.
pub(super) fn of_migration(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => of(error),
        other => StoreError::Corrupt(other.to_string()),
    }
}

fn of_database(error: &dyn DatabaseError) -> StoreError {
    let code = error.code().unwrap_or_default();
    let text = || format!("{} ({code})", error.message());
    if error.kind() == ErrorKind::CheckViolation {
        return StoreError::Refused("a value that the schema does not allow");
    }
    let meaning = if code.len() == SQLSTATE {
        of_sqlstate(&code)
    } else {
        of_sqlite(&code)
    };
    match meaning {
        Meaning::Unavailable => StoreError::Unavailable(text()),
        Meaning::Refused => StoreError::Refused("a value that the database cannot hold"),
        Meaning::Corrupt => StoreError::Corrupt(text()),
    }
}

enum Meaning {
    Unavailable,
    Refused,
    Corrupt,
}

/// By the class of a Postgres code (PostgreSQL manual, appendix A).
fn of_sqlstate(code: &str) -> Meaning {
    match (code, &code[..2]) {
        // No privilege: the administrator of the database can mend it.
        ("42501", _) => Meaning::Unavailable,
        // Data exceptions and limits of the program, such as a text too long for an index.
        (_, "22" | "54") => Meaning::Refused,
        // Names of tables and columns that are not there, and inner inconsistencies.
        (_, "42" | "XX") => Meaning::Corrupt,
        _ => Meaning::Unavailable,
    }
}

/// By the primary result code of SQLite, which is the low byte of the extended one.
fn of_sqlite(code: &str) -> Meaning {
    match code.parse::<u32>().map(|code| code & 0xff) {
        // ERROR (no such table or column), CORRUPT, SCHEMA, MISMATCH, NOTADB
        Ok(1 | 11 | 17 | 20 | 26) => Meaning::Corrupt,
        // TOOBIG
        Ok(18) => Meaning::Refused,
        _ => Meaning::Unavailable,
    }
}

/// The length of every SQLSTATE; no SQLite code is as long.
const SQLSTATE: usize = 5;
