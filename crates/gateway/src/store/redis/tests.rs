//! The suite every backend runs, over a real Redis, a Cluster and Sentinels; two nodes; outages; memory lost.

use tokio::task::block_in_place;
use tokio::time::timeout;
use vestibule_engine::clock::SystemClock;
use vestibule_engine::identity::TenantId;
use vestibule_engine::store::{Kind, conformance};

use super::*;
use crate::store::peers;

const MINUTE: Duration = Duration::from_secs(60);

fn settings(port: u16) -> Settings {
    Settings {
        hosts: vec![("127.0.0.1".to_owned(), port)],
        topology: Topology::Single,
        database: 0,
        user: None,
        password: Some(Secret::from(peers::PASSWORD)),
        sentinel_password: None,
        tls: false,
        ca: None,
        timeout: Duration::from_secs(3),
    }
}

async fn open(settings: &Settings) -> Result<RedisStore, Unavailable> {
    RedisStore::open(settings, Arc::new(SystemClock::default()), &Handle::current()).await
}

fn key(name: &str) -> Key {
    Key::of(&TenantId::from("north"), Kind::Session, &[name.as_bytes()])
}

async fn heard(stream: &mut ChangeStream, wanted: &Change) {
    let hearing = async { while stream.events.recv().await.as_ref() != Ok(wanted) {} };
    timeout(Duration::from_secs(10), hearing).await.expect("the change was not heard");
}

async fn becomes(mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..1500 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not happen in time");
}

