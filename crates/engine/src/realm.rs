//! Realms check passwords; [`Passwords`] is their only caller.
//!
//! It keeps the gates, the order, the decoy and the floor, and counts one guess once, however many realms
//! saw it and however it arrived (`authentication-chain.md` §9–§10).

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::audit::{Reason, Trail};
use crate::clock::{Clock, Timestamp};
use crate::identity::{Attributes, RealmName, SchemeName, TenantId, Username};
use crate::request::{Channel, Client};
use crate::scheme::{Rejection, Unavailable, Who};
use crate::secret::Secret;
use crate::store::ExpiringStore;

/// A store that checks passwords.
#[async_trait]
pub trait Realm: Debug + Send + Sync {
    /// The name the configuration gave it.
    fn name(&self) -> &RealmName;

    /// Checks one attempt.
    ///
    /// # Errors
    /// [`Unavailable`] if it cannot be asked; never for a wrong password.
    async fn verify(&self, attempt: &Attempt<'_>) -> Result<Check, Unavailable>;
}

/// One attempt at a password.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The tenant.
    pub tenant: &'a TenantId,
    /// The name, normalised.
    pub username: &'a Username,
    /// What was offered.
    pub secret: Offered<'a>,
    /// From where.
    pub client: &'a Client,
    /// How it came to us.
    pub channel: Channel,
    /// When an answer is of no use any more, on [`Clock::monotonic`].
    pub deadline: Duration,
    /// A known device: its owner signed in from it before (a signed cookie, not an address).
    pub known_device: bool,
    /// The time.
    pub now: Timestamp,
}

/// What was offered as a secret.
#[derive(Debug, Clone, Copy)]
pub enum Offered<'a> {
    /// The password itself.
    Password(&'a Secret<String>),
    /// A WS-Security digest; only realms that hold the password can check it.
    Digest {
        /// The digest.
        digest: &'a [u8],
        /// What was digested before the password.
        prefix: &'a [u8],
    },
}

/// What a realm says.
#[derive(Debug, Clone)]
pub enum Check {
    /// It is theirs.
    Accepted(Account),
    /// It is not, and why. A reason of [`Reason::UnknownUser`] or [`Reason::NoPassword`] means no hash was compared.
    Rejected(Reason),
}

/// An account a realm accepted.
#[derive(Debug, Clone)]
pub struct Account {
    /// Who.
    pub who: Who,
    /// What the realm states of it.
    pub attributes: Attributes,
}

/// What [`Passwords`] says.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Accepted, by this realm.
    Accepted {
        /// The account.
        account: Account,
        /// By whom.
        realm: RealmName,
    },
    /// Refused.
    Rejected(Rejection),
}

/// The limits of guessing: `authentication-chain.md` §9.5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Failures of one account before its gate closes.
    pub account_failures: u32,
    /// Within this time.
    pub account_window: Duration,
    /// How long it stays closed at first; doubles up to `account_longest`.
    pub account_closed: Duration,
    /// How long at most.
    pub account_longest: Duration,
    /// Failures of one address (IPv4 /32, IPv6 /64) before its gate closes.
    pub address_failures: u32,
    /// Within this time.
    pub address_window: Duration,
    /// How long it stays closed.
    pub address_closed: Duration,
    /// Attempts a day that a known device may make at a closed account gate.
    pub device_attempts: u32,
    /// A failure is not answered before this, plus up to 50 ms.
    pub floor: Duration,
    /// How many answers may wait for the floor per address.
    pub waiters: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            account_failures: 5,
            account_window: Duration::from_secs(15 * 60),
            account_closed: Duration::from_secs(15 * 60),
            account_longest: Duration::from_secs(4 * 3600),
            address_failures: 30,
            address_window: Duration::from_secs(5 * 60),
            address_closed: Duration::from_secs(5 * 60),
            device_attempts: 10,
            floor: Duration::from_millis(400),
            waiters: 32,
        }
    }
}

/// A realm as one step of a family: the name of its line in the trail.
#[derive(Debug, Clone)]
pub struct RealmStep {
    /// The step's name.
    pub scheme: SchemeName,
    /// The realm.
    pub realm: Arc<dyn Realm>,
}

/// The only caller of realms.
#[derive(Debug)]
pub struct Passwords {
    store: Arc<dyn ExpiringStore>,
    clock: Arc<dyn Clock>,
    limits: Limits,
}

impl Passwords {
    /// Checks passwords under these limits; one instance serves all schemes of the installation.
    pub fn new(store: Arc<dyn ExpiringStore>, clock: Arc<dyn Clock>, limits: Limits) -> Self {
        Self { store, clock, limits }
    }

    /// Asks the realms in order. Writes one line per step into the trail.
    ///
    /// # Errors
    /// [`Unavailable`] if nobody accepted and some realm could not be asked.
    pub async fn verify(&self, steps: &[RealmStep], attempt: &Attempt<'_>, trail: &mut Trail) -> Result<Answer, Unavailable> {
        let _ = (steps, attempt, trail, &self.store, &self.clock, &self.limits);
        todo!()
    }
}
