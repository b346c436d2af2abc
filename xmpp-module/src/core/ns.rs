//! Every namespace once, with its document.

/// The default namespace of a component's stream (XEP-0114).
pub const COMPONENT: &str = "jabber:component:accept";
/// Streams (RFC 6120 §4.8.1).
pub const STREAM: &str = "http://etherx.jabber.org/streams";
/// Conditions of stanza errors (RFC 6120 §8.3.2).
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// What we and the plugin in the server say to each other; `deploy/prosody/README.md` describes it.
pub const PLUGIN: &str = "urn:x-cusax:plugin:0";
/// Addresses at which somebody can be reached just now (XEP-0152).
pub const REACH: &str = "urn:xmpp:reach:0";
/// What somebody is doing (XEP-0108): both the payload and its node.
pub const ACTIVITY: &str = "http://jabber.org/protocol/activity";
/// Publishing (XEP-0060).
pub const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
/// Hints to servers on what to do with a message (XEP-0334).
pub const HINTS: &str = "urn:xmpp:hints";
/// What an entity is and can (XEP-0030).
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// What an entity has (XEP-0030).
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// Commands for people (XEP-0050).
pub const COMMANDS: &str = "http://jabber.org/protocol/commands";
/// Forms (XEP-0004).
pub const DATA: &str = "jabber:x:data";
/// Is anybody there (XEP-0199).
pub const PING: &str = "urn:xmpp:ping";
/// The older format of cards (XEP-0054).
pub const VCARD_TEMP: &str = "vcard-temp";
/// The newer format of cards (XEP-0292, RFC 6351).
pub const VCARD4: &str = "urn:ietf:params:xml:ns:vcard-4.0";
/// The node of the newer cards (XEP-0292 §4).
pub const VCARD4_NODE: &str = "urn:xmpp:vcard4";
