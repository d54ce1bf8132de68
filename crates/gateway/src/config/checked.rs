//! The configuration as meant: every name resolved, every default applied, every file read.
//!
//! Plain owned data without places in a file; `build.rs` makes the engine of it. Made only by
//! [`super::resolve::resolve`], so whoever holds a [`Checked`] need not check again.

mod concession;
mod integration;
mod oidc;
pub mod once;
mod realms;
mod saml;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use jiff::SignedDuration;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use vestibule_engine::Timestamp;
use vestibule_engine::cors::Cors;
use vestibule_engine::identity::{GroupName, Level, ProfileName, RealmName, ResponseName, RouteName, SchemeName, TenantId};
use vestibule_engine::profile::Profiles;
use vestibule_engine::realm::{self, PASSWORD};
use vestibule_engine::request::Host;
use vestibule_engine::route;
use vestibule_engine::secret::Secret;
use vestibule_engine::session;
use vestibule_saml::Idp;
use vestibule_saml::binding::RelayState;
use vestibule_saml::idp::RegisteredSp;
use vestibule_saml::names::name_id;

use crate::audit::syslog;
use crate::call::Reach;
use crate::realms::local::MINIMUM_LENGTH;
use crate::schemes::client_certificate::KEY;
use crate::schemes::identity_url;
use crate::schemes::owners::Mapping;
use crate::serve::client_certificates::{ClientTrust, ForwardedCertificate};
use crate::serve::load;
use crate::serve::pages::words::Language;
use crate::serve::proxy::Speaks;
use crate::serve::proxy_protocol::ProxyProtocol;
use crate::store::{postgres, redis};

pub use crate::config::file::{Algorithm, AnonymousDenied, ApiLogin, Emergency, Http2, LoginHost, SecurityHeader, UpstreamHost};
pub use crate::inject::headers::Fact;
pub use crate::realms::hashing::Cost;
pub use concession::{Conceded, Concession, SAML11_ISSUED, SAML11_UNPROVEN_ARTIFACTS};
pub use integration::Integration;
pub use oidc::{ClientAuthentication, Introspection, Oidc, OnProviderOutage, OpLogout, OpenidProvider};
pub use realms::{Delegate, Delegated, Ldap, LdapProtection, LdapServer, PasswordHelp, Realm};
pub use saml::{
    FoundBy, IdentityProvider, Logout, Pair, Refresh, RequestBinding, Resolution, ResolutionEndpoint, Saml, SourceSite, Weakness,
};

mod ws_security;

pub use ws_security::{
    Assertion, Confirm, Encryption, Holder, Issuer, PasswordForm, PasswordSource, ResponseToken, SessionTicket, SessionTicketResponse,
    SigningCertificate, TicketPlace, Trust, WsSecurity, WsSecurityResponse,
};

/// A whole configuration.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The file it came from.
    pub path: PathBuf,
    /// Every other file it names and that was read: a change to one is a change to the configuration.
    pub files: Vec<PathBuf>,
    /// Where requests arrive; at least one.
    pub listeners: Vec<Listener>,
    /// The program itself.
    pub server: Server,
    /// Whose requests they are, in file order; at least one.
    pub tenants: Vec<Tenant>,
    /// Where users of all of them may sign in; then some tenant has a form and a portal.
    pub front_door: Option<FrontDoor>,
    /// Which way they take, in file order.
    pub routes: Vec<Route>,
    /// Where routes lead, by [`Route::upstream`]; a URL written in a route is an upstream of that name.
    pub upstreams: BTreeMap<Arc<str>, Upstream>,
    /// The schemes that stand in some chain.
    pub schemes: BTreeMap<SchemeName, Scheme>,
    /// The realms that some scheme asks.
    pub realms: BTreeMap<RealmName, Realm>,
    /// What holds for kinds of users.
    pub profiles: Arc<Profiles>,
    /// What those are told whose passwords are checked elsewhere.
    pub password_helps: BTreeMap<ProfileName, PasswordHelp>,
    /// Where others ask.
    pub delegates: Vec<Delegate>,
    /// The injectors that some route names.
    pub injectors: BTreeMap<Arc<str>, Injector>,
    /// What permits may add.
    pub responses: BTreeMap<ResponseName, Response>,
    /// Applications elsewhere into which users sign in here, in file order.
    pub service_providers: Vec<ServiceProvider>,
    /// How long sessions live.
    pub session: session::Settings,
    /// The limits of guessing.
    pub limits: realm::Limits,
    /// How passwords are hashed.
    pub hashing: Hashing,
    /// How long a verified Basic credential is remembered; zero means not at all.
    pub basic_cache: Duration,
    /// Where everything is kept.
    pub store: Store,
    /// Keys that the gateway signs with.
    pub keys: Keys,
    /// What is written down.
    pub audit: Audit,
    /// From where administrators and emergency accounts may sign in.
    pub administrators: Vec<IpNet>,
    /// How much may be under way.
    pub load: load::Settings,
    /// What weakens the installation; none has expired.
    pub concessions: Vec<Concession>,
    /// Every certificate it names, in the order of their files.
    pub certificates: Vec<Dated>,
}

