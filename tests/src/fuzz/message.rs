//! Messages out of datagrams and streams.

use bytes::Bytes;
use cusax_common::core::entropy::Seeded;
use cusax_common::core::sip::frame::{Frame, Framer};
use cusax_common::core::sip::typed::{CallId, Via};
use cusax_common::core::sip::{HeaderName, Headers, MAX_HEADERS, MAX_MESSAGE, Message, Value};

use super::header::ask_everything;

/// A datagram: whatever is accepted is written again as an equal message, which is one frame of a stream, and all its
/// headers can be asked for. What is refused is answered by one message, or not at all.
pub fn message(data: &[u8]) {
    match Message::parse(Bytes::copy_from_slice(data)) {
        Ok(message) => accepted(&message),
        Err(fault) => {
            assert!(fault.place <= data.len(), "a fault behind the end: {fault}");
            if let (Some(status), Some(request)) = (fault.status, fault.reply_to) {
                ask_everything(&request.headers);
                is_one_frame(&request.response(status).to_bytes());
            }
        }
    }
}

fn accepted(message: &Message) {
    for (_, value) in message.headers().iter() {
        assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
    }
    ask_everything(message.headers());
    marks_agree(message.headers());
    let written = message.to_bytes();
    is_one_frame(&written);
    let expected = with_length(message);
    // What came without Content-Length at the very limits is beyond them with it.
    if written.len() <= MAX_MESSAGE && expected.headers().len() <= MAX_HEADERS {
        let again = Message::parse(written.clone()).unwrap_or_else(|fault| panic!("{fault} in {written:?}"));
        assert_eq!(again, expected, "written as {written:?}");
        assert_eq!(again.to_bytes(), written);
    }
    if let Message::Request(request) = message {
        is_one_frame(&request.response(cusax_common::core::sip::Status::OK).to_bytes());
    }
}

/// What matches a message is read in place as the typed headers read it. What is no UTF-8 there is a fault in place, since two
/// of them would look alike as text.
fn marks_agree(headers: &Headers) {
    let (hop, via) = (headers.hop(), headers.first::<Via>().expect("checked at the door"));
    if let Ok(hop) = hop {
        assert_eq!(hop.branch(), via.branch());
    }
    let (from, to) = (headers.from().expect("checked"), headers.to().expect("checked"));
    for (mark, tag) in [(headers.from_tag(), from.tag()), (headers.to_tag(), to.tag())] {
        assert!(mark.is_err() && tag.is_some_and(|tag| tag.contains(char::REPLACEMENT_CHARACTER)) || mark == Ok(tag));
    }
    let call_id = headers.one::<CallId>().expect("checked");
    assert_eq!(headers.call_id().expect("checked").to_text(), call_id.as_str());
    assert_eq!(headers.cseq(), headers.one());
    let (only, list) = (headers.only_hop(), headers.list::<Via>());
    assert!(only.is_none() || list.is_ok_and(|list| list.len() == 1));
}

/// The message with the `Content-Length` that writing adds.
fn with_length(message: &Message) -> Message {
    let mut message = message.clone();
    let length = Value::new(message.body().len().to_string()).expect("digits");
    let add = |headers: &mut Headers| {
        if !headers.has(&HeaderName::CONTENT_LENGTH) {
            headers.push(HeaderName::CONTENT_LENGTH, length);
        }
    };
    match &mut message {
        Message::Request(request) => add(&mut request.headers),
        Message::Response(response) => add(&mut response.headers),
    }
    message
}

/// What we send is one message to whoever reads it from a stream: nothing that a stranger wrote ends it early.
fn is_one_frame(bytes: &Bytes) {
    if bytes.len() <= MAX_MESSAGE {
        let mut framer = Framer::new();
        framer.push(bytes);
        assert_eq!(
            framer.next_frame(),
            Ok(Some(Frame::Message(bytes.clone()))),
            "{bytes:?}"
        );
        assert_eq!(framer.waiting(), 0);
    }
}

/// A stream: however it is cut, it gives the same messages, and no more is held than one message and what came last.
pub fn framing(data: &[u8]) {
    let Some((seed, mut stream)) = data.split_first_chunk::<4>() else {
        return;
    };
    let long;
    if seed[0] == u8::MAX && !stream.is_empty() {
        // The limits are far beyond what a fuzzer makes up.
        long = stream.repeat(MAX_MESSAGE / stream.len() + 2);
        stream = &long;
    }
    let mut entropy = Seeded::new(u32::from_be_bytes(*seed).into());
    let whole = read(stream, |left| left);
    let longest = 1 + usize::from(seed[1]) * usize::from(seed[1]) + stream.len() / 64;
    let cut = read(stream, |left| {
        1 + usize::try_from(entropy.next_u64()).unwrap_or_default() % longest.min(left)
    });
    assert_eq!(whole, cut);
}

/// The frames, whether the stream broke, and how many bytes wait.
fn read(mut stream: &[u8], mut length: impl FnMut(usize) -> usize) -> (Vec<Frame>, bool, usize) {
    let (mut framer, mut frames, mut broken) = (Framer::new(), Vec::new(), false);
    while !stream.is_empty() {
        let (piece, rest) = stream.split_at(length(stream.len()));
        stream = rest;
        framer.push(piece);
        assert!(
            framer.waiting() <= MAX_MESSAGE + piece.len(),
            "more is held than one message"
        );
        loop {
            match framer.next_frame() {
                Ok(Some(frame)) => {
                    assert!(!broken, "a frame behind a fault");
                    whole(&frame);
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(fault) => {
                    assert!(!std::mem::replace(&mut broken, true), "broken twice");
                    assert!(fault.head.len() <= stream.len() + MAX_MESSAGE + piece.len());
                    let _ = Message::parse(fault.head);
                }
            }
        }
        assert!(framer.waiting() <= MAX_MESSAGE, "more waits than one message");
    }
    (frames, broken, framer.waiting())
}

/// A message that is accepted ends where its frame ends: framer and parser agree on the length.
fn whole(frame: &Frame) {
    if let Frame::Message(bytes) = frame
        && let Ok(message) = Message::parse(bytes.clone())
    {
        let head = bytes.strip_suffix(&message.body()[..]);
        assert!(head.is_some_and(|head| head.ends_with(b"\r\n\r\n")), "{bytes:?}");
    }
}
