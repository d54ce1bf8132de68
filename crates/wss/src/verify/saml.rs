//! Assertions as tokens (SAML Token Profile 1.1 §3.5): signed by their issuer or vouched for, and presented by who may.
//!
//! What an attacker tries: an assertion of his own beside the signed one, a stolen one without the key it names, one that was
//! vouched for in another message (attack 61), one for another audience (attack 64). Nothing is read but what was
//! verified at the assertion's own place; its method of confirmation has to hold.

use std::net::IpAddr;

use vestibule_saml as saml;
use vestibule_saml::sp::{AssertionRules, Audiences, Saml11};
use vestibule_saml::{Assertion, Confirmation, ConfirmationMethod};
use vestibule_xmlsec::{KeyId, Profile, SignedElement, Verified};

use super::{Contents, Message, SignedParts};
use crate::header::ClaimedAssertion;
use crate::reason::{Check, Outcome, Reason, Refused, Trace};
use crate::replay::{self, Replay};
use crate::rules::{Concession, Rules, TokenKind, TrustedIssuer};

/// How long a bearer assertion may live: whoever sees it may use it.
const BEARER_LIFETIME: jiff::SignedDuration = jiff::SignedDuration::from_secs(300);

/// How whoever presents an assertion showed that it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Confirmed {
    /// It signed the message with the key that the assertion names.
    HolderOfKey(KeyId),
    /// It holds that key in TLS.
    HolderByTls(KeyId),
    /// An attester signed message and assertion.
    SenderVouches(KeyId),
    /// The peer in TLS is an attester.
    VouchedByTls(KeyId),
    /// It has it.
    Bearer,
}

impl Confirmed {
    /// Whether it was shown with the key of this certificate (DER).
    pub fn is_by(&self, certificate: &[u8]) -> bool {
        match self {
            Self::HolderOfKey(key) | Self::HolderByTls(key) | Self::SenderVouches(key) | Self::VouchedByTls(key) => {
                KeyId::of_certificate(certificate).is_ok_and(|id| id == *key)
            }
            Self::Bearer => false,
        }
    }
}

/// An assertion that counts.
#[derive(Debug)]
pub struct AcceptedAssertion {
    /// The assertion, and who vouches for its content.
    pub assertion: Verified<Assertion>,
    /// How whoever presents it showed that it may.
    pub confirmed: Confirmed,
}

impl AcceptedAssertion {
    /// Whether it has to be remembered until its own end: it may be used once, or with one document.
    pub fn is_remembered(&self) -> bool {
        let one_time = self.assertion.value().conditions.as_ref().is_some_and(|conditions| conditions.one_time_use);
        one_time || matches!(self.confirmed, Confirmed::Bearer | Confirmed::SenderVouches(_))
    }

    pub(super) fn replay(&self, message: &Message, signatures: &[SignedParts], rules: &Rules<'_>) -> Vec<Replay> {
        let assertion = self.assertion.value();
        let once = saml::sp::Once::of(assertion, rules.window.skew);
        let of = |kind| replay::hash(kind, [once.issuer.as_bytes(), once.id.as_bytes(), rules.audience.as_bytes()]);
        let mut conditions = Vec::new();
        let one_time = assertion.conditions.as_ref().is_some_and(|conditions| conditions.one_time_use);
        if one_time || self.confirmed == Confirmed::Bearer {
            conditions.push(Replay::Once { key: of("wss assertion"), until: once.until });
        }
        if let Confirmed::SenderVouches(_) = self.confirmed {
            // Valid with the very document it was bound to (§2.3 of the reference).
            let body = message.envelope().body();
            let digest = signatures.iter().filter(|signature| signature.attester).find_map(|signature| signature.digest(body));
            conditions.extend(digest.map(|digest| Replay::Bound { key: of("wss vouched"), digest, until: once.until }));
        }
        conditions
    }
}

/// The one assertion of a header, and its issuer as far as that is claimed.
pub(super) struct Own<'a> {
    claimed: &'a ClaimedAssertion,
    pub(super) issuer: &'a TrustedIssuer,
    /// What the issuer's own signature covers; `None` where there is none.
    assertion: Option<Verified<Assertion>>,
}

impl Own<'_> {
    /// Certificates of the keys whose holder may present it, as the issuer signed them.
    pub(super) fn holders(&self) -> Vec<Vec<u8>> {
        self.assertion.iter().flat_map(|assertion| holders_of(assertion.value())).cloned().collect()
    }

    /// Whether an attester's signature would matter: it is not signed by its issuer, or says so itself.
    pub(super) fn may_be_vouched_for(&self) -> bool {
        let Some(assertion) = &self.assertion else { return true };
        let mut confirmations = assertion.value().subject.iter().flat_map(|subject| &subject.confirmations);
        confirmations.any(|one| one.method == ConfirmationMethod::SenderVouches)
    }
}

