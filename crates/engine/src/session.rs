//! Sessions: what is remembered of a login.
//!
//! The token is 256 random bits that only the client holds; the store knows its SHA-256. A session is live
//! only while it is neither idle nor too old, and while its user's epoch and the store's epoch are those it
//! was opened under. It is valid on the host it was opened for and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use crate::audit::{Ending, Reason, Trail};
use crate::clock::Timestamp;
use crate::identity::{Identity, TenantId, UserId};
use crate::scheme::Unavailable;
use crate::secret::Secret;
use crate::store::{ExpiringStore, Key};
use crate::users::Users;

/// How long sessions live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// A session unused for so long is over.
    pub idle: Duration,
    /// A session so old is over.
    pub absolute: Duration,
    /// How long a cached session may be used while the store's changes do not arrive.
    pub revocation_lag: Duration,
    /// The most sessions one user may hold; the next login is refused beyond it.
    pub per_user: u32,
}

impl Default for Settings {
    /// `rulings.md`: idle 30 min, absolute 12 h.
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30 * 60),
            absolute: Duration::from_secs(12 * 3600),
            revocation_lag: Duration::from_secs(1),
            per_user: 100,
        }
    }
}

/// A session as those who hold an identity know it: enough to end it, not to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRef {
    /// Its key in the store.
    pub key: Key,
    /// The login it descends from; sessions of several hosts share one.
    pub login: String,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it ends at the latest.
    pub until: Timestamp,
}

/// A session just opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// What the client must present: 43 characters of base64url.
    pub token: Secret<String>,
    /// How to end it.
    pub session: SessionRef,
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    store: Arc<dyn ExpiringStore>,
    users: Arc<Users>,
    settings: Settings,
}

impl Sessions {
    /// Sessions in this store.
    pub fn new(store: Arc<dyn ExpiringStore>, users: Arc<Users>, settings: Settings) -> Self {
        Self { store, users, settings }
    }

    /// Opens a session for an admitted identity on `host`. Always a new token (fixation).
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer or the user holds too many sessions.
    pub async fn open(&self, identity: &Identity, host: &str, now: Timestamp, trail: &mut Trail) -> Result<Opened, Unavailable> {
        let _ = (identity, host, now, trail);
        todo!()
    }

    /// The identity of the session this token opens on `host`, or why there is none.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn find(&self, tenant: &TenantId, host: &str, token: &str, now: Timestamp) -> Result<Result<Identity, Reason>, Unavailable> {
        let _ = (tenant, host, token, now);
        todo!()
    }

    /// Ends a session and all that descend from the same login.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn end(&self, identity: &Identity, ending: Ending, trail: &mut Trail) -> Result<(), Unavailable> {
        let _ = (identity, ending, trail);
        todo!()
    }

    /// Ends all sessions of a user.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn end_all(&self, tenant: &TenantId, user: UserId, ending: Ending, trail: &mut Trail) -> Result<u64, Unavailable> {
        let _ = (tenant, user, ending, trail);
        todo!()
    }

    /// The live sessions of a user.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn list(&self, tenant: &TenantId, user: UserId) -> Result<Vec<SessionRef>, Unavailable> {
        let _ = (tenant, user);
        todo!()
    }

    /// A one-shot code that opens a session of the same login on another host of the tenant. Lives 60 s.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn hand_over(&self, identity: &Identity, to_host: &str, now: Timestamp) -> Result<Secret<String>, Unavailable> {
        let _ = (identity, to_host, now);
        todo!()
    }

    /// Redeems such a code on the host it was made for: exactly one caller gets the session.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn redeem(
        &self,
        tenant: &TenantId,
        host: &str,
        code: &str,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<Result<Opened, Reason>, Unavailable> {
        let _ = (tenant, host, code, now, trail);
        todo!()
    }
}
