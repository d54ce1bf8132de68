//! `vestibule xml`: signed and encrypted documents, by the very code of the live doors (architecture §13).
//!
//! What is said here is for an operator's terminal: it names the step that failed, which a client never learns. Keys are
//! read from files; nothing of a private key is printed, and no error quotes what stands in its file.

mod open;
mod seal;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use zeroize::Zeroizing;

use vestibule_xmlsec::{
    Canonicalization, Concession, Demand, Error, Limits, Profile, Question, Report, Signer, TrustedKeys, canonicalize, diagnose,
};

use super::output::{Cell, Output, Tone};
use super::{Answer, Failure};

/// Octets of a file with keys or certificates.
const MAX_KEY_FILE: u64 = 256 << 10;

/// Signed and encrypted XML documents
#[derive(Debug, Subcommand)]
pub enum XmlCommand {
    /// Say whether every signature in a document is good, and what it covers
    Verify(Verify),
    /// Print the canonical form of a document
    Canonicalize(Canonicalize),
    /// Sign a document
    Sign(seal::Sign),
    /// Decrypt what is encrypted in a document
    Decrypt(open::Decrypt),
}

impl XmlCommand {
    /// Runs it.
    ///
    /// # Errors
    /// When a file or key cannot be used, or the document is refused.
    pub fn run(self, output: &mut Output) -> Result<Answer, Failure> {
        match self {
            Self::Verify(verify) => verify.run(output),
            Self::Canonicalize(canonicalize) => canonicalize.run(output),
            Self::Sign(sign) => sign.run(output),
            Self::Decrypt(decrypt) => decrypt.run(output),
        }
    }
}

/// Say whether every signature in a document is good, and what it covers
#[derive(Debug, Args)]
pub struct Verify {
    /// The document (- for standard input)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Trust the keys of the certificates in a file, PEM or DER; their dates and issuers are not asked
    #[arg(long, value_name = "FILE")]
    cert: Vec<PathBuf>,
    /// Trust the public keys in a file, PEM or DER
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    #[command(flatten)]
    ids: Ids,
    /// Admit what was usual until 2005: SHA-1, RSA from 1024 bits, inclusive canonicalization
    #[arg(long)]
    legacy: bool,
    /// Where a digest differs, write the octets that were digested to a file
    #[arg(long, value_name = "FILE")]
    digested: Option<PathBuf>,
}

/// Ids beside those the standards know.
#[derive(Debug, Args)]
pub struct Ids {
    /// Another attribute that is an id: {NAMESPACE}ELEMENT@ATTRIBUTE, or ELEMENT@ATTRIBUTE
    #[arg(long = "id-attr", value_name = "NAME")]
    attributes: Vec<String>,
}

impl Ids {
    fn admitted(&self, profile: Profile) -> Result<Profile, Failure> {
        self.attributes.iter().try_fold(profile, |profile, text| {
            let wrong = || Failure::not_tried(format!("{text} names no attribute")).fix("write it as {urn:orders}Order@Id");
            let (element, attribute) = text.rsplit_once('@').ok_or_else(wrong)?;
            let (namespace, local) = name(element).ok_or_else(wrong)?;
            if attribute.is_empty() { Err(wrong()) } else { Ok(profile.with_id(namespace, local, attribute)) }
        })
    }
}

/// A name as `{namespace}local`.
fn name(text: &str) -> Option<(&str, &str)> {
    let found = match text.strip_prefix('{') {
        Some(rest) => rest.split_once('}')?,
        None => ("", text),
    };
    (!found.1.is_empty() && !found.1.contains(['{', '}', '/', '@', ':'])).then_some(found)
}