async fn conforms(settings: &Settings) {
    let control = Handle::current();
    conformance::expiring(|clock| Arc::new(block_in_place(|| control.block_on(RedisStore::open(settings, clock, &control))).unwrap()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_conforms() {
    let Some(server) = peers::Redis::start(&[]) else { return };
    conforms(&settings(server.port)).await;
    let wrong = Settings { password: Some(Secret::from("a wrong password")), ..settings(server.port) };
    let refused = open(&wrong).await.unwrap_err().to_string();
    assert!(!refused.contains("a wrong password"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn valkey_conforms() {
    let Some(server) = peers::Redis::valkey() else { return };
    conforms(&settings(server.port)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_that_comes_late_makes_no_cache_believed() {
    let Some(server) = peers::Redis::start(&[]) else { return };
    let wire = peers::Wire::to(server.port);
    let store = open(&settings(wire.port)).await.unwrap();
    let changes = store.changes();
    assert!(changes.pulse.is_live());
    // Each beat is answered in the end, but what it proves is long ago.
    wire.delay(Duration::from_millis(600));
    becomes(async || !changes.pulse.is_live()).await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!changes.pulse.is_live(), "a late answer was taken for news");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_conforms_over_tls_and_proves_itself_first() {
    let arguments = [
        "--tls-port",
        "{port}",
        "--tls-auth-clients",
        "no",
        "--tls-cert-file",
        "{dir}/server.pem",
        "--tls-key-file",
        "{dir}/server.key",
        "--tls-ca-cert-file",
        "{dir}/ca.pem",
    ];
    let Some(server) = peers::Redis::start(&arguments) else { return };
    let ca = std::fs::read(server.directory.join("ca.pem")).unwrap();
    let encrypted = Settings { hosts: vec![("localhost".to_owned(), server.port)], tls: true, ca: Some(ca), ..settings(server.port) };
    conforms(&encrypted).await;
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    assert!(open(&Settings { ca: Some(other.cert.pem().into_bytes()), ..encrypted.clone() }).await.is_err());
    assert!(open(&Settings { hosts: settings(server.port).hosts, ..encrypted }).await.is_err(), "another name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_conforms() {
    let arguments = ["--cluster-enabled", "yes", "--masterauth", peers::PASSWORD];
    let Some(nodes) = (0..3).map(|_| peers::Redis::start(&arguments)).collect::<Option<Vec<_>>>() else { return };
    let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let mut create = vec!["--cluster-yes", "--cluster", "create"];
    create.extend(addresses.iter().map(String::as_str));
    let made = nodes[0].cli(&create);
    becomes(async || nodes.iter().all(|node| node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok"))).await;
    let hosts = nodes.iter().map(|node| ("127.0.0.1".to_owned(), node.port)).collect();
    let settings = Settings { hosts, topology: Topology::Cluster, ..settings(0) };
    conforms(&settings).await;
    drop(made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_one_node_changes_another_hears_and_nobody_believes_a_cache_while_nothing_is_heard() {
    let Some(server) = peers::Redis::start(&[]) else { return };
    let settings = Settings { timeout: Duration::from_millis(500), ..settings(server.port) };
    let (here, there) = (open(&settings).await.unwrap(), open(&settings).await.unwrap());
    let mut changes = there.changes();
    let group = Group::of(&TenantId::from("north"), Kind::Session, "ada");
    for name in ["a", "b", "c"] {
        here.insert(&key(name), b"v", MINUTE, std::slice::from_ref(&group), None).await.unwrap();
    }
    assert!(here.take(&key("a")).await.unwrap().is_some());
    heard(&mut changes, &Change::Key(key("a"))).await;
    assert_eq!(there.remove_group(&group).await.unwrap(), 2);
    assert_eq!(here.get(&key("b")).await, Ok(None));

    here.insert(&key("kept"), b"v", MINUTE, &[], None).await.unwrap();
    server.freeze(true);
    becomes(async || !changes.pulse.is_live()).await;
    assert!(here.get(&key("kept")).await.is_err(), "an outage is no answer");
    server.freeze(false);
    becomes(async || changes.pulse.is_live() && there.get(&key("kept")).await.is_ok()).await;
    assert!(there.get(&key("kept")).await.unwrap().is_some(), "a server that was slow has forgotten nothing");
    assert!(here.take(&key("kept")).await.unwrap().is_some());
    heard(&mut changes, &Change::Key(key("kept"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restarted_redis_revives_nothing_even_what_it_remembers() {
    let Some(mut server) = peers::Redis::start(&["--appendonly", "yes"]) else { return };
    let store = open(&settings(server.port)).await.unwrap();
    store.insert(&key("session"), b"v", MINUTE, &[], None).await.unwrap();
    let changes = store.changes();
    server.stop();
    becomes(async || !changes.pulse.is_live()).await;
    assert!(store.get(&key("session")).await.is_err(), "an outage is no log-out");
    server.resume();
    becomes(async || changes.pulse.is_live() && store.get(&key("session")).await.is_ok()).await;
    assert!(server.cli(&["--scan"]).contains(key("session").as_str()), "the server itself remembers");
    assert_eq!(store.get(&key("session")).await, Ok(None));
    assert_eq!(store.insert(&key("session"), b"v", MINUTE, &[], None).await, Ok(Insert::Inserted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sentinels_lead_to_the_new_primary_which_revives_nothing() {
    let Some(primary) = peers::Redis::start(&["--masterauth", peers::PASSWORD]) else { return };
    let port = primary.port.to_string();
    let Some(replica) = peers::Redis::start(&["--masterauth", peers::PASSWORD, "--replicaof", &format!("127.0.0.1 {port}")]) else {
        return;
    };
    becomes(async || replica.cli(&["INFO", "replication"]).contains("master_link_status:up")).await;
    let configuration = primary.directory.join("sentinel.conf");
    let lines = format!(
        "sentinel monitor vestibule 127.0.0.1 {port} 1\nsentinel auth-pass vestibule \"{}\"\n\
         sentinel down-after-milliseconds vestibule 1000\nsentinel failover-timeout vestibule 3000\n",
        peers::PASSWORD
    );
    std::fs::write(&configuration, lines).unwrap();
    let Some(sentinel) = peers::Redis::start_with(&[configuration.to_str().unwrap(), "--sentinel"]) else { return };
    let settings = Settings { topology: Topology::Sentinel("vestibule".to_owned()), ..settings(sentinel.port) };
    becomes(async || sentinel.cli(&["SENTINEL", "REPLICAS", "vestibule"]).contains(&replica.port.to_string())).await;
    let store = Arc::new(open(&settings).await.unwrap());
    store.insert(&key("session"), b"v", MINUTE, &[], None).await.unwrap();
    store.insert(&key("ended"), b"v", MINUTE, &[], None).await.unwrap();
    assert!(store.take(&key("ended")).await.unwrap().is_some());
    becomes(async || replica.cli(&["--scan"]).contains(key("session").as_str())).await;
    // Others go on all the while: an answer is the truth or an outage, never what was ended.
    let load: Vec<_> = (0..8)
        .map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                let (mut answered, mut out) = (0, 0);
                for turn in 0.. {
                    match store.get(&key("ended")).await {
                        Ok(found) => assert_eq!(found, None, "what was ended lives again"),
                        Err(_) => out += 1,
                    }
                    match store.insert(&key(&format!("load {caller} {turn}")), b"v", MINUTE, &[], None).await {
                        Ok(inserted) => assert_eq!(inserted, Insert::Inserted),
                        Err(_) => out += 1,
                    }
                    answered += 1;
                    if store.get(&key("over")).await.is_ok_and(|found| found.is_some()) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                (answered, out)
            })
        })
        .collect();
    primary.freeze(true);
    becomes(async || store.get(&key("session")).await == Ok(None)).await;
    assert_eq!(store.insert(&key("over"), b"", MINUTE, &[], None).await, Ok(Insert::Inserted));
    for caller in load {
        let (answered, out) = caller.await.unwrap();
        assert!(answered > 1 && out > 0, "{answered} {out}");
    }
    assert_eq!(store.insert(&key("new"), b"v", MINUTE, &[], None).await, Ok(Insert::Inserted));
    assert!(replica.cli(&["--scan"]).contains(key("new").as_str()));
    primary.freeze(false);
}
