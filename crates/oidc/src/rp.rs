//! The authorization code flow with PKCE, as the relying party (OpenID Connect Core §3.1, RFC 7636, RFC 9700, RFC 9207).
//!
//! What an attacker tries: to have a victim's browser bring the attacker's code (login CSRF), to use a code he caught, to have
//! one OP's code sent to another (mix-up), to have a parameter read twice in two ways. So an answer is for a login whose name
//! only this browser was given, from the OP that login was sent to; the code is worth nothing without the verifier; and what
//! occurs twice is refused.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::discovery::Metadata;
use crate::json;
use crate::reason::{Reason, Rejection, quoted};

/// Longest token response we read, in octets.
pub const MAX_TOKEN_RESPONSE: usize = 64 * 1024;
/// Longest code we take, in octets.
const MAX_CODE: usize = 4096;
/// Longest token we keep, in octets.
const MAX_ACCESS_TOKEN: usize = 16 * 1024;

/// What belongs to one login and is known to us alone, but for the name.
pub struct Login {
    /// `state`: the name of the login, which its browser was given.
    pub state: String,
    nonce: String,
    verifier: Zeroizing<String>,
}

impl Login {
    /// The login of this name. `seed` can be derived from the name by us and by nobody else, so that nothing has to be stored.
    pub fn new(state: &str, seed: &[u8; 32]) -> Self {
        let derived = |what: &[u8]| json::encode(digest(&SHA256, &[what, seed].concat()));
        Self { state: state.to_owned(), nonce: derived(b"oidc nonce"), verifier: Zeroizing::new(derived(b"oidc verifier")) }
    }

    /// What the ID token has to repeat.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// What proves that we began this login (RFC 7636 §4.1): 43 characters.
    pub fn verifier(&self) -> &str {
        &self.verifier
    }

    fn challenge(&self) -> String {
        json::encode(digest(&SHA256, self.verifier.as_bytes()))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("state", &self.state).finish_non_exhaustive()
    }
}

/// What users are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Our id there.
    pub client_id: &'a str,
    /// Where the answer goes.
    pub redirect_uri: &'a str,
    /// Scopes beside `openid`.
    pub scopes: &'a [String],
    /// How users should sign in, the preferred first.
    pub contexts: &'a [String],
    /// How long ago they may have signed in, in seconds.
    pub max_age: Option<u32>,
    /// Whether they have to sign in anew.
    pub anew: bool,
    /// Who it probably is.
    pub hint: Option<&'a str>,
    /// What this OP wants beside: names and values.
    pub more: &'a [(String, String)],
}

/// The address to which a browser is sent (§3.1.2.1).
pub fn authorization_url(op: &Metadata, login: &Login, wish: &Wish<'_>) -> String {
    let mut url = op.authorization_endpoint.clone();
    let scope = std::iter::once("openid").chain(wish.scopes.iter().map(String::as_str).filter(|scope| *scope != "openid"));
    {
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", wish.client_id)
            .append_pair("redirect_uri", wish.redirect_uri)
            .append_pair("scope", &scope.collect::<Vec<_>>().join(" "))
            .append_pair("state", &login.state)
            .append_pair("nonce", &login.nonce)
            .append_pair("code_challenge", &login.challenge())
            .append_pair("code_challenge_method", "S256");
        if !wish.contexts.is_empty() {
            query.append_pair("acr_values", &wish.contexts.join(" "));
        }
        match (wish.anew, wish.max_age) {
            // With it the answer has to say when they signed in; a mere `prompt` could be taken out of the address.
            (true, _) => drop(query.append_pair("prompt", "login").append_pair("max_age", "0")),
            (false, Some(age)) => drop(query.append_pair("max_age", &age.to_string())),
            (false, None) => {}
        }
        if let Some(hint) = wish.hint {
            query.append_pair("login_hint", hint);
        }
        query.extend_pairs(wish.more);
    }
    url.into()
}

/// Names that [`authorization_url`] writes itself.
pub const OWN_PARAMETERS: [&str; 13] = [
    "response_type",
    "response_mode",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "acr_values",
    "max_age",
    "request",
    "request_uri",
];

