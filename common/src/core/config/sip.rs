//! `[sip]` and `[[trunks]]`: whom we serve, where we listen, and who carries calls out.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::core::config::section::{Check, Place, Reader, section};
use crate::core::config::setting::{Digits, Host, Seconds, Word, words};
use crate::core::user::Algorithm;

section! {
    /// Phones: the domains we are registrar for, the sockets we listen on, and the limits.
    Sip {
        /// The SIP domains of our users. The domain of an address of record is the realm of its password, so a domain
        /// that is taken out locks its users out.
        domains: Vec<Host> => "[\"sip.example.com\"]",
        /// The most calls at once. Further ones are refused with 503, but for emergency calls. Each of `workers` has an equal
        /// part of them, so that with several the first refusal may come a little earlier.
        max_calls: u32 = 2_000,
        /// The most calls at once of one user, as caller. Further ones are refused with 403; emergency calls never are.
        calls_per_account: u32 = 20,
        /// Threads that serve SIP: calls are shared out among them, and each counts what `limits` says of requests that
        /// belong to no account for itself. 0: half of the processors, and not more than eight. Changed by a restart.
        workers: u16 = 0,
        /// Seconds a phone may ring before the caller hears that nobody answers.
        ring_timeout: Seconds = Seconds(120),
        /// Seconds that phones ring before those that their user prefers less (a lower `q` in their Contact) ring instead.
        ring_each: Seconds = Seconds(20),
        /// What becomes of a call that a phone sends elsewhere (3xx, as call forwarding at the phone does): `follow` has it go
        /// there as if its caller had dialled that, and judges it so; `pass` tells its caller, whose phone may dial it;
        /// `refuse` has it fail. Only addresses of our domains and numbers count.
        redirects: Redirects = Redirects::Follow,
        /// Seconds after which any call is hung up.
        max_duration: Seconds = Seconds(14_400),
        /// Seconds after which a call is hung up in which neither side sends RTP or RTCP and neither is on hold. 0: never.
        silence_timeout: Seconds = Seconds(120),
        /// Seconds after which a call is over unless its phones show that they are still there (RFC 4028). They are asked
        /// at half of that.
        session_expires: Seconds = Seconds(1800),
        /// Seconds for which a phone may use one digest nonce. Shorter costs one round trip more often.
        nonce_life: Seconds = Seconds(60),
        /// The name servers to ask for carriers that have names, and for domains of others. Empty: those of the system.
        dns: Vec<SocketAddr> = Vec::new(),
        /// How long registrations last.
        register: Register,
        /// How much may be asked for.
        limits: Limits,
        /// Which domains of others may be called.
        foreign: Foreign,
        /// Other answers to what CUSAX keeps on XMPP, for some of the domains.
        answers: Vec<Answers> = Vec::new(),
        /// The sockets on which phones and trunks reach us. At least one.
        listeners: Vec<Listener>,
    }
}

section! {
    /// How long registrations last.
    Register {
        /// The shortest registration in seconds that we take; a phone that asks for less gets 423.
        min: Seconds = Seconds(60),
        /// The longest registration in seconds; a phone that asks for more gets this.
        max: Seconds = Seconds(3_600),
        /// Seconds for a phone that does not say.
        default: Seconds = Seconds(600),
        /// The most phones at one address of record.
        max_contacts: u32 = 5,
    }
}

section! {
    /// How much may be asked for in a second, on average; four times as much at once after a rest. What goes beyond is
    /// dropped where the address may be made up, else put off with 503. Calls that are up are not touched.
    Limits {
        /// Requests from one address (IPv6: one /64 network) that belong to no call. A house of many phones behind one
        /// address needs more.
        per_source: u32 = 100,
        /// Calls and registrations of one user, and calls from one carrier.
        per_account: u32 = 50,
        /// Requests from everybody that belong to no call.
        all: u32 = 5_000,
    }
}

section! {
    /// The domains of others that our users may call, besides ours. Their servers are found by DNS (RFC 3263) and are told
    /// the caller's SIP address; `sips:` goes by TLS, with a certificate of that domain. Nobody from there gets in.
    Foreign {
        /// These domains. Empty: none, and a call to one is refused with 403.
        domains: Vec<Host> = Vec::new(),
        /// Whether every domain may be called.
        any: bool = false,
        /// The networks that their servers may be in. Empty: any public address.
        networks: Vec<IpNet> = Vec::new(),
        /// For TLS: the file with the authorities that may certify them, in PEM. Not set: those that the system trusts.
        ca: Option<PathBuf> = None => "\"/etc/cusax/partners-ca.crt\"",
    }
}

