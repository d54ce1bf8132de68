//! The portal as a destination site of SAML 1.1: what browsers bring from an inter-site transfer service, by POST an answer, by GET
//! artifacts (bindings 1.1 §4.1.1, §4.1.2; the rules stand in docs/schemes/saml11.md).
//!
//! What an attacker tries: to bring a stolen artifact, or one of another source, to have us call a server of his, to have a
//! victim's browser bring the attacker's own answer. An artifact is spent before it is resolved; whom we ask is
//! configured; and an artifact that this browser did not set out to fetch is never resolved: the login begins again from here,
//! at the same source site, and comes back with an artifact that belongs to it.

mod program;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::Full;
use vestibule_engine::audit::SamlFault;
use vestibule_engine::identity::Level;
use vestibule_engine::request::Body;
use vestibule_engine::scheme::{Start, Unavailable};
use vestibule_engine::store::{Insert, Key, Kind};
use vestibule_saml::Reason;
use vestibule_saml::binding::{Artifact, ArtifactQuery, Post};

use super::journey::{Journey, Journeys};
use super::login::depart;
use super::saml_sp::{Arrival, Brought, field, going_round, judge, refuse_form, wish_of};
use super::{Portal, Visit, reply};
use crate::schemes::saml::{IdentityProvider, Refusal, ServiceProvider, fault};
use crate::serve::return_to::ReturnTo;

/// How long an artifact is remembered; its source site forgets it sooner.
const SPENT: Duration = Duration::from_secs(600);
/// Seconds within which an artifact for no login means that the source site does not say which it is for.
const AT_ONCE: i64 = 60;

impl Portal {
    /// The consumer of SAML 1.1.
    pub(super) async fn consume_saml11(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        match visit.request.method {
            Method::POST => self.take_answer(visit).await,
            Method::GET => self.take_artifacts(visit).await,
            _ => Ok(visit.not_allowed("GET, POST")),
        }
    }

    async fn take_answer(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Some(sp) = self.service_provider(visit).cloned() else { return Ok(visit.missing()) };
        let body = match &visit.request.body {
            Body::Whole(octets) => std::str::from_utf8(octets).unwrap_or_default(),
            Body::Unread => "",
        };
        let post = match Post::read_saml11(body) {
            Ok(post) => post,
            Err(why) => return Ok(refuse_form(visit, &sp, fault(why.reason()), &why.to_string())),
        };
        let token = field(body, "token");
        let journeys = Journeys::of(visit.request, &self.key, visit.now);
        let judged = judge(sp.clone(), &Brought::in_a_form(post.message.clone()), journeys.open(), visit).await?;
        let former = self.former(visit).await?;
        let answer = match judged {
            Ok(answer) => answer,
            Err(refusal) => return self.refused(visit, &sp, *refusal, &journeys, former).await,
        };
        let target = post.relay_state.as_ref().map(|state| state.as_str()).unwrap_or_default();
        let journey = match belongs(&sp, &journeys, target, answer.provider(&sp)) {
            Ok(journey) => journey,
            Err(refusal) => return self.refused(visit, &sp, *refusal, &journeys, former).await,
        };
        let at = (sp.saml11_consumer().unwrap_or_default(), "TARGET");
        let arrival = Arrival { journey, relay_state: Some(target), message: &post.message, body, token: &token, at };
        self.settle(visit, &sp, answer, arrival, &journeys, former).await
    }

