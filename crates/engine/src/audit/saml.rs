//! Why a SAML message was refused, in the words that `vestibule saml inspect` says too.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The first check of a SAML message that failed, in the order of security.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SamlFault {
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
