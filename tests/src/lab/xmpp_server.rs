//! A private XMPP server: two of them do the same by one plan.

use std::path::Path;

use super::ejabberd::Ejabberd;
use super::prosody::Prosody;
use super::{Namespace, Result};

/// What the server is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The virtual hosts.
    pub hosts: Vec<VirtualHost>,
    /// The accounts, each with the contacts in its roster.
    pub accounts: Vec<Account>,
    /// The component's name and secret.
    pub component: Option<(String, String)>,
    /// The port for clients.
    pub clients: u16,
    /// The port for components.
    pub components: u16,
    /// Whether rosters have versions. Prosody's always do.
    pub versions: bool,
}

/// A virtual host.
#[derive(Clone, Debug)]
pub struct VirtualHost {
    /// Its domain.
    pub name: String,
    /// What our plugin is to do there, if it is to be there.
    pub plugin: Option<Plugin>,
    /// The name of a service for rooms.
    pub rooms: Option<String>,
}

/// The options of our plugin.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// The component's name.
    pub component: String,
    /// Who sees where users can be reached.
    pub audience: &'static str,
    /// What it does.
    pub jobs: Vec<&'static str>,
}

/// An account.
#[derive(Clone, Debug)]
pub struct Account {
    /// Bare JID.
    pub jid: String,
    /// Password.
    pub password: String,
    /// Bare JIDs with a subscription in both directions.
    pub contacts: Vec<String>,
}

impl VirtualHost {
    /// One without our plugin and without rooms.
    #[must_use]
    pub fn plain(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            plugin: None,
            rooms: None,
        }
    }
}

impl Plugin {
    /// One that does everything, as it is when the provider sets nothing but the name.
    #[must_use]
    pub fn of(component: impl Into<String>) -> Self {
        Self {
            component: component.into(),
            audience: "roster",
            jobs: vec!["reach", "roster", "vcard"],
        }
    }
}

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Debian's Prosody.
    Prosody,
    /// Debian's ejabberd.
    Ejabberd,
}

/// A running server of either kind.
#[derive(Debug)]
pub enum Server {
    /// Debian's Prosody.
    Prosody(Prosody),
    /// Debian's ejabberd.
    Ejabberd(Ejabberd),
}

impl Server {
    /// Starts one with its data below `folder`, and waits until clients can log in. What an earlier run left there is
    /// kept.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(kind: Kind, namespace: Option<&Namespace>, folder: &Path, plan: &Plan) -> Result<Self> {
        match kind {
            Kind::Prosody => Prosody::start(namespace, folder, plan).map(Self::Prosody),
            Kind::Ejabberd => Ejabberd::start(namespace, folder, plan).map(Self::Ejabberd),
        }
    }

    /// Loads our plugin anew on a virtual host, as a provider does who has put a newer one in its place.
    ///
    /// # Errors
    /// When the server does not do it.
    pub fn reload_plugin(&self, host: &str) -> Result<()> {
        match self {
            Self::Prosody(server) => server.reload_plugin(host),
            Self::Ejabberd(server) => server.command("restart_module", &[("host", host), ("module", "mod_cusax")]),
        }
    }

    /// Takes our plugin out of all virtual hosts while the server runs.
    ///
    /// # Errors
    /// When the server does not do it.
    pub fn unload_plugin(&self, plan: &Plan) -> Result<()> {
        match self {
            Self::Prosody(server) => server.unload_plugin(plan),
            Self::Ejabberd(server) => server.unload_plugin(plan),
        }
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        match self {
            Self::Prosody(server) => server.log(),
            Self::Ejabberd(server) => server.log(),
        }
    }

    /// What it has logged of code that failed.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let marks: &[&str] = match self {
            Self::Prosody(_) => &["traceback", "Traceback"],
            Self::Ejabberd(_) => &[
                "crashed when running",
                "CRASH REPORT",
                "Failed to process iq",
                "Unexpected info",
            ],
        };
        let log = self.log();
        let failed = log.lines().filter(|line| marks.iter().any(|mark| line.contains(mark)));
        failed.map(str::to_owned).collect()
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        match self {
            Self::Prosody(server) => server.id(),
            Self::Ejabberd(server) => server.id(),
        }
    }

    /// Stops it as its init system would.
    ///
    /// # Errors
    /// When it has to be killed.
    pub fn stop(self) -> Result<()> {
        match self {
            Self::Prosody(server) => server.stop(),
            Self::Ejabberd(server) => server.stop(),
        }
    }
}
