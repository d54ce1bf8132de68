//! What an OP says about itself (OpenID Connect Discovery 1.0, RFC 8414, RFC 9207).
//!
//! An attacker who can answer once names his own token endpoint or keys, an address within our walls, or the issuer of
//! another OP. So the issuer is the one that was configured, octet by octet (§4.3), every address is `https`, and whoever calls
//! holds their hosts against what the operator allowed.

use serde_json::{Map, Value};
use url::Url;

use crate::jose::Algorithm;
use crate::json;
use crate::reason::{Reason, Rejection, quoted};

/// Longest metadata we read, in octets.
pub const MAX_METADATA: usize = 256 * 1024;
/// Longest address in them, in octets.
const MAX_ADDRESS: usize = 2048;

/// What an OP says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Its issuer.
    pub issuer: String,
    /// Where users sign in.
    pub authorization_endpoint: Url,
    /// Where codes are exchanged.
    pub token_endpoint: Url,
    /// Where its keys are.
    pub jwks_uri: Url,
    /// Where it says more about users.
    pub userinfo_endpoint: Option<Url>,
    /// Where users sign out (RP-Initiated Logout 1.0 §2.1).
    pub end_session_endpoint: Option<Url>,
    /// Where it says what a token is worth (RFC 8414 §2).
    pub introspection_endpoint: Option<Url>,
    /// Where it takes refresh tokens back (RFC 8414 §2, RFC 7009).
    pub revocation_endpoint: Option<Url>,
    /// Whether its answers say whose they are (RFC 9207 §3).
    pub answers_name_issuer: bool,
    /// Algorithms of ours that it signs ID tokens with; empty if it does not say.
    pub id_token_algorithms: Vec<Algorithm>,
}

/// Where the metadata of an issuer are (Discovery §4.1).
///
/// # Errors
/// A sentence, if the issuer cannot be one.
pub fn location(issuer: &str) -> Result<Url, String> {
    let base = endpoint(issuer)?;
    if base.query().is_some() {
        return Err("an issuer has no query".to_owned());
    }
    let whole = format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer));
    Url::parse(&whole).map_err(|why| why.to_string())
}

/// An address that a message with a secret may be sent to: `https`, or plain on this machine.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn endpoint(text: &str) -> Result<Url, String> {
    if text.len() > MAX_ADDRESS {
        return Err(format!("an address has at most {MAX_ADDRESS} octets"));
    }
    let url = Url::parse(text).map_err(|_| format!("{} is no address", quoted(text)))?;
    let secure = url.scheme() == "https" || url.scheme() == "http" && is_this_machine(&url);
    if !secure {
        return Err(format!("{} is not https", quoted(text)));
    }
    if url.host_str().is_none() || !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(format!("{} has a user or a fragment, or no host", quoted(text)));
    }
    Ok(url)
}

/// Whether an address means this machine, whatever a resolver says (RFC 6761 §6.3).
pub fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl Metadata {
    /// Reads the metadata of this issuer.
    ///
    /// # Errors
    /// A [`Rejection`].
    pub fn parse(octets: &[u8], issuer: &str) -> Result<Self, Rejection> {
        let refuse = |reason, detail: String| Rejection::new("metadata", reason, detail);
        if octets.len() > MAX_METADATA {
            return Err(refuse(Reason::Limits, format!("longer than {MAX_METADATA} octets")));
        }
        let object = json::object(octets).map_err(|why| refuse(Reason::Malformed, why.to_string()))?;
        let found = object.get("issuer").and_then(Value::as_str).unwrap_or_default();
        if found != issuer {
            let detail = format!("expected {}, found {}", quoted(issuer), quoted(found));
            return Err(Rejection::new("metadata issuer", Reason::WrongIssuer, detail));
        }
        let needed = |name: &str| {
            let found = address(&object, name)?;
            found.ok_or_else(|| refuse(Reason::Malformed, format!("`{name}` is missing")))
        };
        let named = |name: &str| object.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let pkce: Vec<&str> = named("code_challenge_methods_supported").collect();
        // RFC 9700 §2.1.1: an OP that says what it supports, and not this, would let our challenge pass by unseen.
        if !pkce.is_empty() && !pkce.contains(&"S256") {
            return Err(refuse(Reason::AlgorithmRefused, "the OP does not support PKCE with S256".to_owned()));
        }
        Ok(Self {
            authorization_endpoint: needed("authorization_endpoint")?,
            token_endpoint: needed("token_endpoint")?,
            jwks_uri: needed("jwks_uri")?,
            userinfo_endpoint: address(&object, "userinfo_endpoint")?,
            end_session_endpoint: address(&object, "end_session_endpoint")?,
            introspection_endpoint: address(&object, "introspection_endpoint")?,
            revocation_endpoint: address(&object, "revocation_endpoint")?,
            answers_name_issuer: object.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
            id_token_algorithms: named("id_token_signing_alg_values_supported").filter_map(Algorithm::from_name).collect(),
            issuer: found.to_owned(),
        })
    }
}

