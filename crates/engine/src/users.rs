//! Users, read through a cache that forgets what changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

use crate::clock::Timestamp;
use crate::identity::{ExternalId, TenantId, User, UserId, Username};
use crate::scheme::Unavailable;
use crate::store::{Change, ChangeStream, DurableStore, Pulse};

/// Users kept in the cache.
const CACHED: usize = 100_000;

/// The users of a [`DurableStore`].
#[derive(Debug)]
pub struct Users {
    store: Arc<dyn DurableStore>,
    cache: Cache<UserId, (Arc<User>, Timestamp)>,
    /// Who was called so last. Only a hint: the user's own copy says whether the link holds.
    linked: Cache<(TenantId, ExternalId), UserId>,
    epoch: CachedEpoch,
    changes: Watch,
}

/// The store's epoch and when it was read; two atomics, because every request asks.
#[derive(Debug)]
struct CachedEpoch {
    value: AtomicU64,
    /// Microseconds since 1970; `i64::MIN` while unknown.
    read: AtomicI64,
}

impl CachedEpoch {
    fn forget(&self) {
        self.read.store(i64::MIN, Ordering::Release);
    }
}

impl Users {
    /// The users of this store. A cached copy older than `revocation_lag` is not used while changes do not arrive.
    pub fn new(store: Arc<dyn DurableStore>, revocation_lag: Duration) -> Self {
        let changes = Watch::new(store.changes(), revocation_lag);
        let epoch = CachedEpoch { value: AtomicU64::new(0), read: AtomicI64::new(i64::MIN) };
        Self { store, cache: Cache::new(CACHED), linked: Cache::new(CACHED), epoch, changes }
    }

    /// The store beneath, for those who change users.
    pub fn store(&self) -> &Arc<dyn DurableStore> {
        &self.store
    }

    /// The user of this number.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer and the cache may not.
    pub async fn by_id(&self, id: UserId, now: Timestamp) -> Result<Option<Arc<User>>, Unavailable> {
        self.hear();
        if let Some((user, read)) = self.cache.get(&id)
            && self.changes.trusts(read, now)
        {
            return Ok(Some(user));
        }
        let generation = self.changes.generation();
        let Some(user) = self.store.user(id).await?.map(Arc::new) else { return Ok(None) };
        self.cache.insert(id, (user.clone(), now));
        // A change that was applied while we were reading may be newer than what we read.
        if self.changes.generation() != generation {
            self.cache.remove(&id);
        }
        Ok(Some(user))
    }

    /// The store's epoch.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer and the cache may not.
    pub async fn store_epoch(&self, now: Timestamp) -> Result<u64, Unavailable> {
        self.hear();
        let read = self.epoch.read.load(Ordering::Acquire);
        if read != i64::MIN && Timestamp::from_microsecond(read).is_ok_and(|read| self.changes.trusts(read, now)) {
            return Ok(self.epoch.value.load(Ordering::Acquire));
        }
        let generation = self.changes.generation();
        let epoch = self.store.epoch().await?;
        // The value before its time: who sees the time sees this value or a newer one.
        self.epoch.value.store(epoch, Ordering::Release);
        self.epoch.read.store(now.as_microsecond(), Ordering::Release);
        if self.changes.generation() != generation {
            self.epoch.forget();
        }
        Ok(epoch)
    }

    fn hear(&self) {
        self.changes.apply(|change| match change {
            Change::User(id) => drop(self.cache.remove(id)),
            Change::All => {
                self.cache.clear();
                self.epoch.forget();
            }
            Change::Key(_) | Change::Keys => {}
        });
    }

    /// The user of this login name.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn by_name(&self, tenant: &TenantId, name: &Username) -> Result<Option<Arc<User>>, Unavailable> {
        Ok(self.store.user_by_name(tenant, name).await?.map(Arc::new))
    }

    /// The user an issuer calls so.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn by_external_id(&self, tenant: &TenantId, id: &ExternalId) -> Result<Option<Arc<User>>, Unavailable> {
        Ok(self.store.user_by_external_id(tenant, id).await?.map(Arc::new))
    }

    /// The same from the cache, while that may be trusted.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer and the cache may not.
    pub async fn linked(&self, tenant: &TenantId, id: &ExternalId, now: Timestamp) -> Result<Option<Arc<User>>, Unavailable> {
        let name = (tenant.clone(), id.clone());
        if let Some(user) = self.linked.get(&name)
            && let Some(user) = self.by_id(user, now).await?
            && user.tenant == *tenant
            && user.external_ids.contains(id)
        {
            return Ok(Some(user));
        }
        let user = self.by_external_id(tenant, id).await?;
        match &user {
            Some(user) => self.linked.insert(name, user.id),
            None => drop(self.linked.remove(&name)),
        }
        Ok(user)
    }
}

/// Applies a change stream to a cache, and says how far the cache may be trusted.
#[derive(Debug)]
pub struct Watch {
    events: std::sync::Mutex<broadcast::Receiver<Change>>,
    pulse: Arc<Pulse>,
    /// The number of changes sent when the cache last knew them all.
    seen: AtomicU64,
    generation: AtomicU64,
    lag: jiff::SignedDuration,
}

impl Watch {
    /// Watches `stream`.
    pub fn new(stream: ChangeStream, lag: Duration) -> Self {
        Self {
            events: std::sync::Mutex::new(stream.events),
            pulse: stream.pulse,
            // No number of changes: the first look is always taken.
            seen: AtomicU64::new(u64::MAX),
            generation: AtomicU64::new(0),
            lag: jiff::SignedDuration::try_from(lag).unwrap_or(jiff::SignedDuration::ZERO),
        }
    }

