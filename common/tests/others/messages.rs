//! What all readers are given: our own messages, what fuzzing found worth keeping, the torture messages, and ours
//! changed at random.

use std::path::Path;

use cusax_common::core::entropy::{Entropy as _, Seeded};

use super::support::torture_folder;

pub const INVITE: &[u8] = include_bytes!("../samples/invite.sip");

/// A name for reports, and the bytes.
pub type Named = (String, Vec<u8>);

/// Messages that use every header of which the parts are compared.
pub fn own() -> Vec<Named> {
    OWN.iter()
        .map(|(name, text)| ((*name).to_owned(), text.replace('\n', "\r\n").into_bytes()))
        .chain([("invite".to_owned(), INVITE.to_vec())])
        .collect()
}

/// Messages that say twice in one line what may be said once; they are not changed further.
pub fn doubled() -> Vec<Named> {
    let (_, bye) = OWN.iter().find(|(name, _)| *name == "bye").expect("it is there");
    [
        (";tag=f4", ";tag=f4;tag=f5"),
        (";branch=z9hG4bKd", ";branch=z9hG4bKd;branch=z9hG4bKx"),
    ]
    .map(|(once, twice)| {
        let text = bye.replacen(once, twice, 1).replace('\n', "\r\n");
        (format!("bye with {twice}"), text.into_bytes())
    })
    .to_vec()
}

/// The corpus of the fuzz target that reads messages.
pub fn fuzzed() -> Vec<Named> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/message");
    let entries = std::fs::read_dir(folder).expect("the corpus is part of the sources");
    let mut messages: Vec<Named> = entries
        .map(|entry| {
            let entry = entry.expect("a file of the corpus");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).expect("a file of the corpus"))
        })
        .collect();
    messages.sort();
    assert!(!messages.is_empty());
    messages
}

/// The torture messages, from the folder that `CUSAX_TORTURE` names; none without it.
pub fn torture() -> Option<Vec<Named>> {
    let folder = torture_folder()?;
    let manifest = std::fs::read_to_string(folder.join("torture-manifest.tsv")).expect("a manifest");
    let read = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let bytes = std::fs::read(folder.join(fields[2])).expect("a file of the manifest");
        (fields[1].to_owned(), bytes)
    };
    Some(manifest.lines().skip(1).map(read).collect())
}

/// Our own messages with one to three changes each, always the same for one seed.
pub fn changed(seed: u64, count: usize) -> Vec<Named> {
    let mut random = Seeded::new(seed);
    let own = own();
    (0..count)
        .map(|round| {
            let (name, bytes) = &own[below(&mut random, own.len())];
            let mut bytes = bytes.clone();
            for _ in 0..=below(&mut random, 3) {
                change(&mut random, &mut bytes);
            }
            (format!("{name} changed, seed {seed:#x}, round {round}"), bytes)
        })
        .collect()
}

fn change(random: &mut Seeded, bytes: &mut Vec<u8>) {
    let at = below(random, bytes.len());
    let piece = PIECES[below(random, PIECES.len())];
    match below(random, 5) {
        0 => bytes[at] = piece.as_bytes()[0],
        1 => drop(bytes.remove(at)),
        2 => drop(bytes.splice(at..at, piece.bytes())),
        kind => {
            let mut lines: Vec<Vec<u8>> = bytes
                .split_inclusive(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec)
                .collect();
            let line = below(random, lines.len());
            if kind == 3 {
                lines.insert(line, lines[line].clone());
            } else if lines.len() > 1 {
                lines.remove(line);
            }
            *bytes = lines.concat();
        }
    }
}

fn below(random: &mut Seeded, end: usize) -> usize {
    let mut bytes = [0; 4];
    random.fill(&mut bytes);
    u32::from_le_bytes(bytes) as usize % end
}

/// What has a meaning somewhere in a message.
const PIECES: &[&str] = &[
    " ",
    "\t",
    "\r\n ",
    ";",
    ",",
    ":",
    "<",
    ">",
    "\"",
    "\\",
    "@",
    "=",
    "?",
    "&",
    "%",
    "%41",
    "*",
    "[::1]",
    "/",
    "0",
    "4294967296",
    "-1",
    "\u{e9}",
    ";lr",
    ";tag=x",
    ";a=\"b;c,d\"",
    ", ",
    "sip:",
    "tel:",
    "A",
];

const OWN: &[(&str, &str)] = &[
    (
        "register",
        "REGISTER sip:example.net:5070;transport=tcp SIP/2.0
Via: SIP/2.0/TCP 192.0.2.1:5061;branch=z9hG4bKa;rport;alias
Max-Forwards: 70
From: \"Alice \\\"A\\\"\" <sip:alice@example.net>;tag=f1
To: Alice <sip:alice@example.net;user=phone>
Call-ID: r1@192.0.2.1
CSeq: 7 REGISTER
Contact: \"A\" <sip:alice@192.0.2.1:5061;transport=tcp>;q=0.5;expires=60, <sip:alice@198.51.100.7>;+sip.ice
Authorization: Digest username=\"alice\", realm=\"example.net\", nonce=\"n1\", uri=\"sip:example.net\", response=\"0123456789abcdef0123456789abcdef\", algorithm=MD5, opaque=\"o\", qop=auth, cnonce=\"c\", nc=00000001
Expires: 3600
Allow: INVITE, ACK
Supported: path
Supported: outbound
User-Agent: Phone/1.0 (test; \"quoted\")
Content-Length: 0

",
    ),
    (
        "star",
        "REGISTER sip:example.net SIP/2.0
Via: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bKs
Max-Forwards: 70
From: <sip:alice@example.net>;tag=f2
To: <sip:alice@example.net>
Call-ID: r2
CSeq: 1 REGISTER
Contact: *
Expires: 0
Content-Length: 0

",
    ),
    (
        "ringing",
        "SIP/2.0 183 Session Progress
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKb;received=198.51.100.1;rport=5062
Via: SIP/2.0/TLS proxy.example.org;branch=z9hG4bKc
From: Alice Smith <sip:alice:secret@example.net:5060>;tag=f3
To: <sip:bob@example.org>;tag=t3
Call-ID: c3@example.net
CSeq: 2 INVITE
Contact: <sip:bob@[2001:db8::9]:5060;ob>
Record-Route: <sip:p2.example.org;lr>, <sip:p1.example.net:5061;transport=tls;lr>
Require: 100rel
RSeq: 9
Content-Type: application/sdp;charset=utf-8
Content-Length: 5

v=0
",
    ),
    (
        "bye",
        "BYE sip:bob%20b@example.org SIP/2.0
Via: SIP/2.0/UDP client.example.net;branch=z9hG4bKd, SIP/2.0/TCP b.example.net:5062;branch=z9hG4bKe;keep
Route: <sip:p1.example.net;lr>
Route: <sip:p2.example.org;lr;x=y>
Max-Forwards: 16
From: sip:alice@example.net;tag=f4
To: sip:bob@example.org;tag=t4
Call-ID: c4
CSeq: 3 BYE
Proxy-Authorization: Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:bob@example.org\", response=\"00\"
Reason: Q.850;cause=16;text=\"done\"
X-Own: one
x-own:  two
Content-Length: 0

",
    ),
    (
        "tel",
        "INVITE tel:+15551234;phone-context=x SIP/2.0
Via: SIP/2.0/UDP a.example;branch=z9hG4bKe
Max-Forwards: 70
f: <tel:+15550000>;tag=f5
t: <sips:bob@example.org>
i: c5
CSeq: 4 INVITE
m: <sip:a@a.example>
c: application/sdp
l: 0

",
    ),
];
