//! A phone's line for a SIPp that only answers calls: it registers by digest, and carries both ways what is said.
//!
//! A SIPp that waits for calls neither registers nor opens connections, and what a registrar sends goes by the connection
//! that the phone has opened.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use cusax_b2bua::core::flow::Transport;
use cusax_common::core::sip::typed::{Authorization, Credentials, DigestProof, WwwAuthenticate};
use cusax_common::core::sip::{Message, Response, TypedHeader as _, digest};

use super::service::{Service, free};
use super::wire::{Heard, Wire};
use super::{Context as _, Fault, Result};

/// A line that is registered. It is taken away by [`close`](Self::close), or with its process.
#[derive(Debug)]
pub struct Line {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// Who registers.
#[derive(Clone, Copy, Debug)]
pub struct Subscriber<'a> {
    /// The username, which is also the user of the address of record.
    pub user: &'a str,
    /// Its password.
    pub password: &'a str,
    /// The SIP domain.
    pub domain: &'a str,
    /// Parameters of the Contact, as `;q=0.5`.
    pub params: &'a str,
}

impl Line {
    /// Registers from an address of this machine, for a SIPp that waits at another.
    ///
    /// # Errors
    /// When the registrar refuses, or SIPp is not there.
    pub fn open(
        service: &Service,
        transport: Transport,
        ip: IpAddr,
        subscriber: Subscriber<'_>,
        sipp: SocketAddr,
    ) -> Result<Self> {
        // A datagram comes from the port that is registered, a stream from any.
        let (local, contact) = match transport {
            Transport::Udp => {
                let local = free(ip)?;
                (local, local)
            }
            _ => (SocketAddr::new(ip, 0), sipp),
        };
        let mut far = Wire::connect(transport, local, service.address(transport), service.root())?;
        let near = match transport {
            Transport::Udp => Transport::Udp,
            _ => Transport::Tcp,
        };
        let mut near = Wire::connect(near, SocketAddr::new(ip, 0), sipp, service.root())?;
        let mut registration = Registration::new(transport, contact, subscriber);
        registration.prove(&mut far, 600)?;
        let over = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&over);
        let carry = move || {
            while !ending.load(Ordering::Relaxed) {
                if let Heard::Message(bytes) = far.hear(Duration::ZERO) {
                    near.send(&bytes)?;
                }
                if let Heard::Message(bytes) = near.hear(Duration::ZERO) {
                    far.send(&bytes)?;
                }
            }
            registration.prove(&mut far, 0)
        };
        let thread = Some(std::thread::spawn(carry));
        Ok(Self { over, thread })
    }

    /// Unregisters.
    ///
    /// # Errors
    /// When the registrar refuses, or either side was gone before.
    pub fn close(mut self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it is closed once")?;
        thread.join().unwrap_or_else(|_| Err(Fault::new("the line panicked")))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// What all REGISTERs of one line share.
struct Registration {
    head: String,
    uri: String,
    user: String,
    password: String,
    sequence: u32,
}

impl Registration {
    fn new(transport: Transport, contact: SocketAddr, subscriber: Subscriber<'_>) -> Self {
        let Subscriber {
            user,
            password,
            domain,
            params,
        } = subscriber;
        let way = transport.as_str().to_ascii_lowercase();
        let head = format!(
            "REGISTER sip:{domain} SIP/2.0\r\nMax-Forwards: 70\r\nFrom: <sip:{user}@{domain}>;tag=line\r\n\
             To: <sip:{user}@{domain}>\r\nCall-ID: line-{contact}\r\n\
             Contact: <sip:{user}@{contact};transport={way}>{params}\r\n\
             Via: SIP/2.0/{} {contact};rport;branch=z9hG4bKline",
            transport.as_str()
        );
        Self {
            head,
            uri: format!("sip:{domain}"),
            user: user.to_owned(),
            password: password.to_owned(),
            sequence: 0,
        }
    }

    /// Asks for so many seconds, and answers the challenge.
    fn prove(&mut self, wire: &mut Wire, seconds: u32) -> Result<()> {
        let challenged = self.ask(wire, seconds, "")?;
        let challenges = challenged.headers.list::<WwwAuthenticate>().context("challenges")?;
        let challenge = &challenges.first().context("a challenge")?.0;
        let (realm, nonce) = (challenge.realm(), challenge.nonce());
        let (realm, nonce) = (realm.context("a realm")?, nonce.context("a nonce")?);
        let algorithm = challenge.algorithm().context("an algorithm")?;
        let (uri, cnonce) = (self.uri.as_str(), "abcdef");
        let ha1 = digest::ha1(algorithm, &self.user, realm, &self.password);
        let proof = digest::response(
            algorithm,
            &ha1,
            nonce,
            "00000001",
            cnonce,
            Some("auth"),
            "REGISTER",
            uri,
        );
        let credentials = Credentials::digest(&DigestProof {
            username: &self.user,
            realm,
            nonce,
            uri,
            response: &proof,
            algorithm,
            opaque: challenge.opaque(),
            auth: Some((cnonce, 1)),
        });
        let mut line = String::from("Authorization: ");
        Authorization(credentials).write(&mut line);
        line.push_str("\r\n");
        let status = self.ask(wire, seconds, &line)?.status;
        if status.is_success() {
            Ok(())
        } else {
            Err(Fault::new(format_args!(
                "{} is not registered: {}",
                self.user,
                status.code()
            )))
        }
    }

    fn ask(&mut self, wire: &mut Wire, seconds: u32, more: &str) -> Result<Response> {
        self.sequence += 1;
        let (head, sequence) = (&self.head, self.sequence);
        let request = format!(
            "{head}{sequence}\r\nCSeq: {sequence} REGISTER\r\nExpires: {seconds}\r\n{more}Content-Length: 0\r\n\r\n"
        );
        wire.send(request.as_bytes())?;
        loop {
            match wire.hear(PATIENCE) {
                Heard::Message(bytes) => {
                    // Something of a call may come in between, which nobody waits for any more.
                    if let Message::Response(response) = Message::parse(bytes).context("a message")?
                        && response
                            .cseq()
                            .is_ok_and(|cseq| cseq.seq == sequence && cseq.method.as_str() == "REGISTER")
                    {
                        return Ok(response);
                    }
                }
                Heard::Pong => {}
                other => return Err(Fault::new(format_args!("no answer to REGISTER: {other:?}"))),
            }
        }
    }
}

/// How long the registrar may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
