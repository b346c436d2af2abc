//! A private Postgres and a private Redis: a password drawn anew, no port at all, nothing on disk that must last.
//!
//! Both listen on a socket in the scratch folder only. Such a socket is reached from every network namespace, cannot
//! be taken by anybody in between as a free port can, and goes with the folder.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User, chown};
use rand::RngExt as _;

use super::{Child, Context as _, Fault, Result, Spec, wait};

/// A Postgres server with a cluster of its own. Dropping it stops it.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    /// Where its programs are.
    programs: PathBuf,
    folder: PathBuf,
}

impl Postgres {
    /// Makes a cluster in `scratch`, starts it and waits until it answers.
    ///
    /// Its default collation is a language's and not the order of bytes, so that whoever relies on either shows it.
    ///
    /// # Errors
    /// When Debian's `postgresql` is not there or does not start; the fault holds the end of its log.
    pub fn start(scratch: &Path) -> Result<Self> {
        let programs = newest_programs()?;
        let folder = scratch.join("postgres");
        fs::create_dir(&folder).context(folder.display())?;
        let password = password();
        let secret = folder.join("password");
        write_secret(&secret, &password)?;
        // Postgres refuses to run as root.
        let owner = if Uid::effective().is_root() {
            let user = User::from_name(OWNER)?.context("the system has no user for Postgres")?;
            for path in [&folder, &secret] {
                chown(path, Some(user.uid), Some(user.gid)).context(path.display())?;
            }
            Some(OWNER)
        } else {
            None
        };
        let run_as = |spec: Spec| match owner {
            Some(owner) => spec.user(owner),
            None => spec,
        };
        let data = folder.join("data");
        run_as(
            Spec::new("initdb", programs.join("initdb"))
                .folder(&folder)
                .env("LC_ALL", "C.UTF-8"),
        )
        .args([
            "--auth=scram-sha-256",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--username",
            ROLE,
        ])
        .args(["--locale-provider=icu", "--icu-locale=en"])
        .arg("--pwfile")
        .arg(&secret)
        .arg("--pgdata")
        .arg(&data)
        .output()
        .context("making a Postgres cluster")?;
        let spec = run_as(
            Spec::new("postgres", programs.join("postgres"))
                .folder(&folder)
                .env("LC_ALL", "C.UTF-8"),
        )
        .arg("-D")
        .arg(&data)
        .arg("-k")
        .arg(&folder)
        .args([
            "-h",
            "",
            "-c",
            "fsync=off",
            "-c",
            "full_page_writes=off",
            "-c",
            "shared_buffers=16MB",
        ])
        .args(["-c", "log_statement=none", "-c", "log_min_error_statement=panic"])
        // The end at once, but an orderly one: killed for good, it would leave shared memory behind.
        .on_orphaned(Signal::SIGQUIT);
        let mut server = Server {
            spec,
            password,
            logs: scratch.to_owned(),
            ready: "database system is ready to accept connections",
            ending: Signal::SIGQUIT,
            starts: 0,
            child: None,
        };
        server.start()?;
        Ok(Self {
            server,
            programs,
            folder,
        })
    }

    /// The address of a database, without the password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{ROLE}@localhost/{database}?host={}", self.folder.display())
    }

    /// The password of the one role.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.server.password
    }

    /// Makes an empty database.
    ///
    /// # Errors
    /// When there is one of that name.
    pub fn create(&self, database: &str) -> Result<()> {
        self.run("postgres", &format!("CREATE DATABASE {database}")).map(drop)
    }

    /// Runs a statement in a database behind the back of the service, and gives what came of it.
    ///
    /// # Errors
    /// Those of the database.
    pub fn run(&self, database: &str, statement: &str) -> Result<String> {
        self.client(database, statement).output()
    }

    /// Begins a statement and does not wait for its end.
    ///
    /// # Errors
    /// When the client cannot be started.
    pub fn spawn(&self, database: &str, statement: &str) -> Result<Child> {
        self.client(database, statement).start(&self.server.logs)
    }

    fn client(&self, database: &str, statement: &str) -> Spec {
        Spec::new("psql", self.programs.join("psql"))
            .env("PGPASSWORD", self.password())
            .args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--set=ON_ERROR_STOP=1",
            ])
            .args([
                "--username",
                ROLE,
                "--dbname",
                database,
                "--command",
                statement,
                "--host",
            ])
            .arg(&self.folder)
    }

    /// Takes it away, as a crash would.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.server.stop()
    }

    /// Brings it back with what it held.
    ///
    /// # Errors
    /// When it does not start.
    pub fn resume(&mut self) -> Result<()> {
        self.server.start()
    }
}

