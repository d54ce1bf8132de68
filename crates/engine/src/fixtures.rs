//! What the tests of the decision core share: one tenant, a few users, a fake store, requests.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use uuid::Uuid;

use crate::admission::{Admission, IssuerRules};
use crate::audit::{Recorded, Trail};
use crate::chain::Chain;
use crate::clock::{ManualClock, Timestamp};
use crate::identity::{AccountState, Attributes, ExternalId, GroupName, Identity, Issuer, Level, TenantId, User, UserId, Username};
use crate::request::{Body, Channel, CheckRequest, Client, Host, RequestId, Target};
use crate::route::{Access, BodyNeed, Csrf, Destination, Found, Route};
use crate::scheme::Unavailable;
use crate::session::{LoginId, SessionRef};
use crate::store::{ChangeStream, Changes, DurableStore, ExpiringStore, Group, History, Insert, Key, KeyRecord, Kind, Version};
use crate::tenant::Tenant;
use crate::users::Users;

/// Friday, 13 February 2009, 23:31:30 UTC.
pub(crate) const NOW: i64 = 1_234_567_890;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

pub(crate) fn trail() -> Trail {
    Trail::new(Arc::new(ManualClock::at(now())))
}

pub(crate) fn north() -> TenantId {
    TenantId::from("north")
}

pub(crate) fn host(name: &str) -> Host {
    Host::parse(name).unwrap()
}

pub(crate) fn tenant(id: &str, chain: Chain) -> Tenant {
    Tenant {
        id: id.into(),
        title: id.to_owned(),
        hosts: vec![host(&format!("{id}.example.com"))],
        portal: Some(host(&format!("login.{id}.example.com"))),
        portal_origin: Some(format!("https://login.{id}.example.com")),
        domain: None,
        origins: vec![format!("https://{id}.example.com"), format!("https://login.{id}.example.com")],
        cors: Default::default(),
        chain: Arc::new(chain),
        realm_text: id.to_owned(),
        brand: None,
    }
}

pub(crate) fn route(name: &str) -> Route {
    Route {
        name: name.into(),
        access: Access::Protected,
        level: Default::default(),
        policy: crate::policy::Policy::any_user(),
        injectors: Vec::new(),
        strip: HashMap::new(),
        csrf: Csrf::Origin,
        body: BodyNeed::Never,
        clients: Vec::new(),
        destination: Destination::Upstream("app".into()),
    }
}

pub(crate) fn found() -> Found {
    Found { tenant: Arc::new(tenant("north", Chain::default())), route: Arc::new(route("app")) }
}

pub(crate) fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let (authority, target) = match url.find('/') {
        Some(at) => url.split_at(at),
        None => (url, "/"),
    };
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    CheckRequest {
        id: RequestId(Uuid::from_u128(7)),
        received: now(),
        client: Client { address: "192.0.2.1".parse().unwrap(), channel: Channel::Tls, sni: None, certificate: Default::default() },
        method: method.parse::<Method>().unwrap(),
        host: host(authority),
        target: Target::parse(target).unwrap(),
        headers: map,
        body: Body::Unread,
        operation: None,
    }
}

pub(crate) fn from(address: &str, mut request: CheckRequest) -> CheckRequest {
    request.client.address = address.parse::<IpAddr>().unwrap();
    request
}

pub(crate) fn user(name: &str, number: u128) -> User {
    User {
        id: UserId(Uuid::from_u128(number)),
        tenant: north(),
        name: Username::parse(name).unwrap(),
        display_name: None,
        email: None,
        groups: Vec::new(),
        profile: "person".into(),
        state: AccountState::Active,
        must_change_password: false,
        break_glass: false,
        epoch: 1,
        password: None,
        external_ids: Vec::new(),
        created: Timestamp::UNIX_EPOCH,
    }
}

pub(crate) fn ada() -> User {
    User { groups: vec![GroupName::from("staff")], ..user("ada", 1) }
}

pub(crate) fn identity(user: User) -> Identity {
    Identity {
        user: Arc::new(user),
        scheme: "basic".into(),
        method: "basic".into(),
        issuer: "local".into(),
        level: Level(10),
        authenticated_at: now(),
        attributes: Arc::new(Attributes::new()),
        session: None,
        ambient: false,
        from: None,
    }
}

pub(crate) fn session(name: &str) -> SessionRef {
    let login = LoginId(std::array::from_fn(|at| name.as_bytes().get(at).copied().unwrap_or_default()));
    SessionRef { key: Key::of(&north(), Kind::Session, &[name.as_bytes()]), login, opened: now(), until: now() }
}

/// An admission over `store` that knows the issuers `local` (ours) and `idp` (not ours).
pub(crate) fn admission(store: &Arc<FakeStore>) -> Admission {
    let users = Arc::new(Users::new(store.clone(), Duration::ZERO));
    let rules = HashMap::from([(Issuer::from("local"), IssuerRules { local: true }), (Issuer::from("idp"), IssuerRules { local: false })]);
    Admission::new(users, store.clone(), rules, vec!["10.0.0.0/8".parse().unwrap()])
}

