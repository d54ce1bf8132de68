//! `vestibule wss`: one SOAP message, held against rules by the very code of the scheme `ws-security` (architecture §13).
//!
//! What is said here is for an operator's terminal: it names the step that failed, which a client never learns. Passwords are
//! read from a file and never printed; nothing is remembered, so that no message is a replay here.

mod import;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use vestibule_engine::clock::{Clock as _, SystemClock};
use vestibule_soap::Target;
use vestibule_wss::{
    Accepted, Certificate, CertificateStore, Check, Concession, Concessions, Message, Outcome, Part, Reason, TokenKind, TrustedIssuer,
    Window,
};
use vestibule_xmlsec::{DecryptionKeys, ElementView, Error as XmlError, FromClaimed, Limits, Messages, TrustedKeys, Unsigned};
use zeroize::Zeroizing;

use super::output::{Cell, Output, Tone};
use super::xml::{document, private_key, read};
use super::{Answer, Failure};
use crate::config::DECRYPTION;
use crate::schemes::ws_security::verifier::{Verifier, Way};

/// Octets of a file with users or certificates.
const MAX_FILE: u64 = 1 << 20;
/// Names of assertions, in both versions.
const ASSERTIONS: [&str; 2] = ["urn:oasis:names:tc:SAML:2.0:assertion", "urn:oasis:names:tc:SAML:1.0:assertion"];

/// SOAP messages with a security header
#[derive(Debug, Subcommand)]
pub enum WssCommand {
    /// Say what the security header of a message proves, check by check
    Inspect(Box<Inspect>),
    /// Turn the variables of a SiteMinder response (TXM_WSSEC_…) into a response of ours
    Import(import::Import),
}

impl WssCommand {
    /// Runs it.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub fn run(self, output: &mut Output) -> Result<Answer, Failure> {
        match self {
            Self::Inspect(inspect) => inspect.run(output),
            Self::Import(import) => import.run(output),
        }
    }
}

/// Say what the security header of a message proves, check by check
#[derive(Debug, Args)]
pub struct Inspect {
    /// The message (- for standard input)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Trust the certificates in a file, PEM or DER: as they are, what an authority among them issued, and as issuers of
    /// assertions
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
    /// The users, in lines of the form name:password
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// What has to be signed beside what the token needs, with commas between: body, timestamp, token, wsa, headers, envelope,
    /// {namespace}name
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    require: Vec<String>,
    /// The token that has to hold; several if all of them have to [default: those that are there]
    #[arg(long, value_name = "TOKEN")]
    token: Vec<Token>,
    /// The actor or role whose header is read [default: the header without one]
    #[arg(long, value_name = "URI")]
    role: Option<String>,
    /// Decrypt with the private key (PKCS#8) in a file
    #[arg(long, value_name = "FILE")]
    decrypt_key: Vec<PathBuf>,
    /// The time [default: now]
    #[arg(long, value_name = "RFC3339")]
    now: Option<String>,
    /// Admit something weaker by its name, or all
    #[arg(long, value_name = "NAME")]
    concede: Vec<String>,
    /// Admit old algorithms and short keys
    #[arg(long)]
    legacy: bool,
    /// Whose assertions count [default: whoever the message names, if its key is trusted]
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Who we are in an assertion's audiences [default: whoever the message names]
    #[arg(long, value_name = "URI")]
    audience: Option<String>,
    /// Our address, where an assertion names its recipient [default: whichever the message names]
    #[arg(long, value_name = "URL")]
    recipient: Vec<String>,
}

/// A kind of token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Token {
    /// A user name and its password
    Username,
    /// A certificate whose key signed the message
    X509,
    /// An assertion
    Saml,
}

impl Token {
    fn kind(self) -> TokenKind {
        match self {
            Self::Username => TokenKind::Username,
            Self::X509 => TokenKind::X509,
            Self::Saml => TokenKind::Saml,
        }
    }
}

impl Inspect {
    fn run(self, output: &mut Output) -> Result<Answer, Failure> {
        let now = match &self.now {
            None => SystemClock::default().now(),
            Some(text) => {
                text.parse().map_err(|_| Failure::not_tried(format!("{text} is no instant")).fix("write it as 2027-01-31T12:00:00Z"))?
            }
        };
        let users = self.users()?;
        let mut verifier = self.verifier()?;
        let octets = document(&self.file)?;
        let message = match Message::read(&octets, &Limits::SOAP) {
            Ok(message) => message,
            Err(error) => {
                let failed = Check { name: "message", outcome: Outcome::Failed(error.reason()), detail: error.to_string() };
                return Ok(say(&Said::rejected(error.reason(), &[failed]), output));
            }
        };
        self.fill(&mut verifier, &message)?;
        let way = Way { client: None, protected: true, certificate: None };
        let accepted = match verifier.verify(&message, &way, now) {
            Ok(accepted) => accepted,
            Err(rejection) => return Ok(say(&Said::rejected(rejection.reason, &rejection.checks), output)),
        };
        let mut said = Said::accepted(&accepted);
        if let Some(token) = &accepted.username {
            let password = users.iter().find(|(name, _)| name == token.username()).map(|(_, password)| password.as_bytes());
            // As the realms do: a name that is not known is compared all the same.
            let same = token.matches(password.unwrap_or(b"\0"));
            let refused = match (password, same) {
                (Some(_), true) => None,
                (Some(_), false) => Some(Reason::WrongPassword),
                (None, _) => Some(Reason::UnknownUser),
            };
            said.password(token.username(), refused);
        }
        Ok(say(&said, output))
    }

