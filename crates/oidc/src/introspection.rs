//! Asking an authorization server what a bearer token is worth (RFC 7662), as a resource server.
//!
//! What an attacker tries: a token that was made for another resource, one that lacks a scope, one that is over though the
//! server still calls it active; and, where he can answer in its place, an answer that means yes to a careless reader:
//! `"active": "true"`, `"active": 1`, or the word twice.

use serde_json::{Map, Value};

use crate::json;
use crate::reason::{Reason, Rejection, quoted};
use crate::rp::is_json;
use crate::userinfo::texts;

/// Longest answer we read, in octets.
pub const MAX_ANSWER: usize = 64 * 1024;
/// Longest token we ask about, in octets.
pub const MAX_TOKEN: usize = 16 * 1024;
/// Longest subject, in octets.
const MAX_SUBJECT: usize = 255;

/// What is asked: the fields of a form (§2.1).
pub fn question(token: &str) -> [(&'static str, &str); 2] {
    [("token", token), ("token_type_hint", "access_token")]
}

/// Whether this can be a bearer token (RFC 6750 §2.1: `b64token`).
pub fn is_bearer(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    (1..=MAX_TOKEN).contains(&token.len())
        && !body.is_empty()
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'))
}

/// What an answer is held against.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Who issued the token, if that is demanded.
    pub issuer: Option<&'a str>,
    /// For whom it is: one of these; empty for anybody.
    pub audiences: &'a [String],
    /// Scopes, all of which are demanded.
    pub scopes: &'a [String],
    /// How far clocks may differ, seconds.
    pub skew: u32,
}

/// What the server says of an active token.
#[derive(Debug, Clone, PartialEq)]
pub struct Active {
    claims: Map<String, Value>,
    /// When it is over, seconds since 1970.
    pub expires: Option<i64>,
}

/// Reads an answer of status 200 (§2.2). `None`: the server does not know the token, or not any more.
///
/// # Errors
/// A [`Rejection`].
pub fn read(media_type: &str, octets: &[u8], expected: &Expected<'_>, now: i64) -> Result<Option<Active>, Rejection> {
    let malformed = |detail: &str| Rejection::new("introspection", Reason::Malformed, detail);
    if octets.len() > MAX_ANSWER {
        return Err(Rejection::new("introspection", Reason::Limits, "the answer is too long"));
    }
    if !is_json(media_type) {
        return Err(malformed("the answer is not JSON by its media type"));
    }
    let claims = json::object(octets).map_err(|_| malformed("the answer is not one JSON object"))?;
    match claims.get("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Ok(None),
        Some(_) | None => return Err(malformed("`active` is neither true nor false")),
    }
    let time = |name: &str| match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or_else(|| malformed("a time is no number")),
    };
    let skew = i64::from(expected.skew);
    let expires = time("exp")?;
    // What is over is over, whatever the server still thinks; no skew, for its own clock has said `active`.
    if expires.is_some_and(|end| end <= now) {
        return Err(Rejection::new("expiry", Reason::Expired, "the token is over"));
    }
    for name in ["nbf", "iat"] {
        if time(name)?.is_some_and(|from| from > now.saturating_add(skew)) {
            return Err(Rejection::new("not before", Reason::NotYetValid, format!("`{name}` lies ahead")));
        }
    }
    if let Some(issuer) = expected.issuer
        && claims.get("iss").and_then(Value::as_str) != Some(issuer)
    {
        let found = claims.get("iss").and_then(Value::as_str).map_or("none".to_owned(), quoted);
        return Err(Rejection::new("issuer", Reason::WrongIssuer, format!("expected {}, found {found}", quoted(issuer))));
    }
    let audiences = claims.get("aud").map(texts).unwrap_or_default();
    if !expected.audiences.is_empty() && !audiences.iter().any(|found| expected.audiences.contains(found)) {
        return Err(Rejection::new("audience", Reason::WrongAudience, "the token is for another resource"));
    }
    let granted: Vec<&str> = claims.get("scope").and_then(Value::as_str).unwrap_or_default().split(' ').collect();
    if let Some(missing) = expected.scopes.iter().find(|scope| !granted.contains(&scope.as_str())) {
        return Err(Rejection::new("scope", Reason::MissingScope, format!("{} is not granted", quoted(missing))));
    }
    // A token bound to a key is worth nothing without the proof, which we do not read (RFC 8705 §3.2, RFC 9449 §6).
    if claims.contains_key("cnf") {
        return Err(Rejection::new("confirmation", Reason::WrongType, "the token is bound to a key"));
    }
    if claims.get("token_type").and_then(Value::as_str).is_some_and(|kind| !is_access_token(kind)) {
        return Err(Rejection::new("token type", Reason::WrongType, "it is no bearer token"));
    }
    Ok(Some(Active { claims, expires }))
}

