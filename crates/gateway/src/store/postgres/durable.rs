//! Users, keys, decisions and settings, in PostgreSQL.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;
use vestibule_engine::audit::{Event, Recorded};
use vestibule_engine::identity::{ExternalId, GroupName, PasswordHash, TenantId, User, UserId, Username};
use vestibule_engine::request::RequestId;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;
use vestibule_engine::store::{Change, ChangeStream, DECISIONS_KEPT, DurableStore, KeyRecord};

use super::{PostgresStore, Taken, column};

/// The line of a message that means the signing keys.
const KEYS: &str = "keys";

#[async_trait]
impl DurableStore for PostgresStore {
    async fn user(&self, id: UserId) -> Result<Option<User>, Unavailable> {
        let sql = "SELECT record, password FROM vestibule.\"user\" WHERE id = $1";
        self.row(sql, &[&octets(id.0)]).await?.as_ref().map(user_of).transpose()
    }

    async fn user_by_name(&self, tenant: &TenantId, name: &Username) -> Result<Option<User>, Unavailable> {
        let sql = "SELECT record, password FROM vestibule.\"user\" WHERE tenant = $1 AND name = $2";
        self.row(sql, &[&tenant.as_str(), &name.as_str()]).await?.as_ref().map(user_of).transpose()
    }

    async fn users_by_name(&self, tenant: &TenantId, names: &[Username]) -> Result<Vec<User>, Unavailable> {
        let names: Vec<&str> = names.iter().map(Username::as_str).collect();
        let sql = "SELECT record, password FROM vestibule.\"user\" WHERE tenant = $1 AND name = ANY ($2)";
        self.rows(sql, &[&tenant.as_str(), &names]).await?.iter().map(user_of).collect()
    }

    async fn user_by_external_id(&self, tenant: &TenantId, id: &ExternalId) -> Result<Option<User>, Unavailable> {
        if !can_be_text(&id.id) {
            return Ok(None);
        }
        let sql = "SELECT u.record, u.password FROM vestibule.external_id JOIN vestibule.\"user\" AS u ON u.id = external_id.\"user\"
            WHERE external_id.tenant = $1 AND external_id.issuer = $2 AND external_id.id = $3";
        self.row(sql, &[&tenant.as_str(), &id.issuer.as_str(), &id.id]).await?.as_ref().map(user_of).transpose()
    }

    async fn insert_user(&self, user: &User) -> Result<bool, Unavailable> {
        let written = Written::of(user)?;
        let sql = "SELECT vestibule.insert_user($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let Written { id, tenant, name, epoch, password, record, issuers, ids, groups } = &written;
        let row = self.row(sql, &[id, tenant, name, epoch, password, record, issuers, ids, groups]).await?;
        row.as_ref().map_or(Ok(false), |row| column(row, 0))
    }