section! {
    /// What a domain answers to what CUSAX keeps on XMPP. A domain without this answers as below.
    Answers {
        /// One of the SIP domains.
        domain: Host => "\"sip.example.com\"",
        /// The status for MESSAGE, 400 to 699.
        message: u16 = 405,
        /// The status for SUBSCRIBE to presence, 400 to 699. Other packages always get 489.
        presence: u16 = 489,
    }
}

section! {
    /// One socket for SIP.
    Listener {
        /// Our own address, never the unspecified one: it stands in Via and Contact.
        address: IpAddr => "\"192.0.2.10\"",
        /// The port. Usual are 5060, for TLS 5061, and for WebSocket 80 and 443 behind nothing else.
        port: u16 = 5_060,
        /// The transport.
        transport: Transport = Transport::Udp,
        /// For TLS, which needs it: the file with the certificate and those that it needs, in PEM. Read again at a reload.
        certificate: Option<PathBuf> = None => "\"/etc/cusax/sip.example.com.crt\"",
        /// For TLS, which needs it: the file with the certificate's private key, in PEM.
        key: Option<PathBuf> = None => "\"/etc/cusax/sip.example.com.key\"",
        /// For WebSocket: the origins whose pages may connect, as browsers write them. Empty: pages of this host alone.
        origins: Vec<String> = Vec::new(),
        /// Digest algorithms in the order in which they are offered, one challenge each. Some phones give up when they
        /// see one that they do not know: give those a listener with MD5 alone.
        algorithms: Vec<Algorithm> = vec![Algorithm::Sha256, Algorithm::Md5],
        /// The address that peers are told in place of our own, behind a one-to-one NAT. The port stays.
        advertise: Option<IpAddr> = None => "\"203.0.113.10\"",
    }
}

words! {
    /// What becomes of a call that a phone sends elsewhere.
    Redirects, "\"follow\", \"pass\" or \"refuse\"" {
        /// It goes there.
        Follow = "follow",
        /// Its caller is told.
        Pass = "pass",
        /// It fails.
        Refuse = "refuse",
    }
}

words! {
    /// How SIP messages travel.
    Transport, "\"udp\", \"tcp\", \"tls\", \"ws\" or \"wss\"" {
        /// Datagrams.
        Udp = "udp",
        /// A stream.
        Tcp = "tcp",
        /// A stream under TLS.
        Tls = "tls",
        /// WebSocket (RFC 7118), for phones in browsers.
        Ws = "ws",
        /// WebSocket under TLS.
        Wss = "wss",
    }
}

section! {
    /// A carrier that takes calls to telephone numbers and brings calls in. It is known by its address, port and realm;
    /// over TLS by its certificate instead of its address.
    Trunk {
        /// Its name in records and logs.
        name: Word => "\"carrier\"",
        /// Its address, or its domain, whose servers are then found by DNS (RFC 3263): calls are sent there, and a call
        /// from there is its own.
        address: Host => "\"198.51.100.7\"",
        /// Its port. Not set: what DNS says of a domain, else 5060, or 5061 for TLS.
        port: Option<u16> = None => "5061",
        /// How messages travel there: "udp", "tcp" or "tls". A listener of the same transport must be there. Not set:
        /// what DNS says of a domain, else "udp".
        transport: Option<Transport> = None => "\"tls\"",
        /// The domain that stands in From of its requests, and that ours to it name. Requests from its address with
        /// another domain are not its own. Not set: any domain, and ours name its address.
        realm: Option<Host> = None => "\"carrier.example\"",
        /// For TLS: the file with the authorities that may certify it, in PEM. Not set: those that the system trusts. Its
        /// certificate must hold its domain, or its realm where the address is a number.
        ca: Option<PathBuf> = None => "\"/etc/cusax/carrier-ca.crt\"",
        /// For a domain: the networks that its servers may be in. Empty: any public address.
        networks: Vec<IpNet> = Vec::new(),
        /// The beginnings of the numbers, without +, that go this way; the longest beginning wins. Empty: every number.
        /// When a trunk fails, the next one with an equally long beginning is tried, and none with a shorter one: where
        /// that is wanted, write the longer beginning there too, with a higher `order`.
        prefixes: Vec<Digits> = Vec::new(),
        /// Among trunks with equally long beginnings of a number, and for emergency calls, the lowest is tried first. The
        /// next one is tried when a server answers 5xx or 408, cannot be reached, or says nothing for 4 seconds, and
        /// never once the call has rung. A server that has failed five times in a row is tried last for 30 seconds.
        order: u16 = 0,
        /// The share of the calls that is sent here first among trunks of the same order: 1 to 1000.
        weight: u16 = 1,
        /// Whether this carrier may learn the JIDs of our users.
        impp: bool = false,
        /// Whether this carrier is told who calls by P-Asserted-Identity, as carriers with whom one has a contract are
        /// (RFC 3325 §2).
        asserted: bool = true,
        /// Whether emergency calls go this way.
        emergency: bool = true,
        /// The address of the listener to use. Not set: the first of the same address family.
        listener: Option<IpAddr> = None => "\"192.0.2.10\"",
    }
}

