//! The security header of SOAP messages: who is proven by it, and what is written into it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::OnReject;
use crate::config::secrets::SecretRef;
use crate::config::values::{At, OneOrMore, Pairs, Period};

/// The security header of a SOAP message. Needs routes whose body is read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WsSecurityScheme {
    /// What proves who is calling: `username` a name with a password, `x509` a certificate whose key signed the message,
    /// `saml` an assertion.
    pub token: At<WsToken>,
    /// The actor or role whose header is read. Without it, the header that has none.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "urn:north:gateway")]
    pub role: Option<At<String>>,
    /// What has to be signed, beside what the token needs anyway: `body`, `timestamp`, `token`, `wsa`, `headers`, `envelope`, or
    /// one header block as `{namespace}name`.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["body", "timestamp"])]
    pub require: Vec<At<String>>,
    /// Who checks the password, for `username`: a realm, or several in this order. Digests need one that keeps passwords:
    /// `shared-secrets`.
    #[serde(default)]
    #[schemars(example = ["partners"])]
    pub realm: At<OneOrMore>,
    /// Files with certificates, in PEM form, whose keys count as they are.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["partners/acme.pem"])]
    pub certificates: Vec<At<PathBuf>>,
    /// Files with authorities, in PEM form, whose certificates count.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["partners/ca.pem"])]
    pub ca: Vec<At<PathBuf>>,
    /// Files with lists of revoked certificates, in PEM form. With one, every certificate of a path needs a list in force.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["partners/ca.crl"])]
    pub crl: Vec<At<PathBuf>>,
    /// By what the owner of a certificate is found, for `x509`; as in a scheme of type `client-certificate`.
    #[serde(default = "super::scheme::thumbprint")]
    #[schemars(extend("default" = "thumbprint"), example = ["thumbprint", "common-name"])]
    pub map: At<OneOrMore>,
    /// What a user name in a certificate must end with; it is cut off.
    #[serde(default)]
    #[schemars(example = "@north.example.com")]
    pub suffix: String,
    /// Whose assertions count, for `saml`.
    #[serde(default)]
    pub issuers: Vec<At<WsIssuer>>,
    /// Who we are in the audiences of assertions, for `saml`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "urn:north:orders")]
    pub audience: Option<At<String>>,
    /// Our addresses, where an assertion names its recipient.
    #[serde(default)]
    #[schemars(example = ["https://north.example.com/orders"])]
    pub recipients: Vec<String>,
    /// What in an assertion names the user: `name`, `linked` (as `vestibule user link` noted it), `attribute:NAME`, or `ticket`: it
    /// holds one of ours, which says all.
    #[serde(default = "name")]
    #[schemars(with = "String")]
    pub subject: At<String>,
    /// Private RSA keys in PEM form (PKCS#8) that decrypt what is encrypted to us; the newest first.
    #[serde(default)]
    pub decryption_keys: Vec<At<SecretRef>>,
    /// How old a message or a password's digest may be.
    #[serde(default = "five_minutes")]
    pub max_age: At<Period>,
    /// How far ahead of our clock it may have been made.
    #[serde(default = "one_minute")]
    pub future: At<Period>,
    /// How far clocks may differ where an end is given.
    #[serde(default = "half_a_minute")]
    pub skew: At<Period>,
    /// What a refused header does: `continue` asks the next scheme, `stop` ends the chain.
    #[serde(default)]
    pub on_reject: OnReject,
}

/// What proves who is calling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WsToken {
    /// A `UsernameToken`.
    Username,
    /// A certificate.
    X509,
    /// An assertion.
    Saml,
}

/// An issuer of assertions.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WsIssuer {
    /// Its name in `Issuer`.
    #[schemars(with = "String", example = "https://idp.example.org/metadata")]
    pub entity_id: At<String>,
    /// Files with the certificates, in PEM form, whose keys sign its assertions.
    #[schemars(with = "Vec<String>", example = ["partners/idp.pem"])]
    pub certificates: Vec<At<PathBuf>>,
    /// Files with the certificates of those who may vouch for its assertions by signing a message. Without it, the issuer.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["partners/attester.pem"])]
    pub attesters: Vec<At<PathBuf>>,
}

