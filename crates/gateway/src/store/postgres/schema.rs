//! The schema's versions, applied in order by whichever node comes first.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Client, Config, Transaction};
use vestibule_engine::Timestamp;

use super::connect::Tls;
use super::{Settings, connect, why};

/// One version: what leads to it, and what leads back to the one before.
struct Migration {
    up: &'static str,
    /// `None` where nothing would be left.
    down: Option<&'static str>,
}

/// The schema's versions in order.
const MIGRATIONS: [Migration; 3] = [
    Migration { up: include_str!("migrations/1.up.sql"), down: None },
    Migration { up: include_str!("migrations/2.up.sql"), down: Some(include_str!("migrations/2.down.sql")) },
    Migration { up: include_str!("migrations/3.up.sql"), down: Some(include_str!("migrations/3.down.sql")) },
];
/// The advisory lock of whoever changes the schema: `vestibul` in octets.
const LOCK: i64 = 0x7665_7374_6962_756c;
/// How long a migration may take, and a node wait for another's.
const LONGEST: Duration = Duration::from_secs(600);

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not answer, or not as it should.
    #[error("the store in PostgreSQL cannot be opened: {0}")]
    Down(String),
    /// Written by a newer program, which may mean things we would overlook.
    #[error("the store in PostgreSQL has schema {found}, this program knows {} at most: use the newer program", MIGRATIONS.len())]
    Newer {
        /// Its schema's version.
        found: i32,
    },
    /// Gateways work with it.
    #[error("the store in PostgreSQL is in use by {connections} connections; stop all gateways first")]
    InUse {
        /// How many of their connections are open.
        connections: i64,
    },
    /// There is no version before.
    #[error("the store in PostgreSQL has schema {found}, before which there is none")]
    First {
        /// Its schema's version.
        found: i32,
    },
}

impl OpenError {
    pub(super) fn down(error: &tokio_postgres::Error) -> Self {
        Self::Down(why(error))
    }
}

/// Brings the schema to the newest version.
pub(super) async fn prepare(config: &Config, tls: &Tls) -> Result<(), OpenError> {
    let mut client = client(config, tls).await?;
    let transaction = begin(&mut client).await?;
    let found = version(&transaction).await?;
    let Some(missing) = usize::try_from(found).ok().and_then(|known| MIGRATIONS.get(known..)) else {
        return Err(OpenError::Newer { found });
    };
    for migration in missing {
        transaction.batch_execute(migration.up).await.map_err(|error| OpenError::down(&error))?;
    }
    if !missing.is_empty() {
        set_version(&transaction, MIGRATIONS.len()).await?;
    }
    transaction.commit().await.map_err(|error| OpenError::down(&error))
}

/// Takes the newest migration back, for a program of the version before. Returns the version that stands now.
///
/// # Errors
/// An [`OpenError`] whose text can be shown to the operator; nothing has changed then.
pub async fn step_back(settings: &Settings) -> Result<usize, OpenError> {
    let tls = Tls::of(settings).map_err(OpenError::Down)?;
    let mut client = client(&connect::config(settings), &tls).await?;
    let transaction = begin(&mut client).await?;
    alone(&transaction).await?;
    let found = version(&transaction).await?;
    let newest = usize::try_from(found).ok().filter(|found| *found <= MIGRATIONS.len()).ok_or(OpenError::Newer { found })?;
    let first = || OpenError::First { found };
    let before = newest.checked_sub(1).ok_or_else(first)?;
    let down = MIGRATIONS.get(before).and_then(|migration| migration.down).ok_or_else(first)?;
    transaction.batch_execute(down).await.map_err(|error| OpenError::down(&error))?;
    set_version(&transaction, before).await?;
    transaction.commit().await.map_err(|error| OpenError::down(&error))?;
    Ok(before)
}