fn holders_of(assertion: &Assertion) -> impl Iterator<Item = &Vec<u8>> {
    let confirmations = assertion.subject.iter().flat_map(|subject| &subject.confirmations);
    confirmations.filter(|one| one.method == ConfirmationMethod::HolderOfKey).flat_map(|one| &one.holder_certificates)
}

/// Finds the assertion and verifies the signature it carries, if it does. Its keys may then verify the message.
pub(super) fn own<'a>(
    message: &Message,
    contents: &'a Contents<'_>,
    rules: &'a Rules<'_>,
    now: jiff::Timestamp,
    trace: &mut Trace,
) -> Result<Option<Own<'a>>, Refused> {
    let (Some(claimed), true) = (contents.assertions.first(), rules.demand.tokens.contains(&TokenKind::Saml)) else { return Ok(None) };
    let Some(issuer) = rules.issuers.iter().find(|issuer| issuer.entity_id == claimed.issuer) else {
        return Err(trace.refuse("assertion", Reason::WrongIssuer, format!("no trusted issuer is called {:?}", claimed.issuer)));
    };
    let mut own = Own { claimed, issuer, assertion: None };
    if claimed.signed {
        let profile = rules.concessions.applied_to(Profile::SAML);
        let verified = message.document().verify(SignedElement::At(&claimed.place), &issuer.keys, &profile);
        let verified = verified.and_then(|element| element.read::<Assertion>());
        let verified = verified.map_err(|error| trace.refuse_xml("assertion", &error))?;
        trace.passed("assertion", "signed by its issuer");
        judge(&verified, issuer, rules, now, trace)?;
        own.assertion = Some(verified);
    }
    Ok(Some(own))
}

