//! Each rule of a session's life, over the memory store and a clock that is moved by hand.

use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use futures_util::future::join_all;

use super::*;
use crate::admission::{Admission, IssuerRules};
use crate::chain::{Chain, Link, OnReject, Standing};
use crate::clock::{Clock, ManualClock};
use crate::fixtures;
use crate::identity::{AccountState, Attributes, Issuer, Level};
use crate::profile::Profile;
use crate::request::CheckRequest;
use crate::route::Found;
use crate::scheme::{Asked, Outcome, Rejection, Resumed, Scheme};
use crate::store::memory::{MemoryDurableStore, MemoryStore};
use crate::store::{ChangeStream, DurableStore, conformance};

const HOST: &str = "app.example";
const MINUTE: Duration = Duration::from_secs(60);

/// A memory store that counts questions and can be taken down.
#[derive(Debug)]
struct Watched {
    inner: MemoryStore,
    down: AtomicBool,
    reads: AtomicU64,
    writes: AtomicU64,
    /// A group that is removed just before the next insert, as if somebody else had been quicker.
    ambush: std::sync::Mutex<Option<Group>>,
}

impl Watched {
    fn up(&self) -> Result<&MemoryStore, Unavailable> {
        if self.down.load(Ordering::SeqCst) { Err(Unavailable::new("store", "down")) } else { Ok(&self.inner) }
    }

    fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl ExpiringStore for Watched {
    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        ttl: Duration,
        groups: &[Group],
        limit: Option<(&Group, u32)>,
    ) -> Result<Insert, Unavailable> {
        let ambushed = self.ambush.lock().unwrap().take();
        if let Some(group) = ambushed {
            self.up()?.remove_group(&group).await?;
        }
        self.up()?.insert(key, value, ttl, groups, limit).await
    }
    async fn get(&self, key: &Key) -> Result<Option<(Vec<u8>, Version)>, Unavailable> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.up()?.get(key).await
    }
    async fn replace(&self, key: &Key, expected: Version, value: &[u8]) -> Result<bool, Unavailable> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.up()?.replace(key, expected, value).await
    }
    async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, Unavailable> {
        self.up()?.take(key).await
    }
    async fn extend(&self, key: &Key, ttl: Duration) -> Result<bool, Unavailable> {
        self.up()?.extend(key, ttl).await
    }
    async fn increment(&self, key: &Key, ttl: Duration) -> Result<u64, Unavailable> {
        self.up()?.increment(key, ttl).await
    }
    async fn list(&self, group: &Group, after: Option<&Key>, most: usize) -> Result<Vec<Key>, Unavailable> {
        self.up()?.list(group, after, most).await
    }
    async fn remove_group(&self, group: &Group) -> Result<u64, Unavailable> {
        self.up()?.remove_group(group).await
    }
    fn changes(&self) -> ChangeStream {
        self.inner.changes()
    }
}

/// One process: its sessions and the stores beneath.
struct House {
    clock: Arc<ManualClock>,
    store: Arc<Watched>,
    durable: Arc<MemoryDurableStore>,
    sessions: Arc<Sessions>,
    tenant: TenantId,
    ada: User,
}