/// A certificate that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dated {
    /// The file, as it is written.
    pub file: PathBuf,
    /// Whose it is (RFC 4514).
    pub subject: String,
    /// Until when it is valid.
    pub until: vestibule_engine::Timestamp,
}

impl Checked {
    /// The configuration and every file it names, to be watched.
    pub fn watched(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().chain([&self.path]).map(PathBuf::as_path)
    }

    /// The headers in which some proxy forwards certificates.
    pub fn forwarding(&self) -> Vec<HeaderName> {
        self.listeners.iter().filter_map(|listener| listener.forwarded.as_ref()).flat_map(|forwarded| forwarded.headers()).collect()
    }

    /// The first realm of ours that a tenant's login asks, and the scheme that asks it: there its users' passwords are set.
    pub fn own_realm(&self, tenant: &Tenant) -> Option<(&SchemeName, &RealmName)> {
        tenant.chain.iter().find_map(|name| match self.schemes.get_key_value(name)? {
            (
                _,
                Scheme::Session
                | Scheme::ClientCertificate(_)
                | Scheme::WsSecurity(_)
                | Scheme::IdentityUrl(_)
                | Scheme::Saml(_)
                | Scheme::Oidc(_)
                | Scheme::Introspection(_)
                | Scheme::SessionTicket(_),
            ) => None,
            (name, Scheme::Basic { realms, .. } | Scheme::LoginForm { realms } | Scheme::Integration { realms }) => {
                let own = |realm: &&RealmName| matches!(self.realms.get(*realm), Some(Realm::Local { .. }));
                realms.iter().find(own).map(|realm| (name, realm))
            }
        })
    }

    /// Least characters of a new password of a tenant's users.
    pub fn minimum_length(&self, tenant: &TenantId) -> usize {
        let tenant = self.tenants.iter().find(|known| known.id == *tenant);
        match tenant.and_then(|tenant| self.own_realm(tenant)).and_then(|(_, realm)| self.realms.get(realm)) {
            Some(Realm::Local { minimum_length }) => *minimum_length,
            Some(Realm::Ldap(_) | Realm::Delegated(_) | Realm::SharedSecrets(_)) | None => MINIMUM_LENGTH,
        }
    }
}

/// Where requests arrive.
#[derive(Debug, Clone)]
pub struct Listener {
    /// The address.
    pub address: SocketAddr,
    /// What is spoken there.
    pub speaks: Speaks,
    /// Certificates by server name, the first for everybody else; empty means plain HTTP.
    pub certificates: Vec<Certificate>,
    /// Who vouches for the certificates of clients; `None` asks for none.
    pub clients: Option<ClientTrust>,
    /// How proxies in front of it forward certificates; then there are trusted proxies.
    pub forwarded: Option<Arc<ForwardedCertificate>>,
    /// Proxies whose forwarded headers count.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether connections begin with the PROXY protocol; then there are trusted proxies.
    pub proxy_protocol: ProxyProtocol,
    /// What a client may use up.
    pub limits: ClientLimits,
}

/// A certificate with its key; they belong together.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The DNS names it is made for, lower case; may begin with `*.`.
    pub names: Vec<String>,
    /// Chain and key.
    pub certified: Arc<CertifiedKey>,
}

/// What a client may use up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLimits {
    /// Connections at one time.
    pub connections: usize,
    /// Requests at one time on one HTTP/2 connection.
    pub streams: u32,
    /// Octets of all header fields of one request.
    pub header_size: usize,
    /// Header fields of one request.
    pub header_count: usize,
    /// To send the head of a request.
    pub header_timeout: Duration,
    /// Between two requests.
    pub idle_timeout: Duration,
}

