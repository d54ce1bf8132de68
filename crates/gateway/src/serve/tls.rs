//! TLS towards clients: certificates by server name, reloadable, no early data.
//!
//! An attacker names one host in the handshake and another in the request, to be judged by the laxer of two
//! policies (attack 108): so a name nobody configured gets no certificate at all, names are compared without
//! case and trailing dot, and [`Certificates::may_speak_for`] decides whether both names stand under one
//! certificate. Early data is never accepted: it can be replayed (attack 109).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Where a certificate chain and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, our own certificate first, PEM.
    pub chain: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
}

/// What a client gets whose handshake names no host, or none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unnamed {
    /// No handshake.
    Refuse,
    /// The first certificate.
    First,
}

/// Why certificates could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read as what it should be.
    #[error("{path}: {why}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Two certificates speak for one name; which one is meant?
    #[error("{path}: another certificate already speaks for `{name}`", path = path.display())]
    Doubled {
        /// The second one's file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// The key does not fit the certificate, or rustls does not take it.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// The certificates of one listener. Replaced as a whole.
#[derive(Debug)]
pub struct Certificates {
    unnamed: Unnamed,
    table: ArcSwap<Table>,
}

#[derive(Debug, Default)]
struct Table {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By the part after `*.`; such a certificate speaks for one label more (RFC 6125 §6.4.3).
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Loads these certificates.
    ///
    /// # Errors
    /// A [`TlsError`] that names the file.
    pub fn load(files: &[CertificateFiles], unnamed: Unnamed) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self { unnamed, table: ArcSwap::from_pointee(Table::load(files)?) }))
    }

    /// Reads the files again. New handshakes see the new certificates; a failure changes nothing.
    ///
    /// # Errors
    /// A [`TlsError`] that names the file.
    pub fn reload(&self, files: &[CertificateFiles]) -> Result<(), TlsError> {
        self.table.store(Arc::new(Table::load(files)?));
        Ok(())
    }

    /// A rustls configuration that offers HTTP/2 and HTTP/1.1 over TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// If the cryptography provider lacks something.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// Whether a connection whose handshake named `sni` may carry requests for `host`.
    pub fn may_speak_for(&self, sni: Option<&str>, host: &str) -> bool {
        if sni == Some(host) {
            return true;
        }
        let table = self.table.load();
        let served = match (sni.and_then(|sni| table.find(sni)), self.unnamed) {
            (Some(key), _) => key,
            (None, Unnamed::First) => match &table.first {
                Some(key) => key,
                None => return false,
            },
            (None, Unnamed::Refuse) => return false,
        };
        table.find(host).is_some_and(|key| Arc::ptr_eq(key, served))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.table.load();
        let found = hello.server_name().and_then(|name| table.find(&normalised(name)));
        match (found, self.unnamed) {
            (Some(key), _) => Some(key.clone()),
            (None, Unnamed::First) => table.first.clone(),
            (None, Unnamed::Refuse) => None,
        }
    }
}

/// A server name as we compare it: lower case, no trailing dot.
pub fn normalised(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

impl Table {
    fn load(files: &[CertificateFiles]) -> Result<Self, TlsError> {
        let mut table = Self::default();
        for CertificateFiles { chain, key } in files {
            let wrong = |path: &PathBuf, why: String| TlsError::File { path: path.clone(), why };
            let certificates: Vec<CertificateDer<'static>> =
                CertificateDer::pem_file_iter(chain).and_then(|found| found.collect()).map_err(|error| wrong(chain, error.to_string()))?;
            let Some(own) = certificates.first() else { return Err(wrong(chain, "holds no certificate".to_owned())) };
            let names = names(own).map_err(|why| wrong(chain, why))?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error.to_string()))?;
            let signing = aws_lc_rs::sign::any_supported_type(&key)?;
            let certified = Arc::new(CertifiedKey::new(certificates, signing));
            certified.keys_match()?;
            table.first.get_or_insert_with(|| certified.clone());
            for name in names {
                let (map, bare) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut table.wildcard, parent),
                    None => (&mut table.exact, name.as_str()),
                };
                if map.insert(bare.to_owned(), certified.clone()).is_some() {
                    return Err(TlsError::Doubled { path: chain.clone(), name });
                }
            }
        }
        Ok(table)
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        self.exact.get(name).or_else(|| name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent)))
    }
}

/// The DNS names and addresses a certificate speaks for; the subject's common name does not count (RFC 6125 §6.4.4).
fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let alternatives = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
    let mut names = Vec::new();
    for name in alternatives.map(|found| found.value.general_names.as_slice()).unwrap_or_default() {
        match name {
            GeneralName::DNSName(name) => names.push(normalised(name)),
            GeneralName::IPAddress(octets) => {
                let v4 = <[u8; 4]>::try_from(*octets).map(|octets| std::net::Ipv4Addr::from(octets).to_string());
                let v6 = <[u8; 16]>::try_from(*octets).map(|octets| format!("[{}]", std::net::Ipv6Addr::from(octets)));
                names.extend(v4.or(v6));
            }
            _ => {}
        }
    }
    names.sort();
    names.dedup();
    if names.is_empty() { Err("the certificate names no host in its subjectAltName".to_owned()) } else { Ok(names) }
}
