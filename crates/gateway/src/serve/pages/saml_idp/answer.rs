//! What a service provider is told, and how it gets there.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use vestibule_engine::audit::Event;
use vestibule_engine::clock::random;
use vestibule_engine::identity::{Identity, Issuer, Level};
use vestibule_engine::scheme::Unavailable;
use vestibule_saml::binding::{Kind, PostForm, RelayState};
use vestibule_saml::idp::{Login, persistent_name, transient_name};
use vestibule_saml::metadata::IndexedEndpoint;
use vestibule_saml::names::{attribute, authn_context as class, binding};
use vestibule_saml::protocol::{RequestedContext, message_id};
use vestibule_saml::{Attribute, AuthnStatement, Issued, NameId};

use super::Federation;
use crate::certificate;
use crate::config::checked::{NameKind, ServiceProvider};
use crate::serve::pages::saml_message::{go, post, unwritten};
use crate::serve::pages::{Portal, Visit};

/// How long an artifact waits to be resolved.
pub(super) const ARTIFACT: Duration = Duration::from_secs(60);

/// The ways to sign in here that have a name in SAML, and how strong each is. Sealed requests name them by their place.
const CLASSES: [(&str, u32); 5] =
    [(class::PASSWORD_PROTECTED_TRANSPORT, 10), (class::PASSWORD, 10), (class::TLS_CLIENT, 20), (class::X509, 20), (class::UNSPECIFIED, 0)];

/// Which of them meet a request.
pub(super) fn accepted(request: &RequestedContext) -> Vec<usize> {
    let rank = |wanted: &str| CLASSES.iter().find(|(class, _)| *class == wanted).map(|(_, rank)| *rank);
    (0..CLASSES.len()).filter(|place| CLASSES.get(*place).is_some_and(|(class, _)| request.is_met_by(class, rank))).collect()
}

/// How somebody signed in, as the first name of it that the request accepts. Only what we saw ourselves has one.
pub(super) fn class(realms: &HashSet<Issuer>, identity: &Identity, accepted: Option<&[usize]>) -> Option<&'static str> {
    let held: &[&str] = if identity.issuer.as_str() == certificate::ISSUER && identity.level >= Level(20) {
        &[class::TLS_CLIENT, class::X509, class::UNSPECIFIED]
    } else if realms.contains(&identity.issuer) && identity.level >= Level(10) {
        &[class::PASSWORD_PROTECTED_TRANSPORT, class::PASSWORD, class::UNSPECIFIED]
    } else {
        &[class::UNSPECIFIED]
    };
    let held = CLASSES.iter().enumerate().filter(|(_, (class, _))| held.contains(class));
    let mut fitting = held.filter(|(place, _)| accepted.is_none_or(|accepted| accepted.contains(place)));
    fitting.next().map(|(_, (class, _))| *class)
}

/// By which name the service provider shall know somebody: of the kind it asks for, if it may have that.
pub(super) fn name(
    key: &[u8; 32],
    idp: &str,
    partner: &ServiceProvider,
    wanted: Option<&str>,
    identity: &Identity,
) -> Result<Option<NameId>, Unavailable> {
    let wanted = wanted.filter(|format| *format != NameKind::Username.format());
    let listed = |kind: &&NameKind| partner.registered.role.name_id_formats.iter().any(|format| format == kind.format());
    let kinds: Vec<&NameKind> = match wanted {
        Some(format) => partner.names.iter().filter(|kind| kind.format() == format).collect(),
        // It says nothing now; what its metadata say comes first.
        None => partner.names.iter().filter(listed).chain(partner.names.iter().filter(|kind| !listed(kind))).collect(),
    };
    let user = &identity.user;
    for kind in kinds {
        let name = match kind {
            NameKind::Persistent => Some(persistent_name(key, idp, &partner.registered.entity_id, &user.id.to_string())),
            NameKind::Transient => Some(transient_name(random()?)),
            NameKind::Email => user.email.as_deref().filter(|email| sayable(email)).map(|email| NameId::new(email, kind.format())),
            NameKind::Username => Some(NameId::new(user.name.as_str(), kind.format())),
        };
        if name.is_some() {
            return Ok(name);
        }
    }
    Ok(None)
}

/// Whether XML 1.0 has all characters of a text.
fn sayable(text: &str) -> bool {
    text.chars().all(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..))
}

impl Portal {
    /// What is asserted of somebody.
    pub(super) fn login(
        &self,
        visit: &Visit<'_>,
        partner: &ServiceProvider,
        identity: &Identity,
        name_id: NameId,
        class: &str,
    ) -> Result<Login, Unavailable> {
        let mut authn = AuthnStatement::new(identity.authenticated_at, class);
        if let Some(session) = &identity.session {
            // Another one for each service provider, or two of them could tell that they have the same visitor.
            authn.session_index = Some(self.key.tag("saml session index", &[&session.login.0, partner.name.as_bytes()]));
            authn.session_not_on_or_after = Some(session.until);
        }
        let mut attributes = Vec::new();
        for (name, fact) in &partner.release {
            let (can, cannot): (Vec<_>, Vec<_>) = fact.stated(identity).into_iter().partition(|value| sayable(value));
            if !cannot.is_empty() {
                tracing::warn!(request_id = %visit.id, partner = %partner.name, attribute = name, "a value holds a character that XML has not; it was left out");
            }
            let format = if name.contains(':') { attribute::URI } else { attribute::BASIC };
            if !can.is_empty() {
                attributes.push(Attribute::of_texts(name, format, can));
            }
        }
        Ok(Login { name_id, authn, attributes, lifetime: partner.lifetime, response_id: random()?, assertion_id: random()? })
    }

    /// Writes down that an assertion was handed out.
    pub(super) fn issued(&self, visit: &mut Visit<'_>, partner: &ServiceProvider, identity: &Identity, login: &Login) {
        visit.trail.events.push(Event::AssertionIssued {
            subject: identity.user.name.to_string(),
            audience: partner.name.to_string(),
            assertion: message_id(login.assertion_id),
        });
    }

    /// Sends an answer by the binding of its address.
    pub(super) async fn deliver(
        &self,
        visit: &Visit<'_>,
        federation: &Federation,
        partner: &ServiceProvider,
        acs: &IndexedEndpoint,
        issued: &Issued,
        relay_state: Option<&str>,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let relay_state = relay_state.and_then(|state| RelayState::received(state).ok());
        if acs.binding == binding::ARTIFACT {
            let artifact = self.keep(visit, federation, partner, issued).await?;
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("SAMLart", &artifact);
            if let Some(state) = &relay_state {
                query.append_pair("RelayState", state.as_str());
            }
            let joint = if acs.location.contains('?') { '&' } else { '?' };
            return Ok(go(visit, &format!("{}{joint}{}", acs.location, query.finish()), &partner.title, visit.words.taken_there));
        }
        let form = PostForm::new(&acs.location, Kind::Response, issued, relay_state).map_err(unwritten)?;
        Ok(post(visit, form, &partner.title, visit.words.taken_there))
    }
}
