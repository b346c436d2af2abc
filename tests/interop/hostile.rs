//! Peers that send too much at once, too little, or nothing, and that want to know who is there.

#![expect(clippy::disallowed_methods, reason = "real time is what is measured")]

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use cusax_b2bua::core::flow::Transport;
use cusax_tests::lab::nonsense::METHODS;
use cusax_tests::lab::service::{More, Service};
use cusax_tests::lab::wait;
use cusax_tests::lab::wire::{self, Heard, Wire};

/// A connection that says no whole message is closed after 32 s; five times as long is waited for that.
const CLOSED: Duration = Duration::from_secs(160);
const SOON: Duration = Duration::from_secs(10);

fn start(name: &str, more: More<'_>) -> Service {
    let program = env!("CARGO_BIN_EXE_cusax").as_ref();
    let service = Service::start_with(name, program, Ipv4Addr::LOCALHOST.into(), "sip.example.com", more);
    let service = service.expect("a service");
    service
        .add_user("alice@example.com", "sip:al@sip.example.com", "al", "al-secret")
        .expect("a user");
    service
}

fn options(transport: Transport, number: u32, filler: usize) -> String {
    format!(
        "OPTIONS sip:sip.example.com SIP/2.0\r\nVia: SIP/2.0/{transport} client.invalid;branch=z9hG4bK{transport}{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@b.invalid>;tag={number}\r\nTo: <sip:sip.example.com>\r\nCall-ID: o{number}\r\n\
         CSeq: {number} OPTIONS\r\nUser-Agent: a laboratory\r\nContent-Length: {filler}\r\n\r\n{}",
        "x".repeat(filler)
    )
}

fn is_ok(heard: &Heard) -> bool {
    matches!(heard, Heard::Message(bytes) if bytes.starts_with(b"SIP/2.0 200 "))
}

/// A datagram is read whole or not at all: what was cut is never taken for a message.
#[test]
fn the_largest_datagrams_are_read_whole() {
    let service = start("hostile-large", More::default());
    let mut wire = service.connect(Transport::Udp).expect("a socket");
    let empty = options(Transport::Udp, 1, 0).len();
    for (number, size) in [(10_001_u32, 9_000_usize), (10_002, 65_507)] {
        // The number of the filler's digits and that of the request are known; the rest is filler.
        let digits = options(Transport::Udp, number, 0).len() - empty + (size - empty).to_string().len() - 1;
        let message = options(Transport::Udp, number, size - empty - digits);
        assert_eq!(message.len(), size);
        wire.send(message.as_bytes()).expect("sent");
        assert!(is_ok(&wire.hear(SOON)), "{size}");
    }
    // As if the network had cut it: less is there than it says.
    let cut = options(Transport::Udp, 10_003, 5_000);
    wire.send(&cut.as_bytes()[..cut.len() - 1]).expect("sent");
    assert!(matches!(wire.hear(SOON), Heard::Message(bytes) if bytes.starts_with(b"SIP/2.0 400 ")));
}

