//! What a call costs the endpoint alone: INVITE with a proof, 180, 200, ACK, BYE, 200, without sockets, stores and relay.
//!
//! For instructions instead of time:
//! `valgrind --tool=callgrind --toggle-collect='*scene::hand_over*' target/release/deps/calls-… --test`.

mod scene;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

use scene::REMEMBERED;
use scene::exchange::Exchange;

/// As in the service.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Calls in a second of simulated time.
const RATE: u32 = 1000;

fn calls(criterion: &mut Criterion) {
    let mut exchange = Exchange::new(Duration::from_secs(1) / RATE);
    // As it is in the middle of a long day.
    for _ in 0..REMEMBERED.as_secs() as u32 * RATE {
        exchange.call();
    }
    criterion.bench_function("call", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| exchange.call()).sum());
    });
}

criterion_group!(benches, calls);
criterion_main!(benches);
