//! A partner of a logout, as we speak to it in the role that it knows us in.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use vestibule_engine::Timestamp;
use vestibule_engine::scheme::Unavailable;
use vestibule_saml::binding::{Kind, PostForm, RelayState, signed_redirect_url};
use vestibule_saml::metadata::Endpoint;
use vestibule_saml::names::binding;
use vestibule_saml::protocol::{Header, LogoutRequest, LogoutResponse, Status};
use vestibule_saml::{Incoming, Partner, Rejection, Sendable};
use vestibule_xmlsec::{Assertions, DecryptionKeys, IdentityProvider, Purpose, ServiceProvider, SigningKey};

use super::{Party, Role};
use crate::config::checked::Logout;
use crate::schemes::saml::LOGOUT;
use crate::serve::pages::saml_message::{go, post, unwritten};
use crate::serve::pages::{Portal, Visit, reply};

/// What its messages are held against, and what ours to it are made of.
pub(super) struct Correspondent<'p> {
    pub party: Party,
    /// For people.
    pub title: &'p str,
    partner: Partner<'p>,
    endpoints: &'p [Endpoint],
    /// Where it writes to.
    own: String,
    /// Who we are to it.
    entity_id: &'p str,
    signer: Signer<'p>,
}

enum Signer<'p> {
    Idp(&'p SigningKey<IdentityProvider>),
    Sp(&'p SigningKey<ServiceProvider>, &'p DecryptionKeys<Assertions>),
}

impl Portal {
    /// Who says that it sent a message: nothing is proven.
    pub(super) fn sender(&self, visit: &Visit<'_>, role: Role, incoming: Incoming<'_>) -> Option<Correspondent<'_>> {
        let issuer = incoming.claimed_issuer().ok()?;
        let party = match role {
            Role::Idp => Party::ServiceProvider(self.idps.of(&visit.tenant.id)?.partner_of(&issuer)?.name.to_string()),
            Role::Sp => Party::IdentityProvider(self.service_provider(visit)?.provider_of(&issuer)?.name().to_owned()),
        };
        self.correspondent(visit, &party)
    }

    /// A partner that is still registered, whose metadata still hold, and to which we have a key to sign with.
    pub(super) fn correspondent(&self, visit: &Visit<'_>, party: &Party) -> Option<Correspondent<'_>> {
        match party {
            Party::ServiceProvider(name) => {
                let federation = self.idps.of(&visit.tenant.id)?;
                let partner = federation.holding(name, visit)?;
                Some(Correspondent {
                    party: party.clone(),
                    title: &partner.title,
                    partner: partner.registered.partner(),
                    endpoints: &partner.registered.role.slo,
                    own: federation.at("slo"),
                    entity_id: &federation.role().idp.entity_id,
                    signer: Signer::Idp(&federation.role().idp.key),
                })
            }
            Party::IdentityProvider(name) => {
                let sp = self.service_provider(visit)?;
                let provider = sp.provider(name)?;
                Some(Correspondent {
                    party: party.clone(),
                    title: provider.title(),
                    partner: provider.trusted(visit.now).ok()?.partner(),
                    endpoints: provider.logouts(),
                    own: format!("{}{LOGOUT}", visit.tenant.portal_origin.as_ref()?),
                    entity_id: sp.entity_id(),
                    signer: Signer::Sp(sp.signing()?, sp.decryption()),
                })
            }
        }
    }

    /// What a partner is called, as long as it is registered.
    pub(super) fn title(&self, visit: &Visit<'_>, party: &Party) -> Option<String> {
        match party {
            Party::ServiceProvider(name) => Some(self.idps.of(&visit.tenant.id)?.partner(name)?.title.clone()),
            Party::IdentityProvider(name) => Some(self.service_provider(visit)?.provider(name)?.title().to_owned()),
        }
    }

    /// Whether a partner is told when a login ends here.
    pub(super) fn wants_logouts(&self, visit: &Visit<'_>, party: &Party) -> bool {
        match party {
            Party::ServiceProvider(_) => true,
            Party::IdentityProvider(name) => {
                let provider = self.service_provider(visit).and_then(|sp| sp.provider(name));
                provider.is_some_and(|provider| provider.settings().logout == Logout::Single)
            }
        }
    }
}

