//! The configuration as written: sections in the order in which a request meets them.
//!
//! Every doc comment here is a sentence of `docs/configuration.md`. Unknown keys are errors: a misspelt
//! restriction that is silently ignored is an open door.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secrets::SecretRef;
use crate::config::values::{At, Named, Net, OneOrMore, Pairs, Period, Size};
use crate::realms::local::MINIMUM_LENGTH;

/// Configuration of Vestibule, an authentication gateway.
#[derive(Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields, default)]
pub struct File {
    /// Where requests arrive. One table per address.
    pub listen: Vec<At<Listen>>,
    /// The program itself.
    pub server: Server,
    /// Whose requests they are: one table per organisation. The name stands in audit records and in policies.
    pub tenant: Named<At<Tenant>>,
    /// Which way requests take. The most specific match wins, whatever the order: literal segments before `*`
    /// before `**`, a host's own routes before its tenant's before everybody's, listed methods before all.
    pub route: Vec<At<Route>>,
    /// Applications behind the gateway, for routes to forward to by name.
    pub upstream: Named<At<Upstream>>,
    /// How callers are recognised; a tenant's `chain` puts schemes in order. A scheme `session` of type
    /// `session` exists without being written.
    pub scheme: Named<At<Scheme>>,
    /// Who checks passwords. A realm `local` of type `local` exists without being written.
    pub realm: Named<At<Realm>>,
    /// What the application is told; routes name these. An injector `headers` of type `headers` with its default
    /// headers exists without being written.
    pub inject: Named<At<Inject>>,
    /// What a permit may add: a policy names these as `@response("name")`.
    pub response: Named<At<Response>>,
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

/// Where requests arrive.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// The address and port to listen on.
    #[schemars(with = "String", example = "0.0.0.0:8443")]
    pub address: At<SocketAddr>,
    /// What is spoken there: `proxy` takes requests and forwards them. The others answer another proxy, which forwards by
    /// itself: `auth-request` nginx, `forward-auth` Traefik, Caddy and HAProxy, `envoy` its `ext_authz` over gRPC, `envoy-http` the
    /// same over HTTP. Such a listener answers its `trusted_proxies` only.
    #[serde(default = "proxy")]
    #[schemars(extend("enum" = ["proxy", "auth-request", "forward-auth", "envoy", "envoy-http"]))]
    pub speaks: At<String>,
    /// TLS. Needed wherever the address is not a loopback address.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Proxies in front of this listener whose `X-Forwarded-For` and `X-Forwarded-Proto` count. From everybody else these
    /// headers are removed. The whole internet (`0.0.0.0/0`) is refused.
    #[serde(default)]
    #[schemars(example = ["10.1.0.0/24"])]
    pub trusted_proxies: Vec<At<Net>>,
    /// How those proxies forward certificates that their clients showed. Everybody else's header of that name is removed.
    #[serde(default)]
    pub forwarded_certificate: Option<At<ForwardedCertificate>>,
    /// Whether each connection begins with a header of the PROXY protocol, version 1 or 2, before TLS. Such a listener listens
    /// to its `trusted_proxies` only; the address they state is the client's. Connections without it end.
    #[serde(default)]
    pub proxy_protocol: At<bool>,
    /// What a client may use up.
    #[serde(default)]
    pub limits: Limits,
}

fn proxy() -> At<String> {
    "proxy".to_owned().into()
}

/// TLS of a listener.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificates; the one that fits the name the client asks for is shown. A client that names none is shown the first;
    /// one that names a host without a certificate gets no handshake.
    pub certificates: Vec<At<Certificate>>,
    /// Files with the authorities, in PEM form, whose certificates clients may show. Without it, clients are not asked.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["tls/staff-ca.pem"])]
    pub client_ca: Vec<At<PathBuf>>,
    /// Files with lists of revoked certificates, in PEM form. With one, every certificate of a client's chain needs a list of
    /// its issuer that has not expired, or there is no handshake.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["tls/staff-ca.crl"])]
    pub client_crl: Vec<At<PathBuf>>,
    /// Whether there is a handshake without a client certificate: `optional` or `required`. Without it, `optional` where there
    /// is a `client_ca`.
    #[serde(default)]
    pub client_certificates: Option<At<ClientCertificates>>,
}

