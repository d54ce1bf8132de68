//! What weakens the installation, by whose leave and until when.

use std::net::SocketAddr;
use std::sync::Arc;

use vestibule_engine::identity::{RealmName, SchemeName, TenantId};

use super::Weakness;

/// Something that weakens the installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concession {
    /// What.
    pub what: Conceded,
    /// Why.
    pub reason: String,
    /// The last day on which it holds, UTC.
    pub expires: jiff::civil::Date,
}

/// What can be conceded, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conceded {
    /// Requests in the clear on this address.
    PlainHttp(SocketAddr),
    /// Passwords in the clear on the way to the directory of this realm.
    PlainLdap(RealmName),
    /// Passwords in the clear on the way to the service of this realm.
    PlainDelegated(RealmName),
    /// A login page on the application's host of this tenant.
    LoginOnApplicationHost(TenantId),
    /// Something weaker in the messages of this scheme.
    WsSecurity(SchemeName, vestibule_wss::Concession),
    /// Addresses that are not public for the hosts of this scheme.
    PrivateAddresses(SchemeName),
    /// Sessions of this scheme that may be another's than the one whose identity they read.
    SessionOwnerUnchecked(SchemeName),
    /// Session ids in paths of this tenant's integration services.
    SessionIdInUrl(TenantId),
    /// An algorithm or a form of old in the messages of this identity provider.
    Saml(Weakness, Arc<str>),
    /// Assertions of SAML 1.1 for this service provider.
    Saml11Issued(Arc<str>),
    /// That this service provider fetches them without proving who it is.
    Saml11UnprovenArtifacts(Arc<str>),
}

/// The word of [`Conceded::Saml11Issued`].
pub const SAML11_ISSUED: &str = "saml11-issued";
/// The word of [`Conceded::Saml11UnprovenArtifacts`].
pub const SAML11_UNPROVEN_ARTIFACTS: &str = "saml11-unproven-artifacts";

impl Conceded {
    /// The word of the configuration.
    pub fn word(&self) -> &'static str {
        match self {
            Self::PlainHttp(_) => "plain-http",
            Self::PlainLdap(_) => "plain-ldap",
            Self::PlainDelegated(_) => "plain-delegated",
            Self::LoginOnApplicationHost(_) => "login-on-application-host",
            Self::WsSecurity(_, concession) => concession.word(),
            Self::PrivateAddresses(_) => "private-addresses",
            Self::SessionOwnerUnchecked(_) => "session-owner-unchecked",
            Self::SessionIdInUrl(_) => "session-id-in-url",
            Self::Saml(weakness, _) => weakness.word(),
            Self::Saml11Issued(_) => SAML11_ISSUED,
            Self::Saml11UnprovenArtifacts(_) => SAML11_UNPROVEN_ARTIFACTS,
        }
    }

    /// To whom.
    pub fn partner(&self) -> String {
        match self {
            Self::PlainHttp(address) => address.to_string(),
            Self::PlainLdap(realm) | Self::PlainDelegated(realm) => realm.to_string(),
            Self::LoginOnApplicationHost(tenant) | Self::SessionIdInUrl(tenant) => tenant.to_string(),
            Self::WsSecurity(scheme, _) => scheme.to_string(),
            Self::PrivateAddresses(scheme) | Self::SessionOwnerUnchecked(scheme) => scheme.to_string(),
            Self::Saml(_, provider) | Self::Saml11Issued(provider) | Self::Saml11UnprovenArtifacts(provider) => provider.to_string(),
        }
    }
}