    async fn insert_users(&self, users: &[User]) -> Result<Vec<bool>, Unavailable> {
        let mut all = Columns::default();
        for user in users {
            all.push(user)?;
        }
        let Columns { ids, tenants, names, epochs, passwords, records, external, groups } = &all;
        // Rows of one statement see nothing of each other, but what points to what is checked at its end.
        let sql = "WITH users AS (INSERT INTO vestibule.\"user\" (id, tenant, name, epoch, password, record)
                SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[])),
            ids AS (INSERT INTO vestibule.external_id (tenant, issuer, id, \"user\")
                SELECT DISTINCT * FROM unnest($7::text[], $8::text[], $9::text[], $10::bytea[])),
            groups AS (INSERT INTO vestibule.user_group (tenant, \"group\", name, \"user\")
                SELECT DISTINCT * FROM unnest($11::text[], $12::text[], $13::text[], $14::bytea[]))
            SELECT";
        let parameters: [&(dyn ToSql + Sync); 14] = [
            ids,
            tenants,
            names,
            epochs,
            passwords,
            records,
            &external.0,
            &external.1,
            &external.2,
            &external.3,
            &groups.0,
            &groups.1,
            &groups.2,
            &groups.3,
        ];
        match self.attempt(sql, &parameters).await? {
            Ok(_) => Ok(vec![true; users.len()]),
            // One of them cannot be added: which one only each alone can tell.
            Err(Taken) => {
                let mut added = Vec::with_capacity(users.len());
                for user in users {
                    added.push(self.insert_user(user).await?);
                }
                Ok(added)
            }
        }
    }

    async fn update_user(&self, user: &User, expected_epoch: u64) -> Result<bool, Unavailable> {
        if user.epoch < expected_epoch {
            return Ok(false);
        }
        let (written, expected) = (Written::of(user)?, signed(expected_epoch)?);
        let call = self.users.begin(Change::User(user.id));
        let message = format!("{}{}", call.mark(), user.id.0);
        let sql = "SELECT vestibule.update_user($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        let Written { id, tenant, name, epoch, password, record, issuers, ids, groups } = &written;
        let row = self.row(sql, &[id, tenant, name, epoch, password, record, issuers, ids, groups, &expected, &message]).await?;
        let updated = row.as_ref().map_or(Ok(false), |row| column(row, 0))?;
        if updated {
            call.changed([Change::User(user.id)]);
        } else {
            call.unchanged();
        }
        Ok(updated)
    }

    async fn replace_password(&self, id: UserId, expected: &PasswordHash, new: &PasswordHash) -> Result<bool, Unavailable> {
        let call = self.users.begin(Change::User(id));
        let message = format!("{}{}", call.mark(), id.0);
        let sql = "WITH replaced AS (UPDATE vestibule.\"user\" SET password = $3 WHERE id = $1 AND password = $2 RETURNING id)
            SELECT pg_notify('vestibule_users', $4)::text FROM replaced";
        let replaced = self.row(sql, &[&octets(id.0), &expected.0, &new.0, &message]).await?.is_some();
        match replaced {
            true => call.changed([Change::User(id)]),
            false => call.unchanged(),
        }
        Ok(replaced)
    }

    async fn users_with_sealed_hash(&self, most: usize) -> Result<Vec<User>, Unavailable> {
        // The condition is the index's.
        let sql = "SELECT record, password FROM vestibule.\"user\" WHERE starts_with(password, '$vestibule-sealed$') LIMIT $1";
        self.rows(sql, &[&i64::try_from(most).unwrap_or(i64::MAX)]).await?.iter().map(user_of).collect()
    }

    async fn remove_user(&self, id: UserId) -> Result<bool, Unavailable> {
        let call = self.users.begin(Change::User(id));
        let message = format!("{}{}", call.mark(), id.0);
        // What points to the user goes with it.
        let sql = "WITH removed AS (DELETE FROM vestibule.\"user\" WHERE id = $1 RETURNING id)
            SELECT pg_notify('vestibule_users', $2)::text FROM removed";
        let removed = self.row(sql, &[&octets(id.0), &message]).await?.is_some();
        match removed {
            true => call.changed([Change::User(id)]),
            false => call.unchanged(),
        }
        Ok(removed)
    }

    async fn users(
        &self,
        tenant: &TenantId,
        group: Option<&GroupName>,
        after: Option<&Username>,
        most: usize,
    ) -> Result<Vec<User>, Unavailable> {
        // No name is empty, so all come after the empty one.
        let after = after.map_or("", Username::as_str);
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = match group {
            None => {
                let sql = "SELECT record, password FROM vestibule.\"user\" WHERE tenant = $1 AND name > $2 ORDER BY name LIMIT $3";
                self.rows(sql, &[&tenant.as_str(), &after, &most]).await?
            }
            Some(group) => {
                let sql = "SELECT u.record, u.password FROM vestibule.user_group AS g JOIN vestibule.\"user\" AS u ON u.id = g.\"user\"
                    WHERE g.tenant = $1 AND g.\"group\" = $4 AND g.name > $2 ORDER BY g.name LIMIT $3";
                self.rows(sql, &[&tenant.as_str(), &after, &most, &group.as_str()]).await?
            }
        };
        rows.iter().map(user_of).collect()
    }

    async fn put_key(&self, key: &KeyRecord) -> Result<(), Unavailable> {
        let (created, changed, state) = (key.created.to_string(), key.changed.to_string(), json(&key.state)?);
        let call = self.users.begin(Change::Keys);
        let message = format!("{}{KEYS}", call.mark());
        let sql = "WITH put AS (INSERT INTO vestibule.signing_key (id, purpose, algorithm, state, public, sealed, created, changed)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            ON CONFLICT (id) DO UPDATE SET purpose = excluded.purpose, algorithm = excluded.algorithm, state = excluded.state,
                public = excluded.public, sealed = excluded.sealed, created = excluded.created, changed = excluded.changed RETURNING id)
            SELECT pg_notify('vestibule_users', $9)::text FROM put";
        let sealed: &[u8] = key.sealed.reveal();
        self.rows(sql, &[&key.id, &key.purpose, &key.algorithm, &state, &key.public, &sealed, &created, &changed, &message]).await?;
        call.changed([Change::Keys]);
        Ok(())
    }

    async fn keys(&self, purpose: &str) -> Result<Vec<KeyRecord>, Unavailable> {
        let sql = "SELECT id, purpose, algorithm, state, public, sealed, created, changed FROM vestibule.signing_key WHERE purpose = $1";
        let mut keys = self.rows(sql, &[&purpose]).await?.iter().map(key_of).collect::<Result<Vec<_>, _>>()?;
        keys.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(keys)
    }

    async fn record(&self, entries: &[Recorded]) -> Result<(), Unavailable> {
        let (mut ids, mut records, mut places) = (Vec::new(), Vec::new(), HashMap::new());
        for entry in entries {
            if let (Some(id), Event::RequestDecided(_)) = (entry.request_id, &entry.event) {
                let record = json(entry)?;
                // One statement writes a row once: of a request's decisions the last stands.
                match places.get(&id).and_then(|place: &usize| records.get_mut(*place)) {
                    Some(earlier) => *earlier = record,
                    None => {
                        places.insert(id, records.len());
                        ids.push(octets(id.0));
                        records.push(record);
                    }
                }
            }
        }
        if ids.is_empty() {
            return Ok(());
        }
        let sql = "INSERT INTO vestibule.decision (request_id, record)
            SELECT id, record FROM unnest($1::bytea[], $2::text[]) WITH ORDINALITY AS given (id, record, place) ORDER BY place
            ON CONFLICT (request_id) DO UPDATE SET record = excluded.record";
        self.rows(sql, &[&ids, &records]).await?;
        let sql = "DELETE FROM vestibule.decision WHERE number <= (SELECT max(number) FROM vestibule.decision) - $1";
        self.rows(sql, &[&i64::try_from(DECISIONS_KEPT).unwrap_or(i64::MAX)]).await.map(drop)
    }

    async fn recorded(&self, id: RequestId) -> Result<Option<Recorded>, Unavailable> {
        let sql = "SELECT record FROM vestibule.decision WHERE request_id = $1";
        self.row(sql, &[&octets(id.0)]).await?.as_ref().map(|row| parsed(row, 0)).transpose()
    }

    async fn epoch(&self) -> Result<u64, Unavailable> {
        let row = self.row("SELECT epoch FROM vestibule.installation", &[]).await?;
        let row = row.ok_or_else(|| Unavailable::new("store", "PostgreSQL lost the installation's row"))?;
        column(&row, 0).map(i64::cast_unsigned)
    }

    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        let row = self.row("SELECT value FROM vestibule.setting WHERE name = $1", &[&name]).await?;
        row.as_ref().map(|row| column(row, 0)).transpose()
    }

    async fn setting_or_insert(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, Unavailable> {
        // The update that changes nothing makes the row that stands the answer, whoever wrote it a moment ago.
        let sql = "INSERT INTO vestibule.setting (name, value) VALUES ($1, $2)
            ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING value";
        let row = self.row(sql, &[&name, &value]).await?;
        row.as_ref().map_or_else(|| Err(Unavailable::new("store", "PostgreSQL kept no setting")), |row| column(row, 0))
    }

    fn changes(&self) -> ChangeStream {
        self.users.subscribe()
    }
}

