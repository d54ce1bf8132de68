//! Certificates and keys in PEM form (RFC 7468), read when the configuration is, so that a listener never starts
//! without them and a reload with a broken one changes nothing.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::{parse_x509_certificate, parse_x509_crl};

use vestibule_engine::Timestamp;
use vestibule_engine::secret::Secret;

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
    let unreadable = |why: std::io::Error| format!("the certificate `{shown}` cannot be read: {}", reason(&why));
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_CERTIFICATES {
        return Err(format!("the certificate `{shown}` is longer than {MAX_CERTIFICATES} octets"));
    }
    let octets = std::fs::read(path).map_err(unreadable)?;
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

/// A certificate with its key, and the two are held against each other.
///
/// # Errors
/// A sentence that says what is wrong; never the key.
pub fn certified(chain: Vec<CertificateDer<'static>>, key: &Secret<String>) -> Result<Arc<CertifiedKey>, String> {
    let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()).map_err(|_| "the key is not a private key in PEM form".to_owned())?;
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

/// Whether a certificate with these names is made for `host` (RFC 9525 §6.3: `*` is one whole leftmost label).
pub fn covers(names: &[String], host: &str) -> bool {
    names.iter().any(|name| match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => name == host,
    })
}
