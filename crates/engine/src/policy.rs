//! Policies in Cedar (<https://docs.cedarpolicy.com>): deny unless permits decide; the permits name their responses.
//!
//! Cedar's cost is linear in the number of policies, so each route has a slice of its own, compiled and
//! validated when the configuration is built. What an attacker tries here: to make a forbid not apply by making
//! it fail (a policy that cannot be evaluated denies), to be let in without being anybody (a policy is asked
//! about an [`Identity`] and nothing less), or to live on a decision made for somebody else or for who they
//! were before (the cache key holds everything a slice can read, length-prefixed).
//!
//! A route without a policy denies everybody: [`Policy::default`]. One that shall be open to every admitted user
//! says so: [`Policy::any_user`].

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use cedar_policy::ffi::DetailedError;
use cedar_policy::{
    Authorizer, Context, Decision, Effect, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression, Schema, ValidationMode, Validator,
};
use http::Method;
use jiff::tz::TimeZone;
use quick_cache::sync::Cache;

use crate::clock::Timestamp;
use crate::decision::Permits;
use crate::identity::{Identity, PolicyId, ResponseName};
use crate::request::CheckRequest;
use crate::route::Found;
use crate::store::digest;

/// The words of a policy. Users are named by their number, which survives renames and is never given twice;
/// a policy that means a name writes `principal.name == "ada"`. Groups are those of the user's own tenant.
///
/// `time` is in seconds since 1970, `hour` is 0–23, `weekday` 1 (Monday) to 7, all UTC.
pub const SCHEMA: &str = r#"
entity Group;
entity User in [Group] = {
    name: String,
    tenant: String,
    profile: String,
    scheme: String,
    method: String,
    level: Long,
    email?: String,
};
entity Resource = {
    tenant: String,
    route: String,
    host: String,
    method: String,
    path: String,
    operation?: String,
};
type Circumstances = { time: Long, hour: Long, weekday: Long, client: ipaddr };

action "read", "write";
action "GET", "HEAD", "OPTIONS", "TRACE" in ["read"]
    appliesTo { principal: User, resource: Resource, context: Circumstances };
action "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OTHER" in ["write"]
    appliesTo { principal: User, resource: Resource, context: Circumstances };
"#;

/// The annotations a policy may carry. A misspelt one would silently drop a response, so others are refused.
const ANNOTATIONS: [&str; 3] = ["id", "response", "description"];
/// Longest `@id`, in octets.
const MAX_ID: usize = 128;

/// The compiled policies of one route. Cheap to clone: routes with the same files may share one.
#[derive(Debug, Clone, Default)]
pub struct Policy(Guard);

#[derive(Debug, Clone, Default)]
enum Guard {
    #[default]
    Nobody,
    AnyUser(Permits),
    Slice(Arc<Slice>),
}

/// What a policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Permitted.
    Allow(Permits),
    /// No permit applies (empty), or these forbid.
    Deny(Vec<PolicyId>),
    /// These could not be evaluated, whatever the others say. Denies: a forbid may be among them.
    Error(Vec<PolicyId>),
}

/// What is wrong with a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyProblem {
    /// The file, as it was labelled.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// Decisions already made, for all slices of an engine together, so that memory does not grow with routes.
pub struct Decisions(Cache<[u8; 32], Verdict>);

impl Decisions {
    /// How many decisions one engine remembers.
    pub const DEFAULT: usize = 16 * 1024;

    /// Room for `most` decisions.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self(Cache::new(most)))
    }
}

impl fmt::Debug for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decisions({} of {})", self.0.len(), self.0.capacity())
    }
}

impl Policy {
    /// Permits every admitted identity; the permit is called `any-user` in the audit. Used only where the
    /// configuration says so in as many words.
    pub fn any_user() -> Self {
        let policies = Arc::from([PolicyId::from("any-user")]);
        Self(Guard::AnyUser(Permits { policies, responses: Arc::default() }))
    }

