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
    report.step(7, "What the operator sees");
    let cast = stage.cast.clone();
    let (alice, bob) = (cast.alice.jid.as_str(), cast.bob.jid.as_str());
    let mut calls = Vec::new();
    report.line(Mechanism::Records, "`cusax calls` lists every call", || {
        calls = wait::until_ok("eight records", SOON, || {
            let calls = stage.stack.calls()?;
            Ok((calls.len() >= 8).then_some(calls))
        })?;
        Ok(format!("{} of them", calls.len()))
    })?;
    let rows = [
        (
            "the call to Bob's address",
            [
                ("caller", alice),
                ("to", &cast.bob.aor),
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
            "the call that Alice handed on",
            [
                ("caller", alice),
                ("callee", bob),
                ("cause", "transferred"),
                ("impp", "verified"),
                ("warning", "none"),
            ],
        ),
        (
            "the call to Carol, which is Alice's to pay",
            [
                ("caller", alice),
                ("to", &cast.carol.aor),
                ("cause", "caller-hung-up"),
                ("impp", "verified"),
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
            for word in ["leg=\"caller\"", "leg=\"callee\"", "notice sent"] {
                ensure(lines.iter().any(|line| line.contains(word)), || {
                    format!("no line of {session} has {word:?}: {lines:#?}")
                })?;
            }
            Ok(format!("{session} in {} lines", lines.len()))
        },
    )?;
    metrics(stage, report, &calls)?;
    logs(stage, report)
}

/// The metrics count what the records and the chat clients have seen.
fn metrics(stage: &mut Stage, report: &mut Report, calls: &[Value]) -> Result<()> {
    report.line(Mechanism::Records, "the metrics count the same", || {
        let of = |key: &str, word: &str| calls.iter().filter(|call| call[key] == word).count();
        let wanted = [
            ("cusax_calls".to_owned(), 0),
            (
                r#"cusax_call_warnings_total{outcome="tone"}"#.to_owned(),
                of("warning", "tone"),
            ),
            (
                r#"cusax_impp_claims_total{outcome="verified"}"#.to_owned(),
                of("impp", "verified"),
            ),
            (
                r#"cusax_impp_claims_total{outcome="withheld"}"#.to_owned(),
                of("impp", "withheld"),
            ),
            (
                r#"cusax_impp_claims_total{outcome="stripped"}"#.to_owned(),
                of("impp", "stripped"),
            ),
            (
                r#"cusax_notices_total{kind="charge"}"#.to_owned(),
                of("warning", "tone"),
            ),
            (r#"cusax_vcard_checks_total{verdict="refused"}"#.to_owned(), 20),
            (
                "cusax_call_duration_seconds_count".to_owned(),
                calls.iter().filter(|call| !call["answered"].is_null()).count(),
            ),
        ];
        wait::until_ok("metrics that add up", SOON, || {
            let text = stage.stack.metrics()?;
            let value = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
                line.and_then(|value| value.parse::<f64>().ok())
            };
            let wrong: Vec<_> = wanted
                .iter()
                .filter(|(name, count)| value(name) != Some(*count as f64))
                .collect();
            let relayed = value("cusax_media_packets_relayed_total").unwrap_or_default();
            Ok((wrong.is_empty() && relayed > 1000.0)
                .then(|| format!("{} calls, {relayed} packets relayed", calls.len())))
        })
    })
}

/// The logs of the service were written at the level that says most.
fn logs(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let cast = stage.cast.clone();
    report.line(
        Mechanism::Records,
        "no log holds a secret, nor at info an address",
        || {
            let log = stage.stack.log();
            ensure(log.contains(" DEBUG "), || "the log does not say everything".to_owned())?;
            let people = [&cast.alice, &cast.bob, &cast.carol, &cast.mallory, &cast.biloxi];
            let mut secrets = vec![cast.secret.clone()];
            for person in people {
                secrets.extend([person.password.clone(), person.sip_password.clone()]);
            }
            let passwords = secrets.len();
            for message in stage.at_alice.messages()?.into_iter().chain(stage.at_bob.messages()?) {
                for name in ["Authorization", "Proxy-Authorization"] {
                    let response = message.header(name).split("response=\"").nth(1);
                    secrets.extend(response.and_then(|rest| rest.split('"').next()).map(str::to_owned));
                }
            }
            ensure(secrets.len() > passwords, || "no digest response was seen".to_owned())?;
            for secret in &secrets {
                let line = log.lines().find(|line| line.contains(secret.as_str()));
                ensure(line.is_none(), || format!("{secret} in: {}", line.unwrap_or_default()))?;
            }
            let mut addresses: Vec<String> = Vec::new();
            for person in people {
                let user = person
                    .aor
                    .trim_start_matches("sip:")
                    .split('@')
                    .next()
                    .unwrap_or_default();
                addresses.extend([person.jid.clone(), user.to_owned(), person.number[1..].to_owned()]);
            }
            for host in [&stage.hosts.alice, &stage.hosts.bob, &stage.hosts.mallory] {
                addresses.push(host.address.to_string());
            }
            let loud: Vec<_> = log
                .lines()
                .filter(|line| [" INFO ", " WARN ", " ERROR "].iter().any(|level| line.contains(level)))
                .collect();
            for address in &addresses {
                let line = loud.iter().find(|line| line.contains(address.as_str()));
                ensure(line.is_none(), || {
                    format!("{address} in: {}", line.copied().unwrap_or_default())
                })?;
            }
            Ok(format!(
                "{} secrets and {} addresses in {} lines",
                secrets.len(),
                addresses.len(),
                log.lines().count()
            ))
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