/// The program itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Threads that carry requests; `None` is one per core.
    pub workers: Option<usize>,
    /// Health checks and metrics.
    pub health: SocketAddr,
    /// The socket of the command line.
    pub control_socket: PathBuf,
    /// For requests under way when the server stops.
    pub drain: Duration,
    /// Octets of bodies held in memory at one time.
    pub body_memory: usize,
    /// The header by which a client may name its tenant.
    pub tenant_header: Option<HeaderName>,
    /// The tenant of requests that name none.
    pub fallback_tenant: Option<TenantId>,
}

/// Whose requests they are.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Its name.
    pub id: TenantId,
    /// The name to show.
    pub title: String,
    /// The hosts of its applications.
    pub hosts: Vec<Host>,
    /// The host of its own pages.
    pub portal: Option<Host>,
    /// The origin of its login page as browsers see it: the portal's, or the first host's if
    /// [`LoginHost::Application`].
    pub portal_origin: Option<String>,
    /// The origins of its applications, to which a browser may be sent back after login.
    pub origins: Vec<String>,
    /// What pages of other origins may do with its applications.
    pub cors: Cors,
    /// The ordered schemes; each is in [`Checked::schemes`], a session is first.
    pub chain: Vec<SchemeName>,
    /// The suffix of user names that means this tenant, lower case.
    pub domain: Option<String>,
    /// How its pages look.
    pub brand: Brand,
    /// How pages of some of its hosts look, by the host's name.
    pub host_brands: Vec<(Arc<str>, Brand)>,
    /// How API clients without credentials are refused.
    pub anonymous_denied: AnonymousDenied,
    /// Where its login page is.
    pub login: LoginHost,
    /// How programs log in.
    pub api_login: Vec<ApiLogin>,
    /// Whom its own form lets in.
    pub emergency: Emergency,
    /// Origins of pages that may post logins.
    pub login_from: Vec<String>,
    /// The tenant as an identity provider; then it has a portal.
    pub idp: Option<IdentityProviderRole>,
    /// What its old clients of integration services see; then its chain has such a scheme.
    pub integration: Option<Integration>,
}

impl Tenant {
    /// Whether a route of this scope takes its requests.
    pub fn is_in(&self, scope: &route::Scope) -> bool {
        match scope {
            route::Scope::Host(host) => self.hosts.iter().any(|own| own.name() == host.name()),
            route::Scope::Tenant(id) => *id == self.id,
            route::Scope::Everywhere => true,
        }
    }
}

/// A tenant as an identity provider.
#[derive(Debug, Clone)]
pub struct IdentityProviderRole {
    /// Its entity id and its key.
    pub idp: Arc<Idp>,
    /// Certificates to publish, in DER; the first is its key's.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Whether every service provider has to sign its requests.
    pub signed_requests: bool,
}

/// An application elsewhere into which users sign in here.
#[derive(Debug, Clone)]
pub struct ServiceProvider {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Whose users may sign in there; the tenant is an identity provider.
    pub tenant: TenantId,
    /// The name to show.
    pub title: String,
    /// Who it is, by its metadata.
    pub registered: Arc<RegisteredSp>,
    /// Until when its metadata hold.
    pub valid_until: Option<Timestamp>,
    /// By which names it may know users; at least one, the first where it asks for none.
    pub names: Vec<NameKind>,
    /// Which attribute says what.
    pub release: Vec<(String, Fact)>,
    /// Members of which groups may use it; empty means everybody.
    pub groups: Vec<GroupName>,
    /// Whether users may begin here.
    pub start: bool,
    /// The relay state it is given then.
    pub relay_state: Option<RelayState>,
    /// How long an assertion may be presented.
    pub lifetime: SignedDuration,
    /// Whether it is answered by SAML 1.1, too, where its metadata have addresses for that; and how it fetches artifacts then.
    pub saml11: Option<ArtifactRequests>,
}

/// How a service provider of SAML 1.1 asks for assertions behind artifacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArtifactRequests {
    /// It signs, or shows a certificate of its metadata in TLS.
    Proven,
    /// Whoever has the artifact may ask.
    Unproven,
}

/// By what a service provider knows a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameKind {
    /// A pseudonym of its own.
    Persistent,
    /// A new pseudonym for each login.
    Transient,
    /// The address for mail.
    Email,
    /// The login name.
    Username,
}