/// Whether there is a handshake without a client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificates {
    /// There is.
    Optional,
    /// There is none.
    Required,
}

/// How proxies forward certificates.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardedCertificate {
    /// The header: `Client-Cert` (RFC 9440), `X-Forwarded-Client-Cert` as Envoy writes it, or any other with the certificate
    /// in PEM form with percent escapes (nginx) or in base64 (HAProxy, Traefik).
    #[schemars(with = "String", example = "Client-Cert")]
    pub header: At<String>,
    /// Files with the authorities whose certificates hold. Without it, `tls.client_ca`.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["tls/staff-ca.pem"])]
    pub ca: Vec<At<PathBuf>>,
    /// Files with lists of revoked certificates. Without it, `tls.client_crl`.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["tls/staff-ca.crl"])]
    pub crl: Vec<At<PathBuf>>,
}

/// A certificate and its key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// A file with the certificate and its chain in PEM form, the server's own first.
    #[schemars(with = "String", example = "tls/north.pem")]
    pub certificate: At<PathBuf>,
    /// The private key in PEM form.
    pub key: At<SecretRef>,
}

/// What a client may use up.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at one time.
    pub connections: u32,
    /// Requests at one time on one HTTP/2 connection.
    pub streams: u32,
    /// All header fields of one request together.
    pub header_size: At<Size>,
    /// Header fields of one request.
    pub header_count: u16,
    /// How long a client may take to send its headers.
    pub header_timeout: At<Period>,
    /// How long a connection may be idle between two requests.
    pub idle_timeout: At<Period>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            streams: 100,
            header_size: Size(32 << 10).into(),
            header_count: 100,
            header_timeout: Period::seconds(10).into(),
            idle_timeout: Period::seconds(75).into(),
        }
    }
}

/// The program itself.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// How many threads carry requests. 0 means one per processor core.
    pub workers: u16,
    /// Where health checks and metrics are served.
    #[schemars(with = "String")]
    pub health: At<SocketAddr>,
    /// The socket on which the command line speaks to the running server. Without it, `control.sock` in the store's
    /// directory.
    #[schemars(example = "/run/vestibule/control.sock")]
    pub control_socket: Option<PathBuf>,
    /// How long requests under way may take to end when the server stops.
    pub drain: At<Period>,
    /// How many octets of request bodies are held in memory at one time.
    pub body_memory: At<Size>,
    /// A header by which a client may name its tenant, counted only where the host belongs to no tenant.
    #[schemars(with = "Option<String>", example = &"ContactCenterId")]
    pub tenant_header: Option<At<String>>,
    /// The tenant of requests that name none. Without it they are refused.
    #[schemars(with = "Option<String>", example = &"north")]
    pub fallback_tenant: Option<At<String>>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            workers: 0,
            health: SocketAddr::from(([127, 0, 0, 1], 9180)).into(),
            control_socket: None,
            drain: Period::seconds(30).into(),
            body_memory: Size(64 << 20).into(),
            tenant_header: None,
            fallback_tenant: None,
        }
    }
}

/// Whose requests they are.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// The name to show people. Without it, the tenant's own name.
    #[serde(default)]
    #[schemars(example = "North Ltd")]
    pub title: Option<String>,
    /// The hosts of its applications, as browsers write them. A port is written only where it differs from the listener's.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["north.example.com"])]
    pub hosts: Vec<At<String>>,
    /// The host of its own pages: login, logout, change of password. No route forwards there.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "login.north.example.com")]
    pub portal: Option<At<String>>,
    /// The schemes that are asked, in this order, until one recognises the caller. `session` stands first.
    #[schemars(with = "Vec<String>", example = ["session", "basic", "form"])]
    pub chain: At<Vec<At<String>>>,
    /// A suffix of user names that means this tenant: `ada@north`. It has no period, so that it is no mail address.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"north")]
    pub domain: Option<At<String>>,
    /// How its pages look.
    #[serde(default)]
    pub brand: Brand,
    /// How API clients without credentials are refused: `rfc` with 401 and a challenge, `compat` with the answer that
    /// clients of older gateways expect.
    #[serde(default)]
    pub anonymous_denied: AnonymousDenied,
    /// Where its login page is: `portal`, or `application` to put it on the application's own host, where pages of
    /// the application could read it. The latter needs a concession `login-on-application-host`.
    #[serde(default)]
    pub login: At<LoginHost>,
}

