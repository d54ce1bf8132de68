//! The chain that the records of an audit file form, so that none can be changed, removed or moved unseen.
//!
//! A record in a file ends with `,"seq":N,"hash":"H"}`. `H` is SHA-256 (base64url) over the 32 octets of the hash before it and
//! over the line's own octets up to `,"hash"`. Whoever can write the file could compute all hashes anew, so a record
//! `audit.sealed` signs the chain every second (Ed25519); to compute that anew needs a key that is not in the file.
//! What this cannot show is a file cut off at its end: the copies of the seals that went elsewhere can.

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use vestibule_engine::secret::Secret;

/// Longest line that is read back, in octets.
pub const MAX_LINE: usize = 1 << 20;
/// Records after which the chain is sealed, whatever the time.
pub const SEAL_EVERY: u64 = 4096;

/// What a seal signs before the number and the hash, so that its key can sign nothing else.
const CONTEXT: &[u8] = b"vestibule audit seal 1\0";
const SEQUENCE: &[u8] = b",\"seq\":";
const HASH: &[u8] = b",\"hash\":\"";
const END: &[u8] = b"\"}";
/// Characters of a hash in base64url.
const HASH_LENGTH: usize = 43;

/// The last record of a chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    /// Its number; the first is 1, 0 is before any.
    pub sequence: u64,
    /// Its hash; zeros before any.
    pub hash: [u8; 32],
}

impl Head {
    /// Writes a record, which is a JSON object without its line end, as the next one.
    #[must_use]
    pub fn link(&self, record: &[u8], out: &mut Vec<u8>) -> Self {
        let begin = out.len();
        let sequence = self.sequence.saturating_add(1);
        out.extend_from_slice(record.strip_suffix(b"}").unwrap_or(record));
        out.extend_from_slice(SEQUENCE);
        out.extend_from_slice(sequence.to_string().as_bytes());
        let hash = self.over(out.get(begin..).unwrap_or_default());
        out.extend_from_slice(HASH);
        out.extend_from_slice(text(&hash).as_bytes());
        out.extend_from_slice(END);
        out.push(b'\n');
        Self { sequence, hash }
    }

    /// The hash of what follows.
    fn over(&self, octets: &[u8]) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(&self.hash);
        context.update(octets);
        context.finish().as_ref().try_into().unwrap_or_default()
    }
}

/// A record as it stands in a file.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    hashed: &'a [u8],
    /// What it claims to be.
    pub head: Head,
}

impl<'a> Link<'a> {
    /// Reads the end of a line, which is without its own.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        let body = line.strip_suffix(END)?;
        let (body, hash) = body.split_at_checked(body.len().checked_sub(HASH_LENGTH)?)?;
        let hashed = body.strip_suffix(HASH)?;
        let at = hashed.windows(SEQUENCE.len()).rposition(|window| window == SEQUENCE)?;
        let digits = hashed.get(at.checked_add(SEQUENCE.len())?..)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let sequence = std::str::from_utf8(digits).ok()?.parse().ok()?;
        Some(Self { hashed, head: Head { sequence, hash: octets(std::str::from_utf8(hash).ok()?)? } })
    }

    /// Whether it is what was written after `before`.
    pub fn follows(&self, before: &Head) -> bool {
        before.over(self.hashed) == self.head.hash
    }
}

/// What seals a chain.
pub struct SealingKey(Ed25519KeyPair);

impl SealingKey {
    /// The key of this seed.
    ///
    /// # Errors
    /// If it is none.
    pub fn new(seed: &Secret<[u8; 32]>) -> Result<Self, String> {
        Ed25519KeyPair::from_seed_unchecked(seed.reveal()).map(Self).map_err(|_| "the seed of the audit's seal is damaged".to_owned())
    }

    /// Its public part, as people compare it.
    pub fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.public_key())
    }

    /// Signs a chain up to this record.
    pub fn seal(&self, head: &Head) -> String {
        URL_SAFE_NO_PAD.encode(self.0.sign(&message(head)))
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SealingKey").field(&self.public()).finish()
    }
}

/// Whether a key signed a chain up to this record.
pub fn is_sealed(key: &str, head: &Head, signature: &str) -> bool {
    let (Some(key), Ok(signature)) = (octets(key), URL_SAFE_NO_PAD.decode(signature)) else { return false };
    UnparsedPublicKey::new(&ED25519, key).verify(&message(head), &signature).is_ok()
}

fn message(head: &Head) -> Vec<u8> {
    [CONTEXT, &head.sequence.to_be_bytes(), &head.hash].concat()
}

/// A hash as text.
pub fn text(hash: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(hash)
}

/// 32 octets from their text.
pub fn octets(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_linked_and_follows_its_own_only() {
        let mut out = Vec::new();
        let first = Head::default().link(br#"{"event":"a"}"#, &mut out);
        let second = first.link(br#"{"path":"\",\"seq\":9,\"hash\":\""}"#, &mut out);
        let lines: Vec<&[u8]> = out.split(|octet| *octet == b'\n').collect();
        let links: Vec<Link<'_>> = lines.iter().filter_map(|line| Link::read(line)).collect();
        assert_eq!(links.iter().map(|link| link.head).collect::<Vec<_>>(), [first, second]);
        assert!(links[0].follows(&Head::default()) && links[1].follows(&first));
        assert!(!links[1].follows(&Head::default()) && !links[0].follows(&first));
        for line in lines {
            assert!(line.is_empty() || serde_json::from_slice::<serde_json::Value>(line).is_ok());
        }
    }

    #[test]
    fn what_is_no_link_is_none() {
        for line in [
            "",
            "}",
            "{}",
            r#"{"a":1}"#,
            r#"{"a":1,"seq":1,"hash":"short"}"#,
            r#"{"a":1,"seq":-1,"hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
        ] {
            assert!(Link::read(line.as_bytes()).is_none(), "{line}");
        }
    }

    #[test]
    fn a_seal_is_of_one_key_one_number_and_one_hash() {
        let key = SealingKey::new(&Secret::new([7; 32])).unwrap();
        let head = Head { sequence: 5, hash: [9; 32] };
        let seal = key.seal(&head);
        assert!(is_sealed(&key.public(), &head, &seal));
        assert!(!is_sealed(&key.public(), &Head { sequence: 6, ..head }, &seal));
        assert!(!is_sealed(&key.public(), &Head { hash: [8; 32], ..head }, &seal));
        assert!(!is_sealed(&SealingKey::new(&Secret::new([8; 32])).unwrap().public(), &head, &seal));
        assert!(!format!("{key:?}").contains("7, 7"));
    }
}
