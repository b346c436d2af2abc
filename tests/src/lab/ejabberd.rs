//! A private ejabberd: virtual hosts on loopback, everything in a folder of its own.
//!
//! Debian's `ejabberdctl` would change the user, start a daemon of Erlang's for node names and take the system's own
//! configuration. So the virtual machine is started without it and without distribution: any number run side by side.
//! Accounts and rosters are made by ejabberd's own commands, over HTTP.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::iter;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::xmpp_server::{Account, Plan, VirtualHost};
use super::{Child, Context as _, Fault, Namespace, Result, Spec};

/// A running server.
#[derive(Debug)]
pub struct Ejabberd {
    program: Child,
    folder: PathBuf,
    namespace: Option<Namespace>,
    commands: u16,
}

/// A node of a cluster. Whoever starts one has Erlang's `epmd` run on loopback.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// Its name.
    pub name: &'a str,
    /// The node whose data it is to share.
    pub joins: Option<&'a str>,
}

impl Ejabberd {
    /// Writes the configuration below `folder`, compiles our plugin, starts the server, makes accounts and rosters.
    ///
    /// # Errors
    /// When Debian's `ejabberd` is not there, the plugin does not compile, or the server does not come up.
    pub fn start(namespace: Option<&Namespace>, folder: &Path, plan: &Plan) -> Result<Self> {
        Self::start_node(namespace, folder, plan, None)
    }

