//! Users, keys, decisions and settings, in SQLite.

use async_trait::async_trait;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;
use vestibule_engine::audit::{Event, Recorded};
use vestibule_engine::identity::{ExternalId, GroupName, PasswordHash, TenantId, User, UserId, Username};
use vestibule_engine::request::RequestId;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;
use vestibule_engine::store::{Change, ChangeStream, DECISIONS_KEPT, DurableStore, KeyRecord};

use super::EmbeddedStore;

#[async_trait]
impl DurableStore for EmbeddedStore {
    async fn user(&self, id: UserId) -> Result<Option<User>, Unavailable> {
        let work = move |connection: &Connection| {
            let sql = "SELECT record, password FROM user WHERE id = ?1";
            connection.prepare_cached(sql)?.query_row([id.0.as_bytes()], user_of).optional()
        };
        self.readers.run(work).await
    }

    async fn user_by_name(&self, tenant: &TenantId, name: &Username) -> Result<Option<User>, Unavailable> {
        let (tenant, name) = (tenant.clone(), name.clone());
        let work = move |connection: &Connection| {
            let sql = "SELECT record, password FROM user WHERE tenant = ?1 AND name = ?2";
            connection.prepare_cached(sql)?.query_row([tenant.as_str(), name.as_str()], user_of).optional()
        };
        self.readers.run(work).await
    }

    async fn users_by_name(&self, tenant: &TenantId, names: &[Username]) -> Result<Vec<User>, Unavailable> {
        let (tenant, names) = (tenant.clone(), names.to_vec());
        let work = move |connection: &Connection| {
            let mut statement = connection.prepare_cached("SELECT record, password FROM user WHERE tenant = ?1 AND name = ?2")?;
            let mut found = Vec::new();
            for name in &names {
                found.extend(statement.query_row([tenant.as_str(), name.as_str()], user_of).optional()?);
            }
            Ok(found)
        };
        self.readers.run(work).await
    }

    async fn user_by_external_id(&self, tenant: &TenantId, id: &ExternalId) -> Result<Option<User>, Unavailable> {
        let (tenant, id) = (tenant.clone(), id.clone());
        let work = move |connection: &Connection| {
            let sql = "SELECT user.record, user.password FROM external_id JOIN user ON user.id = external_id.user
                WHERE external_id.tenant = ?1 AND external_id.issuer = ?2 AND external_id.id = ?3";
            connection.prepare_cached(sql)?.query_row([tenant.as_str(), id.issuer.as_str(), &id.id], user_of).optional()
        };
        self.readers.run(work).await
    }

    async fn insert_user(&self, user: &User) -> Result<bool, Unavailable> {
        let user = user.clone();
        self.writer.run(move |connection| insert(connection, &user)).await
    }

    async fn insert_users(&self, users: &[User]) -> Result<Vec<bool>, Unavailable> {
        let users = users.to_vec();
        // One commit for all.
        self.writer.run(move |connection| users.iter().map(|user| insert(connection, user)).collect()).await
    }

    async fn update_user(&self, user: &User, expected_epoch: u64) -> Result<bool, Unavailable> {
        if user.epoch < expected_epoch {
            return Ok(false);
        }
        let (id, user, changes) = (user.id, user.clone(), self.users.clone());
        let work = move |connection: &Connection| {
            let sql = "SELECT 1 FROM user WHERE id = ?1 AND tenant = ?2 AND epoch = ?3";
            let expected = params![user.id.0.as_bytes(), user.tenant.as_str(), signed(expected_epoch)?];
            if !connection.prepare_cached(sql)?.exists(expected)? || is_taken(connection, &user)? {
                return Ok(false);
            }
            for sql in ["DELETE FROM external_id WHERE user = ?1", "DELETE FROM user_group WHERE user = ?1"] {
                connection.prepare_cached(sql)?.execute([user.id.0.as_bytes()])?;
            }
            let sql = "UPDATE user SET name = ?3, epoch = ?4, password = ?5, record = ?6 WHERE id = ?1 AND tenant = ?2";
            write_user(connection, sql, &user)?;
            Ok(true)
        };
        let tell = move |updated: &bool| {
            if *updated {
                changes.send(Change::User(id));
            }
        };
        self.writer.run_then(work, tell).await
    }

    async fn replace_password(&self, id: UserId, expected: &PasswordHash, new: &PasswordHash) -> Result<bool, Unavailable> {
        let (expected, new, changes) = (expected.clone(), new.clone(), self.users.clone());
        let work = move |connection: &Connection| {
            let sql = "UPDATE user SET password = ?3 WHERE id = ?1 AND password = ?2";
            connection.prepare_cached(sql)?.execute(params![id.0.as_bytes(), expected.0, new.0]).map(|replaced| replaced > 0)
        };
        let tell = move |replaced: &bool| {
            if *replaced {
                changes.send(Change::User(id));
            }
        };
        self.writer.run_then(work, tell).await
    }

