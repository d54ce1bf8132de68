//! What can be wrong with a message, its transport or its making, and whose fault it is.
//!
//! The texts are for an operator's log. A client never sees which step failed; a refusal of a partner's message with its
//! trace of checks is a [`Rejection`](crate::Rejection).

/// Why something could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The document, its signature or its encryption.
    #[error(transparent)]
    Xml(#[from] vestibule_xmlsec::Error),
    /// The binding's envelope: query, form, artifact. The sender's fault.
    #[error("{0}")]
    Binding(BindingFault),
    /// A value we were given to write holds a character that XML 1.0 does not allow. The caller's fault.
    #[error("a value holds a character that XML does not allow")]
    Character,
    /// A message we were asked to make lacks something, or has something that its version cannot say. The caller's fault.
    #[error("this cannot be written: {0}")]
    Unwritable(&'static str),
    /// The metadata do not hold what was asked for.
    #[error("metadata: {0}")]
    Metadata(MetadataFault),
}

impl Error {
    /// One word for programs, from the closed list of [`Reason`](crate::Reason).
    pub fn reason(&self) -> crate::Reason {
        use crate::Reason;
        match self {
            Self::Xml(error) => Reason::of(error),
            Self::Binding(BindingFault::TooLong) => Reason::Limits,
            Self::Binding(BindingFault::Twice(_) | BindingFault::RequestAndResponse) => Reason::Ambiguous,
            Self::Binding(BindingFault::SignatureMissing) => Reason::SignatureMissing,
            Self::Binding(BindingFault::AlgorithmRefused) => Reason::AlgorithmRefused,
            Self::Binding(
                BindingFault::MessageMissing
                | BindingFault::Base64
                | BindingFault::Deflate
                | BindingFault::Encoding
                | BindingFault::RelayState
                | BindingFault::TargetMissing
                | BindingFault::Artifact
                | BindingFault::ArtifactType
                | BindingFault::Location,
            )
            | Self::Character
            | Self::Unwritable(_)
            | Self::Metadata(MetadataFault::Missing(_)) => Reason::Malformed,
            Self::Metadata(MetadataFault::Expired) => Reason::Expired,
        }
    }
}

/// What is wrong with a query, a form or an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's text is its documentation")]
pub enum BindingFault {
    #[error("there is no SAMLRequest, SAMLResponse or SAMLart")]
    MessageMissing,
    #[error("there is a SAMLRequest and a SAMLResponse")]
    RequestAndResponse,
    #[error("the parameter {0} occurs twice or in two spellings")]
    Twice(&'static str),
    #[error("it is longer than the limit")]
    TooLong,
    #[error("it is not base64")]
    Base64,
    #[error("it is not deflated as RFC 1951 says")]
    Deflate,
    #[error("it is not percent-encoded UTF-8, or names an encoding other than DEFLATE")]
    Encoding,
    #[error("the relay state is longer than the limit or holds control characters")]
    RelayState,
    #[error("there is no TARGET")]
    TargetMissing,
    #[error("the artifact has not the length of its type")]
    Artifact,
    #[error("the artifact's type is not known here")]
    ArtifactType,
    #[error("an endpoint is not an absolute URL of http or https")]
    Location,
    #[error("the query is not signed")]
    SignatureMissing,
    #[error("the query's SigAlg is missing or not admitted")]
    AlgorithmRefused,
}

/// What is wrong with metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's text is its documentation")]
pub enum MetadataFault {
    #[error("there is no {0}")]
    Missing(&'static str),
    #[error("they are no longer valid")]
    Expired,
}
