//! The whole gateway on one page: route, chain, policy, injection, one record.

use std::sync::Arc;

use http::Method;
use http::header::ORIGIN;

use crate::admission::Admission;
use crate::audit::{Decided, Ending, Event, Reason, Recorded, Ruling, Sink, Trail, VERSION};
use crate::chain::Standing;
use crate::clock::{Clock, Timestamp};
use crate::decision::{Decision, Denial, Grant, Permits};
use crate::identity::{Identity, Principal, SchemeName};
use crate::inject::{Granted, Injection};
use crate::policy::Verdict;
use crate::request::CheckRequest;
use crate::route::{Access, Csrf, Found, Routes};
use crate::scheme::{Asked, Unavailable};
use crate::session::{Opened, Sessions};

/// Answers: who is asking, may they, and what shall the application be told about them?
#[derive(Debug)]
pub struct Engine {
    /// Tenants and routes.
    pub routes: Routes,
    /// The gate between proofs and identities.
    pub admission: Admission,
    /// What is remembered.
    pub sessions: Arc<Sessions>,
    /// Where records go.
    pub sink: Arc<dyn Sink>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// A decision, and what the door must do beside it.
#[derive(Debug)]
pub struct Judgement {
    /// The decision.
    pub decision: Decision,
    /// Where the request landed, if anywhere.
    pub found: Option<Found>,
    /// A session that was opened: its cookie goes to the client.
    pub opened: Option<Opened>,
    /// How the caller was recognised; `None` is anonymous.
    pub recognised: Option<SchemeName>,
}

impl Engine {
    /// Judges a request and records exactly one `request.decided`.
    ///
    /// While the audit cannot take a record, nothing is judged: a decision nobody can read later is not made.
    pub async fn decide(&self, request: &CheckRequest) -> Judgement {
        if let Err(down) = self.sink.ready() {
            return Judgement { decision: Decision::Fail(down), found: None, opened: None, recognised: None };
        }
        let (judgement, decided, events) = self.judge_quietly(request).await;
        let found = judgement.found.as_ref();
        self.record(request, found, Event::RequestDecided(decided));
        for event in events {
            self.record(request, found, event);
        }
        judgement
    }

    /// Judges a request and records nothing: what [`Engine::decide`] would have recorded is returned, the
    /// decision first, then the events beside it. For `explain`.
    pub async fn judge_quietly(&self, request: &CheckRequest) -> (Judgement, Decided, Vec<Event>) {
        let mut trail = Trail::new(self.clock.clone());
        let mut judgement = Judgement { decision: Decision::Deny(Denial::NoRoute), found: None, opened: None, recognised: None };
        judgement.decision = self.judge(request, &mut judgement, &mut trail).await;
        let (decided, events) = describe(request, &judgement, trail);
        (judgement, decided, events)
    }

    async fn judge(&self, request: &CheckRequest, judgement: &mut Judgement, trail: &mut Trail) -> Decision {
        let found = match self.routes.find(request) {
            Ok(found) => found,
            Err(denial) => return Decision::Deny(denial),
        };
        judgement.found = Some(found.clone());
        let now = self.clock.now();
        let asked = Asked { request, found: &found, now };
        let chain = &found.tenant.chain;
        let standing = chain.run(&asked, &self.admission, trail).await;
        if let Standing::Known { identity, .. } = &standing {
            judgement.recognised = Some(identity.scheme.clone());
        }
        match (found.route.access, standing) {
            (_, Standing::Refused(rejection)) => Decision::Deny(rejection.into()),
            (Access::Open, Standing::Known { identity, .. }) => self.grant(Principal::Known(identity), Permits::none(), &asked).await,
            (Access::Open, Standing::Nobody { .. } | Standing::Undecided(_)) => {
                self.grant(Principal::Anonymous, Permits::none(), &asked).await
            }
            (Access::Protected, Standing::Undecided(down)) => Decision::Fail(down),
            (Access::Protected, Standing::Nobody { attempted }) => Decision::Challenge(chain.challenges(request, attempted)),
            (Access::Protected, Standing::Known { identity, remember, aside }) => {
                if identity.must_change_password() {
                    return Decision::Deny(Denial::MustChangePassword);
                }
                if is_cross_site(&identity, &asked) {
                    return Decision::Deny(Denial::Csrf);
                }
                let permits = match found.route.policy.check(&identity, request, &found, None, now) {
                    Verdict::Allow(permits) => permits,
                    Verdict::Deny(policies) => return Decision::Deny(Denial::Policy(policies)),
                };
                trail.policy = permits.policies.to_vec();
                trail.responses = permits.responses.to_vec();
                let decision = self.grant(Principal::Known(identity.clone()), permits, &asked).await;
                if let Decision::Allow(_) = decision {
                    match self.remember(&identity, remember, aside.as_deref(), request, now, trail).await {
                        Ok(opened) => judgement.opened = opened,
                        Err(down) => return Decision::Fail(down),
                    }
                }
                decision
            }
        }
    }

