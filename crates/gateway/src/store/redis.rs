//! Redis or Valkey: what expires, of several nodes, where speed matters.
//!
//! Scripts make each call atomic; all keys of a call share the tenant's hash tag, so that a Cluster runs it on one node.
//!
//! A Redis forgets: at a restart up to a second of what it acknowledged, at a failover what the replica had not heard. A
//! forgotten log-out is a session that lives again, and nothing in Redis can tell. Hence the *era*: every key begins with a
//! mark made of the server's `run_id`, which each process draws anew. After a restart or failover all nodes look under
//! another mark: who was signed in signs in again, and what was ended stays ended. Ids of used tokens must outlive even
//! that and are kept elsewhere ([`super::split`]).

mod keep;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use redis::{FromRedisValue, RedisError, Script, ScriptInvocation};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use vestibule_engine::clock::{Clock, random};
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;
use vestibule_engine::store::{Change, ChangeStream, ExpiringStore, Group, Insert, Key, Version};

use super::telling::{EVERYTHING, Telling};
use keep::{Keeper, Link};

/// How Redis is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its servers, or its Sentinels; at least one.
    pub hosts: Vec<(String, u16)>,
    /// What they are to each other.
    pub topology: Topology,
    /// The number of the database.
    pub database: i64,
    /// Who we are there, if it has users.
    pub user: Option<String>,
    /// Our password, where one is asked.
    pub password: Option<Secret<String>>,
    /// Our password at the Sentinels.
    pub sentinel_password: Option<Secret<String>>,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Roots the servers' certificates must descend from, in PEM form; `None` means the system's.
    pub ca: Option<Vec<u8>>,
    /// How long a connection, and how long an answer may take.
    pub timeout: Duration,
}

/// What several servers are to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Single,
    /// Sentinels that know the primary by this name.
    Sentinel(String),
    /// Nodes of a Cluster.
    Cluster,
}

/// What expires, in Redis.
pub struct RedisStore {
    clock: Arc<dyn Clock>,
    keeper: Arc<Keeper>,
    telling: Arc<Telling>,
    tasks: [JoinHandle<()>; 2],
}

impl RedisStore {
    /// Opens the store. Its connections live on `control`.
    ///
    /// # Errors
    /// [`Unavailable`] when it does not answer.
    pub async fn open(settings: &Settings, clock: Arc<dyn Clock>, control: &Handle) -> Result<Self, Unavailable> {
        let telling = Arc::new(Telling::new(change)?);
        let keeper = Arc::new(Keeper::new(settings.clone()));
        let first = keeper.connect().await.map_err(|error| unavailable(&error))?;
        keeper.put(first);
        let ear = keeper.listen(&telling).await.map_err(|error| unavailable(&error))?;
        let tasks = [control.spawn(keeper.clone().keep()), control.spawn(keeper.clone().hear(telling.clone(), ear))];
        Ok(Self { clock, keeper, telling, tasks })
    }

    fn link(&self) -> Result<Arc<Link>, Unavailable> {
        self.keeper.link().ok_or_else(|| Unavailable::new("store", "Redis is not connected"))
    }

    async fn run<T: FromRedisValue>(&self, link: &Link, script: &ScriptInvocation<'_>) -> Result<T, Unavailable> {
        self.judged(link.run(script).await)
    }

    fn judged<T>(&self, answer: Result<T, RedisError>) -> Result<T, Unavailable> {
        answer.map_err(|error| {
            self.keeper.doubt(&error);
            unavailable(&error)
        })
    }

    fn now(&self) -> i64 {
        self.clock.now().as_microsecond()
    }
}

