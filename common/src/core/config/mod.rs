//! The configuration of the service.
//!
//! Values come from files, then from the environment ([`Layers`]); each section is one text from which its struct, its
//! reading and its rows of the reference are made ([`section`]). Reading goes on after a fault, so that an operator
//! mends everything in one go. Nothing here opens a file: the shell gives the texts and the contents of secret files.
//!
//! # Invariants
//! - A [`Config`] holds only what passed every check of its section and between sections.
//! - No [`Fault`] and no [`Shown`](setting::Shown) holds a secret.

pub mod fault;
pub mod layer;
pub mod media;
pub mod numbers;
pub mod operate;
pub mod reference;
pub mod section;
pub mod setting;
pub mod sip;
pub mod store;
pub mod xmpp;

pub use fault::{Fault, Faults};
pub use layer::Layers;
pub use media::Media;
pub use numbers::{Numbers, Policy, Tone};
pub use operate::{Addresses, Control, Format, Http, Level, Log};
pub use setting::{Country, Digits, Host, Seconds, StoreUrl, Word};
pub use sip::{Answers, Foreign, Limits, Listener, Redirects, Register, Sip, Transport, Trunk};
pub use store::{State, Store};
pub use xmpp::Xmpp;

use std::collections::BTreeSet;

use section::{Check, Place, ReadSecret, Reader, section};
use setting::Setting as _;

section! {
    /// Everything an operator may say.
    Config {
        /// Phones: the domains we are registrar for, the sockets we listen on, and the limits.
        sip: Sip,
        /// Carriers that take calls to telephone numbers and bring calls in.
        trunks: Vec<Trunk> = Vec::new(),
        /// How telephone numbers are dialled here.
        numbers: Numbers,
        /// What may be called, and what the caller is told first.
        policy: Policy,
        /// The RTP relay.
        media: Media,
        /// The XMPP server, which we join as an external component.
        xmpp: Xmpp,
        /// Users and call records.
        store: Store,
        /// Short-lived facts that several processes share.
        state: State,
        /// Health and metrics.
        http: Http,
        /// Logs, on standard error.
        log: Log,
        /// How a running service is spoken to.
        control: Control,
    }
}

impl Config {
    /// Reads the merged layers; `secrets` gives the content of a secret file, or what is wrong with it and what to do.
    ///
    /// # Errors
    /// Every fault there is, at once.
    pub fn read(layers: Layers, secrets: &ReadSecret<'_>) -> Result<Self, Faults> {
        Self::of(layers, Some(secrets))
    }

    /// Reads the merged layers for whoever needs no secret, and may have no right to it: secrets are empty.
    ///
    /// # Errors
    /// Every fault there is, at once.
    pub fn read_without_secrets(layers: Layers) -> Result<Self, Faults> {
        Self::of(layers, None)
    }

    fn of(layers: Layers, secrets: Option<&ReadSecret<'_>>) -> Result<Self, Faults> {
        let (values, figment, main, faults) = layers.into_parts();
        let mut reader = Reader::new(figment, main.clone(), faults, secrets);
        let read = <Self as setting::Setting>::read(
            &mut reader,
            &Place {
                source: main,
                key: String::new(),
            },
            &values,
        );
        match (read, reader.into_faults()) {
            (Some(config), faults) if faults.is_empty() => Ok(config),
            (_, faults) => Err(Faults(faults)),
        }
    }

    /// The configuration as JSON, with `***` for secrets.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        self.shown().to_json()
    }

    /// The sections that differ from `other` and that a running service cannot change.
    #[must_use]
    pub fn needs_restart(&self, other: &Self) -> Vec<&'static str> {
        [
            ("sip", self.sip != other.sip),
            ("numbers", self.numbers != other.numbers),
            ("trunks", self.trunks != other.trunks),
            ("media", self.media != other.media),
            ("xmpp", self.xmpp != other.xmpp),
            ("store", self.store != other.store),
            ("state", self.state != other.state),
            ("http", self.http != other.http),
            ("log.format", self.log.format != other.log.format),
            ("control", self.control != other.control),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }
}

