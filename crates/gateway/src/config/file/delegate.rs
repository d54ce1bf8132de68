//! Endpoints that others ask whether a password is right.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::secrets::SecretRef;
use crate::config::values::{At, Net, OneOrMore, Pairs};

/// An endpoint that another service asks by SOAP whether a password is right (`AuthenticationService.wsdl`). It is at
/// `/.vestibule/delegate/SECRET` on the tenant's portal, or on its applications' hosts where it has none. It makes no accounts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delegate {
    /// Whose passwords it checks.
    #[schemars(with = "String", example = &"north")]
    pub tenant: At<String>,
    /// Who checks them: a realm of type `ldap` or `local`, or several that are asked in this order.
    #[schemars(example = &"corp")]
    pub realm: At<OneOrMore>,
    /// The last segment of its address: at least 22 letters, digits, `-` and `_` that nobody can guess.
    #[schemars(example = serde_json::json!({ "file": "/run/secrets/delegate-path" }))]
    pub path: At<SecretRef>,
    /// The former one, which still holds while callers change over.
    #[serde(default)]
    pub previous_path: Option<At<SecretRef>>,
    /// Who may ask, by address. Beside `certificates`, either will do.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["203.0.113.0/24"])]
    pub callers: Vec<At<Net>>,
    /// Who may ask, by the SHA-256 of the certificate they show, in hexadecimal. Needs a listener that asks clients for certificates.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub certificates: Vec<At<String>>,
    /// Ends of names there, each with what it is replaced by here.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "@example.com.uat": "@example.com" }))]
    pub suffixes: Option<At<Pairs>>,
    /// From where people may sign in, as the caller says. Without it, from anywhere; with it, not from an unknown place.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["10.0.0.0/8"])]
    pub from: Vec<At<Net>>,
    /// The name of an answer's root: `result`, as the description has it, or `response`, which some callers were built against.
    #[serde(default)]
    pub response_root: ResponseRoot,
    /// What is answered while passwords cannot be checked: `fault`, or `false` for callers that know no fault. People are
    /// told then that their password is wrong.
    #[serde(default)]
    pub on_outage: OnOutage,
    /// The login page of the service that asks, as an `https` address. Then somebody who is signed in at the portal may sign in there
    /// without a password, from `/ticket/NAME`: in its place the service is posted a ticket (`un`, `pw`) that holds for a minute, once.
    #[serde(default)]
    #[schemars(with = "Option<String>", example = &"https://login.example.com/")]
    pub tickets: Option<At<String>>,
    /// Whether the description is served at the address with `?wsdl`.
    #[serde(default = "yes")]
    pub wsdl: bool,
}

fn yes() -> bool {
    true
}

/// The name of an answer's root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ResponseRoot {
    /// `AuthenticateResult`.
    #[default]
    Result,
    /// `AuthenticateResponse`.
    Response,
}

/// What is answered while passwords cannot be checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnOutage {
    /// A SOAP fault.
    #[default]
    Fault,
    /// `false`.
    False,
}
