//! What can be wrong with a document, and whose fault it is.
//!
//! The texts are for an operator's log. A client never sees which step failed.

use crate::keys::KeyId;

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
    /// A key given by the caller cannot be used. The operator's fault, not the message's.
    #[error("a key cannot be used: {0}")]
    Key(KeyFault),
    /// The element that had to be signed is not where it has to be.
    #[error("no {0} where one must stand")]
    ElementMissing(String),
    /// Two of what must be single.
    #[error("more than one {0} where one must stand")]
    Ambiguous(String),
    /// The element carries no signature.
    #[error("the element is not signed")]
    SignatureMissing,
    /// One id twice in the document.
    #[error("the id {id:?} occurs again at octet {at}")]
    DuplicateId {
        /// The id.
        id: String,
        /// Where the second one stands.
        at: usize,
    },
    /// The signature is not written as the schema and the profile demand.
    #[error("the signature is malformed at octet {at}: {why}")]
    SignatureMalformed {
        /// What is wrong.
        why: SignatureFault,
        /// Where.
        at: usize,
    },
    /// An algorithm the profile does not admit.
    #[error("{role} {uri:?} is not admitted")]
    AlgorithmRefused {
        /// Which algorithm.
        role: Role,
        /// Its identifier, cut to a sane length.
        uri: String,
    },
    /// A reference that leads nowhere, or out of the document.
    #[error("the reference {:?} is refused: {why}", uri.as_deref().unwrap_or("none"))]
    ReferenceRefused {
        /// The URI, cut to a sane length; `None` where the attribute is absent.
        uri: Option<String>,
        /// Why.
        why: ReferenceFault,
    },
    /// No trusted key made this signature, and it names another one.
    #[error("signed by a key that is not trusted (seen: {}; trusted: {})", Listed(seen), Listed(trusted))]
    UnknownKey {
        /// Keys of the certificates that the message carries.
        seen: Vec<KeyId>,
        /// What the caller trusts.
        trusted: Vec<KeyId>,
    },
    /// No trusted key can be used with the signature's algorithm under this profile.
    #[error("no trusted key is of the type and size that {uri} needs")]
    KeyRefused {
        /// The signature method.
        uri: &'static str,
        /// What the caller trusts.
        trusted: Vec<KeyId>,
    },
    /// `SignatureValue` is not a signature over `SignedInfo` by a trusted key.
    #[error("the signature over SignedInfo is wrong (trusted: {})", Listed(trusted))]
    SignatureInvalid {
        /// What the caller trusts.
        trusted: Vec<KeyId>,
    },
    /// What is referenced is not what was signed.
    #[error("the digest of {uri:?} differs: signed {signed}, computed {computed}")]
    DigestMismatch {
        /// The reference.
        uri: String,
        /// The signed digest, base64.
        signed: String,
        /// The digest of what stands there, base64.
        computed: String,
    },
    /// The signature is good, but covers something else than the element that carries it (attacks 1, 9, 14).
    #[error("the signature covers another element, {covered:?}")]
    Wrapped {
        /// The id it covers.
        covered: String,
    },
    /// Octets that a detached signature covers hold no message.
    #[error("the signed octets hold no message")]
    DetachedContent,
    /// Encrypted content is not written as the schema demands. Nothing was decrypted.
    #[error("the encrypted content is malformed at octet {at}: {why}")]
    EncryptionMalformed {
        /// What is wrong.
        why: EncryptionFault,
        /// Where.
        at: usize,
    },
    /// A wrong key, tag or padding, or a plaintext that is no content: never told apart, not even here (attack 47).
    #[error("the ciphertext could not be decrypted")]
    DecryptionFailed,
    /// A processing instruction, or where nothing is signed a comment or CDATA section, inside a value (attack 13).
    #[error("markup inside a value at octet {at}")]
    ForbiddenMarkup {
        /// Where.
        at: usize,
    },
    /// The element is not what the reader expects.
    #[error("{what} at octet {at}")]
    Unreadable {
        /// What is missing or wrong.
        what: &'static str,
        /// Where the element begins.
        at: usize,
    },
}

impl Error {
    /// One word for programs, from the closed list of the fixtures.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed { why, .. } => why.reason(),
            Self::CanonicalTooLong { .. } => "limits",
            Self::RelativeNamespace | Self::SignatureMalformed { .. } | Self::DetachedContent | Self::Unreadable { .. } => "malformed",
            Self::EncryptionMalformed { why, .. } => why.reason(),
            Self::DecryptionFailed => "decryption_failed",
            Self::Key(_) => "key",
            Self::ElementMissing(_) => "assertion_missing",
            Self::Ambiguous(_) => "ambiguous",
            Self::SignatureMissing => "signature_missing",
            Self::DuplicateId { .. } => "duplicate_id",
            Self::AlgorithmRefused { .. } | Self::KeyRefused { .. } => "algorithm_refused",
            Self::ReferenceRefused { .. } => "reference_refused",
            Self::UnknownKey { .. } => "unknown_key",
            Self::SignatureInvalid { .. } => "signature_invalid",
            Self::DigestMismatch { .. } => "digest_mismatch",
            Self::Wrapped { .. } => "wrapped",
            Self::ForbiddenMarkup { .. } => "forbidden_markup",
        }
    }
}

