//! `cusax user`

use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use cusax_common::core::config::Config;
use cusax_common::core::entropy::Entropy as _;
use cusax_common::core::notice::Notices;
use cusax_common::core::secret::Secret;
use cusax_common::core::store::{Put, StoreError, UserStore};
use cusax_common::core::tel::Tel;
use cusax_common::core::user::{Algorithm, Aor, Credential, Flags, Ha1, MAX_ADDRESSES, MAX_NAME, User};
use cusax_common::io::clock::SystemEntropy;
use cusax_common::io::store::Store;
use jid::BareJid;

use super::failure::{Exit, Failure};
use super::{Answer, check, open_existing_store, open_store, store_failure, table, wait};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add a user, or change one
    Add(Box<Add>),
    /// List the users
    List,
    /// Show one user
    Show {
        /// Whose
        jid: BareJid,
    },
    /// Remove a user and free their addresses, numbers and logins
    Remove {
        /// Whose
        jid: BareJid,
    },
}

#[derive(Debug, Args)]
pub struct Add {
    /// The user's bare JID
    #[arg(long)]
    jid: BareJid,
    /// The name that callees see; default: the part of the JID before the @
    #[arg(long)]
    name: Option<String>,
    /// A SIP address such as sip:alice@sip.example.com; repeat for more, the one to show first in front
    #[arg(long = "aor", value_name = "AOR")]
    aors: Vec<Aor>,
    /// A telephone number such as +442079460018; repeat for more
    #[arg(long = "number", value_name = "NUMBER")]
    numbers: Vec<Tel>,
    /// The user name of the phones; default: the user part of the first AOR
    #[arg(long)]
    login: Option<String>,
    /// Read the password from the first line of standard input
    #[arg(long, conflicts_with = "password_file")]
    password_stdin: bool,
    /// Read the password from the first line of a file
    #[arg(long, value_name = "PATH")]
    password_file: Option<PathBuf>,
    /// The user's phones can do video; --video=false takes it back
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    video: Option<bool>,
    /// What to tell the user in chat: some of charge, incoming, missed and refused with commas between them, all, or
    /// none; default: charge,missed,refused
    #[arg(long, value_name = "KINDS")]
    notices: Option<Notices>,
    /// Do not show the user's JID to the people they call
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    no_impp: Option<bool>,
    /// The language of notices, such as en or de; en if nothing is given
    #[arg(long)]
    language: Option<String>,
    /// Change the user if there is one: what is not given stays as it was, the password too
    #[arg(long)]
    update: bool,
}

pub fn run(config: Config, command: Command) -> Result<Answer, Failure> {
    wait(async {
        let store = match command {
            Command::Add(_) => open_store(&config).await?,
            Command::List | Command::Show { .. } | Command::Remove { .. } => open_existing_store(&config).await?,
        };
        let answer = match command {
            Command::Add(arguments) => add(&config, &store, *arguments).await,
            Command::List => list(&store).await,
            Command::Show { jid } => show(&store, &jid).await,
            Command::Remove { jid } => remove(&store, &jid).await,
        };
        store.close().await;
        answer
    })
}

/// Every user there is.
pub async fn every(store: &impl UserStore) -> Result<Vec<User>, StoreError> {
    let mut users: Vec<User> = Vec::new();
    loop {
        let page = store.list(users.last().map(|user| &user.jid), PAGE).await?;
        if page.is_empty() {
            return Ok(users);
        }
        users.extend(page);
    }
}

async fn add(config: &Config, store: &Store, arguments: Add) -> Result<Answer, Failure> {
    let known = store.by_jid(&arguments.jid).await.map_err(of_store)?;
    if known.is_some() && !arguments.update {
        return Err(data(format!(
            "{} exists already; give --update to change it",
            arguments.jid
        )));
    }
    let mut arguments = arguments;
    if let Some(known) = &known {
        arguments.keep(known);
    }
    check_arguments(config, &arguments)?;
    let (credentials, generated) = credentials(&arguments, known.as_deref())?;
    let user = User {
        name: match arguments.name {
            Some(name) => name,
            None => arguments
                .jid
                .node()
                .map_or_else(|| arguments.jid.to_string(), |node| node.to_string()),
        }
        .into(),
        jid: arguments.jid,
        aors: arguments.aors,
        numbers: arguments.numbers,
        credentials,
        flags: Flags {
            video: arguments.video.unwrap_or(false),
            notices: arguments.notices.unwrap_or_default(),
            impp: !arguments.no_impp.unwrap_or(false),
        },
        language: arguments.language.as_deref().unwrap_or(LANGUAGE).into(),
    };
    match store.put(&user).await.map_err(of_store)? {
        Put::Done => {}
        Put::Taken { what, owner } => {
            return Err(data(format!(
                "{what} belongs to {owner}; nothing was changed: take it from them first"
            )));
        }
    }
    let verb = if known.is_some() { "changed" } else { "added" };
    let mut text = format!("{verb} {}\n", user.jid);
    let mut json = to_json(&user);
    if let Some(password) = generated {
        text.push_str(&format!("password: {} (shown this once)\n", password.expose()));
        json["password"] = password.expose().as_str().into();
    }
    Ok(Answer::new(text, json))
}

