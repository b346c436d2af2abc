//! Writes what the loop gives it, in the background, in order, and again where that helps.

#![expect(
    clippy::disallowed_methods,
    reason = "one task for each kind of thing that is written"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cusax_common::core::record::CallRecord;
use cusax_common::core::store::{SharedState, StoreError, UserStore};
use cusax_common::io::telemetry::Metrics;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{error, warn};

/// Writes in the background, in order, and tries again.
pub(super) struct Writer<T> {
    pen: Pen<T>,
    task: tokio::task::JoinHandle<()>,
}

/// Takes what is to be written.
pub(super) struct Pen<T>(mpsc::Sender<T>);

impl<T> Writer<T> {
    /// For one of those who have something to be written.
    pub(super) fn pen(&self) -> Pen<T> {
        Pen(self.pen.0.clone())
    }

    /// Ends when all is written and every other pen is dropped, or the time for that is over.
    pub(super) async fn finish(self) {
        drop(self.pen);
        if timeout(FINISH, self.task).await.is_err() {
            error!("the last writes did not end in time");
        }
    }
}

impl Pen<CallRecord> {
    /// A record for which there is no room goes into the log whole: it is the bill.
    pub(super) fn keep(&self, record: CallRecord) {
        if let Err(mpsc::error::TrySendError::Full(record) | mpsc::error::TrySendError::Closed(record)) =
            self.0.try_send(record)
        {
            error!(session = %record.session, cause = ?record.cause, started = record.started.0, "record not stored");
        }
    }
}

impl Pen<Kept> {
    pub(super) fn send(&self, kept: Kept) {
        if self.0.try_send(kept).is_err() {
            warn!(dependency = "state", "a binding was not kept");
        }
    }
}

/// What the shared state is told.
pub(super) enum Kept {
    Put { key: String, value: Bytes, ttl: Duration },
    Remove { key: String },
}

/// Starts writing call records.
pub(super) fn spawn_recorder<U: UserStore + 'static>(users: Arc<U>, metrics: Metrics) -> Writer<CallRecord> {
    let (queue, mut records) = mpsc::channel::<CallRecord>(BACKLOG);
    let task = tokio::spawn(async move {
        let mut some = Vec::new();
        while records.recv_many(&mut some, TOGETHER).await > 0 {
            match retry(|| users.record_many(&some)).await {
                // One that cannot be stored keeps no other from it.
                Err(StoreError::Refused(_) | StoreError::Corrupt(_)) if some.len() > 1 => {
                    for record in &some {
                        let written = retry(|| users.record(record)).await;
                        written.unwrap_or_else(|error| not_stored(&metrics, record, &error));
                    }
                }
                Err(error) => some.iter().for_each(|record| not_stored(&metrics, record, &error)),
                Ok(()) => {}
            }
            // Each write waits for the disk. The first after a rest goes at once; those of a crowd go together.
            if some.len() < TOGETHER {
                tokio::time::sleep(GATHERING).await;
            }
            some.clear();
        }
    });
    Writer { pen: Pen(queue), task }
}

fn not_stored(metrics: &Metrics, record: &CallRecord, error: &StoreError) {
    metrics.store_errors.count("records");
    error!(session = %record.session, cause = ?record.cause, %error, "record not stored");
}

/// Starts writing bindings.
pub(super) fn spawn_keeper<S: SharedState + 'static>(state: Arc<S>, metrics: Metrics) -> Writer<Kept> {
    let (queue, mut kept) = mpsc::channel::<Kept>(BACKLOG);
    let task = tokio::spawn(async move {
        while let Some(kept) = kept.recv().await {
            // The next refresh writes it again, so one try is enough.
            let written = match &kept {
                Kept::Put { key, value, ttl } => state.put(key, value.clone(), *ttl).await,
                Kept::Remove { key } => state.remove(key).await.map(|_| ()),
            };
            if let Err(error) = written {
                metrics.store_errors.count("state");
                warn!(dependency = "state", %error, "a binding was not kept");
            }
        }
    });
    Writer { pen: Pen(queue), task }
}

async fn retry<F: Future<Output = Result<(), StoreError>>>(mut write: impl FnMut() -> F) -> Result<(), StoreError> {
    let mut pause = RETRY_PAUSE;
    for _ in 1..RETRIES {
        match write().await {
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(pause).await,
            done => return done,
        }
        pause *= 2;
    }
    write().await
}

/// Records that are written together at most: with so many, the store's limit of values in a statement is far.
const TOGETHER: usize = 128;
/// For how long records are gathered after a write.
const GATHERING: Duration = Duration::from_millis(100);
/// Records and bindings that may wait for their store.
const BACKLOG: usize = 16_384;
/// How often a write is tried again, and how long it waits before.
const RETRIES: u32 = 10;
/// First pause between tries; it doubles.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// How long the last writes may take when the service stops.
const FINISH: Duration = Duration::from_secs(3);