    /// Compiles the policies of one route from its files, each a label (its path) and a text, in order.
    ///
    /// # Errors
    /// Everything that is wrong, in file order: syntax, the validator's findings against [`SCHEMA`], a missing, doubled
    /// or unusable `@id`, an `@response` that is not in `known_responses`, an annotation nobody reads.
    pub fn compile(
        files: &[(String, String)],
        known_responses: &[ResponseName],
        decisions: &Arc<Decisions>,
    ) -> Result<Self, Vec<PolicyProblem>> {
        Slice::compile(files, known_responses, decisions).map(|slice| Self(Guard::Slice(Arc::new(slice))))
    }

    /// Whether this identity may make this request. `operation` is the SOAP operation, where there is one.
    /// Takes an identity: anonymous has no way to reach a policy.
    pub fn check(&self, identity: &Identity, request: &CheckRequest, found: &Found, operation: Option<&str>, now: Timestamp) -> Verdict {
        // Admission holds this already; nobody's rights reach into another tenant even if it should not.
        if *identity.tenant() != found.tenant.id {
            return Verdict::Deny(Vec::new());
        }
        match &self.0 {
            Guard::Nobody => Verdict::Deny(Vec::new()),
            Guard::AnyUser(permits) => Verdict::Allow(permits.clone()),
            Guard::Slice(slice) => slice.check(&Question { identity, request, found, operation, now }),
        }
    }
}

struct Slice {
    number: u64,
    policies: PolicySet,
    /// In file order. A policy's id within `policies` is its place here.
    rules: Vec<Rule>,
    reads: Reads,
    decisions: Arc<Decisions>,
}

struct Rule {
    id: PolicyId,
    responses: Vec<ResponseName>,
}

/// What a slice reads beside identity, method, tenant and route, over-approximated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reads {
    /// Time or address: no decision can be kept.
    context: bool,
    path: bool,
    host: bool,
    operation: bool,
}

struct Question<'a> {
    identity: &'a Identity,
    request: &'a CheckRequest,
    found: &'a Found,
    operation: Option<&'a str>,
    now: Timestamp,
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.rules.iter().map(|rule| &rule.id)).finish()
    }
}