impl Verify {
    fn run(self, output: &mut Output) -> Result<Answer, Failure> {
        let mut keys = TrustedKeys::new();
        for file in self.cert.iter().chain(&self.key) {
            trust(&mut keys, file)?;
        }
        let profile = if self.legacy { Profile::ANY_FORM.legacy() } else { Profile::ANY_FORM };
        // What a SOAP stack of ours refuses unless conceded is no reason not to explain a document.
        let profile = self.ids.admitted(profile.admit(Concession::PlainId))?;
        let octets = document(&self.file)?;
        let report = diagnose(
            &octets,
            &Question {
                demand: Demand::Every,
                keys: (&keys).into(),
                profile: &profile,
                limits: &Limits::SOAP,
                tokens: None,
                keep_octets: self.digested.is_some(),
            },
        );
        if let (Some(file), Some(octets)) = (&self.digested, &report.octets) {
            std::fs::write(file, octets).map_err(|error| Failure::not_tried(format!("{}: {error}", file.display())))?;
        }
        Ok(say(&Said::of(&report), output))
    }
}

/// What a verification found, for programs.
#[derive(Debug, Serialize)]
struct Said {
    verdict: &'static str,
    reason: Option<&'static str>,
    checks: Vec<SaidCheck>,
    /// The thumbprints of the keys that signed: SHA-256 of the public key, in hexadecimal digits, with commas between.
    signer: Option<String>,
    covered: Vec<SaidElement>,
}

#[derive(Debug, Serialize)]
struct SaidCheck {
    name: &'static str,
    ok: bool,
    detail: String,
}

#[derive(Debug, Serialize)]
struct SaidElement {
    path: String,
    at: usize,
}

impl Said {
    fn of(report: &Report) -> Self {
        let mut signers: Vec<String> = Vec::new();
        for signer in &report.signers {
            let name = match signer {
                Signer::Key(key) => key.to_string(),
                Signer::Channel(peer) => peer.partner().to_owned(),
            };
            if !signers.contains(&name) {
                signers.push(name);
            }
        }
        Self {
            verdict: if report.error.is_none() { "accepted" } else { "rejected" },
            reason: report.error.as_ref().map(Error::reason),
            checks: report
                .checks
                .iter()
                .map(|check| SaidCheck { name: check.check.name(), ok: check.ok, detail: check.detail.clone() })
                .collect(),
            signer: (!signers.is_empty()).then(|| signers.join(", ")),
            covered: report.covered.iter().map(|covered| SaidElement { path: covered.path.clone(), at: covered.at }).collect(),
        }
    }
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
    let mut rows: Vec<Vec<Cell>> = said.signer.iter().map(|signer| vec![Cell::new("signer", Tone::Quiet), signer.into()]).collect();
    for covered in &said.covered {
        rows.push(vec![Cell::new("covers", Tone::Quiet), format!("{} (octet {})", covered.path, covered.at).into()]);
    }
    output.table(&[], rows);
    answer
}

/// Print the canonical form of a document
#[derive(Debug, Args)]
pub struct Canonicalize {
    /// The document (- for standard input)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Exclusive XML Canonicalization 1.0 instead of Canonical XML 1.0
    #[arg(long)]
    exclusive: bool,
    /// Keep comments
    #[arg(long)]
    with_comments: bool,
    /// Prefixes that are treated as in the inclusive form, with spaces between; #default is the default namespace
    #[arg(long, value_name = "PREFIXES", requires = "exclusive")]
    prefix_list: Option<String>,
}

impl Canonicalize {
    fn run(self, output: &mut Output) -> Result<Answer, Failure> {
        let prefixes = self.prefix_list.iter().flat_map(|list| list.split_ascii_whitespace());
        let form = Canonicalization {
            exclusive: self.exclusive,
            with_comments: self.with_comments,
            prefix_list: prefixes.map(|prefix| if prefix == "#default" { String::new() } else { prefix.to_owned() }).collect(),
        };
        let octets = canonicalize(&document(&self.file)?, &Limits::SOAP, &form).map_err(|error| refused(&error))?;
        print_document(octets, output)
    }
}

