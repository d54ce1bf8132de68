//! Listeners, and the program itself.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secrets::SecretRef;
use crate::config::values::{At, Net, Period, Size};

/// Where requests arrive.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// The address and port to listen on.
    #[schemars(with = "String", example = "0.0.0.0:8443")]
    pub address: At<SocketAddr>,
    /// What is spoken there: `proxy` takes requests and forwards them. The others answer another proxy, which forwards by
    /// itself: `auth-request` nginx, `forward-auth` Traefik, Caddy and HAProxy, `envoy` its `ext_authz` over gRPC, `envoy-http` the
    /// same over HTTP, `envoy-ext-proc` its `ext_proc`, through which bodies can change. Such a listener answers its `trusted_proxies` only.
    #[serde(default = "proxy")]
    #[schemars(extend("enum" = ["proxy", "auth-request", "forward-auth", "envoy", "envoy-http", "envoy-ext-proc"]))]
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
    /// A file with the certificate and its chain in PEM form, the server's own first; or a key store, PKCS#12 or Java's JKS, with
    /// the key in it.
    #[schemars(with = "String", example = "tls/north.pem")]
    pub certificate: At<PathBuf>,
    /// The private key in PEM form. A key store has it.
    #[serde(default)]
    pub key: Option<At<SecretRef>>,
    /// What opens an encrypted key or a key store.
    #[serde(default)]
    pub password: Option<At<SecretRef>>,
    /// Which key of a key store with several.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"north")]
    pub alias: Option<At<String>>,
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
