//! Who may change what, connected: owners their passwords, administrators keys and hashes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use vestibule_engine::audit::{Reason, Trail};
use vestibule_engine::clock::Clock;
use vestibule_engine::identity::{PasswordHash, RealmName, SchemeName, TenantId, User};
use vestibule_engine::realm::{Accounts, Attempt, Offered, Passwords};
use vestibule_engine::request::CheckRequest;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;
use vestibule_engine::store::{DurableStore, KeyRecord};
use vestibule_oidc::jose::InjectedJwt;

use crate::config::checked::{Checked, Scheme};
use crate::keys::{self, KeyRing};
use crate::realms::hashing::{HashingPool, Lane};
use crate::realms::local::{self, LocalRealm, NewPassword};
use crate::serve::admin::protocol::Refusal;
use crate::serve::admin::{HashPassword, KeyAdmin};
use crate::serve::pages::{ChangePassword, Changed};

/// For how long an answer to an old password is of use.
const TIME: Duration = Duration::from_secs(10);

/// Changes passwords at their owners' wish, in the realm that holds them.
#[derive(Debug)]
pub struct Owners {
    passwords: Arc<Passwords>,
    clock: Arc<dyn Clock>,
    realms: HashMap<TenantId, (SchemeName, Arc<LocalRealm>)>,
}

impl Owners {
    /// For each tenant the first realm of ours that its login asks.
    pub fn new(checked: &Checked, clock: Arc<dyn Clock>, passwords: Arc<Passwords>, local: &HashMap<RealmName, Arc<LocalRealm>>) -> Self {
        let realm_of = |tenant: &crate::config::checked::Tenant| {
            tenant.chain.iter().find_map(|name| match checked.schemes.get(name)? {
                Scheme::Session => None,
                Scheme::Basic { realms, .. } | Scheme::LoginForm { realms } => {
                    realms.iter().find_map(|realm| Some((name.clone(), local.get(realm)?.clone())))
                }
            })
        };
        let realms = checked.tenants.iter().filter_map(|tenant| Some((tenant.id.clone(), realm_of(tenant)?))).collect();
        Self { passwords, clock, realms }
    }
}

#[async_trait]
impl ChangePassword for Owners {
    async fn change_password(
        &self,
        request: &CheckRequest,
        user: &User,
        old: &Secret<String>,
        new: &Secret<String>,
        trail: &mut Trail,
    ) -> Result<Changed, Unavailable> {
        let Some((scheme, realm)) = self.realms.get(&user.tenant) else { return Ok(Changed::Rejected(Reason::NoPassword)) };
        let new = match NewPassword::parse(new.reveal(), &user.name) {
            Ok(new) => new,
            Err(weakness) => return Ok(Changed::Unsuitable(weakness.to_string())),
        };
        let attempt = Attempt {
            tenant: &user.tenant,
            username: &user.name,
            secret: Offered::Password(old),
            client: &request.client,
            channel: request.client.channel,
            deadline: self.clock.monotonic().saturating_add(TIME),
            known_device: false,
            accounts: Accounts::All,
            now: self.clock.now(),
        };
        Ok(match realm.change_password(&self.passwords, &attempt, scheme, &new, trail).await? {
            local::Changed::Done => Changed::Changed,
            local::Changed::Same => Changed::Unsuitable("The new password must differ from the old one.".to_owned()),
            local::Changed::Rejected(rejection) => Changed::Rejected(rejection.reason),
        })
    }
}

/// The signing keys, for administrators.
#[derive(Debug)]
pub struct Keys(pub Arc<KeyRing<InjectedJwt>>, pub Arc<dyn DurableStore>);

/// What the keys of this installation sign.
const PURPOSE: &str = "jwt";

impl Keys {
    async fn records(&self) -> Result<Vec<KeyRecord>, Refusal> {
        self.1.keys(PURPOSE).await.map_err(|down| Refusal::Unavailable(down.to_string()))
    }
}

#[async_trait]
impl KeyAdmin for Keys {
    async fn list(&self) -> Result<Vec<KeyRecord>, Refusal> {
        self.records().await
    }

    async fn rotate(&self, purpose: &str) -> Result<Vec<KeyRecord>, Refusal> {
        if purpose != PURPOSE {
            return Err(Refusal::NotFound(format!("no key signs `{purpose}`; there is `{PURPOSE}`")));
        }
        self.0.rotate().await.map_err(refusal)?;
        self.records().await
    }

    async fn revoke(&self, id: &str) -> Result<Vec<KeyRecord>, Refusal> {
        self.0.revoke(id).await.map_err(refusal)?;
        self.records().await
    }
}

fn refusal(error: keys::Error) -> Refusal {
    match error {
        keys::Error::Unknown(_) => Refusal::NotFound(error.to_string()),
        keys::Error::Store(_) | keys::Error::Sealed(_) | keys::Error::Record { .. } | keys::Error::Cryptography => {
            Refusal::Unavailable(error.to_string())
        }
    }
}

/// Hashes passwords that administrators set.
#[derive(Debug)]
pub struct Hashes(pub Arc<HashingPool>);

#[async_trait]
impl HashPassword for Hashes {
    async fn hash(&self, password: &Secret<String>) -> Result<PasswordHash, Refusal> {
        let lane = Lane::of(std::net::Ipv4Addr::LOCALHOST.into(), true);
        self.0.hash(password, lane).await.map_err(|down| Refusal::Unavailable(down.to_string()))
    }
}
