//! Private keys that sign one kind of thing each.
//!
//! A key that signs assertions and requests alike lets one be taken for the other; the purpose is part of the key's type
//! and of its stored record.

use std::marker::PhantomData;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self as lc, EcdsaKeyPair, KeyPair as _, RsaEncoding, RsaKeyPair};

use crate::error::{Error, KeyFault};
use crate::keys::KeyId;
use crate::profile::{Hash, SignatureAlgorithm};
use crate::shared::SharedKey;

/// What a key signs.
pub trait Purpose {
    /// The word in the stored record.
    const NAME: &'static str;
}

/// Responses and assertions of the identity provider.
#[derive(Debug, Clone, Copy)]
pub enum IdentityProvider {}
/// Requests of the service provider.
#[derive(Debug, Clone, Copy)]
pub enum ServiceProvider {}
/// Tokens of the token service.
#[derive(Debug, Clone, Copy)]
pub enum TokenService {}
/// SOAP messages.
#[derive(Debug, Clone, Copy)]
pub enum WebServices {}

impl Purpose for IdentityProvider {
    const NAME: &'static str = "idp";
}
impl Purpose for ServiceProvider {
    const NAME: &'static str = "sp";
}
impl Purpose for TokenService {
    const NAME: &'static str = "sts";
}
impl Purpose for WebServices {
    const NAME: &'static str = "ws-security";
}

/// A private key for one purpose.
pub struct SigningKey<P> {
    pair: Pair,
    algorithm: SignatureAlgorithm,
    id: KeyId,
    certificate: Option<Vec<u8>>,
    purpose: PhantomData<P>,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
}

impl<P: Purpose> std::fmt::Debug for SigningKey<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey<{}>({}, {:?})", P::NAME, self.id, self.algorithm)
    }
}

impl<P: Purpose> SigningKey<P> {
    /// Reads a private key from PKCS#8 in DER. `purpose` is what its record says, `certificate` (DER) goes into `KeyInfo`.
    /// RSA signs PKCS#1 v1.5 with SHA-256, elliptic curves the hash of their size.
    ///
    /// # Errors
    /// [`Error::Key`] if the record names another purpose, the key is unreadable or too weak, or the certificate is not its.
    pub fn from_pkcs8(purpose: &str, pkcs8: &[u8], certificate: Option<&[u8]>) -> Result<Self, Error> {
        if purpose != P::NAME {
            return Err(Error::Key(KeyFault::Purpose));
        }
        let unusable = |_| Error::Key(KeyFault::Unusable);
        let (pair, algorithm, id) = if let Ok(pair) = RsaKeyPair::from_pkcs8(pkcs8) {
            let bits = pair.public_modulus_len() * 8;
            if bits < 2048 {
                return Err(Error::Key(KeyFault::Size { bits }));
            }
            let id = KeyId::of(pair.public_key().as_der().map_err(unusable)?.as_ref());
            (Pair::Rsa(Box::new(pair)), SignatureAlgorithm::RsaPkcs1(Hash::Sha256), id)
        } else {
            let curves = [
                (&lc::ECDSA_P256_SHA256_FIXED_SIGNING, Hash::Sha256),
                (&lc::ECDSA_P384_SHA384_FIXED_SIGNING, Hash::Sha384),
                (&lc::ECDSA_P521_SHA512_FIXED_SIGNING, Hash::Sha512),
            ];
            let found = curves.into_iter().find_map(|(curve, hash)| Some((EcdsaKeyPair::from_pkcs8(curve, pkcs8).ok()?, hash)));
            let (pair, hash) = found.ok_or(Error::Key(KeyFault::Encoding))?;
            let id = KeyId::of(pair.public_key().as_der().map_err(unusable)?.as_ref());
            (Pair::Ecdsa(Box::new(pair)), SignatureAlgorithm::Ecdsa(hash), id)
        };
        if let Some(der) = certificate
            && KeyId::of_certificate(der)? != id
        {
            return Err(Error::Key(KeyFault::Encoding));
        }
        Ok(Self { pair, algorithm, id, certificate: certificate.map(<[u8]>::to_vec), purpose: PhantomData })
    }

