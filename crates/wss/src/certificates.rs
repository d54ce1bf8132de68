//! Certificates that an operator trusts, and the path from a message's certificate to them (RFC 5280; X.509 Token Profile §3).
//!
//! A certificate in a message is a candidate. What an attacker tries: one that he made himself, or one with another's
//! name, serial number or key identifier (attacks 14, 15). A known certificate is compared octet by octet; any other needs
//! a path to an anchor.

mod name;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use vestibule_xmlsec::{KeyId, TrustedKeys};
use webpki::{
    ALL_VERIFICATION_ALGS, CertRevocationList, EndEntityCert, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeIdIter,
    OwnedCertRevocationList, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::Error;
use crate::replay;
use crate::tokens::Reference;

/// Certificates of one path.
pub(crate) const MOST_CERTIFICATES: usize = 8;
/// Paths that are remembered, each with its first certificate (some 4 KiB).
const MOST_PATHS: usize = 4096;

/// A certificate, read. A copy is another name for the same one.
#[derive(Clone)]
pub struct Certificate(Arc<Read>);

struct Read {
    der: Vec<u8>,
    /// Its key, ready to verify with; none of a kind unknown here.
    keys: TrustedKeys,
    key: KeyId,
    subject: String,
    issuer: String,
    issuer_parts: Vec<(String, String)>,
    serial: String,
    subject_key_identifier: Option<Vec<u8>>,
    thumbprint: Vec<u8>,
    not_before: i64,
    not_after: i64,
    signs: bool,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:?}, {})", self.0.subject, self.0.key)
    }
}

impl Certificate {
    /// Reads a certificate in DER. Says nothing about trust.
    ///
    /// # Errors
    /// [`Error::Certificate`].
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        let Ok(([], certificate)) = X509Certificate::from_der(der) else { return Err(Error::Certificate) };
        let key_usage = certificate.key_usage().map_err(|_| Error::Certificate)?;
        let identifier = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
            _ => None,
        });
        let mut keys = TrustedKeys::new();
        // What of it cannot verify is told by whoever wants to.
        let _ = keys.add_certificate(der);
        Ok(Self(Arc::new(Read {
            keys,
            key: KeyId::of_certificate(der).map_err(|_| Error::Certificate)?,
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            issuer_parts: name::of_certificate(certificate.issuer()),
            serial: certificate.tbs_certificate.serial.to_string(),
            subject_key_identifier: identifier,
            thumbprint: digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref().to_vec(),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            signs: key_usage.is_none_or(|usage| usage.value.digital_signature() || usage.value.non_repudiation()),
            der: der.to_vec(),
        })))
    }

    /// Its key, to verify with; `None` of a kind unknown here.
    pub(crate) fn keys(&self) -> Option<&TrustedKeys> {
        Some(&self.0.keys).filter(|keys| !keys.ids().is_empty())
    }

    /// Its octets.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// The name of its key.
    pub fn key(&self) -> KeyId {
        self.0.key
    }

    /// The name of its subject, for people.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The name of its issuer, for people.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Its serial number in decimal digits.
    pub fn serial(&self) -> &str {
        &self.0.serial
    }

    /// Its SubjectKeyIdentifier extension.
    pub fn subject_key_identifier(&self) -> Option<&[u8]> {
        self.0.subject_key_identifier.as_deref()
    }

    /// Its SHA-1, which names it and proves nothing.
    pub fn thumbprint(&self) -> &[u8] {
        &self.0.thumbprint
    }

    /// Its issuer as XML Signature writes names: the most specific part first.
    pub(crate) fn issuer_written(&self) -> String {
        name::written(&self.0.issuer_parts)
    }

    pub(crate) fn is_meant(&self, reference: &Reference) -> bool {
        match reference {
            Reference::SubjectKeyIdentifier(wanted) => self.0.subject_key_identifier.as_ref() == Some(wanted),
            Reference::Thumbprint(wanted) => self.0.thumbprint == *wanted,
            Reference::IssuerSerial { issuer, serial } => self.0.serial == *serial && name::is_same(&self.0.issuer_parts, issuer),
            Reference::Certificate(der) => self.0.der == *der,
            Reference::Id(_) | Reference::Embedded(_) | Reference::Assertion(_) | Reference::Refused(_) => false,
        }
    }

    fn check(&self, now: jiff::Timestamp) -> Result<(), CertificateFault> {
        if !(self.0.not_before..=self.0.not_after).contains(&now.as_second()) {
            return Err(CertificateFault::Expired);
        }
        if self.0.signs { Ok(()) } else { Err(CertificateFault::Usage) }
    }
}

