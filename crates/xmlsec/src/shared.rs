//! Secrets that both sides hold, for HMAC where a profile names it.
//!
//! A type of its own, so that no public key can ever be taken for a secret (attack 21). The tag is compared whole and in
//! constant time; a truncated one has another length (attack 22).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::error::{Error, KeyFault};
use crate::keys::KeyId;
use crate::profile::{Hash, SignatureAlgorithm};

/// A secret and its name.
pub struct SharedKey {
    id: KeyId,
    secret: Zeroizing<Vec<u8>>,
    hash: Hash,
}

impl std::fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SharedKey({})", self.id)
    }
}

impl SharedKey {
    /// The fewest octets of a secret.
    pub const SHORTEST: usize = 16;
    /// The most.
    pub const LONGEST: usize = 1024;

    /// A secret under the name that logs may show; nothing of the secret is in its [`KeyId`]. Signs with HMAC-SHA256.
    ///
    /// # Errors
    /// [`Error::Key`] if the secret is too short or too long.
    pub fn new(name: &str, secret: &[u8]) -> Result<Self, Error> {
        if !(Self::SHORTEST..=Self::LONGEST).contains(&secret.len()) {
            return Err(Error::Key(KeyFault::Size { bits: secret.len() * 8 }));
        }
        Ok(Self { id: KeyId::of(name.as_bytes()), secret: Zeroizing::new(secret.to_vec()), hash: Hash::Sha256 })
    }

    /// The same secret signing with another hash.
    ///
    /// # Errors
    /// [`Error::Key`] for SHA-1.
    pub fn with_hash(self, hash: Hash) -> Result<Self, Error> {
        algorithm(hash).map(|_| Self { hash, ..self }).ok_or(Error::Key(KeyFault::Kind))
    }

    /// The name of its name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    pub(crate) fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::Hmac(self.hash)
    }

    /// A MAC to be computed; `None` if the algorithm is none.
    pub(crate) fn context(&self, signature: SignatureAlgorithm) -> Option<hmac::Context> {
        match signature {
            SignatureAlgorithm::Hmac(hash) => Some(hmac::Context::with_key(&hmac::Key::new(algorithm(hash)?, &self.secret))),
            SignatureAlgorithm::RsaPkcs1(_) | SignatureAlgorithm::RsaPss(_) | SignatureAlgorithm::Ecdsa(_) => None,
        }
    }

    pub(crate) fn sign(&self, octets: &[u8]) -> Option<Vec<u8>> {
        let mut context = self.context(self.algorithm())?;
        context.update(octets);
        Some(context.sign().as_ref().to_vec())
    }
}

/// Whether the whole tag is this one.
pub(crate) fn is_tag(context: hmac::Context, tag: &[u8]) -> bool {
    verify_slices_are_equal(context.sign().as_ref(), tag).is_ok()
}

fn algorithm(hash: Hash) -> Option<hmac::Algorithm> {
    match hash {
        Hash::Sha1 => None,
        Hash::Sha256 => Some(hmac::HMAC_SHA256),
        Hash::Sha384 => Some(hmac::HMAC_SHA384),
        Hash::Sha512 => Some(hmac::HMAC_SHA512),
    }
}
