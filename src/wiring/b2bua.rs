//! The SIP side as a role: sockets, relay, endpoint, and the loop that joins them.

use std::sync::Arc;

use cusax_b2bua::core::auth::Authenticator;
use cusax_b2bua::core::carriers::Place;
use cusax_b2bua::core::endpoint::Endpoint;
use cusax_b2bua::core::flow::{ListenerId, Transport};
use cusax_b2bua::core::media::MediaEvent;
use cusax_b2bua::core::registrar::Registrar;
use cusax_b2bua::core::routing::Trunk;
use cusax_b2bua::core::settings::Settings;
use cusax_b2bua::core::share::{FIRST, Share};
use cusax_b2bua::io::driver::{Control, Shell, drive};
use cusax_b2bua::io::relay::Relay;
use cusax_b2bua::io::resolver::Resolver;
use cusax_b2bua::io::transport::Listener;
use cusax_b2bua::io::transport::stream::{Guests, StreamConfig, StreamListener};
use cusax_b2bua::io::transport::tls::{Carrier, Files, Roots, Tls, TlsFault, Trust};
use cusax_b2bua::io::transport::udp::UdpListener;
use cusax_common::core::bridge::{ToB2bua, ToXmpp};
use cusax_common::core::config::{self, Config};
use cusax_common::core::dialplan;
use cusax_common::core::entropy::Entropy as _;
use cusax_common::io::clock::SystemEntropy;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::{Parts, Roles, settings};
use crate::cli::failure::{Exit, Failure};

/// Binds the sockets and starts the role.
///
/// # Errors
/// The key whose value cannot be carried out.
pub fn start(
    parts: &Parts,
    to_xmpp: mpsc::Sender<ToXmpp>,
    from_xmpp: mpsc::Receiver<ToB2bua>,
    roles: &mut Roles,
) -> Result<mpsc::Sender<Control>, Failure> {
    let config = Arc::clone(&parts.config.borrow());
    let sip = settings::sip(&config).map_err(|told| Failure::new(Exit::Config, told))?;
    dialplan::warm_up();

    let carriers: Arc<[Carrier]> = carriers(&config, &sip)?.into();
    // Who is let in at a reload is known by then.
    let mut certificates: Vec<_> = carriers
        .iter()
        .map(|carrier| Reload::Carrier(carrier.trust.clone()))
        .collect();
    let mut listeners = Vec::with_capacity(sip.listeners.len());
    let guests = Guests::of_this_process();
    let workers = settings::workers(&config);
    for (index, listener) in sip.listeners.iter().enumerate() {
        let id = ListenerId(u16::try_from(index).unwrap_or(u16::MAX));
        let written = &config.sip.listeners[index];
        let tls = match (&written.certificate, &written.key) {
            (Some(certificate), Some(key)) => {
                let files = Files {
                    certificate: certificate.clone(),
                    key: key.clone(),
                    // A browser would ask its user which certificate to show.
                    ask_clients: listener.transport == Transport::Tls && sip.trunks.iter().any(Trunk::is_secure),
                };
                let tls = Tls::load(files)
                    .map_err(|fault| Failure::new(Exit::Config, format!("sip.listeners[{index}]: {fault}")))?;
                certificates.push(Reload::Listener(tls.clone()));
                Some(tls)
            }
            _ => None,
        };
        let bound = match listener.transport {
            Transport::Udp => UdpListener::bind(id, listener.local, workers).map(Listener::Udp),
            transport => StreamListener::bind(StreamConfig {
                id,
                transport,
                local: listener.local,
                tls,
                origins: written.origins.clone(),
                carriers: Arc::clone(&carriers),
                guests: Arc::clone(&guests),
            })
            .map(Listener::Stream),
        };
        let bound = bound.map_err(|error| {
            let told = format!(
                "sip.listeners[{index}]: {}: {error}; write another address or port",
                listener.local
            );
            Failure::new(Exit::CannotCreate, told)
        })?;
        info!(address = %listener.local, transport = %listener.transport, "listening for SIP");
        listeners.push(bound);
    }
    let named = sip.trunks.iter().any(|trunk| matches!(trunk.place, Place::Domain(_)));
    let calls_others = sip.foreign.any || !sip.foreign.domains.is_empty();
    let others = calls_others.then(|| others(&config)).transpose()?;
    certificates.extend(others.clone().map(Reload::Carrier));
    let resolver = (named || calls_others)
        .then(|| Resolver::new(&config.sip.dns))
        .transpose();
    let resolver = resolver.map_err(|told| Failure::new(Exit::Config, format!("sip.dns: {told}")))?;
    let mut entropy = SystemEntropy::new();
    let secret = entropy.bytes::<32>();
    let shares: Vec<Share> = Share::all(workers, &secret).collect();
    let (media_events, media): (Vec<_>, Vec<_>) = shares.iter().map(|_| mpsc::channel(MEDIA_EVENTS)).unzip();
    let any = shares[0];
    let relay = Relay::start(settings::relay(&config, &sip), move |event: MediaEvent| {
        let owner = event.id().map_or(FIRST, |id| any.numbered_by(id.0));
        if media_events[usize::from(owner)].try_send(event).is_err() {
            error!("an event of the relay was lost: the loop is behind");
        }
    })
    .map_err(|error| Failure::new(Exit::CannotCreate, format!("media: {error}")))?;

    let sip = Arc::new(sip);
    let endpoint = |share: Share| {
        let registrar = Registrar::new(settings::registrar(&config, &parts.state), &secret);
        let authenticator = Authenticator::new(&secret, config.sip.nonce_life.duration());
        Endpoint::new(
            Arc::clone(&sip),
            registrar,
            authenticator,
            &secret,
            SystemEntropy::new(),
        )
        .of_node(share)
    };
    info!(workers, "serving SIP");
    let (control, asked) = mpsc::channel(CONTROLS);
    let shell = Shell {
        endpoints: shares.into_iter().map(endpoint).collect(),
        listeners,
        carriers,
        others,
        resolver,
        relay,
        media,
        users: Arc::new(parts.users.clone()),
        state: Arc::new(parts.state.clone()),
        to_xmpp,
        from_xmpp,
        control: asked,
        metrics: parts.metrics.clone(),
    };
    let health = parts.health.part("sip", "starting");
    let runtime = Handle::current();
    let (ended, end) = oneshot::channel();
    // A thread of its own: from the socket through the loop and back a message waits for no other thread, and no other
    // thread is woken for it, which would cost more than the message.
    std::thread::Builder::new()
        .name("cusax-sip".to_owned())
        .spawn(move || {
            health.ready();
            // Nobody waits any more when the service is being torn down.
            let _ = ended.send(drive(shell, &runtime));
        })
        .map_err(|error| Failure::new(Exit::Software, format!("no thread for SIP: {error}")))?;
    roles.spawn(async move {
        match end.await {
            Ok(Ok(())) => Ok("b2bua"),
            Ok(Err(error)) => Err(("b2bua", error.to_string())),
            Err(_) => Err(("b2bua", "its thread has failed".to_owned())),
        }
    });
    roles.spawn(steer(parts.clone(), control.clone(), certificates));
    Ok(control)
}

