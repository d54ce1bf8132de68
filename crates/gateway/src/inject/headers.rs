//! Identity headers: who is asking, one header per fact.
//!
//! An attacker picks a name that becomes two values downstream: a group called `staff,admin`, a display name
//! with a line break, octets that two servers read in two ways (attacks 84, 86). So every value is
//! percent-encoded UTF-8 (RFC 3986 §2.1): letters, digits and `-._~@+:/=&'` stand for themselves, all else is
//! `%XX`, commas, semicolons, double quotes, spaces and `%` included. A comma therefore always separates, and
//! one percent-decoding (not form-decoding: `+` is a plus) gives the text back. RFC 8187 was not taken: it
//! needs a parameter syntax that applications do not read in headers of their own.
//!
//! What is not known is not sent, never as an empty value. For anonymous no header about the caller is sent
//! at all (`authentication-chain.md` §7.1): an application knows a caller by `X-Vestibule-User` and by nothing
//! else. What concerns the request and not the caller, tenant and request id, is sent for anonymous too.

use std::fmt::Write as _;
use std::str::FromStr;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue};
use vestibule_engine::identity::Identity;
use vestibule_engine::inject::{Granted, Injection, Injector, Uninjected};

use crate::inject::injectable;

/// Longest value we write, in octets. A longer one is refused, not cut: a list of groups without its end could
/// grant what the whole list denies.
pub const MAX_VALUE: usize = 8 * 1024;
/// The decision id. Always sent, whatever else is configured.
const ID: HeaderName = HeaderName::from_static("x-vestibule-id");

/// A fact that a header can carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The login name.
    User,
    /// The user's number, stable through renames.
    UserId,
    /// The name to show.
    DisplayName,
    /// The address for mail.
    Email,
    /// The groups, separated by commas.
    Groups,
    /// The profile.
    Profile,
    /// The tenant of the request.
    Tenant,
    /// The scheme that recognised this request.
    Scheme,
    /// The scheme of the login; for a session not `session`.
    Method,
    /// How strongly the caller proved who they are.
    Level,
    /// The decision id.
    RequestId,
    /// The values of an attribute that the issuer stated, separated by commas.
    Attribute(String),
}

impl FromStr for Fact {
    type Err = String;

    /// Reads `user`, `user-id`, `display-name`, `email`, `groups`, `profile`, `tenant`, `scheme`, `method`,
    /// `level`, `request-id` or `attribute:NAME`.
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "user" => Self::User,
            "user-id" => Self::UserId,
            "display-name" => Self::DisplayName,
            "email" => Self::Email,
            "groups" => Self::Groups,
            "profile" => Self::Profile,
            "tenant" => Self::Tenant,
            "scheme" => Self::Scheme,
            "method" => Self::Method,
            "level" => Self::Level,
            "request-id" => Self::RequestId,
            other => match other.strip_prefix("attribute:") {
                Some(name) if !name.is_empty() => Self::Attribute(name.to_owned()),
                _ => {
                    return Err(format!(
                        "`{other}` is no fact; there are user, user-id, display-name, email, groups, profile, tenant, scheme, method, \
                         level, request-id and attribute:NAME"
                    ));
                }
            },
        })
    }
}

impl Fact {
    /// The value for this grant, encoded; `None` if it is not known.
    fn value(&self, asked: &Granted<'_>) -> Option<String> {
        match self {
            Self::Tenant => Some(encode(asked.found.tenant.id.as_str())),
            Self::RequestId => Some(asked.request.id.to_string()),
            Self::User
            | Self::UserId
            | Self::DisplayName
            | Self::Email
            | Self::Groups
            | Self::Profile
            | Self::Scheme
            | Self::Method
            | Self::Level
            | Self::Attribute(_) => self.about(asked.principal.identity()?),
        }
        .filter(|value| !value.is_empty())
    }

