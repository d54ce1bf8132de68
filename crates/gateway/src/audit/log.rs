//! The audit log: one JSON line per event, to standard output or to a file.
//!
//! Callers append a line to a buffer and go on; one thread writes. The buffer is bounded, and what happens
//! at the bound is the point of this file:
//!
//! - While the medium fails (a full disk, a reader that went away), lines wait and are written again from the
//!   first octet that is missing; and [`Sink::ready`] is an error: the engine answers 503 and judges nothing, since
//!   what waits in memory is lost with the process.
//! - So it is with [`Limits::close_at`] octets waiting for a medium that is merely slow. Decisions underway still find
//!   room up to [`Limits::most`].
//! - Beyond that, which only a flood underway reaches, a line is lost, counted
//!   (`vestibule_audit_lost_total`) and complained of.
//!
//! A file may be renamed at any time (logrotate): the next line goes to a new file of the old name.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use vestibule_engine::audit::{Recorded, Sink};
use vestibule_engine::clock::Clock;
use vestibule_engine::scheme::Unavailable;

/// How long the writer sleeps at most, and how often a file is synchronised by [`Fsync::EverySecond`].
const TICK: Duration = Duration::from_secs(1);
/// How long the writer lets lines gather. To wake it for each would cost the threads that carry requests a system
/// call per decision.
const GATHER: Duration = Duration::from_millis(5);
/// How long the writer waits after a failure.
const RETRY: Duration = Duration::from_millis(250);
/// Room for a line: most decisions fit.
const LINE: usize = 1024;
/// A buffer that grew beyond this in a burst is given back.
const KEPT: usize = 1 << 20;

/// How much may wait.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Octets waiting that close the doors.
    close_at: usize,
    /// Octets waiting at most.
    most: usize,
    /// How often a write that fails is tried again once the log was told to end.
    last_tries: u32,
}

/// Some 100 000 decisions, and a reserve for those underway.
const LIMITS: Limits = Limits { close_at: 48 << 20, most: 64 << 20, last_tries: 20 };

/// When a file's lines are forced onto the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// When the operating system likes.
    Never,
    /// Once a second.
    EverySecond,
}

/// The audit log. Dropping it writes what is waiting.
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
    /// Writes to standard output.
    ///
    /// # Errors
    /// When standard output is closed or no thread can be started.
    pub fn stdout(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Self::start(Medium { file, path: None, fsync: Fsync::Never }, LIMITS, clock)
    }

    /// Appends to a file, which is made with mode 0600 if it is not there.
    ///
    /// # Errors
    /// When the file cannot be opened or no thread can be started.
    pub fn file(path: &Path, fsync: Fsync, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let medium = Medium { file: append(path)?, path: Some(path.to_owned()), fsync };
        Self::start(medium, LIMITS, clock)
    }

    /// Opens the file anew, as SIGHUP asks after a rotation. Renaming it is noticed without.
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

    /// Writes what is waiting and ends. A medium that keeps failing is given up after five seconds.
    pub fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
        let writer = self.writer.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the audit writer ended unexpectedly");
        }
    }

    fn start(medium: Medium, limits: Limits, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            waiting: AtomicUsize::new(0),
            failing: AtomicBool::new(false),
            limits,
        });
        let writer = Writer { shared: shared.clone(), medium, clock, synced: Duration::ZERO, dirty: false };
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run())?;
        Ok(Self { shared, writer: Mutex::new(Some(thread)) })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

impl Sink for Log {
    fn record(&self, event: &Recorded) {
        let mut line = Vec::with_capacity(LINE);
        if let Err(error) = event.write_line(&mut line) {
            return self.shared.lose(&mut self.shared.lock(), &error.to_string());
        }
        let mut queue = self.shared.lock();
        if queue.closing {
            return self.shared.lose(&mut queue, "the log is closed");
        }
        if self.shared.waiting.load(Ordering::Relaxed).saturating_add(line.len()) > self.shared.limits.most {
            return self.shared.lose(&mut queue, "too much is waiting to be written");
        }
        queue.lines.extend_from_slice(&line);
        self.shared.waiting.fetch_add(line.len(), Ordering::Relaxed);
        let asleep = std::mem::take(&mut queue.asleep);
        drop(queue);
        if asleep {
            self.shared.wake.notify_one();
        }
    }

