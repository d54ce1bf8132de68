//! Named limits on everything that comes from outside (attacks 34, 35).

/// What a document may hold at most. All of it is counted while parsing, before anything is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of the document.
    pub size: usize,
    /// Elements inside each other.
    pub depth: usize,
    /// Elements, texts, comments and processing instructions.
    pub nodes: usize,
    /// Attributes of one element, namespace declarations not counted.
    pub attributes: usize,
    /// Namespace declarations in scope at once.
    pub namespaces: usize,
    /// Octets of one text or attribute value after decoding.
    pub text: usize,
    /// Octets of one name.
    pub name: usize,
    /// Octets that canonicalization may write: namespaces declared high and used low are written again and again.
    pub canonical: usize,
    /// Ciphertexts of one document that are decrypted, one inside the other or side by side.
    pub decryptions: usize,
    /// Ciphertexts inside each other.
    pub encryption_depth: usize,
    /// Octets of all plaintexts of one document together.
    pub plaintext: usize,
}

impl Limits {
    /// For SAML messages and security headers.
    pub const MESSAGE: Self = Self {
        size: 1 << 20,
        depth: 64,
        nodes: 50_000,
        attributes: 64,
        namespaces: 64,
        text: 1 << 20,
        name: 1024,
        canonical: 4 << 20,
        decryptions: 16,
        encryption_depth: 2,
        plaintext: 1 << 20,
    };

    /// For SOAP bodies.
    pub const SOAP: Self =
        Self { size: 16 << 20, depth: 128, nodes: 1_000_000, text: 16 << 20, canonical: 64 << 20, plaintext: 16 << 20, ..Self::MESSAGE };
}

impl Default for Limits {
    fn default() -> Self {
        Self::MESSAGE
    }
}
