//! Why a partner's message is refused, in one closed list, and what was checked on the way.

use vestibule_xmlsec as xml;

use crate::protocol::Status;

/// The first check that failed, in the order of security.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Not UTF-8.
    Encoding,
    /// A document type declaration.
    Dtd,
    /// Not well-formed, or a required part is missing or unreadable.
    Malformed,
    /// A processing instruction inside a value, or a comment where nothing is signed.
    ForbiddenMarkup,
    /// Too deep, too many, too long.
    Limits,
    /// The message is of another version.
    WrongVersion,
    /// Two of what must be single.
    Ambiguous,
    /// One id twice in the document.
    DuplicateId,
    /// Good perhaps, but its setting is off for this partner.
    NotEnabled,
    /// Nothing here authenticates anybody: no subject, no statement, no confirmation that counts.
    NoCredentials,
    /// Signature, digest, transform, encryption or key transport not admitted.
    AlgorithmRefused,
    /// Wrong tag, padding or key. Never told apart outside.
    DecryptionFailed,
    /// A reference that is missing, empty, external or leads nowhere.
    ReferenceRefused,
    /// What has to be signed is not.
    SignatureMissing,
    /// The signature is no signature by a trusted key.
    SignatureInvalid,
    /// The content is not what was signed.
    DigestMismatch,
    /// Signed by a key that is not trusted.
    UnknownKey,
    /// The signature is good, but covers something else than what would be read.
    Wrapped,
    /// The partner reports a failure.
    StatusNotSuccess,
    /// There is no assertion.
    AssertionMissing,
    /// From somebody else than the partner expected.
    WrongIssuer,
    /// Sent to another address.
    WrongDestination,
    /// The assertion is for another consumer.
    WrongRecipient,
    /// The answer to a request that is not open here.
    WrongInResponseTo,
    /// An answer that nobody asked for.
    Unsolicited,
    /// For other parties.
    WrongAudience,
    /// An end has passed.
    Expired,
    /// A beginning lies ahead.
    NotYetValid,
    /// Too old though nothing says when it ends.
    Stale,
    /// Seen before. Given by whoever keeps the replay cache, not by this crate.
    Replayed,
    /// The requester asks to be answered at a place its metadata do not name.
    UnknownEndpoint,
    /// The requester asks for something that is not offered.
    Unsupported,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 32] = [
        Self::Encoding,
        Self::Dtd,
        Self::Malformed,
        Self::ForbiddenMarkup,
        Self::Limits,
        Self::WrongVersion,
        Self::Ambiguous,
        Self::DuplicateId,
        Self::NotEnabled,
        Self::NoCredentials,
        Self::AlgorithmRefused,
        Self::DecryptionFailed,
        Self::ReferenceRefused,
        Self::SignatureMissing,
        Self::SignatureInvalid,
        Self::DigestMismatch,
        Self::UnknownKey,
        Self::Wrapped,
        Self::StatusNotSuccess,
        Self::AssertionMissing,
        Self::WrongIssuer,
        Self::WrongDestination,
        Self::WrongRecipient,
        Self::WrongInResponseTo,
        Self::Unsolicited,
        Self::WrongAudience,
        Self::Expired,
        Self::NotYetValid,
        Self::Stale,
        Self::Replayed,
        Self::UnknownEndpoint,
        Self::Unsupported,
    ];

    /// One word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Encoding => "encoding",
            Self::Dtd => "dtd",
            Self::Malformed => "malformed",
            Self::ForbiddenMarkup => "forbidden_markup",
            Self::Limits => "limits",
            Self::WrongVersion => "wrong_version",
            Self::Ambiguous => "ambiguous",
            Self::DuplicateId => "duplicate_id",
            Self::NotEnabled => "not_enabled",
            Self::NoCredentials => "no_credentials",
            Self::AlgorithmRefused => "algorithm_refused",
            Self::DecryptionFailed => "decryption_failed",
            Self::ReferenceRefused => "reference_refused",
            Self::SignatureMissing => "signature_missing",
            Self::SignatureInvalid => "signature_invalid",
            Self::DigestMismatch => "digest_mismatch",
            Self::UnknownKey => "unknown_key",
            Self::Wrapped => "wrapped",
            Self::StatusNotSuccess => "status_not_success",
            Self::AssertionMissing => "assertion_missing",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongDestination => "wrong_destination",
            Self::WrongRecipient => "wrong_recipient",
            Self::WrongInResponseTo => "wrong_in_response_to",
            Self::Unsolicited => "unsolicited",
            Self::WrongAudience => "wrong_audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Stale => "stale",
            Self::Replayed => "replayed",
            Self::UnknownEndpoint => "unknown_endpoint",
            Self::Unsupported => "unsupported",
        }
    }

    /// What usually helps: one line for the operator.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Encoding => "The sender must write UTF-8.",
            Self::Dtd => "The sender must leave out the DOCTYPE; none is ever read here.",
            Self::Malformed | Self::ForbiddenMarkup => "Capture the message at the sender and compare it with the check's detail.",
            Self::Limits => "Ask the sender to release fewer attributes or groups.",
            Self::WrongVersion => "The partner is set up for another version of SAML.",
            Self::Ambiguous => "The sender must send one signed assertion and nothing beside it.",
            Self::DuplicateId | Self::Wrapped => "No honest sender makes this; treat it as an attack.",
            Self::NotEnabled => "Enable this kind of message for this partner, or ask the partner for SAML 2.0.",
            Self::NoCredentials => "The partner must send a Subject with a bearer confirmation and an AuthnStatement.",
            Self::AlgorithmRefused => "Let the partner use RSA or ECDSA with SHA-256, exclusive canonicalization, AES-GCM and RSA-OAEP.",
            Self::DecryptionFailed => "The partner encrypts to another certificate: give it our present metadata.",
            Self::ReferenceRefused | Self::SignatureMissing => "The partner must sign the Response or the Assertion by its ID.",
            Self::SignatureInvalid => {
                "Something between the partner and us changed the signed part, or the key is another one of the same name."
            }
            Self::DigestMismatch => "Something between the partner and us changed the message.",
            Self::UnknownKey => {
                "The partner signs with a key that its metadata here do not hold: refresh the metadata from the partner itself."
            }
            Self::StatusNotSuccess => "The partner refused; its own log says why.",
            Self::AssertionMissing => "The partner answered without an assertion; look at its attribute release.",
            Self::WrongIssuer => "The entity id configured for this partner is not the one it sends.",
            Self::WrongDestination | Self::WrongRecipient => {
                "The partner has another assertion consumer URL for us: give it our present metadata."
            }
            Self::WrongInResponseTo => "The login was begun in another browser, or too long ago: begin again.",
            Self::Unsolicited => "Begin the login here, or allow unsolicited responses of this partner.",
            Self::WrongAudience => "The partner has another entity id for us.",
            Self::Expired | Self::NotYetValid | Self::Stale => "Compare the clocks: the detail shows both times.",
            Self::Replayed => "The same message came twice: begin the login again.",
            Self::UnknownEndpoint => "Register the address in the service provider's metadata.",
            Self::Unsupported => "The partner asks for something that is not configured for it.",
        }
    }

    /// The reason behind an error of the XML layer.
    pub fn of(error: &xml::Error) -> Self {
        let word = error.reason();
        // A key that the operator gave and that cannot be used trusts nobody.
        if word == "key" {
            return Self::UnknownKey;
        }
        Self::ALL.into_iter().find(|reason| reason.word() == word).unwrap_or(Self::Malformed)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// How one check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It held.
    Passed,
    /// It did not.
    Failed(Reason),
    /// It could not be made, because an earlier one failed or the caller left it out.
    Skipped,
}

