//! Secrets at rest: AES-256-GCM with random nonces (NIST SP 800-38D §8.2.2).
//!
//! An attacker who can write to the store moves a sealed secret into another record, where it would do
//! something else. So a seal is bound to a context that names its record and opens nowhere else.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use vestibule_engine::secret::Secret;
use vestibule_engine::store::digest;

use super::Error;

/// The key under which secrets rest in the store. It lives in a file or the environment, never in the store.
pub struct KeyEncryptionKey(RandomizedNonceKey);

impl KeyEncryptionKey {
    /// Takes the 256 bits.
    ///
    /// # Errors
    /// [`Error::Cryptography`].
    pub fn new(octets: &Secret<[u8; 32]>) -> Result<Self, Error> {
        RandomizedNonceKey::new(&AES_256_GCM, octets.reveal()).map(Self).map_err(|_| Error::Cryptography)
    }

    /// Seals a secret. It opens only with the same context.
    ///
    /// # Errors
    /// [`Error::Cryptography`].
    pub fn seal(&self, context: &[&[u8]], secret: &[u8]) -> Result<Vec<u8>, Error> {
        // Room for the tag from the start: a buffer that grows leaves a copy of the secret behind.
        let mut buffer = Vec::with_capacity(secret.len() + AES_256_GCM.tag_len());
        buffer.extend_from_slice(secret);
        let nonce = self.0.seal_in_place_append_tag(Aad::from(digest(context)), &mut buffer).map_err(|_| Error::Cryptography)?;
        Ok([&[SEAL_VERSION], nonce.as_ref().as_slice(), &buffer].concat())
    }

    /// Opens what was sealed with this key and context.
    ///
    /// # Errors
    /// [`Error::Cryptography`] for anything else.
    pub fn open(&self, context: &[&[u8]], sealed: &[u8]) -> Result<Secret<Vec<u8>>, Error> {
        let failed = Error::Cryptography;
        let Some((&[SEAL_VERSION], rest)) = sealed.split_first_chunk::<1>() else { return Err(failed) };
        let Some((nonce, ciphertext)) = rest.split_first_chunk::<NONCE_LEN>() else { return Err(failed) };
        let mut buffer = ciphertext.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = match self.0.open_in_place(nonce, Aad::from(digest(context)), &mut buffer) {
            Ok(secret) => secret.len(),
            Err(_) => return Err(failed),
        };
        buffer.truncate(length);
        Ok(Secret::new(buffer))
    }
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<key-encryption key>")
    }
}

/// The first octet of what [`KeyEncryptionKey::seal`] writes.
const SEAL_VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn kek(octets: [u8; 32]) -> KeyEncryptionKey {
        KeyEncryptionKey::new(&Secret::new(octets)).unwrap()
    }

    #[test]
    fn a_seal_opens_only_whole_and_in_its_context() {
        let key = kek([7; 32]);
        let sealed = key.seal(&[b"a", b"bc"], b"secret").unwrap();
        assert_eq!(key.open(&[b"a", b"bc"], &sealed).unwrap().reveal(), b"secret");
        assert_ne!(key.seal(&[b"a", b"bc"], b"secret").unwrap(), sealed);
        assert!(key.open(&[b"ab", b"c"], &sealed).is_err());
        assert!(kek([8; 32]).open(&[b"a", b"bc"], &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open(&[b"a", b"bc"], &changed).is_err(), "{at}");
            assert!(key.open(&[b"a", b"bc"], &sealed[..at]).is_err(), "{at}");
        }
    }
}
