//! The source site of SAML 1.1 (bindings 1.1 §4.1): the inter-site transfer service, answers by POST, artifacts, and the
//! responder that exchanges them.
//!
//! ```text
//! browser ─▶ /saml/idp/transfer?providerId=…&target=… ─▶ (login) ─▶ POST of an answer | redirect with an artifact
//! service provider ─▶ /saml/idp/responder ─▶ the assertion behind the artifact, once
//! ```
//!
//! What an attacker tries: to have an assertion sent to himself, and to redeem an artifact that he saw. Answers go to addresses of
//! the registered metadata; an artifact is good for a minute, once, for the service provider it was made for, which has to
//! prove itself by a signature or by its certificate in TLS.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use vestibule_engine::audit::{Reason, Ruling, SamlFault};
use vestibule_engine::clock::random;
use vestibule_engine::identity::Identity;
use vestibule_engine::request::{Body, Shown};
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::store::{Insert, Key, Kind};
use vestibule_saml::binding::{Artifact, PostForm, RelayState, soap_envelope};
use vestibule_saml::idp::{Login, SsoRequest};
use vestibule_saml::metadata::IndexedEndpoint;
use vestibule_saml::names::{attribute, authn_context as class, binding};
use vestibule_saml::protocol::ArtifactRequest11;
use vestibule_saml::{Issued, Signature};
use vestibule_xmlsec::KeyId;

use super::answer::ARTIFACT;
use super::artifact::{fault, percent, xml};
use super::sso::{LONGEST_RELAY_STATE, Pending};
use super::{Federation, holds};
use crate::config::checked::{ArtifactRequests, ServiceProvider};
use crate::schemes::saml::fault as word;
use crate::serve::pages::saml_message::{go, post, unwritten};
use crate::serve::pages::{Portal, Visit, reply};

/// Where browsers come to be signed in elsewhere.
pub(super) const TRANSFER: &str = "transfer";
/// Where artifacts are resolved.
pub(super) const RESPONDER: &str = "responder";

const PURPOSE: &str = "vestibule saml11 artifact v1";

/// What an artifact stands for.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// For whom, by its configured name.
    partner: String,
    /// The assertion, signed.
    assertion: String,
}

/// Whether answers go to this address by SAML 1.1.
pub(super) fn is_saml11(acs: &IndexedEndpoint) -> bool {
    matches!(acs.binding.as_str(), binding::SAML11_POST | binding::SAML11_ARTIFACT)
}

impl Portal {
    /// GET `transfer`: who wants to go where. `providerId`, `shire` and `target` are the names that Shibboleth gave; TARGET is
    /// the standard's.
    pub(super) fn transfer(&self, visit: &mut Visit<'_>, federation: &Federation) -> Result<Response<Full<Bytes>>, Unavailable> {
        let all = |name: &str| visit.request.target.query_values(name);
        let (ids, shires, mut targets) = (all("providerId"), all("shire"), all("TARGET"));
        targets.extend(all("target"));
        let ([id], [target], true) = (ids.as_slice(), targets.as_slice(), shires.len() <= 1) else {
            return Ok(visit.unreadable(SamlFault::Malformed, "expected one providerId, one TARGET and at most one shire"));
        };
        let Some(partner) = federation.partner_of(id).filter(|partner| partner.saml11.is_some() && holds(partner, visit)) else {
            return Ok(visit.unreadable(SamlFault::WrongIssuer, "no service provider of SAML 1.1 is called so"));
        };
        let target = match RelayState::received(target) {
            Ok(target) if target.as_str().len() <= LONGEST_RELAY_STATE && !target.as_str().is_empty() => target,
            Ok(_) | Err(_) => return Ok(visit.unreadable(SamlFault::Limits, "its TARGET is empty or longer than we carry")),
        };
        // Octet by octet: what is registered is what is answered.
        let fits = |acs: &&IndexedEndpoint| is_saml11(acs) && shires.first().is_none_or(|shire| acs.location == *shire);
        let Some(acs) = partner.registered.role.acs.iter().find(fits) else {
            return Ok(visit.unreadable(SamlFault::UnknownEndpoint, "its metadata name no such address for SAML 1.1"));
        };
        let request = SsoRequest {
            id: None,
            acs: acs.clone(),
            force_authn: false,
            is_passive: false,
            name_id_policy: None,
            requested_context: None,
            subject: None,
            signed: false,
            checks: Vec::new(),
        };
        let pending = Pending::of(partner, &request, Some(&target), visit.now.as_second());
        Ok(reply::redirect(&self.address_of(visit, &pending)?))
    }

    /// Says who is there, in the words of SAML 1.1.
    #[expect(clippy::too_many_arguments, reason = "what an answer is made of")]
    pub(super) async fn answer_saml11(
        &self,
        visit: &mut Visit<'_>,
        federation: &Federation,
        partner: &ServiceProvider,
        request: &SsoRequest,
        pending: &Pending,
        identity: &Identity,
        login: Login,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let login = in_its_words(login);
        let idp = &federation.role.idp;
        let (acs, sp) = (&request.acs, &partner.registered);
        let target = RelayState::received(pending.relay_state.as_deref().unwrap_or_default()).map_err(unwritten)?;
        self.issued(visit, partner, identity, &login);
        if acs.binding == binding::SAML11_POST {
            let issued = idp.respond(sp, request, &login, visit.now).map_err(unwritten)?;
            let form = PostForm::saml11(&acs.location, &issued, target).map_err(unwritten)?;
            return Ok(post(visit, form, &partner.title, visit.words.taken_there));
        }
        let assertion = idp.behind_artifact(sp, request, &login, visit.now).map_err(unwritten)?;
        let artifact = Artifact::Saml11 { source_id: Artifact::source_id_of(&idp.entity_id), handle: random::<20>()? };
        let kept = Kept { partner: partner.name.to_string(), assertion: assertion.as_str().to_owned() };
        let kept = serde_json::to_vec(&kept).map_err(|why| Unavailable::new("artifact", why))?;
        let sealed = self.key.seal(PURPOSE, visit.tenant.id.as_str(), kept)?;
        match self.store.insert(&key(visit, &artifact), sealed.as_bytes(), ARTIFACT, &[], None).await? {
            Insert::Inserted => {}
            Insert::Exists | Insert::Full => return Err(Unavailable::new("store", "no room for artifacts")),
        }
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("TARGET", target.as_str()).append_pair("SAMLart", &artifact.to_base64());
        let joint = if acs.location.contains('?') { '&' } else { '?' };
        Ok(go(visit, &format!("{}{joint}{}", acs.location, query.finish()), &partner.title, visit.words.taken_there))
    }

