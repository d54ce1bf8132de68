//! Routes and the applications behind them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::RouteLimits;
use crate::config::secrets::SecretRef;
use crate::config::values::{At, Net, OneOrMore, Period, Size};

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
    /// The least strength of a proof that will do: 10 is a password, 20 a key; what an identity provider's contexts are worth its
    /// `levels` say. A browser whose session is weaker is sent to sign in by a stronger way, everybody else is refused.
    #[serde(default)]
    #[schemars(with = "Option<u8>", example = 20)]
    pub level: Option<At<u8>>,
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
    /// How much of it may be under way. What is more is turned away.
    #[serde(default)]
    pub limits: RouteLimits,
    /// What becomes of a security header that the chain reads: `remove` takes it out of the message, `keep` leaves it for the
    /// service that needs it.
    #[serde(default)]
    pub security_header: SecurityHeader,
}

/// What becomes of a security header that the chain reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SecurityHeader {
    /// The service never sees it.
    #[default]
    Remove,
    /// The service needs it.
    Keep,
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

pub(super) fn five_seconds() -> At<Period> {
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
