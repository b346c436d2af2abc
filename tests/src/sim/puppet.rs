//! One end of a call that says exactly what a test wants, when it wants it: for orders of messages that no phone of ours
//! would choose.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use cusax_common::core::sip::typed::{CSeq, CallId, Contact, From, RSeq, To, Via};
use cusax_common::core::sip::{HeaderName, Message, Method, Request, Response, Status, Value};

use super::hand::{Hand, Heard};
use super::{DOMAIN, World};

/// One end of one dialog.
#[derive(Debug)]
pub struct Puppet {
    hand: Hand,
    /// Messages before this one were heard.
    heard: usize,
    /// What began the dialog: theirs or ours.
    pub invite: Option<Request>,
    /// Whether ours did.
    calling: bool,
    /// Our tag, where we are called.
    pub tag: String,
    sequence: u32,
}

/// A header line of a test.
pub type Line<'a> = (&'a str, &'a str);

impl Puppet {
    /// The user of this name at this address; nobody knows of them yet.
    pub fn new(world: &mut World, address: SocketAddr, name: &str) -> Self {
        Self {
            hand: Hand::new(world, address, name),
            heard: world.wire.get_or_insert_default().len(),
            invite: None,
            calling: false,
            tag: format!("{name}-tag"),
            sequence: 100,
        }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.hand.address
    }

    /// Registers.
    pub fn register(&mut self, world: &mut World) {
        self.register_with(world, "");
    }

    /// Registers with parameters of its Contact, such as `;q=0.5`.
    pub fn register_with(&mut self, world: &mut World, params: &str) {
        let contact = format!("<sip:{}>{params}", self.address());
        let text = self.hand.register().with("Contact", &contact);
        let answers = self.hand.prove(world, &text);
        assert_eq!(answers.first().and_then(Heard::code), Some(200), "{answers:?}");
        self.heard = world.wire.get_or_insert_default().len();
    }

