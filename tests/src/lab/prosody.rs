//! A private Prosody: two virtual hosts, loopback only, everything in a folder of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::iter;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::xmpp_server::{Account, Plan};
use super::{Child, Context as _, Fault, Namespace, Result, Spec};

/// A running server.
#[derive(Debug)]
pub struct Prosody {
    program: Child,
    config: PathBuf,
    namespace: Option<Namespace>,
}

impl Prosody {
    /// Writes configuration, accounts and rosters below `folder`, starts the server and waits for its ports.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(namespace: Option<&Namespace>, folder: &Path, plan: &Plan) -> Result<Self> {
        let folder = folder.join("prosody");
        for inner in ["data", "certs"] {
            std::fs::create_dir_all(folder.join(inner))?;
        }
        for account in &plan.accounts {
            write_account(&folder.join("data"), account)?;
        }
        let config = folder.join("prosody.cfg.lua");
        std::fs::write(&config, configuration(&folder, plan))?;
        let mut spec = Spec::new("prosody", "prosody")
            .arg("-F")
            .arg("--config")
            .arg(&config)
            .folder(&folder);
        if let Some(namespace) = namespace {
            spec = spec.inside(namespace);
        }
        let mut program = spec.start(&folder)?;
        // Without a component nobody listens for one.
        for port in iter::once(plan.clients).chain(plan.component.as_ref().map(|_| plan.components)) {
            let inside = namespace.cloned();
            program.until(&format!("port {port}"), START, |_| {
                let connect = move || Ok(TcpStream::connect(("127.0.0.1", port))?);
                match &inside {
                    Some(namespace) => namespace.run(connect).ok(),
                    None => connect().ok(),
                }
            })?;
        }
        Ok(Self {
            program,
            config,
            namespace: namespace.cloned(),
        })
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.program.log()
    }

    /// Loads our plugin anew.
    ///
    /// # Errors
    /// When the shell does not say that it was done.
    pub fn reload_plugin(&self, host: &str) -> Result<()> {
        self.shell("reload", host)
    }

    /// Takes our plugin out.
    ///
    /// # Errors
    /// When the shell does not say that it was done.
    pub fn unload_plugin(&self, plan: &Plan) -> Result<()> {
        let mut with = plan.hosts.iter().filter(|host| host.plugin.is_some());
        with.try_for_each(|host| self.shell("unload", &host.name))
    }

    fn shell(&self, order: &str, host: &str) -> Result<()> {
        let mut spec = Spec::new("prosodyctl", "prosodyctl")
            .arg("--config")
            .arg(&self.config)
            .args(["shell", "module", order, "cusax", host]);
        if let Some(namespace) = &self.namespace {
            spec = spec.inside(namespace);
        }
        let said = spec.output()?;
        if said.contains("OK") {
            Ok(())
        } else {
            Err(Fault::new(said))
        }
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.program.id()
    }

    /// Stops it as its init system would.
    ///
    /// # Errors
    /// When it has to be killed.
    pub fn stop(self) -> Result<()> {
        self.program.stop(STOP).map(drop)
    }
}

fn configuration(folder: &Path, plan: &Plan) -> String {
    let path = folder.display();
    let Plan {
        clients, components, ..
    } = plan;
    let mut text = format!(
        r#"run_as_root = true
daemonize = false
data_path = "{path}/data"
certificates = "{path}/certs"
plugin_paths = {{ "{PLUGINS}" }}
pidfile = "{path}/prosody.pid"
admin_socket = "{path}/prosody.sock"
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {clients} }}
component_ports = {{ {components} }}
component_interfaces = {{ "127.0.0.1" }}
s2s_ports = {{}}
http_ports = {{}}
https_ports = {{}}
c2s_direct_tls_ports = {{}}
s2s_direct_tls_ports = {{}}
legacy_ssl_ports = {{}}
modules_enabled = {{ "roster", "saslauth", "disco", "pep", "vcard4", "vcard_legacy", "ping", "carbons", "smacks" }}
modules_disabled = {{ "s2s", "tls", "posix", "offline" }}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
storage = "internal"
limits = {{}}
log = {{ {{ levels = {{ min = "debug" }}, to = "console" }} }}
"#
    );
    for host in &plan.hosts {
        write!(text, "\nVirtualHost \"{}\"\n", host.name).expect(WRITES);
        if let Some(plugin) = &host.plugin {
            let jobs = plugin.jobs.join("\", \"");
            write!(
                text,
                r#"  modules_enabled = {{ "cusax", "admin_shell" }}
  cusax_component = "{}"
  cusax_audience = "{}"
  cusax_jobs = {{ "{jobs}" }}
"#,
                plugin.component, plugin.audience
            )
            .expect(WRITES);
        }
    }
    for rooms in plan.hosts.iter().filter_map(|host| host.rooms.as_ref()) {
        write!(text, "\nComponent \"{rooms}\" \"muc\"\n  muc_room_locking = false\n").expect(WRITES);
    }
    if let Some((name, secret)) = &plan.component {
        write!(text, "\nComponent \"{name}\"\n  component_secret = \"{secret}\"\n").expect(WRITES);
    }
    text
}

fn write_account(data: &Path, account: &Account) -> Result<()> {
    let (user, host) = account.jid.split_once('@').context("a bare JID")?;
    let mut contacts = BTreeMap::new();
    for jid in &account.contacts {
        contacts.insert(jid, "{ [\"subscription\"] = \"both\"; [\"groups\"] = {}; }");
    }
    let mut roster = "return { [false] = { [\"version\"] = 1; [\"pending\"] = {}; };".to_owned();
    for (jid, item) in contacts {
        write!(roster, " [\"{jid}\"] = {item};").expect(WRITES);
    }
    roster.push_str(" };\n");
    let files = [
        (
            "accounts",
            format!("return {{ [\"password\"] = \"{}\"; }};\n", account.password),
        ),
        ("roster", roster),
    ];
    for (store, content) in files {
        let folder = data.join(encoded(host)).join(store);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(format!("{}.dat", encoded(user))), content)?;
    }
    Ok(())
}

/// As Prosody names files: everything but letters and digits becomes `%xx`.
fn encoded(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02x}").expect(WRITES);
        }
    }
    text
}

/// Our plugin, where it stands in the source tree.
const PLUGINS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prosody");
const START: Duration = Duration::from_secs(10);
const STOP: Duration = Duration::from_secs(4);
const WRITES: &str = "writing to a String cannot fail";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_prosodys() {
        assert_eq!(encoded("cusax.test"), "cusax%2etest");
        assert_eq!(encoded("a-b_c"), "a%2db%5fc");
    }
}
