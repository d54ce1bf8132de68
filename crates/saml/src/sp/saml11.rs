//! What SAML 1.1 leaves to the destination site (1.1 bindings §4.1; 1.1 core §2).
//!
//! No request stands behind a response, so that everything hangs on its being fresh: how old response, login and assertion
//! may be is bounded here, whatever the issuer says. A name must be there: a subject that only a confirmation identifies is
//! nobody.

use jiff::{SignedDuration, Timestamp};

use super::TrustedIdp;
use crate::assertion::Assertion;
use crate::protocol::Response;
use crate::reason::{Reason, Trace};
use crate::time::is_space;

/// Longest time between the bounds of an assertion.
const LONGEST_WINDOW: SignedDuration = SignedDuration::from_mins(60);
/// Longest id of an assertion, in octets.
const LONGEST_ID: usize = 256;

pub(super) fn check(trace: &mut Trace, response: &Response, assertion: &Assertion, idp: &TrustedIdp, now: Timestamp) {
    let age = now.duration_since(response.issue_instant);
    let detail = format!("issued {}, now {now}", response.issue_instant);
    if -age > idp.skew {
        trace.failed("response age", Reason::NotYetValid, detail);
    } else {
        trace.check("response age", age <= idp.max_age.saturating_add(idp.skew), Reason::Stale, detail);
    }

    // The standard wants an NCName; builders write UUIDs that begin with a digit.
    let plain = assertion.id.len() <= LONGEST_ID && !assertion.id.contains(is_space);
    trace.check("assertion id", plain, Reason::Malformed, format!("{} octets", assertion.id.len()));

    let named = assertion.name_id().is_some();
    trace.check("name", named, Reason::NoCredentials, if named { "one name" } else { "expected a NameIdentifier, found none" });

    let bounds = assertion.conditions.as_ref().and_then(|conditions| conditions.not_before.zip(conditions.not_on_or_after));
    if let Some((begin, end)) = bounds {
        let detail = format!("from {begin} to {end}, at most {} min", LONGEST_WINDOW.as_mins());
        trace.check("window", end.duration_since(begin) <= LONGEST_WINDOW, Reason::Malformed, detail);
    }

    for statement in &assertion.authn {
        let age = now.duration_since(statement.instant);
        let detail = format!("signed in at {}, now {now}, at most {} min ago", statement.instant, idp.max_authn_age.as_mins());
        trace.check("authentication age", age <= idp.max_authn_age.saturating_add(idp.skew), Reason::Stale, detail);
    }
}
