//! Malformed SIP from a seed: one anomaly at one place of a message that would be right without it, or the message cut,
//! doubled, shuffled and bitten.

use std::collections::BTreeMap;

use cusax_common::core::entropy::Seeded;

/// Makes messages, each from the seed and its number.
#[derive(Debug)]
pub struct Nonsense {
    entropy: Seeded,
    number: u64,
    tally: BTreeMap<&'static str, u64>,
}

impl Nonsense {
    /// The same seed makes the same messages.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            entropy: Seeded::new(seed),
            number: 0,
            tally: BTreeMap::new(),
        }
    }

    /// The next message.
    pub fn message(&mut self) -> Vec<u8> {
        self.number += 1;
        let mut bytes = if self.below(3) == 0 {
            let whole = self.compose(None);
            self.bite(whole)
        } else {
            let at = self.below(PARTS.len());
            let part = &PARTS[at];
            let right = part.right.as_bytes();
            let spoilt = match self.below(2 * part.special.len().min(8) + 12) {
                // What is wrong in this place only, as often as its words are many.
                special if special < 2 * part.special.len().min(8) => self.special(part),
                _ => {
                    let anomaly = self.anomaly();
                    match self.below(3) {
                        0 => anomaly,
                        1 => [right, &anomaly].concat(),
                        _ => [&anomaly, right].concat(),
                    }
                }
            };
            self.count(part.name);
            self.compose(Some((part.name, &spoilt)))
        };
        bytes.truncate(LONGEST);
        bytes
    }

    /// How often each place was spoilt, and each thing done to a whole message.
    #[must_use]
    pub fn tally(&self) -> &BTreeMap<&'static str, u64> {
        &self.tally
    }

    /// What can be spoilt or done.
    pub fn kinds() -> impl Iterator<Item = &'static str> {
        PARTS.iter().map(|part| part.name).chain(BITES)
    }

    fn count(&mut self, kind: &'static str) {
        *self.tally.entry(kind).or_default() += 1;
    }

    /// A message, one part of which is spoilt.
    fn compose(&mut self, spoilt: Option<(&str, &[u8])>) -> Vec<u8> {
        let method = METHODS[self.below(METHODS.len())];
        let number = self.number.to_string();
        let is_spoilt = |name: &str| spoilt.is_some_and(|(part, _)| part == name);
        let fill = |bytes: &[u8], length: usize| {
            let text = replace(bytes, b"{n}", number.as_bytes());
            replace(
                &replace(&text, b"{m}", method.as_bytes()),
                b"{l}",
                length.to_string().as_bytes(),
            )
        };
        let part = |name: &str, length: usize| {
            let right = PARTS
                .iter()
                .find(|part| part.name == name)
                .map_or("", |part| part.right);
            let bytes = spoilt
                .filter(|(part, _)| *part == name)
                .map_or(right.as_bytes(), |(_, bytes)| bytes);
            fill(bytes, length)
        };
        let body = part("body", 0);
        let end = part("line end", 0);
        let mut bytes = Vec::new();
        for (header, content) in LAYOUT {
            // Headers that a right message does without are there only to be spoilt.
            if let Some(only) = header.strip_prefix('?') {
                if is_spoilt(only) {
                    bytes.extend_from_slice(&part(only, 0));
                    bytes.extend_from_slice(&end);
                }
                continue;
            }
            bytes.extend_from_slice(header.as_bytes());
            for piece in content.split('|') {
                match piece.strip_prefix('$') {
                    Some(name) => bytes.extend_from_slice(&part(name, body.len())),
                    None => bytes.extend_from_slice(piece.as_bytes()),
                }
            }
            bytes.extend_from_slice(&end);
        }
        bytes.extend_from_slice(&end);
        bytes.extend_from_slice(&body);
        bytes
    }

    fn bite(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let lines = |bytes: &[u8]| -> Vec<Vec<u8>> {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.split("\r\n").map(|line| line.as_bytes().to_vec()).collect()
        };
        let at = self.below(bytes.len());
        let bite = self.below(BITES.len());
        self.count(BITES[bite]);
        match bite {
            0 => bytes.truncate(at),
            1 => {
                for _ in 0..=self.below(8) {
                    let at = self.below(bytes.len());
                    bytes[at] = self.entropy.next_u64() as u8;
                }
            }
            2 => {
                let end = (at + 200).min(bytes.len());
                let piece = bytes[at..end].repeat(1 + self.below(60));
                bytes.splice(at..at, piece);
            }
            3 => {
                let mut lines = lines(&bytes);
                for last in (1..lines.len()).rev() {
                    let other = self.below(last + 1);
                    lines.swap(last, other);
                }
                bytes = lines.join(&b"\r\n"[..]);
            }
            4 => {
                let mut lines = lines(&bytes);
                let (from, to) = (self.below(lines.len()), self.below(lines.len()));
                lines.insert(to, lines[from].clone());
                bytes = lines.join(&b"\r\n"[..]);
            }
            5 => {
                let mut lines = lines(&bytes);
                lines.remove(self.below(lines.len()));
                bytes = lines.join(&b"\r\n"[..]);
            }
            _ => {
                let end = at + self.below(bytes.len() - at);
                bytes.drain(at..end);
            }
        }
        bytes
    }

    fn special(&mut self, part: &Part) -> Vec<u8> {
        let word = part.special[self.below(part.special.len())];
        match word.split_once('*') {
            // `12*x` is x a dozen times.
            Some((times, what)) if !times.is_empty() => match times.parse() {
                Ok(times) => what.as_bytes().repeat(times),
                Err(_) => word.into(),
            },
            _ => word.into(),
        }
    }

    fn anomaly(&mut self) -> Vec<u8> {
        let long = 1 << (5 + self.below(11));
        match self.below(ANOMALIES.len() + BROKEN_TEXT.len() + 6) {
            0 => vec![b'A'; long],
            1 => b"%41".repeat(long / 3),
            2 => [&b"\""[..], &b"\\".repeat(long | 1), b"\""].concat(),
            3 => b"a,".repeat(long / 2),
            4 => b";a=b".repeat(long / 4),
            5 => [b"(".repeat(long / 2), b")".repeat(long / 2)].concat(),
            other => match ANOMALIES.get(other - 6) {
                Some(anomaly) => anomaly.as_bytes().to_vec(),
                None => BROKEN_TEXT[other - 6 - ANOMALIES.len()].to_vec(),
            },
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.entropy.next_u64() % limit.max(1) as u64).unwrap_or_default()
    }
}

