//! What faces the network, over every transport, against a running service.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use cusax_b2bua::core::flow::Transport;
use cusax_common::core::sip::typed::{Authorization, Credentials, DigestProof, WwwAuthenticate};
use cusax_common::core::sip::{Message, Response, TypedHeader as _, digest};
use cusax_tests::lab::authority::Authority;
use cusax_tests::lab::crowd::Crowd;
use cusax_tests::lab::nonsense::Nonsense;
use cusax_tests::lab::service::{More, Service, TRANSPORTS};
use cusax_tests::lab::softphone::{Softphone, until};
use cusax_tests::lab::wire::{self, Heard, Wire};
use cusax_tests::lab::{torture, wait};
use cusax_tests::peer::phone::{Account, Manner, Stage};
use rcgen::KeyPair;

const SOON: Duration = Duration::from_secs(10);
/// Long enough for an answer that must not come.
const WHILE: Duration = Duration::from_millis(300);

fn start(name: &str, ip: IpAddr) -> Service {
    let more = More {
        sip: "workers = 2",
        ..More::default()
    };
    let program = env!("CARGO_BIN_EXE_cusax").as_ref();
    let service = Service::start_with(name, program, ip, "sip.example.com", more).expect("a service");
    service
        .add_user("alice@example.com", "sip:al@sip.example.com", "al", "al-secret")
        .expect("a user");
    service
}

