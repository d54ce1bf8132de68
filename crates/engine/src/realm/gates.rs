//! Gates: how many failures an account or an address is allowed before nobody is asked any more
//! (`authentication-chain.md` §9).
//!
//! An attacker sends a hundred guesses at once, hoping that they are all asked before the first is counted
//! (attack 99). So a guess is counted when it enters and given back if it turns out not to be one: a guess that
//! is abandoned half-way stays counted.

use std::collections::{HashMap, hash_map};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::scheme::Unavailable;
use crate::store::{ExpiringStore, Insert, Key};

/// When a gate closes and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// Failures before it closes.
    pub(super) failures: u32,
    /// Within this time.
    pub(super) window: Duration,
    /// How long it stays closed at first.
    pub(super) closed: Duration,
    /// Closing again doubles the time, up to this.
    pub(super) longest: Duration,
}

/// Whether somebody may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// They may, and are counted in the window that began then.
    Open(Window),
    /// As many are inside as may fail: whoever waits until they are out knows more.
    Full,
    /// They may not.
    Closed,
}

/// The beginning of a window, in milliseconds of the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window(i64);

/// All gates, kept in the store that all nodes share.
///
/// While the store is down they are kept in this process: counting fails open across nodes, never verification (§9.11).
#[derive(Clone)]
pub(super) struct Gates(Arc<Inner>);

struct Inner {
    store: Arc<dyn ExpiringStore>,
    local: Cache<Key, Count>,
    /// Changes of gates at which somebody is at work. They are made together: so many guesses of one address cost one
    /// commit of the store instead of one each, and the store sees conflicts only between nodes.
    waiting: Mutex<HashMap<Key, Vec<Pending>>>,
}

/// Gates kept in this process while the store is down.
const LOCAL: usize = 16_384;
/// Conflicts between nodes before a gate counts as closed: contention must not open it.
const CONFLICTS: usize = 64;

impl Gates {
    pub(super) fn new(store: Arc<dyn ExpiringStore>) -> Self {
        Self(Arc::new(Inner { store, local: Cache::new(LOCAL), waiting: Mutex::default() }))
    }

    /// Counts one who enters, unless the gate is closed or full.
    pub(super) async fn enter(&self, key: &Key, rule: &Rule, now: Timestamp) -> Entry {
        let (rule, now) = (*rule, now.as_millisecond());
        let counted = self.update(key, rule, now, move |count| {
            if count.closed_until > now {
                return Entry::Closed;
            }
            let over = now.saturating_sub(count.since) >= millis(rule.window);
            if count.closed_until != 0 || over || count.failures == 0 {
                *count = Count { since: now, failures: 0, closed_until: 0, closings: count.closings };
            }
            if count.failures >= rule.failures {
                return Entry::Full;
            }
            count.failures = count.failures.saturating_add(1);
            Entry::Open(Window(count.since))
        });
        counted.await.unwrap_or(Entry::Closed)
    }

    /// One who entered has failed. Says for how long the gate is closed if that closed it.
    pub(super) async fn failed(&self, key: &Key, rule: &Rule, now: Timestamp) -> Option<Duration> {
        let (rule, now) = (*rule, now.as_millisecond());
        let counted = self.update(key, rule, now, move |count| {
            if count.failures < rule.failures || count.closed_until > now {
                return None;
            }
            let doubled = 2_u32.saturating_pow(count.closings.min(16));
            let closed = rule.closed.saturating_mul(doubled).min(rule.longest);
            count.closings = count.closings.saturating_add(1);
            count.closed_until = now.saturating_add(millis(closed));
            Some(closed)
        });
        counted.await.flatten()
    }

    /// One who entered was not guessing.
    pub(super) async fn give_back(&self, key: &Key, rule: &Rule, window: Window, now: Timestamp) {
        let counted = self.update(key, *rule, now.as_millisecond(), move |count| {
            if count.since == window.0 && count.closed_until == 0 {
                count.failures = count.failures.saturating_sub(1);
            }
        });
        // Who is not given back stays counted.
        let _ = counted.await;
    }

    /// Forgets everything about this gate. Says whether it was closed.
    pub(super) async fn clear(&self, key: &Key, rule: &Rule, now: Timestamp) -> bool {
        let local = self.0.local.remove(key).is_some_and(|(_, count)| count.closed_until > now.as_millisecond());
        let now = now.as_millisecond();
        let stored = self.update(key, *rule, now, move |count| std::mem::take(count).closed_until > now).await;
        local || stored.unwrap_or(false)
    }

    /// Changes a gate atomically. `None` if other nodes won every time: the gate is as it was.
    async fn update<T: Send + 'static>(
        &self,
        key: &Key,
        rule: Rule,
        now: i64,
        change: impl FnMut(&mut Count) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let pending = Pending { rule, now, work: Box::new(Work { change, said: None, reply }) };
        let worker = match self.0.waiting().entry(key.clone()) {
            hash_map::Entry::Occupied(mut at_work) => {
                at_work.get_mut().push(pending);
                None
            }
            hash_map::Entry::Vacant(free) => {
                free.insert(vec![pending]);
                Some(Worker { inner: self.0.clone(), key: key.clone() })
            }
        };
        // A task of its own: whoever hangs up must not take the others' changes along.
        if let Some(worker) = worker {
            tokio::spawn(worker.run());
        }
        answer.await.ok()
    }
}

