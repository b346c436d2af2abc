//! The phone of the simulated world, on a real socket.
#![expect(clippy::disallowed_methods, reason = "the laboratory waits in real time")]

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Fault, Result};
use crate::peer::phone::{Account, Phone};

/// A phone that can be called.
pub struct Softphone {
    /// Its machine.
    pub phone: Phone,
    /// How many datagrams it has sent.
    pub sent: u64,
    socket: UdpSocket,
}

impl Softphone {
    /// Switches it on.
    ///
    /// # Errors
    /// When its address is taken.
    pub fn new(local: SocketAddr, service: SocketAddr, account: Account, seed: u64) -> Result<Self> {
        let socket = UdpSocket::bind(local)?;
        socket.set_nonblocking(true)?;
        let phone = Phone::new(socket.local_addr()?, service, Some(account), seed);
        Ok(Self { phone, sent: 0, socket })
    }

    /// Lets its user do something.
    pub fn act(&mut self, deed: impl FnOnce(&mut Phone, Instant)) {
        deed(&mut self.phone, Instant::now());
    }

    /// Sends and hears what there is.
    ///
    /// # Errors
    /// When the system refuses to send.
    pub fn pump(&mut self) -> Result<()> {
        let mut buffer = [0; 65_536];
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            let bytes = Bytes::copy_from_slice(&buffer[..length]);
            self.phone.handle_datagram(Instant::now(), from, bytes);
        }
        let now = Instant::now();
        if self.phone.poll_timeout().is_some_and(|at| at <= now) {
            self.phone.handle_timeout(now);
        }
        while let Some((to, bytes)) = self.phone.poll_output() {
            self.socket.send_to(&bytes, to)?;
            self.sent += 1;
        }
        Ok(())
    }
}

/// Lets phones go on until the condition holds.
///
/// # Errors
/// When it does not hold in time.
pub fn until<const N: usize>(
    phones: &mut [Softphone; N],
    what: &str,
    limit: Duration,
    condition: impl Fn(&[Softphone; N]) -> bool,
) -> Result<()> {
    let end = Instant::now() + limit;
    while !condition(phones) {
        if Instant::now() > end {
            let stages: Vec<_> = phones.iter().map(|phone| &phone.phone.stage).collect();
            return Err(Fault::new(format_args!("waited for {what}: {stages:?}")));
        }
        for phone in &mut *phones {
            phone.pump()?;
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}

/// How long nothing is done before looking again.
const STEP: Duration = Duration::from_micros(200);
