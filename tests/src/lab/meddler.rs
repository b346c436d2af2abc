//! A small outbound proxy that writes header lines into a phone's INVITEs.
//!
//! Debian's baresip can neither forge a `Call-Info` nor ask for privacy, so its messages pass through a socket in its
//! own namespace. To the service the pair looks like one phone behind a NAT that keeps the address and changes the port.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::topology::Host;
use super::{Result, wait};

/// The proxy of one phone.
#[derive(Debug)]
pub struct Meddler {
    address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Meddler {
    /// Begins to pass datagrams between a phone on `host` and the service.
    ///
    /// # Errors
    /// When the socket cannot be had.
    pub fn start(host: &Host, phone: SocketAddr, service: SocketAddr) -> Result<Self> {
        let address = host.address;
        let socket = host.namespace.run(move || Ok(UdpSocket::bind((address, 0))?))?;
        socket.set_read_timeout(Some(BREATH))?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let address = socket.local_addr()?;
        let (shared, ended) = (Arc::clone(&lines), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let own = format!("<sip:{address};lr>");
            let mut buffer = vec![0; 65_535];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                // A datagram that cannot be sent on is lost, as on any network.
                let _ = if from == phone {
                    let lines = shared.lock().expect(NO_PANIC).clone();
                    socket.send_to(&meddled(&buffer[..length], &own, &lines), service)
                } else {
                    socket.send_to(&buffer[..length], phone)
                };
            }
        });
        Ok(Self {
            address,
            lines,
            stop,
            thread: Some(thread),
        })
    }

    /// Where the phone is to send.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on writes these header lines into every INVITE.
    pub fn write(&self, lines: &[&str]) {
        *self.lines.lock().expect(NO_PANIC) = lines.iter().map(|line| (*line).to_owned()).collect();
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It looks at the flag after each breath; nothing is lost if it panicked.
            let _ = wait::until("the meddler's end", BREATH * 10, || thread.is_finished().then_some(()));
        }
    }
}

/// The message without the Route that points at us, and with `lines` if it is an INVITE.
fn meddled(message: &[u8], own: &str, lines: &[String]) -> Vec<u8> {
    let Some(end) = message.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return message.to_vec();
    };
    let head = String::from_utf8_lossy(&message[..end]);
    let route = format!("Route: {own}");
    let mut head: Vec<&str> = head.split("\r\n").filter(|line| *line != route).collect();
    if head[0].starts_with("INVITE ") {
        head.extend(lines.iter().map(String::as_str));
    }
    let mut bytes = head.join("\r\n").into_bytes();
    bytes.extend_from_slice(&message[end..]);
    bytes
}

/// How often the thread looks whether it is to end.
const BREATH: Duration = Duration::from_millis(100);
const NO_PANIC: &str = "no holder of this lock panics";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_invite_gets_the_lines_and_our_own_route_goes() {
        let own = "<sip:100.64.0.2:5070;lr>";
        let lines = ["Privacy: id".to_owned()];
        let invite = b"INVITE sip:b SIP/2.0\r\nRoute: <sip:100.64.0.2:5070;lr>\r\nTo: b\r\n\r\nv=0\r\n\r\n";
        assert_eq!(
            meddled(invite, own, &lines),
            b"INVITE sip:b SIP/2.0\r\nTo: b\r\nPrivacy: id\r\n\r\nv=0\r\n\r\n"
        );
        let bye = b"BYE sip:b SIP/2.0\r\nRoute: <sip:198.18.0.1;lr>\r\n\r\n";
        assert_eq!(meddled(bye, own, &lines), bye);
        assert_eq!(meddled(b"\r\n\r\n", own, &lines), b"\r\n\r\n");
    }
}