/// How a tenant's pages look.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Brand {
    /// The name at the head of each page. Without it, the tenant's title.
    #[schemars(example = &"North")]
    pub name: Option<String>,
    /// An SVG or PNG file.
    #[schemars(with = "Option<String>", example = "brand/north.svg")]
    pub logo: Option<At<PathBuf>>,
    /// The colour of buttons and links, as `#rrggbb`.
    #[schemars(with = "Option<String>", example = "#0b5fff")]
    pub accent: Option<At<String>>,
    /// A line under the login form, such as whom to call.
    #[schemars(example = "Trouble signing in? Call 4711.")]
    pub support: Option<String>,
}

/// How API clients without credentials are refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AnonymousDenied {
    /// 401 with `WWW-Authenticate` (RFC 9110).
    #[default]
    Rfc,
    /// As clients of older gateways expect it.
    Compat,
}

/// Where a tenant's login page is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LoginHost {
    /// On the portal.
    #[default]
    Portal,
    /// On the application's own host.
    Application,
}

/// A way through the gateway.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name in audit records and policies. Without it, `route-1` and so on by its place in the file.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"orders")]
    pub name: Option<At<String>>,
    /// Only requests to this host. Not together with `tenant`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "north.example.com")]
    pub host: Option<At<String>>,
    /// Only requests of this tenant. Without `host` and `tenant` the route serves every tenant.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"north")]
    pub tenant: Option<At<String>>,
    /// The path: `/a/b` is one path, `*` stands for one segment, `/**` at the end for everything below.
    #[serde(rename = "match")]
    #[schemars(with = "String", example = "/api/**")]
    pub pattern: At<String>,
    /// The methods. Without them, all.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["GET", "HEAD"])]
    pub methods: Vec<At<String>>,
    /// `protected`: only callers that the chain recognises and a policy permits. `open`: anonymous may pass, too.
    #[serde(default)]
    pub access: At<Access>,
    /// Cedar files that guard it. A protected route needs at least one; without a permit nobody passes.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["policies/api.cedar"])]
    pub policies: Vec<At<PathBuf>>,
    /// What the application is told, by the names of `[inject.…]`.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["headers"])]
    pub inject: Vec<At<String>>,
    /// Where it leads: a URL, or the name of an `[upstream.…]`. Without it the route only answers other proxies.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "http://127.0.0.1:8080")]
    pub forward: Option<At<String>>,
    /// How foreign pages are kept from using a browser's session: `origin` compares `Origin` and `Sec-Fetch-Site`,
    /// `token` wants a token in a header, `off` leaves it to the application.
    #[serde(default)]
    pub csrf: Csrf,
    /// Only clients at these addresses.
    #[serde(default)]
    #[schemars(example = ["10.0.0.0/8"])]
    pub clients: Vec<Net>,
    /// Whether the whole body is read before the chain. Without it, bodies stream. Policies that ask for `resource.operation`
    /// need it: each body is then a SOAP message that names one operation, which its actions agree with, or is refused.
    #[serde(default)]
    pub body: Option<BodyNeed>,
}

/// Whether anonymous may pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Only callers that the chain recognises and a policy permits.
    #[default]
    Protected,
    /// Anonymous may pass, too.
    Open,
}

/// How foreign pages are kept from using a browser's session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Csrf {
    /// `Origin` and `Sec-Fetch-Site` must not be foreign.
    #[default]
    Origin,
    /// A token in a header.
    Token,
    /// The application does it itself.
    Off,
}

/// A body that is read whole before the chain.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BodyNeed {
    /// Longer bodies are refused with 413.
    #[schemars(example = "1MiB")]
    pub limit: At<Size>,
    /// Bodies of other media types are refused with 415.
    #[schemars(with = "Vec<String>", example = ["application/json"])]
    pub types: At<Vec<At<String>>>,
}

