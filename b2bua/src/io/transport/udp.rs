//! SIP over UDP (RFC 3261 §18).

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;
use tracing::error;

use super::{PAUSE, Received};
use crate::core::flow::{Flow, ListenerId, Transport};

/// One bound socket.
#[derive(Clone, Debug)]
pub struct UdpListener {
    id: ListenerId,
    socket: Arc<UdpSocket>,
    counters: Arc<Counters>,
}

/// What one socket lost.
#[derive(Debug, Default)]
pub struct Counters {
    /// Datagrams dropped because the loop was behind.
    pub inbox_full: AtomicU64,
    /// Datagrams that the kernel did not take.
    pub unsent: AtomicU64,
}

impl UdpListener {
    /// Binds the address of a listener.
    ///
    /// # Errors
    /// What the system says, for instance that the address is in use.
    pub fn bind(id: ListenerId, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // The kernel grants what its limits allow; a burst of retransmissions should fit.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(Self {
            id,
            socket: Arc::new(socket.into()),
            counters: Arc::default(),
        })
    }

    /// What the socket is bound to, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// What this socket lost.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Reads datagrams into `inbox` until the other end of it is gone.
    pub async fn receive(self, inbox: mpsc::Sender<Received>) {
        // Waited for by whichever runtime reads, so that a message meets no other thread on its way.
        let socket = match self.socket.try_clone().and_then(tokio::net::UdpSocket::from_std) {
            Ok(socket) => socket,
            Err(error) => return error!(%error, "a listener cannot be read"),
        };
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            match socket.recv_from(&mut buffer).await {
                Ok((length, remote)) => {
                    let flow = Flow {
                        listener: self.id,
                        transport: Transport::Udp,
                        remote: canonical(remote),
                    };
                    let bytes = Bytes::copy_from_slice(&buffer[..length]);
                    match inbox.try_send(Received::Message { flow, bytes }) {
                        Ok(()) => {}
                        Err(mpsc::error::TrySendError::Full(_)) => {
                            self.counters.inbox_full.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(mpsc::error::TrySendError::Closed(_)) => return,
                    }
                }
                // An ICMP error of an earlier send shows up here; it concerns no datagram of ours to read.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Hands a datagram to the kernel, or counts it as lost. Never waits: SIP sends again what gets no answer.
    pub fn send(&self, remote: SocketAddr, bytes: &[u8]) {
        if self.socket.send_to(bytes, remote).is_err() {
            self.counters.unsent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The largest datagram; a longer one does not exist in UDP, so nothing is ever cut.
const MAX_DATAGRAM: usize = 65_536;
/// What is asked of the kernel for each socket, in bytes.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// An IPv4 address in IPv6 clothes is the IPv4 address, in every list and comparison (RFC 5118 §4.9).
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
