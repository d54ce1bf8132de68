//! The ciphers of XML Encryption 1.1 §5: AES-GCM both ways, AES-CBC and Triple-DES to decrypt, AES key wrap (RFC 3394).
//!
//! What an attacker tries: to learn from our answers whether a padding was right (the CBC attack of 2011, Bleichenbacher's
//! of 1998). Padding is removed without branches on it, a key that cannot be unwrapped is a random one, and whoever calls
//! this has one error for everything.

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::cipher::{self, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use des::TdesEde3;
use des::cipher::{Array, BlockCipherDecrypt as _, KeyInit as _};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _, ConstantTimeGreater as _};
use zeroize::Zeroizing;

/// The length of an AES key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AesSize {
    /// 128 bits.
    Aes128,
    /// 192 bits.
    Aes192,
    /// 256 bits.
    Aes256,
}

impl AesSize {
    /// Octets of the key.
    pub fn octets(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 => 24,
            Self::Aes256 => 32,
        }
    }

    /// The size of a key of so many octets.
    pub fn of(key: &[u8]) -> Option<Self> {
        [Self::Aes128, Self::Aes192, Self::Aes256].into_iter().find(|size| size.octets() == key.len())
    }

    fn cipher(self) -> &'static cipher::Algorithm {
        match self {
            Self::Aes128 => &cipher::AES_128,
            Self::Aes192 => &cipher::AES_192,
            Self::Aes256 => &cipher::AES_256,
        }
    }

    fn gcm(self) -> &'static aws_lc_rs::aead::Algorithm {
        match self {
            Self::Aes128 => &AES_128_GCM,
            Self::Aes192 => &AES_192_GCM,
            Self::Aes256 => &AES_256_GCM,
        }
    }
}

/// A hash of RSA-OAEP: its digest, or that of its mask. SHA-1 is no weakness here: nothing depends on collisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "their names say it")]
pub enum OaepHash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl OaepHash {
    const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::Sha1, "http://www.w3.org/2000/09/xmldsig#sha1", "http://www.w3.org/2009/xmlenc11#mgf1sha1"),
        (Self::Sha224, "http://www.w3.org/2001/04/xmldsig-more#sha224", "http://www.w3.org/2009/xmlenc11#mgf1sha224"),
        (Self::Sha256, "http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2009/xmlenc11#mgf1sha256"),
        (Self::Sha384, "http://www.w3.org/2001/04/xmldsig-more#sha384", "http://www.w3.org/2009/xmlenc11#mgf1sha384"),
        (Self::Sha512, "http://www.w3.org/2001/04/xmlenc#sha512", "http://www.w3.org/2009/xmlenc11#mgf1sha512"),
    ];

    pub(crate) fn from_digest_uri(uri: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == uri).map(|(hash, ..)| *hash)
    }

    pub(crate) fn from_mask_uri(uri: &str) -> Option<Self> {
        Self::ALL.iter().find(|(.., known)| *known == uri).map(|(hash, ..)| *hash)
    }

    pub(crate) fn digest_uri(self) -> &'static str {
        // INVARIANT: the table is complete.
        Self::ALL.iter().find(|(hash, ..)| *hash == self).map_or("", |(_, uri, _)| uri)
    }

    pub(crate) fn mask_uri(self) -> &'static str {
        // INVARIANT: the table is complete.
        Self::ALL.iter().find(|(hash, ..)| *hash == self).map_or("", |(.., uri)| uri)
    }
}

/// How content is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ContentCipher {
    Gcm(AesSize),
    Cbc(AesSize),
    /// In CBC mode.
    TripleDes,
}

