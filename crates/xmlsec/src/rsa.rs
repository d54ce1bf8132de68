//! RSA encryption by AWS-LC (PKCS#1 2.2 §7.1), the one module with `unsafe`.
//!
//! XML Encryption lets a sender choose the digest and the mask's hash of OAEP apart; the safe interface of `aws-lc-rs`
//! knows equal ones only, and no raw decryption, which the constant-time reading of PKCS#1 v1.5 padding needs. Nothing
//! here parses what came from outside but the number itself: AWS-LC checks its length and range.
//!
//! Every pointer is owned by one value here, made non-null when it is made and freed when it is dropped. Slices are handed over
//! with their own lengths, and AWS-LC keeps none of them beyond the call, save the label, which it is given to free.

use std::ptr::{NonNull, null_mut};

use aws_lc_sys::{
    CBS, CBS_init, EVP_MD, EVP_PKEY, EVP_PKEY_CTX, EVP_PKEY_CTX_free, EVP_PKEY_CTX_new, EVP_PKEY_CTX_set_rsa_mgf1_md,
    EVP_PKEY_CTX_set_rsa_oaep_md, EVP_PKEY_CTX_set_rsa_padding, EVP_PKEY_CTX_set0_rsa_oaep_label, EVP_PKEY_RSA, EVP_PKEY_decrypt,
    EVP_PKEY_decrypt_init, EVP_PKEY_encrypt, EVP_PKEY_encrypt_init, EVP_PKEY_free, EVP_PKEY_id, EVP_PKEY_size, EVP_parse_private_key,
    EVP_parse_public_key, EVP_sha1, EVP_sha224, EVP_sha256, EVP_sha384, EVP_sha512, OPENSSL_free, OPENSSL_memdup, RSA_NO_PADDING,
    RSA_PKCS1_OAEP_PADDING,
};

use crate::cipher::OaepHash;

/// The parameters of OAEP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Oaep {
    pub(crate) digest: OaepHash,
    pub(crate) mask: OaepHash,
    pub(crate) label: Vec<u8>,
}

/// A private key.
pub(crate) struct PrivateKey(Key);

impl PrivateKey {
    /// Reads PKCS#8 in DER; `None` if it is something else, or no RSA key.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        Key::parse(der, EVP_parse_private_key).map(Self)
    }

    /// Octets of the modulus.
    pub(crate) fn size(&self) -> usize {
        self.0.size
    }

    /// The octets behind OAEP padding. `block` is scratch of [`PrivateKey::size`] octets; the plaintext stands at its
    /// beginning, `None` says that the ciphertext has another length or the padding is wrong.
    pub(crate) fn decrypt_oaep<'b>(&self, ciphertext: &[u8], oaep: &Oaep, block: &'b mut [u8]) -> Option<&'b [u8]> {
        let context = self.context()?;
        context.set_oaep(oaep)?;
        self.run(&context, ciphertext, block)
    }

    /// The padded block as it is, for a reader that must not tell whether the padding is right.
    pub(crate) fn decrypt_raw<'b>(&self, ciphertext: &[u8], block: &'b mut [u8]) -> Option<&'b [u8]> {
        let context = self.context()?;
        // SAFETY: the context is live and was initialised for decryption.
        if unsafe { EVP_PKEY_CTX_set_rsa_padding(context.0.as_ptr(), RSA_NO_PADDING) } != 1 {
            return None;
        }
        self.run(&context, ciphertext, block)
    }

    fn context(&self) -> Option<Context> {
        let context = Context::new(&self.0)?;
        // SAFETY: the context is live.
        (unsafe { EVP_PKEY_decrypt_init(context.0.as_ptr()) } == 1).then_some(context)
    }

    fn run<'b>(&self, context: &Context, ciphertext: &[u8], block: &'b mut [u8]) -> Option<&'b [u8]> {
        if ciphertext.len() != self.0.size || block.len() != self.0.size {
            return None;
        }
        let mut written = block.len();
        // SAFETY: `block` has `written` octets, as many as the modulus, which is the most that AWS-LC writes; `ciphertext`
        // is read within its length.
        let done =
            unsafe { EVP_PKEY_decrypt(context.0.as_ptr(), block.as_mut_ptr(), &raw mut written, ciphertext.as_ptr(), ciphertext.len()) };
        if done == 1 { block.get(..written) } else { None }
    }
}

