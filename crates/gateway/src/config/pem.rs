//! Certificates and keys, in PEM form (RFC 7468) or in key stores, read when the configuration is, so that a listener never starts
//! without them and a reload with a broken one changes nothing.

use std::path::Path;
use std::sync::Arc;

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::{Decode, SecretDocument};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::{parse_x509_certificate, parse_x509_crl};

use vestibule_engine::Timestamp;
use vestibule_engine::secret::Secret;

use crate::config::keystore;
use crate::config::secrets::reason;

/// Longest certificate file we read, in octets. A bundle of roots is some hundred KiB.
const MAX_CERTIFICATES: u64 = 4 << 20;
/// Longest file of revocation lists, in octets. Large authorities revoke hundreds of thousands.
const MAX_LISTS: u64 = 64 << 20;

/// All certificates of a file; at least one.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let octets = read(path)?;
    if keystore::is_one(&octets) {
        return Err(format!("`{shown}` is a key store, not in PEM form; where one may stand, it has the key in it"));
    }
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&octets).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("`{shown}` holds no certificate in PEM form")),
        Err(why) => Err(format!("`{shown}` is not in PEM form: {why}")),
    }
}

/// All revocation lists of a file; at least one. With each, until when it speaks.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn revocation_lists(path: &Path) -> Result<Vec<(CertificateRevocationListDer<'static>, Option<Timestamp>)>, String> {
    let shown = path.display();
    let unreadable = |why: std::io::Error| format!("the revocation list `{shown}` cannot be read: {}", reason(&why));
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_LISTS {
        return Err(format!("the revocation list `{shown}` is longer than {MAX_LISTS} octets"));
    }
    let octets = std::fs::read(path).map_err(unreadable)?;
    let mut lists = Vec::new();
    for list in CertificateRevocationListDer::pem_slice_iter(&octets) {
        let list = list.map_err(|why| format!("`{shown}` is not in PEM form: {why}"))?;
        let (_, parsed) = parse_x509_crl(&list).map_err(|_| format!("`{shown}` holds no revocation list"))?;
        let until = parsed.next_update().and_then(|until| Timestamp::from_second(until.timestamp()).ok());
        lists.push((list, until));
    }
    if lists.is_empty() { Err(format!("`{shown}` holds no revocation list in PEM form")) } else { Ok(lists) }
}

/// What opens a private key that is not bare.
#[derive(Debug, Clone, Copy, Default)]
pub struct Opening<'a> {
    /// The password.
    pub password: Option<&'a Secret<String>>,
    /// Which key of a store with several.
    pub alias: Option<&'a str>,
}

/// A certificate and its key from a key store: PKCS#12 or Java's.
///
/// # Errors
/// A sentence that says what is wrong; never the key.
pub fn stored(path: &Path, opening: Opening<'_>) -> Result<Arc<CertifiedKey>, String> {
    let shown = path.display();
    let octets = read(path)?;
    if !keystore::is_one(&octets) {
        return Err(format!("`{shown}` is no key store, so that it needs a key"));
    }
    let password = opening.password.ok_or_else(|| format!("`{shown}` is a key store, which needs its password"))?;
    let keystore::Pair { chain, key } = keystore::open(&octets, password, opening.alias).map_err(|why| format!("`{shown}`: {why}"))?;
    together(chain, key)
}

/// The octets of a file with certificates.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let unreadable = |why: std::io::Error| format!("the certificate `{shown}` cannot be read: {}", reason(&why));
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_CERTIFICATES {
        return Err(format!("the certificate `{shown}` is longer than {MAX_CERTIFICATES} octets"));
    }
    std::fs::read(path).map_err(unreadable)
}

