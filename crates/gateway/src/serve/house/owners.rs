//! Who may change what, connected: owners their passwords, administrators keys and hashes.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use vestibule_engine::audit::{Reason, Trail};
use vestibule_engine::clock::Clock;
use vestibule_engine::identity::{PasswordHash, ProfileName, RealmName, TenantId, User, Username};
use vestibule_engine::profile::Profiles;
use vestibule_engine::realm::Passwords;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;
use vestibule_engine::store::{DurableStore, KeyRecord};
use vestibule_oidc::jose::InjectedJwt;

use crate::config::checked::{self, Checked, PasswordHelp};
use crate::keys::{self, KeyRing};
use crate::realms::hashing::{HashingPool, ImportError, Lane};
use crate::realms::local::{LocalRealm, MINIMUM_LENGTH, NewPassword};
use crate::serve::admin::protocol::Refusal;
use crate::serve::admin::{HashPassword, KeyAdmin};
use crate::serve::pages::{Change, ChangePassword, Changed, OwnPasswords};

/// Changes passwords at their owners' wish, in the realm that holds them.
#[derive(Debug)]
pub struct Owners {
    own: HashMap<TenantId, OwnPasswords>,
    profiles: Arc<Profiles>,
    helps: BTreeMap<ProfileName, PasswordHelp>,
}

impl Owners {
    /// For each tenant the first realm of ours that its login asks.
    pub fn new(checked: &Checked, clock: &Arc<dyn Clock>, passwords: &Arc<Passwords>, local: &HashMap<RealmName, Arc<LocalRealm>>) -> Self {
        let realm_of = |tenant: &checked::Tenant| {
            let (step, realm) = checked.own_realm(tenant)?;
            Some((step.clone(), local.get(realm)?.clone()))
        };
        let own = |(step, realm)| OwnPasswords { realm, passwords: passwords.clone(), step, clock: clock.clone() };
        let own = checked.tenants.iter().filter_map(|tenant| Some((tenant.id.clone(), own(realm_of(tenant)?)))).collect();
        Self { own, profiles: checked.profiles.clone(), helps: checked.password_helps.clone() }
    }
}

#[async_trait]
impl ChangePassword for Owners {
    async fn change_password(&self, change: &Change<'_>, trail: &mut Trail) -> Result<Changed, Unavailable> {
        match self.own.get(&change.user.tenant) {
            Some(passwords) => passwords.change_password(change, trail).await,
            None => Ok(Changed::Rejected(Reason::NoPassword)),
        }
    }

    fn minimum_length(&self, tenant: &TenantId) -> usize {
        self.own.get(tenant).map_or(MINIMUM_LENGTH, |passwords| passwords.minimum_length(tenant))
    }

    fn elsewhere(&self, user: &User) -> Option<PasswordHelp> {
        self.profiles.delegate(user)?;
        Some(self.helps.get(&user.profile).cloned().unwrap_or_default())
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

    async fn import(&self, purpose: &str, pkcs8: &Secret<Vec<u8>>) -> Result<Vec<KeyRecord>, Refusal> {
        if purpose != PURPOSE {
            return Err(Refusal::NotFound(format!("no key signs `{purpose}`; there is `{PURPOSE}`")));
        }
        self.0.import(pkcs8).await.map_err(refusal)?;
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
        keys::Error::Unfit(_) | keys::Error::Known(_) => Refusal::Invalid(error.to_string()),
        keys::Error::Store(_) | keys::Error::Sealed(_) | keys::Error::Record { .. } | keys::Error::Cryptography => {
            Refusal::Unavailable(error.to_string())
        }
    }
}

/// Tells which configuration is in force, and which could be.
pub trait InForce: Debug + Send + Sync {
    /// The one since the last reload.
    fn checked(&self) -> Arc<Checked>;