/// Why a certificate does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's text is its documentation")]
pub enum CertificateFault {
    #[error("it is neither known nor issued by an anchor")]
    Unknown,
    #[error("a certificate of the path is not, or no longer, valid")]
    Expired,
    #[error("a certificate of the path is revoked, or its status is not known")]
    Revoked,
    #[error("its key is not for signatures")]
    Usage,
    #[error("the path is longer than the limit")]
    TooLong,
    #[error("it is unreadable, or its key is of a kind unknown here")]
    Unreadable,
}

/// What revocation lists are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Revocation {
    /// Nothing: there are no lists.
    #[default]
    Unchecked,
    /// Every certificate of a path has to be known as not revoked by a list in force.
    Required,
    /// A certificate that a list names is refused; without a list nothing is known and nothing refused.
    IfKnown,
}

/// Certificates and anchors that an operator trusts for one purpose.
#[derive(Default)]
pub struct CertificateStore {
    known: Vec<Certificate>,
    anchors: Vec<TrustAnchor<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
    lists: Vec<CertRevocationList<'static>>,
    revocation: Revocation,
    /// Paths that were found, and until when they hold. A store that is loaded anew begins without.
    paths: Mutex<HashMap<[u8; 32], (i64, Certificate)>>,
}

impl fmt::Debug for CertificateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateStore({} known, {} anchors, {} lists)", self.known.len(), self.anchors.len(), self.lists.len())
    }
}

impl CertificateStore {
    /// Nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts this very certificate (DER) between its dates, whoever issued it.
    ///
    /// # Errors
    /// [`Error::Certificate`], [`Error::Xml`] for a key of a kind unknown here.
    pub fn know(&mut self, der: &[u8]) -> Result<(), Error> {
        // A key that cannot verify is the operator's mistake, and is told at once.
        TrustedKeys::new().add_certificate(der)?;
        self.known.push(Certificate::from_der(der)?);
        Ok(())
    }

    /// Trusts whatever this certificate (DER) issued.
    ///
    /// # Errors
    /// [`Error::Certificate`].
    pub fn trust_anchor(&mut self, der: &[u8]) -> Result<(), Error> {
        let der = CertificateDer::from(der);
        self.anchors.push(anchor_from_trusted_cert(&der).map_err(|_| Error::Certificate)?.to_owned());
        Ok(())
    }

    /// A certificate (DER) between an anchor and its leaves, which messages may leave out.
    ///
    /// # Errors
    /// [`Error::Certificate`].
    pub fn intermediate(&mut self, der: &[u8]) -> Result<(), Error> {
        Certificate::from_der(der)?;
        self.intermediates.push(CertificateDer::from(der.to_vec()));
        Ok(())
    }

    /// A revocation list (DER). Lists concern paths; a known certificate is revoked by taking it out.
    ///
    /// # Errors
    /// [`Error::Certificate`].
    pub fn revocation_list(&mut self, der: &[u8]) -> Result<(), Error> {
        let list = OwnedCertRevocationList::from_der(der).map_err(|_| Error::Certificate)?;
        self.lists.push(list.into());
        Ok(())
    }

    /// What lists are asked. [`Revocation::Required`] without a list refuses every path.
    #[must_use]
    pub fn checking(mut self, revocation: Revocation) -> Self {
        self.revocation = revocation;
        self
    }

    /// The known certificates.
    pub fn known(&self) -> impl Iterator<Item = &Certificate> {
        self.known.iter()
    }