/// One check: what was expected and what was found, for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, stable.
    pub name: &'static str,
    /// How it went.
    pub outcome: Outcome,
    /// Expected and actual. Holds no subject, no attribute and no session index.
    pub detail: String,
}

impl Check {
    /// Whether nothing speaks against the message here.
    pub fn ok(&self) -> bool {
        match self.outcome {
            Outcome::Passed | Outcome::Skipped => true,
            Outcome::Failed(_) => false,
        }
    }
}

/// A refusal, with every check that was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Rejection {
    /// The first check that failed.
    pub reason: Reason,
    /// Its expected and actual.
    pub detail: String,
    /// Every check, in order.
    pub checks: Vec<Check>,
    /// What the partner says went wrong, if it said so. Unproven where the message is not signed.
    pub status: Option<Box<Status>>,
}

/// The checks of one message as they are made. All that can be made are made; the first that fails decides.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    checks: Vec<Check>,
    terse: bool,
    pub(crate) status: Option<Box<Status>>,
}

/// The text of a detail, or what writes it once it is wanted.
pub(crate) trait Detail {
    fn text(self) -> String;
}

impl Detail for &str {
    fn text(self) -> String {
        self.to_owned()
    }
}

impl Detail for String {
    fn text(self) -> String {
        self
    }
}