/// A security header for the service. The body must be read, and a permit must name this response.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WsSecurityResponse {
    /// What is in it: `password-digest`, `password-text`, `x509` or `saml`.
    pub token: At<WsResponseToken>,
    /// The password of the token: `received` for the one the caller sent, or `attribute:NAME`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"received")]
    pub password: Option<At<String>>,
    /// The password of the token, the same for everybody.
    #[serde(default)]
    pub shared_password: Option<At<SecretRef>>,
    /// The actor or role that the header is for. Without it, the last receiver.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "urn:partner:service")]
    pub role: Option<At<String>>,
    /// Whether the header says when it was made and until when it counts.
    #[serde(default = "yes")]
    pub timestamp: bool,
    /// For how long it counts.
    #[serde(default = "five_minutes")]
    pub lifetime: At<Period>,
    /// What is signed with `key`: part names as in `require` of a scheme. Without it: all for `x509`; token, body and timestamp
    /// for an assertion that we vouch for; nothing else.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>", example = ["body", "timestamp"])]
    pub sign: Option<Vec<At<String>>>,
    /// The certificate in PEM form of the key that signs. Needs `key`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "tls/soap.pem")]
    pub certificate: Option<At<PathBuf>>,
    /// The private key in PEM form (PKCS#8).
    #[serde(default)]
    pub key: Option<At<SecretRef>>,
    /// How a signature names its certificate: `direct`, `ski`, `thumbprint` or `issuer-serial`.
    #[serde(default)]
    pub reference: WsReference,
    /// The assertion, for `saml`.
    #[serde(default)]
    pub assertion: Option<WsAssertion>,
    /// The service's certificate in PEM form; what `encrypt_parts` names is encrypted for it.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "partners/service.pem")]
    pub encrypt_for: Option<At<PathBuf>>,
    /// What is encrypted: `body`, `token`, `signature`.
    #[serde(default = "body_and_token")]
    pub encrypt_parts: Vec<WsEncryptedPart>,
    /// Whether the service has to understand the header. `false` also takes that demand from a header that was kept.
    #[serde(default)]
    pub must_understand: Option<bool>,
    /// Whether the header that was read is taken out, on routes that keep it otherwise.
    #[serde(default)]
    pub remove: bool,
}

/// A token that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WsResponseToken {
    /// A user name with the digest of a password.
    PasswordDigest,
    /// A user name with a password.
    PasswordText,
    /// Our certificate.
    X509,
    /// An assertion of ours.
    Saml,
}

/// How a signature names its certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WsReference {
    /// It goes along.
    #[default]
    Direct,
    /// By its key identifier.
    Ski,
    /// By its SHA-1.
    Thumbprint,
    /// By issuer and serial number.
    IssuerSerial,
}

/// Something to encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WsEncryptedPart {
    /// The content of the Body.
    Body,
    /// The token.
    Token,
    /// The signature.
    Signature,
}

/// An assertion of ours about the caller.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WsAssertion {
    /// The version of SAML: `2.0` or `1.1`.
    #[serde(default)]
    pub version: WsSamlVersion,
    /// Who says it: the name that the receiver trusts.
    #[schemars(with = "String", example = "https://gateway.north.example.com")]
    pub issuer: At<String>,
    /// For whom it is.
    #[schemars(example = ["urn:partner:b"])]
    pub audience: At<OneOrMore>,
    /// Who may present it: `holder-of-key`, `sender-vouches` (our signature over message and assertion), or
    /// `sender-vouches-signed` (besides, the assertion is signed by itself).
    pub confirm: At<WsConfirm>,
    /// Whose key a holder has: `message` for the one that signed the caller's message, `client-certificate` for that of its TLS, or
    /// `attribute:NAME` for a certificate (DER in base64) among what is known of the caller.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"message")]
    pub holder: Option<At<String>>,
    /// How long it is valid; at most an hour.
    #[serde(default = "five_minutes")]
    pub lifetime: At<Period>,
    /// What names the caller: a word as in the injector `headers`.
    #[serde(default = "user")]
    #[schemars(with = "String")]
    pub name: At<String>,
    /// The format of that name.
    #[serde(default = "unspecified")]
    pub format: String,
    /// Attributes, each with what is known of the caller, as in the injector `headers`.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "groups": "groups" }))]
    pub attributes: Pairs,
    /// Whether a session ticket goes along, for schemes with `subject = "ticket"`. Needs a holder.
    #[serde(default)]
    pub ticket: At<bool>,
}

/// A version of SAML.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WsSamlVersion {
    /// SAML 2.0.
    #[default]
    #[serde(rename = "2.0")]
    Saml20,
    /// SAML 1.1.
    #[serde(rename = "1.1")]
    Saml11,
}

/// Who may present an assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WsConfirm {
    /// Who has the key that it names.
    HolderOfKey,
    /// Nobody but us, in this message.
    SenderVouches,
    /// The same, and the assertion is signed by itself.
    SenderVouchesSigned,
}

fn name() -> At<String> {
    "name".to_owned().into()
}

fn user() -> At<String> {
    "user".to_owned().into()
}

fn unspecified() -> String {
    "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified".to_owned()
}

fn yes() -> bool {
    true
}

fn five_minutes() -> At<Period> {
    Period::seconds(300).into()
}

fn one_minute() -> At<Period> {
    Period::seconds(60).into()
}

fn half_a_minute() -> At<Period> {
    Period::seconds(30).into()
}

fn body_and_token() -> Vec<WsEncryptedPart> {
    vec![WsEncryptedPart::Body, WsEncryptedPart::Token]
}
