//! `[xmpp]`: the server that we are a component of.

use jid::BareJid;

use crate::core::config::section::{Check, Place, Reader, section};
use crate::core::config::setting::Host;
use crate::core::notice::NoticeKind;
use crate::core::secret::Secret;

section! {
    /// The XMPP server, which we join as an external component (XEP-0114).
    Xmpp {
        /// The virtual host whose users we serve: what stands after the @ of their JIDs.
        domain: Host => "\"example.com\"",
        /// Our own name on that server, as it is written there.
        component: Host => "\"calls.example.com\"",
        /// Where the server listens for components.
        host: Host = "127.0.0.1".parse().expect("an address"),
        /// The port for components.
        port: u16 = 5_347,
        /// The secret that we share with the server. Without one the service does not start.
        secret: Secret<String>,
        /// Whether the host may be another machine. The stream is not encrypted: whoever can listen reads the roster
        /// and presence of every user, so allow it only in a network of your own.
        plain_network: bool = false,
        /// What users may be told in chat: that a call of theirs may cost money, that somebody calls, that somebody called
        /// and nobody answered, or that no phone was free or there. Each user chooses among these.
        notices: Vec<NoticeKind> = NoticeKind::ALL.to_vec(),
        /// Who may use the commands of administrators, which a chat client shows on our component: see the users, the
        /// policy and the state, and have everything told anew.
        admins: Vec<BareJid> = Vec::new() => "[\"admin@example.com\"]",
    }
}

impl Check for Xmpp {
    fn check(&self, reader: &mut Reader<'_>, place: &Place) {
        if self.component == self.domain {
            let what = format!("{} is the domain of the users", self.component);
            let fix = format!("write a name of its own, such as calls.{}", self.domain);
            reader.fault_at(place.inner("component"), what, fix);
        }
        if self.port == 0 {
            reader.fault_at(place.inner("port"), "is 0".into(), "write a port such as 5347".into());
        }
        let here = self
            .host
            .ip()
            .map_or(self.host.as_str() == "localhost", |ip| ip.is_loopback());
        if !here && !self.plain_network {
            let what = format!("{} is another machine, and the stream is not encrypted", self.host);
            let fix = "write 127.0.0.1, or plain_network = true if nobody else can listen in between".into();
            reader.fault_at(place.inner("host"), what, fix);
        }
        if self.secret.expose().len() > MAX_SECRET {
            let fix = format!("write at most {MAX_SECRET} bytes");
            reader.fault_at(place.inner("secret"), "is too long".into(), fix);
        }
    }
}

/// The longest component secret, in bytes.
const MAX_SECRET: usize = 1_024;
