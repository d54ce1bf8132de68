//! What our own pages seal and sign for themselves: the login cookie, form tokens, the binding of a hand-over.
//!
//! All are made and read by this gateway only, so the algorithm is fixed and every text names what it is for:
//! what was made for one place is nothing in another.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;
use vestibule_engine::clock::random;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;

/// Octets of the salt of a sealed text.
const SALT: usize = 24;

/// The key of our own pages; the same on all nodes of an installation.
#[derive(Debug, Clone)]
pub struct PageKey(hmac::Key);

impl PageKey {
    /// Takes 256 random bits.
    pub fn new(secret: &Secret<[u8; 32]>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.reveal()))
    }

    /// A tag over `parts`, for `purpose`: 43 characters of base64url.
    pub fn tag(&self, purpose: &str, parts: &[&[u8]]) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(purpose, parts))
    }

    /// Whether `tag` is the tag over `parts`, in constant time.
    pub fn checks(&self, tag: &str, purpose: &str, parts: &[&[u8]]) -> bool {
        self.tag(purpose, parts).as_bytes().ct_eq(tag.as_bytes()).into()
    }

    /// A key for `purpose` that lasts as long as this one.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        self.mac(purpose, &[b"derived key"])
    }

    /// Seals `text` for `purpose` and `place`.
    ///
    /// # Errors
    /// [`Unavailable`] when there is no randomness.
    pub fn seal(&self, purpose: &str, place: &str, mut text: Vec<u8>) -> Result<String, Unavailable> {
        let salt = random::<SALT>()?;
        let failed = |_| Unavailable::new("sealing", "the cipher refused");
        let key = self.cipher(purpose, &salt).map_err(failed)?;
        key.seal_in_place_append_tag(nonce(), Aad::from(place.as_bytes()), &mut text).map_err(failed)?;
        let mut sealed = salt.to_vec();
        sealed.append(&mut text);
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// What was sealed for `purpose` and `place`. `None` for anything else.
    pub fn open(&self, purpose: &str, place: &str, sealed: &str) -> Option<Vec<u8>> {
        let mut sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (salt, text) = sealed.split_at_mut_checked(SALT)?;
        let key = self.cipher(purpose, salt).ok()?;
        let text = key.open_in_place(nonce(), Aad::from(place.as_bytes()), text).ok()?;
        Some(text.to_vec())
    }

    /// A key of its own per text: anybody may make us seal, and a random 96-bit nonce under one key wears out.
    fn cipher(&self, purpose: &str, salt: &[u8]) -> Result<LessSafeKey, aws_lc_rs::error::Unspecified> {
        Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.mac(purpose, &[b"cipher", salt]))?))
    }

    fn mac(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [purpose.as_bytes()].iter().chain(parts) {
            // Length first, so that no two lists of parts give one text (attack 92).
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut octets = [0; 32];
        octets.copy_from_slice(context.sign().as_ref());
        octets
    }
}

/// Used once per key, see [`PageKey::cipher`].
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_what_was_sealed_for_this_purpose_and_place() {
        let key = PageKey::new(&Secret::new([7; 32]));
        let sealed = key.seal("login", "north", b"text".to_vec()).unwrap();
        assert_eq!(key.open("login", "north", &sealed).as_deref(), Some(&b"text"[..]));
        assert_eq!(key.open("other", "north", &sealed), None);
        assert_eq!(key.open("login", "south", &sealed), None);
        assert_eq!(PageKey::new(&Secret::new([8; 32])).open("login", "north", &sealed), None);
        for cut in 0..sealed.len() {
            assert_eq!(key.open("login", "north", &sealed[..cut]), None);
        }
        assert_ne!(key.seal("login", "north", b"text".to_vec()).unwrap(), sealed);
    }

    #[test]
    fn a_tag_is_bound_to_purpose_and_parts() {
        let key = PageKey::new(&Secret::new([7; 32]));
        let tag = key.tag("form", &[b"ab", b"c"]);
        assert!(key.checks(&tag, "form", &[b"ab", b"c"]));
        assert!(!key.checks(&tag, "form", &[b"a", b"bc"]));
        assert!(!key.checks(&tag, "land", &[b"ab", b"c"]));
        assert!(!key.checks("", "form", &[b"ab", b"c"]));
    }
}
