//! Signing keys: sealed at rest, rotated, revoked, published (RFC 7517, NIST SP 800-57 part 1 §5.3, §8.3).
//!
//! An attacker who reads the store wants a private key; one who writes to it wants his own public key among
//! those we publish, an old key back in service, or a revoked one revived. So private parts rest under a
//! key-encryption key that is not in the store, bound to the purpose, id and algorithm of their record; a
//! key that no longer signs loses its private part for good and keeps only a seal over its public one; a
//! revocation is written once and never taken back, whatever another node writes at the same time.
//!
//! The places of a key: next (published, so that verifiers know it before it is used), current (signs),
//! previous (still published, until the last token it signed has expired), revoked (gone at once).

mod records;
mod sealing;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use vestibule_engine::audit::Sink;
use vestibule_engine::clock::Clock;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;
use vestibule_engine::store::{Change, DurableStore, KeyRecord, KeyState};
use vestibule_oidc::jose::{Algorithm, Purpose, SigningKey};

use records::{Records, revocation_mark};
pub use sealing::KeyEncryptionKey;

/// How often the store is asked whether another node has changed the keys, should the news of it not arrive.
pub const REFRESH: Duration = Duration::from_secs(30);
/// How long verifiers may keep the published set.
pub const PUBLISHED_MAX_AGE: Duration = Duration::from_secs(300);
/// A node may sign with a key for so long after another has replaced it.
const LAG: Duration = Duration::from_secs(2 * REFRESH.as_secs());

/// How the keys of one purpose are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Of new keys. A change takes effect with the next rotation.
    pub algorithm: Algorithm,
    /// A current key of this age is replaced.
    pub max_age: Duration,
    /// The longest life of a token; a previous key is published for so long.
    pub token_life: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { algorithm: Algorithm::Es256, max_age: Duration::from_secs(30 * 24 * 3600), token_life: Duration::from_secs(300) }
    }
}

/// Why keys cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] Unavailable),
    /// The key-encryption key does not open it: another one sealed it, or the record was changed.
    #[error("the key {0} was sealed under another key-encryption key, or its record was changed")]
    Sealed(String),
    /// A record contradicts itself.
    #[error("the record of key {id} is unusable: {why}")]
    Record {
        /// Of which key.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such key.
    #[error("there is no key {0}")]
    Unknown(String),
    /// A key of another system cannot sign here.
    #[error("this is no private key for {0}, with which these keys sign")]
    Unfit(Algorithm),
    /// A key of another system is here already.
    #[error("the key {0} is here already")]
    Known(String),
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Cryptography,
}

/// The keys of one purpose.
pub struct KeyRing<P: Purpose> {
    records: Records<P>,
    state: ArcSwap<State<P>>,
    /// Changes of this process come one after the other.
    changing: tokio::sync::Mutex<()>,
}

/// The public keys as verifiers fetch them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The JWK set, JSON.
    pub body: Bytes,
    /// A strong entity tag, quoted.
    pub etag: String,
}

impl<P: Purpose> KeyRing<P> {
    /// Reads the keys of this purpose, and makes those that are missing.
    ///
    /// # Errors
    /// [`Error`]; without keys the gateway must not start.
    pub async fn load_or_create(
        store: Arc<dyn DurableStore>,
        sealing: Arc<KeyEncryptionKey>,
        settings: Settings,
        clock: Arc<dyn Clock>,
        sink: Arc<dyn Sink>,
    ) -> Result<Arc<Self>, Error> {
        let records = Records { store, sealing, settings, clock, sink, purpose: PhantomData };
        let state = records.open(&records.settled().await?)?;
        Ok(Arc::new(Self { records, state: ArcSwap::from_pointee(state), changing: tokio::sync::Mutex::new(()) }))
    }

    /// The key that signs now.
    pub fn current(&self) -> Arc<SigningKey<P>> {
        self.state.load().current.clone()
    }

    /// The public keys as verifiers fetch them.
    pub fn published(&self) -> Arc<Published> {
        self.state.load().published.clone()
    }

    /// How the keys are kept.
    pub fn settings(&self) -> &Settings {
        &self.records.settings
    }