impl ContentCipher {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Gcm(AesSize::Aes128), "http://www.w3.org/2009/xmlenc11#aes128-gcm"),
        (Self::Gcm(AesSize::Aes192), "http://www.w3.org/2009/xmlenc11#aes192-gcm"),
        (Self::Gcm(AesSize::Aes256), "http://www.w3.org/2009/xmlenc11#aes256-gcm"),
        (Self::Cbc(AesSize::Aes128), "http://www.w3.org/2001/04/xmlenc#aes128-cbc"),
        (Self::Cbc(AesSize::Aes192), "http://www.w3.org/2001/04/xmlenc#aes192-cbc"),
        (Self::Cbc(AesSize::Aes256), "http://www.w3.org/2001/04/xmlenc#aes256-cbc"),
        (Self::TripleDes, "http://www.w3.org/2001/04/xmlenc#tripledes-cbc"),
    ];

    pub(crate) fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == uri).map(|(cipher, _)| *cipher)
    }

    pub(crate) fn uri(self) -> &'static str {
        // INVARIANT: the table is complete.
        Self::ALL.iter().find(|(cipher, _)| *cipher == self).map_or("", |(_, uri)| uri)
    }

    /// Octets of the key.
    pub(crate) fn key_octets(self) -> usize {
        match self {
            Self::Gcm(size) | Self::Cbc(size) => size.octets(),
            Self::TripleDes => 24,
        }
    }

    /// Whether this many octets could be a ciphertext: known to everybody who sees the message.
    pub(crate) fn could_be(self, octets: usize) -> bool {
        match self {
            Self::Gcm(size) => octets >= NONCE_LEN + size.gcm().tag_len(),
            Self::Cbc(_) => octets >= 32 && octets.is_multiple_of(16),
            Self::TripleDes => octets >= 16 && octets.is_multiple_of(8),
        }
    }

    /// The plaintext; `None` for a wrong tag or padding. What is inside CBC ciphertext is decrypted either way.
    pub(crate) fn decrypt(self, key: &[u8], mut octets: Vec<u8>) -> Option<Vec<u8>> {
        if !self.could_be(octets.len()) {
            return None;
        }
        match self {
            Self::Gcm(size) => {
                let key = LessSafeKey::new(UnboundKey::new(size.gcm(), key).ok()?);
                let (nonce, sealed) = octets.split_at_mut_checked(NONCE_LEN)?;
                let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
                let length = key.open_in_place(nonce, Aad::empty(), sealed).ok()?.len();
                octets.truncate(NONCE_LEN + length);
                octets.drain(..NONCE_LEN);
                Some(octets)
            }
            Self::Cbc(size) => {
                let key = DecryptingKey::cbc(UnboundCipherKey::new(size.cipher(), key).ok()?).ok()?;
                let (vector, blocks) = octets.split_first_chunk_mut::<16>()?;
                let length = {
                    let plain = key.decrypt(blocks, DecryptionContext::Iv128(FixedLength::from(*vector))).ok()?;
                    unpadded(plain, 16)
                };
                octets.drain(..16);
                length.map(|length| {
                    octets.truncate(length);
                    octets
                })
            }
            Self::TripleDes => {
                let cipher = TdesEde3::new_from_slice(key).ok()?;
                let (vector, blocks) = octets.split_first_chunk_mut::<8>()?;
                let mut before = *vector;
                for block in blocks.as_chunks_mut::<8>().0 {
                    let sealed = *block;
                    let mut array = Array::from(sealed);
                    cipher.decrypt_block(&mut array);
                    block.iter_mut().zip(array).zip(before).for_each(|((to, plain), mask)| *to = plain ^ mask);
                    before = sealed;
                }
                let length = unpadded(blocks, 8);
                octets.drain(..8);
                length.map(|length| {
                    octets.truncate(length);
                    octets
                })
            }
        }
    }
}

/// What is left without the padding (XML Encryption §5.2): the last octet counts it, the others may be anything.
fn unpadded(plain: &[u8], block: u8) -> Option<usize> {
    let count = *plain.last()?;
    let right = !count.ct_eq(&0) & !count.ct_gt(&block);
    let length = plain.len().checked_sub(usize::from(count))?;
    bool::from(right).then_some(length)
}

/// Encrypts with AES-GCM under a fresh nonce: nonce, ciphertext and tag in one piece.
pub(crate) fn seal(size: AesSize, key: &[u8], nonce: [u8; NONCE_LEN], plaintext: &[&[u8]]) -> Option<Vec<u8>> {
    let key = LessSafeKey::new(UnboundKey::new(size.gcm(), key).ok()?);
    let length: usize = plaintext.iter().map(|part| part.len()).sum();
    let mut octets = Vec::with_capacity(NONCE_LEN + length + size.gcm().tag_len());
    octets.extend_from_slice(&nonce);
    plaintext.iter().for_each(|part| octets.extend_from_slice(part));
    let (_, plain) = octets.split_at_mut_checked(NONCE_LEN)?;
    let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), plain).ok()?;
    octets.extend_from_slice(tag.as_ref());
    Some(octets)
}