    /// The texts for this grant as they are: none, one, or those of a list.
    pub fn texts(&self, asked: &Granted<'_>) -> Vec<String> {
        let identity = asked.principal.identity();
        let one = |text: Option<String>| text.into_iter().collect();
        let about = |read: fn(&Identity) -> Option<String>| one(identity.and_then(|identity| read(identity)));
        match self {
            Self::Tenant => one(Some(asked.found.tenant.id.to_string())),
            Self::RequestId => one(Some(asked.request.id.to_string())),
            Self::User => about(|identity| Some(identity.user.name.to_string())),
            Self::UserId => about(|identity| Some(identity.user.id.to_string())),
            Self::DisplayName => about(|identity| identity.user.display_name.clone()),
            Self::Email => about(|identity| identity.user.email.clone()),
            Self::Groups => identity.map(|identity| identity.user.groups.iter().map(ToString::to_string).collect()).unwrap_or_default(),
            Self::Profile => about(|identity| Some(identity.user.profile.to_string())),
            Self::Scheme => about(|identity| Some(identity.scheme.to_string())),
            Self::Method => about(|identity| Some(identity.method.to_string())),
            Self::Level => about(|identity| Some(identity.level.0.to_string())),
            Self::Attribute(name) => identity.and_then(|identity| identity.attributes.get(name).cloned()).unwrap_or_default(),
        }
    }

    fn about(&self, identity: &Identity) -> Option<String> {
        let values = self.stated(identity);
        match self {
            Self::Groups | Self::Attribute(_) => Some(list(values.iter().map(String::as_str))),
            Self::User
            | Self::UserId
            | Self::DisplayName
            | Self::Email
            | Self::Profile
            | Self::Scheme
            | Self::Method
            | Self::Level
            | Self::Tenant
            | Self::RequestId => values.first().map(|value| encode(value)),
        }
    }

    /// What it says of somebody, as it is; nothing where that is not known, or is of a request.
    pub fn stated(&self, identity: &Identity) -> Vec<String> {
        let user = &identity.user;
        let one = |value: &str| vec![value.to_owned()];
        match self {
            Self::User => one(user.name.as_str()),
            Self::UserId => one(&user.id.to_string()),
            Self::DisplayName => user.display_name.iter().cloned().collect(),
            Self::Email => user.email.iter().cloned().collect(),
            Self::Groups => user.groups.iter().map(|group| group.as_str().to_owned()).collect(),
            Self::Profile => one(user.profile.as_str()),
            Self::Scheme => one(identity.scheme.as_str()),
            Self::Method => one(identity.method.as_str()),
            Self::Level => one(&identity.level.0.to_string()),
            Self::Attribute(name) => identity.attributes.get(name).cloned().unwrap_or_default(),
            Self::Tenant | Self::RequestId => Vec::new(),
        }
    }
}

/// Sets one header per configured fact, and the decision id.
#[derive(Debug)]
pub struct HeadersInjector {
    name: String,
    rules: Vec<(HeaderName, Fact)>,
    headers: Vec<HeaderName>,
}

impl HeadersInjector {
    /// The headers that are set where none are configured; the configuration's default is held to it.
    #[cfg(test)]
    pub fn default_rules() -> Vec<(HeaderName, Fact)> {
        [
            ("x-vestibule-user", Fact::User),
            ("x-vestibule-groups", Fact::Groups),
            ("x-vestibule-tenant", Fact::Tenant),
            ("x-vestibule-profile", Fact::Profile),
            ("x-vestibule-scheme", Fact::Scheme),
        ]
        .map(|(name, fact)| (HeaderName::from_static(name), fact))
        .into()
    }

    /// An injector of this name that follows these rules.
    ///
    /// # Errors
    /// A sentence: a header occurs twice in whatever spelling, or may not be injected.
    pub fn new(name: &str, rules: Vec<(HeaderName, Fact)>) -> Result<Self, String> {
        let mut headers = vec![ID];
        for (header, _) in &rules {
            injectable(header)?;
            // Applications take `_` for `-`, so these two would be one header with two values.
            if let Some(other) = headers.iter().find(|other| fold(other) == fold(header)) {
                return Err(format!("the headers {other} and {header} are the same to an application"));
            }
            headers.push(header.clone());
        }
        Ok(Self { name: name.to_owned(), rules, headers })
    }
}

#[async_trait]
impl Injector for HeadersInjector {
    fn name(&self) -> &str {
        &self.name
    }

    fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    async fn inject(&self, asked: &Granted<'_>) -> Result<Injection, Uninjected> {
        let mut injection = Injection { set: Vec::with_capacity(self.headers.len()), ..Injection::default() };
        let id = [(&ID, &Fact::RequestId)];
        for (header, fact) in id.into_iter().chain(self.rules.iter().map(|(header, fact)| (header, fact))) {
            let Some(value) = fact.value(asked) else { continue };
            if value.len() > MAX_VALUE {
                return Err(format!("the value of {header} has {} octets, more than {MAX_VALUE}", value.len()).into());
            }
            let value = HeaderValue::try_from(value).map_err(|_| format!("the value of {header} is not a header value"))?;
            injection.set.push((header.clone(), value));
        }
        Ok(injection)
    }
}

fn fold(name: &HeaderName) -> String {
    name.as_str().replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

/// Values separated by commas; a comma inside a value is encoded. Empty ones would vanish in a list and are left out.
fn list<'a>(values: impl Iterator<Item = &'a str>) -> String {
    values.filter(|value| !value.is_empty()).map(encode).collect::<Vec<_>>().join(",")
}

/// Percent-encodes everything that is not harmless in any header syntax.
fn encode(text: &str) -> String {
    let is_harmless = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~@+:/=&'".contains(&octet);
    if text.bytes().all(is_harmless) {
        return text.to_owned();
    }
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        if is_harmless(octet) {
            encoded.push(char::from(octet));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{octet:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vestibule_engine::Timestamp;
    use vestibule_engine::identity::{Attributes, GroupName, Level, Principal, Username};

    use super::*;
    use crate::inject::tests::{identity, in_session, inject, known, user};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn injector(rules: &[(&str, Fact)]) -> HeadersInjector {
        HeadersInjector::new("headers", rules.iter().map(|(name, fact)| (name.parse().unwrap(), fact.clone())).collect()).unwrap()
    }

    async fn told(injector: &HeadersInjector, principal: &Principal) -> Vec<(String, String)> {
        let injection = inject(injector, principal, NOW).await.unwrap();
        injection.set.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const REQUEST: &str = "00000000-0000-0000-0000-000000000009";

    #[tokio::test]
    async fn the_default_headers_tell_who_is_asking() {
        let injector = HeadersInjector::new("headers", HeadersInjector::default_rules()).unwrap();
        assert_eq!(
            told(&injector, &known(identity(user()))).await,
            pairs(&[
                ("x-vestibule-id", REQUEST),
                ("x-vestibule-user", "ada"),
                ("x-vestibule-groups", "staff,engine%20room"),
                ("x-vestibule-tenant", "north"),
                ("x-vestibule-profile", "agent"),
                ("x-vestibule-scheme", "basic-corp"),
            ])
        );
        assert_eq!(injector.headers().len(), 6);
    }

    #[tokio::test]
    async fn anonymous_gets_nothing_about_a_caller() {
        let all = ["user", "user-id", "display-name", "email", "groups", "profile", "scheme", "method", "level", "attribute:department"];
        let rules: Vec<(String, Fact)> = all.iter().enumerate().map(|(n, fact)| (format!("x-{n}"), fact.parse().unwrap())).collect();
        let rules: Vec<(&str, Fact)> = rules.iter().map(|(name, fact)| (name.as_str(), fact.clone())).collect();
        assert_eq!(told(&injector(&rules), &Principal::Anonymous).await, pairs(&[("x-vestibule-id", REQUEST)]));
        let injector = HeadersInjector::new("headers", HeadersInjector::default_rules()).unwrap();
        let expected = pairs(&[("x-vestibule-id", REQUEST), ("x-vestibule-tenant", "north")]);
        assert_eq!(told(&injector, &Principal::Anonymous).await, expected);
        // But all are listed, so that a client's own copies are stripped.
        assert_eq!(injector.headers().len(), 6);
    }

    #[tokio::test]
    async fn every_fact_has_its_value() {
        let rules = [
            ("x-a", "user-id", "00000000-0000-0000-0000-000000000007"),
            ("x-b", "display-name", "Ada%20Lovelace"),
            ("x-c", "email", "ada@example.com"),
            ("x-d", "scheme", "session"),
            ("x-e", "method", "basic-corp"),
            ("x-f", "level", "20"),
            ("x-g", "request-id", REQUEST),
            ("x-h", "attribute:department", "r&d,a%2Cb"),
        ];
        let injector = injector(&rules.map(|(name, fact, _)| (name, fact.parse().unwrap())));
        let mut identity = in_session(identity(user()), "token");
        identity.level = Level(20);
        let expected: Vec<(&str, &str)> =
            [("x-vestibule-id", REQUEST)].into_iter().chain(rules.map(|(name, _, value)| (name, value))).collect();
        assert_eq!(told(&injector, &known(identity)).await, pairs(&expected));
    }

    #[tokio::test]
    async fn what_is_not_known_is_not_sent() {
        let rules = ["display-name", "email", "groups", "attribute:none", "attribute:empty"];
        let names = ["x-a", "x-b", "x-c", "x-d", "x-e"];
        let rules: Vec<(&str, Fact)> = names.into_iter().zip(rules).map(|(name, fact)| (name, fact.parse().unwrap())).collect();
        let mut user = user();
        (user.display_name, user.email, user.groups) = (Some(String::new()), None, vec!["".into()]);
        let mut identity = identity(user);
        identity.attributes = std::sync::Arc::new(Attributes::from([("empty".to_owned(), vec![String::new()])]));
        assert_eq!(told(&injector(&rules), &known(identity)).await, pairs(&[("x-vestibule-id", REQUEST)]));
    }

    #[tokio::test]
    async fn hostile_names_forge_neither_a_header_nor_a_second_group() {
        let injector = injector(&[("x-user", Fact::User), ("x-name", Fact::DisplayName), ("x-groups", Fact::Groups)]);
        let mut user = user();
        user.name = Username::parse("ada,admin;x=\"y\" %2C\u{430}").unwrap();
        user.display_name = Some("Ada\r\nX-Vestibule-User: root\0\u{2028}".into());
        user.groups =
            ["staff,admin", "staff%2Cadmin", " admin", "admin ", "\"a", "b\"", "\u{fc}", "a;q=1", "\\"].map(GroupName::from).into();
        let told = told(&injector, &known(identity(user))).await;
        assert_eq!(told[1].1, "ada%2Cadmin%3Bx=%22y%22%20%252c%D0%B0");
        assert_eq!(told[2].1, "Ada%0D%0AX-Vestibule-User:%20root%00%E2%80%A8");
        assert_eq!(told[3].1, "staff%2Cadmin,staff%252Cadmin,%20admin,admin%20,%22a,b%22,%C3%BC,a%3Bq=1,%5C");
    }

    #[tokio::test]
    async fn a_value_too_long_is_refused_not_cut() {
        let injector = injector(&[("x-groups", Fact::Groups)]);
        let mut long = user();
        long.groups = (0..2000).map(|n| GroupName::from(format!("group-{n}").as_str())).collect();
        let refused = inject(&injector, &known(identity(long)), NOW).await.unwrap_err();
        assert!(refused.contains("x-groups") && !refused.contains("group-1"), "{refused}");
    }

    #[test]
    fn a_header_is_configured_once_in_whatever_spelling() {
        let new = |names: &[&str]| HeadersInjector::new("h", names.iter().map(|name| (name.parse().unwrap(), Fact::User)).collect());
        assert!(new(&["x-user", "sm_user"]).is_ok());
        for names in [&["x-user", "x-user"][..], &["x-user", "x_user"], &["x.user", "x-user"], &["x-vestibule-id"], &["x_vestibule_id"]] {
            assert!(new(names).is_err(), "{names:?}");
        }
        assert!(new(&["host"]).is_err());
    }

    #[test]
    fn facts_are_a_closed_set() {
        for text in ["", "password", "attribute:", "User", "header:x"] {
            assert!(text.parse::<Fact>().is_err(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn one_percent_decoding_gives_every_list_back(values in prop::collection::vec(".{1,20}", 1..6)) {
            let text = list(values.iter().map(String::as_str));
            prop_assert!(text.bytes().all(|octet| octet.is_ascii_graphic()));
            let decoded: Vec<String> =
                text.split(',').map(|part| percent_encoding::percent_decode_str(part).decode_utf8().unwrap().into_owned()).collect();
            prop_assert_eq!(decoded, values);
        }
    }
}
