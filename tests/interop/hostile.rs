//! Peers that send too much at once, too little, or nothing, and that want to know who is there.

#![expect(clippy::disallowed_methods, reason = "real time is what is measured")]

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use cusax_b2bua::core::flow::Transport;
use cusax_tests::lab::service::{More, Service};
use cusax_tests::lab::wait;
use cusax_tests::lab::wire::{self, Heard};

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
