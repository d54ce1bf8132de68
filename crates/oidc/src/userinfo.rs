//! The UserInfo response (OpenID Connect Core §5.3).
//!
//! An attacker swaps one user's answer for another's: the subject has to be that of the ID token (§5.3.2), or the answer is
//! worth nothing.

use serde_json::{Map, Value};

use crate::jose::{Algorithm, IssuerKeys};
use crate::json;
use crate::reason::{Reason, Rejection};
use crate::rp::is_json;

/// Longest answer we read, in octets.
pub const MAX_USERINFO: usize = 64 * 1024;

/// What an OP says of a user beside the ID token.
#[derive(Debug, Clone, PartialEq)]
pub struct UserInfo(Map<String, Value>);

/// What an answer is held against.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The OP's issuer.
    pub issuer: &'a str,
    /// Our id there.
    pub client_id: &'a str,
    /// The subject of the ID token.
    pub subject: &'a str,
    /// Algorithms this OP may sign with.
    pub algorithms: &'a [Algorithm],
}

impl UserInfo {
    /// Reads an answer: JSON, or a JWT signed by the OP.
    ///
    /// # Errors
    /// A [`Rejection`].
    pub fn read(media_type: &str, octets: &[u8], keys: &IssuerKeys, expected: &Expected<'_>) -> Result<Self, Rejection> {
        let refuse = |reason, detail: &str| Rejection::new("userinfo", reason, detail);
        if octets.len() > MAX_USERINFO {
            return Err(refuse(Reason::Limits, "it is too long"));
        }
        let kind = media_type.split(';').next().unwrap_or_default().trim();
        let object = if is_json(media_type) {
            json::object(octets).map_err(|_| refuse(Reason::Malformed, "it is not one JSON object"))?
        } else if kind.eq_ignore_ascii_case("application/jwt") {
            let token = std::str::from_utf8(octets).map_err(|_| refuse(Reason::Malformed, "it is no token"))?.trim_ascii();
            let verified = keys.verify(token, &["JWT"], expected.algorithms).map_err(|why| Rejection::of_token(&why))?;
            signed_for(verified.value(), expected)?;
            verified.value().clone()
        } else {
            return Err(refuse(Reason::Malformed, "it is neither JSON nor a JWT by its media type"));
        };
        if object.get("sub").and_then(Value::as_str) != Some(expected.subject) {
            return Err(Rejection::new("userinfo subject", Reason::WrongSubject, "it is about somebody else than the ID token"));
        }
        Ok(Self(object))
    }

    /// A claim.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

/// §5.3.2: a signed answer says by whom and for whom it is. One with times or a nonce is no UserInfo, but an ID token that
/// somebody put in its place.
fn signed_for(object: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), Rejection> {
    let is = |value: &Value, wanted: &str| value.as_str() == Some(wanted);
    if !object.get("iss").is_some_and(|issuer| is(issuer, expected.issuer)) {
        return Err(Rejection::new("userinfo issuer", Reason::WrongIssuer, "it is not signed by this OP for itself"));
    }
    let ours = match object.get("aud") {
        Some(Value::Array(all)) => all.iter().any(|one| is(one, expected.client_id)),
        Some(one) => is(one, expected.client_id),
        None => false,
    };
    if !ours {
        return Err(Rejection::new("userinfo audience", Reason::WrongAudience, "it is not for us"));
    }
    match object.contains_key("nonce") {
        true => Err(Rejection::new("userinfo", Reason::WrongType, "it is an ID token")),
        false => Ok(()),
    }
}

/// The texts of a claim: one, or several of a list; a number or a truth is written as JSON does. What is built of parts has none.
pub fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(all) => all.iter().filter_map(text).collect(),
        one => text(one).into_iter().collect(),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::id_token::tests::{ISSUER, Op};

    const EXPECTED: Expected<'_> = Expected { issuer: ISSUER, client_id: "gw", subject: "ada", algorithms: &[Algorithm::Es256] };

    #[test]
    fn the_subject_is_that_of_the_id_token() {
        let op = Op::new(Algorithm::Es256);
        let read = |media_type: &str, text: &str| {
            UserInfo::read(media_type, text.as_bytes(), &op.keys(), &EXPECTED).map(|info| info.0).map_err(|rejection| rejection.reason)
        };
        assert!(read("application/json", r#"{"sub":"ada","groups":["a"]}"#).is_ok());
        for (media_type, text, reason) in [
            ("application/json", r#"{"sub":"mallory"}"#, Reason::WrongSubject),
            ("application/json", r#"{"email":"ada@example.com"}"#, Reason::WrongSubject),
            ("application/json", r#"{"sub":"mallory","sub":"ada"}"#, Reason::Malformed),
            ("application/json", r#"[{"sub":"ada"}]"#, Reason::Malformed),
            ("text/html", r#"{"sub":"ada"}"#, Reason::Malformed),
            ("application/jwt", r#"{"sub":"ada"}"#, Reason::Malformed),
        ] {
            assert_eq!(read(media_type, text), Err(reason), "{text}");
        }
        let signed = |claims: Value| read("application/jwt", &op.sign(Value::Null, &claims));
        assert!(signed(json!({ "iss": ISSUER, "aud": "gw", "sub": "ada" })).is_ok());
        assert_eq!(signed(json!({ "iss": ISSUER, "aud": "other", "sub": "ada" })), Err(Reason::WrongAudience));
        assert_eq!(signed(json!({ "iss": "https://evil.example", "aud": "gw", "sub": "ada" })), Err(Reason::WrongIssuer));
        assert_eq!(signed(json!({ "iss": ISSUER, "aud": "gw", "sub": "ada", "nonce": "n" })), Err(Reason::WrongType));
        assert_eq!(read("application/json", &" ".repeat(MAX_USERINFO + 1)), Err(Reason::Limits));
    }

    #[test]
    fn claims_have_texts() {
        assert_eq!(texts(&json!(["a", 7, {"b": 1}, null, true])), ["a", "7", "true"]);
        assert_eq!(texts(&json!("a")), ["a"]);
        assert!(texts(&json!({ "a": "b" })).is_empty());
    }
}
