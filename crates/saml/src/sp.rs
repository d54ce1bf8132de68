//! The service provider: from what a browser brought to an assertion that may be believed (SAML profiles §4.1.4.3).
//!
//! The order is that of security: read within limits, find what must be signed by its position, decrypt, verify, and from
//! then on look at signed content only. Values of an unsigned response around a signed assertion can refuse, never admit.

mod received;
mod rules;
mod saml11;

use jiff::{SignedDuration, Timestamp};
use vestibule_xmlsec::{Assertions, DecryptionKeys, Profile, TrustedKeys, Verified};

use received::Means;
pub use received::Received;
pub(crate) use received::decrypted;
pub use rules::{AssertionRules, Audiences, Once};

use crate::assertion::{Assertion, Confirmation, ConfirmationMethod, NameId, Version};
use crate::binding::same_endpoint;
use crate::names::binding;
use crate::protocol::{AuthnRequest, Consumer, Header, LogoutRequest, Response, SessionIndex};
use crate::reason::{Check, Reason, Rejection, Trace};

/// A service provider.
#[derive(Debug)]
pub struct Sp {
    /// Its entity id: the issuer of its requests and the audience it belongs to.
    pub entity_id: String,
    /// The addresses of its assertion consumer, the one now in use and those still in partners' settings.
    pub acs_urls: Vec<String>,
    /// Keys that decrypt what is encrypted to it.
    pub decryption: DecryptionKeys<Assertions>,
}

/// What is known of an identity provider, from metadata and configuration, never from a message.
#[derive(Debug)]
pub struct TrustedIdp {
    /// Its entity id.
    pub entity_id: String,
    /// Keys it signs with.
    pub keys: TrustedKeys,
    /// Algorithms it may use.
    pub profile: Profile,
    /// How far its clock may be off, either way.
    pub skew: SignedDuration,
    /// How old an assertion may be, beside `skew`, whatever it says itself.
    pub max_age: SignedDuration,
    /// What of its messages has to be signed.
    pub demand: Demand,
    /// Whether it may begin a login.
    pub unsolicited: Unsolicited,
    /// Whether it may speak SAML 1.1.
    pub saml11: Saml11,
    /// Whether its assertions have to be for us by name.
    pub audiences: Audiences,
    /// How long ago a user may have signed in there, beside `skew`, where SAML 1.1 says so.
    pub max_authn_age: SignedDuration,
}

impl TrustedIdp {
    /// Clocks may differ by this.
    pub const SKEW: SignedDuration = SignedDuration::from_secs(60);
    /// An assertion is to be presented at once.
    pub const MAX_AGE: SignedDuration = SignedDuration::from_mins(5);
    /// A working day ends.
    pub const MAX_AUTHN_AGE: SignedDuration = SignedDuration::from_hours(8);

    /// An identity provider without any concession.
    pub fn new(entity_id: impl Into<String>, keys: TrustedKeys) -> Self {
        Self {
            entity_id: entity_id.into(),
            keys,
            profile: Profile::SAML,
            skew: Self::SKEW,
            max_age: Self::MAX_AGE,
            demand: Demand::Either,
            unsolicited: Unsolicited::Refused,
            saml11: Saml11::Refused,
            audiences: Audiences::Required,
            max_authn_age: Self::MAX_AUTHN_AGE,
        }
    }
}

/// What has to be signed. Whatever is signed beside must be good, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Demand {
    /// The assertion or the response around it.
    Either,
    /// The assertion itself.
    Assertion,
    /// The response.
    Response,
    /// Both.
    Both,
}

/// Whether an identity provider may begin a login (attack 56).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unsolicited {
    /// Only answers to our requests count.
    Refused,
    /// A concession.
    Allowed,
}

/// Whether SAML 1.1 is spoken with a partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Saml11 {
    /// It is not.
    Refused,
    /// A concession.
    Allowed,
}

/// What one message is held against.
#[derive(Debug, Clone, Copy)]
pub struct Expectations<'a> {
    /// Whom it has to come from.
    pub idp: &'a TrustedIdp,
    /// Which requests this browser has open.
    pub requests: Requests<'a>,
    /// The id of the request by which the message was fetched, where an artifact was resolved; `None` for a form.
    pub resolved: Option<&'a str>,
}

/// Which requests an answer may answer.
#[derive(Debug, Clone, Copy)]
pub enum Requests<'a> {
    /// These. None of them open means that only an unsolicited response can be good.
    Open(&'a [&'a str]),
    /// It is not known: for a tool that explains a message found somewhere, never for a login.
    Unknown,
}