impl Correspondent<'_> {
    pub(super) fn role(&self) -> Role {
        match self.party {
            Party::ServiceProvider(_) => Role::Idp,
            Party::IdentityProvider(_) => Role::Sp,
        }
    }

    /// Judges a request of it.
    pub(super) fn request(&self, incoming: Incoming<'_>, now: Timestamp) -> Result<LogoutRequest, Rejection> {
        let none = DecryptionKeys::new();
        let decryption = match &self.signer {
            Signer::Idp(_) => &none,
            Signer::Sp(_, keys) => keys,
        };
        Ok(self.partner.logout_request(incoming, &[&self.own], decryption, now)?.message)
    }

    /// Judges its answer to a request of ours.
    pub(super) fn answer(&self, incoming: Incoming<'_>, request: &str, now: Timestamp) -> Result<Status, Rejection> {
        Ok(self.partner.logout_response(incoming, &[&self.own], request, now)?.message.status)
    }

    /// For how long a request of it could be sent again.
    pub(super) fn remembered(&self) -> Duration {
        let longest = self.partner.max_age.saturating_add(self.partner.skew).saturating_add(self.partner.skew);
        Duration::try_from(longest).unwrap_or_default().max(Duration::from_secs(60))
    }

    /// Where it takes logouts: by the binding that is preferred, or by one we have.
    pub(super) fn endpoint(&self, preferred: Option<&str>) -> Option<&Endpoint> {
        let by = |wanted: &str| self.endpoints.iter().find(|endpoint| endpoint.binding == wanted);
        preferred.and_then(by).or_else(|| by(binding::REDIRECT)).or_else(|| by(binding::POST))
    }

    pub(super) fn header(&self, id: String, destination: &str, now: Timestamp) -> Header {
        Header { id, issue_instant: now, destination: Some(destination.to_owned()), issuer: self.entity_id.to_owned() }
    }

    /// Leads the browser there with a request.
    pub(super) fn send_request(
        &self,
        visit: &Visit<'_>,
        endpoint: &Endpoint,
        request: &LogoutRequest,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        match self.sent(&endpoint.binding, &endpoint.location, Kind::Request, request, None).map_err(unwritten)? {
            Sent::Address(url) => Ok(go(visit, &url, self.title, visit.words.signed_out_going)),
            Sent::Form(form) => Ok(post(visit, form, self.title, visit.words.signed_out_going)),
        }
    }

    /// Leads the browser back there with an answer.
    pub(super) fn send_answer(
        &self,
        visit: &Visit<'_>,
        endpoint: &Endpoint,
        location: &str,
        answer: &LogoutResponse,
        relay_state: Option<RelayState>,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        match self.sent(&endpoint.binding, location, Kind::Response, answer, relay_state).map_err(unwritten)? {
            Sent::Address(url) => Ok(reply::redirect(&url)),
            Sent::Form(form) => Ok(post(visit, form, self.title, visit.words.signed_out_back)),
        }
    }

    fn sent(
        &self,
        binding: &str,
        location: &str,
        kind: Kind,
        message: &impl Sendable,
        relay_state: Option<RelayState>,
    ) -> Result<Sent, vestibule_saml::Error> {
        match &self.signer {
            Signer::Idp(key) => by(binding, location, kind, message, relay_state, key),
            Signer::Sp(key, _) => by(binding, location, kind, message, relay_state, key),
        }
    }
}

/// A message on its way.
enum Sent {
    Address(String),
    Form(PostForm),
}

fn by<P: Purpose>(
    wanted: &str,
    location: &str,
    kind: Kind,
    message: &impl Sendable,
    relay_state: Option<RelayState>,
    key: &SigningKey<P>,
) -> Result<Sent, vestibule_saml::Error> {
    if wanted == binding::REDIRECT {
        return signed_redirect_url(location, kind, &message.unsigned()?, relay_state.as_ref(), key).map(Sent::Address);
    }
    PostForm::new(location, kind, &message.signed(key)?, relay_state).map(Sent::Form)
}
