//! What a registration costs the endpoint alone: REGISTER, 401, REGISTER with a proof, 200, without sockets and stores.

mod scene;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

use scene::{PHONES, REMEMBERED, Scene};

/// As in the service.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Registrations in a second of simulated time.
const RATE: u32 = 4000;

fn registrations(criterion: &mut Criterion) {
    let (mut scene, mut done) = (Scene::new(), 0);
    let mut register = || {
        let (phone, sequence) = (done % PHONES, done / PHONES * 2 + 1);
        done += 1;
        scene.pass(Duration::from_secs(1) / RATE);
        scene.register(phone, sequence);
        scene.take_spent()
    };
    // As it is in the middle of a long day.
    for _ in 0..REMEMBERED.as_secs() as u32 * RATE {
        register();
    }
    criterion.bench_function("register with a challenge", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| register()).sum());
    });
}

criterion_group!(benches, registrations);
criterion_main!(benches);
