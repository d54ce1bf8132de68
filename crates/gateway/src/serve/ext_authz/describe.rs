//! How nginx, Traefik, Caddy, HAProxy and Envoy over HTTP describe the request they ask about.
//!
//! nginx says what its configuration says (`X-Original-Method`, `X-Original-URI`, the `Host` it passes on);
//! Traefik and Caddy write `X-Forwarded-Method`, `-Uri` and `-Host` themselves; Envoy sends the head as it is.
//! Each is read exactly once: of two values a client sent one.

use http::header::{CONNECTION, HOST, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version};
use vestibule_engine::request::{Host, Malformed, Target};

use crate::serve::ext_authz::{Described, Dialect};
use crate::serve::read::{Head, Origin};

/// nginx: the method the client used.
pub const ORIGINAL_METHOD: &str = "x-original-method";
/// nginx: the target as the client wrote it.
pub const ORIGINAL_URI: &str = "x-original-uri";
/// Traefik, Caddy: the method the client used.
pub const FORWARDED_METHOD: &str = "x-forwarded-method";
/// Traefik, Caddy: the target as the client wrote it.
pub const FORWARDED_URI: &str = "x-forwarded-uri";
/// Traefik, Caddy: the host the client asked for.
pub const FORWARDED_HOST: &str = "x-forwarded-host";
/// Envoy: whether the body it sent is only its beginning.
pub const PARTIAL: &str = "x-envoy-auth-partial-body";

/// Reads a description; the connection's origin stays that of the proxy, whose forwarding headers say the client's.
pub fn described(dialect: Dialect, head: Parts, origin: &Origin) -> Result<Described, Malformed> {
    let Parts { method, uri, mut headers, .. } = head;
    let (method, target, host) = match dialect {
        Dialect::AuthRequest => {
            (stated(&mut headers, ORIGINAL_METHOD)?, stated(&mut headers, ORIGINAL_URI)?, only(&headers, HOST.as_str())?)
        }
        Dialect::ForwardAuth => {
            let host = stated(&mut headers, FORWARDED_HOST)?;
            (stated(&mut headers, FORWARDED_METHOD)?, stated(&mut headers, FORWARDED_URI)?, host)
        }
        Dialect::Envoy | Dialect::EnvoyHttp | Dialect::EnvoyExtProc => {
            let host = match uri.authority() {
                Some(authority) => authority.to_string(),
                None => only(&headers, HOST.as_str())?,
            };
            (method.to_string(), uri.path_and_query().map_or_else(String::new, ToString::to_string), host)
        }
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Malformed::Undescribed)?;
    Ok(Described { head: self::head(method, &host, &target, headers)?, origin: origin.clone(), body: None })
}

/// Puts a head together from what was said of it.
pub fn head(method: Method, host: &str, target: &str, mut headers: HeaderMap) -> Result<Head, Malformed> {
    let host = Host::parse(host)?;
    let target = Target::parse(target)?;
    headers.insert(HOST, HeaderValue::try_from(host.to_string()).map_err(|_| Malformed::Host)?);
    // Proxies drop these from their question, and an upgrade is a GET that acts: whoever asks for one is judged so.
    headers.remove(CONNECTION);
    if headers.contains_key("sec-websocket-key") {
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    if headers.contains_key(UPGRADE) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    Ok(Head { method, host, target, version: Version::HTTP_11, headers })
}

fn stated(headers: &mut HeaderMap, name: &'static str) -> Result<String, Malformed> {
    let value = only(headers, name)?;
    headers.remove(name);
    Ok(value)
}

fn only(headers: &HeaderMap, name: &str) -> Result<String, Malformed> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => value.to_str().map(str::to_owned).map_err(|_| Malformed::Undescribed),
        _ => Err(Malformed::Undescribed),
    }
}

#[cfg(test)]
mod tests {
    use vestibule_engine::request::Channel;

    use super::*;

    fn ask(dialect: Dialect, fields: &[(&str, &str)]) -> Result<Described, Malformed> {
        let mut builder = http::Request::builder().uri("/_auth");
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        let (head, ()) = builder.body(()).unwrap().into_parts();
        let origin = Origin::new([127, 0, 0, 1].into(), Channel::Plain, None);
        described(dialect, head, &origin)
    }

    #[test]
    fn what_was_asked_is_what_the_proxy_says_not_how_it_asks() {
        let nginx = [("host", "north.example.com"), (ORIGINAL_METHOD, "POST"), (ORIGINAL_URI, "/orders?x=1")];
        let Described { head, .. } = ask(Dialect::AuthRequest, &nginx).unwrap();
        assert_eq!((head.method, head.target.to_string().as_str(), head.host.name()), (Method::POST, "/orders?x=1", "north.example.com"));
        let traefik = [("host", "127.0.0.1:9000"), (FORWARDED_METHOD, "PUT"), (FORWARDED_URI, "/a"), (FORWARDED_HOST, "north.example.com")];
        let Described { head, .. } = ask(Dialect::ForwardAuth, &traefik).unwrap();
        assert_eq!((head.method, head.target.path(), head.host.name()), (Method::PUT, "/a", "north.example.com"));
    }

    #[test]
    fn a_description_that_is_missing_doubled_or_empty_is_refused() {
        let whole = [("host", "h.example"), (ORIGINAL_METHOD, "GET"), (ORIGINAL_URI, "/")];
        assert!(ask(Dialect::AuthRequest, &whole).is_ok());
        for missing in 0..whole.len() {
            let rest: Vec<_> = whole.iter().enumerate().filter(|(index, _)| *index != missing).map(|(_, field)| *field).collect();
            assert!(matches!(ask(Dialect::AuthRequest, &rest), Err(Malformed::Undescribed)), "{rest:?}");
            let doubled: Vec<_> = whole.iter().copied().chain([whole[missing]]).collect();
            assert!(matches!(ask(Dialect::AuthRequest, &doubled), Err(Malformed::Undescribed)), "{doubled:?}");
        }
        let empty = [("host", "h.example"), (ORIGINAL_METHOD, "GET"), (ORIGINAL_URI, "")];
        assert!(matches!(ask(Dialect::AuthRequest, &empty), Err(Malformed::Undescribed)));
        let fragment = [("host", "h.example"), (ORIGINAL_METHOD, "GET"), (ORIGINAL_URI, "/a#b")];
        assert!(ask(Dialect::AuthRequest, &fragment).is_err(), "a fragment is never sent, and a parser would cut it off");
    }

    #[test]
    fn a_handshake_for_a_socket_is_judged_as_one() {
        let fields = [("host", "h.example"), (ORIGINAL_METHOD, "GET"), (ORIGINAL_URI, "/"), ("sec-websocket-key", "x")];
        let Described { head, .. } = ask(Dialect::AuthRequest, &fields).unwrap();
        assert_eq!(head.headers.get(UPGRADE).unwrap(), "websocket");
    }
}
