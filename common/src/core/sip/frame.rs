//! Messages out of a byte stream (RFC 3261 §18.3, RFC 5626 §3.5.1).
//!
//! On a stream `Content-Length` alone says where a message ends, so here it must be there, once, and within bounds;
//! what goes wrong once cannot be mended, and the stream is to be closed.

use bytes::{Buf as _, Bytes, BytesMut};

use super::MAX_MESSAGE;
use super::name::Known;
use super::scan;

/// Collects bytes and gives messages.
///
/// # Use
/// [`push`](Self::push) what was read, then call [`next_frame`](Self::next_frame) until it gives `Ok(None)`. After an error the
/// stream has no more messages.
///
/// # Invariant
/// It never holds more than [`MAX_MESSAGE`] bytes and what one `push` brought.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    /// How far the end of the headers was looked for in vain.
    searched: usize,
    /// How long the message is that is being read, once that is known.
    known: Option<usize>,
    broken: bool,
}

/// What a stream brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// One whole message, for [`Message::parse`](super::Message::parse).
    Message(Bytes),
    /// A double line end, which wants a single one as its answer (RFC 5626 §3.5.1).
    Ping,
}

/// Why a stream cannot be cut into messages. The bytes up to the fault are kept for an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Broken {
    /// What is wrong.
    pub why: &'static str,
    /// The headers, if they are whole: [`Message::parse`](super::Message::parse) finds the fault in most of them again.
    pub head: Bytes,
}

impl Framer {
    /// Nothing read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// How many bytes wait for the rest of their message.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole message, if it is there.
    ///
    /// # Errors
    /// The stream cannot be cut from here on: answer if possible, and close it.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Broken> {
        if self.broken {
            return Ok(None);
        }
        if let Some(whole) = self.known {
            return Ok(self.take(whole));
        }
        while self.buffer.starts_with(b"\r\n") {
            self.searched = 0;
            if self.buffer.starts_with(b"\r\n\r\n") {
                self.buffer.advance(4);
                return Ok(Some(Frame::Ping));
            }
            if b"\r\n\r\n".starts_with(&self.buffer[..]) {
                return Ok(None);
            }
            self.buffer.advance(2);
        }
        let Some(head) = self.find_end() else {
            if self.buffer.len() > MAX_MESSAGE {
                return self.give_up("headers without end", 0);
            }
            return Ok(None);
        };
        let body = match content_length(&self.buffer[..head]) {
            Ok(body) => body,
            Err(why) => return self.give_up(why, head),
        };
        match head.checked_add(body) {
            Some(whole) if whole <= MAX_MESSAGE => {
                self.known = Some(whole);
                Ok(self.take(whole))
            }
            _ => self.give_up("a message that is too long", head),
        }
    }

    /// The message, once all of it is there.
    fn take(&mut self, whole: usize) -> Option<Frame> {
        if self.buffer.len() < whole {
            return None;
        }
        self.searched = 0;
        self.known = None;
        Some(Frame::Message(self.buffer.split_to(whole).freeze()))
    }

    /// Where the body begins.
    fn find_end(&mut self) -> Option<usize> {
        let from = self.searched.saturating_sub(3);
        match memchr::memmem::find(&self.buffer[from..], b"\r\n\r\n") {
            Some(at) => Some(from + at + 4),
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }

    fn give_up(&mut self, why: &'static str, head: usize) -> Result<Option<Frame>, Broken> {
        self.broken = true;
        let head = self.buffer.split_to(head).freeze();
        self.buffer = BytesMut::new();
        Err(Broken { why, head })
    }
}

