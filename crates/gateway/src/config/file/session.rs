//! Sessions and passwords.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::{At, Period, Size};

/// How long sessions live.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Session {
    /// A session unused for so long is over.
    pub idle: At<Period>,
    /// A session so old is over.
    pub absolute: At<Period>,
    /// The most sessions one user may hold.
    pub per_user: At<u32>,
    /// How long a cached session may still be used after it was ended elsewhere.
    pub revocation_lag: At<Period>,
    /// For how long a form is kept, encrypted, that somebody sent after their session ran out: once they have signed in again, it is
    /// shown to them and may be sent. At most an hour; `0s` keeps none.
    pub keep_posts: At<Period>,
}

impl Default for Session {
    fn default() -> Self {
        let settings = vestibule_engine::session::Settings::default();
        Self {
            idle: Period(settings.idle).into(),
            absolute: Period(settings.absolute).into(),
            per_user: settings.per_user.into(),
            revocation_lag: Period(settings.revocation_lag).into(),
            keep_posts: Period(settings.remembered).into(),
        }
    }
}

/// Guessing limits and the hashing of passwords.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Passwords {
    /// Failures of one account before it is closed for a while.
    pub account_failures: At<u32>,
    /// The time within which failures of one account are counted.
    pub account_window: At<Period>,
    /// How long an account is closed at first; each time twice as long.
    pub account_closed: At<Period>,
    /// How long an account is closed at most.
    pub account_longest: At<Period>,
    /// Failures from one address before it is refused for a while.
    pub address_failures: At<u32>,
    /// The time within which failures from one address are counted.
    pub address_window: At<Period>,
    /// How long an address is refused.
    pub address_closed: At<Period>,
    /// Attempts a day that a known device may make at a closed account.
    pub device_attempts: At<u32>,
    /// No failure is answered sooner than after this.
    pub floor: At<Period>,
    /// How many answers to one address may wait for the floor.
    pub waiters: At<u32>,
    /// Argon2id: memory of one hash. A stored hash of another cost is replaced when its user next signs in.
    pub memory: At<Size>,
    /// Argon2id: passes over the memory.
    pub passes: At<u32>,
    /// Argon2id: lanes.
    pub lanes: At<u32>,
    /// Threads that hash. 0 means half the processor cores, at least one.
    pub hashing_threads: u16,
    /// How long a verified Basic credential, or a password that an old client sends with every message, is remembered in memory, at most 60 s. `0s` turns it off.
    pub basic_cache: At<Period>,
}

impl Default for Passwords {
    fn default() -> Self {
        let limits = vestibule_engine::realm::Limits::default();
        let cost = crate::realms::hashing::Cost::default();
        Self {
            account_failures: limits.account_failures.into(),
            account_window: Period(limits.account_window).into(),
            account_closed: Period(limits.account_closed).into(),
            account_longest: Period(limits.account_longest).into(),
            address_failures: limits.address_failures.into(),
            address_window: Period(limits.address_window).into(),
            address_closed: Period(limits.address_closed).into(),
            device_attempts: limits.device_attempts.into(),
            floor: Period(limits.floor).into(),
            waiters: limits.waiters.into(),
            memory: Size(u64::from(cost.memory) << 10).into(),
            passes: cost.passes.into(),
            lanes: cost.lanes.into(),
            hashing_threads: 0,
            basic_cache: Period::seconds(60).into(),
        }
    }
}
