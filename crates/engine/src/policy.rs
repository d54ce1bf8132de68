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

mod compile;
mod reads;
mod slice;
#[cfg(test)]
mod tests;
mod words;

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::decision::Permits;
use crate::identity::{Identity, PolicyId, ResponseName};
use crate::request::CheckRequest;
use crate::route::Found;

pub use compile::PolicyProblem;
use reads::Part;
pub use slice::Decisions;
use slice::{Question, Slice};
pub use words::SCHEMA;

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
            Guard::Slice(slice) => slice.reads.contains(Part::Operation),
        }
    }

    /// Every response that some permit names.
    pub fn responses(&self) -> impl Iterator<Item = &ResponseName> {
        let rules = match &self.0 {
            Guard::Nobody | Guard::AnyUser(_) => &[][..],
            Guard::Slice(slice) => &slice.rules,
        };
        rules.iter().flat_map(|rule| &rule.responses)
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