/// Whoever connects and says nothing, little, or no handshake is shown out; whoever speaks stays; who does not read is
/// dropped when 256 KiB wait.
#[test]
fn connections_that_are_no_use_are_closed() {
    let service = start("hostile-slow", More::default());
    let open = |transport, last| {
        let from = SocketAddr::new(Ipv4Addr::new(127, 7, 1, last).into(), 0);
        wire::tcp(from, service.address(transport)).expect("a connection")
    };
    let mut closed: Vec<(&str, TcpStream)> = vec![
        ("silent TCP", open(Transport::Tcp, 1)),
        ("half a message", open(Transport::Tcp, 2)),
        ("a TLS hello that does not come", open(Transport::Tls, 3)),
        ("a WebSocket that is not asked for", open(Transport::Ws, 4)),
        ("half a TLS hello", open(Transport::Tls, 5)),
    ];
    closed[1]
        .1
        .write_all(b"OPTIONS sip:sip.example.com SIP/2.0\r\nVia: ")
        .expect("sent");
    closed[4].1.write_all(&[0x16, 3, 1, 2, 0, 1]).expect("sent");
    let mut dripping = open(Transport::Tcp, 6);
    dripping
        .write_all(b"OPTIONS sip:sip.example.com SIP/2.0\r\nX-Endless: ")
        .expect("sent");
    let mut greedy = open(Transport::Tcp, 7);
    greedy.set_nonblocking(true).expect("a socket");
    let request = options(Transport::Tcp, 2, 0);
    let mut kept = service.connect(Transport::Tcp).expect("a connection");
    let (mut spoken, mut gone) = (0, Vec::new());
    let start = Instant::now();
    wait::until("every one of them to be closed", CLOSED, || {
        // One byte now and then; a whole message now and then; as much as the socket takes, and nothing is read.
        let _ = dripping.write(b"x");
        for _ in 0..200 {
            if greedy.write(request.as_bytes()).is_err() {
                break;
            }
        }
        if start.elapsed().as_secs() / 10 >= spoken {
            spoken += 1;
            let number = u32::try_from(spoken).expect("few");
            kept.send(options(Transport::Tcp, number, 0).as_bytes())
                .expect("it stays open");
            assert!(is_ok(&kept.hear(SOON)), "others are served");
        }
        closed.retain_mut(|(what, stream)| {
            let mut buffer = [0; 512];
            let _ = stream.set_read_timeout(Some(Duration::from_millis(5)));
            let over = loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break true,
                    Ok(_) => {}
                    Err(error) => {
                        break !matches!(
                            error.kind(),
                            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                        );
                    }
                }
            };
            if over {
                gone.push(format!("{what}: {:.1} s", start.elapsed().as_secs_f64()));
            }
            !over
        });
        closed.is_empty().then_some(())
    })
    .unwrap_or_else(|fault| panic!("{fault}; still open: {closed:?}"));
    println!("closed after {gone:?}");
    // Those that dripped and that did not read are gone as well.
    service
        .metric_becomes("cusax_sip_connections", 1.0)
        .expect("only the one that speaks");
}

/// What a stranger can measure of a refused proof: the middle of many, for a user who is there and for one who is not.
#[test]
fn nobody_can_tell_by_the_clock_who_is_there() {
    const SAMPLES: u32 = 5_000;
    const SOURCES: u8 = 40;
    let service = start("hostile-clock", More::default());
    // More addresses than one, since one may not ask so much.
    let sockets: Vec<UdpSocket> = (10..10 + SOURCES)
        .map(|last| {
            let socket = UdpSocket::bind((Ipv4Addr::new(127, 9, 0, last), 0)).expect("a socket");
            socket.connect(service.address(Transport::Udp)).expect("connected");
            socket.set_nonblocking(true).expect("a socket");
            socket
        })
        .collect();
    let ask = |number: u32, user: &str| {
        format!(
            "REGISTER sip:sip.example.com SIP/2.0\r\nVia: SIP/2.0/UDP client.invalid;branch=z9hG4bK{number:06};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@sip.example.com>;tag={number:06}\r\nTo: <sip:{user}@sip.example.com>\r\n\
             Call-ID: {number:06}\r\nCSeq: 1 REGISTER\r\nContact: <sip:{user}@client.invalid>\r\nAuthorization: Digest \
             username=\"{user}\", realm=\"sip.example.com\", nonce=\"{}\", uri=\"sip:sip.example.com\", response=\"{}\", \
             algorithm=MD5, cnonce=\"1\", nc=00000001, qop=auth\r\nContent-Length: 0\r\n\r\n",
            "A".repeat(51),
            "0".repeat(32)
        )
    };
    let mut sent = HashMap::new();
    let mut took: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    let mut lengths: [Option<usize>; 2] = [None, None];
    let mut buffer = [0; 2048];
    let mut hear = |sent: &mut HashMap<u32, Instant>| {
        while let Some(length) = sockets.iter().find_map(|socket| socket.recv(&mut buffer).ok()) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            assert!(text.starts_with("SIP/2.0 401 "), "{text}");
            let number: u32 = text
                .split("Call-ID: ")
                .nth(1)
                .and_then(|rest| rest[..6].parse().ok())
                .expect("ours");
            let Some(at) = sent.remove(&number) else { continue };
            let kind = usize::from(number % 2 == 1);
            took[kind].push(at.elapsed().as_secs_f64() * 1000.0);
            assert_eq!(*lengths[kind].get_or_insert(length), length);
        }
    };
    for number in 0..SAMPLES * 2 {
        let user = if number % 2 == 0 { "al" } else { "zz" };
        sent.insert(number, Instant::now());
        let socket = &sockets[usize::try_from(number / 2).expect("small") % sockets.len()];
        socket.send(ask(number, user).as_bytes()).expect("sent");
        // Without a pause between two looks, which would hide what is to be measured.
        let end = Instant::now() + SOON;
        while sent.len() >= 100 {
            hear(&mut sent);
            assert!(Instant::now() < end, "answers come");
            std::thread::yield_now();
        }
    }
    let end = Instant::now() + SOON;
    while !sent.is_empty() {
        hear(&mut sent);
        assert!(Instant::now() < end, "every one is answered");
    }
    let middle = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let spread = |times: &[f64]| {
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        (
            mean,
            times.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / times.len() as f64,
        )
    };
    let [(there, there_spread), (nobody, nobody_spread)] = [spread(&took[0]), spread(&took[1])];
    let t = (there - nobody) / ((there_spread + nobody_spread) / f64::from(SAMPLES)).sqrt();
    let difference = (middle(&mut took[0]) - middle(&mut took[1])).abs();
    println!(
        "a user: {:.3} ms, nobody: {:.3} ms in the middle; t = {t:.2} of {} samples",
        middle(&mut took[0]),
        middle(&mut took[1]),
        2 * SAMPLES
    );
    assert_eq!(lengths[0], lengths[1], "as long as one another");
    // A fifth of a millisecond is what nobody can measure through a network; five times that is waited for here.
    assert!(difference < 1.0, "{difference} ms");
}

