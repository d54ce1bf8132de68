//! What a signature may use (XML Signature 1.1 §6, RFC 9231): closed lists, chosen by the caller, never by the message.
//!
//! Algorithm agility is what attackers bargain with: a weaker hash, a transform that runs code, a MAC keyed with a public
//! key. What is not in these enums does not exist here; XPath, XSLT and external references are not written. A MAC needs a
//! [`SharedKey`](crate::SharedKey), which no public key can become, and a profile that names it.

use crate::c14n::Canonicalization;
use crate::cipher::ContentCipher;

/// A digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SHA-1, by concession only.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    pub(crate) fn from_uri(uri: &str) -> Option<Self> {
        match uri {
            "http://www.w3.org/2000/09/xmldsig#sha1" => Some(Self::Sha1),
            "http://www.w3.org/2001/04/xmlenc#sha256" => Some(Self::Sha256),
            "http://www.w3.org/2001/04/xmldsig-more#sha384" => Some(Self::Sha384),
            "http://www.w3.org/2001/04/xmlenc#sha512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Its `DigestMethod`.
    pub fn uri(self) -> &'static str {
        match self {
            Self::Sha1 => "http://www.w3.org/2000/09/xmldsig#sha1",
            Self::Sha256 => "http://www.w3.org/2001/04/xmlenc#sha256",
            Self::Sha384 => "http://www.w3.org/2001/04/xmldsig-more#sha384",
            Self::Sha512 => "http://www.w3.org/2001/04/xmlenc#sha512",
        }
    }

    pub(crate) fn algorithm(self) -> &'static aws_lc_rs::digest::Algorithm {
        use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
        match self {
            Self::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        }
    }
}

/// A signature method. Which family a key may use is fixed by the key's type (attack 21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1(Hash),
    /// RSASSA-PSS with MGF1 over the same hash and a salt as long as the hash (RFC 9231 §2.3.10).
    RsaPss(Hash),
    /// ECDSA with `r ‖ s` of fixed width (XML Signature 1.1 §6.4.3).
    Ecdsa(Hash),
    /// HMAC, never truncated (attack 22).
    Hmac(Hash),
}

impl SignatureAlgorithm {
    /// The algorithm of a `SignatureMethod`, or of a `SigAlg` in a query string.
    pub fn from_uri(uri: &str) -> Option<Self> {
        SIGNATURES.iter().find(|(_, known)| *known == uri).map(|(algorithm, _)| *algorithm)
    }

    /// Its `SignatureMethod`.
    pub fn uri(self) -> &'static str {
        // INVARIANT: SHA-1 exists here with PKCS#1 only, and nothing else makes the others.
        SIGNATURES.iter().find(|(algorithm, _)| *algorithm == self).map_or("", |(_, uri)| uri)
    }

    /// The hash it signs.
    pub fn hash(self) -> Hash {
        match self {
            Self::RsaPkcs1(hash) | Self::RsaPss(hash) | Self::Ecdsa(hash) | Self::Hmac(hash) => hash,
        }
    }
}

const SIGNATURES: [(SignatureAlgorithm, &str); 13] = [
    (SignatureAlgorithm::RsaPkcs1(Hash::Sha1), "http://www.w3.org/2000/09/xmldsig#rsa-sha1"),
    (SignatureAlgorithm::RsaPkcs1(Hash::Sha256), "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"),
    (SignatureAlgorithm::RsaPkcs1(Hash::Sha384), "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384"),
    (SignatureAlgorithm::RsaPkcs1(Hash::Sha512), "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"),
    (SignatureAlgorithm::RsaPss(Hash::Sha256), "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1"),
    (SignatureAlgorithm::RsaPss(Hash::Sha384), "http://www.w3.org/2007/05/xmldsig-more#sha384-rsa-MGF1"),
    (SignatureAlgorithm::RsaPss(Hash::Sha512), "http://www.w3.org/2007/05/xmldsig-more#sha512-rsa-MGF1"),
    (SignatureAlgorithm::Ecdsa(Hash::Sha256), "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"),
    (SignatureAlgorithm::Ecdsa(Hash::Sha384), "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"),
    (SignatureAlgorithm::Ecdsa(Hash::Sha512), "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512"),
    (SignatureAlgorithm::Hmac(Hash::Sha256), "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"),
    (SignatureAlgorithm::Hmac(Hash::Sha384), "http://www.w3.org/2001/04/xmldsig-more#hmac-sha384"),
    (SignatureAlgorithm::Hmac(Hash::Sha512), "http://www.w3.org/2001/04/xmldsig-more#hmac-sha512"),
];