/// What a line of a message means.
pub(super) fn change(line: &str) -> Option<Change> {
    if line == KEYS {
        return Some(Change::Keys);
    }
    Uuid::parse_str(line).ok().map(|id| Change::User(UserId(id)))
}

/// A user as its columns.
struct Written<'a> {
    id: Vec<u8>,
    tenant: &'a str,
    name: &'a str,
    epoch: i64,
    password: Option<&'a str>,
    record: String,
    issuers: Vec<&'a str>,
    ids: Vec<&'a str>,
    groups: Vec<&'a str>,
}

impl<'a> Written<'a> {
    fn of(user: &'a User) -> Result<Self, Unavailable> {
        Ok(Self {
            id: octets(user.id.0),
            tenant: user.tenant.as_str(),
            name: user.name.as_str(),
            epoch: signed(user.epoch)?,
            password: user.password.as_ref().map(|hash| hash.0.as_str()),
            record: json(user)?,
            issuers: user.external_ids.iter().map(|external| external.issuer.as_str()).collect(),
            ids: user.external_ids.iter().map(|external| external.id.as_str()).collect(),
            groups: user.groups.iter().map(GroupName::as_str).collect(),
        })
    }
}

/// Many users as columns, and what points to them.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<Vec<u8>>,
    tenants: Vec<&'a str>,
    names: Vec<&'a str>,
    epochs: Vec<i64>,
    passwords: Vec<Option<&'a str>>,
    records: Vec<String>,
    /// Issuers and ids.
    external: Pointing<'a>,
    /// Groups and names.
    groups: Pointing<'a>,
}

