//! Things that expire, in SQLite.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use vestibule_engine::Timestamp;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::store::{Change, ChangeStream, ExpiringStore, Group, Insert, Key, Version};

use super::EmbeddedStore;

#[async_trait]
impl ExpiringStore for EmbeddedStore {
    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        ttl: Duration,
        groups: &[Group],
        limit: Option<(&Group, u32)>,
    ) -> Result<Insert, Unavailable> {
        let (key, value, groups) = (key.clone(), value.to_vec(), groups.to_vec());
        let limit = limit.map(|(group, most)| (group.clone(), most));
        let clock = self.clock.clone();
        let work = move |connection: &Connection| {
            let now = micros(clock.now());
            let known = "SELECT expires FROM entry WHERE key = ?1";
            let known: Option<i64> = connection.prepare_cached(known)?.query_row([key.as_str()], |row| row.get(0)).optional()?;
            match known {
                Some(expires) if expires > now => return Ok(Insert::Exists),
                Some(_) => remove(connection, &key)?,
                None => {}
            }
            if let Some((group, most)) = limit
                && live_members(connection, &group, now, most)? >= most
            {
                return Ok(Insert::Full);
            }
            insert(connection, &key, &value, expiry(now, ttl), &groups)?;
            Ok(Insert::Inserted)
        };
        self.writer.run(work).await
    }

    async fn get(&self, key: &Key) -> Result<Option<(Vec<u8>, Version)>, Unavailable> {
        let (key, clock) = (key.clone(), self.clock.clone());
        let work = move |connection: &Connection| {
            let sql = "SELECT value, version FROM entry WHERE key = ?1 AND expires > ?2";
            connection
                .prepare_cached(sql)?
                .query_row(params![key.as_str(), micros(clock.now())], |row| Ok((row.get(0)?, version(row.get(1)?))))
                .optional()
        };
        self.readers.run(work).await
    }

    async fn replace(&self, key: &Key, expected: Version, value: &[u8]) -> Result<bool, Unavailable> {
        let (changed, changes) = (key.clone(), self.entries.clone());
        let (key, value, clock) = (key.clone(), value.to_vec(), self.clock.clone());
        let work = move |connection: &Connection| {
            let sql = "UPDATE entry SET value = ?1, version = random() WHERE key = ?2 AND version = ?3 AND expires > ?4";
            let now = micros(clock.now());
            let count = connection.prepare_cached(sql)?.execute(params![value, key.as_str(), expected.0.cast_signed(), now])?;
            Ok(count > 0)
        };
        let tell = move |replaced: &bool| {
            if *replaced {
                changes.send(Change::Key(changed));
            }
        };
        self.writer.run_then(work, tell).await
    }

    async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, Unavailable> {
        let (changed, changes) = (key.clone(), self.entries.clone());
        let (key, clock) = (key.clone(), self.clock.clone());
        let work = move |connection: &Connection| {
            let sql = "DELETE FROM entry WHERE key = ?1 RETURNING value, expires";
            let taken: Option<(Vec<u8>, i64)> =
                connection.prepare_cached(sql)?.query_row([key.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            Ok(taken.filter(|(_, expires)| *expires > micros(clock.now())).map(|(value, _)| value))
        };
        let tell = move |taken: &Option<Vec<u8>>| {
            if taken.is_some() {
                changes.send(Change::Key(changed));
            }
        };
        self.writer.run_then(work, tell).await
    }

    async fn extend(&self, key: &Key, ttl: Duration) -> Result<bool, Unavailable> {
        let (key, clock) = (key.clone(), self.clock.clone());
        let work = move |connection: &Connection| {
            let now = micros(clock.now());
            let sql = "UPDATE entry SET expires = ?1 WHERE key = ?2 AND expires > ?3";
            Ok(connection.prepare_cached(sql)?.execute(params![expiry(now, ttl), key.as_str(), now])? > 0)
        };
        self.writer.run(work).await
    }

    async fn increment(&self, key: &Key, ttl: Duration) -> Result<u64, Unavailable> {
        let (key, clock) = (key.clone(), self.clock.clone());
        let work = move |connection: &Connection| {
            let now = micros(clock.now());
            let sql = "SELECT value FROM entry WHERE key = ?1 AND expires > ?2";
            let counted: Option<[u8; 8]> =
                connection.prepare_cached(sql)?.query_row(params![key.as_str(), now], |row| row.get(0)).optional()?;
            let Some(counted) = counted else {
                remove(connection, &key)?;
                insert(connection, &key, &1u64.to_be_bytes(), expiry(now, ttl), &[])?;
                return Ok(1);
            };
            let count = u64::from_be_bytes(counted).saturating_add(1);
            let sql = "UPDATE entry SET value = ?1, version = random() WHERE key = ?2";
            connection.prepare_cached(sql)?.execute(params![count.to_be_bytes(), key.as_str()])?;
            Ok(count)
        };
        self.writer.run(work).await
    }

    async fn list(&self, group: &Group, after: Option<&Key>, most: usize) -> Result<Vec<Key>, Unavailable> {
        let (group, clock) = (group.clone(), self.clock.clone());
        // No key is empty, so all come after the empty one.
        let after = after.map_or_else(String::new, Key::to_string);
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let work = move |connection: &Connection| {
            let sql = "SELECT member.key FROM member JOIN entry ON entry.id = member.entry
                WHERE member.\"group\" = ?1 AND member.key > ?2 AND entry.expires > ?3 ORDER BY member.key LIMIT ?4";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![group.as_str(), after, micros(clock.now()), most], key_of)?;
            rows.collect()
        };
        self.readers.run(work).await
    }

    async fn remove_group(&self, group: &Group) -> Result<u64, Unavailable> {
        let (group, clock, changes) = (group.clone(), self.clock.clone(), self.entries.clone());
        let work = move |connection: &Connection| {
            let now = micros(clock.now());
            let sql = "DELETE FROM entry WHERE id IN (SELECT entry FROM member WHERE \"group\" = ?1) RETURNING key, expires > ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![group.as_str(), now], |row| Ok((key_of(row)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<(Key, bool)>>>()
        };
        let tell = move |removed: &Vec<(Key, bool)>| {
            for (key, _) in removed.iter().filter(|(_, live)| *live) {
                changes.send(Change::Key(key.clone()));
            }
        };
        let removed = self.writer.run_then(work, tell).await?;
        Ok(removed.iter().filter(|(_, live)| *live).count() as u64)
    }

    fn changes(&self) -> ChangeStream {
        self.entries.subscribe()
    }
}

