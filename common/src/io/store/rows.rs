//! Rows to records and back, in one place for both dialects.
//!
//! What goes in is checked against the limits that [`User`] and [`CallRecord`] name; what comes out is parsed as a
//! stranger's input, and must be spelled as we would have written it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use jid::BareJid;
use serde::Serialize;
use serde::de::value::{Error as WordError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer as _};

use crate::core::notice::Notices;
use crate::core::record::CallRecord;
use crate::core::secret::Secret;
use crate::core::store::StoreError;
use crate::core::time::Wall;
use crate::core::user::{Algorithm, Credential, Flags, Ha1, MAX_ADDRESSES, MAX_NAME, User};

/// One piece of a user; which one, `kind` tells. The query is `pieces!` in [`sql`](super::sql).
#[derive(sqlx::FromRow)]
pub(super) struct Piece {
    jid: String,
    kind: i64,
    place: i64,
    text_1: String,
    text_2: String,
    text_3: String,
    text_4: String,
    flags: i64,
}

/// The users that these pieces make, with the JID as the row spells it, in the order of the rows.
pub(super) fn users(pieces: Vec<Piece>) -> Vec<(String, Result<User, StoreError>)> {
    let mut users: Vec<(String, Result<User, StoreError>)> = Vec::new();
    for piece in pieces {
        match users.last_mut() {
            Some((jid, user)) if *jid == piece.jid => {
                if let Ok(half) = user
                    && let Err(error) = add(half, piece)
                {
                    *user = Err(error);
                }
            }
            _ => users.push((piece.jid.clone(), begin(&piece))),
        }
    }
    for (_, user) in &mut users {
        if let Ok(whole) = user
            && let Err(why) = check_user(whole)
        {
            *user = Err(corrupt("user", why));
        }
    }
    users
}

/// The one user that was asked for.
pub(super) fn one_user(pieces: Vec<Piece>) -> Result<Option<Arc<User>>, StoreError> {
    let mut found = users(pieces).into_iter();
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some((_, user)), None) => {
            let mut user = user?;
            // It may be kept for long.
            user.aors.shrink_to_fit();
            user.numbers.shrink_to_fit();
            user.credentials.shrink_to_fit();
            Ok(Some(Arc::new(user)))
        }
        (Some(_), Some(_)) => Err(corrupt("user", "two users where there can be one")),
    }
}

/// Whether a user can be stored and read back unchanged.
pub(super) fn check_user(user: &User) -> Result<(), &'static str> {
    if user.name.len() > MAX_NAME || user.name.chars().any(char::is_control) {
        return Err("a display name is too long or holds control characters");
    }
    check_text(&user.language)?;
    if user.aors.len() > MAX_ADDRESSES || user.numbers.len() > MAX_ADDRESSES {
        return Err("more addresses or numbers than a user may hold");
    }
    if user.credentials.len() > MAX_CREDENTIALS {
        return Err("more credentials than a user may hold");
    }
    let mut seen = BTreeSet::new();
    for credential in &user.credentials {
        check_text(&credential.realm)?;
        check_text(&credential.username)?;
        if !seen.insert((&credential.realm, &credential.username, credential.algorithm)) {
            return Err("the same credential twice");
        }
    }
    let aors: BTreeSet<_> = user.aors.iter().collect();
    let numbers: BTreeSet<_> = user.numbers.iter().collect();
    if aors.len() < user.aors.len() || numbers.len() < user.numbers.len() {
        return Err("the same address or number twice");
    }
    Ok(())
}

/// Whether a text fits into a column and an index.
pub(super) fn check_text(text: &str) -> Result<(), &'static str> {
    if text.contains('\0') {
        return Err("NUL in a text");
    }
    if text.len() > MAX_TEXT {
        Err("a text is too long")
    } else {
        Ok(())
    }
}

/// A JID that a row holds.
pub(super) fn jid(text: &str) -> Result<BareJid, StoreError> {
    let jid = BareJid::new(text).map_err(|error| corrupt("JID", error))?;
    if jid.as_str() == text {
        Ok(jid)
    } else {
        Err(corrupt("JID", "not in its canonical spelling"))
    }
}

/// A number that cannot be negative.
pub(super) fn unsigned(number: i64) -> Result<u64, StoreError> {
    number.try_into().map_err(|_| corrupt("number", "negative"))
}

/// A call record as its row.
#[derive(sqlx::FromRow)]
pub(super) struct CallRow {
    pub(super) session: String,
    pub(super) started: i64,
    pub(super) answered: Option<i64>,
    pub(super) ended: i64,
    pub(super) caller: Option<String>,
    pub(super) from_address: String,
    pub(super) callee: Option<String>,
    pub(super) to_address: String,
    pub(super) class: Option<String>,
    pub(super) trunk: Option<String>,
    pub(super) cause: String,
    pub(super) status: i64,
    pub(super) warning: String,
    pub(super) impp: String,
}

