//! Wakes the loop out of its wait.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use nix::sys::eventfd::{EfdFlags, EventFd};

/// A descriptor that can be read once somebody has called [`wake`](Wake::wake).
#[derive(Debug)]
pub(super) struct Bell {
    descriptor: EventFd,
    rung: AtomicBool,
}

impl Bell {
    /// A silent one.
    ///
    /// # Errors
    /// What the system says, for instance that too many files are open.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            descriptor: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
            rung: AtomicBool::new(false),
        })
    }

    /// Makes it silent. Whoever calls this looks afterwards at all for whose sake it may have rung.
    pub(super) fn silence(&self) {
        // Nothing to read means that it has not rung.
        let _ = self.descriptor.read();
        self.rung.store(false, Ordering::SeqCst);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            // It fails only when nobody has read for 2^64 rings.
            let _ = self.descriptor.write(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn rings(bell: &Bell) -> bool {
        let mut wait = [PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
        poll(&mut wait, PollTimeout::ZERO).expect("a poll") == 1
    }

    #[test]
    fn it_rings_until_it_is_silenced_however_often_it_was_pulled() {
        let bell = Arc::new(Bell::new().expect("a descriptor"));
        assert!(!rings(&bell));
        for _ in 0..2 {
            bell.wake_by_ref();
            bell.wake_by_ref();
            assert!(rings(&bell));
            bell.silence();
            assert!(!rings(&bell));
        }
    }
}
