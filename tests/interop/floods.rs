//! More calls than anybody means, while a hundred are up: those that are up notice nothing.

#![expect(clippy::disallowed_methods, reason = "real time is what is measured")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cusax_b2bua::core::flow::Transport;
use cusax_common::core::sip::{Message, Method, Status};
use cusax_tests::lab::service::{More, Service};
use cusax_tests::lab::softphone::Softphone;
use cusax_tests::peer::phone::{Account, MEDIA, Manner, Stage};

/// How many calls are up.
const CALLS: u8 = 100;
/// How long a flood goes on.
const FLOOD: Duration = Duration::from_secs(5);
/// How long anything proper may take; a peer that is not heard asks for so long (RFC 3261 timer B).
const SOON: Duration = Duration::from_secs(32);
/// How often each side sends a packet.
const PACKET: Duration = Duration::from_millis(20);
/// What all memory together may grow by.
const MOST_MEMORY: u64 = 64 * 1024 * 1024;

#[test]
fn calls_that_are_up_do_not_notice_floods_of_calls() {
    let service = start();
    let mut phones = phones(&service);
    let mut streams = Stream::of(&phones);
    let before = service.memory().expect("memory");

    // Without a flood first: what this machine does by itself.
    let floods = [
        ("none", 0, 0),
        ("2,000 calls a second from one address", 2_000, 1),
        ("5,000 calls a second from 500 addresses", 5_000, 500),
    ];
    for (what, rate, sources) in floods {
        let received = service.metric(REQUESTS).expect("a figure");
        let drops = service.kernel_drops().expect("drops");
        let over = AtomicBool::new(false);
        let sent = std::thread::scope(|scope| {
            let media = scope.spawn(|| Stream::run(&mut streams, &over));
            let flood = scope.spawn(|| flood(&service, rate, sources));
            // What is said within calls is heard all the same.
            for phone in &mut phones {
                phone.phone.heard.clear();
            }
            for phone in &mut phones[..usize::from(CALLS)] {
                phone.act(|phone, now| phone.reinvite(now));
            }
            let answered = |phone: &Softphone| {
                phone
                    .phone
                    .responses()
                    .iter()
                    .any(|response| response.status == Status::OK)
            };
            go_on(&mut phones, "every change of a call to be answered", |phones| {
                phones[..usize::from(CALLS)].iter().all(answered) && flood.is_finished()
            });
            over.store(true, Ordering::Relaxed);
            media.join().expect("media");
            flood.join().expect("a flood")
        });
        let figures = Figures::of(&mut streams);
        let grown = service.memory().expect("memory").saturating_sub(before);
        println!(
            "{what}: {sent} sent, {} read, {} lost by the kernel; of {} packets of {CALLS} calls {} lost, the longest gap \
             {} ms, the middle of the longest gaps of each {} ms; {grown} bytes grown",
            service.metric(REQUESTS).expect("a figure") - received,
            service.kernel_drops().expect("drops") - drops,
            figures.sent,
            figures.lost,
            figures.longest.as_millis(),
            figures.middle.as_millis(),
        );
        assert!(figures.sent > u64::from(CALLS) * 2 * 100, "{what}: media went on");
        assert!(figures.lost * 50 <= figures.sent, "{what}: {figures:?}");
        assert!(grown < MOST_MEMORY, "{what}: {grown} bytes");
        assert!(
            phones.iter().all(|phone| phone.phone.stage == Stage::Up),
            "{what}: all are up"
        );
    }
    assert_eq!(service.metric("cusax_calls").expect("a figure"), f64::from(CALLS));

    for phone in &mut phones[..usize::from(CALLS)] {
        phone.act(|phone, now| phone.hang_up(now));
    }
    go_on(&mut phones, "every call to end", |phones| {
        phones.iter().all(|phone| matches!(phone.phone.stage, Stage::Over(_)))
    });
    service.metric_becomes("cusax_calls", 0.0).expect("none is left");
    assert!(!service.child.log().contains("panicked"), "nothing panics");
}

const REQUESTS: &str = "cusax_sip_received_total{kind=\"request\"}";

fn start() -> Service {
    let program = env!("CARGO_BIN_EXE_cusax").as_ref();
    let service = Service::start_with(
        "floods",
        program,
        Ipv4Addr::LOCALHOST.into(),
        "sip.example.com",
        More::default(),
    );
    let service = service.expect("a service");
    let mut logins = vec!["al".to_owned()];
    logins.extend((0..CALLS).map(|number| format!("bo{number}")));
    for login in logins {
        let (jid, aor) = (format!("{login}@example.com"), format!("sip:{login}@sip.example.com"));
        service.add_user(&jid, &aor, &login, "secret").expect("a user");
    }
    service
}

/// Those who call, and behind them those who are called; every call is up.
fn phones(service: &Service) -> Vec<Softphone> {
    let phone = |network: u8, number: u8, login: &str| {
        let account = Account {
            aor: format!("sip:{login}@sip.example.com"),
            username: login.to_owned(),
            password: "secret".to_owned(),
        };
        let local = SocketAddr::new(Ipv4Addr::new(127, network, 0, number + 1).into(), 0);
        let seed = u64::from(network) << 8 | u64::from(number);
        let mut phone = Softphone::new(local, service.address(Transport::Udp), account, seed).expect("a phone");
        phone.phone.manner = Manner::Answer(Duration::ZERO);
        phone
    };
    let callers = (0..CALLS).map(|number| phone(89, number, "al"));
    let callees = (0..CALLS).map(|number| phone(87, number, &format!("bo{number}")));
    let mut phones: Vec<_> = callers.chain(callees).collect();
    for phone in &mut phones[usize::from(CALLS)..] {
        phone.act(|phone, now| phone.register(now, 3600));
    }
    go_on(&mut phones, "registration", |_| {
        service
            .metric("cusax_registered_phones")
            .is_ok_and(|count| count == f64::from(CALLS))
    });
    for (phone, number) in phones.iter_mut().zip(0..CALLS) {
        phone.act(|phone, now| phone.call(now, &format!("sip:bo{number}@sip.example.com")));
    }
    go_on(&mut phones, "calls to be up", |phones| {
        phones.iter().all(|phone| phone.phone.stage == Stage::Up)
    });
    phones
}