/// A private key alone, from a key store (PKCS#12 or Java's) or a file in PEM form.
///
/// # Errors
/// A sentence that says what is wrong; never the key.
pub fn lone_key(path: &Path, opening: Opening<'_>) -> Result<PrivateKeyDer<'static>, String> {
    let shown = path.display();
    let unreadable = |why: std::io::Error| format!("the key `{shown}` cannot be read: {}", reason(&why));
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_CERTIFICATES {
        return Err(format!("the key `{shown}` is longer than {MAX_CERTIFICATES} octets"));
    }
    let octets = Secret::new(std::fs::read(path).map_err(unreadable)?);
    if keystore::is_one(octets.reveal()) {
        let password = opening.password.ok_or_else(|| format!("`{shown}` is a key store, which needs its password"))?;
        return keystore::open(octets.reveal(), password, opening.alias).map(|pair| pair.key).map_err(|why| format!("`{shown}`: {why}"));
    }
    let text = std::str::from_utf8(octets.reveal()).map_err(|_| format!("`{shown}` is neither in PEM form nor a key store"))?;
    private_key(&Secret::from(text), opening.password).map_err(|why| format!("`{shown}`: {why}"))
}

/// A private key in PEM form, opened if it is encrypted (RFC 5958 §3).
///
/// # Errors
/// A sentence that says what is wrong; never the key.
pub fn private_key(text: &Secret<String>, password: Option<&Secret<String>>) -> Result<PrivateKeyDer<'static>, String> {
    let text = text.reveal();
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err("the key is encrypted in a way that is easily guessed; write it anew with `openssl pkcs8 -topk8`".to_owned());
    }
    if !text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return match password {
            Some(_) => Err("the key is not encrypted, but there is a password for it".to_owned()),
            None => PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| "the key is not a private key in PEM form".to_owned()),
        };
    }
    let password = password.ok_or("the key is encrypted, and there is no password for it")?;
    let begin = text.find("-----BEGIN ENCRYPTED").unwrap_or_default();
    let malformed = "the encrypted key is malformed";
    let (_, document) = SecretDocument::from_pem(text.get(begin..).unwrap_or_default()).map_err(|_| malformed)?;
    let encrypted = EncryptedPrivateKeyInfoRef::from_der(document.as_bytes()).map_err(|_| malformed)?;
    let key = encrypted.decrypt(password.reveal()).map_err(|_| "the key does not open with this password")?;
    Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec())))
}

/// A certificate with its key, and the two are held against each other.
///
/// # Errors
/// A sentence that says what is wrong; never the key.
pub fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: &Secret<String>,
    password: Option<&Secret<String>>,
) -> Result<Arc<CertifiedKey>, String> {
    together(chain, private_key(key, password)?)
}

fn together(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Arc<CertifiedKey>, String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|why| match why {
        rustls::Error::InconsistentKeys(_) => "the key does not belong to the certificate".to_owned(),
        other => format!("certificate and key cannot be used: {other}"),
    })?;
    Ok(Arc::new(certified))
}

/// A private key in PKCS#8, DER.
///
/// # Errors
/// A sentence that says what is wrong; never the key.
pub fn pkcs8(key: &Secret<String>) -> Result<Secret<Vec<u8>>, String> {
    match PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()) {
        Ok(PrivateKeyDer::Pkcs8(key)) => Ok(Secret::new(key.secret_pkcs8_der().to_vec())),
        Ok(_) => Err("the key is not in PKCS#8 form: `openssl pkcs8 -topk8 -nodes` makes it so".to_owned()),
        Err(_) => Err("the key is not a private key in PEM form".to_owned()),
    }
}

/// What a server certificate says of itself.
#[derive(Debug)]
pub struct About {
    /// The DNS names and addresses it is made for, lower case.
    pub names: Vec<String>,
    /// From when it is valid.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// Reads what a server certificate says of itself. Names come from `subjectAltName` only (RFC 9525 §2).
///
/// # Errors
/// A sentence that says what is wrong.
pub fn about(certificate: &CertificateDer<'_>) -> Result<About, String> {
    let (_, parsed) = parse_x509_certificate(certificate).map_err(|_| "the certificate is not X.509".to_owned())?;
    let alternative = parsed.subject_alternative_name().map_err(|_| "the certificate's names cannot be read".to_owned())?;
    let names = alternative.iter().flat_map(|extension| &extension.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(octets) => {
            let address = <[u8; 4]>::try_from(*octets).map(std::net::IpAddr::from);
            let address = address.or_else(|_| <[u8; 16]>::try_from(*octets).map(std::net::IpAddr::from)).ok()?;
            Some(if address.is_ipv6() { format!("[{address}]") } else { address.to_string() })
        }
        _ => None,
    });
    let moment = |seconds: i64| Timestamp::from_second(seconds).map_err(|_| "the certificate's dates cannot be read".to_owned());
    let validity = parsed.validity();
    Ok(About { names: names.collect(), from: moment(validity.not_before.timestamp())?, until: moment(validity.not_after.timestamp())? })
}

/// Until when a certificate is valid, and whose it is.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn until(certificate: &CertificateDer<'_>) -> Result<(Timestamp, String), String> {
    let about = about(certificate)?;
    let subject = crate::certificate::read(certificate)?.subject;
    Ok((about.until, if subject.is_empty() { about.names.join(", ") } else { subject }))
}

/// Whether a certificate with these names is made for `host` (RFC 9525 §6.3: `*` is one whole leftmost label).
pub fn covers(names: &[String], host: &str) -> bool {
    names.iter().any(|name| match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => name == host,
    })
}
