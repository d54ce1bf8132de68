//! The bounded pool that hashes.
//!
//! A hash is dear by design, so guessing is also a way to keep us busy. The pool has few threads that yield to every other, a
//! bounded queue, and fair lanes: known devices go before strangers, and within a lane every source has its turn, so
//! that a flood from one source delays only that source.
//!
//! A hash in progress must not make a request wait for the end of its time slice, as it does at any niceness. So the threads are
//! of the class that is preempted at once (`SCHED_IDLE`, sched(7)); where others keep all cores busy, that class gets
//! next to nothing, and one thread of ordinary class takes the jobs that nobody begins.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id};
use tokio::sync::oneshot;
use vestibule_engine::clock::Clock;
use vestibule_engine::identity::PasswordHash;
use vestibule_engine::realm::address_range;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;

use super::{Cost, ImportError, Match};
use crate::keys::KeyEncryptionKey;

/// Of so many jobs one is a stranger's even while known devices wait: nobody starves.
const STRANGERS_TURN: u32 = 4;
/// The part of a lane that one source may fill.
const SHARE: usize = 8;
/// How much nicer than the threads that serve requests is the one that helps out.
const NICENESS: i32 = 10;
/// How long no job is begun before that one begins one.
const PATIENCE: Duration = Duration::from_millis(250);

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// A device its owner signed in from before, by its address range.
    Known(IpAddr),
    /// Anybody else, by their address range.
    Stranger(IpAddr),
    /// Nobody: what is done when nobody waits.
    Idle,
}

impl Lane {
    /// The lane of a client at this address.
    pub fn of(address: IpAddr, known_device: bool) -> Self {
        let range = address_range(address);
        if known_device { Self::Known(range) } else { Self::Stranger(range) }
    }
}

/// Threads that hash passwords, and the queues before them.
pub struct HashingPool {
    shared: Arc<Shared>,
    cost: Cost,
    sealing: Arc<KeyEncryptionKey>,
}

impl HashingPool {
    /// A pool of `threads` threads that makes hashes of this cost; each lane holds up to `queue_limit` jobs. Imported hashes
    /// that wait to be wrapped rest under `sealing`.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn new(
        threads: usize,
        queue_limit: usize,
        cost: Cost,
        sealing: Arc<KeyEncryptionKey>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let shared =
            Arc::new(Shared { queues: Mutex::new(Queues::new(queue_limit)), filled: Condvar::new(), neglected: Condvar::new(), clock });
        // Made first, so that threads already running end if a later one cannot be made.
        let pool = Self { shared, cost, sealing };
        for number in 0..threads.max(1) {
            let shared = pool.shared.clone();
            std::thread::Builder::new().name(format!("hashing-{number}")).spawn(move || shared.work())?;
        }
        let shared = pool.shared.clone();
        std::thread::Builder::new().name("hashing-last".to_owned()).spawn(move || shared.help_out())?;
        Ok(pool)
    }

    /// How many threads suit this machine: half its cores, at least one.
    pub fn threads() -> usize {
        std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
    }

    /// What the hashes made here cost.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Compares a password with a stored hash; dropped unhashed if its turn has not come by `deadline`
    /// ([`Clock::monotonic`]).
    ///
    /// # Errors
    /// [`Unavailable`] when the queue is full or the deadline has passed.
    pub async fn verify(
        &self,
        hash: &PasswordHash,
        password: &Secret<String>,
        lane: Lane,
        deadline: Duration,
    ) -> Result<Match, Unavailable> {
        let (hash, password, cost, sealing) = (hash.clone(), password.clone(), self.cost, self.sealing.clone());
        self.run(lane, deadline, move || super::verify(&hash, &password, cost, &sealing)).await
    }

    /// Hashes a password as we store it.
    ///
    /// # Errors
    /// [`Unavailable`] when the queue is full.
    pub async fn hash(&self, password: &Secret<String>, lane: Lane) -> Result<PasswordHash, Unavailable> {
        let (password, cost) = (password.clone(), self.cost);
        self.run(lane, Duration::MAX, move || super::hash(&password, cost)).await
    }

    /// Takes over a hash of another system, as [`super::import`] does.
    ///
    /// # Errors
    /// [`Unavailable`] when the queue is full; inside, why the hash will not do.
    pub async fn import(&self, text: &Secret<String>, lane: Lane) -> Result<Result<PasswordHash, ImportError>, Unavailable> {
        let (text, cost) = (text.clone(), self.cost);
        self.run(lane, Duration::MAX, move || Ok(super::import(text.reveal(), cost))).await
    }

    /// Takes over a hash of another system at once, as [`super::seal`] does: nothing is hashed.
    ///
    /// # Errors
    /// Why the hash will not do.
    pub fn seal(&self, text: &Secret<String>) -> Result<PasswordHash, ImportError> {
        super::seal(text.reveal(), self.cost, &self.sealing)
    }

    /// Wraps a hash that rests sealed, when nobody else waits to be hashed.
    ///
    /// # Errors
    /// [`Unavailable`] when the queue is full; inside, why it cannot be wrapped.
    pub async fn wrap(&self, stored: &PasswordHash) -> Result<Result<PasswordHash, ImportError>, Unavailable> {
        let (stored, cost, sealing) = (stored.clone(), self.cost, self.sealing.clone());
        self.run(Lane::Idle, Duration::MAX, move || Ok(super::wrap(&stored, cost, &sealing))).await
    }

    /// A stored hash as it leaves the house, as [`super::reveal`] says.
    pub fn reveal(&self, stored: &PasswordHash) -> Option<Secret<String>> {
        super::reveal(stored, &self.sealing)
    }

    async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        deadline: Duration,
        work: impl FnOnce() -> Result<T, Unavailable> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let clock = self.shared.clock.clone();
        let task = move || {
            // Whoever waited is gone, or can no longer use the answer.
            if !reply.is_closed() && clock.monotonic() < deadline {
                let _ = reply.send(work());
            }
        };
        self.shared.push(lane, Box::new(task)).map_err(|Full| Unavailable::new("hashing", "the queue is full"))?;
        answer.await.unwrap_or_else(|_| Err(Unavailable::new("hashing", "the deadline has passed")))
    }
}