/// An application behind the gateway.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Where it is: `http` or `https`, host and port, no path. Several are used in turn.
    #[schemars(example = "https://app.internal:8443")]
    pub url: At<OneOrMore>,
    /// Certificates in PEM form that its own must descend from. Without it, those the system trusts.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "tls/internal-ca.pem")]
    pub ca: Option<At<PathBuf>>,
    /// The certificate we show it, in PEM form. Needs `client_key`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "tls/gateway.pem")]
    pub client_certificate: Option<At<PathBuf>>,
    /// The private key of `client_certificate`, in PEM form.
    #[serde(default)]
    pub client_key: Option<At<SecretRef>>,
    /// The `Host` it sees: `preserve` for the client's, `upstream` for its own.
    #[serde(default)]
    pub host: UpstreamHost,
    /// Whether HTTP/2 is spoken: `auto` where TLS offers it, `always` (also without TLS), `never`.
    #[serde(default)]
    pub http2: Http2,
    /// How long a connection may take to open.
    #[serde(default = "five_seconds")]
    pub connect_timeout: At<Period>,
    /// How long the head of an answer may take.
    #[serde(default = "one_minute")]
    pub response_timeout: At<Period>,
    /// How long a connection is kept for the next request.
    #[serde(default = "one_minute")]
    pub idle_timeout: At<Period>,
}

fn five_seconds() -> At<Period> {
    Period::seconds(5).into()
}

fn one_minute() -> At<Period> {
    Period::seconds(60).into()
}

/// The `Host` an upstream sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamHost {
    /// The client's.
    #[default]
    Preserve,
    /// Its own.
    Upstream,
}

/// Whether HTTP/2 is spoken to an upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Http2 {
    /// Where TLS offers it.
    #[default]
    Auto,
    /// Always, without TLS by prior knowledge.
    Always,
    /// Never.
    Never,
}

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

/// Who checks passwords.
#[derive(Debug, JsonSchema)]
#[schemars(tag = "type", rename_all = "kebab-case")]
pub enum Realm {
    /// The gateway's own users, kept in the store.
    Local(LocalRealm),
    /// An LDAP directory: a service account searches who has the name, then their password is tried.
    Ldap(Box<LdapRealm>),
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

/// What the application is told.
#[derive(Debug, JsonSchema)]
#[schemars(tag = "type", rename_all = "kebab-case")]
pub enum Inject {
    /// Identity headers. A client's own copies are removed in every spelling.
    Headers(HeadersInjector),
    /// A JSON Web Token signed by the gateway, which publishes the public keys.
    Jwt(JwtInjector),
}

/// Identity headers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeadersInjector {
    /// Which header carries what: `user`, `user-id`, `display-name`, `email`, `groups`, `profile`, `tenant`, `scheme`, `method`,
    /// `level`, `request-id`, or `attribute:NAME` for what the issuer stated at login. `X-Vestibule-Id` is sent besides.
    pub map: Pairs,
}

impl Default for HeadersInjector {
    fn default() -> Self {
        let pairs = [
            ("X-Vestibule-User", "user"),
            ("X-Vestibule-Groups", "groups"),
            ("X-Vestibule-Tenant", "tenant"),
            ("X-Vestibule-Profile", "profile"),
            ("X-Vestibule-Scheme", "scheme"),
        ];
        Self { map: Pairs(pairs.map(|(header, fact)| (header.to_owned().into(), fact.to_owned().into())).into()) }
    }
}

/// A signed token.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtInjector {
    /// For whom the token is; the application must check it (`aud`).
    #[schemars(with = "String", example = &"orders")]
    pub audience: At<String>,
    /// The header that carries it.
    #[serde(default = "jwt_header")]
    pub header: At<String>,
    /// How long a token is valid; at most an hour.
    #[serde(default = "five_minutes")]
    pub lifetime: At<Period>,
}

fn jwt_header() -> At<String> {
    "X-Vestibule-Token".to_owned().into()
}

fn five_minutes() -> At<Period> {
    Period::seconds(300).into()
}

