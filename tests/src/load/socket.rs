//! The sockets of the phones.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Socket, Type};

use crate::lab::Result;

/// One at this address, with a port that the system gives, which speaks to `device` alone and never waits.
///
/// # Errors
/// When the system gives none.
pub fn connect(address: Ipv4Addr, device: SocketAddr) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    // The kernel grants what its limits allow.
    let _ = socket.set_recv_buffer_size(BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((address, 0)).into())?;
    socket.connect(&device.into())?;
    Ok(socket.into())
}

/// What is asked of the kernel for messages that wait, in bytes.
const BUFFER: usize = 4 * 1024 * 1024;