    /// The same key signing with another algorithm of its family.
    ///
    /// # Errors
    /// [`Error::Key`] if it is of another family, or of another size for an elliptic curve.
    pub fn with_algorithm(self, algorithm: SignatureAlgorithm) -> Result<Self, Error> {
        let fits = match &self.pair {
            Pair::Rsa(_) => rsa_encoding(algorithm).is_some(),
            Pair::Ecdsa(_) => algorithm == self.algorithm,
        };
        if fits { Ok(Self { algorithm, ..self }) } else { Err(Error::Key(KeyFault::Kind)) }
    }

    /// The name of its public key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What it signs with.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Signs octets that are no XML, as the Redirect binding does.
    ///
    /// # Errors
    /// [`Error::Key`] if the provider cannot sign.
    pub fn sign_detached(&self, octets: &[u8]) -> Result<Vec<u8>, Error> {
        let random = SystemRandom::new();
        let unusable = |_| Error::Key(KeyFault::Unusable);
        match &self.pair {
            Pair::Rsa(pair) => {
                let encoding = rsa_encoding(self.algorithm).ok_or(Error::Key(KeyFault::Unusable))?;
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, octets, &mut signature).map_err(unusable)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => Ok(pair.sign(&random, octets).map_err(unusable)?.as_ref().to_vec()),
        }
    }
}

/// Never with SHA-1: what we sign has to last.
fn rsa_encoding(algorithm: SignatureAlgorithm) -> Option<&'static dyn RsaEncoding> {
    match algorithm {
        SignatureAlgorithm::RsaPkcs1(Hash::Sha256) => Some(&lc::RSA_PKCS1_SHA256),
        SignatureAlgorithm::RsaPkcs1(Hash::Sha384) => Some(&lc::RSA_PKCS1_SHA384),
        SignatureAlgorithm::RsaPkcs1(Hash::Sha512) => Some(&lc::RSA_PKCS1_SHA512),
        SignatureAlgorithm::RsaPss(Hash::Sha256) => Some(&lc::RSA_PSS_SHA256),
        SignatureAlgorithm::RsaPss(Hash::Sha384) => Some(&lc::RSA_PSS_SHA384),
        SignatureAlgorithm::RsaPss(Hash::Sha512) => Some(&lc::RSA_PSS_SHA512),
        SignatureAlgorithm::RsaPkcs1(Hash::Sha1)
        | SignatureAlgorithm::RsaPss(Hash::Sha1)
        | SignatureAlgorithm::Ecdsa(_)
        | SignatureAlgorithm::Hmac(_) => None,
    }
}

/// Whatever signs a document: a private key of some purpose, or a secret.
pub trait Signs: sealed::Sealed {
    #[doc(hidden)]
    fn method(&self) -> SignatureAlgorithm;
    #[doc(hidden)]
    fn value(&self, octets: &[u8]) -> Result<Vec<u8>, Error>;
    #[doc(hidden)]
    fn certificate(&self) -> Option<&[u8]>;
}

impl<P: Purpose> Signs for SigningKey<P> {
    fn method(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    fn value(&self, octets: &[u8]) -> Result<Vec<u8>, Error> {
        self.sign_detached(octets)
    }

    fn certificate(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }
}

impl Signs for SharedKey {
    fn method(&self) -> SignatureAlgorithm {
        self.algorithm()
    }

    fn value(&self, octets: &[u8]) -> Result<Vec<u8>, Error> {
        self.sign(octets).ok_or(Error::Key(KeyFault::Unusable))
    }

    fn certificate(&self) -> Option<&[u8]> {
        None
    }
}

mod sealed {
    pub trait Sealed {}
    impl<P> Sealed for super::SigningKey<P> {}
    impl Sealed for super::SharedKey {}
}
