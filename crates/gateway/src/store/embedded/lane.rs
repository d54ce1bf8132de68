//! The threads on which SQLite runs: data-path threads hand work over and are woken by its answer.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::store::Changes;

/// Work that may wait in a lane; callers beyond it wait themselves.
const QUEUE: usize = 1024;
/// The most writes that share one commit.
const BATCH: usize = 256;
/// Dead entries reclaimed by a commit of one write, and by each write more: more than writes can add.
const RECLAIMED: usize = 16;

/// Does its work when the connection is ready for it.
type Job = Box<dyn FnOnce(Result<&Connection, Unavailable>) -> Answer + Send>;
/// Tells the caller, once it is known whether the work was committed.
type Answer = Box<dyn FnOnce(Result<(), Unavailable>) + Send>;

/// A queue and the threads that work it off.
pub(super) struct Lane {
    queue: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Lane {
    /// One thread that writes. Holds `lock` until its connection is closed; when it ends, for whatever reason, caches
    /// no longer hear from the store.
    pub fn writing(
        connection: Connection,
        lock: File,
        changes: Vec<Arc<Changes>>,
        sweep: impl Fn(&Connection, usize) -> rusqlite::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let silence = Silence(changes);
        let thread = Builder::new().name("store-write".to_owned()).spawn(move || {
            let _silence = silence;
            write(&connection, jobs, sweep);
            drop(connection);
            drop(lock);
        })?;
        Ok(Self { queue: Some(queue), threads: vec![thread] })
    }

    /// A thread that reads for each of these connections.
    pub fn reading(connections: Vec<Connection>) -> io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        let mut threads = Vec::new();
        for connection in connections {
            let jobs = jobs.clone();
            threads.push(Builder::new().name("store-read".to_owned()).spawn(move || read(&connection, &jobs))?);
        }
        Ok(Self { queue: Some(queue), threads })
    }

    /// Does `work` in the lane. It has all its effect or none.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.run_then(work, |_| {}).await
    }

    /// Does `work` in the lane, then `then` in the order of commits, before the caller hears of it.
    pub async fn run_then<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (sender, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let outcome = connection.and_then(|connection| atomically(connection, work).map_err(unavailable));
            Box::new(move |committed| {
                let outcome = committed.and(outcome);
                if let Ok(value) = &outcome {
                    then(value);
                }
                // A caller that has gone no longer wants to know.
                let _ = sender.send(outcome);
            })
        });
        let gone = || Unavailable::new("store", "its thread has ended");
        self.queue.as_ref().ok_or_else(gone)?.send(job).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lane({} threads)", self.threads.len())
    }
}

impl Drop for Lane {
    /// What was accepted is written, and the file is free when this returns.
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store had died");
            }
        }
    }
}

/// Tells caches when the writer has ended.
struct Silence(Vec<Arc<Changes>>);

impl Drop for Silence {
    fn drop(&mut self) {
        for changes in &self.0 {
            changes.set_live(false);
        }
    }
}

/// Group commit: whatever waits is written in one transaction, and acknowledged after it.
fn write(connection: &Connection, mut jobs: mpsc::Receiver<Job>, sweep: impl Fn(&Connection, usize) -> rusqlite::Result<()>) {
    while let Some(mut job) = jobs.blocking_recv() {
        let begun = connection.execute_batch("BEGIN IMMEDIATE");
        if let Err(error) = begun {
            let why = unavailable(error);
            job(Err(why.clone()))(Err(why));
            continue;
        }
        let mut answers = Vec::new();
        loop {
            answers.push(job(Ok(connection)));
            // A grave error rolls back more than its own job: then nothing of this batch may be acknowledged.
            if connection.is_autocommit() || answers.len() == BATCH {
                break;
            }
            match jobs.try_recv() {
                Ok(next) => job = next,
                Err(mpsc::error::TryRecvError::Empty | mpsc::error::TryRecvError::Disconnected) => break,
            }
        }
        if let Err(error) = atomically(connection, |connection| sweep(connection, RECLAIMED + 2 * answers.len())) {
            tracing::warn!(%error, "dead entries could not be reclaimed");
        }
        let committed = commit(connection);
        if let Err(why) = &committed {
            tracing::error!(error = %why, writes = answers.len(), "the store could not commit");
        }
        for answer in answers {
            answer(committed.clone());
        }
    }
}

fn commit(connection: &Connection) -> Result<(), Unavailable> {
    if connection.is_autocommit() {
        return Err(Unavailable::new("store", "the transaction was rolled back"));
    }
    connection.execute_batch("COMMIT").map_err(|error| {
        if !connection.is_autocommit()
            && let Err(error) = connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "the store could not roll back");
        }
        unavailable(error)
    })
}

fn read(connection: &Connection, jobs: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).blocking_recv();
        let Some(job) = job else { return };
        job(Ok(connection))(Ok(()));
    }
}

/// Does `work` wholly or not at all, inside a transaction or as one.
fn atomically<T>(connection: &Connection, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let run = |sql| connection.prepare_cached(sql)?.execute([]).map(drop);
    run("SAVEPOINT job")?;
    let outcome = work(connection);
    if outcome.is_err() && !connection.is_autocommit() {
        run("ROLLBACK TO job")?;
    }
    if !connection.is_autocommit() {
        run("RELEASE job")?;
    }
    outcome
}

fn unavailable(error: rusqlite::Error) -> Unavailable {
    Unavailable::new("store", error)
}
