//! The suite every backend runs, what may go wrong at opening, and kill -9 under load.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use uuid::Uuid;
use vestibule_engine::Timestamp;
use vestibule_engine::clock::SystemClock;
use vestibule_engine::identity::{TenantId, User, UserId, Username};
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;
use vestibule_engine::store::{DurableStore, ExpiringStore, Group, Insert, Key, KeyRecord, KeyState, Kind, conformance};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// A directory of its own, removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("vestibule-store-{}", Uuid::from_bytes(vestibule_engine::clock::random().unwrap())));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("store.db")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(path, Arc::new(SystemClock::default()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn embedded_conforms_as_expiring_store() {
    let directory = Directory::new();
    conformance::expiring(|clock| Arc::new(EmbeddedStore::open(&directory.file(), clock).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn embedded_conforms_as_durable_store() {
    let directory = Directory::new();
    conformance::durable(|| Arc::new(open(&directory.file()).unwrap())).await;
}

#[test]
fn the_file_is_for_its_owner_only() {
    let directory = Directory::new();
    std::fs::write(directory.file(), "").unwrap();
    std::fs::set_permissions(directory.file(), Permissions::from_mode(0o644)).unwrap();
    let store = open(&directory.file()).unwrap();
    for entry in std::fs::read_dir(&directory.0).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
    drop(store);
}

#[test]
fn a_store_is_opened_by_one_at_a_time() {
    let directory = Directory::new();
    let store = open(&directory.file()).unwrap();
    let refused = open(&directory.file()).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    drop(store);
    open(&directory.file()).unwrap();
}

#[test]
fn what_is_not_our_store_is_refused() {
    let directory = Directory::new();
    drop(open(&directory.file()).unwrap());
    let connection = Connection::open(directory.file()).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let refused = open(&directory.file()).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { found: 99, .. }));
    assert!(refused.to_string().contains("has schema 99, this program knows 3"), "{refused}");

    let foreign = directory.0.join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    assert!(matches!(open(&foreign).unwrap_err(), OpenError::Foreign { .. }));

    let text = directory.0.join("text");
    std::fs::write(&text, "no database, but long enough to be looked at as one".repeat(100)).unwrap();
    assert!(matches!(open(&text).unwrap_err(), OpenError::Database { .. }));
    assert!(matches!(open(&directory.0.join("no/such/directory")).unwrap_err(), OpenError::File { .. }));
}

#[tokio::test]
async fn a_statement_is_planned_once_whatever_it_is_given() {
    let directory = Directory::new();
    let store = open(&directory.file()).unwrap();
    let planned_anew = |connection: &Connection| {
        let mut statement = connection.prepare("SELECT id FROM entry WHERE expires <= ?1 ORDER BY expires LIMIT ?2")?;
        for most in 1..5 {
            statement.query_map([most, most], |row| row.get::<_, i64>(0))?.count();
        }
        Ok(statement.get_status(rusqlite::StatementStatus::RePrepare))
    };
    assert_eq!(store.readers.run(planned_anew).await.unwrap(), 0);
    assert_eq!(store.writer.run(planned_anew).await.unwrap(), 0);
}

#[tokio::test]
async fn dead_entries_are_reclaimed_by_later_writes_once_no_clock_is_so_far_behind() {
    let directory = Directory::new();
    let clock = Arc::new(vestibule_engine::clock::ManualClock::at(Timestamp::UNIX_EPOCH));
    let store = EmbeddedStore::open(&directory.file(), clock.clone()).unwrap();
    let key = |n: u32| Key::of(&TenantId::from("t"), Kind::Session, &[&n.to_be_bytes()]);
    let group = Group::of(&TenantId::from("t"), Kind::Session, "g");
    for n in 0..100 {
        store.insert(&key(n), b"v", HOUR, std::slice::from_ref(&group), None).await.unwrap();
    }
    let count = |sql: &'static str| store.readers.run(move |connection| connection.query_row(sql, [], |row| row.get::<_, i64>(0)));
    for (later, first, entries) in [(HOUR, 100, 110), (Duration::from_secs(10 * 60), 110, 20)] {
        clock.advance(later);
        for n in first..first + 10 {
            store.increment(&key(n), HOUR).await.unwrap();
        }
        assert_eq!(count("SELECT count(*) FROM entry").await.unwrap(), entries);
    }
    assert_eq!(count("SELECT count(*) FROM member").await.unwrap(), 0);
}

#[tokio::test]
async fn a_clock_that_jumps_and_is_set_right_revives_no_spent_token() {
    const JUMP: Duration = Duration::from_secs(5 * 60);
    let directory = Directory::new();
    let clock = Arc::new(vestibule_engine::clock::ManualClock::at(Timestamp::UNIX_EPOCH + HOUR));
    let store = EmbeddedStore::open(&directory.file(), clock.clone()).unwrap();
    let spent = Key::of(&TenantId::from("t"), Kind::Replay, &[b"id"]);
    assert_eq!(store.insert(&spent, b"", Duration::from_secs(60), &[], None).await.unwrap(), Insert::Inserted);
    clock.advance(JUMP);
    for n in 0..20 {
        store.increment(&key("counter", &n.to_string()), HOUR).await.unwrap();
    }
    clock.set_back(JUMP);
    assert_eq!(store.insert(&spent, b"", Duration::from_secs(60), &[], None).await.unwrap(), Insert::Exists);
}

