//! The bindings (SAML bindings §3): how messages travel in queries, forms, artifacts and SOAP.
//!
//! What an attacker tries: two parameters of one name so that one is verified and another read, a query whose signature
//! covers another spelling than the one decoded (attack 38), a deflated bomb (attack 34), an artifact that names a server
//! to call, a relay state that leads elsewhere (attack 55). Parameters occur once, limits have names, and artifacts of the
//! types that carry an address do not exist here.

mod artifact;
mod form;
mod redirect;

pub use artifact::{Artifact, ArtifactQuery, MOST_ARTIFACTS};
pub use form::{Post, PostForm};
pub use redirect::{Redirect, redirect_url, signed_redirect_url};

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::{memchr, memchr_iter, memchr2};
use vestibule_xmlsec::Limits;

use crate::error::{BindingFault, Error};
use crate::names::SOAP11;
use crate::time::is_space;
use crate::write;

/// Limits of messages that come through a browser.
pub const MESSAGE_LIMITS: Limits = Limits { size: LONGEST_MESSAGE, ..Limits::MESSAGE };

/// Octets of a message, decoded and inflated.
pub const LONGEST_MESSAGE: usize = 256 * 1024;

/// Octets of a query or a form that are looked at.
pub const LONGEST_INPUT: usize = 512 * 1024;

/// Which parameter a message travels in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `SAMLRequest`.
    Request,
    /// `SAMLResponse`.
    Response,
}

impl Kind {
    /// The parameter's name.
    pub fn parameter(self) -> &'static str {
        match self {
            Self::Request => "SAMLRequest",
            Self::Response => "SAMLResponse",
        }
    }
}

/// What comes back unchanged with the answer. Opaque; nobody signs it in a form, so it is never followed as it stands.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelayState(String);

impl std::fmt::Debug for RelayState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RelayState({} octets)", self.0.len())
    }
}

impl RelayState {
    /// Octets that we send at most (SAML bindings §3.4.3).
    pub const LONGEST_SENT: usize = 80;
    /// Octets that we take: partners send whole addresses.
    pub const LONGEST_RECEIVED: usize = 2048;

    /// One that we send.
    ///
    /// # Errors
    /// [`BindingFault::RelayState`].
    pub fn sent(value: &str) -> Result<Self, Error> {
        Self::within(value, Self::LONGEST_SENT)
    }

    /// One that came.
    ///
    /// # Errors
    /// [`BindingFault::RelayState`].
    pub fn received(value: &str) -> Result<Self, Error> {
        Self::within(value, Self::LONGEST_RECEIVED)
    }

    /// As it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn within(value: &str, limit: usize) -> Result<Self, Error> {
        if value.len() > limit || value.chars().any(char::is_control) {
            return Err(Error::Binding(BindingFault::RelayState));
        }
        Ok(Self(value.to_owned()))
    }
}

/// What `SOAPAction` says for both versions (SAML bindings §3.2.3.1, SAML 1.1 bindings §3.1).
pub const SOAP_ACTION: &str = "\"http://www.oasis-open.org/committees/security\"";

/// A message of this crate in a SOAP 1.1 envelope.
///
/// # Errors
/// None in practice: the message was written here.
pub fn soap_envelope(message: &crate::Issued) -> Result<String, Error> {
    write::document("S:Envelope", |w| {
        w.declare("S", SOAP11);
        w.element("S:Body", |w| w.finished(message.as_str()));
    })
}

/// Whether two addresses are the same endpoint: scheme and host in any case, a default port or none, an empty path or `/`;
/// path and query octet by octet. Anything that is no plain address of http or https is only equal to itself.
pub fn same_endpoint(one: &str, other: &str) -> bool {
    one == other || matches!((Endpoint::parse(one), Endpoint::parse(other)), (Some(one), Some(other)) if one == other)
}

/// Whether something may be an endpoint at all: `javascript:` and its like are what attackers register (attack 51).
pub fn is_endpoint(location: &str) -> bool {
    Endpoint::parse(location).is_some()
}

#[derive(PartialEq)]
struct Endpoint<'a> {
    tls: bool,
    host: String,
    port: &'a str,
    rest: &'a str,
}