/// An assertion that may be believed, once its id was spent in the replay cache.
#[derive(Debug)]
pub struct Accepted {
    /// The assertion, and who vouches for it.
    pub assertion: Verified<Assertion>,
    /// The head of the response around it. Proven only as far as it was signed.
    pub response: Response,
    /// The request it answers; `None` if nobody asked. Spend it.
    pub in_response_to: Option<String>,
    /// What has to be spent before anybody is let in (attack 43).
    pub once: Once,
    /// When the session has to end at the latest.
    pub session_not_on_or_after: Option<Timestamp>,
    /// By how much our clock is ahead of the issuer's, the way of the message included.
    pub measured_skew: SignedDuration,
    /// Every check, in order.
    pub checks: Vec<Check>,
}

impl Sp {
    /// Judges a response as it came: the decoded field of a form, or the SOAP answer to an artifact.
    ///
    /// # Errors
    /// [`Rejection`], with the first check that failed and all that were made.
    pub fn consume(&self, octets: &[u8], expected: &Expectations<'_>, now: Timestamp) -> Result<Accepted, Rejection> {
        self.judge(&Received::read(octets)?, expected, now)
    }

    /// Judges a response that was read before, to find out whom to hold it against.
    ///
    /// # Errors
    /// As [`Sp::consume`].
    pub fn judge(&self, received: &Received, expected: &Expectations<'_>, now: Timestamp) -> Result<Accepted, Rejection> {
        self.judge_into(Trace::default(), received, expected, now)
    }

    /// The same for a login that waits: the checks that hold come without their details, which cost as much as making them.
    ///
    /// # Errors
    /// As [`Sp::consume`].
    pub fn judge_tersely(&self, received: &Received, expected: &Expectations<'_>, now: Timestamp) -> Result<Accepted, Rejection> {
        self.judge_into(Trace::terse(), received, expected, now)
    }

    fn judge_into(
        &self,
        mut trace: Trace,
        received: &Received,
        expected: &Expectations<'_>,
        now: Timestamp,
    ) -> Result<Accepted, Rejection> {
        trace.status = Some(received.response().status.clone()).filter(|status| !status.is_success()).map(Box::new);
        trace.passed("document", || format!("{} octets", received.size()));
        if received.response().version == Version::Saml11 && expected.idp.saml11 == Saml11::Refused {
            return Err(trace.refuse("enabled", Reason::NotEnabled, "SAML 1.1 is not enabled for this identity provider"));
        }
        self.check_claims(&mut trace, received, expected);
        let content = received.verify(trace, Means { idp: expected.idp, decryption: &self.decryption })?;
        let mut trace = content.trace;
        // What is signed of the response counts; what is not has only been able to refuse.
        let signed_response = content.response.as_ref();
        let assertion = content.assertion.value();

        rules::check_signer(&mut trace, content.assertion.signer(), &expected.idp.entity_id);
        AssertionRules::of(expected.idp, &self.entity_id).check(&mut trace, assertion, now);
        if assertion.version == Version::Saml11 {
            saml11::check(&mut trace, signed_response.unwrap_or(received.response()), assertion, expected.idp, now);
        }
        let presented = Presented { expected, claimed: received.response(), signed: signed_response, version: assertion.version, now };
        let in_response_to = self.check_confirmation(&mut trace, assertion, &presented);
        let session_not_on_or_after = check_statements(&mut trace, assertion, expected.idp, now);

        let checks = trace.verdict()?;
        Ok(Accepted {
            once: Once::of(assertion, expected.idp.skew),
            measured_skew: now.duration_since(assertion.issue_instant),
            response: received.response().clone(),
            assertion: content.assertion,
            in_response_to,
            session_not_on_or_after,
            checks,
        })
    }

    /// A request to sign somebody in, for the consumer now in use; the answer is to come by POST. What is wanted beside is the
    /// caller's to set. `id` from [`message_id`](crate::protocol::message_id); remember it until it is answered.
    pub fn authn_request(&self, id: String, destination: &str, now: Timestamp) -> AuthnRequest {
        AuthnRequest {
            header: self.header(id, destination, now),
            consumer: self.acs_urls.first().map_or(Consumer::Default, |url| Consumer::Url(url.clone())),
            protocol_binding: Some(binding::POST.to_owned()),
            force_authn: false,
            is_passive: false,
            name_id_policy: None,
            requested_context: None,
            subject: None,
            provider_name: None,
        }
    }

    /// A request to end sessions of somebody, as a login named them. It counts for as long as a message may be old.
    pub fn logout_request(
        &self,
        id: String,
        destination: &str,
        name_id: NameId,
        session_indexes: Vec<SessionIndex>,
        now: Timestamp,
    ) -> LogoutRequest {
        LogoutRequest {
            header: self.header(id, destination, now),
            name_id,
            session_indexes,
            not_on_or_after: now.checked_add(TrustedIdp::MAX_AGE).ok(),
            reason: Some("urn:oasis:names:tc:SAML:2.0:logout:user".to_owned()),
        }
    }