impl Add {
    /// What was not given stays as it was.
    fn keep(&mut self, known: &User) {
        self.name.get_or_insert_with(|| known.name.to_string());
        if self.aors.is_empty() {
            self.aors.clone_from(&known.aors);
        }
        if self.numbers.is_empty() {
            self.numbers.clone_from(&known.numbers);
        }
        self.video.get_or_insert(known.flags.video);
        self.notices.get_or_insert(known.flags.notices);
        self.no_impp.get_or_insert(!known.flags.impp);
        self.language.get_or_insert_with(|| known.language.to_string());
    }
}

fn check_arguments(config: &Config, arguments: &Add) -> Result<(), Failure> {
    let Add {
        jid,
        name,
        aors,
        numbers,
        ..
    } = arguments;
    if jid.node().is_none() {
        return Err(data(format!(
            "{jid} is a domain; a user's JID is user@{}",
            config.xmpp.domain
        )));
    }
    if jid.domain().as_str() != config.xmpp.domain.as_str() {
        return Err(data(format!(
            "{jid} is not of xmpp.domain, which is {}",
            config.xmpp.domain
        )));
    }
    if let Some(aor) = aors.iter().find(|aor| !check::is_local(config, aor)) {
        let domains: Vec<_> = config.sip.domains.iter().map(|domain| domain.as_str()).collect();
        return Err(data(format!(
            "{aor} is not of sip.domains, which are {}",
            domains.join(", ")
        )));
    }
    if aors.len() > MAX_ADDRESSES || numbers.len() > MAX_ADDRESSES {
        return Err(data(format!(
            "a user holds at most {MAX_ADDRESSES} addresses and {MAX_ADDRESSES} numbers"
        )));
    }
    let bad = |text: &str| text.len() > MAX_NAME || text.chars().any(char::is_control);
    if name.as_deref().is_some_and(|name| name.is_empty() || bad(name)) {
        return Err(data(format!(
            "a name has 1 to {MAX_NAME} bytes and no control characters"
        )));
    }
    let bad_login = |login: &str| login.is_empty() || bad(login) || login.contains([':', '"', '\\']);
    if arguments.login.as_deref().is_some_and(bad_login) {
        // RFC 7616 §3.4.2 puts a colon after the user name.
        return Err(data(
            "a login is not empty and has no colon, quote, backslash or control character".into(),
        ));
    }
    let language = arguments.language.as_deref().unwrap_or(LANGUAGE);
    if !(1..=35).contains(&language.len()) || !language.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(data(format!(
            "{language:?} is no language; write one such as en or pt-BR"
        )));
    }
    if aors.is_empty() && (arguments.password_stdin || arguments.password_file.is_some() || arguments.login.is_some()) {
        return Err(data(
            "a login and a password are for phones; give an --aor as well".into(),
        ));
    }
    Ok(())
}

/// What the user's phones prove, and the password if it was made here.
fn credentials(arguments: &Add, known: Option<&User>) -> Result<(Vec<Credential>, Option<Secret<String>>), Failure> {
    let Some(first) = arguments.aors.first() else {
        return Ok((Vec::new(), None));
    };
    let realms: BTreeSet<&str> = arguments.aors.iter().map(Aor::domain).collect();
    let given = if arguments.password_stdin {
        Some(first_line(std::io::stdin().lock(), Path::new("standard input"))?)
    } else if let Some(path) = &arguments.password_file {
        let file = std::fs::File::open(path)
            .map_err(|error| Failure::new(Exit::NoInput, format!("{}: {error}", path.display())))?;
        Some(first_line(file, path)?)
    } else {
        None
    };
    let kept_login = known
        .and_then(|user| user.credentials.first())
        .map(|credential| &*credential.username);
    let login = arguments.login.as_deref().or(kept_login).unwrap_or(first.user());
    if given.is_none()
        && let Some(user) = known
    {
        let keep = |c: &&Credential| *c.username == *login && realms.contains(&*c.realm);
        let kept: Vec<Credential> = user.credentials.iter().filter(keep).cloned().collect();
        if realms
            .iter()
            .all(|realm| kept.iter().any(|credential| *credential.realm == **realm))
        {
            return Ok((kept, None));
        }
        if !user.credentials.is_empty() {
            // What is kept proves nothing under another name or in another domain, and a new password would lock out the
            // phones that have the old one.
            return Err(data(
                "another login or domain needs the password anew; give --password-stdin or --password-file".into(),
            ));
        }
    }
    let (password, generated) = match given {
        Some(password) => (password, None),
        None => {
            let password = generate();
            (password.clone(), Some(password))
        }
    };
    let made = realms.iter().flat_map(|realm| {
        Algorithm::ALL.map(|algorithm| Credential {
            username: login.into(),
            realm: (*realm).into(),
            algorithm,
            ha1: Secret::new(Ha1::of(algorithm, login, realm, password.expose())),
        })
    });
    Ok((made.collect(), generated))
}