impl<'a> Endpoint<'a> {
    fn parse(location: &'a str) -> Option<Self> {
        let plain = location.bytes().all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'\\' | b'#' | b'"' | b'<' | b'>'));
        let (scheme, rest) = location.split_once("://").filter(|_| plain)?;
        let tls = scheme.eq_ignore_ascii_case("https");
        if !tls && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => (host, port),
            Some(_) | None => (authority, ""),
        };
        if host.is_empty() || host.contains('@') {
            return None;
        }
        let port = if (tls && port == "443") || (!tls && port == "80") { "" } else { port };
        // `/` and nothing, also before a query, are one path (RFC 3986 §6.2.3).
        let rest = if rest == "/" { "" } else { rest.strip_prefix("/?").map_or(rest, |_| rest.get(1..).unwrap_or(rest)) };
        Some(Self { tls, host: host.to_ascii_lowercase(), port, rest })
    }
}

/// The parameters of a query or a form that this crate knows, each as it was spelled.
struct Parameters<'a>(Vec<(&'static str, &'a str)>);

impl<'a> Parameters<'a> {
    const KNOWN: [&'static str; 8] =
        ["SAMLRequest", "SAMLResponse", "RelayState", "SigAlg", "Signature", "SAMLEncoding", "SAMLart", "TARGET"];

    fn read(input: &'a str) -> Result<Self, Error> {
        if input.len() > LONGEST_INPUT {
            return Err(Error::Binding(BindingFault::TooLong));
        }
        let mut found = Vec::new();
        let ends = memchr_iter(b'&', input.as_bytes()).chain(std::iter::once(input.len()));
        let mut begin = 0;
        for end in ends {
            let pair = input.get(begin..end).unwrap_or_default();
            begin = end + 1;
            let (name, value) =
                memchr(b'=', pair.as_bytes()).and_then(|at| Some((pair.get(..at)?, pair.get(at + 1..)?))).unwrap_or((pair, ""));
            let decoded = decode(name)?;
            let Some(known) = Self::KNOWN.into_iter().find(|known| *known == decoded) else { continue };
            // A second spelling of a name is a second reader's parameter.
            if known != name || found.len() > Self::KNOWN.len() + MOST_ARTIFACTS {
                return Err(Error::Binding(BindingFault::Twice(known)));
            }
            found.push((known, value));
        }
        Ok(Self(found))
    }

    /// The values of a parameter, as spelled.
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// The value of a parameter that may occur once, as spelled.
    fn one(&self, name: &'static str) -> Result<Option<&'a str>, Error> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Error::Binding(BindingFault::Twice(name))),
        }
    }

    /// The one message there is, as spelled.
    fn message(&self) -> Result<(Kind, &'a str), Error> {
        match (self.one("SAMLRequest")?, self.one("SAMLResponse")?) {
            (Some(request), None) => Ok((Kind::Request, request)),
            (None, Some(response)) => Ok((Kind::Response, response)),
            (None, None) => Err(Error::Binding(BindingFault::MessageMissing)),
            (Some(_), Some(_)) => Err(Error::Binding(BindingFault::RequestAndResponse)),
        }
    }

    fn relay_state(&self, name: &'static str) -> Result<Option<RelayState>, Error> {
        self.one(name)?.map(|value| RelayState::received(&decode(value)?)).transpose()
    }
}

/// Decodes `application/x-www-form-urlencoded`.
fn decode(value: &str) -> Result<Cow<'_, str>, Error> {
    match octets(value) {
        Cow::Borrowed(_) => Ok(Cow::Borrowed(value)),
        Cow::Owned(octets) => String::from_utf8(octets).map(Cow::Owned).map_err(|_| Error::Binding(BindingFault::Encoding)),
    }
}

/// What `application/x-www-form-urlencoded` spells; a message is long, and this runs over it once. A `%` without two digits stands
/// for itself (URL standard, percent-decode).
fn octets(value: &str) -> Cow<'_, [u8]> {
    let mut rest = value.as_bytes();
    if memchr2(b'%', b'+', rest).is_none() {
        return Cow::Borrowed(rest);
    }
    let mut octets = Vec::with_capacity(rest.len());
    while let Some(at) = memchr2(b'%', b'+', rest) {
        let (plain, from) = rest.split_at(at);
        octets.extend_from_slice(plain);
        let digit =
            |place: usize| from.get(place).and_then(|octet| char::from(*octet).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
        let (octet, length) = match (from.first(), digit(1), digit(2)) {
            (Some(b'%'), Some(high), Some(low)) => (high * 16 + low, 3),
            (Some(b'%'), _, _) => (b'%', 1),
            (_, _, _) => (b' ', 1),
        };
        octets.push(octet);
        rest = from.get(length..).unwrap_or_default();
    }
    octets.extend_from_slice(rest);
    Cow::Owned(octets)
}

