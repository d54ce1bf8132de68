//! HTTP Basic credentials (RFC 7617), read once and the same way by everybody.
//!
//! Proxies differ on which of two `Authorization` headers counts, so two are refused (attack 86).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::audit::Reason;
use crate::identity::password;
use crate::secret::Secret;

const BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// A name and a password as the client sent them.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The name as typed; normalise it before use.
    pub name: String,
    /// The password, in NFC.
    pub password: Secret<String>,
}

/// Whether a `Basic` credential is there at all, usable or not.
pub fn presents(headers: &HeaderMap) -> bool {
    headers.get_all(AUTHORIZATION).iter().any(|value| token(value.as_bytes()).is_some())
}

/// The credentials of a request; `Ok(None)` if it carries none of this scheme.
///
/// # Errors
/// [`Reason::DuplicateCredential`] or [`Reason::MalformedCredential`].
pub fn credentials(headers: &HeaderMap) -> Result<Option<Credentials>, Reason> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return if presents(headers) { Err(Reason::DuplicateCredential) } else { Ok(None) };
    }
    let Some(token) = token(value.as_bytes()) else { return Ok(None) };
    let octets = Secret::new(BASE64.decode(token).map_err(|_| Reason::MalformedCredential)?);
    let text = Secret::new(match std::str::from_utf8(octets.reveal()) {
        Ok(text) => text.to_owned(),
        // RFC 7617 §2.1: old clients send ISO-8859-1.
        Err(_) => octets.reveal().iter().copied().map(char::from).collect(),
    });
    let (name, secret) = text.reveal().split_once(':').ok_or(Reason::MalformedCredential)?;
    if name.is_empty() || text.reveal().chars().any(char::is_control) {
        return Err(Reason::MalformedCredential);
    }
    let password = password(secret).ok_or(Reason::MalformedCredential)?;
    Ok(Some(Credentials { name: name.to_owned(), password }))
}

/// The token after the scheme name `Basic`, compared without case.
fn token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(5)?;
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    match rest.first() {
        None => Some(rest),
        Some(b' ' | b'\t') => Some(rest.trim_ascii()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&str]) -> Result<Option<(String, String)>, Reason> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        credentials(&headers).map(|found| found.map(|c| (c.name, c.password.reveal().clone())))
    }

    #[test]
    fn vectors_of_the_reference() {
        for (value, name, password) in [
            ("Basic YWRhQG5vcnRoOnBhOnNz", "ada@north", "pa:ss"),
            ("basic   YWRhQG5vcnRoOnBhOnNz", "ada@north", "pa:ss"),
            ("BASIC xYJ1Y2phQG5vcnRoOsW8w7PFgnc=", "łucja@north", "żółw"),
            ("Basic xYJ1Y2phQG5vcnRoOsW8w7PFgnc", "łucja@north", "żółw"),
            ("Basic YWRhQG5vcnRoOg==", "ada@north", ""),
            ("Basic 6TphYg==", "é", "ab"),
        ] {
            assert_eq!(read(&[value]), Ok(Some((name.into(), password.into()))), "{value}");
        }
    }

    #[test]
    fn unusable_credentials_are_named() {
        for value in ["Basic", "Basic ", "Basic !!!!", "Basic YWRh", "Basic OnB3", "Basic YQA6Yg==", "Basic YWRhOmI= x"] {
            assert_eq!(read(&[value]), Err(Reason::MalformedCredential), "{value}");
        }
        assert_eq!(read(&["Basic YWRhOmI=", "Bearer x"]), Err(Reason::DuplicateCredential));
        assert_eq!(read(&["Bearer x"]), Ok(None));
        assert_eq!(read(&["Basically YWRhOmI="]), Ok(None));
        assert_eq!(read(&[]), Ok(None));
    }
}