    async fn take_artifacts(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Some(sp) = self.service_provider(visit).cloned() else { return Ok(visit.missing()) };
        let query = match ArtifactQuery::read(visit.request.target.query().unwrap_or_default()) {
            Ok(query) => query,
            Err(why) => return Ok(refuse_form(visit, &sp, fault(why.reason()), &why.to_string())),
        };
        let [first, ..] = query.artifacts.as_slice() else { return Ok(visit.missing()) };
        if !matches!(first, Artifact::Saml11 { .. }) {
            return Ok(refuse_form(visit, &sp, SamlFault::Malformed, "expected an artifact of type 0x0001"));
        }
        let journeys = Journeys::of(visit.request, &self.key, visit.now);
        let former = self.former(visit).await?;
        let Some(provider) = sp.source(first) else {
            let detail = "no identity provider here has the artifact's source id".to_owned();
            let refusal = Refusal { provider: None, check: "source", reason: Reason::WrongIssuer, detail, claimed_request: None };
            return self.refused(visit, &sp, refusal, &journeys, former).await;
        };
        let target = query.relay_state.as_ref().map(|state| state.as_str()).unwrap_or_default();
        let journey = match belongs(&sp, &journeys, target, Some(provider)) {
            Ok(Some(journey)) => journey,
            Ok(None) => return self.begin_again(visit, &sp, provider, target, &journeys).await,
            Err(refusal) => return self.refused(visit, &sp, *refusal, &journeys, former).await,
        };
        for artifact in &query.artifacts {
            if self.first_use(visit, artifact).await? {
                continue;
            }
            // The back button: the browser has been where this leads.
            if former.is_some() && journey.arrived.is_some() {
                let wish = wish_of(visit, journey);
                return self.welcome_back(visit, former, &wish).await;
            }
            let (provider, detail) = (Some(provider.settings().name.clone()), "the artifact was brought before".to_owned());
            let refusal = Refusal { provider, check: "artifact", reason: Reason::Replayed, detail, claimed_request: None };
            return self.refused(visit, &sp, refusal, &journeys, former).await;
        }
        match sp.resolve(provider, &query.artifacts, visit.now).await? {
            Ok(answer) => {
                let at = (sp.saml11_consumer().unwrap_or_default(), "TARGET");
                let arrival = Arrival { journey: Some(journey), relay_state: None, message: &[], body: "", token: "", at };
                self.settle(visit, &sp, answer, arrival, &journeys, former).await
            }
            Err(refusal) => self.refused(visit, &sp, *refusal, &journeys, former).await,
        }
    }

    /// Whether nobody brought this artifact before. Of any number of browsers and nodes, one hears yes.
    async fn first_use(&self, visit: &Visit<'_>, artifact: &Artifact) -> Result<bool, Unavailable> {
        let key = Key::of(&visit.tenant.id, Kind::Replay, &[b"saml11 artifact", &artifact.digest()]);
        match self.store.insert(&key, &[], SPENT, &[], None).await? {
            Insert::Inserted => Ok(true),
            Insert::Exists => Ok(false),
            Insert::Full => Err(Unavailable::new("store", "no room for artifacts")),
        }
    }

    /// Begins at the same source site, for the page that was wanted: what comes back then belongs to this browser.
    async fn begin_again(
        &self,
        visit: &mut Visit<'_>,
        sp: &ServiceProvider,
        provider: &IdentityProvider,
        target: &str,
        journeys: &Journeys,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let flow = visit.tenant.chain.links().iter().find(|link| link.scheme.name() == sp.name()).and_then(|link| link.scheme.login_flow());
        let Some(flow) = flow else { return Ok(visit.missing()) };
        if journeys.sets_out_again(provider.name(), visit.now, AT_ONCE) {
            return Ok(going_round(visit, provider.title()));
        }
        let return_to = ReturnTo::parse(target, &visit.origin, visit.tenant).map(|return_to| return_to.to_string());
        let (journey, cookies) = journeys.begin(visit.request, &self.key, |id| Journey {
            id,
            started: visit.now.as_second(),
            provider: provider.name().to_owned(),
            return_to,
            bind: None,
            anew: false,
            passive: false,
            level: Level::default(),
            arrived: None,
        })?;
        let start = Start {
            request: visit.request,
            tenant: &visit.tenant.id,
            login: &journey.id,
            seed: &self.seed(&journey.id),
            return_to: journey.return_to.clone(),
            idp: Some(journey.provider.clone()),
            level: None,
            anew: false,
            now: visit.now,
        };
        let departure = flow.begin(&start).await?;
        let mut response = depart(visit, departure);
        for cookie in &cookies {
            reply::set_cookie(&mut response, cookie);
        }
        Ok(response)
    }
}

/// The login that TARGET names, if this browser began it at this provider; none where TARGET is not ours.
fn belongs<'j>(
    sp: &ServiceProvider,
    journeys: &'j Journeys,
    target: &str,
    provider: Option<&IdentityProvider>,
) -> Result<Option<&'j Journey>, Box<Refusal>> {
    let Some(login) = sp.login_of(target) else { return Ok(None) };
    let found = journeys.find(login).filter(|journey| provider.is_some_and(|provider| provider.name() == journey.provider));
    found.map(Some).ok_or_else(|| {
        Box::new(Refusal {
            provider: provider.map(|provider| provider.settings().name.clone()),
            check: "target",
            reason: Reason::WrongInResponseTo,
            detail: "TARGET names a login that this browser did not begin there".to_owned(),
            claimed_request: Some(format!("_{login}")),
        })
    })
}
