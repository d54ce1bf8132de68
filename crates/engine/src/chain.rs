//! The ordered schemes of a tenant, and the loop over them.
//!
//! The chain goes on after absence and after failure, as the documented chain does
//! (`authentication-chain.md` §1); what an outage was is remembered, and never lets anyone in.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::admission::Admission;
use crate::audit::{OidcFault, Reason, Trail};
use crate::decision::Challenges;
use crate::identity::{Identity, SchemeName};
use crate::request::CheckRequest;
use crate::scheme::{Asked, Leads, Opening, Outcome, Place, Proof, Reach, Rejection, Resumed, Scheme, Unavailable, Verdict};

/// The ordered schemes of a tenant. Steps over the same material have been folded into one scheme.
#[derive(Debug, Default)]
pub struct Chain {
    links: Vec<Link>,
}

/// One link of a chain.
#[derive(Debug, Clone)]
pub struct Link {
    /// The scheme.
    pub scheme: Arc<dyn Scheme>,
    /// What a rejection does.
    pub on_reject: OnReject,
    /// Whether success opens a session once the policy has allowed.
    pub remember: bool,
}

/// What a rejection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnReject {
    /// The next scheme is asked.
    Continue,
    /// The chain ends.
    Stop,
}

/// Where somebody stands after the chain.
#[derive(Debug)]
pub enum Standing {
    /// Somebody we know.
    Known {
        /// Who.
        identity: Arc<Identity>,
        /// Whether to open a session once the policy has allowed.
        remember: bool,
        /// Whoever's session stepped aside for the credential.
        aside: Option<Box<Identity>>,
        /// A session that the scheme opens once the policy has allowed.
        opening: Option<Opening>,
    },
    /// Nobody proved who is asking.
    Nobody {
        /// Whether a credential was presented and refused.
        attempted: bool,
    },
    /// Nobody proved who is asking, and the caller is told more than that: too many wait (`authentication-chain.md` §10), or a
    /// token is not good for this (RFC 6750 §3.1).
    TurnedAway(Rejection),
    /// Nobody proved who is asking, and a step that had material could not be asked.
    Undecided(Unavailable),
    /// The chain was ended by forged or replayed material.
    Refused(Rejection),
}

impl Chain {
    /// A chain of these links.
    pub fn new(links: Vec<Link>) -> Self {
        Self { links }
    }

    /// The links in order.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Whether the chain has this scheme.
    pub fn has(&self, name: &SchemeName) -> bool {
        self.links.iter().any(|link| link.scheme.name() == name)
    }

    /// Every place a scheme of this chain reads.
    pub fn consumes(&self) -> impl Iterator<Item = &Place> {
        self.links.iter().flat_map(|link| link.scheme.consumes())
    }

    /// The scheme that begins a login through the browser.
    pub fn login_scheme(&self) -> Option<&Arc<dyn Scheme>> {
        self.links.iter().map(|link| &link.scheme).find(|scheme| scheme.login_flow().is_some())
    }

    /// The scheme that asks by our own form, if one does.
    pub fn form_scheme(&self) -> Option<&Arc<dyn Scheme>> {
        let own = |scheme: &&Arc<dyn Scheme>| scheme.login_flow().is_some_and(|flow| flow.leads() == Leads::OwnPage);
        self.links.iter().map(|link| &link.scheme).find(own)
    }