impl Slice {
    fn compile(
        files: &[(String, String)],
        known_responses: &[ResponseName],
        decisions: &Arc<Decisions>,
    ) -> Result<Self, Vec<PolicyProblem>> {
        let mut problems = Vec::new();
        let mut policies = PolicySet::new();
        let mut rules = Vec::new();
        // Where each rule stands: its file, and its first octet.
        let mut places: Vec<(&(String, String), usize)> = Vec::new();
        let mut ids: HashMap<PolicyId, usize> = HashMap::new();
        let mut reads = Reads::default();

        for file in files {
            let parsed: PolicySet = match file.1.parse() {
                Ok(parsed) => parsed,
                Err(errors) => {
                    let errors: &cedar_policy::ParseErrors = &errors;
                    problems.extend(errors.iter().map(|error| finding(file, 0, &DetailedError::from(error))));
                    continue;
                }
            };
            for template in parsed.templates() {
                let at = template.as_ref().loc().map_or(0, |place| place.start());
                problems.push(problem(file, at, "a policy has no `?principal` and no `?resource` slot", None));
            }
            let mut found: Vec<_> = parsed.policies().map(|policy| (policy.as_ref().loc().map_or(0, |place| place.start()), policy)).collect();
            found.sort_by_key(|(at, _)| *at);
            for (at, policy) in found {
                let mut complain = |message: String, help: Option<&str>| problems.push(problem(file, at, message, help));
                let place = rules.len();
                let id = policy.annotation("id").unwrap_or_default();
                if id.is_empty() {
                    complain("this policy has no `@id`".to_owned(), Some("the audit names policies: write `@id(\"…\")` before it"));
                } else if id.len() > MAX_ID || !id.bytes().all(|octet| octet.is_ascii_graphic()) {
                    complain("an `@id` is at most 128 printable ASCII characters, without spaces".to_owned(), None);
                } else if let Some((file, at)) = ids.insert(id.into(), place).and_then(|first| places.get(first)) {
                    let (line, _) = position(&file.1, *at);
                    complain(format!("the id `{id}` is already that of the policy at {}:{line}", file.0), None);
                }
                for (name, _) in policy.annotations().filter(|(name, _)| !ANNOTATIONS.contains(name)) {
                    complain(format!("nobody reads the annotation `@{name}`"), Some("there are `@id`, `@response` and `@description`"));
                }
                let named = policy.annotation("response");
                let responses: Vec<ResponseName> = named.unwrap_or_default().split_ascii_whitespace().map(Into::into).collect();
                if named.is_some() && responses.is_empty() {
                    complain("this `@response` names no response".to_owned(), None);
                }
                if named.is_some() && policy.effect() == Effect::Forbid {
                    complain("a forbid has no `@response`".to_owned(), Some("only permits add to what the application is told"));
                }
                for response in responses.iter().filter(|response| !known_responses.contains(response)) {
                    complain(format!("there is no response `{response}`"), Some(&known(known_responses)));
                }
                for user in policy.entity_literals().iter().filter(|literal| literal.type_name() == &WORDS.user) {
                    let id: &str = user.id().as_ref();
                    if uuid::Uuid::parse_str(id).is_err() {
                        complain(format!("users are not named `{id}` here but by their number"), Some("write `principal.name == \"…\"` to mean a name"));
                    }
                }
                reads.add(policy);
                let id = id.into();
                // INVARIANT: places are unique, so the set takes every static policy; a refusal is reported all the same.
                if let Err(error) = policies.add(policy.new_id(cedar_policy::PolicyId::new(place.to_string()))) {
                    problems.push(problem(file, at, error.to_string(), None));
                }
                rules.push(Rule { id, responses });
                places.push((file, at));
            }
        }

        let validator = Validator::new(WORDS.schema.clone());
        let result = validator.validate(&policies, ValidationMode::Strict);
        // Warnings are findings, too: a forbid that can never apply is a hole.
        let errors = result.validation_errors().map(|error| (error.policy_id(), DetailedError::from(error)));
        let warnings = result.validation_warnings().map(|warning| (warning.policy_id(), DetailedError::from(warning)));
        for (id, detail) in errors.chain(warnings) {
            if let Some((file, at)) = place_of(id).and_then(|place| places.get(place)) {
                problems.push(finding(file, *at, &detail));
            }
        }
        if !problems.is_empty() {
            let order = |problem: &PolicyProblem| files.iter().position(|file| file.0 == problem.file);
            problems.sort_by_key(|problem| (order(problem), problem.line, problem.column));
            return Err(problems);
        }
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Ok(Self { number, policies, rules, reads, decisions: decisions.clone() })
    }

    fn check(&self, question: &Question<'_>) -> Verdict {
        if self.reads.context {
            return self.evaluate(question);
        }
        let key = self.key(question);
        if let Some(verdict) = self.decisions.0.get(&key) {
            return verdict;
        }
        let verdict = self.evaluate(question);
        // An error is made anew each time, so that each is logged.
        if !matches!(verdict, Verdict::Error(_)) {
            self.decisions.0.insert(key, verdict.clone());
        }
        verdict
    }

    /// Everything this slice can read, save for the context. The number of the slice stands for the engine's
    /// generation and the route's policies; groups and profile may change without the epoch.
    fn key(&self, question: &Question<'_>) -> [u8; 32] {
        let Question { identity, request, found, operation, now: _ } = question;
        let user = &identity.user;
        let number = self.number.to_be_bytes();
        let epoch = user.epoch.to_be_bytes();
        let groups = u64::try_from(user.groups.len()).unwrap_or(u64::MAX).to_be_bytes();
        let level = [identity.level.0];
        let fixed: [&[u8]; 12] = [
            &number,
            found.tenant.id.as_str().as_bytes(),
            found.route.name.as_str().as_bytes(),
            request.method.as_str().as_bytes(),
            user.id.0.as_bytes(),
            &epoch,
            user.name.as_str().as_bytes(),
            user.profile.as_str().as_bytes(),
            identity.scheme.as_str().as_bytes(),
            identity.method.as_str().as_bytes(),
            &level,
            &groups,
        ];
        let mut parts: smallvec::SmallVec<[&[u8]; 32]> = smallvec::SmallVec::new();
        parts.extend(fixed);
        parts.extend(user.groups.iter().map(|group| group.as_str().as_bytes()));
        let optional = [
            user.email.as_deref(),
            operation.filter(|_| self.reads.operation),
            self.reads.path.then(|| request.target.path()),
            self.reads.host.then(|| request.host.name()),
        ];
        for value in optional {
            match value {
                Some(value) => parts.extend([b"+", value.as_bytes()]),
                None => parts.push(b"-"),
            }
        }
        digest(&parts)
    }

