//! The torture messages of RFC 4475 and RFC 5118 against the parser: which are messages, and what they say.
//!
//! The messages are read from the folder that `CUSAX_TORTURE` names. What is asked of layers above the parser (405, 416,
//! 420, …) is tested there.

#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

mod support;

use bytes::Bytes;
use cusax_common::core::sip::typed::{Contact, ContactList, From, MaxForwards, To, Via};
use cusax_common::core::sip::{Fault, FaultKind, HeaderName, Headers, Message, Request, Status, Uri};

#[test]
fn every_message_is_read_as_it_should_be() {
    let Some(folder) = support::torture_folder() else {
        return;
    };
    let manifest = std::fs::read_to_string(folder.join("torture-manifest.tsv")).unwrap();
    let mut failed = Vec::new();
    let mut unread: Vec<&str> = VERDICTS.iter().map(|row| row.0).collect();
    for line in manifest.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let (name, file) = (fields[1], fields[2]);
        let verdict = &VERDICTS
            .iter()
            .find(|row| row.0 == name)
            .unwrap_or_else(|| panic!("{name}: no verdict here"))
            .1;
        unread.retain(|row| *row != name);
        let bytes = Bytes::from(std::fs::read(folder.join(file)).unwrap());
        // A row that fails must not hide the others.
        if std::panic::catch_unwind(|| check(name, verdict, bytes)).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "see above for: {failed:?}");
    assert!(unread.is_empty(), "not in the manifest: {unread:?}");
}

fn check(name: &str, verdict: &Verdict, bytes: Bytes) {
    match (verdict, Message::parse(bytes)) {
        (Read(facts), Ok(message)) => {
            facts(&message);
            let again = Message::parse(message.to_bytes()).unwrap_or_else(|fault| panic!("{name}, written: {fault}"));
            if message.headers().has(&HeaderName::CONTENT_LENGTH) {
                assert_eq!(again, message, "{name}: written and read again");
            }
            assert_eq!(
                (again.to_bytes(), again.body()),
                (message.to_bytes(), message.body()),
                "{name}: written twice"
            );
        }
        (Refused(kind, status), Err(fault)) => {
            assert_eq!(
                (fault.kind.to_string().as_str(), fault.status),
                (*kind, *status),
                "{name}"
            );
            check_reply(name, fault);
        }
        (Read(_), Err(fault)) => panic!("{name}: {fault}"),
        (Refused(kind, _), Ok(_)) => panic!("{name}: read, where this was to be found: {kind}"),
    }
}

/// What can be answered is answered with the lines that it came with.
fn check_reply(name: &str, fault: Fault) {
    let (Some(status), Some(request)) = (fault.status, fault.reply_to) else {
        return;
    };
    let response = request.response(status);
    for header in [
        HeaderName::VIA,
        HeaderName::FROM,
        HeaderName::TO,
        HeaderName::CALL_ID,
        HeaderName::CSEQ,
    ] {
        let values = |headers: &Headers| {
            headers
                .get_all(&header)
                .map(|value| value.to_value())
                .collect::<Vec<_>>()
        };
        assert_eq!(values(&response.headers), values(&request.headers), "{name}: {header}");
        assert!(response.headers.has(&header), "{name}: {header}");
    }
    assert!(response.to_bytes().starts_with(b"SIP/2.0 "), "{name}");
}