/// Ends all that began before, after the database was restored: sessions, one-shot codes, quotas. Until a moment, noted under
/// this name, no gateway serves: nobody knows which tokens were used since.
///
/// # Errors
/// An [`OpenError`] whose text can be shown to the operator; nothing has ended then.
pub async fn end_everything(settings: &Settings, now: Timestamp, (name, until): (&str, Timestamp)) -> Result<(), OpenError> {
    let tls = Tls::of(settings).map_err(OpenError::Down)?;
    let config = connect::config(settings);
    prepare(&config, &tls).await?;
    let mut client = client(&config, &tls).await?;
    let transaction = begin(&mut client).await?;
    alone(&transaction).await?;
    let ended = async {
        transaction.execute("DELETE FROM vestibule.entry WHERE key ~ '^\\{[^}]*\\}:[shq]:'", &[]).await?;
        // One that no backup has seen: of two restorations the second must end what began after the first.
        let raise = "UPDATE vestibule.installation SET epoch = greatest(epoch + 1, $1)";
        transaction.execute(raise, &[&now.as_second()]).await?;
        let note = "INSERT INTO vestibule.setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        transaction.execute(note, &[&name, &until.to_string().into_bytes()]).await
    };
    ended.await.map_err(|error| OpenError::down(&error))?;
    transaction.commit().await.map_err(|error| OpenError::down(&error))
}

/// Refuses while gateways work with the database.
async fn alone(transaction: &Transaction<'_>) -> Result<(), OpenError> {
    let others = "SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'vestibule' AND datname = current_database() AND pid <> pg_backend_pid()";
    let connections = transaction.query_one(others, &[]).await.and_then(|row| row.try_get(0)).map_err(|error| OpenError::down(&error))?;
    if connections > 0 { Err(OpenError::InUse { connections }) } else { Ok(()) }
}

async fn client(config: &Config, tls: &Tls) -> Result<Client, OpenError> {
    let longest = config.get_connect_timeout().copied().unwrap_or(LONGEST) * 2;
    let connected = timeout(longest, config.connect(tls.clone())).await;
    let (client, connection) =
        connected.map_err(|_| OpenError::Down("it did not answer in time".to_owned()))?.map_err(|error| OpenError::down(&error))?;
    // It ends with the client; what breaks it breaks the statement under way.
    tokio::spawn(connection);
    Ok(client)
}

/// A transaction in which nobody else changes the schema.
async fn begin(client: &mut Client) -> Result<Transaction<'_>, OpenError> {
    let asked = async {
        let transaction = client.transaction().await?;
        let longest = LONGEST.as_millis();
        let patience = format!("SET LOCAL statement_timeout = {longest}; SET LOCAL lock_timeout = {longest}");
        transaction.batch_execute(&patience).await?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
        // Asked first: a role that may not make schemas may use one that was made for it.
        if transaction.query_one("SELECT to_regnamespace('vestibule') IS NULL", &[]).await?.try_get(0)? {
            transaction.batch_execute("CREATE SCHEMA vestibule").await?;
        }
        transaction.batch_execute("CREATE TABLE IF NOT EXISTS vestibule.schema_version (version integer NOT NULL)").await?;
        Ok(transaction)
    };
    asked.await.map_err(|error: tokio_postgres::Error| OpenError::down(&error))
}

async fn version(transaction: &Transaction<'_>) -> Result<i32, OpenError> {
    let row = transaction.query_opt("SELECT version FROM vestibule.schema_version", &[]).await;
    let row = row.map_err(|error| OpenError::down(&error))?;
    row.map_or(Ok(0), |row| row.try_get(0)).map_err(|error| OpenError::down(&error))
}

async fn set_version(transaction: &Transaction<'_>, version: usize) -> Result<(), OpenError> {
    let sql = format!("DELETE FROM vestibule.schema_version; INSERT INTO vestibule.schema_version (version) VALUES ({version})");
    transaction.batch_execute(&sql).await.map_err(|error| OpenError::down(&error))
}