    async fn users_with_sealed_hash(&self, most: usize) -> Result<Vec<User>, Unavailable> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let work = move |connection: &Connection| {
            // The condition is the index's: the octet after `$` is `%`.
            let sql = "SELECT record, password FROM user
                WHERE password >= '$vestibule-sealed$' AND password < '$vestibule-sealed%' LIMIT ?1";
            connection.prepare_cached(sql)?.query_map([most], user_of)?.collect()
        };
        self.readers.run(work).await
    }

    async fn remove_user(&self, id: UserId) -> Result<bool, Unavailable> {
        let changes = self.users.clone();
        // What points to the user goes with it: foreign keys are on.
        let work = move |connection: &Connection| {
            connection.prepare_cached("DELETE FROM user WHERE id = ?1")?.execute([id.0.as_bytes()]).map(|removed| removed > 0)
        };
        let tell = move |removed: &bool| {
            if *removed {
                changes.send(Change::User(id));
            }
        };
        self.writer.run_then(work, tell).await
    }

    async fn users(
        &self,
        tenant: &TenantId,
        group: Option<&GroupName>,
        after: Option<&Username>,
        most: usize,
    ) -> Result<Vec<User>, Unavailable> {
        let (tenant, group) = (tenant.clone(), group.cloned());
        // No name is empty, so all come after the empty one.
        let after = after.map_or_else(String::new, Username::to_string);
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let work = move |connection: &Connection| match group {
            None => {
                let sql = "SELECT record, password FROM user WHERE tenant = ?1 AND name > ?2 ORDER BY name LIMIT ?3";
                let mut statement = connection.prepare_cached(sql)?;
                statement.query_map(params![tenant.as_str(), after, most], user_of)?.collect()
            }
            Some(group) => {
                let sql = "SELECT user.record, user.password FROM user_group JOIN user ON user.id = user_group.user
                    WHERE user_group.tenant = ?1 AND user_group.\"group\" = ?4 AND user_group.name > ?2
                    ORDER BY user_group.name LIMIT ?3";
                let mut statement = connection.prepare_cached(sql)?;
                statement.query_map(params![tenant.as_str(), after, most, group.as_str()], user_of)?.collect()
            }
        };
        self.readers.run(work).await
    }

    async fn put_key(&self, key: &KeyRecord) -> Result<(), Unavailable> {
        let (key, changes) = (key.clone(), self.users.clone());
        let work = move |connection: &Connection| {
            let sql = "INSERT OR REPLACE INTO signing_key (id, purpose, algorithm, state, public, sealed, created, changed)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            let (created, changed) = (key.created.to_string(), key.changed.to_string());
            let row = params![key.id, key.purpose, key.algorithm, json(&key.state)?, key.public, key.sealed.reveal(), created, changed];
            connection.prepare_cached(sql)?.execute(row).map(drop)
        };
        self.writer.run_then(work, move |()| changes.send(Change::Keys)).await
    }

    async fn keys(&self, purpose: &str) -> Result<Vec<KeyRecord>, Unavailable> {
        let purpose = purpose.to_owned();
        let work = move |connection: &Connection| {
            let sql = "SELECT id, purpose, algorithm, state, public, sealed, created, changed FROM signing_key WHERE purpose = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let mut keys = statement.query_map([purpose], key_of)?.collect::<rusqlite::Result<Vec<_>>>()?;
            keys.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
            Ok(keys)
        };
        self.readers.run(work).await
    }

    async fn record(&self, entries: &[Recorded]) -> Result<(), Unavailable> {
        let mut decisions = Vec::new();
        for entry in entries {
            if let (Some(id), Event::RequestDecided(_)) = (entry.request_id, &entry.event) {
                decisions.push((id, serde_json::to_string(entry).map_err(|error| Unavailable::new("store", error))?));
            }
        }
        if decisions.is_empty() {
            return Ok(());
        }
        let work = move |connection: &Connection| {
            for (id, record) in &decisions {
                let sql = "INSERT OR REPLACE INTO decision (request_id, record) VALUES (?1, ?2)";
                connection.prepare_cached(sql)?.execute(params![id.0.as_bytes(), record])?;
            }
            let sql = "DELETE FROM decision WHERE number <= (SELECT max(number) FROM decision) - ?1";
            connection.prepare_cached(sql)?.execute([i64::try_from(DECISIONS_KEPT).unwrap_or(i64::MAX)]).map(drop)
        };
        self.writer.run(work).await
    }

    async fn recorded(&self, id: RequestId) -> Result<Option<Recorded>, Unavailable> {
        let work = move |connection: &Connection| {
            let sql = "SELECT record FROM decision WHERE request_id = ?1";
            connection.prepare_cached(sql)?.query_row([id.0.as_bytes()], |row| parsed(row, 0)).optional()
        };
        self.readers.run(work).await
    }

    async fn epoch(&self) -> Result<u64, Unavailable> {
        let work = |connection: &Connection| {
            connection.prepare_cached("SELECT epoch FROM installation")?.query_row([], |row| row.get(0).map(i64::cast_unsigned))
        };
        self.readers.run(work).await
    }

    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        let name = name.to_owned();
        self.readers.run(move |connection| setting(connection, &name)).await
    }

    async fn setting_or_insert(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, Unavailable> {
        let (name, value) = (name.to_owned(), value.to_vec());
        let work = move |connection: &Connection| {
            let sql = "INSERT OR IGNORE INTO setting (name, value) VALUES (?1, ?2)";
            connection.prepare_cached(sql)?.execute(params![name, value])?;
            Ok(setting(connection, &name)?.unwrap_or(value))
        };
        self.writer.run(work).await
    }

    fn changes(&self) -> ChangeStream {
        self.users.subscribe()
    }
}