enum Verdict {
    /// It is a message; the function checks what it says.
    Read(fn(&Message)),
    /// It is none, for this reason, and this is to be answered.
    Refused(&'static str, Option<Status>),
}
use Verdict::{Read, Refused};

const BAD: Option<Status> = Some(Status::BAD_REQUEST);

const VERDICTS: &[(&str, Verdict)] = &[
    ("wsinv", Read(wsinv)),
    ("intmeth", Read(intmeth)),
    ("esc01", Read(esc01)),
    ("escnull", Read(escnull)),
    (
        "esc02",
        Read(|m| assert_eq!(request(m).method.as_str(), "RE%47IST%45R")),
    ),
    (
        "lwsdisp",
        Read(|m| assert_eq!(from(m).display.as_deref(), Some("caller"))),
    ),
    ("longreq", Read(longreq)),
    (
        "dblreq",
        Read(|m| assert_eq!((request(m).method.as_str(), m.body().len()), ("REGISTER", 0))),
    ),
    (
        "semiuri",
        Read(|m| assert_eq!(user(m).as_deref(), Some("user;par=u@example.net"))),
    ),
    ("transports", Read(transports)),
    (
        "mpart01",
        Read(|m| assert!(m.body().contains(&0) && m.body().len() == length(m))),
    ),
    ("unreason", Read(|m| assert!(response(m).1.contains("= 2**3 * 5**2")))),
    (
        "noreason",
        Read(|m| assert_eq!(response(m), (Status::TRYING, String::new()))),
    ),
    (
        "badinv01",
        Refused("malformed Via: a parameter name that is no token", BAD),
    ),
    ("clerr", Refused("body shorter than Content-Length", BAD)),
    ("ncl", Refused("malformed Content-Length: not a number", BAD)),
    ("scalar02", Refused("malformed CSeq: a number out of range", BAD)),
    ("scalarlg", Refused("malformed CSeq: a number out of range", None)),
    (
        "quotbal",
        Refused("malformed To: a quoted string that does not end", BAD),
    ),
    ("ltgtruri", Refused("malformed Request-URI", BAD)),
    ("lwsruri", Refused("malformed first line", BAD)),
    ("lwsstart", Refused("malformed first line", BAD)),
    ("trws", Refused("malformed first line", BAD)),
    ("escruri", Refused("malformed Request-URI", BAD)),
    // The Date is passed on unread: nothing here acts on it.
    ("baddate", Read(|m| assert!(m.headers().has(&HeaderName::DATE)))),
    ("regbadct", Refused("malformed Contact: a URI that needs brackets", BAD)),
    ("badaspec", Refused("malformed To: not a URI", BAD)),
    ("baddn", Refused("malformed From: a name that needs quotes", BAD)),
    (
        "badvers",
        Refused("SIP version not supported", Some(Status::VERSION_NOT_SUPPORTED)),
    ),
    ("mismatch01", Refused("CSeq of another method", BAD)),
    ("mismatch02", Refused("CSeq of another method", BAD)),
    ("bigcode", Refused("malformed first line", None)),
    ("badbranch", Read(|m| assert_eq!(via(m).branch(), Some("z9hG4bK")))),
    ("insuf", Refused("From missing", BAD)),
    ("unkscm", Read(|m| assert!(matches!(request(m).uri, Uri::Other(_))))),
    ("novelsc", Read(|m| assert_eq!(request(m).uri.scheme(), "soap.beep"))),
    (
        "unksm2",
        Read(|m| assert!(to(m).uri.scheme() == "isbn" && from(m).uri.scheme() == "http")),
    ),
    (
        "bext01",
        Read(|m| assert!(m.headers().has(&HeaderName::REQUIRE) && m.headers().has(&HeaderName::PROXY_REQUIRE))),
    ),
    ("invut", Read(|m| assert!(m.body().len() == length(m)))),
    ("regaut01", Read(regaut01)),
    ("multi01", Refused("CSeq more than once", BAD)),
    ("mcl01", Refused("Content-Length more than once", BAD)),
    ("bcast", Read(|m| assert_eq!(response(m).0, Status::OK))),
    ("zeromf", Read(|m| assert_eq!(m.headers().one(), Ok(MaxForwards(0))))),
    (
        "cparam01",
        Read(|m| assert_eq!(contacts(m)[0].params.get("unknownparam"), Some(None))),
    ),
    (
        "cparam02",
        Read(|m| assert!(contacts(m)[0].uri.to_string().ends_with(";unknownparam"))),
    ),
    (
        "regescrt",
        Read(|m| assert!(contacts(m)[0].uri.as_sip().unwrap().headers.is_some())),
    ),
    ("sdp01", Read(|m| assert!(m.headers().has(&HeaderName::ACCEPT)))),
    (
        "inv2543",
        Read(|m| assert!(via(m).branch().is_none() && from(m).tag().is_none())),
    ),
    ("test", Refused("malformed first line", BAD)),
    (
        "ipv6-good",
        Read(|m| assert_eq!(request(m).uri.to_string(), "sip:[2001:db8::10]")),
    ),
    ("ipv6-bad", Refused("malformed Request-URI", BAD)),
    (
        "port-ambiguous",
        Read(|m| assert_eq!(sip(m), ("[2001:db8::10:5070]".into(), None))),
    ),
    (
        "port-unambiguous",
        Read(|m| assert_eq!(sip(m), ("[2001:db8::10]".into(), Some(5070)))),
    ),
    ("via-received-param-with-delim", Read(received)),
    ("via-received-param-no-delim", Read(received)),
    ("ipv6-in-sdp", Read(|m| assert_eq!(m.body().len(), length(m)))),
    (
        "ipv6-in-sdp.printed-cl",
        Refused("body shorter than Content-Length", BAD),
    ),
    (
        "mult-ip-in-header",
        Read(|m| assert_eq!(m.headers().list::<Via>().unwrap().len(), 3)),
    ),
    ("mult-ip-in-sdp", Read(|m| assert_eq!(m.body().len(), length(m)))),
    (
        "mult-ip-in-sdp.printed-cl",
        Read(|m| assert_eq!(m.body().len(), length(m))),
    ),
    (
        "ipv4-mapped-ipv6",
        Read(|m| assert!(via(m).host.ip().unwrap().is_ipv4() || from(m).tag().is_some())),
    ),
    (
        "ipv4-mapped-ipv6.printed-cl",
        Read(|m| assert_eq!(m.body().len(), length(m))),
    ),
    // RFC 5118 §4.10 lets us choose; three colons are refused.
    ("ipv6-bug-abnf-3-colons", Refused("malformed Request-URI", BAD)),
    (
        "ipv6-correct-abnf-2-colons",
        Read(|m| assert_eq!(sip(m).0, "[2001:db8::c000:201]")),
    ),
];

fn wsinv(m: &Message) {
    let vias: Vec<Via> = m.headers().list().unwrap();
    assert_eq!(
        vias.iter().map(|via| &*via.transport).collect::<Vec<_>>(),
        ["UDP", "TCP", "UDP"]
    );
    assert_eq!(
        vias.iter().map(|via| via.branch().unwrap()).collect::<Vec<_>>(),
        ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]
    );
    assert_eq!((to(m).tag(), from(m).tag()), (Some("1918181833n"), Some("98asjd8")));
    assert_eq!(from(m).display.as_deref(), Some("J Rosenberg \\\""));
    assert_eq!(m.headers().one(), Ok(MaxForwards(68)));
    let unknown = "NewFangledHeader".parse().unwrap();
    assert_eq!(
        m.headers().get(&unknown).unwrap(),
        "newfangled value continued newfangled value"
    );
    assert_eq!(
        m.headers()
            .get(&"UnknownHeaderWithUnusualValue".parse().unwrap())
            .unwrap(),
        ";;,,;;,;"
    );
}