    /// The same as a node of a cluster, once it has joined the one that it is to join.
    ///
    /// # Errors
    /// As for a server alone.
    pub fn start_node(
        namespace: Option<&Namespace>,
        folder: &Path,
        plan: &Plan,
        node: Option<Node<'_>>,
    ) -> Result<Self> {
        let folder = folder.join(node.map_or("ejabberd", |node| node.name));
        let code = folder.join("ebin");
        std::fs::create_dir_all(&code)?;
        let server = Installed::find()?;
        server.compile(&code)?;
        let commands = plan.clients + COMMANDS;
        let config = folder.join(CONFIG);
        std::fs::write(&config, configuration(plan, commands))?;
        let spool = format!("\"{}\"", folder.join("spool").display());
        let mut spec = Spec::new("ejabberd", "erl")
            // Waiting threads sleep, so that what the server costs can be read.
            .args(["+K", "true", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"])
            .args(["-noinput", "-noshell", "-pa"])
            .arg(&code)
            .args(["-mnesia", "dir", &spool, "-s", "ejabberd"])
            .env("EJABBERD_CONFIG_PATH", &config)
            .env("EJABBERD_LOG_PATH", folder.join(LOG))
            .env("EJABBERD_PID_PATH", folder.join("ejabberd.pid"))
            .env("ERL_CRASH_DUMP", folder.join("erl_crash.dump"))
            .env("ERL_LIBS", &server.libraries)
            .env("HOME", &folder)
            .folder(&folder);
        let joined = folder.join("joined");
        if let Some(Node { name, joins }) = node {
            spec = spec
                .args(["-name", &full_name(name), "-setcookie", "lab", "-start_epmd", "false"])
                .args(["-kernel", "inet_dist_use_interface", "{127,0,0,1}"]);
            if let Some(other) = joins {
                let other = full_name(other);
                let joined = joined.display();
                let join = format!("ok = ejabberd_cluster:join('{other}'), ok = file:write_file(\"{joined}\", \"\").");
                spec = spec.args(["-eval", &join]);
            }
        }
        if let Some(namespace) = namespace {
            spec = spec.inside(namespace);
        }
        let mut program = spec.start(&folder)?;
        let joins = node.is_some_and(|node| node.joins.is_some());
        if joins {
            program.until("the cluster", START, |_| joined.exists().then_some(()))?;
        }
        let ports = [plan.clients, commands];
        for port in ports
            .into_iter()
            .chain(iter::once(plan.components).filter(|_| plan.component.is_some()))
        {
            let inside = namespace.cloned();
            program.until(&format!("port {port}"), START, |_| connect(inside.as_ref(), port).ok())?;
        }
        let server = Self {
            program,
            folder,
            namespace: namespace.cloned(),
            commands,
        };
        for account in plan.accounts.iter().filter(|_| !joins) {
            server.make(account)?;
        }
        Ok(server)
    }

    /// Runs one of ejabberd's commands.
    ///
    /// # Errors
    /// When it fails.
    pub fn command(&self, name: &str, arguments: &[(&str, &str)]) -> Result<()> {
        let arguments: Value = arguments
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let (status, answer) = self.post(name, &arguments.to_string())?;
        if status.contains(" 200 ") {
            Ok(())
        } else {
            Err(Fault::new(format_args!("{name}: {status}: {answer}")))
        }
    }

    /// Takes our plugin out.
    ///
    /// # Errors
    /// When the server does not take the new configuration.
    pub fn unload_plugin(&self, plan: &Plan) -> Result<()> {
        let mut without = plan.clone();
        for host in &mut without.hosts {
            host.plugin = None;
        }
        std::fs::write(self.folder.join(CONFIG), configuration(&without, self.commands))?;
        self.command("reload_config", &[])
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let text = std::fs::read(self.folder.join(LOG)).unwrap_or_default();
        self.program.log() + &String::from_utf8_lossy(&text)
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

    fn make(&self, account: &Account) -> Result<()> {
        let (user, host) = split(&account.jid)?;
        let arguments = json!({"user": user, "host": host, "password": account.password});
        let (status, answer) = self.post("register", &arguments.to_string())?;
        // After a restart it is there.
        if !status.contains(" 200 ") && !status.contains(" 409 ") {
            return Err(Fault::new(format_args!("{}: {status}: {answer}", account.jid)));
        }
        for contact in &account.contacts {
            let (contact, server) = split(contact)?;
            self.command(
                "add_rosteritem",
                &[
                    ("localuser", user),
                    ("localhost", host),
                    ("user", contact),
                    ("host", server),
                    ("nick", ""),
                    ("group", ""),
                    ("subs", "both"),
                ],
            )?;
        }
        Ok(())
    }

    /// The first line of the answer, and its body.
    fn post(&self, command: &str, body: &str) -> Result<(String, String)> {
        let mut stream = connect(self.namespace.as_ref(), self.commands)?;
        stream.set_read_timeout(Some(START))?;
        write!(
            stream,
            "POST /api/{command} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer of HTTP")?;
        let status = head.lines().next().unwrap_or_default();
        Ok((status.to_owned(), body.to_owned()))
    }
}

fn full_name(node: &str) -> String {
    format!("{node}@127.0.0.1")
}

/// Where Debian has put it.
struct Installed {
    libraries: PathBuf,
    application: PathBuf,
    headers: PathBuf,
}

impl Installed {
    fn find() -> Result<Self> {
        let libraries = inside(Path::new("/usr/lib"), "-linux-gnu", |folder| {
            inside(folder, "ejabberd-", |_| true).is_some()
        })
        .context("Debian's ejabberd is not installed")?;
        let application = inside(&libraries, "ejabberd-", |_| true).context("ejabberd's code")?;
        // Debian gives the XMPP library a name of its own.
        let headers = inside(Path::new("/usr/lib/erlang/lib"), "p1_xmpp-", |folder| {
            folder.join("include").exists()
        })
        .context("the headers of ejabberd's XMPP library")?
        .join("include");
        Ok(Self {
            libraries,
            application,
            headers,
        })
    }

    fn compile(&self, into: &Path) -> Result<()> {
        Spec::new("erlc", "erlc")
            .args(["-Wall", "-Werror", "-pa"])
            .arg(self.application.join("ebin"))
            .arg("-I")
            .arg(&self.headers)
            .arg("-I")
            .arg(self.application.join("include"))
            .arg("-o")
            .arg(into)
            .arg(PLUGIN)
            .output()
            .map(drop)
    }
}

/// A folder in `folder` with this in its name of which `wanted` is true.
fn inside(folder: &Path, name: &str, wanted: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.filter_map(std::result::Result::ok);
    entries
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains(name) && path.is_dir() && wanted(path))
}

fn connect(namespace: Option<&Namespace>, port: u16) -> Result<TcpStream> {
    let connect = move || Ok(TcpStream::connect(("127.0.0.1", port))?);
    match namespace {
        Some(namespace) => namespace.run(connect),
        None => connect(),
    }
}

fn split(jid: &str) -> Result<(&str, &str)> {
    jid.split_once('@').context("a bare JID")
}

fn configuration(plan: &Plan, commands: u16) -> String {
    let Plan {
        clients,
        components,
        versions,
        ..
    } = plan;
    let mut text = format!(
        r#"loglevel: info
auth_method: internal
auth_password_format: plain
disable_sasl_mechanisms: [SCRAM-SHA-1, SCRAM-SHA-256, SCRAM-SHA-512, X-OAUTH2, DIGEST-MD5]
trusted_proxies: []
acme: {{auto: false}}
api_permissions:
  lab: {{from: mod_http_api, who: all, what: "*"}}
modules:
  mod_admin_extra: {{}}
  mod_caps: {{}}
  mod_carboncopy: {{}}
  mod_disco: {{}}
  mod_http_api: {{}}
  mod_ping: {{}}
  mod_pubsub: {{plugins: [flat, pep]}}
  mod_roster: {{versioning: {versions}}}
  mod_stream_mgmt: {{resend_on_timeout: if_offline}}
  mod_vcard: {{search: false}}
listen:
  - {{port: {clients}, ip: "127.0.0.1", module: ejabberd_c2s, starttls: false}}
  - {{port: {commands}, ip: "127.0.0.1", module: ejabberd_http, request_handlers: {{/api: mod_http_api}}}}
"#
    );
    if let Some((name, secret)) = &plan.component {
        writeln!(
            text,
            "  - {{port: {components}, ip: \"127.0.0.1\", module: ejabberd_service, check_from: true, \
             global_routes: false, shaper: none, hosts: {{\"{name}\": {{password: \"{secret}\"}}}}}}"
        )
        .expect(WRITES);
    }
    let names: Vec<_> = plan.hosts.iter().map(|host| format!("\"{}\"", host.name)).collect();
    writeln!(text, "hosts: [{}]", names.join(", ")).expect(WRITES);
    let special = |host: &&VirtualHost| host.plugin.is_some() || host.rooms.is_some();
    if plan.hosts.iter().any(|host| special(&host)) {
        text.push_str("append_host_config:\n");
    }
    for host in plan.hosts.iter().filter(special) {
        writeln!(text, "  \"{}\":\n    modules:", host.name).expect(WRITES);
        if let Some(plugin) = &host.plugin {
            writeln!(
                text,
                "      mod_cusax: {{component: \"{}\", audience: {}, jobs: [{}]}}",
                plugin.component,
                plugin.audience,
                plugin.jobs.join(", ")
            )
            .expect(WRITES);
        }
        if let Some(rooms) = &host.rooms {
            writeln!(text, "      mod_muc: {{hosts: [\"{rooms}\"]}}").expect(WRITES);
        }
    }
    text
}

/// Our plugin, where it stands in the source tree.
const PLUGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/ejabberd/mod_cusax.erl");
const CONFIG: &str = "ejabberd.yml";
const LOG: &str = "ejabberd.log";
/// How far behind the port for clients that for commands is.
const COMMANDS: u16 = 60;
const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(10);
const WRITES: &str = "writing to a String cannot fail";