/// §2.2 names the kinds of RFC 6749 §7.1; some servers write `access_token`.
fn is_access_token(kind: &str) -> bool {
    kind.eq_ignore_ascii_case("bearer") || kind.eq_ignore_ascii_case("access_token")
}

impl Active {
    /// The one text of a claim that names somebody. `None` where it is missing, several, or no name.
    pub fn name(&self, claim: &str) -> Option<String> {
        let mut found = self.claims.get(claim).filter(|value| value.is_string()).map(texts)?.into_iter();
        let name = found.next()?;
        ((1..=MAX_SUBJECT).contains(&name.len()) && !name.chars().any(char::is_control)).then_some(name)
    }

    /// Whether a claim is the value `true`; the text is none.
    pub fn is_true(&self, claim: &str) -> bool {
        self.claims.get(claim) == Some(&Value::Bool(true))
    }

    /// The texts of a claim.
    pub fn texts(&self, claim: &str) -> Vec<String> {
        self.claims.get(claim).map(texts).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn reading(text: &str) -> Result<Option<Active>, Reason> {
        let (audiences, scopes) = (["app".to_owned()], ["read".to_owned(), "write".to_owned()]);
        let expected = Expected { issuer: Some("https://as.example.com"), audiences: &audiences, scopes: &scopes, skew: 60 };
        read("application/json", text.as_bytes(), &expected, NOW).map_err(|rejection| rejection.reason)
    }

    fn active(more: &str) -> String {
        format!(r#"{{"active":true,"iss":"https://as.example.com","aud":"app","scope":"write read","sub":"ada","exp":1800000300{more}}}"#)
    }

    #[test]
    fn an_active_token_says_whose_it_is() {
        let token = reading(&active(r#","client_id":"cli","token_type":"Bearer""#)).unwrap().unwrap();
        assert_eq!((token.name("sub").as_deref(), token.expires), (Some("ada"), Some(NOW + 300)));
        assert_eq!((token.name("username"), token.texts("scope")), (None, vec!["write read".to_owned()]));
        assert_eq!(reading(r#"{"active":false}"#), Ok(None));
    }

    #[test]
    fn what_only_looks_like_yes_is_no() {
        for text in [r#"{"active":"true"}"#, r#"{"active":1}"#, r#"{"active":null}"#, "{}", "true", r#"{"active":false,"active":true}"#, ""]
        {
            assert_eq!(reading(text), Err(Reason::Malformed), "{text}");
        }
        let of = |from: &str, to: &str| reading(&active("").replace(from, to)).map(drop).unwrap_err();
        assert_eq!(of("1800000300", "1800000000"), Reason::Expired);
        assert_eq!(of("1800000300", "\"never\""), Reason::Malformed);
        assert_eq!(of("as.example.com", "evil.example"), Reason::WrongIssuer);
        assert_eq!(of("\"app\"", "\"other\""), Reason::WrongAudience);
        assert_eq!(of("\"app\"", "[\"other\",{\"app\":1}]"), Reason::WrongAudience);
        assert_eq!(of("write read", "write reader"), Reason::MissingScope);
        assert_eq!(reading(&active(r#","nbf":1800000061"#)).unwrap_err(), Reason::NotYetValid);
        assert_eq!(reading(&active(r#","cnf":{"jkt":"x"}"#)).unwrap_err(), Reason::WrongType);
        assert_eq!(reading(&active(r#","token_type":"refresh_token""#)).unwrap_err(), Reason::WrongType);
        assert_eq!(
            read("text/html", active("").as_bytes(), &Expected { issuer: None, audiences: &[], scopes: &[], skew: 0 }, NOW)
                .unwrap_err()
                .reason,
            Reason::Malformed
        );
        assert_eq!(reading(&" ".repeat(MAX_ANSWER + 1)).unwrap_err(), Reason::Limits);
    }

    #[test]
    fn a_bearer_token_has_the_letters_of_one() {
        for token in ["a", "eyJ.a-b_c~d+e/f", "abc=="] {
            assert!(is_bearer(token), "{token}");
        }
        for token in ["", "=", "a b", "a\tb", "a,b", "a=b", "ä", "a\"", &"x".repeat(MAX_TOKEN + 1)] {
            assert!(!is_bearer(token), "{token}");
        }
    }

    #[test]
    fn a_name_is_one_text() {
        let token = |sub: &str| reading(&active("").replace("\"ada\"", sub)).unwrap().unwrap().name("sub");
        assert_eq!((token("[\"ada\"]"), token("7"), token("\"\""), token("\"a\\nb\"")), (None, None, None, None));
        for (seen, is_true) in [("true", true), ("false", false), ("\"true\"", false), ("1", false), ("null", false)] {
            let token = reading(&active(&format!(",\"email_verified\":{seen}"))).unwrap().unwrap();
            assert_eq!((token.is_true("email_verified"), token.is_true("other")), (is_true, false), "{seen}");
        }
    }
}
