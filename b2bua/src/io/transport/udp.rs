//! SIP over UDP (RFC 3261 §18).

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use bytes::Bytes;
use nix::sys::socket::getsockopt;
use socket2::{Domain, Protocol, Socket, Type};

use crate::core::flow::{Flow, ListenerId, Transport};

/// One bound socket.
#[derive(Debug)]
pub struct UdpListener {
    id: ListenerId,
    socket: UdpSocket,
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
            socket: socket.into(),
        })
    }

    /// What the socket is bound to, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Shares the socket between the one who reads and the one who writes, both in one thread.
    pub(in crate::io) fn share(self) -> SharedUdp {
        SharedUdp(Rc::new(Shared {
            listener: self,
            unsent: Cell::new(0),
            drops: Cell::default(),
        }))
    }
}

/// One socket of the loop.
#[derive(Clone, Debug)]
pub(in crate::io) struct SharedUdp(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    listener: UdpListener,
    /// Datagrams that the kernel did not take.
    unsent: Cell<u64>,
    /// What the kernel has dropped: as it counts, and in all.
    drops: Cell<(u32, u64)>,
}

impl SharedUdp {
    /// Reads a datagram, if there is one. `buffer` has room for the largest, see [`buffer`].
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::io) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(Flow, Bytes)>> {
        match self.0.listener.socket.recv_from(buffer) {
            Ok((length, remote)) => {
                let flow = Flow {
                    listener: self.0.listener.id,
                    transport: Transport::Udp,
                    remote: canonical(remote),
                };
                Ok(Some((flow, Bytes::copy_from_slice(&buffer[..length]))))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands a datagram to the kernel, or counts it as lost. Never waits: SIP sends again what gets no answer.
    pub(super) fn send(&self, remote: SocketAddr, bytes: &[u8]) {
        if self.0.listener.socket.send_to(bytes, remote).is_err() {
            self.0.unsent.set(self.0.unsent.get() + 1);
        }
    }

    /// Datagrams that the kernel did not take.
    pub(super) fn unsent(&self) -> u64 {
        self.0.unsent.get()
    }

    /// Datagrams that the kernel dropped, nearly always because the loop was behind.
    pub(super) fn overflowed(&self) -> u64 {
        let (last, mut all) = self.0.drops.get();
        if let Ok(memory) = getsockopt(&self.0.listener.socket, meminfo::MemoryInfo) {
            let now = memory[meminfo::DROPS];
            // The kernel's count begins again after 2^32.
            all += u64::from(now.wrapping_sub(last));
            self.0.drops.set((now, all));
        }
        all
    }
}

impl AsFd for SharedUdp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.listener.socket.as_fd()
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