    /// Whether what stands in the configuration's file now would be accepted if a file of metadata that it names held these octets.
    /// Reads files.
    ///
    /// # Errors
    /// What would be wrong.
    fn would_accept(&self, file: &Path, octets: &[u8]) -> Result<(), String>;
}

/// Hashes passwords that administrators set, by the same rules as those their owners choose.
#[derive(Debug)]
pub struct Hashes {
    /// What hashes.
    pub pool: Arc<HashingPool>,
    /// Whose rules hold.
    pub checked: Arc<dyn InForce>,
}

impl Hashes {
    fn lane() -> Lane {
        Lane::of(std::net::Ipv4Addr::LOCALHOST.into(), true)
    }
}

#[async_trait]
impl HashPassword for Hashes {
    fn minimum_length(&self, tenant: &TenantId) -> usize {
        self.checked.checked().minimum_length(tenant)
    }

    async fn hash(&self, tenant: &TenantId, name: &Username, password: &Secret<String>) -> Result<PasswordHash, Refusal> {
        let new = NewPassword::parse(password.reveal(), name, self.minimum_length(tenant));
        let new = new.map_err(|weakness| Refusal::Invalid(weakness.to_string()))?;
        Ok(self.pool.hash(new.secret(), Self::lane()).await?)
    }

    async fn import(&self, text: &Secret<String>) -> Result<PasswordHash, Refusal> {
        self.pool.import(text, Self::lane()).await?.map_err(not_taken_over)
    }

    fn seal(&self, text: &Secret<String>) -> Result<PasswordHash, Refusal> {
        self.pool.seal(text).map_err(not_taken_over)
    }

    fn reveal(&self, stored: &PasswordHash) -> Option<Secret<String>> {
        self.pool.reveal(stored)
    }
}

fn not_taken_over(why: ImportError) -> Refusal {
    match why {
        ImportError::Unavailable => Refusal::Unavailable(why.to_string()),
        ImportError::TooLong | ImportError::UnknownKind | ImportError::Malformed | ImportError::Parameters => {
            Refusal::Invalid(why.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use vestibule_engine::clock::SystemClock;

    use super::*;
    use crate::config::{self, Purpose};
    use crate::realms::hashing::Cost;

    #[derive(Debug)]
    struct Fixed(Arc<Checked>);

    impl InForce for Fixed {
        fn checked(&self) -> Arc<Checked> {
            self.0.clone()
        }

        fn would_accept(&self, _: &Path, _: &[u8]) -> Result<(), String> {
            Err("nothing is renewed here".to_owned())
        }
    }

    /// The realm of this example has `minimum_length = 14`.
    fn hashes() -> Hashes {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/two-tenants/vestibule.toml");
        let (checked, _) = config::load(&file, Purpose::Serve, clock.now(), |_| Vec::new()).unwrap();
        Hashes {
            pool: Arc::new(HashingPool::new(1, 8, Cost::default(), crate::realms::hashing::tests::sealing(), clock).unwrap()),
            checked: Arc::new(Fixed(Arc::new(checked))),
        }
    }

    #[tokio::test]
    async fn administrators_obey_the_rules_of_the_realm() {
        let (hashes, north, ada) = (hashes(), TenantId::from("north"), Username::parse("ada.lovelace.of.north").unwrap());
        let set = async |password: &str| hashes.hash(&north, &ada, &Secret::from(password)).await;
        assert_eq!(set("thirteen long").await.unwrap_err().to_string(), "The new password needs at least 14 characters.");
        assert!(matches!(set("ada.lovelace.of.north").await, Err(Refusal::Invalid(_))));
        assert!(set("fourteen chars").await.unwrap().0.starts_with("$argon2id$"));
        assert_eq!(hashes.minimum_length(&"nobody".into()), MINIMUM_LENGTH);
    }

    #[tokio::test]
    async fn hashes_of_other_systems_are_taken_over_and_anything_else_is_not() {
        let hashes = hashes();
        let ssha = Secret::from("{SSHA}12mJ6etYCpM1oXTRaCHR4ffDmnBzYWx0c2FsdA==");
        assert!(hashes.import(&ssha).await.unwrap().0.starts_with("$vestibule-wrapped$"));
        assert!(matches!(hashes.import(&Secret::from("hunter2")).await, Err(Refusal::Invalid(why)) if !why.contains("hunter2")));
    }
}