    /// Whether a certificate counts now. `chain` begins with it; what follows may help to find a path.
    ///
    /// # Errors
    /// [`CertificateFault`].
    pub fn judge(&self, chain: &[Vec<u8>], now: jiff::Timestamp) -> Result<Certificate, CertificateFault> {
        let leaf = chain.first().ok_or(CertificateFault::Unreadable)?;
        if chain.len() > MOST_CERTIFICATES {
            return Err(CertificateFault::TooLong);
        }
        if let Some(known) = self.known_as(leaf) {
            return known.check(now).map(|()| known.clone());
        }
        let key = replay::hash("path", chain.iter().map(Vec::as_slice));
        let remembered = self.paths.lock().ok().and_then(|paths| paths.get(&key).cloned());
        let certificate = match remembered {
            Some((until, certificate)) if now.as_second() < until => certificate,
            stale => {
                let read = |der: &[u8]| Certificate::from_der(der).map_err(|_| CertificateFault::Unreadable);
                let certificate = stale.map_or_else(|| read(leaf), |(_, certificate)| Ok(certificate))?;
                let until = self.path(chain, now)?;
                if let Ok(mut paths) = self.paths.lock() {
                    if paths.len() >= MOST_PATHS {
                        paths.clear();
                    }
                    paths.insert(key, (until, certificate.clone()));
                }
                certificate
            }
        };
        certificate.check(now).map(|()| certificate)
    }

    fn known_as(&self, der: &[u8]) -> Option<&Certificate> {
        self.known.iter().find(|known| known.der() == der)
    }

    /// Finds a path, and says how long it may be remembered: a day at most, never beyond a date in it.
    fn path(&self, chain: &[Vec<u8>], now: jiff::Timestamp) -> Result<i64, CertificateFault> {
        let (leaf, rest) = chain.split_first().ok_or(CertificateFault::Unreadable)?;
        let leaf = CertificateDer::from(leaf.as_slice());
        let entity = EndEntityCert::try_from(&leaf).map_err(|error| fault(&error))?;
        let mut between: Vec<CertificateDer<'_>> = rest.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        between.extend(self.intermediates.iter().map(|der| CertificateDer::from(der.as_ref())));
        let lists: Vec<&CertRevocationList<'_>> = self.lists.iter().collect();
        let revocation = match (self.revocation, lists.is_empty()) {
            (Revocation::Unchecked, _) | (Revocation::IfKnown, true) => None,
            (Revocation::Required, true) => return Err(CertificateFault::Revoked),
            (Revocation::Required | Revocation::IfKnown, false) => {
                let options = RevocationOptionsBuilder::new(&lists).map_err(|_| CertificateFault::Revoked)?;
                let (unknown, expiry) = match self.revocation {
                    Revocation::Required => (UnknownStatusPolicy::Deny, ExpirationPolicy::Enforce),
                    Revocation::IfKnown | Revocation::Unchecked => (UnknownStatusPolicy::Allow, ExpirationPolicy::Ignore),
                };
                let options = options.with_depth(RevocationCheckDepth::Chain).with_status_policy(unknown).with_expiration_policy(expiry);
                Some(options.build())
            }
        };
        let seconds = u64::try_from(now.as_second()).map_err(|_| CertificateFault::Expired)?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let path = entity.verify_for_usage(ALL_VERIFICATION_ALGS, &self.anchors, &between, time, AnyUsage, revocation, None);
        let path = path.map_err(|error| fault(&error))?;
        // A list may end at any time; with lists a path is found again each minute.
        let mut until = now.as_second() + if self.revocation == Revocation::Unchecked { 86_400 } else { 60 };
        let between = path.intermediate_certificates().map(|one| one.der().as_ref().to_vec());
        for der in between.chain([leaf.as_ref().to_vec()]) {
            let read = Certificate::from_der(&der).map_err(|_| CertificateFault::Unreadable)?;
            until = until.min(read.0.not_after);
        }
        Ok(until)
    }
}

/// X.509 Token Profile says nothing about extended key usage, and certificates for messages carry any or none.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

fn fault(error: &webpki::Error) -> CertificateFault {
    use webpki::Error as Fault;
    match error {
        Fault::CertExpired { .. } | Fault::CertNotValidYet { .. } => CertificateFault::Expired,
        Fault::CertRevoked | Fault::UnknownRevocationStatus | Fault::CrlExpired { .. } => CertificateFault::Revoked,
        _ => CertificateFault::Unknown,
    }
}
