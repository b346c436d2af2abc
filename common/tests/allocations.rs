//! How often reading and writing a message asks for memory: a bound, so that it does not creep up.

#![allow(
    unsafe_code,
    reason = "counting allocations takes an allocator, which is unsafe by its trait"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use cusax_common::core::sip::typed::Via;
use cusax_common::core::sip::{Fault, Message};

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

/// Parts of a body are not looked for, however many and however deep: reading takes as many steps as with a letter.
#[test]
fn the_parts_of_a_body_cost_nothing() {
    let message = |kind: &str, body: &str| {
        // Exactly as long as it is, so that sharing costs the same for each.
        let text = format!(
            "INVITE sip:b@example.net SIP/2.0\r\nVia: SIP/2.0/UDP a.example;branch=z9hG4bK1\r\nFrom: <sip:a@example.net>;tag=1\r\n\
             To: <sip:b@example.net>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Bytes::from(text.into_bytes().into_boxed_slice())
    };
    let nested = |depth: usize| -> String {
        let part = |n| format!("--b{n}\r\nContent-Type: multipart/mixed;boundary=b{}\r\n\r\n", n + 1);
        (0..depth).map(part).collect()
    };
    let rows = [
        ("multipart/mixed;boundary=b0", nested(50)),
        ("multipart/mixed;boundary=b0", nested(100)),
        ("multipart/mixed;boundary=b", "--b\r\n\r\n".repeat(4_000)),
        ("multipart/mixed;boundary=b", "--b\r\n\r\n".repeat(8_000)),
    ];
    let plain = message("text/plain", "x");
    let (least, _) = count(|| Message::parse(plain));
    for (kind, body) in rows {
        let bytes = message(kind, &body);
        let (reading, read) = count(|| Message::parse(bytes));
        let Ok(Message::Request(request)) = read else {
            panic!("not read")
        };
        assert_eq!(request.body.len(), body.len());
        assert_eq!(reading, least, "{} bytes", body.len());
    }
}

/// A list of twice as many values takes twice as many steps, not four times.
#[test]
fn a_list_costs_what_is_in_it() {
    let reading = |values: usize| {
        let list = vec!["SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1"; values].join(",");
        let bytes = Bytes::from(format!(
            "OPTIONS sip:b@example.net SIP/2.0\r\nVia: {list}\r\nFrom: <sip:a@example.net>;tag=1\r\nTo: <sip:b@example.net>\r\n\
             Call-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n"
        ));
        let (taken, read) = count(|| {
            let message = Message::parse(bytes)?;
            let vias = message.headers().list::<Via>();
            Ok::<_, Fault>(vias.map_or(0, |vias| vias.len()))
        });
        assert_eq!(read.ok(), Some(values));
        taken
    };
    let [once, twice] = [500, 1000].map(reading);
    println!("{once} and {twice}");
    assert!(once >= 500 && twice <= 2 * once + 10, "{once} and {twice}");
}

/// The lines, and the text of the Request-URI.
const MOST_READING: usize = 2;
/// The bytes, and at most what shrinking them costs.
const MOST_WRITING: usize = 2;
