//! What a decision costs while routes and live sessions grow in number. It should not grow with them.
//!
//! `cargo bench -p vestibule-engine --bench decide`; with `-- SESSIONS` at most so many sessions.
//!
//! Each decision is a signed-in user's: route, session, policy, record; the policy decision is remembered, because the policy
//! reads neither who nor where. While sessions grow in number, the callers are once the same few of them, and once
//! drawn from all, so that with more of them than the cache holds most are looked up in the store.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method};
use uuid::Uuid;
use vestibule_engine::admission::{Admission, IssuerRules};
use vestibule_engine::audit::{Recorded, Sink, Trail};
use vestibule_engine::chain::{Chain, Link, OnReject};
use vestibule_engine::clock::{Clock, SystemClock};
use vestibule_engine::csrf::CsrfKey;
use vestibule_engine::decision::Decision;
use vestibule_engine::engine::Engine;
use vestibule_engine::identity::{AccountState, Identity, Level, SchemeName, User, UserId, Username};
use vestibule_engine::policy::{Decisions, Policy};
use vestibule_engine::request::{Body, Channel, CheckRequest, Client, Host, RequestId, Target};
use vestibule_engine::route::{Access, BodyNeed, Csrf, Destination, Pattern, Route, Routes, Scope};
use vestibule_engine::scheme::{Asked, Outcome, Place, Rejection, Resumed, Scheme, Unavailable};
use vestibule_engine::secret::Secret;
use vestibule_engine::session::{Sessions, Settings};
use vestibule_engine::store::DurableStore;
use vestibule_engine::store::memory::{MemoryDurableStore, MemoryStore};
use vestibule_engine::tenant::Tenant;
use vestibule_engine::users::Users;

type Failure = Box<dyn Error>;

const HOST: &str = "app.north.example.com";
/// The one scheme, and the header it reads.
const SESSION: &str = "session";
const ROUTES: [usize; 4] = [10, 100, 1_000, 10_000];
const SESSIONS: [usize; 3] = [1_000, 100_000, 1_000_000];
/// While routes grow in number: sessions, all of one user.
const FEW_SESSIONS: usize = 100;
/// While sessions grow in number: routes, and users among whom the sessions are shared out.
const FEW_ROUTES: usize = 10;
const USERS: usize = 1_000;
/// Decisions timed together: so few that the scheduler seldom interrupts them.
const BATCH: usize = 50;
/// Times, of which the median counts.
const TIMES: usize = 1_001;
/// The callers, where they stay the same.
const CALLERS: usize = 1_000;

fn main() -> Result<(), Failure> {
    let most = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(usize::MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    println!("{:>10} {:>10} {:>10} {:>14}", "routes", "sessions", "callers", "per decision");
    let mut costs = Vec::new();
    for routes in ROUTES {
        costs.extend(runtime.block_on(measure(routes, FEW_SESSIONS, 1, &[FEW_SESSIONS]))?);
    }
    println!("{} routes cost {:.2} times what {} do\n", ROUTES[3], ratio(&costs), ROUTES[0]);
    let (mut same, mut all) = (Vec::new(), Vec::new());
    for sessions in SESSIONS.into_iter().filter(|sessions| *sessions <= most) {
        let costs = runtime.block_on(measure(FEW_ROUTES, sessions, USERS, &[CALLERS, sessions]))?;
        same.extend(costs.first());
        all.extend(costs.last());
    }
    println!("with the same callers, the most sessions cost {:.2} times what the fewest do", ratio(&same));
    println!("with callers drawn from all, the most sessions cost {:.2} times what the fewest do", ratio(&all));
    Ok(())
}

fn ratio(costs: &[Duration]) -> f64 {
    let seconds = |cost: Option<&Duration>| cost.map_or(f64::NAN, Duration::as_secs_f64);
    seconds(costs.last()) / seconds(costs.first())
}

/// The median cost of one decision, for each of these numbers of callers.
async fn measure(routes: usize, sessions: usize, users: usize, callers: &[usize]) -> Result<Vec<Duration>, Failure> {
    let (engine, tokens) = engine(routes, sessions, users).await?;
    // Sessions are dealt to users in turn, so the first ones are one of each.
    for token in tokens.iter().take(users) {
        for route in 0..routes {
            engine.decide(&request(route, token)?).await;
        }
    }
    let mut costs = Vec::new();
    for callers in callers {
        let cost = median(&engine, routes, tokens.get(..*callers).ok_or("too few sessions")?).await?;
        println!("{routes:>10} {sessions:>10} {callers:>10} {cost:>14.2?}");
        costs.push(cost);
    }
    Ok(costs)
}

async fn median(engine: &Engine, routes: usize, tokens: &[Secret<String>]) -> Result<Duration, Failure> {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let mut requests = Vec::with_capacity(BATCH);
        for _ in 0..BATCH {
            let token = tokens.get(chance.below(tokens.len())).ok_or("no session")?;
            requests.push(request(chance.below(routes), token)?);
        }
        let began = engine.clock.monotonic();
        for request in &requests {
            let Decision::Allow(_) = engine.decide(request).await.decision else { return Err("a decision was not to allow".into()) };
        }
        times.push(engine.clock.monotonic() - began);
    }
    times.sort_unstable();
    Ok(*times.get(TIMES / 2).ok_or("no times")? / u32::try_from(BATCH)?)
}

