//! Keys, users and rules that the tests share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vestibule_soap::Target;
use vestibule_wss::{
    Accepted, CertificateStore, Channel, Concession, Concessions, Demand, Message, Part, Reason, Rejection, Rules, TokenKind,
    TrustedIssuer, Window,
};
use vestibule_xmlsec::{DecryptionKeys, Limits, Messages, SigningKey, TrustedKeys, WebServices};

pub const NOW: &str = "2026-03-01T12:01:00Z";
pub const IDP: &str = "https://idp.example.org/saml/metadata";
pub const AUDIENCE: &str = "https://gw.example.com/saml/sp";

pub fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus")
}

pub fn der(name: &str) -> Vec<u8> {
    let pem = std::fs::read_to_string(corpus().join("recorded/keys").join(name)).unwrap();
    STANDARD.decode(pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).unwrap()
}

pub fn signing_key(name: &str) -> SigningKey<WebServices> {
    let certificate = der(&format!("{name}.crt"));
    SigningKey::from_pkcs8("ws-security", &der(&format!("{name}.key")), Some(&certificate)).unwrap()
}

/// Rules that own what they are made of.
pub struct World {
    pub role: Target,
    pub tokens: Vec<TokenKind>,
    pub parts: Vec<Part>,
    pub concessions: Concessions,
    pub certificates: CertificateStore,
    pub issuers: Vec<TrustedIssuer>,
    pub audience: String,
    pub recipients: Vec<String>,
    pub decryption: Option<DecryptionKeys<Messages>>,
    pub users: BTreeMap<String, String>,
    pub protected: bool,
    pub peer: Option<Vec<u8>>,
    pub now: jiff::Timestamp,
}

impl Default for World {
    /// The client's certificate counts for messages, the identity provider's for assertions; alice has her password.
    fn default() -> Self {
        let mut certificates = CertificateStore::new();
        certificates.know(&der("client-rsa2048.crt")).unwrap();
        let mut keys = TrustedKeys::new();
        keys.add_certificate(&der("idp-rsa2048.crt")).unwrap();
        let mut attesters = CertificateStore::new();
        attesters.know(&der("client-rsa2048.crt")).unwrap();
        Self {
            role: Target::Ultimate,
            tokens: Vec::new(),
            parts: Vec::new(),
            concessions: Concessions::NONE,
            certificates,
            issuers: vec![TrustedIssuer { entity_id: IDP.to_owned(), keys, attesters }],
            audience: AUDIENCE.to_owned(),
            recipients: vec!["https://gw.example.com/saml/acs".to_owned()],
            decryption: None,
            users: BTreeMap::from([("alice".to_owned(), "wonderland".to_owned())]),
            protected: true,
            peer: None,
            now: NOW.parse().unwrap(),
        }
    }
}

/// Why a message does not count, and what was checked.
#[derive(Debug)]
pub struct Refusal {
    pub reason: Reason,
    pub trace: String,
}

impl World {
    pub fn of(tokens: &[TokenKind]) -> Self {
        Self { tokens: tokens.to_vec(), ..Self::default() }
    }

    #[must_use]
    pub fn conceding(mut self, concessions: &[Concession]) -> Self {
        self.concessions = concessions.iter().copied().collect();
        self
    }

    #[must_use]
    pub fn decrypting(mut self) -> Self {
        let mut keys = DecryptionKeys::new();
        keys.add_pkcs8("ws-security-decryption", &der("server-rsa2048.key")).unwrap();
        self.decryption = Some(keys);
        self
    }

    pub fn verify(&self, message: &Message) -> Result<Accepted, Rejection> {
        let recipients: Vec<&str> = self.recipients.iter().map(String::as_str).collect();
        let channel = if self.protected {
            Channel::Protected { client: None, certificate: self.peer.as_deref() }
        } else {
            Channel::Plain { client: None }
        };
        let rules = Rules {
            role: &self.role,
            demand: Demand { tokens: &self.tokens, parts: &self.parts },
            window: Window::default(),
            concessions: self.concessions,
            channel,
            certificates: &self.certificates,
            issuers: &self.issuers,
            audience: &self.audience,
            recipients: &recipients,
            decryption: self.decryption.as_ref(),
        };
        message.verify(&rules, self.now)
    }

    /// As the gateway would: with the password checked.
    pub fn judge(&self, octets: &[u8]) -> Result<Accepted, Refusal> {
        let refused = |reason, trace: String| Refusal { reason, trace };
        let message = Message::read(octets, &Limits::SOAP).map_err(|error| refused(error.reason(), error.to_string()))?;
        let accepted = self.verify(&message).map_err(|rejection| refused(rejection.reason, format!("{:#?}", rejection.checks)))?;
        if let Some(token) = &accepted.username {
            let Some(password) = self.users.get(token.username()) else { return Err(refused(Reason::UnknownUser, String::new())) };
            if !token.matches(password.as_bytes()) {
                return Err(refused(Reason::WrongPassword, String::new()));
            }
        }
        Ok(accepted)
    }
}
