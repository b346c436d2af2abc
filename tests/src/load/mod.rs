//! Load: ours beside Debian's Kamailio and a device that does no work, in one run.
//!
//! What counts is processor time for each registration or call, read from `/proc` for a device and all that it started: it
//! hardly depends on what else the machine does, as rates and delays do. All traffic stays on the loopback.
//!
//! - [`registrations`] and [`calls`]: what is asked of a device, and the tables.
//! - [`device`]: what is measured; [`null`]: the one that does no work; [`usage`]: what a device used.
//! - [`users`]: the accounts of the phones; [`proof`]: what they write to prove who they are.
//! - [`socket`] and [`batch`]: how messages go out and come in.

pub mod batch;
pub mod calls;
pub mod device;
pub mod null;
pub mod proof;
pub mod registrations;
pub mod socket;
pub mod usage;
pub mod users;

use std::time::Duration;

/// How often sockets and the clock are looked at; at the rates of the benchmarks about one registration or call begins in
/// each, so that the device does not get them in bunches.
const TICK: Duration = Duration::from_micros(200);
/// RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);
/// RFC 3261 §17.1.2.1.
const T2: Duration = Duration::from_secs(4);
/// How long a phone waits for an answer; shorter than Timers B and F, so that a device that answers nothing is soon told.
const PATIENCE: Duration = Duration::from_secs(10);
