//! What names tell apart, and which requests belong to the table.

use cusax_common::core::sip::{HeaderName, Value};

use super::super::super::key::{Incoming, Keys};
use super::*;

fn named(keys: &Keys, request: &Request) -> Incoming {
    Incoming::read(keys, request, &request.headers.hop().unwrap()).unwrap()
}

/// Pairs that differ by little: one bit, the first letter of what is too long to be its own name, and the length.
const METHODS: [&str; 8] = [
    "INVITE",
    "PA",
    "PC",
    "A",
    "XABCDEFGHIJKLMNOP",
    "YABCDEFGHIJKLMNOP",
    "ABCDEFGHIJKLMNOP",
    "ZXABCDEFGHIJKLMNOP",
];

#[test]
fn methods_are_told_apart_at_every_place() {
    let keys = Keys::new(&[7; 16]);
    for number in 1..64 {
        let branch = format!("z9hG4bK{number}");
        let requests = METHODS.map(|method| request(method, &branch, "", number));
        let names = requests.each_ref().map(|request| named(&keys, request));
        let clients = requests.each_ref().map(|request| ClientKey::expected(&keys, request));
        for one in 0..METHODS.len() {
            for other in 0..one {
                let pair = (METHODS[one], METHODS[other]);
                assert_ne!(names[one].server, names[other].server, "{pair:?}");
                assert_ne!(names[one].request, names[other].request, "{pair:?}");
                assert_ne!(clients[one], clients[other], "{pair:?}");
                assert_eq!(names[one].place, names[other].place);
            }
        }
    }
}

/// Else somebody could make the end of one part look like the next.
#[test]
fn parts_do_not_run_into_each_other() {
    let keys = Keys::new(&[7; 16]);
    let read = |call_id: &str, tag: &str| {
        let mut request = request("OPTIONS", "z9hG4bK1", "", 1);
        request.headers.remove(&HeaderName::CALL_ID);
        request
            .headers
            .push(HeaderName::CALL_ID, Value::new(call_id.to_owned()).unwrap());
        let mut from = request.headers.from().unwrap();
        from.set_tag(tag);
        request.headers.replace(&from);
        named(&keys, &request).request
    };
    assert_ne!(read("aa", "b"), read("a", "ab"));
    assert_ne!(
        read("aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "b"),
        read("aaaaaaaaaaaaaaaaaaaaaaaaaaa", "ab")
    );
}

#[test]
fn a_call_id_has_a_longest_form() {
    for (length, seen) in [
        (MAX_TOKEN, "request OPTIONS"),
        (MAX_TOKEN + 1, "refused 400"),
        (MAX_TOKEN + 2, "refused 400"),
    ] {
        let mut world = World::new();
        let mut request = request("OPTIONS", "z9hG4bK1", "", 1);
        request.headers.remove(&HeaderName::CALL_ID);
        let value = Value::new("c".repeat(length)).unwrap();
        request.headers.push(HeaderName::CALL_ID, value);
        world.take(udp(), request);
        world.expect("a Call-ID of this length", &[(0, seen)]);
    }
}

#[test]
fn a_request_belongs_here_by_its_branch_or_by_what_it_acknowledges() {
    let mut world = World::new();
    let (ours, others) = ("z9hG4bK1", "z9hG4bK2");
    let knows =
        |world: &mut World, method: &str, branch: &str, tag: &str| world.table.knows(&request(method, branch, tag, 1));
    for method in ["INVITE", "CANCEL", "ACK", "OPTIONS"] {
        assert!(!knows(&mut world, method, ours, ""), "nothing is here: {method}");
    }
    world.take(udp(), request("INVITE", ours, "", 1));
    for (method, branch, wanted) in [
        ("INVITE", ours, true),
        ("INVITE", others, false),
        ("CANCEL", ours, true),
        ("CANCEL", others, false),
        ("ACK", ours, true),
        ("ACK", others, false),
        ("OPTIONS", ours, false),
    ] {
        assert_eq!(knows(&mut world, method, branch, ""), wanted, "{method} {branch}");
    }
    let answer = reply(&request("INVITE", ours, "", 1), 200, "b");
    world.respond(&answer).unwrap();
    assert!(
        knows(&mut world, "ACK", others, "b"),
        "that of the 2xx has a branch of its own"
    );
    assert!(!knows(&mut world, "ACK", others, "c"));
    let mut broken = request("INVITE", ours, "", 1);
    broken.headers.remove(&HeaderName::CSEQ);
    assert!(!world.table.knows(&broken));
}
