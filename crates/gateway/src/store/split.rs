//! Two expiring stores as one: what must never be forgotten in the one, everything else in a faster one that may forget.
//!
//! A Redis that restarts without its last second, is failed over to a replica that lags, or evicts under pressure has
//! forgotten which tokens were spent, and an attacker who kept one would spend it again (attack 43). Nothing in Redis can
//! tell that it has forgotten. So the ids of used tokens are kept with the users, in the database.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::store::{ChangeStream, ExpiringStore, Group, Insert, Key, Kind, Version};

use super::is_of;

/// A store whose replay ids are kept elsewhere.
#[derive(Debug)]
pub struct Split {
    /// Keeps replay ids.
    pub lasting: Arc<dyn ExpiringStore>,
    /// Keeps everything else.
    pub fleeting: Arc<dyn ExpiringStore>,
}

impl Split {
    fn of(&self, text: &str) -> &dyn ExpiringStore {
        if is_of(text, Kind::Replay) { &*self.lasting } else { &*self.fleeting }
    }
}

#[async_trait]
impl ExpiringStore for Split {
    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        ttl: Duration,
        groups: &[Group],
        limit: Option<(&Group, u32)>,
    ) -> Result<Insert, Unavailable> {
        self.of(key.as_str()).insert(key, value, ttl, groups, limit).await
    }

    async fn get(&self, key: &Key) -> Result<Option<(Vec<u8>, Version)>, Unavailable> {
        self.of(key.as_str()).get(key).await
    }

    async fn replace(&self, key: &Key, expected: Version, value: &[u8]) -> Result<bool, Unavailable> {
        self.of(key.as_str()).replace(key, expected, value).await
    }

    async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, Unavailable> {
        self.of(key.as_str()).take(key).await
    }

    async fn extend(&self, key: &Key, ttl: Duration) -> Result<bool, Unavailable> {
        self.of(key.as_str()).extend(key, ttl).await
    }

    async fn increment(&self, key: &Key, ttl: Duration) -> Result<u64, Unavailable> {
        self.of(key.as_str()).increment(key, ttl).await
    }

    async fn list(&self, group: &Group, after: Option<&Key>, most: usize) -> Result<Vec<Key>, Unavailable> {
        self.of(group.as_str()).list(group, after, most).await
    }

    async fn remove_group(&self, group: &Group) -> Result<u64, Unavailable> {
        self.of(group.as_str()).remove_group(group).await
    }

    /// Nobody caches replay ids.
    fn changes(&self) -> ChangeStream {
        self.fleeting.changes()
    }
}

#[cfg(test)]
mod tests {
    use vestibule_engine::clock::SystemClock;
    use vestibule_engine::identity::TenantId;
    use vestibule_engine::store::memory::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn a_store_that_lost_its_memory_has_not_forgotten_which_tokens_were_used() {
        let memory = || Arc::new(MemoryStore::new(Arc::new(SystemClock::default())));
        let (lasting, minute, tenant) = (memory(), Duration::from_secs(60), TenantId::from("north"));
        let before = Split { lasting: lasting.clone(), fleeting: memory() };
        for kind in [Kind::Replay, Kind::Session] {
            assert_eq!(before.insert(&Key::of(&tenant, kind, &[b"id"]), b"", minute, &[], None).await.unwrap(), Insert::Inserted);
        }
        let after = Split { lasting, fleeting: memory() };
        let replayed = Key::of(&tenant, Kind::Replay, &[b"id"]);
        assert_eq!(after.insert(&replayed, b"", minute, &[], None).await.unwrap(), Insert::Exists);
        assert_eq!(after.get(&Key::of(&tenant, Kind::Session, &[b"id"])).await.unwrap(), None, "a forgotten session is over");
    }
}
