//! Ctrl-C and friends: everything down, then gone.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use super::{Context as _, Result, process, scratch};

/// From now on Ctrl-C, SIGTERM and SIGHUP stop every program and remove every scratch folder before we end.
///
/// They are caught by handlers and not blocked: programs that we start would inherit blocked signals, and not hear when
/// they are asked to end.
///
/// # Errors
/// When the system refuses the handlers.
pub fn end_cleanly() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = runtime.block_on(async {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        kinds.map(|kind| signal(kind).map(|caught| (kind, caught)))
    });
    let [interrupt, terminate, hangup] = signals;
    let (mut interrupt, mut terminate, mut hangup) = (interrupt?, terminate?, hangup?);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let kind = runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.1.recv() => interrupt.0,
                    _ = terminate.1.recv() => terminate.0,
                    _ = hangup.1.recv() => hangup.0,
                }
            });
            if FINISHING.swap(true, Ordering::SeqCst) {
                return;
            }
            eprintln!("\nstopping everything");
            process::stop_all();
            scratch::remove_all();
            // What shells say of a program that a signal ended.
            std::process::exit(128 + kind.as_raw_value());
        })
        .context("a thread for signals")?;
    Ok(())
}

/// Waits for the end, if a signal has begun it: what fails then fails because everything is being stopped.
pub fn wait_if_ending() {
    while FINISHING.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

static FINISHING: AtomicBool = AtomicBool::new(false);
