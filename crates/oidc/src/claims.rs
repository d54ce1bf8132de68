//! What a token says: issuer, audience, subject, times, and the rest (RFC 7519 §4, RFC 8725 §3.8–3.10).
//!
//! An attacker presents a token that was made for somebody else, that is over, or whose claims have a type
//! that a careless reader coerces.

use serde_json::{Map, Value};

use crate::jose::Error;

/// What a token says. By itself it proves nothing; see [`crate::jose::Verified`].
#[derive(Debug, Clone, PartialEq)]
pub struct Claims {
    /// `iss`.
    pub issuer: String,
    /// `aud`; never empty in a verified token.
    pub audience: Vec<String>,
    /// `sub`.
    pub subject: String,
    /// `exp`, seconds since 1970.
    pub expires: i64,
    /// `nbf`, seconds since 1970.
    pub not_before: Option<i64>,
    /// `iat`, seconds since 1970.
    pub issued_at: Option<i64>,
    /// `jti`.
    pub id: Option<String>,
    /// All other claims.
    pub other: Map<String, Value>,
}

/// The claims that have fields of their own.
pub(crate) const REGISTERED: [&str; 7] = ["iss", "aud", "sub", "exp", "nbf", "iat", "jti"];

impl Claims {
    /// The claims every token has.
    pub fn new(issuer: &str, audience: &str, subject: &str, expires: i64) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audience: vec![audience.to_owned()],
            subject: subject.to_owned(),
            expires,
            not_before: None,
            issued_at: None,
            id: None,
            other: Map::new(),
        }
    }

    pub(crate) fn write(&self) -> Result<Vec<u8>, Error> {
        if let Some(name) = REGISTERED.into_iter().find(|name| self.other.contains_key(*name)) {
            return Err(Error::Claim(name));
        }
        let mut object = self.other.clone();
        object.insert("iss".into(), self.issuer.clone().into());
        object.insert("sub".into(), self.subject.clone().into());
        let audience = match self.audience.as_slice() {
            [] => return Err(Error::Claim("aud")),
            [one] => one.clone().into(),
            several => several.into(),
        };
        object.insert("aud".into(), audience);
        object.insert("exp".into(), self.expires.into());
        let optional = [("nbf", self.not_before.map(Value::from)), ("iat", self.issued_at.map(Value::from))];
        let optional = optional.into_iter().chain([("jti", self.id.clone().map(Value::from))]);
        object.extend(optional.filter_map(|(name, value)| Some((name.to_owned(), value?))));
        serde_json::to_vec(&object).map_err(|_| Error::Json)
    }

    pub(crate) fn read(mut object: Map<String, Value>) -> Result<Self, Error> {
        let expires = time(&mut object, "exp")?.ok_or(Error::Claim("exp"))?;
        let audience = match object.remove("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) if !several.is_empty() => several
                .into_iter()
                .map(|one| if let Value::String(one) = one { Ok(one) } else { Err(Error::Claim("aud")) })
                .collect::<Result<_, _>>()?,
            _ => return Err(Error::Claim("aud")),
        };
        Ok(Self {
            issuer: text(&mut object, "iss")?.ok_or(Error::Claim("iss"))?,
            audience,
            subject: text(&mut object, "sub")?.ok_or(Error::Claim("sub"))?,
            expires,
            not_before: time(&mut object, "nbf")?,
            issued_at: time(&mut object, "iat")?,
            id: text(&mut object, "jti")?,
            other: object,
        })
    }

    pub(crate) fn check(&self, expected: &Expected<'_>, now: i64) -> Result<(), Error> {
        let skew = i64::from(expected.skew);
        if self.issuer != expected.issuer {
            return Err(Error::Issuer);
        }
        if !self.audience.iter().any(|audience| audience == expected.audience) {
            return Err(Error::Audience);
        }
        // RFC 7519 §4.1.4: on or after this time it must not be accepted.
        if now >= self.expires.saturating_add(skew) {
            return Err(Error::Expired);
        }
        let latest = now.saturating_add(skew);
        if self.not_before.is_some_and(|from| latest < from) || self.issued_at.is_some_and(|from| latest < from) {
            return Err(Error::NotYetValid);
        }
        Ok(())
    }
}

/// What a verifier demands.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The issuer, octet by octet.
    pub issuer: &'a str,
    /// One of the audiences must be this.
    pub audience: &'a str,
    /// How far clocks may differ, seconds.
    pub skew: u32,
}

/// Removes a text claim that must not be empty.
fn text(object: &mut Map<String, Value>, name: &'static str) -> Result<Option<String>, Error> {
    match object.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err(Error::Claim(name)),
    }
}

/// Removes a time. RFC 7519 §2 allows fractions; they are cut off.
fn time(object: &mut Map<String, Value>, name: &'static str) -> Result<Option<i64>, Error> {
    let Some(value) = object.remove(name) else { return Ok(None) };
    if let Some(seconds) = value.as_i64() {
        return Ok(Some(seconds));
    }
    // Beyond 2^53 a float is no longer a time but a way to make a token live for ever.
    let seconds = value.as_f64().filter(|seconds| seconds.abs() < 9_007_199_254_740_992.0).ok_or(Error::Claim(name))?;
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked, the fraction is to be cut off")]
    Ok(Some(seconds.floor() as i64))
}