impl NameKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Persistent, Self::Transient, Self::Email, Self::Username];

    /// The word of the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Persistent => "persistent",
            Self::Transient => "transient",
            Self::Email => "email",
            Self::Username => "username",
        }
    }

    /// The format's URI.
    pub const fn format(self) -> &'static str {
        match self {
            Self::Persistent => name_id::PERSISTENT,
            Self::Transient => name_id::TRANSIENT,
            Self::Email => name_id::EMAIL,
            Self::Username => name_id::UNSPECIFIED,
        }
    }
}

/// How a tenant's pages look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brand {
    /// The name at the head of each page.
    pub name: String,
    /// The logo.
    pub logo: Option<Logo>,
    /// Red, green, blue.
    pub accent: Option<[u8; 3]>,
    /// What the login page is headed by.
    pub heading: Option<String>,
    /// Text beside the login form.
    pub aside: Option<String>,
    /// A line under the login form.
    pub support: Option<String>,
    /// The languages of its pages; at least one.
    pub languages: Vec<Language>,
}

/// The host of no tenant.
#[derive(Debug, Clone)]
pub struct FrontDoor {
    /// Its host; no tenant's.
    pub host: Host,
    /// Its origin as browsers see it.
    pub origin: String,
    /// How it looks.
    pub brand: Brand,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logo {
    /// Its media type.
    pub media_type: &'static str,
    /// The file.
    pub octets: Arc<[u8]>,
}

/// A way through the gateway.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name.
    pub name: RouteName,
    /// For which requests.
    pub scope: route::Scope,
    /// The pattern as written.
    pub pattern_text: String,
    /// The pattern with its methods. No two routes of one scope take the same requests.
    pub pattern: route::Pattern,
    /// The methods; empty means all.
    pub methods: Vec<http::Method>,
    /// Whether anonymous may pass.
    pub access: route::Access,
    /// The least strength of a proof that will do; some scheme of each tenant can give it.
    pub level: Level,
    /// What guards it; empty for open routes only.
    pub policies: Vec<Arc<PolicyFile>>,
    /// The injectors; each is in [`Checked::injectors`], no two set the same header.
    pub inject: Vec<Arc<str>>,
    /// Where it leads; in [`Checked::upstreams`]. None: the proxy in front knows.
    pub upstream: Option<Arc<str>>,
    /// How foreign pages are kept out.
    pub csrf: route::Csrf,
    /// Who may use it at all; empty means everybody.
    pub clients: Vec<IpNet>,
    /// Whether the body is read before the chain.
    pub body: route::BodyNeed,
    /// How much of it may be under way.
    pub limits: load::RouteLimits,
    /// What becomes of a security header that the chain reads.
    pub security_header: SecurityHeader,
}

/// A file of policies, as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// An application behind the gateway.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Where it is: origins without a path; at least one.
    pub urls: Vec<Origin>,
    /// Roots its certificate must descend from; empty means the system's.
    pub ca: Vec<CertificateDer<'static>>,
    /// The certificate we show it.
    pub client_certificate: Option<Arc<CertifiedKey>>,
    /// The `Host` it sees.
    pub host: UpstreamHost,
    /// Whether HTTP/2 is spoken.
    pub http2: Http2,
    /// For a connection to open.
    pub connect_timeout: Duration,
    /// For the head of an answer.
    pub response_timeout: Duration,
    /// For a connection to be kept.
    pub idle_timeout: Duration,
}

/// Scheme, host and port of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Whether it is reached by TLS.
    pub tls: bool,
    /// The host: a name, an IPv4 address, or an IPv6 address in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (scheme, usual) = if self.tls { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == usual { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// How callers are recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// A session cookie.
    Session,
    /// HTTP Basic.
    Basic {
        /// Who checks, in order; at least one, each in [`Checked::realms`].
        realms: Vec<RealmName>,
        /// What a refusal does.
        on_reject: vestibule_engine::chain::OnReject,
        /// Whether success opens a session.
        remember: bool,
    },
    /// A client certificate.
    ClientCertificate(ClientCertificate),
    /// The security header of a SOAP message.
    WsSecurity(Box<WsSecurity>),
    /// A session of another service.
    IdentityUrl(IdentityUrl),
    /// The login page.
    LoginForm {
        /// Who checks, in order; at least one, each in [`Checked::realms`].
        realms: Vec<RealmName>,
    },
    /// SAML 2.0 web single sign-on.
    Saml(Box<saml::Saml>),
    /// OpenID Connect.
    Oidc(Oidc),
    /// Bearer tokens that a server is asked about.
    Introspection(Box<Introspection>),
    /// Old clients of integration services.
    Integration {
        /// Who checks passwords, in order; at least one, each in [`Checked::realms`].
        realms: Vec<RealmName>,
    },
    /// A ticket that another service of this installation passed on.
    SessionTicket(SessionTicket),
}