fn options(transport: Transport, number: u32, body: &str) -> String {
    format!(
        "OPTIONS sip:sip.example.com SIP/2.0\r\nVia: SIP/2.0/{transport} client.invalid;branch=z9hG4bK{transport}{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@b.invalid>;tag={number}\r\nTo: <sip:sip.example.com>\r\nCall-ID: o{number}\r\n\
         CSeq: {number} OPTIONS\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn register(transport: Transport, number: u32, more: &str) -> String {
    format!(
        "REGISTER sip:sip.example.com SIP/2.0\r\nVia: SIP/2.0/{transport} client.invalid;branch=z9hG4bKr{transport}{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:al@sip.example.com>;tag={number}\r\nTo: <sip:al@sip.example.com>\r\n\
         Call-ID: r{transport}\r\nCSeq: {number} REGISTER\r\nContact: <sip:{transport}@client.invalid;transport={}>\r\n\
         Expires: 600\r\n{more}Content-Length: 0\r\n\r\n",
        transport.parameter().unwrap_or("udp")
    )
}

fn response(wire: &mut Wire) -> Response {
    match wire.hear(SOON) {
        Heard::Message(bytes) => match Message::parse(bytes).expect("a message") {
            Message::Response(response) => response,
            Message::Request(request) => panic!("a request: {request:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn statuses(wire: &mut Wire, count: usize) -> Vec<u16> {
    (0..count).map(|_| response(wire).status.code()).collect()
}

/// Registers by digest; gives the final status.
fn log_in(wire: &mut Wire, transport: Transport) -> u16 {
    wire.send(register(transport, 1, "").as_bytes()).expect("sent");
    let challenged = response(wire);
    assert_eq!(challenged.status.code(), 401, "{transport}");
    let challenges = challenged.headers.list::<WwwAuthenticate>().expect("challenges");
    let challenge = &challenges.first().expect("one").0;
    let (realm, nonce) = (challenge.realm().expect("a realm"), challenge.nonce().expect("a nonce"));
    let algorithm = challenge.algorithm().expect("an algorithm");
    let (uri, count, cnonce) = ("sip:sip.example.com", "00000001", "abcdef");
    let ha1 = digest::ha1(algorithm, "al", realm, "al-secret");
    let proof = digest::response(algorithm, &ha1, nonce, count, cnonce, Some("auth"), "REGISTER", uri);
    let credentials = Credentials::digest(&DigestProof {
        username: "al",
        realm,
        nonce,
        uri,
        response: &proof,
        algorithm,
        opaque: challenge.opaque(),
        auth: Some((cnonce, 1)),
    });
    let mut line = String::from("Authorization: ");
    Authorization(credentials).write(&mut line);
    wire.send(register(transport, 2, &format!("{line}\r\n")).as_bytes())
        .expect("sent");
    response(wire).status.code()
}

#[test]
fn a_phone_registers_by_every_transport_and_goes_with_its_connection() {
    for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
        let service = start("transports-register", ip);
        let mut wires = Vec::new();
        for transport in TRANSPORTS {
            let mut wire = service.connect(transport).expect("a connection");
            assert_eq!(log_in(&mut wire, transport), 200, "{transport} on {ip}");
            wires.push(wire);
        }
        service.metric_becomes("cusax_registered_phones", 5.0).expect("in time");
        drop(wires);
        // What came by a connection cannot be reached without it; a datagram needs none.
        service.metric_becomes("cusax_registered_phones", 1.0).expect("in time");
        service.metric_becomes("cusax_sip_connections", 0.0).expect("in time");
    }
}

/// Every torture message gets the answer, or the silence, that is expected of it.
#[test]
fn torture_messages_are_answered_as_expected() {
    let Some(folder) = torture::folder().unwrap_or_else(|fault| panic!("{fault}")) else {
        return;
    };
    let table = torture::table(env!("CARGO_BIN_EXE_cusax").as_ref(), &folder).expect("a table");
    assert_eq!(table.wrong(), 0, "\n{table}");
}

/// A message is sent from the port that its Via names, or its answer could be missed and be taken for silence.
#[test]
fn a_torture_message_that_cannot_be_sent_from_its_port_is_a_fault() {
    let row = torture::Row {
        name: "taken".to_owned(),
        bytes: options(Transport::Udp, 1, "")
            .replace("client.invalid", "client.invalid:5078")
            .into(),
        expected: [vec![], vec![]],
    };
    let root = Authority::new("nobody").expect("an authority").root().clone();
    let nowhere = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9);
    // The address from which messages of this number go over UDP.
    let _taken = UdpSocket::bind((Ipv4Addr::new(127, 75, 44, 250), 5078)).expect("a socket");
    let fault = row.send(Transport::Udp, 250, nowhere, &root).expect_err("no port");
    assert!(fault.to_string().contains("port 5078 of 127.75.44.250"), "{fault}");
}

/// Who says where the messages are wants them sent.
#[test]
fn a_folder_of_torture_messages_that_is_named_must_be_there() {
    let given = std::env::temp_dir().join("no-such-folder");
    let fault = torture::find(Some(given)).expect_err("not there");
    assert!(fault.to_string().contains("no-such-folder"), "{fault}");
    if let Some(folder) = torture::find(None).expect("nobody asked") {
        let rows = torture::rows(&folder).expect("messages");
        assert_eq!(
            rows.len(),
            65,
            "49 of RFC 4475, 12 of RFC 5118, three variants and one left over"
        );
    }
}

/// A hundred thousand messages that nobody should send, and calls that go through all the while.
#[test]
fn nonsense_keeps_nobody_from_calling() {
    let service = start("transports-nonsense", Ipv4Addr::LOCALHOST.into());
    service
        .add_user("bob@example.com", "sip:bo@sip.example.com", "bo", "bo-secret")
        .expect("a user");
    let address = service.address(Transport::Udp);
    let phone = |host: u8, name: &str| {
        let account = Account {
            aor: format!("sip:{name}@sip.example.com"),
            username: name.to_owned(),
            password: format!("{name}-secret"),
        };
        let local = SocketAddr::new(Ipv4Addr::new(127, 81, 0, host).into(), 0);
        Softphone::new(local, address, account, u64::from(host)).expect("a phone")
    };
    let mut phones = [phone(1, "al"), phone(2, "bo")];
    for phone in &mut phones {
        phone.phone.manner = Manner::Answer(Duration::ZERO);
        phone.act(|phone, now| phone.register(now, 3600));
    }
    until(&mut phones, "registration", SOON, |_| {
        service.metric("cusax_registered_phones").is_ok_and(|n| n == 2.0)
    })
    .expect("registered");
    let mut crowd = Crowd::new(&service).expect("strangers");
    let mut nonsense = Nonsense::new(SEED);
    let mut memory = 0;
    for round in 0..1000 {
        for _ in 0..100 {
            crowd.say(&nonsense.message()).expect("said");
        }
        crowd
            .listen()
            .unwrap_or_else(|fault| panic!("seed {SEED}, round {round}: {fault}"));
        let [al, bo] = &mut phones;
        al.phone.heard.clear();
        bo.phone.heard.clear();
        al.act(|phone, now| phone.call(now, "sip:bo@sip.example.com"));
        let up = |phones: &[Softphone; 2]| phones.iter().all(|phone| phone.phone.stage == Stage::Up);
        until(&mut phones, "a call", SOON, up).unwrap_or_else(|fault| panic!("seed {SEED}, round {round}: {fault}"));
        phones[0].act(|phone, now| phone.hang_up(now));
        let over = |phones: &[Softphone; 2]| matches!(phones[1].phone.stage, Stage::Over(_));
        until(&mut phones, "its end", SOON, over).unwrap_or_else(|fault| panic!("seed {SEED}, round {round}: {fault}"));
        if round == 300 {
            memory = service.memory().expect("memory");
        }
    }
    let calls = phones.iter().map(|phone| phone.sent).sum::<u64>();
    let names = [
        "cusax_sip_received_total{kind=\"request\"}",
        "cusax_sip_received_total{kind=\"response\"}",
        "cusax_sip_received_total{kind=\"keepalive\"}",
        "cusax_sip_malformed_total{outcome=\"answered\"}",
        "cusax_sip_malformed_total{outcome=\"dropped\"}",
        "cusax_sip_dropped_total{reason=\"inbox-full\"}",
    ];
    let dropped = service.kernel_drops().expect("drops");
    let mut counted = 0.0;
    wait::until_ok("counters that add up", SOON, || {
        counted = 0.0;
        for name in names {
            counted += service.metric(name)?;
        }
        Ok((counted as u64 == crowd.whole() + calls).then_some(()))
    })
    .unwrap_or_else(|fault| panic!("{fault}: {counted} counted of {crowd:?} and {calls} of calls"));
    for outcome in ["refused", "dropped"] {
        let name = format!("cusax_sip_connections_ended_total{{outcome=\"{outcome}\"}}");
        assert_eq!(
            service.metric(&name).expect("a figure"),
            0.0,
            "{name}: every connection was served"
        );
    }
    let grown = service.memory().expect("memory").saturating_sub(memory);
    println!("{crowd:?}, {calls} of calls, {dropped} lost by the kernel, {grown} bytes grown after the first third");
    assert!(
        grown < 16 * 1024 * 1024,
        "{grown} bytes more than after the first third"
    );
}

/// What decides the messages of [`nonsense_keeps_nobody_from_calling`].
const SEED: u64 = 1;

/// More datagrams than a socket has room for, while nobody reads: each is read or counted as dropped.
#[test]
fn what_finds_no_room_is_counted() {
    let service = start("transports-overflow", Ipv4Addr::LOCALHOST.into());
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.connect(service.address(Transport::Udp)).expect("connected");
    service.freeze().expect("stopped");
    let datagram = [b'x'; 8192];
    for _ in 0..DATAGRAMS {
        socket.send(&datagram).expect("sent");
    }
    service.thaw().expect("goes on");
    let mut figures = [0.0; 2];
    wait::until_ok("every datagram to be counted", SOON, || {
        let names = [
            "malformed_total{outcome=\"dropped\"}",
            "dropped_total{reason=\"inbox-full\"}",
        ];
        for (figure, name) in figures.iter_mut().zip(names) {
            *figure = service.metric(&format!("cusax_sip_{name}"))?;
        }
        Ok((figures.iter().sum::<f64>() as u32 == DATAGRAMS).then_some(()))
    })
    .unwrap_or_else(|fault| panic!("{fault}: {figures:?}"));
    assert_eq!(service.kernel_drops().expect("drops"), figures[1] as u64);
    assert!(figures.iter().all(|figure| *figure > 0.0), "{figures:?}");
}

/// More than fit into the buffer of a socket, of which the kernel grants at most twice what we ask for.
const DATAGRAMS: u32 = 4096;

#[test]
fn messages_of_a_stream_come_in_any_pieces() {
    let service = start("transports-pieces", Ipv4Addr::LOCALHOST.into());
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut wire = service.connect(transport).expect("a connection");
        let text = [1, 2, 3].map(|number| options(transport, number, "")).concat();
        wire.send(text.as_bytes()).expect("sent");
        assert_eq!(statuses(&mut wire, 3), [200, 200, 200], "{transport}: several at once");
        for piece in options(transport, 4, "a body").as_bytes().chunks(7) {
            wire.send(piece).expect("sent");
        }
        assert_eq!(statuses(&mut wire, 1), [200], "{transport}: in pieces");
        wire.send(b"\r\n\r\n").expect("sent");
        assert_eq!(wire.hear(SOON), Heard::Pong, "{transport}");
    }
}

#[test]
fn a_stream_that_cannot_be_cut_is_answered_and_closed() {
    let service = start("transports-broken", Ipv4Addr::LOCALHOST.into());
    let hidden = options(Transport::Tcp, 99, "");
    let rows = [
        (
            "two lengths",
            format!("Content-Length: 0\r\nContent-Length: {}", hidden.len()),
            Some(400),
        ),
        (
            "a length beyond every bound",
            "Content-Length: 18446744073709551615".to_owned(),
            Some(400),
        ),
        ("a negative length", "Content-Length: -1".to_owned(), Some(400)),
        ("a gigabyte", "Content-Length: 1073741824".to_owned(), None),
    ];
    for (what, line, status) in rows {
        let mut wire = service.connect(Transport::Tcp).expect("a connection");
        let text = options(Transport::Tcp, 1, "").replace("Content-Length: 0", &line);
        wire.send(text.as_bytes()).expect("sent");
        let _ = wire.send(hidden.as_bytes());
        if let Some(status) = status {
            assert_eq!(response(&mut wire).status.code(), status, "{what}");
        }
        let end = loop {
            match wire.hear(SOON) {
                Heard::Message(bytes) => {
                    let answer = String::from_utf8_lossy(&bytes).into_owned();
                    assert!(!answer.contains("o99"), "{what}: what is hidden ran: {answer}");
                }
                other => break other,
            }
        };
        assert_eq!(end, Heard::Closed(None), "{what}");
    }
    let mut wire = service.connect(Transport::Tcp).expect("a connection");
    for _ in 0..70 {
        if wire.send(&[b'a'; 1024]).is_err() {
            break;
        }
    }
    assert_eq!(wire.hear(SOON), Heard::Closed(None), "headers without end");
}

#[test]
fn a_websocket_is_for_sip_and_for_named_pages() {
    let service = start("transports-websocket", Ipv4Addr::LOCALHOST.into());
    let address = service.address(Transport::Ws);
    let open = |protocol, origin| {
        let stream = wire::tcp(SocketAddr::new(address.ip(), 0), address).expect("TCP");
        Wire::upgrade(Box::new(stream), protocol, origin)
            .map(drop)
            .map_err(|fault| fault.to_string())
    };
    assert_eq!(open(Some("sip"), None), Ok(()));
    assert_eq!(
        open(Some("sip"), Some("http://localhost")),
        Ok(()),
        "a page of this host"
    );
    assert_eq!(open(None, None), Err("400".to_owned()));
    assert_eq!(open(Some("xmpp"), None), Err("400".to_owned()));
    for origin in [
        "http://evil.example",
        "null",
        "http://localhost:1",
        "http://localhost.evil.example",
    ] {
        assert_eq!(open(Some("sip"), Some(origin)), Err("403".to_owned()), "{origin}");
    }
    // Frames against RFC 6455 §5 end the connection with the code that says why (§7.4.1).
    let rows: [(&str, Vec<u8>, u16); 3] = [
        ("an unmasked frame", vec![0x81, 0x01, b'x'], 1002),
        (
            "a frame of 2^63 bytes",
            [&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4][..], b"x"].concat(),
            1009,
        ),
        ("a reserved opcode", vec![0x83, 0x80, 0, 0, 0, 0], 1002),
    ];
    for (what, frame, code) in rows {
        let mut wire = service.connect(Transport::Ws).expect("a connection");
        let Wire::WebSocket(socket) = &mut wire else {
            unreachable!()
        };
        socket.get_mut().write_all(&frame).expect("sent");
        assert_eq!(wire.hear(SOON), Heard::Closed(Some(code)), "{what}");
    }
    let mut wire = service.connect(Transport::Ws).expect("a connection");
    wire.send(b"").expect("an empty message");
    wire.send(options(Transport::Ws, 1, "").as_bytes()).expect("sent");
    assert_eq!(
        response(&mut wire).status.code(),
        200,
        "it goes on after an empty message"
    );
}

