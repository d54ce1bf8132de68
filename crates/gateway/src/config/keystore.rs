//! Key stores: PKCS#12 (RFC 7292) and Java's JKS, opened when the configuration is read.
//!
//! A key store is a file from somebody else's machine. Its lengths are checked before they are believed, its integrity is
//! checked with the password, and what is wrong with it is said without a word of what is in it.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use subtle::ConstantTimeEq;
use vestibule_engine::secret::Secret;
use x509_parser::asn1_rs::{Any, FromDer, Oid, Tag, oid};
use zeroize::Zeroizing;

/// How a JKS begins, and its versions.
const JKS: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const JKS_VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;
/// What Java digests between the password and the store.
const MIGHTY: &[u8] = b"Mighty Aphrodite";
/// Octets of a SHA-1 digest.
const SHA1: usize = 20;
/// Most entries of a store, and certificates of a chain.
const MAX_ENTRIES: u32 = 1024;
const MAX_CHAIN: u32 = 32;
/// Sun's own protection of keys.
const PROTECTED: Oid<'static> = oid!(1.3.6.1.4.1.42.2.17.1.1);

/// A private key and its certificates, the key's own first.
pub struct Pair {
    /// The certificates.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
}

/// Whether these octets are a key store rather than text.
pub fn is_one(octets: &[u8]) -> bool {
    // PKCS#12 is a SEQUENCE of many octets; PEM and the comments before it are text.
    octets.starts_with(&JKS) || matches!(octets, [0x30, 0x80..=0x84, ..])
}

/// The private key of this alias; of the only one where none is named.
///
/// # Errors
/// A sentence that says what is wrong; never the password or the key.
pub fn open(octets: &[u8], password: &Secret<String>, alias: Option<&str>) -> Result<Pair, String> {
    let mut pairs = if octets.starts_with(&JKS) { jks(octets, password)? } else { pkcs12(octets, password)? };
    let names = || pairs.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let place = match alias {
        // Java keeps aliases in lower case.
        Some(alias) => pairs.iter().position(|(name, _)| name.to_lowercase() == alias.to_lowercase()),
        None if pairs.len() > 1 => return Err(format!("the key store has several private keys, {}: say which with `alias`", names())),
        None => (!pairs.is_empty()).then_some(0),
    };
    match (place, pairs.is_empty()) {
        (Some(place), _) => Ok(pairs.swap_remove(place).1),
        (None, true) => Err("the key store has no private key with its certificate".to_owned()),
        (None, false) => Err(format!("the key store has no private key of this alias; it has {}", names())),
    }
}

fn pkcs12(octets: &[u8], password: &Secret<String>) -> Result<Vec<(String, Pair)>, String> {
    let opened = KeyStore::from_pkcs12(octets, password.reveal(), Pkcs12ImportPolicy::Strict);
    let store = opened.map_err(|_| "this is no PKCS#12 file, or its password is another".to_owned())?;
    let mut pairs = Vec::new();
    for (alias, entry) in store.entries() {
        let KeyStoreEntry::PrivateKeyChain(chain) = entry else { continue };
        let certificates: Vec<_> = chain.certs().iter().map(|certificate| CertificateDer::from(certificate.as_der().to_vec())).collect();
        if !certificates.is_empty() {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(chain.key().as_der().to_vec()));
            pairs.push((alias.clone(), Pair { chain: certificates, key }));
        }
    }
    Ok(pairs)
}