/// A public key.
pub(crate) struct PublicKey(Key);

impl PublicKey {
    /// Reads SubjectPublicKeyInfo in DER; `None` if it is something else, or no RSA key.
    pub(crate) fn from_spki(der: &[u8]) -> Option<Self> {
        Key::parse(der, EVP_parse_public_key).map(Self)
    }

    /// Octets of the modulus.
    pub(crate) fn size(&self) -> usize {
        self.0.size
    }

    /// Pads and encrypts; `None` if the plaintext is too long for the key.
    pub(crate) fn encrypt_oaep(&self, plaintext: &[u8], oaep: &Oaep) -> Option<Vec<u8>> {
        let context = Context::new(&self.0)?;
        // SAFETY: the context is live.
        if unsafe { EVP_PKEY_encrypt_init(context.0.as_ptr()) } != 1 {
            return None;
        }
        context.set_oaep(oaep)?;
        let mut ciphertext = vec![0; self.0.size];
        let mut written = ciphertext.len();
        // SAFETY: `ciphertext` has `written` octets, as many as the modulus, and `plaintext` is read within its length.
        let done =
            unsafe { EVP_PKEY_encrypt(context.0.as_ptr(), ciphertext.as_mut_ptr(), &raw mut written, plaintext.as_ptr(), plaintext.len()) };
        (done == 1 && written == ciphertext.len()).then_some(ciphertext)
    }
}

/// An RSA key that AWS-LC owns.
struct Key {
    pointer: NonNull<EVP_PKEY>,
    size: usize,
}

// SAFETY: AWS-LC never changes a key after it was parsed (it is not handed out here), counts references to it atomically, and
// guards what it computes lazily with its own locks.
unsafe impl Send for Key {}
// SAFETY: as above.
unsafe impl Sync for Key {}

impl Key {
    fn parse(der: &[u8], read: unsafe extern "C" fn(*mut CBS) -> *mut EVP_PKEY) -> Option<Self> {
        let mut octets = CBS { data: der.as_ptr(), len: 0 };
        // SAFETY: `octets` points to `der`, which outlives both calls; the key does not refer to it.
        let pointer = unsafe {
            CBS_init(&raw mut octets, der.as_ptr(), der.len());
            read(&raw mut octets)
        };
        let mut key = Self { pointer: NonNull::new(pointer)?, size: 0 };
        // SAFETY: the key is live.
        let (kind, size) = unsafe { (EVP_PKEY_id(key.pointer.as_ptr()), EVP_PKEY_size(key.pointer.as_ptr())) };
        key.size = usize::try_from(size).ok()?;
        (octets.len == 0 && kind == EVP_PKEY_RSA).then_some(key)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: this value owns the pointer. AWS-LC clears the numbers of a private key.
        unsafe { EVP_PKEY_free(self.pointer.as_ptr()) }
    }
}

/// One operation with a key.
struct Context(NonNull<EVP_PKEY_CTX>);

impl Context {
    fn new(key: &Key) -> Option<Self> {
        // SAFETY: the key is live; the context holds a reference of its own to it.
        NonNull::new(unsafe { EVP_PKEY_CTX_new(key.pointer.as_ptr(), null_mut()) }).map(Self)
    }

    fn set_oaep(&self, oaep: &Oaep) -> Option<()> {
        let context = self.0.as_ptr();
        // SAFETY: the context is live and initialised; digests are static.
        let set = unsafe {
            EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1
                && EVP_PKEY_CTX_set_rsa_oaep_md(context, digest(oaep.digest)) == 1
                && EVP_PKEY_CTX_set_rsa_mgf1_md(context, digest(oaep.mask)) == 1
        };
        if !set {
            return None;
        }
        if oaep.label.is_empty() {
            return Some(());
        }
        // SAFETY: the copy has the label's length. On success the context owns it, else it is freed here, once.
        unsafe {
            let label = OPENSSL_memdup(oaep.label.as_ptr().cast(), oaep.label.len());
            if label.is_null() {
                return None;
            }
            if EVP_PKEY_CTX_set0_rsa_oaep_label(context, label.cast(), oaep.label.len()) == 1 {
                return Some(());
            }
            OPENSSL_free(label);
        }
        None
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: this value owns the pointer.
        unsafe { EVP_PKEY_CTX_free(self.0.as_ptr()) }
    }
}

