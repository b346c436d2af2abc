//! The relay of this process: takes media commands, gives media events, moves packets on threads of its own.
//!
//! Each worker thread owns its sessions and their sockets, so a packet meets no lock. What to believe, what to drop
//! and what a tone sounds like is decided in [`core::media`](crate::core::media).

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ipnet::IpNet;
use mio::Waker;

use crate::core::media::rewrite::Rules;
use crate::core::media::{MediaCommand, MediaEvent, Refusal};

mod player;
mod ports;
mod session;
mod worker;

use ports::Ports;
use worker::{Order, Worker};

/// What the relay may use.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Local addresses that sessions may be opened on.
    pub addresses: Vec<IpAddr>,
    /// First port that may be used.
    pub port_min: u16,
    /// Last port that may be used.
    pub port_max: u16,
    /// How long a pair of ports rests after a call.
    pub drain: Duration,
    /// Threads; at least one.
    pub workers: usize,
    /// Networks that may be sent to though they would be refused (loopback, link-local, our own).
    pub allow_networks: Vec<IpNet>,
}

impl RelayConfig {
    /// Usual values for these addresses.
    #[must_use]
    pub fn new(addresses: Vec<IpAddr>) -> Self {
        Self {
            addresses,
            port_min: 40_000,
            port_max: 59_999,
            drain: Duration::from_secs(5),
            workers: 1,
            allow_networks: Vec::new(),
        }
    }

    fn range(&self) -> RangeInclusive<u16> {
        self.port_min..=self.port_max
    }
}

/// Why the relay could not start.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// No address, or no pair of ports within the range.
    #[error("media relay has no {0}")]
    Nothing(&'static str),
    /// The system gave no thread or no queue of events.
    #[error("media relay cannot start: {0}")]
    System(#[from] std::io::Error),
}

/// The running relay. Dropping it stops it.
#[derive(Debug)]
pub struct Relay {
    workers: Vec<Handle>,
    ports: Arc<Mutex<Ports>>,
    events: Events,
}

impl Relay {
    /// Starts the threads. `events` is called on them and must not block.
    ///
    /// # Errors
    /// [`RelayError`].
    pub fn start(config: RelayConfig, events: impl Fn(MediaEvent) + Send + Sync + 'static) -> Result<Self, RelayError> {
        if config.addresses.is_empty() {
            return Err(RelayError::Nothing("address"));
        }
        if config.port_max <= config.port_min {
            return Err(RelayError::Nothing("ports"));
        }
        let events = Events(Arc::new(events));
        let ports = Arc::new(Mutex::new(Ports::new(&config.addresses, config.range(), config.drain)));
        let rules = Rules {
            allow_networks: config.allow_networks,
            ours: config.addresses,
        };
        let mut relay = Self {
            workers: Vec::new(),
            ports: Arc::clone(&ports),
            events: events.clone(),
        };
        for number in 0..config.workers.max(1) {
            let handle = Handle::start(number, ports.clone(), rules.clone(), events.clone())?;
            relay.workers.push(handle);
        }
        Ok(relay)
    }

    /// Hands a command to the worker that owns its session. Refuses to open more when that worker is far behind,
    /// so that there is always room for the other commands of the sessions that are open.
    pub fn submit(&self, command: MediaCommand) {
        let id = command.id();
        let worker = &self.workers[id.0 as usize % self.workers.len()];
        let opens = matches!(command, MediaCommand::Open { .. });
        let crowded = opens && worker.waiting.load(Ordering::Relaxed) > MAX_ORDERS / 2;
        if (crowded || !worker.send(Order::Command(command))) && opens {
            self.events.tell(MediaEvent::Refused {
                id,
                why: Refusal::Engine,
            });
        }
    }

    /// Pairs of ports that no call has; those that rest after a call are not among them.
    #[must_use]
    pub fn free_ports(&self) -> usize {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).free()
    }

    /// Ends all sessions (each is reported as closed) and waits for the threads.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        for worker in &self.workers {
            worker.send(Order::Shutdown);
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                // A panic was caught and reported on the thread itself.
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where events go.
#[derive(Clone)]
pub(super) struct Events(Arc<dyn Fn(MediaEvent) + Send + Sync>);

impl Events {
    fn tell(&self, event: MediaEvent) {
        (self.0)(event);
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

/// One worker as the rest of the process sees it.
#[derive(Debug)]
struct Handle {
    orders: SyncSender<Order>,
    waiting: Arc<AtomicUsize>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    fn start(number: usize, ports: Arc<Mutex<Ports>>, rules: Rules, events: Events) -> Result<Self, RelayError> {
        let (sender, receiver) = sync_channel(MAX_ORDERS);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (mut worker, waker) = Worker::new(receiver, waiting.clone(), ports, rules, events.clone())?;
        let thread = std::thread::Builder::new()
            .name(format!("media-{number}"))
            .spawn(move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| worker.run()));
                let ended = matches!(outcome, Ok(Ok(())));
                // Ports go back and calls hear of their end, whatever happened.
                worker.close_all();
                if !ended {
                    tracing::error!(worker = number, "a media worker died");
                    events.tell(MediaEvent::Failed);
                }
            })?;
        Ok(Self {
            orders: sender,
            waiting,
            waker,
            thread: Some(thread),
        })
    }

    /// Whether the worker lives and has the order. Waits only for a worker that is [`MAX_ORDERS`] behind.
    fn send(&self, order: Order) -> bool {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.orders.send(order).is_ok() && self.waker.wake().is_ok()
    }
}

/// Commands that may wait for one worker.
const MAX_ORDERS: usize = 4096;
