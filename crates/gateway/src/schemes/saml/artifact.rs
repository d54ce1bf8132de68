//! Answers by artifact (bindings §3.6, core §3.5): the browser brings a reference, and we fetch the answer from its issuer.
//!
//! What an attacker tries: to choose where we call, to make us call for him, to bring a reference that another browser was
//! given, to answer in the issuer's place. The address is the metadata's, a call is made only for a login that this browser has
//! begun, and what comes back has to be signed, or, by concession, to come over a channel that shows a pinned key.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Request, StatusCode};
use tokio::runtime::Handle;
use vestibule_engine::Timestamp;
use vestibule_engine::clock::random;
use vestibule_engine::scheme::Unavailable;
use vestibule_saml::binding::{Artifact, SOAP_ACTION, soap_envelope};
use vestibule_saml::protocol::{ArtifactResolve, Header, message_id};
use vestibule_saml::{Error, Reason, Sendable as _};
use vestibule_xmlsec::{KeyId, PinnedPeer};

use super::{IdentityProvider, Refusal, ServiceProvider};
use crate::call::{Caller, Limits, Reach, Shown};
use crate::config::checked::{Resolution, ResolutionEndpoint};
use crate::forward::{HttpVersion, client_tls};

/// A browser waits meanwhile.
const LIMITS: Limits = Limits { connect: Duration::from_secs(2), whole: Duration::from_secs(5), octets: 384 * 1024 };
const ACTION: HeaderName = HeaderName::from_static("soapaction");

/// Where artifacts of one identity provider are resolved.
#[derive(Debug)]
pub struct Resolver {
    caller: Caller,
    endpoints: Vec<ResolutionEndpoint>,
    channel: Vec<KeyId>,
}

/// What an artifact stood for.
#[derive(Debug)]
pub struct Fetched {
    /// The envelope as it came.
    pub message: Bytes,
    /// The id of the request that fetched it.
    pub request: String,
    /// Who vouches for what is not signed.
    pub peer: Option<PinnedPeer>,
}

impl Resolver {
    pub(super) fn new(resolution: &Resolution, control: &Handle) -> Result<Self, String> {
        let tls = client_tls(&resolution.authorities, None, HttpVersion::Http1)?;
        // The address stands in metadata that an operator named.
        let caller = Caller::new(tls, Reach::Any, LIMITS, control.clone());
        Ok(Self { caller, endpoints: resolution.endpoints.clone(), channel: resolution.channel.clone() })
    }
}

impl ServiceProvider {
    /// Fetches what an artifact stands for, from the identity provider that was asked.
    ///
    /// # Errors
    /// [`Unavailable`] when it does not answer; inside, [`Refusal`] for an artifact that is not its.
    pub async fn fetch(
        &self,
        artifact: &Artifact,
        provider: &IdentityProvider,
        now: Timestamp,
    ) -> Result<Result<Fetched, Box<Refusal>>, Unavailable> {
        let refuse = |reason, detail: String| {
            let provider = Some(provider.shared_name());
            Ok(Err(Box::new(Refusal { provider, check: "artifact", reason, detail, claimed_request: None })))
        };
        // Attack 39: of the one that was asked, and of no other.
        if *artifact.source_id() != Artifact::source_id_of(provider.entity_id()) {
            return refuse(Reason::WrongIssuer, format!("expected an artifact of {:?}", provider.entity_id()));
        }
        let Artifact::Saml20 { endpoint_index, .. } = artifact else {
            return refuse(Reason::Unsupported, "expected an artifact of type 0x0004, found 0x0001".to_owned());
        };
        let Some(resolver) = provider.resolver() else {
            return refuse(Reason::NotEnabled, "expected a form: this identity provider does not answer by artifact here".to_owned());
        };
        let Some(endpoint) = resolver.endpoints.iter().find(|endpoint| endpoint.index == *endpoint_index) else {
            return refuse(Reason::UnknownEndpoint, format!("its metadata have no address of index {endpoint_index} for artifacts"));
        };
        let down = |why: &dyn std::fmt::Display| Unavailable::new(format!("identity provider {}", provider.name()), why);
        let request = message_id(random()?);
        let question = self.question(artifact, endpoint, request.clone(), now).map_err(|why| down(&why))?;
        let mut post = Request::post(&endpoint.target).body(Bytes::from(question)).map_err(|why| down(&why))?;
        post.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"));
        post.headers_mut().insert(ACTION, HeaderValue::from_static(SOAP_ACTION));
        let answer = resolver.caller.call(&endpoint.origin, post).await.map_err(|why| down(&why))?;
        if answer.status() != StatusCode::OK {
            return Err(down(&format_args!("it resolved no artifact, and said {}", answer.status())));
        }
        let shown = answer.extensions().get::<Shown>();
        let peer = shown.and_then(|Shown(certificate)| PinnedPeer::confirm(provider.entity_id(), &resolver.channel, certificate).ok());
        Ok(Ok(Fetched { message: answer.into_body(), request, peer }))
    }

    fn question(&self, artifact: &Artifact, endpoint: &ResolutionEndpoint, id: String, now: Timestamp) -> Result<String, Error> {
        let question = ArtifactResolve {
            header: Header { id, issue_instant: now, destination: Some(endpoint.location.clone()), issuer: self.sp.entity_id.clone() },
            artifact: artifact.to_base64(),
        };
        let message = match &self.signing {
            Some(key) => question.signed(key)?,
            None => question.unsigned()?,
        };
        soap_envelope(&message)
    }
}
