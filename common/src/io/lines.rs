//! Where log lines go: to standard error, several at once.
//!
//! To hand over a line costs more than to make it, since it wakes whoever reads the log. So a line that only tells what went
//! on waits for a moment, and goes with those that come meanwhile; a warning or an error goes at once, and takes along what
//! waits. The order of lines is that in which they were written, and none waits longer than [`GATHERING`], unless the process
//! is killed before.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Takes lines for an output.
pub(super) struct Lines<W>(Arc<Shared<W>>);

struct Shared<W> {
    waiting: Mutex<Vec<u8>>,
    /// Told when a line has begun to wait.
    begun: Condvar,
    output: Mutex<W>,
}

impl<W: Write + Send + 'static> Lines<W> {
    /// Takes lines for this output, with a thread that hands over what waits.
    ///
    /// # Errors
    /// What the system says when it gives no thread.
    pub(super) fn to(output: W) -> io::Result<Self> {
        let lines = Self(Arc::new(Shared {
            waiting: Mutex::default(),
            begun: Condvar::new(),
            output: Mutex::new(output),
        }));
        let other = lines.clone();
        thread::Builder::new()
            .name("cusax-log".into())
            .spawn(move || other.work())?;
        Ok(lines)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a thread of its own, in which nothing else waits"
    )]
    fn work(&self) {
        loop {
            let empty = self
                .0
                .begun
                .wait_while(locked(&self.0.waiting), |waiting| waiting.is_empty());
            drop(empty);
            thread::sleep(GATHERING);
            self.finish();
        }
    }
}

impl<W: Write> Lines<W> {
    /// Hands over what waits.
    pub(super) fn finish(&self) {
        let mut output = locked(&self.0.output);
        // Taken only now, so that nobody overtakes.
        let lines = mem::take(&mut *locked(&self.0.waiting));
        // Nobody is left who could be told that the log cannot be written.
        let _ = output.write_all(&lines).and_then(|()| output.flush());
    }

    fn push(&self, line: &[u8], urgent: bool) {
        let mut waiting = locked(&self.0.waiting);
        if waiting.is_empty() {
            self.0.begun.notify_one();
        }
        waiting.extend_from_slice(line);
        let many = waiting.len() > MOST_WAITING;
        drop(waiting);
        if urgent || many {
            self.finish();
        }
    }
}

/// A panic while one was locked leaves nothing half-done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<W> Clone for Lines<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Takes one line.
pub(super) struct Line<'a, W> {
    lines: &'a Lines<W>,
    urgent: bool,
}

impl<'a, W: Write + 'a> MakeWriter<'a> for Lines<W> {
    type Writer = Line<'a, W>;

    fn make_writer(&'a self) -> Self::Writer {
        Line {
            lines: self,
            urgent: true,
        }
    }

    fn make_writer_for(&'a self, about: &tracing::Metadata<'_>) -> Self::Writer {
        Line {
            lines: self,
            urgent: *about.level() <= tracing::Level::WARN,
        }
    }
}

impl<W: Write> Write for Line<'_, W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.push(line, self.urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How long a line waits for others.
const GATHERING: Duration = Duration::from_millis(50);
/// More bytes than that do not wait: whoever writes faster than the log is read waits for its reader, as if nothing were
/// gathered.
const MOST_WAITING: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Passes on each write.
    struct Writes(mpsc::Sender<String>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .send(String::from_utf8_lossy(bytes).into_owned())
                .map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_warning_takes_along_what_waits() {
        let (sender, written) = mpsc::channel();
        let lines = Lines(Arc::new(Shared {
            waiting: Mutex::default(),
            begun: Condvar::new(),
            output: Mutex::new(Writes(sender)),
        }));
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(lines.clone())
            .without_time()
            .with_target(false);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer.with_ansi(false)), || {
            tracing::info!("one");
            tracing::info!("two");
            assert!(written.try_recv().is_err(), "both wait");
            tracing::warn!("three");
            assert_eq!(written.try_recv().unwrap(), " INFO one\n INFO two\n WARN three\n");
            tracing::info!("four");
            lines.finish();
            assert_eq!(written.try_recv().unwrap(), " INFO four\n");
        });
        lines.push(&vec![b'x'; MOST_WAITING + 1], false);
        assert_eq!(written.try_recv().unwrap().len(), MOST_WAITING + 1, "too many to wait");
    }

    #[test]
    fn no_line_waits_for_ever() {
        let (sender, written) = mpsc::channel();
        let lines = Lines::to(Writes(sender)).unwrap();
        for line in ["one", "two"] {
            lines.push(line.as_bytes(), false);
            assert_eq!(written.recv().unwrap(), line);
        }
    }
}