/// What a browser brought back (§3.1.2.5, §3.1.2.6).
pub struct Answer {
    /// Which login it says to answer.
    pub state: String,
    /// Who it says to be from.
    pub issuer: Option<String>,
    /// The code, or what the OP reports.
    pub outcome: Result<Zeroizing<String>, ProviderError>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

/// A failure that an OP reports (RFC 6749 §4.1.2.1, §5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderError {
    /// Its code.
    pub code: String,
    /// What it says to developers.
    pub description: Option<String>,
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(&self.code))?;
        self.description.as_deref().map_or(Ok(()), |text| write!(f, ", it says {}", quoted(text)))
    }
}

impl ProviderError {
    /// The rejection that it comes to.
    pub fn rejection(&self) -> Rejection {
        Rejection::new("answer", Reason::ProviderError, format!("the OP reports {self}"))
    }

    /// Whether what was exchanged is invalid, expired, withdrawn or another client's (RFC 6749 §5.2), and not merely refused now.
    pub fn is_over(&self) -> bool {
        self.code == "invalid_grant"
    }
}

impl Answer {
    /// Reads the query of the redirect URI.
    ///
    /// # Errors
    /// A [`Rejection`].
    pub fn read<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Rejection> {
        let refuse = |reason, detail: &str| Rejection::new("answer", reason, detail);
        let (mut state, mut code, mut issuer, mut error, mut description) = (None, None, None, None, None);
        for (name, value) in pairs {
            let place = match name {
                "state" => &mut state,
                "code" => &mut code,
                "iss" => &mut issuer,
                "error" => &mut error,
                "error_description" => &mut description,
                // RFC 6749 §4.1.2: others are ignored.
                _ => continue,
            };
            // RFC 6749 §3.1: a parameter occurs once.
            if place.replace(value).is_some() {
                return Err(refuse(Reason::Ambiguous, "a parameter occurs twice"));
            }
        }
        let state = state.filter(|state| !state.is_empty()).ok_or_else(|| refuse(Reason::Malformed, "`state` is missing"))?;
        let outcome = match (code, error) {
            (Some(code), None) if code.is_empty() || code.len() > MAX_CODE => {
                return Err(refuse(Reason::Limits, "the code is too short or too long"));
            }
            (Some(code), None) => Ok(Zeroizing::new(code.to_owned())),
            (None, Some(code)) => Err(ProviderError { code: code.to_owned(), description: description.map(str::to_owned) }),
            (Some(_), Some(_)) => return Err(refuse(Reason::Ambiguous, "a code and a failure")),
            (None, None) => return Err(refuse(Reason::Malformed, "neither a code nor a failure")),
        };
        Ok(Self { state: state.to_owned(), issuer: issuer.map(str::to_owned), outcome })
    }

    /// Holds who it says to be from against who was asked (RFC 9207 §2.4).
    ///
    /// # Errors
    /// A [`Rejection`].
    pub fn check_issuer(&self, op: &Metadata) -> Result<(), Rejection> {
        match &self.issuer {
            Some(found) if *found == op.issuer => Ok(()),
            None if !op.answers_name_issuer => Ok(()),
            found => {
                let found = found.as_deref().map_or("none".to_owned(), quoted);
                Err(Rejection::new("answer issuer", Reason::WrongIssuer, format!("expected {}, found {found}", quoted(&op.issuer))))
            }
        }
    }
}

/// What is exchanged for a code: fields of a form (§3.1.3.1, RFC 7636 §4.5).
pub fn exchange<'a>(code: &'a str, redirect_uri: &'a str, login: &'a Login) -> [(&'static str, &'a str); 4] {
    [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect_uri), ("code_verifier", login.verifier())]
}

