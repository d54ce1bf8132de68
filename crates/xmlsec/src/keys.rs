//! Keys that are trusted because the caller says so: from metadata or configuration, never from a message (attacks 21, 23).
//!
//! A key's type fixes the family of algorithms it may verify; there is no way to use it as a secret. Keys are parsed once.

use std::fmt;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{self as lc, ParsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey as Decoded;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::error::{Error, KeyFault};
use crate::profile::{Hash, Profile, SignatureAlgorithm};
use crate::shared::SharedKey;

/// The name of a key: SHA-256 of its SubjectPublicKeyInfo, the same whichever certificate carries it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 32]);

impl KeyId {
    pub(crate) fn of(spki: &[u8]) -> Self {
        let mut id = [0; 32];
        id.iter_mut().zip(digest::digest(&digest::SHA256, spki).as_ref()).for_each(|(to, from)| *to = *from);
        Self(id)
    }

    /// The key of a certificate in DER. Says nothing about trust.
    ///
    /// # Errors
    /// [`Error::Key`] if it is no certificate.
    pub fn of_certificate(der: &[u8]) -> Result<Self, Error> {
        Ok(Self::of(spki_of_certificate(der)?))
    }

    /// The octets.
    pub fn octets(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The public keys one signature may be verified with.
#[derive(Debug, Default)]
pub struct TrustedKeys {
    keys: Vec<TrustedKey>,
}

impl TrustedKeys {
    /// No keys: nothing verifies.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the key of a certificate in DER. Its dates and issuer are the caller's to judge.
    ///
    /// # Errors
    /// [`Error::Key`] if it is unreadable, of a kind unknown here, or there are [`TrustedKeys::LIMIT`] already.
    pub fn add_certificate(&mut self, der: &[u8]) -> Result<KeyId, Error> {
        self.add_spki(spki_of_certificate(der)?)
    }

    /// Trusts the keys of every `CERTIFICATE` and `PUBLIC KEY` in a PEM text.
    ///
    /// # Errors
    /// [`Error::Key`] if one is unreadable, or there is none.
    pub fn add_pem(&mut self, pem: &str) -> Result<Vec<KeyId>, Error> {
        let mut ids = Vec::new();
        for (label, der) in pem_blocks(pem)? {
            match label {
                "CERTIFICATE" => ids.push(self.add_certificate(&der)?),
                "PUBLIC KEY" => ids.push(self.add_spki(&der)?),
                _ => return Err(Error::Key(KeyFault::Encoding)),
            }
        }
        if ids.is_empty() { Err(Error::Key(KeyFault::Encoding)) } else { Ok(ids) }
    }

    /// Trusts a key given as SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// As [`TrustedKeys::add_certificate`].
    pub fn add_spki(&mut self, der: &[u8]) -> Result<KeyId, Error> {
        let key = TrustedKey::read(der)?;
        let id = key.id;
        if self.keys.iter().any(|known| known.id == id) {
            return Ok(id);
        }
        if self.keys.len() >= Self::LIMIT {
            return Err(Error::Key(KeyFault::TooMany));
        }
        self.keys.push(key);
        Ok(id)
    }

    /// How many keys may be trusted at once: each costs a verification when a signature is wrong.
    pub const LIMIT: usize = 16;

    /// Their names.
    pub fn ids(&self) -> Vec<KeyId> {
        self.keys.iter().map(|key| key.id).collect()
    }

    pub(crate) fn strong_enough(&self, profile: &Profile) -> impl Iterator<Item = &TrustedKey> {
        self.keys.iter().filter(|key| key.is_strong_enough(profile))
    }
}

/// What a signature may be verified with: public keys, or one secret. Nothing is both.
#[derive(Debug, Clone, Copy)]
pub enum Keys<'a> {
    /// Public keys.
    Public(&'a TrustedKeys),
    /// A secret, where the profile admits one.
    Shared(&'a SharedKey),
}

impl Keys<'_> {
    /// Their names.
    pub fn ids(&self) -> Vec<KeyId> {
        match self {
            Self::Public(keys) => keys.ids(),
            Self::Shared(key) => vec![key.id()],
        }
    }
}

impl<'a> From<&'a TrustedKeys> for Keys<'a> {
    fn from(keys: &'a TrustedKeys) -> Self {
        Self::Public(keys)
    }
}

impl<'a> From<&'a SharedKey> for Keys<'a> {
    fn from(key: &'a SharedKey) -> Self {
        Self::Shared(key)
    }
}

/// One key with every algorithm it may be used with.
#[derive(Debug)]
pub(crate) struct TrustedKey {
    pub(crate) id: KeyId,
    /// Bits of an RSA modulus, `None` for elliptic curves.
    rsa_bits: Option<usize>,
    verifiers: Vec<(SignatureAlgorithm, ParsedPublicKey)>,
}

impl TrustedKey {
    fn read(spki: &[u8]) -> Result<Self, Error> {
        let unreadable = Error::Key(KeyFault::Encoding);
        let Ok((rest, info)) = SubjectPublicKeyInfo::from_der(spki) else { return Err(unreadable) };
        if !rest.is_empty() {
            return Err(unreadable);
        }
        let (rsa_bits, algorithms): (_, &[Usable]) = match info.parsed() {
            Ok(Decoded::RSA(rsa)) => {
                let bits = significant_bits(rsa.modulus);
                // e = 1 signs everything, e = 3 has a history of forgeries (PKCS#1 v1.5 padding checks).
                if !rsa.try_exponent().is_ok_and(|e| e >= 65_537 && e % 2 == 1) {
                    return Err(Error::Key(KeyFault::Exponent));
                }
                let algorithms: &[Usable] = match bits {
                    2048..=8192 => &RSA,
                    1024..2048 => &RSA_SHORT,
                    _ => return Err(Error::Key(KeyFault::Size { bits })),
                };
                (Some(bits), algorithms)
            }
            Ok(Decoded::EC(_)) => {
                let curve =
                    info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok()).map(|oid| oid.to_id_string());
                let algorithms: &[Usable] = match curve.as_deref() {
                    Some("1.2.840.10045.3.1.7") => &P256,
                    Some("1.3.132.0.34") => &P384,
                    Some("1.3.132.0.35") => &P521,
                    _ => return Err(Error::Key(KeyFault::Kind)),
                };
                (None, algorithms)
            }
            Ok(Decoded::DSA(_) | Decoded::GostR3410(_) | Decoded::GostR3410_2012(_) | Decoded::Unknown(_)) => {
                return Err(Error::Key(KeyFault::Kind));
            }
            Err(_) => return Err(unreadable),
        };
        let mut verifiers = Vec::with_capacity(algorithms.len());
        for (algorithm, verifier) in algorithms {
            let parsed = ParsedPublicKey::new(*verifier, spki).map_err(|_| Error::Key(KeyFault::Encoding))?;
            verifiers.push((*algorithm, parsed));
        }
        Ok(Self { id: KeyId::of(spki), rsa_bits, verifiers })
    }

    /// Whether the profile admits a key of this size.
    fn is_strong_enough(&self, profile: &Profile) -> bool {
        self.rsa_bits.is_none_or(|bits| bits >= profile.smallest_rsa())
    }

    /// `None` if a key of this type has no such algorithm.
    pub(crate) fn verifies(&self, algorithm: SignatureAlgorithm, digest: &Digest, signature: &[u8]) -> Option<bool> {
        let (_, key) = self.verifiers.iter().find(|(known, _)| *known == algorithm)?;
        Some(key.verify_digest_sig(digest, signature).is_ok())
    }
}