/// Removes up to `most` entries that died before then.
pub(super) fn sweep(connection: &Connection, before: i64, most: usize) -> rusqlite::Result<()> {
    let sql = "DELETE FROM entry WHERE id IN (SELECT id FROM entry WHERE expires <= ?1 ORDER BY expires LIMIT ?2)";
    connection.prepare_cached(sql)?.execute(params![before, i64::try_from(most).unwrap_or(i64::MAX)])?;
    Ok(())
}

/// Microseconds since 1970.
pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

fn expiry(now: i64, ttl: Duration) -> i64 {
    now.saturating_add(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX))
}

fn version(stored: i64) -> Version {
    Version(stored.cast_unsigned())
}

fn key_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Key> {
    Ok(Key::from_stored(row.get_ref(0)?.as_str()?))
}

fn insert(connection: &Connection, key: &Key, value: &[u8], expires: i64, groups: &[Group]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO entry (key, value, version, expires) VALUES (?1, ?2, random(), ?3)";
    connection.prepare_cached(sql)?.execute(params![key.as_str(), value, expires])?;
    let entry = connection.last_insert_rowid();
    for group in groups {
        // A group named twice is one group.
        let sql = "INSERT OR IGNORE INTO member (\"group\", key, entry) VALUES (?1, ?2, ?3)";
        connection.prepare_cached(sql)?.execute(params![group.as_str(), key.as_str(), entry])?;
    }
    Ok(())
}

fn remove(connection: &Connection, key: &Key) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM entry WHERE key = ?1")?.execute([key.as_str()]).map(drop)
}

/// The number of live members of a group, counted up to `most`.
fn live_members(connection: &Connection, group: &Group, now: i64, most: u32) -> rusqlite::Result<u32> {
    let sql = "SELECT count(*) FROM (SELECT 1 FROM member JOIN entry ON entry.id = member.entry
        WHERE member.\"group\" = ?1 AND entry.expires > ?2 LIMIT ?3)";
    connection.prepare_cached(sql)?.query_row(params![group.as_str(), now, most], |row| row.get(0))
}