    /// Asks the schemes in order. The first success wins; later steps are not run, not verified, not counted.
    pub async fn run(&self, asked: &Asked<'_>, admission: &Admission, trail: &mut Trail) -> Standing {
        let request = asked.request;
        let explicit = self.links.iter().any(|link| link.scheme.explicit() && link.scheme.presents(request));
        let mut attempted = false;
        let mut turned_away = None;
        let mut unavailable = None;
        let mut stepped_aside: SmallVec<[&Arc<dyn Scheme>; 2]> = SmallVec::new();

        for link in &self.links {
            let scheme = &link.scheme;
            let since = trail.mark();
            if !scheme.presents(request) {
                trail.step(scheme.name(), Verdict::NotApplicable, None, since);
                continue;
            }
            // Architecture §4: a planted cookie must not take over a client that sends its own password.
            if explicit && !scheme.explicit() {
                stepped_aside.push(scheme);
                trail.step(scheme.name(), Verdict::Skipped, None, since);
                continue;
            }
            let lines = trail.steps.len();
            let outcome = match scheme.authenticate(asked, trail).await {
                Ok(Outcome::NotApplicable) => Ok(None),
                Ok(Outcome::Rejected(rejection)) => Err(No::Rejected(rejection)),
                Ok(Outcome::Authenticated(proof)) => admit(*proof, None, asked, admission, trail).await,
                Ok(Outcome::Opening(proof, opening)) => admit(*proof, Some(opening), asked, admission, trail).await,
                Ok(Outcome::Resumed(resumed)) => readmit(*resumed, asked, admission).await.map(|identity| Some((identity, None))),
                Err(down) => Err(No::Unavailable(down)),
            };
            let (verdict, reason) = match &outcome {
                Ok(None) => (Verdict::NotApplicable, None),
                Ok(Some(_)) => (Verdict::Authenticated, None),
                Err(No::Rejected(rejection)) => (Verdict::Rejected, Some(rejection.reason)),
                Err(No::Unavailable(_)) => (Verdict::Unavailable, Some(Reason::Unavailable)),
            };
            write_line(trail, lines, scheme.name(), verdict, reason, since);
            match outcome {
                Ok(None) => {}
                Ok(Some((identity, opening))) => {
                    let aside = resumed(&stepped_aside, asked, admission, trail).await;
                    return Standing::Known { identity: Arc::new(identity), remember: link.remember, aside, opening };
                }
                Err(No::Rejected(rejection)) => {
                    // A session that is over was nobody's attempt to come in.
                    attempted |= scheme.explicit();
                    turned_away = turned_away.or(Some(rejection).filter(|rejection| is_told(rejection.reason)));
                    // The rest of a family was skipped within it: a family is one link.
                    let ends = match rejection.reach {
                        Reach::Chain => true,
                        Reach::Step | Reach::Family => link.on_reject == OnReject::Stop,
                    };
                    if ends {
                        return Standing::Refused(rejection);
                    }
                }
                Err(No::Unavailable(down)) => {
                    tracing::warn!(scheme = %scheme.name(), error = %down, "a step could not be asked");
                    unavailable = unavailable.or(Some(down));
                }
            }
        }
        match (unavailable, turned_away) {
            (Some(down), _) => Standing::Undecided(down),
            (None, Some(rejection)) => Standing::TurnedAway(rejection),
            (None, None) => Standing::Nobody { attempted },
        }
    }

    /// The session that a request asks for, of whatever scheme it is; its sender is this identity, without a session so far.
    pub async fn keep_alive(&self, asked: &Asked<'_>, identity: &Identity) -> Option<Opening> {
        for flow in self.links.iter().filter_map(|link| link.scheme.keep_alive()) {
            if let Some(opening) = flow.wanted(asked, identity).await {
                return Some(opening);
            }
        }
        None
    }

    /// How a client nobody knows may present itself.
    pub fn challenges(&self, request: &CheckRequest, attempted: bool) -> Challenges {
        let http = self.links.iter().filter_map(|link| link.scheme.challenge(request)).collect();
        Challenges { http, login: self.login_scheme().is_some(), attempted }
    }
}

/// What a caller may do something about, so that asking for a credential again would mislead.
fn is_told(reason: Reason) -> bool {
    matches!(reason, Reason::TooManyWaiting | Reason::Oidc(OidcFault::MissingScope))
}

/// Why a step did not recognise anybody, though it had something to read.
enum No {
    Rejected(Rejection),
    Unavailable(Unavailable),
}