fn first_line(from: impl std::io::Read, name: &Path) -> Result<Secret<String>, Failure> {
    let mut line = String::new();
    std::io::BufReader::new(from.take(MAX_PASSWORD + 2))
        .read_line(&mut line)
        .map_err(|error| Failure::new(Exit::NoInput, format!("{}: {error}", name.display())))?;
    let line = line.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.len() as u64 > MAX_PASSWORD || line.chars().any(char::is_control) {
        return Err(data(format!(
            "the first line of {} is no password: 1 to {MAX_PASSWORD} bytes without control characters",
            name.display()
        )));
    }
    Ok(Secret::new(line.to_owned()))
}

fn generate() -> Secret<String> {
    let drawn = SystemEntropy::new().bytes::<PASSWORD_LETTERS>();
    Secret::new(
        drawn
            .iter()
            .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
            .collect(),
    )
}

async fn list(store: &Store) -> Result<Answer, Failure> {
    let users = every(store).await.map_err(of_store)?;
    let rows: Vec<Vec<String>> = users
        .iter()
        .map(|user| {
            let aors: Vec<_> = user.aors.iter().map(Aor::as_str).collect();
            let numbers: Vec<_> = user.numbers.iter().map(Tel::as_str).collect();
            vec![
                user.jid.to_string(),
                user.name.to_string(),
                aors.join(" "),
                numbers.join(" "),
            ]
        })
        .collect();
    Ok(Answer::new(
        table::render(&["jid", "name", "addresses", "numbers"], &rows),
        users.iter().map(to_json).collect(),
    ))
}

async fn show(store: &Store, jid: &BareJid) -> Result<Answer, Failure> {
    let user = store.by_jid(jid).await.map_err(of_store)?.ok_or_else(|| nobody(jid))?;
    let mut rows = vec![
        vec!["jid".to_owned(), user.jid.to_string()],
        vec!["name".to_owned(), user.name.to_string()],
    ];
    rows.extend(user.aors.iter().map(|aor| vec!["address".to_owned(), aor.to_string()]));
    rows.extend(
        user.numbers
            .iter()
            .map(|number| vec!["number".to_owned(), number.to_string()]),
    );
    for (username, realm, algorithms) in logins(&user) {
        rows.push(vec![
            "login".to_owned(),
            format!("{username} at {realm} ({})", algorithms.join(", ")),
        ]);
    }
    let Flags { video, notices, impp } = user.flags;
    for (name, flag) in [("video", video), ("impp", impp)] {
        rows.push(vec![name.to_owned(), if flag { "yes" } else { "no" }.to_owned()]);
    }
    rows.push(vec!["notices".to_owned(), notices.to_string()]);
    rows.push(vec!["language".to_owned(), user.language.to_string()]);
    Ok(Answer::new(table::render(&["what", "value"], &rows), to_json(&user)))
}

async fn remove(store: &Store, jid: &BareJid) -> Result<Answer, Failure> {
    if !store.remove(jid).await.map_err(of_store)? {
        return Err(nobody(jid));
    }
    Ok(Answer::new(
        format!("removed {jid}\n"),
        serde_json::json!({ "removed": jid }),
    ))
}

/// Who can log in where, by which hashes; never the hashes.
fn logins(user: &User) -> Vec<(&str, &str, Vec<&'static str>)> {
    let mut logins: Vec<(&str, &str, Vec<&'static str>)> = Vec::new();
    for Credential {
        username,
        realm,
        algorithm,
        ..
    } in &user.credentials
    {
        match logins
            .iter_mut()
            .find(|(name, at, _)| **name == **username && **at == **realm)
        {
            Some((_, _, algorithms)) => algorithms.push(algorithm.as_str()),
            None => logins.push((username, realm, vec![algorithm.as_str()])),
        }
    }
    logins
}

fn to_json(user: &User) -> serde_json::Value {
    let logins: Vec<_> = logins(user)
        .into_iter()
        .map(|(username, realm, algorithms)| {
            serde_json::json!({ "username": username, "realm": realm, "algorithms": algorithms })
        })
        .collect();
    let Flags { video, notices, impp } = user.flags;
    serde_json::json!({
        "jid": user.jid, "name": user.name, "aors": user.aors, "numbers": user.numbers, "logins": logins,
        "video": video, "notices": notices, "impp": impp, "language": user.language,
    })
}

fn nobody(jid: &BareJid) -> Failure {
    data(format!("there is no user {jid}; `cusax user list` shows who there is"))
}

fn data(message: String) -> Failure {
    Failure::new(Exit::Data, message)
}

fn of_store(error: StoreError) -> Failure {
    store_failure(&error, "store.url")
}

/// How many users are asked for at a time.
const PAGE: u32 = 500;
/// The longest password, in bytes.
const MAX_PASSWORD: u64 = 1024;
/// Letters of a password made here, five random bits each.
const PASSWORD_LETTERS: usize = 24;
/// The language of notices for users of whom nothing else is known.
const LANGUAGE: &str = "en";
/// 32 letters that nobody takes for another.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
