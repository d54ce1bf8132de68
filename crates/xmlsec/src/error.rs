//! What can be wrong with a document, and whose fault it is.

/// Why a document could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not well-formed, or not admitted.
    #[error("{why} at octet {at}")]
    Malformed {
        /// What is wrong.
        why: Malformed,
        /// Where, in octets from the beginning.
        at: usize,
    },
    /// Canonicalization would write more than the limit.
    #[error("the canonical form is longer than {limit} octets")]
    CanonicalTooLong {
        /// The limit.
        limit: usize,
    },
    /// Inclusive canonicalization met a namespace name that is relative (Canonical XML §1.3).
    #[error("a relative namespace name cannot be canonicalized")]
    RelativeNamespace,
}

/// What is wrong with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's text is its documentation")]
pub enum Malformed {
    #[error("the document is longer than the limit")]
    TooLong,
    #[error("the document is UTF-16; only UTF-8 is read here")]
    Utf16,
    #[error("the document is not UTF-8")]
    NotUtf8,
    #[error("the document declares an encoding other than UTF-8")]
    OtherEncoding,
    #[error("the XML declaration is malformed")]
    Declaration,
    #[error("a character that XML does not allow")]
    Character,
    #[error("a document type declaration; none is admitted")]
    Doctype,
    #[error("an entity other than the five predefined ones")]
    Entity,
    #[error("a character reference to something that is no character")]
    CharacterReference,
    #[error("a name is malformed")]
    Name,
    #[error("a name is longer than the limit")]
    NameTooLong,
    #[error("markup is malformed")]
    Markup,
    #[error("the document ends too early")]
    End,
    #[error("an end tag does not match its start tag")]
    Mismatch,
    #[error("content outside the root element")]
    OutsideRoot,
    #[error("no root element")]
    NoRoot,
    #[error("elements are nested deeper than the limit")]
    TooDeep,
    #[error("more nodes than the limit")]
    TooManyNodes,
    #[error("more attributes on one element than the limit")]
    TooManyAttributes,
    #[error("more namespaces in scope than the limit")]
    TooManyNamespaces,
    #[error("a text is longer than the limit")]
    TextTooLong,
    #[error("an attribute occurs twice")]
    DuplicateAttribute,
    #[error("a prefix that is not declared")]
    UndeclaredPrefix,
    #[error("a namespace declaration that Namespaces in XML forbids")]
    ReservedNamespace,
    #[error("`]]>` in text")]
    CdataEnd,
    #[error("`--` in a comment")]
    CommentDashes,
    #[error("a processing instruction called xml")]
    ReservedTarget,
}
