//! OpenID Connect: the tenant as a relying party, and the OpenID providers it trusts; and servers that are asked what a bearer
//! token is worth.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::saml::FoundBy;
use super::scheme::OnReject;
use crate::config::secrets::SecretRef;
use crate::config::values::{At, OneOrMore, Pairs, Period};

/// Single sign-on by OpenID Connect.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcScheme {
    /// Who may vouch for users: an OpenID provider, or several among which users are led by host, mail domain or choice.
    #[schemars(example = &"corp")]
    pub openid_provider: At<OneOrMore>,
}

/// An OpenID provider.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenidProvider {
    /// Its issuer, letter by letter. Its metadata are fetched from below it, and have to say the same.
    #[schemars(with = "String", example = "https://login.example.com/realms/north")]
    pub issuer: At<String>,
    /// Our id there.
    #[schemars(with = "String", example = &"vestibule")]
    pub client_id: At<String>,
    /// Our secret there. Not with `private-key-jwt`.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "file": "/run/secrets/op" }))]
    pub client_secret: Option<At<SecretRef>>,
    /// How we say who we are when we exchange a code: `basic`, the secret in a header; `post`, the secret in the form; or
    /// `private-key-jwt`, a signature by `client_key`.
    #[serde(default)]
    pub client_authentication: At<ClientAuthentication>,
    /// The key that signs with `private-key-jwt`: PKCS#8 in PEM form. The provider finds its public part at `/oidc/rp/jwks` on the portal.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "file": "/run/secrets/client.key" }))]
    pub client_key: Option<At<SecretRef>>,
    /// The algorithm that this key signs with.
    #[serde(default)]
    pub client_key_algorithm: KeyAlgorithm,
    /// What is asked for beside `openid`.
    #[serde(default = "scopes")]
    #[schemars(extend("default" = ["profile", "email"]), example = ["profile", "email", "groups"])]
    pub scopes: At<OneOrMore>,
    /// The name to show where users choose. Without it, its own.
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
    /// Algorithms that its tokens may be signed with. Secrets that both sides know are no signatures.
    #[serde(default = "algorithms")]
    #[schemars(extend("default" = ["ES256", "ES384", "EdDSA", "RS256", "PS256"]), example = ["RS256"])]
    pub algorithms: At<OneOrMore>,
    /// How far its clock may be off.
    #[serde(default = "one_minute")]
    #[schemars(extend("default" = "1m"))]
    pub skew: At<Period>,
    /// How long ago users may have signed in there. Without it, as long as the provider finds right.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "8h")]
    pub max_age: Option<At<Period>>,
    /// How users must have signed in there: authentication context classes, one of which is demanded.
    #[serde(default)]
    #[schemars(example = ["phr"])]
    pub acr_values: Vec<String>,
    /// How strong a login there counts, by its authentication context class; others count as a password, which is 10.
    #[serde(default)]
    #[schemars(with = "Option<std::collections::BTreeMap<String, u8>>", example = serde_json::json!({ "phr": 20 }))]
    pub levels: std::collections::BTreeMap<String, u8>,
    /// Whether it is asked for more about each user at its UserInfo endpoint. Many put little into the ID token.
    #[serde(default = "yes")]
    pub userinfo: bool,
    /// Further parameters of the address to which users are sent.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "hd": "example.com" }))]
    pub parameters: Option<At<Pairs>>,
    /// The claim that names the subject. The provider must never give one person's value to another: think twice before you
    /// write `email`. A claim within another is written with a period.
    #[serde(default = "sub")]
    #[schemars(with = "String", example = &"oid")]
    pub subject: At<String>,
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
    /// The claim with the login name of an account that is made. Without it, the subject.
    #[serde(default)]
    #[schemars(example = &"preferred_username")]
    pub name: Option<String>,
    /// The claim with the name to show.
    #[serde(default)]
    #[schemars(example = &"name")]
    pub display_name: Option<String>,
    /// The claim with the mail address.
    #[serde(default)]
    #[schemars(example = &"email")]
    pub email: Option<String>,
    /// The claim with the names of somebody's groups; needs `groups`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "realm_access.roles")]
    pub group_claim: Option<At<String>>,
    /// Names of groups there, each with the name it has here. Others do not count. They are read at each login.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "staff": "staff" }))]
    pub groups: Option<At<Pairs>>,
    /// Claims that are kept with the session, each with the name it has here.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "department": "department" }))]
    pub attributes: Option<At<Pairs>>,
    /// How long what the provider said of somebody holds while their session goes on. After that the next request asks again with
    /// a refresh token, which many providers give only for the scope `offline_access`: groups and attributes follow, and whom the
    /// provider stands by no longer loses the session. Without it a session goes by our own limits alone.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "15m")]
    pub refresh: Option<At<Period>>,
    /// What sessions do whose provider cannot be asked again: `continue` lets them go on with what was said before, `stop` answers
    /// 503 until it can.
    #[serde(default)]
    pub on_outage: OnProviderOutage,
    /// What signing out here does: `provider` leads the browser on to sign out there, too, if the provider has an address for
    /// that; `here` ends at our own door.
    #[serde(default)]
    pub logout: OpLogout,
    /// Further hosts of its own that its metadata may name although their addresses are not public, beside the issuer's.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["keys.corp.example.com"])]
    pub private_hosts: Vec<At<String>>,
    /// Certificates in PEM form that the provider's own must descend from. Without it, those the system trusts.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "tls/corp-ca.pem")]
    pub ca: Option<At<PathBuf>>,
}

