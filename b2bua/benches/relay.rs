//! What one relayed packet costs: the decisions alone, and the way through real sockets and back.

use std::hint::black_box;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::channel;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use cusax_b2bua::core::media::latch::Latch;
use cusax_b2bua::core::media::tone::{PACKET, Player};
use cusax_b2bua::core::media::{Law, MediaCommand, MediaEvent, MediaId, PlayCodec, Side, Target, Tone, rtp};
use cusax_b2bua::io::relay::{Relay, RelayConfig};

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("relay");
    group.throughput(Throughput::Elements(1));
    let source: SocketAddr = "192.0.2.10:20000".parse().expect("an address");
    let mut latch = Latch::default();
    latch.aim(Target {
        rtp: Some(source),
        rtcp: None,
        also: None,
    });
    let packet = voice();
    group.bench_function("judge a packet", |bencher| {
        bencher.iter(|| {
            let header = rtp::read(black_box(&packet)).expect("a good packet");
            latch.judge(black_box(source), header.ssrc, header.sequence)
        });
    });
    let tone = Tone {
        repetitions: 255,
        ..Tone::default()
    };
    let mut player = Player::new(
        tone,
        PlayCodec {
            law: Law::A,
            payload: 8,
        },
        [7; 10],
    );
    let mut buffer = [0; PACKET];
    group.bench_function("make a packet of tone", |bencher| {
        bencher.iter(|| player.next(black_box(&mut buffer)))
    });
    group.finish();
}

fn sockets(criterion: &mut Criterion) {
    let address = "127.77.200.1".parse().expect("an address");
    let (sender, events) = channel();
    let config = RelayConfig {
        allow_networks: vec!["127.0.0.0/8".parse().expect("a network")],
        ..RelayConfig::new(vec![address])
    };
    let relay = Relay::start(config, move |event| _ = sender.send(event)).expect("a relay");
    let id = MediaId(1);
    relay.submit(MediaCommand::Open {
        id,
        caller: address,
        callee: address,
    });
    let Ok(MediaEvent::Opened { caller, .. }) = events.recv() else {
        panic!("no ports")
    };
    let [from, to] = ["127.77.200.2:0", "127.77.200.3:0"].map(|address| UdpSocket::bind(address).expect("a socket"));
    to.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    for (side, phone) in [(Side::Caller, &from), (Side::Callee, &to)] {
        let rtp = phone.local_addr().ok();
        relay.submit(MediaCommand::Aim {
            id,
            side,
            target: Target {
                rtp,
                rtcp: None,
                also: None,
            },
        });
    }
    relay.submit(MediaCommand::Open {
        id,
        caller: address,
        callee: address,
    });
    events.recv().expect("the refusal that tells that both aims were taken");

    let mut group = criterion.benchmark_group("relay");
    group.throughput(Throughput::Elements(1));
    let (packet, mut buffer) = (voice(), [0; 2048]);
    group.bench_function("through two sockets, one at a time", |bencher| {
        bencher.iter(|| {
            from.send_to(&packet, caller).expect("sent");
            to.recv(&mut buffer).expect("relayed")
        });
    });
    group.finish();
    relay.shutdown();
}

fn voice() -> Vec<u8> {
    [&[0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 9][..], &[0xff; 160]].concat()
}

criterion_group!(benches, decisions, sockets);
criterion_main!(benches);