impl Scheme {
    /// The strongest proof that it gives by itself.
    pub fn strongest(&self) -> Level {
        match self {
            Self::Session => Level::default(),
            Self::Basic { .. } | Self::LoginForm { .. } | Self::IdentityUrl(_) | Self::Introspection(_) | Self::Integration { .. } => {
                PASSWORD
            }
            Self::ClientCertificate(_) | Self::WsSecurity(_) => KEY,
            Self::Saml(saml) => saml.providers.iter().map(|provider| provider.contexts().strongest()).max().unwrap_or(PASSWORD),
            Self::Oidc(oidc) => oidc.providers.iter().map(|provider| provider.contexts().strongest()).max().unwrap_or(PASSWORD),
            // As strong as what the service saw that passed it on.
            Self::SessionTicket(_) => Level(u8::MAX),
        }
    }
}

/// How users are found by their certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// By what, in order; at least one.
    pub mapping: Vec<Mapping>,
    /// What a name must end with, and is cut off; empty for nothing.
    pub suffix: String,
    /// What a refusal does.
    pub on_reject: vestibule_engine::chain::OnReject,
    /// Whether success opens a session.
    pub remember: bool,
}

/// How users are found by sessions of another service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityUrl {
    /// Whose users may come; at least one.
    pub organizations: Vec<identity_url::Id>,
    /// Hosts that session ids are sent to.
    pub hosts: identity_url::Hosts,
    /// How newcomers are found.
    pub link_by: identity_url::LinkBy,
    /// Whether it is asked who owns a session.
    pub owner: identity_url::Owner,
    /// Which addresses the hosts may stand for.
    pub reach: Reach,
    /// Roots their certificates must descend from; empty means the system's.
    pub ca: Vec<CertificateDer<'static>>,
    /// What a refusal does.
    pub on_reject: vestibule_engine::chain::OnReject,
    /// Whether success opens a session.
    pub remember: bool,
}

/// What the application is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Injector {
    /// Identity headers.
    Headers {
        /// Which header carries what.
        map: Vec<(HeaderName, Fact)>,
    },
    /// A signed token.
    Jwt {
        /// `aud`.
        audience: String,
        /// The header that carries it.
        header: HeaderName,
        /// How long it is valid.
        lifetime: Duration,
    },
}

impl Injector {
    /// Every header it could set.
    pub fn headers(&self) -> Vec<&HeaderName> {
        match self {
            Self::Headers { map } => map.iter().map(|(name, _)| name).collect(),
            Self::Jwt { header, .. } => vec![header],
        }
    }
}

/// What a permit may add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Request headers; none is one that an injector sets.
    Headers(Vec<(HeaderName, HeaderValue)>),
    /// A security header in the message.
    WsSecurity(Box<WsSecurityResponse>),
    /// A ticket for the next service.
    SessionTicket(SessionTicketResponse),
}

/// How passwords are hashed (Argon2id).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashing {
    /// What one hash costs.
    pub cost: Cost,
    /// Threads; `None` is half the cores, at least one.
    pub threads: Option<usize>,
}

/// Where everything is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Users, groups, keys.
    pub durable: Durable,
    /// Sessions, replay protection, counters.
    pub expiring: Expiring,
    /// The directory of the embedded store.
    pub path: PathBuf,
}

/// Where what lasts is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Durable {
    /// In a file.
    Embedded,
    /// In a database that several gateways share.
    Postgres(Arc<postgres::Settings>),
    /// Nowhere.
    Memory,
}

/// Where what expires is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expiring {
    /// In a file.
    Embedded,
    /// In the database of [`Durable::Postgres`].
    Postgres,
    /// In Redis, save what must never be forgotten.
    Redis(Arc<redis::Settings>),
    /// Nowhere.
    Memory,
}

/// Keys that the gateway signs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Seals private keys; `None` is a file `sealing.key` in the store's directory.
    pub key_encryption_key: Option<Secret<Vec<u8>>>,
    /// How old a key becomes.
    pub rotation_age: Duration,
    /// How they sign.
    pub algorithm: Algorithm,
}

/// What is written down, and where; at least one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Standard output.
    pub stdout: bool,
    /// This file.
    pub file: Option<PathBuf>,
    /// This collector.
    pub syslog: Option<syslog::Settings>,
}
