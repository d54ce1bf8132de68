//! SAML: the tenant as a service provider, and the identity providers it trusts.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secrets::SecretRef;
use crate::config::values::{At, OneOrMore, Pairs, Period};

/// SAML 2.0 web single sign-on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SamlScheme {
    /// Who may vouch for users: an identity provider, or several among which users are led by host, mail domain or choice.
    #[schemars(example = &"corp")]
    pub identity_provider: At<OneOrMore>,
    /// How we are called by identity providers. Without it, the address of our metadata: `/saml/sp/metadata` on the portal.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "https://login.north.example.com/saml/sp/metadata")]
    pub entity_id: Option<At<String>>,
    /// Addresses on the portal to which identity providers still send answers, beside `/saml/sp/acs`: those of whatever stood
    /// there before. Where an answer is for one of them, it is for us.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["https://login.north.example.com/saml/acs"])]
    pub consumer_aliases: Vec<At<String>>,
    /// The path on the portal to which identity providers of SAML 1.1 send browsers: by POST with an answer, by GET with
    /// artifacts.
    #[serde(default = "saml11_consumer")]
    #[schemars(with = "String")]
    pub saml11_consumer: At<String>,
    /// The key that signs our requests. Without it they are not signed, and nobody can be signed out at an identity provider.
    #[serde(default)]
    pub signing: Option<At<KeyPair>>,
    /// Keys to which assertions are encrypted; the first is published, all decrypt.
    #[serde(default)]
    pub decryption: Vec<At<KeyPair>>,
}

/// A key with its certificate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyPair {
    /// The certificate, in PEM form. Partners look at its key only.
    #[schemars(with = "String", example = "saml/sp.crt")]
    pub certificate: At<PathBuf>,
    /// Its private key, PKCS#8 in PEM form.
    #[schemars(example = serde_json::json!({ "file": "/run/secrets/sp.key" }))]
    pub key: At<SecretRef>,
}

/// An identity provider.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityProvider {
    /// A file with its metadata, as the identity provider publishes them. Its keys and addresses come from there and from nowhere else.
    #[schemars(with = "String", example = "saml/corp.xml")]
    pub metadata: At<PathBuf>,
    /// Where newer metadata are published, to be put in the place of that file.
    #[serde(default)]
    pub refresh: Option<At<Refresh>>,
    /// Which entity of the file it is. Needed where the file describes several.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "https://idp.example.com/metadata")]
    pub entity_id: Option<At<String>>,
    /// The name to show where users choose. Without it, the name in the metadata, or its own.
    #[serde(default)]
    #[schemars(example = "Corporate account")]
    pub title: Option<String>,
    /// Hosts of applications whose visitors are led to it.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["orders.north.example.com"])]
    pub hosts: Vec<At<String>>,
    /// Domains of mail addresses whose owners are led to it.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["example.com"])]
    pub domains: Vec<At<String>>,
    /// How requests travel: `redirect` or `post`.
    #[serde(default)]
    pub binding: At<RequestBinding>,
    /// How its answers travel: `post`, in a form, or `artifact`, as a reference that we resolve at the address in its metadata.
    #[serde(default)]
    pub answers: At<Answers>,
    /// Authorities of the certificate that it shows where artifacts are resolved and metadata are fetched, in PEM form. Without it, those of the system.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "saml/corp-ca.pem")]
    pub ca: Option<At<PathBuf>>,
    /// Certificates that it shows there, in PEM form. What came over a channel with one of these keys counts as said by it, signed
    /// or not: needs the concession `saml-channel`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "saml/corp-channel.pem")]
    pub channel: Option<At<PathBuf>>,
    /// What of its answers has to be signed: `either` the assertion or the response around it, `assertion`, `response`, or `both`.
    #[serde(default)]
    pub signed: SignedPart,
    /// How far its clock may be off.
    #[serde(default = "one_minute")]
    #[schemars(extend("default" = "1m"))]
    pub skew: At<Period>,
    /// How old an assertion may be, whatever it says itself; an hour at most.
    #[serde(default = "five_minutes")]
    #[schemars(extend("default" = "5m"))]
    pub max_age: At<Period>,
    /// Whether it may begin a login by itself, with a response that answers no request of ours.
    #[serde(default)]
    pub unsolicited: At<bool>,
    /// The origins of its pages, from which such a response may come.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["https://idp.example.com"])]
    pub origins: Vec<At<String>>,
    /// The attribute that names the subject. Without it, the NameID does.
    #[serde(default)]
    #[schemars(example = &"uid")]
    pub subject: Option<String>,
    /// How users are found by it: `link`, as `vestibule user link` or provisioning noted it, or `name`, as their user name.
    #[serde(default)]
    pub users: At<FoundBy>,
    /// With `users = "name"`: what the name must end with; it is cut off. Other names do not count.
    #[serde(default)]
    #[schemars(with = "String", example = "@example.com")]
    pub suffix: At<String>,
    /// Whether somebody nobody here is linked to gets an account at their first login.
    #[serde(default)]
    pub provision: At<bool>,
    /// The profile of accounts that are made.
    #[serde(default = "user")]
    #[schemars(with = "String")]
    pub profile: At<String>,
    /// The attribute that chooses among `profiles` for an account that is made; whoever has none gets `profile`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"role")]
    pub profile_attribute: Option<At<String>>,
    /// Its values, each with the profile it stands for here. An account for another value is not made.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "cn=clerks": "clerk" }))]
    pub profiles: Option<At<Pairs>>,
    /// The attribute with the login name of an account that is made. Without it, the subject.
    #[serde(default)]
    #[schemars(example = &"uid")]
    pub name: Option<String>,
    /// The attribute with the name to show.
    #[serde(default)]
    #[schemars(example = &"displayName")]
    pub display_name: Option<String>,
    /// The attribute with the mail address.
    #[serde(default)]
    #[schemars(example = &"mail")]
    pub email: Option<String>,
    /// The attribute with the names of somebody's groups; needs `groups`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"groups")]
    pub group_attribute: Option<At<String>>,
    /// Names of groups there, each with the name it has here. Others do not count. They are read at each login.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "cn=staff": "staff" }))]
    pub groups: Option<At<Pairs>>,
    /// Attributes that are kept with the session, each with the name it has here.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "urn:oid:2.16.840.1.113730.3.1.3": "employee_number" }))]
    pub attributes: Option<At<Pairs>>,
    /// The kind of name that is asked for, as a URI. Without it, whichever the identity provider prefers.
    #[serde(default)]
    #[schemars(example = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent")]
    pub name_id_format: Option<String>,
    /// How the user must have signed in there: classes of authentication contexts, one of which is demanded.
    #[serde(default)]
    #[schemars(example = ["urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"])]
    pub authn_context: Vec<String>,
    /// How strong a login there counts, by its authentication context; others count as a password, which is 10.
    #[serde(default)]
    #[schemars(with = "Option<std::collections::BTreeMap<String, u8>>", example = serde_json::json!({ "https://refeds.org/profile/mfa": 20 }))]
    pub levels: std::collections::BTreeMap<String, u8>,
    /// Whether users have to sign in there each time, even if they are signed in there already.
    #[serde(default)]
    pub force_authn: bool,
    /// Whether who signs out here is signed out there, too: `single`, where it takes logouts and we have a key to sign with, or `local`.
    #[serde(default)]
    pub logout: Logout,
    /// That it speaks SAML 1.1, and nothing newer. Needs the concession `saml11`.
    #[serde(default)]
    pub saml11: Option<At<SourceSite>>,
}

