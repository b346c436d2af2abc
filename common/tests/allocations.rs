//! How often reading and writing a message asks for memory: a bound, so that it does not creep up.

#![allow(
    unsafe_code,
    reason = "counting allocations takes an allocator, which is unsafe by its trait"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use cusax_common::core::sip::Message;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches a thread-local number only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = COUNT.with(Cell::get);
    let result = work();
    (COUNT.with(Cell::get) - before, result)
}

#[test]
fn reading_and_writing_stay_frugal() {
    let bytes = Bytes::from_static(include_bytes!("samples/invite.sip"));
    let (reading, message) = count(|| Message::parse(bytes.clone()));
    let Ok(message) = message else { panic!("not read") };
    let (writing, written) = count(|| message.to_bytes());
    assert_eq!(written, bytes);
    println!("reading {reading}, writing {writing}");
    assert!(
        (1..=MOST_READING).contains(&reading),
        "reading took {reading} allocations"
    );
    assert!(
        (1..=MOST_WRITING).contains(&writing),
        "writing took {writing} allocations"
    );
}

/// The lines, and the text of the Request-URI.
const MOST_READING: usize = 2;
/// The bytes, and at most what shrinking them costs.
const MOST_WRITING: usize = 2;