impl CallRow {
    /// The row of a record, or why it cannot be one.
    pub(super) fn of(record: &CallRecord) -> Result<Self, &'static str> {
        for text in [&record.from, &record.to].into_iter().chain(&record.trunk) {
            if text.contains('\0') {
                return Err("NUL in a text");
            }
            if text.len() > MAX_ADDRESS {
                return Err("a text is too long");
            }
        }
        let millis = |time: Wall| i64::try_from(time.0).map_err(|_| "a time beyond reason");
        Ok(Self {
            session: record.session.to_string(),
            started: millis(record.started)?,
            answered: record.answered.map(millis).transpose()?,
            ended: millis(record.ended)?,
            caller: record.caller.as_ref().map(ToString::to_string),
            from_address: record.from.clone(),
            callee: record.callee.as_ref().map(ToString::to_string),
            to_address: record.to.clone(),
            class: record.class.map(to_word).transpose()?,
            trunk: record.trunk.clone(),
            cause: to_word(record.cause)?,
            status: record.status.into(),
            warning: to_word(record.warning)?,
            impp: to_word(record.impp)?,
        })
    }
}

impl TryFrom<CallRow> for CallRecord {
    type Error = StoreError;

    fn try_from(row: CallRow) -> Result<Self, StoreError> {
        let wall = |millis| unsigned(millis).map(Wall);
        Ok(Self {
            session: parse("session", &row.session)?,
            started: wall(row.started)?,
            answered: row.answered.map(wall).transpose()?,
            ended: wall(row.ended)?,
            caller: row.caller.as_deref().map(jid).transpose()?,
            from: row.from_address,
            callee: row.callee.as_deref().map(jid).transpose()?,
            to: row.to_address,
            class: row.class.as_deref().map(|word| of_word("class", word)).transpose()?,
            trunk: row.trunk,
            cause: of_word("cause", &row.cause)?,
            status: row.status.try_into().map_err(|_| corrupt("status", "out of range"))?,
            warning: of_word("warning", &row.warning)?,
            impp: of_word("impp", &row.impp)?,
        })
    }
}

/// The user that a piece of kind 0 begins.
fn begin(piece: &Piece) -> Result<User, StoreError> {
    if piece.kind != 0 {
        return Err(corrupt("user", "a piece without its user"));
    }
    Ok(User {
        jid: jid(&piece.jid)?,
        name: piece.text_1.as_str().into(),
        aors: Vec::new(),
        numbers: Vec::new(),
        credentials: Vec::new(),
        flags: Flags {
            video: piece.flags & 1 != 0,
            impp: piece.flags & 2 != 0,
            notices: Notices::from_bits(u8::try_from(piece.flags >> 2).unwrap_or_default()),
        },
        language: piece.text_2.as_str().into(),
    })
}

fn add(user: &mut User, piece: Piece) -> Result<(), StoreError> {
    if piece.place < 0 {
        return Err(corrupt("place", "negative"));
    }
    match piece.kind {
        1 => user.aors.push(parse("AOR", &piece.text_1)?),
        2 => user.numbers.push(parse("number", &piece.text_1)?),
        3 => {
            let ha1 = Ha1::from_hex(&piece.text_4);
            let ha1 = ha1.ok_or_else(|| corrupt("hash", "not bytes in lower-case hexadecimal"))?;
            // A login's credentials stand one behind the other, nearly always.
            let username = match user.credentials.last() {
                Some(known) if *known.username == *piece.text_1 => Arc::clone(&known.username),
                _ => Arc::from(piece.text_1),
            };
            user.credentials.push(Credential {
                username,
                realm: realm(&piece.text_2),
                algorithm: algorithm(&piece.text_3)?,
                ha1: Secret::new(ha1),
            });
        }
        other => return Err(corrupt("user", format_args!("a piece of kind {other}"))),
    }
    Ok(())
}

/// A realm, kept once for the very many users who have it.
fn realm(text: &str) -> Arc<str> {
    static KNOWN: Mutex<Vec<Arc<str>>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(realm) = known.iter().find(|realm| ***realm == *text) {
        return Arc::clone(realm);
    }
    let realm: Arc<str> = text.into();
    if known.len() < MAX_REALMS {
        known.push(Arc::clone(&realm));
    }
    realm
}

fn algorithm(text: &str) -> Result<Algorithm, StoreError> {
    Algorithm::ALL
        .into_iter()
        .find(|a| a.as_str() == text)
        .ok_or_else(|| corrupt("algorithm", "unknown"))
}

/// Reads a text that must be spelled in the one canonical way.
fn parse<T: FromStr<Err: Display> + Display>(what: &str, text: &str) -> Result<T, StoreError> {
    let value: T = text.parse().map_err(|error| corrupt(what, error))?;
    if value.to_string() == text {
        Ok(value)
    } else {
        Err(corrupt(what, "not in its canonical spelling"))
    }
}

/// The word of a variant, the same as in JSON.
fn to_word(value: impl Serialize) -> Result<String, &'static str> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        _ => Err("a variant that is not one word"),
    }
}

fn of_word<T: DeserializeOwned>(what: &str, word: &str) -> Result<T, StoreError> {
    let word: StrDeserializer<'_, WordError> = word.into_deserializer();
    // The error of serde quotes the word, which is a stranger's.
    T::deserialize(word).map_err(|_| corrupt(what, "no word of ours"))
}

/// Names the column and the fault, never the value, which may be somebody's address.
fn corrupt(what: &str, why: impl Display) -> StoreError {
    StoreError::Corrupt(format!("{what}: {why}"))
}

/// The longest realm, username, language or trunk name, in bytes.
const MAX_TEXT: usize = 255;
/// The longest address in a call record, in bytes.
const MAX_ADDRESS: usize = 2048;
/// More realms than one deployment has; users of further ones have theirs for themselves.
const MAX_REALMS: usize = 64;
/// Each phone login takes one credential for each algorithm.
const MAX_CREDENTIALS: usize = 24;
