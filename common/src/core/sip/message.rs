//! Requests and responses, and how they are written.

use std::fmt;

use bytes::Bytes;

use super::headers::{HeaderError, Headers};
use super::method::Method;
use super::name::HeaderName;
use super::status::Status;
use super::typed::CSeq;
use super::uri::Uri;
use super::value::Value;

/// A request or a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Asks.
    Request(Request),
    /// Answers.
    Response(Response),
}

/// What one side asks of the other.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub method: Method,
    /// Of whom.
    pub uri: Uri,
    /// All lines, in their order.
    pub headers: Headers,
    /// The bytes behind the empty line.
    pub body: Bytes,
}

/// What the other side answers.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The code.
    pub status: Status,
    /// The phrase beside it, for people.
    pub reason: Value,
    /// All lines, in their order.
    pub headers: Headers,
    /// The bytes behind the empty line.
    pub body: Bytes,
}

impl Message {
    /// The lines of either.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        match self {
            Self::Request(request) => &request.headers,
            Self::Response(response) => &response.headers,
        }
    }

    /// The body of either.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        match self {
            Self::Request(request) => &request.body,
            Self::Response(response) => &response.body,
        }
    }

    /// The message as it goes over the wire.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Request(request) => request.to_bytes(),
            Self::Response(response) => response.to_bytes(),
        }
    }
}

impl Request {
    /// A request without headers and body.
    #[must_use]
    pub fn new(method: Method, uri: Uri) -> Self {
        Self {
            method,
            uri,
            headers: Headers::new(),
            body: Bytes::new(),
        }
    }

    /// The message as it goes over the wire. `Content-Length` is there once and right, whatever the headers say.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let length = START_LINE + self.headers.written_len(self.body.len()) + self.body.len();
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        self.uri
            .write_to(&mut Sink(&mut out))
            .expect("writing to a Vec cannot fail");
        out.extend_from_slice(b" SIP/2.0\r\n");
        finish(&self.headers, &self.body, out)
    }

    /// An answer with the lines that every answer has from its request (RFC 3261 §8.2.6.2): all `Via`, `From`, `To`,
    /// `Call-ID`, `CSeq` and, where there is one, `Timestamp`. Whoever answers adds the tag to `To`.
    #[must_use]
    pub fn response(&self, status: Status) -> Response {
        let mut response = Response::new(status);
        response.headers.copy_known(ANSWERED, &self.headers);
        response
    }

    /// The `CSeq` of the request, whose method is the request's.
    ///
    /// # Errors
    /// A request that was not read but made may lack it.
    pub fn cseq(&self) -> Result<CSeq, HeaderError> {
        self.headers.one()
    }
}

impl Response {
    /// A response with the usual phrase, without headers and body.
    #[must_use]
    pub fn new(status: Status) -> Self {
        Self {
            status,
            reason: Value::of_static(status.reason()),
            headers: Headers::new(),
            body: Bytes::new(),
        }
    }

    /// The message as it goes over the wire. `Content-Length` is there once and right, whatever the headers say.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.written_len());
        out.extend_from_slice(b"SIP/2.0 ");
        out.extend_from_slice(itoa::Buffer::new().format(self.status.code()).as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        finish(&self.headers, &self.body, out)
    }

    /// How many bytes [`to_bytes`](Self::to_bytes) gives.
    #[must_use]
    pub fn written_len(&self) -> usize {
        let first = "SIP/2.0 200 \r\n".len() + self.reason.as_bytes().len();
        first + self.headers.written_len(self.body.len()) + "\r\n".len() + self.body.len()
    }

    /// Gives `To` this tag, unless it has one: every response but 100 needs one (RFC 3261 §8.2.6.2).
    pub fn set_tag(&mut self, tag: &str) {
        self.set_tag_with(|| tag);
    }

    /// The same with a tag that is made only if it is wanted.
    pub fn set_tag_with<T: AsRef<str>>(&mut self, make: impl FnOnce() -> T) {
        if self.headers.to_tag().is_ok_and(|tag| tag.is_none()) {
            // What stands there stays as it is: whoever asked compares it.
            self.headers.append(&HeaderName::TO, &[TAG, make().as_ref()]);
        }
    }

    /// The `CSeq` of the response, which names the method that it answers.
    ///
    /// # Errors
    /// A response that was not read but made may lack it.
    pub fn cseq(&self) -> Result<CSeq, HeaderError> {
        self.headers.one()
    }
}

impl From<Request> for Message {
    fn from(request: Request) -> Self {
        Self::Request(request)
    }
}

impl From<Response> for Message {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

/// Method and header names only; see [`Headers`].
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method.as_str())
            .field("headers", &self.headers)
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status.code())
            .field("headers", &self.headers)
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

fn finish(headers: &Headers, body: &Bytes, mut out: Vec<u8>) -> Bytes {
    headers.write(body.len(), &mut out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    Bytes::from(out)
}

/// Lets formatting write into bytes.
struct Sink<'a>(&'a mut Vec<u8>);

impl fmt::Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// What an answer takes over from its request.
const ANSWERED: &[HeaderName] = &[
    HeaderName::VIA,
    HeaderName::FROM,
    HeaderName::TO,
    HeaderName::CALL_ID,
    HeaderName::CSEQ,
    HeaderName::TIMESTAMP,
];
/// Room for the first and the empty line of an ordinary request.
const START_LINE: usize = 192;
const TAG: &str = ";tag=";