/// `http://www.w3.org/2000/09/xmldsig#enveloped-signature`.
pub(crate) const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
/// The one foreign transform (WSS SOAP Message Security 1.1 §8.3).
pub(crate) const STR_TRANSFORM: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#STR-Transform";

/// A canonicalization by its URI, without its prefix list.
pub(crate) fn canonicalization(uri: &str) -> Option<Canonicalization> {
    match uri {
        "http://www.w3.org/2001/10/xml-exc-c14n#" => Some(Canonicalization::EXCLUSIVE),
        "http://www.w3.org/2001/10/xml-exc-c14n#WithComments" => Some(Canonicalization::EXCLUSIVE.with_comments()),
        "http://www.w3.org/TR/2001/REC-xml-c14n-20010315" => Some(Canonicalization::INCLUSIVE),
        "http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments" => Some(Canonicalization::INCLUSIVE.with_comments()),
        _ => None,
    }
}

/// What one kind of message may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub(crate) references: usize,
    pub(crate) transforms: usize,
    comments: bool,
    pub(crate) key_info: KeyInfo,
    sha1: bool,
    rsa1024: bool,
    inclusive: bool,
    shared: bool,
    pub(crate) plain_id: bool,
    pub(crate) whole_document: bool,
    pub(crate) objects: bool,
    pub(crate) tokens: bool,
    pub(crate) ids: Vec<IdAttribute>,
    encryption: Encryption,
}

/// What ciphertext may use beside AES-GCM, RSA-OAEP and AES key wrap (XML Encryption 1.1 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Encryption {
    cbc: bool,
    triple_des: bool,
    rsa15: bool,
    /// CBC ciphertext that no signature covers: whoever may change it can learn the plaintext from our answers.
    unsigned_cbc: bool,
}

/// `KeyInfo` is a hint everywhere; whether it has to be there differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyInfo {
    /// At most once, anything in it; a hint that only orders the keys tried.
    Hint,
    /// Exactly once (WS-I Basic Security Profile R5402): the caller resolved it to the keys it passes.
    Required,
}

/// An attribute that is an id although no standard known here says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdAttribute {
    pub(crate) namespace: String,
    pub(crate) element: String,
    pub(crate) attribute: String,
}

/// Something weaker that an operator admitted for a named partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Concession {
    /// SHA-1 in signatures and references.
    Sha1,
    /// RSA keys of 1024 to 2047 bits.
    Rsa1024,
    /// Canonical XML 1.0 beside the exclusive form.
    InclusiveCanonicalization,
    /// An `Id` without namespace on elements of SOAP and WS-Security utility namespaces counts as an id.
    PlainId,
    /// AES in CBC mode, to decrypt only.
    Cbc,
    /// Triple-DES in CBC mode, to decrypt only.
    TripleDes,
    /// PKCS#1 v1.5 key transport, to decrypt only.
    Rsa15,
    /// In SOAP messages, beside the concession for the cipher: CBC ciphertext that no signature covers.
    UnsignedCbc,
}

impl Profile {
    /// SAML: one reference, to the signature's own parent; enveloped and exclusive canonicalization, each at most once.
    pub const SAML: Self = Self {
        references: 1,
        transforms: 2,
        comments: true,
        key_info: KeyInfo::Hint,
        sha1: false,
        rsa1024: false,
        inclusive: false,
        shared: false,
        plain_id: false,
        whole_document: false,
        objects: false,
        tokens: false,
        ids: Vec::new(),
        encryption: Encryption { cbc: false, triple_des: false, rsa15: false, unsigned_cbc: true },
    };

