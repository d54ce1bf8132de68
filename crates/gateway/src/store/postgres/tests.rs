//! The suite every backend runs, over a real PostgreSQL; two nodes; outages; the schema's versions.

use tokio::runtime::Handle;
use tokio::task::block_in_place;
use vestibule_engine::clock::{ManualClock, SystemClock};
use vestibule_engine::identity::{ExternalId, Issuer, PasswordHash, TenantId, User};
use vestibule_engine::store::{Change, ChangeStream, DurableStore, ExpiringStore, Group, Insert, Key, Kind, conformance};

use super::*;
use crate::config::pem;
use crate::store::peers;

const MINUTE: Duration = Duration::from_secs(60);

fn settings(server: &peers::Postgres) -> Settings {
    Settings {
        hosts: vec![Host::Network("127.0.0.1".to_owned(), server.port)],
        database: "postgres".to_owned(),
        user: "vestibule".to_owned(),
        password: Some(Secret::from(peers::PASSWORD)),
        tls: false,
        ca: Vec::new(),
        connections: 16,
        timeout: Duration::from_secs(20),
    }
}

async fn node(server: &peers::Postgres) -> PostgresStore {
    open(&settings(server)).await.unwrap()
}

async fn open(settings: &Settings) -> Result<PostgresStore, OpenError> {
    PostgresStore::open(settings, Arc::new(SystemClock::default()), &Handle::current()).await
}

fn now<T>(future: impl Future<Output = T>) -> T {
    block_in_place(|| Handle::current().block_on(future))
}

fn key(name: &str) -> Key {
    Key::of(&TenantId::from("north"), Kind::Session, &[name.as_bytes()])
}

async fn heard(stream: &mut ChangeStream, wanted: &Change) {
    let hearing = async { while stream.events.recv().await.as_ref() != Ok(wanted) {} };
    timeout(Duration::from_secs(10), hearing).await.expect("the change was not heard");
}

