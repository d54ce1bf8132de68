//! Which client certificates hold: path, purpose, time and revocation (RFC 5280 §6), for handshakes of ours and for
//! certificates that a proxy in front of us forwards.
//!
//! An attacker shows a certificate of another authority, an expired or revoked one, or writes himself the header in
//! which a proxy would forward one. So authorities are named per listener and never the system's, revocation is asked
//! of the whole chain, a list that is missing or too old vouches for nobody, and the header counts from named proxies
//! only. Sessions of TLS are not resumed where certificates are asked for: a resumed one asks nobody.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use jiff::SignedDuration;
use percent_encoding::percent_decode_str;
use quick_cache::sync::Cache;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, RootCertStore};
use vestibule_engine::Timestamp;
use vestibule_engine::audit::Reason;
use vestibule_engine::request::{ClientCertificate, Shown};
use vestibule_engine::store;

use crate::certificate;

/// Longest certificate a proxy may forward, in octets of the header.
const MAX_FORWARDED: usize = 16 * 1024;
/// Most intermediate certificates a proxy may forward beside it.
const MAX_CHAIN: usize = 8;

/// For how long what held is taken to hold: a validation costs as much as a handshake.
const KEPT: SignedDuration = SignedDuration::from_secs(60);
/// Forwarded certificates that are remembered to hold.
const HELD: usize = 10_000;

/// RFC 9440 §2.3.
const CLIENT_CERT: &str = "client-cert";
const CLIENT_CERT_CHAIN: &str = "client-cert-chain";

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Demand {
    /// They may.
    Optional,
    /// There is no handshake without.
    Required,
}

/// Authorities for clients, and what they revoked.
#[derive(Debug, Clone)]
pub struct ClientTrust {
    verifier: Arc<dyn ClientCertVerifier>,
    demand: Demand,
}

impl ClientTrust {
    /// Trust in these authorities. With lists, each certificate of a chain must be known to be good.
    ///
    /// # Errors
    /// A sentence: there is no authority, or one of the octets is not what it should be.
    pub fn new(
        authorities: &[CertificateDer<'static>],
        lists: Vec<CertificateRevocationListDer<'static>>,
        demand: Demand,
    ) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.clone()).map_err(|error| format!("an authority cannot be used: {error}"))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = builder.with_crls(lists).enforce_revocation_expiration();
        let builder = match demand {
            Demand::Optional => builder.allow_unauthenticated(),
            Demand::Required => builder,
        };
        Ok(Self { verifier: builder.build().map_err(|error| error.to_string())?, demand })
    }

    /// What a handshake asks.
    pub fn verifier(&self) -> &Arc<dyn ClientCertVerifier> {
        &self.verifier
    }

    /// Whether it asks for it with force.
    pub fn demand(&self) -> Demand {
        self.demand
    }

    /// Whether a certificate, with what its holder sent beside it, holds now.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<(), Reason> {
        let (certificate, intermediates) = chain.split_first().ok_or(Reason::MalformedCredential)?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0)));
        self.verifier.verify_client_cert(certificate, intermediates, now).map(drop).map_err(|error| reason(&error))
    }
}

/// The word of the audit for what a verifier said.
pub fn reason(error: &rustls::Error) -> Reason {
    let rustls::Error::InvalidCertificate(error) = error else { return Reason::CertificateUntrusted };
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Reason::CertificateExpired,
        CertificateError::Revoked => Reason::CertificateRevoked,
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => Reason::RevocationUnknown,
        CertificateError::BadEncoding => Reason::MalformedCredential,
        _ => Reason::CertificateUntrusted,
    }
}

/// A certificate shown in a handshake, for as long as its connection lives.
#[derive(Debug)]
pub struct Presented {
    chain: Vec<CertificateDer<'static>>,
    about: Arc<ClientCertificate>,
    /// Whose word it is that it holds, and when it was asked.
    held: Mutex<Option<(Arc<ClientTrust>, Timestamp)>>,
}

impl Presented {
    /// What a handshake that is over has verified. `None` if nothing was shown, or nothing that can be read.
    pub fn of(chain: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        let chain: Vec<CertificateDer<'static>> = chain?.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let about = certificate::read(chain.first()?).ok()?;
        Some(Self { chain, about: Arc::new(about), held: Mutex::default() })
    }

    /// Whether it still holds: its time may have run out since the handshake, and a reload may have brought a new list.
    ///
    /// # Errors
    /// Why not.
    pub fn holds(&self, trust: &Arc<ClientTrust>, now: Timestamp) -> Result<&Arc<ClientCertificate>, Reason> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.as_ref().is_some_and(|(by, at)| Arc::ptr_eq(by, trust) && is_recent(*at, now)) {
            trust.check(&self.chain, now)?;
            *held = Some((trust.clone(), now));
        }
        Ok(&self.about)
    }
}

fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(at);
    !age.is_negative() && age < KEPT
}

/// How a named proxy forwards its clients' certificates.
#[derive(Debug)]
pub struct ForwardedCertificate {
    header: HeaderName,
    trust: ClientTrust,
    /// Those that held lately, by the digest of their chain.
    held: Cache<[u8; 32], (Arc<ClientCertificate>, Timestamp)>,
}

impl ForwardedCertificate {
    /// Certificates in this header, held against these authorities.
    pub fn new(header: HeaderName, trust: ClientTrust) -> Self {
        Self { header, trust, held: Cache::new(HELD) }
    }

    /// Every header in which it comes.
    pub fn headers(&self) -> impl Iterator<Item = HeaderName> {
        let chain = (self.header == CLIENT_CERT).then(|| HeaderName::from_static(CLIENT_CERT_CHAIN));
        std::iter::once(self.header.clone()).chain(chain)
    }

