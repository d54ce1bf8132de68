//! From policy files to a slice: every finding in Cedar's own words, with its place.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Effect, PolicySet, ValidationMode, Validator};

use super::reads::Reads;
use super::slice::{Decisions, Rule, Slice, place_of};
use super::words::WORDS;
use crate::identity::{PolicyId, ResponseName};

/// The annotations a policy may carry. A misspelt one would silently drop a response, so others are refused.
const ANNOTATIONS: [&str; 3] = ["id", "response", "description"];
/// Longest `@id`, in octets.
const MAX_ID: usize = 128;

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

impl Slice {
    pub(super) fn compile(
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
