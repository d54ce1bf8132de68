//! Keys, audit, administrators and concessions.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secrets::SecretRef;
use crate::config::values::{At, Net, Period};

/// Keys that the gateway signs with.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// 32 random octets in base64 under which private keys are sealed at rest; `head -c 32 /dev/urandom | base64` makes
    /// them. Without it the gateway makes a file `sealing.key` in the store's directory.
    #[schemars(example = serde_json::json!({ "file": "/run/secrets/vestibule-sealing-key" }))]
    pub key_encryption_key: Option<At<SecretRef>>,
    /// How old a signing key becomes before the next takes its place.
    pub rotation_age: RotationAge,
    /// How keys sign. A change takes effect with the next rotation.
    pub algorithm: Algorithm,
}

/// A signature algorithm (RFC 7518, RFC 8037).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    #[default]
    ES256,
    /// Ed25519.
    EdDSA,
    /// RSA with SHA-256.
    RS256,
}

/// How old a signing key becomes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct RotationAge(pub At<Period>);

impl Default for RotationAge {
    fn default() -> Self {
        Self(Period::seconds(90 * 86_400).into())
    }
}

/// What is written down.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Where audit records go: `stdout` or `file`.
    pub to: At<AuditTo>,
    /// The file. It is opened anew on SIGHUP, so that it can be rotated.
    #[schemars(example = "/var/log/vestibule/audit.jsonl")]
    pub path: Option<At<PathBuf>>,
}

impl Default for Audit {
    fn default() -> Self {
        Self { to: AuditTo::Stdout.into(), path: None }
    }
}

/// Where audit records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuditTo {
    /// Standard output, one JSON object per line.
    Stdout,
    /// A file, one JSON object per line.
    File,
}

/// Who may administer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Administrators {
    /// Addresses from which accounts of the profile `administrator` and emergency accounts may sign in.
    pub from: Vec<At<Net>>,
}

impl Default for Administrators {
    fn default() -> Self {
        let loopback = |net: ipnet::IpNet| At::from(Net(net));
        let v4 = ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8);
        let v6 = ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128);
        Self { from: vec![loopback(v4.into()), loopback(v6.into())] }
    }
}

/// Something that weakens the installation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Concession {
    /// What is conceded: `plain-http`, `plain-ldap`, `login-on-application-host`, `private-addresses`, `session-owner-unchecked`, or something weaker in the messages of a scheme
    /// of type `ws-security` (`docs/schemes/ws-security.md` says what each is).
    #[schemars(with = "String", extend("enum" = [
        "plain-http", "plain-ldap", "login-on-application-host", "private-addresses", "session-owner-unchecked", "legacy_sha1", "legacy_rsa1024", "legacy_cbc", "legacy_3des", "legacy_rsa15", "legacy_c14n", "saml11", "wss_bearer", "wss_sender_vouches", "wss_holder_of_key_tls", "wss_sender_vouches_tls", "wss_plain_id", "wss_unsigned_timestamp", "wss_bare_keyinfo", "wss_cbc_unsigned", "wss_draft_2002_04", "wss_draft_2002_07", "wss_draft_2002_12", "wss_draft_2003_06"
    ]))]
    pub what: At<String>,
    /// To whom: the listener's address for `plain-http`, the realm's name for `plain-ldap`, the tenant's name for
    /// `login-on-application-host`, the scheme's name for what concerns messages.
    #[schemars(with = "String", example = "0.0.0.0:8080")]
    pub partner: At<String>,
    /// Why.
    #[schemars(with = "String", example = "the load balancer ends TLS")]
    pub reason: At<String>,
    /// The last day on which it holds, in UTC.
    #[schemars(with = "String", example = "2027-03-31")]
    pub expires: At<String>,
}