/// Passes on what the operator wants.
async fn steer(
    parts: Parts,
    control: mpsc::Sender<Control>,
    certificates: Vec<Reload>,
) -> Result<&'static str, (&'static str, String)> {
    let (mut config, mut shutdown) = (parts.config.clone(), parts.shutdown.clone());
    let started = Arc::clone(&config.borrow_and_update());
    let mut users = parts.users_changed.clone();
    loop {
        tokio::select! {
            () = shutdown.begun() => {
                // The loop is gone already when nobody listens.
                let grace = parts.config.borrow().control.drain.duration();
                let _ = control.send(Control::Stop(grace)).await;
                return Ok("b2bua control");
            }
            Ok(()) = config.changed() => {
                let now = Arc::clone(&config.borrow_and_update());
                for fault in certificates.iter().filter_map(|read| read.again().err()) {
                    error!(%fault, "the certificate was not taken; the old one stays in force");
                }
                match settings::reloaded(&started, &now) {
                    Ok(sip) => drop(control.send(Control::Settings(Arc::new(sip))).await),
                    Err(told) => warn!(%told, "the SIP part of the configuration was not taken"),
                }
            }
            Ok(()) = users.changed() => drop(control.send(Control::UsersChanged).await),
        }
    }
}

/// Files that are read again at a reload.
enum Reload {
    Listener(Tls),
    Carrier(Trust),
}

impl Reload {
    fn again(&self) -> Result<(), TlsFault> {
        match self {
            Self::Listener(tls) => tls.reload(),
            Self::Carrier(trust) => trust.reload(),
        }
    }
}

/// The carriers that speak TLS.
fn carriers(config: &Config, sip: &Settings) -> Result<Vec<Carrier>, Failure> {
    let secure = sip.trunks.iter().enumerate().filter(|(_, trunk)| trunk.is_secure());
    let carriers = secure.map(|(index, trunk)| {
        // We show what the TLS listener shows that the carrier reaches us by.
        let own = config.trunks[index].listener;
        let identity = config.sip.listeners.iter().find_map(|listener| {
            let fits = listener.transport == config::Transport::Tls && own.is_none_or(|own| own == listener.address);
            Some((listener.certificate.clone()?, listener.key.clone()?)).filter(|_| fits)
        });
        let trust = Trust::load(roots(&config.trunks[index]), identity)
            .map_err(|fault| Failure::new(Exit::Config, format!("trunks[{index}].ca: {fault}")))?;
        Ok(Carrier {
            trunk: trunk.name.clone(),
            name: trunk.certified.clone(),
            trust,
        })
    });
    carriers.collect()
}

/// The trust toward other domains. They see what the first TLS listener shows.
fn others(config: &Config) -> Result<Trust, Failure> {
    let foreign = &config.sip.foreign;
    let identity = config.sip.listeners.iter().find_map(|listener| {
        let is_tls = listener.transport == config::Transport::Tls;
        Some((listener.certificate.clone()?, listener.key.clone()?)).filter(|_| is_tls)
    });
    let roots = Roots {
        files: foreign.ca.iter().cloned().collect(),
        system: foreign.ca.is_none(),
    };
    Trust::load(roots, identity).map_err(|fault| Failure::new(Exit::Config, format!("sip.foreign.ca: {fault}")))
}

/// Whom a carrier's certificate may be signed by.
fn roots(trunk: &config::Trunk) -> Roots {
    Roots {
        files: trunk.ca.iter().cloned().collect(),
        system: trunk.ca.is_none(),
    }
}

/// Events of the relay that may wait: several for each call there can be.
const MEDIA_EVENTS: usize = 16_384;
/// Wishes of the operator that may wait.
const CONTROLS: usize = 16;