fn go_on(phones: &mut [Softphone], what: &str, condition: impl Fn(&[Softphone]) -> bool) {
    let end = Instant::now() + SOON;
    while !condition(phones) {
        assert!(Instant::now() < end, "waited for {what}");
        for phone in &mut *phones {
            phone.pump().expect("sent");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Calls that nobody has proved, so many a second; gives how many there were.
fn flood(service: &Service, rate: u32, sources: u16) -> u32 {
    let sockets: Vec<_> = (0..sources)
        .map(|number| {
            let address = Ipv4Addr::new(127, 88, (number / 250) as u8, (number % 250) as u8 + 1);
            let socket = UdpSocket::bind((address, 0)).expect("a socket");
            socket.connect(service.address(Transport::Udp)).expect("connected");
            socket
        })
        .collect();
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < FLOOD {
        let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u32;
        while sent < due {
            let text = format!(
                "INVITE sip:bo1@sip.example.com SIP/2.0\r\nVia: SIP/2.0/UDP h.invalid;branch=z9hG4bKf{rate}x{sent};rport\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:x@h.invalid>;tag={sent}\r\nTo: <sip:bo1@sip.example.com>\r\n\
                 Call-ID: f{rate}x{sent}\r\nCSeq: 1 INVITE\r\nContact: <sip:x@h.invalid>\r\nContent-Length: 0\r\n\r\n"
            );
            let _ = sockets[sent as usize % sockets.len()].send(text.as_bytes());
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    sent
}

/// The media of one side of a call: what it sends is to arrive at the other side.
struct Stream {
    socket: UdpSocket,
    /// Where the relay takes it.
    to: SocketAddr,
    /// Of the next packet.
    number: u32,
    sent: u64,
    heard: u64,
    last: Option<Instant>,
    longest: Duration,
}

#[derive(Debug)]
struct Figures {
    sent: u64,
    lost: u64,
    longest: Duration,
    middle: Duration,
}

impl Stream {
    fn of(phones: &[Softphone]) -> Vec<Self> {
        let streams = phones.iter().map(|phone| {
            let described = phone.phone.heard.iter().rev().find_map(|message| {
                let ours = match message {
                    Message::Request(request) => request.method == Method::Invite,
                    Message::Response(response) => response.status == Status::OK,
                };
                (ours && !message.body().is_empty()).then(|| String::from_utf8_lossy(message.body()).into_owned())
            });
            let described = described.expect("a description");
            let line = |start: &str| {
                let line = described.lines().find_map(|line| line.strip_prefix(start));
                line.and_then(|rest| rest.split(' ').next()).expect("a line").to_owned()
            };
            let (ip, port) = (line("c=IN IP4 "), line("m=audio "));
            let socket = UdpSocket::bind((phone.phone.address.ip(), MEDIA)).expect("a socket");
            socket.set_nonblocking(true).expect("a socket");
            Self {
                socket,
                to: format!("{ip}:{port}").parse().expect("an address"),
                number: 0,
                sent: 0,
                heard: 0,
                last: None,
                longest: Duration::ZERO,
            }
        });
        streams.collect()
    }

    /// Sends and hears until it is over, and a little longer to hear the last ones.
    fn run(streams: &mut [Self], over: &AtomicBool) {
        let mut next = Instant::now();
        let mut buffer = [0; 2048];
        let mut ended = None;
        loop {
            if ended.is_none() && Instant::now() >= next {
                next += PACKET;
                for stream in &mut *streams {
                    let mut packet = [0x55; 172];
                    packet[..2].copy_from_slice(&[0x80, 0]);
                    packet[2..4].copy_from_slice(&(stream.number as u16).to_be_bytes());
                    packet[4..8].copy_from_slice(&(stream.number * 160).to_be_bytes());
                    packet[8..12].copy_from_slice(&u32::from(stream.to.port()).to_be_bytes());
                    stream.number += 1;
                    stream.sent += u64::from(stream.socket.send_to(&packet, stream.to).is_ok());
                }
                if over.load(Ordering::Relaxed) {
                    ended = Some(Instant::now());
                }
            }
            for stream in &mut *streams {
                while stream.socket.recv(&mut buffer).is_ok() {
                    let now = Instant::now();
                    stream.heard += 1;
                    let gap = stream.last.replace(now).map_or(Duration::ZERO, |last| now - last);
                    stream.longest = stream.longest.max(gap);
                }
            }
            if ended.is_some_and(|at| at.elapsed() > PACKET * 25) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Figures {
    /// What there was since the last time.
    fn of(streams: &mut [Stream]) -> Self {
        let (sent, heard) = streams
            .iter()
            .fold((0, 0), |(sent, heard), one| (sent + one.sent, heard + one.heard));
        let mut gaps: Vec<_> = streams.iter().map(|one| one.longest).collect();
        gaps.sort();
        for stream in streams {
            (stream.sent, stream.heard, stream.last, stream.longest) = (0, 0, None, Duration::ZERO);
        }
        Self {
            sent,
            lost: sent.saturating_sub(heard),
            longest: gaps.last().copied().unwrap_or_default(),
            middle: gaps[gaps.len() / 2],
        }
    }
}