impl House {
    async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    async fn with(settings: Settings) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_second(1_800_000_000).unwrap()));
        let inner = MemoryStore::new(clock.clone());
        let store = Arc::new(Watched {
            inner,
            down: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            ambush: std::sync::Mutex::default(),
        });
        let durable = Arc::new(MemoryDurableStore::default());
        let tenant = TenantId::from("north");
        let ada = conformance::user(&tenant, "ada").unwrap();
        assert!(durable.insert_user(&ada).await.unwrap());
        let sessions = Arc::new(Self::process(store.clone(), durable.clone(), settings));
        Self { clock, store, durable, sessions, tenant, ada }
    }

    /// The sessions of one process over these stores.
    fn process(store: Arc<Watched>, durable: Arc<MemoryDurableStore>, settings: Settings) -> Sessions {
        let users = Arc::new(Users::new(durable, settings.revocation_lag));
        Sessions::new(store, users, settings)
    }

    /// Another process over the same stores.
    fn other_process(&self) -> Sessions {
        Self::process(self.store.clone(), self.durable.clone(), self.sessions.settings.clone())
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn trail(&self) -> Trail {
        Trail::new(self.clock.clone())
    }

    fn login(&self) -> Identity {
        Identity {
            user: Arc::new(self.ada.clone()),
            scheme: "basic".into(),
            method: "basic".into(),
            issuer: Issuer::from("local"),
            level: Level(10),
            authenticated_at: self.now(),
            attributes: Arc::new(Attributes::from([("mail".into(), vec!["ada@example".into()])])),
            session: None,
            ambient: false,
            from: None,
        }
    }

    async fn open(&self) -> Opened {
        self.sessions.open(&self.login(), HOST, self.now(), &mut self.trail()).await.unwrap()
    }

    async fn find(&self, opened: &Opened) -> Result<Identity, Reason> {
        self.find_at(HOST, opened).await
    }

    async fn find_at(&self, host: &str, opened: &Opened) -> Result<Identity, Reason> {
        let found = self.sessions.find(&self.tenant, host, opened.token.reveal(), self.now()).await.unwrap()?;
        self.sessions.used(&found, self.now()).await.unwrap().then_some(found).ok_or(Reason::UnknownSession)
    }

    async fn why(&self, opened: &Opened) -> Reason {
        self.find(opened).await.unwrap_err()
    }

    async fn update(&self, change: impl FnOnce(&mut User)) {
        let mut user = self.durable.user(self.ada.id).await.unwrap().unwrap();
        let epoch = user.epoch;
        change(&mut user);
        assert!(self.durable.update_user(&user, epoch).await.unwrap());
    }

    async fn hand_over(&self, opened: &Opened, host: &str) -> Secret<String> {
        let identity = self.find(opened).await.unwrap();
        self.sessions.hand_over(&identity, host, self.now()).await.unwrap()
    }

    async fn redeem(&self, host: &str, code: &str) -> Result<Opened, Reason> {
        self.sessions.redeem(&self.tenant, host, code, self.now(), &mut self.trail()).await.unwrap()
    }
}

#[tokio::test]
async fn a_session_remembers_the_login() {
    let house = House::new().await;
    let login = house.login();
    let mut trail = house.trail();
    let opened = house.sessions.open(&login, HOST, house.now(), &mut trail).await.unwrap();
    assert_eq!(opened.token.reveal().len(), 43);
    assert!(!opened.session.key.as_str().contains(opened.token.reveal()), "the store must not know the token");
    let hash = opened.session.key.to_string();
    assert_eq!(trail.events, [Event::SessionOpened { session: hash, subject: "ada".into(), scheme: "basic".into() }]);

    house.clock.advance(MINUTE);
    let found = house.find(&opened).await.unwrap();
    assert_eq!(found.user.id, house.ada.id);
    assert_eq!((found.scheme.as_str(), found.method.as_str(), found.issuer.as_str()), ("session", "basic", "local"));
    assert_eq!((found.level, found.authenticated_at, &found.attributes), (login.level, login.authenticated_at, &login.attributes));
    assert_eq!(found.session, Some(opened.session));
    assert!(found.ambient);
}

#[tokio::test]
async fn a_new_login_never_reuses_a_token() {
    let house = House::new().await;
    let first = house.open().await;
    let carried = house.find(&first).await.unwrap();
    // Attack 54: the same browser logs in again, or more strongly.
    let mut trail = house.trail();
    let stronger = Identity { level: Level(20), ..carried };
    let second = house.sessions.open(&stronger, HOST, house.now(), &mut trail).await.unwrap();
    assert_ne!(first.token, second.token);
    assert_ne!(first.session.login, second.session.login);
    assert_eq!(house.why(&first).await, Reason::UnknownSession, "the token from before the login must be dead");
    assert_eq!(house.find(&second).await.unwrap().level, Level(20));
    assert!(matches!(trail.events.as_slice(), [Event::SessionOpened { .. }, Event::SessionEnded { reason: Ending::Renewed, .. }]));
}

