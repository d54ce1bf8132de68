//! Where things are kept, and what goes together.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use url::Url;

use super::Resolve;
use crate::config::Purpose;
use crate::config::checked::{Durable, Expiring, Store};
use crate::config::file::{self, DurableBackend, ExpiringBackend, RedisTopology};
use crate::config::values::{At, OneOrMore, Period};
use crate::store::postgres::{self, Host};
use crate::store::redis::{self, Topology};

/// Connections to the database at one time, at most.
const MOST_CONNECTIONS: u16 = 512;
/// Longest wait for a store: who asked has given up long before.
const LONGEST: Period = Period::seconds(30);
/// Numbered databases of a Redis, at most; it usually has 16.
const MOST_DATABASES: i64 = 1024;

/// One address of a store, read.
struct Address {
    host: String,
    port: u16,
    user: Option<String>,
    /// What stands behind the host.
    path: String,
    encrypted: bool,
    local: bool,
}

impl Resolve<'_> {
    pub(super) fn store(&mut self) -> Store {
        let written = &self.file.store;
        for (at, memory) in [
            (&written.durable.span, written.durable.value == DurableBackend::Memory),
            (&written.expiring.span, written.expiring.value == ExpiringBackend::Memory),
        ] {
            if memory && self.purpose != Purpose::Demo && !cfg!(feature = "memory-store") {
                let at = At { value: (), span: at.clone() };
                self.error(&at, "`memory` forgets everything at the end of the process, and is for `vestibule demo` only").help =
                    Some("write \"embedded\"".to_owned());
            }
        }
        match (written.durable.value, written.expiring.value) {
            (DurableBackend::Embedded | DurableBackend::Memory, ExpiringBackend::Redis) => {
                self.error(&written.expiring, "sessions in Redis are shared, users in a file are not").help =
                    Some("write durable = \"postgres\"".to_owned());
            }
            (DurableBackend::Embedded | DurableBackend::Memory, ExpiringBackend::Postgres) => {
                self.error(&written.expiring, "sessions in PostgreSQL are shared, users in a file are not").help =
                    Some("write durable = \"postgres\"".to_owned());
            }
            (DurableBackend::Postgres, ExpiringBackend::Embedded | ExpiringBackend::Memory) => {
                self.error(&written.expiring, "users in PostgreSQL are shared, sessions and used tokens in a file are not").help =
                    Some("write expiring = \"postgres\" or \"redis\"".to_owned());
            }
            (DurableBackend::Embedded | DurableBackend::Memory, ExpiringBackend::Embedded | ExpiringBackend::Memory)
            | (DurableBackend::Postgres, ExpiringBackend::Postgres | ExpiringBackend::Redis) => {}
        }
        let durable = match (written.durable.value, &written.postgres) {
            (DurableBackend::Embedded, _) => Durable::Embedded,
            (DurableBackend::Memory, _) => Durable::Memory,
            (DurableBackend::Postgres, Some(at)) => self.postgres(at).map_or(Durable::Memory, |found| Durable::Postgres(Arc::new(found))),
            (DurableBackend::Postgres, None) => {
                self.error(&written.durable, "no database is named").help =
                    Some("add [store.postgres] with url = \"postgresql://vestibule@db.example.com/vestibule\"".to_owned());
                Durable::Memory
            }
        };
        let expiring = match (written.expiring.value, &written.redis) {
            (ExpiringBackend::Embedded, _) => Expiring::Embedded,
            (ExpiringBackend::Memory, _) => Expiring::Memory,
            (ExpiringBackend::Postgres, _) => Expiring::Postgres,
            (ExpiringBackend::Redis, Some(at)) => self.redis(at).map_or(Expiring::Memory, |found| Expiring::Redis(Arc::new(found))),
            (ExpiringBackend::Redis, None) => {
                self.error(&written.expiring, "no Redis is named").help =
                    Some("add [store.redis] with url = \"rediss://cache.example.com\"".to_owned());
                Expiring::Memory
            }
        };
        for (span, unused, what) in [
            (written.postgres.as_ref().map(|at| &at.span), written.durable.value != DurableBackend::Postgres, "PostgreSQL"),
            (written.redis.as_ref().map(|at| &at.span), written.expiring.value != ExpiringBackend::Redis, "Redis"),
        ] {
            if let Some(span) = span.filter(|_| unused) {
                let at = At { value: (), span: span.clone() };
                self.warn(&at, format!("nothing is kept in {what}"));
            }
        }
        Store { durable, expiring, path: self.path(&written.path.value) }
    }

    fn postgres(&mut self, at: &At<file::Postgres>) -> Option<postgres::Settings> {
        let written = &at.value;
        if self.shows_password(&written.url) {
            return None;
        }
        let before = self.problems.len();
        let mut hosts = Vec::new();
        let mut first: Option<(String, String)> = None;
        let mut remote = false;
        for at in &written.url.value.0 {
            let Some(address) = self.address(at, &["postgresql", "postgres"], "postgresql://vestibule@db.example.com/vestibule") else {
                continue;
            };
            let (Some(user), false) = (address.user, address.path.is_empty() || address.path.contains('/')) else {
                self.error(at, "the address names no user or no database").help =
                    Some("write it as \"postgresql://vestibule@db.example.com/vestibule\"".to_owned());
                continue;
            };
            let named = (user, address.path);
            if first.as_ref().is_some_and(|first| *first != named) {
                self.error(at, "all servers of a database have the same users and names");
            }
            first.get_or_insert(named);
            let port = if address.port == 0 { 5432 } else { address.port };
            if address.host.starts_with('/') {
                hosts.push(Host::Socket(PathBuf::from(address.host), port));
            } else {
                remote |= !address.local;
                hosts.push(Host::Network(address.host, port));
            }
        }
        if hosts.is_empty() && self.problems.len() == before {
            self.error(&written.url, "the database has no address");
        }
        let tls = remote || written.ca.is_some();
        if tls && hosts.iter().any(|host| matches!(host, Host::Socket(..))) {
            self.error(&written.url, "a Unix socket speaks no TLS").help =
                Some("name servers that are all reached in the same way, and a `ca` only with TLS".to_owned());
        }
        let ca = written.ca.as_ref().and_then(|at| self.certificates_of(at));
        let password = written.password.as_ref().and_then(|at| self.secret(at));
        if !(1..=MOST_CONNECTIONS).contains(&written.connections.value) {
            self.error(&written.connections, format!("this is between 1 and {MOST_CONNECTIONS}"));
        }
        let timeout = self.wait(&written.timeout);
        let (user, database) = first?;
        let ca = ca.unwrap_or_default();
        Some(postgres::Settings { hosts, database, user, password, tls, ca, connections: usize::from(written.connections.value), timeout })
    }

    fn redis(&mut self, at: &At<file::Redis>) -> Option<redis::Settings> {
        let written = &at.value;
        if self.shows_password(&written.url) {
            return None;
        }
        let before = self.problems.len();
        let mut hosts = Vec::new();
        let mut first: Option<(Option<String>, i64, bool)> = None;
        let usual = match written.topology.value {
            RedisTopology::Sentinel => 26379,
            RedisTopology::Single | RedisTopology::Cluster => 6379,
        };
        for at in &written.url.value.0 {
            let Some(address) = self.address(at, &["rediss", "redis"], "rediss://cache.example.com") else { continue };
            let database = match address.path.as_str() {
                "" => Some(0),
                number => number.parse::<i64>().ok().filter(|number| (0..MOST_DATABASES).contains(number)),
            };
            let Some(database) = database else {
                self.error(at, format!("`{}` is not the number of a database", address.path));
                continue;
            };
            if !address.encrypted && !address.local {
                self.error(at, "sessions would cross the network in the clear").help = Some("write rediss://".to_owned());
            }
            let named = (address.user, database, address.encrypted);
            if first.as_ref().is_some_and(|first| *first != named) {
                self.error(at, "all servers are reached in the same way: the same user, database and protection");
            }
            first.get_or_insert(named);
            hosts.push((address.host, if address.port == 0 { usual } else { address.port }));
        }
        if hosts.is_empty() && self.problems.len() == before {
            self.error(&written.url, "the Redis has no address");
        }
        let topology = self.topology(written, hosts.len());
        let (user, database, tls) = first?;
        if topology == Topology::Cluster && database != 0 {
            self.error(&written.url, "a Cluster has one database, which has no number");
        }
        let ca = written.ca.as_ref().and_then(|at| {
            if !tls {
                self.error(at, "certificates mean nothing without TLS").help = Some("write the url with rediss://".to_owned());
            }
            self.certificates_of(at)?;
            let path = self.path(&at.value);
            self.or_error(at, std::fs::read(&path).map_err(|why| why.to_string()))
        });
        let password = written.password.as_ref().and_then(|at| self.secret(at));
        let sentinel_password = written.sentinel_password.as_ref().and_then(|at| self.secret(at));
        let timeout = self.wait(&written.timeout);
        Some(redis::Settings { hosts, topology, database, user, password, sentinel_password, tls, ca, timeout })
    }

    fn topology(&mut self, written: &file::Redis, servers: usize) -> Topology {
        if written.topology.value != RedisTopology::Sentinel {
            for span in
                [written.primary.as_ref().map(|at| &at.span), written.sentinel_password.as_ref().map(|at| &at.span)].into_iter().flatten()
            {
                let at = At { value: (), span: span.clone() };
                self.error(&at, "there is no Sentinel to ask").help = Some("write topology = \"sentinel\", or remove this".to_owned());
            }
        }
        match (written.topology.value, &written.primary) {
            (RedisTopology::Single, _) if servers > 1 => {
                self.error(&written.url, "several servers are Sentinels or a Cluster").help =
                    Some("add topology = \"sentinel\" or \"cluster\"".to_owned());
                Topology::Single
            }
            (RedisTopology::Single, _) => Topology::Single,
            (RedisTopology::Cluster, _) => Topology::Cluster,
            (RedisTopology::Sentinel, Some(primary)) => Topology::Sentinel(primary.value.clone()),
            (RedisTopology::Sentinel, None) => {
                self.error(&written.topology, "the Sentinels are asked for a primary by its name, which is missing").help =
                    Some("add primary = \"vestibule\"".to_owned());
                Topology::Single
            }
        }
    }

    /// Whether an address has a password in it. Then nothing else is said of the line, which would show it.
    fn shows_password(&mut self, urls: &At<OneOrMore>) -> bool {
        let behind = |text: &str| text.split_once("://").map_or(text.to_owned(), |(_, rest)| rest.to_owned());
        let shows = |at: &At<String>| behind(&at.value).rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
        let found = urls.value.0.iter().any(shows);
        if found {
            let problem = self.source.problem_with_secret(&urls.span, "the address of a store has no password in it");
            self.note(problem).help = Some("write password = { file = \"/run/secrets/store\" }".to_owned());
        }
        found
    }

    fn address(&mut self, at: &At<String>, schemes: &[&str], usual: &str) -> Option<Address> {
        let parsed = Url::parse(&at.value).ok();
        let url = parsed.filter(|url| schemes.contains(&url.scheme()) && url.query().is_none() && url.fragment().is_none());
        let read = url.as_ref().and_then(|url| {
            let host = percent_decode_str(url.host_str()?.trim_start_matches('[').trim_end_matches(']')).decode_utf8().ok()?.into_owned();
            let user = percent_decode_str(url.username()).decode_utf8().ok()?.into_owned();
            let path = percent_decode_str(url.path().trim_start_matches('/')).decode_utf8().ok()?.into_owned();
            let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
            let encrypted = url.scheme() == "rediss";
            let user = Some(user).filter(|user| !user.is_empty());
            (!host.is_empty()).then(|| Address { host, port: url.port().unwrap_or(0), user, path, encrypted, local })
        });
        if read.is_none() {
            self.error(at, format!("`{}` is not the address of such a store", at.value)).help = Some(format!("write it as \"{usual}\""));
        }
        read
    }

    fn wait(&mut self, at: &At<Period>) -> std::time::Duration {
        if at.value > LONGEST {
            self.error(at, format!("a store that takes longer than {LONGEST} is down"));
        }
        self.positive(at)
    }
}
