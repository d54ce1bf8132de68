//! What is wrong with the security header of a SOAP message. The words are those of the crate that reads it; the engine
//! knows no XML and only passes them on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! faults {
    ($($(#[$meta:meta])* $variant:ident = $word:literal),+ $(,)?) => {
        /// The first check that a security header failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum SecurityFault { $($(#[$meta])* #[serde(rename = $word)] $variant),+ }

        impl SecurityFault {
            /// Every fault.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its word in the audit.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

faults! {
    /// Not UTF-8.
    Encoding = "encoding",
    /// A document type declaration.
    Dtd = "dtd",
    /// Not well-formed, or a required part is missing or unreadable.
    Malformed = "malformed",
    /// A processing instruction, comment or CDATA section in a credential.
    ForbiddenMarkup = "forbidden_markup",
    /// Too deep, too many, too long.
    Limits = "limits",
    /// Of another version of SOAP or SAML.
    WrongVersion = "wrong_version",
    /// Two of what must be single.
    Ambiguous = "ambiguous",
    /// One id twice in the document.
    DuplicateId = "duplicate_id",
    /// Good perhaps, but its concession is off.
    NotEnabled = "not_enabled",
    /// Nothing in it authenticates anybody.
    NoCredentials = "no_credentials",
    /// An algorithm that is not admitted.
    AlgorithmRefused = "algorithm_refused",
    /// Ciphertext that is not for us, or was changed.
    DecryptionFailed = "decryption_failed",
    /// A reference that is missing, empty, external or leads nowhere.
    ReferenceRefused = "reference_refused",
    /// What has to be signed is not.
    SignatureMissing = "signature_missing",
    /// No signature by the key it names.
    SignatureInvalid = "signature_invalid",
    /// The content is not what was signed.
    DigestMismatch = "digest_mismatch",
    /// Signed by a key that is not trusted.
    UnknownKey = "unknown_key",
    /// The signer's certificate is not, or no longer, valid.
    CertificateExpired = "certificate_expired",
    /// The signature covers something else than what would be read.
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
    /// Another header block for us has to be understood and is not.
    NotUnderstood = "not_understood",
}