/// A document is printed as it is, octet for octet: it goes into a file or another program.
fn print_document(octets: Vec<u8>, output: &mut Output) -> Result<Answer, Failure> {
    let text = String::from_utf8(octets).map_err(|_| Failure::refused("the result is not UTF-8"))?;
    if output.is_json() {
        output.json(&serde_json::json!({ "document": text }));
    } else {
        output.verbatim(&text);
    }
    Ok(Answer::Yes)
}

/// The answer is no, and why in one word and one sentence.
fn refused(error: &Error) -> Failure {
    match error {
        Error::Key(_) => Failure::not_tried(error.to_string()),
        _ => Failure::refused(format!("{}: {error}", error.reason())),
    }
}

pub(super) fn document(file: &Path) -> Result<Vec<u8>, Failure> {
    // One octet more than the parser admits, so that it says so.
    read(file, Limits::SOAP.size as u64 + 1).map(|octets| octets.to_vec())
}

pub(super) fn read(file: &Path, most: u64) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let unread = |error: std::io::Error| {
        Failure::not_tried(format!("{}: {error}", file.display())).fix("name a file that may be read, or `-` for standard input")
    };
    let source: Box<dyn Read> =
        if file == Path::new("-") { Box::new(std::io::stdin()) } else { Box::new(File::open(file).map_err(unread)?) };
    let mut octets = Zeroizing::new(Vec::new());
    source.take(most).read_to_end(&mut octets).map_err(unread)?;
    Ok(octets)
}

/// Trusts what stands in a file: certificates and public keys in PEM, or one of them in DER.
pub(super) fn trust(keys: &mut TrustedKeys, file: &Path) -> Result<(), Failure> {
    let octets = read(file, MAX_KEY_FILE)?;
    let added = match std::str::from_utf8(&octets) {
        Ok(text) if text.contains("-----BEGIN ") => keys.add_pem(text).map(|_| ()),
        Ok(_) | Err(_) => keys.add_certificate(&octets).or_else(|_| keys.add_spki(&octets)).map(|_| ()),
    };
    added.map_err(|error| unusable(file, &error))
}

fn unusable(file: &Path, error: &Error) -> Failure {
    Failure::not_tried(format!("{}: {error}", file.display()))
}

/// A private key from a file in PEM (PKCS#8).
pub(super) fn private_key(file: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::pki_types::pem::PemObject;
    let pem = read(file, MAX_KEY_FILE)?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(&pem);
    // The parser's own words could quote the file.
    let key = key.map_err(|_| {
        Failure::not_tried(format!("{}: no private key in PEM form", file.display()))
            .fix("a key of another form is turned with: openssl pkcs8 -topk8 -nocrypt")
    })?;
    Ok(Zeroizing::new(key.secret_pkcs8_der().to_vec()))
}

/// The first certificate of a file, in DER.
fn certificate(file: &Path) -> Result<Vec<u8>, Failure> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let octets = read(file, MAX_KEY_FILE)?;
    let found = CertificateDer::from_pem_slice(&octets).map(|der| der.as_ref().to_vec());
    found.map_err(|_| Failure::not_tried(format!("{}: no certificate in PEM form", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_the_form_that_says_the_namespace() {
        assert_eq!(name("{urn:a/b:c}Order"), Some(("urn:a/b:c", "Order")));
        assert_eq!(name("{}Order"), Some(("", "Order")));
        assert_eq!(name("Order"), Some(("", "Order")));
        for wrong in ["", "{urn:a}", "{urn:a", "a:Order", "{urn:a}{b}c", "a/b", "a@b"] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
        let ids = |text: &str| Ids { attributes: vec![text.to_owned()] }.admitted(Profile::ANY_FORM);
        assert!(ids("{urn:a}Order@Id").is_ok() && ids("Order@Id").is_ok());
        for wrong in ["Order", "@Id", "Order@", "{urn:a}@Id"] {
            assert!(ids(wrong).is_err(), "{wrong}");
        }
    }
}