    /// A document signed as a whole: as [`Profile::SAML`], and `URI=""` may name the root element.
    pub const DOCUMENT: Self = {
        let mut profile = Self::SAML;
        profile.whole_document = true;
        profile
    };

    /// WS-Security: several references, exclusive canonicalization without comments, tokens by reference.
    pub const WS_SECURITY: Self = {
        let mut profile = Self::SAML;
        profile.references = 8;
        profile.transforms = 3;
        profile.comments = false;
        profile.key_info = KeyInfo::Required;
        profile.tokens = true;
        profile.encryption.unsigned_cbc = false;
        profile
    };

    /// Every form XML Signature has within one document, for tools: several references, `URI=""`, and `ds:Object`s in the
    /// signature. What is covered stands anywhere; [`Verified::place`](crate::Verified::place) says where.
    pub const ANY_FORM: Self = {
        let mut profile = Self::DOCUMENT;
        profile.references = 8;
        profile.objects = true;
        profile
    };

    /// The profile with one concession.
    #[must_use]
    pub const fn admit(mut self, concession: Concession) -> Self {
        match concession {
            Concession::Sha1 => self.sha1 = true,
            Concession::Rsa1024 => self.rsa1024 = true,
            Concession::InclusiveCanonicalization => self.inclusive = true,
            Concession::PlainId => self.plain_id = true,
            Concession::Cbc => self.encryption.cbc = true,
            Concession::TripleDes => self.encryption.triple_des = true,
            Concession::Rsa15 => self.encryption.rsa15 = true,
            Concession::UnsignedCbc => self.encryption.unsigned_cbc = true,
        }
        self
    }

    /// The profile in which a [`SharedKey`](crate::SharedKey) may sign with HMAC.
    #[must_use]
    pub const fn with_shared_keys(mut self) -> Self {
        self.shared = true;
        self
    }

    /// The profile in which `attribute`, without namespace, is an id on elements of this name.
    #[must_use]
    pub fn with_id(mut self, namespace: &str, element: &str, attribute: &str) -> Self {
        let (namespace, element, attribute) = (namespace.to_owned(), element.to_owned(), attribute.to_owned());
        self.ids.push(IdAttribute { namespace, element, attribute });
        self
    }

    /// The profile for a partner that knows nothing newer than 2005.
    #[must_use]
    pub const fn legacy(self) -> Self {
        self.admit(Concession::Sha1).admit(Concession::Rsa1024).admit(Concession::InclusiveCanonicalization)
    }

    pub(crate) fn admits_hash(&self, hash: Hash) -> bool {
        match hash {
            Hash::Sha1 => self.sha1,
            Hash::Sha256 | Hash::Sha384 | Hash::Sha512 => true,
        }
    }

    pub(crate) fn admits(&self, algorithm: SignatureAlgorithm) -> bool {
        let family = match algorithm {
            SignatureAlgorithm::RsaPkcs1(_) | SignatureAlgorithm::RsaPss(_) | SignatureAlgorithm::Ecdsa(_) => true,
            SignatureAlgorithm::Hmac(_) => self.shared,
        };
        family && self.admits_hash(algorithm.hash())
    }

    pub(crate) fn admits_form(&self, form: &Canonicalization) -> bool {
        (form.exclusive || self.inclusive) && (!form.with_comments || self.comments)
    }

    /// Whether a cipher is admitted, for ciphertext that a signature covers or not.
    pub(crate) fn admits_cipher(&self, cipher: ContentCipher, covered: bool) -> bool {
        let Encryption { cbc, triple_des, unsigned_cbc, .. } = self.encryption;
        match cipher {
            ContentCipher::Gcm(_) => true,
            ContentCipher::Cbc(_) => cbc && (covered || unsigned_cbc),
            ContentCipher::TripleDes => triple_des && (covered || unsigned_cbc),
        }
    }

    pub(crate) fn admits_rsa15(&self) -> bool {
        self.encryption.rsa15
    }

    /// The smallest RSA modulus in bits.
    pub(crate) fn smallest_rsa(&self) -> usize {
        if self.rsa1024 { 1024 } else { 2048 }
    }
}