struct Listed<'a>(&'a [KeyId]);

impl std::fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        self.0.iter().enumerate().try_for_each(|(place, id)| write!(f, "{}{id}", if place == 0 { "" } else { ", " }))
    }
}

/// Why a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's text is its documentation")]
pub enum KeyFault {
    #[error("its encoding is unreadable")]
    Encoding,
    #[error("its kind is not known here")]
    Kind,
    #[error("{bits} bits are too few or too many")]
    Size { bits: usize },
    #[error("its public exponent is below 65537 or even")]
    Exponent,
    #[error("more keys than the limit")]
    TooMany,
    #[error("its record names another purpose")]
    Purpose,
    #[error("the provider could not sign with it")]
    Unusable,
}

/// What is wrong with a signature's markup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's text is its documentation")]
pub enum SignatureFault {
    #[error("an element the schema does not have here")]
    UnexpectedElement,
    #[error("a required element is missing")]
    MissingElement,
    #[error("text or a processing instruction between elements")]
    StrayContent,
    #[error("an attribute the schema does not have here")]
    UnexpectedAttribute,
    #[error("a required attribute is missing")]
    MissingAttribute,
    #[error("a value is not plain base64")]
    Base64,
    #[error("a prefix list that is too long or not on an exclusive canonicalization")]
    PrefixList,
    #[error("more references than the profile admits")]
    TooManyReferences,
    #[error("more transforms than the profile admits, or in another order")]
    Transforms,
    #[error("a digest of the wrong length")]
    DigestLength,
}

/// What is wrong with encrypted content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's text is its documentation")]
pub enum EncryptionFault {
    #[error("an element the schema does not have here")]
    UnexpectedElement,
    #[error("a required element is missing")]
    MissingElement,
    #[error("text or a processing instruction between elements")]
    StrayContent,
    #[error("an attribute the schema does not have here")]
    UnexpectedAttribute,
    #[error("a required attribute is missing")]
    MissingAttribute,
    #[error("a value is not plain base64, or too short")]
    Value,
    #[error("more ciphertexts were decrypted than the limit")]
    TooMany,
    #[error("ciphertexts are nested deeper than the limit")]
    TooDeep,
    #[error("more encrypted keys than the limit")]
    TooManyKeys,
}

impl EncryptionFault {
    fn reason(self) -> &'static str {
        match self {
            Self::TooMany | Self::TooDeep | Self::TooManyKeys => "limits",
            Self::UnexpectedElement
            | Self::MissingElement
            | Self::StrayContent
            | Self::UnexpectedAttribute
            | Self::MissingAttribute
            | Self::Value => "malformed",
        }
    }
}

/// Which algorithm was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's text is its documentation")]
pub enum Role {
    #[error("CanonicalizationMethod")]
    Canonicalization,
    #[error("SignatureMethod")]
    Signature,
    #[error("DigestMethod")]
    Digest,
    #[error("Transform")]
    Transform,
    #[error("EncryptionMethod")]
    Encryption,
    #[error("EncryptionMethod of an EncryptedKey")]
    KeyEncryption,
    #[error("MGF")]
    Mask,
    #[error("Type")]
    EncryptedType,
}

/// Why a reference was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's text is its documentation")]
pub enum ReferenceFault {
    #[error("there is no URI")]
    NoUri,
    #[error("the whole document cannot be referenced here")]
    WholeDocument,
    #[error("it is not of the form #id")]
    External,
    #[error("no element has this id")]
    Nothing,
    #[error("the signature has no reference")]
    NoReference,
    #[error("it leaves nothing of the element")]
    Void,
    #[error("it leads to no wsse:SecurityTokenReference")]
    NoTokenReference,
    #[error("the token that a SecurityTokenReference names is not there")]
    NoToken,
    #[error("no EncryptedKey belongs to the ciphertext")]
    NoKey,
    #[error("it leads to something else than an EncryptedKey")]
    OtherElement,
    #[error("the EncryptedKey is not covered by the signature over the ciphertext")]
    NotCovered,
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

impl Malformed {
    fn reason(self) -> &'static str {
        match self {
            Self::Utf16 | Self::NotUtf8 | Self::OtherEncoding => "encoding",
            Self::Doctype => "dtd",
            Self::TooLong
            | Self::NameTooLong
            | Self::TooDeep
            | Self::TooManyNodes
            | Self::TooManyAttributes
            | Self::TooManyNamespaces
            | Self::TextTooLong => "limits",
            Self::Declaration
            | Self::Character
            | Self::Entity
            | Self::CharacterReference
            | Self::Name
            | Self::Markup
            | Self::End
            | Self::Mismatch
            | Self::OutsideRoot
            | Self::NoRoot
            | Self::DuplicateAttribute
            | Self::UndeclaredPrefix
            | Self::ReservedNamespace
            | Self::CdataEnd
            | Self::CommentDashes
            | Self::ReservedTarget => "malformed",
        }
    }
}
