//! A copy of the store as it is at one moment, and the way back from one.
//!
//! Whoever restores must not revive anything: sessions that were ended, codes and tokens that were spent since the copy was
//! made. So the store's epoch rises to one that never was, what could be taken once is gone, and the ids of used tokens come
//! along from the store that is replaced. Where that is lost, the caller must wait until no such token can be alive.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use vestibule_engine::Timestamp;
use vestibule_engine::clock::random;
use vestibule_engine::secret::Secret;

use super::super::REMAINS;
use super::{APPLICATION_ID, EmbeddedStore, MIGRATIONS, OpenError, connect, expiring, lock};

/// How the name of a copy goes on behind the store's, until somebody takes it away.
const COPY: &str = ".copy-";
/// Entries that would revive something: sessions, one-shot codes, quotas. Closed gates and used tokens stay.
const REVIVING: &str = "key GLOB '{*}:[shq]:*'";
/// Entries that the store which is replaced knows better.
const BETTER_KNOWN: &str = "key GLOB '{*}:[rt]:*'";

/// Why a copy cannot be made, or not be restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is no store of ours, a newer one, or cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Something in it is not as it was written.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// The keys in it rest under another key-encryption key.
    #[error("the backup was sealed under another key-encryption key")]
    Sealed,
}

/// What a copy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// The schema's version.
    pub schema: i64,
    /// Users in it.
    pub users: u64,
}

/// What a restoration came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What was restored.
    pub contents: Contents,
    /// Where the store that was there is now.
    pub replaced: Option<PathBuf>,
    /// Whether the ids of tokens used since the backup came along.
    pub knows_used_tokens: bool,
}

impl EmbeddedStore {
    /// Copies the store into a new file beside it, while it goes on. Blocks.
    ///
    /// # Errors
    /// A [`BackupError`]; nothing is left behind.
    pub fn copy(&self) -> Result<PathBuf, BackupError> {
        let nonce =
            u64::from_be_bytes(random().map_err(|down| OpenError::File { path: self.path.clone(), source: io::Error::other(down) })?);
        let copy = beside(&self.path, &format!("{COPY}{nonce:016x}"));
        let made = self.copy_to(&copy);
        if made.is_err() {
            // What was begun is of no use.
            let _ = fs::remove_file(&copy);
        }
        made.map(|()| copy)
    }

