//! The roles of the service: what each is given, and where it is started.
//!
//! A role is one future in the set. It ends when the shutdown of its [`Parts`] says so, and never before: a role that
//! ends by itself stops the service. It tells its readiness through a part of [`Parts::health`].

use std::sync::Arc;
use std::time::Duration;

use cusax_b2bua::io::driver::Control;
use cusax_common::core::store::UserStore as _;
use cusax_common::io::health::Part;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::{Parts, Roles, b2bua, xmpp};
use crate::cli::failure::Failure;

/// Binds what each role needs and starts it; what cannot be bound is told before anything runs.
/// What gives the SIP side its orders comes back.
pub fn start(
    parts: &Parts,
    changed: &Arc<watch::Sender<u64>>,
    roles: &mut Roles,
) -> Result<mpsc::Sender<Control>, Failure> {
    let store = parts.health.part("store", "not asked yet");
    roles.spawn(watch_store(parts.clone(), store, Arc::clone(changed)));
    let (to_xmpp, from_b2bua) = mpsc::channel(BRIDGE);
    let (to_b2bua, from_xmpp) = mpsc::channel(BRIDGE);
    let control = b2bua::start(parts, to_xmpp, from_xmpp, roles)?;
    xmpp::start(parts, from_b2bua, to_b2bua, roles)?;
    Ok(control)
}

/// Sees whether the store answers, and forgets what the cache knows when a user was changed by another process.
async fn watch_store(
    parts: Parts,
    health: Part,
    changed: Arc<watch::Sender<u64>>,
) -> Result<&'static str, (&'static str, String)> {
    let mut shutdown = parts.shutdown.clone();
    let mut round = interval(ROUND);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = None;
    let (mut answers, mut dropped) = (true, 0);
    loop {
        tokio::select! {
            () = shutdown.begun() => return Ok("store"),
            _ = round.tick() => {}
        }
        let unreadable = parts.users.store().dropped();
        parts
            .metrics
            .store_corrupt
            .add("users", unreadable - std::mem::replace(&mut dropped, unreadable));
        match parts.users.store().changes().await {
            Ok(count) => {
                if known.replace(count).is_some_and(|known| known != count) {
                    parts.users.forget_all();
                    changed.send_modify(|count| *count += 1);
                }
                answers = true;
                health.ready();
            }
            Err(error) => {
                parts.metrics.store_errors.count("users");
                // Nobody can tell whether what is known still holds.
                parts.users.forget_all();
                health.not_ready("the store does not answer");
                // Once for each time that it goes away, not once a round.
                if std::mem::replace(&mut answers, false) {
                    warn!(%error, "the store does not answer");
                }
            }
        }
    }
}

/// Messages that may wait on each side of the bridge.
const BRIDGE: usize = 4096;
/// How soon a change by another process is seen.
const ROUND: Duration = Duration::from_secs(1);