#[tokio::test]
async fn garbage_is_no_session_and_costs_no_question() {
    let house = House::new().await;
    let opened = house.open().await;
    let token = opened.token.reveal();
    let before = house.store.reads();
    let long = "A".repeat(1 << 20);
    for garbage in
        ["", "x", long.as_str(), "!!!!", &token[..42], &format!("{token}A"), &"=".repeat(43), &"\u{e9}".repeat(21), &"\0".repeat(43)]
    {
        let found = house.sessions.find(&house.tenant, HOST, garbage, house.now()).await.unwrap();
        assert_eq!(found.unwrap_err(), Reason::UnknownSession);
        assert_eq!(house.redeem(HOST, garbage).await.unwrap_err(), Reason::BadCode);
    }
    // The last character carries two unused bits; only one spelling is a token.
    assert!(parse_token(&format!("{}B", "A".repeat(42))).is_none());
    assert_eq!(house.store.reads(), before);
}

#[tokio::test]
async fn a_session_holds_on_its_host_and_in_its_tenant_only() {
    let house = House::new().await;
    let opened = house.open().await;
    assert!(house.find(&opened).await.is_ok());
    assert_eq!(house.find_at("other.example", &opened).await.unwrap_err(), Reason::UnknownSession);
    let south = TenantId::from("south");
    let found = house.sessions.find(&south, HOST, opened.token.reveal(), house.now()).await.unwrap();
    assert_eq!(found.unwrap_err(), Reason::UnknownSession, "cached or not");
}

#[tokio::test]
async fn an_unused_session_is_over() {
    let house = House::new().await;
    let opened = house.open().await;
    assert!(house.find(&opened).await.is_ok());
    house.clock.advance(MINUTE * 30);
    assert_eq!(house.why(&opened).await, Reason::IdleSession, "from the cache");
    let other = house.other_process();
    let found = other.find(&house.tenant, HOST, opened.token.reveal(), house.now()).await.unwrap();
    assert_eq!(found.unwrap_err(), Reason::UnknownSession, "from the store");
}

#[tokio::test]
async fn use_prolongs_a_session_and_is_written_in_the_second_half_only() {
    let house = House::new().await;
    let opened = house.open().await;
    for _ in 0..14 {
        house.clock.advance(MINUTE);
        assert!(house.find(&opened).await.is_ok());
    }
    assert_eq!(house.store.writes(), 0);
    house.clock.advance(MINUTE);
    assert!(house.find(&opened).await.is_ok());
    assert!(house.find(&opened).await.is_ok());
    assert_eq!(house.store.writes(), 1);
    house.clock.advance(MINUTE * 29);
    assert!(house.find(&opened).await.is_ok(), "44 minutes after login, 29 after the last use");
    assert_eq!(house.store.writes(), 2);
}

#[tokio::test]
async fn to_be_found_is_no_use() {
    let house = House::new().await;
    let opened = house.open().await;
    for _ in 0..2 {
        house.clock.advance(MINUTE * 14);
        house.sessions.find(&house.tenant, HOST, opened.token.reveal(), house.now()).await.unwrap().unwrap();
    }
    house.clock.advance(MINUTE * 2);
    assert_eq!((house.why(&opened).await, house.store.writes()), (Reason::IdleSession, 0));
}

/// Resumes the session of a header.
#[derive(Debug)]
struct ByHeader(SchemeName, Arc<Sessions>);

