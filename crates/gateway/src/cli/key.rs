//! `vestibule key`: signing keys of the running server.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand, ValueEnum};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use rustls::pki_types::PrivateKeyDer;

use vestibule_engine::secret::Secret;
use vestibule_engine::store::KeyState;

use super::ask;
use super::client::{self, unexpected};
use super::output::{Cell, Output, Tone};
use super::{Answer, Common, Failure};
use crate::config::pem::{self, Opening};
use crate::serve::admin::protocol::{AdminReply, AdminRequest, Confidential, KeyView};

/// Signing keys
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List all keys
    List,
    /// Move the keys of a purpose on by one place: next signs, current is still published, previous is forgotten
    Rotate {
        /// What the keys are for, e.g. jwt
        purpose: String,
    },
    /// Bring a private key along, which signs after the next rotation; what waited in its place is dropped
    Import(Import),
    /// Ask an authority for a certificate: a new private key, and a request with the names of hosts (PKCS#10)
    Csr(Csr),
    /// Void a key and everything it signed, at once
    Revoke {
        /// The key's id
        id: String,
    },
}

/// A private key of another system
#[derive(Debug, Args)]
pub struct Import {
    /// What it is for, e.g. jwt
    purpose: String,
    /// A private key in PEM form, encrypted or not, or a key store: PKCS#12 or Java's JKS
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Read the password of the key or the key store from a file (- for standard input)
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Which key of a key store with several
    #[arg(long)]
    alias: Option<String>,
}

impl Import {
    fn request(self) -> Result<AdminRequest, Failure> {
        let password = self.password_file.as_deref().map(|file| ask::password("", Some(file))).transpose()?;
        let opening = Opening { password: password.as_ref(), alias: self.alias.as_deref() };
        let key = pem::lone_key(&self.file, opening).map_err(Failure::not_tried)?;
        let PrivateKeyDer::Pkcs8(key) = &key else {
            return Err(Failure::not_tried(format!("`{}` is not in PKCS#8 form", self.file.display()))
                .fix("write it anew with `openssl pkcs8 -topk8`"));
        };
        let pkcs8 = Confidential(Secret::new(STANDARD.encode(key.secret_pkcs8_der())));
        Ok(AdminRequest::KeyImport { purpose: self.purpose, pkcs8 })
    }
}

/// A request for a certificate
#[derive(Debug, Args)]
pub struct Csr {
    /// A host that the certificate is for; may be repeated
    #[arg(long = "host", value_name = "HOST", required = true)]
    hosts: Vec<String>,
    /// The organisation in its subject
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,
    /// Where the new private key goes: a new file that its owner alone may read
    #[arg(long, value_name = "FILE", conflicts_with = "key", required_unless_present = "key")]
    new_key: Option<PathBuf>,
    /// The private key there is already, in PEM form
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// What kind of key is made
    #[arg(long, value_enum, default_value_t = Kind::Ecdsa)]
    kind: Kind,
}

/// A kind of private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// On the curve P-256
    Ecdsa,
    /// Of 3072 bits
    Rsa,
}

impl Csr {
    fn run(self, output: &mut Output) -> Result<Answer, Failure> {
        let failed = |error: rcgen::Error| Failure::not_tried(format!("no request can be made: {error}"));
        let mut params = CertificateParams::new(self.hosts.clone()).map_err(failed)?;
        params.distinguished_name = DistinguishedName::new();
        if let Some(organization) = &self.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        if let Some(first) = self.hosts.first() {
            params.distinguished_name.push(DnType::CommonName, first.as_str());
        }
        let pair = match (&self.key, self.kind) {
            (Some(file), _) => {
                let text = std::fs::read_to_string(file).map_err(|error| Failure::not_tried(format!("{}: {error}", file.display())))?;
                let text = Secret::new(text);
                KeyPair::from_pem(text.reveal()).map_err(failed)?
            }
            (None, Kind::Ecdsa) => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?,
            (None, Kind::Rsa) => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072).map_err(failed)?,
        };
        let request = params.serialize_request(&pair).and_then(|request| request.pem()).map_err(failed)?;
        // The key last: a request without its key is of no use, a key without its request is.
        if let Some(file) = &self.new_key {
            let at = |error: std::io::Error| Failure::not_tried(format!("{}: {error}", file.display()));
            let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(at)?;
            let text = Secret::new(pair.serialize_pem());
            made.write_all(text.reveal().as_bytes()).and_then(|()| made.sync_all()).map_err(at)?;
        }
        if output.is_json() {
            output.json(&serde_json::json!({ "request": request, "key": self.new_key.or(self.key) }));
        } else {
            output.verbatim(&request);
        }
        Ok(Answer::Yes)
    }
}

impl KeyCommand {
    /// Asks the running server.
    pub fn run(self, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
        let request = match self {
            Self::List => AdminRequest::KeyList,
            Self::Rotate { purpose } => AdminRequest::KeyRotate { purpose },
            Self::Import(import) => import.request()?,
            Self::Csr(csr) => return csr.run(output),
            Self::Revoke { id } => AdminRequest::KeyRevoke { id },
        };
        let AdminReply::Keys(keys) = client::ask(common, request)? else { return Err(unexpected()) };
        print(&keys, output);
        Ok(Answer::Yes)
    }
}

fn print(keys: &[KeyView], output: &mut Output) {
    if output.is_json() {
        return output.json(&serde_json::json!({ "keys": keys }));
    }
    if keys.is_empty() {
        return output.line("There are no keys: the server makes them when a route first needs one.");
    }
    let row = |key: &KeyView| {
        let (state, tone) = match key.state {
            KeyState::Next => ("next", Tone::Plain),
            KeyState::Current => ("current", Tone::Good),
            KeyState::Previous => ("previous", Tone::Quiet),
            KeyState::Revoked => ("revoked", Tone::Bad),
        };
        vec![
            key.id.as_str().into(),
            key.purpose.as_str().into(),
            key.algorithm.as_str().into(),
            Cell::new(state, tone),
            key.changed.to_string().into(),
        ]
    };
    output.table(&["key", "purpose", "algorithm", "state", "since"], keys.iter().map(row).collect());
}