    /// What a named proxy says its client showed. An empty header is a client that showed nothing.
    pub fn shown(&self, headers: &HeaderMap, now: Timestamp) -> Shown {
        match self.read(headers, now) {
            Ok(Some(certificate)) => Shown::Certificate(certificate),
            Ok(None) => Shown::Nothing,
            Err(reason) => Shown::Refused(reason),
        }
    }

    fn read(&self, headers: &HeaderMap, now: Timestamp) -> Result<Option<Arc<ClientCertificate>>, Reason> {
        let mut values = headers.get_all(&self.header).iter();
        let Some(value) = values.next().filter(|value| !value.is_empty()) else { return Ok(None) };
        // Of two one may be the client's own.
        if values.next().is_some() {
            return Err(Reason::DuplicateCredential);
        }
        let value = value.to_str().ok().filter(|value| value.len() <= MAX_FORWARDED).ok_or(Reason::MalformedCredential)?;
        let Some(certificate) = forwarded(self.header.as_str(), value)? else { return Ok(None) };
        let mut chain = vec![certificate];
        if self.header == CLIENT_CERT {
            chain.extend(intermediates(headers)?);
        }
        let key = store::digest(&chain.iter().map(|certificate| certificate.as_ref()).collect::<Vec<_>>());
        if let Some((held, at)) = self.held.get(&key)
            && is_recent(at, now)
        {
            return Ok(Some(held));
        }
        let read = chain.first().and_then(|certificate| certificate::read(certificate).ok()).ok_or(Reason::MalformedCredential)?;
        self.trust.check(&chain, now)?;
        let read = Arc::new(read);
        self.held.insert(key, (read.clone(), now));
        Ok(Some(read))
    }
}

/// Whether a header, in whatever spelling, is one in which certificates are forwarded.
pub fn is_forwarding(name: &HeaderName, forwarding: &[HeaderName]) -> bool {
    let same = |one: &str, other: &str| {
        one.len() == other.len() && one.bytes().zip(other.bytes()).all(|(a, b)| a == b || (b == b'-' && !a.is_ascii_alphanumeric()))
    };
    let name = name.as_str();
    forwarding.iter().any(|known| same(name, known.as_str()) || (known == CLIENT_CERT && same(name, CLIENT_CERT_CHAIN)))
}

/// The certificate in a header: RFC 9440 (`:…:`), PEM with percent escapes (nginx), `Cert="…"` (Envoy), or plain base64
/// (HAProxy, Traefik).
fn forwarded(header: &str, value: &str) -> Result<Option<CertificateDer<'static>>, Reason> {
    let value = value.trim();
    if header == "x-forwarded-client-cert" {
        let Some(value) = envoy(value)? else { return Ok(None) };
        return pem(value).map(Some);
    }
    if value.starts_with(':') {
        return item(value).map(Some);
    }
    if value.starts_with("-----") {
        return pem(value).map(Some);
    }
    // Traefik puts the client's own certificate first.
    base64(value.split(',').next().unwrap_or_default()).map(Some)
}

/// RFC 9440 §2.1, RFC 8941 §3.3.5: a byte sequence.
fn item(value: &str) -> Result<CertificateDer<'static>, Reason> {
    let inner = value.trim().strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
    base64(inner.ok_or(Reason::MalformedCredential)?)
}

/// RFC 9440 §2.3.
fn intermediates(headers: &HeaderMap) -> Result<Vec<CertificateDer<'static>>, Reason> {
    let mut chain = Vec::new();
    for value in headers.get_all(CLIENT_CERT_CHAIN) {
        let value = value.to_str().map_err(|_| Reason::MalformedCredential)?;
        for part in value.split(',').filter(|part| !part.trim().is_empty()) {
            if chain.len() == MAX_CHAIN {
                return Err(Reason::MalformedCredential);
            }
            chain.push(item(part)?);
        }
    }
    Ok(chain)
}

fn base64(text: &str) -> Result<CertificateDer<'static>, Reason> {
    STANDARD.decode(text.trim()).map(CertificateDer::from).map_err(|_| Reason::MalformedCredential)
}

/// One certificate in PEM form, with percent escapes. A plus sign stands for itself: it is base64.
fn pem(value: &str) -> Result<CertificateDer<'static>, Reason> {
    let text = percent_decode_str(value).collect::<Vec<u8>>();
    let mut found = CertificateDer::pem_slice_iter(&text);
    match (found.next(), found.next()) {
        (Some(Ok(only)), None) => Ok(only),
        (_, _) => Err(Reason::MalformedCredential),
    }
}

/// The `Cert` of the last hop: commas part hops, semicolons pairs, and quotes hide both.
fn envoy(value: &str) -> Result<Option<&str>, Reason> {
    let hop = split(value, ',').next_back().unwrap_or_default();
    let mut certificates =
        split(hop, ';').filter_map(|pair| pair.trim().split_once('=')).filter(|(key, _)| key.eq_ignore_ascii_case("cert"));
    match (certificates.next(), certificates.next()) {
        (None, _) => Ok(None),
        (Some((_, value)), None) => Ok(Some(value.trim_matches('"')).filter(|value| !value.is_empty())),
        (Some(_), Some(_)) => Err(Reason::DuplicateCredential),
    }
}

/// Parts of a text between separators that no quotes hide.
fn split(text: &str, separator: char) -> std::vec::IntoIter<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts.into_iter()
}

#[cfg(test)]
mod tests;
