//! `cusax calls`

use clap::Args;
use cusax_common::core::config::Config;
use cusax_common::core::id::SessionId;
use cusax_common::core::record::CallRecord;
use cusax_common::core::store::{CallQuery, UserStore as _};
use cusax_common::core::time::Wall;
use jid::BareJid;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::failure::Failure;
use super::{Answer, open_existing_store, store_failure, table, wait};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Only calls of this user, on either side
    #[arg(long, value_name = "JID")]
    user: Option<BareJid>,
    /// Only the call with this correlation id
    #[arg(long, value_name = "ID")]
    session: Option<SessionId>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

pub fn run(config: Config, arguments: Arguments) -> Result<Answer, Failure> {
    let Arguments { user, session, limit } = arguments;
    wait(async {
        let store = open_existing_store(&config).await?;
        let query = CallQuery { user, session, limit };
        let calls = store
            .calls(&query)
            .await
            .map_err(|error| store_failure(&error, "store.url"))?;
        store.close().await;
        let rows: Vec<_> = calls.iter().map(row).collect();
        let heads = [
            "start",
            "from",
            "to",
            "cause",
            "length",
            "caller jid",
            "callee jid",
            "warning",
            "impp",
            "session",
        ];
        Ok(Answer::new(
            table::render(&heads, &rows),
            calls.iter().map(json).collect(),
        ))
    })
}

fn row(call: &CallRecord) -> Vec<String> {
    let jid = |jid: &Option<BareJid>| jid.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let length = seconds(call).map_or_else(|| "-".to_owned(), |s| format!("{}:{:02}", s / 60, s % 60));
    vec![
        stamp(call.started),
        call.from.clone(),
        call.to.clone(),
        call.cause.as_str().to_owned(),
        length,
        jid(&call.caller),
        jid(&call.callee),
        call.warning.as_str().to_owned(),
        call.impp.as_str().to_owned(),
        call.session.to_string(),
    ]
}

fn json(call: &CallRecord) -> serde_json::Value {
    let mut json = serde_json::to_value(call).unwrap_or_default();
    json["started"] = stamp(call.started).into();
    json["answered"] = call.answered.map(stamp).into();
    json["ended"] = stamp(call.ended).into();
    json["length_secs"] = seconds(call).into();
    json
}

/// The length of an answered call.
fn seconds(call: &CallRecord) -> Option<u64> {
    call.answered.map(|answered| call.ended.since(answered).as_secs())
}

fn stamp(wall: Wall) -> String {
    i64::try_from(wall.seconds())
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| "-".to_owned())
}
