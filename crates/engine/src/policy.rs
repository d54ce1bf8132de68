//! Policies in Cedar: deny unless permits decide; the permits name their responses.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::decision::Permits;
use crate::identity::{Identity, PolicyId};
use crate::request::CheckRequest;
use crate::route::Found;

/// The compiled policies of one route.
#[derive(Debug, Clone, Default)]
pub struct Policy(Option<Arc<()>>);

/// What a policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Permitted.
    Allow(Permits),
    /// No permit applies (empty), or these forbid.
    Deny(Vec<PolicyId>),
}

impl Policy {
    /// Whether this identity may make this request. `operation` is the SOAP operation, where there is one.
    /// Takes an identity: anonymous has no way to reach a policy.
    pub fn check(&self, identity: &Identity, request: &CheckRequest, found: &Found, operation: Option<&str>, now: Timestamp) -> Verdict {
        let _ = (identity, request, found, operation, now, &self.0);
        todo!()
    }
}
