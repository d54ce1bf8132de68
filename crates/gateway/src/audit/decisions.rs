//! The decision log: what `explain ID` reads. Bounded, batched, written in the background.
//!
//! It must never slow a decision down, so what it cannot take is dropped and counted
//! (`vestibule_decision_log_dropped_total`); the audit log keeps everything.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use vestibule_engine::audit::{Event, Recorded, Sink};
use vestibule_engine::store::DurableStore;

/// Records that may wait.
const WAITING: usize = 8192;
/// Records written at once.
const BATCH: usize = 256;

/// A sink that keeps decisions and logins in the durable store.
#[derive(Debug)]
pub struct DecisionLog {
    sender: mpsc::Sender<Message>,
}

#[derive(Debug)]
enum Message {
    Record(Box<Recorded>),
    Flush(oneshot::Sender<()>),
}

impl DecisionLog {
    /// Writes to `store` from a task on the `control` runtime, which ends when the log is dropped.
    pub fn start(store: Arc<dyn DurableStore>, control: &Handle) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        control.spawn(write(store, receiver));
        Self { sender }
    }

    /// Returns when everything recorded before was written or given up.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.sender.send(Message::Flush(done)).await.is_ok() {
            // An error means the task has ended, and with it all writing.
            let _ = written.await;
        }
    }
}

impl Sink for DecisionLog {
    fn record(&self, event: &Recorded) {
        match &event.event {
            Event::RequestDecided(_) | Event::LoginSucceeded { .. } | Event::LoginRejected { .. } | Event::LoginFellThrough { .. } => {}
            Event::GateClosed { .. }
            | Event::GateOpened { .. }
            | Event::SessionOpened { .. }
            | Event::SessionEnded { .. }
            | Event::KeyRotated { .. }
            | Event::ConfigReloaded { .. }
            | Event::AdminChanged { .. } => return,
        }
        if self.sender.try_send(Message::Record(Box::new(event.clone()))).is_err() {
            dropped(1);
        }
    }
}

async fn write(store: Arc<dyn DurableStore>, mut receiver: mpsc::Receiver<Message>) {
    let mut messages = Vec::with_capacity(BATCH);
    while receiver.recv_many(&mut messages, BATCH).await > 0 {
        let mut entries = Vec::with_capacity(messages.len());
        let mut waiting = Vec::new();
        for message in messages.drain(..) {
            match message {
                Message::Record(entry) => entries.push(*entry),
                Message::Flush(done) => waiting.push(done),
            }
        }
        if !entries.is_empty()
            && let Err(error) = store.record(&entries).await
        {
            tracing::warn!(%error, entries = entries.len(), "decisions could not be logged for explain");
            dropped(entries.len() as u64);
        }
        for done in waiting {
            // Whoever waited may have gone.
            let _ = done.send(());
        }
    }
}

fn dropped(count: u64) {
    metrics::counter!("vestibule_decision_log_dropped_total").increment(count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tests::decided;
    use crate::serve::admin::tests::Durable;

    #[tokio::test]
    async fn decisions_and_logins_are_kept_in_order_and_flushed() {
        let store = Arc::new(Durable::default());
        let log = DecisionLog::start(store.clone(), &Handle::current());
        let records: Vec<Recorded> = (0..1000).map(|n| decided(&format!("/{n}"))).collect();
        for record in &records {
            log.record(record);
        }
        let event = Event::ConfigReloaded { accepted: true, problem: None };
        log.record(&Recorded { event, ..decided("/") });
        log.flush().await;
        assert_eq!(*store.log.lock().unwrap(), records);
    }

    #[tokio::test]
    async fn a_store_that_is_down_stops_nobody() {
        let store = Arc::new(Durable { down: true, ..Durable::default() });
        let log = DecisionLog::start(store.clone(), &Handle::current());
        for n in 0..20_000 {
            log.record(&decided(&format!("/{n}")));
        }
        log.flush().await;
        assert!(store.log.lock().unwrap().is_empty());
        assert!(log.ready().is_ok());
    }
}