impl Check for Sip {
    fn check(&self, reader: &mut Reader<'_>, place: &Place) {
        if self.domains.is_empty() {
            let fix = "write domains = [\"sip.example.com\"]".into();
            reader.fault_at(place.inner("domains"), "is empty".into(), fix);
        }
        if self.listeners.is_empty() {
            let fix = "write one [[sip.listeners]] with an address".into();
            reader.fault_at(place.inner("listeners"), "is empty".into(), fix);
        }
        if self.workers > 64 {
            let what = format!("{} is out of bounds", self.workers);
            reader.fault_at(place.inner("workers"), what, "write 0 to 64".into());
        }
        let mut answered = BTreeSet::new();
        for (index, answers) in self.answers.iter().enumerate() {
            let name = answers.domain.as_str();
            let key = format!("{}[{index}].domain", place.inner("answers"));
            if !self
                .domains
                .iter()
                .any(|domain| domain.as_str().eq_ignore_ascii_case(name))
            {
                let what = format!("{name} is none of sip.domains");
                reader.fault_at(key, what, "write one of them, or add it there".into());
            } else if !answered.insert(name.to_ascii_lowercase()) {
                reader.fault_at(key, format!("{name} stands twice"), "take one of them out".into());
            }
        }
        let mut seen = BTreeSet::new();
        for (index, listener) in self.listeners.iter().enumerate() {
            if !seen.insert((listener.address, listener.port, listener.transport == Transport::Udp)) {
                let what = format!(
                    "{} port {} is taken by an earlier listener",
                    listener.address, listener.port
                );
                let key = format!("{}[{index}].port", place.inner("listeners"));
                reader.fault_at(key, what, "write another port, or take this listener out".into());
            }
        }
        let at_least_one = [
            ("max_calls", self.max_calls),
            ("calls_per_account", self.calls_per_account),
            ("ring_timeout", self.ring_timeout.0),
            ("ring_each", self.ring_each.0),
            ("max_duration", self.max_duration.0),
        ];
        for (key, value) in at_least_one {
            if value == 0 {
                reader.fault_at(place.inner(key), "is 0".into(), "write at least 1".into());
            }
        }
        if !(90..=86_400).contains(&self.session_expires.0) {
            let what = format!("{} is out of bounds", self.session_expires.0);
            reader.fault_at(place.inner("session_expires"), what, "write 90 to 86400 seconds".into());
        }
        if !(10..=86_400).contains(&self.nonce_life.0) {
            let what = format!("{} is out of bounds", self.nonce_life.0);
            reader.fault_at(place.inner("nonce_life"), what, "write 10 to 86400 seconds".into());
        }
    }
}

impl Check for Limits {
    fn check(&self, reader: &mut Reader<'_>, place: &Place) {
        let all = [
            ("per_source", self.per_source),
            ("per_account", self.per_account),
            ("all", self.all),
        ];
        for (key, value) in all {
            if !(1..=1_000_000).contains(&value) {
                let what = format!("{value} is out of bounds");
                reader.fault_at(place.inner(key), what, "write 1 to 1000000".into());
            }
        }
    }
}

impl Check for Register {
    fn check(&self, reader: &mut Reader<'_>, place: &Place) {
        if self.min.0 == 0 {
            reader.fault_at(place.inner("min"), "is 0".into(), "write at least 1 second".into());
        }
        // RFC 3261 §10.3: only an interval below one hour may be refused as too short.
        if self.min.0 > 3_600 {
            let what = format!("{} is above one hour", self.min.0);
            reader.fault_at(place.inner("min"), what, "write at most 3600 seconds".into());
        }
        if self.max < self.min {
            let what = format!("{} is below {} ({})", self.max.0, place.inner("min"), self.min.0);
            reader.fault_at(place.inner("max"), what, format!("write at least {}", self.min.0));
        } else if self.default < self.min || self.default > self.max {
            let what = format!("{} is not between {} and {}", self.default.0, self.min.0, self.max.0);
            reader.fault_at(
                place.inner("default"),
                what,
                format!("write {} to {}", self.min.0, self.max.0),
            );
        }
        if !(1..=32).contains(&self.max_contacts) {
            let what = format!("{} is out of bounds", self.max_contacts);
            reader.fault_at(place.inner("max_contacts"), what, "write 1 to 32".into());
        }
    }
}

