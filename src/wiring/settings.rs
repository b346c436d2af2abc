//! The operator's configuration in the words of the cores.

use std::net::{IpAddr, SocketAddr};

use cusax_b2bua::core::admission::{Limits, Rate};
use cusax_b2bua::core::carriers::{Domain, Place};
use cusax_b2bua::core::flow::{Flow, Identity, ListenerId, Transport};
use cusax_b2bua::core::locate::{Goal, default_port};
use cusax_b2bua::core::media::rewrite::Rules;
use cusax_b2bua::core::registrar;
use cusax_b2bua::core::routing::Trunk;
use cusax_b2bua::core::settings::{Answers, Foreign, Listener, Redirects, Settings};
use cusax_b2bua::io::relay::RelayConfig;
use cusax_common::core::config::{self, Config};
use cusax_common::core::sip::Status;
use cusax_common::io::state::State;

/// Everything that a SIP request is judged by.
///
/// # Errors
/// What the operator wrote that no part alone could find wrong, with the key.
pub fn sip(config: &Config) -> Result<Settings, String> {
    let listeners: Vec<Listener> = config
        .sip
        .listeners
        .iter()
        .map(|listener| of_listener(config, listener))
        .collect();
    let media = Rules {
        allow_networks: config.media.allow_networks.clone(),
        ours: listeners.iter().map(|listener| listener.public.ip()).collect(),
    };
    let trunks = config
        .trunks
        .iter()
        .enumerate()
        .map(|(index, trunk)| of_trunk(config, index, trunk));
    Ok(Settings {
        domains: config
            .sip
            .domains
            .iter()
            .map(|domain| domain.as_str().to_ascii_lowercase())
            .collect(),
        answers: config.sip.answers.iter().map(of_answers).collect::<Result<_, _>>()?,
        listeners,
        trunks: trunks.collect::<Result<_, _>>()?,
        foreign: of_foreign(&config.sip.foreign),
        plan: config.numbers.plan().map_err(|error| format!("numbers: {error}"))?,
        policy: config.policy.rules(),
        redirects: match config.sip.redirects {
            config::Redirects::Follow => Redirects::Follow,
            config::Redirects::Pass => Redirects::Pass,
            config::Redirects::Refuse => Redirects::Refuse,
        },
        ring_timeout: config.sip.ring_timeout.duration(),
        ring_each: config.sip.ring_each.duration(),
        max_duration: config.sip.max_duration.duration(),
        silence_timeout: Some(config.sip.silence_timeout.duration()).filter(|time| !time.is_zero()),
        calls_per_account: usize::try_from(config.sip.calls_per_account).unwrap_or(usize::MAX),
        session_interval: config.sip.session_expires.0,
        limits: of_limits(&config.sip.limits),
        max_calls: usize::try_from(config.sip.max_calls).unwrap_or(usize::MAX),
        anchor: config.media.anchor,
        media,
    })
}

/// What a reload makes of it: the new policy, and everything else as it was at the start, since sockets that are bound
/// and parts that run cannot follow (see [`Config::needs_restart`]).
///
/// # Errors
/// As [`sip`].
pub fn reloaded(started: &Config, now: &Config) -> Result<Settings, String> {
    let mut mixed = started.clone();
    mixed.policy = now.policy.clone();
    sip(&mixed)
}

/// What a registrar grants, and whether bindings are kept in this state.
pub fn registrar(config: &Config, state: &State) -> registrar::Settings {
    let register = &config.sip.register;
    registrar::Settings {
        max_contacts: usize::try_from(register.max_contacts).unwrap_or(usize::MAX),
        min_expires: register.min.duration(),
        default_expires: register.default.duration(),
        max_expires: register.max.duration(),
        keeping: match state {
            State::Memory(_) => registrar::Keeping::Alone,
            State::Redis(_) => registrar::Keeping::Shared,
        },
        ..registrar::Settings::default()
    }
}

/// What the relay may use.
pub fn relay(config: &Config, settings: &Settings) -> RelayConfig {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for listener in &settings.listeners {
        if !addresses.contains(&listener.media) {
            addresses.push(listener.media);
        }
    }
    let media = &config.media;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    RelayConfig {
        port_min: media.port_min,
        port_max: media.port_max,
        drain: media.drain_secs.duration(),
        workers: if media.workers == 0 {
            cores
        } else {
            media.workers.into()
        },
        allow_networks: media.allow_networks.clone(),
        ..RelayConfig::new(addresses)
    }
}

