//! The two stores, divided by lifetime, not by table.
//!
//! Not found is `Ok(None)`; down is `Err`: an outage must not look like a logout. Keys are made from
//! hashes of tokens, so that a stolen store opens no sessions.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tokio::sync::broadcast;
use zeroize::Zeroize as _;

use crate::audit::{Event, Recorded};
use crate::clock::Timestamp;
use crate::identity::{ExternalId, GroupName, PasswordHash, TenantId, User, UserId, Username};
use crate::request::RequestId;
use crate::scheme::Unavailable;
use crate::secret::Secret;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod memory;

/// Decisions that the log of a [`DurableStore`] keeps.
pub const DECISIONS_KEPT: usize = 10_000;

/// Entries that each history of a tenant keeps.
pub const HISTORY_KEPT: usize = 10_000;

/// What a [`DurableStore`] remembers of each tenant beside decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// Who signed in, and who was refused.
    Logins,
    /// What became of asking other services whether a password is right.
    Callouts,
}

impl History {
    /// The histories that there are.
    pub const ALL: [Self; 2] = [Self::Logins, Self::Callouts];

    /// The word in stores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logins => "logins",
            Self::Callouts => "callouts",
        }
    }

    /// Which history an event belongs to, and the name of whom it concerns.
    pub fn of(event: &Event) -> Option<(Self, Option<&str>)> {
        match event {
            Event::LoginSucceeded { subject, .. } => Some((Self::Logins, Some(subject))),
            Event::LoginRejected { subject, .. } => Some((Self::Logins, subject.as_deref())),
            Event::DelegatedCalled(callout) => Some((Self::Callouts, Some(&callout.subject))),
            Event::RequestDecided(_)
            | Event::RequestUnreadable { .. }
            | Event::LoginFellThrough { .. }
            | Event::EmergencyAttempted { .. }
            | Event::GateClosed { .. }
            | Event::GateOpened { .. }
            | Event::SessionOpened { .. }
            | Event::SessionEnded { .. }
            | Event::KeyRotated { .. }
            | Event::ConfigReloaded { .. }
            | Event::AssertionIssued { .. }
            | Event::AnswerRefused { .. }
            | Event::TokenIssued { .. }
            | Event::MessageRefused { .. }
            | Event::AuditOpened { .. }
            | Event::AuditSealed { .. }
            | Event::AdminChanged { .. } => None,
        }
    }
}

/// Things that expire: sessions, replay ids, failure counters, artifacts, one-shot codes, quotas.
///
/// Durable before acknowledged: `insert` of [`Kind::Replay`] and [`Kind::Session`], `take`, `remove_group`.
#[async_trait]
pub trait ExpiringStore: fmt::Debug + Send + Sync {
    /// Adds an entry that lives for `ttl`, a member of `groups`, unless `limit.0` already has `limit.1` live members.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer; likewise for every other call.
    async fn insert(
        &self,
        key: &Key,
        value: &[u8],
        ttl: Duration,
        groups: &[Group],
        limit: Option<(&Group, u32)>,
    ) -> Result<Insert, Unavailable>;
    /// The live entry, and the version that [`ExpiringStore::replace`] wants.
    async fn get(&self, key: &Key) -> Result<Option<(Vec<u8>, Version)>, Unavailable>;
    /// Writes `value` if the entry is still at `expected`; keeps its lifetime and groups.
    async fn replace(&self, key: &Key, expected: Version, value: &[u8]) -> Result<bool, Unavailable>;
    /// Atomic read and delete: of any number of callers exactly one gets the value.
    async fn take(&self, key: &Key) -> Result<Option<Vec<u8>>, Unavailable>;
    /// Lets a live entry live for `ttl` from now.
    async fn extend(&self, key: &Key, ttl: Duration) -> Result<bool, Unavailable>;
    /// Adds one to a counter and returns it. `ttl` counts from its first increment. [`ExpiringStore::get`] reads a
    /// counter as eight octets, big-endian.
    async fn increment(&self, key: &Key, ttl: Duration) -> Result<u64, Unavailable>;
    /// The live members of a group in key order, at most `most`, after `after`.
    async fn list(&self, group: &Group, after: Option<&Key>, most: usize) -> Result<Vec<Key>, Unavailable>;
    /// Removes all members of a group: logs a subject out everywhere. Returns how many were live.
    async fn remove_group(&self, group: &Group) -> Result<u64, Unavailable>;
    /// What was replaced, taken or removed with its group, for caches. Expiry is not told: caches know the time.
    fn changes(&self) -> ChangeStream;
}