    /// Hands every change that has arrived to `forget`. One atomic read when there is none.
    pub fn apply(&self, forget: impl Fn(&Change)) {
        if self.pulse.sent() == self.seen.load(Ordering::Acquire) {
            return;
        }
        let mut events = self.events.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let sent = self.pulse.sent();
        loop {
            let change = match events.try_recv() {
                Ok(change) => change,
                Err(TryRecvError::Lagged(_)) => Change::All,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            };
            // Before forgetting: see [`Watch::generation`].
            self.generation.fetch_add(1, Ordering::AcqRel);
            forget(&change);
        }
        self.seen.store(sent, Ordering::Release);
    }

    /// A number that rises with every change applied. Who fills a cache takes it before reading the store, and
    /// forgets what it cached if it has risen since: what was read may be older than the change.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether a copy read at `read` may be used now. One read in the future is as old as nobody knows: the clock was set back.
    pub fn trusts(&self, read: Timestamp, now: Timestamp) -> bool {
        let age = now.duration_since(read);
        self.pulse.is_live() || (!age.is_negative() && age < self.lag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryDurableStore;
    use crate::store::{Changes, conformance};

    const LAG: Duration = Duration::from_secs(1);

    async fn users() -> (Arc<MemoryDurableStore>, Users, User) {
        let store = Arc::new(MemoryDurableStore::default());
        let ada = conformance::user(&"north".into(), "ada").unwrap();
        assert!(store.insert_user(&ada).await.unwrap());
        (store.clone(), Users::new(store, LAG), ada)
    }

    #[tokio::test]
    async fn a_changed_user_is_read_anew_and_others_are_not() {
        let (store, users, ada) = users().await;
        let bob = conformance::user(&"north".into(), "bob").unwrap();
        store.insert_user(&bob).await.unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let (first, untouched) = (users.by_id(ada.id, now).await.unwrap().unwrap(), users.by_id(bob.id, now).await.unwrap().unwrap());
        assert!(Arc::ptr_eq(&first, &users.by_id(ada.id, now).await.unwrap().unwrap()), "unchanged: from the cache");
        assert!(store.update_user(&User { epoch: 1, ..ada.clone() }, 0).await.unwrap());
        assert_eq!(users.by_id(ada.id, now).await.unwrap().unwrap().epoch, 1);
        assert!(Arc::ptr_eq(&untouched, &users.by_id(bob.id, now).await.unwrap().unwrap()));
    }

    #[tokio::test]
    async fn a_link_is_found_without_the_store_while_it_holds() {
        let (store, users, ada) = users().await;
        let (tenant, now) = (TenantId::from("north"), Timestamp::UNIX_EPOCH);
        let link = ExternalId { issuer: "saml:corp".into(), id: "a-1".to_owned() };
        assert_eq!(users.linked(&tenant, &link, now).await.unwrap(), None);
        let linked = User { external_ids: vec![link.clone()], ..ada.clone() };
        assert!(store.update_user(&linked, 0).await.unwrap());
        users.linked(&tenant, &link, now).await.unwrap().unwrap();
        let first = users.linked(&tenant, &link, now).await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &users.linked(&tenant, &link, now).await.unwrap().unwrap()), "from the cache");
        assert_eq!(users.linked(&"south".into(), &link, now).await.unwrap(), None);
        // It goes over to another user.
        assert!(store.update_user(&User { external_ids: Vec::new(), ..linked }, 0).await.unwrap());
        assert_eq!(users.linked(&tenant, &link, now).await.unwrap(), None);
        let bob = User { external_ids: vec![link.clone()], ..conformance::user(&tenant, "bob").unwrap() };
        assert!(store.insert_user(&bob).await.unwrap());
        assert_eq!(users.linked(&tenant, &link, now).await.unwrap().unwrap().id, bob.id);
        assert!(store.remove_user(bob.id).await.unwrap());
        assert_eq!(users.linked(&tenant, &link, now).await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_store_epoch_is_read_anew_when_everything_changed() {
        let (store, users, _) = users().await;
        let before = users.store_epoch(Timestamp::UNIX_EPOCH).await.unwrap();
        store.raise_epoch();
        assert_eq!(users.store_epoch(Timestamp::UNIX_EPOCH).await.unwrap(), before + 1);
    }

    #[test]
    fn who_missed_changes_forgets_everything() {
        let changes = Changes::default();
        let watch = Watch::new(changes.subscribe(), LAG);
        let heard = std::cell::RefCell::new(Vec::new());
        let hear = || {
            watch.apply(|change| heard.borrow_mut().push(change.clone()));
            std::mem::take(&mut *heard.borrow_mut())
        };
        assert!(hear().is_empty());
        let user = Change::User(UserId(uuid::Uuid::nil()));
        changes.send(user.clone());
        let generation = watch.generation();
        assert_eq!(hear(), std::slice::from_ref(&user));
        assert!(watch.generation() > generation);
        assert!(hear().is_empty());
        for _ in 0..5000 {
            changes.send(user.clone());
        }
        assert_eq!(hear().first(), Some(&Change::All));
    }

    #[test]
    fn without_news_a_copy_is_trusted_for_the_lag_only() {
        let changes = Changes::default();
        let watch = Watch::new(changes.subscribe(), LAG);
        let read = Timestamp::UNIX_EPOCH;
        assert!(watch.trusts(read, read + LAG * 1000));
        changes.set_live(false);
        assert!(watch.trusts(read, read + LAG / 2));
        assert!(!watch.trusts(read, read + LAG));
        assert!(!watch.trusts(read, read - LAG), "a clock that was set back makes nothing young");
        changes.set_live(true);
        assert!(watch.trusts(read, read + LAG));
    }
}
