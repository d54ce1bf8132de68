//! The destination site of SAML 1.1 (bindings 1.1 §4.1): users are led away to the inter-site transfer service, and what
//! artifacts stand for is fetched from the source site's responder.
//!
//! There is no request that an answer could name. So what leads back, `TARGET`, names the login that this browser began, and an
//! answer with another `TARGET`, or in another browser, belongs to no login (login CSRF). Whom we ask is said by the
//! configuration, for the source that an artifact names; nothing that a browser brings is ever called.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use vestibule_engine::Timestamp;
use vestibule_engine::clock::random;
use vestibule_engine::scheme::Unavailable;
use vestibule_saml::binding::{Artifact, SOAP_ACTION, soap_envelope};
use vestibule_saml::protocol::{ArtifactRequest11, message_id};
use vestibule_saml::sp::Received;
use vestibule_saml::{Reason, Sendable};
use vestibule_xmlsec::{KeyId, PinnedPeer};

use super::{Answer, IdentityProvider, Refusal, ServiceProvider, refusal};
use crate::call::{Caller, Limits, Reach, Shown};
use crate::config::checked::{Origin, SourceSite};
use crate::forward::{HttpVersion, client_tls};

/// The page of the portal that TARGET names; the login follows.
pub const TARGET: &str = "/saml/sp/target";
const LOGIN: &str = "?login=";

/// A responder has so long, and so much to say.
const LIMITS: Limits = Limits { connect: Duration::from_secs(5), whole: Duration::from_secs(10), octets: 256 * 1024 };
/// XML above this many octets is not read on the threads that answer (architecture §1).
const LONG: usize = 64 * 1024;
const SOAPACTION: HeaderName = HeaderName::from_static("soapaction");

/// Whoever resolves the artifacts of a source site.
#[derive(Debug)]
pub struct Responder {
    at: Origin,
    path: String,
    caller: Caller,
    pinned: Option<KeyId>,
}

impl Responder {
    /// The one of a source site, if it has one.
    ///
    /// # Errors
    /// A sentence, where a key or certificate cannot be used.
    pub(super) fn of(site: &SourceSite) -> Result<Option<Self>, String> {
        let Some((at, path)) = site.responder.clone() else { return Ok(None) };
        let client = site.client.as_ref().map(|pair| -> Result<_, String> {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.key.reveal().clone()));
            let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(|why| why.to_string())?;
            Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(pair.certificate.clone())], key)))
        });
        let tls = client_tls(&site.ca, client.transpose()?.as_ref(), HttpVersion::Http1)?;
        let control = tokio::runtime::Handle::try_current().map_err(|why| why.to_string())?;
        let pinned = site.pinned.as_ref().map(|certificate| KeyId::of_certificate(certificate).map_err(|why| why.to_string()));
        Ok(Some(Self { at, path, caller: Caller::new(tls, Reach::Any, LIMITS, control), pinned: pinned.transpose()? }))
    }
}

impl ServiceProvider {
    /// Whether browsers come to this path of the portal with SAML 1.1.
    pub fn consumes_saml11(&self, path: &str) -> bool {
        self.saml11_consumer.as_deref() == Some(path)
    }

    /// The same, also for answers at that path of applications, where old clients of integration services bring them.
    #[must_use]
    pub fn with_programs(mut self, origins: &[String]) -> Self {
        let at = self.saml11_consumer.iter().flat_map(|path| origins.iter().map(move |origin| format!("{origin}{path}")));
        self.sp.acs_urls.extend(at);
        self
    }

    /// The path to which they do.
    pub fn saml11_consumer(&self) -> Option<&str> {
        self.saml11_consumer.as_deref()
    }

