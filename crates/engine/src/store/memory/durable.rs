//! The durable store in memory, which lasts as long as the process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;

use crate::audit::{Event, Recorded};
use crate::identity::{ExternalId, GroupName, PasswordHash, TenantId, User, UserId, Username};
use crate::request::RequestId;
use crate::scheme::Unavailable;
use crate::store::{Change, ChangeStream, Changes, DECISIONS_KEPT, DurableStore, KeyRecord};

/// Users, keys, decisions and settings, in memory.
#[derive(Debug, Default)]
pub struct MemoryDurableStore {
    state: Mutex<State>,
    changes: Changes,
}

#[derive(Debug, Default)]
struct State {
    users: HashMap<UserId, User>,
    names: BTreeMap<(TenantId, Username), UserId>,
    external_ids: HashMap<(TenantId, ExternalId), UserId>,
    keys: HashMap<String, KeyRecord>,
    decisions: HashMap<RequestId, Recorded>,
    order: VecDeque<RequestId>,
    settings: HashMap<String, Vec<u8>>,
    epoch: u64,
}

impl MemoryDurableStore {
    /// Raises the store's epoch, as restoring a backup does.
    pub fn raise_epoch(&self) {
        self.state().epoch += 1;
        self.changes.send(Change::All);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    /// Whether another user has this user's name or one of its external ids.
    fn is_taken(&self, user: &User) -> bool {
        let mut holders = user.external_ids.iter().map(|id| self.external_ids.get(&(user.tenant.clone(), id.clone())));
        let by_name = self.names.get(&(user.tenant.clone(), user.name.clone()));
        by_name.is_some_and(|id| *id != user.id) || holders.any(|id| id.is_some_and(|id| *id != user.id))
    }

    /// Whether there was one.
    fn remove(&mut self, id: UserId) -> bool {
        let Some(old) = self.users.remove(&id) else { return false };
        self.names.remove(&(old.tenant.clone(), old.name));
        for id in old.external_ids {
            self.external_ids.remove(&(old.tenant.clone(), id));
        }
        true
    }

    fn put(&mut self, user: &User) {
        self.remove(user.id);
        self.names.insert((user.tenant.clone(), user.name.clone()), user.id);
        self.external_ids.extend(user.external_ids.iter().map(|id| ((user.tenant.clone(), id.clone()), user.id)));
        self.users.insert(user.id, user.clone());
    }
}

#[async_trait]
impl DurableStore for MemoryDurableStore {
    async fn user(&self, id: UserId) -> Result<Option<User>, Unavailable> {
        Ok(self.state().users.get(&id).cloned())
    }

    async fn user_by_name(&self, tenant: &TenantId, name: &Username) -> Result<Option<User>, Unavailable> {
        let state = self.state();
        Ok(state.names.get(&(tenant.clone(), name.clone())).and_then(|id| state.users.get(id)).cloned())
    }

    async fn user_by_external_id(&self, tenant: &TenantId, id: &ExternalId) -> Result<Option<User>, Unavailable> {
        let state = self.state();
        Ok(state.external_ids.get(&(tenant.clone(), id.clone())).and_then(|id| state.users.get(id)).cloned())
    }

    async fn insert_user(&self, user: &User) -> Result<bool, Unavailable> {
        let mut state = self.state();
        if state.users.contains_key(&user.id) || state.is_taken(user) {
            return Ok(false);
        }
        state.put(user);
        Ok(true)
    }

    async fn update_user(&self, user: &User, expected_epoch: u64) -> Result<bool, Unavailable> {
        {
            let mut state = self.state();
            let stands = state.users.get(&user.id).is_some_and(|stored| stored.epoch == expected_epoch && stored.tenant == user.tenant);
            if !stands || user.epoch < expected_epoch || state.is_taken(user) {
                return Ok(false);
            }
            state.put(user);
        }
        self.changes.send(Change::User(user.id));
        Ok(true)
    }

    async fn users_with_sealed_hash(&self, most: usize) -> Result<Vec<User>, Unavailable> {
        let is_sealed = |user: &&User| user.password.as_ref().is_some_and(|hash| hash.0.starts_with(PasswordHash::SEALED));
        Ok(self.state().users.values().filter(is_sealed).take(most).cloned().collect())
    }

    async fn remove_user(&self, id: UserId) -> Result<bool, Unavailable> {
        let removed = self.state().remove(id);
        if removed {
            self.changes.send(Change::User(id));
        }
        Ok(removed)
    }

    async fn users(
        &self,
        tenant: &TenantId,
        group: Option<&GroupName>,
        after: Option<&Username>,
        most: usize,
    ) -> Result<Vec<User>, Unavailable> {
        let state = self.state();
        let named = state.names.iter().filter(|((of, name), _)| of == tenant && after.is_none_or(|after| name > after));
        let users = named.filter_map(|(_, id)| state.users.get(id));
        Ok(users.filter(|user| group.is_none_or(|group| user.groups.contains(group))).take(most).cloned().collect())
    }

    async fn put_key(&self, key: &KeyRecord) -> Result<(), Unavailable> {
        self.state().keys.insert(key.id.clone(), key.clone());
        self.changes.send(Change::Keys);
        Ok(())
    }

    async fn keys(&self, purpose: &str) -> Result<Vec<KeyRecord>, Unavailable> {
        let mut keys: Vec<KeyRecord> = self.state().keys.values().filter(|key| key.purpose == purpose).cloned().collect();
        keys.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(keys)
    }

    async fn record(&self, entries: &[Recorded]) -> Result<(), Unavailable> {
        let mut state = self.state();
        for entry in entries {
            let (Some(id), Event::RequestDecided(_)) = (entry.request_id, &entry.event) else { continue };
            if state.decisions.insert(id, entry.clone()).is_none() {
                state.order.push_back(id);
            }
            if state.order.len() > DECISIONS_KEPT
                && let Some(oldest) = state.order.pop_front()
            {
                state.decisions.remove(&oldest);
            }
        }
        Ok(())
    }

    async fn recorded(&self, id: RequestId) -> Result<Option<Recorded>, Unavailable> {
        Ok(self.state().decisions.get(&id).cloned())
    }

    async fn epoch(&self) -> Result<u64, Unavailable> {
        Ok(self.state().epoch)
    }

    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        Ok(self.state().settings.get(name).cloned())
    }

    async fn setting_or_insert(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, Unavailable> {
        Ok(self.state().settings.entry(name.to_owned()).or_insert_with(|| value.to_vec()).clone())
    }

    fn changes(&self) -> ChangeStream {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::conformance;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn memory_conforms() {
        conformance::durable(|| Arc::new(MemoryDurableStore::default())).await;
    }
}
