//! The security header of SOAP messages, as meant.

use std::time::Duration;

use http::HeaderName;
use vestibule_engine::chain::OnReject;
use vestibule_engine::identity::RealmName;
use vestibule_engine::secret::Secret;
use vestibule_saml::Version;
use vestibule_soap::Target;
use vestibule_wss::{CertificateStore, Concessions, EncryptedPart, Error, KeyReference, Part, Revocation, TokenKind, Window};

use super::Fact;
use crate::schemes::owners::Mapping;
use crate::schemes::session_ticket;
use crate::schemes::ws_security::Subject;

/// How callers are recognised by a security header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WsSecurity {
    /// What proves it.
    pub token: TokenKind,
    /// Whose header is read.
    pub role: Target,
    /// What has to be signed beside what the token needs.
    pub parts: Vec<Part>,
    /// Who checks passwords, in order; empty for other tokens.
    pub realms: Vec<RealmName>,
    /// Whose signatures count.
    pub trust: Trust,
    /// By what the owner of a certificate is found.
    pub mapping: Vec<Mapping>,
    /// What a name in a certificate must end with, and is cut off.
    pub suffix: String,
    /// Whose assertions count.
    pub issuers: Vec<Issuer>,
    /// Who we are in audiences.
    pub audience: String,
    /// Our addresses in assertions.
    pub recipients: Vec<String>,
    /// What in an assertion names the user.
    pub subject: Subject,
    /// Keys that decrypt, PKCS#8 in DER.
    pub decryption: Vec<Secret<Vec<u8>>>,
    /// How old messages may be.
    pub window: Window,
    /// What of the weaker is admitted.
    pub concessions: Concessions,
    /// What a refusal does.
    pub on_reject: OnReject,
}

/// How callers are recognised by a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTicket {
    /// Where it stands, and who may bring it.
    pub settings: session_ticket::Settings,
    /// What a refusal does.
    pub on_reject: OnReject,
}

/// A ticket for the next service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTicketResponse {
    /// Where it is put.
    pub to: TicketPlace,
    /// Whose key it names.
    pub holder: Option<Holder>,
    /// How long it counts.
    pub lifetime: Duration,
}

/// Where a ticket is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TicketPlace {
    /// In a header that the service sees.
    Header(HeaderName),
    /// In a cookie that the caller gets.
    Cookie(String),
}

/// Certificates that count, in DER.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    /// As they are.
    pub known: Vec<Vec<u8>>,
    /// What these issued.
    pub anchors: Vec<Vec<u8>>,
    /// Lists of what they revoked; with one, every certificate of a path needs a list in force.
    pub lists: Vec<Vec<u8>>,
}

impl Trust {
    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.anchors.is_empty()
    }

    /// A store without remembered paths.
    ///
    /// # Errors
    /// [`Error`] for what cannot be used.
    pub fn store(&self) -> Result<CertificateStore, Error> {
        let mut store = CertificateStore::new();
        self.known.iter().try_for_each(|der| store.know(der))?;
        self.anchors.iter().try_for_each(|der| store.trust_anchor(der))?;
        self.lists.iter().try_for_each(|der| store.revocation_list(der))?;
        Ok(store.checking(if self.lists.is_empty() { Revocation::Unchecked } else { Revocation::Required }))
    }
}

/// An issuer of assertions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Its name.
    pub entity_id: String,
    /// Certificates (DER) whose keys sign its assertions; at least one.
    pub certificates: Vec<Vec<u8>>,
    /// Certificates (DER) of those who may vouch for them; at least one.
    pub attesters: Vec<Vec<u8>>,
}

/// A security header for the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WsSecurityResponse {
    /// What is in it.
    pub token: ResponseToken,
    /// For whom it is.
    pub role: Target,
    /// For how long it counts; `None` says nothing of it.
    pub lifetime: Option<Duration>,
    /// Whose key signs; there wherever something is signed.
    pub certificate: Option<SigningCertificate>,
    /// What is signed; may be nothing.
    pub sign: Vec<Part>,
    /// How a signature names its certificate.
    pub reference: KeyReference,
    /// What is encrypted for whom.
    pub encrypt: Option<Encryption>,
    /// Whether the service has to understand it.
    pub must_understand: bool,
    /// Whether the header that was read is taken out even where the route keeps it.
    pub remove: bool,
}

/// A certificate and the private key that signs with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningCertificate {
    /// DER.
    pub certificate: Vec<u8>,
    /// PKCS#8 in DER.
    pub key: Secret<Vec<u8>>,
}

/// What a header holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseToken {
    /// The caller's name with a password.
    Password {
        /// How it stands there.
        form: PasswordForm,
        /// Where it comes from.
        source: PasswordSource,
    },
    /// Our certificate.
    X509,
    /// An assertion.
    Saml(Assertion),
}

/// How a password stands in a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PasswordForm {
    /// Its digest.
    Digest,
    /// As it is.
    Text,
}

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordSource {
    /// The caller sent it.
    Received,
    /// It is known of the caller.
    Attribute(String),
    /// It is the same for everybody.
    Shared(Secret<String>),
}

/// An assertion of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// Of which SAML.
    pub version: Version,
    /// Who says it.
    pub issuer: String,
    /// For whom; at least one.
    pub audience: Vec<String>,
    /// Who may present it.
    pub confirm: Confirm,
    /// How long it is valid.
    pub lifetime: Duration,
    /// What names the caller.
    pub name: Fact,
    /// The format of that name.
    pub format: String,
    /// What else is said.
    pub attributes: Vec<(String, Fact)>,
    /// Whether a ticket is in it.
    pub ticket: bool,
}

/// Who may present an assertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirm {
    /// Who has this key.
    HolderOfKey(Holder),
    /// We, by signing it with the message.
    SenderVouches,
    /// The same, and it is signed by itself.
    SenderVouchesSigned,
}

/// Whose key an assertion names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// The one that signed the caller's message.
    Message,
    /// That of the caller's TLS.
    ClientCertificate,
    /// That of a certificate which is known of the caller.
    Attribute(String),
}

/// What is encrypted for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// The service's certificate, DER.
    pub certificate: Vec<u8>,
    /// What.
    pub parts: Vec<EncryptedPart>,
}
