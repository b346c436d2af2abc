//! Reading and writing one INVITE of an ordinary phone, beside the SIP crates that we do not use and why.

#![expect(clippy::unwrap_used, reason = "a benchmark stops where it cannot go on")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use cusax_common::core::sip::Message;

/// As in the service, for all of them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const INVITE: &[u8] = include_bytes!("../tests/samples/invite.sip");

fn parse(criterion: &mut Criterion) {
    let bytes = Bytes::from_static(INVITE);
    let limits = sipx_sip::parser::Limits::datagram();
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Bytes(INVITE.len() as u64));
    group.bench_function("cusax", |b| {
        b.iter(|| Message::parse(black_box(bytes.clone())).unwrap())
    });
    group.bench_function("rsip", |b| {
        b.iter(|| rsip::SipMessage::try_from(black_box(INVITE)).unwrap())
    });
    group.bench_function("rsipstack", |b| {
        b.iter(|| rsipstack::sip::parser::parse_message(black_box(INVITE)).unwrap())
    });
    group.bench_function("sipx-sip", |b| {
        b.iter(|| sipx_sip::parser::parse_datagram(black_box(bytes.clone()), &limits).unwrap());
    });
    group.finish();
}

fn write(criterion: &mut Criterion) {
    let bytes = Bytes::from_static(INVITE);
    let ours = Message::parse(bytes.clone()).unwrap();
    let rsip = rsip::SipMessage::try_from(INVITE).unwrap();
    let rsipstack::sip::SipMessage::Request(rsipstack) = rsipstack::sip::parser::parse_message(INVITE).unwrap() else {
        panic!("a response");
    };
    let limits = sipx_sip::parser::Limits::datagram();
    let sipx_sip::message::Message::Request(sipx) = sipx_sip::parser::parse_datagram(bytes, &limits).unwrap() else {
        panic!("a response");
    };
    let mut group = criterion.benchmark_group("write");
    group.throughput(Throughput::Bytes(INVITE.len() as u64));
    group.bench_function("cusax", |b| b.iter(|| black_box(&ours).to_bytes()));
    group.bench_function("rsip", |b| b.iter(|| black_box(&rsip).to_string()));
    group.bench_function("rsipstack", |b| b.iter(|| black_box(&rsipstack).to_bytes()));
    group.bench_function("sipx-sip", |b| {
        b.iter(|| {
            let mut out = Vec::new();
            black_box(&sipx).write_to(&mut out);
            out
        });
    });
    group.finish();
}

criterion_group!(benches, parse, write);
criterion_main!(benches);
