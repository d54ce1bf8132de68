//! Connections of the service account, reused for searches, and a bound on how many attempts are under way.
//!
//! Directories close idle connections, and a storm of guesses must not open one connection each. Users are bound on
//! connections on which nothing else happens: on one that searches a bind would change whose searches follow, and each
//! bind begins by forgetting who was bound before (RFC 4511 §4.2.1).

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ldap3::{Ldap, Scope, SearchOptions};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use vestibule_engine::clock::Clock;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;

use super::Settings;
use super::wire::{self, Server};

/// A connection unused for so long is asked something cheap before it is trusted.
const FRESH: Duration = Duration::from_secs(15);
/// A connection unused for so long is closed. Directories do so after minutes, some without a word.
const STALE: Duration = Duration::from_secs(120);
/// For the answer to something cheap.
const HEALTH_TIME: Duration = Duration::from_secs(1);

/// Who searches.
#[derive(Debug, Clone)]
pub struct ServiceAccount {
    /// Its name.
    pub dn: String,
    /// Its password, not empty.
    pub password: Secret<String>,
}

/// Connections to one directory.
pub struct Pool {
    /// The realm, for the log.
    realm: String,
    servers: Vec<Server>,
    account: ServiceAccount,
    /// For a connection to one server to open, so that a silent one leaves time for the next.
    connect_time: Duration,
    clock: Arc<dyn Clock>,
    seats: Semaphore,
    idle: Mutex<Vec<Idle>>,
    /// For binds of users.
    binders: Mutex<Vec<Idle>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("realm", &self.realm).field("servers", &self.servers).finish_non_exhaustive()
    }
}

struct Idle {
    ldap: Ldap,
    since: Duration,
}

/// A connection to search on, on which the service account is bound, or one to bind users on.
pub struct Searcher {
    /// The connection.
    pub ldap: Ldap,
    /// It was used before, so that a failure may only mean that it had been closed meanwhile.
    pub reused: bool,
}

impl Pool {
    /// At most `connections` attempts at one time, each with one connection to search and one to bind.
    pub fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Self {
        let Settings { name, servers, account, connections, time_limit, .. } = settings;
        let shares = u32::try_from(servers.len()).unwrap_or(u32::MAX).saturating_add(1);
        Self {
            realm: name.to_string(),
            servers: servers.clone(),
            account: account.clone(),
            connect_time: *time_limit / shares,
            clock,
            seats: Semaphore::new(*connections),
            idle: Mutex::new(Vec::new()),
            binders: Mutex::new(Vec::new()),
        }
    }

    /// A place for one attempt; waits while all are taken.
    ///
    /// # Errors
    /// Never: the semaphore is not closed.
    pub async fn seat(&self) -> Result<SemaphorePermit<'_>, Unavailable> {
        self.seats.acquire().await.map_err(|closed| self.down(closed))
    }

    /// A connection to search on: a kept one that still answers, or a new one.
    ///
    /// # Errors
    /// No server can be reached, or the service account is refused.
    pub async fn searcher(&self) -> Result<Searcher, Unavailable> {
        while let Some(Idle { mut ldap, since }) = self.pop() {
            let unused = self.clock.monotonic().saturating_sub(since);
            if ldap.is_closed() || unused > STALE || (unused > FRESH && !answers(&mut ldap).await) {
                continue;
            }
            return Ok(Searcher { ldap, reused: true });
        }
        self.fresh().await
    }

    /// A new connection to search on.
    ///
    /// # Errors
    /// No server can be reached, or the service account is refused.
    pub async fn fresh(&self) -> Result<Searcher, Unavailable> {
        let mut ldap = self.connect().await?;
        let result = ldap.simple_bind(&self.account.dn, self.account.password.reveal()).await.map_err(|error| self.down(error))?;
        if result.rc != 0 {
            // A fault of the configuration, which must not look like a bad user.
            tracing::error!(realm = %self.realm, result = result.rc, "the directory refuses the service account; nobody can sign in");
            return Err(self.down(format!("the service account was refused with result {}", result.rc)));
        }
        Ok(Searcher { ldap, reused: false })
    }

    /// Keeps a connection whose last answer was whole.
    pub fn keep(&self, searcher: Searcher) {
        let since = self.clock.monotonic();
        self.kept().push(Idle { ldap: searcher.ldap, since });
    }

    /// A connection to bind users on: a kept one, or a new one.
    ///
    /// # Errors
    /// No server can be reached.
    pub async fn binder(&self) -> Result<Searcher, Unavailable> {
        let kept = self.kept_binders().pop();
        match kept {
            Some(Idle { ldap, .. }) => Ok(Searcher { ldap, reused: true }),
            None => self.fresh_binder().await,
        }
    }

    /// A new connection to bind users on.
    ///
    /// # Errors
    /// No server can be reached.
    pub async fn fresh_binder(&self) -> Result<Searcher, Unavailable> {
        Ok(Searcher { ldap: self.connect().await?, reused: false })
    }

    /// Keeps a connection on which a bind was answered.
    pub fn keep_binder(&self, binder: Searcher) {
        let since = self.clock.monotonic();
        self.kept_binders().push(Idle { ldap: binder.ldap, since });
    }

    /// A new connection on which nobody is bound, to the first server that can be reached.
    ///
    /// # Errors
    /// None can.
    async fn connect(&self) -> Result<Ldap, Unavailable> {
        let mut last = io::Error::other("there is no server");
        for server in &self.servers {
            let opened = timeout(self.connect_time, wire::open(server)).await;
            match opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(ldap) => return Ok(ldap),
                Err(error) => {
                    tracing::warn!(realm = %self.realm, host = %server.host, port = server.port, %error, "a directory cannot be reached");
                    last = error;
                }
            }
        }
        Err(self.down(last))
    }

    /// What this realm's callers are told when it is down.
    pub fn down(&self, why: impl std::fmt::Display) -> Unavailable {
        Unavailable::new(self.realm.as_str(), why)
    }

    fn pop(&self) -> Option<Idle> {
        self.kept().pop()
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those for binds that may still be open. Whether one is cannot be asked: all that may happen on it are binds.
    fn kept_binders(&self) -> MutexGuard<'_, Vec<Idle>> {
        let mut kept = self.binders.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        kept.retain_mut(|idle| !idle.ldap.is_closed() && now.saturating_sub(idle.since) <= FRESH);
        kept
    }
}

/// Reads the root of the directory, which everybody may.
async fn answers(ldap: &mut Ldap) -> bool {
    let ask = async {
        let options = SearchOptions::new().sizelimit(1).timelimit(1);
        ldap.with_search_options(options).search("", Scope::Base, "(objectClass=*)", ["1.1"]).await
    };
    matches!(timeout(HEALTH_TIME, ask).await, Ok(Ok(found)) if found.1.rc == 0)
}