    fn users(&self) -> Result<Vec<(String, Zeroizing<String>)>, Failure> {
        let Some(file) = &self.users else { return Ok(Vec::new()) };
        let octets = read(file, MAX_FILE)?;
        let unusable = |why: &str| Failure::not_tried(format!("{}: {why}", file.display()));
        let text = std::str::from_utf8(&octets).map_err(|_| unusable("not UTF-8"))?;
        let mut users = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let (name, password) = line.split_once(':').ok_or_else(|| unusable(&format!("line {} is not name:password", number + 1)))?;
            users.push((name.to_owned(), Zeroizing::new(password.to_owned())));
        }
        Ok(users)
    }

    fn verifier(&self) -> Result<Verifier, Failure> {
        let mut certificates = CertificateStore::new();
        for (file, der) in self.trusted()? {
            let unusable = |error: vestibule_wss::Error| Failure::not_tried(format!("{}: {error}", file.display()));
            certificates.know(&der).map_err(unusable)?;
            certificates.trust_anchor(&der).map_err(unusable)?;
        }
        let mut parts = Vec::new();
        for text in &self.require {
            parts.push(Part::parse(text).ok_or_else(|| Failure::not_tried(format!("{text} is no part of a message")))?);
        }
        let mut concessions: Vec<Concession> = Vec::new();
        for word in &self.concede {
            match Concession::ALL.iter().find(|known| known.word() == word) {
                Some(known) => concessions.push(*known),
                None if word == "all" => concessions.extend(Concession::ALL),
                None => {
                    let known: Vec<&str> = Concession::ALL.iter().map(|known| known.word()).collect();
                    return Err(Failure::not_tried(format!("{word} is no concession")).fix(format!("there is all, {}", known.join(", "))));
                }
            }
        }
        if self.legacy {
            concessions.extend(Concession::ALL.iter().filter(|known| known.word().starts_with("legacy_")));
        }
        let mut decryption = DecryptionKeys::<Messages>::new();
        for file in &self.decrypt_key {
            let unusable = |error: XmlError| Failure::not_tried(format!("{}: {error}", file.display()));
            decryption.add_pkcs8(DECRYPTION, &private_key(file)?).map_err(unusable)?;
        }
        Ok(Verifier {
            role: self.role.clone().filter(|role| !role.is_empty()).map_or(Target::Ultimate, Target::Role),
            tokens: self.token.iter().map(|token| token.kind()).collect(),
            parts,
            window: Window::default(),
            concessions: concessions.into_iter().collect::<Concessions>(),
            certificates,
            issuers: Vec::new(),
            audience: String::new(),
            recipients: self.recipient.clone(),
            decryption: (!self.decrypt_key.is_empty()).then_some(decryption),
        })
    }

    fn trusted(&self) -> Result<Vec<(&Path, Vec<u8>)>, Failure> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        let mut found = Vec::new();
        for file in &self.trust {
            let octets = read(file, MAX_FILE)?;
            let unusable = || Failure::not_tried(format!("{}: no certificate", file.display()));
            let pem: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&octets).collect();
            match pem.map_err(|_| unusable())? {
                all if !all.is_empty() => found.extend(all.iter().map(|der| (file.as_path(), der.to_vec()))),
                _ if Certificate::from_der(&octets).is_ok() => found.push((file.as_path(), octets.to_vec())),
                _ => return Err(unusable()),
            }
        }
        Ok(found)
    }

    /// What nobody said is taken from the message: it is to be explained, not admitted.
    fn fill(&self, verifier: &mut Verifier, message: &Message) -> Result<(), Failure> {
        if verifier.tokens.is_empty() {
            verifier.tokens = message.offers(&verifier.role);
            if !self.decrypt_key.is_empty() && verifier.tokens.len() > 2 {
                verifier.tokens = vec![TokenKind::X509];
            }
        }
        let claimed = message.document().claim::<Named>().map(|claimed| claimed.sender_says().clone()).unwrap_or_default();
        verifier.audience = self.audience.clone().or(claimed.audience).unwrap_or_default();
        if verifier.recipients.is_empty() {
            verifier.recipients = claimed.recipients;
        }
        let Some(entity_id) = self.issuer.clone().or(claimed.issuer) else { return Ok(()) };
        let (mut keys, mut attesters) = (TrustedKeys::new(), CertificateStore::new());
        for (file, der) in self.trusted()? {
            keys.add_certificate(&der).map_err(|error| Failure::not_tried(format!("{}: {error}", file.display())))?;
            attesters.know(&der).map_err(|error| Failure::not_tried(format!("{}: {error}", file.display())))?;
        }
        verifier.issuers = vec![TrustedIssuer { entity_id, keys, attesters }];
        Ok(())
    }
}