fn digest(hash: OaepHash) -> *const EVP_MD {
    // SAFETY: these functions take nothing and give static tables.
    unsafe {
        match hash {
            OaepHash::Sha1 => EVP_sha1(),
            OaepHash::Sha224 => EVP_sha224(),
            OaepHash::Sha256 => EVP_sha256(),
            OaepHash::Sha384 => EVP_sha384(),
            OaepHash::Sha512 => EVP_sha512(),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PrivateDecryptingKey};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn pkcs8() -> Vec<u8> {
        let pem = include_str!("../../../corpus/recorded/keys/sp-rsa2048.key");
        STANDARD.decode(pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).unwrap()
    }

    #[test]
    fn every_pair_of_hashes_comes_back_and_no_other_pair_reads_it() {
        let private = PrivateKey::from_pkcs8(&pkcs8()).unwrap();
        let spki = PrivateDecryptingKey::from_pkcs8(&pkcs8()).unwrap().public_key().as_der().unwrap();
        let public = PublicKey::from_spki(spki.as_ref()).unwrap();
        let hashes = [OaepHash::Sha1, OaepHash::Sha224, OaepHash::Sha256, OaepHash::Sha384, OaepHash::Sha512];
        let mut block = vec![0; private.size()];
        for digest in hashes {
            for mask in hashes {
                for label in [Vec::new(), b"label".to_vec()] {
                    let oaep = Oaep { digest, mask, label };
                    let ciphertext = public.encrypt_oaep(b"the content key", &oaep).unwrap();
                    assert_eq!(private.decrypt_oaep(&ciphertext, &oaep, &mut block), Some(&b"the content key"[..]));
                    let other = Oaep { label: b"other".to_vec(), ..oaep.clone() };
                    assert_eq!(private.decrypt_oaep(&ciphertext, &other, &mut block), None);
                    let other = Oaep { mask: if mask == OaepHash::Sha1 { OaepHash::Sha256 } else { OaepHash::Sha1 }, ..oaep };
                    assert_eq!(private.decrypt_oaep(&ciphertext, &other, &mut block), None);
                }
            }
        }
    }

    #[test]
    fn the_safe_interface_agrees_where_it_knows_the_hashes() {
        let theirs = PrivateDecryptingKey::from_pkcs8(&pkcs8()).unwrap().public_key();
        let theirs = OaepPublicEncryptingKey::new(theirs).unwrap();
        let mut ciphertext = vec![0; theirs.ciphertext_size()];
        theirs.encrypt(&OAEP_SHA256_MGF1SHA256, b"key", &mut ciphertext, Some(b"l")).unwrap();
        let private = PrivateKey::from_pkcs8(&pkcs8()).unwrap();
        let oaep = Oaep { digest: OaepHash::Sha256, mask: OaepHash::Sha256, label: b"l".to_vec() };
        assert_eq!(private.decrypt_oaep(&ciphertext, &oaep, &mut vec![0; 256]), Some(&b"key"[..]));
    }

    #[test]
    fn what_is_no_rsa_key_or_no_ciphertext_is_refused() {
        let mut der = pkcs8();
        assert!(PublicKey::from_spki(&der).is_none());
        der.push(0);
        assert!(PrivateKey::from_pkcs8(&der).is_none());
        assert!(PrivateKey::from_pkcs8(&[]).is_none());
        let pem = include_str!("../../../corpus/recorded/keys/idp-ec256.key");
        let curve = STANDARD.decode(pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).unwrap();
        assert!(PrivateKey::from_pkcs8(&curve).is_none());
        let private = PrivateKey::from_pkcs8(&pkcs8()).unwrap();
        let mut block = vec![0; 256];
        for wrong in [&[][..], &[1; 255], &[1; 257], &[0xff; 256]] {
            assert!(private.decrypt_raw(wrong, &mut block).is_none());
        }
        assert!(private.decrypt_raw(&[1; 256], &mut [0; 255]).is_none());
        assert!(private.decrypt_raw(&[1; 256], &mut block).is_some());
    }
}
