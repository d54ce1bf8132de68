//! Realms.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::route::five_seconds;
use crate::config::secrets::SecretRef;
use crate::config::values::{At, OneOrMore, Pairs, Period};
use crate::realms::local::MINIMUM_LENGTH;

/// Who checks passwords.
#[derive(Debug, JsonSchema)]
#[schemars(tag = "type", rename_all = "kebab-case")]
pub enum Realm {
    /// The gateway's own users, kept in the store.
    Local(LocalRealm),
    /// An LDAP directory: a service account searches who has the name, then their password is tried.
    Ldap(Box<LdapRealm>),
    /// A service that is asked by SOAP whether a password is right.
    Delegated(Box<DelegatedRealm>),
    /// Programs' passwords in a file, as they are: for partners that send digests of them.
    SharedSecrets(SharedSecretsRealm),
}

/// Passwords that both sides keep.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharedSecretsRealm {
    /// Lines of the form `name:password`. Each name is a user here; the file is only its password.
    #[schemars(example = serde_json::json!({ "file": "/run/secrets/partners" }))]
    pub users: At<SecretRef>,
}

/// The gateway's own users.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LocalRealm {
    /// The shortest new password, in characters; at least 8. It holds for users who choose theirs and for administrators who
    /// set one.
    pub minimum_length: At<usize>,
}

impl Default for LocalRealm {
    fn default() -> Self {
        Self { minimum_length: MINIMUM_LENGTH.into() }
    }
}

/// An LDAP directory.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LdapRealm {
    /// Where it is: `ldaps` or `ldap`, host and port. Several with the same content are tried in this order.
    #[schemars(example = "ldaps://ldap.example.com")]
    pub url: At<OneOrMore>,
    /// Turns an `ldap` connection into TLS before anything is said. Without it, `ldap` is for loopback addresses, or
    /// needs the concession `plain-ldap`.
    #[serde(default)]
    pub start_tls: At<bool>,
    /// Certificates in PEM form that the directory's must descend from. Without it, those the system trusts.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "tls/directory-ca.pem")]
    pub ca: Option<At<PathBuf>>,
    /// The service account that searches.
    #[schemars(with = "String", example = "cn=vestibule,ou=services,dc=example,dc=com")]
    pub bind_dn: At<String>,
    /// Its password.
    #[schemars(example = serde_json::json!({ "file": "/run/secrets/ldap" }))]
    pub bind_password: At<SecretRef>,
    /// The entry below which people are.
    #[schemars(with = "String", example = "ou=people,dc=example,dc=com")]
    pub base: At<String>,
    /// How far below the base people are: `subtree` for anywhere, `one-level` for directly.
    #[serde(default)]
    pub scope: LdapScope,
    /// How the directory speaks: `openldap`, `active-directory` or `389ds`. It decides how a locked or disabled account
    /// is recognised, and the defaults of what follows.
    #[serde(default)]
    pub dialect: LdapDialect,
    /// Which entry has the name: a filter (RFC 4515) with `{user}` in place of the name. Without it, `(uid={user})`, in
    /// Active Directory `(&(objectCategory=person)(sAMAccountName={user}))`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "(&(objectClass=person)(|(uid={user})(mail={user})))")]
    pub filter: Option<At<String>>,
    /// The attribute that identifies somebody for good. Without it, `entryUUID`, `objectGUID` or `nsUniqueId`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"entryUUID")]
    pub id: Option<At<String>>,
    /// The attribute with the login name of an account that is made. Without it, `uid` or `sAMAccountName`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"uid")]
    pub name: Option<At<String>>,
    /// The attribute with the name to show. Without it, `displayName`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"cn")]
    pub display_name: Option<At<String>>,
    /// The attribute with the mail address. Without it, `mail`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"mail")]
    pub email: Option<At<String>>,
    /// The attribute with the names of somebody's groups, usually `memberOf`; needs `groups` or `group_base`. Without it,
    /// groups are those of the account here. They are read at each login and again after `refresh`; who lost one loses their sessions.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"memberOf")]
    pub group_attribute: Option<At<String>>,
    /// Names of groups in the directory, each with the name it has here. Others do not count.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "cn=staff,ou=groups,dc=example,dc=com": "staff" }))]
    pub groups: Option<At<Pairs>>,
    /// All groups below this entry count, by the first part of their name: `cn=staff,ou=groups,dc=example,dc=com` is `staff`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "ou=groups,dc=example,dc=com")]
    pub group_base: Option<At<String>>,
    /// Whether somebody the directory accepts gets an account here at their first login. Without it they are refused
    /// unless one of our users is known by their id.
    #[serde(default)]
    pub provision: bool,
    /// The profile of accounts that are made.
    #[serde(default = "user")]
    #[schemars(with = "String")]
    pub profile: At<String>,
    /// Whether realms behind this one are asked only about names it does not know, so that a second password kept there
    /// does not survive a revocation here. While it is down, they accept emergency accounts only.
    #[serde(default = "yes")]
    pub exclusive: bool,
    /// How many attempts may be under way at one time.
    #[serde(default = "eight")]
    pub connections: At<u16>,
    /// How long one attempt may take.
    #[serde(default = "five_seconds")]
    pub timeout: At<Period>,
    /// How long what was read of somebody holds while their session goes on. After that the next request reads it again:
    /// groups follow, and who lost one, or is not there any more, or is disabled, loses their sessions. While the
    /// directory is down, sessions go on.
    #[serde(default = "quarter_of_an_hour")]
    pub refresh: At<Period>,
    /// How many wrong passwords lock an account in the directory itself. `check` warns unless `account_failures` of
    /// `[passwords]` is fewer, for otherwise outsiders can lock people out of everything, not only of the gateway.
    #[serde(default)]
    #[schemars(with = "Option<u32>", example = 10)]
    pub locks_after: Option<At<u32>>,
}

