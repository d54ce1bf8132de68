//! As little of the two stores as the tests of realms and schemes need. Nothing expires here.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::Recorded;
use vestibule_engine::identity::{AccountState, ExternalId, GroupName, PasswordHash, TenantId, User, UserId, Username};
use vestibule_engine::request::RequestId;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::store::{
    Change, ChangeStream, Changes, DurableStore, ExpiringStore, Group, History, Insert, Key, KeyRecord, Version,
};

#[derive(Debug, Default)]
pub(crate) struct Shelf {
    entries: Mutex<HashMap<Key, (Vec<u8>, u64)>>,
    users: Mutex<HashMap<UserId, User>>,
    changes: Changes,
    pub(crate) writes: AtomicUsize,
}

impl Shelf {
    /// Adds a user of the tenant `north`, numbered by its name.
    pub(crate) fn add(&self, name: &str, password: Option<PasswordHash>, change: impl FnOnce(&mut User)) -> UserId {
        let octets = vestibule_engine::store::digest(&[name.as_bytes()]);
        let id = UserId(Uuid::from_slice(&octets[..16]).unwrap());
        let mut user = User {
            id,
            tenant: TenantId::from("north"),
            name: Username::parse(name).unwrap(),
            display_name: None,
            email: None,
            groups: Vec::new(),
            profile: "agent".into(),
            state: AccountState::Active,
            must_change_password: false,
            break_glass: false,
            epoch: 1,
            password,
            external_ids: Vec::new(),
            created: Timestamp::UNIX_EPOCH,
        };
        change(&mut user);
        self.users.lock().unwrap().insert(id, user);
        id
    }

    pub(crate) fn read(&self, id: UserId) -> User {
        self.users.lock().unwrap().get(&id).unwrap().clone()
    }

    pub(crate) fn change(&self, id: UserId, change: impl FnOnce(&mut User)) {
        change(self.users.lock().unwrap().get_mut(&id).unwrap());
        self.changes.send(Change::User(id));
    }
}

#[async_trait]
impl DurableStore for Shelf {
    async fn user(&self, id: UserId) -> Result<Option<User>, Unavailable> {
        Ok(self.users.lock().unwrap().get(&id).cloned())
    }

    async fn user_by_name(&self, tenant: &TenantId, name: &Username) -> Result<Option<User>, Unavailable> {
        Ok(self.users.lock().unwrap().values().find(|user| user.tenant == *tenant && user.name == *name).cloned())
    }

    async fn update_user(&self, user: &User, expected_epoch: u64) -> Result<bool, Unavailable> {
        let mut users = self.users.lock().unwrap();
        let held = users.get_mut(&user.id).filter(|held| held.epoch == expected_epoch);
        let written = held.map(|held| *held = user.clone()).is_some();
        self.writes.fetch_add(usize::from(written), Ordering::SeqCst);
        self.changes.send(Change::User(user.id));
        Ok(written)
    }

    async fn users_with_sealed_hash(&self, _: usize) -> Result<Vec<User>, Unavailable> {
        Ok(Vec::new())
    }

    async fn remove_user(&self, _: UserId) -> Result<bool, Unavailable> {
        unreachable!()
    }

    async fn users(
        &self,
        tenant: &TenantId,
        _: Option<&GroupName>,
        after: Option<&Username>,
        most: usize,
    ) -> Result<Vec<User>, Unavailable> {
        let users = self.users.lock().unwrap();
        let mut found: Vec<User> = users.values().filter(|user| user.tenant == *tenant && Some(&user.name) > after).cloned().collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        found.truncate(most);
        Ok(found)
    }

    async fn user_by_external_id(&self, _: &TenantId, _: &ExternalId) -> Result<Option<User>, Unavailable> {
        Ok(None)
    }

    async fn insert_user(&self, _: &User) -> Result<bool, Unavailable> {
        unreachable!()
    }

    async fn put_key(&self, _: &KeyRecord) -> Result<(), Unavailable> {
        unreachable!()
    }

    async fn keys(&self, _: &str) -> Result<Vec<KeyRecord>, Unavailable> {
        unreachable!()
    }

    async fn record(&self, _: &[Recorded]) -> Result<(), Unavailable> {
        unreachable!()
    }

    async fn recorded(&self, _: RequestId) -> Result<Option<Recorded>, Unavailable> {
        unreachable!()
    }

    async fn history(&self, _: History, _: &TenantId, _: Option<&str>, _: usize) -> Result<Vec<Recorded>, Unavailable> {
        unreachable!()
    }

    async fn epoch(&self) -> Result<u64, Unavailable> {
        Ok(0)
    }

    async fn setting(&self, _: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        unreachable!()
    }

    async fn setting_or_insert(&self, _: &str, _: &[u8]) -> Result<Vec<u8>, Unavailable> {
        unreachable!()
    }

    fn changes(&self) -> ChangeStream {
        self.changes.subscribe()
    }
}

#[async_trait]
impl ExpiringStore for Shelf {
    async fn insert(&self, key: &Key, value: &[u8], _: Duration, _: &[Group], _: Option<(&Group, u32)>) -> Result<Insert, Unavailable> {
        self.entries.lock().unwrap().insert(key.clone(), (value.to_vec(), 0));
        Ok(Insert::Inserted)
    }

    async fn get(&self, key: &Key) -> Result<Option<(Vec<u8>, Version)>, Unavailable> {
        Ok(self.entries.lock().unwrap().get(key).map(|(value, version)| (value.clone(), Version(*version))))
    }

    async fn replace(&self, key: &Key, expected: Version, value: &[u8]) -> Result<bool, Unavailable> {
        let mut entries = self.entries.lock().unwrap();
        let held = entries.get_mut(key).filter(|(_, version)| *version == expected.0);
        Ok(held.map(|held| *held = (value.to_vec(), held.1 + 1)).is_some())
    }

    async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, Unavailable> {
        Ok(self.entries.lock().unwrap().remove(key).map(|(value, _)| value))
    }

    async fn extend(&self, key: &Key, _: Duration) -> Result<bool, Unavailable> {
        Ok(self.entries.lock().unwrap().contains_key(key))
    }

    async fn increment(&self, _: &Key, _: Duration) -> Result<u64, Unavailable> {
        unreachable!()
    }

    async fn list(&self, _: &Group, _: Option<&Key>, _: usize) -> Result<Vec<Key>, Unavailable> {
        unreachable!()
    }

    async fn remove_group(&self, _: &Group) -> Result<u64, Unavailable> {
        unreachable!()
    }

    fn changes(&self) -> ChangeStream {
        self.changes.subscribe()
    }
}
