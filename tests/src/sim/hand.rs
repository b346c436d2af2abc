//! Somebody who has an account and writes every message by hand, so that it may be as odd as one likes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use cusax_common::core::sip::typed::{
    Authorization, Credentials, DigestProof, ProxyAuthenticate, ProxyAuthorization, WwwAuthenticate,
};
use cusax_common::core::sip::{Message, Request, Response, TypedHeader, digest};

use super::{DOMAIN, SECOND, World};

/// A message in lines.
#[derive(Clone, Debug)]
pub struct Text {
    /// The first line.
    pub start: String,
    /// The headers; `Content-Length` is written behind them unless it is one of them.
    pub lines: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Text {
    /// The first line of this name says this.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        match self.lines.iter_mut().find(|(found, _)| found == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.lines.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// One more line, in front of all others.
    #[must_use]
    pub fn before(mut self, name: &str, value: &str) -> Self {
        self.lines.insert(0, (name.to_owned(), value.to_owned()));
        self
    }

    /// One more line, behind all others.
    #[must_use]
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.lines.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another body, with its type.
    #[must_use]
    pub fn carrying(mut self, kind: &str, body: String) -> Self {
        self.body = body;
        self.with("Content-Type", kind)
    }

    /// As it is sent.
    #[must_use]
    pub fn written(&self) -> String {
        let lines: String = self
            .lines
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let length = match self.lines.iter().any(|(name, _)| name == "Content-Length") {
            true => String::new(),
            false => format!("Content-Length: {}\r\n", self.body.len()),
        };
        format!("{}\r\n{lines}{length}\r\n{}", self.start, self.body)
    }
}

/// A user of the scene without a phone.
#[derive(Debug)]
pub struct Hand {
    /// Where they are.
    pub address: SocketAddr,
    name: String,
    number: u32,
    heard: usize,
    /// What marks answers to what was said last.
    branch: String,
}

/// Something that came back: answers to what was said last, each once, and requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard(pub Bytes);

impl Heard {
    /// The status code, if it is an answer. An answer to what says something twice may do so itself, and is no message.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        let text = String::from_utf8_lossy(&self.0);
        text.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The response, if it is one.
    #[must_use]
    pub fn response(&self) -> Option<Response> {
        match Message::parse(self.0.clone()) {
            Ok(Message::Response(response)) => Some(response),
            _ => None,
        }
    }

    /// The request, if it is one.
    #[must_use]
    pub fn request(&self) -> Option<Request> {
        match Message::parse(self.0.clone()) {
            Ok(Message::Request(request)) => Some(request),
            _ => None,
        }
    }
}

impl Hand {
    /// The user of this name at this address. What is on the wire is kept from now on.
    pub fn new(world: &mut World, address: SocketAddr, name: &str) -> Self {
        let heard = world.wire.get_or_insert_default().len();
        Self {
            address,
            name: name.to_owned(),
            number: 0,
            heard,
            branch: String::new(),
        }
    }

    /// A request like any other, the next one of its own dialog.
    pub fn text(&mut self, method: &str, uri: &str) -> Text {
        self.number += 1;
        let (number, Self { name, address, .. }) = (self.number, self);
        let aor = format!("<sip:{name}.phone@{DOMAIN}>");
        let to = if method == "REGISTER" {
            aor.clone()
        } else {
            format!("<{uri}>")
        };
        let lines = [
            ("Via", format!("SIP/2.0/UDP {address};branch=z9hG4bK{number};rport")),
            ("Max-Forwards", "70".to_owned()),
            ("From", format!("{aor};tag=f{number}")),
            ("To", to),
            ("Call-ID", format!("{name}{number}@{address}")),
            ("CSeq", format!("{number} {method}")),
            ("Contact", format!("<sip:{name}@{address}>")),
            (
                "User-Agent",
                "A pen and some paper, which may be of any length".to_owned(),
            ),
        ];
        Text {
            start: format!("{method} {uri} SIP/2.0"),
            lines: lines.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            body: String::new(),
        }
    }

