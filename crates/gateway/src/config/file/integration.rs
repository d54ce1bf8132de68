//! Old clients of integration services.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::{At, Net, OneOrMore, Pairs, Period};

/// Old clients of integration services, which keep `JSESSIONID` or send a name and a password in the head of a message. What they
/// see is in `[tenant.NAME.integration]`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntegrationScheme {
    /// Who checks the password: a realm, or several that are asked in this order.
    #[schemars(example = &"local")]
    pub realm: At<OneOrMore>,
}

/// What a tenant's old clients of integration services see. Its chain needs a scheme of type `integration`, and one of its routes the
/// data: `match = "/Services/Integration/**"` with a body that is read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Integration {
    /// Where commands and data are sent to.
    #[schemars(with = "String")]
    pub path: At<String>,
    /// Where third parties ask whose a token is.
    #[schemars(with = "String")]
    pub validate_path: At<String>,
    /// Where programs get a token about themselves, by the SOAP operation `SSOTokenRead`.
    #[schemars(with = "String")]
    pub token_path: At<String>,
    /// The company's sign-in id: users sign in as `COMPANY/user`, or as `user`.
    #[schemars(with = "Option<String>", example = &"ACME")]
    pub company: Option<At<String>>,
    /// The company's external identifier for single sign-on.
    #[schemars(with = "Option<String>", example = &"acme")]
    pub ssoid: Option<At<String>>,
    /// Where its identity provider is entered, for `command=ssoitsurl`. It ends in `TARGET=${TARGET}`. Needs `ssoid`.
    #[schemars(with = "Option<String>", example = "https://idp.example.com/its?TARGET=${TARGET}")]
    pub its_url: Option<At<String>>,
    /// `password-or-sso`, or `sso-only` where no password counts.
    pub authentication: IntegrationAuthentication,
    /// Whose members may use these services. Without it, everybody.
    #[schemars(example = ["integration"])]
    pub groups: Vec<String>,
    /// Whether each user name in a message opens a session, whatever its namespace ("R16 compatibility").
    pub compatibility: bool,
    /// A session unused for so long is over. More than ten minutes are ten.
    pub idle: At<Period>,
    /// A session so old is over, in whole hours. `0s` is no limit.
    pub duration: At<Period>,
    /// The most sessions that logins of the tenant may hold; the next login is refused.
    pub quota: At<u32>,
    /// The least time between two requests of a session.
    pub spacing: At<Period>,
    /// The most requests that the tenant's old clients may make in 24 hours, on all nodes together. Without it, any number.
    #[schemars(with = "Option<u32>", example = &50000)]
    pub allotment: Option<At<u32>>,
    /// Whether a plus is a space in the headers of a login with `isEncoded=Y`. Clients that write a plus for itself need `false`.
    pub plus_is_space: bool,
    /// Paths of administrative services, which know no sessions: each request brings its own credential.
    #[schemars(with = "Vec<String>", example = ["/Services/Integration/Administration"])]
    pub administrative: Vec<At<String>>,
    /// How long a token is good for.
    pub token_lifetime: At<Period>,
    /// Whether a token is used up by asking whose it is. Otherwise it may be asked about once, and then open one session.
    pub strict_single_use: bool,
    /// Who may ask whose a token is, by address. Without it, whoever holds the token.
    #[schemars(example = ["192.0.2.0/24"])]
    pub validators: Vec<Net>,
    /// Third parties to which `/.vestibule/sso/NAME` leads users with a token, by NAME. `${TOKEN}` is the value of one parameter of
    /// the address.
    #[schemars(example = serde_json::json!({ "reports": "https://reports.example.com/enter?odSsoToken=${TOKEN}" }))]
    pub links: Pairs,
}

impl Default for Integration {
    fn default() -> Self {
        let text = |text: &str| At::from(text.to_owned());
        Self {
            path: text("/Services/Integration"),
            validate_path: text("/Services/SSOTokenValidate"),
            token_path: text("/Services/SSOToken"),
            company: None,
            ssoid: None,
            its_url: None,
            authentication: IntegrationAuthentication::default(),
            groups: Vec::new(),
            compatibility: false,
            idle: Period::seconds(600).into(),
            duration: Period::seconds(0).into(),
            quota: 10.into(),
            spacing: Period(std::time::Duration::from_millis(50)).into(),
            allotment: None,
            plus_is_space: true,
            administrative: Vec::new(),
            token_lifetime: Period::seconds(60).into(),
            strict_single_use: false,
            validators: Vec::new(),
            links: Pairs::default(),
        }
    }
}

/// How the users of a company sign in to its integration services.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IntegrationAuthentication {
    /// By a password, or by single sign-on.
    #[default]
    PasswordOrSso,
    /// By single sign-on.
    SsoOnly,
}
