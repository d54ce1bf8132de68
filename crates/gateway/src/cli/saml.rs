//! `vestibule saml inspect`: what the assertion consumer would make of a response, check by check.
//!
//! The very code of the live door judges. What is said here is for an operator's terminal: a client never learns it.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use vestibule_engine::Timestamp;
use vestibule_engine::clock::{Clock as _, SystemClock};
use vestibule_saml::Sp;
use vestibule_saml::binding::LONGEST_INPUT;
use vestibule_saml::metadata::{METADATA_LIMITS, Metadata, Trust};
use vestibule_saml::sp::{Audiences, Expectations, Received, Requests, Saml11, TrustedIdp, Unsolicited};
use vestibule_xmlsec::{Assertions, Concession, DecryptionKeys, DecryptionPurpose, KeyId, PinnedPeer, TrustedKeys};

use super::output::{Cell, Output, Tone};
use super::xml::{private_key, read, trust};
use super::{Answer, Failure};
use crate::schemes::saml::{Said, SaidCheck, message};

/// Messages of SAML partners
#[derive(Debug, Subcommand)]
pub enum SamlCommand {
    /// Say what the assertion consumer would make of a response, check by check
    Inspect(Box<Inspect>),
}

impl SamlCommand {
    /// Runs it.
    ///
    /// # Errors
    /// When a file or key cannot be used.
    pub fn run(self, output: &mut Output) -> Result<Answer, Failure> {
        match self {
            Self::Inspect(inspect) => inspect.run(output),
        }
    }
}

/// Say what the assertion consumer would make of a response, check by check
#[derive(Debug, Args)]
pub struct Inspect {
    /// The response: XML, its base64, or the form that carried it (- for standard input)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Metadata of the identity provider
    #[arg(long, value_name = "FILE", required_unless_present = "idp_entity_id", conflicts_with_all = ["idp_entity_id", "idp_cert"])]
    idp_metadata: Option<PathBuf>,
    /// Entity id of the identity provider
    #[arg(long, value_name = "ID", requires = "idp_cert")]
    idp_entity_id: Option<String>,
    /// Certificates it signs with, PEM or DER
    #[arg(long, value_name = "FILE")]
    idp_cert: Vec<PathBuf>,
    /// Our entity id: the audience
    #[arg(long, value_name = "ID")]
    sp_entity_id: String,
    /// The address of our assertion consumer
    #[arg(long, value_name = "URL")]
    acs_url: String,
    /// The request it has to answer; without it, which it answers is not checked
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// The relay state that came with it
    #[arg(long, value_name = "TEXT")]
    relay_state: Option<String>,
    /// The key that decrypts it, PKCS#8 in PEM form
    #[arg(long, value_name = "FILE")]
    decrypt_key: Vec<PathBuf>,
    /// The time to judge it at, as in 2026-03-01T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
    /// How far clocks may differ
    #[arg(long, value_name = "SECONDS", default_value_t = TrustedIdp::SKEW.as_secs())]
    skew: i64,
    /// Admit a response that answers no request
    #[arg(long)]
    allow_unsolicited: bool,
    /// Admit SAML 1.1; which version it is written in, the message says
    #[arg(long)]
    allow_saml11: bool,
    /// Admit an assertion of SAML 1.1 that names no audience
    #[arg(long)]
    saml11_without_audience: bool,
    /// It is what a responder answered, by SOAP, to the request of this id for the message behind an artifact
    #[arg(long, value_name = "ID")]
    resolved: Option<String>,
    /// The certificate that the responder showed and that you pinned: what came is believed unsigned, PEM or DER
    #[arg(long, value_name = "FILE", requires = "resolved")]
    responder_cert: Option<PathBuf>,
    /// Admit for this message what was usual once: SHA-1, RSA keys of 1024 bits, AES-CBC, 3DES, RSA 1.5
    #[arg(long)]
    legacy: bool,
}

impl Inspect {
    fn run(self, output: &mut Output) -> Result<Answer, Failure> {
        let octets = message(&read(&self.file, 2 * LONGEST_INPUT as u64)?);
        let now = self.now.unwrap_or_else(|| SystemClock::default().now());
        let idp = self.idp(now)?;
        let mut decryption = DecryptionKeys::new();
        for file in &self.decrypt_key {
            let added = decryption.add_pkcs8(Assertions::NAME, &private_key(file)?);
            added.map_err(|why| Failure::not_tried(format!("{}: {why}", file.display())))?;
        }
        let sp = Sp { entity_id: self.sp_entity_id.clone(), acs_urls: vec![self.acs_url.clone()], decryption };
        let open: Vec<&str> = self.request_id.iter().map(String::as_str).collect();
        let requests = if open.is_empty() { Requests::Unknown } else { Requests::Open(&open) };
        let expected = Expectations { idp: &idp, requests, resolved: self.resolved.as_deref() };
        let received = match (octets, self.peer(&idp)?) {
            (Ok(octets), Some(peer)) => Received::vouched_by_channel(&octets, peer),
            (Ok(octets), None) => Received::read(&octets),
            (Err(rejection), _) => Err(rejection),
        };
        let mut said = match received.and_then(|received| sp.judge(&received, &expected, now)) {
            Ok(accepted) => Said::accepted(&accepted),
            Err(rejection) => Said::rejected(&rejection),
        };
        said.checks.extend(self.relay_state.as_deref().map(relay_state));
        Ok(say(&said, output))
    }