#[test]
fn a_certificate_changes_under_connections_that_go_on() {
    let service = start("transports-certificate", Ipv4Addr::LOCALHOST.into());
    let folder = service.scratch.path().to_owned();
    let mut old = service.connect(Transport::Tls).expect("a connection");
    old.send(options(Transport::Tls, 1, "").as_bytes()).expect("sent");
    assert_eq!(statuses(&mut old, 1), [200]);
    let shown = |service: &Service| {
        let address = service.address(Transport::Tls);
        let socket = wire::tcp(SocketAddr::new(address.ip(), 0), address).expect("TCP");
        let stream = wire::tls(socket, service.root()).expect("TLS");
        let chain = stream.conn.peer_certificates().expect("a certificate");
        chain[0].clone().into_owned()
    };
    let first = shown(&service);
    let second = service.renew_certificate().expect("a certificate");
    assert_ne!(first, second);
    service.cusax().arg("reload").output().expect("reloads");
    wait::until_ok("the new certificate", SOON, || {
        Ok((shown(&service) == second).then_some(()))
    })
    .expect("shown");
    // A key that does not fit is told, and the certificate in force stays.
    fs::write(
        folder.join("key.pem"),
        KeyPair::generate().expect("a key").serialize_pem(),
    )
    .expect("written");
    service.cusax().arg("reload").output().expect("reloads");
    let mut child = service;
    child
        .child
        .until("a word about it", SOON, |child| {
            child.log().contains("the certificate was not taken").then_some(())
        })
        .expect("it is told");
    assert_eq!(shown(&child), second);
    old.send(options(Transport::Tls, 2, "").as_bytes()).expect("sent");
    assert_eq!(statuses(&mut old, 1), [200], "the old connection goes on");
}

