//! Realms, sessions, passwords, keys and the audit.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use vestibule_engine::identity::RealmName;
use vestibule_engine::secret::Secret;
use vestibule_engine::{realm, session};

use super::Resolve;
use crate::config::checked::{Cost, Hashing, Keys, Realm};
use crate::config::file;
use crate::config::values::{At, Period, Size};
use crate::realms::hashing::{MAX_LANES, MAX_MEMORY, MAX_PASSES};

/// Memory times passes of the weakest Argon2id that OWASP's password storage cheat sheet still names (7 MiB × 5).
const LEAST_WORK: u64 = 35 << 20;
/// The memory of one hash, least and most.
const HASH_MEMORY: std::ops::RangeInclusive<u64> = 7 << 20..=(MAX_MEMORY as u64) << 10;
/// Longest time a verified Basic credential may be remembered (architecture §6).
const MAX_BASIC_CACHE: Duration = Duration::from_secs(60);
/// For how long a form may be kept.
const LONGEST_KEPT: Period = Period::seconds(3600);
/// Length of the key-encryption key, in octets.
const KEK: usize = 32;

impl Resolve<'_> {
    pub(super) fn realms(&mut self) -> BTreeMap<RealmName, Realm> {
        let file = self.file;
        let mut realms = BTreeMap::new();
        for (name, At { value, .. }) in &file.realm.0 {
            let realm = match value {
                file::Realm::Local(local) => {
                    // NIST SP 800-63B §5.1.1: at least eight.
                    if !(8..=128).contains(&local.minimum_length.value) {
                        self.error(&local.minimum_length, "the shortest password has between 8 and 128 characters");
                    }
                    Some(Realm::Local { minimum_length: local.minimum_length.value })
                }
                file::Realm::SharedSecrets(shared) => Some(Realm::SharedSecrets(self.shared_secrets(shared))),
                file::Realm::Ldap(ldap) => self.directory(name, ldap).map(|ldap| Realm::Ldap(Box::new(ldap))),
                file::Realm::Delegated(delegated) => {
                    self.delegated_realm(name, delegated).map(|delegated| Realm::Delegated(Box::new(delegated)))
                }
            };
            let name = RealmName::from(name.value.as_str());
            if let Some(realm) = realm.filter(|_| self.used_realms.contains(&name)) {
                realms.insert(name, realm);
            }
        }
        for name in self.used_realms.iter().filter(|name| file.realm.find(name.as_str()).is_none()) {
            // INVARIANT: the realm `local` alone exists without being written.
            let default = file::LocalRealm::default();
            realms.insert(name.clone(), Realm::Local { minimum_length: default.minimum_length.value });
        }
        realms
    }

    pub(super) fn session(&mut self) -> session::Settings {
        let written = &self.file.session;
        let (idle, absolute) = (self.positive(&written.idle), self.positive(&written.absolute));
        if idle > absolute {
            self.error(&written.idle, format!("a session cannot be idle for longer than it lives ({})", written.absolute.value));
        }
        if written.per_user.value == 0 {
            self.error(&written.per_user, "nobody could sign in");
        }
        if written.revocation_lag.value > Period::seconds(60) {
            self.error(&written.revocation_lag, "an ended session may live on for a minute at most");
        }
        if written.keep_posts.value > LONGEST_KEPT {
            self.error(&written.keep_posts, "a form may be kept for an hour at most");
        }
        session::Settings {
            idle,
            absolute,
            revocation_lag: written.revocation_lag.value.0,
            per_user: written.per_user.value,
            remembered: written.keep_posts.value.0,
        }
    }

    pub(super) fn limits(&mut self) -> realm::Limits {
        let written = &self.file.passwords;
        for count in [&written.account_failures, &written.address_failures, &written.waiters] {
            if !(1..=1000).contains(&count.value) {
                self.error(count, "this is between 1 and 1000");
            }
        }
        if written.device_attempts.value > 100 {
            self.error(&written.device_attempts, "a known device may make at most 100 attempts a day");
        }
        if written.floor.value > Period::seconds(10) {
            self.error(&written.floor, "nobody waits longer than 10 s for an answer");
        }
        if written.account_closed.value > written.account_longest.value {
            self.error(&written.account_closed, format!("this is longer than account_longest ({})", written.account_longest.value));
        }
        realm::Limits {
            account_failures: written.account_failures.value,
            account_window: self.positive(&written.account_window),
            account_closed: self.positive(&written.account_closed),
            account_longest: self.positive(&written.account_longest),
            address_failures: written.address_failures.value,
            address_window: self.positive(&written.address_window),
            address_closed: self.positive(&written.address_closed),
            device_attempts: written.device_attempts.value,
            floor: written.floor.value.0,
            waiters: written.waiters.value,
            operators_from: self.file.administrators.from.iter().map(|at| at.value.0).collect(),
        }
    }

    pub(super) fn hashing(&mut self) -> Hashing {
        let written = &self.file.passwords;
        let (memory, passes) = (written.memory.value.0, written.passes.value);
        if !HASH_MEMORY.contains(&memory) {
            let (least, most) = (Size(*HASH_MEMORY.start()), Size(*HASH_MEMORY.end()));
            self.error(&written.memory, format!("one hash takes between {least} and {most}"));
        } else if !(1..=MAX_PASSES).contains(&passes) {
            self.error(&written.passes, format!("one hash makes between 1 and {MAX_PASSES} passes"));
        } else if memory.saturating_mul(u64::from(passes)) < LEAST_WORK {
            self.error(&written.memory, "a stolen password file would be guessed too quickly").help =
                Some("use at least memory = \"19MiB\" with passes = 2, or \"7MiB\" with 5".to_owned());
        }
        if !(1..=MAX_LANES).contains(&written.lanes.value) {
            self.error(&written.lanes, format!("one hash has between 1 and {MAX_LANES} lanes"));
        }
        Hashing {
            cost: Cost { memory: u32::try_from(memory / 1024).unwrap_or(MAX_MEMORY), passes, lanes: written.lanes.value },
            threads: (written.hashing_threads > 0).then(|| usize::from(written.hashing_threads)),
        }
    }

    pub(super) fn basic_cache(&mut self) -> Duration {
        let at = &self.file.passwords.basic_cache;
        if at.value.0 > MAX_BASIC_CACHE {
            self.error(at, "a changed password may count for a minute longer at most").help = Some("write \"60s\" or less".to_owned());
        }
        at.value.0
    }

    pub(super) fn keys(&mut self) -> Keys {
        let written = &self.file.keys;
        let age = &written.rotation_age.0;
        if age.value < Period::seconds(86_400) {
            self.error(age, "keys are kept for at least a day, so that applications learn of the next in time");
        }
        let key_encryption_key = written.key_encryption_key.as_ref().and_then(|at| {
            let text = self.secret(at)?;
            match STANDARD.decode(text.reveal().trim()).map(Secret::new) {
                Ok(key) if key.reveal().len() == KEK => Some(key),
                Ok(_) | Err(_) => {
                    self.error(at, format!("the key-encryption key is not {KEK} octets in base64")).help =
                        Some(format!("make one with: head -c {KEK} /dev/urandom | base64"));
                    None
                }
            }
        });
        let store = &self.file.store;
        if written.key_encryption_key.is_none() && store.durable.value == file::DurableBackend::Postgres {
            self.error(&store.durable, "each gateway would seal what they share under a key of its own").help =
                Some("add [keys] with key_encryption_key, the same for all".to_owned());
        }
        Keys { key_encryption_key, rotation_age: age.value.0, algorithm: written.algorithm }
    }
}