fn of_listener(config: &Config, listener: &config::Listener) -> Listener {
    let public = listener.advertise.unwrap_or(listener.address);
    // One address for media of each family; without one, that of the signalling.
    let own = config
        .media
        .addresses
        .iter()
        .find(|media| media.is_ipv4() == listener.address.is_ipv4())
        .copied();
    Listener {
        local: SocketAddr::new(listener.address, listener.port),
        public: SocketAddr::new(public, listener.port),
        media: own.unwrap_or(listener.address),
        media_public: if own.is_some_and(|own| own != listener.address) {
            own.unwrap_or(public)
        } else {
            public
        },
        transport: of_transport(listener.transport),
        algorithms: listener.algorithms.clone(),
    }
}

fn of_answers(answers: &config::Answers) -> Result<Answers, String> {
    let status = |code| Status::new(code).ok_or_else(|| format!("sip.answers: {code} is no status"));
    Ok(Answers {
        domain: answers.domain.as_str().to_ascii_lowercase(),
        message: status(answers.message)?,
        presence: status(answers.presence)?,
    })
}

fn of_foreign(foreign: &config::Foreign) -> Foreign {
    let domains = foreign.domains.iter();
    Foreign {
        any: foreign.any,
        domains: domains.map(|domain| domain.as_str().to_ascii_lowercase()).collect(),
        networks: foreign.networks.clone(),
    }
}

fn of_limits(limits: &config::Limits) -> Limits {
    let rate = |per_second: u32| Rate {
        per_second,
        burst: per_second.saturating_mul(BURST_SECONDS),
    };
    Limits {
        source: rate(limits.per_source),
        account: rate(limits.per_account),
        all: rate(limits.all),
    }
}

/// After a rest, so many seconds' worth may come at once.
const BURST_SECONDS: u32 = 4;

fn of_transport(transport: config::Transport) -> Transport {
    match transport {
        config::Transport::Udp => Transport::Udp,
        config::Transport::Tcp => Transport::Tcp,
        config::Transport::Tls => Transport::Tls,
        config::Transport::Ws => Transport::Ws,
        config::Transport::Wss => Transport::Wss,
    }
}

fn of_trunk(config: &Config, index: usize, trunk: &config::Trunk) -> Result<Trunk, String> {
    let transport = trunk.transport.map(of_transport);
    let name = trunk.address.as_str().to_ascii_lowercase();
    let realm = trunk.realm.as_ref().map(|realm| realm.as_str().to_owned());
    let place = match trunk.address.ip() {
        None => Place::Domain(Domain {
            goal: Goal {
                domain: name.clone(),
                port: trunk.port,
                transport,
            },
            listener: trunk.listener,
            networks: trunk.networks.clone(),
        }),
        Some(ip) => {
            let transport = transport.unwrap_or(Transport::Udp);
            let fits = |listener: &config::Listener| {
                of_transport(listener.transport) == transport
                    && listener.address.is_ipv4() == ip.is_ipv4()
                    && trunk.listener.is_none_or(|own| listener.address == own)
            };
            let listener = config.sip.listeners.iter().position(fits).ok_or_else(|| {
                format!(
                    "trunks[{index}].listener: no [[sip.listeners]] of this transport can reach {ip}; write the \
                     address of one"
                )
            })?;
            Place::Fixed(Flow {
                listener: ListenerId(u16::try_from(listener).unwrap_or(u16::MAX)),
                transport,
                remote: SocketAddr::new(ip, trunk.port.unwrap_or(default_port(transport))),
                identity: Identity::NONE,
            })
        }
    };
    Ok(Trunk {
        name: trunk.name.as_str().to_owned(),
        certified: match (&place, &realm) {
            (Place::Fixed(_), Some(realm)) => realm.to_ascii_lowercase(),
            _ => name,
        },
        place,
        realm,
        prefixes: trunk.prefixes.iter().map(|prefix| prefix.as_str().to_owned()).collect(),
        order: trunk.order,
        weight: trunk.weight,
        impp: trunk.impp,
        asserted: trunk.asserted,
        emergency: trunk.emergency,
    })
}

/// How many threads serve SIP: half of the processors, where nothing else is said, since the XMPP server, the stores and the
/// relay want some as well.
pub fn workers(config: &Config) -> u8 {
    let half = || std::thread::available_parallelism().map_or(1, |all| all.get().div_ceil(2).min(USUAL_MOST));
    let workers = match config.sip.workers {
        0 => half(),
        told => told.into(),
    };
    u8::try_from(workers).unwrap_or(u8::MAX)
}

/// The most threads that are begun unasked.
const USUAL_MOST: usize = 8;