impl Check for Foreign {
    fn check(&self, reader: &mut Reader<'_>, place: &Place) {
        if let Some(address) = self.domains.iter().find(|domain| domain.ip().is_some()) {
            let what = format!("{address} is no domain");
            let fix = "write names of domains; a machine that has none is a trunk".into();
            reader.fault_at(place.inner("domains"), what, fix);
        }
    }
}

impl Check for Answers {
    fn check(&self, reader: &mut Reader<'_>, place: &Place) {
        for (key, status) in [("message", self.message), ("presence", self.presence)] {
            // A challenge without a challenge would send phones in circles.
            if !(400..=699).contains(&status) || matches!(status, 401 | 407) {
                let what = format!("{status} is no refusal");
                reader.fault_at(
                    place.inner(key),
                    what,
                    "write a status from 400 to 699, but not 401 or 407".into(),
                );
            }
        }
    }
}

impl Check for Listener {
    fn check(&self, reader: &mut Reader<'_>, place: &Place) {
        if self.address.is_unspecified() || self.address.is_multicast() {
            let fix = "write one of this machine's own addresses, and one listener for each".into();
            reader.fault_at(
                place.inner("address"),
                format!("{} is no address to answer from", self.address),
                fix,
            );
        }
        if self.port == 0 {
            reader.fault_at(place.inner("port"), "is 0".into(), "write a port such as 5060".into());
        }
        let is_tls = matches!(self.transport, Transport::Tls | Transport::Wss);
        for (key, given) in [("certificate", self.certificate.is_some()), ("key", self.key.is_some())] {
            if is_tls && !given {
                let what = "is not set, and the transport needs it".into();
                reader.fault_at(place.inner(key), what, format!("write {key} = \"<a PEM file>\""));
            }
        }
        if !self.origins.is_empty() && !matches!(self.transport, Transport::Ws | Transport::Wss) {
            let what = "is set, and only WebSocket has origins".into();
            reader.fault_at(
                place.inner("origins"),
                what,
                "take it out, or write transport = \"wss\"".into(),
            );
        }
        let distinct: BTreeSet<_> = self.algorithms.iter().collect();
        if self.algorithms.is_empty() || distinct.len() < self.algorithms.len() {
            let what = if self.algorithms.is_empty() {
                "is empty"
            } else {
                "names one twice"
            };
            let fix = "write algorithms = [\"SHA-256\", \"MD5\"]".into();
            reader.fault_at(place.inner("algorithms"), what.into(), fix);
        }
    }
}

impl Check for Trunk {
    fn check(&self, reader: &mut Reader<'_>, place: &Place) {
        let ip = self.address.ip();
        if ip.is_some_and(|ip| ip.is_unspecified() || ip.is_multicast()) {
            let what = format!("{} is no address of a carrier", self.address);
            reader.fault_at(
                place.inner("address"),
                what,
                "write the address from which it sends".into(),
            );
        }
        if let Some(Transport::Ws | Transport::Wss) = self.transport {
            let what = "is no transport for carriers".into();
            let fix = "write \"udp\", \"tcp\" or \"tls\"".into();
            reader.fault_at(place.inner("transport"), what, fix);
        }
        if self.ca.is_some() && self.transport != Some(Transport::Tls) && ip.is_some() {
            let what = "is set, and only TLS has authorities".into();
            reader.fault_at(
                place.inner("ca"),
                what,
                "take it out, or write transport = \"tls\"".into(),
            );
        }
        if !self.networks.is_empty() && ip.is_some() {
            let what = "is set, and only the servers of a domain are found by DNS".into();
            reader.fault_at(
                place.inner("networks"),
                what,
                "take it out, or write a domain as address".into(),
            );
        }
        if self.port == Some(0) {
            reader.fault_at(place.inner("port"), "is 0".into(), "write a port such as 5060".into());
        }
        if !(1..=1_000).contains(&self.weight) {
            let what = format!("{} is out of bounds", self.weight);
            reader.fault_at(place.inner("weight"), what, "write 1 to 1000".into());
        }
    }
}
