//! What memory a call takes that is up: a bound, so that it does not creep up.

#![allow(
    unsafe_code,
    reason = "counting bytes takes an allocator, which is unsafe by its trait"
)]

#[path = "../benches/scene/mod.rs"]
mod scene;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use scene::REMEMBERED;
use scene::exchange::Exchange;

struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    LIVE.with(|live| live.set(live.get() + bytes));
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches a thread-local number only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// All that the endpoint keeps for calls that are up, when the transactions that made them are over.
#[test]
fn a_call_that_is_up_takes_little() {
    let mut exchange = Exchange::new(PAUSE);
    exchange.challenge_all(CALLS);
    let mut up = Vec::with_capacity(CALLS);
    let before = LIVE.with(Cell::get);
    for _ in 0..CALLS {
        up.push(exchange.begin());
    }
    for _ in 0..2 {
        exchange.scene.pass(REMEMBERED);
        exchange.scene.wake();
    }
    assert_eq!((exchange.scene.calls(), exchange.scene.transactions()), (CALLS, 0));
    let theirs: usize = up.iter().map(|up| up.bye.capacity()).sum();
    let taken = usize::try_from(LIVE.with(Cell::get) - before).expect("calls take something") - theirs;
    for call in &up {
        exchange.end(call);
    }
    exchange.scene.pass(REMEMBERED);
    exchange.scene.wake();
    assert_eq!(exchange.scene.calls(), 0, "they can be ended as usual");
    println!("{} bytes for a call", taken / CALLS);
    assert!(taken / CALLS <= MOST, "{} bytes for a call", taken / CALLS);
}

/// From one call to the next, so that few transactions are remembered at one time.
const PAUSE: Duration = Duration::from_millis(200);
/// Fills tables that double.
const CALLS: usize = 1792;
/// In bytes.
const MOST: usize = 4_700;