    /// A REGISTER.
    pub fn register(&mut self) -> Text {
        self.text("REGISTER", &format!("sip:{DOMAIN}"))
    }

    /// An INVITE that offers a session.
    pub fn invite(&mut self, uri: &str) -> Text {
        let ip = self.address.ip();
        let offer =
            format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n");
        self.text("INVITE", uri).carrying("application/sdp", offer)
    }

    /// Sends it as it stands, and gives what comes back within a second.
    pub fn say(&mut self, world: &mut World, text: &Text) -> Vec<Heard> {
        let via = text.lines.iter().find(|(name, _)| name == "Via");
        let branch = via.and_then(|(_, via)| via.split("branch=").nth(1)).unwrap_or_default();
        branch
            .split(';')
            .next()
            .unwrap_or_default()
            .clone_into(&mut self.branch);
        world.inject(self.address, text.written());
        self.hear(world, SECOND)
    }

    /// What came since somebody listened last, after so long.
    pub fn hear(&mut self, world: &mut World, time: Duration) -> Vec<Heard> {
        world.run(time);
        let wire = world.wire.get_or_insert_default();
        let mut heard: Vec<Heard> = Vec::new();
        for (_, to, bytes) in wire.iter().skip(self.heard) {
            let one = Heard(bytes.clone());
            let mark = format!("branch={}", self.branch);
            let meant = one.code().is_none() || String::from_utf8_lossy(bytes).contains(&mark);
            if *to == self.address && meant && !heard.contains(&one) {
                heard.push(one);
            }
        }
        self.heard = wire.len();
        heard
    }

    /// Sends it with a proof of who they are: what is asked for is had by a plain request with the same first line. If
    /// that is refused otherwise, this is the answer.
    pub fn prove(&mut self, world: &mut World, text: &Text) -> Vec<Heard> {
        let mut parts = text.start.split(' ');
        let (method, uri) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let mut plain = self.text(method, uri);
        plain.start.clone_from(&text.start);
        let answers = self.say(world, &plain);
        let challenged = answers.first().and_then(Heard::response);
        let login = format!("{}.phone", self.name);
        let password = format!("{}-secret", self.name);
        let Some(line) = challenged.and_then(|challenged| proof(&challenged, &login, &password, method, uri)) else {
            return answers;
        };
        let mut proved = text.clone();
        proved.lines.push(line);
        self.say(world, &proved)
    }
}

/// The header line that answers a challenge, if there is one.
#[must_use]
pub fn proof(
    challenged: &Response,
    username: &str,
    password: &str,
    method: &str,
    uri: &str,
) -> Option<(String, String)> {
    let headers = &challenged.headers;
    let (challenge, proxy) = match headers.list::<WwwAuthenticate>().ok()?.into_iter().next() {
        Some(WwwAuthenticate(challenge)) => (challenge, false),
        None => (headers.list::<ProxyAuthenticate>().ok()?.into_iter().next()?.0, true),
    };
    let (realm, nonce, algorithm) = (challenge.realm()?, challenge.nonce()?, challenge.algorithm()?);
    let ha1 = digest::ha1(algorithm, username, realm, password);
    let response = digest::response(algorithm, &ha1, nonce, "00000001", "c", Some("auth"), method, uri);
    let credentials = Credentials::digest(&DigestProof {
        username,
        realm,
        nonce,
        uri,
        response: &response,
        algorithm,
        opaque: challenge.opaque(),
        auth: Some(("c", 1)),
    });
    let mut value = String::new();
    Some(if proxy {
        ProxyAuthorization(credentials).write(&mut value);
        ("Proxy-Authorization".to_owned(), value)
    } else {
        Authorization(credentials).write(&mut value);
        ("Authorization".to_owned(), value)
    })
}

/// The codes of the responses.
#[must_use]
pub fn codes(heard: &[Heard]) -> Vec<u16> {
    heard.iter().filter_map(Heard::code).collect()
}