/// A Redis server that keeps nothing on disk. Dropping it stops it.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    socket: PathBuf,
}

impl Redis {
    /// Starts one in `scratch` and waits until it answers.
    ///
    /// # Errors
    /// When Debian's `redis-server` is not there or does not start; the fault holds the end of its log.
    pub fn start(scratch: &Path) -> Result<Self> {
        let folder = scratch.join("redis");
        fs::create_dir(&folder).context(folder.display())?;
        let (password, socket, config) = (password(), folder.join("socket"), folder.join("redis.conf"));
        let text = format!(
            "port 0\nunixsocket {}\nunixsocketperm 700\nrequirepass {password}\nsave \"\"\nappendonly no\ndir {}\n",
            socket.display(),
            folder.display()
        );
        write_secret(&config, &text)?;
        let spec = Spec::new("redis", "redis-server")
            .arg(&config)
            .folder(&folder)
            .on_orphaned(Signal::SIGTERM);
        let mut server = Server {
            spec,
            password,
            logs: scratch.to_owned(),
            ready: "eady to accept connections",
            ending: Signal::SIGTERM,
            starts: 0,
            child: None,
        };
        server.start()?;
        Ok(Self { server, socket })
    }

    /// Its address, without the password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    /// The password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.server.password
    }

    /// Runs a command behind the back of the service, and gives the answer.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn run(&self, command: &[&str]) -> Result<String> {
        Spec::new("redis-cli", "redis-cli")
            .env("REDISCLI_AUTH", self.password())
            .arg("-e")
            .arg("-s")
            .arg(&self.socket)
            .args(command)
            .output()
    }

    /// Takes it away, with all that it held.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.server.stop()
    }

    /// Brings it back, empty.
    ///
    /// # Errors
    /// When it does not start.
    pub fn resume(&mut self) -> Result<()> {
        self.server.start()
    }

    /// Lets it hang: connections stay, answers do not come.
    ///
    /// # Errors
    /// When it is not running.
    pub fn freeze(&self) -> Result<()> {
        self.server.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it is not running.
    pub fn thaw(&self) -> Result<()> {
        self.server.signal(Signal::SIGCONT)
    }
}

/// What both have in common: a program that says when it is ready, and may come and go.
#[derive(Debug)]
struct Server {
    spec: Spec,
    password: String,
    logs: PathBuf,
    /// What its log says at every start.
    ready: &'static str,
    /// The signal that ends it at once and tidily.
    ending: Signal,
    starts: usize,
    child: Option<Child>,
}

impl Server {
    fn start(&mut self) -> Result<()> {
        self.starts += 1;
        let mut child = self.spec.start(&self.logs)?;
        let (ready, starts) = (self.ready, self.starts);
        child.until("its readiness", PATIENCE, |child| {
            (child.log().matches(ready).count() >= starts).then_some(())
        })?;
        self.child = Some(child);
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        // A frozen one hears nothing else.
        child.signal(Signal::SIGCONT)?;
        child.signal(self.ending)?;
        wait::until_ok(&format!("the end of {}", child.name()), PATIENCE, || child.ended()).map(drop)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.child.as_ref().context("it is not running")?.signal(signal)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whatever is left after that, the child's own drop kills.
        let _ = self.stop();
    }
}

/// Debian keeps the servers of several versions side by side.
fn newest_programs() -> Result<PathBuf> {
    let versions = fs::read_dir(PROGRAMS).context("Debian's postgresql is not installed")?;
    versions
        .flatten()
        .filter_map(|version| {
            Some((
                version.file_name().to_str()?.parse::<u32>().ok()?,
                version.path().join("bin"),
            ))
        })
        .filter(|(_, programs)| programs.join("initdb").exists())
        .max()
        .map(|(_, programs)| programs)
        .ok_or_else(|| Fault::new("Debian's postgresql is not installed"))
}

/// Only its owner may read it.
fn write_secret(path: &Path, text: &str) -> Result<()> {
    fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .context(path.display())
}

fn password() -> String {
    let bytes: [u8; 16] = rand::rng().random();
    cusax_common::core::entropy::hex(&bytes)
}

const PROGRAMS: &str = "/usr/lib/postgresql";
/// The user of the system that Debian makes for Postgres.
const OWNER: &str = "postgres";
/// The one role of the cluster.
const ROLE: &str = "cusax";
/// How long a server may take to start or end on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