/// The one `Content-Length` of a whole head. The parser proper judges everything else.
fn content_length(head: &[u8]) -> Result<usize, &'static str> {
    let mut found = None;
    let mut lines = memchr::memmem::find_iter(head, b"\r\n");
    let mut start = lines.next().map_or(head.len(), |end| end + 2);
    for end in lines {
        let line = &head[start..end];
        start = end + 2;
        let Some(colon) = line.iter().position(|&b| b == b':') else {
            continue;
        };
        if Known::of(line[..colon].trim_ascii_end()) != Some(Known::ContentLength) {
            continue;
        }
        if found.is_some() {
            return Err("two Content-Length");
        }
        // A folded number, or a lone line end in it, is no number.
        let folded = matches!(head.get(start), Some(b' ' | b'\t'));
        let text = std::str::from_utf8(line[colon + 1..].trim_ascii())
            .ok()
            .filter(|_| !folded);
        let length = text
            .and_then(|text| scan::number(text).ok())
            .and_then(|n| usize::try_from(n).ok());
        found = Some(length.ok_or("a Content-Length that is no number")?);
    }
    found.ok_or("no Content-Length")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "OPTIONS sip:a SIP/2.0\r\nVia: x\r\n";

    fn frames(framer: &mut Framer) -> Result<Vec<Frame>, Broken> {
        std::iter::from_fn(|| framer.next_frame().transpose()).collect()
    }

    #[test]
    fn messages_come_whole_however_they_are_cut() {
        let one = format!("{HEAD}l : 5\r\n\r\nhello");
        let two = format!("{HEAD}Content-Length: 0\r\n\r\n");
        let stream = format!("\r\n\r\n{one}\r\n{two}\r\n\r\n{one}");
        let message = |text: &str| Frame::Message(Bytes::copy_from_slice(text.as_bytes()));
        let expected = [Frame::Ping, message(&one), message(&two), Frame::Ping, message(&one)];
        for size in 1..=stream.len() {
            let (mut framer, mut seen) = (Framer::new(), Vec::new());
            for piece in stream.as_bytes().chunks(size) {
                framer.push(piece);
                seen.extend(frames(&mut framer).unwrap());
            }
            assert_eq!(
                (seen.as_slice(), framer.waiting()),
                (&expected[..], 0),
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn lengths_that_do_not_fit_break_the_stream_at_once() {
        let rows = [
            (
                "Content-Length: 18446744073709551615",
                "a Content-Length that is no number",
            ),
            ("Content-Length: 2147483648", "a message that is too long"),
            ("Content-Length: 1073741824", "a message that is too long"),
            ("Content-Length: -1", "a Content-Length that is no number"),
            ("Content-Length: 1 2", "a Content-Length that is no number"),
            ("Content-Length: 1\r\n 2", "a Content-Length that is no number"),
            ("Content-Length:", "a Content-Length that is no number"),
            ("Content-Length: 4\r\nl: 4", "two Content-Length"),
            ("Content-Length: 4\r\nContent-Length: 900", "two Content-Length"),
            ("X-Length: 4", "no Content-Length"),
        ];
        for (line, why) in rows {
            let mut framer = Framer::new();
            framer.push(format!("{HEAD}{line}\r\n\r\n").as_bytes());
            let broken = framer.next_frame().unwrap_err();
            assert_eq!(broken.why, why, "{line}");
            assert!(!broken.head.is_empty(), "{line}");
            framer.push(format!("{HEAD}Content-Length: 0\r\n\r\n").as_bytes());
            assert_eq!(
                (framer.next_frame(), framer.waiting()),
                (Ok(None), 0),
                "{line}: what is hidden behind it does not run"
            );
        }
    }

    #[test]
    fn headers_without_end_are_bounded() {
        let mut framer = Framer::new();
        let mut broken = false;
        for _ in 0..200 {
            framer.push(&[b'a'; 1000]);
            broken |= framer.next_frame().is_err();
            assert!(framer.waiting() <= MAX_MESSAGE + 1000);
        }
        assert!(broken);
    }

    #[test]
    fn the_longest_headers_and_the_longest_message_still_fit() {
        let mut framer = Framer::new();
        framer.push(&vec![b'a'; MAX_MESSAGE]);
        assert_eq!((framer.next_frame(), framer.waiting()), (Ok(None), MAX_MESSAGE));
        framer.push(b"a");
        assert_eq!(framer.next_frame().unwrap_err().why, "headers without end");

        let head = |length: usize| format!("{HEAD}Content-Length: {length}\r\n\r\n");
        let most = MAX_MESSAGE - head(10_000).len();
        let mut framer = Framer::new();
        framer.push(head(most).as_bytes());
        framer.push(&vec![b'b'; most]);
        let Ok(Some(Frame::Message(message))) = framer.next_frame() else {
            panic!("no message")
        };
        assert_eq!((message.len(), framer.waiting()), (MAX_MESSAGE, 0));
        framer.push(head(most + 1).as_bytes());
        assert_eq!(framer.next_frame().unwrap_err().why, "a message that is too long");
    }

    #[test]
    fn a_lone_line_end_goes_as_soon_as_it_is_known_to_be_one() {
        let mut framer = Framer::new();
        for (piece, waiting) in [("\r\n", 2), ("\r", 3), ("O", 2), ("PTIONS", 8)] {
            framer.push(piece.as_bytes());
            assert_eq!(
                (framer.next_frame(), framer.waiting()),
                (Ok(None), waiting),
                "{piece:?}"
            );
        }
    }

    #[test]
    fn the_length_may_be_the_first_header() {
        let text = "OPTIONS sip:a SIP/2.0\r\nl: 2\r\nVia: x\r\n\r\nhi";
        let mut framer = Framer::new();
        framer.push(text.as_bytes());
        let message = Frame::Message(Bytes::from_static(text.as_bytes()));
        assert_eq!((framer.next_frame(), framer.waiting()), (Ok(Some(message)), 0));
    }
}
