//! The XMPP side as a role.

use std::sync::Arc;

use cusax_common::core::bridge::{ToB2bua, ToXmpp};
use cusax_common::core::config::Config;
use cusax_common::core::dialplan::{self, Dialled, HomePlan};
use cusax_common::core::notice::Notices;
use cusax_common::core::policy::Policy;
use cusax_common::core::tel::Tel;
use cusax_common::io::clock::SystemEntropy;
use cusax_common::io::health::Part;
use cusax_xmpp::core::ReadNumber;
use cusax_xmpp::core::vcard::Explained;
use cusax_xmpp::io::{Channels, Ended, Status, XmppConfig, run};
use tokio::sync::{mpsc, watch};

use super::{Parts, Roles};
use crate::cli::failure::{Exit, Failure};

/// Starts the role.
///
/// # Errors
/// The key whose value cannot be carried out.
pub fn start(
    parts: &Parts,
    from_b2bua: mpsc::Receiver<ToXmpp>,
    to_b2bua: mpsc::Sender<ToB2bua>,
    roles: &mut Roles,
) -> Result<(), Failure> {
    let config = Arc::clone(&parts.config.borrow());
    let plan = config
        .numbers
        .plan()
        .map_err(|error| Failure::new(Exit::Config, format!("numbers: {error}")))?;
    let xmpp = XmppConfig {
        host: config.xmpp.host.as_str().to_owned(),
        port: config.xmpp.port,
        component: config.xmpp.component.as_str().to_owned(),
        secret: config.xmpp.secret.clone(),
        domain: config.xmpp.domain.as_str().to_owned(),
        notices: Notices::of(&config.xmpp.notices),
        admins: config.xmpp.admins.iter().cloned().collect(),
        plain_network: config.xmpp.plain_network,
    };
    let numbers = Numbers {
        plan,
        config: parts.config.clone(),
    };
    let (status, watched) = watch::channel(Status::default());
    let channels = Channels {
        from_b2bua,
        to_b2bua,
        status,
        metrics: parts.metrics.clone(),
    };
    let health = parts.health.part("xmpp", "not connected yet");
    roles.spawn(show(parts.clone(), watched, health));
    let (users, mut shutdown) = (parts.users.clone(), parts.shutdown.clone());
    roles.spawn(async move {
        let mut entropy = SystemEntropy::new();
        let stop = async move { shutdown.begun().await };
        match run(xmpp, users.store(), numbers, &mut entropy, channels, stop).await {
            Ended::Shutdown | Ended::Bridge => Ok("xmpp"),
        }
    });
    Ok(())
}

/// Reads numbers as this country writes them, and knows the policy of the moment.
struct Numbers {
    plan: HomePlan,
    config: watch::Receiver<Arc<Config>>,
}

impl ReadNumber for Numbers {
    fn read(&self, text: &str) -> Option<Tel> {
        match dialplan::read_written(text, &self.plan) {
            Ok(Dialled::Number { tel, .. }) => Some(tel),
            _ => None,
        }
    }

    fn policy(&self) -> Option<Policy> {
        Some(self.config.borrow().policy.rules())
    }

    fn explain(&self, text: &str) -> Option<Explained> {
        match dialplan::read_written(text, &self.plan) {
            Ok(Dialled::Number { tel, class }) => Some(Explained::Number {
                number: tel,
                class,
                rule: self.config.borrow().policy.rules().action(class),
            }),
            Ok(Dialled::Emergency { .. }) => Some(Explained::Emergency),
            Ok(_) => None,
            Err(reject) => Some(Explained::Refused(reject.to_string())),
        }
    }
}

/// Tells health and metrics how the stream is.
async fn show(
    parts: Parts,
    mut watched: watch::Receiver<Status>,
    health: Part,
) -> Result<&'static str, (&'static str, String)> {
    let mut shutdown = parts.shutdown.clone();
    loop {
        let status = watched.borrow_and_update().clone();
        parts.metrics.xmpp_connected.set(status.connected.into());
        match status {
            Status { refusal: Some(why), .. } => health.not_ready(&why),
            Status { connected: false, .. } => health.not_ready("no connection to the XMPP server"),
            Status { settled: false, .. } => {
                health.not_ready("the server's plugin is being told who has which addresses")
            }
            Status { .. } => health.ready(),
        }
        tokio::select! {
            () = shutdown.begun() => return Ok("xmpp status"),
            changed = watched.changed() => if changed.is_err() { return Ok("xmpp status") },
        }
    }
}