    /// POST `responder`: each assertion once, to the service provider it was made for.
    pub(super) async fn resolve_saml11(
        &self,
        visit: &mut Visit<'_>,
        federation: &Federation,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let octets = match &visit.request.body {
            Body::Whole(octets) => octets.clone(),
            Body::Unread => Bytes::new(),
        };
        let claimed = match ArtifactRequest11::claimed(&octets) {
            Ok(claimed) => claimed,
            Err(why) => {
                visit.note_refused(None, "document", word(why.reason()), &why.to_string());
                return Ok(fault(visit));
            }
        };
        let artifacts: Vec<Artifact> = claimed.artifacts.iter().filter_map(|text| Artifact::parse(&percent(text)).ok()).collect();
        let mut partner: Option<&ServiceProvider> = None;
        for artifact in &artifacts {
            if let Some(sealed) = self.store.get(&key(visit, artifact)).await?.map(|(sealed, _)| sealed) {
                partner =
                    self.kept(visit, &sealed).and_then(|kept| federation.partner(&kept.partner)).filter(|partner| holds(partner, visit));
                break;
            }
        }
        let mut assertions = Vec::new();
        if let Some(partner) = partner {
            if let Some(refused) = proven(visit, partner, &octets) {
                return Ok(refused);
            }
            for artifact in &artifacts {
                // Another's stays where it is.
                let held = self.store.get(&key(visit, artifact)).await?.and_then(|(sealed, _)| self.kept(visit, &sealed));
                if held.is_none_or(|kept| *kept.partner != *partner.name) {
                    continue;
                }
                // Of any number that ask at once, on any node, one takes it.
                let taken = self.store.take(&key(visit, artifact)).await?;
                let kept = taken.and_then(|sealed| self.kept(visit, &sealed)).filter(|kept| *kept.partner == *partner.name);
                assertions.extend(kept.map(|kept| Issued::restored(kept.assertion)));
            }
        }
        if assertions.is_empty() {
            visit.refusal = Some((Ruling::Deny, Reason::BadCode));
        }
        let answer = federation.role.idp.resolve(&claimed.id, &assertions, random()?, visit.now).map_err(unwritten)?;
        Ok(xml(StatusCode::OK, soap_envelope(&answer).map_err(unwritten)?))
    }

    fn kept(&self, visit: &Visit<'_>, sealed: &[u8]) -> Option<Kept> {
        let sealed = std::str::from_utf8(sealed).ok()?;
        serde_json::from_slice(&self.key.open(PURPOSE, visit.tenant.id.as_str(), sealed)?).ok()
    }
}

/// The answer to somebody who does not prove to be this partner; `None` if they do (1.1 bindings §4.1.1.6).
fn proven(visit: &mut Visit<'_>, partner: &ServiceProvider, octets: &[u8]) -> Option<Response<Full<Bytes>>> {
    let shown = match &visit.request.client.certificate {
        Shown::Certificate(certificate) => KeyId::of_certificate(&certificate.der).ok(),
        Shown::Nothing | Shown::Refused(_) => None,
    };
    let by_channel = shown.is_some_and(|key| partner.registered.keys.ids().contains(&key));
    let signature = match (by_channel, partner.saml11) {
        (true, _) | (false, Some(ArtifactRequests::Unproven)) => Signature::IfPresent,
        (false, Some(ArtifactRequests::Proven) | None) => Signature::Required,
    };
    let rejection = partner.registered.partner().artifact_request(octets, signature, visit.now).err()?;
    let check = rejection.checks.iter().find(|check| !check.ok()).map_or("document", |check| check.name);
    visit.note_refused(Some(&partner.name), check, word(rejection.reason), &rejection.detail);
    let mut refused = fault(visit);
    *refused.status_mut() = StatusCode::FORBIDDEN;
    Some(refused)
}

/// Methods and namespaces as SAML 1.1 has them (1.1 core §7.1). It has no session that could be ended from elsewhere.
fn in_its_words(mut login: Login) -> Login {
    login.authn.class = login.authn.class.map(|named| {
        let method = match named.as_str() {
            class::PASSWORD_PROTECTED_TRANSPORT | class::PASSWORD => class::SAML11_PASSWORD,
            class::TLS_CLIENT | class::X509 => class::SAML11_TLS_CLIENT,
            _ => class::SAML11_UNSPECIFIED,
        };
        method.to_owned()
    });
    login.authn.session_index = None;
    login.authn.session_not_on_or_after = None;
    for attribute in &mut login.attributes {
        attribute.format = Some(attribute::SAML11.to_owned());
    }
    login
}

fn key(visit: &Visit<'_>, artifact: &Artifact) -> Key {
    Key::of(&visit.tenant.id, Kind::Handoff, &[b"saml11 artifact", &artifact.digest()])
}
