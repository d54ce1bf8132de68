//! Service providers of SAML 2.0: applications elsewhere into which the users of a tenant sign in here.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secrets::SecretRef;
use crate::config::values::{At, OneOrMore, Pairs, Period};

/// A tenant as an identity provider of SAML 2.0.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityProviderRole {
    /// The certificate by which service providers know the key, in PEM form. Its dates mean nothing to them. Further
    /// certificates in the file are published beside it, so that providers know the next key before it signs.
    #[schemars(with = "String", example = "idp.crt")]
    pub certificate: At<PathBuf>,
    /// The key that signs assertions: RSA with 2048 bits or more, or an elliptic curve.
    #[schemars(example = serde_json::json!({ "file": "/run/secrets/idp.key" }))]
    pub key: At<SecretRef>,
    /// Its entity id. Without it, the address of its metadata: `/saml/idp/metadata` on the portal.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "https://login.north.example.com/saml")]
    pub entity_id: Option<At<String>>,
    /// Whether every service provider has to sign its requests. Otherwise those whose metadata say that they sign.
    #[serde(default)]
    pub signed_requests: bool,
}

/// A service provider of SAML 2.0.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceProvider {
    /// Whose users may sign in there.
    #[schemars(with = "String", example = &"north")]
    pub tenant: At<String>,
    /// Its metadata. Answers go to addresses in it and nowhere else.
    #[schemars(with = "String", example = "partners/wiki.xml")]
    pub metadata: At<PathBuf>,
    /// Its entity id, where the metadata describe several.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "https://wiki.example.org/saml")]
    pub entity_id: Option<At<String>>,
    /// The name to show people. Without it, the one in the metadata, or the section's name.
    #[serde(default)]
    #[schemars(example = &"Wiki")]
    pub title: Option<String>,
    /// By which names it may know users: `persistent`, a pseudonym of its own for each; `transient`, a new one for each login;
    /// `email`; `username`. The first is given where it asks for none.
    #[serde(default = "names")]
    #[schemars(extend("default" = ["persistent", "transient"]), example = ["email"])]
    pub name_id: At<OneOrMore>,
    /// What it is told of a user beside the name: attributes, and what goes into them: `user`, `user-id`, `display-name`, `email`,
    /// `groups`, `profile`, `level`, `method`, or `attribute:NAME` for what an issuer stated at login. Nothing else leaves.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "mail": "email", "urn:oid:2.5.4.3": "display-name" }))]
    pub release: Pairs,
    /// Who may use it: members of one of these groups. Without it, all users of the tenant.
    #[serde(default)]
    #[schemars(example = ["staff"])]
    pub groups: At<OneOrMore>,
    /// What is signed for it.
    #[serde(default)]
    pub sign: Sign,
    /// Whether assertions are encrypted for it.
    #[serde(default)]
    pub encrypt: At<Encrypt>,
    /// Whether users may begin here, with the link on their portal; the provider must take unsolicited responses.
    #[serde(default = "yes")]
    pub start: bool,
    /// The relay state it is given then: as a rule the page to show.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "https://wiki.example.org/home")]
    pub relay_state: Option<At<String>>,
    /// How long an assertion may be presented; at most ten minutes.
    #[serde(default = "five_minutes")]
    pub lifetime: At<Period>,
    /// How far its clock may be off; at most five minutes.
    #[serde(default = "one_minute")]
    pub skew: At<Period>,
}

/// What is signed for a service provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    /// The assertion and the response around it: every provider finds the one it wants.
    #[default]
    Both,
    /// The assertion.
    Assertion,
    /// The response.
    Response,
}

/// Whether assertions are encrypted for a service provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encrypt {
    /// If its metadata hold a key for that.
    #[default]
    IfPossible,
    /// Always; metadata without a key are refused.
    Always,
    /// Never: what the assertion says stands readable in the user's browser.
    Never,
}

fn names() -> At<OneOrMore> {
    OneOrMore(["persistent", "transient"].map(|name| name.to_owned().into()).into()).into()
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
