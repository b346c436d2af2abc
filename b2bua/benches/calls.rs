//! What a call costs the endpoint alone: INVITE with a proof, 180, 200, ACK, BYE, 200, without sockets, stores and relay.
//!
//! For instructions instead of time:
//! `valgrind --tool=callgrind --toggle-collect='*scene::hand_over*' target/release/deps/calls-… --test`.

mod scene;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use cusax_common::core::sip::typed::{Challenge, Contact, ProxyAuthenticate};
use cusax_common::core::sip::{HeaderName, Message, Method, Request, Response, Status, Value};

use scene::{DOMAIN, PHONES, REMEMBERED, Scene, Sent, address, number};

/// Calls in a second of simulated time.
const RATE: u32 = 1000;
/// The first half of the phones calls the other half.
const CALLERS: usize = PHONES / 2;
/// Calls of one caller before it is given another nonce, which is as long as one is good.
const PROOFS: u32 = 20;

const SDP: &str = "v=0\r\no=phone 3890000000 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
    m=audio 40000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n";

fn calls(criterion: &mut Criterion) {
    let mut exchange = Exchange::new();
    // As it is in the middle of a long day.
    for _ in 0..REMEMBERED.as_secs() as u32 * RATE {
        exchange.call();
    }
    criterion.bench_function("call", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| exchange.call()).sum());
    });
}

/// Phones that call one another.
struct Exchange {
    scene: Scene,
    /// What each caller was asked to prove, and how often it has.
    nonces: Vec<Option<(Challenge, u32)>>,
    done: usize,
}

impl Exchange {
    fn new() -> Self {
        let mut scene = Scene::new();
        for phone in CALLERS..PHONES {
            scene.pass(Duration::from_secs(1) / RATE);
            scene.register(phone, 1);
        }
        Self {
            scene,
            nonces: vec![None; CALLERS],
            done: 0,
        }
    }

    /// One call; tells how long the endpoint took for it.
    fn call(&mut self) -> Duration {
        let call = Call {
            number: self.done,
            caller: self.done % CALLERS,
            callee: CALLERS + self.done % CALLERS,
        };
        self.done += 1;
        self.scene.pass(Duration::from_secs(1) / RATE);
        if self.nonces[call.caller]
            .as_ref()
            .is_none_or(|(_, count)| *count == PROOFS)
        {
            let refused = self.scene.say(call.caller, call.invite(1, "").as_bytes());
            let challenge = response(&refused, call.caller, 407);
            let list = challenge.headers.list::<ProxyAuthenticate>().expect("challenges");
            self.nonces[call.caller] = list.first().map(|one| (one.0.clone(), 0));
            self.scene
                .say(call.caller, call.within(&challenge, &call.uri(), "ACK", 1).as_bytes());
            self.scene.take_spent();
        }
        let (challenge, count) = self.nonces[call.caller].as_mut().expect("a nonce");
        *count += 1;
        let proof = self.scene.proof(call.caller, challenge, *count, "INVITE", &call.uri());
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
        let ended = self
            .scene
            .say(call.caller, call.within(&ok, &target, "BYE", 3).as_bytes());
        response(&ended, call.caller, 200);
        let bye = request(&ended, call.callee, &Method::Bye);
        self.scene.say(call.callee, &bye.response(Status::OK).to_bytes());
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

criterion_group!(benches, calls);
criterion_main!(benches);