#[async_trait]
impl Scheme for ByHeader {
    fn name(&self) -> &SchemeName {
        &self.0
    }
    fn presents(&self, _: &CheckRequest) -> bool {
        true
    }
    fn consumes(&self) -> &[crate::scheme::Place] {
        &[]
    }
    async fn authenticate(&self, asked: &Asked<'_>, _: &mut Trail) -> Result<Outcome, Unavailable> {
        let token = asked.request.headers["session"].to_str().unwrap();
        let found = self.1.find(&asked.found.tenant.id, HOST, token, asked.now).await?;
        Ok(match found {
            Ok(identity) => Outcome::Resumed(Box::new(Resumed { identity, sessions: Some(self.1.clone()) })),
            Err(reason) => Outcome::Rejected(Rejection::next(reason)),
        })
    }
}

#[tokio::test]
async fn a_request_that_is_refused_prolongs_nothing() {
    for (address, lives) in [("10.0.0.1", true), ("192.0.2.1", false)] {
        let house = House::new().await;
        let opened = house.open().await;
        let profile = Profile { addresses: vec!["10.0.0.0/8".parse().unwrap()], ..Profile::default() };
        let users = Arc::new(Users::new(house.durable.clone(), Duration::ZERO));
        let rules = [(Issuer::from("local"), IssuerRules { local: true })].into_iter().collect();
        let profiles = Arc::new([(house.ada.profile.clone(), profile)].into_iter().collect());
        let admission = Admission::new(users, house.store.clone(), rules, Vec::new()).with_profiles(profiles);
        let scheme = Arc::new(ByHeader(house.login().method, house.sessions.clone()));
        let chain = Chain::new(vec![Link { scheme, on_reject: OnReject::Continue, remember: false }]);
        let found = Found { tenant: Arc::new(fixtures::tenant("north", chain)), ..fixtures::found() };
        let ask = async |address: &str| {
            let request = fixtures::request("GET", "north.example.com/", &[("session", opened.token.reveal())]);
            let request = fixtures::from(address, request);
            let asked = Asked { request: &request, found: &found, now: house.now() };
            let standing = found.tenant.chain.run(&asked, &admission, &mut fixtures::trail()).await;
            matches!(standing, Standing::Known { .. })
        };
        house.clock.advance(MINUTE * 20);
        assert_eq!(ask(address).await, lives);
        house.clock.advance(MINUTE * 20);
        assert_eq!(ask("10.0.0.1").await, lives, "40 minutes after the login, 20 after a request from {address}");
    }
}

#[tokio::test]
async fn a_session_in_constant_use_ends_at_the_absolute_limit() {
    let house = House::new().await;
    let opened = house.open().await;
    for _ in 0..71 {
        house.clock.advance(MINUTE * 10);
        assert!(house.find(&opened).await.is_ok());
    }
    assert!(house.now() < opened.session.until);
    house.clock.advance(MINUTE * 10);
    assert_eq!(house.now(), opened.session.until);
    assert!(matches!(house.why(&opened).await, Reason::AbsoluteTimeout | Reason::UnknownSession));
    assert!(house.store.get(&opened.session.key).await.unwrap().is_none(), "the store forgets it as well");
}

#[tokio::test]
async fn a_cached_session_costs_no_question() {
    let house = House::new().await;
    let opened = house.open().await;
    assert!(house.find(&opened).await.is_ok());
    let before = house.store.reads();
    for _ in 0..10 {
        assert!(house.find(&opened).await.is_ok());
    }
    assert_eq!(house.store.reads(), before);
}

#[tokio::test]
async fn an_unknown_token_is_asked_for_every_time() {
    let house = House::new().await;
    let token = URL_SAFE_NO_PAD.encode([7; 32]);
    for asked in 1..=3 {
        let found = house.sessions.find(&house.tenant, HOST, &token, house.now()).await.unwrap();
        assert_eq!(found.unwrap_err(), Reason::UnknownSession);
        assert_eq!(house.store.reads(), asked);
    }
}

