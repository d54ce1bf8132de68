//! Schemes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::{At, OneOrMore};

/// How callers are recognised.
#[derive(Debug, JsonSchema)]
#[schemars(tag = "type", rename_all = "kebab-case")]
pub enum Scheme {
    /// A session cookie from an earlier login.
    Session(SessionScheme),
    /// HTTP Basic (RFC 7617). Consecutive Basic steps of a chain share one attempt and count one guess.
    Basic(BasicScheme),
    /// The login page on the tenant's portal. Its success opens a session.
    LoginForm(LoginFormScheme),
    /// A client certificate, shown to a listener with `tls.client_ca` or forwarded by a named proxy.
    ClientCertificate(ClientCertificateScheme),
    /// SAML 2.0 web single sign-on: an identity provider vouches for the user. Its success opens a session.
    Saml(Box<super::saml::SamlScheme>),
}

/// A session cookie.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SessionScheme {}

/// HTTP Basic.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicScheme {
    /// Who checks the password: a realm, or several that are asked in this order.
    #[schemars(example = &"local")]
    pub realm: At<OneOrMore>,
    /// What a refused credential does: `continue` asks the next scheme, `stop` ends the chain.
    #[serde(default)]
    pub on_reject: OnReject,
    /// Whether success opens a session once the policy has allowed.
    #[serde(default)]
    pub remember: bool,
}

/// The login page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginFormScheme {
    /// Who checks the password: a realm, or several that are asked in this order.
    #[schemars(example = ["local"])]
    pub realm: At<OneOrMore>,
}

/// A client certificate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificateScheme {
    /// By what its owner is found, in this order: `thumbprint` or `issuer-serial`, as `vestibule user link` noted it, or the user
    /// name in it: `mail`, `upn`, `uri` or `dns` of its alternative names, or `common-name`.
    #[serde(default = "thumbprint")]
    #[schemars(extend("default" = "thumbprint"), example = ["thumbprint", "upn"])]
    pub map: At<OneOrMore>,
    /// What such a user name must end with; it is cut off. Other names do not count.
    #[serde(default)]
    #[schemars(example = "@north.example.com")]
    pub suffix: String,
    /// What a refused certificate does: `continue` asks the next scheme, `stop` ends the chain.
    #[serde(default)]
    pub on_reject: OnReject,
    /// Whether success opens a session once the policy has allowed.
    #[serde(default)]
    pub remember: bool,
}

fn thumbprint() -> At<OneOrMore> {
    OneOrMore(vec!["thumbprint".to_owned().into()]).into()
}

/// What a refused credential does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnReject {
    /// The next scheme is asked.
    #[default]
    Continue,
    /// The chain ends.
    Stop,
}