#[test]
fn many_who_say_nothing_disturb_nobody() {
    let service = start("transports-silent", Ipv4Addr::LOCALHOST.into());
    let address = service.address(Transport::Tcp);
    let mut silent = Vec::new();
    for number in 0..1500 {
        let Ok(stream) = wire::tcp(SocketAddr::new(address.ip(), 0), address) else {
            continue;
        };
        let mut stream = stream;
        if number % 2 == 0 {
            let _ = stream.write_all(b"OPTIONS sip:");
        }
        silent.push(stream);
    }
    service
        .metric_becomes("cusax_sip_connections", 1024.0)
        .expect("in time");
    let from = SocketAddr::new(Ipv4Addr::new(127, 7, 0, 1).into(), 0);
    let mut other = Wire::connect(Transport::Tcp, from, address, service.root()).expect("another source");
    other.send(options(Transport::Tcp, 1, "").as_bytes()).expect("sent");
    assert_eq!(statuses(&mut other, 1), [200]);
    let mut wire = service.connect(Transport::Udp).expect("a connection");
    wire.send(options(Transport::Udp, 1, "").as_bytes()).expect("sent");
    assert_eq!(statuses(&mut wire, 1), [200]);
    assert_eq!(wire.hear(WHILE), Heard::Silence);
}
