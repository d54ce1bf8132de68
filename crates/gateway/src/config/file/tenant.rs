//! Tenants.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{IdentityProviderRole, Integration};
use crate::config::values::{At, Named, Period};
use crate::serve::pages::words::Language;

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
    /// How pages look that belong to one of its hosts: those at that host, and those on which somebody signs in on the way to it.
    /// What is left out is as in `brand`.
    #[serde(default)]
    #[schemars(example = serde_json::json!({ "shop.north.example.com": { "name": "The shop", "accent": "#8a1c4a" } }))]
    pub host_brand: Named<Brand>,
    /// Which pages of other origins may read what its applications answer.
    #[serde(default)]
    pub cors: Option<Cors>,
    /// How API clients without credentials are refused: `rfc` with 401 and a challenge, `compat` with the answer that
    /// clients of older gateways expect.
    #[serde(default)]
    pub anonymous_denied: AnonymousDenied,
    /// Where its login page is: `portal`, or `application` to put it on the application's own host, where pages of
    /// the application could read it. The latter needs a concession `login-on-application-host`.
    #[serde(default)]
    pub login: At<LoginHost>,
    /// How programs log in with a name and a password: `json` at `/.vestibule/login`, `soap` as the `login()` of older web
    /// service interfaces at `/services/Soap/u/…` and `/services/Soap/c/…`. The login form's realms check the password. Without it, programs
    /// cannot.
    #[serde(default)]
    #[schemars(with = "Vec<ApiLogin>", example = ["json"])]
    pub api_login: Vec<At<ApiLogin>>,
    /// Whom `/login?login` lets in where an identity provider signs people in: `form` opens the tenant's ordinary form to everybody,
    /// `local` only to emergency accounts from the addresses of `[administrators]`, with an alarm per attempt.
    #[serde(default)]
    pub emergency: At<Emergency>,
    /// Origins of pages that may post a user name and a password (`un`, `pw`) to its login page, such as an intranet's. What they
    /// post signs the visitor in as whomever it names.
    #[serde(default)]
    #[schemars(with = "Vec<String>", example = ["https://intranet.example.com"])]
    pub login_from: Vec<At<String>>,
    /// The languages of its pages, `en` and `de`; the first where a browser asks for none of them. One alone is always spoken.
    #[serde(default = "all_languages")]
    #[schemars(with = "Vec<Language>", extend("default" = ["en", "de"]))]
    pub languages: At<Vec<Language>>,
    /// The tenant as an identity provider of SAML 2.0, on its portal: its users sign in at `[service_provider]`s.
    #[serde(default)]
    pub idp: Option<At<IdentityProviderRole>>,
    /// What old clients of integration services see. Without it, the defaults.
    #[serde(default)]
    pub integration: Option<At<Integration>>,
}

pub(super) fn all_languages() -> At<Vec<Language>> {
    Language::ALL.to_vec().into()
}

/// Whom `/login?login` lets in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Emergency {
    /// Everybody the form knows.
    #[default]
    Form,
    /// Emergency accounts only.
    Local,
}

/// The host of no tenant: users of every tenant with a login form and a portal may sign in there, and are led to their own portal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FrontDoor {
    /// Its host. Without it there is none.
    #[schemars(with = "Option<String>", example = "login.example.com")]
    pub host: Option<At<String>>,
    /// How it looks. Without it, as we do.
    pub brand: Brand,
    /// Its languages, as those of a tenant.
    #[schemars(with = "Vec<Language>", extend("default" = ["en", "de"]))]
    pub languages: At<Vec<Language>>,
}

impl Default for FrontDoor {
    fn default() -> Self {
        Self { host: None, brand: Brand::default(), languages: all_languages() }
    }
}

/// How programs log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApiLogin {
    /// As JSON.
    Json,
    /// By `login()`.
    Soap,
}

/// Which pages of other origins may read what applications answer. They act with the session of whoever looks at them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// Their origins, as browsers write them: `https://name`, or `https://*.name` for all below it.
    #[schemars(with = "Vec<String>", example = ["https://crm.example.com", "https://*.my.salesforce.com"])]
    pub origins: At<Vec<At<String>>>,
    /// What they may send.
    #[serde(default = "usual_methods")]
    #[schemars(with = "Vec<String>", extend("default" = USUAL_METHODS))]
    pub methods: At<Vec<At<String>>>,
    /// Which headers they may set.
    #[serde(default = "usual_headers")]
    #[schemars(with = "Vec<String>", extend("default" = USUAL_HEADERS))]
    pub headers: At<Vec<At<String>>>,
    /// Which headers of an answer they may read.
    #[serde(default = "usual_exposed")]
    #[schemars(with = "Vec<String>", extend("default" = USUAL_EXPOSED))]
    pub exposed: At<Vec<At<String>>>,
    /// For how long browsers remember the answer.
    #[serde(default = "two_minutes")]
    pub max_age: At<Period>,
}

const USUAL_METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const USUAL_HEADERS: [&str; 8] =
    ["Accept", "Content-Type", "Authorization", "X-Requested-With", "X-CSRF-Token", "ssid", "surl", "ContactCenterId"];
const USUAL_EXPOSED: [&str; 4] = ["X-CSRF-Header", "X-CSRF-Token", "X-Vestibule-Id", "X-Vestibule-Auth"];

fn usual_methods() -> At<Vec<At<String>>> {
    USUAL_METHODS.map(|text| text.to_owned().into()).to_vec().into()
}

fn usual_headers() -> At<Vec<At<String>>> {
    USUAL_HEADERS.map(|text| text.to_owned().into()).to_vec().into()
}

fn usual_exposed() -> At<Vec<At<String>>> {
    USUAL_EXPOSED.map(|text| text.to_owned().into()).to_vec().into()
}

fn two_minutes() -> At<Period> {
    Period::seconds(120).into()
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
    /// What the login page is headed by, in place of "Sign in".
    #[schemars(example = "Welcome to North")]
    pub heading: Option<String>,
    /// Plain text beside the login form, such as news of maintenance. An empty line ends a paragraph.
    #[schemars(example = "On Sunday from 6 to 8 we are not here.")]
    pub aside: Option<String>,
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
