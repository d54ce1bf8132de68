//! Whose a certificate is, wherever its key was shown: in TLS or under a message.
//!
//! An attacker with a certificate of the same authority tries to be taken for another: by a second name in it, by a name in
//! another spelling, by a name of another kind. So the kinds that count are configured, two names that mean two people are
//! nobody, and users are never found by their mail address.

use std::sync::Arc;

use quick_cache::sync::Cache;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::Reason;
use vestibule_engine::identity::{ExternalId, TenantId, User, UserId, Username};
use vestibule_engine::request::{AlternativeName, ClientCertificate};
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::tenant::Tenant;
use vestibule_engine::users::Users;

use crate::certificate;

/// Certificates whose users are remembered; each is held against its user again whenever it is shown.
const REMEMBERED: usize = 10_000;

/// By what a user is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mapping {
    /// This very certificate was linked to them.
    Thumbprint,
    /// It was linked by its issuer and serial number.
    IssuerSerial,
    /// The mail address in it is their name.
    Mail,
    /// The user principal name in it is their name.
    Principal,
    /// The URI in it is their name.
    Uri,
    /// The host name in it is their name.
    Dns,
    /// The subject's common name is their name.
    CommonName,
}

/// Finds the owners of certificates.
#[derive(Debug)]
pub struct Owners {
    mapping: Vec<Mapping>,
    suffix: String,
    users: Arc<Users>,
    found: Cache<(TenantId, String), UserId>,
}

/// What a mapping says of a certificate.
enum Claim {
    Link(ExternalId),
    Name(Username),
}

impl Claim {
    fn holds(&self, user: &User) -> bool {
        match self {
            Self::Link(id) => user.external_ids.contains(id),
            Self::Name(name) => user.name == *name,
        }
    }
}

impl Owners {
    /// The first mapping that finds somebody counts. Names must end with `suffix`, which is cut off.
    pub fn new(mapping: Vec<Mapping>, suffix: String, users: Arc<Users>) -> Self {
        Self { mapping, suffix, users, found: Cache::new(REMEMBERED) }
    }

    /// The user whose this certificate is, or why it is nobody's.
    ///
    /// # Errors
    /// [`Unavailable`] if the store does not answer.
    pub async fn find(
        &self,
        tenant: &Tenant,
        certificate: &ClientCertificate,
        now: Timestamp,
    ) -> Result<Result<Arc<User>, Reason>, Unavailable> {
        let key = (tenant.id.clone(), certificate.thumbprint.clone());
        for (place, mapping) in self.mapping.iter().enumerate() {
            let claim = match self.claim(*mapping, certificate, tenant) {
                Ok(Some(claim)) => claim,
                Ok(None) => continue,
                Err(reason) => return Ok(Err(reason)),
            };
            // What an earlier mapping would say today only the store knows, so the first alone is remembered.
            if place == 0
                && let Some(id) = self.found.get(&key)
                && let Some(user) = self.users.by_id(id, now).await?
                && user.tenant == tenant.id
                && claim.holds(&user)
            {
                return Ok(Ok(user));
            }
            let user = match &claim {
                Claim::Link(id) => self.users.by_external_id(&tenant.id, id).await?,
                Claim::Name(name) => self.users.by_name(&tenant.id, name).await?,
            };
            if let Some(user) = user {
                if place == 0 {
                    self.found.insert(key, user.id);
                }
                return Ok(Ok(user));
            }
        }
        Ok(Err(Reason::UnknownCertificate))
    }

    fn claim(&self, mapping: Mapping, certificate: &ClientCertificate, tenant: &Tenant) -> Result<Option<Claim>, Reason> {
        let named = |pick: fn(&AlternativeName) -> Option<&str>| self.only(certificate.names.iter().filter_map(pick), tenant);
        match mapping {
            Mapping::Thumbprint => return Ok(Some(Claim::Link(certificate::by_thumbprint(certificate)))),
            Mapping::IssuerSerial => return Ok(Some(Claim::Link(certificate::by_serial(certificate)))),
            Mapping::Mail => named(|name| if let AlternativeName::Mail(mail) = name { Some(mail) } else { None }),
            Mapping::Principal => named(|name| if let AlternativeName::Principal(name) = name { Some(name) } else { None }),
            Mapping::Uri => named(|name| if let AlternativeName::Uri(uri) = name { Some(uri) } else { None }),
            Mapping::Dns => named(|name| if let AlternativeName::Dns(name) = name { Some(name) } else { None }),
            Mapping::CommonName => self.only(certificate.common_name.iter().map(String::as_str), tenant),
        }
        .map(|name| name.map(Claim::Name))
    }

    /// The one user name that these names mean.
    fn only<'a>(&self, names: impl Iterator<Item = &'a str>, tenant: &Tenant) -> Result<Option<Username>, Reason> {
        let mut only: Option<Username> = None;
        for name in names {
            let Some(stem) = name.len().checked_sub(self.suffix.len()).and_then(|at| name.split_at_checked(at)) else { continue };
            if !stem.1.eq_ignore_ascii_case(&self.suffix) {
                continue;
            }
            let Some(name) = Username::parse(tenant.local_name(stem.0)) else { continue };
            if only.as_ref().is_some_and(|other| *other != name) {
                return Err(Reason::AmbiguousUser);
            }
            only = Some(name);
        }
        Ok(only)
    }
}
