//! Things that expire, in PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::Pool;
use vestibule_engine::Timestamp;
use vestibule_engine::clock::{Clock, random};
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::store::{Change, ChangeStream, ExpiringStore, Group, Insert, Key, Version};

use super::{PostgresStore, column};
use crate::store::REMAINS;
use crate::store::telling::EVERYTHING;

/// Between two looks for dead entries.
const SWEEP: Duration = Duration::from_secs(10);
/// Dead entries removed by one statement, so that none holds its locks for long.
const BATCH: i64 = 1000;

#[async_trait]
impl ExpiringStore for PostgresStore {
    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        ttl: Duration,
        groups: &[Group],
        limit: Option<(&Group, u32)>,
    ) -> Result<Insert, Unavailable> {
        let now = self.now();
        let groups: Vec<&str> = groups.iter().map(Group::as_str).collect();
        let (limiting, most) = limit.map_or((None, 0), |(group, most)| (Some(group.as_str()), i64::from(most)));
        let sql = "SELECT vestibule.insert_entry($1, $2, $3, $4, $5, $6, $7, $8)";
        let row = self.row(sql, &[&key.as_str(), &value, &version()?, &now, &expiry(now, ttl), &groups, &limiting, &most]).await?;
        match row.as_ref().map(|row| column::<i32>(row, 0)).transpose()? {
            Some(0) => Ok(Insert::Inserted),
            Some(1) => Ok(Insert::Exists),
            Some(2) => Ok(Insert::Full),
            Some(_) | None => Err(Unavailable::new("store", "PostgreSQL gave an answer that means nothing")),
        }
    }

    async fn get(&self, key: &Key) -> Result<Option<(Vec<u8>, Version)>, Unavailable> {
        let sql = "SELECT value, version FROM vestibule.entry WHERE key = $1 AND expires > $2";
        let Some(row) = self.row(sql, &[&key.as_str(), &self.now()]).await? else { return Ok(None) };
        Ok(Some((column(&row, 0)?, Version(column::<i64>(&row, 1)?.cast_unsigned()))))
    }

    async fn replace(&self, key: &Key, expected: Version, value: &[u8]) -> Result<bool, Unavailable> {
        let call = self.entries.begin(Change::Key(key.clone()));
        let sql = "WITH replaced AS (
                UPDATE vestibule.entry SET value = $2, version = $3 WHERE key = $1 AND version = $4 AND expires > $5 RETURNING key)
            SELECT pg_notify('vestibule_entries', $6::text || key)::text FROM replaced";
        let expected = expected.0.cast_signed();
        let replaced = self.row(sql, &[&key.as_str(), &value, &version()?, &expected, &self.now(), &call.mark()]).await?;
        match replaced {
            Some(_) => call.changed([Change::Key(key.clone())]),
            None => call.unchanged(),
        }
        Ok(replaced.is_some())
    }

    async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, Unavailable> {
        let call = self.entries.begin(Change::Key(key.clone()));
        let sql = "WITH taken AS (DELETE FROM vestibule.entry WHERE key = $1 AND expires > $2 RETURNING key, value)
            SELECT value, pg_notify('vestibule_entries', $3::text || key)::text FROM taken";
        let taken = self.row(sql, &[&key.as_str(), &self.now(), &call.mark()]).await?;
        match taken {
            Some(row) => {
                call.changed([Change::Key(key.clone())]);
                column(&row, 0).map(Some)
            }
            None => {
                call.unchanged();
                Ok(None)
            }
        }
    }

    async fn extend(&self, key: &Key, ttl: Duration) -> Result<bool, Unavailable> {
        let now = self.now();
        let sql = "UPDATE vestibule.entry SET expires = $2 WHERE key = $1 AND expires > $3 RETURNING 1";
        Ok(self.row(sql, &[&key.as_str(), &expiry(now, ttl), &now]).await?.is_some())
    }

    async fn increment(&self, key: &Key, ttl: Duration) -> Result<u64, Unavailable> {
        let now = self.now();
        let sql = "INSERT INTO vestibule.entry AS e (key, value, version, expires) VALUES ($1, int8send(1), $2, $3)
            ON CONFLICT (key) DO UPDATE SET
                value = CASE WHEN e.expires > $4 THEN int8send(('x' || encode(e.value, 'hex'))::bit(64)::bigint + 1) ELSE int8send(1) END,
                expires = CASE WHEN e.expires > $4 THEN e.expires ELSE excluded.expires END,
                version = excluded.version
            RETURNING value";
        let row = self.row(sql, &[&key.as_str(), &version()?, &expiry(now, ttl), &now]).await?;
        let octets = row.as_ref().map(|row| column::<Vec<u8>>(row, 0)).transpose()?.and_then(|octets| octets.try_into().ok());
        octets.map(u64::from_be_bytes).ok_or_else(|| Unavailable::new("store", "the entry is no counter"))
    }

    async fn list(&self, group: &Group, after: Option<&Key>, most: usize) -> Result<Vec<Key>, Unavailable> {
        // No key is empty, so all come after the empty one.
        let after = after.map_or("", Key::as_str);
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let sql = "SELECT member.key FROM vestibule.member JOIN vestibule.entry ON entry.id = member.entry
            WHERE member.\"group\" = $1 AND member.key > $2 AND entry.expires > $3 ORDER BY member.key LIMIT $4";
        let rows = self.rows(sql, &[&group.as_str(), &after, &self.now(), &most]).await?;
        rows.iter().map(|row| Ok(Key::from_stored(column(row, 0)?))).collect()
    }

    async fn remove_group(&self, group: &Group) -> Result<u64, Unavailable> {
        let call = self.entries.begin(Change::All);
        let sql = "SELECT vestibule.remove_group($1, $2, $3)";
        let row = self.row(sql, &[&group.as_str(), &self.now(), &call.mark()]).await?;
        let removed: Vec<String> = row.as_ref().map(|row| column(row, 0)).transpose()?.unwrap_or_default();
        if removed.is_empty() {
            call.unchanged();
        } else {
            call.changed(removed.iter().map(|key| Change::Key(Key::from_stored(key))));
        }
        Ok(removed.len() as u64)
    }

    fn changes(&self) -> ChangeStream {
        self.entries.subscribe()
    }
}