    /// Calls somebody, with these lines and this description (none if empty); what comes back is [heard](Self::hear).
    pub fn call(&mut self, world: &mut World, uri: &str, lines: &[Line<'_>], sdp: &str) {
        let mut text = self.hand.text("INVITE", uri);
        for (name, value) in lines {
            text = text.with(name, value);
        }
        if !sdp.is_empty() {
            text = text.carrying("application/sdp", sdp.to_owned());
        }
        self.heard = world.wire.get_or_insert_default().len();
        self.hand.prove(world, &text);
        let server = world.address();
        let said = world.said(self.address(), server);
        let last = said
            .iter()
            .rfind(|text| text.starts_with("INVITE "))
            .expect("it was sent");
        self.invite = Some(request(last));
        self.calling = true;
    }

    /// What came since it was last listened to, each message once, after so long.
    pub fn hear(&mut self, world: &mut World, time: Duration) -> Vec<Message> {
        world.run(time);
        let wire = world.wire.get_or_insert_default();
        let mut seen: Vec<Bytes> = Vec::new();
        for (_, to, bytes) in wire.iter().skip(self.heard) {
            if *to == self.hand.address && !seen.contains(bytes) {
                seen.push(bytes.clone());
            }
        }
        self.heard = wire.len();
        let messages: Vec<Message> = seen
            .into_iter()
            .filter_map(|bytes| Message::parse(bytes).ok())
            .collect();
        for message in &messages {
            if let Message::Request(request) = message
                && request.method == Method::Invite
                && !self.calling
                && self.invite.is_none()
            {
                self.invite = Some(request.clone());
            }
        }
        messages
    }

    /// The requests of a method among what comes within a moment.
    pub fn asked(&mut self, world: &mut World, method: &Method) -> Vec<Request> {
        let heard = self.hear(world, MOMENT);
        heard
            .into_iter()
            .filter_map(|message| match message {
                Message::Request(request) if request.method == *method => Some(request),
                _ => None,
            })
            .collect()
    }

    /// The responses but 100 to a method among what comes within a moment.
    pub fn told(&mut self, world: &mut World, method: &Method) -> Vec<Response> {
        self.told_in(world, MOMENT, method)
    }

    /// The same within any time.
    pub fn told_in(&mut self, world: &mut World, time: Duration, method: &Method) -> Vec<Response> {
        let heard = self.hear(world, time);
        let ours = self
            .invite
            .as_ref()
            .and_then(|invite| invite.headers.one::<CallId>().ok());
        heard
            .into_iter()
            .filter_map(|message| match message {
                Message::Response(response)
                    if response.status != Status::TRYING
                        && response.headers.one::<CallId>().ok() == ours
                        && response.headers.one::<CSeq>().is_ok_and(|cseq| cseq.method == *method) =>
                {
                    Some(response)
                }
                _ => None,
            })
            .collect()
    }

    /// Answers the INVITE that came, under the tag that it has now.
    pub fn answer(&self, world: &mut World, code: u16, lines: &[Line<'_>], sdp: &str) {
        let invite = self.invite.clone().expect("somebody called");
        self.respond(world, &invite, code, lines, sdp);
    }

    /// Answers any request.
    pub fn respond(&self, world: &mut World, request: &Request, code: u16, lines: &[Line<'_>], sdp: &str) {
        let mut response = request.response(Status::new(code).expect("a status"));
        if !self.tag.is_empty() && request.headers.to().is_ok_and(|to| to.tag().is_none()) {
            let mut to: To = request.headers.one().expect("a To");
            to.set_tag(&self.tag);
            response.headers.replace(&to);
        }
        let contact = format!("<sip:{}>", self.address());
        response
            .headers
            .push(HeaderName::CONTACT, Value::new(contact).expect("a Contact"));
        for (name, value) in lines {
            let value = Value::new((*value).to_owned()).expect("a value");
            response.headers.push(name.parse().expect("a name"), value);
        }
        describe(&mut response.headers, &mut response.body, sdp);
        world.inject(self.address(), response.to_bytes());
    }

    /// A request within the dialog that `met` made: a response to our INVITE, or nothing where we were called.
    pub fn request(
        &mut self,
        world: &mut World,
        method: Method,
        met: Option<&Response>,
        lines: &[Line<'_>],
        sdp: &str,
    ) -> Request {
        self.sequence += 1;
        let sequence = self.sequence;
        self.numbered(world, method, sequence, met, lines, sdp)
    }

    /// The same with a number of one's own, as an ACK has it.
    pub fn numbered(
        &mut self,
        world: &mut World,
        method: Method,
        sequence: u32,
        met: Option<&Response>,
        lines: &[Line<'_>],
        sdp: &str,
    ) -> Request {
        let invite = self.invite.as_ref().expect("there is a dialog");
        let (from, to, target) = match met {
            Some(met) => (
                invite.headers.one::<From>().expect("a From"),
                met.headers.one::<To>().expect("a To"),
                &met.headers,
            ),
            None => {
                let mut from = invite.headers.one::<To>().expect("a To").0;
                from.params.set("tag", Some(&self.tag));
                let to = invite.headers.one::<From>().expect("a From").0;
                (From(from), To(to), &invite.headers)
            }
        };
        let Contact(target) = target.one::<Contact>().expect("a Contact");
        let mut request = Request::new(method.clone(), target.uri);
        let via = format!(
            "SIP/2.0/UDP {};branch=z9hG4bKp{}x{sequence}{method}",
            self.address(),
            self.heard
        );
        let via = Value::new(via).expect("a Via");
        request.headers.push(HeaderName::VIA, via);
        request.headers.push(HeaderName::MAX_FORWARDS, Value::of_static("70"));
        request.headers.put(&from);
        request.headers.put(&to);
        request.headers.put(&invite.headers.one::<CallId>().expect("a Call-ID"));
        request.headers.put(&CSeq::new(sequence, method));
        let contact = Value::new(format!("<sip:{}>", self.address())).expect("a Contact");
        request.headers.push(HeaderName::CONTACT, contact);
        for (name, value) in lines {
            let value = Value::new((*value).to_owned()).expect("a value");
            request.headers.push(name.parse().expect("a name"), value);
        }
        describe(&mut request.headers, &mut request.body, sdp);
        assert!(request.headers.first::<Via>().is_ok());
        world.inject(self.address(), request.to_bytes());
        request
    }

    /// Acknowledges a 2xx to the INVITE that we sent, or to the re-INVITE of this number.
    pub fn acknowledge(&mut self, world: &mut World, met: &Response, sdp: &str) {
        let number = met.headers.one::<CSeq>().expect("a CSeq").seq;
        self.numbered(world, Method::Ack, number, Some(met), &[], sdp);
    }

    /// Acknowledges a reliable response; what comes back is [told](Self::told).
    pub fn prack(&mut self, world: &mut World, met: &Response, sdp: &str) {
        let RSeq(rseq) = met.headers.one().expect("an RSeq");
        let number = met.headers.one::<CSeq>().expect("a CSeq").seq;
        let rack = format!("{rseq} {number} INVITE");
        self.request(world, Method::Prack, Some(met), &[("RAck", &rack)], sdp);
    }
}

fn describe(headers: &mut cusax_common::core::sip::Headers, body: &mut Bytes, sdp: &str) {
    if !sdp.is_empty() {
        headers.push(HeaderName::CONTENT_TYPE, Value::of_static("application/sdp"));
        *body = Bytes::from(sdp.to_owned());
    }
}

fn request(text: &str) -> Request {
    match Message::parse(Bytes::from(text.to_owned())) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

/// The description of somebody at an address who speaks by this codec (`0`, or `8`), for the nth time.
#[must_use]
pub fn sdp(address: SocketAddr, version: u32, codec: u8) -> String {
    let ip = address.ip();
    format!("v=0\r\no=- 7 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 4000 RTP/AVP {codec}\r\n")
}

/// A name of the scene as it is dialled.
#[must_use]
pub fn dialled(name: &str) -> String {
    format!("sip:{name}.phone@{DOMAIN}")
}

/// Long enough for messages to come and go, too short for any to be sent again.
const MOMENT: Duration = Duration::from_millis(300);
