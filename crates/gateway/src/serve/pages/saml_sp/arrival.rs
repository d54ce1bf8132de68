//! What a browser brings to the assertion consumer: an answer in a form, or the artifact of one.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::Full;
use vestibule_engine::audit::SamlFault;
use vestibule_engine::request::{Body, form_values};
use vestibule_engine::scheme::Unavailable;
use vestibule_saml::binding::{ArtifactQuery, Kind, Post, RelayState};

use super::{Journeys, Refusal, ServiceProvider, refuse_form, wish_of};
use crate::schemes::saml::{Fetched, fault};
use crate::serve::pages::{Portal, Visit};

/// An answer, not judged.
pub(in crate::serve::pages) struct Brought {
    /// The message: a response, or the envelope with one.
    pub message: Bytes,
    /// What came beside it.
    pub relay_state: Option<String>,
    /// How it was fetched, if it did not come in a form.
    pub fetched: Option<Arc<Fetched>>,
}

impl Brought {
    /// A message of a form, nothing beside.
    pub fn in_a_form(message: Vec<u8>) -> Self {
        Self { message: Bytes::from(message), relay_state: None, fetched: None }
    }
}

/// What was sent: the form, or the query of a link.
pub(super) fn text_of<'a>(visit: &Visit<'a>) -> &'a str {
    match &visit.request.body {
        Body::Whole(octets) if visit.request.method == Method::POST => std::str::from_utf8(octets).unwrap_or_default(),
        Body::Whole(_) | Body::Unread => visit.request.target.query().unwrap_or_default(),
    }
}

impl Portal {
    /// Whether a link carries an artifact.
    pub(in crate::serve::pages) fn is_artifact(visit: &Visit<'_>) -> bool {
        form_values(visit.request.target.query().unwrap_or_default(), "SAMLart").next().is_some()
    }

    /// The message that was brought. `Err` is the page that says why there is none.
    pub(super) async fn brought(
        &self,
        visit: &mut Visit<'_>,
        sp: &Arc<ServiceProvider>,
        text: &str,
        journeys: &Journeys,
    ) -> Result<Result<Brought, Box<Response<Full<Bytes>>>>, Unavailable> {
        if form_values(text, "SAMLart").next().is_some() {
            return self.resolved(visit, sp, text, journeys).await;
        }
        Ok(match Post::read(text) {
            Ok(post) if post.kind == Kind::Response => Ok(Brought {
                message: Bytes::from(post.message),
                relay_state: post.relay_state.as_ref().map(|state| state.as_str().to_owned()),
                fetched: None,
            }),
            Ok(_) => Err(Box::new(refuse_form(visit, sp, SamlFault::Unsupported, "expected SAMLResponse, found SAMLRequest"))),
            Err(why) => Err(Box::new(refuse_form(visit, sp, fault(why.reason()), &why.to_string()))),
        })
    }

    /// What an artifact stands for. We call for nobody but a browser that has begun a login there.
    async fn resolved(
        &self,
        visit: &mut Visit<'_>,
        sp: &Arc<ServiceProvider>,
        text: &str,
        journeys: &Journeys,
    ) -> Result<Result<Brought, Box<Response<Full<Bytes>>>>, Unavailable> {
        let query = match ArtifactQuery::read(text) {
            Ok(query) => query,
            Err(why) => return Ok(Err(Box::new(refuse_form(visit, sp, fault(why.reason()), &why.to_string())))),
        };
        let relay_state = query.relay_state.as_ref().map(RelayState::as_str).unwrap_or_default();
        let refusal = match (journeys.find(relay_state), query.artifacts.first()) {
            // The back button: an artifact works once, and this one has.
            (Some(journey), _) if journey.arrived.is_some() => {
                let (former, wish) = (self.former(visit).await?, wish_of(visit, journey));
                return Ok(Err(Box::new(self.welcome_back(visit, former, &wish).await?)));
            }
            (Some(journey), Some(artifact)) => match sp.provider(&journey.provider) {
                Some(provider) => match sp.fetch(artifact, provider, visit.now).await? {
                    Ok(fetched) => {
                        let relay_state = Some(relay_state.to_owned());
                        return Ok(Ok(Brought { message: fetched.message.clone(), relay_state, fetched: Some(Arc::new(fetched)) }));
                    }
                    Err(refusal) => *refusal,
                },
                None => nobody_asked(),
            },
            (Some(_) | None, _) => nobody_asked(),
        };
        let former = self.former(visit).await?;
        Ok(Err(Box::new(self.refused(visit, sp, refusal, journeys, former).await?)))
    }
}

fn nobody_asked() -> Refusal {
    Refusal {
        provider: None,
        check: "relay state",
        reason: vestibule_saml::Reason::Unsolicited,
        detail: "expected an artifact for a login that this browser has begun".to_owned(),
        claimed_request: None,
    }
}