    fn ready(&self) -> Result<(), Unavailable> {
        if !self.shared.failing.load(Ordering::Relaxed) && self.shared.waiting.load(Ordering::Relaxed) < self.shared.limits.close_at {
            return Ok(());
        }
        metrics::counter!("vestibule_audit_refusals_total").increment(1);
        let why = self.failing().unwrap_or_else(|| "records wait to be written faster than they are".to_owned());
        Err(Unavailable::new("audit log", why))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn lose(&self, queue: &mut Queue, why: &str) {
        queue.lost += 1;
        metrics::counter!("vestibule_audit_lost_total").increment(1);
        // Each doubling is worth a line; each loss is not.
        if queue.lost.is_power_of_two() {
            tracing::error!(lost = queue.lost, why, "an audit record was lost");
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    medium: Medium,
    clock: Arc<dyn Clock>,
    synced: Duration,
    dirty: bool,
}

impl Writer {
    fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let (closing, reopen) = self.wait(&mut batch);
            if reopen && let Err(error) = self.medium.reopen() {
                // The old file is still open and still good.
                tracing::error!(%error, "the audit file could not be reopened");
            }
            self.write(&mut batch);
            self.sync(closing);
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
        let mut tries = 0;
        while done < batch.len() {
            let before = done;
            let outcome = self.medium.follow(batch, &mut done).and_then(|()| self.medium.write(batch, &mut done));
            self.dirty |= done > before;
            match outcome {
                Ok(()) => self.report(None),
                Err(error) => {
                    self.report(Some(error.to_string()));
                    let mut queue = self.shared.lock();
                    tries += u32::from(queue.closing);
                    if tries > self.shared.limits.last_tries {
                        let torn = batch.get(done..).unwrap_or_default();
                        for _ in torn.iter().filter(|octet| **octet == b'\n') {
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

    fn sync(&mut self, closing: bool) {
        let now = self.clock.monotonic();
        let due = match self.medium.fsync {
            Fsync::Never => false,
            Fsync::EverySecond => closing || now.saturating_sub(self.synced) >= TICK,
        };
        if due && std::mem::take(&mut self.dirty) {
            self.synced = now;
            synchronise(&self.medium.file);
        }
    }

    fn report(&self, failing: Option<String>) {
        let mut queue = self.shared.lock();
        match (&queue.failing, &failing) {
            (None, Some(error)) => tracing::error!(error, "the audit log cannot be written; records wait"),
            (Some(_), None) => tracing::info!("the audit log is written again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.shared.failing.store(failing.is_some(), Ordering::Relaxed);
        queue.failing = failing;
    }
}

struct Medium {
    file: File,
    /// None for standard output.
    path: Option<PathBuf>,
    fsync: Fsync,
}

impl Medium {
    /// Opens a new file if ours is no longer the one of its name. A line torn by a failure is written whole again there.
    fn follow(&mut self, batch: &[u8], done: &mut usize) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let ours = self.file.metadata()?;
        let same = match std::fs::metadata(path) {
            Ok(named) => (named.dev(), named.ino()) == (ours.dev(), ours.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !same {
            self.reopen()?;
            let written = batch.get(..*done).unwrap_or_default();
            *done = written.iter().rposition(|octet| *octet == b'\n').map_or(0, |newline| newline + 1);
        }
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            let file = append(path)?;
            // What cannot be synchronised any more must not keep us from the file that can.
            if self.fsync != Fsync::Never {
                synchronise(&self.file);
            }
            self.file = file;
        }
        Ok(())
    }

    fn write(&mut self, batch: &[u8], done: &mut usize) -> io::Result<()> {
        while let Some(rest) = batch.get(*done..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => *done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn synchronise(file: &File) {
    if let Err(error) = file.sync_data() {
        tracing::error!(%error, "the audit file could not be synchronised");
        metrics::counter!("vestibule_audit_sync_failures_total").increment(1);
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use vestibule_engine::clock::SystemClock;

    use super::*;
    use crate::audit::tests::decided;
    use crate::cli::tests::TempDir;

    fn clock() -> Arc<dyn Clock> {
        Arc::new(SystemClock::default())
    }

    fn paths(file: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].as_str().unwrap().to_owned()).collect()
    }

    fn wait_for(what: impl Fn() -> bool) {
        for _ in 0..500 {
            if what() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it did not happen within five seconds");
    }

    #[test]
    fn order_is_kept_and_closing_writes_what_waits() {
        let dir = TempDir::new();
        let file = dir.path().join("audit.log");
        let log = Log::file(&file, Fsync::EverySecond, clock()).unwrap();
        let want: Vec<String> = (0..5000).map(|n| format!("/{n}")).collect();
        for path in &want {
            log.record(&decided(path));
        }
        log.close();
        assert_eq!(paths(&file), want);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        log.record(&decided("/late"));
        assert_eq!(log.lost(), 1, "after the end nothing is lost silently");
    }

    #[test]
    fn lines_of_many_threads_are_never_torn() {
        let dir = TempDir::new();
        let file = dir.path().join("audit.log");
        let log = Log::file(&file, Fsync::Never, clock()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = &log;
                scope.spawn(move || (0..500).for_each(|n| log.record(&decided(&format!("/{thread}/{n}")))));
            }
        });
        log.close();
        let found = paths(&file);
        assert_eq!(found.len(), 2000);
        for thread in 0..4 {
            let own: Vec<_> = found.iter().filter(|path| path.starts_with(&format!("/{thread}/"))).cloned().collect();
            assert_eq!(own, (0..500).map(|n| format!("/{thread}/{n}")).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_renamed_file_is_followed_by_a_new_one() {
        let dir = TempDir::new();
        let (file, old) = (dir.path().join("audit.log"), dir.path().join("audit.log.1"));
        let log = Log::file(&file, Fsync::EverySecond, clock()).unwrap();
        log.record(&decided("/before"));
        wait_for(|| paths(&file).len() == 1);
        std::fs::rename(&file, &old).unwrap();
        log.record(&decided("/after"));
        wait_for(|| paths(&file).len() == 1);
        log.reopen();
        log.record(&decided("/again"));
        log.close();
        assert_eq!(paths(&old), ["/before"]);
        assert_eq!(paths(&file), ["/after", "/again"]);
    }

    #[test]
    fn a_medium_that_fails_closes_the_doors_and_loses_nothing_when_it_returns() {
        let dir = TempDir::new();
        let folder = dir.path().join("logs");
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("audit.log");
        let medium = Medium { file: append(&file).unwrap(), path: Some(file.clone()), fsync: Fsync::Never };
        let log = Log::start(medium, Limits { close_at: 90_000, most: 100_000, last_tries: 0 }, clock()).unwrap();
        log.record(&decided("/0"));
        wait_for(|| paths(&file).len() == 1);
        std::fs::rename(&folder, dir.path().join("away")).unwrap();
        for n in 1..=20 {
            log.record(&decided(&format!("/{n}")));
        }
        wait_for(|| log.failing().is_some());
        assert!(log.ready().is_err(), "no record, no decision");
        std::fs::rename(dir.path().join("away"), &folder).unwrap();
        wait_for(|| log.ready().is_ok() && log.failing().is_none());
        log.close();
        assert_eq!(paths(&file), (0..=20).map(|n| format!("/{n}")).collect::<Vec<_>>());
        assert_eq!(log.lost(), 0);
    }

    #[test]
    fn a_full_disk_fails_closed_and_the_loss_is_counted() {
        let medium = Medium { file: OpenOptions::new().write(true).open("/dev/full").unwrap(), path: None, fsync: Fsync::Never };
        let log = Log::start(medium, Limits { close_at: 500, most: 1000, last_tries: 0 }, clock()).unwrap();
        for n in 0..20 {
            log.record(&decided(&format!("/{n}")));
        }
        wait_for(|| log.failing().is_some());
        assert!(log.ready().is_err());
        assert!(log.lost() > 0, "beyond the bound records are counted as lost");
    }

    #[test]
    fn a_torn_line_is_written_whole_into_the_next_file() {
        let dir = TempDir::new();
        let file = dir.path().join("audit.log");
        let mut medium = Medium { file: append(&file).unwrap(), path: Some(file.clone()), fsync: Fsync::Never };
        let batch = b"{\"a\":1}\n{\"b\":2}\n";
        let mut done = 11;
        std::fs::rename(&file, dir.path().join("old")).unwrap();
        medium.follow(batch, &mut done).unwrap();
        medium.write(batch, &mut done).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"{\"b\":2}\n");
    }
}
