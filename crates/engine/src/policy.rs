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
    Authorizer, Context, Decision, Effect, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request, RestrictedExpression,
    Schema, ValidationMode, Validator,
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

    /// Whether a decision depends on the SOAP operation, so that the door has to read it in the body.
    pub fn reads_operation(&self) -> bool {
        match &self.0 {
            Guard::Nobody | Guard::AnyUser(_) => false,
            Guard::Slice(slice) => slice.reads.operation,
        }
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
            let mut found: Vec<_> =
                parsed.policies().map(|policy| (policy.as_ref().loc().map_or(0, |place| place.start()), policy)).collect();
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
                        complain(
                            format!("users are not named `{id}` here but by their number"),
                            Some("write `principal.name == \"…\"` to mean a name"),
                        );
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
        for (id, mut detail) in errors.chain(warnings) {
            // Its id within the set says nothing to the reader; the place does.
            if let Some(message) = detail.message.strip_prefix(&format!("for policy `{id}`, ")) {
                detail.message = message.to_owned();
            }
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
        let (request, entities) = match question.put(self.reads) {
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
    fn put(&self, reads: Reads) -> Result<(Request, Entities), String> {
        let Self { identity, request, found, operation, now: _ } = self;
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
        // Reading an address costs more than most policies.
        let context = if reads.context { self.circumstances()? } else { Context::empty() };

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

    fn circumstances(&self) -> Result<Context, String> {
        let zoned = self.now.to_zoned(TimeZone::UTC);
        // A dual-stack socket writes IPv4 addresses as IPv6; a forbid of 10.0.0.0/8 must meet them all the same.
        let client = self.request.client.address.to_canonical().to_string();
        let long = RestrictedExpression::new_long;
        Context::from_pairs([
            ("time".to_owned(), long(self.now.as_second())),
            ("hour".to_owned(), long(zoned.hour().into())),
            ("weekday".to_owned(), long(zoned.weekday().to_monday_one_offset().into())),
            ("client".to_owned(), RestrictedExpression::new_ip(client)),
        ])
        .map_err(|error| error.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, ada, found, from, identity, request};
    use crate::identity::{GroupName, Level};

    fn files(texts: &[&str]) -> Vec<(String, String)> {
        texts.iter().enumerate().map(|(number, text)| (format!("{number}.cedar"), (*text).to_owned())).collect()
    }

    fn try_compile(texts: &[&str]) -> Result<Policy, Vec<PolicyProblem>> {
        let responses = ["a", "b", "c"].map(ResponseName::from);
        Policy::compile(&files(texts), &responses, &Decisions::new(64))
    }

    fn compile(texts: &[&str]) -> Policy {
        try_compile(texts).unwrap()
    }

    fn complaints(texts: &[&str]) -> Vec<(String, usize, usize, String)> {
        let problems = try_compile(texts).err().unwrap_or_default();
        problems.into_iter().map(|problem| (problem.file, problem.line, problem.column, problem.message)).collect()
    }

    fn ask(policy: &Policy, identity: &Identity, request: &CheckRequest) -> Verdict {
        policy.check(identity, request, &found(), None, fixtures::now())
    }

    fn get() -> CheckRequest {
        request("GET", "north.example.com/orders/7", &[])
    }

    fn allows(policy: &Policy, identity: &Identity, request: &CheckRequest) -> bool {
        matches!(ask(policy, identity, request), Verdict::Allow(_))
    }

    fn allow(policies: &[&str], responses: &[&str]) -> Verdict {
        Verdict::Allow(Permits {
            policies: policies.iter().map(|id| PolicyId::from(*id)).collect(),
            responses: responses.iter().map(|name| ResponseName::from(*name)).collect(),
        })
    }

    fn deny(policies: &[&str]) -> Verdict {
        Verdict::Deny(policies.iter().map(|id| PolicyId::from(*id)).collect())
    }

    fn cached(policy: &Policy) -> usize {
        match &policy.0 {
            Guard::Slice(slice) => slice.decisions.0.len(),
            Guard::Nobody | Guard::AnyUser(_) => 0,
        }
    }

    #[test]
    fn the_schema_is_well_formed() {
        assert!(Words::read().is_ok());
    }

    #[test]
    fn without_a_policy_nobody_passes_and_any_user_must_be_said() {
        let ada = identity(ada());
        assert_eq!(ask(&Policy::default(), &ada, &get()), deny(&[]));
        assert_eq!(ask(&compile(&[]), &ada, &get()), deny(&[]));
        assert_eq!(ask(&Policy::any_user(), &ada, &get()), allow(&["any-user"], &[]));
    }

    #[test]
    fn a_catch_all_permits_every_identity_of_the_tenant_and_of_no_other() {
        let policy = compile(&[r#"@id("all") permit(principal, action, resource);"#]);
        assert_eq!(ask(&policy, &identity(ada()), &get()), allow(&["all"], &[]));
        let foreigner = identity(crate::identity::User { tenant: "south".into(), ..ada() });
        assert_eq!(ask(&policy, &foreigner, &get()), deny(&[]));
        assert_eq!(ask(&Policy::any_user(), &foreigner, &get()), deny(&[]));
    }

    #[test]
    fn every_satisfied_permit_contributes_in_file_order() {
        let policy = compile(&[
            r#"
            @id("z") @response("b a") permit(principal, action, resource);
            @id("no") @response("c") permit(principal, action == Action::"POST", resource);
            @id("y") permit(principal, action in Action::"read", resource);
            "#,
            r#"@id("a") @response("a  c") permit(principal, action, resource);"#,
        ]);
        for _ in 0..2 {
            assert_eq!(ask(&policy, &identity(ada()), &get()), allow(&["z", "y", "a"], &["b", "a", "c"]));
        }
    }

    #[test]
    fn eleven_policies_keep_their_order() {
        let text: String = (0..11).map(|n| format!("@id(\"p{n}\") permit(principal, action, resource);\n")).collect();
        let ids: Vec<String> = (0..11).map(|n| format!("p{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        assert_eq!(ask(&compile(&[&text]), &identity(ada()), &get()), allow(&ids, &[]));
    }

    #[test]
    fn a_forbid_wins_and_is_named() {
        let policy = compile(&[r#"
            @id("all") permit(principal, action, resource);
            @id("read-only") forbid(principal, action in Action::"write", resource);
        "#]);
        assert!(allows(&policy, &identity(ada()), &get()));
        for method in ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "PROPFIND"] {
            assert_eq!(ask(&policy, &identity(ada()), &request(method, "north.example.com/", &[])), deny(&["read-only"]), "{method}");
        }
    }

    #[test]
    fn a_policy_reads_what_the_schema_says() {
        let policy = compile(&[r#"
            @id("all") permit(principal in Group::"staff", action == Action::"POST", resource) when {
                principal.name == "ada" && principal.tenant == "north" && principal.profile == "person" &&
                principal.scheme == "session" && principal.method == "basic" && principal.level >= 10 &&
                principal has email && principal.email == "ada@example.com" &&
                resource.tenant == "north" && resource.route == "app" && resource.host == "north.example.com" &&
                resource.method == "POST" && resource.path like "/orders/*" &&
                resource has operation && resource.operation == "Order"
            };
        "#]);
        let mut ada = identity(crate::identity::User { email: Some("ada@example.com".into()), ..ada() });
        ada.scheme = "session".into();
        let post = request("POST", "north.example.com:8443/orders/7", &[]);
        let ask = |identity: &Identity, operation| policy.check(identity, &post, &found(), operation, fixtures::now());
        assert_eq!(ask(&ada, Some("Order")), allow(&["all"], &[]));
        assert_eq!(ask(&ada, Some("Refund")), deny(&[]));
        assert_eq!(ask(&ada, None), deny(&[]));
        ada.level = Level(9);
        assert_eq!(ask(&ada, Some("Order")), deny(&[]));
    }

    #[test]
    fn a_user_may_be_named_by_number_only() {
        let number = fixtures::user("x", 1).id.to_string();
        let policy = compile(&[&format!(r#"@id("ada") permit(principal == User::"{number}", action, resource);"#)]);
        assert!(allows(&policy, &identity(ada()), &get()));
        assert!(!allows(&policy, &identity(fixtures::user("bob", 2)), &get()));
        let found = complaints(&[r#"@id("ada") forbid(principal == User::"ada", action, resource);"#]);
        assert_eq!(found, [("0.cedar".into(), 1, 1, "users are not named `ada` here but by their number".into())]);
    }

    #[test]
    fn problems_are_reported_with_file_line_and_column() {
        let good = "@id(\"x\")\npermit(principal, action, resource);\n";
        let all = "permit(principal, action, resource);";
        let cases: [(&[&str], &str, usize, usize, &str); 12] = [
            (&[good, "\n\npermit(principal, action);"], "1.cedar", 3, 25, "missing the `resource`"),
            (
                &["@id(\"a\") permit(principal, action, resource)\nwhen { principal.nmae == \"x\" };"],
                "0.cedar",
                2,
                8,
                "attribute `nmae` on entity type `User` not found",
            ),
            (
                &["@id(\"a\") permit(principal, action, resource)\nwhen {\n  principal.level == \"x\" };"],
                "0.cedar",
                3,
                3,
                "the types Long and String are not compatible",
            ),
            (&["@id(\"a\")\n permit(principal, action == Action::\"FETCH\", resource);"], "0.cedar", 2, 30, "FETCH"),
            (&["@id(\"a\") permit(principal, action, resource) when { false };"], "0.cedar", 1, 1, "policy is impossible"),
            (&["@id(\"a\") permit(principal, action, resource) when { ip(\"1.2.3\").isIpv4() };"], "0.cedar", 1, 53, "extension"),
            (&["\n  permit(principal, action, resource);"], "0.cedar", 2, 3, "this policy has no `@id`"),
            (&["@id(\"a b\") permit(principal, action, resource);"], "0.cedar", 1, 1, "an `@id` is at most"),
            (
                &[good, "\n\n@id(\"x\") forbid(principal, action, resource);"],
                "1.cedar",
                3,
                1,
                "the id `x` is already that of the policy at 0.cedar:1",
            ),
            (&["@id(\"a\")\n@response(\"a d\") permit(principal, action, resource);"], "0.cedar", 1, 1, "there is no response `d`"),
            (
                &["@id(\"a\") @respons(\"a\") permit(principal, action, resource);"],
                "0.cedar",
                1,
                1,
                "nobody reads the annotation `@respons`",
            ),
            (&["@id(\"a\") permit(principal == ?principal, action, resource);"], "0.cedar", 1, 1, "slot"),
        ];
        for (texts, file, line, column, message) in cases {
            let found = complaints(texts);
            let hit =
                found.iter().any(|at| at.0 == file && at.1 == line && at.2 == column && at.3.contains(message) && !at.3.contains("`0`"));
            assert!(hit, "{texts:?} gave {found:?}");
        }
        assert_eq!(complaints(&[&format!("@id(\"a\") @response(\"\") {all}")]).len(), 1);
        assert_eq!(complaints(&["@id(\"a\") @response(\"a\") forbid(principal, action, resource);"]).len(), 1);
    }

    #[test]
    fn all_problems_are_reported_at_once_in_file_order() {
        let found = complaints(&[
            "permit(principal, action, resource);\npermit(principal, action, resource);",
            "permit(;",
            "@id(\"\") permit(principal, action, resource);",
        ]);
        let places: Vec<_> = found.iter().map(|(file, line, ..)| (file.as_str(), *line)).collect();
        assert_eq!(places, [("0.cedar", 1), ("0.cedar", 2), ("1.cedar", 1), ("2.cedar", 1)]);
    }

    #[test]
    fn time_is_in_the_context_and_never_cached() {
        let policy = compile(&[r#"
            @id("night") permit(principal, action, resource)
            when { context.hour == 23 && context.weekday == 5 && context.time < 1234567891 };
        "#]);
        let ask = |second| policy.check(&identity(ada()), &get(), &found(), None, Timestamp::from_second(second).unwrap());
        assert_eq!(ask(fixtures::NOW), allow(&["night"], &[]));
        assert_eq!(ask(fixtures::NOW + 1), deny(&[]));
        assert_eq!(ask(fixtures::NOW - 3600), deny(&[]));
        assert_eq!(cached(&policy), 0);
    }

    #[test]
    fn the_client_address_is_in_the_context_in_its_plain_form() {
        let policy = compile(&[r#"
            @id("all") permit(principal, action, resource);
            @id("lab") forbid(principal, action, resource) when { context.client.isInRange(ip("10.0.0.0/8")) };
        "#]);
        for (address, verdict) in [
            ("192.0.2.1", allow(&["all"], &[])),
            ("10.1.2.3", deny(&["lab"])),
            ("::ffff:10.1.2.3", deny(&["lab"])),
            ("2001:db8::1", allow(&["all"], &[])),
        ] {
            assert_eq!(ask(&policy, &identity(ada()), &from(address, get())), verdict, "{address}");
        }
        assert_eq!(cached(&policy), 0);
    }

    #[test]
    fn a_policy_that_cannot_be_evaluated_denies_whatever_the_others_say() {
        let policy = compile(&[r#"
            @id("all") permit(principal, action, resource);
            @id("overflow") forbid(principal, action, resource) when { principal.level + 9223372036854775807 == 0 };
        "#]);
        for _ in 0..2 {
            assert_eq!(ask(&policy, &identity(ada()), &get()), Verdict::Error(vec!["overflow".into()]));
        }
        assert_eq!(cached(&policy), 0);
        // A level of 0 does not overflow.
        let mut zero = identity(ada());
        zero.level = Level(0);
        assert!(allows(&policy, &zero, &get()));
    }

    #[test]
    fn a_decision_is_remembered_for_exactly_this_identity_and_request() {
        let policy = compile(&[r#"@id("all") permit(principal, action, resource) when { resource.path like "/*" };"#]);
        let ada = identity(fixtures::ada());
        assert!(allows(&policy, &ada, &get()));
        assert!(allows(&policy, &ada, &get()));
        assert_eq!(cached(&policy), 1);
        let changed = |change: &dyn Fn(&mut crate::identity::User)| {
            let mut user = fixtures::ada();
            change(&mut user);
            identity(user)
        };
        let mut others = vec![
            changed(&|user| user.epoch += 1),
            changed(&|user| user.groups.push(GroupName::from("x"))),
            changed(&|user| user.groups.clear()),
            changed(&|user| user.email = Some(String::new())),
            changed(&|user| user.email = Some("-".into())),
            changed(&|user| user.profile = "clerk".into()),
            changed(&|user| user.name = fixtures::user("bob", 1).name),
            changed(&|user| user.id = fixtures::user("ada", 2).id),
        ];
        others.extend([ada.clone(), ada.clone(), ada.clone()]);
        let last = others.len();
        others[last - 1].level = Level(11);
        others[last - 2].scheme = "session".into();
        others[last - 3].method = "saml".into();
        for (number, other) in others.iter().enumerate() {
            assert!(allows(&policy, other, &get()));
            assert_eq!(cached(&policy), 2 + number);
        }
        let before = cached(&policy);
        for other in [request("HEAD", "north.example.com/orders/7", &[]), request("GET", "north.example.com/orders/8", &[])] {
            assert!(allows(&policy, &ada, &other));
        }
        assert_eq!(cached(&policy), before + 2);
        // Nothing in this slice reads the host.
        assert!(allows(&policy, &ada, &request("GET", "other.example.com/orders/7", &[])));
        assert_eq!(cached(&policy), before + 2);
    }

    #[test]
    fn a_change_of_epoch_or_groups_is_seen_at_once() {
        let policy = compile(&[r#"@id("staff") permit(principal in Group::"staff", action, resource);"#]);
        assert!(allows(&policy, &identity(ada()), &get()));
        assert!(!allows(&policy, &identity(crate::identity::User { groups: Vec::new(), ..ada() }), &get()));
        assert!(!allows(&policy, &identity(crate::identity::User { groups: Vec::new(), epoch: 2, ..ada() }), &get()));
        assert!(allows(&policy, &identity(ada()), &get()));
    }

    #[test]
    fn slices_share_the_memory_and_never_a_decision() {
        let decisions = Decisions::new(64);
        let slice = |effect: &str| {
            let text = format!("@id(\"it\") {effect}(principal, action, resource);");
            Policy::compile(&files(&[&text]), &[], &decisions).unwrap()
        };
        let (permit, forbid) = (slice("permit"), slice("forbid"));
        for _ in 0..2 {
            assert!(allows(&permit, &identity(ada()), &get()));
            assert_eq!(ask(&forbid, &identity(ada()), &get()), deny(&["it"]));
        }
        assert_eq!(decisions.0.len(), 2);
    }

    #[test]
    fn what_a_slice_reads_is_found_wherever_it_stands() {
        let reads = |condition: &str| {
            let policy = compile(&[&format!("@id(\"x\") permit(principal, action, resource) unless {{ {condition} }};")]);
            match policy.0 {
                Guard::Slice(slice) => slice.reads,
                Guard::Nobody | Guard::AnyUser(_) => panic!("a slice"),
            }
        };
        assert_eq!(reads(r#"principal.name == "context""#), Reads::default());
        assert_eq!(
            reads(r#"if principal.level > 3 then [1, context.time].contains(2) else false"#),
            Reads { context: true, ..Reads::default() }
        );
        assert_eq!(reads(r#"["a"].contains(resource["path"])"#), Reads { path: true, ..Reads::default() });
        assert_eq!(reads("resource has operation"), Reads { operation: true, ..Reads::default() });
        assert_eq!(reads(r#"{ a: resource.host }.a like "x*""#), Reads { host: true, ..Reads::default() });
    }
}
