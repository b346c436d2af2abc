//! SIP over UDP (RFC 3261 §18).

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use nix::sys::socket::getsockopt;
use socket2::{Domain, Protocol, Socket, Type};

use crate::core::flow::{Flow, Identity, ListenerId, Transport};

/// One bound address, with a socket for each endpoint of the node: the kernel gives what comes from one place always to
/// the same one.
#[derive(Debug)]
pub struct UdpListener {
    id: ListenerId,
    sockets: Vec<UdpSocket>,
}

impl UdpListener {
    /// Binds the address of a listener for so many endpoints.
    ///
    /// # Errors
    /// What the system says, for instance that the address is in use.
    pub fn bind(id: ListenerId, address: SocketAddr, endpoints: u8) -> io::Result<Self> {
        let first = Self::socket(address)?;
        // Alone, so that a second service does not share the address unnoticed.
        first.bind(&address.into())?;
        let mut sockets = vec![first];
        for _ in 1..endpoints {
            sockets[0].set_reuse_port(true)?;
            let other = Self::socket(address)?;
            other.set_reuse_port(true)?;
            other.bind(&sockets[0].local_addr()?)?;
            sockets.push(other);
        }
        Ok(Self {
            id,
            sockets: sockets.into_iter().map(UdpSocket::from).collect(),
        })
    }

    fn socket(address: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // The kernel grants what its limits allow; a burst of retransmissions should fit.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// What the socket is bound to, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sockets[0].local_addr()
    }

    /// The socket of each endpoint, to be shared between the one who reads and the one who writes.
    pub(in crate::io) fn share(self) -> impl Iterator<Item = SharedUdp> {
        let id = self.id;
        self.sockets.into_iter().map(move |socket| {
            SharedUdp(Arc::new(Shared {
                id,
                socket,
                unsent: AtomicU64::new(0),
                dropped: AtomicU64::new(0),
                last: AtomicU32::new(0),
            }))
        })
    }
}

/// One socket of the loop.
#[derive(Clone, Debug)]
pub(in crate::io) struct SharedUdp(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    id: ListenerId,
    socket: UdpSocket,
    /// Datagrams that the kernel did not take.
    unsent: AtomicU64,
    /// Datagrams that the kernel has dropped.
    dropped: AtomicU64,
    /// How many it had counted when it was last asked.
    last: AtomicU32,
}

impl SharedUdp {
    /// Reads a datagram, if there is one. `buffer` has room for the largest, see [`buffer`].
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::io) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(Flow, Bytes)>> {
        match self.0.socket.recv_from(buffer) {
            Ok((length, remote)) => {
                let flow = Flow {
                    listener: self.0.id,
                    transport: Transport::Udp,
                    remote: canonical(remote),
                    identity: Identity::NONE,
                };
                Ok(Some((flow, Bytes::copy_from_slice(&buffer[..length]))))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands a datagram to the kernel, or counts it as lost. Never waits: SIP sends again what gets no answer.
    pub(super) fn send(&self, remote: SocketAddr, bytes: &[u8]) {
        if self.0.socket.send_to(bytes, remote).is_err() {
            self.0.unsent.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Datagrams that the kernel did not take.
    pub(super) fn unsent(&self) -> u64 {
        self.0.unsent.load(Ordering::Relaxed)
    }

    /// Datagrams that the kernel dropped, nearly always because the loop was behind.
    pub(super) fn overflowed(&self) -> u64 {
        if let Ok(memory) = getsockopt(&self.0.socket, meminfo::MemoryInfo) {
            let now = memory[meminfo::DROPS];
            // The kernel's count begins again after 2^32.
            let more = now.wrapping_sub(self.0.last.swap(now, Ordering::Relaxed));
            self.0.dropped.fetch_add(more.into(), Ordering::Relaxed);
        }
        self.0.dropped.load(Ordering::Relaxed)
    }
}

impl AsFd for SharedUdp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

/// Room for the largest datagram; a longer one does not exist in UDP, so nothing is ever cut.
pub(in crate::io) fn buffer() -> Vec<u8> {
    vec![0; 65_536]
}

/// What is asked of the kernel for each socket, in bytes.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// An IPv4 address in IPv6 clothes is the IPv4 address, in every list and comparison (RFC 5118 §4.9).
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The memory of a socket, of which only the count of drops is of interest (socket(7), `SO_MEMINFO`).
mod meminfo {
    use nix::{getsockopt_impl, libc, sockopt_impl};

    sockopt_impl!(
        /// The figures of `linux/sock_diag.h`.
        MemoryInfo,
        GetOnly,
        libc::SOL_SOCKET,
        libc::SO_MEMINFO,
        [u32; 9]
    );
    /// `SK_MEMINFO_DROPS`.
    pub(super) const DROPS: usize = 8;
}
