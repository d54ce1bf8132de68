//! The whole gateway on one page: route, chain, policy, injection, one record.

use std::net::IpAddr;
use std::sync::Arc;

use http::Method;

use crate::admission::Admission;
use crate::audit::{Decided, Ending, Event, Reason, Recorded, Ruling, Sink, Trail, VERSION};
use crate::chain::Standing;
use crate::clock::{Clock, Timestamp};
use crate::csrf::CsrfKey;
use crate::decision::{Decision, Denial, Grant, Permits};
use crate::identity::{Identity, Principal, SchemeName};
use crate::inject::{Granted, Injection, Uninjected};
use crate::policy::Verdict;
use crate::request::{CheckRequest, Malformed, RequestId};
use crate::route::{Access, Csrf, Destination, Found, Routes};
use crate::scheme::{Asked, Opening, Rejection, Unavailable};
use crate::secret::Secret;
use crate::session::{Opened, Sessions};
use crate::tenant::Tenant;

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

    async fn judge(&self, request: &CheckRequest, found: Result<Found, Denial>, judgement: &mut Judgement, trail: &mut Trail) -> Decision {
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
            (Access::Open, Standing::Nobody { .. } | Standing::TurnedAway(_) | Standing::Undecided(_)) => {
                self.grant(Principal::Anonymous, Permits::none(), &asked).await
            }
            (Access::Open, Standing::Known { identity, .. }) => match self.hindrance(&identity, &asked) {
                Some(denial) => Decision::Deny(denial),
                None => self.grant(Principal::Known(identity), Permits::none(), &asked).await,
            },
            (Access::Protected, Standing::Undecided(down)) => Decision::Fail(down),
            (Access::Protected, Standing::TurnedAway(rejection)) => Decision::Deny(rejection.into()),
            (Access::Protected, Standing::Nobody { attempted }) => Decision::Challenge(chain.challenges(request, attempted)),
            (Access::Protected, Standing::Known { identity, remember, aside, opening }) => {
                if let Some(denial) = self.hindrance(&identity, &asked) {
                    return Decision::Deny(denial);
                }
                let permits = match found.route.policy.check(&identity, request, &found, request.operation.as_deref(), now) {
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
                let opening = match (&decision, opening) {
                    (Decision::Allow(_), None) if identity.session.is_none() => chain.keep_alive(&asked, &identity).await,
                    (_, opening) => opening,
                };
                if let (Decision::Allow(_), Some(Opening { sessions, place })) = (&decision, opening) {
                    return match sessions.open_place(&identity, request.host.name(), place, now, trail).await {
                        Ok(Ok(opened)) => {
                            judgement.opened = Some(opened);
                            decision
                        }
                        Ok(Err(reason)) => Decision::Deny(Rejection::chain(reason).into()),
                        Err(down) => Decision::Fail(down),
                    };
                }
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

    /// Whose session a token opens on a host, if its user would be admitted again from there; that is a use of it.
    ///
    /// # Errors
    /// [`Unavailable`] if a store does not answer.
    pub async fn resume(
        &self,
        tenant: &Tenant,
        host: &str,
        token: &str,
        client: IpAddr,
        now: Timestamp,
    ) -> Result<Option<Identity>, Unavailable> {
        let Ok(identity) = self.sessions.find(&tenant.id, host, token, now).await? else { return Ok(None) };
        let holds = self.admission.readmit_from(&identity, tenant, client, now).is_ok() && self.sessions.used(&identity, now).await?;
        Ok(Some(identity).filter(|_| holds))
    }

    /// Whether an identity that was admitted for a client still would be. For tunnels, which outlive the request that opened them.
    ///
    /// # Errors
    /// [`Unavailable`] if a store does not answer.
    pub async fn holds(&self, identity: &Identity, client: IpAddr) -> Result<bool, Unavailable> {
        let now = self.clock.now();
        let user = self.sessions.holder(identity, now).await?;
        let (Some(user), Some(tenant)) = (user, self.routes.tenant(identity.tenant())) else { return Ok(false) };
        Ok(self.admission.readmit_from(&Identity { user, ..identity.clone() }, tenant, client, now).is_ok())
    }

    /// What keeps somebody we know from acting as themselves. An open route tells the application who they are, so it
    /// asks, too; our own open pages do not: changing the password is one of them, and they have tokens of their own.
    fn hindrance(&self, identity: &Identity, asked: &Asked<'_>) -> Option<Denial> {
        let route = &asked.found.route;
        if route.access == Access::Open && route.destination == Destination::Own {
            return None;
        }
        if self.admission.must_change_password(&identity.user) {
            return Some(Denial::MustChangePassword);
        }
        if self.csrf.is_foreign(identity, asked) {
            return Some(Denial::Csrf);
        }
        (identity.level < route.level).then_some(Denial::WeakProof)
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
                Err(Uninjected::Malformed(malformed)) => return Decision::Deny(Denial::Malformed(malformed)),
                Err(Uninjected::Unmade(why)) => {
                    tracing::error!(request_id = %asked.request.id, injector = injector.name(), %why, "what the application should be told cannot be made");
                    return Decision::Deny(Denial::Injection(format!("{}: {why}", injector.name())));
                }
            }
        }
        Decision::Allow(Box::new(Grant { principal, permits, injection, found: asked.found.clone() }))
    }

    /// Records that a request could not be judged, because what judging it needs is not to be had.
    pub fn give_up(&self, request: &CheckRequest, found: Found, want: Unavailable) -> Judgement {
        let judgement = Judgement { found: Some(found), ..Judgement::undecided(Decision::Fail(want)) };
        let (decided, _) = describe(request, &judgement, Trail::new(self.clock.clone()));
        self.record(request, judgement.found.as_ref(), Event::RequestDecided(decided));
        judgement
    }

    /// Refuses a request before it is judged, and records that.
    pub fn turn_away(&self, request: &CheckRequest, found: Option<Found>, denial: Denial) -> Judgement {
        if let Err(down) = self.sink.ready() {
            return Judgement::undecided(Decision::Fail(down));
        }
        let judgement = Judgement { found, ..Judgement::undecided(Decision::Deny(denial)) };
        let (decided, _) = describe(request, &judgement, Trail::new(self.clock.clone()));
        self.record(request, judgement.found.as_ref(), Event::RequestDecided(decided));
        judgement
    }

    /// Records that a request could not be read.
    pub fn unreadable(&self, id: RequestId, client: IpAddr, reason: Malformed) {
        let event = Event::RequestUnreadable { reason };
        self.sink.record(&Recorded { v: VERSION, time: self.clock.now(), request_id: Some(id), client: Some(client), tenant: None, event });
    }

    /// Records what one of our own pages made of a request: exactly one `request.decided`, then what happened on the way.
    pub fn record_page(&self, request: &CheckRequest, found: &Found, ended: Ended, trail: Trail) {
        let (decided, events) = decided(request, Some(found), ended, trail);
        self.record(request, Some(found), Event::RequestDecided(decided));
        for event in events {
            self.record(request, Some(found), event);
        }
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

/// How it ended, for the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Allow, challenge, deny or fail.
    pub ruling: Ruling,
    /// The true reason of a refusal.
    pub reason: Option<Reason>,
    /// The scheme that recognised the caller, and who they are.
    pub caller: Option<(SchemeName, String)>,
}

/// The record of a judgement, and the events beside it.
fn describe(request: &CheckRequest, judgement: &Judgement, trail: Trail) -> (Decided, Vec<Event>) {
    let (ruling, reason) = match &judgement.decision {
        Decision::Allow(_) => (Ruling::Allow, None),
        Decision::Challenge(_) => (Ruling::Challenge, Some(last_reason(&trail).unwrap_or(Reason::Nobody))),
        Decision::Deny(denial) => (Ruling::Deny, Some(denial.reason())),
        Decision::Fail(_) => (Ruling::Fail, Some(Reason::Unavailable)),
    };
    let name = || judgement.identity.as_ref().map(|identity| identity.user.name.to_string());
    let caller = judgement.recognised.clone().zip(name());
    decided(request, judgement.found.as_ref(), Ended { ruling, reason, caller }, trail)
}

fn decided(request: &CheckRequest, found: Option<&Found>, ended: Ended, trail: Trail) -> (Decided, Vec<Event>) {
    let Ended { ruling, reason, caller } = ended;
    let (scheme, subject) = caller.unzip();
    let ms = trail.elapsed().as_secs_f64() * 1e3;
    let Trail { steps, events, policy, responses, .. } = trail;
    let decided = Decided {
        method: request.method.to_string(),
        host: request.host.to_string(),
        path: request.target.shown_path().to_owned(),
        route: found.map(|found| found.route.name.clone()),
        decision: ruling,
        scheme,
        subject,
        reason,
        detail: events.iter().rev().find_map(refused_message),
        policy,
        responses,
        steps,
        ms: (ms * 1e3).round() / 1e3,
    };
    (decided, events)
}

/// What was wrong with a partner's message, in one line.
fn refused_message(event: &Event) -> Option<String> {
    let (Event::MessageRefused { partner, check, detail, .. } | Event::AnswerRefused { partner, check, detail, .. }) = event else {
        return None;
    };
    let partner = partner.as_ref().map(|partner| format!("{partner}: ")).unwrap_or_default();
    Some(format!("{partner}{check}: {detail}"))
}

/// The reason of the last refusal in the trail: what the caller tried, rather than that nobody is there.
fn last_reason(trail: &Trail) -> Option<Reason> {
    trail.steps.iter().rev().find_map(|step| step.reason)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use async_trait::async_trait;
    use http::HeaderName;

    use super::*;
    use crate::chain::{Chain, Link, OnReject};
    use crate::clock::ManualClock;
    use crate::fixtures::{self, FakeStore, ada, admission, host, identity, now, request, session, tenant};
    use crate::identity::{Level, User};
    use crate::inject::Injector;
    use crate::policy::{Decisions, Policy};
    use crate::profile::{Hours, Profile};
    use crate::route::{Pattern, Route, Scope};
    use crate::scheme::{Outcome, Place, Proof, Rejection, Resumed, Scheme, Who};
    use crate::session::Settings;
    use crate::users::Users;

    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<Recorded>>);

    impl Sink for Kept {
        fn record(&self, event: &Recorded) {
            self.0.lock().unwrap().push(event.clone());
        }
    }

    /// Reads the header `who`: `ada` proves, `session` resumes hers, anything else goes wrong as it says.
    #[derive(Debug)]
    struct Header(SchemeName);

    #[async_trait]
    impl Scheme for Header {
        fn name(&self) -> &SchemeName {
            &self.0
        }

        fn presents(&self, request: &CheckRequest) -> bool {
            request.headers.contains_key("who")
        }

        fn consumes(&self) -> &[Place] {
            &[]
        }

        async fn authenticate(&self, asked: &Asked<'_>, trail: &mut Trail) -> Result<Outcome, Unavailable> {
            trail.events.push(Event::ConfigReloaded { accepted: true, problem: None });
            let proof = |user: User, ambient| {
                Outcome::Authenticated(Box::new(Proof {
                    tenant: "north".into(),
                    who: Who::User(user.id),
                    scheme: self.0.clone(),
                    issuer: "local".into(),
                    level: Level(10),
                    authenticated_at: now(),
                    replay: Vec::new(),
                    attributes: Default::default(),
                    ambient,
                }))
            };
            match asked.request.headers["who"].to_str().unwrap() {
                "ada" => Ok(proof(ada(), false)),
                "browser" => Ok(proof(ada(), true)),
                "new" => Ok(proof(newcomer(), false)),
                "session" => {
                    let identity = Identity { ambient: true, session: Some(session("s")), method: self.0.clone(), ..identity(ada()) };
                    Ok(Outcome::Resumed(Box::new(Resumed { identity, sessions: None })))
                }
                "wrong" => Ok(Outcome::Rejected(Rejection::next(Reason::WrongPassword))),
                "crowd" => Ok(Outcome::Rejected(Rejection::next(Reason::TooManyWaiting))),
                "forged" => Ok(Outcome::Rejected(Rejection::chain(Reason::Forged))),
                "down" => Err(Unavailable::new("ldap", "down")),
                other => panic!("{other}"),
            }
        }
    }

    fn newcomer() -> User {
        User { must_change_password: true, ..fixtures::user("new", 3) }
    }

    #[derive(Debug)]
    struct Broken;

    #[async_trait]
    impl Injector for Broken {
        fn name(&self) -> &str {
            "jwt"
        }

        fn headers(&self) -> &[HeaderName] {
            &[]
        }

        async fn inject(&self, _: &Granted<'_>) -> Result<Injection, Uninjected> {
            Err("no key".into())
        }
    }

    fn engine(policy: Policy) -> (Engine, Arc<Kept>) {
        let link = Link { scheme: Arc::new(Header("basic".into())), on_reject: OnReject::Continue, remember: false };
        let mut routes = Routes::default();
        routes.add_tenant(Arc::new(tenant("north", Chain::new(vec![link]))), None).unwrap();
        let route = |name: &str| Route { policy: policy.clone(), ..fixtures::route(name) };
        let open = |name: &str| Route { access: Access::Open, ..route(name) };
        let mut add = |scope, path: &str, route| routes.add(scope, &Pattern::parse(path, Vec::new()).unwrap(), Arc::new(route)).unwrap();
        add(Scope::Everywhere, "/protected", route("protected"));
        add(Scope::Everywhere, "/open", open("open"));
        add(Scope::Everywhere, "/token", Route { csrf: Csrf::Token, ..route("token") });
        add(Scope::Everywhere, "/broken", Route { injectors: vec![Arc::new(Broken)], ..open("broken") });
        add(Scope::Host(host("login.north.example.com")), "/password", Route { destination: Destination::Own, ..open("password") });
        let store = FakeStore::of([ada(), newcomer()]);
        let users = Arc::new(Users::new(store.clone(), Duration::ZERO));
        let sink = Arc::new(Kept::default());
        let engine = Engine {
            routes,
            admission: admission(&store),
            sessions: Arc::new(Sessions::new(store, users, Settings::default())),
            csrf: CsrfKey::new(&Secret::new([7; 32])),
            sink: sink.clone(),
            clock: Arc::new(ManualClock::at(now())),
        };
        (engine, sink)
    }

    #[tokio::test]
    async fn an_identity_holds_while_its_client_would_be_admitted_again() {
        let clock = Arc::new(ManualClock::at("2026-01-05T17:00:00Z".parse().unwrap()));
        let hours = Hours::parse(&["mon 08:00-18:00"], "UTC").unwrap();
        let office = Profile { hours: Some(hours), addresses: vec!["10.0.0.0/8".parse().unwrap()], ..Profile::default() };
        let root = User { profile: User::ADMINISTRATOR.into(), ..fixtures::user("root", 7) };
        let store = FakeStore::of([ada(), root.clone()]);
        let profiles = Arc::new([(ada().profile, office)].into_iter().collect());
        let (engine, _) = engine(everybody());
        let users = Arc::new(Users::new(store.clone(), Duration::ZERO));
        let sessions = Arc::new(Sessions::new(store.clone(), users, Settings::default()));
        let engine = Engine { admission: admission(&store).with_profiles(profiles), sessions, clock: clock.clone(), ..engine };
        let (near, far) = ("10.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let holds = async |identity: &Identity, client| engine.holds(identity, client).await.unwrap();
        assert!(holds(&identity(ada()), near).await && holds(&identity(root.clone()), near).await);
        assert!(!holds(&identity(ada()), far).await && !holds(&identity(root), far).await);
        assert!(!holds(&Identity { method: "gone".into(), ..identity(ada()) }, near).await);
        assert!(!holds(&identity(User { epoch: 0, ..ada() }), near).await);
        // Who was of another profile when the tunnel was opened is held to that of today.
        assert!(!holds(&identity(User { profile: "other".into(), ..ada() }), far).await);
        clock.advance(Duration::from_secs(3600));
        assert!(!holds(&identity(ada()), near).await, "after hours");
    }

    fn compiled(text: &str) -> Policy {
        Policy::compile(&[("p.cedar".to_owned(), text.to_owned())], &["r".into()], &Decisions::new(8)).unwrap()
    }

    fn everybody() -> Policy {
        compiled(r#"@id("all") @response("r") permit(principal, action, resource);"#)
    }

    async fn decide(policy: Policy, method: &str, path: &str, headers: &[(&str, &str)]) -> (Judgement, Decided) {
        let (engine, sink) = engine(policy);
        let judgement = engine.decide(&request(method, &format!("north.example.com{path}"), headers)).await;
        (judgement, only(&sink))
    }

    fn only(sink: &Kept) -> Decided {
        let kept = sink.0.lock().unwrap();
        let decided: Vec<&Decided> = kept
            .iter()
            .filter_map(|recorded| match &recorded.event {
                Event::RequestDecided(decided) => Some(decided),
                _ => None,
            })
            .collect();
        let [decided] = decided[..] else { panic!("{} records of one decision", decided.len()) };
        decided.clone()
    }

    /// The decision in a few letters.
    fn short(decision: &Decision) -> String {
        match decision {
            Decision::Allow(grant) => match grant.principal.identity() {
                Some(identity) => format!("allow {}", identity.user.name),
                None => "allow anonymous".into(),
            },
            Decision::Challenge(challenges) => format!("challenge, attempted: {}", challenges.attempted),
            Decision::Deny(denial) => format!("deny: {:?}", denial.reason()),
            Decision::Fail(down) => format!("fail: {}", down.what),
        }
    }

    #[test]
    fn what_cannot_be_judged_is_recorded_too() {
        let (engine, sink) = engine(everybody());
        let request = request("POST", "north.example.com/open", &[]);
        let found = engine.routes.find(&request).unwrap();
        let judgement = engine.give_up(&request, found, Unavailable::new("memory", "full"));
        assert_eq!(short(&judgement.decision), "fail: memory");
        let decided = only(&sink);
        assert_eq!((decided.decision, decided.reason, decided.route), (Ruling::Fail, Some(Reason::Unavailable), Some("open".into())));
    }

    #[tokio::test]
    async fn every_standing_meets_every_access() {
        for (who, protected, open) in [
            (None, "challenge, attempted: false", "allow anonymous"),
            (Some("wrong"), "challenge, attempted: true", "allow anonymous"),
            (Some("down"), "fail: ldap", "allow anonymous"),
            (Some("forged"), "deny: Forged", "deny: Forged"),
            (Some("ada"), "allow ada", "allow ada"),
            (Some("session"), "allow ada", "allow ada"),
            (Some("new"), "deny: MustChangePassword", "deny: MustChangePassword"),
        ] {
            let headers: Vec<(&str, &str)> = who.map(|who| ("who", who)).into_iter().collect();
            let (judgement, record) = decide(everybody(), "GET", "/protected", &headers).await;
            assert_eq!(short(&judgement.decision), protected, "{who:?}");
            assert_eq!(record.route.unwrap().as_str(), "protected");
            let (judgement, record) = decide(everybody(), "GET", "/open", &headers).await;
            assert_eq!(short(&judgement.decision), open, "{who:?}");
            assert_eq!(record.policy, [], "no policy was asked");
        }
    }

    #[tokio::test]
    async fn no_permit_lets_anonymous_into_a_protected_route() {
        for policy in [everybody(), Policy::any_user()] {
            let (judgement, _) = decide(policy, "GET", "/protected", &[]).await;
            assert!(matches!(judgement.decision, Decision::Challenge(_)));
            assert_eq!(judgement.recognised, None);
        }
    }

    #[tokio::test]
    async fn an_allowed_request_is_recorded_with_what_permitted_it() {
        let (judgement, record) = decide(everybody(), "GET", "/protected", &[("who", "ada")]).await;
        let Decision::Allow(grant) = judgement.decision else { panic!("allowed") };
        assert_eq!(grant.permits.policies.to_vec(), ["all".into()]);
        assert_eq!(grant.permits.responses.to_vec(), ["r".into()]);
        assert_eq!((record.decision, record.reason), (Ruling::Allow, None));
        assert_eq!(record.subject.as_deref(), Some("ada"));
        assert_eq!((record.policy, record.responses), (vec!["all".into()], vec!["r".into()]));
        assert_eq!(judgement.recognised, Some("basic".into()));
        assert_eq!(record.steps.len(), 1);
    }

    #[tokio::test]
    async fn a_refused_request_is_recorded_with_who_and_why() {
        let forbid = compiled(r#"@id("all") permit(principal, action, resource); @id("no") forbid(principal, action, resource);"#);
        let broken = compiled(r#"@id("bad") permit(principal, action, resource) when { principal.level + 9223372036854775807 == 0 };"#);
        for (policy, reason, ids) in [
            (forbid, Reason::Policy, vec!["no".into()]),
            (broken, Reason::PolicyError, vec!["bad".into()]),
            (Policy::default(), Reason::Policy, vec![]),
        ] {
            let (judgement, record) = decide(policy, "GET", "/protected", &[("who", "ada")]).await;
            assert!(matches!(judgement.decision, Decision::Deny(_)));
            assert_eq!((record.decision, record.reason), (Ruling::Deny, Some(reason)));
            assert_eq!(record.policy, ids);
            assert_eq!(record.subject.as_deref(), Some("ada"));
        }
    }

    #[tokio::test]
    async fn the_reason_of_a_challenge_is_what_was_tried() {
        for (headers, reason) in [(&[("who", "wrong")][..], Reason::WrongPassword), (&[], Reason::Nobody)] {
            assert_eq!(decide(everybody(), "GET", "/protected", headers).await.1.reason, Some(reason));
        }
        let (judgement, record) = decide(everybody(), "GET", "/nowhere", &[("who", "ada")]).await;
        assert!(judgement.found.is_none());
        assert_eq!((record.reason, record.steps.len(), record.route), (Some(Reason::NoRoute), 0, None));
    }

    #[tokio::test]
    async fn the_decision_is_recorded_first_and_then_what_happened_on_the_way() {
        let (engine, sink) = engine(everybody());
        engine.decide(&request("GET", "north.example.com/protected?secret=1", &[("who", "ada")])).await;
        let kept = sink.0.lock().unwrap();
        assert!(matches!(
            &kept[..],
            [Recorded { event: Event::RequestDecided(_), .. }, Recorded { event: Event::ConfigReloaded { .. }, .. }]
        ));
        for recorded in &*kept {
            assert_eq!(recorded.tenant, Some("north".into()));
            assert!(recorded.request_id.is_some() && recorded.client.is_some());
            assert!(!serde_json::to_string(recorded).unwrap().contains("secret"));
        }
    }

    #[tokio::test]
    async fn a_foreign_page_is_refused_on_protected_and_on_open_routes() {
        for path in ["/protected", "/open"] {
            let (judgement, record) = decide(everybody(), "POST", path, &[("who", "session"), ("origin", "https://evil.example")]).await;
            assert_eq!(short(&judgement.decision), "deny: Csrf");
            assert_eq!((record.reason, record.subject.as_deref()), (Some(Reason::Csrf), Some("ada")));
            assert_eq!(record.policy, [], "before the policy is asked");
            let own = [("who", "session"), ("origin", "https://north.example.com")];
            assert_eq!(short(&decide(everybody(), "POST", path, &own).await.0.decision), "allow ada");
            let explicit = [("who", "ada"), ("origin", "https://evil.example")];
            assert_eq!(short(&decide(everybody(), "POST", path, &explicit).await.0.decision), "allow ada");
        }
        let anonymous = [("origin", "https://evil.example")];
        assert_eq!(short(&decide(everybody(), "POST", "/open", &anonymous).await.0.decision), "allow anonymous");
    }

    #[tokio::test]
    async fn who_was_not_looked_at_is_told_to_wait_and_on_open_routes_is_nobody() {
        let (judgement, record) = decide(everybody(), "GET", "/protected", &[("who", "crowd")]).await;
        assert!(matches!(&judgement.decision, Decision::Deny(Denial::Rejected(rejection)) if rejection.reason == Reason::TooManyWaiting));
        assert_eq!((record.decision, record.reason), (Ruling::Deny, Some(Reason::TooManyWaiting)));
        assert_eq!(short(&decide(everybody(), "GET", "/open", &[("who", "crowd")]).await.0.decision), "allow anonymous");
    }

    #[tokio::test]
    async fn our_own_open_pages_are_there_for_those_who_must_change_their_password() {
        let (engine, _) = engine(everybody());
        let judgement = engine.decide(&request("POST", "login.north.example.com/password", &[("who", "new")])).await;
        assert_eq!(short(&judgement.decision), "allow new");
    }

    #[tokio::test]
    async fn a_token_is_told_to_a_page_that_reads_and_taken_from_one_that_acts() {
        for who in ["session", "browser"] {
            let (judgement, _) = decide(everybody(), "GET", "/token", &[("who", who)]).await;
            let token = judgement.csrf_token.unwrap();
            let with = [("who", who), ("x-csrf-token", token.reveal().as_str())];
            let (judgement, _) = decide(everybody(), "POST", "/token", &with).await;
            assert_eq!(short(&judgement.decision), "allow ada");
            assert_eq!(judgement.csrf_token, None);
            assert_eq!(short(&decide(everybody(), "POST", "/token", &[("who", who)]).await.0.decision), "deny: Csrf");
        }
        // Who sends a credential on purpose needs none; who is refused, or reads a route without tokens, gets none.
        assert_eq!(decide(everybody(), "GET", "/token", &[("who", "ada")]).await.0.csrf_token, None);
        assert_eq!(decide(everybody(), "HEAD", "/token", &[("who", "session")]).await.0.csrf_token, None);
        assert_eq!(decide(Policy::default(), "GET", "/token", &[("who", "session")]).await.0.csrf_token, None);
        assert_eq!(decide(everybody(), "GET", "/protected", &[("who", "session")]).await.0.csrf_token, None);
    }

    #[tokio::test]
    async fn what_cannot_be_injected_is_not_forwarded() {
        for headers in [&[("who", "ada")][..], &[]] {
            let (judgement, record) = decide(everybody(), "GET", "/broken", headers).await;
            assert!(matches!(&judgement.decision, Decision::Deny(Denial::Injection(why)) if why == "jwt: no key"));
            assert_eq!(record.reason, Some(Reason::Injection));
        }
    }
}
