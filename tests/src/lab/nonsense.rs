//! Malformed SIP from a seed: one anomaly at one place of a message that would be right without it, or the message cut,
//! doubled, shuffled and bitten.

use std::fmt::Write as _;

use cusax_common::core::entropy::Seeded;

/// Makes messages, each from the seed and its number.
#[derive(Debug)]
pub struct Nonsense {
    entropy: Seeded,
    number: u64,
}

impl Nonsense {
    /// The same seed makes the same messages.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            entropy: Seeded::new(seed),
            number: 0,
        }
    }

    /// The next message.
    pub fn message(&mut self) -> Vec<u8> {
        self.number += 1;
        let mut bytes = if self.below(3) == 0 {
            let whole = self.compose(usize::MAX, "");
            self.bite(whole)
        } else {
            let (field, anomaly) = (self.below(FIELDS.len()), self.anomaly());
            self.compose(field, &anomaly)
        };
        bytes.truncate(LONGEST);
        bytes
    }

    /// A message whose `field` is spoilt by `anomaly`: replaced, or with it before or behind.
    fn compose(&mut self, field: usize, anomaly: &str) -> Vec<u8> {
        let method = METHODS[self.below(METHODS.len())];
        let place = self.below(3);
        let number = self.number;
        let part = |index: usize| {
            let right = FIELDS[index].replace("{n}", &number.to_string()).replace("{m}", method);
            match (index == field, place) {
                (false, _) => right,
                (true, 0) => anomaly.to_owned(),
                (true, 1) => format!("{right}{anomaly}"),
                (true, _) => format!("{anomaly}{right}"),
            }
        };
        let mut text = format!("{} {} {}\r\n", part(0), part(1), part(2));
        for (index, name) in (3..).zip(NAMES) {
            let _ = write!(text, "{name}{}\r\n", part(index));
        }
        let body = part(FIELDS.len() - 1);
        let _ = write!(text, "{}: {}\r\n\r\n{body}", part(FIELDS.len() - 2), body.len());
        text.into_bytes()
    }

    fn bite(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let lines = |bytes: &[u8]| -> Vec<Vec<u8>> {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.split("\r\n").map(|line| line.as_bytes().to_vec()).collect()
        };
        let at = self.below(bytes.len());
        match self.below(6) {
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
            _ => {
                let mut lines = lines(&bytes);
                lines.remove(self.below(lines.len()));
                bytes = lines.join(&b"\r\n"[..]);
            }
        }
        bytes
    }

    fn anomaly(&mut self) -> String {
        let long = 1 << (5 + self.below(11));
        match self.below(ANOMALIES.len() + 5) {
            0 => "A".repeat(long),
            1 => "%41".repeat(long / 3),
            2 => format!("\"{}\"", "\\".repeat(long | 1)),
            3 => "a,".repeat(long / 2),
            4 => ";a=b".repeat(long / 4),
            other => ANOMALIES[other - 5].to_owned(),
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.entropy.next_u64() % limit.max(1) as u64).unwrap_or_default()
    }
}

/// No datagram is longer.
const LONGEST: usize = 60_000;
const METHODS: [&str; 13] = [
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
];
/// What stands before each field but the first three and the last two.
const NAMES: [&str; 8] = [
    "Via: ",
    "From: ",
    "To: ",
    "Call-ID: ",
    "CSeq: ",
    "Max-Forwards: ",
    "Contact: ",
    "Content-Type: ",
];
const FIELDS: [&str; 13] = [
    "{m}",
    "sip:bob@sip.example.com",
    "SIP/2.0",
    "SIP/2.0/UDP nonsense.invalid;branch=z9hG4bKn{n};rport",
    "\"Alice\" <sip:al@sip.example.com>;tag=n{n}",
    "<sip:bob@sip.example.com>",
    "n{n}",
    "1 {m}",
    "70",
    "<sip:al@nonsense.invalid>",
    "application/sdp",
    "Content-Length",
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0\r\n",
];
const ANOMALIES: [&str; 72] = [
    "",
    " ",
    "\t",
    "\0",
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\r\n X",
    "\r\nX-More: 1",
    "\r\nl: 0",
    "\r\nContent-Length: 9999",
    "\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx",
    "\r\nFrom: <sip:x@y>;tag=1",
    "\r\nCall-ID: second",
    "\r\nCSeq: 2 INVITE",
    "\r\nRequire: a,b,c",
    "\r\nAuthorization: Digest",
    "\r\nAuthorization: Digest username=\"al\", realm=\"sip.example.com\"",
    "\r\nProxy-Authorization: Digest username=\"a\\\"",
    "\r\nRoute: <sip:127.0.0.1:6379;lr;transport=tcp>",
    "\r\nCall-Info: <xmpp:ceo@example.com>;purpose=impp",
    "\r\nReplaces: a;to-tag=b;from-tag=c",
    "\r\nSession-Expires: 0",
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
    "[]",
    "'",
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
    "+1",
    "4294967296",
    "18446744073709551616",
    "NaN",
    "*",
    "sip:",
    "sip:@",
    "sip:a@[::1",
    "sip:a@b:0",
    "sip:a@b:65536",
    "sip:a@b?Route=%3Csip:127.0.0.1%3E",
    "tel:+",
    "urn:",
    "sip:a@-.-",
];