/// What a permit may add.
#[derive(Debug, JsonSchema)]
#[schemars(tag = "type", rename_all = "kebab-case")]
pub enum Response {
    /// Request headers that the application sees when a permit names this response.
    Headers(HeadersResponse),
}

/// Fixed headers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeadersResponse {
    /// Names and values.
    #[schemars(example = serde_json::json!({ "X-Role": "editor" }))]
    pub set: At<Pairs>,
}

/// How long sessions live.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Session {
    /// A session unused for so long is over.
    pub idle: At<Period>,
    /// A session so old is over.
    pub absolute: At<Period>,
    /// The most sessions one user may hold.
    pub per_user: At<u32>,
    /// How long a cached session may still be used after it was ended elsewhere.
    pub revocation_lag: At<Period>,
}

impl Default for Session {
    fn default() -> Self {
        let settings = vestibule_engine::session::Settings::default();
        Self {
            idle: Period(settings.idle).into(),
            absolute: Period(settings.absolute).into(),
            per_user: settings.per_user.into(),
            revocation_lag: Period(settings.revocation_lag).into(),
        }
    }
}

/// Guessing limits and the hashing of passwords.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Passwords {
    /// Failures of one account before it is closed for a while.
    pub account_failures: At<u32>,
    /// The time within which failures of one account are counted.
    pub account_window: At<Period>,
    /// How long an account is closed at first; each time twice as long.
    pub account_closed: At<Period>,
    /// How long an account is closed at most.
    pub account_longest: At<Period>,
    /// Failures from one address before it is refused for a while.
    pub address_failures: At<u32>,
    /// The time within which failures from one address are counted.
    pub address_window: At<Period>,
    /// How long an address is refused.
    pub address_closed: At<Period>,
    /// Attempts a day that a known device may make at a closed account.
    pub device_attempts: At<u32>,
    /// No failure is answered sooner than after this.
    pub floor: At<Period>,
    /// How many answers to one address may wait for the floor.
    pub waiters: At<u32>,
    /// Argon2id: memory of one hash. A stored hash of another cost is replaced when its user next signs in.
    pub memory: At<Size>,
    /// Argon2id: passes over the memory.
    pub passes: At<u32>,
    /// Argon2id: lanes.
    pub lanes: At<u32>,
    /// Threads that hash. 0 means half the processor cores, at least one.
    pub hashing_threads: u16,
    /// How long a verified Basic credential is remembered in memory, at most 60 s. `0s` turns it off.
    pub basic_cache: At<Period>,
}

impl Default for Passwords {
    fn default() -> Self {
        let limits = vestibule_engine::realm::Limits::default();
        let cost = crate::realms::hashing::Cost::default();
        Self {
            account_failures: limits.account_failures.into(),
            account_window: Period(limits.account_window).into(),
            account_closed: Period(limits.account_closed).into(),
            account_longest: Period(limits.account_longest).into(),
            address_failures: limits.address_failures.into(),
            address_window: Period(limits.address_window).into(),
            address_closed: Period(limits.address_closed).into(),
            device_attempts: limits.device_attempts.into(),
            floor: Period(limits.floor).into(),
            waiters: limits.waiters.into(),
            memory: Size(u64::from(cost.memory) << 10).into(),
            passes: cost.passes.into(),
            lanes: cost.lanes.into(),
            hashing_threads: 0,
            basic_cache: Period::seconds(60).into(),
        }
    }
}

/// Where users, keys and sessions are kept. Several gateways are one when they share what they keep.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Users, groups and keys: `embedded` is one SQLite file, `postgres` a database that several gateways share.
    pub durable: At<DurableBackend>,
    /// Sessions, replay protection and counters: `embedded` is one SQLite file, `postgres` the same database, `redis` a
    /// Redis or Valkey beside it. What must never be forgotten, the ids of used tokens, stays in the database.
    pub expiring: At<ExpiringBackend>,
    /// The directory of the embedded store, and of the file that seals keys.
    #[schemars(with = "String")]
    pub path: At<PathBuf>,
    /// The database, where something is kept in PostgreSQL.
    pub postgres: Option<At<Postgres>>,
    /// The server, where something is kept in Redis or Valkey.
    pub redis: Option<At<Redis>>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            durable: DurableBackend::Embedded.into(),
            expiring: ExpiringBackend::Embedded.into(),
            path: PathBuf::from("data").into(),
            postgres: None,
            redis: None,
        }
    }
}

