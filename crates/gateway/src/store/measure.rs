//! What a look-up costs on each back end: how many round trips, and whether it grows with the number of sessions.
//!
//! `bench/stores` runs these at full size and prints times; in the gate they are small, and only what is counted is asserted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use vestibule_engine::audit::Trail;
use vestibule_engine::clock::{Clock, SystemClock};
use vestibule_engine::identity::{Identity, Level, TenantId, User};
use vestibule_engine::session::{Sessions, Settings};
use vestibule_engine::store::memory::{MemoryDurableStore, MemoryStore};
use vestibule_engine::store::{DurableStore, ExpiringStore, Group, Insert, Key, Kind, conformance};
use vestibule_engine::users::Users;

use super::embedded::EmbeddedStore;
use super::peers::{PASSWORD, Postgres, Redis, Wire};
use super::postgres::PostgresStore;
use super::redis::RedisStore;
use super::{postgres, redis};

const HOST: &str = "app.north.example.com";
const DAY: Duration = Duration::from_secs(86_400);
/// Round trips that beats and sweeps may cost meanwhile.
const BESIDES: u64 = 40;
/// Tasks that write at once.
const WRITERS: usize = 64;
/// Look-ups timed, one after another.
const LOOK_UPS: usize = 1000;
/// Users among whom sessions are shared out.
const OWNERS: usize = 1000;

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

fn tenant() -> TenantId {
    TenantId::from("north")
}

async fn postgres_at(port: u16) -> PostgresStore {
    let settings = postgres::Settings {
        hosts: vec![postgres::Host::Network("127.0.0.1".to_owned(), port)],
        database: "postgres".to_owned(),
        user: "vestibule".to_owned(),
        password: Some(PASSWORD.into()),
        tls: false,
        ca: Vec::new(),
        connections: 16,
        timeout: Duration::from_secs(20),
    };
    PostgresStore::open(&settings, clock(), &Handle::current()).await.unwrap()
}

async fn redis_at(port: u16) -> RedisStore {
    let settings = redis::Settings {
        hosts: vec![("127.0.0.1".to_owned(), port)],
        topology: redis::Topology::Single,
        database: 0,
        user: None,
        password: Some(PASSWORD.into()),
        sentinel_password: None,
        tls: false,
        ca: None,
        timeout: Duration::from_secs(20),
    };
    RedisStore::open(&settings, clock(), &Handle::current()).await.unwrap()
}

/// A node's sessions over these stores.
fn node(expiring: Arc<dyn ExpiringStore>, durable: Arc<dyn DurableStore>) -> Sessions {
    let users = Arc::new(Users::new(durable, Duration::from_secs(1)));
    Sessions::new(expiring, users, Settings { per_user: u32::MAX, ..Settings::default() })
}

fn identity(user: User) -> Identity {
    Identity {
        user: Arc::new(user),
        scheme: "form".into(),
        method: "form".into(),
        issuer: "local".into(),
        level: Level(10),
        authenticated_at: clock().now(),
        attributes: Arc::default(),
        session: None,
        ambient: false,
        from: None,
    }
}

async fn open(sessions: &Sessions, user: &User) -> String {
    let opened = sessions.open(&identity(user.clone()), HOST, clock().now(), &mut Trail::new(clock())).await.unwrap();
    opened.token.reveal().clone()
}

async fn find(sessions: &Sessions, token: &str) {
    assert!(sessions.find(&tenant(), HOST, token, clock().now()).await.unwrap().is_ok());
}