/// Base64, broken into lines or not.
fn base64_of(octets: &[u8]) -> Result<Vec<u8>, Error> {
    // Most of it has no white space, and that is found out by trying.
    let decoded = STANDARD.decode(octets).or_else(|_| {
        let within: Vec<u8> = octets.iter().copied().filter(|octet| !is_space(char::from(*octet))).collect();
        STANDARD.decode(within)
    });
    decoded.map_err(|_| match std::str::from_utf8(octets) {
        Ok(_) => Error::Binding(BindingFault::Base64),
        Err(_) => Error::Binding(BindingFault::Encoding),
    })
}

/// Base64 out of a query, where a `+` that nobody escaped has become a space.
fn base64_of_query(value: &str) -> Result<Vec<u8>, Error> {
    let text: String = decode(value)?.chars().filter(|c| !matches!(c, '\r' | '\n')).map(|c| if c == ' ' { '+' } else { c }).collect();
    STANDARD.decode(text).map_err(|_| Error::Binding(BindingFault::Base64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_compared_as_a_browser_would() {
        for (one, other) in [
            ("https://gw.example.com/acs", "HTTPS://GW.example.com:443/acs"),
            ("http://gw.example.com", "http://gw.example.com:80/"),
            ("https://gw.example.com?so=1", "https://gw.example.com/?so=1"),
        ] {
            assert!(same_endpoint(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("https://gw.example.com/acs", "https://gw.example.com/ACS"),
            ("https://gw.example.com/acs", "https://gw.example.com/acs/"),
            ("https://gw.example.com/acs", "http://gw.example.com/acs"),
            ("https://gw.example.com/acs", "https://gw.example.com:8443/acs"),
            ("https://gw.example.com/acs", "https://gw.example.com/x/../acs"),
            ("https://gw.example.com?so=1", "https://gw.example.com?so=2"),
            ("https://gw.example.com/acs", "https://gw.example.com.evil.example.net/acs"),
            ("https://gw.example.com/", "https://user@gw.example.com/"),
        ] {
            assert!(!same_endpoint(one, other), "{one} {other}");
        }
    }

    #[test]
    fn only_plain_addresses_are_endpoints() {
        for bad in ["javascript:alert(1)", "javascript://gw.example.com/%0aalert(1)", "//gw.example.com", "https://", "https:///x", "/acs"]
        {
            assert!(!is_endpoint(bad), "{bad}");
        }
        for bad in ["https://gw.example.com\\@evil.example.net", "https://a@b", "https://a b", "https://a/#x", "data:text/html,x"] {
            assert!(!is_endpoint(bad), "{bad}");
        }
        assert!(is_endpoint("https://[2001:db8::1]/acs"));
        assert!(is_endpoint("http://localhost:8080/acs?idp=corp"));
    }

    #[test]
    fn a_form_is_decoded_as_the_url_standard_says() {
        let long = format!("{}%2B{}", "a".repeat(300), "+".repeat(3));
        for text in ["", "abc", "a+b", "%41%6a%C3%A4", "%", "%4", "%4g", "%%41", "a%2", "+%2b+", "100%", long.as_str()] {
            let spaced = text.replace('+', " ");
            let expected: Vec<u8> = percent_encoding::percent_decode_str(&spaced).collect();
            assert_eq!(*octets(text), expected, "{text}");
        }
        assert_eq!(decode("%C3%A4").unwrap(), "\u{e4}");
        assert!(matches!(decode("%ff"), Err(Error::Binding(BindingFault::Encoding))));
    }

    #[test]
    fn base64_may_be_broken_into_lines_and_nothing_else() {
        for good in ["aGVsbG8gd29ybGQ=", "aGVsbG8g\r\nd29ybGQ=\n", " \taGVs bG8gd29ybGQ="] {
            assert_eq!(base64_of(good.as_bytes()).unwrap(), b"hello world", "{good}");
        }
        for bad in ["aGVsbG8gd29ybGQ", "aGVs\u{a0}bG8=", "a-_=", "aGVsbG8gd29ybGQ==", "%%%%", "aGVsbG8gd29ybGR=", "aGVsbG8gd29=bGQ="] {
            assert!(matches!(base64_of(bad.as_bytes()), Err(Error::Binding(BindingFault::Base64))), "{bad}");
        }
        assert!(matches!(base64_of(b"\xff"), Err(Error::Binding(BindingFault::Encoding))));
    }

    #[test]
    fn relay_states_are_short_and_plain() {
        assert!(RelayState::sent(&"x".repeat(80)).is_ok());
        assert!(RelayState::sent(&"x".repeat(81)).is_err());
        assert!(RelayState::received(&"x".repeat(2049)).is_err());
        assert!(RelayState::received("/a\r\nSet-Cookie: b").is_err());
    }
}