/// Bearer tokens that a server is asked about.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntrospectionScheme {
    /// Where it is asked: the introspection endpoint of the authorization server.
    #[schemars(with = "String", example = "https://login.example.com/realms/north/protocol/openid-connect/token/introspect")]
    pub url: At<String>,
    /// Our id there.
    #[schemars(with = "String", example = &"gateway")]
    pub client_id: At<String>,
    /// Our secret there.
    #[schemars(example = serde_json::json!({ "file": "/run/secrets/introspection" }))]
    pub client_secret: At<SecretRef>,
    /// How we say who we are there: `basic` or `post`.
    #[serde(default)]
    pub client_authentication: At<ClientAuthentication>,
    /// Who must have issued the token; its server has to say so.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "https://login.example.com/realms/north")]
    pub issuer: Option<At<String>>,
    /// For whom tokens are: one of these. A token that was made for somebody else would otherwise open this door, too, so there is no default.
    #[schemars(example = ["https://north.example.com/api"])]
    pub audience: At<OneOrMore>,
    /// Scopes, all of which a token needs.
    #[serde(default)]
    #[schemars(example = ["orders.read"])]
    pub scopes: At<OneOrMore>,
    /// What the server says that names the user.
    #[serde(default = "sub")]
    #[schemars(with = "String", example = &"username")]
    pub subject: At<String>,
    /// How users are found by it: `link`, as `vestibule user link` noted it, or `name`, as their user name.
    #[serde(default)]
    pub users: At<FoundBy>,
    /// With `users = "name"`: what the name must end with; it is cut off. Other names do not count.
    #[serde(default)]
    #[schemars(with = "String", example = "@example.com")]
    pub suffix: At<String>,
    /// What else it says that is kept, each with the name it has here.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "client_id": "client" }))]
    pub attributes: Option<At<Pairs>>,
    /// For how long an answer is believed; at most a minute, and never beyond the token's own end.
    #[serde(default = "one_minute")]
    #[schemars(extend("default" = "1m"))]
    pub remember: At<Period>,
    /// How far its clock may be off.
    #[serde(default = "one_minute")]
    #[schemars(extend("default" = "1m"))]
    pub skew: At<Period>,
    /// Certificates in PEM form that the server's own must descend from. Without it, those the system trusts.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "tls/corp-ca.pem")]
    pub ca: Option<At<PathBuf>>,
    /// What a refused token does: `continue` asks the next scheme, `stop` ends the chain.
    #[serde(default)]
    pub on_reject: OnReject,
}

/// How a client says who it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuthentication {
    /// The secret in a header.
    #[default]
    Basic,
    /// The secret in the form.
    Post,
    /// A signature.
    PrivateKeyJwt,
}

/// What a key signs with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256.
    #[default]
    ES256,
    /// ECDSA on P-384.
    ES384,
    /// Ed25519.
    EdDSA,
    /// RSA, PKCS#1 v1.5.
    RS256,
    /// RSA, PSS.
    PS256,
}

/// What sessions do whose provider cannot be asked again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnProviderOutage {
    /// They go on.
    #[default]
    Continue,
    /// They wait.
    Stop,
}

/// What signing out here does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OpLogout {
    /// Signs out at the provider, too.
    #[default]
    Provider,
    /// Signs out here.
    Here,
}

fn scopes() -> At<OneOrMore> {
    OneOrMore(["profile", "email"].map(|scope| scope.to_owned().into()).into()).into()
}

fn algorithms() -> At<OneOrMore> {
    OneOrMore(["ES256", "ES384", "EdDSA", "RS256", "PS256"].map(|name| name.to_owned().into()).into()).into()
}

fn one_minute() -> At<Period> {
    Period::seconds(60).into()
}

fn sub() -> At<String> {
    "sub".to_owned().into()
}

fn user() -> At<String> {
    "user".to_owned().into()
}

fn yes() -> bool {
    true
}