fn quarter_of_an_hour() -> At<Period> {
    Period::seconds(15 * 60).into()
}

fn user() -> At<String> {
    "user".to_owned().into()
}

fn yes() -> bool {
    true
}

fn eight() -> At<u16> {
    8.into()
}

/// How far below the base people are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LdapScope {
    /// Anywhere.
    #[default]
    Subtree,
    /// Directly.
    OneLevel,
}

/// How a directory speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LdapDialect {
    /// OpenLDAP.
    #[default]
    #[serde(rename = "openldap")]
    OpenLdap,
    /// Active Directory.
    ActiveDirectory,
    /// 389 Directory Server.
    #[serde(rename = "389ds")]
    Ds389,
}

/// A service that is asked by SOAP whether a password is right (`AuthenticationService.wsdl`). It checks the passwords of
/// users whose profile names this realm.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DelegatedRealm {
    /// Where it is. Without `https`, this is for loopback addresses, or needs the concession `plain-delegated`.
    #[schemars(with = "String", example = "https://sso.example.com/delegated")]
    pub url: At<String>,
    /// What follows the path of `url`, where that keeps strangers away from the service.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "file": "/run/secrets/delegated-path" }))]
    pub secret_path: Option<At<SecretRef>>,
    /// Certificates in PEM form that the service's must descend from. Without it, those the system trusts.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "tls/sso-ca.pem")]
    pub ca: Option<At<PathBuf>>,
    /// The certificate we show it, in PEM form. Needs `client_key`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "tls/gateway.pem")]
    pub client_certificate: Option<At<PathBuf>>,
    /// The private key of `client_certificate`, in PEM form.
    #[serde(default)]
    pub client_key: Option<At<SecretRef>>,
    /// What the service calls a user: `name`, `email`, or `external-id` for the id that the issuer `username_issuer` gave.
    #[serde(default)]
    pub username: DelegatedUsername,
    /// The issuer of ids, where `username` is `external-id`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "https://idp.example.com/")]
    pub username_issuer: Option<At<String>>,
    /// How many calls may be under way at one time.
    #[serde(default = "fifty")]
    pub calls: At<u16>,
    /// How many logins may wait for one. Who comes when all places are taken is told at once that the service is down.
    #[serde(default = "five_thousand")]
    pub waiting: At<u32>,
    /// How long one login may take, waiting included; at most ten seconds.
    #[serde(default = "ten_seconds")]
    pub timeout: At<Period>,
    /// Whether an answer in SOAP 1.2, or with `Authenticated` in no namespace, counts.
    #[serde(default)]
    pub lenient: bool,
    /// Whether the service is asked about logins, too, that are refused for where they come from, so that it can count
    /// them.
    #[serde(default)]
    pub force_callout: bool,
}

/// What a service calls a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DelegatedUsername {
    /// Their login name, as it is stored.
    #[default]
    Name,
    /// Their address for mail.
    Email,
    /// Their id at an issuer.
    ExternalId,
}

fn fifty() -> At<u16> {
    50.into()
}

fn five_thousand() -> At<u32> {
    5000.into()
}

fn ten_seconds() -> At<Period> {
    Period::seconds(10).into()
}
