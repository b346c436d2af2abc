//! The device that does no work: what is measured with it is the kernel's and the generator's own.
//!
//! It takes a phone that proves anything for registered. What comes from a phone that has registered goes to the last one
//! that has not, and the other way round, as it is.

use std::net::{SocketAddr, UdpSocket};

use bytes::Bytes;
use cusax_common::core::sip::{HeaderName, Message, Request, Status, Value};

use super::users;
use crate::lab::Result;

/// Answers every REGISTER, with 200 or a challenge, and everything else with 200 until there is somebody to pass it to.
///
/// # Errors
/// Those of its socket.
pub fn serve(address: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(address)?;
    let mut buffer = vec![0; 65_536];
    let (mut caller, mut callee) = (None, None);
    loop {
        let (length, remote) = socket.recv_from(&mut buffer)?;
        let datagram = &buffer[..length];
        let registers = datagram.starts_with(b"REGISTER ");
        if registers {
            callee = Some(remote);
        } else if callee != Some(remote) {
            caller = Some(remote);
        }
        let other = if callee == Some(remote) { caller } else { callee };
        match other.filter(|_| !registers) {
            Some(other) => socket.send_to(datagram, other)?,
            None => match Message::parse(Bytes::copy_from_slice(datagram)) {
                Ok(Message::Request(request)) => socket.send_to(&answer(&request, registers), remote)?,
                _ => continue,
            },
        };
    }
}

fn answer(request: &Request, registers: bool) -> Bytes {
    if request.headers.has(&HeaderName::AUTHORIZATION) || !registers {
        return request.response(Status::OK).to_bytes();
    }
    let mut response = request.response(Status::UNAUTHORIZED);
    let challenge = format!(
        "Digest realm=\"{}\", nonce=\"0\", qop=\"auth\", algorithm=SHA-256",
        users::DOMAIN
    );
    response
        .headers
        .push(HeaderName::WWW_AUTHENTICATE, Value::cleaned(&challenge));
    response.to_bytes()
}