/// As OpenJDK's `JavaKeyStore` reads it.
fn jks(octets: &[u8], password: &Secret<String>) -> Result<Vec<(String, Pair)>, String> {
    let malformed = || "the Java key store is malformed".to_owned();
    // Java digests its characters, two octets each.
    let password = Zeroizing::new(password.reveal().encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>());
    let (content, digest) = octets.split_at_checked(octets.len().saturating_sub(SHA1)).ok_or_else(malformed)?;
    if !bool::from(sha1(&[&password, MIGHTY, content]).ct_eq(digest)) {
        return Err("the password of the Java key store is another, or the store was changed".to_owned());
    }
    let mut rest = Octets(content.get(JKS.len()..).unwrap_or_default());
    let version = rest.number().filter(|version| JKS_VERSIONS.contains(version)).ok_or_else(malformed)?;
    let count = rest.number().filter(|count| *count <= MAX_ENTRIES).ok_or_else(malformed)?;
    let mut pairs = Vec::new();
    for _ in 0..count {
        let (kind, alias) = (rest.number().ok_or_else(malformed)?, rest.text().ok_or_else(malformed)?);
        // When it was made.
        rest.take(8).ok_or_else(malformed)?;
        let protected = match kind {
            1 => Some(rest.counted().ok_or_else(malformed)?),
            2 => None,
            _ => return Err(malformed()),
        };
        let certificates = match protected {
            Some(_) => rest.number().filter(|length| *length <= MAX_CHAIN).ok_or_else(malformed)?,
            None => 1,
        };
        let mut chain = Vec::new();
        for _ in 0..certificates {
            if version == 2 && rest.text().ok_or_else(malformed)? != "X.509" {
                return Err(malformed());
            }
            chain.push(CertificateDer::from(rest.counted().ok_or_else(malformed)?.to_vec()));
        }
        if let (Some(protected), false) = (protected, chain.is_empty()) {
            let key = unprotected(protected, &password).ok_or("a key in the Java key store has a password of its own")?;
            pairs.push((alias.to_owned(), Pair { chain, key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec())) }));
        }
    }
    Ok(pairs)
}

/// The PKCS#8 key in Sun's `EncryptedPrivateKeyInfo`: a salt, the key under a stream of SHA-1 digests, and a digest to check it.
fn unprotected(protected: &[u8], password: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (_, outer) = Any::from_der(protected).ok()?;
    let (data, algorithm) = Any::from_der(outer.data).ok()?;
    let (_, named) = Any::from_der(algorithm.data).ok()?;
    if named.oid().ok()? != PROTECTED {
        return None;
    }
    let (_, data) = Any::from_der(data).ok().filter(|(_, data)| data.tag() == Tag::OctetString)?;
    let (salt, rest) = data.data.split_at_checked(SHA1)?;
    let (hidden, check) = rest.split_at_checked(rest.len().checked_sub(SHA1)?)?;
    let mut key = Zeroizing::new(Vec::with_capacity(hidden.len()));
    let mut stream = Zeroizing::new(salt.to_vec());
    for block in hidden.chunks(SHA1) {
        stream = sha1(&[password, &stream]);
        key.extend(block.iter().zip(stream.iter()).map(|(hidden, stream)| hidden ^ stream));
    }
    bool::from(sha1(&[password, &key]).ct_eq(check)).then_some(key)
}

fn sha1(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part);
    }
    Zeroizing::new(context.finish().as_ref().to_vec())
}

/// What is still to be read.
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().map(|octets| u32::from_be_bytes(*octets))
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let count = self.number()?;
        self.take(usize::try_from(count).ok()?)
    }

    fn text(&mut self) -> Option<&'a str> {
        let count = self.take(2)?.first_chunk().map(|octets| u16::from_be_bytes(*octets))?;
        std::str::from_utf8(self.take(usize::from(count))?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `keytool -genkeypair -keyalg EC -storetype JKS`, of two keys.
    const STORE: &[u8] = include_bytes!("../../tests/data/keys/two.jks");
    const PASSWORD: &str = "store password";

    #[test]
    fn a_java_store_opens_with_its_password_and_nothing_else() {
        let password = Secret::from(PASSWORD);
        let refused = open(STORE, &password, None).err().unwrap();
        assert!(refused.contains("`one`") && refused.contains("`two`"), "{refused}");
        for alias in ["one", "TWO"] {
            let pair = open(STORE, &password, Some(alias)).ok().unwrap();
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            rustls::sign::CertifiedKey::from_der(pair.chain, pair.key, &provider).expect("they belong together");
        }
        assert!(open(STORE, &password, Some("three")).err().unwrap().contains("no private key of this alias"));
        assert!(open(STORE, &Secret::from("another"), Some("one")).err().unwrap().contains("password"));
        for at in (0..STORE.len()).step_by(7) {
            let mut changed = STORE.to_vec();
            changed[at] ^= 1;
            assert!(open(&changed, &password, Some("one")).is_err(), "{at}");
            assert!(open(&STORE[..at], &password, Some("one")).is_err(), "{at}");
        }
    }
}
