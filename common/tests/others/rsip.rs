//! Each of these is why rsip 0.4 is not on the wire. When one begins to fail, rsip has mended it.

use bytes::Bytes;
use cusax_common::core::sip::typed::{Contact, Via};
use cusax_common::core::sip::{HeaderName, Message};

use super::theirs::{READERS, quiet};
use super::{INVITE, ours};

fn rsip(bytes: &[u8]) -> Option<super::facts::Facts> {
    let (name, read) = READERS[0];
    assert_eq!(name, "rsip");
    read(bytes)
}

fn changed(from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(INVITE.to_vec()).unwrap();
    let changed = text.replacen(from, to, 1);
    assert_ne!(changed, text, "{from}");
    assert!(ours::read(changed.as_bytes()).is_ok(), "{changed}");
    changed.into_bytes()
}

#[test]
fn it_refuses_folded_headers() {
    assert_eq!(rsip(&changed("Supported: 100rel,", "Supported: 100rel,\r\n")), None);
}

#[test]
fn it_does_not_know_compact_forms() {
    assert_eq!(rsip(&changed("Call-ID:", "i:")), None);
}

#[test]
fn it_refuses_ipv6_hosts() {
    assert_eq!(
        rsip(&changed(
            "sip:bob@biloxi.example;transport=udp",
            "sip:bob@[2001:db8::1]"
        )),
        None
    );
}

#[test]
fn it_refuses_unknown_methods() {
    let text = String::from_utf8(INVITE.to_vec())
        .unwrap()
        .replace("INVITE", "NEWMETHOD");
    assert_eq!(ours::read(text.as_bytes()).unwrap().value("method"), Some("NEWMETHOD"));
    assert_eq!(rsip(text.as_bytes()), None);
}

#[test]
fn it_loses_all_but_the_first_via_of_a_line() {
    use rsip::prelude::{HeadersExt as _, ToTypedHeader as _};
    let bytes = changed(
        "Via: ",
        "Via: SIP/2.0/UDP a.example;branch=z9hG4bK1, SIP/2.0/UDP b.example;branch=z9hG4bK2, ",
    );
    let message = Message::parse(Bytes::copy_from_slice(&bytes)).unwrap();
    assert_eq!(message.headers().list::<Via>().unwrap().len(), 3);
    let theirs = rsip::SipMessage::try_from(bytes.as_slice()).unwrap();
    let typed = theirs
        .via_header()
        .unwrap()
        .typed()
        .map(|via| via.to_string())
        .unwrap_or_default();
    assert!(!typed.contains("b.example"), "{typed}");
}

#[test]
fn it_cannot_read_an_instance() {
    use rsip::prelude::{HeadersExt as _, ToTypedHeader as _};
    let ours: Contact = Message::parse(Bytes::from_static(INVITE))
        .unwrap()
        .headers()
        .one()
        .unwrap();
    assert_eq!(
        ours.params.value("+sip.instance"),
        Some("<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>")
    );
    let theirs = rsip::SipMessage::try_from(INVITE).unwrap();
    let typed = quiet(|| theirs.contact_header().unwrap().clone().typed().ok());
    let instance = typed.and_then(|contact| {
        contact
            .params
            .iter()
            .map(ToString::to_string)
            .find(|param| param.contains("f81d4fae-7dec-11d0-a765-00a0c91e6bf6>"))
    });
    assert_eq!(instance, None);
}

#[test]
fn it_writes_other_bytes_than_it_read() {
    let bytes = changed("X-Trace-Id: ", "X-TRACE-id:    ");
    let theirs = rsip::SipMessage::try_from(bytes.as_slice()).unwrap();
    assert_ne!(theirs.to_string().as_bytes(), bytes);
    let message = Message::parse(Bytes::from(bytes.clone())).unwrap();
    assert_eq!(message.to_bytes(), bytes);
    assert!(message.headers().has(&HeaderName::VIA));
}