fn replace(bytes: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(what) {
            out.extend_from_slice(by);
            at += what.len();
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

/// One place of a message.
struct Part {
    name: &'static str,
    right: &'static str,
    /// What is wrong in this place more than in others.
    special: &'static [&'static str],
}

const fn part(name: &'static str, right: &'static str, special: &'static [&'static str]) -> Part {
    Part { name, right, special }
}

/// No datagram is longer.
const LONGEST: usize = 60_000;
/// Every method that SIP has.
pub const METHODS: [&str; 14] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "REGISTER",
    "OPTIONS",
    "INFO",
    "UPDATE",
    "PRACK",
    "REFER",
    "NOTIFY",
    "SUBSCRIBE",
    "MESSAGE",
    "PUBLISH",
];
/// What is done to whole messages.
const BITES: [&str; 7] = [
    "cut short",
    "bytes changed",
    "a piece many times",
    "lines shuffled",
    "a line twice",
    "a line gone",
    "a piece gone",
];
/// The lines of a message: what a line begins with, then what is as it is and, behind `$`, what may be spoilt. A line that
/// begins with `?` is there only if its part is spoilt.
const LAYOUT: [(&str, &str); 15] = [
    ("", "$method| |$target| |$version"),
    ("Via: ", "$via protocol| |$via host|;branch=|$branch|$via rest"),
    ("From: ", "$display| <|$from|>;tag=|$from tag"),
    ("To: ", "<|$to|>|$to tag"),
    ("Call-ID: ", "$call"),
    ("CSeq: ", "$number| |$number's method"),
    ("Max-Forwards: ", "$hops"),
    ("Contact: ", "<|$contact|>"),
    ("?route", ""),
    ("?expiry", ""),
    ("?proof", ""),
    ("?another line", ""),
    ("?many lines", ""),
    ("Content-Type: ", "$type"),
    ("", "$length's name|: |$length"),
];
const PARTS: [Part; 27] = [
    part(
        "method",
        "{m}",
        &[
            "option",
            "{m}\t",
            "OPT IONS",
            "90*A",
            "9000*A",
            "!",
            "SIP/2.0 200 OK",
            "SIP/2.0 999 ",
        ],
    ),
    part("target", "sip:bob@sip.example.com", &["sip:sip.example.com", "tel:112"]),
    part(
        "version",
        "SIP/2.0",
        &[
            "SIP/",
            "SIP/2",
            "SIP/2.000",
            "SIP/002.0",
            "SIP/7.0",
            "Sip/2.0",
            "HTTP/1.0",
            "SIP/4294967298.0",
            "SIP/-2.0",
            "SIP/2.0\t",
        ],
    ),
    part(
        "via protocol",
        "SIP/2.0/UDP",
        &[
            "SIP/2.0/",
            "SIP/2.0/NONE",
            "SIP//TCP",
            "SIP / 2.0 / UDP",
            "SIP/2.0/SCTP",
            "HTTP/1.1/TCP",
        ],
    ),
    part("via host", "nonsense.invalid", &["127.0.0.1:0", "[::1]:99999", "a, b"]),
    part(
        "branch",
        "z9hG4bKn{n}",
        &["", "z9hG4bK", "Z9HG4BK", "alike", "z9hG4bKalike", "9000*z9hG4bK"],
    ),
    part(
        "via rest",
        ";rport",
        &[
            ";rport=0;rport=1",
            ";received=1.2.3.4",
            ";maddr=127.0.0.1",
            ";ttl=999",
            "900*;",
        ],
    ),
    part("display", "\"Alice\"", &["Alice B", "\"", "a<b"]),
    part("from", "sip:al@sip.example.com", &["sip:bob@sip.example.com"]),
    part("from tag", "n{n}", &["", "n;tag=m", "\"n\"", "alike"]),
    part("to", "sip:bob@sip.example.com", &["sip:al@sip.example.com"]),
    part(
        "to tag",
        "",
        &[";tag=", ";tag=x", ";tag=x;tag=y", ";tag=\"x\"", "900*;x", ">"],
    ),
    part("call", "n{n}", &["alike", "@", "a@b@c"]),
    part("number", "1", &["-2", "2147483647", "2147483648", "007", "1.5", ""]),
    part("number's method", "{m}", &["ACK", "CANCEL", "", "{m} {m}", "X"]),
    part("hops", "70", &["0", "1", "256", "-7", "", "7,7", "0007"]),
    part("contact", "sip:al@nonsense.invalid", &["*", "sip:al@127.0.0.1:6379"]),
    part(
        "route",
        "Route: <sip:sip.example.com;lr>",
        &[
            "Route: <sip:127.0.0.1:5432;lr;transport=tcp>",
            "Route: <sip:169.254.1.1>",
            "Route: <sip:[::1];lr>",
            "Route: <sip:[::ffff:127.0.0.1];lr>",
            "Route: <sip:localhost;lr>",
            "Route: <sip:2130706433;lr>",
            "Route: <sip:0x7f.1;lr>",
            "Route: <>",
            "Route: sip:x",
            "300*Route: <sip:sip.example.com;lr>\r\n",
        ],
    ),
    part(
        "expiry",
        "Expires: 60",
        &[
            "Expires: -3",
            "Expires: 4294967297",
            "Expires: 18446744073709551617",
            "Expires: 0",
            "Expires: soon",
            "Expires: 6;0",
            "Min-Expires: 0",
        ],
    ),
    part(
        "proof",
        "Authorization: Digest username=\"al\", realm=\"sip.example.com\", nonce=\"n\", uri=\"sip:sip.example.com\", response=\"r\"",
        &[
            "Authorization: Digest",
            "Authorization: Basic YTpi",
            "Authorization: Digest ,",
            "Authorization: Digest username=",
            "Proxy-Authorization: Digest username=\"a\\\"",
            "Authorization: Digest username=\"al\", realm=\"sip.example.com\", nonce=\"\", uri=\"\", response=\"\"",
            "Authorization: Digest username=\"al\", realm=\"sip.example.com\", nonce=\"n\", uri=\"u\", \
             response=\"00000000000000000000000000000000\", algorithm=NULL",
            "Authorization: Digest username=\"al\", realm=\"sip.example.com\", nonce=\"n\", uri=\"u\", response=\"r\", qop=auth",
            "Authorization: Digest username=\"al\", realm=\"sip.example.com\", nonce=\"n\", uri=\"u\", response=\"r\", \
             qop=auth, nc=FFFFFFFFF, cnonce=\"\"",
            "Authorization: Digest username*=UTF-8''%ff",
            "3000*Authorization: Digest x=y\r\n",
        ],
    ),
    part(
        "another line",
        "X: y",
        &[
            "l: 0",
            "Content-Length: 0",
            "Call-ID: second",
            "From: <sip:x@y>;tag=2",
            "To: <sip:x@y>",
            "CSeq: 2 BYE",
            "Straight on",
            "\u{ff1a}: wide",
            "To\u{1}: <sip:evil@x>",
            "To : <sip:spaced@x>",
            " : v",
            "X:",
            " folded",
            "Content-Encoding: gzip",
            "Content-Type: multipart/mixed;boundary=12345678901234567890123456789012345678901234567890123456789012345678901234567890",
            "Identity: a;info=<http://127.0.0.1:1/>",
            "Call-Info: <xmpp:ceo@example.com>;purpose=impp",
            "P-Asserted-Identity: <sip:bob@sip.example.com>",
            "Remote-Party-ID: <sip:bob@sip.example.com>",
            "Replaces: a;to-tag=b;from-tag=c",
            "Session-Expires: 0",
            "Session-Expires: 4294967297;refresher=nobody",
            "RSeq: 4294967297",
            "RAck: 1 1 1 INVITE",
            "Max-Breadth: 0",
            "Require: nothing, at, all",
            "Supported: 100rel,100rel,timer",
        ],
    ),
    part(
        "many lines",
        "X: y",
        &[
            "900*Via: SIP/2.0/UDP h;branch=z9hG4bKx\r\n",
            "4000*X: y\r\n",
            "900*Accept: a/b\r\n",
            "900*Record-Route: <sip:h;lr>\r\n",
            "2000*History-Info: <sip:a@b>;index=1\r\n",
            "3000*Require: e\r\n",
            "9000*Event: ",
            "100*From: <sip:x@y>;tag=3\r\n",
        ],
    ),
    part(
        "type",
        "application/sdp",
        &[
            "multipart/mixed",
            "multipart/mixed;boundary=",
            "multipart/mixed;boundary=\"v=0\"",
            "message/sipfrag",
        ],
    ),
    part(
        "length's name",
        "Content-Length",
        &["l", "Content-Length ", "Content\u{2d}length"],
    ),
    part(
        "length",
        "{l}",
        &[
            "-2",
            "0",
            "2",
            "77777",
            "4294967297",
            "18446744073709551615",
            "18446744073709551600",
            "0\r\nContent-Length: 7777",
            "2, 3",
            "+7",
            "0x7",
            " ",
            "7 7",
        ],
    ),
    part(
        "body",
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0\r\n",
        &[
            "v=0\r\n",
            "900*m=audio 9 RTP/AVP 0\r\n",
            "900*a=x\r\n",
            "m=audio 99999 RTP/AVP 999",
        ],
    ),
    part(
        "line end",
        "\r\n",
        &["\n", "\r", "\r\n\r\n", "\n\r", "\t\r\n", "\0\r\n"],
    ),
];
/// What is wrong anywhere.
const ANOMALIES: [&str; 97] = [
    "",
    " ",
    "\t",
    "\0",
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\r\n X",
    "\nX-More: 1",
    "\r\nX-More: 1",
    "\r\n\r\nOPTIONS sip:sip.example.com SIP/2.0\r\n",
    "\r\nl: 0",
    "\r\nContent-Length: 9999",
    "\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx",
    "\r\nFrom: <sip:x@y>;tag=1",
    "\r\nCall-ID: second",
    "\r\nCSeq: 2 INVITE",
    "\r\nRequire: a,b,c",
    "\r\nAuthorization: Digest",
    "\r\nReplaces: a;to-tag=b;from-tag=c",
    "\r\nTo\u{1}: <sip:evil@x>",
    "\r\nNoColon",
    "\r\n : v",
    "%",
    "%00",
    "%2",
    "%zz",
    "%n%n%s",
    "\\",
    "\"",
    "<",
    ">",
    "<<<<",
    ">>>>",
    ",",
    ",,,,",
    ";",
    ";;;;",
    "@",
    "@@",
    "::",
    "[",
    "]",
    "[]",
    "{}",
    "'",
    "`who`",
    "$(who)",
    "../../etc/passwd",
    "\u{202e}",
    "\u{200b}",
    "é",
    "\u{7f}",
    "\u{1}",
    "0",
    "-1",
    "00",
    "1e9",
    "0x10",
    "+1",
    "2147483648",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "18446744073709551616",
    "777777777777777777777777777777777777777777",
    "NaN",
    "null",
    "*",
    "sip:",
    "sip:@",
    "sip:a@",
    "sip:@b",
    "sip:a@[",
    "sip:a@[::1",
    "sip:a@[:::1]",
    "sip:a@b:0",
    "sip:a@b:-1",
    "sip:a@b:65536",
    "sip:a@b:99999999999",
    "sip:a@b;",
    "sip:a@b;=",
    "sip:a@b;x=\"",
    "sip:a@b?",
    "sip:a@b?Route=%3Csip:127.0.0.1%3E",
    "sip:a:b:c@d",
    "sip:a@b;maddr=127.0.0.1",
    "sip:a@b;transport=%00",
    "sip:a@999.999.999.999",
    "sip:a@b..c",
    "sip:127.0.0.1:5060",
    "sip:a@localhost",
    "sip:a@-.-",
    "tel:",
    "tel:+",
    "urn:",
];
/// What is no UTF-8: stray bytes, an overlong slash, half a surrogate pair.
const BROKEN_TEXT: [&[u8]; 3] = [b"\xfe\xff", b"\xc0\xaf", b"\xed\xbf\xbf"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_and_a_seed_repeats_itself() {
        let (mut one, mut same) = (Nonsense::new(7), Nonsense::new(7));
        for _ in 0..20_000 {
            let message = one.message();
            assert!(message.len() <= LONGEST);
            assert_eq!(message, same.message());
        }
        for kind in Nonsense::kinds() {
            assert!(one.tally().get(kind).is_some_and(|&count| count > 100), "{kind}");
        }
        assert_ne!(one.message(), Nonsense::new(8).message());
    }

    #[test]
    fn what_is_not_spoilt_is_right() {
        let mut nonsense = Nonsense::new(7);
        for _ in 0..100 {
            let bytes = nonsense.compose(None);
            let message = cusax_common::core::sip::Message::parse(bytes.clone().into());
            assert!(message.is_ok(), "{message:?}: {}", String::from_utf8_lossy(&bytes));
        }
    }
}
