//! A chat client: slixmpp in a Python child (`tests/lab/chat.py`), driven from here.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::ChildStdin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use minidom::Element;
use serde_json::{Value, json};

use super::{Child, Context as _, Fault, Namespace, Result, Spec};

/// A client that is logged in.
#[derive(Debug)]
pub struct Chat {
    program: Child,
    orders: ChildStdin,
    inbox: Arc<Mutex<Inbox>>,
    next_id: u32,
    sent: Vec<String>,
}

/// Who logs in where.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// Full JID.
    pub jid: &'a str,
    /// Its password.
    pub password: &'a str,
    /// The server's port for clients, on loopback.
    pub port: u16,
}

#[derive(Debug, Default)]
struct Inbox {
    states: Vec<String>,
    stanzas: Vec<Element>,
    /// Rosters, byte for byte.
    rosters: Vec<String>,
}

impl Chat {
    /// Logs in; no roster is asked for and no presence sent yet. Runs in `namespace`, or on this host without one.
    ///
    /// # Errors
    /// When the server refuses, or slixmpp is not there.
    pub fn start(namespace: Option<&Namespace>, folder: &Path, login: Login<'_>) -> Result<Self> {
        let python = std::env::var("CUSAX_PYTHON").unwrap_or_else(|_| "/usr/bin/python3".to_owned());
        let name = format!("chat-{}", login.jid.replace(['@', '/'], "-"));
        // One for each client: another might read it while this one writes.
        let script = folder.join(format!("{name}.py"));
        std::fs::write(&script, SCRIPT)?;
        let mut spec = Spec::new(name, python)
            .arg(&script)
            .args([login.jid, login.password, "127.0.0.1"]);
        spec = spec.arg(login.port.to_string()).talks();
        if let Some(namespace) = namespace {
            spec = spec.inside(namespace);
        }
        let mut program = spec.start(folder)?;
        let (orders, output) = program.take_pipes().context("a chat client talks")?;
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let shared = Arc::clone(&inbox);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
                let Ok(line) = serde_json::from_str::<Value>(&line) else {
                    continue;
                };
                let mut inbox = shared.lock().expect(NO_PANIC);
                let xml = line["xml"].as_str().unwrap_or_default();
                match line["event"].as_str() {
                    Some("in") => inbox.stanzas.extend(xml.parse::<Element>()),
                    Some("roster") => inbox.rosters.push(xml.to_owned()),
                    Some(state) => inbox.states.push(state.to_owned()),
                    None => {}
                }
            }
        });
        let mut chat = Self {
            program,
            orders,
            inbox,
            next_id: 0,
            sent: Vec::new(),
        };
        let state = chat.until("the login", LOGIN, |inbox| inbox.states.first().cloned())?;
        if state == "online" {
            Ok(chat)
        } else {
            Err(Fault::new(format_args!("{}: {state}", login.jid)))
        }
    }

    /// Sends initial presence.
    ///
    /// # Errors
    /// When the client is no more.
    pub fn available(&mut self) -> Result<()> {
        self.order(&json!({"do": "presence"}))
    }

    /// Sends a stanza as it is written.
    ///
    /// # Errors
    /// When the client is no more.
    pub fn send(&mut self, xml: &str) -> Result<()> {
        self.sent.push(xml.to_owned());
        self.order(&json!({"do": "send", "xml": xml}))
    }

    /// Asks something and gives the answer, result or error. Without `to` it is our own account that is asked.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn iq(&mut self, kind: &str, to: Option<&str>, payload: &str) -> Result<Element> {
        self.next_id += 1;
        let id = format!("lab{}", self.next_id);
        let to = to.map(|to| format!(" to='{to}'")).unwrap_or_default();
        let from = self.mark();
        self.send(&format!("<iq type='{kind}' id='{id}'{to}>{payload}</iq>"))?;
        self.stanza(from, "the answer to an iq", ANSWER, |stanza| {
            let answer = matches!(stanza.attr("type"), Some("result" | "error"));
            (stanza.name() == "iq" && answer && stanza.attr("id") == Some(id.as_str())).then(|| stanza.clone())
        })
    }

    /// The roster, asked for with our annotation or as every client does.
    ///
    /// # Errors
    /// When no result comes.
    pub fn roster(&mut self, annotated: Annotation) -> Result<Element> {
        let child = match annotated {
            Annotation::Asked => "<annotate xmlns='urn:x-cusax:roster:0'/>",
            Annotation::Not => "",
        };
        let answer = self.iq(
            "get",
            None,
            &format!("<query xmlns='jabber:iq:roster' ver=''>{child}</query>"),
        )?;
        answer
            .get_child("query", "jabber:iq:roster")
            .cloned()
            .context("no roster came")
    }

    /// The roster as [`roster`](Self::roster) asks for it, byte for byte as it came.
    ///
    /// # Errors
    /// When no result comes.
    pub fn roster_bytes(&mut self, annotated: Annotation) -> Result<String> {
        self.roster(annotated)?;
        let rosters = &self.inbox.lock().expect(NO_PANIC).rosters;
        rosters
            .last()
            .filter(|bytes| !bytes.is_empty())
            .cloned()
            .context("the bytes of the roster were not seen")
    }

    /// How many stanzas have come: what comes later is after this mark.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.inbox.lock().expect(NO_PANIC).stanzas.len()
    }

    /// The stanzas that came after a mark.
    #[must_use]
    pub fn since(&self, mark: usize) -> Vec<Element> {
        self.inbox.lock().expect(NO_PANIC).stanzas[mark..].to_vec()
    }

    /// Waits for a stanza after `mark` of which `wanted` gives something.
    ///
    /// # Errors
    /// When `limit` passes without one.
    pub fn stanza<T>(
        &mut self,
        mark: usize,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Element) -> Option<T>,
    ) -> Result<T> {
        self.until(what, limit, |inbox| inbox.stanzas.get(mark..)?.iter().find_map(&wanted))
    }

    /// What this client was told to send, in order.
    #[must_use]
    pub fn sent(&self) -> &[String] {
        &self.sent
    }

    fn order(&mut self, order: &Value) -> Result<()> {
        writeln!(self.orders, "{order}").context(self.program.name())
    }

    fn until<T>(&mut self, what: &str, limit: Duration, mut of: impl FnMut(&Inbox) -> Option<T>) -> Result<T> {
        let inbox = Arc::clone(&self.inbox);
        self.program.until(what, limit, |_| of(&inbox.lock().expect(NO_PANIC)))
    }
}

/// Whether a roster is asked for with annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Annotation {
    /// `<annotate/>` is in the request.
    Asked,
    /// As stock clients do.
    Not,
}

const SCRIPT: &str = include_str!("../../lab/chat.py");
const LOGIN: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(5);
const NO_PANIC: &str = "no holder of this lock panics";
