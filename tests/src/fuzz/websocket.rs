//! Handshakes and frames of WebSocket.

use std::io::{self, Read, Write};

use bytes::Bytes;
use cusax_b2bua::core::websocket::{PROTOCOL, READ_BUFFER, WRITE_BUFFER, judge};
use cusax_common::core::entropy::Seeded;
use cusax_common::core::sip::{MAX_MESSAGE, Message as Sip};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::http::HeaderValue;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket, accept_hdr_with_config};

use super::feed::Feed;

/// The first byte chooses: a handshake, of which only one that offers SIP from a page that may is taken; or frames,
/// which give the same messages however the stream is cut, none too long, and no more bytes of answer than of question.
pub fn websocket(data: &[u8]) {
    let mut feed = Feed::new(data);
    let (kind, seed) = (feed.byte(), feed.number());
    let bytes = feed.rest();
    match kind & 0b11 {
        0 => handshake(bytes, &[]),
        1 => handshake(bytes, &["https://phone.example".to_owned()]),
        _ => {
            let whole = messages(Wire::new(bytes, None));
            let cut = messages(Wire::new(bytes, Some(Seeded::new(seed.into()))));
            assert_eq!(whole, cut);
        }
    }
}

fn handshake(bytes: &[u8], origins: &[String]) {
    let mut wire = Wire::new(bytes, None);
    #[expect(clippy::result_large_err, reason = "the library's type")]
    let ask = |request: &Request, mut response: Response| {
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or("\0"));
        let protocols = request.headers().get_all("Sec-WebSocket-Protocol").iter();
        let protocols = protocols.filter_map(|value| value.to_str().ok());
        match judge(header("Origin"), header("Host"), protocols, origins) {
            Ok(()) => {
                if let Some(origin) = request.headers().get("Origin") {
                    let origin = origin.as_bytes().to_ascii_lowercase();
                    let host = request
                        .headers()
                        .get("Host")
                        .map(|host| host.as_bytes().to_ascii_lowercase());
                    let named = origins.iter().any(|one| one.as_bytes() == origin);
                    let own = origins.is_empty() && host.is_some_and(|host| origin.ends_with(&host));
                    assert!(named || own, "a page from elsewhere: {:?}", request.headers());
                }
                let protocol = HeaderValue::from_static(PROTOCOL);
                response.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
                Ok(response)
            }
            Err(why) => Err(ErrorResponse::new(Some(why.to_string()))),
        }
    };
    let shaken = accept_hdr_with_config(&mut wire, ask, Some(config())).is_ok();
    assert!(!shaken || wire.written.starts_with(b"HTTP/1.1 101 "));
    assert!(wire.written.len() <= 1024, "a long answer to a stranger");
}

/// The messages of a stream and whether it ended well, as `io::transport::websocket` reads them.
fn messages(mut wire: Wire<'_>) -> (Vec<Bytes>, bool) {
    let total = wire.left.len();
    let mut messages = Vec::new();
    let mut well = false;
    let mut socket = WebSocket::from_raw_socket(&mut wire, Role::Server, Some(config()));
    // Every frame has at least two bytes.
    for _ in 0..=total {
        match socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                let bytes = message.into_data();
                assert!(bytes.len() <= MAX_MESSAGE, "a message of {} bytes", bytes.len());
                let _ = Sip::parse(bytes.clone());
                messages.push(bytes);
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(Message::Close(_)) => {
                well = true;
                break;
            }
            Err(_) => break,
        }
    }
    let _ = socket.flush();
    drop(socket);
    // A pong is as long as its ping, without the mask.
    assert!(wire.written.len() <= total + 16, "more answered than asked");
    (messages, well)
}

/// As `io::transport::websocket` sets it.
fn config() -> WebSocketConfig {
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(MAX_MESSAGE);
    config.max_frame_size = Some(MAX_MESSAGE);
    config.read_buffer_size = READ_BUFFER;
    config.write_buffer_size = 0;
    config.max_write_buffer_size = WRITE_BUFFER;
    config
}

/// One end of a connection whose other end has said everything.
struct Wire<'a> {
    left: &'a [u8],
    written: Vec<u8>,
    /// How what is left is cut; in one piece without it.
    cuts: Option<Seeded>,
}

impl<'a> Wire<'a> {
    fn new(left: &'a [u8], cuts: Option<Seeded>) -> Self {
        Self {
            left,
            written: Vec::new(),
            cuts,
        }
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.left.len());
        let length = match &mut self.cuts {
            Some(cuts) if most > 0 => 1 + usize::try_from(cuts.next_u64()).unwrap_or_default() % most,
            _ => most,
        };
        let (piece, rest) = self.left.split_at(length);
        buffer[..length].copy_from_slice(piece);
        self.left = rest;
        Ok(length)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
