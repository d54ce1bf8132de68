//! The queue before each place that records go to: callers append a line and go on; one thread writes.
//!
//! The queue is bounded, and what happens at the bound is the point of this file:
//!
//! - While the medium fails (a full disk, a collector that went away or stopped reading), lines wait and are written again from the
//!   first that is missing; and [`Log::ready`] is an error: the engine answers 503 and judges nothing, since
//!   what waits in memory is lost with the process.
//! - So it is with [`Limits::close_at`] octets waiting for a medium that is merely slow. Decisions underway still find
//!   room up to [`Limits::most`].
//! - Beyond that, which only a flood underway reaches, a line is lost, counted
//!   (`vestibule_audit_lost_total`) and complained of.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};

use vestibule_engine::clock::Clock;
use vestibule_engine::scheme::Unavailable;

/// Where lines end up.
pub trait Medium: Send + 'static {
    /// Writes the lines of `batch` from the octet `done` on, and moves `done` past what need not be given again.
    ///
    /// # Errors
    /// Whatever keeps it from writing the rest.
    fn write(&mut self, batch: &[u8], done: &mut usize) -> io::Result<()>;

    /// What is to be done once in a while, and when the log ends.
    ///
    /// # Errors
    /// Whatever will keep it from writing the next line.
    fn rest(&mut self, ending: bool) -> io::Result<()>;

    /// Looks for its place anew, as SIGHUP asks.
    ///
    /// # Errors
    /// Whatever keeps it from that; what it had is still good.
    fn reopen(&mut self) -> io::Result<()>;
}

/// How long the writer sleeps at most.
const TICK: Duration = Duration::from_secs(1);
/// How long the writer lets lines gather. To wake it for each would cost the threads that carry requests a system
/// call per decision.
const GATHER: Duration = Duration::from_millis(5);
/// How long the writer waits after a failure.
const RETRY: Duration = Duration::from_millis(250);
/// For how long a medium that fails is tried once the log was told to end.
const LAST_TRIES: Duration = Duration::from_secs(5);
/// A buffer that grew beyond this in a burst is given back.
const KEPT: usize = 1 << 20;

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Octets waiting that close the doors.
    pub(super) close_at: usize,
    /// Octets waiting at most.
    pub(super) most: usize,
}

/// Some 100 000 decisions, and a reserve for those underway.
pub(super) const LIMITS: Limits = Limits { close_at: 48 << 20, most: 64 << 20 };

/// A place that records go to. Dropping it writes what is waiting.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Octets that are not written yet, in the queue and in the writer's hands.
    waiting: AtomicUsize,
    /// Whether the last attempt to write failed; every decision asks.
    failing: AtomicBool,
    limits: Limits,
    /// What the place is called in logs and metrics.
    name: &'static str,
    lost: Counter,
    ailing: Gauge,
    queued: Gauge,
}

#[derive(Debug, Default)]
struct Queue {
    lines: Vec<u8>,
    /// The writer waits for a line and must be woken.
    asleep: bool,
    reopen: bool,
    closing: bool,
    failing: Option<String>,
    lost: u64,
}

impl Log {
    /// Looks for its place anew, as SIGHUP asks.
    pub fn reopen(&self) {
        self.shared.lock().reopen = true;
        self.shared.wake.notify_one();
    }

    /// What is wrong with the medium, while something is: for `/readyz` and `status`.
    pub fn failing(&self) -> Option<String> {
        self.shared.lock().failing.clone()
    }

    /// How many lines were lost.
    pub fn lost(&self) -> u64 {
        self.shared.lock().lost
    }

