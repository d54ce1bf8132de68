//! The tenant as an identity provider of SAML 2.0, on its portal: its users sign in elsewhere with what they sign in here.
//!
//! ```text
//! service provider ─▶ /saml/idp/sso ─▶ /saml/idp/continue ─▶ (login) ─▶ /saml/idp/continue ─▶ its assertion consumer
//! ```
//!
//! What an attacker tries: to have an assertion sent to himself (attack 51), to have markup signed that he chose (attack 50),
//! to sign others out (attack 120), to have a request answered twice, to learn from an answer who somebody is elsewhere.
//! Answers go to addresses of the registered metadata, values through a writer that cannot be injected, a request in progress
//! travels sealed, and who signs in is said by our own session and nothing that came with the request.

mod answer;
mod artifact;
mod saml11;
mod sso;

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use vestibule_engine::audit::{Event, Reason, Ruling, SamlFault};
use vestibule_engine::identity::{GroupName, Identity, Issuer, TenantId};
use vestibule_engine::scheme::Unavailable;
use vestibule_saml::metadata::{Endpoint, Entity, IdpRole, IndexedEndpoint, KeyDescriptor, Protocols, Usage};
use vestibule_saml::names::binding;
use vestibule_saml::{Incoming, Rejection};

use super::saml_message::unwritten;
use super::single_logout::Role;
use super::words::Words;
use super::{Portal, Visit, reply};
use crate::config::checked::{Checked, IdentityProviderRole, NameKind, ServiceProvider};
use crate::schemes::saml::fault;

/// Below which all of it is.
pub const PREFIX: &str = "/saml/idp/";
/// Longest body that is read here, in octets.
pub const MAX_BODY: usize = 512 * 1024;

/// The tenants that are identity providers.
#[derive(Debug, Default)]
pub struct Idps {
    tenants: HashMap<TenantId, Federation>,
    /// Whose word is a password's.
    realms: HashSet<Issuer>,
}

/// One of them, with those it speaks to.
#[derive(Debug)]
pub(super) struct Federation {
    role: IdentityProviderRole,
    portal: String,
    partners: Vec<ServiceProvider>,
}

impl Idps {
    /// Those of a configuration.
    pub fn new(checked: &Checked) -> Self {
        let federation = |tenant: &crate::config::checked::Tenant| {
            let partners = checked.service_providers.iter().filter(|provider| provider.tenant == tenant.id).cloned().collect();
            Some((tenant.id.clone(), Federation { role: tenant.idp.clone()?, portal: tenant.portal_origin.clone()?, partners }))
        };
        Self {
            tenants: checked.tenants.iter().filter_map(federation).collect(),
            realms: checked.realms.keys().map(|name| Issuer::from(name.as_str())).collect(),
        }
    }

    pub(super) fn of(&self, tenant: &TenantId) -> Option<&Federation> {
        self.tenants.get(tenant)
    }

    /// Applications that somebody may begin to sign in at from here: title and address.
    pub(super) fn links(&self, tenant: &TenantId, identity: &Identity) -> Vec<(String, String)> {
        let partners = self.of(tenant).into_iter().flat_map(|federation| &federation.partners);
        let open = partners.filter(|partner| partner.start && admits(&partner.groups, identity));
        open.map(|partner| (partner.title.clone(), format!("{PREFIX}start/{}", partner.name))).collect()
    }
}

impl Federation {
    pub(super) fn role(&self) -> &IdentityProviderRole {
        &self.role
    }

    pub(super) fn partner(&self, name: &str) -> Option<&ServiceProvider> {
        self.partners.iter().find(|partner| *partner.name == *name)
    }

    /// A partner whose metadata still hold.
    pub(super) fn holding(&self, name: &str, visit: &Visit<'_>) -> Option<&ServiceProvider> {
        self.partner(name).filter(|partner| holds(partner, visit))
    }

    pub(super) fn partner_of(&self, entity_id: &str) -> Option<&ServiceProvider> {
        self.partners.iter().find(|partner| partner.registered.entity_id == entity_id)
    }

    /// Whether SAML 1.1 is spoken with anybody.
    fn speaks_saml11(&self) -> bool {
        self.partners.iter().any(|partner| partner.saml11.is_some())
    }

    pub(super) fn at(&self, page: &str) -> String {
        format!("{}{PREFIX}{page}", self.portal)
    }
}