/// The outcome of a message for one who says something proper after it, so that silence need not be waited for.
fn outcome(service: &Service, wire: &mut Wire, transport: Transport, number: u32, message: &[u8]) -> String {
    let mut words = Vec::new();
    let proper = options(transport, number, 0);
    let mark = format!("Call-ID: o{number}\r\n");
    if wire.send(message).is_ok() && wire.send(proper.as_bytes()).is_ok() {
        loop {
            match wire.hear(SOON) {
                Heard::Message(bytes) => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    if text.contains(&mark) {
                        assert!(text.starts_with("SIP/2.0 200 "), "{transport}: {text}");
                        break;
                    }
                    let status = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3));
                    words.push(status.unwrap_or("a request").to_owned());
                }
                Heard::Pong => {}
                Heard::Closed(_) => {
                    words.push("closed".to_owned());
                    *wire = service.connect(transport).expect("a connection");
                    break;
                }
                Heard::Silence => panic!("{transport}: no answer to what is proper after {}", text(message)),
            }
        }
    } else {
        *wire = service.connect(transport).expect("a connection");
        words.push("closed".to_owned());
    }
    if words.is_empty() {
        words.push("silence".to_owned());
    }
    words.join("+")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every header that must be there goes missing once, in every method, over datagrams, streams and WebSocket.
