//! The rules of §3 that are those of sessions, over the memory store and a clock that is moved by hand. Each test has the
//! name of its row.

use futures_util::future::join_all;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::identity::{Issuer, Level};
use crate::session::Keeper;
use crate::store::memory::{MemoryDurableStore, MemoryStore};
use crate::store::{DurableStore, conformance};

const HOST: &str = "app.example";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

struct House {
    clock: Arc<ManualClock>,
    store: Arc<MemoryStore>,
    durable: Arc<MemoryDurableStore>,
    sessions: Sessions,
    tenant: TenantId,
    ada: User,
}

impl House {
    async fn new() -> Self {
        Self::with(10 * MINUTE, Duration::MAX, 10).await
    }

    async fn with(idle: Duration, absolute: Duration, quota: u32) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_second(1_800_000_000).unwrap()));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let durable = Arc::new(MemoryDurableStore::default());
        let tenant = TenantId::from("north");
        let ada = conformance::user(&tenant, "ada").unwrap();
        assert!(durable.insert_user(&ada).await.unwrap());
        let settings = Settings { idle, absolute, ..Settings::default() };
        let sessions = Self::process(&store, &durable, settings, quota);
        Self { clock, store, durable, sessions, tenant, ada }
    }

    fn process(store: &Arc<MemoryStore>, durable: &Arc<MemoryDurableStore>, settings: Settings, quota: u32) -> Sessions {
        let users = Arc::new(Users::new(durable.clone(), settings.revocation_lag));
        let programs = Programs { quota, spacing: Duration::from_millis(50) };
        Sessions::of_programs(store.clone(), users, settings, programs)
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
            scheme: "crm".into(),
            method: "crm".into(),
            issuer: Issuer::from("local"),
            level: Level(10),
            authenticated_at: self.now(),
            attributes: Arc::default(),
            session: None,
            ambient: false,
            from: None,
        }
    }

    async fn place(&self, place: Place) -> Result<Opened, Reason> {
        self.sessions.open_place(&self.login(), HOST, place, self.now(), &mut self.trail()).await.unwrap()
    }

    async fn open(&self) -> Opened {
        self.place(Place::Counted).await.unwrap()
    }

    async fn find(&self, opened: &Opened) -> Result<(), Reason> {
        let identity = self.sessions.find(&self.tenant, HOST, opened.token.reveal(), self.now()).await.unwrap()?;
        self.sessions.used(&identity, self.now()).await.unwrap().then_some(()).ok_or(Reason::UnknownSession)
    }

    async fn close(&self, opened: &Opened) -> bool {
        self.sessions.close(&self.tenant, HOST, opened.token.reveal(), self.now(), &mut self.trail()).await.unwrap().is_some()
    }
}