    fn copy_to(&self, copy: &Path) -> Result<(), BackupError> {
        let in_database = |source| OpenError::Database { path: self.path.clone(), source };
        // Made before SQLite does, so that it never exists with another mode.
        super::create(copy).map_err(at(copy))?;
        let name = copy.to_str().ok_or_else(|| at(copy)(io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8")))?;
        let connection = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(in_database)?;
        // One read transaction: writers go on in the write-ahead log.
        connection.execute("VACUUM INTO ?1", [name]).map_err(in_database)?;
        File::open(copy).and_then(|file| file.sync_all()).map_err(at(copy))?;
        Ok(())
    }
}

/// Removes copies that nobody took away.
pub(super) fn forget_copies(store: &Path) -> io::Result<()> {
    let (Some(directory), Some(name)) = (store.parent(), store.file_name().and_then(|name| name.to_str())) else { return Ok(()) };
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().and_then(|found| found.strip_prefix(name)).is_some_and(|rest| rest.starts_with(COPY)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Looks into a copy, and reads all of it.
///
/// # Errors
/// A [`BackupError`].
pub fn inspect(copy: &Path) -> Result<Contents, BackupError> {
    inspected(
        &connect(copy, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|source| OpenError::Database { path: copy.to_owned(), source })?,
        copy,
    )
}

fn inspected(connection: &Connection, path: &Path) -> Result<Contents, BackupError> {
    let damaged = |error: rusqlite::Error| BackupError::Damaged(error.to_string());
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(damaged);
    if number("PRAGMA application_id")? != i64::from(APPLICATION_ID) {
        return Err(OpenError::Foreign { path: path.to_owned() }.into());
    }
    let schema = number("PRAGMA user_version")?;
    if usize::try_from(schema).is_ok_and(|schema| schema > MIGRATIONS.len()) {
        return Err(OpenError::Newer { path: path.to_owned(), found: schema }.into());
    }
    let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(damaged)?;
    if verdict != "ok" {
        return Err(BackupError::Damaged(verdict));
    }
    if connection.query_row("PRAGMA foreign_key_check", [], |_| Ok(())).optional().map_err(damaged)?.is_some() {
        return Err(BackupError::Damaged("something in it points to nobody".to_owned()));
    }
    Ok(Contents { schema, users: number("SELECT count(*) FROM user")?.cast_unsigned() })
}

/// Puts a copy in the place of the store, of which no gateway may make use meanwhile. `opens` says whether a secret of it can
/// be opened; `unknown_until` is from when on it may serve if the ids of used tokens are lost.
///
/// # Errors
/// A [`BackupError`]; the store is as it was then.
pub fn restore(
    copy: &Path,
    store: &Path,
    now: Timestamp,
    opens: impl Fn(&Secret<Vec<u8>>) -> bool,
    unknown_until: (&str, Timestamp),
) -> Result<Restored, BackupError> {
    let _lock = lock(store)?;
    let coming = beside(store, ".restoring");
    let _ = fs::remove_file(&coming);
    super::create(&coming).map_err(at(&coming))?;
    fs::copy(copy, &coming).map_err(at(copy))?;
    // Copying carries the mode along.
    super::create(&coming).map_err(at(&coming))?;

    let in_database = |source| OpenError::Database { path: coming.clone(), source };
    let connection = connect(&coming, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(in_database)?;
    let contents = inspected(&connection, copy)?;
    let sealed = "SELECT value FROM setting WHERE name = 'secret:pages'";
    let sealed: Option<Vec<u8>> = connection.query_row(sealed, [], |row| row.get(0)).optional().map_err(in_database)?;
    if sealed.is_some_and(|sealed| !opens(&Secret::new(sealed))) {
        return Err(BackupError::Sealed);
    }
    // One file, without companions.
    connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(in_database)?;
    let present = store.exists().then(|| settled(store)).flatten();
    let knows_used_tokens = present.is_some_and(|epoch| adopt(&connection, store, now, epoch).is_ok());
    end_everything(&connection, now, (!knows_used_tokens).then_some(unknown_until)).map_err(in_database)?;
    drop(connection);
    File::open(&coming).and_then(|file| file.sync_all()).map_err(at(&coming))?;

    let replaced = set_aside(store, now).map_err(at(store))?;
    fs::rename(&coming, store).map_err(at(store))?;
    if let Some(directory) = store.parent() {
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(at(directory))?;
    }
    Ok(Restored { contents, replaced, knows_used_tokens })
}

/// Brings what is in the store's write-ahead log into the store. Its epoch, if it can be read.
fn settled(store: &Path) -> Option<i64> {
    let connection = connect(store, OpenFlags::SQLITE_OPEN_READ_WRITE).ok()?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).ok()?;
    connection.query_row("SELECT epoch FROM installation", [], |row| row.get(0)).ok()
}

/// Takes over what the present store knows better.
fn adopt(connection: &Connection, store: &Path, now: Timestamp, epoch: i64) -> rusqlite::Result<()> {
    let name = store.to_str().ok_or(rusqlite::Error::InvalidPath(store.to_owned()))?;
    connection.execute("ATTACH ?1 AS present", [name])?;
    let adopted = (|| {
        let transaction = connection.unchecked_transaction()?;
        transaction.execute(&format!("DELETE FROM main.entry WHERE {BETTER_KNOWN}"), [])?;
        let sql = format!(
            "INSERT INTO main.entry (key, value, version, expires)
                SELECT key, value, version, expires FROM present.entry WHERE {BETTER_KNOWN} AND expires > ?1"
        );
        // As long as the store itself keeps them: a clock set back makes them count again.
        transaction.execute(&sql, [expiring::micros(now).saturating_sub(REMAINS)])?;
        transaction.execute("UPDATE main.installation SET epoch = max(epoch, ?1)", [epoch])?;
        transaction.commit()
    })();
    connection.execute("DETACH present", [])?;
    adopted
}

/// After this nothing that began before holds. The epoch is one that no backup has seen: of two restorations of one backup the
/// second must end what began after the first.
fn end_everything(connection: &Connection, now: Timestamp, unknown_until: Option<(&str, Timestamp)>) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute(&format!("DELETE FROM entry WHERE {REVIVING}"), [])?;
    transaction.execute("UPDATE installation SET epoch = max(epoch + 1, ?1)", [now.as_second()])?;
    if let Some((name, until)) = unknown_until {
        let sql = "INSERT OR REPLACE INTO setting (name, value) VALUES (?1, ?2)";
        transaction.execute(sql, params![name, until.to_string().into_bytes()])?;
    }
    transaction.commit()
}

/// Keeps the store that is replaced, under another name. It stays in its place, too, until another takes it at once.
fn set_aside(store: &Path, now: Timestamp) -> io::Result<Option<PathBuf>> {
    if !store.exists() {
        return Ok(None);
    }
    let aside = beside(store, &format!(".replaced-{}", now.as_microsecond()));
    fs::hard_link(store, &aside)?;
    // They are there only if it could not be opened; beside another store they would be taken for its own.
    for companion in ["-wal", "-shm"] {
        match fs::rename(beside(store, companion), beside(&aside, companion)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(Some(aside))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn at(path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::File { path: path.clone(), source }
}