/// Adds a user, or leaves everything as it was.
fn insert(connection: &Connection, user: &User) -> rusqlite::Result<bool> {
    let known = connection.prepare_cached("SELECT 1 FROM user WHERE id = ?1")?.exists([user.id.0.as_bytes()])?;
    if known || is_taken(connection, user)? {
        return Ok(false);
    }
    let sql = "INSERT INTO user (id, tenant, name, epoch, password, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    write_user(connection, sql, user)?;
    Ok(true)
}

/// Whether another user has this user's name or one of its external ids.
fn is_taken(connection: &Connection, user: &User) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM user WHERE tenant = ?1 AND name = ?2 AND id <> ?3";
    if connection.prepare_cached(sql)?.exists(params![user.tenant.as_str(), user.name.as_str(), user.id.0.as_bytes()])? {
        return Ok(true);
    }
    for id in &user.external_ids {
        let sql = "SELECT 1 FROM external_id WHERE tenant = ?1 AND issuer = ?2 AND id = ?3 AND user <> ?4";
        let holder = params![user.tenant.as_str(), id.issuer.as_str(), id.id, user.id.0.as_bytes()];
        if connection.prepare_cached(sql)?.exists(holder)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes a user by `sql`, which takes id, tenant, name, epoch, password and record; then what points to it.
fn write_user(connection: &Connection, sql: &str, user: &User) -> rusqlite::Result<()> {
    let (id, tenant, name) = (user.id.0.as_bytes(), user.tenant.as_str(), user.name.as_str());
    let password = user.password.as_ref().map(|hash| &hash.0);
    connection.prepare_cached(sql)?.execute(params![id, tenant, name, signed(user.epoch)?, password, json(user)?])?;
    for external in &user.external_ids {
        // The same one twice is one.
        let sql = "INSERT OR IGNORE INTO external_id (tenant, issuer, id, user) VALUES (?1, ?2, ?3, ?4)";
        connection.prepare_cached(sql)?.execute(params![tenant, external.issuer.as_str(), external.id, id])?;
    }
    for group in &user.groups {
        let sql = "INSERT OR IGNORE INTO user_group (tenant, \"group\", name, user) VALUES (?1, ?2, ?3, ?4)";
        connection.prepare_cached(sql)?.execute(params![tenant, group.as_str(), name, id])?;
    }
    Ok(())
}

fn user_of(row: &Row<'_>) -> rusqlite::Result<User> {
    let password: Option<String> = row.get(1)?;
    Ok(User { password: password.map(PasswordHash), ..parsed(row, 0)? })
}

fn key_of(row: &Row<'_>) -> rusqlite::Result<KeyRecord> {
    let time = |column| {
        let text = row.get_ref(column)?.as_str()?;
        text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
    };
    Ok(KeyRecord {
        id: row.get(0)?,
        purpose: row.get(1)?,
        algorithm: row.get(2)?,
        state: parsed(row, 3)?,
        public: row.get(4)?,
        sealed: Secret::new(row.get(5)?),
        created: time(6)?,
        changed: time(7)?,
    })
}

fn setting(connection: &Connection, name: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    connection.prepare_cached("SELECT value FROM setting WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()
}

fn parsed<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// SQLite's integers are signed.
fn signed(epoch: u64) -> rusqlite::Result<i64> {
    i64::try_from(epoch).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
