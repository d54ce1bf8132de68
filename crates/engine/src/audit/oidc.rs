//! Why an answer of an OpenID provider, or of a server that was asked about a token, was refused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The first check that failed, in the order of security.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OidcFault {
    /// Too long, too many.
    Limits,
    /// Not JSON, not a JWT, or a required part is missing or unreadable.
    Malformed,
    /// Two of what must be single.
    Ambiguous,
    /// No login of this browser is under way that this would answer.
    WrongState,
    /// From another provider than the one that was asked.
    WrongIssuer,
    /// The provider reports a failure.
    ProviderError,
    /// Another kind of token.
    WrongType,
    /// `none`, a shared secret, or another algorithm than the key's or those configured.
    AlgorithmRefused,
    /// Signed by a key that the provider does not publish.
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
    /// The server does not know the token, or not any more.
    Inactive,
}