async fn engine(routes: usize, count: usize, people: usize) -> Result<(Engine, Vec<Secret<String>>), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let durable = Arc::new(MemoryDurableStore::default());
    let expiring = Arc::new(MemoryStore::new(clock.clone()));
    let users = Arc::new(Users::new(durable.clone(), Duration::from_secs(1)));
    let settings = Settings { per_user: u32::MAX, ..Settings::default() };
    let sessions = Arc::new(Sessions::new(expiring.clone(), users.clone(), settings));

    let mut identities = Vec::new();
    for number in 0..people {
        let user = user(number, &clock)?;
        durable.insert_user(&user).await?;
        identities.push(identity(user, &clock));
    }
    let mut tokens = Vec::with_capacity(count);
    for identity in identities.iter().cycle().take(count) {
        let opened = sessions.open(identity, HOST, clock.now(), &mut Trail::new(clock.clone())).await?;
        tokens.push(opened.token);
    }

    let scheme = Arc::new(ByHeader { name: SESSION.into(), sessions: sessions.clone() });
    let links = vec![Link { scheme, on_reject: OnReject::Continue, remember: false }];
    let engine = Engine {
        routes: table(routes, Chain::new(links))?,
        admission: Admission::new(users, expiring, HashMap::from([("local".into(), IssuerRules { local: true })]), Vec::new()),
        sessions,
        csrf: CsrfKey::new(&Secret::new([7; 32])),
        sink: Arc::new(Nowhere),
        clock,
    };
    Ok((engine, tokens))
}

fn table(count: usize, chain: Chain) -> Result<Routes, Failure> {
    let decisions = Decisions::new(Decisions::DEFAULT);
    let text = r#"@id("staff-may-read") permit(principal in Group::"staff", action in Action::"read", resource);"#;
    let policy = Policy::compile(&[("bench.cedar".to_owned(), text.to_owned())], &[], &decisions).map_err(|_| "the policy is wrong")?;
    let mut routes = Routes::default();
    let tenant = Tenant {
        id: "north".into(),
        title: "North".to_owned(),
        hosts: vec![host()?],
        portal: None,
        portal_origin: None,
        domain: None,
        origins: Vec::new(),
        cors: Default::default(),
        chain: Arc::new(chain),
        realm_text: "north".to_owned(),
        brand: None,
    };
    routes.add_tenant(Arc::new(tenant), None)?;
    for number in 0..count {
        let route = Route {
            name: format!("route-{number}").as_str().into(),
            access: Access::Protected,
            level: Default::default(),
            policy: policy.clone(),
            injectors: Vec::new(),
            strip: HashMap::new(),
            csrf: Csrf::Origin,
            body: BodyNeed::Never,
            clients: Vec::new(),
            destination: Destination::Upstream("app".into()),
        };
        let pattern = Pattern::parse(&format!("/service-{number}/**"), Vec::new())?;
        routes.add(Scope::Everywhere, &pattern, Arc::new(route)).map_err(|_| "a route was refused")?;
    }
    Ok(routes)
}

fn request(route: usize, token: &Secret<String>) -> Result<CheckRequest, Failure> {
    let now = vestibule_engine::Timestamp::UNIX_EPOCH;
    let mut headers = HeaderMap::new();
    headers.insert(SESSION, HeaderValue::from_str(token.reveal())?);
    Ok(CheckRequest {
        id: RequestId::new(now)?,
        received: now,
        client: Client { address: "192.0.2.1".parse()?, channel: Channel::Tls, sni: None, certificate: Default::default() },
        method: Method::GET,
        host: host()?,
        target: Target::parse(&format!("/service-{route}/orders/7"))?,
        headers,
        body: Body::Unread,
        operation: None,
    })
}

fn host() -> Result<Host, Failure> {
    Ok(Host::parse(HOST)?)
}

fn user(number: usize, clock: &Arc<dyn Clock>) -> Result<User, Failure> {
    Ok(User {
        id: UserId(Uuid::from_u128(number as u128 + 1)),
        tenant: "north".into(),
        name: Username::parse(&format!("user-{number}")).ok_or("no user name")?,
        display_name: None,
        email: None,
        groups: vec!["staff".into()],
        profile: "user".into(),
        state: AccountState::Active,
        must_change_password: false,
        break_glass: false,
        epoch: 1,
        password: None,
        external_ids: Vec::new(),
        created: clock.now(),
    })
}

fn identity(user: User, clock: &Arc<dyn Clock>) -> Identity {
    Identity {
        user: Arc::new(user),
        scheme: SESSION.into(),
        // A session holds while its login's scheme is in the chain; here one scheme is both.
        method: SESSION.into(),
        issuer: "local".into(),
        level: Level(10),
        authenticated_at: clock.now(),
        attributes: Arc::default(),
        session: None,
        ambient: false,
        from: None,
    }
}

/// Recognises a session by a header: the gateway's own scheme, without its cookies.
#[derive(Debug)]
struct ByHeader {
    name: SchemeName,
    sessions: Arc<Sessions>,
}

#[async_trait]
impl Scheme for ByHeader {
    fn name(&self) -> &SchemeName {
        &self.name
    }

    fn presents(&self, request: &CheckRequest) -> bool {
        request.headers.contains_key(SESSION)
    }

    fn explicit(&self) -> bool {
        false
    }

    fn consumes(&self) -> &[Place] {
        &[]
    }

    async fn authenticate(&self, asked: &Asked<'_>, _: &mut Trail) -> Result<Outcome, Unavailable> {
        let token = asked.request.headers.get(SESSION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let found = self.sessions.find(&asked.found.tenant.id, asked.request.host.name(), token, asked.now).await?;
        Ok(match found {
            Ok(identity) => Outcome::Resumed(Box::new(Resumed { identity, sessions: Some(self.sessions.clone()) })),
            Err(reason) => Outcome::Rejected(Rejection::next(reason)),
        })
    }
}

#[derive(Debug)]
struct Nowhere;

impl Sink for Nowhere {
    fn record(&self, event: &Recorded) {
        std::hint::black_box(event);
    }
}

/// xorshift64: the same callers in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap_or(0)
    }
}
