//! Which torture messages one of us reads and the other does not, and why.

use Kind::{TheyRefuse, WeRefuse};

/// A message that one reads and the other does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Valid to us and not to them.
    TheyRefuse,
    /// Valid to them and not to us.
    WeRefuse,
}

/// Reader, kind of difference, messages of the torture set, and the reason.
pub const TORTURE: &[(&str, Kind, &[&str], &str)] = &[
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
