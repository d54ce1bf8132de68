//! Who may change what, connected: owners their passwords, administrators keys and hashes.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use vestibule_engine::audit::{Reason, Trail};
use vestibule_engine::clock::Clock;
use vestibule_engine::identity::{PasswordHash, RealmName, TenantId};
use vestibule_engine::realm::Passwords;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;
use vestibule_engine::store::{DurableStore, KeyRecord};
use vestibule_oidc::jose::InjectedJwt;

use crate::config::checked::{self, Checked, Scheme};
use crate::keys::{self, KeyRing};
use crate::realms::hashing::{HashingPool, Lane};
use crate::realms::local::LocalRealm;
use crate::serve::admin::protocol::Refusal;
use crate::serve::admin::{HashPassword, KeyAdmin};
use crate::serve::pages::{Change, ChangePassword, Changed, OwnPasswords};

/// Changes passwords at their owners' wish, in the realm that holds them.
#[derive(Debug)]
pub struct Owners(HashMap<TenantId, OwnPasswords>);

impl Owners {
    /// For each tenant the first realm of ours that its login asks.
    pub fn new(checked: &Checked, clock: &Arc<dyn Clock>, passwords: &Arc<Passwords>, local: &HashMap<RealmName, Arc<LocalRealm>>) -> Self {
        let realm_of = |tenant: &checked::Tenant| {
            tenant.chain.iter().find_map(|name| match checked.schemes.get(name)? {
                Scheme::Session => None,
                Scheme::Basic { realms, .. } | Scheme::LoginForm { realms } => {
                    realms.iter().find_map(|realm| Some((name.clone(), local.get(realm)?.clone())))
                }
            })
        };
        let own = |(step, realm)| OwnPasswords { realm, passwords: passwords.clone(), step, clock: clock.clone() };
        Self(checked.tenants.iter().filter_map(|tenant| Some((tenant.id.clone(), own(realm_of(tenant)?)))).collect())
    }
}

#[async_trait]
impl ChangePassword for Owners {
    async fn change_password(&self, change: &Change<'_>, trail: &mut Trail) -> Result<Changed, Unavailable> {
        match self.0.get(&change.user.tenant) {
            Some(passwords) => passwords.change_password(change, trail).await,
            None => Ok(Changed::Rejected(Reason::NoPassword)),
        }
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