#[tokio::test]
async fn what_changes_a_user_is_felt_at_once() {
    // Attack 94, and every door that must close.
    let house = House::new().await;
    let opened = house.open().await;
    assert!(house.find(&opened).await.is_ok());
    house.update(|user| user.groups.clear()).await;
    assert!(house.find(&opened).await.unwrap().user.groups.is_empty());
    for (state, reason) in
        [(AccountState::Disabled, Reason::Disabled), (AccountState::Locked, Reason::Locked), (AccountState::Expired, Reason::Expired)]
    {
        house.update(|user| user.state = state).await;
        assert_eq!(house.why(&opened).await, reason);
    }
    house.update(|user| user.state = AccountState::Active).await;
    assert!(house.find(&opened).await.is_ok());
    house.update(|user| user.epoch += 1).await;
    assert_eq!(house.why(&opened).await, Reason::StaleEpoch);
}

#[tokio::test]
async fn a_login_that_began_before_the_epoch_rose_opens_nothing() {
    let house = House::new().await;
    let login = house.login();
    house.update(|user| user.epoch += 1).await;
    let opened = house.sessions.open(&login, HOST, house.now(), &mut house.trail()).await.unwrap();
    assert_eq!(house.why(&opened).await, Reason::StaleEpoch);
}

#[tokio::test]
async fn a_restored_backup_ends_all_sessions() {
    let house = House::new().await;
    let opened = house.open().await;
    assert!(house.find(&opened).await.is_ok());
    house.durable.raise_epoch();
    assert_eq!(house.why(&opened).await, Reason::StaleEpoch);
    assert!(house.find(&house.open().await).await.is_ok());
}

#[tokio::test]
async fn logout_ends_the_login_in_every_process() {
    let house = House::new().await;
    let (opened, untouched) = (house.open().await, house.open().await);
    let other = house.other_process();
    let token = opened.token.reveal();
    assert!(other.find(&house.tenant, HOST, token, house.now()).await.unwrap().is_ok());
    let mut trail = house.trail();
    let identity = house.find(&opened).await.unwrap();
    house.sessions.end(&identity, Ending::Logout, &mut trail).await.unwrap();
    let hash = opened.session.key.to_string();
    assert_eq!(trail.events, [Event::SessionEnded { session: Some(hash), subject: "ada".into(), reason: Ending::Logout }]);
    assert_eq!(house.why(&opened).await, Reason::UnknownSession);
    assert_eq!(other.find(&house.tenant, HOST, token, house.now()).await.unwrap().unwrap_err(), Reason::UnknownSession);
    assert!(house.find(&untouched).await.is_ok(), "another login of the same user goes on");
}

