//! A SIP sender without manners: says whatever it is told, from wherever it stands, and shows what comes back.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::capture::{Datagram, SipText};
use super::topology::Host;
use super::{Fault, Result, wait};

/// A socket in a host's namespace.
#[derive(Debug)]
pub struct Rogue {
    socket: UdpSocket,
    service: SocketAddr,
    next: u32,
}

impl Rogue {
    /// Opens a socket on `host` at `port` (0: any).
    ///
    /// # Errors
    /// When the port is taken.
    pub fn new(host: &Host, port: u16, service: SocketAddr) -> Result<Self> {
        let address = SocketAddr::new(host.address, port);
        let socket = host.namespace.run(move || Ok(UdpSocket::bind(address)?))?;
        socket.set_read_timeout(Some(STEP))?;
        Ok(Self {
            socket,
            service,
            next: 0,
        })
    }

    /// Where it sends from.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// Sends a datagram as it is.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn send(&self, bytes: &[u8]) -> Result<()> {
        self.socket.send_to(bytes, self.service)?;
        Ok(())
    }

    /// Sends a request with a Via, Call-ID, tag and contact of its own and the given header lines, and waits for the
    /// final response.
    ///
    /// # Errors
    /// When none comes within `limit`.
    pub fn ask(&mut self, request: &Ask<'_>, limit: Duration) -> Result<SipText> {
        let text = self.text(request)?;
        self.send(text.as_bytes())?;
        let call = self.call();
        let what = format!("the answer to {} {}", request.method, request.uri);
        let response = wait::until_ok(&what, limit, || {
            Ok(self
                .next_message()?
                .filter(|message| message.call() == call && message.status().is_some_and(|code| code >= 200)))
        })?;
        if request.method == "INVITE" {
            self.acknowledge(request, &response)?;
        }
        Ok(response)
    }

    fn acknowledge(&self, request: &Ask<'_>, response: &SipText) -> Result<()> {
        let (number, uri) = (self.next, request.uri);
        let text = format!(
            "ACK {uri} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {};tag=r{number}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} ACK\r\nContent-Length: 0\r\n\r\n",
            response.header("Via"),
            request.from,
            response.header("To"),
            self.call()
        );
        self.send(text.as_bytes())
    }

    /// The next SIP message, if one comes at once.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn next_message(&self) -> Result<Option<SipText>> {
        let mut buffer = vec![0; 65_535];
        match self.socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                buffer.truncate(length);
                let datagram = Datagram {
                    at: wait::wall(),
                    from,
                    to: self.address()?,
                    payload: buffer,
                };
                Ok(SipText::of(&datagram))
            }
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(Fault::from(error)),
        }
    }

    fn call(&self) -> String {
        format!("rogue-{}-{}", std::process::id(), self.next)
    }

    fn text(&mut self, request: &Ask<'_>) -> Result<String> {
        self.next += 1;
        let (address, number) = (self.address()?, self.next);
        let Ask {
            method,
            uri,
            from,
            to,
            lines,
            body,
        } = request;
        let mut text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK-rogue-{}-{number};rport\r\n",
            std::process::id()
        );
        text.push_str(&format!(
            "Max-Forwards: 70\r\nFrom: {from};tag=r{number}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\n",
            self.call()
        ));
        if !lines.iter().any(|line| line.starts_with("Contact:")) {
            text.push_str(&format!("Contact: <sip:{address}>\r\n"));
        }
        for line in *lines {
            text.push_str(line);
            text.push_str("\r\n");
        }
        if !body.is_empty() {
            text.push_str("Content-Type: application/sdp\r\n");
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        Ok(text)
    }
}

/// A request in its telling parts.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The method.
    pub method: &'a str,
    /// The request URI.
    pub uri: &'a str,
    /// The From, without a tag.
    pub from: &'a str,
    /// The To.
    pub to: &'a str,
    /// Further header lines.
    pub lines: &'a [&'a str],
    /// The body: SDP.
    pub body: &'a str,
}

/// How long one look at the socket takes.
const STEP: Duration = Duration::from_millis(50);