#[async_trait]
impl ExpiringStore for RedisStore {
    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        ttl: Duration,
        groups: &[Group],
        limit: Option<(&Group, u32)>,
    ) -> Result<Insert, Unavailable> {
        let (link, now) = (self.link()?, self.now());
        let mut script = SCRIPTS.insert.key(link.entry(key));
        let mut places: Vec<String> = groups.iter().map(|group| link.group(group)).collect();
        places.sort_unstable();
        places.dedup();
        for place in places {
            script.key(place);
        }
        let (limiting, most) = limit.map_or((String::new(), 0), |(group, most)| (link.group(group), most));
        script.arg(now).arg(expiry(now, ttl)).arg(value).arg(version()?).arg(millis(ttl)).arg(key.as_str()).arg(limiting).arg(most);
        match self.run(&link, &script).await? {
            0 => Ok(Insert::Inserted),
            1 => Ok(Insert::Exists),
            2 => Ok(Insert::Full),
            other => Err(Unavailable::new("store", format!("Redis gave the answer {other}, which means nothing"))),
        }
    }

    async fn get(&self, key: &Key) -> Result<Option<(Vec<u8>, Version)>, Unavailable> {
        let link = self.link()?;
        let mut command = redis::cmd("HMGET");
        command.arg(link.entry(key)).arg(&["v", "n", "e", "c"]);
        type Fields = (Option<Vec<u8>>, Option<u64>, Option<i64>, Option<u64>);
        let (value, version, expires, count): Fields = self.judged(link.ask(&command).await)?;
        let live = expires.is_some_and(|expires| expires > self.now());
        let value = count.map(|count| count.to_be_bytes().to_vec()).or(value);
        Ok(value.zip(version).filter(|_| live).map(|(value, version)| (value, Version(version))))
    }

    async fn replace(&self, key: &Key, expected: Version, value: &[u8]) -> Result<bool, Unavailable> {
        let link = self.link()?;
        let call = self.telling.begin(Change::Key(key.clone()));
        let mut script = SCRIPTS.replace.key(link.entry(key));
        script.arg(self.now()).arg(expected.0).arg(value).arg(version()?).arg(format!("{}{key}", call.mark()));
        let replaced: bool = self.run(&link, &script).await?;
        match replaced {
            true => call.changed([Change::Key(key.clone())]),
            false => call.unchanged(),
        }
        Ok(replaced)
    }

    async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, Unavailable> {
        let link = self.link()?;
        let call = self.telling.begin(Change::Key(key.clone()));
        let mut script = SCRIPTS.take.key(link.entry(key));
        script.arg(self.now()).arg(key.as_str()).arg(format!("{}{key}", call.mark()));
        let taken: Option<Vec<u8>> = self.run(&link, &script).await?;
        match &taken {
            Some(_) => call.changed([Change::Key(key.clone())]),
            None => call.unchanged(),
        }
        Ok(taken)
    }

    async fn extend(&self, key: &Key, ttl: Duration) -> Result<bool, Unavailable> {
        let (link, now) = (self.link()?, self.now());
        let mut script = SCRIPTS.extend.key(link.entry(key));
        script.arg(now).arg(expiry(now, ttl)).arg(millis(ttl)).arg(key.as_str());
        self.run(&link, &script).await
    }

    async fn increment(&self, key: &Key, ttl: Duration) -> Result<u64, Unavailable> {
        let (link, now) = (self.link()?, self.now());
        let mut script = SCRIPTS.increment.key(link.entry(key));
        script.arg(now).arg(expiry(now, ttl)).arg(millis(ttl)).arg(version()?);
        self.run(&link, &script).await
    }

    /// Fetches the whole group: the largest has as many members as one user has sessions.
    async fn list(&self, group: &Group, after: Option<&Key>, most: usize) -> Result<Vec<Key>, Unavailable> {
        let link = self.link()?;
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(link.group(group)).arg(format!("({}", self.now())).arg("+inf");
        let members: Vec<String> = self.judged(link.ask(&command).await)?;
        let mut keys: Vec<Key> = members.iter().map(|key| Key::from_stored(key)).filter(|key| Some(key) > after).collect();
        keys.sort_unstable();
        keys.truncate(most);
        Ok(keys)
    }

    async fn remove_group(&self, group: &Group) -> Result<u64, Unavailable> {
        let link = self.link()?;
        let call = self.telling.begin(Change::All);
        let mut script = SCRIPTS.remove_group.key(link.group(group));
        script.arg(self.now()).arg(link.entries()).arg(call.mark());
        let removed: Vec<String> = self.run(&link, &script).await?;
        if removed.is_empty() {
            call.unchanged();
        } else {
            call.changed(removed.iter().map(|key| Change::Key(Key::from_stored(key))));
        }
        Ok(removed.len() as u64)
    }

    fn changes(&self) -> ChangeStream {
        self.telling.subscribe()
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").finish_non_exhaustive()
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What makes calls atomic.
struct Scripts {
    insert: Script,
    replace: Script,
    take: Script,
    extend: Script,
    increment: Script,
    remove_group: Script,
}

static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| {
    let script = |text: &str| Script::new(&format!("{}{text}", include_str!("redis/common.lua")));
    Scripts {
        insert: script(include_str!("redis/insert.lua")),
        replace: script(include_str!("redis/replace.lua")),
        take: script(include_str!("redis/take.lua")),
        extend: script(include_str!("redis/extend.lua")),
        increment: script(include_str!("redis/increment.lua")),
        remove_group: script(include_str!("redis/remove_group.lua")),
    }
});

/// What a line of a message means.
fn change(line: &str) -> Option<Change> {
    (line != EVERYTHING).then(|| Change::Key(Key::from_stored(line)))
}

/// Microseconds since 1970; scripts compare them as doubles, which hold them exactly until the year 2255.
fn expiry(now: i64, ttl: Duration) -> i64 {
    const LAST: i64 = 1 << 53;
    now.saturating_add(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX)).min(LAST)
}

/// How long Redis keeps the place, in milliseconds; when the entry dies is for the gateway's clock to say.
fn millis(ttl: Duration) -> i64 {
    const LONGEST: i64 = 100 * 365 * 86_400_000;
    i64::try_from(ttl.as_millis()).unwrap_or(LONGEST).saturating_add(1).min(LONGEST)
}

/// A version that no other entry ever had.
fn version() -> Result<u64, Unavailable> {
    random().map(u64::from_be_bytes)
}

fn unavailable(error: &RedisError) -> Unavailable {
    Unavailable::new("store", format_args!("Redis: {error}"))
}