/// Users with their external ids, groups, keys, the bounded decision log, login history.
#[async_trait]
pub trait DurableStore: fmt::Debug + Send + Sync {
    /// The user of this number.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer; likewise for every other call.
    async fn user(&self, id: UserId) -> Result<Option<User>, Unavailable>;
    /// The user of this login name.
    async fn user_by_name(&self, tenant: &TenantId, name: &Username) -> Result<Option<User>, Unavailable>;
    /// The user an issuer calls so.
    async fn user_by_external_id(&self, tenant: &TenantId, id: &ExternalId) -> Result<Option<User>, Unavailable>;
    /// The users of these login names, in no order.
    async fn users_by_name(&self, tenant: &TenantId, names: &[Username]) -> Result<Vec<User>, Unavailable> {
        let mut found = Vec::new();
        for name in names {
            found.extend(self.user_by_name(tenant, name).await?);
        }
        Ok(found)
    }
    /// Adds a user, unless its id, name or one of its external ids is taken in its tenant.
    async fn insert_user(&self, user: &User) -> Result<bool, Unavailable>;
    /// Adds many users, each as [`DurableStore::insert_user`] does, and says of each whether it was added.
    async fn insert_users(&self, users: &[User]) -> Result<Vec<bool>, Unavailable> {
        let mut added = Vec::new();
        for user in users {
            added.push(self.insert_user(user).await?);
        }
        Ok(added)
    }
    /// Writes a user whose stored epoch is still `expected_epoch`. Sessions end if `user.epoch` is higher. Refused
    /// (`false`) also where the epoch would fall, the tenant change, or a name or external id is another user's.
    async fn update_user(&self, user: &User, expected_epoch: u64) -> Result<bool, Unavailable>;
    /// Writes another hash of the same password, if the stored one is still `expected`; sessions live on.
    async fn replace_password(&self, id: UserId, expected: &PasswordHash, new: &PasswordHash) -> Result<bool, Unavailable> {
        match self.user(id).await?.filter(|user| user.password.as_ref() == Some(expected)) {
            Some(user) => {
                let epoch = user.epoch;
                self.update_user(&User { password: Some(new.clone()), ..user }, epoch).await
            }
            None => Ok(false),
        }
    }
    /// Up to `most` users of any tenant whose password hash begins with [`PasswordHash::SEALED`].
    async fn users_with_sealed_hash(&self, most: usize) -> Result<Vec<User>, Unavailable>;
    /// Removes a user, and frees its name and external ids; what was recorded of it stays. `false` if there is none. Its
    /// number is never given again, so that its sessions are nobody's.
    async fn remove_user(&self, id: UserId) -> Result<bool, Unavailable>;
    /// Users of a tenant in name order, at most `most`, after `after`, of `group` where given.
    async fn users(
        &self,
        tenant: &TenantId,
        group: Option<&GroupName>,
        after: Option<&Username>,
        most: usize,
    ) -> Result<Vec<User>, Unavailable>;
    /// Adds or replaces a key record, and tells [`Change::Keys`].
    async fn put_key(&self, key: &KeyRecord) -> Result<(), Unavailable>;
    /// All key records of a purpose, oldest first.
    async fn keys(&self, purpose: &str) -> Result<Vec<KeyRecord>, Unavailable>;
    /// Appends the decisions among these to the decision log, which holds the latest [`DECISIONS_KEPT`], and what belongs to a
    /// history to its tenant's, which holds the latest [`HISTORY_KEPT`].
    async fn record(&self, entries: &[Recorded]) -> Result<(), Unavailable>;
    /// The logged decision of a request.
    async fn recorded(&self, id: RequestId) -> Result<Option<Recorded>, Unavailable>;
    /// The latest entries of a tenant's history, newest first, at most `most`, those of `subject` where given.
    async fn history(&self, of: History, tenant: &TenantId, subject: Option<&str>, most: usize) -> Result<Vec<Recorded>, Unavailable>;
    /// The store's epoch: raised when a backup is restored; sessions of an older one are dead.
    async fn epoch(&self) -> Result<u64, Unavailable>;
    /// A small installation-wide value, e.g. the demo mark.
    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, Unavailable>;
    /// Writes such a value if it is absent, and returns the one that stands.
    async fn setting_or_insert(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, Unavailable>;
    /// What is no longer as it was, for caches.
    fn changes(&self) -> ChangeStream;
}

/// A stored signing key. The private part rests sealed under the key-encryption key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key id that verifiers see.
    pub id: String,
    /// The one thing it may sign, e.g. `jwt`.
    pub purpose: String,
    /// Its algorithm, as JOSE calls it.
    pub algorithm: String,
    /// Its place in the rotation.
    pub state: KeyState,
    /// The public part as a JWK, JSON.
    pub public: String,
    /// The private part, sealed.
    pub sealed: Secret<Vec<u8>>,
    /// When it was made.
    pub created: Timestamp,
    /// When it last changed its place.
    pub changed: Timestamp,
}

/// A key's place in the rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Published, not yet used.
    Next,
    /// Signs.
    Current,
    /// No longer signs, still published.
    Previous,
    /// Neither; what it signed is void.
    Revoked,
}

/// What an entry is for; each kind has a budget of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A session.
    Session,
    /// A replay id.
    Replay,
    /// A failure counter or a closed gate.
    Throttle,
    /// A one-shot code.
    Handoff,
    /// A request counter.
    Quota,
}