type Usable = (SignatureAlgorithm, &'static dyn VerificationAlgorithm);

static RSA: [Usable; 7] = [
    (SignatureAlgorithm::RsaPkcs1(Hash::Sha1), &lc::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY),
    (SignatureAlgorithm::RsaPkcs1(Hash::Sha256), &lc::RSA_PKCS1_2048_8192_SHA256),
    (SignatureAlgorithm::RsaPkcs1(Hash::Sha384), &lc::RSA_PKCS1_2048_8192_SHA384),
    (SignatureAlgorithm::RsaPkcs1(Hash::Sha512), &lc::RSA_PKCS1_2048_8192_SHA512),
    (SignatureAlgorithm::RsaPss(Hash::Sha256), &lc::RSA_PSS_2048_8192_SHA256),
    (SignatureAlgorithm::RsaPss(Hash::Sha384), &lc::RSA_PSS_2048_8192_SHA384),
    (SignatureAlgorithm::RsaPss(Hash::Sha512), &lc::RSA_PSS_2048_8192_SHA512),
];

static RSA_SHORT: [Usable; 3] = [
    (SignatureAlgorithm::RsaPkcs1(Hash::Sha1), &lc::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY),
    (SignatureAlgorithm::RsaPkcs1(Hash::Sha256), &lc::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY),
    (SignatureAlgorithm::RsaPkcs1(Hash::Sha512), &lc::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY),
];

static P256: [Usable; 1] = [(SignatureAlgorithm::Ecdsa(Hash::Sha256), &lc::ECDSA_P256_SHA256_FIXED)];
static P384: [Usable; 1] = [(SignatureAlgorithm::Ecdsa(Hash::Sha384), &lc::ECDSA_P384_SHA384_FIXED)];
static P521: [Usable; 3] = [
    (SignatureAlgorithm::Ecdsa(Hash::Sha256), &lc::ECDSA_P521_SHA256_FIXED),
    (SignatureAlgorithm::Ecdsa(Hash::Sha384), &lc::ECDSA_P521_SHA384_FIXED),
    (SignatureAlgorithm::Ecdsa(Hash::Sha512), &lc::ECDSA_P521_SHA512_FIXED),
];

/// The bits of a positive DER integer. `key_size` of the parser rounds up to octets, and 2041 bits are not 2048.
fn significant_bits(modulus: &[u8]) -> usize {
    let zeros = modulus.iter().take_while(|octet| **octet == 0).count();
    let first = modulus.get(zeros).map_or(0, |octet| 8 - octet.leading_zeros() as usize);
    first + modulus.len().saturating_sub(zeros + 1) * 8
}

fn spki_of_certificate(der: &[u8]) -> Result<&[u8], Error> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate.tbs_certificate.subject_pki.raw),
        Ok(_) | Err(_) => Err(Error::Key(KeyFault::Encoding)),
    }
}

