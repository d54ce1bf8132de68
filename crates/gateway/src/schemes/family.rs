//! A family: realms in order, asked about a name and a password, however these arrived.
//!
//! Basic and the login form share it, so that an attacker finds the same gates behind every door (attack 99).

use std::sync::Arc;
use std::time::Duration;

use vestibule_engine::Timestamp;
use vestibule_engine::audit::Trail;
use vestibule_engine::clock::Clock;
use vestibule_engine::identity::{Issuer, RealmName, SchemeName, TenantId, User, Username};
use vestibule_engine::profile::Profiles;
use vestibule_engine::realm::{Account, Accounts, Answer, Attempt, Offered, PASSWORD, Passwords, RealmStep, Terms};
use vestibule_engine::request::{Channel, CheckRequest};
use vestibule_engine::scheme::{Proof, Unavailable};
use vestibule_engine::users::Users;

use super::known_device::KnownDevices;

/// Realms in order, and what it takes to ask them.
#[derive(Debug, Clone)]
pub struct Family {
    /// The realms, each with the name of its line in the trail.
    pub steps: Vec<RealmStep>,
    /// Their only caller.
    pub passwords: Arc<Passwords>,
    /// The users, to tell whose device is known.
    pub users: Arc<Users>,
    /// What their profiles ask.
    pub profiles: Arc<Profiles>,
    /// The cookies of known devices.
    pub devices: Arc<KnownDevices>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long an answer is of use.
    pub time_limit: Duration,
}

/// A name and what is to prove it, as they came with a request.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// The request.
    pub request: &'a CheckRequest,
    /// Its tenant.
    pub tenant: &'a TenantId,
    /// The name, normalised.
    pub username: &'a Username,
    /// What was offered; a password in NFC.
    pub secret: Offered<'a>,
    /// Whose accounts may sign in this way.
    pub accounts: Accounts,
    /// A failure is not answered before so long, however quick the realms are.
    pub floor: Duration,
    /// The time.
    pub now: Timestamp,
}

/// Whether passwords are accepted over an unprotected channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlainHttp {
    /// Only on loopback.
    Refused,
    /// The operator conceded it.
    Conceded,
}

impl PlainHttp {
    /// Whether a password may have come this way (`authentication-chain.md` §13).
    pub fn admits(self, request: &CheckRequest) -> bool {
        // Both, since anybody may write `localhost` into a host field.
        let loopback = request.host.is_localhost() && request.client.address.to_canonical().is_loopback();
        match (request.client.channel, self) {
            (Channel::Tls, _) | (Channel::Plain, Self::Conceded) => true,
            (Channel::Plain, Self::Refused) => loopback,
        }
    }
}

impl Family {
    /// Asks the realms.
    ///
    /// # Errors
    /// [`Unavailable`] if nobody accepted and some realm could not be asked.
    pub async fn verify(&self, offer: &Offer<'_>, known_device: bool, trail: &mut Trail) -> Result<Answer, Unavailable> {
        let attempt = Attempt {
            tenant: offer.tenant,
            username: offer.username,
            secret: offer.secret,
            client: &offer.request.client,
            channel: offer.request.client.channel,
            deadline: self.clock.monotonic().saturating_add(self.time_limit),
            known_device,
            accounts: offer.accounts,
            source: Some(offer.request.client.address),
            level: PASSWORD,
            floor: offer.floor,
            now: offer.now,
        };
        self.passwords.verify(&self.steps, &attempt, trail).await
    }

    /// Whether somebody whose password was found to be right, of another address or at another time, may enter by it here and now.
    pub fn admits(&self, user: &User, request: &CheckRequest, now: Timestamp) -> bool {
        let terms = Terms { accounts: Accounts::All, source: Some(request.client.address), level: PASSWORD, now };
        terms.bar(user, &self.profiles).is_none()
    }

    /// Whether the owner of this name signed in from this device before. Unknown while the store is down.
    pub async fn knows_device(&self, offer: &Offer<'_>) -> bool {
        let owners = self.devices.owners(offer.request, offer.tenant, offer.now);
        // Only who holds a signed cookie can measure that this asks the store.
        if owners.is_empty() {
            return false;
        }
        match self.users.by_name(offer.tenant, offer.username).await {
            Ok(user) => user.is_some_and(|user| owners.contains(&user.id)),
            Err(down) => {
                tracing::debug!(error = %down, "a device is not recognised");
                false
            }
        }
    }

    /// The proof that an account's password was given.
    pub fn proof(&self, scheme: &SchemeName, tenant: &TenantId, account: Account, realm: &RealmName, at: Timestamp) -> Proof {
        Proof {
            tenant: tenant.clone(),
            who: account.who,
            scheme: scheme.clone(),
            issuer: Issuer::from(realm.as_str()),
            level: PASSWORD,
            authenticated_at: at,
            replay: Vec::new(),
            attributes: account.attributes,
            ambient: false,
        }
    }
}
