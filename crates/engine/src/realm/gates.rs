//! Gates: how many failures an account or an address is allowed before nobody is asked any more
//! (`authentication-chain.md` §9).
//!
//! An attacker sends a hundred guesses at once, hoping that they are all asked before the first is counted
//! (attack 99). So a guess is counted when it enters and given back if it turns out not to be one: a guess that
//! is abandoned half-way stays counted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;

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
pub(super) struct Gates {
    store: Arc<dyn ExpiringStore>,
    local: Cache<Key, Count>,
    /// Writers of one gate in this process take turns, so that the store sees conflicts only between nodes.
    turns: Box<[tokio::sync::Mutex<()>]>,
}

/// Gates kept in this process while the store is down.
const LOCAL: usize = 16_384;
/// How many writers may work on different gates at once.
const TURNS: usize = 64;
/// Conflicts between nodes before a gate counts as closed: contention must not open it.
const CONFLICTS: usize = 64;

impl Gates {
    pub(super) fn new(store: Arc<dyn ExpiringStore>) -> Self {
        let turns = (0..TURNS).map(|_| tokio::sync::Mutex::new(())).collect();
        Self { store, local: Cache::new(LOCAL), turns }
    }

    /// Counts one who enters, unless the gate is closed or full.
    pub(super) async fn enter(&self, key: &Key, rule: &Rule, now: Timestamp) -> Entry {
        let now = now.as_millisecond();
        self.update(key, rule, now, Entry::Closed, |count| {
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
        })
        .await
    }

    /// One who entered has failed. Says for how long the gate is closed if that closed it.
    pub(super) async fn failed(&self, key: &Key, rule: &Rule, now: Timestamp) -> Option<Duration> {
        let now = now.as_millisecond();
        self.update(key, rule, now, None, |count| {
            if count.failures < rule.failures || count.closed_until > now {
                return None;
            }
            let doubled = 2_u32.saturating_pow(count.closings.min(16));
            let closed = rule.closed.saturating_mul(doubled).min(rule.longest);
            count.closings = count.closings.saturating_add(1);
            count.closed_until = now.saturating_add(millis(closed));
            Some(closed)
        })
        .await
    }

    /// One who entered was not guessing.
    pub(super) async fn give_back(&self, key: &Key, rule: &Rule, window: Window, now: Timestamp) {
        let now = now.as_millisecond();
        self.update(key, rule, now, (), |count| {
            if count.since == window.0 && count.closed_until == 0 {
                count.failures = count.failures.saturating_sub(1);
            }
        })
        .await;
    }

    /// Forgets everything about this gate. Says whether it was closed.
    pub(super) async fn clear(&self, key: &Key, now: Timestamp) -> bool {
        let _turn = self.turn(key).await;
        let local = self.local.remove(key).map(|(_, count)| count);
        let stored = match self.store.take(key).await {
            Ok(value) => value.as_deref().map(Count::read),
            Err(down) => {
                tracing::warn!(error = %down, "a gate could not be cleared in the store");
                None
            }
        };
        stored.or(local).is_some_and(|count| count.closed_until > now.as_millisecond())
    }

    /// Changes a gate atomically. `contended` is the answer when other nodes win every time.
    async fn update<T>(&self, key: &Key, rule: &Rule, now: i64, contended: T, mut change: impl FnMut(&mut Count) -> T + Send) -> T {
        let _turn = self.turn(key).await;
        for _ in 0..CONFLICTS {
            match self.try_update(key, rule, now, &mut change).await {
                Ok(Some(done)) => return done,
                Ok(None) => tokio::task::yield_now().await,
                Err(down) => {
                    tracing::warn!(error = %down, "failures are counted in this process only");
                    let mut count = self.local.get(key).unwrap_or_default();
                    let done = change(&mut count);
                    self.local.insert(key.clone(), count);
                    return done;
                }
            }
        }
        tracing::warn!("a gate is changed by other nodes all the time");
        contended
    }

    async fn try_update<T>(
        &self,
        key: &Key,
        rule: &Rule,
        now: i64,
        change: &mut (impl FnMut(&mut Count) -> T + Send),
    ) -> Result<Option<T>, Unavailable> {
        let held = self.store.get(key).await?;
        let before = held.as_ref().map(|(value, _)| Count::read(value)).unwrap_or_default();
        let mut count = before;
        let done = change(&mut count);
        if count == before {
            return Ok(Some(done));
        }
        let keep = count.keep(rule, now);
        let written = match held {
            None => self.store.insert(key, &count.write(), keep, &[], None).await? == Insert::Inserted,
            Some((_, version)) => self.store.replace(key, version, &count.write()).await? && self.store.extend(key, keep).await?,
        };
        Ok(written.then_some(done))
    }

    async fn turn(&self, key: &Key) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        // The last octets of a key are a digest: any two of them spread keys evenly.
        let sum: usize = key.as_str().bytes().rev().take(8).map(usize::from).sum();
        match self.turns.get(sum % TURNS) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }
}

impl fmt::Debug for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gates").field("store", &self.store).finish_non_exhaustive()
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