/// RFC 3394 §2.2.2. `None` if the integrity check fails.
pub(crate) fn unwrap(kek: &[u8], wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let key = DecryptingKey::ecb(UnboundCipherKey::new(AesSize::of(kek)?.cipher(), kek).ok()?).ok()?;
    let (first, blocks) = wrapped.split_first_chunk::<8>()?;
    let mut blocks = Zeroizing::new(blocks.to_vec());
    let count = blocks.len() / 8;
    if !(2..=LONGEST_WRAPPED).contains(&count) || !blocks.len().is_multiple_of(8) {
        return None;
    }
    let mut register = *first;
    for step in (1..=6 * count).rev() {
        let block = blocks.as_chunks_mut::<8>().0.get_mut((step - 1) % count)?;
        let mut both = Zeroizing::new([0; 16]);
        let mixed = u64::from_be_bytes(register) ^ u64::try_from(step).ok()?;
        both.iter_mut().zip(mixed.to_be_bytes().iter().chain(block.iter())).for_each(|(to, from)| *to = *from);
        key.decrypt(&mut *both, DecryptionContext::None).ok()?;
        let (left, right) = both.split_first_chunk::<8>()?;
        register = *left;
        block.copy_from_slice(right);
    }
    bool::from(register.ct_eq(&WRAP_CHECK)).then_some(blocks)
}

/// RFC 3394 §2.2.1.
pub(crate) fn wrap(kek: &[u8], content_key: &[u8]) -> Option<Vec<u8>> {
    let key = EncryptingKey::ecb(UnboundCipherKey::new(AesSize::of(kek)?.cipher(), kek).ok()?).ok()?;
    let mut blocks = content_key.to_vec();
    let count = blocks.len() / 8;
    if !(2..=LONGEST_WRAPPED).contains(&count) || !blocks.len().is_multiple_of(8) {
        return None;
    }
    let mut register = WRAP_CHECK;
    for step in 1..=6 * count {
        let block = blocks.as_chunks_mut::<8>().0.get_mut((step - 1) % count)?;
        let mut both = Zeroizing::new([0; 16]);
        both.iter_mut().zip(register.iter().chain(block.iter())).for_each(|(to, from)| *to = *from);
        key.less_safe_encrypt(&mut *both, EncryptionContext::None).ok()?;
        let (left, right) = both.split_first_chunk::<8>()?;
        register = (u64::from_be_bytes(*left) ^ u64::try_from(step).ok()?).to_be_bytes();
        block.copy_from_slice(right);
    }
    Some([&register[..], &blocks].concat())
}

/// RFC 3394 §2.2.3.1.
const WRAP_CHECK: [u8; 8] = [0xa6; 8];
/// The longest content key, in blocks of 8 octets.
const LONGEST_WRAPPED: usize = 4;

