//! Tenants as identity providers of SAML 2.0, and the service providers their users sign in at.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use vestibule_engine::identity::{GroupName, TenantId};
use vestibule_saml::binding::{RelayState, is_endpoint};
use vestibule_saml::idp::{RegisteredSp, Sign};
use vestibule_saml::metadata::{Entity, IndexedEndpoint};
use vestibule_saml::names::binding;
use vestibule_saml::{Idp, Signature};
use vestibule_xmlsec::{IdentityProvider, Purpose as _, SigningKey};

use super::Resolve;
use crate::config::checked::{ArtifactRequests, Conceded, Fact, IdentityProviderRole, NameKind, SAML11_ISSUED, ServiceProvider, Tenant};
use crate::config::file;
use crate::config::pem;
use crate::config::problem::suggest;
use crate::config::values::{At, Period};

/// Where a tenant's metadata are, on its portal.
pub const METADATA: &str = "/saml/idp/metadata";
/// Where requests are taken.
pub const SSO: &str = "/saml/idp/sso";
/// Longest time an assertion may be presented.
const MAX_LIFETIME: Duration = Duration::from_secs(600);
/// Furthest that a clock may be off.
const MAX_SKEW: Duration = Duration::from_secs(300);

impl Resolve<'_> {
    /// A tenant as an identity provider; `portal` is the origin of its portal.
    pub(super) fn idp(
        &mut self,
        At { value: written, span }: &At<file::IdentityProviderRole>,
        portal: Option<&str>,
    ) -> Option<IdentityProviderRole> {
        let key = self.secret(&written.key);
        let certificates = self.certificates_of(&written.certificate);
        let entity_id = written.entity_id.as_ref().filter(|at| {
            let fits = !at.value.trim().is_empty() && at.value.len() <= 1024;
            if !fits {
                self.error(at, "an entity id is a URI of at most 1024 characters");
            }
            fits
        });
        let Some(portal) = portal else {
            let at = At { value: (), span: span.clone() };
            self.error(&at, "an identity provider is on the portal, and this tenant has none").help =
                Some("give the tenant a portal, as in portal = \"login.example.com\"".to_owned());
            return None;
        };
        let (certificates, key) = (certificates?, key?);
        let pkcs8 = self.or_error(&written.key, pem::pkcs8(&key))?;
        let certificate = certificates.first().map(|certificate| certificate.as_ref());
        let key = SigningKey::<IdentityProvider>::from_pkcs8(IdentityProvider::NAME, pkcs8.reveal(), certificate);
        let key = self.or_error(&written.key, key.map_err(|why| format!("the key cannot sign for the first certificate: {why}")))?;
        let entity_id = entity_id.map_or_else(|| format!("{portal}{METADATA}"), |at| at.value.clone());
        let idp = Idp { entity_id, sso_urls: vec![format!("{portal}{SSO}")], key };
        Some(IdentityProviderRole { idp: Arc::new(idp), certificates, signed_requests: written.signed_requests })
    }

    pub(super) fn service_providers(&mut self, tenants: &[Tenant]) -> Vec<ServiceProvider> {
        let file = self.file;
        let mut providers: Vec<ServiceProvider> = Vec::new();
        for (name, At { value: written, .. }) in &file.service_provider.0 {
            let Some(provider) = self.service_provider(&name.value, written, tenants) else { continue };
            let same =
                |other: &&ServiceProvider| other.tenant == provider.tenant && other.registered.entity_id == provider.registered.entity_id;
            if let Some(other) = providers.iter().find(same) {
                let what = format!("`{}` is the service provider `{}` already", provider.registered.entity_id, other.name);
                self.error(&written.metadata, what);
                continue;
            }
            providers.push(provider);
        }
        providers
    }

    fn service_provider(&mut self, name: &str, written: &file::ServiceProvider, tenants: &[Tenant]) -> Option<ServiceProvider> {
        let tenant = TenantId::from(written.tenant.value.as_str());
        match self.file.tenant.find(&written.tenant.value) {
            None => self.unknown(&written.tenant, "tenant", self.file.tenant.names()),
            Some(At { value, .. }) if value.idp.is_none() => {
                self.error(&written.tenant, format!("the tenant `{tenant}` is no identity provider")).help =
                    Some(format!("add [tenant.{tenant}.idp] with its certificate and key"));
            }
            Some(_) => {}
        }
        let names = self.name_kinds(written);
        let mut release: BTreeMap<String, Fact> = BTreeMap::new();
        for (attribute, fact) in &written.release.0 {
            if attribute.value.trim().is_empty() {
                self.error(attribute, "an attribute has a name");
            }
            if let Some(fact) = self.fact(fact) {
                release.insert(attribute.value.clone(), fact);
            }
        }
        let relay_state = written.relay_state.as_ref().and_then(|at| {
            let state = RelayState::received(&at.value).map_err(|why| why.to_string());
            self.or_error(at, state)
        });
        let (lifetime, skew) = (self.within(&written.lifetime, MAX_LIFETIME), self.within(&written.skew, MAX_SKEW));
        let entity = self.entity(written)?;
        let mut registered = RegisteredSp::from_metadata(&entity).ok()?;
        registered.skew = skew;
        registered.sign = match written.sign {
            file::Sign::Both => Sign::Both,
            file::Sign::Assertion => Sign::Assertion,
            file::Sign::Response => Sign::Response,
        };
        match (written.encrypt.value, &registered.encryption) {
            (file::Encrypt::Always, None) => {
                self.error(&written.encrypt, "the metadata hold no key that could be encrypted to");
            }
            (file::Encrypt::Never, _) => registered.encryption = None,
            (file::Encrypt::Always | file::Encrypt::IfPossible, _) => {}
        }
        let signed =
            tenants.iter().find(|known| known.id == tenant).and_then(|tenant| tenant.idp.as_ref()).is_some_and(|idp| idp.signed_requests);
        if signed {
            registered.requests = Signature::Required;
        }
        if registered.requests == Signature::Required && registered.keys.ids().is_empty() {
            self.error(&written.metadata, "its requests have to be signed, and the metadata hold no usable key that could verify them");
        }
        let saml11 = self.saml11(name, &written.metadata, &mut registered);
        let title = written.title.clone().or_else(|| entity.display_name.clone()).unwrap_or_else(|| name.to_owned());
        Some(ServiceProvider {
            name: Arc::from(name),
            tenant,
            title,
            registered: Arc::new(registered),
            valid_until: entity.valid_until,
            names,
            release: release.into_iter().collect(),
            groups: written.groups.value.0.iter().map(|at| GroupName::from(at.value.as_str())).collect(),
            start: written.start,
            relay_state,
            lifetime,
            saml11,
        })
    }

    /// What was conceded of SAML 1.1. Without that, its addresses for it are none.
    fn saml11(&mut self, name: &str, metadata: &At<PathBuf>, registered: &mut RegisteredSp) -> Option<ArtifactRequests> {
        let old = |acs: &IndexedEndpoint| matches!(acs.binding.as_str(), binding::SAML11_POST | binding::SAML11_ARTIFACT);
        let issued = self.is_conceded(&Conceded::Saml11Issued(name.into()));
        if !issued {
            registered.role.acs.retain(|acs| !old(acs));
            if registered.role.acs.is_empty() {
                self.error(metadata, "the metadata describe a service provider of SAML 1.1 only").help =
                    Some(format!("concede it: [[concession]] what = \"{SAML11_ISSUED}\", partner = \"{name}\""));
            }
            return None;
        }
        if !registered.role.acs.iter().any(old) {
            self.warn(metadata, "SAML 1.1 is conceded, and the metadata have no address for it");
        }
        let unproven = registered.role.acs.iter().any(|acs| acs.binding == binding::SAML11_ARTIFACT)
            && self.is_conceded(&Conceded::Saml11UnprovenArtifacts(name.into()));
        Some(if unproven { ArtifactRequests::Unproven } else { ArtifactRequests::Proven })
    }

    fn name_kinds(&mut self, written: &file::ServiceProvider) -> Vec<NameKind> {
        let mut kinds = Vec::new();
        for at in &written.name_id.value.0 {
            match NameKind::ALL.into_iter().find(|kind| kind.word() == at.value) {
                Some(kind) if !kinds.contains(&kind) => kinds.push(kind),
                Some(_) => {}
                None => {
                    let help = suggest(&at.value, NameKind::ALL.map(NameKind::word));
                    self.error(at, format!("no name of a user is `{}`", at.value)).help = help;
                }
            }
        }
        if written.name_id.value.0.is_empty() {
            self.error(&written.name_id, "it could not tell users apart").help = Some("write name_id = \"persistent\"".to_owned());
        }
        kinds
    }

    fn within(&mut self, at: &At<Period>, most: Duration) -> SignedDuration {
        if at.value.0 > most {
            self.error(at, format!("this is at most {}", Period(most)));
        }
        SignedDuration::try_from(at.value.0).unwrap_or(SignedDuration::ZERO)
    }

    /// The one that a file of metadata describes, or the one of its id.
    fn entity(&mut self, written: &file::ServiceProvider) -> Option<Entity> {
        let at: &At<PathBuf> = &written.metadata;
        let metadata = self.metadata_of(at)?;
        let providers =
            self.meant(&metadata, |entity| entity.sp.is_some() && written.entity_id.as_ref().is_none_or(|id| entity.entity_id == id.value));
        let found = match (&written.entity_id, providers.as_slice()) {
            (Some(_), [found, ..]) => (*found).clone(),
            (Some(id), []) => {
                let all = metadata.entities.iter().filter(|entity| entity.sp.is_some());
                self.unknown(id, "service provider in the metadata", all.map(|entity| entity.entity_id.as_str()));
                return None;
            }
            (None, [only]) => (*only).clone(),
            (None, []) => {
                self.error(at, "the metadata describe no service provider");
                return None;
            }
            (None, all) => {
                let what = format!("the metadata describe {} service providers", all.len());
                self.error(at, what).help = Some("say which with entity_id = \"…\"".to_owned());
                return None;
            }
        };
        let addresses = found.sp.iter().flat_map(|sp| &sp.acs);
        if !addresses.clone().any(|acs| is_endpoint(&acs.location)) {
            self.error(at, "the metadata say nowhere where answers go");
            return None;
        }
        self.warn_of_end(at, &found, "nobody is signed in there");
        Some(found)
    }
}
