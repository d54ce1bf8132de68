//! Schemes.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::WsSecurityScheme;
use crate::config::values::{At, OneOrMore, Period};

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
    /// The security header of a SOAP message (WS-Security 1.0 and 1.1).
    WsSecurity(Box<WsSecurityScheme>),
    /// A session of another service: the headers `ssid` and `surl` of Salesforce, with the URL at which it says whose session it is.
    IdentityUrl(IdentityUrlScheme),
    /// Old clients of integration services, which keep `JSESSIONID`.
    Integration(super::IntegrationScheme),
    /// SAML 2.0 web single sign-on: an identity provider vouches for the user. Its success opens a session.
    Saml(Box<super::saml::SamlScheme>),
    /// OpenID Connect: an OpenID provider vouches for the user. Its success opens a session.
    Oidc(super::oidc::OidcScheme),
    /// A bearer token (RFC 6750) about which its authorization server is asked (RFC 7662).
    Introspection(Box<super::oidc::IntrospectionScheme>),
    /// A ticket by which another service of this installation says whom it serves.
    SessionTicket(SessionTicketScheme),
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

/// A ticket, made by a response of type `session-ticket`. The cookie is looked at first, then the header.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SessionTicketScheme {
    /// The cookie that holds it.
    pub cookie: At<String>,
    /// The header that holds it.
    pub header: At<String>,
    /// Whether the message has to be signed (Body and Timestamp) with the key that the ticket names. `false` lets in whoever has it.
    pub signed: bool,
    /// The actor or role of the security header with that signature. Without it, the header that has none.
    #[schemars(with = "Option<String>", example = "urn:north:gateway")]
    pub role: Option<At<String>>,
    /// How old a signed message may be.
    pub max_age: At<Period>,
    /// What a refused ticket does: `continue` asks the next scheme, `stop` ends the chain.
    pub on_reject: OnReject,
}

impl Default for SessionTicketScheme {
    fn default() -> Self {
        Self {
            cookie: "tmsamlsession".to_owned().into(),
            header: "tmsamlsessionticket".to_owned().into(),
            signed: true,
            role: None,
            max_age: Period::seconds(300).into(),
            on_reject: OnReject::default(),
        }
    }
}

/// A session of another service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityUrlScheme {
    /// The organisations whose users may come, by their ids. Everybody can make an organisation, so there is no default.
    #[schemars(example = ["00D8k00000QwErT"])]
    pub organizations: At<OneOrMore>,
    /// Hosts that session ids are sent to: `name`, `name:port`, or `*.name` for all below it. Your own My Domain host alone is best.
    #[serde(default)]
    #[schemars(with = "Option<OneOrMore>", example = ["north.my.salesforce.com"], extend("default" = ["login.salesforce.com", "test.salesforce.com", "*.my.salesforce.com"]))]
    pub hosts: Option<At<OneOrMore>>,
    /// How an account that was not linked yet is found: `nothing`, `username`, or `email` for a verified address that is the
    /// login name here. The first success links it; `vestibule user link` does so beforehand.
    #[serde(default)]
    pub link_by: At<LinkBy>,
    /// Whether it is asked separately who owns the session. `unchecked` needs the concession `session-owner-unchecked`.
    #[serde(default)]
    pub owner: At<SessionOwner>,
    /// Certificates in PEM form that the service's own must descend from. Without it, those the system trusts.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "tls/proxy-ca.pem")]
    pub ca: Option<At<PathBuf>>,
    /// What a refused session does: `continue` asks the next scheme, `stop` ends the chain.
    #[serde(default)]
    pub on_reject: OnReject,
    /// Whether success opens a session of ours once the policy has allowed.
    #[serde(default)]
    pub remember: bool,
}

/// How an account is found that was not linked yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LinkBy {
    /// Not at all.
    #[default]
    Nothing,
    /// By its login name there.
    Username,
    /// By its verified mail address there.
    Email,
}

/// Whether it is asked who owns a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SessionOwner {
    /// It is.
    #[default]
    Checked,
    /// It is not.
    Unchecked,
}

pub(super) fn thumbprint() -> At<OneOrMore> {
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