async fn admit(
    proof: Proof,
    opening: Option<Opening>,
    asked: &Asked<'_>,
    admission: &Admission,
    trail: &mut Trail,
) -> Result<Option<(Identity, Option<Opening>)>, No> {
    match admission.admit(proof, asked, trail).await {
        Ok(admitted) => admitted.map(|identity| Some((identity, opening))).map_err(No::Rejected),
        Err(down) => Err(No::Unavailable(down)),
    }
}

/// Readmits whoever resumes a session, and notes its use.
async fn readmit(resumed: Resumed, asked: &Asked<'_>, admission: &Admission) -> Result<Identity, No> {
    let Resumed { identity, sessions } = resumed;
    admission.readmit(&identity, asked).map_err(No::Rejected)?;
    if let Some(sessions) = sessions
        && !sessions.used(&identity, asked.now).await.map_err(No::Unavailable)?
    {
        return Err(No::Rejected(Rejection::next(Reason::UnknownSession)));
    }
    Ok(identity)
}

/// Writes the line of a step, unless it is a family that has written its own since `lines`. What such a family
/// accepted and admission then refused is corrected, or the audit would tell of a success.
fn write_line(trail: &mut Trail, lines: usize, scheme: &SchemeName, verdict: Verdict, reason: Option<Reason>, since: Duration) {
    let own = trail.steps.get_mut(lines..).unwrap_or_default();
    if own.is_empty() {
        return trail.step(scheme, verdict, reason, since);
    }
    if verdict != Verdict::Authenticated
        && let Some(accepted) = own.iter_mut().rfind(|step| step.verdict == Verdict::Authenticated)
    {
        accepted.verdict = verdict;
        accepted.reason = reason;
    }
}

