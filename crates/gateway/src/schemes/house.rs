//! A small house for the tests of password schemes: one tenant, one family over a realm that counts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use uuid::Uuid;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::{Reason, Trail};
use vestibule_engine::chain::Chain;
use vestibule_engine::clock::ManualClock;
use vestibule_engine::identity::{Attributes, RealmName};
use vestibule_engine::policy::Policy;
use vestibule_engine::profile::Profiles;
use vestibule_engine::realm::{Account, Attempt, Check, Limits, Offered, Passwords, Realm, RealmStep, Then};
use vestibule_engine::request::{Body, Channel, CheckRequest, Client, Host, RequestId, Target};
use vestibule_engine::route::{Access, BodyNeed, Csrf, Destination, Found, Route};
use vestibule_engine::scheme::{Unavailable, Who};
use vestibule_engine::secret::Secret;
use vestibule_engine::tenant::Tenant;
use vestibule_engine::users::Users;

use super::family::Family;
use super::known_device::KnownDevices;
use crate::realms::shelf::Shelf;

/// Everybody's password is `right:` and their name: with a colon, for those who split at the wrong one.
#[derive(Debug)]
pub(super) struct Counting {
    name: RealmName,
    users: Arc<Users>,
    asked: AtomicUsize,
    known: AtomicBool,
}

#[async_trait]
impl Realm for Counting {
    fn name(&self) -> &RealmName {
        &self.name
    }

    async fn verify(&self, attempt: &Attempt<'_>, _: &mut Trail) -> Result<Check, Unavailable> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.known.store(attempt.known_device, Ordering::SeqCst);
        let Some(user) = self.users.by_name(attempt.tenant, attempt.username).await? else {
            return Ok(Check::Rejected(Reason::UnknownUser));
        };
        tokio::time::sleep(Duration::from_millis(20)).await;
        match attempt.secret {
            Offered::Password(password) if *password.reveal() == format!("right:{}", user.name) => {
                Ok(Check::Accepted(Account { who: Who::User(user.id), attributes: Attributes::new(), epoch: Some(user.epoch) }))
            }
            Offered::Password(_) | Offered::Digest { .. } => Ok(Check::Rejected(Reason::WrongPassword)),
        }
    }
}

pub(super) struct House {
    pub(super) shelf: Arc<Shelf>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) family: Family,
    pub(super) found: Found,
    realm: Arc<Counting>,
}

impl House {
    pub(super) fn new() -> Self {
        Self::with_profiles(Profiles::default())
    }

    pub(super) fn with_profiles(profiles: Profiles) -> Self {
        let shelf = Arc::new(Shelf::default());
        let clock = Arc::new(ManualClock::at(Timestamp::from_second(1_800_000_000).unwrap()));
        let users = Arc::new(Users::new(shelf.clone(), Duration::from_secs(1)));
        let realm =
            Arc::new(Counting { name: "local".into(), users: users.clone(), asked: AtomicUsize::new(0), known: AtomicBool::new(false) });
        let limits = Limits { floor: Duration::ZERO, address_failures: 1000, ..Limits::default() };
        let family = Family {
            steps: vec![RealmStep { scheme: "basic-local".into(), realm: realm.clone(), then: Then::Next }],
            passwords: Arc::new(Passwords::new(shelf.clone(), clock.clone(), limits)),
            users,
            profiles: Arc::new(profiles),
            devices: Arc::new(KnownDevices::new(&Secret::new([1; 32]))),
            clock: clock.clone(),
            time_limit: Duration::from_secs(10),
        };
        Self { shelf, clock, family, found: found(), realm }
    }

    pub(super) fn asked(&self) -> usize {
        self.realm.asked.load(Ordering::SeqCst)
    }

    pub(super) fn known_device(&self) -> bool {
        self.realm.known.load(Ordering::SeqCst)
    }

    pub(super) fn trail(&self) -> Trail {
        Trail::new(self.clock.clone())
    }
}

fn found() -> Found {
    let tenant = Tenant {
        id: "north".into(),
        title: "North".to_owned(),
        hosts: Vec::new(),
        portal: None,
        portal_origin: None,
        domain: Some("north".to_owned()),
        origins: Vec::new(),
        cors: Default::default(),
        chain: Arc::new(Chain::default()),
        realm_text: "North".to_owned(),
        brand: None,
    };
    let route = Route {
        name: "api".into(),
        access: Access::Protected,
        level: Default::default(),
        policy: Policy::default(),
        injectors: Vec::new(),
        strip: HashMap::new(),
        csrf: Csrf::Origin,
        body: BodyNeed::Never,
        clients: Vec::new(),
        destination: Destination::Own,
    };
    Found { tenant: Arc::new(tenant), route: Arc::new(route) }
}

/// A request over TLS from a documentation address, with these header fields.
pub(super) fn request(fields: &[(&'static str, &str)]) -> CheckRequest {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    CheckRequest {
        id: RequestId(Uuid::nil()),
        received: Timestamp::UNIX_EPOCH,
        client: Client { address: "192.0.2.1".parse().unwrap(), channel: Channel::Tls, sni: None, certificate: Default::default() },
        method: Method::GET,
        host: Host::parse("app.example.com").unwrap(),
        target: Target::parse("/orders").unwrap(),
        headers,
        body: Body::Unread,
        operation: None,
    }
}