fn address(object: &Map<String, Value>, name: &str) -> Result<Option<Url>, Rejection> {
    let refuse = |detail: String| Rejection::new("metadata", Reason::Malformed, detail);
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => endpoint(text).map(Some).map_err(|why| refuse(format!("`{name}`: {why}"))),
        Some(_) => Err(refuse(format!("`{name}` is no address"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://op.example.com/realms/north";

    fn metadata(more: &str) -> String {
        format!(
            r#"{{"issuer":"{ISSUER}","authorization_endpoint":"https://op.example.com/a?x=1","token_endpoint":"https://op.example.com/t",
            "jwks_uri":"https://op.example.com/k"{more}}}"#
        )
    }

    #[test]
    fn the_place_of_metadata_is_below_the_issuer() {
        let of = |issuer: &str| location(issuer).map(|url| url.to_string());
        assert_eq!(of(ISSUER).unwrap(), "https://op.example.com/realms/north/.well-known/openid-configuration");
        assert_eq!(of("https://op.example.com/").unwrap(), "https://op.example.com/.well-known/openid-configuration");
        assert_eq!(of("http://op.localhost:9000").unwrap(), "http://op.localhost:9000/.well-known/openid-configuration");
        for bad in [
            "http://op.example.com",
            "https://op.example.com?x",
            "https://op.example.com#x",
            "https://a@op.example.com",
            "op",
            "file:///x",
            "",
        ] {
            assert!(location(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn metadata_are_those_of_the_issuer_that_was_asked() {
        let read = Metadata::parse(metadata(r#","userinfo_endpoint":"https://op.example.com/u""#).as_bytes(), ISSUER).unwrap();
        assert_eq!(read.userinfo_endpoint.unwrap().as_str(), "https://op.example.com/u");
        for other in ["https://op.example.com/realms/north/", "https://evil.example", "HTTPS://op.example.com/realms/north"] {
            assert_eq!(Metadata::parse(metadata("").as_bytes(), other).unwrap_err().reason, Reason::WrongIssuer);
        }
    }

    #[test]
    fn what_would_leak_or_weaken_is_refused() {
        for (more, reason) in [
            (r#","userinfo_endpoint":"http://op.example.com/u""#, Reason::Malformed),
            (r#","userinfo_endpoint":7"#, Reason::Malformed),
            (r#","revocation_endpoint":"http://op.example.com/r""#, Reason::Malformed),
            (r#","end_session_endpoint":"javascript:alert(1)""#, Reason::Malformed),
            (r#","issuer":"https://op.example.com/realms/north""#, Reason::Malformed),
            (r#","code_challenge_methods_supported":["plain"]"#, Reason::AlgorithmRefused),
        ] {
            assert_eq!(Metadata::parse(metadata(more).as_bytes(), ISSUER).unwrap_err().reason, reason, "{more}");
        }
        for bad in ["", "[]", "{}"] {
            assert!(Metadata::parse(bad.as_bytes(), ISSUER).is_err(), "{bad}");
        }
        assert!(Metadata::parse(metadata(r#","code_challenge_methods_supported":["plain","S256"]"#).as_bytes(), ISSUER).is_ok());
        assert_eq!(Metadata::parse(&vec![b' '; MAX_METADATA + 1], ISSUER).unwrap_err().reason, Reason::Limits);
    }
}