/// An identity provider of SAML 1.1: a source site.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSite {
    /// The address of its inter-site transfer service. `${TARGET}` in its query stands for the page of ours to which it leads
    /// back.
    #[schemars(with = "String", example = "https://idp.example.com/its?partner=north&TARGET=${TARGET}")]
    pub transfer: At<String>,
    /// By what artifacts name it: twenty octets, hexadecimal. Without it, SHA-1 of its entity id.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"f465a7007968d106649b9ad96998de94f68324ec")]
    pub source_id: Option<At<String>>,
    /// Authorities that its responder's certificate must come from, in PEM form. Without it, those of the system.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "saml/corp-ca.pem")]
    pub ca: Option<At<PathBuf>>,
    /// The certificate that its responder shows in TLS, in PEM form. What comes from there then counts as said by the identity
    /// provider, signed or not. Without it, answers have to be signed.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "saml/corp-responder.pem")]
    pub responder_certificate: Option<At<PathBuf>>,
    /// The certificate that we show to its responder.
    #[serde(default)]
    pub client: Option<At<KeyPair>>,
    /// How long ago users may have signed in there.
    #[serde(default = "eight_hours")]
    #[schemars(extend("default" = "8h"))]
    pub max_authn_age: At<Period>,
}

fn eight_hours() -> At<Period> {
    Period::seconds(8 * 3600).into()
}

fn saml11_consumer() -> At<String> {
    "/fed/sp/samlv11sso".to_owned().into()
}

fn one_minute() -> At<Period> {
    Period::seconds(60).into()
}

fn five_minutes() -> At<Period> {
    Period::seconds(300).into()
}

fn user() -> At<String> {
    "user".to_owned().into()
}

/// How requests travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RequestBinding {
    /// In the address.
    #[default]
    Redirect,
    /// In a form.
    Post,
}

/// Where a logout here ends sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Logout {
    /// At the identity provider, too.
    #[default]
    Single,
    /// Here only.
    Local,
}

/// Where metadata are fetched from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// The address. Anything but https needs `key`.
    #[schemars(with = "String", example = "https://idp.example.com/metadata")]
    pub url: At<String>,
    /// Certificates with the keys that sign them, in PEM form; several while a key is changed. Without it, the concession
    /// `saml-unsigned-metadata` is needed.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "saml/federation.pem")]
    pub key: Option<At<PathBuf>>,
    /// How often, unless they say that they are to be kept for shorter.
    #[serde(default = "six_hours")]
    #[schemars(extend("default" = "6h"))]
    pub every: At<Period>,
}

fn six_hours() -> At<Period> {
    Period::seconds(6 * 3600).into()
}

/// How answers travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Answers {
    /// In a form.
    #[default]
    Post,
    /// As a reference.
    Artifact,
}

/// What of an answer has to be signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignedPart {
    /// The assertion or the response.
    #[default]
    Either,
    /// The assertion.
    Assertion,
    /// The response.
    Response,
    /// Both.
    Both,
}

/// How users are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FoundBy {
    /// By a link that was noted.
    #[default]
    Link,
    /// By their user name.
    Name,
}