/// The assertion, once its message is known.
pub(super) fn confirmed(
    own: Option<Own<'_>>,
    contents: &Contents<'_>,
    signatures: &[SignedParts],
    rules: &Rules<'_>,
    now: jiff::Timestamp,
    trace: &mut Trace,
) -> Result<Option<AcceptedAssertion>, Refused> {
    let Some(own) = own else { return Ok(None) };
    let assertion = match own.assertion {
        Some(assertion) => assertion,
        None => {
            let signed = signatures.iter().find_map(|signature| signature.part(&own.claimed.place).filter(|_| signature.attester));
            let Some(signed) = signed else {
                let why = if signatures.is_empty() { "an assertion that nobody signed" } else { "an assertion outside the signature" };
                let reason = if signatures.is_empty() { Reason::SignatureMissing } else { Reason::PartNotSigned };
                return Err(trace.refuse("assertion", reason, why));
            };
            let verified = signed.read::<Assertion>().map_err(|error| trace.refuse_xml("assertion", &error))?;
            trace.passed("assertion", "covered by an attester's signature");
            judge(&verified, own.issuer, rules, now, trace)?;
            verified
        }
    };
    let name = "confirmation";
    let confirmations = assertion.value().subject.iter().flat_map(|subject| &subject.confirmations);
    let presented = Presented { contents, signatures, rules, issuer: own.issuer, assertion: assertion.value(), now };
    let mut refused: Option<(Reason, String)> = None;
    for confirmation in confirmations {
        match presented.confirm(confirmation) {
            Ok(confirmed) => {
                trace.passed(name, format!("{confirmed:?}"));
                return Ok(Some(AcceptedAssertion { confirmed, assertion }));
            }
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    let (reason, why) = refused.unwrap_or((Reason::NoCredentials, "an assertion without SubjectConfirmation".to_owned()));
    Err(trace.refuse(name, reason, why))
}

/// Issuer, times, audience.
fn judge(
    assertion: &Verified<Assertion>,
    issuer: &TrustedIssuer,
    rules: &Rules<'_>,
    now: jiff::Timestamp,
    trace: &mut Trace,
) -> Result<(), Refused> {
    let saml11 = if rules.concessions.admit(Concession::Saml11) { Saml11::Allowed } else { Saml11::Refused };
    let skew = rules.window.skew;
    let audiences = Audiences::Required;
    let judged = AssertionRules { issuer: &issuer.entity_id, audience: rules.audience, skew, max_age: None, saml11, audiences };
    let judged = judged.judge(assertion, now);
    let converted = |check: saml::Check| Check {
        name: check.name,
        outcome: match check.outcome {
            saml::Outcome::Passed => Outcome::Passed,
            saml::Outcome::Failed(reason) => Outcome::Failed(Reason::of_saml(reason)),
            saml::Outcome::Skipped => Outcome::Skipped,
        },
        detail: check.detail,
    };
    match judged {
        Ok(checks) => {
            trace.0.extend(checks.into_iter().map(converted));
            Ok(())
        }
        Err(rejection) => {
            trace.0.extend(rejection.checks.into_iter().map(converted));
            Err(trace.refuse("assertion", Reason::of_saml(rejection.reason), rejection.detail))
        }
    }
}

struct Presented<'a> {
    contents: &'a Contents<'a>,
    signatures: &'a [SignedParts],
    rules: &'a Rules<'a>,
    issuer: &'a TrustedIssuer,
    assertion: &'a Assertion,
    now: jiff::Timestamp,
}

type Why = (Reason, String);

impl Presented<'_> {
    fn confirm(&self, confirmation: &Confirmation) -> Result<Confirmed, Why> {
        self.check_data(confirmation)?;
        match &confirmation.method {
            ConfirmationMethod::HolderOfKey => self.holder(confirmation),
            ConfirmationMethod::SenderVouches => self.vouched(),
            ConfirmationMethod::Bearer => self.bearer(confirmation),
            ConfirmationMethod::Artifact | ConfirmationMethod::Other(_) => {
                Err((Reason::NotEnabled, "a method of confirmation that is not known here".to_owned()))
            }
        }
    }

    /// SAML core §2.4.1.2.
    fn check_data(&self, confirmation: &Confirmation) -> Result<(), Why> {
        let (now, skew) = (self.now, self.rules.window.skew);
        if let Some(begin) = confirmation.not_before.filter(|begin| begin.duration_since(now) > skew) {
            return Err((Reason::NotYetValid, format!("confirmed from {begin}, now {now}")));
        }
        if let Some(end) = confirmation.not_on_or_after.filter(|end| now.duration_since(*end) >= skew) {
            return Err((Reason::Expired, format!("confirmed until {end}, now {now}")));
        }
        if let Some(recipient) = confirmation.recipient.as_deref()
            && !self.rules.recipients.contains(&recipient)
        {
            return Err((Reason::WrongRecipient, format!("expected {:?}, found {recipient:?}", self.rules.recipients)));
        }
        if let (Some(address), Some(client)) = (confirmation.address.as_deref(), self.rules.channel.client())
            && address.trim().parse::<IpAddr>() != Ok(client)
        {
            return Err((Reason::WrongRecipient, format!("confirmed for the address {address:?}")));
        }
        Ok(())
    }

    fn holder(&self, confirmation: &Confirmation) -> Result<Confirmed, Why> {
        let keys: Vec<KeyId> = confirmation.holder_certificates.iter().filter_map(|der| KeyId::of_certificate(der).ok()).collect();
        if keys.is_empty() {
            return Err((Reason::UnknownKey, "a holder-of-key confirmation without certificate".to_owned()));
        }
        if let Some(signature) = self.signatures.iter().find(|signature| signature.holder && keys.contains(&signature.key)) {
            return Ok(Confirmed::HolderOfKey(signature.key));
        }
        if let Some(key) = self.peer(Concession::HolderOfKeyByTls).filter(|key| keys.contains(key)) {
            return Ok(Confirmed::HolderByTls(key));
        }
        let reason = if self.contents.signatures.is_empty() { Reason::SignatureMissing } else { Reason::UnknownKey };
        Err((reason, "no proof of the key that the assertion names".to_owned()))
    }

    fn vouched(&self) -> Result<Confirmed, Why> {
        if let Some(certificate) = self.rules.channel.certificate()
            && let Some(key) = self.peer(Concession::SenderVouchesByTls)
            && self.issuer.attesters.judge(&[certificate.to_vec()], self.now).is_ok()
        {
            return Ok(Confirmed::VouchedByTls(key));
        }
        if !self.rules.concessions.admit(Concession::SenderVouches) {
            return Err((Reason::NotEnabled, "sender-vouches is not enabled".to_owned()));
        }
        match self.signatures.iter().find(|signature| signature.attester) {
            Some(signature) => Ok(Confirmed::SenderVouches(signature.key)),
            None => Err((Reason::SignatureMissing, "nobody vouches for the assertion".to_owned())),
        }
    }

    fn bearer(&self, confirmation: &Confirmation) -> Result<Confirmed, Why> {
        if !self.rules.concessions.admit(Concession::Bearer) {
            return Err((Reason::NotEnabled, "bearer assertions are not enabled".to_owned()));
        }
        if !self.rules.channel.is_protected() {
            return Err((Reason::NotEnabled, "a bearer assertion over an open channel".to_owned()));
        }
        let conditions = self.assertion.conditions.as_ref().and_then(|conditions| conditions.not_on_or_after);
        let end = [conditions, confirmation.not_on_or_after].into_iter().flatten().min();
        match end {
            Some(end) if end.duration_since(self.assertion.issue_instant) <= BEARER_LIFETIME => Ok(Confirmed::Bearer),
            Some(_) | None => Err((Reason::Stale, format!("a bearer assertion that lives longer than {} s", BEARER_LIFETIME.as_secs()))),
        }
    }

    fn peer(&self, concession: Concession) -> Option<KeyId> {
        let certificate = self.rules.channel.certificate().filter(|_| self.rules.concessions.admit(concession))?;
        KeyId::of_certificate(certificate).ok()
    }
}
