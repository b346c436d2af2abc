//! What an operator decides about SIP, in the form that the cores read.
//!
//! The shell makes one from the configuration at start and at each reload; a reload takes effect for the next request
//! and leaves calls that are up as they are.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cusax_common::core::dialplan::{self, Dialled, HomePlan, Reject};
use cusax_common::core::policy::Policy;
use cusax_common::core::sip::{Host, Status, Uri};
use cusax_common::core::user::Algorithm;
use ipnet::IpNet;

use crate::core::admission::Limits;
use crate::core::flow::{Flow, ListenerId, Transport};
use crate::core::media::rewrite::Rules;
use crate::core::routing::Trunk;

/// Everything a request is judged by, apart from users.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The SIP domains that are ours, lower-case. The first is the realm of challenges to strangers.
    pub domains: Vec<String>,
    /// What domains answer to what CUSAX keeps on XMPP, where they do not answer as usual.
    pub answers: Vec<Answers>,
    /// The sockets, in the order of their [`ListenerId`].
    pub listeners: Vec<Listener>,
    /// The ways out, in the order to try.
    pub trunks: Vec<Trunk>,
    /// The domains of others that users of ours may call.
    pub foreign: Foreign,
    /// How dialled digits are read.
    pub plan: HomePlan,
    /// What may be called and what must be told first.
    pub policy: Policy,
    /// What becomes of a call that a phone sends elsewhere.
    pub redirects: Redirects,
    /// How long a callee may ring.
    pub ring_timeout: Duration,
    /// How long those of one preference ring before those of the next do.
    pub ring_each: Duration,
    /// How long a call may last.
    pub max_duration: Duration,
    /// How long both sides of a call may say nothing; none where they may for ever.
    pub silence_timeout: Option<Duration>,
    /// The most calls that one user may have begun.
    pub calls_per_account: usize,
    /// How long a session lasts unless it is refreshed (RFC 4028), in seconds.
    pub session_interval: u32,
    /// How much may be asked for.
    pub limits: Limits,
    /// The most calls at one time; one more gets 503, unless it is for an emergency.
    pub max_calls: usize,
    /// Whether media passes through us where it need not.
    pub anchor: bool,
    /// Where media may not go.
    pub media: Rules,
}

/// The domains of others that users of ours may call. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Whether it is every domain.
    pub any: bool,
    /// These, lower-case.
    pub domains: Vec<String>,
    /// Where their servers may be; at any public address if none.
    pub networks: Vec<IpNet>,
}

impl Foreign {
    /// Whether a domain may be called.
    #[must_use]
    pub fn allows(&self, domain: &str) -> bool {
        self.any || self.domains.iter().any(|known| known.eq_ignore_ascii_case(domain))
    }
}

/// What becomes of a call that a phone sends elsewhere by a 3xx (RFC 3261 §8.1.3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redirects {
    /// It goes there, as if its caller had dialled that.
    #[default]
    Follow,
    /// Its caller is told, and may dial it.
    Pass,
    /// It has failed.
    Refuse,
}

/// What one domain answers to what CUSAX keeps on XMPP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// Lower-case.
    pub domain: String,
    /// To MESSAGE.
    pub message: Status,
    /// To SUBSCRIBE for presence.
    pub presence: Status,
}

/// One socket that SIP comes in by.
#[derive(Clone, Debug)]
pub struct Listener {
    /// What it is bound to.
    pub local: SocketAddr,
    /// What peers are told, in Via and Contact.
    pub public: SocketAddr,
    /// What the relay binds for peers of this socket.
    pub media: IpAddr,
    /// Where they are told to send media.
    pub media_public: IpAddr,
    /// How messages travel.
    pub transport: Transport,
    /// Digest algorithms to offer, the preferred one first.
    pub algorithms: Vec<Algorithm>,
}

