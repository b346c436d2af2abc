//! The small internet of the laboratory.
//!
//! ```text
//!   phone 1 ── 100.64.0.0/30 ──┐
//!   phone 2 ── 100.64.0.4/30 ──┤  srv   198.18.0.1 (SIP and media of cusax), 127.0.0.1 (XMPP, metrics, databases)
//!   trunk   ── 100.64.0.8/30 ──┘
//! ```
//! Each host has one link to `srv` and its default route there, and `srv` forwards nothing: a phone reaches the service
//! and no other phone, so whatever one phone hears of another has passed through the service.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Namespace, Result};

/// The service's namespace and the hosts around it.
#[derive(Debug)]
pub struct Topology {
    server: Namespace,
    next: AtomicU32,
}

/// A machine with a link to the service.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its address.
    pub address: IpAddr,
    /// The name of its link.
    pub link: String,
}

impl Topology {
    /// Makes the service's namespace.
    ///
    /// # Errors
    /// When the system refuses, mostly for want of root.
    pub fn new() -> Result<Self> {
        let server = Namespace::new("srv")?;
        server.ip(&format!("addr add {SIP_ADDRESS}/32 dev lo"))?;
        server.run(|| Ok(std::fs::write("/proc/sys/net/ipv4/ip_forward", "0")?))?;
        Ok(Self {
            server,
            next: AtomicU32::new(0),
        })
    }

    /// Where cusax, the XMPP server, the databases and the chat clients run.
    #[must_use]
    pub fn server(&self) -> &Namespace {
        &self.server
    }

    /// Adds a machine that reaches the service and nothing else.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn host(&self, name: &str) -> Result<Host> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let network = u32::from(FIRST_NETWORK) + number * 4;
        let (gateway, address) = (Ipv4Addr::from(network + 1), Ipv4Addr::from(network + 2));
        let namespace = Namespace::new(name)?;
        let link = "eth0".to_owned();
        namespace.link(
            (&link, &format!("{address}/30")),
            &self.server,
            (&format!("h{number}"), &format!("{gateway}/30")),
        )?;
        namespace.ip(&format!("route add default via {gateway}"))?;
        Ok(Host {
            namespace,
            address: address.into(),
            link,
        })
    }
}

/// Where the service listens for SIP and relays media: an address of the benchmarking network (RFC 2544), routed to
/// by nobody else.
pub const SIP_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// The hosts' links are /30 networks from here on.
const FIRST_NETWORK: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);
