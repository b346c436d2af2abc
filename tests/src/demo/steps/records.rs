//! What remains: one record for each call, and one id through every log.

use serde_json::Value;

use crate::demo::report::{Mechanism, Report, ensure};
use crate::demo::stage::{SOON, Stage};
use crate::lab::{Context as _, Result, wait};

/// Shows it.
///
/// # Errors
/// When a line does not hold.
pub fn show(stage: &mut Stage, report: &mut Report) -> Result<()> {
    report.step(6, "What the operator sees");
    let cast = stage.cast.clone();
    let (alice, bob) = (cast.alice.jid.as_str(), cast.bob.jid.as_str());
    let mut calls = Vec::new();
    report.line(Mechanism::Records, "`cusax calls` lists every call", || {
        calls = wait::until_ok("six records", SOON, || {
            let calls = stage.stack.calls()?;
            Ok((calls.len() >= 6).then_some(calls))
        })?;
        Ok(format!("{} of them", calls.len()))
    })?;
    let rows = [
        (
            "the call to Bob",
            [
                ("caller", alice),
                ("callee", bob),
                ("cause", "caller-hung-up"),
                ("impp", "verified"),
                ("warning", "none"),
            ],
        ),
        (
            "the anonymous call",
            [
                ("caller", alice),
                ("callee", bob),
                ("cause", "cancelled"),
                ("impp", "withheld"),
                ("warning", "none"),
            ],
        ),
        (
            "the paid call",
            [
                ("caller", alice),
                ("to", &cast.biloxi.number),
                ("cause", "caller-hung-up"),
                ("class", "MOBILE"),
                ("warning", "tone"),
            ],
        ),
        (
            "the emergency call",
            [
                ("caller", alice),
                ("to", "112"),
                ("cause", "caller-hung-up"),
                ("class", "EMERGENCY"),
                ("warning", "none"),
            ],
        ),
        (
            "the call from the trunk",
            [
                ("trunk", "gateway"),
                ("callee", bob),
                ("cause", "rejected"),
                ("impp", "stripped"),
                ("warning", "none"),
            ],
        ),
    ];
    for (name, wanted) in rows {
        report.line(Mechanism::Records, &format!("{name} is recorded"), || {
            let fits = |call: &&Value| wanted.iter().all(|(key, value)| call[*key] == *value);
            let found = calls.iter().find(fits);
            let found = found.context(format_args!(
                "no record has {wanted:?}; there are {}",
                Value::from(calls.clone())
            ))?;
            Ok(summary(found))
        })?;
    }
    report.line(
        Mechanism::Records,
        "one id leads through both legs' log lines and the notice's",
        || {
            let paid = calls
                .iter()
                .find(|call| call["warning"] == "tone")
                .context("no paid call")?;
            let session = paid["session"].as_str().context("a session")?;
            let log = stage.stack.log();
            let lines: Vec<_> = log.lines().filter(|line| line.contains(session)).collect();
            for word in ["leg=\"caller\"", "leg=\"callee\"", "charge notice sent"] {
                ensure(lines.iter().any(|line| line.contains(word)), || {
                    format!("no line of {session} has {word:?}: {lines:#?}")
                })?;
            }
            Ok(format!("{session} in {} lines", lines.len()))
        },
    )
}

fn summary(call: &Value) -> String {
    let words = [
        "session",
        "cause",
        "length_secs",
        "caller",
        "callee",
        "to",
        "warning",
        "impp",
    ]
    .map(|key| {
        format!(
            "{key} {}",
            call[key].as_str().map_or_else(|| call[key].to_string(), str::to_owned)
        )
    });
    words.join(", ")
}
