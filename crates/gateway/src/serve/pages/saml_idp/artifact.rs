//! Artifacts: the browser carries a reference, the service provider fetches the answer itself (bindings §3.6, core §3.5).
//!
//! An attacker redeems a reference that he saw, or the same one twice. It works once, for a minute, for the service provider
//! it was made for, which signs what it asks. At rest the answer is sealed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use vestibule_engine::audit::{Reason, Ruling, SamlFault};
use vestibule_engine::clock::random;
use vestibule_engine::request::Body;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::store::{Insert, Key, Kind};
use vestibule_saml::binding::{Artifact, soap_envelope};
use vestibule_saml::names::status;
use vestibule_saml::protocol::{ArtifactResponse, Header, Status, message_id};
use vestibule_saml::{Incoming, Issued, Signature};

use super::Federation;
use super::answer::ARTIFACT;
use crate::config::checked::ServiceProvider;
use crate::schemes::saml::fault as word;
use crate::serve::fault::{Party, soap11};
use crate::serve::pages::saml_message::unwritten;
use crate::serve::pages::{Portal, Visit};

/// The index of our one endpoint in the metadata.
pub(super) const ENDPOINT: u16 = 0;

const PURPOSE: &str = "vestibule saml artifact v1";

impl Portal {
    /// Keeps an answer for its service provider, and returns the artifact that stands for it.
    pub(super) async fn keep(
        &self,
        visit: &Visit<'_>,
        federation: &Federation,
        partner: &ServiceProvider,
        issued: &Issued,
    ) -> Result<String, Unavailable> {
        let handle = random::<20>()?;
        let source_id = Artifact::source_id_of(&federation.role.idp.entity_id);
        let artifact = Artifact::Saml20 { endpoint_index: ENDPOINT, source_id, handle };
        let sealed = self.key.seal(PURPOSE, &partner.name, issued.as_str().as_bytes().to_vec())?;
        match self.store.insert(&key(visit, partner, &artifact), sealed.as_bytes(), ARTIFACT, &[], None).await? {
            Insert::Inserted => Ok(artifact.to_base64()),
            Insert::Exists | Insert::Full => Err(Unavailable::new("store", "no room for artifacts")),
        }
    }

    /// POST `artifact`: one answer for one artifact.
    pub(super) async fn resolve_artifact(
        &self,
        visit: &mut Visit<'_>,
        federation: &Federation,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let octets = match &visit.request.body {
            Body::Whole(octets) => octets.clone(),
            Body::Unread => Bytes::new(),
        };
        let Some(partner) = Self::requester(visit, federation, Incoming::Document(&octets)) else {
            visit.note_refused(None, "issuer", SamlFault::WrongIssuer, "no registered service provider asks");
            return Ok(fault(visit));
        };
        let own = federation.at("artifact");
        let asked = partner.registered.partner().artifact_resolve(&octets, &[&own], Signature::Required, visit.now);
        let asked = match asked {
            Ok(admitted) => admitted.message,
            Err(rejection) => {
                let check = rejection.checks.iter().find(|check| !check.ok()).map_or("document", |check| check.name);
                visit.note_refused(Some(&partner.name), check, word(rejection.reason), &rejection.detail);
                return Ok(fault(visit));
            }
        };
        let kept = match Artifact::parse(&percent(&asked.artifact)) {
            Ok(artifact) => self.store.take(&key(visit, partner, &artifact)).await?,
            Err(_) => None,
        };
        let kept = kept.and_then(|sealed| self.key.open(PURPOSE, &partner.name, std::str::from_utf8(&sealed).ok()?));
        let message = kept.and_then(|octets| String::from_utf8(octets).ok()).map(Issued::restored);
        if message.is_none() {
            visit.refusal = Some((Ruling::Deny, Reason::BadCode));
        }
        let answer = ArtifactResponse {
            header: Header {
                id: message_id(random()?),
                issue_instant: visit.now,
                destination: None,
                issuer: federation.role.idp.entity_id.clone(),
            },
            in_response_to: Some(asked.header.id),
            // Core §3.5.3: also where there is nothing, or nothing any more.
            status: Status { code: status::SUCCESS.to_owned(), subcode: None, message: None },
        };
        let signed = answer.signed(message.as_ref(), &federation.role.idp.key).map_err(unwritten)?;
        Ok(xml(StatusCode::OK, soap_envelope(&signed).map_err(unwritten)?))
    }
}

fn key(visit: &Visit<'_>, partner: &ServiceProvider, artifact: &Artifact) -> Key {
    Key::of(&visit.tenant.id, Kind::Handoff, &[b"saml artifact", partner.name.as_bytes(), &artifact.digest()])
}

/// Base64 as it stands in a query, which is what the reader takes.
pub(super) fn percent(artifact: &str) -> String {
    // What is no base64 stays none.
    STANDARD.decode(artifact).map_or_else(|_| String::from("!"), |_| artifact.replace('+', "%2B"))
}

/// To programs a SOAP fault says that nothing was done, and the decision id the rest.
pub(super) fn fault(visit: &Visit<'_>) -> Response<Full<Bytes>> {
    let text = soap11(Party::Client, "The request was refused", visit.request.id);
    xml(StatusCode::INTERNAL_SERVER_ERROR, text)
}

pub(super) fn xml(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
