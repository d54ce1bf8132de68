//! What holds for every assertion, wherever it came: issuer, times, audience. Also for tokens of SOAP messages.

use jiff::{SignedDuration, Timestamp};
use vestibule_xmlsec::{Signer, Verified};

use super::{Saml11, TrustedIdp};
use crate::assertion::{Assertion, Version};
use crate::names::name_id;
use crate::reason::{Check, Reason, Rejection, Trace};

/// What an assertion is held against by itself.
#[derive(Debug, Clone, Copy)]
pub struct AssertionRules<'a> {
    /// Who has to have issued it.
    pub issuer: &'a str,
    /// Who has to be among its audiences.
    pub audience: &'a str,
    /// How far clocks may differ.
    pub skew: SignedDuration,
    /// How old it may be, beside `skew`; `None` where it travels for long.
    pub max_age: Option<SignedDuration>,
    /// Whether it may be of SAML 1.1.
    pub saml11: Saml11,
    /// Whether it has to name an audience.
    pub audiences: Audiences,
}

/// Whether an assertion has to say whom it is for. One that does is for nobody else, whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Audiences {
    /// It has to (attack 41).
    Required,
    /// A concession: builders of SAML 1.1 leave it out. The response around it still names its recipient.
    IfNamed,
}

impl<'a> AssertionRules<'a> {
    pub(super) fn of(idp: &'a TrustedIdp, audience: &'a str) -> Self {
        Self { issuer: &idp.entity_id, audience, skew: idp.skew, max_age: Some(idp.max_age), saml11: idp.saml11, audiences: idp.audiences }
    }

    /// Judges a signed assertion that is no login of a browser: confirmation and replay are the caller's.
    ///
    /// # Errors
    /// [`Rejection`].
    pub fn judge(&self, assertion: &Verified<Assertion>, now: Timestamp) -> Result<Vec<Check>, Rejection> {
        let mut trace = Trace::default();
        if assertion.value().version == Version::Saml11 && self.saml11 == Saml11::Refused {
            return Err(trace.refuse("enabled", Reason::NotEnabled, "SAML 1.1 is not enabled for this issuer"));
        }
        check_signer(&mut trace, assertion.signer(), self.issuer);
        self.check(&mut trace, assertion.value(), now);
        trace.verdict()
    }

    pub(super) fn check(&self, trace: &mut Trace, assertion: &Assertion, now: Timestamp) {
        let usual = assertion.issuer_format.as_deref().is_none_or(|format| format == name_id::ENTITY);
        let detail = || {
            let format = if usual { String::new() } else { format!(" of format {:?}", assertion.issuer_format) };
            format!("expected {:?}, found {:?}{format}", self.issuer, assertion.issuer)
        };
        trace.check("issuer", usual && assertion.issuer == self.issuer, Reason::WrongIssuer, detail);

        let Some(conditions) = &assertion.conditions else {
            trace.failed("conditions", Reason::Malformed, "an assertion without Conditions");
            return;
        };
        // Core §2.5.1: with a condition that is not understood, validity is undetermined.
        let detail = if conditions.unknown.is_empty() { String::new() } else { format!("not understood: {:?}", conditions.unknown) };
        trace.check("conditions", conditions.unknown.is_empty(), Reason::Malformed, detail);
        if let Some(begin) = conditions.not_before {
            let holds = begin.duration_since(now) <= self.skew;
            trace.check("not before", holds, Reason::NotYetValid, || clocks(begin, self.skew, now));
        }
        match (conditions.not_on_or_after, conditions.not_before) {
            (Some(end), begin) => {
                check_end(trace, "not on or after", end, self.skew, now);
                let ordered = begin.is_none_or(|begin| begin < end);
                if !ordered {
                    trace.failed("conditions", Reason::Malformed, "an assertion that ends before it begins");
                }
                if begin.is_none() && assertion.version == Version::Saml11 {
                    trace.failed("conditions", Reason::Malformed, "an assertion of SAML 1.1 without NotBefore");
                }
            }
            // 2.0 bounds the confirmation instead; 1.1 has nothing else.
            (None, _) if assertion.version == Version::Saml11 => {
                trace.failed("conditions", Reason::Malformed, "an assertion of SAML 1.1 without NotOnOrAfter");
            }
            (None, _) => trace.skipped("not on or after", "the conditions have no end"),
        }
        self.check_age(trace, assertion, now);

        // Each restriction has to hold; of one, any audience suffices. None at all is an assertion for everybody (attack 41).
        let restrictions = &conditions.audiences;
        let named = !restrictions.is_empty() || self.audiences == Audiences::IfNamed;
        let holds = named && restrictions.iter().all(|any| any.iter().any(|one| one == self.audience));
        let detail = || format!("expected {:?}, found {restrictions:?}", self.audience);
        trace.check("audience", holds, Reason::WrongAudience, detail);
    }

    fn check_age(&self, trace: &mut Trace, assertion: &Assertion, now: Timestamp) {
        let age = now.duration_since(assertion.issue_instant);
        let detail = || format!("issued {}, now {now}", assertion.issue_instant);
        if -age > self.skew {
            trace.failed("age", Reason::NotYetValid, detail);
        } else if self.max_age.is_some_and(|most| age > most.saturating_add(self.skew)) {
            trace.failed("age", Reason::Stale, detail);
        } else {
            trace.passed("age", detail);
        }
    }
}

/// A message that names a peer of a channel has to be of that very peer.
pub(super) fn check_signer(trace: &mut Trace, signer: &Signer, issuer: &str) {
    match signer {
        Signer::Key(key) => trace.passed("signer", || format!("key {key}")),
        Signer::Channel(peer) => {
            let detail = format!("the channel of {:?}, expected {issuer:?}", peer.partner());
            trace.check("signer", peer.partner() == issuer, Reason::WrongIssuer, detail);
        }
    }
}

pub(super) fn check_end(trace: &mut Trace, name: &'static str, end: Timestamp, skew: SignedDuration, now: Timestamp) {
    let holds = now.duration_since(end) < skew;
    trace.check(name, holds, Reason::Expired, || clocks(end, skew, now));
}

fn clocks(bound: Timestamp, skew: SignedDuration, now: Timestamp) -> String {
    format!("bound {bound}, now {now}, skew {} s", skew.as_secs())
}

/// What may happen once: an assertion's use.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Once {
    /// Who issued it; ids of two issuers may be alike.
    pub issuer: String,
    /// Its id.
    pub id: String,
    /// Until when it has to be remembered: nothing accepts it after.
    pub until: Timestamp,
}

impl Once {
    /// Of an assertion, which can be presented until the last of its confirmations ends.
    pub fn of(assertion: &Assertion, skew: SignedDuration) -> Self {
        let conditions = assertion.conditions.as_ref().and_then(|conditions| conditions.not_on_or_after);
        let confirmations = assertion.subject.iter().flat_map(|subject| &subject.confirmations).map(|one| one.not_on_or_after);
        // Without an end it is remembered for as long as times go.
        let last = confirmations.map(|end| end.unwrap_or(Timestamp::MAX)).max().unwrap_or(Timestamp::MAX);
        let end = conditions.map_or(last, |end| end.min(last));
        Self { issuer: assertion.issuer.clone(), id: assertion.id.clone(), until: end.checked_add(skew).unwrap_or(Timestamp::MAX) }
    }
}
