//! SIP over WebSocket (RFC 7118): one message in each WebSocket message.

use std::sync::Arc;

use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use cusax_common::core::sip::MAX_MESSAGE;

use super::inbox::Inboxes;
use super::{IDLE, LINGER, Pace, Queue, Received};
use crate::core::flow::Flow;
use crate::core::websocket::{PROTOCOL, READ_BUFFER, Refusal, WRITE_BUFFER, judge};

/// Shakes hands, if the request may come from where it comes.
pub(super) async fn shake<S>(stream: S, origins: &[String]) -> Result<WebSocketStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(MAX_MESSAGE);
    config.max_frame_size = Some(MAX_MESSAGE);
    config.read_buffer_size = READ_BUFFER;
    config.write_buffer_size = 0;
    config.max_write_buffer_size = WRITE_BUFFER;
    #[expect(clippy::result_large_err, reason = "the library's type")]
    let ask = |request: &Request, mut response: Response| {
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or("\0"));
        let protocols = request
            .headers()
            .get_all("Sec-WebSocket-Protocol")
            .iter()
            .filter_map(|value| value.to_str().ok());
        match judge(header("Origin"), header("Host"), protocols, origins) {
            Ok(()) => {
                response
                    .headers_mut()
                    .insert("Sec-WebSocket-Protocol", HeaderValue::from_static(PROTOCOL));
                Ok(response)
            }
            Err(why) => {
                let mut refused = ErrorResponse::new(Some(why.to_string()));
                *refused.status_mut() = match why {
                    Refusal::Origin => StatusCode::FORBIDDEN,
                    Refusal::Protocol => StatusCode::BAD_REQUEST,
                };
                Err(refused)
            }
        }
    };
    accept_hdr_async_with_config(stream, ask, Some(config)).await
}

/// Reads and writes until the connection is over.
pub(super) async fn carry<S>(mut socket: WebSocketStream<S>, flow: Flow, serial: u64, mut queue: Queue, inbox: &Inboxes)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut deadline = Instant::now() + IDLE;
    let (cut, mut pace) = (Arc::clone(&queue.cut), Pace::new(Instant::now()));
    let code = loop {
        tokio::select! {
            () = cut.notified() => break CloseCode::Away,
            read = socket.next() => match read {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                    let bytes = message.into_data();
                    // A keep-alive keeps what somebody wants, and nothing else.
                    if !bytes.trim_ascii().is_empty() {
                        deadline = Instant::now() + IDLE;
                    }
                    if inbox.send(Received::Message { flow, bytes }).await.is_err() {
                        break CloseCode::Away;
                    }
                }
                // Answered by the library.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(Error::Capacity(_))) => break CloseCode::Size,
                Some(Err(Error::Protocol(_))) => break CloseCode::Protocol,
                Some(Err(Error::Utf8(_))) => break CloseCode::Invalid,
                Some(Ok(Message::Close(_)) | Err(_)) | None => break CloseCode::Normal,
            },
            message = queue.next() => {
                let Some(bytes) = message else { break CloseCode::Away };
                let length = bytes.len();
                let message = match Utf8Bytes::try_from(bytes.clone()) {
                    Ok(text) => Message::Text(text),
                    Err(_) => Message::Binary(bytes),
                };
                let until = pace.deadline(Instant::now(), queue.waiting());
                tokio::select! {
                    () = cut.notified() => return,
                    sent = timeout_at(until, socket.send(message)) => if !matches!(sent, Ok(Ok(()))) {
                        return;
                    },
                }
                queue.written(length);
                pace.written(length);
            }
            () = sleep_until(deadline) => {
                deadline = Instant::now() + IDLE;
                if inbox.send(Received::Silent { flow, serial }).await.is_err() {
                    break CloseCode::Away;
                }
            }
        }
    };
    let goodbye = CloseFrame {
        code,
        reason: Utf8Bytes::default(),
    };
    let _ = timeout(LINGER, socket.close(Some(goodbye))).await;
}
