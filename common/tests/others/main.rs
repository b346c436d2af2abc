//! Other SIP crates beside ours: where they read a message they must read what we read, and where they do not, the reason
//! is written down here.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::path::PathBuf;

use bytes::Bytes;
use cusax_common::core::sip::typed::{CSeq, CallId, Contact, Via};
use cusax_common::core::sip::{HeaderName, Message};

const INVITE: &[u8] = include_bytes!("samples/invite.sip");

/// What two readers of one message must agree on.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    /// Method, or status code.
    what: String,
    call_id: String,
    cseq: String,
    body: Vec<u8>,
}

fn ours(bytes: &[u8]) -> Option<Facts> {
    let message = Message::parse(Bytes::copy_from_slice(bytes)).ok()?;
    let what = match &message {
        Message::Request(request) => request.method.to_string(),
        Message::Response(response) => response.status.to_string(),
    };
    let cseq: CSeq = message.headers().one().unwrap();
    let call_id: CallId = message.headers().one().unwrap();
    Some(Facts {
        what,
        call_id: call_id.as_str().into(),
        cseq: format!("{} {}", cseq.seq, cseq.method),
        body: message.body().to_vec(),
    })
}

fn rsip(bytes: &[u8]) -> Option<Facts> {
    use rsip::prelude::{HeadersExt as _, UntypedHeader as _};
    let message = quiet(|| rsip::SipMessage::try_from(bytes).ok())?;
    let what = match &message {
        rsip::SipMessage::Request(request) => request.method.to_string(),
        rsip::SipMessage::Response(response) => response.status_code.code().to_string(),
    };
    Some(Facts {
        what,
        call_id: message.call_id_header().ok()?.value().into(),
        cseq: message.cseq_header().ok()?.value().into(),
        body: match &message {
            rsip::SipMessage::Request(request) => request.body.clone(),
            rsip::SipMessage::Response(response) => response.body.clone(),
        },
    })
}

fn rsipstack(bytes: &[u8]) -> Option<Facts> {
    use rsipstack::sip::{HeadersExt as _, SipMessage};
    let message = quiet(|| rsipstack::sip::parser::parse_message(bytes).ok())?;
    let (what, body) = match &message {
        SipMessage::Request(request) => (request.method.to_string(), request.body.clone()),
        SipMessage::Response(response) => (response.status_code.code().to_string(), response.body.clone()),
    };
    Some(Facts {
        what,
        call_id: message.call_id_header().ok()?.value().into(),
        cseq: message.cseq_header().ok()?.value().into(),
        body,
    })
}

fn sipx(bytes: &[u8]) -> Option<Facts> {
    use sipx_sip::message::Message as Theirs;
    let limits = sipx_sip::parser::Limits::datagram();
    let message = quiet(|| sipx_sip::parser::parse_datagram(Bytes::copy_from_slice(bytes), &limits).ok())?;
    let (what, headers, body) = match &message {
        Theirs::Request(request) => (
            String::from_utf8_lossy(request.method.as_bytes()).into_owned(),
            &request.headers,
            request.body(),
        ),
        Theirs::Response(response) => (response.status.code().to_string(), &response.headers, response.body()),
    };
    let value = |name: &str| {
        let name = sipx_sip::name::HeaderName::parse(&Bytes::copy_from_slice(name.as_bytes()));
        headers
            .get(&name)
            .map(|header| String::from_utf8_lossy(&header.value()).trim().to_owned())
    };
    Some(Facts {
        what,
        call_id: value("Call-ID")?,
        cseq: value("CSeq")?,
        body: body.to_vec(),
    })
}

type Reader = fn(&[u8]) -> Option<Facts>;
const READERS: &[(&str, Reader)] = &[("rsip", rsip), ("rsipstack", rsipstack), ("sipx-sip", sipx)];

/// A panic in another crate is its own matter: it counts as not reading.
fn quiet<T>(read: impl FnOnce() -> Option<T> + std::panic::UnwindSafe) -> Option<T> {
    std::panic::catch_unwind(read).ok().flatten()
}

#[test]
fn an_ordinary_invite_is_read_alike_by_all() {
    let expected = ours(INVITE).unwrap();
    for (name, read) in READERS {
        assert_eq!(read(INVITE).as_ref(), Some(&expected), "{name}");
    }
}

/// Reads every torture message with every reader; each difference has its row in [`DIFFERENCES`].
#[test]
fn differences_are_known() {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = workspace.join(std::env::var("CUSAX_TORTURE").unwrap_or_else(|_| "../shared/data".into()));
    let Ok(manifest) = std::fs::read_to_string(folder.join("torture-manifest.tsv")) else {
        eprintln!("skipped: no torture messages in {}", folder.display());
        return;
    };
    let mut found = Vec::new();
    for line in manifest.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let bytes = std::fs::read(folder.join(fields[2])).unwrap();
        let expected = ours(&bytes);
        for (reader, read) in READERS {
            let difference = match (&expected, read(&bytes)) {
                (Some(_), None) => TheyRefuse,
                (None, Some(_)) => WeRefuse,
                (Some(ours), Some(theirs)) if !agree(ours, &theirs) => Content,
                _ => continue,
            };
            found.push((*reader, fields[1].to_owned(), difference));
        }
    }
    let unknown: Vec<_> = found
        .iter()
        .filter(|(reader, name, difference)| {
            !DIFFERENCES
                .iter()
                .any(|row| row.0 == *reader && row.1 == *difference && row.2.contains(&name.as_str()))
        })
        .collect();
    let gone: Vec<_> = DIFFERENCES
        .iter()
        .flat_map(|row| row.2.iter().map(|name| (row.0, *name, row.1)))
        .filter(|(reader, name, difference)| {
            !found
                .iter()
                .any(|(r, n, d)| r == reader && n == name && d == difference)
        })
        .collect();
    assert!(
        unknown.is_empty() && gone.is_empty(),
        "not in the table: {unknown:#?}\nin the table in vain: {gone:#?}"
    );
}

