//! The table under simulated time: each test is a short story between us and one or two peers.

#![expect(clippy::disallowed_methods, reason = "an arbitrary origin of simulated time")]

use std::time::Duration;

use cusax_common::core::sip::typed::{CSeq, Via};

use super::super::key::MAX_TOKEN;
use super::*;
use crate::core::flow::{Identity, ListenerId, Transport};

#[path = "table_key_tests.rs"]
mod keys;
#[path = "table_matrix_tests.rs"]
mod matrix;
#[path = "table_random_tests.rs"]
mod random;
#[path = "table_room_tests.rs"]
mod room;

fn flow(transport: Transport, remote: &str) -> Flow {
    Flow {
        listener: ListenerId(0),
        transport,
        remote: remote.parse().unwrap(),
        identity: Identity::NONE,
    }
}

fn udp() -> Flow {
    flow(Transport::Udp, "192.0.2.7:5070")
}

/// A request as a peer sends it: `method branch from_tag to_tag cseq`.
fn request(method: &str, branch: &str, to_tag: &str, cseq: u32) -> Request {
    let to_tag = if to_tag.is_empty() {
        String::new()
    } else {
        format!(";tag={to_tag}")
    };
    let text = format!(
        "{method} sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5070;rport;branch={branch}\r\n\
         Max-Forwards: 70\r\nRoute: <sip:out.example.com;lr>\r\nFrom: <sip:alice@example.com>;tag=a\r\n\
         To: <sip:bob@example.com>{to_tag}\r\nCall-ID: call\r\nCSeq: {cseq} {}\r\nContent-Length: 0\r\n\r\n",
        if method == "ACK" && to_tag.is_empty() {
            "ACK"
        } else {
            method
        },
    );
    match Message::parse(Bytes::from(text)) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn reply(request: &Request, code: u16, tag: &str) -> Response {
    let mut response = request.response(Status::new(code).unwrap());
    let mut to = response.headers.to().unwrap();
    to.set_tag(tag);
    response.headers.replace(&to);
    response
}

struct World {
    table: Transactions,
    epoch: Instant,
    now: Instant,
    /// (milliseconds, what)
    seen: Vec<(u64, String)>,
    server: Option<ServerId>,
    client: Option<ClientId>,
    sent: Vec<(Flow, Message)>,
}

impl World {
    fn new() -> Self {
        Self::limited(Limits::default())
    }

    fn limited(limits: Limits) -> Self {
        let epoch = Instant::now();
        Self {
            table: Transactions::new(limits, &[7; 32]),
            epoch,
            now: epoch,
            seen: Vec::new(),
            server: None,
            client: None,
            sent: Vec::new(),
        }
    }

    fn take(&mut self, flow: Flow, message: impl Into<Message>) {
        self.table.handle_message(self.now, flow, message.into());
        self.drain();
    }

    fn send(&mut self, flow: Flow, request: Request) -> ClientId {
        let id = self.table.send(self.now, flow, request);
        self.client = Some(id);
        self.drain();
        id
    }

    fn respond(&mut self, response: &Response) -> Result<(), Late> {
        let result = self
            .table
            .respond(self.now, self.server.expect("a request came"), response);
        self.drain();
        result
    }

    fn drain(&mut self) {
        let ms = (self.now - self.epoch).as_millis() as u64;
        while let Some(output) = self.table.poll_output() {
            let what = match output {
                Output::Transmit { flow, bytes } | Output::Reply { flow, bytes } | Output::TurnAway { flow, bytes } => {
                    let message = Message::parse(bytes).expect("what we send can be read");
                    let what = match &message {
                        Message::Request(request) => format!("send {}", request.method),
                        Message::Response(response) => {
                            format!("send {} {}", response.status, response.cseq().unwrap().method)
                        }
                    };
                    self.sent.push((flow, message));
                    what
                }
                Output::Request { server, request, .. } => {
                    self.server = Some(server);
                    format!("request {}", request.method)
                }
                Output::Ack { invite, .. } => format!("ack {}", if invite.is_some() { "ours" } else { "stray" }),
                Output::Cancelled { .. } => "cancelled".into(),
                Output::Response { response, .. } => format!("response {}", response.status),
                Output::Failed { why, .. } => format!("failed {why:?}"),
                Output::Unacknowledged { .. } => "unacknowledged".into(),
                Output::Ended { .. } => "ended".into(),
                Output::Refused { why, .. } => format!("refused {}", why.status()),
            };
            self.seen.push((ms, what));
        }
        assert!(self.table.is_sound(), "{:?}", self.table);
    }

    /// Lets time pass, waking at each deadline.
    fn until(&mut self, ms: u64) {
        let end = self.epoch + Duration::from_millis(ms);
        while let Some(at) = self.table.poll_timeout().filter(|&at| at <= end) {
            self.now = at;
            self.table.handle_timeout(at);
            self.drain();
            let next = self.table.poll_timeout();
            assert!(next.is_none_or(|next| next > at), "a timer that was due stays armed");
        }
        self.now = end;
    }

    fn expect(&mut self, name: &str, rows: &[(u64, &str)]) {
        let seen: Vec<_> = self.seen.iter().map(|(ms, what)| (*ms, what.as_str())).collect();
        assert_eq!(seen, rows, "{name}");
        self.seen.clear();
    }

    fn last_request(&self) -> Request {
        self.sent
            .iter()
            .rev()
            .find_map(|(_, message)| match message {
                Message::Request(request) => Some(request.clone()),
                Message::Response(_) => None,
            })
            .expect("a request was sent")
    }

    fn last_response(&self) -> (Flow, Response) {
        self.sent
            .iter()
            .rev()
            .find_map(|(flow, message)| match message {
                Message::Response(response) => Some((*flow, response.clone())),
                Message::Request(_) => None,
            })
            .expect("a response was sent")
    }

    /// Nothing is left of transactions that ended.
    fn assert_empty(&self) {
        let table = &self.table;
        assert_eq!(table.live(), (0, 0));
        assert!(table.client_keys.is_empty() && table.client_flows.is_empty());
        assert!(table.servers.len() == 0 && table.answered.is_empty() && table.deadlines.is_empty());
    }
}

#[test]
fn an_invite_is_answered_repeated_and_acknowledged() {
    let mut world = World::new();
    let invite = request("INVITE", "z9hG4bK1", "", 1);
    world.take(udp(), invite.clone());
    world.take(udp(), invite.clone());
    world.expect("a copy is absorbed, nothing is sent unasked", &[(0, "request INVITE")]);
    assert_eq!(world.table.counters().copies, 1);

    let stamped = invite.clone();
    world.respond(&reply(&stamped, 180, "b")).unwrap();
    world.until(100);
    world.take(udp(), invite.clone());
    world.respond(&reply(&stamped, 200, "b")).unwrap();
    world.until(700);
    world.take(udp(), invite);
    world.expect(
        "a copy brings the 180 again; the 200 goes out again by T1, not by copies",
        &[
            (0, "send 180 INVITE"),
            (100, "send 180 INVITE"),
            (100, "send 200 INVITE"),
            (600, "send 200 INVITE"),
        ],
    );
    assert_eq!(world.table.answered.len(), 1);
    world.take(udp(), request("ACK", "z9hG4bK2", "b", 1));
    world.until(5000);
    world.take(udp(), request("ACK", "z9hG4bK2", "b", 1));
    world.until(40_000);
    world.expect(
        "every ACK is handed on; the first stops the copies; timer L ends it",
        &[(700, "ack ours"), (5000, "ack ours"), (32_100, "ended")],
    );
    world.take(udp(), request("ACK", "z9hG4bK2", "b", 1));
    world.expect("afterwards the ACK belongs to nothing", &[(40_000, "ack stray")]);
    let counters = world.table.counters();
    assert_eq!(
        (counters.copies, counters.retransmitted, counters.stray_acks),
        (3, 1, 1),
        "what copies bring is no copy of ours"
    );
    world.assert_empty();
}

#[test]
fn a_2xx_without_ack_is_told() {
    for transport in [Transport::Udp, Transport::Tls] {
        let mut world = World::new();
        let invite = request("INVITE", "z9hG4bK1", "", 1);
        world.take(flow(transport, "192.0.2.7:5070"), invite.clone());
        world.respond(&reply(&invite, 200, "b")).unwrap();
        // Wrong tag, number and method: other dialogs, other requests.
        world.take(udp(), request("ACK", "z9hG4bK2", "c", 1));
        world.take(udp(), request("ACK", "z9hG4bK2", "b", 2));
        world.until(60_000);
        let copies = world.seen.iter().filter(|(_, what)| what == "send 200 INVITE").count();
        assert_eq!(copies, 11, "{transport}: the copies do not depend on the transport");
        assert_eq!(world.seen.iter().filter(|(_, what)| what == "ack stray").count(), 2);
        let end: Vec<_> = world
            .seen
            .iter()
            .rev()
            .take(2)
            .map(|(ms, what)| (*ms, what.as_str()))
            .collect();
        assert_eq!(end, [(32_000, "ended"), (32_000, "unacknowledged")]);
        world.assert_empty();
    }
}

#[test]
fn an_ack_that_keeps_the_branch_of_its_invite_must_belong_to_the_2xx() {
    let rows = [
        ("another tag", udp(), "c"),
        ("no tag", udp(), ""),
        ("a stranger", flow(Transport::Udp, "192.0.2.66:5070"), "b"),
        ("another way", flow(Transport::Tls, "192.0.2.7:5070"), "b"),
    ];
    for (name, came, tag) in rows {
        let mut world = World::new();
        let invite = request("INVITE", "z9hG4bK1", "", 1);
        world.take(udp(), invite.clone());
        world.respond(&reply(&invite, 200, "b")).unwrap();
        world.take(came, request("ACK", "z9hG4bK1", tag, 1));
        world.until(600);
        world.expect(
            name,
            &[(0, "request INVITE"), (0, "send 200 INVITE"), (500, "send 200 INVITE")],
        );
        assert_eq!(world.table.counters().stray_acks, 1, "{name}");
        // Its peer, behind another port of its NAT.
        world.take(
            flow(Transport::Udp, "192.0.2.7:5071"),
            request("ACK", "z9hG4bK1", "b", 1),
        );
        world.until(60_000);
        world.expect(
            "the right one stops the copies",
            &[(600, "ack ours"), (32_000, "ended")],
        );
        assert_eq!(world.table.counters().stray_acks, 1, "{name}");
    }
}

#[test]
fn a_settled_answer_is_silent() {
    let mut world = World::new();
    let invite = request("INVITE", "z9hG4bK1", "", 1);
    world.take(udp(), invite.clone());
    world.respond(&reply(&invite, 200, "b")).unwrap();
    world.table.settle(world.server.unwrap());
    world.until(60_000);
    world.expect(
        "no copies",
        &[(0, "request INVITE"), (0, "send 200 INVITE"), (32_000, "ended")],
    );
}

#[test]
fn a_failure_is_repeated_until_its_ack() {
    let mut world = World::new();
    let invite = request("INVITE", "z9hG4bK1", "", 1);
    world.take(udp(), invite.clone());
    world.respond(&reply(&invite, 486, "b")).unwrap();
    world.until(600);
    world.take(udp(), request("ACK", "z9hG4bK1", "b", 1));
    assert_eq!(world.respond(&reply(&invite, 200, "b")), Err(Late));
    world.until(60_000);
    world.expect(
        "the ACK by branch is absorbed",
        &[
            (0, "request INVITE"),
            (0, "send 486 INVITE"),
            (500, "send 486 INVITE"),
            (5600, "ended"),
        ],
    );
    assert_eq!(world.respond(&reply(&invite, 486, "b")), Err(Late), "it is forgotten");
    world.assert_empty();
}

#[test]
fn a_challenge_is_sent_once_and_forgotten() {
    let mut world = World::new();
    let invite = request("INVITE", "z9hG4bK1", "", 1);
    for _ in 0..2 {
        world.take(udp(), invite.clone());
        let response = reply(&invite, 401, &world.table.tag(&invite));
        world.table.respond_once(world.server.unwrap(), &response).unwrap();
        assert_eq!(world.table.respond_once(world.server.unwrap(), &response), Err(Late));
        world.drain();
        let (_, response) = world.last_response();
        assert_eq!(response.headers.to().unwrap().tag(), Some(&*world.table.tag(&invite)));
    }
    world.take(udp(), request("ACK", "z9hG4bK1", "b", 1));
    world.until(60_000);
    let round = [(0, "request INVITE"), (0, "send 401 INVITE"), (0, "ended")];
    world.expect(
        "one answer for each copy",
        &[&round[..], &round[..], &[(0, "ack stray")]].concat(),
    );
    world.assert_empty();
}

#[test]
fn a_request_is_answered_once_or_forgotten() {
    let mut world = World::new();
    let options = request("OPTIONS", "z9hG4bK1", "", 1);
    world.take(udp(), options.clone());
    world.respond(&reply(&options, 200, "b")).unwrap();
    let server = world.server.unwrap();
    let response = reply(&options, 401, "b");
    assert_eq!(
        world.table.respond_once(server, &response),
        Err(Late),
        "it was answered"
    );
    world.until(32_000);
    world.take(udp(), options.clone());
    world.table.respond_once(world.server.unwrap(), &response).unwrap();
    world.drain();
    world.take(udp(), options);
    world.table.forget(world.server.unwrap());
    world.drain();
    world.expect(
        "whatever is forgotten is new when it comes again",
        &[
            (0, "request OPTIONS"),
            (0, "send 200 OPTIONS"),
            (32_000, "ended"),
            (32_000, "request OPTIONS"),
            (32_000, "send 401 OPTIONS"),
            (32_000, "ended"),
            (32_000, "request OPTIONS"),
            (32_000, "ended"),
        ],
    );
    world.assert_empty();
}

#[test]
fn a_tag_of_ours_is_one_for_all_copies_and_cannot_be_guessed() {
    let table = World::new().table;
    let invite = request("INVITE", "z9hG4bK1", "", 1);
    let tag = table.tag(&invite);
    assert_eq!(tag.len(), 2 * TAG_BYTES);
    assert_eq!(table.tag(&request("INVITE", "z9hG4bK2", "", 1)), tag, "by another way");
    let mut other_caller = invite.clone();
    other_caller
        .headers
        .set(HeaderName::FROM, Value::of_static("<sip:alice@example.com>;tag=b"));
    let mut other_call = invite.clone();
    other_call.headers.set(HeaderName::CALL_ID, Value::of_static("other"));
    for (name, request) in [
        ("number", request("INVITE", "z9hG4bK1", "", 2)),
        ("caller", other_caller),
        ("call", other_call),
    ] {
        assert_ne!(table.tag(&request), tag, "another {name}");
    }
    let other = Transactions::new(Limits::default(), &[8; 32]);
    assert_ne!(other.tag(&invite), tag, "another secret");
}

#[test]
fn cancel_at_every_moment() {
    let invite = request("INVITE", "z9hG4bK1", "", 1);
    let cancel = request("CANCEL", "z9hG4bK1", "", 1);

    let mut world = World::new();
    world.take(udp(), cancel.clone());
    world.expect("before its INVITE", &[(0, "send 481 CANCEL")]);
    world.assert_empty();

    world.take(udp(), invite.clone());
    world.respond(&reply(&invite, 180, "b")).unwrap();
    let invite_id = world.server;
    world.until(50);
    world.take(udp(), cancel.clone());
    world.take(udp(), cancel.clone());
    assert_eq!(
        world.last_response().1.headers.to().unwrap().tag(),
        Some("b"),
        "one tag for both (§9.2)"
    );
    world.server = invite_id;
    world.respond(&reply(&invite, 487, "b")).unwrap();
    world.take(udp(), request("ACK", "z9hG4bK1", "b", 1));
    world.until(100_000);
    world.expect(
        "while it rings: told once, copies are answered again",
        &[
            (0, "request INVITE"),
            (0, "send 180 INVITE"),
            (50, "send 200 CANCEL"),
            (50, "cancelled"),
            (50, "send 200 CANCEL"),
            (50, "send 487 INVITE"),
            (5050, "ended"),
        ],
    );
    world.assert_empty();

    for (code, name) in [(200, "after a 2xx"), (486, "after a failure")] {
        let mut world = World::new();
        world.take(udp(), invite.clone());
        world.respond(&reply(&invite, code, "b")).unwrap();
        world.take(udp(), cancel.clone());
        let code = format!("send {code} INVITE");
        world.expect(name, &[(0, "request INVITE"), (0, &code), (0, "send 200 CANCEL")]);
        world.until(100_000);
        world.assert_empty();
    }

    let mut world = World::new();
    world.take(udp(), invite);
    world.take(flow(Transport::Udp, "192.0.2.66:5070"), cancel.clone());
    world.take(flow(Transport::Tls, "192.0.2.7:5070"), cancel);
    world.take(udp(), request("CANCEL", "z9hG4bK2", "", 1));
    let stray = (0, "send 481 CANCEL");
    world.expect(
        "from a stranger, by another way, of another branch",
        &[(0, "request INVITE"), stray, stray, stray],
    );
    assert_eq!(world.table.counters().stray_cancels, 3);
}

#[test]
fn a_cancel_is_told_once_even_where_its_transaction_ends_at_once() {
    let mut world = World::new();
    let tcp = flow(Transport::Tcp, "192.0.2.7:5070");
    world.take(tcp, request("INVITE", "z9hG4bK1", "", 1));
    world.take(tcp, request("CANCEL", "z9hG4bK1", "", 1));
    world.take(tcp, request("CANCEL", "z9hG4bK1", "", 1));
    world.expect(
        "over TCP a second CANCEL is a new request",
        &[
            (0, "request INVITE"),
            (0, "send 200 CANCEL"),
            (0, "cancelled"),
            (0, "send 200 CANCEL"),
        ],
    );
}

#[test]
fn merged_requests_are_refused() {
    let mut world = World::new();
    world.take(udp(), request("INVITE", "z9hG4bK1", "", 1));
    world.take(
        flow(Transport::Udp, "192.0.2.8:5060"),
        request("INVITE", "z9hG4bK2", "", 1),
    );
    world.take(udp(), request("OPTIONS", "z9hG4bK3", "", 1));
    world.take(udp(), request("INVITE", "z9hG4bK4", "", 2));
    world.take(udp(), request("INVITE", "z9hG4bK5", "b", 2));
    world.take(udp(), request("INVITE", "z9hG4bK6", "b", 3));
    world.take(udp(), request("INVITE", "z9hG4bK7", "", 3));
    world.expect(
        "same call, tag, number and method by another branch; all else is a request of its own",
        &[
            (0, "request INVITE"),
            (0, "send 482 INVITE"),
            (0, "request OPTIONS"),
            (0, "request INVITE"),
            (0, "request INVITE"),
            (0, "request INVITE"),
            (0, "request INVITE"),
        ],
    );
    assert_eq!(world.last_response().0.remote.to_string(), "192.0.2.8:5060");
    assert!(world.last_response().1.headers.to().unwrap().tag().is_some());
    assert_eq!(world.table.counters().merged, 1);
}

/// What was put off stays so when a copy comes, for as long as copies come, and few are remembered like that.
#[test]
fn what_is_refused_for_good_is_not_begun_by_a_copy() {
    let mut world = World::new();
    let refuse = |world: &mut World, number: usize| {
        let request = request(
            "INVITE",
            &format!("z9hG4bK{number}"),
            "",
            u32::try_from(number).unwrap(),
        );
        world.take(udp(), request.clone());
        let server = world.server.take().expect("a request came");
        let refusal = reply(&request, 503, "b");
        world.table.respond_for_good(world.now, server, &refusal).unwrap();
        world.drain();
        request
    };
    let first = refuse(&mut world, 1);
    world.until(31_999);
    world.take(udp(), first.clone());
    world.expect(
        "the copy is answered alike",
        &[
            (0, "request INVITE"),
            (0, "send 503 INVITE"),
            (31_999, "send 503 INVITE"),
        ],
    );
    world.until(32_001);
    assert_eq!(world.table.live(), (0, 0), "and then it is forgotten");
    // As many as are remembered, and one more.
    for number in 2..=MAX_FOR_GOOD + 2 {
        refuse(&mut world, number);
    }
    assert_eq!(world.table.live().1, MAX_FOR_GOOD);
    world.until(64_002);
    refuse(&mut world, 1000);
    assert_eq!(world.table.live().1, 1, "there is room again");
}

#[test]
fn vias_name_the_true_source() {
    let mut world = World::new();
    let source = flow(Transport::Udp, "203.0.113.9:40000");
    world
        .table
        .handle_message(world.now, source, request("OPTIONS", "z9hG4bK1", "", 1).into());
    let Some(Output::Request {
        server, flow, request, ..
    }) = world.table.poll_output()
    else {
        panic!("no request")
    };
    let via = request.headers.first::<Via>().unwrap();
    assert_eq!(request.headers.list::<Via>().unwrap().len(), 1, "none is added");
    assert_eq!(
        (via.received(), via.rport()),
        (Some(source.remote.ip()), Some(Some(40_000)))
    );
    assert_eq!(flow, source);
    world
        .table
        .respond(world.now, server, &reply(&request, 200, "b"))
        .unwrap();
    world.drain();
    let (to, response) = world.last_response();
    assert_eq!(
        (to, response.headers.first::<Via>().unwrap()),
        (source, via),
        "answered where it came from"
    );
}

#[test]
fn a_branch_is_not_enough() {
    let mut world = World::new();
    world.take(udp(), request("OPTIONS", "z9hG4bK1", "", 1));
    let mut other = request("OPTIONS", "z9hG4bK1", "", 2);
    let via = Via::new("UDP", "192.0.2.99".parse().unwrap(), None, "z9hG4bK1");
    other.headers.replace(&via);
    world.take(udp(), other);
    world.take(udp(), request("MESSAGE", "z9hG4bK1", "", 3));
    world.expect(
        "another sent-by, another method",
        &[(0, "request OPTIONS"), (0, "request OPTIONS"), (0, "request MESSAGE")],
    );
}

#[test]
fn what_cannot_be_matched_is_refused() {
    let mut world = World::new();
    world.take(udp(), request("OPTIONS", &format!("z9hG4bK{}", "x".repeat(600)), "", 1));
    world.take(udp(), request("OPTIONS", "z9hG4bK1", &"t".repeat(600), 1));
    world.take(udp(), request("ACK", "z9hG4bK1", &"t".repeat(600), 1));
    world.expect("400, but never to an ACK", &[(0, "refused 400"); 2]);
    let longest = format!("z9hG4bK{}", "x".repeat(MAX_TOKEN - 7));
    for (branch, seen) in [(longest.clone(), "request OPTIONS"), (longest + "x", "refused 400")] {
        let mut world = World::new();
        world.take(udp(), request("OPTIONS", &branch, "", 1));
        world.expect("the longest branch that is kept, and one more", &[(0, seen)]);
    }
    assert_eq!(
        (world.table.counters().refused, world.table.counters().stray_acks),
        (2, 1)
    );
    world.assert_empty();
}

#[test]
fn clients_of_rfc_2543_are_matched_by_everything_else() {
    for branch in ["1", "z9hG4bK", "Z9HG4B"] {
        let mut world = World::new();
        let invite = request("INVITE", branch, "", 7);
        world.take(udp(), invite.clone());
        world.take(udp(), invite.clone());
        world.respond(&reply(&invite, 486, "b")).unwrap();
        world.take(udp(), invite.clone());
        let mut ack = request("ACK", branch, "b", 7);
        ack.headers.replace(&CSeq::new(7, Method::Ack));
        world.take(udp(), ack);
        world.expect(
            "copies and the ACK to a failure find their INVITE",
            &[(0, "request INVITE"), (0, "send 486 INVITE"), (0, "send 486 INVITE")],
        );
        // Another number is another request, and so is another branch.
        world.take(udp(), request("INVITE", branch, "", 8));
        world.take(udp(), request("INVITE", &format!("2{branch}"), "", 9));
        world.expect("strangers to the first", &[(0, "request INVITE"); 2]);
    }
    let mut world = World::new();
    world.take(udp(), request("INVITE", "1", "", 7));
    world.take(udp(), request("CANCEL", "1", "", 7));
    world.expect(
        "CANCEL finds its INVITE",
        &[(0, "request INVITE"), (0, "send 200 CANCEL"), (0, "cancelled")],
    );
}

#[test]
fn the_table_is_bounded() {
    let mut world = World::limited(Limits {
        clients: 1,
        accepted: 1,
        servers: 1,
    });
    world.take(udp(), request("OPTIONS", "z9hG4bK1", "", 1));
    world.take(udp(), request("OPTIONS", "z9hG4bK2", "", 2));
    world.take(udp(), request("CANCEL", "z9hG4bK2", "", 2));
    world.take(udp(), request("OPTIONS", "z9hG4bK1", "", 1));
    world.expect(
        "servers",
        &[(0, "request OPTIONS"), (0, "refused 503"), (0, "refused 503")],
    );
    world.send(udp(), request("OPTIONS", "z9hG4bKa", "", 1));
    world.send(udp(), request("OPTIONS", "z9hG4bKb", "", 1));
    world.expect("clients", &[(0, "send OPTIONS"), (0, "failed Full"), (0, "ended")]);
    assert_eq!(world.table.live(), (1, 1));
}

#[test]
fn a_request_of_ours_must_be_fit_to_be_sent() {
    let mut world = World::new();
    world.send(udp(), request("OPTIONS", "z9hG4bKa", "", 1));
    world.send(udp(), request("OPTIONS", "z9hG4bKa", "", 1));
    world.send(udp(), request("OPTIONS", "a", "", 1));
    let unsendable = [(0, "failed Unsendable"), (0, "ended")];
    world.expect(
        "branch in use, no branch",
        &[&[(0, "send OPTIONS")], &unsendable[..], &unsendable[..]].concat(),
    );
}

#[test]
fn our_invite_is_acknowledged_or_delivered() {
    let mut world = World::new();
    let invite = request("INVITE", "z9hG4bKa", "", 7);
    world.send(udp(), invite.clone());
    world.until(600);
    world.take(udp(), reply(&invite, 180, "b"));
    world.take(udp(), reply(&invite, 486, "b"));
    let ack = world.last_request();
    assert_eq!(ack.method, Method::Ack);
    assert_eq!(ack.uri, invite.uri);
    assert_eq!(
        ack.headers.list::<Via>().unwrap(),
        invite.headers.list::<Via>().unwrap()
    );
    assert_eq!(ack.headers.to().unwrap().tag(), Some("b"));
    assert_eq!(ack.headers.one::<CSeq>().unwrap(), CSeq::new(7, Method::Ack));
    for name in [
        &HeaderName::FROM,
        &HeaderName::CALL_ID,
        &HeaderName::ROUTE,
        &HeaderName::MAX_FORWARDS,
    ] {
        assert_eq!(ack.headers.get(name), invite.headers.get(name), "{name}");
    }
    world.until(1000);
    world.take(udp(), reply(&invite, 486, "b"));
    world.until(60_000);
    world.expect(
        "a failure is delivered once and acknowledged each time",
        &[
            (0, "send INVITE"),
            (500, "send INVITE"),
            (600, "response 180"),
            (600, "send ACK"),
            (600, "response 486"),
            (1000, "send ACK"),
            (32_600, "ended"),
        ],
    );
    world.assert_empty();

    let mut world = World::new();
    world.send(udp(), invite.clone());
    for (ms, tag) in [(100, "b"), (600, "b"), (700, "c")] {
        world.until(ms);
        world.take(udp(), reply(&invite, 200, tag));
    }
    world.until(60_000);
    world.expect(
        "copies and forks of a 2xx are delivered",
        &[
            (0, "send INVITE"),
            (100, "response 200"),
            (600, "response 200"),
            (700, "response 200"),
            (32_100, "ended"),
        ],
    );
    world.take(udp(), reply(&invite, 200, "b"));
    assert_eq!(world.table.counters().stray_responses, 1);
    world.assert_empty();
}

#[test]
fn our_cancel_waits_and_races() {
    let mut world = World::new();
    let invite = request("INVITE", "z9hG4bKa", "", 7);
    let id = world.send(udp(), invite.clone());
    world
        .table
        .cancel(world.now, id, Some(Value::of_static("SIP;cause=200")));
    world.until(100);
    world.take(udp(), reply(&invite, 100, "b"));
    let cancel = world.last_request();
    assert_eq!(cancel.method, Method::Cancel);
    assert_eq!(cancel.uri, invite.uri);
    assert_eq!(
        cancel.headers.list::<Via>().unwrap(),
        invite.headers.list::<Via>().unwrap()
    );
    assert_eq!(cancel.headers.one::<CSeq>().unwrap(), CSeq::new(7, Method::Cancel));
    assert_eq!(cancel.headers.get(&HeaderName::REASON).unwrap(), *"SIP;cause=200");
    for name in [
        &HeaderName::TO,
        &HeaderName::FROM,
        &HeaderName::CALL_ID,
        &HeaderName::ROUTE,
    ] {
        assert_eq!(cancel.headers.get(name), invite.headers.get(name), "{name}");
    }
    world.until(650);
    world.take(udp(), reply(&cancel, 200, "b"));
    world.take(udp(), reply(&invite, 487, "b"));
    world.until(60_000);
    world.expect(
        "after the first provisional, repeated like any request; its own answer is nobody's business",
        &[
            (0, "send INVITE"),
            (100, "response 100"),
            (100, "send CANCEL"),
            (600, "send CANCEL"),
            (650, "send ACK"),
            (650, "response 487"),
            (32_650, "ended"),
        ],
    );
    world.assert_empty();

    let mut world = World::new();
    let id = world.send(udp(), invite.clone());
    world.take(udp(), reply(&invite, 180, "b"));
    world.table.cancel(world.now, id, None);
    world.take(udp(), reply(&invite, 200, "b"));
    world.expect(
        "a 2xx that crosses is delivered",
        &[
            (0, "send INVITE"),
            (0, "response 180"),
            (0, "send CANCEL"),
            (0, "response 200"),
        ],
    );
    world.until(100_000);
    world.expect(
        "and the CANCEL goes on until it is answered or given up",
        &[500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]
            .map(|ms| (ms, "send CANCEL"))
            .into_iter()
            .chain([(32_000, "ended")])
            .collect::<Vec<_>>(),
    );
    world.assert_empty();
}

#[test]
fn responses_of_others_are_strays() {
    let invite = request("INVITE", "z9hG4bKa", "", 7);
    let mut two_vias = reply(&invite, 200, "b");
    two_vias
        .headers
        .put(&Via::new("UDP", "192.0.2.99".parse().unwrap(), None, "z9hG4bKx"));
    let mut other_sent_by = reply(&invite, 200, "b");
    other_sent_by
        .headers
        .replace(&Via::new("UDP", "192.0.2.99".parse().unwrap(), None, "z9hG4bKa"));
    let other_branch = reply(&request("INVITE", "z9hG4bKb", "", 7), 200, "b");
    let other_method = reply(&request("BYE", "z9hG4bKa", "", 7), 200, "b");
    let right = reply(&invite, 200, "b");
    let tls = flow(Transport::Tls, "192.0.2.7:5070");
    let rows = [
        ("two Vias", udp(), udp(), two_vias),
        ("another sent-by", udp(), udp(), other_sent_by),
        ("another branch", udp(), udp(), other_branch),
        ("another method", udp(), udp(), other_method),
        ("another transport", udp(), tls, right.clone()),
        (
            "another connection",
            tls,
            flow(Transport::Tls, "192.0.2.7:5071"),
            right.clone(),
        ),
    ];
    for (name, sent, came, response) in rows {
        let mut world = World::new();
        world.send(sent, invite.clone());
        world.take(came, response);
        world.expect(name, &[(0, "send INVITE")]);
        assert_eq!(world.table.counters().stray_responses, 1, "{name}");
    }
    let mut world = World::new();
    world.send(udp(), invite.clone());
    world.take(flow(Transport::Udp, "192.0.2.8:5060"), right);
    world.expect(
        "a host with several addresses answers",
        &[(0, "send INVITE"), (0, "response 200")],
    );
    let mut world = World::new();
    world.send(tls, invite.clone());
    world.take(tls, reply(&invite, 200, "b"));
    world.expect("so does a stream", &[(0, "send INVITE"), (0, "response 200")]);
    assert_eq!(world.table.counters().stray_responses, 0);
}

#[test]
fn a_closed_flow_fails_what_waits_on_it() {
    let mut world = World::new();
    let (a, b) = (flow(Transport::Tcp, "192.0.2.7:1"), flow(Transport::Tcp, "192.0.2.7:2"));
    world.send(a, request("OPTIONS", "z9hG4bKa", "", 1));
    world.send(a, request("INVITE", "z9hG4bKb", "", 1));
    world.send(b, request("OPTIONS", "z9hG4bKc", "", 1));
    world.seen.clear();
    world.table.handle_transport_failure(world.now, a);
    world.drain();
    let failed = [(0, "failed Transport"), (0, "ended")];
    world.expect("only its own", &[failed, failed].concat());
    assert_eq!(world.table.live(), (1, 0));
    world.until(32_000);
    world.expect("the other times out", &[(32_000, "failed TimedOut"), (32_000, "ended")]);
    world.assert_empty();
}
