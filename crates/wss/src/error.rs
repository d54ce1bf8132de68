//! What can be wrong with a message that is read or written, and whose fault it is.
//!
//! A refusal of a message's header with its trace of checks is a [`Rejection`](crate::Rejection).

use crate::reason::Reason;

/// Why something could not be read or written. The texts are for an operator's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The document, its signature or its encryption, or a key given by the caller.
    #[error(transparent)]
    Xml(#[from] vestibule_xmlsec::Error),
    /// The envelope.
    #[error(transparent)]
    Soap(#[from] vestibule_soap::Error),
    /// A certificate or revocation list that the caller gave is unreadable.
    #[error("a certificate or revocation list is unreadable")]
    Certificate,
    /// The message already has what would be written.
    #[error("the message has {0} already")]
    RoleConflict(Conflict),
    /// A value that we were given cannot be written: empty, or with a character that XML does not allow.
    #[error("this cannot be written: {0}")]
    Unwritable(&'static str),
    /// A part that should be signed or encrypted is not there.
    #[error("there is no {0}")]
    Missing(&'static str),
}

impl Error {
    /// One word for programs.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Xml(error) => Reason::of(error),
            Self::Soap(error) => Reason::of_soap(error),
            Self::RoleConflict(_) => Reason::Ambiguous,
            Self::Certificate | Self::Unwritable(_) | Self::Missing(_) => Reason::Malformed,
        }
    }
}

/// What stands in the way of writing a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's text is its documentation")]
pub enum Conflict {
    #[error("a header for this role that its sender signed as a whole")]
    SignedHeader,
    #[error("two headers for this role")]
    TwoHeaders,
    #[error("a Timestamp in the header for this role")]
    Timestamp,
    #[error("a token of this kind in the header for this role")]
    Token,
}
