//! Where other readers differ from us, and why.

use super::Difference;
use super::facts::UNREAD;

/// A field that is read in two ways.
pub struct Content {
    /// Names of readers, blanks between them.
    pub reader: &'static str,
    /// Fields with `*` for any text, blanks between them.
    pub field: &'static str,
    /// Which differences in these fields are meant.
    pub when: fn(&Difference<'_>) -> bool,
    pub reason: &'static str,
}

/// What we refuse and others read.
pub struct Refusal {
    /// Names of readers, blanks between them.
    pub reader: &'static str,
    /// Our fault with `*` for any text.
    pub fault: &'static str,
    pub reason: &'static str,
}

/// Where a reader says of a field something else than we.
pub const CONTENT: &[Content] = &[
    Content {
        reader: "rsip rsipstack sipx-sip",
        field: "*",
        when: |d| d.theirs == Some(UNREAD) && d.ours.is_some_and(|ours| ours != UNREAD),
        reason: "a header that they refuse is none that they accept",
    },
    Content {
        reader: "sipx-sip",
        field: "authorization* proxy-authorization*",
        when: |d| d.theirs.is_none(),
        reason: "it knows challenges, but reads no proofs",
    },
    Content {
        reader: "rsipstack",
        field: "content-type*",
        when: |d| d.theirs.is_none(),
        reason: "it takes no Content-Type apart",
    },
    Content {
        reader: "rsip rsipstack",
        field: "authorization proxy-authorization",
        when: |d| d.ours == Some(UNREAD),
        reason: "a proof with text behind a quoted value, with a parameter twice, or with a value that needs quotes could be \
                 read in two ways (§25.1, `credentials`)",
    },
    Content {
        reader: "rsip rsipstack",
        field: "*authorization.*.nc",
        when: |d| zeros(d.ours) == zeros(d.theirs),
        reason: "they read the nonce count as a number and lose its zeros",
    },
    Content {
        reader: "rsip rsipstack",
        field: "*authorization.*.uri",
        when: |d| d.lines().contains(['\\', ' ']),
        reason: "they write the URI of a proof anew; escapes in quoted strings stay",
    },
    Content {
        reader: "rsip",
        field: "body",
        when: |d| {
            d.theirs
                .zip(d.ours)
                .is_some_and(|(theirs, ours)| theirs.starts_with(ours))
        },
        reason: "it takes bytes beyond Content-Length for body (§18.3 has them ignored)",
    },
    Content {
        reader: "rsipstack",
        field: "body",
        when: |d| d.theirs == Some("") && (d.all.value("content-length").is_none() || !d.is_utf8()),
        reason: "without Content-Length the body is the rest of the datagram (§18.3)",
    },
    Content {
        reader: "rsip rsipstack",
        field: "contact contact.*",
        when: |d| d.all.value("contact") == Some("*"),
        reason: "to them the star is a contact like others",
    },
    Content {
        reader: "rsip",
        field: "*",
        when: |d| compact(d.message) && (d.theirs.is_none() || d.field.starts_with("line.")),
        reason: "it does not know compact forms (§7.3.3)",
    },
    Content {
        reader: "rsipstack",
        field: "*",
        when: |d| d.theirs.is_none() && !d.is_utf8(),
        reason: "it drops lines that are no UTF-8; with Content-Length goes the body",
    },
    Content {
        reader: "rsip rsipstack",
        field: "uri.* uri;* *.uri.* *.uri;*",
        when: |d| !matches!(d.of_uri(".scheme"), Some("sip" | "sips") | None),
        reason: "they read the URIs of all schemes as if they were sip",
    },
    Content {
        reader: "rsipstack",
        field: "*.display",
        when: |d| d.ours.is_some_and(|ours| ours.contains(['"', '\\'])),
        reason: "it leaves the escapes of quoted strings in display names, and drops quotes at their ends",
    },
    Content {
        reader: "rsipstack",
        field: "uri.* uri;* *.uri.* *.uri;*",
        when: |d| d.of_uri(".user").is_some_and(|user| user.contains([';', '?'])),
        reason: "a user may hold these marks (§25.1, `user-unreserved`)",
    },
    Content {
        reader: "rsipstack",
        field: "*;* *.params",
        when: |d| d.lines().contains('"') && d.lines().contains(';'),
        reason: "it cuts parameters at the semicolons of quoted values",
    },
    Content {
        reader: "rsipstack",
        field: "contact.*",
        when: |d| {
            d.theirs.is_none() && (d.ours == Some("udp") || d.field.ends_with(".headers"))
                || d.field.ends_with(".params")
        },
        reason: "it drops transport=udp and the headers of contacts",
    },
    Content {
        reader: "rsip rsipstack",
        field: "via.*",
        when: |d| d.lines().contains(','),
        reason: "they read one Via of a line, or the whole list as one",
    },
    Content {
        reader: "rsip rsipstack",
        field: "from.* from;*",
        when: |d| !d.lines().contains('<') && d.lines().contains('@'),
        reason: "without brackets, what stands behind the first semicolon belongs to the header (§20)",
    },
    Content {
        reader: "rsip",
        field: "uri.* *.uri.*",
        when: |d| d.of_uri(".headers").is_some(),
        reason: "it loses the headers of a URI, and the user before them",
    },
    Content {
        reader: "rsip",
        field: "uri.* *.uri.*",
        when: |d| d.of_uri(".user").is_some_and(|user| user.contains('.')),
        reason: "it takes a user with a dot for a part of the host",
    },
    Content {
        reader: "rsip",
        field: "*;* *.params",
        when: |d| d.lines().contains(['@', '[', ']', '&', '?', '/', ':', '=', '$', '(']),
        reason: "it drops a value from the first character that is in no token, and all parameters behind it; we read values \
                 as phones write them",
    },
    Content {
        reader: "sipx-sip",
        field: "*.display",
        when: |d| words(d.ours) == words(d.theirs),
        reason: "it leaves blanks around a fold",
    },
    Content {
        reader: "rsipstack sipx-sip",
        field: "*.display line.*",
        when: |d| d.theirs.is_some_and(|theirs| theirs.contains(char::is_control)),
        reason: "we pass on no control characters, escaped or not",
    },
    Content {
        reader: "rsipstack sipx-sip",
        field: "*.headers",
        when: |d| d.theirs.is_some_and(|theirs| theirs.strip_suffix('=') == d.ours),
        reason: "they put the equals sign that a header in a URI should have",
    },
    Content {
        reader: "rsipstack",
        field: "reason",
        when: |d| d.ours == Some(""),
        reason: "it puts the usual phrase where there is none",
    },
    Content {
        reader: "rsip",
        field: "reason",
        when: |_| true,
        reason: "it keeps the code alone",
    },
    Content {
        reader: "rsip rsipstack sipx-sip",
        field: "contact",
        when: |d| d.ours == Some(UNREAD) && d.lines().contains('*'),
        reason: "a star stands alone (§10.2.2)",
    },
    Content {
        reader: "rsip rsipstack sipx-sip",
        field: "content-type",
        when: |d| d.ours == Some(UNREAD) && d.lines().contains('\n'),
        reason: "they take the first of two lines; somebody else may take the last",
    },
    Content {
        reader: "rsip",
        field: "content-type",
        when: |d| d.ours == Some(UNREAD) && !d.lines().contains('\n'),
        reason: "it does not look at the characters of types and parameters",
    },
    Content {
        reader: "rsip rsipstack",
        field: "route record-route",
        when: |d| d.ours == Some(UNREAD),
        reason: "they cut addresses at the brackets and look at little between and around them",
    },
    Content {
        reader: "sipx-sip",
        field: "route record-route",
        when: |d| d.ours == Some(UNREAD),
        reason: "a comma is in no parameter of a URI, an @ has a user before it, and a scheme begins with a letter (§25.1)",
    },
];

fn zeros(number: Option<&str>) -> Option<&str> {
    number.map(|text| text.trim_start_matches('0'))
}

fn words(text: Option<&str>) -> Vec<&str> {
    text.unwrap_or_default().split_whitespace().collect()
}

fn compact(message: &[u8]) -> bool {
    String::from_utf8_lossy(message)
        .lines()
        .any(|line| line.split_once(':').is_some_and(|(name, _)| name.trim().len() == 1))
}

/// Where we refuse a message and a reader reads it, with the header at fault.
pub const OUR_REFUSALS: &[Refusal] = &[
    Refusal {
        reader: "rsip rsipstack sipx-sip",
        fault: "* more than once",
        reason: "they take the first line of a header that may stand once; somebody else may take the last",
    },
    Refusal {
        reader: "rsip rsipstack sipx-sip",
        fault: "* missing",
        reason: "they read messages without the headers that each must have (§8.1.1)",
    },
    Refusal {
        reader: "rsip rsipstack sipx-sip",
        fault: "CSeq of another method",
        reason: "they do not compare CSeq with the method (§8.1.1.5)",
    },
    Refusal {
        reader: "rsip rsipstack",
        fault: "body shorter than Content-Length",
        reason: "Content-Length must be right (§18.3)",
    },
    Refusal {
        reader: "rsipstack sipx-sip",
        fault: "SIP version not supported",
        reason: "versions are judged at the door (§7.1)",
    },
    Refusal {
        reader: "rsip rsipstack",
        fault: "malformed header line",
        reason: "they drop lines that are no headers",
    },
    Refusal {
        reader: "sipx-sip",
        fault: "malformed header line",
        reason: "it takes a lone CR or LF for a part of a value",
    },
    Refusal {
        reader: "rsip rsipstack sipx-sip",
        fault: "malformed first line",
        reason: "the line has three words with one blank between them, the last of them SIP/ and a version; a status has three \
                 digits (§7.1, §7.2)",
    },
    Refusal {
        reader: "rsip rsipstack sipx-sip",
        fault: "malformed Request-URI",
        reason: "a Request-URI has no headers, and only the characters of its grammar (§19.1.1, §25.1; RFC 3966 §3)",
    },
    Refusal {
        reader: "rsip rsipstack sipx-sip",
        fault: "malformed Call-ID: not one word",
        reason: "a Call-ID has no blanks (§25.1, `callid`)",
    },
    Refusal {
        reader: "rsip rsipstack",
        fault: "malformed Max-Forwards: a number above 255",
        reason: "§20.22 ends at 255",
    },
    Refusal {
        reader: "rsip rsipstack",
        fault: "malformed From: *",
        reason: "they cut addresses at the brackets and look at little between and around them",
    },
    Refusal {
        reader: "rsip rsipstack",
        fault: "malformed To: *",
        reason: "as for From",
    },
    Refusal {
        reader: "rsip rsipstack",
        fault: "malformed Contact: *",
        reason: "as for From",
    },
    Refusal {
        reader: "rsip rsipstack",
        fault: "malformed Via: *",
        reason: "they do not look at names and values of parameters, nor at hosts",
    },
    Refusal {
        reader: "sipx-sip",
        fault: "malformed *that stands twice",
        reason: "it takes the first of two tags or branches; somebody else may take the last (§7.3.1)",
    },
    Refusal {
        reader: "sipx-sip",
        fault: "malformed Via: not SIP/2.0/transport",
        reason: "protocol and version must be SIP and 2.0 (§8.1.1.7)",
    },
    Refusal {
        reader: "sipx-sip",
        fault: "malformed *: not a host name",
        reason: "the last label of a name begins with a letter, so that no name is nearly an address (§25.1, `toplabel`)",
    },
    Refusal {
        reader: "sipx-sip",
        fault: "malformed *: a URI with forbidden characters",
        reason: "a comma is in no parameter of a URI, and a header of it has no question mark as its end (§25.1)",
    },
    Refusal {
        reader: "sipx-sip",
        fault: "malformed From: a URI parameter with forbidden characters",
        reason: "a parameter has a name (RFC 3966 §3)",
    },
    Refusal {
        reader: "sipx-sip",
        fault: "malformed From: not a URI",
        reason: "a scheme begins with a letter (§25.1)",
    },
    Refusal {
        reader: "sipx-sip",
        fault: "malformed From: not a number",
        reason: "a user has no backslash, and a password no colon (§25.1)",
    },
];