/// As much of a store as admission asks for. Entries never expire; `down` lets every call fail.
#[derive(Debug, Default)]
pub(crate) struct FakeStore {
    pub users: Vec<User>,
    pub down: bool,
    pub full: bool,
    pub entries: Mutex<HashMap<Key, Vec<u8>>>,
    pub changes: Changes,
}

impl FakeStore {
    pub(crate) fn of(users: impl IntoIterator<Item = User>) -> Arc<Self> {
        Arc::new(Self { users: users.into_iter().collect(), ..Self::default() })
    }

    fn answer<T>(&self, value: T) -> Result<T, Unavailable> {
        if self.down { Err(Unavailable::new("store", "it is down")) } else { Ok(value) }
    }
}

#[async_trait]
impl ExpiringStore for FakeStore {
    async fn insert(&self, key: &Key, value: &[u8], _: Duration, _: &[Group], _: Option<(&Group, u32)>) -> Result<Insert, Unavailable> {
        self.answer(())?;
        if self.full {
            return Ok(Insert::Full);
        }
        let mut entries = self.entries.lock().unwrap();
        if entries.contains_key(key) {
            return Ok(Insert::Exists);
        }
        entries.insert(key.clone(), value.to_vec());
        Ok(Insert::Inserted)
    }

    async fn get(&self, key: &Key) -> Result<Option<(Vec<u8>, Version)>, Unavailable> {
        self.answer(self.entries.lock().unwrap().get(key).map(|value| (value.clone(), Version(0))))
    }

    async fn replace(&self, _: &Key, _: Version, _: &[u8]) -> Result<bool, Unavailable> {
        panic!("not asked here")
    }

    async fn take(&self, _: &Key) -> Result<Option<Vec<u8>>, Unavailable> {
        panic!("not asked here")
    }

    async fn extend(&self, _: &Key, _: Duration) -> Result<bool, Unavailable> {
        panic!("not asked here")
    }

    async fn increment(&self, _: &Key, _: Duration) -> Result<u64, Unavailable> {
        panic!("not asked here")
    }

    async fn list(&self, _: &Group, _: Option<&Key>, _: usize) -> Result<Vec<Key>, Unavailable> {
        panic!("not asked here")
    }

    async fn remove_group(&self, _: &Group) -> Result<u64, Unavailable> {
        panic!("not asked here")
    }

    fn changes(&self) -> ChangeStream {
        self.changes.subscribe()
    }
}

#[async_trait]
impl DurableStore for FakeStore {
    async fn user(&self, id: UserId) -> Result<Option<User>, Unavailable> {
        self.answer(self.users.iter().find(|user| user.id == id).cloned())
    }

    async fn user_by_name(&self, _: &TenantId, _: &Username) -> Result<Option<User>, Unavailable> {
        panic!("not asked here")
    }

    async fn user_by_external_id(&self, tenant: &TenantId, id: &ExternalId) -> Result<Option<User>, Unavailable> {
        self.answer(self.users.iter().find(|user| user.tenant == *tenant && user.external_ids.contains(id)).cloned())
    }

    async fn insert_user(&self, _: &User) -> Result<bool, Unavailable> {
        panic!("not asked here")
    }

    async fn update_user(&self, _: &User, _: u64) -> Result<bool, Unavailable> {
        panic!("not asked here")
    }

    async fn users_with_sealed_hash(&self, _: usize) -> Result<Vec<User>, Unavailable> {
        Ok(Vec::new())
    }

    async fn remove_user(&self, _: UserId) -> Result<bool, Unavailable> {
        panic!("not asked here")
    }

    async fn users(&self, _: &TenantId, _: Option<&GroupName>, _: Option<&Username>, _: usize) -> Result<Vec<User>, Unavailable> {
        panic!("not asked here")
    }

    async fn put_key(&self, _: &KeyRecord) -> Result<(), Unavailable> {
        panic!("not asked here")
    }

    async fn keys(&self, _: &str) -> Result<Vec<KeyRecord>, Unavailable> {
        panic!("not asked here")
    }

    async fn record(&self, _: &[Recorded]) -> Result<(), Unavailable> {
        panic!("not asked here")
    }

    async fn recorded(&self, _: RequestId) -> Result<Option<Recorded>, Unavailable> {
        panic!("not asked here")
    }

    async fn history(&self, _: History, _: &TenantId, _: Option<&str>, _: usize) -> Result<Vec<Recorded>, Unavailable> {
        panic!("not asked here")
    }

    async fn epoch(&self) -> Result<u64, Unavailable> {
        panic!("not asked here")
    }

    async fn setting(&self, _: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        panic!("not asked here")
    }

    async fn setting_or_insert(&self, _: &str, _: &[u8]) -> Result<Vec<u8>, Unavailable> {
        panic!("not asked here")
    }

    fn changes(&self) -> ChangeStream {
        self.changes.subscribe()
    }
}