#[test]
fn a_header_that_is_missing_is_a_bad_request_and_no_more() {
    let service = start("hostile-headers", More::default());
    // None is left out first: others that may be left out change nothing of that outcome.
    let headers = [
        "",
        "Via",
        "From",
        "To",
        "Call-ID",
        "CSeq",
        "Max-Forwards",
        "Contact",
        "Content-Length",
    ];
    let mut number = 0;
    for transport in [Transport::Udp, Transport::Tcp, Transport::Ws] {
        for method in METHODS.into_iter().chain(["X"]) {
            // Another address each time, since one may not ask so much.
            let from = SocketAddr::new(
                Ipv4Addr::new(127, 10, transport as u8, (number % 250) as u8 + 1).into(),
                0,
            );
            let connect = || Wire::connect(transport, from, service.address(transport), service.root());
            let mut wire = connect().expect("a connection");
            let mut usual = String::new();
            for header in headers {
                number += 1;
                let whole = format!(
                    "{method} sip:al@sip.example.com SIP/2.0\r\nVia: SIP/2.0/{transport} h.invalid;branch=z9hG4bKm{number};rport\r\n\
                     From: <sip:al@sip.example.com>;tag=m{number}\r\nTo: <sip:al@sip.example.com>\r\nCall-ID: m{number}\r\n\
                     CSeq: 1 {method}\r\nMax-Forwards: 70\r\nContact: <sip:al@h.invalid>\r\nContent-Length: 0\r\n\r\n"
                );
                let less: String = whole
                    .split_inclusive("\r\n")
                    .filter(|line| !line.starts_with(&format!("{header}:")))
                    .collect();
                assert_eq!(less.len() < whole.len(), !header.is_empty(), "{header}");
                let seen = outcome(&service, &mut wire, transport, 100_000 + number, less.as_bytes());
                let expected = match (header, transport) {
                    ("", _) => {
                        usual.clone_from(&seen);
                        &seen
                    }
                    // What an answer is made of: without it there can be none.
                    ("Via" | "From" | "To" | "Call-ID" | "CSeq", _) => "silence",
                    // RFC 3261 §18.3: only this tells where a message of a stream ends.
                    ("Content-Length", Transport::Tcp) if method == "ACK" => "closed",
                    ("Content-Length", Transport::Tcp) => "400+closed",
                    _ => &usual,
                };
                assert_eq!(seen, expected, "{method} without {header} over {transport}");
            }
        }
    }
    assert!(!service.child.log().contains("panicked"), "nothing panics");
}

/// Only blanks may stand before the colon: what merely looks like a name is none.
#[test]
fn a_control_character_in_a_name_is_a_bad_request() {
    let service = start("hostile-names", More::default());
    for transport in [Transport::Udp, Transport::Tcp, Transport::Ws] {
        let mut wire = service.connect(transport).expect("a connection");
        let (agent, to) = ("User-Agent: a laboratory", "To: <sip:sip.example.com>");
        let rows = [
            (agent, "To\u{1}: <sip:evil@x>", "400"),
            (agent, "User-Agent\u{1}: a laboratory", "400"),
            (agent, "User-Agent\u{7f}: a laboratory", "400"),
            (agent, "User-Agent\0: a laboratory", "400"),
            (agent, "\u{1}User-Agent: a laboratory", "400"),
            (agent, "User Agent: a laboratory", "400"),
            // It is not the header that it looks like, and without that one there is no answer.
            (to, "To\u{1}: <sip:sip.example.com>", "silence"),
            (to, "To : <sip:sip.example.com>", "200"),
            (to, "To\t: <sip:sip.example.com>", "200"),
        ];
        for ((line, other, expected), number) in rows.into_iter().zip(1..) {
            let message = options(transport, number, 0).replace(line, other);
            let seen = outcome(&service, &mut wire, transport, 1000 + number, message.as_bytes());
            assert_eq!(seen, expected, "{other:?} over {transport}");
        }
    }
}

/// A length is no size to be had, and no place to look at: whatever it says, it is answered when the head is there, and
/// nobody waits for what cannot come.
#[test]
fn lengths_that_nobody_can_mean_cost_nothing() {
    const CONNECTIONS: u32 = 100;
    const MOST_EACH: u64 = 128 * 1024;
    let service = start("hostile-lengths", More::default());
    let lengths = [
        ("-1", 400),
        ("2147483648", 400),
        ("1073741824", 400),
        ("18446744073709551600", 400),
        ("18446744073709551615", 400),
        ("65536", 400),
    ];
    for (length, status) in lengths {
        let before = service.memory().expect("memory");
        let mut wires: Vec<Wire> = (0..CONNECTIONS)
            .map(|_| service.connect(Transport::Tcp).expect("a connection"))
            .collect();
        for (wire, number) in wires.iter_mut().zip(1..) {
            let message = options(Transport::Tcp, number, 0);
            let message = message.replace("Content-Length: 0", &format!("Content-Length: {length}"));
            wire.send(message.as_bytes()).expect("sent");
        }
        // Each of them is answered at once, and lingers for a moment, in which all are there together.
        let start = format!("SIP/2.0 {status} ");
        for wire in &mut wires {
            let heard = wire.hear(SOON);
            assert!(
                matches!(&heard, Heard::Message(bytes) if bytes.starts_with(start.as_bytes())),
                "{length}: {heard:?}"
            );
        }
        let each = service.memory().expect("memory").saturating_sub(before) / u64::from(CONNECTIONS);
        println!("a length of {length}: {each} bytes for each connection");
        assert!(each < MOST_EACH, "{length}: {each} bytes each");
        for wire in &mut wires {
            assert_eq!(wire.hear(SOON), Heard::Closed(None), "{length}");
        }
    }
    service
        .metric_becomes("cusax_sip_connections", 0.0)
        .expect("none is left");
}