/// What keeps what lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DurableBackend {
    /// SQLite in one file.
    Embedded,
    /// PostgreSQL.
    Postgres,
    /// Nothing survives the process. For `demo` and tests; `serve` refuses it.
    Memory,
}

/// What keeps what expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExpiringBackend {
    /// SQLite in one file.
    Embedded,
    /// PostgreSQL.
    Postgres,
    /// Redis or Valkey.
    Redis,
    /// Nothing survives the process. For `demo` and tests; `serve` refuses it.
    Memory,
}

/// A PostgreSQL database.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// Where it is and who we are there, without the password. Of several servers of one database the one that may be
    /// written to is used. TLS is spoken with every server that is not on this machine; a directory in place of the host,
    /// with `%2F` for its slashes, is a Unix socket.
    #[schemars(example = "postgresql://vestibule@db.example.com/vestibule")]
    pub url: At<OneOrMore>,
    /// Our password there.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "file": "/run/secrets/postgres" }))]
    pub password: Option<At<SecretRef>>,
    /// Certificates in PEM form that the server's must descend from. Without it, those the system trusts. With it, TLS
    /// is spoken on this machine too.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "tls/database-ca.pem")]
    pub ca: Option<At<PathBuf>>,
    /// Connections at one time, besides the one that hears of changes.
    #[serde(default = "sixteen")]
    #[schemars(with = "u16")]
    pub connections: At<u16>,
    /// How long a connection, and how long an answer may take.
    #[serde(default = "three_seconds")]
    #[schemars(with = "Period")]
    pub timeout: At<Period>,
}

/// A Redis or Valkey.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// Where it is, and who we are there if it has users, without the password: `rediss` speaks TLS, `redis` is for this
    /// machine. A path is the number of the database. Several are the Sentinels or the nodes of a Cluster.
    #[schemars(example = "rediss://vestibule@cache.example.com")]
    pub url: At<OneOrMore>,
    /// What the servers are to each other.
    #[serde(default)]
    pub topology: At<RedisTopology>,
    /// The name that the Sentinels know the primary by.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"vestibule")]
    pub primary: Option<At<String>>,
    /// Our password there.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "file": "/run/secrets/redis" }))]
    pub password: Option<At<SecretRef>>,
    /// Our password at the Sentinels, where it is asked.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "file": "/run/secrets/sentinel" }))]
    pub sentinel_password: Option<At<SecretRef>>,
    /// Certificates in PEM form that the servers' must descend from. Without it, those the system trusts.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = "tls/cache-ca.pem")]
    pub ca: Option<At<PathBuf>>,
    /// How long a connection, and how long an answer may take.
    #[serde(default = "three_seconds")]
    #[schemars(with = "Period")]
    pub timeout: At<Period>,
}

/// What several Redis servers are to each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RedisTopology {
    /// One server.
    #[default]
    Single,
    /// Sentinels that know which server is the primary.
    Sentinel,
    /// Nodes of a Redis Cluster.
    Cluster,
}

fn sixteen() -> At<u16> {
    16.into()
}

fn three_seconds() -> At<Period> {
    Period::seconds(3).into()
}

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
    /// What is conceded: `plain-http`, `plain-ldap` or `login-on-application-host`.
    #[schemars(with = "String", extend("enum" = ["plain-http", "plain-ldap", "login-on-application-host"]))]
    pub what: At<String>,
    /// To whom: the listener's address for `plain-http`, the realm's name for `plain-ldap`, the tenant's name for
    /// `login-on-application-host`.
    #[schemars(with = "String", example = "0.0.0.0:8080")]
    pub partner: At<String>,
    /// Why.
    #[schemars(with = "String", example = "the load balancer ends TLS")]
    pub reason: At<String>,
    /// The last day on which it holds, in UTC.
    #[schemars(with = "String", example = "2027-03-31")]
    pub expires: At<String>,
}
