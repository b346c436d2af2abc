//! The laboratory: real processes, network namespaces, sound and captures, for the interop tests and the demonstration.
//!
//! Everything here cleans up after itself, whichever way the process ends: a [`Namespace`] lives as long as its file
//! descriptor, a [`Child`] dies with its parent, and the one thing that outlasts a `kill -9`, the [`Scratch`] folder,
//! is removed by the next start. Nothing binds a port of the host: servers and phones live in namespaces of their own.
//!
//! - [`Scratch`], [`Child`], [`Namespace`], [`signals`]: what runs where, and how it ends.
//! - [`topology`]: the small internet in which phones reach the service and not each other.
//! - [`phone`] (Debian's baresip), [`trunk`] (SIPp), [`meddler`] (adds headers that a stock phone cannot).
//! - [`linphone`] (Debian's linphonec), [`sipp`] (SIPp as a phone), [`jssip`] (JsSIP under Node): they only register.
//! - [`scenario`]: SIPp as one side of a call, put together from parts; [`line`] registers for one that only answers.
//! - [`xmpp_server`]: [`prosody`] or [`ejabberd`], with our plugin or without; [`chat`] (slixmpp), [`rogue`] (raw SIP in a namespace), [`wire`] (raw SIP over every transport).
//! - [`service`]: the service alone; [`torture`]: the messages of RFC 4475 against it;
//!   [`nonsense`]: many more that nobody wrote, and the [`crowd`] that says them; [`softphone`]: the simulated world's phone on a real socket.
//! - [`carrier`]: the far end of a trunk over UDP, TCP and TLS; [`dns`] (Debian's dnsmasq) leads there; [`authority`]: who
//!   signs certificates.
//! - [`services`]: a private Postgres and a private Redis.
//! - [`wav`], [`g711`], [`speech`], [`sound`]: what was said, what was heard, which tone was played when.
//! - [`capture`]: what really went over the wire.

pub mod authority;
pub mod capture;
pub mod carrier;
pub mod chat;
pub mod crowd;
pub mod dns;
pub mod ejabberd;
pub mod fault;
pub mod g711;
pub mod jssip;
pub mod line;
pub mod linphone;
pub mod meddler;
pub mod namespace;
pub mod nonsense;
pub mod phone;
pub mod process;
pub mod prosody;
pub mod rogue;
pub mod scenario;
pub mod scratch;
pub mod service;
pub mod services;
pub mod signals;
pub mod sipp;
pub mod softphone;
pub mod sound;
pub mod speech;
pub mod topology;
pub mod torture;
pub mod trunk;
pub mod wait;
pub mod wav;
pub mod wire;
pub mod xmpp_server;

pub use fault::{Context, Fault, Result};
pub use namespace::Namespace;
pub use process::{Child, Spec};
pub use scratch::Scratch;
