//! The end of a login by SAML 1.1 for an old client of integration services (`oracle-stateful-sessions.md` §8): no page and no
//! session on the portal, but the address at which the client gets its `JSESSIONID`.
//!
//! Such a client cannot say which login an answer belongs to. What an attacker would make of that is a browser that works in his
//! name: browsers are refused here, as is whatever is not on its way to the services of this host.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, LOCATION, SET_COOKIE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use vestibule_engine::audit::SamlFault;
use vestibule_engine::request::{Body, form_pairs};
use vestibule_engine::scheme::Unavailable;
use vestibule_saml::Reason;
use vestibule_saml::binding::{Artifact, ArtifactQuery, Post};

use super::super::journey::Journeys;
use super::super::login::Wish;
use super::super::saml_sp::{Brought, judge, refuse_form, turned_away};
use super::super::{Portal, Visit};
use crate::schemes::integration::token::Presenter;
use crate::schemes::integration::{Integration, presenter};
use crate::schemes::saml::{Answer, Refusal, ServiceProvider, fault};
use crate::serve::return_to::ReturnTo;

/// What is refused: a response that says so.
type Refused = Box<Response<Full<Bytes>>>;

impl Portal {
    /// The consumer of SAML 1.1 on an application's host.
    pub(in crate::serve::pages) async fn consume_for_program(
        &self,
        visit: &mut Visit<'_>,
        integration: &Arc<Integration>,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Some(sp) = self.service_provider(visit).cloned() else { return Ok(visit.missing()) };
        if !matches!(presenter(visit.request), Presenter::Program) {
            return Ok(refuse_form(visit, &sp, SamlFault::Unsolicited, "a browser brings its answers to the portal"));
        }
        let answer = match visit.request.method {
            Method::POST => self.posted(visit, &sp, integration).await?,
            Method::GET => self.fetched(visit, &sp, integration).await?,
            _ => return Ok(visit.not_allowed("GET, POST")),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(refused) => return Ok(*refused),
        };
        let Some(provider) = answer.provider(&sp) else { return Ok(visit.missing()) };
        if provider.settings().saml11.is_none() {
            return Ok(refuse_form(visit, &sp, SamlFault::Unsupported, "expected SAML 1.1"));
        }
        let (proof, account) = match sp.proof(&answer, &visit.tenant.id, visit.now).await? {
            Ok(found) => found,
            Err(reason) => return Ok(turned_away(visit, &sp, provider, reason, &Wish::default())),
        };
        let identity = match self.admit_vouched(visit, proof, account).await? {
            Ok(identity) => identity,
            Err(reason) => return Ok(turned_away(visit, &sp, provider, reason, &Wish::default())),
        };
        let onward = integration.onward(visit.request, &identity, visit.now).await?;
        let mut response = Response::new(Full::new(Bytes::new()));
        // §8 step 5: clients look for 302.
        *response.status_mut() = StatusCode::FOUND;
        let header = |text: &str| HeaderValue::try_from(text).map_err(|why| Unavailable::new("address", why));
        response.headers_mut().insert(LOCATION, header(onward.location.reveal())?);
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(cookie) = onward.cookie {
            response.headers_mut().append(SET_COOKIE, header(&cookie)?);
        }
        Ok(response)
    }

    async fn posted(
        &self,
        visit: &mut Visit<'_>,
        sp: &Arc<ServiceProvider>,
        to: &Integration,
    ) -> Result<Result<Answer, Refused>, Unavailable> {
        let body = match &visit.request.body {
            Body::Whole(octets) => std::str::from_utf8(octets).unwrap_or_default(),
            Body::Unread => "",
        };
        let post = match Post::read_saml11(body) {
            Ok(post) => post,
            Err(why) => return Ok(Err(Box::new(refuse_form(visit, sp, fault(why.reason()), &why.to_string())))),
        };
        if !leads_on(visit, to, post.relay_state.as_ref().map(|state| state.as_str()).unwrap_or_default()) {
            return Ok(Err(Box::new(elsewhere(visit, sp))));
        }
        match judge(sp.clone(), &Brought::in_a_form(post.message), Vec::new(), visit).await? {
            Ok(answer) => Ok(Ok(answer)),
            Err(refusal) => self.refused(visit, sp, *refusal, &Journeys::default(), None).await.map(|response| Err(Box::new(response))),
        }
    }

    async fn fetched(
        &self,
        visit: &mut Visit<'_>,
        sp: &Arc<ServiceProvider>,
        to: &Integration,
    ) -> Result<Result<Answer, Refused>, Unavailable> {
        let query = match ArtifactQuery::read(visit.request.target.query().unwrap_or_default()) {
            Ok(query) => query,
            Err(why) => return Ok(Err(Box::new(refuse_form(visit, sp, fault(why.reason()), &why.to_string())))),
        };
        if !leads_on(visit, to, query.relay_state.as_ref().map(|state| state.as_str()).unwrap_or_default()) {
            return Ok(Err(Box::new(elsewhere(visit, sp))));
        }
        let refusal = match query.artifacts.first().and_then(|artifact| sp.source(artifact)) {
            None => refused("source", Reason::WrongIssuer, "no identity provider here has the artifact's source id"),
            Some(provider) => match self.first_uses(visit, &query.artifacts).await? {
                false => refused("artifact", Reason::Replayed, "the artifact was brought before"),
                true => match sp.resolve(provider, &query.artifacts, visit.now).await? {
                    Ok(answer) => return Ok(Ok(answer)),
                    Err(refusal) => *refusal,
                },
            },
        };
        self.refused(visit, sp, refusal, &Journeys::default(), None).await.map(|response| Err(Box::new(response)))
    }

    async fn first_uses(&self, visit: &Visit<'_>, artifacts: &[Artifact]) -> Result<bool, Unavailable> {
        for artifact in artifacts {
            if !self.first_use(visit, artifact).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether TARGET is the address that `ssoitsurl` gives out for this host.
fn leads_on(visit: &Visit<'_>, to: &Integration, target: &str) -> bool {
    let Some(ReturnTo::Here(rest)) = ReturnTo::parse(target, &visit.origin, visit.tenant) else { return false };
    let (path, query) = rest.split_once('?').unwrap_or((&rest, ""));
    path == to.settings().path && form_pairs(query).any(|(name, value)| name == "command" && value == "ssologin")
}

fn elsewhere(visit: &mut Visit<'_>, sp: &ServiceProvider) -> Response<Full<Bytes>> {
    refuse_form(visit, sp, SamlFault::Unsupported, "TARGET does not lead to the services of this host")
}

fn refused(check: &'static str, reason: Reason, detail: &str) -> Refusal {
    Refusal { provider: None, check, reason, detail: detail.to_owned(), claimed_request: None }
}