    /// The login that a TARGET of ours names; `None` if it is somebody else's.
    pub fn login_of<'t>(&self, target: &'t str) -> Option<&'t str> {
        target.strip_prefix(self.portal.as_str())?.strip_prefix(TARGET)?.strip_prefix(LOGIN)
    }

    /// Whose artifact this is.
    pub fn source(&self, artifact: &Artifact) -> Option<&IdentityProvider> {
        let fits =
            |provider: &&IdentityProvider| provider.settings().saml11.as_ref().is_some_and(|site| site.source_id == *artifact.source_id());
        matches!(artifact, Artifact::Saml11 { .. }).then(|| self.providers.iter().find(fits)).flatten()
    }

    /// The place of the identity provider that speaks SAML 1.1, if there is no other.
    pub(super) fn only_source_site(&self) -> Option<usize> {
        let mut sites = (0..).zip(&self.providers).filter(|(_, provider)| provider.settings().saml11.is_some());
        match (sites.next(), sites.next()) {
            (Some((place, _)), None) => Some(place),
            (_, _) => None,
        }
    }

    /// The address by which somebody is sent to sign in, and back to this login.
    pub(super) fn transfer(&self, site: &SourceSite, login: &str) -> String {
        let target = format!("{}{TARGET}{LOGIN}{login}", self.portal);
        let (before, behind) = &site.transfer;
        format!("{before}{}{behind}", utf8_percent_encode(&target, NON_ALPHANUMERIC))
    }

    /// Fetches what artifacts of a provider stand for, and judges it.
    ///
    /// # Errors
    /// [`Unavailable`] where its responder gives no answer.
    pub async fn resolve(
        self: &Arc<Self>,
        provider: &IdentityProvider,
        artifacts: &[Artifact],
        now: Timestamp,
    ) -> Result<Result<Answer, Box<Refusal>>, Unavailable> {
        let refuse = |check, reason, detail: String| {
            Box::new(Refusal { provider: Some(provider.shared_name()), check, reason, detail, claimed_request: None })
        };
        let place = self.providers.iter().position(|other| other.name() == provider.name());
        let (Some(place), Some(responder)) = (place, provider.responder()) else {
            return Ok(Err(refuse("responder", Reason::NotEnabled, "its metadata name no responder".to_owned())));
        };
        let down = |why: &dyn std::fmt::Display| Unavailable::new(format!("responder of {}", provider.name()), why);
        let request = ArtifactRequest11 {
            id: message_id(random()?),
            issue_instant: now,
            artifacts: artifacts.iter().map(Artifact::to_base64).collect(),
        };
        let message = match &self.signing {
            Some(key) => request.signed(key),
            None => request.unsigned(),
        };
        let envelope = message.and_then(|message| soap_envelope(&message)).map_err(|why| down(&why))?;
        let question = Request::builder()
            .method(Method::POST)
            .uri(&responder.path)
            .header(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"))
            .header(SOAPACTION, HeaderValue::from_static(SOAP_ACTION))
            .header(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"))
            .header(PRAGMA, HeaderValue::from_static("no-cache"))
            .body(Bytes::from(envelope))
            .map_err(|why| down(&why))?;
        let answer = responder.caller.call(&responder.at, question).await.map_err(|why| down(&why))?;
        // A fault comes with 500 (SOAP 1.1 §6.2), and what is none is no answer of a responder.
        if !matches!(answer.status(), StatusCode::OK | StatusCode::INTERNAL_SERVER_ERROR) {
            return Err(down(&format!("it answers {}", answer.status())));
        }
        let peer = match (&responder.pinned, answer.extensions().get::<Shown>()) {
            (Some(pinned), Some(shown)) => match PinnedPeer::confirm(provider.entity_id(), &[*pinned], &shown.0) {
                Ok(peer) => Some(peer),
                Err(why) => return Ok(Err(refuse("channel", Reason::UnknownKey, why.to_string()))),
            },
            (_, _) => None,
        };
        let (sp, octets) = (self.clone(), answer.into_body());
        let long = octets.len() > LONG;
        let judge = move || {
            let received = match peer {
                Some(peer) => Received::vouched_by_channel(&octets, peer),
                None => Received::read(&octets),
            };
            match received {
                Ok(received) => sp.judge_of(place, &received, &[], Some(&request.id), now),
                Err(rejection) => Err(refusal(sp.providers.get(place), None, rejection)),
            }
        };
        if !long {
            return Ok(judge());
        }
        tokio::task::spawn_blocking(judge).await.map_err(|why| Unavailable::new("reading a message", why))
    }
}
