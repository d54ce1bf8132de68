//! What is wrong with a SOAP message. The texts are for an operator's log.

use crate::envelope::Version;

/// Why a message could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no admitted XML, or an element is not where it has to be.
    #[error(transparent)]
    Xml(#[from] vestibule_xmlsec::Error),
    /// The root element is no envelope.
    #[error("not a SOAP message")]
    NotSoap,
    /// An envelope of a version that does not exist: to be answered with `VersionMismatch`.
    #[error("an envelope of an unknown SOAP version")]
    UnknownVersion,
    /// The transport says another version than the envelope.
    #[error("{envelope:?} in a message whose media type says otherwise")]
    VersionsDiffer {
        /// What the envelope says.
        envelope: Version,
    },
    /// The media type is malformed, or none that carries SOAP.
    #[error("not a media type of SOAP")]
    MediaType,
    /// A `SOAPAction` that is no quoted URI, or too long.
    #[error("a SOAPAction that is malformed")]
    SoapAction,
    /// Two declarations of the action that differ (attack 67).
    #[error("the declared actions differ: {one:?} and {other:?}")]
    ActionsDiffer {
        /// One, cut to a sane length.
        one: String,
        /// Another.
        other: String,
    },
    /// The parts of the message are malformed.
    #[error("malformed multipart message: {0}")]
    Multipart(MultipartFault),
}

impl Error {
    /// One word for programs, from the same closed list as those of the core.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Xml(error) => error.reason(),
            Self::UnknownVersion | Self::VersionsDiffer { .. } => "wrong_version",
            Self::Multipart(fault) => fault.reason(),
            Self::NotSoap | Self::MediaType | Self::SoapAction | Self::ActionsDiffer { .. } => "malformed",
        }
    }
}

/// What is wrong with the parts of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's text is its documentation")]
pub enum MultipartFault {
    #[error("no boundary, or one that RFC 2046 does not allow")]
    Boundary,
    #[error("it does not begin and end with its boundary")]
    Frame,
    #[error("more parts than the limit")]
    TooManyParts,
    #[error("the headers of a part are longer than the limit")]
    HeadersTooLong,
    #[error("a header of a part is malformed, or there twice")]
    Header,
    #[error("a transfer encoding that is not known here, or was not kept")]
    TransferEncoding,
    #[error("a Content-ID occurs twice")]
    DuplicateId,
    #[error("the first part is not the root that the message names")]
    Root,
    #[error("a reference to something that is no part of the message")]
    Reference,
    #[error("an inclusion that is not alone in its element")]
    Inclusion,
    #[error("a part that nothing refers to")]
    Unreferenced,
    #[error("more inclusions than the limit, or more octets in them")]
    TooLong,
}

impl MultipartFault {
    fn reason(self) -> &'static str {
        match self {
            Self::TooManyParts | Self::HeadersTooLong | Self::TooLong => "limits",
            Self::Reference => "reference_refused",
            Self::Boundary
            | Self::Frame
            | Self::Header
            | Self::TransferEncoding
            | Self::DuplicateId
            | Self::Root
            | Self::Inclusion
            | Self::Unreferenced => "malformed",
        }
    }
}

/// What a sender wrote, cut to what a log line can bear.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}