    fn header(&self, id: String, destination: &str, now: Timestamp) -> Header {
        Header { id, issue_instant: now, destination: Some(destination.to_owned()), issuer: self.entity_id.clone() }
    }

    /// Checks that an unsigned response can only fail.
    fn check_claims(&self, trace: &mut Trace, received: &Received, expected: &Expectations<'_>) {
        let Response { version, stated_version, destination, issuer, status, .. } = received.response();
        let admitted: &[&str] = match version {
            Version::Saml20 => &["2.0"],
            Version::Saml11 => &["1.0", "1.1"],
        };
        let holds = admitted.contains(&stated_version.as_str());
        let detail = || format!("expected {}, found {stated_version:?}", admitted.join(" or "));
        trace.check("version", holds, Reason::WrongVersion, detail);

        match (received.resolution(), expected.resolved) {
            // What was fetched comes in an envelope, and what a browser brings does not.
            (None, asked) if *version == Version::Saml11 => {
                let said = |enveloped| if enveloped { "an envelope" } else { "a bare Response" };
                let detail = format!("expected {}, found {}", said(asked.is_some()), said(received.is_enveloped()));
                trace.check("envelope", asked.is_some() == received.is_enveloped(), Reason::Malformed, detail);
            }
            (None, None) => {}
            (Some(answer), Some(request)) => {
                let found = answer.in_response_to.as_deref();
                trace.check(
                    "resolution",
                    found == Some(request),
                    Reason::WrongInResponseTo,
                    format!("expected {request:?}, found {found:?}"),
                );
                // Attack 39: the responder of one partner must not speak for another.
                let holds = answer.header.issuer == expected.idp.entity_id;
                let detail = format!("expected {:?}, found {:?}", expected.idp.entity_id, answer.header.issuer);
                trace.check("resolution issuer", holds, Reason::WrongIssuer, detail);
                trace.check("resolution status", answer.status.is_success(), Reason::StatusNotSuccess, answer.status.code.clone());
            }
            (None, Some(_)) => trace.failed("resolution", Reason::Malformed, "expected an ArtifactResponse, found a Response"),
            (Some(_), None) => trace.failed("resolution", Reason::Malformed, "expected a Response, found an ArtifactResponse"),
        }
        let codes = || [Some(status.code.as_str()), status.subcode.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" / ");
        trace.check("status", status.is_success(), Reason::StatusNotSuccess, || format!("found {}", codes()));

        if let Some(issuer) = issuer {
            let detail = || format!("expected {:?}, found {issuer:?}", expected.idp.entity_id);
            trace.check("response issuer", *issuer == expected.idp.entity_id, Reason::WrongIssuer, detail);
        }
        let (name, reason) = match version {
            Version::Saml20 => ("destination", Reason::WrongDestination),
            Version::Saml11 => ("recipient", Reason::WrongRecipient),
        };
        match destination {
            Some(destination) => trace.check(name, self.is_ours(destination), reason, || self.beside(destination)),
            // Bindings §3.5.5.2: what is signed as a whole says where it was sent.
            None if received.must_name_destination() => trace.failed(name, reason, self.beside("none")),
            None => trace.skipped(name, "the response names none"),
        }
    }

    /// Whether somebody may present the assertion here and now; gives the request it answers.
    fn check_confirmation(&self, trace: &mut Trace, assertion: &Assertion, presented: &Presented<'_>) -> Option<String> {
        let method = match (assertion.version, presented.expected.resolved) {
            (Version::Saml11, Some(_)) => ConfirmationMethod::Artifact,
            (Version::Saml20, _) | (Version::Saml11, None) => ConfirmationMethod::Bearer,
        };
        let Some(subject) = &assertion.subject else {
            trace.failed("subject", Reason::NoCredentials, "expected a Subject, found none");
            return None;
        };
        trace.passed("subject", subject.name_id.as_ref().map_or("no name", |_| "one name"));
        let (usual, others): (Vec<_>, Vec<_>) = subject.confirmations.iter().partition(|one| one.method == method);
        if usual.is_empty() {
            let found: Vec<_> = others.iter().map(|one| &one.method).collect();
            trace.failed("confirmation", Reason::NoCredentials, format!("expected {method:?}, found {found:?}"));
            return None;
        }
        // Core §2.4.1: any one of them suffices. The first that holds is taken, else the first says why none does.
        let mut first = None;
        for confirmation in usual {
            let mut attempt = trace.apart();
            let answered = self.check_one(&mut attempt, confirmation, presented);
            match attempt.verdict() {
                Ok(checks) => {
                    trace.extend(checks);
                    return answered;
                }
                Err(rejection) => first = first.or(Some(rejection)),
            }
        }
        trace.extend(first.map(|rejection| rejection.checks).unwrap_or_default());
        None
    }