/// What points to users, as columns: tenants, two texts, and whom.
#[derive(Default)]
struct Pointing<'a>(Vec<&'a str>, Vec<&'a str>, Vec<&'a str>, Vec<Vec<u8>>);

impl<'a> Columns<'a> {
    fn push(&mut self, user: &'a User) -> Result<(), Unavailable> {
        let Written { id, tenant, name, epoch, password, record, issuers, ids, groups } = Written::of(user)?;
        for (issuer, external) in issuers.into_iter().zip(ids) {
            self.external.0.push(tenant);
            self.external.1.push(issuer);
            self.external.2.push(external);
            self.external.3.push(id.clone());
        }
        for group in groups {
            self.groups.0.push(tenant);
            self.groups.1.push(group);
            self.groups.2.push(name);
            self.groups.3.push(id.clone());
        }
        self.ids.push(id);
        self.tenants.push(tenant);
        self.names.push(name);
        self.epochs.push(epoch);
        self.passwords.push(password);
        self.records.push(record);
        Ok(())
    }
}

fn user_of(row: &Row) -> Result<User, Unavailable> {
    let password: Option<String> = column(row, 1)?;
    Ok(User { password: password.map(PasswordHash), ..parsed(row, 0)? })
}

fn key_of(row: &Row) -> Result<KeyRecord, Unavailable> {
    let time = |number| column::<&str>(row, number)?.parse().map_err(damaged);
    Ok(KeyRecord {
        id: column(row, 0)?,
        purpose: column(row, 1)?,
        algorithm: column(row, 2)?,
        state: parsed(row, 3)?,
        public: column(row, 4)?,
        sealed: Secret::new(column(row, 5)?),
        created: time(6)?,
        changed: time(7)?,
    })
}

fn parsed<T: DeserializeOwned>(row: &Row, number: usize) -> Result<T, Unavailable> {
    serde_json::from_str(column(row, number)?).map_err(damaged)
}

fn json(value: &impl Serialize) -> Result<String, Unavailable> {
    serde_json::to_string(value).map_err(damaged)
}

fn damaged(error: impl std::fmt::Display) -> Unavailable {
    Unavailable::new("store", error)
}

fn octets(id: Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

/// PostgreSQL's texts hold no NUL: what has one is nobody's id, and asking for it is no outage.
fn can_be_text(text: &str) -> bool {
    !text.contains('\0')
}

/// PostgreSQL's integers are signed.
fn signed(epoch: u64) -> Result<i64, Unavailable> {
    i64::try_from(epoch).map_err(damaged)
}