/// Whose session stepped aside, if one did and it is live.
async fn resumed(aside: &[&Arc<dyn Scheme>], asked: &Asked<'_>, admission: &Admission, trail: &mut Trail) -> Option<Box<Identity>> {
    for scheme in aside {
        match scheme.authenticate(asked, trail).await {
            Ok(Outcome::Resumed(resumed)) => {
                if let Ok(identity) = readmit(*resumed, asked, admission).await {
                    return Some(Box::new(identity));
                }
            }
            Ok(Outcome::NotApplicable | Outcome::Authenticated(_) | Outcome::Opening(..) | Outcome::Rejected(_)) | Err(_) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};
    use crate::fixtures::{self, FakeStore, ada, admission, identity, now, request, session, tenant, trail, user};
    use crate::identity::{Level, User};
    use crate::request::CheckRequest;
    use crate::route::Found;
    use crate::scheme::{Challenge, Proof, Replay, Who};

    /// What a scripted scheme does when it is asked.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Act {
        /// The request has nothing for it.
        Absent,
        NotApplicable,
        Reject(Reach),
        Down,
        /// A proof that is admitted.
        Prove,
        /// A proof of somebody whose account is locked.
        ProveLocked,
        /// A proof that has been used before.
        ProveReplayed,
        /// A live session.
        Resume,
        /// A session of another tenant's user.
        ResumeForeign,
    }

    const ACTS: [Act; 11] = [
        Act::Absent,
        Act::NotApplicable,
        Act::Reject(Reach::Step),
        Act::Reject(Reach::Family),
        Act::Reject(Reach::Chain),
        Act::Down,
        Act::Prove,
        Act::ProveLocked,
        Act::ProveReplayed,
        Act::Resume,
        Act::ResumeForeign,
    ];

    #[derive(Debug)]
    struct Scripted {
        name: SchemeName,
        act: Act,
        explicit: bool,
        /// Lines of a family, written before it answers.
        lines: Vec<(&'static str, Verdict, Option<Reason>)>,
        asked: AtomicUsize,
    }

    #[async_trait]
    impl Scheme for Scripted {
        fn name(&self) -> &SchemeName {
            &self.name
        }

        fn presents(&self, _: &CheckRequest) -> bool {
            self.act != Act::Absent
        }

        fn explicit(&self) -> bool {
            self.explicit
        }

        fn consumes(&self) -> &[Place] {
            &[]
        }

        async fn authenticate(&self, _: &Asked<'_>, trail: &mut Trail) -> Result<Outcome, Unavailable> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            for (name, verdict, reason) in &self.lines {
                let since = trail.mark();
                trail.step(&(*name).into(), *verdict, *reason, since);
            }
            let proof = |user: User, replay| {
                Outcome::Authenticated(Box::new(Proof {
                    tenant: "north".into(),
                    who: Who::User(user.id),
                    scheme: self.name.clone(),
                    issuer: "local".into(),
                    level: Level(10),
                    authenticated_at: now(),
                    replay,
                    attributes: Default::default(),
                    ambient: false,
                }))
            };
            let resumed = |user| {
                let method = self.name.clone();
                let identity = Identity { scheme: method.clone(), method, session: Some(session("s")), ..identity(user) };
                Outcome::Resumed(Box::new(Resumed { identity, sessions: None }))
            };
            match self.act {
                Act::Absent => panic!("asked without material"),
                Act::NotApplicable => Ok(Outcome::NotApplicable),
                Act::Reject(reach) => Ok(Outcome::Rejected(Rejection { reason: Reason::WrongPassword, reach })),
                Act::Down => Err(Unavailable::new(self.name.as_str(), "down")),
                Act::Prove => Ok(proof(ada(), Vec::new())),
                Act::ProveLocked => Ok(proof(locked(), Vec::new())),
                // It is over, so it is refused like one that was seen.
                Act::ProveReplayed => Ok(proof(ada(), vec![Replay::Once { key: Vec::new(), until: now() }])),
                Act::Resume => Ok(resumed(ada())),
                Act::ResumeForeign => Ok(resumed(User { tenant: "south".into(), ..ada() })),
            }
        }

        fn challenge(&self, _: &CheckRequest) -> Option<Challenge> {
            self.explicit.then(|| Challenge { scheme: "Basic", realm: self.name.to_string(), error: None, scope: String::new() })
        }
    }

    fn locked() -> User {
        User { state: crate::identity::AccountState::Locked, ..user("eve", 9) }
    }

    fn step(name: &str, act: Act) -> Scripted {
        Scripted { name: name.into(), act, explicit: true, lines: Vec::new(), asked: AtomicUsize::new(0) }
    }

    fn ambient(name: &str, act: Act) -> Scripted {
        Scripted { explicit: false, ..step(name, act) }
    }

    struct Ran {
        standing: Standing,
        lines: Vec<(String, Verdict, Option<Reason>)>,
        asked: Vec<usize>,
    }

    async fn run(steps: Vec<(Scripted, OnReject)>) -> Ran {
        let steps: Vec<(Arc<Scripted>, OnReject)> = steps.into_iter().map(|(step, on_reject)| (Arc::new(step), on_reject)).collect();
        let links = steps.iter().map(|(step, on_reject)| Link { scheme: step.clone(), on_reject: *on_reject, remember: true });
        let found = Found { tenant: Arc::new(tenant("north", Chain::new(links.collect()))), ..fixtures::found() };
        let request = request("GET", "north.example.com/", &[]);
        let admission = admission(&FakeStore::of([ada(), locked()]));
        let mut trail = trail();
        let standing = found.tenant.chain.run(&Asked { request: &request, found: &found, now: now() }, &admission, &mut trail).await;
        Ran {
            standing,
            lines: trail.steps.into_iter().map(|step| (step.scheme.to_string(), step.verdict, step.reason)).collect(),
            asked: steps.iter().map(|(step, _)| step.asked.load(Ordering::Relaxed)).collect(),
        }
    }

    async fn run_all(steps: Vec<Scripted>) -> Ran {
        run(steps.into_iter().map(|step| (step, OnReject::Continue)).collect()).await
    }

    /// A standing in a few letters.
    fn short(standing: &Standing) -> String {
        match standing {
            Standing::Known { identity, .. } => format!("known by {}", identity.scheme),
            Standing::Nobody { attempted: true } => "nobody, attempted".into(),
            Standing::Nobody { attempted: false } => "nobody".into(),
            Standing::TurnedAway(rejection) => format!("turned away: {:?}", rejection.reason),
            Standing::Undecided(down) => format!("undecided by {}", down.what),
            Standing::Refused(rejection) => format!("refused: {:?}", rejection.reason),
        }
    }

    /// The rules, over one step: what it does to the chain.
    enum Rule {
        On,
        Attempt,
        Down,
        Refuse(Reason),
        Known,
    }

    fn rule(act: Act, on_reject: OnReject) -> Rule {
        let rejected = |reason, reach| match (reach, on_reject) {
            (Reach::Chain, _) | (_, OnReject::Stop) => Rule::Refuse(reason),
            (Reach::Step | Reach::Family, OnReject::Continue) => Rule::Attempt,
        };
        match act {
            Act::Absent | Act::NotApplicable => Rule::On,
            Act::Down => Rule::Down,
            Act::Prove | Act::Resume => Rule::Known,
            Act::Reject(reach) => rejected(Reason::WrongPassword, reach),
            Act::ProveLocked => rejected(Reason::Locked, Reach::Family),
            Act::ProveReplayed => rejected(Reason::Replayed, Reach::Chain),
            Act::ResumeForeign => rejected(Reason::OtherTenant, Reach::Step),
        }
    }

    /// Every outcome × `on_reject` × explicit or ambient, in both positions.
    #[tokio::test]
    async fn two_steps_stand_as_the_rules_say_whatever_they_do() {
        let mut kinds = Vec::new();
        for act in ACTS {
            for on_reject in [OnReject::Continue, OnReject::Stop] {
                kinds.extend([(act, on_reject, true), (act, on_reject, false)]);
            }
        }
        for first in &kinds {
            for second in &kinds {
                let script = [("1", first), ("2", second)];
                let explicit = script.iter().any(|(_, (act, _, explicit))| *explicit && *act != Act::Absent);
                let (mut end, mut attempted, mut down) = (None, false, None);
                let (mut asked, mut reached) = (Vec::new(), 0);
                for (name, (act, on_reject, put)) in script {
                    reached += usize::from(end.is_none());
                    if end.is_some() || *act == Act::Absent || (explicit && !put) {
                        asked.push(0);
                        continue;
                    }
                    asked.push(1);
                    match rule(*act, *on_reject) {
                        Rule::On => {}
                        Rule::Attempt => attempted |= put,
                        Rule::Down => down = down.or(Some(format!("undecided by {name}"))),
                        Rule::Refuse(reason) => end = Some(format!("refused: {reason:?}")),
                        Rule::Known => end = Some(format!("known by {name}")),
                    }
                }
                let nobody = if attempted { "nobody, attempted" } else { "nobody" };
                let expected = end.clone().or(down).unwrap_or_else(|| nobody.to_owned());
                let steps =
                    script.map(|(name, (act, on_reject, explicit))| (Scripted { explicit: *explicit, ..step(name, *act) }, *on_reject));
                let ran = run(steps.into()).await;
                assert_eq!(short(&ran.standing), expected, "{script:?}");
                // A session in front of the success is asked once more: whose it is.
                let aside = matches!(ran.standing, Standing::Known { .. }) && !first.2 && first.0 != Act::Absent && explicit;
                if aside {
                    asked[0] = 1;
                }
                assert_eq!(ran.asked, asked, "{script:?}");
                assert_eq!(ran.lines.len(), reached, "one line per step that was reached: {script:?}");
            }
        }
    }

    #[tokio::test]
    async fn an_empty_chain_knows_nobody() {
        assert_eq!(short(&run(Vec::new()).await.standing), "nobody");
    }

    #[tokio::test]
    async fn the_first_success_wins_and_later_steps_are_not_asked() {
        let ran = run_all(vec![step("a", Act::Reject(Reach::Step)), step("b", Act::Prove), step("c", Act::Reject(Reach::Chain))]).await;
        assert_eq!(short(&ran.standing), "known by b");
        assert_eq!(ran.asked, [1, 1, 0]);
        assert_eq!(ran.lines, [("a".into(), Verdict::Rejected, Some(Reason::WrongPassword)), ("b".into(), Verdict::Authenticated, None),]);
    }

    #[tokio::test]
    async fn an_outage_lets_nobody_in_and_keeps_nobody_out() {
        let ran = run_all(vec![step("a", Act::Down), step("b", Act::Prove)]).await;
        assert_eq!(short(&ran.standing), "known by b");
        let ran = run_all(vec![step("a", Act::Down), step("b", Act::Reject(Reach::Step)), step("c", Act::Down)]).await;
        assert_eq!(short(&ran.standing), "undecided by a");
        assert_eq!(ran.lines[0], ("a".into(), Verdict::Unavailable, Some(Reason::Unavailable)));
        let ran = run_all(vec![step("a", Act::Down), step("b", Act::Reject(Reach::Chain))]).await;
        assert_eq!(short(&ran.standing), "refused: WrongPassword");
    }

    #[tokio::test]
    async fn a_session_that_is_over_is_no_attempt() {
        let ran = run_all(vec![ambient("session", Act::Reject(Reach::Step)), step("basic", Act::Absent)]).await;
        assert_eq!(short(&ran.standing), "nobody");
    }

    #[tokio::test]
    async fn a_session_steps_aside_for_a_credential_wherever_that_stands() {
        for steps in [
            vec![ambient("session", Act::Resume), step("basic", Act::Reject(Reach::Step))],
            vec![step("basic", Act::Reject(Reach::Step)), ambient("session", Act::Resume)],
        ] {
            let ran = run_all(steps).await;
            assert_eq!(short(&ran.standing), "nobody, attempted");
            assert!(ran.lines.contains(&("session".into(), Verdict::Skipped, None)));
        }
        // Not for a certificate, which is always there.
        let ran = run_all(vec![ambient("session", Act::Resume), ambient("certificate", Act::Prove)]).await;
        assert_eq!(short(&ran.standing), "known by session");
    }

    #[tokio::test]
    async fn whose_session_stepped_aside_is_told_with_the_success_that_took_its_place() {
        let aside = |act| async move {
            let steps = vec![ambient("certificate", Act::Prove), ambient("session", act), step("basic", Act::Prove)];
            match run_all(steps).await.standing {
                Standing::Known { identity, aside, remember, opening: _ } => {
                    assert_eq!(identity.scheme.as_str(), "basic");
                    assert!(remember);
                    aside.map(|aside| aside.scheme.to_string())
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(aside(Act::Resume).await.as_deref(), Some("session"));
        for act in [Act::Absent, Act::Reject(Reach::Chain), Act::Down, Act::NotApplicable, Act::ResumeForeign] {
            assert_eq!(aside(act).await, None, "{act:?}");
        }
    }

    #[tokio::test]
    async fn a_family_writes_its_own_lines_and_ends_only_itself() {
        let wrong = Some(Reason::WrongPassword);
        let family = Scripted {
            lines: vec![("ldap", Verdict::Rejected, wrong), ("local", Verdict::Skipped, None)],
            ..step("basic", Act::Reject(Reach::Family))
        };
        let ran = run_all(vec![family, step("saml", Act::Prove)]).await;
        assert_eq!(short(&ran.standing), "known by saml");
        assert_eq!(
            ran.lines,
            [
                ("ldap".into(), Verdict::Rejected, wrong),
                ("local".into(), Verdict::Skipped, None),
                ("saml".into(), Verdict::Authenticated, None),
            ]
        );
    }

    #[tokio::test]
    async fn what_admission_refuses_is_not_left_as_a_success_in_the_trail() {
        let lines = vec![("ldap", Verdict::Rejected, Some(Reason::WrongPassword)), ("local", Verdict::Authenticated, None)];
        let ran = run_all(vec![Scripted { lines, ..step("basic", Act::ProveLocked) }]).await;
        assert_eq!(
            ran.lines,
            [("ldap".into(), Verdict::Rejected, Some(Reason::WrongPassword)), ("local".into(), Verdict::Rejected, Some(Reason::Locked)),]
        );
        let ran = run_all(vec![step("basic", Act::ProveLocked)]).await;
        assert_eq!(ran.lines, [("basic".into(), Verdict::Rejected, Some(Reason::Locked))]);
    }

    #[tokio::test]
    async fn a_store_that_is_down_during_admission_is_an_outage_of_the_step() {
        let scheme = Arc::new(step("basic", Act::Prove));
        let chain = Chain::new(vec![Link { scheme, on_reject: OnReject::Stop, remember: false }]);
        let found = Found { tenant: Arc::new(tenant("north", chain)), ..fixtures::found() };
        let request = request("GET", "north.example.com/", &[]);
        let down = Arc::new(FakeStore { down: true, ..FakeStore::default() });
        let asked = Asked { request: &request, found: &found, now: now() };
        let standing = found.tenant.chain.run(&asked, &admission(&down), &mut trail()).await;
        assert_eq!(short(&standing), "undecided by store");
    }

    #[test]
    fn challenges_come_in_the_order_of_the_chain() {
        let link = |step| Link { scheme: Arc::new(step), on_reject: OnReject::Continue, remember: false };
        let links = [step("a", Act::Absent), ambient("session", Act::Absent), step("b", Act::Absent)].map(link);
        let chain = Chain::new(links.into());
        let challenges = chain.challenges(&request("GET", "north.example.com/", &[]), true);
        let realms: Vec<&str> = challenges.http.iter().map(|challenge| challenge.realm.as_str()).collect();
        assert_eq!(realms, ["a", "b"]);
        assert!(challenges.attempted && !challenges.login);
        assert!(chain.has(&"a".into()) && !chain.has(&"c".into()));
    }

    /// Five steps before the one that answers add at most 25 µs; here the unoptimised code of a test does it in less.
    #[tokio::test]
    async fn steps_that_do_not_apply_are_nearly_free() {
        let cost = async |absent: usize| {
            let links = (0..absent).map(|_| step("absent", Act::Absent)).chain([step("basic", Act::Prove)]);
            let links = links.map(|step| Link { scheme: Arc::new(step), on_reject: OnReject::Continue, remember: false });
            let found = Found { tenant: Arc::new(tenant("north", Chain::new(links.collect()))), ..fixtures::found() };
            let (request, admission) = (request("GET", "north.example.com/", &[]), admission(&FakeStore::of([ada()])));
            let (clock, asked) = (SystemClock::default(), Asked { request: &request, found: &found, now: now() });
            let mut least = Duration::MAX;
            for _ in 0..20 {
                let began = clock.monotonic();
                for _ in 0..100 {
                    let mut trail = trail();
                    let standing = found.tenant.chain.run(&asked, &admission, &mut trail).await;
                    assert!(matches!(standing, Standing::Known { .. }) && trail.steps.len() == absent + 1);
                }
                least = least.min(clock.monotonic().saturating_sub(began) / 100);
            }
            least
        };
        let (alone, sixth) = (cost(0).await, cost(5).await);
        assert!(sixth.saturating_sub(alone) < Duration::from_micros(25), "{alone:?} alone, {sixth:?} as the sixth");
    }
}
