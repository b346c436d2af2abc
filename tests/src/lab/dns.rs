//! A name server: Debian's dnsmasq with one zone and nothing else, on an address and a port of its own; or one that says
//! nothing.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Child, Result, Spec};

/// A running name server. Dropping it stops it.
#[derive(Debug)]
pub struct Dns {
    folder: PathBuf,
    address: SocketAddr,
    starts: u32,
    child: Option<Child>,
}

impl Dns {
    /// Starts one that knows these records, as lines of dnsmasq's configuration, and no other name.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(folder: &Path, address: SocketAddr, records: &[String]) -> Result<Self> {
        let mut server = Self {
            folder: folder.to_owned(),
            address,
            starts: 0,
            child: None,
        };
        server.publish(records)?;
        Ok(server)
    }

    /// Starts anew with other records.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn publish(&mut self, records: &[String]) -> Result<()> {
        if let Some(child) = self.child.take() {
            child.stop(PATIENCE)?;
        }
        self.starts += 1;
        let file = self.folder.join("dnsmasq.conf");
        let (ip, port) = (self.address.ip(), self.address.port());
        let records = records.join("\n");
        fs::write(
            &file,
            format!(
                "port={port}\nlisten-address={ip}\nbind-interfaces\nno-resolv\nno-hosts\nno-poll\nlocal=/#/\n\
                 local-ttl={TTL}\nlog-queries\n{records}\n"
            ),
        )?;
        // As our child and as our user: it would not end with us otherwise.
        let mut child = Spec::new(format!("dnsmasq-{}", self.starts), "dnsmasq")
            .arg("--no-daemon")
            .arg(format!("--conf-file={}", file.display()))
            .start(&self.folder)?;
        child.until("the name server to listen", PATIENCE, |child| {
            child.log().contains("started, version").then_some(())
        })?;
        self.child = Some(child);
        Ok(())
    }

    /// The questions that it was asked since its last start, one a line.
    #[must_use]
    pub fn questions(&self) -> Vec<String> {
        let log = self.child.as_ref().map(Child::log).unwrap_or_default();
        let lines = log.lines().filter(|line| line.contains("query["));
        lines.map(str::to_owned).collect()
    }
}

/// A name server that reads and says nothing.
#[derive(Debug)]
pub struct Mute {
    over: Arc<AtomicBool>,
    heard: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Mute {
    /// Starts one.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn start(at: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind(at)?;
        socket.set_read_timeout(Some(Duration::from_millis(10)))?;
        let (over, heard) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (ending, counted) = (Arc::clone(&over), Arc::clone(&heard));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while !ending.load(Ordering::Relaxed) {
                if socket.recv_from(&mut buffer).is_ok() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(Self {
            over,
            heard,
            thread: Some(thread),
        })
    }

    /// How many questions it has read.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A NAPTR record (RFC 3263 §4.1): the lowest `order` is preferred.
#[must_use]
pub fn naptr(domain: &str, order: u16, service: &str, replacement: &str) -> String {
    format!("naptr-record={domain},{order},0,s,{service},,{replacement}")
}

/// A SRV record (RFC 2782): the lowest `priority` is preferred.
#[must_use]
pub fn srv(service: &str, priority: u16, target: &str, port: u16) -> String {
    format!("srv-host={service},{target},{port},{priority},0")
}

/// An address.
#[must_use]
pub fn host(name: &str, address: SocketAddr) -> String {
    format!("host-record={name},{}", address.ip())
}

/// For how many seconds its records hold.
pub const TTL: u32 = 1;
const PATIENCE: Duration = Duration::from_secs(10);