    /// `rulings.md`: another user's valid credential switches the session; `remember = true` opens one.
    async fn remember(
        &self,
        identity: &Identity,
        remember: bool,
        aside: Option<&Identity>,
        request: &CheckRequest,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<Option<Opened>, Unavailable> {
        let switched = aside.filter(|aside| aside.user.id != identity.user.id);
        if let Some(old) = switched {
            self.sessions.end(old, Ending::Switched, trail).await?;
        }
        let already = identity.session.is_some() || (aside.is_some() && switched.is_none());
        if switched.is_some() || (remember && !already) {
            return self.sessions.open(identity, request.host.name(), now, trail).await.map(Some);
        }
        Ok(None)
    }

    async fn grant(&self, principal: Principal, permits: Permits, asked: &Asked<'_>) -> Decision {
        let mut injection = Injection::default();
        let granted = Granted { request: asked.request, found: asked.found, principal: &principal, permits: &permits, now: asked.now };
        for injector in &asked.found.route.injectors {
            match injector.inject(&granted).await {
                Ok(more) => {
                    injection.set.extend(more.set);
                    injection.response.extend(more.response);
                    injection.body = more.body.or(injection.body);
                }
                Err(why) => return Decision::Deny(Denial::Injection(format!("{}: {why}", injector.name()))),
            }
        }
        Decision::Allow(Box::new(Grant { principal, permits, injection, found: asked.found.clone() }))
    }

    /// Writes an event that belongs to a request.
    pub fn record(&self, request: &CheckRequest, found: Option<&Found>, event: Event) {
        self.sink.record(&Recorded {
            v: VERSION,
            time: self.clock.now(),
            request_id: Some(request.id),
            client: Some(request.client.address),
            tenant: found.map(|found| found.tenant.id.clone()),
            event,
        });
    }
}

/// The record of a judgement, and the events beside it.
fn describe(request: &CheckRequest, judgement: &Judgement, trail: Trail) -> (Decided, Vec<Event>) {
    let (ruling, reason) = match &judgement.decision {
        Decision::Allow(_) => (Ruling::Allow, None),
        Decision::Challenge(_) => (Ruling::Challenge, Some(last_reason(&trail).unwrap_or(Reason::Nobody))),
        Decision::Deny(denial) => (Ruling::Deny, Some(denial.reason())),
        Decision::Fail(_) => (Ruling::Fail, Some(Reason::Unavailable)),
    };
    let subject = match &judgement.decision {
        Decision::Allow(grant) => grant.principal.identity().map(|identity| identity.user.name.to_string()),
        Decision::Challenge(_) | Decision::Deny(_) | Decision::Fail(_) => None,
    };
    let ms = trail.elapsed().as_secs_f64() * 1e3;
    let Trail { steps, events, policy, responses, .. } = trail;
    let decided = Decided {
        method: request.method.to_string(),
        host: request.host.to_string(),
        path: request.target.path().to_owned(),
        route: judgement.found.as_ref().map(|found| found.route.name.clone()),
        decision: ruling,
        scheme: judgement.recognised.clone(),
        subject,
        reason,
        policy,
        responses,
        steps,
        ms: (ms * 1e3).round() / 1e3,
    };
    (decided, events)
}

/// The reason of the last refusal in the trail: what the caller tried, rather than that nobody is there.
fn last_reason(trail: &Trail) -> Option<Reason> {
    trail.steps.iter().rev().find_map(|step| step.reason)
}

/// Whether a foreign page may have made a browser send this (`rulings.md`: origin check by default).
///
/// Only what a browser sends by itself can be abused so. A browser that sends neither `Sec-Fetch-Site` nor
/// `Origin` with an unsafe method is refused: every one that could be abused sends at least one.
fn is_cross_site(identity: &Identity, asked: &Asked<'_>) -> bool {
    let request = asked.request;
    let safe = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    // An upgrade is a GET that acts; browsers always send Origin with it.
    let upgrade = request.headers.contains_key(http::header::UPGRADE);
    if !identity.ambient || (safe && !upgrade) || asked.found.route.csrf == Csrf::Off {
        return false;
    }
    let text = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    match (text("sec-fetch-site"), text(ORIGIN.as_str())) {
        (Some("same-origin" | "none"), _) => false,
        (_, Some(origin)) => origin != request.origin() && !asked.found.tenant.origins.iter().any(|own| own == origin),
        _ => true,
    }
}