async fn becomes(mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not happen in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_conforms() {
    let Some(server) = peers::Postgres::start() else { return };
    let settings = settings(&server);
    let control = Handle::current();
    conformance::expiring(|clock| Arc::new(now(PostgresStore::open(&settings, clock, &control)).unwrap())).await;
    conformance::durable(|| Arc::new(now(open(&settings)).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_died_is_removed_once_no_clock_is_so_far_behind() {
    let Some(server) = peers::Postgres::start() else { return };
    let clock = Arc::new(ManualClock::at("2026-11-21T12:00:00Z".parse().unwrap()));
    let store = PostgresStore::open(&settings(&server), clock.clone(), &Handle::current()).await.unwrap();
    let group = Group::of(&TenantId::from("north"), Kind::Session, "g");
    for n in 0..20 {
        store.insert(&key(&n.to_string()), b"v", MINUTE, std::slice::from_ref(&group), None).await.unwrap();
    }
    store.insert(&key("live"), b"v", 20 * MINUTE, &[], None).await.unwrap();
    for (minutes, left) in [(5, "21|20"), (10, "1|0")] {
        clock.advance(minutes * MINUTE);
        expiring::remove_dead(&store.pool, &*store.clock).await.unwrap();
        let counted = "SELECT (SELECT count(*) FROM vestibule.entry), (SELECT count(*) FROM vestibule.member)";
        assert_eq!(server.psql(counted).as_deref(), Some(left));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_one_node_changes_another_hears_and_nobody_believes_a_cache_while_nothing_is_heard() {
    let Some(mut server) = peers::Postgres::start() else { return };
    let (here, there) = (node(&server).await, node(&server).await);
    let (mut entries, mut users) = (ExpiringStore::changes(&there), DurableStore::changes(&there));
    let group = Group::of(&TenantId::from("north"), Kind::Session, "ada");
    // More than fits into one message.
    for n in 0..200 {
        here.insert(&key(&n.to_string()), b"v", MINUTE, if n < 2 { &[] } else { std::slice::from_ref(&group) }, None).await.unwrap();
    }
    let (_, version) = there.get(&key("0")).await.unwrap().unwrap();
    assert!(here.replace(&key("0"), version, b"w").await.unwrap());
    heard(&mut entries, &Change::Key(key("0"))).await;
    assert!(here.take(&key("1")).await.unwrap().is_some());
    heard(&mut entries, &Change::Key(key("1"))).await;
    assert_eq!(here.remove_group(&group).await.unwrap(), 198);
    heard(&mut entries, &Change::All).await;
    let ada = conformance::user(&TenantId::from("north"), "ada").unwrap();
    assert!(here.insert_user(&ada).await.unwrap());
    assert!(here.update_user(&User { epoch: 1, ..ada.clone() }, 0).await.unwrap());
    heard(&mut users, &Change::User(ada.id)).await;

    let spent = Key::of(&TenantId::from("north"), Kind::Replay, &[b"spent"]);
    assert_eq!(here.insert(&spent, b"", MINUTE, &[], None).await.unwrap(), Insert::Inserted);
    server.stop();
    becomes(async || !entries.pulse.is_live() && !users.pulse.is_live()).await;
    for store in [&here, &there] {
        assert!(store.get(&key("0")).await.is_err() && store.user(ada.id).await.is_err(), "an outage is no answer");
    }
    server.resume();
    becomes(async || entries.pulse.is_live() && users.pulse.is_live() && there.get(&key("0")).await.is_ok()).await;
    heard(&mut entries, &Change::All).await;
    heard(&mut users, &Change::All).await;
    assert_eq!(there.get(&key("0")).await.unwrap().unwrap().0, b"w");
    assert_eq!(there.insert(&spent, b"", MINUTE, &[], None).await.unwrap(), Insert::Exists, "a spent token was revived");
    assert!(here.take(&key("0")).await.unwrap().is_some());
    heard(&mut entries, &Change::Key(key("0"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_no_text_can_hold_is_nobodys_and_no_outage() {
    let Some(server) = peers::Postgres::start() else { return };
    let store = node(&server).await;
    let odd = ExternalId { issuer: Issuer::from("https://idp.example"), id: "a\0b".to_owned() };
    assert_eq!(store.user_by_external_id(&TenantId::from("north"), &odd).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_is_made_once_goes_one_step_back_and_a_newer_one_is_refused() {
    let Some(server) = peers::Postgres::start() else { return };
    let settings = settings(&server);
    let version = || server.psql("SELECT version FROM vestibule.schema_version");
    let (one, two) = tokio::join!(open(&settings), open(&settings));
    let store = one.unwrap();
    drop(two.unwrap());
    assert_eq!(version().as_deref(), Some("4"));
    let ada = conformance::user(&TenantId::from("north"), "ada").unwrap();
    assert!(store.insert_user(&ada).await.unwrap());
    let sealed = PasswordHash(format!("{}x", PasswordHash::SEALED));
    let bob = User { password: Some(sealed.clone()), ..conformance::user(&TenantId::from("north"), "bob").unwrap() };
    assert!(store.insert_user(&bob).await.unwrap());
    assert!(matches!(step_back(&settings).await, Err(OpenError::InUse { .. })));
    drop(store);
    let alone = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vestibule'";
    becomes(async || server.psql(alone).as_deref() == Some("0")).await;
    let refused = step_back(&settings).await.unwrap_err();
    assert!(refused.to_string().contains("wait to be wrapped"), "the program before could not read it: {refused}");
    assert_eq!(version().as_deref(), Some("4"));
    let store = open(&settings).await.unwrap();
    assert!(store.replace_password(bob.id, &sealed, &PasswordHash("$wrapped".to_owned())).await.unwrap());
    drop(store);
    becomes(async || server.psql(alone).as_deref() == Some("0")).await;
    assert_eq!(step_back(&settings).await.unwrap(), 3);
    // The server takes a moment to see that somebody is gone.
    becomes(async || server.psql(alone).as_deref() == Some("0")).await;
    assert_eq!(step_back(&settings).await.unwrap(), 2);
    becomes(async || server.psql(alone).as_deref() == Some("0")).await;
    assert_eq!(step_back(&settings).await.unwrap(), 1);
    becomes(async || server.psql(alone).as_deref() == Some("0")).await;
    assert!(matches!(step_back(&settings).await, Err(OpenError::First { found: 1 })), "users would be lost");
    let store = open(&settings).await.unwrap();
    assert_eq!(version().as_deref(), Some("4"));
    assert_eq!(store.user(ada.id).await, Ok(Some(ada)));
    assert_eq!(store.get(&key("new")).await, Ok(None));
    drop(store);
    becomes(async || server.psql(alone).as_deref() == Some("0")).await;

    server.psql("UPDATE vestibule.schema_version SET version = 99").unwrap();
    let refused = open(&settings).await.unwrap_err();
    assert!(refused.to_string().contains("has schema 99, this program knows 4"), "{refused}");
    becomes(async || server.psql(alone).as_deref() == Some("0")).await;
    assert!(matches!(step_back(&settings).await, Err(OpenError::Newer { found: 99 })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_proves_itself_before_it_gets_a_password() {
    let Some(server) = peers::Postgres::start() else { return };
    let hosts = |name: &str| vec![Host::Network(name.to_owned(), server.port)];
    let ca = pem::certificates(&server.ca()).unwrap();
    let encrypted = Settings { hosts: hosts("localhost"), tls: true, ca: ca.clone(), ..settings(&server) };
    let store = open(&encrypted).await.unwrap();
    assert_eq!(store.get(&key("k")).await, Ok(None));
    let sessions = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'vestibule'";
    assert_eq!(server.psql(sessions).as_deref(), Some("t"));
    drop(store);

    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let strangers = Settings { ca: vec![other.cert.der().clone()], ..encrypted.clone() };
    let misnamed = Settings { hosts: hosts("127.0.0.1"), ..encrypted.clone() };
    let guess = Settings { password: Some(Secret::from("a wrong password")), ..encrypted };
    for (refused, reason) in [(strangers, "certificate"), (misnamed, "certificate"), (guess, "password authentication failed")] {
        let why = open(&refused).await.unwrap_err().to_string();
        assert!(why.contains(reason) && !why.contains("a wrong password"), "{why}");
    }
}
