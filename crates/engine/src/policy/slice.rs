//! The policies of one route, and what they said before.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use cedar_policy::{Authorizer, Context, Decision, Entities, Entity, PolicySet, Request, RestrictedExpression};
use jiff::tz::TimeZone;
use quick_cache::sync::Cache;

use super::Verdict;
use super::reads::{Part, Reads};
use super::words::{WORDS, uid};
use crate::clock::Timestamp;
use crate::decision::Permits;
use crate::identity::{Identity, PolicyId, ResponseName};
use crate::request::CheckRequest;
use crate::route::Found;
use crate::store::name;

/// Decisions already made, for all slices of an engine together, so that memory does not grow with routes.
pub struct Decisions(pub(super) Cache<Box<[u8]>, Verdict>);

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

pub(super) struct Slice {
    pub(super) number: u64,
    pub(super) policies: PolicySet,
    /// In file order. A policy's id within `policies` is its place here.
    pub(super) rules: Vec<Rule>,
    pub(super) reads: Reads,
    pub(super) decisions: Arc<Decisions>,
}

pub(super) struct Rule {
    pub(super) id: PolicyId,
    pub(super) responses: Vec<ResponseName>,
}

pub(super) struct Question<'a> {
    pub(super) identity: &'a Identity,
    pub(super) request: &'a CheckRequest,
    pub(super) found: &'a Found,
    pub(super) operation: Option<&'a str>,
    pub(super) now: Timestamp,
}

impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.rules.iter().map(|rule| &rule.id)).finish()
    }
}

impl Slice {
    pub(super) fn check(&self, question: &Question<'_>) -> Verdict {
        if self.reads.contains(Part::Context) {
            return self.evaluate(question);
        }
        let key = self.key(question);
        if let Some(verdict) = self.decisions.0.get(&*key) {
            return verdict;
        }
        let verdict = self.evaluate(question);
        // An error is made anew each time, so that each is logged.
        if !matches!(verdict, Verdict::Error(_)) {
            self.decisions.0.insert(key.into(), verdict.clone());
        }
        verdict
    }

    /// Everything this slice reads and nothing else, or the same decision would be kept once for each route, path and user.
    /// The number of the slice stands for the engine's generation and for what is read; whatever changes of a user
    /// changes a part, so that its epoch need not be one.
    fn key(&self, question: &Question<'_>) -> Vec<u8> {
        let Question { identity, request, found, operation, now: _ } = question;
        let user = &identity.user;
        let number = self.number.to_be_bytes();
        let groups = u64::try_from(user.groups.len()).unwrap_or(u64::MAX).to_be_bytes();
        let level = [identity.level.0];
        let mut parts: smallvec::SmallVec<[&[u8]; 32]> = smallvec::SmallVec::new();
        parts.push(&number);
        for part in self.reads.parts() {
            match part {
                Part::User => parts.push(user.id.0.as_bytes()),
                Part::Name => parts.push(user.name.as_str().as_bytes()),
                Part::Profile => parts.push(user.profile.as_str().as_bytes()),
                Part::Email => parts.extend(optional(user.email.as_deref())),
                Part::Groups => {
                    parts.push(&groups);
                    parts.extend(user.groups.iter().map(|group| group.as_str().as_bytes()));
                }
                Part::Scheme => parts.push(identity.scheme.as_str().as_bytes()),
                Part::Method => parts.push(identity.method.as_str().as_bytes()),
                Part::Level => parts.push(&level),
                Part::Tenant => parts.push(found.tenant.id.as_str().as_bytes()),
                Part::Route => parts.push(found.route.name.as_str().as_bytes()),
                Part::Host => parts.push(request.host.name().as_bytes()),
                Part::Path => parts.push(request.target.path().as_bytes()),
                Part::Operation => parts.extend(optional(*operation)),
                Part::Action => parts.push(request.method.as_str().as_bytes()),
                // What reads it is not remembered.
                Part::Context => {}
            }
        }
        name(&parts)
    }

    pub(super) fn evaluate(&self, question: &Question<'_>) -> Verdict {
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
        let context = if reads.contains(Part::Context) { self.circumstances()? } else { Context::empty() };

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

/// A text that may be absent, so that none is not the empty one.
fn optional(text: Option<&str>) -> [&[u8]; 2] {
    match text {
        Some(text) => [b"+", text.as_bytes()],
        None => [b"-", b""],
    }
}

/// The place of a rule, from its id within a slice's policy set.
pub(super) fn place_of(id: &cedar_policy::PolicyId) -> Option<usize> {
    let id: &str = id.as_ref();
    id.parse().ok()
}