impl Kind {
    /// The letters in a key.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "s",
            Self::Replay => "r",
            Self::Throttle => "t",
            Self::Handoff => "h",
            Self::Quota => "q",
        }
    }
}

/// The key of an expiring entry: `{tenant}:kind:` and the SHA-256 of what identifies it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// The key of the entry that `parts` identify. Parts are length-prefixed before hashing, so that
    /// no two lists of parts collide (attack 92).
    pub fn of(tenant: &TenantId, kind: Kind, parts: &[&[u8]]) -> Self {
        Self::from_digest(tenant, kind, &digest(parts))
    }

    /// The key of the entry whose parts have this [`digest`].
    pub fn from_digest(tenant: &TenantId, kind: Kind, digest: &[u8; 32]) -> Self {
        Self(format!("{{{tenant}}}:{}:{}", kind.as_str(), URL_SAFE_NO_PAD.encode(digest)).into())
    }

    /// The digest in the key, if it was made by [`Key::of`].
    pub fn digest(&self) -> Option<[u8; 32]> {
        let (_, encoded) = self.0.rsplit_once(':')?;
        let mut octets = [0; 32];
        // 43 characters decode to 32 octets; the estimate of the decoder wants one more.
        let mut buffer = [0; 33];
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, &mut buffer).ok()?;
        octets.copy_from_slice(buffer.get(..length).filter(|found| found.len() == 32)?);
        Some(octets)
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A key as it was stored or listed.
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 over length-prefixed parts.
pub fn digest(parts: &[&[u8]]) -> [u8; 32] {
    // At once, and mostly where no allocation is needed: a context costs more than hashing what is short.
    let mut all: SmallVec<[u8; 256]> = SmallVec::with_capacity(parts.iter().map(|part| part.len() + size_of::<u64>()).sum());
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    let mut octets = [0; 32];
    octets.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &all).as_ref());
    // Parts may be secrets.
    all.as_mut_slice().zeroize();
    octets
}

/// What stands for these parts and no others in a cache: each after its length. Hashing them well would cost every
/// request more than what is remembered; only long ones are, so that a cache stays as small as it was planned.
pub fn name(parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len() + size_of::<u64>()).sum();
    if length > LONGEST_NAME {
        return digest(parts).to_vec();
    }
    let mut name = Vec::with_capacity(length);
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part);
    }
    name
}

/// Octets of a [`name`].
const LONGEST_NAME: usize = 512;

/// A set of entries that are listed and removed together, e.g. all sessions of a user: `{tenant}:kind:name`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group(Box<str>);

impl Group {
    /// The group called `name`.
    pub fn of(tenant: &TenantId, kind: Kind, name: impl fmt::Display) -> Self {
        Self(format!("{{{tenant}}}:{}:{name}", kind.as_str()).into())
    }

    /// The group's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How an insert ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insert {
    /// It is there now.
    Inserted,
    /// A live entry of that key was there before.
    Exists,
    /// The limiting group is full.
    Full,
}

/// The version of an entry; changes with every write of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub u64);

/// What a cache must forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This entry.
    Key(Key),
    /// This user.
    User(UserId),
    /// Signing keys.
    Keys,
    /// Everything: changes may have been missed.
    All,
}

/// The changes of a store, and whether they are arriving. While they are not, a cached copy older than
/// `revocation_lag` must not be used.
#[derive(Debug)]
pub struct ChangeStream {
    /// The changes; a lagging receiver has missed some and must forget everything.
    pub events: broadcast::Receiver<Change>,
    /// What can be learnt of them without looking: a cache is asked on every request, by every core.
    pub pulse: Arc<Pulse>,
}

/// How many changes were sent, and whether they are arriving.
#[derive(Debug)]
pub struct Pulse {
    sent: AtomicU64,
    live: AtomicBool,
}

impl Pulse {
    /// The number of changes that a receiver subscribed from the beginning would find.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Whether changes are arriving.
    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }
}

/// The sending half of [`ChangeStream`], for backends.
#[derive(Debug)]
pub struct Changes {
    events: broadcast::Sender<Change>,
    pulse: Arc<Pulse>,
}

impl Default for Changes {
    fn default() -> Self {
        let pulse = Pulse { sent: AtomicU64::new(0), live: AtomicBool::new(true) };
        Self { events: broadcast::channel(4096).0, pulse: Arc::new(pulse) }
    }
}

impl Changes {
    /// Tells all caches.
    pub fn send(&self, change: Change) {
        // No receiver is no error: nobody caches.
        let _ = self.events.send(change);
        // After the send: who sees the number finds the change.
        self.pulse.sent.fetch_add(1, Ordering::Release);
    }

    /// Tells whether changes are arriving.
    pub fn set_live(&self, live: bool) {
        self.pulse.live.store(live, Ordering::Release);
    }

    /// A new receiver.
    pub fn subscribe(&self) -> ChangeStream {
        ChangeStream { events: self.events.subscribe(), pulse: self.pulse.clone() }
    }
}