impl Settings {
    /// The listener that a flow came in by.
    #[must_use]
    pub fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.listeners.get(usize::from(id.0))
    }

    /// Whether this SIP domain is ours. A listener's own address counts, since phones without DNS use it.
    #[must_use]
    pub fn is_local(&self, host: &str, port: Option<u16>) -> bool {
        self.domains.iter().any(|domain| domain.eq_ignore_ascii_case(host))
            || host
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|ip| self.is_listener(ip, port))
    }

    /// The same for a host that was read.
    #[must_use]
    pub fn is_ours(&self, host: &Host, port: Option<u16>) -> bool {
        self.domain_of(host, port).is_some()
    }

    /// Which of our domains this is: the first, if it is a listener's own address.
    #[must_use]
    pub fn domain_of(&self, host: &Host, port: Option<u16>) -> Option<&str> {
        self.domain_at(host.name(), host.ip(), port)
    }

    /// The same for a host that is a name or an address.
    #[must_use]
    pub fn domain_at(&self, name: Option<&str>, ip: Option<IpAddr>, port: Option<u16>) -> Option<&str> {
        match (name, ip) {
            (Some(name), _) => self.domains.iter().find(|domain| domain.eq_ignore_ascii_case(name)),
            (None, Some(ip)) => self.domains.first().filter(|_| self.is_listener(ip, port)),
            (None, None) => None,
        }
        .map(String::as_str)
    }

    /// Reads what is dialled: by a user of ours, who may reach domains of others, or by somebody else.
    ///
    /// # Errors
    /// [`Reject`] tells why nothing can be dialled.
    pub fn dial(&self, uri: &Uri, by_user: bool) -> Result<Dialled, Reject> {
        let dialled = dialplan::dial(&uri.to_string(), &self.plan, |host, port| self.is_local(host, port));
        match (&dialled, uri) {
            (Err(Reject::Relay), Uri::Sip(sip))
                if by_user && sip.host.name().is_some_and(|name| self.foreign.allows(name)) =>
            {
                dialplan::foreign(sip)
            }
            _ => dialled,
        }
    }

    fn is_listener(&self, ip: IpAddr, port: Option<u16>) -> bool {
        self.listeners
            .iter()
            .any(|listener| listener.public.ip() == ip && port.is_none_or(|port| port == listener.public.port()))
    }

    /// The same address in the first of our domains, if it names a listener's own address instead of a domain.
    #[must_use]
    pub fn at_home(&self, uri: Uri) -> Uri {
        let Uri::Sip(mut sip) = uri else { return uri };
        if sip.host.ip().is_some()
            && let Some(domain) = self.domain_of(&sip.host, sip.port)
            && let Ok(host) = domain.parse()
        {
            sip.host = host;
            sip.port = None;
        }
        Uri::Sip(sip)
    }

    /// Whether a flow out of the shared state, where anybody may have written, can be one of a phone: by a socket of ours,
    /// and to no service of this machine unless we serve this machine.
    #[must_use]
    pub fn may_restore(&self, flow: &Flow) -> bool {
        self.listener(flow.listener).is_some_and(|listener| {
            let (own, remote) = (listener.local.ip(), flow.remote.ip());
            listener.transport == flow.transport
                && own.is_ipv4() == remote.is_ipv4()
                && !remote.is_unspecified()
                && !remote.is_multicast()
                && (!remote.is_loopback() || own.is_loopback())
        })
    }

    /// Our socket for a transport toward an address; at `own` if that is given.
    #[must_use]
    pub fn socket_for(&self, transport: Transport, remote: IpAddr, own: Option<IpAddr>) -> Option<ListenerId> {
        let fits = |listener: &Listener| {
            listener.transport == transport
                && listener.local.is_ipv4() == remote.is_ipv4()
                && own.is_none_or(|own| listener.local.ip() == own)
        };
        let index = self.listeners.iter().position(fits)?;
        u16::try_from(index).ok().map(ListenerId)
    }
}