    /// Whom the channel is taken for.
    fn peer(&self, idp: &TrustedIdp) -> Result<Option<PinnedPeer>, Failure> {
        let Some(file) = &self.responder_cert else { return Ok(None) };
        let unusable = |why: vestibule_xmlsec::Error| Failure::not_tried(format!("{}: {why}", file.display()));
        let certificate = certificate(file)?;
        let key = KeyId::of_certificate(&certificate).map_err(unusable)?;
        PinnedPeer::confirm(&idp.entity_id, &[key], &certificate).map(Some).map_err(unusable)
    }

    fn idp(&self, now: Timestamp) -> Result<TrustedIdp, Failure> {
        let mut idp = match (&self.idp_metadata, &self.idp_entity_id) {
            (Some(file), _) => {
                let unusable = |why: vestibule_saml::Error| Failure::not_tried(format!("{}: {why}", file.display()));
                let octets = read(file, METADATA_LIMITS.size as u64)?;
                let metadata = Metadata::read(&octets, Trust::Named, now).map_err(unusable)?;
                let mut entities = metadata.entities.iter().filter(|entity| entity.idp.is_some());
                match (entities.next(), entities.next()) {
                    (Some(entity), None) => TrustedIdp::from_metadata(entity).map_err(unusable)?,
                    (_, _) => return Err(Failure::not_tried(format!("{}: describes not one identity provider", file.display()))),
                }
            }
            (None, entity_id) => {
                let mut keys = TrustedKeys::new();
                for file in &self.idp_cert {
                    trust(&mut keys, file)?;
                }
                TrustedIdp::new(entity_id.clone().unwrap_or_default(), keys)
            }
        };
        idp.skew = SignedDuration::from_secs(self.skew.clamp(0, 86_400));
        if self.allow_unsolicited {
            idp.unsolicited = Unsolicited::Allowed;
        }
        if self.allow_saml11 {
            idp.saml11 = Saml11::Allowed;
        }
        if self.saml11_without_audience {
            idp.audiences = Audiences::IfNamed;
        }
        if self.legacy {
            let admitted = [Concession::Sha1, Concession::Rsa1024, Concession::Cbc, Concession::TripleDes, Concession::Rsa15];
            idp.profile = admitted.into_iter().fold(idp.profile, |profile, concession| profile.admit(concession));
        }
        Ok(idp)
    }
}

/// A certificate, PEM or DER.
fn certificate(file: &Path) -> Result<Vec<u8>, Failure> {
    let octets = read(file, 64 * 1024)?;
    if !octets.starts_with(b"-----BEGIN ") {
        return Ok(octets.to_vec());
    }
    let read = CertificateDer::from_pem_slice(&octets);
    read.map(|certificate| certificate.to_vec()).map_err(|_| Failure::not_tried(format!("{}: no certificate", file.display())))
}

/// What becomes of a relay state; it is never a reason to refuse.
fn relay_state(text: &str) -> SaidCheck {
    let path = text.starts_with('/') && !text.starts_with("//") && !text.contains(['\\', '#']) && !text.chars().any(char::is_control);
    let detail = if path {
        "a path: the user goes there if the response answers no request"
    } else {
        "no path: unless it is an address of the tenant's applications, the user goes to the start page"
    };
    SaidCheck { name: "relay state", ok: true, detail: detail.to_owned() }
}

fn say(said: &Said, output: &mut Output) -> Answer {
    let answer = if said.reason.is_none() { Answer::Yes } else { Answer::No };
    if output.is_json() {
        output.json(said);
        return answer;
    }
    let mark = |ok: bool| if ok { Cell::new("ok", Tone::Good) } else { Cell::new("no", Tone::Bad) };
    output.table(&[], said.checks.iter().map(|check| vec![mark(check.ok), check.name.into(), check.detail.as_str().into()]).collect());
    output.gap();
    match said.reason {
        None => output.line(Cell::new("accepted", Tone::Good)),
        Some(reason) => output.line(Cell::new(format!("rejected: {reason}"), Tone::Bad)),
    }
    let quiet = |name: &str, value: &str| vec![Cell::new(name, Tone::Quiet), value.into()];
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    rows.extend(said.fix.map(|fix| quiet("what helps", fix)));
    rows.extend(said.subject.as_deref().map(|subject| quiet("subject", subject)));
    rows.extend(said.name_id_format.as_deref().map(|format| quiet("format", format)));
    rows.extend(said.session_index.as_deref().map(|index| quiet("session", index)));
    rows.extend(said.attributes.iter().map(|(name, values)| quiet(name, &values.join(", "))));
    output.table(&[], rows);
    answer
}
