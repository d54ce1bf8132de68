//! Stores.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secrets::SecretRef;
use crate::config::values::{At, OneOrMore, Period};

/// Where users, keys and sessions are kept. Several gateways are one when they share what they keep.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Users, groups and keys: `embedded` is one SQLite file, `postgres` a database that several gateways share.
    pub durable: At<DurableBackend>,
    /// Sessions, replay protection and counters: `embedded` is one SQLite file, `postgres` the same database, `redis` a
    /// Redis or Valkey beside it. What must never be forgotten, the ids of used tokens, stays in the database.
    pub expiring: At<ExpiringBackend>,
    /// The directory of the embedded store, and of the file that seals keys.
    #[schemars(with = "String")]
    pub path: At<PathBuf>,
    /// The database, where something is kept in PostgreSQL.
    pub postgres: Option<At<Postgres>>,
    /// The server, where something is kept in Redis or Valkey.
    pub redis: Option<At<Redis>>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            durable: DurableBackend::Embedded.into(),
            expiring: ExpiringBackend::Embedded.into(),
            path: PathBuf::from("data").into(),
            postgres: None,
            redis: None,
        }
    }
}

/// What keeps what lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DurableBackend {
    /// SQLite in one file.
    Embedded,
    /// PostgreSQL.
    Postgres,
    /// Nothing survives the process. For `demo` and tests; `serve` refuses it.
    Memory,
}

/// What keeps what expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExpiringBackend {
    /// SQLite in one file.
    Embedded,
    /// PostgreSQL.
    Postgres,
    /// Redis or Valkey.
    Redis,
    /// Nothing survives the process. For `demo` and tests; `serve` refuses it.
    Memory,
}

/// A PostgreSQL database.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// Where it is and who we are there, without the password. Of several servers of one database the one that may be
    /// written to is used. TLS is spoken with every server that is not on this machine; a directory in place of the host,
    /// with `%2F` for its slashes, is a Unix socket.
    #[schemars(example = "postgresql://vestibule@db.example.com/vestibule")]
    pub url: At<OneOrMore>,
    /// Our password there.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "file": "/run/secrets/postgres" }))]
    pub password: Option<At<SecretRef>>,
    /// Certificates in PEM form that the server's must descend from. Without it, those the system trusts. With it, TLS
    /// is spoken on this machine too.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "tls/database-ca.pem")]
    pub ca: Option<At<PathBuf>>,
    /// Connections at one time, besides the one that hears of changes.
    #[serde(default = "sixteen")]
    #[schemars(with = "u16")]
    pub connections: At<u16>,
    /// How long a connection, and how long an answer may take.
    #[serde(default = "three_seconds")]
    #[schemars(with = "Period")]
    pub timeout: At<Period>,
}

/// A Redis or Valkey.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// Where it is, and who we are there if it has users, without the password: `rediss` speaks TLS, `redis` is for this
    /// machine. A path is the number of the database. Several are the Sentinels or the nodes of a Cluster.
    #[schemars(example = "rediss://vestibule@cache.example.com")]
    pub url: At<OneOrMore>,
    /// What the servers are to each other.
    #[serde(default)]
    pub topology: At<RedisTopology>,
    /// The name that the Sentinels know the primary by.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"vestibule")]
    pub primary: Option<At<String>>,
    /// Our password there.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "file": "/run/secrets/redis" }))]
    pub password: Option<At<SecretRef>>,
    /// Our password at the Sentinels, where it is asked.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "file": "/run/secrets/sentinel" }))]
    pub sentinel_password: Option<At<SecretRef>>,
    /// Certificates in PEM form that the servers' must descend from. Without it, those the system trusts.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "tls/cache-ca.pem")]
    pub ca: Option<At<PathBuf>>,
    /// How long a connection, and how long an answer may take.
    #[serde(default = "three_seconds")]
    #[schemars(with = "Period")]
    pub timeout: At<Period>,
}

/// What several Redis servers are to each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RedisTopology {
    /// One server.
    #[default]
    Single,
    /// Sentinels that know which server is the primary.
    Sentinel,
    /// Nodes of a Redis Cluster.
    Cluster,
}

fn sixteen() -> At<u16> {
    16.into()
}

fn three_seconds() -> At<Period> {
    Period::seconds(3).into()
}
