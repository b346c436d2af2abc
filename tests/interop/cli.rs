//! The command line as an operator meets it: one process for each command, a scratch folder for each test.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cusax_tests::lab::service::free;
use serde_json::Value;
use tempfile::TempDir;

/// A configuration of its own for one test.
struct Bench {
    folder: TempDir,
    http: u16,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            folder: tempfile::tempdir().expect("a scratch folder"),
            http: free_port(),
        };
        let secret = bench.path("component.secret");
        fs::write(&secret, "canary-component\n").expect("written");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("mode");
        bench.configure("");
        bench
    }

    /// Writes the configuration anew, with `more` at its end.
    fn configure(&self, more: &str) {
        let text = format!(
            "[sip]\ndomains = [\"sip.example.com\"]\n[[sip.listeners]]\naddress = \"127.0.0.1\"\nport = {sip}\n\
             [xmpp]\ndomain = \"example.com\"\ncomponent = \"calls.example.com\"\nport = 1\n\
             secret_file = \"component.secret\"\n[numbers]\ncountry = \"DE\"\n[store]\nurl = \"sqlite:{folder}/cusax.db\"\n\
             [http]\nlisten = \"127.0.0.1:{http}\"\n[control]\nsocket = \"{folder}/run/cusax.sock\"\ndrain = 1\n{more}",
            sip = free_port(),
            folder = self.folder.path().display(),
            http = self.http,
        );
        fs::write(self.path("cusax.toml"), text).expect("written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cusax"));
        command.args(arguments).arg("--config").arg(self.path("cusax.toml"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CUSAX_")) {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("cusax runs")
    }

    /// Runs with `--json`; the answer of standard output.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"))
    }

    /// Starts the service and waits until it serves. It logs everything that it can.
    fn serve(&self) -> Serving {
        let mut child = self
            .command(&["serve"])
            .env("CUSAX__LOG__LEVEL", "trace")
            .stderr(Stdio::piped())
            .spawn()
            .expect("cusax starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let mut log = String::new();
        while !log.contains("serving") {
            assert_ne!(
                lines.read_line(&mut log).expect("a log"),
                0,
                "ended during its start:\n{log}"
            );
        }
        Serving { child, lines, log }
    }

    fn http(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).expect("the HTTP port");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a timeout");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

/// A running service, killed if the test fails.
struct Serving {
    child: Child,
    lines: BufReader<std::process::ChildStderr>,
    log: String,
}

impl Serving {
    fn signal(&self, signal: &str) {
        let told = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(told.success());
    }

    fn wait_for(&mut self, text: &str) {
        while !self.log.contains(text) {
            assert_ne!(
                self.lines.read_line(&mut self.log).expect("a log"),
                0,
                "no {text:?} in\n{}",
                self.log
            );
        }
    }

    /// Ends it; gives its whole log.
    fn stop(mut self) -> String {
        let _watchdog = Watchdog::over(&self.child);
        self.signal("-TERM");
        self.lines.read_to_string(&mut self.log).expect("a log");
        assert!(self.child.wait().expect("ended").success(), "{}", self.log);
        assert!(!self.log.contains("canary"), "a secret is in the log:\n{}", self.log);
        std::mem::take(&mut self.log)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills a process that does not end in time: its test fails then, instead of waiting for ever.
struct Watchdog(#[expect(dead_code, reason = "its drop tells that the process has ended")] mpsc::Sender<()>);

impl Watchdog {
    fn over(child: &Child) -> Self {
        let (alive, ended) = mpsc::channel();
        let pid = child.id().to_string();
        thread::spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-KILL", &pid]).status();
            }
        });
        Self(alive)
    }
}

/// Several times what any end takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn free_port() -> u16 {
    free(Ipv4Addr::LOCALHOST.into()).expect("a free port").port()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn add_alice(bench: &Bench, more: &[&str]) -> Output {
    let base = [
        "user",
        "add",
        "--jid",
        "alice@example.com",
        "--aor",
        "sip:a.liddell@sip.example.com",
    ];
    bench.run(&[&base, more].concat())
}

#[test]
fn three_mistakes_are_told_at_once_with_file_and_key() {
    let bench = Bench::new();
    bench.configure("[media]\nport_min = 20001\nworkerz = 2\n[log]\nlevel = \"loud\"\n");
    for command in [&["check"][..], &["serve"], &["user", "list"], &["config", "show"]] {
        let output = bench.run(command);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{command:?}: {told}");
        let file = bench.path("cusax.toml");
        for key in ["media.port_min", "media.workerz", "log.level"] {
            let named = format!("{}: {key}: ", file.display());
            assert!(told.contains(&named), "{command:?}: {named} in\n{told}");
        }
        assert!(told.contains("did you mean workers?"), "{told}");
    }
    let output = bench.run(&["check", "--json"]);
    let told: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!(told["faults"].as_array().map(Vec::len), Some(3), "{told}");
}

#[test]
fn without_a_component_secret_it_does_not_start() {
    let bench = Bench::new();
    let secret = bench.path("component.secret");
    let refused = |why: &str| {
        let output = bench.run(&["serve"]);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{why}: {told}");
        assert!(
            told.contains("xmpp.secret_file") && !told.contains("canary"),
            "{why}: {told}"
        );
    };
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).expect("mode");
    refused("open to everybody");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("mode");
    fs::write(&secret, "\n").expect("written");
    refused("empty");
    fs::remove_file(&secret).expect("removed");
    refused("missing");
    let text = fs::read_to_string(bench.path("cusax.toml")).expect("read");
    fs::write(
        bench.path("cusax.toml"),
        text.replace("secret_file = \"component.secret\"\n", ""),
    )
    .expect("written");
    let output = bench.run(&["serve"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        stderr(&output).contains("cusax.toml: xmpp.secret: is missing"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn users_come_and_go() {
    let bench = Bench::new();
    for command in [
        &["user", "list"][..],
        &["calls"],
        &["user", "remove", "alice@example.com"],
    ] {
        let output = bench.run(command);
        assert_eq!(output.status.code(), Some(66), "{output:?}");
        assert!(stderr(&output).contains("does not exist"), "{output:?}");
    }
    assert!(
        bench.json(&["check"])["findings"]
            .to_string()
            .contains("does not exist")
    );
    assert!(!bench.path("cusax.db").exists(), "looking makes nothing");
    // Only the service needs the secret that it shares with the XMPP server.
    fs::remove_file(bench.path("component.secret")).expect("removed");
    let base = [
        "user",
        "add",
        "--jid",
        "alice@example.com",
        "--name",
        "Alice Liddell",
        "--video",
        "--no-impp",
    ];
    let held = ["--aor", "sip:a.liddell@sip.example.com", "--number", "+44 20 7946 0018"];
    let added = bench.json(&[&base[..], &held].concat());
    let password = added["password"].as_str().expect("made here").to_owned();
    assert!(password.len() >= 20, "{added}");

    let shown = bench.json(&["user", "show", "alice@example.com"]);
    let expected = serde_json::json!({
        "jid": "alice@example.com", "name": "Alice Liddell", "aors": ["sip:a.liddell@sip.example.com"],
        "numbers": ["+442079460018"], "video": true, "notices": ["charge", "missed", "refused"], "impp": false, "language": "en",
        "logins": [{
            "username": "a.liddell", "realm": "sip.example.com", "algorithms": ["SHA-512-256", "SHA-256", "MD5"],
        }],
    });
    let sorted = |mut user: Value| {
        if let Some(algorithms) = user["logins"][0]["algorithms"].as_array_mut() {
            algorithms.sort_by_key(ToString::to_string);
        }
        user
    };
    assert_eq!(sorted(shown.clone()), sorted(expected));
    assert_eq!(bench.json(&["user", "list"]), serde_json::json!([shown]));

    // What is not given stays as it was.
    let update =
        |more: &[&str]| bench.json(&[&["user", "add", "--jid", "alice@example.com", "--update"], more].concat());
    let mut expected = sorted(shown);
    for (given, key, value) in [
        (
            &["--number", "+442079460019"][..],
            "numbers",
            serde_json::json!(["+442079460019"]),
        ),
        (&["--video=false"], "video", false.into()),
        (&["--no-impp=false"], "impp", true.into()),
        (
            &["--notices", "missed,incoming"],
            "notices",
            serde_json::json!(["incoming", "missed"]),
        ),
        (&["--language", "de"], "language", "de".into()),
    ] {
        expected[key] = value;
        assert_eq!(sorted(update(given)), expected, "{given:?}");
    }

    // Another login needs the password anew; nothing is made up that would lock phones out.
    let output = bench.run(&[
        "user",
        "add",
        "--jid",
        "alice@example.com",
        "--update",
        "--login",
        "other",
    ]);
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    assert!(stderr(&output).contains("--password-file"), "{output:?}");

    // A password that was given is never told again, and updating keeps it.
    fs::write(bench.path("password"), "canary-password\n").expect("written");
    let file = bench.path("password").display().to_string();
    let replaced = add_alice(&bench, &["--update", "--password-file", &file]);
    assert!(replaced.status.success(), "{replaced:?}");
    let kept = add_alice(&bench, &["--update", "--name", "Alice"]);
    assert!(
        kept.status.success() && !String::from_utf8_lossy(&kept.stdout).contains("password"),
        "{kept:?}"
    );
    for output in [
        &replaced,
        &kept,
        &bench.run(&["user", "list"]),
        &bench.run(&["user", "show", "alice@example.com"]),
    ] {
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(output));
        assert!(!told.contains("canary") && !told.contains(&password), "{told}");
    }

    assert_eq!(
        bench.json(&["user", "remove", "alice@example.com"])["removed"],
        "alice@example.com"
    );
    for command in [
        ["user", "show", "alice@example.com"],
        ["user", "remove", "alice@example.com"],
    ] {
        let output = bench.run(&command);
        assert_eq!(output.status.code(), Some(65), "{output:?}");
        assert!(stderr(&output).contains("alice@example.com"), "{output:?}");
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let bench = Bench::new();
    assert!(add_alice(&bench, &["--number", "+442079460018"]).status.success());
    let mallory = ["user", "add", "--jid", "mallory@example.com"];
    let cases: [(&[&str], i32, &str); 9] = [
        (
            &["--aor", "sip:a.liddell@sip.example.com"],
            65,
            "belongs to alice@example.com",
        ),
        (
            &["--aor", "sip:m@sip.example.com", "--number", "+442079460018"],
            65,
            "belongs to alice@example.com",
        ),
        (
            &["--aor", "sip:m@sip.example.com", "--login", "a.liddell"],
            65,
            "belongs to alice@example.com",
        ),
        (&["--aor", "sip:m@elsewhere.example"], 65, "sip.domains"),
        (
            &["--aor", "sip:m@sip.example.com", "--password-file", "/nonexistent"],
            66,
            "/nonexistent",
        ),
        (
            &["--aor", "sip:m@sip.example.com", "--password-stdin"],
            65,
            "standard input",
        ),
        (&["--aor", "m"], 64, "--aor"),
        (&["--number", "02079460018"], 64, "--number"),
        (&["--name", ""], 65, "name"),
    ];
    for (more, status, told) in cases {
        let output = bench.run(&[&mallory, more].concat());
        assert_eq!(output.status.code(), Some(status), "{more:?}: {output:?}");
        assert!(stderr(&output).contains(told), "{more:?}: {output:?}");
    }
    let output = add_alice(&bench, &[]);
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    assert!(stderr(&output).contains("--update"), "{output:?}");
    let output = bench.run(&["user", "add", "--jid", "alice@elsewhere.example"]);
    assert_eq!(
        (output.status.code(), stderr(&output).contains("xmpp.domain")),
        (Some(65), true),
        "{output:?}"
    );
    assert_eq!(
        bench.json(&["user", "list"]).as_array().map(Vec::len),
        Some(1),
        "nothing was stored"
    );
}

#[test]
fn usage_help_and_stores_have_their_own_statuses() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["frobnicate"]).status.code(), Some(64));
    assert_eq!(bench.run(&["--help"]).status.code(), Some(0));
    assert_eq!(bench.run(&["--version"]).status.code(), Some(0));
    assert_eq!(bench.run(&["reload"]).status.code(), Some(69), "nothing runs");
    assert!(add_alice(&bench, &[]).status.success());
    assert_eq!(bench.json(&["calls"]), serde_json::json!([]));
    let output = bench.run(&["calls", "--json", "--session", "xyz"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(serde_json::from_slice::<Value>(&output.stderr).is_ok(), "{output:?}");
    assert_eq!(bench.run(&["calls", "--session", "xyz"]).status.code(), Some(64));
    let text = fs::read_to_string(bench.path("cusax.toml")).expect("read");
    fs::write(
        bench.path("cusax.toml"),
        text.replace("cusax.db", "component.secret/cusax.db"),
    )
    .expect("written");
    let output = bench.run(&["user", "list"]);
    assert_eq!(
        (output.status.code(), stderr(&output).contains("store.url")),
        (Some(69), true),
        "{output:?}"
    );
    let output = bench.run(&["check"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("store.url"),
        "{output:?}"
    );
    fs::remove_file(bench.path("cusax.toml")).expect("removed");
    let output = bench.run(&["user", "list"]);
    assert_eq!(
        (output.status.code(), stderr(&output).contains("cusax.toml")),
        (Some(78), true),
        "{output:?}"
    );
}

#[test]
fn check_notes_users_whose_phones_cannot_register() {
    let bench = Bench::new();
    assert!(add_alice(&bench, &[]).status.success());
    assert!(
        bench
            .run(&["user", "add", "--jid", "carol@example.com"])
            .status
            .success()
    );
    let told = bench.json(&["check"]);
    assert_eq!((&told["ok"], &told["users"]), (&true.into(), &2.into()), "{told}");
    let whats: Vec<_> = told["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|f| f["what"].to_string())
        .collect();
    assert!(whats.iter().any(|what| what.contains("carol@example.com")), "{told}");
    assert!(!whats.iter().any(|what| what.contains("alice@example.com")), "{told}");
    assert!(
        whats.iter().any(|what| what.contains("xmpp.host")),
        "nobody listens there: {told}"
    );
    let text = fs::read_to_string(bench.path("cusax.toml")).expect("read");
    fs::write(
        bench.path("cusax.toml"),
        text.replace("address = \"127.0.0.1\"", "address = \"192.0.2.10\""),
    )
    .expect("written");
    let output = bench.run(&["check"]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(69), "{told}");
    assert!(
        told.contains("sip.listeners[0].address: 192.0.2.10") && !told.contains("is right"),
        "not this machine's: {told}"
    );
}

#[test]
fn a_secret_is_never_shown() {
    let bench = Bench::new();
    bench.configure("[state]\nurl = \"redis://:canary-state@127.0.0.1:1/0\"\n");
    for command in [&["config", "show"][..], &["config", "show", "--json"]] {
        let output = bench.run(command);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && told.contains("***") && !told.contains("canary"),
            "{told}"
        );
    }
    for command in [&["check"][..], &["serve"]] {
        let output = bench.run(command);
        assert_eq!(output.status.code(), Some(69), "{output:?}");
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
        assert!(told.contains("state.url") && !told.contains("canary"), "{told}");
    }
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let bench = Bench::new();
    assert!(add_alice(&bench, &[]).status.success());
    for command in [
        &["config", "reference"][..],
        &["user", "list"],
        &["--help"],
        &["config", "show"],
    ] {
        let mut child = bench
            .command(command)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cusax starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("ended");
        assert_eq!(
            (output.status.code(), stderr(&output).as_str()),
            (Some(0), ""),
            "{command:?}"
        );
    }
}

#[test]
fn the_environment_is_read_and_named() {
    let bench = Bench::new();
    let output = bench
        .command(&["config", "show"])
        .env("CUSAX__MEDIA__WORKERS", "3")
        .output()
        .expect("runs");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("workers = 3"),
        "{output:?}"
    );
    let output = bench
        .command(&["config", "show"])
        .env("CUSAX__MEDIA__WORKERS", "many")
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(78));
    assert!(
        stderr(&output).contains("CUSAX__MEDIA__WORKERS: media.workers: "),
        "{output:?}"
    );
}

#[test]
fn the_service_starts_reloads_and_stops() {
    let bench = Bench::new();
    let mut serving = bench.serve();
    assert!(
        bench.http("/healthz").starts_with("HTTP/1.1 200"),
        "{}",
        bench.http("/healthz")
    );
    assert!(bench.http("/readyz").contains("\"store\""), "{}", bench.http("/readyz"));
    assert!(
        bench.http("/metrics").contains("cusax_calls 0"),
        "{}",
        bench.http("/metrics")
    );

    // A second one on the same socket is refused and leaves the first alone.
    let second = bench
        .command(&["serve"])
        .env("CUSAX__HTTP__LISTEN", format!("127.0.0.1:{}", free_port()))
        .output();
    let second = second.expect("runs");
    assert_eq!(second.status.code(), Some(73), "{second:?}");
    assert!(stderr(&second).contains("control.socket"), "{second:?}");

    bench.configure("[policy.tone]\nfrequency = 440\n[media]\nworkers = 2\n");
    let told = bench.json(&["reload"]);
    assert_eq!(told["reloaded"], true, "{told}");
    assert!(told["needs_restart"].to_string().contains("media"), "{told}");
    bench.configure("[policy.tone]\nfrequency = 1\n");
    let refused = bench.run(&["reload"]);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    assert!(stderr(&refused).contains("policy.tone.frequency"), "{refused:?}");
    serving.signal("-HUP");
    serving.wait_for("configuration not taken");
    let metrics = bench.http("/metrics");
    assert!(
        metrics.contains("cusax_config_reloads_total{outcome=\"done\"} 1"),
        "{metrics}"
    );

    let mode = fs::metadata(bench.path("run/cusax.sock"))
        .expect("a socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let log = serving.stop();
    assert!(log.contains("stopped"), "{log}");
    assert!(!bench.path("run/cusax.sock").exists(), "the socket is gone");
}

#[test]
fn a_socket_left_by_a_dead_service_is_taken_over() {
    let bench = Bench::new();
    let serving = bench.serve();
    serving.signal("-KILL");
    drop(serving);
    assert!(bench.path("run/cusax.sock").exists());
    bench.serve().stop();
}

/// Again and again, since it is about what has only just begun in the first moment.
#[test]
fn it_stops_as_soon_as_it_has_started() {
    for _ in 0..10 {
        let log = Bench::new().serve().stop();
        assert!(log.ends_with("stopped\n"), "{log}");
    }
}

#[test]
fn the_service_manager_is_told() {
    let bench = Bench::new();
    let path = bench.path("notify.sock");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    manager
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    let mut child = bench
        .command(&["serve"])
        .env("NOTIFY_SOCKET", &path)
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let heard = || {
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).expect("told in time");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(heard(), "READY=1");
    let told = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(told.success());
    assert_eq!(heard(), "STOPPING=1");
    let _watchdog = Watchdog::over(&child);
    assert!(child.wait().expect("ended").success());
}