/// The metadata of a tenant as an identity provider, whose portal is at this origin; with the addresses of SAML 1.1 where it
/// speaks that with anybody.
///
/// # Errors
/// What cannot be written.
pub fn metadata(role: &IdentityProviderRole, portal: &str, title: &str, saml11: bool) -> Result<String, vestibule_saml::Error> {
    let at = |page: &str| format!("{portal}{PREFIX}{page}");
    let key = |certificate: &rustls::pki_types::CertificateDer<'_>| KeyDescriptor {
        usage: Usage::Signing,
        certificates: vec![certificate.to_vec()],
        encryption_methods: Vec::new(),
    };
    let both = |page: &str| vec![Endpoint::new(binding::REDIRECT, &at(page)), Endpoint::new(binding::POST, &at(page))];
    let resolving = |index, binding: &str, page: &str| IndexedEndpoint {
        index,
        is_default: Some(index == artifact::ENDPOINT),
        binding: binding.to_owned(),
        location: at(page),
    };
    let (mut sso, mut artifact_resolution) = (both("sso"), vec![resolving(artifact::ENDPOINT, binding::SOAP, "artifact")]);
    if saml11 {
        sso.push(Endpoint::new(binding::SHIBBOLETH, &at(saml11::TRANSFER)));
        artifact_resolution.push(resolving(artifact::ENDPOINT + 1, binding::SAML11_SOAP, saml11::RESPONDER));
    }
    let entity = Entity {
        entity_id: role.idp.entity_id.clone(),
        display_name: Some(title.to_owned()),
        idp: Some(IdpRole {
            protocols: Protocols { saml20: true, saml11 },
            keys: role.certificates.iter().map(key).collect(),
            want_authn_requests_signed: role.signed_requests,
            scopes: Vec::new(),
            sso,
            slo: both("slo"),
            artifact_resolution,
            name_id_formats: NameKind::ALL.map(|kind| kind.format().to_owned()).into(),
        }),
        ..Entity::default()
    };
    Ok(entity.unsigned()?.as_str().to_owned())
}

/// Whether somebody is in one of these groups; none means everybody is.
fn admits(groups: &[GroupName], identity: &Identity) -> bool {
    groups.is_empty() || groups.iter().any(|group| identity.user.groups.contains(group))
}

impl Portal {
    /// Anything below [`PREFIX`].
    pub(super) async fn idp(&self, visit: &mut Visit<'_>, page: &str) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Some(federation) = self.idps.of(&visit.tenant.id) else { return Ok(visit.missing()) };
        let method = visit.request.method.clone();
        let (get, post) = (method == Method::GET, method == Method::POST);
        match page {
            "metadata" if get || method == Method::HEAD => Self::show_metadata(visit, federation),
            "sso" if get || post => self.take_request(visit, federation).await,
            "continue" if get => self.go_on(visit, federation).await,
            "slo" if get || post => self.take_logout(visit, Role::Idp).await,
            "artifact" if post => self.resolve_artifact(visit, federation).await,
            saml11::TRANSFER if get && federation.speaks_saml11() => self.transfer(visit, federation),
            saml11::RESPONDER if post && federation.speaks_saml11() => self.resolve_saml11(visit, federation).await,
            saml11::TRANSFER if federation.speaks_saml11() => Ok(visit.not_allowed("GET")),
            saml11::RESPONDER if federation.speaks_saml11() => Ok(visit.not_allowed("POST")),
            "sso" | "slo" => Ok(visit.not_allowed("GET, POST")),
            "metadata" => Ok(visit.not_allowed("GET, HEAD")),
            "continue" => Ok(visit.not_allowed("GET")),
            "artifact" => Ok(visit.not_allowed("POST")),
            page => match page.strip_prefix("start/") {
                Some(name) if get => self.start(visit, federation, name),
                Some(_) => Ok(visit.not_allowed("GET")),
                None => Ok(visit.missing()),
            },
        }
    }

    fn show_metadata(visit: &Visit<'_>, federation: &Federation) -> Result<Response<Full<Bytes>>, Unavailable> {
        metadata(&federation.role, &federation.portal, &visit.tenant.title, federation.speaks_saml11())
            .map(reply::metadata)
            .map_err(unwritten)
    }

    /// Who sent a message, as it says itself; the metadata have to hold still.
    fn requester<'f>(visit: &Visit<'_>, federation: &'f Federation, incoming: Incoming<'_>) -> Option<&'f ServiceProvider> {
        let issuer = incoming.claimed_issuer().ok()?;
        federation.partner_of(&issuer).filter(|partner| holds(partner, visit))
    }
}

fn holds(partner: &ServiceProvider, visit: &Visit<'_>) -> bool {
    partner.valid_until.is_none_or(|until| visit.now < until)
}

impl Visit<'_> {
    /// What the audit learns of a refused message of a service provider.
    fn note_refused(&mut self, partner: Option<&str>, check: &str, reason: SamlFault, detail: &str) {
        self.trail.events.push(Event::MessageRefused {
            scheme: "idp".into(),
            partner: partner.map(str::to_owned),
            check: check.to_owned(),
            reason,
            detail: detail.to_owned(),
        });
        self.refusal = Some((Ruling::Deny, Reason::Saml(reason)));
    }

    /// A message that cannot be read, or is of nobody we know.
    fn unreadable(&mut self, reason: SamlFault, why: &str) -> Response<Full<Bytes>> {
        self.note_refused(None, "binding", reason, why);
        self.problem(
            StatusCode::BAD_REQUEST,
            self.words.request_unread,
            self.words.nothing_done,
            Some((self.words.go_to_applications, "/")),
        )
    }

    /// A message that a check refused.
    fn refused(&mut self, partner: &ServiceProvider, rejection: &Rejection) -> Response<Full<Bytes>> {
        let check = rejection.checks.iter().find(|check| !check.ok()).map_or("document", |check| check.name);
        self.note_refused(Some(&partner.name), check, fault(rejection.reason), &rejection.detail);
        self.problem(
            StatusCode::FORBIDDEN,
            &Words::fill(self.words.request_refused, &partner.title),
            self.words.nothing_done,
            Some((self.words.go_to_applications, "/")),
        )
    }
}