    fn evaluate(&self, question: &Question<'_>) -> Verdict {
        let (request, entities) = match question.put() {
            Ok(put) => put,
            Err(error) => {
                tracing::error!(%error, route = %question.found.route.name, "a question could not be put to the policy");
                return Verdict::Error(Vec::new());
            }
        };
        let response = Authorizer::new().is_authorized(&request, &self.policies, &entities);
        let diagnostics = response.diagnostics();
        let mut broken = Vec::new();
        for error in diagnostics.errors() {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(inner) = error;
            let rule = place_of(inner.policy_id()).and_then(|place| self.rules.get(place));
            let id = rule.map_or_else(|| PolicyId::from("?"), |rule| rule.id.clone());
            tracing::error!(policy = %id, error = %inner.inner(), route = %question.found.route.name, "a policy could not be evaluated");
            broken.push(id);
        }
        if !broken.is_empty() {
            return Verdict::Error(broken);
        }
        let mut places: Vec<usize> = diagnostics.reason().filter_map(place_of).collect();
        places.sort_unstable();
        let rules = || places.iter().filter_map(|place| self.rules.get(*place));
        match response.decision() {
            Decision::Deny => Verdict::Deny(rules().map(|rule| rule.id.clone()).collect()),
            Decision::Allow => {
                let mut responses: Vec<ResponseName> = Vec::new();
                for response in rules().flat_map(|rule| &rule.responses) {
                    if !responses.contains(response) {
                        responses.push(response.clone());
                    }
                }
                Verdict::Allow(Permits { policies: rules().map(|rule| rule.id.clone()).collect(), responses: responses.into() })
            }
        }
    }
}

impl Question<'_> {
    /// This question in Cedar's terms: the request and the three entities it speaks of.
    fn put(&self) -> Result<(Request, Entities), String> {
        let Self { identity, request, found, operation, now } = self;
        let user = &identity.user;
        let text = |value: &str| RestrictedExpression::new_string(value.to_owned());

        let mut about: HashMap<String, RestrictedExpression> = HashMap::with_capacity(7);
        about.insert("name".into(), text(user.name.as_str()));
        about.insert("tenant".into(), text(user.tenant.as_str()));
        about.insert("profile".into(), text(user.profile.as_str()));
        about.insert("scheme".into(), text(identity.scheme.as_str()));
        about.insert("method".into(), text(identity.method.as_str()));
        about.insert("level".into(), RestrictedExpression::new_long(identity.level.0.into()));
        about.extend(user.email.as_deref().map(|email| ("email".into(), text(email))));
        let groups = user.groups.iter().map(|group| uid(&WORDS.group, group.as_str())).collect();
        let principal = uid(&WORDS.user, &user.id.to_string());

        let mut wanted: HashMap<String, RestrictedExpression> = HashMap::with_capacity(6);
        wanted.insert("tenant".into(), text(found.tenant.id.as_str()));
        wanted.insert("route".into(), text(found.route.name.as_str()));
        wanted.insert("host".into(), text(request.host.name()));
        wanted.insert("method".into(), text(request.method.as_str()));
        wanted.insert("path".into(), text(request.target.path()));
        wanted.extend(operation.map(|operation| ("operation".into(), text(operation))));
        let resource = uid(&WORDS.resource, found.route.name.as_str());

        let action = WORDS.action(&request.method);
        let zoned = now.to_zoned(TimeZone::UTC);
        // A dual-stack socket writes IPv4 addresses as IPv6; a forbid of 10.0.0.0/8 must meet them all the same.
        let client = request.client.address.to_canonical().to_string();
        let context = Context::from_pairs([
            ("time".to_owned(), RestrictedExpression::new_long(now.as_second())),
            ("hour".to_owned(), RestrictedExpression::new_long(zoned.hour().into())),
            ("weekday".to_owned(), RestrictedExpression::new_long(zoned.weekday().to_monday_one_offset().into())),
            ("client".to_owned(), RestrictedExpression::new_ip(client)),
        ])
        .map_err(|error| error.to_string())?;

        let entities = [
            Entity::new(principal.clone(), about, groups).map_err(|error| error.to_string())?,
            Entity::new(resource.clone(), wanted, HashSet::new()).map_err(|error| error.to_string())?,
            action.clone(),
        ];
        let entities = Entities::from_entities(entities, None).map_err(|error| error.to_string())?;
        // The entities have the schema's shape because they are made above; checking each would double the cost.
        let request = Request::new(principal, action.uid(), resource, context, None).map_err(|error| error.to_string())?;
        Ok((request, entities))
    }
}

