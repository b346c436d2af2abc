//! A private server, the component under test, and a client that says what others never say.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::JoinHandle;

use cusax_common::core::bridge::{ToB2bua, ToXmpp};
use cusax_common::core::entropy::Seeded;
use cusax_common::core::secret::Secret;
use cusax_common::io::telemetry::Metrics;
use cusax_tests::lab::Context as _;
use cusax_tests::lab::chat::{Chat, Login};
use cusax_tests::lab::xmpp_server::{self, Account, Kind, Plan, Server, VirtualHost};
use cusax_tests::lab::{Namespace, Result, Scratch, wait};
use cusax_xmpp::io::{Channels, Status, XmppConfig, run};
use minidom::Element;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use xmpp_parsers::component::Handshake;

use crate::stanzas::british;
use crate::users::Users;
use crate::{ALICE, BOB, CAROL, CLIENTS, COMPONENT, COMPONENTS, REMOTE, ROBOT, SECRET, SOON};

/// Whether the server has the plugin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    Loaded,
    /// Reach is for this audience, and one of Alice's contacts is at the component's.
    For(&'static str),
    /// On both virtual hosts, each with a component of its own; the second one's never comes.
    Twice,
    /// The server's rosters have no versions.
    Unversioned,
    /// The component is declared, and the plugin is not enabled.
    Forgotten,
    Absent,
}

/// A private server in a network of its own, and the component under test.
pub struct Stack {
    // Dropped in this order.
    component: Option<Component>,
    pub server: Option<Server>,
    kind: Kind,
    pub users: Users,
    pub namespace: Namespace,
    pub plan: Plan,
    scratch: Scratch,
}

