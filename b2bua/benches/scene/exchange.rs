//! Phones that call one another: what a call is made of, step by step.

use std::time::Duration;

use cusax_b2bua::core::auth::NONCE_LIFE;
use cusax_common::core::sip::typed::{Challenge, Contact, ProxyAuthenticate};
use cusax_common::core::sip::{HeaderName, Message, Method, Request, Response, Status, Value};

use super::{DOMAIN, PHONES, Scene, Sent, address, number};

/// Phones that call one another.
pub struct Exchange {
    /// The endpoint and its users.
    pub scene: Scene,
    /// The time from one call to the next.
    pause: Duration,
    nonces: Vec<Option<Nonce>>,
    done: usize,
}

/// What a caller was asked to prove, when, and how often it has.
struct Nonce {
    challenge: Challenge,
    came: Duration,
    count: u32,
}

/// A call that was answered and acknowledged.
pub struct Up {
    call: Call,
    /// By which its caller ends it.
    pub bye: String,
}

impl Exchange {
    /// All callees are registered; calls come one after the other in this time.
    pub fn new(pause: Duration) -> Self {
        let mut scene = Scene::new();
        for phone in CALLERS..PHONES {
            scene.pass(pause);
            scene.register(phone, 1);
        }
        Self {
            scene,
            pause,
            nonces: (0..CALLERS).map(|_| None).collect(),
            done: 0,
        }
    }

    /// INVITE with a proof, 180, 200, ACK.
    pub fn begin(&mut self) -> Up {
        let call = Call {
            number: self.done,
            caller: self.done % CALLERS,
            callee: CALLERS + self.done % CALLERS,
        };
        self.done += 1;
        self.scene.pass(self.pause);
        let good = |nonce: &Nonce| nonce.count < PROOFS && self.scene.passed() < nonce.came + NONCE_LIFE;
        if !self.nonces[call.caller].as_ref().is_some_and(good) {
            self.challenge(call);
        }
        let nonce = self.nonces[call.caller].as_mut().expect("a nonce");
        nonce.count += 1;
        let (challenge, count) = (&nonce.challenge, nonce.count);
        let proof = self.scene.proof(call.caller, challenge, count, "INVITE", &call.uri());
        let proof = format!("Proxy-Authorization: {proof}\r\n");
        let sent = self.scene.say(call.caller, call.invite(2, &proof).as_bytes());
        let invite = request(&sent, call.callee, &Method::Invite).clone();
        let ringing = self.scene.say(call.callee, &call.answer(&invite, Status::RINGING));
        response(&ringing, call.caller, 180);
        let answered = self.scene.say(call.callee, &call.answer(&invite, Status::OK));
        request(&answered, call.callee, &Method::Ack);
        let ok = response(&answered, call.caller, 200);
        let target = ok.headers.one::<Contact>().expect("a contact").0.uri.to_string();
        self.scene
            .say(call.caller, call.within(&ok, &target, "ACK", 2).as_bytes());
        let bye = call.within(&ok, &target, "BYE", 3);
        Up { call, bye }
    }

    /// Lets so many callers be asked for a proof before they call.
    pub fn challenge_all(&mut self, callers: usize) {
        for caller in 0..callers {
            self.challenge(Call {
                number: caller,
                caller,
                callee: CALLERS + caller,
            });
        }
    }

    /// INVITE without a proof, 407, ACK.
    fn challenge(&mut self, call: Call) {
        let refused = self.scene.say(call.caller, call.invite(1, "").as_bytes());
        let challenge = response(&refused, call.caller, 407);
        let list = challenge.headers.list::<ProxyAuthenticate>().expect("challenges");
        self.nonces[call.caller] = list.into_iter().next().map(|one| Nonce {
            challenge: one.0,
            came: self.scene.passed(),
            count: 0,
        });
        self.scene
            .say(call.caller, call.within(&challenge, &call.uri(), "ACK", 1).as_bytes());
        self.scene.take_spent();
    }

    /// BYE, 200.
    pub fn end(&mut self, up: &Up) {
        let Up { call, bye } = up;
        let ended = self.scene.say(call.caller, bye.as_bytes());
        response(&ended, call.caller, 200);
        let bye = request(&ended, call.callee, &Method::Bye);
        self.scene.say(call.callee, &bye.response(Status::OK).to_bytes());
    }

    /// One call; tells how long the endpoint took for it.
    pub fn call(&mut self) -> Duration {
        let up = self.begin();
        self.end(&up);
        self.scene.take_spent()
    }
}

#[derive(Clone, Copy)]
struct Call {
    number: usize,
    caller: usize,
    callee: usize,
}

impl Call {
    fn uri(self) -> String {
        format!("sip:{}@{DOMAIN};user=phone", number(self.callee))
    }

    fn invite(self, sequence: u32, proof: &str) -> String {
        let (uri, remote, phone, call) = (self.uri(), address(self.caller), self.caller, self.number);
        format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {remote};branch=z9hG4bK{call}x{sequence};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{phone}@{DOMAIN}>;tag=a{call}\r\nTo: <{uri}>\r\n\
             Call-ID: {call}@phone.example\r\nCSeq: {sequence} INVITE\r\nContact: <sip:{phone}@{remote}>\r\n\
             Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE\r\nSupported: replaces\r\n\
             User-Agent: Phone 1.0\r\n{proof}Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{SDP}",
            length = SDP.len(),
        )
    }

    fn within(self, response: &Response, target: &str, method: &str, sequence: u32) -> String {
        let (remote, phone, call) = (address(self.caller), self.caller, self.number);
        let to = response
            .headers
            .get(&HeaderName::TO)
            .expect("To")
            .to_text()
            .into_owned();
        // That for a 2xx is a transaction of its own.
        let branch = if sequence == 1 { "x1" } else { method };
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {remote};branch=z9hG4bK{call}{branch};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{phone}@{DOMAIN}>;tag=a{call}\r\nTo: {to}\r\n\
             Call-ID: {call}@phone.example\r\nCSeq: {sequence} {method}\r\nContent-Length: 0\r\n\r\n"
        )
    }

    fn answer(self, invite: &Request, status: Status) -> Vec<u8> {
        let mut response = invite.response(status);
        response.set_tag(&format!("b{}", self.number));
        let contact = format!("<sip:{}@{}>", self.callee, address(self.callee));
        response.headers.push(HeaderName::CONTACT, Value::cleaned(&contact));
        if status.is_success() {
            let kind = Value::of_static("application/sdp");
            response.headers.push(HeaderName::CONTENT_TYPE, kind);
            response.body = SDP.into();
        }
        response.to_bytes().to_vec()
    }
}

fn request<'a>(sent: &'a [Sent], phone: usize, method: &Method) -> &'a Request {
    let found = sent.iter().find_map(|(to, message)| match message {
        Message::Request(request) if *to == address(phone) && request.method == *method => Some(request),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no {method:?} among {sent:?}"))
}

fn response(sent: &[Sent], phone: usize, status: u16) -> Response {
    let found = sent.iter().find_map(|(to, message)| match message {
        Message::Response(response) if *to == address(phone) && response.status.code() == status => Some(response),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no {status} among {sent:?}")).clone()
}

const SDP: &str = "v=0\r\no=phone 3890000000 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
    m=audio 40000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n";
/// The first half of the phones calls the other half.
const CALLERS: usize = PHONES / 2;
/// Calls of one caller before it is given another nonce.
const PROOFS: u32 = 20;