/// A frame of a client: masked, with a mask that changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126);
    let mut frame = vec![first, 0x80 | length.expect("a short frame"), 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

const TEXT: u8 = 1;
const PING: u8 = 9;
const FINAL: u8 = 0x80;

/// Frames that are legal one by one and too many together (RFC 6455 §5.4, §5.5).
#[test]
fn a_websocket_is_not_filled_by_small_frames() {
    const MOST: u64 = 16 * 1024 * 1024;
    let service = start("hostile-frames", More::default());
    let mut other = service.connect(Transport::Ws).expect("a connection");
    let mut number = 0;
    let mut served = |when: &str| {
        number += 1;
        other.send(options(Transport::Ws, number, 0).as_bytes()).expect("sent");
        assert!(is_ok(&other.hear(SOON)), "others are served {when}");
    };
    let before = service.memory().expect("memory");
    let raw = |wire: &mut Wire, bytes: &[u8]| match wire {
        Wire::WebSocket(socket) => socket.get_mut().write_all(bytes),
        _ => unreachable!("a WebSocket"),
    };

    let mut wire = service.connect(Transport::Ws).expect("a connection");
    let message = options(Transport::Ws, 1, 0);
    let pieces = message.as_bytes().chunks(1).enumerate().map(|(at, piece)| {
        let last = if at + 1 == message.len() { FINAL } else { 0 };
        frame(last | if at == 0 { TEXT } else { 0 }, piece)
    });
    raw(&mut wire, &pieces.collect::<Vec<_>>().concat()).expect("sent");
    assert!(is_ok(&wire.hear(SOON)), "a message may come byte by byte");
    drop(wire);

    // Without end: one byte at a time, and nothing at a time.
    let begun = frame(TEXT, b"O");
    let mut wire = service.connect(Transport::Ws).expect("a connection");
    raw(&mut wire, &begun).expect("sent");
    let many = frame(0, b"x").repeat(1000);
    for _ in 0..100 {
        if raw(&mut wire, &many).is_err() {
            break;
        }
    }
    served("while a message does not end");
    assert_eq!(wire.hear(SOON), Heard::Closed(Some(1009)), "longer than any message");
    drop(wire);
    let mut wire = service.connect(Transport::Ws).expect("a connection");
    raw(&mut wire, &begun).expect("sent");
    for _ in 0..200 {
        if raw(&mut wire, &frame(0, b"").repeat(1000)).is_err() {
            break;
        }
    }
    served("while frames hold nothing");

    // Pings whose answers nobody reads.
    let mut pings = service.connect(Transport::Ws).expect("a connection");
    let Wire::WebSocket(socket) = &mut pings else {
        unreachable!("a WebSocket")
    };
    let many = frame(FINAL | PING, &[b'p'; 100]).repeat(100);
    let (mut sent, start) = (0, Instant::now());
    for round in 0..2000 {
        // Once the service reads no further, as much is enough as the kernel takes.
        match socket.get_mut().write(&many) {
            Ok(length) if length == many.len() => sent += 100,
            _ => break,
        }
        if round % 100 == 0 {
            served("while pings come");
        }
        assert!(start.elapsed() < CLOSED, "pings are read or not");
    }
    served("after the pings");
    let grown = service.memory().expect("memory").saturating_sub(before);
    println!("{sent} pings that nobody heard answered; {grown} bytes grown");
    assert!(grown < MOST, "{grown} bytes");
    drop((wire, pings));
    service
        .metric_becomes("cusax_sip_connections", 1.0)
        .expect("only the one that speaks");
}