#[tokio::test]
async fn test_5_session_id_charset() {
    let house = House::new().await;
    let opened = house.open().await;
    let token = opened.token.reveal();
    assert!(token.len() == 43 && token.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_')), "{token}");
    assert_eq!(opened.keeper, Keeper::Program);
    assert!(!opened.session.key.as_str().contains(token), "only its SHA-256 is stored");
}

#[tokio::test]
async fn test_6_idle_10_minutes_exactly() {
    let house = House::new().await;
    let (one, other) = (house.open().await, house.open().await);
    house.clock.advance(599 * SECOND);
    assert_eq!(house.find(&one).await, Ok(()));
    house.clock.advance(2 * SECOND);
    assert!(house.find(&other).await.is_err(), "601 s after the login");
    // Ten minutes after its last use, not after the last time that was written down.
    let used = house.open().await;
    house.clock.advance(20 * SECOND);
    assert_eq!(house.find(&used).await, Ok(()));
    house.clock.advance(599 * SECOND);
    assert_eq!(house.find(&used).await, Ok(()));
    house.clock.advance(601 * SECOND);
    assert!(house.find(&used).await.is_err());
}

#[tokio::test]
async fn timeouts_data_loader_keep_alive_every_300_s() {
    let house = House::new().await;
    let opened = house.open().await;
    for _ in 0..20 {
        house.clock.advance(300 * SECOND);
        assert_eq!(house.find(&opened).await, Ok(()));
    }
}

#[tokio::test]
async fn test_8_maximum_duration_cuts_an_active_session() {
    let house = House::with(10 * MINUTE, 60 * MINUTE, 10).await;
    let opened = house.open().await;
    for _ in 0..11 {
        house.clock.advance(5 * MINUTE);
        assert_eq!(house.find(&opened).await, Ok(()));
    }
    house.clock.advance(5 * MINUTE);
    assert!(house.find(&opened).await.is_err());
}

#[tokio::test]
async fn timeouts_a_maximum_duration_of_0_is_no_limit() {
    let house = House::new().await;
    let opened = house.open().await;
    for _ in 0..2000 {
        house.clock.advance(9 * MINUTE);
        assert_eq!(house.find(&opened).await, Ok(()));
    }
}

#[tokio::test]
async fn test_9_the_11th_login_is_refused_and_after_logoff_accepted() {
    let house = House::new().await;
    let opened: Vec<Opened> = join_all((0..20).map(|_| house.place(Place::Counted))).await.into_iter().filter_map(Result::ok).collect();
    assert_eq!(opened.len(), 10);
    assert_eq!(house.place(Place::Counted).await.unwrap_err(), Reason::SessionQuota);
    for one in &opened {
        assert_eq!(house.find(one).await, Ok(()), "nobody's session ends for a newcomer");
    }
    assert!(house.close(&opened[0]).await);
    house.open().await;
    assert_eq!(house.place(Place::Counted).await.unwrap_err(), Reason::SessionQuota);
    // The places of those who went away without a word come back by themselves.
    house.clock.advance(11 * MINUTE);
    house.open().await;
}

#[tokio::test]
async fn limits_the_quota_covers_stateful_sessions_only() {
    let house = House::with(10 * MINUTE, Duration::MAX, 1).await;
    for _ in 0..5 {
        house.place(Place::Kept).await.unwrap();
    }
    house.open().await;
    assert_eq!(house.place(Place::Counted).await.unwrap_err(), Reason::SessionQuota);
}

#[tokio::test]
async fn test_10_49_ms_spacing_is_refused_and_51_ms_is_not() {
    let house = House::new().await;
    let opened = house.open().await;
    assert_eq!(house.find(&opened).await, Ok(()), "a login is no request of the session");
    house.clock.advance(Duration::from_millis(49));
    assert_eq!(house.find(&opened).await, Err(Reason::RequestRate(1)));
    assert_eq!(house.find(&opened).await, Err(Reason::RequestRate(1)), "what is refused does not begin anew");
    house.clock.advance(Duration::from_millis(1));
    assert_eq!(house.find(&opened).await, Ok(()));
    house.clock.advance(Duration::from_millis(51));
    assert_eq!(house.find(&opened).await, Ok(()));
    house.clock.advance(Duration::from_millis(12));
    assert_eq!(house.find(&opened).await, Err(Reason::RequestRate(38)));
    assert!(house.close(&opened).await, "a logoff is never too soon");
}

#[tokio::test]
async fn timeouts_a_rate_limited_request_does_not_refresh() {
    let house = House::new().await;
    let opened = house.open().await;
    house.clock.advance(5 * SECOND);
    assert_eq!(house.find(&opened).await, Ok(()));
    house.clock.advance(Duration::from_millis(40));
    assert!(matches!(house.find(&opened).await, Err(Reason::RequestRate(_))));
    house.clock.advance(600 * SECOND - Duration::from_millis(40));
    assert!(house.find(&opened).await.is_err());
}

#[tokio::test]
async fn timeouts_a_request_that_is_refused_for_its_user_does_not_refresh() {
    let house = House::new().await;
    let opened = house.open().await;
    for _ in 0..12 {
        house.clock.advance(50 * SECOND);
        // Found, and then not readmitted.
        let found = house.sessions.find(&house.tenant, HOST, opened.token.reveal(), house.now()).await.unwrap();
        assert_eq!(found.is_ok(), house.now() < opened.session.opened + 10 * MINUTE);
    }
}

#[tokio::test]
async fn logoff_unknown_expired_or_foreign_ends_nothing() {
    let house = House::new().await;
    let opened = house.open().await;
    assert!(!house.close(&Opened { token: Secret::new("x".repeat(43)), ..opened.clone() }).await);
    let elsewhere = house.sessions.close(&house.tenant, "other.example", opened.token.reveal(), house.now(), &mut house.trail()).await;
    assert!(elsewhere.unwrap().is_none());
    assert!(house.close(&opened).await);
    assert!(!house.close(&opened).await, "twice");
    assert_eq!(house.find(&opened).await, Err(Reason::UnknownSession));
}

#[tokio::test]
async fn a_token_of_a_program_is_none_of_a_browser_nor_the_other_way_round() {
    let house = House::new().await;
    let users = Arc::new(Users::new(house.durable.clone(), SECOND));
    let browsers = Sessions::new(house.store.clone(), users, Settings::default());
    let program = house.open().await;
    let browser = browsers.open(&house.login(), HOST, house.now(), &mut house.trail()).await.unwrap();
    assert_eq!(browser.keeper, Keeper::Browser);
    assert!(house.find(&browser).await.is_err());
    assert!(browsers.find(&house.tenant, HOST, program.token.reveal(), house.now()).await.unwrap().is_err());
    // Whoever is shut out is shut out as both.
    assert_eq!(browsers.end_all(&house.tenant, house.ada.id, Ending::Administrator, &mut house.trail()).await.unwrap(), 2);
    assert!(house.find(&program).await.is_err());
}

#[tokio::test]
async fn attack_114_of_100_redemptions_exactly_one_wins() {
    let house = House::with(10 * MINUTE, Duration::MAX, 1000).await;
    let other = House::process(&house.store, &house.durable, house.sessions.settings.clone(), 1000);
    let bound: [&[u8]; 1] = [b"acme"];
    let code = house.sessions.promise(&house.login(), HOST, &bound, 30 * SECOND, house.now()).await.unwrap();
    let attempts = (0..100).map(|number| {
        let node = if number % 2 == 0 { &house.sessions } else { &other };
        let (house, code) = (&house, code.reveal());
        async move { node.redeem_promise(&house.tenant, HOST, &bound, code, house.now(), &mut house.trail()).await.unwrap() }
    });
    let won: Vec<_> = join_all(attempts).await.into_iter().filter_map(Result::ok).collect();
    assert_eq!(won.len(), 1);
    assert_eq!(house.find(&won[0].0).await, Ok(()));
}

#[tokio::test]
async fn a_promise_holds_for_what_it_is_bound_to_and_not_for_long() {
    let house = House::new().await;
    let bound: [&[u8]; 1] = [b"acme"];
    let promise = async || house.sessions.promise(&house.login(), HOST, &bound, 30 * SECOND, house.now()).await.unwrap();
    let redeem = async |host: &str, bound: &[&[u8]], code: &str| {
        house.sessions.redeem_promise(&house.tenant, host, bound, code, house.now(), &mut house.trail()).await.unwrap().map(drop)
    };
    let code = promise().await;
    assert_eq!(redeem("other.example", &bound, code.reveal()).await, Err(Reason::BadCode));
    assert_eq!(redeem(HOST, &[b"other"], code.reveal()).await, Err(Reason::BadCode));
    assert_eq!(redeem(HOST, &[], code.reveal()).await, Err(Reason::BadCode));
    assert_eq!(redeem(HOST, &bound, code.reveal()).await, Ok(()), "trying spent nothing");
    let code = promise().await;
    house.clock.advance(31 * SECOND);
    assert_eq!(redeem(HOST, &bound, code.reveal()).await, Err(Reason::BadCode));
    let code = promise().await;
    let mut user = house.ada.clone();
    user.epoch += 1;
    assert!(house.durable.update_user(&user, house.ada.epoch).await.unwrap());
    house.clock.advance(2 * SECOND);
    assert_eq!(redeem(HOST, &bound, code.reveal()).await, Err(Reason::StaleEpoch), "shut out meanwhile");
}