/// What a refresh token is exchanged by: fields of a form (§12.1, RFC 6749 §6).
pub fn refresh(refresh_token: &str) -> [(&'static str, &str); 2] {
    [("grant_type", "refresh_token"), ("refresh_token", refresh_token)]
}

/// What a refresh token is taken back by: fields of a form (RFC 7009 §2.1).
pub fn revocation(refresh_token: &str) -> [(&'static str, &str); 2] {
    [("token", refresh_token), ("token_type_hint", "refresh_token")]
}

/// What an OP gives for a code (§3.1.3.3).
pub struct Tokens {
    /// The ID token, not verified yet.
    pub id_token: Zeroizing<String>,
    /// The access token.
    pub access_token: Zeroizing<String>,
    /// What is exchanged later on, if it gave one.
    pub refresh_token: Option<Zeroizing<String>>,
}

/// What an OP gives for a refresh token (§12.2).
pub struct Refreshed {
    /// The ID token, not verified yet, if it gave one.
    pub id_token: Option<Zeroizing<String>>,
    /// The access token.
    pub access_token: Zeroizing<String>,
    /// What takes the place of the refresh token that was exchanged; without it, that one stays.
    pub refresh_token: Option<Zeroizing<String>>,
}

impl fmt::Debug for Refreshed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refreshed").finish_non_exhaustive()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads a token response. `success` says whether its status was 200, `media_type` is its `Content-Type`.
    ///
    /// # Errors
    /// A [`Rejection`].
    pub fn parse(success: bool, media_type: &str, octets: &[u8]) -> Result<Self, Rejection> {
        let given = Refreshed::parse(success, media_type, octets)?.map_err(|error| of_tokens(&error))?;
        let id_token = given.id_token.ok_or_else(|| refuse(Reason::Malformed, "`id_token` is missing or no token"))?;
        Ok(Self { id_token, access_token: given.access_token, refresh_token: given.refresh_token })
    }
}

impl Refreshed {
    /// Reads the answer to a refresh token. `Ok(Err(_))` is what the OP reports: [`ProviderError::is_over`] tells whether the
    /// token is worth nothing any more.
    ///
    /// # Errors
    /// A [`Rejection`].
    pub fn parse(success: bool, media_type: &str, octets: &[u8]) -> Result<Result<Self, ProviderError>, Rejection> {
        if octets.len() > MAX_TOKEN_RESPONSE {
            return Err(refuse(Reason::Limits, "it is too long"));
        }
        if !is_json(media_type) {
            return Err(refuse(Reason::Malformed, "it is not JSON by its media type"));
        }
        // What a parser says may quote a token.
        let object = json::object(octets).map_err(|_| refuse(Reason::Malformed, "it is not one JSON object"))?;
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        if !success || object.contains_key("error") {
            let code = text("error").ok_or_else(|| refuse(Reason::Malformed, "it reports a failure, but not which"))?;
            return Ok(Err(ProviderError { code: code.to_owned(), description: text("error_description").map(str::to_owned) }));
        }
        // RFC 6749 §5.1: without regard to case.
        if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
            return Err(refuse(Reason::Malformed, "`token_type` is not Bearer"));
        }
        // What is there and no token is no absence.
        let token = |name: &str, detail: &str| {
            let Some(value) = object.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
            let token = value.as_str().filter(|token| !token.is_empty() && token.len() <= MAX_ACCESS_TOKEN);
            let token = token.filter(|token| token.bytes().all(|octet| (0x21..0x7f).contains(&octet)));
            token.map(|token| Some(Zeroizing::new(token.to_owned()))).ok_or_else(|| refuse(Reason::Malformed, detail))
        };
        let access_token = "`access_token` is missing or no token";
        Ok(Ok(Self {
            id_token: token("id_token", "`id_token` is missing or no token")?,
            access_token: token("access_token", access_token)?.ok_or_else(|| refuse(Reason::Malformed, access_token))?,
            refresh_token: token("refresh_token", "`refresh_token` is no token")?,
        }))
    }
}

fn refuse(reason: Reason, detail: &str) -> Rejection {
    Rejection::new("token response", reason, detail)
}

/// The rejection that an OP's report at the token endpoint comes to.
pub fn of_tokens(error: &ProviderError) -> Rejection {
    Rejection::new("token response", Reason::ProviderError, format!("the OP reports {error}"))
}

