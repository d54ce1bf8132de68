//! The decision log: what `explain ID` reads. Bounded, batched, written in the background.
//!
//! It must never slow a decision down, so it writes a bounded number a second, and what it cannot take is dropped and
//! counted (`vestibule_decision_log_dropped_total`); the audit log keeps everything. Under load allowed requests are
//! dropped first: what people ask about is why somebody was refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::Counter;

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};

use vestibule_engine::audit::{Event, Recorded, Ruling, Sink};
use vestibule_engine::store::DurableStore;

/// Records that may wait.
const WAITING: usize = 8192;
/// Places that allowed requests leave free.
const RESERVED: usize = WAITING / 2;
/// Records written at once.
const BATCH: usize = 256;
/// Rest between two writes. Each is a transaction, and a record alone in one costs ten times its share of a full one; a
/// record in a full one costs as much as judging its request. A thousand a second are more than anybody asks about.
const REST: Duration = Duration::from_millis(250);

/// A sink that keeps decisions and logins in the durable store.
#[derive(Debug)]
pub struct DecisionLog {
    sender: mpsc::Sender<Message>,
    pace: Arc<Pace>,
    dropped: Counter,
}

/// When the writer rests: not while somebody waits for it.
#[derive(Debug, Default)]
struct Pace {
    flushing: AtomicUsize,
    hurry: Notify,
}

impl Pace {
    async fn rest(&self) {
        if self.flushing.load(Ordering::Acquire) == 0 {
            // Either way the rest is over.
            let _ = tokio::time::timeout(REST, self.hurry.notified()).await;
        }
    }
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
        let pace = Arc::new(Pace::default());
        let dropped = metrics::counter!("vestibule_decision_log_dropped_total");
        control.spawn(write(store, receiver, pace.clone(), dropped.clone()));
        Self { sender, pace, dropped }
    }

    /// Returns when everything recorded before was written or given up.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        self.pace.flushing.fetch_add(1, Ordering::AcqRel);
        self.pace.hurry.notify_one();
        if self.sender.send(Message::Flush(done)).await.is_ok() {
            // An error means the task has ended, and with it all writing.
            let _ = written.await;
        }
        self.pace.flushing.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Sink for DecisionLog {
    fn record(&self, event: &Recorded) {
        let left_free = match &event.event {
            Event::RequestDecided(decided) => match decided.decision {
                Ruling::Allow => RESERVED,
                Ruling::Challenge | Ruling::Deny | Ruling::Fail => 0,
            },
            Event::RequestUnreadable { .. }
            | Event::LoginSucceeded { .. }
            | Event::LoginRejected { .. }
            | Event::LoginFellThrough { .. }
            | Event::EmergencyAttempted { .. }
            | Event::DelegatedCalled(_)
            | Event::AnswerRefused { .. }
            | Event::MessageRefused { .. } => 0,
            Event::GateClosed { .. }
            | Event::GateOpened { .. }
            | Event::SessionOpened { .. }
            | Event::SessionEnded { .. }
            | Event::AssertionIssued { .. }
            | Event::TokenIssued { .. }
            | Event::KeyRotated { .. }
            | Event::ConfigReloaded { .. }
            | Event::AuditOpened { .. }
            | Event::AuditSealed { .. }
            | Event::AdminChanged { .. } => return,
        };
        // Asked first: a copy that nobody takes would cost as much as one that is kept.
        if self.sender.capacity() <= left_free || self.sender.try_send(Message::Record(Box::new(event.clone()))).is_err() {
            self.dropped.increment(1);
        }
    }
}

async fn write(store: Arc<dyn DurableStore>, mut receiver: mpsc::Receiver<Message>, pace: Arc<Pace>, dropped: Counter) {
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
            dropped.increment(entries.len() as u64);
        }
        for done in waiting {
            // Whoever waited may have gone.
            let _ = done.send(());
        }
        pace.rest().await;
    }
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
    async fn under_load_refusals_find_room_and_allowed_requests_do_not() {
        let store = Arc::new(Durable::default());
        let log = DecisionLog::start(store.clone(), &Handle::current());
        for n in 0..WAITING {
            log.record(&decided(&format!("/{n}")));
        }
        let mut refused = decided("/refused");
        if let Event::RequestDecided(decided) = &mut refused.event {
            decided.decision = Ruling::Deny;
        }
        log.record(&refused);
        log.flush().await;
        let kept = store.log.lock().unwrap();
        assert_eq!((kept.len(), kept.last()), (RESERVED + 1, Some(&refused)));
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