#[tokio::test]
async fn logout_everywhere_ends_all_logins_of_a_user() {
    let house = House::new().await;
    let opened = [house.open().await, house.open().await];
    assert_eq!(house.sessions.list(&house.tenant, house.ada.id).await.unwrap().len(), 2);
    let mut trail = house.trail();
    let count = house.sessions.end_all(&house.tenant, house.ada.id, Ending::LogoutEverywhere, &mut trail).await.unwrap();
    assert_eq!(count, 2);
    assert_eq!(trail.events, [Event::SessionEnded { session: None, subject: "ada".into(), reason: Ending::LogoutEverywhere }]);
    for opened in &opened {
        assert_eq!(house.why(opened).await, Reason::UnknownSession);
    }
    assert!(house.sessions.list(&house.tenant, house.ada.id).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_issuer_ends_the_logins_it_stated_so_and_no_others() {
    let house = House::new().await;
    let of = |issuer: &str, session: &str| Identity {
        issuer: Issuer::from(issuer),
        attributes: Arc::new(Attributes::from([("there".into(), vec![session.into()])])),
        ..house.login()
    };
    let mut opened = Vec::new();
    for (issuer, session) in [("op", "s1"), ("op", "s2"), ("other", "s1")] {
        opened.push(house.sessions.open(&of(issuer, session), HOST, house.now(), &mut house.trail()).await.unwrap());
    }
    let handed = house.redeem("shop.example", house.hand_over(&opened[0], "shop.example").await.reveal()).await.unwrap();
    let mut trail = house.trail();
    let other = house.other_process();
    let count = other.end_vouched(&house.tenant, house.ada.id, &Issuer::from("op"), ("there", "s1"), &mut trail).await.unwrap();
    assert_eq!((count, trail.events.len()), (2, 1), "one login of two sessions");
    assert_eq!(house.why(&opened[0]).await, Reason::UnknownSession);
    assert!(house.find_at("shop.example", &handed).await.is_err(), "what descends from it, too");
    assert!(house.find(&opened[1]).await.is_ok() && house.find(&opened[2]).await.is_ok());
}

#[tokio::test]
async fn what_an_issuer_states_anew_is_in_all_sessions_of_the_login_and_in_no_other() {
    let house = House::new().await;
    let (one, other) = (house.open().await, house.open().await);
    let shop = house.redeem("shop.example", house.hand_over(&one, "shop.example").await.reveal()).await.unwrap();
    // In the cache of this process.
    let before = house.find(&one).await.unwrap();
    let stated = Arc::new(Attributes::from([("department".to_owned(), vec!["crew".to_owned()])]));
    let elsewhere = house.other_process();
    elsewhere.restate(&house.tenant, before.session.unwrap().login, &stated).await.unwrap();
    assert_eq!(house.find(&one).await.unwrap().attributes, stated);
    assert_eq!(house.find_at("shop.example", &shop).await.unwrap().attributes, stated);
    assert_ne!(house.find(&other).await.unwrap().attributes, stated);
    let much = Arc::new(Attributes::from([("much".to_owned(), vec!["x".repeat(1 << 20)])]));
    assert!(elsewhere.restate(&house.tenant, one.session.login, &much).await.is_err());
    assert_eq!(house.find(&one).await.unwrap().attributes, stated);
}

#[tokio::test]
async fn one_login_too_many_ends_the_session_unused_for_longest() {
    let house = House::with(Settings { per_user: 3, ..Settings::default() }).await;
    let mut opened = Vec::new();
    for _ in 0..3 {
        house.clock.advance(MINUTE);
        opened.push(house.open().await);
    }
    // The first is used once more, late enough to be written down.
    house.clock.advance(MINUTE * 16);
    assert!(house.find(&opened[0]).await.is_ok());
    let mut trail = house.trail();
    let fourth = house.sessions.open(&house.login(), HOST, house.now(), &mut trail).await.unwrap();
    assert!(house.find(&fourth).await.is_ok());
    assert!(house.find(&opened[0]).await.is_ok());
    assert_eq!(house.why(&opened[1]).await, Reason::UnknownSession);
    assert!(house.find(&opened[2]).await.is_ok());
    assert_eq!(house.sessions.list(&house.tenant, house.ada.id).await.unwrap().len(), 3);
    assert!(matches!(trail.events.as_slice(), [Event::SessionEnded { reason: Ending::Renewed, .. }, Event::SessionOpened { .. }]));
}

#[tokio::test]
async fn an_outage_is_not_a_logout() {
    // Attack 90.
    let house = House::new().await;
    let opened = house.open().await;
    house.store.down.store(true, Ordering::SeqCst);
    let token = opened.token.reveal();
    assert!(house.sessions.find(&house.tenant, HOST, token, house.now()).await.is_err(), "not cached: ask, and say so");
    assert!(house.sessions.open(&house.login(), HOST, house.now(), &mut house.trail()).await.is_err());
    assert!(house.sessions.redeem(&house.tenant, HOST, token, house.now(), &mut house.trail()).await.is_err());
    house.store.down.store(false, Ordering::SeqCst);
    assert!(house.find(&opened).await.is_ok());
}

#[tokio::test]
async fn without_news_a_cached_session_is_used_for_the_revocation_lag_only() {
    let house = House::new().await;
    let opened = house.open().await;
    assert!(house.find(&opened).await.is_ok());
    house.store.inner.set_live(false);
    house.store.down.store(true, Ordering::SeqCst);
    house.clock.advance(Duration::from_millis(999));
    assert!(house.find(&opened).await.is_ok());
    house.clock.advance(Duration::from_millis(1));
    assert!(house.sessions.find(&house.tenant, HOST, opened.token.reveal(), house.now()).await.is_err());
    house.store.down.store(false, Ordering::SeqCst);
    let before = house.store.reads();
    assert!(house.find(&opened).await.is_ok());
    assert_eq!(house.store.reads(), before + 1);
}

#[tokio::test]
async fn a_handed_over_session_shares_the_login() {
    let house = House::new().await;
    let portal = house.open().await;
    let at_login = house.now();
    house.clock.advance(MINUTE * 5);
    let code = house.hand_over(&portal, "two.example").await;
    let landed = house.redeem("two.example", code.reveal()).await.unwrap();
    assert_ne!(landed.token, portal.token);
    assert_eq!(landed.session.login, portal.session.login);
    assert_eq!(landed.session.until, portal.session.until, "the absolute limit is that of the login");
    let identity = house.find_at("two.example", &landed).await.unwrap();
    assert_eq!((identity.authenticated_at, identity.method.as_str(), identity.level), (at_login, "basic", Level(10)));
    assert_eq!(house.why(&landed).await, Reason::UnknownSession, "it holds on its own host only");
    // Logging out on either host logs out on both.
    house.sessions.end(&identity, Ending::Logout, &mut house.trail()).await.unwrap();
    assert_eq!(house.why(&portal).await, Reason::UnknownSession);
    assert_eq!(house.find_at("two.example", &landed).await.unwrap_err(), Reason::UnknownSession);
}

#[tokio::test]
async fn a_code_is_good_on_its_host_in_its_tenant_and_for_a_minute() {
    let house = House::new().await;
    let portal = house.open().await;
    let code = house.hand_over(&portal, "two.example").await;
    assert_eq!(house.redeem("three.example", code.reveal()).await.unwrap_err(), Reason::BadCode);
    let south = TenantId::from("south");
    let elsewhere = house.sessions.redeem(&south, "two.example", code.reveal(), house.now(), &mut house.trail()).await.unwrap();
    assert_eq!(elsewhere.unwrap_err(), Reason::BadCode);
    assert!(house.redeem("two.example", code.reveal()).await.is_ok(), "trying elsewhere did not spend it");
    assert_eq!(house.redeem("two.example", code.reveal()).await.unwrap_err(), Reason::BadCode, "twice");
    let late = house.hand_over(&portal, "two.example").await;
    house.clock.advance(MINUTE);
    assert_eq!(house.redeem("two.example", late.reveal()).await.unwrap_err(), Reason::BadCode, "late");
    assert!(house.sessions.hand_over(&house.login(), HOST, house.now()).await.is_err(), "without a session there is nothing to hand over");
}

#[tokio::test]
async fn a_code_dies_with_its_login() {
    let house = House::new().await;
    let portal = house.open().await;
    let code = house.hand_over(&portal, "two.example").await;
    let identity = house.find(&portal).await.unwrap();
    house.sessions.end(&identity, Ending::Logout, &mut house.trail()).await.unwrap();
    assert_eq!(house.redeem("two.example", code.reveal()).await.unwrap_err(), Reason::BadCode);
    assert!(house.sessions.hand_over(&identity, "two.example", house.now()).await.is_err());

    let portal = house.open().await;
    let code = house.hand_over(&portal, "two.example").await;
    house.update(|user| user.epoch += 1).await;
    assert_eq!(house.redeem("two.example", code.reveal()).await.unwrap_err(), Reason::StaleEpoch);
}

#[tokio::test]
async fn a_login_that_ends_while_its_code_is_redeemed_opens_nothing() {
    let house = House::new().await;
    let portal = house.open().await;
    let code = house.hand_over(&portal, "two.example").await;
    *house.store.ambush.lock().unwrap() = Some(login_group(&house.tenant, portal.session.login));
    let mut trail = house.trail();
    let landed = house.sessions.redeem(&house.tenant, "two.example", code.reveal(), house.now(), &mut trail).await.unwrap();
    assert_eq!(landed.unwrap_err(), Reason::BadCode);
    assert!(house.store.ambush.lock().unwrap().is_none(), "the ambush must have happened");
    assert!(trail.events.is_empty());
    assert!(house.sessions.list(&house.tenant, house.ada.id).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_record_nobody_can_read_is_no_session_and_gives_way() {
    let house = House::with(Settings { per_user: 1, ..Settings::default() }).await;
    let opened = house.open().await;
    let (_, version) = house.store.get(&opened.session.key).await.unwrap().unwrap();
    assert!(house.store.replace(&opened.session.key, version, b"\xffnewer").await.unwrap());
    assert_eq!(house.why(&opened).await, Reason::UnknownSession);
    assert!(house.sessions.list(&house.tenant, house.ada.id).await.unwrap().is_empty());
    assert!(house.find(&house.open().await).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_parallel_redeems_one_wins() {
    // Attack 114, here in two processes over one store.
    let house = House::new().await;
    let portal = house.open().await;
    let code = house.hand_over(&portal, "two.example").await;
    let processes = [house.sessions.clone(), Arc::new(house.other_process())];
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let (sessions, code, tenant) = (processes[n % 2].clone(), code.clone(), house.tenant.clone());
            let (now, mut trail) = (house.now(), house.trail());
            tokio::spawn(async move { sessions.redeem(&tenant, "two.example", code.reveal(), now, &mut trail).await.unwrap() })
        })
        .collect();
    let outcomes: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes.into_iter().filter_map(Result::err).all(|reason| reason == Reason::BadCode));
    assert_eq!(house.sessions.list(&house.tenant, house.ada.id).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_session_that_ran_out_tells_whose_it_was_for_a_while_and_to_nobody_else() {
    let remembered = 10 * MINUTE;
    let settings = Settings { remembered, ..Settings::default() };
    let whose = |house: &House, host: &'static str, token: String| {
        let (sessions, tenant, now) = (house.sessions.clone(), house.tenant.clone(), house.now());
        async move { sessions.ran_out(&tenant, host, &token, now).await.unwrap() }
    };
    for over in [settings.idle, settings.absolute] {
        let idle = if over == settings.idle { settings.idle } else { settings.absolute };
        let house = House::with(Settings { idle, ..settings.clone() }).await;
        let opened = house.open().await;
        let (token, identity) = (opened.token.reveal().clone(), house.find(&opened).await.unwrap());
        assert_eq!(whose(&house, HOST, token.clone()).await, None, "it is live");
        house.clock.advance(over);
        assert!(house.find(&opened).await.is_err(), "nobody is let in by it");
        assert!(house.sessions.holder(&identity, house.now()).await.unwrap().is_none(), "nor is a tunnel kept open");
        assert_eq!(whose(&house, HOST, token.clone()).await, Some(house.ada.id));
        assert_eq!(whose(&house, "other.example.com", token.clone()).await, None);
        assert_eq!(house.sessions.ran_out(&"south".into(), HOST, &token, house.now()).await.unwrap(), None);
        house.clock.advance(remembered);
        assert_eq!(whose(&house, HOST, token).await, None, "that was long ago");
    }
    // What was ended names nobody.
    let house = House::with(settings.clone()).await;
    let (ended, other) = (house.open().await, house.open().await);
    let identity = house.find(&ended).await.unwrap();
    house.sessions.end(&identity, Ending::Logout, &mut house.trail()).await.unwrap();
    house.clock.advance(settings.idle);
    assert_eq!(whose(&house, HOST, ended.token.reveal().clone()).await, None);
    assert_eq!(whose(&house, HOST, other.token.reveal().clone()).await, Some(house.ada.id));
    // Where nothing is kept, nothing is told.
    let house = House::new().await;
    let opened = house.open().await;
    house.clock.advance(settings.idle);
    assert_eq!(whose(&house, HOST, opened.token.reveal().clone()).await, None);
}