/// Blanks inside `CSeq` may differ.
fn agree(a: &Facts, b: &Facts) -> bool {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    a.what == b.what && a.call_id == b.call_id && a.body == b.body && words(&a.cseq)[1..] == words(&b.cseq)[1..]
}

use Difference::{Content, TheyRefuse, WeRefuse};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    /// Valid to us and not to them.
    TheyRefuse,
    /// Valid to them and not to us.
    WeRefuse,
    /// Both read it, and read different things.
    Content,
}

/// Reader, kind of difference, messages of the torture set, and the reason.
const DIFFERENCES: &[(&str, Difference, &[&str], &str)] = &[
    ("rsip", TheyRefuse, &["wsinv"], "folded lines, blanks around marks"),
    (
        "rsip",
        TheyRefuse,
        &["intmeth", "esc02"],
        "any token is a method (RFC 3261 §25.1)",
    ),
    (
        "rsip",
        TheyRefuse,
        &["esc01", "semiuri", "unkscm"],
        "escapes and marks in user parts; unknown schemes",
    ),
    (
        "rsip",
        TheyRefuse,
        &["longreq", "dblreq"],
        "compact forms; bytes behind the message are to be ignored (§18.3)",
    ),
    (
        "rsip",
        TheyRefuse,
        &[
            "ipv6-good",
            "port-ambiguous",
            "port-unambiguous",
            "via-received-param-with-delim",
            "via-received-param-no-delim",
            "ipv6-in-sdp",
            "mult-ip-in-sdp",
            "mult-ip-in-sdp.printed-cl",
            "ipv6-correct-abnf-2-colons",
        ],
        "IPv6 hosts",
    ),
    (
        "rsip",
        WeRefuse,
        &["badinv01", "quotbal", "regbadct", "badaspec"],
        "headers that everybody reads are read at the door",
    ),
    (
        "rsip",
        WeRefuse,
        &["clerr", "ncl", "mcl01"],
        "Content-Length must be right (§18.3)",
    ),
    (
        "rsip",
        WeRefuse,
        &["scalarlg", "mismatch01", "multi01"],
        "CSeq must be in range, once, and of the same method",
    ),
    ("rsip", WeRefuse, &["ltgtruri"], "a Request-URI has no brackets"),
    (
        "rsip",
        Content,
        &["ipv4-mapped-ipv6.printed-cl"],
        "it takes bytes beyond Content-Length for body",
    ),
    (
        "rsipstack",
        TheyRefuse,
        &["intmeth", "esc02"],
        "any token is a method (RFC 3261 §25.1)",
    ),
    (
        "rsipstack",
        WeRefuse,
        &["badinv01", "quotbal", "regbadct", "badaspec"],
        "headers that everybody reads are read at the door",
    ),
    (
        "rsipstack",
        WeRefuse,
        &["clerr", "ncl", "mcl01", "ipv6-in-sdp.printed-cl"],
        "Content-Length must be right (§18.3)",
    ),
    (
        "rsipstack",
        WeRefuse,
        &["scalar02", "scalarlg", "mismatch01", "multi01"],
        "CSeq must be in range, once, and of the same method",
    ),
    (
        "rsipstack",
        WeRefuse,
        &["ltgtruri", "trws", "ipv6-bad"],
        "a request line has three words, and brackets where they belong",
    ),
    (
        "rsipstack",
        WeRefuse,
        &["escruri"],
        "headers in a Request-URI could be acted on (§19.1.1)",
    ),
    ("rsipstack", WeRefuse, &["badvers"], "versions are judged at the door"),
    (
        "rsipstack",
        Content,
        &["inv2543"],
        "without Content-Length the body is the rest of the datagram (§18.3)",
    ),
    (
        "sipx-sip",
        WeRefuse,
        &["badinv01", "quotbal", "regbadct", "badaspec"],
        "headers that everybody reads are read at the door",
    ),
    (
        "sipx-sip",
        WeRefuse,
        &["scalar02", "scalarlg", "mismatch01", "mismatch02", "multi01"],
        "CSeq must be in range, once, and of the same method",
    ),
    (
        "sipx-sip",
        WeRefuse,
        &["escruri"],
        "headers in a Request-URI could be acted on (§19.1.1)",
    ),
    ("sipx-sip", WeRefuse, &["badvers"], "versions are judged at the door"),
    (
        "sipx-sip",
        WeRefuse,
        &["ipv6-bug-abnf-3-colons"],
        "RFC 5118 §4.10 lets us choose",
    ),
];

/// Each of these is why rsip 0.4 is not on the wire. When one begins to fail, rsip has mended it.
mod rsip_is_not_on_the_wire_because {
    use super::*;

    fn changed(from: &str, to: &str) -> Vec<u8> {
        let text = String::from_utf8(INVITE.to_vec()).unwrap();
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        assert!(ours(changed.as_bytes()).is_some(), "{changed}");
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
        assert_eq!(ours(text.as_bytes()).unwrap().what, "NEWMETHOD");
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
}
