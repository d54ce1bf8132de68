//! SQLite, one file, one writer: both stores of a single machine.
//!
//! Every write is on the disk before it is acknowledged (WAL, `synchronous=FULL`), or a power cut would bring a spent
//! token back (attack 43); writes that wait together share one commit. An attacker who can read the file finds
//! hashes of tokens, hashes of passwords and sealed keys, and it is readable by its owner only.

mod backup;
mod durable;
mod expiring;
mod lane;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use vestibule_engine::clock::Clock;
use vestibule_engine::store::Changes;

use super::REMAINS;
pub use backup::{inspect, restore};
use lane::Lane;

/// The schema's versions in order; the file says in `user_version` how many it has.
const MIGRATIONS: [&str; 3] =
    [include_str!("embedded/migrations/1.sql"), include_str!("embedded/migrations/2.sql"), include_str!("embedded/migrations/3.sql")];
/// Marks the file as ours: `vest`.
const APPLICATION_ID: i32 = 0x7665_7374;
/// Threads that read.
const READERS: usize = 2;
/// How long a connection waits for another one's lock.
const BUSY: Duration = Duration::from_secs(5);
/// Pages in the write-ahead log that make a commit copy them into the database: random keys touch many pages, so that
/// SQLite's own 1000 would have it copy all the time.
const CHECKPOINT: i64 = 4 * 1024;
/// The most the write-ahead log keeps on disk after that, in octets.
const LOG_KEPT: i64 = 64 << 20;

/// Both stores in one SQLite file.
#[derive(Debug)]
pub struct EmbeddedStore {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    writer: Lane,
    readers: Lane,
    entries: Arc<Changes>,
    users: Arc<Changes>,
}

/// Why the file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system said no.
    #[error("the store {} cannot be opened: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// SQLite said no.
    #[error("the store {} cannot be opened: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
    /// Another process has it open: its caches would not hear of our changes.
    #[error("the store {} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Another program's database.
    #[error("{} is a database, but not one of Vestibule", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Written by a newer program, which may mean things we would overlook.
    #[error("the store {} has schema {found}, this program knows {} at most: use the newer program", path.display(), MIGRATIONS.len())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema's version.
        found: i64,
    },
}

impl EmbeddedStore {
    /// Opens the store in this file, or makes it.
    ///
    /// # Errors
    /// An [`OpenError`] whose text can be shown to the operator.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let at = |source| OpenError::File { path: path.to_owned(), source };
        let lock = lock(path)?;
        create(path).map_err(at)?;
        // An absolute path cannot be one of SQLite's magic names.
        let absolute = path.canonicalize().map_err(at)?;
        backup::forget_copies(&absolute).map_err(at)?;

        let in_database = |source| OpenError::Database { path: path.to_owned(), source };
        let mut connection = connect(&absolute, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(in_database)?;
        prepare(&mut connection, path)?;
        let mut reading = Vec::new();
        for _ in 0..READERS {
            reading.push(connect(&absolute, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(in_database)?);
        }

        let (entries, users) = (Arc::new(Changes::default()), Arc::new(Changes::default()));
        let watched = vec![entries.clone(), users.clone()];
        let time = clock.clone();
        let sweep = move |connection: &Connection, most: usize| {
            let before = expiring::micros(time.now()).saturating_sub(REMAINS);
            expiring::sweep(connection, before, most)
        };
        Ok(Self {
            path: absolute,
            clock,
            writer: Lane::writing(connection, lock, watched, sweep).map_err(at)?,
            readers: Lane::reading(reading).map_err(at)?,
            entries,
            users,
        })
    }
}

/// Takes the lock that keeps other processes out. A file of its own: closing any descriptor of the database itself
/// would drop SQLite's locks on it.
fn lock(path: &Path) -> Result<File, OpenError> {
    let at = |source| OpenError::File { path: path.to_owned(), source };
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(name).map_err(at)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => Err(at(source)),
    }
}

/// Makes the file before SQLite does, so that it never exists with another mode. Its companions inherit the mode.
fn create(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // Or a statement is planned anew for each value it is given, which costs more than the statement.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// Sets the writer up and brings the schema to the newest version.
fn prepare(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let in_database = |source| OpenError::Database { path: path.to_owned(), source };
    let number = |connection: &Connection, sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(in_database);

    let tables = number(connection, "SELECT count(*) FROM sqlite_schema")?;
    if tables > 0 && number(connection, "PRAGMA application_id")? != i64::from(APPLICATION_ID) {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    let found = number(connection, "PRAGMA user_version")?;
    let Some(missing) = usize::try_from(found).ok().and_then(|known| MIGRATIONS.get(known..)) else {
        return Err(OpenError::Newer { path: path.to_owned(), found });
    };
    let mut settle = || {
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.query_row(&format!("PRAGMA wal_autocheckpoint = {CHECKPOINT}"), [], |_| Ok(()))?;
        connection.query_row(&format!("PRAGMA journal_size_limit = {LOG_KEPT}"), [], |_| Ok(()))?;
        if missing.is_empty() {
            return Ok(());
        }
        let transaction = connection.transaction()?;
        for migration in missing {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
        transaction.commit()
    };
    settle().map_err(in_database)
}
