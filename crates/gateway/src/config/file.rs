//! The configuration as written: sections in the order in which a request meets them.
//!
//! Every doc comment here is a sentence of `docs/configuration.md`. Unknown keys are errors: a misspelt
//! restriction that is silently ignored is an open door.

use schemars::JsonSchema;

use crate::config::values::{At, Named};

mod delegate;
mod inject;
mod integration;
mod limits;
mod listen;
mod oidc;
mod profile;
mod realm;
mod record;
mod route;
mod saml;
mod scheme;
mod service_provider;
mod session;
mod store;
mod tenant;
mod ws_security;

pub use delegate::{Delegate, OnOutage, ResponseRoot};
pub use inject::{HeadersInjector, Inject, JwtInjector, Response, SessionTicketResponse, TicketTo};
pub use integration::{Integration, IntegrationAuthentication, IntegrationScheme};
pub use limits::{Load, Rate, RouteLimits};
pub use listen::{Certificate, ClientCertificates, Limits, Listen, Server, Tls};
pub use oidc::{ClientAuthentication, IntrospectionScheme, KeyAlgorithm, OidcScheme, OnProviderOutage, OpLogout, OpenidProvider};
pub use profile::{Lock, Profile};
pub use realm::{DelegatedRealm, DelegatedUsername, LdapDialect, LdapRealm, LdapScope, LocalRealm, Realm, SharedSecretsRealm};
pub use record::{Administrators, Algorithm, Audit, Concession, Keys, Syslog};
pub use route::{Access, BodyNeed, Csrf, Http2, Route, SecurityHeader, Upstream, UpstreamHost};
pub use saml::{Answers, FoundBy, IdentityProvider, KeyPair, Logout, RequestBinding, SamlScheme, SignedPart, SourceSite};
pub use scheme::{ClientCertificateScheme, IdentityUrlScheme, LinkBy, OnReject, Scheme, SessionOwner, SessionTicketScheme};
pub use service_provider::{Encrypt, IdentityProviderRole, ServiceProvider, Sign};
pub use session::{Passwords, Session};
pub use store::{DurableBackend, ExpiringBackend, Postgres, Redis, RedisTopology, Store};
pub use tenant::{AnonymousDenied, ApiLogin, Brand, Cors, Emergency, FrontDoor, LoginHost, Tenant};
pub use ws_security::{
    WsAssertion, WsConfirm, WsEncryptedPart, WsReference, WsResponseToken, WsSamlVersion, WsSecurityResponse, WsSecurityScheme, WsToken,
};

/// Configuration of Vestibule, an authentication gateway.
#[derive(Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct File {
    /// Where requests arrive. One table per address.
    pub listen: Vec<At<Listen>>,
    /// The program itself.
    pub server: Server,
    /// How much may be under way, and who is turned away when more is asked.
    pub limits: Load,
    /// Whose requests they are: one table per organisation. The name stands in audit records and in policies.
    pub tenant: Named<At<Tenant>>,
    /// The host of no tenant, where users of all of them may sign in.
    pub front_door: FrontDoor,
    /// Which way requests take. The most specific match wins, whatever the order: literal segments before `*`
    /// before `**`, a host's own routes before its tenant's before everybody's, listed methods before all.
    pub route: Vec<At<Route>>,
    /// Applications behind the gateway, for routes to forward to by name.
    pub upstream: Named<At<Upstream>>,
    /// How callers are recognised; a tenant's `chain` puts schemes in order. A scheme `session` of type
    /// `session` exists without being written.
    pub scheme: Named<At<Scheme>>,
    /// Identity providers that may vouch for users; schemes of type `saml` name these.
    pub identity_provider: Named<At<IdentityProvider>>,
    /// OpenID providers that may vouch for users; schemes of type `oidc` name these.
    pub openid_provider: Named<At<OpenidProvider>>,
    /// Who checks passwords. A realm `local` of type `local` exists without being written.
    pub realm: Named<At<Realm>>,
    /// What holds for a kind of user: who checks their passwords, from where they may come.
    pub profile: Named<At<Profile>>,
    /// Where others ask whether a password is right.
    pub delegate: Named<At<Delegate>>,
    /// What the application is told; routes name these. An injector `headers` of type `headers` with its default
    /// headers exists without being written.
    pub inject: Named<At<Inject>>,
    /// What a permit may add: a policy names these as `@response("name")`.
    pub response: Named<At<Response>>,
    /// Applications elsewhere into which users sign in here by SAML 2.0. Their tenant needs `idp`.
    pub service_provider: Named<At<ServiceProvider>>,
    /// How long sessions live.
    pub session: Session,
    /// Guessing limits and the hashing of passwords.
    pub passwords: Passwords,
    /// Where users, keys and sessions are kept.
    pub store: Store,
    /// Keys that the gateway signs with.
    pub keys: Keys,
    /// What is written down.
    pub audit: Audit,
    /// Who may administer.
    pub administrators: Administrators,
    /// What weakens the installation, for whom, why and until when. After its date a concession is refused.
    pub concession: Vec<At<Concession>>,
}
