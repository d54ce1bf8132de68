//! Why a message is refused, in one closed list, what was checked on the way, and the fault that says so.
//!
//! What an attacker tries: to learn from faults which step failed. The reason is for the log; [`Reason::fault`] has a generic
//! answer for everything that depends on keys, passwords or users.

use vestibule_saml as saml;
use vestibule_soap as soap;
use vestibule_xmlsec as xml;

use crate::namespaces::WSSE;

macro_rules! reasons {
    ($($(#[$meta:meta])* $variant:ident = $word:literal),+ $(,)?) => {
        /// The first check that failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$meta])* $variant),+ }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// One word for programs.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

reasons! {
    /// Not UTF-8.
    Encoding = "encoding",
    /// A document type declaration.
    Dtd = "dtd",
    /// Not well-formed, or a required part is missing or unreadable.
    Malformed = "malformed",
    /// A processing instruction inside a value; a comment or CDATA section in one that nothing signs.
    ForbiddenMarkup = "forbidden_markup",
    /// Too deep, too many, too long.
    Limits = "limits",
    /// Of another version of SOAP or of SAML.
    WrongVersion = "wrong_version",
    /// Two of what must be single.
    Ambiguous = "ambiguous",
    /// One id twice in the document.
    DuplicateId = "duplicate_id",
    /// Good perhaps, but its concession is off.
    NotEnabled = "not_enabled",
    /// Nothing here authenticates anybody.
    NoCredentials = "no_credentials",
    /// Signature, digest, transform, encryption or key transport not admitted.
    AlgorithmRefused = "algorithm_refused",
    /// Wrong tag, padding or key. Never told apart.
    DecryptionFailed = "decryption_failed",
    /// A reference that is missing, empty, external or leads nowhere.
    ReferenceRefused = "reference_refused",
    /// What has to be signed is not.
    SignatureMissing = "signature_missing",
    /// The signature is no signature by the key it names.
    SignatureInvalid = "signature_invalid",
    /// The content is not what was signed.
    DigestMismatch = "digest_mismatch",
    /// Signed by a key that is not trusted.
    UnknownKey = "unknown_key",
    /// The signer's certificate is not, or no longer, valid.
    CertificateExpired = "certificate_expired",
    /// The signature is good, but covers something else than what would be read.
    Wrapped = "wrapped",
    /// A required part is not covered, or absent.
    PartNotSigned = "part_not_signed",
    /// From somebody else than a trusted issuer.
    WrongIssuer = "wrong_issuer",
    /// The assertion is for another receiver.
    WrongRecipient = "wrong_recipient",
    /// For other parties.
    WrongAudience = "wrong_audience",
    /// An end has passed.
    Expired = "expired",
    /// A beginning lies ahead.
    NotYetValid = "not_yet_valid",
    /// Too old though nothing says when it ends.
    Stale = "stale",
    /// Seen before. Given by whoever keeps the replay cache, not by this crate.
    Replayed = "replayed",
    /// No such user. Given by whoever knows the users, not by this crate.
    UnknownUser = "unknown_user",
    /// Another password. Given by whoever knows the users, not by this crate.
    WrongPassword = "wrong_password",
}

impl Reason {
    fn of_word(word: &str) -> Self {
        match word {
            // A key that the operator gave and that cannot be used trusts nobody.
            "key" => Self::UnknownKey,
            // What the core calls so is an element that is not where it has to be.
            "assertion_missing" => Self::Malformed,
            _ => Self::ALL.iter().copied().find(|reason| reason.word() == word).unwrap_or(Self::Malformed),
        }
    }

    /// Behind an error of the XML layer.
    pub fn of(error: &xml::Error) -> Self {
        Self::of_word(error.reason())
    }

    /// Behind an error of the SOAP layer.
    pub fn of_soap(error: &soap::Error) -> Self {
        Self::of_word(error.reason())
    }

    /// Behind a refusal of the SAML layer.
    pub fn of_saml(reason: saml::Reason) -> Self {
        Self::of_word(reason.word())
    }

    /// The fault code of SOAP Message Security §12. `specific` tells the sender which step failed; without it everything
    /// that depends on a key, a password or a user has one code (§7).
    pub fn fault(self, specific: bool) -> FaultCode {
        let exact = match self {
            Self::NotEnabled => FaultCode::UnsupportedSecurityToken,
            Self::AlgorithmRefused => FaultCode::UnsupportedAlgorithm,
            Self::Encoding
            | Self::Dtd
            | Self::Malformed
            | Self::ForbiddenMarkup
            | Self::Limits
            | Self::WrongVersion
            | Self::Ambiguous
            | Self::DuplicateId
            | Self::NoCredentials
            | Self::SignatureMissing
            | Self::Wrapped
            | Self::PartNotSigned => FaultCode::InvalidSecurity,
            Self::DecryptionFailed | Self::SignatureInvalid | Self::DigestMismatch => FaultCode::FailedCheck,
            Self::ReferenceRefused => FaultCode::SecurityTokenUnavailable,
            Self::UnknownKey
            | Self::CertificateExpired
            | Self::WrongIssuer
            | Self::WrongRecipient
            | Self::WrongAudience
            | Self::UnknownUser
            | Self::WrongPassword => FaultCode::FailedAuthentication,
            Self::Expired | Self::NotYetValid | Self::Stale | Self::Replayed => FaultCode::MessageExpired,
        };
        match exact {
            FaultCode::FailedCheck | FaultCode::SecurityTokenUnavailable if !specific => FaultCode::FailedAuthentication,
            FaultCode::UnsupportedSecurityToken
            | FaultCode::UnsupportedAlgorithm
            | FaultCode::InvalidSecurity
            | FaultCode::FailedAuthentication
            | FaultCode::FailedCheck
            | FaultCode::SecurityTokenUnavailable
            | FaultCode::MessageExpired => exact,
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// A fault code of SOAP Message Security §12.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the standard")]
pub enum FaultCode {
    UnsupportedSecurityToken,
    UnsupportedAlgorithm,
    InvalidSecurity,
    FailedAuthentication,
    FailedCheck,
    SecurityTokenUnavailable,
    MessageExpired,
}

impl FaultCode {
    /// Its local name in the namespace of WS-Security.
    pub fn local(self) -> &'static str {
        match self {
            Self::UnsupportedSecurityToken => "UnsupportedSecurityToken",
            Self::UnsupportedAlgorithm => "UnsupportedAlgorithm",
            Self::InvalidSecurity => "InvalidSecurity",
            Self::FailedAuthentication => "FailedAuthentication",
            Self::FailedCheck => "FailedCheck",
            Self::SecurityTokenUnavailable => "SecurityTokenUnavailable",
            Self::MessageExpired => "MessageExpired",
        }
    }

    /// A sentence that tells the sender nothing more.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::UnsupportedSecurityToken => "token not supported",
            Self::UnsupportedAlgorithm => "algorithm not supported",
            Self::InvalidSecurity => "bad security header",
            Self::FailedAuthentication => "not authenticated",
            Self::FailedCheck => "check failed",
            Self::SecurityTokenUnavailable => "token not available",
            Self::MessageExpired => "message expired",
        }
    }

    /// The fault to answer with.
    pub fn fault(self) -> soap::Fault {
        let mut fault = soap::Fault::new(soap::Code::Sender, self.sentence());
        fault.subcode = soap::QualifiedName::new(WSSE, self.local());
        fault
    }
}

/// How one check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It held.
    Passed,
    /// It did not.
    Failed(Reason),
    /// There was nothing to check, or it is the caller's to check.
    Skipped,
}

/// One check: what was expected and what was found, for an operator. Holds no password, no nonce and no assertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, stable.
    pub name: &'static str,
    /// How it went.
    pub outcome: Outcome,
    /// Expected and found.
    pub detail: String,
}

/// A refusal, with every check that was made up to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Rejection {
    /// The check that failed.
    pub reason: Reason,
    /// Expected and found.
    pub detail: String,
    /// Every check, in order; the last one failed.
    pub checks: Vec<Check>,
}

/// Checks as they are made.
#[derive(Debug, Default)]
pub(crate) struct Trace(pub(crate) Vec<Check>);

impl Trace {
    pub(crate) fn passed(&mut self, name: &'static str, detail: impl Into<String>) {
        self.0.push(Check { name, outcome: Outcome::Passed, detail: detail.into() });
    }

    pub(crate) fn skipped(&mut self, name: &'static str, detail: impl Into<String>) {
        self.0.push(Check { name, outcome: Outcome::Skipped, detail: detail.into() });
    }

    /// Notes a check, and refuses if it does not hold.
    pub(crate) fn demand(&mut self, name: &'static str, holds: bool, reason: Reason, detail: impl Into<String>) -> Result<(), Refused> {
        let detail = detail.into();
        if holds {
            self.passed(name, detail);
            Ok(())
        } else {
            Err(self.refuse(name, reason, detail))
        }
    }

    pub(crate) fn refuse(&mut self, name: &'static str, reason: Reason, detail: impl Into<String>) -> Refused {
        self.0.push(Check { name, outcome: Outcome::Failed(reason), detail: detail.into() });
        Refused
    }

    pub(crate) fn refuse_xml(&mut self, name: &'static str, error: &xml::Error) -> Refused {
        self.refuse(name, Reason::of(error), error.to_string())
    }

    /// The refusal that the last check is.
    pub(crate) fn rejection(self, Refused: Refused) -> Rejection {
        let last = self.0.iter().rev().find_map(|check| match check.outcome {
            Outcome::Failed(reason) => Some((reason, check.detail.clone())),
            Outcome::Passed | Outcome::Skipped => None,
        });
        // INVARIANT: `Refused` is made only beside a failed check.
        let (reason, detail) = last.unwrap_or((Reason::Malformed, String::new()));
        Rejection { reason, detail, checks: self.0 }
    }
}

/// A failed check stands in the trace.
#[derive(Debug)]
pub(crate) struct Refused;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_known_below_and_above() {
        for (place, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::of_word(reason.word()), *reason);
            assert!(Reason::ALL.iter().skip(place + 1).all(|other| other.word() != reason.word()));
        }
        assert_eq!(Reason::of(&xml::Error::SignatureMissing), Reason::SignatureMissing);
        assert_eq!(Reason::of_saml(saml::Reason::WrongAudience), Reason::WrongAudience);
    }

    #[test]
    fn generic_faults_tell_no_step_from_another() {
        let secrets = [
            Reason::DecryptionFailed,
            Reason::SignatureInvalid,
            Reason::DigestMismatch,
            Reason::ReferenceRefused,
            Reason::UnknownKey,
            Reason::UnknownUser,
            Reason::WrongPassword,
        ];
        for reason in secrets {
            assert_eq!(reason.fault(false), FaultCode::FailedAuthentication, "{reason}");
        }
        assert_eq!(Reason::DigestMismatch.fault(true), FaultCode::FailedCheck);
        let written = FaultCode::MessageExpired.fault().write(soap::Version::Soap12);
        assert!(written.contains("MessageExpired") && written.contains(WSSE));
    }
}