pub struct Component {
    bridge: mpsc::Sender<ToXmpp>,
    status: watch::Receiver<Status>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Stack {
    pub fn start(kind: Kind, name: &str, plugin: Plugin) -> Self {
        Self::try_start(kind, name, plugin).unwrap_or_else(|fault| panic!("{fault}"))
    }

    pub fn try_start(kind: Kind, name: &str, plugin: Plugin) -> Result<Self> {
        let name = format!("{name}-{kind:?}").to_lowercase();
        let scratch = Scratch::new(&name)?;
        let namespace = Namespace::new(&name)?;
        let contacts = |jid: &str| -> &[&str] {
            match jid {
                ALICE => &[BOB, REMOTE],
                BOB => &[ALICE, REMOTE],
                REMOTE => &[ALICE, BOB],
                _ => &[],
            }
        };
        let mut accounts: Vec<_> = [ALICE, BOB, CAROL, REMOTE]
            .map(|jid| Account {
                jid: jid.into(),
                password: "pw".into(),
                contacts: contacts(jid).iter().map(|&jid| jid.into()).collect(),
            })
            .into();
        let mut options = xmpp_server::Plugin::of(COMPONENT);
        if let Plugin::For(audience) = plugin {
            options.audience = audience;
            accounts[0].contacts.push(ROBOT.into());
        }
        let loaded = !matches!(plugin, Plugin::Forgotten | Plugin::Absent);
        let declared = plugin != Plugin::Absent;
        let atlanta = VirtualHost {
            plugin: loaded.then_some(options),
            ..VirtualHost::plain("atlanta.example")
        };
        let biloxi = VirtualHost {
            rooms: Some("rooms.atlanta.example".into()),
            plugin: (plugin == Plugin::Twice).then(|| xmpp_server::Plugin::of("calls.biloxi.example")),
            ..VirtualHost::plain("biloxi.example")
        };
        let plan = Plan {
            hosts: vec![atlanta, biloxi],
            accounts,
            component: declared.then(|| (COMPONENT.into(), SECRET.into())),
            clients: CLIENTS,
            components: COMPONENTS,
            versions: plugin != Plugin::Unversioned,
        };
        let server = Some(Server::start(kind, Some(&namespace), scratch.path(), &plan)?);
        let mut stack = Self {
            component: None,
            server,
            kind,
            users: Users::default(),
            namespace,
            plan,
            scratch,
        };
        if declared {
            stack.start_component();
        }
        Ok(stack)
    }

    pub fn restart_server(&mut self) {
        let server = Server::start(self.kind, Some(&self.namespace), self.scratch.path(), &self.plan);
        self.server = Some(server.unwrap_or_else(|fault| panic!("{fault}")));
    }

    pub fn start_component(&mut self) {
        let (bridge, from_b2bua) = mpsc::channel(64);
        let (to_b2bua, mut questions) = mpsc::channel(8);
        let (status, seen) = watch::channel(Status::default());
        let (stop, stopped) = oneshot::channel();
        let config = XmppConfig {
            host: "127.0.0.1".into(),
            port: COMPONENTS,
            component: COMPONENT.into(),
            secret: Secret::new(SECRET.into()),
            domain: "atlanta.example".into(),
            notices: cusax_common::core::notice::Notices::default(),
            admins: std::collections::BTreeSet::default(),
            plain_network: false,
        };
        let (users, namespace, answer) = (self.users.clone(), self.namespace.clone(), bridge.clone());
        let thread = std::thread::spawn(move || {
            namespace.run(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let channels = Channels {
                        from_b2bua,
                        to_b2bua,
                        status,
                        metrics: Metrics::new(&mut Registry::default()),
                    };
                    let mut entropy = Seeded::new(wait::wall().as_nanos() as u64);
                    let component = run(config, &users, british, &mut entropy, channels, async {
                        let _ = stopped.await;
                    });
                    let b2bua = async {
                        while let Some(ToB2bua::Resync) = questions.recv().await {
                            let _ = answer
                                .send(ToXmpp::Everything {
                                    registered: vec![],
                                    phones: vec![],
                                })
                                .await;
                        }
                        std::future::pending::<()>().await;
                    };
                    tokio::select! { _ = component => {}, () = b2bua => {} }
                });
                Ok(())
            })
        });
        self.component = Some(Component {
            bridge,
            status: seen,
            stop,
            thread,
        });
    }

    pub fn stop_component(&mut self) {
        if let Some(component) = self.component.take() {
            let _ = component.stop.send(());
            component
                .thread
                .join()
                .expect("the component does not panic")
                .unwrap_or_else(|fault| panic!("{fault}"));
        }
    }

    pub fn stop(mut self) {
        self.stop_component();
        if let Some(server) = self.server.take() {
            let failures = server.failures();
            assert!(failures.is_empty(), "the plugin has failed:\n{}", server.log());
            server.stop().unwrap_or_else(|fault| panic!("{fault}"));
        }
    }

    pub fn say(&self, message: ToXmpp) {
        let component = self.component.as_ref().expect("the component runs");
        component.bridge.blocking_send(message).expect("the component listens");
    }

    pub fn status(&self) -> Status {
        self.component
            .as_ref()
            .expect("the component runs")
            .status
            .borrow()
            .clone()
    }

    pub fn settled(&self) {
        let settled = wait::until("the plugin to know everything", SOON, || {
            self.status().settled.then_some(())
        });
        settled.unwrap_or_else(|fault| {
            panic!(
                "{fault}: {:?}\n{}",
                self.status(),
                self.server.as_ref().map(Server::log).unwrap_or_default()
            )
        });
    }

    pub fn chat(&self, jid: &str) -> Chat {
        let login = Login {
            jid,
            password: "pw",
            port: CLIENTS,
        };
        Chat::start(Some(&self.namespace), self.scratch.path(), login).unwrap_or_else(|fault| panic!("{fault}"))
    }
}

/// A component or client that says what it is told, to try what others never say.
pub struct Raw(TcpStream);

impl Raw {
    pub fn connect(namespace: &Namespace) -> Result<Self> {
        Self::connect_to(namespace, COMPONENTS)
    }