    /// Next becomes current, current becomes previous, a new next is made.
    ///
    /// # Errors
    /// [`Error`]; the keys in use stay as they are.
    pub async fn rotate(&self) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let records = self.records.settled().await?;
        let records = self.records.rotated(records).await?;
        self.adopt(&records)
    }

    /// Takes a private key of another system, in PKCS#8 form, as the next one. Whatever waited in its place never signed, and
    /// never will.
    ///
    /// # Errors
    /// [`Error::Unfit`], [`Error::Known`], or another [`Error`]; the keys in use stay as they are.
    pub async fn import(&self, pkcs8: &Secret<Vec<u8>>) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let wanted = self.records.settings.algorithm;
        let key = SigningKey::<P>::from_pkcs8(P::NAME, wanted, pkcs8.reveal()).map_err(|_| Error::Unfit(wanted))?;
        if self.records.store.keys(P::NAME).await?.iter().any(|record| record.id == key.id()) {
            return Err(Error::Known(key.id().to_owned()));
        }
        // What stands, before this one could be taken for what is missing.
        let standing = self.records.settled().await?;
        self.records.add(&key, wanted, KeyState::Next).await?;
        for mut waiting in standing.into_iter().filter(|record| record.state == KeyState::Next) {
            self.records.place(&mut waiting, KeyState::Revoked).await?;
        }
        self.adopt(&self.records.settled().await?)
    }

    /// Takes a key out of service for good: what it signed no longer verifies. A current one is replaced at once.
    /// Other nodes follow as soon as they hear of it, and within [`REFRESH`] if they do not.
    ///
    /// # Errors
    /// [`Error::Unknown`], or another [`Error`]; call it again then.
    pub async fn revoke(&self, id: &str) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let mut all = self.records.store.keys(P::NAME).await?;
        let record = all.iter_mut().find(|record| record.id == id).ok_or_else(|| Error::Unknown(id.to_owned()))?;
        // The mark comes first: from here on no node takes this key up again.
        self.records.store.setting_or_insert(&revocation_mark::<P>(id), b"1").await?;
        if record.state != KeyState::Revoked {
            self.records.place(record, KeyState::Revoked).await?;
        }
        self.adopt(&self.records.settled().await?)
    }

    /// Takes up what other nodes have changed, and rotates if the current key is too old.
    ///
    /// # Errors
    /// [`Error`]; the keys in use stay as they are.
    pub async fn refresh(&self) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let mut records = self.records.settled().await?;
        if self.records.is_rotation_due(&records) {
            records = self.records.rotated(records).await?;
        }
        self.adopt(&records)
    }

    /// Refreshes for ever: when the store tells of a change, and every [`REFRESH`]. Belongs on the control runtime.
    pub async fn run(self: Arc<Self>) {
        let mut changes = self.records.store.changes().events;
        loop {
            // No news within the time is the other reason to look.
            let _ = tokio::time::timeout(REFRESH, news(&mut changes)).await;
            if let Err(error) = self.refresh().await {
                tracing::error!(purpose = P::NAME, %error, "the signing keys could not be refreshed; those in use stay");
            }
        }
    }

    fn adopt(&self, records: &[KeyRecord]) -> Result<(), Error> {
        self.state.store(Arc::new(self.records.open(records)?));
        Ok(())
    }
}

impl<P: Purpose> fmt::Debug for KeyRing<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("purpose", &P::NAME).field("current", &self.current().id()).finish_non_exhaustive()
    }
}

/// Waits until keys were changed, or news may have been missed.
async fn news(changes: &mut broadcast::Receiver<Change>) {
    loop {
        match changes.recv().await {
            Ok(Change::Keys | Change::All) | Err(RecvError::Lagged(_)) => break,
            Ok(Change::Key(_) | Change::User(_)) => {}
            // A store that has ended tells nothing more.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
    // A rotation changes several records: one look sees them all. Dropping the rest, even unseen, is safe: it is older.
    *changes = changes.resubscribe();
}

/// What requests read: swapped as one, so that nobody signs with a key that is not published.
struct State<P> {
    current: Arc<SigningKey<P>>,
    published: Arc<Published>,
}