fn intmeth(m: &Message) {
    let method = "!interesting-Method0123456789_*+`.%indeed'~";
    assert_eq!(
        (request(m).method.as_str(), request(m).cseq().unwrap().method.as_str()),
        (method, method)
    );
    assert_eq!(from(m).display.as_deref(), Some("token1~` token2'+_ token3*%!.-"));
    assert!(to(m).display.as_deref().unwrap().starts_with("BEL:  NUL:"));
}

fn esc01(m: &Message) {
    let uri = request(m).uri.as_sip().unwrap();
    assert_eq!(
        (user(m).as_deref(), uri.host.to_string().as_str()),
        (Some("sips:user@example.com"), "example.net")
    );
}

fn escnull(m: &Message) {
    let contacts = contacts(m);
    assert_eq!(contacts.len(), 2);
    assert!(!contacts[0].uri.same_as(&contacts[1].uri));
    assert_eq!(
        contacts[1].uri.as_sip().unwrap().user_decoded().as_deref(),
        Some("\0\0")
    );
}

fn longreq(m: &Message) {
    assert!(m.headers().list::<Via>().unwrap().len() > 30);
    assert!(m.to_bytes().len() > 2500);
}

fn transports(m: &Message) {
    let vias: Vec<Via> = m.headers().list().unwrap();
    let transports: Vec<_> = vias.iter().map(|via| &*via.transport).collect();
    assert_eq!(transports, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
}

fn regaut01(m: &Message) {
    use cusax_common::core::sip::typed::Authorization;
    let proofs: Vec<Authorization> = m.headers().list().unwrap();
    assert_eq!(
        proofs.iter().map(|proof| proof.is_digest()).collect::<Vec<_>>(),
        [false]
    );
}

fn received(m: &Message) {
    assert_eq!(via(m).received(), Some("2001:db8::9:255".parse().unwrap()));
}

fn request(m: &Message) -> &Request {
    match m {
        Message::Request(request) => request,
        Message::Response(_) => panic!("a response"),
    }
}

fn response(m: &Message) -> (Status, String) {
    match m {
        Message::Request(_) => panic!("a request"),
        Message::Response(response) => (response.status, response.reason.as_str().unwrap().to_owned()),
    }
}

fn sip(m: &Message) -> (String, Option<u16>) {
    let uri = request(m).uri.as_sip().unwrap();
    (uri.host.to_string(), uri.port)
}

fn user(m: &Message) -> Option<String> {
    request(m)
        .uri
        .as_sip()
        .unwrap()
        .user_decoded()
        .map(|user| user.into_owned())
}

fn via(m: &Message) -> Via {
    m.headers().first().unwrap()
}

fn from(m: &Message) -> From {
    m.headers().one().unwrap()
}

fn to(m: &Message) -> To {
    m.headers().one().unwrap()
}

fn contacts(m: &Message) -> Vec<Contact> {
    match m.headers().one().unwrap() {
        ContactList::List(list) => list,
        ContactList::Star => panic!("a star"),
    }
}

fn length(m: &Message) -> usize {
    m.headers()
        .get(&HeaderName::CONTENT_LENGTH)
        .unwrap()
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn faults_say_where() {
    let fault = Message::parse(Bytes::from_static(b"OPTIONS sip:a SIP/2.0\r\n\r\n")).unwrap_err();
    assert_eq!(fault.to_string(), "Via missing at byte 25");
    assert_eq!(fault.kind, FaultKind::Missing(HeaderName::VIA));
}
