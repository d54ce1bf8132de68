//! The expiring store in memory.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;

use super::shard::Shard;
use crate::clock::Clock;
use crate::scheme::Unavailable;
use crate::store::{Change, ChangeStream, Changes, ExpiringStore, Group, Insert, Key, Version};

const SHARDS: usize = 16;

/// Things that expire, in memory.
///
/// Sharded by tenant: one call never spans tenants, so one lock makes each call atomic over the entry, its
/// groups and its limit.
#[derive(Debug)]
pub struct MemoryStore {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    clock: Arc<dyn Clock>,
    changes: Changes,
}

impl MemoryStore {
    /// An empty store that reads its time from `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new(), clock, changes: Changes::default() }
    }

    #[cfg(test)]
    pub(crate) fn set_live(&self, live: bool) {
        self.changes.set_live(live);
    }

    fn shard(&self, name: &str) -> Result<MutexGuard<'_, Shard>, Unavailable> {
        let place = usize::try_from(self.hasher.hash_one(tenant(name))).unwrap_or_default() % SHARDS;
        let shard = self.shards.get(place).ok_or_else(|| Unavailable::new("store", "no such shard"))?;
        Ok(shard.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    fn now(&self) -> u64 {
        micros(self.clock.monotonic())
    }
}

#[async_trait]
impl ExpiringStore for MemoryStore {
    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        ttl: Duration,
        groups: &[Group],
        limit: Option<(&Group, u32)>,
    ) -> Result<Insert, Unavailable> {
        if groups.iter().chain(limit.map(|(group, _)| group)).any(|group| tenant(group.as_str()) != tenant(key.as_str())) {
            return Err(Unavailable::new("store", "one call spans tenants"));
        }
        let now = self.now();
        Ok(self.shard(key.as_str())?.insert(key, value, now, now.saturating_add(micros(ttl)), groups, limit))
    }

    async fn get(&self, key: &Key) -> Result<Option<(Vec<u8>, Version)>, Unavailable> {
        let now = self.now();
        Ok(self.shard(key.as_str())?.get(key, now).map(|(value, version)| (value.to_vec(), version)))
    }

    async fn replace(&self, key: &Key, expected: Version, value: &[u8]) -> Result<bool, Unavailable> {
        let now = self.now();
        let replaced = self.shard(key.as_str())?.replace(key, expected, value, now);
        if replaced {
            self.changes.send(Change::Key(key.clone()));
        }
        Ok(replaced)
    }

    async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, Unavailable> {
        let now = self.now();
        let taken = self.shard(key.as_str())?.take(key, now);
        if taken.is_some() {
            self.changes.send(Change::Key(key.clone()));
        }
        Ok(taken)
    }

    async fn extend(&self, key: &Key, ttl: Duration) -> Result<bool, Unavailable> {
        let now = self.now();
        Ok(self.shard(key.as_str())?.extend(key, now, now.saturating_add(micros(ttl))))
    }

    async fn increment(&self, key: &Key, ttl: Duration) -> Result<u64, Unavailable> {
        let now = self.now();
        self.shard(key.as_str())?.increment(key, now, now.saturating_add(micros(ttl)))
    }

    async fn list(&self, group: &Group, after: Option<&Key>, most: usize) -> Result<Vec<Key>, Unavailable> {
        let now = self.now();
        Ok(self.shard(group.as_str())?.list(group, after, most, now))
    }

    async fn remove_group(&self, group: &Group) -> Result<u64, Unavailable> {
        let now = self.now();
        let removed = self.shard(group.as_str())?.remove_group(group, now);
        let count = removed.len() as u64;
        for key in removed {
            self.changes.send(Change::Key(key));
        }
        Ok(count)
    }

    fn changes(&self) -> ChangeStream {
        self.changes.subscribe()
    }
}

/// The tenant in the name of a key or group.
fn tenant(name: &str) -> &str {
    name.split_once('}').map_or(name, |(tenant, _)| tenant)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::identity::TenantId;
    use crate::store::{Kind, conformance};

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn memory_conforms() {
        conformance::expiring(|clock| Arc::new(MemoryStore::new(clock))).await;
    }

    #[tokio::test]
    async fn what_has_died_is_reclaimed_by_writes() {
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let store = MemoryStore::new(clock.clone());
        let tenant = TenantId::from("t");
        let group = Group::of(&tenant, Kind::Session, "g");
        let key = |n: u32| Key::of(&tenant, Kind::Session, &[&n.to_be_bytes()]);
        for n in 0..1000 {
            store.insert(&key(n), b"v", Duration::from_secs(10), std::slice::from_ref(&group), None).await.unwrap();
        }
        assert_eq!(store.shard(group.as_str()).unwrap().len(), 1000);
        clock.advance(Duration::from_secs(12));
        for n in 0..300 {
            store.increment(&key(5000 + n), Duration::from_secs(60)).await.unwrap();
        }
        assert_eq!(store.shard(group.as_str()).unwrap().len(), 300);
        assert!(store.list(&group, None, 10).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_call_that_spans_tenants_is_refused() {
        let store = MemoryStore::new(Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH)));
        let key = Key::of(&TenantId::from("a"), Kind::Session, &[b"k"]);
        let group = Group::of(&TenantId::from("b"), Kind::Session, "g");
        assert!(store.insert(&key, b"", Duration::from_secs(1), &[group], None).await.is_err());
    }
}
