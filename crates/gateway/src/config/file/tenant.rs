//! Tenants.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::IdentityProviderRole;
use crate::config::values::At;

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
    /// The tenant as an identity provider of SAML 2.0, on its portal: its users sign in at `[service_provider]`s.
    #[serde(default)]
    pub idp: Option<At<IdentityProviderRole>>,
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
