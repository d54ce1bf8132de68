//! What became of asking another service whether a password is right.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use std::net::IpAddr;

use crate::clock::Timestamp;
use crate::identity::{RealmName, UserId};

/// One question to an endpoint, as far as it came. Holds neither the password nor the endpoint's path, which may be a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Callout {
    /// Which realm asked.
    #[schemars(with = "String")]
    pub realm: RealmName,
    /// Whose password.
    pub subject: String,
    /// Their number.
    #[schemars(with = "String", extend("format" = "uuid"))]
    pub user: UserId,
    /// The endpoint's host and port.
    pub endpoint: String,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resolved: Option<IpAddr>,
    /// How far it came.
    pub phase: Phase,
    /// How it ended.
    pub outcome: Outcome,
    /// The status of the answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// How long it took, milliseconds, waiting for a place included.
    pub ms: f64,
    /// The version of TLS.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tls: Option<String>,
    /// When the endpoint's certificate ends.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub certificate_until: Option<Timestamp>,
    /// What the endpoint says is wrong, or what is wrong with what it says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fault: Option<String>,
}

/// How far a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It waited for a place.
    Queue,
    /// The endpoint's name was looked up.
    Dns,
    /// A connection was opened.
    Connect,
    /// TLS was agreed.
    Tls,
    /// The question was sent.
    Send,
    /// The answer was waited for.
    Wait,
    /// It was read.
    Parse,
    /// It says yes or no.
    Verdict,
}

/// How a question ended. Only `Ok` lets anybody in, and only `Denied` says that a password is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The password is right.
    Ok,
    /// It is not.
    Denied,
    /// No answer in time.
    Timeout,
    /// No connection, or it broke.
    Unreachable,
    /// The endpoint's certificate does not hold.
    TlsUntrusted,
    /// It has ended, or has not begun.
    TlsExpired,
    /// Another status than 200.
    HttpStatus,
    /// A SOAP fault.
    SoapFault,
    /// Something that is no answer.
    BadResponse,
    /// The endpoint failed too often of late, and was not asked.
    BreakerOpen,
    /// Too many logins wait for it already.
    TooManyWaiting,
}

impl Outcome {
    /// The word of the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Denied => "denied",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::TlsUntrusted => "tls_untrusted",
            Self::TlsExpired => "tls_expired",
            Self::HttpStatus => "http_status",
            Self::SoapFault => "soap_fault",
            Self::BadResponse => "bad_response",
            Self::BreakerOpen => "breaker_open",
            Self::TooManyWaiting => "too_many_waiting",
        }
    }
}
