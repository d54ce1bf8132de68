//! Signing out: at the OP through the browser (RP-Initiated Logout 1.0), and here because the OP says so (Back-Channel Logout 1.0).
//!
//! What an attacker tries: an ID token where a logout token belongs, a logout token of another client, an old one once more, to
//! sign somebody out who signed in since.

use serde_json::Value;
use url::Url;

use crate::claims::{Claims, Expected as ExpectedClaims};
use crate::jose::{Algorithm, IssuerKeys, Verified};
use crate::reason::{Reason, Rejection};

/// The event that a logout token is about (§2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How long after it was issued a token counts, in seconds, whatever it says itself.
pub const FRESH: i64 = 300;
/// Longest name of a token or session, in octets.
const MAX_NAME: usize = 255;

/// What a logout token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutToken {
    /// Its name: it counts once.
    pub id: String,
    /// Whom it is about.
    pub subject: Option<String>,
    /// Which session there.
    pub session: Option<String>,
    /// When it was issued.
    pub issued_at: i64,
}

/// What a logout token is held against.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The OP's issuer.
    pub issuer: &'a str,
    /// Our id there.
    pub client_id: &'a str,
    /// Algorithms this OP may sign with.
    pub algorithms: &'a [Algorithm],
    /// How far clocks may differ, seconds.
    pub skew: u32,
}

impl Verified<LogoutToken> {
    /// What it says.
    pub fn token(&self) -> &LogoutToken {
        self.value()
    }
}

impl LogoutToken {
    /// Verifies a logout token (§2.6).
    ///
    /// # Errors
    /// A [`Rejection`]. [`Reason::UnknownKey`] may mean that the OP has changed its keys.
    pub fn verify(token: &str, keys: &IssuerKeys, expected: &Expected<'_>, now: i64) -> Result<Verified<Self>, Rejection> {
        let verified = keys.verify(token, &["logout+jwt", "JWT"], expected.algorithms).map_err(|why| Rejection::of_token(&why))?;
        verified.read(|mut object| {
            let malformed = |name: &str| Rejection::new("claims", Reason::Malformed, format!("`{name}` is missing or malformed"));
            // §2.6 (7): with a nonce it would be an ID token.
            if object.contains_key("nonce") {
                return Err(Rejection::new("nonce", Reason::WrongType, "a logout token has none"));
            }
            let about = object.get("events").and_then(Value::as_object).and_then(|events| events.get(EVENT));
            if !about.is_some_and(Value::is_object) {
                return Err(Rejection::new("events", Reason::WrongEvent, "it is about no logout"));
            }
            // `sub` is optional here; the reader of claims wants one.
            let subject = match object.remove("sub") {
                None | Some(Value::Null) => None,
                Some(Value::String(subject)) if (1..=MAX_NAME).contains(&subject.len()) => Some(subject),
                Some(_) => return Err(malformed("sub")),
            };
            object.insert("sub".to_owned(), "-".into());
            let claims = Claims::read(object).map_err(|why| Rejection::of_token(&why))?;
            let wanted = ExpectedClaims { issuer: expected.issuer, audience: expected.client_id, skew: expected.skew };
            claims.check(&wanted, now).map_err(|why| Rejection::of_token(&why))?;
            let session = match claims.other.get("sid") {
                None | Some(Value::Null) => None,
                Some(Value::String(session)) if (1..=MAX_NAME).contains(&session.len()) => Some(session.clone()),
                Some(_) => return Err(malformed("sid")),
            };
            if subject.is_none() && session.is_none() {
                return Err(malformed("sid"));
            }
            let issued_at = claims.issued_at.ok_or_else(|| malformed("iat"))?;
            if now.saturating_sub(issued_at) > FRESH.saturating_add(i64::from(expected.skew)) {
                return Err(Rejection::new("issued at", Reason::Stale, format!("issued {} s ago", now - issued_at)));
            }
            let id = claims.id.filter(|id| id.len() <= MAX_NAME).ok_or_else(|| malformed("jti"))?;
            Ok(Self { id, subject, session, issued_at })
        })
    }
}

/// The address at which a browser signs out at an OP, and from which it comes back (RP-Initiated Logout 1.0 §2).
pub fn end_session_url(endpoint: &Url, id_token: &str, client_id: &str, back: &str) -> String {
    let mut url = endpoint.clone();
    url.query_pairs_mut()
        .append_pair("id_token_hint", id_token)
        .append_pair("client_id", client_id)
        .append_pair("post_logout_redirect_uri", back);
    url.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::id_token::tests::{ISSUER, NOW, Op};

    const EXPECTED: Expected<'_> = Expected { issuer: ISSUER, client_id: "gw", algorithms: &[Algorithm::Es256], skew: 60 };

    fn claims() -> Value {
        json!({
            "iss": ISSUER, "aud": "gw", "iat": NOW, "exp": NOW + 120, "jti": "j1", "sub": "ada", "sid": "s1", "events": { EVENT: {} },
        })
    }

    #[test]
    fn a_logout_token_says_whose_session_is_over() {
        let op = Op::new(Algorithm::Es256);
        for typ in ["logout+jwt", "JWT"] {
            let header = json!({ "alg": "ES256", "kid": op.0.id(), "typ": typ });
            let token = LogoutToken::verify(&op.sign(header, &claims()), &op.keys(), &EXPECTED, NOW).unwrap();
            assert_eq!((token.token().session.as_deref(), token.token().subject.as_deref()), (Some("s1"), Some("ada")));
        }
    }

    #[test]
    fn what_is_no_logout_token_ends_nothing() {
        let op = Op::new(Algorithm::Es256);
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            claims
        };
        for (claims, reason) in [
            (with("nonce", json!("n")), Reason::WrongType),
            (with("events", json!({})), Reason::WrongEvent),
            (with("events", json!({ EVENT: true })), Reason::WrongEvent),
            (with("events", json!([EVENT])), Reason::WrongEvent),
            (with("iss", json!("https://evil.example")), Reason::WrongIssuer),
            (with("aud", json!("other")), Reason::WrongAudience),
            (with("exp", json!(NOW - 61)), Reason::Expired),
            (with("iat", json!(NOW - 361)), Reason::Stale),
            (with("iat", json!(NOW + 61)), Reason::NotYetValid),
            (with("jti", json!("")), Reason::Malformed),
            (with("jti", json!(null)), Reason::Malformed),
            (with("sub", json!(7)), Reason::Malformed),
            (with("sid", json!([1])), Reason::Malformed),
        ] {
            let found = LogoutToken::verify(&op.sign(Value::Null, &claims), &op.keys(), &EXPECTED, NOW).unwrap_err();
            assert_eq!(found.reason, reason, "{claims}");
        }
        let mut nobody = claims();
        nobody.as_object_mut().unwrap().retain(|name, _| name != "sub" && name != "sid");
        assert!(LogoutToken::verify(&op.sign(Value::Null, &nobody), &op.keys(), &EXPECTED, NOW).is_err());
    }
}