impl PostgresStore {
    fn now(&self) -> i64 {
        micros(self.clock.now())
    }
}

/// What a line of a message means.
pub(super) fn change(line: &str) -> Option<Change> {
    (line != EVERYTHING).then(|| Change::Key(Key::from_stored(line)))
}

/// Removes what has died, for ever.
pub(super) async fn sweep(pool: Pool, clock: Arc<dyn Clock>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        // That the database is down is told by everybody else.
        if let Err(error) = remove_dead(&pool, &*clock).await {
            tracing::debug!(%error, "dead entries could not be removed");
        }
    }
}

/// Removes what has died long enough ago. Nodes do not wait for each other.
pub(super) async fn remove_dead(pool: &Pool, clock: &dyn Clock) -> Result<(), deadpool_postgres::PoolError> {
    let sql = "DELETE FROM vestibule.entry WHERE id IN (
        SELECT id FROM vestibule.entry WHERE expires <= $1 ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED)";
    let client = pool.get().await?;
    let before = micros(clock.now()).saturating_sub(REMAINS);
    while client.execute(sql, &[&before, &BATCH]).await?.cast_signed() == BATCH {}
    Ok(())
}

/// Microseconds since 1970.
fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

fn expiry(now: i64, ttl: Duration) -> i64 {
    now.saturating_add(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX))
}

/// A version that no other entry ever had.
fn version() -> Result<i64, Unavailable> {
    random().map(i64::from_be_bytes)
}