impl Check for Config {
    fn check(&self, reader: &mut Reader<'_>, _place: &Place) {
        let mut names = BTreeSet::new();
        let mut peers = BTreeSet::new();
        for (index, trunk) in self.trunks.iter().enumerate() {
            if !names.insert(&trunk.name) {
                let what = format!("{} is the name of an earlier trunk", trunk.name);
                reader.fault_at(format!("trunks[{index}].name"), what, "write another name".into());
            }
            if !peers.insert((&trunk.address, trunk.port, &trunk.realm)) {
                let port = trunk.port.map_or_else(String::new, |port| format!(" port {port}"));
                let what = format!("{}{port} with this realm is an earlier trunk", trunk.address);
                reader.fault_at(
                    format!("trunks[{index}].address"),
                    what,
                    "write a realm that tells them apart".into(),
                );
            }
            let ip = trunk.address.ip();
            let mut listeners = self.sip.listeners.iter().map(|listener| listener.address);
            let found = match trunk.listener {
                Some(address) => listeners.any(|listener| listener == address),
                None => listeners.any(|listener| ip.is_none_or(|ip| listener.is_ipv4() == ip.is_ipv4())),
            };
            if !found {
                let what = "no listener can reach this trunk".to_owned();
                let fix = "write a [[sip.listeners]] of the same address family, or the address of one".into();
                let key = if trunk.listener.is_some() {
                    "listener"
                } else {
                    "address"
                };
                reader.fault_at(format!("trunks[{index}].{key}"), what, fix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [sip]
        domains = ["sip.example.com"]
        [[sip.listeners]]
        address = "127.0.0.1"
        [xmpp]
        domain = "example.com"
        component = "calls.example.com"
        secret = "canary"
        [numbers]
        country = "DE"
    "#;

    fn no_secrets(_: &std::path::Path) -> Result<String, (String, String)> {
        Err(("cannot be read".into(), "create it".into()))
    }

    fn faults(layers: Layers) -> Vec<String> {
        match Config::read(layers, &no_secrets) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.0.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn the_least_that_must_be_said_is_enough() {
        let config = Config::read(Layers::new().file("a.toml", GOOD), &no_secrets).expect("the least");
        assert_eq!(config.sip.listeners[0].port, 5060);
        assert_eq!(config.xmpp.secret.expose(), "canary");
        assert!(!format!("{config:?}").contains("canary"));
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_file_and_its_key() {
        let layers = Layers::new()
            .file("cusax.toml", &GOOD.replace("5060", "").replace("domains", "domians"))
            .file("conf.d/media.toml", "[media]\nport_min = \"high\"\nworkers = 99\n")
            .environment([
                ("CUSAX__POLICY__TONE__FREQUENCY".into(), "9".into()),
                ("HOME".into(), "/".into()),
            ]);
        let told = faults(layers);
        let expected = [
            ("cusax.toml: sip.domians: is no key of [sip]", "did you mean domains?"),
            (
                "cusax.toml: sip.domains: is missing",
                "write domains = [\"sip.example.com\"]",
            ),
            (
                "CUSAX__POLICY__TONE__FREQUENCY: policy.tone.frequency: 9 is out of bounds",
                "write 100 to 3400",
            ),
            (
                "conf.d/media.toml: media.port_min: \"high\" is not",
                "write a whole number",
            ),
            ("conf.d/media.toml: media.workers: 99 is out of bounds", "write 0 to 64"),
        ];
        for (what, fix) in expected {
            assert!(
                told.iter().any(|t| t.starts_with(what) && t.contains(fix)),
                "{what}; {fix}\nin {told:#?}"
            );
        }
        assert_eq!(told.len(), expected.len(), "{told:#?}");
    }

    #[test]
    fn one_fault_a_row() {
        let rows = [
            ("[sip]", "[sip]\nnonce_life = 1", "sip.nonce_life"),
            ("\"127.0.0.1\"", "\"0.0.0.0\"", "sip.listeners[0].address"),
            ("\"127.0.0.1\"", "\"127.0.0.1\"\nport = 70000", "sip.listeners[0].port"),
            (
                "\"127.0.0.1\"",
                "\"127.0.0.1\"\nalgorithms = []",
                "sip.listeners[0].algorithms",
            ),
            (
                "\"127.0.0.1\"",
                "\"127.0.0.1\"\nalgorithms = [\"MD5-sess\"]",
                "sip.listeners[0].algorithms[0]",
            ),
            (
                "\"127.0.0.1\"",
                "\"127.0.0.1\"\n[[sip.listeners]]\naddress = \"127.0.0.1\"",
                "sip.listeners[1].port",
            ),
            (
                "[xmpp]",
                "[sip.register]\nmin = 90\ndefault = 80\n[xmpp]",
                "sip.register.default",
            ),
            (
                "[xmpp]",
                "[sip.foreign]\ndomains = [\"192.0.2.1\"]\n[xmpp]",
                "sip.foreign.domains",
            ),
            (
                "[xmpp]",
                "[[trunks]]\nname = \"a\"\naddress = \"198.51.100.7\"\nweight = 0\n[xmpp]",
                "trunks[0].weight",
            ),
            (
                "[xmpp]",
                "[[trunks]]\nname = \"a\"\naddress = \"198.51.100.7\"\norder = -1\n[xmpp]",
                "trunks[0].order",
            ),
            ("\"canary\"", "\"\"", "xmpp.secret"),
            ("\"canary\"", "\"canary\"\nsecret_file = \"x\"", "xmpp.secret_file"),
            ("secret = \"canary\"", "secret_file = \"x\"", "xmpp.secret_file"),
            ("secret = \"canary\"", "", "xmpp.secret"),
            ("calls.example.com", "example.com", "xmpp.component"),
            ("[xmpp]", "[xmpp]\nhost = \"192.0.2.1\"", "xmpp.host"),
            ("[xmpp]", "[http]\nlisten = \"0.0.0.0:80\"\n[xmpp]", "http.listen"),
            ("[xmpp]", "[store]\nurl = \"mysql://x\"\n[xmpp]", "store.url"),
            ("[xmpp]", "[media]\nport_min = 20001\n[xmpp]", "media.port_min"),
            (
                "[xmpp]",
                "[media]\nport_min = 20000\nport_max = 10000\n[xmpp]",
                "media.port_min",
            ),
            ("[xmpp]", "[policy]\nrefuse = [\"FREE\"]\n[xmpp]", "policy.refuse"),
            ("[xmpp]", "[policy]\nallow = []\n[xmpp]", "policy.allow"),
            ("[xmpp]", "[policy]\nrefuse = [\"PREMUIM\"]\n[xmpp]", "policy.refuse[0]"),
            ("\"DE\"", "\"XX\"", "numbers.country"),
            ("country = \"DE\"", "area = \"30\"", "numbers.area"),
            ("country = \"DE\"", "emergency = []", "numbers.emergency"),
            ("\"DE\"", "\"DE\"\narea = \"030\"", "numbers.area"),
            ("\"DE\"", "\"DE\"\nemergency = [\"0112\"]", "numbers.emergency"),
            (
                "[xmpp]",
                "[[trunks]]\nname = \"a\"\naddress = \"::1\"\n[xmpp]",
                "trunks[0].address",
            ),
            ("[xmpp]", "[trunks]\nname = \"a\"\n[xmpp]", "trunks"),
            ("[xmpp]", "[log]\nlevel = \"loud\"\n[xmpp]", "log.level"),
            ("[xmpp]", "[lgo]\n[xmpp]", "lgo"),
            ("[xmpp]", "log = 3\n[xmpp]", "sip.listeners[0].log"),
            ("[xmpp]", "[control]\nsocket = \"cusax.sock\"\n[xmpp]", "control.socket"),
        ];
        assert_eq!(
            faults(Layers::new().file("a.toml", GOOD)),
            [""; 0],
            "the text itself is right"
        );
        for (from, to, key) in rows {
            let text = GOOD.replacen(from, to, 1);
            let Err(Faults(told)) = Config::read(Layers::new().file("a.toml", &text), &no_secrets) else {
                panic!("{to}: no fault");
            };
            assert_eq!(
                told.iter().map(|f| f.key.as_str()).collect::<Vec<_>>(),
                [key],
                "{to}: {told:#?}"
            );
            assert_eq!(told[0].source, "a.toml", "{to}");
            assert!(!told[0].what.is_empty() && !told[0].fix.is_empty(), "{to}");
            assert!(!told[0].to_string().contains("canary"), "{to}");
        }
    }

    #[test]
    fn the_environment_wins_and_keeps_the_text_of_a_secret() {
        let environment = [
            ("CUSAX__XMPP__SECRET", "0123"),
            ("CUSAX__SIP__DOMAINS", "a.example, b.example"),
            (
                "CUSAX__TRUNKS",
                "[{name = \"t\", address = \"127.0.0.2\", prefixes = [\"49\"]}]",
            ),
            ("CUSAX__SIP__REGISTER__MIN", "30"),
            ("CUSAX__XMPP__PLAIN_NETWORK", "true"),
        ];
        let environment = environment.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let layers = Layers::new().file("a.toml", GOOD).environment(environment);
        let config = Config::read(layers, &no_secrets).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(config.xmpp.secret.expose(), "0123");
        assert_eq!(
            config.sip.domains.iter().map(Host::as_str).collect::<Vec<_>>(),
            ["a.example", "b.example"]
        );
        assert_eq!(
            (config.trunks[0].name.as_str(), config.trunks[0].prefixes[0].as_str()),
            ("t", "49")
        );
        assert_eq!(
            (config.sip.register.min, config.xmpp.plain_network),
            (Seconds(30), true)
        );
    }

    #[test]
    fn lists_of_several_files_are_appended() {
        let trunk = |name: &str, last: u8| format!("[[trunks]]\nname = \"{name}\"\naddress = \"127.0.0.{last}\"\n");
        let layers = Layers::new()
            .file("a.toml", GOOD)
            .file("b.toml", &trunk("b", 2))
            .file("c.toml", &trunk("c", 3));
        let config = Config::read(layers, &no_secrets).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(
            config.trunks.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(),
            ["b", "c"]
        );
        let layers = Layers::new()
            .file("a.toml", GOOD)
            .file("b.toml", &trunk("b", 2))
            .file("c.toml", &trunk("b", 3));
        assert_eq!(faults(layers).len(), 1);
    }

    #[test]
    fn a_file_that_is_no_toml_is_told_without_its_secrets_and_without_what_follows_from_it() {
        let layers = Layers::new()
            .file("a.toml", "[xmpp]\nsecret = \"canary\n")
            .file("b.toml", "[media]\nworker = 1\n");
        let told = faults(layers);
        assert_eq!(told.len(), 2, "{told:#?}");
        assert!(told[0].starts_with("a.toml: line 2 is not TOML"), "{told:#?}");
        assert!(
            told[1].starts_with("b.toml: media.worker: is no key of [media]; did you mean workers?"),
            "{told:#?}"
        );
        assert!(!told.concat().contains("canary"), "{told:#?}");
    }

    #[test]
    fn a_secret_file_is_read_and_its_last_line_break_is_not_part_of_it() {
        let text = GOOD.replace("secret = \"canary\"", "secret_file = \"s\"");
        let read = |content: &'static str| {
            Config::read(Layers::new().file("a.toml", &text), &move |path| {
                assert_eq!(path, std::path::Path::new("s"));
                Ok(content.into())
            })
        };
        assert_eq!(read("canary\n").expect("a secret").xmpp.secret.expose(), "canary");
        for empty in ["", "\n", "  \n"] {
            assert!(read(empty).is_err(), "{empty:?}");
        }
    }
}
