//! PostgreSQL: both stores of several nodes.
//!
//! Every call is one statement and one transaction, so that a caller who leaves leaves nothing half done; what must be
//! seen together stands in functions of the schema. Everything is in a schema of its own and the session's search path
//! names no other: a table or function that somebody else puts into `public` is never ours (CVE-2018-1058). Nodes hear of
//! each other's changes by `NOTIFY` on one more connection, and while that is silent no cache is believed.
//!
//! An attacker who can read the database finds hashes of tokens, hashes of passwords and sealed keys. One who takes its
//! place is stopped by TLS; a server that turns read-only or hangs is an outage, never an answer.

mod connect;
mod durable;
mod expiring;
mod listen;
mod schema;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{ManagerConfig, Object, Pool, RecyclingMethod};
use rustls::pki_types::CertificateDer;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use vestibule_engine::clock::Clock;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;

use super::telling::Telling;
use connect::OnControl;

pub use schema::{OpenError, end_everything, step_back};

/// How the database is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its servers, of which the one that may be written to is used.
    pub hosts: Vec<Host>,
    /// The name of the database.
    pub database: String,
    /// Who we are there.
    pub user: String,
    /// Our password, where one is asked.
    pub password: Option<Secret<String>>,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Roots the server's certificate must descend from; empty means the system's.
    pub ca: Vec<CertificateDer<'static>>,
    /// Connections at one time, besides the one that listens.
    pub connections: usize,
    /// How long a connection, and how long an answer may take.
    pub timeout: Duration,
}

/// What must be unique is there already.
#[derive(Debug)]
struct Taken;

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or address, and a port.
    Network(String, u16),
    /// The directory of a Unix socket, and the port in its name.
    Socket(PathBuf, u16),
}

/// Both stores in one database.
pub struct PostgresStore {
    clock: Arc<dyn Clock>,
    pool: Pool,
    timeout: Duration,
    entries: Arc<Telling>,
    users: Arc<Telling>,
    tasks: [JoinHandle<()>; 2],
}

impl PostgresStore {
    /// Opens the store, and makes or completes its schema. Its connections live on `control`.
    ///
    /// # Errors
    /// An [`OpenError`] whose text can be shown to the operator.
    pub async fn open(settings: &Settings, clock: Arc<dyn Clock>, control: &Handle) -> Result<Self, OpenError> {
        let config = connect::config(settings);
        let tls = connect::Tls::of(settings).map_err(OpenError::Down)?;
        schema::prepare(&config, &tls).await?;

        let manager = deadpool_postgres::Manager::from_connect(
            config.clone(),
            OnControl { control: control.clone(), tls: tls.clone() },
            // What is broken is told by its connection task; a question before each use would double every round trip.
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let pool = Pool::builder(manager).max_size(settings.connections).build().map_err(|error| OpenError::Down(error.to_string()))?;

        let chance = |down: Unavailable| OpenError::Down(down.to_string());
        let entries = Arc::new(Telling::new(expiring::change).map_err(chance)?);
        let users = Arc::new(Telling::new(durable::change).map_err(chance)?);
        let listener = listen::Listener { config, tls, entries: entries.clone(), users: users.clone() };
        let first = listener.connect().await.map_err(|error| OpenError::down(&error))?;
        let listening = control.spawn(listener.run(first));
        let sweeping = control.spawn(expiring::sweep(pool.clone(), clock.clone()));
        Ok(Self { clock, pool, timeout: settings.timeout, entries, users, tasks: [listening, sweeping] })
    }

    /// The answer to one statement.
    async fn rows(&self, sql: &'static str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Unavailable> {
        let taken = |Taken| Unavailable::new("store", "PostgreSQL: something unique was there already");
        self.attempt(sql, parameters).await?.map_err(taken)
    }

    /// The answer to one statement, unless what it adds is there already.
    async fn attempt(&self, sql: &'static str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Result<Vec<Row>, Taken>, Unavailable> {
        let late = |_| Unavailable::new("store", "PostgreSQL did not answer in time");
        let client = timeout(self.timeout, self.pool.get()).await.map_err(late)?.map_err(|error| match error {
            deadpool_postgres::PoolError::Backend(error) => unavailable(&error),
            other => Unavailable::new("store", other),
        })?;
        let asked = timeout(self.timeout, async {
            let statement = client.prepare_cached(sql).await?;
            client.query(&statement, parameters).await
        });
        let answered = asked.await;
        let usable = match &answered {
            Err(_) => false,
            // What was our primary is one no more: the next connection looks for the new one.
            Ok(Err(error)) => error.code() != Some(&SqlState::READ_ONLY_SQL_TRANSACTION),
            Ok(Ok(_)) => true,
        };
        if !usable {
            drop(Object::take(client));
        }
        match answered.map_err(late)? {
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(Err(Taken)),
            other => other.map(Ok).map_err(|error| unavailable(&error)),
        }
    }

    /// The first row of the answer, if it has one.
    async fn row(&self, sql: &'static str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, Unavailable> {
        Ok(self.rows(sql, parameters).await?.into_iter().next())
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("connections", &self.pool.status()).finish_non_exhaustive()
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.pool.close();
    }
}

fn unavailable(error: &tokio_postgres::Error) -> Unavailable {
    Unavailable::new("store", why(error))
}

/// What an error says, without the row it is about.
fn why(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(refused), _) => format!("PostgreSQL: {} ({})", refused.message(), refused.code().code()),
        (None, Some(source)) => format!("PostgreSQL: {error}: {source}"),
        (None, None) => format!("PostgreSQL: {error}"),
    }
}

/// A column of a row.
fn column<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, number: usize) -> Result<T, Unavailable> {
    row.try_get(number).map_err(|error| unavailable(&error))
}