impl fmt::Debug for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gates").field("store", &self.0.store).finish_non_exhaustive()
    }
}

/// A change that waits to be made.
struct Pending {
    rule: Rule,
    now: i64,
    work: Box<dyn Change>,
}

/// A change of a gate and whom to tell. Dropped untold, it was not made.
trait Change: Send {
    fn make(&mut self, count: &mut Count);
    fn tell(self: Box<Self>);
}

struct Work<T, C> {
    change: C,
    said: Option<T>,
    reply: oneshot::Sender<T>,
}

impl<T: Send, C: FnMut(&mut Count) -> T + Send> Change for Work<T, C> {
    fn make(&mut self, count: &mut Count) {
        self.said = Some((self.change)(count));
    }

    fn tell(self: Box<Self>) {
        if let Some(said) = self.said {
            // Whoever asked may have gone.
            let _ = self.reply.send(said);
        }
    }
}

/// Works at one gate until nobody waits there. However it ends, the next who comes finds the gate free.
struct Worker {
    inner: Arc<Inner>,
    key: Key,
}

impl Worker {
    async fn run(self) {
        while let Some(batch) = self.next() {
            self.inner.make(&self.key, batch).await;
        }
    }

    /// What waits. Once nothing does, the gate is free.
    fn next(&self) -> Option<Vec<Pending>> {
        let mut waiting = self.inner.waiting();
        let batch = waiting.get_mut(&self.key).map(std::mem::take).filter(|batch| !batch.is_empty());
        if batch.is_none() {
            waiting.remove(&self.key);
        }
        batch
    }
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, HashMap<Key, Vec<Pending>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes these changes in order, all or none.
    async fn make(&self, key: &Key, mut batch: Vec<Pending>) {
        for _ in 0..CONFLICTS {
            match self.try_make(key, &mut batch).await {
                Ok(true) => return batch.into_iter().for_each(|pending| pending.work.tell()),
                Ok(false) => tokio::task::yield_now().await,
                Err(down) => {
                    tracing::warn!(error = %down, "failures are counted in this process only");
                    let mut count = self.local.get(key).unwrap_or_default();
                    for mut pending in batch {
                        pending.work.make(&mut count);
                        pending.work.tell();
                    }
                    self.local.insert(key.clone(), count);
                    return;
                }
            }
        }
        tracing::warn!("a gate is changed by other nodes all the time");
    }

    async fn try_make(&self, key: &Key, batch: &mut [Pending]) -> Result<bool, Unavailable> {
        let held = self.store.get(key).await?;
        let before = held.as_ref().map(|(value, _)| Count::read(value)).unwrap_or_default();
        let mut count = before;
        let mut keep = Duration::ZERO;
        for pending in batch {
            pending.work.make(&mut count);
            keep = count.keep(&pending.rule, pending.now);
        }
        if count == before {
            return Ok(true);
        }
        let Some((_, version)) = held else {
            return Ok(self.store.insert(key, &count.write(), keep, &[], None).await? == Insert::Inserted);
        };
        if count == Count::default() {
            return self.store.take(key).await.map(|_| true);
        }
        // Within its window and while it was not closed again an entry lives long enough as it is.
        let same = (before.since, before.closed_until, before.closings) == (count.since, count.closed_until, count.closings);
        // First, so that a change that was made is never made again.
        let lives = same || self.store.extend(key, keep).await?;
        Ok(lives && self.store.replace(key, version, &count.write()).await?)
    }
}

/// What is remembered of a gate. Times in milliseconds of the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    since: i64,
    failures: u32,
    closed_until: i64,
    closings: u32,
}

impl Count {
    /// How long it must be remembered: earlier closings for as long as the longest closing after the last.
    fn keep(&self, rule: &Rule, now: i64) -> Duration {
        let closed = Duration::from_millis(u64::try_from(self.closed_until.saturating_sub(now)).unwrap_or(0));
        if self.closings > 0 { rule.window.max(closed.saturating_add(rule.longest)) } else { rule.window }
    }

    fn write(&self) -> [u8; 24] {
        let mut octets = [0; 24];
        let fields = self.since.to_be_bytes().into_iter();
        let fields = fields.chain(self.closed_until.to_be_bytes());
        let fields = fields.chain(self.failures.to_be_bytes()).chain(self.closings.to_be_bytes());
        for (octet, field) in octets.iter_mut().zip(fields) {
            *octet = field;
        }
        octets
    }

    /// What cannot be read counts as nothing: only we write these keys.
    fn read(octets: &[u8]) -> Self {
        let Ok(octets) = <&[u8; 24]>::try_from(octets) else { return Self::default() };
        let (since, rest) = octets.split_at(8);
        let (closed_until, rest) = rest.split_at(8);
        let (failures, closings) = rest.split_at(4);
        Self {
            since: i64::from_be_bytes(since.try_into().unwrap_or_default()),
            closed_until: i64::from_be_bytes(closed_until.try_into().unwrap_or_default()),
            failures: u32::from_be_bytes(failures.try_into().unwrap_or_default()),
            closings: u32::from_be_bytes(closings.try_into().unwrap_or_default()),
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