    fn check_one(&self, trace: &mut Trace, confirmation: &Confirmation, presented: &Presented<'_>) -> Option<String> {
        let Presented { expected, claimed, signed: response, version, now } = *presented;
        let skew = expected.idp.skew;
        let signed_request = response.and_then(|response| response.in_response_to.clone());
        match version {
            Version::Saml20 => {
                // Profiles §4.1.4.2: Recipient must be our consumer, or an assertion stolen elsewhere works here too.
                let recipient = confirmation.recipient.as_deref();
                let holds = recipient.is_some_and(|recipient| self.is_ours(recipient));
                trace.check("recipient", holds, Reason::WrongRecipient, || self.beside(recipient.unwrap_or("none")));
                match confirmation.not_on_or_after {
                    Some(end) => rules::check_end(trace, "confirmation time", end, skew, now),
                    None => trace.failed("confirmation time", Reason::Malformed, "a bearer confirmation without NotOnOrAfter"),
                }
                if let Some(begin) = confirmation.not_before {
                    trace.failed("confirmation begin", Reason::Malformed, format!("a bearer confirmation with NotBefore {begin}"));
                }
            }
            // 1.1 has no data here; the signed response, which must be there, names the recipient.
            Version::Saml11 => match (response, expected.resolved) {
                (Some(Response { destination: Some(_), .. }), _) | (_, Some(_)) => trace.passed("confirmation", "by the response"),
                (_, None) => trace.failed("recipient", Reason::WrongRecipient, self.beside("none")),
            },
        }
        // Attack 40: an unsigned response around the assertion cannot make it the answer to a request.
        let answered = confirmation.in_response_to.clone().or_else(|| signed_request.clone());
        if let (Some(inner), Some(outer)) = (&confirmation.in_response_to, &claimed.in_response_to)
            && inner != outer
        {
            trace.failed("in response to", Reason::WrongInResponseTo, format!("the assertion answers {inner:?}, the response {outer:?}"));
        }
        if expected.resolved.is_some() && version == Version::Saml11 {
            let (holds, request) = (answered.as_deref() == expected.resolved, expected.resolved);
            trace.check(
                "resolution",
                holds || answered.is_none(),
                Reason::WrongInResponseTo,
                format!("expected {request:?}, found {answered:?}"),
            );
            return None;
        }
        match (&answered, expected.requests) {
            (Some(_), Requests::Unknown) => trace.skipped("in response to", "the open requests are not known"),
            (Some(answered), Requests::Open(open)) => {
                let holds = open.contains(&answered.as_str());
                let detail = || format!("expected one of {open:?}, found {answered:?}");
                trace.check("in response to", holds, Reason::WrongInResponseTo, detail);
            }
            // SAML 1.1 has no requests; that it is enabled is the concession.
            (None, Requests::Open(_) | Requests::Unknown) => {
                let allowed = expected.idp.unsolicited == Unsolicited::Allowed || version == Version::Saml11;
                trace.check("in response to", allowed, Reason::Unsolicited, "the answer to no request");
            }
        }
        answered
    }

    fn is_ours(&self, location: &str) -> bool {
        self.acs_urls.iter().any(|own| same_endpoint(own, location))
    }

    fn beside(&self, found: &str) -> String {
        format!("expected {}, found {found:?}", self.acs_urls.join(" or "))
    }
}

/// What surrounds a confirmation.
#[derive(Clone, Copy)]
struct Presented<'a> {
    expected: &'a Expectations<'a>,
    /// The head of the response, which can only refuse.
    claimed: &'a Response,
    /// The same, if a signature covers it.
    signed: Option<&'a Response>,
    version: Version,
    now: Timestamp,
}

/// Whether the subject signed in, and until when that may count.
fn check_statements(trace: &mut Trace, assertion: &Assertion, idp: &TrustedIdp, now: Timestamp) -> Option<Timestamp> {
    if assertion.authn.is_empty() {
        trace.failed("authentication", Reason::NoCredentials, "expected an AuthnStatement, found none");
    }
    for statement in &assertion.authn {
        let ahead = statement.instant.duration_since(now);
        let detail = || format!("signed in at {}, now {now}", statement.instant);
        trace.check("authentication", ahead <= idp.skew, Reason::NotYetValid, detail);
    }
    let end = assertion.authn.iter().filter_map(|statement| statement.session_not_on_or_after).min();
    if let Some(end) = end {
        rules::check_end(trace, "session time", end, idp.skew, now);
    }
    end
}
