//! `cusax check`: everything that keeps the service from doing its work, before it is started.

use std::time::Duration;

use cusax_common::core::config::Config;
use cusax_common::core::store::StoreError;
use cusax_common::core::user::{Aor, User};
use cusax_common::io::state::State;
use cusax_common::io::store::Store;
use tokio::net::TcpStream;

use super::failure::{Exit, Failure};
use super::{Answer, user, wait};

/// One thing that was found.
struct Finding {
    /// What keeps the service from its work; the rest is worth a look.
    grave: bool,
    what: String,
    fix: String,
}

pub fn run(config: Config) -> Result<Answer, Failure> {
    wait(async {
        let mut findings = Vec::new();
        let mut users = 0;
        match Store::missing_file(config.store.url.expose()) {
            // It is not made by looking at it.
            Some(file) => findings.push(Finding {
                grave: false,
                what: format!("store.url: {} does not exist", file.display()),
                fix: "the first `cusax user add` or `cusax serve` makes it".into(),
            }),
            None => match of_users(&config).await {
                Ok((count, found)) => {
                    users = count;
                    findings.extend(found);
                }
                Err(error) => findings.push(of_store("store.url", &error)),
            },
        }
        findings.extend(of_listeners(&config));
        if let Err(error) = open_state(&config).await {
            findings.push(of_store("state.url", &error));
        }
        findings.extend(of_server(&config).await);
        Ok(report(&findings, users))
    })
}

/// How many users there are, and what is to be said of them.
async fn of_users(config: &Config) -> Result<(usize, Vec<Finding>), StoreError> {
    let store = Store::open(config.store.url.expose(), None).await?;
    let all = user::every(&store).await;
    store.close().await;
    let all = all?;
    let findings = all.iter().flat_map(|user| of_user(config, user)).collect();
    Ok((all.len(), findings))
}

/// Addresses that are not this machine's cannot be listened on.
fn of_listeners(config: &Config) -> Vec<Finding> {
    let listeners = config.sip.listeners.iter().map(|listener| listener.address);
    let media = config.media.addresses.iter().copied();
    let named = listeners
        .enumerate()
        .map(|(index, address)| (format!("sip.listeners[{index}].address"), address))
        .chain(
            media
                .enumerate()
                .map(|(index, address)| (format!("media.addresses[{index}]"), address)),
        );
    let not_ours = named.filter_map(|(key, address)| {
        let error = std::net::UdpSocket::bind((address, 0)).err()?;
        Some(Finding {
            grave: true,
            what: format!("{key}: {address}: {error}"),
            fix: "write an address of this machine; `ip addr` lists them".into(),
        })
    });
    not_ours.collect()
}

/// Opens the shared state of the configuration.
pub async fn open_state(config: &Config) -> Result<State, StoreError> {
    let limit = u64::from(config.state.memory_mib) * 1024 * 1024;
    State::open(config.state.url.expose(), None, &config.state.prefix, limit).await
}

fn report(findings: &[Finding], users: usize) -> Answer {
    let grave = findings.iter().any(|finding| finding.grave);
    let mut text = String::new();
    for finding in findings {
        let word = if finding.grave { "fault" } else { "note" };
        text.push_str(&format!("{word}: {}; {}\n", finding.what, finding.fix));
    }
    if !grave {
        text.push_str("the configuration is right\n");
    }
    text.push_str(&format!("users: {users}\n"));
    let list: Vec<_> = findings
        .iter()
        .map(|f| serde_json::json!({ "grave": f.grave, "what": f.what, "fix": f.fix }))
        .collect();
    let json = serde_json::json!({ "ok": !grave, "users": users, "findings": list });
    Answer {
        text,
        json,
        exit: grave.then_some(Exit::Unavailable),
    }
}

fn of_store(key: &str, error: &StoreError) -> Finding {
    let fix = "see that it runs and that this user may open it".to_owned();
    Finding {
        grave: true,
        what: format!("{key}: {error}"),
        fix,
    }
}

fn of_user(config: &Config, user: &User) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut note = |what: String, fix: &str| {
        findings.push(Finding {
            grave: false,
            what,
            fix: fix.to_owned(),
        })
    };
    if user.jid.domain().as_str() != config.xmpp.domain.as_str() {
        note(
            format!("{}: is not of xmpp.domain ({})", user.jid, config.xmpp.domain),
            "nobody will see their lines",
        );
    }
    if user.aors.is_empty() {
        note(
            format!("{}: has no SIP address", user.jid),
            "give one with `cusax user add --update --aor`",
        );
    }
    for aor in &user.aors {
        if !is_local(config, aor) {
            note(
                format!("{}: {aor} is not of sip.domains", user.jid),
                "no phone can register there",
            );
        } else if !user
            .credentials
            .iter()
            .any(|credential| *credential.realm == *aor.domain())
        {
            note(
                format!("{}: has no password for {}", user.jid, aor.domain()),
                "no phone can register there",
            );
        }
    }
    findings
}

/// Whether an address is in a domain of ours.
pub fn is_local(config: &Config, aor: &Aor) -> bool {
    config
        .sip
        .domains
        .iter()
        .any(|domain| domain.as_str() == aor.domain().trim_matches(['[', ']']))
}

async fn of_server(config: &Config) -> Option<Finding> {
    let address = (config.xmpp.host.as_str(), config.xmpp.port);
    let why = match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(_)) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not answer".to_owned(),
    };
    let what = format!("xmpp.host: {} port {}: {why}", config.xmpp.host, config.xmpp.port);
    Some(Finding {
        grave: false,
        what,
        fix: "see that the XMPP server runs and takes components there".into(),
    })
}

/// How long the XMPP server may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(2);
