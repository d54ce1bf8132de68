//! Who checks passwords, as meant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use vestibule_engine::identity::{RealmName, Username};
use vestibule_engine::realm;
use vestibule_engine::secret::Secret;
use vestibule_soap::delegated::Tolerance;

use crate::realms::{delegated, ldap};
use crate::serve::delegate;

/// Who checks passwords.
#[derive(Debug, Clone)]
pub enum Realm {
    /// Our own users.
    Local {
        /// The shortest new password, in characters.
        minimum_length: usize,
    },
    /// A directory.
    Ldap(Box<Ldap>),
    /// A service that is asked.
    Delegated(Box<Delegated>),
    /// Passwords that both sides keep, by user name.
    SharedSecrets(BTreeMap<Username, Secret<String>>),
}

impl Realm {
    /// What follows when it does not accept.
    pub fn then(&self) -> realm::Then {
        match self {
            Self::Ldap(ldap) if ldap.exclusive => realm::Then::NextIfUnknown,
            // It says that it does not know whomever it does not check.
            Self::Delegated(_) => realm::Then::NextIfUnknown,
            Self::Local { .. } | Self::Ldap(_) | Self::SharedSecrets(_) => realm::Then::Next,
        }
    }
}

/// A directory that checks passwords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ldap {
    /// Its servers, in the order in which they are tried; at least one.
    pub servers: Vec<LdapServer>,
    /// Roots their certificates must descend from; empty means the system's.
    pub ca: Vec<CertificateDer<'static>>,
    /// The service account.
    pub bind_dn: String,
    /// Its password, not empty.
    pub bind_password: Secret<String>,
    /// Below which entry people are.
    pub base: String,
    /// How far below.
    pub reach: ldap::Reach,
    /// Which of them has the name.
    pub filter: ldap::filter::Template,
    /// How it speaks.
    pub dialect: ldap::Dialect,
    /// Which attribute says what.
    pub mapping: ldap::Mapping,
    /// Where groups come from.
    pub groups: ldap::Groups,
    /// What happens to newcomers.
    pub newcomers: ldap::Newcomers,
    /// Realms behind it are asked only about names it does not know.
    pub exclusive: bool,
    /// Attempts at one time.
    pub connections: usize,
    /// For one attempt.
    pub time_limit: Duration,
    /// How long what was read of somebody holds.
    pub refresh: Duration,
}

/// A server of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdapServer {
    /// Its name, or its address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How what is said there is protected.
    pub protection: LdapProtection,
}

/// How what is said to a directory is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LdapProtection {
    /// TLS from the first octet.
    Ldaps,
    /// TLS before anything is said.
    StartTls,
    /// Not at all: loopback, or conceded.
    Plain,
}

/// A service that is asked whether a password is right.
#[derive(Debug, Clone)]
pub struct Delegated {
    /// Its host, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Path and query.
    pub path: Secret<String>,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Roots its certificate must descend from; empty means the system's.
    pub ca: Vec<CertificateDer<'static>>,
    /// What we show it.
    pub client_certificate: Option<Arc<CertifiedKey>>,
    /// What it calls a user.
    pub username: delegated::UsernameSource,
    /// Calls at one time.
    pub calls: usize,
    /// Waiting logins.
    pub waiting: usize,
    /// For one login.
    pub time_limit: Duration,
    /// How much of an answer may be off.
    pub tolerance: Tolerance,
    /// Also asked about logins from where they may not come.
    pub force_callout: bool,
}

/// An endpoint that others ask.
#[derive(Debug, Clone)]
pub struct Delegate {
    /// What it is made of.
    pub settings: delegate::Settings,
    /// Who checks the passwords.
    pub realms: Vec<RealmName>,
}

/// What those are told who would change a password that is kept elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PasswordHelp {
    /// A sentence.
    pub text: Option<String>,
    /// Where they change it.
    pub url: Option<String>,
}