#[tokio::test]
async fn a_failed_write_leaves_nothing_and_spoils_no_other() {
    let directory = Directory::new();
    let store = open(&directory.file()).unwrap();
    let halfway = store.writer.run(|connection| {
        connection.execute("INSERT INTO setting (name, value) VALUES ('half', x'00')", [])?;
        connection.execute("INSERT INTO no_such_table VALUES (1)", [])
    });
    let (failed, kept) = tokio::join!(halfway, store.setting_or_insert("whole", b"1"));
    assert!(failed.is_err());
    assert_eq!(kept.unwrap(), b"1");
    assert_eq!(store.setting("half").await.unwrap(), None);
    assert_eq!(store.setting("whole").await.unwrap().as_deref(), Some(b"1".as_slice()));
}

/// How often the child is killed.
const KILLS: u32 = 6;
/// Acknowledgements read before the child is killed.
const ACKNOWLEDGED: usize = 600;
/// Writers in the child, and how the child knows its store and round.
const WRITERS: u32 = 8;
const CHILD: &str = "VESTIBULE_TEST_STORE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_under_load_loses_nothing_acknowledged_and_revives_nothing_spent() {
    let directory = Directory::new();
    let mut acknowledged = BTreeSet::new();
    for round in 0..KILLS {
        acknowledged.extend(killed_under_load(&directory.file(), round));
        let store = open(&directory.file()).unwrap();
        for line in &acknowledged {
            holds(&store, line, &acknowledged).await.unwrap();
        }
    }
    let kinds: BTreeSet<&str> = acknowledged.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(kinds, BTreeSet::from(["ended", "key", "session", "spent", "token", "user"]), "the load must have done everything");
}

/// What a child acknowledged before it was killed.
fn killed_under_load(path: &Path, round: u32) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::embedded::tests::child_under_load", "--nocapture"])
        .env(CHILD, format!("{round} {}", path.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
    let mut acknowledged = Vec::new();
    let mut take = |line: io::Result<Vec<u8>>| {
        let line = String::from_utf8(line.unwrap()).unwrap();
        // The last line may be cut; a whole one ends with a full stop.
        acknowledged.extend(line.strip_prefix("ack ").and_then(|line| line.strip_suffix('.')).map(str::to_owned));
        acknowledged.len() < ACKNOWLEDGED
    };
    while take(lines.next().expect("the child ended by itself")) {}
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines {
        take(line);
    }
    acknowledged
}

/// Writes until killed; does nothing in an ordinary test run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_under_load() {
    let Ok(instructions) = std::env::var(CHILD) else { return };
    let (round, path) = instructions.split_once(' ').unwrap();
    let store = Arc::new(open(Path::new(path)).unwrap());
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(load(store.clone(), format!("{round}-{writer}")))).collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
}

async fn load(store: Arc<EmbeddedStore>, prefix: String) -> Result<(), Unavailable> {
    for n in 0u32.. {
        let name = format!("{prefix}-{n}");
        let acknowledge = |what: &str| writeln!(io::stdout().lock(), "ack {what} {name}.").unwrap();
        let group = group(&name);
        assert_eq!(store.insert(&key("session", &name), b"s", HOUR, std::slice::from_ref(&group), None).await?, Insert::Inserted);
        acknowledge("session");
        store.insert(&key("token", &name), b"t", HOUR, &[], None).await?;
        acknowledge("token");
        if n % 2 == 0 {
            assert!(store.take(&key("token", &name)).await?.is_some());
            acknowledge("spent");
        }
        if n % 3 == 0 {
            assert_eq!(store.remove_group(&group).await?, 1);
            acknowledge("ended");
        }
        if n % 5 == 0 {
            assert!(store.insert_user(&user(&name)?).await?);
            acknowledge("user");
            store.put_key(&key_record(&name)).await?;
            acknowledge("key");
        }
    }
    Ok(())
}

/// Asserts what one acknowledgement promises.
async fn holds(store: &EmbeddedStore, line: &str, all: &BTreeSet<String>) -> Result<(), Unavailable> {
    let (what, name) = line.split_once(' ').unwrap();
    let n: u32 = name.rsplit_once('-').unwrap().1.parse().unwrap();
    match what {
        // It may have been ended or spent without word of it, where the load was about to.
        "session" => assert!(n.is_multiple_of(3) || store.get(&key("session", name)).await?.is_some(), "lost: {line}"),
        "token" => assert!(n.is_multiple_of(2) || store.get(&key("token", name)).await?.is_some(), "lost: {line}"),
        "spent" => {
            assert_eq!(store.take(&key("token", name)).await?, None, "revived: {line}");
            assert!(all.contains(&format!("token {name}")));
        }
        "ended" => {
            assert_eq!(store.get(&key("session", name)).await?, None, "revived: {line}");
            assert!(store.list(&group(name), None, 1).await?.is_empty());
        }
        "user" => assert!(store.user_by_name(&tenant(), &Username::parse(name).unwrap()).await?.is_some(), "lost: {line}"),
        "key" => assert_eq!(store.keys(name).await?, [key_record(name)], "lost: {line}"),
        other => panic!("the child acknowledged {other}"),
    }
    Ok(())
}

fn tenant() -> TenantId {
    TenantId::from("t")
}

fn key(what: &str, name: &str) -> Key {
    Key::of(&tenant(), Kind::Session, &[what.as_bytes(), name.as_bytes()])
}

fn group(name: &str) -> Group {
    Group::of(&tenant(), Kind::Session, name)
}

fn user(name: &str) -> Result<User, Unavailable> {
    let id = UserId(Uuid::from_bytes(vestibule_engine::clock::random()?));
    Ok(User { id, ..conformance::user(&tenant(), name)? })
}

fn key_record(name: &str) -> KeyRecord {
    KeyRecord {
        id: name.into(),
        purpose: name.into(),
        algorithm: "ES256".into(),
        state: KeyState::Current,
        public: "{}".into(),
        sealed: Secret::new(vec![1]),
        created: Timestamp::UNIX_EPOCH,
        changed: Timestamp::UNIX_EPOCH,
    }
}
