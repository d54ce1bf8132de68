//! The whole gateway on one page: route, chain, policy, injection, one record.

use std::sync::Arc;

use http::Method;

use crate::admission::Admission;
use crate::audit::{Decided, Ending, Event, Reason, Recorded, Ruling, Sink, Trail, VERSION};
use crate::chain::Standing;
use crate::clock::{Clock, Timestamp};
use crate::csrf::CsrfKey;
use crate::decision::{Decision, Denial, Grant, Permits};
use crate::identity::{Identity, Principal, SchemeName};
use crate::inject::{Granted, Injection};
use crate::policy::Verdict;
use crate::request::CheckRequest;
use crate::route::{Access, Csrf, Destination, Found, Routes};
use crate::scheme::{Asked, Unavailable};
use crate::secret::Secret;
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
    /// What tokens against foreign pages are made with.
    pub csrf: CsrfKey,
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
    /// Who was recognised, whatever was decided about them.
    pub identity: Option<Arc<Identity>>,
    /// What the client must send back in [`crate::csrf::TOKEN`] with what acts; the door tells it, with
    /// [`crate::csrf::NAME`], in place of any such header of the application's.
    pub csrf_token: Option<Secret<String>>,
}

impl Judgement {
    /// This decision, before anything else is known.
    fn undecided(decision: Decision) -> Self {
        Self { decision, found: None, opened: None, recognised: None, identity: None, csrf_token: None }
    }
}

impl Engine {
    /// Judges a request and records exactly one `request.decided`.
    ///
    /// While the audit cannot take a record, nothing is judged: a decision nobody can read later is not made.
    pub async fn decide(&self, request: &CheckRequest) -> Judgement {
        self.decide_found(request, self.routes.find(request)).await
    }

    /// The same, for a door that had to find the route first: it needed to know whether to read the body.
    pub async fn decide_found(&self, request: &CheckRequest, found: Result<Found, Denial>) -> Judgement {
        if let Err(down) = self.sink.ready() {
            return Judgement::undecided(Decision::Fail(down));
        }
        let (judgement, decided, events) = self.judge_quietly(request, found).await;
        let found = judgement.found.as_ref();
        self.record(request, found, Event::RequestDecided(decided));
        for event in events {
            self.record(request, found, event);
        }
        judgement
    }

    /// Judges a request and records nothing: what [`Engine::decide`] would have recorded is returned, the
    /// decision first, then the events beside it. For `explain`.
    pub async fn judge_quietly(&self, request: &CheckRequest, found: Result<Found, Denial>) -> (Judgement, Decided, Vec<Event>) {
        let mut trail = Trail::new(self.clock.clone());
        let mut judgement = Judgement::undecided(Decision::Deny(Denial::NoRoute));
        judgement.decision = self.judge(request, found, &mut judgement, &mut trail).await;
        judgement.csrf_token = self.csrf_token(request, &judgement);
        let (decided, events) = describe(request, &judgement, trail);
        (judgement, decided, events)
    }

    async fn judge(
        &self,
        request: &CheckRequest,
        found: Result<Found, Denial>,
        judgement: &mut Judgement,
        trail: &mut Trail,
    ) -> Decision {
        let found = match found {
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
            judgement.identity = Some(identity.clone());
        }
        match (found.route.access, standing) {
            (_, Standing::Refused(rejection)) => Decision::Deny(rejection.into()),
            (Access::Open, Standing::Nobody { .. } | Standing::Undecided(_)) => {
                self.grant(Principal::Anonymous, Permits::none(), &asked).await
            }
            (Access::Open, Standing::Known { identity, .. }) => match self.hindrance(&identity, &asked) {
                Some(denial) => Decision::Deny(denial),
                None => self.grant(Principal::Known(identity), Permits::none(), &asked).await,
            },
            (Access::Protected, Standing::Undecided(down)) => Decision::Fail(down),
            (Access::Protected, Standing::Nobody { attempted }) => Decision::Challenge(chain.challenges(request, attempted)),
            (Access::Protected, Standing::Known { identity, remember, aside }) => {
                if let Some(denial) = self.hindrance(&identity, &asked) {
                    return Decision::Deny(denial);
                }
                let permits = match found.route.policy.check(&identity, request, &found, None, now) {
                    Verdict::Allow(permits) => permits,
                    Verdict::Deny(policies) => {
                        trail.policy.clone_from(&policies);
                        return Decision::Deny(Denial::Policy(policies));
                    }
                    Verdict::Error(policies) => {
                        trail.policy.clone_from(&policies);
                        return Decision::Deny(Denial::PolicyError(policies));
                    }
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

    /// What keeps somebody we know from acting as themselves. An open route tells the application who they are, so it
    /// asks, too; our own open pages do not: changing the password is one of them, and they have tokens of their own.
    fn hindrance(&self, identity: &Identity, asked: &Asked<'_>) -> Option<Denial> {
        let route = &asked.found.route;
        if route.access == Access::Open && route.destination == Destination::Own {
            return None;
        }
        if identity.must_change_password() {
            return Some(Denial::MustChangePassword);
        }
        self.csrf.is_foreign(identity, asked).then_some(Denial::Csrf)
    }

    /// The token for a page that was just read: of the session just opened, if one was.
    fn csrf_token(&self, request: &CheckRequest, judgement: &Judgement) -> Option<Secret<String>> {
        let route = &judgement.found.as_ref()?.route;
        let Decision::Allow(_) = judgement.decision else { return None };
        if route.csrf != Csrf::Token || request.method != Method::GET {
            return None;
        }
        let identity = judgement.identity.as_ref()?;
        let session = judgement.opened.as_ref().map(|opened| &opened.session).or(identity.session.as_ref());
        // Who has neither a session nor a credential that the browser sends by itself needs none.
        (session.is_some() || identity.ambient).then(|| self.csrf.token(identity, session))
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
    let subject = judgement.identity.as_ref().map(|identity| identity.user.name.to_string());
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
