//! What the application is told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::file::WsSecurityResponse;
use crate::config::values::{At, Pairs, Period};

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
    /// A security header in the SOAP message that the application sees (WS-Security 1.1).
    WsSecurity(Box<WsSecurityResponse>),
    /// A ticket by which the next service of this installation knows the caller. A scheme of type `session-ticket` reads it.
    SessionTicket(SessionTicketResponse),
}

/// A ticket for the next service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionTicketResponse {
    /// Where it is put: `header` in a request header that the service sees and passes on, `cookie` in a cookie that the caller
    /// gets. In a message, it is part of an assertion: `assertion.ticket` of a response of type `ws-security`.
    pub to: TicketTo,
    /// The name of that header or cookie. Without it, `tmsamlsessionticket` or `tmsamlsession`.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"Orders-Ticket")]
    pub name: Option<At<String>>,
    /// Whose key it names, so that nobody else can use it: `message`, `client-certificate` or `attribute:NAME` as in
    /// `assertion.holder`. Without it, whoever has it may.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"message")]
    pub holder: Option<At<String>>,
    /// How long it counts; at most an hour, and not longer than the session or the ticket of the caller.
    #[serde(default = "five_minutes")]
    pub lifetime: At<Period>,
}

/// Where a ticket is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TicketTo {
    /// In a request header.
    Header,
    /// In a cookie.
    Cookie,
}

/// Fixed headers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeadersResponse {
    /// Names and values.
    #[schemars(example = serde_json::json!({ "X-Role": "editor" }))]
    pub set: At<Pairs>,
}