/// Whom the first assertion of a message names.
#[derive(Debug, Clone, Default)]
struct Named {
    issuer: Option<String>,
    audience: Option<String>,
    recipients: Vec<String>,
}

impl FromClaimed for Named {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        let mut named = Self::default();
        named.gather(root);
        Ok(named)
    }
}

impl Named {
    fn gather(&mut self, element: ElementView<'_, Unsigned>) {
        for child in element.children() {
            if ASSERTIONS.contains(&child.namespace()) {
                let text = || child.text().ok().map(|text| text.trim().to_owned());
                match child.local() {
                    "Assertion" => self.issuer = self.issuer.take().or(child.attribute("", "Issuer").map(str::to_owned)),
                    "Issuer" => self.issuer = self.issuer.take().or_else(text),
                    "Audience" => self.audience = self.audience.take().or_else(text),
                    "SubjectConfirmationData" => self.recipients.extend(child.attribute("", "Recipient").map(str::to_owned)),
                    _ => {}
                }
            }
            self.gather(child);
        }
    }
}

/// What was found, for programs.
#[derive(Debug, Serialize)]
struct Said {
    verdict: &'static str,
    reason: Option<&'static str>,
    checks: Vec<SaidCheck>,
    /// Whom the header proves.
    subject: Option<String>,
    /// The same, under the name that other tools know it by.
    identity: Option<String>,
    /// The subject of the certificate whose key signed the message.
    signer: Option<String>,
    /// The parts that signatures of the authenticating keys cover.
    covered: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SaidCheck {
    name: String,
    ok: bool,
    detail: String,
}

impl Said {
    fn checks(checks: &[Check]) -> Vec<SaidCheck> {
        let said = |check: &Check| SaidCheck {
            name: check.name.to_owned(),
            ok: !matches!(check.outcome, Outcome::Failed(_)),
            detail: check.detail.clone(),
        };
        checks.iter().map(said).collect()
    }

    fn rejected(reason: Reason, checks: &[Check]) -> Self {
        let checks = Self::checks(checks);
        Self { verdict: "rejected", reason: Some(reason.word()), checks, subject: None, identity: None, signer: None, covered: Vec::new() }
    }

    fn accepted(accepted: &Accepted) -> Self {
        let assertion = accepted.assertion.as_ref().and_then(|found| found.assertion.value().name_id()).map(|name| name.value.clone());
        let username = accepted.username.as_ref().map(|token| token.username().to_owned());
        let certificate = accepted.signatures.iter().find_map(|signature| signature.certificate());
        let signer = certificate.map(|certificate| certificate.subject().to_owned());
        let subject = username.or(assertion).or_else(|| accepted.certificate.as_ref().map(|found| found.subject().to_owned()));
        Self {
            verdict: "accepted",
            reason: None,
            checks: Self::checks(&accepted.checks),
            identity: subject.clone(),
            subject,
            signer,
            covered: accepted.covered.clone(),
        }
    }

    /// The check that the scheme leaves to the realms.
    fn password(&mut self, name: &str, refused: Option<Reason>) {
        self.checks.retain(|check| check.name != "password");
        let detail = match refused {
            None => "it is theirs".to_owned(),
            Some(Reason::WrongPassword) => "it is another".to_owned(),
            Some(_) => format!("no user is called {name:?}"),
        };
        self.checks.push(SaidCheck { name: "password".to_owned(), ok: refused.is_none(), detail });
        if let Some(reason) = refused {
            let checks = std::mem::take(&mut self.checks);
            *self = Self { checks, ..Self::rejected(reason, &[]) };
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
    output.table(
        &[],
        said.checks.iter().map(|check| vec![mark(check.ok), check.name.as_str().into(), check.detail.as_str().into()]).collect(),
    );
    output.gap();
    match said.reason {
        None => output.line(Cell::new("accepted", Tone::Good)),
        Some(reason) => output.line(Cell::new(format!("rejected: {reason}"), Tone::Bad)),
    }
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    rows.extend(said.identity.iter().map(|who| vec![Cell::new("identity", Tone::Quiet), who.into()]));
    rows.extend(said.signer.iter().map(|who| vec![Cell::new("signer", Tone::Quiet), who.into()]));
    rows.extend(said.covered.iter().map(|part| vec![Cell::new("covers", Tone::Quiet), part.into()]));
    output.table(&[], rows);
    answer
}