    pub fn connect_to(namespace: &Namespace, port: u16) -> Result<Self> {
        let stream = namespace.run(move || Ok(TcpStream::connect(("127.0.0.1", port))?))?;
        stream.set_read_timeout(Some(SOON))?;
        let mut raw = Self(stream);
        let xmlns = "xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'";
        write!(raw.0, "<stream:stream {xmlns} to='{COMPONENT}'>")?;
        let header = raw.until(|text| {
            text.split("<stream:stream")
                .nth(1)
                .is_some_and(|rest| rest.contains('>'))
        })?;
        let id = header
            .split("id='")
            .nth(1)
            .and_then(|rest| rest.split('\'').next())
            .context("an id")?;
        let hash = Element::from(Handshake::from_stream_id_and_password(id.into(), SECRET)).text();
        write!(raw.0, "<handshake>{hash}</handshake>")?;
        raw.until(|text| text.contains("<handshake"))?;
        Ok(raw)
    }

    /// Bob, authenticated.
    pub fn login(namespace: &Namespace) -> Result<Self> {
        let stream = namespace.run(|| Ok(TcpStream::connect(("127.0.0.1", CLIENTS))?))?;
        stream.set_read_timeout(Some(SOON))?;
        let mut raw = Self(stream);
        let xmlns = "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'";
        let open = format!("<stream:stream {xmlns} to='atlanta.example'>");
        raw.say(&open);
        raw.until(|text| text.contains("</stream:features>"))?;
        raw.say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGJvYgBwdw==</auth>");
        raw.until(|text| text.contains("<success"))?;
        raw.say(&open);
        raw.until(|text| text.contains("</stream:features>"))?;
        Ok(raw)
    }

    pub fn say(&mut self, xml: &str) {
        self.0.write_all(xml.as_bytes()).expect("the server reads");
    }

    /// Binds a resource to a stream that was logged in.
    pub fn bind(&mut self, resource: &str) {
        self.say(&format!(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind></iq>"
        ));
        self.until(|text| text.contains("</iq>")).expect("bound");
    }

    /// Says something to the plugin without waiting for its answer.
    pub fn put(&mut self, payload: &str, kind: &str) {
        self.say(&format!(
            "<iq type='{kind}' id='raw' from='{COMPONENT}' to='atlanta.example'>{payload}</iq>"
        ));
    }

    /// Gives the plugin a whole map.
    pub fn tell_all(&mut self, epoch: &str, lines: &[&str]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let steps = [
            "<sync xmlns='urn:x-cusax:plugin:0' mode='begin' version='1'/>".to_owned(),
            format!("<sync xmlns='urn:x-cusax:plugin:0' mode='more'>{text}</sync>"),
            format!(
                "<sync xmlns='urn:x-cusax:plugin:0' mode='commit' epoch='{epoch}' seq='1' users='{}'/>",
                lines.len()
            ),
        ];
        for step in steps {
            let answer = self.ask(&step, "set").expect("an answer");
            assert!(answer.contains("type='result'"), "{step}: {answer}");
        }
    }

    pub fn ask(&mut self, payload: &str, kind: &str) -> Result<String> {
        self.put(payload, kind);
        // Presence and messages may come between.
        let answer = |text: &str| {
            let iq = text.split("<iq").find(|iq| iq.contains("id='raw'"))?;
            let (head, _) = iq.split_once('>')?;
            if head.ends_with('/') {
                return Some(format!("<iq{head}>"));
            }
            iq.split_once("</iq>").map(|(iq, _)| format!("<iq{iq}</iq>"))
        };
        let text = self.until(|text| answer(text).is_some())?;
        answer(&text).context("an answer")
    }

    pub fn until(&mut self, done: impl Fn(&str) -> bool) -> Result<String> {
        let (mut text, mut buffer) = (String::new(), [0; 4096]);
        while !done(&text) {
            let read = self.0.read(&mut buffer).context(format_args!("after {text}"))?;
            if read == 0 {
                return None.context("the server ended the stream");
            }
            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        Ok(text)
    }
}