impl<F: FnOnce() -> String> Detail for F {
    fn text(self) -> String {
        self()
    }
}

impl Trace {
    /// One that keeps no detail of what holds: nobody reads it where a login is let in.
    pub(crate) fn terse() -> Self {
        Self { terse: true, ..Self::default() }
    }

    /// Another one that keeps as much.
    pub(crate) fn apart(&self) -> Self {
        Self { terse: self.terse, ..Self::default() }
    }

    pub(crate) fn passed(&mut self, name: &'static str, detail: impl Detail) {
        self.note(name, Outcome::Passed, detail);
    }

    pub(crate) fn failed(&mut self, name: &'static str, reason: Reason, detail: impl Detail) {
        self.note(name, Outcome::Failed(reason), detail);
    }

    pub(crate) fn skipped(&mut self, name: &'static str, detail: impl Detail) {
        self.note(name, Outcome::Skipped, detail);
    }

    fn note(&mut self, name: &'static str, outcome: Outcome, detail: impl Detail) {
        let kept = match outcome {
            Outcome::Failed(_) => true,
            Outcome::Passed | Outcome::Skipped => !self.terse,
        };
        // What a sender wrote stands in it; an operator's log is not filled by that.
        let mut detail = if kept { detail.text() } else { String::new() };
        if detail.len() > LONGEST_DETAIL
            && let Some((end, _)) = detail.char_indices().nth(LONGEST_DETAIL)
        {
            detail.truncate(end);
        }
        self.checks.push(Check { name, outcome, detail });
    }

    pub(crate) fn check(&mut self, name: &'static str, holds: bool, reason: Reason, detail: impl Detail) {
        if holds { self.passed(name, detail) } else { self.failed(name, reason, detail) }
    }

    /// Takes over checks that were made apart.
    pub(crate) fn extend(&mut self, checks: Vec<Check>) {
        self.checks.extend(checks);
    }

    /// The refusal, if any check failed.
    pub(crate) fn verdict(self) -> Result<Vec<Check>, Rejection> {
        let first = self.checks.iter().find_map(|check| match check.outcome {
            Outcome::Failed(reason) => Some((reason, check.detail.clone())),
            Outcome::Passed | Outcome::Skipped => None,
        });
        match first {
            None => Ok(self.checks),
            Some((reason, detail)) => Err(Rejection { reason, detail, checks: self.checks, status: self.status }),
        }
    }

    /// The refusal where going on is impossible.
    pub(crate) fn refuse(mut self, name: &'static str, reason: Reason, detail: impl Detail) -> Rejection {
        let detail = detail.text();
        self.failed(name, reason, detail.clone());
        match self.verdict() {
            Err(rejection) => rejection,
            // INVARIANT: a failed check was just noted.
            Ok(checks) => Rejection { reason, detail, checks, status: None },
        }
    }
}

/// Characters of a check's detail.
const LONGEST_DETAIL: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own_and_advice() {
        let mut words: Vec<_> = Reason::ALL.iter().map(|reason| reason.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().all(|reason| reason.advice().ends_with('.')));
    }

    #[test]
    fn the_first_check_that_fails_decides_and_details_are_short() {
        let mut trace = Trace::default();
        trace.passed("one", "");
        trace.failed("two", Reason::Expired, "x".repeat(10_000));
        trace.failed("three", Reason::WrongAudience, "");
        let rejection = trace.verdict().unwrap_err();
        assert_eq!((rejection.reason, rejection.checks.len(), rejection.detail.len()), (Reason::Expired, 3, LONGEST_DETAIL));
    }
}