/// Whether a media type is that of JSON.
pub(crate) fn is_json(media_type: &str) -> bool {
    media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn op(names_issuer: bool) -> Metadata {
        let url = |text: &str| Url::parse(text).unwrap();
        Metadata {
            issuer: "https://op.example.com".to_owned(),
            authorization_endpoint: url("https://op.example.com/authorize?tenant=n"),
            token_endpoint: url("https://op.example.com/token"),
            jwks_uri: url("https://op.example.com/keys"),
            userinfo_endpoint: None,
            end_session_endpoint: None,
            introspection_endpoint: None,
            revocation_endpoint: None,
            answers_name_issuer: names_issuer,
            id_token_algorithms: Vec::new(),
        }
    }

    fn wish<'a>() -> Wish<'a> {
        Wish {
            client_id: "gw",
            redirect_uri: "https://login.example.com/oidc/rp/callback/op",
            scopes: &[],
            contexts: &[],
            max_age: None,
            anew: false,
            hint: None,
            more: &[],
        }
    }

    #[test]
    fn the_verifier_is_that_of_the_challenge_and_never_in_the_address() {
        let login = Login::new("s1", &[7; 32]);
        let address = authorization_url(&op(false), &login, &Wish { anew: true, ..wish() });
        let url = Url::parse(&address).unwrap();
        let found = |name: &str| url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned());
        assert_eq!(found("tenant").as_deref(), Some("n"));
        assert_eq!(found("scope").as_deref(), Some("openid"));
        assert_eq!(found("prompt").as_deref(), Some("login"));
        assert_eq!(found("max_age").as_deref(), Some("0"));
        assert_eq!(found("code_challenge").unwrap(), json::encode(digest(&SHA256, login.verifier().as_bytes())));
        assert!(!address.contains(login.verifier()) && login.verifier().len() == 43);
        assert_ne!(login.nonce(), login.verifier());
        assert_ne!(Login::new("s1", &[8; 32]).nonce(), login.nonce());
        assert!(!format!("{login:?}").contains(login.verifier()));
    }

    fn read(query: &str) -> Result<Answer, Rejection> {
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Answer::read(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    #[test]
    fn an_answer_is_a_code_or_a_failure_and_each_parameter_occurs_once() {
        assert_eq!(read("code=c&state=s&other=1&other=2").unwrap().outcome.unwrap().as_str(), "c");
        assert_eq!(read("error=access_denied&state=s").unwrap().outcome.unwrap_err().code, "access_denied");
        for (query, reason) in [
            ("code=c&state=s&state=t", Reason::Ambiguous),
            ("code=c&code=d&state=s", Reason::Ambiguous),
            ("code=c&state=s&iss=a&iss=b", Reason::Ambiguous),
            ("code=c&error=e&state=s", Reason::Ambiguous),
            ("code=c", Reason::Malformed),
            ("code=c&state=", Reason::Malformed),
            ("state=s", Reason::Malformed),
            ("", Reason::Malformed),
            ("code=&state=s", Reason::Limits),
        ] {
            assert_eq!(read(query).unwrap_err().reason, reason, "{query}");
        }
    }

    #[test]
    fn an_answer_of_another_op_is_refused_and_one_that_must_say_so_says_it() {
        let of = |query: &str, names: bool| read(query).unwrap().check_issuer(&op(names)).map_err(|rejection| rejection.reason);
        let own = "code=c&state=s&iss=https%3A%2F%2Fop.example.com";
        assert_eq!((of(own, true), of(own, false), of("code=c&state=s", false)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(of("code=c&state=s", true), Err(Reason::WrongIssuer));
        for names in [true, false] {
            assert_eq!(of("code=c&state=s&iss=https%3A%2F%2Fevil.example", names), Err(Reason::WrongIssuer));
            assert_eq!(of("error=x&state=s&iss=", names), Err(Reason::WrongIssuer));
        }
    }

    #[test]
    fn a_token_response_is_read_strictly_and_told_nowhere() {
        let good = r#"{"access_token":"at","token_type":"bearer","id_token":"a.b.c","expires_in":300}"#;
        let parse =
            |success, media_type, text: &str| Tokens::parse(success, media_type, text.as_bytes()).map(|tokens| tokens.id_token.to_string());
        assert_eq!(parse(true, "application/json; charset=utf-8", good).unwrap(), "a.b.c");
        for (success, media_type, text, reason) in [
            (true, "text/html", good, Reason::Malformed),
            (false, "application/json", good, Reason::Malformed),
            (true, "application/json", r#"{"access_token":"secret","token_type":"Bearer"}"#, Reason::Malformed),
            (
                true,
                "application/json",
                r#"{"access_token":"secret","id_token":"x","id_token":"y","token_type":"Bearer"}"#,
                Reason::Malformed,
            ),
            (true, "application/json", r#"{"access_token":"secret","id_token":"x","token_type":"mac"}"#, Reason::Malformed),
            (true, "application/json", r#"{"access_token":"secret\r\n","id_token":"x","token_type":"bearer"}"#, Reason::Malformed),
            (
                true,
                "application/json",
                r#"{"error":"invalid_grant","access_token":"secret","id_token":"x","token_type":"bearer"}"#,
                Reason::ProviderError,
            ),
            (false, "application/json", r#"{"error":"invalid_grant"}"#, Reason::ProviderError),
            (true, "application/json", "<html>secret", Reason::Malformed),
        ] {
            let rejection = parse(success, media_type, text).unwrap_err();
            assert_eq!(rejection.reason, reason, "{text}");
            assert!(!rejection.to_string().contains("secret"));
        }
        let kept = good.replace("300", r#"300,"refresh_token":"rt""#);
        let tokens = Tokens::parse(true, "application/json", kept.as_bytes()).unwrap();
        assert_eq!(tokens.refresh_token.as_deref().map(String::as_str), Some("rt"));
        assert!(!format!("{tokens:?}").contains("rt\""));
        let long = format!("{{\"id_token\":\"{}\"}}", "x".repeat(MAX_TOKEN_RESPONSE));
        assert_eq!(parse(true, "application/json", &long).unwrap_err().reason, Reason::Limits);
    }

    #[test]
    fn a_refresh_token_is_over_by_one_word_alone_and_may_be_replaced() {
        let parse = |success, text: &str| Refreshed::parse(success, "application/json", text.as_bytes());
        assert_eq!(refresh("r t"), [("grant_type", "refresh_token"), ("refresh_token", "r t")]);
        let plain = parse(true, r#"{"access_token":"at","token_type":"Bearer","id_token":null}"#).unwrap().unwrap();
        assert!(plain.id_token.is_none() && plain.refresh_token.is_none());
        let rotated = parse(true, r#"{"access_token":"at","token_type":"Bearer","refresh_token":"r2","id_token":"a.b.c"}"#);
        let rotated = rotated.unwrap().unwrap();
        assert_eq!(rotated.refresh_token.as_deref().map(String::as_str), Some("r2"));
        assert!(!format!("{rotated:?}").contains("r2"));
        for (code, over) in
            [("invalid_grant", true), ("invalid_client", false), ("invalid_grant ", false), ("temporarily_unavailable", false)]
        {
            let error = parse(false, &format!(r#"{{"error":"{code}"}}"#)).unwrap().unwrap_err();
            assert_eq!((error.is_over(), of_tokens(&error).reason), (over, Reason::ProviderError), "{code}");
        }
        for bad in [
            r#"{"access_token":"at","token_type":"Bearer","refresh_token":7}"#,
            r#"{"access_token":"at","token_type":"Bearer","refresh_token":""}"#,
            r#"{"access_token":"at","token_type":"Bearer","id_token":""}"#,
            r#"{"token_type":"Bearer","refresh_token":"r2"}"#,
            r#"{"access_token":"at","refresh_token":"r2"}"#,
        ] {
            assert_eq!(parse(true, bad).unwrap_err().reason, Reason::Malformed, "{bad}");
        }
        assert_eq!(parse(false, "{}").unwrap_err().reason, Reason::Malformed);
    }
}