/// Sessions that one node opens and another looks up, each for the first time and again.
async fn round_trips(wire: &Wire, here: &Sessions, there: &Sessions, user: &User) {
    let mut tokens = Vec::new();
    for _ in 0..201 {
        tokens.push(open(here, user).await);
    }
    let (first, tokens) = tokens.split_first().unwrap();
    // Whoever comes first brings the user, and has statements prepared.
    find(there, first).await;
    let before = wire.exchanges();
    for token in tokens {
        find(there, token).await;
    }
    let cold = wire.exchanges() - before;
    assert!((200..200 + BESIDES).contains(&cold), "200 cold look-ups cost {cold} round trips");
    for token in tokens.iter().chain(tokens) {
        find(there, token).await;
    }
    let warm = wire.exchanges() - before - cold;
    assert!(warm < BESIDES, "400 warm look-ups cost {warm} round trips");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_look_up_is_one_round_trip_to_postgres_and_a_warm_one_none() {
    let Some(server) = Postgres::start() else { return };
    let wire = Wire::to(server.port);
    let (here, there) = (Arc::new(postgres_at(wire.port).await), Arc::new(postgres_at(wire.port).await));
    let ada = conformance::user(&tenant(), "ada").unwrap();
    assert!(here.insert_user(&ada).await.unwrap());
    round_trips(&wire, &node(here.clone(), here), &node(there.clone(), there), &ada).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_look_up_is_one_round_trip_to_redis_and_a_warm_one_none() {
    let Some(server) = Redis::start(&[]) else { return };
    let wire = Wire::to(server.port);
    let users = Arc::new(MemoryDurableStore::default());
    let ada = conformance::user(&tenant(), "ada").unwrap();
    assert!(users.insert_user(&ada).await.unwrap());
    let (here, there) = (Arc::new(redis_at(wire.port).await), Arc::new(redis_at(wire.port).await));
    round_trips(&wire, &node(here, users.clone()), &node(there, users), &ada).await;
}

/// How many sessions there are in the end; `bench/stores` wants a million.
fn many() -> usize {
    std::env::var("VESTIBULE_MEASURE_SESSIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(2000)
}

fn key(number: usize) -> Key {
    Key::of(&tenant(), Kind::Session, &[&number.to_be_bytes()])
}

/// Puts sessions `from..to` into a store, as logins do.
async fn fill(store: &Arc<dyn ExpiringStore>, from: usize, to: usize) {
    let next = Arc::new(AtomicUsize::new(from));
    let writers = (0..WRITERS).map(|_| {
        let (store, next) = (store.clone(), next.clone());
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= to {
                    return;
                }
                let groups = [
                    Group::of(&tenant(), Kind::Session, format_args!("user:{}", number % OWNERS)),
                    Group::of(&tenant(), Kind::Session, format_args!("login:{number}")),
                ];
                let inserted = store.insert(&key(number), &[7; 110], DAY, &groups, None).await.unwrap();
                assert_eq!(inserted, Insert::Inserted);
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

/// The median of look-ups of sessions drawn from all, others in each `round`; `before` each, something else happens.
async fn look_up(store: &Arc<dyn ExpiringStore>, all: usize, round: usize, before: &impl AsyncFn()) -> Duration {
    let mut took = Vec::new();
    for turn in round * LOOK_UPS..(round + 1) * LOOK_UPS {
        // A step that shares no factor with any size here visits them all over the place.
        let key = key(turn * 7_368_787 % all);
        before().await;
        let began = Instant::now();
        assert!(store.get(&key).await.unwrap().is_some());
        took.push(began.elapsed());
    }
    took.sort_unstable();
    took[took.len() / 2]
}

/// The median of look-ups from a warm cache.
async fn look_up_warm(store: Arc<dyn ExpiringStore>) -> Duration {
    let users = Arc::new(MemoryDurableStore::default());
    let ada = conformance::user(&tenant(), "ada").unwrap();
    assert!(users.insert_user(&ada).await.unwrap());
    let sessions = node(store, users);
    let token = open(&sessions, &ada).await;
    find(&sessions, &token).await;
    let mut took = Vec::new();
    for _ in 0..101 {
        let began = Instant::now();
        for _ in 0..100 {
            find(&sessions, &token).await;
        }
        took.push(began.elapsed() / 100);
    }
    took.sort_unstable();
    took[took.len() / 2]
}

/// `reader` is the same store for who only looks up: of PostgreSQL's connections that one knows one, whoever else wrote by many.
async fn measured(name: &str, store: Arc<dyn ExpiringStore>, reader: Arc<dyn ExpiringStore>) {
    let (few, many) = (1000, many());
    let quiet = async || {};
    // What was read before is out of date then, whatever the store keeps of it.
    let written = async || {
        assert!(store.increment(&Key::of(&tenant(), Kind::Throttle, &[b"others"]), DAY).await.unwrap() > 0);
    };
    fill(&store, 0, few).await;
    // Once without being counted: statements are prepared, pages are read.
    look_up(&reader, few, 0, &quiet).await;
    let warm = look_up_warm(store.clone()).await;
    let small = look_up(&reader, few, 1, &quiet).await;
    let small_beside = look_up(&reader, few, 2, &written).await;
    let began = Instant::now();
    fill(&store, few, many).await;
    let opened = (many - few) as f64 / began.elapsed().as_secs_f64();
    look_up(&reader, many, 0, &quiet).await;
    let large = look_up(&reader, many, 1, &quiet).await;
    let large_beside = look_up(&reader, many, 2, &written).await;
    println!(
        "{name:>10}: warm {:>7.1} us, cold {:>7.1} us with {few}, {:>7.1} us with {many}, ratio {:.2}; each after a write {:>7.1} and {:>7.1} us, \
         ratio {:.2}; {opened:.0} opened/s",
        micros(warm),
        micros(small),
        micros(large),
        micros(large) / micros(small),
        micros(small_beside),
        micros(large_beside),
        micros(large_beside) / micros(small_beside),
    );
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn look_ups_among_few_and_many_sessions() {
    let memory = Arc::new(MemoryStore::new(clock()));
    measured("memory", memory.clone(), memory).await;
    let directory = std::env::temp_dir().join(format!("vestibule-measure-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let embedded = Arc::new(EmbeddedStore::open(&directory.join("store.db"), clock()).unwrap());
    measured("embedded", embedded.clone(), embedded).await;
    std::fs::remove_dir_all(&directory).unwrap();
    if let Some(server) = Postgres::start() {
        measured("postgres", Arc::new(postgres_at(server.port).await), Arc::new(postgres_at(server.port).await)).await;
    }
    if let Some(server) = Redis::start(&[]) {
        let redis = Arc::new(redis_at(server.port).await);
        measured("redis", redis.clone(), redis).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_opened_on_redis() {
    let Some(server) = Redis::start(&[]) else { return };
    let users = Arc::new(MemoryDurableStore::default());
    let ada = conformance::user(&tenant(), "ada").unwrap();
    assert!(users.insert_user(&ada).await.unwrap());
    let store = Arc::new(redis_at(server.port).await);
    let sessions = Arc::new(node(store.clone(), users));
    let each = many() / WRITERS;
    let began = Instant::now();
    let openers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (sessions, ada) = (sessions.clone(), ada.clone());
            tokio::spawn(async move {
                for _ in 0..each {
                    open(&sessions, &ada).await;
                }
            })
        })
        .collect();
    for opener in openers {
        opener.await.unwrap();
    }
    let opened = (each * WRITERS) as f64 / began.elapsed().as_secs_f64();
    // The least that a round trip can be: nothing is found.
    let began = Instant::now();
    let askers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0..each {
                    assert_eq!(store.get(&key(number)).await.unwrap(), None);
                }
            })
        })
        .collect();
    for asker in askers {
        asker.await.unwrap();
    }
    let asked = (each * WRITERS) as f64 / began.elapsed().as_secs_f64();
    println!("     redis: {opened:.0} sessions opened/s by {WRITERS} callers of one node, {:.2} of its bare round trips/s", opened / asked);
}
