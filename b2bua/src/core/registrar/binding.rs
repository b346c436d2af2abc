//! One phone at one address: what is known of it, and its form in the shared state.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cusax_common::core::entropy::hex;
use cusax_common::core::sip::Uri;
use cusax_common::core::sip::typed::{Contact, NameAddr, TypedHeader as _};
use cusax_common::core::time::Wall;
use cusax_common::core::user::Aor;
use jid::BareJid;
use ring::digest::{SHA256, digest};

use super::clock::Tick;
use super::contact::{FlowNumbers, KeptContact, MAX_CONTACT};
use super::gruu::{Device, mark};
use crate::core::flow::{Flow, Identity, ListenerId, Transport};

/// A phone that is reachable under an AOR until it expires.
#[derive(Clone, Debug)]
pub struct Binding {
    /// What the phone said, without `expires` and display name. Its host is never looked up: requests go to `flow`.
    pub contact: KeptContact,
    /// How the REGISTER came, and the way that requests to the phone take (RFC 5626 §5.3).
    pub flow: Flow,
    /// What the phone says to be. For people only.
    pub user_agent: Option<Arc<str>>,
    /// The proxies between us and the phone, nearest first, for Route of requests to it (RFC 3327 §5.3). They too travel
    /// by `flow`: none of these addresses is ever looked up.
    pub path: Box<[NameAddr]>,
    /// When it registered last.
    pub registered: Wall,
    /// What its temporary GRUUs hold; the same for all registrations of one device.
    pub(super) epoch: u64,
    pub(super) expires: Tick,
    pub(super) call_id: Box<str>,
    pub(super) sequence: u32,
}

impl Binding {
    /// The address to put into the Request-URI, read anew.
    #[must_use]
    pub fn uri(&self) -> Uri {
        self.contact.uri()
    }

    /// The same for whoever is told when it is over.
    pub(super) fn lasting(&self) -> Self {
        Self {
            expires: Tick::NEVER,
            ..self.clone()
        }
    }

    /// The preference in thousandths (RFC 3261 §20.10).
    #[must_use]
    pub fn q(&self) -> u16 {
        self.contact.q()
    }

    /// The phone's own name, which outlives its address (RFC 5626 §4.1).
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.contact.instance()
    }

    /// The time that is left, in whole seconds, at least one for a binding that lives.
    pub(super) fn remaining(&self, now: Tick) -> u32 {
        let left = self.expires.since(now);
        u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
    }

    /// Whether this is a registration of that device.
    #[must_use]
    pub fn is_device(&self, aor: &Aor, device: &Device) -> bool {
        self.instance().is_some_and(|instance| match device {
            Device::Public(asked) => *asked == mark(aor, instance),
            Device::Temporary(epoch) => *epoch == self.epoch,
        })
    }

    /// The key of this binding in the shared state.
    pub(super) fn key(&self, aor: &Aor) -> String {
        let mark = |text: &str| hex(&digest(&SHA256, text.as_bytes()).as_ref()[..KEY_BYTES]);
        let phone = match self.instance() {
            Some(instance) => format!("{instance} {}", self.contact.number().unwrap_or_default()),
            None => self.contact.uri_text().to_owned(),
        };
        format!("{STATE_PREFIX}{}/{}", mark(aor.as_str()), mark(&phone))
    }

    /// The value of this binding in the shared state, good for the time that is `left`.
    pub(super) fn record(&self, now: Wall, left: Duration, aor: &Aor, jid: &BareJid, place: u8) -> Bytes {
        let record = Record {
            version: VERSION,
            jid: jid.clone(),
            aor: aor.clone(),
            place,
            contact: self.contact.as_str().to_owned(),
            call_id: self.call_id.clone().into_string(),
            sequence: self.sequence,
            registered: self.registered,
            expires: now.after(left),
            user_agent: self.user_agent.as_deref().map(str::to_owned),
            path: self.path.iter().map(written).collect(),
            epoch: self.epoch,
            listener: self.flow.listener.0,
            transport: self.flow.transport.as_str().to_owned(),
            remote: self.flow.remote,
        };
        let value = serde_json::to_vec(&record).expect("texts and numbers can always be written as JSON");
        Bytes::from(value)
    }
}

/// A binding out of the shared state, checked.
pub(super) struct Restored {
    pub(super) jid: BareJid,
    pub(super) aor: Aor,
    pub(super) place: u8,
    pub(super) binding: Binding,
}

impl Restored {
    /// Reads a value that anybody may have written. None if it is not one of ours, not sound, or over.
    pub(super) fn read(now: Wall, tick: Tick, key: &str, value: &[u8], longest: Duration) -> Option<Self> {
        let record: Record = serde_json::from_slice(value).ok()?;
        if record.version != VERSION || record.transport != Transport::Udp.as_str() {
            // A connection does not outlive the process that accepted it.
            return None;
        }
        let contact = Contact::parse(&record.contact).ok()?;
        let contact = KeptContact::of(&contact, FlowNumbers::Kept).ok()?;
        let path = record.path.iter().map(|text| NameAddr::parse(text).ok());
        let path = path.collect::<Option<Box<[_]>>>()?;
        let left = record.expires.since(now);
        let sound = left > Duration::ZERO
            && left <= longest
            && record.call_id.len() <= MAX_CALL_ID
            && record.registered <= now
            && record.remote.port() != 0
            && fits(&path)
            && record
                .user_agent
                .as_ref()
                .is_none_or(|agent| agent.len() <= MAX_USER_AGENT);
        let binding = Binding {
            contact,
            flow: Flow {
                listener: ListenerId(record.listener),
                transport: Transport::Udp,
                remote: record.remote,
                identity: Identity::NONE,
            },
            user_agent: record.user_agent.map(Into::into),
            path,
            epoch: record.epoch,
            registered: record.registered,
            expires: tick.after(left),
            call_id: record.call_id.into(),
            sequence: record.sequence,
        };
        let restored = Self {
            jid: record.jid,
            aor: record.aor,
            place: record.place,
            binding,
        };
        (sound && restored.binding.key(&restored.aor) == key).then_some(restored)
    }
}

/// Whether a path is short enough to be kept.
pub(super) fn fits(path: &[NameAddr]) -> bool {
    path.len() <= MAX_PATH && path.iter().map(|hop| written(hop).len()).sum::<usize>() <= MAX_CONTACT
}

fn written(hop: &NameAddr) -> String {
    let mut text = String::new();
    hop.write(&mut text);
    text
}

/// The form of a binding in the shared state.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    jid: BareJid,
    aor: Aor,
    place: u8,
    contact: String,
    call_id: String,
    sequence: u32,
    registered: Wall,
    expires: Wall,
    user_agent: Option<String>,
    path: Vec<String>,
    epoch: u64,
    listener: u16,
    transport: String,
    remote: SocketAddr,
}

/// Keys of bindings in the shared state begin so.
pub const STATE_PREFIX: &str = "binding/";
/// The longest Call-ID of a REGISTER, in bytes.
pub const MAX_CALL_ID: usize = 512;
/// How much of a User-Agent is kept, in bytes.
pub const MAX_USER_AGENT: usize = 256;
/// The most proxies between us and a phone.
pub const MAX_PATH: usize = 8;
const VERSION: u32 = 2;
const KEY_BYTES: usize = 16;