/// The blocks of a PEM text (RFC 7468), text between them ignored.
fn pem_blocks(pem: &str) -> Result<Vec<(&str, Vec<u8>)>, Error> {
    let mut blocks = Vec::new();
    let mut rest = pem;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let unreadable = || Error::Key(KeyFault::Encoding);
        let (label, after) = after.split_once("-----").ok_or_else(unreadable)?;
        let (body, after) = after.split_once("-----END ").ok_or_else(unreadable)?;
        rest = after.strip_prefix(label).ok_or_else(unreadable)?;
        let body: String = body.split_ascii_whitespace().collect();
        blocks.push((label, STANDARD.decode(body).map_err(|_| unreadable())?));
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair};

    use super::*;

    // Made with openssl for these tests.
    const RSA_1024: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCxisFeKXTriZm4i6CnfK5RXRsFVciFtbtqnMHPWKxmBQaOHfT9WLXd4OyoNldjG0Nyt3t3W+5C1qfWj0J8oEvTAPY1B/b0v/kYECU4y+CgEggQdmyG2sPKkUZsuPu/C7aQS/TkTXdekQvlKrl3/KN6qb7jeMs7idcq0w38G0z/xwIDAQAB";
    /// PKCS#1 v1.5 with SHA-256 over `hello` by the key above.
    const HELLO: &str = "GFNgBhH+ybAgM5OPus00l17G5VmIHSF8rIXdyasovFFo35mLwPgeHlozGhsJS8cukNBoCzHyJg3zygeT3Q7RcH/SkntM/dECTUuYFxjdYJMcXiipuRIrc7ABEw9E1QcYOyTYjAvjJ3Tl2QOXWdNMmSsP8NI2maeLn2m8S+DMZ1s=";
    const EXPONENT_3: &str = "MIIBIDANBgkqhkiG9w0BAQEFAAOCAQ0AMIIBCAKCAQEAzTQolB/OHYtZNlHRNdcQ5JQ71ScnZRNINLEpaphfxAOK7gTkWwIPnNC8veXunjGxiiodC4ilt/svwuIJbv3mo5WmkKs+5vhT0r1GaQWB7qSGa4iqXqyJ++bBJIyBrnCyxcxIcKUAp4Sg2j8wl34srrla1WMP5/HNPTL7zyvlK240uD2qnxTThvKLScMw6vixa8tTT3m4pkL/54brUfbIwydbNPJt9eq617cnrknUJc027cuZ71yJpfGirPpfO+DliTGwGNK/lU/J03vF8BkTOWkxwA2CLErDmTn38/F8SR6hFYUV5uO0k/Mbr2KkZm0SPGVVs94ANYaHTQdomXd6zwIBAw==";
    const SECP256K1: &str =
        "MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEb1uUK7yScefhWqpLTx0ckHNvn0bITFVivYHA+SSBAngwy2dcSpuReShJqB5x1dJ7gWRnSM8cHmbj1Tlg2magRA==";
    const ED25519: &str = "MCowBQYDK2VwAyEA2FUudJrkQYeZLgMYO3VTT/rkqc7BsEiPtvBDjrU3Wtc=";

    fn read(spki: &str) -> Result<TrustedKey, Error> {
        TrustedKey::read(&STANDARD.decode(spki).unwrap())
    }

    #[test]
    fn a_short_key_needs_its_concession() {
        let key = read(RSA_1024).unwrap();
        let digest = digest::digest(&digest::SHA256, b"hello");
        let signature = STANDARD.decode(HELLO).unwrap();
        assert_eq!(key.verifies(SignatureAlgorithm::RsaPkcs1(Hash::Sha256), &digest, &signature), Some(true));
        assert!(!key.is_strong_enough(&Profile::SAML));
        assert!(key.is_strong_enough(&Profile::SAML.legacy()));
        assert_eq!(significant_bits(&[0, 0x7f, 0xff]), 15);
        assert_eq!(significant_bits(&[]), 0);
    }

    #[test]
    fn keys_that_cannot_be_trusted_are_named() {
        assert!(matches!(read(EXPONENT_3), Err(Error::Key(KeyFault::Exponent))));
        assert!(matches!(read(SECP256K1), Err(Error::Key(KeyFault::Kind))));
        assert!(matches!(read(ED25519), Err(Error::Key(KeyFault::Kind))));
        assert!(matches!(read("AAAA"), Err(Error::Key(KeyFault::Encoding))));
        let mut keys = TrustedKeys::new();
        assert!(matches!(keys.add_pem("no block"), Err(Error::Key(KeyFault::Encoding))));
        let private = format!("-----BEGIN PRIVATE KEY-----\n{RSA_1024}\n-----END PRIVATE KEY-----");
        assert!(matches!(keys.add_pem(&private), Err(Error::Key(KeyFault::Encoding))));
        let public = private.replace("PRIVATE", "PUBLIC");
        assert_eq!(keys.add_pem(&public).unwrap(), keys.ids());
        keys.add_pem(&public).unwrap();
        assert_eq!(keys.ids().len(), 1);
    }

    #[test]
    fn pss_verifies_with_its_own_hash_only() {
        let pem = include_str!("../../../corpus/recorded/keys/idp-rsa2048.key");
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(body).unwrap()).unwrap();
        let spki = aws_lc_rs::encoding::AsDer::as_der(pair.public_key()).unwrap();
        let key = TrustedKey::read(spki.as_ref()).unwrap();
        for (hash, encoding) in [(Hash::Sha256, &RSA_PSS_SHA256), (Hash::Sha384, &RSA_PSS_SHA384), (Hash::Sha512, &RSA_PSS_SHA512)] {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &SystemRandom::new(), b"hello", &mut signature).unwrap();
            let digest = digest::digest(hash.algorithm(), b"hello");
            assert_eq!(key.verifies(SignatureAlgorithm::RsaPss(hash), &digest, &signature), Some(true));
            assert_eq!(key.verifies(SignatureAlgorithm::RsaPkcs1(hash), &digest, &signature), Some(false));
            assert_eq!(key.verifies(SignatureAlgorithm::Ecdsa(hash), &digest, &signature), None);
        }
    }
}