/// Reads the padded block of RSA PKCS#1 v1.5 (RFC 8017 §7.2.2): a key of exactly the expected length, or `key` stays what it
/// was, and nothing tells which.
pub(crate) fn read_rsa15(block: &[u8], key: &mut [u8]) {
    let Some(padding) = block.len().checked_sub(key.len() + 1) else { return };
    // Lengths are public: eight octets of padding at least.
    if padding < 10 {
        return;
    }
    let mut right = Choice::from(1);
    for (place, octet) in block.iter().take(padding + 1).enumerate() {
        right &= match place {
            0 => octet.ct_eq(&0),
            1 => octet.ct_eq(&2),
            _ if place == padding => octet.ct_eq(&0),
            _ => !octet.ct_eq(&0),
        };
    }
    for (to, from) in key.iter_mut().zip(block.iter().skip(padding + 1)) {
        to.conditional_assign(from, right);
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::cipher::PaddedBlockEncryptingKey;
    use aws_lc_rs::key_wrap::{AES_128, AES_256, AesKek, KeyWrap as _};

    use super::*;

    const SIZES: [AesSize; 3] = [AesSize::Aes128, AesSize::Aes192, AesSize::Aes256];

    #[test]
    fn the_key_wrap_is_that_of_the_provider_and_refuses_every_changed_octet() {
        let content = [7; 32];
        for size in SIZES {
            let kek = vec![9; size.octets()];
            for content in [&content[..16], &content[..24], &content] {
                let wrapped = wrap(&kek, content).unwrap();
                let mut theirs = vec![0; content.len() + 8];
                match size {
                    AesSize::Aes128 => drop(AesKek::new(&AES_128, &kek).unwrap().wrap(content, &mut theirs).unwrap().len()),
                    AesSize::Aes256 => drop(AesKek::new(&AES_256, &kek).unwrap().wrap(content, &mut theirs).unwrap().len()),
                    AesSize::Aes192 => theirs.clone_from(&wrapped),
                }
                assert_eq!(wrapped, theirs);
                assert_eq!(unwrap(&kek, &wrapped).unwrap().as_slice(), content);
                for place in 0..wrapped.len() {
                    let mut changed = wrapped.clone();
                    changed[place] ^= 1;
                    assert!(unwrap(&kek, &changed).is_none(), "octet {place}");
                }
            }
            for wrong in [0, 8, 15, 16, 23, 25, 48] {
                assert!(unwrap(&kek, &vec![0; wrong]).is_none());
            }
            assert!(wrap(&kek, &[0; 40]).is_none());
        }
        assert!(wrap(&[0; 17], &content).is_none());
    }

    #[test]
    fn gcm_comes_back_and_refuses_every_changed_octet() {
        for size in SIZES {
            let key = vec![3; size.octets()];
            let sealed = seal(size, &key, [5; 12], &[b"plain", b"text"]).unwrap();
            let cipher = ContentCipher::Gcm(size);
            assert_eq!(cipher.decrypt(&key, sealed.clone()).unwrap(), b"plaintext");
            for place in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[place] ^= 1;
                assert!(cipher.decrypt(&key, changed).is_none());
            }
            assert!(cipher.decrypt(&key, vec![0; 27]).is_none());
            assert!(cipher.decrypt(&[0; 5], sealed).is_none());
        }
    }

    #[test]
    fn cbc_reads_any_padding_that_counts_itself() {
        for size in SIZES {
            let key = vec![3; size.octets()];
            let encrypting = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(size.cipher(), &key).unwrap()).unwrap();
            for length in 0..34 {
                let plain = vec![b'x'; length];
                let mut blocks = plain.clone();
                let context = encrypting.encrypt(&mut blocks).unwrap();
                let DecryptionContext::Iv128(vector) = context else { panic!("an initialization vector") };
                let sealed = [&vector.as_ref()[..], &blocks].concat();
                assert_eq!(ContentCipher::Cbc(size).decrypt(&key, sealed).unwrap(), plain);
            }
        }
        assert_eq!(unpadded(&[1, 2, 3, 9, 9, 9, 9, 5], 8), Some(3));
        assert_eq!(unpadded(&[8; 8], 8), Some(0));
        assert_eq!(unpadded(&[0; 16], 16), None);
        assert_eq!(unpadded(&[17; 32], 16), None);
        assert_eq!(unpadded(&[], 8), None);
    }

    #[test]
    fn ciphertexts_of_impossible_lengths_are_refused() {
        for (cipher, _) in ContentCipher::ALL {
            for length in 0..16 {
                assert!(cipher.decrypt(&vec![1; cipher.key_octets()], vec![0; length]).is_none());
            }
            assert_eq!(ContentCipher::from_uri(cipher.uri()), Some(cipher));
        }
        assert!(ContentCipher::Cbc(AesSize::Aes128).decrypt(&[1; 16], vec![0; 33]).is_none());
    }

    #[test]
    fn a_wrong_rsa15_padding_leaves_the_random_key() {
        let mut block = vec![0, 2];
        block.extend([1; 8]);
        block.push(0);
        block.extend([7; 16]);
        let read = |block: &[u8]| {
            let mut key = [9; 16];
            read_rsa15(block, &mut key);
            key
        };
        assert_eq!(read(&block), [7; 16]);
        for (place, octet) in [(0, 1), (1, 1), (2, 0), (9, 0), (10, 1)] {
            let mut wrong = block.clone();
            wrong[place] = octet;
            assert_eq!(read(&wrong), [9; 16], "octet {place}");
        }
        // A key of another length is as wrong.
        assert_eq!(read(&block[..26]), [9; 16]);
        assert_eq!(read(&[]), [9; 16]);
        let mut longer = block.clone();
        longer.push(7);
        assert_eq!(read(&longer), [9; 16]);
    }
}
