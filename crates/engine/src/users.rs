//! Users, read through a cache that forgets what changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::broadcast::error::TryRecvError;

use crate::clock::Timestamp;
use crate::identity::{ExternalId, TenantId, User, UserId, Username};
use crate::scheme::Unavailable;
use crate::store::{Change, ChangeStream, DurableStore};

/// Users kept in the cache.
const CACHED: usize = 100_000;

/// The users of a [`DurableStore`].
#[derive(Debug)]
pub struct Users {
    store: Arc<dyn DurableStore>,
    cache: Cache<UserId, (Arc<User>, Timestamp)>,
    changes: Watch,
}

impl Users {
    /// The users of this store. A cached copy older than `revocation_lag` is not used while changes do not arrive.
    pub fn new(store: Arc<dyn DurableStore>, revocation_lag: Duration) -> Self {
        let changes = Watch::new(store.changes(), revocation_lag);
        Self { store, cache: Cache::new(CACHED), changes }
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
        self.changes.apply(|change| match change {
            Change::User(id) => drop(self.cache.remove(id)),
            Change::All => self.cache.clear(),
            Change::Key(_) => {}
        });
        if let Some((user, read)) = self.cache.get(&id)
            && self.changes.trusts(read, now)
        {
            return Ok(Some(user));
        }
        let generation = self.changes.generation();
        let Some(user) = self.store.user(id).await?.map(Arc::new) else { return Ok(None) };
        // A change that arrived while we were reading may be newer than what we read.
        if self.changes.generation() == generation {
            self.cache.insert(id, (user.clone(), now));
        }
        Ok(Some(user))
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
}

/// Applies a change stream to a cache, and says how far the cache may be trusted.
#[derive(Debug)]
pub struct Watch {
    stream: std::sync::Mutex<ChangeStream>,
    generation: AtomicU64,
    lag: Duration,
}

impl Watch {
    /// Watches `stream`.
    pub fn new(stream: ChangeStream, lag: Duration) -> Self {
        Self { stream: std::sync::Mutex::new(stream), generation: AtomicU64::new(0), lag }
    }

    /// Hands every change that has arrived to `forget`. Cheap when there is none.
    pub fn apply(&self, forget: impl Fn(&Change)) {
        let mut stream = self.stream.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        loop {
            let change = match stream.events.try_recv() {
                Ok(change) => change,
                Err(TryRecvError::Lagged(_)) => Change::All,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            };
            self.generation.fetch_add(1, Ordering::AcqRel);
            forget(&change);
        }
    }

    /// A number that rises with every change applied.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether a copy read at `read` may be used now.
    pub fn trusts(&self, read: Timestamp, now: Timestamp) -> bool {
        let live = *self.stream.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).live.borrow();
        live || now.duration_since(read) < jiff::SignedDuration::try_from(self.lag).unwrap_or(jiff::SignedDuration::ZERO)
    }
}