impl Drop for HashingPool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_all();
        self.shared.neglected.notify_all();
    }
}

impl fmt::Debug for HashingPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashingPool").finish_non_exhaustive()
    }
}

type Task = Box<dyn FnOnce() + Send>;

struct Shared {
    queues: Mutex<Queues>,
    filled: Condvar,
    /// What the thread of ordinary class waits for.
    neglected: Condvar,
    clock: Arc<dyn Clock>,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, lane: Lane, task: Task) -> Result<(), Full> {
        let mut queues = self.lock();
        if queues.is_empty() {
            queues.begun = self.clock.monotonic();
        }
        queues.push(lane, task)?;
        drop(queues);
        self.filled.notify_one();
        self.neglected.notify_one();
        Ok(())
    }

    fn work(&self) {
        let class = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        // Not being allowed to is no reason to stop.
        if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, class) {
            tracing::debug!(?error, "hashing does not yield to requests");
        }
        let mut queues = self.lock();
        loop {
            if let Some(task) = queues.pop() {
                queues.begun = self.clock.monotonic();
                drop(queues);
                task();
                queues = self.lock();
            } else if queues.closed {
                return;
            } else {
                queues = self.filled.wait(queues).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn help_out(&self) {
        // On Linux the priority is the thread's own (setpriority(2)).
        if let Err(error) = rustix::process::nice(NICENESS) {
            tracing::debug!(%error, "hashing runs at ordinary priority");
        }
        let mut queues = self.lock();
        while !queues.closed {
            if queues.is_empty() {
                queues = self.neglected.wait(queues).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let now = self.clock.monotonic();
            if now.saturating_sub(queues.begun) >= PATIENCE
                && let Some(task) = queues.pop()
            {
                queues.begun = now;
                drop(queues);
                task();
                queues = self.lock();
            } else {
                queues = self.neglected.wait_timeout(queues, PATIENCE).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

struct Full;

struct Queues {
    known: Fair,
    strangers: Fair,
    idle: VecDeque<Task>,
    limit: usize,
    turn: u32,
    /// When a job was last begun, or came to queues that were empty.
    begun: Duration,
    closed: bool,
}

impl Queues {
    fn new(limit: usize) -> Self {
        Self {
            known: Fair::new(limit),
            strangers: Fair::new(limit),
            idle: VecDeque::new(),
            limit,
            turn: 0,
            begun: Duration::ZERO,
            closed: false,
        }
    }

    fn is_empty(&self) -> bool {
        self.known.length == 0 && self.strangers.length == 0 && self.idle.is_empty()
    }

    fn push(&mut self, lane: Lane, task: Task) -> Result<(), Full> {
        match lane {
            Lane::Known(source) => self.known.push(source, task),
            Lane::Stranger(source) => self.strangers.push(source, task),
            Lane::Idle if self.idle.len() >= self.limit => Err(Full),
            Lane::Idle => {
                self.idle.push_back(task);
                Ok(())
            }
        }
    }

    fn pop(&mut self) -> Option<Task> {
        self.turn = (self.turn + 1) % STRANGERS_TURN;
        let (first, second) = if self.turn == 0 { (&mut self.strangers, &mut self.known) } else { (&mut self.known, &mut self.strangers) };
        first.pop().or_else(|| second.pop()).or_else(|| self.idle.pop_front())
    }
}

/// A queue in which the sources take turns.
struct Fair {
    tasks: HashMap<IpAddr, VecDeque<Task>>,
    turns: VecDeque<IpAddr>,
    length: usize,
    limit: usize,
}

impl Fair {
    fn new(limit: usize) -> Self {
        Self { tasks: HashMap::new(), turns: VecDeque::new(), length: 0, limit: limit.max(1) }
    }

    fn push(&mut self, source: IpAddr, task: Task) -> Result<(), Full> {
        let held = self.tasks.get(&source).map_or(0, VecDeque::len);
        if self.length >= self.limit || held >= self.limit.div_ceil(SHARE) {
            return Err(Full);
        }
        if held == 0 {
            self.turns.push_back(source);
        }
        self.tasks.entry(source).or_default().push_back(task);
        self.length += 1;
        Ok(())
    }

    fn pop(&mut self) -> Option<Task> {
        let source = self.turns.pop_front()?;
        let tasks = self.tasks.get_mut(&source)?;
        let task = tasks.pop_front();
        if tasks.is_empty() {
            self.tasks.remove(&source);
        } else {
            self.turns.push_back(source);
        }
        self.length -= 1;
        task
    }
}

#[cfg(test)]
mod tests {
    use vestibule_engine::clock::SystemClock;

    use super::*;

    fn order(queues: &mut Queues, log: &Arc<Mutex<Vec<String>>>) -> Vec<String> {
        while let Some(task) = queues.pop() {
            task();
        }
        std::mem::take(&mut *log.lock().unwrap())
    }

    fn note(log: &Arc<Mutex<Vec<String>>>, text: impl ToString) -> Task {
        let (log, text) = (log.clone(), text.to_string());
        Box::new(move || log.lock().unwrap().push(text))
    }

    fn at(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn sources_take_turns_and_known_devices_go_first_but_not_always() {
        let log = Arc::default();
        let mut queues = Queues::new(80);
        queues.push(Lane::Idle, note(&log, "idle")).ok().unwrap();
        for job in 0..3 {
            queues.push(Lane::Stranger(at(1)), note(&log, format!("flood {job}"))).ok().unwrap();
        }
        queues.push(Lane::Stranger(at(2)), note(&log, "other")).ok().unwrap();
        for job in 0..4 {
            queues.push(Lane::Known(at(3)), note(&log, format!("known {job}"))).ok().unwrap();
        }
        let expected = ["known 0", "known 1", "known 2", "flood 0", "known 3", "other", "flood 1", "flood 2", "idle"];
        assert_eq!(order(&mut queues, &log), expected);
    }

    #[test]
    fn one_source_cannot_fill_a_lane_and_strangers_cannot_fill_the_other() {
        let log = Arc::default();
        let mut queues = Queues::new(16);
        let mut push = |lane| queues.push(lane, note(&log, "")).is_ok();
        assert_eq!((0..100).filter(|_| push(Lane::Stranger(at(1)))).count(), 2);
        assert!(push(Lane::Stranger(at(2))));
        assert_eq!((3..100).filter(|last| push(Lane::Stranger(at(*last)))).count(), 13);
        assert!(push(Lane::Known(at(1))));
    }

    #[tokio::test]
    async fn a_job_whose_deadline_has_passed_is_dropped_unhashed() {
        let clock = Arc::new(SystemClock::default());
        let pool = HashingPool::new(1, 8, Cost::default(), super::super::tests::sealing(), clock).unwrap();
        let hash = super::super::decoy(Cost::default()).unwrap();
        let lane = Lane::of(at(1), false);
        let late = pool.verify(&hash, &Secret::from("x"), lane, Duration::ZERO).await;
        assert!(late.unwrap_err().why.contains("deadline"));
        assert_eq!(pool.verify(&hash, &Secret::from("x"), lane, Duration::MAX).await, Ok(Match::Different));
    }

    #[tokio::test]
    async fn what_the_pool_hashes_it_verifies() {
        let pool = HashingPool::new(1, 8, Cost::default(), super::super::tests::sealing(), Arc::new(SystemClock::default())).unwrap();
        let lane = Lane::of(at(1), true);
        let hash = pool.hash(&Secret::from("correct horse"), lane).await.unwrap();
        assert_eq!(pool.verify(&hash, &Secret::from("correct horse"), lane, Duration::MAX).await, Ok(Match::Same));
        assert_eq!(pool.verify(&hash, &Secret::from("wrong horse"), lane, Duration::MAX).await, Ok(Match::Different));
    }
}