    /// Writes what is waiting and ends. A medium that keeps failing is given up after [`LAST_TRIES`].
    pub fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
        let writer = self.writer.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the audit writer ended unexpectedly");
        }
    }

    /// Begins to write to a medium.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(name: &'static str, medium: impl Medium, limits: Limits, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            waiting: AtomicUsize::new(0),
            failing: AtomicBool::new(false),
            limits,
            name,
            lost: counter!("vestibule_audit_lost_total", "sink" => name),
            ailing: gauge!("vestibule_audit_failing", "sink" => name),
            queued: gauge!("vestibule_audit_waiting_octets", "sink" => name),
        });
        let writer = Writer { shared: shared.clone(), medium, clock, rested: Duration::ZERO };
        let writer = std::thread::Builder::new().name(format!("audit-{name}")).spawn(move || writer.run())?;
        Ok(Self { shared, writer: Mutex::new(Some(writer)) })
    }

    /// Takes a line, with its end.
    pub fn append(&self, line: &[u8]) {
        let mut queue = self.shared.lock();
        if queue.closing {
            return self.shared.lose(&mut queue, "the log is closed");
        }
        if self.shared.waiting.load(Ordering::Relaxed).saturating_add(line.len()) > self.shared.limits.most {
            return self.shared.lose(&mut queue, "too much is waiting to be written");
        }
        queue.lines.extend_from_slice(line);
        self.shared.waiting.fetch_add(line.len(), Ordering::Relaxed);
        let asleep = std::mem::take(&mut queue.asleep);
        drop(queue);
        if asleep {
            self.shared.wake.notify_one();
        }
    }

    /// Counts a record that could not even become a line.
    pub fn lose(&self, why: &str) {
        self.shared.lose(&mut self.shared.lock(), why);
    }

    /// Whether more can be taken.
    ///
    /// # Errors
    /// [`Unavailable`] while a record might be lost.
    pub fn ready(&self) -> Result<(), Unavailable> {
        if !self.shared.failing.load(Ordering::Relaxed) && self.shared.waiting.load(Ordering::Relaxed) < self.shared.limits.close_at {
            return Ok(());
        }
        counter!("vestibule_audit_refusals_total", "sink" => self.shared.name).increment(1);
        let why = self.failing().unwrap_or_else(|| "records wait to be written faster than they are".to_owned());
        Err(Unavailable::new("audit log", why))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn lose(&self, queue: &mut Queue, why: &str) {
        queue.lost += 1;
        self.lost.increment(1);
        // Each doubling is worth a line; each loss is not.
        if queue.lost.is_power_of_two() {
            tracing::error!(sink = self.name, lost = queue.lost, why, "an audit record was lost");
        }
    }
}

struct Writer<M> {
    shared: Arc<Shared>,
    medium: M,
    clock: Arc<dyn Clock>,
    rested: Duration,
}

impl<M: Medium> Writer<M> {
    fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let (closing, reopen) = self.wait(&mut batch);
            if reopen && let Err(error) = self.medium.reopen() {
                tracing::error!(sink = self.shared.name, %error, "the audit could not be reopened");
            }
            self.write(&mut batch);
            self.rest(closing);
            if closing {
                return;
            }
        }
    }

    /// Waits for something to do, and takes all lines there are.
    fn wait(&self, batch: &mut Vec<u8>) -> (bool, bool) {
        let told = |queue: &Queue| queue.closing || queue.reopen;
        let idle = |queue: &mut Queue| {
            queue.asleep = queue.lines.is_empty() && !told(queue);
            queue.asleep
        };
        let wake = &self.shared.wake;
        let (queue, _) = wake.wait_timeout_while(self.shared.lock(), TICK, idle).unwrap_or_else(|poisoned| poisoned.into_inner());
        let gathering = |queue: &mut Queue| !told(queue);
        let (mut queue, _) = wake.wait_timeout_while(queue, GATHER, gathering).unwrap_or_else(|poisoned| poisoned.into_inner());
        std::mem::swap(&mut queue.lines, batch);
        (queue.closing, std::mem::take(&mut queue.reopen))
    }

    /// Writes all of `batch`, however often it takes, and empties it.
    fn write(&mut self, batch: &mut Vec<u8>) {
        let mut done = 0;
        let mut given_up = None;
        while done < batch.len() {
            match self.medium.write(batch, &mut done) {
                Ok(()) => self.report(None),
                Err(error) => {
                    self.report(Some(error.to_string()));
                    let mut queue = self.shared.lock();
                    let now = self.clock.monotonic();
                    if queue.closing && now >= *given_up.get_or_insert(now.saturating_add(LAST_TRIES)) {
                        let unwritten = batch.get(done..).unwrap_or_default();
                        for _ in unwritten.iter().filter(|octet| **octet == b'\n') {
                            self.shared.lose(&mut queue, "the log ends and cannot be written");
                        }
                        break;
                    }
                    drop(self.shared.wake.wait_timeout(queue, RETRY));
                }
            }
        }
        self.shared.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
        batch.clear();
        if batch.capacity() > KEPT {
            batch.shrink_to(KEPT);
        }
    }

    fn rest(&mut self, closing: bool) {
        let now = self.clock.monotonic();
        if closing || now.saturating_sub(self.rested) >= TICK {
            self.rested = now;
            self.shared.queued.set(self.shared.waiting.load(Ordering::Relaxed) as f64);
            let failing = self.medium.rest(closing).err().map(|error| error.to_string());
            self.report(failing);
        }
    }

    fn report(&self, failing: Option<String>) {
        let mut queue = self.shared.lock();
        match (&queue.failing, &failing) {
            (None, Some(error)) => tracing::error!(sink = self.shared.name, error, "the audit cannot be written; records wait"),
            (Some(_), None) => tracing::info!(sink = self.shared.name, "the audit is written again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.shared.failing.store(failing.is_some(), Ordering::Relaxed);
        self.shared.ailing.set(if failing.is_some() { 1.0 } else { 0.0 });
        queue.failing = failing;
    }
}
