//! Why an OP's answer is not believed: the check that failed, a word for the audit, and what was expected and found.

use crate::jose;

/// What is wrong, in the order of security.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Too long, too many.
    Limits,
    /// Not JSON, not a JWT, or a required part is missing or unreadable.
    Malformed,
    /// Two of what must be single.
    Ambiguous,
    /// No login of this browser is under way that this would answer.
    WrongState,
    /// From another OP than the one that was asked (RFC 9207).
    WrongIssuer,
    /// The OP reports a failure.
    ProviderError,
    /// Another kind of token.
    WrongType,
    /// `none`, a shared secret, or another algorithm than the key's or those configured.
    AlgorithmRefused,
    /// Signed by a key that the OP does not publish.
    UnknownKey,
    /// The signature is not that of the key.
    SignatureInvalid,
    /// For other parties.
    WrongAudience,
    /// An end has passed.
    Expired,
    /// A beginning lies ahead.
    NotYetValid,
    /// Too old though its end has not come, or the user signed in too long ago.
    Stale,
    /// Not for the login that this browser began.
    WrongNonce,
    /// For another access token.
    WrongHash,
    /// About somebody else.
    WrongSubject,
    /// The user did not sign in as was asked.
    WrongContext,
    /// Not about a logout.
    WrongEvent,
    /// It lacks a scope that is demanded.
    MissingScope,
}

/// The first check that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{check}: {detail}")]
pub struct Rejection {
    /// Which check.
    pub check: &'static str,
    /// Why.
    pub reason: Reason,
    /// Expected and found. Holds no token, no code and no subject.
    pub detail: String,
}

impl Rejection {
    pub(crate) fn new(check: &'static str, reason: Reason, detail: impl Into<String>) -> Self {
        Self { check, reason, detail: detail.into() }
    }

    /// What a JWT is refused for.
    pub(crate) fn of_token(error: &jose::Error) -> Self {
        use jose::Error;
        let (check, reason) = match error {
            Error::TooLong => ("size", Reason::Limits),
            Error::Serialization | Error::Encoding | Error::Json => ("form", Reason::Malformed),
            Error::Header(_) => ("header", Reason::Malformed),
            Error::Algorithm => ("algorithm", Reason::AlgorithmRefused),
            Error::Type | Error::Purpose => ("type", Reason::WrongType),
            Error::UnknownKey | Error::Key(_) => ("key", Reason::UnknownKey),
            Error::Signature | Error::Cryptography => ("signature", Reason::SignatureInvalid),
            Error::Claim(_) => ("claims", Reason::Malformed),
            Error::Issuer => ("issuer", Reason::WrongIssuer),
            Error::Audience => ("audience", Reason::WrongAudience),
            Error::Expired => ("expiry", Reason::Expired),
            Error::NotYetValid => ("not before", Reason::NotYetValid),
        };
        Self::new(check, reason, error.to_string())
    }
}

/// What a partner wrote, short enough for a record and without what could forge a line of it.
pub(crate) fn quoted(text: &str) -> String {
    let short: String = text.chars().filter(|c| !c.is_control()).take(MAX_QUOTED).collect();
    format!("{short:?}")
}

/// Characters of a partner's text that stand in a record.
const MAX_QUOTED: usize = 200;