impl Reads {
    fn add(&mut self, policy: &cedar_policy::Policy) {
        match policy.to_json() {
            Ok(json) => self.walk(&json),
            Err(_) => *self = Self { context: true, path: true, host: true, operation: true },
        }
    }

    fn walk(&mut self, json: &serde_json::Value) {
        match json {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    match (name.as_str(), value.as_str()) {
                        ("Var", Some("context")) => self.context = true,
                        ("attr", Some("path")) => self.path = true,
                        ("attr", Some("host")) => self.host = true,
                        ("attr", Some("operation")) => self.operation = true,
                        _ => self.walk(value),
                    }
                }
            }
            serde_json::Value::Array(values) => values.iter().for_each(|value| self.walk(value)),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) | serde_json::Value::String(_) => {}
        }
    }
}

/// The schema, and the names made from it once.
struct Words {
    schema: Schema,
    user: EntityTypeName,
    group: EntityTypeName,
    resource: EntityTypeName,
    actions: HashMap<Method, Entity>,
    other: Entity,
}

#[expect(clippy::expect_used, reason = "INVARIANT: the schema is a constant of this file, and a test reads it")]
static WORDS: LazyLock<Words> = LazyLock::new(|| Words::read().expect("the schema is well-formed"));

impl Words {
    fn read() -> Result<Self, String> {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).map_err(|error| error.to_string())?;
        let name = |text: &str| text.parse::<EntityTypeName>().map_err(|error| error.to_string());
        let kind = name("Action")?;
        let action = |method: &str, group: &str| Entity::new_no_attrs(uid(&kind, method), HashSet::from([uid(&kind, group)]));
        let reading = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE];
        let writing = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::CONNECT];
        let reading = reading.into_iter().map(|method| (action(method.as_str(), "read"), method));
        let writing = writing.into_iter().map(|method| (action(method.as_str(), "write"), method));
        Ok(Self {
            schema,
            user: name("User")?,
            group: name("Group")?,
            resource: name("Resource")?,
            actions: reading.chain(writing).map(|(action, method)| (method, action)).collect(),
            other: action("OTHER", "write"),
        })
    }

    /// The action of a method; a method nobody knows is taken to write.
    fn action(&self, method: &Method) -> &Entity {
        self.actions.get(method).unwrap_or(&self.other)
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

/// The place of a rule, from its id within a slice's policy set.
fn place_of(id: &cedar_policy::PolicyId) -> Option<usize> {
    let id: &str = id.as_ref();
    id.parse().ok()
}

fn known(responses: &[ResponseName]) -> String {
    match responses {
        [] => "none are configured".to_owned(),
        names => format!("there are {}", names.iter().map(ResponseName::as_str).collect::<Vec<_>>().join(", ")),
    }
}

/// What Cedar found, at its own place where it names one, else at `at`.
fn finding(file: &(String, String), at: usize, detail: &DetailedError) -> PolicyProblem {
    let at = detail.source_locations.first().map_or(at, |label| label.loc.start);
    problem(file, at, detail.message.as_str(), detail.help.as_deref())
}

fn problem<'a>(file: &(String, String), at: usize, message: impl Into<Cow<'a, str>>, help: Option<&str>) -> PolicyProblem {
    let (line, column) = position(&file.1, at);
    PolicyProblem { file: file.0.clone(), line, column, message: message.into().into_owned(), help: help.map(str::to_owned) }
}

/// Line and column, both from 1, of an octet of `text`.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
